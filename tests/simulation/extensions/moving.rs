//! Messages that an administrator moves, and dead letters that are redriven: some from the head on, or one out of the middle.

use super::Story;
use super::shadow::Way;
use super::topology::{Dying, NAMES};
use crate::decree::VHOSTS;
use crate::world::Step;
use leveret::broker::store::LogPosition;
use leveret::broker::{MoveSpec, MoveTo, MoveWhat, PeekSpec};
use std::collections::BTreeMap;

/// Turns that a move of a few messages may take.
const TURNS_MAX: usize = 10;

/// How many were moved, how many stay and why, and how many are ready then.
type Answer = (u64, BTreeMap<String, u64>, usize);

impl Story<'_> {
    pub(super) fn carry(&mut self) -> Step {
        let from = self.random.below(NAMES.len());
        let ready = self.shadow.ready(from);
        if !self.shadow.is_there(from) || ready == 0 {
            return Ok(());
        }
        let to = self.random.below(NAMES.len());
        // What dies by itself in a life dies in one queue.
        let may_go_anywhere = self.shadow.is_there(to) && !(self.dying == Dying::Expires && from == 1);
        let way = if may_go_anywhere && self.random.percent(50) { Way::To(to) } else { Way::WhereItDied };
        let nth = self.random.percent(40).then(|| self.random.below(ready));
        let most = nth.is_none().then(|| self.random.percent(70).then(|| 1 + self.random.below(3))).flatten();
        self.transcript.note(|| format!("carry from {}: {way:?}, the {nth:?}th or {most:?}", NAMES[from]));
        let starts = self.starts;
        let Some((is, durable_at)) = self.order(from, way, nth, most)? else { return Ok(()) };
        let (ought, safe) = match nth {
            Some(nth) => self.shadow.carry_one(from, way, nth),
            None => self.shadow.carry(from, way, most.unwrap_or(usize::MAX)),
        };
        let ought = (ought.moved, ought.stay, self.shadow.ready(from));
        if is != ought {
            return Err(format!("{is:?} was said of the move, and ought to be {ought:?}"));
        }
        self.moved += ought.0 as usize;
        // The administrator waits for the answer.
        self.hub.broker_mut().await_durable(durable_at);
        if self.random.percent(50) {
            self.settle_disk()?;
            if self.starts == starts && self.hub.broker().durable() >= durable_at {
                self.shadow.promise(safe);
            }
        }
        Ok(())
    }

    /// Has the broker do it: what it says of that, and when it lasts. `None` when there is none such.
    fn order(
        &mut self,
        from: usize,
        way: Way,
        nth: Option<usize>,
        most: Option<usize>,
    ) -> Result<Option<(Answer, LogPosition)>, String> {
        let broker = self.hub.broker();
        let vhost = broker.vhost_named(VHOSTS[0].as_bytes()).expect("it is founded again whenever it is razed");
        let user = broker.find_user(b"guest").and_then(|key| broker.user_of(key)).expect("one is always there");
        let done = self.hub.directly(user, vhost, |direct| {
            let what = match nth {
                None => most.map_or(MoveWhat::All, MoveWhat::First),
                Some(from_) => {
                    let spec = PeekSpec { from: from_, most: 1, body_max_bytes: 0 };
                    let peeked = direct.broker.peek(direct.caller, NAMES[from].as_bytes(), spec)?;
                    let Some(message) = peeked.messages.first() else { return Ok(None) };
                    MoveWhat::One(message.id)
                }
            };
            let to = match way {
                Way::WhereItDied => MoveTo::WhereItDied,
                Way::To(queue) => MoveTo::Queue(NAMES[queue].into()),
            };
            let spec = MoveSpec { queue: NAMES[from].into(), to, what };
            let mut this = direct.broker.begin_move(direct.caller, spec)?;
            for _ in 0..TURNS_MAX {
                if !direct.broker.move_some(direct.caller, &mut this, &mut direct.effects) {
                    break;
                }
            }
            Ok(Some(direct.broker.end_move(this)))
        });
        let done = done.map_err(|error: leveret::protocol::AmqpError| error.to_string())?;
        Ok(done.map(|(moved, durable_at)| ((moved.moved, moved.stay, moved.ready), durable_at)))
    }
}
