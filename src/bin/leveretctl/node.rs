//! The commands about the node as a whole.

use crate::api::{Api, Failure};
use crate::describe::{self, Unit};
use crate::output::Output;
use crate::top::{self, TopOptions};
use crate::{checks, listeners, report, resources, startup};
use clap::Subcommand;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum NodeCommand {
    /// Say how the broker is
    Status {
        #[arg(long, value_enum, ignore_case = true, default_value_t = Unit::Gb)]
        unit: Unit,
    },
    /// Say which nodes there are, which of them run, and which one leads
    ClusterStatus,
    /// Ask whether the broker answers
    Ping,
    /// Wait until the broker answers, for five minutes at most if nothing else is said
    AwaitStartup,
    /// Wait until so many nodes of the cluster run
    AwaitOnlineNodes { count: u32 },
    /// Spread the leaders of queues over nodes; there is one
    #[command(hide = true)]
    Rebalance {
        kind: String,
        #[arg(long)]
        vhost_pattern: Option<String>,
        #[arg(long)]
        queue_pattern: Option<String>,
    },
    /// Wait until the cluster would do without any one of its nodes
    AwaitOnlineQuorumPlusOne,
    /// The same of mirrored queues, which there are not
    #[command(hide = true)]
    AwaitOnlineSynchronizedMirror,
    /// Wait for the process of a file, and until the broker answers
    Wait {
        pidfile: Option<PathBuf>,
        /// Instead of a file
        #[arg(short = 'P', long)]
        pid: Option<u32>,
    },
    /// Say whether the broker serves clients
    IsRunning,
    /// Say whether the broker is still starting
    IsBooting,
    /// List resources that run low
    Alarms,
    /// List where the broker listens
    Listeners,
    /// Say what the broker's memory is for, as far as it counts that
    MemoryBreakdown {
        #[arg(long, value_enum, ignore_case = true, default_value_t = Unit::Gb)]
        unit: Unit,
    },
    /// List queues that don't answer
    ListUnresponsiveQueues {
        columns: Vec<String>,
        #[arg(long, hide = true)]
        local: bool,
        #[arg(long = "queue-timeout", hide = true)]
        queue_timeout: Option<u64>,
    },
    /// Set the memory of messages above which publishers are not read, until the broker ends: `FRACTION` of the memory, or
    /// `absolute VALUE` in bytes or with a unit
    SetVmMemoryHighWatermark {
        #[arg(allow_hyphen_values = true)]
        watermark: Vec<String>,
    },
    /// Set the room on the disk below which publishers are not read, until the broker ends: `VALUE` in bytes or with a unit,
    /// or `mem_relative FRACTION` of the memory
    SetDiskFreeLimit {
        #[arg(allow_hyphen_values = true)]
        limit: Vec<String>,
    },
    /// Print all that whoever looks into a problem asks for; names are in it, and no secrets
    Report,
    /// Show the busiest queues, every few seconds
    Top(TopOptions),
    /// Say the version of this tool
    Version,
    /// Say which version of RabbitMQ the broker is compatible with
    ServerVersion,
}

pub fn run(
    api: &Api,
    output: &Output,
    vhost: &str,
    command: NodeCommand,
    timeout: impl Fn(u64) -> Duration,
) -> Result<(), Failure> {
    use NodeCommand as Command;
    match command {
        Command::Status { unit } => describe::status(api, output, unit),
        Command::ClusterStatus => describe::cluster_status(api, output),
        Command::Ping => startup::ping(api, output, timeout(60)),
        Command::AwaitStartup => startup::await_startup(api, timeout(300)),
        Command::AwaitOnlineNodes { count } => startup::await_online_nodes(api, output, count, timeout(300)),
        Command::Rebalance { .. } => {
            checks::node(api)?;
            output.announce(format_args!("Re-balancing leaders of all queues..."));
            Ok(())
        }
        Command::AwaitOnlineQuorumPlusOne => startup::await_quorum_plus_one(api, output, timeout(120)),
        Command::AwaitOnlineSynchronizedMirror => startup::await_mirror(api, output, timeout(120)),
        Command::Wait { pidfile, pid } => startup::wait(api, output, pidfile.as_deref(), pid, timeout(10)),
        Command::IsRunning => startup::is_running(api, output),
        Command::IsBooting => startup::is_booting(api, output),
        Command::Alarms => describe::alarms_now(api, output),
        Command::Listeners => listeners::list(api, output, &checks::node(api)?),
        Command::MemoryBreakdown { unit } => describe::memory_breakdown(api, output, unit),
        Command::ListUnresponsiveQueues { .. } => describe::unresponsive_queues(api, output, vhost),
        Command::SetVmMemoryHighWatermark { watermark } => resources::set_memory_watermark(api, output, &watermark),
        Command::SetDiskFreeLimit { limit } => resources::set_disk_free_limit(api, output, &limit),
        Command::Report => report::report(api, output, timeout(60)),
        Command::Top(options) => top::run(api, output, &options),
        Command::Version => {
            describe::version(output);
            Ok(())
        }
        Command::ServerVersion => describe::server_version(api, output),
    }
}
