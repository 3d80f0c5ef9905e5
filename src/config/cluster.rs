//! `[cluster]`: the nodes that keep one log, and which of them this one is.

use super::{ConfigError, Durability};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The port on which nodes speak with each other: RabbitMQ's for the same.
pub const CLUSTER_PORT: u16 = 25672;
/// Of fewer nodes none could be lost; and of more, each confirm would wait for more than three disks.
const NODES: std::ops::RangeInclusive<usize> = 3..=7;
/// The longest name of a node or a cluster, in bytes.
const NAME_MAX_BYTES: usize = 128;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// What the cluster is called, by all of its nodes alike. Empty: there is none, this broker is alone.
    pub name: String,
    /// Which of `nodes` this one is.
    pub node: String,
    /// Where the other nodes connect.
    pub listen: SocketAddr,
    /// Every node by its name: the host and port at which the others reach it.
    pub nodes: BTreeMap<String, String>,
    /// The file with what all nodes know and nobody else.
    pub secret_file: PathBuf,
    /// Whether clients of a node that doesn't lead are passed to the one that does, and not refused.
    pub pass_through: bool,
    /// How long to rest from reading the log through to reading it again, in seconds; 0: it is not read.
    pub scrub_interval_s: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            node: String::new(),
            listen: (Ipv4Addr::UNSPECIFIED, CLUSTER_PORT).into(),
            nodes: BTreeMap::new(),
            secret_file: PathBuf::new(),
            pass_through: true,
            scrub_interval_s: 86_400,
        }
    }
}

impl Cluster {
    pub fn is_on(&self) -> bool {
        !self.name.is_empty()
    }

    pub(super) fn validate(&self, durability: Durability) -> Result<(), ConfigError> {
        let refused = |key, value: &dyn std::fmt::Debug, expected: String| {
            Err(ConfigError::out_of_range(key, format!("{value:?}"), expected))
        };
        if !self.is_on() {
            return match self.node.is_empty() && self.nodes.is_empty() {
                true => Ok(()),
                false => {
                    refused("cluster.name", &self.name, "the name of the cluster whose nodes are named".to_owned())
                }
            };
        }
        if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
            let expected = "empty: this program was built for Apple Silicon, where there is no cluster";
            return refused("cluster.name", &self.name, expected.to_owned());
        }
        if self.name.len() > NAME_MAX_BYTES {
            return refused("cluster.name", &self.name, format!("at most {NAME_MAX_BYTES} bytes long"));
        }
        if durability != Durability::Always {
            let expected = "\"always\" in a cluster: what a node says it has written must be there after a power cut";
            return refused("durability", &durability.name(), expected.to_owned());
        }
        if !NODES.contains(&self.nodes.len()) {
            let expected = format!("{} to {} nodes: of fewer none could be lost", NODES.start(), NODES.end());
            return refused("cluster.nodes", &self.nodes.keys(), expected);
        }
        for (index, (name, address)) in self.nodes.iter().enumerate() {
            if !is_node_name(name) {
                let expected = format!("of 1 to {NAME_MAX_BYTES} letters, digits and the signs - _ . @");
                return refused("a name in cluster.nodes", name, expected);
            }
            if !is_host_and_port(address) {
                return refused("an address in cluster.nodes", address, "HOST:PORT, such as 10.0.0.1:25672".to_owned());
            }
            if self.nodes.values().take(index).any(|other| other == address) {
                return refused("an address in cluster.nodes", address, "that of one node alone".to_owned());
            }
        }
        if !self.nodes.contains_key(&self.node) {
            let names: Vec<_> = self.nodes.keys().map(String::as_str).collect();
            return refused("cluster.node", &self.node, format!("one of cluster.nodes: {}", names.join(", ")));
        }
        if self.secret_file.as_os_str().is_empty() {
            let expected = "a file with what all nodes know and nobody else".to_owned();
            return refused("cluster.secret_file", &self.secret_file, expected);
        }
        Ok(())
    }
}

fn is_node_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    !host.is_empty() && !is_bare_ipv6 && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::path::Path;

    fn cluster(change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config::default();
        let nodes = [("n1", "127.0.0.1:1"), ("n2", "[::1]:2"), ("n3", "burrow.example:3")];
        config.cluster = Cluster {
            name: "c".to_owned(),
            node: "n2".to_owned(),
            nodes: nodes.into_iter().map(|(name, address)| (name.to_owned(), address.to_owned())).collect(),
            secret_file: "secret".into(),
            ..Cluster::default()
        };
        change(&mut config);
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn three_nodes_that_know_each_other_are_a_cluster() {
        assert_eq!(cluster(|_| ()), Ok(()));
        assert_eq!(cluster(|config| config.cluster = Cluster::default()), Ok(()));
        assert!(!Cluster::default().is_on());
    }

    #[test]
    fn it_is_written_as_a_table_of_toml() {
        let text = "[cluster]\nname = 'c'\nnode = 'n1'\nlisten = '127.0.0.1:25701'\nsecret_file = '/etc/secret'\n\
                    nodes = { n1 = '127.0.0.1:25701', n2 = '127.0.0.1:25702', n3 = '127.0.0.1:25703' }\n";
        let config = Config::parse(text, Path::new("n1.toml")).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.cluster.is_on() && config.cluster.pass_through);
        assert_eq!(config.cluster.nodes["n3"], "127.0.0.1:25703");
        let told = config.told();
        assert!(told.contains("cluster.nodes.n2 = \"127.0.0.1:25702\"\n"), "{told}");
        assert!(told.contains("cluster.secret_file = \"/etc/secret\"\n"), "a path is no secret: {told}");
    }

    #[test]
    fn what_makes_no_cluster_is_refused_by_name() {
        type Change = fn(&mut Config);
        let changes: [(Change, &str); 9] = [
            (|config| config.cluster.name.clear(), "cluster.name is \"\", but must be the name of the cluster"),
            (|config| config.durability = Durability::Os, "durability is \"os\", but must be \"always\" in a cluster"),
            (|config| _ = config.cluster.nodes.remove("n3"), "cluster.nodes is [\"n1\", \"n2\"], but must be 3 to 7"),
            (
                |config| config.cluster.node = "n4".to_owned(),
                "cluster.node is \"n4\", but must be one of cluster.nodes: n1",
            ),
            (|config| config.cluster.secret_file.clear(), "cluster.secret_file is \"\", but must be a file"),
            (
                |config| _ = config.cluster.nodes.insert("n 4".to_owned(), "h:1".to_owned()),
                "a name in cluster.nodes is",
            ),
            (
                |config| _ = config.cluster.nodes.insert("n3".to_owned(), "h".to_owned()),
                "an address in cluster.nodes is",
            ),
            (
                |config| _ = config.cluster.nodes.insert("n3".to_owned(), "::1:5".to_owned()),
                "an address in cluster.nodes",
            ),
            (
                |config| _ = config.cluster.nodes.insert("n4".to_owned(), "127.0.0.1:1".to_owned()),
                "an address in cluster.nodes is \"127.0.0.1:1\", but must be that of one node alone",
            ),
        ];
        for (change, expected) in changes {
            let told = cluster(change).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
