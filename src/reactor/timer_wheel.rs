//! Deadlines, without a clock of its own.
//!
//! A hierarchical wheel: eleven levels of 64 slots each, where a slot of level n spans 64ⁿ ticks.
//!
//! ```text
//! level 0   one tick a slot:       the 64 ticks around now
//! level 1   64 ticks a slot:       the 4,096 around now
//! …
//! level 10  64¹⁰ ticks a slot:     as far as 64 bits count
//! ```
//!
//! A timer lies on the level of the highest group of six bits in which its tick differs from the current one. When the
//! current tick enters a slot of a higher level, its timers move down. So inserting and cancelling take constant time,
//! a timer moves at most ten times in its life, and eleven levels leave no deadline beyond the wheel: there is no list
//! of far timers to look after. One word of bits per level tells which slots hold timers, so a jump over a day costs
//! as much as a step over a tick.
//!
//! It never reads a clock, and a timer never expires before its deadline.

use slab::Slab;
use std::num::NonZeroU64;

const BITS_PER_LEVEL: u32 = 6;
const SLOTS_PER_LEVEL: usize = 1 << BITS_PER_LEVEL;
/// As many levels as it takes to cover every bit of a tick.
const LEVELS: usize = u64::BITS.div_ceil(BITS_PER_LEVEL) as usize;
/// The list of timers that were due already when they were inserted; it follows the lists of the slots.
const DUE_LIST: usize = LEVELS * SLOTS_PER_LEVEL;
/// Ends a list.
const NOBODY: u32 = u32::MAX;

/// A set of deadlines, each with a value.
#[derive(Debug)]
pub struct TimerWheel<T> {
    /// The time of tick 0.
    origin_ms: u64,
    tick_ms: u64,
    /// Every timer whose tick is at or before this one has expired, but for those in the due list.
    current_tick: u64,
    timers: Slab<Timer<T>>,
    lists: Vec<List>,
    /// Bit s of word n is set while slot s of level n holds a timer.
    occupied: [u64; LEVELS],
    next_serial: NonZeroU64,
}

/// Names a timer. It stays harmless when the timer has expired and its place is taken by another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    index: u32,
    serial: NonZeroU64,
}

#[derive(Debug)]
struct Timer<T> {
    /// The first tick at which the deadline has passed.
    tick: u64,
    serial: NonZeroU64,
    previous: u32,
    next: u32,
    /// Which list it is in.
    list: u32,
    value: T,
}

/// The ends of a doubly linked list through the timers, in the order of insertion.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NOBODY, last: NOBODY };

impl<T> TimerWheel<T> {
    /// An empty wheel at `now_ms`, whose timers expire up to `tick_ms` after their deadline.
    pub fn new(now_ms: u64, tick_ms: u64) -> Self {
        assert!(tick_ms > 0, "a tick takes time");
        Self {
            origin_ms: now_ms,
            tick_ms,
            current_tick: 0,
            timers: Slab::new(),
            lists: vec![EMPTY; DUE_LIST + 1],
            occupied: [0; LEVELS],
            next_serial: NonZeroU64::MIN,
        }
    }

    /// Keeps `value` until `deadline_ms`. A deadline in the past expires at the next advance.
    pub fn insert(&mut self, deadline_ms: u64, value: T) -> TimerKey {
        let tick = deadline_ms.saturating_sub(self.origin_ms).div_ceil(self.tick_ms);
        let serial = self.next_serial;
        self.next_serial = serial.checked_add(1).expect("2⁶⁴ timers outlast the machine");
        let index = self.timers.insert(Timer { tick, serial, previous: NOBODY, next: NOBODY, list: 0, value });
        let index =
            u32::try_from(index).ok().filter(|&index| index != NOBODY).expect("fewer than 2³² timers at a time");
        self.append(index, self.list_of(tick));
        TimerKey { index, serial }
    }

    /// Takes a timer back. `None` if it has expired or been cancelled before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let timer = self.timers.get(key.index as usize)?;
        (timer.serial == key.serial).then(|| self.remove(key.index))
    }

    /// Moves to `now_ms` and appends the values whose deadlines have passed to `expired`: those that were late when
    /// they were inserted first, then the others in the order of their deadlines, to the tick. Time that goes back is
    /// taken as standing still.
    pub fn advance(&mut self, now_ms: u64, expired: &mut Vec<T>) {
        self.expire_all_of(DUE_LIST, expired);
        let target_tick = now_ms.saturating_sub(self.origin_ms) / self.tick_ms;
        while let Some((list, first_tick)) = self.next_occupied() {
            if first_tick > target_tick {
                break;
            }
            self.current_tick = first_tick;
            if list < SLOTS_PER_LEVEL {
                self.expire_all_of(list, expired);
            } else {
                self.move_down(list, expired);
            }
        }
        self.current_tick = self.current_tick.max(target_tick);
    }

    /// A time before which nothing expires, and at which it is worth advancing: the next deadline (rounded up to its
    /// tick) if that is near, or the time at which far timers have to move down. `None` if there are no timers.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let tick = if self.lists[DUE_LIST].first == NOBODY { self.next_occupied()?.1 } else { self.current_tick };
        Some(tick.saturating_mul(self.tick_ms).saturating_add(self.origin_ms))
    }

    /// The list where a timer of `tick` belongs, as seen from the current tick.
    fn list_of(&self, tick: u64) -> usize {
        if tick <= self.current_tick {
            return DUE_LIST;
        }
        let highest_difference = (tick ^ self.current_tick).ilog2();
        let level = (highest_difference / BITS_PER_LEVEL) as usize;
        level * SLOTS_PER_LEVEL + slot_of(tick, level)
    }

    /// The occupied slot that comes next, and its first tick. Lower levels come before higher ones: a timer on a lower
    /// level shares its place on all higher levels with the current tick.
    fn next_occupied(&self) -> Option<(usize, u64)> {
        (0..LEVELS).find_map(|level| {
            let slot = self.occupied[level].trailing_zeros() as usize;
            // Slots at or before the current tick's were emptied when it got there: the lowest bit is the next slot.
            (slot < SLOTS_PER_LEVEL).then(|| {
                let width = BITS_PER_LEVEL * level as u32;
                let beyond = u64::MAX.checked_shl(width + BITS_PER_LEVEL).unwrap_or(0);
                (level * SLOTS_PER_LEVEL + slot, (self.current_tick & beyond) | ((slot as u64) << width))
            })
        })
    }

    /// Spreads the timers of a slot, which the current tick has just entered, over the levels below.
    fn move_down(&mut self, list: usize, expired: &mut Vec<T>) {
        let mut index = self.take_list(list);
        while index != NOBODY {
            let timer = &self.timers[index as usize];
            let (tick, next) = (timer.tick, timer.next);
            if tick == self.current_tick {
                expired.push(self.timers.remove(index as usize).value);
            } else {
                self.append(index, self.list_of(tick));
            }
            index = next;
        }
    }

    fn expire_all_of(&mut self, list: usize, expired: &mut Vec<T>) {
        let mut index = self.take_list(list);
        while index != NOBODY {
            let timer = self.timers.remove(index as usize);
            expired.push(timer.value);
            index = timer.next;
        }
    }

    /// Empties a list and returns its first timer. The timers keep their links, for the caller to follow.
    fn take_list(&mut self, list: usize) -> u32 {
        self.mark_empty(list);
        std::mem::replace(&mut self.lists[list], EMPTY).first
    }

    fn append(&mut self, index: u32, list: usize) {
        let last = std::mem::replace(&mut self.lists[list].last, index);
        if last == NOBODY {
            self.lists[list].first = index;
            if list != DUE_LIST {
                self.occupied[list / SLOTS_PER_LEVEL] |= 1 << (list % SLOTS_PER_LEVEL);
            }
        } else {
            self.timers[last as usize].next = index;
        }
        let timer = &mut self.timers[index as usize];
        (timer.previous, timer.next, timer.list) = (last, NOBODY, list as u32);
    }

    /// Takes a timer out of its list and out of the wheel.
    fn remove(&mut self, index: u32) -> T {
        let timer = self.timers.remove(index as usize);
        let list = timer.list as usize;
        match timer.previous {
            NOBODY => self.lists[list].first = timer.next,
            previous => self.timers[previous as usize].next = timer.next,
        }
        match timer.next {
            NOBODY => self.lists[list].last = timer.previous,
            next => self.timers[next as usize].previous = timer.previous,
        }
        if self.lists[list].first == NOBODY {
            self.mark_empty(list);
        }
        timer.value
    }

    fn mark_empty(&mut self, list: usize) {
        if list != DUE_LIST {
            self.occupied[list / SLOTS_PER_LEVEL] &= !(1 << (list % SLOTS_PER_LEVEL));
        }
    }
}

/// The six bits of `tick` that `level` looks at.
fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (BITS_PER_LEVEL * level as u32)) as usize % SLOTS_PER_LEVEL
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn advanced(wheel: &mut TimerWheel<&'static str>, now_ms: u64) -> Vec<&'static str> {
        let mut expired = Vec::new();
        wheel.advance(now_ms, &mut expired);
        expired
    }

    #[test]
    fn timers_expire_at_their_deadline_and_not_before() {
        let mut wheel = TimerWheel::new(1000, 1);
        wheel.insert(1010, "ten");
        wheel.insert(1005, "five");
        assert_eq!(advanced(&mut wheel, 1004), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 1005), ["five"]);
        assert_eq!(advanced(&mut wheel, 1009), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 2000), ["ten"]);
        assert!(wheel.timers.is_empty());
    }

    #[test]
    fn a_coarse_tick_delays_but_never_hurries() {
        let mut wheel = TimerWheel::new(0, 100);
        wheel.insert(101, "heartbeat");
        assert_eq!(wheel.next_deadline_ms(), Some(200));
        assert_eq!(advanced(&mut wheel, 199), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 200), ["heartbeat"]);
    }

    #[test]
    fn late_timers_expire_at_the_next_advance() {
        let mut wheel = TimerWheel::new(0, 1);
        assert_eq!(advanced(&mut wheel, 50), Vec::<&str>::new());
        wheel.insert(20, "past");
        wheel.insert(50, "present");
        wheel.insert(51, "future");
        assert_eq!(wheel.next_deadline_ms(), Some(50));
        assert_eq!(advanced(&mut wheel, 50), ["past", "present"]);
        assert_eq!(wheel.next_deadline_ms(), Some(51));
    }

    #[test]
    fn a_cancelled_timer_never_expires_and_its_key_stays_harmless() {
        let mut wheel = TimerWheel::new(0, 1);
        let key = wheel.insert(10, "cancelled");
        assert_eq!(wheel.cancel(key), Some("cancelled"));
        assert_eq!(wheel.next_deadline_ms(), None);
        wheel.insert(10, "in its place");
        assert_eq!(wheel.cancel(key), None);
        assert_eq!(advanced(&mut wheel, 10), ["in its place"]);
    }

    #[test]
    fn the_last_deadline_of_all_is_kept_and_reached() {
        let mut wheel = TimerWheel::new(0, 1);
        wheel.insert(u64::MAX, "the end");
        wheel.insert(1 << 63, "far");
        wheel.insert(10_000 * DAY_MS, "decades");
        assert_eq!(advanced(&mut wheel, 9_999 * DAY_MS), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 10_000 * DAY_MS), ["decades"]);
        assert_eq!(advanced(&mut wheel, u64::MAX - 1), ["far"]);
        assert_eq!(advanced(&mut wheel, u64::MAX), ["the end"]);
    }

    #[test]
    fn time_that_goes_back_stands_still() {
        let mut wheel = TimerWheel::new(0, 1);
        wheel.insert(30, "later");
        assert_eq!(advanced(&mut wheel, 20), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 10), Vec::<&str>::new());
        assert_eq!(advanced(&mut wheel, 30), ["later"]);
    }

    #[test]
    fn a_million_heartbeats_expire_in_order() {
        const TIMERS: u64 = 1_000_000;
        let mut wheel = TimerWheel::new(0, 10);
        for number in 0..TIMERS {
            // Spread over a minute in an order that is not theirs.
            wheel.insert(number * 7919 % 60_000, number * 7919 % 60_000);
        }
        let mut expired = Vec::new();
        wheel.advance(60_000, &mut expired);
        assert_eq!(expired.len() as u64, TIMERS);
        assert!(expired.is_sorted_by_key(|deadline_ms: &u64| deadline_ms.div_ceil(10)));
    }

    /// What a caller can do, with times relative to the present.
    #[derive(Clone, Debug)]
    enum Step {
        Insert { in_ms: u64 },
        InsertLate { ago_ms: u64 },
        Cancel { which: usize },
        Advance { by_ms: u64 },
        AdvanceToNext,
    }

    /// Distances of every magnitude, so that every level gets its share.
    fn distance() -> impl Strategy<Value = u64> {
        (0..63_u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => distance().prop_map(|in_ms| Step::Insert { in_ms }),
            4 => (0..300_u64).prop_map(|in_ms| Step::Insert { in_ms }),
            1 => (0..300_u64).prop_map(|ago_ms| Step::InsertLate { ago_ms }),
            3 => any::<usize>().prop_map(|which| Step::Cancel { which }),
            4 => (0..300_u64).prop_map(|by_ms| Step::Advance { by_ms }),
            1 => distance().prop_map(|by_ms| Step::Advance { by_ms }),
            3 => Just(Step::AdvanceToNext),
        ]
    }

    proptest! {
        /// The wheel against a sorted map that does the same the obvious way.
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(
            steps in prop::collection::vec(step(), 1..200),
            origin_ms in 0..1_000_000_u64,
            tick_ms in 1..20_u64,
        ) {
            let mut wheel = TimerWheel::new(origin_ms, tick_ms);
            let mut now_ms = origin_ms;
            // Sorted by (the tick at which it expires, its serial).
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            let tick_of = |time_ms: u64| time_ms.saturating_sub(origin_ms).div_ceil(tick_ms);
            let insert = |deadline_ms: u64, now_ms: u64, wheel: &mut TimerWheel<usize>, model: &mut BTreeMap<_, _>, keys: &mut Vec<_>| {
                let serial = keys.len();
                // One that is late expires with the present tick.
                let tick = tick_of(deadline_ms).max((now_ms - origin_ms) / tick_ms);
                keys.push((wheel.insert(deadline_ms, serial), tick));
                model.insert((tick, serial), deadline_ms);
            };
            for step in steps {
                match step {
                    Step::Insert { in_ms } => {
                        insert(now_ms.saturating_add(in_ms), now_ms, &mut wheel, &mut model, &mut keys);
                    }
                    Step::InsertLate { ago_ms } => {
                        insert(now_ms.saturating_sub(ago_ms), now_ms, &mut wheel, &mut model, &mut keys);
                    }
                    Step::Cancel { which } => {
                        if !keys.is_empty() {
                            let serial = which % keys.len();
                            let (key, tick) = keys[serial];
                            let expected = model.remove(&(tick, serial)).map(|_| serial);
                            prop_assert_eq!(wheel.cancel(key), expected);
                        }
                    }
                    Step::Advance { .. } | Step::AdvanceToNext => {
                        now_ms = match step {
                            Step::Advance { by_ms } => now_ms.saturating_add(by_ms),
                            _ => wheel.next_deadline_ms().unwrap_or(now_ms).max(now_ms),
                        };
                        let mut expired = Vec::new();
                        wheel.advance(now_ms, &mut expired);
                        let later = model.split_off(&((now_ms - origin_ms) / tick_ms + 1, 0));
                        let due = std::mem::replace(&mut model, later);
                        prop_assert!(due.values().all(|&deadline_ms| deadline_ms <= now_ms), "never early");
                        let ticks: Vec<u64> = expired.iter().map(|&serial| keys[serial].1).collect();
                        prop_assert!(ticks.is_sorted(), "in the order of their ticks: {ticks:?}");
                        expired.sort_unstable();
                        let mut expected: Vec<usize> = due.into_keys().map(|(_, serial)| serial).collect();
                        expected.sort_unstable();
                        prop_assert_eq!(expired, expected);
                    }
                }
                prop_assert_eq!(wheel.timers.len(), model.len());
                let bound = wheel.next_deadline_ms();
                prop_assert_eq!(bound.is_some(), !model.is_empty());
                if let (Some(bound), Some(((tick, _), _))) = (bound, model.first_key_value()) {
                    prop_assert!(tick_of(bound) <= *tick, "nothing expires before {bound}");
                }
            }
        }
    }
}
