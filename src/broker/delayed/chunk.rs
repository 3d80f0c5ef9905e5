//! Delayed messages that are kept together: in memory as a page in the making, or a page that left it.
//!
//! They came in one after the other and are in that order, with rising sequences; when they are due has nothing to do with
//! it. A large body is not copied: its message is a chunk of its own for as long as it is in memory.

use crate::broker::memory::Holding;
use crate::broker::message::{Content, MessageRef};
use crate::broker::page::{Entry, Page, PageBuilder, PageReader, PageSummary};
use crate::broker::store::{PageId, Pages};
use crate::protocol::frame::write_body_frame;

/// Messages of a chunk, at most.
const CHUNK_MESSAGES_MAX: usize = 1024;
/// What they take before the next chunk begins, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 128 << 10;
/// Fewer bytes than these are not worth a page.
pub(super) const PAGE_WORTH_BYTES: usize = 4 << 10;
/// So many looks of the pager leave a chunk alone that somebody asked for.
const SPARED_LOOKS: u8 = 8;

/// What is not yet read of a chunk.
pub(super) struct Chunk {
    /// When the first and the last of them are due.
    due_ms: (u64, u64),
    /// The lowest and the highest.
    sequences: (u64, u64),
    /// Messages that were not taken.
    count: usize,
    /// Bytes of all, in the form of a page.
    bytes: usize,
    spared_looks: u8,
    held: Held,
    _memory: Holding,
}

enum Held {
    Packed {
        page: PageBuilder,
        reader: PageReader,
        memory: Room,
    },
    Large {
        message: MessageRef,
        sequence: u64,
        due_ms: u64,
    },
    Away(PageId),
    /// It was asked for.
    Coming(PageId),
}

/// The room of a page in the account of memory.
struct Room {
    bytes: usize,
    _holding: Holding,
}

impl Room {
    fn of(page: &PageBuilder) -> Self {
        let bytes = page.capacity();
        Self { bytes, _holding: Holding::new(bytes) }
    }
}

/// A delayed message as it lies in its chunk.
pub(super) enum Message<'a> {
    Packed(Entry<'a>),
    Large { message: &'a MessageRef, sequence: u64, due_ms: u64 },
}

impl Message<'_> {
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Packed(entry) => entry.sequence,
            Self::Large { sequence, .. } => *sequence,
        }
    }

    pub fn due_ms(&self) -> u64 {
        match self {
            Self::Packed(entry) => entry.expires_at_ms,
            Self::Large { due_ms, .. } => *due_ms,
        }
    }

    pub fn is_persistent(&self) -> bool {
        match self {
            Self::Packed(entry) => entry.persistent,
            Self::Large { message, .. } => message.is_persistent(),
        }
    }

    /// As it goes into a page.
    pub fn entry(&self) -> Entry<'_> {
        match self {
            Self::Packed(entry) => *entry,
            Self::Large { message, sequence, due_ms } => Entry::of(message, *sequence, *due_ms),
        }
    }
}

impl Chunk {
    fn new(sequence: u64, due_ms: u64, bytes: usize, held: Held) -> Self {
        Self {
            due_ms: (due_ms, due_ms),
            sequences: (sequence, sequence),
            count: 1,
            bytes,
            spared_looks: 0,
            held,
            _memory: Holding::new(size_of::<Self>()),
        }
    }

    /// With a first message.
    pub fn of(entry: &Entry<'_>) -> Self {
        let mut page = PageBuilder::with_capacity(entry.most_bytes());
        page.push(entry);
        let (bytes, memory) = (page.size_bytes(), Room::of(&page));
        let held = Held::Packed { page, reader: PageReader::default(), memory };
        Self::new(entry.sequence, entry.expires_at_ms, bytes, held)
    }

    /// Of one message whose body is not in its image.
    pub fn of_large(message: MessageRef, sequence: u64, due_ms: u64) -> Self {
        let bytes = Entry::of(&message, sequence, due_ms).most_bytes();
        Self::new(sequence, due_ms, bytes, Held::Large { message, sequence, due_ms })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn due_ms(&self) -> (u64, u64) {
        self.due_ms
    }

    /// Whether a message may be in it.
    pub fn may_hold(&self, sequence: u64, due_ms: u64) -> bool {
        (self.sequences.0..=self.sequences.1).contains(&sequence) && (self.due_ms.0..=self.due_ms.1).contains(&due_ms)
    }

    pub fn is_in_memory(&self) -> bool {
        matches!(self.held, Held::Packed { .. } | Held::Large { .. })
    }

    /// Whether it was asked for.
    pub fn is_coming(&self) -> bool {
        matches!(self.held, Held::Coming(_))
    }

    pub fn is_page(&self, page: PageId) -> bool {
        matches!(self.held, Held::Coming(coming) if coming == page)
    }

    /// Whether it takes one more message.
    pub fn takes(&self, entry: &Entry<'_>) -> bool {
        match &self.held {
            Held::Packed { page, .. } => {
                self.sequences.1 < entry.sequence
                    && page.summary().is_none_or(|summary| summary.count < CHUNK_MESSAGES_MAX)
                    && page.size_bytes() + entry.most_bytes() <= CHUNK_BYTES_MAX
            }
            _ => false,
        }
    }

    /// Appends a message that it [takes](Self::takes).
    pub fn push(&mut self, entry: &Entry<'_>) {
        let Held::Packed { page, memory, .. } = &mut self.held else {
            unreachable!("only a page in memory takes more")
        };
        page.push(entry);
        if page.capacity() != memory.bytes {
            *memory = Room::of(page);
        }
        self.bytes = page.size_bytes();
        self.count += 1;
        self.sequences.1 = entry.sequence;
        self.due_ms = (self.due_ms.0.min(entry.expires_at_ms), self.due_ms.1.max(entry.expires_at_ms));
    }

    /// No more will come: gives back room that it does not use.
    pub fn close(&mut self) {
        if let Held::Packed { page, memory, .. } = &mut self.held
            && page.size_bytes() < page.capacity() / 4 * 3
        {
            page.shrink_to_fit();
            *memory = Room::of(page);
        }
    }

    /// The message at the front, which is taken unless the chunk is used no more: then it is still to be dropped. `None`
    /// when there is none, or it is not in memory.
    pub fn take(&mut self) -> Option<Message<'_>> {
        match &mut self.held {
            Held::Packed { page, reader, .. } => {
                let entry = reader.next(page.bytes())?;
                self.count -= 1;
                Some(Message::Packed(entry))
            }
            Held::Large { message, sequence, due_ms } if self.count > 0 => {
                self.count = 0;
                Some(Message::Large { message, sequence: *sequence, due_ms: *due_ms })
            }
            _ => None,
        }
    }

    /// Shows the messages that were not taken, in order, until `look` has seen enough. Nothing of what is not in memory.
    pub fn look(&self, mut look: impl FnMut(Message<'_>) -> bool) {
        match &self.held {
            Held::Packed { page, reader, .. } => {
                let mut reader = reader.clone();
                while let Some(entry) = reader.next(page.bytes()) {
                    if !look(Message::Packed(entry)) {
                        break;
                    }
                }
            }
            Held::Large { message, sequence, due_ms } if self.count > 0 => {
                look(Message::Large { message, sequence: *sequence, due_ms: *due_ms });
            }
            _ => {}
        }
    }

    /// Takes one of its messages out, which is in memory: what is left of the chunk, and whether the message was a
    /// persistent one. `None` for that when it is not in here.
    pub fn without(self, sequence: u64, due_ms: u64) -> (Option<Self>, Option<bool>) {
        let mut taken = None;
        self.look(|found| {
            taken = (found.sequence() == sequence && found.due_ms() == due_ms).then(|| found.is_persistent());
            taken.is_none()
        });
        if taken.is_none() {
            return (Some(self), None);
        }
        let mut rest: Option<Self> = None;
        self.look(|found| {
            let entry = found.entry();
            match &mut rest {
                _ if entry.sequence == sequence => {}
                Some(rest) => rest.push(&entry),
                None => rest = Some(Self::of(&entry)),
            }
            true
        });
        (rest, taken)
    }

    /// Whether a message is in it that was not taken, of a chunk in memory.
    pub fn holds(&self, sequence: u64, due_ms: u64) -> bool {
        let mut holds = false;
        self.look(|message| {
            holds = message.sequence() == sequence && message.due_ms() == due_ms;
            !holds
        });
        holds
    }

    /// Moves it out of memory. The chunk must be in it.
    pub fn page_out(&mut self, pages: &mut impl Pages) {
        let mut left = PageBuilder::with_capacity(self.bytes);
        self.look(|found| {
            left.push(&found.entry());
            true
        });
        let Some(page) = left.finish() else { return };
        self.bytes = page.bytes.len();
        self.held = Held::Away(pages.put_page(page.bytes));
    }

    /// Whether the pager is to leave it alone for now.
    pub fn is_spared(&mut self) -> bool {
        let spared = self.spared_looks > 0;
        self.spared_looks = self.spared_looks.saturating_sub(1);
        spared
    }

    /// Asks for it, if it is not in memory or on its way. Which page it is then.
    pub fn ask_for(&mut self, pages: &mut impl Pages) -> Option<PageId> {
        let Held::Away(page) = self.held else { return None };
        pages.read_page(page);
        self.held = Held::Coming(page);
        Some(page)
    }

    /// Leaves it in memory for a while, once it is there.
    pub fn spare(&mut self) {
        self.spared_looks = SPARED_LOOKS;
    }

    /// What was asked for is here.
    pub fn arrived(&mut self, bytes: Vec<u8>) {
        let summary = PageSummary {
            count: self.count,
            first_sequence: self.sequences.0,
            last_sequence: self.sequences.1,
            first_expires_at_ms: self.due_ms.0,
            has_shared_bodies: false,
            body_bytes: 0,
        };
        let page = PageBuilder::of_page(Page { summary, bytes });
        let memory = Room::of(&page);
        self.held = Held::Packed { page, reader: PageReader::default(), memory };
    }

    /// It goes, with what is in it. What is on its way comes to nobody.
    pub fn discard(self, pages: &mut impl Pages) {
        if let Held::Away(page) = self.held {
            pages.discard_page(page);
        }
    }
}

/// A content of an entry, whose frames are made in `frames`.
pub(super) fn content_of<'a>(entry: &Entry<'a>, frames: &'a mut Vec<u8>) -> Content<'a> {
    frames.clear();
    frames.extend_from_slice(entry.header_frame);
    if !entry.body.is_empty() {
        write_body_frame(frames, 0, entry.body);
    }
    Content { address: entry.address, frames, header_frame_length: entry.header_frame.len(), shared_body: None }
}
