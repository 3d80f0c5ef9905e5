//! AMQP 0-9-1 on the wire: bytes in, values out, and back.

pub mod error;
pub mod field_table;
pub mod reply_code;
pub mod short_string;

pub use error::{AmqpError, ErrorScope};
pub use field_table::{FieldTable, FieldValue};
pub use reply_code::ReplyCode;
pub use short_string::ShortString;
