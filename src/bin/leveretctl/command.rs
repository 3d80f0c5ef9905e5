//! The commands and the options that all of them have, and who carries them out.

use crate::access::{self, AccessCommand};
use crate::actions::{self, WhichConnections};
use crate::api::{Api, Failure};
use crate::authorities::{self, TlsOptions};
use crate::checks::{self, CheckCommand};
use crate::cluster::{self, ClusterCommand};
use crate::definitions::{self, DefinitionsCommand};
use crate::delayed::{self, DelayedCommand};
use crate::node::{self, NodeCommand};
use crate::output::{Format, Output};
use crate::parameters::{self, ParameterCommand};
use crate::policies::{self, PolicyCommand};
use crate::tail::{self, TailOptions};
use crate::tool::Tool;
use crate::whereabouts::{self, Said};
use crate::{features, listings, manual};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Looks into a running Leveret and changes it: rabbitmqctl's commands, over the management interface.
#[derive(Parser)]
#[command(name = "leveretctl", version, rename_all = "snake_case", max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    command: Command,
}

/// Seconds that a command waits for an answer where nothing else is said.
const TIMEOUT_S: u64 = 60;

#[derive(Args)]
pub struct Options {
    /// Where the management interface is; may hold user and password [default: http://127.0.0.1:15672]
    #[arg(long, global = true, env = "LEVERET_URI", hide_env_values = true)]
    uri: Option<String>,

    /// Take this host instead of the URI's
    #[arg(long, global = true)]
    host: Option<String>,

    /// Log in as this user [default: guest]
    #[arg(long, global = true, env = "LEVERET_USER")]
    user: Option<String>,

    /// Log in with this password; other users of the machine see what is said here, and not what is in the environment
    #[arg(long, global = true, env = "LEVERET_PASSWORD", hide_env_values = true)]
    password: Option<String>,

    /// A file of `uri`, `user` and `password` [default: ~/.config/leveret/leveretctl.toml, else
    /// /etc/leveret/leveretctl.toml]
    #[arg(long, global = true, env = "LEVERETCTL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The virtual host
    #[arg(short = 'p', long, global = true, default_value = "/")]
    vhost: String,

    /// Seconds to wait for an answer [default: 60]
    #[arg(short, long, global = true)]
    timeout: Option<u64>,

    /// Print no lines that say what is being done
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Print no such lines and no table headers
    #[arg(short, long, global = true)]
    silent: bool,

    /// How to print what is asked for
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    formatter: Format,

    /// Print no table headers
    #[arg(long, global = true)]
    no_table_headers: bool,

    #[command(flatten)]
    tls: TlsOptions,

    /// Say what would be done, and don't do it
    #[arg(long, global = true)]
    dry_run: bool,

    #[command(flatten)]
    of_erlang: OfErlang,
}

/// What rabbitmqctl's scripts say of Erlang and its files, and means nothing here: the URI says which node it is.
#[derive(Args)]
struct OfErlang {
    #[arg(short, long, global = true, hide = true)]
    node: Option<String>,

    #[arg(short, long, global = true, hide = true)]
    longnames: bool,

    #[arg(long, global = true, hide = true)]
    erlang_cookie: Option<String>,

    #[arg(long, global = true, hide = true)]
    script_name: Option<String>,

    #[arg(long, global = true, hide = true)]
    rabbitmq_home: Option<String>,

    #[arg(long, alias = "mnesia-dir", global = true, hide = true)]
    data_dir: Option<String>,

    #[arg(long, global = true, hide = true)]
    plugins_dir: Option<String>,

    #[arg(long, global = true, hide = true)]
    enabled_plugins_file: Option<String>,

    #[arg(long, global = true, hide = true)]
    aliases_file: Option<String>,

    #[arg(long, global = true, hide = true)]
    printer: Option<String>,

    #[arg(long, global = true, hide = true)]
    print_stacktrace: bool,
}

impl Options {
    /// How to print.
    pub fn output(&self, tool: Tool) -> Output {
        Output::new(tool, self.formatter, [self.quiet, self.silent, self.no_table_headers])
    }
}

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
enum Command {
    /// List queues [default columns: name messages]
    ListQueues {
        columns: Vec<String>,
        #[command(flatten)]
        whose: listings::WhoseQueues,
    },
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
    /// List feature flags, which are all enabled [default columns: name state]
    ListFeatureFlags { columns: Vec<String> },
    /// Enable a feature flag, or `all`, which they are already
    EnableFeatureFlag { feature_flag: String },
    #[command(flatten)]
    Access(AccessCommand),
    #[command(flatten)]
    Policies(PolicyCommand),
    #[command(flatten)]
    Parameters(ParameterCommand),
    #[command(flatten)]
    Definitions(DefinitionsCommand),
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
    /// Print what enters a queue, or what an exchange routes, as it comes and without taking it away
    Tail(TailOptions),
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
    #[command(flatten)]
    Node(NodeCommand),
    #[command(flatten)]
    Cluster(ClusterCommand),
    #[command(flatten)]
    Checks(CheckCommand),
    /// Print what a shell needs to complete command lines
    Completions { shell: Shell },
    /// Print the manual page of the program, or of one command
    Man { command: Option<String> },
}

pub fn run(tool: Tool, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { options, command } = arguments;
    let output = options.output(tool);
    let Options { uri, host, user, password, config, vhost, .. } = options;
    match command {
        Command::Completions { shell } => {
            manual::completions(&output, shell);
            return Ok(());
        }
        Command::Man { command } => return manual::page(&output, command.as_deref()),
        _ => {}
    }
    let timeout = |default_s: u64| Duration::from_secs(options.timeout.unwrap_or(default_s));
    let said = Said { uri, host, user, password, file: config };
    let whereabouts = whereabouts::find(said, |name| std::env::var(name).ok())?;
    let trust = authorities::needed(&whereabouts, &options.tls)?;
    let api = Api::new(&whereabouts, trust, timeout(TIMEOUT_S), options.dry_run);
    let outcome = carry_out(&api, &output, &vhost, command, timeout);
    match outcome {
        Err(Failure::DryRun) => return Ok(()),
        outcome => outcome?,
    }
    output.finish(|| checks::node(&api))
}

fn carry_out(
    api: &Api,
    output: &Output,
    vhost: &str,
    command: Command,
    timeout: impl Fn(u64) -> Duration,
) -> Result<(), Failure> {
    match command {
        Command::ListQueues { columns, whose } => {
            listings::queues(api, output, vhost, &columns, &whose, timeout(TIMEOUT_S))
        }
        Command::ListExchanges { columns } => listings::exchanges(api, output, vhost, &columns),
        Command::ListBindings { columns } => listings::bindings(api, output, vhost, &columns),
        Command::ListConnections { columns } => listings::connections(api, output, &columns),
        Command::ListChannels { columns } => listings::channels(api, output, &columns),
        Command::ListConsumers { columns } => listings::consumers(api, output, vhost, &columns),
        Command::ListFeatureFlags { columns } => features::list(api, output, &columns),
        Command::EnableFeatureFlag { feature_flag } => features::enable(api, output, &feature_flag),
        Command::Access(command) => access::run(api, output, vhost, command),
        Command::Definitions(command) => definitions::run(api, output, command),
        Command::Policies(command) => policies::run(api, output, vhost, command),
        Command::Parameters(command) => parameters::run(api, output, vhost, command),
        Command::PurgeQueue { queue } => actions::purge_queue(api, output, vhost, &queue),
        Command::DeleteQueue { queue, if_empty, if_unused } => {
            actions::delete_queue(api, output, vhost, &queue, if_empty, if_unused)
        }
        Command::Delayed(command) => delayed::run(api, output, vhost, command),
        Command::Tail(options) => tail::run(api, output, vhost, &options),
        Command::CloseConnection { name, explanation } => actions::close_connection(api, output, &name, &explanation),
        Command::CloseAllConnections { which, explanation } => {
            actions::close_all_connections(api, output, vhost, &which, &explanation)
        }
        Command::CloseAllUserConnections { username, explanation } => {
            actions::close_all_user_connections(api, output, &username, &explanation)
        }
        Command::Cluster(command) => cluster::run(api, output, vhost, command),
        Command::Node(command) => node::run(api, output, vhost, command, timeout),
        Command::Checks(command) => checks::run(api, output, timeout(checks::TIMEOUT_S), command),
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}
