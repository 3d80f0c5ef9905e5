//! Consumers of a client that showed another token: those that it does not allow are cancelled, as with RabbitMQ 4.3, and the
//! client is told. What they were given stays theirs.
//!
//! A client may have a million of them, so a turn asks about some; what comes before it has asked about all is delivered.

use super::access::Right;
use super::effects::{Effects, Recipient};
use super::keys::ConnectionKey;
use super::store::Store;
use super::{Broker, ConnectionId};
use crate::protocol::ShortString;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::ops::Bound;

/// Consumers that are asked about in one turn.
const RECHECKED_PER_TURN: usize = 256;

/// Connections whose consumers are to be asked about, each of them once.
#[derive(Default)]
pub(super) struct Rechecks {
    line: VecDeque<ConnectionKey>,
    /// How far each of them is, by its serial: others need no room for that.
    progress: HashMap<u64, RecheckProgress>,
}

/// How far the consumers of a connection were asked about. To begin anew costs a client's frame nothing, however many channels
/// there are.
#[derive(Default)]
struct RecheckProgress {
    /// The serial of the channel that is next, or of one before it: later ones have higher serials.
    channel: u64,
    /// The tag of its last consumer that was asked about.
    last: Option<ShortString>,
}

impl Rechecks {
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

impl<S: Store> Broker<S> {
    /// All consumers of a connection are to be asked about, from the first one on.
    pub(super) fn recheck_consumers_of(&mut self, id: ConnectionId) {
        let Some(Some(state)) = self.connections.get(id.0 as usize) else { return };
        if self.rechecks.progress.insert(state.serial, RecheckProgress::default()).is_none() {
            self.rechecks.line.push_back(ConnectionKey { id, serial: state.serial });
        }
    }

    /// Goes on with those that are to be asked about.
    #[cold]
    pub(super) fn recheck_some_consumers(&mut self, effects: &mut impl Effects) {
        let mut left = RECHECKED_PER_TURN;
        while left > 0
            && let Some(key) = self.rechecks.line.pop_front()
        {
            let state = self.connections.get(key.id.0 as usize).and_then(Option::as_ref);
            let is_there = state.is_some_and(|state| state.serial == key.serial);
            let progress = self.rechecks.progress.remove(&key.serial).filter(|_| is_there);
            match progress.and_then(|progress| self.recheck_some_of(key.id, progress, &mut left, effects)) {
                Some(progress) => {
                    self.rechecks.progress.insert(key.serial, progress);
                    self.rechecks.line.push_front(key);
                }
                None => left = left.saturating_sub(1),
            }
        }
    }

    /// The same of one connection. Says how far it came, if that is not all.
    fn recheck_some_of(
        &mut self,
        connection: ConnectionId,
        mut progress: RecheckProgress,
        left: &mut usize,
        effects: &mut impl Effects,
    ) -> Option<RecheckProgress> {
        loop {
            let state = self.connections[connection.0 as usize].as_ref()?;
            let at = state.channels.partition_point(|id| self.channel(*id).serial < progress.channel);
            let id = *state.channels.get(at)?;
            if *left == 0 {
                return Some(progress);
            }
            let RecheckProgress { channel: serial, last } = progress;
            let channel = self.channel(id);
            // Of a channel that closed meanwhile nothing is left to ask about.
            let last = last.filter(|_| channel.serial == serial);
            let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = channel.consumers.range::<ShortString, _>((after, Bound::Unbounded)).take(*left);
            let next: Vec<_> = next.map(|(tag, consumer)| (tag.clone(), *consumer)).collect();
            progress = match next.last() {
                Some((tag, _)) if next.len() == *left => {
                    RecheckProgress { channel: channel.serial, last: Some(tag.clone()) }
                }
                _ => RecheckProgress { channel: channel.serial + 1, last: None },
            };
            *left = left.saturating_sub(next.len() + 1);
            let (caller, channel_number) = (self.caller(id), channel.number);
            for (tag, consumer) in next {
                let queue = self.queue(self.consumers[consumer.0 as usize].queue).properties.name.clone();
                if self.user_may(caller.user, Right::Read, caller.vhost, &queue) {
                    continue;
                }
                self.cancel(caller, &tag);
                effects.cancel_consumer(Recipient { connection, channel_number, consumer_tag: &tag });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Bearer, Powers, Scopes, Tags};
    use crate::broker::effects::Room;
    use crate::broker::message::Content;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody};
    use crate::broker::{ConsumeRequest, DeclareRequest};
    use crate::protocol::FieldTable;
    use std::sync::Arc;

    const CLIENT: ConnectionId = ConnectionId(0);

    /// Tags of consumers that were told they are cancelled.
    #[derive(Default)]
    struct Cancelled(Vec<String>);

    impl Effects for Cancelled {
        fn deliver(&mut self, _: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
            Room::Left
        }
        fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {}
        fn confirm(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
        fn reject(&mut self, _: ConnectionId, _: u16, _: u64, _: bool) {}
        fn cancel_consumer(&mut self, recipient: Recipient<'_>) {
            self.0.push(String::from_utf8_lossy(recipient.consumer_tag).into_owned());
        }
    }

    fn bearer(scopes: &[&str]) -> Bearer {
        Bearer {
            name: "bob".into(),
            tags: Arc::new(Tags::default()),
            powers: Powers::Scopes(Scopes::read(scopes.iter().copied(), |_| None)),
            expires_unix_ms: None,
        }
    }

    fn consume(broker: &mut Broker<MemoryStore>, number: u16, queue: &str, tag: &str) {
        let channel = broker.connections[0].as_ref().unwrap().channels[usize::from(number - 1)];
        let (queue, consumer_tag, arguments) = (queue.as_bytes(), tag.as_bytes(), FieldTable::default());
        let request = ConsumeRequest { queue, consumer_tag, no_ack: true, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
    }

    #[test]
    fn consumers_that_another_token_does_not_allow_are_cancelled_some_in_each_turn() {
        const MANY: usize = 2 * RECHECKED_PER_TURN;
        let mut broker = testing::broker();
        let before = bearer(&["configure:*/*", "read:*/*"]);
        let vhost = broker.admit_bearer(&before, b"/").unwrap();
        let user = broker.welcome(&before, vhost);
        broker.open_connection(CLIENT, user, vhost);
        broker.open_channel(CLIENT, 1);
        broker.open_channel(CLIENT, 2);
        for name in [&b"a"[..], b"b"] {
            let arguments = FieldTable::default();
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(testing::caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        }
        (0..MANY).for_each(|number| consume(&mut broker, 1, "a", &format!("a{number}")));
        consume(&mut broker, 1, "b", "stays");
        consume(&mut broker, 2, "a", "on another channel");

        broker.renew(CLIENT, &before).unwrap();
        let mut cancelled = Cancelled::default();
        while broker.next_due_ms().is_some() {
            broker.come_due(&mut cancelled);
        }
        assert_eq!(cancelled.0, [""; 0], "the same is allowed");

        broker.renew(CLIENT, &bearer(&["read:*/b"])).unwrap();
        broker.come_due(&mut cancelled);
        assert_eq!(cancelled.0.len(), RECHECKED_PER_TURN);
        let mut turns = 1;
        while broker.next_due_ms().is_some() {
            broker.come_due(&mut cancelled);
            turns += 1;
        }
        assert_eq!((cancelled.0.len(), turns), (MANY + 1, 3));
        assert!(cancelled.0.contains(&"on another channel".to_owned()) && !cancelled.0.contains(&"stays".to_owned()));
        assert_eq!(broker.snapshot_totals().consumers, 1);
        broker.census();
    }

    #[test]
    fn nobody_asks_about_consumers_of_a_channel_that_is_gone() {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        broker.recheck_consumers_of(CLIENT);
        broker.close_connection(CLIENT, &mut Nobody);
        broker.come_due(&mut Nobody);
        assert!(broker.rechecks.is_empty());
    }

    /// A client may show tokens as fast as it likes, with as many channels as it likes.
    #[test]
    fn a_connection_waits_once_however_often_another_token_is_shown() {
        let mut broker = testing::broker();
        for client in 0..3 {
            testing::connect(&mut broker, ConnectionId(client));
            (2..50).for_each(|number| _ = broker.open_channel(ConnectionId(client), number));
        }
        for _ in 0..100 {
            (0..3).for_each(|client| broker.recheck_consumers_of(ConnectionId(client)));
        }
        assert_eq!(broker.rechecks.line.len(), 3, "and not as often as there are channels");
        // Another one in its place begins at its own first channel.
        broker.close_connection(CLIENT, &mut Nobody);
        testing::connect(&mut broker, CLIENT);
        broker.recheck_consumers_of(CLIENT);
        assert_eq!(broker.rechecks.line.len(), 4);
        broker.come_due(&mut Nobody);
        assert!(broker.rechecks.is_empty() && broker.rechecks.progress.is_empty());
    }

    #[test]
    fn who_shows_another_token_meanwhile_is_asked_about_from_the_first_one_on() {
        let mut broker = testing::broker();
        let before = bearer(&["configure:*/*", "read:*/*"]);
        let vhost = broker.admit_bearer(&before, b"/").unwrap();
        let user = broker.welcome(&before, vhost);
        broker.open_connection(CLIENT, user, vhost);
        (1..4).for_each(|number| _ = broker.open_channel(CLIENT, number));
        for name in [&b"a"[..], b"b"] {
            let arguments = FieldTable::default();
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(testing::caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        }
        (0..RECHECKED_PER_TURN).for_each(|number| consume(&mut broker, 1, "a", &format!("a{number}")));
        consume(&mut broker, 2, "b", "b");
        consume(&mut broker, 3, "a", "last");
        let mut cancelled = Cancelled::default();
        broker.renew(CLIENT, &before).unwrap();
        broker.come_due(&mut cancelled);
        // The channel that is next closes, and the first ones are not allowed any more.
        let next = broker.connections[0].as_ref().unwrap().channels[1];
        broker.close_channel(next);
        broker.renew(CLIENT, &bearer(&["read:*/b"])).unwrap();
        while broker.next_due_ms().is_some() {
            broker.come_due(&mut cancelled);
        }
        assert_eq!(cancelled.0.len(), RECHECKED_PER_TURN + 1);
        assert_eq!(broker.snapshot_totals().consumers, 0);
        broker.census();
    }
}
