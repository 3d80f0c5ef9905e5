//! Where messages go, what stays, and in which order the log is told.

use super::*;
use crate::broker::message::ComposedMessage;
use crate::broker::store::{Definition, DurableQueueId, Log, MemoryStore, PageId, Pages, Returns, Route};
use crate::broker::testing::{self, Nobody, VHOST, caller};
use crate::broker::{ChannelId, ConnectionId, DeclareRequest, ExchangeRequest, GetOutcome, PeekSpec};
use crate::protocol::{BasicProperties, FieldTable, FieldValue};
use bytes::Bytes;

const CLIENT: ConnectionId = ConnectionId(0);

/// What a log is told of messages, in order.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    position: u64,
    pages: MemoryStore,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Record {
    Enqueued(DurableQueueId, u64),
    Removed(DurableQueueId, u64),
}

impl Log for Told {
    fn enqueued(&mut self, route: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        self.records.push(Record::Enqueued(route.queue, route.sequence));
        self.position += 1;
        LogPosition(self.position)
    }
    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        self.records.push(Record::Removed(queue, sequence));
    }
    fn removed_range(&mut self, _: DurableQueueId, _: u64, _: u64) {}
    fn purged(&mut self, _: DurableQueueId, _: u64) -> LogPosition {
        LogPosition::default()
    }
    fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
        LogPosition::default()
    }
    fn everything(&mut self) -> LogPosition {
        LogPosition(self.position)
    }
    fn define(&mut self, _: &Definition) -> LogPosition {
        LogPosition::default()
    }
    fn awaited(&mut self, _: LogPosition) {}
    fn durable(&self) -> LogPosition {
        LogPosition::default()
    }
    fn pending_bytes(&self) -> usize {
        0
    }
}

testing::with_pages_of_memory!(Told);

struct World {
    broker: Broker<Told>,
    channel: ChannelId,
}

impl World {
    fn new() -> Self {
        let mut broker = testing::broker_with(testing::settings(), Told::default());
        let channel = testing::connect(&mut broker, CLIENT);
        let mut world = Self { broker, channel };
        world.declare("dead", &[]);
        world
    }

    fn declare(&mut self, name: &str, arguments: &[(&'static str, FieldValue)]) {
        let arguments = FieldTable(arguments.iter().map(|(key, value)| ((*key).into(), value.clone())).collect());
        let request =
            DeclareRequest { name: name.as_bytes(), durable: true, exclusive: false, auto_delete: false, arguments };
        self.broker.declare_queue(caller(&self.broker, CLIENT), request, &mut Nobody).unwrap();
    }

    /// Dead letters go to the queue `dead`.
    fn mortal(&mut self, name: &str) {
        let text = |text: &str| FieldValue::LongString(text.as_bytes().into());
        self.declare(name, &[("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))]);
    }

    fn publish(&mut self, exchange: &'static str, key: &str, body: &str) {
        let properties = BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() };
        let (key, body) = (ShortString::truncated(key.as_bytes()), Bytes::copy_from_slice(body.as_bytes()));
        let message = ComposedMessage::new(&exchange.into(), &key, &properties, body);
        message.publish(caller(&self.broker, CLIENT), usize::MAX, &mut self.broker, &mut Nobody).unwrap();
    }

    /// All messages of a queue are rejected.
    fn reject_all(&mut self, queue: &str) {
        while let GetOutcome::Got(_) =
            self.broker.get(caller(&self.broker, CLIENT), queue.as_bytes(), false, &mut Nobody).unwrap()
        {}
        self.broker.settle_at_once(self.channel, Settlement::Discarded);
        loop {
            self.broker.set_now(0);
            if !self.broker.has_touched() {
                break;
            }
            self.broker.pump(&mut Nobody);
        }
    }

    /// Exchange, key and body of all messages of a queue, which are taken.
    fn take(&mut self, queue: &str) -> Vec<String> {
        let mut all = Vec::new();
        while let GetOutcome::Got(got) =
            self.broker.get(caller(&self.broker, CLIENT), queue.as_bytes(), true, &mut Nobody).unwrap()
        {
            let content = got.message.content();
            let parts = [content.exchange(), content.routing_key(), content.body()].map(String::from_utf8_lossy);
            all.push(parts.join("|"));
        }
        all
    }

    fn carry(&mut self, to: MoveTo, most: Option<usize>) -> (Moved, LogPosition) {
        let what = most.map_or(MoveWhat::All, MoveWhat::First);
        self.carry_what(to, what)
    }

    fn carry_what(&mut self, to: MoveTo, what: MoveWhat) -> (Moved, LogPosition) {
        let caller = caller(&self.broker, CLIENT);
        let spec = MoveSpec { queue: "dead".into(), to, what };
        let mut this = self.broker.begin_move(caller, spec).unwrap();
        while self.broker.move_some(caller, &mut this, &mut Nobody) {
            self.broker.set_now(0);
            self.broker.pump(&mut Nobody);
        }
        self.broker.end_move(this)
    }

    fn redrive(&mut self, most: Option<usize>) -> Moved {
        self.carry(MoveTo::WhereItDied, most).0
    }
}

fn stay(moved: &Moved) -> Vec<(&str, u64)> {
    moved.stay.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}

#[test]
fn dead_letters_come_back_to_their_queues_as_they_came_there() {
    let mut world = World::new();
    world.mortal("a");
    world.mortal("b");
    world.broker.bind_queue(caller(&world.broker, CLIENT), b"a", b"amq.topic", b"x.#", FieldTable::default()).unwrap();
    for body in ["1", "2", "3"] {
        world.publish("amq.topic", "x.y", body);
    }
    world.publish("", "b", "4");
    world.reject_all("a");
    world.reject_all("b");
    let moved = world.redrive(Some(1));
    assert_eq!((moved.moved, moved.ready, moved.stay.len()), (1, 3, 0));
    let moved = world.redrive(None);
    assert_eq!((moved.moved, moved.ready), (3, 0));
    assert_eq!(world.take("a"), ["amq.topic|x.y|1", "amq.topic|x.y|2", "amq.topic|x.y|3"]);
    assert_eq!(world.take("b"), ["|b|4"]);
    world.broker.census();
}

#[test]
fn what_cannot_come_back_stays_in_its_place_and_says_why() {
    let mut world = World::new();
    world.mortal("gone");
    world.mortal("a");
    world.publish("", "dead", "alive 1");
    world.publish("", "gone", "of gone");
    world.publish("", "a", "of a");
    world.publish("", "dead", "alive 2");
    world.reject_all("gone");
    world.reject_all("a");
    world.publish("", "dead", "alive 3");
    world.broker.delete_queue(caller(&world.broker, CLIENT), b"gone", false, false, &mut Nobody).unwrap();
    let moved = world.redrive(None);
    assert_eq!(stay(&moved), [("it is no dead letter", 3), ("queue 'gone' is not there", 1)]);
    assert_eq!((moved.moved, moved.ready), (1, 4));
    assert_eq!(world.take("dead"), ["|dead|alive 1", "|dead|alive 2", "|dead|of gone", "|dead|alive 3"]);
    assert_eq!(world.take("a"), ["|a|of a"]);
    world.broker.census();
}

#[test]
fn a_queue_that_is_full_keeps_none_of_them_from_staying() {
    let mut world = World::new();
    world.mortal("a");
    let (most, refuses) = (FieldValue::I64(2), FieldValue::LongString(b"reject-publish-dlx".as_slice().into()));
    world.declare("full", &[("x-max-length", most), ("x-overflow", refuses)]);
    for body in ["1", "2", "3"] {
        world.publish("", "dead", body);
    }
    let (moved, _) = world.carry(MoveTo::Queue("full".into()), None);
    assert_eq!((moved.moved, stay(&moved)), (2, vec![("queue 'full' refuses it", 1)]));
    assert_eq!(world.take("full"), ["|dead|1", "|dead|2"]);
    assert_eq!(world.take("dead"), ["|dead|3"]);
    let (moved, _) = world.carry(MoveTo::Queue("dead".into()), None);
    assert_eq!(moved.moved, 0);
}

#[test]
fn by_their_exchange_they_go_where_it_routes_them_now() {
    let mut world = World::new();
    world.mortal("a");
    world.declare("b", &[]);
    let caller = caller(&world.broker, CLIENT);
    let request = ExchangeRequest {
        name: b"x",
        kind: b"direct",
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
    };
    world.broker.declare_exchange(caller, request).unwrap();
    for key in ["k", "l"] {
        world.broker.bind_queue(caller, b"a", b"x", key.as_bytes(), FieldTable::default()).unwrap();
        world.publish("x", key, key);
    }
    world.reject_all("a");
    world.broker.unbind_queue(caller, b"a", b"x", b"k", &FieldTable::default()).unwrap();
    world.broker.unbind_queue(caller, b"a", b"x", b"l", &FieldTable::default()).unwrap();
    world.broker.bind_queue(caller, b"b", b"x", b"k", FieldTable::default()).unwrap();
    let (moved, _) = world.carry(MoveTo::ItsExchange, None);
    assert_eq!((moved.moved, stay(&moved)), (1, vec![("no queue is bound for it", 1)]));
    assert_eq!(world.take("b"), ["x|k|k"]);
    assert_eq!(world.take("dead"), ["|dead|l"]);
}

/// Whatever of the log is there after a crash, each message is in one of the two queues: the other one has it before it goes.
#[test]
fn at_any_moment_the_log_has_each_message_in_one_of_both_queues() {
    let mut world = World::new();
    world.mortal("a");
    const COUNT: usize = 3 * MOVED_PER_TURN / 2;
    (0..COUNT).for_each(|number| world.publish("", "a", &number.to_string()));
    world.reject_all("a");
    let dead = world.broker.queue(world.broker.queue_in(VHOST, b"dead").unwrap()).durable_id.unwrap();
    world.broker.store.records.clear();
    let (moved, durable_at) = world.carry(MoveTo::WhereItDied, None);
    assert_eq!(moved.moved as usize, COUNT);
    let records = &world.broker.store.records;
    assert_eq!(records.len(), 2 * COUNT);
    for pair in records.chunks(2) {
        let [Record::Enqueued(to, _), Record::Removed(from, _)] = pair else { panic!("{pair:?}") };
        assert!(*to != dead && *from == dead, "{pair:?}");
    }
    assert_eq!(durable_at, LogPosition(world.broker.store.position), "who is answered knows it to last");
}

#[test]
fn a_queue_that_is_deleted_meanwhile_ends_it() {
    let mut world = World::new();
    world.mortal("a");
    (0..2 * MOVED_PER_TURN).for_each(|number| world.publish("", "dead", &number.to_string()));
    let caller = caller(&world.broker, CLIENT);
    let spec = MoveSpec { queue: "dead".into(), to: MoveTo::WhereItDied, what: MoveWhat::All };
    let mut this = world.broker.begin_move(caller, spec).unwrap();
    assert!(world.broker.move_some(caller, &mut this, &mut Nobody));
    world.broker.delete_queue(caller, b"dead", false, false, &mut Nobody).unwrap();
    assert!(!world.broker.move_some(caller, &mut this, &mut Nobody));
    let (moved, _) = world.broker.end_move(this);
    assert_eq!((moved.moved, moved.ready), (0, 0));
    world.broker.census();
}

/// The messages that wait in the queue `dead`: their ids, and whether they were given to somebody.
fn peek(world: &World) -> Vec<(QueuedId, bool)> {
    let spec = PeekSpec { from: 0, most: 100_000, body_max_bytes: 0 };
    let peeked = world.broker.peek(caller(&world.broker, CLIENT), b"dead", spec).unwrap();
    peeked.messages.into_iter().map(|message| (message.id, message.redelivered)).collect()
}

#[test]
fn one_that_is_not_the_oldest_comes_back_and_the_others_do_not_notice() {
    for kind in ["classic", "quorum"] {
        let mut world = World::new();
        world.broker.delete_queue(caller(&world.broker, CLIENT), b"dead", false, false, &mut Nobody).unwrap();
        world.declare("dead", &[("x-queue-type", FieldValue::LongString(kind.as_bytes().into()))]);
        world.mortal("a");
        (0..6).for_each(|number| world.publish("", "a", &number.to_string()));
        world.reject_all("a");
        let ids = peek(&world);
        assert_eq!(ids.len(), 6);
        world.broker.store.records.clear();
        let (moved, durable_at) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(ids[3].0));
        assert_eq!((moved.moved, moved.stay.len(), moved.ready), (1, 0, 5), "{kind}");
        // In the log, it is in the other queue before it is gone from this one.
        let [Record::Enqueued(to, _), Record::Removed(from, removed)] = world.broker.store.records[..] else {
            panic!("{:?}", world.broker.store.records)
        };
        assert!(to != from && removed == ids[3].0.sequence);
        assert_eq!(durable_at, LogPosition(world.broker.store.position));
        let left: Vec<_> = ids.iter().filter(|(id, _)| *id != ids[3].0).copied().collect();
        assert_eq!(peek(&world), left, "{kind}: in their places, and given to nobody");
        // It is gone, whatever its place is now.
        let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(ids[3].0));
        assert_eq!((moved.moved, stay(&moved), moved.ready), (0, vec![("it is there no more", 1)], 5));
        assert_eq!(world.take("a"), ["|a|3"]);
        assert_eq!(world.take("dead"), ["|dead|0", "|dead|1", "|dead|2", "|dead|4", "|dead|5"]);
        world.broker.census();
    }
}

#[test]
fn one_is_taken_out_of_any_level_of_priority() {
    let mut world = World::new();
    world.declare("levels", &[("x-max-priority", FieldValue::I64(5))]);
    world.declare("there", &[]);
    for (priority, body) in [(1, "a"), (4, "b"), (1, "c"), (4, "d"), (0, "e")] {
        let properties = BasicProperties { priority: Some(priority), ..BasicProperties::default() };
        let message =
            ComposedMessage::new(&"".into(), &"levels".into(), &properties, Bytes::from_static(body.as_bytes()));
        message.publish(caller(&world.broker, CLIENT), usize::MAX, &mut world.broker, &mut Nobody).unwrap();
    }
    let spec = PeekSpec { from: 0, most: 9, body_max_bytes: 9 };
    let caller = caller(&world.broker, CLIENT);
    let peeked = world.broker.peek(caller, b"levels", spec).unwrap().messages;
    for body in ["c", "e", "b"] {
        let id = peeked.iter().find(|message| *message.body == *body.as_bytes()).unwrap().id;
        let spec = MoveSpec { queue: "levels".into(), to: MoveTo::Queue("there".into()), what: MoveWhat::One(id) };
        let mut this = world.broker.begin_move(caller, spec).unwrap();
        assert!(!world.broker.move_some(caller, &mut this, &mut Nobody));
        assert_eq!(world.broker.end_move(this).0.moved, 1);
        world.broker.census();
    }
    assert_eq!(world.take("there"), ["|levels|c", "|levels|e", "|levels|b"]);
    assert_eq!(world.take("levels"), ["|levels|d", "|levels|a"]);
}

#[test]
fn one_that_is_too_far_or_of_a_queue_before_this_one_stays() {
    let mut world = World::new();
    (0..SOUGHT_MAX + 2).for_each(|number| world.publish("", "dead", &number.to_string()));
    let ids = peek(&world);
    let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(ids[SOUGHT_MAX + 1].0));
    assert_eq!(moved.moved, 0);
    assert_eq!(stay(&moved), [(&*format!("there are more than {SOUGHT_MAX} before it"), 1)]);
    let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(ids[SOUGHT_MAX].0));
    assert_eq!(stay(&moved), [("it is no dead letter", 1)], "it is near enough");
    assert_eq!(peek(&world), ids);
    world.broker.delete_queue(caller(&world.broker, CLIENT), b"dead", false, false, &mut Nobody).unwrap();
    world.declare("dead", &[]);
    world.publish("", "dead", "another");
    let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(ids[0].0));
    assert_eq!((stay(&moved), moved.ready), (vec![("it is there no more", 1)], 1));
    world.broker.census();
}

/// What stays was given to nobody: a limit of deliveries would take it away in the end.
#[test]
fn what_stays_may_stay_as_often_as_it_likes() {
    let mut world = World::new();
    world.broker.delete_queue(caller(&world.broker, CLIENT), b"dead", false, false, &mut Nobody).unwrap();
    let quorum = FieldValue::LongString(b"quorum".as_slice().into());
    world.declare("dead", &[("x-queue-type", quorum), ("x-delivery-limit", FieldValue::I64(1))]);
    world.publish("", "dead", "alive");
    for _ in 0..5 {
        assert_eq!(stay(&world.redrive(None)), [("it is no dead letter", 1)]);
    }
    assert_eq!(peek(&world).iter().map(|(_, redelivered)| *redelivered).collect::<Vec<_>>(), [false]);
    assert_eq!(world.take("dead"), ["|dead|alive"]);
}

/// What stays in a queue that puts back behind those that are back has its place among these.
#[test]
fn what_stays_among_those_that_came_back_keeps_its_place() {
    let mut world = World::new();
    world.broker.delete_queue(caller(&world.broker, CLIENT), b"dead", false, false, &mut Nobody).unwrap();
    world.declare("dead", &[("x-queue-type", FieldValue::LongString(b"quorum".as_slice().into()))]);
    (0..5).for_each(|number| world.publish("", "dead", &number.to_string()));
    for _ in 0..3 {
        world.broker.get(caller(&world.broker, CLIENT), b"dead", false, &mut Nobody).unwrap();
    }
    world.broker.settle_at_once(world.channel, Settlement::Requeued);
    let ids = peek(&world);
    for what in [MoveWhat::One(ids[0].0), MoveWhat::One(ids[1].0), MoveWhat::First(2), MoveWhat::One(ids[4].0)] {
        let (moved, _) = world.carry_what(MoveTo::WhereItDied, what);
        assert_eq!((moved.moved, moved.ready), (0, 5));
        assert_eq!(peek(&world), ids, "{what:?}");
    }
    assert_eq!(world.take("dead"), ["|dead|0", "|dead|1", "|dead|2", "|dead|3", "|dead|4"]);
    world.broker.census();
}

/// Serials and sequences are given again by a broker that starts: an id that another one said names nothing here.
#[test]
fn an_id_of_before_a_restart_names_no_message() {
    let mut world = World::new();
    world.publish("", "dead", "another");
    let (id, _) = peek(&world)[0];
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!("1-0-1".parse::<QueuedId>(), Err(()));
    let before = QueuedId { run: id.run + 1, ..id };
    let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(before));
    assert_eq!((stay(&moved), moved.ready), (vec![("it is there no more", 1)], 1));
    let (moved, _) = world.carry_what(MoveTo::WhereItDied, MoveWhat::One(id));
    assert_eq!(stay(&moved), [("it is no dead letter", 1)]);
}
