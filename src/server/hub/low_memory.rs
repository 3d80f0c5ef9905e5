//! Who is read while memory is low: nobody who would only hold more of it.
//!
//! Publishers wait for the alarm to end, as connections know by themselves. Others wait who don't read what they are sent,
//! until they do, and who are in the middle of something large. What is unfinished may be all that there is, and then the
//! alarm would never end: so one at a time may finish it, while messages are few enough to stay in memory.

use super::Hub;
use crate::broker::ConnectionId;
use crate::broker::store::Store;
use crate::connection::{Alarm, Phase};

/// What may be there of a client's unfinished frames and bodies, in bytes, if it is to be read while memory is low.
const UNFINISHED_MAX_BYTES: usize = 4 * 1024;

impl<S: Store> Hub<S> {
    pub(super) fn is_memory_low(&self) -> bool {
        self.ground.alarm.is_some_and(Alarm::is_of_memory)
    }

    /// Whether a client holds memory besides messages, and more of it when it is read.
    pub(super) fn would_hold_more(&mut self, id: ConnectionId) -> bool {
        let member = &mut self.members[id.0 as usize];
        if member.connection.phase() != Phase::Running {
            return false;
        }
        if self.ground.outboxes.holds_input_back_if_full(id) {
            return true;
        }
        if member.connection.unfinished_bytes() <= UNFINISHED_MAX_BYTES || self.finishing == Some(id) {
            return false;
        }
        if !std::mem::replace(&mut member.waits_to_finish, true) {
            self.unfinished.push_back(id);
        }
        true
    }

    /// Picks who may finish what it is sending, if somebody may.
    pub(super) fn let_next_finish(&mut self) {
        while self.finishing.is_none() && self.ground.broker.has_room_for_messages() {
            let Some(id) = self.unfinished.pop_front() else { break };
            // It may be gone since, and even have come again.
            if let Some(member) = self.members.get_mut(id.0 as usize)
                && std::mem::take(&mut member.waits_to_finish)
            {
                member.connection.let_go_on(self.ground.now_ms);
                self.finishing = Some(id);
                self.unblocked.push(id);
            }
        }
    }

    /// Memory is not low any more: lets everybody be read whom that kept from it.
    pub(super) fn let_all_finish(&mut self) {
        self.finishing = None;
        self.unfinished.clear();
        for (_, member) in &mut self.members {
            member.waits_to_finish = false;
            if member.connection.is_held_back() {
                member.connection.let_go_on(self.ground.now_ms);
                self.unblocked.push(member.connection.id());
            }
        }
    }

    /// Who may finish has sent more.
    pub(super) fn note_progress(&mut self, id: ConnectionId) {
        if self.members[id.0 as usize].connection.unfinished_bytes() <= UNFINISHED_MAX_BYTES {
            self.finishing = None;
        }
    }
}
