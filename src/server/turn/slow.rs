//! The slow log: turns of the loop that took too long, with what they did.
//!
//! Nobody is served during a turn but those it is for, so a long one is what everybody waits for. Each phase of a turn is
//! timed by a clock that is cheap to read and as coarse as the system's tick (mostly 4 ms): shares are near enough for turns
//! of this length. Nothing is formatted, and nothing asked of the broker but a few sums, unless a turn was slow.

use super::Server;
use crate::broker::{ConnectionId, Totals};
use crate::reactor::Clock;
use std::fmt::Write;

/// What a turn spends its time on, in the order in which it does.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// Timers, expiry, what the log and pages report, and who is ready.
    Due,
    Management,
    Accept,
    Receive,
    /// Handing to the log what was logged.
    Log,
    /// Delivering and sending.
    Deliver,
    /// Alarms, pages that are to leave memory, memory that is given back.
    Memory,
}

const NAMES: [&str; 7] = ["what was due", "management", "accepting", "receiving", "logging", "delivering", "memory"];

/// What a turn has done so far.
#[derive(Default)]
pub(super) struct TurnWatch {
    /// 0: nobody wants to know.
    limit_us: u64,
    began_us: u64,
    marked_us: u64,
    spent_us: [u64; NAMES.len()],
    before: Done,
    read_bytes: u64,
    reads: u64,
    /// Who sent the most with one read, and how much.
    largest: Option<(ConnectionId, usize)>,
}

/// Sums over the life of the broker.
#[derive(Clone, Copy, Default)]
struct Done {
    published: u64,
    delivered: u64,
    acknowledged: u64,
}

impl Done {
    fn of(totals: &Totals) -> Self {
        Self {
            published: totals.received,
            delivered: totals.delivered_auto_ack
                + totals.delivered_manual_ack
                + totals.got_auto_ack
                + totals.got_manual_ack,
            acknowledged: totals.acknowledged,
        }
    }
}

impl TurnWatch {
    pub fn new(limit_ms: u64) -> Self {
        Self { limit_us: limit_ms * 1000, ..Self::default() }
    }

    pub fn set_limit(&mut self, limit_ms: u64) {
        self.limit_us = limit_ms * 1000;
    }

    fn begin(&mut self, clock: &Clock, totals: &Totals) {
        if self.limit_us == 0 {
            return;
        }
        self.began_us = clock.about_now_us();
        self.marked_us = self.began_us;
        self.spent_us = [0; NAMES.len()];
        self.before = Done::of(totals);
        (self.read_bytes, self.reads, self.largest) = (0, 0, None);
    }

    /// What happened since the mark before was this.
    #[inline]
    fn mark(&mut self, phase: Phase, clock: &Clock) {
        if self.limit_us > 0 {
            let now_us = clock.about_now_us();
            self.spent_us[phase as usize] += now_us - self.marked_us;
            self.marked_us = now_us;
        }
    }

    /// One read of a client's socket brought so much.
    #[inline]
    pub fn read(&mut self, id: ConnectionId, count: usize) {
        self.read_bytes += count as u64;
        self.reads += 1;
        if self.largest.is_none_or(|(_, most)| count > most) {
            self.largest = Some((id, count));
        }
    }

    fn is_slow(&self) -> bool {
        self.limit_us > 0 && self.marked_us - self.began_us > self.limit_us
    }

    /// What took how long, the longest first, and what was done.
    fn words(&self, now: Done, name_of: impl Fn(ConnectionId) -> Option<String>) -> String {
        let took_us = self.marked_us - self.began_us;
        let mut phases: Vec<_> = NAMES.into_iter().zip(self.spent_us).filter(|(_, spent_us)| *spent_us > 0).collect();
        phases.sort_by_key(|(_, spent_us)| std::cmp::Reverse(*spent_us));
        let mut words = format!("a turn of the loop took {} ms:", took_us / 1000);
        for (index, (name, spent_us)) in phases.into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(words, "{comma} {name} {} ms ({} %)", spent_us / 1000, spent_us * 100 / took_us.max(1));
        }
        let Done { published, delivered, acknowledged } = self.before;
        let _ = write!(
            words,
            "; {} messages published, {} delivered, {} acknowledged; {} bytes read in {} parts",
            now.published - published,
            now.delivered - delivered,
            now.acknowledged - acknowledged,
            self.read_bytes,
            self.reads
        );
        if let Some((id, most)) = self.largest {
            let name = name_of(id).unwrap_or_else(|| "a client that is gone".to_owned());
            let _ = write!(words, ", the largest of {most} from {name}");
        }
        words
    }
}

impl Server {
    pub(super) fn begin_watch(&mut self) {
        self.watch.begin(&self.clock, self.hub.broker().totals());
    }

    #[inline]
    pub(super) fn mark(&mut self, phase: Phase) {
        self.watch.mark(phase, &self.clock);
    }

    /// The turn is over.
    pub(super) fn end_watch(&mut self) {
        self.mark(Phase::Memory);
        if self.watch.is_slow() {
            self.tell_slow_turn();
        }
    }

    #[cold]
    fn tell_slow_turn(&self) {
        let now = Done::of(self.hub.broker().totals());
        let words = self.watch.words(now, |id| self.hub.connections().get(id).map(|connection| connection.name()));
        let took_ms = (self.watch.marked_us - self.watch.began_us) / 1000;
        tracing::warn!(target: "general", took_ms, "{words}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_turn_is_told_by_what_took_longest() {
        let mut watch = TurnWatch::new(50);
        (watch.began_us, watch.marked_us) = (1_000_000, 1_050_000);
        assert!(!watch.is_slow(), "not beyond the limit");
        watch.marked_us = 1_100_000;
        assert!(watch.is_slow());
        watch.spent_us[Phase::Deliver as usize] = 20_000;
        watch.spent_us[Phase::Receive as usize] = 80_000;
        watch.read(ConnectionId(1), 10);
        watch.read(ConnectionId(2), 30);
        watch.read(ConnectionId(3), 20);
        let now = Done { published: 5, delivered: 4, acknowledged: 3 };
        assert_eq!(
            watch.words(now, |id| Some(format!("client {}", id.0))),
            "a turn of the loop took 100 ms: receiving 80 ms (80 %), delivering 20 ms (20 %); 5 messages published, 4 \
             delivered, 3 acknowledged; 60 bytes read in 3 parts, the largest of 30 from client 2"
        );
        watch.set_limit(0);
        assert!(!watch.is_slow());
    }
}
