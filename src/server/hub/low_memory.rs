//! When memory is low, and who is read meanwhile: nobody who would only hold more of it.
//!
//! Publishers wait for the alarm to end, as connections know by themselves. Others wait who don't read what they are sent,
//! until they do, and who are in the middle of something large. What is unfinished may be all that there is, and then the
//! alarm would never end: so one at a time may finish it, while messages are few enough to stay in memory. Who sends little
//! of it while others wait makes room for the next one, and comes again after them.

use super::Ground;
use super::connections::{Connections, Member};
use crate::broker::ConnectionId;
use crate::broker::store::Store;
use crate::connection::{Connection, Outboxes, Phase};
use std::collections::VecDeque;

/// What may be there of a client's unfinished frames and bodies, in bytes, if it is to be read while memory is low.
const UNFINISHED_MAX_BYTES: usize = 4 * 1024;
/// The alarm ends when memory is below this share of the watermark, so that it doesn't flutter.
const ENDS_BELOW: f64 = 0.95;
/// It ends no sooner than so long after it began, in milliseconds, for the same reason: memory may come and go faster than
/// clients can be told. RabbitMQ looks at its memory once a second.
const LASTS_AT_LEAST_MS: u64 = 100;
/// After so long, in milliseconds, who finishes something makes room for the next one ...
const FINISHING_MS: u64 = 1_000;
/// ... unless it sent so much meanwhile, in bytes.
const FINISHING_LEAST_BYTES: u64 = 1 << 20;
/// Those who made room keep what they have sent so far. Together that may be one part in so many of the watermark: nobody
/// makes room any more beyond that, as each of them may add as much as the largest message.
const STEPPED_BACK_SHARE: usize = 8;

#[derive(Default)]
pub(super) struct LowMemory {
    /// While memory is low: from when on it may be enough again, in milliseconds on the hub's clock.
    lasts_until_ms: Option<u64>,
    /// Who may finish what it is sending, and those who wait for that.
    finishing: Option<Finishing>,
    unfinished: VecDeque<ConnectionId>,
    /// What those who made room for others hold.
    stepped_back_bytes: usize,
}

struct Finishing {
    id: ConnectionId,
    /// When to look whether it gets on, and what it had sent when that was last done.
    look_at_ms: u64,
    received_bytes: u64,
}

impl LowMemory {
    /// Everybody holds `used` bytes now. Says whether that is too much.
    pub fn follow(&mut self, used: usize, watermark: usize, now_ms: u64) -> bool {
        let stays = self
            .lasts_until_ms
            .is_some_and(|until_ms| used as f64 >= watermark as f64 * ENDS_BELOW || now_ms < until_ms);
        let is_low = used > watermark || stays;
        self.lasts_until_ms = is_low.then_some(self.lasts_until_ms.unwrap_or(now_ms + LASTS_AT_LEAST_MS));
        is_low
    }

    /// Another watermark holds: what was said of the last one counts no longer.
    pub fn watermark_changed(&mut self) {
        self.lasts_until_ms = self.lasts_until_ms.map(|_| 0);
    }

    #[inline]
    pub fn is_finishing(&self, id: ConnectionId) -> bool {
        self.finishing.as_ref().is_some_and(|finishing| finishing.id == id)
    }

    /// When to look again although nothing happens.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let end_ms = self.lasts_until_ms.filter(|until_ms| *until_ms > now_ms);
        let finishing = self.finishing.as_ref().filter(|_| !self.unfinished.is_empty());
        let look_at_ms = finishing.map(|finishing| finishing.look_at_ms).filter(|at_ms| *at_ms > now_ms);
        end_ms.into_iter().chain(look_at_ms).min()
    }

    /// A client is gone, or finished.
    pub fn forget(&mut self, id: ConnectionId, member: &mut Member) {
        if self.is_finishing(id) {
            self.finishing = None;
        }
        self.stepped_back_bytes -= std::mem::take(&mut member.stepped_back_bytes);
    }

    /// Whether a client is not to be read now, because it holds memory besides messages and would hold more of it.
    pub fn keeps_from_reading(&mut self, id: ConnectionId, member: &mut Member, outboxes: &mut Outboxes) -> bool {
        let keeps = self.would_hold_more(id, member, outboxes);
        if keeps {
            member.connection.hold_back();
        }
        keeps
    }

    fn would_hold_more(&mut self, id: ConnectionId, member: &mut Member, outboxes: &mut Outboxes) -> bool {
        if member.connection.phase() != Phase::Running {
            return false;
        }
        if outboxes.holds_input_back_if_full(id) {
            return true;
        }
        if member.connection.unfinished_bytes() <= UNFINISHED_MAX_BYTES || self.is_finishing(id) {
            return false;
        }
        if !std::mem::replace(&mut member.waits_to_finish, true) {
            self.unfinished.push_back(id);
        }
        true
    }

    /// Memory is still low: picks who may finish what it is sending, if somebody waits for that and may.
    pub fn let_next_finish<S: Store>(
        &mut self,
        connections: &mut Connections,
        Ground { broker, now_ms, .. }: &Ground<S>,
        watermark: usize,
    ) {
        if self.unfinished.is_empty() {
            return;
        }
        self.make_room_for_next(connections, *now_ms, watermark);
        while self.finishing.is_none() && broker.has_room_for_messages() {
            let Some(id) = self.unfinished.pop_front() else { break };
            // It may be gone since, and even have come again.
            if let Some(member) = connections.find(id)
                && std::mem::take(&mut member.waits_to_finish)
            {
                self.forget(id, member);
                member.connection.let_go_on(*now_ms);
                let received_bytes = member.connection.traffic().received_bytes;
                self.finishing = Some(Finishing { id, look_at_ms: now_ms + FINISHING_MS, received_bytes });
                connections.unblocked.push(id);
            }
        }
    }

    /// Looks whether who may finish gets on, now and then. When it does not, it is another's turn.
    fn make_room_for_next(&mut self, connections: &mut Connections, now_ms: u64, watermark: usize) {
        let Some(finishing) = self.finishing.as_mut().filter(|finishing| finishing.look_at_ms <= now_ms) else {
            return;
        };
        let member = connections.member(finishing.id);
        let received_bytes = member.connection.traffic().received_bytes;
        let gets_on = received_bytes - finishing.received_bytes >= FINISHING_LEAST_BYTES;
        let holds_bytes = member.connection.unfinished_bytes();
        if gets_on || self.stepped_back_bytes + holds_bytes > watermark / STEPPED_BACK_SHARE {
            finishing.look_at_ms = now_ms + FINISHING_MS;
            finishing.received_bytes = received_bytes;
            return;
        }
        // When it sends more, it waits behind the others.
        member.stepped_back_bytes = holds_bytes;
        self.stepped_back_bytes += holds_bytes;
        self.finishing = None;
    }

    /// Memory is not low any more: lets everybody be read whom that kept from it.
    pub fn let_all_finish(&mut self, connections: &mut Connections, now_ms: u64) {
        self.finishing = None;
        self.unfinished.clear();
        self.stepped_back_bytes = 0;
        let Connections { members, unblocked, .. } = connections;
        for (_, member) in members {
            member.waits_to_finish = false;
            member.stepped_back_bytes = 0;
            if member.connection.is_held_back() {
                member.connection.let_go_on(now_ms);
                unblocked.push(member.connection.id());
            }
        }
    }

    /// A client has sent more: if it is who may finish, it may have done so.
    #[inline]
    pub fn received_more(&mut self, id: ConnectionId, connection: &Connection) {
        if self.is_finishing(id) && connection.unfinished_bytes() <= UNFINISHED_MAX_BYTES {
            self.finishing = None;
        }
    }
}
