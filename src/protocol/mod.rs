//! AMQP 0-9-1 on the wire: bytes in, values out, and back.
//!
//! | module | owns |
//! |---|---|
//! | [`frame`] | where a frame begins and ends, and which can never be right |
//! | [`method`] | every method and its arguments |
//! | [`properties`] | content headers and the properties of messages |
//! | [`field_table`] | tables: owned, [viewed](TableRef) where they lie, [written](TableWriter) entry by entry |
//! | [`decoder`], [`encoder`] | primitive values, read within bounds and written |
//! | [`error`], [`reply_code`] | what a command can fail with |
//!
//! It knows no queue, no socket and no clock, and remembers nothing between two calls. Bytes of a peer never make it
//! panic: they become an error that names a reply code. Nothing is allocated to decode a frame, a publish, an
//! acknowledgement or a content header.

pub mod decoder;
pub mod encoder;
pub mod error;
pub mod field_table;
pub mod frame;
pub mod method;
mod octets;
pub mod properties;
pub mod reply_code;
pub mod short_string;
mod table_ref;
mod table_writer;

pub use decoder::DecodeError;
pub use error::{AmqpError, ErrorScope};
pub use field_table::{ArrayRef, FieldTable, FieldValue, FieldValueRef, TableRef};
pub use frame::{FrameError, FrameType, RawFrame};
pub use method::{Method, MethodError};
pub use properties::{BasicProperties, ContentHeader, PropertiesRef};
pub use reply_code::ReplyCode;
pub use short_string::ShortString;
pub use table_writer::TableWriter;

#[cfg(test)]
mod tests;
