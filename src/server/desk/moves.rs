//! Messages that go from one queue elsewhere: some of them in each turn, one order after the other.
//!
//! Who may is asked when it is ordered. What was begun goes on until it is done, or the user or the queue is gone.

use super::super::hub::Hub;
use super::{Answer, send};
use crate::broker::store::{LogPosition, Store};
use crate::broker::{Move, MoveSpec, Moved, UserId, UserKey, VhostId, VhostKey};
use crate::management::Reply;
use crate::protocol::{AmqpError, ReplyCode};
use std::collections::VecDeque;

/// Orders that may wait.
const WAITING_MAX: usize = 16;

/// Moves that are under way, or wait for their turn.
#[derive(Default)]
pub(super) struct Moves {
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    user: UserKey,
    vhost: VhostKey,
    begun: Move,
    reply: Reply<Result<Moved, AmqpError>>,
}

impl Moves {
    pub fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn add<S: Store>(
        &mut self,
        (user, vhost): (UserId, VhostId),
        spec: MoveSpec,
        reply: Reply<Result<Moved, AmqpError>>,
        hub: &mut Hub<S>,
    ) {
        if self.waiting.len() >= WAITING_MAX {
            let too_many = AmqpError::channel(ReplyCode::PreconditionFailed, "too many messages are being moved");
            return send(reply, Err(too_many));
        }
        match hub.directly(user, vhost, |direct| direct.broker.begin_move(direct.caller, spec)) {
            Err(refused) => send(reply, Err(refused)),
            Ok(begun) => {
                let (user, vhost) = (hub.broker().user_key(user), hub.broker().vhost_key(vhost));
                hub.waits(user);
                self.waiting.push_back(Waiting { user, vhost, begun, reply });
            }
        }
    }

    /// Does a turn's share. Says what the answer to one that is done has to wait for.
    pub fn go_on<S: Store>(&mut self, hub: &mut Hub<S>) -> Option<(LogPosition, Answer)> {
        let Waiting { user, vhost, begun, .. } = self.waiting.front_mut()?;
        if let (Some(user), Some(vhost)) = (hub.broker().user_of(*user), hub.broker().vhost_meant(*vhost))
            && hub.directly(user, vhost, |direct| direct.broker.move_some(direct.caller, begun, &mut direct.effects))
        {
            return None;
        }
        let Waiting { user, begun, reply, .. } = self.waiting.pop_front()?;
        hub.does_not_wait(user);
        let (moved, durable_at) = hub.broker_mut().end_move(begun);
        match hub.broker_mut().await_durable(durable_at) {
            Some(position) => Some((position, Box::new(|| send(reply, Ok(moved))))),
            None => {
                send(reply, Ok(moved));
                None
            }
        }
    }
}
