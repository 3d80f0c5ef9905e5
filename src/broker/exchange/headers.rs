//! The headers exchange: a binding's arguments compiled into a pattern, and a publish's headers prepared for asking.

use crate::broker::equivalence::{binary_term, same_number_or_value, type_name, value_text};
use crate::protocol::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortString};

const X_MATCH: &[u8] = b"x-match";

/// What a binding asks of the headers.
pub(super) struct Pattern {
    /// One hit is enough (`any`), or every header must fit (`all`).
    any: bool,
    required: Vec<(ShortString, FieldValue)>,
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

    /// No header asked for: `all` of nothing is always true, `any` of nothing never is.
    pub(super) fn matches(&self, headers: &SortedHeaders<'_>) -> bool {
        let mut required = self.required.iter();
        let fits = |(name, wanted): &(ShortString, FieldValue)| match headers.get(name) {
            // A pattern without a value asks for the presence of the header only.
            Some(value) => matches!(wanted, FieldValue::Void) || same_number_or_value(wanted, value),
            None => false,
        };
        if self.any { required.any(fits) } else { required.all(fits) }
    }
}

/// The headers of one publish, sorted once so that any number of bindings can ask: a publish with 20,000 headers must
/// not be searched from end to end for every binding.
pub(super) struct SortedHeaders<'a>(Vec<(&'a [u8], &'a FieldValue)>);

impl<'a> SortedHeaders<'a> {
    pub(super) fn new(headers: &'a FieldTable) -> Self {
        let mut sorted: Vec<_> = headers.0.iter().map(|(name, value)| (name.as_bytes(), value)).collect();
        sorted.sort_by_key(|(name, _)| *name);
        // Of duplicate names the first counts; the sort is stable.
        sorted.dedup_by_key(|(name, _)| *name);
        Self(sorted)
    }

    fn get(&self, name: &[u8]) -> Option<&'a FieldValue> {
        self.0.binary_search_by_key(&name, |(name, _)| name).ok().map(|index| self.0[index].1)
    }
}

fn refused(explanation: String) -> AmqpError {
    AmqpError::channel(ReplyCode::PreconditionFailed, explanation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> FieldValue {
        FieldValue::LongString(text.as_bytes().into())
    }

    fn table(entries: &[(&'static str, FieldValue)]) -> FieldTable {
        FieldTable(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn matches(pattern: &[(&'static str, FieldValue)], headers: &[(&'static str, FieldValue)]) -> bool {
        let headers = table(headers);
        Pattern::compile(&table(pattern)).unwrap().matches(&SortedHeaders::new(&headers))
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
