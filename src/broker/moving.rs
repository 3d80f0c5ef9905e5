//! From a queue elsewhere: dead letters back to where they died, or all to another queue. Some in each turn.
//!
//! ```text
//!   taken from the head ──► enters the other queue ──► leaves this one for good
//!            └── it cannot: it is kept, and returns to its place when all others were looked at
//! ```
//! The log is told in that order. So a message is in one of the two at any time, whoever is killed between, and in both only
//! then. It keeps its properties, the history of its deaths among them. Of what dead letters come back they get exchange and
//! routing key again with which they came to the queue in which they died.
//!
//! One that is not at the head is taken out of the middle, by its id, if it is not too far from the head. Those before it stay
//! where they are, and are given to nobody by that.
//!
//! Whoever orders it needs to be let read the one queue, and to write to the default exchange, or to the exchange that is
//! published to, as if a client did all this. What comes to the queue meanwhile is not looked at.

use super::effects::Effects;
use super::exchange::QueueId;
use super::flow::Kept;
use super::message::{Attributes, Content, MessageRef, without_delivery_count};
use super::pace::Said;
use super::peek::QueuedId;
use super::publish::{Publication, Target};
use super::queue::{NotTaken, Taken, TakenFrom};
use super::store::{LogPosition, Store};
use super::unacknowledged::Delivered;
use super::{Broker, Caller, QueueKey, Settlement, expiration};
use crate::protocol::frame::FRAME_END;
use crate::protocol::{AmqpError, FieldValueRef, PropertiesRef, ShortString, TableRef};
use std::collections::BTreeMap;

/// Messages that are moved, or looked at, in one turn.
const MOVED_PER_TURN: usize = 256;
/// Messages before the one that is meant, of which it is taken out of the middle in one turn.
const SOUGHT_MAX: usize = 4096;
/// Messages that stay: when there are more, the rest is not looked at.
const STAYING_MAX: usize = 10_000;
/// Reasons that are told apart.
const REASONS_MAX: usize = 16;
/// What is said of those beyond.
const OTHER_REASONS: &str = "other reasons";

/// What is to be moved.
pub struct MoveSpec {
    pub queue: ShortString,
    pub to: MoveTo,
    pub what: MoveWhat,
}

/// Which messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveWhat {
    /// All that are ready.
    All,
    /// So many, from the head on.
    First(usize),
    /// One, wherever it is.
    One(QueuedId),
}

pub enum MoveTo {
    /// Dead letters, each to the queue in which it died last.
    WhereItDied,
    /// Dead letters, each to the exchange by which it came to that queue, with the keys that it had.
    ItsExchange,
    Queue(ShortString),
}

/// What came of it.
#[derive(Default)]
pub struct Moved {
    pub moved: u64,
    /// Those that stay, by why they do.
    pub stay: BTreeMap<String, u64>,
    /// How many are ready in the queue now.
    pub ready: usize,
}

/// A move that is under way. It has to be [ended](Broker::end_move).
pub struct Move {
    queue: QueueId,
    key: QueueKey,
    to: MoveTo,
    /// The one that is to be moved, if it is no other.
    one: Option<QueuedId>,
    /// How many are still to be looked at.
    left: usize,
    staying: Vec<(Taken, TakenFrom)>,
    moved: Moved,
    /// Of the last that entered a queue.
    durable_at: LogPosition,
}

impl Move {
    fn stays(&mut self, taken: (Taken, TakenFrom), reason: String) {
        self.count_staying(reason);
        self.staying.push(taken);
        if self.staying.len() >= STAYING_MAX {
            self.left = 0;
        }
    }

    fn count_staying(&mut self, reason: String) {
        let reasons = &mut self.moved.stay;
        let is_known = reasons.len() < REASONS_MAX || reasons.contains_key(&reason);
        *reasons.entry(if is_known { reason } else { OTHER_REASONS.to_owned() }).or_default() += 1;
    }
}

/// What a dead letter says of how it died last.
struct LastDeath<'a> {
    queue: &'a [u8],
    exchange: &'a [u8],
    routing_keys: Vec<ShortString>,
}

impl<'a> LastDeath<'a> {
    fn of(properties: &'a [u8]) -> Option<Self> {
        let headers = PropertiesRef::parse(properties).ok()?.headers?;
        let FieldValueRef::Array(history) = headers.get(b"x-death")? else { return None };
        let FieldValueRef::Table(last) = history.iter().next()? else { return None };
        let text = |name: &[u8]| text_of(last, name);
        let keys = match last.get(b"routing-keys") {
            Some(FieldValueRef::Array(keys)) => keys.iter().filter_map(|key| match key {
                FieldValueRef::LongString(key) => ShortString::new(key),
                _ => None,
            }),
            _ => return Some(Self { queue: text(b"queue")?, exchange: text(b"exchange")?, routing_keys: Vec::new() }),
        };
        Some(Self { queue: text(b"queue")?, exchange: text(b"exchange")?, routing_keys: keys.collect() })
    }
}

fn text_of<'a>(table: TableRef<'a>, name: &[u8]) -> Option<&'a [u8]> {
    match table.get(name)? {
        FieldValueRef::LongString(text) => Some(text),
        _ => None,
    }
}

fn said_of(why: NotTaken) -> String {
    match why {
        NotTaken::Gone => "it is there no more".to_owned(),
        NotTaken::TooFar => format!("there are more than {SOUGHT_MAX} before it"),
        NotTaken::Away => "it is not in memory".to_owned(),
    }
}

fn named(queue: &[u8]) -> String {
    format!("queue '{}'", String::from_utf8_lossy(queue))
}

impl<S: Store> Broker<S> {
    /// Begins to move messages.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub fn begin_move(&mut self, caller: Caller, spec: MoveSpec) -> Result<Move, AmqpError> {
        let MoveSpec { queue, to, what } = spec;
        let id = match &to {
            MoveTo::ItsExchange => self.queue_to_read(caller, &queue)?,
            MoveTo::WhereItDied | MoveTo::Queue(_) => self.queue_to_move_from(caller, &queue)?,
        };
        if let MoveTo::Queue(destination) = &to {
            self.existing_queue(caller.vhost, destination)?;
        }
        let (one, left) = match what {
            MoveWhat::All => (None, usize::MAX),
            MoveWhat::First(most) => (None, most),
            MoveWhat::One(id) => (Some(id), 1),
        };
        let left = if one.is_none() { left.min(self.queue(id).backlog.len()) } else { left };
        let (staying, moved, durable_at) = (Vec::new(), Moved::default(), LogPosition::default());
        Ok(Move { queue: id, key: self.queue_key(id), to, one, left, staying, moved, durable_at })
    }

    /// Moves some. Says whether there is more to do.
    pub fn move_some(&mut self, caller: Caller, this: &mut Move, effects: &mut impl Effects) -> bool {
        match self.is_tracing {
            true => self.overheard(effects, |broker, ear| broker.move_some_unheard(caller, this, ear)),
            false => self.move_some_unheard(caller, this, effects),
        }
    }

    fn move_some_unheard(&mut self, caller: Caller, this: &mut Move, effects: &mut impl Effects) -> bool {
        if let Some(id) = this.one {
            if self.queue_of(this.key).is_some() {
                self.take_one_out(caller, this, id, effects);
            }
            return false;
        }
        for _ in 0..MOVED_PER_TURN {
            if this.left == 0 || self.queue_of(this.key).is_none() {
                return false;
            }
            if self.head_is_away(this.key) {
                return true;
            }
            if self.has_expired_head(this.queue) {
                // As many expire in a turn as may.
                self.drop_expired(this.queue);
                if self.has_expired_head(this.queue) {
                    return true;
                }
            }
            let queue = &mut self.queues[this.queue.0 as usize];
            let from = queue.backlog.head_is_from();
            let Some(taken) = queue.backlog.pop() else { return false };
            this.left -= 1;
            self.move_taken(caller, this, (taken, from), effects);
        }
        this.left > 0
    }

    /// Looks for the one that is to be moved, in this turn.
    fn take_one_out(&mut self, caller: Caller, this: &mut Move, id: QueuedId, effects: &mut impl Effects) {
        let queue = &mut self.queues[this.queue.0 as usize];
        let QueuedId { run, queue: serial, level, sequence } = id;
        let found = match run == self.settings.unix_start_ms && queue.serial == serial {
            true => queue.backlog.take_out(level, sequence, SOUGHT_MAX, queue.behaviour.returns_behind()),
            false => Err(NotTaken::Gone),
        };
        match found {
            Ok(taken) => self.move_taken(caller, this, taken, effects),
            Err(why) => this.count_staying(said_of(why)),
        }
    }

    fn move_taken(
        &mut self,
        caller: Caller,
        this: &mut Move,
        (taken, from): (Taken, TakenFrom),
        effects: &mut impl Effects,
    ) {
        self.books.got(&mut self.queues[this.queue.0 as usize], false, taken.redelivered);
        self.head_moved(this.queue);
        let message = match taken.returns.times() {
            0 => taken.message.clone(),
            // As with dead letters: how often it came back here the other one is not told.
            _ => without_delivery_count(&taken.message),
        };
        match self.move_one(caller, this, &message, effects) {
            Ok(durable_at) => {
                this.moved.moved += 1;
                this.durable_at = this.durable_at.max(durable_at);
                // The other one has it by now, in the log as well.
                let delivered = Delivered { taken, queue: this.queue, consumer: None };
                self.settle_delivered(delivered, Settlement::Acknowledged, Said::OfSeveral);
            }
            Err(reason) => this.stays((taken, from), reason),
        }
    }

    /// Lets a message enter where it is to go, or says why it cannot.
    fn move_one(
        &mut self,
        caller: Caller,
        this: &Move,
        message: &MessageRef,
        effects: &mut impl Effects,
    ) -> Result<LogPosition, String> {
        let content = message.content();
        let death = || LastDeath::of(content.properties()).ok_or_else(|| "it is no dead letter".to_owned());
        match &this.to {
            MoveTo::Queue(queue) => self.move_to_queue(caller, this, queue, content, message, effects),
            MoveTo::WhereItDied => {
                let LastDeath { queue, exchange, routing_keys } = death()?;
                let key = routing_keys.first().map_or(&b""[..], |key| key);
                let address = address(exchange, key)?;
                let content = Content { address: &address, ..content };
                self.move_to_queue(caller, this, queue, content, message, effects)
            }
            MoveTo::ItsExchange => {
                let LastDeath { exchange, routing_keys, .. } = death()?;
                let key = routing_keys.first().map_or(&b""[..], |key| key);
                let address = address(exchange, key)?;
                let content = Content { address: &address, ..content };
                let to = self.exchange_to_publish(caller, exchange, key).map_err(|error| error.explanation)?;
                let copies = routing_keys.get(1..).unwrap_or_default();
                for key in copies {
                    self.may_publish_with(caller, to.id, key).map_err(|error| error.explanation)?;
                }
                let publication = Publication { content, attributes: attributes_of(message), mandatory: false };
                let target = Target { exchange: to.id, extra_keys: copies };
                let kept = self.publish_if_taken(caller, target, &publication, this.queue, effects)?;
                Ok(kept.position)
            }
        }
    }

    fn move_to_queue(
        &mut self,
        caller: Caller,
        this: &Move,
        queue: &[u8],
        content: Content<'_>,
        message: &MessageRef,
        effects: &mut impl Effects,
    ) -> Result<LogPosition, String> {
        let Some(id) = self.queue_in(caller.vhost, queue) else { return Err(format!("{} is not there", named(queue))) };
        if id == this.queue {
            return Err("it is there already".to_owned());
        }
        if self.is_locked(caller, id) {
            return Err(format!("{} is exclusive to a connection", named(queue)));
        }
        // Asked before: what a queue refuses may become a dead letter.
        if self.would_refuse(id, &content) {
            return Err(format!("{} refuses it", named(queue)));
        }
        let publication = Publication { content, attributes: attributes_of(message), mandatory: false };
        let mut kept = Kept::default();
        self.publishes_to_queues(caller.vhost);
        self.enter(id, &publication, true, &mut kept, effects);
        self.books.totals.received += 1;
        Ok(kept.position)
    }

    /// What could not be moved returns to its place, and nobody was given it: that counts towards no limit. Says what came of it, and when that lasts.
    pub fn end_move(&mut self, this: Move) -> (Moved, LogPosition) {
        let Move { queue, key, staying, mut moved, durable_at, .. } = this;
        for (taken, from) in staying {
            self.put_back_untouched(queue, taken, from);
        }
        moved.ready = self.queue_of(key).map_or(0, |id| self.queue(id).backlog.len());
        (moved, durable_at)
    }
}

fn address(exchange: &[u8], routing_key: &[u8]) -> Result<Vec<u8>, String> {
    let mut address = Vec::with_capacity(exchange.len() + routing_key.len() + 3);
    for name in [exchange, routing_key] {
        let name = ShortString::new(name).ok_or("what it says of its death is too long")?;
        address.push(name.len() as u8);
        address.extend_from_slice(&name);
    }
    address.push(FRAME_END);
    Ok(address)
}

/// What queues must know of it: its time to live begins anew.
fn attributes_of(message: &MessageRef) -> Attributes {
    let content = message.content();
    let properties = PropertiesRef::parse(content.properties()).unwrap_or_default();
    let expiration_ms = properties.expiration.and_then(|expiration| expiration::parse(expiration).ok());
    Attributes { expiration_ms, ..message.attributes() }
}

#[cfg(test)]
mod tests;
