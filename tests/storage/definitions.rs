//! What exists comes back as it was, from the log and from a checkpoint.

use crate::harness::{Log, declared, small};
use crate::sim_disk::SimDisk;
use leveret::broker::exchange::ExchangeKind;
use leveret::broker::store::{Definition, DurableBinding, DurableDestination, Log as _, VhostId};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::storage::RecoveryMode;

fn exchange(name: &'static str) -> Definition {
    Definition::ExchangeDeclared {
        vhost: VhostId(0),
        name: name.into(),
        kind: ExchangeKind::Topic,
        auto_delete: true,
        internal: false,
        arguments: FieldTable(vec![("alternate-exchange".into(), FieldValue::LongString((*b"other").into()))]),
    }
}

fn binding(source: &'static str, destination: DurableDestination, weight: i32) -> DurableBinding {
    let arguments = FieldTable(vec![("weight".into(), FieldValue::I32(weight))]);
    DurableBinding { vhost: VhostId(0), source: source.into(), destination, routing_key: "a.*".into(), arguments }
}

fn to_queue(number: u64) -> DurableDestination {
    DurableDestination::Queue(ShortString::truncated(format!("queue-{number}").as_bytes()))
}

fn to_exchange(name: &'static str) -> DurableDestination {
    DurableDestination::Exchange(name.into())
}

/// Tells a log all of it and returns what a start finds, after a crash and after a stop with a checkpoint.
pub fn found_after(told: &[Definition]) -> [Vec<Definition>; 2] {
    [false, true].map(|stop| {
        let disk = SimDisk::default();
        let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
        for definition in told {
            let position = log.store.define(definition);
            log.store.awaited(position);
            log.flush();
            assert!(log.store.durable() >= position);
        }
        let disk = if stop { log.stop() } else { disk.after_crash(0) };
        Log::open(&disk, small(), RecoveryMode::Strict).unwrap().1.definitions
    })
}

#[test]
fn each_can_be_declared_when_those_before_it_are() {
    use Definition::Bound;
    let to_source = Bound(binding("source", to_queue(1), 1));
    let told = [exchange("source"), declared(1), to_source.clone(), exchange("other"), declared(2)];
    let expected = [exchange("other"), exchange("source"), declared(1), declared(2), to_source];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

/// Buckets are numbered in the order of binding, so that it counts.
#[test]
fn bindings_of_a_consistent_hash_come_back_in_their_order() {
    use Definition::{Bound, Unbound};
    let ring = match exchange("ring") {
        Definition::ExchangeDeclared { vhost, name, auto_delete, internal, .. } => {
            let (kind, arguments) = (ExchangeKind::ConsistentHash, FieldTable::default());
            Definition::ExchangeDeclared { vhost, name, kind, auto_delete, internal, arguments }
        }
        _ => unreachable!("it is an exchange"),
    };
    let bound = |number: u64| Bound(binding("ring", to_queue(number), 1));
    let other = Bound(binding("topic", to_queue(2), 1));
    let again = [Unbound(binding("ring", to_queue(3), 1)), bound(3), bound(2)];
    let mut told = vec![ring, exchange("topic"), declared(1), declared(2), declared(3), bound(3), bound(1), bound(2)];
    told.push(other.clone());
    told.extend(again);
    let expected = [other, bound(1), bound(2), bound(3)];
    for found in found_after(&told) {
        let bindings: Vec<_> = found.into_iter().filter(|definition| matches!(definition, Bound(_))).collect();
        assert_eq!(bindings, expected);
    }
}

#[test]
fn bindings_differ_in_their_arguments() {
    let [one, two] = [1, 2].map(|weight| binding("source", to_queue(1), weight));
    let told = [
        exchange("source"),
        declared(1),
        Definition::Bound(one.clone()),
        Definition::Bound(one.clone()),
        Definition::Bound(two.clone()),
        Definition::Unbound(one),
    ];
    let expected = [exchange("source"), declared(1), Definition::Bound(two)];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

/// The router takes them for the same, and so must the log: what was unbound would come back.
#[test]
fn a_binding_is_unbound_whatever_the_order_of_its_arguments() {
    let [one, two] = [("x-match", FieldValue::LongString((*b"any").into())), ("kind", FieldValue::I32(1))];
    let table = |entries: [&(&'static str, FieldValue); 2]| {
        FieldTable(entries.map(|(name, value)| ((*name).into(), value.clone())).into())
    };
    let bound = DurableBinding { arguments: table([&one, &two]), ..binding("source", to_queue(1), 1) };
    let other_order = DurableBinding { arguments: table([&two, &one]), ..bound.clone() };
    let told = [
        exchange("source"),
        declared(1),
        Definition::Bound(bound.clone()),
        Definition::Bound(other_order.clone()),
        Definition::Unbound(other_order),
    ];
    let expected = [exchange("source"), declared(1)];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

#[test]
fn what_is_deleted_takes_its_bindings_along() {
    let told = [
        exchange("a"),
        exchange("b"),
        declared(1),
        declared(2),
        Definition::Bound(binding("a", to_queue(1), 1)),
        Definition::Bound(binding("a", to_exchange("b"), 1)),
        Definition::Bound(binding("b", to_queue(1), 1)),
        Definition::Bound(binding("b", to_queue(2), 1)),
        Definition::QueueDeleted { id: crate::harness::queue(1) },
        Definition::ExchangeDeleted { vhost: VhostId(0), name: "a".into() },
    ];
    let expected = [exchange("b"), declared(2), Definition::Bound(binding("b", to_queue(2), 1))];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
    // Of the same name, and without what belonged to the one before.
    let again = [&told[..], &[exchange("a"), declared(3)]].concat();
    let expected =
        [exchange("a"), exchange("b"), declared(2), declared(3), Definition::Bound(binding("b", to_queue(2), 1))];
    assert_eq!(found_after(&again), [expected.to_vec(), expected.to_vec()]);
}

/// What an exchange keeps for later, under a number.
fn delayed(number: u64, name: &'static str) -> Definition {
    Definition::DelayedDeclared { id: crate::harness::queue(number), vhost: VhostId(0), exchange: name.into() }
}

/// What an exchange remembers, under a number.
fn values(number: u64, name: &'static str) -> Definition {
    Definition::ValuesDeclared { id: crate::harness::queue(number), vhost: VhostId(0), exchange: name.into() }
}

#[test]
fn what_an_exchange_remembers_goes_with_it_too_and_is_no_other_exchanges() {
    let told = [exchange("a"), values(1, "a"), delayed(2, "a"), exchange("b"), values(3, "b")];
    let expected = [exchange("a"), exchange("b"), values(1, "a"), delayed(2, "a"), values(3, "b")];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
    let gone = Definition::ExchangeDeleted { vhost: VhostId(0), name: "a".into() };
    let expected = [exchange("b"), values(3, "b")];
    assert_eq!(found_after(&[&told[..], &[gone]].concat()), [expected.to_vec(), expected.to_vec()]);
    // The end of the first one is lost.
    let mut other = exchange("a");
    if let Definition::ExchangeDeclared { kind, .. } = &mut other {
        *kind = ExchangeKind::Fanout;
    }
    let expected = [other.clone(), exchange("b"), values(3, "b")];
    assert_eq!(found_after(&[&told[..], &[other]].concat()), [expected.to_vec(), expected.to_vec()]);
}

#[test]
fn what_an_exchange_keeps_goes_with_it_and_not_with_a_queue_of_its_name() {
    let told = [exchange("a"), delayed(1, "a"), exchange("b"), delayed(2, "b"), declared(3)];
    let expected = [exchange("a"), exchange("b"), delayed(1, "a"), delayed(2, "b"), declared(3)];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
    let gone = Definition::ExchangeDeleted { vhost: VhostId(0), name: "a".into() };
    let again = [&told[..], &[gone, exchange("a")]].concat();
    let expected = [exchange("a"), exchange("b"), delayed(2, "b"), declared(3)];
    assert_eq!(found_after(&again), [expected.to_vec(), expected.to_vec()]);
    let vhost_gone = [&told[..], &[Definition::VhostDeleted { vhost: VhostId(0) }]].concat();
    assert_eq!(found_after(&vhost_gone), [vec![], vec![]]);
}

/// The same definition of another virtual host.
fn elsewhere(definition: Definition) -> Definition {
    const ELSEWHERE: VhostId = VhostId(7);
    let mut definition = definition;
    match &mut definition {
        Definition::QueueDeclared { id, vhost, .. } => {
            id.0 += 100;
            *vhost = ELSEWHERE;
        }
        Definition::QueueDeleted { id } => id.0 += 100,
        Definition::ExchangeDeclared { vhost, .. } | Definition::ExchangeDeleted { vhost, .. } => *vhost = ELSEWHERE,
        Definition::Bound(binding) | Definition::Unbound(binding) => binding.vhost = ELSEWHERE,
        other => unreachable!("{other:?} is not in a virtual host"),
    }
    definition
}

#[test]
fn what_becomes_of_a_name_in_one_virtual_host_is_nothing_to_another() {
    let here = || [exchange("a"), declared(1), Definition::Bound(binding("a", to_queue(1), 1))];
    let there = here().map(elsewhere);
    let both = [&here()[..], &there[..]].concat();
    let in_order = |mut definitions: Vec<Definition>| {
        definitions.sort_by_key(|definition| match definition {
            Definition::ExchangeDeclared { vhost, .. } => (0, vhost.0),
            Definition::QueueDeclared { vhost, .. } => (1, vhost.0),
            _ => (2, 0),
        });
        definitions
    };
    assert_eq!(found_after(&both), [in_order(both.clone()), in_order(both.clone())]);
    for gone in [
        vec![Definition::QueueDeleted { id: crate::harness::queue(1) }],
        vec![Definition::ExchangeDeleted { vhost: VhostId(0), name: "a".into() }],
        vec![Definition::Unbound(binding("a", to_queue(1), 1))],
    ] {
        let found = found_after(&[&both[..], &gone[..]].concat());
        for definition in &there {
            assert!(found.iter().all(|found| found.contains(definition)), "{gone:?} took {definition:?} along");
        }
        let others = found_after(&[&both[..], &gone.into_iter().map(elsewhere).collect::<Vec<_>>()[..]].concat());
        for definition in &here() {
            assert!(others.iter().all(|found| found.contains(definition)), "{definition:?} went along");
        }
    }
}
