//! The router of one vhost: its exchanges, its bindings and its queues by name.

use super::binding::{Binding, BindingInfo, LostBinding};
use super::destinations::Destinations;
use super::matcher::{Matcher, insert_key};
use super::route_cache::Sources;
use super::shelves::Shelves;
use super::{DEFAULT_EXCHANGE, Destination, ExchangeId, ExchangeKind, QueueId};
use crate::broker::ExchangeCounters;
use crate::broker::deduplication::{Allowance, SeenByExchange};
use crate::broker::equivalence::Subject;
use crate::broker::policy::Applied;
use crate::protocol::{FieldTable, ShortString};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;

/// Name, kind and `internal` of what every vhost is born with, all durable. The default exchange comes first.
const PREDECLARED: [(&str, ExchangeKind, bool); 7] = [
    ("", ExchangeKind::Direct, false),
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    ("amq.topic", ExchangeKind::Topic, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
];

/// How many exchanges every vhost is born with.
pub const PREDECLARED_COUNT: usize = PREDECLARED.len();

/// The kind of an exchange that every vhost is born with.
pub fn predeclared(name: &[u8]) -> Option<ExchangeKind> {
    PREDECLARED.into_iter().find(|(of, ..)| of.as_bytes() == name).map(|(_, kind, _)| kind)
}

/// Index of a binding in the router's slab.
pub(super) type BindingId = usize;

/// All exchanges and bindings of a vhost.
pub struct Router {
    pub(super) exchanges: Slab<Exchange>,
    pub(super) by_name: HashMap<ShortString, ExchangeId>,
    pub(super) queues: Slab<Queue>,
    /// The slots of queues here: their ids are those of a table that all vhosts share.
    pub(super) queue_slots: HashMap<QueueId, u32>,
    pub(super) bindings: Shelves<Binding>,
    /// Bindings by what makes them the same, with the hash of that: nobody has to find them all again when this grows.
    pub(super) identities: HashTable<(u64, BindingId)>,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) generation: u64,
    /// Of exchanges that are gone, until somebody is told.
    pub(super) lost_histories: Vec<ExchangeId>,
    /// What its exchanges and queues may remember of messages.
    pub(super) allowance: Allowance,
    /// Bindings that go, while somebody wants to hear of them, and what more of them may take.
    pub(super) lost_bindings: Option<(Vec<LostBinding>, usize)>,
    /// Tell its exchanges from those of others with which it shares its [`Walks`](super::Walks).
    pub(super) sources: Sources,
}

/// An exchange. Its bindings are the router's business.
pub struct Exchange {
    pub name: ShortString,
    pub kind: ExchangeKind,
    pub durable: bool,
    /// Deleted with its last binding as a source.
    pub auto_delete: bool,
    /// Publishers may not use it.
    pub internal: bool,
    pub arguments: FieldTable,
    /// Gets what no binding here matches. Resolved by name at every route: it may come and go.
    pub alternate: Option<ShortString>,
    pub policies: Applied,
    /// No other exchange has had it in this router, whatever its name.
    pub serial: u64,
    /// Without what is counted [while it is published to](crate::broker::Broker::publishes_to).
    pub counters: ExchangeCounters,
    pub(super) matcher: Matcher,
    /// It [leaves](Router::let_leave): what its bindings were compiled into, until they are gone.
    pub(super) leaves_with: Option<Box<Matcher>>,
    /// Bindings with this exchange as their source.
    pub(super) outgoing: Vec<BindingId>,
    /// Bindings with this exchange as their destination.
    pub(super) incoming: Vec<BindingId>,
}

/// A queue as the router knows it.
pub(super) struct Queue {
    pub(super) id: QueueId,
    pub(super) name: ShortString,
    pub(super) durable: bool,
    /// It [leaves](Router::let_leave).
    pub(super) leaves: bool,
    pub(super) incoming: Vec<BindingId>,
}

impl Router {
    /// Without a single exchange: of a vhost that is not there. Generations go on from one to the next router of a number.
    pub fn empty(number: u32, generation: u64) -> Self {
        Self {
            exchanges: Slab::new(),
            by_name: HashMap::new(),
            queues: Slab::new(),
            queue_slots: HashMap::new(),
            bindings: Shelves::new(),
            identities: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            generation,
            lost_histories: Vec::new(),
            allowance: Allowance::default(),
            lost_bindings: None,
            sources: Sources::of_router(number),
        }
    }

    /// A vhost's exchanges as they are before anybody declared one.
    pub fn new(number: u32, generation: u64) -> Self {
        let mut router = Self::empty(number, generation);
        for (name, kind, internal) in PREDECLARED {
            let (arguments, alternate) = (FieldTable::default(), None);
            let subject = Subject { kind: "exchange", name: name.as_bytes(), vhost: b"" };
            let matcher = Matcher::new(kind, &arguments, subject).expect("no arguments are fine");
            router.add_exchange(Exchange {
                name: name.into(),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments,
                alternate,
                policies: Applied::default(),
                serial: 0,
                counters: ExchangeCounters::default(),
                matcher,
                leaves_with: None,
                outgoing: Vec::new(),
                incoming: Vec::new(),
            });
        }
        debug_assert_eq!(router.exchange_named(b""), Some(DEFAULT_EXCHANGE));
        router
    }

    /// With as much room for what its exchanges and queues remember of messages.
    pub fn with_allowance(self, allowance: Allowance) -> Self {
        Self { allowance, ..self }
    }

    /// What its exchanges and queues may remember of messages.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Moves on every change that could alter the result of any route, and stands still between them.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The exchange of that name.
    pub fn exchange_named(&self, name: &[u8]) -> Option<ExchangeId> {
        self.by_name.get(name).copied()
    }

    /// The exchange of an id that is still valid.
    #[inline]
    pub fn exchange(&self, id: ExchangeId) -> &Exchange {
        &self.exchanges[id.0 as usize]
    }

    /// So much more went through an exchange.
    pub fn count_published(&mut self, id: ExchangeId, counters: ExchangeCounters) {
        self.exchanges[id.0 as usize].counters.add(counters);
    }

    /// How many messages an exchange keeps for those who are bound later.
    pub fn history_length(&self, id: ExchangeId) -> usize {
        match *self.exchange(id).matcher.unwatched() {
            Matcher::RecentHistory(_, length) => length,
            _ => 0,
        }
    }

    /// What an exchange remembers, if it is there and does.
    pub fn cache(&self, id: ExchangeId) -> Option<&SeenByExchange> {
        self.exchanges.get(id.0 as usize)?.matcher.cache()
    }

    /// From now on an exchange is one of the [witnesses](super::Walks::take_witnesses) of what it routes, or no longer.
    pub fn watch(&mut self, id: ExchangeId, watched: bool) {
        let Some(exchange) = self.exchanges.get_mut(id.0 as usize) else { return };
        if exchange.leaves_with.is_some() || watched == matches!(exchange.matcher, Matcher::Watched(_)) {
            return;
        }
        let matcher = std::mem::replace(&mut exchange.matcher, Matcher::Random);
        exchange.matcher = match matcher {
            Matcher::Watched(matcher) => *matcher,
            matcher => Matcher::Watched(Box::new(matcher)),
        };
        self.generation += 1;
    }

    /// Whether somebody watches what an exchange routes.
    pub fn is_watched(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id.0 as usize).is_some_and(|exchange| matches!(exchange.matcher, Matcher::Watched(_)))
    }

    /// The exchanges with a history that went since this was asked.
    pub fn take_lost_histories(&mut self) -> Vec<ExchangeId> {
        std::mem::take(&mut self.lost_histories)
    }

    /// From now on keeps bindings that go, as many as there is room for.
    pub fn keep_lost_bindings(&mut self, room_bytes: usize) {
        self.lost_bindings = Some((Vec::new(), room_bytes));
    }

    /// The bindings that went meanwhile; no more are kept.
    pub fn take_lost_bindings(&mut self) -> Vec<LostBinding> {
        self.lost_bindings.take().map(|(lost, _)| lost).unwrap_or_default()
    }

    /// Makes the queue reachable by its name through the default exchange.
    pub fn queue_added(&mut self, name: &ShortString, id: QueueId, durable: bool) {
        let slot = self.queues.insert(Queue { id, name: name.clone(), durable, leaves: false, incoming: Vec::new() });
        let previous = self.queue_slots.insert(id, slot as u32);
        assert!(previous.is_none(), "a queue id is given once at a time");
        insert_key(self.default_keys(), name, Destination::Queue(id));
        self.generation += 1;
    }

    /// So many queues are about to come: nothing has to be moved while they do. Listings go by how many slots there are, and
    /// would count again what they have told if the next queue doubled them: there are as many as by and by.
    pub fn expect_queues(&mut self, count: usize) {
        let there = self.queues.len();
        self.queues.reserve_exact((there + count).next_power_of_two() - there);
        self.queue_slots.reserve(count);
        self.default_keys().reserve(count);
    }

    /// Bindings that clients made.
    pub fn binding_count(&self) -> usize {
        self.bindings.len()
    }

    /// The queue of that name.
    pub fn queue_named(&self, name: &[u8]) -> Option<QueueId> {
        match self.exchanges[DEFAULT_EXCHANGE.0 as usize].matcher.unwatched() {
            Matcher::Direct(keys) => keys.get(name)?.queues().first().copied(),
            _ => unreachable!("the default exchange is direct"),
        }
    }

    /// Bindings that lead to a queue or exchange, without the default exchange's.
    pub fn bindings_to(&self, destination: Destination) -> impl Iterator<Item = BindingInfo<'_>> {
        let incoming = match destination {
            Destination::Exchange(exchange) => self.exchange(exchange).incoming.as_slice(),
            Destination::Queue(queue) => self.queue(queue).map(|queue| queue.incoming.as_slice()).unwrap_or_default(),
        };
        incoming.iter().filter_map(|&id| self.listed_binding(&self.bindings[id]))
    }

    /// A binding unless one of its ends leaves.
    pub(super) fn listed_binding<'a>(&'a self, binding: &'a Binding) -> Option<BindingInfo<'a>> {
        let leaves = self.leaves(Destination::Exchange(binding.source)) || self.leaves(binding.destination);
        (!leaves).then(|| self.binding_info(binding))
    }

    pub(super) fn binding_info<'a>(&'a self, binding: &'a Binding) -> BindingInfo<'a> {
        let destination_name = match binding.destination {
            Destination::Exchange(exchange) => &self.exchange(exchange).name,
            Destination::Queue(queue) => &self.queue(queue).expect("a bound queue exists").name,
        };
        BindingInfo {
            source: &self.exchange(binding.source).name,
            destination: binding.destination,
            destination_name,
            routing_key: &binding.routing_key,
            arguments: (!binding.arguments.is_empty()).then_some(&binding.arguments),
        }
    }

    pub(super) fn add_exchange(&mut self, exchange: Exchange) -> ExchangeId {
        let name = exchange.name.clone();
        let exchange = Exchange { serial: self.generation, ..exchange };
        let id = ExchangeId(self.exchanges.insert(exchange) as u32);
        self.by_name.insert(name, id);
        self.generation += 1;
        id
    }

    pub(super) fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(*self.queue_slots.get(&id)? as usize)
    }

    pub(super) fn default_keys(&mut self) -> &mut HashMap<ShortString, Destinations> {
        match self.exchanges[DEFAULT_EXCHANGE.0 as usize].matcher.unwatched_mut() {
            Matcher::Direct(keys) => keys,
            _ => unreachable!("the default exchange is direct"),
        }
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new(0, 1)
    }
}
