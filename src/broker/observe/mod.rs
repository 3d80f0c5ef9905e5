//! Observers: who watches what a virtual host's clients publish and are given, and what comes and goes.
//!
//! | file | owns |
//! |---|---|
//! | `observe` | which virtual hosts are watched, and the ear on deliveries |
//! | `events` | what the exchange of events says of what comes, goes and changes |
//! | `trace` | what the firehose says of a publish and of a delivery |
//! | `tail` | who follows a queue or an exchange without taking anything from it |
//!
//! While nobody is watched, all of this but events, which no message causes, is one flag, asked where routes are found and where a round of deliveries begins,
//! and nowhere on the way of a message. In a virtual host that is watched no route is known, so that every publish is seen,
//! and deliveries are heard by an [ear](Ear) around the outside. What is said is published to queues straight away and
//! heard by no ear, so nobody hears of hearing.

mod events;
mod tail;
#[cfg(test)]
mod tests;
mod trace;

pub use events::ClientDetails;
pub(super) use events::{Events, Farewell, PolicyChange};
pub(super) use tail::Tails;
pub use tail::{TailCounts, TailFilter, TailId, TailListener, TailOf, TailSpec, TailedMessage};

use super::effects::{Effects, Recipient, Room};
use super::flow::Kept;
use super::message::{Attributes, ComposedMessage, Content, MessageRef};
use super::publish::{Publication, Target};
use super::store::Store;
use super::{Broker, ConnectionId, VhostId};
use crate::protocol::{FieldValue, ShortString};
use bytes::Bytes;
use trace::TRACE_EXCHANGE;

/// Deliveries that are told of in one turn, before the rest has to wait for the next.
pub(super) const HEARD_PER_TURN: usize = 1024;

fn text(bytes: &[u8]) -> FieldValue {
    FieldValue::LongString(bytes.into())
}

/// What is said of something, but for the body.
struct Observation<'a> {
    exchange: &'a [u8],
    key: &'a [u8],
    /// In wire form.
    properties: &'a [u8],
}

/// A delivery that was heard.
struct Heard {
    connection: ConnectionId,
    channel_number: u16,
    consumer_tag: ShortString,
    redelivered: bool,
    message: MessageRef,
}

/// Passes all on to the outside, and remembers what is delivered.
pub(super) struct Ear<'a, E> {
    outside: &'a mut E,
    heard: Vec<Heard>,
}

impl<E: Effects> Effects for Ear<'_, E> {
    fn deliver(
        &mut self,
        recipient: Recipient<'_>,
        delivery_tag: u64,
        redelivered: bool,
        content: &Content<'_>,
    ) -> Room {
        if content.exchange() != TRACE_EXCHANGE {
            self.heard.push(Heard {
                connection: recipient.connection,
                channel_number: recipient.channel_number,
                consumer_tag: ShortString::truncated(recipient.consumer_tag),
                redelivered,
                message: MessageRef::new(content, Attributes::default()),
            });
        }
        self.outside.deliver(recipient, delivery_tag, redelivered, content)
    }

    fn return_unroutable(&mut self, connection: ConnectionId, channel_number: u16, content: &Content<'_>) {
        self.outside.return_unroutable(connection, channel_number, content);
    }

    fn confirm(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        self.outside.confirm(connection, channel_number, delivery_tag, multiple);
    }

    fn reject(&mut self, connection: ConnectionId, channel_number: u16, delivery_tag: u64, multiple: bool) {
        self.outside.reject(connection, channel_number, delivery_tag, multiple);
    }

    fn cancel_consumer(&mut self, recipient: Recipient<'_>) {
        self.outside.cancel_consumer(recipient);
    }
}

impl<S: Store> Broker<S> {
    /// Publishes what is said of something, and nothing is said of that.
    fn publish_observation(
        &mut self,
        vhost: VhostId,
        observation: Observation<'_>,
        persistent: bool,
        body: Bytes,
        effects: &mut impl Effects,
    ) {
        let Some(exchange) = self.exchange_in(vhost, observation.exchange) else { return };
        let [name, routing_key] = [observation.exchange, observation.key].map(ShortString::truncated);
        let message = ComposedMessage::in_wire_form(&name, &routing_key, observation.properties, body);
        let attributes = Attributes { persistent, ..Attributes::default() };
        let publication = Publication { content: message.content(), attributes, mandatory: false };
        let (mut queues, mut kept) = (Vec::new(), Kept::default());
        let target = Target { exchange, extra_keys: &[] };
        // What is observed is on its way itself.
        let set_aside = self.vhosts.walks_mut().set_aside();
        self.route_internally(vhost, target, &publication, &mut queues);
        for &queue in &queues {
            self.enter(queue, &publication, queues.len() == 1, &mut kept, effects);
        }
        self.keep_values_of_last(vhost);
        self.vhosts.walks_mut().take_up(set_aside);
    }

    /// Looks again which virtual hosts are watched. Routes that are known hold no longer.
    pub(super) fn note_tracing(&mut self) {
        self.is_tracing = self.vhosts.iter().any(|vhost| vhost.is_there() && vhost.attributes.tracing);
        self.epoch.end();
    }

    /// Whether a virtual host is watched.
    #[inline]
    pub(super) fn is_traced(&self, vhost: VhostId) -> bool {
        self.is_tracing && self.vhosts[vhost].attributes.tracing
    }

    /// Does something that may deliver, and says what was delivered in virtual hosts that are watched.
    #[cold]
    pub(super) fn overheard<E: Effects, T>(
        &mut self,
        effects: &mut E,
        run: impl FnOnce(&mut Self, &mut Ear<'_, E>) -> T,
    ) -> T {
        let mut ear = Ear { outside: effects, heard: Vec::new() };
        let outcome = run(self, &mut ear);
        self.heard_left = self.heard_left.saturating_sub(ear.heard.len());
        for heard in ear.heard {
            self.trace_heard(&heard, effects);
        }
        outcome
    }

    /// Says what was delivered, unless nobody watches there. A reply to a channel is no queue's.
    fn trace_heard(&mut self, heard: &Heard, effects: &mut impl Effects) {
        let Heard { connection, channel_number, ref consumer_tag, redelivered, ref message } = *heard;
        let Some(Some(state)) = self.connections.get(connection.0 as usize) else { return };
        if !self.is_traced(state.vhost) {
            return;
        }
        let of_number = |id: &&super::ChannelId| self.channel(**id).number == channel_number;
        let Some(&channel) = state.channels.iter().find(of_number) else { return };
        let Some(consumer) = self.channel(channel).consumers.get(consumer_tag) else { return };
        let queue = self.queue(self.consumers[consumer.0 as usize].queue).properties.name.clone();
        self.trace_delivery(channel, &queue, redelivered, &message.content(), effects);
    }
}
