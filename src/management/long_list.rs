//! Long lists, which take memory and time: how many there are at a time, and what their answers are written as.
//!
//! A list is long when more than [`LONG_ROWS`] of it have come from the loop. From then on it has [room](Room) that others
//! wait for, until the last of its text is with the client. Writing it, this thread looks after its other clients now and then.

use super::chunks::Chunks;
use super::line::Declined;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The longest list that takes no room: of queues with all that is told of them, two megabytes.
pub const LONG_ROWS: usize = 2_000;
/// Long lists at a time.
const LONG_LISTS_MAX: usize = 4;
/// Rows that are looked at or written between two looks at other clients: a millisecond's work.
const ROWS_AT_A_TIME: usize = 128;
/// How long a client may take to take a long list. Those who stop altogether are given up sooner.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where long lists are gathered and kept.
pub struct Room {
    lists: Arc<Semaphore>,
    /// How long one waits for room.
    timeout: Duration,
}

pub type Permit = OwnedSemaphorePermit;

impl Room {
    pub fn new(timeout: Duration) -> Self {
        Self { lists: Arc::new(Semaphore::new(LONG_LISTS_MAX)), timeout }
    }

    /// Waits for room.
    ///
    /// # Errors
    /// When none becomes free in time.
    pub async fn take(&self) -> Result<Permit, Declined> {
        match tokio::time::timeout(self.timeout, self.lists.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Declined::Unanswered),
        }
    }
}

/// Counts rows, and lets this thread do something else after some.
#[derive(Default)]
pub struct Breather(usize);

impl Breather {
    pub async fn row(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(ROWS_AT_A_TIME) {
            tokio::task::yield_now().await;
        }
    }
}

/// A list as JSON: in pieces if it is long, each of which goes when it is with the client.
#[derive(Default)]
pub struct Text {
    pieces: Vec<String>,
    last: String,
}

impl Text {
    /// How long a piece is, and a little more, in bytes.
    const PIECE_BYTES: usize = 64 << 10;

    pub fn push(&mut self, row: &str) {
        self.last.push(if self.last.is_empty() && self.pieces.is_empty() { '[' } else { ',' });
        self.last.push_str(row);
        if self.last.len() >= Self::PIECE_BYTES {
            self.pieces.push(std::mem::take(&mut self.last));
        }
    }

    /// The answer. Room that the list has is given back with its last piece.
    pub fn answer(mut self, room: Option<Permit>) -> Response {
        self.last.push_str(if self.last.is_empty() && self.pieces.is_empty() { "[]" } else { "]" });
        self.pieces.push(self.last);
        let body = match room {
            None => Body::from(self.pieces.concat()),
            Some(room) => Body::new(Chunks::new(self.pieces.into_iter(), Instant::now() + PATIENCE, room)),
        };
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
        (headers, body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    #[test]
    fn a_list_is_the_same_in_pieces() {
        runtime().block_on(async {
            let room = Room::new(Duration::from_secs(60));
            for (count, width) in [(0, 1), (1, 1), (3, Text::PIECE_BYTES / 9), (100_000, 1)] {
                let rows = || (0..count).map(|number| format!("{number:0>9}").repeat(width));
                let expected = format!("[{}]", rows().collect::<Vec<_>>().join(","));
                for permit in [None, Some(room.take().await.expect("room"))] {
                    let mut text = Text::default();
                    rows().for_each(|row| text.push(&row));
                    let body = to_bytes(text.answer(permit).into_body(), usize::MAX).await.expect("all of it");
                    assert!(body == expected, "{count}");
                }
            }
            assert_eq!(room.lists.available_permits(), LONG_LISTS_MAX, "the last piece gave it back");
        });
    }

    #[test]
    fn who_finds_no_room_waits_for_it_and_not_for_ever() {
        runtime().block_on(async {
            let room = Room::new(Duration::from_millis(1));
            let mut taken = Vec::new();
            for _ in 0..LONG_LISTS_MAX {
                taken.push(room.take().await.expect("room"));
            }
            assert_eq!(room.take().await.err(), Some(Declined::Unanswered));
            taken.pop();
            assert!(room.take().await.is_ok());
        });
    }
}
