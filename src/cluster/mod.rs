//! Brokers that keep one log: what they say to each other, who they are, and who of them leads.
//!
//! Three brokers are one *cluster*, and one of them leads. What the leader's loop hands over to be written is an
//! [entry](crate::storage::entry); it is *committed* when it is on the disks of most members, and only then anybody is
//! told that it lasts. Without `[cluster]` in the settings nothing of this exists.
//!
//! ```text
//!   the leader's loop            this room                      the writer
//!   SealedBatch ───────────────► Member ── Append ────────────► write, sync
//!   Done, Progress ◄──────────── │    ▲ ◄──────── Persisted ─── Commit moves the state
//!                                ▼    │
//!                              messages to and from peers
//! ```
//!
//! | file | owns |
//! |---|---|
//! | [`membership`] | who the members are, and how that is written down |
//! | [`message`] | what nodes say to each other, as bytes |
//! | [`snapshot`] | what is done to the disk while a snapshot arrives |
//! | [`member`] | the state machine that a node is: forming, following, leading, learning |
//!
//! It is driven by calls: no socket, no thread and no clock. Time and chance come in as arguments, what is to be done
//! comes out as values, so that a simulation can be any network, any disk and any time.
//!
//! What brokers agree by is a crate that is not made for every machine, see Cargo.toml. There [`member`] is left out, and
//! settings with a cluster are refused.

#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
pub mod member;
pub mod membership;
pub mod message;
pub mod snapshot;
