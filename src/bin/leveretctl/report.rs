//! `report`: what whoever looks into a problem asks for first, in one go. Names are in it, and no secrets: no passwords, no
//! hashes, no messages.

use crate::api::{Api, Failure};
use crate::checks::node;
use crate::columns::strings;
use crate::describe::{self, Unit};
use crate::output::{Format, Output};
use crate::{features, listings, permissions, policies, users, vhosts};
use std::time::Duration;

const QUEUE_COLUMNS: [&str; 14] = [
    "name",
    "type",
    "durable",
    "auto_delete",
    "exclusive",
    "state",
    "messages_ready",
    "messages_unacknowledged",
    "consumers",
    "memory",
    "policy",
    "operator_policy",
    "effective_policy_definition",
    "arguments",
];

const EXCHANGE_COLUMNS: [&str; 7] = ["name", "type", "durable", "auto_delete", "internal", "policy", "arguments"];

const CONNECTION_COLUMNS: [&str; 15] = [
    "name",
    "user",
    "vhost",
    "state",
    "ssl",
    "protocol",
    "auth_mechanism",
    "channels",
    "channel_max",
    "frame_max",
    "timeout",
    "recv_oct",
    "send_oct",
    "send_pend",
    "client_properties",
];

const CHANNEL_COLUMNS: [&str; 11] = [
    "name",
    "user",
    "vhost",
    "confirm",
    "transactional",
    "consumer_count",
    "messages_unacknowledged",
    "messages_unconfirmed",
    "messages_uncommitted",
    "prefetch_count",
    "global_prefetch_count",
];

pub fn report(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Reporting server status of node {node} ...\n"));
    let version = env!("CARGO_PKG_VERSION");
    output.print(&format!("leveretctl {version} on {} {}\n", std::env::consts::OS, std::env::consts::ARCH));
    let output = &Output::new(output.tool, Format::Table, [false; 3]);
    let break_after = |section: Result<(), Failure>| {
        section?;
        output.print("");
        Ok::<(), Failure>(())
    };
    break_after(describe::status(api, output, Unit::Mb))?;
    break_after(describe::cluster_status(api, output))?;
    break_after(describe::memory_breakdown(api, output, Unit::Mb))?;
    break_after(totals(api, output))?;
    break_after(features::list(api, output, &[]))?;
    break_after(listings::connections(api, output, &strings(&CONNECTION_COLUMNS)))?;
    break_after(listings::channels(api, output, &strings(&CHANNEL_COLUMNS)))?;
    break_after(users::list_users(api, output))?;
    let columns = strings(&["name", "tracing", "default_queue_type", "tags", "description"]);
    break_after(vhosts::list(api, output, &columns))?;
    let vhosts = api.get("vhosts?columns=name")?;
    for vhost in vhosts.as_array().into_iter().flatten().filter_map(|vhost| vhost["name"].as_str()) {
        let whose = listings::WhoseQueues::default();
        break_after(listings::queues(api, output, vhost, &strings(&QUEUE_COLUMNS), &whose, timeout))?;
        break_after(listings::exchanges(api, output, vhost, &strings(&EXCHANGE_COLUMNS)))?;
        break_after(listings::bindings(api, output, vhost, &[]))?;
        break_after(listings::consumers(api, output, vhost, &[]))?;
        break_after(permissions::list(api, output, vhost))?;
        break_after(permissions::list_topic(api, output, vhost))?;
        break_after(policies::list_all(api, output, vhost))?;
        break_after(crate::limits::list_of_vhost(api, output, vhost))?;
    }
    Ok(())
}

/// What was counted since the start.
fn totals(api: &Api, output: &Output) -> Result<(), Failure> {
    output.announce(format_args!("Totals ..."));
    let overview = api.get("overview?columns=object_totals,queue_totals,message_stats")?;
    for group in ["object_totals", "queue_totals", "message_stats"] {
        for (name, value) in overview[group].as_object().into_iter().flatten().filter(|(_, value)| value.is_u64()) {
            output.print(&format!("{group}.{name}\t{value}"));
        }
    }
    Ok(())
}
