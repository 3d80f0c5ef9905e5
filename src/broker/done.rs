//! What a command leads to, and when that lasts.

use super::store::LogPosition;

/// A command's outcome, and the position that must be durable before somebody is told of it: whoever answers holds the
/// answer back until then. Zero is durable from the start, so that what needs no disk is answered at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done<T> {
    pub value: T,
    pub durable_at: LogPosition,
}

impl<T> Done<T> {
    /// Nothing of it is kept on disk.
    pub fn at_once(value: T) -> Self {
        Self { value, durable_at: LogPosition::default() }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Done<U> {
        Done { value: change(self.value), durable_at: self.durable_at }
    }
}

/// Counts in answers travel as 32 bits.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Content;
    use crate::broker::store::{Definition, DurableQueueId, Log, MemoryStore, PageId, Pages, Returns, Route};
    use crate::broker::testing::{self, Nobody, settings};
    use crate::broker::{Broker, ConnectionId, ConsumeRequest, DeclareRequest};
    use crate::protocol::FieldTable;

    /// A log that takes everything, one position each, and has none of it on disk yet.
    #[derive(Default)]
    struct Unwritten {
        last: LogPosition,
        pages: MemoryStore,
    }

    impl Unwritten {
        fn append(&mut self) -> LogPosition {
            self.last.0 += 1;
            self.last
        }
    }

    impl Log for Unwritten {
        fn enqueued(&mut self, _: Route, _: &Content<'_>, _: u8, _: LogPosition) -> LogPosition {
            self.append()
        }
        fn removed(&mut self, _: DurableQueueId, _: u64) {}
        fn removed_range(&mut self, _: DurableQueueId, _: u64, _: u64) {}
        fn purged(&mut self, _: DurableQueueId, _: u64) -> LogPosition {
            self.append()
        }
        fn returned(&mut self, _: DurableQueueId, _: u64, _: Returns) -> LogPosition {
            self.append()
        }
        fn everything(&mut self) -> LogPosition {
            self.last
        }
        fn define(&mut self, _: &Definition) -> LogPosition {
            self.append()
        }
        fn awaited(&mut self, _: LogPosition) {}
        fn durable(&self) -> LogPosition {
            LogPosition::default()
        }
        fn pending_bytes(&self) -> usize {
            0
        }
    }

    testing::with_pages_of_memory!(Unwritten);

    const CLIENT: ConnectionId = ConnectionId(0);
    const STRANGER: ConnectionId = ConnectionId(1);
    const DURABLE: bool = true;

    fn broker() -> Broker<Unwritten> {
        let mut broker = testing::broker_with(settings(), Unwritten::default());
        testing::connect(&mut broker, CLIENT);
        testing::connect(&mut broker, STRANGER);
        broker
    }

    /// What the answer to a declaration waits for.
    fn declare(broker: &mut Broker<Unwritten>, by: ConnectionId, name: &[u8], durable: bool) -> LogPosition {
        let arguments = FieldTable::default();
        let request = DeclareRequest { name, durable, exclusive: false, auto_delete: durable, arguments };
        broker.declare_queue(testing::caller(broker, by), request, &mut Nobody).unwrap().durable_at
    }

    #[test]
    fn an_answer_waits_for_what_its_own_command_did_and_for_no_strangers_end() {
        let mut broker = broker();
        let channel = broker.open_channel(CLIENT, 1);
        let founded = broker.store().last;
        assert_eq!(declare(&mut broker, CLIENT, b"durable", DURABLE), LogPosition(founded.0 + 1));
        let (queue, arguments) = (b"durable".as_slice(), FieldTable::default());
        let request = ConsumeRequest { queue, consumer_tag: b"", no_ack: true, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
        // The queue goes with its last consumer: the log is told, and nobody is answered.
        broker.close_connection(CLIENT, &mut Nobody);
        assert_eq!(declare(&mut broker, STRANGER, b"transient", !DURABLE), LogPosition(0));
    }

    #[test]
    fn what_is_refused_leaves_nothing_for_the_next_answer() {
        let mut broker = broker();
        declare(&mut broker, CLIENT, b"durable", DURABLE);
        let no_arguments = FieldTable::default();
        broker.unbind_queue(testing::caller(&broker, CLIENT), b"durable", b"", b"durable", &no_arguments).unwrap_err();
        assert_eq!(declare(&mut broker, STRANGER, b"transient", !DURABLE), LogPosition(0));
    }

    #[test]
    fn who_finds_a_durable_thing_waits_for_it_like_who_made_it() {
        let mut broker = broker();
        let made = declare(&mut broker, CLIENT, b"durable", DURABLE);
        assert_eq!(declare(&mut broker, STRANGER, b"durable", DURABLE), made);
        let deleted = broker
            .delete_queue(testing::caller(&broker, CLIENT), b"durable", false, false, &mut Nobody)
            .unwrap()
            .durable_at;
        assert!(deleted > made);
        let missing = broker
            .delete_queue(testing::caller(&broker, STRANGER), b"durable", false, false, &mut Nobody)
            .unwrap()
            .durable_at;
        assert_eq!(missing, deleted);
    }
}
