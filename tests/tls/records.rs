//! A session fed with all that a client may say, in pieces of any size: nothing is lost, and nothing panics.

use crate::certificates::Authority;
use crate::node::{BOTH, Folder};
use leveret::config::Tls;
use leveret::tls::{Acceptor, Connector, Outgoing, Session, Trust};
use proptest::prelude::*;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedCipherSuite, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

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
        Self::with(|authority| authority.client_config(versions, None))
    }

    fn with(client_config: impl FnOnce(&Authority) -> Arc<ClientConfig>) -> Self {
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
        let client = ClientConnection::new(client_config(&authority), name).expect("a client");
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

/// Those that a broker with a key of ECDSA can have.
fn ciphers() -> Vec<SupportedCipherSuite> {
    let is_possible = |cipher: &SupportedCipherSuite| !format!("{:?}", cipher.suite()).contains("RSA");
    default_provider().cipher_suites.into_iter().filter(is_possible).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pieces_of_any_size_come_to_the_same(
        cipher in prop::sample::select(ciphers()),
        piece in 1_usize..3000,
        bodies in prop::collection::vec(0_usize..40_000, 1..5),
    ) {
        let mut pair = Pair::with(|authority| authority.client_config_of_cipher(cipher));
        pair.shake_hands(piece);
        let mut sent = Vec::new();
        for (number, size) in bodies.into_iter().enumerate() {
            let body = vec![number as u8; size];
            pair.client.writer().write_all(&body).expect("memory");
            sent.extend(body);
            if number == 1 && cipher.version() == &TLS13 {
                pair.client.refresh_traffic_keys().expect("open");
            }
            let said = pair.said();
            for piece in said.chunks(piece) {
                pair.hears(piece).expect("a client's words");
                // Between any two pieces of what comes something may be said.
                let Pair { session, outgoing, .. } = &mut pair;
                session.seal(&[&[number as u8; 4], &[number as u8; 3]], outgoing).expect("open");
            }
            let answered = pair.answer();
            prop_assert_eq!(answered.len(), 7 * said.len().div_ceil(piece));
        }
        prop_assert_eq!(&pair.received, &sent);
        prop_assert!(pair.held.is_empty());
        pair.client.send_close_notify();
        let said = pair.said();
        prop_assert_eq!(pair.hears(&said), Ok(true));
        let Pair { session, outgoing, .. } = &mut pair;
        session.seal_end(outgoing);
        prop_assert!(!pair.outgoing.bytes().is_empty());
    }

    /// Whatever is changed, left out or put in on the way: what is taken for plain bytes is the beginning of what was sent.
    #[test]
    fn nobody_on_the_way_says_anything(
        cipher in prop::sample::select(ciphers()),
        garbage in prop::collection::vec(any::<u8>(), 0..60),
        at in 0_usize..3300, left_out in 0_usize..60, head in any::<bool>(), piece in 1_usize..500,
    ) {
        let mut pair = Pair::with(|authority| authority.client_config_of_cipher(cipher));
        pair.shake_hands(10_000);
        let sent: Vec<u8> = (0..3000_u32).map(|number| number as u8).collect();
        let mut said = Vec::new();
        for part in sent.chunks(1000) {
            pair.client.writer().write_all(part).expect("memory");
            said.extend(pair.said());
        }
        // With the head of a record in front garbage comes further.
        let head: &[u8] = if head { &[23, 3, 3, 0, 40] } else { &[] };
        let at = at.min(said.len());
        said.splice(at..(at + left_out).min(said.len()), head.iter().chain(&garbage).copied());
        for piece in said.chunks(piece) {
            if pair.hears(piece).is_err() {
                prop_assert!(pair.hears(b"").is_err() && pair.session.seal(&[b"on"], &mut pair.outgoing).is_err());
                break;
            }
        }
        prop_assert!(sent.starts_with(&pair.received));
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
        let Pair { session, outgoing, .. } = &mut pair;
        assert!(session.seal(&[b"early"], outgoing).is_err() || !session.is_handshaking());
    }
    pair.answer();
    pair.shake_hands(100);
}

/// Whatever the pieces: the client's last words of the handshake, a new key, a wish for another and data, all at once.
#[test]
fn a_key_that_changes_with_the_end_of_the_handshake_is_followed() {
    for piece in [1, 7, 100, 100_000] {
        let mut pair = Pair::new(&[&TLS13]);
        while pair.client.is_handshaking() {
            for piece in pair.said().chunks(piece) {
                pair.hears(piece).expect("a client's words");
            }
            pair.answer();
        }
        assert!(pair.session.is_handshaking());
        pair.client.writer().write_all(b"old").expect("memory");
        pair.client.refresh_traffic_keys().expect("open");
        pair.client.writer().write_all(b"new").expect("memory");
        for piece in pair.said().chunks(piece) {
            pair.hears(piece).expect("a client's words");
        }
        assert_eq!((&pair.received[..], pair.held.len()), (&b"oldnew"[..], 0));
        let Pair { session, outgoing, .. } = &mut pair;
        session.seal(&[b"answer"], outgoing).expect("open");
        assert_eq!(pair.answer(), b"answer");
    }
}

/// A session that was made, and not accepted, with a server that changes its key and sends tickets.
#[test]
fn the_other_end_understands_what_a_server_says() {
    let authority = Authority::new();
    let host = authority.host(&["localhost"]);
    let folder = Folder::new();
    let cacert = folder.write("ca.pem", &authority.pem);
    for version in [&TLS12, &TLS13] {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let chain = vec![CertificateDer::from_pem_slice(host.pem.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(host.key_pem.as_bytes()).expect("PEM");
        let config = config.with_protocol_versions(&[version]).expect("a version").with_no_client_auth();
        let config = config.with_single_cert(chain, key).expect("a certificate");
        let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
        let connector = Connector::load(Trust::Authorities(&cacert), &|path: &Path| std::fs::read(path));
        let mut client = connector.expect("an authority").connect("localhost").expect("a name");

        let (mut held, mut received, mut outgoing) = (Vec::new(), Vec::new(), Outgoing::default());
        let mut hears = |server: &mut ServerConnection, session_says: &[&[u8]]| {
            let opened = client.open(&mut held, |plain| received.extend_from_slice(plain), &mut outgoing);
            held.drain(..opened.expect("a server's words").consumed);
            if !client.is_handshaking() {
                client.seal(session_says, &mut outgoing).expect("open");
            }
            let mut said = outgoing.bytes();
            while !said.is_empty() {
                server.read_tls(&mut said).expect("memory");
                server.process_new_packets().expect("a client's words");
            }
            outgoing.clear();
            while server.wants_write() {
                server.write_tls(&mut held).expect("memory");
            }
            client.is_handshaking()
        };
        while hears(&mut server, &[]) || server.is_handshaking() {}
        let mut heard = [0; 11];
        for word in [b"first", b"other"] {
            server.writer().write_all(word).expect("memory");
            if version == &TLS13 {
                server.refresh_traffic_keys().expect("open");
            }
            hears(&mut server, &[b"hello ", b"", word]);
            hears(&mut server, &[]);
            server.reader().read_exact(&mut heard).expect("what was said");
            assert_eq!(&heard, &[b"hello ", &word[..]].concat()[..]);
        }
        hears(&mut server, &[]);
        assert_eq!(received, b"firstother");
    }
}
