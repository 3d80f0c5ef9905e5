//! Is a second declare the same as the first? Queues and exchanges ask the same question and answer in the same words.
//!
//! Owns the comparison of attributes and arguments and the texts of a mismatch. Never decides which arguments are
//! worth comparing: queue and exchange declares know that.

use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode};
use std::fmt::{Display, Write};

/// Whose declare is compared, as the texts put it: `queue 'q' in vhost '/'`.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// `queue` or `exchange`.
    pub kind: &'static str,
    pub name: &'a [u8],
    pub vhost: &'a [u8],
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, vhost) = (String::from_utf8_lossy(self.name), String::from_utf8_lossy(self.vhost));
        write!(f, "{} '{name}' in vhost '{vhost}'", self.kind)
    }
}

/// A plain attribute: `type`, `durable`, `auto_delete`, `internal`.
pub fn assert_same_attribute<T: PartialEq + Display>(
    subject: Subject<'_>,
    attribute: &str,
    received: T,
    current: T,
) -> Result<(), AmqpError> {
    if received == current {
        return Ok(());
    }
    Err(inequivalent(subject, attribute, &format!("'{received}'"), &format!("'{current}'")))
}

/// One argument of the declare. `None` is an argument that is not there; integers of different widths are equal.
pub fn assert_same_argument(
    subject: Subject<'_>,
    argument: &str,
    received: Option<&FieldValue>,
    current: Option<&FieldValue>,
) -> Result<(), AmqpError> {
    match (received, current) {
        (None, None) => Ok(()),
        (Some(received), Some(current)) if same_value(received, current) => Ok(()),
        (Some(received), Some(current)) => {
            let quoted = |value: &FieldValue| match value {
                FieldValue::Void => "none".to_owned(),
                value => format!("'{}'", value_text(value)),
            };
            Err(inequivalent(subject, argument, &quoted(received), &quoted(current)))
        }
        (received, current) => Err(inequivalent(subject, argument, &described(received), &described(current))),
    }
}

/// The 406 for an argument whose type makes no sense.
pub fn invalid_argument_type(subject: Subject<'_>, argument: &str, value: &FieldValue) -> AmqpError {
    let type_name = type_name(value);
    AmqpError::channel(
        ReplyCode::PreconditionFailed,
        format!("invalid type '{type_name}' for arg '{argument}' in {subject}"),
    )
}

/// Equal, whatever the type tags: integers of any width and timestamps by value, the two kinds of float, the two kinds
/// of byte string, and an array and a table that are both empty. An integer is not a float. What is inside of arrays and
/// tables has its type tags compared, too.
pub fn same_value(a: &FieldValue, b: &FieldValue) -> bool {
    fn is_empty(value: &FieldValue) -> bool {
        match value {
            FieldValue::Array(values) => values.is_empty(),
            FieldValue::Table(table) => table.is_empty(),
            _ => false,
        }
    }
    fn bytes(value: &FieldValue) -> Option<&[u8]> {
        match value {
            FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (bytes(a), bytes(b)) {
        return a == b;
    }
    a == b || is_empty(a) && is_empty(b)
}

/// As [`same_value`], but an integer or a timestamp equals the float of the same value: headers are matched like this.
pub fn same_number_or_value(a: &FieldValue, b: &FieldValue) -> bool {
    // The second half tells apart numbers that the same float stands for.
    let same = |number: i128, float: f64| number as f64 == float && float as i128 == number;
    match (float(a), float(b)) {
        (Some(float), None) => whole(b).is_some_and(|number| same(number, float)),
        (None, Some(float)) => whole(a).is_some_and(|number| same(number, float)),
        _ => same_value(a, b),
    }
}

/// The value of an integer or a timestamp.
fn whole(value: &FieldValue) -> Option<i128> {
    match *value {
        FieldValue::Timestamp(seconds) => Some(seconds.into()),
        _ => integer(value).map(i128::from),
    }
}

/// The value of any of the integer types.
pub fn integer(value: &FieldValue) -> Option<i64> {
    Some(match *value {
        FieldValue::I8(v) => v.into(),
        FieldValue::U8(v) => v.into(),
        FieldValue::I16(v) => v.into(),
        FieldValue::U16(v) => v.into(),
        FieldValue::I32(v) => v.into(),
        FieldValue::U32(v) => v.into(),
        FieldValue::I64(v) => v,
        _ => return None,
    })
}

fn float(value: &FieldValue) -> Option<f64> {
    match *value {
        FieldValue::F32(v) => Some(v.into()),
        FieldValue::F64(v) => Some(v),
        _ => None,
    }
}

/// RabbitMQ's name of a value's type, as its texts use it.
pub fn type_name(value: &FieldValue) -> &'static str {
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

/// A value as RabbitMQ's texts show it: strings bare, everything else as an Erlang term.
pub fn value_text(value: &FieldValue) -> String {
    match value {
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => value_term(other),
    }
}

/// A value as an Erlang term, strings too.
pub fn value_term(value: &FieldValue) -> String {
    let mut text = String::new();
    write_term(&mut text, value);
    text
}

/// An entry of a table as an Erlang term: `{<<"x-message-ttl">>,signedint,5000}`.
pub fn entry_term(key: &[u8], value: &FieldValue) -> String {
    let mut text = String::new();
    write_entry(&mut text, key, value);
    text
}

/// Bytes as an Erlang term: `<<"bogus">>`, or `<<255,254>>` where they are not printable. Erlang prints what Latin-1 has,
/// byte for byte, which leaves most of UTF-8 as it is.
pub fn binary_term(bytes: &[u8]) -> String {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 160..);
    let mut text = String::from("<<");
    if bytes.is_empty() {
    } else if let Ok(printable) = std::str::from_utf8(bytes)
        && bytes.iter().all(is_printable)
    {
        text.push('"');
        for char in printable.chars() {
            match char {
                '"' | '\\' => text.extend(['\\', char]),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                _ => text.push(char),
            }
        }
        text.push('"');
    } else {
        for (index, byte) in bytes.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{byte}");
        }
    }
    text.push_str(">>");
    text
}

fn write_term(text: &mut String, value: &FieldValue) {
    // Writing into a String cannot fail.
    let _ = match value {
        FieldValue::Boolean(v) => write!(text, "{v}"),
        // Erlang has one kind of float: 0.1 as 32 bits is 0.10000000149011612.
        FieldValue::F32(v) => write!(text, "{:?}", f64::from(*v)),
        FieldValue::F64(v) => write!(text, "{v:?}"),
        FieldValue::Decimal { scale, value } => write!(text, "{{{scale},{value}}}"),
        FieldValue::Timestamp(v) => write!(text, "{v}"),
        FieldValue::Void => write!(text, "undefined"),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => write!(text, "{}", binary_term(bytes)),
        FieldValue::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let _ = write!(text, "{comma}{{{},", type_name(value));
                write_term(text, value);
                text.push('}');
            }
            write!(text, "]")
        }
        FieldValue::Table(FieldTable(entries)) => {
            text.push('[');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_entry(text, key, value);
            }
            write!(text, "]")
        }
        integers => write!(text, "{}", integer(integers).unwrap_or_default()),
    };
}

fn write_entry(text: &mut String, key: &[u8], value: &FieldValue) {
    let _ = write!(text, "{{{},{},", binary_term(key), type_name(value));
    write_term(text, value);
    text.push('}');
}

fn described(value: Option<&FieldValue>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => format!("the value '{}' of type '{}'", value_text(value), type_name(value)),
    }
}

fn inequivalent(subject: Subject<'_>, argument: &str, received: &str, current: &str) -> AmqpError {
    AmqpError::channel(
        ReplyCode::PreconditionFailed,
        format!("inequivalent arg '{argument}' for {subject}: received {received} but current is {current}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Subject<'static> = Subject { kind: "queue", name: b"q", vhost: b"/" };

    fn long_string(text: &str) -> FieldValue {
        FieldValue::LongString(text.as_bytes().into())
    }

    fn refusal(received: Option<FieldValue>, current: Option<FieldValue>) -> String {
        let error = assert_same_argument(QUEUE, "x-message-ttl", received.as_ref(), current.as_ref()).unwrap_err();
        assert_eq!(error.code, ReplyCode::PreconditionFailed);
        error.explanation.replace("inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': ", "")
    }

    #[test]
    fn attributes_differ() {
        let error = assert_same_attribute(QUEUE, "durable", true, false).unwrap_err();
        let text = "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'";
        assert_eq!(error.explanation, text);
        assert_eq!(assert_same_attribute(QUEUE, "durable", true, true), Ok(()));
    }

    #[test]
    fn arguments_differ() {
        let thousand = || Some(FieldValue::I32(1000));
        assert_eq!(refusal(thousand(), None), "received the value '1000' of type 'signedint' but current is none");
        assert_eq!(refusal(None, thousand()), "received none but current is the value '1000' of type 'signedint'");
        assert_eq!(
            refusal(None, Some(FieldValue::I64(60000))),
            "received none but current is the value '60000' of type 'long'"
        );
        assert_eq!(refusal(Some(FieldValue::I32(2000)), thousand()), "received '2000' but current is '1000'");
        assert_eq!(refusal(Some(FieldValue::Void), thousand()), "received none but current is '1000'");
        assert_eq!(
            refusal(Some(FieldValue::F32(0.1)), thousand()),
            "received '0.10000000149011612' but current is '1000'"
        );
        assert_eq!(refusal(Some(long_string("b")), Some(long_string("a"))), "received 'b' but current is 'a'");
        assert_eq!(
            refusal(Some(FieldValue::Boolean(true)), None),
            "received the value 'true' of type 'bool' but current is none"
        );
    }

    #[test]
    fn widths_of_integers_do_not_matter_but_types_do() {
        let same = |a, b| assert_same_argument(QUEUE, "x", Some(&a), Some(&b)).is_ok();
        assert!(same(FieldValue::I32(1000), FieldValue::I64(1000)));
        assert!(same(FieldValue::I8(100), FieldValue::U16(100)));
        assert!(same(FieldValue::F32(1.5), FieldValue::F64(1.5)));
        assert!(!same(FieldValue::I32(1), FieldValue::F64(1.0)));
        assert!(!same(FieldValue::I32(7), long_string("7")));
        assert!(same(FieldValue::I32(7), FieldValue::Timestamp(7)));
        assert!(same(long_string("7"), FieldValue::Bytes((*b"7").into())));
        assert!(assert_same_argument(QUEUE, "x", None, None).is_ok());
    }

    #[test]
    fn terms_look_like_erlang() {
        assert_eq!(binary_term(b"bogus"), r#"<<"bogus">>"#);
        assert_eq!(binary_term(b"it's \"x\""), r#"<<"it's \"x\"">>"#);
        assert_eq!(binary_term(&[255, 254]), "<<255,254>>");
        assert_eq!(binary_term(b""), "<<>>");
        assert_eq!(binary_term("é \\\n".as_bytes()), r#"<<"é \\\n">>"#);
        assert_eq!(binary_term("Å".as_bytes()), "<<195,133>>", "Latin-1 has nothing to print for 133");
        let nested = FieldValue::Array(vec![
            FieldValue::I32(1),
            FieldValue::Table(FieldTable(vec![("a".into(), long_string("z"))])),
        ]);
        assert_eq!(value_text(&nested), r#"[{signedint,1},{table,[{<<"a">>,longstr,<<"z">>}]}]"#);
    }
}
