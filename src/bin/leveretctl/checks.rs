//! Whether the broker is there, and how it is.

use crate::api::{Api, Failure};
use crate::output::{Format, Output};
use serde_json::{Value, json};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How often a broker that doesn't answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub fn node(api: &Api) -> Result<String, Failure> {
    Ok(api.get("cluster-name")?["name"].as_str().unwrap_or_default().to_owned())
}

pub fn ping(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    output.announce(format_args!("Will ping {}. Timeout: {} ms.", api.host(), timeout.as_millis()));
    api.get("whoami")?;
    output.say(format_args!("Ping succeeded"));
    Ok(())
}

/// Says nothing once the broker answers.
pub fn await_startup(api: &Api, timeout: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match api.check_health("health/checks/ready-to-serve-clients") {
            Err(Failure::Unreachable(_)) if start.elapsed() < timeout => std::thread::sleep(RETRY_PAUSE),
            outcome => return outcome.map(|_| ()),
        }
    }
}

pub fn check_running(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Checking if Leveret is running on node {node} ..."));
    expect_ok(&api.check_health("health/checks/ready-to-serve-clients")?)?;
    output.say(format_args!("Leveret on node {node} is fully booted and running"));
    Ok(())
}

pub fn check_local_alarms(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} to report any local resource alarms ..."));
    expect_no_alarms(api, &node)?;
    output.say(format_args!("Node {node} reported no local alarms"));
    Ok(())
}

/// The alarms of all nodes, which are those of the one.
pub fn check_alarms(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} to report any local resource alarms ..."));
    expect_no_alarms(api, &node)?;
    output.say(format_args!("Node {node} reported no alarms, local or clusterwide"));
    Ok(())
}

fn expect_no_alarms(api: &Api, node: &str) -> Result<(), Failure> {
    let answer = api.check_health("health/checks/local-alarms")?;
    let resources = answer["alarms"].as_array().into_iter().flatten().filter_map(|alarm| alarm["resource"].as_str());
    let lines: Vec<_> = resources.map(|resource| alarm_line(resource, node)).collect();
    if !lines.is_empty() {
        return Err(Failure::Unreachable(lines.join("\n")));
    }
    expect_ok(&answer)
}

pub fn check_virtual_hosts(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Checking if all vhosts are running on node {node} ..."));
    expect_ok(&api.check_health("health/checks/virtual-hosts")?)?;
    output.say(format_args!("Node {node} reported all vhosts as running"));
    Ok(())
}

pub fn check_protocol_listener(api: &Api, output: &Output, protocol: &str) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} if there's an active listener for protocol {protocol} ..."));
    expect_ok(&api.check_health(&format!("health/checks/protocol-listener/{protocol}"))?)?;
    output.say(format_args!("A listener for protocol {protocol} is running on node {node}."));
    Ok(())
}

pub fn server_version(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} for its RabbitMQ version..."));
    println!("{}", text(&api.get("overview")?["rabbitmq_version"]));
    Ok(())
}

pub fn check_port_listener(api: &Api, output: &Output, port: u16) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} if there's an active listener on port {port} ..."));
    expect_ok(&api.check_health(&format!("health/checks/port-listener/{port}"))?)?;
    output.say(format_args!("A listener for port {port} is running on node {node}."));
    Ok(())
}

/// What is said of a resource that the health checks call low.
fn alarm_line(resource: &str, node: &str) -> String {
    match resource {
        "disk space" => format!("Free disk space alarm on node {node}"),
        "memory" => format!("Memory alarm on node {node}"),
        other => format!("{other} alarm on node {node}"),
    }
}

fn expect_ok(answer: &Value) -> Result<(), Failure> {
    if answer["status"] == "ok" {
        return Ok(());
    }
    Err(Failure::Unreachable(answer["reason"].as_str().unwrap_or("the check failed").to_owned()))
}

pub fn check_port_connectivity(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Testing TCP connections to all active listeners on node {node} ..."));
    let overview = api.get("overview")?;
    let mut ports = Vec::new();
    for listener in overview["listeners"].as_array().into_iter().flatten() {
        let port = listener["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        if !connects(api.host(), port, timeout) {
            return Err(Failure::Unreachable(format!("Connection to port {port} of node {node} failed")));
        }
        ports.push(port.to_string());
    }
    output.say(format_args!("Successfully connected to ports {} on node {node}.", ports.join(", ")));
    Ok(())
}

fn connects(host: &str, port: u16, timeout: Duration) -> bool {
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, timeout).is_ok())
}

pub fn status(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Status of node {node} ..."));
    let (overview, nodes) = (api.get("overview")?, api.get("nodes")?);
    let details = &nodes[0];
    if output.format == Format::Json {
        println!("{}", json!({"overview": overview, "node": details}));
        return Ok(());
    }
    let uptime_s = details["uptime"].as_u64().unwrap_or_default() / 1000;
    println!("Runtime\n");
    println!("OS PID: {}", details["os_pid"].as_str().unwrap_or_default());
    println!("Uptime (seconds): {uptime_s}");
    println!(
        "{} version: {}",
        overview["product_name"].as_str().unwrap_or_default(),
        text(&overview["product_version"])
    );
    println!("RabbitMQ compatibility: {}", text(&overview["rabbitmq_version"]));
    println!("\nAlarms\n");
    let low = [("disk_free_alarm", "disk space"), ("mem_alarm", "memory")].into_iter();
    let alarms: Vec<_> =
        low.filter(|(flag, _)| details[*flag] == true).map(|(_, resource)| alarm_line(resource, &node)).collect();
    println!("{}", if alarms.is_empty() { "(none)".to_owned() } else { alarms.join("\n") });
    println!("\nMemory\n");
    println!("Resident bytes: {}", details["mem_used"]);
    println!("Watermark of messages in bytes: {}", details["mem_limit"]);
    println!("\nFree Disk Space\n");
    println!("Free bytes: {}, limit: {}", details["disk_free"], details["disk_free_limit"]);
    println!("\nFile Descriptors\n");
    println!("Total: {}, limit: {}", details["fd_used"], details["fd_total"]);
    println!("\nTotals\n");
    for (name, count) in overview["object_totals"].as_object().into_iter().flatten() {
        println!("{name}: {count}");
    }
    println!("\nListeners\n");
    for listener in overview["listeners"].as_array().into_iter().flatten() {
        let (address, protocol) = (text(&listener["ip_address"]), text(&listener["protocol"]));
        println!("Interface: {address}, port: {}, protocol: {protocol}", listener["port"]);
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
