//! Messages that were there before, told by the header `x-deduplication-header`, as a plugin of RabbitMQ has it: for a queue
//! as long as the first one of them is in it, for an exchange as long as that remembers it.
//!
//! Values are the same when they are so in Erlang: numbers of all widths are, and a number and its text are not. What is
//! kept of a value is a number of 128 bits, however long it is.

use super::memory::Holding;
use super::message::NEVER;
use super::page::{Page, PageReader};
use super::queue::Taken;
use crate::protocol::{FieldValueRef, PropertiesRef};
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::VecDeque;

const HEADER: &[u8] = b"x-deduplication-header";

/// Most values that one queue or exchange remembers. Beyond that a queue lets duplicates in, and an exchange forgets the
/// oldest, whatever size it was declared with.
const REMEMBERED_MAX: usize = 1 << 24;

/// What an entry takes in memory with its share of the table, in bytes.
const ENTRY_BYTES: usize = 64;

/// A value of the header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeduplicationKey(u128);

impl DeduplicationKey {
    /// That of a message; `None` when it has none by which it could be told.
    pub fn of(properties: &[u8]) -> Option<Self> {
        let headers = PropertiesRef::parse(properties).ok()?.headers?;
        Self::of_value(headers.get(HEADER)?)
    }

    fn of_value(value: FieldValueRef<'_>) -> Option<Self> {
        let integer = |number: i128| Self::of_bytes(1, &number.to_be_bytes()[4..]);
        Some(match value {
            FieldValueRef::LongString(text) | FieldValueRef::Bytes(text) => Self::of_bytes(2, text),
            FieldValueRef::I8(number) => integer(number.into()),
            FieldValueRef::U8(number) => integer(number.into()),
            FieldValueRef::I16(number) => integer(number.into()),
            FieldValueRef::U16(number) => integer(number.into()),
            FieldValueRef::I32(number) => integer(number.into()),
            FieldValueRef::U32(number) => integer(number.into()),
            FieldValueRef::I64(number) => integer(number.into()),
            FieldValueRef::Timestamp(number) => integer(number.into()),
            FieldValueRef::F32(number) => Self::of_bytes(3, &f64::from(number).to_be_bytes()),
            FieldValueRef::F64(number) => Self::of_bytes(3, &number.to_be_bytes()),
            FieldValueRef::Boolean(truth) => Self::of_bytes(4, &[truth.into()]),
            FieldValueRef::Void => Self::of_bytes(5, &[]),
            FieldValueRef::Decimal { .. } | FieldValueRef::Array(_) | FieldValueRef::Table(_) => return None,
        })
    }

    /// Short values are kept as they are, with their sort and length before them; of longer ones a hash that nobody can
    /// make another value for.
    fn of_bytes(sort: u8, bytes: &[u8]) -> Self {
        let mut key = [0; 16];
        if bytes.len() < 15 {
            key[0] = sort;
            key[1] = bytes.len() as u8;
            key[2..2 + bytes.len()].copy_from_slice(bytes);
        } else {
            key.copy_from_slice(&Sha256::digest(bytes)[..16]);
            key[0] = 0x80 | sort;
        }
        Self(u128::from_be_bytes(key))
    }
}

/// What is remembered of a table's room.
fn room_of<V>(table: &HashMap<DeduplicationKey, V>) -> usize {
    table.capacity() * ENTRY_BYTES
}

/// The values that messages of one queue have.
#[derive(Default, Debug)]
pub struct SeenInQueue(RefCell<InQueue>);

#[derive(Default, Debug)]
struct InQueue {
    /// Which message has the value, and when that stops counting.
    by_key: HashMap<DeduplicationKey, (Place, u64)>,
    memory: Option<Holding>,
}

/// A message of a queue: its level and sequence.
type Place = (u8, u64);

impl SeenInQueue {
    /// Whether a message with that value is there.
    pub fn has(&self, key: DeduplicationKey, now_ms: u64) -> bool {
        self.0.borrow().by_key.get(&key).is_some_and(|(_, until_ms)| *until_ms > now_ms)
    }

    /// A message with that value is there now.
    pub fn insert(&self, key: DeduplicationKey, place: Place, until_ms: u64) {
        let seen = &mut *self.0.borrow_mut();
        if seen.by_key.len() >= REMEMBERED_MAX {
            return;
        }
        let room = room_of(&seen.by_key);
        seen.by_key.insert(key, (place, until_ms));
        if room_of(&seen.by_key) != room {
            seen.memory = Some(Holding::new(room_of(&seen.by_key)));
        }
    }

    /// A message has left.
    #[cold]
    pub fn forget(&self, taken: &Taken) {
        let Some(key) = DeduplicationKey::of(taken.message.content().properties()) else { return };
        let by_key = &mut self.0.borrow_mut().by_key;
        if by_key.get(&key).is_some_and(|(place, _)| *place == (taken.level, taken.sequence)) {
            by_key.remove(&key);
        }
    }

    /// Messages of an earlier run are there.
    pub fn learn(&self, level: u8, page: &Page) {
        let mut reader = PageReader::default();
        while let Some(entry) = reader.next(&page.bytes) {
            if let Some(key) = DeduplicationKey::of(entry.properties())
                && !self.has(key, 0)
            {
                self.insert(key, (level, entry.sequence), entry.expires_at_ms);
            }
        }
    }

    pub fn clear(&self) {
        *self.0.borrow_mut() = InQueue::default();
    }
}

/// The values that an exchange remembers.
#[derive(Debug)]
pub struct SeenByExchange {
    /// At most so many; the oldest go.
    size: usize,
    /// How long, in milliseconds, where a message does not say.
    ttl_ms: Option<u64>,
    seen: RefCell<Remembered>,
}

#[derive(Default, Debug)]
struct Remembered {
    /// Until when, and the number of its insertion.
    by_key: HashMap<DeduplicationKey, (u64, u64)>,
    /// In the order of insertion; what was inserted again since is no entry any more.
    order: VecDeque<(DeduplicationKey, u64)>,
    inserted: u64,
    memory: Option<Holding>,
}

impl Remembered {
    fn is_current(&self, key: DeduplicationKey, number: u64) -> bool {
        self.by_key.get(&key).is_some_and(|(_, current)| *current == number)
    }

    /// Forgets the oldest entry, or what is none any more.
    fn forget_oldest(&mut self) {
        let Some((key, number)) = self.order.pop_front() else { return };
        if self.is_current(key, number) {
            self.by_key.remove(&key);
        }
    }
}

impl SeenByExchange {
    pub fn new(size: u64, ttl_ms: Option<u64>) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(REMEMBERED_MAX);
        Self { size, ttl_ms, seen: RefCell::default() }
    }

    /// Whether a message is the first with its value; from now on one is remembered. One without a value always is.
    pub fn is_first(&self, properties: &PropertiesRef<'_>, now_ms: u64) -> bool {
        let Some(headers) = properties.headers else { return true };
        let Some(key) = headers.get(HEADER).and_then(DeduplicationKey::of_value) else { return true };
        let own_ttl = headers.get(b"x-cache-ttl").and_then(|value| milliseconds(&value));
        let seen = &mut *self.seen.borrow_mut();
        if seen.by_key.get(&key).is_some_and(|(until_ms, _)| *until_ms > now_ms) {
            return false;
        }
        let until_ms = match (own_ttl, self.ttl_ms) {
            (Some(own_ms), _) => now_ms.saturating_add_signed(own_ms),
            (None, Some(ttl_ms)) => now_ms.saturating_add(ttl_ms),
            (None, None) => NEVER,
        };
        let room = room_of(&seen.by_key);
        while seen.by_key.len() >= self.size && !seen.by_key.contains_key(&key) {
            seen.forget_oldest();
        }
        seen.inserted += 1;
        seen.by_key.insert(key, (until_ms, seen.inserted));
        seen.order.push_back((key, seen.inserted));
        if seen.order.len() > 2 * self.size.max(ENTRY_BYTES) {
            let order = std::mem::take(&mut seen.order);
            seen.order = order.into_iter().filter(|(key, number)| seen.is_current(*key, *number)).collect();
        }
        if room_of(&seen.by_key) != room {
            seen.memory = Some(Holding::new(2 * room_of(&seen.by_key)));
        }
        true
    }
}

fn milliseconds(value: &FieldValueRef<'_>) -> Option<i64> {
    match *value {
        FieldValueRef::I8(number) => Some(number.into()),
        FieldValueRef::U8(number) => Some(number.into()),
        FieldValueRef::I16(number) => Some(number.into()),
        FieldValueRef::U16(number) => Some(number.into()),
        FieldValueRef::I32(number) => Some(number.into()),
        FieldValueRef::U32(number) => Some(number.into()),
        FieldValueRef::I64(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{ComposedMessage, MessageRef};
    use crate::broker::page::{Entry, PageBuilder};
    use crate::broker::queue::{Behaviour, QueueArguments, QueueKind, Wishes};
    use crate::broker::store::{DurableQueueId, MemoryStore};
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{Broker, ChannelId, ConnectionId, GetOutcome, RestoredQueue, Settlement};
    use crate::protocol::{BasicProperties, FieldTable, FieldValue, TableRef};
    use bytes::Bytes;

    const CLIENT: ConnectionId = ConnectionId(0);

    fn key(value: FieldValueRef<'_>) -> Option<DeduplicationKey> {
        DeduplicationKey::of_value(value)
    }

    #[test]
    fn values_are_the_same_where_erlang_says_so() {
        assert_eq!(key(FieldValueRef::I8(-1)), key(FieldValueRef::I64(-1)));
        assert_eq!(key(FieldValueRef::U32(7)), key(FieldValueRef::Timestamp(7)));
        assert_eq!(key(FieldValueRef::F32(0.5)), key(FieldValueRef::F64(0.5)));
        assert_eq!(key(FieldValueRef::LongString(b"x")), key(FieldValueRef::Bytes(b"x")));
        let different = [
            FieldValueRef::I32(1),
            FieldValueRef::F64(1.0),
            FieldValueRef::LongString(b"1"),
            FieldValueRef::LongString(b"1\0"),
            FieldValueRef::LongString(b""),
            FieldValueRef::LongString(&[7; 40]),
            FieldValueRef::LongString(&[7; 41]),
            FieldValueRef::Boolean(true),
            FieldValueRef::Boolean(false),
            FieldValueRef::Void,
            FieldValueRef::Timestamp(u64::MAX),
            FieldValueRef::I64(-1),
        ];
        for (at, value) in different.iter().enumerate() {
            assert!(different[..at].iter().all(|other| key(*other) != key(*value)), "{value:?}");
        }
        assert_eq!(key(FieldValueRef::Decimal { scale: 0, value: 1 }), None);
    }

    fn is_first(seen: &SeenByExchange, value: &str, now_ms: u64) -> bool {
        let mut entries = vec![HEADER.len() as u8];
        entries.extend(HEADER);
        entries.push(b'S');
        entries.extend((value.len() as u32).to_be_bytes());
        entries.extend(value.as_bytes());
        let headers = TableRef::parse(&entries).unwrap();
        seen.is_first(&PropertiesRef { headers: Some(headers), ..PropertiesRef::default() }, now_ms)
    }

    #[test]
    fn an_exchange_remembers_so_many_for_so_long() {
        let seen = SeenByExchange::new(2, Some(10));
        assert!(is_first(&seen, "a", 0) && is_first(&seen, "b", 1));
        assert!(!is_first(&seen, "a", 9) && !is_first(&seen, "b", 9));
        assert!(is_first(&seen, "a", 10), "its time was over");
        assert!(is_first(&seen, "c", 10), "b was the oldest, and had to go");
        assert!(!is_first(&seen, "a", 10) && is_first(&seen, "b", 10));
        assert!(!is_first(&seen, "c", 10) && is_first(&seen, "a", 10));
    }

    #[test]
    fn what_comes_again_and_again_takes_no_more_room() {
        let seen = SeenByExchange::new(100, Some(1));
        is_first(&seen, "stays", 0);
        (0..10_000).for_each(|now_ms| assert!(is_first(&seen, "goes", now_ms)));
        let seen = seen.seen.borrow();
        assert!(seen.order.len() <= 201 && seen.by_key.len() == 2, "{} in order", seen.order.len());
    }

    /// Publishes a message with that value to the queue `q`; whether it was refused.
    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, value: &str) -> bool {
        let value = FieldValue::LongString(value.as_bytes().into());
        let headers = Some(FieldTable(vec![("x-deduplication-header".into(), value)]));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        let message = ComposedMessage::new(&"".into(), &"q".into(), &properties, Bytes::new());
        message.publish(broker.caller(channel), usize::MAX, broker, &mut Nobody).unwrap()
    }

    fn get(broker: &mut Broker<MemoryStore>, channel: ChannelId, no_ack: bool) -> MessageRef {
        match broker.get(broker.caller(channel), b"q", no_ack, &mut Nobody).unwrap() {
            GetOutcome::Got(got) => got.message,
            _ => panic!("nothing is there"),
        }
    }

    #[test]
    fn what_a_restart_brings_back_is_remembered() {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let arguments = FieldTable(vec![("x-message-deduplication".into(), FieldValue::Boolean(true))]);
        let restored = RestoredQueue {
            vhost: testing::VHOST,
            id: DurableQueueId(7),
            name: "q".into(),
            auto_delete: false,
            top_level: 0,
            arguments,
        };
        let (queue, refusal) = broker.restore_queue(restored);
        assert!(refusal.is_none());
        assert!(!publish(&mut broker, channel, "this"));
        let message = get(&mut broker, channel, true);
        broker.purge_queue(broker.caller(channel), b"q", &mut Nobody).unwrap();
        let mut page = PageBuilder::with_capacity(0);
        page.push(&Entry::of(&message, 5, NEVER));
        let key = broker.queue_key(queue);
        broker.expect_messages(key, 0, 1, 10, 0);
        broker.load_page(key, 0, page.finish().unwrap(), u64::MAX);
        assert!(publish(&mut broker, channel, "this"));
        assert!(!publish(&mut broker, channel, "that"));
        get(&mut broker, channel, false);
        assert!(publish(&mut broker, channel, "this"), "it is held");
        broker.settle(channel, 2, false, Settlement::Acknowledged).unwrap();
        assert!(!publish(&mut broker, channel, "this"));
        broker.census();
    }

    #[test]
    fn a_policy_begins_and_ends_it_and_goes_before_the_argument() {
        let said = |deduplicates| Wishes { deduplicates, ..Wishes::default() };
        for (argument, policy, kind, expected) in [
            (None, None, QueueKind::Classic, false),
            (Some(true), None, QueueKind::Classic, true),
            (None, Some(true), QueueKind::Classic, true),
            (Some(true), Some(false), QueueKind::Classic, false),
            (Some(true), None, QueueKind::Quorum, false),
        ] {
            let arguments = QueueArguments { kind, wishes: said(argument), ..QueueArguments::default() };
            let behaviour = Behaviour::of(&arguments, &said(policy), &Wishes::default());
            assert_eq!(behaviour.deduplicates, expected, "{argument:?} {policy:?} {kind:?}");
            assert_eq!(behaviour.has_lanes(), !expected, "{argument:?} {policy:?} {kind:?}");
        }
    }
}
