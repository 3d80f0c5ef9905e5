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

use super::backlog::{Backlog, PageOut, Taken};
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

    /// Returns a taken message to its place.
    pub fn put_back(&mut self, taken: Taken) {
        self.gain(taken.level).put_back(taken);
    }

    /// Returns a taken message to the front of its level, behind those that came back before it.
    pub fn put_back_behind(&mut self, taken: Taken) {
        self.gain(taken.level).put_back_behind(taken);
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

    /// Every level that was used, the highest first but for the front.
    pub fn levels(&self) -> impl Iterator<Item = &Backlog> {
        std::iter::once(&self.front).chain(self.others.iter().flat_map(|others| others.used().rev()))
    }

    fn levels_mut(&mut self) -> impl Iterator<Item = &mut Backlog> {
        let others = self.others.iter_mut().flat_map(|others| others.used_mut().rev());
        std::iter::once(&mut self.front).chain(others)
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
        let backlog = others.level(level);
        let lost = change(backlog);
        let has_messages = !backlog.is_empty();
        others.mark(level, has_messages);
        self.behind -= lost;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::message_memory_bytes;
    use crate::broker::message::{Attributes, MessageRef, NEVER};
    use crate::broker::page::PageBuilder;
    use crate::broker::store::MemoryStore;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A few of these make a chunk.
    const LARGE_BODY_BYTES: usize = 50_000;
    /// Levels of the bodies that are tested, some of which have others on both sides.
    const TOP: u8 = 9;

    fn frames(level: u8, sequence: u64) -> [u8; 22] {
        let mut frames = [0; 22];
        frames[10] = level;
        frames[11..19].copy_from_slice(&sequence.to_be_bytes());
        frames
    }

    fn content<'a>(frames: &'a [u8], shared_body: Option<&'a Bytes>) -> Content<'a> {
        Content { address: b"\0\0\xCE", frames, header_frame_length: 22, shared_body }
    }

    fn push(body: &mut Body, level: u8, shared_body: Option<&Bytes>) -> u64 {
        let sequence = body.next_sequence(level);
        let frames = frames(level, sequence);
        let content = content(&frames, shared_body);
        let backlog = body.gain(level);
        match backlog.packs(&content) {
            true => backlog.push_packed(&content, Attributes::default(), NEVER),
            false => backlog.push(MessageRef::new(&content, Attributes::default()), NEVER),
        };
        sequence
    }

    /// What pages were asked for arrive.
    fn arrive(body: &mut Body, store: &mut MemoryStore) {
        while let Some((page, bytes)) = store.take_arrived_page() {
            body.arrived(page, bytes);
        }
    }

    /// The obvious one: what waits in each level, by sequence.
    #[derive(Default)]
    struct Model {
        levels: BTreeMap<u8, BTreeSet<u64>>,
        next: BTreeMap<u8, u64>,
    }

    impl Model {
        fn number(&mut self, level: u8) -> u64 {
            let next = self.next.entry(level).or_default();
            *next += 1;
            *next - 1
        }

        fn pop(&mut self) -> Option<(u8, u64)> {
            let (level, waiting) = self.levels.iter_mut().rev().find(|(_, waiting)| !waiting.is_empty())?;
            Some((*level, waiting.pop_first().unwrap()))
        }

        fn len(&self) -> usize {
            self.levels.values().map(BTreeSet::len).sum()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push {
            level: u8,
            large: bool,
        },
        /// Given to somebody without waiting, if nothing waits.
        HandOver {
            level: u8,
        },
        Pop,
        /// As deliveries do: several from the front before another level steps up.
        PopRun(usize),
        PutBack(prop::sample::Index),
        PageOut(PageOut),
        Refill(usize),
        /// The store brings all that was asked for.
        Arrive,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let page_out = prop_oneof![Just(PageOut::Middle), Just(PageOut::All)];
        let step = prop_oneof![
            40 => (0..=TOP, any::<bool>()).prop_map(|(level, large)| Step::Push { level, large }),
            5 => (0..=TOP).prop_map(|level| Step::HandOver { level }),
            15 => Just(Step::Pop),
            5 => (1..6_usize).prop_map(Step::PopRun),
            10 => any::<prop::sample::Index>().prop_map(Step::PutBack),
            10 => page_out.prop_map(Step::PageOut),
            5 => (1..5_usize).prop_map(Step::Refill),
            10 => Just(Step::Arrive),
            1 => Just(Step::Clear),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        /// Against the obvious model: the highest level goes first, and its lowest sequence.
        #[test]
        fn the_first_of_the_highest_level_is_always_the_head(steps in steps()) {
            let large_body = Bytes::from(vec![7; LARGE_BODY_BYTES]);
            let mut store = MemoryStore::default();
            let mut body = Body::with_levels(Levels { top: TOP, unsaid: 0 });
            let mut model = Model::default();
            let mut taken: Vec<Taken> = Vec::new();
            for step in steps {
                match step {
                    Step::Push { level, large } => {
                        let sequence = push(&mut body, level, large.then_some(&large_body));
                        prop_assert_eq!(sequence, model.number(level));
                        model.levels.entry(level).or_default().insert(sequence);
                    }
                    Step::HandOver { level } if body.is_empty() => {
                        body.lead(level);
                        prop_assert_eq!(body.pass_through(1), model.number(level));
                    }
                    Step::HandOver { .. } => {}
                    Step::Pop if body.head_is_away() => prop_assert!(body.pop().is_none()),
                    Step::Pop => {
                        let popped = body.pop();
                        prop_assert_eq!(popped.as_ref().map(|popped| (popped.level, popped.sequence)), model.pop());
                        if let Some(popped) = popped {
                            prop_assert_eq!(popped.message.content().frames, frames(popped.level, popped.sequence));
                            taken.push(popped);
                        }
                    }
                    Step::PopRun(most) => {
                        for _ in 0..most {
                            let Some(popped) = body.front().pop() else { break };
                            prop_assert_eq!(Some((popped.level, popped.sequence)), model.pop());
                            taken.push(popped);
                        }
                        body.step_up();
                    }
                    Step::PutBack(index) if !taken.is_empty() => {
                        let back = taken.swap_remove(index.index(taken.len()));
                        model.levels.entry(back.level).or_default().insert(back.sequence);
                        body.put_back(back);
                    }
                    Step::PutBack(_) => {}
                    Step::PageOut(which) => _ = body.page_out(which, &mut store),
                    Step::Refill(window) => _ = body.refill(window, &mut store),
                    Step::Arrive => arrive(&mut body, &mut store),
                    Step::Clear => {
                        for mut taken in body.take_all() {
                            while taken.discard_some(3, &mut store, |_| {}) > 0 {}
                        }
                        model.levels.clear();
                        prop_assert_eq!(store.page_count(), 0);
                    }
                }
                prop_assert_eq!(body.len(), model.len());
                prop_assert_eq!(body.is_empty(), model.len() == 0);
                for level in body.levels() {
                    let waiting = model.levels.get(&level.level()).map_or(0, BTreeSet::len);
                    prop_assert_eq!(level.len(), waiting, "level {}", level.level());
                    prop_assert_eq!(level.next_sequence(), model.next.get(&level.level()).copied().unwrap_or(0));
                }
            }
            while !body.is_empty() {
                body.refill(1, &mut store);
                arrive(&mut body, &mut store);
                prop_assert_eq!(body.pop().map(|popped| (popped.level, popped.sequence)), model.pop());
            }
            prop_assert_eq!(store.page_count(), 0);
        }

        /// Each level is loaded by itself, in whatever order, while others are published; some of it may be lost.
        #[test]
        fn levels_of_the_log_come_back_in_order(
            logged in prop::collection::btree_map(0..=TOP, 0..6_u64, 1..6),
            lost in prop::collection::btree_set(0..=TOP, 0..3),
            published in prop::collection::vec(0..=TOP, 0..10),
        ) {
            let mut store = MemoryStore::default();
            let mut body = Body::with_levels(Levels { top: TOP, unsaid: 0 });
            let mut expected = Vec::new();
            for (level, count) in &logged {
                body.expect(*level, *count as usize, *count, 0);
                if !lost.contains(level) {
                    expected.extend((0..*count).map(|sequence| (*level, sequence)));
                }
            }
            for level in published {
                expected.push((level, push(&mut body, level, None)));
            }
            for (level, count) in logged.iter().filter(|(level, count)| **count > 0 && !lost.contains(*level)) {
                let mut builder = PageBuilder::with_capacity(0);
                for sequence in 0..*count {
                    let frames = frames(*level, sequence);
                    builder.push(&Entry::new(&content(&frames, None), Attributes::default(), sequence, NEVER));
                }
                prop_assert_eq!(body.load(*level, builder.finish().unwrap(), u64::MAX, false, &mut store), 0);
            }
            let never_came: u64 = logged.iter().filter(|(level, _)| lost.contains(*level)).map(|(_, count)| count).sum();
            prop_assert_eq!(body.loaded(), never_came as usize);
            expected.sort_unstable_by_key(|(level, sequence)| (u8::MAX - level, *sequence));
            prop_assert_eq!(body.len(), expected.len());
            let mut popped = Vec::new();
            while !body.is_empty() {
                body.refill(1, &mut store);
                arrive(&mut body, &mut store);
                popped.extend(body.pop().map(|popped| (popped.level, popped.sequence)));
            }
            prop_assert_eq!(popped, expected);
            prop_assert!(!body.is_paged());
        }
    }

    #[test]
    fn every_level_of_the_most_there_may_be_has_its_turn() {
        let mut body = Body::with_levels(Levels { top: u8::MAX, unsaid: 0 });
        for priority in 0..=u8::MAX {
            push(&mut body, priority.wrapping_mul(7), None);
        }
        for level in (0..=u8::MAX).rev() {
            assert_eq!(body.pop().map(|popped| popped.level), Some(level));
        }
        assert!(body.is_empty() && body.pop().is_none());
    }

    #[test]
    fn a_priority_above_the_highest_level_is_the_highest_level() {
        let frames = frames(0, 0);
        let says_none = content(&frames, None);
        let levels = |body: &Body| [0, 5, 6, 255].map(|priority| body.level_of(priority, &says_none));
        assert_eq!(levels(&Body::with_levels(Levels { top: 5, unsaid: 0 })), [0, 5, 5, 5]);
        assert_eq!(levels(&Body::with_levels(Levels { top: 31, unsaid: 4 })), [4, 5, 6, 31]);
        assert_eq!(levels(&Body::with_levels(Levels { top: 0, unsaid: 4 })), [0; 4]);
    }

    #[test]
    fn an_empty_level_that_was_long_keeps_little_room() {
        let mut body = Body::with_levels(Levels { top: u8::MAX, unsaid: 0 });
        let before = message_memory_bytes();
        for level in 0..=u8::MAX {
            (0..3000).for_each(|_| _ = push(&mut body, level, None));
            (0..3000).for_each(|_| assert!(body.pop().is_some()));
        }
        let rooms = body.levels().map(Backlog::room_for_messages);
        assert!(rooms.skip(1).all(|room| room <= 16), "room for a few");
        assert_eq!(message_memory_bytes(), before);
    }
}
