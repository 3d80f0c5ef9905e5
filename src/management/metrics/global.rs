//! Counts of messages since the start: RabbitMQ's global counters.

use super::gather::Node;
use super::text::{Kind, Text, labels};
use crate::broker::snapshot::QueueKind;
use crate::broker::{DeadLetterCounters, QueueCounters};

/// The protocol that all of it came by; HTTP's publishes and gets are counted with it.
const PROTOCOL: (&str, &str) = ("protocol", "amqp091");
/// What RabbitMQ calls the queue behind `amq.rabbitmq.reply-to`.
const REPLIES: &str = "rabbit_volatile_queue";

/// A count of what happened to messages of queues.
type Counter = (&'static str, &'static str, fn(&QueueCounters) -> u64);

const DELIVERED: Counter =
    ("global_messages_delivered_total", "Total number of messages delivered to consumers", |counters| {
        let &QueueCounters { delivered_auto_ack, delivered_manual_ack, got_auto_ack, got_manual_ack, .. } = counters;
        delivered_auto_ack + delivered_manual_ack + got_auto_ack + got_manual_ack
    });
const CONSUMED_AUTO_ACK: Counter = (
    "global_messages_delivered_consume_auto_ack_total",
    "Total number of messages delivered to consumers using basic.consume with automatic acknowledgment",
    |counters| counters.delivered_auto_ack,
);
const OF_QUEUES: [Counter; 8] = [
    DELIVERED,
    (
        "global_messages_delivered_consume_manual_ack_total",
        "Total number of messages delivered to consumers using basic.consume with manual acknowledgment",
        |counters| counters.delivered_manual_ack,
    ),
    CONSUMED_AUTO_ACK,
    (
        "global_messages_delivered_get_manual_ack_total",
        "Total number of messages delivered to consumers using basic.get with manual acknowledgment",
        |counters| counters.got_manual_ack,
    ),
    (
        "global_messages_delivered_get_auto_ack_total",
        "Total number of messages delivered to consumers using basic.get with automatic acknowledgment",
        |counters| counters.got_auto_ack,
    ),
    ("global_messages_get_empty_total", "Total number of times basic.get operations fetched no message", |counters| {
        counters.get_empty
    }),
    ("global_messages_redelivered_total", "Total number of messages redelivered to consumers", |counters| {
        counters.redelivered
    }),
    ("global_messages_acknowledged_total", "Total number of messages acknowledged by consumers", |counters| {
        counters.acknowledged
    }),
];

const DEAD_LETTERED: [&str; DeadLetterCounters::REASONS.len()] = [
    "Total number of messages dead-lettered due to basic.reject or basic.nack",
    "Total number of messages dead-lettered due to message TTL exceeded",
    "Total number of messages dead-lettered due to overflow drop-head or reject-publish-dlx",
    "Total number of messages dead-lettered due to delivery-limit exceeded",
];

pub fn messages(text: &mut Text, node: &Node) {
    of_publishers(text, node);
    of_queues(text, node);
    dead_letters(text, &node.overview.totals.dead_letters);
    expired(text, node);
}

fn of_publishers(text: &mut Text, node: &Node) {
    let totals = node.overview.events();
    let protocol = labels(&[PROTOCOL]);
    let mut told = |name, kind, help, value: u64| {
        text.family(name, kind, help);
        text.value(name, &protocol, value);
    };
    let mut counter = |name, help, value| told(name, Kind::Counter, help, value);
    counter("global_messages_received_total", "Total number of messages received from publishers", totals.received);
    counter(
        "global_messages_received_confirm_total",
        "Total number of messages received from publishers expecting confirmations",
        node.counted.received_confirm,
    );
    counter(
        "global_messages_routed_total",
        "Total number of messages routed to queues or streams",
        node.counted.routed(),
    );
    counter(
        "global_messages_unroutable_dropped_total",
        "Total number of messages published as non-mandatory into an exchange and dropped as unroutable",
        totals.unroutable_dropped,
    );
    counter(
        "global_messages_unroutable_returned_total",
        "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable",
        totals.unroutable_returned,
    );
    counter("global_messages_confirmed_total", "Total number of messages confirmed to publishers", totals.confirmed);
    told("global_publishers", Kind::Gauge, "Current number of publishers", node.connections.publishers as u64);
    told("global_consumers", Kind::Gauge, "Current number of consumers", node.overview.totals.consumers as u64);
}

fn of_queues(text: &mut Text, node: &Node) {
    let replies = node.overview.totals.replies;
    for (name, help, value) in OF_QUEUES {
        text.family(name, Kind::Counter, help);
        for kind in QueueKind::ALL {
            let labels = labels(&[PROTOCOL, ("queue_type", kind.module())]);
            text.value(name, &labels, value(&node.counted.kinds[kind as usize]));
        }
        if [DELIVERED.0, CONSUMED_AUTO_ACK.0].contains(&name) {
            text.value(name, &labels(&[PROTOCOL, ("queue_type", REPLIES)]), replies);
        }
    }
}

fn dead_letters(text: &mut Text, counters: &DeadLetterCounters) {
    for (reason, help) in DEAD_LETTERED.into_iter().enumerate() {
        let name = format!("global_messages_dead_lettered_{}_total", DeadLetterCounters::REASONS[reason]);
        text.family(&name, Kind::Counter, help);
        for kind in QueueKind::ALL {
            for (strategy, by_reason) in DeadLetterCounters::STRATEGIES.into_iter().zip(counters.of_kind(kind)) {
                if can_be(kind, strategy, DeadLetterCounters::REASONS[reason]) {
                    let pairs = [("queue_type", kind.module()), ("dead_letter_strategy", strategy)];
                    text.value(&name, &labels(&pairs), by_reason[reason]);
                }
            }
        }
    }
    let name = "global_messages_dead_lettered_confirmed_total";
    let help = "Total number of messages dead-lettered and confirmed by target queues";
    text.family(name, Kind::Counter, help);
    let pairs = [("queue_type", QueueKind::Quorum.module()), ("dead_letter_strategy", "at_least_once")];
    text.value(name, &labels(&pairs), counters.confirmed());
}

/// Only queues of type quorum make sure of their letters and count what comes back; those that make sure drop no messages.
fn can_be(kind: QueueKind, strategy: &str, reason: &str) -> bool {
    let is_sure = strategy == "at_least_once";
    match kind {
        QueueKind::Classic => !is_sure && reason != "delivery_limit",
        QueueKind::Quorum => !(is_sure && reason == "maxlen"),
    }
}

/// RabbitMQ counts these only as dead letters.
fn expired(text: &mut Text, node: &Node) {
    text.prefixed(super::LEVERET_PREFIX);
    text.family(
        "messages_expired_total",
        Kind::Counter,
        "Total number of messages dropped because their time to live was over",
    );
    for kind in QueueKind::ALL {
        let labels = labels(&[("queue_type", kind.module())]);
        text.value("messages_expired_total", &labels, node.counted.kinds[kind as usize].expired);
    }
    text.prefixed(super::PREFIX);
}
