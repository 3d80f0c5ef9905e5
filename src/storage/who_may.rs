//! The part of the [state](super::state) that says where things are, who may use them and how they are to be: virtual
//! hosts, users, what users are permitted, policies, parameters.
//!
//! It knows nothing of what is in a virtual host. Permissions are kept as they were told, and not looked at: that there
//! is no user or virtual host of theirs only a log with lost records brings about.

use super::record::put_definition;
use crate::broker::store::{Definition, PolicyDefinition, PolicyKind, UserDefinition, VhostDefinition, VhostId};
use crate::protocol::ShortString;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How virtual hosts are called whose name is lost, before their number.
const LOST_NAME_PREFIX: &str = "salvaged-";
const LOST_DESCRIPTION: &str = "the name of this virtual host is lost, and what was permitted in it";

#[derive(Clone, Default, Debug)]
pub(super) struct WhoMay {
    vhosts: BTreeMap<VhostId, VhostDefinition>,
    vhost_ids: HashMap<ShortString, VhostId>,
    users: BTreeMap<ShortString, UserDefinition>,
    /// Their [`Definition::Permitted`], by user and virtual host.
    permissions: BTreeMap<(ShortString, VhostId), Definition>,
    /// Their [`Definition::TopicPermitted`], by user, virtual host and exchange.
    topic_permissions: BTreeMap<(ShortString, VhostId, ShortString), Definition>,
    policies: BTreeMap<(VhostId, PolicyKind, ShortString), PolicyDefinition>,
    parameters: BTreeMap<ShortString, Arc<str>>,
}

impl WhoMay {
    /// The virtual hosts that must be gone when this one is declared, and of which no record says so: another one of its
    /// id or of its name. There are none but in a log with lost records.
    pub fn supplanted_by(&self, declared: &VhostDefinition) -> impl Iterator<Item = VhostId> + use<> {
        let of_id = self.vhosts.get(&declared.id).filter(|vhost| vhost.name != declared.name).map(|vhost| vhost.id);
        let of_name = self.vhost_ids.get(&declared.name).copied().filter(|id| *id != declared.id);
        of_id.into_iter().chain(of_name)
    }

    pub fn vhost_name(&self, id: VhostId) -> Option<&ShortString> {
        Some(&self.vhosts.get(&id)?.name)
    }

    pub fn declare_vhost(&mut self, vhost: VhostDefinition) {
        self.vhost_ids.insert(vhost.name.clone(), vhost.id);
        self.vhosts.insert(vhost.id, vhost);
    }

    pub fn delete_vhost(&mut self, vhost: VhostId) {
        if let Some(gone) = self.vhosts.remove(&vhost) {
            self.vhost_ids.remove(&gone.name);
        }
        self.permissions.retain(|(_, of), _| *of != vhost);
        self.topic_permissions.retain(|(_, of, _), _| *of != vhost);
        self.policies.retain(|(of, ..), _| *of != vhost);
    }

    pub fn put_policy(&mut self, policy: PolicyDefinition) {
        self.policies.insert((policy.vhost, policy.kind, policy.name.clone()), policy);
    }

    pub fn delete_policy(&mut self, vhost: VhostId, kind: PolicyKind, name: ShortString) {
        self.policies.remove(&(vhost, kind, name));
    }

    pub fn put_parameter(&mut self, name: ShortString, value: Arc<str>) {
        self.parameters.insert(name, value);
    }

    pub fn delete_parameter(&mut self, name: &ShortString) {
        self.parameters.remove(name);
    }

    pub fn declare_user(&mut self, user: UserDefinition) {
        self.users.insert(user.name.clone(), user);
    }

    pub fn delete_user(&mut self, name: &ShortString) {
        self.users.remove(name);
        let first = (name.clone(), VhostId(0));
        let permissions = self.permissions.range(first.clone()..).take_while(|((of, _), _)| of == name);
        for key in permissions.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.permissions.remove(&key);
        }
        let first = (first.0, first.1, ShortString::default());
        let permissions = self.topic_permissions.range(first..).take_while(|((of, ..), _)| of == name);
        for key in permissions.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.topic_permissions.remove(&key);
        }
    }

    /// Keeps a [`Definition::Permitted`].
    pub fn permit(&mut self, user: ShortString, vhost: VhostId, permitted: Definition) {
        self.permissions.insert((user, vhost), permitted);
    }

    pub fn forbid(&mut self, user: ShortString, vhost: VhostId) {
        self.permissions.remove(&(user, vhost));
    }

    /// Keeps a [`Definition::TopicPermitted`].
    pub fn permit_topics(&mut self, user: ShortString, vhost: VhostId, exchange: ShortString, permitted: Definition) {
        self.topic_permissions.insert((user, vhost, exchange), permitted);
    }

    pub fn forbid_topics(&mut self, user: ShortString, vhost: VhostId, exchange: Option<ShortString>) {
        match exchange {
            Some(exchange) => _ = self.topic_permissions.remove(&(user, vhost, exchange)),
            None => self.topic_permissions.retain(|(of, at, _), _| (of, *at) != (&user, vhost)),
        }
    }

    /// Takes out what users are permitted that are lost, or in virtual hosts that are; and gives those a name in which
    /// there is something. A log that knows no virtual host and no user, and in which everything is in the first one, is
    /// left alone: it may be of a version that had none, and there are going to be those that every log has. Says in
    /// sentences what.
    pub fn mend(&mut self, in_use: impl Iterator<Item = VhostId>) -> Vec<String> {
        let mut said = Vec::new();
        let in_use: BTreeSet<_> = in_use.collect();
        if self.vhosts.is_empty() && self.users.is_empty() && in_use.iter().all(|vhost| *vhost == VhostId(0)) {
            return said;
        }
        let (vhosts, users) = (&self.vhosts, &self.users);
        let mut is_whole = |user: &ShortString, vhost: VhostId| {
            let is_whole = users.contains_key(user) && vhosts.contains_key(&vhost);
            if !is_whole {
                let vhost =
                    vhosts.get(&vhost).map_or_else(|| format!("number {}", vhost.0), |vhost| vhost.name.to_string());
                let what = "is left out: one of them is lost";
                said.push(format!("what user {user} was permitted in virtual host {vhost} {what}"));
            }
            is_whole
        };
        self.permissions.retain(|(user, vhost), _| is_whole(user, *vhost));
        self.topic_permissions.retain(|(user, vhost, _), _| is_whole(user, *vhost));
        // What has no virtual host any more would apply to nothing.
        self.policies.retain(|(vhost, _, name), _| {
            let is_whole = vhosts.contains_key(vhost) || in_use.contains(vhost);
            if !is_whole {
                said.push(format!("policy {name} is left out: its virtual host, number {}, is lost", vhost.0));
            }
            is_whole
        });
        for id in in_use {
            if self.vhosts.contains_key(&id) {
                continue;
            }
            let name = self.name_for_lost(id);
            said.push(format!("virtual host number {} is lost: what is in it is in {name} from now on", id.0));
            self.declare_vhost(VhostDefinition {
                id,
                name,
                description: LOST_DESCRIPTION.into(),
                tags: Vec::new(),
                default_queue_type: None,
                tracing: false,
                max_queues: None,
                max_connections: None,
                is_protected: false,
            });
        }
        said
    }

    /// A name that no other virtual host has.
    fn name_for_lost(&self, id: VhostId) -> ShortString {
        let mut name = format!("{LOST_NAME_PREFIX}{}", id.0);
        while self.vhost_ids.contains_key(name.as_bytes()) {
            name.push('-');
        }
        ShortString::truncated(name.as_bytes())
    }

    /// All of it, such that each one can be declared when those before it are.
    pub fn definitions(&self) -> impl Iterator<Item = Definition> + '_ {
        let vhosts = self.vhosts.values().cloned().map(Definition::VhostDeclared);
        let users = self.users.values().cloned().map(Definition::UserDeclared);
        let permissions = self.permissions.values().chain(self.topic_permissions.values()).cloned();
        let policies = self.policies.values().cloned().map(Definition::PolicyPut);
        let parameter = |(name, value): (&ShortString, &Arc<str>)| Definition::GlobalParameterPut {
            name: name.clone(),
            value: Arc::clone(value),
        };
        vhosts.chain(users).chain(permissions).chain(policies).chain(self.parameters.iter().map(parameter))
    }

    /// The [definitions](Self::definitions) as records, and how many they are.
    pub fn put_definitions(&self, out: &mut Vec<u8>) -> u64 {
        self.definitions().map(|definition| put_definition(out, &definition)).count() as u64
    }
}
