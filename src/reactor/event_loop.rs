//! The poll, and who is ready.
//!
//! Every source is registered once, edge-triggered, for reading and writing. An edge says "something changed": its
//! owner must read (or write) until the source would block, or remember that it did not, because the poll will not
//! say it again. It never reads or writes anything itself.

use super::Clock;
use mio::event::{Event, Source};
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The most sources one poll reports; the rest follow in the next one.
pub const EVENTS_PER_POLL_MAX: usize = 1024;

/// Waits that are slept through after busy waits that were in vain, at most.
const SLEEPS_MAX: u32 = 64;

/// The poll and the events of its latest call.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    clock: Clock,
    /// How long to ask again and again before going to sleep, in microseconds.
    busy_us: u64,
    /// Waits to sleep through before the next busy one, and how many it was the last time.
    sleeps_left: u32,
    sleeps: u32,
}

/// What the poll says about one source. Edges may be spurious: the system call that follows has the last word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// The number its source was registered with.
    pub token: usize,
    /// There may be bytes (or the end of the stream, or an error) to receive, or clients to accept.
    pub readable: bool,
    /// There may be room to send.
    pub writable: bool,
    /// The peer will send nothing more, or the stream failed. What it sent before may still be there to receive.
    pub closed: bool,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_POLL_MAX),
            clock: Clock::start(),
            busy_us: 0,
            sleeps_left: 0,
            sleeps: 0,
        })
    }

    /// Waits busily for so long before it sleeps, which spares the time that waking up takes, and costs a processor. It
    /// does so only as long as that is worth something: each busy wait in vain doubles the waits until the next one.
    pub fn set_busy(&mut self, busy: Duration) {
        self.busy_us = u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
    }

    /// Reports `source` as `token` from now on, until it is deregistered or dropped. An edge for what is ready already
    /// comes with the next poll.
    pub fn register(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        self.poll.registry().register(source, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    /// Like [`register`](Self::register), for sources that are only ever read: listeners and signals.
    pub fn register_readable(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        self.poll.registry().register(source, Token(token), Interest::READABLE)
    }

    /// Reports `source` no more: another poll may have it.
    pub fn deregister(&self, source: &mut impl Source) -> io::Result<()> {
        self.poll.registry().deregister(source)
    }

    /// Waits until something is ready or `timeout` has passed; `None` waits for ever. A wait that a signal interrupts
    /// ends with nothing ready.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.busy_us > 0 && timeout != Some(Duration::ZERO) {
            match self.sleeps_left.checked_sub(1) {
                Some(left) => self.sleeps_left = left,
                None if self.wait_busily(timeout)? => return Ok(()),
                None => {}
            }
        }
        self.wait(timeout)
    }

    /// Waits for something to be ready for so short a time that the milliseconds of [`poll`](Self::poll) are too coarse
    /// for it: less than one. Says whether anything is.
    pub fn poll_briefly(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.wakes_within(timeout) {
            self.wait(Some(Duration::ZERO))?;
        } else {
            self.events.clear();
        }
        Ok(!self.events.is_empty())
    }

    /// Whether the poll has something to say before `timeout` has passed. It may be mistaken in saying so.
    fn wakes_within(&self, timeout: Duration) -> bool {
        let mut descriptor = libc::pollfd { fd: self.poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        #[cfg(target_os = "linux")]
        let ready = {
            let timeout = libc::timespec { tv_sec: 0, tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32) };
            // SAFETY: `descriptor` and `timeout` are valid for the call, which writes to the first alone. No signal mask is
            // given.
            unsafe { libc::ppoll(&raw mut descriptor, 1, &raw const timeout, std::ptr::null()) }
        };
        #[cfg(not(target_os = "linux"))]
        let ready = {
            let _ = timeout;
            // SAFETY: `descriptor` is valid for the call, which writes to it alone.
            unsafe { libc::poll(&raw mut descriptor, 1, 1) }
        };
        ready != 0
    }

    /// Asks until something is ready, and says whether it was.
    fn wait_busily(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout_us = timeout.map_or(u64::MAX, |timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        let until_us = self.clock.now_us().saturating_add(self.busy_us.min(timeout_us));
        loop {
            self.wait(Some(Duration::ZERO))?;
            if !self.events.is_empty() {
                self.sleeps = 0;
                return Ok(true);
            }
            if self.clock.now_us() >= until_us {
                self.sleeps = (self.sleeps * 2).clamp(1, SLEEPS_MAX);
                self.sleeps_left = self.sleeps;
                return Ok(false);
            }
            // Whoever else has work for this processor goes first.
            std::thread::yield_now();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Who was ready when the latest poll returned.
    pub fn ready(&self) -> impl Iterator<Item = Readiness> + '_ {
        self.events.iter().map(Readiness::of)
    }

    pub(super) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }
}

impl Readiness {
    fn of(event: &Event) -> Self {
        Self {
            token: event.token().0,
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_write_closed() || event.is_error(),
        }
    }
}

/// Makes a wrapper around one mio source registrable, without showing the source to the other rooms.
macro_rules! delegate_source {
    ($wrapper:ty, $($source:tt)+) => {
        impl mio::event::Source for $wrapper {
            fn register(
                &mut self,
                registry: &mio::Registry,
                token: mio::Token,
                interests: mio::Interest,
            ) -> std::io::Result<()> {
                self.$($source)+.register(registry, token, interests)
            }

            fn reregister(
                &mut self,
                registry: &mio::Registry,
                token: mio::Token,
                interests: mio::Interest,
            ) -> std::io::Result<()> {
                self.$($source)+.reregister(registry, token, interests)
            }

            fn deregister(&mut self, registry: &mio::Registry) -> std::io::Result<()> {
                self.$($source)+.deregister(registry)
            }
        }
    };
}
pub(super) use delegate_source;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clients in these tests are plain standard sockets")]
pub(super) mod tests {
    use super::*;
    use crate::reactor::{Accepted, Listener, Received, Sent, Socket, Waker};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    /// Longer than any machine needs; a test that waits this long has failed.
    const PATIENCE: Duration = Duration::from_secs(20);
    const LISTENER: usize = 7;
    const CLIENT: usize = 8;
    const WAKER: usize = 9;

    /// Polls until `wanted` holds for some readiness.
    pub fn poll_until(poller: &mut Poller, wanted: impl Fn(&Readiness) -> bool) -> Readiness {
        loop {
            poller.poll(Some(PATIENCE)).expect("poll");
            let ready: Vec<Readiness> = poller.ready().collect();
            assert!(!ready.is_empty(), "nothing was ready for {PATIENCE:?}");
            if let Some(found) = ready.into_iter().find(&wanted) {
                return found;
            }
        }
    }

    /// A listener on a free port of the loopback, already registered as [`LISTENER`].
    fn listening() -> (Poller, Listener, SocketAddr) {
        let poller = Poller::new().expect("poller");
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).expect("bind");
        poller.register_readable(&mut listener, LISTENER).expect("register");
        let address = listener.local_address();
        (poller, listener, address)
    }

    /// One accepted client, registered as [`CLIENT`], and its other end.
    fn accepted() -> (Poller, Socket, TcpStream) {
        let (mut poller, mut listener, address) = listening();
        let client = TcpStream::connect(address).expect("connect");
        poll_until(&mut poller, |ready| ready.token == LISTENER && ready.readable);
        let Accepted::Client(mut socket) = listener.accept() else { panic!("a client is waiting") };
        poller.register(&mut socket, CLIENT).expect("register");
        (poller, socket, client)
    }

    #[test]
    fn a_client_connects_sends_receives_and_leaves() {
        let (mut poller, mut socket, mut client) = accepted();
        assert_eq!(socket.peer_address(), client.local_addr().unwrap());

        client.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
        poll_until(&mut poller, |ready| ready.token == CLIENT && ready.readable);
        let mut buffer = [0; 64];
        assert!(matches!(socket.receive(&mut buffer), Received::Bytes { count: 8, .. }));
        assert_eq!(&buffer[..8], b"AMQP\x00\x00\x09\x01");
        assert!(matches!(socket.receive(&mut buffer), Received::WouldBlock));

        assert!(matches!(socket.send(b"start"), Sent::Bytes { count: 5, .. }));
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"start");

        drop(client);
        poll_until(&mut poller, |ready| ready.token == CLIENT && ready.closed);
        assert!(matches!(socket.receive(&mut buffer), Received::Closed));
    }

    #[test]
    fn a_socket_that_blocked_is_reported_writable_once_the_peer_reads() {
        let (mut poller, mut socket, mut client) = accepted();
        let chunk = vec![b'x'; 256 * 1024];
        let mut sent = 0;
        loop {
            match socket.send(&chunk) {
                Sent::Bytes { count, .. } => sent += count,
                Sent::WouldBlock => break,
                other => panic!("{other:?}"),
            }
        }
        // Consume the edge that the registration caused, if the socket was still writable when somebody looked, so that
        // the next one is the peer's doing.
        poller.poll(Some(Duration::ZERO)).unwrap();
        let mut received = vec![0; sent];
        client.read_exact(&mut received).unwrap();
        poll_until(&mut poller, |ready| ready.token == CLIENT && ready.writable);
        assert!(matches!(socket.send(b"more"), Sent::Bytes { count: 4, .. }));
    }

    #[test]
    fn another_thread_wakes_the_poll() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new(&poller, WAKER).unwrap();
        let elsewhere = waker.clone();
        let thread = std::thread::spawn(move || elsewhere.wake().unwrap());
        assert_eq!(poll_until(&mut poller, |ready| ready.token == WAKER).token, WAKER);
        thread.join().unwrap();
    }

    #[test]
    fn a_busy_wait_sees_what_a_sleeping_one_sees() {
        let (mut poller, mut socket, mut client) = accepted();
        poller.set_busy(Duration::from_millis(1));
        for round in 0..2 * SLEEPS_MAX {
            client.write_all(b"byte").unwrap();
            poll_until(&mut poller, |ready| ready.token == CLIENT && ready.readable);
            assert!(matches!(socket.receive(&mut [0; 8]), Received::Bytes { count: 4, .. }), "round {round}");
        }
        poller.poll(Some(Duration::from_micros(1))).unwrap();
        assert_eq!(poller.ready().count(), 0);
    }

    #[test]
    fn busy_waits_in_vain_become_rare() {
        let mut poller = Poller::new().unwrap();
        poller.set_busy(Duration::from_micros(1));
        let mut busy = Vec::new();
        for wait in 0..20 {
            if poller.sleeps_left == 0 {
                busy.push(wait);
            }
            poller.poll(Some(Duration::from_micros(1))).unwrap();
        }
        assert_eq!(busy, [0, 2, 5, 10, 19]);
    }

    #[test]
    fn a_poll_without_events_ends_at_its_timeout() {
        let mut poller = Poller::new().unwrap();
        poller.poll(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(poller.ready().count(), 0);
    }
}
