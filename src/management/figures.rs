//! Figures that have rates: what they are called, in RabbitMQ's JSON and in the order in which they are sampled.

use super::question::{ConnectionFigures, LogWrites, Overview};
use crate::broker::snapshot::QueueFigures;
use crate::broker::{Durations, ExchangeCounters, QueueCounters, Totals};
use crate::meter::histogram::BOUNDS_US;
use serde_json::{Value, json};

pub const OVERVIEW_FIGURES: usize = 22;
/// Where those of an overview begin that say what came and went.
pub const CHURN: usize = 15;
pub const QUEUE_FIGURES: usize = 11;
pub const CONNECTION_FIGURES: usize = 2;
pub const EXCHANGE_FIGURES: usize = 2;
pub const NODE_FIGURES: usize = 7;
/// Buckets of one histogram, and of all of them.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;
pub const DURATION_FIGURES: usize = DURATION_NAMES.len() * BUCKETS;

/// Puts figures into a shape, each with its rate beside it where that is known.
pub fn put(shape: &mut Value, figures: &[(&'static str, u64)], rates: Option<&[f64]>) {
    put_with_samples(shape, figures, rates, &[]);
}

/// Figures of one moment: when that was, in milliseconds since 1970, and those that are [put](put_with_samples).
pub type Moment<'a> = (u64, &'a [u64]);

/// The same with what the figures were at moments of the last while, the last one first.
pub fn put_with_samples(
    shape: &mut Value,
    figures: &[(&'static str, u64)],
    rates: Option<&[f64]>,
    moments: &[Moment<'_>],
) {
    for (index, (name, value)) in figures.iter().enumerate() {
        shape[*name] = json!(value);
        if rates.is_none() && moments.is_empty() {
            continue;
        }
        let details = &mut shape[format!("{name}_details")];
        *details = json!({});
        if let Some(rates) = rates {
            details["rate"] = json!(rates[index]);
        }
        if let (Some((newest_ms, newest)), Some((oldest_ms, oldest))) = (moments.first(), moments.last()) {
            let sample = |(at_ms, figures): &Moment<'_>| json!({"sample": figures[index], "timestamp": at_ms});
            details["samples"] = moments.iter().map(sample).collect();
            let sum: u128 = moments.iter().map(|(_, figures)| u128::from(figures[index])).sum();
            details["avg"] = json!(sum as f64 / moments.len() as f64);
            // Lengths fall, too.
            let rise = newest[index].wrapping_sub(oldest[index]) as i64;
            let duration_ms = newest_ms - oldest_ms;
            details["avg_rate"] = json!(if duration_ms > 0 { rise as f64 * 1000.0 / duration_ms as f64 } else { 0.0 });
        }
    }
}

/// How many of a queue's figures, or of an overview's, are lengths; what follows are counters.
pub const LENGTHS: usize = 3;

fn lengths(ready: usize, unacknowledged: usize) -> [(&'static str, u64); LENGTHS] {
    [
        ("messages", (ready + unacknowledged) as u64),
        ("messages_ready", ready as u64),
        ("messages_unacknowledged", unacknowledged as u64),
    ]
}

const QUEUE_FIGURE_NAMES: [&str; QUEUE_FIGURES] = [
    "messages",
    "messages_ready",
    "messages_unacknowledged",
    "publish",
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "deliver_get",
    "redeliver",
    "ack",
];

pub fn queue_figures(figures: &QueueFigures) -> [(&'static str, u64); QUEUE_FIGURES] {
    let QueueFigures { messages_ready, messages_unacknowledged, counters, .. } = figures;
    let &QueueCounters { delivered_manual_ack, delivered_auto_ack, got_manual_ack, got_auto_ack, .. } = counters;
    let [messages, ready, unacknowledged] = lengths(*messages_ready, *messages_unacknowledged).map(|(_, value)| value);
    let values = [
        messages,
        ready,
        unacknowledged,
        counters.published,
        delivered_manual_ack,
        delivered_auto_ack,
        got_manual_ack,
        got_auto_ack,
        delivered_manual_ack + delivered_auto_ack + got_manual_ack + got_auto_ack,
        counters.redelivered,
        counters.acknowledged,
    ];
    std::array::from_fn(|index| (QUEUE_FIGURE_NAMES[index], values[index]))
}

pub fn overview_figures(overview: &Overview) -> [(&'static str, u64); OVERVIEW_FIGURES] {
    let totals = overview.events();
    let &Totals { delivered_manual_ack, delivered_auto_ack, got_manual_ack, got_auto_ack, .. } = totals;
    let [messages, ready, unacknowledged] =
        lengths(overview.totals.messages_ready, overview.totals.messages_unacknowledged);
    [
        messages,
        ready,
        unacknowledged,
        ("publish", totals.received),
        ("confirm", totals.confirmed),
        ("return_unroutable", totals.unroutable_returned),
        ("drop_unroutable", totals.unroutable_dropped),
        ("deliver", delivered_manual_ack),
        ("deliver_no_ack", delivered_auto_ack),
        ("get", got_manual_ack),
        ("get_no_ack", got_auto_ack),
        ("get_empty", totals.get_empty),
        ("deliver_get", delivered_manual_ack + delivered_auto_ack + got_manual_ack + got_auto_ack),
        ("redeliver", totals.redelivered),
        ("ack", totals.acknowledged),
        ("connection_created", totals.connections_opened),
        ("connection_closed", totals.connections_closed),
        ("channel_created", totals.channels_opened),
        ("channel_closed", totals.channels_closed),
        ("queue_declared", totals.queues_declared),
        ("queue_created", totals.queues_created),
        ("queue_deleted", totals.queues_deleted),
    ]
}

/// What the node uses and what its log did, as far as the system tells. Writes and syncs are the log's: what is moved out of
/// memory, and checkpoints, are not counted.
pub fn node_figures(overview: &Overview, resident_bytes: Option<u64>) -> [(&'static str, Option<u64>); NODE_FIGURES] {
    let LogWrites { batches, bytes, syncs } = overview.log;
    [
        ("mem_used", resident_bytes),
        ("message_memory", Some(overview.message_memory_bytes as u64)),
        ("disk_free", overview.disk_free_bytes),
        ("sockets_used", Some(overview.connections as u64)),
        ("io_write_count", Some(batches)),
        ("io_write_bytes", Some(bytes)),
        ("io_sync_count", Some(syncs)),
    ]
}

/// Histograms, in the order in which they are sampled, each with all of its buckets.
pub const DURATION_NAMES: [&str; 4] = ["turn", "time_in_queue", "delivery_to_acknowledgement", "publish_to_confirm"];

pub fn duration_figures(durations: &Durations) -> [u64; DURATION_FIGURES] {
    let Durations { turns, in_queue, to_acknowledgement, to_confirm } = durations;
    let mut buckets =
        [turns, in_queue, to_acknowledgement, to_confirm].into_iter().flat_map(|histogram| histogram.buckets());
    std::array::from_fn(|_| buckets.next().unwrap_or_default())
}

pub fn connection_figures(figures: &ConnectionFigures) -> [(&'static str, u64); CONNECTION_FIGURES] {
    [("recv_oct", figures.received_bytes), ("send_oct", figures.sent_bytes)]
}

pub fn exchange_figures(counters: &ExchangeCounters) -> [(&'static str, u64); EXCHANGE_FIGURES] {
    [("publish_in", counters.published_in), ("publish_out", counters.published_out)]
}

/// Figures by their names.
type Named = Vec<(&'static str, u64)>;

/// The figures of several queues together, and their rates as far as they are known.
#[derive(Default)]
pub struct QueueSums {
    figures: [u64; QUEUE_FIGURES],
    rates: [f64; QUEUE_FIGURES],
}

impl QueueSums {
    pub fn add(&mut self, queue: &QueueFigures, rates: Option<[f64; QUEUE_FIGURES]>) {
        let figures = queue_figures(queue).map(|(_, figure)| figure);
        self.add_sums(&Self { figures, rates: rates.unwrap_or_default() });
    }

    pub fn add_sums(&mut self, other: &Self) {
        self.figures.iter_mut().zip(other.figures).for_each(|(sum, figure)| *sum += figure);
        self.rates.iter_mut().zip(other.rates).for_each(|(sum, rate)| *sum += rate);
    }

    /// Puts lengths into a shape, and what was counted into its `message_stats`.
    pub fn put(&self, shape: &mut Value) {
        let (lengths, stats) = self.named();
        put(shape, &lengths, Some(&self.rates[..LENGTHS]));
        shape["message_stats"] = json!({});
        put(&mut shape["message_stats"], &stats, Some(&self.rates[LENGTHS..]));
    }

    /// Lengths, and counters.
    fn named(&self) -> (Named, Named) {
        let mut lengths: Vec<_> = QUEUE_FIGURE_NAMES.into_iter().zip(self.figures).collect();
        let stats = lengths.split_off(LENGTHS);
        (lengths, stats)
    }
}
