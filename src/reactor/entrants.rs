//! Those who shake hands, at whatever door: who has been at it longest, and who goes when there are too many.
//!
//! Whoever needs a place gets it from the origin that has the most of them, its own perhaps, and there from the one that
//! came first. So who connects from one place over and over pushes only itself out, and as long as it is alone it may have
//! all places: behind a proxy that says nothing of its clients, everybody comes from one.
//!
//! Time comes in as an argument, and no socket is touched.

use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// `T` is what comes in.
pub struct Entrants<T> {
    most: usize,
    places: Slab<Entrant<T>>,
    /// By serial number. All have the same time, so this is in the order in which it ends.
    by_age: BTreeMap<u64, Deadline>,
    /// Who comes from where: serial numbers. No origin has none.
    shares: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// Every origin once. The last has to give up a place next.
    ranks: BTreeSet<(Rank, IpAddr)>,
    next_serial: u64,
}

/// The more places the higher. Of equal ones, that with the oldest entrant.
type Rank = (usize, Reverse<u64>);

struct Entrant<T> {
    who: T,
    origin: IpAddr,
    serial: u64,
}

struct Deadline {
    at_ms: u64,
    place: usize,
}

impl<T> Entrants<T> {
    /// Room for so many: 1 or more.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            places: Slab::new(),
            by_age: BTreeMap::new(),
            shares: BTreeMap::new(),
            ranks: BTreeSet::new(),
            next_serial: 0,
        }
    }

    /// Who has to go before somebody comes in from `origin`, if somebody has to.
    pub fn in_the_way_of(&self, origin: IpAddr) -> Option<usize> {
        if self.places.len() < self.most {
            return None;
        }
        let most = &self.shares[&self.ranks.last()?.1];
        // With one more it would have the most itself.
        let share = self.shares.get(&origin).filter(|own| own.len() >= most.len()).unwrap_or(most);
        Some(self.by_age[share.first()?].place)
    }

    /// The place that the next one gets.
    pub fn next_place(&self) -> usize {
        self.places.vacant_key()
    }

    /// Somebody comes in, whose time is up then: never before that of those who are in.
    pub fn insert(&mut self, who: T, origin: IpAddr, until_ms: u64) {
        let serial = self.next_serial;
        self.next_serial += 1;
        let place = self.places.insert(Entrant { who, origin, serial });
        self.by_age.insert(serial, Deadline { at_ms: until_ms, place });
        self.count_in(origin, serial);
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place).map(|entrant| &mut entrant.who)
    }

    /// Where somebody comes from is known better now.
    pub fn move_to(&mut self, place: usize, origin: IpAddr) {
        let entrant = &mut self.places[place];
        let (before, serial) = (std::mem::replace(&mut entrant.origin, origin), entrant.serial);
        self.count_out(before, serial);
        self.count_in(origin, serial);
    }

    pub fn remove(&mut self, place: usize) -> T {
        let Entrant { who, origin, serial } = self.places.remove(place);
        self.by_age.remove(&serial);
        self.count_out(origin, serial);
        who
    }

    /// When the next one's time is up.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.by_age.first_key_value().map(|(_, deadline)| deadline.at_ms)
    }

    /// Somebody whose time is up.
    pub fn overdue(&self, now_ms: u64) -> Option<usize> {
        let (_, deadline) = self.by_age.first_key_value()?;
        (deadline.at_ms <= now_ms).then_some(deadline.place)
    }

    fn count_in(&mut self, origin: IpAddr, serial: u64) {
        self.change_share(origin, |share| _ = share.insert(serial));
    }

    fn count_out(&mut self, origin: IpAddr, serial: u64) {
        self.change_share(origin, |share| _ = share.remove(&serial));
    }

    fn change_share(&mut self, origin: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let share = self.shares.entry(origin).or_default();
        if let Some(rank) = rank(share) {
            self.ranks.remove(&(rank, origin));
        }
        change(share);
        match rank(share) {
            Some(rank) => _ = self.ranks.insert((rank, origin)),
            None => _ = self.shares.remove(&origin),
        }
    }
}

fn rank(share: &BTreeSet<u64>) -> Option<Rank> {
    Some((share.len(), Reverse(*share.first()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    /// Lets somebody in, and says who had to go for that.
    fn enter(
        entrants: &mut Entrants<&'static str>,
        who: &'static str,
        from: u8,
        until_ms: u64,
    ) -> Option<&'static str> {
        let gone = entrants.in_the_way_of(origin(from)).map(|place| entrants.remove(place));
        entrants.insert(who, origin(from), until_ms);
        gone
    }

    #[test]
    fn who_comes_from_one_place_over_and_over_pushes_only_itself_out() {
        let mut entrants = Entrants::new(4);
        assert_eq!(enter(&mut entrants, "an honest one", 1, 10), None);
        for who in ["first", "second", "third"] {
            assert_eq!(enter(&mut entrants, who, 66, 10), None, "there is room for {who}");
        }
        assert_eq!(enter(&mut entrants, "fourth", 66, 10), Some("first"));
        assert_eq!(enter(&mut entrants, "fifth", 66, 10), Some("second"));
        assert_eq!(enter(&mut entrants, "another honest one", 2, 10), Some("third"));
        assert_eq!(enter(&mut entrants, "sixth", 66, 10), Some("fourth"));
    }

    #[test]
    fn equal_shares_are_left_alone() {
        let mut entrants = Entrants::new(4);
        for (who, from) in [("a1", 1), ("b1", 2), ("b2", 2), ("a2", 1)] {
            assert_eq!(enter(&mut entrants, who, from, 10), None);
        }
        assert_eq!(enter(&mut entrants, "a3", 1, 10), Some("a1"));
        assert_eq!(enter(&mut entrants, "b3", 2, 10), Some("b1"));
        assert_eq!(enter(&mut entrants, "c1", 3, 10), Some("b2"), "who is older than a2");
    }

    #[test]
    fn alone_it_may_have_all_places() {
        let mut entrants = Entrants::new(2);
        assert_eq!(enter(&mut entrants, "first", 1, 10), None);
        assert_eq!(enter(&mut entrants, "second", 1, 10), None);
        assert_eq!(enter(&mut entrants, "third", 1, 10), Some("first"));
    }

    #[test]
    fn behind_a_proxy_it_counts_who_is_behind_it() {
        let mut entrants = Entrants::new(3);
        for (who, from) in [("one", 1), ("two", 2)] {
            let place = entrants.next_place();
            assert_eq!(enter(&mut entrants, who, 99, 10), None);
            entrants.move_to(place, origin(from));
        }
        assert_eq!(enter(&mut entrants, "three", 2, 10), None);
        assert_eq!(enter(&mut entrants, "unknown yet", 99, 10), Some("two"));
    }

    #[test]
    fn times_are_up_in_order() {
        let mut entrants = Entrants::new(3);
        for (who, until_ms) in [("first", 10), ("second", 20), ("third", 20)] {
            enter(&mut entrants, who, 1, until_ms);
        }
        assert_eq!(entrants.overdue(9), None);
        let overdue = |entrants: &mut Entrants<&'static str>, now_ms| {
            std::iter::from_fn(|| entrants.overdue(now_ms).map(|place| entrants.remove(place))).collect::<Vec<_>>()
        };
        assert_eq!(overdue(&mut entrants, 10), ["first"]);
        assert_eq!(entrants.next_deadline_ms(), Some(20));
        assert_eq!(overdue(&mut entrants, 25), ["second", "third"]);
        assert_eq!(entrants.next_deadline_ms(), None);
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let mut entrants = Entrants::new(2);
        for _ in 0..3 {
            for from in 0..=255 {
                enter(&mut entrants, "passer-by", from, 10);
            }
        }
        while let Some(place) = entrants.overdue(10) {
            entrants.remove(place);
        }
        let kept = [entrants.by_age.len(), entrants.shares.len(), entrants.ranks.len()];
        assert_eq!(kept, [0; 3]);
    }
}
