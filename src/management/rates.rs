//! How fast counters rise: from the last two looks at each of them.
//!
//! It owns what was seen, and no clock: time is an argument. Looks of the last minutes are kept, as many as there is room for,
//! for those who ask how it was. A rate is the difference between the two looks over the time
//! between them, as RabbitMQ gives it. There is none before the second look, and none when the last one was long ago.

use super::figures::{
    CONNECTION_FIGURES, DURATION_FIGURES, EXCHANGE_FIGURES, NODE_FIGURES, OVERVIEW_FIGURES, QUEUE_FIGURES,
};
use super::question::ConnectionFigures;
use crate::broker::ExchangeKey;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;

/// How often counters are looked at, in milliseconds: as often as RabbitMQ's queues and connections emit theirs.
pub const SAMPLE_INTERVAL_MS: u64 = 5_000;
/// A look so long ago says nothing of now, in milliseconds.
const STALE_AFTER_MS: u64 = 3 * SAMPLE_INTERVAL_MS;
/// Queues, connections and exchanges that are always looked at. More of them are looked at only while somebody asks: for 100,000 queues
/// each look took the loop 5 ms in a hundred pieces and this thread 50 ms, and what was seen of them tens of megabytes.
const ALWAYS_SAMPLED_MAX: usize = 10_000;
/// Looks that are kept of each thing: ten minutes, as RabbitMQ keeps its finest ones.
const LOOKS_MAX: usize = 121;
/// What all looks of queues and connections may take together, in bytes: with more things fewer of each are kept.
const LOOKS_MAX_BYTES: usize = 16 << 20;
/// Samples that somebody may ask for.
const SAMPLES_MAX: u64 = 1_000;
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

/// What somebody asks to be told of the last while: how far back, and how far apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    age_ms: u64,
    step_ms: u64,
}

impl Range {
    /// In seconds. `None`: that is none, or would be too many samples.
    pub fn new(age_s: u64, step_s: u64) -> Option<Self> {
        let is_one = step_s > 0 && age_s.checked_div(step_s)? <= SAMPLES_MAX;
        let in_ms = |seconds: u64| seconds.checked_mul(1000);
        is_one.then(|| Some(Self { age_ms: in_ms(age_s)?, step_ms: in_ms(step_s)? })).flatten()
    }
}

/// Figures at moments of the last while, on the loop's clock, the last one first.
pub type Samples<const N: usize> = Vec<(u64, [u64; N])>;

/// What was seen of one thing.
struct Series<const N: usize> {
    at_ms: u64,
    figures: [u64; N],
    /// The last looks, this one among them.
    looks: VecDeque<(u64, [u64; N])>,
    /// Per second, between that look and the one before it.
    rates: Option<[f64; N]>,
}

impl<const N: usize> Series<N> {
    fn new(at_ms: u64, figures: [u64; N]) -> Self {
        Self { at_ms, figures, looks: VecDeque::from([(at_ms, figures)]), rates: None }
    }

    fn add(&mut self, at_ms: u64, figures: [u64; N], looks_max: usize) {
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
            while self.looks.len() >= looks_max.max(1) {
                self.looks.pop_front();
            }
            self.looks.push_back((at_ms, figures));
        }
    }

    /// At each moment what was seen last by then. Before the first look there is nothing to tell.
    fn samples(&self, range: Range, now_ms: u64) -> Samples<N> {
        let newest = now_ms - now_ms % range.step_ms;
        let oldest = newest.saturating_sub(range.age_ms);
        let (mut samples, mut looks, mut at_ms) = (Vec::new(), self.looks.iter().rev().peekable(), newest);
        loop {
            while looks.next_if(|(seen_ms, _)| *seen_ms > at_ms).is_some() {}
            match looks.peek() {
                Some((_, figures)) if at_ms >= oldest => samples.push((at_ms, *figures)),
                _ => return samples,
            }
            match at_ms.checked_sub(range.step_ms) {
                Some(before) => at_ms = before,
                None => return samples,
            }
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

    fn add(&mut self, key: K, at_ms: u64, figures: [u64; N], looks_max: usize) {
        self.series
            .entry(key)
            .and_modify(|series| series.add(at_ms, figures, looks_max))
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

    fn samples(&self, key: &K, range: Option<Range>, now_ms: u64) -> Samples<N> {
        samples_of(self.series.get(key), range, now_ms)
    }
}

/// Adds a look at the one thing of its kind.
fn add_to<const N: usize>(one: &mut Option<Series<N>>, at_ms: u64, figures: [u64; N]) {
    match one {
        Some(series) => series.add(at_ms, figures, LOOKS_MAX),
        None => *one = Some(Series::new(at_ms, figures)),
    }
}

fn samples_of<const N: usize>(series: Option<&Series<N>>, range: Option<Range>, now_ms: u64) -> Samples<N> {
    series.zip(range).map(|(series, range)| series.samples(range, now_ms)).unwrap_or_default()
}

pub struct Rates {
    overview: Option<Series<OVERVIEW_FIGURES>>,
    node: Option<Series<NODE_FIGURES>>,
    /// How many took how long: 90 kB when it is full.
    durations: Option<Series<DURATION_FIGURES>>,
    /// By their serials: a queue that is declared again is another one.
    queues: Table<u64, QUEUE_FIGURES>,
    connections: Table<ConnectionKey, CONNECTION_FIGURES>,
    /// Those that were published to.
    exchanges: Table<ExchangeKey, EXCHANGE_FIGURES>,
    /// When somebody last asked for any of them.
    asked_at_ms: Option<u64>,
}

impl Rates {
    pub fn new() -> Self {
        Self {
            overview: None,
            node: None,
            durations: None,
            queues: Table::new(),
            connections: Table::new(),
            exchanges: Table::new(),
            asked_at_ms: None,
        }
    }

    pub fn add_overview(&mut self, at_ms: u64, figures: [u64; OVERVIEW_FIGURES]) {
        add_to(&mut self.overview, at_ms, figures);
    }

    pub fn add_node(&mut self, at_ms: u64, figures: [u64; NODE_FIGURES]) {
        add_to(&mut self.node, at_ms, figures);
    }

    pub fn add_durations(&mut self, at_ms: u64, figures: [u64; DURATION_FIGURES]) {
        add_to(&mut self.durations, at_ms, figures);
    }

    pub fn add_queue(&mut self, serial: u64, at_ms: u64, figures: [u64; QUEUE_FIGURES]) {
        let looks_max = self.looks_max();
        self.queues.add(serial, at_ms, figures, looks_max);
    }

    pub fn add_connection(&mut self, key: ConnectionKey, at_ms: u64, figures: [u64; CONNECTION_FIGURES]) {
        let looks_max = self.looks_max();
        self.connections.add(key, at_ms, figures, looks_max);
    }

    pub fn add_exchange(&mut self, key: ExchangeKey, at_ms: u64, figures: [u64; EXCHANGE_FIGURES]) {
        let looks_max = self.looks_max();
        self.exchanges.add(key, at_ms, figures, looks_max);
    }

    /// How many looks there is room for of each thing.
    fn looks_max(&self) -> usize {
        const LOOK_BYTES: usize = size_of::<(u64, [u64; QUEUE_FIGURES])>();
        let things = self.queues.series.len() + self.connections.series.len() + self.exchanges.series.len();
        (LOOKS_MAX_BYTES / (things + 1) / LOOK_BYTES).min(LOOKS_MAX)
    }

    /// Forgets all of it, as after a start.
    pub fn forget(&mut self) {
        *self = Self { asked_at_ms: self.asked_at_ms, ..Self::new() };
    }

    pub fn samples_of_overview(&self, range: Option<Range>, now_ms: u64) -> Samples<OVERVIEW_FIGURES> {
        samples_of(self.overview.as_ref(), range, now_ms)
    }

    pub fn samples_of_node(&self, range: Option<Range>, now_ms: u64) -> Samples<NODE_FIGURES> {
        samples_of(self.node.as_ref(), range, now_ms)
    }

    pub fn samples_of_durations(&self, range: Option<Range>, now_ms: u64) -> Samples<DURATION_FIGURES> {
        samples_of(self.durations.as_ref(), range, now_ms)
    }

    pub fn samples_of_queue(&self, serial: u64, range: Option<Range>, now_ms: u64) -> Samples<QUEUE_FIGURES> {
        self.queues.samples(&serial, range, now_ms)
    }

    pub fn samples_of_connection(
        &self,
        key: ConnectionKey,
        range: Option<Range>,
        now_ms: u64,
    ) -> Samples<CONNECTION_FIGURES> {
        self.connections.samples(&key, range, now_ms)
    }

    pub fn samples_of_exchange(
        &self,
        key: ExchangeKey,
        range: Option<Range>,
        now_ms: u64,
    ) -> Samples<EXCHANGE_FIGURES> {
        self.exchanges.samples(&key, range, now_ms)
    }

    /// Whether so many queues, connections and exchanges are to be looked at now.
    pub fn wants_each(&self, things: usize, now_ms: u64) -> bool {
        let is_asked =
            self.asked_at_ms.is_some_and(|asked_at_ms| now_ms.saturating_sub(asked_at_ms) < ASKS_AGAIN_WITHIN_MS);
        things <= ALWAYS_SAMPLED_MAX || is_asked
    }

    /// All queues, connections and exchanges were looked at since then, or none, which are then too many.
    pub fn end_look(&mut self, began_ms: u64) {
        self.queues.forget_unseen_since(began_ms);
        self.connections.forget_unseen_since(began_ms);
        self.exchanges.forget_unseen_since(began_ms);
    }

    pub fn of_overview(&self, now_ms: u64) -> Option<[f64; OVERVIEW_FIGURES]> {
        self.overview.as_ref()?.rates(now_ms)
    }

    pub fn of_node(&self, now_ms: u64) -> Option<[f64; NODE_FIGURES]> {
        self.node.as_ref()?.rates(now_ms)
    }

    pub fn of_queue(&mut self, serial: u64, now_ms: u64) -> Option<[f64; QUEUE_FIGURES]> {
        self.asked_at_ms = Some(now_ms);
        self.queues.rates(&serial, now_ms)
    }

    pub fn of_exchange(&mut self, key: ExchangeKey, now_ms: u64) -> Option<[f64; EXCHANGE_FIGURES]> {
        self.asked_at_ms = Some(now_ms);
        self.exchanges.rates(&key, now_ms)
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
    fn samples_are_what_was_seen_last_by_then_and_nothing_before_the_first_look() {
        let mut rates = Rates::new();
        for (at_ms, published) in [(11_000, 1), (16_000, 5), (21_000, 5), (26_000, 9)] {
            rates.add_queue(7, at_ms, figures(published, 0));
        }
        let samples = |age_s, step_s, now_ms| -> Vec<(u64, u64)> {
            let samples = rates.samples_of_queue(7, Range::new(age_s, step_s), now_ms);
            samples.into_iter().map(|(at_ms, figures)| (at_ms, figures[0])).collect()
        };
        assert_eq!(samples(60, 5, 27_000), [(25_000, 5), (20_000, 5), (15_000, 1)]);
        assert_eq!(samples(10, 5, 31_000), [(30_000, 9), (25_000, 5), (20_000, 5)]);
        assert_eq!(samples(10, 10, 100_000), [(100_000, 9), (90_000, 9)], "nothing was seen since");
        assert!(samples(60, 5, 4_000).is_empty());
        assert!(
            Range::new(60, 0).is_none() && Range::new(1_001, 1).is_none() && Range::new(u64::MAX, u64::MAX).is_none()
        );
    }

    #[test]
    fn of_many_things_fewer_looks_are_kept() {
        let mut rates = Rates::new();
        for at_ms in 0..200 {
            rates.add_queue(0, at_ms, figures(1, 1));
        }
        assert_eq!(rates.queues.series[&0].looks.len(), LOOKS_MAX);
        for serial in 1..100_000 {
            rates.add_queue(serial, 200, figures(1, 1));
        }
        rates.add_queue(0, 201, figures(1, 1));
        assert!(rates.queues.series[&0].looks.len() <= 2);
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
