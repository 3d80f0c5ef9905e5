//! Messages with an identity: body and properties follow from a number, so that any change on the way shows.

use crate::random::Random;
use crate::wire::{Content, Table, Writer};

/// Bodies from this size on carry the identity themselves; smaller ones leave it to the property message-id.
const IDENTITY_BYTES: usize = 8;

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
    pub headers: Table,
    pub expiration_ms: Option<u64>,
    /// Flags and list.
    pub properties: Vec<u8>,
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
        let mut flags = 0;
        let mut list = Writer::default();
        if random.percent(30) {
            flags |= CONTENT_TYPE;
            list = list.short("application/octet-stream");
        }
        if !headers.is_empty() {
            flags |= HEADERS;
            list = list.table(&headers);
        }
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
        let properties = Writer::default().u16(flags).bytes(&list.0).0;
        Self { id, exchange, routing_key, mandatory, headers, expiration_ms, properties, body }
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
