//! Whether the broker is there, and waiting until it is.

use crate::api::{Api, Failure};
use crate::checks::node;
use crate::cluster::{Cluster, await_cluster};
use crate::output::Output;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a broker that doesn't answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Whoever answers is there, whoever asks.
pub fn ping(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    output.announce(format_args!("Will ping {}. Timeout: {} ms.", api.host(), timeout.as_millis()));
    api.get("whoami")?;
    output.conclude("Ping succeeded", || json!({"message": "Ping succeeded"}));
    Ok(())
}

/// Says nothing once the broker answers.
pub fn await_startup(api: &Api, timeout: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match api.check_health("health/checks/ready-to-serve-clients") {
            Ok(answer) if answer["status"] == "ok" => return Ok(()),
            Ok(_) | Err(Failure::Unreachable(_)) if start.elapsed() < timeout => std::thread::sleep(RETRY_PAUSE),
            Ok(_) | Err(Failure::Unreachable(_)) => return Err(timed_out("await_startup", api, timeout)),
            Err(failure) => return Err(failure),
        }
    }
}

pub fn await_online_nodes(api: &Api, output: &Output, count: u32, timeout: Duration) -> Result<(), Failure> {
    let (host, timeout_s) = (api.host(), timeout.as_secs());
    output.announce(format_args!(
        "Will wait for at least {count} nodes to join the cluster of {host}. Timeout: {timeout_s} seconds."
    ));
    let start = Instant::now();
    await_startup(api, timeout)?;
    let enough = |cluster: &Cluster| cluster.running.len() >= usize::try_from(count).unwrap_or(usize::MAX);
    let is_enough = match Cluster::of(&api.get("cluster")?) {
        // Nobody will ever join it.
        alone if alone.is_of_one() => enough(&alone),
        _ => await_cluster(api, timeout.saturating_sub(start.elapsed()), enough)?,
    };
    match is_enough {
        true => Ok(()),
        false => {
            Err(Failure::Software(format!("Error: timed out while waiting. Not enough nodes joined {host}'s cluster.")))
        }
    }
}

const ALONE: &str = "Target node seems to be the only one in a single node cluster, the command does not apply";

fn announce_others(output: &Output, whom: &str, timeout: Duration) {
    let timeout_s = timeout.as_secs();
    output.announce(format_args!("Will wait for {whom} to be online for all queues for {timeout_s} seconds..."));
}

/// Waits until one more runs than are needed.
pub fn await_quorum_plus_one(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    announce_others(output, "a quorum + 1 of nodes", timeout);
    if Cluster::of(&api.get("cluster")?).is_of_one() {
        output.say(ALONE);
        return Ok(());
    }
    match await_cluster(api, timeout, Cluster::could_lose_one)? {
        true => Ok(()),
        false => Err(Failure::Unreachable(
            "time is up, no quorum + 1 online replicas came online for at least some quorum queues or streams"
                .to_owned(),
        )),
    }
}

/// There are no mirrored queues, which is all that is asked.
pub fn await_mirror(api: &Api, output: &Output, timeout: Duration) -> Result<(), Failure> {
    announce_others(output, "a mirror", timeout);
    node(api)?;
    output.say(ALONE);
    Ok(())
}

fn timed_out(operation: &str, api: &Api, timeout: Duration) -> Failure {
    let (host, ms) = (api.host(), timeout.as_millis());
    Failure::TimedOut(format!("operation {operation} on node {host} timed out. Timeout value used: {ms}"))
}

/// Waits for a file with a process id, and for the broker while that process is there. Without a file the id is given.
pub fn wait(
    api: &Api,
    output: &Output,
    file: Option<&Path>,
    process: Option<u32>,
    timeout: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let process = match (file, process) {
        (None, None) => return Err(Failure::Usage("\"No pid or pidfile specified\"".to_owned())),
        (Some(_), Some(_)) => return Err(Failure::Usage("\"Cannot specify both pid and pidfile\"".to_owned())),
        (None, Some(process)) => process,
        (Some(file), None) => {
            output.announce(format_args!("Waiting for pid file '{}' to appear", file.display()));
            let process = loop {
                if let Some(process) = read_process(file)? {
                    break process;
                }
                if Instant::now() >= deadline {
                    return Err(timed_out("wait", api, timeout));
                }
                std::thread::sleep(RETRY_PAUSE);
            };
            output.announce(format_args!("pid is {process}"));
            process
        }
    };
    let host = api.host();
    output.announce(format_args!("Waiting for node '{host}' while OS process '{process}' is running"));
    loop {
        if !Path::new(&format!("/proc/{process}")).exists() {
            return Err(Failure::Unreachable("process_not_running".to_owned()));
        }
        match api.check_health("health/checks/ready-to-serve-clients") {
            Err(Failure::Unreachable(_)) if Instant::now() < deadline => std::thread::sleep(RETRY_PAUSE),
            Err(Failure::Unreachable(_)) => return Err(timed_out("wait", api, timeout)),
            Err(failure) => return Err(failure),
            Ok(_) => break,
        }
    }
    output.announce(format_args!("Node '{host}' is running"));
    Ok(())
}

/// `None` while there is nothing in it.
fn read_process(file: &Path) -> Result<Option<u32>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => match text.trim().parse() {
            Ok(process) => Ok(Some(process)),
            Err(_) => Err(Failure::Software("Error: garbage in pid file.".to_owned())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Software(format!("Error: could not read pid. Detail: {error}"))),
    }
}

/// Says whether the broker serves clients; that it doesn't is no failure.
pub fn is_running(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} for its status ..."));
    let message = running(output, &node);
    output.conclude(&message, || json!({"message": message, "result": true}));
    Ok(())
}

/// A broker that answers has started.
pub fn is_booting(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    let product = output.product;
    output.announce(format_args!("Asking node {node} for its boot status ..."));
    let message = format!(
        "{product} on node {node} is fully booted (check with is_running), stopped or has not started booting yet"
    );
    output.conclude(&message, || json!({"message": message, "result": false}));
    Ok(())
}

pub fn check_running(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Checking if {} is running on node {node} ...", output.product));
    crate::checks::expect_ok(&api.check_health("health/checks/ready-to-serve-clients")?)?;
    let message = running(output, &node);
    output.conclude(&message, || json!({"message": message}));
    Ok(())
}

fn running(output: &Output, node: &str) -> String {
    format!("{} on node {node} is fully booted and running", output.product)
}
