//! The account of the memory that clients can make grow: of the loop's thread, which owns it all.
//!
//! Two sums are kept. What messages take can be moved to disk; what clients take besides, bytes that wait to be sent to
//! them and bytes of theirs that are not yet a message, cannot. The memory alarm looks at both. Buffers are counted by
//! the room they have, when that changes, so that a message that fits costs nothing here.

use bytes::Bytes;
use std::cell::Cell;

thread_local! {
    static MESSAGES: Cell<usize> = const { Cell::new(0) };
    static CLIENTS: Cell<usize> = const { Cell::new(0) };
}

/// Memory that messages take, in bytes.
#[inline]
pub fn message_memory_bytes() -> usize {
    MESSAGES.with(Cell::get)
}

/// Memory that messages and clients take, in bytes.
#[inline]
pub fn held_memory_bytes() -> usize {
    MESSAGES.with(Cell::get) + CLIENTS.with(Cell::get)
}

#[inline]
pub(super) fn add_message(bytes: usize) {
    MESSAGES.with(|memory| memory.set(memory.get() + bytes));
}

#[inline]
pub(super) fn remove_message(bytes: usize) {
    MESSAGES.with(|memory| memory.set(memory.get() - bytes));
}

/// So many bytes in the account, for messages in another form than as messages.
#[derive(Debug)]
pub struct Holding(usize);

impl Holding {
    pub fn new(bytes: usize) -> Self {
        add_message(bytes);
        Self(bytes)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        remove_message(self.0);
    }
}

/// So many bytes in the account, for what is a client's and no message.
#[derive(Default, Debug)]
pub struct ClientHolding(usize);

impl ClientHolding {
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0
    }

    #[inline]
    pub fn set(&mut self, bytes: usize) {
        CLIENTS.with(|memory| memory.set(memory.get() - self.0 + bytes));
        self.0 = bytes;
    }
}

impl Drop for ClientHolding {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A body that messages and outboxes share, in the account until the last of them is gone. It must not be dropped by
/// another thread than made it.
pub fn shared_body(bytes: Vec<u8>) -> Bytes {
    struct Body {
        bytes: Vec<u8>,
        _memory: Holding,
    }
    impl AsRef<[u8]> for Body {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Body { _memory: Holding::new(bytes.capacity()), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_body_counts_once_and_as_long_as_any_part_of_it_is_held() {
        let before = message_memory_bytes();
        let body = shared_body(vec![7; 100_000]);
        let part = body.slice(10..20);
        assert_eq!(message_memory_bytes(), before + 100_000);
        drop(body);
        assert_eq!(message_memory_bytes(), before + 100_000);
        drop(part);
        assert_eq!(message_memory_bytes(), before);
    }

    #[test]
    fn what_clients_hold_counts_beside_messages() {
        let (messages, before) = (message_memory_bytes(), held_memory_bytes());
        let mut holding = ClientHolding::default();
        holding.set(300);
        holding.set(100);
        assert_eq!((message_memory_bytes(), held_memory_bytes()), (messages, before + 100));
        drop(holding);
        assert_eq!(held_memory_bytes(), before);
    }
}
