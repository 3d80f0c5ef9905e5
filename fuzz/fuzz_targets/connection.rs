//! A client that sends anything: the broker never panics, sends it nothing but whole frames, forgets it when it is gone,
//! and a bystander's messages go through as if nobody else were there.
//!
//! Input: one octet for the kind of client, one that chooses the pieces, then
//! - kind 0: the stream from the first byte on,
//! - kind 1: the stream after a handshake,
//! - kind 2: steps after a handshake, each of three octets and a payload: see [`Step`].
#![no_main]

use leveret::broker::ConnectionId;
use leveret::broker::memory::message_memory_bytes;
use leveret::broker::snapshot::PageStart;
use leveret::connection::Phase;
use leveret::protocol::frame::{FrameType, PROTOCOL_HEADER, parse_frame};
use leveret::protocol::method::{basic, channel, queue};
use leveret::protocol::properties::BASIC_CLASS_ID;
use leveret::protocol::{ContentHeader, Method};
use leveret_fuzz::{Broker, frame, pieces};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

const BYSTANDER_QUEUE: &[u8] = b"bystander";
const BYSTANDER_BODY: &[u8] = b"all is well";

/// What a client of kind 2 does next: an octet for what, two whose meaning depends on it, and for some a payload.
enum Step<'a> {
    /// `T`: the time of two octets passes, in steps of 16 ms.
    Pass { milliseconds: u64 },
    /// `O`: what waits for the client is sent.
    TakeOutbox,
    /// `B`: a body frame on a channel, of so many times 256 octets.
    LargeBody { channel: u16, size: usize },
    /// Anything else: a frame of that type on a channel, with a payload of so many octets.
    Frame { frame_type: u8, channel: u16, payload: &'a [u8] },
}

fn next_step<'a>(script: &mut &'a [u8]) -> Option<Step<'a>> {
    let (&[what, first, second], rest) = script.split_first_chunk()?;
    *script = rest;
    let channel = u16::from(first);
    Some(match what {
        b'T' => Step::Pass { milliseconds: u64::from(u16::from_be_bytes([first, second])) * 16 },
        b'O' => Step::TakeOutbox,
        b'B' => Step::LargeBody { channel, size: usize::from(second) * 256 },
        frame_type => {
            let (payload, rest) = rest.split_at(usize::from(second).min(rest.len()));
            *script = rest;
            Step::Frame { frame_type, channel, payload }
        }
    })
}

/// Checks what the broker sends: whole frames, methods that decode, and content of the announced size after its method.
struct Listener {
    frame_max: u32,
    /// Octets of body still to come, or None for a content header, by channel.
    content: HashMap<u16, Option<u64>>,
}

impl Listener {
    fn new(frame_max: u32) -> Self {
        Self { frame_max, content: HashMap::new() }
    }

    fn hear(&mut self, mut wire: &[u8]) {
        while !wire.is_empty() {
            if wire == PROTOCOL_HEADER {
                return;
            }
            let frame = parse_frame(wire, self.frame_max).expect("a frame").expect("a whole frame");
            // A content header goes out as it came, in a frame that may have been eight octets too large then.
            let is_cut = frame.frame_type != FrameType::Header;
            assert!(!is_cut || frame.wire_size() <= self.frame_max as usize, "no larger than the client takes");
            wire = &wire[frame.wire_size()..];
            match frame.frame_type {
                FrameType::Method => {
                    assert!(!self.content.contains_key(&frame.channel), "a method amid content");
                    match Method::decode(frame.payload).expect("a method") {
                        Method::BasicDeliver(_) | Method::BasicReturn(_) | Method::BasicGetOk(_) => {
                            self.content.insert(frame.channel, None);
                        }
                        _ => {}
                    }
                }
                FrameType::Header => {
                    let header = ContentHeader::parse(frame.payload).expect("a content header");
                    let before = self.content.insert(frame.channel, Some(header.body_size));
                    assert_eq!(before, Some(None), "a header after its method");
                    self.expect_body(frame.channel, 0);
                }
                FrameType::Body => self.expect_body(frame.channel, frame.payload.len() as u64),
                FrameType::Heartbeat => {}
            }
        }
    }

    fn expect_body(&mut self, channel: u16, size: u64) {
        let Some(Some(remaining)) = self.content.get_mut(&channel) else { panic!("a body without a header") };
        *remaining = remaining.checked_sub(size).expect("no more body than announced");
        if *remaining == 0 {
            self.content.remove(&channel);
        }
    }
}

fn take_and_check(broker: &mut Broker, id: ConnectionId, listener: &mut Listener) {
    if let Some(connection) = broker.hub.connections().get(id) {
        listener.frame_max = connection.tuning().1;
    }
    let wire = broker.take_outbox(id);
    listener.hear(&wire);
}

fn bystander(broker: &mut Broker) -> ConnectionId {
    let id = broker.connect_and_open();
    let mut wire = Vec::new();
    Method::ChannelOpen(channel::Open).encode_frame(1, &mut wire);
    let declare = queue::Declare { queue: BYSTANDER_QUEUE, exclusive: true, nowait: true, ..Default::default() };
    Method::QueueDeclare(declare).encode_frame(1, &mut wire);
    let consume = basic::Consume { queue: BYSTANDER_QUEUE, no_ack: true, nowait: true, ..Default::default() };
    Method::BasicConsume(consume).encode_frame(1, &mut wire);
    broker.receive(id, &wire);
    id
}

/// The bystander publishes to itself and gets what it published.
fn round_trip(broker: &mut Broker, bystander: ConnectionId) {
    broker.take_outbox(bystander);
    let mut wire = Vec::new();
    let publish = basic::Publish { routing_key: BYSTANDER_QUEUE, ..Default::default() };
    Method::BasicPublish(publish).encode_frame(1, &mut wire);
    let body_size = BYSTANDER_BODY.len() as u64;
    ContentHeader { class_id: BASIC_CLASS_ID, weight: 0, body_size, properties: &[0, 0] }.encode_frame(1, &mut wire);
    wire.extend(frame(FrameType::Body as u8, 1, BYSTANDER_BODY));
    broker.receive(bystander, &wire);
    let delivered = broker.take_outbox(bystander);
    assert!(delivered.ends_with(&frame(FrameType::Body as u8, 1, BYSTANDER_BODY)), "the bystander was not served");
    assert_eq!(broker.hub.connections().get(bystander).map(|connection| connection.phase()), Some(Phase::Running));
}

/// Deletes the queues that the client left behind.
fn clean_up(broker: &mut Broker, bystander: ConnectionId) {
    let mut left = Vec::new();
    let mut next = Some(PageStart::default());
    while let Some(from) = next {
        let page = broker.hub.broker().snapshot_queues(from);
        left.extend(page.items.into_iter().map(|queue| queue.name).filter(|name| **name != *BYSTANDER_QUEUE));
        next = page.next;
    }
    let mut wire = Vec::new();
    for queue in &left {
        Method::QueueDelete(queue::Delete { queue, nowait: true, ..Default::default() }).encode_frame(1, &mut wire);
    }
    broker.receive(bystander, &wire);
    broker.take_outbox(bystander);
}

/// Acts as the client until the script ends or the broker has enough of it.
fn act(broker: &mut Broker, client: ConnectionId, how: u8, mut script: &[u8], listener: &mut Listener) {
    while let Some(step) = next_step(&mut script) {
        let wire = match step {
            Step::Pass { milliseconds } => {
                if broker.pass(milliseconds).contains(&client) {
                    return;
                }
                continue;
            }
            Step::TakeOutbox => {
                take_and_check(broker, client, listener);
                continue;
            }
            Step::LargeBody { channel, size } => frame(FrameType::Body as u8, channel, &vec![b'x'; size]),
            Step::Frame { frame_type, channel, payload } => frame(frame_type, channel, payload),
        };
        for piece in pieces(how, &wire) {
            broker.receive(client, piece);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [kind, how, stream @ ..] = input else { return };
    {
        let mut broker = Broker::default();
        let bystander = bystander(&mut broker);
        let client = if kind % 3 == 0 { broker.connect() } else { broker.connect_and_open() };
        let mut listener = Listener::new(leveret_fuzz::FRAME_MAX);
        if kind % 3 == 2 {
            act(&mut broker, client, *how, stream, &mut listener);
        } else {
            for piece in pieces(*how, stream) {
                broker.receive(client, piece);
                broker.deliver();
            }
        }
        take_and_check(&mut broker, client, &mut listener);
        round_trip(&mut broker, bystander);
        broker.hub.disconnect(client);
        round_trip(&mut broker, bystander);
        clean_up(&mut broker, bystander);
        assert_eq!(message_memory_bytes(), 0, "messages of a client that is gone");
        broker.hub.disconnect(bystander);
    }
    assert_eq!(message_memory_bytes(), 0);
});
