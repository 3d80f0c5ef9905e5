//! What the loop needs from the operating system: readiness, listeners, sockets, timers, wake-ups, signals, the clock.
//!
//! This room owns every system call of the network side and every read of the clock. It knows no AMQP: it moves bytes
//! and reports outcomes, and whoever composes the turn of the loop decides what they mean. It never blocks except in
//! [`Poller::poll`], never allocates on the path of a read or write, and never starts a thread.
//!
//! | module | owns |
//! |---|---|
//! | [`event_loop`] | the poll, and who is ready |
//! | [`listener`] | accepting, and what to do when descriptors run out |
//! | [`socket`] | one client's connection: receive, send, close |
//! | [`transport`] | how its bytes cross the wire, and when that can do no more |
//! | [`encrypted`] | the same over TLS |
//! | [`proxy_header`] | what a proxy says of the client behind it |
//! | [`timer_wheel`] | deadlines, without a clock of its own |
//! | [`clock`] | the only place that asks what time it is |
//! | [`waker`] | waking the poll from another thread |
//! | [`signals`] | SIGTERM, SIGINT and SIGHUP as readiness |
//! | [`supervisor`] | telling systemd, or who speaks like it, how the program is |
//! | [`origin`] | who comes from the same place |
//! | [`entrants`] | who has to go when too many shake hands |
//! | [`process`] | what the process may use and does use: descriptors, memory, CPU time |

pub mod clock;
pub mod encrypted;
pub mod entrants;
pub mod event_loop;
pub mod listener;
pub mod origin;
pub mod process;
pub mod proxy_header;
pub mod signals;
pub mod socket;
pub mod supervisor;
pub mod timer_wheel;
pub mod transport;
pub mod waker;

pub use clock::Clock;
pub use encrypted::Handshake;
pub use entrants::Entrants;
pub use event_loop::{Poller, Readiness};
pub use listener::{Accepted, Listener};
pub use origin::origin_of;
pub use signals::{Signal, Signals};
pub use socket::{Socket, send_without_waiting};
pub use supervisor::Supervisor;
pub use timer_wheel::{TimerKey, TimerWheel};
pub use transport::{Received, Sent};
pub use waker::Waker;
