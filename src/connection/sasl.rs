//! SASL: PLAIN (RFC 4616) and RabbitMQ's AMQPLAIN.

use crate::protocol::{FieldTable, FieldValue};

/// What the server offers in `connection.start`, separated by spaces.
pub const MECHANISMS: &[u8] = b"PLAIN AMQPLAIN";

/// Longest user name and password together, in bytes.
const RESPONSE_MAX: usize = 64 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    pub mechanism: &'static str,
    pub user: Box<[u8]>,
    pub password: Box<[u8]>,
}

/// Reads a client's response. `None` for a mechanism that isn't offered, or a response that isn't one of it.
pub fn credentials(mechanism: &[u8], response: &[u8]) -> Option<Credentials> {
    if response.len() > RESPONSE_MAX {
        return None;
    }
    match mechanism {
        b"PLAIN" => plain(response),
        b"AMQPLAIN" => amqplain(response),
        _ => None,
    }
}

/// `authorization identity NUL user NUL password`. As RabbitMQ does, the identity must be empty: it can't be honoured.
fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.split(|byte| *byte == 0);
    let (identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if !identity.is_empty() || parts.next().is_some() {
        return None;
    }
    Some(Credentials { mechanism: "PLAIN", user: user.into(), password: password.into() })
}

/// A field table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials> {
    let table = FieldTable::decode_entries(response).ok()?;
    let long_string = |name: &[u8]| match table.get(name) {
        Some(FieldValue::LongString(value)) => Some(value.clone()),
        _ => None,
    };
    Some(Credentials { mechanism: "AMQPLAIN", user: long_string(b"LOGIN")?, password: long_string(b"PASSWORD")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(mechanism: &'static str) -> Option<Credentials> {
        Some(Credentials { mechanism, user: (*b"guest").into(), password: (*b"secret").into() })
    }

    #[test]
    fn plain_wants_two_nuls_and_no_identity() {
        assert_eq!(credentials(b"PLAIN", b"\0guest\0secret"), guest("PLAIN"));
        for wrong in [&b""[..], b"guest", b"\0guest", b"x\0guest\0secret", b"\0guest\0secret\0"] {
            assert_eq!(credentials(b"PLAIN", wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn amqplain_is_a_table_without_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(credentials(b"AMQPLAIN", response), guest("AMQPLAIN"));
        assert_eq!(credentials(b"AMQPLAIN", &response[..16]), None);
        assert_eq!(credentials(b"AMQPLAIN", b"\0\0\0\0"), None);
    }

    #[test]
    fn unknown_mechanisms_and_huge_responses_are_refused() {
        assert_eq!(credentials(b"EXTERNAL", b""), None);
        assert_eq!(credentials(b"PLAIN", &vec![0; RESPONSE_MAX + 1]), None);
    }
}
