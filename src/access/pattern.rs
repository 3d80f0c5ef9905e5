//! Patterns: which names of queues and exchanges, or which routing keys, somebody may use.
//!
//! They are regular expressions, and mean what they mean to RabbitMQ, which asks Erlang's `re:run`: bytes are compared, and a
//! pattern is anchored nowhere unless it says so, so that `orders` permits `all-orders-2` as well. The empty pattern is
//! read as `^$`: no queue or exchange has that name, so it permits none; but there is an empty routing key, which it permits.
//!
//! It owns what is compiled, and its limits. The engine is linear: no pattern can be made to take long. What it cannot take
//! is refused when it is set, so that nothing can go wrong when somebody is asked; [syntax](super::syntax) says what.

use super::syntax;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt;

/// The longest pattern, as RabbitMQ has it.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// What one may take when it is compiled: `(a{100}){100}` is short, and takes megabytes. All literals of
/// [`PATTERN_BYTES_MAX`] fit. It bounds what one question costs, too: the worst found took 3 ms for 255 bytes.
const COMPILED_BYTES_MAX: usize = 64 * 1024;

/// The least that [`Pattern::compiled_bytes`] tells of one that is compiled; it tells a power of two times this.
const COMPILED_BYTES_MIN: usize = 256;

/// How deep groups may be nested.
const NESTING_MAX: u32 = 50;

/// Names that are meant by a regular expression.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    meaning: Meaning,
}

/// The commonest ones are known by sight.
#[derive(Clone)]
enum Meaning {
    Everything,
    /// `^.*$`: a dot is everything but a newline.
    OneLine,
    Empty,
    /// `^orders$`
    Exactly(Box<[u8]>),
    /// `^orders\\.`, `^orders.*`
    Beginning(Box<[u8]>),
    Matching(Box<Matching>),
}

/// What `regex` is asked, and what it can't be.
#[derive(Clone)]
struct Matching {
    regex: Regex,
    /// Only if this does not match.
    excepted: Option<Regex>,
    /// Only if it has no bytes beyond ASCII.
    is_ascii_only: bool,
    /// Only if it has no newline.
    is_one_line: bool,
    compiled_bytes: usize,
}

/// Why a text is no pattern, as part of a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadPattern(Box<str>);

impl BadPattern {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadPattern {}

impl From<regex::Error> for BadPattern {
    fn from(error: regex::Error) -> Self {
        match error {
            regex::Error::CompiledTooBig(_) => Self::new("it takes too much memory"),
            // Several lines, of which the first ones show the pattern and the last one says why.
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                Self::new(reason.strip_prefix("error: ").unwrap_or(reason))
            }
        }
    }
}

impl Pattern {
    /// Names of queues and exchanges.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let meaning = Self::short_enough(text).and_then(Meaning::of)?;
        Ok(Self { text: text.into(), meaning })
    }

    /// Names of queues and exchanges to which a policy applies. Here the empty pattern is read as it is written: it fits all.
    pub fn for_policies(text: &str) -> Result<Self, BadPattern> {
        let meaning = match Self::short_enough(text)? {
            "" => Meaning::Everything,
            text => Meaning::of(text)?,
        };
        Ok(Self { text: text.into(), meaning })
    }

    /// Routing keys that a user may use in a virtual host. `{username}` and `{vhost}` stand for those names, as they are
    /// and not as patterns. Nothing else in braces stands for anything: other protocols know a `{client_id}`, AMQP 0-9-1
    /// has none.
    pub fn for_topics(text: &str, username: &str, vhost: &str) -> Result<Self, BadPattern> {
        let expanded = Self::short_enough(text)?
            // What is escaped has no braces without a backslash, so the second one finds nothing in it.
            .replace("{username}", &syntax::escaped(username))
            .replace("{vhost}", &syntax::escaped(vhost));
        Ok(Self { text: text.into(), meaning: Meaning::of(&expanded)? })
    }

    fn short_enough(text: &str) -> Result<&str, BadPattern> {
        let length = text.len();
        let too_long = || BadPattern::new(&format!("it has {length} bytes, and may have {PATTERN_BYTES_MAX}"));
        (length <= PATTERN_BYTES_MAX).then_some(text).ok_or_else(too_long)
    }

    /// All names.
    pub fn everything() -> Self {
        Self { text: ".*".into(), meaning: Meaning::Everything }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How much it takes, at most; the time that a question takes grows with it.
    pub fn compiled_bytes(&self) -> usize {
        match &self.meaning {
            Meaning::Matching(matching) => matching.compiled_bytes,
            _ => 0,
        }
    }

    /// Whether every name is meant, so that it need not be asked.
    #[inline]
    pub fn is_everything(&self) -> bool {
        matches!(self.meaning, Meaning::Everything)
    }

    /// Whether this name, or routing key, is meant.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.meaning {
            Meaning::Everything => true,
            Meaning::OneLine => !name.contains(&b'\n'),
            Meaning::Empty => name.is_empty(),
            Meaning::Exactly(text) => *name == **text,
            Meaning::Beginning(text) => name.starts_with(text),
            Meaning::Matching(matching) => {
                let Matching { regex, excepted, is_ascii_only, is_one_line, compiled_bytes: _ } = &**matching;
                regex.is_match(name)
                    && excepted.as_ref().is_none_or(|excepted| !excepted.is_match(name))
                    && (!is_ascii_only || name.is_ascii())
                    && (!is_one_line || !name.contains(&b'\n'))
            }
        }
    }
}

impl Meaning {
    /// What most policies and permissions ask: a name, or how it begins.
    fn known_by_sight(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('^')?.as_bytes();
        let mut literal = Vec::new();
        loop {
            rest = match *rest {
                [] | [b'.', b'*'] => return Some(Self::Beginning(literal.into())),
                [b'$'] => return Some(Self::Exactly(literal.into())),
                [byte, ref more @ ..] if byte.is_ascii_alphanumeric() || b"-_/:".contains(&byte) => {
                    literal.push(byte);
                    more
                }
                [b'\\', byte @ (b'.' | b'-' | b'_' | b'/'), ref more @ ..] => {
                    literal.push(byte);
                    more
                }
                _ => return None,
            };
            // What is counted is not itself.
            if let [b'*' | b'+' | b'?' | b'{', ..] = rest {
                return None;
            }
        }
    }

    fn of(text: &str) -> Result<Self, BadPattern> {
        Ok(match text {
            "" | "^$" => Self::Empty,
            "^" | "$" | ".*" | "^.*" | ".*$" => Self::Everything,
            "^.*$" => Self::OneLine,
            _ => {
                if let Some(known) = Self::known_by_sight(text) {
                    return Ok(known);
                }
                let rewritten = syntax::rewritten(text.as_bytes())?;
                let (regex, bytes) = compiled(&rewritten.text)?;
                let excepted = rewritten.excepted.as_deref().map(compiled).transpose()?;
                Self::Matching(Box::new(Matching {
                    regex,
                    compiled_bytes: bytes + excepted.as_ref().map_or(0, |(_, bytes)| *bytes),
                    excepted: excepted.map(|(regex, _)| regex),
                    is_ascii_only: rewritten.is_ascii_only,
                    is_one_line: rewritten.is_one_line,
                }))
            }
        })
    }
}

/// And the limit within which it is. The crate does not tell what it took.
fn compiled(text: &str) -> Result<(Regex, usize), regex::Error> {
    let mut limit = COMPILED_BYTES_MIN;
    loop {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(false).nest_limit(NESTING_MAX).size_limit(limit).dfa_size_limit(COMPILED_BYTES_MAX);
        match builder.build() {
            Err(regex::Error::CompiledTooBig(_)) if limit < COMPILED_BYTES_MAX => limit *= 2,
            built => return built.map(|regex| (regex, limit)),
        }
    }
}

/// The same text; where it comes from topic permissions, of the same user and virtual host.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests;
