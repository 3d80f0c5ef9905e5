//! Queues and exchanges that leave: their names go at once, and their bindings, of which there may be millions, some at a
//! time. As long as one is left the slot is taken; nobody sees them.

use super::destinations::Destinations;
use super::matcher::{Matcher, remove_key};
use super::router::Router;
use super::{Destination, ExchangeId, QueueId};

/// What went of something that leaves.
#[derive(Default)]
pub struct Detached {
    pub bindings: usize,
    /// Auto-delete exchanges that lost their last binding, and have to go.
    pub emptied: Vec<ExchangeId>,
    /// Nothing is left of it.
    pub is_gone: bool,
}

impl Router {
    /// Takes a queue's or an exchange's name. Nothing is routed on by it any more; what leads to it has to be
    /// [detached](Self::detach_some).
    pub fn let_leave(&mut self, id: Destination) {
        match id {
            Destination::Queue(id) => {
                let slot = *self.queue_slots.get(&id).expect("a queue that leaves was added") as usize;
                self.queues[slot].leaves = true;
                let name = self.queues[slot].name.clone();
                remove_key(self.default_keys(), &name, Destination::Queue(id));
            }
            Destination::Exchange(id) => {
                let exchange = &mut self.exchanges[id.0 as usize];
                self.by_name.remove(&*exchange.name);
                if matches!(exchange.matcher.unwatched(), Matcher::RecentHistory(..)) {
                    self.lost_histories.push(id);
                }
                let matcher = std::mem::replace(&mut exchange.matcher, Matcher::Fanout(Destinations::None));
                exchange.leaves_with = Some(Box::new(matcher));
            }
        }
        self.generation += 1;
    }

    /// Removes so many bindings of something that leaves, and itself with the last of them.
    pub fn detach_some(&mut self, id: Destination, most: usize) -> Detached {
        let mut detached = Detached::default();
        while detached.bindings < most {
            if let Some(binding) = self.incoming(id).pop() {
                detached.emptied.extend(self.detach_from_source(binding));
            } else if let Destination::Exchange(source) = id
                && let Some(&binding) = self.exchange(source).outgoing.last()
            {
                self.detach_from_destination(binding);
                self.detach_from_source(binding);
            } else {
                self.forget_left(id);
                detached.is_gone = true;
                break;
            }
            detached.bindings += 1;
        }
        detached
    }

    fn forget_left(&mut self, id: Destination) {
        match id {
            Destination::Queue(id) => {
                let slot = self.queue_slots.remove(&id).expect("a queue that leaves was added");
                self.queues.remove(slot as usize);
            }
            Destination::Exchange(id) => drop(self.exchanges.remove(id.0 as usize)),
        }
        self.generation += 1;
    }

    /// Whether a queue is here, be it as one that leaves.
    pub fn has_queue(&self, id: QueueId) -> bool {
        self.queue_slots.contains_key(&id)
    }

    /// Whether nobody is to see it any more.
    pub(super) fn leaves(&self, id: Destination) -> bool {
        match id {
            Destination::Queue(id) => self.queue(id).is_none_or(|queue| queue.leaves),
            Destination::Exchange(id) => self.exchange(id).leaves_with.is_some(),
        }
    }
}
