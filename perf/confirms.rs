//! Which publishes a broker has confirmed: single, multiple and out of order. Owns the arithmetic only.

use std::collections::BTreeSet;

#[derive(Default)]
pub struct Confirms {
    published: u64,
    /// Every tag up to here is confirmed.
    floor: u64,
    /// Confirmed tags above the floor, if a broker confirms out of order.
    above: BTreeSet<u64>,
    pub rejected: u64,
}

impl Confirms {
    pub fn publish(&mut self, messages: u64) {
        self.published += messages;
    }

    pub fn confirmed(&self) -> u64 {
        self.floor + self.above.len() as u64
    }

    pub fn outstanding(&self) -> u64 {
        self.published.saturating_sub(self.confirmed())
    }

    pub fn is_confirmed(&self, delivery_tag: u64) -> bool {
        delivery_tag <= self.floor || self.above.contains(&delivery_tag)
    }

    /// Takes a `basic.ack`, or a `basic.nack` when `rejected`. Says how many tags it settled.
    pub fn settle(&mut self, delivery_tag: u64, multiple: bool, rejected: bool) -> u64 {
        let before = self.confirmed();
        if multiple {
            if delivery_tag > self.floor {
                self.floor = delivery_tag;
                self.above = self.above.split_off(&(delivery_tag + 1));
            }
        } else if delivery_tag == self.floor + 1 {
            self.floor = delivery_tag;
        } else if delivery_tag > self.floor {
            self.above.insert(delivery_tag);
        }
        while self.above.first() == Some(&(self.floor + 1)) {
            self.above.pop_first();
            self.floor += 1;
        }
        let settled = self.confirmed() - before;
        self.rejected += if rejected { settled } else { 0 };
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_multiple_confirms_settle_each_tag_once() {
        let mut confirms = Confirms::default();
        confirms.publish(10);
        assert_eq!(confirms.settle(1, false, false), 1);
        assert_eq!(confirms.settle(4, true, false), 3);
        assert_eq!(confirms.settle(4, true, false), 0);
        assert_eq!(confirms.settle(2, false, false), 0);
        assert_eq!((confirms.confirmed(), confirms.outstanding()), (4, 6));
    }

    #[test]
    fn confirms_may_come_out_of_order() {
        let mut confirms = Confirms::default();
        confirms.publish(5);
        assert_eq!(confirms.settle(3, false, false), 1);
        assert_eq!(confirms.settle(5, false, true), 1);
        assert_eq!(confirms.settle(2, true, false), 2);
        assert_eq!((confirms.confirmed(), confirms.rejected), (4, 1));
        assert_eq!([1, 2, 3, 4, 5].map(|tag| confirms.is_confirmed(tag)), [true, true, true, false, true]);
        assert_eq!(confirms.settle(4, false, false), 1);
        assert_eq!((confirms.outstanding(), confirms.above.len()), (0, 0));
    }
}
