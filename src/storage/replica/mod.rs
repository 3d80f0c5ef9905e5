//! The log of a node where several nodes agree on one: entries are written before they are committed, and the state
//! moves when they are.
//!
//! ```text
//!  Append ──► batches, a vote ──► one sync ──► Persisted
//!                │
//!                ▼ pending: written, not committed; a tail of them may be cut off by other entries
//!  Commit ──► state ──► Applied
//!                │
//!                └─► checkpoint: of the state, and where the first pending entry is
//! ```
//! The log's files, its checkpoints, its compaction and the start are those of a broker that is alone; what is here is
//! what agreeing adds to them. Who may be leader, what is committed and who the members are is not known here: a
//! configuration is bytes, and a commit is a number.
//!
//! What a replay must come to, wherever the power went off:
//!
//! * an entry, or a vote, that was reported as persisted is there, unless an entry of its index or a lower one was
//!   appended since;
//! * the state is that of the entries up to the highest commit that the log knows of, and of no others: batches say with
//!   their `commit` how far the state was when they were written, and moved records say where messages are, never that
//!   they are;
//! * no segment has two entries of one index: cutting off begins another one. So whoever looks for a live message in its
//!   segment never finds that of an entry that was cut off.
//!
//! | file | owns |
//! |---|---|
//! | [`duty`] | what is asked and said, in which order; [`spawn`](super::spawn) gives it a thread |
//! | [`writer`] | appending, voting, committing, founding |
//! | [`pending`] | entries that are not committed, and what may follow them |
//! | [`recovery`], `replay`, `relocate` | from a folder to a state and the entries behind it |
//! | [`reader`] | entries read back, for whoever sends them to others |
//! | [`survey`] | what there is, for a node that begins to lead |
//! | [`pin`], [`install`] | what a node gives to one that cannot be caught up by entries, and how it becomes the other one's |
//! | [`aside`], `whose` | what becomes of a log that lost something, and whether it is a node's |
//! | [`verify`] | whether segments are whole, for whoever reads them before they are needed |
//! | `mark` | evidence that the last batch was synced |
//! | `held`, `kept` | what of the log is kept for others, and which entries can be read back |

pub mod aside;
pub mod duty;
mod held;
pub mod install;
mod kept;
mod mark;
pub mod pending;
pub mod pin;
pub mod reader;
pub mod recovery;
mod relocate;
mod replay;
pub mod survey;
pub mod verify;
mod whose;
pub mod writer;

pub use aside::recover_or_rejoin;
pub use duty::{Append, ReplicaDuty, ReplicaReport, ReplicaRequest};
pub(super) use held::Held;
pub use held::KEPT_FOR_FOLLOWERS_BYTES;
pub use install::Install;
pub(super) use install::is_begun as installation_is_begun;
pub use pin::{Pin, PinId};
pub use reader::EntryReader;
pub use recovery::{RecoveredReplica, ReplicaResume, recover_replica};
pub(super) use replay::ReplicaReplay;
pub use survey::Survey;
pub use verify::{Sealed, verify, verify_incoming};
pub use writer::ReplicaWriter;
