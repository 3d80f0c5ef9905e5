//! Logins of those who are no AMQP clients: who waits for the doorkeeper, and who was answered.
//!
//! For whom others vouch is a user of the broker's for a while, the same one each time that it comes.

use super::Hub;
use crate::access::{Bearer, Inquiry};
use crate::broker::store::Store;
use crate::broker::{Broker, UserKey};
use crate::connection::{Claim, Credentials, LoginRequest, LoginTicket, Mechanism, Refusal, Verdict};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Those for whom others vouch who are remembered; those beyond replace the ones who came first, of whom nothing is under way.
const BEARERS_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Visitors {
    /// What those claim who wait, by their tickets' serials. The doorkeeper answers each, and bounds how many wait.
    waiting: HashMap<u64, Option<Claim>>,
    /// Those who don't wait any more, and whom they were found to be.
    answered: VecDeque<(u64, Result<UserKey, Refusal>)>,
    bearers: Bearers,
    /// Inquiries of theirs that were answered, by their tickets' serials.
    judged: VecDeque<u64>,
}

/// Those for whom others vouch, in the order in which they first came.
#[derive(Default)]
struct Bearers {
    users: HashMap<*const Bearer, UserKey>,
    /// The doorkeeper says who comes again by the same bearer: while it is held here, no other has its address.
    in_order: VecDeque<Arc<Bearer>>,
    /// Of whom a command or a login waits, and how many.
    busy: HashMap<UserKey, usize>,
    /// When the first of them expires, in milliseconds since 1970.
    next_expiry_unix_ms: Option<u64>,
}

impl Bearers {
    /// The user that a bearer is, for now.
    fn user<S: Store>(&mut self, bearer: Arc<Bearer>, broker: &mut Broker<S>) -> UserKey {
        if let Some(user) = self.users.get(&Arc::as_ptr(&bearer)) {
            return *user;
        }
        if self.in_order.len() >= BEARERS_MAX {
            let is_idle = |bearer: &Arc<Bearer>| {
                let user = self.users.get(&Arc::as_ptr(bearer));
                user.is_none_or(|user| !self.busy.contains_key(user) && !broker.has_tail(*user))
            };
            let at = self.in_order.iter().position(is_idle).unwrap_or(0);
            self.dismiss(at, broker);
        }
        let user = broker.receive_visitor(&bearer);
        self.users.insert(Arc::as_ptr(&bearer), user);
        self.next_expiry_unix_ms = self.next_expiry_unix_ms.into_iter().chain(bearer.expires_unix_ms).min();
        self.in_order.push_back(bearer);
        user
    }

    /// Whoever has expired is nobody any more.
    fn dismiss_expired<S: Store>(&mut self, now_unix_ms: u64, broker: &mut Broker<S>) {
        if self.next_expiry_unix_ms.is_none_or(|next| now_unix_ms < next) {
            return;
        }
        let has_expired = |bearer: &Arc<Bearer>| bearer.expires_unix_ms.is_some_and(|until_ms| until_ms <= now_unix_ms);
        while let Some(at) = self.in_order.iter().position(has_expired) {
            self.dismiss(at, broker);
        }
        self.next_expiry_unix_ms = self.in_order.iter().filter_map(|bearer| bearer.expires_unix_ms).min();
    }

    fn dismiss<S: Store>(&mut self, at: usize, broker: &mut Broker<S>) {
        let Some(bearer) = self.in_order.remove(at) else { return };
        if let Some(user) = self.users.remove(&Arc::as_ptr(&bearer)) {
            broker.dismiss(user);
        }
    }
}

impl Visitors {
    /// Those who have expired since are forgotten.
    pub fn start_turn<S: Store>(&mut self, now_ms: u64, broker: &mut Broker<S>) {
        self.bearers.dismiss_expired(broker.unix_start_ms() + now_ms, broker);
    }

    /// When somebody expires next, of those who are not gone until then.
    pub fn next_deadline_ms(&self, unix_start_ms: u64) -> Option<u64> {
        self.bearers.next_expiry_unix_ms.map(|unix_ms| unix_ms.saturating_sub(unix_start_ms))
    }

    pub fn answered<S: Store>(&mut self, ticket: LoginTicket, verdict: Verdict, broker: &mut Broker<S>) {
        if let Verdict::Answered(..) = verdict {
            self.judged.push_back(ticket.serial);
            return;
        }
        let Some(claim) = self.waiting.remove(&ticket.serial) else { return };
        let found = self.found(claim, verdict, broker);
        self.answered.push_back((ticket.serial, found));
    }

    /// Whom somebody was found to be.
    fn found<S: Store>(
        &mut self,
        claim: Option<Claim>,
        verdict: Verdict,
        broker: &mut Broker<S>,
    ) -> Result<UserKey, Refusal> {
        match (verdict, claim) {
            (Verdict::Refused(refusal), _) => Err(refusal),
            (Verdict::Bearer(bearer), _) => Ok(self.bearers.user(bearer, broker)),
            (Verdict::Allowed, Some(claim)) if claim.holds(broker) => Ok(claim.user()),
            (Verdict::Allowed | Verdict::Answered(..), _) => Err(Refusal::InvalidCredentials),
        }
    }
}

/// What comes of [asking who somebody is](Hub::ask_who).
#[derive(PartialEq, Eq, Debug)]
pub enum WhoIsIt {
    Known(Result<UserKey, Refusal>),
    /// That takes its time: [it is answered](Hub::next_visitor) by this number.
    Later(u64),
}

impl<S: Store> Hub<S> {
    /// Finds out which user somebody is who comes from there and says this, and wants to see that virtual host.
    pub fn ask_who(&mut self, user: &[u8], password: &[u8], vhost: Option<&str>, peer: IpAddr) -> WhoIsIt {
        let ground = &mut self.ground;
        ground.logins += 1;
        let ticket = LoginTicket { connection: None, serial: ground.logins };
        let claim = Claim::of(user, &ground.broker);
        let (hash, tags) = (claim.as_ref().map(Claim::password), claim.as_ref().map(Claim::tags));
        let credentials = Credentials { mechanism: Mechanism::Plain, user: user.into(), password: password.into() };
        let (vhost, now_ms) = (vhost.map(Box::from), ground.now_ms);
        let request = LoginRequest { ticket, credentials, password: hash, tags, vhost, peer, now_ms };
        match ground.settings.doorkeeper.ask(request) {
            Some(verdict) => WhoIsIt::Known(self.visitors.found(claim, verdict, &mut ground.broker)),
            None => {
                self.visitors.waiting.insert(ticket.serial, claim);
                WhoIsIt::Later(ticket.serial)
            }
        }
    }

    /// Has somebody elsewhere asked. [It is answered](Self::next_judged) by this number.
    pub fn inquire(&mut self, inquiry: Inquiry) -> u64 {
        let ground = &mut self.ground;
        ground.logins += 1;
        ground.settings.doorkeeper.inquire(LoginTicket { connection: None, serial: ground.logins }, inquiry);
        ground.logins
    }

    /// Something that this user asked for waits: until [it does not](Self::does_not_wait), others are forgotten before it.
    pub fn waits(&mut self, user: UserKey) {
        *self.visitors.bearers.busy.entry(user).or_default() += 1;
    }

    pub fn does_not_wait(&mut self, user: UserKey) {
        let busy = &mut self.visitors.bearers.busy;
        if let Some(waiting) = busy.get_mut(&user) {
            *waiting -= 1;
            if *waiting == 0 {
                busy.remove(&user);
            }
        }
    }

    /// Nobody waits any more for whom somebody [is](Self::ask_who).
    pub fn forget_visitor(&mut self, number: u64) {
        if self.visitors.waiting.remove(&number).is_some() {
            self.ground.settings.doorkeeper.forget(LoginTicket { connection: None, serial: number });
        }
    }

    /// Nobody waits for the answer to an inquiry any more.
    pub fn forget_inquiry(&self, number: u64) {
        self.ground.settings.doorkeeper.forget(LoginTicket { connection: None, serial: number });
    }

    /// Forgets what was found out of logins and permissions, so that everything is asked again. Who is let in stays so.
    pub fn forget_answers(&mut self) {
        self.ground.settings.doorkeeper.forget_known();
        self.ground.broker.forget_answers();
    }

    /// An inquiry that was answered.
    pub fn next_judged(&mut self) -> Option<u64> {
        self.visitors.judged.pop_front()
    }

    /// Somebody whose login took its time, and whom they were found to be.
    pub fn next_visitor(&mut self) -> Option<(u64, Result<UserKey, Refusal>)> {
        self.visitors.answered.pop_front()
    }
}
