//! Listings for management: plain owned copies that may leave the thread.
//!
//! Long lists come in pages of a bounded number of slots, so that the loop does other things in between. Such a list is
//! no moment in time: what is declared or deleted between two pages may be in it or not, but nothing is in it twice.
//! This module changes nothing.

use super::channel::ChannelMode;
use super::exchange::{BindingInfo, Destination, Exchange, ExchangeKind, properties_key};
use super::queue::{Queue, QueueCounters, Waiting};
use super::store::Store;
use super::{Broker, Channel, ConnectionId, Totals};
use crate::broker::consumer::{Consumer, ConsumerState};
use crate::protocol::{FieldTable, PropertiesRef, ShortString};
use slab::Slab;
use std::ops::Range;

/// Slots that one page looks at: well under a millisecond's work.
pub const PAGE_SLOTS: usize = 1024;

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<usize>,
}

impl<T> Page<T> {
    fn slots(from: usize, end: usize) -> Range<usize> {
        from.min(end)..from.saturating_add(PAGE_SLOTS).min(end)
    }

    fn new(slots: Range<usize>, end: usize, items: impl FnOnce(Range<usize>) -> Vec<T>) -> Self {
        let next = (slots.end < end).then_some(slots.end);
        Self { items: items(slots), next }
    }

    fn of_slab<E>(slab: &Slab<E>, from: usize, copy: impl Fn(&E) -> Option<T>) -> Self {
        let end = slab.capacity();
        Self::new(Self::slots(from, end), end, |slots| slots.filter_map(|slot| copy(slab.get(slot)?)).collect())
    }

    /// The same page of what `change` makes of its items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct QueueSnapshot {
    pub name: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    /// The connection that alone may use it, and with which it goes.
    pub exclusive_owner: Option<ConnectionId>,
    pub arguments: FieldTable,
    /// Messages that wait, in memory or on disk.
    pub messages_ready: usize,
    /// Messages given to clients and not settled.
    pub messages_unacknowledged: usize,
    /// The property `timestamp` of the first message that waits, while that is in memory.
    pub head_message_timestamp: Option<u64>,
    /// How many consume from it.
    pub consumers: usize,
    pub counters: QueueCounters,
    /// What the queue itself holds, in bytes, without the messages: those may be shared with other queues.
    pub memory_bytes: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ExchangeSnapshot {
    pub name: ShortString,
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

#[derive(Clone, PartialEq, Debug)]
pub struct BindingSnapshot {
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
    fn of_default_exchange(name: &[u8]) -> Self {
        Self {
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
    pub connection: ConnectionId,
    pub channel_number: u16,
    pub queue: ShortString,
    pub consumer_tag: ShortString,
    /// Deliveries wait for an acknowledgement.
    pub ack_required: bool,
    /// It asked to be the queue's only consumer.
    pub exclusive: bool,
    /// Most deliveries that it may have unacknowledged; 0 for no limit.
    pub prefetch_count: u16,
    pub arguments: FieldTable,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ChannelSnapshot {
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
#[derive(Clone, Copy, PartialEq, Debug)]
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
}

impl<S: Store> Broker<S> {
    pub fn snapshot_totals(&self) -> TotalsSnapshot {
        TotalsSnapshot {
            totals: self.totals,
            messages_ready: self.ready,
            messages_unacknowledged: self.unacknowledged,
            // The slab also holds deleted queues and cancelled consumers until their last message is settled.
            queues: self.router.queue_count(),
            exchanges: self.router.exchange_count(),
            channels: self.channels.len(),
            consumers: self.channels.iter().map(|(_, channel)| channel.consumers.len()).sum(),
        }
    }

    pub fn snapshot_queues(&self, from: usize) -> Page<QueueSnapshot> {
        Page::of_slab(&self.queues, from, |queue| (!queue.deleted).then(|| copy_queue(queue)))
    }

    pub fn snapshot_queue(&self, name: &[u8]) -> Option<QueueSnapshot> {
        self.router.queue_named(name).map(|id| copy_queue(self.queue(id)))
    }

    pub fn snapshot_exchanges(&self, from: usize) -> Page<ExchangeSnapshot> {
        let end = self.router.exchange_slots();
        Page::new(Page::<()>::slots(from, end), end, |slots| {
            self.router.exchanges_in(slots).map(copy_exchange).collect()
        })
    }

    pub fn snapshot_exchange(&self, name: &[u8]) -> Option<ExchangeSnapshot> {
        self.router.exchange(name).map(|id| copy_exchange(self.router.exchange_info(id)))
    }

    /// All bindings, those of the default exchange first.
    pub fn snapshot_bindings(&self, from: usize) -> Page<BindingSnapshot> {
        let end = self.router.binding_slots();
        Page::new(Page::<()>::slots(from, end), end, |slots| self.router.bindings_in(slots).map(copy_binding).collect())
    }

    /// The bindings that lead to a queue, the default exchange's first. As with RabbitMQ, that one is there whether or
    /// not the queue is.
    pub fn snapshot_bindings_to_queue(&self, name: &[u8]) -> Vec<BindingSnapshot> {
        let queue = self.router.queue_named(name);
        let bound = queue.into_iter().flat_map(|id| self.router.bindings_to(Destination::Queue(id))).map(copy_binding);
        std::iter::once(BindingSnapshot::of_default_exchange(name)).chain(bound).collect()
    }

    /// The bindings that lead to an exchange: none to one that there is not.
    pub fn snapshot_bindings_to_exchange(&self, name: &[u8]) -> Vec<BindingSnapshot> {
        let exchange = self.router.exchange(name);
        let bound = exchange.into_iter().flat_map(|id| self.router.bindings_to(Destination::Exchange(id)));
        bound.map(copy_binding).collect()
    }

    pub fn snapshot_consumers(&self, from: usize) -> Page<ConsumerSnapshot> {
        Page::of_slab(&self.consumers, from, |consumer| {
            (consumer.state != ConsumerState::Cancelled).then(|| self.copy_consumer(consumer))
        })
    }

    /// The consumers of a queue: none of one that there is not.
    pub fn snapshot_consumers_of(&self, queue: &[u8], from: usize) -> Page<ConsumerSnapshot> {
        let ids = self.router.queue_named(queue).map_or(&[][..], |id| &self.queue(id).consumers);
        Page::new(Page::<()>::slots(from, ids.len()), ids.len(), |places| {
            ids[places].iter().map(|id| self.copy_consumer(&self.consumers[id.0 as usize])).collect()
        })
    }

    pub fn snapshot_channels(&self, from: usize) -> Page<ChannelSnapshot> {
        Page::of_slab(&self.channels, from, |channel| Some(copy_channel(channel)))
    }

    fn copy_consumer(&self, consumer: &Consumer) -> ConsumerSnapshot {
        ConsumerSnapshot {
            connection: consumer.connection,
            channel_number: consumer.channel_number,
            queue: self.queue(consumer.queue).properties.name.clone(),
            consumer_tag: consumer.tag.clone(),
            ack_required: !consumer.no_ack,
            exclusive: consumer.exclusive,
            prefetch_count: consumer.prefetch_count,
            arguments: consumer.arguments.clone(),
        }
    }
}

fn copy_queue(queue: &Queue) -> QueueSnapshot {
    let properties = &queue.properties;
    QueueSnapshot {
        name: properties.name.clone(),
        durable: properties.durable,
        auto_delete: properties.auto_delete,
        exclusive_owner: properties.exclusive_owner,
        arguments: properties.arguments.clone(),
        messages_ready: queue.backlog.len(),
        messages_unacknowledged: queue.unacknowledged,
        head_message_timestamp: queue
            .backlog
            .head_entry()
            .and_then(|head| PropertiesRef::parse(head.properties()).ok().and_then(|properties| properties.timestamp)),
        consumers: queue.consumers.len(),
        counters: queue.counters,
        memory_bytes: size_of::<Queue>() + queue.backlog.messages_in_memory() * size_of::<Waiting>(),
    }
}

fn copy_exchange(exchange: &Exchange) -> ExchangeSnapshot {
    ExchangeSnapshot {
        name: exchange.name.clone(),
        kind: exchange.kind,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.clone(),
    }
}

fn copy_binding(binding: BindingInfo<'_>) -> BindingSnapshot {
    BindingSnapshot {
        source: ShortString::truncated(binding.source),
        destination: ShortString::truncated(binding.destination_name),
        destination_type: binding.destination_type(),
        routing_key: ShortString::truncated(binding.routing_key),
        arguments: binding.arguments.cloned().unwrap_or_default(),
        properties_key: binding.properties_key(),
    }
}

fn copy_channel(channel: &Channel) -> ChannelSnapshot {
    let (mut messages_unconfirmed, mut messages_uncommitted, mut acks_uncommitted) = (0, 0, 0);
    match &channel.mode {
        ChannelMode::Plain => {}
        ChannelMode::Confirm(confirms) => messages_unconfirmed = confirms.unconfirmed(),
        ChannelMode::Transaction(transaction) => {
            messages_uncommitted = transaction.publishes.len();
            acks_uncommitted = transaction.settlements.len();
        }
    }
    ChannelSnapshot {
        connection: channel.connection,
        number: channel.number,
        consumer_count: channel.consumers.len() + usize::from(channel.reply_consumer.is_some()),
        messages_unacknowledged: channel.unacknowledged.len(),
        prefetch_count: channel.consumer_prefetch_count,
        global_prefetch_count: channel.channel_prefetch_count,
        confirm: matches!(channel.mode, ChannelMode::Confirm(_)),
        transactional: matches!(channel.mode, ChannelMode::Transaction(_)),
        messages_unconfirmed,
        messages_uncommitted,
        acks_uncommitted,
    }
}
