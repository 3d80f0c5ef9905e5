//! The one way into a queue and the one way out of it.
//!
//! What a message is counted as, what the store is told of it, and what has to be looked at when a queue's head is another
//! one: all of that happens here, and the [ledger](Ledger) is written nowhere else. Who gets a message is `dispatch`'s
//! business, and what a client says of it `settle`'s; both end up here.
//!
//! ```text
//!   published ──┬────────────────────► ready ──────────────────────► unacknowledged ──► acknowledged, rejected
//!   restored ───┘         enter          │ ▲        delivered, got           │
//!        │                               │ └─────────────────────────────────┘
//!        │ handed over: a consumer       │              put back
//!        │ waits at an empty queue       │
//!        │                               └──► delivered or got without acknowledgement, expired, purged, lost
//!        └──────────────────────────────────► delivered without acknowledgement, or unacknowledged
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `enter` | publishes, what is put back, what a restart brings back |
//! | `returned` | what comes back to a queue of type quorum, and is counted |
//! | `leave` | what is given to clients, and every way out for good |
//! | `discarded` | what was purged or went with its queue, and how its memory is given back |
//! | `special` | what queues do that are not plain, before and after a message enters |
//! | `overflow` | what queues have more than they may have, and how it goes |
//! | `dead_letter_counters` | how many messages died, and of what |
//! | `ledger` | the counts of a queue and of all of them, and how they add up |

mod dead_letter_counters;
mod discarded;
mod enter;
mod leave;
mod ledger;
#[cfg(test)]
mod limit_tests;
mod overflow;
mod returned;
mod special;
#[cfg(test)]
mod tests;

pub use dead_letter_counters::DeadLetterCounters;
pub(super) use discarded::Discards;
pub(super) use enter::Kept;
pub(super) use leave::{Departure, Given, tell_removed};
pub(super) use ledger::{Books, Lately};
pub use ledger::{Ledger, QueueCounters};
pub(super) use overflow::Overflowing;
