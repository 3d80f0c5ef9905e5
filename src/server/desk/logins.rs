//! Who somebody is that wants to be let in: asked of the doorkeeper, who may take its time.

use super::super::hub::{Hub, WhoIsIt};
use super::send;
use crate::access::Inquiry;
use crate::broker::store::Store;
use crate::broker::{Broker, Judging, UserKey};
use crate::connection::Refusal;
use crate::management::{Login, NotLetIn, Reply, Sight, Visitor};
use std::collections::{HashMap, VecDeque};

/// Those who wait that are looked at with each login: more than one comes with it, so that all have their turns.
const LOOKED_AT_PER_LOGIN: usize = 2;

/// Those who wait for the doorkeeper, by its numbers. It bounds how many they are.
#[derive(Default)]
pub(super) struct Logins {
    waiting: HashMap<u64, Pending>,
    /// Their numbers, each once, and those of some who don't wait any more: the first is looked at next.
    in_turn: VecDeque<u64>,
    /// Those of whom it is known, while somebody elsewhere is asked whether they may enter the virtual host that they want to
    /// see, by the numbers of the inquiries.
    judged: HashMap<u64, (Pending, UserKey, u64)>,
}

struct Pending {
    vhost: Option<Box<str>>,
    reply: Reply<Result<Visitor, NotLetIn>>,
}

impl Logins {
    pub fn ask<S: Store>(&mut self, login: Login, hub: &mut Hub<S>) {
        self.forget_gone(hub);
        let Login { name, password, peer, vhost, reply } = login;
        let pending = Pending { vhost, reply };
        match hub.ask_who(&name, &password, pending.vhost.as_deref(), peer) {
            WhoIsIt::Known(found) => self.found(pending, found, hub),
            WhoIsIt::Later(number) => {
                self.waiting.insert(number, pending);
                self.in_turn.push_back(number);
            }
        }
    }

    /// Some of those whose clients have gone don't wait any more.
    fn forget_gone<S: Store>(&mut self, hub: &mut Hub<S>) {
        for _ in 0..LOOKED_AT_PER_LOGIN {
            let Some(number) = self.in_turn.pop_front() else { return };
            match self.waiting.get(&number) {
                Some(pending) if pending.reply.is_closed() => {
                    self.waiting.remove(&number);
                    hub.forget_visitor(number);
                }
                Some(_) => self.in_turn.push_back(number),
                None => {}
            }
        }
    }

    /// Answers those of whom it is known by now.
    pub fn answer<S: Store>(&mut self, hub: &mut Hub<S>) {
        while let Some((number, found)) = hub.next_visitor() {
            if let Some(pending) = self.waiting.remove(&number) {
                self.found(pending, found, hub);
            }
        }
    }

    /// Goes on with a login whose inquiry was answered, if it is one's.
    pub fn go_on<S: Store>(&mut self, number: u64, hub: &mut Hub<S>) {
        let Some((pending, user, since_ms)) = self.judged.remove(&number) else { return };
        hub.does_not_wait(user);
        hub.broker_mut().judge(Judging::AsOf(since_ms));
        pending.answer(Ok(user), hub.broker());
    }

    fn found<S: Store>(&mut self, pending: Pending, found: Result<UserKey, Refusal>, hub: &mut Hub<S>) {
        if let Ok(user) = found
            && let Some(inquiry) = pending.lacks(user, hub)
        {
            let since_ms = hub.condition().now_ms;
            hub.waits(user);
            self.judged.insert(hub.inquire(inquiry), (pending, user, since_ms));
            return;
        }
        pending.answer(found, hub.broker());
    }
}

impl Pending {
    /// What has to be asked elsewhere before it is known whether the virtual host may be entered.
    fn lacks<S: Store>(&self, user: UserKey, hub: &mut Hub<S>) -> Option<Inquiry> {
        let broker = hub.broker_mut();
        broker.drop_inquiries();
        let (user, vhost) = (broker.user_of(user)?, broker.vhost_named(self.vhost.as_ref()?.as_bytes())?);
        broker.may_enter(user, vhost);
        broker.take_inquiry()
    }

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
