//! Doors at which clients knock, and when they are let in: some at each door in a turn, so that a storm of them leaves time
//! for others, and nobody for a moment after the system has refused to let one in.
//!
//! It says at which door a client came in, and has no part in what becomes of it.

use super::turn::{Door, Way};
use crate::reactor::{Accepted, Socket};

/// Clients let in at once at one door.
pub const ACCEPTS_PER_TURN: usize = 128;
/// How long accepting rests when no descriptor is left, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

#[derive(Default)]
pub struct Accepting {
    doors: Vec<Door>,
    /// Those at which clients may wait.
    may_wait: Vec<bool>,
    again_at_ms: Option<u64>,
}

/// How a door was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// More may wait there.
    WithMore,
    WithNobody,
    /// The system lets nobody in, at no door.
    Refused,
}

impl Accepting {
    /// Nobody was asked for yet.
    pub fn new(doors: Vec<Door>) -> Self {
        Self { may_wait: vec![true; doors.len()], doors, again_at_ms: None }
    }

    /// Somebody knocks. At doors that are given away, nobody does.
    pub fn knock(&mut self, door: usize) {
        self.may_wait.get_mut(door).into_iter().for_each(|may_wait| *may_wait = true);
    }

    /// Gives the doors away: who knocks from now on waits there.
    pub fn take_doors(&mut self) -> Vec<Door> {
        std::mem::take(self).doors
    }

    /// Whether there is something to do at once.
    pub fn has_work(&self) -> bool {
        self.again_at_ms.is_none() && self.may_wait.contains(&true)
    }

    /// When there is something to do although nobody knocks.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.again_at_ms
    }

    /// Lets in some at each door.
    pub fn accept(&mut self, now_ms: u64, mut take: impl FnMut(Way, Socket)) {
        if self.again_at_ms.is_some_and(|at_ms| now_ms < at_ms) {
            return;
        }
        self.again_at_ms = None;
        for (Door { listener, way }, may_wait) in self.doors.iter_mut().zip(&mut self.may_wait) {
            if !*may_wait {
                continue;
            }
            match accept_some(|| listener.accept(), |client| take(*way, client)) {
                Left::WithMore => {}
                Left::WithNobody => *may_wait = false,
                Left::Refused => self.again_at_ms = Some(now_ms + ACCEPT_PAUSE_MS),
            }
        }
    }
}

fn accept_some(mut accept: impl FnMut() -> Accepted, mut take: impl FnMut(Socket)) -> Left {
    for _ in 0..ACCEPTS_PER_TURN {
        match accept() {
            Accepted::Client(client) => take(client),
            Accepted::WouldBlock => return Left::WithNobody,
            Accepted::OutOfDescriptors => {
                tracing::warn!(target: "connection", "no descriptors left: turning clients away for {ACCEPT_PAUSE_MS} ms");
                return Left::Refused;
            }
            Accepted::Failed(error) => {
                tracing::error!(target: "connection", "accepting failed: {error}");
                return Left::Refused;
            }
        }
    }
    Left::WithMore
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clients in these tests are plain standard sockets")]
mod tests {
    use super::*;
    use crate::reactor::Listener;
    use std::net::TcpStream;

    fn door() -> Door {
        Door { listener: Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(), way: Way::Straight }
    }

    #[test]
    fn a_storm_at_one_door_comes_in_over_turns() {
        let doors = vec![door(), door()];
        let addresses: Vec<_> = doors.iter().map(|door| door.listener.local_address()).collect();
        let mut accepting = Accepting::new(doors);
        let storm: Vec<_> =
            (0..ACCEPTS_PER_TURN + 1).map(|_| TcpStream::connect(addresses[0]).expect("it listens")).collect();
        let one = TcpStream::connect(addresses[1]).expect("it listens");
        let mut came = Vec::new();
        accepting.accept(0, |_, client| came.push(client));
        assert_eq!((came.len(), accepting.has_work()), (ACCEPTS_PER_TURN + 1, true), "some here, and the one there");
        accepting.accept(0, |_, client| came.push(client));
        assert_eq!((came.len(), accepting.has_work()), (ACCEPTS_PER_TURN + 2, false));
        drop((storm, one));
        accepting.knock(1);
        assert!(accepting.has_work());
        accepting.accept(0, |_, _| panic!("nobody is there"));
        assert_eq!(accepting.take_doors().len(), 2);
        accepting.knock(1);
        assert!(!accepting.has_work(), "its doors are somebody else's");
    }

    #[test]
    fn who_runs_out_of_descriptors_lets_nobody_in_for_a_moment() {
        let nobody = |_| panic!("nobody comes in");
        assert_eq!(accept_some(|| Accepted::OutOfDescriptors, nobody), Left::Refused);
        assert_eq!(accept_some(|| Accepted::Failed(std::io::ErrorKind::Other.into()), nobody), Left::Refused);
        let mut accepting = Accepting::new(vec![door()]);
        let client = TcpStream::connect(accepting.doors[0].listener.local_address()).expect("it listens");
        accepting.again_at_ms = Some(ACCEPT_PAUSE_MS);
        assert_eq!((accepting.has_work(), accepting.next_deadline_ms()), (false, Some(ACCEPT_PAUSE_MS)));
        accepting.accept(ACCEPT_PAUSE_MS - 1, |_, _| panic!("it rests"));
        let mut came = 0;
        accepting.accept(ACCEPT_PAUSE_MS, |_, _| came += 1);
        assert_eq!((came, accepting.next_deadline_ms()), (1, None));
        drop(client);
    }
}
