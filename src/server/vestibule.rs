//! Where clients wait that have to shake hands before they speak AMQP, on a thread of its own.
//!
//! ```text
//! listener ─► entrant ── TLS's handshake ──► arrival ─► the loop, which knows it from then on
//!                └── it fails, takes too long, or has been there longest when too many are: closed
//! ```
//! A signature of RSA takes a thousand times what a message does, and whoever connects can have one made. So the whole
//! handshake is made here, and the loop gets connections whose hands were shaken: a storm of clients, or of those who say
//! half a handshake, takes time of this thread alone. It owns the listeners of TLS, and knows neither AMQP nor who is
//! connected already.

use crate::reactor::{Accepted, Clock, Handshake, Listener, Poller, Readiness, Socket, Waker};
use crate::tls::Acceptor;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Those who shake hands at a time. One more, and whoever has been at it longest goes: an honest client needs a moment.
const ENTRANTS_MAX: usize = 4096;
/// Those who shook hands and that the loop did not take yet; then this thread waits for it.
const ARRIVALS_MAX: usize = 1024;
/// Clients accepted from one listener before those are seen to who are in.
const ACCEPTS_AT_ONCE: usize = 32;
/// How long accepting rests when no descriptor is left, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Tokens of entrants are their places; these lie above them.
const LISTENER_TOKENS: usize = usize::MAX / 2;
const WAKE_TOKEN: usize = usize::MAX - 2;

/// The loop's side.
pub(super) struct Vestibule {
    arrivals: Receiver<Socket>,
    orders: Sender<Order>,
    waker: Waker,
}

enum Order {
    /// Handshakes are made with this from now on.
    Accept(Acceptor),
    /// Nobody is let in any more.
    Close,
}

impl Vestibule {
    /// Opens it at these listeners. `loop_waker` tells the loop of arrivals.
    pub fn open(
        listeners: Vec<Listener>,
        acceptor: Acceptor,
        timeout_ms: u64,
        clock: Clock,
        loop_waker: Waker,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKE_TOKEN)?;
        let (arrived, arrivals) = sync_channel(ARRIVALS_MAX);
        let (orders, ordered) = channel();
        let mut room = Room {
            poller,
            clock,
            accepting: vec![true; listeners.len()],
            listeners,
            accept_again_at_ms: None,
            acceptor,
            timeout_ms,
            entrants: Slab::new(),
            by_age: VecDeque::new(),
            next_serial: 0,
            orders: ordered,
            arrived,
            loop_waker,
        };
        for (index, listener) in room.listeners.iter_mut().enumerate() {
            room.poller.register_readable(listener, LISTENER_TOKENS + index)?;
        }
        std::thread::Builder::new().name("vestibule".to_owned()).spawn(move || room.run())?;
        Ok(Self { arrivals, orders, waker })
    }

    /// The next client that shook hands, if there is one.
    pub fn next_arrival(&self) -> Option<Socket> {
        self.arrivals.try_recv().ok()
    }

    /// Makes handshakes with this from now on. Whoever is in, or connected, keeps what it was shown.
    pub fn accept_with(&self, acceptor: Acceptor) {
        self.order(Order::Accept(acceptor));
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.order(Order::Close);
    }

    fn order(&self, order: Order) {
        // A thread that is gone said why.
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Somebody who shakes hands.
struct Entrant {
    socket: Socket,
    /// Tells it from those who had its place before.
    serial: u64,
}

/// When somebody's time is up. Nobody's, if the place has another or none.
struct Deadline {
    at_ms: u64,
    place: usize,
    serial: u64,
}

/// The thread's side.
struct Room {
    poller: Poller,
    clock: Clock,
    listeners: Vec<Listener>,
    /// Listeners that may have clients waiting.
    accepting: Vec<bool>,
    accept_again_at_ms: Option<u64>,
    acceptor: Acceptor,
    timeout_ms: u64,
    entrants: Slab<Entrant>,
    /// All have the same time, so this is in the order in which it ends. The first is always somebody's.
    by_age: VecDeque<Deadline>,
    next_serial: u64,
    orders: Receiver<Order>,
    arrived: SyncSender<Socket>,
    loop_waker: Waker,
}

/// The loop takes nobody in any more.
struct LoopEnded;

impl Room {
    fn run(mut self) {
        loop {
            if let Err(error) = self.poller.poll(self.timeout()) {
                tracing::error!(target: "connection", "no client can connect over TLS any more: {error}");
                return;
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Accept(acceptor) => self.acceptor = acceptor,
                    Order::Close => return,
                }
            }
            if let Err(LoopEnded) = self.turn() {
                return;
            }
        }
    }

    fn turn(&mut self) -> Result<(), LoopEnded> {
        let ready: Vec<Readiness> = self.poller.ready().collect();
        for Readiness { token, .. } in ready {
            match token {
                WAKE_TOKEN => {}
                token if token >= LISTENER_TOKENS => self.accepting[token - LISTENER_TOKENS] = true,
                place => self.go_on(place)?,
            }
        }
        let now_ms = self.clock.now_ms();
        while self.by_age.front().is_some_and(|deadline| deadline.at_ms <= now_ms) {
            self.turn_oldest_away("it takes too long");
        }
        self.accept(now_ms);
        Ok(())
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        if self.accept_again_at_ms.is_none() && self.accepting.contains(&true) {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.by_age.front().map(|deadline| deadline.at_ms), self.accept_again_at_ms];
        let at_ms = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.clock.now_ms())))
    }

    fn accept(&mut self, now_ms: u64) {
        if self.accept_again_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            return;
        }
        self.accept_again_at_ms = None;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_AT_ONCE {
                if !self.accepting[index] {
                    break;
                }
                match self.listeners[index].accept() {
                    Accepted::Client(socket) => self.let_in(socket, now_ms),
                    Accepted::WouldBlock => self.accepting[index] = false,
                    Accepted::OutOfDescriptors => {
                        tracing::warn!(target: "connection", "no descriptors left: turning clients away for {ACCEPT_PAUSE_MS} ms");
                        self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                        return;
                    }
                    Accepted::Failed(error) => {
                        tracing::error!(target: "connection", "accepting failed: {error}");
                        self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                        return;
                    }
                }
            }
        }
    }

    fn let_in(&mut self, socket: Socket, now_ms: u64) {
        if self.entrants.len() >= ENTRANTS_MAX {
            self.turn_oldest_away("too many others shake hands");
        }
        let mut socket = socket.encrypt(self.acceptor.accept());
        let place = self.entrants.vacant_key();
        if let Err(error) = self.poller.register(&mut socket, place) {
            tracing::error!(target: "connection", "{}: can't be polled: {error}", socket.peer_address());
            return;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.entrants.insert(Entrant { socket, serial });
        self.by_age.push_back(Deadline { at_ms: now_ms + self.timeout_ms, place, serial });
    }

    fn go_on(&mut self, place: usize) -> Result<(), LoopEnded> {
        let Some(entrant) = self.entrants.get_mut(place) else { return Ok(()) };
        match entrant.socket.shake_hands() {
            Handshake::Waits => {}
            Handshake::Failed(why) => self.turn_away(place, &why),
            Handshake::Done => {
                let mut socket = self.remove(place).socket;
                if let Err(error) = self.poller.deregister(&mut socket) {
                    tracing::error!(target: "connection", "{}: can't be polled any more: {error}", socket.peer_address());
                    return Ok(());
                }
                self.arrived.send(socket).map_err(|_| LoopEnded)?;
                self.loop_waker.wake().map_err(|_| LoopEnded)?;
            }
        }
        Ok(())
    }

    fn turn_oldest_away(&mut self, why: &str) {
        if let Some(Deadline { place, .. }) = self.by_age.front() {
            self.turn_away(*place, why);
        }
    }

    fn turn_away(&mut self, place: usize, why: &str) {
        let Entrant { socket, .. } = self.remove(place);
        tracing::warn!(target: "connection", "{}: TLS handshake failed: {why}", socket.peer_address());
    }

    fn remove(&mut self, place: usize) -> Entrant {
        let entrant = self.entrants.remove(place);
        let is_somebodys = |Deadline { place, serial, .. }: &Deadline| {
            self.entrants.get(*place).is_some_and(|one| one.serial == *serial)
        };
        while self.by_age.front().is_some_and(|deadline| !is_somebodys(deadline)) {
            self.by_age.pop_front();
        }
        entrant
    }
}
