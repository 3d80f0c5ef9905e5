//! Policies are set and deleted, and applied to what is there.
//!
//! What is declared from then on has the new ones at once. All exchanges and queues that are there already are looked at,
//! a slice at a time and the first one within the command: nobody waits for a hundred thousand queues.

use super::exchange::{ExchangeId, QueueId};
use super::policy::{Applied, PATTERNS_BYTES_MAX, Policy, PolicyKind, Round, Thing, TooManyPolicies};
use super::store::{Definition, PolicyDefinition, Store};
use super::vhost::VhostKey;
use super::{Broker, Done, VhostId};
use crate::protocol::ShortString;
use std::sync::Arc;

/// Patterns that one slice may ask; and at least one thing is looked at.
const SLICE_PATTERNS: usize = 4096;
/// What those that one slice asks take together, compiled; and at least one thing is looked at.
const SLICE_PATTERNS_BYTES: usize = PATTERNS_BYTES_MAX;
/// Slots that one slice looks at.
const SLICE_SLOTS: usize = 256;

/// The same of two policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutPolicy {
    New,
    /// There was one of its name.
    Known,
}

impl<S: Store> Broker<S> {
    /// Sets a policy of a vhost, in place of the one of its name.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn put_policy(
        &mut self,
        vhost: VhostId,
        kind: PolicyKind,
        policy: Arc<Policy>,
    ) -> Result<Done<PutPolicy>, TooManyPolicies> {
        let put = self.take_policy(vhost, kind, &policy)?;
        if put.is_some() {
            self.begin_policy_round(vhost);
            self.tell_policy_set(vhost, &policy);
        }
        Ok(self.done(put.unwrap_or(PutPolicy::Known)))
    }

    /// Sets a policy for what is declared from now on; a [round](Self::begin_policy_round) applies it to what is there. `None`
    /// when there is this very one already.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn take_policy(
        &mut self,
        vhost: VhostId,
        kind: PolicyKind,
        policy: &Arc<Policy>,
    ) -> Result<Option<PutPolicy>, TooManyPolicies> {
        let known = self.vhosts[vhost].policies.named(kind, &policy.name).cloned();
        if known.as_ref() == Some(policy) {
            return Ok(None);
        }
        self.vhosts[vhost].policies.put(kind, Arc::clone(policy))?;
        let Policy { name, pattern, apply_to, priority, definition, .. } = &**policy;
        self.define(&Definition::PolicyPut(PolicyDefinition {
            vhost,
            kind,
            name: name.clone(),
            pattern: pattern.as_str().into(),
            apply_to: *apply_to,
            priority: *priority,
            settings: definition.clone(),
        }));
        self.tell_policy_changes(vhost, kind, policy);
        Ok(Some(if known.is_some() { PutPolicy::Known } else { PutPolicy::New }))
    }

    /// Deletes a policy. Says whether there was one.
    pub fn delete_policy(&mut self, vhost: VhostId, kind: PolicyKind, name: &ShortString) -> Done<bool> {
        if !self.vhosts[vhost].policies.remove(kind, name) {
            return self.done(false);
        }
        self.tell_policy_goes(vhost, kind, name);
        self.define(&Definition::PolicyDeleted { vhost, kind, name: name.clone() });
        self.begin_policy_round(vhost);
        self.tell_policy_cleared(vhost, kind, name);
        self.done(true)
    }

    /// Puts a policy back. What is restored after it has it at once.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn restore_policy(&mut self, restored: PolicyDefinition) -> Result<(), String> {
        let PolicyDefinition { vhost, kind, name, pattern, apply_to, priority, settings } = restored;
        let policy = Policy::restored(name, &pattern, apply_to, priority, settings)?;
        self.vhosts[vhost].policies.restore(kind, Arc::new(policy));
        // The exchanges that every vhost is born with are there already.
        self.begin_policy_round(vhost);
        Ok(())
    }

    /// All that is there is looked at again, this moment's share at once.
    pub(super) fn begin_policy_round(&mut self, vhost: VhostId) {
        let policies = &mut self.vhosts[vhost].policies;
        let is_under_way = policies.round.is_some();
        policies.round = Some(policies.round.unwrap_or_default().map(Round::begin_again));
        if !is_under_way {
            let key = self.vhost_key(vhost);
            self.policy_rounds.push_back(key);
        }
        self.apply_some_policies(vhost);
    }

    /// Applies policies to a slice of what is there, in the vhost whose turn it is.
    pub(super) fn apply_policies(&mut self) {
        let Some(key) = self.policy_rounds.pop_front() else { return };
        if self.vhost_key(key.id) != key {
            return;
        }
        if self.apply_some_policies(key.id) {
            self.policy_rounds.push_back(key);
        }
    }

    /// Whether there is more to look at.
    fn apply_some_policies(&mut self, id: VhostId) -> bool {
        let vhost = &self.vhosts[id];
        let Some([mut exchanges, mut queues]) = vhost.policies.round else { return false };
        let (exchange_slots, queue_slots) = (vhost.router().exchange_slots(), vhost.router().queue_slots());
        let by_number = SLICE_PATTERNS / vhost.policies.len().max(1);
        let by_bytes = SLICE_PATTERNS_BYTES / vhost.policies.patterns_bytes().max(1);
        let most = by_number.min(by_bytes).clamp(1, SLICE_SLOTS);
        let mut has_more = true;
        for _ in 0..most {
            if let Some(slot) = exchanges.step(exchange_slots) {
                self.apply_policies_to_exchange(id, ExchangeId(slot as u32));
            } else if let Some(slot) = queues.step(queue_slots) {
                if let Some(queue) = self.router(id).queue_in_slot(slot) {
                    self.apply_policies_to_queue(queue);
                }
            } else {
                has_more = false;
                break;
            }
        }
        self.vhosts[id].policies.round = has_more.then_some([exchanges, queues]);
        has_more
    }

    /// The policies that apply to an exchange of that name.
    pub(super) fn policies_of_exchange(&self, vhost: VhostId, name: &[u8]) -> Applied {
        self.vhosts[vhost].policies.applying_to(Thing::Exchange, name)
    }

    fn apply_policies_to_exchange(&mut self, vhost: VhostId, id: ExchangeId) {
        if !self.router(vhost).has_exchange(id) {
            return;
        }
        let exchange = self.router(vhost).exchange(id);
        let applied = self.policies_of_exchange(vhost, &exchange.name);
        if !exchange.policies.is_same(&applied) {
            self.change_routes(vhost, |router| router.apply_policies(id, applied));
        }
    }

    fn apply_policies_to_queue(&mut self, id: QueueId) {
        let queue = self.queue(id);
        let thing = Thing::Queue(queue.arguments.kind);
        let applied = self.vhosts[queue.properties.vhost].policies.applying_to(thing, &queue.properties.name);
        if queue.policies.is_same(&applied) {
            return;
        }
        let now_ms = self.now_ms;
        let queue = self.queue_mut(id);
        let before = queue.behaviour.clone();
        queue.apply(applied);
        self.tell_queue_policies(id);
        let queue = self.queue_mut(id);
        if queue.behaviour == before {
            return;
        }
        if queue.behaviour.expires_ms != before.expires_ms {
            // A queue that is unused for a day is not gone in the same moment.
            queue.last_used_ms = now_ms;
        }
        // Who knows a way to it knows what it was.
        self.epoch.end();
        self.apply_behaviour(id);
    }

    /// Whether policies are still to be applied to something.
    pub(super) fn is_applying_policies(&self) -> bool {
        !self.policy_rounds.is_empty()
    }
}

/// The vhosts in which policies are being applied.
pub(super) type PolicyRounds = std::collections::VecDeque<VhostKey>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::policy::SaidPolicy;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{ConnectionId, DeclareRequest, ExchangeRequest, VhostAttributes};
    use crate::protocol::{FieldTable, FieldValue};

    const CLIENT: ConnectionId = ConnectionId(0);

    fn broker() -> Broker<MemoryStore> {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        broker
    }

    fn policy(name: &'static str, pattern: &str, (key, value): (&'static str, FieldValue)) -> Arc<Policy> {
        let said = SaidPolicy {
            pattern: FieldValue::LongString(pattern.as_bytes().into()),
            apply_to: None,
            priority: None,
            definition: FieldValue::Table(FieldTable(vec![(key.into(), value)])),
        };
        Arc::new(Policy::read(PolicyKind::User, name.into(), said).unwrap())
    }

    fn put(broker: &mut Broker<MemoryStore>, policy: Arc<Policy>) {
        broker.put_policy(VHOST, PolicyKind::User, policy).unwrap();
    }

    fn declare(broker: &mut Broker<MemoryStore>, name: &str) {
        let (name, arguments) = (name.as_bytes(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(testing::caller(broker, CLIENT), request, &mut Nobody).unwrap();
    }

    fn limit(broker: &Broker<MemoryStore>, name: &str) -> Option<u64> {
        let id = broker.queue_in(VHOST, name.as_bytes()).unwrap();
        broker.queue(id).behaviour.limits.and_then(|limits| limits.length)
    }

    fn max_length(most: i64) -> (&'static str, FieldValue) {
        ("max-length", FieldValue::I64(most))
    }

    #[test]
    fn a_policy_applies_to_what_is_there_and_to_what_comes() {
        let mut broker = broker();
        declare(&mut broker, "a1");
        put(&mut broker, policy("p", "^a", max_length(5)));
        declare(&mut broker, "a2");
        declare(&mut broker, "b");
        assert_eq!(["a1", "a2", "b"].map(|name| limit(&broker, name)), [Some(5), Some(5), None]);
        let again = broker.put_policy(VHOST, PolicyKind::User, policy("p", "^b", max_length(6)));
        assert_eq!(again.map(|done| done.value), Ok(PutPolicy::Known));
        assert_eq!(["a1", "a2", "b"].map(|name| limit(&broker, name)), [None, None, Some(6)]);
        broker.put_policy(VHOST, PolicyKind::Operator, policy("p", "", max_length(3))).unwrap();
        assert_eq!(["a1", "a2", "b"].map(|name| limit(&broker, name)), [Some(3); 3]);
        assert!(broker.delete_policy(VHOST, PolicyKind::Operator, &"p".into()).value);
        assert!(!broker.delete_policy(VHOST, PolicyKind::Operator, &"p".into()).value);
        assert_eq!(["a1", "a2", "b"].map(|name| limit(&broker, name)), [None, None, Some(6)]);
    }

    #[test]
    fn no_slice_grows_with_the_queues_that_are_there() {
        const QUEUES: usize = 3 * SLICE_SLOTS;
        let mut broker = broker();
        let names: Vec<_> = (0..QUEUES).map(|number| format!("q{number}")).collect();
        names.iter().for_each(|name| declare(&mut broker, name));
        let limited =
            |broker: &Broker<MemoryStore>, most| names.iter().filter(|name| limit(broker, name) == Some(most)).count();
        put(&mut broker, policy("p", "", max_length(5)));
        let mut before = limited(&broker, 5);
        assert!(before > 0 && before <= SLICE_SLOTS);
        // Another one before the first is everywhere: what comes now has it, and in the end all have.
        put(&mut broker, policy("p", "", max_length(6)));
        declare(&mut broker, "late");
        assert_eq!(limit(&broker, "late"), Some(6));
        while broker.has_touched() {
            broker.pump(&mut Nobody);
            let now = limited(&broker, 5) + limited(&broker, 6);
            assert!(now <= before + 2 * SLICE_SLOTS);
            before = now;
        }
        assert_eq!(limited(&broker, 6), QUEUES);
    }

    #[test]
    fn a_slice_of_costly_patterns_is_a_short_one() {
        let mut broker = broker();
        let names: Vec<_> = (0..SLICE_SLOTS).map(|number| format!("q{number}")).collect();
        names.iter().for_each(|name| declare(&mut broker, name));
        for name in ["a", "b"] {
            put(&mut broker, policy(name, "^(?:a?b?){300}$", max_length(5)));
        }
        while broker.has_touched() {
            broker.pump(&mut Nobody);
        }
        put(&mut broker, policy("p", "^q", max_length(6)));
        let limited = names.iter().filter(|name| limit(&broker, name) == Some(6)).count();
        assert!(limited <= SLICE_PATTERNS_BYTES / broker.vhosts[VHOST].policies.patterns_bytes(), "{limited}");
    }

    #[test]
    fn a_queue_that_is_to_expire_is_unused_from_now_on() {
        let mut broker = broker();
        declare(&mut broker, "q");
        broker.set_now(1_000_000);
        put(&mut broker, policy("p", "", ("expires", FieldValue::I64(100))));
        let is_there_at = |broker: &mut Broker<MemoryStore>, now_ms| {
            broker.set_now(now_ms);
            broker.come_due(&mut Nobody);
            broker.queue_in(VHOST, b"q").is_some()
        };
        assert!(is_there_at(&mut broker, 1_000_099));
        assert!(!is_there_at(&mut broker, 1_000_100));
    }

    #[test]
    fn an_exchange_without_an_alternate_of_its_own_has_the_policys() {
        let mut broker = broker();
        let alternate = |broker: &Broker<MemoryStore>, name: &str| {
            let id = broker.exchange_in(VHOST, name.as_bytes()).unwrap();
            broker.router(VHOST).exchange(id).alternate.as_ref().map(ToString::to_string)
        };
        let named = |name: &str| FieldValue::LongString(name.as_bytes().into());
        let declare = |broker: &mut Broker<MemoryStore>, name: &str, arguments| {
            let (durable, auto_delete, internal, name) = (false, false, false, name.as_bytes());
            let request = ExchangeRequest { name, kind: b"direct", durable, auto_delete, internal, arguments };
            broker.declare_exchange(testing::caller(broker, CLIENT), request).unwrap();
        };
        declare(&mut broker, "x1", FieldTable::default());
        declare(&mut broker, "x2", FieldTable(vec![("alternate-exchange".into(), named("own"))]));
        let generation = broker.router(VHOST).generation();
        put(&mut broker, policy("p", "^x|^amq.direct", ("alternate-exchange", named("y"))));
        assert!(broker.router(VHOST).generation() > generation, "whoever knows a route asks again");
        declare(&mut broker, "x3", FieldTable::default());
        let of_all =
            |broker: &Broker<MemoryStore>| ["x1", "x2", "x3", "amq.direct"].map(|name| alternate(broker, name));
        let (y, own) = (Some("y".to_owned()), Some("own".to_owned()));
        assert_eq!(of_all(&broker), [y.clone(), own.clone(), y.clone(), y]);
        broker.delete_policy(VHOST, PolicyKind::User, &"p".into());
        assert_eq!(of_all(&broker), [None, own, None, None]);
    }

    #[test]
    fn a_vhost_takes_its_policies_along() {
        let mut broker = broker();
        broker.put_vhost("v", VhostAttributes::default());
        let vhost = broker.vhost_named(b"v").unwrap();
        broker.put_policy(vhost, PolicyKind::User, policy("p", "", max_length(5))).unwrap();
        let key = broker.delete_vhost(vhost).value;
        while !broker.clear_vhost(key, &mut Nobody) {}
        broker.put_vhost("w", VhostAttributes::default());
        assert_eq!(broker.vhost_named(b"w"), Some(vhost), "it has the slot");
        assert_eq!(broker.vhosts[vhost].policies.len(), 0);
        broker.pump(&mut Nobody);
        assert!(!broker.has_touched());
    }
}
