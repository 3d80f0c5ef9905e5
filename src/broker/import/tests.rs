//! Imports: in how many parts they are made, and what refuses them.

use super::*;
use crate::broker::message::Content;
use crate::broker::store::{Definition, DurableQueueId, Log, MemoryStore, PageId, Pages, Returns, Route};
use crate::broker::testing::{self, USER, VHOST, settings};
use crate::broker::{Settings, VhostLimits};
use crate::protocol::FieldValue;

/// Keeps what it was told, and what of it belongs together.
#[derive(Default)]
struct Told {
    batches: Vec<Vec<Definition>>,
    keeps: bool,
    pages: MemoryStore,
}

impl Log for Told {
    fn enqueued(&mut self, _: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        LogPosition(0)
    }
    fn removed(&mut self, _: DurableQueueId, _: u64) {}
    fn removed_range(&mut self, _: DurableQueueId, _: u64, _: u64) {}
    fn purged(&mut self, _: DurableQueueId, _: u64) -> LogPosition {
        LogPosition(0)
    }
    fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
        LogPosition(0)
    }
    fn everything(&mut self) -> LogPosition {
        LogPosition(0)
    }
    fn define(&mut self, definition: &Definition) -> LogPosition {
        if !self.keeps {
            self.batches.push(Vec::new());
        }
        self.batches.last_mut().expect("it was begun").push(definition.clone());
        LogPosition(0)
    }
    fn keep_together(&mut self, keeps: bool) {
        self.keeps = keeps;
        if keeps {
            self.batches.push(Vec::new());
        }
    }
    fn awaited(&mut self, _: LogPosition) {}
    fn durable(&self) -> LogPosition {
        LogPosition(0)
    }
    fn pending_bytes(&self) -> usize {
        0
    }
}

testing::with_pages_of_memory!(Told);

fn broker() -> Broker<Told> {
    let mut broker = testing::broker_with(settings(), Told::default());
    broker.store.batches.clear();
    broker
}

fn queue(name: &str) -> Imported {
    let name = ShortString::truncated(name.as_bytes());
    let arguments = FieldTable::default();
    Imported::Queue(ImportedQueue { vhost: "/".into(), name, durable: true, auto_delete: false, arguments })
}

/// A queue, durable or not, with an argument.
fn queue_with(name: &'static str, durable: bool, (argument, value): (&'static str, FieldValue)) -> Imported {
    let arguments = FieldTable(vec![(argument.into(), value)]);
    Imported::Queue(ImportedQueue { vhost: "/".into(), name: name.into(), durable, auto_delete: false, arguments })
}

fn exchange(name: &'static str, kind: &'static str) -> Imported {
    let (durable, auto_delete, internal, arguments) = (true, false, false, FieldTable::default());
    let (vhost, name, kind) = ("/".into(), name.into(), kind.into());
    Imported::Exchange(ImportedExchange { vhost, name, kind, durable, auto_delete, internal, arguments })
}

fn vhost(name: &'static str, default_queue_type: Option<&str>) -> Imported {
    let (name, default_queue_type) = (name.into(), default_queue_type.map(Box::from));
    let (description, tags, tracing) = ("".into(), Vec::new(), None);
    Imported::Vhost(ImportedVhost { name, description, tags, default_queue_type, tracing, is_protected: None })
}

/// The same thing in another virtual host.
fn within(name: &'static str, thing: Imported) -> Imported {
    let vhost = name.into();
    match thing {
        Imported::Exchange(exchange) => Imported::Exchange(ImportedExchange { vhost, ..exchange }),
        Imported::Queue(queue) => Imported::Queue(ImportedQueue { vhost, ..queue }),
        Imported::Binding(binding) => Imported::Binding(ImportedBinding { vhost, ..binding }),
        other => other,
    }
}

fn binding(source: &'static str, queue: &'static str, key: &'static str) -> Imported {
    let (source, destination, routing_key) = (source.into(), queue.into(), key.into());
    let (vhost, arguments) = ("/".into(), FieldTable::default());
    Imported::Binding(ImportedBinding { vhost, source, destination, to_queue: true, routing_key, arguments })
}

/// Why it is refused, which it is before anything is made.
fn refused(broker: &mut Broker<Told>, things: impl Fn() -> Vec<Imported>) -> String {
    let whys = [1, 2, 100].map(|most| import(broker, things(), most).1.unwrap_err());
    assert!(broker.store.batches.is_empty(), "refused for {whys:?} after {:?}", broker.store.batches);
    let [why, ..] = whys;
    why
}

/// In how many parts of so many things it is done, and how it ends.
fn import(broker: &mut Broker<Told>, things: Vec<Imported>, most: usize) -> (usize, Result<ImportOutcome, String>) {
    let mut import = Import::new(things);
    for part in 1.. {
        if let Some(outcome) = broker.import_some(&mut import, Some(USER), most) {
            return (part, outcome.map(|done| done.value));
        }
    }
    unreachable!("it goes on for ever");
}

#[test]
fn what_fits_into_one_part_is_one_batch_and_what_does_not_is_several() {
    let mut broker = broker();
    let queues = |names: std::ops::Range<usize>| names.map(|number| queue(&number.to_string())).collect::<Vec<_>>();
    let outcome = import(&mut broker, queues(0..4), 4);
    assert_eq!(outcome, (1, Ok(ImportOutcome { bindings_passed_over: 0 })));
    assert_eq!(broker.store.batches.iter().map(Vec::len).collect::<Vec<_>>(), [4]);
    broker.store.batches.clear();
    // Three parts to look at all of them, and three to make them.
    assert_eq!(import(&mut broker, queues(4..14), 4).0, 6);
    assert_eq!(broker.store.batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
}

#[test]
fn what_is_wrong_with_the_last_thing_keeps_the_first_from_being_made() {
    for most in [1, 2, 100] {
        let mut broker = broker();
        let hash = exchange("hash", "x-consistent-hash");
        let things = vec![hash, queue("q"), binding("hash", "q", "no number")];
        assert!(import(&mut broker, things, most).1.is_err());
        assert!(broker.store.batches.is_empty() && broker.queue_in(VHOST, b"q").is_none());
    }
}

#[test]
fn a_virtual_host_of_the_import_has_what_all_are_born_with() {
    let mut broker = broker();
    let in_it = |thing| within("new", thing);
    let things = vec![
        vhost("new", Some("quorum")),
        in_it(queue("q")),
        in_it(binding("amq.topic", "q", "k")),
        in_it(binding("amq.rabbitmq.log", "q", "k")),
        in_it(binding("amq.topic", "exclusive", "k")),
    ];
    let outcome = import(&mut broker, things, 100).1;
    assert_eq!(outcome, Ok(ImportOutcome { bindings_passed_over: 2 }));
    let new = broker.vhost_named(b"new").expect("it was made");
    assert!(broker.may_enter(USER, new), "who imports it may do everything there");
    let id = broker.queue_in(new, b"q").expect("it was made");
    assert_eq!(broker.queue(id).arguments.kind.name(), "quorum");
    assert_eq!(broker.router(new).binding_count(), 1);
}

#[test]
fn what_is_too_much_together_is_refused() {
    let mut broker = broker();
    let limit = Imported::VhostLimits { vhost: "/".into(), queues_max: Some(2), connections_max: None };
    let refused = import(&mut broker, vec![limit, queue("a"), queue("b"), queue("a"), queue("c")], 100).1.unwrap_err();
    assert!(refused.starts_with("Adding 3 queue(s) to virtual host \"/\" would exceed the limit of 2"), "{refused}");
    let guest = || Imported::User {
        name: ShortString::truncated(broker.user_name(USER).as_bytes()),
        password: PasswordHash::Absent,
        tags: Tags::administrator(),
        limits: ImportedUserLimits::default(),
    };
    let alone = vec![guest()];
    assert_eq!(import(&mut broker, alone, 100).1, Err("nobody could log in and administer any more".to_owned()));
}

#[test]
fn arguments_are_looked_at_as_those_of_the_default_type() {
    let mut broker = broker();
    let lazy = || queue_with("lazy", true, ("x-queue-mode", FieldValue::LongString(b"lazy".as_slice().into())));
    let things = || vec![vhost("new", Some("quorum")), within("new", queue("q")), within("new", lazy())];
    let why = refused(&mut broker, things);
    assert!(why.contains("x-queue-mode"), "{why}");
    let streams = || vec![vhost("new", Some("stream")), within("new", queue("q"))];
    let why = refused(&mut broker, streams);
    assert!(why.contains("queue type 'stream'"), "{why}");

    let limited = |durable| within("new", queue_with("limited", durable, ("x-delivery-limit", FieldValue::I64(3))));
    let why = refused(&mut broker, || vec![vhost("new", Some("quorum")), limited(false)]);
    assert!(why.contains("x-delivery-limit"), "what is transient is classic: {why}");
    let outcome = import(&mut broker, vec![vhost("new", Some("quorum")), limited(true)], 100).1;
    assert_eq!(outcome, Ok(ImportOutcome { bindings_passed_over: 0 }));
}

#[test]
fn no_queue_of_type_quorum_is_bound_to_an_exchange_of_local_ones() {
    let mut broker = broker();
    let quorum = || queue_with("quorum", true, ("x-queue-type", FieldValue::LongString(b"quorum".as_slice().into())));
    let local = || exchange("local", "x-local-random");
    let expected = "precondition_failed: Queue type rabbit_quorum_queue not valid for this exchange type";
    let both_come = || vec![local(), queue("classic"), quorum(), binding("local", "quorum", "")];
    assert_eq!(refused(&mut broker, both_come), expected);
    import(&mut broker, vec![local(), quorum()], 100).1.unwrap();
    broker.store.batches.clear();
    let both_are_there = || vec![queue("classic"), binding("local", "quorum", "")];
    assert_eq!(refused(&mut broker, both_are_there), expected);
    let classic = vec![queue("classic"), binding("local", "classic", "")];
    assert_eq!(import(&mut broker, classic, 100).1, Ok(ImportOutcome { bindings_passed_over: 0 }));
}

#[test]
fn what_a_virtual_host_is_born_with_counts_among_its_exchanges() {
    let vhost_limits = VhostLimits { exchanges_max: 8, ..VhostLimits::default() };
    let settings = Settings { vhost_limits, event_vhost: Some("with events".into()), ..settings() };
    let mut broker = testing::broker_with(settings, Told::default());
    broker.store.batches.clear();
    let fanout = |vhost, name| within(vhost, exchange(name, "fanout"));
    let two = || vec![vhost("new", None), fanout("new", "x"), fanout("new", "y")];
    assert_eq!(refused(&mut broker, two), "cannot add 2: exchange limit in vhost 'new' (8) is reached");
    let with_events = || vec![vhost("with events", None), fanout("with events", "x")];
    assert_eq!(refused(&mut broker, with_events), "cannot add 1: exchange limit in vhost 'with events' (8) is reached");
    let outcome = import(&mut broker, vec![vhost("new", None), fanout("new", "x")], 100).1;
    assert_eq!(outcome, Ok(ImportOutcome { bindings_passed_over: 0 }));
}

#[test]
fn bindings_of_the_exchange_of_events_count_before_there_is_one() {
    let vhost_limits = VhostLimits { bindings_max: 2, ..VhostLimits::default() };
    let settings = Settings { vhost_limits, event_vhost: Some("with events".into()), ..settings() };
    let mut broker = testing::broker_with(settings, Told::default());
    broker.store.batches.clear();
    let bound = |vhost_name: &'static str, keys: &[&'static str]| {
        let bindings = keys.iter().map(|key| within(vhost_name, binding("amq.rabbitmq.event", "q", key)));
        [vhost(vhost_name, None), within(vhost_name, queue("q"))].into_iter().chain(bindings).collect::<Vec<_>>()
    };
    let three = || bound("with events", &["user.#", "queue.*", "vhost.created"]);
    assert_eq!(refused(&mut broker, three), "cannot add 3: binding limit in vhost 'with events' (2) is reached");
    let outcome = import(&mut broker, bound("with events", &["user.#", "queue.*"]), 100).1;
    assert_eq!(outcome, Ok(ImportOutcome { bindings_passed_over: 0 }));
    let outcome = import(&mut broker, bound("new", &["user.#", "queue.*"]), 100).1;
    assert_eq!(outcome, Ok(ImportOutcome { bindings_passed_over: 2 }), "no other has one");
}
