//! `queue.declare`, `queue.purge` and `queue.delete`.

use super::consumer::ConsumerState;
use super::done::count;
use super::effects::{Effects, Recipient};
use super::equivalence::{assert_same_argument, assert_same_attribute};
use super::exchange::{Destination, QueueId};
use super::names::without_line_breaks;
use super::policy::Thing;
use super::publish::REPLY_TO;
use super::queue::arguments::{self, QUEUE_TYPE};
use super::queue::{Queue, QueueKind, QueueProperties};
use super::resolve::Found;
use super::store::{Definition, DurableQueueId, Store};
use super::{Broker, Caller, ConnectionId, ConsumerId, Done, QueueKey, UserId, VhostId};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};

/// `queue.declare`.
pub struct DeclareRequest<'a> {
    /// Empty: the broker makes one up.
    pub name: &'a [u8],
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

/// `queue.declare-ok`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declared {
    pub name: ShortString,
    pub message_count: u32,
    pub consumer_count: u32,
}

/// A queue that was deleted, and whom to tell.
#[derive(Default)]
pub struct DeletedQueue {
    pub message_count: u32,
    pub cancelled: Vec<CancelledConsumer>,
}

/// A consumer that lost its queue.
pub struct CancelledConsumer {
    connection: ConnectionId,
    channel_number: u16,
    tag: ShortString,
}

impl CancelledConsumer {
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient { connection: self.connection, channel_number: self.channel_number, consumer_tag: &self.tag }
    }
}

impl<S: Store> Broker<S> {
    /// `queue.declare(passive = true)`, and what `queue.declare` answers for reply addresses.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub fn declare_queue_passively(
        &mut self,
        caller: Caller,
        name: &[u8],
        effects: &mut impl Effects,
    ) -> Result<Done<Declared>, AmqpError> {
        match self.queue_passively(caller, name)? {
            Found::Queue(id) => Ok(self.declared(caller, id, effects)),
            Found::ReplyAddress(name) => {
                self.channel_mut(caller.channel).last_queue = Some(name.clone());
                Ok(Done::at_once(Declared { name, message_count: 0, consumer_count: 1 }))
            }
        }
    }

    fn declared(&mut self, caller: Caller, id: QueueId, effects: &mut impl Effects) -> Done<Declared> {
        self.settle_deliveries(id, effects);
        self.use_queue(id);
        let queue = self.queue(id);
        let declared = Declared {
            name: queue.properties.name.clone(),
            message_count: count(queue.backlog.len()),
            consumer_count: count(queue.gate.consumer_count()),
        };
        let is_durable = queue.durable_id.is_some();
        self.channel_mut(caller.channel).last_queue = Some(declared.name.clone());
        self.done_if(is_durable, declared)
    }

    /// Notes that the queue is in use, which puts off `x-expires`.
    pub(super) fn use_queue(&mut self, id: QueueId) {
        let now_ms = self.now_ms;
        self.queue_mut(id).last_used_ms = now_ms;
        if self.queue(id).behaviour.expires_ms.is_some() {
            self.schedule_expiry(id);
        }
    }

    /// `queue.declare`.
    ///
    /// # Errors
    /// 403 for reserved names, 405 when it is exclusive to another connection, 406 for invalid or inequivalent
    /// arguments and at the limit.
    pub fn declare_queue(
        &mut self,
        caller: Caller,
        request: DeclareRequest<'_>,
        effects: &mut impl Effects,
    ) -> Result<Done<Declared>, AmqpError> {
        if request.name.starts_with(REPLY_TO) {
            return self.declare_queue_passively(caller, request.name, effects);
        }
        let request = self.of_default_type(caller.vhost, request);
        let name = without_line_breaks(request.name);
        if name.is_empty() {
            arguments::assert_may_be_nameless(&request.arguments)?;
        }
        let made_up = name.is_empty().then(|| self.name_for_queue(caller));
        let resolved = self.queue_to_declare(caller, &name, made_up.clone(), &request.arguments);
        if resolved.is_err() && self.answers.lack_one() {
            // It is asked about this name elsewhere.
            self.channel_mut(caller.channel).made_up = made_up.map(Box::new);
        }
        let (name, found) = resolved?;
        let id = match found {
            Some(id) => {
                self.assert_equivalent(caller, id, &request)?;
                id
            }
            None => self.create_queue(caller.vhost, Some(caller.user), caller.connection, name, request)?,
        };
        self.books.totals.queues_declared += 1;
        Ok(self.declared(caller, id, effects))
    }

    /// A name for a queue that has none: that which others are asked about already, if there is one.
    fn name_for_queue(&mut self, caller: Caller) -> ShortString {
        match self.channel_mut(caller.channel).made_up.take() {
            Some(name) => *name,
            None => self.names.queue_name(),
        }
    }

    /// With the type that a queue [gets](arguments::add_default_type) that doesn't say one, if there is a default.
    pub(super) fn of_default_type<'a>(&self, vhost: VhostId, mut request: DeclareRequest<'a>) -> DeclareRequest<'a> {
        if let Some(default) = self.default_queue_type(vhost) {
            let properties = (request.durable, request.exclusive, request.auto_delete);
            arguments::add_default_type(&mut request.arguments, default, properties);
        }
        request
    }

    fn assert_equivalent(&self, caller: Caller, id: QueueId, request: &DeclareRequest<'_>) -> Result<(), AmqpError> {
        let properties = &self.queue(id).properties;
        // Whose it is comes before what it is: clients that find it locked go on, and at a 406 they give up.
        if self.is_locked(caller, id) || request.exclusive != properties.exclusive_owner.is_some() {
            return Err(self.locked(id));
        }
        let subject = self.subject("queue", caller.vhost, &properties.name);
        if properties.exclusive_owner.is_none() {
            // An exclusive queue isn't durable whatever was asked for, so there is nothing to differ in.
            assert_same_attribute(subject, "durable", request.durable, properties.durable)?;
        }
        assert_same_attribute(subject, "auto_delete", request.auto_delete, properties.auto_delete)?;
        let kind = self.queue(id).arguments.kind;
        for argument in arguments::compared(kind) {
            let received = request.arguments.get(argument.as_bytes());
            let current = properties.arguments.get(argument.as_bytes());
            // Classic is what a queue is when it doesn't say.
            let is_classic =
                |said: Option<&FieldValue>| said.is_none_or(|said| is_text(said, QueueKind::Classic.name()));
            if *argument == QUEUE_TYPE && is_classic(received) && is_classic(current) {
                continue;
            }
            assert_same_argument(subject, argument, received, current)?;
        }
        Ok(())
    }

    /// Makes a queue that is not there. One that is exclusive is the connection's.
    ///
    /// # Errors
    /// 406.
    pub(super) fn create_queue(
        &mut self,
        vhost_id: VhostId,
        by: Option<UserId>,
        owner: ConnectionId,
        name: ShortString,
        request: DeclareRequest<'_>,
    ) -> Result<QueueId, AmqpError> {
        let vhost = &self.vhosts[vhost_id];
        let DeclareRequest { durable, exclusive, auto_delete, .. } = request;
        let settings = arguments::parse(&request.arguments, &name.to_string(), &vhost.name)?;
        arguments::assert_fits(settings.kind, (durable, exclusive, auto_delete), &name.to_string(), &vhost.name)?;
        let doing = format!("declare queue '{name}'");
        vhost.assert_below(vhost.limits.queues_max, vhost.queues, &doing, "queue")?;
        vhost.assert_queue_wanted(&name)?;
        self.queue_serial += 1;
        let serial = self.queue_serial;
        let properties = QueueProperties {
            vhost: vhost_id,
            name: name.clone(),
            durable,
            auto_delete,
            exclusive_owner: exclusive.then_some(owner),
            arguments: request.arguments,
        };
        // An exclusive queue dies with its connection, so nothing of it is worth keeping.
        let durable_id = (durable && !exclusive).then_some(DurableQueueId(serial));
        let queue = Queue::new(serial, properties, settings, durable_id, self.now_ms);
        let top_level = queue.backlog.there_are().top;
        if durable_id.is_some() {
            // Each level has a number of its own.
            self.queue_serial += u64::from(top_level);
        }
        let id = self.add_queue(queue);
        if let Some(durable_id) = durable_id {
            let properties = &self.queue(id).properties;
            let (auto_delete, arguments) = (properties.auto_delete, properties.arguments.clone());
            self.define(&Definition::QueueDeclared {
                id: durable_id,
                vhost: vhost_id,
                name,
                auto_delete,
                arguments,
                top_level,
            });
        }
        if exclusive && let Some(Some(connection)) = self.connections.get_mut(owner.0 as usize) {
            connection.exclusive_queues.push(id);
        }
        self.books.totals.queues_created += 1;
        self.tell_queue_created(id, by);
        Ok(id)
    }

    /// Takes a queue in: from now on it can be named.
    pub(super) fn add_queue(&mut self, mut queue: Queue) -> QueueId {
        let vhost = queue.properties.vhost;
        let thing = Thing::Queue(queue.arguments.kind);
        queue.apply(self.vhosts[vhost].policies.applying_to(thing, &queue.properties.name));
        let (name, durable) = (queue.properties.name.clone(), queue.durable_id.is_some());
        let id = QueueId(u32::try_from(self.queues.insert(queue)).expect("fewer than 2^32 queues"));
        self.vhosts[vhost].queues += 1;
        self.change_routes(vhost, |router| router.queue_added(&name, id, durable));
        self.apply_behaviour(id);
        id
    }

    /// What to keep of a queue that may be deleted meanwhile.
    pub fn queue_key(&self, id: QueueId) -> QueueKey {
        self.queue(id).key(id)
    }

    /// The queue that a key was made for, unless it is gone.
    pub(super) fn queue_of(&self, key: QueueKey) -> Option<QueueId> {
        let queue = self.queues.get(key.id.0 as usize)?;
        (queue.serial == key.serial && !queue.deleted).then_some(key.id)
    }

    /// `queue.purge`: drops the waiting messages and says how many.
    ///
    /// # Errors
    /// 404, 405.
    pub fn purge_queue(
        &mut self,
        caller: Caller,
        name: &[u8],
        effects: &mut impl Effects,
    ) -> Result<Done<u32>, AmqpError> {
        let id = self.queue_to_read(caller, name)?;
        self.settle_deliveries(id, effects);
        let length = self.purge(id);
        Ok(match self.queue(id).durable_id {
            Some(_) => Done { value: length, durable_at: self.store.everything() },
            None => Done::at_once(length),
        })
    }

    /// `queue.delete`. Deleting what doesn't exist is fine. The caller answers when it [has left](Self::has_left), then tells
    /// the cancelled consumers.
    ///
    /// # Errors
    /// 405; 406 when it is in use or not empty and the client asked to be told; 540 on the connection when the queue is none
    /// that can be asked.
    pub fn delete_queue(
        &mut self,
        caller: Caller,
        name: &[u8],
        if_unused: bool,
        if_empty: bool,
        effects: &mut impl Effects,
    ) -> Result<Done<DeletedQueue>, AmqpError> {
        let Some(id) = self.queue_to_delete(caller, name)? else { return Ok(self.done(DeletedQueue::default())) };
        self.assert_deletes_with(id, if_unused, if_empty)?;
        self.settle_deliveries(id, effects);
        let queue = self.queue(id);
        let refuse = |why: &str| {
            let explanation = format!("{} {why}", self.subject("queue", caller.vhost, &queue.properties.name));
            Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation))
        };
        if if_unused && !queue.is_unused() {
            return refuse("in use");
        }
        if if_empty && !queue.backlog.is_empty() {
            return refuse("not empty");
        }
        self.publish_letters_of(id, effects);
        let defined_before = self.last_definition;
        let deleted = self.delete_queue_now(id, Some(caller.user));
        // A transient queue's bindings may have kept an exchange that goes with them.
        Ok(self.done_if(self.last_definition != defined_before, deleted))
    }

    /// Deletes a queue: its bindings, its messages, its consumers. The slot stays while something is unacknowledged, or leads
    /// to it.
    pub(super) fn delete_queue_now(&mut self, id: QueueId, by: Option<UserId>) -> DeletedQueue {
        let vhost = self.queue(id).properties.vhost;
        self.let_leave(vhost, Destination::Queue(id), by);
        self.books.totals.queues_deleted += 1;
        // The log forgets the messages with their queue.
        let durable_id = self.queue_mut(id).durable_id.take();
        let message_count = self.purge(id);
        if let Some(id) = durable_id {
            self.define(&Definition::QueueDeleted { id });
        }
        self.unschedule_expiry(id);
        // Cancelled consumers wait for the line to let go of them.
        self.sweep_line(id);
        let queue = self.queue_mut(id);
        queue.deleted = true;
        let owner = queue.properties.exclusive_owner;
        let consumers = queue.gate.empty();
        self.stop_waiting(id, &consumers);
        let cancelled = consumers.into_iter().map(|consumer| self.cancel_for_deletion(consumer, by)).collect();
        if let Some(owner) = owner
            && let Some(Some(connection)) = self.connections.get_mut(owner.0 as usize)
        {
            connection.exclusive_queues.retain(|exclusive| *exclusive != id);
        }
        if self.router(vhost).has_queue(id) {
            // What its bindings lead here is not to be kept.
            self.queue_mut(id).behaviour.hold(true);
        } else {
            self.queue_left(id, by);
        }
        DeletedQueue { message_count, cancelled }
    }

    /// Nothing leads to a deleted queue any more.
    pub(super) fn queue_left(&mut self, id: QueueId, by: Option<UserId>) {
        self.tell_queue_deleted(id, by);
        self.forget_deleted(id);
    }

    /// Cancels a queue's consumers and takes them out of their channels' and connections' waiting lists, each of which is
    /// walked over once: a million of them may be in one.
    fn stop_waiting(&mut self, queue: QueueId, ids: &[ConsumerId]) {
        let (mut waiting, mut stalled) = (Vec::new(), Vec::new());
        for id in ids {
            let consumer = &self.consumers[id.0 as usize];
            match consumer.state {
                ConsumerState::ChannelPrefetchReached => waiting.push(consumer.channel),
                ConsumerState::OutboxFull => stalled.push(consumer.connection),
                _ => {}
            }
        }
        waiting.sort_unstable();
        waiting.dedup();
        for id in waiting {
            self.forget_waiting_queue(id, queue);
        }
        stalled.sort_unstable();
        stalled.dedup();
        stalled.iter().for_each(|id| self.sweep_stalled(*id));
        let vhost = self.queue(queue).properties.vhost;
        self.vhosts[vhost].consumers -= ids.len();
        let Self { consumers, connections, .. } = self;
        for id in ids {
            let consumer = &mut consumers[id.0 as usize];
            consumer.state = ConsumerState::Cancelled;
            consumer.arguments = FieldTable::default();
        }
        for id in stalled {
            if let Some(Some(connection)) = connections.get_mut(id.0 as usize) {
                let is_cancelled = |id: ConsumerId| consumers[id.0 as usize].state == ConsumerState::Cancelled;
                // Their slots are freed by who cancels them.
                connection.stalled.sweep(is_cancelled, |_| {});
            }
        }
    }

    /// Takes a consumer that [waits no more](Self::stop_waiting) out of everything but its queue's lists, which are gone.
    fn cancel_for_deletion(&mut self, id: ConsumerId, by: Option<UserId>) -> CancelledConsumer {
        self.tell_consumer_deleted(id, by);
        let consumer = &mut self.consumers[id.0 as usize];
        let tag = consumer.tag.clone();
        let (connection, channel_number) = (consumer.connection, consumer.channel_number);
        let channel = consumer.channel;
        consumer.listed = false;
        self.forget_cancelled(id);
        self.channel_mut(channel).consumers.remove(&tag);
        CancelledConsumer { connection, channel_number, tag }
    }
}

fn is_text(value: &FieldValue, text: &str) -> bool {
    matches!(value, FieldValue::LongString(bytes) if **bytes == *text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};

    #[test]
    fn a_key_means_no_other_queue_that_has_the_slot_or_the_name() {
        const CLIENT: ConnectionId = ConnectionId(0);
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        let caller = testing::caller(&broker, CLIENT);
        let declare = |broker: &mut Broker<MemoryStore>| {
            let (name, arguments) = (b"q".as_slice(), FieldTable::default());
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(caller, request, &mut Nobody).unwrap();
            broker.queue_in(VHOST, name).unwrap()
        };
        let first = declare(&mut broker);
        let key = broker.queue_key(first);
        assert_eq!(broker.queue_of(key), Some(first));
        broker.delete_queue(caller, b"q", false, false, &mut Nobody).unwrap();
        assert_eq!(broker.queue_of(key), None);
        let second = declare(&mut broker);
        assert_eq!(second, first, "the slot is used again");
        assert_eq!(broker.queue_of(key), None);
        assert_eq!(broker.queue_of(broker.queue_key(second)), Some(second));
    }
}
