//! Families of the node itself: RabbitMQ's, and those that it lacks.

use super::super::question::LogWrites;
use super::super::{App, COMPATIBLE_VERSION};
use super::cluster;
use super::gather::Node;
use super::text::{Kind, Text, labels};
use crate::broker::Durations;

/// Writes the families of a group.
type Group = fn(&mut Text, &Node);

/// Groups that can be asked for by name.
pub const NODE_GROUPS: [(&str, Group); 5] = [
    ("connection_churn_metrics", churn),
    ("node_coarse_metrics", used),
    ("node_metrics", limits),
    ("node_persister_metrics", log),
    ("auth_attempt_metrics", logins),
];

fn churn(text: &mut Text, node: &Node) {
    let totals = node.overview.events();
    let mut counter = |name, help, value: u64| text.alone(name, Kind::Counter, help, value);
    counter("connections_opened_total", "Total number of connections opened", totals.connections_opened);
    counter("connections_closed_total", "Total number of connections closed or terminated", totals.connections_closed);
    counter("channels_opened_total", "Total number of channels opened", totals.channels_opened);
    counter("channels_closed_total", "Total number of channels closed", totals.channels_closed);
    counter("queues_declared_total", "Total number of queues declared", totals.queues_declared);
    counter("queues_created_total", "Total number of queues created", totals.queues_created);
    counter("queues_deleted_total", "Total number of queues deleted", totals.queues_deleted);
}

fn used(text: &mut Text, node: &Node) {
    let overview = &node.overview;
    text.known("process_open_fds", Kind::Gauge, "Open file descriptors", node.open_descriptors);
    text.alone("process_open_tcp_sockets", Kind::Gauge, "Open TCP sockets", overview.connections);
    text.known("process_resident_memory_bytes", Kind::Gauge, "Memory used in bytes", node.resident_bytes);
    text.known("disk_space_available_bytes", Kind::Gauge, "Disk space available in bytes", overview.disk_free_bytes);
}

fn limits(text: &mut Text, node: &Node) {
    let overview = &node.overview;
    let mut gauge = |name, help, value: u64| text.alone(name, Kind::Gauge, help, value);
    gauge("process_max_fds", "Open file descriptors limit", node.descriptors_max);
    gauge("process_max_tcp_sockets", "Open TCP sockets limit", node.descriptors_max);
    gauge("resident_memory_limit_bytes", "Memory high watermark in bytes", overview.memory_watermark_bytes as u64);
    gauge("disk_space_available_limit_bytes", "Free disk space low watermark in bytes", overview.disk_free_limit_bytes);
    // There is no Erlang here, but this is what dashboards know the time since the start by.
    let uptime_s = overview.uptime_ms as f64 / 1000.0;
    text.alone("erlang_uptime_seconds", Kind::Gauge, "Node uptime", uptime_s);
}

fn log(text: &mut Text, node: &Node) {
    let LogWrites { batches, bytes, syncs } = node.overview.log;
    let mut counter = |name, help, value: u64| text.alone(name, Kind::Counter, help, value);
    counter("io_write_ops_total", "Total number of writes of batches to the log", batches);
    counter("io_write_bytes_total", "Total number of bytes written to the log", bytes);
    counter("io_sync_ops_total", "Total number of syncs of the log", syncs);
}

fn logins(text: &mut Text, node: &Node) {
    let totals = node.overview.events();
    let (succeeded, failed) = (totals.logins_succeeded, totals.logins_failed);
    let mut counter = |name, help, value: u64| {
        text.family(name, Kind::Counter, help);
        text.value(name, &labels(&[("protocol", "amqp091")]), value);
    };
    counter("auth_attempts_total", "Total number of authentication attempts", succeeded + failed);
    counter("auth_attempts_succeeded_total", "Total number of successful authentication attempts", succeeded);
    counter("auth_attempts_failed_total", "Total number of failed authentication attempts", failed);
}

/// What nobody has to ask for, unless it is chosen families that are asked for.
pub fn always(text: &mut Text, node: &Node) {
    let (overview, totals) = (&node.overview, node.overview.events());
    let mut gauge = |name, help, value: u64| text.alone(name, Kind::Gauge, help, value);
    let open = totals.connections_opened - totals.connections_closed;
    gauge("connections", "Connections currently open", open);
    gauge("channels", "Channels currently open", overview.totals.channels as u64);
    gauge("consumers", "Consumers currently connected", overview.totals.consumers as u64);
    gauge("queues", "Queues available", overview.totals.queues as u64);
    let help = "Number of peers in the cluster the current node cannot reach.";
    gauge("unreachable_cluster_peers_count", help, cluster::unreachable(node.cluster.as_ref()));
    let mut alarm = |name, help, is_in_effect| text.alone(name, Kind::Untyped, help, u8::from(is_in_effect));
    alarm(
        "alarms_free_disk_space_watermark",
        "is 1 if free disk space watermark alarm is in effect",
        overview.disk_alarm(),
    );
    alarm("alarms_memory_used_watermark", "is 1 if VM memory watermark alarm is in effect", overview.memory_alarm());
    of_the_process(text, node);
}

/// What RabbitMQ has no name for, or none of its own.
fn of_the_process(text: &mut Text, node: &Node) {
    let overview = &node.overview;
    text.prefixed("");
    text.alone(
        "process_start_time_seconds",
        Kind::Gauge,
        "Start time of the process since unix epoch in seconds.",
        node.started_at_s,
    );
    text.prefixed(super::LEVERET_PREFIX);
    text.alone("exchanges", Kind::Gauge, "Exchanges, predeclared ones included", overview.totals.exchanges);
    text.alone(
        "held_memory_bytes",
        Kind::Gauge,
        "Memory of messages and of what waits for clients or comes from them; the memory alarm compares this with its watermark",
        overview.held_memory_bytes,
    );
    text.alone("message_memory_bytes", Kind::Gauge, "Memory of messages, of that held", overview.message_memory_bytes);
    text.alone(
        "messages_nacked_total",
        Kind::Counter,
        "Total number of messages that were nacked to publishers, because a queue refused them",
        overview.events().nacked,
    );
    durations(text, &node.durations);
    text.prefixed(super::PREFIX);
    node.cluster.iter().for_each(|view| cluster::all(text, view));
}

fn durations(text: &mut Text, durations: &Durations) {
    let Durations { turns, in_queue, to_acknowledgement, to_confirm } = durations;
    text.histogram("turn_seconds", "Time that a turn of the loop took", turns);
    text.histogram(
        "message_time_in_queue_seconds",
        "Time that a message waited in its queue, of one in some 1024; those that went straight to a consumer didn't wait",
        in_queue,
    );
    text.histogram(
        "delivery_to_acknowledgement_seconds",
        "Time from a delivery to its acknowledgement or rejection, of one in some 1024",
        to_acknowledgement,
    );
    text.histogram("publish_to_confirm_seconds", "Time from a publish to its confirm, of one in some 1024", to_confirm);
}

/// Which product, which node, and what the page is about. Its names begin alike on every page.
pub fn identity(text: &mut Text, app: &App, cluster_name: &str, endpoint: &str) {
    let build = [
        ("rabbitmq_version", COMPATIBLE_VERSION),
        ("product_name", "Leveret"),
        ("product_version", env!("CARGO_PKG_VERSION")),
    ];
    text.family("build_info", Kind::Untyped, "RabbitMQ & Erlang/OTP version info");
    text.value("build_info", &labels(&build), 1);
    let node = app.settings.node.as_str();
    let identity = [("rabbitmq_node", node), ("rabbitmq_cluster", cluster_name), ("rabbitmq_endpoint", endpoint)];
    text.family("identity_info", Kind::Untyped, "RabbitMQ node & cluster identity info");
    text.value("identity_info", &labels(&identity), 1);
}
