//! How fast counters rise: from the last two looks at each of them.
//!
//! It owns what was seen, and no clock: time is an argument. A rate is the difference between the two looks over the time
//! between them, as RabbitMQ gives it. There is none before the second look, and none when the last one was long ago.

use super::figures::{CONNECTION_FIGURES, OVERVIEW_FIGURES, QUEUE_FIGURES};
use super::question::ConnectionFigures;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

/// How often counters are looked at, in milliseconds: as often as RabbitMQ's queues and connections emit theirs.
pub const SAMPLE_INTERVAL_MS: u64 = 5_000;
/// A look so long ago says nothing of now, in milliseconds.
const STALE_AFTER_MS: u64 = 3 * SAMPLE_INTERVAL_MS;
/// Queues and connections that are always looked at. More of them are looked at only while somebody asks: for 100,000 queues
/// each look took the loop 5 ms in a hundred pieces and this thread 50 ms, and what was seen of them tens of megabytes.
const ALWAYS_SAMPLED_MAX: usize = 10_000;
/// Somebody who asks is taken to ask again within so long, in milliseconds: a monitor that comes every few minutes does.
const ASKS_AGAIN_WITHIN_MS: u64 = 5 * 60 * 1000;

/// A connection: its two ends, and since when it is there, as another one may come from the same port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionKey {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub connected_at_ms: u64,
}

impl ConnectionKey {
    pub fn of(figures: &ConnectionFigures) -> Self {
        let &ConnectionFigures { peer, local, connected_at_ms, .. } = figures;
        Self { peer, local, connected_at_ms }
    }
}

/// What was seen of one thing.
struct Series<const N: usize> {
    at_ms: u64,
    figures: [u64; N],
    /// Per second, between that look and the one before it.
    rates: Option<[f64; N]>,
}

impl<const N: usize> Series<N> {
    fn new(at_ms: u64, figures: [u64; N]) -> Self {
        Self { at_ms, figures, rates: None }
    }

    fn add(&mut self, at_ms: u64, figures: [u64; N]) {
        let duration_ms = at_ms.saturating_sub(self.at_ms);
        if duration_ms > 0 {
            let rate = |index: usize| {
                // Lengths of queues fall, too.
                let difference = figures[index].wrapping_sub(self.figures[index]) as i64;
                difference as f64 * 1000.0 / duration_ms as f64
            };
            self.rates = (duration_ms < STALE_AFTER_MS).then(|| std::array::from_fn(rate));
            self.at_ms = at_ms;
            self.figures = figures;
        }
    }

    fn rates(&self, now_ms: u64) -> Option<[f64; N]> {
        self.rates.filter(|_| now_ms.saturating_sub(self.at_ms) < STALE_AFTER_MS)
    }
}

/// Many things of a kind. What is gone is forgotten with the next look.
struct Table<K, const N: usize> {
    series: HashMap<K, Series<N>>,
}

impl<K: Eq + Hash, const N: usize> Table<K, N> {
    fn new() -> Self {
        Self { series: HashMap::new() }
    }

    fn add(&mut self, key: K, at_ms: u64, figures: [u64; N]) {
        self.series
            .entry(key)
            .and_modify(|series| series.add(at_ms, figures))
            .or_insert_with(|| Series::new(at_ms, figures));
    }

    /// Forgets what was not seen since then, and gives back the room of what was many once.
    fn forget_unseen_since(&mut self, began_ms: u64) {
        self.series.retain(|_, series| series.at_ms >= began_ms);
        if self.series.len() < self.series.capacity() / 4 {
            self.series.shrink_to_fit();
        }
    }

    fn rates(&self, key: &K, now_ms: u64) -> Option<[f64; N]> {
        self.series.get(key)?.rates(now_ms)
    }
}

pub struct Rates {
    overview: Option<Series<OVERVIEW_FIGURES>>,
    /// By their serials: a queue that is declared again is another one.
    queues: Table<u64, QUEUE_FIGURES>,
    connections: Table<ConnectionKey, CONNECTION_FIGURES>,
    /// When somebody last asked for any of them.
    asked_at_ms: Option<u64>,
}

impl Rates {
    pub fn new() -> Self {
        Self { overview: None, queues: Table::new(), connections: Table::new(), asked_at_ms: None }
    }

    pub fn add_overview(&mut self, at_ms: u64, figures: [u64; OVERVIEW_FIGURES]) {
        match &mut self.overview {
            Some(series) => series.add(at_ms, figures),
            None => self.overview = Some(Series::new(at_ms, figures)),
        }
    }

    pub fn add_queue(&mut self, serial: u64, at_ms: u64, figures: [u64; QUEUE_FIGURES]) {
        self.queues.add(serial, at_ms, figures);
    }

    pub fn add_connection(&mut self, key: ConnectionKey, at_ms: u64, figures: [u64; CONNECTION_FIGURES]) {
        self.connections.add(key, at_ms, figures);
    }

    /// Whether so many queues and connections are to be looked at now.
    pub fn wants_each(&self, things: usize, now_ms: u64) -> bool {
        let is_asked =
            self.asked_at_ms.is_some_and(|asked_at_ms| now_ms.saturating_sub(asked_at_ms) < ASKS_AGAIN_WITHIN_MS);
        things <= ALWAYS_SAMPLED_MAX || is_asked
    }

    /// All queues and connections were looked at since then, or none, which are then too many.
    pub fn end_look(&mut self, began_ms: u64) {
        self.queues.forget_unseen_since(began_ms);
        self.connections.forget_unseen_since(began_ms);
    }

    pub fn of_overview(&self, now_ms: u64) -> Option<[f64; OVERVIEW_FIGURES]> {
        self.overview.as_ref()?.rates(now_ms)
    }

    pub fn of_queue(&mut self, serial: u64, now_ms: u64) -> Option<[f64; QUEUE_FIGURES]> {
        self.asked_at_ms = Some(now_ms);
        self.queues.rates(&serial, now_ms)
    }

    pub fn of_connection(&mut self, key: ConnectionKey, now_ms: u64) -> Option<[f64; CONNECTION_FIGURES]> {
        self.asked_at_ms = Some(now_ms);
        self.connections.rates(&key, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(published: u64, ready: u64) -> [u64; QUEUE_FIGURES] {
        std::array::from_fn(|index| match index {
            0 => published,
            1 => ready,
            _ => 0,
        })
    }

    #[test]
    fn a_rate_is_the_difference_between_two_looks_over_the_time_between_them() {
        let mut rates = Rates::new();
        rates.add_queue(7, 1_000, figures(100, 50));
        assert_eq!(rates.of_queue(7, 1_000), None, "one look tells nothing");
        rates.add_queue(7, 6_000, figures(350, 0));
        let [published, ready, others @ ..] = rates.of_queue(7, 6_000).expect("two looks");
        assert_eq!((published, ready, others), (50.0, -10.0, [0.0; QUEUE_FIGURES - 2]));
        rates.add_queue(7, 11_500, figures(350, 0));
        assert_eq!(rates.of_queue(7, 11_500), Some([0.0; QUEUE_FIGURES]), "nothing happened since");
    }

    #[test]
    fn a_queue_that_is_declared_again_starts_anew() {
        let mut rates = Rates::new();
        rates.add_queue(7, 0, figures(1_000, 0));
        rates.add_queue(8, 5_000, figures(10, 0));
        rates.end_look(5_000);
        assert_eq!(rates.of_queue(8, 5_000), None);
        rates.add_queue(8, 10_000, figures(20, 0));
        assert_eq!(rates.of_queue(8, 10_000).map(|rates| rates[0]), Some(2.0));
    }

    #[test]
    fn what_is_gone_is_forgotten_with_its_room() {
        let mut rates = Rates::new();
        let key = |port| ConnectionKey {
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
            local: SocketAddr::from(([127, 0, 0, 1], 5672)),
            connected_at_ms: 3,
        };
        for port in 0..1000 {
            rates.add_connection(key(port), 0, [0, 0]);
        }
        rates.end_look(0);
        assert_eq!(rates.connections.series.len(), 1000);
        rates.add_connection(key(1), 5_000, [500, 50]);
        rates.end_look(5_000);
        assert_eq!(rates.connections.series.len(), 1);
        assert!(rates.connections.series.capacity() < 10);
        assert_eq!(rates.of_connection(key(1), 5_000), Some([100.0, 10.0]));
        let again = ConnectionKey { connected_at_ms: 4_000, ..key(1) };
        assert_eq!(rates.of_connection(again, 5_000), None, "another from the same port");
    }

    #[test]
    fn a_look_of_long_ago_says_nothing_of_now() {
        let mut rates = Rates::new();
        rates.add_overview(0, [0; OVERVIEW_FIGURES]);
        rates.add_overview(5_000, [5; OVERVIEW_FIGURES]);
        assert_eq!(rates.of_overview(19_999), Some([1.0; OVERVIEW_FIGURES]));
        assert_eq!(rates.of_overview(20_000), None);
        // Nor does the time between it and the next one.
        rates.add_overview(100_000, [1_000; OVERVIEW_FIGURES]);
        assert_eq!(rates.of_overview(100_000), None);
        rates.add_overview(105_000, [1_000; OVERVIEW_FIGURES]);
        assert_eq!(rates.of_overview(105_000), Some([0.0; OVERVIEW_FIGURES]));
    }

    #[test]
    fn very_many_are_looked_at_only_while_somebody_asks() {
        let mut rates = Rates::new();
        assert!(rates.wants_each(ALWAYS_SAMPLED_MAX, 0));
        assert!(!rates.wants_each(ALWAYS_SAMPLED_MAX + 1, 0));
        rates.of_queue(1, 1_000);
        assert!(rates.wants_each(1_000_000, 1_000 + ASKS_AGAIN_WITHIN_MS - 1));
        assert!(!rates.wants_each(1_000_000, 1_000 + ASKS_AGAIN_WITHIN_MS));
        // What was seen of them goes when they are not looked at.
        rates.add_queue(1, 2_000, figures(1, 1));
        rates.end_look(2_001);
        assert_eq!(rates.queues.series.len(), 0);
    }
}
