//! What a binding of a headers exchange asks for, and when a header is what it asks for.

use crate::broker::equivalence::{binary_term, same_number_or_value, type_name, value_text};
use crate::protocol::{AmqpError, FieldTable, FieldValue, FieldValueRef, ReplyCode, ShortString};
use std::hash::Hash;

const X_MATCH: &[u8] = b"x-match";

/// What a binding asks of the headers.
///
/// `all` of nothing is always there, `any` of nothing never is.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// One hit is enough (`any`), or every header must fit (`all`).
    pub(super) any: bool,
    /// A value of [`FieldValue::Void`] asks for the presence of the header only.
    pub(super) required: Vec<(ShortString, FieldValue)>,
}

impl Pattern {
    /// Compiles a binding's arguments. `x-match` is `all` unless it says otherwise; names starting with `x-` take part
    /// only in the `-with-x` modes, and `x-match` itself never does.
    pub(super) fn compile(arguments: &FieldTable) -> Result<Self, AmqpError> {
        let (any, with_x) = match arguments.get(X_MATCH) {
            None => (false, false),
            Some(FieldValue::LongString(mode)) => match &**mode {
                b"all" => (false, false),
                b"any" => (true, false),
                b"all-with-x" => (false, true),
                b"any-with-x" => (true, true),
                other => {
                    let other = binary_term(other);
                    return Err(refused(format!(
                        "Invalid x-match field value {other}; expected all, any, all-with-x, or any-with-x"
                    )));
                }
            },
            Some(other) => {
                let (type_name, value) = (type_name(other), value_text(other));
                return Err(refused(format!(
                    "Invalid x-match field type {type_name} (value {value}); expected longstr"
                )));
            }
        };
        let takes_part = |name: &[u8]| if with_x { name != X_MATCH } else { !name.starts_with(b"x-") };
        let required = arguments.0.iter().filter(|(name, _)| takes_part(name)).cloned().collect();
        Ok(Self { any, required })
    }
}

/// Whether a header that is asked for with a value has it.
pub(super) fn same_header(wanted: &FieldValue, value: &FieldValueRef<'_>) -> bool {
    match (wanted, value) {
        (
            FieldValue::LongString(wanted) | FieldValue::Bytes(wanted),
            FieldValueRef::LongString(bytes) | FieldValueRef::Bytes(bytes),
        ) => **wanted == **bytes,
        // What is no string and no table is copied without allocating.
        _ => same_number_or_value(wanted, &value.to_owned()),
    }
}

/// Writes what is the same for values that are the same to [`same_header`].
pub(super) fn hash_header(value: &FieldValueRef<'_>, state: &mut impl std::hash::Hasher) {
    match value {
        FieldValueRef::LongString(bytes) | FieldValueRef::Bytes(bytes) => (Class::Bytes, bytes).hash(state),
        FieldValueRef::F32(float) => hash_float((*float).into(), state),
        FieldValueRef::F64(float) => hash_float(*float, state),
        FieldValueRef::Timestamp(seconds) => (Class::Whole, i128::from(*seconds)).hash(state),
        FieldValueRef::Array(array) if array.iter().next().is_some() => hash_exactly(value, state),
        FieldValueRef::Table(table) if table.iter().next().is_some() => hash_exactly(value, state),
        FieldValueRef::Array(_) | FieldValueRef::Table(_) => Class::Empty.hash(state),
        scalar => match scalar.integer() {
            Some(integer) => (Class::Whole, i128::from(integer)).hash(state),
            None => hash_exactly(scalar, state),
        },
    }
}

/// Keeps what can't be the same apart.
#[derive(Hash)]
enum Class {
    Bytes,
    Whole,
    Float,
    Empty,
    Exact,
}

/// A float that stands for a whole number is that number.
fn hash_float(float: f64, state: &mut impl std::hash::Hasher) {
    let whole = float as i128;
    if whole as f64 == float { (Class::Whole, whole).hash(state) } else { (Class::Float, float.to_bits()).hash(state) }
}

/// Values inside of arrays and tables, which are the same when their types are, too.
fn hash_exactly(value: &FieldValueRef<'_>, state: &mut impl std::hash::Hasher) {
    (Class::Exact, std::mem::discriminant(value)).hash(state);
    match value {
        FieldValueRef::Array(array) => array.iter().for_each(|value| hash_exactly(&value, state)),
        FieldValueRef::Table(table) => table.iter().for_each(|(name, value)| {
            name.hash(state);
            hash_exactly(&value, state);
        }),
        FieldValueRef::LongString(bytes) | FieldValueRef::Bytes(bytes) => bytes.hash(state),
        FieldValueRef::Boolean(value) => value.hash(state),
        // Adding 0 makes one of both zeroes, which are equal.
        FieldValueRef::F32(value) => (value + 0.0).to_bits().hash(state),
        FieldValueRef::F64(value) => (value + 0.0).to_bits().hash(state),
        FieldValueRef::Decimal { scale, value } => (scale, value).hash(state),
        FieldValueRef::Timestamp(seconds) => seconds.hash(state),
        FieldValueRef::Void => {}
        integers => integers.integer().hash(state),
    }
}

fn refused(explanation: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::exchange::header_index::{HeaderIndex, HeaderWalk};
    use crate::broker::exchange::tests::encoded;
    use crate::broker::exchange::{Destination, QueueId};
    use crate::protocol::TableRef;

    fn text(text: &str) -> FieldValue {
        FieldValue::LongString(text.as_bytes().into())
    }

    fn table(entries: &[(&'static str, FieldValue)]) -> FieldTable {
        FieldTable(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn matches(pattern: &[(&'static str, FieldValue)], headers: &[(&'static str, FieldValue)]) -> bool {
        let (mut index, pattern) = (HeaderIndex::default(), Pattern::compile(&table(pattern)).unwrap());
        index.insert(&pattern, Destination::Queue(QueueId(0)));
        let (headers, mut found) = (encoded(&table(headers)), 0);
        let headers = TableRef::parse(&headers).unwrap();
        index.matching(headers, &mut HeaderWalk::default(), |set| found += set.queues().len());
        found > 0
    }

    #[test]
    fn the_four_modes() {
        let headers = [("a", FieldValue::I32(1)), ("x-b", FieldValue::I32(2))];
        let with_mode = |mode: Option<&str>| {
            let mut pattern = vec![("a", FieldValue::I32(1)), ("x-b", FieldValue::I32(3))];
            pattern.extend(mode.map(|mode| ("x-match", text(mode))));
            matches(&pattern, &headers)
        };
        assert!(with_mode(Some("all")));
        assert!(with_mode(Some("any")));
        assert!(!with_mode(Some("all-with-x")));
        assert!(with_mode(Some("any-with-x")));
        assert!(with_mode(None));
    }

    #[test]
    fn no_keys_at_all() {
        let headers = [("a", FieldValue::I32(1))];
        assert!(matches(&[], &headers));
        assert!(matches(&[], &[]));
        assert!(matches(&[("x-match", text("all"))], &headers));
        assert!(!matches(&[("x-match", text("any"))], &headers));
        assert!(matches(&[("x-only", text("ignored"))], &headers));
    }

    #[test]
    fn values() {
        let seven = [("n", FieldValue::I64(7))];
        assert!(matches(&[("n", FieldValue::Void)], &seven), "void asks for presence");
        assert!(!matches(&[("m", FieldValue::Void)], &seven));
        assert!(matches(&[("n", FieldValue::I16(7))], &seven), "integers of any width");
        assert!(matches(&[("n", FieldValue::F64(7.0))], &seven), "and floats of the same value");
        assert!(!matches(&[("n", FieldValue::F64(7.5))], &seven));
        assert!(matches(&[("n", FieldValue::Timestamp(7))], &seven));
        assert!(matches(&[("n", FieldValue::F32(7.0))], &[("n", FieldValue::Timestamp(7))]), "and timestamps");
        assert!(matches(&[("n", FieldValue::Timestamp(7))], &[("n", FieldValue::F64(7.0))]));
        assert!(matches(&[("n", text("7"))], &[("n", FieldValue::Bytes((*b"7").into()))]));
        assert!(!matches(&[("n", text("7"))], &seven));
        assert!(!matches(&[("n", FieldValue::I32(8))], &seven));
        assert!(matches(&[("n", FieldValue::I32(1))], &[("n", FieldValue::I32(1)), ("n", FieldValue::I32(2))]));
        assert!(!matches(&[("n", FieldValue::I32(2))], &[("n", FieldValue::I32(1)), ("n", FieldValue::I32(2))]));
    }

    #[test]
    fn refused_x_match() {
        let refusal = |value| Pattern::compile(&table(&[("x-match", value)])).err().unwrap().explanation;
        assert_eq!(
            refusal(text("bogus")),
            r#"Invalid x-match field value <<"bogus">>; expected all, any, all-with-x, or any-with-x"#
        );
        assert_eq!(refusal(FieldValue::I32(5)), "Invalid x-match field type signedint (value 5); expected longstr");
    }
}
