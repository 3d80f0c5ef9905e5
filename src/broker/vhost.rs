//! Virtual hosts: what is named in one of them has nothing to do with what has the same name in another.
//!
//! A vhost has exchanges, bindings and names of queues of its own, and limits. Queues, consumers and messages lie in tables
//! that all vhosts share; each queue knows its vhost. What leads where is changed through
//! [`change_routes`](Broker::change_routes) alone, so that the epoch moves with it.
//!
//! ```text
//! (vacant) ── add, restore ──► there ── delete: no name, no permissions ──► going ── all in it is gone ──► (vacant)
//! ```

use super::deduplication::Allowance;
use super::exchange::{ExchangeId, QueueId, Router, Walks};
use super::observe::Farewell;
use super::policy::Policies;
use super::queue::QueueKind;
use super::store::Store;
use super::{Broker, ExchangeCounters, VhostId};
use crate::protocol::{AmqpError, PropertiesRef, ReplyCode, ShortString};
use hashbrown::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// How much may be in one vhost.
#[derive(Clone, Copy, Debug, Default)]
pub struct VhostLimits {
    /// Most queues; 0 for no limit.
    pub queues_max: usize,
    /// Most exchanges, predeclared ones included; 0 for no limit.
    pub exchanges_max: usize,
    /// Most bindings, those of the default exchange not counted; 0 for no limit.
    pub bindings_max: usize,
    /// Most consumers; 0 for no limit.
    pub consumers_max: usize,
    /// Most memory for values by which its exchanges and queues know messages again, in bytes; 0 for no limit.
    pub deduplication_max_bytes: usize,
}

/// What is said of a vhost, apart from its name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VhostAttributes {
    pub description: Box<str>,
    pub tags: Vec<Box<str>>,
    /// The type of queues that are declared without one. `None`: classic.
    pub default_queue_type: Option<Box<str>>,
    /// Publishes and deliveries are to be traced.
    pub tracing: bool,
    /// Most queues; `None` for no limit but [`VhostLimits`].
    pub queues_max: Option<u64>,
    /// Most connections; `None` for no limit.
    pub connections_max: Option<u64>,
    /// Who wants to delete it has to take this away first.
    pub is_protected: bool,
}

pub(super) struct Vhost {
    /// Listings leave the thread with it.
    pub name: Arc<str>,
    pub limits: VhostLimits,
    pub attributes: VhostAttributes,
    /// No other vhost has had it, whatever its name. Permissions are given for it.
    pub serial: u64,
    state: VhostState,
    /// How many slots of its queues and exchanges were cleared, when it is going.
    pub cleared_slots: usize,
    /// Connections that are open, those of the broker's own interfaces included.
    pub connections: usize,
    /// Queues, those included that live on in unacknowledged messages: they take room, too.
    pub queues: usize,
    /// Consumers that were not cancelled.
    pub consumers: usize,
    pub policies: Policies,
    /// What is still to be told of it, when it is going and somebody hears of it.
    pub farewell: Option<Farewell>,
    router: Router,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum VhostState {
    There,
    /// It has no name any more, and what is in it goes.
    Going,
    /// Its slot waits for another one.
    Vacant,
}

impl Vhost {
    /// `generation` is that of the router before it.
    fn vacant(id: VhostId, generation: u64) -> Self {
        Self {
            name: "".into(),
            limits: VhostLimits::default(),
            attributes: VhostAttributes::default(),
            serial: 0,
            state: VhostState::Vacant,
            cleared_slots: 0,
            connections: 0,
            queues: 0,
            consumers: 0,
            policies: Policies::default(),
            farewell: None,
            router: Router::empty(id.0, generation),
        }
    }

    /// Whether it can be named.
    pub fn is_there(&self) -> bool {
        self.state == VhostState::There
    }

    pub fn router(&self) -> &Router {
        &self.router
    }

    /// So much more went through an exchange.
    pub fn count_published(&mut self, exchange: ExchangeId, counters: ExchangeCounters) {
        self.router.count_published(exchange, counters);
    }

    /// # Errors
    /// 406 when there are as many queues as are wanted.
    pub fn assert_queue_wanted(&self, name: &ShortString) -> Result<(), AmqpError> {
        match self.attributes.queues_max {
            Some(most) if self.router.queue_count() as u64 >= most => {
                Err(self.limit_reached(&format!("declare queue '{name}'"), "queue", most))
            }
            _ => Ok(()),
        }
    }

    fn limit_reached(&self, doing: &str, kind: &str, limit: u64) -> AmqpError {
        let explanation = format!("cannot {doing}: {kind} limit in vhost '{}' ({limit}) is reached", self.name);
        AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
    }

    /// # Errors
    /// 406 when there are `limit` things already and one more is asked for. A limit of 0 is none.
    pub fn assert_below(&self, limit: usize, count: usize, doing: &str, kind: &str) -> Result<(), AmqpError> {
        if limit == 0 || count < limit {
            return Ok(());
        }
        Err(self.limit_reached(doing, kind, limit as u64))
    }
}

/// A vhost, also one that is going; another one that gets its slot is not meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VhostKey {
    pub(super) id: VhostId,
    pub(super) serial: u64,
}

/// All vhosts.
#[derive(Default)]
pub(super) struct Vhosts {
    /// With vacant ones between them.
    table: Vec<Vhost>,
    free: Vec<VhostId>,
    by_name: HashMap<Arc<str>, VhostId>,
    /// Scratch space of all routers.
    walks: Walks,
}

impl Vhosts {
    /// None yet, whose exchanges choose by chance from this seed.
    pub fn new(seed: u64) -> Self {
        Self { walks: Walks::with_seed(seed), ..Self::default() }
    }

    /// [`Router::route`].
    #[inline]
    pub fn route<'p>(
        &mut self,
        vhost: VhostId,
        exchange: ExchangeId,
        routing_key: &[u8],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let router = &self.table[vhost.0 as usize].router;
        router.route(&mut self.walks, exchange, routing_key, properties, out)
    }

    /// [`Router::route_with_copies`].
    pub fn route_with_copies<'p>(
        &mut self,
        vhost: VhostId,
        exchange: ExchangeId,
        routing_keys: &[&[u8]],
        properties: impl FnOnce() -> PropertiesRef<'p>,
        out: &mut Vec<QueueId>,
    ) -> bool {
        let router = &self.table[vhost.0 as usize].router;
        router.route_with_copies(&mut self.walks, exchange, routing_keys, properties, out)
    }

    /// The broker's clock, for exchanges that remember what they routed.
    pub fn set_now(&mut self, now_ms: u64) {
        self.walks.set_now(now_ms);
    }

    /// [`Walks::found_listeners`].
    #[inline]
    pub fn found_listeners(&self) -> bool {
        self.walks.found_listeners()
    }

    /// [`Walks::historians`].
    pub fn historians(&self) -> &[ExchangeId] {
        self.walks.historians()
    }

    /// Scratch space of all routers.
    pub fn walks_mut(&mut self) -> &mut Walks {
        &mut self.walks
    }

    /// The slot for one that is new.
    fn vacant_id(&mut self) -> VhostId {
        self.free.pop().unwrap_or_else(|| {
            let id = VhostId(u32::try_from(self.table.len()).expect("fewer than 2^32 vhosts"));
            self.table.push(Vhost::vacant(id, 1));
            id
        })
    }

    /// Takes the slot of that id for one that comes back.
    fn take_slot(&mut self, id: VhostId) {
        let index = id.0 as usize;
        while self.table.len() <= index {
            let id = VhostId(self.table.len() as u32);
            self.free.push(id);
            self.table.push(Vhost::vacant(id, 1));
        }
        self.free.retain(|free| *free != id);
    }

    fn fill(&mut self, id: VhostId, serial: u64, name: &str, limits: VhostLimits, attributes: VhostAttributes) {
        let name: Arc<str> = name.into();
        let previous = self.by_name.insert(Arc::clone(&name), id);
        assert!(previous.is_none(), "there is one vhost of a name");
        let generation = self[id].router.generation();
        let vacant = Vhost::vacant(id, generation);
        let allowance = match limits.deduplication_max_bytes {
            0 => Allowance::default(),
            most_bytes => Allowance::new(most_bytes),
        };
        let router = Router::new(id.0, generation).with_allowance(allowance);
        self[id] = Vhost { name, limits, attributes, serial, state: VhostState::There, router, ..vacant };
    }

    pub fn add(&mut self, serial: u64, name: &str, limits: VhostLimits, attributes: VhostAttributes) -> VhostId {
        let id = self.vacant_id();
        self.fill(id, serial, name, limits, attributes);
        id
    }

    pub fn add_at(&mut self, id: VhostId, serial: u64, name: &str, limits: VhostLimits, attributes: VhostAttributes) {
        self.take_slot(id);
        self.fill(id, serial, name, limits, attributes);
    }

    /// Takes its name. What was permitted for the serial that it had is permitted no more.
    pub fn delete(&mut self, id: VhostId, serial: u64) {
        let vhost = &mut self[id];
        debug_assert!(vhost.is_there());
        vhost.state = VhostState::Going;
        vhost.serial = serial;
        let name = Arc::clone(&vhost.name);
        self.by_name.remove(&name);
    }

    /// Gives its slot back.
    pub fn vacate(&mut self, id: VhostId) {
        self[id] = Vhost::vacant(id, self[id].router.generation() + 1);
        self.free.push(id);
    }

    pub fn named(&self, name: &[u8]) -> Option<VhostId> {
        self.by_name.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// Every vhost that is there or going, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Vhost> {
        self.table.iter().filter(|vhost| vhost.state != VhostState::Vacant)
    }

    /// One past the last slot.
    pub fn slots(&self) -> usize {
        self.table.len()
    }

    /// The vhost in a slot that can be named.
    pub fn in_slot(&self, slot: usize) -> Option<(VhostId, &Vhost)> {
        let vhost = self.table.get(slot).filter(|vhost| vhost.is_there())?;
        Some((VhostId(slot as u32), vhost))
    }
}

impl Index<VhostId> for Vhosts {
    type Output = Vhost;

    #[inline]
    fn index(&self, id: VhostId) -> &Vhost {
        &self.table[id.0 as usize]
    }
}

impl IndexMut<VhostId> for Vhosts {
    #[inline]
    fn index_mut(&mut self, id: VhostId) -> &mut Vhost {
        &mut self.table[id.0 as usize]
    }
}

impl<S: Store> Broker<S> {
    /// The virtual host of that name.
    pub fn vhost_named(&self, name: &[u8]) -> Option<VhostId> {
        self.vhosts.named(name)
    }

    pub fn vhost_name(&self, id: VhostId) -> &str {
        &self.vhosts[id].name
    }

    /// What is said of a vhost.
    pub fn vhost_attributes(&self, id: VhostId) -> &VhostAttributes {
        &self.vhosts[id].attributes
    }

    /// The name of the type of queues that are declared without one in a vhost: what is said of the vhost, else of all.
    pub(super) fn default_queue_type(&self, id: VhostId) -> Option<&str> {
        let of_vhost = self.vhosts[id].attributes.default_queue_type.as_deref();
        of_vhost.or(self.settings.default_queue_type.map(QueueKind::name))
    }

    /// Whether there is a vhost with this id, that was not deleted.
    pub fn has_vhost(&self, id: VhostId) -> bool {
        self.vhosts.in_slot(id.0 as usize).is_some()
    }

    /// What to keep of a vhost that may be deleted meanwhile.
    #[inline]
    pub fn vhost_key(&self, id: VhostId) -> VhostKey {
        VhostKey { id, serial: self.vhosts[id].serial }
    }

    /// A vhost, unless it was deleted meanwhile.
    pub fn vhost_meant(&self, key: VhostKey) -> Option<VhostId> {
        (self.has_vhost(key.id) && self.vhost_key(key.id) == key).then_some(key.id)
    }

    /// What leads where in a vhost.
    pub(super) fn router(&self, id: VhostId) -> &Router {
        &self.vhosts[id].router
    }

    /// Changes what leads where in a vhost. The epoch ends if anything did change.
    pub(super) fn change_routes<T>(&mut self, id: VhostId, change: impl FnOnce(&mut Router) -> T) -> T {
        self.end_target();
        let router = &mut self.vhosts[id].router;
        let before = router.generation();
        let outcome = change(router);
        for exchange in router.take_lost_histories() {
            self.histories.forget(id, exchange);
        }
        let router = &self.vhosts[id].router;
        if router.generation() != before {
            self.epoch.end();
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
