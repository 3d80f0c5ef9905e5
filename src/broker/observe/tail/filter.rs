//! Which messages somebody wants to see of those that pass: by routing key, by a header, by text in the body.
//!
//! Looking takes time that belongs to others. So what is read of bodies and headers in one second is bounded; when that is
//! used up, messages pass unread.

use crate::broker::message::Content;
use crate::protocol::{FieldValueRef, PropertiesRef, ShortString};
use memchr::memmem::Finder;

/// How far into a body a text is looked for, in bytes.
const SEARCHED_MAX_BYTES: usize = 64 << 10;
/// What is read of messages in one second, in bytes.
const READ_PER_WINDOW_BYTES: usize = 32 << 20;

/// What may still be read in this second.
pub(super) struct Budget {
    left_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left_bytes: READ_PER_WINDOW_BYTES }
    }
}

impl Budget {
    fn take(&mut self, bytes: usize) -> bool {
        let has_enough = self.left_bytes >= bytes;
        self.left_bytes -= if has_enough { bytes } else { 0 };
        has_enough
    }
}

/// All that is asked for must hold; what is not asked for always does.
#[derive(Default)]
pub struct TailFilter {
    routing_key: Option<Box<[u8]>>,
    header: Option<(ShortString, Option<Box<[u8]>>)>,
    text: Option<Finder<'static>>,
}

impl TailFilter {
    /// Only messages whose key is like this pattern of words, as a topic exchange's bindings have it.
    pub fn with_key(mut self, pattern: &[u8]) -> Self {
        self.routing_key = Some(pattern.into());
        self
    }

    /// Only messages with a header of this name, and of this value if there is one: a text, a number or a boolean.
    pub fn with_header(mut self, name: ShortString, value: Option<&[u8]>) -> Self {
        self.header = Some((name, value.map(Into::into)));
        self
    }

    /// Only messages with this text in the body.
    pub fn with_text(mut self, text: &[u8]) -> Self {
        self.text = Some(Finder::new(text).into_owned());
        self
    }

    /// Whether a message is one of those; `None` when that is not looked at, as there is too much to look at.
    pub(super) fn matches(&self, content: &Content<'_>, budget: &mut Budget) -> Option<bool> {
        if let Some(pattern) = &self.routing_key
            && !is_like(pattern, content.routing_key())
        {
            return Some(false);
        }
        if let Some((name, wanted)) = &self.header {
            if !budget.take(content.properties().len()) {
                return None;
            }
            let properties = PropertiesRef::parse(content.properties()).unwrap_or_default();
            let value = properties.headers.and_then(|headers| headers.get(name));
            let holds = value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| says(value, wanted)));
            if !holds {
                return Some(false);
            }
        }
        if let Some(text) = &self.text {
            let body = content.body();
            let searched = &body[..body.len().min(SEARCHED_MAX_BYTES)];
            if !budget.take(searched.len()) {
                return None;
            }
            return Some(text.find(searched).is_some());
        }
        Some(true)
    }
}

fn says(value: FieldValueRef<'_>, wanted: &[u8]) -> bool {
    match value {
        FieldValueRef::LongString(text) | FieldValueRef::Bytes(text) => text == wanted,
        FieldValueRef::Boolean(value) => wanted == if value { b"true".as_slice() } else { b"false" },
        FieldValueRef::Timestamp(time) => number(wanted) == Some(i128::from(time)),
        number_ref => number_ref.integer().is_some_and(|value| number(wanted) == Some(i128::from(value))),
    }
}

fn number(text: &[u8]) -> Option<i128> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a key is like a pattern: `*` is one word, `#` any number of them.
fn is_like(pattern: &[u8], key: &[u8]) -> bool {
    let (mut pattern, mut key) = (Words::of(pattern), Words::of(key));
    // Where to go on if what follows the last `#` does not fit: `#` takes one word more.
    let mut again: Option<(Words<'_>, Words<'_>)> = None;
    loop {
        let (mut next_pattern, mut next_key) = (pattern, key);
        match (next_pattern.next(), next_key.next()) {
            (None, None) => return true,
            (Some(b"#"), _) => {
                pattern = next_pattern;
                again = Some((next_pattern, key));
            }
            (Some(word), Some(of_key)) if word == b"*" || word == of_key => (pattern, key) = (next_pattern, next_key),
            _ => {
                let Some((after, mut taken)) = again else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, key) = (after, taken);
                again = Some((after, taken));
            }
        }
    }
}

/// Words between dots. There are none of nothing.
#[derive(Clone, Copy)]
struct Words<'a>(Option<&'a [u8]>);

impl<'a> Words<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self((!text.is_empty()).then_some(text))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match memchr::memchr(b'.', rest) {
            Some(dot) => {
                self.0 = Some(&rest[dot + 1..]);
                Some(&rest[..dot])
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by trying everything.
    fn is_like_slowly(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", rest @ ..], _) => (0..=key.len()).any(|taken| is_like_slowly(rest, &key[taken..])),
            ([word, pattern @ ..], [of_key, key @ ..]) => {
                (*word == "*" || word == of_key) && is_like_slowly(pattern, key)
            }
            _ => false,
        }
    }

    fn split(text: &str) -> Vec<&str> {
        if text.is_empty() { Vec::new() } else { text.split('.').collect() }
    }

    proptest! {
        #[test]
        fn a_key_is_like_a_pattern_as_bindings_have_it(
            pattern in "([ab*#](\\.[ab*#]){0,5})?|\\.|a\\.|#\\.",
            key in "([ab](\\.[ab]){0,6})?|\\.|a\\.|\\.b",
        ) {
            let slowly = is_like_slowly(&split(&pattern), &split(&key));
            prop_assert_eq!(is_like(pattern.as_bytes(), key.as_bytes()), slowly);
        }
    }
}
