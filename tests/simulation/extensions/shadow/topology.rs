//! Queues and bindings, which come and go.

use super::lasting::Told;
use super::{Queue, QueueIndex, Shadow};

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
        let count = queue.ready.len();
        *queue = Queue::new(0, &self.specs[index], self.now_ms);
        self.declared.retain(|other| *other != index);
        for bound in &mut self.bindings {
            if let Some(place) = bound.iter().position(|other| *other == index) {
                bound.swap_remove(place);
            }
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

    pub fn bind(&mut self, exchange: usize, index: QueueIndex) {
        if !self.bindings[exchange].contains(&index) {
            self.bindings[exchange].push(index);
            self.tell(Told::Bound(exchange, index));
        }
    }

    pub fn unbind(&mut self, exchange: usize, index: QueueIndex) {
        if let Some(place) = self.bindings[exchange].iter().position(|other| *other == index) {
            // The last one takes its place.
            self.bindings[exchange].swap_remove(place);
            self.tell(Told::Unbound(exchange, index));
        }
    }
}
