//! What was recovered, on its way into the broker: definitions at once, messages page by page.

use super::hub::Hub;
use crate::broker::store::{Definition, DurableQueueId, Store, VhostId};
use crate::broker::{DelayedKey, Founding, QueueKey, RememberedKey, RestoredQueue};
use crate::protocol::AmqpError;
use crate::storage::{Loaded, RecoveredQueue};
use std::collections::BTreeMap;
use std::io;

/// The durable queues of an earlier run and the exchanges that kept something for later, whose messages are being loaded.
pub struct Loading {
    /// By number, with the highest level of each.
    queues: Vec<(DurableQueueId, QueueKey, u8)>,
    exchanges: BTreeMap<DurableQueueId, DelayedKey>,
    /// Exchanges that remember values.
    values: BTreeMap<DurableQueueId, RememberedKey>,
    /// Of `queues`, those that messages are loaded for.
    expecting: Vec<QueueKey>,
}

impl Loading {
    /// Puts definitions back, and tells the queues how many messages will come. Where there is neither a vhost nor a user,
    /// the first ones are made before everything else, if there are to be any: a log of earlier versions knows none, and its queues are in the
    /// first vhost.
    ///
    /// # Errors
    /// Definitions that contradict each other.
    pub fn begin<S: Store>(
        hub: &mut Hub<S>,
        definitions: Vec<Definition>,
        recovered: &[RecoveredQueue],
        max_queue_id: u64,
        founding: impl FnOnce() -> io::Result<Option<Founding>>,
    ) -> io::Result<Self> {
        let broker = hub.broker_mut();
        let mut queues = Vec::new();
        let mut exchanges = BTreeMap::new();
        let mut values = BTreeMap::new();
        let is_of_access =
            |definition: &Definition| matches!(definition, Definition::VhostDeclared(_) | Definition::UserDeclared(_));
        if !definitions.iter().any(is_of_access)
            && let Some(founding) = founding()?
        {
            let Founding { vhost, user, tags, .. } = &founding;
            let tags: Vec<_> = tags.iter().collect();
            tracing::info!(target: "general", "creating virtual host '{vhost}'");
            tracing::info!(target: "general", "creating user '{user}' with tags [{}], who may do everything there", tags.join(", "));
            broker.found(founding);
        }
        let said = |error: AmqpError| error.explanation;
        let mut expected = BTreeMap::<_, usize>::new();
        for definition in &definitions {
            if let Definition::QueueDeclared { vhost, .. } = definition {
                *expected.entry(*vhost).or_default() += 1;
            }
        }
        for definition in definitions {
            let vhost = definition.vhost().filter(|vhost| !broker.has_vhost(*vhost));
            if let Some(VhostId(missing)) = vhost
                && !matches!(definition, Definition::VhostDeclared(_))
            {
                let what = format!("the log's definitions can't be restored: there is no virtual host {missing}");
                return Err(io::Error::other(what));
            }
            let restored: Result<(), String> = match definition {
                Definition::ExchangeDeclared { vhost, name, kind, auto_delete, internal, arguments } => {
                    broker.restore_exchange(vhost, &name, kind, auto_delete, internal, &arguments).map_err(said)
                }
                Definition::QueueDeclared { vhost, id, name, auto_delete, arguments, top_level } => {
                    if !expected.is_empty() {
                        broker.expect_queues(&std::mem::take(&mut expected));
                    }
                    let restored = RestoredQueue { vhost, id, name, auto_delete, arguments, top_level };
                    let (queue, ignored) = broker.restore_queue(restored);
                    if let Some(ignored) = ignored {
                        tracing::warn!(target: "queue", "a queue of the log is there all the same: {ignored}");
                    }
                    queues.push((id, broker.queue_key(queue), top_level));
                    Ok(())
                }
                Definition::DelayedDeclared { id, vhost, exchange } => {
                    broker.restore_delayed(vhost, &exchange, id).map(|key| _ = exchanges.insert(id, key))
                }
                Definition::ValuesDeclared { id, vhost, exchange } => {
                    broker.restore_values(vhost, &exchange, id).map(|key| _ = values.insert(id, key))
                }
                Definition::Bound(binding) => broker.restore_binding(&binding).map_err(said),
                Definition::VhostDeclared(vhost) => broker.restore_vhost(vhost),
                Definition::UserDeclared(user) => broker.restore_user(user),
                Definition::Permitted { user, vhost, configure, write, read } => {
                    broker.restore_permissions(&user, vhost, [&configure, &write, &read])
                }
                Definition::TopicPermitted { user, vhost, exchange, write, read } => {
                    broker.restore_topic_permissions(&user, vhost, exchange, [&write, &read])
                }
                Definition::PolicyPut(policy) => broker.restore_policy(policy),
                Definition::GlobalParameterPut { name, value } => {
                    broker.restore_global_parameter(name, value);
                    Ok(())
                }
                // What is gone is not among what exists.
                Definition::QueueDeleted { .. }
                | Definition::ExchangeDeleted { .. }
                | Definition::Unbound(_)
                | Definition::VhostDeleted { .. }
                | Definition::UserDeleted { .. }
                | Definition::Forbidden { .. }
                | Definition::TopicForbidden { .. }
                | Definition::PolicyDeleted { .. }
                | Definition::GlobalParameterDeleted { .. } => Ok(()),
            };
            restored.map_err(|error| io::Error::other(format!("the log's definitions can't be restored: {error}")))?;
        }
        broker.restore_queue_numbering(DurableQueueId(max_queue_id));
        queues.sort_unstable_by_key(|(id, ..)| *id);
        let mut loading = Self { queues, exchanges, values, expecting: Vec::new() };
        for queue in recovered {
            let messages = usize::try_from(queue.messages).map_err(io::Error::other)?;
            if let Some(&key) = loading.exchanges.get(&queue.id) {
                broker.expect_delayed(key, messages, queue.next_sequence);
            } else if let Some(&key) = loading.values.get(&queue.id) {
                broker.expect_values(key, queue.next_sequence);
            } else if let Some((key, level)) = loading.level(queue.id) {
                broker.expect_messages(key, level, messages, queue.next_sequence, queue.delivered_below);
                if !queue.returns.is_empty() {
                    broker.expect_returns(key, level, queue.returns.clone());
                }
                // Levels of a queue come one after the other.
                if messages > 0 && loading.expecting.last() != Some(&key) {
                    loading.expecting.push(key);
                }
            }
        }
        Ok(loading)
    }

    /// Which level of which queue has that number.
    fn level(&self, id: DurableQueueId) -> Option<(QueueKey, u8)> {
        let behind = self.queues.partition_point(|(of, ..)| *of <= id);
        let &(of, key, top_level) = self.queues.get(behind.checked_sub(1)?)?;
        let level = u8::try_from(id.0 - of.0).ok().filter(|level| *level <= top_level)?;
        Some((key, level))
    }

    /// Takes in a page. It is nobody's if its queue was deleted or purged meanwhile.
    pub fn take<S: Store>(&self, hub: &mut Hub<S>, loaded: Loaded) {
        let Loaded { queue, page, complete_below } = loaded;
        if let Some(&key) = self.exchanges.get(&queue) {
            hub.broker_mut().load_delayed(key, &page);
        } else if let Some(&key) = self.values.get(&queue) {
            hub.broker_mut().load_values(key, &page);
        } else if let Some((key, level)) = self.level(queue) {
            hub.broker_mut().load_page(key, level, page, complete_below);
        }
    }

    /// All pages were taken in. Says how many messages never came: none, but after salvaging.
    pub fn end<S: Store>(self, hub: &mut Hub<S>) -> usize {
        let broker = hub.broker_mut();
        let of_queues: usize = self.expecting.into_iter().map(|key| broker.loaded(key)).sum();
        of_queues + self.exchanges.into_values().map(|key| broker.loaded_delayed(key)).sum::<usize>()
    }
}
