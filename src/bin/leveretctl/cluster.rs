//! The commands about a cluster: who leads, who is there, and taking a node out of service.

use crate::api::{Api, Failure, OWN_NODE, segment};
use crate::output::Output;
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often it is looked whether it is so.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long another leader is waited for that was asked for.
const LEADER: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum ClusterCommand {
    /// Have another node lead: this one, or the one that has most of the log
    TransferLeadership { node: Option<String> },
    /// Have a node that is gone for good counted no more; it must not run
    ForgetClusterNode {
        node: String,
        #[arg(long, hide = true)]
        offline: bool,
    },
    /// Say how far the nodes are that keep a queue of type quorum
    QuorumStatus { queue: String },
    /// Take the node that is asked out of service: it serves nobody and doesn't lead, and keeps the log all the same
    Drain,
    /// Put the node that is asked into service again
    Revive,
}

pub fn run(api: &Api, output: &Output, vhost: &str, command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::TransferLeadership { node } => transfer_leadership(api, output, node.as_deref()),
        ClusterCommand::ForgetClusterNode { node, .. } => forget(api, output, &node),
        ClusterCommand::QuorumStatus { queue } => quorum_status(api, output, vhost, &queue),
        ClusterCommand::Drain => drain(api, output),
        ClusterCommand::Revive => revive(api, output),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The nodes of a cluster that run and all of them, and who of them leads.
pub struct Cluster {
    pub running: Vec<String>,
    pub all: Vec<String>,
    pub leader: Option<String>,
    /// Of those that run.
    voters: usize,
    quorum: usize,
}

impl Cluster {
    /// As the answer of `/api/cluster` says.
    pub fn of(answer: &Value) -> Self {
        let nodes = answer["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        let name = |node: &&Value| text(&node["name"]).to_owned();
        let is_formed = nodes.iter().any(|node| node["role"] != "none");
        let running = || nodes.iter().filter(|node| node["running"] == true);
        Self {
            running: running().map(|node| name(&node)).collect(),
            // One that was forgotten is of the settings alone.
            all: nodes.iter().filter(|node| node["role"] != "none" || !is_formed).map(|node| name(&node)).collect(),
            leader: answer["leader"].as_str().map(str::to_owned),
            voters: running().filter(|node| node["role"] != "learner" && node["role"] != "none").count(),
            quorum: answer["quorum"].as_u64().and_then(|quorum| usize::try_from(quorum).ok()).unwrap_or(1),
        }
    }

    /// It is nobody's question who leads a broker that is alone.
    pub fn is_of_one(&self) -> bool {
        self.all.len() == 1
    }

    pub fn could_lose_one(&self) -> bool {
        self.voters > self.quorum
    }
}

/// The node that is asked, which need not be the one that answers other questions.
pub struct Own {
    pub name: String,
    pub is_alone: bool,
    pub is_drained: bool,
    pub is_critical: bool,
}

pub fn own(api: &Api) -> Result<Own, Failure> {
    let answer = api.get(OWN_NODE)?;
    Ok(Own {
        name: text(&answer["name"]).to_owned(),
        is_alone: text(&answer["cluster"]).is_empty(),
        is_drained: answer["being_drained"] == true,
        is_critical: answer["quorum_critical"] == true,
    })
}

/// Waits until a cluster is so, and says whether it is in time. One without a leader is not yet as it is to be.
pub fn await_cluster(api: &Api, timeout: Duration, is_so: impl Fn(&Cluster) -> bool) -> Result<bool, Failure> {
    let start = Instant::now();
    loop {
        match api.get("cluster") {
            Ok(answer) if is_so(&Cluster::of(&answer)) => return Ok(true),
            Ok(_) | Err(Failure::Unreachable(_)) if start.elapsed() < timeout => std::thread::sleep(RETRY_PAUSE),
            Ok(_) | Err(Failure::Unreachable(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        }
    }
}

fn transfer_leadership(api: &Api, output: &Output, to: Option<&str>) -> Result<(), Failure> {
    let own = own(api)?;
    let before = Cluster::of(&api.get("cluster")?).leader.unwrap_or_default();
    match to {
        Some(to) => output.announce(format_args!("Will have node {to} lead the cluster of node {} ...", own.name)),
        None => output.announce(format_args!("Will have another node than {before} lead ...")),
    }
    api.upload("cluster/leader", json!({ "node": to }).to_string())?;
    let is_so = |cluster: &Cluster| match (&cluster.leader, to) {
        (Some(leader), Some(to)) => leader == to,
        (Some(leader), None) => *leader != before,
        (None, _) => false,
    };
    if !await_cluster(api, LEADER, is_so)? {
        return Err(Failure::Unreachable("the lead was given away, and nobody took it in time".to_owned()));
    }
    let leader = Cluster::of(&api.get("cluster")?).leader.unwrap_or_default();
    output.conclude(&format!("Node {leader} leads"), || json!({"leader": leader, "result": "ok"}));
    Ok(())
}

fn forget(api: &Api, output: &Output, node: &str) -> Result<(), Failure> {
    output.announce(format_args!("Removing node {node} from the cluster"));
    api.delete(&format!("cluster/nodes/{}", segment(node)), None).map_err(|failure| match failure {
        Failure::NotFound(why) => Failure::NotFound(format!("{{:not_a_cluster_node, '{why}'}}")),
        other => of_cluster(other),
    })
}

/// RabbitMQ's columns, but for what there is not: one log has no versions of machines. What a node doesn't know of others is
/// empty, as there.
const STATUS_COLUMNS: [&str; 8] =
    ["Node Name", "Raft State", "Membership", "Last Log Index", "Last Written", "Last Applied", "Commit Index", "Term"];

fn quorum_status(api: &Api, output: &Output, vhost: &str, queue: &str) -> Result<(), Failure> {
    let own = own(api)?;
    output.announce(format_args!("Status of quorum queue {queue} on node {} ...", own.name));
    let path = format!("queues/{}/{}?columns=type", segment(vhost), segment(queue));
    let found = api.get(&path).map_err(|failure| failure.or_missing(|| Failure::NotFound("not_found".to_owned())))?;
    if found["type"] != "quorum" {
        return Err(Failure::NotFound("Cannot get quorum status of a classic queue".to_owned()));
    }
    let cluster = api.get("cluster")?;
    let empty = || json!("");
    let row = |node: &Value| {
        let name = node["name"].clone();
        let (state, membership) = match (text(&node["role"]), node["running"] == true) {
            (_, false) => ("noproc", if node["role"] == "learner" { "non_voter" } else { "voter" }),
            ("leader", _) => ("leader", "voter"),
            ("learner", _) => ("follower", "non_voter"),
            _ => ("follower", "voter"),
        };
        let written = if node["index"].is_null() { empty() } else { node["index"].clone() };
        let mut row = vec![name, json!(state), json!(membership), empty(), written, empty(), empty(), empty()];
        // Only of itself a node knows all.
        if node["name"] == cluster["node"] && !own.is_alone {
            row[3] = cluster["written_index"].clone();
            row[4] = cluster["written_index"].clone();
            row[5] = cluster["applied_index"].clone();
            row[6] = cluster["commit_index"].clone();
            row[7] = cluster["term"].clone();
        }
        row
    };
    let rows: Vec<Vec<Value>> = cluster["nodes"].as_array().into_iter().flatten().map(row).collect();
    output.pretty(&STATUS_COLUMNS, &rows);
    Ok(())
}

fn drain(api: &Api, output: &Output) -> Result<(), Failure> {
    let own = own(api)?;
    output.announce(format_args!(
        "Will put node {} into maintenance mode. The node will no longer serve any client traffic!",
        own.name
    ));
    api.put("cluster/self/maintenance", &Value::Null).map_err(of_cluster)
}

fn revive(api: &Api, output: &Output) -> Result<(), Failure> {
    let own = own(api)?;
    output.announce(format_args!(
        "Will put node {} back into regular operating mode. The node will again serve client traffic and host primary \
         queue replicas.",
        own.name
    ));
    api.delete("cluster/self/maintenance", None).map_err(of_cluster)
}

/// What a broker that is alone refuses is not there, as other commands are not.
fn of_cluster(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(why) => Failure::Unreachable(why),
        other => other,
    }
}

/// Whether anything would be confirmed without the node that is asked.
pub fn check_if_critical(api: &Api, output: &Output) -> Result<(), Failure> {
    const ALONE: &str = "seems to be the only one in a single node cluster, the check does not apply";
    const DRAINED: &str = "seems to be in maintenance mode, the check does not apply";
    let Own { name, is_alone, is_drained, is_critical } = own(api)?;
    output.announce(format_args!("Checking if node {name} is critical for quorum of any queues/streams ..."));
    let says = !output.is_silent || output.is_json();
    match (is_alone, is_drained, is_critical) {
        (true, _, _) | (_, true, _) => {
            let why = if is_alone { ALONE } else { DRAINED };
            let json = || json!({"message": format!("Target node {why}"), "result": "ok"});
            if says {
                output.conclude(&format!("Node {name} {why}"), json);
            }
            Ok(())
        }
        (_, _, false) => {
            if says {
                let line = format!("Node {name} reported no queues/streams with minimum quorum");
                output.conclude(&line, || json!({"result": "ok"}));
            }
            Ok(())
        }
        (_, _, true) if output.is_json() => {
            let message = format!("Node {name} reported local queues with minimum online quorum");
            Err(Failure::Unhealthy(json!({"message": message, "queues": [], "result": "error"}).to_string()))
        }
        (_, _, true) => Err(Failure::Unhealthy(format!(
            "Node {name} reported local queues with minimum online quorum: nothing is confirmed any more if it stops"
        ))),
    }
}
