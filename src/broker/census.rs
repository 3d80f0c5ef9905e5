//! Counting what the broker holds, and checking that its tables agree with each other.

use super::channel::ChannelMode;
use super::consumer::ConsumerState;
use super::message::NEVER;
use super::store::Store;
use super::{Broker, ConsumerId, QueueId, UserId, VhostId};

/// What a broker holds. Deleted queues and cancelled consumers that live on in unacknowledged messages don't count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Connections that finished their handshake.
    pub connections: usize,
    /// Open channels of all connections.
    pub channels: usize,
    /// Queues that can be named.
    pub queues: usize,
    /// Running consumers, those of direct reply-to not counted.
    pub consumers: usize,
    /// Messages that wait in queues.
    pub ready: usize,
    /// Messages given to clients and not settled, nor their settling committed.
    pub unacknowledged: usize,
}

impl<S: Store> Broker<S> {
    /// Counts everything, one by one.
    ///
    /// # Panics
    /// When tables contradict each other: this is for tests and for hunting bugs, not for a running broker.
    pub fn census(&self) -> Census {
        self.check_queues();
        self.check_consumers();
        self.check_tenants();
        let mut unacknowledged = self.settling.deliveries_left_behind();
        let mut consumers = 0;
        for (_, channel) in &self.channels {
            let pending = match &channel.mode {
                ChannelMode::Transaction(transaction) => Some(&transaction.settlements),
                _ => None,
            };
            let pending = || pending.into_iter().flatten().map(|pending| &pending.delivered);
            let deliveries = channel.unacknowledged.iter().map(|(_, delivered)| delivered).chain(pending());
            let of_consumers = deliveries.filter(|delivered| delivered.consumer.is_some()).count();
            assert_eq!(of_consumers, channel.consumer_deliveries as usize, "a channel's deliveries to consumers");
            unacknowledged += channel.unacknowledged.len() + pending().count();
            consumers += channel.consumers.len();
        }
        assert_eq!(unacknowledged, self.books.unacknowledged(), "unacknowledged messages of all channels");
        assert_eq!(
            consumers,
            self.vhosts.iter().map(|vhost| vhost.consumers).sum::<usize>(),
            "consumers of all vhosts"
        );
        let census = Census {
            connections: self.connections.iter().flatten().count(),
            channels: self.channels.len(),
            queues: self.queues.iter().filter(|(_, queue)| !queue.deleted).count(),
            consumers,
            ready: self.queues.iter().map(|(_, queue)| queue.backlog.len()).sum(),
            unacknowledged,
        };
        assert_eq!(census.ready, self.books.ready(), "messages in all backlogs");
        census
    }

    fn check_queues(&self) {
        let mut unacknowledged = 0;
        for (slot, queue) in &self.queues {
            unacknowledged += queue.ledger.unacknowledged();
            let name = &queue.properties.name;
            queue.ledger.check(queue.backlog.len() + queue.retry_count(), &format!("queue {name}"));
            if queue.deleted {
                assert!(queue.backlog.is_empty() && queue.gate.is_unused(), "deleted queue {name} is empty");
                let is_led_to = self.router(queue.properties.vhost).has_queue(QueueId(slot as u32));
                assert!(queue.ledger.unacknowledged() > 0 || is_led_to, "deleted queue {name} is kept for a reason");
                continue;
            }
            let expires_at_ms = queue.backlog.head_expires_at_ms();
            assert!(
                queue.scheduled_ms <= expires_at_ms || expires_at_ms == NEVER || queue.held_up,
                "queue {name} looks at its head in time"
            );
            for id in queue.gate.consumers() {
                let place = self.consumers[id.0 as usize].place_in_queue;
                let there: Vec<ConsumerId> = queue.gate.consumers_in(place..place + 1).collect();
                assert_eq!(there, [id], "a consumer's place in queue {name}");
            }
        }
        assert_eq!(unacknowledged, self.books.unacknowledged(), "unacknowledged messages of all queues");
        self.books.check(self.queues.iter().map(|(_, queue)| &queue.ledger));
        let scheduled = self.queues.iter().filter(|(_, queue)| queue.scheduled_ms != NEVER).count();
        assert_eq!(scheduled, self.expiry.len(), "each queue that is looked at is in the list once");
    }

    /// What users and vhosts are said to have is what there is.
    fn check_tenants(&self) {
        let mut connections_of_users = vec![(0, 0); self.users.slots()];
        let mut of_vhosts = vec![(0, 0); self.vhosts.slots()];
        for connection in self.connections.iter().flatten() {
            let of_user = &mut connections_of_users[connection.user.0 as usize];
            *of_user = (of_user.0 + 1, of_user.1 + connection.channels.len());
            of_vhosts[connection.vhost.0 as usize].0 += 1;
        }
        for (_, queue) in &self.queues {
            of_vhosts[queue.properties.vhost.0 as usize].1 += 1;
        }
        for (id, user) in (0..).zip(connections_of_users).map(|(id, found)| (UserId(id), found)) {
            assert_eq!(self.users.counts(id), user, "connections and channels of user {id:?}");
        }
        for (id, found) in (0..).zip(of_vhosts).map(|(id, found)| (VhostId(id), found)) {
            let vhost = &self.vhosts[id];
            assert_eq!((vhost.connections, vhost.queues), found, "connections and queues of vhost {}", vhost.name);
        }
    }

    fn check_consumers(&self) {
        for (index, consumer) in &self.consumers {
            let id = ConsumerId(index as u32);
            if consumer.state == ConsumerState::Cancelled {
                assert!(!consumer.is_forgotten(), "a cancelled consumer is kept for a reason");
                continue;
            }
            let channel = self.channel(consumer.channel);
            assert_eq!(channel.consumers.get(&consumer.tag), Some(&id), "a consumer's channel knows it");
            let connection = self.connections[consumer.connection.0 as usize].as_ref();
            let connection = connection.expect("a consumer's connection is open");
            let waits = match consumer.state {
                ConsumerState::InLine => consumer.listed,
                ConsumerState::PrefetchReached => !consumer.has_credit() || consumer.awaits_more,
                ConsumerState::ChannelPrefetchReached => channel.turns.contains(consumer.queue, id),
                ConsumerState::OutboxFull => connection.stalled.contains(id),
                ConsumerState::Waiting => consumer.listed && !self.queue(consumer.queue).gate.is_active(id),
                ConsumerState::Cancelled => unreachable!("left above"),
            };
            assert!(waits, "consumer {} waits where its state says: {:?}", consumer.tag, consumer.state);
        }
    }
}
