//! Changes in a virtual host: the commands that AMQP has, given on a channel of no client's.

use super::super::direct::Direct;
use super::questions::label;
use super::{Answer, Hub, later, send};
use crate::broker::message::ComposedMessage;
use crate::broker::policy::PolicyKind;
use crate::broker::store::{LogPosition, Store};
use crate::broker::{
    DeclareRequest, Done, ExchangeRequest, GetOutcome, Got, HeldMessage, HeldPage, PutPolicy, Settlement, UserId,
    VhostId,
};
use crate::connection::Connection;
use crate::management::{
    BindingSpec, ExchangeAttributes, GetMode, GetSpec, GotMessage, Held, PolicyChange, PublishOutcome, PublishSpec,
    QueueAttributes, Reply, VhostChange,
};
use crate::protocol::properties::DELIVERY_MODE_PERSISTENT;
use crate::protocol::{AmqpError, PropertiesRef, ShortString};
// From `core`, which has addresses and no sockets.
use core::net::SocketAddr;

/// Messages that one command may look at.
const GET_MESSAGES_MAX: usize = 1_000;
/// Bytes of bodies that one command may copy; the message that passes it is the last.
const GET_BYTES_MAX: usize = 16 << 20;

/// Changes what is to be changed, as a channel of this user's would.
pub(super) fn carry_out<S: Store>(user: UserId, vhost: VhostId, change: VhostChange, hub: &mut Hub<S>) -> Done<Answer> {
    match change {
        VhostChange::DeclareQueue { name, attributes, reply } => {
            later(reply, hub.directly(user, vhost, |direct| declare_queue(direct, &name, attributes)))
        }
        VhostChange::DeleteQueue { name, if_unused, if_empty, reply } => {
            later(reply, hub.directly(user, vhost, |direct| delete_queue(direct, &name, if_unused, if_empty)))
        }
        VhostChange::PurgeQueue { name, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| {
                let purged = direct.broker.purge_queue(direct.caller, &name, &mut direct.effects)?;
                Ok(purged.map(|_| ()))
            }),
        ),
        VhostChange::DeclareExchange { name, attributes, reply } => {
            let ExchangeAttributes { kind, durable, auto_delete, internal, arguments } = attributes;
            let declared = hub.directly(user, vhost, |direct| {
                let request = ExchangeRequest { name: &name, kind: &kind, durable, auto_delete, internal, arguments };
                direct.broker.declare_exchange(direct.caller, request)
            });
            later(reply, declared)
        }
        VhostChange::DeleteExchange { name, if_unused, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| direct.broker.delete_exchange(direct.caller, &name, if_unused)),
        ),
        VhostChange::Bind { binding, reply } => later(reply, hub.directly(user, vhost, |direct| bind(direct, binding))),
        VhostChange::Unbind { binding, reply } => {
            later(reply, hub.directly(user, vhost, |direct| unbind(direct, &binding)))
        }
        VhostChange::Publish { publish, reply } => {
            later(reply, hub.directly(user, vhost, |direct| self::publish(direct, publish)))
        }
        VhostChange::ListDelayed { exchange, skipped, most, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| {
                direct.broker.list_delayed(direct.caller, &exchange, skipped, most).map(Done::at_once)
            }),
        ),
        VhostChange::CountDelayed { exchange, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| {
                direct.broker.count_delayed(direct.caller, &exchange).map(Done::at_once)
            }),
        ),
        VhostChange::CancelDelayed { exchange, id, reply } => {
            later(reply, hub.directly(user, vhost, |direct| direct.broker.cancel_delayed(direct.caller, &exchange, id)))
        }
        VhostChange::Peek { queue, peek, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| direct.broker.peek(direct.caller, &queue, peek).map(Done::at_once)),
        ),
        VhostChange::ListHeld { queue, after, most, reply } => {
            let listed =
                hub.directly(user, vhost, |direct| direct.broker.list_held(direct.caller, &queue, after, most));
            let labelled = listed.map(|HeldPage { items, next, total }| {
                let with_holder = |item: HeldMessage| Held { holder: label(hub, item.connection), item };
                Done::at_once(HeldPage { items: items.into_iter().map(with_holder).collect(), next, total })
            });
            later(reply, labelled)
        }
        VhostChange::SettleHeld { queue, id, requeue, reply } => {
            let outcome = if requeue { Settlement::Requeued } else { Settlement::Discarded };
            later(
                reply,
                hub.directly(user, vhost, |direct| {
                    direct.broker.settle_held(direct.caller, &queue, id, outcome).map(Done::at_once)
                }),
            )
        }
        VhostChange::Move { .. } => unreachable!("it takes several turns"),
        VhostChange::StartTail { tail, listener, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| {
                direct.broker.start_tail(direct.caller, *tail, listener).map(Done::at_once)
            }),
        ),
        VhostChange::CountTail { id, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| direct.broker.tail_counts(direct.caller, id).map(Done::at_once)),
        ),
        VhostChange::EndTail { id, reply } => later(
            reply,
            hub.directly(user, vhost, |direct| {
                direct.broker.end_tail(direct.caller, id);
                Ok(Done::at_once(()))
            }),
        ),
        VhostChange::Get { get, reply } => later(reply, hub.directly(user, vhost, |direct| self::get(direct, &get))),
    }
}

/// Changes a policy, and says in the log who did.
pub(super) fn change_policy<S: Store>(
    user: UserId,
    vhost: VhostId,
    kind: PolicyKind,
    change: PolicyChange,
    hub: &mut Hub<S>,
) -> Done<Answer> {
    let broker = hub.broker_mut();
    let of = match kind {
        PolicyKind::User => "policy",
        PolicyKind::Operator => "operator policy",
    };
    let who = format!("user '{}'", broker.user_name(user));
    let place = format!("virtual host '{}'", broker.vhost_name(vhost));
    broker.act_as(Some(user));
    let answer: Done<Answer> = match change {
        PolicyChange::Put { policy, reply } => {
            let (name, pattern) = (policy.name.clone(), policy.pattern.as_str().to_owned());
            let put = broker.put_policy(vhost, kind, policy);
            if put.is_ok() {
                tracing::info!(target: "management", "{who} set {of} '{name}' of {place}, for names like '{pattern}'");
            }
            let durable_at = put.as_ref().map_or(LogPosition::default(), |done| done.durable_at);
            let answer = put.map(|done| done.value == PutPolicy::New);
            Done { value: Box::new(move || send(reply, answer)), durable_at }
        }
        PolicyChange::Delete { name, reply } => {
            let deleted = broker.delete_policy(vhost, kind, &name);
            if deleted.value {
                tracing::info!(target: "management", "{who} deleted {of} '{name}' of {place}");
            }
            deleted.map(|deleted| -> Answer { Box::new(move || send(reply, deleted)) })
        }
    };
    broker.act_as(None);
    answer
}

/// Closes the connection between two addresses.
pub(super) fn close_connection<S: Store>(
    (peer, local): (SocketAddr, SocketAddr),
    reason: &str,
    reply: Reply<bool>,
    hub: &mut Hub<S>,
) -> Done<Answer> {
    let is_meant = |connection: &Connection| connection.peer() == peer && connection.local() == local;
    let closed = hub.close_where(is_meant, reason) > 0;
    Done::at_once(Box::new(move || send(reply, closed)))
}

fn declare_queue<S: Store>(
    direct: &mut Direct<'_, S>,
    name: &[u8],
    attributes: QueueAttributes,
) -> Result<Done<bool>, AmqpError> {
    let QueueAttributes { durable, auto_delete, arguments } = attributes;
    let created_before = direct.broker.totals().queues_created;
    let request = DeclareRequest { name, durable, exclusive: false, auto_delete, arguments };
    let done = direct.broker.declare_queue(direct.caller, request, &mut direct.effects)?;
    Ok(done.map(|_| direct.broker.totals().queues_created > created_before))
}

fn delete_queue<S: Store>(
    direct: &mut Direct<'_, S>,
    name: &[u8],
    if_unused: bool,
    if_empty: bool,
) -> Result<Done<()>, AmqpError> {
    let deleted = direct.broker.delete_queue(direct.caller, name, if_unused, if_empty, &mut direct.effects)?;
    direct.broker.notify_cancelled(&deleted.value, &mut direct.effects);
    Ok(deleted.map(|_| ()))
}

fn bind<S: Store>(direct: &mut Direct<'_, S>, binding: BindingSpec) -> Result<Done<()>, AmqpError> {
    let BindingSpec { source, destination, to_queue, routing_key, arguments } = binding;
    let Direct { broker, caller, effects, .. } = direct;
    let bound = match to_queue {
        true => broker.bind_queue(*caller, &destination, &source, &routing_key, arguments)?,
        false => broker.bind_exchange(*caller, &source, &destination, &routing_key, arguments)?,
    };
    broker.tell_history(effects);
    Ok(bound.map(|_| ()))
}

fn unbind<S: Store>(direct: &mut Direct<'_, S>, binding: &BindingSpec) -> Result<Done<()>, AmqpError> {
    let BindingSpec { source, destination, to_queue, routing_key, arguments } = binding;
    if *to_queue {
        direct.broker.unbind_queue(direct.caller, destination, source, routing_key, arguments)
    } else {
        direct.broker.unbind_exchange(direct.caller, source, destination, routing_key, arguments)
    }
}

/// Publishes as a client would, mandatory, and says what became of it.
fn publish<S: Store>(direct: &mut Direct<'_, S>, publish: Box<PublishSpec>) -> Result<Done<PublishOutcome>, AmqpError> {
    let PublishSpec { exchange, routing_key, properties, body } = *publish;
    let persistent = properties.delivery_mode == Some(DELIVERY_MODE_PERSISTENT);
    let message = ComposedMessage::new(&exchange, &routing_key, &properties, body);
    let Direct { broker, caller, effects, message_size_max } = direct;
    let refused = message.publish(*caller, *message_size_max, broker, effects)?;
    let durable_at = if persistent { broker.store_mut().everything() } else { LogPosition::default() };
    let value = match refused {
        true => PublishOutcome::Refused,
        false if effects.returned() => PublishOutcome::Returned,
        false => PublishOutcome::Routed,
    };
    Ok(Done { value, durable_at })
}

fn get<S: Store>(direct: &mut Direct<'_, S>, get: &GetSpec) -> Result<Done<Vec<GotMessage>>, AmqpError> {
    let Direct { broker, caller, effects, .. } = direct;
    let mut messages = Vec::new();
    let mut bytes = 0;
    while messages.len() < get.count.min(GET_MESSAGES_MAX) && bytes < GET_BYTES_MAX {
        // Messages that are away now are there when they are asked for again.
        let outcome = broker.get(*caller, &get.queue, get.mode == GetMode::Take, effects)?;
        let GetOutcome::Got(got) = outcome else { break };
        let message = copy_message(&got, get.truncate);
        bytes += message.body.len();
        messages.push(message);
    }
    let outcome = match get.mode {
        GetMode::Take => return Ok(Done::at_once(messages)),
        GetMode::Requeue => Settlement::Requeued,
        GetMode::Reject => Settlement::Discarded,
    };
    broker.settle_at_once(caller.channel, outcome);
    // What was got is gone, or back, whether or not the log has written that: as for a client.
    Ok(Done::at_once(messages))
}

fn copy_message(got: &Got, truncate: usize) -> GotMessage {
    let content = got.message.content();
    let body = content.body();
    GotMessage {
        exchange: ShortString::truncated(content.exchange()),
        routing_key: ShortString::truncated(content.routing_key()),
        redelivered: got.redelivered,
        message_count: got.message_count,
        properties: PropertiesRef::parse(content.properties())
            .map(|properties| properties.to_owned())
            .unwrap_or_default(),
        body_size: body.len(),
        body: body[..body.len().min(truncate)].to_vec(),
    }
}
