//! The turn of the loop without sockets: clients whose bytes are handed to a hub as the server hands them, and whose
//! outboxes take whatever there is.
//!
//! Shared by the benches `turn` and `guard` and the test `allocations`. It allocates nothing in a turn that has nothing
//! to keep.

use leveret::broker::ConnectionId;
use leveret::broker::store::{MemoryStore, Store};
use leveret::config::Config;
use leveret::protocol::frame::{PROTOCOL_HEADER, write_body_frame};
use leveret::protocol::method::{basic, channel, connection};
use leveret::protocol::properties::BASIC_CLASS_ID;
use leveret::protocol::{ContentHeader, FieldTable, Method};
use leveret::server::{Hub, MayRead, hub_settings, quick_founding};
use leveret::storage::{BatchDone, LogStore, Written};
use std::net::{Ipv4Addr, SocketAddr};

/// The channel that every client opens.
const CHANNEL: u16 = 1;
/// What one receive brings at most, in bytes.
const READ_BUDGET_BYTES: usize = 128 * 1024;

/// A store whose writer does its part at once.
pub trait Log: Store {
    /// Writes everything that was appended, as far as anybody can see.
    fn write(&mut self);
}

impl Log for MemoryStore {
    fn write(&mut self) {}
}

/// The loop's half of the log; the disk is imagined.
impl Log for LogStore {
    fn write(&mut self) {
        while let Some(batch) = self.take_batch(0) {
            let last = batch.last_position();
            let result = Ok(Written { written: last, synced: last });
            self.batch_done(BatchDone { result, recycled: Some(batch.buffer) }).expect("nothing fails in memory");
        }
    }
}

pub struct Loop<S: Log = MemoryStore> {
    pub hub: Hub<S>,
    /// Where a frame's kept beginning meets the bytes that follow it.
    joined: Vec<u8>,
    /// Bytes taken from each client's outbox.
    sent: Vec<usize>,
    /// When the next turn is.
    pub now_ms: u64,
    /// As whom clients log in, as PLAIN has it, and where.
    pub login: &'static [u8],
    pub virtual_host: &'static [u8],
    /// What clients say of themselves.
    pub client_properties: FieldTable,
}

impl Loop {
    pub fn new() -> Self {
        Self::with_store(MemoryStore::default())
    }
}

impl<S: Log> Loop<S> {
    pub fn with_store(store: S) -> Self {
        let config = Config::default();
        let hub = Hub::founded(hub_settings(&config, [0; 32], 0), store, 0, quick_founding(&config));
        Self {
            hub,
            joined: Vec::new(),
            sent: Vec::new(),
            now_ms: 0,
            login: b"\0guest\0guest",
            virtual_host: b"/",
            client_properties: FieldTable::default(),
        }
    }

    /// A client with one open channel, on which it called these methods.
    pub fn client(&mut self, methods: &[Method<'_>]) -> ConnectionId {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let id = self.hub.connect(address(50_000), address(5672));
        self.sent.push(0);
        let mut wire = PROTOCOL_HEADER.to_vec();
        let client_properties = self.client_properties.clone();
        let start_ok = connection::StartOk {
            client_properties,
            mechanism: b"PLAIN",
            response: self.login,
            ..connection::StartOk::default()
        };
        Method::ConnectionStartOk(start_ok).encode_frame(0, &mut wire);
        let tune_ok = connection::TuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 0 };
        Method::ConnectionTuneOk(tune_ok).encode_frame(0, &mut wire);
        Method::ConnectionOpen(connection::Open { virtual_host: self.virtual_host }).encode_frame(0, &mut wire);
        Method::ChannelOpen(channel::Open).encode_frame(CHANNEL, &mut wire);
        methods.iter().for_each(|method| method.encode_frame(CHANNEL, &mut wire));
        self.turn(id, &wire);
        assert_eq!(
            self.hub.connections().get(id).map(|connection| connection.channel_count()),
            Some(1),
            "its channel is open"
        );
        id
    }

    /// One turn in which one client sent these bytes. All clients get what is for them.
    pub fn turn(&mut self, id: ConnectionId, wire: &[u8]) {
        for received in wire.chunks(READ_BUDGET_BYTES) {
            assert!(self.hub.start_turn(self.now_ms).over.is_empty());
            assert_eq!(self.hub.may_read(id), MayRead::Now);
            self.receive(id, received);
            self.hub.broker_mut().store_mut().write();
            self.pump_and_flush();
            assert!(!self.hub.update_alarm(self.hub.condition().resources));
            self.hub.end_turn(self.now_ms * 1000, self.now_ms * 1000);
        }
    }

    fn receive(&mut self, id: ConnectionId, mut received: &[u8]) {
        let connection = self.hub.connection_mut(id);
        if let Some((body, remaining)) = connection.stream_target() {
            let count = received.len().min(remaining);
            body.extend_from_slice(&received[..count]);
            received = &received[count..];
            connection.note_streamed(count, 0);
        }
        let connection = self.hub.connection_mut(id);
        if connection.partial_len() == 0 {
            return self.hub.receive(id, received);
        }
        self.joined.resize(connection.partial_len(), 0);
        connection.take_partial(&mut self.joined);
        self.joined.extend_from_slice(received);
        self.hub.receive(id, &self.joined);
    }

    fn pump_and_flush(&mut self) {
        while let Some(id) = self.hub.next_to_flush() {
            let waiting = self.hub.outboxes().get(id).len();
            self.sent[id.0 as usize] += waiting;
            self.hub.sent(id, waiting);
        }
    }

    /// Bytes that a client was sent since this was last asked.
    pub fn take_sent(&mut self, id: ConnectionId) -> usize {
        std::mem::take(&mut self.sent[id.0 as usize])
    }

    pub fn totals(&self) -> leveret::broker::Totals {
        *self.hub.broker().totals()
    }
}

/// Publishes of `body_size` bytes without properties, one for each of the routing keys.
pub fn publishes<'a>(exchange: &[u8], routing_keys: impl IntoIterator<Item = &'a [u8]>, body_size: usize) -> Vec<u8> {
    publishes_with(exchange, routing_keys, body_size, &[0, 0])
}

/// And with properties, their flags before them.
pub fn publishes_with<'a>(
    exchange: &[u8],
    routing_keys: impl IntoIterator<Item = &'a [u8]>,
    body_size: usize,
    properties: &[u8],
) -> Vec<u8> {
    /// Largest body frame, in bytes.
    const BODY_FRAME_MAX: usize = 131_072 - 8;
    let mut wire = Vec::new();
    let body = vec![b'.'; body_size];
    for routing_key in routing_keys {
        let publish = basic::Publish { exchange, routing_key, ..basic::Publish::default() };
        Method::BasicPublish(publish).encode_frame(CHANNEL, &mut wire);
        let header = ContentHeader { class_id: BASIC_CLASS_ID, weight: 0, body_size: body_size as u64, properties };
        header.encode_frame(CHANNEL, &mut wire);
        body.chunks(BODY_FRAME_MAX).for_each(|part| write_body_frame(&mut wire, CHANNEL, part));
    }
    wire
}

/// Acknowledges `count` deliveries after the first `before` ones, `every` at a time; what is written replaces `wire`.
pub fn acknowledge(wire: &mut Vec<u8>, before: u64, count: u64, every: u64) {
    wire.clear();
    for delivery_tag in (before + every..=before + count).step_by(every as usize) {
        Method::BasicAck(basic::Ack { delivery_tag, multiple: every > 1 }).encode_frame(CHANNEL, wire);
    }
}
