//! What a client's bytes go over: a socket, and perhaps TLS on it. Owns the socket and what lies between the two.
//!
//! It reads and writes as a socket does, whether that blocks or not. What was encrypted counts as written, and goes out
//! before anything else does.

use crate::socket::{is_pause, send_now, wait_ready};
use leveret::tls::{ClientSession, Outgoing};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes of the wire to read at once.
const READ_BYTES: usize = 128 * 1024;
/// Plain bytes to encrypt and write at once.
const WRITE_BYTES: usize = 128 * 1024;

pub struct WireStream {
    socket: TcpStream,
    tls: Option<RefCell<Tls>>,
}

struct Tls {
    session: ClientSession,
    /// What came over the wire, of which `held` bytes are no whole record yet.
    incoming: Vec<u8>,
    held: usize,
    /// What was in records and nobody had room for, and how much of it was taken.
    plain: Vec<u8>,
    taken: usize,
    /// Records to write, and how much of them was written.
    outgoing: Outgoing,
    written: usize,
    ended: bool,
}

impl WireStream {
    pub fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// Shakes hands over a blocking socket.
    pub fn encrypted(socket: TcpStream, session: ClientSession) -> io::Result<Self> {
        let mut tls = Tls {
            session,
            incoming: vec![0; 2 * READ_BYTES],
            held: 0,
            plain: Vec::new(),
            taken: 0,
            outgoing: Outgoing::default(),
            written: 0,
            ended: false,
        };
        // What is said first needs nothing to have come.
        tls.open(0, &mut [])?;
        while tls.session.is_handshaking() {
            tls.flush(&socket)?;
            if tls.read(&socket, &mut [])?.is_none() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker hung up in the handshake of TLS"));
            }
        }
        tls.flush(&socket)?;
        Ok(Self { socket, tls: Some(RefCell::new(tls)) })
    }

    /// The socket below: for its options, and to wait for it.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket as something to read and write, which it is where there is no TLS on it.
    pub fn as_plain(&self) -> io::Result<&TcpStream> {
        match self.tls {
            None => Ok(&self.socket),
            Some(_) => Err(io::Error::other("this scenario does not go over TLS")),
        }
    }

    /// As [`wait_ready`], but for what came already.
    pub fn wait_ready(&self, or_writable: bool, timeout: Duration) -> io::Result<bool> {
        match &self.tls {
            None => wait_ready(&self.socket, or_writable, timeout),
            Some(tls) => {
                let tls = tls.borrow();
                if tls.taken < tls.plain.len() {
                    return Ok(true);
                }
                wait_ready(&self.socket, or_writable || tls.has_unwritten(), timeout)
            }
        }
    }

    /// As [`send_now`]: never waits.
    pub fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => send_now(&self.socket, bytes),
            Some(tls) => {
                let mut tls = tls.borrow_mut();
                if !tls.flush_with(|bytes| send_now(&self.socket, bytes))? {
                    return Ok(0);
                }
                let count = tls.seal(bytes)?;
                tls.flush_with(|bytes| send_now(&self.socket, bytes))?;
                Ok(count)
            }
        }
    }
}

impl Read for &WireStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return (&self.socket).read(buffer) };
        let mut tls = tls.borrow_mut();
        loop {
            let waiting = &tls.plain[tls.taken..];
            if !waiting.is_empty() {
                let count = waiting.len().min(buffer.len());
                buffer[..count].copy_from_slice(&waiting[..count]);
                tls.taken += count;
                if tls.taken == tls.plain.len() {
                    tls.plain.clear();
                    tls.taken = 0;
                }
                return Ok(count);
            }
            if tls.ended {
                return Ok(0);
            }
            tls.flush_with(|bytes| send_now(&self.socket, bytes))?;
            match tls.read(&self.socket, buffer)? {
                None => return Ok(0),
                // What came was TLS's own, or no whole record.
                Some(0) => {}
                Some(count) => return Ok(count),
            }
        }
    }
}

impl Write for &WireStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return (&self.socket).write(bytes) };
        let mut tls = tls.borrow_mut();
        tls.flush(&self.socket)?;
        let count = tls.seal(bytes)?;
        match tls.flush(&self.socket) {
            Err(error) if !is_pause(&error) => Err(error),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.tls {
            None => Ok(()),
            Some(tls) => tls.borrow_mut().flush(&self.socket),
        }
    }
}

impl Tls {
    /// How much of what the wire had was put into `buffer`; nothing where the wire has ended.
    fn read(&mut self, mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match socket.read(&mut self.incoming[self.held..][..READ_BYTES])? {
            0 => Ok(None),
            count => self.open(count, buffer).map(Some),
        }
    }

    /// So many bytes more have come. Says how much of what is in them was put into `buffer`.
    fn open(&mut self, count: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let filled = self.held + count;
        let (plain, mut put) = (&mut self.plain, 0);
        let take = |bytes: &[u8]| {
            let count = bytes.len().min(buffer.len() - put);
            buffer[put..put + count].copy_from_slice(&bytes[..count]);
            put += count;
            plain.extend_from_slice(&bytes[count..]);
        };
        let opened =
            self.session.open(&mut self.incoming[..filled], take, &mut self.outgoing).map_err(io::Error::other)?;
        self.ended |= opened.ended;
        self.incoming.copy_within(opened.consumed..filled, 0);
        self.held = filled - opened.consumed;
        if self.held > READ_BYTES { Err(io::Error::other("the broker sent a record without an end")) } else { Ok(put) }
    }

    fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(WRITE_BYTES);
        self.session.seal(&[&bytes[..count]], &mut self.outgoing).map_err(io::Error::other)?;
        Ok(count)
    }

    fn has_unwritten(&self) -> bool {
        self.written < self.outgoing.bytes().len()
    }

    /// Writes all of what waits.
    fn flush(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        match self.flush_with(|bytes| socket.write(bytes))? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes what waits. False when `write` takes no more.
    fn flush_with(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        while self.has_unwritten() {
            match write(&self.outgoing.bytes()[self.written..])? {
                0 => return Ok(false),
                count => self.written += count,
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(true)
    }
}
