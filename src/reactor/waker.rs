//! Waking the poll from another thread.
//!
//! It owns nothing but the wake-up: what the other thread has to say travels by whatever channel the two agreed on, and
//! is put there before waking. Several wakes before the poll gets to run are one.

use super::Poller;
use mio::Token;
use std::io;
use std::sync::Arc;

/// A handle that any thread may keep. A poll has one waker; clone it instead of making another.
#[derive(Clone, Debug)]
pub struct Waker {
    inner: Arc<mio::Waker>,
}

impl Waker {
    /// The waker of `poller`, reported as readable `token`.
    pub fn new(poller: &Poller, token: usize) -> io::Result<Self> {
        Ok(Self { inner: Arc::new(mio::Waker::new(poller.registry(), Token(token))?) })
    }

    /// Makes the current or the next poll return.
    pub fn wake(&self) -> io::Result<()> {
        self.inner.wake()
    }
}
