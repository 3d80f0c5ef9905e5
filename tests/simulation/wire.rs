//! The clients' own codec, written independently of Leveret's: what they send, and what they understand.

use crate::message::Message;
use std::rc::Rc;

/// Frame type, channel, size and end octet.
pub const FRAME_OVERHEAD: usize = 8;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(i32),
    Text(&'static str),
    Texts(Vec<&'static str>),
    Flag(bool),
    Table(Vec<(&'static str, Value)>),
}

pub type Table = Vec<(&'static str, Value)>;

#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn bits(self, bits: &[bool]) -> Self {
        let octet = bits.iter().enumerate().map(|(index, bit)| u8::from(*bit) << index).sum();
        self.u8(octet)
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn short(self, text: &str) -> Self {
        self.u8(text.len() as u8).bytes(text.as_bytes())
    }

    pub fn long(self, text: &[u8]) -> Self {
        self.u32(text.len() as u32).bytes(text)
    }

    pub fn table(self, table: &Table) -> Self {
        let mut fields = Writer::default();
        for (name, value) in table {
            fields = fields.short(name);
            fields = match value {
                Value::Number(number) => fields.u8(b'I').u32(*number as u32),
                Value::Text(text) => fields.u8(b'S').long(text.as_bytes()),
                Value::Texts(texts) => {
                    let each = texts.iter().fold(Writer::default(), |list, text| list.u8(b'S').long(text.as_bytes()));
                    fields.u8(b'A').long(&each.0)
                }
                Value::Flag(flag) => fields.u8(b't').u8(u8::from(*flag)),
                Value::Table(table) => fields.u8(b'F').table(table),
            };
        }
        self.long(&fields.0)
    }
}

fn frame(frame_type: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let frame = Writer(Vec::with_capacity(payload.len() + FRAME_OVERHEAD));
    frame.u8(frame_type).u16(channel).long(payload).u8(FRAME_END).0
}

pub fn method_frame(channel: u16, (class, method): (u16, u16), arguments: Writer) -> Vec<u8> {
    frame(METHOD, channel, &Writer::default().u16(class).u16(method).bytes(&arguments.0).0)
}

pub fn heartbeat_frame() -> Vec<u8> {
    frame(HEARTBEAT, 0, &[])
}

/// `basic.publish`, header and body frames of a message.
pub fn publish_frames(channel: u16, message: &Message, frame_max: usize) -> Vec<Vec<u8>> {
    let publish =
        Writer::default().u16(0).short(&message.exchange).short(&message.routing_key).bits(&[message.mandatory]);
    let mut frames = vec![method_frame(channel, (60, 40), publish)];
    frames.extend(content_frames(channel, &message.properties, &message.body, frame_max - FRAME_OVERHEAD));
    frames
}

/// Header and body frames of a content, with at most so much of the body in each.
pub fn content_frames(channel: u16, properties: &[u8], body: &[u8], part_max: usize) -> Vec<Vec<u8>> {
    let header = Writer::default().u16(60).u16(0).u64(body.len() as u64).bytes(properties);
    let parts = body.chunks(part_max).map(|part| frame(BODY, channel, part));
    std::iter::once(frame(HEADER, channel, &header.0)).chain(parts).collect()
}

/// A content as it came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub exchange: String,
    pub routing_key: String,
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

impl Content {
    /// Whether it is that message, to the last byte.
    pub fn is(&self, message: &Message) -> bool {
        self.exchange == message.exchange
            && self.routing_key == message.routing_key
            && self.properties == message.delivered_properties
            && self.body == message.body
    }
}

/// Answers to commands, in the order of the commands.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A method whose arguments say nothing.
    Plain(u16, u16),
    DeclareOk {
        name: String,
        messages: u32,
        consumers: u32,
    },
    /// purge-ok and delete-ok.
    Count(u16, u16, u32),
    ConsumeOk(String),
    CancelOk(String),
    GetOk {
        delivery_tag: u64,
        redelivered: bool,
        message_count: u32,
        content: Rc<Content>,
    },
    Return(Rc<Content>),
    /// Code and the method that failed.
    ChannelClose(u16, u16, u16),
    ConnectionClose(u16),
}

/// What a broker says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Reply(Reply),
    Deliver {
        consumer_tag: String,
        delivery_tag: u64,
        redelivered: bool,
        content: Rc<Content>,
    },
    Confirm {
        delivery_tag: u64,
        multiple: bool,
    },
    /// A publish was refused.
    Refused {
        delivery_tag: u64,
        multiple: bool,
    },
    Cancelled(String),
    Blocked,
    Unblocked,
    Heartbeat,
}

struct Reader<'a>(&'a [u8]);

type Parsed<T> = Result<T, String>;

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        if count > self.0.len() {
            return Err(format!("{count} bytes wanted, {} left", self.0.len()));
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, octets: usize) -> Parsed<u64> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }

    fn u16(&mut self) -> Parsed<u16> {
        Ok(self.number(2)? as u16)
    }

    fn u32(&mut self) -> Parsed<u32> {
        Ok(self.number(4)? as u32)
    }

    fn short(&mut self) -> Parsed<String> {
        let length = self.number(1)? as usize;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "a name that is not UTF-8".to_owned())
    }
}

/// An event, its channel, and how many bytes were read up to its end.
pub struct Heard {
    pub end: usize,
    pub channel: u16,
    pub event: Event,
}

/// Reads everything in `bytes`, which must end where a frame does.
pub fn parse_events(bytes: &[u8], frame_max: usize) -> Parsed<Vec<Heard>> {
    let mut events = Vec::new();
    let mut rest = Reader(bytes);
    while !rest.0.is_empty() {
        let (frame_type, channel, payload) = parse_frame(&mut rest, frame_max)?;
        let event = match frame_type {
            METHOD => parse_method(channel, payload, &mut rest, frame_max)?,
            HEARTBEAT if channel == 0 && payload.is_empty() => Event::Heartbeat,
            other => return Err(format!("a frame of type {other} out of place")),
        };
        events.push(Heard { end: bytes.len() - rest.0.len(), channel, event });
    }
    Ok(events)
}

fn parse_frame<'a>(rest: &mut Reader<'a>, frame_max: usize) -> Parsed<(u8, u16, &'a [u8])> {
    let (frame_type, channel) = (rest.number(1)? as u8, rest.u16()?);
    let size = rest.u32()? as usize;
    if size + FRAME_OVERHEAD > frame_max {
        return Err(format!("a frame of {size} bytes, with frame_max {frame_max}"));
    }
    let payload = rest.take(size)?;
    match rest.number(1)? as u8 {
        FRAME_END => Ok((frame_type, channel, payload)),
        other => Err(format!("a frame that ends with {other}")),
    }
}

/// Content header and body frames after a method on `channel`; this broker never interleaves them with others.
fn parse_content(
    channel: u16,
    (exchange, routing_key): (String, String),
    rest: &mut Reader<'_>,
    frame_max: usize,
) -> Parsed<Rc<Content>> {
    let (frame_type, header_channel, payload) = parse_frame(rest, frame_max)?;
    let mut header = Reader(payload);
    if (frame_type, header_channel, header.u16()?, header.u16()?) != (HEADER, channel, 60, 0) {
        return Err("no content header where one is due".to_owned());
    }
    let size = header.number(8)? as usize;
    let mut body = Vec::with_capacity(size);
    while body.len() < size {
        let (frame_type, body_channel, payload) = parse_frame(rest, frame_max)?;
        if (frame_type, body_channel) != (BODY, channel) || payload.is_empty() || body.len() + payload.len() > size {
            return Err("no body frame where one is due".to_owned());
        }
        body.extend(payload);
    }
    Ok(Rc::new(Content { exchange, routing_key, properties: header.0.to_vec(), body }))
}

fn parse_method(channel: u16, payload: &[u8], rest: &mut Reader<'_>, frame_max: usize) -> Parsed<Event> {
    let mut arguments = Reader(payload);
    let (class, method) = (arguments.u16()?, arguments.u16()?);
    let arguments = &mut arguments;
    let event = match (class, method) {
        (10, 10 | 30) => return Ok(Event::Reply(Reply::Plain(class, method))),
        (10, 41) => {
            arguments.short()?;
            Event::Reply(Reply::Plain(class, method))
        }
        (10, 50) => {
            let code = arguments.u16()?;
            arguments.short()?;
            arguments.u32()?;
            Event::Reply(Reply::ConnectionClose(code))
        }
        (10, 60) => {
            arguments.short()?;
            Event::Blocked
        }
        (10, 61) => Event::Unblocked,
        (20, 11) => {
            arguments.u32()?;
            Event::Reply(Reply::Plain(class, method))
        }
        (20, 40) => {
            let code = arguments.u16()?;
            arguments.short()?;
            Event::Reply(Reply::ChannelClose(code, arguments.u16()?, arguments.u16()?))
        }
        (50, 11) => Event::Reply(Reply::DeclareOk {
            name: arguments.short()?,
            messages: arguments.u32()?,
            consumers: arguments.u32()?,
        }),
        (50, 31 | 41) => Event::Reply(Reply::Count(class, method, arguments.u32()?)),
        (60, 21) => Event::Reply(Reply::ConsumeOk(arguments.short()?)),
        (60, 31) => Event::Reply(Reply::CancelOk(arguments.short()?)),
        (60, 30) => {
            let tag = arguments.short()?;
            arguments.number(1)?;
            Event::Cancelled(tag)
        }
        (60, 50) => {
            let code = (arguments.u16()?, arguments.short()?);
            if code != (312, "NO_ROUTE".to_owned()) {
                return Err(format!("returned with {code:?}"));
            }
            let address = (arguments.short()?, arguments.short()?);
            Event::Reply(Reply::Return(parse_content(channel, address, rest, frame_max)?))
        }
        (60, 60) => {
            let consumer_tag = arguments.short()?;
            let (delivery_tag, redelivered) = (arguments.number(8)?, arguments.number(1)? == 1);
            let address = (arguments.short()?, arguments.short()?);
            let content = parse_content(channel, address, rest, frame_max)?;
            Event::Deliver { consumer_tag, delivery_tag, redelivered, content }
        }
        (60, 71) => {
            let (delivery_tag, redelivered) = (arguments.number(8)?, arguments.number(1)? == 1);
            let address = (arguments.short()?, arguments.short()?);
            let message_count = arguments.u32()?;
            let content = parse_content(channel, address, rest, frame_max)?;
            Event::Reply(Reply::GetOk { delivery_tag, redelivered, message_count, content })
        }
        (60, 72) => {
            arguments.short()?;
            Event::Reply(Reply::Plain(class, method))
        }
        (60, 80) => Event::Confirm { delivery_tag: arguments.number(8)?, multiple: arguments.number(1)? == 1 },
        (60, 120) => Event::Refused { delivery_tag: arguments.number(8)?, multiple: arguments.number(1)? & 1 == 1 },
        (10, 51)
        | (20, 41)
        | (40, 11 | 21 | 31 | 51)
        | (50, 21 | 51)
        | (60, 11 | 111)
        | (85, 11)
        | (90, 11 | 21 | 31) => Event::Reply(Reply::Plain(class, method)),
        _ => return Err(format!("method {class}.{method}, which servers don't send")),
    };
    match arguments.0.len() {
        0 => Ok(event),
        left => Err(format!("{left} bytes behind the arguments of {class}.{method}")),
    }
}
