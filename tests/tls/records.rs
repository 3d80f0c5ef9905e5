//! A session fed with all that a client may say, in pieces of any size: nothing is lost, and nothing panics.

use crate::certificates::Authority;
use crate::node::{BOTH, Folder};
use leveret::config::Tls;
use leveret::tls::{Acceptor, Outgoing, Session};
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::path::Path;

/// A session of the broker's, and the client at its other end; what comes in pieces waits in `held`.
struct Pair {
    client: ClientConnection,
    session: Session,
    held: Vec<u8>,
    received: Vec<u8>,
    outgoing: Outgoing,
}

impl Pair {
    fn new(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        folder.write_certificate("server", &authority.host(&["localhost"]));
        let settings = Tls {
            certfile: folder.path().join("server.pem"),
            keyfile: folder.path().join("server.key"),
            ..Tls::default()
        };
        let acceptor =
            Acceptor::load(&settings, &|path: &Path| std::fs::read(path), 1_780_272_000).expect("good files");
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(authority.client_config(versions, None), name).expect("a client");
        Self {
            client,
            session: acceptor.accept(),
            held: Vec::new(),
            received: Vec::new(),
            outgoing: Outgoing::default(),
        }
    }

    /// What the client has to say.
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut said).expect("memory");
        }
        said
    }

    /// The session hears so many bytes. What it answers waits.
    fn hears(&mut self, bytes: &[u8]) -> Result<bool, rustls::Error> {
        self.held.extend_from_slice(bytes);
        let received = &mut self.received;
        let opened =
            self.session.open(&mut self.held, |plain| received.extend_from_slice(plain), &mut self.outgoing)?;
        self.held.drain(..opened.consumed);
        Ok(opened.ended)
    }

    /// The client hears what the session answered.
    fn answer(&mut self) -> Vec<u8> {
        let mut answer = self.outgoing.bytes();
        let mut plain = Vec::new();
        while !answer.is_empty() {
            self.client.read_tls(&mut answer).expect("memory");
            self.client.process_new_packets().expect("a session's words");
            let _ = self.client.reader().read_to_end(&mut plain);
        }
        self.outgoing.clear();
        plain
    }

    fn shake_hands(&mut self, piece: usize) {
        while self.client.is_handshaking() || self.session.is_handshaking() {
            for piece in self.said().chunks(piece) {
                self.hears(piece).expect("a client's words");
            }
            self.answer();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pieces_of_any_size_come_to_the_same(
        version in prop::sample::select(vec![&TLS12, &TLS13]),
        piece in 1_usize..3000,
        bodies in prop::collection::vec(0_usize..40_000, 1..5),
    ) {
        let mut pair = Pair::new(&[version]);
        pair.shake_hands(piece);
        let mut sent = Vec::new();
        for (number, size) in bodies.into_iter().enumerate() {
            let body = vec![number as u8; size];
            pair.client.writer().write_all(&body).expect("memory");
            sent.extend(body);
            if number == 1 && version.version == rustls::ProtocolVersion::TLSv1_3 {
                pair.client.refresh_traffic_keys().expect("open");
            }
            let said = pair.said();
            for piece in said.chunks(piece) {
                pair.hears(piece).expect("a client's words");
                // Between any two pieces of what comes something may be said.
                let Pair { session, held, outgoing, .. } = &mut pair;
                session.seal(held, &[number as u8; 7], outgoing).expect("open");
            }
            let answered = pair.answer();
            prop_assert_eq!(answered.len(), 7 * said.len().div_ceil(piece));
        }
        prop_assert_eq!(&pair.received, &sent);
        prop_assert!(pair.held.is_empty());
        pair.client.send_close_notify();
        let said = pair.said();
        prop_assert_eq!(pair.hears(&said), Ok(true));
        let Pair { session, held, outgoing, .. } = &mut pair;
        session.seal_end(held, outgoing);
        prop_assert!(!pair.outgoing.bytes().is_empty());
    }

    #[test]
    fn garbage_ends_a_session_and_nothing_more(
        garbage in prop::collection::vec(any::<u8>(), 1..400), at in 0_usize..600, head in any::<bool>(), piece in 1_usize..64,
    ) {
        let mut pair = Pair::new(&BOTH);
        let mut said = pair.said();
        let at = at.min(said.len());
        said.splice(at..(at + garbage.len()).min(said.len()), garbage.iter().copied());
        // With the head of a record in front garbage comes further.
        let head: &[u8] = if head { &[22, 3, 1, 0, 50] } else { &[] };
        for piece in [head, &said[..]].concat().chunks(piece) {
            if pair.hears(piece).is_err() {
                break;
            }
        }
    }
}

/// A message of TLS that comes in records of one byte each is put together while other things are said.
#[test]
fn what_is_said_in_the_middle_of_a_message_of_tls_breaks_nothing() {
    let mut pair = Pair::new(&[&TLS13]);
    let hello = pair.said();
    let message = &hello[5..];
    for byte in message {
        pair.hears(&[22, 3, 1, 0, 1, *byte]).expect("a client's words");
        let Pair { session, held, outgoing, .. } = &mut pair;
        assert!(session.seal(held, b"early", outgoing).is_err() || !session.is_handshaking());
    }
    pair.answer();
    pair.shake_hands(100);
}
