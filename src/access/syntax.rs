//! What a pattern of RabbitMQ's means, said in the words of the `regex` crate.
//!
//! RabbitMQ reads patterns as PCRE does, and as bytes of Latin-1: `é` is two of them. It owns the one pass that turns such a
//! pattern into one that the linear engine takes for the same, and refuses what it cannot say. It compiles nothing. Where
//! the two still differ, ours contains fewer names, never more:
//!
//! | in a pattern | PCRE | here |
//! |---|---|---|
//! | `$`, `\Z` | at the end, and before a newline there | at the end |
//! | `(?i)` | knows the letters of Latin-1 | knows those of ASCII |
//! | `\b`, `\B`; `(?i)` and a negated class | know the letters of Latin-1 | mean names of ASCII only |
//! | `^(?!…)` at the beginning | works | works; with `(?i)`, `\b` or `\B` in it it means names of ASCII only, with `$` or `\Z` names without a newline only; alternatives behind it stand in a group, or are refused |
//! | other lookaround, back references, atomic groups, possessive quantifiers, verbs, recursion | work | refused |
//! | `\Q…\E`, `\R`, `\h`, `\v`, `\K`, `\G`, `\N`, `\p{…}`, `\x{…}`, octal numbers, named groups | work | refused |
//! | flags but `i` and `s` | work | refused |
//!
//! The same as in PCRE, but not as in the `regex` crate: a `{` that begins no `{2}`, `{2,}` or `{2,3}` is itself, and so are
//! `[`, `&&` and `~~` in brackets; `\<` and `\>` are `<` and `>`; `\w` and `[[:alpha:]]` know the letters of Latin-1.

use super::pattern::BadPattern;
use std::fmt::Write;

/// Letters of Latin-1 that are none of ASCII, as a part of a class.
const LETTERS: &str = r"\xAA\xB5\xBA\xC0-\xD6\xD8-\xF6\xF8-\xFF";

/// Classes that PCRE and the `regex` crate both know, with what they contain beyond ASCII in Erlang's PCRE. (Yes, `ascii`.)
const POSIX_CLASSES: [(&str, &str); 14] = [
    ("alnum", LETTERS),
    ("alpha", LETTERS),
    ("ascii", r"\x80-\xFF"),
    ("blank", ""),
    ("cntrl", r"\x80-\x9F"),
    ("digit", ""),
    ("graph", r"\xA0-\xFF"),
    ("lower", r"\xAA\xB5\xBA\xDF-\xF6\xF8-\xFF"),
    ("print", r"\xA0-\xFF"),
    ("punct", r"\xA0-\xA9\xAB-\xB4\xB6-\xB9\xBB-\xBF\xD7\xF7"),
    ("space", ""),
    ("upper", r"\xC0-\xD6\xD8-\xDE"),
    ("word", LETTERS),
    ("xdigit", ""),
];

/// A pattern for the linear engine.
pub struct Rewritten {
    pub text: String,
    /// What matches this is not meant: the inside of a look-ahead at the beginning.
    pub excepted: Option<String>,
    /// It means no name with bytes beyond ASCII, whatever the engine says.
    pub is_ascii_only: bool,
    /// It means no name with a newline, whatever the engine says.
    pub is_one_line: bool,
}

fn bad(reason: &str) -> BadPattern {
    BadPattern::new(reason)
}

/// Reads a pattern from its beginning to its end, and writes what it means.
struct Reader<'pattern> {
    rest: &'pattern [u8],
    /// What the `regex` crate shall read. ASCII: other bytes are written as numbers.
    written: String,
    /// It asks where words begin or end.
    has_boundary: bool,
    ignores_case: bool,
    has_negation: bool,
    /// It asks where the name ends, and PCRE finds an end before a newline as well.
    has_end: bool,
    /// There is a `|` outside of all groups.
    has_alternatives: bool,
}

/// What the linear engine is to read for a pattern.
pub fn rewritten(pattern: &[u8]) -> Result<Rewritten, BadPattern> {
    if let Some(excepted) = pattern.strip_prefix(b"^(?!") {
        return rewritten_exception(excepted);
    }
    let mut reader = Reader::new(pattern);
    while let Some(byte) = reader.next() {
        reader.one(byte)?;
    }
    let is_ascii_only = reader.is_ascii_only();
    Ok(Rewritten { text: reader.written, excepted: None, is_ascii_only, is_one_line: false })
}

/// What begins with `^(?!`, from there on: two patterns, both anchored, the second of which is meant and the first is not.
fn rewritten_exception(pattern: &[u8]) -> Result<Rewritten, BadPattern> {
    let mut excepted = Reader::new(pattern);
    if !excepted.up_to_closing()? {
        return Err(bad("a look-ahead is not closed"));
    }
    let mut rest = Reader::new(excepted.rest);
    if rest.up_to_closing()? {
        return Err(bad("unopened group"));
    }
    // To PCRE neither `^` nor the look-ahead is part of the second alternative.
    if rest.has_alternatives {
        return Err(bad("alternatives behind a look-ahead are only supported in a group"));
    }
    // What is excepted must contain no fewer names than PCRE's.
    let is_ascii_only = rest.is_ascii_only() || excepted.has_boundary || excepted.ignores_case;
    let anchored = |text: &str| format!("^(?:{text})");
    Ok(Rewritten {
        text: anchored(&rest.written),
        excepted: Some(anchored(&excepted.written)),
        is_ascii_only,
        is_one_line: excepted.has_end,
    })
}

/// Text that stands for itself, in a pattern yet to be rewritten.
pub fn escaped(text: &str) -> String {
    let special = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

impl<'pattern> Reader<'pattern> {
    fn new(pattern: &'pattern [u8]) -> Self {
        Self {
            rest: pattern,
            written: String::with_capacity(pattern.len()),
            has_boundary: false,
            ignores_case: false,
            has_negation: false,
            has_end: false,
            has_alternatives: false,
        }
    }

    /// The engine knows of letters beyond ASCII neither that they are some, nor their other case. Without the former a
    /// boundary may be found where PCRE has none; without the latter a class lacks letters, and what is not in it has them.
    fn is_ascii_only(&self) -> bool {
        self.has_boundary || self.ignores_case && self.has_negation
    }

    /// Reads all that is in a group, and what closes it. False when the pattern ends before.
    fn up_to_closing(&mut self) -> Result<bool, BadPattern> {
        let mut depth = 0_usize;
        while let Some(byte) = self.next() {
            match byte {
                b'(' => depth += 1,
                b')' if depth == 0 => return Ok(true),
                b')' => depth -= 1,
                b'|' => self.has_alternatives |= depth == 0,
                _ => {}
            }
            self.one(byte)?;
        }
        Ok(false)
    }

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn next_is(&mut self, expected: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(expected);
        rest.inspect(|rest| self.rest = rest).is_some()
    }

    /// A byte that stands for itself, whatever it is.
    fn literal(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() {
            self.written.push(byte.into());
        } else {
            write!(self.written, "\\x{byte:02X}").expect("a string takes everything");
        }
    }

    fn same(&mut self, byte: u8) {
        self.written.push(byte.into());
    }

    /// What begins with this byte, outside of brackets.
    fn one(&mut self, byte: u8) -> Result<(), BadPattern> {
        match byte {
            b'\\' => self.escape(false)?,
            b'[' => self.class()?,
            b'(' => self.group()?,
            b'$' => {
                self.has_end = true;
                self.same(byte);
            }
            b'.' | b'^' | b'|' | b')' => self.same(byte),
            b'*' | b'+' | b'?' => self.quantifier(&[byte])?,
            b'{' => match self.counts() {
                Some(length) => {
                    let (counts, rest) = self.rest.split_at(length);
                    self.rest = rest;
                    self.quantifier(&[b"{", counts].concat())?;
                }
                None => self.literal(byte),
            },
            _ => self.literal(byte),
        }
        Ok(())
    }

    /// How many bytes make up the rest of a quantifier in braces, if it is one.
    fn counts(&self) -> Option<usize> {
        let length = self.rest.iter().position(|&byte| byte == b'}')?;
        let mut counts = self.rest[..length].split(|&byte| byte == b',');
        let is_number = |count: &[u8]| !count.is_empty() && count.iter().all(u8::is_ascii_digit);
        let at_least = counts.next().is_some_and(is_number);
        let at_most = counts.next().is_none_or(|count| count.is_empty() || is_number(count));
        (at_least && at_most && counts.next().is_none()).then_some(length + 1)
    }

    fn quantifier(&mut self, quantifier: &[u8]) -> Result<(), BadPattern> {
        quantifier.iter().for_each(|&byte| self.same(byte));
        // A lazy one finds another match, but finds one whenever the greedy one does.
        if self.next_is(b"?") {
            self.same(b'?');
        }
        match self.rest.first() {
            Some(b'+') => Err(bad("possessive quantifiers are not supported")),
            Some(b'*' | b'?') => Err(bad("a quantifier follows a quantifier")),
            _ => Ok(()),
        }
    }

    fn group(&mut self) -> Result<(), BadPattern> {
        self.same(b'(');
        match self.rest.first() {
            Some(b'*') => return Err(bad("verbs such as (*UTF8) are not supported")),
            Some(b'?') => self.rest = &self.rest[1..],
            _ => return Ok(()),
        }
        let flags = self.rest.iter().take_while(|byte| matches!(byte, b'i' | b's' | b'-')).count();
        let (flags, rest) = self.rest.split_at(flags);
        if !matches!(rest.first(), Some(b')' | b':')) {
            return Err(bad(match rest {
                [b'=' | b'!', ..] | [b'<', b'=' | b'!', ..] => {
                    "of lookaround, only ^(?!...) at the beginning is supported"
                }
                [b'>', ..] => "atomic groups are not supported",
                _ => "of groups that begin with (?, only (?:, and the flags i and s, are supported",
            }));
        }
        self.rest = rest;
        self.same(b'?');
        flags.iter().for_each(|&flag| self.same(flag));
        self.ignores_case |= flags.contains(&b'i');
        if self.next_is(b":") {
            self.same(b':');
        }
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), BadPattern> {
        let byte = self.next().ok_or(bad("it ends with a backslash"))?;
        match byte {
            b'd' | b'D' | b's' | b'S' | b'n' | b'r' | b't' | b'f' | b'a' => {
                self.same(b'\\');
                self.same(byte);
            }
            b'w' => self.known_class("", r"\w", LETTERS),
            b'W' => self.known_class("^", r"\w", LETTERS),
            b'x' => match *self.rest {
                [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    self.rest = &self.rest[2..];
                    self.written.extend(['\\', 'x', high.into(), low.into()]);
                }
                _ => return Err(bad("\\x is not followed by two hexadecimal digits")),
            },
            b'b' if in_class => self.literal(8),
            b'b' | b'B' | b'A' | b'z' if !in_class => {
                self.has_boundary |= matches!(byte, b'b' | b'B');
                self.same(b'\\');
                self.same(byte);
            }
            b'Z' if !in_class => {
                self.has_end = true;
                self.written.push_str("\\z");
            }
            b'0'..=b'9' | b'g' | b'k' if !in_class => return Err(bad("back references are not supported")),
            _ if byte.is_ascii_alphanumeric() => {
                return Err(BadPattern::new(&format!("\\{} is not supported", char::from(byte))));
            }
            _ => self.literal(byte),
        }
        Ok(())
    }

    /// A class with a name, and what it contains beyond ASCII.
    fn known_class(&mut self, negation: &str, of_ascii: &str, beyond: &str) {
        self.has_negation |= !negation.is_empty();
        write!(self.written, "[{negation}{of_ascii}{beyond}]").expect("a string takes everything");
    }

    /// The rest of a class in brackets. Only `]`, `\`, `-`, and `[:` mean anything in it.
    fn class(&mut self) -> Result<(), BadPattern> {
        self.same(b'[');
        if self.next_is(b"^") {
            self.same(b'^');
            self.has_negation = true;
        }
        let mut is_first = true;
        // A class in the class has just been read, from which no range goes on.
        let mut behind_class = false;
        loop {
            let byte = self.next().ok_or(bad("a bracket is not closed"))?;
            match byte {
                b']' if !is_first => {
                    self.same(b']');
                    return Ok(());
                }
                b'[' if matches!(self.rest.first(), Some(b':' | b'.' | b'=')) => {
                    self.posix_class()?;
                    behind_class = true;
                    is_first = false;
                    continue;
                }
                b'\\' => {
                    behind_class = matches!(self.rest.first(), Some(b'd' | b'D' | b's' | b'S' | b'w' | b'W'));
                    self.escape(true)?;
                    is_first = false;
                    continue;
                }
                // The one at the beginning or the end is itself; the `regex` crate would subtract classes with two.
                b'-' if is_first || behind_class || self.rest.first() == Some(&b']') => self.literal(b'-'),
                b'-' if self.rest.first() == Some(&b'-') => return Err(bad("two hyphens in brackets")),
                b'-' => self.same(b'-'),
                _ => self.literal(byte),
            }
            is_first = false;
            behind_class = false;
        }
    }

    /// `[:alpha:]` and its like, behind the first bracket.
    fn posix_class(&mut self) -> Result<(), BadPattern> {
        let rest = self.rest.strip_prefix(b":").ok_or(bad("collating elements are not supported"))?;
        let (negation, rest) = rest.strip_prefix(b"^").map_or(("", rest), |rest| ("^", rest));
        let begins =
            |(name, _): &&(&str, &str)| rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":]"));
        let (name, beyond) = POSIX_CLASSES.iter().find(begins).ok_or(bad("[: in brackets begins no class"))?;
        self.known_class(negation, &format!("[:{name}:]"), beyond);
        self.rest = &rest[name.len() + 2..];
        Ok(())
    }
}
