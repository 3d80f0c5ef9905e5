//! Ends: of a broker, which another one follows, and of the virtual host with everything in it.

use super::lasting::{Contents, Told};
use super::letters::Letters;
use super::{Entry, LATE, Queue, Shadow};
use crate::extensions::exchanges::RING;

impl Shadow {
    /// Goes on from what a start found. Of each message it says how often it had come back.
    pub fn restart(&mut self, found: Contents, now_ms: u64) {
        self.now_ms = now_ms;
        self.have(&found);
        self.lasting.begin_again(found);
        let declared = self.declared.clone();
        declared.iter().for_each(|index| self.drop_expired(*index));
        self.release();
        // The end may have come between a message and what had to go for it.
        declared.iter().for_each(|index| self.drop_overflow(*index));
    }

    /// That is what there is, and nobody has any of it.
    fn have(&mut self, found: &Contents) {
        let now_ms = self.now_ms;
        self.held.clear();
        self.last_tags.clear();
        self.consumers.clear();
        self.given.clear();
        self.letters = Letters::default();
        self.declared.clone_from(&found.declared);
        for (index, spec) in self.specs.iter().enumerate() {
            self.last_serial += 1;
            let serial = if self.declared.contains(&index) { self.last_serial } else { 0 };
            self.queues[index] = Queue::new(serial, spec, now_ms);
            let queue = &mut self.queues[index];
            for (place, entry) in found.queues.get(&index).into_iter().flatten() {
                if let Some(value) = entry.value.filter(|_| self.specs[index].deduplicates) {
                    queue.values.entry(value).or_insert((*place, entry.expires_at_ms.unwrap_or(u64::MAX)));
                }
                // What comes out of the log is kept wherever it goes, whatever its delivery mode was.
                queue.ready.insert(place.turn(), (*place, Entry { persistent: true, ..entry.clone() }));
            }
        }
        self.bindings.iter_mut().for_each(Vec::clear);
        found.bindings.iter().for_each(|(exchange, queue)| self.bindings[*exchange].push(*queue));
        // They come back in the order of their queues' names, but for where their order counts.
        self.bindings.iter_mut().enumerate().filter(|(exchange, _)| *exchange != RING).for_each(|(_, of)| of.sort());
        self.history.clear();
        let delayed = found.queues.get(&LATE).into_iter().flatten();
        let due_ms = |entry: &Entry| entry.expires_at_ms.expect("it waits for its time");
        self.delayed = delayed.map(|(place, entry)| ((due_ms(entry), *place), entry.clone())).collect();
        self.rules = found.rules.clone();
        self.recall(&found.remembered);
        self.apply_rules();
    }

    /// The virtual host is deleted, and with it everything that the shadow knows of.
    pub fn raze(&mut self) {
        self.tell(Told::Razed);
        self.have(&Contents::default());
    }

    /// There is one again, with nothing in it.
    pub fn found(&mut self) {
        self.tell(Told::Founded);
    }
}
