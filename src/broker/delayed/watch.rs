//! Looking at what is kept, and cancelling it before it is due.
//!
//! Who may read from an exchange sees what it keeps. Who cancels takes away what others published, and has to be one who
//! may read from it and write to it.

use super::chunk::Message;
use super::schedule::Found;
use super::{Delayed, DelayedKey};
use crate::broker::exchange::ExchangeKind;
use crate::broker::message::Content;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, Done, VhostId};
use crate::protocol::{AmqpError, PropertiesRef, ShortString};
use std::fmt;
use std::str::FromStr;

/// Names a message among those that an exchange keeps: when it is due, in milliseconds since 1970, and its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DelayedId {
    pub due_unix_ms: u64,
    pub sequence: u64,
}

impl fmt::Display for DelayedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.due_unix_ms, self.sequence)
    }
}

impl FromStr for DelayedId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (due, sequence) = text.split_once('-').ok_or(())?;
        let number = |text: &str| text.parse().map_err(|_| ());
        Ok(Self { due_unix_ms: number(due)?, sequence: number(sequence)? })
    }
}

/// A message that is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct DelayedMessage {
    pub id: DelayedId,
    /// What it was published to.
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub message_id: Option<ShortString>,
    pub persistent: bool,
    pub body_size: usize,
}

/// Some of the messages that an exchange keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct DelayedPage {
    /// By the time they are due.
    pub messages: Vec<DelayedMessage>,
    /// How many it keeps.
    pub total: usize,
}

impl<S: Store> Broker<S> {
    /// How many messages an exchange keeps; `None` of one that delays nothing.
    pub fn messages_delayed(&self, vhost: VhostId, name: &[u8]) -> Option<usize> {
        let exchange = self.exchange_in(vhost, name)?;
        let delays = self.router(vhost).exchange(exchange).kind == ExchangeKind::Delayed;
        delays.then(|| self.delayed.find(vhost, name).map_or(0, |index| self.delayed.count_at(index)))
    }

    /// How many messages an exchange keeps.
    ///
    /// # Errors
    /// 403, 404, 406 for an exchange that delays nothing.
    pub fn count_delayed(&self, caller: Caller, name: &[u8]) -> Result<usize, AmqpError> {
        self.delays_to_watch(caller, name, false)?;
        Ok(self.delayed.find(caller.vhost, name).map_or(0, |index| self.delayed.count_at(index)))
    }

    /// Whether all of a part of the list is in memory. If not, it is asked for.
    pub fn brings_delayed(&mut self, vhost: VhostId, name: &[u8], skipped: usize, most: usize) -> bool {
        let Self { delayed, store, .. } = self;
        let Some(index) = delayed.find(vhost, name) else { return true };
        let exchange = &mut delayed.exchanges[index];
        let key = DelayedKey { index, serial: exchange.serial };
        exchange.schedule.bring(skipped, most, store, |page| _ = delayed.asked_for.insert(page, key))
    }

    /// Whether a message is in memory, or is not there. If not, what it may be in is asked for.
    pub fn brings_delayed_message(&mut self, vhost: VhostId, name: &[u8], id: DelayedId) -> bool {
        let Self { delayed, store, settings, .. } = self;
        let Some(index) = delayed.find(vhost, name) else { return true };
        let exchange = &mut delayed.exchanges[index];
        let key = DelayedKey { index, serial: exchange.serial };
        let due_ms = id.due_unix_ms.saturating_sub(settings.unix_start_ms);
        let asked = |page| _ = delayed.asked_for.insert(page, key);
        exchange.schedule.find(due_ms, id.sequence, store, asked) != Found::Away
    }

    /// Up to `most` messages behind the first `skipped`, those that are due next first: what is due in the same stretch of
    /// time is in the order in which it came, and stretches are the longer the later they are. Only those in memory.
    ///
    /// # Errors
    /// As [`count_delayed`](Self::count_delayed).
    pub fn list_delayed(
        &self,
        caller: Caller,
        name: &[u8],
        skipped: usize,
        most: usize,
    ) -> Result<DelayedPage, AmqpError> {
        self.delays_to_watch(caller, name, false)?;
        let Some(index) = self.delayed.find(caller.vhost, name) else {
            return Ok(DelayedPage { messages: Vec::new(), total: 0 });
        };
        let mut messages = Vec::new();
        let unix_start_ms = self.settings.unix_start_ms;
        self.delayed.exchanges[index].schedule.look(skipped, most, |message| {
            messages.push(describe(message, unix_start_ms));
        });
        messages.sort_by_key(|message| message.id);
        Ok(DelayedPage { messages, total: self.delayed.count_at(index) })
    }

    /// Takes a message out before it is due. False when there is none of that name in memory.
    ///
    /// # Errors
    /// As [`count_delayed`](Self::count_delayed).
    pub fn cancel_delayed(&mut self, caller: Caller, name: &[u8], id: DelayedId) -> Result<Done<bool>, AmqpError> {
        self.delays_to_watch(caller, name, true)?;
        let Some(index) = self.delayed.find(caller.vhost, name) else { return Ok(Done::at_once(false)) };
        let Self { delayed, store, settings, .. } = self;
        let exchange = &mut delayed.exchanges[index];
        let due_ms = id.due_unix_ms.saturating_sub(settings.unix_start_ms);
        let cancelled = exchange.schedule.cancel(due_ms, id.sequence);
        let done = match (cancelled, exchange.durable_id) {
            (Some(true), Some(queue)) => {
                store.removed(queue, id.sequence);
                Done { value: true, durable_at: store.everything() }
            }
            (cancelled, _) => Done::at_once(cancelled.is_some()),
        };
        delayed.reschedule(index);
        Ok(done)
    }
}

impl Delayed {
    fn count_at(&self, index: usize) -> usize {
        let exchange = &self.exchanges[index];
        exchange.schedule.count() + exchange.expected
    }
}

fn describe(message: &Message<'_>, unix_start_ms: u64) -> DelayedMessage {
    let entry = message.entry();
    let (frames, header_frame_length) = (entry.header_frame, entry.header_frame.len());
    let content = Content { address: entry.address, frames, header_frame_length, shared_body: None };
    let properties = PropertiesRef::parse(content.properties()).unwrap_or_default();
    DelayedMessage {
        id: DelayedId { due_unix_ms: unix_start_ms + message.due_ms(), sequence: message.sequence() },
        exchange: ShortString::truncated(content.exchange()),
        routing_key: ShortString::truncated(content.routing_key()),
        message_id: properties.message_id.map(ShortString::truncated),
        persistent: entry.persistent,
        body_size: entry.body.len(),
    }
}
