//! How much memory the values of one virtual host may take, and do. They can't be moved to disk as messages can, so they are
//! in the account that the memory alarm looks at, and have a limit of their own.

use crate::broker::memory::ClientHolding;
use std::cell::Cell;
use std::rc::Rc;

/// Of one virtual host; copies are of the same one.
#[derive(Clone, Debug)]
pub struct Allowance(Rc<Allowed>);

#[derive(Debug)]
struct Allowed {
    taken_bytes: Cell<usize>,
    most_bytes: usize,
}

impl Default for Allowance {
    /// Without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Allowance {
    pub fn new(most_bytes: usize) -> Self {
        Self(Rc::new(Allowed { taken_bytes: Cell::new(0), most_bytes }))
    }

    #[cfg(test)]
    pub fn taken_bytes(&self) -> usize {
        self.0.taken_bytes.get()
    }
}

/// What one table has of it.
#[derive(Debug)]
pub(super) struct Share {
    allowance: Allowance,
    memory: ClientHolding,
}

impl Share {
    pub fn of(allowance: Allowance) -> Self {
        Self { allowance, memory: ClientHolding::default() }
    }

    /// Whether it may have so much more.
    pub fn allows(&self, more_bytes: usize) -> bool {
        let Allowed { taken_bytes, most_bytes } = &*self.allowance.0;
        taken_bytes.get() + more_bytes <= *most_bytes
    }

    /// Something of it that took so much takes so much now.
    pub fn replace(&mut self, before_bytes: usize, now_bytes: usize) {
        self.set(self.memory.bytes() - before_bytes + now_bytes);
    }

    pub fn set(&mut self, bytes: usize) {
        let taken = &self.allowance.0.taken_bytes;
        taken.set(taken.get() - self.memory.bytes() + bytes);
        self.memory.set(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
