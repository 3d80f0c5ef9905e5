//! The router against models too simple to be wrong: patterns word by word, and a vhost as a plain list of bindings.

use super::tests::ByName;
use super::topic::{Trie, Walk};
use super::*;
use crate::protocol::{FieldTable, FieldValue, ShortString};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};

/// The same cases in every run.
fn reproducible(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() }
}

/// What a pattern means, word by word.
fn naive_match(pattern: &[&str], key: &[&str]) -> bool {
    // fits[k]: the pattern read so far matches the first k words.
    let mut fits: Vec<bool> = (0..=key.len()).map(|k| k == 0).collect();
    for &word in pattern {
        fits = (0..=key.len())
            .map(|k| match word {
                "#" => fits[..=k].contains(&true),
                _ => k > 0 && fits[k - 1] && (word == "*" || word == key[k - 1]),
            })
            .collect();
    }
    fits[key.len()]
}

fn split(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split('.').collect() }
}

fn queue(id: u32) -> Destination {
    Destination::Queue(QueueId(id))
}

fn matched(trie: &Trie, walk: &mut Walk, key: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    trie.matching(key.as_bytes(), walk, |set| found.extend(set.queues().iter().map(|queue| queue.0)));
    found
}

fn pattern() -> impl Strategy<Value = String> {
    vec(prop_oneof![2 => Just("#"), 2 => Just("*"), 2 => Just("a"), 1 => Just("b"), 1 => Just("")], 0..7)
        .prop_map(|words| words.join("."))
}

fn key() -> impl Strategy<Value = String> {
    vec(prop_oneof![2 => Just("a"), 1 => Just("b"), 1 => Just(""), 1 => Just("c")], 0..8)
        .prop_map(|words| words.join("."))
}

proptest! {
    #![proptest_config(reproducible(400))]

    #[test]
    fn the_trie_matches_as_the_table_of_prefixes_does(patterns in vec(pattern(), 1..12), keys in vec(key(), 1..12)) {
        let (mut trie, mut walk) = (Trie::default(), Walk::default());
        for (id, pattern) in patterns.iter().enumerate() {
            trie.insert(pattern.as_bytes(), queue(id as u32));
        }
        // With all patterns, then with every second one, then with none.
        for round in 0..3 {
            let kept = |id: usize| round == 0 || (round == 1 && id.is_multiple_of(2));
            for key in &keys {
                let expected: BTreeSet<u32> = patterns.iter().enumerate()
                    .filter(|(id, pattern)| kept(*id) && naive_match(&split(pattern), &split(key)))
                    .map(|(id, _)| id as u32)
                    .collect();
                prop_assert_eq!(matched(&trie, &mut walk, key), expected, "key {:?}", key);
            }
            for (id, pattern) in patterns.iter().enumerate() {
                if kept(id) && (round == 1 || id % 2 == 1) {
                    trie.remove(pattern.as_bytes(), queue(id as u32));
                }
            }
        }
        prop_assert_eq!(trie.node_count(), 1, "only the root is left");
    }
}

/// Steps of one walk over the trie of these patterns.
fn steps(patterns: &[String], key: &str) -> usize {
    let (mut trie, mut walk) = (Trie::default(), Walk::default());
    for (id, pattern) in patterns.iter().enumerate() {
        trie.insert(pattern.as_bytes(), queue(id as u32));
    }
    let before = walk.steps;
    matched(&trie, &mut walk, key);
    walk.steps - before
}

#[test]
fn hostile_patterns_cost_words_times_nodes() {
    let long_key = vec!["a"; 120].join(".");
    // Sixty hashes in a row are one.
    let hashes = format!("{}b", "#.".repeat(60));
    assert!(steps(&[hashes], &long_key) <= 120 * 2);
    // Alternating ones have 120 nodes and no more than that many places to be at any word.
    let alternating = vec!["#.a"; 60].join(".");
    assert!(steps(std::slice::from_ref(&alternating), &long_key) <= 120 * 121);
    let longer = vec!["#.a"; 60].join(".") + ".b";
    assert!(steps(&[alternating, longer], &long_key) <= 120 * 122);
    let stars: Vec<String> = (0..60).map(|at| format!("{}#", "*.".repeat(at))).collect();
    assert!(steps(&stars, &long_key) <= 120 * 121);
    // Once all places are reached, every further word costs the same.
    let pattern = [format!("{}b", "#.a.".repeat(10))];
    let [short, middle, long] = [60, 120, 180].map(|words| steps(&pattern, &vec!["a"; words].join(".")));
    assert_eq!(long - middle, middle - short);
}

/// A vhost as a list: exchanges by number, bindings as tuples, everything looked up by going through all of it.
#[derive(Default)]
struct Model {
    exchanges: BTreeMap<usize, (ExchangeKind, bool, Option<usize>)>,
    queues: BTreeSet<u32>,
    bindings: BTreeSet<Tie>,
}

/// A binding: source, destination, key and the one argument it may have.
type Tie = (usize, End, String, Option<i32>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End {
    Queue(u32),
    Exchange(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Declare { exchange: usize, kind: ExchangeKind, auto_delete: bool, alternate: Option<usize> },
    Delete(usize),
    AddQueue(u32),
    RemoveQueue(u32),
    Bind(usize, End, String, Option<i32>),
    Unbind(usize, End, String, Option<i32>),
}

const EXCHANGES: usize = 6;
const QUEUES: u32 = 5;

impl Model {
    fn has(&self, end: End) -> bool {
        match end {
            End::Queue(queue) => self.queues.contains(&queue),
            End::Exchange(exchange) => self.exchanges.contains_key(&exchange),
        }
    }

    /// Keeps some bindings; auto-delete exchanges that lost their last one go, and take theirs with them.
    fn retain(&mut self, keep: &dyn Fn(&Tie) -> bool) {
        let sources = |model: &Self| model.bindings.iter().map(|binding| binding.0).collect::<BTreeSet<_>>();
        let before = sources(self);
        self.bindings.retain(keep);
        let after = sources(self);
        for &emptied in before.difference(&after) {
            if self.exchanges.get(&emptied).is_some_and(|exchange| exchange.1) {
                self.exchanges.remove(&emptied);
                self.retain(&|binding| binding.1 != End::Exchange(emptied));
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Declare { exchange, kind, auto_delete, alternate } => {
                self.exchanges.entry(exchange).or_insert((kind, auto_delete, alternate));
            }
            Change::Delete(exchange) => {
                self.exchanges.remove(&exchange);
                self.retain(&|binding| binding.0 != exchange && binding.1 != End::Exchange(exchange));
            }
            Change::AddQueue(queue) => drop(self.queues.insert(queue)),
            Change::RemoveQueue(queue) => {
                self.queues.remove(&queue);
                self.retain(&|binding| binding.1 != End::Queue(queue));
            }
            Change::Bind(source, end, ref key, argument) => {
                if self.has(End::Exchange(source)) && self.has(end) {
                    self.bindings.insert((source, end, key.clone(), argument));
                }
            }
            Change::Unbind(source, end, ref key, argument) => {
                let gone = (source, end, key.clone(), argument);
                self.retain(&|binding| *binding != gone);
            }
        }
    }

    fn route(&self, start: usize, key: &str, header: Option<i32>) -> BTreeSet<u32> {
        let (mut queues, mut seen, mut pending) = (BTreeSet::new(), BTreeSet::from([start]), vec![start]);
        while let Some(exchange) = pending.pop() {
            let Some(&(kind, _, alternate)) = self.exchanges.get(&exchange) else { continue };
            let matches = |(source, _, pattern, argument): &&Tie| {
                *source == exchange
                    && match kind {
                        ExchangeKind::Direct => pattern == key,
                        ExchangeKind::Fanout => true,
                        ExchangeKind::Topic => naive_match(&split(pattern), &split(key)),
                        ExchangeKind::Headers => argument.is_none() || *argument == header,
                    }
            };
            let mut ends: Vec<End> = self.bindings.iter().filter(matches).map(|binding| binding.1).collect();
            if ends.is_empty() {
                ends.extend(alternate.map(End::Exchange));
            }
            for end in ends {
                match end {
                    End::Queue(queue) => drop(queues.insert(queue)),
                    End::Exchange(next) if seen.insert(next) => pending.push(next),
                    End::Exchange(_) => {}
                }
            }
        }
        queues
    }
}

fn exchange_name(exchange: usize) -> String {
    format!("x{exchange}")
}

fn queue_name(queue: u32) -> ShortString {
    ShortString::truncated(format!("q{queue}").as_bytes())
}

fn arguments(argument: Option<i32>) -> FieldTable {
    FieldTable(argument.map(|value| ("h".into(), FieldValue::I32(value))).into_iter().collect())
}

fn apply(router: &mut Router, model: &Model, change: &Change) {
    match *change {
        Change::Declare { exchange, kind, auto_delete, alternate } if !model.has(End::Exchange(exchange)) => {
            let entry = |name: usize| FieldValue::LongString(exchange_name(name).into_bytes().into());
            let alternate = alternate.map(|name| ("alternate-exchange".into(), entry(name)));
            let arguments = FieldTable(alternate.into_iter().collect());
            let (name, kind) = (exchange_name(exchange), kind.name().as_bytes());
            router.declare(name.as_bytes(), kind, true, auto_delete, &arguments);
        }
        Change::Declare { .. } => {}
        Change::Delete(exchange) if model.has(End::Exchange(exchange)) => {
            router.remove(router.id(exchange_name(exchange).as_bytes()));
        }
        Change::Delete(_) => {}
        Change::AddQueue(queue) if !model.has(End::Queue(queue)) => {
            router.queue_added(&queue_name(queue), QueueId(queue), true);
        }
        Change::AddQueue(_) => {}
        Change::RemoveQueue(queue) if model.has(End::Queue(queue)) => drop(router.queue_removed(QueueId(queue))),
        Change::RemoveQueue(_) => {}
        Change::Bind(source, end, ref key, argument) => {
            if let Some((source, destination)) = ends(router, model, source, end) {
                router.bind(source, destination, key.as_bytes(), &arguments(argument)).unwrap();
            }
        }
        Change::Unbind(source, end, ref key, argument) => {
            if let Some((source, destination)) = ends(router, model, source, end) {
                router.unbind(source, destination, key.as_bytes(), &arguments(argument));
            }
        }
    }
}

/// The ends of a binding, when both are there.
fn ends(router: &Router, model: &Model, source: usize, end: End) -> Option<(ExchangeId, Destination)> {
    let named = |exchange| router.exchange_named(exchange_name(exchange).as_bytes());
    let destination = match end {
        End::Queue(id) => model.has(end).then_some(queue(id)),
        End::Exchange(exchange) => named(exchange).map(Destination::Exchange),
    };
    named(source).zip(destination)
}

fn change() -> impl Strategy<Value = Change> {
    use ExchangeKind::{Direct, Fanout, Headers, Topic};
    let kind = || prop::sample::select(vec![Direct, Fanout, Topic, Topic, Headers]);
    let end = || prop_oneof![2 => (0..QUEUES).prop_map(End::Queue), 1 => (0..EXCHANGES).prop_map(End::Exchange)];
    let key = || prop::sample::select(vec!["a.b", "a.*", "#", "*.#", "#.*", ""]).prop_map(str::to_owned);
    let argument = || prop::option::of(0..2i32);
    prop_oneof![
        3 => (0..EXCHANGES, kind(), prop::bool::weighted(0.3), prop::option::of(0..EXCHANGES)).prop_map(
            |(exchange, kind, auto_delete, alternate)| Change::Declare { exchange, kind, auto_delete, alternate }),
        1 => (0..EXCHANGES).prop_map(Change::Delete),
        2 => (0..QUEUES).prop_map(Change::AddQueue),
        1 => (0..QUEUES).prop_map(Change::RemoveQueue),
        9 => (0..EXCHANGES, end(), key(), argument()).prop_map(|(x, end, key, a)| Change::Bind(x, end, key, a)),
        3 => (0..EXCHANGES, end(), key(), argument()).prop_map(|(x, end, key, a)| Change::Unbind(x, end, key, a)),
    ]
}

proptest! {
    #![proptest_config(reproducible(256))]

    #[test]
    fn the_router_routes_as_a_plain_list_does(changes in vec(change(), 1..80)) {
        // Another one, which is a change behind, shares what is remembered of routes.
        let mut walks = Walks::default();
        let (mut other, mut behind) = (Router::new(1, 1), Model::default());
        let (mut router, mut model) = (Router::default(), Model::default());
        let mut previous = None;
        for change in &changes {
            if let Some(previous) = previous.replace(change) {
                apply(&mut other, &behind, previous);
                behind.apply(previous);
            }
            apply(&mut router, &model, change);
            model.apply(change);
            for exchange in 0..EXCHANGES {
                let id = router.exchange_named(exchange_name(exchange).as_bytes());
                prop_assert_eq!(id.is_some(), model.exchanges.contains_key(&exchange), "{:?}", change);
                let Some(id) = id else { continue };
                // Each key again and again, so that remembered results are asked for too.
                for (key, header) in [("a.b", None), ("a.b", Some(1)), ("", Some(0)), ("b", None)].repeat(3) {
                    let mut routed = Vec::new();
                    router.route(&mut walks, id, key.as_bytes(), || arguments(header), &mut routed);
                    let unique: BTreeSet<u32> = routed.iter().map(|queue| queue.0).collect();
                    prop_assert_eq!(unique.len(), routed.len(), "each queue once");
                    prop_assert_eq!(unique, model.route(exchange, key, header), "{} {:?}", exchange, change);
                    let Some(id) = other.exchange_named(exchange_name(exchange).as_bytes()) else { continue };
                    let mut routed = Vec::new();
                    other.route(&mut walks, id, key.as_bytes(), || arguments(header), &mut routed);
                    let unique: BTreeSet<u32> = routed.iter().map(|queue| queue.0).collect();
                    prop_assert_eq!(unique, behind.route(exchange, key, header), "behind: {} {:?}", exchange, change);
                }
            }
            prop_assert_eq!(router.binding_count(), model.bindings.len());
        }
    }
}
