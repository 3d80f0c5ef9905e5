//! Consumers that wait for their connection's outbox to have room, and their way back to their queues' lines.
//!
//! A connection may have a million of them. They go back in the order in which they came, some in each pump, and never
//! more than the pump's share of moves, so that others are served meanwhile.

use super::consumer::ConsumerState;
use super::dispatch::MOVES_PER_PUMP;
use super::keys::ConnectionKey;
use super::store::Store;
use super::{Broker, ConnectionId, ConsumerId};

/// Of a pump's moves, those that bring consumers back to their lines; the rest is for deliveries.
const REJOINS_PER_PUMP: usize = MOVES_PER_PUMP / 2;

impl<S: Store> Broker<S> {
    /// Whether consumers of a connection wait for its outbox to have room again.
    #[inline]
    pub fn waits_for_room(&self, id: ConnectionId) -> bool {
        matches!(self.connections.get(id.0 as usize), Some(Some(connection)) if connection.outbox_full)
    }

    /// The connection's outbox has room again: its consumers go back to their lines, now or with the next pumps.
    pub fn connection_drained(&mut self, id: ConnectionId) {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
        connection.outbox_full = false;
        self.touched_channels.extend(connection.stalled_channels.drain(..));
        if !connection.stalled.is_empty() {
            self.rejoin_stalled(id, 0);
        }
    }

    /// Brings a pump's share of consumers back to their lines.
    pub(super) fn rejoin_drained(&mut self) {
        while self.moves_left > MOVES_PER_PUMP - REJOINS_PER_PUMP
            && let Some(key) = self.drained_connections.pop_front()
        {
            let connection = self.connections.get_mut(key.id.0 as usize).and_then(Option::as_mut);
            if let Some(connection) = connection.filter(|connection| connection.serial == key.serial) {
                connection.rejoins = false;
                self.rejoin_stalled(key.id, MOVES_PER_PUMP - REJOINS_PER_PUMP);
            }
        }
    }

    /// Brings consumers of a connection back to their lines, until no more than `moves_kept` moves are left; lists the
    /// connection when there are more of them.
    fn rejoin_stalled(&mut self, id: ConnectionId, moves_kept: usize) {
        loop {
            let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
            if connection.outbox_full || connection.stalled.is_empty() {
                return;
            }
            if self.moves_left <= moves_kept {
                if !std::mem::replace(&mut connection.rejoins, true) {
                    self.drained_connections.push_back(ConnectionKey { id, serial: connection.serial });
                }
                return;
            }
            let Some(consumer) = connection.stalled.leave() else { return };
            self.moves_left -= 1;
            if self.consumers[consumer.0 as usize].state == ConsumerState::Cancelled {
                connection.stalled.cancelled_left();
                self.unlist_cancelled(consumer);
            } else {
                self.rejoin(consumer);
            }
        }
    }

    /// A consumer that was stalled was cancelled: it is dropped with others like it, or when its turn comes.
    pub(super) fn cancel_stalled(&mut self, id: ConnectionId) {
        if let Some(Some(connection)) = self.connections.get_mut(id.0 as usize)
            && connection.stalled.note_cancelled()
        {
            self.sweep_stalled(id);
        }
    }

    /// Takes cancelled consumers out of those that are stalled.
    pub(super) fn sweep_stalled(&mut self, id: ConnectionId) {
        let Self { connections, consumers, .. } = self;
        let Some(Some(connection)) = connections.get_mut(id.0 as usize) else { return };
        let mut freed = Vec::new();
        let is_cancelled = |id: ConsumerId| consumers[id.0 as usize].state == ConsumerState::Cancelled;
        connection.stalled.sweep(is_cancelled, |id| freed.push(id));
        freed.into_iter().for_each(|id| self.unlist_cancelled(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::Takers;
    use crate::broker::{ChannelId, ConsumeRequest, DeclareRequest, Publication, testing};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);
    const PUBLISHER: ConnectionId = ConnectionId(1);

    struct Bench {
        broker: Broker<MemoryStore>,
        channel: ChannelId,
        publisher: ChannelId,
        takers: Takers,
    }

    impl Bench {
        /// So many consumers of one connection at one queue, all stalled but the first, and who publishes to it.
        fn stalled(consumers: usize) -> Self {
            let mut broker = testing::broker();
            let (channel, publisher) =
                (testing::connect(&mut broker, CLIENT), testing::connect(&mut broker, PUBLISHER));
            let caller = broker.caller(channel);
            let mut bench = Self { broker, channel, publisher, takers: Takers { fills: true, ..Takers::default() } };
            let (name, arguments) = (b"q".as_slice(), FieldTable::default());
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            bench.broker.declare_queue(caller, request, &mut bench.takers).unwrap();
            for tag in 0..consumers {
                let (consumer_tag, arguments) = (tag.to_string(), FieldTable::default());
                let consumer_tag = consumer_tag.as_bytes();
                let request = ConsumeRequest { queue: b"q", consumer_tag, no_ack: true, exclusive: false, arguments };
                bench.broker.consume(caller, request).unwrap();
            }
            bench.publish(2);
            bench.pump_all();
            assert_eq!(bench.takers.tags, ["0"]);
            bench.takers = Takers::default();
            bench
        }

        fn publish(&mut self, count: usize) {
            let id = self.broker.existing_queue(testing::VHOST, b"q").unwrap();
            let content = testing::CONTENT;
            let publication = Publication { content, attributes: Default::default(), mandatory: false };
            for _ in 0..count {
                self.broker.publish(self.publisher, &publication, &[id], &mut self.takers);
            }
        }

        /// Pumps until nothing is left to do. Says how many pumps that took.
        fn pump_all(&mut self) -> usize {
            let mut pumps = 0;
            while self.broker.has_touched() {
                self.broker.pump(&mut self.takers);
                pumps += 1;
            }
            self.broker.census();
            pumps
        }
    }

    #[test]
    fn no_turn_brings_back_more_consumers_than_its_share_however_many_are_stalled() {
        const CONSUMERS: usize = 20_000;
        let mut bench = Bench::stalled(CONSUMERS);
        bench.broker.pump(&mut bench.takers);
        bench.broker.connection_drained(CLIENT);
        assert_eq!(bench.broker.moves_left, 0, "the rest of a pump's moves at once");
        let pumps = bench.pump_all();
        assert!(pumps >= (CONSUMERS - MOVES_PER_PUMP) / REJOINS_PER_PUMP, "{pumps} pumps");
        bench.publish(CONSUMERS);
        bench.pump_all();
        let mut tags: Vec<usize> = bench.takers.tags.iter().map(|tag| tag.parse().unwrap()).collect();
        assert_eq!(tags.len(), CONSUMERS + 1, "what waited and what came later");
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), CONSUMERS, "everybody is served again");
    }

    #[test]
    fn the_stalled_come_back_in_the_order_in_which_they_left() {
        let mut bench = Bench::stalled(5);
        bench.broker.connection_drained(CLIENT);
        bench.publish(9);
        bench.pump_all();
        assert_eq!(bench.takers.tags, ["1", "2", "3", "4", "0", "1", "2", "3", "4", "0"]);
    }

    #[test]
    fn who_is_full_again_stops_and_goes_on_later() {
        let mut bench = Bench::stalled(20_000);
        bench.broker.connection_drained(CLIENT);
        bench.takers.fills = true;
        bench.publish(1);
        bench.pump_all();
        assert!(bench.broker.waits_for_room(CLIENT));
        assert_eq!(bench.takers.tags.len(), 1);
        bench.takers.fills = false;
        bench.broker.connection_drained(CLIENT);
        bench.pump_all();
        assert_eq!(bench.takers.tags.len(), 2, "the message that waited");
    }

    #[test]
    fn nothing_stays_of_those_who_were_cancelled_while_they_were_stalled() {
        let mut bench = Bench::stalled(60);
        for tag in 0..50 {
            bench.broker.cancel(bench.broker.caller(bench.channel), tag.to_string().as_bytes());
            bench.broker.census();
        }
        bench.broker.connection_drained(CLIENT);
        bench.pump_all();
        assert_eq!(bench.broker.consumers.len(), 10);
        let mut bench = Bench::stalled(60);
        (0..10).for_each(|tag| bench.broker.cancel(bench.broker.caller(bench.channel), tag.to_string().as_bytes()));
        bench
            .broker
            .delete_queue(testing::caller(&bench.broker, CLIENT), b"q", false, false, &mut bench.takers)
            .unwrap();
        assert_eq!(bench.broker.consumers.len(), 0);
        let mut bench = Bench::stalled(20_000);
        bench.broker.connection_drained(CLIENT);
        bench.broker.close_channel(bench.channel);
        bench.pump_all();
        assert_eq!(bench.broker.consumers.len(), 0);
        bench.broker.close_connection(CLIENT, &mut bench.takers);
        testing::connect(&mut bench.broker, CLIENT);
        bench.pump_all();
    }
}
