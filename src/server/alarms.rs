//! What the log says when a node begins to lack memory or room on its disk, and when it has them again, whoever leads.

use crate::connection::Alarm;
use std::fmt;

/// In RabbitMQ's words, which people's own alarms look for. `means` is what it is to clients, and why.
pub fn log_alarm(node: &str, resource: &str, was_low: bool, is_low: bool, means: fmt::Arguments<'_>) {
    match (was_low, is_low) {
        (false, true) => {
            tracing::warn!(target: "general", resource, "{resource} resource limit alarm set on node {node}: {means}");
        }
        (true, false) => {
            tracing::warn!(target: "general", resource, "{resource} resource limit alarm cleared on node {node}");
        }
        _ => {}
    }
}

/// Whoever looked ends, and the next one looks anew.
pub fn log_alarm_over(node: &str, alarm: Option<Alarm>) {
    let was = [("memory", alarm.is_some_and(Alarm::is_of_memory)), ("disk", alarm.is_some_and(Alarm::is_of_disk))];
    was.into_iter().for_each(|(resource, was_low)| log_alarm(node, resource, was_low, false, format_args!("")));
}
