//! Binding and unbinding, and what falls with a binding.

use super::binding::{Binding, LostBinding, canonical, fingerprint};
use super::router::{BindingId, Router};
use super::{Destination, ExchangeId};
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
    /// An auto-delete exchange that lost its last binding with it, and has to go. Replaying the unbind deletes it again.
    pub emptied: Option<ExchangeId>,
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
        let outgoing_position = exchange.outgoing.len();
        let incoming_position = self.incoming(destination).len();
        let id = self.bindings.insert(Binding {
            source,
            destination,
            routing_key,
            arguments: canonical(arguments),
            fingerprint,
            durable,
            outgoing_position,
            incoming_position,
        });
        self.exchanges[source.0 as usize].outgoing.push(id);
        self.incoming(destination).push(id);
        self.identities.insert_unique(hash, (hash, id), |&(hash, _)| hash);
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
        Unbound { existed: true, durable, emptied: self.detach_from_source(id) }
    }

    /// Removes the bindings in a range of slots, and nothing that would fall with them: where everything goes, a part at a
    /// time.
    pub fn forget_bindings(&mut self, slots: Range<usize>) {
        for id in slots {
            if self.bindings.get(id).is_some() {
                self.detach_from_destination(id);
                self.detach_from_source(id);
            }
        }
    }

    /// Takes a binding out of its source and forgets it; returns the source if that must be deleted now.
    pub(super) fn detach_from_source(&mut self, id: BindingId) -> Option<ExchangeId> {
        let binding = self.forget(id);
        let source = &mut self.exchanges[binding.source.0 as usize];
        source.leaves_with.as_deref_mut().unwrap_or(&mut source.matcher).remove(&binding);
        source.outgoing.swap_remove(binding.outgoing_position);
        if let Some(&moved) = source.outgoing.get(binding.outgoing_position) {
            self.bindings[moved].outgoing_position = binding.outgoing_position;
        }
        let source = &self.exchanges[binding.source.0 as usize];
        let is_left_over = source.auto_delete && source.outgoing.is_empty() && source.leaves_with.is_none();
        is_left_over.then_some(binding.source)
    }

    pub(super) fn detach_from_destination(&mut self, id: BindingId) {
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
        self.identities.find_entry(hash, |&(_, other)| other == id).expect("every binding has an identity").remove();
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

    pub(super) fn incoming(&mut self, destination: Destination) -> &mut Vec<BindingId> {
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
        let is_it = |&(of, id): &(u64, BindingId)| {
            let binding = &self.bindings[id];
            of == hash
                && binding.source == source
                && binding.destination == destination
                && *binding.routing_key == *routing_key
                && *binding.fingerprint == *fingerprint
        };
        self.identities.find(hash, is_it).map(|&(_, id)| id)
    }
}

fn identity_hash(hasher: &impl BuildHasher, binding: &Binding) -> u64 {
    let routing_key: &[u8] = &binding.routing_key;
    hasher.hash_one((binding.source, binding.destination, routing_key, &binding.fingerprint))
}
