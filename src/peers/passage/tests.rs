//! Clients that pass through a node to another, over the loopback.

use super::super::secret::ClusterSecret;
use super::*;
use crate::peers::porch::{House, Passed, Porch};
use crate::reactor::{Accepted, Clock, Listener};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const LISTENER: usize = usize::MAX / 2;

fn chance() -> io::Result<[u8; NONCE_BYTES]> {
    Ok([7; NONCE_BYTES])
}

fn caller() -> Caller {
    Caller { secret: ClusterSecret::of(b"burrow"), cluster: "c".to_owned(), node: "n2".to_owned(), chance }
}

/// A node that leads, or doesn't, and the clients that come to it.
fn leader(leads: bool) -> (Porch, Receiver<Passed>) {
    let (passed, clients) = channel();
    let house = House {
        secret: caller().secret,
        chance,
        cluster: "c".to_owned(),
        node: "n1".to_owned(),
        is_other: Box::new(|name| name == "n2"),
        leads: Arc::new(AtomicBool::new(leads)),
        peer: Box::new(|_, _, _| ()),
        client: Box::new(move |client| _ = passed.send(client)),
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (Porch::open(listener, house, Clock::start()).unwrap(), clients)
}

/// Starts a node that passes all who come to where `leader` says, and says where it listens.
fn follower(leader: Option<SocketAddr>) -> SocketAddr {
    follower_with_room(leader, 8)
}

/// One that passes so many on at a time.
fn follower_with_room(leader: Option<SocketAddr>, most: usize) -> SocketAddr {
    let (leads, leaders) = channel();
    let (heard, _) = channel();
    leads.send(leader).unwrap();
    follower_of(leaders, heard, most)
}

/// One that hears of one leader after the other, and says that it has.
fn follower_of(leaders: Receiver<Option<SocketAddr>>, heard: Sender<()>, most: usize) -> SocketAddr {
    const HEARS_WITHIN: Duration = Duration::from_millis(10);
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address();
    std::thread::spawn(move || {
        let clock = Clock::start();
        let mut poller = Poller::new().unwrap();
        poller.register_readable(&mut listener, LISTENER).unwrap();
        let mut passages = Passages::new(caller(), most);
        loop {
            let now_ms = clock.now_ms();
            for leader in leaders.try_iter() {
                passages.lead_to(leader.map(|address| Leader { node: "n1".to_owned(), address }), now_ms);
                // Not every test waits for it.
                let _ = heard.send(());
            }
            let timeout =
                passages.next_deadline_ms(now_ms).map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)));
            poller.poll(Some(timeout.map_or(HEARS_WITHIN, |timeout| timeout.min(HEARS_WITHIN)))).unwrap();
            let ready: Vec<Readiness> = poller.ready().collect();
            let now_ms = clock.now_ms();
            for readiness in ready.into_iter().filter(|readiness| readiness.token != LISTENER) {
                passages.go_on(readiness, now_ms);
            }
            while let Accepted::Client(client) = listener.accept() {
                passages.pass(client, ClientKind::Amqp, &poller, clock.now_ms());
            }
            passages.go_on_with_more(clock.now_ms());
        }
    });
    address
}

fn connect(to: SocketAddr) -> TcpStream {
    #[allow(clippy::disallowed_methods, reason = "a client")]
    let client = TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn is_closed(mut client: TcpStream) -> bool {
    let _ = client.write_all(b"AMQP");
    matches!(client.read(&mut [0; 8]), Ok(0) | Err(_))
}

#[test]
fn a_client_and_the_leader_hear_each_other_to_the_end() {
    let (porch, clients) = leader(true);
    let at = follower(Some(porch.local_address()));
    let mut client = connect(at);
    client.write_all(b"said before anybody listens").unwrap();
    let Passed { kind, socket } = clients.recv_timeout(PATIENCE).unwrap();
    assert_eq!((kind, socket.peer_address()), (ClientKind::Amqp, client.local_addr().unwrap()));
    assert_eq!(socket.local_address(), at);
    let mut theirs = socket.into_blocking().unwrap().unwrap();
    let mut heard = [0; 27];
    theirs.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"said before anybody listens");
    theirs.write_all(b"an answer").unwrap();
    drop(theirs);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"an answer");
}

#[test]
fn much_passes_both_ways_while_one_side_is_slow() {
    let (porch, clients) = leader(true);
    let client = connect(follower(Some(porch.local_address())));
    let mut theirs = clients.recv_timeout(PATIENCE).unwrap().socket.into_blocking().unwrap().unwrap();
    const LENGTH: usize = 8 << 20;
    let all: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let (sent, mut sending) = (all.clone(), client.try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        sending.write_all(&sent).unwrap();
        sending.shutdown(std::net::Shutdown::Write).unwrap();
    });
    // Nobody reads what comes back until all has gone there.
    let (back, mut answering) = (all.clone(), theirs.try_clone().unwrap());
    let answerer = std::thread::spawn(move || answering.write_all(&back).unwrap());
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).unwrap();
    assert!(heard == all);
    sender.join().unwrap();
    let mut answer = vec![0; LENGTH];
    (&client).read_exact(&mut answer).unwrap();
    assert!(answer == all);
    answerer.join().unwrap();
}

#[test]
fn without_a_leader_clients_are_closed() {
    assert!(is_closed(connect(follower(None))));
    let (porch, _clients) = leader(false);
    assert!(is_closed(connect(follower(Some(porch.local_address())))), "it doesn't lead any more");
    let nobody = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_address();
    assert!(is_closed(connect(follower(Some(nobody)))));
}

/// Whether a passage's other end goes although nobody on this side does anything.
fn goes(mut leaders_side: TcpStream) -> bool {
    leaders_side.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(leaders_side.read(&mut [0; 8]), Ok(0))
        || leaders_side.read(&mut [0; 8]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[test]
fn a_passage_ends_soon_after_who_leads_has_ended_whatever_the_client_does() {
    let (porch, clients) = leader(true);
    let at = follower(Some(porch.local_address()));
    let mut silent = connect(at);
    let theirs = clients.recv_timeout(PATIENCE).unwrap().socket.into_blocking().unwrap().unwrap();
    (&theirs).write_all(b"too late").unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = Vec::new();
    silent.read_to_end(&mut told).unwrap();
    assert_eq!(told, b"too late");
    // The client ignores that, and keeps its socket.
    assert!(goes(theirs));
    let mut sends = || silent.write_all(b"?").and_then(|()| silent.write_all(b"?"));
    let (clock, patience_ms) = (Clock::start(), PATIENCE.as_millis() as u64);
    while sends().is_ok() {
        assert!(clock.now_ms() < patience_ms, "its own socket is there still");
    }
}

#[test]
fn those_who_are_too_many_are_closed() {
    let (porch, clients) = leader(true);
    let at = follower_with_room(Some(porch.local_address()), 1);
    let held = (connect(at), clients.recv_timeout(PATIENCE).unwrap());
    assert!(is_closed(connect(at)));
    drop(held);
}

#[test]
fn nobody_has_all_passages_from_one_origin() {
    let (porch, clients) = leader(true);
    let at = follower_with_room(Some(porch.local_address()), 4);
    let mut held: Vec<_> = (0..3).map(|_| (connect(at), clients.recv_timeout(PATIENCE).unwrap())).collect();
    assert!(is_closed(connect(at)), "the fourth is for others");
    held.pop();
    // Its place is free once it is seen to be gone.
    let (clock, patience_ms) = (Clock::start(), PATIENCE.as_millis() as u64);
    while clients.try_recv().is_err() {
        assert!(clock.now_ms() < patience_ms);
        let mut again = connect(at);
        again.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = again.read(&mut [0; 1]);
    }
}

#[test]
fn who_led_has_a_moment_to_end_its_clients_itself() {
    let (porch, clients) = leader(true);
    let ((leads, leaders), (heard, hears)) = (channel(), channel());
    let at = follower_of(leaders, heard, 8);
    let lead = |leader| {
        leads.send(leader).unwrap();
        hears.recv_timeout(PATIENCE).unwrap();
    };
    lead(Some(porch.local_address()));
    let mut told = connect(at);
    let mut theirs = clients.recv_timeout(PATIENCE).unwrap().socket.into_blocking().unwrap().unwrap();
    let left = connect(at);
    let _hangs = clients.recv_timeout(PATIENCE).unwrap();
    lead(None);
    assert!(is_closed(connect(at)), "nobody is passed to it any more");
    theirs.write_all(b"farewell").unwrap();
    drop(theirs);
    let mut farewell = Vec::new();
    told.read_to_end(&mut farewell).unwrap();
    assert_eq!(farewell, b"farewell");
    assert!(is_closed(left), "it need not wait for who says nothing");
}
