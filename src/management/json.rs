//! AMQP's tables and properties as JSON, and back.

use super::http::ApiError;
use crate::protocol::field_table::TABLE_DEPTH_MAX;
use crate::protocol::{BasicProperties, FieldTable, FieldValue, PropertiesRef, ShortString};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

/// A value that was kept as its text.
pub fn said(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Bytes as text; what isn't UTF-8 is replaced.
pub fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

pub fn table(table: &FieldTable) -> Value {
    let mut object = Map::new();
    for (key, value) in &table.0 {
        // The first of duplicate keys counts.
        object.entry(key.to_string()).or_insert_with(|| field(value));
    }
    Value::Object(object)
}

fn field(value: &FieldValue) -> Value {
    match value {
        FieldValue::Boolean(value) => json!(value),
        FieldValue::I8(value) => json!(value),
        FieldValue::U8(value) => json!(value),
        FieldValue::I16(value) => json!(value),
        FieldValue::U16(value) => json!(value),
        FieldValue::I32(value) => json!(value),
        FieldValue::U32(value) => json!(value),
        FieldValue::I64(value) => json!(value),
        FieldValue::F32(value) => json!(value),
        FieldValue::F64(value) => json!(value),
        FieldValue::Timestamp(value) => json!(value),
        FieldValue::Void => Value::Null,
        FieldValue::Decimal { scale, value } => json!(f64::from(*value) / 10_f64.powi(i32::from(*scale))),
        FieldValue::LongString(bytes) | FieldValue::Bytes(bytes) => text(bytes),
        FieldValue::Array(values) => values.iter().map(field).collect(),
        FieldValue::Table(nested) => table(nested),
    }
}

/// A table out of a JSON object that nests no deeper than tables on the wire may.
pub fn to_table(value: &Value, what: &str) -> Result<FieldTable, ApiError> {
    match value {
        Value::Null => Ok(FieldTable::default()),
        // An empty list is what Erlang's JSON makes of an empty object.
        Value::Array(values) if values.is_empty() => Ok(FieldTable::default()),
        Value::Object(object) => object_to_table(object, 1),
        _ => Err(ApiError::BadRequest(format!("{what} must be an object"))),
    }
}

fn object_to_table(object: &Map<String, Value>, depth: usize) -> Result<FieldTable, ApiError> {
    let entry = |(key, value): (&String, &Value)| Ok((short_string(key, "a key")?, to_field(value, depth)?));
    object.iter().map(entry).collect::<Result<_, _>>().map(FieldTable)
}

fn to_field(value: &Value, depth: usize) -> Result<FieldValue, ApiError> {
    let inside = depth + 1;
    // An empty one counts, too, for who reads it from the wire or from the log.
    if inside > TABLE_DEPTH_MAX && matches!(value, Value::Array(_) | Value::Object(_)) {
        return Err(ApiError::BadRequest(format!("tables nest deeper than {TABLE_DEPTH_MAX} levels")));
    }
    Ok(match value {
        Value::Null => FieldValue::Void,
        Value::Bool(value) => FieldValue::Boolean(*value),
        Value::Number(number) => to_number(number),
        Value::String(text) => FieldValue::LongString(text.as_bytes().into()),
        Value::Array(values) => {
            FieldValue::Array(values.iter().map(|value| to_field(value, inside)).collect::<Result<_, _>>()?)
        }
        Value::Object(object) => FieldValue::Table(object_to_table(object, inside)?),
    })
}

fn to_number(number: &Number) -> FieldValue {
    match number.as_i64() {
        Some(value) => FieldValue::I64(value),
        None => FieldValue::F64(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// A value out of JSON that nests no deeper than tables on the wire may.
pub fn to_value(value: &Value) -> Result<FieldValue, ApiError> {
    to_field(value, 0)
}

pub fn short_string(text: &str, what: &str) -> Result<ShortString, ApiError> {
    ShortString::new(text.as_bytes()).ok_or_else(|| ApiError::BadRequest(format!("{what} is longer than 255 bytes")))
}

pub fn is_base64(text: &str) -> bool {
    STANDARD.decode(text).is_ok()
}

pub fn properties(properties: &BasicProperties) -> Value {
    let mut object = Map::new();
    let strings = [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("expiration", &properties.expiration),
        ("message_id", &properties.message_id),
        ("type", &properties.message_type),
        ("user_id", &properties.user_id),
        ("app_id", &properties.app_id),
        ("cluster_id", &properties.cluster_id),
    ];
    for (name, value) in strings {
        if let Some(value) = value {
            object.insert(name.to_owned(), text(value));
        }
    }
    if let Some(headers) = &properties.headers {
        object.insert("headers".to_owned(), table(headers));
    }
    let numbers = [
        ("delivery_mode", properties.delivery_mode.map(u64::from)),
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            object.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(object)
}

/// Properties in wire form.
pub fn wire_properties(bytes: &[u8]) -> Value {
    properties(&PropertiesRef::parse(bytes).map(|properties| properties.to_owned()).unwrap_or_default())
}

/// Properties out of a JSON object; unknown names are refused.
pub fn to_properties(value: &Value) -> Result<BasicProperties, ApiError> {
    let mut properties = BasicProperties::default();
    let empty = Map::new();
    let object = match value {
        Value::Object(object) => object,
        Value::Null => &empty,
        Value::Array(values) if values.is_empty() => &empty,
        _ => return Err(ApiError::BadRequest("properties must be an object".to_owned())),
    };
    for (name, value) in object {
        let string = match name.as_str() {
            "content_type" => &mut properties.content_type,
            "content_encoding" => &mut properties.content_encoding,
            "correlation_id" => &mut properties.correlation_id,
            "reply_to" => &mut properties.reply_to,
            "expiration" => &mut properties.expiration,
            "message_id" => &mut properties.message_id,
            "type" => &mut properties.message_type,
            "user_id" => &mut properties.user_id,
            "app_id" => &mut properties.app_id,
            "cluster_id" => &mut properties.cluster_id,
            "headers" => {
                properties.headers = Some(to_table(value, "headers")?);
                continue;
            }
            "delivery_mode" => {
                properties.delivery_mode = Some(octet(name, value)?);
                continue;
            }
            "priority" => {
                properties.priority = Some(octet(name, value)?);
                continue;
            }
            "timestamp" => {
                properties.timestamp = Some(unsigned(name, value)?);
                continue;
            }
            _ => return Err(ApiError::BadRequest(format!("unknown property: {name}"))),
        };
        let Value::String(text) = value else {
            return Err(ApiError::BadRequest(format!("property {name} must be a string")));
        };
        *string = Some(short_string(text, name)?);
    }
    Ok(properties)
}

/// A whole number, or text that says one: command lines send all values as text.
pub fn unsigned(name: &str, value: &Value) -> Result<u64, ApiError> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.ok_or_else(|| ApiError::BadRequest(format!("{name} must be a whole number")))
}

fn octet(name: &str, value: &Value) -> Result<u8, ApiError> {
    let number = unsigned(name, value)?;
    u8::try_from(number).map_err(|_| ApiError::BadRequest(format!("{name} must be at most 255")))
}

/// `true`, `false`, or text that says one of them. Absent is false.
pub fn boolean(name: &str, value: &Value) -> Result<bool, ApiError> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(ApiError::BadRequest(format!("{name} must be true or false"))),
    }
}

/// A body as text where it is UTF-8 and that is welcome, else as base64; and which of the two it is.
pub fn payload(body: &[u8], always_base64: bool) -> (String, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) if !always_base64 => (text.to_owned(), "string"),
        _ => (STANDARD.encode(body), "base64"),
    }
}

#[cfg(test)]
pub mod testing {
    use proptest::prelude::*;
    use serde_json::Value;

    /// Objects with some of these keys, and anything that JSON has in them.
    pub fn objects_with(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            prop::sample::select(keys).prop_map(Value::from),
        ];
        let anything = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        });
        let entries = prop::collection::hash_map(prop::sample::select(keys), anything, 0..=keys.len());
        entries.prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_back_as_they_were_said() {
        let said = json!({"b": true, "n": -5, "f": 1.5, "s": "text", "a": [1, "x", null], "t": {"k": {}}});
        let read = to_table(&said, "arguments").unwrap();
        assert_eq!(read.get(b"n"), Some(&FieldValue::I64(-5)));
        assert_eq!(table(&read), said);
        assert_eq!(to_table(&json!([]), "arguments"), Ok(FieldTable::default()));
        assert!(to_table(&json!("no"), "arguments").is_err());
    }

    #[test]
    fn tables_nest_no_deeper_than_on_the_wire() {
        let nested = |levels| (0..levels).fold(json!({}), |inner, _| json!({"k": inner}));
        let deepest = to_table(&nested(TABLE_DEPTH_MAX - 1), "headers").unwrap();
        let mut entries = Vec::new();
        deepest.encode_entries(&mut entries);
        assert!(FieldTable::decode_entries(&entries).is_ok());
        assert!(to_table(&nested(TABLE_DEPTH_MAX), "headers").is_err());
        assert!(to_table(&nested(TABLE_DEPTH_MAX + 1), "headers").is_err());
    }

    #[test]
    fn numbers_that_json_does_not_know_are_null() {
        let table_of = |value| FieldTable(vec![("n".into(), value)]);
        assert_eq!(table(&table_of(FieldValue::F64(f64::NAN))), json!({"n": null}));
        assert_eq!(table(&table_of(FieldValue::Decimal { scale: 2, value: 150 })), json!({"n": 1.5}));
    }

    #[test]
    fn properties_come_back_as_they_were_said() {
        let said = json!({
            "content_type": "text/plain", "delivery_mode": 2, "priority": 3, "timestamp": 1_700_000_000,
            "type": "t", "headers": {"h": 1}
        });
        assert_eq!(properties(&to_properties(&said).unwrap()), said);
        for wrong in [json!({"colour": "red"}), json!({"type": 5}), json!({"priority": 256}), json!("x")] {
            assert!(to_properties(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bodies_that_are_no_text_are_base64() {
        assert_eq!(payload(b"abc", false), ("abc".to_owned(), "string"));
        assert_eq!(payload(b"abc", true), ("YWJj".to_owned(), "base64"));
        assert_eq!(payload(&[0xff], false), ("/w==".to_owned(), "base64"));
    }
}
