//! What a broker finds again: the program itself is killed, stopped, damaged and refused, and seen from outside alone.
//!
//! ```text
//! cargo test --test recovery                                       all of it, three rounds of kills among them
//! LEVERET_ROUNDS=50 cargo test --test recovery kills -- --nocapture   so many rounds on one folder
//! LEVERET_SEED=7 cargo test --test recovery kills                  other moments, other messages
//! ```
//! A seed decides what is written and after how many confirms the broker is killed; what the broker had done by then is
//! up to the machine. Nothing here sees a power cut, which takes what was not synced: that is the simulated disk's part.

#![allow(clippy::disallowed_methods, reason = "tests and benches may use the system")]

#[expect(dead_code, reason = "shared with the suites that play transcripts, which these tests don't")]
#[path = "../support/mod.rs"]
mod support;

#[path = "../simulation/random.rs"]
mod random;

mod damage;
mod deduplication;
mod definitions;
mod delayed;
mod disk_alarm;
mod events;
mod expiry;
mod extensions;
mod faults;
mod founding;
mod kills;
mod ledger;
mod long;
mod message;
mod moving;
mod node;
mod priorities;
mod quorum;
mod refusals;
mod refusing;
mod removals;
mod standing;
mod stops;
mod storm;
mod transactions;

/// What is played: LEVERET_SEED says which seed, and LEVERET_ROUNDS how many rounds instead of the `usual` ones.
fn seed_and_rounds(usual: u32) -> (u64, u32) {
    let number = |variable| {
        let text = std::env::var(variable).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{variable} is a number")))
    };
    let rounds = number("LEVERET_ROUNDS").map(|rounds| u32::try_from(rounds).expect("fewer rounds"));
    (number("LEVERET_SEED").unwrap_or(1), rounds.unwrap_or(usual))
}
