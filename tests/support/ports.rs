//! Ports that a test names before anybody listens at them.
//!
//! Owns the holds on them: a port that was only looked up and let go may be given to whoever asks the system for any port, or be
//! the end of somebody's connection, before the broker that it was chosen for listens at it, or while that broker is down.

use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// So many holds are kept; the oldest is let go for another. Each is a descriptor, of which a process may have few, and whole
/// suites run in one process.
const MOST_HELD: usize = 400;

/// Ports of the loopback nobody else is given. All differ.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    static HELD: Mutex<VecDeque<Socket>> = Mutex::new(VecDeque::new());
    let sockets = [(); N].map(|()| bound());
    let addresses = sockets.each_ref().map(|socket| {
        let address = socket.local_addr().expect("a bound socket");
        address.as_socket().expect("an address of IPv4")
    });
    // Linux lets somebody listen at a port that others are bound to, if nobody else listens and all reuse addresses, as brokers
    // do; and gives it to nobody who wants any. Elsewhere a port that is held can't be listened at.
    if cfg!(target_os = "linux") {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(sockets);
        let too_many = held.len().saturating_sub(MOST_HELD);
        held.drain(..too_many);
    }
    addresses
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a free port");
    socket
}
