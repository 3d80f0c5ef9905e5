//! What `perf/guard/run` counts: the codec, the routing and the whole turn, each for a given number of rounds.
//!
//! `guard NAME ROUNDS` prepares a scenario, plays it for that many rounds and says how many messages those were. The
//! guard takes the instructions of twice the rounds less those of the rounds, so that the preparation is not in it.
//! Nothing here is random, and nothing measures time. Without a name every scenario is played for one round, which is
//! how `cargo bench` shows that they all work; `guard --list` names them.

mod extensions;
#[path = "../hub/mod.rs"]
mod hub;
mod parts;
mod turns;

use extensions::*;
use hub::Loop;
use parts::*;
use std::process::ExitCode;
use turns::*;

/// As in the program.
#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// Messages of a round, unless its scenario says otherwise.
const ROUND: usize = 500;
/// Rounds in which pools, rings and caches find their sizes.
const WARM_UP_ROUNDS: usize = 4;
const SMALL: usize = 16;
const FRAME_MAX: u32 = 131_072;
/// More keys than the route cache has slots for, so that going through them in turn always misses.
const DISTINCT_KEYS: usize = 16_384;

/// Plays so many rounds and says how many messages they had.
type Scenario = fn(rounds: usize) -> usize;

const SCENARIOS: [(&str, Scenario); 43] = [
    ("codec: parse a publish, 16 B", parse_publishes),
    ("codec: encode a delivery, 16 B", encode_deliveries),
    ("codec: parse 7 properties", parse_properties),
    ("routing: direct, 1000 bindings", |rounds| route(rounds, "amq.direct", 1000, |n| format!("key-{n}"), 16, key)),
    ("routing: topic, 1000 bindings, 16 keys", |rounds| route(rounds, "amq.topic", 1000, pattern, 16, topic_key)),
    ("routing: topic, 1000 bindings, no key twice", |rounds| {
        route(rounds, "amq.topic", 1000, pattern, DISTINCT_KEYS, topic_key)
    }),
    ("routing: fanout, 10 bindings", |rounds| route(rounds, "amq.fanout", 10, |_| String::new(), 1, key)),
    ("routing: headers, 100 bindings", |rounds| route_by_headers(rounds, 100)),
    ("routing: headers, 1000 bindings", |rounds| route_by_headers(rounds, 1000)),
    ("routing: consistent hash, 10 queues", |rounds| {
        route(rounds, "x-consistent-hash", 10, |_| "1".to_owned(), DISTINCT_KEYS, key)
    }),
    ("routing: modulus hash, 10 queues", |rounds| {
        route(rounds, "x-modulus-hash", 10, |_| String::new(), DISTINCT_KEYS, key)
    }),
    ("turn: automatic acknowledgement, 16 B", |rounds| automatic(Loop::new(), rounds, SMALL, &[])),
    ("turn: automatic acknowledgement, 1 KiB", |rounds| automatic(Loop::new(), rounds, 1024, &[])),
    ("turn: automatic acknowledgement, 64 KiB", |rounds| automatic(Loop::new(), rounds, 64 * 1024, &[])),
    ("turn: acknowledged every 100, 16 B", |rounds| acknowledged(Loop::new(), rounds, 100)),
    ("turn: acknowledged each, 16 B", |rounds| acknowledged(Loop::new(), rounds, 1)),
    ("turn: from a backlog, acknowledged every 100, 16 B", from_backlog),
    ("turn: ten priorities, acknowledged every 100, 16 B", |rounds| prioritised(rounds, 9)),
    ("turn: ten priorities, as a plain queue takes them, 16 B", |rounds| prioritised(rounds, 0)),
    ("turn: single active consumer, acknowledged every 100, 16 B", single_active),
    ("turn: confirmed, 16 B", |rounds| automatic(Loop::new(), rounds, SMALL, &[select()])),
    ("turn: fan-out to 10, 16 B", |rounds| through(Loop::new(), rounds, "amq.fanout", 10, |_| String::new(), 1)),
    ("turn: topic, 4 queues, 4 keys in turn, 16 B", |rounds| {
        through(Loop::new(), rounds, "amq.topic", 4, by_second_word, 4)
    }),
    ("turn: topic, 4 queues, no key twice, 16 B", |rounds| {
        through(Loop::new(), rounds, "amq.topic", 4, by_second_word, DISTINCT_KEYS)
    }),
    ("turn: consistent hash, 4 queues, no key twice, 16 B", |rounds| {
        through(Loop::new(), rounds, "x-consistent-hash", 4, |_| "1".to_owned(), DISTINCT_KEYS)
    }),
    ("turn: delayed, 16 B", |rounds| delayed(Loop::new(), rounds)),
    ("turn: time to live, automatic acknowledgement, 16 B", with_time_to_live),
    ("turn: time to live, acknowledged every 100, 16 B", acknowledged_with_time_to_live),
    ("turn: expiration, acknowledged every 100, 16 B", acknowledged_with_expiration),
    ("turn: confirmed, nobody consumes, 16 B", |rounds| unread(rounds, None)),
    ("turn: at its limit, the oldest dropped, 16 B", |rounds| unread(rounds, Some("drop-head"))),
    ("turn: at its limit, refused with a nack, 16 B", |rounds| unread(rounds, Some("reject-publish"))),
    ("turn: deduplicated by the queue, 16 B", deduplicated_by_queue),
    ("turn: deduplicated by the exchange, 16 B", deduplicated_by_exchange),
    ("turn: durable, confirmed, acknowledged every 100, 16 B", |rounds| durable(logged(), "classic", rounds)),
    ("turn: quorum, confirmed, acknowledged every 100, 16 B", |rounds| durable(logged(), "quorum", rounds)),
    ("turn: quorum, nacked each and acknowledged, 16 B", nacked),
    // What others do with the same name, by a user with permissions on one virtual host of fifty.
    ("tenant: automatic acknowledgement, 16 B", |rounds| automatic(for_tenants(Loop::new()), rounds, SMALL, &[])),
    ("tenant: acknowledged every 100, 16 B", |rounds| acknowledged(for_tenants(Loop::new()), rounds, 100)),
    ("tenant: topic, 4 queues, no key twice, 16 B", |rounds| {
        through(for_tenants(Loop::new()), rounds, "amq.topic", 4, by_second_word, DISTINCT_KEYS)
    }),
    ("tenant: durable, confirmed, acknowledged every 100, 16 B", |rounds| {
        durable(for_tenants(logged()), "classic", rounds)
    }),
    ("turn: rejected to a dead-letter queue, 16 B", |rounds| dead_letters(rounds, false)),
    ("turn: expired to a dead-letter queue, 16 B", |rounds| dead_letters(rounds, true)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.get(1).and_then(|rounds| rounds.parse().ok());
    match (arguments.first().map(String::as_str), rounds) {
        (Some("--list"), _) => SCENARIOS.iter().for_each(|(name, _)| println!("{name}")),
        (Some(name), Some(rounds)) => {
            let Some((_, play)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
                eprintln!("guard: no scenario is called {name:?}");
                return ExitCode::FAILURE;
            };
            println!("{}", play(rounds));
        }
        _ => SCENARIOS.iter().for_each(|(name, play)| println!("guard: {name}: {} messages", play(1))),
    }
    ExitCode::SUCCESS
}

fn repeat(rounds: usize, messages: usize, mut round: impl FnMut()) -> usize {
    (0..WARM_UP_ROUNDS + rounds).for_each(|_| round());
    rounds * messages
}
