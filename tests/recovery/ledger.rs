//! What every durable queue may hold and what it must hold, by what its clients were told.

use crate::message::{Delivery, Message};
use std::collections::BTreeMap;

#[derive(Default)]
struct Entry {
    /// The publisher was told that it is safe, or it was seen to have survived.
    confirmed: bool,
    /// A consumer let go of it. Nobody was promised that the broker had heard, so it may come back.
    settled: bool,
}

/// Of persistent messages alone: transient ones must not come back, so it knows nothing of them.
#[derive(Default)]
pub struct Ledger {
    queues: BTreeMap<String, BTreeMap<Message, Entry>>,
}

impl Ledger {
    /// To be called before a byte of it is sent.
    pub fn published(&mut self, queue: &str, message: Message) {
        self.queues.entry(queue.to_owned()).or_default().insert(message, Entry::default());
    }

    pub fn confirmed(&mut self, message: Message) {
        let entries = self.queues.values_mut().filter_map(|queue| queue.get_mut(&message));
        entries.for_each(|entry| entry.confirmed = true);
    }

    /// To be called before a byte of the acknowledgement is sent.
    pub fn settled(&mut self, queue: &str, message: Message) {
        if let Some(entry) = self.queues.get_mut(queue).and_then(|queue| queue.get_mut(&message)) {
            entry.settled = true;
        }
    }

    /// Compares with what a queue held after a restart. From then on that must survive, and all else stays away.
    pub fn check(&mut self, queue: &str, found: &[Delivery]) {
        let expected = self.queues.remove(queue).unwrap_or_default();
        let mut held: BTreeMap<Message, Entry> = BTreeMap::new();
        let mut last_of: BTreeMap<u32, Message> = BTreeMap::new();
        for Delivery { message, redelivered, .. } in found {
            assert!(expected.contains_key(message), "{queue} holds {message:?}, which can't be there");
            assert!(redelivered, "{queue} holds {message:?} as if it had never been delivered");
            let twice = held.insert(*message, Entry { confirmed: true, settled: false }).is_some();
            assert!(!twice, "{queue} holds {message:?} twice");
            if let Some(before) = last_of.insert(message.publisher, *message) {
                assert!(before < *message, "{queue} holds {message:?} behind {before:?}");
            }
        }
        for (message, entry) in &expected {
            let must_be_there = entry.confirmed && !entry.settled;
            assert!(!must_be_there || held.contains_key(message), "{queue} lost {message:?}, which was confirmed");
        }
        self.queues.insert(queue.to_owned(), held);
    }
}
