//! TLS without I/O: what the broker shows its clients and asks of them, and the records of one connection.
//!
//! It owns certificates and keys out of PEM files that its callers read, the names in clients' certificates, and the records
//! of a connection after rustls's handshake. It knows no socket, no file and no clock: bytes and time are arguments. It never
//! logs a key.
//!
//! | file | owns |
//! |---|---|
//! | `acceptor` | settings and files to what a handshake is made with |
//! | `resolver` | which of several certificates a client gets |
//! | `certificate` | names and dates out of a certificate |
//! | `session` | one connection: bytes of the wire to plain ones and back |
//! | `records` | the same when the handshake is done |
//! | `sealer`, `outgoing` | records encrypted, and where they are sent from |
//! | `client` | the other end, for those who connect |
//! | `encryption` | how a connection is encrypted, and who is at its other end |
//! | `expiry` | when what was loaded expires |
//! | `error` | why files and clients are refused |

mod acceptor;
mod certificate;
mod client;
mod encryption;
mod error;
mod expiry;
mod outgoing;
mod records;
mod resolver;
mod sealer;
mod session;

pub use acceptor::{Acceptor, Files, Renewable};
pub use certificate::{Expiry, LoginName, SanType};
pub use client::{ClientSession, Connector, Trust};
pub use encryption::Encryption;
pub use error::{TlsError, handshake_failure};
pub use expiry::{DatedFile, Expiries};
pub use outgoing::Outgoing;
pub use session::{MESSAGE_MAX_BYTES, Opened, RECORD_MAX_BYTES, RECORD_PLAIN_BYTES, Session, Side};
