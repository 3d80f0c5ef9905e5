//! How the node is: its status, its cluster, its memory. What RabbitMQ tells and there is not, or is not measured, is
//! left out.

use crate::api::{Api, Failure};
use crate::checks::{alarms, node};
use crate::cluster::{Cluster, own};
use crate::listeners::{Listener, listeners};
use crate::output::{Format, Output};
use crate::tool::COMPATIBLE_VERSION;
use serde_json::{Map, Value, json};

/// In which unit bytes are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Unit {
    Bytes,
    Mb,
    Mib,
    Gb,
    Gib,
    Tb,
    Tib,
}

impl Unit {
    /// A number of bytes in this unit, to four digits after the point.
    fn of(self, bytes: &Value) -> String {
        let (name, factor) = match self {
            Self::Bytes => return format!("{} bytes", bytes.as_u64().unwrap_or_default()),
            Self::Mb => ("mb", 1e6),
            Self::Mib => ("mib", f64::from(1 << 20)),
            Self::Gb => ("gb", 1e9),
            Self::Gib => ("gib", f64::from(1 << 30)),
            Self::Tb => ("tb", 1e12),
            Self::Tib => ("tib", 1024.0 * f64::from(1 << 30)),
        };
        format!("{:?} {name}", rounded(bytes.as_f64().unwrap_or_default() / factor, 1e4))
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn status(api: &Api, output: &Output, unit: Unit) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Status of node {node} ..."));
    let (overview, nodes) = (api.get("overview")?, api.get("nodes")?);
    let rows = nodes.as_array().map_or(&[][..], Vec::as_slice);
    let details = rows.iter().find(|row| row["name"] == node.as_str()).unwrap_or(&Value::Null);
    let (alarms, listeners) = (alarms(api, &node)?, listeners(api)?);
    let vhosts = api.get("vhosts?columns=name")?.as_array().map_or(0, Vec::len);
    let uptime_s = details["uptime"].as_u64().unwrap_or_default() / 1000;
    if output.format == Format::Json {
        let process = text(&details["os_pid"]).parse::<u32>().ok();
        output.print(
            &json!({
                "alarms": alarm_maps(&alarms, &node),
                "disk_free": details["disk_free"],
                "disk_free_limit": details["disk_free_limit"],
                "file_descriptors": {"total_limit": details["fd_total"], "total_used": details["fd_used"]},
                "is_under_maintenance": false,
                "listeners": all_json(&listeners),
                "memory": {"strategy": "rss", "total": {"rss": details["mem_used"]}},
                "os": std::env::consts::OS,
                "pid": process,
                "product_name": overview["product_name"],
                "product_version": overview["product_version"],
                "rabbitmq_version": overview["rabbitmq_version"],
                "totals": {
                    "connection_count": overview["object_totals"]["connections"],
                    "queue_count": overview["object_totals"]["queues"],
                    "virtual_host_count": vhosts,
                },
                "uptime": uptime_s,
                "vm_memory_calculation_strategy": "rss",
                "vm_memory_high_watermark_limit": details["mem_limit"],
            })
            .to_string(),
        );
        return Ok(());
    }
    let mut lines = vec![
        "Runtime\n".to_owned(),
        format!("OS PID: {}", text(&details["os_pid"])),
        format!("Uptime (seconds): {uptime_s}"),
        "Is under maintenance?: false".to_owned(),
        format!("Product name: {}", text(&overview["product_name"])),
        format!("Product version: {}", text(&overview["product_version"])),
        format!("RabbitMQ version: {}", text(&overview["rabbitmq_version"])),
        format!("Node name: {node}"),
        "\nAlarms\n".to_owned(),
    ];
    lines.extend(or_none(alarms));
    lines.extend([
        "\nMemory\n".to_owned(),
        format!("Total memory used: {}", unit.of(&details["mem_used"])),
        "Calculation strategy: rss".to_owned(),
        format!("Memory high watermark of messages: {}", unit.of(&details["mem_limit"])),
        "\nFile Descriptors\n".to_owned(),
        format!("Total: {}, limit: {}", details["fd_used"], details["fd_total"]),
        "\nFree Disk Space\n".to_owned(),
        format!("Low free disk space watermark: {}", unit.of(&details["disk_free_limit"])),
        match details["disk_free"].is_null() {
            true => "Free disk space: (not available)".to_owned(),
            false => format!("Free disk space: {}", unit.of(&details["disk_free"])),
        },
        "\nTotals\n".to_owned(),
        format!("Connection count: {}", overview["object_totals"]["connections"]),
        format!("Queue count: {}", overview["object_totals"]["queues"]),
        format!("Virtual host count: {vhosts}"),
        "\nListeners\n".to_owned(),
    ]);
    lines.extend(listeners.iter().map(Listener::line));
    output.print(&lines.join("\n"));
    Ok(())
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["(none)".to_owned()] } else { lines }
}

fn all_json(listeners: &[Listener]) -> Vec<Value> {
    listeners.iter().map(Listener::json).collect()
}

/// As RabbitMQ has them in JSON.
fn alarm_maps(lines: &[String], node: &str) -> Vec<Value> {
    let resource = |line: &String| if line.starts_with("Memory") { "memory" } else { "disk" };
    let map = |line: &String| json!({"node": node, "resource": resource(line), "type": "resource_limit"});
    lines.iter().map(map).collect()
}

/// What a node says of its cluster while nobody leads that.
fn status_without_leader(answer: &Value, output: &Output) {
    let (cluster, node) = (Cluster::of(answer), text(&answer["node"]));
    if output.format == Format::Json {
        let status = json!({
            "cluster_name": answer["name"],
            "disk_nodes": cluster.all,
            "leader": null,
            "partitions": {},
            "ram_nodes": [],
            "running_nodes": cluster.running,
            "versions": {},
        });
        return output.print(&status.to_string());
    }
    let (all, running) = (cluster.all.join("\n"), cluster.running.join("\n"));
    let name = text(&answer["name"]);
    output.print(&format!(
        "Basics\n\nCluster name: {name}\nLeader: none that node {node} knows of\n\nDisk Nodes\n\n{all}\n\nRunning Nodes\n\n{running}"
    ));
}

/// How the cluster is, whichever of its nodes is asked.
pub fn cluster_status(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = match node(api) {
        Err(Failure::Unreachable(why)) => {
            // There is nobody who could say more; the node itself says this to those who are on its machine.
            let answer = api.get("cluster").map_err(|_| Failure::Unreachable(why))?;
            output.announce(format_args!("Cluster status of node {} ...", text(&answer["node"])));
            status_without_leader(&answer, output);
            return Ok(());
        }
        node => node?,
    };
    let (cluster, asked) = (Cluster::of(&api.get("cluster")?), own(api)?);
    output.announce(format_args!("Cluster status of node {node} ..."));
    let (overview, nodes, flags) = (api.get("overview")?, api.get("nodes")?, api.get("feature-flags")?);
    let (alarms, listeners) = (alarms(api, &node)?, listeners(api)?);
    let cluster_name = text(&overview["cluster_name"]);
    let (product, version) = (text(&overview["product_name"]), text(&overview["product_version"]));
    let rows = nodes.as_array().map_or(&[][..], Vec::as_slice);
    let processors =
        rows.iter().find(|row| row["name"] == node.as_str()).map_or(&Value::Null, |row| &row["processors"]);
    let flags = flags.as_array().map_or(&[][..], Vec::as_slice);
    let status = |is_drained| if is_drained { "marked for maintenance" } else { "not under maintenance" };
    // The node that is asked knows better; of one that isn't there nothing is known.
    let of_row = |row: &'_ Value| match text(&row["name"]) == asked.name {
        true => Some(asked.is_drained),
        false => row["being_drained"].as_bool(),
    };
    let maintenance: Vec<(&str, &str)> =
        rows.iter().filter_map(|row| Some((text(&row["name"]), status(of_row(row)?)))).collect();
    if output.format == Format::Json {
        let by_node = |value: Value| Value::Object(Map::from_iter([(node.clone(), value)]));
        let mut status = json!({
            "alarms": alarm_maps(&alarms, &node),
            "cluster_name": cluster_name,
            "cpu_cores": by_node(processors.clone()),
            "disk_nodes": cluster.all,
            "feature_flags": flags,
            "listeners": by_node(Value::from(all_json(&listeners))),
            "maintenance_status": Value::Object(
                maintenance.iter().map(|(node, status)| ((*node).to_owned(), json!(status))).collect(),
            ),
            "partitions": {},
            "ram_nodes": [],
            "running_nodes": cluster.running,
            "versions": by_node(json!({"rabbitmq_name": product, "rabbitmq_version": version})),
        });
        if !cluster.is_of_one() {
            status["leader"] = json!(cluster.leader);
        }
        output.print(&status.to_string());
        return Ok(());
    }
    let maintained: Vec<String> =
        maintenance.iter().map(|(node, status)| format!("Node: {node}, status: {status}")).collect();
    let leader = match &cluster.leader {
        Some(leader) if !cluster.is_of_one() => format!("\nLeader: {leader}"),
        _ => String::new(),
    };
    let mut lines = vec![
        "Basics\n".to_owned(),
        format!("Cluster name: {cluster_name}{leader}"),
        format!("Total CPU cores available cluster-wide: {processors}"),
        format!("\nDisk Nodes\n\n{}", cluster.all.join("\n")),
        format!("\nRunning Nodes\n\n{}", cluster.running.join("\n")),
        format!("\nVersions\n\n{node}: {product} {version}"),
        format!("\nCPU Cores\n\nNode: {node}, available CPU cores: {processors}"),
        format!("\nMaintenance status\n\n{}", maintained.join("\n")),
        "\nAlarms\n".to_owned(),
    ];
    lines.extend(or_none(alarms));
    lines.push("\nNetwork Partitions\n\n(none)\n\nListeners\n".to_owned());
    lines.extend(listeners.iter().map(|listener| format!("Node: {node}, i{}", &listener.line()[1..])));
    lines.push("\nFeature flags\n".to_owned());
    lines.extend(flags.iter().map(|flag| format!("Flag: {}, state: {}", text(&flag["name"]), text(&flag["state"]))));
    output.print(&lines.join("\n"));
    Ok(())
}

pub fn alarms_now(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} to report any known resource alarms ..."));
    let alarms = alarms(api, &node)?;
    if alarms.is_empty() {
        let json = || json!({"alarms": [], "node": node, "result": "ok"});
        output.conclude(&format!("Node {node} reported no alarms, local or clusterwide"), json);
        return Ok(());
    }
    output.conclude(
        &alarms.join("\n"),
        || json!({"global": [], "local": alarms, "message": format!("Node {node} reported alarms"), "result": "ok"}),
    );
    Ok(())
}

/// Parts of the memory where the broker counts them, and else all of it.
pub fn memory_breakdown(api: &Api, output: &Output, unit: Unit) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Reporting memory breakdown on node {node}..."));
    let answer = api.get(&format!("nodes/{}/memory", crate::api::segment(&node)))?;
    let memory = answer["memory"].as_object().cloned().unwrap_or_default();
    let total = &memory.get("total").map_or(Value::Null, |total| total["rss"].clone());
    let mut parts: Vec<(&str, &Value)> =
        memory.iter().filter(|(_, bytes)| bytes.is_u64()).map(|(name, bytes)| (name.as_str(), bytes)).collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.as_u64()));
    if parts.is_empty() {
        parts.push(("total", total));
    }
    let percentage = |bytes: &Value| {
        let share = bytes.as_f64().unwrap_or_default() / total.as_f64().filter(|total| *total > 0.0).unwrap_or(1.0);
        rounded(share * 100.0, 1e2)
    };
    if output.format == Format::Json {
        let part = |(name, bytes): &(&str, &Value)| {
            ((*name).to_owned(), json!({"bytes": bytes, "percentage": percentage(bytes)}))
        };
        output.print(&Value::Object(parts.iter().map(part).collect()).to_string());
        return Ok(());
    }
    let line = |(name, bytes): &(&str, &Value)| format!("{name}: {} ({:?}%)", unit.of(bytes), percentage(bytes));
    output.print(&parts.iter().map(line).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// The version of this tool; called by a name of RabbitMQ's, the one that it is compatible with.
pub fn version(output: &Output) {
    let version = output.tool.version();
    output.conclude(version, || json!({ "version": version }));
}

pub fn server_version(api: &Api, output: &Output) -> Result<(), Failure> {
    let node = node(api)?;
    output.announce(format_args!("Asking node {node} for its RabbitMQ version..."));
    let overview = api.get("overview?columns=rabbitmq_version")?;
    let version = overview["rabbitmq_version"].as_str().unwrap_or(COMPATIBLE_VERSION);
    output.conclude(version, || json!({"result": "ok", "value": version}));
    Ok(())
}

/// A loop that answers makes every queue responsive.
pub fn unresponsive_queues(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing unresponsive queues for vhost {vhost} ..."));
    api.get(&format!("queues/{}?page=1&page_size=1&columns=name", crate::api::segment(vhost)))?;
    output.list(&["name"], &[]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_as_rabbitmqctl_tells_them() {
        let bytes = json!(10_110_600_806_u64);
        assert_eq!(Unit::Gb.of(&bytes), "10.1106 gb");
        assert_eq!(Unit::Gb.of(&json!(50_000_000)), "0.05 gb");
        assert_eq!(Unit::Gb.of(&json!(0)), "0.0 gb");
        assert_eq!(Unit::Mib.of(&json!(1_572_864)), "1.5 mib");
        assert_eq!(Unit::Bytes.of(&bytes), "10110600806 bytes");
    }
}
