//! What outlives a restart: definitions on their way to the log, and everything on its way back from it.

use super::exchange::{Declaration, Destination, ExchangeId, ExchangeKind, QueueId, alternate_exchange};
use super::queue::{Body, Levels, Queue, QueueProperties, arguments};
use super::store::{Definition, DurableBinding, DurableDestination, DurableQueueId, LogPosition, Store};
use super::{Broker, Done, UserId, VhostId};
use crate::protocol::{AmqpError, FieldTable, ShortString};
use std::collections::BTreeMap;

/// A queue that comes back. How many messages it has follows with [`Broker::expect_messages`].
pub struct RestoredQueue {
    pub vhost: VhostId,
    pub id: DurableQueueId,
    pub name: ShortString,
    pub auto_delete: bool,
    pub arguments: FieldTable,
    /// Its highest level of priority, by the log.
    pub top_level: u8,
}

impl<S: Store> Broker<S> {
    /// Tells the log of a change.
    pub(super) fn define(&mut self, definition: &Definition) {
        self.last_definition = self.store.define(definition);
    }

    /// A command is done whose answer says that something durable is there, or gone. It may be so since another command
    /// a moment ago, so the answer waits for everything that the log was told of what exists.
    pub(super) fn done<T>(&self, value: T) -> Done<T> {
        Done { value, durable_at: self.last_definition }
    }

    /// [`done`](Self::done) for what is `durable`, and at once for what no restart brings back.
    pub(super) fn done_if<T>(&self, durable: bool, value: T) -> Done<T> {
        if durable { self.done(value) } else { Done::at_once(value) }
    }

    /// What an answer that depends on `durable_at` has to wait for, if that isn't durable yet. The log hurries then.
    pub fn await_durable(&mut self, durable_at: LogPosition) -> Option<LogPosition> {
        (durable_at > self.store.durable()).then(|| {
            self.store.awaited(durable_at);
            durable_at
        })
    }

    /// How far everything is durable.
    pub fn durable(&self) -> LogPosition {
        self.store.durable()
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// An auto-delete exchange goes with its last binding. The log is told, be it durable or not: forgetting an exchange that
    /// it never knew is nothing.
    pub(super) fn define_auto_deleted(&mut self, vhost: VhostId, exchange: ExchangeId, by: Option<UserId>) {
        let name = self.router(vhost).exchange(exchange).name.clone();
        self.tell_exchange_deleted(vhost, &name, by);
        self.forget_delayed(vhost, &name);
        self.define(&Definition::ExchangeDeleted { vhost, name });
    }

    /// # Errors
    /// When it contradicts what is there: the log is not of this broker.
    pub fn restore_exchange(
        &mut self,
        vhost: VhostId,
        name: &ShortString,
        kind: ExchangeKind,
        auto_delete: bool,
        internal: bool,
        arguments: &FieldTable,
    ) -> Result<(), AmqpError> {
        let declaration = Declaration { kind, durable: true, auto_delete, internal, arguments };
        let subject = self.subject("exchange", vhost, name);
        if let Some(id) = self.exchange_in(vhost, name) {
            return self.router(vhost).assert_equivalent(id, &declaration, subject);
        }
        kind.check_arguments(arguments, subject)?;
        let alternate = alternate_exchange(arguments, subject)?.filter(|name| !name.is_empty());
        let alternate = alternate.map(ShortString::truncated);
        let policies = self.policies_of_exchange(vhost, name);
        self.change_routes(vhost, |router| {
            let id = router.add(name.clone(), &declaration, alternate);
            router.apply_policies(id, policies);
        });
        Ok(())
    }

    /// So many queues of each virtual host are about to be put back. They get as much room as they would have in the end if
    /// they took it by and by, so that the next one that is declared finds some, too; but nothing is moved, and no memory is
    /// touched for nothing.
    pub fn expect_queues(&mut self, expected: &BTreeMap<VhostId, usize>) {
        let there = self.queues.len();
        let count: usize = expected.values().sum();
        self.queues.reserve_exact((there + count).next_power_of_two() - there);
        for (&vhost, &count) in expected {
            if self.has_vhost(vhost) {
                self.change_routes(vhost, |router| router.expect_queues(count));
            }
        }
    }

    /// Puts a queue back. One whose arguments this version does not take, as another one did, is there all the same,
    /// with its messages and its arguments, and what is not understood is left alone: the error says what.
    pub fn restore_queue(&mut self, restored: RestoredQueue) -> (QueueId, Option<AmqpError>) {
        let RestoredQueue { vhost, id: durable_id, name, auto_delete, arguments, top_level } = restored;
        let (settings, ignored) = arguments::understood(&arguments, &name, self.vhost_name(vhost));
        self.queue_serial = self.queue_serial.max(durable_id.level(top_level).0);
        let properties = QueueProperties { vhost, name, durable: true, auto_delete, exclusive_owner: None, arguments };
        let mut queue = Queue::new(durable_id.0, properties, settings, Some(durable_id), self.now_ms);
        // What an earlier version wrote has as many levels as that gave it, whatever its arguments ask for.
        let levels = queue.backlog.there_are();
        queue.backlog = Body::with_levels(Levels { top: levels.top.min(top_level), ..levels });
        let id = self.add_queue(queue);
        (id, ignored)
    }

    /// Durable queues declared from now on are numbered above `last`.
    pub fn restore_queue_numbering(&mut self, last: DurableQueueId) {
        self.queue_serial = self.queue_serial.max(last.0);
    }

    /// # Errors
    /// When one of its ends is missing.
    pub fn restore_binding(&mut self, binding: &DurableBinding) -> Result<(), AmqpError> {
        let &DurableBinding { vhost, ref source, ref destination, ref routing_key, ref arguments } = binding;
        if self.is_of_no_events(vhost, source) {
            return Ok(());
        }
        let source = self.existing_exchange(vhost, source)?;
        let destination = match destination {
            DurableDestination::Queue(queue) => Destination::Queue(self.existing_queue(vhost, queue)?),
            DurableDestination::Exchange(exchange) => Destination::Exchange(self.existing_exchange(vhost, exchange)?),
        };
        self.change_routes(vhost, |router| router.bind(source, destination, routing_key, arguments))?;
        Ok(())
    }
}
