//! Messages that prove who they are: the message_id says which one it is, and the body follows from that, byte for byte.

use crate::node::{PATIENCE, depth};
use crate::random::Random;
use crate::support::client::{Client, Event, FRAME_MAX, encode, put_frame};
use crate::support::notation::{Arguments, words};
use crate::support::properties;

pub const BODY_MAX_BYTES: usize = 200 << 10;

/// Ordered by publisher, then as published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Message {
    pub publisher: u32,
    pub number: u32,
    pub length: usize,
}

impl Message {
    fn id(&self) -> String {
        format!("{}.{}.{}", self.publisher, self.number, self.length)
    }

    pub fn body(&self) -> Vec<u8> {
        let mut random = Random::new(u64::from(self.publisher) << 32 | u64::from(self.number));
        let mut body = Vec::with_capacity(self.length + 8);
        while body.len() < self.length {
            body.extend(random.next().to_le_bytes());
        }
        body.truncate(self.length);
        body
    }

    /// The frames of its publishing on channel 1.
    pub fn publish(&self, target: &str, delivery_mode: u8) -> Vec<u8> {
        self.publish_with(target, delivery_mode, "")
    }

    /// And with more properties.
    pub fn publish_with(&self, target: &str, delivery_mode: u8, properties: &str) -> Vec<u8> {
        let mut frames = encode(1, &format!("basic.publish {target}"), FRAME_MAX);
        let with = format!("delivery_mode={delivery_mode} message_id='{}' {properties}", self.id());
        let mut with = Arguments::parse(&words(&with));
        put_frame(&mut frames, 2, 1, &properties::encode(self.length as u64, &mut with));
        self.body().chunks(FRAME_MAX - 8).for_each(|chunk| put_frame(&mut frames, 3, 1, chunk));
        frames
    }

    /// The message that a content header names, if the body is its own.
    fn recognise(header: &str, body: &[u8]) -> Self {
        let id = header.split_once("message_id='").and_then(|(_, rest)| rest.split_once('\''));
        let (id, _) = id.unwrap_or_else(|| panic!("a message that nobody published: {header}"));
        let mut numbers = id.split('.').map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        let message = Self { publisher: next(), number: next(), length: next() as usize };
        assert!(body == message.body(), "the body of message {id} is not what was published ({} bytes)", body.len());
        message
    }
}

/// A message as it came out of a queue.
pub struct Delivery {
    pub message: Message,
    pub delivery_tag: u64,
    pub redelivered: bool,
}

/// The next delivery on channel 1; `None` when the broker is gone.
pub fn next_delivery(client: &mut Client) -> Option<Delivery> {
    let method = match client.next(1, PATIENCE) {
        Event::Method(method) if ["basic.deliver", "basic.get-ok"].contains(&method.name) => method,
        Event::Method(method) => panic!("{} and not a delivery", method.render()),
        Event::Closed => return None,
        _ => panic!("no delivery came"),
    };
    let header = match client.next(1, PATIENCE) {
        Event::Header(header) => header,
        Event::Closed => return None,
        _ => panic!("a delivery without a header"),
    };
    let mut body = Vec::new();
    while (body.len() as u64) < header.body_size {
        match client.next(1, PATIENCE) {
            Event::Body(part) => body.extend(part),
            Event::Closed => return None,
            _ => panic!("a delivery without its whole body"),
        }
    }
    Some(Delivery {
        message: Message::recognise(header.render(), &body),
        delivery_tag: method.field("delivery_tag").parse().expect("a number"),
        redelivered: method.field("redelivered") == "true",
    })
}

/// Takes all that is ready in a queue, without acknowledging it.
pub fn take_all(client: &mut Client, queue: &str) -> Vec<Delivery> {
    let count = depth(client, queue).unwrap_or_else(|| panic!("there is no queue {queue}"));
    client.send(&format!("basic.consume queue={queue} consumer_tag=all"));
    client.expects("basic.consume-ok(consumer_tag='all')");
    let taken = (0..count).map(|_| next_delivery(client).expect("a running broker")).collect();
    assert_eq!(depth(client, queue), Some(0), "of {queue} after as many deliveries as there were messages");
    taken
}
