//! The desk at which letters are written, and the last one that was: of a thousand that die together most are alike but for
//! their bodies, and the next one is what the last one was with another body.

use super::list::{DeadLetter, Reason, Source};
use crate::broker::Epoch;
use crate::broker::exchange::QueueId;
use crate::broker::message::{Content, DeathWriter, PROPERTIES_OFFSET};
use crate::protocol::ShortString;
use crate::protocol::frame::FRAME_HEADER_LENGTH;
use std::rc::Rc;

/// Longer properties are not kept for the next letter, in bytes.
const KEPT_PROPERTIES_MAX_BYTES: usize = 512;

/// Where letters are written.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) writer: DeathWriter,
    pub(super) address: Vec<u8>,
    pub(super) frames: Vec<u8>,
    pub(super) extra_keys: Vec<ShortString>,
    pub(super) queues: Vec<QueueId>,
    /// It was for somebody who waits for replies.
    pub(super) is_reply: bool,
    /// What the letter was written of that lies here, if another one may be like it.
    last: Option<Last>,
    /// Address and properties of that message.
    old_address: Vec<u8>,
    old_properties: Vec<u8>,
}

impl Desk {
    /// Writes a letter that is the last one with another body, and says how long its content header frame is. `None` when it
    /// is another letter.
    #[inline]
    pub(super) fn write_like_last(
        &mut self,
        letter: &DeadLetter,
        old: &Content<'_>,
        (time_s, epoch): (u64, Epoch),
    ) -> Option<usize> {
        let last = self.last.as_ref()?;
        let is_alike = last.time_s == time_s
            && last.epoch == epoch
            && last.reason == letter.reason
            && last.source.is(&letter.source)
            && *self.old_address == *old.address
            && *self.old_properties == *old.properties();
        if !is_alike {
            return None;
        }
        let (header, body) = old.frames.split_at(old.header_frame_length);
        self.frames.truncate(last.header_frame_length);
        // What comes between the frame's header and the properties says how long the body is.
        self.frames[FRAME_HEADER_LENGTH..PROPERTIES_OFFSET]
            .copy_from_slice(&header[FRAME_HEADER_LENGTH..PROPERTIES_OFFSET]);
        self.frames.extend_from_slice(body);
        Some(last.header_frame_length)
    }

    /// The next letter is none like the last.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// What lies here is what every such letter becomes in this epoch.
    pub(super) fn keep_last(
        &mut self,
        letter: &DeadLetter,
        old: &Content<'_>,
        (time_s, epoch): (u64, Epoch),
        header_frame_length: usize,
    ) {
        if old.properties().len() > KEPT_PROPERTIES_MAX_BYTES {
            return;
        }
        self.old_address.clear();
        self.old_address.extend_from_slice(old.address);
        self.old_properties.clear();
        self.old_properties.extend_from_slice(old.properties());
        let (source, reason) = (Rc::clone(&letter.source), letter.reason);
        self.last = Some(Last { source, reason, time_s, epoch, header_frame_length });
    }
}

/// All that a letter's address, queues and content header are made of, but for the message's own bytes.
struct Last {
    source: Rc<Source>,
    reason: Reason,
    time_s: u64,
    epoch: Epoch,
    header_frame_length: usize,
}
