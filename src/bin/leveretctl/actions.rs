//! What changes something: purging, deleting, closing.

use crate::api::{Api, Failure, segment};
use crate::checks::node;
use crate::output::Output;
use clap::Args;
use serde_json::Value;

pub fn purge_queue(api: &Api, output: &Output, vhost: &str, queue: &str) -> Result<(), Failure> {
    output.announce(format_args!("Purging queue '{queue}' in vhost '{vhost}' ..."));
    let purged = api.delete(&format!("queues/{}/{}/contents", segment(vhost), segment(queue)), None);
    purged.map_err(|failure| renamed(failure, "not_found"))
}

pub fn delete_queue(
    api: &Api,
    output: &Output,
    vhost: &str,
    queue: &str,
    if_empty: bool,
    if_unused: bool,
) -> Result<(), Failure> {
    let when = match (if_empty, if_unused) {
        (false, false) => "",
        (true, false) => " if queue is empty",
        (false, true) => " if queue is unused",
        (true, true) => " if queue is empty and if queue is unused",
    };
    output.announce(format_args!("Deleting queue '{queue}' on vhost '{vhost}'{when} ..."));
    let path = format!("queues/{}/{}", segment(vhost), segment(queue));
    let not_found = |failure: Failure| failure.or_missing(|| Failure::QueueStays("Queue not found"));
    let ready = api.get(&path).map_err(not_found)?["messages_ready"].as_u64().unwrap_or_default();
    let deleted = api.delete(&format!("{path}?if-empty={if_empty}&if-unused={if_unused}"), None);
    deleted.map_err(|failure| match failure {
        Failure::Refused(reason) if reason.ends_with(" not empty") => Failure::QueueStays("Queue is not empty"),
        Failure::Refused(reason) if reason.ends_with(" in use") => Failure::QueueStays("Queue is in use"),
        other => not_found(other),
    })?;
    output.say(&format!("Queue was successfully deleted with {ready} ready messages"));
    Ok(())
}

fn renamed(failure: Failure, not_found: &str) -> Failure {
    failure.or_missing(|| Failure::NotFound(not_found.to_owned()))
}

pub fn close_connection(api: &Api, output: &Output, name: &str, explanation: &str) -> Result<(), Failure> {
    output.announce(format_args!("Closing connection {name}, reason: {explanation}..."));
    close(api, name, explanation).map_err(|failure| renamed(failure, "no such connection"))
}

/// Which connections are closed together.
#[derive(Args)]
pub struct WhichConnections {
    /// Those of all virtual hosts
    #[arg(long)]
    global: bool,
    /// No more than so many
    #[arg(long)]
    limit: Option<usize>,
}

pub fn close_all_connections(
    api: &Api,
    output: &Output,
    vhost: &str,
    which: &WhichConnections,
    explanation: &str,
) -> Result<(), Failure> {
    let path = if which.global {
        let node = node(api)?;
        output.announce(format_args!(
            "Closing all connections to node {node} (across all vhosts), reason: {explanation}..."
        ));
        "connections".to_owned()
    } else {
        let how_many = which.limit.map_or("all".to_owned(), |limit| limit.to_string());
        output.announce(format_args!("Closing {how_many} connections in vhost {vhost}, reason: {explanation}..."));
        format!("vhosts/{}/connections", segment(vhost))
    };
    let connections = match api.get(&format!("{path}?columns=name")) {
        Err(Failure::NotFound(_)) => Value::Null,
        connections => connections?,
    };
    let mut closed = 0;
    let names = connections.as_array().into_iter().flatten().filter_map(|connection| connection["name"].as_str());
    for name in names.take(which.limit.unwrap_or(usize::MAX)) {
        match close(api, name, explanation) {
            Ok(()) => closed += 1,
            // It went by itself meanwhile.
            Err(Failure::NotFound(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    output.say(&format!("Closed {closed} connections"));
    Ok(())
}

pub fn close_all_user_connections(api: &Api, output: &Output, user: &str, explanation: &str) -> Result<(), Failure> {
    output.announce(format_args!("Closing connections of user {user}, reason: {explanation}..."));
    api.delete(&format!("connections/username/{}", segment(user)), Some(explanation))
}

fn close(api: &Api, name: &str, explanation: &str) -> Result<(), Failure> {
    api.delete(&format!("connections/{}", segment(name)), Some(explanation))
}
