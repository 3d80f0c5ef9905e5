//! What administrators do: users, permissions, virtual hosts, limits and policies. And alarms, which nobody does.

use super::{Field, Fields, field, flag, integer, told};
use crate::access::PasswordHash;
use crate::broker::access::Permissions;
use crate::broker::equivalence::{self, binary_term};
use crate::broker::exchange::QueueId;
use crate::broker::policy::{Policy, PolicyKind};
use crate::broker::store::Store;
use crate::broker::users::UserLimits;
use crate::broker::vhost::VhostKey;
use crate::broker::{Broker, UserId, VhostAttributes, VhostId};
use crate::protocol::{FieldTable, FieldValue, ShortString};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// Users that one slice of a deletion looks at.
const SLICE_USERS: usize = 1024;

/// What is still to be told of a virtual host that is going.
pub(in crate::broker) struct Farewell {
    /// Who deleted it.
    by: Option<Arc<str>>,
    /// As whom permissions know it.
    key: VhostKey,
    /// Slots of users whose permissions went with it.
    users: Range<usize>,
}

/// Whoever changed the policies of a virtual host last, and what to: what is told of each queue that gets others by it.
pub(in crate::broker) struct PolicyChange {
    by: Option<Arc<str>>,
    /// `None`: one was deleted.
    policy: Option<Arc<Policy>>,
}

/// A value of a definition, in which RabbitMQ's integers have one width.
fn value(value: &FieldValue) -> FieldValue {
    equivalence::integer(value).map_or_else(|| value.clone(), FieldValue::I64)
}

/// What a policy says, apart from its name.
fn policy_fields(policy: &Policy) -> [Field; 4] {
    let definition = policy.definition.0.iter().rev().map(|(key, said)| (key.clone(), value(said))).collect();
    [
        told("apply-to", policy.apply_to.name()),
        field("priority", integer(policy.priority)),
        field("definition", FieldValue::Table(FieldTable(definition))),
        told("pattern", policy.pattern.as_str()),
    ]
}

/// Limits that there are, in RabbitMQ's words.
fn limits<const N: usize>(all: [(&'static str, Option<u64>); N]) -> Fields {
    all.into_iter().filter_map(|(name, most)| Some(field(name, integer(most?)))).collect()
}

/// A tag as an Erlang atom.
fn atom_term(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@'));
    if is_plain { name.to_owned() } else { format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'")) }
}

/// What is said of a virtual host, as an Erlang map.
fn metadata_term(attributes: &VhostAttributes) -> String {
    let tags: Vec<String> = attributes.tags.iter().map(|tag| atom_term(tag)).collect();
    let description = binary_term(attributes.description.as_bytes());
    let mut term = format!("#{{description => {description},tags => [{}]", tags.join(","));
    if let Some(default_queue_type) = &attributes.default_queue_type {
        // Writing into a String cannot fail.
        let _ = write!(term, ",default_queue_type => {}", binary_term(default_queue_type.as_bytes()));
    }
    term.push('}');
    term
}

impl<S: Store> Broker<S> {
    /// A resource ran low, or is no longer, unless it is as it was.
    pub fn tell_alarm(&mut self, resource: &'static str, was_low: bool, is_low: bool) {
        if was_low != is_low {
            let key = if is_low { "alarm.set" } else { "alarm.cleared" };
            self.tell(key, |broker| Fields::from([told("node", broker.node_name()), told("source", resource)]));
        }
    }

    pub(in crate::broker) fn tell_of_user(&mut self, key: &'static str, user: UserId) {
        self.tell(key, |broker| Fields::from([broker.by(None), told("name", broker.user_name(user))]));
    }

    /// A user has another password, or none any more.
    pub(in crate::broker) fn tell_password_changed(&mut self, user: UserId) {
        let has_none = *self.user_at(user).password == PasswordHash::Absent;
        self.tell_of_user(if has_none { "user.password.cleared" } else { "user.password.changed" }, user);
    }

    pub(in crate::broker) fn tell_tags_set(&mut self, user: UserId) {
        self.tell("user.tags.set", |broker| {
            let tags = broker.user_at(user).tags.iter().map(|tag| super::text(tag.as_bytes())).collect();
            let (tags, name) = (field("tags", FieldValue::Array(tags)), told("name", broker.user_name(user)));
            Fields::from([broker.by(None), tags, name])
        });
    }

    pub(in crate::broker) fn tell_user_limits(&mut self, user: UserId, before: UserLimits) {
        let now = self.user_at(user).limits;
        let changed = [
            ("max-connections", before.connections_max, now.connections_max),
            ("max-channels", before.channels_max, now.channels_max),
        ];
        for (name, before, now) in changed {
            if before != now {
                let key = if now.is_some() { "user.limits.set" } else { "user.limits.cleared" };
                self.tell(key, |broker| {
                    let mut fields = limits([(name, now)]);
                    fields.extend([told("username", broker.user_name(user)), broker.by(None), told("name", "limits")]);
                    fields
                });
            }
        }
    }

    pub(in crate::broker) fn tell_permitted(&mut self, user: UserId, vhost: VhostId, permissions: &Permissions) {
        self.tell("permission.created", |broker| {
            Fields::from([
                broker.by(None),
                told("read", permissions.read.text()),
                told("write", permissions.write.text()),
                told("configure", permissions.configure.text()),
                told("vhost", broker.vhost_name(vhost)),
                told("user", broker.user_name(user)),
            ])
        });
    }

    pub(in crate::broker) fn tell_topics_permitted(
        &mut self,
        user: UserId,
        vhost: VhostId,
        exchange: &ShortString,
        [write, read]: [&str; 2],
    ) {
        self.tell("topic.permission.created", |broker| {
            Fields::from([
                broker.by(None),
                told("read", read),
                told("write", write),
                told("exchange", &**exchange),
                told("vhost", broker.vhost_name(vhost)),
                told("user", broker.user_name(user)),
            ])
        });
    }

    /// Permissions of a user are gone, or those for topics are.
    pub(in crate::broker) fn tell_forbidden(&mut self, key: &'static str, user: UserId, vhost: VhostId) {
        self.tell(key, |broker| {
            let (vhost, user) = (told("vhost", broker.vhost_name(vhost)), told("user", broker.user_name(user)));
            Fields::from([broker.by(None), vhost, user])
        });
    }

    /// A virtual host was made, with the exchanges that every one is born with, or others things are said of it.
    pub(in crate::broker) fn tell_of_vhost(&mut self, vhost: VhostId, is_new: bool) {
        if is_new && self.hears_events() {
            let slots = self.router(vhost).exchange_slots();
            let names: Vec<_> =
                self.router(vhost).exchanges_in(0..slots).map(|exchange| exchange.name.clone()).collect();
            names.iter().for_each(|name| self.tell_exchange_created(vhost, name, None));
        }
        self.tell(if is_new { "vhost.created" } else { "vhost.updated" }, |broker| {
            let attributes = broker.vhost_attributes(vhost);
            let tags = attributes.tags.iter().map(|tag| super::text(tag.as_bytes())).collect();
            let running = (ShortString::truncated(broker.node_name().as_bytes()), super::text(b"running"));
            Fields::from([
                field("tags", FieldValue::Array(tags)),
                told("description", attributes.description.as_bytes()),
                broker.by(None),
                field("cluster_state", FieldValue::Table(FieldTable(vec![running]))),
                flag("tracing", attributes.tracing),
                told("metadata", metadata_term(attributes)),
                told("default_queue_type", attributes.default_queue_type.as_deref().unwrap_or("undefined")),
                told("name", broker.vhost_name(vhost)),
            ])
        });
    }

    /// The limits of a virtual host were said anew. RabbitMQ has them as a parameter.
    pub(in crate::broker) fn tell_vhost_limits_set(&mut self, vhost: VhostId) {
        let now = |broker: &Self| {
            let VhostAttributes { connections_max, queues_max, .. } = *broker.vhost_attributes(vhost);
            limits([("max-connections", connections_max), ("max-queues", queues_max)])
        };
        self.tell("parameter.set", |broker| {
            let limits = now(broker);
            // To Erlang, a table without entries is a list.
            let value =
                if limits.is_empty() { FieldValue::Array(Vec::new()) } else { FieldValue::Table(FieldTable(limits)) };
            broker.parameter_fields(vhost, "vhost-limits", b"limits", Some(value))
        });
        self.tell("vhost.limits.set", |broker| {
            let mut fields = now(broker);
            fields.extend([broker.by(None), told("vhost", broker.vhost_name(vhost)), told("name", "limits")]);
            fields
        });
    }

    fn parameter_fields(
        &self,
        vhost: VhostId,
        component: &'static str,
        name: &[u8],
        value: Option<FieldValue>,
    ) -> Fields {
        let place = [told("name", name), told("component", component), told("vhost", self.vhost_name(vhost))];
        let value = value.map(|value| field("value", value));
        std::iter::once(self.by(None)).chain(value).chain(place).collect()
    }

    /// A virtual host begins to go. Before, it was known by this key.
    pub(in crate::broker) fn begin_farewell(&mut self, key: VhostKey) {
        if self.hears_events() {
            let (by, users) = (self.events.actor.clone(), 0..self.users.slots());
            self.vhosts[key.id].farewell = Some(Farewell { by, key, users });
        }
    }

    /// Does something to a virtual host that is going, told as done by who deleted it.
    pub(in crate::broker) fn as_its_deleter<T>(&mut self, vhost: VhostId, run: impl FnOnce(&mut Self) -> T) -> T {
        let by = self.vhosts[vhost].farewell.as_ref().and_then(|farewell| farewell.by.clone());
        self.acting_as(by, run)
    }

    /// Tells whose permissions went with a virtual host, a slice of them. False when that is done.
    pub(in crate::broker) fn tell_some_forbidden(&mut self, vhost: VhostId) -> bool {
        let Some(Farewell { key, users, .. }) = &mut self.vhosts[vhost].farewell else { return false };
        let (key, slice) = (*key, users.start..users.end.min(users.start + SLICE_USERS));
        users.start = slice.end;
        for slot in slice.clone() {
            let Some((user, _)) = self.users.in_slot(slot) else { continue };
            if self.access.permissions(user, key).is_some() {
                self.tell_forbidden("permission.deleted", user, vhost);
            }
            if self.access.all_topic_permissions(user, key).next().is_some() {
                self.tell_forbidden("topic.permission.deleted", user, vhost);
            }
        }
        !slice.is_empty()
    }

    /// A virtual host is gone.
    pub(in crate::broker) fn end_farewell(&mut self, vhost: VhostId) {
        let VhostAttributes { connections_max, queues_max, .. } = *self.vhost_attributes(vhost);
        if connections_max.is_some() || queues_max.is_some() {
            self.tell("parameter.cleared", |broker| broker.parameter_fields(vhost, "vhost-limits", b"limits", None));
            self.tell("vhost.limits.cleared", |broker| {
                Fields::from([broker.by(None), told("vhost", broker.vhost_name(vhost)), told("name", "limits")])
            });
        }
        self.tell("vhost.deleted", |broker| Fields::from([broker.by(None), told("name", broker.vhost_name(vhost))]));
        self.tell("vhost.down", |broker| {
            let by = told("user_who_performed_action", super::NOBODY);
            Fields::from([by, told("node", broker.node_name()), told("name", broker.vhost_name(vhost))])
        });
    }

    /// A policy is set; what it applies to is told of in the rounds that follow. RabbitMQ has operator policies as
    /// parameters, too.
    pub(in crate::broker) fn tell_policy_changes(&mut self, vhost: VhostId, kind: PolicyKind, policy: &Arc<Policy>) {
        if kind == PolicyKind::Operator {
            self.tell("parameter.set", |broker| {
                let value = FieldValue::Table(FieldTable(policy_fields(policy).into()));
                broker.parameter_fields(vhost, "operator_policy", &policy.name, Some(value))
            });
        }
        self.note_policy_change(vhost, Some(policy));
    }

    pub(in crate::broker) fn tell_policy_set(&mut self, vhost: VhostId, policy: &Policy) {
        self.tell("policy.set", |broker| {
            let place = [broker.by(None), told("vhost", broker.vhost_name(vhost)), told("name", &*policy.name)];
            policy_fields(policy).into_iter().chain(place).collect()
        });
    }

    /// A policy is gone, from what it applied to in the rounds that follow.
    pub(in crate::broker) fn tell_policy_goes(&mut self, vhost: VhostId, kind: PolicyKind, name: &[u8]) {
        if kind == PolicyKind::Operator {
            self.tell("parameter.cleared", |broker| broker.parameter_fields(vhost, "operator_policy", name, None));
        }
        self.note_policy_change(vhost, None);
    }

    pub(in crate::broker) fn tell_policy_cleared(&mut self, vhost: VhostId, kind: PolicyKind, name: &[u8]) {
        let key = match kind {
            PolicyKind::User => "policy.cleared",
            PolicyKind::Operator => "operator.policy.cleared",
        };
        self.tell(key, |broker| {
            Fields::from([broker.by(None), told("vhost", broker.vhost_name(vhost)), told("name", name)])
        });
    }

    fn note_policy_change(&mut self, vhost: VhostId, policy: Option<&Arc<Policy>>) {
        let change = PolicyChange { by: self.events.actor.clone(), policy: policy.cloned() };
        self.vhosts[vhost].policies.last_change = self.hears_events().then_some(change);
    }

    /// Other policies than before apply to a queue.
    pub(in crate::broker) fn tell_queue_policies(&mut self, id: QueueId) {
        let vhost = self.queue(id).properties.vhost;
        let Some(PolicyChange { by, policy }) = &self.vhosts[vhost].policies.last_change else { return };
        let (by, policy) = (by.clone(), policy.clone());
        let key = if policy.is_some() { "queue.policy.updated" } else { "queue.policy.cleared" };
        self.tell(key, |broker| {
            let queue = broker.queue(id);
            let by = by.as_deref().unwrap_or(super::NOBODY);
            let place = [
                told("user_who_performed_action", by),
                told("type", queue.arguments.kind.module()),
                told("vhost", broker.vhost_name(vhost)),
                told("name", &*queue.properties.name),
            ];
            policy.iter().flat_map(|policy| policy_fields(policy)).chain(place).collect()
        });
    }
}
