//! Who holds which messages of a queue: deliveries that wait for an acknowledgement, for listings, and one of them settled in
//! its holder's stead.
//!
//! Nobody notes where a queue's deliveries are: they lie in the channels, and a listing walks over these, so many of them and
//! of their deliveries in a turn. It begins again where it left off. What is settled here its holder does not know of; when it
//! says something of it later, that is taken without a word.

use super::channel::Channel;
use super::exchange::QueueId;
use super::keys::ChannelKey;
use super::message::Content;
use super::pace::Said;
use super::store::Store;
use super::unacknowledged::Delivered;
use super::{Broker, Caller, ChannelId, ConnectionId, Settlement};
use crate::protocol::{AmqpError, ReplyCode, ShortString};
use std::fmt;
use std::str::FromStr;

/// Channels and deliveries that one listing looks at.
const LOOKED_AT_MAX: usize = 4096;
/// Deliveries of one channel that were settled in its stead, and that it has said nothing of.
const SETTLED_FOR_MAX: usize = 4096;
/// The longest properties that are copied, in bytes.
const PROPERTIES_MAX_BYTES: usize = 16 << 10;

/// Which delivery of all that there are, and after which one a listing goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldId {
    /// When the broker started that said it, in milliseconds since 1970: another one numbers its channels anew.
    run: u64,
    channel: ChannelKey,
    delivery_tag: u64,
}

impl fmt::Display for HeldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.run, self.channel.id.0, self.channel.serial, self.delivery_tag)
    }
}

impl FromStr for HeldId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(4, '-').map(|number| number.parse::<u64>().map_err(|_| ()));
        let mut number = || numbers.next().ok_or(())?;
        let run = number()?;
        let id = ChannelId(u32::try_from(number()?).map_err(|_| ())?);
        Ok(Self { run, channel: ChannelKey { id, serial: number()? }, delivery_tag: number()? })
    }
}

/// A delivery that waits for an acknowledgement.
pub struct HeldMessage {
    pub id: HeldId,
    pub connection: ConnectionId,
    pub channel_number: u16,
    /// `None`: it was got.
    pub consumer_tag: Option<ShortString>,
    pub delivery_tag: u64,
    /// For so long at least, in milliseconds; `None` while that is too little to know.
    pub held_ms: Option<u64>,
    /// And for so long at most.
    pub held_at_most_ms: u64,
    pub redelivered: bool,
    pub message: CopiedHead,
}

/// A message but for its body.
pub struct CopiedHead {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    /// In wire form, unless they are too long.
    pub properties: Option<Box<[u8]>>,
    pub body_size: usize,
}

impl CopiedHead {
    pub(super) fn of(content: &Content<'_>, body_size: usize) -> Self {
        let properties = content.properties();
        Self {
            exchange: ShortString::truncated(content.exchange()),
            routing_key: ShortString::truncated(content.routing_key()),
            properties: (properties.len() <= PROPERTIES_MAX_BYTES).then(|| properties.into()),
            body_size,
        }
    }
}

/// Some of them.
pub struct HeldPage<T> {
    pub items: Vec<T>,
    /// Where it goes on; `None` at the end.
    pub next: Option<HeldId>,
    /// How many there are of the queue in all.
    pub total: usize,
}

impl<S: Store> Broker<S> {
    /// Up to `most` deliveries of a queue, in no order but that in which they are found, behind `after`: fewer where there is
    /// much of other queues to look through.
    ///
    /// # Errors
    /// 403, 404, 405.
    pub fn list_held(
        &self,
        caller: Caller,
        queue: &[u8],
        after: Option<HeldId>,
        most: usize,
    ) -> Result<HeldPage<HeldMessage>, AmqpError> {
        let queue = self.queue_to_read(caller, queue)?;
        let total = self.queue(queue).ledger.unacknowledged();
        let mut page = HeldPage { items: Vec::new(), next: None, total };
        let mut left = LOOKED_AT_MAX;
        let run = self.settings.unix_start_ms;
        let after = after.filter(|after| after.run == run);
        let first_slot = after.map_or(0, |after| after.channel.id.0 as usize);
        for slot in first_slot..self.channels.capacity() {
            let after_here = after.filter(|after| after.channel.id.0 as usize == slot);
            let mut last = HeldId {
                run,
                channel: ChannelKey {
                    id: ChannelId(slot as u32),
                    serial: after_here.map_or(0, |id| id.channel.serial),
                },
                delivery_tag: after_here.map_or(0, |id| id.delivery_tag),
            };
            left = left.saturating_sub(1);
            if let Some(channel) = self.channels.get(slot) {
                // Another one that has the slot by now begins with its first.
                let from = after_here.filter(|id| id.channel.serial == channel.serial).map_or(0, |id| id.delivery_tag);
                last.channel.serial = channel.serial;
                for (delivery_tag, delivered) in channel.unacknowledged.iter_after(from) {
                    if left == 0 || page.items.len() == most {
                        page.next = Some(last);
                        return Ok(page);
                    }
                    left -= 1;
                    last.delivery_tag = delivery_tag;
                    if delivered.queue == queue {
                        page.items.push(self.copy_held(channel, last, delivered));
                    }
                }
            }
            if left == 0 {
                // There is nothing more in this one.
                page.next = Some(HeldId { delivery_tag: u64::MAX, ..last });
                return Ok(page);
            }
        }
        Ok(page)
    }

    fn copy_held(&self, channel: &Channel, id: HeldId, delivered: &Delivered) -> HeldMessage {
        let (after_ms, by_ms) = self.delivered_between_ms(channel, id.delivery_tag);
        let content = delivered.taken.message.content();
        HeldMessage {
            id,
            connection: channel.connection,
            channel_number: channel.number,
            consumer_tag: delivered.consumer.map(|consumer| self.consumers[consumer.0 as usize].tag.clone()),
            delivery_tag: id.delivery_tag,
            held_ms: by_ms.map(|by_ms| self.now_ms.saturating_sub(by_ms)),
            held_at_most_ms: self.now_ms.saturating_sub(after_ms),
            redelivered: delivered.taken.redelivered,
            message: CopiedHead::of(&content, content.body_size()),
        }
    }

    /// Settles a delivery of a queue in its holder's stead; false when it is settled already.
    ///
    /// # Errors
    /// 403, 404, 405; 406 while its channel settles many.
    pub fn settle_held(
        &mut self,
        caller: Caller,
        queue: &[u8],
        id: HeldId,
        outcome: Settlement,
    ) -> Result<bool, AmqpError> {
        let queue: QueueId = self.queue_to_read(caller, queue)?;
        let HeldId { run, channel: key, delivery_tag } = id;
        let is_there = run == self.settings.unix_start_ms;
        let Some(channel) =
            self.channels.get_mut(key.id.0 as usize).filter(|channel| is_there && channel.serial == key.serial)
        else {
            return Ok(false);
        };
        if channel.unacknowledged.get(delivery_tag).is_none_or(|delivered| delivered.queue != queue) {
            return Ok(false);
        }
        if channel.settles_up_to.is_some() {
            return Err(AmqpError::channel(ReplyCode::PreconditionFailed, "its channel is settling many deliveries"));
        }
        let Some(delivered) = channel.unacknowledged.take(delivery_tag) else { return Ok(false) };
        let settled_for = channel.settled_for.get_or_insert_default();
        settled_for.insert(delivery_tag);
        // Its holder has settled what came before, most likely, and says no more of it.
        if settled_for.len() > SETTLED_FOR_MAX {
            settled_for.pop_first();
        }
        self.settle_delivery(key.id, delivered, outcome, Said::OfOne);
        self.await_turns(key.id);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, caller};
    use crate::broker::{ConsumeRequest, DeclareRequest, GetOutcome, Progress, Publication};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);
    const OPERATOR: ConnectionId = ConnectionId(1);

    /// A queue `q` of `count` messages, and another one `r`.
    fn world(count: usize) -> (Broker<MemoryStore>, ChannelId) {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        testing::connect(&mut broker, OPERATOR);
        for name in [b"q", b"r"] {
            let arguments = FieldTable::default();
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        }
        let queues = [b"q", b"r"].map(|name| broker.existing_queue(testing::VHOST, name).unwrap());
        for _ in 0..count {
            let publication =
                Publication { content: testing::CONTENT, attributes: Default::default(), mandatory: false };
            broker.publish(channel, &publication, &queues, &mut Nobody);
        }
        (broker, channel)
    }

    fn consume(broker: &mut Broker<MemoryStore>, channel: ChannelId, queue: &[u8]) {
        let arguments = FieldTable::default();
        let request = ConsumeRequest { queue, consumer_tag: b"c", no_ack: false, exclusive: false, arguments };
        broker.consume(broker.caller(channel), request).unwrap();
        broker.pump(&mut Nobody);
    }

    fn list(broker: &Broker<MemoryStore>, most: usize) -> Vec<HeldMessage> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = broker.list_held(caller(broker, OPERATOR), b"q", after, most).unwrap();
            assert!(page.items.len() <= most);
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    #[test]
    fn a_queues_deliveries_are_found_among_those_of_others() {
        let (mut broker, channel) = world(3000);
        let other = broker.open_channel(CLIENT, 2);
        consume(&mut broker, channel, b"r");
        broker.set_consumer_prefetch(other, 2);
        consume(&mut broker, other, b"q");
        let got = broker.get(broker.caller(channel), b"q", false, &mut Nobody).unwrap();
        assert!(matches!(got, GetOutcome::Got(_)));
        for most in [1, 2, 100] {
            let held = list(&broker, most);
            let found: Vec<_> = held.iter().map(|held| (held.channel_number, held.delivery_tag)).collect();
            assert_eq!(found, [(1, 3001), (2, 1), (2, 2)], "in pages of {most}");
            assert_eq!([&held[0], &held[1]].map(|held| held.consumer_tag.clone()), [None, Some("c".into())]);
        }
        broker.close_channel(channel);
        assert_eq!(list(&broker, 1).len(), 2);
    }

    #[test]
    fn a_listing_looks_at_so_much_in_a_turn() {
        let (mut broker, channel) = world(2 * LOOKED_AT_MAX);
        consume(&mut broker, channel, b"r");
        let first = broker.list_held(caller(&broker, OPERATOR), b"q", None, 10).unwrap();
        assert!(first.items.is_empty() && first.next.is_some());
        assert!(list(&broker, 10).is_empty());
    }

    #[test]
    fn what_is_settled_for_its_holder_may_be_settled_by_it_once_more() {
        let (mut broker, channel) = world(4);
        consume(&mut broker, channel, b"q");
        let ids: Vec<HeldId> = list(&broker, 9).iter().map(|held| held.id).collect();
        let operator = caller(&broker, OPERATOR);
        broker.cancel(broker.caller(channel), b"c");
        assert!(broker.settle_held(operator, b"q", ids[0], Settlement::Requeued).unwrap());
        assert!(broker.settle_held(operator, b"q", ids[2], Settlement::Discarded).unwrap());
        assert!(!broker.settle_held(operator, b"q", ids[2], Settlement::Discarded).unwrap(), "it is settled");
        let before = HeldId { run: ids[1].run + 1, ..ids[1] };
        assert!(!broker.settle_held(operator, b"q", before, Settlement::Requeued).unwrap(), "said by another broker");
        assert!(!broker.settle_held(operator, b"r", ids[1], Settlement::Requeued).unwrap(), "it is not that queue's");
        let queue = broker.existing_queue(testing::VHOST, b"q").unwrap();
        assert_eq!((broker.queue(queue).backlog.len(), broker.queue(queue).ledger.unacknowledged()), (1, 2));
        // Its holder knows nothing of that.
        let settled = |broker: &mut Broker<_>, tag, multiple| {
            broker.settle(channel, tag, multiple, Settlement::Acknowledged).map_err(|error| error.code)
        };
        assert_eq!(settled(&mut broker, 1, false), Ok(Progress::Finished));
        assert_eq!(settled(&mut broker, 1, false), Err(ReplyCode::PreconditionFailed), "twice is too much");
        assert_eq!(settled(&mut broker, 3, true), Ok(Progress::Finished));
        assert_eq!(broker.queue(queue).ledger.unacknowledged(), 1);
        assert_eq!(settled(&mut broker, 4, false), Ok(Progress::Finished));
        broker.census();
    }

    #[test]
    fn ids_are_said_and_read() {
        let id = HeldId { run: 9, channel: ChannelKey { id: ChannelId(7), serial: 8 }, delivery_tag: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "1", "1-2", "1-2-3", "1-2-3-x", "1-2-3-4-5", "1-4294967296-1-1", "-1-1-1-1"] {
            assert_eq!(wrong.parse::<HeldId>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn how_long_something_is_held_is_known_once_a_sweep_came_by() {
        let (mut broker, channel) = world(1);
        broker.watch_ages();
        let wait = |broker: &mut Broker<_>, until_ms| {
            while let Some(due_ms) = broker.next_due_ms()
                && due_ms <= until_ms
            {
                broker.set_now(due_ms);
                broker.come_due(&mut Nobody);
            }
            broker.set_now(until_ms);
        };
        let held = |broker: &Broker<_>| {
            let held = &list(broker, 1)[0];
            (held.held_ms, held.held_at_most_ms)
        };
        wait(&mut broker, 33_000);
        consume(&mut broker, channel, b"q");
        assert_eq!(held(&broker), (None, 3_000), "a sweep came by at 30 s");
        wait(&mut broker, 39_000);
        assert_eq!(held(&broker), (None, 9_000));
        wait(&mut broker, 93_000);
        assert_eq!(held(&broker), (Some(53_000), 63_000), "and at 40 s");
    }
}
