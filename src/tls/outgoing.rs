//! Bytes for the wire, which records are encrypted in.

/// Bytes for the wire.
#[derive(Default, Debug)]
pub struct Outgoing {
    /// Grows to the most that was ever written, and never shrinks: its unused part needs no clearing.
    buffer: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Room for so many bytes more, behind those that are there.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let needed = self.filled + bytes;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        &mut self.buffer[self.filled..needed]
    }

    /// So much of the room was filled.
    pub(super) fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
        debug_assert!(self.filled <= self.buffer.len(), "there is room for it");
    }
}
