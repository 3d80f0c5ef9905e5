//! The schedule against an obvious one: a list of messages, sorted by due time and by when they came.

use super::chunk::PAGE_WORTH_BYTES;
use super::schedule::{Found, Schedule};
use crate::broker::message::{Attributes, Content, MessageRef};
use crate::broker::page::Entry;
use crate::broker::store::{MemoryStore, Pages};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    /// A message, delayed by so much.
    Insert {
        delay_ms: u64,
        body_bytes: usize,
    },
    /// Many with the same delay.
    Burst {
        delay_ms: u64,
        count: usize,
    },
    Large {
        delay_ms: u64,
    },
    Wait {
        ms: u64,
    },
    PageOut {
        count: usize,
        only_full: bool,
    },
    /// Cancels one of those that are there, or one that is not.
    Cancel {
        which: usize,
    },
    List {
        skipped: usize,
        most: usize,
    },
    /// What is asked for arrives.
    Arrive,
}

fn delays() -> impl Strategy<Value = u64> {
    prop_oneof![1..5_u64, 1..70_u64, 1..5000_u64, 1..400_000_u64, 1..=4_294_967_295_u64, Just(1000)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (delays(), 0..200_usize).prop_map(|(delay_ms, body_bytes)| Step::Insert { delay_ms, body_bytes }),
        2 => (delays(), 1..300_usize).prop_map(|(delay_ms, count)| Step::Burst { delay_ms, count }),
        1 => delays().prop_map(|delay_ms| Step::Large { delay_ms }),
        3 => prop_oneof![0..3_u64, 1..200_u64, 1..10_000_u64, 1..3_000_000_u64, Just(300_000_000)]
            .prop_map(|ms| Step::Wait { ms }),
        2 => (1..20_usize, any::<bool>()).prop_map(|(count, only_full)| Step::PageOut { count, only_full }),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        2 => (0..500_usize, 1..200_usize).prop_map(|(skipped, most)| Step::List { skipped, most }),
        1 => Just(Step::Arrive),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Default)]
struct Play {
    schedule: Schedule,
    store: MemoryStore,
    now_ms: u64,
    next_sequence: u64,
    /// (due, sequence)
    expected: BTreeSet<(u64, u64)>,
}

impl Play {
    fn insert(&mut self, delay_ms: u64, body_bytes: usize) {
        let (due_ms, sequence) = (self.now_ms + delay_ms, self.next_sequence);
        let body = vec![7; body_bytes];
        let entry = Entry {
            sequence,
            expires_at_ms: due_ms,
            persistent: sequence % 2 == 0,
            priority: 0,
            address: b"\0\x01q\xCE",
            header_frame: &[0; 22],
            body: &body,
            has_shared_body: false,
        };
        self.schedule.insert(&entry, self.now_ms);
        self.inserted(due_ms, sequence);
    }

    fn insert_large(&mut self, delay_ms: u64) {
        let (due_ms, sequence) = (self.now_ms + delay_ms, self.next_sequence);
        let body = Bytes::from(vec![7; 2 * PAGE_WORTH_BYTES]);
        let (address, frames) = (b"\0\x01q\xCE".as_slice(), [0; 22]);
        let content = Content { address, frames: &frames, header_frame_length: 22, shared_body: Some(&body) };
        let attributes = Attributes { persistent: sequence % 2 == 0, ..Attributes::default() };
        self.schedule.insert_large(MessageRef::new(&content, attributes), sequence, due_ms, self.now_ms);
        self.inserted(due_ms, sequence);
    }

    fn inserted(&mut self, due_ms: u64, sequence: u64) {
        self.next_sequence += 1;
        self.expected.insert((due_ms, sequence));
    }

    fn arrive(&mut self) {
        while let Some((page, bytes)) = self.store.take_arrived_page() {
            self.schedule.arrived(page, bytes);
        }
    }

    /// Turns as the broker has them, until there is nothing to do now.
    fn run(&mut self) {
        let mut taken = Vec::new();
        let mut turns = 0;
        while self.schedule.next_ms() <= self.now_ms || self.has_arrived() {
            self.arrive();
            self.schedule.open(self.now_ms, 50);
            self.schedule.read_ahead(self.now_ms, &mut self.store, |_| {});
            self.schedule.take_due(self.now_ms, 30, |found| taken.push((found.due_ms(), found.sequence())));
            turns += 1;
            assert!(turns < 1_000_000, "there is always more to do");
        }
        let later = self.expected.split_off(&(self.now_ms + 1, 0));
        let due = std::mem::replace(&mut self.expected, later);
        // All are there, once, and those of one millisecond in the order in which they came.
        let mut last = std::collections::BTreeMap::new();
        for (due_ms, sequence) in &taken {
            let before = last.insert(*due_ms, *sequence);
            assert!(before.is_none_or(|before| before < *sequence), "{before:?} before {sequence}");
        }
        assert_eq!(taken.len(), due.len());
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), due);
    }

    fn has_arrived(&mut self) -> bool {
        let Some((page, bytes)) = self.store.take_arrived_page() else { return false };
        self.schedule.arrived(page, bytes);
        true
    }

    fn cancel(&mut self, which: usize) {
        let known = self.expected.iter().nth(which % (self.expected.len() + 1)).copied();
        let (due_ms, sequence) = known.unwrap_or((self.now_ms + 1 + which as u64 % 5000, 1_000_000));
        while self.schedule.find(due_ms, sequence, &mut self.store, |_| {}) == Found::Away {
            self.arrive();
        }
        let cancelled = self.schedule.cancel(due_ms, sequence);
        assert_eq!(cancelled, known.map(|_| sequence % 2 == 0));
        if let Some(known) = known {
            self.expected.remove(&known);
        }
    }

    fn list(&mut self, skipped: usize, most: usize) {
        let mut all = Vec::new();
        for first in (0..self.expected.len()).step_by(most) {
            while !self.schedule.bring(first, most, &mut self.store, |_| {}) {
                self.arrive();
            }
            let mut listed = Vec::new();
            self.schedule.look(first, most, |message| listed.push((message.due_ms(), message.sequence())));
            assert_eq!(listed.len(), most.min(self.expected.len() - first));
            all.extend(listed);
        }
        assert_eq!(all.len(), self.expected.len());
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), self.expected);
        let beyond = self.expected.len() + skipped;
        assert!(self.schedule.bring(beyond, most, &mut self.store, |_| {}));
        self.schedule.look(beyond, most, |_| unreachable!("there are no more"));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Insert { delay_ms, body_bytes } => self.insert(delay_ms, body_bytes),
            Step::Burst { delay_ms, count } => (0..count).for_each(|_| self.insert(delay_ms, 100)),
            Step::Large { delay_ms } => self.insert_large(delay_ms),
            Step::Wait { ms } => {
                self.now_ms += ms;
                self.run();
            }
            Step::PageOut { count, only_full } => {
                for _ in 0..count {
                    self.schedule.page_out(self.now_ms, only_full, &mut self.store);
                }
            }
            Step::Cancel { which } => self.cancel(which),
            Step::List { skipped, most } => self.list(skipped, most),
            Step::Arrive => self.arrive(),
        }
        assert_eq!(self.schedule.count(), self.expected.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_comes_once_when_it_is_due(steps in steps()) {
        let mut play = Play::default();
        for step in &steps {
            play.step(step);
        }
        play.now_ms += 5_000_000_000;
        play.run();
        prop_assert!(play.expected.is_empty());
        prop_assert_eq!(play.store.page_count(), 0, "no page is left behind");
        prop_assert_eq!(play.schedule.next_ms(), crate::broker::message::NEVER);
    }

    #[test]
    fn what_is_discarded_leaves_no_page_behind(steps in steps()) {
        let mut play = Play::default();
        for step in &steps {
            play.step(step);
        }
        play.arrive();
        while play.schedule.discard_one(&mut play.store) {}
        prop_assert_eq!(play.store.page_count(), 0);
    }
}

/// 51 in one wide stretch, and all but the first of one millisecond: a turn opens 50 of them.
fn more_than_a_turn_opens() -> Play {
    let mut play = Play { now_ms: 1_867, ..Play::default() };
    for step in [Step::Burst { delay_ms: 4_096, count: 1 }, Step::Burst { delay_ms: 2_229, count: 50 }] {
        play.step(&step);
    }
    play
}

#[test]
fn those_of_one_millisecond_keep_their_order_while_two_stretches_are_opened() {
    let mut play = more_than_a_turn_opens();
    // Both are opened 200 ms before their time, which is the same.
    play.step(&Step::Wait { ms: 2_029 });
    play.step(&Step::Wait { ms: 200 });
    assert_eq!(play.expected.len(), 1);
}

#[test]
fn messages_are_found_and_cancelled_while_their_stretch_is_being_opened() {
    let mut play = more_than_a_turn_opens();
    play.now_ms = 4_000;
    play.schedule.open(play.now_ms, 50);
    let all = play.expected.clone();
    for &(due_ms, sequence) in &all {
        assert_eq!(play.schedule.find(due_ms, sequence, &mut play.store, |_| {}), Found::Here, "{sequence}");
    }
    for (due_ms, sequence) in all {
        assert_eq!(play.schedule.cancel(due_ms, sequence), Some(sequence % 2 == 0), "{sequence}");
    }
    assert_eq!(play.schedule.count(), 0);
}

/// However many there are, and wherever they are: the memory that they take besides their bytes is that of pages.
#[test]
fn what_is_far_takes_no_memory_but_for_names_of_pages() {
    use crate::broker::memory::message_memory_bytes;
    const COUNT: u64 = 200_000;
    let before = message_memory_bytes();
    let mut play = Play::default();
    for index in 0..COUNT {
        play.insert(1_000_000 + index * 7919 % 80_000_000, 16);
        if index % 1000 == 0 {
            while play.schedule.page_out(0, true, &mut play.store) {}
        }
    }
    while play.schedule.page_out(0, true, &mut play.store) {}
    while play.schedule.page_out(0, false, &mut play.store) {}
    let memory_bytes = message_memory_bytes() - before;
    assert!(memory_bytes < 400_000, "{memory_bytes} bytes for {COUNT} messages");
    play.now_ms = 90_000_000;
    play.run();
    assert_eq!(play.store.page_count(), 0);
}
