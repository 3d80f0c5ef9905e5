//! Virtual hosts come and go, and say more of themselves.
//!
//! Deleting one takes its name and everybody's permissions at once, so that nothing can be done in it any more. What is in
//! it goes afterwards, a slice at a time: nobody waits for a hundred thousand queues. The log is told of the whole at the
//! beginning.

use super::effects::Effects;
use super::exchange::{DEFAULT_EXCHANGE, Destination, ExchangeId};
use super::store::{Definition, Store, VhostDefinition};
use super::vhost::{VhostAttributes, VhostKey};
use super::{Broker, Done, VhostId};
use crate::protocol::ShortString;

/// Slots of bindings that one slice looks at: a single queue may have a million of them.
const SLICE_BINDING_SLOTS: usize = 1024;
/// Slots of queues or exchanges that one slice looks at.
const SLICE_SLOTS: usize = 64;
/// Messages after which a slice ends early.
const SLICE_MESSAGES: usize = 10_000;

impl<S: Store> Broker<S> {
    /// Makes a vhost, with the exchanges that every one is born with, or says other things of the one of that name. Says
    /// whether it is new. The name has 1 to 255 bytes.
    pub fn put_vhost(&mut self, name: &str, attributes: VhostAttributes) -> Done<bool> {
        let existing = self.vhosts.named(name.as_bytes());
        let id = match existing {
            Some(id) => {
                self.vhosts[id].attributes = attributes;
                self.tell_of_vhost(id, false);
                id
            }
            None => {
                let (serial, limits) = (self.next_serial(), self.settings.vhost_limits);
                let id = self.vhosts.add(serial, name, limits, attributes);
                self.found_events(id);
                self.tell_of_vhost(id, true);
                id
            }
        };
        self.note_tracing();
        let definition = self.vhost_definition(id);
        self.define(&definition);
        self.done(existing.is_none())
    }

    /// From now on there may be so many queues in a vhost, and connections to it. What is there already stays.
    pub fn set_vhost_limits(&mut self, id: VhostId, queues_max: Option<u64>, connections_max: Option<u64>) -> Done<()> {
        let attributes = &mut self.vhosts[id].attributes;
        if (attributes.queues_max, attributes.connections_max) == (queues_max, connections_max) {
            return self.done(());
        }
        (attributes.queues_max, attributes.connections_max) = (queues_max, connections_max);
        self.tell_vhost_limits_set(id);
        let definition = self.vhost_definition(id);
        self.define(&definition);
        self.done(())
    }

    /// From now on a vhost can or can't be deleted.
    pub fn protect_vhost(&mut self, id: VhostId, is_protected: bool) -> Done<()> {
        if std::mem::replace(&mut self.vhosts[id].attributes.is_protected, is_protected) != is_protected {
            self.tell_of_vhost(id, false);
            let definition = self.vhost_definition(id);
            self.define(&definition);
        }
        self.done(())
    }

    fn vhost_definition(&self, id: VhostId) -> Definition {
        let vhost = &self.vhosts[id];
        let VhostAttributes {
            description,
            tags,
            default_queue_type,
            tracing,
            queues_max,
            connections_max,
            is_protected,
        } = vhost.attributes.clone();
        Definition::VhostDeclared(VhostDefinition {
            id,
            name: ShortString::truncated(vhost.name.as_bytes()),
            description,
            tags,
            default_queue_type,
            tracing,
            max_queues: queues_max,
            max_connections: connections_max,
            is_protected,
        })
    }

    /// Deletes a vhost, whose [protection](Self::protect_vhost) is for the caller to ask: from now on nobody can name it, or do anything in it. Its connections are for the caller to close;
    /// then [`clear_vhost`](Self::clear_vhost) takes away what is in it.
    pub fn delete_vhost(&mut self, id: VhostId) -> Done<VhostKey> {
        self.begin_farewell(self.vhost_key(id));
        let serial = self.next_serial();
        self.vhosts.delete(id, serial);
        self.note_tracing();
        self.define(&Definition::VhostDeleted { vhost: id });
        self.done(self.vhost_key(id))
    }

    /// Takes away a slice of what was in a deleted vhost, once all its connections are closed. True when there is nothing
    /// left of it.
    pub fn clear_vhost(&mut self, key: VhostKey, effects: &mut impl Effects) -> bool {
        let vhost = &self.vhosts[key.id];
        if vhost.serial != key.serial {
            return true;
        }
        debug_assert!(!vhost.is_there(), "only a deleted vhost is cleared");
        if vhost.connections > 0 {
            return false;
        }
        self.as_its_deleter(key.id, |broker| broker.clear_some_of_vhost(key.id, effects))
    }

    fn clear_some_of_vhost(&mut self, id: VhostId, effects: &mut impl Effects) -> bool {
        if self.tell_some_forbidden(id) {
            return false;
        }
        let vhost = &self.vhosts[id];
        let first = vhost.cleared_slots;
        // Bindings go first, so that queues and exchanges have none left that would have to go with them at once.
        let binding_slots = vhost.router().own_binding_slots();
        if first < binding_slots {
            let end = binding_slots.min(first + SLICE_BINDING_SLOTS);
            let ((), lost) = self.change_routes_watched(id, |router| router.forget_bindings(first..end));
            self.acting_as(None, |broker| broker.tell_bindings_deleted(id, lost));
            self.vhosts[id].cleared_slots = end;
            return false;
        }
        let queues_end = binding_slots + vhost.router().queue_slots();
        let slots = queues_end + vhost.router().exchange_slots();
        let mut messages = 0;
        for slot in (first..slots).take(SLICE_SLOTS) {
            match slot.checked_sub(queues_end) {
                None => messages += self.clear_queue(id, slot - binding_slots, effects),
                Some(slot) => self.clear_exchange(id, slot),
            }
            self.vhosts[id].cleared_slots += 1;
            if messages > SLICE_MESSAGES {
                return false;
            }
        }
        let vhost = &self.vhosts[id];
        if vhost.cleared_slots < slots || vhost.queues > 0 || self.leaving.has_some_of(id) {
            return false;
        }
        self.end_farewell(id);
        self.end_target();
        self.vhosts.vacate(id);
        true
    }

    /// Says how many messages went.
    fn clear_queue(&mut self, vhost: VhostId, slot: usize, effects: &mut impl Effects) -> usize {
        let Some(id) = self.vhosts[vhost].router().queue_in_slot(slot) else { return 0 };
        let deleted = self.delete_queue_now(id, None);
        self.notify_cancelled(&deleted, effects);
        deleted.message_count as usize
    }

    fn clear_exchange(&mut self, vhost: VhostId, slot: usize) {
        let id = ExchangeId(slot as u32);
        if !self.vhosts[vhost].router().has_exchange(id) {
            return;
        }
        let name = self.vhosts[vhost].router().exchange(id).name.clone();
        self.tell_exchange_deleted(vhost, &name, None);
        // It goes with the router.
        if id != DEFAULT_EXCHANGE {
            self.forget_delayed(vhost, &name);
            self.let_leave(vhost, Destination::Exchange(id), None);
        }
    }

    /// Puts a vhost back.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn restore_vhost(&mut self, definition: VhostDefinition) -> Result<(), String> {
        let VhostDefinition {
            id,
            name,
            description,
            tags,
            default_queue_type,
            tracing,
            max_queues,
            max_connections,
            is_protected,
        } = definition;
        let text = std::str::from_utf8(&name).map_err(|_| format!("the name of virtual host {name} is not UTF-8"))?;
        if self.has_vhost(id) || self.vhosts.named(&name).is_some() {
            return Err(format!("there is a second virtual host {text}, or one of its number"));
        }
        let attributes = VhostAttributes {
            description,
            tags,
            default_queue_type,
            tracing,
            queues_max: max_queues,
            connections_max: max_connections,
            is_protected,
        };
        let (serial, limits) = (self.next_serial(), self.settings.vhost_limits);
        self.vhosts.add_at(id, serial, text, limits, attributes);
        self.found_events(id);
        self.note_tracing();
        Ok(())
    }
}
