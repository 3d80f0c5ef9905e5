//! Delayed messages: what exchanges of the type `x-delayed-message` keep until it is due.
//!
//! ```text
//!   a publish that reaches the exchange ──► kept: packed by due time, in memory or on pages ──► routed, once
//!                                             │            ▲                     └──► cancelled, or gone with its exchange
//!                                             └─► the log ─┘ of an exchange and a message that last
//! ```
//! A message that asks for a delay goes no further than such an exchange, whichever way it came there: published to it,
//! through a binding of another exchange, as a dead letter. When it is due it is routed from there with the bindings as they
//! are then, and no exchange delays it again, as its header is negative from the beginning. Nobody is asked what they may
//! then: whoever published it was.
//!
//! In the log an exchange that lasts has a queue of its own, with the first message that lasts; the time a message is due is
//! that of its expiry there. It is told of the copies before it is told that a message is kept no more.
//!
//! | file | owns |
//! |---|---|
//! | `delayed` | which exchange keeps what, and what it takes in |
//! | `header` | what of a message is kept |
//! | `schedule`, `bucket`, `chunk` | the messages of one exchange, by the time they are due |
//! | `release` | what is due, slice by slice; pages |
//! | `restore` | what an earlier run kept |
//! | `watch` | looking at what is kept, and cancelling it |

mod bucket;
mod chunk;
mod header;
mod release;
mod restore;
mod schedule;
mod watch;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use restore::DelayedKey;
pub use watch::{DelayedId, DelayedMessage, DelayedPage};

use super::exchange::ExchangeId;
use super::message::{Content, MessageRef, NEVER};
use super::page::Entry;
use super::publish::{KnownRoute, Publication};
use super::store::{Definition, DurableQueueId, LogPosition, PageId, Route, Store};
use super::{Broker, VhostId};
use crate::protocol::{FieldValueRef, PropertiesRef, ShortString};
use hashbrown::HashMap;
use schedule::Schedule;
use slab::Slab;
use std::collections::BTreeSet;

/// What all exchanges keep.
#[derive(Default)]
pub(super) struct Delayed {
    exchanges: Slab<DelayedExchange>,
    by_name: HashMap<VhostId, HashMap<ShortString, usize>>,
    /// When to look at which exchange: each is in it once at most.
    due: BTreeSet<(u64, usize)>,
    /// Who waits for a page.
    asked_for: HashMap<PageId, DelayedKey>,
    /// Of exchanges that are gone.
    gone: Vec<Schedule>,
    /// Where the pager goes on, and whether it may find something.
    hand: usize,
    has_full: bool,
    has_any: bool,
    serial: u64,
    /// Scratch space for a message's frames.
    frames: Vec<u8>,
}

struct DelayedExchange {
    /// Tells it from others that have its slot before or after it.
    serial: u64,
    vhost: VhostId,
    name: ShortString,
    /// What the log calls its messages, once there was one that lasts.
    durable_id: Option<DurableQueueId>,
    next_sequence: u64,
    schedule: Schedule,
    /// When it is looked at; [`NEVER`] when not.
    scheduled_ms: u64,
    /// Messages of an earlier run that are still to come.
    expected: usize,
    /// Where the last message went that was due.
    route: KnownRoute,
    /// What that was published to.
    address: Vec<u8>,
}

/// Where a message of a transaction is to be kept for later, by names: exchanges may go before the commit.
#[derive(Clone, PartialEq, Debug)]
pub struct Delays {
    exchanges: Vec<ShortString>,
    delay_ms: u64,
    extra_keys: Box<[ShortString]>,
}

impl Delays {
    pub(super) fn memory_bytes(&self) -> usize {
        let names = self.exchanges.iter().chain(&self.extra_keys);
        size_of::<Self>() + names.map(|name| size_of::<ShortString>() + name.len()).sum::<usize>()
    }
}

impl Delayed {
    fn find(&self, vhost: VhostId, name: &[u8]) -> Option<usize> {
        self.by_name.get(&vhost)?.get(name).copied()
    }

    fn find_or_add(&mut self, vhost: VhostId, name: &ShortString) -> usize {
        if let Some(index) = self.find(vhost, name) {
            return index;
        }
        self.serial += 1;
        let index = self.exchanges.insert(DelayedExchange {
            serial: self.serial,
            vhost,
            name: name.clone(),
            durable_id: None,
            next_sequence: 0,
            schedule: Schedule::default(),
            scheduled_ms: NEVER,
            expected: 0,
            route: KnownRoute::default(),
            address: Vec::new(),
        });
        self.by_name.entry(vhost).or_default().insert(name.clone(), index);
        index
    }

    /// Looks at an exchange when there is something to do.
    fn reschedule(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        let next_ms = exchange.schedule.next_ms();
        let before_ms = std::mem::replace(&mut exchange.scheduled_ms, next_ms);
        if before_ms == next_ms {
            return;
        }
        if before_ms != NEVER {
            self.due.remove(&(before_ms, index));
        }
        if next_ms != NEVER {
            self.due.insert((next_ms, index));
        }
    }

    fn note_growth(&mut self) {
        self.has_full = true;
        self.has_any = true;
    }
}

impl<S: Store> Broker<S> {
    /// Keeps a message for later at the exchanges that the walk said, which delays it. `extra_keys` are those of its copies.
    /// Says where the log has it.
    #[cold]
    pub(super) fn delay(
        &mut self,
        vhost: VhostId,
        publication: &Publication<'_>,
        extra_keys: &[ShortString],
    ) -> LogPosition {
        let (exchanges, delay_ms) = self.vhosts.walks_mut().take_delays();
        let position = self.delay_at(vhost, &exchanges, delay_ms, publication, extra_keys);
        self.vhosts.walks_mut().give_back_delays(exchanges);
        position
    }

    /// What a commit has to know of a message which exchanges keep for later that the walk said.
    pub(super) fn delays_for_commit(&mut self, vhost: VhostId, extra_keys: &[ShortString]) -> Box<Delays> {
        let (exchanges, delay_ms) = self.vhosts.walks_mut().take_delays();
        let router = self.router(vhost);
        let names = exchanges.iter().map(|id| router.exchange(*id).name.clone()).collect();
        Box::new(Delays { exchanges: names, delay_ms, extra_keys: extra_keys.into() })
    }

    /// Keeps a message for later from its commit on, at those of the exchanges that are still there.
    pub(super) fn delay_committed(
        &mut self,
        vhost: VhostId,
        delays: &Delays,
        publication: &Publication<'_>,
    ) -> LogPosition {
        let Delays { exchanges, delay_ms, extra_keys } = delays;
        let exchanges: Vec<_> = exchanges.iter().filter_map(|name| self.exchange_in(vhost, name)).collect();
        self.delay_at(vhost, &exchanges, *delay_ms, publication, extra_keys)
    }

    fn delay_at(
        &mut self,
        vhost: VhostId,
        exchanges: &[ExchangeId],
        delay_ms: u64,
        publication: &Publication<'_>,
        extra_keys: &[ShortString],
    ) -> LogPosition {
        let content = &publication.content;
        let mut frames = std::mem::take(&mut self.delayed.frames);
        let blind = &extra_keys[copies(content, extra_keys)..];
        let header_frame_length = header::kept_frames(content, blind, delay_ms, &mut frames);
        let kept = Content { frames: &frames, header_frame_length, ..*content };
        let mut position = LogPosition::default();
        for &exchange in exchanges {
            let publication = Publication { content: kept, ..*publication };
            position = self.keep(vhost, exchange, &publication, self.now_ms + delay_ms, position).max(position);
        }
        self.delayed.frames = frames;
        position
    }

    /// Keeps a message at one exchange. `beside` is where the log has it for another.
    fn keep(
        &mut self,
        vhost: VhostId,
        exchange: ExchangeId,
        publication: &Publication<'_>,
        due_ms: u64,
        beside: LogPosition,
    ) -> LogPosition {
        let Publication { content, attributes, .. } = publication;
        let exchange = self.vhosts[vhost].router().exchange(exchange);
        let lasts = exchange.durable && attributes.persistent;
        let name = &exchange.name;
        let index = match self.delayed.find(vhost, name) {
            Some(index) => index,
            None => {
                let name = name.clone();
                self.delayed.find_or_add(vhost, &name)
            }
        };
        if lasts && self.delayed.exchanges[index].durable_id.is_none() {
            self.begin_to_last(index);
        }
        let kept = &mut self.delayed.exchanges[index];
        let sequence = kept.next_sequence;
        kept.next_sequence += 1;
        let mut position = LogPosition::default();
        if let Some(queue) = kept.durable_id.filter(|_| lasts) {
            let route = Route { queue, sequence, expires_at_ms: Some(self.settings.unix_start_ms + due_ms) };
            position = self.store.enqueued(route, content, attributes.priority, beside);
        }
        match content.shared_body {
            None => kept.schedule.insert(&Entry::new(content, *attributes, sequence, due_ms), self.now_ms),
            Some(_) => {
                let message = MessageRef::new(content, *attributes);
                kept.schedule.insert_large(message, sequence, due_ms, self.now_ms);
            }
        }
        self.delayed.note_growth();
        self.delayed.reschedule(index);
        position
    }

    /// Tells the log of the first message of an exchange that lasts.
    fn begin_to_last(&mut self, index: usize) {
        self.queue_serial += 1;
        let id = DurableQueueId(self.queue_serial);
        let exchange = &mut self.delayed.exchanges[index];
        exchange.durable_id = Some(id);
        let definition = Definition::DelayedDeclared { id, vhost: exchange.vhost, exchange: exchange.name.clone() };
        self.define(&definition);
    }

    /// An exchange is gone, and what it kept. The log knows that by itself.
    pub(super) fn forget_delayed(&mut self, vhost: VhostId, name: &[u8]) {
        let Some(index) = self.delayed.by_name.get_mut(&vhost).and_then(|names| names.remove(name)) else { return };
        if self.delayed.by_name.get(&vhost).is_some_and(HashMap::is_empty) {
            self.delayed.by_name.remove(&vhost);
        }
        let exchange = self.delayed.exchanges.remove(index);
        self.delayed.due.remove(&(exchange.scheduled_ms, index));
        if exchange.schedule.count() > 0 {
            self.delayed.gone.push(exchange.schedule);
        }
    }
}

/// How many of the keys are those of copies that everybody may see; the others are blind.
fn copies(content: &Content<'_>, extra_keys: &[ShortString]) -> usize {
    if extra_keys.is_empty() {
        return 0;
    }
    let headers = PropertiesRef::parse(content.properties()).ok().and_then(|properties| properties.headers);
    let Some(FieldValueRef::Array(keys)) = headers.and_then(|headers| headers.get(b"CC")) else { return 0 };
    let is_key = |value: &FieldValueRef<'_>| matches!(value, FieldValueRef::LongString(key) if key.len() <= 255);
    keys.iter().filter(is_key).count().min(extra_keys.len())
}
