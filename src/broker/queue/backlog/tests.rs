//! A backlog keeps the order of what goes through it, wherever its messages are meanwhile.

use super::*;
use crate::broker::memory::message_memory_bytes;
use crate::broker::message::NEVER;
use crate::broker::page::PageBuilder;
use crate::broker::store::MemoryStore;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

/// A few of these make a chunk.
const LARGE_BODY_BYTES: usize = 50_000;

fn frames(sequence: u64) -> [u8; 22] {
    let mut frames = [0; 22];
    frames[11..19].copy_from_slice(&sequence.to_be_bytes());
    frames
}

fn content<'a>(frames: &'a [u8], shared_body: Option<&'a Bytes>) -> Content<'a> {
    Content { address: b"\0\0\xCE", frames, header_frame_length: 22, shared_body }
}

fn message(sequence: u64, body: &Bytes) -> MessageRef {
    MessageRef::new(&content(&frames(sequence), Some(body)), Attributes::default())
}

const TAKEN_OUT_MAX: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Push,
    /// A message that may be packed.
    PushSmall,
    Pop,
    /// Return the taken message of this index.
    PutBack(prop::sample::Index),
    /// Take the waiting message of this index, if it is not too far.
    TakeOut(prop::sample::Index),
    PageOut(PageOut),
    Refill(usize),
    /// The store brings the next page.
    Arrive,
    Clear,
    CountBodyBytes(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page_out = prop_oneof![Just(PageOut::Middle), Just(PageOut::All)];
    let step = prop_oneof![
        30 => Just(Step::Push),
        20 => Just(Step::PushSmall),
        20 => Just(Step::Pop),
        10 => any::<prop::sample::Index>().prop_map(Step::PutBack),
        5 => any::<prop::sample::Index>().prop_map(Step::TakeOut),
        10 => page_out.prop_map(Step::PageOut),
        5 => (1..5_usize).prop_map(Step::Refill),
        10 => Just(Step::Arrive),
        1 => Just(Step::Clear),
        3 => any::<bool>().prop_map(Step::CountBodyBytes),
    ];
    prop::collection::vec(step, 0..300)
}

#[test]
fn one_is_taken_out_from_among_those_that_came_back_and_behind_them() {
    let body = Bytes::from_static(b"body");
    let mut backlog = Backlog::default();
    (0..8).for_each(|sequence| _ = backlog.push(message(sequence, &body), NEVER));
    let mut taken: Vec<Taken> = (0..3).filter_map(|_| backlog.pop()).collect();
    // They leave in the order in which they came back: 2, 0, 1.
    taken.rotate_right(1);
    taken.into_iter().for_each(|one| backlog.put_back_behind(one));
    assert_eq!(backlog.take_out(0, 8, true).map(|(one, _)| (one.sequence, one.redelivered)).ok(), Some((0, true)));
    assert_eq!(backlog.take_out(5, 8, true).map(|(one, _)| (one.sequence, one.redelivered)).ok(), Some((5, false)));
    assert_eq!(backlog.take_out(0, 8, true).err(), Some(NotTaken::Gone));
    assert_eq!(backlog.take_out(7, 0, true).err(), Some(NotTaken::TooFar));
    let left: Vec<_> = std::iter::from_fn(|| backlog.pop()).map(|one| (one.sequence, one.redelivered)).collect();
    assert_eq!(left, [(2, true), (1, true), (3, false), (4, false), (6, false), (7, false)]);
}

/// What is before one that is taken out stays in memory as messages: a queue is not unpacked by walking its ids.
#[test]
fn whoever_takes_out_one_after_another_does_not_unpack_a_queue() {
    for behind in [false, true] {
        let body = Bytes::from_static(b"body");
        let mut backlog = Backlog::default();
        (0..64).for_each(|sequence| _ = backlog.push(message(sequence, &body), NEVER));
        assert_eq!(backlog.take_out(20, 8, behind).err(), Some(NotTaken::TooFar));
        assert_eq!(backlog.returned.len(), 0, "nothing has happened");
        let taken =
            |backlog: &mut Backlog, sequence| backlog.take_out(sequence, 8, behind).map(|(one, _)| one.sequence);
        let out: Vec<u64> = (1..64).step_by(2).filter(|sequence| taken(&mut backlog, *sequence).is_ok()).collect();
        assert_eq!(out, [1, 3, 5, 7, 9, 11, 13, 15]);
        assert_eq!((backlog.returned.len(), backlog.ring_range()), (8, Some((16, 63))));
        assert_eq!(backlog.take_out(16, 8, behind).map(|(_, from)| from).ok(), Some(TakenFrom::Ring));
        let left: Vec<u64> = std::iter::from_fn(|| backlog.pop()).map(|one| one.sequence).collect();
        assert!(left.into_iter().eq((0..16).step_by(2).chain(17..64)));
    }
}

#[test]
fn what_returns_untouched_has_its_place_among_those_that_came_back_also_after_a_purge() {
    let body = Bytes::from_static(b"body");
    let mut backlog = Backlog::default();
    (0..5).for_each(|sequence| _ = backlog.push(message(sequence, &body), NEVER));
    let taken: Vec<Taken> = (0..3).filter_map(|_| backlog.pop()).collect();
    taken.into_iter().rev().for_each(|one| backlog.put_back_behind(one));
    let (from, first) = (backlog.head_is_from(), backlog.pop().unwrap());
    let (second, second_from) = backlog.take_out(1, 8, true).unwrap();
    backlog.put_back_untouched(second, true, second_from);
    backlog.put_back_untouched(first, true, from);
    let sequences = |backlog: &mut Backlog| std::iter::from_fn(|| backlog.pop()).collect::<Vec<_>>();
    let all = sequences(&mut backlog);
    assert_eq!(all.iter().map(|one| one.sequence).collect::<Vec<_>>(), [2, 1, 0, 3, 4]);
    all.into_iter().for_each(|one| backlog.put_back_behind(one));
    let (from, first) = (backlog.head_is_from(), backlog.pop().unwrap());
    backlog.take();
    (5..15).for_each(|sequence| _ = backlog.push(message(sequence, &body), NEVER));
    let after: Vec<Taken> = sequences(&mut backlog);
    after.into_iter().for_each(|one| backlog.put_back_behind(one));
    backlog.put_back_untouched(first, true, from);
    let left = sequences(&mut backlog);
    assert!(left.iter().map(|one| one.sequence).eq([2].into_iter().chain(5..15)));
}

#[test]
fn only_small_messages_with_bodies_of_their_own_are_packed() {
    let mut backlog = Backlog::default();
    let body = Bytes::from_static(b"body");
    let most = [0; PACKED_FRAMES_MAX_BYTES];
    let more = [0; PACKED_FRAMES_MAX_BYTES + 1];
    assert!(!backlog.packs(&content(&most, None)), "nothing is, in a short queue in memory");
    backlog.expect(1, 1, 0);
    assert!(backlog.packs(&content(&most, None)));
    assert!(!backlog.packs(&content(&more, None)));
    assert!(!backlog.packs(&content(&most, Some(&body))));
}

proptest! {
    /// Against the obvious model: a sorted set of sequences.
    #[test]
    fn the_lowest_sequence_is_always_the_head(steps in steps()) {
        let body = Bytes::from(vec![7; LARGE_BODY_BYTES]);
        let mut store = MemoryStore::default();
        let mut backlog = Backlog::default();
        let mut model = BTreeSet::new();
        let mut taken: Vec<Taken> = Vec::new();
        let mut ever_taken = BTreeSet::new();
        let mut large = BTreeSet::new();
        for step in steps {
            match step {
                Step::Push => {
                    let sequence = backlog.next_sequence();
                    backlog.push(message(sequence, &body), NEVER);
                    backlog.add_body_bytes(LARGE_BODY_BYTES as u64);
                    large.insert(sequence);
                    model.insert(sequence);
                }
                Step::PushSmall => {
                    let sequence = backlog.next_sequence();
                    let frames = frames(sequence);
                    let content = content(&frames, None);
                    match backlog.packs(&content) {
                        true => backlog.push_packed(&content, Attributes::default(), NEVER),
                        false => backlog.push(MessageRef::new(&content, Attributes::default()), NEVER),
                    };
                    model.insert(sequence);
                }
                Step::Pop if backlog.head_is_away() => prop_assert!(backlog.pop().is_none()),
                Step::Pop => {
                    let popped = backlog.pop();
                    prop_assert_eq!(popped.as_ref().map(|taken| taken.sequence), model.pop_first());
                    if let Some(popped) = popped {
                        prop_assert_eq!(popped.redelivered, !ever_taken.insert(popped.sequence));
                        prop_assert_eq!(popped.message.content().frames, frames(popped.sequence));
                        taken.push(popped);
                    }
                }
                Step::PutBack(index) if !taken.is_empty() => {
                    let back = taken.swap_remove(index.index(taken.len()));
                    model.insert(back.sequence);
                    backlog.put_back(back);
                }
                Step::PutBack(_) => {}
                Step::TakeOut(index) if !model.is_empty() => {
                    let at = index.index(model.len());
                    let sequence = *model.iter().nth(at).expect("one of them");
                    match backlog.take_out(sequence, TAKEN_OUT_MAX, false) {
                        Ok((one, _)) => {
                            model.remove(&sequence);
                            prop_assert_eq!(one.sequence, sequence);
                            prop_assert_eq!(one.redelivered, !ever_taken.insert(sequence));
                            prop_assert_eq!(one.message.content().frames, frames(sequence));
                            taken.push(one);
                        }
                        Err(NotTaken::TooFar) => prop_assert!(at > TAKEN_OUT_MAX),
                        Err(NotTaken::Away) => prop_assert!(backlog.is_paged()),
                        Err(NotTaken::Gone) => prop_assert!(false, "it is there"),
                    }
                }
                Step::TakeOut(_) => {
                    let none = backlog.take_out(backlog.next_sequence(), TAKEN_OUT_MAX, false);
                    prop_assert_eq!(none.err(), Some(NotTaken::Gone));
                }
                Step::PageOut(which) => _ = backlog.page_out(which, &mut store),
                Step::Refill(window) => _ = backlog.refill(window, &mut store),
                Step::Arrive => {
                    if let Some((page, bytes)) = store.take_arrived_page() {
                        backlog.arrived(page, bytes);
                    }
                }
                Step::Clear => {
                    let mut taken = backlog.take();
                    while taken.discard_some(3, &mut store, |_| {}) > 0 {}
                    model.clear();
                    prop_assert_eq!(store.page_count(), 0);
                }
                Step::CountBodyBytes(count) => backlog.count_body_bytes(count),
            }
            if backlog.body_bytes.is_some() {
                let bytes = model.intersection(&large).count() * LARGE_BODY_BYTES;
                prop_assert_eq!(backlog.body_bytes(), bytes as u64);
            }
            prop_assert_eq!(backlog.len(), model.len());
            prop_assert_eq!(backlog.is_empty(), model.is_empty());
            if let Some((first, last)) = backlog.ring_range() {
                prop_assert!(model.contains(&first) && model.last() == Some(&last));
            }
        }
        while !backlog.is_empty() {
            backlog.refill(1, &mut store);
            while let Some((page, bytes)) = store.take_arrived_page() {
                backlog.arrived(page, bytes);
            }
            let popped = backlog.pop().map(|taken| taken.sequence);
            prop_assert_eq!(popped, model.pop_first());
        }
        prop_assert_eq!(store.page_count(), 0);
    }

    /// The loader brings the log's messages in stretches, not always in order, while others are published.
    #[test]
    fn messages_of_the_log_come_back_in_order(
        lengths in prop::collection::vec(1..6_u64, 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 12),
        keep_here in any::<bool>(),
        published in 0..5_u64,
        delivered_below in 0..20_u64,
    ) {
        let body = Bytes::from_static(b"body");
        let mut stretches = VecDeque::new();
        let mut next = 1;
        for length in lengths {
            // A gap: some were acknowledged.
            stretches.push_back(next..next + length);
            next += length + 1;
        }
        let expected: Vec<u64> = stretches.iter().cloned().flatten().chain(next..next + published).collect();
        let mut store = MemoryStore::default();
        let mut backlog = Backlog::default();
        backlog.count_body_bytes(true);
        let count: u64 = stretches.iter().map(|stretch| stretch.end - stretch.start).sum();
        backlog.expect(count as usize, next, delivered_below);
        for sequence in next..next + published {
            backlog.push(message(sequence, &body), NEVER);
            backlog.add_body_bytes(body.len() as u64);
        }
        let mut popped = Vec::new();
        let mut picks = order.into_iter();
        while !stretches.is_empty() {
            let pick = picks.next().map_or(0, |pick| pick.index(stretches.len()));
            let stretch = stretches.remove(pick).unwrap();
            let mut builder = PageBuilder::with_capacity(0);
            for sequence in stretch {
                let message = message(sequence, &body);
                builder.push(&Entry::of(&message, sequence, NEVER));
            }
            let complete_below = stretches.iter().map(|stretch| stretch.start).min().unwrap_or(u64::MAX);
            let lost = backlog.load(builder.finish().unwrap(), complete_below, keep_here, &mut store);
            prop_assert_eq!(lost, 0);
            prop_assert_eq!(backlog.len() + popped.len(), expected.len());
            backlog.refill(2, &mut store);
            while let Some((page, bytes)) = store.take_arrived_page() {
                backlog.arrived(page, bytes);
            }
            while let Some(taken) = backlog.pop() {
                prop_assert_eq!(taken.redelivered, taken.sequence < delivered_below.min(next));
                popped.push(taken.sequence);
                backlog.refill(2, &mut store);
                while let Some((page, bytes)) = store.take_arrived_page() {
                    backlog.arrived(page, bytes);
                }
            }
        }
        prop_assert_eq!(popped, expected);
        prop_assert!(!backlog.is_paged());
        prop_assert_eq!(backlog.body_bytes(), 0);
    }
}

#[test]
fn the_first_message_behind_pages_takes_little_memory() {
    let body = Bytes::from(vec![7; LARGE_BODY_BYTES]);
    let mut store = MemoryStore::default();
    let mut backlog = Backlog::default();
    backlog.push(message(0, &body), NEVER);
    assert!(backlog.page_out(PageOut::All, &mut store));
    let frames = [&frames(1)[..], b"\x03\0\0\0\0\0\x64", &[7; 100], b"\xCE"].concat();
    let before = message_memory_bytes();
    assert!(backlog.packs(&content(&frames, None)));
    backlog.push_packed(&content(&frames, None), Attributes::default(), NEVER);
    assert!(message_memory_bytes() - before < PAGE_WORTH_BYTES, "{} bytes", message_memory_bytes() - before);
}

#[test]
fn a_long_queue_drains_in_order_over_many_chunks() {
    let body = Bytes::new();
    let mut backlog = Backlog::default();
    for sequence in 0..5000 {
        backlog.push(message(sequence, &body), NEVER);
    }
    for sequence in 0..5000 {
        assert_eq!(backlog.pop().map(|taken| taken.sequence), Some(sequence));
    }
    assert!(backlog.pop().is_none());
    assert_eq!(backlog.next_sequence(), 5000);
}

#[test]
fn what_the_log_promised_and_never_brought_is_not_counted() {
    let mut backlog = Backlog::default();
    backlog.expect(3, 10, 10);
    assert_eq!(backlog.len(), 3);
    assert!(backlog.head_is_away());
    assert_eq!(backlog.loaded(), 3);
    assert!(backlog.is_empty() && !backlog.is_paged());
}
