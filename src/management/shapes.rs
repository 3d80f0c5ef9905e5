//! What queues, exchanges and the rest look like in RabbitMQ's JSON.
//!
//! A field of RabbitMQ's that this broker doesn't count is left out, never made up: what would cost something with every
//! message (the bytes of what clients hold, how many of them are persistent, since when it is idle, how busy its consumers
//! are), and what there is only in Erlang (processes, run queues).

use super::App;
use super::change::GotMessage;
use super::figures::{
    CHURN, LENGTHS, Moment, OVERVIEW_FIGURES, QueueSums, connection_figures, exchange_figures, overview_figures, put,
    put_with_samples, queue_figures,
};
use super::json;
use super::listing::Ranges;
use super::question::{ConnectionLabel, ConnectionSnapshot, ConnectionState, Held, Overview};
use super::rates::{ConnectionKey, Samples};
use crate::broker::policy::Policy;
use crate::broker::snapshot::{
    BindingSnapshot, ChannelSnapshot, ConsumerSnapshot, ExchangeSnapshot, QueueKind, QueueSnapshot,
};
use crate::broker::{CopiedHead, DelayedMessage, ExchangeFigures, HeldMessage, PeekedMessage};
use crate::protocol::FieldValue;
use crate::tls::Encryption;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Of what everybody is told who asks for no statistics, and of lengths if they are asked for.
pub fn queue_without_stats(app: &App, queue: &QueueSnapshot, with_lengths: bool) -> Value {
    let mut shape = queue_definition(queue);
    shape["exclusive"] = json!(queue.exclusive_owner.is_some());
    shape["node"] = json!(app.settings.node);
    shape["state"] = json!("running");
    if with_lengths {
        put(&mut shape, &queue_figures(&queue.figures)[..LENGTHS], None);
    }
    shape
}

/// Moments for people, of some of the figures.
pub fn moments<'a, const N: usize>(app: &App, samples: &'a Samples<N>, of: std::ops::Range<usize>) -> Vec<Moment<'a>> {
    let unix_start_ms = app.settings.clock.unix_start_ms();
    samples.iter().map(|(at_ms, figures)| (unix_start_ms + at_ms, &figures[of.clone()])).collect()
}

pub fn queue(app: &App, held: &Held<QueueSnapshot>, ranges: Ranges) -> Value {
    let Held { item: queue, holder } = held;
    let figures = queue_figures(&queue.figures);
    let (serial, now_ms) = (queue.figures.serial, app.now_ms());
    let (rates, of_lengths, of_messages) = {
        let mut seen = app.rates();
        let samples = |range| seen.samples_of_queue(serial, range, now_ms);
        let (of_lengths, of_messages) = (samples(ranges.lengths), samples(ranges.messages));
        (seen.of_queue(serial, now_ms), of_lengths, of_messages)
    };
    let (lengths, stats) = figures.split_at(LENGTHS);
    let mut shape = json!({
        "name": json::text(&queue.name),
        "vhost": &*queue.vhost,
        "type": queue.kind.name(),
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive_owner.is_some(),
        "arguments": json::table(&queue.arguments),
        "node": app.settings.node,
        "state": "running",
        "head_message_timestamp": queue.head_message_timestamp,
        "consumers": queue.consumers,
        "exclusive_consumer_tag": queue.exclusive_consumer_tag.as_ref().map(|tag| json::text(tag)),
        "single_active_consumer_tag": queue.single_active_consumer_tag.as_ref().map(|tag| json::text(tag)),
        "memory": queue.memory_bytes,
        "message_stats": {},
        "policy": policy_name(queue.policies.policy.as_deref()),
        "operator_policy": policy_name(queue.policies.operator.as_deref()),
        "effective_policy_definition": json::table(&queue.policies.definition()),
    });
    put_body_bytes(&mut shape, queue);
    let seen = moments(app, &of_lengths, 0..LENGTHS);
    put_with_samples(&mut shape, lengths, rates.as_ref().map(|rates| &rates[..LENGTHS]), &seen);
    let seen = moments(app, &of_messages, LENGTHS..figures.len());
    put_with_samples(&mut shape["message_stats"], stats, rates.as_ref().map(|rates| &rates[LENGTHS..]), &seen);
    if queue.kind == QueueKind::Quorum {
        // Who has a copy, who of them is there, and who leads them: this node.
        shape["leader"] = json!(app.settings.node);
        shape["members"] = json!([app.settings.node]);
        shape["online"] = json!([app.settings.node]);
        shape["delivery_limit"] = queue.delivery_limit.map_or_else(|| json!("unlimited"), |limit| json!(limit));
        shape["messages_delayed"] = json!(queue.messages_delayed);
    }
    if let Some(owner) = holder {
        shape["owner_pid_details"] = connection_details(owner);
    }
    shape
}

/// How many bytes the bodies of messages have, as far as that is known. What clients hold the queue has no count of.
fn put_body_bytes(shape: &mut Value, queue: &QueueSnapshot) {
    let held = (queue.figures.messages_unacknowledged == 0).then_some(0);
    let known = [
        ("message_bytes_ready", queue.ready_body_bytes),
        ("message_bytes_unacknowledged", held),
        ("message_bytes", queue.ready_body_bytes.filter(|_| held.is_some())),
    ];
    known
        .into_iter()
        .filter_map(|(name, bytes)| Some((name, bytes?)))
        .for_each(|(name, bytes)| shape[name] = json!(bytes));
}

/// What a queue is declared as.
pub fn queue_definition(queue: &QueueSnapshot) -> Value {
    json!({
        "name": json::text(&queue.name),
        "vhost": &*queue.vhost,
        "type": queue.kind.name(),
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "arguments": json::table(&queue.arguments),
    })
}

fn policy_name(policy: Option<&Policy>) -> Value {
    policy.map_or(Value::Null, |policy| json::text(&policy.name))
}

pub fn exchange(exchange: &ExchangeSnapshot) -> Value {
    let mut shape = json!({
        "name": json::text(&exchange.name),
        "vhost": &*exchange.vhost,
        "type": exchange.kind.name(),
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": json::table(&exchange.arguments),
        "policy": policy_name(exchange.policies.policy.as_deref()),
    });
    if let Some(count) = exchange.messages_delayed {
        shape["messages_delayed"] = count.into();
    }
    shape
}

/// The same with what went through it, if anything did.
pub fn exchange_with_stats(app: &App, snapshot: &ExchangeSnapshot, ranges: Ranges) -> Value {
    let mut shape = exchange(snapshot);
    let ExchangeFigures { key, counters } = snapshot.figures;
    if counters.are_of_something() {
        let now_ms = app.now_ms();
        let (rates, samples) = {
            let mut seen = app.rates();
            (seen.of_exchange(key, now_ms), seen.samples_of_exchange(key, ranges.messages, now_ms))
        };
        let figures = exchange_figures(&counters);
        let seen = moments(app, &samples, 0..figures.len());
        shape["message_stats"] = json!({});
        put_with_samples(&mut shape["message_stats"], &figures, rates.as_ref().map(|rates| &rates[..]), &seen);
    }
    shape
}

pub fn delayed_message(message: &DelayedMessage) -> Value {
    json!({
        "id": message.id.to_string(),
        "due_at": message.id.due_unix_ms,
        "exchange": json::text(&message.exchange),
        "routing_key": json::text(&message.routing_key),
        "message_id": message.message_id.as_ref().map(|id| json::text(id)),
        "persistent": message.persistent,
        "payload_bytes": message.body_size,
    })
}

pub fn binding(binding: &BindingSnapshot) -> Value {
    json!({
        "source": json::text(&binding.source),
        "vhost": &*binding.vhost,
        "destination": json::text(&binding.destination),
        "destination_type": binding.destination_type,
        "routing_key": json::text(&binding.routing_key),
        "arguments": json::table(&binding.arguments),
        "properties_key": binding.properties_key,
    })
}

fn connection_details(label: &ConnectionLabel) -> Value {
    json!({
        "name": label.name(),
        "peer_host": label.peer.ip().to_string(),
        "peer_port": label.peer.port(),
    })
}

pub fn connection(app: &App, connection: &ConnectionSnapshot, ranges: Ranges) -> Value {
    let ConnectionLabel { peer, local, user } = &connection.label;
    let properties = &connection.client_properties;
    let mut shape = json!({
        "name": connection.label.name(),
        "vhost": connection.vhost.as_deref(),
        "user": user,
        "user_who_performed_action": user,
        "node": app.settings.node,
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "state": match connection.state {
            ConnectionState::Running => "running",
            ConnectionState::Blocked => "blocked",
            ConnectionState::Closing => "closing",
        },
        "host": local.ip().to_string(),
        "port": local.port(),
        "peer_host": peer.ip().to_string(),
        "peer_port": peer.port(),
        "ssl": connection.encryption.is_some(),
        "channels": connection.channels,
        "channel_max": connection.channel_max,
        "frame_max": connection.frame_max,
        "timeout": connection.heartbeat_s,
        "connected_at": app.unix_ms(connection.figures.connected_at_ms),
        "send_pend": connection.send_pending,
        "auth_mechanism": connection.auth_mechanism,
        "client_properties": json::table(properties),
    });
    put_encryption(&mut shape, connection.encryption.as_deref());
    let (key, now_ms) = (ConnectionKey::of(&connection.figures), app.now_ms());
    let (rates, samples) = {
        let mut seen = app.rates();
        let samples = seen.samples_of_connection(key, ranges.data, now_ms);
        (seen.of_connection(key, now_ms), samples)
    };
    let figures = connection_figures(&connection.figures);
    let seen = moments(app, &samples, 0..figures.len());
    put_with_samples(&mut shape, &figures, rates.as_ref().map(|rates| &rates[..]), &seen);
    if let Some(FieldValue::LongString(name)) = properties.get(b"connection_name") {
        shape["user_provided_name"] = json::text(name);
    }
    shape
}

/// How a connection is encrypted, and what its client's certificate says: null where there is none.
fn put_encryption(shape: &mut Value, encryption: Option<&Encryption>) {
    let peer = encryption.and_then(|encryption| encryption.peer.as_ref());
    shape["ssl_protocol"] = json!(encryption.map(|encryption| encryption.protocol));
    shape["ssl_key_exchange"] = json!(encryption.map(|encryption| encryption.key_exchange));
    shape["ssl_cipher"] = json!(encryption.map(|encryption| encryption.cipher));
    shape["ssl_hash"] = json!(encryption.map(|encryption| encryption.hash));
    shape["peer_cert_subject"] = json!(peer.map(|peer| &peer.subject));
    shape["peer_cert_issuer"] = json!(peer.map(|peer| &peer.issuer));
    shape["peer_cert_validity"] = json!(peer.map(|peer| &peer.validity));
}

pub fn channel(app: &App, held: &Held<ChannelSnapshot>) -> Value {
    let Held { item: channel, holder } = held;
    let mut shape = json!({
        "name": channel_name(holder.as_ref(), channel.number),
        "number": channel.number,
        "vhost": &*channel.vhost,
        "node": app.settings.node,
        "state": "running",
        "user": holder.as_ref().map(|connection| &connection.user),
        "user_who_performed_action": holder.as_ref().map(|connection| &connection.user),
        "consumer_count": channel.consumer_count,
        "messages_unacknowledged": channel.messages_unacknowledged,
        "messages_unconfirmed": channel.messages_unconfirmed,
        "messages_uncommitted": channel.messages_uncommitted,
        "acks_uncommitted": channel.acks_uncommitted,
        "prefetch_count": channel.prefetch_count,
        "global_prefetch_count": channel.global_prefetch_count,
        "confirm": channel.confirm,
        "transactional": channel.transactional,
    });
    if let Some(connection) = holder {
        shape["connection_details"] = connection_details(connection);
    }
    shape
}

pub fn channel_name(connection: Option<&ConnectionLabel>, number: u16) -> String {
    format!("{} ({number})", connection.map(ConnectionLabel::name).unwrap_or_default())
}

pub fn consumer(app: &App, held: &Held<ConsumerSnapshot>) -> Value {
    let Held { item: consumer, holder } = held;
    let mut channel_details = holder.as_ref().map_or_else(
        || json!({}),
        |label| {
            let mut details = connection_details(label);
            details["connection_name"] = details["name"].take();
            details["user"] = json!(label.user);
            details
        },
    );
    channel_details["name"] = json!(channel_name(holder.as_ref(), consumer.channel_number));
    channel_details["number"] = json!(consumer.channel_number);
    channel_details["node"] = json!(app.settings.node);
    json!({
        "queue": {"name": json::text(&consumer.queue), "vhost": &*consumer.vhost},
        "consumer_tag": json::text(&consumer.consumer_tag),
        "channel_details": channel_details,
        "ack_required": consumer.ack_required,
        "exclusive": consumer.exclusive,
        "prefetch_count": consumer.prefetch_count,
        "active": consumer.active,
        "activity_status": match (consumer.of_single_active, consumer.active) {
            (false, _) => "up",
            (true, true) => "single_active",
            (true, false) => "waiting",
        },
        "arguments": json::table(&consumer.arguments),
    })
}

pub fn message(message: &GotMessage, always_base64: bool) -> Value {
    let (payload, encoding) = json::payload(&message.body, always_base64);
    json!({
        "payload_bytes": message.body_size,
        "redelivered": message.redelivered,
        "exchange": json::text(&message.exchange),
        "routing_key": json::text(&message.routing_key),
        "message_count": message.message_count,
        "properties": json::properties(&message.properties),
        "payload": payload,
        "payload_encoding": encoding,
    })
}

/// A message that waits, as it lies there.
pub fn peeked_message(message: &PeekedMessage) -> Value {
    let PeekedMessage { position, id, redelivered, head, body } = message;
    let (payload, encoding) = json::payload(body, false);
    let mut shape = copied_head(head);
    shape["position"] = json!(position);
    shape["id"] = json!(id.to_string());
    shape["redelivered"] = json!(redelivered);
    shape["payload"] = json!(payload);
    shape["payload_encoding"] = json!(encoding);
    shape["truncated"] = json!(body.len() < head.body_size);
    shape
}

/// A message that a client holds.
pub fn held_message(held: &Held<HeldMessage>) -> Value {
    let Held { item: message, holder } = held;
    let mut shape = copied_head(&message.message);
    shape["id"] = json!(message.id.to_string());
    shape["consumer_tag"] = message.consumer_tag.as_ref().map_or(Value::Null, |tag| json::text(tag));
    shape["delivery_tag"] = json!(message.delivery_tag);
    shape["held_ms"] = json!(message.held_ms);
    shape["held_at_most_ms"] = json!(message.held_at_most_ms);
    shape["redelivered"] = json!(message.redelivered);
    shape["channel_details"] = json!({
        "name": channel_name(holder.as_ref(), message.channel_number),
        "number": message.channel_number,
        "connection_name": holder.as_ref().map(ConnectionLabel::name),
        "peer_host": holder.as_ref().map(|label| label.peer.ip().to_string()),
        "peer_port": holder.as_ref().map(|label| label.peer.port()),
        "user": holder.as_ref().map(|label| &label.user),
    });
    shape
}

fn copied_head(head: &CopiedHead) -> Value {
    json!({
        "exchange": json::text(&head.exchange),
        "routing_key": json::text(&head.routing_key),
        "properties": head.properties.as_deref().map(json::wire_properties),
        "payload_bytes": head.body_size,
    })
}

/// The whole of the broker.
pub fn overview(app: &App, cluster_name: &str, overview: &Overview, ranges: Ranges) -> Value {
    let now = &overview.totals;
    let figures = overview_figures(overview);
    let now_ms = app.now_ms();
    let (rates, of_lengths, of_messages) = {
        let seen = app.rates();
        let samples = |range| seen.samples_of_overview(range, now_ms);
        (seen.of_overview(now_ms), samples(ranges.lengths), samples(ranges.messages))
    };
    let part = |of: std::ops::Range<usize>, samples: &Samples<OVERVIEW_FIGURES>| {
        let mut shape = json!({});
        let rates = rates.as_ref().map(|rates| &rates[of.clone()]);
        put_with_samples(&mut shape, &figures[of.clone()], rates, &moments(app, samples, of));
        shape
    };
    let mut shape = of_everybody(app, cluster_name);
    shape["queue_totals"] = part(0..LENGTHS, &of_lengths);
    shape["message_stats"] = part(LENGTHS..CHURN, &of_messages);
    shape["churn_rates"] = part(CHURN..OVERVIEW_FIGURES, &of_messages);
    shape["object_totals"] = json!({
        "channels": now.channels,
        "connections": overview.connections,
        "consumers": now.consumers,
        "exchanges": now.exchanges,
        "queues": now.queues,
    });
    shape["node"] = json!(app.settings.node);
    shape["listeners"] = listeners(app);
    shape["contexts"] = contexts(app);
    shape
}

/// Where the API is.
pub fn contexts(app: &App) -> Value {
    json!([{
        "node": app.settings.node,
        "description": "Leveret Management",
        "path": "/",
        "ip": app.address.ip().to_string(),
        "port": app.address.port().to_string(),
    }])
}

/// What somebody sees of the broker who is no monitor.
#[derive(Default)]
pub struct Share {
    pub queues: usize,
    pub exchanges: usize,
    pub connections: usize,
    pub channels: usize,
    pub sums: QueueSums,
}

/// As much of an overview.
pub fn overview_of_some(app: &App, cluster_name: &str, share: &Share) -> Value {
    let mut totals = json!({});
    share.sums.put(&mut totals);
    let mut shape = of_everybody(app, cluster_name);
    shape["message_stats"] = totals["message_stats"].take();
    if let Some(totals) = totals.as_object_mut() {
        totals.remove("message_stats");
    }
    shape["queue_totals"] = totals;
    shape["object_totals"] = json!({
        "channels": share.channels,
        "connections": share.connections,
        "exchanges": share.exchanges,
        "queues": share.queues,
    });
    shape
}

/// What everybody may know.
fn of_everybody(app: &App, cluster_name: &str) -> Value {
    json!({
        "management_version": super::COMPATIBLE_VERSION,
        "rabbitmq_version": super::COMPATIBLE_VERSION,
        "product_name": "Leveret",
        "product_version": env!("CARGO_PKG_VERSION"),
        // There is no Erlang here, but clients of typed languages expect the field.
        "erlang_version": "none",
        "erlang_full_version": "none",
        "cluster_name": cluster_name,
        "rates_mode": "basic",
        "disable_stats": false,
        "enable_queue_totals": true,
        "default_queue_type": app.settings.default_queue_type,
        "exchange_types": exchange_types(),
        "statistics_db_event_queue": 0,
        "sample_retention_policies": {"global": [600], "basic": [600], "detailed": [600]},
    })
}

pub fn exchange_types() -> Value {
    let named = |name: &str, what: &str| json!({"name": name, "description": what, "enabled": true});
    json!([
        named("direct", "routes by the whole routing key"),
        named("fanout", "routes to every binding"),
        named("headers", "routes by the headers of the message"),
        named("topic", "routes by patterns of words in the routing key"),
        named("x-consistent-hash", "routes to one binding by a hash, consistently"),
        named("x-local-random", "routes to one queue by chance"),
        named("x-modulus-hash", "routes to one binding by a hash of the routing key"),
        named("x-random", "routes to one binding by chance"),
        named("x-recent-history", "routes to every binding, and tells new ones what came last"),
    ])
}

fn listeners(app: &App) -> Value {
    let listener = |(protocol, address): (&str, SocketAddr)| {
        json!({
            "node": app.settings.node,
            "protocol": protocol,
            "ip_address": address.ip().to_string(),
            "port": address.port(),
            "socket_opts": {},
        })
    };
    app.listeners().map(listener).collect()
}
