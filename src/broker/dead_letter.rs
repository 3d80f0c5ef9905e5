//! Dead letters: messages that left their queue another way than by being acknowledged, on their way to the exchange that
//! the queue names for them.
//!
//! They wait on a list, so that nobody's command grows with what they lead to, and [`pump`](Broker::pump) publishes some
//! each time. The log is told that a message is in its new queues before it is told that it left the old one: a crash
//! between the two brings it back where it was.

use super::exchange::QueueId;
use super::flow::tell_removed;
use super::message::Content;
use super::publish::Publication;
use super::queue::{DeadLettering, Taken};
use super::store::{DurableQueueId, Store};
use super::{Broker, Effects, VhostKey};
use crate::protocol::ShortString;
use crate::protocol::encoder::put_short_string;
use crate::protocol::frame::FRAME_END;
use std::collections::VecDeque;
use std::rc::Rc;

/// Dead letters that are published in one go of the pump.
const DEAD_LETTERS_PER_PUMP: usize = 1024;

/// Why a message is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Rejected,
    Expired,
    /// The queue had as much as it may have.
    MaxLength,
    /// It came back too often.
    DeliveryLimit,
}

/// A message on its way.
struct DeadLetter {
    vhost: VhostKey,
    /// The queue that it left, which may be gone.
    queue: ShortString,
    durable_id: Option<DurableQueueId>,
    to: Rc<DeadLettering>,
    taken: Taken,
    reason: Reason,
}

#[derive(Default)]
pub(super) struct DeadLetters(VecDeque<DeadLetter>);

impl DeadLetters {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Store> Broker<S> {
    /// A message that was counted out of a queue with a dead-letter exchange is to be published there.
    pub(super) fn dead_letter(&mut self, id: QueueId, taken: Taken, reason: Reason) {
        let queue = &self.queues[id.0 as usize];
        let Some(to) = &queue.behaviour.dead_letters else { return };
        let letter = DeadLetter {
            vhost: self.vhost_key(queue.properties.vhost),
            queue: queue.properties.name.clone(),
            durable_id: queue.durable_id,
            to: Rc::clone(to),
            taken,
            reason,
        };
        self.dead_letters.0.push_back(letter);
    }

    /// Publishes some of those that wait.
    pub(super) fn publish_dead_letters(&mut self, effects: &mut impl Effects) {
        for _ in 0..DEAD_LETTERS_PER_PUMP {
            let Some(letter) = self.dead_letters.0.pop_front() else { return };
            self.publish_dead_letter(&letter, effects);
            tell_removed(&mut self.store, letter.durable_id, &letter.taken);
        }
    }

    fn publish_dead_letter(&mut self, letter: &DeadLetter, effects: &mut impl Effects) {
        let DeadLetter { vhost, queue: _, to, taken, reason: _, .. } = letter;
        let content = taken.message.content();
        let routing_key = to.routing_key.clone().unwrap_or_else(|| ShortString::truncated(content.routing_key()));
        let mut address = Vec::new();
        put_short_string(&mut address, &to.exchange);
        put_short_string(&mut address, &routing_key);
        address.push(FRAME_END);
        if self.vhost_key(vhost.id) != *vhost {
            return;
        }
        let Some(exchange) = self.exchange_in(vhost.id, &to.exchange) else { return };
        let content = Content { address: &address, ..content };
        let publication = Publication { content, attributes: taken.message.attributes(), mandatory: false };
        self.publish_internally(vhost.id, exchange, &publication, effects);
    }
}
