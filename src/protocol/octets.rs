//! Octets as RabbitMQ shows them in the texts of its framing errors: Erlang's notation for binaries.

use std::fmt::{self, Write};

/// How many octets are written at most. A reply text is cut at 255 bytes, and an octet writes at least one.
const OCTETS_SHOWN_MAX: usize = 256;

/// Displays as `<<"abc">>` when every octet is printable, else as `<<0,60,1>>`.
pub struct Octets<'a>(pub &'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(OCTETS_SHOWN_MAX)];
        f.write_str("<<")?;
        if !shown.is_empty() && self.0.iter().all(|&octet| is_printable(octet)) {
            f.write_char('"')?;
            shown.iter().try_for_each(|&octet| write_character(f, octet))?;
            f.write_char('"')?;
        } else {
            for (index, octet) in shown.iter().enumerate() {
                let separator = if index == 0 { "" } else { "," };
                write!(f, "{separator}{octet}")?;
            }
        }
        f.write_str(">>")
    }
}

fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~' | 0x08..=0x0D | 0x1B)
}

fn write_character(f: &mut fmt::Formatter<'_>, octet: u8) -> fmt::Result {
    match octet {
        b'"' => f.write_str("\\\""),
        b'\\' => f.write_str("\\\\"),
        0x08 => f.write_str("\\b"),
        b'\t' => f.write_str("\\t"),
        b'\n' => f.write_str("\\n"),
        0x0B => f.write_str("\\v"),
        0x0C => f.write_str("\\f"),
        b'\r' => f.write_str("\\r"),
        0x1B => f.write_str("\\e"),
        _ => f.write_char(char::from(octet)),
    }
}
