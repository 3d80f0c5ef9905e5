//! Messages that were there before, told by the header `x-deduplication-header`, as a plugin of RabbitMQ has it: for a queue
//! as long as the first one of them is in it, for an exchange as long as that remembers it.
//!
//! Values are the same when they are so in Erlang: numbers of all widths are, and a number and its text are not. What is
//! kept of a value is a number of 128 bits, however long it is.
//!
//! | file | owns |
//! |---|---|
//! | `in_queue` | the values of a queue's messages |
//! | `by_exchange` | the values that an exchange remembers |
//! | `cleaning` | what is forgotten where nothing comes any more |
//! | `lasting` | what the log is told of those, and what it brings back |
//! | `table`, `line` | how they are kept, so that nothing takes longer because there are many |
//! | `allowance` | what they take, and may take |
//! | `gone` | what is left of tables that are gone |

mod allowance;
mod by_exchange;
mod cleaning;
mod gone;
mod in_queue;
mod lasting;
mod line;
mod table;

pub use allowance::Allowance;
pub use by_exchange::{Bounds, SaidBounds, SeenByExchange, Verdict};
pub(super) use cleaning::Cleaning;
pub use gone::{free_gone, has_gone};
pub use in_queue::SeenInQueue;
pub use lasting::RememberedKey;

use super::exchange::ExchangeId;
use crate::protocol::{FieldValueRef, PropertiesRef};
use sha2::{Digest, Sha256};

const HEADER: &[u8] = b"x-deduplication-header";

/// Most values that one queue or exchange remembers. Beyond that a queue lets duplicates in, and an exchange forgets the
/// oldest, whatever size it was declared with.
const REMEMBERED_MAX: usize = 1 << 24;

/// A value of the header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeduplicationKey(u128);

/// An exchange remembers a value since it routed a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noted {
    pub exchange: ExchangeId,
    pub key: DeduplicationKey,
    /// Of the value at that exchange: a later one of the same value has another.
    pub number: u64,
}

impl DeduplicationKey {
    /// That of a message; `None` when it has none by which it could be told.
    pub fn of(properties: &[u8]) -> Option<Self> {
        let headers = PropertiesRef::parse(properties).ok()?.headers?;
        Self::of_value(headers.get(HEADER)?)
    }

    /// As the log has it.
    fn from_log(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u128::from_be_bytes(bytes)))
    }

    fn of_value(value: FieldValueRef<'_>) -> Option<Self> {
        let integer = |number: i128| Self::of_bytes(1, &number.to_be_bytes()[4..]);
        Some(match value {
            FieldValueRef::LongString(text) | FieldValueRef::Bytes(text) => Self::of_bytes(2, text),
            FieldValueRef::Timestamp(number) => integer(number.into()),
            FieldValueRef::F32(number) => Self::of_bytes(3, &f64::from(number).to_be_bytes()),
            FieldValueRef::F64(number) => Self::of_bytes(3, &number.to_be_bytes()),
            FieldValueRef::Boolean(truth) => Self::of_bytes(4, &[truth.into()]),
            FieldValueRef::Void => Self::of_bytes(5, &[]),
            number => integer(number.integer()?.into()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::{ComposedMessage, MessageRef, NEVER};
    use crate::broker::page::{Entry, PageBuilder};
    use crate::broker::policy::{Policy, PolicyKind, SaidPolicy};
    use crate::broker::queue::{Behaviour, QueueArguments, QueueKind, Wishes};
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{Broker, ChannelId, ConnectionId, ExchangeRequest, GetOutcome, Settlement};
    use crate::protocol::{BasicProperties, FieldTable, FieldValue};
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

    /// Publishes a message with that value to the queue `q`; whether it was refused.
    fn publish(broker: &mut Broker<MemoryStore>, channel: ChannelId, value: &str) -> bool {
        publish_to(broker, channel, "", value)
    }

    fn publish_to(broker: &mut Broker<MemoryStore>, channel: ChannelId, exchange: &'static str, value: &str) -> bool {
        let value = FieldValue::LongString(value.as_bytes().into());
        let headers = Some(FieldTable(vec![("x-deduplication-header".into(), value)]));
        let properties = BasicProperties { headers, ..BasicProperties::default() };
        let message = ComposedMessage::new(&exchange.into(), &"q".into(), &properties, Bytes::new());
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
        let queue = testing::restored_queue(&mut broker, arguments);
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

    /// An exchange that remembers so many values, and leads to the queue `q`.
    fn exchange(broker: &mut Broker<MemoryStore>, channel: ChannelId, name: &[u8], size: i32) {
        let caller = broker.caller(channel);
        let arguments = FieldTable(vec![("x-cache-size".into(), FieldValue::I32(size))]);
        let (durable, auto_delete, internal) = (false, false, false);
        let kind = b"x-message-deduplication";
        let request = ExchangeRequest { name, kind, durable, auto_delete, internal, arguments };
        broker.declare_exchange(caller, request).unwrap();
        broker.bind_queue(caller, b"q", name, b"", FieldTable::default()).unwrap();
    }

    #[test]
    fn what_all_of_a_virtual_host_remember_has_one_limit() {
        const MOST_BYTES: usize = 400_000;
        let mut settings = testing::settings();
        settings.vhost_limits.deduplication_max_bytes = MOST_BYTES;
        let mut broker = testing::broker_with(settings, MemoryStore::default());
        let channel = testing::connect(&mut broker, CLIENT);
        let arguments = FieldTable(vec![("x-message-deduplication".into(), FieldValue::Boolean(true))]);
        testing::restored_queue(&mut broker, arguments);
        ["x", "y"].iter().for_each(|name| exchange(&mut broker, channel, name.as_bytes(), i32::MAX));
        let taken = |broker: &Broker<MemoryStore>| broker.router(testing::VHOST).allowance().taken_bytes();
        for number in 0..6000 {
            publish_to(&mut broker, channel, ["", "x", "y"][number % 3], &number.to_string());
            let exceeded_by = taken(&broker).saturating_sub(MOST_BYTES);
            assert!(exceeded_by < 2 * line::CHUNK_BYTES, "by {exceeded_by} bytes with {number} values");
        }
        assert!(taken(&broker) > MOST_BYTES / 10 * 9, "{} bytes", taken(&broker));
        assert!(!publish(&mut broker, channel, "5997"), "it was no more noted");
        let caller = broker.caller(channel);
        broker.delete_exchange(caller, b"x", false).unwrap();
        assert!(taken(&broker) < MOST_BYTES / 10 * 9, "{} bytes", taken(&broker));
        assert!(!publish(&mut broker, channel, "this") && publish(&mut broker, channel, "this"), "there is room again");
    }

    #[test]
    fn a_policy_says_how_much_an_exchange_remembers_that_is_there() {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        testing::restored_queue(&mut broker, FieldTable::default());
        exchange(&mut broker, channel, b"x", 1);
        let came = |broker: &mut Broker<MemoryStore>, values: [&str; 3]| {
            let before = broker.census().ready;
            values.into_iter().for_each(|value| _ = publish_to(broker, channel, "x", value));
            broker.census().ready - before
        };
        assert_eq!(came(&mut broker, ["this", "that", "this"]), 3);
        let settings = FieldTable(vec![("x-cache-size".into(), FieldValue::I64(5))]);
        let (pattern, definition) = (FieldValue::LongString(b"x".as_slice().into()), FieldValue::Table(settings));
        let said = SaidPolicy { pattern, apply_to: None, priority: None, definition };
        let policy = Policy::read(PolicyKind::User, "p".into(), said).unwrap();
        broker.put_policy(testing::VHOST, PolicyKind::User, policy.into()).unwrap();
        assert_eq!(came(&mut broker, ["that", "those", "that"]), 2, "this is remembered, and there is room for more");
        broker.delete_policy(testing::VHOST, PolicyKind::User, &"p".into());
        broker.pump(&mut Nobody);
        assert_eq!(came(&mut broker, ["a", "b", "a"]), 3);
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
