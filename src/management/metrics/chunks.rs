//! The body of a long page: pieces of text, each made when the one before is on its way.

use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

pub struct Chunks<I> {
    pieces: I,
    /// Given back with the last piece, or when the client is gone.
    _permit: OwnedSemaphorePermit,
}

impl<I> Chunks<I> {
    pub fn new(pieces: I, permit: OwnedSemaphorePermit) -> Self {
        Self { pieces, _permit: permit }
    }
}

impl<I: Iterator<Item = String> + Unpin> Body for Chunks<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}
