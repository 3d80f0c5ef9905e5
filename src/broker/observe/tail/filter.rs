//! Which messages somebody wants to see of those that pass: by routing key, by a header, by text in the body.
//!
//! Looking takes time that belongs to others. So what is read of keys, bodies and headers in one second is bounded; when that
//! is used up, messages pass unread.

use crate::broker::exchange::is_like;
use crate::broker::message::Content;
use crate::protocol::{FieldValueRef, PropertiesRef, ShortString};
use memchr::memmem::Finder;

/// How far into a body a text is looked for, in bytes.
const SEARCHED_MAX_BYTES: usize = 64 << 10;
/// What is read of messages in one second, in bytes.
const READ_PER_WINDOW_BYTES: usize = 32 << 20;
/// As how many of them it counts to compare one word of a key: most words are short, and it is the steps that take time.
const WORD_BYTES: usize = 16;

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

/// A pattern of words, and what it takes to compare it.
struct KeyPattern {
    pattern: Box<[u8]>,
    words: usize,
    /// Words behind the first `#`: they are compared again wherever they may begin.
    words_behind_any: usize,
}

impl KeyPattern {
    fn new(pattern: &[u8]) -> Self {
        let words = pattern.split(|byte| *byte == b'.');
        let words_behind_any = words.clone().skip_while(|word| *word != b"#").skip(1).count();
        Self { pattern: pattern.into(), words: words.count(), words_behind_any }
    }

    /// No more words than these are compared to find out whether a key is like it.
    fn words_compared_with(&self, key: &[u8]) -> usize {
        let words = 1 + memchr::memchr_iter(b'.', key).count();
        self.words + words * (1 + self.words_behind_any)
    }
}

/// All that is asked for must hold; what is not asked for always does.
#[derive(Default)]
pub struct TailFilter {
    routing_key: Option<KeyPattern>,
    header: Option<(ShortString, Option<Box<[u8]>>)>,
    text: Option<Finder<'static>>,
}

impl TailFilter {
    /// Only messages whose key is like this pattern of words, as a topic exchange's bindings have it.
    pub fn with_key(mut self, pattern: &[u8]) -> Self {
        self.routing_key = Some(KeyPattern::new(pattern));
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
        if let Some(pattern) = &self.routing_key {
            let key = content.routing_key();
            if !budget.take(pattern.words_compared_with(key) * WORD_BYTES) {
                return None;
            }
            if !is_like(&pattern.pattern, key) {
                return Some(false);
            }
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
