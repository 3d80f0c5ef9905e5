//! The few socket operations that std lacks: waiting for readiness, sending without waiting. Owns no socket.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Waits until the socket can be read (or, if asked for, written), or until the timeout. Says whether it can be read.
pub fn wait_ready(stream: &TcpStream, or_writable: bool, timeout: Duration) -> io::Result<bool> {
    let events = libc::POLLIN | if or_writable { libc::POLLOUT } else { 0 };
    let mut descriptor = libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
    // Not poll: its milliseconds are too coarse for a paced producer, and would become none at all.
    let timeout = libc::timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: the pointers are to one pollfd, as the count says, and to one timespec; both live across the call.
    if unsafe { libc::ppoll(&mut descriptor, 1, &timeout, std::ptr::null()) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
    }
    Ok(descriptor.revents & !libc::POLLOUT != 0)
}

/// Sends what fits into the socket's buffer right now; 0 when it is full.
pub fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match socket2::SockRef::from(stream).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
        Err(error) if is_pause(&error) => Ok(0),
        result => result,
    }
}

/// Whether the operation may simply be tried again.
pub fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
