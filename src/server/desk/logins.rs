//! Who somebody is that wants to be let in: asked of the doorkeeper, who may take its time.

use super::super::hub::{Hub, WhoIsIt};
use super::send;
use crate::broker::store::Store;
use crate::broker::{Broker, UserKey};
use crate::connection::Refusal;
use crate::management::{Login, NotLetIn, Reply, Sight, Visitor};
use std::collections::HashMap;

/// Those who wait for the doorkeeper, by its numbers. It bounds how many they are.
#[derive(Default)]
pub(super) struct Logins {
    waiting: HashMap<u64, Pending>,
}

struct Pending {
    vhost: Option<Box<str>>,
    reply: Reply<Result<Visitor, NotLetIn>>,
}

impl Logins {
    pub fn ask<S: Store>(&mut self, login: Login, hub: &mut Hub<S>) {
        let Login { name, password, peer, vhost, reply } = login;
        let pending = Pending { vhost, reply };
        match hub.ask_who(&name, &password, peer) {
            WhoIsIt::Known(found) => pending.answer(found, hub.broker()),
            WhoIsIt::Later(number) => drop(self.waiting.insert(number, pending)),
        }
    }

    /// Answers those of whom it is known by now.
    pub fn answer<S: Store>(&mut self, hub: &mut Hub<S>) {
        while let Some((number, found)) = hub.next_visitor() {
            if let Some(pending) = self.waiting.remove(&number) {
                pending.answer(found, hub.broker());
            }
        }
    }
}

impl Pending {
    fn answer<S: Store>(self, found: Result<UserKey, Refusal>, broker: &Broker<S>) {
        let visitor = found
            .map_err(|refusal| match refusal {
                // Nobody comes over HTTP with a certificate.
                Refusal::InvalidCredentials | Refusal::NoCertificate | Refusal::NoName => NotLetIn::Unknown,
                Refusal::NotFromThere => NotLetIn::NotFromThere,
            })
            .and_then(|user| visitor(user, self.vhost, broker).ok_or(NotLetIn::Unknown));
        send(self.reply, visitor);
    }
}

fn visitor<S: Store>(key: UserKey, vhost: Option<Box<str>>, broker: &Broker<S>) -> Option<Visitor> {
    let (id, user) = (broker.user_of(key)?, broker.user(key)?);
    let sight = |vhost: &str| match broker.vhost_named(vhost.as_bytes()) {
        None => Sight::Missing,
        Some(vhost) if broker.may_enter(id, vhost) => Sight::Open,
        Some(_) => Sight::Closed,
    };
    let vhost = vhost.map(|vhost| {
        let sight = sight(&vhost);
        (vhost, sight)
    });
    Some(Visitor { user: key, name: user.name.clone(), tags: user.tags.clone(), vhost })
}
