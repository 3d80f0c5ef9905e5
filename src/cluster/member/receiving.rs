//! A follower's snapshot to be: chunks go into files of their own, and when all are there and synced it is offered to
//! consensus.
//!
//! ```text
//!   Offer ──► Begin ──► Wanted(0) ──► Chunk ──► Write ──► Wanted(at) … ──► Finish ──► whole ──► Wanted(end)
//! ```
//! Writing is done by others, in the order that it was asked for, and takes its time; as much waits for it as the leader's
//! window is wide, since what is said to be wanted is behind what is written. The same offer again goes on where it was; another one begins anew. After one that could not be
//! written, or was not whole, none is listened to for a while. As long as it has yet to be seen whether all is whole, the last
//! byte is what is wanted: who hears of the end takes it for done.

use super::super::message::{Chunk, Offer, Wanted};
use super::super::snapshot::IncomingStep;
use crate::storage::MemberId;
use std::collections::VecDeque;

/// How long offers are passed over after one that came to nothing.
const PAUSE_MS: u64 = 3_000;

#[derive(Default)]
pub struct Receiving {
    current: Option<Current>,
    /// What was asked for and is not done, of which beginning.
    doing: VecDeque<(u64, Doing)>,
    /// How often something began.
    begun: u64,
    /// Offers are passed over until then.
    pauses_until_ms: u64,
}

struct Current {
    offer: Offer,
    leader: MemberId,
    /// Everything before was asked to be written ...
    arrived: u64,
    /// ... and is.
    written: u64,
}

enum Doing {
    Begin,
    Write(u64),
    Finish,
    Discard,
}

/// What came of a step.
pub enum Received {
    Say(MemberId, Wanted),
    /// All of it is there, and synced.
    Whole(MemberId, Offer),
}

impl Receiving {
    /// A leader offers a snapshot that is wanted. Says what is to be done, or what to answer at once; nothing, when it is
    /// passed over.
    pub fn offered(&mut self, leader: MemberId, offer: Offer, now_ms: u64) -> Option<Result<IncomingStep, Wanted>> {
        if now_ms < self.pauses_until_ms {
            return None;
        }
        if let Some(current) =
            self.current.as_ref().filter(|current| current.leader == leader && current.offer == offer)
        {
            let end = offer.total_bytes();
            return Some(Err(Wanted { snapshot: offer.snapshot, at: current.written.min(end.saturating_sub(1)) }));
        }
        self.begun += 1;
        self.doing.push_back((self.begun, Doing::Begin));
        self.current = Some(Current { offer, leader, arrived: 0, written: 0 });
        Some(Ok(IncomingStep::Begin))
    }

    /// Takes a chunk, if it is the next one.
    pub fn chunk(&mut self, from: MemberId, chunk: Chunk) -> Option<IncomingStep> {
        let current = self.current.as_mut().filter(|current| current.leader == from)?;
        if chunk.snapshot != current.offer.snapshot || chunk.at != current.arrived {
            return None;
        }
        let (name, offset, left) = file_at(&current.offer.files, chunk.at)?;
        let length = chunk.bytes.len() as u64;
        if length == 0 || length > left {
            return None;
        }
        current.arrived += length;
        self.doing.push_back((self.begun, Doing::Write(length)));
        Some(IncomingStep::Write { name, offset, bytes: chunk.bytes })
    }

    /// The oldest step that was asked for is done, or failed. Says what came of it, and what is to be done next.
    pub fn performed(&mut self, succeeded: bool, now_ms: u64) -> (Option<Received>, Option<IncomingStep>) {
        let Some((begun, doing)) = self.doing.pop_front() else { return (None, None) };
        if begun != self.begun || matches!(doing, Doing::Discard) {
            return (None, None);
        }
        if !succeeded {
            self.pauses_until_ms = now_ms + PAUSE_MS;
            return (None, self.give_up());
        }
        let Some(current) = &mut self.current else { return (None, None) };
        match doing {
            Doing::Write(bytes) => current.written += bytes,
            Doing::Finish => {
                let Current { offer, leader, .. } = self.current.take().expect("it is there");
                return (Some(Received::Whole(leader, offer)), None);
            }
            Doing::Begin | Doing::Discard => {}
        }
        if current.written == current.offer.total_bytes() {
            self.doing.push_back((self.begun, Doing::Finish));
            let names = current.offer.files.iter().map(|(name, _)| name.clone()).collect();
            return (None, Some(IncomingStep::Finish { names }));
        }
        let wanted = Wanted { snapshot: current.offer.snapshot, at: current.written };
        (Some(Received::Say(current.leader, wanted)), None)
    }

    /// Nothing of what has arrived is wanted.
    pub fn give_up(&mut self) -> Option<IncomingStep> {
        self.current = None;
        self.begun += 1;
        self.doing.push_back((self.begun, Doing::Discard));
        Some(IncomingStep::Discard)
    }
}

/// The file that a byte of all is in, its place there, and how many follow in it, itself included.
fn file_at(files: &[(String, u64)], at: u64) -> Option<(String, u64, u64)> {
    let mut before = 0;
    for (name, bytes) in files {
        if at < before + bytes {
            return Some((name.clone(), at - before, before + bytes - at));
        }
        before += bytes;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::super::membership::Configuration;
    use super::super::super::message::Point;
    use super::*;
    use crate::storage::ClusterId;
    use std::num::NonZeroU64;

    const LEADER: MemberId = MemberId(NonZeroU64::MIN);

    fn offer_of_5_bytes() -> Offer {
        let last = Point { index: 7, term: 3 };
        let configuration = Configuration::founding(ClusterId([1; 16]), [(LEADER, "n1".to_owned())]).unwrap();
        Offer { snapshot: 1, term: 3, last, configuration, files: vec![("checkpoint".to_owned(), 5)] }
    }

    /// Reading it through may take longer than whoever sends it waits for a word.
    #[test]
    fn the_end_is_not_told_of_before_all_is_known_to_be_whole() {
        let (mut receiving, offer) = (Receiving::default(), offer_of_5_bytes());
        let wanted_at = |receiving: &mut Receiving, at| {
            let answer = receiving.offered(LEADER, offer.clone(), 100);
            assert_eq!(answer, Some(Err(Wanted { snapshot: 1, at })));
        };
        receiving.offered(LEADER, offer.clone(), 100);
        receiving.performed(true, 100);
        receiving.chunk(LEADER, Chunk { snapshot: 1, at: 0, bytes: vec![7; 4] });
        // Nothing of it is written yet, and whoever sends more would fill the memory.
        wanted_at(&mut receiving, 0);
        receiving.chunk(LEADER, Chunk { snapshot: 1, at: 4, bytes: vec![7; 1] });
        for _ in 0..2 {
            wanted_at(&mut receiving, 0);
            let again = receiving.chunk(LEADER, Chunk { snapshot: 1, at: 4, bytes: vec![7; 1] });
            assert_eq!(again, None, "it has that");
        }
        assert!(matches!(receiving.performed(true, 110), (Some(Received::Say(..)), None)));
        assert!(matches!(receiving.performed(true, 120), (None, Some(IncomingStep::Finish { .. }))));
        wanted_at(&mut receiving, 4);
        assert!(matches!(receiving.performed(true, 90_000), (Some(Received::Whole(..)), None)));
    }

    #[test]
    fn what_came_to_nothing_is_asked_for_again_after_a_while() {
        let (mut receiving, leader, offer) = (Receiving::default(), LEADER, offer_of_5_bytes());
        assert_eq!(receiving.offered(leader, offer.clone(), 100), Some(Ok(IncomingStep::Begin)));
        assert!(matches!(receiving.performed(true, 110), (Some(Received::Say(..)), None)));
        let chunk = Chunk { snapshot: 1, at: 0, bytes: vec![7; 5] };
        assert!(matches!(receiving.chunk(leader, chunk), Some(IncomingStep::Write { .. })));
        assert!(matches!(receiving.performed(true, 120), (None, Some(IncomingStep::Finish { .. }))));
        assert!(matches!(receiving.performed(false, 200), (None, Some(IncomingStep::Discard))), "it is not whole");
        for (now_ms, is_taken) in [(200, false), (200 + PAUSE_MS - 1, false), (200 + PAUSE_MS, true)] {
            assert_eq!(receiving.offered(leader, offer.clone(), now_ms).is_some(), is_taken, "{now_ms}");
        }
        assert!(matches!(receiving.performed(true, 201), (None, None)), "the other one is taken away");
    }
}
