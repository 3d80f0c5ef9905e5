//! What the log is told of values, and when.

use super::*;
use crate::broker::channel::ChannelMode;
use crate::broker::message::{Attributes, ComposedMessage, MessageRef};
use crate::broker::page::{Entry, PageBuilder};
use crate::broker::store::{Log, MemoryStore, PageId, Pages, Returns};
use crate::broker::testing::{self, Nobody, VHOST};
use crate::broker::{ChannelId, ConnectionId, ExchangeRequest, KnownRoute, Origin, Publication, Target};
use crate::protocol::{BasicProperties, FieldTable, FieldValue};
use bytes::Bytes;

/// A log of which nothing is durable yet, and which knows the values by that they are told `together`.
#[derive(Default)]
struct Told {
    said: Vec<String>,
    values: Option<DurableQueueId>,
    awaited: LogPosition,
    pages: MemoryStore,
}

impl Told {
    fn say(&mut self, said: String) -> LogPosition {
        self.said.push(said);
        LogPosition(self.said.len() as u64)
    }

    fn name(&self, queue: DurableQueueId) -> &'static str {
        if self.values == Some(queue) { "value" } else { "message" }
    }
}

impl Log for Told {
    fn enqueued(&mut self, route: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        assert_ne!(self.values, Some(route.queue), "a value stands alone");
        self.say("message".to_owned())
    }
    fn enqueued_together(&mut self, route: Route, content: &Content<'_>) -> LogPosition {
        assert_eq!((self.values, content.routing_key().len()), (Some(route.queue), 16));
        let until = route.expires_at_ms.map(|until_ms| format!(" until {until_ms}")).unwrap_or_default();
        self.say(format!("value {}{until}", route.sequence))
    }
    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        self.say(format!("no {} {sequence}", self.name(queue)));
    }
    fn removed_range(&mut self, _: DurableQueueId, _: u64, _: u64) {}
    fn purged(&mut self, _: DurableQueueId, _: u64) -> LogPosition {
        LogPosition(0)
    }
    fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
        LogPosition(0)
    }
    fn everything(&mut self) -> LogPosition {
        LogPosition(self.said.len() as u64)
    }
    fn define(&mut self, definition: &Definition) -> LogPosition {
        if let Definition::ValuesDeclared { id, .. } = definition {
            self.values = Some(*id);
        }
        LogPosition(0)
    }
    fn awaited(&mut self, position: LogPosition) {
        self.awaited = self.awaited.max(position);
    }
    fn durable(&self) -> LogPosition {
        LogPosition(0)
    }
    fn pending_bytes(&self) -> usize {
        0
    }
}

testing::with_pages_of_memory!(Told);

/// A client, and an exchange `x` that remembers so many values on disk, to which a durable queue is bound.
struct World {
    broker: Broker<Told>,
    channel: ChannelId,
}

impl World {
    fn new(size: i32, ttl_ms: i32, of_queue: FieldTable) -> Self {
        let mut broker = testing::broker_with(testing::settings(), Told::default());
        let channel = testing::connect(&mut broker, ConnectionId(0));
        let caller = broker.caller(channel);
        testing::restored_queue(&mut broker, of_queue);
        let arguments = FieldTable(vec![
            ("x-cache-size".into(), FieldValue::I32(size)),
            ("x-cache-ttl".into(), FieldValue::I32(ttl_ms)),
            ("x-cache-persistence".into(), FieldValue::LongString(b"disk".as_slice().into())),
        ]);
        let (durable, auto_delete, internal) = (true, false, false);
        let kind = b"x-message-deduplication";
        let request = ExchangeRequest { name: b"x", kind, durable, auto_delete, internal, arguments };
        broker.declare_exchange(caller, request).unwrap();
        broker.bind_queue(caller, b"q", b"x", b"", FieldTable::default()).unwrap();
        broker.store.said.clear();
        Self { broker, channel }
    }

    fn lasting(size: i32) -> Self {
        Self::new(size, 1000, FieldTable::default())
    }

    fn publish(&mut self, value: &str, persistent: bool) {
        let Self { broker, channel } = self;
        let value = FieldValue::LongString(value.as_bytes().into());
        let headers = Some(FieldTable(vec![("x-deduplication-header".into(), value)]));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        let message = ComposedMessage::new(&"x".into(), &"".into(), &properties, Bytes::new());
        let attributes = Attributes { persistent, ..Attributes::default() };
        let publication = Publication { content: message.content(), attributes, mandatory: false };
        let target = Target { exchange: broker.exchange_in(VHOST, b"x").unwrap(), extra_keys: &[] };
        let origin = Origin::Client { target, route: &mut KnownRoute::default() };
        broker.publish_from(origin, broker.caller(*channel), &publication, &mut Nobody).unwrap();
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.broker.store.said)
    }
}

#[test]
fn a_value_is_told_behind_its_message_and_a_confirm_waits_for_it() {
    let mut world = World::lasting(10);
    world.broker.select_confirms(world.channel).unwrap();
    world.publish("this", true);
    assert_eq!(world.broker.store.awaited, LogPosition(2));
    assert_eq!(world.said(), ["message", "value 1 until 1000"]);
    world.publish("this", true);
    assert_eq!(world.said(), [""; 0], "a duplicate is nothing new");
    world.publish("that", false);
    assert_eq!(world.said(), ["value 2 until 1000"], "whether or not its message lasts");
    let ChannelMode::Confirm(_) = &world.broker.channel(world.channel).mode else { panic!("it confirms") };
    assert_eq!(world.broker.totals().confirmed, 0);
}

#[test]
fn the_log_hears_of_values_that_are_forgotten() {
    let mut world = World::lasting(2);
    ["a", "b", "c"].into_iter().for_each(|value| world.publish(value, false));
    assert_eq!(world.said()[2..], ["value 3 until 1000", "no value 1"]);
    world.broker.set_now(1000);
    world.publish("b", false);
    assert_eq!(world.said(), ["value 4 until 2000", "no value 2"], "it came again after its time");
    world.publish("d", false);
    assert_eq!(world.said(), ["value 5 until 2000", "no value 3"]);
}

#[test]
fn what_a_queue_refuses_may_come_again() {
    let text = |text: &[u8]| FieldValue::LongString(text.into());
    let limits = vec![("x-max-length".into(), FieldValue::I32(1)), ("x-overflow".into(), text(b"reject-publish"))];
    let mut world = World::new(10, 1000, FieldTable(limits));
    ["this", "that"].into_iter().for_each(|value| world.publish(value, true));
    assert_eq!(world.said(), ["message", "value 1 until 1000"]);
    world.broker.purge_queue(world.broker.caller(world.channel), b"q", &mut Nobody).unwrap();
    world.said();
    ["this", "that"].into_iter().for_each(|value| world.publish(value, true));
    assert_eq!(world.said(), ["message", "value 3 until 1000", "no value 2"]);
}

#[test]
fn a_transaction_is_remembered_from_its_commit_on_and_not_when_it_is_rolled_back() {
    let mut world = World::lasting(10);
    world.broker.select_transaction(world.channel).unwrap();
    world.publish("this", true);
    assert_eq!(world.said(), [""; 0]);
    world.broker.roll_back(world.channel).unwrap();
    world.publish("this", true);
    let committed = world.broker.commit(world.channel, &mut Nobody).unwrap();
    assert_eq!(committed.durable_at, LogPosition(2));
    assert_eq!(world.said(), ["message", "value 2 until 1000", "no value 1"]);
    // A channel that is closed rolls back, too.
    world.publish("that", true);
    world.broker.close_channel(world.channel);
    world.channel = world.broker.open_channel(ConnectionId(0), 1);
    world.publish("that", true);
    assert_eq!(world.said(), ["message", "value 4 until 1000", "no value 3"]);
}

#[test]
fn what_an_earlier_run_remembered_is_known() {
    let mut world = World::lasting(3);
    world.broker.set_now(500);
    let id = DurableQueueId(70);
    let key = world.broker.restore_values(VHOST, &"x".into(), id).unwrap();
    world.broker.store.values = Some(id);
    world.broker.expect_values(key, 10);
    let mut page = PageBuilder::with_capacity(0);
    for (value, number, until_ms) in [("over", 2, 400), ("again", 3, 700), ("this", 5, 600), ("again", 8, 900)] {
        let address = address_of(DeduplicationKey::of_bytes(2, value.as_bytes()));
        let (frames, header_frame_length) = (&HEADER_FRAME, HEADER_FRAME.len());
        let content = Content { address: &address, frames, header_frame_length, shared_body: None };
        page.push(&Entry::of(&MessageRef::new(&content, Attributes::default()), number, until_ms));
    }
    world.broker.load_values(key, &page.finish().unwrap());
    let mut forgotten = world.said();
    forgotten.sort_unstable();
    assert_eq!(forgotten, ["no value 2", "no value 3"]);
    ["this", "again"].into_iter().for_each(|value| world.publish(value, false));
    assert_eq!(world.said(), [""; 0]);
    world.publish("over", false);
    assert_eq!(world.said(), ["value 10 until 1500"]);
    world.broker.set_now(600);
    world.publish("this", false);
    assert_eq!(world.said(), ["value 11 until 1600", "no value 5"]);
}

#[test]
fn who_watches_makes_nobody_forget() {
    let mut world = World::lasting(10);
    world.broker.vhosts[VHOST].attributes.tracing = true;
    world.broker.note_tracing();
    world.publish("this", true);
    assert_eq!(world.said(), ["message", "value 1 until 1000"]);
    world.publish("this", true);
    assert_eq!(world.said(), [""; 0]);
}

#[test]
fn values_whose_time_is_over_go_where_nothing_comes_any_more() {
    const VALUES: usize = 5000;
    let mut world = World::lasting(i32::MAX);
    (0..VALUES).for_each(|value| world.publish(&value.to_string(), false));
    world.said();
    let mut turns = 0;
    while let Some(due_ms) = world.broker.next_due_ms() {
        world.broker.set_now(due_ms.max(world.broker.now_ms));
        world.broker.come_due(&mut Nobody);
        turns += 1;
        assert!(turns < 100, "it comes to an end");
    }
    assert_eq!(world.said().iter().filter(|said| said.starts_with("no value")).count(), VALUES);
    assert!(turns > 2, "a turn's share at a time");
    world.publish("0", false);
    assert!(world.broker.next_due_ms().is_some());
}
