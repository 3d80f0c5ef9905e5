//! Families of each queue, channel, connection, exchange and virtual host.
//!
//! What RabbitMQ tells of each channel and exchange that publishes, delivers or acknowledges is not counted here. Where it
//! labels connections and channels with the ids of Erlang's processes, they have the names that the HTTP API gives them.

use super::super::question::{ConnectionFigures, Question};
use super::super::shapes::channel_name;
use super::super::{App, line::Declined};
use super::CLUSTER_PREFIX;
use super::chosen::Chosen;
use super::gather::each_page;
use super::text::{Kind, Text, labels};
use crate::broker::snapshot::{ChannelSnapshot, QueueFigures, QueueKind, QueueSnapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// Things that one piece of a page is about: a few dozen kilobytes.
const THINGS_IN_A_PIECE: usize = 512;

/// A family of things of a kind. A thing of which a figure is not known has no line.
struct Family<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> Option<u64>,
}

/// Families that are asked for together.
type Group<T> = (&'static str, &'static [Family<T>]);

/// A thing with its labels.
struct Thing<T> {
    labels: Box<str>,
    item: T,
}

type Things<T> = Arc<Vec<Thing<T>>>;

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<u64>) -> Family<T> {
    Family { name, kind: Kind::Gauge, help, value }
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<u64>) -> Family<T> {
    Family { name, kind: Kind::Counter, help, value }
}

/// What is told of a queue.
struct Queue {
    kind: QueueKind,
    figures: QueueFigures,
    consumers: usize,
    ready_in_memory: usize,
    memory_bytes: usize,
    ready_body_bytes: Option<u64>,
    head_message_timestamp: Option<u64>,
}

const QUEUE_GROUPS: &[Group<Queue>] = &[
    (
        "queue_coarse_metrics",
        &[
            gauge("queue_messages_ready", "Messages ready to be delivered to consumers", |queue| {
                Some(queue.figures.messages_ready as u64)
            }),
            gauge("queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged", |queue| {
                Some(queue.figures.messages_unacknowledged as u64)
            }),
            gauge("queue_messages", "Sum of ready and unacknowledged messages - total queue depth", |queue| {
                Some((queue.figures.messages_ready + queue.figures.messages_unacknowledged) as u64)
            }),
        ],
    ),
    ("queue_consumer_count", &[gauge("queue_consumers", "Consumers on a queue", |queue| Some(queue.consumers as u64))]),
    (
        "queue_metrics",
        &[
            gauge("queue_consumers", "Consumers on a queue", |queue| Some(queue.consumers as u64)),
            gauge(
                "queue_process_memory_bytes",
                "Memory in bytes used by the queue itself, without its messages",
                |queue| Some(queue.memory_bytes as u64),
            ),
            gauge("queue_messages_ram", "Ready and unacknowledged messages stored in memory", |queue| {
                Some((queue.ready_in_memory + queue.figures.messages_unacknowledged) as u64)
            }),
            gauge("queue_messages_ready_ram", "Ready messages stored in memory", |queue| {
                Some(queue.ready_in_memory as u64)
            }),
            gauge("queue_messages_unacked_ram", "Unacknowledged messages stored in memory", |queue| {
                Some(queue.figures.messages_unacknowledged as u64)
            }),
            gauge("queue_messages_ready_bytes", "Size in bytes of ready messages, where it is known", |queue| {
                queue.ready_body_bytes
            }),
            gauge("queue_messages_paged_out", "Messages paged out to disk", |queue| {
                Some((queue.figures.messages_ready - queue.ready_in_memory) as u64)
            }),
            gauge("queue_head_message_timestamp", "Timestamp of the first message in the queue, if any", |queue| {
                queue.head_message_timestamp
            }),
        ],
    ),
    (
        "queue_delivery_metrics",
        &[
            counter(
                "queue_get_ack_total",
                "Total number of messages fetched from a queue with basic.get in manual acknowledgement mode",
                |queue| Some(queue.figures.counters.got_manual_ack),
            ),
            counter(
                "queue_get_total",
                "Total number of messages fetched from a queue with basic.get in automatic acknowledgement mode",
                |queue| Some(queue.figures.counters.got_auto_ack),
            ),
            counter(
                "queue_messages_delivered_ack_total",
                "Total number of messages delivered from a queue to consumers in manual acknowledgement mode",
                |queue| Some(queue.figures.counters.delivered_manual_ack),
            ),
            counter(
                "queue_messages_delivered_total",
                "Total number of messages delivered from a queue to consumers in automatic acknowledgement mode",
                |queue| Some(queue.figures.counters.delivered_auto_ack),
            ),
            counter(
                "queue_messages_redelivered_total",
                "Total number of messages redelivered from a queue to consumers",
                |queue| Some(queue.figures.counters.redelivered),
            ),
            counter(
                "queue_messages_acked_total",
                "Total number of messages acknowledged by consumers on a queue",
                |queue| Some(queue.figures.counters.acknowledged),
            ),
            counter(
                "queue_get_empty_total",
                "Total number of times basic.get operations fetched no message on a queue",
                |queue| Some(queue.figures.counters.get_empty),
            ),
        ],
    ),
    (
        "channel_queue_exchange_metrics",
        &[counter(
            "queue_messages_published_total",
            "Total number of messages published into a queue through an exchange on a channel",
            |queue| Some(queue.figures.counters.published),
        )],
    ),
];

const QUEUE_INFO: &str = "A metric with a constant '1' value and labels that provide some queue details";

const CHANNEL_GROUPS: &[Group<ChannelSnapshot>] = &[(
    "channel_metrics",
    &[
        gauge("channel_consumers", "Consumers on a channel", |channel| Some(channel.consumer_count as u64)),
        gauge("channel_messages_unacked", "Delivered but not yet acknowledged messages", |channel| {
            Some(channel.messages_unacknowledged as u64)
        }),
        gauge("channel_messages_unconfirmed", "Published but not yet confirmed messages", |channel| {
            Some(channel.messages_unconfirmed)
        }),
        gauge("channel_messages_uncommitted", "Messages received in a transaction but not yet committed", |channel| {
            Some(channel.messages_uncommitted as u64)
        }),
        gauge("channel_acks_uncommitted", "Message acknowledgements in a transaction not yet committed", |channel| {
            Some(channel.acks_uncommitted as u64)
        }),
        gauge("consumer_prefetch", "Limit of unacknowledged messages for each consumer", |channel| {
            Some(channel.prefetch_count.into())
        }),
        gauge("channel_prefetch", "Total limit of unacknowledged messages for all consumers on a channel", |channel| {
            Some(channel.global_prefetch_count.into())
        }),
    ],
)];

const CONNECTION_GROUPS: &[Group<(ConnectionFigures, usize)>] = &[
    (
        "connection_coarse_metrics",
        &[
            counter(
                "connection_incoming_bytes_total",
                "Total number of bytes received on a connection",
                |(figures, _)| Some(figures.received_bytes),
            ),
            counter("connection_outgoing_bytes_total", "Total number of bytes sent on a connection", |(figures, _)| {
                Some(figures.sent_bytes)
            }),
        ],
    ),
    (
        "connection_metrics",
        &[gauge("connection_channels", "Channels on a connection", |(_, channels)| Some(*channels as u64))],
    ),
];

const VHOST_STATUS: &[Group<()>] =
    &[("vhost_status", &[gauge("vhost_status", "Whether a given vhost is running", |()| Some(1))])];
const EXCHANGE_GROUPS: &[Group<u64>] = &[
    (
        "exchange_bindings",
        &[gauge("exchange_bindings", "Number of bindings for an exchange. This value is cluster-wide.", |bindings| {
            Some(*bindings)
        })],
    ),
    (
        "exchange_names",
        &[gauge(
            "exchange_name",
            "Enumerates exchanges without any additional info. This value is cluster-wide. A cheaper alternative to `exchange_bindings`",
            |_| Some(1),
        )],
    ),
];

/// Everything that a page is about.
pub struct Objects {
    queues: Things<Queue>,
    channels: Things<ChannelSnapshot>,
    connections: Things<(ConnectionFigures, usize)>,
    vhosts: Things<()>,
    /// With their bindings.
    exchanges: Things<u64>,
}

fn has_any<T>(chosen: &Chosen, groups: &[Group<T>]) -> bool {
    groups.iter().any(|(name, _)| chosen.has(name))
}

/// Asks for what the chosen families are about.
pub async fn gather(app: &App, chosen: &Chosen) -> Result<Objects, Declined> {
    let (mut queues, mut channels, mut connections) = (Vec::new(), Vec::new(), Vec::new());
    let (mut vhosts, mut exchanges) = (Vec::new(), Vec::new());
    if has_any(chosen, QUEUE_GROUPS) {
        let question = |from, reply| Question::Queues { from, reply };
        each_page(app, question, |held| queues.extend(queue_thing(&held.item, chosen))).await?;
    }
    if has_any(chosen, CHANNEL_GROUPS) {
        let question = |from, reply| Question::Channels { from, reply };
        each_page(app, question, |held| {
            let name = channel_name(held.holder.as_ref(), held.item.number);
            channels.push(Thing { labels: labels(&[("channel", &name)]).into(), item: held.item });
        })
        .await?;
    }
    if has_any(chosen, CONNECTION_GROUPS) {
        let question = |from, reply| Question::Connections { from, reply };
        each_page(app, question, |connection| {
            let labels = labels(&[("connection", &connection.label.name())]).into();
            connections.push(Thing { labels, item: (connection.figures, connection.channels) });
        })
        .await?;
    }
    if chosen.names("vhost_status") {
        let question = |from, reply| Question::Vhosts { from, reply };
        each_page(app, question, |vhost| {
            vhosts.push(Thing { labels: labels(&[("vhost", &vhost.name)]).into(), item: () });
        })
        .await?;
    }
    if EXCHANGE_GROUPS.iter().any(|(name, _)| chosen.names(name)) {
        exchanges = gather_exchanges(app, chosen).await?;
    }
    Ok(Objects {
        queues: Arc::new(queues),
        channels: Arc::new(channels),
        connections: Arc::new(connections),
        vhosts: Arc::new(vhosts),
        exchanges: Arc::new(exchanges),
    })
}

fn queue_thing(queue: &QueueSnapshot, chosen: &Chosen) -> Option<Thing<Queue>> {
    let name = String::from_utf8_lossy(&queue.name);
    if !chosen.has_vhost(&queue.vhost) || !chosen.has_queue(&name) {
        return None;
    }
    let item = Queue {
        kind: queue.kind,
        figures: queue.figures,
        consumers: queue.consumers,
        ready_in_memory: queue.ready_in_memory,
        memory_bytes: queue.memory_bytes,
        ready_body_bytes: queue.ready_body_bytes,
        head_message_timestamp: queue.head_message_timestamp,
    };
    Some(Thing { labels: labels(&[("vhost", &queue.vhost), ("queue", &name)]).into(), item })
}

/// Exchanges that clients can publish to by name, with how many bindings lead from each.
async fn gather_exchanges(app: &App, chosen: &Chosen) -> Result<Vec<Thing<u64>>, Declined> {
    let mut bindings: HashMap<(Arc<str>, Vec<u8>), u64> = HashMap::new();
    if chosen.names("exchange_bindings") {
        let question = |from, reply| Question::Bindings { from, reply };
        each_page(app, question, |binding| {
            *bindings.entry((binding.vhost, binding.source.to_vec())).or_default() += 1;
        })
        .await?;
    }
    let mut exchanges = Vec::new();
    each_page(
        app,
        |from, reply| Question::Exchanges { from, reply },
        |exchange| {
            if exchange.internal || exchange.name.is_empty() {
                return;
            }
            let name = String::from_utf8_lossy(&exchange.name);
            let pairs = [("vhost", &*exchange.vhost), ("exchange", &*name), ("type", exchange.kind.name())];
            let labels = labels(&pairs).into();
            let key = (exchange.vhost.clone(), exchange.name.to_vec());
            exchanges.push(Thing { labels, item: bindings.get(&key).copied().unwrap_or_default() });
        },
    )
    .await?;
    Ok(exchanges)
}

impl Objects {
    /// The text about all of it, a piece at a time.
    pub fn pieces(self, prefix: &'static str, chosen: Chosen) -> impl Iterator<Item = String> {
        let Self { queues, channels, connections, vhosts, exchanges } = self;
        let queue_info = match has_any(&chosen, &QUEUE_GROUPS[..3]) {
            true => Some(Text::new(prefix)).map(|mut text| {
                text.family("queue_info", Kind::Gauge, QUEUE_INFO);
                text.into_string()
            }),
            false => None,
        };
        let infos = match &queue_info {
            Some(_) => Arc::clone(&queues),
            None => Arc::default(),
        };
        let info = move |text: &mut Text, queue: &Thing<Queue>| {
            let of_kind = labels(&[("queue_type", queue.item.kind.module()), ("membership", "leader")]);
            text.value("queue_info", &format!("{},{of_kind}", queue.labels), 1);
        };
        let named = |groups: &[Group<u64>]| groups.iter().any(|(name, _)| chosen.names(name));
        let exchange_groups = if named(EXCHANGE_GROUPS) { chosen_of(EXCHANGE_GROUPS, &chosen) } else { Vec::new() };
        let vhost_groups = if chosen.names("vhost_status") { chosen_of(VHOST_STATUS, &chosen) } else { Vec::new() };
        pieces_of(prefix, chosen_of(QUEUE_GROUPS, &chosen), queues)
            .chain(pieces_of(prefix, chosen_of(CHANNEL_GROUPS, &chosen), channels))
            .chain(pieces_of(prefix, chosen_of(CONNECTION_GROUPS, &chosen), connections))
            .chain(pieces_of(CLUSTER_PREFIX, vhost_groups, vhosts))
            .chain(pieces_of(CLUSTER_PREFIX, exchange_groups, exchanges))
            .chain(queue_info)
            .chain(lines(prefix, infos, info))
    }
}

fn chosen_of<T>(groups: &'static [Group<T>], chosen: &Chosen) -> Vec<&'static Family<T>> {
    groups.iter().filter(|(name, _)| chosen.has(name)).flat_map(|(_, families)| *families).collect()
}

/// Families, one after the other, each with all things.
fn pieces_of<T: 'static>(
    prefix: &'static str,
    families: Vec<&'static Family<T>>,
    things: Things<T>,
) -> impl Iterator<Item = String> {
    families.into_iter().flat_map(move |family| {
        let mut head = Text::new(prefix);
        head.family(family.name, family.kind, family.help);
        let line = |text: &mut Text, thing: &Thing<T>| {
            if let Some(value) = (family.value)(&thing.item) {
                text.value(family.name, &thing.labels, value);
            }
        };
        std::iter::once(head.into_string()).chain(lines(prefix, Arc::clone(&things), line))
    })
}

/// A line, or none, for each thing.
fn lines<T>(
    prefix: &'static str,
    things: Things<T>,
    line: impl Fn(&mut Text, &Thing<T>),
) -> impl Iterator<Item = String> {
    (0..things.len()).step_by(THINGS_IN_A_PIECE).map(move |from| {
        let mut text = Text::new(prefix);
        let until = things.len().min(from + THINGS_IN_A_PIECE);
        things[from..until].iter().for_each(|thing| line(&mut text, thing));
        text.into_string()
    })
}
