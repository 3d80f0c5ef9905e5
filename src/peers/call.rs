//! Connecting to another node and proving to know the secret, on a thread that may wait.

use super::Chance;
use super::handshake::{ANSWER_BYTES, CallerSteps, NONCE_BYTES};
use super::preface::{Answer, Preface, Purpose};
use super::secret::ClusterSecret;
use crate::reactor::Clock;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one may take, all in all, in milliseconds.
pub const CALL_MS: u64 = 3_000;
/// How long connecting to one of a name's addresses may take, in milliseconds.
const CONNECT_MS: u64 = 1_000;

/// Who calls.
#[derive(Clone)]
pub struct Caller {
    pub secret: ClusterSecret,
    pub cluster: String,
    pub node: String,
    pub chance: Chance,
}

/// Why nothing came of it.
#[derive(Debug)]
pub enum CallError {
    Io(io::Error),
    /// Whoever is there doesn't know the secret.
    Stranger,
    /// It hung up when it had this node's proof, as one does that knows another secret.
    TurnedAway,
    Refused(Answer),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Stranger => f.write_str("who answers there doesn't know this cluster's secret"),
            Self::TurnedAway => f.write_str("it hung up on this node's proof: do both have the same secret?"),
            Self::Refused(Answer::OtherCluster) => f.write_str("it is of a cluster of another name"),
            Self::Refused(Answer::UnknownNode) => f.write_str("it knows no node of one of these names, or is another"),
            Self::Refused(Answer::NotLeading | Answer::Welcome) => f.write_str("it doesn't lead"),
        }
    }
}

impl Caller {
    pub fn preface(&self, to: &str, purpose: Purpose) -> Preface {
        Preface { cluster: self.cluster.clone(), from: self.node.clone(), to: to.to_owned(), purpose }
    }

    /// Connects to node `to` at `address`, a host and port. What is sent and received on the stream from then on is what
    /// the connection is for.
    ///
    /// # Errors
    /// Nobody is there, or somebody who doesn't want it.
    pub fn call(&self, to: &str, address: &str, purpose: Purpose) -> Result<TcpStream, CallError> {
        let clock = Clock::start();
        let stream = connect(address, clock)?;
        stream.set_nodelay(true)?;
        let mut patient = Patient { stream: &stream, clock };
        let steps = CallerSteps::new((self.chance)()?, &self.preface(to, purpose));
        patient.write(&steps.call())?;
        let mut nonce = [0; NONCE_BYTES];
        patient.read(&mut nonce)?;
        patient.write(&steps.prove(&self.secret, &nonce))?;
        let mut answer = [0; ANSWER_BYTES];
        patient.read(&mut answer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => CallError::TurnedAway,
            _ => CallError::Io(error),
        })?;
        match steps.answered(&self.secret, &nonce, &answer) {
            None => return Err(CallError::Stranger),
            Some(Answer::Welcome) => {}
            Some(other) => return Err(CallError::Refused(other)),
        }
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        Ok(stream)
    }
}

fn connect(address: &str, clock: Clock) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    for address in address.to_socket_addrs()? {
        let Some(left) = left(clock) else { break };
        #[allow(clippy::disallowed_methods, reason = "this thread may wait")]
        match TcpStream::connect_timeout(&address, left.min(Duration::from_millis(CONNECT_MS))) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// What is left of the time that a call may take.
fn left(clock: Clock) -> Option<Duration> {
    CALL_MS.checked_sub(clock.now_ms()).filter(|left_ms| *left_ms > 0).map(Duration::from_millis)
}

/// A stream that doesn't wait for longer than a call may take.
struct Patient<'a> {
    stream: &'a TcpStream,
    clock: Clock,
}

impl Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(left(self.clock).ok_or(io::ErrorKind::TimedOut)?))?;
        self.stream.write_all(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            // However slowly it comes.
            self.stream.set_read_timeout(Some(left(self.clock).ok_or(io::ErrorKind::TimedOut)?))?;
            match self.stream.read(&mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }
}
