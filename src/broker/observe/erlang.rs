//! Tables as RabbitMQ's events tell them: each entry is a text, an Erlang term.

use super::text;
use crate::protocol::{FieldTable, FieldValue};
use std::fmt::Write;

/// One text for each entry: `{<<"x-message-ttl">>,signedint,5000}`.
pub(super) fn erlang_terms(table: &FieldTable) -> FieldValue {
    let entries = table.0.iter().map(|(name, value)| {
        let mut out = String::new();
        write_entry(&mut out, name, value);
        text(out.as_bytes())
    });
    FieldValue::Array(entries.collect())
}

fn write_entry(out: &mut String, name: &[u8], value: &FieldValue) {
    out.push('{');
    write_binary(out, name);
    let _ = write!(out, ",{},", type_name(value));
    write_value(out, value);
    out.push('}');
}

fn write_binary(out: &mut String, bytes: &[u8]) {
    let _ = write!(out, "<<{:?}>>", String::from_utf8_lossy(bytes));
}

fn type_name(value: &FieldValue) -> &'static str {
    match value {
        FieldValue::Boolean(_) => "bool",
        FieldValue::I8(_) => "byte",
        FieldValue::U8(_) => "unsignedbyte",
        FieldValue::I16(_) => "short",
        FieldValue::U16(_) => "unsignedshort",
        FieldValue::I32(_) => "signedint",
        FieldValue::U32(_) => "unsignedint",
        FieldValue::I64(_) => "long",
        FieldValue::F32(_) => "float",
        FieldValue::F64(_) => "double",
        FieldValue::Decimal { .. } => "decimal",
        FieldValue::LongString(_) => "longstr",
        FieldValue::Array(_) => "array",
        FieldValue::Timestamp(_) => "timestamp",
        FieldValue::Table(_) => "table",
        FieldValue::Void => "void",
        FieldValue::Bytes(_) => "binary",
    }
}

fn write_value(out: &mut String, value: &FieldValue) {
    let _ = match value {
        FieldValue::Boolean(value) => write!(out, "{value}"),
        FieldValue::I8(value) => write!(out, "{value}"),
        FieldValue::U8(value) => write!(out, "{value}"),
        FieldValue::I16(value) => write!(out, "{value}"),
        FieldValue::U16(value) => write!(out, "{value}"),
        FieldValue::I32(value) => write!(out, "{value}"),
        FieldValue::U32(value) => write!(out, "{value}"),
        FieldValue::I64(value) => write!(out, "{value}"),
        FieldValue::F32(value) => write!(out, "{value:?}"),
        FieldValue::F64(value) => write!(out, "{value:?}"),
        FieldValue::Decimal { scale, value } => write!(out, "{{{scale},{value}}}"),
        FieldValue::Timestamp(value) => write!(out, "{value}"),
        FieldValue::Void => write!(out, "undefined"),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => {
            write_binary(out, bytes);
            Ok(())
        }
        FieldValue::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                let _ = write!(out, "{}{{{},", if index > 0 { "," } else { "" }, type_name(value));
                write_value(out, value);
                out.push('}');
            }
            write!(out, "]")
        }
        FieldValue::Table(table) => {
            out.push('[');
            for (index, (name, value)) in table.0.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_entry(out, name, value);
            }
            write!(out, "]")
        }
    };
}
