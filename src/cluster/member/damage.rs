//! What becomes of what this node's disk does not give back to whoever is to send it.
//!
//! ```text
//!   could not read ──► the system was short of something ──────► nothing: it is said again
//!                  ├─► is gone from the log, too ──────────────► nothing: it is said again, or a snapshot takes its place
//!                  └─► is still in the log, a second later ────► this node's log is damaged
//!                                                                │ entries up to there are given to nobody any more:
//!                                                                │ who needs them gets a snapshot
//!                                                                │ it leads no more, as soon as another one has everything and serves
//!                                                                └ until it starts again it stands for election only
//!                                                                  where nobody else does
//! ```
//! A segment may be freed while a message that names it waits to be sent, and the log hears of that a moment later; so one
//! look is not enough. Nor is it where a disk refuses to read, as that may pass; but a file of a snapshot stays as it is while
//! it is sent, and when it is shorter than it was, or gone, that is damage at once. What is not committed can't be left to a
//! snapshot: then it leads no more at once, and whoever has the entry is elected, or whoever does not, if most do not.

use super::super::message::{Part, Unread};
use super::peers::NodeNumber;
use super::{Founded, Member, State};
use crate::storage::MemberId;

/// What can't be read for so long, try after try, and should be there, is damaged.
const UNREAD_MS: u64 = 1_000;

impl Member {
    /// A part of a message to this peer could not be read; the message was not sent.
    pub fn could_not_read(&mut self, node: NodeNumber, part: &Part, why: Unread) {
        let member = self.peers.hello(node).map(|hello| hello.member);
        if why != Unread::NotNow {
            self.look_for_damage(node, part, why);
        }
        self.lost_messages(member);
        self.settle();
    }

    /// What could not be read for this peer before was read.
    pub fn could_read(&mut self, node: NodeNumber, part: &Part) {
        if let Some(peer) = self.peers.peer_mut(node) {
            peer.was_read(part);
        }
    }

    fn look_for_damage(&mut self, node: NodeNumber, part: &Part, why: Unread) {
        match part {
            Part::Stored(place) => {
                let index = self.consensus().and_then(|consensus| consensus.ledger().index_at(*place));
                if let Some(index) = index
                    && self.not_read_for_ms(node, part) >= UNREAD_MS
                {
                    tracing::error!(
                        target: "cluster",
                        "entry {index} can't be read back from segment {} at {}: this node's log is damaged, and it leads no \
                         more when another one has everything",
                        place.segment,
                        place.offset
                    );
                    self.lost_entry(index);
                }
            }
            Part::File { name, .. } => {
                let is_pinned = self.founded_mut().is_some_and(|founded| founded.sending.is_pinned(name));
                if is_pinned && (why == Unread::NotThere || self.not_read_for_ms(node, part) >= UNREAD_MS) {
                    tracing::error!(
                        target: "cluster",
                        "{name} can't be read back to be given away: this node's log is damaged, and it leads no more when \
                         another one has everything"
                    );
                    self.note_damage();
                }
            }
            Part::Bytes(_) | Part::Body(_) => {}
        }
    }

    /// For how long a part that should be there has been tried in vain.
    fn not_read_for_ms(&mut self, node: NodeNumber, part: &Part) -> u64 {
        let now_ms = self.now_ms;
        self.peers.peer_mut(node).map_or(0, |peer| peer.not_read(part, now_ms))
    }

    /// What was said to a member did not come to it.
    pub(super) fn lost_messages(&mut self, member: Option<MemberId>) {
        let now_ms = self.now_ms;
        if let (Some(founded), Some(member)) = (self.founded_mut(), member) {
            founded.sending.failed(member, &mut founded.consensus, now_ms);
            founded.consensus.unreachable(member);
        }
    }

    fn lost_entry(&mut self, index: u64) {
        self.note_damage();
        let Some(Founded { consensus, .. }) = self.founded_mut() else { return };
        if index <= consensus.applied() {
            consensus.forget_below(index + 1);
        } else {
            consensus.step_down();
        }
    }

    fn note_damage(&mut self) {
        if let Some(founded) = self.founded_mut() {
            founded.is_damaged = true;
            founded.consensus.set_may_campaign(false);
        }
    }

    /// Somebody else leads from now on, if this node's log is damaged and another one has nearly all that there is, and serves:
    /// to its clients a log that can't be read back does no harm, and one that is in maintenance would give the lead back.
    pub(super) fn hand_over_if_damaged(&mut self) {
        let State::Founded(founded) = &self.state else { return };
        if founded.is_damaged {
            self.hand_over_to_best(|heir| heir.has_nearly_all && heir.serves);
        }
    }
}
