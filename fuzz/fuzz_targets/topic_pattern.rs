//! A topic exchange routes as a matcher too simple to be wrong says, and in time that no pattern can blow up.
//!
//! Input: lines. The first one is the key, the others are patterns, one queue each. A line that begins with `-` unbinds
//! the pattern behind it again.
#![no_main]

use leveret::broker::exchange::{Destination, ExchangeId, QueueId, Router, Walks};
use leveret::protocol::{FieldTable, PropertiesRef, ShortString};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Lines after the key that are looked at, and queues.
const PATTERNS_MAX: u32 = 32;
const SHORT_STRING_MAX: usize = 255;

fn words(text: &[u8]) -> Vec<&[u8]> {
    if text.is_empty() { Vec::new() } else { text.split(|&octet| octet == b'.').collect() }
}

/// What a pattern means, word by word: which numbers of leading words the pattern read so far can stand for.
fn naive_match(pattern: &[u8], key: &[u8]) -> bool {
    let key = words(key);
    let mut fits: Vec<bool> = (0..=key.len()).map(|count| count == 0).collect();
    for word in words(pattern) {
        fits = (0..=key.len())
            .map(|count| match word {
                b"#" => fits[..=count].contains(&true),
                _ => count > 0 && fits[count - 1] && (word == b"*" || word == key[count - 1]),
            })
            .collect();
    }
    fits[key.len()]
}

fn topic(router: &Router) -> ExchangeId {
    router.exchange_named(b"amq.topic").expect("a predeclared exchange")
}

fn routed(router: &Router, walks: &mut Walks, key: &[u8]) -> BTreeSet<u32> {
    let exchange = topic(router);
    let mut queues = Vec::new();
    router.route(walks, exchange, key, PropertiesRef::default, &mut queues);
    let once: BTreeSet<u32> = queues.iter().map(|queue| queue.0).collect();
    assert_eq!(once.len(), queues.len(), "a queue gets a message once");
    once
}

thread_local! {
    /// One router for all inputs: what an input leaves behind would show in the next one. So would what walks remember.
    static ROUTER: RefCell<(Router, Walks)> = RefCell::new((router(), Walks::default()));
}

fn router() -> Router {
    let mut router = Router::new(0, 0);
    for number in 0..PATTERNS_MAX {
        let name = ShortString::truncated(format!("queue-{number}").as_bytes());
        router.queue_added(&name, QueueId(number), false);
    }
    router
}

fn unbind(router: &mut Router, pattern: &[u8], queue: QueueId) {
    let unbound = router.unbind(topic(router), Destination::Queue(queue), pattern, &FieldTable::default());
    assert!(unbound.existed);
}

fn run(router: &mut Router, walks: &mut Walks, input: &[u8]) {
    let mut lines = input.split(|&octet| octet == b'\n').map(|line| &line[..line.len().min(SHORT_STRING_MAX)]);
    let key = lines.next().unwrap_or_default();
    let mut bound: BTreeMap<&[u8], QueueId> = BTreeMap::new();
    for (number, line) in (0..PATTERNS_MAX).zip(lines) {
        if let Some(pattern) = line.strip_prefix(b"-") {
            if let Some(queue) = bound.remove(pattern) {
                unbind(router, pattern, queue);
            }
        } else {
            let queue = *bound.entry(line).or_insert(QueueId(number));
            let bound = router.bind(topic(router), Destination::Queue(queue), line, &FieldTable::default());
            bound.expect("every pattern can be bound");
        }
        let expected: BTreeSet<u32> =
            bound.iter().filter(|(pattern, _)| naive_match(pattern, key)).map(|(_, queue)| queue.0).collect();
        // The second time remembers the route, the third one remembers it already.
        for _ in 0..3 {
            assert_eq!(routed(router, walks, key), expected);
        }
    }
    bound.into_iter().for_each(|(pattern, queue)| unbind(router, pattern, queue));
    assert!(routed(router, walks, key).is_empty(), "nothing is left of the patterns");
}

fuzz_target!(|input: &[u8]| ROUTER.with(|router| {
    let (router, walks) = &mut *router.borrow_mut();
    run(router, walks, input);
}));
