//! Looking at a queue's messages where they lie: none of them is taken, none is redelivered by it, and none moves.
//!
//! As far as they are in memory from the head on. What is behind them is told to be away.

use super::held::CopiedHead;
use super::queue::{Looked, Seen};
use super::store::Store;
use super::{Broker, Caller};
use crate::protocol::{AmqpError, ReplyCode};
use std::fmt;
use std::str::FromStr;

/// The last position that is looked at: what comes before it is walked over.
const POSITION_MAX: usize = 100_000;
/// Bytes that one look copies; the message that passes it is the last.
const PEEKED_MAX_BYTES: usize = 1 << 20;

/// Which messages, and how much of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeekSpec {
    /// The position of the first one: 0 is the head.
    pub from: usize,
    pub most: usize,
    /// Most bytes of each body.
    pub body_max_bytes: usize,
}

/// Which of a queue's messages: as long as it waits there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueuedId {
    /// When the broker started that said it, in milliseconds since 1970: serials and sequences are given again by the next one.
    pub(super) run: u64,
    /// The queue's serial: another queue of its name begins anew with its sequences.
    pub(super) queue: u64,
    pub(super) level: u8,
    pub(super) sequence: u64,
}

impl fmt::Display for QueuedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.run, self.queue, self.level, self.sequence)
    }
}

impl FromStr for QueuedId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(4, '-').map(|number| number.parse::<u64>().map_err(|_| ()));
        let mut number = || numbers.next().ok_or(())?;
        let (run, queue) = (number()?, number()?);
        Ok(Self { run, queue, level: u8::try_from(number()?).map_err(|_| ())?, sequence: number()? })
    }
}

/// A message that was looked at.
pub struct PeekedMessage {
    pub position: usize,
    pub id: QueuedId,
    /// It was given to somebody before.
    pub redelivered: bool,
    pub head: CopiedHead,
    pub body: Box<[u8]>,
}

pub struct Peeked {
    pub messages: Vec<PeekedMessage>,
    /// How many are ready.
    pub ready: usize,
    /// There are more behind them that are not in memory.
    pub are_away: bool,
}

impl<S: Store> Broker<S> {
    /// Looks at some messages of a queue.
    ///
    /// # Errors
    /// 403, 404, 405; 406 for a position that is too far from the head.
    pub fn peek(&self, caller: Caller, queue: &[u8], spec: PeekSpec) -> Result<Peeked, AmqpError> {
        let PeekSpec { from, most, body_max_bytes } = spec;
        let queue = self.queue(self.queue_to_read(caller, queue)?);
        if from > POSITION_MAX {
            let explanation = format!("positions beyond {POSITION_MAX} are too far from the head");
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let (run, serial) = (self.settings.unix_start_ms, queue.serial);
        let mut look = |Seen { entry, redelivered, level }: Seen<'_>| {
            let body: Box<[u8]> = entry.body[..entry.body.len().min(body_max_bytes)].into();
            bytes += entry.header_frame.len() + body.len();
            let (position, head) = (from + messages.len(), CopiedHead::of(&entry.head(), entry.body.len()));
            let id = QueuedId { run, queue: serial, level, sequence: entry.sequence };
            messages.push(PeekedMessage { position, id, redelivered, head, body });
            messages.len() < most && bytes < PEEKED_MAX_BYTES
        };
        let looked = if most == 0 { Looked::Enough } else { queue.backlog.look(from, &mut look) };
        Ok(Peeked { messages, ready: queue.backlog.len(), are_away: looked == Looked::Away })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::ComposedMessage;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, caller};
    use crate::broker::{ConnectionId, DeclareRequest, GetOutcome, MessageMemory, Settlement};
    use crate::protocol::{BasicProperties, FieldTable, FieldValue};
    use bytes::Bytes;

    const CLIENT: ConnectionId = ConnectionId(0);

    fn broker(arguments: FieldTable) -> Broker<MemoryStore> {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        let request = DeclareRequest { name: b"q", durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        broker
    }

    fn publish(broker: &mut Broker<MemoryStore>, body: &[u8], priority: Option<u8>) {
        let properties = BasicProperties { priority, ..BasicProperties::default() };
        let message = ComposedMessage::new(&"".into(), &"q".into(), &properties, Bytes::copy_from_slice(body));
        message.publish(caller(broker, CLIENT), usize::MAX, broker, &mut Nobody).unwrap();
    }

    fn peek(broker: &Broker<MemoryStore>, from: usize, most: usize) -> Peeked {
        let spec = PeekSpec { from, most, body_max_bytes: 8 };
        broker.peek(caller(broker, CLIENT), b"q", spec).unwrap()
    }

    fn bodies(peeked: &Peeked) -> Vec<(String, bool)> {
        let text = |message: &PeekedMessage| (String::from_utf8_lossy(&message.body).into_owned(), message.redelivered);
        peeked.messages.iter().map(text).collect()
    }

    fn get(broker: &mut Broker<MemoryStore>) -> String {
        let got = broker.get(caller(broker, CLIENT), b"q", false, &mut Nobody).unwrap();
        let GetOutcome::Got(got) = got else { panic!("a message") };
        String::from_utf8_lossy(got.message.content().body()).into_owned()
    }

    /// Each part of what is there, and then all of it as clients are given it.
    fn is_seen_as_it_leaves(broker: &mut Broker<MemoryStore>) {
        let count = peek(broker, 0, 0).ready;
        let parts = (0..count).step_by(5000).flat_map(|from| bodies(&peek(broker, from, 5000)));
        let whole: Vec<_> = parts.collect();
        assert_eq!(whole.len(), count);
        for from in [0, 1, count / 3, count / 2, count - 1, count] {
            let part = peek(broker, from, 7);
            assert_eq!(bodies(&part), whole[from..(from + 7).min(count)], "from {from}");
            assert!(part.messages.iter().enumerate().all(|(index, message)| message.position == from + index));
        }
        let got: Vec<String> = (0..count).map(|_| get(broker)).collect();
        assert!(whole.iter().map(|(body, _)| body).eq(&got));
    }

    #[test]
    fn messages_are_seen_in_the_order_in_which_they_leave_packed_and_not() {
        let mut broker = broker(FieldTable::default());
        for number in 0..50_000 {
            publish(&mut broker, format!("{number}").as_bytes(), None);
        }
        for _ in 0..10 {
            get(&mut broker);
        }
        broker.settle_at_once(caller(&broker, CLIENT).channel, Settlement::Requeued);
        let first = bodies(&peek(&broker, 8, 4));
        assert_eq!(first.iter().map(|(_, redelivered)| *redelivered).collect::<Vec<_>>(), [true, true, false, false]);
        is_seen_as_it_leaves(&mut broker);
    }

    #[test]
    fn higher_priorities_are_seen_before_lower_ones() {
        let levels = FieldTable(vec![("x-max-priority".into(), FieldValue::I64(5))]);
        let mut broker = broker(levels);
        for number in 0..100_u8 {
            publish(&mut broker, format!("{number}").as_bytes(), Some(number % 7));
        }
        is_seen_as_it_leaves(&mut broker);
    }

    #[test]
    fn bodies_are_cut_short_and_a_look_copies_so_much() {
        let mut broker = broker(FieldTable::default());
        for _ in 0..5 {
            publish(&mut broker, &vec![b'x'; 1 << 19], None);
        }
        let cut = peek(&broker, 0, 5);
        assert_eq!((cut.messages.len(), cut.messages[0].body.len(), cut.messages[0].head.body_size), (5, 8, 1 << 19));
        let spec = PeekSpec { from: 0, most: 5, body_max_bytes: usize::MAX };
        assert_eq!(broker.peek(caller(&broker, CLIENT), b"q", spec).unwrap().messages.len(), 2);
        let spec = PeekSpec { from: POSITION_MAX + 1, ..spec };
        assert!(broker.peek(caller(&broker, CLIENT), b"q", spec).is_err());
    }

    #[test]
    fn what_is_not_in_memory_is_told_to_be_away() {
        let mut broker = broker(FieldTable::default());
        for _ in 0..64 {
            publish(&mut broker, &vec![b'x'; 64 << 10], None);
        }
        assert!(!peek(&broker, 0, 64).are_away);
        broker.set_message_memory(MessageMemory { paging_bytes: 1 << 20, most_bytes: usize::MAX });
        broker.relieve_memory();
        let peeked = peek(&broker, 0, 64);
        assert!(peeked.are_away && !peeked.messages.is_empty() && peeked.messages.len() < 64);
        assert_eq!(peeked.ready, 64);
        assert!(!peek(&broker, 0, 1).are_away, "it was enough");
    }
}
