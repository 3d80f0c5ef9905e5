//! The router against models too simple to be wrong: patterns word by word, and a vhost as a plain list of bindings.

use super::binding::{Binding, fingerprint};
use super::header_index::{HeaderIndex, HeaderWalk};
use super::headers::Pattern;
use super::term_hash::TermHash;
use super::tests::{ByName, encoded, with_headers};
use super::topic::{Trie, Walk};
use super::*;
use crate::broker::equivalence::same_number_or_value;
use crate::protocol::{FieldTable, FieldValue, ShortString, TableRef};
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
                        ExchangeKind::Fanout | ExchangeKind::RecentHistory | ExchangeKind::ModulusHash => true,
                        ExchangeKind::Topic => naive_match(&split(pattern), &split(key)),
                        ExchangeKind::Headers => argument.is_none() || *argument == header,
                        _ => unreachable!("no other kind is declared"),
                    }
            };
            let mut ends: Vec<End> = self.bindings.iter().filter(matches).map(|binding| binding.1).collect();
            if kind == ExchangeKind::ModulusHash && !ends.is_empty() {
                ends.sort_by_key(|end| match *end {
                    End::Exchange(exchange) => (0, exchange_name(exchange)),
                    End::Queue(queue) => (1, queue_name(queue).to_string()),
                });
                let hash = TermHash::default().binary(key.as_bytes()).nil().finish();
                ends = vec![ends[hash as usize % ends.len()]];
            }
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
                let unbound = router.unbind(source, destination, key.as_bytes(), &arguments(argument));
                router.fall(unbound.emptied.into_iter().collect());
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
    use ExchangeKind::{Direct, Fanout, Headers, ModulusHash, RecentHistory, Topic};
    let kind = || prop::sample::select(vec![Direct, Fanout, Topic, Topic, Topic, Headers, ModulusHash, RecentHistory]);
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
                    let headers = encoded(&arguments(header));
                    router.route(&mut walks, id, key.as_bytes(), || with_headers(&headers), &mut routed);
                    let unique: BTreeSet<u32> = routed.iter().map(|queue| queue.0).collect();
                    prop_assert_eq!(unique.len(), routed.len(), "each queue once");
                    prop_assert_eq!(unique, model.route(exchange, key, header), "{} {:?}", exchange, change);
                    let Some(id) = other.exchange_named(exchange_name(exchange).as_bytes()) else { continue };
                    let mut routed = Vec::new();
                    other.route(&mut walks, id, key.as_bytes(), || with_headers(&headers), &mut routed);
                    let unique: BTreeSet<u32> = routed.iter().map(|queue| queue.0).collect();
                    prop_assert_eq!(unique, behind.route(exchange, key, header), "behind: {} {:?}", exchange, change);
                }
            }
            prop_assert_eq!(router.binding_count(), model.bindings.len());
        }
    }
}

/// What a pattern of headers means, one name after the other.
fn headers_match(pattern: &Pattern, headers: &FieldTable) -> bool {
    let mut required = pattern.required.iter();
    let fits = |(name, wanted): &(ShortString, FieldValue)| match headers.get(name) {
        // A pattern without a value asks for the presence of the header only.
        Some(value) => matches!(wanted, FieldValue::Void) || same_number_or_value(wanted, value),
        None => false,
    };
    if pattern.any { required.any(fits) } else { required.all(fits) }
}

/// Few values, of which many are the same as another in another type.
fn header_value() -> impl Strategy<Value = FieldValue> {
    use FieldValue::*;
    let text = |text: &str| LongString(text.as_bytes().into());
    let one = || vec![I32(1)];
    prop::sample::select(vec![
        I8(1),
        U8(1),
        I16(0),
        U16(1),
        I32(0),
        U32(1),
        I64(-1),
        I64(i64::MAX),
        F32(1.0),
        F32(0.5),
        F64(-0.0),
        F64(0.5),
        F64(9_223_372_036_854_775_808.0),
        F64(f64::NAN),
        F64(f64::INFINITY),
        F64(1e300),
        Timestamp(1),
        Timestamp(1 << 63),
        Boolean(true),
        Decimal { scale: 0, value: 1 },
        Void,
        text("1"),
        Bytes((*b"1").into()),
        text(""),
        Array(Vec::new()),
        Array(one()),
        Array(vec![F64(0.0)]),
        Array(vec![F64(-0.0)]),
        Array(vec![Array(one()), Table(FieldTable::default())]),
        Table(FieldTable::default()),
        Table(FieldTable(vec![("k".into(), I32(1))])),
        Table(FieldTable(vec![("k".into(), I64(1))])),
    ])
}

fn header() -> impl Strategy<Value = (ShortString, FieldValue)> {
    (prop::sample::select(vec!["a", "b", "c", "x-d"]).prop_map(ShortString::from), header_value())
}

fn header_pattern() -> impl Strategy<Value = FieldTable> {
    let mode = prop::sample::select(vec!["all", "any", "all-with-x", "any-with-x"]);
    (mode, vec(header(), 0..4)).prop_map(|(mode, mut required)| {
        required.push(("x-match".into(), FieldValue::LongString(mode.as_bytes().into())));
        FieldTable(required)
    })
}

fn headers_binding(arguments: &FieldTable, destination: Destination, outgoing_position: usize) -> Binding {
    Binding {
        source: ExchangeId(1),
        destination,
        routing_key: ShortString::default(),
        arguments: arguments.clone(),
        fingerprint: fingerprint(arguments),
        durable: false,
        outgoing_position,
        incoming_position: 0,
    }
}

proptest! {
    #![proptest_config(reproducible(256))]

    #[test]
    fn the_index_of_headers_finds_what_asking_every_binding_finds(
        patterns in vec((header_pattern(), 0..8_u32), 1..30),
        publishes in vec(vec(header(), 0..6), 1..12),
        removals in vec(any::<prop::sample::Index>(), 30),
    ) {
        let (mut index, mut walk) = (HeaderIndex::default(), HeaderWalk::default());
        for (arguments, id) in &patterns {
            index.insert(&Pattern::compile(arguments).unwrap(), queue(*id));
        }
        let mut bound = patterns;
        loop {
            for headers in &publishes {
                let headers = FieldTable(headers.clone());
                let mut found = Vec::new();
                let bytes = encoded(&headers);
                let read = TableRef::parse(&bytes).unwrap();
                index.matching(read, &mut walk, |set| found.extend(set.queues().iter().map(|queue| queue.0)));
                let found: BTreeSet<u32> = found.into_iter().collect();
                let matches = |(arguments, _): &&(FieldTable, u32)| {
                    headers_match(&Pattern::compile(arguments).unwrap(), &headers)
                };
                let expected: BTreeSet<u32> = bound.iter().filter(matches).map(|(_, id)| *id).collect();
                prop_assert_eq!(found, expected, "{:?} of {:?}", headers, bound);
            }
            if bound.is_empty() {
                break;
            }
            let position = removals[bound.len() - 1].index(bound.len());
            let (arguments, id) = bound.swap_remove(position);
            index.remove(&headers_binding(&arguments, queue(id), position));
        }
        prop_assert_eq!(index.sizes(), [0, 0, 0], "nothing is left");
    }
}

/// Steps of one publish against so many bindings.
fn header_steps(patterns: impl Iterator<Item = FieldTable>, headers: FieldTable) -> usize {
    let (mut index, mut walk) = (HeaderIndex::default(), HeaderWalk::default());
    for (id, arguments) in patterns.enumerate() {
        index.insert(&Pattern::compile(&arguments).unwrap(), queue(id as u32));
    }
    let bytes = encoded(&headers);
    index.matching(TableRef::parse(&bytes).unwrap(), &mut walk, |_| {});
    walk.steps
}

#[test]
fn a_publish_costs_its_headers_and_the_patterns_close_to_it() {
    let named = |name: String, value: i32| (ShortString::truncated(name.as_bytes()), FieldValue::I32(value));
    let small = || FieldTable(vec![named("kind".into(), 1), named("n".into(), 5)]);
    // A hundred thousand bindings that have a header in common, and another one of their own.
    let patterns = (0..100_000).map(|n| FieldTable(vec![named("kind".into(), 1), named("n".into(), n)]));
    assert!(header_steps(patterns, small()) <= 2 + 2);
    // Twenty thousand headers that nobody asks for, and one that somebody does.
    let patterns = (0..1000).map(|n| FieldTable(vec![named("n".into(), n)]));
    let many = (0..20_000).map(|n| named(format!("h{n}"), n)).chain([named("n".into(), 7)]);
    assert_eq!(header_steps(patterns, FieldTable(many.collect())), 20_001 + 1);
    // A hundred thousand bindings that ask for the same are one pattern.
    assert_eq!(header_steps((0..100_000).map(|_| small()), small()), 2 + 1);
}
