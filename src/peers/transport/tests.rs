//! Nodes over the loopback: those who know the secret hear each other, and strangers hear nothing.

use super::super::call::CallError;
use super::super::handshake::NONCE_BYTES;
use super::super::preface::{Answer, ClientKind};
use super::super::secret::ClusterSecret;
use super::*;
use crate::cluster::message::{Part, Unread};
use crate::storage::entry::{EntryBody, Place};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longer than any machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// No chance, but never the same twice.
fn chance() -> io::Result<[u8; NONCE_BYTES]> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; NONCE_BYTES];
    bytes[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Ok(bytes)
}

fn caller(node: &str, secret: &[u8]) -> Caller {
    Caller { secret: ClusterSecret::of(secret), cluster: "c".to_owned(), node: node.to_owned(), chance }
}

struct Node {
    transport: Transport,
    events: Receiver<Event>,
    clients: Receiver<Passed>,
    leads: Arc<AtomicBool>,
}

fn listener(address: &str) -> Listener {
    Listener::bind(address.parse().unwrap()).unwrap()
}

fn start(node: &str, listener: Listener, others: &[(&str, SocketAddr)]) -> Node {
    let (event, events) = channel();
    let (passed, clients) = channel();
    let leads = Arc::new(AtomicBool::new(false));
    let settings = Settings {
        caller: caller(node, b"burrow"),
        others: others.iter().map(|(name, address)| ((*name).to_owned(), address.to_string())).collect(),
        leads: Arc::clone(&leads),
        tell: Box::new(move |told| _ = event.send(told)),
        after_message: Box::new(|| {}),
        reader: Box::new(|| {
            let mut tries = 0;
            Box::new(move |part| match part {
                Part::Stored(place) if place.offset < 100 => Ok(EntryBody::copied(b"stored")),
                Part::Stored(place) if place.offset < 200 => {
                    tries += 1;
                    if tries > 2 { Ok(EntryBody::copied(b"at last")) } else { Err(Unread::Refused) }
                }
                _ => Err(Unread::NotThere),
            })
        }),
        client: Box::new(move |client| _ = passed.send(client)),
    };
    Node { transport: Transport::start(listener, settings, Clock::start()).unwrap(), events, clients, leads }
}

/// Two that know each other; nobody is at the address of the third.
fn pair() -> (Node, Node) {
    let [one, two, nobody] = [(); 3].map(|()| listener("127.0.0.1:0"));
    let [at_one, at_two, at_nobody] = [&one, &two, &nobody].map(Listener::local_address);
    drop(nobody);
    let first = start("n1", one, &[("n2", at_two), ("n3", at_nobody)]);
    let second = start("n2", two, &[("n1", at_one), ("n3", at_nobody)]);
    first.assert_told("connected n2");
    second.assert_told("connected n1");
    (first, second)
}

impl Node {
    fn told(&self) -> String {
        match self.events.recv_timeout(PATIENCE).expect("something happens") {
            Event::Connected { node } => format!("connected {node}"),
            Event::Gone { node } => format!("gone {node}"),
            Event::Unread { node, part, why } => format!("not sent to {node} without {part:?}: {why:?}"),
            Event::Read { node, .. } => format!("what was lacking for {node} was read"),
            Event::Message { node, bytes, .. } => match bytes.len() {
                0..100 => format!("{node}: {}", String::from_utf8_lossy(&bytes)),
                length => format!("{node}: {length} bytes"),
            },
        }
    }

    fn assert_told(&self, expected: &str) {
        assert_eq!(self.told(), expected);
    }

    fn say(&self, to: &str, lane: Lane, text: &str) -> bool {
        self.transport.send(to, lane, vec![Outgoing(vec![Part::Bytes(text.into())])])
    }

    fn call(&self, caller: &Caller, purpose: Purpose) -> Result<TcpStream, CallError> {
        caller.call("n1", &self.transport.local_address().to_string(), purpose)
    }
}

fn place(offset: u64) -> Place {
    Place { segment: 1, offset, length: 6 }
}

#[test]
fn what_is_sent_arrives_wherever_it_lies() {
    let (one, two) = pair();
    assert!(one.say("n2", Lane::Control, "hello"));
    two.assert_told("n1: hello");
    let parts =
        [Part::Bytes(b"of bytes, ".to_vec()), Part::Body(EntryBody::copied(b"a body, ")), Part::Stored(place(0))];
    assert!(two.transport.send("n1", Lane::Bulk, vec![Outgoing(parts.to_vec())]));
    one.assert_told("n2: of bytes, a body, stored");
    let gone = Outgoing(vec![Part::Bytes(b"without its body".to_vec()), Part::Stored(place(200))]);
    assert!(two.transport.send("n1", Lane::Bulk, vec![gone]), "nobody has looked yet");
    two.assert_told(&format!("not sent to n1 without {:?}: NotThere", Part::Stored(place(200))));
    assert!(two.transport.send("n1", Lane::Bulk, vec![Outgoing(vec![Part::Bytes(vec![7; 3 << 20])])]));
    one.assert_told("n2: 3145728 bytes");
    assert!(!one.say("n3", Lane::Control, "anybody?") && !one.say("n4", Lane::Control, "anybody?"));
    assert!(one.transport.is_up("n2") && !one.transport.is_up("n3"));
}

#[test]
fn what_could_not_be_read_and_then_was_is_told() {
    let (one, two) = pair();
    let say = |offset| {
        assert!(two.transport.send("n1", Lane::Bulk, vec![Outgoing(vec![Part::Stored(place(offset))])]));
    };
    for _ in 0..2 {
        say(100);
        two.assert_told(&format!("not sent to n1 without {:?}: Refused", Part::Stored(place(100))));
    }
    say(0);
    one.assert_told("n2: stored");
    say(100);
    two.assert_told("what was lacking for n1 was read");
    one.assert_told("n2: at last");
    say(100);
    one.assert_told("n2: at last");
    say(200);
    two.assert_told(&format!("not sent to n1 without {:?}: NotThere", Part::Stored(place(200))));
}

#[test]
fn who_goes_is_told_and_who_comes_back_too() {
    let (one, two) = pair();
    let (at_one, at_two) = (one.transport.local_address(), two.transport.local_address());
    drop(two);
    one.assert_told("gone n2");
    let again = loop {
        // The porch before is still being taken down.
        if let Ok(listener) = Listener::bind(at_two) {
            break listener;
        }
        std::thread::yield_now();
    };
    let two = start("n2", again, &[("n1", at_one)]);
    two.assert_told("connected n1");
    one.assert_told("connected n2");
    assert!(two.say("n1", Lane::Control, "again"));
    one.assert_told("n2: again");
}

#[test]
fn strangers_are_sent_away() {
    let (one, _two) = pair();
    for words in [&b"AMQP\0\0\x09\x01"[..], b"GET /api/overview HTTP/1.1\r\n\r\n", &[0; 4096]] {
        #[allow(clippy::disallowed_methods, reason = "a stranger")]
        let mut stranger = TcpStream::connect(one.transport.local_address()).unwrap();
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stranger.write_all(words);
        let mut answer = Vec::new();
        // What it has not read yet makes the end a reset.
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{words:?}");
    }
    let control = Purpose::Peer(Lane::Control);
    let guess = one.call(&caller("n2", b"carrot"), control).unwrap_err();
    assert!(matches!(&guess, CallError::TurnedAway), "{guess}");
    let mut other = caller("n2", b"burrow");
    other.cluster = "d".to_owned();
    for (caller, answer) in [(other, Answer::OtherCluster), (caller("n9", b"burrow"), Answer::UnknownNode)] {
        let refused = one.call(&caller, control).unwrap_err();
        assert!(matches!(refused, CallError::Refused(refusal) if refusal == answer), "{refused}");
    }
}

#[test]
fn who_doesnt_know_the_secret_is_told_nothing_by_those_who_connect() {
    let fake = listener_of_std();
    let at = fake.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = fake.accept().unwrap();
        let mut said = vec![0; 4096];
        let mut answer = |bytes: &[u8]| {
            let count = stream.read(&mut said).unwrap();
            stream.write_all(bytes).unwrap();
            count
        };
        [answer(&[1; NONCE_BYTES]), answer(&[0; 33])]
    });
    let refused = caller("n1", b"burrow").call("n2", &at.to_string(), Purpose::Peer(Lane::Bulk)).unwrap_err();
    assert!(matches!(refused, CallError::Stranger), "{refused}");
    assert!(thread.join().unwrap().iter().all(|count| *count > 0));
}

#[allow(clippy::disallowed_methods, reason = "a stranger")]
fn listener_of_std() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn clients_are_for_who_leads_and_come_with_their_own_addresses() {
    let (one, _two) = pair();
    let (peer, local) = ("192.0.2.7:50000".parse().unwrap(), "[2001:db8::1]:5672".parse().unwrap());
    let purpose = Purpose::Client { kind: ClientKind::Amqps, peer, local };
    let caller = caller("n2", b"burrow");
    let refused = one.call(&caller, purpose).unwrap_err();
    assert!(matches!(refused, CallError::Refused(Answer::NotLeading)), "{refused}");
    one.leads.store(true, Ordering::Release);
    let mut stream = one.call(&caller, purpose).unwrap();
    let Passed { kind, socket } = one.clients.recv_timeout(PATIENCE).unwrap();
    assert_eq!((kind, socket.peer_address(), socket.local_address()), (ClientKind::Amqps, peer, local));
    let mut theirs = socket.into_blocking().unwrap().unwrap();
    stream.write_all(b"AMQP").unwrap();
    let mut heard = [0; 4];
    theirs.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"AMQP", "what follows the handshake is for who takes the client");
}

#[test]
fn a_peer_that_takes_nothing_is_in_nobodys_way_and_is_gone_at_last() {
    let [one, two] = [(); 2].map(|()| listener("127.0.0.1:0"));
    let at = [&one, &two].map(Listener::local_address);
    let first = start("n1", one, &[("n0", at[1]), ("n2", at[1])]);
    let second = start("n2", two, &[("n1", at[0])]);
    first.assert_told("connected n2");
    second.assert_told("connected n1");
    let stubborn = caller("n0", b"burrow");
    let _lanes = Lane::ALL.map(|lane| first.call(&stubborn, Purpose::Peer(lane)).unwrap());
    first.assert_told("connected n0");
    let lump = || Outgoing(vec![Part::Bytes(vec![0; 8 << 20])]);
    assert!((0..100).any(|_| !first.transport.send("n0", Lane::Bulk, vec![lump()])), "what it doesn't take is dropped");
    assert!(first.say("n2", Lane::Bulk, "you too?"));
    second.assert_told("n1: you too?");
    first.assert_told("gone n0");
    assert!(first.transport.is_up("n2"));
}

#[test]
fn who_starts_again_is_called_within_a_tenth_of_a_second_and_who_stays_away_twice_a_second() {
    assert_eq!([0, 1, 2, 3, 4, 99].map(wait_ms), [20, 40, 80, 100, 100, 100]);
    assert!((9_000..=10_000).contains(&(0..CALLS_OF_START).map(wait_ms).sum::<u64>()), "for ten seconds");
    assert_eq!([CALLS_OF_START, u32::MAX].map(wait_ms), [500, 500]);
}
