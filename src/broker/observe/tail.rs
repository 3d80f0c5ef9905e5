//! Tails: somebody follows what enters a queue, or what an exchange routes, and nothing of it is theirs.
//!
//! ```text
//!   a queue that is tailed is not plain       ─┐            ┌─ passed over: more than the rate
//!                                              ├─► filter ──┤
//!   an exchange that is tailed is a witness   ─┘            └─► a copy, cut short ──► listener, if it has room
//! ```
//! Who tails nothing pays nothing: a queue's [behaviour](crate::broker::queue::Behaviour) is asked by whoever is on its path
//! anyway, and an exchange is looked at by another matcher. What is copied is decided before it is copied. A listener never
//! holds up anybody: what it has no room for is dropped, and counted.
//!
//! Whoever tails asks now and then [how it goes](Broker::tail_counts), which ends a tail of what is gone or is no longer for
//! its user to read. One whose listener went is ended when the next message comes, or when somebody else wants its place.

mod filter;
#[cfg(test)]
mod tests;

pub use filter::TailFilter;

use crate::access::Powers;
use crate::broker::access::Right;
use crate::broker::exchange::{DEFAULT_EXCHANGE, ExchangeId, QueueId};
use crate::broker::message::Content;
use crate::broker::publish::Publication;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, QueueKey, UserKey, VhostId, VhostKey};
use crate::protocol::{AmqpError, ReplyCode, ShortString};
use filter::Budget;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

/// Tails that there may be, and those of one user.
const TAILS_MAX: usize = 32;
const TAILS_OF_USER_MAX: usize = 8;
/// The longest properties that are copied, in bytes: whose are longer is told of without them.
const PROPERTIES_MAX_BYTES: usize = 16 << 10;
/// Queues that a message is said to have gone to.
const QUEUES_TOLD_MAX: usize = 32;
/// How long a rate is counted, in milliseconds.
const WINDOW_MS: u64 = 1000;

/// What is to be followed, and how much of it.
pub struct TailSpec {
    pub of: TailOf,
    pub filter: TailFilter,
    /// Most messages in a second.
    pub rate: u32,
    /// Most bytes of each body.
    pub body_max_bytes: usize,
}

pub enum TailOf {
    Queue(ShortString),
    Exchange(ShortString),
}

/// Somebody who follows. It never waits.
pub trait TailListener {
    /// Takes a message, unless there is no room for it.
    fn tell(&mut self, message: Box<TailedMessage>) -> bool;

    /// Nobody listens any more.
    fn is_gone(&self) -> bool;
}

/// A copy of what is wanted of a message.
pub struct TailedMessage {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    pub exchange: ShortString,
    pub routing_key: ShortString,
    /// In wire form, unless they are too long.
    pub properties: Option<Box<[u8]>>,
    /// As much of it as was asked for.
    pub body: Box<[u8]>,
    pub body_size: usize,
    /// Of what an exchange routed: where it goes, or some of that.
    pub queues: Vec<ShortString>,
}

/// What became of the messages that a tail saw.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TailCounts {
    pub seen: u64,
    /// Of these, the ones that the filter asks for.
    pub matched: u64,
    /// Of the matching ones: those that were told, those beyond the rate, those for which the listener had no room.
    pub told: u64,
    pub passed_over: u64,
    pub dropped: u64,
    /// Those that were not looked at, as looking at so many takes too long.
    pub unread: u64,
}

/// Which tail is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailId(u64);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Place {
    Queue(QueueKey),
    Exchange(VhostKey, ExchangeId),
}

/// Whom a limit is for: somebody for whom others vouch is another user with every token, virtual host and address.
#[derive(PartialEq, Eq)]
struct Follower {
    name: Arc<str>,
    vouched: Option<Discriminant<Powers>>,
}

struct Tail {
    id: TailId,
    user: UserKey,
    follower: Follower,
    place: Place,
    name: ShortString,
    /// Its user may not read every key there.
    is_restricted: bool,
    filter: TailFilter,
    rate: u32,
    body_max_bytes: usize,
    counts: TailCounts,
    /// When the second began that is counted, and how many were told in it.
    window_ms: u64,
    told_in_window: u32,
    budget: Budget,
    listener: Box<dyn TailListener>,
}

/// All tails that there are.
#[derive(Default)]
pub(in crate::broker) struct Tails {
    tails: Vec<Tail>,
    last: u64,
}

impl Tail {
    /// Whether a message is to be told: everything that is decided before it is copied.
    fn wants(
        &mut self,
        content: &Content<'_>,
        now_ms: u64,
        may_read: impl FnOnce(&ShortString, &[u8]) -> bool,
    ) -> bool {
        self.counts.seen += 1;
        if now_ms >= self.window_ms + WINDOW_MS {
            (self.window_ms, self.told_in_window, self.budget) = (now_ms, 0, Budget::default());
        }
        match self.filter.matches(content, &mut self.budget) {
            None => {
                self.counts.unread += 1;
                return false;
            }
            Some(false) => return false,
            Some(true) => {}
        }
        if self.is_restricted && !may_read(&self.name, content.routing_key()) {
            return false;
        }
        self.counts.matched += 1;
        if self.told_in_window >= self.rate {
            self.counts.passed_over += 1;
            return false;
        }
        self.told_in_window += 1;
        true
    }

    fn tell(&mut self, content: &Content<'_>, unix_ms: u64, queues: Vec<ShortString>) {
        let (properties, body) = (content.properties(), content.body());
        let message = TailedMessage {
            unix_ms,
            exchange: ShortString::truncated(content.exchange()),
            routing_key: ShortString::truncated(content.routing_key()),
            properties: (properties.len() <= PROPERTIES_MAX_BYTES).then(|| properties.into()),
            body: body[..body.len().min(self.body_max_bytes)].into(),
            body_size: body.len(),
            queues,
        };
        match self.listener.tell(Box::new(message)) {
            true => self.counts.told += 1,
            false => self.counts.dropped += 1,
        }
    }
}

impl<S: Store> Broker<S> {
    /// Follows a queue or an exchange, which the caller may read.
    ///
    /// # Errors
    /// 403, 404, 405; 406 when there are as many tails as there may be, or as many of this user's.
    pub fn start_tail(
        &mut self,
        caller: Caller,
        spec: TailSpec,
        listener: Box<dyn TailListener>,
    ) -> Result<TailId, AmqpError> {
        let TailSpec { of, filter, rate, body_max_bytes } = spec;
        let (place, name) = match of {
            TailOf::Queue(name) => {
                let id = self.queue_to_read(caller, &name)?;
                (Place::Queue(self.queue_key(id)), name)
            }
            TailOf::Exchange(name) => {
                let id = self.exchange_to_read(caller, &name)?;
                (Place::Exchange(self.vhost_key(caller.vhost), id), name)
            }
        };
        let is_restricted = self.is_tail_restricted(caller, place);
        if is_restricted && self.is_judged_elsewhere(caller.user) {
            let subject = self.subject("exchange", caller.vhost, &name);
            let explanation =
                format!("{subject} can't be tailed: others would have to be asked about every routing key");
            return Err(AmqpError::channel(ReplyCode::AccessRefused, explanation));
        }
        self.end_tails_where(|tail| tail.listener.is_gone());
        let user = self.user_key(caller.user);
        let of_user = self.users.get(caller.user);
        let follower = Follower { name: of_user.name.clone(), vouched: of_user.powers().map(discriminant) };
        let tails = &self.tails.tails;
        let has_most = tails.iter().filter(|tail| tail.follower == follower).count() >= TAILS_OF_USER_MAX;
        if tails.len() >= TAILS_MAX || has_most {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "too many queues and exchanges are tailed"));
        }
        self.tails.last += 1;
        let id = TailId(self.tails.last);
        self.tails.tails.push(Tail {
            id,
            user,
            follower,
            place,
            name,
            is_restricted,
            filter,
            rate,
            body_max_bytes,
            counts: TailCounts::default(),
            window_ms: self.now_ms,
            told_in_window: 0,
            budget: Budget::default(),
            listener,
        });
        self.note_tailed(place);
        Ok(id)
    }

    /// What became of the messages that a tail saw; `None` when what it follows is gone, and then it has ended.
    ///
    /// # Errors
    /// 403 when that is not for the caller to read any more; then it has ended, too.
    pub fn tail_counts(&mut self, caller: Caller, id: TailId) -> Result<Option<TailCounts>, AmqpError> {
        match self.tail_to_read(caller, id) {
            Ok(Some((at, place))) if self.is_tailed(place) => {
                let is_restricted = self.is_tail_restricted(caller, place);
                let Tail { is_restricted: restricted, counts, .. } = &mut self.tails.tails[at];
                *restricted = is_restricted;
                Ok(Some(*counts))
            }
            Err(error) if error.code == ReplyCode::AccessRefused => {
                self.end_tail(caller, id);
                Err(error)
            }
            _ => {
                self.end_tail(caller, id);
                Ok(None)
            }
        }
    }

    /// Which tail of the caller's that is, and what it follows; `None` when what it followed is gone.
    ///
    /// # Errors
    /// 403, 404 and 405, as that is not for the caller to read any more.
    pub(in crate::broker) fn tail_to_read(
        &self,
        caller: Caller,
        id: TailId,
    ) -> Result<Option<(usize, Place)>, AmqpError> {
        let user = self.user_key(caller.user);
        let Some(at) = self.tails.tails.iter().position(|tail| tail.id == id && tail.user == user) else {
            return Ok(None);
        };
        let Tail { place, ref name, .. } = self.tails.tails[at];
        let found = match place {
            Place::Queue(_) => Place::Queue(self.queue_key(self.queue_to_read(caller, name)?)),
            Place::Exchange(vhost, _) => Place::Exchange(vhost, self.exchange_to_read(caller, name)?),
        };
        Ok((found == place).then_some((at, place)))
    }

    /// Nobody wants a tail any more.
    pub fn end_tail(&mut self, caller: Caller, id: TailId) {
        let user = self.user_key(caller.user);
        self.end_tails_where(|tail| tail.id == id && tail.user == user);
    }

    /// An exchange leaves, and its id may be another's afterwards.
    pub(in crate::broker) fn end_tails_of_exchange(&mut self, vhost: VhostId, id: ExchangeId) {
        let place = Place::Exchange(self.vhost_key(vhost), id);
        self.end_tails_where(|tail| tail.place == place);
    }

    /// Whether a user follows anything.
    pub fn has_tail(&self, user: UserKey) -> bool {
        self.tails.tails.iter().any(|tail| tail.user == user)
    }

    fn end_tails_where(&mut self, is_meant: impl Fn(&Tail) -> bool) {
        let ended: Vec<Tail> = self.tails.tails.extract_if(.., |tail| is_meant(tail)).collect();
        ended.iter().for_each(|tail| self.note_tailed(tail.place));
    }

    /// What is followed looks at its messages from now on, and what is not does no longer.
    fn note_tailed(&mut self, place: Place) {
        let is_tailed = self.tails.tails.iter().any(|tail| tail.place == place);
        match place {
            Place::Queue(key) => {
                if let Some(id) = self.queue_of(key) {
                    self.queue_mut(id).behaviour.tail(is_tailed);
                }
            }
            Place::Exchange(vhost, id) => {
                if let Some(vhost) = self.vhost_meant(vhost) {
                    self.change_routes(vhost, |router| router.watch(id, is_tailed));
                }
            }
        }
    }

    fn is_tailed(&self, place: Place) -> bool {
        match place {
            Place::Queue(key) => self.queue_of(key).is_some_and(|id| self.queue(id).behaviour.is_tailed()),
            Place::Exchange(vhost, id) => {
                self.vhost_meant(vhost).is_some_and(|vhost| self.router(vhost).is_watched(id))
            }
        }
    }

    /// Whether there are keys at an exchange that its user may not read: those of topics, and the names of queues.
    fn is_tail_restricted(&self, caller: Caller, place: Place) -> bool {
        match place {
            Place::Queue(_) => false,
            Place::Exchange(_, DEFAULT_EXCHANGE) => true,
            Place::Exchange(_, id) => !self.may_read_every_key(caller, id),
        }
    }

    /// A message comes to a queue that is tailed, and enters unless it is refused.
    #[cold]
    pub(in crate::broker) fn tail_entering(&mut self, id: QueueId, publication: &Publication<'_>) {
        if self.would_refuse(id, &publication.content) {
            return;
        }
        let place = Place::Queue(self.queue_key(id));
        let vhost = self.queue(id).properties.vhost;
        self.tell_tails(vhost, place, &publication.content, &[]);
    }

    /// A message was routed by exchanges that are tailed, to these queues.
    #[cold]
    pub(in crate::broker) fn tail_routed(&mut self, vhost: VhostId, content: &Content<'_>, queues: &[QueueId]) {
        let witnesses = self.vhosts.walks_mut().take_witnesses();
        let key = self.vhost_key(vhost);
        for &exchange in &witnesses {
            self.tell_tails(vhost, Place::Exchange(key, exchange), content, queues);
        }
        self.vhosts.walks_mut().give_back_witnesses(witnesses);
    }

    fn tell_tails(&mut self, vhost: VhostId, place: Place, content: &Content<'_>, queues: &[QueueId]) {
        let mut tails = std::mem::take(&mut self.tails.tails);
        let mut has_gone = false;
        for tail in tails.iter_mut().filter(|tail| tail.place == place) {
            let user = tail.user;
            if !tail.wants(content, self.now_ms, |exchange, key| self.may_tail(user, vhost, exchange, key)) {
                continue;
            }
            let names = queues.iter().take(QUEUES_TOLD_MAX);
            let names = names.map(|queue| self.queue(*queue).properties.name.clone()).collect();
            tail.tell(content, self.settings.unix_start_ms + self.now_ms, names);
            has_gone |= tail.listener.is_gone();
        }
        self.tails.tails = tails;
        if has_gone {
            self.end_tails_where(|tail| tail.listener.is_gone());
        }
    }

    /// Whether a user may read what an exchange routes with this key.
    fn may_tail(&self, user: UserKey, vhost: VhostId, exchange: &[u8], key: &[u8]) -> bool {
        let Some(user) = self.user_of(user) else { return false };
        match exchange.is_empty() {
            // What goes to one connection alone is for nobody else, whatever they may read.
            true => !self.is_for_one_connection(vhost, key) && self.user_may(user, Right::Read, vhost, key),
            false => self.key_rules(user, vhost, exchange).is_none_or(|rules| rules.allow(Right::Read, key)),
        }
    }
}
