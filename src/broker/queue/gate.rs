//! Who consumes from a queue, and who is next.
//!
//! Everyone who consumes is registered, in the order in which they came. Those who could take a message now are in
//! [line](Line) besides; who can't waits elsewhere and comes back, as [`ConsumerState`] says. The gate knows ids and
//! nothing of credit: who is ready is `dispatch`'s question, and when a consumer is given more `replenish`'s.
//!
//! A consumer to which alone messages may go is the *holder*: one that asked to be exclusive, or the *active* one of a
//! queue that has a single active consumer. It keeps the gate while it has no credit, and nobody goes before it. The others
//! of such a queue are never in the line; they wait in another one to become the holder, when that has left.
//!
//! [`ConsumerState`]: crate::broker::consumer::ConsumerState

use super::line::Line;
use crate::broker::ConsumerId;
use std::ops::Range;

/// Places of those who left are closed up when they are more than this and more than the others.
const VACANT_MIN: usize = 16;

#[derive(Default)]
pub struct Gate {
    /// Those who could take a message now.
    pub line: Line,
    /// Everyone, in the order in which they came, and the places of some who left.
    places: Vec<Option<ConsumerId>>,
    count: usize,
    /// How many have a priority.
    prioritised: usize,
    /// To whom alone messages may go.
    holder: Option<ConsumerId>,
    /// Of a queue with a single active consumer: those who wait to be it.
    successors: Option<Box<Line>>,
}

impl Gate {
    /// Of a queue that may have a single active consumer.
    pub fn new(single_active: bool) -> Self {
        Self { successors: single_active.then(Box::default), ..Self::default() }
    }

    /// Whether another consumer may be registered, who wants to be the only one if `exclusive`.
    pub fn admits(&self, exclusive: bool) -> bool {
        match self.successors {
            Some(_) => !exclusive,
            None => self.holder.is_none() && !(exclusive && self.count > 0),
        }
    }

    /// Registers a consumer, which it [admits](Self::admits). Says its place.
    pub fn register(&mut self, consumer: ConsumerId, priority: i64, exclusive: bool) -> usize {
        debug_assert!(self.admits(exclusive));
        self.places.push(Some(consumer));
        self.count += 1;
        self.prioritised += usize::from(priority != 0);
        if exclusive || self.successors.is_some() && self.holder.is_none() {
            self.holder = Some(consumer);
        }
        self.places.len() - 1
    }

    /// Whether messages may go to a consumer that is registered.
    pub fn is_active(&self, consumer: ConsumerId) -> bool {
        self.successors.is_none() || self.holder == Some(consumer)
    }

    /// Who alone is active, in a queue that has a single active consumer.
    pub fn single_active(&self) -> Option<ConsumerId> {
        self.holder.filter(|_| self.has_single_active())
    }

    /// Who asked to be the only one.
    pub fn exclusive(&self) -> Option<ConsumerId> {
        self.holder.filter(|_| !self.has_single_active())
    }

    /// Whether there is a single active consumer at a time.
    pub fn has_single_active(&self) -> bool {
        self.successors.is_some()
    }

    /// Those who wait to be the single active consumer: the one of the highest priority is next, and of one priority the
    /// one who came first.
    pub fn successors(&mut self) -> Option<&mut Line> {
        self.successors.as_deref_mut()
    }

    /// The next of those who wait becomes the holder, if there is none. A cancelled one is to be let go, and to be asked
    /// for the one behind it.
    pub fn succeed(&mut self, is_cancelled: impl Fn(ConsumerId) -> bool) -> Option<Successor> {
        let successors = self.successors.as_mut().filter(|_| self.holder.is_none())?;
        let next = successors.leave()?;
        if is_cancelled(next) {
            successors.cancelled_left();
            return Some(Successor::Cancelled(next));
        }
        self.holder = Some(next);
        Some(Successor::Active(next))
    }

    /// Takes out the consumer at a place. Afterwards others may have [moved](Self::close_up).
    pub fn deregister(&mut self, place: usize, priority: i64) {
        let consumer = self.places[place].take();
        debug_assert!(consumer.is_some());
        self.count -= 1;
        self.prioritised -= usize::from(priority != 0);
        if self.holder == consumer {
            self.holder = None;
        }
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
    }

    /// Closes up the places of those who left, when they are many. `moved` is told of each who gets another place.
    pub fn close_up(&mut self, mut moved: impl FnMut(ConsumerId, usize)) {
        if self.places.len() - self.count <= VACANT_MIN.max(self.count) {
            return;
        }
        self.places.retain(Option::is_some);
        for (place, consumer) in self.places.iter().enumerate() {
            if let Some(consumer) = consumer {
                moved(*consumer, place);
            }
        }
    }

    /// Everyone, in the order in which they came.
    pub fn consumers(&self) -> impl Iterator<Item = ConsumerId> + '_ {
        self.places.iter().flatten().copied()
    }

    /// How many there are.
    pub fn consumer_count(&self) -> usize {
        self.count
    }

    pub fn is_unused(&self) -> bool {
        self.count == 0
    }

    /// Nobody has a priority.
    #[inline]
    pub fn are_equals(&self) -> bool {
        self.prioritised == 0
    }

    /// One past the last place that may have a consumer.
    pub fn place_count(&self) -> usize {
        self.places.len()
    }

    /// Those in a range of places.
    pub fn consumers_in(&self, places: Range<usize>) -> impl Iterator<Item = ConsumerId> + '_ {
        self.places[places].iter().flatten().copied()
    }

    /// Lets everyone go, and says who that was, in the order in which they came.
    pub fn empty(&mut self) -> Vec<ConsumerId> {
        std::mem::take(self).places.into_iter().flatten().collect()
    }
}

/// Who is met where consumers wait to be active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Successor {
    Active(ConsumerId),
    /// It was cancelled while it waited.
    Cancelled(ConsumerId),
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCLUSIVE: bool = true;

    fn ids(gate: &Gate) -> Vec<u32> {
        gate.consumers().map(|id| id.0).collect()
    }

    #[test]
    fn consumers_keep_the_order_in_which_they_came_whoever_leaves() {
        let mut gate = Gate::default();
        let mut places: Vec<usize> = (0..100).map(|id| gate.register(ConsumerId(id), 0, false)).collect();
        let mut left: Vec<u32> = (0..100).collect();
        for id in [0, 99, 50, 49, 98].into_iter().chain((1..40).rev()) {
            gate.deregister(places[id], 0);
            gate.close_up(|consumer, place| places[consumer.0 as usize] = place);
            left.retain(|other| *other as usize != id);
            assert_eq!(ids(&gate), left);
            assert_eq!(gate.consumer_count(), left.len());
            assert!(left.iter().all(|id| gate.places[places[*id as usize]] == Some(ConsumerId(*id))));
        }
        assert!(gate.place_count() <= 2 * left.len() + VACANT_MIN);
    }

    #[test]
    fn an_exclusive_consumer_admits_nobody_and_comes_to_nobody() {
        let mut gate = Gate::default();
        let place = gate.register(ConsumerId(1), 0, EXCLUSIVE);
        assert!(!gate.admits(false) && !gate.admits(EXCLUSIVE));
        gate.deregister(place, 0);
        gate.register(ConsumerId(2), 0, false);
        assert!(gate.admits(false) && !gate.admits(EXCLUSIVE));
    }

    /// Who is active after the holder at `place` has left, with those that were cancelled while they waited.
    fn succeed(gate: &mut Gate, place: usize, cancelled: &[u32]) -> Vec<Successor> {
        gate.deregister(place, 0);
        std::iter::from_fn(|| gate.succeed(|id| cancelled.contains(&id.0))).collect()
    }

    #[test]
    fn the_first_one_is_active_and_others_follow_in_the_order_in_which_they_came() {
        let mut gate = Gate::new(true);
        assert!(gate.single_active().is_none() && !gate.admits(EXCLUSIVE));
        for id in 0..4 {
            assert!(gate.admits(false));
            gate.register(ConsumerId(id), 0, false);
            assert_eq!(gate.is_active(ConsumerId(id)), id == 0);
            if id > 0 {
                gate.successors().unwrap().join(0, ConsumerId(id));
            }
        }
        assert_eq!(gate.succeed(|_| false), None, "there is an active one");
        gate.deregister(1, 0);
        gate.successors().unwrap().note_cancelled();
        assert_eq!(
            succeed(&mut gate, 0, &[1]),
            [Successor::Cancelled(ConsumerId(1)), Successor::Active(ConsumerId(2))]
        );
        assert_eq!(gate.single_active(), Some(ConsumerId(2)));
        assert!(!gate.is_active(ConsumerId(3)));
        assert_eq!(succeed(&mut gate, 2, &[]), [Successor::Active(ConsumerId(3))]);
        assert_eq!(succeed(&mut gate, 3, &[]), []);
        assert!(gate.is_unused() && gate.has_single_active() && gate.admits(false));
    }

    #[test]
    fn a_successor_of_higher_priority_is_next_and_does_not_go_before_the_active_one() {
        let mut gate = Gate::new(true);
        for (id, priority) in [(0, 0), (1, 0), (2, 5), (3, 5)] {
            gate.register(ConsumerId(id), priority, false);
            if id > 0 {
                gate.successors().unwrap().join(priority, ConsumerId(id));
            }
        }
        assert_eq!(gate.single_active(), Some(ConsumerId(0)));
        assert_eq!(succeed(&mut gate, 0, &[]), [Successor::Active(ConsumerId(2))]);
    }

    #[test]
    fn equals_are_those_without_priorities() {
        let mut gate = Gate::default();
        let place = gate.register(ConsumerId(1), -5, false);
        gate.register(ConsumerId(2), 0, false);
        assert!(!gate.are_equals());
        gate.deregister(place, -5);
        assert!(gate.are_equals());
        assert_eq!(gate.empty(), [ConsumerId(2)]);
        assert!(gate.is_unused() && gate.admits(EXCLUSIVE));
    }
}
