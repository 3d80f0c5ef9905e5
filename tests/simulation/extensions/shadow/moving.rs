//! Messages that are moved, and dead letters that go back to where they died.

use super::{Entry, Place, QueueIndex, Shadow, Tick, Turn};
use crate::extensions::topology::NAMES;
use std::collections::BTreeMap;

/// Where messages are moved to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    WhereItDied,
    To(QueueIndex),
}

/// What came of it.
#[derive(Default)]
pub struct Carried {
    pub moved: u64,
    /// Those that stay, by why they do.
    pub stay: BTreeMap<String, u64>,
}

impl Carried {
    fn stays(&mut self, reason: String) {
        *self.stay.entry(reason).or_default() += 1;
    }
}

impl Shadow {
    /// The first ones of a queue are moved. Says when that lasts.
    pub fn carry(&mut self, from: QueueIndex, way: Way, most: usize) -> (Carried, Tick) {
        let (mut carried, mut safe, mut staying) = (Carried::default(), 0, Vec::new());
        let mut left = most.min(self.queues[from].ready.len());
        while left > 0 {
            self.drop_expired(from);
            let Some((turn, (place, entry))) = self.queues[from].ready.pop_first() else { break };
            left -= 1;
            match self.destination(from, way, &entry) {
                Ok((to, copy)) => self.carry_over((from, place, entry), to, copy, &mut carried, &mut safe),
                Err(reason) => {
                    carried.stays(reason);
                    staying.push((turn, place, entry));
                }
            }
        }
        for (turn, place, entry) in staying {
            self.put_back_untouched(from, turn, place, entry);
        }
        (carried, safe)
    }

    /// The same of one, wherever it is.
    pub fn carry_one(&mut self, from: QueueIndex, way: Way, nth: usize) -> (Carried, Tick) {
        let (mut carried, mut safe) = (Carried::default(), 0);
        let turn = *self.queues[from].ready.keys().nth(nth).expect("it is there");
        let (place, entry) = self.queues[from].ready.remove(&turn).expect("it is there");
        // Those before it that are where they were put come after those that are back, and before all others.
        let is_before = |other: &Turn| {
            turn.is_in_its_place && other.is_in_its_place && other.below_highest == turn.below_highest && *other < turn
        };
        let before: Vec<Turn> = self.queues[from].ready.keys().filter(|other| is_before(other)).copied().collect();
        for other in before {
            let (place, entry) = self.queues[from].ready.remove(&other).expect("it is there");
            self.put_back_untouched(from, other, place, entry);
        }
        match self.destination(from, way, &entry) {
            Ok((to, copy)) => self.carry_over((from, place, entry), to, copy, &mut carried, &mut safe),
            Err(reason) => {
                carried.stays(reason);
                self.put_back_untouched(from, turn, place, entry);
            }
        }
        (carried, safe)
    }

    /// Where it goes, and as what; or why it does not.
    fn destination(&self, from: QueueIndex, way: Way, entry: &Entry) -> Result<(QueueIndex, Entry), String> {
        let mut copy = Entry { redelivered: false, returns: 0, ..entry.clone() };
        let to = match way {
            Way::To(to) => to,
            Way::WhereItDied => {
                let last = entry.deaths.first().ok_or("it is no dead letter")?;
                copy.exchange.clone_from(&last.exchange);
                copy.routing_key.clone_from(&last.routing_key);
                NAMES.iter().position(|name| *name == last.queue).expect("it died in one of them")
            }
        };
        if !self.is_there(to) {
            return Err(format!("queue '{}' is not there", NAMES[to]));
        }
        if to == from {
            return Err("it is there already".to_owned());
        }
        if self.refuses(to, &copy) {
            return Err(format!("queue '{}' refuses it", NAMES[to]));
        }
        Ok((to, copy))
    }

    fn carry_over(
        &mut self,
        (from, place, entry): (QueueIndex, Place, Entry),
        to: QueueIndex,
        copy: Entry,
        carried: &mut Carried,
        safe: &mut Tick,
    ) {
        self.enter(to, copy, safe);
        self.removed(from, place, &entry);
        carried.moved += 1;
    }

    /// It was given to nobody, and its turn is the one that it had; but one that had never come back has, where these are told
    /// apart.
    fn put_back_untouched(&mut self, index: QueueIndex, mut turn: Turn, place: Place, entry: Entry) {
        let is_quorum = self.counts_returns(index);
        let queue = &mut self.queues[index];
        if is_quorum && turn.is_in_its_place {
            (turn.is_in_its_place, turn.number) = (false, queue.next_return);
            queue.next_return += 1;
        }
        queue.ready.insert(turn, (place, entry));
        self.drop_overflow(index);
    }
}
