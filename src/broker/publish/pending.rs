//! What a transaction publishes: kept with where it goes, and published when it is committed.

use super::{Publication, Target};
use crate::broker::channel::{ChannelMode, PendingPublish};
use crate::broker::deduplication::Noted;
use crate::broker::effects::Effects;
use crate::broker::exchange::{DEFAULT_EXCHANGE, QueueId};
use crate::broker::flow::Kept;
use crate::broker::message::MessageRef;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller};
use crate::protocol::{AmqpError, ReplyCode, ShortString};

impl<S: Store> Broker<S> {
    /// Keeps a publish for `tx.commit`. It goes where the bindings lead now, whatever becomes of them before the commit;
    /// the default exchange has none, so there its keys are looked up when it is committed.
    ///
    /// # Errors
    /// 406 when the open transaction would hold more than it may.
    pub(super) fn keep_for_commit(
        &mut self,
        caller: Caller,
        target: Target<'_>,
        publication: &Publication<'_>,
        queues: &mut Vec<QueueId>,
    ) -> Result<(), AmqpError> {
        let limit = self.settings.transaction_max_bytes;
        let content = &publication.content;
        // The route stays unknown: the quick ways to publish ask for that alone, and not for a transaction.
        let routing = self.route(caller.vhost, target, publication, queues);
        let delays = routing.delays.then(|| self.delays_for_commit(caller.vhost, target.extra_keys));
        let noted: Box<[Noted]> = match routing.is_noted {
            true => self.vhosts.walks_mut().noted().drain(..).collect(),
            false => Box::default(),
        };
        let mut names: Vec<ShortString> = match content.exchange() {
            b"" => target.extra_keys.iter().cloned().chain([ShortString::truncated(content.routing_key())]).collect(),
            _ => queues.iter().map(|id| self.queue(*id).properties.name.clone()).collect(),
        };
        names.sort_unstable();
        names.dedup();
        let ChannelMode::Transaction(transaction) = &mut self.channel_mut(caller.channel).mode else {
            unreachable!("the caller asked is_transactional");
        };
        let message = MessageRef::new(content, publication.attributes);
        let names_bytes: usize = names.iter().map(|name| size_of::<ShortString>() + name.len()).sum();
        let delays_bytes = delays.as_ref().map_or(0, |delays| delays.memory_bytes());
        transaction.bytes += message.memory_bytes() + names_bytes + delays_bytes + size_of_val(&*noted);
        if transaction.bytes > limit {
            self.take_values_back(caller.vhost, &noted);
            let explanation = format!("transaction is larger than configured max size {limit}");
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
        }
        transaction.publishes.push_back(PendingPublish {
            message,
            attributes: publication.attributes,
            queues: names.into(),
            delays,
            noted,
            mandatory: publication.mandatory,
        });
        Ok(())
    }

    /// Publishes what a transaction kept; when all of its queues have gone since, it is unroutable.
    #[cold]
    pub(super) fn publish_pending(
        &mut self,
        caller: Caller,
        pending: &PendingPublish,
        publication: &Publication<'_>,
        effects: &mut impl Effects,
    ) -> Kept {
        let Caller { channel, vhost, .. } = caller;
        self.publishes_to_named(vhost, publication.content.exchange());
        let mut queues = std::mem::take(&mut self.route_scratch);
        queues.clear();
        queues.extend(pending.queues.iter().filter_map(|name| self.queue_in(vhost, name)));
        if let Some(delays) = &pending.delays {
            let delayed_at = self.delay_committed(vhost, delays, publication);
            let mut kept = self.publish_besides(channel, &queues, publication, delayed_at, effects);
            self.settle_values(vhost, &pending.noted, &mut kept);
            self.route_scratch = queues;
            return kept;
        }
        let content = &publication.content;
        let is_reply = queues.is_empty() && content.exchange().is_empty();
        let reply_channel =
            if is_reply { self.reply_channel(vhost, DEFAULT_EXCHANGE, content.routing_key()) } else { None };
        let kept = Kept { message: Some(pending.message.clone()), ..Kept::default() };
        let mut kept = self.send(channel, reply_channel, &queues, publication, kept, effects);
        self.settle_values(vhost, &pending.noted, &mut kept);
        self.route_scratch = queues;
        kept
    }
}
