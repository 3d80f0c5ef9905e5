//! Queues and bindings, which come and go.

use super::lasting::Told;
use super::{Queue, QueueIndex, Shadow, Tick};
use crate::extensions::exchanges::{RECENT, RING};

/// A queue is no longer bound to an exchange; false if it was not. The last one takes its place, but for where their order
/// counts.
fn let_go((exchange, bound): (usize, &mut Vec<QueueIndex>), index: QueueIndex) -> bool {
    let Some(place) = bound.iter().position(|other| *other == index) else { return false };
    match exchange {
        RING => bound.remove(place),
        _ => bound.swap_remove(place),
    };
    true
}

impl Shadow {
    pub fn is_there(&self, index: QueueIndex) -> bool {
        self.queues[index].serial > 0
    }

    pub fn declare(&mut self, index: QueueIndex) {
        if !self.is_there(index) {
            self.last_serial += 1;
            self.queues[index] = Queue::new(self.last_serial, &self.specs[index], self.now_ms);
            self.declared.push(index);
            self.apply_rules();
            self.tell(Told::Declared(index));
        }
        self.queues[index].last_used_ms = self.now_ms;
    }

    /// Says how many messages go with it, and where its consumers are.
    pub fn delete(&mut self, index: QueueIndex) -> (usize, Vec<u16>) {
        self.deliver(index);
        self.drop_expired(index);
        self.publish_letters_of(index);
        let consumers = self.cancel_all(index);
        let queue = &mut self.queues[index];
        let count = queue.ready.len() + queue.retries.len();
        *queue = Queue::new(0, &self.specs[index], self.now_ms);
        self.declared.retain(|other| *other != index);
        for bound in self.bindings.iter_mut().enumerate() {
            let_go(bound, index);
        }
        self.tell(Told::Deleted(index));
        (count, consumers)
    }

    pub(super) fn delete_unused(&mut self) {
        for index in self.declared.clone() {
            let Queue { consumers, last_used_ms, .. } = &self.queues[index];
            if self.specs[index].expires_ms.is_some_and(|expires_ms| last_used_ms + expires_ms <= self.now_ms)
                && consumers.is_empty()
            {
                self.delete(index);
            }
        }
    }

    /// Says what has to be safe before that may be said. Who is new hears what was said last.
    pub fn bind(&mut self, exchange: usize, index: QueueIndex) -> Tick {
        let is_new = !self.bindings[exchange].contains(&index);
        if is_new {
            self.bindings[exchange].push(index);
            self.tell(Told::Bound(exchange, index));
        }
        let safe = self.tick();
        if is_new && exchange == RECENT {
            self.history.clone().into_iter().for_each(|entry| _ = self.enter(index, entry, &mut 0));
        }
        safe
    }

    pub fn unbind(&mut self, exchange: usize, index: QueueIndex) {
        if let_go((exchange, &mut self.bindings[exchange]), index) {
            self.tell(Told::Unbound(exchange, index));
        }
    }
}
