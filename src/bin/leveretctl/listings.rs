//! `list_*`.

use crate::api::{Api, Failure, segment};
use crate::columns::Source::{Always, Field, Nothing};
use crate::columns::{Column, cells, choose};
use crate::output::Output;
use clap::Args;
use std::time::Duration;

const QUEUES: &[Column] = &[
    ("name", Field("name")),
    ("messages", Field("messages")),
    ("messages_ready", Field("messages_ready")),
    ("messages_unacknowledged", Field("messages_unacknowledged")),
    ("head_message_timestamp", Field("head_message_timestamp")),
    ("consumers", Field("consumers")),
    ("durable", Field("durable")),
    ("auto_delete", Field("auto_delete")),
    ("exclusive", Field("exclusive")),
    ("arguments", Field("arguments")),
    ("type", Field("type")),
    ("state", Field("state")),
    ("memory", Field("memory")),
    ("policy", Field("policy")),
    ("operator_policy", Field("operator_policy")),
    ("effective_policy_definition", Field("effective_policy_definition")),
    ("pid", Field("node")),
    ("leader", Field("node")),
    ("owner_pid", Field("owner_pid_details.name")),
    ("exclusive_consumer_pid", Nothing),
    ("exclusive_consumer_tag", Field("exclusive_consumer_tag")),
    ("slave_pids", Nothing),
    ("synchronised_slave_pids", Nothing),
    ("mirror_pids", Nothing),
    ("synchronised_mirror_pids", Nothing),
    ("consumer_utilisation", Field("consumer_utilisation")),
    ("consumer_capacity", Field("consumer_capacity")),
    ("messages_persistent", Field("messages_persistent")),
    ("messages_ram", Field("messages_ram")),
    ("messages_ready_ram", Field("messages_ready_ram")),
    ("messages_unacknowledged_ram", Field("messages_unacknowledged_ram")),
    ("message_bytes", Field("message_bytes")),
    ("message_bytes_ready", Field("message_bytes_ready")),
    ("message_bytes_unacknowledged", Field("message_bytes_unacknowledged")),
    ("message_bytes_ram", Field("message_bytes_ram")),
    ("message_bytes_persistent", Field("message_bytes_persistent")),
    ("disk_reads", Field("disk_reads")),
    ("disk_writes", Field("disk_writes")),
    ("members", Field("node")),
    ("online", Field("node")),
];

const EXCHANGES: [Column; 8] = [
    ("name", Field("name")),
    ("type", Field("type")),
    ("durable", Field("durable")),
    ("auto_delete", Field("auto_delete")),
    ("internal", Field("internal")),
    ("arguments", Field("arguments")),
    ("policy", Field("policy")),
    ("messages_delayed", Field("messages_delayed")),
];

const BINDINGS: [Column; 6] = [
    ("source_name", Field("source")),
    ("source_kind", Always("exchange")),
    ("destination_name", Field("destination")),
    ("destination_kind", Field("destination_type")),
    ("routing_key", Field("routing_key")),
    ("arguments", Field("arguments")),
];

const CONNECTIONS: &[Column] = &[
    ("pid", Field("name")),
    ("name", Field("name")),
    ("user", Field("user")),
    ("peer_host", Field("peer_host")),
    ("peer_port", Field("peer_port")),
    ("state", Field("state")),
    ("host", Field("host")),
    ("port", Field("port")),
    ("ssl", Field("ssl")),
    ("ssl_protocol", Field("ssl_protocol")),
    ("ssl_key_exchange", Field("ssl_key_exchange")),
    ("ssl_cipher", Field("ssl_cipher")),
    ("ssl_hash", Field("ssl_hash")),
    ("peer_cert_subject", Field("peer_cert_subject")),
    ("peer_cert_issuer", Field("peer_cert_issuer")),
    ("peer_cert_validity", Field("peer_cert_validity")),
    ("channels", Field("channels")),
    ("protocol", Field("protocol")),
    ("vhost", Field("vhost")),
    ("timeout", Field("timeout")),
    ("frame_max", Field("frame_max")),
    ("channel_max", Field("channel_max")),
    ("client_properties", Field("client_properties")),
    ("connected_at", Field("connected_at")),
    ("recv_oct", Field("recv_oct")),
    ("recv_cnt", Field("recv_cnt")),
    ("send_oct", Field("send_oct")),
    ("send_cnt", Field("send_cnt")),
    ("auth_mechanism", Field("auth_mechanism")),
    ("send_pend", Field("send_pend")),
    ("user_provided_name", Field("user_provided_name")),
    ("node", Field("node")),
];

const CHANNELS: [Column; 17] = [
    ("pid", Field("name")),
    ("name", Field("name")),
    ("user", Field("user")),
    ("consumer_count", Field("consumer_count")),
    ("messages_unacknowledged", Field("messages_unacknowledged")),
    ("connection", Field("connection_details.name")),
    ("number", Field("number")),
    ("vhost", Field("vhost")),
    ("node", Field("node")),
    ("state", Field("state")),
    ("transactional", Field("transactional")),
    ("confirm", Field("confirm")),
    ("messages_uncommitted", Field("messages_uncommitted")),
    ("acks_uncommitted", Field("acks_uncommitted")),
    ("messages_unconfirmed", Field("messages_unconfirmed")),
    ("prefetch_count", Field("prefetch_count")),
    ("global_prefetch_count", Field("global_prefetch_count")),
];

const CONSUMERS: [Column; 9] = [
    ("queue_name", Field("queue.name")),
    ("channel_pid", Field("channel_details.name")),
    ("consumer_tag", Field("consumer_tag")),
    ("ack_required", Field("ack_required")),
    ("prefetch_count", Field("prefetch_count")),
    ("active", Field("active")),
    ("arguments", Field("arguments")),
    ("exclusive", Field("exclusive")),
    ("activity_status", Field("activity_status")),
];

/// On which nodes queues are to be.
#[derive(Args, Default)]
pub struct WhoseQueues {
    /// Only those of this node, which all are
    #[arg(long)]
    local: bool,
    /// Only those of nodes that are there, which all are
    #[arg(long)]
    online: bool,
    /// Only those of nodes that are not there, which none are
    #[arg(long, conflicts_with = "online")]
    offline: bool,
}

pub fn queues(
    api: &Api,
    output: &Output,
    vhost: &str,
    columns: &[String],
    whose: &WhoseQueues,
    timeout: Duration,
) -> Result<(), Failure> {
    let columns = choose(QUEUES, &["name", "messages"], columns)?;
    output.announce(format_args!("Timeout: {}.0 seconds ...", timeout.as_secs()));
    output.announce(format_args!("Listing queues for vhost {vhost} ..."));
    if whose.offline {
        output.list(&[], &[]);
        return Ok(());
    }
    list(api, output, &format!("queues/{}", segment(vhost)), &columns)
}

pub fn exchanges(api: &Api, output: &Output, vhost: &str, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(&EXCHANGES, &["name", "type"], columns)?;
    output.announce(format_args!("Listing exchanges for vhost {vhost} ..."));
    list(api, output, &format!("exchanges/{}", segment(vhost)), &columns)
}

pub fn bindings(api: &Api, output: &Output, vhost: &str, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(&BINDINGS, &BINDINGS.map(|(name, _)| name), columns)?;
    output.announce(format_args!("Listing bindings for vhost {vhost}..."));
    list(api, output, &format!("bindings/{}", segment(vhost)), &columns)
}

pub fn connections(api: &Api, output: &Output, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(CONNECTIONS, &["user", "peer_host", "peer_port", "state"], columns)?;
    output.announce(format_args!("Listing connections ..."));
    list(api, output, "connections", &columns)
}

pub fn channels(api: &Api, output: &Output, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(&CHANNELS, &["pid", "user", "consumer_count", "messages_unacknowledged"], columns)?;
    output.announce(format_args!("Listing channels ..."));
    list(api, output, "channels", &columns)
}

pub fn consumers(api: &Api, output: &Output, vhost: &str, columns: &[String]) -> Result<(), Failure> {
    const DEFAULT: [&str; 7] =
        ["queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"];
    let columns = choose(&CONSUMERS, &DEFAULT, columns)?;
    output.announce(format_args!("Listing consumers in vhost {vhost} ..."));
    list(api, output, &format!("consumers/{}", segment(vhost)), &columns)
}

fn list(api: &Api, output: &Output, path: &str, columns: &[Column]) -> Result<(), Failure> {
    let answer = api.get(path)?;
    let rows: Vec<_> = answer.as_array().into_iter().flatten().map(|row| cells(columns, row)).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    output.list(&names, &rows);
    Ok(())
}
