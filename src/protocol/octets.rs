//! Octets as RabbitMQ shows them in the texts of its framing errors: Erlang's notation for binaries.

use std::fmt::{self, Write};

/// How many octets of a frame's payload are shown.
const SNIPPET_OCTETS_MAX: usize = 16;

/// How many octets of a method's arguments are written at most. A reply text is cut at 255 bytes, and an octet writes
/// at least one.
const NUMBERS_MAX: usize = 256;

/// A payload's beginning: `all octets = <<"abc">>` when every octet shown is printable, else `all octets = <<0,60,1>>`.
pub struct Snippet<'a>(pub &'a [u8]);

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.0.get(..SNIPPET_OCTETS_MAX) {
            Some(first) if self.0.len() > SNIPPET_OCTETS_MAX => {
                write!(f, "first {SNIPPET_OCTETS_MAX} octets = ")?;
                first
            }
            _ => {
                f.write_str("all octets = ")?;
                self.0
            }
        };
        if shown.is_empty() || !shown.iter().all(|&octet| is_printable(octet)) {
            return Numbers(shown).fmt(f);
        }
        f.write_str("<<\"")?;
        String::from_utf8_lossy(shown).chars().try_for_each(|character| write_character(f, character))?;
        f.write_str("\">>")
    }
}

/// Octets as numbers, whatever they are: `<<97,98,99>>`.
pub struct Numbers<'a>(pub &'a [u8]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<<")?;
        for (index, octet) in self.0.iter().take(NUMBERS_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{octet}")?;
        }
        f.write_str(">>")
    }
}

/// Whether Erlang takes the octet for a character of Latin-1 that can be shown.
fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~' | 0xA0..=0xFF | 0x08..=0x0D | 0x1B)
}

fn write_character(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\u{8}' => f.write_str("\\b"),
        '\t' => f.write_str("\\t"),
        '\n' => f.write_str("\\n"),
        '\u{B}' => f.write_str("\\v"),
        '\u{C}' => f.write_str("\\f"),
        '\r' => f.write_str("\\r"),
        '\u{1B}' => f.write_str("\\e"),
        _ => f.write_char(character),
    }
}
