//! From a publish to its queues: routing, hand-over or enqueueing, returns and confirms.
//!
//! | file | owns |
//! |---|---|
//! | `pending` | what a transaction publishes when it is committed |
//! | `reply` | replies to reply addresses, which no queue keeps |

mod pending;
mod reply;

pub use reply::REPLY_TO;

use super::channel::{ChannelMode, PendingPublish};
use super::deduplication::Noted;
use super::effects::Effects;
use super::exchange::{ExchangeId, QueueId};
use super::flow::Kept;
use super::message::{Attributes, Content};
use super::store::{LogPosition, Store};
use super::{Broker, Caller, ChannelId, Epoch, ExchangeCounters, VhostId};
use crate::protocol::{AmqpError, PropertiesRef, ReplyCode, ShortString};

/// Whether the next message with the same exchange and key goes where this one goes.
struct Routing {
    /// The result holds for all messages of this exchange and key until the epoch ends.
    cacheable: bool,
    /// The reply consumer that the routing key addresses.
    reply_channel: Option<ChannelId>,
    /// Exchanges on the way keep it for later.
    delays: bool,
    /// Exchanges on the way remember it.
    is_noted: bool,
}

/// Where a client's last message went.
#[derive(Default)]
pub struct KnownRoute {
    pub(super) queues: Vec<QueueId>,
    /// Messages of the same exchange and key that have nothing special go there while this epoch lasts.
    pub(super) epoch: Option<Epoch>,
    /// [The newest queue](Broker::newest_queue) when it went there: a newer one with an id in `queues` is another one.
    pub(super) newest_queue: u64,
}

impl KnownRoute {
    /// Whether the next message of the same exchange and key goes there, too, if it has nothing special.
    #[inline]
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.epoch == Some(epoch)
    }

    #[inline]
    pub fn queues(&self) -> &[QueueId] {
        &self.queues
    }

    /// The next message has to be asked where it goes.
    pub fn forget(&mut self) {
        self.epoch = None;
    }
}

/// What a message is published to.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub exchange: ExchangeId,
    /// Routing keys of its CC and BCC headers.
    pub extra_keys: &'a [ShortString],
}

/// Where a message comes from, and what is known from there about where it goes.
pub enum Origin<'a> {
    /// A client, who most often publishes to the same again.
    Client { target: Target<'a>, route: &'a mut KnownRoute },
    /// One of the broker's own interfaces, which is told whether a queue refused it.
    Management { target: Target<'a>, refused: &'a mut bool },
    /// A transaction that is committed, which kept it and the names of its queues, and is told what became of it.
    Transaction { pending: &'a PendingPublish, committed: &'a mut Committed },
}

/// What became of the publishes of a transaction.
#[derive(Default)]
pub struct Committed {
    /// They last when this is durable.
    pub durable_at: LogPosition,
    /// A queue refused one of them.
    pub refused: bool,
    /// The transaction settled something besides.
    pub settles: bool,
}

/// A publish whose content is complete.
pub struct Publication<'a> {
    pub content: Content<'a>,
    pub attributes: Attributes,
    /// Unroutable: return it.
    pub mandatory: bool,
}

/// A body of `body_size` bytes is more than `limit`.
pub fn oversized(body_size: u64, limit: usize) -> AmqpError {
    let explanation = format!("message size {body_size} is larger than configured max size {limit}");
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

impl<S: Store> Broker<S> {
    /// Ends with every change that could alter where a message goes.
    #[inline]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The one way of a complete content to its queues, after the rules for its properties were applied.
    ///
    /// # Errors
    /// 406 when the client's open transaction would hold more than it may.
    #[inline]
    pub fn publish_from(
        &mut self,
        origin: Origin<'_>,
        caller: Caller,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Result<(), AmqpError> {
        let Caller { channel, vhost, .. } = caller;
        match origin {
            Origin::Client { target, route } => {
                if self.is_transactional(channel) {
                    self.keep_for_commit(caller, target, publication, &mut route.queues)?;
                    if self.is_traced(vhost) {
                        self.trace_publish(caller, target.extra_keys, publication, &route.queues, effects);
                    }
                    return Ok(());
                }
                let mut reply_channel = None;
                if !target.extra_keys.is_empty() || !route.holds(self.epoch) {
                    let routing = self.route(vhost, target, publication, &mut route.queues);
                    route.newest_queue = self.newest_queue();
                    // Only what has exactly this exchange and key again may take this route without asking.
                    let is_traced = self.is_traced(vhost);
                    let is_known = routing.cacheable && routing.reply_channel.is_none() && !is_traced;
                    route.epoch = is_known.then_some(self.epoch);
                    reply_channel = routing.reply_channel;
                    if is_traced {
                        self.trace_publish(caller, target.extra_keys, publication, &route.queues, effects);
                    }
                    if routing.is_noted {
                        let queues = &route.queues;
                        match is_traced {
                            true => self.overheard(effects, |broker, ear| {
                                broker.publish_noted(caller, target, &routing, queues, publication, ear)
                            }),
                            false => self.publish_noted(caller, target, &routing, queues, publication, effects),
                        };
                        return Ok(());
                    }
                    if routing.delays {
                        self.publish_delayed(caller, target, &route.queues, publication, effects);
                        return Ok(());
                    }
                    if is_traced && reply_channel.is_none() {
                        self.overheard(effects, |broker, ear| {
                            broker.publish(channel, publication, &route.queues, ear);
                        });
                        return Ok(());
                    }
                }
                match reply_channel {
                    None => self.publish(channel, publication, &route.queues, effects),
                    Some(reply_channel) => self.publish_reply(channel, reply_channel, publication, effects),
                }
            }
            Origin::Management { target, refused } => {
                let kept = match self.is_traced(vhost) {
                    true => {
                        self.overheard(effects, |broker, ear| broker.publish_once(caller, target, publication, ear))
                    }
                    false => self.publish_once(caller, target, publication, effects),
                };
                *refused = kept.refused;
            }
            Origin::Transaction { pending, committed } => {
                let kept = match self.is_traced(vhost) {
                    true => {
                        self.overheard(effects, |broker, ear| broker.publish_pending(caller, pending, publication, ear))
                    }
                    false => self.publish_pending(caller, pending, publication, effects),
                };
                committed.durable_at = committed.durable_at.max(kept.position);
                committed.refused |= kept.refused;
            }
        }
        Ok(())
    }

    /// Publishes where nobody keeps the route for the next message.
    #[cold]
    fn publish_once(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Kept {
        self.publishes_to(caller.vhost, target.exchange);
        let mut queues = std::mem::take(&mut self.route_scratch);
        let routing = self.route(caller.vhost, target, publication, &mut queues);
        if self.is_traced(caller.vhost) {
            self.trace_publish(caller, target.extra_keys, publication, &queues, effects);
        }
        let kept = self.publish_routed(caller, target, &routing, &queues, publication, effects);
        self.route_scratch = queues;
        kept
    }

    /// The same, unless nobody would take it, or one of its queues would not, or there is no other queue for it than `not_to`:
    /// then nothing has happened. Says why not.
    #[cold]
    pub(super) fn publish_if_taken(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        publication: &Publication<'_>,
        not_to: QueueId,
        effects: &mut impl Effects,
    ) -> Result<Kept, &'static str> {
        self.publishes_to(caller.vhost, target.exchange);
        let mut queues = std::mem::take(&mut self.route_scratch);
        let routing = self.route(caller.vhost, target, publication, &mut queues);
        let is_kept_elsewhere = routing.delays || routing.reply_channel.is_some();
        let outcome = match &queues[..] {
            [] if !is_kept_elsewhere => Err("no queue is bound for it"),
            [queue] if *queue == not_to => Err("it would come back to where it is"),
            all if all.iter().any(|queue| self.would_refuse(*queue, &publication.content)) => Err("a queue refuses it"),
            all => Ok(self.publish_routed(caller, target, &routing, all, publication, effects)),
        };
        self.route_scratch = queues;
        outcome
    }

    fn publish_routed(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        routing: &Routing,
        queues: &[QueueId],
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Kept {
        match routing {
            Routing { is_noted: true, .. } => self.publish_noted(caller, target, routing, queues, publication, effects),
            Routing { delays: true, .. } => self.publish_delayed(caller, target, queues, publication, effects),
            _ => self.send(caller.channel, routing.reply_channel, queues, publication, Kept::default(), effects),
        }
    }

    /// Publishes what exchanges on its way remember. What a queue refuses they forget: its publisher is told, and tries again.
    #[cold]
    fn publish_noted(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        routing: &Routing,
        queues: &[QueueId],
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Kept {
        let Caller { channel, vhost, .. } = caller;
        let mut noted = std::mem::take(self.vhosts.walks_mut().noted());
        let mut kept = Kept::default();
        let delayed_at = match routing.delays {
            true => self.delay(vhost, publication, target.extra_keys),
            false => LogPosition::default(),
        };
        match !routing.delays || publication.mandatory || !queues.is_empty() {
            true => self.publish_to_many(channel, queues, publication, &mut kept, effects),
            false => self.books.copies -= 1,
        }
        kept.position = kept.position.max(delayed_at);
        self.settle_values(vhost, &noted, &mut kept);
        noted.clear();
        *self.vhosts.walks_mut().noted() = noted;
        self.books.totals.received += 1;
        self.count_for_confirm(channel, &kept);
        kept
    }

    /// A message has entered its queues, or one has refused it: exchanges remember it, or they don't.
    fn settle_values(&mut self, vhost: VhostId, noted: &[Noted], kept: &mut Kept) {
        match kept.refused {
            true => self.take_values_back(vhost, noted),
            false => kept.position = kept.position.max(self.keep_values(vhost, noted)),
        }
    }

    /// Fills `queues` with where a message goes that no client sends, and keeps it for later at exchanges that do. When it is a
    /// reply it is for this channel instead. Says besides whether all of this exchange and key go there until the epoch ends.
    /// Once it is in its queues, [`keep_values_of_last`](Self::keep_values_of_last) is to be called.
    pub(super) fn route_internally(
        &mut self,
        vhost: VhostId,
        target: Target<'_>,
        publication: &Publication<'_>,
        queues: &mut Vec<QueueId>,
    ) -> (Option<ChannelId>, bool) {
        let routing = self.route(vhost, target, publication, queues);
        if routing.delays {
            self.delay(vhost, publication, target.extra_keys);
        }
        if !routing.is_noted {
            self.vhosts.walks_mut().noted().clear();
        }
        (routing.reply_channel, routing.cacheable)
    }

    /// Publishes what exchanges on its way keep for later: to them, and to the queues that it reached besides.
    #[cold]
    fn publish_delayed(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        queues: &[QueueId],
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Kept {
        let delayed_at = self.delay(caller.vhost, publication, target.extra_keys);
        self.publish_besides(caller.channel, queues, publication, delayed_at, effects)
    }

    /// Publishes to the queues that a message reached which the log has at `delayed_at` for later. As with RabbitMQ's plugin
    /// a mandatory one that reached none now comes back, and is delayed all the same. Says what became of it.
    fn publish_besides(
        &mut self,
        channel: ChannelId,
        queues: &[QueueId],
        publication: &Publication<'_>,
        delayed_at: LogPosition,
        effects: &mut impl Effects,
    ) -> Kept {
        let mut kept = Kept::default();
        match publication.mandatory || !queues.is_empty() {
            true => self.publish_to_many(channel, queues, publication, &mut kept, effects),
            false => self.books.copies -= 1,
        }
        kept.position = kept.position.max(delayed_at);
        self.books.totals.received += 1;
        self.count_for_confirm(channel, &kept);
        kept
    }

    /// Publishes what was delayed until now. `route` is that of the last such message to the same.
    pub(super) fn publish_due(
        &mut self,
        vhost: VhostId,
        target: Target<'_>,
        route: &mut KnownRoute,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) {
        let mut is_noted = false;
        if !target.extra_keys.is_empty() || !route.holds(self.epoch) {
            self.vhosts.walks_mut().set_due(true);
            let routing = self.route(vhost, target, publication, &mut route.queues);
            self.vhosts.walks_mut().set_due(false);
            route.epoch = routing.cacheable.then_some(self.epoch);
            is_noted = routing.is_noted;
        }
        self.books.totals.unroutable_dropped += u64::from(route.queues.is_empty());
        let mut kept = Kept::default();
        for &queue in &route.queues {
            self.enter(queue, publication, route.queues.len() == 1, &mut kept, effects);
        }
        // It came in when it was published, and no queue got it then.
        let counters = ExchangeCounters { published_in: 0, published_out: route.queues.len() as u64 };
        self.vhosts[vhost].count_published(target.exchange, counters);
        if is_noted {
            self.keep_values_of_last(vhost);
        }
    }

    /// Publishes to a reply consumer, or else to queues; when there are none it is unroutable. Says what became of it.
    /// It is not what clients do again and again, which [`publish`](Self::publish) is made for.
    #[cold]
    fn send(
        &mut self,
        channel: ChannelId,
        reply_channel: Option<ChannelId>,
        queues: &[QueueId],
        publication: &Publication<'_>,
        mut kept: Kept,
        effects: &mut impl Effects,
    ) -> Kept {
        if let Some(reply_channel) = reply_channel {
            self.publish_reply(channel, reply_channel, publication, effects);
        } else {
            self.publish_to_many(channel, queues, publication, &mut kept, effects);
            self.books.totals.received += 1;
            self.count_for_confirm(channel, &kept);
        }
        kept
    }

    /// Fills `queues` with where a message goes. Its properties are read only when an exchange is on the way that routes
    /// by them.
    fn route(
        &mut self,
        vhost: VhostId,
        target: Target<'_>,
        publication: &Publication<'_>,
        queues: &mut Vec<QueueId>,
    ) -> Routing {
        let (Target { exchange, extra_keys }, content) = (target, &publication.content);
        let (routing_key, properties) = (content.routing_key(), content.properties());
        queues.clear();
        let properties = || PropertiesRef::parse(properties).unwrap_or_default();
        let by_key_alone = if extra_keys.is_empty() {
            self.vhosts.route(vhost, exchange, routing_key, properties, queues)
        } else {
            let copies = extra_keys.iter().map(|key| &**key);
            let routing_keys: Vec<&[u8]> = std::iter::once(routing_key).chain(copies).collect();
            self.vhosts.route_with_copies(vhost, exchange, &routing_keys, properties, queues)
        };
        if !by_key_alone && self.vhosts.found_listeners() {
            self.tell_listeners(vhost, publication, queues);
        }
        let reply_channel = if queues.is_empty() { self.reply_channel(vhost, exchange, routing_key) } else { None };
        let delays = !by_key_alone && self.vhosts.walks_mut().found_delays();
        let is_noted = !by_key_alone && !self.vhosts.walks_mut().noted().is_empty();
        Routing { cacheable: extra_keys.is_empty() && by_key_alone, reply_channel, delays, is_noted }
    }

    /// Tells exchanges on the way of a publish that keep it for those who are bound later, and those who watch one.
    #[cold]
    fn tell_listeners(&mut self, vhost: VhostId, publication: &Publication<'_>, queues: &[QueueId]) {
        self.tail_routed(vhost, &publication.content, queues);
        if !self.vhosts.historians().is_empty() {
            self.keep_history(vhost, publication);
        }
    }

    /// Publishes to `queues` on a channel that is not in a transaction, and counts it for the channel's confirms.
    #[inline]
    pub fn publish(
        &mut self,
        channel: ChannelId,
        publication: &Publication<'_>,
        queues: &[QueueId],
        effects: &mut impl Effects,
    ) {
        let mut kept = Kept::default();
        match queues {
            [queue] => self.enter(*queue, publication, true, &mut kept, effects),
            _ => self.publish_to_many(channel, queues, publication, &mut kept, effects),
        }
        self.books.totals.received += 1;
        self.count_for_confirm(channel, &kept);
    }

    /// Counts publishes that went straight to a consumer for the channel's confirms.
    pub(super) fn count_many_for_confirm(&mut self, id: ChannelId, count: u64) {
        let channel = &mut self.channels[id.0 as usize];
        if let ChannelMode::Confirm(confirms) = &mut channel.mode {
            confirms.published_many(count);
            if !channel.confirms_touched {
                channel.confirms_touched = true;
                self.touched_confirms.push(channel.key(id));
            }
        }
    }

    #[inline]
    fn count_for_confirm(&mut self, id: ChannelId, kept: &Kept) {
        let &Kept { position, refused, .. } = kept;
        let channel = &mut self.channels[id.0 as usize];
        if let ChannelMode::Confirm(confirms) = &mut channel.mode {
            let durable = self.store.durable();
            if refused {
                confirms.refused();
            } else {
                if position > durable {
                    self.store.awaited(position);
                }
                confirms.published(position, durable);
            }
            if !channel.confirms_touched {
                channel.confirms_touched = true;
                self.touched_confirms.push(channel.key(id));
            }
        }
    }

    fn return_unroutable(&mut self, channel: ChannelId, content: &Content<'_>, effects: &mut impl Effects) {
        let channel = self.channel(channel);
        effects.return_unroutable(channel.connection, channel.number, content);
        self.books.totals.unroutable_returned += 1;
    }

    /// Publishes to any number of queues.
    fn publish_to_many(
        &mut self,
        channel: ChannelId,
        queues: &[QueueId],
        publication: &Publication<'_>,
        kept: &mut Kept,
        effects: &mut impl Effects,
    ) {
        self.books.copies += queues.len() as i64 - 1;
        if queues.is_empty() {
            if publication.mandatory {
                self.return_unroutable(channel, &publication.content, effects);
            } else {
                self.books.totals.unroutable_dropped += 1;
            }
        }
        for &queue in queues {
            self.enter(queue, publication, queues.len() == 1, kept, effects);
        }
    }
}
