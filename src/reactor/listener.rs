//! Accepting clients, and what to do when descriptors run out.
//!
//! It owns the listening socket and one spare descriptor. It never decides whether a client is welcome: that is asked
//! of the socket it hands out.

use super::Socket;
use super::event_loop::delegate_source;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Type};
use std::fs::File;
use std::io;
use std::net::SocketAddr;

/// How many clients the kernel may hold that have not been accepted yet (it may be set to hold fewer).
pub const BACKLOG_CLIENTS: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    /// A descriptor given up when there is no other, so that one more client can be accepted and told to go away. A
    /// client left in the backlog would wait without an answer, and an edge-triggered poll would not mention it again.
    spare: Option<File>,
}

/// How accepting went.
#[derive(Debug)]
pub enum Accepted {
    /// A client. More may be waiting.
    Client(Socket),
    /// Nobody is waiting; the poll will tell when that changes.
    WouldBlock,
    /// The process (or the machine) has no descriptor left. One waiting client was turned away if that was possible.
    /// Accept again after a pause: the poll will not mention those who wait already.
    OutOfDescriptors,
    /// Accepting failed in a way that does not concern one client alone.
    Failed(io::Error),
}

delegate_source!(Listener, listener);

impl Listener {
    /// Listens at `address`. Port 0 takes a free one. An IPv6 address does not stand for IPv4 as well, so that
    /// `0.0.0.0` and `[::]` can be listened at side by side.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of an earlier run may linger in TIME_WAIT; they are no reason to refuse to start.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // Replies are flushed once a turn, so waiting for more to send would only add latency. Accepted sockets inherit
        // this, which spares a system call for each.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG_CLIENTS)?;
        let listener = TcpListener::from_std(socket.into());
        let address = listener.local_addr()?;
        Ok(Self { listener, address, spare: open_spare() })
    }

    /// Where it listens, with the port it got.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts one client.
    pub fn accept(&mut self) -> Accepted {
        loop {
            let error = match self.listener.accept() {
                Ok((stream, peer)) => match self.local_address_of(&stream) {
                    Ok(local) => return Accepted::Client(Socket::new(stream, peer, local)),
                    // It is gone already.
                    Err(_) => continue,
                },
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Accepted::WouldBlock,
                Some(libc::EMFILE | libc::ENFILE) => {
                    self.turn_one_away();
                    return Accepted::OutOfDescriptors;
                }
                Some(code) if concerns_one_client(code) => {}
                _ => return Accepted::Failed(error),
            }
        }
    }

    /// The address that a client connected to: the listener's own, unless that stands for several.
    fn local_address_of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        if self.address.ip().is_unspecified() { stream.local_addr() } else { Ok(self.address) }
    }

    /// Spends the spare descriptor on accepting one client, whose stream is closed at once.
    fn turn_one_away(&mut self) {
        drop(self.spare.take());
        drop(self.listener.accept());
        self.spare = open_spare();
    }
}

/// Errors that belong to the client that was about to be accepted (Linux passes on what happened to it): the next one
/// may be fine.
fn concerns_one_client(code: i32) -> bool {
    matches!(
        code,
        libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
    )
}

#[allow(clippy::disallowed_methods, reason = "a descriptor to give up, nothing that is read")]
fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clients in these tests are plain standard sockets")]
mod tests {
    use super::*;
    use crate::reactor::Poller;
    use crate::reactor::event_loop::tests::poll_until;
    use std::io::Read;
    use std::net::TcpStream;
    use std::process::Command;

    const LISTENER: usize = 0;

    fn bind(address: &str) -> Listener {
        Listener::bind(address.parse().unwrap()).unwrap()
    }

    #[test]
    fn nobody_waiting_would_block() {
        assert!(matches!(bind("127.0.0.1:0").accept(), Accepted::WouldBlock));
    }

    #[test]
    fn an_address_in_use_is_refused() {
        let listener = bind("127.0.0.1:0");
        let error = Listener::bind(listener.local_address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_waiting_client_is_accepted_in_turn() {
        let mut listener = bind("127.0.0.1:0");
        let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(listener.local_address()).unwrap()).collect();
        for client in &clients {
            let Accepted::Client(socket) = listener.accept() else { panic!("20 clients are waiting") };
            assert_eq!(socket.peer_address(), client.local_addr().unwrap());
        }
        assert!(matches!(listener.accept(), Accepted::WouldBlock));
    }

    #[test]
    fn both_families_share_a_port() {
        if Listener::bind("[::]:0".parse().unwrap()).is_err() {
            return; // This machine has no IPv6.
        }
        // Somebody else may own the IPv6 port by chance, but not twenty times.
        let shared = (0..20).any(|_| {
            let four = bind("0.0.0.0:0");
            Listener::bind(format!("[::]:{}", four.local_address().port()).parse().unwrap()).is_ok()
        });
        assert!(shared);
    }

    /// Runs `without_descriptors_clients_are_turned_away` in a process of its own: the limit it sets would break the
    /// tests beside it.
    #[test]
    fn running_out_of_descriptors_turns_clients_away_and_recovers() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--test-threads=1"])
            .arg("reactor::listener::tests::without_descriptors_clients_are_turned_away")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{stdout}");
        assert!(stdout.contains("1 passed"), "{stdout}");
    }

    #[test]
    #[ignore = "lowers the descriptor limit of its process; run by the test above"]
    fn without_descriptors_clients_are_turned_away() {
        let mut poller = Poller::new().unwrap();
        let mut listener = bind("127.0.0.1:0");
        poller.register_readable(&mut listener, LISTENER).unwrap();
        let mut refused = TcpStream::connect(listener.local_address()).unwrap();
        poll_until(&mut poller, |ready| ready.token == LISTENER);

        let mut hoard = Vec::new();
        crate::reactor::process::set_descriptor_limit(64).unwrap();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        assert!(matches!(listener.accept(), Accepted::OutOfDescriptors));
        assert!(matches!(refused.read(&mut [0; 8]), Ok(0) | Err(_)), "the client was told to go away");
        assert!(listener.spare.is_some(), "the spare descriptor is back");

        hoard.truncate(hoard.len() - 2);
        let _welcome = TcpStream::connect(listener.local_address()).unwrap();
        poll_until(&mut poller, |ready| ready.token == LISTENER);
        assert!(matches!(listener.accept(), Accepted::Client(_)));
    }
}
