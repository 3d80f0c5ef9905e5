//! A queue's waiting messages: one [`Backlog`], or one for each level of priority that was used.
//!
//! ```text
//! highest level with messages     levels below it, and empty ones
//! ┌ front: a backlog ─────────┐   ┌ 7 ┐ ┌ 4 ┐ ┌ 0 ┐ …
//! ```
//! Messages are taken from the front, which lies where the only backlog of a plain queue lies: taking and counting cost
//! neither of them anything for the other. A message of a higher level makes its level the front, and the last one of a
//! level lets the next lower one step up. Within its level a message has its sequence, and returns to its place.
//!
//! What happens at the head of a queue, expiry and making room among it, happens at the front and nowhere else, as in
//! RabbitMQ: what has expired in a level waits until those above it are empty.

use super::backlog::{Backlog, Looked, NotTaken, PageOut, Seen, Taken, TakenFrom};
use super::paged::AskedFor;
use crate::broker::message::Content;
use crate::broker::page::{Entry, Page};
use crate::broker::store::{PageId, Pages, Returns};
use std::collections::BTreeMap;

/// Which levels of priority there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Levels {
    /// The highest: 0 for one level.
    pub top: u8,
    /// That of messages without a priority.
    pub unsaid: u8,
}

#[derive(Default)]
pub struct Body {
    /// The highest level that has messages; any one when none has.
    front: Backlog,
    /// Messages of all other levels.
    behind: usize,
    there_are: Levels,
    /// `None` as long as only the front was used.
    others: Option<Box<Others>>,
}

/// The levels that are not the front.
#[derive(Default)]
struct Others {
    /// By level, up to the highest that was used; the front's place is empty.
    levels: Vec<Option<Box<Backlog>>>,
    /// One bit for each level that has messages.
    with_messages: [u64; 4],
}

impl Others {
    fn mark(&mut self, level: u8, has_messages: bool) {
        let word = &mut self.with_messages[usize::from(level / 64)];
        let bit = 1 << (level % 64);
        *word = if has_messages { *word | bit } else { *word & !bit };
    }

    /// The highest level with messages.
    fn highest(&self) -> Option<u8> {
        let words = self.with_messages.iter().enumerate().rev();
        words.filter(|(_, word)| **word != 0).map(|(at, word)| at as u8 * 64 + (63 - word.leading_zeros() as u8)).next()
    }

    fn place(&mut self, level: u8) -> &mut Option<Box<Backlog>> {
        let at = usize::from(level);
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, || None);
        }
        &mut self.levels[at]
    }

    fn level(&mut self, level: u8) -> &mut Backlog {
        self.place(level).get_or_insert_with(|| Box::new(Backlog::of_level(level)))
    }

    fn used(&self) -> impl DoubleEndedIterator<Item = &Backlog> {
        self.levels.iter().flatten().map(|level| &**level)
    }

    fn used_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Backlog> {
        self.levels.iter_mut().flatten().map(|level| &mut **level)
    }
}

impl Body {
    /// An empty one.
    pub fn with_levels(levels: Levels) -> Self {
        let Levels { top, unsaid } = levels;
        let there_are = Levels { top, unsaid: unsaid.min(top) };
        Self { there_are, front: Backlog::of_level(there_are.unsaid), ..Self::default() }
    }

    pub fn there_are(&self) -> Levels {
        self.there_are
    }

    /// The level of a message with this priority, which is 0 when its content says none.
    #[inline]
    pub fn level_of(&self, priority: u8, content: &Content<'_>) -> u8 {
        let Levels { top, unsaid } = self.there_are;
        if priority == 0 && unsaid != 0 && !content.says_priority() { unsaid } else { priority.min(top) }
    }

    /// The level that messages are taken from, and the only one of a plain queue. Whoever takes from it lets the next one
    /// [step up](Self::step_up).
    #[inline]
    pub fn front(&mut self) -> &mut Backlog {
        &mut self.front
    }

    /// Whether a level is the one that messages are taken from.
    #[inline]
    pub fn is_front(&self, level: u8) -> bool {
        level == self.front.level()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.front.len() + self.behind
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// Numbers messages that are handed over without waiting, and says the first one's sequence. Only for an empty body,
    /// after [`lead`](Self::lead) where there are levels.
    #[inline]
    pub fn pass_through(&mut self, count: u64) -> u64 {
        debug_assert!(self.is_empty());
        self.front.pass_through(count)
    }

    /// The sequence that the next message of a level gets.
    #[inline]
    pub fn next_sequence(&self, level: u8) -> u64 {
        match self.at(level) {
            Some(backlog) => backlog.next_sequence(),
            None => 0,
        }
    }

    /// Takes the message at the head; `None` when there is none, or when it [is not in memory](Self::head_is_away).
    pub fn pop(&mut self) -> Option<Taken> {
        let taken = self.front.pop();
        self.step_up();
        taken
    }

    /// Takes the message at the head, if it expires by then and is in memory.
    pub fn pop_expired(&mut self, by_ms: u64) -> Option<Taken> {
        let taken = self.front.pop_expired(by_ms)?;
        self.step_up();
        Some(taken)
    }

    /// Where the message at the head is.
    pub fn head_is_from(&self) -> TakenFrom {
        self.front.head_is_from()
    }

    /// Returns a taken message to its place.
    pub fn put_back(&mut self, taken: Taken) {
        self.gain(taken.level).put_back(taken);
    }

    /// Returns a taken message to the front of its level, behind those that came back before it.
    pub fn put_back_behind(&mut self, taken: Taken) {
        self.gain(taken.level).put_back_behind(taken);
    }

    /// Returns a taken message that nobody was given, as [the level](Backlog::put_back_untouched) does.
    pub fn put_back_untouched(&mut self, taken: Taken, behind: bool, from: TakenFrom) {
        self.gain(taken.level).put_back_untouched(taken, behind, from);
    }

    /// Takes a message that need not be at the head, as [its level](Backlog::take_out) does.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take_out(
        &mut self,
        level: u8,
        sequence: u64,
        most: usize,
        behind: bool,
    ) -> Result<(Taken, TakenFrom), NotTaken> {
        let mut taken = Err(NotTaken::Gone);
        self.with_level(level, |backlog| {
            taken = backlog.take_out(sequence, most, behind);
            usize::from(taken.is_ok())
        });
        taken
    }

    /// When the head expires: [`NEVER`](crate::broker::message::NEVER) for an empty body, a head that doesn't, or one on
    /// its way back to memory.
    pub fn head_expires_at_ms(&self) -> u64 {
        self.front.head_expires_at_ms()
    }

    /// The message at the head, as it lies there; `None` when there is none, or when it is not in memory.
    pub fn head_entry(&self) -> Option<Entry<'_>> {
        self.front.head_entry()
    }

    /// Shows messages in the order in which they leave but for the first `skip`, until `look` has enough or they are not in
    /// memory.
    pub fn look(&self, mut skip: usize, look: &mut impl FnMut(Seen<'_>) -> bool) -> Looked {
        let looks = self.levels().map(|level| level.look(&mut skip, look));
        looks.into_iter().find(|looked| *looked != Looked::All).unwrap_or(Looked::All)
    }

    /// Every level that was used, the highest first but for the front.
    pub fn levels(&self) -> impl Iterator<Item = &Backlog> {
        std::iter::once(&self.front).chain(self.others.iter().flat_map(|others| others.used().rev()))
    }

    fn levels_mut(&mut self) -> impl Iterator<Item = &mut Backlog> {
        let others = self.others.iter_mut().flat_map(|others| others.used_mut().rev());
        std::iter::once(&mut self.front).chain(others)
    }

    /// A level, if it was ever used.
    pub fn level(&self, level: u8) -> Option<&Backlog> {
        self.levels().find(|backlog| backlog.level() == level)
    }

    /// Empties it. What its levels held is to be [discarded](Backlog::discard_some).
    pub fn take_all(&mut self) -> Vec<Backlog> {
        let held = self.levels_mut().filter(|level| !level.is_empty() || level.is_paged()).map(Backlog::take).collect();
        self.behind = 0;
        if let Some(others) = &mut self.others {
            others.with_messages = [0; 4];
        }
        held
    }
}

/// Levels that change places.
impl Body {
    /// A level, if it was used.
    #[inline]
    fn at(&self, level: u8) -> Option<&Backlog> {
        if level == self.front.level() { Some(&self.front) } else { self.elsewhere(level) }
    }

    #[cold]
    fn elsewhere(&self, level: u8) -> Option<&Backlog> {
        self.others.as_ref()?.levels.get(usize::from(level))?.as_deref()
    }

    /// A level that is given one message more, at once.
    #[inline]
    pub fn gain(&mut self, level: u8) -> &mut Backlog {
        if level == self.front.level() { &mut self.front } else { self.gain_elsewhere(level) }
    }

    fn gain_elsewhere(&mut self, level: u8) -> &mut Backlog {
        if level > self.front.level() || self.front.is_empty() {
            self.lead(level);
            return &mut self.front;
        }
        self.behind += 1;
        let others = self.others.get_or_insert_default();
        others.mark(level, true);
        let backlog = others.level(level);
        backlog.count_body_bytes(self.front.counts_body_bytes());
        backlog
    }

    /// Makes a level the front: one above the front, or any one when all are empty.
    pub fn lead(&mut self, level: u8) {
        debug_assert!(level <= self.there_are.top);
        let before = self.front.level();
        if level == before {
            return;
        }
        let others = self.others.get_or_insert_default();
        let next = others.place(level).take();
        let mut next = next.unwrap_or_else(|| Box::new(Backlog::of_level(level)));
        next.count_body_bytes(self.front.counts_body_bytes());
        std::mem::swap(&mut self.front, &mut *next);
        let (has_messages, gained, lost) = (!next.is_empty(), next.len(), self.front.len());
        if !has_messages {
            next.give_room_back();
        }
        others.mark(level, false);
        others.mark(before, has_messages);
        *others.place(before) = Some(next);
        self.behind = self.behind + gained - lost;
    }

    /// The next lower level becomes the front if that is empty; whether one did.
    #[inline]
    pub fn step_up(&mut self) -> bool {
        self.behind > 0 && self.front.is_empty() && self.next_steps_up()
    }

    #[cold]
    fn next_steps_up(&mut self) -> bool {
        let highest = self.others.as_ref().and_then(|others| others.highest());
        let Some(level) = highest else { unreachable!("messages are behind the front, in some level") };
        self.lead(level);
        true
    }
}

/// Longer than memory. Of the levels that are not the front nothing is brought back: their turn comes later.
impl Body {
    /// Some of it is not in memory.
    #[inline]
    pub fn is_paged(&self) -> bool {
        self.front.is_paged() || self.others.as_ref().is_some_and(|others| others.used().any(Backlog::is_paged))
    }

    /// Some of the front is not in memory.
    #[inline]
    pub fn front_is_paged(&self) -> bool {
        self.front.is_paged()
    }

    /// How many messages are in memory as messages.
    pub fn messages_in_memory(&self) -> usize {
        self.levels().map(Backlog::messages_in_memory).sum()
    }

    /// There is a head, and it is not in memory.
    #[inline]
    pub fn head_is_away(&self) -> bool {
        self.front.head_is_away()
    }

    /// Whether fewer than `window` chunks of the head are in memory although there are more.
    #[inline]
    pub fn wants_refill(&self, window: usize) -> bool {
        self.front.wants_refill(window)
    }

    /// Takes one chunk of messages out of memory, of the lowest level first. False when there is none that may leave.
    pub fn page_out(&mut self, which: PageOut, store: &mut impl Pages) -> bool {
        if let Some(others) = &mut self.others
            && others.used_mut().any(|level| level.page_out(which, store))
        {
            return true;
        }
        self.front.page_out(which, store)
    }

    /// Brings the first `window` chunks of the front back into memory, as far as they are away. Says which pages have to
    /// [arrive](Self::arrived) for that.
    pub fn refill(&mut self, window: usize, store: &mut impl Pages) -> Vec<AskedFor> {
        self.front.refill(window, store)
    }

    /// A page that was asked for. Of a body that was cleared since, it is not wanted any more.
    pub fn arrived(&mut self, page: PageId, bytes: Vec<u8>) {
        if let Some(level) = self.levels_mut().find(|level| level.awaits(page)) {
            level.arrived(page, bytes);
        }
    }
}

/// How many bytes the bodies of messages have, in queues that have a limit for it.
impl Body {
    /// Begins to count, or gives it up. Levels that are used later do as the front does.
    pub fn count_body_bytes(&mut self, count: bool) {
        self.levels_mut().for_each(|level| level.count_body_bytes(count));
    }

    /// What was counted; 0 while nothing is. It walks over the levels that were used.
    pub fn body_bytes(&self) -> u64 {
        self.levels().map(Backlog::body_bytes).sum()
    }

    /// Bytes of the bodies of all messages, where they are counted or there are few. `None`: to find out would take more steps
    /// from message to message, or from one sum of many to the next.
    pub fn body_bytes_within(&self, mut steps: usize) -> Option<u64> {
        self.levels().map(|level| level.body_bytes_within(&mut steps)).sum()
    }

    /// A message with a body of so many bytes was [pushed](Backlog::push) to a level.
    pub fn add_body_bytes(&mut self, level: u8, bytes: u64) {
        if level == self.front.level() {
            return self.front.add_body_bytes(bytes);
        }
        if let Some(others) = &mut self.others {
            others.level(level).add_body_bytes(bytes);
        }
    }
}

/// From the log.
impl Body {
    /// So many messages of an earlier run will be [loaded](Self::load) into a level, of which nothing was known. Its
    /// numbering goes on at `next_sequence`; those below `delivered_below` may have been delivered before.
    pub fn expect(&mut self, level: u8, messages: usize, next_sequence: u64, delivered_below: u64) {
        if level != self.front.level() && (level > self.front.level() || self.front.is_empty()) && messages > 0 {
            self.lead(level);
        }
        if level == self.front.level() {
            return self.front.expect(messages, next_sequence, delivered_below);
        }
        let others = self.others.get_or_insert_default();
        let backlog = others.level(level);
        backlog.count_body_bytes(self.front.counts_body_bytes());
        backlog.expect(messages, next_sequence, delivered_below);
        others.mark(level, messages > 0);
        self.behind += messages;
    }

    /// How often some of the messages came back that are [expected](Self::expect) in a level, by sequence.
    pub fn expect_returns(&mut self, level: u8, counted: BTreeMap<u64, Returns>) {
        if level == self.front.level() {
            return self.front.expect_returns(counted);
        }
        self.others.get_or_insert_default().level(level).expect_returns(counted);
    }

    /// Takes in messages of an earlier run for a level; all of those below `complete_below` have come with it. `keep_here`
    /// leaves them in memory. Says how many messages turned out to be lost.
    pub fn load(
        &mut self,
        level: u8,
        page: Page,
        complete_below: u64,
        keep_here: bool,
        store: &mut impl Pages,
    ) -> usize {
        self.with_level(level, |backlog| backlog.load(page, complete_below, keep_here, store))
    }

    /// No more will be loaded. Says how many messages turned out to be lost.
    pub fn loaded(&mut self) -> usize {
        let levels: Vec<u8> = self.levels().map(Backlog::level).collect();
        levels.into_iter().map(|level| self.with_level(level, Backlog::loaded)).sum()
    }

    /// Lets a level lose messages, and says how many those were.
    fn with_level(&mut self, level: u8, change: impl FnOnce(&mut Backlog) -> usize) -> usize {
        if level == self.front.level() {
            let lost = change(&mut self.front);
            self.step_up();
            return lost;
        }
        let Some(others) = &mut self.others else { return 0 };
        let Some(backlog) = others.levels.get_mut(usize::from(level)).and_then(|level| level.as_deref_mut()) else {
            return 0;
        };
        let lost = change(backlog);
        let has_messages = !backlog.is_empty();
        others.mark(level, has_messages);
        self.behind -= lost;
        lost
    }
}

#[cfg(test)]
mod tests;
