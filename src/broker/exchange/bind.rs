//! Binding and unbinding, and what falls with a binding: auto-delete exchanges, one after the other.

use super::binding::{Binding, LostBinding, canonical, fingerprint};
use super::matcher::{Matcher, remove_key};
use super::router::{BindingId, Router};
use super::{Destination, ExchangeId, QueueId};
use crate::protocol::{AmqpError, FieldTable, ShortString};
use std::hash::BuildHasher;
use std::ops::Range;

/// What a bind came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// It was not there before.
    pub new: bool,
    /// Both ends are durable, so the binding must outlive the broker.
    pub durable: bool,
}

/// What an unbind took away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unbound {
    /// False: there was no such binding, which is fine.
    pub existed: bool,
    /// The binding that went was durable.
    pub durable: bool,
    /// Auto-delete exchanges that lost their last binding with it. Replaying the unbind deletes them again.
    pub auto_deleted: Vec<ShortString>,
}

impl Router {
    /// What a bind to `source` says of its key and arguments, without binding: 406 for those that make no sense.
    pub fn check_bind(
        &self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<(), AmqpError> {
        self.exchange(source).matcher.compile(destination, routing_key, arguments).map(|_| ())
    }

    /// Whether there is the binding with exactly this key and these arguments.
    pub fn is_bound(
        &self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> bool {
        let fingerprint = fingerprint(arguments);
        let hash = self.hasher.hash_one((source, destination, routing_key, &fingerprint));
        self.find(hash, source, destination, routing_key, &fingerprint).is_some()
    }

    /// Forgets a queue and its bindings, in time proportional to them. Returns the auto-delete exchanges that went
    /// with their last binding.
    pub fn queue_removed(&mut self, id: QueueId) -> Vec<ShortString> {
        let bindings = std::mem::take(self.incoming(Destination::Queue(id)));
        let emptied = bindings.into_iter().filter_map(|binding| self.detach_from_source(binding)).collect();
        let slot = self.queue_slots.remove(&id).expect("a removed queue was added");
        let queue = self.queues.remove(slot as usize);
        remove_key(self.default_keys(), &queue.name, Destination::Queue(id));
        self.generation += 1;
        self.auto_delete(emptied)
    }

    /// Binds a queue that [`Router::queue_added`] made known, or an exchange: what `source` routes there is routed on by
    /// it. Binding twice is binding once.
    ///
    /// # Errors
    /// 406 for a key or arguments that make no sense to this kind of exchange.
    pub fn bind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Bound, AmqpError> {
        let (destination_durable, name) = match destination {
            Destination::Queue(queue) => {
                let queue = self.queue(queue).expect("a queue is added before it is bound");
                (queue.durable, queue.name.clone())
            }
            Destination::Exchange(exchange) => {
                let exchange = self.exchange(exchange);
                (exchange.durable, exchange.name.clone())
            }
        };
        let exchange = &mut self.exchanges[source.0 as usize];
        let durable = exchange.durable && destination_durable;
        let compiled = exchange.matcher.compile(destination, routing_key, arguments)?;
        let fingerprint = fingerprint(arguments);
        let hash = self.hasher.hash_one((source, destination, routing_key, &fingerprint));
        if self.find(hash, source, destination, routing_key, &fingerprint).is_some() {
            return Ok(Bound { new: false, durable });
        }
        let routing_key = ShortString::truncated(routing_key);
        let exchange = &mut self.exchanges[source.0 as usize];
        exchange.matcher.insert(&routing_key, destination, &name, compiled);
        let id = self.bindings.vacant_key();
        exchange.outgoing.push(id);
        let outgoing_position = exchange.outgoing.len() - 1;
        let incoming = self.incoming(destination);
        incoming.push(id);
        let incoming_position = incoming.len() - 1;
        let arguments = canonical(arguments);
        self.bindings.insert(Binding {
            source,
            destination,
            routing_key,
            arguments,
            fingerprint,
            durable,
            outgoing_position,
            incoming_position,
        });
        let (bindings, hasher) = (&self.bindings, &self.hasher);
        self.identities.insert_unique(hash, id, |&id| identity_hash(hasher, &bindings[id]));
        self.generation += 1;
        Ok(Bound { new: true, durable })
    }

    /// Removes the binding with exactly this key and these arguments. When there is none, that is fine.
    pub fn unbind(
        &mut self,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Unbound {
        let fingerprint = fingerprint(arguments);
        let hash = self.hasher.hash_one((source, destination, routing_key, &fingerprint));
        let Some(id) = self.find(hash, source, destination, routing_key, &fingerprint) else {
            return Unbound::default();
        };
        let durable = self.bindings[id].durable;
        self.detach_from_destination(id);
        let emptied = self.detach_from_source(id);
        let auto_deleted = self.auto_delete(emptied.into_iter().collect());
        Unbound { existed: true, durable, auto_deleted }
    }

    /// Removes the bindings in a range of slots, and nothing that would fall with them: where everything goes, a part at a
    /// time.
    pub fn forget_bindings(&mut self, slots: Range<usize>) {
        for id in slots {
            if self.bindings.contains(id) {
                self.detach_from_destination(id);
                self.detach_from_source(id);
            }
        }
    }

    /// Removes an exchange whatever holds on to it, and every binding from it and to it; returns the auto-delete exchanges
    /// that fall with it. Replaying that removes them again.
    pub fn remove(&mut self, id: ExchangeId) -> Vec<ShortString> {
        let emptied = self.take_exchange(id);
        self.auto_delete(emptied)
    }

    /// Removes auto-delete exchanges that lost their last binding, and those that lose theirs by that.
    fn auto_delete(&mut self, mut emptied: Vec<ExchangeId>) -> Vec<ShortString> {
        let mut names = Vec::new();
        while let Some(id) = emptied.pop() {
            names.push(self.exchange(id).name.clone());
            let more = self.take_exchange(id);
            emptied.extend(more);
        }
        names
    }

    /// Removes an exchange and its bindings; returns the auto-delete exchanges that have none left now. An exchange
    /// comes into such a list once, when its last binding goes, so nobody is removed twice.
    fn take_exchange(&mut self, id: ExchangeId) -> Vec<ExchangeId> {
        let outgoing = std::mem::take(&mut self.exchanges[id.0 as usize].outgoing);
        for binding in outgoing {
            // Its matcher goes as a whole, so only the other end needs to hear of it.
            self.detach_from_destination(binding);
            self.forget(binding);
        }
        let incoming = std::mem::take(&mut self.exchanges[id.0 as usize].incoming);
        let emptied = incoming.into_iter().filter_map(|binding| self.detach_from_source(binding)).collect();
        let exchange = self.exchanges.remove(id.0 as usize);
        self.by_name.remove(&*exchange.name);
        if matches!(exchange.matcher, Matcher::RecentHistory(..)) {
            self.lost_histories.push(id);
        }
        self.generation += 1;
        emptied
    }

    /// Takes a binding out of its source and forgets it; returns the source if that must be deleted now.
    fn detach_from_source(&mut self, id: BindingId) -> Option<ExchangeId> {
        let binding = self.forget(id);
        let source = &mut self.exchanges[binding.source.0 as usize];
        source.matcher.remove(&binding);
        source.outgoing.swap_remove(binding.outgoing_position);
        if let Some(&moved) = source.outgoing.get(binding.outgoing_position) {
            self.bindings[moved].outgoing_position = binding.outgoing_position;
        }
        let source = &self.exchanges[binding.source.0 as usize];
        (source.auto_delete && source.outgoing.is_empty()).then_some(binding.source)
    }

    fn detach_from_destination(&mut self, id: BindingId) {
        let (destination, position) = (self.bindings[id].destination, self.bindings[id].incoming_position);
        let incoming = self.incoming(destination);
        incoming.swap_remove(position);
        if let Some(&moved) = incoming.get(position) {
            self.bindings[moved].incoming_position = position;
        }
    }

    fn forget(&mut self, id: BindingId) -> Binding {
        if self.lost_bindings.is_some() {
            self.keep_lost(id);
        }
        let binding = self.bindings.remove(id);
        let hash = identity_hash(&self.hasher, &binding);
        self.identities.find_entry(hash, |&other| other == id).expect("every binding has an identity").remove();
        self.generation += 1;
        binding
    }

    /// Keeps a binding that goes for whoever wants to hear of it. Both ends have their names still.
    fn keep_lost(&mut self, id: BindingId) {
        let lost = LostBinding::of(&self.binding_info(&self.bindings[id]));
        if let Some((kept, room_bytes)) = &mut self.lost_bindings
            && let Some(room_left) = room_bytes.checked_sub(lost.held_bytes())
        {
            *room_bytes = room_left;
            kept.push(lost);
        }
    }

    fn incoming(&mut self, destination: Destination) -> &mut Vec<BindingId> {
        match destination {
            Destination::Exchange(exchange) => &mut self.exchanges[exchange.0 as usize].incoming,
            Destination::Queue(queue) => {
                let slot = *self.queue_slots.get(&queue).expect("a bound queue exists");
                &mut self.queues[slot as usize].incoming
            }
        }
    }

    fn find(
        &self,
        hash: u64,
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        fingerprint: &[u8],
    ) -> Option<BindingId> {
        let is_it = |&id: &BindingId| {
            let binding = &self.bindings[id];
            binding.source == source
                && binding.destination == destination
                && *binding.routing_key == *routing_key
                && *binding.fingerprint == *fingerprint
        };
        self.identities.find(hash, is_it).copied()
    }
}

fn identity_hash(hasher: &impl BuildHasher, binding: &Binding) -> u64 {
    let routing_key: &[u8] = &binding.routing_key;
    hasher.hash_one((binding.source, binding.destination, routing_key, &binding.fingerprint))
}
