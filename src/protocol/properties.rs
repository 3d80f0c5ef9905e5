//! The content header and the properties of a message.
//!
//! ```text
//! flags   15 14 13 12 11 10  9  8  7  6  5  4  3  2   1   0
//!          │  │  │  │  │  │  │  │  │  │  │  │  │  │   │   └ another word of flags follows: not honoured, as in
//!          │  │  │  │  │  │  │  │  │  │  │  │  │  │   │     RabbitMQ, so there is no chain of words to follow
//!          │  │  │  │  │  │  │  │  │  │  │  │  │  │   └ no property
//!          │  │  │  │  │  │  │  │  │  │  │  │  │  └ cluster_id, the last one
//!          └ content_type: the properties lie behind the flags in this order, those present only
//! ```
//!
//! A forwarded message keeps its flags and list as the bytes they are. [`PropertiesRef`] looks into them when somebody
//! asks; [`BasicProperties`] is for messages of our own making.

use super::decoder::{DecodeError, Reader};
use super::encoder::{put_short_string, put_table, put_u8, put_u16, put_u64};
use super::field_table::{FieldTable, TableRef};
use super::frame::{FrameError, FrameType, begin_frame, end_frame};
use super::short_string::ShortString;
use super::{AmqpError, ReplyCode};

/// The class whose content header carries these properties.
pub const BASIC_CLASS_ID: u16 = 60;

/// `delivery_mode` of a message that survives a restart.
pub const DELIVERY_MODE_PERSISTENT: u8 = 2;

/// Property flags. One word holds all there are; the lowest two bits are not looked at.
pub mod flag {
    pub const CONTENT_TYPE: u16 = 1 << 15;
    pub const CONTENT_ENCODING: u16 = 1 << 14;
    pub const HEADERS: u16 = 1 << 13;
    pub const DELIVERY_MODE: u16 = 1 << 12;
    pub const PRIORITY: u16 = 1 << 11;
    pub const CORRELATION_ID: u16 = 1 << 10;
    pub const REPLY_TO: u16 = 1 << 9;
    pub const EXPIRATION: u16 = 1 << 8;
    pub const MESSAGE_ID: u16 = 1 << 7;
    pub const TIMESTAMP: u16 = 1 << 6;
    pub const TYPE: u16 = 1 << 5;
    pub const USER_ID: u16 = 1 << 4;
    pub const APP_ID: u16 = 1 << 3;
    pub const CLUSTER_ID: u16 = 1 << 2;
}

/// The payload of a content header frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentHeader<'a> {
    pub class_id: u16,
    /// Always 0 in AMQP 0-9-1; for the connection to refuse when it is not.
    pub weight: u16,
    /// Octets of content that follow in body frames.
    pub body_size: u64,
    /// Property flags and property list, not looked into.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// What the connection must know of a content header. The properties are looked into by [`PropertiesRef::parse`].
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, FrameError<'a>> {
        Self::read(payload).map_err(|_| FrameError::Unknown { frame_type: FrameType::Header as u8, payload })
    }

    #[inline]
    fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let (class_id, weight, body_size) = (reader.u16()?, reader.u16()?, reader.u64()?);
        Ok(Self { class_id, weight, body_size, properties: reader.rest() })
    }

    /// Appends the payload of a content header frame.
    #[inline]
    pub fn encode_payload(&self, out: &mut Vec<u8>) {
        put_u16(out, self.class_id);
        put_u16(out, self.weight);
        put_u64(out, self.body_size);
        out.extend_from_slice(self.properties);
    }

    /// Appends a whole content header frame.
    #[inline]
    pub fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        let frame = begin_frame(out, FrameType::Header, channel);
        self.encode_payload(out);
        end_frame(out, frame);
    }
}

/// The properties of a message where they lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PropertiesRef<'a> {
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    pub headers: Option<TableRef<'a>>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<&'a [u8]>,
    pub reply_to: Option<&'a [u8]>,
    pub expiration: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    pub timestamp: Option<u64>,
    /// AMQP's `type`.
    pub message_type: Option<&'a [u8]>,
    pub user_id: Option<&'a [u8]>,
    pub app_id: Option<&'a [u8]>,
    pub cluster_id: Option<&'a [u8]>,
}

impl<'a> PropertiesRef<'a> {
    /// Walks the flags and the list behind them, and checks the structure of the headers. Allocates nothing.
    #[inline]
    pub fn parse(flags_and_list: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(flags_and_list);
        let flags = reader.u16()?;
        let mut list = PropertyList { flags, reader };
        let properties = Self {
            content_type: list.next(flag::CONTENT_TYPE, Reader::short_string)?,
            content_encoding: list.next(flag::CONTENT_ENCODING, Reader::short_string)?,
            headers: list.next(flag::HEADERS, |reader| TableRef::parse(reader.table_bytes()?))?,
            delivery_mode: list.next(flag::DELIVERY_MODE, Reader::u8)?,
            priority: list.next(flag::PRIORITY, Reader::u8)?,
            correlation_id: list.next(flag::CORRELATION_ID, Reader::short_string)?,
            reply_to: list.next(flag::REPLY_TO, Reader::short_string)?,
            expiration: list.next(flag::EXPIRATION, Reader::short_string)?,
            message_id: list.next(flag::MESSAGE_ID, Reader::short_string)?,
            timestamp: list.next(flag::TIMESTAMP, Reader::u64)?,
            message_type: list.next(flag::TYPE, Reader::short_string)?,
            user_id: list.next(flag::USER_ID, Reader::short_string)?,
            app_id: list.next(flag::APP_ID, Reader::short_string)?,
            cluster_id: list.next(flag::CLUSTER_ID, Reader::short_string)?,
        };
        list.reader.finish()?;
        Ok(properties)
    }

    /// The connection exception for properties that do not parse: RabbitMQ gives it neither text nor method.
    pub fn malformed() -> AmqpError {
        AmqpError::connection(ReplyCode::InternalError, "").without_method()
    }

    pub fn to_owned(&self) -> BasicProperties {
        let string = |bytes: Option<&[u8]>| bytes.map(ShortString::truncated);
        BasicProperties {
            content_type: string(self.content_type),
            content_encoding: string(self.content_encoding),
            headers: self.headers.map(|headers| headers.to_owned()),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            correlation_id: string(self.correlation_id),
            reply_to: string(self.reply_to),
            expiration: string(self.expiration),
            message_id: string(self.message_id),
            timestamp: self.timestamp,
            message_type: string(self.message_type),
            user_id: string(self.user_id),
            app_id: string(self.app_id),
            cluster_id: string(self.cluster_id),
        }
    }
}

/// The list behind the flags. Asked for its properties in the order of the flags, it reads those that are there.
struct PropertyList<'a> {
    flags: u16,
    reader: Reader<'a>,
}

impl<'a> PropertyList<'a> {
    #[inline]
    fn next<T>(
        &mut self,
        flag: u16,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flags & flag == 0 { Ok(None) } else { read(&mut self.reader).map(Some) }
    }
}

/// The properties of a message of our own making, such as a dead letter or a publish over HTTP.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BasicProperties {
    pub content_type: Option<ShortString>,
    pub content_encoding: Option<ShortString>,
    pub headers: Option<FieldTable>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<ShortString>,
    pub reply_to: Option<ShortString>,
    pub expiration: Option<ShortString>,
    pub message_id: Option<ShortString>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// AMQP's `type`.
    pub message_type: Option<ShortString>,
    pub user_id: Option<ShortString>,
    pub app_id: Option<ShortString>,
    pub cluster_id: Option<ShortString>,
}

impl BasicProperties {
    /// Appends flags and list, as [`PropertiesRef::parse`] reads them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut list = PropertyWriter { flags_at: out.len(), flags: 0, out };
        put_u16(list.out, 0);
        list.put_string(flag::CONTENT_TYPE, &self.content_type);
        list.put_string(flag::CONTENT_ENCODING, &self.content_encoding);
        list.put(flag::HEADERS, &self.headers, put_table);
        list.put(flag::DELIVERY_MODE, &self.delivery_mode, |out, &mode| put_u8(out, mode));
        list.put(flag::PRIORITY, &self.priority, |out, &priority| put_u8(out, priority));
        list.put_string(flag::CORRELATION_ID, &self.correlation_id);
        list.put_string(flag::REPLY_TO, &self.reply_to);
        list.put_string(flag::EXPIRATION, &self.expiration);
        list.put_string(flag::MESSAGE_ID, &self.message_id);
        list.put(flag::TIMESTAMP, &self.timestamp, |out, &seconds| put_u64(out, seconds));
        list.put_string(flag::TYPE, &self.message_type);
        list.put_string(flag::USER_ID, &self.user_id);
        list.put_string(flag::APP_ID, &self.app_id);
        list.put_string(flag::CLUSTER_ID, &self.cluster_id);
        list.finish();
    }
}

/// Writes the properties that are there, in the order of the flags, and the flags last.
struct PropertyWriter<'a> {
    out: &'a mut Vec<u8>,
    flags_at: usize,
    flags: u16,
}

impl PropertyWriter<'_> {
    fn put<T>(&mut self, flag: u16, property: &Option<T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
        if let Some(value) = property {
            self.flags |= flag;
            write(self.out, value);
        }
    }

    fn put_string(&mut self, flag: u16, property: &Option<ShortString>) {
        self.put(flag, property, |out, string| put_short_string(out, string));
    }

    fn finish(self) {
        let flags_end = self.flags_at + size_of::<u16>();
        self.out[self.flags_at..flags_end].copy_from_slice(&self.flags.to_be_bytes());
    }
}
