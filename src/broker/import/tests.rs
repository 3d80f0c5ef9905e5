//! Imports: in how many parts they are made, and what refuses them.

use super::*;
use crate::broker::message::Content;
use crate::broker::store::{Definition, DurableQueueId, Log, MemoryStore, PageId, Pages, Returns, Route};
use crate::broker::testing::{self, USER, VHOST, settings};

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

fn binding(source: &'static str, queue: &'static str, key: &'static str) -> Imported {
    let (source, destination, routing_key) = (source.into(), queue.into(), key.into());
    let (vhost, arguments) = ("/".into(), FieldTable::default());
    Imported::Binding(ImportedBinding { vhost, source, destination, to_queue: true, routing_key, arguments })
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
        let hash = ImportedExchange {
            vhost: "/".into(),
            name: "hash".into(),
            kind: "x-consistent-hash".into(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: FieldTable::default(),
        };
        let things = vec![Imported::Exchange(hash), queue("q"), binding("hash", "q", "no number")];
        assert!(import(&mut broker, things, most).1.is_err());
        assert!(broker.store.batches.is_empty() && broker.queue_in(VHOST, b"q").is_none());
    }
}

#[test]
fn a_virtual_host_of_the_import_has_what_all_are_born_with() {
    let mut broker = broker();
    let vhost = ImportedVhost {
        name: "new".into(),
        description: "".into(),
        tags: Vec::new(),
        default_queue_type: Some("quorum".into()),
        tracing: None,
    };
    let in_it = |thing| match thing {
        Imported::Queue(queue) => Imported::Queue(ImportedQueue { vhost: "new".into(), ..queue }),
        Imported::Binding(binding) => Imported::Binding(ImportedBinding { vhost: "new".into(), ..binding }),
        other => other,
    };
    let things = vec![
        Imported::Vhost(vhost),
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
