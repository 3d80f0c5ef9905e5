//! A channel's deliveries that wait for an acknowledgement, by delivery tag.
//!
//! A ring indexed by `delivery_tag − base`: acknowledging one, many or out of order costs the same for each message.
//! Tags without an entry (deliveries without acknowledgement, or settled ones) leave gaps; when the ring is mostly gaps
//! its first entries move to a map, so that one message that is never acknowledged doesn't hold the ring's memory. What
//! comes after a large gap goes to the map, too, until few or none are left in the ring, which begins anew then. Entries
//! move a few at a time: what one delivery or acknowledgement does never grows with how many there are.
//!
//! ```text
//!   stragglers below `base`  <  the ring  <  stragglers that came after a large gap
//! ```

use super::ConsumerId;
use super::exchange::QueueId;
use super::queue::Taken;
use std::collections::{BTreeMap, VecDeque};

/// One delivery.
#[derive(Debug)]
pub struct Delivered {
    pub taken: Taken,
    pub queue: QueueId,
    /// None for `basic.get`, which counts toward no prefetch.
    pub consumer: Option<ConsumerId>,
}

/// Of which queue and consumer a run of deliveries is.
pub type DeliveredRun = (QueueId, Option<ConsumerId>);

/// Rings shorter than this are never thinned, and gaps longer than this are never in one.
const THINNING_MIN: usize = 256;
/// A ring is thinned when less than one in this many of its slots is in use.
const THINNING_RATIO: usize = 8;
/// So many of its slots are cleared by each delivery that is taken out while it is. After a large gap, a ring of no more
/// than so many deliveries is cleared.
const THINNING_STEP: usize = 64;
/// An empty ring gives its room back if it has more slots than this.
const EMPTY_CAPACITY: usize = 1024;

#[derive(Default)]
pub struct Unacknowledged {
    /// Delivery tag of the ring's first slot.
    base: u64,
    /// The first slot, if any, is in use.
    ring: VecDeque<Option<Delivered>>,
    /// Slots in use.
    ring_live: usize,
    /// Entries with tags below `base`, or above those of the ring.
    stragglers: BTreeMap<u64, Delivered>,
}

impl Unacknowledged {
    pub fn len(&self) -> usize {
        self.ring_live + self.stragglers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a delivery. Tags only grow.
    #[inline]
    pub fn push(&mut self, delivery_tag: u64, delivered: Delivered) {
        if self.ring.is_empty() {
            self.base = delivery_tag;
        } else if delivery_tag != self.base + self.ring.len() as u64 {
            return self.push_after_gap(delivery_tag, delivered);
        }
        self.ring.push_back(Some(delivered));
        self.ring_live += 1;
    }

    #[cold]
    fn push_after_gap(&mut self, delivery_tag: u64, delivered: Delivered) {
        let gap = (delivery_tag - self.base) as usize - self.ring.len();
        let most = ((self.ring_live + 1) * THINNING_RATIO).max(THINNING_MIN);
        if gap <= THINNING_MIN && self.ring.len() + gap <= most {
            self.ring.extend((0..gap).map(|_| None));
        } else if self.ring_live <= THINNING_STEP {
            self.move_to_stragglers();
            self.base = delivery_tag;
        } else {
            self.stragglers.insert(delivery_tag, delivered);
            return;
        }
        self.ring.push_back(Some(delivered));
        self.ring_live += 1;
    }

    fn move_to_stragglers(&mut self) {
        let base = self.base;
        let entries = self.ring.drain(..).enumerate();
        self.stragglers.extend(entries.filter_map(|(index, slot)| Some((base + index as u64, slot?))));
        self.ring_live = 0;
    }

    fn index(&self, delivery_tag: u64) -> Option<usize> {
        let index = usize::try_from(delivery_tag.checked_sub(self.base)?).ok()?;
        (index < self.ring.len()).then_some(index)
    }

    pub fn contains(&self, delivery_tag: u64) -> bool {
        match self.index(delivery_tag) {
            Some(index) => self.ring[index].is_some(),
            None => self.stragglers.contains_key(&delivery_tag),
        }
    }

    /// One delivery.
    pub fn get(&self, delivery_tag: u64) -> Option<&Delivered> {
        match self.index(delivery_tag) {
            Some(index) => self.ring[index].as_ref(),
            None => self.stragglers.get(&delivery_tag),
        }
    }

    /// Takes one delivery out.
    #[inline]
    pub fn take(&mut self, delivery_tag: u64) -> Option<Delivered> {
        let Some(index) = self.index(delivery_tag) else { return self.stragglers.remove(&delivery_tag) };
        let delivered = self.ring[index].take()?;
        self.ring_live -= 1;
        if index == 0 {
            self.drop_leading_gaps();
        } else if self.ring.len() > THINNING_MIN && self.ring_live * THINNING_RATIO < self.ring.len() {
            self.thin();
        }
        Some(delivered)
    }

    /// Clears some of the ring's first slots.
    #[cold]
    fn thin(&mut self) {
        for _ in 0..THINNING_STEP {
            let Some(slot) = self.ring.pop_front() else { break };
            if let Some(delivered) = slot {
                self.ring_live -= 1;
                self.stragglers.insert(self.base, delivered);
            }
            self.base += 1;
        }
        self.drop_leading_gaps();
    }

    fn drop_leading_gaps(&mut self) {
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.base += 1;
        }
        // A channel may have held millions once.
        if self.ring.is_empty() && self.ring.capacity() > EMPTY_CAPACITY {
            self.ring = VecDeque::new();
        }
    }

    /// Whether the delivery with the lowest tag is not in the ring.
    #[inline]
    fn straggler_is_next(&self) -> bool {
        self.stragglers.first_key_value().is_some_and(|(first, _)| self.ring.is_empty() || *first < self.base)
    }

    /// Takes out the delivery with the lowest tag, if that is at most `delivery_tag`.
    #[inline]
    pub fn take_next_up_to(&mut self, delivery_tag: u64) -> Option<(u64, Delivered)> {
        if self.straggler_is_next() {
            let entry = self.stragglers.first_entry().filter(|entry| *entry.key() <= delivery_tag)?;
            return Some(entry.remove_entry());
        }
        if self.base > delivery_tag {
            return None;
        }
        let delivered = self.ring.pop_front()?.expect("the ring's first slot is in use");
        let tag = self.base;
        self.base += 1;
        self.ring_live -= 1;
        self.drop_leading_gaps();
        Some((tag, delivered))
    }

    /// The tag up to which there are at most `most` deliveries, which is `delivery_tag` when that are all.
    #[inline]
    pub fn tag_of_some(&self, delivery_tag: u64, most: usize) -> u64 {
        let first = match self.stragglers.first_key_value() {
            Some((tag, _)) if self.straggler_is_next() => *tag,
            _ => self.base,
        };
        delivery_tag.min(first.saturating_add(most as u64).saturating_sub(1))
    }

    /// Of which queue and consumer the delivery with the lowest tag is, if that is at most `delivery_tag`.
    #[inline]
    pub fn next_run(&self, delivery_tag: u64) -> Option<DeliveredRun> {
        let delivered = match self.stragglers.first_key_value() {
            Some((tag, delivered)) if self.straggler_is_next() => Some(delivered).filter(|_| *tag <= delivery_tag),
            _ if self.base <= delivery_tag => self.ring.front().and_then(Option::as_ref),
            _ => None,
        }?;
        Some((delivered.queue, delivered.consumer))
    }

    /// Drops the deliveries with the lowest tags up to `delivery_tag`, as long as they are of this queue and consumer.
    /// Says how many those were. `each` sees them before.
    #[inline]
    pub fn drop_run(&mut self, delivery_tag: u64, run: DeliveredRun, mut each: impl FnMut(&Taken)) -> usize {
        let mut count = 0;
        if !self.stragglers.is_empty() {
            while self.next_run(delivery_tag) == Some(run)
                && let Some((_, delivered)) = self.take_next_up_to(delivery_tag)
            {
                each(&delivered.taken);
                count += 1;
            }
            return count;
        }
        let slots = usize::try_from(delivery_tag.saturating_add(1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        let mut dropped = 0;
        for slot in self.ring.iter_mut().take(slots) {
            if let Some(delivered) = slot {
                if (delivered.queue, delivered.consumer) != run {
                    break;
                }
                each(&delivered.taken);
                count += 1;
            }
            dropped += 1;
        }
        self.ring.drain(..dropped);
        self.base += dropped as u64;
        self.ring_live -= count;
        self.drop_leading_gaps();
        count
    }

    /// Takes out what [`drop_run`](Self::drop_run) would drop, and says how many those are; slots without a delivery are
    /// among them. A ring that is all of it is given away as it is.
    pub fn take_run(&mut self, delivery_tag: u64, run: DeliveredRun) -> (VecDeque<Option<Delivered>>, usize) {
        if !self.stragglers.is_empty() {
            let mut taken = VecDeque::new();
            while self.next_run(delivery_tag) == Some(run)
                && let Some((_, delivered)) = self.take_next_up_to(delivery_tag)
            {
                taken.push_back(Some(delivered));
            }
            let count = taken.len();
            return (taken, count);
        }
        let slots = usize::try_from(delivery_tag.saturating_add(1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        let is_other = |delivered: &Delivered| (delivered.queue, delivered.consumer) != run;
        let (mut count, mut length) = (0, 0);
        for slot in self.ring.iter().take(slots) {
            if slot.as_ref().is_some_and(is_other) {
                break;
            }
            count += usize::from(slot.is_some());
            length += 1;
        }
        let taken = match length == self.ring.len() {
            true => std::mem::take(&mut self.ring),
            false => self.ring.drain(..length).collect(),
        };
        self.base += length as u64;
        self.ring_live -= count;
        self.drop_leading_gaps();
        (taken, count)
    }

    /// Puts back a delivery that was taken with this tag.
    pub fn restore(&mut self, delivery_tag: u64, delivered: Delivered) {
        match self.index(delivery_tag) {
            Some(index) => {
                debug_assert!(self.ring[index].is_none());
                self.ring[index] = Some(delivered);
                self.ring_live += 1;
            }
            None => _ = self.stragglers.insert(delivery_tag, delivered),
        }
    }

    /// Entries by tag, for listings.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Delivered)> {
        self.iter_after(0)
    }

    /// The same, behind a tag.
    pub fn iter_after(&self, delivery_tag: u64) -> impl Iterator<Item = (u64, &Delivered)> {
        let first = delivery_tag.saturating_add(1);
        let skipped = usize::try_from(first.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.ring.len());
        let ring = self.ring.range(skipped..).enumerate();
        let ring = ring.filter_map(move |(index, slot)| Some((self.base + (skipped + index) as u64, slot.as_ref()?)));
        let below = self.stragglers.range(first.min(self.base)..self.base).map(|(tag, delivered)| (*tag, delivered));
        let above = self.stragglers.range(first.max(self.base)..).map(|(tag, delivered)| (*tag, delivered));
        below.chain(ring).chain(above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::NEVER;
    use crate::broker::message::{Attributes, Content, MessageRef};
    use proptest::prelude::*;

    fn delivered(sequence: u64) -> Delivered {
        let content = Content { address: b"\0\0\xCE", frames: &[0; 22], header_frame_length: 22, shared_body: None };
        let message = MessageRef::new(&content, Attributes::default());
        let returns = Default::default();
        let taken = Taken { message, expires_at_ms: NEVER, sequence, redelivered: false, returns, level: 0 };
        Delivered { taken, queue: queue_of(sequence), consumer: None }
    }

    fn queue_of(sequence: u64) -> QueueId {
        QueueId(u32::from(sequence % 100 < 20))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { gap: u64 },
        Take(prop::sample::Index),
        TakeUpTo(prop::sample::Index),
        DropUpTo(prop::sample::Index),
        TakeAndRestore(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => prop_oneof![9 => Just(0u64), 1 => 0..2000u64].prop_map(|gap| Step::Push { gap }),
            3 => any::<prop::sample::Index>().prop_map(Step::Take),
            1 => any::<prop::sample::Index>().prop_map(Step::TakeUpTo),
            1 => any::<prop::sample::Index>().prop_map(Step::DropUpTo),
            1 => any::<prop::sample::Index>().prop_map(Step::TakeAndRestore),
        ];
        prop::collection::vec(step, 0..1500)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against the obvious model: a map from tag to entry.
        #[test]
        fn behaves_like_a_map(steps in steps()) {
            let mut unacknowledged = Unacknowledged::default();
            let mut model = BTreeMap::new();
            let mut next_tag = 1;
            for step in steps {
                let pick = |index: prop::sample::Index, model: &BTreeMap<u64, u64>| {
                    (!model.is_empty()).then(|| *model.keys().nth(index.index(model.len())).unwrap())
                };
                match step {
                    Step::Push { gap } => {
                        next_tag += gap;
                        unacknowledged.push(next_tag, delivered(next_tag));
                        model.insert(next_tag, next_tag);
                        next_tag += 1;
                    }
                    Step::Take(index) => {
                        let tag = pick(index, &model).unwrap_or(7);
                        prop_assert_eq!(unacknowledged.contains(tag), model.contains_key(&tag));
                        let taken = unacknowledged.take(tag).map(|delivered| delivered.taken.sequence);
                        prop_assert_eq!(taken, model.remove(&tag));
                        prop_assert!(unacknowledged.take(tag).is_none());
                    }
                    Step::TakeUpTo(index) => {
                        let tag = pick(index, &model).unwrap_or(7);
                        while let Some((taken, delivered)) = unacknowledged.take_next_up_to(tag) {
                            prop_assert_eq!(Some((taken, delivered.taken.sequence)), model.pop_first());
                        }
                        prop_assert!(model.first_key_value().is_none_or(|(first, _)| *first > tag));
                    }
                    Step::DropUpTo(index) => {
                        let tag = pick(index, &model).unwrap_or(7);
                        while let Some(run) = unacknowledged.next_run(tag) {
                            let mut dropped = Vec::new();
                            let count = if tag % 2 == 0 {
                                unacknowledged.drop_run(tag, run, |taken| dropped.push(taken.sequence))
                            } else {
                                let (taken, count) = unacknowledged.take_run(tag, run);
                                dropped.extend(taken.iter().flatten().map(|delivered| delivered.taken.sequence));
                                count
                            };
                            prop_assert!(count > 0 && count == dropped.len());
                            for sequence in dropped {
                                prop_assert_eq!(run.0, queue_of(sequence));
                                prop_assert_eq!(Some((sequence, sequence)), model.pop_first());
                            }
                        }
                        prop_assert!(model.first_key_value().is_none_or(|(first, _)| *first > tag));
                    }
                    Step::TakeAndRestore(index) => {
                        if let Some(tag) = pick(index, &model) {
                            let taken = unacknowledged.take(tag).unwrap();
                            unacknowledged.restore(tag, taken);
                        }
                    }
                }
                prop_assert_eq!(unacknowledged.len(), model.len());
            }
            let listed: Vec<u64> = unacknowledged.iter().map(|(tag, _)| tag).collect();
            prop_assert_eq!(&listed, &model.keys().copied().collect::<Vec<_>>());
            for after in listed.iter().flat_map(|tag| [tag - 1, *tag]).chain([0, u64::MAX]).step_by(7) {
                let behind: Vec<u64> = unacknowledged.iter_after(after).map(|(tag, _)| tag).collect();
                prop_assert!(behind.iter().eq(listed.iter().filter(|tag| **tag > after)), "after {}", after);
                prop_assert_eq!(unacknowledged.get(after).is_some(), model.contains_key(&after));
            }
        }
    }

    /// Of the deliveries 1 to `count`.
    fn held(count: u64) -> Unacknowledged {
        let mut unacknowledged = Unacknowledged::default();
        (1..=count).for_each(|tag| unacknowledged.push(tag, delivered(tag)));
        unacknowledged
    }

    #[test]
    fn taking_one_out_and_putting_it_back_moves_few_of_the_others() {
        const COUNT: u64 = 50_000;
        let mut unacknowledged = held(COUNT);
        let first = unacknowledged.take(1).unwrap();
        unacknowledged.restore(1, first);
        assert_eq!(unacknowledged.stragglers.len(), 1);
        for tag in (2..=COUNT).filter(|tag| tag % 10 != 0) {
            let before = unacknowledged.stragglers.len();
            unacknowledged.take(tag).unwrap();
            assert!(unacknowledged.stragglers.len() <= before + THINNING_STEP, "taking {tag}");
        }
        assert!(unacknowledged.stragglers.len() > 1, "it was thinned");
        assert!((1..=COUNT / 10).all(|tenth| unacknowledged.contains(10 * tenth)));
    }

    #[test]
    fn a_delivery_after_a_large_gap_moves_few_of_those_before_it() {
        const COUNT: u64 = 50_000;
        for gap in [THINNING_MIN as u64 + 2, 2 * COUNT, 20 * COUNT] {
            let mut unacknowledged = held(COUNT);
            unacknowledged.push(COUNT + gap, delivered(1));
            unacknowledged.push(COUNT + gap + 1, delivered(2));
            assert!(unacknowledged.ring.len() <= COUNT as usize && unacknowledged.stragglers.len() == 2, "{gap}");
            assert_eq!(unacknowledged.tag_of_some(u64::MAX, 10), 10);
            (1..COUNT).for_each(|tag| assert_eq!(unacknowledged.take_next_up_to(u64::MAX).unwrap().0, tag));
            unacknowledged.push(COUNT + 2 * gap, delivered(3));
            assert_eq!(unacknowledged.base, COUNT + 2 * gap, "the ring begins anew");
            for tag in [COUNT, COUNT + gap, COUNT + gap + 1, COUNT + 2 * gap] {
                assert_eq!(unacknowledged.take_next_up_to(u64::MAX).unwrap().0, tag);
            }
        }
    }

    #[test]
    fn nothing_stays_of_the_room_for_many_that_are_gone() {
        const COUNT: u64 = 20_000;
        let one_by_one = |unacknowledged: &mut Unacknowledged| {
            (1..=COUNT).for_each(|tag| _ = unacknowledged.take(tag).unwrap());
        };
        let backwards = |unacknowledged: &mut Unacknowledged| {
            (1..=COUNT).rev().for_each(|tag| _ = unacknowledged.take(tag).unwrap());
        };
        let in_order = |unacknowledged: &mut Unacknowledged| {
            while unacknowledged.take_next_up_to(COUNT).is_some() {}
        };
        let in_runs = |unacknowledged: &mut Unacknowledged| {
            while let Some(run) = unacknowledged.next_run(COUNT) {
                unacknowledged.drop_run(COUNT, run, |_| {});
            }
        };
        let ways: [&dyn Fn(&mut Unacknowledged); 4] = [&one_by_one, &backwards, &in_order, &in_runs];
        for (number, take) in ways.into_iter().enumerate() {
            let mut unacknowledged = held(COUNT);
            take(&mut unacknowledged);
            assert!(unacknowledged.is_empty());
            let kept = unacknowledged.ring.capacity();
            assert!(kept <= EMPTY_CAPACITY, "room for {kept}, way {number}");
        }
    }

    #[test]
    fn one_message_never_acknowledged_does_not_hold_the_ring() {
        let mut unacknowledged = Unacknowledged::default();
        unacknowledged.push(1, delivered(1));
        for tag in 2..100_000 {
            unacknowledged.push(tag, delivered(tag));
            unacknowledged.take(tag).unwrap();
        }
        assert_eq!(unacknowledged.len(), 1);
        assert!(unacknowledged.ring.len() <= THINNING_MIN + 1, "{} slots", unacknowledged.ring.len());
        assert!(unacknowledged.contains(1));
    }
}
