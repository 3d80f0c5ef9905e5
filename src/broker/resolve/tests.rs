//! What names mean, what is asked of permissions for them, and that whoever is refused has changed nothing.

mod exchanges;
mod topics;

use super::super::store::MemoryStore;
use super::super::testing::{self, Nobody, VHOST};
use super::super::{ConnectionId, ConsumeRequest, DeclareRequest, ExchangeRequest, Names, Permissions, Settlement};
use super::*;
use crate::access::{PasswordHash, Tags};
use crate::broker::message::ComposedMessage;
use crate::broker::snapshot::{Page, PageStart};
use crate::protocol::{BasicProperties, ErrorScope, FieldValue};
use bytes::Bytes;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

type Answer = Result<(), AmqpError>;

fn none() -> FieldTable {
    FieldTable::default()
}

fn long_string(text: &str) -> FieldValue {
    FieldValue::LongString(text.as_bytes().into())
}

fn table(name: &'static str, value: FieldValue) -> FieldTable {
    FieldTable(vec![(name.into(), value)])
}

/// What a user may not do, and what was asked.
#[derive(Default)]
struct Guard {
    denied: BTreeSet<(Right, &'static [u8])>,
    asked: Vec<(Right, Vec<u8>)>,
}

/// A broker with a restricted user among its clients.
struct Bench {
    broker: Broker<MemoryStore>,
    caller: Caller,
    guard: Rc<RefCell<Guard>>,
}

impl Bench {
    /// With the queue `q`, which was declared last and has a message, and the exchanges `x` and `y`.
    fn new() -> Self {
        const OWNER: ConnectionId = ConnectionId(0);
        const RESTRICTED: ConnectionId = ConnectionId(1);
        let mut broker = testing::broker();
        testing::connect(&mut broker, OWNER);
        let owner = testing::caller(&broker, OWNER);
        declare_exchange(&mut broker, owner, b"x", none()).unwrap();
        declare_exchange(&mut broker, owner, b"y", none()).unwrap();
        let password = PasswordHash::salted_sha256(b"secret", [1; 4]);
        broker.put_user("restricted", password, Tags::default());
        let user = broker.users.named(b"restricted").unwrap();
        let guard = Rc::default();
        broker.set_permissions(user, VHOST, guarded_by(&guard));
        broker.open_connection(RESTRICTED, user, VHOST);
        let channel = broker.open_channel(RESTRICTED, 1);
        let mut bench = Self { caller: broker.caller(channel), broker, guard };
        declare(&mut bench.broker, bench.caller, b"q").unwrap();
        publish(&mut bench.broker, owner, "", "q").unwrap();
        bench.guard.take();
        bench
    }

    /// What a command answers, and what it asked.
    fn run(&mut self, command: &Command) -> (Answer, Vec<(Right, Vec<u8>)>) {
        let answer = (command.run)(&mut self.broker, self.caller);
        (answer, std::mem::take(&mut self.guard.borrow_mut().asked))
    }

    fn deny(&self, denied: impl IntoIterator<Item = (Right, &'static str)>) {
        self.guard.borrow_mut().denied = denied.into_iter().map(|(right, name)| (right, name.as_bytes())).collect();
    }

    /// Everything that can be seen of the broker.
    fn look(&self) -> String {
        fn all<T>(mut page: impl FnMut(PageStart) -> Page<T>) -> Vec<T> {
            let (mut items, mut from) = (Vec::new(), Some(PageStart::default()));
            while let Some(start) = from {
                let Page { items: some, next } = page(start);
                items.extend(some);
                from = next;
            }
            items
        }
        let broker = &self.broker;
        let last_queue = &broker.channel(self.caller.channel).last_queue;
        let exchanges = all(|from| broker.snapshot_exchanges(from));
        let queues = all(|from| broker.snapshot_queues(from));
        let bindings = all(|from| broker.snapshot_bindings(from));
        let consumers = all(|from| broker.snapshot_consumers(from));
        let channels = all(|from| broker.snapshot_channels(from));
        let counts = (broker.census(), broker.snapshot_totals(), broker.epoch(), broker.has_touched());
        format!("{counts:?} {last_queue:?} {exchanges:?} {queues:?} {bindings:?} {consumers:?} {channels:?}")
    }
}

fn guarded_by(guard: &Rc<RefCell<Guard>>) -> Permissions {
    let names = |right| {
        let guard = Rc::clone(guard);
        Names::Asked(Box::new(move |name| {
            let mut guard = guard.borrow_mut();
            guard.asked.push((right, name.to_vec()));
            !guard.denied.iter().any(|denied| *denied == (right, name))
        }))
    };
    Permissions { configure: names(Right::Configure), write: names(Right::Write), read: names(Right::Read) }
}

fn declare(broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8]) -> Answer {
    declare_with(broker, caller, name, none())
}

fn declare_with(broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8], arguments: FieldTable) -> Answer {
    let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
    broker.declare_queue(caller, request, &mut Nobody).map(drop)
}

fn declare_exchange(broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8], arguments: FieldTable) -> Answer {
    let (durable, auto_delete, internal) = (true, false, false);
    let request = ExchangeRequest { name, kind: b"fanout", durable, auto_delete, internal, arguments };
    broker.declare_exchange(caller, request).map(drop)
}

fn consume(broker: &mut Broker<MemoryStore>, caller: Caller, queue: &[u8], consumer_tag: &[u8]) -> Answer {
    let request = ConsumeRequest { queue, consumer_tag, no_ack: true, exclusive: false, arguments: none() };
    broker.consume(caller, request).map(drop)
}

fn publish(broker: &mut Broker<MemoryStore>, caller: Caller, exchange: &str, key: &str) -> Answer {
    publish_with(broker, caller, exchange, key, &BasicProperties::default())
}

fn publish_with(
    broker: &mut Broker<MemoryStore>,
    caller: Caller,
    exchange: &str,
    key: &str,
    properties: &BasicProperties,
) -> Answer {
    let (exchange, key) = (ShortString::truncated(exchange.as_bytes()), ShortString::truncated(key.as_bytes()));
    let message = ComposedMessage::new(&exchange, &key, properties, Bytes::new());
    message.publish(caller, usize::MAX, broker, &mut Nobody).map(drop)
}

/// A command, and what it asks for, in this order.
struct Command {
    what: &'static str,
    run: fn(&mut Broker<MemoryStore>, Caller) -> Answer,
    asks: &'static [(Right, &'static str, &'static str)],
}

/// Every command that says a name. A new one belongs here.
fn commands() -> Vec<Command> {
    use Right::{Configure, Read, Write};
    type Run = fn(&mut Broker<MemoryStore>, Caller) -> Answer;
    type Asks = &'static [(Right, &'static str, &'static str)];
    let commands: [(&'static str, Run, Asks); 29] = [
        ("declare a new queue", |b, c| declare(b, c, b"new"), &[(Configure, "queue", "new")]),
        ("declare a queue", |b, c| declare(b, c, b"q"), &[(Configure, "queue", "q")]),
        ("declare a reply address", |b, c| declare(b, c, REPLY_TO), &[]),
        (
            "declare a new queue with dead letters",
            |b, c| declare_with(b, c, b"new", table("x-dead-letter-exchange", long_string("y"))),
            &[(Configure, "queue", "new"), (Read, "queue", "new"), (Write, "exchange", "y")],
        ),
        (
            "declare a new queue with dead letters to queues",
            |b, c| declare_with(b, c, b"new", table("x-dead-letter-exchange", long_string(""))),
            &[(Configure, "queue", "new"), (Read, "queue", "new"), (Write, "exchange", "amq.default")],
        ),
        (
            "declare a queue with dead letters",
            |b, c| declare_with(b, c, b"q", table("x-dead-letter-exchange", long_string("y"))),
            &[(Configure, "queue", "q")],
        ),
        (
            "delete a queue",
            |b, c| b.delete_queue(c, b"q", false, false, &mut Nobody).map(drop),
            &[(Configure, "queue", "q")],
        ),
        (
            "delete a queue that is used",
            |b, c| b.delete_queue(c, b"q", true, true, &mut Nobody).map(drop),
            &[(Configure, "queue", "q")],
        ),
        (
            "delete a queue that is missing",
            |b, c| b.delete_queue(c, b"nothing", false, false, &mut Nobody).map(drop),
            &[(Configure, "queue", "nothing")],
        ),
        ("purge a queue", |b, c| b.purge_queue(c, b"q", &mut Nobody).map(drop), &[(Read, "queue", "q")]),
        ("purge the last queue", |b, c| b.purge_queue(c, b"", &mut Nobody).map(drop), &[(Read, "queue", "q")]),
        ("get", |b, c| b.get(c, b"q", true, &mut Nobody).map(drop), &[(Read, "queue", "q")]),
        ("get and keep", |b, c| b.get(c, b"q", false, &mut Nobody).map(drop), &[(Read, "queue", "q")]),
        (
            "get from what is missing",
            |b, c| b.get(c, b"nothing", true, &mut Nobody).map(drop),
            &[(Read, "queue", "nothing")],
        ),
        ("consume", |b, c| consume(b, c, b"q", b""), &[(Read, "queue", "q")]),
        ("consume replies", |b, c| consume(b, c, REPLY_TO, b"replies"), &[]),
        (
            "bind a queue",
            |b, c| b.bind_queue(c, b"q", b"x", b"k", none()).map(drop),
            &[(Write, "queue", "q"), (Read, "exchange", "x")],
        ),
        (
            "bind the last queue",
            |b, c| b.bind_queue(c, b"", b"x", b"", none()).map(drop),
            &[(Write, "queue", "q"), (Read, "exchange", "x")],
        ),
        (
            "unbind a queue",
            |b, c| b.unbind_queue(c, b"q", b"x", b"k", &none()).map(drop),
            &[(Write, "queue", "q"), (Read, "exchange", "x")],
        ),
        (
            "bind an exchange",
            |b, c| b.bind_exchange(c, b"x", b"y", b"k", none()).map(drop),
            &[(Write, "exchange", "y"), (Read, "exchange", "x")],
        ),
        (
            "unbind an exchange",
            |b, c| b.unbind_exchange(c, b"x", b"y", b"k", &none()).map(drop),
            &[(Write, "exchange", "y"), (Read, "exchange", "x")],
        ),
        ("declare a new exchange", |b, c| declare_exchange(b, c, b"z", none()), &[(Configure, "exchange", "z")]),
        ("declare an exchange", |b, c| declare_exchange(b, c, b"x", none()), &[(Configure, "exchange", "x")]),
        (
            "declare an exchange with an alternate",
            |b, c| {
                // It is asked for what is new only.
                b.delete_exchange(c, b"a", false)?;
                declare_exchange(b, c, b"a", table("alternate-exchange", long_string("y")))
            },
            &[
                (Configure, "exchange", "a"),
                (Configure, "exchange", "a"),
                (Read, "exchange", "a"),
                (Write, "exchange", "y"),
            ],
        ),
        ("delete an exchange", |b, c| b.delete_exchange(c, b"x", false).map(drop), &[(Configure, "exchange", "x")]),
        (
            "delete an exchange that is used",
            |b, c| b.delete_exchange(c, b"x", true).map(drop),
            &[(Configure, "exchange", "x")],
        ),
        ("publish", |b, c| publish(b, c, "x", "k"), &[(Write, "exchange", "x")]),
        ("publish to a queue", |b, c| publish(b, c, "", "q"), &[(Write, "exchange", "amq.default")]),
        ("publish to what is missing", |b, c| publish(b, c, "nothing", "k"), &[(Write, "exchange", "nothing")]),
    ];
    commands.into_iter().map(|(what, run, asks)| Command { what, run, asks }).collect()
}

#[test]
fn every_command_asks_for_what_rabbitmq_asks_for() {
    for command in commands() {
        let (_, asked) = Bench::new().run(&command);
        let expected: Vec<_> = command.asks.iter().map(|(right, _, name)| (*right, name.as_bytes().to_vec())).collect();
        assert_eq!(asked, expected, "{}", command.what);
    }
}

#[test]
fn whoever_may_not_is_told_so_and_has_changed_nothing() {
    for command in commands() {
        for &(right, kind, name) in command.asks {
            let mut bench = Bench::new();
            bench.deny([(right, name)]);
            let before = bench.look();
            let (answer, _) = bench.run(&command);
            let refused = answer.expect_err(command.what);
            let text = format!("{right} access to {kind} '{name}' in vhost '/' refused for user 'restricted'");
            assert_eq!((refused.scope, refused.code), (ErrorScope::Channel, ReplyCode::AccessRefused));
            assert_eq!(refused.explanation, text, "{}", command.what);
            assert_eq!(bench.look(), before, "{}", command.what);
        }
    }
}

#[test]
fn a_passive_declaration_needs_any_permission() {
    use Right::{Configure, Read, Write};
    type Run = fn(&mut Broker<MemoryStore>, Caller) -> Answer;
    let commands: [(Run, &str, &str, bool); 4] = [
        (|b, c| b.declare_queue_passively(c, b"q", &mut Nobody).map(drop), "queue", "q", true),
        (|b, c| b.declare_queue_passively(c, b"nothing", &mut Nobody).map(drop), "queue", "nothing", false),
        (|b, c| b.declare_exchange_passively(c, b"x").map(drop), "exchange", "x", true),
        (|b, c| b.declare_exchange_passively(c, b"nothing").map(drop), "exchange", "nothing", false),
    ];
    for (run, kind, name, exists) in commands {
        for mask in 0..8 {
            let denied = [Configure, Write, Read].into_iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
            let mut bench = Bench::new();
            bench.deny(denied.map(|(_, right)| (right, name)));
            let before = bench.look();
            let answer = run(&mut bench.broker, bench.caller);
            match mask {
                7 => {
                    let text =
                        format!("configure access to {kind} '{name}' in vhost '/' refused for user 'restricted'");
                    refused(answer, ReplyCode::AccessRefused, &text);
                    assert_eq!(bench.look(), before, "{kind} {name}");
                }
                _ if exists => answer.unwrap(),
                _ => refused(answer, ReplyCode::NotFound, &format!("no {kind} '{name}' in vhost '/'")),
            }
        }
    }
}

#[test]
fn only_an_impersonator_uses_anothers_name() {
    let mut bench = Bench::new();
    let caller = bench.caller;
    let of = |name: &'static str| BasicProperties { user_id: Some(name.into()), ..BasicProperties::default() };
    publish_with(&mut bench.broker, caller, "x", "k", &of("restricted")).unwrap();
    let text = "user_id property set to 'guest' but authenticated user was 'restricted'";
    let before = bench.look();
    refused(publish_with(&mut bench.broker, caller, "x", "k", &of("guest")), ReplyCode::PreconditionFailed, text);
    assert_eq!(bench.look(), before);
    bench.broker.set_user_tags(caller.user, Tags::new(["impersonator"]).unwrap());
    publish_with(&mut bench.broker, caller, "x", "k", &of("guest")).unwrap();
    bench.broker.set_user_tags(caller.user, Tags::administrator());
    refused(publish_with(&mut bench.broker, caller, "x", "k", &of("guest")), ReplyCode::PreconditionFailed, text);
}

#[test]
fn a_queue_that_the_broker_names_is_asked_for_by_that_name() {
    let mut bench = Bench::new();
    declare(&mut bench.broker, bench.caller, b"").unwrap();
    let [(Right::Configure, name)] = &bench.guard.borrow().asked[..] else { panic!("one question") };
    assert!(name.starts_with(b"amq.gen-"));
}

#[test]
fn who_has_no_permissions_in_a_vhost_may_not_enter_it() {
    let mut bench = Bench::new();
    let user = bench.caller.user;
    let key = bench.broker.find_user(b"restricted").unwrap();
    assert_eq!((bench.broker.find_user(b"nobody"), bench.broker.user_name(user)), (None, "restricted"));
    assert_eq!(bench.broker.admit(key, "restricted", b"/"), Ok((user, VHOST)));
    assert!(bench.broker.clear_permissions(user, VHOST).value);
    assert!(!bench.broker.clear_permissions(user, VHOST).value, "there are none any more");
    let refused = bench.broker.admit(key, "restricted", b"/").unwrap_err();
    assert_eq!(refused.explanation, "access to vhost '/' refused for user 'restricted'");
    assert!(declare(&mut bench.broker, bench.caller, b"q").is_err());
}

#[test]
fn a_change_of_permissions_ends_the_epoch() {
    let mut broker = testing::broker();
    let mut last = broker.epoch();
    let mut has_ended = |broker: &Broker<MemoryStore>| std::mem::replace(&mut last, broker.epoch()) != broker.epoch();
    broker.set_permissions(testing::USER, VHOST, Permissions::all());
    assert!(has_ended(&broker), "given");
    broker.clear_permissions(testing::USER, VHOST);
    assert!(has_ended(&broker), "withdrawn");
    for exchange in [Some(&b"x"[..]), None] {
        let keys = broker.topic_permissions_for(testing::USER, VHOST, "^a", "").unwrap();
        broker.set_topic_permissions(testing::USER, VHOST, "x".into(), keys);
        assert!(has_ended(&broker), "restricted to some keys");
        broker.clear_topic_permissions(testing::USER, VHOST, exchange);
        assert!(has_ended(&broker), "not restricted any more");
    }
}

const RIGHTS: [Right; 3] = [Right::Configure, Right::Write, Right::Read];
const NAMES: [&str; 9] = ["q", "x", "y", "z", "a", "new", "nothing", "amq.default", "amq.direct"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]
    /// Whatever happened before, and whatever else is denied.
    #[test]
    fn no_refusal_changes_anything(
        steps in prop::collection::vec((0..commands().len(), prop::collection::vec((0..3_usize, 0..NAMES.len()), 0..6)), 1..40)
    ) {
        let mut bench = Bench::new();
        let commands = commands();
        for (command, denied) in steps {
            let command = &commands[command];
            let denied: BTreeSet<_> = denied.into_iter().map(|(right, name)| (RIGHTS[right], NAMES[name])).collect();
            bench.deny(denied.iter().copied());
            let before = bench.look();
            let (answer, asked) = bench.run(command);
            let refused = answer.as_ref().is_err_and(|error| error.explanation.contains("refused for user"));
            let was_denied = asked.iter().any(|(right, name)| denied.iter().any(|it| (it.0, it.1.as_bytes()) == (*right, name)));
            prop_assert_eq!(refused, was_denied, "{}: {:?}", command.what, answer);
            // The first half of it was allowed, and done.
            if refused && command.what != "declare an exchange with an alternate" {
                prop_assert_eq!(bench.look(), before, "{}", command.what);
            }
            // What it means to have something for oneself is settled before the next one.
            bench.broker.settle(bench.caller.channel, 0, true, Settlement::Requeued).unwrap();
        }
    }
}

#[track_caller]
fn refused(answer: Answer, code: ReplyCode, text: &str) {
    let error = answer.expect_err(text);
    assert_eq!((error.scope, error.code, error.explanation.as_str()), (ErrorScope::Channel, code, text));
}
