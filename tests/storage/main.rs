//! The log and the pager on a simulated disk. `LEVERET_SEED=n cargo test --test storage random` replays one seed of the
//! log's random runs, `LEVERET_SEEDS=n` runs that many.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the simulation of clusters, whose disks ignore syncs")]
#[path = "../support/sim_disk.rs"]
mod sim_disk;

mod ahead;
mod damage;
mod definitions;
mod ends;
mod exhaustive;
mod faults;
mod harness;
mod levels;
mod lives;
mod loading;
mod pager;
mod random;
mod real_disk;
mod reclaim;
mod replica;
mod unreadable;
mod who_may;
