//! How long a message asks an exchange of the type `x-delayed-message` to wait with it.

use crate::protocol::{FieldValueRef, TableRef};

/// The header that says so.
pub const DELAY_HEADER: &[u8] = b"x-delay";

/// The longest delay, in milliseconds; what asks for a longer one is not delayed at all, as with RabbitMQ's plugin.
pub const DELAY_MAX_MS: i64 = u32::MAX as i64;

/// The delay that the headers ask for, in milliseconds: a number of any type, or a text that is a whole one.
pub fn delay_ms(headers: TableRef<'_>) -> Option<u64> {
    let delay_ms = match headers.get(DELAY_HEADER)? {
        FieldValueRef::LongString(text) | FieldValueRef::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        FieldValueRef::F32(number) => f64::from(number) as i64,
        FieldValueRef::F64(number) => number as i64,
        number => number.integer()?,
    };
    (1..=DELAY_MAX_MS).contains(&delay_ms).then_some(delay_ms.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FieldTable, FieldValue};

    #[test]
    fn numbers_and_their_texts_delay_and_nothing_else() {
        let text = |text: &str| FieldValue::LongString(text.as_bytes().into());
        for (value, delays) in [
            (FieldValue::I8(100), Some(100)),
            (FieldValue::U8(200), Some(200)),
            (FieldValue::I16(1000), Some(1000)),
            (FieldValue::U16(60_000), Some(60_000)),
            (FieldValue::I32(1), Some(1)),
            (FieldValue::U32(u32::MAX), Some(4_294_967_295)),
            (FieldValue::I64(4_294_967_295), Some(4_294_967_295)),
            (FieldValue::I64(4_294_967_296), None),
            (FieldValue::I64(i64::MIN), None),
            (FieldValue::I32(0), None),
            (FieldValue::I32(-1000), None),
            (FieldValue::F64(1500.9), Some(1500)),
            (FieldValue::F32(0.9), None),
            (FieldValue::F64(f64::NAN), None),
            (FieldValue::F64(f64::INFINITY), None),
            (text("1000"), Some(1000)),
            (text("+1000"), Some(1000)),
            (text("-1000"), None),
            (text("1000.5"), None),
            (text("soon"), None),
            (text(""), None),
            (FieldValue::Boolean(true), None),
            (FieldValue::Timestamp(1000), None),
            (FieldValue::Decimal { scale: 0, value: 1000 }, None),
            (FieldValue::Void, None),
        ] {
            let mut headers = Vec::new();
            FieldTable(vec![("x-delay".into(), value.clone())]).encode_entries(&mut headers);
            assert_eq!(delay_ms(TableRef::parse(&headers).unwrap()), delays, "{value:?}");
        }
        assert_eq!(delay_ms(TableRef::default()), None);
    }
}
