//! What one route costs, by kind of exchange and number of bindings: `cargo bench --bench routing`.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leveret::broker::exchange::{Declaration, Destination, ExchangeId, ExchangeKind, QueueId, Router, Walks};
use leveret::protocol::{BasicProperties, FieldTable, FieldValue, PropertiesRef, ShortString};
use std::hint::black_box;

const BINDINGS: [u32; 3] = [1, 1_000, 100_000];
/// More keys than the route cache has slots for, so that going through them in turn always misses.
const DISTINCT_KEYS: u32 = 16_384;

fn no_arguments() -> FieldTable {
    FieldTable::default()
}

fn with_headers(headers: FieldTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode(&mut bytes);
    bytes
}

/// A router with `bindings` queues, each bound to `exchange` by the key and arguments that `bind` gives it.
fn bound(exchange: &str, bindings: u32, bind: impl Fn(u32) -> (String, FieldTable)) -> (Router, ExchangeId) {
    let mut router = Router::default();
    let id = router.exchange_named(exchange.as_bytes()).expect("a predeclared exchange");
    for number in 0..bindings {
        let queue = QueueId(number);
        router.queue_added(&ShortString::truncated(format!("queue-{number}").as_bytes()), queue, false);
        let (key, arguments) = bind(number);
        router
            .bind(id, Destination::Queue(queue), key.as_bytes(), &arguments)
            .expect("the bench binds what can be bound");
    }
    (router, id)
}

fn bench(c: &mut Criterion, group: &str, bindings: u32, router: Router, exchange: ExchangeId, keys: &[String]) {
    let (mut out, mut walks) = (Vec::new(), Walks::default());
    let mut next = 0;
    c.benchmark_group(group).bench_function(BenchmarkId::from_parameter(bindings), |b| {
        b.iter(|| {
            out.clear();
            router.route(&mut walks, exchange, black_box(keys[next].as_bytes()), PropertiesRef::default, &mut out);
            next = if next + 1 == keys.len() { 0 } else { next + 1 };
            black_box(out.last().copied())
        });
    });
}

fn direct(c: &mut Criterion) {
    for bindings in BINDINGS {
        let (router, id) = bound("amq.direct", bindings, |n| (format!("key-{n}"), no_arguments()));
        let keys: Vec<_> = (0..bindings.min(16)).map(|n| format!("key-{n}")).collect();
        bench(c, "direct", bindings, router, id, &keys);
    }
}

fn fanout(c: &mut Criterion) {
    for bindings in BINDINGS {
        let (router, id) = bound("amq.fanout", bindings, |_| (String::new(), no_arguments()));
        bench(c, "fanout", bindings, router, id, &["key".to_owned()]);
    }
}

/// Patterns of three words, every fourth with a wildcard.
fn pattern(number: u32) -> (String, FieldTable) {
    let pattern = match number % 8 {
        3 => format!("region-{}.*.sensor-{number}", number % 32),
        7 => format!("region-{}.device-{number}.#", number % 32),
        _ => format!("region-{}.device-{number}.sensor-{number}", number % 32),
    };
    (pattern, no_arguments())
}

fn key(device: u32, sensor: u32) -> String {
    format!("region-{}.device-{device}.sensor-{sensor}", device % 32)
}

fn topic(c: &mut Criterion) {
    for bindings in BINDINGS {
        let (router, id) = bound("amq.topic", bindings, pattern);
        let keys: Vec<_> = (0..bindings.min(16)).map(|n| key(n, n)).collect();
        bench(c, "topic-cached", bindings, router, id, &keys);

        // Each key is new to the cache: the walk and the remembering together.
        let (router, id) = bound("amq.topic", bindings, pattern);
        let keys: Vec<_> = (0..DISTINCT_KEYS).map(|n| key(n % bindings, n)).collect();
        bench(c, "topic-all-keys-distinct", bindings, router, id, &keys);
    }
    let (router, id) = bound("amq.topic", 1, |_| (["#.a"; 60].join("."), no_arguments()));
    let keys: Vec<_> = (0..DISTINCT_KEYS).map(|n| format!("{}{n}.a", "a.".repeat(118))).collect();
    bench(c, "topic-hostile", 1, router, id, &keys);
}

fn headers(c: &mut Criterion) {
    for bindings in [1, 10, 1_000, 100_000] {
        let wanted = |number: u32| FieldTable(vec![("number".into(), FieldValue::I32(number as i32))]);
        let (router, id) = bound("amq.headers", bindings, |n| (String::new(), wanted(n)));
        let (mut out, mut walks) = (Vec::new(), Walks::default());
        let properties = with_headers(wanted(0));
        c.benchmark_group("headers").bench_function(BenchmarkId::from_parameter(bindings), |b| {
            b.iter(|| {
                out.clear();
                let read = || PropertiesRef::parse(black_box(&properties)).expect("they were just written");
                router.route(&mut walks, id, b"", read, &mut out);
                black_box(out.last().copied())
            });
        });
    }
}

/// A hundred thousand bindings that each want ten of twenty headers, and a publish that has nineteen of them: all are
/// close to it, and every second one has what it wants. Or a publish of 20,000 headers, and a binding for each.
fn headers_hostile(c: &mut Criterion) {
    let named = |number: u32| (ShortString::truncated(format!("h{number}").as_bytes()), FieldValue::I32(1));
    let mut subsets = (0..1_u32 << 20).filter(|set| set.count_ones() == 10).step_by(37).cycle();
    let mut subset = move |_: u32| {
        let set = subsets.next().expect("a cycle has no end");
        FieldTable((0..20).filter(|bit| set & (1 << bit) != 0).map(named).collect())
    };
    let mut router = Router::default();
    let id = router.exchange_named(b"amq.headers").expect("a predeclared exchange");
    router.queue_added(&ShortString::from("q"), QueueId(0), false);
    let bind = |router: &mut Router, number: u32, arguments: &FieldTable| {
        let bound = router.bind(id, Destination::Queue(QueueId(0)), number.to_string().as_bytes(), arguments);
        bound.expect("the bench binds what can be bound");
    };
    (0..100_000).for_each(|number| bind(&mut router, number, &subset(number)));
    let nineteen = with_headers(FieldTable((0..19).map(named).collect()));
    (20..20_020).for_each(|number| bind(&mut router, number, &FieldTable(vec![named(number)])));
    let many = with_headers(FieldTable((20..20_020).map(named).collect()));
    for (name, properties) in [("close to all", nineteen), ("20,000 headers", many)] {
        let (mut out, mut walks) = (Vec::new(), Walks::default());
        c.benchmark_group("headers-hostile").bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let read = || PropertiesRef::parse(black_box(&properties)).expect("they were just written");
                router.route(&mut walks, id, b"", read, &mut out);
                black_box(out.last().copied())
            });
        });
    }
}

/// Everybody has a weight of a hundred.
fn consistent_hash(c: &mut Criterion) {
    let arguments = &no_arguments();
    let kind = ExchangeKind::from_name(b"x-consistent-hash").expect("a type");
    let declaration = Declaration { kind, durable: false, auto_delete: false, internal: false, arguments };
    for bindings in [2, 10, 1_000, 100_000] {
        let mut router = Router::default();
        let id = router.add("x".into(), &declaration, None);
        for number in 0..bindings {
            let queue = QueueId(number);
            router.queue_added(&ShortString::truncated(format!("queue-{number}").as_bytes()), queue, false);
            router.bind(id, Destination::Queue(queue), b"100", arguments).expect("a weight");
        }
        let keys: Vec<_> = (0..DISTINCT_KEYS).map(|n| format!("key-{n}")).collect();
        bench(c, "consistent-hash", bindings, router, id, &keys);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1))
        .without_plots();
    targets = direct, fanout, topic, headers, headers_hostile, consistent_hash
}
criterion_main!(benches);
