//! Definitions that come as a whole: as many of them in a turn as hold up nobody.

use super::super::hub::Hub;
use super::{Answer, send};
use crate::broker::import::{Import, ImportOutcome};
use crate::broker::store::{LogPosition, Store};
use crate::broker::{Broker, Done, UserKey};
use crate::management::Reply;
use std::collections::VecDeque;

/// Things that are looked at, or made, in one turn. An import of no more is made within one, and is one batch of the log.
const THINGS_PER_TURN: usize = 512;

/// Imports that are under way, one after the other.
#[derive(Default)]
pub(super) struct Imports {
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    import: Box<Import>,
    by: UserKey,
    /// How many things there were.
    things: usize,
    reply: Reply<Result<(), String>>,
}

impl Imports {
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn add(&mut self, by: UserKey, import: Box<Import>, reply: Reply<Result<(), String>>) {
        let things = import.len();
        self.waiting.push_back(Waiting { import, by, things, reply });
    }

    /// Does a turn's share. Says what the answer to one that is done has to wait for.
    pub fn go_on<S: Store>(&mut self, hub: &mut Hub<S>) -> Option<(LogPosition, Answer)> {
        let Waiting { import, by, things, .. } = self.waiting.front_mut()?;
        let broker = hub.broker_mut();
        // Whoever brought it may be gone: what was begun is ended, as done by nobody.
        let user = broker.user_of(*by);
        let who = user.map_or_else(String::new, |user| format!("user '{}' ", broker.user_name(user)));
        broker.act_as(user);
        let outcome = broker.import_some(import, user, THINGS_PER_TURN);
        broker.act_as(None);
        let outcome = outcome?;
        match &outcome {
            Ok(Done { value, .. }) => {
                tracing::info!(target: "management", "{who}imported {things} definitions");
                tell_passed_over(*value);
            }
            Err(wrong) => tracing::warn!(target: "management", "{who}could not import {things} definitions: {wrong}"),
        }
        let Waiting { reply, .. } = self.waiting.pop_front()?;
        match outcome {
            Err(wrong) => {
                send(reply, Err(wrong));
                None
            }
            Ok(Done { durable_at, .. }) => match broker.await_durable(durable_at) {
                Some(position) => Some((position, Box::new(|| send(reply, Ok(()))))),
                None => {
                    send(reply, Ok(()));
                    None
                }
            },
        }
    }
}

fn tell_passed_over(ImportOutcome { bindings_passed_over }: ImportOutcome) {
    if bindings_passed_over > 0 {
        tracing::warn!(target: "management", "{bindings_passed_over} bindings were passed over: an end of each is not there");
    }
}

/// Imports all of it at once, before anybody is served.
///
/// # Errors
/// What is wrong with it.
pub fn import_at_once<S: Store>(mut import: Import, broker: &mut Broker<S>) -> Result<(), String> {
    let things = import.len();
    let outcome = broker.import_some(&mut import, None, usize::MAX);
    let done = outcome.expect("there is no more than that")?;
    tracing::info!(target: "management", "imported {things} definitions");
    tell_passed_over(done.value);
    Ok(())
}
