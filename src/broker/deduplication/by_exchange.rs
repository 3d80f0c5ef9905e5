//! The values that one exchange remembers: so many, the oldest of which go, and each for so long. What of that the log is to
//! be told, [`lasting`](super::lasting) tells it.
//!
//! A value that comes again after its time is as young as those that come with it. It keeps its place in the line until it is
//! the first, and goes back to the end then instead of being forgotten; so every value is in the line once.

use super::allowance::Allowance;
use super::line::{CHUNK_BYTES, Line};
use super::table::{Entry, Table};
use super::{DeduplicationKey, HEADER};
use crate::broker::message::NEVER;
use crate::broker::store::DurableQueueId;
use crate::protocol::{FieldValueRef, PropertiesRef};
use std::cell::{Cell, RefCell};

/// Values at the head of the line that are looked at when one comes in, so that those whose time is over go in time.
const LOOKED_AT: usize = 2;
/// Most values that are forgotten when one comes in: more than one where less may be remembered than before.
const FORGOTTEN_MOST: usize = 8;
/// So many values that came again go back to the end of the line, before one is forgotten all the same.
const CHANCES: usize = 4;

/// Beside the number of an entry: it came again since it had its place in the line.
const AGAIN: u64 = 1 << 63;

/// How many values an exchange remembers, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At most so many; the oldest go.
    pub size: u64,
    /// In milliseconds, where a message does not say.
    pub ttl_ms: Option<u64>,
}

/// What a policy says of it. `None`: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SaidBounds {
    pub size: Option<u64>,
    pub ttl_ms: Option<u64>,
}

/// The values that an exchange remembers.
#[derive(Debug)]
pub struct SeenByExchange {
    declared: Bounds,
    /// What was declared, or what a policy says instead.
    bounds: Cell<Bounds>,
    /// Whether it was declared to last as long as its exchange.
    is_on_disk: bool,
    /// Whether it does: its exchange does.
    lasts: Cell<bool>,
    /// What the log calls its values, once there was one.
    durable_id: Cell<Option<DurableQueueId>>,
    ticket: Cell<u64>,
    seen: RefCell<Remembered>,
}

/// What an exchange says of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It has no value.
    Unmarked,
    /// It is the first one with this value, which has that number now.
    First(DeduplicationKey, u64),
    Duplicate,
}

#[derive(Debug)]
struct Remembered {
    /// Until when, and the number of each.
    values: Table,
    /// All of them, each once.
    line: Line,
    last_number: u64,
    /// Numbers of values that are forgotten, of which the log is still to be told; none unless they last.
    forgotten: Vec<u64>,
    lasts: bool,
    /// The first in the line counts until then, or longer.
    first_counts_until_ms: u64,
}

impl SeenByExchange {
    pub fn new(bounds: Bounds, is_on_disk: bool) -> Self {
        Self {
            declared: bounds,
            bounds: Cell::new(bounds),
            is_on_disk,
            lasts: Cell::new(false),
            durable_id: Cell::new(None),
            ticket: Cell::new(0),
            seen: RefCell::new(Remembered::new(Allowance::default(), false)),
        }
    }

    /// It is a virtual host's from now on, of an exchange that is `durable` or not. Nothing is remembered yet.
    pub fn allow(&self, allowance: Allowance, durable: bool) {
        self.lasts.set(self.is_on_disk && durable);
        self.seen.replace(Remembered::new(allowance, self.lasts()));
    }

    /// Whether the log has its values.
    pub fn lasts(&self) -> bool {
        self.lasts.get()
    }

    /// What the log calls its values, once there was one.
    pub fn durable_id(&self) -> Option<DurableQueueId> {
        self.durable_id.get()
    }

    /// The log calls its values so.
    pub fn set_durable_id(&self, id: DurableQueueId) {
        self.durable_id.set(Some(id));
    }

    /// A policy says more or less, or no longer does. What is too much goes with what comes in; what is remembered already is
    /// for as long as it was said then.
    pub fn bound(&self, said: SaidBounds) {
        let Bounds { size, ttl_ms } = self.declared;
        self.bounds.set(Bounds { size: said.size.unwrap_or(size), ttl_ms: said.ttl_ms.or(ttl_ms) });
    }

    /// Whether a message is the first with its value; from now on one is remembered.
    pub fn look_at(&self, properties: &PropertiesRef<'_>, now_ms: u64) -> Verdict {
        let Some(headers) = properties.headers else { return Verdict::Unmarked };
        let Some(key) = headers.get(HEADER).and_then(DeduplicationKey::of_value) else { return Verdict::Unmarked };
        let own_ttl = headers.get(b"x-cache-ttl").and_then(FieldValueRef::integer);
        let Bounds { size, ttl_ms } = self.bounds.get();
        let until_ms = match (own_ttl, ttl_ms) {
            (Some(own_ms), _) => now_ms.saturating_add_signed(own_ms),
            (None, Some(ttl_ms)) => now_ms.saturating_add(ttl_ms),
            (None, None) => NEVER,
        };
        let seen = &mut *self.seen.borrow_mut();
        match seen.remember(key, until_ms, most(size), now_ms) {
            true => Verdict::First(key, seen.last_number),
            false => Verdict::Duplicate,
        }
    }

    /// The value with that number was of a message that nobody took after all: another one may come.
    pub fn take_back(&self, key: DeduplicationKey, number: u64) {
        if let Some(entry) = self.seen.borrow_mut().values.get_mut(key)
            && entry.place & !AGAIN == number
        {
            // It keeps its place in the line until somebody comes by.
            entry.until_ms = 0;
        }
    }

    /// Until when a value with that number is remembered; `None` when it is not any more.
    pub fn until_ms(&self, key: DeduplicationKey, number: u64) -> Option<u64> {
        let seen = self.seen.borrow();
        seen.values.get(key).filter(|entry| entry.place & !AGAIN == number).map(|entry| entry.until_ms)
    }

    /// The next number of a value that is forgotten and that the log may have.
    pub fn next_forgotten(&self) -> Option<u64> {
        self.seen.borrow_mut().forgotten.pop()
    }

    /// Values of an earlier run will come, with numbers below this one.
    pub fn expect(&self, next_number: u64) {
        self.seen.borrow_mut().last_number = next_number.saturating_sub(1);
    }

    /// A value of an earlier run. They come in their order, but for those that the log had to move.
    pub fn learn(&self, key: DeduplicationKey, number: u64, until_ms: u64, now_ms: u64) {
        let size = most(self.bounds.get().size);
        self.seen.borrow_mut().learn(Entry { key, until_ms, place: number }, size, now_ms);
    }

    /// Forgets values at the head of the line whose time is over, looking at no more than so many. Says how many.
    pub fn forget_what_is_over(&self, most: usize, now_ms: u64) -> usize {
        let seen = &mut *self.seen.borrow_mut();
        let before = seen.values.len();
        seen.forget_what_is_over(most, now_ms);
        before - seen.values.len()
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.borrow().values.len() == 0
    }

    /// What it has to be [cleaned](super::cleaning) by; 0 when it isn't.
    pub fn ticket(&self) -> u64 {
        self.ticket.get()
    }

    pub fn set_ticket(&self, ticket: u64) {
        self.ticket.set(ticket);
    }
}

/// So many values may be remembered of those that are wanted.
fn most(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX).min(super::REMEMBERED_MAX)
}

impl Remembered {
    fn new(allowance: Allowance, lasts: bool) -> Self {
        let (values, line) = (Table::new(allowance.clone()), Line::new(allowance));
        Self { values, line, last_number: 0, forgotten: Vec::new(), lasts, first_counts_until_ms: 0 }
    }

    /// Whether a value is not remembered; from now on it is.
    fn remember(&mut self, key: DeduplicationKey, until_ms: u64, size: usize, now_ms: u64) -> bool {
        let number = self.last_number + 1;
        if let Some(entry) = self.values.get_mut(key) {
            if entry.until_ms > now_ms {
                return false;
            }
            let before = std::mem::replace(&mut entry.place, number | AGAIN);
            entry.until_ms = until_ms;
            self.note_forgotten(before);
        } else {
            self.insert(Entry { key, until_ms, place: number }, size, now_ms);
        }
        self.last_number = number;
        true
    }

    /// Puts a value in that is not there, in place of what is over, or too much.
    fn insert(&mut self, entry: Entry, size: usize, now_ms: u64) {
        if self.has_room(size) {
            self.forget_what_is_over(LOOKED_AT, now_ms);
        } else {
            // The oldest is the first whose time is over, too.
            for _ in 0..FORGOTTEN_MOST {
                self.forget_oldest(now_ms);
                if self.has_room(size) {
                    break;
                }
            }
        }
        self.values.insert(entry);
        self.line.push(entry.key);
    }

    /// Whether one more may be remembered beside what is.
    fn has_room(&self, size: usize) -> bool {
        self.values.len() < size && self.values.has_room(CHUNK_BYTES)
    }

    fn learn(&mut self, learnt: Entry, size: usize, now_ms: u64) {
        match self.values.get_mut(learnt.key) {
            // The log was not told of the end of the older one.
            Some(entry) => {
                let older = if entry.place < learnt.place { std::mem::replace(entry, learnt) } else { learnt };
                self.note_forgotten(older.place);
            }
            None if learnt.until_ms <= now_ms => self.note_forgotten(learnt.place),
            None => self.insert(learnt, size, now_ms),
        }
    }

    fn note_forgotten(&mut self, place: u64) {
        if self.lasts {
            self.forgotten.push(place & !AGAIN);
        }
    }

    /// Looks at so many values at the head of the line, and forgets those whose time is over.
    fn forget_what_is_over(&mut self, most: usize, now_ms: u64) {
        for _ in 0..most {
            if self.first_counts_until_ms > now_ms {
                return;
            }
            let Some(&Entry { until_ms, place, .. }) = self.line.first().and_then(|key| self.values.get(key)) else {
                return;
            };
            if until_ms > now_ms && place & AGAIN == 0 {
                self.first_counts_until_ms = until_ms;
                return;
            }
            self.forget_first(now_ms);
        }
    }

    fn forget_oldest(&mut self, now_ms: u64) {
        for _ in 0..CHANCES {
            if self.forget_first(now_ms) {
                return;
            }
        }
        // All of them came again, and one has to go.
        self.forget_first(NEVER);
    }

    /// Forgets the first in the line, unless it came again: then it goes to its end. Whether it is forgotten.
    fn forget_first(&mut self, now_ms: u64) -> bool {
        self.first_counts_until_ms = 0;
        let Some(key) = self.line.pop() else { return true };
        let mut place = None;
        let stays = |entry: &mut Entry| {
            let stays = entry.place & AGAIN != 0 && entry.until_ms > now_ms;
            match stays {
                true => entry.place &= !AGAIN,
                false => place = Some(entry.place),
            }
            stays
        };
        self.values.remove_unless(key, stays);
        match place {
            Some(place) => self.note_forgotten(place),
            None => self.line.push(key),
        }
        place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TableRef;

    fn cache(size: u64, ttl_ms: Option<u64>) -> SeenByExchange {
        SeenByExchange::new(Bounds { size, ttl_ms }, false)
    }

    fn is_first(seen: &SeenByExchange, value: &str, now_ms: u64) -> bool {
        let mut entries = vec![HEADER.len() as u8];
        entries.extend(HEADER);
        entries.push(b'S');
        entries.extend((value.len() as u32).to_be_bytes());
        entries.extend(value.as_bytes());
        let headers = TableRef::parse(&entries).unwrap();
        let properties = PropertiesRef { headers: Some(headers), ..PropertiesRef::default() };
        matches!(seen.look_at(&properties, now_ms), Verdict::First(..))
    }

    /// How many there are, and how many places in the line.
    fn lengths(seen: &SeenByExchange) -> (usize, usize) {
        let seen = &mut *seen.seen.borrow_mut();
        let mut line = std::mem::replace(&mut seen.line, Line::new(Allowance::default()));
        let mut places = 0;
        while let Some(key) = line.pop() {
            seen.line.push(key);
            places += 1;
        }
        (seen.values.len(), places)
    }

    #[test]
    fn an_exchange_remembers_so_many_for_so_long() {
        let seen = cache(2, Some(10));
        assert!(is_first(&seen, "a", 0) && is_first(&seen, "b", 1));
        assert!(!is_first(&seen, "a", 9) && !is_first(&seen, "b", 9));
        assert!(is_first(&seen, "a", 10), "its time was over");
        assert!(is_first(&seen, "c", 10), "b was the oldest, and had to go");
        assert!(!is_first(&seen, "a", 10) && is_first(&seen, "b", 10));
        assert!(!is_first(&seen, "c", 10) && is_first(&seen, "a", 10));
    }

    #[test]
    fn what_comes_again_and_again_takes_no_more_room() {
        let seen = cache(100, Some(1));
        is_first(&seen, "stays", 0);
        (0..10_000).for_each(|now_ms| assert!(is_first(&seen, "goes", now_ms)));
        assert!(lengths(&seen).0 <= 2);
        for now_ms in 10_000..20_000 {
            assert!(is_first(&seen, &format!("{}", now_ms % 90), now_ms));
            let (values, places) = lengths(&seen);
            assert!(values == places && values <= 4, "{values} in {places} places");
        }
    }

    #[test]
    fn when_all_came_again_one_is_forgotten_all_the_same() {
        let seen = cache(20, Some(10));
        let values = |now_ms| (0..20).filter(|value| is_first(&seen, &value.to_string(), now_ms)).count();
        assert_eq!(values(0), 20);
        for key in 0..20 {
            // Again, before anything else comes that would find their time to be over.
            let mut seen = seen.seen.borrow_mut();
            let key = DeduplicationKey::of_bytes(2, key.to_string().as_bytes());
            assert!(seen.remember(key, 100, 20, 10));
        }
        assert!(is_first(&seen, "more", 11));
        assert_eq!(lengths(&seen), (20, 20));
        assert!(!is_first(&seen, "more", 12));
    }

    #[test]
    fn what_may_no_longer_be_remembered_goes_a_few_at_a_time() {
        let seen = cache(1000, None);
        (0..1000).for_each(|value| assert!(is_first(&seen, &value.to_string(), 0)));
        seen.bound(SaidBounds { size: Some(10), ttl_ms: None });
        let mut before = 1000;
        while before > 10 {
            assert!(is_first(&seen, &format!("another {before}"), 0));
            let now = seen.seen.borrow().values.len();
            assert!(now < before && now + FORGOTTEN_MOST >= before, "{before} to {now}");
            before = now;
        }
    }

    #[test]
    fn what_a_policy_says_goes_before_what_was_declared_as_long_as_it_does() {
        let seen = cache(1, Some(10));
        seen.bound(SaidBounds { size: Some(2), ttl_ms: None });
        assert!(is_first(&seen, "a", 0) && is_first(&seen, "b", 0));
        assert!(!is_first(&seen, "a", 9) && is_first(&seen, "a", 10));
        seen.bound(SaidBounds { size: None, ttl_ms: Some(100) });
        assert!(is_first(&seen, "c", 20) && is_first(&seen, "a", 20), "there is room for one");
        assert!(!is_first(&seen, "a", 119) && is_first(&seen, "a", 120));
        seen.bound(SaidBounds::default());
        assert!(!is_first(&seen, "a", 219), "for as long as it was said then");
        assert!(is_first(&seen, "a", 220) && is_first(&seen, "a", 230));
    }

    #[test]
    fn a_virtual_host_that_had_enough_forgets_the_oldest() {
        let seen = cache(u64::MAX, None);
        let allowance = Allowance::new(1_000_000);
        seen.allow(allowance.clone(), false);
        for value in 0..100_000 {
            assert!(is_first(&seen, &value.to_string(), 0));
            assert!(allowance.taken_bytes() <= 1_000_000, "{} bytes", allowance.taken_bytes());
        }
        assert!(allowance.taken_bytes() > 950_000, "{} bytes at last", allowance.taken_bytes());
        let (values, places) = lengths(&seen);
        assert!(values == places && values > 8_000, "{values}");
        assert!(!is_first(&seen, "99999", 0) && is_first(&seen, "0", 0));
    }
}
