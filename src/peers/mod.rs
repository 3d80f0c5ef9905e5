//! What the nodes of a cluster say to each other goes through here: sockets, proofs, frames, and nothing of what they mean.
//!
//! ```text
//!            a node                                              another
//!   send ──► queue ──► sender ══ control ══════════════════════► reader ──► Event::Message
//!       └──► queue ──► sender ══ bulk ═════════════════════════► reader ──► Event::Message
//!   a client ──────► passage ══ one connection for each client ► who leads, as a client of its own
//! ```
//! Each pair of nodes has two connections, so that what is long doesn't keep waiting what is urgent. All are made by the node
//! whose name comes first, and all begin with the same proof of the cluster's secret; so does the connection over which a node
//! passes a client to the one that leads. A peer that is slow or gone is nobody's trouble but its own: what it doesn't take
//! is dropped, and whoever sends learns that it is gone.
//!
//! | file | owns |
//! |---|---|
//! | [`secret`] | what all nodes know, and its file |
//! | [`preface`] | what a connection is for |
//! | [`handshake`] | proving to know the secret, as steps without a socket |
//! | [`porch`] | the thread on which others prove it: strangers come no further |
//! | [`call`] | proving it to others |
//! | [`frame`] | messages in pieces, with sums |
//! | [`queue`] | what waits for a peer, bounded |
//! | [`link`] | a peer's two connections: up together, gone together |
//! | [`transport`] | all peers |
//! | [`passage`] | clients that are passed to the node that leads |
//!
//! It doesn't know what a message says, who leads, or what a client speaks.

pub mod call;
pub mod frame;
pub mod handshake;
pub mod link;
pub mod passage;
pub mod porch;
pub mod preface;
pub mod queue;
pub mod secret;
pub mod transport;

pub use call::{CallError, Caller};
pub use link::{Event, Reader, Receipt};
pub use passage::Passages;
pub use porch::Passed;
pub use preface::{Answer, ClientKind, Preface, Purpose};
pub use queue::{Lane, Outgoing};
pub use secret::ClusterSecret;
pub use transport::{Settings, Transport};

use std::io;

/// Where nonces come from: nobody can guess them, and none comes twice.
pub type Chance = fn() -> io::Result<[u8; handshake::NONCE_BYTES]>;
