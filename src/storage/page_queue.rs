//! The loop's half of paging: pages on their way to the pager, and back.
//!
//! It numbers pages and counts what is not written yet. It does no I/O: requests are taken from it and handed over, as
//! batches of the log are.

use crate::broker::store::PageId;
use std::collections::VecDeque;

/// What the loop asks of the pager.
#[derive(Debug)]
pub enum PageRequest {
    Write {
        page: PageId,
        bytes: Vec<u8>,
    },
    /// Read it and forget it.
    Read(PageId),
    Discard(PageId),
    /// Try a write that failed again.
    Retry,
}

/// Pages between the broker and the pager.
#[derive(Default)]
pub struct PageQueue {
    next_page: u64,
    requests: VecDeque<PageRequest>,
    arrived: VecDeque<(PageId, Vec<u8>)>,
    unwritten_bytes: usize,
}

impl PageQueue {
    pub(super) fn put(&mut self, bytes: Vec<u8>) -> PageId {
        let page = PageId(self.next_page);
        self.next_page += 1;
        self.unwritten_bytes += bytes.len();
        self.requests.push_back(PageRequest::Write { page, bytes });
        page
    }

    pub(super) fn read(&mut self, page: PageId) {
        self.requests.push_back(PageRequest::Read(page));
    }

    pub(super) fn discard(&mut self, page: PageId) {
        self.requests.push_back(PageRequest::Discard(page));
    }

    pub(super) fn take_arrived(&mut self) -> Option<(PageId, Vec<u8>)> {
        self.arrived.pop_front()
    }

    /// Bytes that the pager was given, or is to be given, and has not written yet.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// The next request for the pager.
    pub fn take_request(&mut self) -> Option<PageRequest> {
        self.requests.pop_front()
    }

    /// A page was read.
    pub fn arrive(&mut self, page: PageId, bytes: Vec<u8>) {
        self.arrived.push_back((page, bytes));
    }

    /// `bytes` of pages left the pager's memory.
    pub fn written(&mut self, bytes: usize) {
        self.unwritten_bytes -= bytes;
    }
}
