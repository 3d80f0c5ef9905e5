//! Declares, bindings and routes as a client would see them.

use super::*;
use crate::broker::equivalence::Subject;
use crate::protocol::{AmqpError, ErrorScope, FieldTable, FieldValue, PropertiesRef, ReplyCode, ShortString, TableRef};
use std::cell::{Cell, RefCell};

mod kinds;

thread_local! {
    /// What a test's routes leave behind, whichever of its routers they are of.
    static WALKS: RefCell<Walks> = RefCell::default();
    static ROUTERS: Cell<u32> = const { Cell::new(0) };
}

/// One that shares the walks of its test with others.
pub(super) fn router() -> Router {
    ROUTERS.set(ROUTERS.get() + 1);
    Router::new(ROUTERS.get(), 1)
}

/// What the broker does with ids, for tests that speak of names. Exchanges that are not there are not asked for.
pub(super) trait ByName {
    fn id(&self, name: &[u8]) -> ExchangeId;
    fn declare(&mut self, name: &[u8], kind: &[u8], durable: bool, auto_delete: bool, arguments: &FieldTable);
    fn bind_queue(
        &mut self,
        source: &[u8],
        queue: QueueId,
        key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Bound, AmqpError>;
    fn bind_exchange(&mut self, source: &[u8], destination: &[u8], key: &[u8], arguments: &FieldTable) -> Bound;
    fn unbind_queue(&mut self, source: &[u8], queue: QueueId, key: &[u8], arguments: &FieldTable) -> Unbound;
    fn unbind_exchange(&mut self, source: &[u8], destination: &[u8], key: &[u8], arguments: &FieldTable) -> Unbound;
}

impl Router {
    /// Deletes an exchange with all that falls with it, at once. Says what that is.
    pub fn remove(&mut self, id: ExchangeId) -> Vec<ShortString> {
        let emptied = self.leave_at_once(Destination::Exchange(id));
        self.fall(emptied)
    }

    /// As [`remove`](Self::remove), of a queue.
    pub fn queue_removed(&mut self, id: QueueId) -> Vec<ShortString> {
        let emptied = self.leave_at_once(Destination::Queue(id));
        self.fall(emptied)
    }

    /// Auto-delete exchanges lost their last bindings.
    pub(super) fn fall(&mut self, mut emptied: Vec<ExchangeId>) -> Vec<ShortString> {
        let mut names = Vec::new();
        while let Some(id) = emptied.pop() {
            names.push(self.exchange(id).name.clone());
            let more = self.leave_at_once(Destination::Exchange(id));
            emptied.extend(more);
        }
        names
    }

    fn leave_at_once(&mut self, id: Destination) -> Vec<ExchangeId> {
        self.let_leave(id);
        let mut emptied = Vec::new();
        loop {
            let detached = self.detach_some(id, 1);
            emptied.extend(detached.emptied);
            if detached.is_gone {
                return emptied;
            }
            assert_eq!(detached.bindings, 1);
        }
    }
}

impl ByName for Router {
    fn id(&self, name: &[u8]) -> ExchangeId {
        self.exchange_named(name).expect("the exchange exists")
    }

    fn declare(&mut self, name: &[u8], kind: &[u8], durable: bool, auto_delete: bool, arguments: &FieldTable) {
        let kind = ExchangeKind::declared(kind).unwrap();
        let declaration = Declaration { kind, durable, auto_delete, internal: false, arguments };
        let subject = Subject { kind: "exchange", name, vhost: b"/" };
        let alternate = alternate_exchange(arguments, subject).unwrap().filter(|name| !name.is_empty());
        let alternate = alternate.map(ShortString::truncated);
        self.add(ShortString::truncated(name), &declaration, alternate);
    }

    fn bind_queue(
        &mut self,
        source: &[u8],
        queue: QueueId,
        key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Bound, AmqpError> {
        self.bind(self.id(source), Destination::Queue(queue), key, arguments)
    }

    fn bind_exchange(&mut self, source: &[u8], destination: &[u8], key: &[u8], arguments: &FieldTable) -> Bound {
        self.bind(self.id(source), Destination::Exchange(self.id(destination)), key, arguments).unwrap()
    }

    fn unbind_queue(&mut self, source: &[u8], queue: QueueId, key: &[u8], arguments: &FieldTable) -> Unbound {
        self.unbind(self.id(source), Destination::Queue(queue), key, arguments)
    }

    fn unbind_exchange(&mut self, source: &[u8], destination: &[u8], key: &[u8], arguments: &FieldTable) -> Unbound {
        self.unbind(self.id(source), Destination::Exchange(self.id(destination)), key, arguments)
    }
}

fn text(text: &str) -> FieldValue {
    FieldValue::LongString(text.as_bytes().into())
}

pub(super) fn table(entries: &[(&'static str, FieldValue)]) -> FieldTable {
    FieldTable(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

/// In wire form.
pub(super) fn encoded(headers: &FieldTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    headers.encode_entries(&mut bytes);
    bytes
}

/// The properties of a publish whose headers are these bytes.
pub(super) fn with_headers(headers: &[u8]) -> PropertiesRef<'_> {
    PropertiesRef { headers: Some(TableRef::parse(headers).unwrap()), ..PropertiesRef::default() }
}

fn none() -> FieldTable {
    FieldTable::default()
}

fn queue(router: &mut Router, name: &'static str, id: u32) -> QueueId {
    router.queue_added(&name.into(), QueueId(id), true);
    QueueId(id)
}

/// A durable exchange without any flags.
fn exchange(router: &mut Router, name: &str, kind: &str) {
    router.declare(name.as_bytes(), kind.as_bytes(), true, false, &none());
}

fn bind(router: &mut Router, source: &str, queue: QueueId, key: &str) -> Bound {
    router.bind_queue(source.as_bytes(), queue, key.as_bytes(), &none()).unwrap()
}

fn route(router: &mut Router, exchange: &str, key: &str) -> Vec<u32> {
    route_with(router, exchange, key, none())
}

fn route_with(router: &mut Router, exchange: &str, key: &str, headers: FieldTable) -> Vec<u32> {
    let id = router.id(exchange.as_bytes());
    let mut out = Vec::new();
    let headers = encoded(&headers);
    WALKS.with_borrow_mut(|walks| router.route(walks, id, key.as_bytes(), || with_headers(&headers), &mut out));
    let mut queues: Vec<u32> = out.into_iter().map(|queue| queue.0).collect();
    queues.sort_unstable();
    queues
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, AmqpError>, code: ReplyCode, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.scope, error.code, error.explanation.as_str()), (ErrorScope::Channel, code, text));
}

#[test]
fn every_vhost_is_born_with_these_exchanges() {
    let router = router();
    let exchanges = || router.exchanges_in(0..router.exchange_slots());
    let listed: Vec<_> = exchanges().map(|x| (x.name.to_string(), x.kind.name(), x.internal)).collect();
    let expected = [
        ("", "direct", false),
        ("amq.direct", "direct", false),
        ("amq.fanout", "fanout", false),
        ("amq.topic", "topic", false),
        ("amq.headers", "headers", false),
        ("amq.match", "headers", false),
        ("amq.rabbitmq.trace", "topic", true),
    ];
    assert_eq!(listed, expected.map(|(name, kind, internal)| (name.to_owned(), kind, internal)));
    assert!(exchanges().all(|exchange| exchange.durable && !exchange.auto_delete));
    assert_eq!(router.exchange_named(b""), Some(DEFAULT_EXCHANGE));
}

#[test]
fn the_default_exchange_routes_by_queue_name() {
    let mut router = router();
    let (a, _b) = (queue(&mut router, "a", 0), queue(&mut router, "b", 1));
    assert_eq!(route(&mut router, "", "a"), [0]);
    assert_eq!(route(&mut router, "", "b"), [1]);
    assert!(route(&mut router, "", "c").is_empty());
    router.queue_removed(a);
    assert!(route(&mut router, "", "a").is_empty());
}

#[test]
fn binding_twice_is_binding_once_and_arguments_tell_bindings_apart() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    for x in ["amq.direct", "amq.fanout", "amq.topic"] {
        assert!(bind(&mut router, x, q, "k").new);
        assert!(!bind(&mut router, x, q, "k").new);
        let other = table(&[("a", text("1"))]);
        assert!(router.bind_queue(x.as_bytes(), q, b"k", &other).unwrap().new);
        assert_eq!(route(&mut router, x, "k"), [0]);
        assert!(router.unbind_queue(x.as_bytes(), q, b"k", &none()).existed);
        assert_eq!(route(&mut router, x, "k"), [0], "the binding with arguments is still there");
        assert!(router.unbind_queue(x.as_bytes(), q, b"k", &other).existed);
        assert!(route(&mut router, x, "k").is_empty());
    }
}

#[test]
fn a_binding_with_a_nan_can_be_removed() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    let nan = table(&[("n", FieldValue::F64(f64::NAN))]);
    assert!(router.bind_queue(b"amq.headers", q, b"", &nan).unwrap().new);
    assert!(!router.bind_queue(b"amq.headers", q, b"", &nan).unwrap().new);
    assert!(router.unbind_queue(b"amq.headers", q, b"", &nan).existed);
}

#[test]
fn a_binding_is_durable_when_both_ends_are() {
    let mut router = router();
    router.queue_added(&"durable".into(), QueueId(0), true);
    router.queue_added(&"transient".into(), QueueId(1), false);
    router.declare(b"x", b"direct", false, false, &none());
    assert!(bind(&mut router, "amq.direct", QueueId(0), "k").durable);
    assert!(!bind(&mut router, "amq.direct", QueueId(1), "k").durable);
    assert!(!bind(&mut router, "x", QueueId(0), "k").durable);
    assert!(!router.bind_exchange(b"amq.direct", b"x", b"k", &none()).durable);
    assert!(router.unbind_queue(b"amq.direct", QueueId(0), b"k", &none()).durable);
}

#[test]
fn topic_patterns() {
    let keys = ["a.b.c", "a", "a.b", "", "a..c", "a.c", "x", "a.b.b.c"];
    let rows: [(&str, &[&str]); 9] = [
        ("a.*.c", &["a.b.c", "a..c"]),
        ("a.#", &["a.b.c", "a", "a.b", "a..c", "a.c", "a.b.b.c"]),
        ("#", &keys),
        ("*", &["a", "x"]),
        ("", &[""]),
        ("a..c", &["a..c"]),
        ("#.c", &["a.b.c", "a..c", "a.c", "a.b.b.c"]),
        ("a.#.c", &["a.b.c", "a..c", "a.c", "a.b.b.c"]),
        ("*.*", &["a.b", "a.c"]),
    ];
    for (pattern, expected) in rows {
        let mut router = router();
        let q = queue(&mut router, "q", 0);
        bind(&mut router, "amq.topic", q, pattern);
        let matched: Vec<_> = keys.into_iter().filter(|key| !route(&mut router, "amq.topic", key).is_empty()).collect();
        assert_eq!(matched, expected, "keys matched by {pattern:?}");
    }
}

#[test]
fn a_queue_gets_a_message_once() {
    let mut router = router();
    let q = queue(&mut router, "q", 7);
    for pattern in ["a.*", "a.#", "*.b", "#", "a.b"] {
        bind(&mut router, "amq.topic", q, pattern);
    }
    assert_eq!(route(&mut router, "amq.topic", "a.b"), [7]);
}

#[test]
fn headers_are_read_only_when_a_headers_exchange_is_reached() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    bind(&mut router, "amq.topic", q, "#");
    bind(&mut router, "amq.direct", q, "k");
    bind(&mut router, "amq.fanout", q, "");
    for name in ["", "amq.direct", "amq.topic", "amq.fanout"] {
        let id = router.id(name.as_bytes());
        let walks = &mut Walks::default();
        let by_key_alone = router.route(walks, id, b"k", || panic!("nobody asked for headers"), &mut Vec::new());
        assert!(by_key_alone);
    }
    router.bind_queue(b"amq.match", q, b"", &table(&[("a", FieldValue::I32(1))])).unwrap();
    assert_eq!(route_with(&mut router, "amq.match", "", table(&[("a", FieldValue::I64(1))])), [0]);
    assert!(route_with(&mut router, "amq.match", "", none()).is_empty());
}

#[test]
fn a_topic_route_through_a_headers_exchange_is_not_remembered() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    router.bind_exchange(b"amq.topic", b"amq.headers", b"#", &none());
    router.bind_queue(b"amq.headers", q, b"", &table(&[("a", FieldValue::I32(1))])).unwrap();
    let one = || table(&[("a", FieldValue::I32(1))]);
    assert_eq!(route_with(&mut router, "amq.topic", "k", one()), [0]);
    assert!(route_with(&mut router, "amq.topic", "k", none()).is_empty());
    assert_eq!(route_with(&mut router, "amq.topic", "k", one()), [0]);
}

#[test]
fn refused_x_match_leaves_no_binding() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    let bogus = table(&[("x-match", text("bogus"))]);
    let explanation = r#"Invalid x-match field value <<"bogus">>; expected all, any, all-with-x, or any-with-x"#;
    refused(router.bind_queue(b"amq.match", q, b"", &bogus), ReplyCode::PreconditionFailed, explanation);
    assert_eq!(router.bindings_to(Destination::Queue(q)).count(), 0);
    assert!(router.bind_queue(b"amq.direct", q, b"", &bogus).unwrap().new, "other kinds do not care");
}

#[test]
fn cycles_of_exchange_bindings_end() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    for name in ["a", "b"] {
        exchange(&mut router, name, "fanout");
    }
    router.bind_exchange(b"a", b"b", b"", &none());
    router.bind_exchange(b"b", b"a", b"", &none());
    router.bind_exchange(b"a", b"a", b"", &none());
    bind(&mut router, "a", q, "");
    bind(&mut router, "b", q, "");
    assert_eq!(route(&mut router, "a", "k"), [0]);
    assert_eq!(route(&mut router, "b", "k"), [0]);
    assert!(router.unbind_exchange(b"a", b"a", b"", &none()).existed);
}

#[test]
fn alternates_get_what_nobody_matched() {
    let mut router = router();
    let (q, fallback) = (queue(&mut router, "q", 0), queue(&mut router, "fallback", 1));
    let with_alternate = |router: &mut Router, name: &str, alternate: &str| {
        let arguments = table(&[("alternate-exchange", text(alternate))]);
        router.declare(name.as_bytes(), b"direct", true, false, &arguments);
    };
    with_alternate(&mut router, "main", "spare");
    bind(&mut router, "main", q, "k");
    assert!(route(&mut router, "main", "zz").is_empty(), "the alternate does not exist yet");
    exchange(&mut router, "spare", "fanout");
    bind(&mut router, "spare", fallback, "");
    assert_eq!(route(&mut router, "main", "k"), [0]);
    assert_eq!(route(&mut router, "main", "zz"), [1]);

    // A cycle of alternates ends, and so does an exchange that is its own.
    with_alternate(&mut router, "one", "two");
    with_alternate(&mut router, "two", "one");
    with_alternate(&mut router, "self", "self");
    assert!(route(&mut router, "one", "k").is_empty());
    assert!(route(&mut router, "self", "k").is_empty());
    // The default exchange as an alternate routes nothing.
    with_alternate(&mut router, "by-name", "");
    assert!(route(&mut router, "by-name", "q").is_empty());
}

#[test]
fn the_keys_of_copies_are_asked_for_together() {
    let mut router = router();
    let (q, fallback) = (queue(&mut router, "q", 0), queue(&mut router, "fallback", 1));
    let to_spare = table(&[("alternate-exchange", text("spare"))]);
    router.declare(b"main", b"topic", true, false, &to_spare);
    exchange(&mut router, "spare", "fanout");
    bind(&mut router, "main", q, "a.*");
    bind(&mut router, "spare", fallback, "");
    let copies = |router: &mut Router, exchange: &str, keys: &[&[u8]]| {
        let id = router.id(exchange.as_bytes());
        let mut out = Vec::new();
        router.route_with_copies(&mut Walks::default(), id, keys, PropertiesRef::default, &mut out);
        out.into_iter().map(|queue| queue.0).collect::<Vec<u32>>()
    };
    assert_eq!(copies(&mut router, "main", &[b"a.b", b"a.c"]), [0], "to each queue once");
    assert_eq!(copies(&mut router, "main", &[b"a.b", b"zz"]), [0], "one key matches: no case for the alternate");
    assert_eq!(copies(&mut router, "main", &[b"zz", b"a.b"]), [0]);
    assert_eq!(copies(&mut router, "main", &[b"yy", b"zz"]), [1]);

    // The key that leads to an exchange need not be the one that leads on.
    exchange(&mut router, "first", "direct");
    exchange(&mut router, "second", "direct");
    router.bind_exchange(b"first", b"second", b"in", &none());
    bind(&mut router, "second", q, "on");
    assert_eq!(copies(&mut router, "first", &[b"in", b"on"]), [0]);
    assert!(copies(&mut router, "first", &[b"in"]).is_empty());
}

#[test]
fn auto_delete_exchanges_fall_one_after_the_other() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    for name in ["first", "second", "third"] {
        router.declare(name.as_bytes(), b"fanout", false, true, &none());
    }
    assert!(router.exchange_named(b"first").is_some(), "never before the first binding");
    router.bind_exchange(b"first", b"second", b"", &none());
    router.bind_exchange(b"second", b"third", b"", &none());
    bind(&mut router, "third", q, "");
    assert_eq!(route(&mut router, "first", ""), [0]);
    let names = |names: &[&'static str]| names.iter().map(|&name| name.into()).collect::<Vec<ShortString>>();
    let unbound = router.unbind_queue(b"third", q, b"", &none());
    assert_eq!(router.fall(unbound.emptied.into_iter().collect()), names(&["third", "second", "first"]));
    assert_eq!(router.exchange_named(b"first"), None);

    router.declare(b"again", b"fanout", false, true, &none());
    bind(&mut router, "again", q, "1");
    bind(&mut router, "again", q, "2");
    assert_eq!(router.queue_removed(q), names(&["again"]));
}

#[test]
fn an_auto_delete_exchange_bound_to_itself_can_be_deleted() {
    let mut router = router();
    router.declare(b"x", b"fanout", false, true, &none());
    router.bind_exchange(b"x", b"x", b"", &none());
    let unbound = router.unbind_exchange(b"x", b"x", b"", &none());
    assert_eq!(router.fall(unbound.emptied.into_iter().collect()), [ShortString::from("x")]);
    router.declare(b"x", b"fanout", false, true, &none());
    router.bind_exchange(b"x", b"x", b"", &none());
    assert!(router.remove(router.id(b"x")).is_empty());
    assert_eq!(router.binding_count(), 0);
}

#[test]
fn the_generation_moves_with_every_change_and_only_then() {
    let mut router = router();
    let mut last = router.generation();
    let mut moved = |router: &Router| {
        let generation = router.generation();
        std::mem::replace(&mut last, generation) != generation
    };
    let q = queue(&mut router, "q", 0);
    assert!(moved(&router), "a queue is a binding of the default exchange");
    exchange(&mut router, "x", "topic");
    assert!(moved(&router));
    bind(&mut router, "x", q, "k");
    assert!(moved(&router));
    bind(&mut router, "x", q, "k");
    route(&mut router, "x", "k");
    assert!(!moved(&router));
    router.unbind_queue(b"x", q, b"other", &none());
    assert!(!moved(&router));
    router.unbind_queue(b"x", q, b"k", &none());
    assert!(moved(&router));
    router.remove(router.id(b"x"));
    assert!(moved(&router));
    router.queue_removed(q);
    assert!(moved(&router));
}

#[test]
fn bindings_are_listed() {
    let mut router = router();
    let q = queue(&mut router, "q", 0);
    bind(&mut router, "amq.topic", q, "a.#");
    router.bind_exchange(b"amq.topic", b"amq.fanout", b"", &none());
    let line = |binding: BindingInfo<'_>| {
        let (source, name) = (binding.source.escape_ascii(), binding.destination_name.escape_ascii());
        format!("{source}|{}|{name}|{}", binding.destination_type(), binding.properties_key())
    };
    let listed: Vec<_> = router.bindings_in(0..router.binding_slots()).map(line).collect();
    assert_eq!(listed, ["|queue|q|q", "amq.topic|queue|q|a.%23", "amq.topic|exchange|amq.fanout|~"]);
    assert_eq!(router.bindings_to(Destination::Queue(q)).map(line).collect::<Vec<_>>(), listed[1..2]);
}

#[test]
fn queues_that_were_expected_have_the_slots_that_they_get_by_and_by() {
    for count in [5, 100] {
        let [mut expecting, mut growing] = [router(), router()];
        expecting.expect_queues(count);
        let expected = expecting.queue_slots();
        for id in 0..=count as u32 {
            for router in [&mut expecting, &mut growing] {
                router.queue_added(&ShortString::truncated(format!("q{id}").as_bytes()), QueueId(id), true);
            }
        }
        assert_eq!((expecting.queue_slots(), growing.queue_slots()), (expected, expected), "{count}, and one more");
    }
}
