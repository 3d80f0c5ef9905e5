//! Messages of this world, and what can be read off those that come back: identity, deaths, and how often they returned.

use crate::wire::{Content, FRAME_OVERHEAD, Writer, content_frames, method_frame};
use std::fmt;

const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const EXPIRATION: u16 = 1 << 8;

/// What is published.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: u64,
    pub exchange: &'static str,
    pub routing_key: String,
    pub persistent: bool,
    pub priority: u8,
    pub expiration_ms: Option<u64>,
    /// `x-delay`, in milliseconds.
    pub delay_ms: Option<u32>,
    /// `x-deduplication-header`
    pub value: Option<u8>,
    /// `x-cache-ttl`, in milliseconds.
    pub remembered_ms: Option<u32>,
    pub body_bytes: usize,
}

impl Draft {
    /// A message to see whether one of that value came to an exchange before.
    pub fn probe(exchange: &'static str, value: u8) -> Self {
        Self {
            id: value.into(),
            exchange,
            routing_key: String::new(),
            persistent: false,
            priority: 0,
            expiration_ms: None,
            delay_ms: None,
            value: Some(value),
            remembered_ms: None,
            body_bytes: 0,
        }
    }

    pub fn frames(&self, channel: u16) -> Vec<u8> {
        let Self { id, exchange, routing_key, persistent, priority, expiration_ms, body_bytes, .. } = self;
        let publish = Writer::default().u16(0).short(exchange).short(routing_key).u8(0);
        let mut flags = PRIORITY;
        let mut list = Writer::default();
        let mut headers = Writer::default();
        if let Some(value) = self.value {
            headers = headers.short("x-deduplication-header").u8(b'S').long(&[b'v', value]);
        }
        for (name, number) in [("x-delay", self.delay_ms), ("x-cache-ttl", self.remembered_ms)] {
            headers = number.into_iter().fold(headers, |headers, number| headers.short(name).u8(b'I').u32(number));
        }
        if !headers.0.is_empty() {
            flags |= HEADERS;
            list = list.long(&headers.0);
        }
        if *persistent {
            flags |= DELIVERY_MODE;
            list = list.u8(2);
        }
        list = list.u8(*priority);
        if let Some(expiration_ms) = expiration_ms {
            flags |= EXPIRATION;
            list = list.short(&expiration_ms.to_string());
        }
        let properties = Writer::default().u16(flags).bytes(&list.0).0;
        let mut body = id.to_be_bytes().to_vec();
        body.resize((*body_bytes).max(body.len()), 7);
        let mut frames = method_frame(channel, (60, 40), publish);
        frames.extend(content_frames(channel, &properties, &body, 4096 - FRAME_OVERHEAD).concat());
        frames
    }
}

/// An entry of `x-death`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    pub queue: String,
    pub reason: String,
    pub count: u64,
    /// How it came to that queue.
    pub exchange: String,
    pub routing_key: String,
}

/// What identifies a message and its history.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: u64,
    pub exchange: String,
    pub routing_key: String,
    /// The newest first.
    pub deaths: Vec<Death>,
    /// Reason, queue and exchange of the first and the last one, as the headers beside `x-death` have them.
    pub ends: [Option<[String; 3]>; 2],
    /// `x-delivery-count`
    pub returns: Option<u64>,
    pub has_expiration: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, exchange, routing_key, deaths, ends, returns, has_expiration } = self;
        write!(f, "message {id} by '{exchange}' with '{routing_key}'")?;
        for Death { queue, reason, count, .. } in deaths {
            write!(f, ", {reason} in {queue} {count}×")?;
        }
        if let [Some(first), Some(last)] = ends {
            write!(f, ", first {}, last {}", first.join(" "), last.join(" "))?;
        }
        write!(f, ", returned {returns:?}, expires {has_expiration}")
    }
}

enum Field {
    Number(u64),
    Text(String),
    Array(Vec<Field>),
    Table(Vec<(String, Field)>),
    Other,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, octets: usize) -> Option<u64> {
        Some(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    fn short(&mut self) -> Option<String> {
        let length = self.number(1)? as usize;
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn table(&mut self) -> Option<Vec<(String, Field)>> {
        let length = self.number(4)? as usize;
        let mut inside = Reader(self.take(length)?);
        let mut fields = Vec::new();
        while !inside.0.is_empty() {
            fields.push((inside.short()?, inside.field()?));
        }
        Some(fields)
    }

    fn field(&mut self) -> Option<Field> {
        Some(match self.number(1)? as u8 {
            b'l' | b'T' => Field::Number(self.number(8)?),
            b'I' => Field::Number(u64::from(self.number(4)? as u32)),
            b's' => Field::Number(self.number(2)?),
            b'b' | b't' => Field::Number(self.number(1)?),
            b'S' => {
                let length = self.number(4)? as usize;
                Field::Text(String::from_utf8_lossy(self.take(length)?).into_owned())
            }
            b'A' => {
                let length = self.number(4)? as usize;
                let mut inside = Reader(self.take(length)?);
                let mut fields = Vec::new();
                while !inside.0.is_empty() {
                    fields.push(inside.field()?);
                }
                Field::Array(fields)
            }
            b'F' => Field::Table(self.table()?),
            b'V' => Field::Other,
            _ => return None,
        })
    }
}

/// What of a content is compared; a complaint for what can't be read.
pub fn seen(content: &Content) -> Result<Seen, String> {
    let id = content.body.first_chunk().map(|id| u64::from_be_bytes(*id)).ok_or("a body without an identity")?;
    let mut reader = Reader(&content.properties);
    let unreadable = || format!("the properties of message {id} are no properties");
    let flags = reader.number(2).ok_or_else(unreadable)? as u16;
    let headers = if flags & HEADERS != 0 { reader.table().ok_or_else(unreadable)? } else { Vec::new() };
    let named = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, field)| field);
    let deaths = match named("x-death") {
        None => Vec::new(),
        Some(Field::Array(deaths)) => deaths.iter().map(death).collect::<Option<_>>().ok_or_else(unreadable)?,
        Some(_) => return Err(unreadable()),
    };
    let ends = ["first", "last"].map(|which| {
        let texts = ["reason", "queue", "exchange"].map(|what| match named(&format!("x-{which}-death-{what}")) {
            Some(Field::Text(text)) => Some(text.clone()),
            _ => None,
        });
        let [Some(reason), Some(queue), Some(exchange)] = texts else { return None };
        Some([reason, queue, exchange])
    });
    let returns = match named("x-delivery-count") {
        Some(Field::Number(count)) => Some(*count),
        _ => None,
    };
    Ok(Seen {
        id,
        exchange: content.exchange.clone(),
        routing_key: content.routing_key.clone(),
        deaths,
        ends,
        returns,
        has_expiration: flags & EXPIRATION != 0,
    })
}

fn death(field: &Field) -> Option<Death> {
    let Field::Table(fields) = field else { return None };
    let named = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, field)| field);
    let text = |field: Option<&Field>| match field {
        Some(Field::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let (Some(Field::Number(count)), Some(Field::Array(keys))) = (named("count"), named("routing-keys")) else {
        return None;
    };
    Some(Death {
        queue: text(named("queue"))?,
        reason: text(named("reason"))?,
        count: *count,
        exchange: text(named("exchange"))?,
        routing_key: text(keys.first())?,
    })
}
