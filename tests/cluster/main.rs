//! Clusters in a simulation: three members, their disks and the network between them are values, and a seed is the fate.
//! `LEVERET_SEED=n cargo test --test cluster` plays one seed again, `LEVERET_SEEDS=n` that many, from `LEVERET_FIRST_SEED`
//! (0) on.
#![cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the storage tests, which damage files")]
#[path = "../support/sim_disk.rs"]
mod sim_disk;

mod chance;
mod complaint;
mod fate;
mod model;
mod network;
mod node;
mod publisher;
mod real;
mod truth;
mod world;
mod writer;

use complaint::Failure;
use fate::{Fate, Mutation, OfLeader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use truth::Truth;
use world::{Outcome, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 60;
/// Seeds with the writer that ships, which takes its time.
const SEEDS_OF_THE_REAL: u64 = 8;
/// Seeds of what happens to leaders alone.
const SEEDS_OF_LEADERS: u64 = 10;
/// Seeds in which a fault must be found.
const MUTATION_SEEDS: u64 = 200;

/// Those of the environment, or so many.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    match number("LEVERET_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("LEVERET_FIRST_SEED").unwrap_or(0);
            first..first + number("LEVERET_SEEDS").unwrap_or(count)
        }
    }
}

fn play(seed: u64, fate: Fate) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| World::new(seed, fate).run())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            eprintln!("LEVERET_SEED={seed} plays this again");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_was_confirmed_is_never_lost() {
    let mut all = Outcome::default();
    for seed in seeds(SEEDS) {
        all.add(&play(seed, Fate::hard(Mutation::None)));
    }
    println!("{all}");
    assert!(all.confirmed > all.seeds * 100, "a cluster that confirms next to nothing shows nothing: {all}");
}

#[test]
fn what_was_confirmed_is_never_lost_by_the_writer_that_ships() {
    let mut all = Outcome::default();
    for seed in seeds(SEEDS_OF_THE_REAL) {
        all.add(&play(seed, Fate { is_real: true, ..Fate::hard(Mutation::None) }));
    }
    println!("{all}");
    assert!(all.confirmed > all.seeds * 100, "a cluster that confirms next to nothing shows nothing: {all}");
    if all.seeds >= SEEDS_OF_THE_REAL {
        assert!(
            all.crashes > 0 && all.snapshots > 0 && all.wipes > 0 && all.rots > 0,
            "nor does one that nothing happens to: {all}"
        );
    }
}

fn play_of_leader(what: OfLeader) -> Outcome {
    play_of_fate(what, &Fate::of_leader(what))
}

fn play_of_fate(what: OfLeader, fate: &Fate) -> Outcome {
    let mut all = Outcome::default();
    for seed in seeds(SEEDS_OF_LEADERS) {
        all.add(&play(seed, fate.clone()));
    }
    println!("{what:?}: {all}");
    all
}

#[test]
fn a_lost_leader_is_replaced_within_three_seconds() {
    assert!(play_of_leader(OfLeader::IsLost).longest_without_confirm_ms < 3_000);
}

/// Its disk hangs for longer than that.
#[test]
fn a_leader_whose_disk_hangs_gives_the_lead_away() {
    assert!(play_of_leader(OfLeader::DiskHangs).longest_without_confirm_ms < 3_000);
}

#[test]
fn a_leader_that_stops_in_order_is_hardly_missed() {
    assert!(play_of_leader(OfLeader::Stops).longest_without_confirm_ms < 400);
}

#[test]
fn a_node_that_is_gone_for_good_is_forgotten() {
    let all = play_of_leader(OfLeader::ForgetsAnother);
    assert_eq!(all.voters, 2);
    assert!(all.longest_without_confirm_ms < 200, "nobody waits for it: {all}");
}

/// Who is away for long comes back with no higher term, and nobody stands for election on its account.
#[test]
fn a_node_that_comes_and_goes_causes_no_storm_of_elections() {
    let what = OfLeader::LosesAnotherAgainAndAgain;
    let all = play_of_fate(what, &Fate { run_ms: 24_000, ..Fate::of_leader(what) });
    assert_eq!(all.leaders, all.seeds, "one leader from the beginning to the end: {all}");
    assert!(all.longest_without_confirm_ms < 200, "nobody notices: {all}");
}

#[test]
fn a_full_copy_to_an_empty_node_pauses_nobody() {
    let what = OfLeader::CopiesAllToAnother;
    for is_real in [false, true] {
        let all = play_of_fate(what, &Fate { is_real, ..Fate::of_leader(what) });
        assert_eq!((all.wipes, all.snapshots, all.leaders), (all.seeds, all.seeds, all.seeds), "{all}");
        assert!(all.longest_without_confirm_ms < 200, "who publishes doesn't notice: {all}");
    }
}

/// Nothing else is written in those runs: not by what follows them it is that nodes know who votes.
fn lost_once_another_votes(mutation: Mutation) -> Fate {
    let fate = Fate::of_leader(OfLeader::IsLostOnceAnotherVotes);
    Fate { mutation, run_ms: 12_000, silence_ms: 8_500, ..fate }
}

#[test]
fn whoever_votes_is_known_though_the_leader_is_lost_and_the_power_of_all_fails() {
    for is_real in [false, true] {
        let fate = Fate { is_real, ..lost_once_another_votes(Mutation::None) };
        let all = play_of_fate(OfLeader::IsLostOnceAnotherVotes, &fate);
        assert_eq!((all.wipes, all.crashes, all.voters), (all.seeds, all.seeds * 4, 3), "{all}");
    }
    for is_real in [false, true] {
        let fate = Fate { is_real, ..lost_once_another_votes(Mutation::NoteNoCommit) };
        let expected = "not everybody has noted who votes".to_owned();
        assert_eq!(failure_of(|| _ = World::new(0, fate).run()), Some(Failure::Complaint(expected)));
    }
}

#[test]
fn runs_are_repeatable() {
    let fate = || Fate::hard(Mutation::None);
    assert_eq!(play(7, fate()).trace, play(7, fate()).trace);
    assert_ne!(play(7, fate()).trace, play(8, fate()).trace);
}

/// What a simulation is worth: with a fault built in, an observer complains. Says by which seed, and of what. Accidents, as
/// that a program finds itself where it can't be, are passed over.
fn is_caught(fate: impl Fn() -> Fate) -> Option<(u64, String)> {
    (0..MUTATION_SEEDS).find_map(|seed| {
        let fate = fate();
        match failure_of(move || _ = World::new(seed, fate).run()) {
            Some(Failure::Complaint(complaint)) => Some((seed, complaint)),
            Some(Failure::Accident(accident)) => {
                println!("seed {seed} ends with an accident: {accident}");
                None
            }
            None => None,
        }
    })
}

/// What it fails with, if it does; that is told by nobody else.
fn failure_of(run: impl FnOnce() + Send + 'static) -> Option<Failure> {
    tell_of_unexpected_failures_only();
    let thread = std::thread::Builder::new().name(EXPECTED_TO_FAIL.to_owned()).spawn(run);
    thread.expect("a thread").join().err().map(|panic| Failure::of(&*panic))
}

const EXPECTED_TO_FAIL: &str = "expected to fail";

fn tell_of_unexpected_failures_only() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(EXPECTED_TO_FAIL) {
                tell(panic);
            }
        }));
    });
}

fn assert_caught(mutations: &[Mutation], is_real: bool) {
    for &mutation in mutations {
        let caught = is_caught(|| Fate { is_real, ..Fate::hard(mutation) });
        let Some((seed, complaint)) = caught else { panic!("{mutation:?} goes unnoticed") };
        println!("{mutation:?} is caught by seed {seed}: {complaint}");
    }
}

#[test]
fn built_in_faults_are_caught() {
    let mutations = [
        Mutation::ConfirmWritten,
        Mutation::KeepTail,
        Mutation::ForgetVote,
        Mutation::SayBeforeSync,
        Mutation::ReuseId,
        Mutation::AcceptRot,
        Mutation::RecoverOtherTerm,
    ];
    assert_caught(&mutations, false);
}

#[test]
fn built_in_faults_are_caught_with_the_writer_that_ships() {
    let mutations = [
        Mutation::ConfirmWritten,
        Mutation::ForgetVote,
        Mutation::SayBeforeSync,
        Mutation::ReuseId,
        Mutation::SkipSnapshotSync,
        Mutation::CheckpointUncommitted,
        Mutation::RecoverOtherTerm,
        Mutation::LoseSegmentOfSnapshot,
    ];
    assert_caught(&mutations, true);
}

/// What an observer says is told from what any program says that stumbles.
#[test]
fn an_accident_is_no_complaint() {
    let accident = failure_of(|| assert!(Vec::<u8>::new().pop().is_some(), "nothing is there"));
    assert_eq!(accident, Some(Failure::Accident("nothing is there".to_owned())));
    let lead = |node| {
        move || {
            let mut truth = Truth::default();
            truth.leads(7, 0);
            truth.leads(7, node);
        }
    };
    let complaint = "nodes 0 and 1 both lead in term 7".to_owned();
    assert_eq!(failure_of(lead(1)), Some(Failure::Complaint(complaint)));
    assert_eq!(failure_of(lead(0)), None);
}
