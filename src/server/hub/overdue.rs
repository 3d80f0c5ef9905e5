//! Channels on which a delivery waited too long for its acknowledgement are closed, a few in each turn: each gives back all
//! that it holds.

use super::Hub;
use crate::broker::store::Store;

/// Channels that are closed in one turn.
const CLOSED_PER_TURN: usize = 16;

impl<S: Store> Hub<S> {
    pub(super) fn close_overdue(&mut self) {
        for _ in 0..CLOSED_PER_TURN {
            let Some(overdue) = self.ground.broker.take_overdue() else { return };
            let Some(member) = self.connections.find(overdue.connection) else { continue };
            member.connection.delivery_timed_out(
                overdue.channel_number,
                overdue.timeout_ms,
                &mut self.ground.context(),
            );
        }
    }
}
