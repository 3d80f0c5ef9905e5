//! SIGTERM, SIGINT and SIGHUP as readiness.
//!
//! The handlers set a flag and write one byte into a pipe of ours that is registered in the poll: no thread waits for
//! signals, and the loop meets them at the same place as everything else. Dropping [`Signals`] takes the handlers away
//! again, but the kernel's default action (which would end the process) does not come back.

use super::event_loop::delegate_source;
use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the outside asks of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM: close everything in good order and exit.
    Terminate,
    /// SIGINT (Ctrl-C): the same, asked from a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals the process has been sent and nobody has taken yet.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    watched: Vec<Watched>,
    handlers: Vec<SigId>,
}

#[derive(Debug)]
struct Watched {
    signal: Signal,
    raised: Arc<AtomicBool>,
}

delegate_source!(Signals, pipe);

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Register the result in the poll to hear of them.
    pub fn install() -> io::Result<Self> {
        let (pipe, write_end) = UnixStream::pair()?;
        let write_end = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(write_end));
        let mut signals = Self { pipe, watched: Vec::new(), handlers: Vec::new() };
        for (number, signal) in [(SIGTERM, Signal::Terminate), (SIGINT, Signal::Interrupt), (SIGHUP, Signal::Reload)] {
            let raised = Arc::new(AtomicBool::new(false));
            // The flag comes first: handlers run in the order of their registration, so whoever reads the byte finds
            // the flag set.
            signals.handlers.push(signal_hook::flag::register(number, Arc::clone(&raised))?);
            signals.handlers.push(signal_hook::low_level::pipe::register(number, write_end.try_clone()?)?);
            signals.watched.push(Watched { signal, raised });
        }
        Ok(signals)
    }

    /// The signals raised since the last call, each at most once.
    pub fn take(&mut self) -> Vec<Signal> {
        // Empty the pipe first: a signal that arrives in between leaves its byte for the next poll.
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(count) if count > 0) {}
        self.watched
            .iter()
            .filter(|watched| watched.raised.swap(false, Ordering::SeqCst))
            .map(|watched| watched.signal)
            .collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Poller;
    use crate::reactor::event_loop::tests::poll_until;

    const SIGNALS: usize = 3;

    #[test]
    fn signals_wake_the_poll_and_are_taken_once() {
        let mut poller = Poller::new().unwrap();
        let mut signals = Signals::install().unwrap();
        poller.register_readable(&mut signals, SIGNALS).unwrap();
        assert_eq!(signals.take(), []);

        signal_hook::low_level::raise(SIGHUP).unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        poll_until(&mut poller, |ready| ready.token == SIGNALS && ready.readable);
        assert_eq!(signals.take(), [Signal::Reload]);

        signal_hook::low_level::raise(SIGTERM).unwrap();
        poll_until(&mut poller, |ready| ready.token == SIGNALS && ready.readable);
        assert_eq!(signals.take(), [Signal::Terminate]);
        assert_eq!(signals.take(), []);
    }
}
