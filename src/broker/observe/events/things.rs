//! Queues, exchanges and bindings.

use super::{Field, Fields, erlang_terms, field, flag, told};
use crate::broker::exchange::{BindingInfo, Destination, ExchangeId, LostBinding, QueueId, Router, canonical};
use crate::broker::queue::QueueKind;
use crate::broker::store::Store;
use crate::broker::{Broker, UserId, VhostId};
use crate::protocol::{FieldTable, FieldValue};

fn binding_fields(vhost: Field, by: Field, binding: &BindingInfo<'_>) -> Fields {
    let arguments = binding.arguments.map_or_else(FieldTable::default, canonical);
    Fields::from([
        by,
        vhost,
        field("arguments", erlang_terms(&arguments)),
        told("routing_key", binding.routing_key),
        told("destination_kind", binding.destination_type()),
        told("destination_name", binding.destination_name),
        told("source_kind", "exchange"),
        told("source_name", binding.source),
    ])
}

/// Of a binding that went with something else.
pub(super) fn lost_binding_fields(vhost: &FieldValue, by: &FieldValue, binding: &LostBinding) -> Fields {
    let (vhost, by) = (field("vhost", vhost.clone()), field("user_who_performed_action", by.clone()));
    binding_fields(vhost, by, &binding.info())
}

impl<S: Store> Broker<S> {
    pub(in crate::broker) fn tell_queue_created(&mut self, id: QueueId, by: Option<UserId>) {
        self.tell("queue.created", |broker| {
            let queue = broker.queue(id);
            let (kind, properties) = (queue.arguments.kind, &queue.properties);
            let (by, kind_told) = (broker.by(by), told("type", kind.module()));
            let arguments = field("arguments", erlang_terms(&properties.arguments));
            let exclusive = flag("exclusive", properties.exclusive_owner.is_some());
            let mut fields = match kind {
                QueueKind::Classic => {
                    let owner = properties.exclusive_owner.and_then(|owner| broker.connection_named(owner));
                    Fields::from([
                        kind_told,
                        by,
                        exclusive,
                        told("owner_pid", owner.map_or("", |(name, ..)| name)),
                        arguments,
                    ])
                }
                QueueKind::Quorum => Fields::from([by, arguments, kind_told, exclusive]),
            };
            fields.extend([
                flag("auto_delete", properties.auto_delete),
                // As with RabbitMQ, an exclusive queue is not durable whatever was asked for.
                flag("durable", properties.durable && properties.exclusive_owner.is_none()),
                told("name", &*properties.name),
                told("vhost", broker.vhost_name(properties.vhost)),
            ]);
            fields
        });
    }

    pub(in crate::broker) fn tell_queue_deleted(&mut self, id: QueueId, by: Option<UserId>) {
        self.tell("queue.deleted", |broker| {
            let queue = broker.queue(id);
            Fields::from([
                broker.by(by),
                told("type", queue.arguments.kind.module()),
                told("name", &*queue.properties.name),
                told("vhost", broker.vhost_name(queue.properties.vhost)),
            ])
        });
    }

    pub(in crate::broker) fn tell_exchange_created(&mut self, vhost: VhostId, name: &[u8], by: Option<UserId>) {
        self.tell("exchange.created", |broker| {
            let Some(id) = broker.exchange_in(vhost, name) else { return Fields::new() };
            let exchange = broker.router(vhost).exchange(id);
            let policy = exchange.policies.policy.as_ref().map_or(&[][..], |policy| policy.name.as_bytes());
            Fields::from([
                broker.by(by),
                told("policy", policy),
                field("arguments", erlang_terms(&exchange.arguments)),
                flag("internal", exchange.internal),
                flag("auto_delete", exchange.auto_delete),
                flag("durable", exchange.durable),
                told("type", exchange.kind.name()),
                told("name", name),
                told("vhost", broker.vhost_name(vhost)),
            ])
        });
    }

    pub(in crate::broker) fn tell_exchange_deleted(&mut self, vhost: VhostId, name: &[u8], by: Option<UserId>) {
        self.tell("exchange.deleted", |broker| {
            Fields::from([broker.by(by), told("name", name), told("vhost", broker.vhost_name(vhost))])
        });
    }

    pub(in crate::broker) fn tell_binding_created(
        &mut self,
        (vhost, by): (VhostId, Option<UserId>),
        source: ExchangeId,
        destination: Destination,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) {
        self.tell("binding.created", |broker| {
            let router = broker.router(vhost);
            let destination_name = match destination {
                Destination::Queue(id) => &broker.queue(id).properties.name,
                Destination::Exchange(id) => &router.exchange(id).name,
            };
            let source = &router.exchange(source).name;
            let binding =
                BindingInfo { source, destination, destination_name, routing_key, arguments: Some(arguments) };
            let vhost = told("vhost", broker.vhost_name(vhost));
            binding_fields(vhost, broker.by(by), &binding)
        });
    }

    /// Changes what leads where, and keeps the bindings that go with it for whoever hears of them.
    pub(in crate::broker) fn change_routes_watched<T>(
        &mut self,
        vhost: VhostId,
        change: impl FnOnce(&mut Router) -> T,
    ) -> (T, Vec<LostBinding>) {
        if !self.hears_events() {
            return (self.change_routes(vhost, change), Vec::new());
        }
        let room_bytes = self.events.room_bytes();
        self.change_routes(vhost, |router| {
            router.keep_lost_bindings(room_bytes);
            let outcome = change(router);
            (outcome, router.take_lost_bindings())
        })
    }

    /// Bindings went with what is being done.
    pub(in crate::broker) fn tell_bindings_deleted(&mut self, vhost: VhostId, lost: Vec<LostBinding>) {
        if self.hears_events() && !lost.is_empty() {
            let (at_ms, (_, by)) = (self.event_time_ms(), self.by(None));
            let vhost = super::text(self.vhost_name(vhost).as_bytes());
            self.events.push_bindings_deleted(at_ms, vhost, by, lost);
        }
    }
}
