//! The simulation: the real broker with its connections and its log, driven without sockets, threads and files through
//! [`leveret::server::Hub`] and a log writer on a simulated disk, against a shadow model that knows what AMQP demands and
//! what was promised.
//!
//! One to five virtual clients do random things on several channels, as several users in several virtual hosts. Their
//! bytes reach the broker in pieces cut anywhere, the broker's reach them as slowly as they like to read, the clock jumps,
//! connections vanish. The seed also decides when a batch is written, synced and reported, when pages are written and come
//! back, when the messages of an earlier run are loaded, and when checkpoints and compaction go on. The model is told of
//! every command when its last byte has arrived and looks at every frame as soon as the broker has written it:
//!
//! - every answer is the one that is due: counts, names, exceptions, confirms, returns, commits;
//! - every delivery is the head of its queue, to the last byte, within both prefetch counts, with the delivery tag and
//!   the redelivered flag that it must have; what was requeued is in its old place;
//! - no message waits while a consumer has credit and room, no higher priority is passed over, and equals take turns;
//! - whoever may not do something is refused, and what is refused changes nothing;
//! - at rest the broker's own count of everything is the model's, and in the end nothing is left.
//!
//! Meanwhile decrees make, change and delete virtual hosts and users, give and withdraw permissions for names and routing
//! keys, and set limits: what clients know of what they may do is over at once, and whoever is of a deleted user, or in a
//! deleted virtual host, is closed before anything is done of what it sends.
//!
//! Brokers are stopped, killed, or lose power at any call of the disk; unsynced writes then vanish, tear or come in
//! another order. Any call may also fail, as on a full or a broken disk, and the program with it. The next broker starts
//! on what is left, and now and then the world looks at what it would find if this one ended here:
//!
//! - it starts; what it finds is what there was after one of the last acts, none in between is missing, nothing else is
//!   there, and every message is whole and in its place;
//! - that act is none before one whose confirm, commit-ok, declare-ok, bind-ok, delete-ok or purge-ok a client could read,
//!   or whose answer an administrator;
//! - virtual hosts, users and permissions are what they were, with all that was said of them;
//! - what may have been delivered is flagged as redelivered, and after an orderly stop what was settled stays away.
//!
//! A run is one number, its seed. How to use it:
//!
//! ```text
//! cargo test --test simulation                               fifteen hundred seeds, in seconds
//! LEVERET_SEED=4711 cargo test --test simulation             that seed alone
//! LEVERET_SEEDS=50000 cargo test --test simulation           so many seeds, from LEVERET_FIRST_SEED (0) on
//! LEVERET_LINES=5000 …                                       a failure tells its last so many steps, not 60
//! cargo test --release --test simulation -- --ignored        the long run: far more seeds, and longer lives
//! ```
//! The order in which two clients were written to within one read of a third one's bytes is guessed. Recovered messages
//! are all flagged as redelivered, so about one seed in a hundred thousand guesses wrong and complains of a delivery on a
//! closed channel that another client seemed to have before; its last lines show both.
//!
//! A failure says its seed, what was wrong, and the last things that happened. A seed that found a bug is kept in
//! [`SEEDS_THAT_FOUND_BUGS`], though a change to what clients do gives every seed another meaning: the test for the bug
//! itself belongs next to the code.
//!
//! | file | owns |
//! |---|---|
//! | `world` | the hub, the pipes, the clock; comparing with the model |
//! | `durable`, `workers` | the server's journal on its simulated disk: its steps, ends and starts |
//! | `look` | what a start would find |
//! | `client`, `operations` | what clients know, and what they do |
//! | `command`, `message`, `wire` | their own codec, independent of Leveret's |
//! | `decree` | what becomes of virtual hosts, users, permissions and limits |
//! | `model` | the shadow |
//! | `extensions` | a second world: queues that are more than plain |
//! | `random`, `transcript` | chance, and the story of a failure |

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the storage tests, which damage files")]
#[path = "../support/sim_disk.rs"]
mod sim_disk;

mod client;
mod command;
mod decree;
mod durable;
mod extensions;
mod look;
mod message;
mod model;
mod operations;
mod random;
mod transcript;
mod wire;
mod workers;
mod world;

use extensions::Story;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use transcript::Transcript;
use world::{Life, World};

/// Seeds of an ordinary run: a few seconds in a debug build.
const SEEDS: u64 = 1500;
const STEPS: usize = 300;
/// Stories of an ordinary run.
const STORIES: u64 = 100;
/// Seeds and steps of the long run.
const LONG_SEEDS: u64 = 100_000;
const LONG_STEPS: usize = 1500;

/// Seeds that found a bug once, with the steps that it took.
const SEEDS_THAT_FOUND_BUGS: [(u64, usize); 4] = [(63, 300), (1402, 300), (1501, 300), (107_163, 300)];

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not {value:?}")))
}

/// Lives one life, and says what was wrong if it went wrong.
fn live(seed: u64, steps: usize, transcript: &mut Transcript) -> Result<Life, String> {
    catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, transcript);
        world.run(steps).map(|()| world.life.clone())
    }))
    .unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Lives one life, and once more with a transcript when it fails.
fn run(seed: u64, steps: usize) -> Life {
    live(seed, steps, &mut Transcript::default()).unwrap_or_else(|complaint| {
        let lines = setting("LEVERET_LINES").map_or(transcript::LINES, |lines| lines as usize);
        let mut transcript = Transcript::wanted(lines);
        let again = live(seed, steps, &mut transcript);
        let replay = if again.as_ref() == Err(&complaint) { "" } else { "\n(it went differently the second time)" };
        let story = transcript.story();
        panic!("\n{story}seed {seed}, {steps} steps: {complaint}{replay}\nreplay with LEVERET_SEED={seed}\n");
    })
}

fn run_many(count: u64, steps: usize) {
    if let Some(seed) = setting("LEVERET_SEED") {
        run(seed, steps);
        return;
    }
    let first = setting("LEVERET_FIRST_SEED").unwrap_or(0);
    for seed in first..first + setting("LEVERET_SEEDS").unwrap_or(count) {
        run(seed, steps);
    }
}

#[test]
fn the_broker_does_what_the_model_says() {
    run_many(SEEDS, STEPS);
}

#[test]
fn seeds_that_found_bugs_find_none() {
    for (seed, steps) in SEEDS_THAT_FOUND_BUGS {
        run(seed, steps);
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in 0..50 {
        assert_eq!(run(seed, STEPS), run(seed, STEPS), "seed {seed}");
    }
}

#[test]
fn the_simulation_meets_everything_that_it_claims_to_check() {
    const EVERYTHING: [&str; 26] = [
        "large delivery",
        "redelivery",
        "delivery",
        "multiple confirm",
        "confirm",
        "cancellation",
        "blocked",
        "unblocked",
        "heartbeat",
        "get-ok",
        "return",
        "channel exception",
        "shutdown",
        "connection exception",
        "commit",
        "rollback",
        "recovery",
        "orderly stop",
        "kill",
        "power cut",
        "failed disk",
        "look ahead",
        "decree",
        "access refused",
        "login refused",
        "eviction",
    ];
    let mut heard = BTreeMap::new();
    for seed in 0..SEEDS {
        for (kind, count) in run(seed, STEPS).heard {
            *heard.entry(kind).or_insert(0) += count;
        }
    }
    for kind in EVERYTHING {
        assert!(heard.get(kind).is_some_and(|count| *count >= 3), "{kind} is too rare: {heard:?}");
    }
}

/// Lives one life of queues that are more than plain, and tells its story when it fails. Says how often a broker ended,
/// and how many messages were moved.
fn tell(seed: u64, steps: usize) -> (usize, usize) {
    let live = |transcript: &mut Transcript| {
        catch_unwind(AssertUnwindSafe(|| {
            let mut story = Story::new(seed, transcript);
            story.run(steps).map(|()| (story.ends, story.moved))
        }))
        .unwrap_or_else(|_| Err("panicked".to_owned()))
    };
    live(&mut Transcript::default()).unwrap_or_else(|complaint| {
        let mut transcript =
            Transcript::wanted(setting("LEVERET_LINES").map_or(transcript::LINES, |lines| lines as usize));
        let _ = live(&mut transcript);
        let story = transcript.story();
        panic!("\n{story}seed {seed}, {steps} steps: {complaint}\nreplay with LEVERET_SEED={seed}\n");
    })
}

#[test]
fn queues_that_are_more_than_plain_do_what_their_shadow_says() {
    if let Some(seed) = setting("LEVERET_SEED") {
        tell(seed, STEPS);
        return;
    }
    let first = setting("LEVERET_FIRST_SEED").unwrap_or(0);
    let seeds = first..first + setting("LEVERET_SEEDS").unwrap_or(STORIES);
    let all: Vec<_> = seeds.map(|seed| tell(seed, STEPS)).collect();
    let (ends, moved): (Vec<usize>, Vec<usize>) = all.into_iter().unzip();
    assert!(ends.iter().sum::<usize>() > ends.len() / 2, "brokers ended {ends:?} times");
    assert!(moved.iter().sum::<usize>() > moved.len(), "{moved:?} messages were moved");
}

#[test]
#[ignore = "minutes to hours: the long run"]
fn the_broker_does_what_the_model_says_for_long() {
    run_many(LONG_SEEDS, LONG_STEPS);
}
