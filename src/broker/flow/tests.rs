//! Whatever happens to messages, the log is told of each departure once, and of no other.

use crate::broker::message::{Attributes, Content};
use crate::broker::store::{Definition, DurableQueueId, Log, LogPosition, MemoryStore, PageId, Pages, Returns, Route};
use crate::broker::testing::{self, Nobody, settings};
use crate::broker::{
    Broker, Caller, ChannelId, ConnectionId, ConsumeRequest, DeclareRequest, GetOutcome, Publication, Settlement,
};
use crate::protocol::{FieldTable, FieldValue};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

const CLIENT: ConnectionId = ConnectionId(0);
/// The second one has levels of priority.
const QUEUES: [&[u8]; 2] = [b"p", b"q"];
const TOP_LEVEL: u64 = 3;
const SEEDS: u64 = 300;
const STEPS: usize = 120;

/// A log that knows only which messages are there.
#[derive(Default)]
struct Told {
    there: BTreeSet<(DurableQueueId, u64)>,
    top_levels: BTreeMap<DurableQueueId, u8>,
    pages: MemoryStore,
}

impl Log for Told {
    fn enqueued(&mut self, route: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        assert!(self.there.insert((route.queue, route.sequence)), "{route:?} is there already");
        LogPosition(0)
    }
    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        // A purge may name returned messages that are transient, and none of the log's.
        self.there.remove(&(queue, sequence));
    }
    fn removed_range(&mut self, queue: DurableQueueId, first: u64, last: u64) {
        self.there.retain(|(of, sequence)| *of != queue || !(first..=last).contains(sequence));
    }
    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition {
        self.removed_range(queue, 0, up_to);
        LogPosition(0)
    }
    fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
        LogPosition(0)
    }
    fn everything(&mut self) -> LogPosition {
        LogPosition(0)
    }
    fn define(&mut self, definition: &Definition) -> LogPosition {
        match definition {
            Definition::QueueDeclared { id, top_level, .. } => _ = self.top_levels.insert(*id, *top_level),
            Definition::QueueDeleted { id } => {
                let last = id.level(self.top_levels[id]);
                self.there.retain(|(queue, _)| !(*id..=last).contains(queue));
            }
            _ => {}
        }
        LogPosition(0)
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

/// One client that does everything that may be done to messages, as chance will have it.
struct Play {
    broker: Broker<Told>,
    channel: ChannelId,
    now_ms: u64,
    state: u64,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut broker = testing::broker_with(settings(), Told::default());
        let channel = testing::connect(&mut broker, CLIENT);
        let mut play = Self { broker, channel, now_ms: 0, state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 };
        QUEUES.iter().for_each(|name| play.declare(name));
        play
    }

    fn below(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn caller(&self) -> Caller {
        self.broker.caller(self.channel)
    }

    fn declare(&mut self, name: &[u8]) {
        let levels = ("x-max-priority".into(), FieldValue::I64(TOP_LEVEL as i64));
        let arguments = FieldTable(if name == QUEUES[1] { vec![levels] } else { Vec::new() });
        let request = DeclareRequest { name, durable: true, exclusive: false, auto_delete: false, arguments };
        self.broker.declare_queue(self.caller(), request, &mut Nobody).unwrap();
    }

    fn publish(&mut self) {
        let content = testing::CONTENT;
        let expiration_ms = self.is(30).then_some(3);
        let priority = if self.is(50) { 0 } else { self.below(TOP_LEVEL + 1) as u8 };
        let attributes = Attributes { expiration_ms, persistent: self.is(80), priority };
        let ids: Vec<_> =
            QUEUES.iter().filter_map(|name| self.broker.existing_queue(testing::VHOST, name).ok()).collect();
        let queues = match self.below(3) {
            0 => &ids[..],
            1 => &ids[..1],
            _ => &ids[1..],
        };
        let publication = Publication { content, attributes, mandatory: false };
        self.broker.publish(self.channel, &publication, queues, &mut Nobody);
    }

    fn settle(&mut self) {
        let outcome = [Settlement::Acknowledged, Settlement::Discarded, Settlement::Requeued][self.below(3) as usize];
        let tags: Vec<u64> = self.broker.channel(self.channel).unacknowledged.iter().map(|(tag, _)| tag).collect();
        if !tags.is_empty() {
            let tag = tags[self.below(tags.len() as u64) as usize];
            let multiple = self.is(30);
            self.broker.settle(self.channel, tag, multiple, outcome).unwrap();
        }
    }

    fn step(&mut self) {
        let name = QUEUES[self.below(2) as usize];
        match self.below(24) {
            0..8 => self.publish(),
            8..13 => self.settle(),
            13 => {
                let no_ack = self.is(50);
                self.broker.get(self.caller(), name, no_ack, &mut Nobody).unwrap();
            }
            14 => {
                let (consumer_tag, no_ack, arguments) = (b"".as_slice(), self.is(30), FieldTable::default());
                let request = ConsumeRequest { queue: name, consumer_tag, no_ack, exclusive: false, arguments };
                self.broker.set_consumer_prefetch(self.channel, 3);
                self.broker.consume(self.caller(), request).unwrap();
            }
            15 => {
                let tags: Vec<_> = self.broker.channel(self.channel).consumers.keys().cloned().collect();
                tags.iter().for_each(|tag| self.broker.cancel(self.caller(), tag));
            }
            16 => _ = self.broker.purge_queue(self.caller(), name, &mut Nobody).unwrap(),
            17 => _ = self.broker.recover(self.channel),
            18 if self.is(30) => {
                self.broker.delete_queue(self.caller(), name, false, false, &mut Nobody).unwrap();
                self.declare(name);
            }
            19 if self.is(30) => {
                self.broker.close_channel(self.channel);
                self.channel = self.broker.open_channel(CLIENT, 1);
            }
            20 => {
                self.now_ms += 2;
                self.broker.set_now(self.now_ms);
                self.broker.come_due(&mut Nobody);
            }
            _ => self.broker.pump(&mut Nobody),
        }
        self.broker.census();
    }

    /// Takes out all that is left, and says what the log has then.
    fn end(mut self) -> BTreeSet<(DurableQueueId, u64)> {
        self.broker.close_channel(self.channel);
        self.channel = self.broker.open_channel(CLIENT, 1);
        for name in QUEUES {
            while let GetOutcome::Got(_) = self.broker.get(self.caller(), name, true, &mut Nobody).unwrap() {}
        }
        self.broker.census();
        std::mem::take(&mut self.broker.store_mut().there)
    }
}

#[test]
fn nothing_that_left_is_kept_and_nothing_enters_twice() {
    for seed in 0..SEEDS {
        let mut play = Play::new(seed);
        (0..STEPS).for_each(|_| play.step());
        let kept = play.end();
        assert!(kept.is_empty(), "seed {seed}: the log still has {kept:?}");
    }
}

/// What is waiting, or held by a client, is not told to have left: a restart would lose it.
#[test]
fn what_is_there_is_not_told_to_have_left() {
    for seed in 0..SEEDS {
        let mut play = Play::new(seed);
        for _ in 0..STEPS {
            play.step();
            let mut held = BTreeSet::new();
            for (_, delivered) in play.broker.channel(play.channel).unacknowledged.iter() {
                let queue = play.broker.queue(delivered.queue);
                if let Some(id) = queue.durable_id.filter(|_| delivered.taken.message.is_persistent()) {
                    held.insert((id.level(delivered.taken.level), delivered.taken.sequence));
                }
            }
            let there = &play.broker.store().there;
            assert!(held.is_subset(there), "seed {seed}: held {held:?}, and the log has {there:?}");
        }
    }
}

/// Whether a message is of the level at the front or of another one, it comes out in its place.
#[test]
fn what_enters_at_the_front_and_what_does_not_keep_their_order() {
    for seed in 0..SEEDS {
        let mut play = Play::new(seed);
        let queue = play.broker.existing_queue(testing::VHOST, QUEUES[1]).unwrap();
        let mut waiting = BTreeSet::new();
        for number in 0..STEPS as u64 {
            let priority = if play.is(60) { 0 } else { play.below(TOP_LEVEL + 2) as u8 };
            let mut frames = [0; 22];
            frames[11..19].copy_from_slice(&number.to_be_bytes());
            let content = Content { frames: &frames, ..testing::CONTENT };
            let attributes = Attributes { persistent: play.is(50), priority, ..Attributes::default() };
            let publication = Publication { content, attributes, mandatory: false };
            play.broker.publish(play.channel, &publication, &[queue], &mut Nobody);
            waiting.insert((Reverse(priority.min(TOP_LEVEL as u8)), number));
            while play.is(48) {
                let GetOutcome::Got(got) = play.broker.get(play.caller(), QUEUES[1], true, &mut Nobody).unwrap() else {
                    assert!(waiting.is_empty(), "seed {seed}");
                    break;
                };
                let number = u64::from_be_bytes(*got.message.content().frames[11..].first_chunk().unwrap());
                assert_eq!(Some(number), waiting.pop_first().map(|(_, number)| number), "seed {seed}");
            }
        }
        play.broker.census();
    }
}
