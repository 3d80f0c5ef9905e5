//! What the other end may say in records when hands were shaken, and what it may not. That plain bytes come through, with
//! every cipher and in pieces of any size, is tested against rustls's own records in `tests/tls`.

use super::*;
use crate::tls::session::{Session, Side};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

struct Pair {
    server: Records<ServerConnectionData>,
    client: Records<ClientConnectionData>,
}

/// Both ends of a connection whose hands were shaken.
fn pair(version: &'static SupportedProtocolVersion) -> Pair {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut accepting = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into()))
        .unwrap();
    accepting.enable_secret_extraction = true;
    let mut connecting = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    connecting.enable_secret_extraction = true;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Session::of(UnbufferedClientConnection::new(Arc::new(connecting), name).unwrap());
    let mut server = Session::of(UnbufferedServerConnection::new(Arc::new(accepting)).unwrap());
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while server.is_handshaking() || client.is_handshaking() || !to_client.is_empty() {
        hear(&mut client, &mut to_client, &mut to_server);
        hear(&mut server, &mut to_server, &mut to_client);
    }
    Pair { server: *server.into_records(), client: *client.into_records() }
}

fn hear<S: Side>(session: &mut Session<S>, incoming: &mut Vec<u8>, answers: &mut Vec<u8>) {
    let mut outgoing = Outgoing::default();
    let opened = session.open(incoming, |_| panic!("nothing was said"), &mut outgoing).unwrap();
    incoming.drain(..opened.consumed);
    answers.extend_from_slice(outgoing.bytes());
}

impl Pair {
    /// What the server makes of records with this in them, and what it answers.
    fn server_hears(&mut self, records: &[(ContentType, &[u8])]) -> (Result<Vec<u8>, Error>, Outgoing) {
        let (mut said, mut answers, mut plain) = (Outgoing::default(), Outgoing::default(), Vec::new());
        records.iter().for_each(|(kind, payload)| self.client.put(*kind, payload, &mut said).unwrap());
        let heard = self.server.open(&mut said.bytes().to_vec(), |bytes| plain.extend_from_slice(bytes), &mut answers);
        (heard.map(|_| plain), answers)
    }

    /// The client said that it goes on with another key.
    fn client_keys_changed(&mut self) {
        let (number, secrets) = self.client.keys.update_tx_secret().unwrap();
        (self.client.sealer, self.client.encrypted) = (Sealer::new(ProtocolVersion::TLSv1_3, secrets).unwrap(), number);
    }

    fn client_hears(&mut self, records: &Outgoing) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        let opened = self.client.open(
            &mut records.bytes().to_vec(),
            |bytes| plain.extend_from_slice(bytes),
            &mut Outgoing::default(),
        );
        opened.map(|_| plain)
    }
}

/// How many there are.
fn records(outgoing: &Outgoing) -> usize {
    let mut rest = outgoing.bytes();
    let mut count = 0;
    while let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk() {
        rest = &body[usize::from(u16::from_be_bytes([high, low]))..];
        count += 1;
    }
    count
}

const DATA: ContentType = ContentType::ApplicationData;
const ALERT: ContentType = ContentType::Alert;
const HANDSHAKE: ContentType = ContentType::Handshake;
const NEW_KEY: &[u8] = &OWN_KEY_UPDATE;
const NEW_KEYS: &[u8] = &[KEY_UPDATE, 0, 0, 1, 1];
const USER_CANCELLED: &[u8] = &[WARNING, 90];
const HELLO: &[u8] = &[CLIENT_HELLO, 0, 0, 2, 3, 3];

/// In which version, which records, and what the client is told.
type Wrong<'a> = (&'a SupportedProtocolVersion, &'a [(ContentType, &'a [u8])], Option<AlertDescription>);

#[test]
fn what_breaks_the_rules_is_told_so_and_ends_the_connection() {
    let unexpected = AlertDescription::UnexpectedMessage;
    let wrong: &[Wrong<'_>] = &[
        (&TLS13, &[(ALERT, &[1])], Some(AlertDescription::DecodeError)),
        (&TLS13, &[(ALERT, &[FATAL, 40])], None),
        (&TLS13, &[(ALERT, &[WARNING, 100])], None),
        (&TLS12, &[(ALERT, &[FATAL, 40])], None),
        (&TLS12, &[(ALERT, USER_CANCELLED); 5], Some(unexpected)),
        (&TLS13, &[(HANDSHAKE, HELLO)], Some(unexpected)),
        (&TLS12, &[(HANDSHAKE, HELLO), (HANDSHAKE, HELLO)], Some(unexpected)),
        (&TLS12, &[(HANDSHAKE, NEW_KEY)], Some(unexpected)),
        (&TLS12, &[(ContentType::ChangeCipherSpec, &[1])], Some(unexpected)),
        (&TLS13, &[(ContentType::ChangeCipherSpec, &[1])], Some(unexpected)),
        (&TLS13, &[(HANDSHAKE, &[NEW_SESSION_TICKET, 0, 0, 0])], Some(unexpected)),
        (&TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 2])], Some(AlertDescription::IllegalParameter)),
        (&TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 0])], Some(AlertDescription::IllegalParameter)),
        (&TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE])], Some(unexpected)),
        (&TLS13, &[(HANDSHAKE, &NEW_KEY[..3]), (DATA, b"between")], Some(unexpected)),
        (&TLS13, &[(HANDSHAKE, &[CLIENT_HELLO, 1, 0, 1])], Some(AlertDescription::DecodeError)),
        // As soon as the head is there.
        (&TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0, 255, 255])], Some(AlertDescription::IllegalParameter)),
        (&TLS13, &[(HANDSHAKE, &[NEW_SESSION_TICKET, 0, 255]), (HANDSHAKE, &[255])], Some(unexpected)),
        (&TLS12, &[(HANDSHAKE, &[HELLO_REQUEST, 0, 255, 255])], Some(unexpected)),
    ];
    for (version, records, alert) in wrong {
        let mut pair = pair(if version.version == TLS13.version { &TLS13 } else { &TLS12 });
        let (heard, answers) = pair.server_hears(records);
        let error = heard.expect_err(&format!("{records:?}"));
        assert_eq!(alert_for(&error), *alert, "{records:?}: {error}");
        let told = pair.client_hears(&answers);
        let expected = alert.map_or(Ok(Vec::new()), |alert| Err(Error::AlertReceived(alert)));
        assert_eq!(told, expected, "{records:?}");
        assert_eq!(pair.server_hears(&[(DATA, b"on")]).0, Err(error.clone()), "{records:?}");
        assert_eq!(pair.server.seal(&[b"on"], &mut Outgoing::default()), Err(error), "{records:?}");
    }
}

#[test]
fn what_a_client_may_say_beside_its_data_is_heard() {
    for version in [&TLS13, &TLS12] {
        let mut pair = pair(version);
        let records = [
            (DATA, &b"one "[..]),
            (ALERT, USER_CANCELLED),
            (DATA, b""),
            (DATA, b"two"),
            (ALERT, &[WARNING, 0]),
            (DATA, b"late"),
        ];
        assert_eq!(pair.server_hears(&records).0, Ok(b"one two".to_vec()));
    }
}

#[test]
fn a_second_handshake_is_turned_down_once() {
    let mut pair = pair(&TLS12);
    let (heard, answers) = pair.server_hears(&[(HANDSHAKE, &HELLO[..1]), (HANDSHAKE, &HELLO[1..]), (DATA, b"on")]);
    assert_eq!(heard, Ok(b"on".to_vec()));
    assert_eq!(pair.client_hears(&answers), Ok(Vec::new()), "a warning");
    assert_eq!((answers.bytes().is_empty(), pair.client.warnings), (false, 1));
}

#[test]
fn a_message_in_many_pieces_is_put_together_where_it_lies() {
    let mut pair = pair(&TLS12);
    pair.server_hears(&[(HANDSHAKE, &[CLIENT_HELLO, 0, 255, 255])]).0.unwrap();
    let (mut room, mut moves) = (0, 0);
    for _ in 0..5000 {
        pair.server_hears(&[(HANDSHAKE, &[0])]).0.unwrap();
        moves += u32::from(std::mem::replace(&mut room, pair.server.message.capacity()) != room);
    }
    assert!(moves < 20, "{moves}");
    assert_eq!(pair.server.message.len(), 5004);
}

#[test]
fn keys_change_in_the_middle_and_both_ends_follow() {
    let mut pair = pair(&TLS13);
    for wanted in [NEW_KEY, NEW_KEYS] {
        let (heard, mut answers) =
            pair.server_hears(&[(DATA, b"old"), (HANDSHAKE, &wanted[..2]), (HANDSHAKE, &wanted[2..])]);
        assert_eq!(heard, Ok(b"old".to_vec()));
        pair.client_keys_changed();
        assert_eq!(pair.server_hears(&[(DATA, b"new")]).0, Ok(b"new".to_vec()));
        assert!(answers.bytes().is_empty(), "with the next data");
        pair.server.seal(&[b"ans", b"", b"wer"], &mut answers).unwrap();
        assert_eq!(records(&answers), if wanted == NEW_KEY { 1 } else { 2 }, "an own one where it is wanted");
        assert_eq!(pair.client_hears(&answers), Ok(b"answer".to_vec()));
    }
}

#[test]
fn who_asks_for_keys_again_and_again_is_given_one() {
    let mut pair = pair(&TLS13);
    let mut answers = Outgoing::default();
    for _ in 0..IDLE_KEY_UPDATES_MAX {
        let (heard, answer) = pair.server_hears(&[(HANDSHAKE, NEW_KEYS)]);
        assert_eq!((heard, answer.bytes().len()), (Ok(Vec::new()), 0));
        pair.client_keys_changed();
    }
    for word in [&b"first"[..], b"other"] {
        pair.server.seal(&[word], &mut answers).unwrap();
    }
    assert_eq!(records(&answers), 3, "one of them with a new key");
    assert_eq!(pair.client_hears(&answers), Ok(b"firstother".to_vec()));
}

#[test]
fn whoever_changes_keys_and_says_nothing_is_turned_away() {
    let mut pair = pair(&TLS13);
    let change_key = |pair: &mut Pair| {
        let mut said = Outgoing::default();
        pair.client.change_own_key(&mut said).unwrap();
        pair.server.open(&mut said.bytes().to_vec(), |_| {}, &mut Outgoing::default()).map(|_| ())
    };
    for _ in 0..3 {
        (0..IDLE_KEY_UPDATES_MAX).for_each(|_| change_key(&mut pair).unwrap());
        assert_eq!(pair.server_hears(&[(DATA, b"something")]).0, Ok(b"something".to_vec()));
    }
    (0..IDLE_KEY_UPDATES_MAX).for_each(|_| change_key(&mut pair).unwrap());
    assert_eq!(pair.server_hears(&[(DATA, b"")]).0, Ok(Vec::new()), "that is nothing");
    assert_eq!(change_key(&mut pair), Err(PeerMisbehaved::TooManyKeyUpdateRequests.into()));
}

/// A hundred thousand changes fit into what is read at once, and each takes microseconds.
#[test]
fn whoever_changes_keys_all_the_time_is_turned_away() {
    let mut pair = pair(&TLS13);
    let mut said = Outgoing::default();
    for _ in 0..=IDLE_KEY_UPDATES_MAX {
        pair.client.change_own_key(&mut said).unwrap();
        pair.client.seal(&[b"something"], &mut said).unwrap();
    }
    let mut heard = 0;
    let opened = pair.server.open(&mut said.bytes().to_vec(), |_| heard += 1, &mut Outgoing::default());
    assert_eq!(opened, Err(PeerMisbehaved::TooManyKeyUpdateRequests.into()));
    assert_eq!(heard, usize::from(IDLE_KEY_UPDATES_MAX));
}

#[test]
fn a_key_that_is_worn_out_is_changed_where_that_can_be_done() {
    let body = [7; 50_000];
    let mut pair = pair(&TLS13);
    (pair.server.encrypted_blocks, pair.server.encrypted_blocks_max) = (0, 2 * RECORD_MAX_BLOCKS);
    let mut records = Outgoing::default();
    pair.server.seal(&[&body], &mut records).unwrap();
    assert_eq!(pair.client_hears(&records), Ok(body.to_vec()));
    assert_eq!((pair.client.idle_key_updates, pair.client.decrypted), (1, 2), "a new key after two records of four");

    let mut pair = super::tests::pair(&TLS12);
    pair.server.encrypted_blocks_max = 2 * RECORD_MAX_BLOCKS;
    let refused = pair.server.seal(&[&body], &mut Outgoing::default()).unwrap_err();
    assert!(refused.to_string().contains("the key of TLS 1.2 is worn out"), "{refused}");
}

#[test]
fn heads_that_no_record_has_are_refused_before_its_body_comes() {
    for version in [&TLS13, &TLS12] {
        let heads: [(&[u8], AlertDescription); 4] = [
            (&[23, 3, 3, 0x48, 1], AlertDescription::RecordOverflow),
            (&[23, 2, 0, 0, 100], AlertDescription::ProtocolVersion),
            (&[20, 3, 3, 0, 1], AlertDescription::UnexpectedMessage),
            (&[99, 3, 3, 0, 1], AlertDescription::UnexpectedMessage),
        ];
        for (head, alert) in heads {
            let mut pair = pair(version);
            let mut answers = Outgoing::default();
            pair.server.open(&mut head.to_vec(), |_| {}, &mut answers).unwrap_err();
            assert_eq!(pair.client_hears(&answers), Err(Error::AlertReceived(alert)), "{head:?}");
        }
    }
}
