//! Virtual hosts, users and what they are permitted: what comes back, what goes along with what is deleted, and what a
//! salvaged log makes of records that are lost.

use crate::damage::{salvaged, told_and_damaged};
use crate::definitions::found_after;
use leveret::broker::exchange::ExchangeKind;
use leveret::broker::store::{
    ApplyTo, Definition, DurableBinding, DurableDestination, DurableQueueId, PolicyDefinition, PolicyKind,
    UserDefinition, VhostDefinition, VhostId,
};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::storage::state::State;

pub fn short(name: &str) -> ShortString {
    ShortString::truncated(name.as_bytes())
}

pub fn vhost_of(id: u32, name: &str) -> VhostDefinition {
    VhostDefinition {
        id: VhostId(id),
        name: short(name),
        description: "".into(),
        tags: Vec::new(),
        default_queue_type: None,
        tracing: false,
        max_queues: None,
        max_connections: None,
        is_protected: false,
    }
}

pub fn vhost(id: u32, name: &str) -> Definition {
    Definition::VhostDeclared(vhost_of(id, name))
}

pub fn vhost_deleted(id: u32) -> Definition {
    Definition::VhostDeleted { vhost: VhostId(id) }
}

pub fn user_of(name: &str) -> UserDefinition {
    let password = format!("the hash of {name}").into();
    UserDefinition { name: short(name), password, tags: Vec::new(), max_connections: None, max_channels: None }
}

pub fn user(name: &str) -> Definition {
    Definition::UserDeclared(user_of(name))
}

pub fn user_deleted(name: &str) -> Definition {
    Definition::UserDeleted { name: short(name) }
}

pub fn permitted(user: &str, vhost: u32, read: &str) -> Definition {
    Definition::Permitted {
        user: short(user),
        vhost: VhostId(vhost),
        configure: "^a".into(),
        write: "".into(),
        read: read.into(),
    }
}

pub fn topic_permitted(user: &str, vhost: u32, exchange: &str, read: &str) -> Definition {
    Definition::TopicPermitted {
        user: short(user),
        vhost: VhostId(vhost),
        exchange: short(exchange),
        write: "^{username}".into(),
        read: read.into(),
    }
}

pub fn policy(vhost: u32, kind: PolicyKind, name: &str, pattern: &str) -> Definition {
    Definition::PolicyPut(PolicyDefinition {
        vhost: VhostId(vhost),
        kind,
        name: short(name),
        pattern: pattern.into(),
        apply_to: ApplyTo::Queues,
        priority: pattern.len() as i64,
        settings: FieldTable(vec![("max-length".into(), FieldValue::I64(5))]),
    })
}

pub fn queue(id: u64, vhost: u32, name: &str) -> Definition {
    Definition::QueueDeclared {
        id: DurableQueueId(id),
        vhost: VhostId(vhost),
        name: short(name),
        auto_delete: false,
        arguments: FieldTable::default(),
        top_level: 0,
    }
}

pub fn exchange(vhost: u32, name: &str) -> Definition {
    Definition::ExchangeDeclared {
        vhost: VhostId(vhost),
        name: short(name),
        kind: ExchangeKind::Topic,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
    }
}

pub fn binding(vhost: u32, source: &str, destination: DurableDestination) -> DurableBinding {
    DurableBinding {
        vhost: VhostId(vhost),
        source: short(source),
        destination,
        routing_key: short("key"),
        arguments: FieldTable::default(),
    }
}

pub fn bound(vhost: u32, source: &str, queue: &str) -> Definition {
    Definition::Bound(binding(vhost, source, DurableDestination::Queue(short(queue))))
}

/// Twice: from the log, and from a checkpoint.
fn both(definitions: &[Definition]) -> [Vec<Definition>; 2] {
    [definitions.to_vec(), definitions.to_vec()]
}

#[test]
fn they_come_back_as_they_were_last_and_before_what_is_in_a_virtual_host() {
    let limited = VhostDefinition {
        description: "für alle".into(),
        tags: vec!["production".into()],
        default_queue_type: Some("quorum".into()),
        tracing: true,
        max_queues: Some(0),
        max_connections: Some(1 << 40),
        is_protected: true,
        ..vhost_of(1, "second")
    };
    let changed = UserDefinition {
        password: "another hash".into(),
        tags: vec!["administrator".into(), "nobody's own".into()],
        max_connections: Some(3),
        max_channels: Some(0),
        ..user_of("u")
    };
    let told = [
        vhost(0, "/"),
        user("u"),
        permitted("u", 0, "^old"),
        exchange(0, "x"),
        vhost(1, "second"),
        queue(1, 1, "q"),
        permitted("u", 0, "^new"),
        topic_permitted("u", 1, "amq.topic", "^a"),
        permitted("u", 1, ".*"),
        Definition::VhostDeclared(limited.clone()),
        Definition::UserDeclared(changed.clone()),
    ];
    let expected = [
        vhost(0, "/"),
        Definition::VhostDeclared(limited),
        Definition::UserDeclared(changed),
        permitted("u", 0, "^new"),
        permitted("u", 1, ".*"),
        topic_permitted("u", 1, "amq.topic", "^a"),
        exchange(0, "x"),
        queue(1, 1, "q"),
    ];
    assert_eq!(found_after(&told), both(&expected));
}

/// Two virtual hosts with the same in each of them.
fn two_alike() -> Vec<Definition> {
    let mut told = vec![vhost(0, "/"), vhost(1, "second"), user("u"), user("us")];
    for of in [0, 1] {
        let to_exchange = binding(of, "x", DurableDestination::Exchange(short("y")));
        told.extend([
            permitted("u", of, ".*"),
            permitted("us", of, "us"),
            topic_permitted("u", of, "x", "^a"),
            topic_permitted("u", of, "y", "^a"),
            topic_permitted("us", of, "x", "^b"),
            exchange(of, "x"),
            exchange(of, "y"),
            queue(1 + u64::from(of), of, "q"),
            bound(of, "amq.direct", "q"),
            bound(of, "x", "q"),
            Definition::Bound(to_exchange),
        ]);
    }
    told
}

#[test]
fn a_deleted_virtual_host_takes_everything_in_it_along_and_nothing_else() {
    for gone in [0, 1] {
        let told = [two_alike(), vec![vhost_deleted(gone)]].concat();
        let [from_log, from_checkpoint] = found_after(&told);
        assert_eq!(from_log, from_checkpoint);
        let named = |definition: &&Definition| definition.vhost().is_none_or(|of| of != VhostId(gone));
        let kept: Vec<_> = told.iter().filter(named).collect();
        assert_eq!(from_log.len(), kept.len());
        assert!(kept.iter().all(|definition| from_log.contains(definition)), "{from_log:?}");
        // Another one of its number begins with nothing.
        let again = [&told[..], &[vhost(gone, "successor"), queue(3, gone, "q")]].concat();
        let [mut found, _] = found_after(&again);
        found.retain(|definition| definition.vhost() == Some(VhostId(gone)));
        assert_eq!(found, [vhost(gone, "successor"), queue(3, gone, "q")]);
    }
}

#[test]
fn a_deleted_user_takes_what_was_permitted_along_and_so_does_who_is_forbidden() {
    let is_of_us = |definition: &Definition| match definition {
        Definition::Permitted { user, .. } | Definition::TopicPermitted { user, .. } => **user == *b"us",
        _ => false,
    };
    let [found, _] = found_after(&[two_alike(), vec![user_deleted("u"), user("u")]].concat());
    let permissions: Vec<_> = found.iter().filter(|found| matches!(found, Definition::Permitted { .. })).collect();
    assert_eq!(permissions, [&permitted("us", 0, "us"), &permitted("us", 1, "us")]);
    let of_us = two_alike().into_iter().filter(is_of_us).count();
    assert_eq!(found.iter().filter(|found| is_of_us(found)).count(), of_us, "nobody else's");

    let forbidden = Definition::Forbidden { user: short("u"), vhost: VhostId(0) };
    let of_one = |exchange: Option<&str>| Definition::TopicForbidden {
        user: short("u"),
        vhost: VhostId(1),
        exchange: exchange.map(short),
    };
    for (withdrawn, expected) in [
        (forbidden, vec![permitted("u", 0, ".*")]),
        (of_one(Some("x")), vec![topic_permitted("u", 1, "x", "^a")]),
        (of_one(None), vec![topic_permitted("u", 1, "x", "^a"), topic_permitted("u", 1, "y", "^a")]),
        (of_one(Some("z")), vec![]),
    ] {
        let [before, _] = found_after(&two_alike());
        for found in found_after(&[two_alike(), vec![withdrawn]].concat()) {
            let missing: Vec<_> = before.iter().filter(|definition| !found.contains(definition)).cloned().collect();
            assert_eq!(missing, expected);
        }
    }
}

/// What is salvaged of those that were told, without the one of index `lost`.
fn without(told: &[Definition], lost: usize) -> (Vec<Definition>, String) {
    let (definitions, said) = salvaged(&told_and_damaged(told, lost));
    (definitions, said.join("\n"))
}

#[test]
fn nobody_is_permitted_anything_nowhere() {
    let told =
        [vhost(0, "/"), vhost(1, "v"), user("u"), permitted("u", 1, ".*"), topic_permitted("u", 1, "x", ""), user("w")];
    let (found, said) = without(&told, 1);
    assert_eq!(found, [vhost(0, "/"), user("u"), user("w")]);
    assert!(said.contains("what user u was permitted in virtual host number 1 is left out"), "{said}");
    let (found, said) = without(&told, 2);
    assert_eq!(found, [vhost(0, "/"), vhost(1, "v"), user("w")]);
    assert!(said.contains("what user u was permitted in virtual host v is left out"), "{said}");
}

/// The messages in it are worth more than the name.
#[test]
fn what_is_in_a_virtual_host_without_a_name_gets_one_and_nobody_may_use_it() {
    let in_it = [exchange(1, "x"), queue(1, 1, "q"), bound(1, "x", "q")];
    let told = [vhost(0, "salvaged-1"), vhost(1, "v"), user("u"), permitted("u", 1, ".*")];
    let (found, said) = without(&[&told[..], &in_it].concat(), 1);
    let Definition::VhostDeclared(named) = &found[1] else { panic!("a virtual host: {found:?}") };
    assert_eq!((&*named.name, named.id), (&b"salvaged-1-"[..], VhostId(1)));
    assert_eq!(found[2], user("u"));
    assert_eq!(found[3..], in_it);
    assert!(said.contains("virtual host number 1 is lost: what is in it is in salvaged-1- from now on"), "{said}");
}

/// Logs of versions without virtual hosts say of none, and everything is in the first one.
#[test]
fn where_there_is_neither_a_virtual_host_nor_a_user_none_is_lost() {
    let told = [exchange(0, "x"), queue(1, 0, "q"), queue(2, 0, "r")];
    assert_eq!(without(&told, 0).0, [queue(1, 0, "q"), queue(2, 0, "r")]);
    // There was one, if there is somebody to use it.
    let (found, _) = without(&[vhost(0, "/"), user("u"), queue(1, 0, "q")], 0);
    assert!(matches!(&found[..], [Definition::VhostDeclared(vhost), _, _] if vhost.id == VhostId(0)), "{found:?}");
    // And there was more than one, if something is in another.
    let (found, _) = without(&[vhost(3, "v"), queue(1, 3, "q"), queue(2, 3, "r")], 0);
    assert!(matches!(&found[..], [Definition::VhostDeclared(vhost), _, _] if vhost.id == VhostId(3)), "{found:?}");
}

#[test]
fn of_two_virtual_hosts_of_one_name_or_number_the_younger_is_salvaged() {
    let older = [vhost(0, "/"), vhost(1, "v"), user("u"), permitted("u", 1, ".*"), queue(1, 1, "q"), vhost_deleted(1)];
    let lost = older.len() - 1;
    let said_so = "an older virtual host v must have been deleted: all in it is left out";
    for younger in [vhost(2, "v"), vhost(1, "w")] {
        let (found, said) = without(&[&older[..], &[younger.clone(), queue(2, 0, "q")]].concat(), lost);
        assert_eq!(found, [vhost(0, "/"), younger, user("u"), queue(2, 0, "q")]);
        assert!(said.contains(said_so), "{said}");
    }
}

/// If each queue were looked for among all of them, this would take hours.
#[test]
fn a_virtual_host_with_very_many_queues_is_gone_in_one_pass() {
    const QUEUES: u64 = 50_000;
    let mut state = State::default();
    [vhost(0, "/"), vhost(1, "v")].into_iter().for_each(|vhost| state.define(vhost));
    for number in 1..=QUEUES {
        let (of, name) = ((number % 2) as u32, format!("q{number}"));
        state.define(queue(number, of, &name));
        state.define(bound(of, "amq.fanout", &name));
    }
    state.define(vhost_deleted(1));
    assert_eq!(state.queues.len() as u64, QUEUES / 2);
    assert_eq!(state.definitions(&state.queues_in_order()).count() as u64, 1 + QUEUES);
}
