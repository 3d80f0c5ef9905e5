//! What there is: copies for management, a page of a list at a time.

use super::super::hub::{Condition, Hub, Resources};
use super::send;
use crate::broker::memory::{held_memory_bytes, message_memory_bytes};
use crate::broker::snapshot::{PAGE_SLOTS, Page, PageStart};
use crate::broker::store::Store;
use crate::broker::{ConnectionId, UserId, VhostId};
use crate::connection::{Connection, Phase, Traffic};
use crate::management::{
    ConnectionFigures, ConnectionLabel, ConnectionSnapshot, ConnectionState, ConnectionSums, Held, LogWrites, Overview,
    Question, VhostQuestion,
};
use crate::storage::LogTotals;

/// Connections that one page looks at with all that is told of each: what a client says of itself is read for that. Of four
/// pages in a turn those of 1024 took four milliseconds.
const CONNECTION_PAGE_SLOTS: usize = 128;

/// Answers a question that is not about what is in one virtual host. Without a user, it is management itself that asks.
pub(super) fn tell<S: Store>(user: Option<UserId>, question: Question, hub: &Hub<S>) {
    let broker = hub.broker();
    match question {
        Question::Overview(reply) => send(reply, overview(hub)),
        Question::GlobalParameters(reply) => send(reply, broker.snapshot_global_parameters()),
        Question::InVhost { .. } => unreachable!("asked in its virtual host"),
        Question::LogIn(_) => unreachable!("asked of the doorkeeper"),
        Question::Queues { from, reply } => {
            let page = broker.snapshot_queues(from);
            send(
                reply,
                page.map(|queue| Held { holder: queue.exclusive_owner.and_then(|id| label(hub, id)), item: queue }),
            );
        }
        Question::QueueFigures { from, reply } => send(reply, broker.snapshot_queue_figures(from)),
        Question::Durations(reply) => send(reply, *broker.durations()),
        Question::QueueDurations { from, reply } => send(reply, broker.snapshot_queue_durations(from)),
        Question::SumOfQueues { from, reply } => send(reply, broker.sum_queues(from)),
        Question::SumOfChannels { from, reply } => send(reply, broker.sum_channels(from)),
        Question::SumOfConnections { from, reply } => send(reply, sum_connections(hub, from)),
        Question::ExchangeFigures { from, reply } => send(reply, broker.snapshot_exchange_figures(from)),
        Question::Exchanges { from, reply } => send(reply, broker.snapshot_exchanges(from)),
        Question::Bindings { from, reply } => send(reply, broker.snapshot_bindings(from)),
        Question::Connections { from, reply } => send(reply, connections(hub, from)),
        Question::ConnectionFigures { from, reply } => send(reply, connection_figures(hub, from)),
        Question::Channels { from, reply } => {
            let page = broker.snapshot_channels(from);
            send(reply, page.map(|channel| Held { holder: label(hub, channel.connection), item: channel }));
        }
        Question::Consumers { from, reply } => {
            let page = broker.snapshot_consumers(from);
            send(reply, page.map(|consumer| Held { holder: label(hub, consumer.connection), item: consumer }));
        }
        Question::Vhosts { from, reply } => send(reply, broker.snapshot_vhosts(from)),
        Question::OpenVhosts { from, reply } => {
            let nowhere = Page { items: Vec::new(), next: None };
            send(reply, user.map_or(nowhere, |user| broker.vhosts_of(user, from)));
        }
        Question::Users { from, reply } => send(reply, broker.snapshot_users(from)),
        Question::User { name, reply } => send(reply, broker.snapshot_user(&name)),
        Question::Permissions { from, reply } => send(reply, broker.snapshot_permissions(from)),
        Question::Policies { kind, from, reply } => send(reply, broker.snapshot_policies(kind, from)),
        Question::TopicPermissions { from, reply } => send(reply, broker.snapshot_topic_permissions(from)),
    }
}

/// Answers a question about what is in a virtual host.
pub(super) fn tell_in<S: Store>(vhost: VhostId, question: VhostQuestion, hub: &Hub<S>) {
    let broker = hub.broker();
    match question {
        VhostQuestion::Itself(reply) => send(reply, broker.snapshot_vhost(vhost)),
        VhostQuestion::Queue { name, reply } => {
            let queue = broker.snapshot_queue(vhost, &name);
            send(
                reply,
                queue.map(|queue| Held { holder: queue.exclusive_owner.and_then(|id| label(hub, id)), item: queue }),
            );
        }
        VhostQuestion::Exchange { name, reply } => send(reply, broker.snapshot_exchange(vhost, &name)),
        VhostQuestion::TestRoute { exchange, routing_key, properties, reply } => {
            send(reply, broker.test_route(vhost, &exchange, &routing_key, &properties));
        }
        VhostQuestion::BindingsToQueue { name, reply } => {
            send(reply, broker.snapshot_bindings_to_queue(vhost, &name));
        }
        VhostQuestion::BindingsToExchange { name, reply } => {
            send(reply, broker.snapshot_bindings_to_exchange(vhost, &name));
        }
        VhostQuestion::ConsumersOfQueue { queue, from, reply } => {
            let page = broker.snapshot_consumers_of(vhost, &queue, from);
            send(reply, page.map(|consumer| Held { holder: label(hub, consumer.connection), item: consumer }));
        }
        VhostQuestion::Policy { kind, name, reply } => send(reply, broker.snapshot_policy(vhost, kind, &name)),
        VhostQuestion::PermissionsOf { user, reply } => {
            let user = broker.find_user(&user).and_then(|key| broker.user_of(key));
            send(reply, user.and_then(|user| broker.snapshot_permissions_of(user, vhost)));
        }
        VhostQuestion::TopicPermissionsOf { user, reply } => {
            let user = broker.find_user(&user).and_then(|key| broker.user_of(key));
            send(reply, user.map_or_else(Vec::new, |user| broker.snapshot_topic_permissions_of(user, vhost)));
        }
    }
}

fn overview<S: Store>(hub: &Hub<S>) -> Overview {
    let Condition { alarm, resources: Resources { message_memory, disk_room }, now_ms } = hub.condition();
    let LogTotals { batches, bytes, syncs, .. } = hub.log_totals();
    Overview {
        totals: hub.broker().snapshot_totals(),
        connections: hub.connections().count(),
        alarm,
        disk_free_bytes: disk_room.free_bytes,
        disk_free_limit_bytes: disk_room.limit_bytes,
        memory_watermark_bytes: message_memory.most_bytes,
        message_memory_bytes: message_memory_bytes(),
        held_memory_bytes: held_memory_bytes(),
        log: LogWrites { batches, bytes, syncs },
        uptime_ms: now_ms,
        gone_connections: hub.connections().gone(),
    }
}

pub(super) fn label<S: Store>(hub: &Hub<S>, id: ConnectionId) -> Option<ConnectionLabel> {
    hub.connections().get(id).map(label_of)
}

fn label_of(connection: &Connection) -> ConnectionLabel {
    let user = connection.user().unwrap_or_default().to_owned();
    ConnectionLabel { peer: connection.peer(), local: connection.local(), user }
}

/// Connections that came as far as an open virtual host.
fn connections<S: Store>(hub: &Hub<S>, from: PageStart) -> Page<ConnectionSnapshot> {
    let (connections, next) = hub.connections().page(from.slot(), CONNECTION_PAGE_SLOTS);
    let items = connections.filter_map(|connection| {
        let state = match connection.phase() {
            Phase::Running if connection.is_blocked() => ConnectionState::Blocked,
            Phase::Running => ConnectionState::Running,
            Phase::Closing => ConnectionState::Closing,
            _ => return None,
        };
        let (channel_max, frame_max, heartbeat_s) = connection.tuning();
        Some(ConnectionSnapshot {
            label: label_of(connection),
            encryption: connection.encryption().cloned(),
            vhost: hub.broker().vhost_of(connection.id()),
            state,
            channels: connection.channel_count(),
            channel_max,
            frame_max,
            heartbeat_s,
            client_properties: connection.client_properties(),
            auth_mechanism: connection.auth_mechanism(),
            figures: figures_of(connection),
            send_pending: hub.outboxes().get(connection.id()).len(),
        })
    });
    Page { items: items.collect(), next: next.map(PageStart::at_slot) }
}

fn connection_figures<S: Store>(hub: &Hub<S>, from: PageStart) -> Page<ConnectionFigures> {
    let (connections, next) = hub.connections().page(from.slot(), PAGE_SLOTS);
    Page { items: connections.map(figures_of).collect(), next: next.map(PageStart::at_slot) }
}

/// The sum of a page of connections: one item. Each of their channels counts as much as a connection.
fn sum_connections<S: Store>(hub: &Hub<S>, from: PageStart) -> Page<ConnectionSums> {
    let (mut sums, mut next, mut looked_at) = (ConnectionSums::default(), Some(from.slot()), 0);
    while let Some(slot) = next.filter(|_| looked_at < PAGE_SLOTS) {
        let (connections, after) = hub.connections().page(slot, 1);
        next = after;
        looked_at += 1;
        for connection in connections {
            let Traffic { received_bytes, sent_bytes, .. } = connection.traffic();
            let (channels, publishers) = connection.channel_counts();
            sums.add(&ConnectionSums { received_bytes, sent_bytes, channels, publishers });
            looked_at += channels;
        }
    }
    Page { items: vec![sums], next: next.map(PageStart::at_slot) }
}

fn figures_of(connection: &Connection) -> ConnectionFigures {
    let Traffic { connected_at_ms, received_bytes, sent_bytes } = connection.traffic();
    let (peer, local) = (connection.peer(), connection.local());
    ConnectionFigures { peer, local, connected_at_ms, received_bytes, sent_bytes }
}
