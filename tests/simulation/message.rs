//! Messages with an identity: body and properties follow from a number, so that any change on the way shows.

use crate::random::Random;
use crate::wire::{Content, Table, Value, Writer};

/// Bodies from this size on carry the identity themselves; smaller ones leave it to the property message-id.
const IDENTITY_BYTES: usize = 8;

/// Headers with the routing keys of copies.
pub const COPIES: &str = "CC";
pub const BLIND_COPIES: &str = "BCC";

/// Bits of the property flags.
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const CONTENT_TYPE: u16 = 1 << 15;

#[derive(Debug)]
pub struct Message {
    pub id: u64,
    pub exchange: String,
    pub routing_key: String,
    pub mandatory: bool,
    pub persistent: bool,
    pub headers: Table,
    pub expiration_ms: Option<u64>,
    /// Flags and list, as published.
    pub properties: Vec<u8>,
    /// As delivered: without blind copies.
    pub delivered_properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// What a message is made of, beside its identity.
pub struct Draft {
    pub exchange: String,
    pub routing_key: String,
    pub mandatory: bool,
    pub persistent: bool,
    pub headers: Table,
    pub expiration_ms: Option<u64>,
    pub body_size: usize,
}

impl Message {
    pub fn new(id: u64, draft: Draft) -> Self {
        let Draft { exchange, routing_key, mandatory, persistent, headers, expiration_ms, body_size } = draft;
        let mut random = Random::new(id);
        let mut body: Vec<u8> = id.to_be_bytes().to_vec();
        while body.len() < body_size {
            body.extend(random.next().to_be_bytes());
        }
        body.truncate(body_size);
        let (mut flags, mut front) = (0, Writer::default());
        if random.percent(30) {
            flags |= CONTENT_TYPE;
            front = front.short("application/octet-stream");
        }
        if !headers.is_empty() {
            flags |= HEADERS;
        }
        let mut list = Writer::default();
        if persistent {
            flags |= DELIVERY_MODE;
            list = list.u8(2);
        }
        if random.percent(20) {
            flags |= PRIORITY;
            list = list.u8(random.below(10) as u8);
        }
        if random.percent(20) {
            flags |= CORRELATION_ID;
            list = list.short(&"c".repeat(random.below(200)));
        }
        if let Some(expiration_ms) = expiration_ms {
            flags |= EXPIRATION;
            list = list.short(&expiration_ms.to_string());
        }
        if body_size < IDENTITY_BYTES {
            flags |= MESSAGE_ID;
            list = list.short(&id.to_string());
        }
        let properties = |headers: &Table| {
            let start = Writer::default().u16(flags).bytes(&front.0);
            let middle = if flags & HEADERS != 0 { start.table(headers) } else { start };
            middle.bytes(&list.0).0
        };
        let seen: Table = headers.iter().filter(|(name, _)| *name != BLIND_COPIES).cloned().collect();
        let (properties, delivered_properties) = (properties(&headers), properties(&seen));
        Self {
            id,
            exchange,
            routing_key,
            mandatory,
            persistent,
            headers,
            expiration_ms,
            properties,
            delivered_properties,
            body,
        }
    }

    /// Its routing key and those of its copies.
    pub fn routing_keys(&self) -> Vec<&str> {
        let copies = self.headers.iter().filter(|(name, _)| [COPIES, BLIND_COPIES].contains(name));
        let copies = copies.flat_map(|(_, value)| match value {
            Value::Texts(keys) => &keys[..],
            other => unreachable!("keys of copies are texts, not {other:?}"),
        });
        std::iter::once(self.routing_key.as_str()).chain(copies.copied()).collect()
    }
}

/// What to call a content in a complaint: its identity as far as it can be told.
pub fn describe(content: &Content) -> String {
    let size = content.body.len();
    match content.body.first_chunk::<IDENTITY_BYTES>() {
        Some(identity) => format!("message {} ({size} bytes)", u64::from_be_bytes(*identity)),
        None => format!("message with properties {:?} ({size} bytes)", String::from_utf8_lossy(&content.properties)),
    }
}
