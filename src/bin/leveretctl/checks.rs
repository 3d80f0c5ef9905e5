//! Health checks: nothing is wrong, or an exit code of 69.

use crate::api::{Api, Failure, WHICH_NODE};
use crate::cluster;
use crate::listeners::{Listener, listeners, protocol_named};
use crate::output::{Format, Output};
use crate::startup;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Seconds that a check may take where nothing else is said.
pub const TIMEOUT_S: u64 = 30;

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum CheckCommand {
    /// Ask whether the broker serves clients
    CheckRunning,
    /// Ask whether no resource runs low
    CheckLocalAlarms,
    /// The same, in a cluster of one
    CheckAlarms,
    /// Ask whether all virtual hosts are there
    CheckVirtualHosts,
    /// Ask whether there is a listener for a protocol
    CheckProtocolListener { protocol: String },
    /// Ask whether there is a listener on a port
    CheckPortListener {
        #[arg(allow_hyphen_values = true)]
        port: String,
    },
    /// Connect to every listener of the broker
    CheckPortConnectivity {
        /// At this address instead of the one that management is at
        #[arg(short, long)]
        address: Option<String>,
    },
    /// Ask whether no listener's certificate expires soon
    CheckCertificateExpiration {
        #[arg(long, default_value_t = 4)]
        within: u32,
        #[arg(long, value_enum, default_value_t = Unit::Weeks)]
        unit: Unit,
    },
    /// Ask whether nothing would be confirmed any more without the node that is asked
    CheckIfNodeIsQuorumCritical,
    /// The same of mirrored queues, which there are not
    CheckIfNodeIsMirrorSyncCritical,
    /// Does nothing any more, as with RabbitMQ 3.13
    NodeHealthCheck,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Unit {
    Days,
    Weeks,
    Months,
    Years,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Days => "days",
            Self::Weeks => "weeks",
            Self::Months => "months",
            Self::Years => "years",
        }
    }
}

pub fn run(api: &Api, output: &Output, timeout: Duration, command: CheckCommand) -> Result<(), Failure> {
    use CheckCommand as Command;
    match command {
        Command::CheckRunning => startup::check_running(api, output),
        Command::CheckLocalAlarms => check_local_alarms(api, output),
        Command::CheckAlarms => check_alarms(api, output),
        Command::CheckVirtualHosts => check_virtual_hosts(api, output),
        Command::CheckProtocolListener { protocol } => check_protocol_listener(api, output, &protocol),
        Command::CheckPortListener { port } => check_port_listener(api, output, &port),
        Command::CheckPortConnectivity { address } => check_port_connectivity(api, output, address.as_deref(), timeout),
        Command::CheckCertificateExpiration { within, unit } => check_certificates(api, output, within, unit),
        Command::CheckIfNodeIsQuorumCritical => cluster::check_if_critical(api, output),
        Command::CheckIfNodeIsMirrorSyncCritical => {
            alone(api, output, "critical for data safety of any classic mirrored queues")
        }
        Command::NodeHealthCheck => {
            output.announce(format_args!(
                "This command is DEPRECATED and is a no-op. It will be removed in a future version. \n\
                 Use one of the options covered in https://www.rabbitmq.com/monitoring.html#health-checks instead."
            ));
            Ok(())
        }
    }
}

pub fn node(api: &Api) -> Result<String, Failure> {
    Ok(api.get(WHICH_NODE)?["node"].as_str().unwrap_or_default().to_owned())
}

/// Lines for the resources that are low.
pub fn alarms(api: &Api, node: &str) -> Result<Vec<String>, Failure> {
    let answer = api.check_health("health/checks/local-alarms")?;
    let resources = answer["alarms"].as_array().into_iter().flatten().filter_map(|alarm| alarm["resource"].as_str());
    Ok(resources.map(|resource| alarm_line(resource, node)).collect())
}

/// What is said of a resource that the health checks call low.
fn alarm_line(resource: &str, node: &str) -> String {
    match resource {
        "disk space" => format!("Free disk space alarm on node {node}"),
        "memory" => format!("Memory alarm on node {node}"),
        other => format!("{other} alarm on node {node}"),
    }
}

fn check_local_alarms(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} to report any local resource alarms ..."));
    let alarms = alarms(api, &node)?;
    if alarms.is_empty() {
        pass(output, &format!("Node {node} reported no local alarms"));
        return Ok(());
    }
    if output.format == Format::Json {
        let message = format!("Node {node} reported local alarms");
        return Err(unhealthy(&json!({"local": alarms, "message": message, "result": "error"})));
    }
    Err(if output.is_silent { Failure::Silently } else { Failure::Unreachable(alarms.join("\n")) })
}

/// The same of other nodes of a cluster, as they say to the one that answers.
pub fn alarms_of_others(api: &Api, node: &str) -> Result<Vec<String>, Failure> {
    let answer = api.check_health("health/checks/alarms")?;
    let others = answer["alarms"].as_array().into_iter().flatten().filter(|alarm| alarm["node"] != node);
    let line = |alarm: &Value| Some(alarm_line(alarm["resource"].as_str()?, alarm["node"].as_str()?));
    Ok(others.filter_map(line).collect())
}

/// The alarms of all nodes.
fn check_alarms(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} to report any local resource alarms ..."));
    let (alarms, others) = (alarms(api, &node)?, alarms_of_others(api, &node)?);
    if alarms.is_empty() && others.is_empty() {
        pass(output, &format!("Node {node} reported no alarms, local or clusterwide"));
        return Ok(());
    }
    if output.format == Format::Json {
        let message = format!("Node {node} reported alarms");
        return Err(unhealthy(&json!({"global": others, "local": alarms, "message": message, "result": "error"})));
    }
    Err(if output.is_silent { Failure::Silently } else { Failure::Unhealthy([alarms, others].concat().join("\n")) })
}

fn check_virtual_hosts(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Checking if all vhosts are running on node {node} ..."));
    expect_ok(&api.check_health("health/checks/virtual-hosts")?)?;
    pass(output, &format!("Node {node} reported all vhosts as running"));
    Ok(())
}

/// Says so, to those who are not silent.
fn pass(output: &Output, line: &str) {
    if !output.is_silent || output.format == Format::Json {
        output.conclude(line, || json!({"result": "ok"}));
    }
}

fn unhealthy(answer: &Value) -> Failure {
    Failure::Unhealthy(answer.to_string())
}

pub fn expect_ok(answer: &Value) -> Result<(), Failure> {
    if answer["status"] == "ok" {
        return Ok(());
    }
    Err(Failure::Unreachable(answer["reason"].as_str().unwrap_or("the check failed").to_owned()))
}

fn check_protocol_listener(api: &Api, output: &Output, asked: &str) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} if there's an active listener for protocol {asked} ..."));
    let (listeners, protocol) = (listeners(api)?, protocol_named(asked));
    if listeners.iter().any(|listener| listener.protocol == protocol) {
        let line = format!("A listener for protocol {protocol} is running on node {node}.");
        output.conclude(&line, || json!({"node": node, "protocol": protocol, "result": "ok"}));
        return Ok(());
    }
    let mut protocols: Vec<&str> = listeners.iter().map(|listener| listener.protocol.as_str()).collect();
    if output.format == Format::Json {
        let listeners = all_json(&listeners);
        let answer = json!({"listeners": listeners, "missing": protocol, "protocols": protocols, "result": "error"});
        return Err(unhealthy(&answer));
    }
    protocols.sort_unstable();
    Err(Failure::Unreachable(format!(
        "No listener for protocol {protocol} is active on node {node}. Found listeners for the following protocols: {}",
        protocols.join(", ")
    )))
}

fn check_port_listener(api: &Api, output: &Output, port: &str) -> Result<(), Failure> {
    if !port.parse::<u64>().is_ok_and(|port| port > 0) {
        return Err(Failure::BadArgument("Argument must be a positive integer".to_owned()));
    }
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} if there's an active listener on port {port} ..."));
    let listeners = listeners(api)?;
    let mut ports: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
    if ports.iter().any(|known| known.to_string() == port) {
        let line = format!("A listener for port {port} is running on node {node}.");
        output.conclude(&line, || json!({"node": node, "port": port, "result": "ok"}));
        return Ok(());
    }
    if output.format == Format::Json {
        let listeners = all_json(&listeners);
        return Err(unhealthy(&json!({"listeners": listeners, "missing": port, "ports": ports, "result": "error"})));
    }
    ports.sort_unstable();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    Err(Failure::Unhealthy(format!(
        "No listener for port {port} is active on node {node}. Found listeners that use the following ports: {}",
        ports.join(", ")
    )))
}

fn all_json(listeners: &[Listener]) -> Vec<Value> {
    listeners.iter().map(Listener::json).collect()
}

fn check_port_connectivity(
    api: &Api,
    output: &Output,
    address: Option<&str>,
    timeout: Duration,
) -> Result<(), Failure> {
    let node = node(api)?;
    let (doing, done) = match address {
        None => ("using hostname resolution".to_owned(), "using node hostname resolution".to_owned()),
        Some(to) => (format!("using {to} for node IP address"), format!("using {to} for target IP address")),
    };
    output.announce(format_args!("Testing TCP connections to all active listeners on node {node} {doing} ..."));
    let (listeners, host) = (listeners(api)?, address.unwrap_or(api.host()));
    let each = timeout / u32::try_from(listeners.len() + 1).unwrap_or(u32::MAX);
    let deaf = listeners.iter().filter(|listener| !connects(host, listener.port, each));
    let (lines, answers): (Vec<_>, Vec<_>) = deaf.map(|listener| (listener.line(), listener.json())).unzip();
    if lines.is_empty() {
        let mut ports: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
        ports.sort_unstable();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let line = format!("Successfully connected to ports {} on node {node} ({done})", ports.join(", "));
        output.conclude(&line, || json!({"listeners": all_json(&listeners), "node": node, "result": "ok"}));
        return Ok(());
    }
    if output.format == Format::Json {
        return Err(unhealthy(&json!({"failures": answers, "node": node, "result": "error"})));
    }
    let head = format!("Connection to ports of the following listeners on node {node} failed: ");
    Err(Failure::Unreachable(format!("{head}\n{}", lines.join("\n"))))
}

fn connects(host: &str, port: u16, timeout: Duration) -> bool {
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, timeout).is_ok())
}

fn check_certificates(api: &Api, output: &Output, within: u32, unit: Unit) -> Result<(), Failure> {
    let (node, unit) = (node(api)?, unit.name());
    output.announce(format_args!("Checking certificate expiration on node {node} ..."));
    let answer = api.check_health(&format!("health/checks/certificate-expiration/{within}/{unit}"))?;
    if answer["status"] != "ok" {
        let expired = &answer["expired"];
        if output.format == Format::Json {
            return Err(unhealthy(&json!({"expired": expired, "result": "error"})));
        }
        let lines: Vec<String> = expired.as_array().into_iter().flatten().map(Value::to_string).collect();
        return Err(Failure::Unhealthy(lines.join("\n")));
    }
    let unit = if within == 1 { unit.trim_end_matches('s') } else { unit };
    output.conclude(&format!("No certificates are expiring within {within} {unit}."), || json!({"result": "ok"}));
    Ok(())
}

/// What is asked of one node among others.
fn alone(api: &Api, output: &Output, what: &str) -> Result<(), Failure> {
    const ALONE: &str = "seems to be the only one in a single node cluster, the check does not apply";
    let node = node(api)?;
    output.announce(format_args!("Checking if node {node} is {what} ..."));
    if !output.is_silent || output.format == Format::Json {
        let json = || json!({"message": format!("Target node {ALONE}"), "result": "ok"});
        output.conclude(&format!("Node {node} {ALONE}"), json);
    }
    Ok(())
}
