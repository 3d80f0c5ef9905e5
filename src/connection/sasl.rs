//! SASL: PLAIN (RFC 4616), EXTERNAL (RFC 4422), and RabbitMQ's AMQPLAIN and RABBIT-CR-DEMO.
//!
//! ```text
//! PLAIN, AMQPLAIN   start-ok: user and password
//! EXTERNAL          start-ok: nothing that is looked at; the client's certificate says who it is
//! RABBIT-CR-DEMO    start-ok: user;  secure: a challenge;  secure-ok: password
//! ```
//! It reads what clients say, and knows nothing of who may log in.

use crate::protocol::{FieldTable, FieldValue};

/// What RABBIT-CR-DEMO asks, and how the answer begins.
pub const CHALLENGE: &[u8] = b"Please tell me your password";
const ANSWER: &[u8] = b"My password is ";

/// Longest user name and password together, in bytes.
const RESPONSE_MAX: usize = 64 * 1024;

/// A way to say who one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    Plain,
    Amqplain,
    /// Offered to those who come over TLS. There is no password: the handshake showed who it is.
    External,
    /// As safe as PLAIN; it shows how a server asks back.
    RabbitCrDemo,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Amqplain => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::RabbitCrDemo => "RABBIT-CR-DEMO",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    pub mechanism: Mechanism,
    pub user: Box<[u8]>,
    pub password: Box<[u8]>,
}

/// What a client says in `start-ok`.
#[derive(PartialEq, Eq, Debug)]
pub enum Response {
    Complete(Credentials),
    /// Its certificate says who it is.
    Certificate,
    /// It is to be [challenged](CHALLENGE) for the password of this user.
    User(Box<[u8]>),
}

/// Reads a client's first response. `None` for one that isn't of its mechanism.
pub fn first_response(mechanism: Mechanism, response: &[u8]) -> Option<Response> {
    if response.len() > RESPONSE_MAX {
        return None;
    }
    match mechanism {
        Mechanism::Plain => plain(response).map(Response::Complete),
        Mechanism::Amqplain => amqplain(response).map(Response::Complete),
        Mechanism::External => Some(Response::Certificate),
        Mechanism::RabbitCrDemo => Some(Response::User(response.into())),
    }
}

/// Reads what a client answers to the challenge.
pub fn second_response(user: Box<[u8]>, response: &[u8]) -> Option<Credentials> {
    let password = response.strip_prefix(ANSWER).filter(|password| password.len() <= RESPONSE_MAX)?;
    Some(Credentials { mechanism: Mechanism::RabbitCrDemo, user, password: password.into() })
}

/// `authorization identity NUL user NUL password`. As RabbitMQ does, the identity must be empty: it can't be honoured.
fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.split(|byte| *byte == 0);
    let (identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if !identity.is_empty() || parts.next().is_some() {
        return None;
    }
    Some(Credentials { mechanism: Mechanism::Plain, user: user.into(), password: password.into() })
}

/// A field table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials> {
    let table = FieldTable::decode_entries(response).ok()?;
    let bytes = |name: &[u8]| match table.get(name) {
        Some(FieldValue::LongString(value) | FieldValue::Bytes(value)) => Some(value.clone()),
        _ => None,
    };
    Some(Credentials { mechanism: Mechanism::Amqplain, user: bytes(b"LOGIN")?, password: bytes(b"PASSWORD")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guest(mechanism: Mechanism) -> Option<Response> {
        let (user, password) = ((*b"guest").into(), (*b"secret").into());
        Some(Response::Complete(Credentials { mechanism, user, password }))
    }

    #[test]
    fn plain_wants_two_nuls_and_no_identity() {
        assert_eq!(first_response(Mechanism::Plain, b"\0guest\0secret"), guest(Mechanism::Plain));
        for wrong in [&b""[..], b"guest", b"\0guest", b"x\0guest\0secret", b"\0guest\0secret\0"] {
            assert_eq!(first_response(Mechanism::Plain, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn amqplain_is_a_table_without_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(first_response(Mechanism::Amqplain, response), guest(Mechanism::Amqplain));
        let twice = [&response[..], &response[..11], b"\0\0\0\x01x"].concat();
        assert_eq!(first_response(Mechanism::Amqplain, &twice), guest(Mechanism::Amqplain), "the first counts");
        assert_eq!(first_response(Mechanism::Amqplain, &response[..16]), None);
        assert_eq!(first_response(Mechanism::Amqplain, b"\0\0\0\0"), None);
    }

    #[test]
    fn huge_responses_are_refused() {
        assert_eq!(first_response(Mechanism::Plain, &vec![0; RESPONSE_MAX + 1]), None);
        let huge = [ANSWER, &vec![b'x'; RESPONSE_MAX + 1]].concat();
        assert_eq!(second_response(Box::default(), &huge), None);
    }

    proptest! {
        #[test]
        fn a_challenge_is_answered_by_the_password_after_the_words(
            user in prop::collection::vec(any::<u8>(), 0..20), said in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let user: Box<[u8]> = user.into();
            let first = first_response(Mechanism::RabbitCrDemo, &user);
            prop_assert_eq!(first, Some(Response::User(user.clone())));
            prop_assert_eq!(second_response(user.clone(), &said), None);
            let credentials =
                Credentials { mechanism: Mechanism::RabbitCrDemo, user: user.clone(), password: (&*said).into() };
            prop_assert_eq!(second_response(user, &[ANSWER, &said].concat()), Some(credentials));
        }
    }
}
