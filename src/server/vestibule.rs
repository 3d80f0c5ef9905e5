//! Where clients wait that have something to say before they speak AMQP, on a thread of its own.
//!
//! ```text
//! listener ─► entrant ── a proxy's header ── TLS's handshake ──► arrival ─► the loop, which knows it from then on
//!                └── it fails, takes too long, or has to go when too many are in: closed
//! ```
//! Which of the two there is depends on the listener, and on where the client comes from.
//!
//! A signature of RSA takes a thousand times what a message does, and whoever connects can have one made. So the whole
//! handshake is made here, and the loop gets connections whose hands were shaken: a storm of clients, or of those who say
//! half a handshake, takes time of this thread alone. It owns the listeners of TLS, and all of them where there are proxies
//! that are believed; and it knows neither AMQP nor who is connected already.

use crate::config::Network;
use crate::reactor::{Accepted, Clock, Entrants, Handshake, Listener, Poller, Readiness, Socket, Waker, origin_of};
use crate::tls::Acceptor;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Those who shake hands at a time. One more, and whoever has been at it longest goes, of the origin with the most of them:
/// an honest client needs a moment.
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
    entrance: Entrance,
}

/// A listener that is for this thread.
pub(super) struct Gate {
    pub listener: Listener,
    pub is_encrypted: bool,
}

/// What is asked of those who enter.
pub(super) struct Terms {
    /// What handshakes are made with; there is one if a gate is encrypted.
    pub acceptor: Option<Acceptor>,
    /// Those who have to say who is behind them.
    pub proxies: Vec<Network>,
    pub timeout_ms: u64,
}

/// Where somebody else lets clients in whom no listener of this thread's accepted.
#[derive(Clone)]
pub(super) struct Entrance {
    orders: Sender<Order>,
    waker: Waker,
}

enum Order {
    /// Somebody comes in.
    LetIn { socket: Socket, is_encrypted: bool },
    /// Handshakes are made with this from now on.
    Accept(Acceptor),
    /// Nobody is let in any more.
    Close,
}

impl Vestibule {
    /// Opens it at these gates. `loop_waker` tells the loop of arrivals.
    pub fn open(gates: Vec<Gate>, terms: Terms, clock: Clock, loop_waker: Waker) -> io::Result<Self> {
        let poller = Poller::new()?;
        let waker = Waker::new(&poller, WAKE_TOKEN)?;
        let (arrived, arrivals) = sync_channel(ARRIVALS_MAX);
        let (orders, ordered) = channel();
        let mut room = Room {
            poller,
            clock,
            accepting: vec![true; gates.len()],
            gates,
            accept_again_at_ms: None,
            terms,
            entrants: Entrants::new(ENTRANTS_MAX),
            orders: ordered,
            arrived,
            loop_waker,
        };
        for (index, gate) in room.gates.iter_mut().enumerate() {
            room.poller.register_readable(&mut gate.listener, LISTENER_TOKENS + index)?;
        }
        std::thread::Builder::new().name("vestibule".to_owned()).spawn(move || room.run())?;
        Ok(Self { arrivals, entrance: Entrance { orders, waker } })
    }

    /// The next client that speaks AMQP, if there is one.
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
        self.entrance.order(order);
    }

    /// Where clients can be let in from elsewhere.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }
}

impl Entrance {
    /// Lets a client in, as if it had come to a gate.
    pub fn let_in(&self, socket: Socket, is_encrypted: bool) {
        self.order(Order::LetIn { socket, is_encrypted });
    }

    fn order(&self, order: Order) {
        // A thread that is gone said why.
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Somebody who says what comes before AMQP.
struct Entrant {
    socket: Socket,
    /// A proxy's header comes first, and has not come yet.
    awaits_proxy: bool,
}

/// The thread's side.
struct Room {
    poller: Poller,
    clock: Clock,
    gates: Vec<Gate>,
    /// Gates that may have clients waiting.
    accepting: Vec<bool>,
    accept_again_at_ms: Option<u64>,
    terms: Terms,
    entrants: Entrants<Entrant>,
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
                    Order::Accept(acceptor) => self.terms.acceptor = Some(acceptor),
                    Order::LetIn { socket, is_encrypted } => {
                        if let Err(LoopEnded) = self.let_in(socket, is_encrypted, self.clock.now_ms()) {
                            return;
                        }
                    }
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
        while let Some(place) = self.entrants.overdue(now_ms) {
            self.turn_away(place, "it takes too long");
        }
        self.accept(now_ms)
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        if self.accept_again_at_ms.is_none() && self.accepting.contains(&true) {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.entrants.next_deadline_ms(), self.accept_again_at_ms];
        let at_ms = deadlines.into_iter().flatten().min()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.clock.now_ms())))
    }

    fn accept(&mut self, now_ms: u64) -> Result<(), LoopEnded> {
        if self.accept_again_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            return Ok(());
        }
        self.accept_again_at_ms = None;
        for index in 0..self.gates.len() {
            for _ in 0..ACCEPTS_AT_ONCE {
                if !self.accepting[index] {
                    break;
                }
                match self.gates[index].listener.accept() {
                    Accepted::Client(socket) => self.let_in(socket, self.gates[index].is_encrypted, now_ms)?,
                    Accepted::WouldBlock => self.accepting[index] = false,
                    Accepted::OutOfDescriptors => {
                        tracing::warn!(target: "connection", "no descriptors left: turning clients away for {ACCEPT_PAUSE_MS} ms");
                        self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                        return Ok(());
                    }
                    Accepted::Failed(error) => {
                        tracing::error!(target: "connection", "accepting failed: {error}");
                        self.accept_again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS);
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn let_in(&mut self, socket: Socket, is_encrypted: bool, now_ms: u64) -> Result<(), LoopEnded> {
        let peer = socket.peer_address().ip();
        let awaits_proxy = self.terms.proxies.iter().any(|network| network.contains(peer));
        let mut socket = match &self.terms.acceptor {
            Some(acceptor) if is_encrypted => socket.encrypt(acceptor.accept()),
            _ if awaits_proxy => socket,
            // There is nothing to wait for.
            _ => return self.arrive(socket),
        };
        let origin = origin_of(peer);
        if let Some(place) = self.entrants.in_the_way_of(origin) {
            self.turn_away(place, "too many others shake hands");
        }
        let place = self.entrants.next_place();
        if let Err(error) = self.poller.register(&mut socket, place) {
            tracing::error!(target: "connection", "{}: can't be polled: {error}", socket.peer_address());
            return Ok(());
        }
        self.entrants.insert(Entrant { socket, awaits_proxy }, origin, now_ms + self.terms.timeout_ms);
        Ok(())
    }

    fn go_on(&mut self, place: usize) -> Result<(), LoopEnded> {
        let Some(entrant) = self.entrants.get_mut(place) else { return Ok(()) };
        if entrant.awaits_proxy {
            match entrant.socket.take_proxy_header() {
                Handshake::Done => {
                    entrant.awaits_proxy = false;
                    let origin = origin_of(entrant.socket.peer_address().ip());
                    self.entrants.move_to(place, origin);
                }
                Handshake::Waits => return Ok(()),
                Handshake::Failed(why) => {
                    self.turn_away(place, &why);
                    return Ok(());
                }
            }
        }
        let Some(entrant) = self.entrants.get_mut(place) else { return Ok(()) };
        match entrant.socket.shake_hands() {
            Handshake::Waits => {}
            Handshake::Failed(why) => self.turn_away(place, &why),
            Handshake::Done => {
                let mut socket = self.entrants.remove(place).socket;
                if let Err(error) = self.poller.deregister(&mut socket) {
                    tracing::error!(target: "connection", "{}: can't be polled any more: {error}", socket.peer_address());
                    return Ok(());
                }
                return self.arrive(socket);
            }
        }
        Ok(())
    }

    fn arrive(&mut self, socket: Socket) -> Result<(), LoopEnded> {
        self.arrived.send(socket).map_err(|_| LoopEnded)?;
        self.loop_waker.wake().map_err(|_| LoopEnded)
    }

    fn turn_away(&mut self, place: usize, why: &str) {
        let Entrant { socket, awaits_proxy } = self.entrants.remove(place);
        let what = if awaits_proxy { "PROXY header refused" } else { "TLS handshake failed" };
        tracing::warn!(target: "connection", "{}: {what}: {why}", socket.peer_address());
    }
}
