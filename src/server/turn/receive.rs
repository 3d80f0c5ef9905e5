//! Who is read in a turn, how much of each, and where the bytes go.

use super::Server;
use crate::broker::ConnectionId;
use crate::connection::{Connection, Phase};
use crate::reactor::Received;
use crate::server::MayRead;
use crate::server::clients::Reading;

/// What is received behind a large body with the same call: enough to see what comes next, and little enough that most
/// of a next large body goes straight into its message, too.
const STREAM_OVERFLOW_BYTES: usize = 2 * 1024;
/// What is read at once of a client that has not logged in: it may have to be kept while its login is checked.
const STRANGER_READ_BYTES: usize = 8 * 1024;
/// Who is read sparingly is read one part in so many of the budget in a turn: little more than what a turn costs anyway.
const SPARING_SHARE: usize = 8;
/// Publishers who are many share so many read budgets in a turn, so that nobody waits long for one in which all are read.
const READ_BUDGETS_PER_TURN: usize = 16;
/// What each of them may send in a turn all the same, in bytes. Beside 300 who flood 300 queues a message took 10 ms with
/// this, 6 ms with half of it, and 24 ms without a share; they made 8.5, 6.2 and 10.1 million messages a second.
const READ_SHARE_LEAST_BYTES: usize = 32 * 1024;

/// What each of so many publishers may send in a turn in which one alone may send `budget_bytes`.
fn read_share_bytes(budget_bytes: usize, publishers: usize) -> usize {
    let share_bytes = budget_bytes * READ_BUDGETS_PER_TURN / publishers.max(1);
    share_bytes.clamp(READ_SHARE_LEAST_BYTES.min(budget_bytes), budget_bytes)
}

/// What is read at once of a client that has logged in as a user, or not yet.
fn read_at_once_bytes(budget_bytes: usize, user: Option<&str>) -> usize {
    match user {
        Some(_) => budget_bytes,
        None => budget_bytes.min(STRANGER_READ_BYTES),
    }
}

/// What one receive brought.
struct Intake {
    count: usize,
    /// Some of it went straight into a large body.
    streamed: bool,
    drained: bool,
}

impl Server {
    /// Reads everyone who is listed once. Publishers come last, when those who acknowledge have been given more: they
    /// work on it meanwhile.
    pub(super) fn receive(&mut self) {
        self.resume_waiting();
        self.clients.list_pressed();
        let mut publishers = std::mem::take(&mut self.publishers);
        let budget_bytes = self.read_budget_bytes;
        for _ in 0..self.clients.to_read_len() {
            let Some(id) = self.clients.next_to_read() else { break };
            match self.hub.connections().get(id).is_some_and(Connection::has_published) {
                true => publishers.push(id),
                false => self.receive_as_allowed(id, budget_bytes),
            }
        }
        if !publishers.is_empty() && self.hub.broker().has_touched() {
            self.pump_and_flush();
        }
        let share_bytes = read_share_bytes(budget_bytes, publishers.len());
        for id in publishers.drain(..) {
            // It may be gone since.
            if self.clients.get_mut(id).is_some() {
                self.receive_as_allowed(id, share_bytes);
            }
        }
        self.publishers = publishers;
    }

    /// Goes on with those whose command waited, as far as it need not wait any more. A page that somebody waited for may
    /// leave memory again when messages are next moved out of it, so this comes before that, too.
    pub(super) fn resume_waiting(&mut self) {
        let mut had_their_share = Vec::new();
        for id in self.clients.take_awaiting() {
            let may_go_on = self.hub.broker().can_settle();
            match self.hub.may_read(id) {
                MayRead::WhenResumed if may_go_on => had_their_share.push(id),
                MayRead::WhenResumed => self.clients.set_reading(id, Reading::AwaitingMessages),
                _ => self.clients.set_reading(id, Reading::Listed),
            }
        }
        // Those for whom nothing was left are asked before them in the next turn.
        had_their_share.into_iter().for_each(|id| self.clients.set_reading(id, Reading::AwaitingMessages));
    }

    fn receive_as_allowed(&mut self, id: ConnectionId, budget_bytes: usize) {
        match self.hub.may_read(id) {
            MayRead::Now => self.receive_from(id, budget_bytes),
            MayRead::Sparingly => self.receive_from(id, budget_bytes.min(self.read_budget_bytes / SPARING_SHARE)),
            MayRead::Later => self.clients.set_reading(id, Reading::Pressed),
            MayRead::NotDuringAlarm => self.clients.set_reading(id, Reading::Alarmed),
            MayRead::WhenLoggedIn => self.clients.set_reading(id, Reading::AwaitingLogin),
            MayRead::WhenResumed => self.clients.set_reading(id, Reading::AwaitingMessages),
        }
    }

    /// Says where a client goes from which all was received that it may send now. When its socket is not drained, more may
    /// be waiting there.
    fn put_back(&mut self, id: ConnectionId, drained: bool) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let connection = self.hub.connections().get(id);
        let reading = if connection.is_some_and(Connection::has_command_waiting) {
            Reading::AwaitingMessages
        } else if connection.is_some_and(|connection| connection.phase() == Phase::AwaitingLogin) {
            Reading::AwaitingLogin
        } else if drained && !client.ended {
            Reading::Idle
        } else {
            Reading::Listed
        };
        self.clients.set_reading(id, reading);
        if self.hub.outboxes().get(id).is_finished() {
            self.finish(id);
        }
    }

    /// Receives what one client may send this turn.
    fn receive_from(&mut self, id: ConnectionId, budget_bytes: usize) {
        let user = self.hub.connections().get(id).and_then(Connection::user);
        let budget_bytes = read_at_once_bytes(budget_bytes, user);
        let mut left_bytes = budget_bytes;
        loop {
            let Some(Intake { count, streamed, drained }) = self.receive_once(id, budget_bytes) else { return };
            // One receive takes what the budget allows, unless it went into a large body, which has less room.
            let may_go_on = streamed && !drained && count < left_bytes;
            if !may_go_on || self.hub.may_read(id) != MayRead::Now {
                return self.put_back(id, drained);
            }
            left_bytes -= count;
        }
    }

    /// Receives once. `None` when the client is gone.
    fn receive_once(&mut self, id: ConnectionId, budget_bytes: usize) -> Option<Intake> {
        let client = self.clients.get_mut(id)?;
        let connection = self.hub.connection_mut(id);
        let partial = connection.take_partial(&mut self.receive_buffer);
        let space = &mut self.receive_buffer[partial..partial + budget_bytes];
        let (received, streamed) = match connection.stream_target() {
            Some((body, remaining)) => {
                let before = body.len();
                let share = remaining.min(body.capacity() - before);
                let overflow_bytes = STREAM_OVERFLOW_BYTES.min(budget_bytes);
                let received = client.socket.receive_onto(body, share, &mut space[..overflow_bytes]);
                (received, body.len() - before)
            }
            None => (client.socket.receive(space), 0),
        };
        match received {
            Received::Bytes { count, drained } => {
                self.huge_pages.received(count, self.now_ms);
                self.watch.read(id, count);
                client.rest.read_at_ms = self.now_ms;
                if streamed > 0 {
                    self.hub.connection_mut(id).note_streamed(streamed, self.now_ms);
                }
                self.hub.receive(id, &self.receive_buffer[..partial + count - streamed]);
                Some(Intake { count, streamed: streamed > 0, drained })
            }
            Received::WouldBlock => {
                client.ended = false;
                self.hub.connection_mut(id).keep_partial(&self.receive_buffer[..partial]);
                Some(Intake { count: 0, streamed: false, drained: true })
            }
            Received::Closed => {
                self.lost(id, "the client closed its socket");
                None
            }
            Received::Failed(error) => {
                self.lost(id, &error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_BYTES: usize = 4 * READ_SHARE_LEAST_BYTES;

    #[test]
    fn publishers_share_a_turn_from_one_too_many_on() {
        for publishers in 0..=READ_BUDGETS_PER_TURN {
            assert_eq!(read_share_bytes(BUDGET_BYTES, publishers), BUDGET_BYTES, "{publishers} publishers");
        }
        let shared = read_share_bytes(BUDGET_BYTES, READ_BUDGETS_PER_TURN + 1);
        assert_eq!(shared, BUDGET_BYTES * READ_BUDGETS_PER_TURN / (READ_BUDGETS_PER_TURN + 1));
    }

    #[test]
    fn little_is_read_at_once_of_who_has_not_logged_in() {
        assert_eq!(read_at_once_bytes(BUDGET_BYTES, None), STRANGER_READ_BYTES);
        assert_eq!(read_at_once_bytes(STRANGER_READ_BYTES / 2, None), STRANGER_READ_BYTES / 2);
        assert_eq!(read_at_once_bytes(BUDGET_BYTES, Some("guest")), BUDGET_BYTES);
    }

    #[test]
    fn no_share_is_below_the_least_unless_the_budget_is() {
        let at_the_least = 4 * READ_BUDGETS_PER_TURN;
        assert_eq!(read_share_bytes(BUDGET_BYTES, at_the_least), READ_SHARE_LEAST_BYTES);
        assert!(read_share_bytes(BUDGET_BYTES, at_the_least - 1) > READ_SHARE_LEAST_BYTES);
        assert_eq!(read_share_bytes(BUDGET_BYTES, 65_536), READ_SHARE_LEAST_BYTES);
        assert_eq!(read_share_bytes(4096, 65_536), 4096);
    }
}
