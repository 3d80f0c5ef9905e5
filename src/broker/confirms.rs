//! What publishers are told of their publishes: acks and nacks, in the order of the tags, as many in one as there can be.
//!
//! It keeps what is known of the tags that nothing was said of yet. What a publish waits for, and whether a queue refused it,
//! is found out by `publish`; `flush_confirms` says what is to be said.

use super::store::LogPosition;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// What is said of all publishes up to a tag that nothing was said of before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    pub up_to: u64,
    /// For so many publishes.
    pub count: u64,
    /// A queue refused each of them: it is a nack.
    pub refused: bool,
}

/// Tags from 1, settled in order, as far as what they wait for is durable.
#[derive(Default)]
pub struct Confirms {
    published: u64,
    settled: u64,
    /// (first tag that waits for the position, position), both rising. A tag between two entries waits for the earlier.
    waiting: VecDeque<(u64, LogPosition)>,
    /// Tags that were refused and that nothing was said of, rising, and never two that touch.
    refused: VecDeque<RangeInclusive<u64>>,
}

impl Confirms {
    /// Counts a publish, which is done once `position` is durable.
    #[inline]
    pub fn published(&mut self, position: LogPosition, durable: LogPosition) {
        self.published += 1;
        if position > durable && self.waiting.back().is_none_or(|(_, last)| *last < position) {
            self.waiting.push_back((self.published, position));
        }
    }

    /// Counts `count` publishes that wait for nothing but those before them.
    #[inline]
    pub fn published_many(&mut self, count: u64) {
        self.published += count;
    }

    /// Counts a publish that a queue refused, whatever others made of it. It waits for nothing but those before it.
    #[cold]
    pub fn refused(&mut self) {
        self.published += 1;
        match self.refused.back_mut() {
            Some(last) if *last.end() + 1 == self.published => *last = *last.start()..=self.published,
            _ => self.refused.push_back(self.published..=self.published),
        }
    }

    /// Says what can be said, now that everything up to `durable` is durable.
    #[inline]
    pub fn tell(&mut self, durable: LogPosition, mut say: impl FnMut(Said)) {
        while self.waiting.front().is_some_and(|(_, position)| *position <= durable) {
            self.waiting.pop_front();
        }
        let reached = self.waiting.front().map_or(self.published, |(first_tag, _)| first_tag - 1);
        if !self.refused.is_empty() {
            self.tell_refused(reached, &mut say);
        }
        self.say(reached, false, &mut say);
    }

    /// Says what can be said up to the last of those that were refused.
    #[cold]
    fn tell_refused(&mut self, reached: u64, say: &mut impl FnMut(Said)) {
        while let Some(run) = self.refused.front().filter(|run| *run.start() <= reached).cloned() {
            let end = reached.min(*run.end());
            self.say(run.start() - 1, false, say);
            self.say(end, true, say);
            match end == *run.end() {
                true => _ = self.refused.pop_front(),
                false => self.refused[0] = end + 1..=*run.end(),
            }
        }
    }

    #[inline]
    fn say(&mut self, up_to: u64, refused: bool, say: &mut impl FnMut(Said)) {
        let count = up_to - self.settled;
        self.settled = up_to;
        if count > 0 {
            say(Said { up_to, count, refused });
        }
    }

    /// Publishes that nothing was said of yet.
    pub fn unconfirmed(&self) -> u64 {
        self.published - self.settled
    }

    /// The tag up to which publishers were told.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether something still waits for the log.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DURABLE_0: LogPosition = LogPosition(0);

    fn ack(up_to: u64, count: u64) -> Said {
        Said { up_to, count, refused: false }
    }

    fn nack(up_to: u64, count: u64) -> Said {
        Said { up_to, count, refused: true }
    }

    fn told(confirms: &mut Confirms, durable: LogPosition) -> Vec<Said> {
        let mut all = Vec::new();
        confirms.tell(durable, |said| all.push(said));
        all
    }

    #[test]
    fn what_waits_for_nothing_is_confirmed_at_once_and_together() {
        let mut confirms = Confirms::default();
        assert_eq!(told(&mut confirms, DURABLE_0), []);
        confirms.published(DURABLE_0, DURABLE_0);
        assert_eq!(told(&mut confirms, DURABLE_0), [ack(1, 1)]);
        confirms.published(DURABLE_0, DURABLE_0);
        confirms.published(DURABLE_0, DURABLE_0);
        assert_eq!(told(&mut confirms, DURABLE_0), [ack(3, 2)]);
        assert_eq!(told(&mut confirms, DURABLE_0), []);
    }

    #[test]
    fn confirms_stop_before_the_first_that_is_not_durable() {
        let mut confirms = Confirms::default();
        confirms.published(DURABLE_0, DURABLE_0);
        confirms.published(LogPosition(5), DURABLE_0);
        confirms.published(LogPosition(5), DURABLE_0);
        confirms.published(DURABLE_0, DURABLE_0);
        confirms.published(LogPosition(9), DURABLE_0);
        assert_eq!(told(&mut confirms, DURABLE_0), [ack(1, 1)]);
        assert_eq!(told(&mut confirms, LogPosition(4)), []);
        assert_eq!(told(&mut confirms, LogPosition(5)), [ack(4, 3)]);
        assert!(confirms.is_waiting());
        assert_eq!(told(&mut confirms, LogPosition(9)), [ack(5, 1)]);
        assert!(!confirms.is_waiting());
    }

    #[test]
    fn runs_of_refused_ones_are_nacked_together_and_in_their_places() {
        let mut confirms = Confirms::default();
        confirms.refused();
        confirms.refused();
        confirms.published_many(3);
        confirms.refused();
        confirms.published(LogPosition(5), DURABLE_0);
        confirms.refused();
        assert_eq!(told(&mut confirms, DURABLE_0), [nack(2, 2), ack(5, 3), nack(6, 1)]);
        assert_eq!(told(&mut confirms, DURABLE_0), [], "the one behind waits for the one before it");
        assert_eq!(told(&mut confirms, LogPosition(5)), [ack(7, 1), nack(8, 1)]);
        confirms.refused();
        assert_eq!(told(&mut confirms, LogPosition(5)), [nack(9, 1)]);
        assert_eq!(confirms.unconfirmed(), 0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Publish,
        PublishDurable,
        Refuse,
        Durable,
        Flush,
    }

    proptest! {
        /// Against a list of what became of each tag.
        #[test]
        fn each_tag_is_told_once_what_became_of_it_and_in_order(
            steps in prop::collection::vec(
                prop_oneof![Just(Step::Publish), Just(Step::PublishDurable), Just(Step::Refuse), Just(Step::Durable), Just(Step::Flush)],
                0..60,
            )
        ) {
            let mut confirms = Confirms::default();
            let (mut written, mut durable) = (DURABLE_0, DURABLE_0);
            // Of each tag: what it waits for, and whether it was refused.
            let mut fates: Vec<(LogPosition, bool)> = Vec::new();
            let mut said = Vec::new();
            let steps = steps.into_iter().chain([Step::Durable, Step::Flush]);
            for step in steps {
                match step {
                    Step::Publish => {
                        fates.push((DURABLE_0, false));
                        confirms.published(DURABLE_0, durable);
                    }
                    Step::PublishDurable => {
                        written.0 += 1;
                        fates.push((written, false));
                        confirms.published(written, durable);
                    }
                    Step::Refuse => {
                        fates.push((DURABLE_0, true));
                        confirms.refused();
                    }
                    Step::Durable => durable = written,
                    Step::Flush => {
                        for Said { up_to, count, refused } in told(&mut confirms, durable) {
                            prop_assert_eq!(said.len() as u64 + count, up_to);
                            said.extend((0..count).map(|_| refused));
                        }
                        let reached = fates.iter().take_while(|(position, _)| *position <= durable).count();
                        prop_assert_eq!(said.len(), reached);
                    }
                }
            }
            let refused: Vec<bool> = fates.iter().map(|(_, refused)| *refused).collect();
            prop_assert_eq!(said, refused);
            prop_assert!(confirms.refused.is_empty() && !confirms.is_waiting());
        }
    }
}
