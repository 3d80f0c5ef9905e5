//! What `leveretctl` is where it is called `rabbitmq-plugins`. Plugins of RabbitMQ's that this broker has built in are always
//! enabled, and there are no others; nobody is asked for that, so that it works where an image is made.

use crate::api::Failure;
use crate::command::Options;
use crate::output::Output;
use crate::tool::Tool;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

const BUILT_IN: [&str; 12] = [
    "rabbitmq_auth_backend_oauth2",
    "rabbitmq_auth_mechanism_ssl",
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_delayed_message_exchange",
    "rabbitmq_event_exchange",
    "rabbitmq_management",
    "rabbitmq_management_agent",
    "rabbitmq_message_deduplication",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
];

/// Says which plugins of RabbitMQ's the broker has built in
#[derive(Parser)]
#[command(rename_all = "snake_case", max_term_width = 100)]
pub struct PluginArguments {
    #[command(flatten)]
    options: Options,

    #[command(subcommand)]
    command: PluginCommand,
}

/// Whether the broker runs is no matter here.
#[derive(Args)]
struct Where {
    #[arg(long, hide = true)]
    offline: bool,
    #[arg(long, hide = true)]
    online: bool,
    #[arg(long, hide = true)]
    all: bool,
}

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
enum PluginCommand {
    /// List plugins of RabbitMQ's that the broker has built in
    List {
        /// Only those whose names hold this
        pattern: Option<String>,
        /// Only those that are enabled, which all are
        #[arg(short = 'e', long)]
        enabled: bool,
        /// Only those that were enabled by name, which all are
        #[arg(short = 'E')]
        explicitly_enabled: bool,
        /// Names alone
        #[arg(short = 'm', long)]
        minimal: bool,
        #[arg(short = 'v', long, hide = true)]
        verbose: bool,
        #[command(flatten)]
        at: Where,
    },
    /// Enable plugins, which those that there are have been all along
    Enable {
        plugins: Vec<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Disable plugins, which can't be done
    Disable {
        plugins: Vec<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Ask whether plugins are enabled
    IsEnabled {
        #[arg(required = true)]
        plugins: Vec<String>,
        #[command(flatten)]
        at: Where,
    },
}

pub fn run(tool: Tool, arguments: PluginArguments) -> Result<(), Failure> {
    let output = &arguments.options.output(tool);
    match arguments.command {
        PluginCommand::List { pattern, minimal, .. } => list(output, pattern.as_deref(), minimal),
        PluginCommand::Enable { plugins, .. } => {
            output.announce(format_args!("Enabling plugins:\n{}", plugins.join("\n")));
            missing(&plugins)?;
            output.conclude("Plugin configuration unchanged.", || json!({ "enabled": plugins, "result": "ok" }));
            Ok(())
        }
        PluginCommand::Disable { plugins, .. } => {
            output.announce(format_args!("Disabling plugins:\n{}", plugins.join("\n")));
            missing(&plugins)?;
            Err(Failure::Software("what this broker has built in can't be disabled".to_owned()))
        }
        PluginCommand::IsEnabled { plugins, .. } => {
            output.announce(format_args!("Asking if plugins {} are enabled ...", plugins.join(", ")));
            missing(&plugins).map_err(|failure| Failure::Unhealthy(failure.to_string()))?;
            let line = match &plugins[..] {
                [plugin] => format!("Plugin {plugin} is enabled"),
                _ => format!("Plugins {} are enabled", plugins.join(", ")),
            };
            output.conclude(&line, || json!({ "message": line, "result": "ok" }));
            Ok(())
        }
    }
}

/// # Errors
/// When there are some that the broker has not.
fn missing(plugins: &[String]) -> Result<(), Failure> {
    let missing: Vec<&str> = plugins.iter().map(String::as_str).filter(|plugin| !BUILT_IN.contains(plugin)).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::Software(format!("this broker has no plugins {}", missing.join(", ")))),
    }
}

fn list(output: &Output, pattern: Option<&str>, is_minimal: bool) -> Result<(), Failure> {
    let pattern = pattern.unwrap_or_default();
    output.announce(format_args!(
        "Listing plugins with pattern \"{}\" ...",
        if pattern.is_empty() { ".*" } else { pattern }
    ));
    let plugins = BUILT_IN.into_iter().filter(|plugin| plugin.contains(pattern));
    if is_minimal {
        let lines: Vec<&str> = plugins.collect();
        output.conclude(&lines.join("\n"), || json!({ "plugins": lines }));
        return Ok(());
    }
    let rows: Vec<Vec<Value>> =
        plugins.map(|plugin| vec![json!(plugin), json!("enabled"), json!(crate::tool::COMPATIBLE_VERSION)]).collect();
    output.list(&["name", "state", "version"], &rows);
    Ok(())
}
