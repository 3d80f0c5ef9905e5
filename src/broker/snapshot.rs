//! Listings for management: plain owned copies that may leave the thread.
//!
//! Long lists come in pages of a bounded number of slots, so that the loop does other things in between. Such a list is
//! no moment in time: what is declared or deleted between two pages may be in it or not, but nothing is in it twice.
//! This module changes nothing.

use super::channel::ChannelMode;
use super::exchange::{BindingInfo, Destination, Exchange, ExchangeKind, properties_key};
use super::flow::{DeadLetterCounters, QueueCounters};
use super::policy::{Applied, Policy, PolicyKind};
pub use super::queue::QueueKind;
use super::queue::{Gate, Queue};
use super::store::Store;
use super::sums::{ChannelSums, memory_bytes_of};
use super::vhost::{Vhost, Vhosts};
use super::{Broker, Channel, ConnectionId, ConsumerId, ExchangeFigures, Totals, VhostId};
use crate::broker::consumer::{Consumer, ConsumerState};
use crate::protocol::{FieldTable, PropertiesRef, ShortString};
use slab::Slab;
use std::ops::Range;
use std::sync::Arc;

/// Slots that one page looks at: well under a millisecond's work.
pub const PAGE_SLOTS: usize = 1024;
/// The same of queues with all that is told of one. Of 1024 in a list of 100,000 some pages took more than a millisecond.
const QUEUE_PAGE_SLOTS: usize = 256;
/// Steps that are taken over the messages of each queue in a list to tell how many bytes they have, and of one that is asked for
/// alone. A list of queues that all have that many takes as long again.
const BODY_BYTES_STEPS: (usize, usize) = (16, 10_000);

/// Where a page starts: at a slot of a table, or of the table of one vhost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageStart {
    vhost: usize,
    slot: usize,
}

impl PageStart {
    /// In a table that is not a vhost's.
    pub fn at_slot(slot: usize) -> Self {
        Self { vhost: 0, slot }
    }

    pub fn slot(self) -> usize {
        self.slot
    }
}

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<PageStart>,
}

impl<T> Page<T> {
    /// The page of a table with so many slots. `items` is given the slots that are in it.
    pub(super) fn of_slots(from: PageStart, end: usize, items: impl FnOnce(Range<usize>) -> Vec<T>) -> Self {
        Self::of_some_slots(from, end, PAGE_SLOTS, items)
    }

    fn of_some_slots(from: PageStart, end: usize, most: usize, items: impl FnOnce(Range<usize>) -> Vec<T>) -> Self {
        let slots = from.slot.min(end)..from.slot.saturating_add(most).min(end);
        let next = (slots.end < end).then_some(PageStart { slot: slots.end, ..from });
        Self { items: items(slots), next }
    }

    fn of_slab<E>(slab: &Slab<E>, from: PageStart, copy: impl Fn(&E) -> Option<T>) -> Self {
        Self::of_slots(from, slab.capacity(), |slots| slots.filter_map(|slot| copy(slab.get(slot)?)).collect())
    }

    /// The page of what every vhost has in a table of its own, one vhost after the other.
    pub(super) fn of_vhosts(
        vhosts: &Vhosts,
        from: PageStart,
        end: impl Fn(&Vhost) -> usize,
        items: impl Fn(VhostId, Range<usize>) -> Vec<T>,
    ) -> Self {
        let mut page = match vhosts.in_slot(from.vhost) {
            Some((id, vhost)) => Self::of_slots(from, end(vhost), |slots| items(id, slots)),
            None => Self { items: Vec::new(), next: None },
        };
        let next_vhost = PageStart { vhost: from.vhost + 1, slot: 0 };
        page.next = page.next.or_else(|| (next_vhost.vhost < vhosts.slots()).then_some(next_vhost));
        page
    }

    /// The same, but that a page goes on from one vhost to the next, so that many small ones take few pages. A vhost counts as
    /// one slot more.
    pub(super) fn across_vhosts(
        vhosts: &Vhosts,
        from: PageStart,
        end: impl Fn(&Vhost) -> usize,
        add: impl Fn(VhostId, Range<usize>, &mut Vec<T>),
    ) -> Self {
        let (mut items, mut at, mut left) = (Vec::new(), from, PAGE_SLOTS);
        while left > 0 && at.vhost < vhosts.slots() {
            left -= 1;
            let mut is_complete = true;
            if let Some((id, vhost)) = vhosts.in_slot(at.vhost) {
                let end = end(vhost);
                let slots = at.slot.min(end)..at.slot.saturating_add(left).min(end);
                (left, at.slot, is_complete) = (left - slots.len(), slots.end, slots.end == end);
                add(id, slots, &mut items);
            }
            if is_complete {
                at = PageStart { vhost: at.vhost + 1, slot: 0 };
            }
        }
        Self { items, next: (at.vhost < vhosts.slots()).then_some(at) }
    }

    /// The same page of what `change` makes of its items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

/// What of a queue changes with every message, without its names: for who looks often.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct QueueFigures {
    /// No other queue has had it, whatever its name.
    pub serial: u64,
    pub vhost: VhostId,
    /// Messages that wait, in memory or on disk.
    pub messages_ready: usize,
    /// Messages given to clients and not settled.
    pub messages_unacknowledged: usize,
    pub counters: QueueCounters,
}

#[derive(Clone, PartialEq, Debug)]
pub struct QueueSnapshot {
    pub vhost: Arc<str>,
    pub name: ShortString,
    pub kind: QueueKind,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that alone may use it, and with which it goes.
    pub exclusive_owner: Option<ConnectionId>,
    pub arguments: FieldTable,
    pub policies: Applied,
    pub figures: QueueFigures,
    /// The property `timestamp` of the first message that waits, while that is in memory.
    pub head_message_timestamp: Option<u64>,
    /// How many consume from it.
    pub consumers: usize,
    /// The tag of the consumer that asked to be the only one.
    pub exclusive_consumer_tag: Option<ShortString>,
    /// The tag of the one that is active, where only one at a time is.
    pub single_active_consumer_tag: Option<ShortString>,
    /// Messages that came back and are not ready again yet.
    pub messages_delayed: usize,
    /// How often a message may come back, if there is a limit.
    pub delivery_limit: Option<u32>,
    /// Messages that wait, and wait in memory.
    pub ready_in_memory: usize,
    /// What the queue itself holds, in bytes, without the messages: those may be shared with other queues.
    pub memory_bytes: usize,
    /// Bytes of the bodies of messages that wait. `None`: it would take too long to find out.
    pub ready_body_bytes: Option<u64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PolicySnapshot {
    pub vhost: Arc<str>,
    pub policy: Arc<Policy>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ExchangeSnapshot {
    pub vhost: Arc<str>,
    pub name: ShortString,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
    pub policies: Applied,
    /// Messages that it keeps for later; `None` of one that delays nothing.
    pub messages_delayed: Option<usize>,
    pub figures: ExchangeFigures,
}

#[derive(Clone, PartialEq, Debug)]
pub struct BindingSnapshot {
    pub vhost: Arc<str>,
    /// Empty for the default exchange.
    pub source: ShortString,
    pub destination: ShortString,
    /// `queue` or `exchange`.
    pub destination_type: &'static str,
    pub routing_key: ShortString,
    pub arguments: FieldTable,
    /// Tells it from the other bindings of the same ends.
    pub properties_key: String,
}

impl BindingSnapshot {
    /// The binding that a queue of this name has to the default exchange.
    fn of_default_exchange(vhost: &Vhost, name: &[u8]) -> Self {
        Self {
            vhost: Arc::clone(&vhost.name),
            source: ShortString::default(),
            destination: ShortString::truncated(name),
            destination_type: "queue",
            routing_key: ShortString::truncated(name),
            arguments: FieldTable::default(),
            properties_key: properties_key(name, None),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct ConsumerSnapshot {
    pub vhost: Arc<str>,
    pub connection: ConnectionId,
    pub channel_number: u16,
    pub queue: ShortString,
    pub consumer_tag: ShortString,
    /// Deliveries wait for an acknowledgement.
    pub ack_required: bool,
    /// It asked to be the queue's only consumer.
    pub exclusive: bool,
    /// Messages may go to it; in a queue with a single active consumer to one alone.
    pub active: bool,
    /// It is, or waits to be, the single active consumer.
    pub of_single_active: bool,
    /// Most deliveries that it may have unacknowledged; 0 for no limit.
    pub prefetch_count: u16,
    pub arguments: FieldTable,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ChannelSnapshot {
    pub vhost: Arc<str>,
    pub connection: ConnectionId,
    /// Its number on its connection, from 1.
    pub number: u16,
    /// Running consumers, that of direct reply-to included.
    pub consumer_count: usize,
    /// Deliveries and gets that are not settled.
    pub messages_unacknowledged: usize,
    /// Most unacknowledged deliveries of each consumer that starts now; 0 for no limit.
    pub prefetch_count: u16,
    /// Most unacknowledged deliveries of all its consumers together; 0 for no limit.
    pub global_prefetch_count: u16,
    /// Publishes are confirmed.
    pub confirm: bool,
    /// Publishes and acknowledgements wait for a commit.
    pub transactional: bool,
    /// Publishes that no confirm was sent for yet.
    pub messages_unconfirmed: u64,
    /// Publishes of the open transaction.
    pub messages_uncommitted: usize,
    /// Settled deliveries of the open transaction.
    pub acks_uncommitted: usize,
}

/// How many of everything.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct TotalsSnapshot {
    /// What happened since the start.
    pub totals: Totals,
    /// Messages that wait in queues now.
    pub messages_ready: usize,
    /// Messages given to clients and not settled now.
    pub messages_unacknowledged: usize,
    /// Queues, exchanges (predeclared ones included), open channels and running consumers now.
    pub queues: usize,
    pub exchanges: usize,
    pub channels: usize,
    pub consumers: usize,
    /// What was counted of queues that are gone, by their kind.
    pub gone: [QueueCounters; QueueKind::ALL.len()],
    /// Direct replies, which pass through no queue.
    pub replies: u64,
    pub dead_letters: DeadLetterCounters,
}

impl<S: Store> Broker<S> {
    pub fn snapshot_totals(&self) -> TotalsSnapshot {
        TotalsSnapshot {
            totals: self.books.totals,
            messages_ready: self.books.ready(),
            messages_unacknowledged: self.books.unacknowledged(),
            // The slab also holds deleted queues and cancelled consumers until their last message is settled.
            queues: self.vhosts.iter().map(|vhost| vhost.router().queue_count()).sum(),
            exchanges: self.vhosts.iter().map(|vhost| vhost.router().exchange_count()).sum(),
            channels: self.channels.len(),
            consumers: self.vhosts.iter().map(|vhost| vhost.consumers).sum(),
            gone: self.books.gone(),
            replies: self.books.replies(),
            dead_letters: *self.books.dead_letters(),
        }
    }

    pub fn snapshot_queues(&self, from: PageStart) -> Page<QueueSnapshot> {
        let listed = |slot| self.queues.get(slot).filter(|queue| self.is_listed(queue));
        Page::of_some_slots(from, self.queues.capacity(), QUEUE_PAGE_SLOTS, |slots| {
            slots.filter_map(listed).map(|queue| self.copy_queue(queue, BODY_BYTES_STEPS.0)).collect()
        })
    }

    pub fn snapshot_queue_figures(&self, from: PageStart) -> Page<QueueFigures> {
        Page::of_slab(&self.queues, from, |queue| self.is_listed(queue).then(|| figures_of(queue)))
    }

    pub fn snapshot_queue(&self, vhost: VhostId, name: &[u8]) -> Option<QueueSnapshot> {
        self.queue_in(vhost, name).map(|id| self.copy_queue(self.queue(id), BODY_BYTES_STEPS.1))
    }

    pub fn snapshot_exchanges(&self, from: PageStart) -> Page<ExchangeSnapshot> {
        let end = |vhost: &Vhost| vhost.router().exchange_slots();
        Page::of_vhosts(&self.vhosts, from, end, |id, slots| {
            self.vhosts[id].router().exchanges_in(slots).map(|exchange| self.copy_exchange(id, exchange)).collect()
        })
    }

    pub fn snapshot_exchange(&self, vhost: VhostId, name: &[u8]) -> Option<ExchangeSnapshot> {
        let id = self.exchange_in(vhost, name)?;
        Some(self.copy_exchange(vhost, self.router(vhost).exchange(id)))
    }

    pub fn snapshot_policies(&self, kind: PolicyKind, from: PageStart) -> Page<PolicySnapshot> {
        let end = |vhost: &Vhost| vhost.policies.of(kind).len();
        Page::of_vhosts(&self.vhosts, from, end, |id, slots| {
            let vhost = &self.vhosts[id];
            vhost.policies.of(kind)[slots].iter().map(|policy| copy_policy(vhost, policy)).collect()
        })
    }

    pub fn snapshot_policy(&self, vhost: VhostId, kind: PolicyKind, name: &[u8]) -> Option<PolicySnapshot> {
        let vhost = &self.vhosts[vhost];
        vhost.policies.named(kind, name).map(|policy| copy_policy(vhost, policy))
    }

    /// All bindings, in each vhost those of the default exchange first.
    pub fn snapshot_bindings(&self, from: PageStart) -> Page<BindingSnapshot> {
        let end = |vhost: &Vhost| vhost.router().binding_slots();
        Page::of_vhosts(&self.vhosts, from, end, |id, slots| {
            let vhost = &self.vhosts[id];
            vhost.router().bindings_in(slots).map(|binding| copy_binding(vhost, binding)).collect()
        })
    }

    /// The bindings that lead to a queue, the default exchange's first. As with RabbitMQ, that one is there whether or
    /// not the queue is.
    pub fn snapshot_bindings_to_queue(&self, vhost: VhostId, name: &[u8]) -> Vec<BindingSnapshot> {
        let queue = self.queue_in(vhost, name);
        let vhost = &self.vhosts[vhost];
        let bound = queue.into_iter().flat_map(|id| vhost.router().bindings_to(Destination::Queue(id)));
        let bound = bound.map(|binding| copy_binding(vhost, binding));
        std::iter::once(BindingSnapshot::of_default_exchange(vhost, name)).chain(bound).collect()
    }

    /// The bindings that lead to an exchange: none to one that there is not.
    pub fn snapshot_bindings_to_exchange(&self, vhost: VhostId, name: &[u8]) -> Vec<BindingSnapshot> {
        let exchange = self.exchange_in(vhost, name);
        let vhost = &self.vhosts[vhost];
        let bound = exchange.into_iter().flat_map(|id| vhost.router().bindings_to(Destination::Exchange(id)));
        bound.map(|binding| copy_binding(vhost, binding)).collect()
    }

    pub fn snapshot_consumers(&self, from: PageStart) -> Page<ConsumerSnapshot> {
        Page::of_slab(&self.consumers, from, |consumer| {
            (consumer.state != ConsumerState::Cancelled).then(|| self.copy_consumer(consumer))
        })
    }

    /// The consumers of a queue: none of one that there is not.
    pub fn snapshot_consumers_of(&self, vhost: VhostId, queue: &[u8], from: PageStart) -> Page<ConsumerSnapshot> {
        let gate = self.queue_in(vhost, queue).map(|id| &self.queue(id).gate);
        Page::of_slots(from, gate.map_or(0, Gate::place_count), |places| {
            let ids = gate.into_iter().flat_map(|gate| gate.consumers_in(places.clone()));
            ids.map(|id| self.copy_consumer(&self.consumers[id.0 as usize])).collect()
        })
    }

    pub fn snapshot_channels(&self, from: PageStart) -> Page<ChannelSnapshot> {
        Page::of_slab(&self.channels, from, |channel| Some(self.copy_channel(channel)))
    }

    /// Whether a queue can be named: it is not deleted, nor is its vhost.
    fn is_listed(&self, queue: &Queue) -> bool {
        !queue.deleted && self.vhosts[queue.properties.vhost].is_there()
    }

    fn copy_queue(&self, queue: &Queue, body_bytes_steps: usize) -> QueueSnapshot {
        let properties = &queue.properties;
        let ready_in_memory = queue.backlog.messages_in_memory();
        let tag_of = |consumer: Option<ConsumerId>| consumer.map(|id| self.consumers[id.0 as usize].tag.clone());
        QueueSnapshot {
            vhost: Arc::clone(&self.vhosts[properties.vhost].name),
            name: properties.name.clone(),
            kind: queue.behaviour.kind,
            durable: properties.durable,
            auto_delete: properties.auto_delete,
            exclusive_owner: properties.exclusive_owner,
            arguments: properties.arguments.clone(),
            policies: queue.policies.clone(),
            figures: figures_of(queue),
            head_message_timestamp: queue.backlog.head_entry().and_then(|head| {
                PropertiesRef::parse(head.properties()).ok().and_then(|properties| properties.timestamp)
            }),
            consumers: queue.gate.consumer_count(),
            exclusive_consumer_tag: tag_of(queue.gate.exclusive()),
            single_active_consumer_tag: tag_of(queue.gate.single_active()),
            messages_delayed: queue.retry_count(),
            delivery_limit: queue.behaviour.delivery_limit.most(),
            ready_in_memory,
            memory_bytes: memory_bytes_of(queue, ready_in_memory),
            ready_body_bytes: queue.backlog.body_bytes_within(body_bytes_steps),
        }
    }

    fn copy_exchange(&self, id: VhostId, exchange: &Exchange) -> ExchangeSnapshot {
        let vhost = &self.vhosts[id];
        ExchangeSnapshot {
            vhost: Arc::clone(&vhost.name),
            name: exchange.name.clone(),
            kind: exchange.kind,
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            arguments: exchange.arguments.clone(),
            policies: exchange.policies.clone(),
            messages_delayed: self.messages_delayed(id, &exchange.name),
            figures: self.figures_of_exchange(id, exchange),
        }
    }

    fn copy_channel(&self, channel: &Channel) -> ChannelSnapshot {
        let connection = self.connections[channel.connection.0 as usize].as_ref();
        let vhost = connection.expect("a channel's connection is open").vhost;
        let ChannelSums { consumers, unacknowledged, unconfirmed, messages_uncommitted, acks_uncommitted, .. } =
            ChannelSums::of(channel);
        ChannelSnapshot {
            vhost: Arc::clone(&self.vhosts[vhost].name),
            connection: channel.connection,
            number: channel.number,
            consumer_count: consumers,
            messages_unacknowledged: unacknowledged,
            prefetch_count: channel.consumer_prefetch_count,
            global_prefetch_count: channel.channel_prefetch_count,
            confirm: matches!(channel.mode, ChannelMode::Confirm(_)),
            transactional: matches!(channel.mode, ChannelMode::Transaction(_)),
            messages_unconfirmed: unconfirmed,
            messages_uncommitted,
            acks_uncommitted,
        }
    }

    fn copy_consumer(&self, consumer: &Consumer) -> ConsumerSnapshot {
        let queue = &self.queue(consumer.queue).properties;
        ConsumerSnapshot {
            vhost: Arc::clone(&self.vhosts[queue.vhost].name),
            connection: consumer.connection,
            channel_number: consumer.channel_number,
            queue: queue.name.clone(),
            consumer_tag: consumer.tag.clone(),
            ack_required: !consumer.no_ack,
            exclusive: consumer.exclusive,
            active: consumer.state != ConsumerState::Waiting,
            of_single_active: self.queue(consumer.queue).gate.has_single_active(),
            prefetch_count: consumer.prefetch_count,
            arguments: consumer.arguments.clone(),
        }
    }
}

fn figures_of(queue: &Queue) -> QueueFigures {
    QueueFigures {
        serial: queue.serial,
        vhost: queue.properties.vhost,
        messages_ready: queue.backlog.len(),
        messages_unacknowledged: queue.ledger.unacknowledged(),
        counters: *queue.ledger.counters(),
    }
}

fn copy_policy(vhost: &Vhost, policy: &Arc<Policy>) -> PolicySnapshot {
    PolicySnapshot { vhost: Arc::clone(&vhost.name), policy: Arc::clone(policy) }
}

pub(super) fn copy_binding(vhost: &Vhost, binding: BindingInfo<'_>) -> BindingSnapshot {
    BindingSnapshot {
        vhost: Arc::clone(&vhost.name),
        source: ShortString::truncated(binding.source),
        destination: ShortString::truncated(binding.destination_name),
        destination_type: binding.destination_type(),
        routing_key: ShortString::truncated(binding.routing_key),
        arguments: binding.arguments.cloned().unwrap_or_default(),
        properties_key: binding.properties_key(),
    }
}
