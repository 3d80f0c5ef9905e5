//! What administrators have changed: users, virtual hosts, permissions, limits.
//!
//! That it is an administrator who asks is known here.

use super::super::hub::Hub;
use super::{Answer, send};
use crate::broker::store::Store;
use crate::broker::{Broker, Done, Permissions, TopicPermissions, UserId, UserLimits, VhostAttributes, VhostId};
use crate::management::{
    LastAdministrator, NowhereToBe, Order, ProtectedVhost, Reply, UserLimitChange, UserPlace, VhostLimitChange,
};
use crate::protocol::ShortString;

/// Carries an order out, and says in the log who gave it.
pub(super) fn carry_out<S: Store>(asker: UserId, order: Order, hub: &mut Hub<S>) -> Done<Answer> {
    let what = format!("user '{}' {order}", hub.broker().user_name(asker));
    hub.broker_mut().act_as(Some(asker));
    let Outcome { answer, has_changed } = change(asker, order, hub);
    hub.broker_mut().act_as(None);
    if has_changed {
        tracing::info!(target: "management", "{what}");
    }
    answer
}

struct Outcome {
    answer: Done<Answer>,
    /// Something is otherwise than before, or was said again.
    has_changed: bool,
}

fn change<S: Store>(asker: UserId, order: Order, hub: &mut Hub<S>) -> Outcome {
    match order {
        Order::PutUser { name, password, tags, limits, force, reply } => {
            let broker = hub.broker_mut();
            if let Some(user) = user(broker, &name)
                && broker.would_be_without_administrator(user, &password, &tags)
                && !force
            {
                return refused(reply, LastAdministrator);
            }
            let Some(name) = text(&name) else { return unchanged(reply, Ok(false)) };
            let put = broker.put_user(name, password, tags);
            // Told to the log after the user: who waits for this waits for both.
            let limited = user(broker, name.as_bytes()).and_then(|user| limit_user(broker, user, limits));
            answered(
                reply,
                Done { durable_at: limited.map_or(put.durable_at, |limited| limited.durable_at), ..put }.map(Ok),
            )
        }
        Order::DeleteUser { name, force, reply } => match user(hub.broker(), &name) {
            None => unchanged(reply, Ok(false)),
            Some(user) if !force && hub.broker().is_last_administrator(user) => refused(reply, LastAdministrator),
            Some(user) => answered(reply, hub.delete_user(user).map(|()| Ok(true))),
        },
        Order::LimitUser { name, limits, reply } => match user(hub.broker(), &name) {
            None => unchanged(reply, false),
            Some(user) => match limit_user(hub.broker_mut(), user, limits) {
                None => unchanged(reply, true),
                Some(limited) => answered(reply, limited.map(|()| true)),
            },
        },
        Order::PutVhost { name, description, tags, default_queue_type, tracing, reply } => {
            let said = VhostAttributes { description, tags, default_queue_type, ..VhostAttributes::default() };
            put_vhost(asker, &name, said, tracing, reply, hub.broker_mut())
        }
        Order::DeleteVhost { name, reply } => match hub.broker().vhost_named(&name) {
            None => unchanged(reply, Ok(false)),
            Some(vhost) if hub.broker().vhost_attributes(vhost).is_protected => refused(reply, ProtectedVhost),
            Some(vhost) => answered(reply, hub.delete_vhost(vhost).map(|()| Ok(true))),
        },
        Order::ProtectVhost { name, is_protected, reply } => match hub.broker().vhost_named(&name) {
            None => unchanged(reply, false),
            Some(vhost) => answered(reply, hub.broker_mut().protect_vhost(vhost, is_protected).map(|()| true)),
        },
        Order::LimitVhost { name, limits, reply } => match hub.broker().vhost_named(&name) {
            None => unchanged(reply, false),
            Some(vhost) => answered(reply, limit_vhost(hub.broker_mut(), vhost, limits).map(|()| true)),
        },
        Order::LimitResources { limits, reply } => {
            hub.limit_resources(limits);
            answered(reply, Done::at_once(()))
        }
        Order::ForgetAnswers { reply } => {
            hub.forget_answers();
            answered(reply, Done::at_once(()))
        }
        Order::Permit { place, configure, write, read, reply } => {
            let permissions = Permissions { configure: configure.into(), write: write.into(), read: read.into() };
            at(&place, reply, hub.broker_mut(), |broker, user, vhost| broker.set_permissions(user, vhost, permissions))
        }
        Order::Forbid { place, reply } => {
            clear(&place, reply, hub.broker_mut(), |broker, user, vhost| broker.clear_permissions(user, vhost))
        }
        Order::PermitTopics { place, exchange, write, read, reply } => {
            at(&place, reply, hub.broker_mut(), |broker, user, vhost| {
                let are_first = !broker.has_topic_permissions(user, vhost);
                let permissions = TopicPermissions { write, read };
                broker.set_topic_permissions(user, vhost, exchange, permissions).map(|_| are_first)
            })
        }
        Order::Import { .. } => unreachable!("it takes several turns"),
        Order::PutGlobalParameter { name, value, reply } => match hub.broker_mut().put_global_parameter(name, value) {
            Ok(put) => answered(reply, put.map(Ok)),
            Err(error) => refused(reply, error),
        },
        Order::DeleteGlobalParameter { name, reply } => {
            let deleted = hub.broker_mut().delete_global_parameter(&name);
            if deleted.value { answered(reply, deleted) } else { unchanged(reply, false) }
        }
        Order::ForbidTopics { place, exchange, reply } => {
            clear(&place, reply, hub.broker_mut(), |broker, user, vhost| {
                broker.clear_topic_permissions(user, vhost, exchange.as_deref())
            })
        }
    }
}

fn user<S: Store>(broker: &Broker<S>, name: &[u8]) -> Option<UserId> {
    broker.find_user(name).and_then(|key| broker.user_of(key))
}

/// A name, which came out of a path or out of JSON.
fn text(name: &ShortString) -> Option<&str> {
    std::str::from_utf8(name).ok()
}

/// The answer to give when what was done is durable.
fn answered<T: 'static>(reply: Reply<T>, done: Done<T>) -> Outcome {
    let Done { value, durable_at } = done;
    Outcome { answer: Done { value: Box::new(|| send(reply, value)), durable_at }, has_changed: true }
}

/// The answer to give at once: nothing was done.
fn unchanged<T: 'static>(reply: Reply<T>, answer: T) -> Outcome {
    Outcome { answer: Done::at_once(Box::new(|| send(reply, answer))), has_changed: false }
}

fn refused<T: 'static, E: 'static>(reply: Reply<Result<T, E>>, error: E) -> Outcome {
    unchanged(reply, Err(error))
}

/// Does something with a user in a virtual host, if there are both.
fn at<S: Store, T: 'static>(
    place: &UserPlace,
    reply: Reply<Result<T, NowhereToBe>>,
    broker: &mut Broker<S>,
    change: impl FnOnce(&mut Broker<S>, UserId, VhostId) -> Done<T>,
) -> Outcome {
    match (user(broker, &place.user), broker.vhost_named(&place.vhost)) {
        (Some(user), Some(vhost)) => answered(reply, change(broker, user, vhost).map(Ok)),
        _ => refused(reply, NowhereToBe),
    }
}

/// [`at`], for what says whether there was something to clear.
fn clear<S: Store>(
    place: &UserPlace,
    reply: Reply<Result<bool, NowhereToBe>>,
    broker: &mut Broker<S>,
    clear: impl FnOnce(&mut Broker<S>, UserId, VhostId) -> Done<bool>,
) -> Outcome {
    let mut existed = false;
    let outcome = at(place, reply, broker, |broker, user, vhost| {
        let cleared = clear(broker, user, vhost);
        existed = cleared.value;
        cleared
    });
    Outcome { has_changed: existed, ..outcome }
}

/// `None` when nothing changes.
fn limit_user<S: Store>(broker: &mut Broker<S>, user: UserId, limits: UserLimitChange) -> Option<Done<()>> {
    let before = broker.user_at(user).limits;
    let limits = UserLimits {
        connections_max: limits.connections_max.unwrap_or(before.connections_max),
        channels_max: limits.channels_max.unwrap_or(before.channels_max),
    };
    (limits != before).then(|| broker.set_user_limits(user, limits))
}

fn limit_vhost<S: Store>(broker: &mut Broker<S>, vhost: VhostId, limits: VhostLimitChange) -> Done<()> {
    let before = broker.vhost_attributes(vhost);
    let connections_max = limits.connections_max.unwrap_or(before.connections_max);
    let queues_max = limits.queues_max.unwrap_or(before.queues_max);
    broker.set_vhost_limits(vhost, queues_max, connections_max)
}

/// Whoever makes a virtual host may do everything in it, as with RabbitMQ.
fn put_vhost<S: Store>(
    asker: UserId,
    name: &ShortString,
    said: VhostAttributes,
    tracing: Option<bool>,
    reply: Reply<bool>,
    broker: &mut Broker<S>,
) -> Outcome {
    let before = broker.vhost_named(name).map(|id| broker.vhost_attributes(id).clone()).unwrap_or_default();
    let attributes = VhostAttributes {
        tracing: tracing.unwrap_or(before.tracing),
        queues_max: before.queues_max,
        connections_max: before.connections_max,
        is_protected: before.is_protected,
        ..said
    };
    let Some(text) = text(name) else { return unchanged(reply, false) };
    let put = broker.put_vhost(text, attributes);
    if !put.value {
        return answered(reply, put);
    }
    let vhost = broker.vhost_named(name).expect("just made");
    answered(reply, broker.set_permissions_of_maker(asker, vhost).map(|()| true))
}
