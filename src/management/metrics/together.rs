//! What queues, channels and connections come to together.
//!
//! RabbitMQ adds up what is there, so that its counters fall when something goes; here they count since the start.

use super::gather::Node;
use super::text::{Kind, Text};
use crate::broker::QueueCounters;

/// What happened to messages, as channels, exchanges and queues count it.
type Counter = (&'static str, &'static str, fn(&Node) -> u64);

const COUNTERS: [Counter; 23] = [
    ("channel_messages_published_total", "Total number of messages published into an exchange on a channel", |node| {
        node.overview.events().received
    }),
    (
        "channel_messages_confirmed_total",
        "Total number of messages published into an exchange and confirmed on the channel",
        |node| node.overview.events().confirmed,
    ),
    (
        "channel_messages_unroutable_returned_total",
        "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable",
        |node| node.overview.events().unroutable_returned,
    ),
    (
        "channel_messages_unroutable_dropped_total",
        "Total number of messages published as non-mandatory into an exchange and dropped as unroutable",
        |node| node.overview.events().unroutable_dropped,
    ),
    (
        "channel_get_ack_total",
        "Total number of messages fetched with basic.get in manual acknowledgement mode",
        |node| node.overview.events().got_manual_ack,
    ),
    (
        "channel_get_total",
        "Total number of messages fetched with basic.get in automatic acknowledgement mode",
        |node| node.overview.events().got_auto_ack,
    ),
    (
        "channel_messages_delivered_ack_total",
        "Total number of messages delivered to consumers in manual acknowledgement mode",
        |node| node.overview.events().delivered_manual_ack,
    ),
    (
        "channel_messages_delivered_total",
        "Total number of messages delivered to consumers in automatic acknowledgement mode",
        |node| node.overview.events().delivered_auto_ack,
    ),
    ("channel_messages_redelivered_total", "Total number of messages redelivered to consumers", |node| {
        node.overview.events().redelivered
    }),
    ("channel_messages_acked_total", "Total number of messages acknowledged by consumers", |node| {
        node.overview.events().acknowledged
    }),
    ("channel_get_empty_total", "Total number of times basic.get operations fetched no message", |node| {
        node.overview.events().get_empty
    }),
    ("exchange_messages_published_total", "Total number of messages published into an exchange", |node| {
        node.overview.events().received
    }),
    (
        "exchange_messages_confirmed_total",
        "Total number of messages published into an exchange and confirmed",
        |node| node.overview.events().confirmed,
    ),
    (
        "exchange_messages_unroutable_returned_total",
        "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable",
        |node| node.overview.events().unroutable_returned,
    ),
    (
        "exchange_messages_unroutable_dropped_total",
        "Total number of messages published as non-mandatory into an exchange and dropped as unroutable",
        |node| node.overview.events().unroutable_dropped,
    ),
    (
        "queue_get_ack_total",
        "Total number of messages fetched from a queue with basic.get in manual acknowledgement mode",
        |node| of_kinds(node, |counters| counters.got_manual_ack),
    ),
    (
        "queue_get_total",
        "Total number of messages fetched from a queue with basic.get in automatic acknowledgement mode",
        |node| of_kinds(node, |counters| counters.got_auto_ack),
    ),
    (
        "queue_messages_delivered_ack_total",
        "Total number of messages delivered from a queue to consumers in manual acknowledgement mode",
        |node| of_kinds(node, |counters| counters.delivered_manual_ack),
    ),
    (
        "queue_messages_delivered_total",
        "Total number of messages delivered from a queue to consumers in automatic acknowledgement mode",
        |node| of_kinds(node, |counters| counters.delivered_auto_ack),
    ),
    ("queue_messages_redelivered_total", "Total number of messages redelivered from a queue to consumers", |node| {
        of_kinds(node, |counters| counters.redelivered)
    }),
    ("queue_messages_acked_total", "Total number of messages acknowledged by consumers on a queue", |node| {
        of_kinds(node, |counters| counters.acknowledged)
    }),
    ("queue_get_empty_total", "Total number of times basic.get operations fetched no message on a queue", |node| {
        of_kinds(node, |counters| counters.get_empty)
    }),
    (
        "queue_messages_published_total",
        "Total number of messages published into a queue through an exchange on a channel",
        |node| node.counted.routed(),
    ),
];

fn of_kinds(node: &Node, counter: fn(&QueueCounters) -> u64) -> u64 {
    node.counted.kinds.iter().map(counter).sum()
}

pub fn all(text: &mut Text, node: &Node) {
    queues(text, node);
    channels(text, node);
    connections(text, node);
    for (name, help, value) in COUNTERS {
        text.alone(name, Kind::Counter, help, value(node));
    }
}

fn queues(text: &mut Text, node: &Node) {
    let (totals, sums) = (&node.overview.totals, &node.queues);
    let (ready, unacknowledged) = (totals.messages_ready, totals.messages_unacknowledged);
    // The sum was made a moment later.
    let ready_in_memory = sums.ready_in_memory.min(ready);
    let mut gauge = |name, help, value: usize| text.alone(name, Kind::Gauge, help, value);
    gauge("queue_messages_ready", "Messages ready to be delivered to consumers", ready);
    gauge("queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged", unacknowledged);
    gauge("queue_messages", "Sum of ready and unacknowledged messages - total queue depth", ready + unacknowledged);
    gauge("queue_consumers", "Consumers on a queue", totals.consumers);
    gauge(
        "queue_process_memory_bytes",
        "Memory in bytes used by the queue itself, without its messages",
        sums.memory_bytes,
    );
    gauge("queue_messages_ram", "Ready and unacknowledged messages stored in memory", ready_in_memory + unacknowledged);
    gauge("queue_messages_ready_ram", "Ready messages stored in memory", ready_in_memory);
    gauge("queue_messages_unacked_ram", "Unacknowledged messages stored in memory", unacknowledged);
    gauge("queue_messages_paged_out", "Messages paged out to disk", ready - ready_in_memory);
}

fn channels(text: &mut Text, node: &Node) {
    let sums = &node.channels;
    let mut gauge = |name, help, value: u64| text.alone(name, Kind::Gauge, help, value);
    gauge("channel_consumers", "Consumers on a channel", sums.consumers as u64);
    gauge("channel_messages_unacked", "Delivered but not yet acknowledged messages", sums.unacknowledged as u64);
    gauge("channel_messages_unconfirmed", "Published but not yet confirmed messages", sums.unconfirmed);
    gauge(
        "channel_messages_uncommitted",
        "Messages received in a transaction but not yet committed",
        sums.messages_uncommitted as u64,
    );
    gauge(
        "channel_acks_uncommitted",
        "Message acknowledgements in a transaction not yet committed",
        sums.acks_uncommitted as u64,
    );
    gauge("consumer_prefetch", "Limit of unacknowledged messages for each consumer", sums.consumer_prefetch);
    gauge(
        "channel_prefetch",
        "Total limit of unacknowledged messages for all consumers on a channel",
        sums.channel_prefetch,
    );
}

fn connections(text: &mut Text, node: &Node) {
    let (sums, counted) = (&node.connections, &node.counted);
    text.alone(
        "connection_incoming_bytes_total",
        Kind::Counter,
        "Total number of bytes received on a connection",
        counted.received_bytes,
    );
    text.alone(
        "connection_outgoing_bytes_total",
        Kind::Counter,
        "Total number of bytes sent on a connection",
        counted.sent_bytes,
    );
    text.alone("connection_channels", Kind::Gauge, "Channels on a connection", sums.channels);
}
