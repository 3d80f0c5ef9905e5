//! Program `leveretctl`: rabbitmqctl's commands and output, over the HTTP API.

#![allow(clippy::disallowed_methods, reason = "a command line tool is its own process")]

mod access;
mod actions;
mod api;
mod checks;
mod columns;
mod delayed;
mod limits;
mod listings;
mod output;
mod password;
mod permissions;
mod policies;
mod users;
mod vhosts;

use access::AccessCommand;
use actions::WhichConnections;
use api::{Api, Failure};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use delayed::DelayedCommand;
use output::{Format, Output};
use policies::PolicyCommand;
use std::process::ExitCode;
use std::time::Duration;

/// Looks into a running Leveret and changes it: rabbitmqctl's commands, over the management interface.
#[derive(Parser)]
#[command(version, rename_all = "snake_case", max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Options {
    /// Where the management interface is; may hold user and password
    #[arg(long, global = true, env = "LEVERET_URI", default_value = "http://127.0.0.1:15672")]
    uri: String,

    /// Take this host instead of the URI's
    #[arg(long, global = true)]
    host: Option<String>,

    /// Log in as this user [default: guest]
    #[arg(long, global = true, env = "LEVERET_USER")]
    user: Option<String>,

    /// Log in with this password [default: guest]
    #[arg(long, global = true, env = "LEVERET_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// The virtual host
    #[arg(short = 'p', long, global = true, default_value = "/")]
    vhost: String,

    /// Seconds to wait for an answer
    #[arg(short, long, global = true, default_value_t = 60)]
    timeout: u64,

    /// Print no lines that say what is being done
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Print no such lines and no table headers
    #[arg(short, long, global = true)]
    silent: bool,

    /// How to print lists
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    formatter: Format,

    /// Print no table headers
    #[arg(long, global = true)]
    no_table_headers: bool,

    /// Means nothing: rabbitmqctl's scripts say which node they talk to, and here the URI does
    #[arg(short, long, global = true, hide = true)]
    node: Option<String>,

    /// Means nothing either
    #[arg(short, long, global = true, hide = true)]
    longnames: bool,
}

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
enum Command {
    /// List queues [default columns: name messages]
    ListQueues { columns: Vec<String> },
    /// List exchanges [default columns: name type]
    ListExchanges { columns: Vec<String> },
    /// List bindings
    ListBindings { columns: Vec<String> },
    /// List connections [default columns: user peer_host peer_port state]
    ListConnections { columns: Vec<String> },
    /// List channels [default columns: pid user consumer_count messages_unacknowledged]
    ListChannels { columns: Vec<String> },
    /// List consumers
    ListConsumers { columns: Vec<String> },
    #[command(flatten)]
    Access(AccessCommand),
    #[command(flatten)]
    Policies(PolicyCommand),
    /// Drop the waiting messages of a queue
    PurgeQueue { queue: String },
    /// Delete a queue
    DeleteQueue {
        queue: String,
        /// Only if it holds no messages
        #[arg(short = 'e', long = "if-empty")]
        if_empty: bool,
        /// Only if nobody consumes from it
        #[arg(short = 'u', long = "if-unused")]
        if_unused: bool,
    },
    /// Messages that exchanges of the type x-delayed-message keep until they are due
    #[command(subcommand)]
    Delayed(DelayedCommand),
    /// Close a connection, by the name or pid that list_connections shows
    CloseConnection { name: String, explanation: String },
    /// Close all connections of the virtual host
    CloseAllConnections {
        #[command(flatten)]
        which: WhichConnections,
        explanation: String,
    },
    /// Close all connections of a user
    CloseAllUserConnections { username: String, explanation: String },
    /// Say how the broker is
    Status,
    /// Wait until the broker answers
    AwaitStartup,
    /// Ask whether the broker answers
    Ping,
    /// Ask whether the broker serves clients
    #[command(alias = "is_running")]
    CheckRunning,
    /// Ask whether no resource runs low
    CheckLocalAlarms,
    /// The same, in a cluster of one
    CheckAlarms,
    /// Ask whether the virtual host is there
    CheckVirtualHosts,
    /// Ask whether there is a listener for a protocol
    CheckProtocolListener { protocol: String },
    /// Ask whether there is a listener on a port
    CheckPortListener { port: u16 },
    /// Connect to every listener of the broker
    CheckPortConnectivity,
    /// Say which version of RabbitMQ the broker is compatible with
    ServerVersion,
}

fn main() -> ExitCode {
    let Arguments { options, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match run(&options, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Says what is wrong with the command line, in rabbitmqctl's words and then in clap's. What was given is not said again: it
/// may have been a password.
fn refuse(error: &clap::Error) -> ExitCode {
    const USAGE: u8 = 64;
    let what = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        ErrorKind::MissingRequiredArgument => "not enough arguments.",
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => "too many arguments, or unknown ones.",
        _ => "",
    };
    if !what.is_empty() {
        eprintln!("Error (argument validation): {what}");
    }
    let _ = error.print();
    ExitCode::from(USAGE)
}

fn run(options: &Options, command: Command) -> Result<(), Failure> {
    let Options { uri, host, user, password, .. } = options;
    let timeout = Duration::from_secs(options.timeout);
    let api = Api::new(uri, host.as_deref(), user.as_deref(), password.as_deref(), timeout)?;
    let output = Output {
        format: options.formatter,
        announces: !options.quiet && !options.silent,
        headers: !options.silent && !options.no_table_headers,
    };
    let vhost = &options.vhost;
    match command {
        Command::ListQueues { columns } => listings::queues(&api, &output, vhost, &columns, options.timeout),
        Command::ListExchanges { columns } => listings::exchanges(&api, &output, vhost, &columns),
        Command::ListBindings { columns } => listings::bindings(&api, &output, vhost, &columns),
        Command::ListConnections { columns } => listings::connections(&api, &output, &columns),
        Command::ListChannels { columns } => listings::channels(&api, &output, &columns),
        Command::ListConsumers { columns } => listings::consumers(&api, &output, vhost, &columns),
        Command::Access(command) => access::run(&api, &output, vhost, command),
        Command::Policies(command) => policies::run(&api, &output, vhost, command),
        Command::PurgeQueue { queue } => actions::purge_queue(&api, &output, vhost, &queue),
        Command::DeleteQueue { queue, if_empty, if_unused } => {
            actions::delete_queue(&api, &output, vhost, &queue, if_empty, if_unused)
        }
        Command::Delayed(command) => delayed::run(&api, &output, vhost, command),
        Command::CloseConnection { name, explanation } => actions::close_connection(&api, &output, &name, &explanation),
        Command::CloseAllConnections { which, explanation } => {
            actions::close_all_connections(&api, &output, vhost, &which, &explanation)
        }
        Command::CloseAllUserConnections { username, explanation } => {
            actions::close_all_user_connections(&api, &output, &username, &explanation)
        }
        Command::Status => checks::status(&api, &output),
        Command::AwaitStartup => checks::await_startup(&api, timeout),
        Command::Ping => checks::ping(&api, &output, timeout),
        Command::CheckRunning => checks::check_running(&api, &output),
        Command::CheckLocalAlarms => checks::check_local_alarms(&api, &output),
        Command::CheckAlarms => checks::check_alarms(&api, &output),
        Command::CheckVirtualHosts => checks::check_virtual_hosts(&api, &output),
        Command::CheckProtocolListener { protocol } => checks::check_protocol_listener(&api, &output, &protocol),
        Command::ServerVersion => checks::server_version(&api, &output),
        Command::CheckPortListener { port } => checks::check_port_listener(&api, &output, port),
        Command::CheckPortConnectivity => checks::check_port_connectivity(&api, &output, timeout),
    }
}
