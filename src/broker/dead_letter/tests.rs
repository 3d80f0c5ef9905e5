//! Whatever dies is in one place at any time, and no turn does more than it may.

use super::list::{RETRIES, RETRY_MS};
use super::*;
use crate::broker::message::PROPERTIES_OFFSET;
use crate::broker::store::{Definition, DurableQueueId, Log, LogPosition, MemoryStore, PageId, Pages, Returns, Route};
use crate::broker::testing::{self, Nobody, VHOST};
use crate::broker::{
    Caller, ChannelId, ConnectionId, DeclareRequest, ExchangeRequest, GetOutcome, Publication, Settlement,
};
use crate::protocol::{FieldTable, FieldValue};
use std::collections::{BTreeMap, BTreeSet};

const CLIENT: ConnectionId = ConnectionId(0);

/// A log that knows which bodies are in which places.
#[derive(Default)]
struct Told {
    there: BTreeMap<(DurableQueueId, u64), Vec<u8>>,
    pages: MemoryStore,
}

impl Told {
    fn bodies(&self) -> Vec<&[u8]> {
        let mut bodies: Vec<&[u8]> = self.there.values().map(Vec::as_slice).collect();
        bodies.sort_unstable();
        bodies
    }
}

impl Log for Told {
    fn enqueued(&mut self, route: Route, content: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
        let before = self.there.insert((route.queue, route.sequence), content.body().to_vec());
        assert!(before.is_none(), "{route:?} is there already");
        LogPosition(0)
    }
    fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
        LogPosition(0)
    }
    fn removed(&mut self, queue: DurableQueueId, sequence: u64) {
        self.there.remove(&(queue, sequence)).expect("what is removed was there");
    }
    fn removed_range(&mut self, queue: DurableQueueId, first: u64, last: u64) {
        self.there.retain(|(of, sequence), _| *of != queue || !(first..=last).contains(sequence));
    }
    fn purged(&mut self, queue: DurableQueueId, up_to: u64) -> LogPosition {
        self.there.retain(|(of, sequence), _| *of != queue || *sequence > up_to);
        LogPosition(0)
    }
    fn everything(&mut self) -> LogPosition {
        LogPosition(0)
    }
    fn define(&mut self, definition: &Definition) -> LogPosition {
        if let Definition::QueueDeleted { id, .. } = definition {
            self.there.retain(|(queue, _), _| queue != id);
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

struct Stage {
    broker: Broker<Told>,
    channel: ChannelId,
    now_ms: u64,
}

impl Stage {
    fn new() -> Self {
        let mut broker = testing::broker_with(testing::settings(), Told::default());
        let channel = testing::connect(&mut broker, CLIENT);
        Self { broker, channel, now_ms: 0 }
    }

    fn caller(&self) -> Caller {
        self.broker.caller(self.channel)
    }

    fn declare(&mut self, name: &str, arguments: &[(&str, FieldValue)]) -> QueueId {
        let arguments = arguments.iter().map(|(name, value)| (ShortString::truncated(name.as_bytes()), value.clone()));
        let arguments = FieldTable(arguments.collect());
        let name = name.as_bytes();
        let request = DeclareRequest { name, durable: true, exclusive: false, auto_delete: false, arguments };
        let caller = self.caller();
        self.broker.declare_queue(caller, request, &mut Nobody).unwrap();
        self.broker.existing_queue(VHOST, name).unwrap()
    }

    fn declare_fanout(&mut self, name: &[u8]) {
        let (durable, auto_delete, internal, arguments) = (true, false, false, FieldTable::default());
        let request = ExchangeRequest { name, kind: b"fanout", durable, auto_delete, internal, arguments };
        let caller = self.caller();
        self.broker.declare_exchange(caller, request).unwrap();
    }

    fn bind(&mut self, queue: &str, exchange: &[u8]) {
        let caller = self.caller();
        self.broker.bind_queue(caller, queue.as_bytes(), exchange, b"", FieldTable::default()).unwrap();
    }

    /// A persistent message whose body is its number.
    fn publish(&mut self, queue: QueueId, number: u32) {
        let name = self.broker.queue(queue).properties.name.clone();
        let mut address = Vec::new();
        put_short_string(&mut address, b"");
        put_short_string(&mut address, &name);
        address.push(FRAME_END);
        let mut frames = vec![0; PROPERTIES_OFFSET];
        frames.extend(b"\x10\x00\x02\xCE\x03\0\0\0\0\0\x04");
        frames.extend(number.to_be_bytes());
        frames.push(FRAME_END);
        let header_frame_length = PROPERTIES_OFFSET + 4;
        let content = Content { address: &address, frames: &frames, header_frame_length, shared_body: None };
        let attributes = crate::broker::message::Attributes { persistent: true, ..Default::default() };
        let publication = Publication { content, attributes, mandatory: false };
        self.broker.publish(self.channel, &publication, &[queue], &mut Nobody);
    }

    fn get(&mut self, queue: &str, no_ack: bool) -> Option<(u64, Vec<u8>)> {
        let caller = self.caller();
        match self.broker.get(caller, queue.as_bytes(), no_ack, &mut Nobody).unwrap() {
            GetOutcome::Got(got) => Some((got.delivery_tag, got.message.content().body().to_vec())),
            _ => None,
        }
    }

    fn turn(&mut self, later_ms: u64) {
        self.now_ms += later_ms;
        self.broker.set_now(self.now_ms);
        self.broker.come_due(&mut Nobody);
        self.broker.pump(&mut Nobody);
    }

    /// Turns until nothing is on its way.
    fn finish(&mut self) {
        loop {
            self.turn(0);
            if self.broker.dead_letters.is_empty() && self.broker.next_due_ms() != Some(self.now_ms) {
                return;
            }
        }
    }

    fn bodies(&self) -> Vec<&[u8]> {
        self.broker.store().bodies()
    }

    fn length(&self, queue: QueueId) -> usize {
        self.broker.queue(queue).backlog.len()
    }
}

fn string(text: &str) -> FieldValue {
    FieldValue::LongString(text.as_bytes().into())
}

/// To a queue by the default exchange.
fn dying_to(queue: &str) -> [(&'static str, FieldValue); 2] {
    [("x-dead-letter-exchange", string("")), ("x-dead-letter-routing-key", string(queue))]
}

/// By chance, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Queues that die into each other in random ways: any way where nothing expires, and to later ones only where it does, so
/// that nothing goes round by itself.
#[test]
fn nothing_that_dies_is_lost_or_doubled_and_the_log_has_it_at_any_time() {
    const QUEUES: u64 = 5;
    for seed in 0..60 {
        let (mut stage, mut chance) = (Stage::new(), Chance(seed));
        let mut queues = Vec::new();
        for number in 0..QUEUES {
            let expires = chance.below(2) == 0 && number + 1 < QUEUES;
            let to = if expires { number + 1 + chance.below(QUEUES - number - 1) } else { chance.below(QUEUES) };
            let mut arguments = dying_to(&format!("q{to}")).to_vec();
            if expires {
                arguments.push(("x-message-ttl", FieldValue::I32(1 + chance.below(20) as i32)));
            }
            queues.push(stage.declare(&format!("q{number}"), &arguments));
        }
        let (mut published, mut alive, mut held) = (0, BTreeSet::new(), Vec::new());
        for _ in 0..200 {
            let queue = format!("q{}", chance.below(QUEUES));
            match chance.below(10) {
                0..4 => {
                    stage.publish(queues[chance.below(QUEUES) as usize], published);
                    alive.insert(published.to_be_bytes().to_vec());
                    published += 1;
                }
                4..6 => held.extend(stage.get(&queue, false)),
                6 => {
                    if let Some((_, body)) = stage.get(&queue, true) {
                        alive.remove(&body);
                    }
                }
                7 if !held.is_empty() => {
                    let (tag, body) = held.remove(chance.below(held.len() as u64) as usize);
                    let outcome = [Settlement::Acknowledged, Settlement::Discarded, Settlement::Requeued];
                    let outcome = outcome[chance.below(3) as usize];
                    if outcome == Settlement::Acknowledged {
                        alive.remove(&body);
                    }
                    stage.broker.settle(stage.channel, tag, false, outcome).unwrap();
                }
                8 if !held.is_empty() => {
                    held.clear();
                    stage.broker.settle(stage.channel, 0, true, Settlement::Discarded).unwrap();
                }
                _ => stage.turn(chance.below(8)),
            }
            let told: BTreeSet<Vec<u8>> = stage.bodies().iter().map(|body| body.to_vec()).collect();
            assert_eq!(told, alive, "seed {seed}: a crash now would lose some, or bring some back");
        }
        stage.finish();
        assert_eq!(stage.bodies().len(), alive.len(), "seed {seed}: some are there twice");
        let census = stage.broker.census();
        assert_eq!(census.ready + census.unacknowledged, alive.len(), "seed {seed}");
    }
}

#[test]
fn many_rejections_take_many_turns_and_keep_their_order() {
    const MESSAGES: u32 = 3 * ENTRIES_PER_TURN as u32;
    let mut stage = Stage::new();
    let (source, target) = (stage.declare("q", &dying_to("d")), stage.declare("d", &[]));
    (0..MESSAGES).for_each(|number| stage.publish(source, number));
    (0..MESSAGES).for_each(|_| _ = stage.get("q", false).unwrap());
    stage.broker.settle(stage.channel, 0, true, Settlement::Discarded).unwrap();
    let mut arrived = 0;
    while !stage.broker.dead_letters.is_empty() {
        stage.turn(0);
        assert!(stage.length(target) - arrived <= ENTRIES_PER_TURN, "a turn does no more than it may");
        arrived = stage.length(target);
    }
    (0..MESSAGES).for_each(|number| assert_eq!(stage.get("d", true).unwrap().1, number.to_be_bytes()));
}

#[test]
fn what_expires_at_once_does_not_make_the_list_long() {
    const MESSAGES: u32 = 3 * LONG as u32;
    let mut stage = Stage::new();
    let ttl = ("x-message-ttl", FieldValue::I32(5));
    let source = stage.declare("q", &[&dying_to("d")[..], &[ttl]].concat());
    let target = stage.declare("d", &[]);
    (0..MESSAGES).for_each(|number| stage.publish(source, number));
    stage.turn(5);
    // Who asks makes no more of them either.
    assert_eq!(stage.get("q", true), None);
    while stage.length(target) < MESSAGES as usize {
        stage.turn(0);
        assert!(stage.broker.dead_letters.length <= LONG);
        stage.broker.census();
    }
    stage.finish();
    (0..MESSAGES).for_each(|number| assert_eq!(stage.get("d", true).unwrap().1, number.to_be_bytes()));
}

#[test]
fn a_letter_for_many_queues_enters_them_over_many_turns() {
    const QUEUES: usize = 2 * ENTRIES_PER_TURN + 1;
    let mut stage = Stage::new();
    stage.declare_fanout(b"x");
    let source = stage.declare("q", &[("x-dead-letter-exchange", string("x"))]);
    let targets: Vec<QueueId> = (0..QUEUES)
        .map(|number| {
            let name = format!("d{number}");
            let queue = stage.declare(&name, &[]);
            stage.bind(&name, b"x");
            queue
        })
        .collect();
    stage.publish(source, 7);
    stage.get("q", false).unwrap();
    stage.broker.settle(stage.channel, 1, false, Settlement::Discarded).unwrap();
    for turn in 1..=3 {
        stage.turn(0);
        let arrived = targets.iter().filter(|queue| stage.length(**queue) == 1).count();
        assert_eq!(arrived, (turn * ENTRIES_PER_TURN).min(QUEUES));
        let is_kept = turn < 3;
        assert_eq!(stage.bodies().len(), arrived + usize::from(is_kept), "the original goes last");
    }
    assert!(stage.broker.dead_letters.is_empty());
}

#[test]
fn the_log_keeps_the_letters_of_a_queue_that_is_purged_or_deleted() {
    for deletes in [false, true] {
        let mut stage = Stage::new();
        let (source, target) = (stage.declare("q", &dying_to("d")), stage.declare("d", &[]));
        (0..3).for_each(|number| stage.publish(source, number));
        stage.get("q", false).unwrap();
        stage.broker.settle(stage.channel, 1, false, Settlement::Discarded).unwrap();
        let caller = stage.caller();
        if deletes {
            stage.broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap();
        } else {
            stage.broker.purge_queue(caller, b"q", &mut Nobody).unwrap();
        }
        assert_eq!(stage.bodies(), [0u32.to_be_bytes()]);
        stage.finish();
        assert_eq!((stage.bodies(), stage.length(target)), (vec![&0u32.to_be_bytes()[..]], 1));
    }
}

/// A queue whose letters go out at least once.
fn sure(exchange: &str) -> Vec<(&'static str, FieldValue)> {
    let quorum =
        [("x-queue-type", "quorum"), ("x-overflow", "reject-publish"), ("x-dead-letter-strategy", "at-least-once")];
    let arguments = quorum.into_iter().chain([("x-dead-letter-exchange", exchange)]);
    arguments.map(|(name, value)| (name, string(value))).collect()
}

impl Stage {
    fn reject_next(&mut self, queue: &str) {
        let (tag, _) = self.get(queue, false).unwrap();
        self.broker.settle(self.channel, tag, false, Settlement::Discarded).unwrap();
        self.finish();
    }
}

#[test]
fn a_sure_letter_stays_its_queues_until_somebody_takes_it() {
    let mut stage = Stage::new();
    let source = stage.declare("q", &sure("x"));
    stage.publish(source, 0);
    stage.reject_next("q");
    assert_eq!(stage.bodies().len(), 1, "there is no exchange");
    stage.declare_fanout(b"x");
    stage.turn(RETRY_MS);
    assert_eq!(stage.bodies().len(), 1, "nothing is bound");
    let target = stage.declare("d", &[]);
    stage.bind("d", b"x");
    stage.turn(RETRY_MS);
    assert_eq!((stage.length(target), stage.bodies().len()), (1, 1), "it is there, and not here");
    assert_eq!(stage.broker.queue(source).dead_letters, 0);
    assert_eq!(stage.broker.dead_letters.next_due_ms(), None);
}

#[test]
fn a_limit_counts_sure_letters() {
    let mut stage = Stage::new();
    let limit = ("x-max-length", FieldValue::I32(2));
    let source = stage.declare("q", &[sure("missing"), vec![limit]].concat());
    stage.publish(source, 0);
    stage.reject_next("q");
    (1..4).for_each(|number| stage.publish(source, number));
    assert_eq!((stage.broker.queue(source).dead_letters, stage.length(source)), (1, 1), "the others were refused");
}

#[test]
fn a_sure_letter_goes_again_only_to_those_who_refused_it() {
    let mut stage = Stage::new();
    stage.declare_fanout(b"x");
    let source = stage.declare("q", &sure("x"));
    let full = [("x-max-length", FieldValue::I32(1)), ("x-overflow", string("reject-publish"))];
    let targets = [stage.declare("full", &full), stage.declare("d", &[])];
    ["full", "d"].iter().for_each(|queue| stage.bind(queue, b"x"));
    stage.publish(targets[0], 9);
    stage.publish(source, 0);
    stage.reject_next("q");
    for _ in 0..3 {
        stage.turn(RETRY_MS);
        assert_eq!(targets.map(|queue| stage.length(queue)), [1, 1]);
        assert_eq!(stage.broker.queue(source).dead_letters, 1);
    }
    stage.get("full", true).unwrap();
    stage.turn(RETRY_MS);
    assert_eq!(targets.map(|queue| stage.length(queue)), [1, 1]);
    assert_eq!(stage.get("full", true).unwrap().1, 0u32.to_be_bytes());
    assert_eq!(stage.broker.queue(source).dead_letters, 0);
}

#[test]
fn to_find_who_has_a_sure_letter_takes_turns_too() {
    const TARGETS: usize = 100;
    const LETTERS: usize = 200;
    let mut stage = Stage::new();
    stage.declare_fanout(b"x");
    let source = stage.declare("q", &sure("x"));
    stage.declare("full", &[("x-max-length", FieldValue::I32(0)), ("x-overflow", string("reject-publish"))]);
    stage.bind("full", b"x");
    for target in 0..TARGETS {
        let name = format!("d{target}");
        stage.declare(&name, &[]);
        stage.bind(&name, b"x");
    }
    (0..LETTERS as u32).for_each(|number| stage.publish(source, number));
    (0..LETTERS).for_each(|_| _ = stage.get("q", false).unwrap());
    stage.broker.settle(stage.channel, 0, true, Settlement::Discarded).unwrap();
    stage.finish();
    assert_eq!(stage.broker.queue(source).dead_letters, LETTERS, "one refuses them");
    stage.turn(RETRY_MS);
    let tried = LETTERS - stage.broker.dead_letters.retries_left;
    assert!(tried <= ENTRIES_PER_TURN / TARGETS + 1, "{tried} letters for {TARGETS} queues");
    stage.finish();
    assert_eq!(stage.broker.dead_letters.retries_left, 0);
}

#[test]
fn sure_letters_that_nobody_takes_hold_up_their_queue_and_go_with_it() {
    let mut stage = Stage::new();
    let source = stage.declare("q", &sure("missing"));
    let other = stage.declare("other", &[]);
    (0..MANY as u32 + 1).for_each(|number| stage.publish(source, number));
    (0..MANY).for_each(|_| _ = stage.get("q", false).unwrap());
    stage.broker.settle(stage.channel, 0, true, Settlement::Discarded).unwrap();
    stage.finish();
    assert!(stage.broker.is_held_up(source) && !stage.broker.is_held_up(other));
    // They are tried again, some at a time, and the loop has nothing to do in between.
    for _ in 0..3 {
        stage.turn(RETRY_MS);
        assert!(stage.broker.dead_letters.is_empty());
    }
    let caller = stage.caller();
    stage.broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap();
    for _ in 0..MANY / RETRIES + 1 {
        stage.turn(RETRY_MS);
    }
    assert!(stage.broker.dead_letters.untaken.is_empty());
    assert_eq!(stage.broker.next_due_ms(), None);
}

/// Messages of a few kinds that die together, with bodies of any length: what they become, in their order.
fn letters_of(seed: u64, one_by_one: bool) -> Vec<(Vec<u8>, Vec<u8>, usize)> {
    const PROPERTIES: [&[u8]; 3] = [b"\0\0", b"\x10\0\x02", b"\x20\0\0\0\0\x08\x01nS\0\0\0\x01x"];
    let mut stage = Stage::new();
    stage.declare_fanout(b"dlx");
    let target = stage.declare("dead", &[]);
    stage.bind("dead", b"dlx");
    let sources =
        [stage.declare("a", &dying_to("dead")), stage.declare("b", &[("x-dead-letter-exchange", string("dlx"))])];
    let mut chance = Chance(seed);
    let mut letters = Vec::new();
    for round in 0..4 {
        for _ in 0..30 {
            let (source, address) = match chance.below(8) {
                0 => (1, b"\0\x01b\xCE".as_slice()),
                1 => (0, b"\0\x01b\xCE".as_slice()),
                _ => (0, b"\0\x01a\xCE".as_slice()),
            };
            let properties = PROPERTIES[if chance.below(4) == 0 { chance.below(3) as usize } else { 0 }];
            let body = vec![b'x'; chance.below(5) as usize];
            let mut frames = vec![2; PROPERTIES_OFFSET];
            frames[11..19].copy_from_slice(&(body.len() as u64).to_be_bytes());
            frames.extend_from_slice(properties);
            frames.push(FRAME_END);
            let header_frame_length = frames.len();
            frames.extend(b"\x03\0\0\0\0\0");
            frames.push(body.len() as u8);
            frames.extend_from_slice(&body);
            frames.push(FRAME_END);
            let content = Content { address, frames: &frames, header_frame_length, shared_body: None };
            let publication = Publication { content, attributes: Default::default(), mandatory: false };
            stage.broker.publish(stage.channel, &publication, &[sources[source]], &mut Nobody);
        }
        let mut tags = Vec::new();
        for source in ["a", "b"] {
            while let Some((tag, _)) = stage.get(source, false) {
                tags.push(tag);
            }
        }
        let last = *tags.last().expect("some were published");
        match one_by_one {
            true => {
                for tag in tags {
                    stage.broker.dead_letters.desk = Desk::default();
                    stage.broker.settle(stage.channel, tag, false, Settlement::Discarded).unwrap();
                    stage.finish();
                }
            }
            false => _ = stage.broker.settle(stage.channel, last, true, Settlement::Discarded).unwrap(),
        }
        stage.finish();
        while let GetOutcome::Got(got) = stage.broker.get(stage.caller(), b"dead", true, &mut Nobody).unwrap() {
            let content = got.message.content();
            letters.push((content.address.to_vec(), content.frames.to_vec(), content.header_frame_length));
        }
        // Another second, or another way for them.
        match round {
            0 => stage.turn(1000),
            1 => {
                stage.declare("others", &[]);
                stage.bind("others", b"dlx");
            }
            _ => {}
        }
        assert_eq!(stage.length(target), 0);
    }
    letters
}

#[test]
fn a_letter_like_the_last_one_is_as_if_it_were_the_first() {
    for seed in 0..40 {
        let letters = letters_of(seed, false);
        assert_eq!(letters.len(), 120);
        assert_eq!(letters, letters_of(seed, true), "seed {seed}");
    }
}
