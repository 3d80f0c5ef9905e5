//! The log: what is durable, and how it comes back. And the pager: what is not durable and does not fit in memory.
//!
//! One shared log is the store of all durable queues and definitions. The loop appends records to an open batch
//! ([`LogStore`]) and hands it over when the writer is idle; the writer ([`LogWriter`], a thread of its own when
//! [spawned](spawn)) gives the batch its place in a segment, writes, syncs, and keeps the account of what is alive.
//!
//! ```text
//!   loop thread                        writer thread
//!   LogStore ── SealedBatch ─────────► LogWriter ── pwrite, fdatasync ──► data/log/<number>.seg
//!      ▲                                 │  State: definitions, live sets, use of segments
//!      └──────── BatchDone ──────────────┘  ├─► checkpoint   data/checkpoint/<position>
//!                                           └─► compaction: live records of sparse segments are appended again
//! ```
//!
//! | file | owns |
//! |---|---|
//! | [`record`], `definition_record`, [`batch`], [`segment`] | the format, from the inside out; all of it: docs/FORMAT.md |
//! | [`sequences`] | the numbers of batches, physical and logical |
//! | [`entry`] | what nodes that replicate a log agree on |
//! | [`disk`], [`file_disk`] | what a disk can do, and the real one: the only file with I/O |
//! | [`membership`] | what a node is to others |
//! | [`replica`] | the writer's half where several nodes agree on one log |
//! | [`meta`] | whose data this is, and which format |
//! | [`log_store`] | the loop's half: appending, positions, who waits |
//! | [`log_writer`], `active` | the writer's half: placing, writing, syncing |
//! | [`duty`], [`spawn`] | in which order it does what it is asked and what it has to; its thread, and that of a replica |
//! | [`state`], `who_may`, [`live_set`], `chunk` | what replaying the log leads to |
//! | [`checkpoint`] | the state on disk, so that recovery is bounded |
//! | [`chore`] | what the writer leaves to another thread: checkpoints' files, the next segment's |
//! | [`reclaim`] | which segments are free, and which are worth emptying |
//! | [`recovery`], `replay`, `scan` | from a folder to a state |
//! | `unreadable` | reading around what a disk does not give |
//! | `tail` | the end of what was read, of which nobody knows whether it is on the disk |
//! | [`loader`], [`loader_thread`], `unloaded` | its messages, page by page, while the broker serves already |
//! | [`page_queue`] | the loop's half of paging |
//! | [`pager`], `page_files`, [`pager_thread`] | the other half: pages that do not fit in memory, in scratch files beside the log |
//!
//! It knows no socket and no routing, and no clock: times are arguments.

mod active;
pub mod batch;
pub mod checkpoint;
pub mod chore;
mod chunk;
mod definition_record;
pub mod disk;
pub mod duty;
pub mod entry;
pub mod error;
pub mod file_disk;
#[cfg(test)]
mod format_tests;
pub mod live_set;
pub mod loader;
pub mod loader_thread;
pub mod log_store;
pub mod log_writer;
pub mod membership;
pub mod meta;
mod page_files;
pub mod page_queue;
pub mod pager;
pub mod pager_thread;
pub mod reclaim;
pub mod record;
pub mod recovery;
mod replay;
pub mod replica;
mod scan;
pub mod segment;
pub mod sequences;
pub mod spawn;
pub mod state;
mod tail;
mod unloaded;
mod unreadable;
mod who_may;

pub use error::StorageError;
pub use file_disk::FileDisk;
pub use loader::{Loaded, Loader};
pub use log_store::{BatchDone, LogStore, SealedBatch, SyncPolicy, Written};
pub use log_writer::{LogWriter, Totals as LogTotals};
pub use meta::{ClusterId, FolderIds, MemberId};
pub use pager::{PageReport, Pager, PagerOptions};
pub use recovery::{Recovered, RecoveredQueue, RecoveryMode, recover};

/// The version of everything on disk, and the first one that a release writes. A broker refuses what it cannot read.
pub const FORMAT_VERSION: u32 = 2;

/// Sizes and times of the log. Tests make them small.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub sync_policy: SyncPolicy,
    /// Longest that a persistent message stays unsynced when nobody waits for it, in milliseconds.
    pub sync_interval_ms: u64,
    /// Size of a segment; a larger batch gets a segment of its own size.
    pub segment_bytes: u64,
    /// An open batch that reached this is closed.
    pub batch_max_bytes: usize,
    /// Log bytes from one checkpoint to the next.
    pub checkpoint_interval_bytes: u64,
    /// Freed segments that are kept for use again; more are deleted.
    pub free_segments_max: usize,
    /// Zeros that are written ahead when a small sync comes to blocks that were never written.
    pub zero_ahead_bytes: usize,
    /// A sync of at most this many bytes is a small one.
    pub small_sync_bytes: u64,
    /// Bytes of the newest segments that a node of a cluster keeps for others that lag, whether it needs them or not.
    pub kept_for_followers_bytes: u64,
    /// What is read of recovered messages before the broker serves, so that damage in an ordinary log stops the start: a
    /// fraction of a second.
    pub load_before_ready_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        const SEGMENT_BYTES: u64 = 64 << 20;
        Self {
            sync_policy: SyncPolicy::Always,
            sync_interval_ms: 200,
            segment_bytes: SEGMENT_BYTES,
            batch_max_bytes: 4 << 20,
            checkpoint_interval_bytes: 2 * SEGMENT_BYTES,
            free_segments_max: 8,
            zero_ahead_bytes: 256 << 10,
            small_sync_bytes: 8 << 10,
            kept_for_followers_bytes: replica::KEPT_FOR_FOLLOWERS_BYTES,
            load_before_ready_bytes: 96 << 20,
        }
    }
}
