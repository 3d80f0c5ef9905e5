//! Limited queues against a model that is as obvious as can be: a list of what is ready, from which the first go.

use crate::broker::message::{Attributes, Content, NEVER};
use crate::broker::queue::{Behaviour, Overflow, QueueArguments, Wishes};
use crate::broker::store::MemoryStore;
use crate::broker::testing::{self, Nobody};
use crate::broker::{
    Broker, ChannelId, ConnectionId, DeclareRequest, Effects, GetOutcome, Publication, Recipient, Room, Settlement,
};
use crate::protocol::FieldTable;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CLIENT: ConnectionId = ConnectionId(0);
const QUEUE: &[u8] = b"q";
/// A header frame without properties; the body size is not looked at.
const HEADER_FRAME: &[u8; 22] = b"\x02\0\0\0\0\0\x0E\0\x3C\0\0\0\0\0\0\0\0\0\x08\0\0\xCE";

#[derive(Clone, Copy, Debug)]
struct Limit {
    length: Option<u64>,
    bytes: Option<u64>,
    overflow: Overflow,
}

impl Limit {
    fn wishes(self) -> Wishes {
        let Self { length, bytes, overflow } = self;
        Wishes { max_length: length, max_length_bytes: bytes, overflow: Some(overflow), ..Wishes::default() }
    }

    fn is_kept(self, messages: u64, bytes: u64) -> bool {
        self.length.is_none_or(|most| messages <= most) && self.bytes.is_none_or(|most| bytes <= most)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        body_bytes: u8,
        expires_in_ms: Option<u64>,
    },
    Get {
        no_ack: bool,
    },
    /// One of those that are held, or all up to it.
    Settle {
        which: prop::sample::Index,
        multiple: bool,
        outcome: Settlement,
    },
    Purge,
    Wait(u64),
    Limit(Limit),
}

fn limits() -> impl Strategy<Value = Limit> {
    let overflow =
        prop_oneof![Just(Overflow::DropHead), Just(Overflow::RejectPublish), Just(Overflow::RejectPublishDlx)];
    (prop::option::of(0..5_u64), prop::option::of(0..12_u64), overflow).prop_map(|(length, bytes, overflow)| Limit {
        length,
        bytes,
        overflow,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![1 => Just(Settlement::Acknowledged), 1 => Just(Settlement::Discarded), 4 => Just(Settlement::Requeued)];
    let settle = (any::<prop::sample::Index>(), any::<bool>(), outcome);
    let step = prop_oneof![
        8 => (0..6_u8, prop::option::of(1..4_u64)).prop_map(|(body_bytes, expires_in_ms)| Step::Publish { body_bytes, expires_in_ms }),
        3 => any::<bool>().prop_map(|no_ack| Step::Get { no_ack }),
        3 => settle.prop_map(|(which, multiple, outcome)| Step::Settle { which, multiple, outcome }),
        1 => Just(Step::Purge),
        1 => (1..3_u64).prop_map(Step::Wait),
        1 => limits().prop_map(Step::Limit),
    ];
    prop::collection::vec(step, 1..80)
}

/// What publishers heard: by tag, whether it was refused.
#[derive(Default)]
struct Heard(BTreeMap<u64, bool>);

impl Heard {
    fn hear(&mut self, delivery_tag: u64, multiple: bool, refused: bool) {
        let first = if multiple { self.0.last_key_value().map_or(1, |(tag, _)| tag + 1) } else { delivery_tag };
        (first..=delivery_tag).for_each(|tag| assert_eq!(self.0.insert(tag, refused), None, "tag {tag}, once"));
    }
}

impl Effects for Heard {
    fn deliver(&mut self, _: Recipient<'_>, _: u64, _: bool, _: &Content<'_>) -> Room {
        unreachable!("nobody consumes")
    }
    fn return_unroutable(&mut self, _: ConnectionId, _: u16, _: &Content<'_>) {
        unreachable!("everything has a route")
    }
    fn confirm(&mut self, _: ConnectionId, _: u16, delivery_tag: u64, multiple: bool) {
        self.hear(delivery_tag, multiple, false);
    }
    fn reject(&mut self, _: ConnectionId, _: u16, delivery_tag: u64, multiple: bool) {
        self.hear(delivery_tag, multiple, true);
    }
    fn cancel_consumer(&mut self, _: Recipient<'_>) {}
}

#[derive(Clone, Copy, Debug)]
struct Message {
    body_bytes: u64,
    expires_at_ms: u64,
}

/// By their numbers: messages in the order in which they were published.
#[derive(Default)]
struct Model {
    limit: Option<Limit>,
    ready: BTreeMap<u64, Message>,
    /// By delivery tag.
    held: BTreeMap<u64, (u64, Message)>,
    refused: BTreeMap<u64, bool>,
    now_ms: u64,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.ready.values().map(|message| message.body_bytes).sum()
    }

    fn drop_overflow(&mut self) {
        let Some(limit) = self.limit.filter(|limit| limit.overflow == Overflow::DropHead) else { return };
        while !limit.is_kept(self.ready.len() as u64, self.bytes()) {
            self.ready.pop_first();
        }
    }

    fn drop_expired(&mut self) {
        while self.ready.first_key_value().is_some_and(|(_, message)| message.expires_at_ms <= self.now_ms) {
            self.ready.pop_first();
        }
    }

    fn publish(&mut self, number: u64, message: Message) {
        let with_it = (self.ready.len() as u64 + 1, self.bytes() + message.body_bytes);
        let refuses = self
            .limit
            .is_some_and(|limit| limit.overflow != Overflow::DropHead && !limit.is_kept(with_it.0, with_it.1));
        self.refused.insert(number, refuses);
        if !refuses {
            self.ready.insert(number, message);
            self.drop_overflow();
        }
    }

    fn settle(&mut self, delivery_tag: u64, multiple: bool, outcome: Settlement) {
        let first = if multiple { 0 } else { delivery_tag };
        let tags: Vec<u64> = self.held.range(first..=delivery_tag).map(|(tag, _)| *tag).collect();
        for tag in tags {
            let (number, message) = self.held.remove(&tag).unwrap();
            if outcome == Settlement::Requeued {
                self.ready.insert(number, message);
                self.drop_overflow();
            }
        }
    }
}

struct Play {
    broker: Broker<MemoryStore>,
    channel: ChannelId,
    heard: Heard,
    model: Model,
}

impl Play {
    fn new() -> Self {
        let mut broker = testing::broker();
        let channel = testing::connect(&mut broker, CLIENT);
        let arguments = FieldTable::default();
        let request = DeclareRequest { name: QUEUE, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(broker.caller(channel), request, &mut Nobody).unwrap();
        broker.select_confirms(channel).unwrap();
        Self { broker, channel, heard: Heard::default(), model: Model::default() }
    }

    fn publish(&mut self, body_bytes: u8, expires_in_ms: Option<u64>) {
        let number = self.model.refused.len() as u64 + 1;
        let key = number.to_string();
        let address = [b"\0", &[key.len() as u8][..], key.as_bytes(), b"\xCE"].concat();
        let body = vec![7; usize::from(body_bytes)];
        let mut frames = HEADER_FRAME.to_vec();
        if body_bytes > 0 {
            frames.extend([&b"\x03\0\0\0\0\0"[..], &[body_bytes], &body, b"\xCE"].concat());
        }
        let content =
            Content { address: &address, frames: &frames, header_frame_length: HEADER_FRAME.len(), shared_body: None };
        let attributes = Attributes { expiration_ms: expires_in_ms, ..Attributes::default() };
        let queue = self.broker.existing_queue(testing::VHOST, QUEUE).unwrap();
        let publication = Publication { content, attributes, mandatory: false };
        self.broker.publish(self.channel, &publication, &[queue], &mut self.heard);
        let expires_at_ms = expires_in_ms.map_or(NEVER, |after_ms| self.model.now_ms + after_ms);
        self.model.publish(number, Message { body_bytes: u64::from(body_bytes), expires_at_ms });
    }

    fn get(&mut self, no_ack: bool) -> Result<(), TestCaseError> {
        let got = self.broker.get(self.broker.caller(self.channel), QUEUE, no_ack, &mut self.heard).unwrap();
        let expected = self.model.ready.pop_first();
        match got {
            GetOutcome::Got(got) => {
                let number: u64 = std::str::from_utf8(got.message.content().routing_key()).unwrap().parse().unwrap();
                prop_assert_eq!(Some(number), expected.map(|(number, _)| number));
                if !no_ack {
                    self.model.held.extend(expected.map(|message| (got.delivery_tag, message)));
                }
            }
            _ => prop_assert!(expected.is_none(), "{expected:?} is not there"),
        }
        Ok(())
    }

    fn limit(&mut self, limit: Limit) {
        let queue = self.broker.existing_queue(testing::VHOST, QUEUE).unwrap();
        let behaviour = Behaviour::of(&QueueArguments::default(), &limit.wishes(), &Wishes::default());
        self.broker.queue_mut(queue).behaviour = behaviour;
        self.broker.apply_behaviour(queue);
        self.model.limit = Some(limit);
        self.model.drop_overflow();
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish { body_bytes, expires_in_ms } => self.publish(body_bytes, expires_in_ms),
            Step::Get { no_ack } => self.get(no_ack)?,
            Step::Settle { which, multiple, outcome } => {
                let tags: Vec<u64> = self.model.held.keys().copied().collect();
                if !tags.is_empty() {
                    let tag = *which.get(&tags);
                    self.broker.settle(self.channel, tag, multiple, outcome).unwrap();
                    self.model.settle(tag, multiple, outcome);
                }
            }
            Step::Purge => {
                let length = self.model.ready.len() as u32;
                let purged = self.broker.purge_queue(self.broker.caller(self.channel), QUEUE, &mut self.heard);
                prop_assert_eq!(purged.unwrap().value, length);
                self.model.ready.clear();
            }
            Step::Wait(ms) => {
                self.model.now_ms += ms;
                self.broker.set_now(self.model.now_ms);
            }
            Step::Limit(limit) => self.limit(limit),
        }
        while self.broker.has_touched() {
            self.broker.pump(&mut self.heard);
        }
        self.broker.come_due(&mut self.heard);
        self.model.drop_expired();
        self.broker.flush_confirms(&mut self.heard);
        self.broker.census();
        let queue = self.broker.existing_queue(testing::VHOST, QUEUE).unwrap();
        let queue = self.broker.queue(queue);
        prop_assert_eq!(queue.backlog.len(), self.model.ready.len());
        if queue.behaviour.limits.is_some_and(|limits| limits.bytes.is_some()) {
            prop_assert_eq!(queue.backlog.body_bytes(), self.model.bytes());
        }
        prop_assert_eq!(&self.heard.0, &self.model.refused);
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_limited_queue_is_the_list_from_which_the_first_go(limit in limits(), steps in steps()) {
        let mut play = Play::new();
        play.limit(limit);
        for step in steps {
            play.step(step)?;
        }
        while !play.model.ready.is_empty() {
            play.step(Step::Get { no_ack: true })?;
        }
        play.get(true)?;
    }
}
