//! What the fuzz targets share: pieces of a stream, frames, a hub with clients, and logs on a disk in memory.

pub mod log;
#[path = "../../tests/support/sim_disk.rs"]
pub mod sim_disk;

use leveret::broker::ConnectionId;
use leveret::broker::store::MemoryStore;
use leveret::config::{AuthMechanism, Config};
use leveret::protocol::Method;
use leveret::protocol::frame::{FRAME_END, PROTOCOL_HEADER};
use leveret::protocol::method::connection;
use leveret::server::{Hub, hub_settings};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};

/// Largest piece that a stream is split into, in bytes.
const PIECE_MAX: u32 = 64;

/// Largest frame of a client of ours.
pub const FRAME_MAX: u32 = 131_072;

/// Splits a stream: 0 not at all, 1 at every byte, anything else is the seed of pieces of many sizes.
pub fn pieces(how: u8, stream: &[u8]) -> Vec<&[u8]> {
    let mut state = u32::from(how);
    let mut rest = stream;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = match how {
            0 => rest.len(),
            1 => 1,
            _ => ((state >> 16) % PIECE_MAX + 1) as usize,
        };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// One frame of any type and payload.
pub fn frame(frame_type: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![frame_type];
    wire.extend_from_slice(&channel.to_be_bytes());
    wire.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    wire.extend_from_slice(payload);
    wire.push(FRAME_END);
    wire
}

/// Everything a client says up to an open virtual host.
pub fn handshake() -> Vec<u8> {
    handshake_with("PLAIN", b"\0guest\0guest", None)
}

/// The same for a client that is asked for its password.
pub fn challenged_handshake() -> Vec<u8> {
    handshake_with("RABBIT-CR-DEMO", b"guest", Some(b"My password is guest"))
}

fn handshake_with(mechanism: &str, response: &[u8], answer: Option<&[u8]>) -> Vec<u8> {
    let mut wire = PROTOCOL_HEADER.to_vec();
    let mechanism = mechanism.as_bytes();
    let start_ok = connection::StartOk { mechanism, response, locale: b"en_US", ..connection::StartOk::default() };
    Method::ConnectionStartOk(start_ok).encode_frame(0, &mut wire);
    if let Some(response) = answer {
        Method::ConnectionSecureOk(connection::SecureOk { response }).encode_frame(0, &mut wire);
    }
    let tune_ok = connection::TuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
    Method::ConnectionTuneOk(tune_ok).encode_frame(0, &mut wire);
    Method::ConnectionOpen(connection::Open { virtual_host: b"/" }).encode_frame(0, &mut wire);
    wire
}

/// A broker without sockets, and the time it believes in.
pub struct Broker {
    pub hub: Hub<MemoryStore>,
    now_ms: u64,
}

impl Default for Broker {
    fn default() -> Self {
        /// Few, so that no input takes long to clean up after.
        const QUEUES_MAX: usize = 64;
        /// Low, so that full outboxes are tried.
        const OUTBOX_HIGH_WATER_BYTES: usize = 4096;
        const MESSAGE_SIZE_MAX_BYTES: usize = 1 << 16;
        let mut config = Config::default();
        config.auth_mechanisms.push(AuthMechanism::RabbitCrDemo);
        config.limits.queues_max = QUEUES_MAX;
        config.limits.outbox_high_water_bytes = OUTBOX_HIGH_WATER_BYTES;
        config.limits.message_size_max_bytes = MESSAGE_SIZE_MAX_BYTES;
        config.limits.transaction_max_bytes = MESSAGE_SIZE_MAX_BYTES;
        Self { hub: Hub::new(hub_settings(&config, [7; 32], 0), MemoryStore::default(), 0), now_ms: 0 }
    }
}

impl Broker {
    pub fn connect(&mut self) -> ConnectionId {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.hub.connect(address(50_000), address(5672))
    }

    /// A client that is through the handshake.
    pub fn connect_and_open(&mut self) -> ConnectionId {
        let id = self.connect();
        self.receive(id, &handshake());
        assert!(self.take_outbox(id).ends_with(&frame(1, 0, &[0, 10, 0, 41, 0])), "open-ok ends the handshake");
        id
    }

    /// Hands bytes to a connection as the server does: behind what it kept of a frame, or straight into a large body.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let connection = self.hub.connection_mut(id);
        let mut rest = bytes;
        if let Some((body, remaining)) = connection.stream_target() {
            let count = remaining.min(rest.len());
            body.extend_from_slice(&rest[..count]);
            connection.note_streamed(count, self.now_ms);
            rest = &rest[count..];
        }
        let connection = self.hub.connection_mut(id);
        let mut buffer = vec![0; connection.partial_len()];
        connection.take_partial(&mut buffer);
        buffer.extend_from_slice(rest);
        self.hub.receive(id, &buffer);
    }

    /// Delivers what can be delivered.
    pub fn deliver(&mut self) {
        while self.hub.next_to_flush().is_some() {}
    }

    /// Sends everything that waits for a client.
    pub fn take_outbox(&mut self, id: ConnectionId) -> Vec<u8> {
        const SLICES: usize = 64;
        let mut taken = Vec::new();
        loop {
            self.deliver();
            let before = taken.len();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.hub.outboxes().get(id).io_slices(&mut slices);
            slices[..filled].iter().for_each(|slice| taken.extend_from_slice(slice));
            if taken.len() == before {
                return taken;
            }
            self.hub.sent(id, taken.len() - before);
        }
    }

    /// Lets time pass. Returns the connections whose time is up.
    pub fn pass(&mut self, milliseconds: u64) -> Vec<ConnectionId> {
        self.now_ms += milliseconds;
        self.hub.start_turn(self.now_ms).over
    }
}
