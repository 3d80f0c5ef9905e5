//! Levels go before each other, and within one what came first goes first.

use super::*;
use crate::broker::memory::message_memory_bytes;
use crate::broker::message::{Attributes, MessageRef, NEVER};
use crate::broker::page::PageBuilder;
use crate::broker::store::MemoryStore;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A few of these make a chunk.
const LARGE_BODY_BYTES: usize = 50_000;
/// Levels of the bodies that are tested, some of which have others on both sides.
const TOP: u8 = 9;

fn frames(level: u8, sequence: u64) -> [u8; 22] {
    let mut frames = [0; 22];
    frames[10] = level;
    frames[11..19].copy_from_slice(&sequence.to_be_bytes());
    frames
}

fn content<'a>(frames: &'a [u8], shared_body: Option<&'a Bytes>) -> Content<'a> {
    Content { address: b"\0\0\xCE", frames, header_frame_length: 22, shared_body }
}

fn push(body: &mut Body, level: u8, shared_body: Option<&Bytes>) -> u64 {
    let sequence = body.next_sequence(level);
    let frames = frames(level, sequence);
    let content = content(&frames, shared_body);
    let backlog = body.gain(level);
    match backlog.packs(&content) {
        true => backlog.push_packed(&content, Attributes::default(), NEVER),
        false => backlog.push(MessageRef::new(&content, Attributes::default()), NEVER),
    };
    sequence
}

/// What pages were asked for arrive.
fn arrive(body: &mut Body, store: &mut MemoryStore) {
    while let Some((page, bytes)) = store.take_arrived_page() {
        body.arrived(page, bytes);
    }
}

/// The obvious one: what waits in each level, by sequence.
#[derive(Default)]
struct Model {
    levels: BTreeMap<u8, BTreeSet<u64>>,
    next: BTreeMap<u8, u64>,
}

impl Model {
    fn number(&mut self, level: u8) -> u64 {
        let next = self.next.entry(level).or_default();
        *next += 1;
        *next - 1
    }

    fn pop(&mut self) -> Option<(u8, u64)> {
        let (level, waiting) = self.levels.iter_mut().rev().find(|(_, waiting)| !waiting.is_empty())?;
        Some((*level, waiting.pop_first().unwrap()))
    }

    fn len(&self) -> usize {
        self.levels.values().map(BTreeSet::len).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        level: u8,
        large: bool,
    },
    /// Given to somebody without waiting, if nothing waits.
    HandOver {
        level: u8,
    },
    Pop,
    /// As deliveries do: several from the front before another level steps up.
    PopRun(usize),
    PutBack(prop::sample::Index),
    PageOut(PageOut),
    Refill(usize),
    /// The store brings all that was asked for.
    Arrive,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page_out = prop_oneof![Just(PageOut::Middle), Just(PageOut::All)];
    let step = prop_oneof![
        40 => (0..=TOP, any::<bool>()).prop_map(|(level, large)| Step::Push { level, large }),
        5 => (0..=TOP).prop_map(|level| Step::HandOver { level }),
        15 => Just(Step::Pop),
        5 => (1..6_usize).prop_map(Step::PopRun),
        10 => any::<prop::sample::Index>().prop_map(Step::PutBack),
        10 => page_out.prop_map(Step::PageOut),
        5 => (1..5_usize).prop_map(Step::Refill),
        10 => Just(Step::Arrive),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Against the obvious model: the highest level goes first, and its lowest sequence.
    #[test]
    fn the_first_of_the_highest_level_is_always_the_head(steps in steps()) {
        let large_body = Bytes::from(vec![7; LARGE_BODY_BYTES]);
        let mut store = MemoryStore::default();
        let mut body = Body::with_levels(Levels { top: TOP, unsaid: 0 });
        let mut model = Model::default();
        let mut taken: Vec<Taken> = Vec::new();
        for step in steps {
            match step {
                Step::Push { level, large } => {
                    let sequence = push(&mut body, level, large.then_some(&large_body));
                    prop_assert_eq!(sequence, model.number(level));
                    model.levels.entry(level).or_default().insert(sequence);
                }
                Step::HandOver { level } if body.is_empty() => {
                    body.lead(level);
                    prop_assert_eq!(body.pass_through(1), model.number(level));
                }
                Step::HandOver { .. } => {}
                Step::Pop if body.head_is_away() => prop_assert!(body.pop().is_none()),
                Step::Pop => {
                    let popped = body.pop();
                    prop_assert_eq!(popped.as_ref().map(|popped| (popped.level, popped.sequence)), model.pop());
                    if let Some(popped) = popped {
                        prop_assert_eq!(popped.message.content().frames, frames(popped.level, popped.sequence));
                        taken.push(popped);
                    }
                }
                Step::PopRun(most) => {
                    for _ in 0..most {
                        let Some(popped) = body.front().pop() else { break };
                        prop_assert_eq!(Some((popped.level, popped.sequence)), model.pop());
                        taken.push(popped);
                    }
                    body.step_up();
                }
                Step::PutBack(index) if !taken.is_empty() => {
                    let back = taken.swap_remove(index.index(taken.len()));
                    model.levels.entry(back.level).or_default().insert(back.sequence);
                    body.put_back(back);
                }
                Step::PutBack(_) => {}
                Step::PageOut(which) => _ = body.page_out(which, &mut store),
                Step::Refill(window) => _ = body.refill(window, &mut store),
                Step::Arrive => arrive(&mut body, &mut store),
                Step::Clear => {
                    for mut taken in body.take_all() {
                        while taken.discard_some(3, &mut store, |_| {}) > 0 {}
                    }
                    model.levels.clear();
                    prop_assert_eq!(store.page_count(), 0);
                }
            }
            prop_assert_eq!(body.len(), model.len());
            prop_assert_eq!(body.is_empty(), model.len() == 0);
            for level in body.levels() {
                let waiting = model.levels.get(&level.level()).map_or(0, BTreeSet::len);
                prop_assert_eq!(level.len(), waiting, "level {}", level.level());
                prop_assert_eq!(level.next_sequence(), model.next.get(&level.level()).copied().unwrap_or(0));
            }
        }
        while !body.is_empty() {
            body.refill(1, &mut store);
            arrive(&mut body, &mut store);
            prop_assert_eq!(body.pop().map(|popped| (popped.level, popped.sequence)), model.pop());
        }
        prop_assert_eq!(store.page_count(), 0);
    }

    /// Each level is loaded by itself, in whatever order, while others are published; some of it may be lost.
    #[test]
    fn levels_of_the_log_come_back_in_order(
        logged in prop::collection::btree_map(0..=TOP, 0..6_u64, 1..6),
        lost in prop::collection::btree_set(0..=TOP, 0..3),
        published in prop::collection::vec(0..=TOP, 0..10),
    ) {
        let mut store = MemoryStore::default();
        let mut body = Body::with_levels(Levels { top: TOP, unsaid: 0 });
        let mut expected = Vec::new();
        for (level, count) in &logged {
            body.expect(*level, *count as usize, *count, 0);
            if !lost.contains(level) {
                expected.extend((0..*count).map(|sequence| (*level, sequence)));
            }
        }
        for level in published {
            expected.push((level, push(&mut body, level, None)));
        }
        for (level, count) in logged.iter().filter(|(level, count)| **count > 0 && !lost.contains(*level)) {
            let mut builder = PageBuilder::with_capacity(0);
            for sequence in 0..*count {
                let frames = frames(*level, sequence);
                builder.push(&Entry::new(&content(&frames, None), Attributes::default(), sequence, NEVER));
            }
            prop_assert_eq!(body.load(*level, builder.finish().unwrap(), u64::MAX, false, &mut store), 0);
        }
        let never_came: u64 = logged.iter().filter(|(level, _)| lost.contains(*level)).map(|(_, count)| count).sum();
        prop_assert_eq!(body.loaded(), never_came as usize);
        expected.sort_unstable_by_key(|(level, sequence)| (u8::MAX - level, *sequence));
        prop_assert_eq!(body.len(), expected.len());
        let mut popped = Vec::new();
        while !body.is_empty() {
            body.refill(1, &mut store);
            arrive(&mut body, &mut store);
            popped.extend(body.pop().map(|popped| (popped.level, popped.sequence)));
        }
        prop_assert_eq!(popped, expected);
        prop_assert!(!body.is_paged());
    }
}

#[test]
fn every_level_of_the_most_there_may_be_has_its_turn() {
    let mut body = Body::with_levels(Levels { top: u8::MAX, unsaid: 0 });
    for priority in 0..=u8::MAX {
        push(&mut body, priority.wrapping_mul(7), None);
    }
    for level in (0..=u8::MAX).rev() {
        assert_eq!(body.pop().map(|popped| popped.level), Some(level));
    }
    assert!(body.is_empty() && body.pop().is_none());
}

#[test]
fn a_priority_above_the_highest_level_is_the_highest_level() {
    let frames = frames(0, 0);
    let says_none = content(&frames, None);
    let levels = |body: &Body| [0, 5, 6, 255].map(|priority| body.level_of(priority, &says_none));
    assert_eq!(levels(&Body::with_levels(Levels { top: 5, unsaid: 0 })), [0, 5, 5, 5]);
    assert_eq!(levels(&Body::with_levels(Levels { top: 31, unsaid: 4 })), [4, 5, 6, 31]);
    assert_eq!(levels(&Body::with_levels(Levels { top: 0, unsaid: 4 })), [0; 4]);
}

#[test]
fn an_empty_level_that_was_long_keeps_little_room() {
    let mut body = Body::with_levels(Levels { top: u8::MAX, unsaid: 0 });
    let before = message_memory_bytes();
    for level in 0..=u8::MAX {
        (0..3000).for_each(|_| _ = push(&mut body, level, None));
        (0..3000).for_each(|_| assert!(body.pop().is_some()));
    }
    let rooms = body.levels().map(Backlog::room_for_messages);
    assert!(rooms.skip(1).all(|room| room <= 16), "room for a few");
    assert_eq!(message_memory_bytes(), before);
}
