//! The same frames to RabbitMQ and to Leveret: what comes back must be the same, but for names and timestamps.
//!
//! Needs a reference: `LEVERET_REFERENCE_URI=127.0.0.1:5673`, a RabbitMQ 3.10.8 or 4.3 that is running, or
//! `rabbitmq-server` on the PATH, of which a private node is started. Without one the tests say SKIP and pass. What is
//! asked over HTTP needs `LEVERET_TEST_MANAGEMENT_URI=127.0.0.1:15673` of a reference that is running.
//!
//! The known differences are the lines of the transcripts that begin with `~`, `~3.10` or `~4.3`, each beside what Leveret
//! says instead. Leveret says what 3.13 says, and 3.10.8 where 3.13 is the same; what it takes from 4.3, because
//! applications are better off with it, stands beside a line `~3.10`. A line `~4.3` alone is what 4.3 changed and
//! applications written before it would not expect.
//!
//! Patterns of permissions are compared with what Erlang makes of them, whose `escript` RabbitMQ brings along.
//!
//! `LEVERET_SEED=7 cargo test --test differential random` plays that seed's script again.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the suites that look at users, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;

mod patterns;
mod random;
mod reference;

use reference::Reference;
use support::broker::Broker;
use support::http::Api;
use support::redeclarations;
use support::transcript::{parse, play_with, side_by_side};

const TRANSCRIPTS: &[&str] = &[
    include_str!("../amqp/transcripts/handshake.txt"),
    include_str!("../amqp/transcripts/frames.txt"),
    include_str!("../amqp/transcripts/hostile.txt"),
    include_str!("../amqp/transcripts/access.txt"),
    include_str!("../amqp/transcripts/exchanges.txt"),
    include_str!("../amqp/transcripts/exchange_types.txt"),
    include_str!("../amqp/transcripts/queues.txt"),
    include_str!("../amqp/transcripts/queue_arguments.txt"),
    include_str!("../amqp/transcripts/quorum_arguments.txt"),
    include_str!("../amqp/transcripts/queue_equivalence.txt"),
    include_str!("../amqp/transcripts/quorum.txt"),
    include_str!("../amqp/transcripts/limits.txt"),
    include_str!("../amqp/transcripts/priorities.txt"),
    include_str!("../amqp/transcripts/single_active_consumer.txt"),
    include_str!("../amqp/transcripts/not_supported_yet.txt"),
    include_str!("../amqp/transcripts/consumers.txt"),
    include_str!("../amqp/transcripts/prefetch.txt"),
    include_str!("../amqp/transcripts/acknowledgement.txt"),
    include_str!("../amqp/transcripts/publishing.txt"),
    include_str!("../amqp/transcripts/transactions.txt"),
    include_str!("../amqp/transcripts/routing.txt"),
    include_str!("../amqp/transcripts/dead_letters.txt"),
    include_str!("../amqp/transcripts/expiry.txt"),
    include_str!("../amqp/transcripts/reply_to.txt"),
    include_str!("../amqp/transcripts/policies.txt"),
    include_str!("../amqp/transcripts/firehose.txt"),
    include_str!("../amqp/transcripts/events.txt"),
];

/// How often a scenario is played before a difference counts. In RabbitMQ a declare may overtake the publishes before
/// it, so that now and then it contradicts its own transcript; what differs for a reason differs every time.
const ATTEMPTS: usize = 3;

#[test]
fn transcripts_match() {
    let Some(reference) = Reference::find() else { return };
    let (leveret, hasty) = (Broker::shared(), Broker::shared_hasty());
    let mut failures = Vec::new();
    let generated = redeclarations::transcript();
    for text in TRANSCRIPTS.iter().copied().chain([generated.as_str()]) {
        let mut scenarios = parse(text);
        scenarios.retain(|scenario| scenario.is_playable(reference.speaker(), reference.management()));
        failures.extend(side_by_side(&scenarios, |scenario| {
            let ours = if scenario.hasty { &hasty } else { &leveret };
            let differs = || {
                let theirs = play_with(scenario, reference.address(), reference.management(), reference.speaker());
                let ours = play_with(scenario, ours.address, ours.management.map(Api), ours.speaker());
                let same = ours.passed() && theirs.passed();
                (!same).then(|| format!("RabbitMQ:\n{}Leveret:\n{}", theirs.log, ours.log))
            };
            // The last try's word: RabbitMQ races with itself.
            (1..ATTEMPTS).find_map(|_| differs().is_none().then_some(())).map_or_else(differs, |()| None)
        }));
    }
    assert!(failures.is_empty(), "{} transcripts differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn random_scripts_match() {
    let Some(reference) = Reference::find() else { return };
    let leveret = Broker::shared();
    for seed in random::seeds() {
        let script = random::script(seed);
        let theirs = random::run(&script, reference.address());
        let ours = random::run(&script, leveret.address);
        if let Some(at) = theirs.iter().zip(&ours).position(|(theirs, ours)| theirs != ours) {
            panic!(
                "LEVERET_SEED={seed}\n{}\nRabbitMQ: {}\nLeveret:  {}",
                script[..=at].iter().map(|step| step.to_string()).collect::<Vec<_>>().join("\n"),
                theirs[at],
                ours[at]
            );
        }
    }
}
