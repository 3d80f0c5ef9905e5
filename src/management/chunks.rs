//! The body of a long page: pieces of text, each made when the one before is on its way.

use hyper::body::{Body, Bytes, Frame};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub struct Chunks<I> {
    pieces: I,
    /// When it breaks off: whoever takes it so slowly keeps others from theirs.
    until: Instant,
    /// Given back with the last piece, or when the client is gone.
    _permit: OwnedSemaphorePermit,
}

impl<I> Chunks<I> {
    pub fn new(pieces: I, until: Instant, permit: OwnedSemaphorePermit) -> Self {
        Self { pieces, until, _permit: permit }
    }
}

impl<I: Iterator<Item = String> + Unpin> Body for Chunks<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(piece) = self.pieces.next() else { return Poll::Ready(None) };
        Poll::Ready(Some(match Instant::now() < self.until {
            true => Ok(Frame::data(Bytes::from(piece))),
            false => Err(io::ErrorKind::TimedOut.into()),
        }))
    }
}
