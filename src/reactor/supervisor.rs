//! Tells whoever started the program how it is: systemd's protocol, a datagram with a few words in it.
//!
//! Nothing here waits: a supervisor that doesn't listen misses something.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A supervisor that wants to hear.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    /// Half of the time after which it takes the program for stuck.
    watchdog_ms: Option<u64>,
    due_ms: u64,
}

impl Supervisor {
    /// The supervisor that the environment names, if it names one: `NOTIFY_SOCKET` is a path, or an abstract name after an
    /// `@`; `WATCHDOG_USEC` is how long it waits for signs of life, in microseconds, from the process `WATCHDOG_PID`.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn of(environment: impl Fn(&str) -> Option<String>) -> io::Result<Option<Self>> {
        let Some(name) = environment("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        let is_meant = environment("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let usec = environment("WATCHDOG_USEC").filter(|_| is_meant).and_then(|usec| usec.parse::<u64>().ok());
        let watchdog_ms = usec.map(|usec| (usec / 2000).max(1));
        Ok(Some(Self { socket, watchdog_ms, due_ms: 0 }))
    }

    /// All listeners are bound, or the settings were read again.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// The settings are being read again.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=closing connections");
    }

    /// Gives a sign of life when it is time for one.
    pub fn turn(&mut self, now_ms: u64) {
        if let Some(watchdog_ms) = self.watchdog_ms
            && now_ms >= self.due_ms
        {
            self.tell("WATCHDOG=1");
            self.due_ms = now_ms + watchdog_ms;
        }
    }

    /// When the next sign of life is due.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.watchdog_ms.map(|_| self.due_ms)
    }

    fn tell(&self, words: &str) {
        // If it doesn't listen, that is its business.
        let _ = self.socket.send(words.as_bytes());
    }
}

/// The time of the system's clock that never goes back, by which the supervisor knows which reload is meant.
fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills one `timespec`, which is ours, from a clock that every Linux has.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_socket_nobody_wants_to_hear() {
        assert!(Supervisor::of(|_| None).unwrap().is_none());
        assert!(Supervisor::of(|_| Some("/nowhere/notify".to_owned())).is_err());
    }

    #[test]
    fn signs_of_life_come_twice_in_the_time_that_is_waited() {
        let name = format!("leveret-supervisor-{}", std::process::id());
        let listening = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        listening.set_nonblocking(true).unwrap();
        let heard = || {
            let mut words = [0; 100];
            listening.recv(&mut words).ok().map(|count| String::from_utf8_lossy(&words[..count]).into_owned())
        };
        let of = |pid: &str| {
            Supervisor::of(|variable| match variable {
                "NOTIFY_SOCKET" => Some(format!("@{name}")),
                "WATCHDOG_USEC" => Some("3000000".to_owned()),
                _ => Some(pid.to_owned()),
            })
        };
        let mut supervisor = of(&std::process::id().to_string()).unwrap().unwrap();
        supervisor.ready();
        assert_eq!(heard().as_deref(), Some("READY=1\nSTATUS=serving"));
        for (now_ms, gives_a_sign) in [(10, true), (1509, false), (1510, true), (1511, false), (9000, true)] {
            supervisor.turn(now_ms);
            assert_eq!(heard().is_some(), gives_a_sign, "at {now_ms}");
        }
        assert_eq!(supervisor.next_deadline_ms(), Some(10_500));
        assert_eq!(of("1").unwrap().unwrap().next_deadline_ms(), None, "another process is meant");
    }
}
