//! Who follows what, and that nobody else notices.

use super::*;
use crate::access::{Bearer, Pattern, Scopes};
use crate::broker::message::ComposedMessage;
use crate::broker::policy::{Policy, PolicyKind, SaidPolicy};
use crate::broker::store::MemoryStore;
use crate::broker::testing::{self, Nobody, USER, VHOST, caller};
use crate::broker::{ConnectionId, DeclareRequest, ExchangeRequest, GetOutcome, Names, Permissions, TopicPermissions};
use crate::protocol::{BasicProperties, FieldTable, FieldValue};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const CLIENT: ConnectionId = ConnectionId(0);

#[derive(Default)]
struct Heard {
    messages: Vec<TailedMessage>,
    room: usize,
    is_gone: bool,
}

struct Listener(Rc<RefCell<Heard>>);

impl TailListener for Listener {
    fn tell(&mut self, message: Box<TailedMessage>) -> bool {
        let mut heard = self.0.borrow_mut();
        let has_room = heard.messages.len() < heard.room && !heard.is_gone;
        heard.messages.extend(has_room.then_some(*message));
        has_room
    }

    fn is_gone(&self) -> bool {
        self.0.borrow().is_gone
    }
}

struct World {
    broker: Broker<MemoryStore>,
}

impl World {
    fn new() -> Self {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        let mut world = Self { broker };
        world.queue("q");
        world
    }

    fn queue(&mut self, name: &str) {
        let (name, arguments) = (name.as_bytes(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        self.broker.declare_queue(caller(&self.broker, CLIENT), request, &mut Nobody).unwrap();
    }

    fn exchange(&mut self, name: &str, kind: &str, arguments: FieldTable) {
        let (name, kind) = (name.as_bytes(), kind.as_bytes());
        let request = ExchangeRequest { name, kind, durable: false, auto_delete: false, internal: false, arguments };
        self.broker.declare_exchange(caller(&self.broker, CLIENT), request).unwrap();
    }

    fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        let caller = caller(&self.broker, CLIENT);
        let [queue, exchange, key] = [queue, exchange, key].map(str::as_bytes);
        self.broker.bind_queue(caller, queue, exchange, key, FieldTable::default()).unwrap();
    }

    fn publish_with(&mut self, exchange: &'static str, key: &'static str, properties: &BasicProperties, body: &[u8]) {
        let caller = caller(&self.broker, CLIENT);
        let body = bytes::Bytes::copy_from_slice(body);
        let message = ComposedMessage::new(&exchange.into(), &key.into(), properties, body);
        message.publish(caller, usize::MAX, &mut self.broker, &mut Nobody).unwrap();
    }

    fn publish(&mut self, exchange: &'static str, key: &'static str) {
        self.publish_with(exchange, key, &BasicProperties::default(), b"body");
    }

    fn try_tail(&mut self, spec: TailSpec) -> Result<(TailId, Rc<RefCell<Heard>>), AmqpError> {
        let heard = Rc::new(RefCell::new(Heard { room: 100, ..Heard::default() }));
        let listener = Box::new(Listener(heard.clone()));
        let id = self.broker.start_tail(caller(&self.broker, CLIENT), spec, listener)?;
        Ok((id, heard))
    }

    fn tail(&mut self, spec: TailSpec) -> (TailId, Rc<RefCell<Heard>>) {
        self.try_tail(spec).unwrap()
    }

    fn counts(&mut self, id: TailId) -> Option<TailCounts> {
        self.broker.tail_counts(caller(&self.broker, CLIENT), id).unwrap()
    }

    fn is_plain(&self) -> bool {
        let id = self.broker.queue_in(VHOST, b"q").unwrap();
        let behaviour = &self.broker.queue(id).behaviour;
        assert_eq!(behaviour.is_plain(), behaviour.has_lanes());
        behaviour.is_plain()
    }
}

fn of(of: TailOf) -> TailSpec {
    TailSpec { of, filter: TailFilter::default(), rate: 100, body_max_bytes: 100 }
}

fn queue(name: &'static str) -> TailSpec {
    of(TailOf::Queue(name.into()))
}

fn exchange(name: &'static str) -> TailSpec {
    of(TailOf::Exchange(name.into()))
}

fn keys(heard: &Rc<RefCell<Heard>>) -> Vec<String> {
    let heard = std::mem::take(&mut heard.borrow_mut().messages);
    heard.iter().map(|message| String::from_utf8_lossy(&message.routing_key).into_owned()).collect()
}

#[test]
fn what_enters_a_queue_is_told_and_stays_there() {
    let mut world = World::new();
    world.bind("q", "amq.topic", "#");
    world.publish("", "q");
    let (id, heard) = world.tail(TailSpec { body_max_bytes: 3, ..queue("q") });
    assert!(!world.is_plain());
    world.publish("", "q");
    world.publish("amq.topic", "a.b");
    world.publish("amq.fanout", "nowhere");
    {
        let heard = &heard.borrow().messages[1];
        assert_eq!(
            (&*heard.exchange, &*heard.routing_key, &*heard.body),
            (&b"amq.topic"[..], &b"a.b"[..], &b"bod"[..])
        );
        assert_eq!((heard.body_size, heard.queues.len()), (4, 0));
        assert_eq!(heard.properties.as_deref(), Some(&[0, 0][..]));
    }
    assert_eq!(keys(&heard), ["q", "a.b"]);
    let counts = TailCounts { seen: 2, matched: 2, told: 2, ..TailCounts::default() };
    assert_eq!(world.counts(id), Some(counts));
    world.broker.end_tail(caller(&world.broker, CLIENT), id);
    assert!(world.is_plain());
    world.publish("", "q");
    assert!(keys(&heard).is_empty());
    let mut left = 0;
    while let GetOutcome::Got(got) = world.broker.get(caller(&world.broker, CLIENT), b"q", true, &mut Nobody).unwrap() {
        assert!(!got.redelivered);
        left += 1;
    }
    assert_eq!(left, 4);
}

#[test]
fn an_exchange_tells_what_it_routes_whatever_the_way_there() {
    let mut world = World::new();
    let alternate = FieldTable(vec![("alternate-exchange".into(), FieldValue::LongString(b"end".as_slice().into()))]);
    world.exchange("start", "topic", alternate);
    world.exchange("end", "fanout", FieldTable::default());
    world.exchange("by chance", "x-random", FieldTable::default());
    world.bind("q", "end", "");
    world.bind("q", "by chance", "");
    let caller = caller(&world.broker, CLIENT);
    world.broker.bind_exchange(caller, b"start", b"end", b"a.#", FieldTable::default()).unwrap();
    // Known routes, and a cache of routes, are no way around.
    world.publish("start", "a.b");
    let (_, of_end) = world.tail(exchange("end"));
    let (_, of_start) = world.tail(exchange("start"));
    let (_, of_chance) = world.tail(exchange("by chance"));
    let (_, of_default) = world.tail(exchange(""));
    for (to, key) in [
        ("start", "a.b"),
        ("start", "a.b"),
        ("start", "other"),
        ("end", "direct"),
        ("by chance", "x"),
        ("", "q"),
        ("", "none"),
    ] {
        world.publish(to, key);
    }
    let told: Vec<_> = of_end.borrow().messages.iter().map(|message| message.queues.clone()).collect();
    assert!(told.iter().all(|queues| queues.len() == 1 && *queues[0] == *b"q"), "{told:?}");
    assert_eq!(keys(&of_end), ["a.b", "a.b", "other", "direct"]);
    assert_eq!(keys(&of_start), ["a.b", "a.b", "other"]);
    assert_eq!(keys(&of_chance), ["x"]);
    assert_eq!(keys(&of_default), ["q", "none"]);
    assert!(world.broker.queue_in(VHOST, b"q").is_some(), "names are found while the default exchange is watched");
    world.queue("more");
    world.publish("", "more");
    assert_eq!(keys(&of_default), ["more"]);
}

#[test]
fn what_is_bound_while_an_exchange_is_watched_stays_bound() {
    let mut world = World::new();
    for kind in ["direct", "fanout", "topic", "x-consistent-hash", "x-modulus-hash", "x-recent-history"] {
        world.exchange(kind, kind, FieldTable::default());
        let (id, heard) = world.tail(exchange(kind));
        world.bind("q", kind, "1");
        world.publish(kind, "1");
        assert_eq!(heard.borrow().messages[0].queues.len(), 1, "{kind}");
        world.broker.end_tail(caller(&world.broker, CLIENT), id);
        let (_, of_queue) = world.tail(queue("q"));
        world.publish(kind, "1");
        assert_eq!(keys(&of_queue).len(), 1, "{kind}");
        of_queue.borrow_mut().is_gone = true;
        world.broker.delete_exchange(caller(&world.broker, CLIENT), kind.as_bytes(), false).unwrap();
    }
}

#[test]
fn beyond_the_rate_messages_are_passed_over_and_counted() {
    let mut world = World::new();
    let (id, heard) = world.tail(TailSpec { rate: 2, ..queue("q") });
    for now_ms in [0, 0, 0, 999, 1000, 1500, 1999, 2000] {
        world.broker.set_now(now_ms);
        world.publish("", "q");
    }
    let at: Vec<u64> = heard.borrow().messages.iter().map(|message| message.unix_ms).collect();
    assert_eq!(at, [0, 0, 1000, 1500, 2000]);
    let counts = TailCounts { seen: 8, matched: 8, told: 5, passed_over: 3, ..TailCounts::default() };
    assert_eq!(world.counts(id), Some(counts));
}

#[test]
fn what_a_listener_has_no_room_for_is_dropped_and_who_is_gone_ends() {
    let mut world = World::new();
    let (id, heard) = world.tail(queue("q"));
    heard.borrow_mut().room = 1;
    world.publish("", "q");
    world.publish("", "q");
    let counts = TailCounts { seen: 2, matched: 2, told: 1, dropped: 1, ..TailCounts::default() };
    assert_eq!(world.counts(id), Some(counts));
    heard.borrow_mut().is_gone = true;
    world.publish("", "q");
    assert!(world.is_plain());
    assert_eq!(world.counts(id), None);
}

#[test]
fn filters_ask_for_keys_headers_and_text() {
    let mut world = World::new();
    world.bind("q", "amq.topic", "#");
    let filters = [
        TailFilter::default().with_key(b"a.*"),
        TailFilter::default().with_header("kind".into(), None),
        TailFilter::default().with_header("kind".into(), Some(b"7")),
        TailFilter::default().with_header("kind".into(), Some(b"seven")),
        TailFilter::default().with_header("kind".into(), Some(b"true")),
        TailFilter::default().with_text(b"needle"),
        TailFilter::default().with_key(b"#").with_text(b"needle").with_header("kind".into(), None),
    ];
    let heard = filters.map(|filter| world.tail(TailSpec { filter, ..queue("q") }).1);
    let kind = |value| BasicProperties {
        headers: Some(FieldTable(vec![("kind".into(), value)])),
        ..BasicProperties::default()
    };
    let seven = FieldValue::LongString(b"seven".as_slice().into());
    world.publish("amq.topic", "a.b");
    world.publish("amq.topic", "a.b.c");
    world.publish_with("amq.topic", "number", &kind(FieldValue::I8(7)), b"");
    world.publish_with("amq.topic", "text", &kind(seven), b"hay needle hay");
    world.publish_with("amq.topic", "yes", &kind(FieldValue::Boolean(true)), b"");
    world.publish_with("amq.topic", "body", &BasicProperties::default(), b"needle");
    assert_eq!(
        heard.map(|heard| keys(&heard).join(" ")),
        ["a.b", "number text yes", "number", "text", "yes", "text body", "text"]
    );
}

#[test]
fn looking_at_too_much_leaves_messages_unread_until_the_next_second() {
    let mut world = World::new();
    let (id, heard) = world.tail(TailSpec { filter: TailFilter::default().with_text(b"x"), ..queue("q") });
    let body = vec![b'x'; 64 << 10];
    for _ in 0..513 {
        world.publish_with("", "q", &BasicProperties::default(), &body);
        heard.borrow_mut().messages.clear();
    }
    let counts = world.counts(id).unwrap();
    assert_eq!((counts.matched, counts.unread), (512, 1));
    world.broker.set_now(1000);
    world.publish_with("", "q", &BasicProperties::default(), &body);
    assert_eq!(world.counts(id).unwrap().matched, 513);
}

/// A pattern that fits nearly everywhere in a key, and a client chooses both.
#[test]
fn comparing_too_many_words_leaves_messages_unread_until_the_next_second() {
    let mut world = World::new();
    world.bind("q", "amq.topic", "#");
    let pattern = [&b"#.a"[..], &b".a".repeat(60), b".b"].concat();
    let (hard, _) = world.tail(TailSpec { filter: TailFilter::default().with_key(&pattern), ..queue("q") });
    let (easy, _) = world.tail(TailSpec { filter: TailFilter::default().with_key(b"#.a"), ..queue("q") });
    let key: &'static str = String::leak("a.".repeat(127) + "a");
    for _ in 0..1000 {
        world.publish("amq.topic", key);
    }
    let counts = world.counts(hard).unwrap();
    assert!(counts.unread > 0 && counts.seen == 1000, "{counts:?}");
    assert_eq!(world.counts(easy).unwrap().unread, 0);
    world.broker.set_now(1000);
    world.publish("amq.topic", key);
    assert_eq!(world.counts(hard).unwrap().unread, counts.unread);
}

#[test]
fn a_tail_of_an_exchange_is_not_of_the_next_with_its_id() {
    for goes_with_its_queue in [false, true] {
        let mut world = World::new();
        let caller = caller(&world.broker, CLIENT);
        let request = ExchangeRequest {
            name: b"x",
            kind: b"fanout",
            durable: false,
            auto_delete: goes_with_its_queue,
            internal: false,
            arguments: FieldTable::default(),
        };
        world.broker.declare_exchange(caller, request).unwrap();
        world.bind("q", "x", "");
        let (id, heard_of_first) = world.tail(exchange("x"));
        match goes_with_its_queue {
            true => drop(world.broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap()),
            false => drop(world.broker.delete_exchange(caller, b"x", false).unwrap()),
        }
        world.exchange("y", "fanout", FieldTable::default());
        let (_, heard_of_next) = world.tail(exchange("y"));
        world.publish("y", "k");
        assert_eq!(keys(&heard_of_next), ["k"]);
        assert!(keys(&heard_of_first).is_empty());
        assert_eq!(world.counts(id), None);
    }
}

#[test]
fn what_goes_to_one_connection_alone_is_told_to_nobody() {
    let mut world = World::new();
    let (name, arguments) = (&b"locked"[..], FieldTable::default());
    let request = DeclareRequest { name, durable: false, exclusive: true, auto_delete: false, arguments };
    world.broker.declare_queue(caller(&world.broker, CLIENT), request, &mut Nobody).unwrap();
    let (id, heard) = world.tail(exchange(""));
    for key in ["q", "locked", "amq.rabbitmq.reply-to.an-address", "none"] {
        world.publish("", key);
    }
    assert_eq!(keys(&heard), ["q", "none"]);
    assert_eq!(world.counts(id).unwrap().matched, 2);
}

#[test]
fn a_tail_ends_with_what_it_follows_and_does_not_go_on_with_another_of_its_name() {
    let mut world = World::new();
    world.exchange("x", "fanout", FieldTable::default());
    let (of_queue, heard_of_queue) = world.tail(queue("q"));
    let (of_exchange, heard_of_exchange) = world.tail(exchange("x"));
    let caller = caller(&world.broker, CLIENT);
    world.broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap();
    world.broker.delete_exchange(caller, b"x", false).unwrap();
    world.queue("q");
    world.exchange("x", "fanout", FieldTable::default());
    world.publish("", "q");
    world.publish("x", "k");
    assert!(keys(&heard_of_queue).is_empty() && keys(&heard_of_exchange).is_empty());
    assert_eq!([of_queue, of_exchange].map(|id| world.counts(id)), [None, None]);
    assert!(world.is_plain());
}

#[test]
fn a_policy_that_is_set_meanwhile_ends_no_tail() {
    let mut world = World::new();
    let (_, heard) = world.tail(queue("q"));
    let said = SaidPolicy {
        pattern: FieldValue::LongString(b"^q$".as_slice().into()),
        apply_to: None,
        priority: None,
        definition: FieldValue::Table(FieldTable(vec![("max-length".into(), FieldValue::I64(1))])),
    };
    let policy = Policy::read(PolicyKind::User, "p".into(), said).unwrap();
    world.broker.put_policy(VHOST, PolicyKind::User, Arc::new(policy)).unwrap();
    world.broker.pump(&mut Nobody);
    world.publish("", "q");
    world.publish("", "q");
    assert_eq!(keys(&heard).len(), 2);
}

#[test]
fn nobody_follows_what_is_not_for_them_to_read() {
    let mut world = World::new();
    world.exchange("x", "topic", FieldTable::default());
    world.queue("mine");
    let pattern = |text: &str| Pattern::new(text).unwrap();
    let permissions = |read: &str| Permissions { read: Names::from(pattern(read)), ..Permissions::all() };
    let (_, of_all_keys) = world.tail(exchange("x"));
    let (of_queue, _) = world.tail(queue("q"));
    let (_, of_default) = world.tail(exchange(""));
    world.broker.set_permissions(USER, VHOST, permissions("^(x|mine|amq.default)$"));
    assert!(world.try_tail(queue("q")).is_err_and(|error| error.code == ReplyCode::AccessRefused));
    assert!(world.try_tail(exchange("amq.topic")).is_err_and(|error| error.code == ReplyCode::AccessRefused));
    assert!(world.try_tail(exchange("none")).is_err_and(|error| error.code == ReplyCode::AccessRefused));
    let counted = world.broker.tail_counts(caller(&world.broker, CLIENT), of_queue);
    assert!(counted.is_err_and(|error| error.code == ReplyCode::AccessRefused), "it was for them before");
    assert!(world.is_plain());
    // What the default exchange routes, as far as the queue is for them.
    world.publish("", "q");
    world.publish("", "mine");
    assert_eq!(keys(&of_default), ["mine"]);
    let topics = TopicPermissions { write: pattern(".*"), read: pattern("^a") };
    world.broker.set_topic_permissions(USER, VHOST, "x".into(), topics);
    let (id, of_some_keys) = world.tail(exchange("x"));
    world.publish("x", "a.b");
    world.publish("x", "b.a");
    assert_eq!(keys(&of_some_keys), ["a.b"]);
    assert_eq!(world.counts(id).unwrap().matched, 1);
    assert_eq!(keys(&of_all_keys), ["a.b", "b.a"], "until it is asked how it goes");
}

#[test]
fn there_are_no_more_tails_than_there_may_be() {
    let mut world = World::new();
    let tails: Vec<_> = (0..TAILS_OF_USER_MAX).map(|_| world.tail(queue("q"))).collect();
    assert!(world.try_tail(queue("q")).is_err_and(|error| error.code == ReplyCode::PreconditionFailed));
    tails[0].1.borrow_mut().is_gone = true;
    world.tail(queue("q"));
    assert!(world.try_tail(queue("q")).is_err());
}

/// Somebody for whom others vouch is another user with every token.
#[test]
fn who_comes_with_many_tokens_has_no_more_tails() {
    let mut world = World::new();
    let bearer = |name: &str| Bearer {
        name: name.into(),
        tags: Arc::default(),
        powers: Powers::Scopes(Scopes::read(["read:*/*"], |_| None)),
        expires_unix_ms: None,
    };
    let mut tail_as = |name: &str| {
        let user = world.broker.receive_visitor(&bearer(name));
        let caller = Caller { user: world.broker.user_of(user).unwrap(), ..caller(&world.broker, CLIENT) };
        let listener = Box::new(Listener(Rc::default()));
        world.broker.start_tail(caller, queue("q"), listener).map(|_| world.broker.has_tail(user))
    };
    for _ in 0..TAILS_OF_USER_MAX {
        assert_eq!(tail_as("guest"), Ok(true));
    }
    assert!(tail_as("guest").is_err_and(|error| error.code == ReplyCode::PreconditionFailed));
    assert_eq!(tail_as("alice"), Ok(true));
    world.tail(queue("q"));
}
