//! Logins of those who are no AMQP clients: who waits for the doorkeeper, and who was answered.

use super::Hub;
use crate::broker::store::Store;
use crate::broker::{Broker, UserKey};
use crate::connection::{Claim, Credentials, LoginRequest, LoginTicket, Mechanism, Refusal, Verdict};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

#[derive(Default)]
pub(super) struct Visitors {
    /// What those claim who wait, by their tickets' serials. The doorkeeper answers each, and bounds how many wait.
    waiting: HashMap<u64, Option<Claim>>,
    /// Those who don't wait any more, and whom they were found to be.
    answered: VecDeque<(u64, Result<UserKey, Refusal>)>,
}

impl Visitors {
    pub fn answered<S: Store>(&mut self, ticket: LoginTicket, verdict: Verdict, broker: &Broker<S>) {
        let Some(claim) = self.waiting.remove(&ticket.serial) else { return };
        self.answered.push_back((ticket.serial, found(claim, verdict, broker)));
    }
}

/// Whom somebody was found to be.
fn found<S: Store>(claim: Option<Claim>, verdict: Verdict, broker: &Broker<S>) -> Result<UserKey, Refusal> {
    match (verdict, claim) {
        (Verdict::Refused(refusal), _) => Err(refusal),
        (Verdict::Allowed, Some(claim)) if claim.holds(broker) => Ok(claim.user()),
        (Verdict::Allowed, _) => Err(Refusal::InvalidCredentials),
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
    /// Finds out which user somebody is who comes from there and says this.
    pub fn ask_who(&mut self, user: &[u8], password: &[u8], peer: IpAddr) -> WhoIsIt {
        let ground = &mut self.ground;
        ground.logins += 1;
        let ticket = LoginTicket { connection: None, serial: ground.logins };
        let claim = Claim::of(user, &ground.broker);
        let password_hash = claim.as_ref().map(Claim::password);
        let credentials = Credentials { mechanism: Mechanism::Plain, user: user.into(), password: password.into() };
        let request = LoginRequest { ticket, credentials, password: password_hash, peer, now_ms: ground.now_ms };
        match ground.settings.doorkeeper.ask(request) {
            Some(verdict) => WhoIsIt::Known(found(claim, verdict, &ground.broker)),
            None => {
                self.visitors.waiting.insert(ticket.serial, claim);
                WhoIsIt::Later(ticket.serial)
            }
        }
    }

    /// Somebody whose login took its time, and whom they were found to be.
    pub fn next_visitor(&mut self) -> Option<(u64, Result<UserKey, Refusal>)> {
        self.visitors.answered.pop_front()
    }
}
