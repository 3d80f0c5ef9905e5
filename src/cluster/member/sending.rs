//! A leader's snapshots: one is pinned while somebody needs it, and goes to each of them in chunks.
//!
//! ```text
//!   needed ──► Pin ──► Pinned ──► Offer ──► Wanted(0) ──► Chunk Chunk … ◄── Wanted(at) ──► … Wanted(end)
//!                                                                              caught up ──► nobody needs it ──► Unpin
//! ```
//! What came after it stays for as long as it is pinned, here and on the disk, so it is until whoever got it has caught up:
//! else a log that grows faster than a snapshot travels would leave him behind for ever. It is given up, and begun anew later,
//! when that is too much, or the disk has too little room.
//!
//! Chunks are places in files: whoever sends reads them when their turn comes, so that publishing goes on meanwhile. So many
//! bytes may be on the way; what is lost is asked for again by the receiver's last word, after an offer that is said again.

use super::super::membership::Configuration;
use super::super::message::{CHUNK_BYTES_MAX, Lane, Message, Offer, Part, Point, Wanted, chunk_head};
use super::super::snapshot::CHECKPOINT_FILE;
use super::consensus::Consensus;
use crate::storage::MemberId;

/// Bytes of chunks that may be on the way to one member.
const WINDOW_BYTES: u64 = 2 << 20;
/// Without a word for so long the offer is made again ...
const OFFER_AGAIN_MS: u64 = 1_000;
/// ... and for so long, given up.
const GIVE_UP_MS: u64 = 10_000;
/// One that does not help, as a full disk takes no newer one, is asked for again so often.
const PIN_AGAIN_MS: u64 = 1_000;
/// A snapshot that nobody needs any more is let go.
const IDLE_MS: u64 = 5_000;
/// Who has got all of it installs it, and gets what came after it; if nothing new of that arrives for so long, it is left
/// to itself.
const BEHIND_MS: u64 = 30_000;
/// Bytes of what comes after a snapshot that stay on its account, if it has not more itself. While a large one travels, what it
/// has bounds it well: if more is published meanwhile, whoever gets it is sent less than is published, and never catches up. A small
/// one is there soon, but then entries are to be sent while others are published: minutes of them, at a hundred megabytes a second.
const AFTER_SNAPSHOT_BYTES: u64 = 16 << 30;

/// A checkpoint with the files that it needs, which stay as they are until they are unpinned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinned {
    pub id: u64,
    /// The last entry in it.
    pub last: Point,
    /// As of that entry.
    pub configuration: Configuration,
    /// The checkpoint, whole.
    pub checkpoint: Vec<u8>,
    /// Names and lengths of segments.
    pub files: Vec<(String, u64)>,
}

impl Pinned {
    /// All that is sent, in this order.
    fn announced(&self) -> Vec<(String, u64)> {
        let checkpoint = (CHECKPOINT_FILE.to_owned(), self.checkpoint.len() as u64);
        [checkpoint].into_iter().chain(self.files.iter().cloned()).collect()
    }

    fn total_bytes(&self) -> u64 {
        self.checkpoint.len() as u64 + self.files.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// The chunk that begins with this byte of all, and how many bytes it has.
    fn chunk_at(&self, at: u64) -> (Part, u64) {
        let most = CHUNK_BYTES_MAX as u64;
        let mut before = self.checkpoint.len() as u64;
        if at < before {
            let length = (before - at).min(most);
            return (Part::Bytes(self.checkpoint[at as usize..(at + length) as usize].to_vec()), length);
        }
        for (name, bytes) in &self.files {
            if at < before + bytes {
                let length = (before + bytes - at).min(most);
                return (Part::File { name: name.clone(), offset: at - before, length: length as u32 }, length);
            }
            before += bytes;
        }
        unreachable!("there is no chunk behind the end")
    }
}

/// What the writer is to be asked, and whom to say what.
#[derive(Debug)]
pub enum Ask {
    /// A checkpoint with at least this entry in it.
    Pin {
        index: u64,
    },
    Unpin(u64),
    Say {
        to: MemberId,
        lane: Lane,
        parts: Vec<Part>,
    },
}

#[derive(Default)]
pub struct Sending {
    pin: Pin,
    transfers: Vec<Transfer>,
    behind: Vec<Behind>,
    asks: Vec<Ask>,
    pinned_ms: Option<u64>,
}

#[derive(Default)]
enum Pin {
    #[default]
    None,
    Asked,
    Held {
        pinned: Pinned,
        used_ms: u64,
    },
}

struct Transfer {
    to: MemberId,
    /// Everything before is on the way; none while the offer is not answered.
    sent: Option<u64>,
    offered_ms: Option<u64>,
    heard_ms: u64,
}

/// Who has got the snapshot, and not what came after it.
struct Behind {
    member: MemberId,
    matched: u64,
    /// When it had more than before.
    moved_ms: u64,
}

impl Sending {
    pub fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// What time and the lead make of it.
    pub fn look(&mut self, consensus: &mut Consensus, is_disk_low: bool, now_ms: u64) {
        let is_wanted = consensus.ledger_mut().take_snapshot_wanted();
        if !consensus.leads() {
            self.transfers.clear();
            self.unpin(consensus);
            return;
        }
        self.look_behind(consensus, now_ms);
        if let Some(reason) = self.too_much(consensus, is_disk_low) {
            self.give_up(&reason, consensus, now_ms);
        }
        let is_soon = self.pinned_ms.is_some_and(|pinned_ms| now_ms.saturating_sub(pinned_ms) < PIN_AGAIN_MS);
        if is_wanted && !is_soon && !is_disk_low && self.transfers.is_empty() && !matches!(self.pin, Pin::Asked) {
            // The one that there is does not help whoever wants it; whoever has yet to catch up gets the other one, too.
            self.unpin(consensus);
            self.asks.push(Ask::Pin { index: consensus.applied() });
            self.pin = Pin::Asked;
            self.pinned_ms = Some(now_ms);
        }
        let is_late = |transfer: &&Transfer| now_ms.saturating_sub(transfer.heard_ms) >= GIVE_UP_MS;
        while let Some(late) = self.transfers.iter().find(is_late).map(|transfer| transfer.to) {
            self.end(late, false, consensus, now_ms);
        }
        self.offer(consensus.term(), now_ms);
        let is_idle = matches!(self.pin, Pin::Held { used_ms, .. } if now_ms.saturating_sub(used_ms) >= IDLE_MS);
        if is_idle && self.transfers.is_empty() && self.behind.is_empty() {
            self.unpin(consensus);
        }
    }

    /// Looks who has caught up.
    fn look_behind(&mut self, consensus: &mut Consensus, now_ms: u64) {
        let Pin::Held { pinned, used_ms } = &mut self.pin else { return };
        let before = self.behind.len();
        self.behind.retain_mut(|behind| {
            let Some(reach) = consensus.reach(behind.member) else { return false };
            if reach.matched > behind.matched {
                (behind.matched, behind.moved_ms) = (reach.matched, now_ms);
            }
            let is_there = reach.matched >= pinned.last.index && consensus.ledger().is_near_the_end(reach.matched);
            !is_there && now_ms.saturating_sub(behind.moved_ms) < BEHIND_MS
        });
        if self.behind.len() < before {
            *used_ms = now_ms;
        }
    }

    /// Why the snapshot can't stay any longer, if it can't.
    fn too_much(&self, consensus: &Consensus, is_disk_low: bool) -> Option<String> {
        let Pin::Held { pinned, .. } = &self.pin else { return None };
        if is_disk_low {
            return Some("the disk has too little room".to_owned());
        }
        match consensus.ledger().bytes_behind(pinned.last.index) {
            None => Some("not all that came after it is kept".to_owned()),
            Some(bytes) if bytes > pinned.total_bytes().max(AFTER_SNAPSHOT_BYTES) => {
                Some(format!("{bytes} bytes came after it, and it has {}", pinned.total_bytes()))
            }
            Some(_) => None,
        }
    }

    fn give_up(&mut self, reason: &str, consensus: &mut Consensus, now_ms: u64) {
        if !(self.transfers.is_empty() && self.behind.is_empty()) {
            tracing::warn!(
                target: "cluster",
                "a snapshot is given up before whoever gets it has caught up, as {reason}: another one is begun later"
            );
        }
        while let Some(transfer) = self.transfers.first() {
            self.end(transfer.to, false, consensus, now_ms);
        }
        self.unpin(consensus);
    }

    fn unpin(&mut self, consensus: &mut Consensus) {
        self.behind.clear();
        if let Pin::Held { pinned, .. } = &self.pin {
            self.asks.push(Ask::Unpin(pinned.id));
            self.pin = Pin::None;
            consensus.ledger_mut().withdraw_snapshot();
        }
    }

    /// The writer pinned what it was asked for.
    pub fn pinned(&mut self, pinned: Pinned, consensus: &mut Consensus, now_ms: u64) {
        if consensus.leads() && matches!(self.pin, Pin::Asked) {
            consensus.ledger_mut().offer_snapshot(pinned.last, &pinned.configuration);
            self.pin = Pin::Held { pinned, used_ms: now_ms };
            return;
        }
        self.asks.push(Ask::Unpin(pinned.id));
        if matches!(self.pin, Pin::Asked) {
            self.pin = Pin::None;
        }
    }

    /// A member is to get the snapshot.
    pub fn begin(&mut self, to: MemberId, consensus: &mut Consensus, now_ms: u64) {
        if !matches!(self.pin, Pin::Held { .. }) {
            consensus.snapshot_ended(to, false);
            return;
        }
        self.transfers.retain(|transfer| transfer.to != to);
        self.behind.retain(|behind| behind.member != to);
        self.transfers.push(Transfer { to, sent: None, offered_ms: None, heard_ms: now_ms });
        self.offer(consensus.term(), now_ms);
    }

    /// Makes offers, those that are new and those that nobody answered.
    fn offer(&mut self, term: u64, now_ms: u64) {
        let Pin::Held { pinned, .. } = &self.pin else { return };
        for transfer in &mut self.transfers {
            let last_ms = transfer.offered_ms.map(|offered_ms| offered_ms.max(transfer.heard_ms));
            if last_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) < OFFER_AGAIN_MS) {
                continue;
            }
            transfer.offered_ms = Some(now_ms);
            transfer.sent = None;
            let Pinned { id, last, .. } = *pinned;
            let configuration = pinned.configuration.clone();
            let offer = Message::Offer(Offer { snapshot: id, term, last, configuration, files: pinned.announced() });
            let parts = vec![Part::Bytes(offer.encode())];
            self.asks.push(Ask::Say { to: transfer.to, lane: Lane::Control, parts });
        }
    }

    /// A member has everything before some byte.
    pub fn wanted(&mut self, from: MemberId, wanted: Wanted, consensus: &mut Consensus, now_ms: u64) {
        let Pin::Held { pinned, .. } = &self.pin else { return };
        let total = pinned.total_bytes();
        let Some(transfer) = self.transfers.iter_mut().find(|transfer| transfer.to == from) else { return };
        if wanted.snapshot != pinned.id || wanted.at > total {
            return;
        }
        transfer.heard_ms = now_ms;
        if wanted.at == total {
            self.end(from, true, consensus, now_ms);
            return;
        }
        let sent = transfer.sent.get_or_insert(wanted.at);
        while *sent < total && *sent < wanted.at + WINDOW_BYTES {
            let (chunk, length) = pinned.chunk_at(*sent);
            let parts = vec![Part::Bytes(chunk_head(pinned.id, *sent)), chunk];
            *sent += length;
            self.asks.push(Ask::Say { to: from, lane: Lane::Bulk, parts });
        }
    }

    /// Whether this file belongs to what is pinned, so that it must be there.
    pub fn is_pinned(&self, file: &str) -> bool {
        matches!(&self.pin, Pin::Held { pinned, .. } if pinned.files.iter().any(|(name, _)| name == file))
    }

    /// A member is gone, or what it should get cannot be read.
    pub fn failed(&mut self, member: MemberId, consensus: &mut Consensus, now_ms: u64) {
        self.behind.retain(|behind| behind.member != member);
        if self.transfers.iter().any(|transfer| transfer.to == member) {
            self.end(member, false, consensus, now_ms);
        }
    }

    fn end(&mut self, member: MemberId, arrived: bool, consensus: &mut Consensus, now_ms: u64) {
        self.transfers.retain(|transfer| transfer.to != member);
        consensus.snapshot_ended(member, arrived);
        if arrived {
            self.behind.push(Behind { member, matched: 0, moved_ms: now_ms });
        }
        if let Pin::Held { used_ms, .. } = &mut self.pin {
            *used_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ClusterId;
    use std::num::NonZeroU64;

    #[test]
    fn chunks_are_of_one_file_and_leave_nothing_out() {
        let most = CHUNK_BYTES_MAX as u64;
        let members = [(MemberId(NonZeroU64::MIN), "n1".to_owned())];
        let pinned = Pinned {
            id: 1,
            last: Point::default(),
            configuration: Configuration::founding(ClusterId([1; 16]), members).unwrap(),
            checkpoint: b"who and where".to_vec(),
            files: vec![("a".to_owned(), most + 5), ("empty".to_owned(), 0), ("b".to_owned(), 3)],
        };
        let mut at = 0;
        let mut chunks = Vec::new();
        while at < pinned.total_bytes() {
            let (chunk, length) = pinned.chunk_at(at);
            at += length;
            chunks.push(chunk);
        }
        let file = |name: &str, offset, length| Part::File { name: name.to_owned(), offset, length };
        let expected =
            [Part::Bytes(b"who and where".to_vec()), file("a", 0, most as u32), file("a", most, 5), file("b", 0, 3)];
        assert_eq!(chunks, expected);
        assert_eq!(pinned.announced().iter().map(|(_, bytes)| bytes).sum::<u64>(), at);
    }
}
