//! What management sees of a cluster, and what it has done there.

use super::helm::Helm;
use super::member::Driver;
use super::seat::Input;
use super::standing::Standing;
use crate::cluster::member::{Member, NodeNumber, Role, Settings};
use crate::cluster::membership::MemberRole;
use crate::cluster::message::Condition;
use crate::config::Config;
use crate::management::{self, ClusterOrder, ClusterView, NodeCondition, NodeView};
use crate::peers::{Caller, ClientKind, Purpose};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What management sees of the cluster.
#[derive(Clone)]
pub struct View {
    shown: Arc<Mutex<ClusterView>>,
    /// Whether there is a loop that leads.
    pub leads: Arc<AtomicBool>,
}

impl View {
    pub fn new(config: &Config) -> Self {
        let shown = ClusterView {
            name: config.cluster.name.clone(),
            node: config.cluster.node.clone(),
            passes: config.cluster.pass_through,
            ..ClusterView::default()
        };
        Self { shown: Arc::new(Mutex::new(shown)), leads: Arc::default() }
    }

    fn current(&self) -> ClusterView {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this node is in maintenance.
    pub fn is_drained(&self) -> bool {
        self.current().is_drained
    }

    /// Shows how it is now.
    pub fn renew(&self, member: &Member, settings: &Settings, is_up: impl Fn(&str) -> bool, told: Told<'_>) {
        let name = |node: NodeNumber| settings.nodes[usize::from(node.0)].clone();
        let own = name(settings.me);
        let leads = self.leads.load(Ordering::Acquire);
        let is_served = match member.role() {
            Role::Lead { .. } => leads,
            Role::Forming | Role::Follow { .. } => is_served_elsewhere(member),
        };
        let (role, leader) = match member.role() {
            Role::Forming => (management::Role::Forming, None),
            Role::Follow { leader } => (management::Role::Follower, leader.map(name)),
            Role::Lead { .. } if leads => (management::Role::Leader, Some(own.clone())),
            // The loop is still making a hub of what there is.
            Role::Lead { .. } => (management::Role::Follower, None),
        };
        let consensus = member.consensus();
        let node = |(number, node): (u8, &String)| {
            let members = consensus.map(|consensus| consensus.configuration().members()).unwrap_or_default();
            let is_own = *node == own;
            // A node that lost its folder is another member than the one of its name that is listed yet.
            let id = if is_own { Some(settings.member) } else { member.member_of(NodeNumber(number)) };
            let listed = members.iter().find(|member| id.map_or(member.node == *node, |id| member.id == id));
            let reached = consensus.zip(listed).and_then(|(consensus, listed)| consensus.reach(listed.id));
            let condition = if is_own { Some(member.condition()) } else { member.condition_of(NodeNumber(number)) };
            NodeView {
                condition: condition.map(told_condition),
                is_running: is_own || is_up(node),
                is_member: members.iter().any(|member| member.node == *node),
                votes: listed.is_some_and(|listed| listed.role == MemberRole::Voter),
                has: reached.map(|reach| reach.matched),
                behind_ms: reached.map(|reach| told.standing.behind_ms(reach.matched, told.now_ms)),
                behind_bytes: reached
                    .zip(consensus)
                    .and_then(|(reach, consensus)| consensus.ledger().bytes_behind(reach.matched)),
                name: node.clone(),
            }
        };
        let nodes = (0..).zip(&settings.nodes).map(node).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = ClusterView {
            name: std::mem::take(&mut shown.name),
            node: own,
            role,
            passes: shown.passes,
            leader,
            is_served,
            term: consensus.map_or(0, |consensus| consensus.term()),
            commit: consensus.map_or(0, |consensus| consensus.committed()),
            written: consensus.map_or(0, |consensus| consensus.persisted()),
            applied: told.applied,
            elections: told.elections,
            disk_is_full: told.disk_is_full,
            scrubs: told.scrubs,
            scrubbed_ms_ago: told.scrubbed_at_ms.map(|at_ms| told.now_ms.saturating_sub(at_ms)),
            leaderless_ms: told.standing.leaderless_ms(told.now_ms),
            uncommitted_bytes: member.uncommitted_bytes(),
            is_drained: member.condition().is_drained,
            quorum: consensus.map_or(settings.nodes.len(), |consensus| consensus.configuration().quorum()),
            nodes,
        };
    }
}

/// Whether another node leads and takes clients, as it said last.
pub fn is_served_elsewhere(member: &Member) -> bool {
    let Role::Follow { leader: Some(leader) } = member.role() else { return false };
    member.condition_of(leader).is_some_and(|condition| condition.serves)
}

/// What the member's thread knows besides, for [`View::renew`].
pub struct Told<'a> {
    pub now_ms: u64,
    pub standing: &'a Standing,
    pub applied: u64,
    pub elections: u64,
    pub scrubs: u64,
    pub scrubbed_at_ms: Option<u64>,
    pub disk_is_full: bool,
}

fn told_condition(condition: Condition) -> NodeCondition {
    let Condition { is_drained, is_disk_low, is_memory_low, .. } = condition;
    NodeCondition { is_drained, disk_alarm: is_disk_low, memory_alarm: is_memory_low }
}

/// What management asks of the cluster.
pub struct Connecting {
    pub view: View,
    pub caller: Caller,
    pub addresses: BTreeMap<String, String>,
    pub passes: bool,
    pub member: Helm<Driver>,
}

impl management::Cluster for Connecting {
    fn view(&self) -> ClusterView {
        self.view.current()
    }

    fn order(&self, order: ClusterOrder) {
        // A thread that is gone said why.
        let _ = self.member.tell(Input::Order(order));
    }

    fn connect(&self, peer: SocketAddr, local: SocketAddr, over_tls: bool) -> io::Result<TcpStream> {
        let refused = |why: &str| io::Error::new(io::ErrorKind::NotConnected, why);
        let leader = self.view.current().leader.filter(|_| self.passes).ok_or_else(|| refused("nobody leads"))?;
        let address = self.addresses.get(&leader).ok_or_else(|| refused("who leads is no node of the settings"))?;
        let kind = if over_tls { ClientKind::HttpOverTls } else { ClientKind::Http };
        let called = self.caller.call(&leader, address, Purpose::Client { kind, peer, local });
        called.map_err(|error| io::Error::other(error.to_string()))
    }
}
