//! Delayed messages: which an exchange keeps, how many, and cancelling them. rabbitmqctl has no such commands.

use crate::api::{Api, Failure, segment};
use crate::columns::Source::Field;
use crate::columns::{Column, cells};
use crate::output::Output;
use clap::Subcommand;

const COLUMNS: [Column; 6] = [
    ("id", Field("id")),
    ("due_at", Field("due_at")),
    ("routing_key", Field("routing_key")),
    ("message_id", Field("message_id")),
    ("persistent", Field("persistent")),
    ("payload_bytes", Field("payload_bytes")),
];

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum DelayedCommand {
    /// List messages that an exchange keeps until they are due, those that are due next first
    List {
        exchange: String,
        /// Which part of the list
        #[arg(long, default_value_t = 1)]
        page: usize,
        /// How many to a part, up to 500
        #[arg(long, default_value_t = 100)]
        page_size: usize,
    },
    /// Say how many messages an exchange keeps
    Count { exchange: String },
    /// Take a message out before it is due, by the id that the list shows
    Cancel { exchange: String, id: String },
}

pub fn run(api: &Api, output: &Output, vhost: &str, command: DelayedCommand) -> Result<(), Failure> {
    let path = |exchange: &str| format!("delayed/{}/{}", segment(vhost), segment(exchange));
    match command {
        DelayedCommand::List { exchange, page, page_size } => {
            output.announce(format_args!("Listing delayed messages of exchange '{exchange}' in vhost '{vhost}' ..."));
            let answer = api.get(&format!("{}?page={page}&page_size={page_size}", path(&exchange)))?;
            let rows: Vec<_> =
                answer["items"].as_array().into_iter().flatten().map(|row| cells(&COLUMNS, row)).collect();
            output.list(&COLUMNS.map(|(name, _)| name), &rows);
        }
        DelayedCommand::Count { exchange } => {
            let answer = api.get(&format!("{}/count", path(&exchange)))?;
            output.list(&["messages_delayed"], &[cells(&[("messages_delayed", Field("messages_delayed"))], &answer)]);
        }
        DelayedCommand::Cancel { exchange, id } => {
            output.announce(format_args!("Cancelling message {id} of exchange '{exchange}' in vhost '{vhost}' ..."));
            let cancelled = api.delete(&format!("{}/{}", path(&exchange), segment(&id)), None);
            cancelled.map_err(|failure| failure.or_missing(|| Failure::NotFound("no such message".to_owned())))?;
        }
    }
    Ok(())
}
