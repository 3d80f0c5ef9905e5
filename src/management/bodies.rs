//! Bodies of requests: taken in whole before anything is done about them, within limits of size, time and memory.
//!
//! Small ones come in as they come: there are no more than connections. Those that are larger take [room](Room) for as long
//! as anything is done about them, and wait for it before a byte of them is read. So nobody fills the memory with bodies,
//! however many of the largest somebody begins to send.

use super::App;
use super::http::ApiError;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest body that takes no room, in bytes.
const SMALL_MAX_BYTES: usize = 64 << 10;
/// The largest body that is read before it is known whose it is, in bytes: a user's name and a token, and some.
const STRANGERS_MAX_BYTES: usize = 40 << 10;
/// How many of the largest there are at a time.
const LARGEST_MAX: usize = 4;
/// What room is counted in, in bytes.
const UNIT_BYTES: usize = 1 << 10;

/// What all bodies together may take.
pub struct Room {
    units: Semaphore,
    /// The largest body of a request.
    body_max_bytes: usize,
}

impl Room {
    pub fn new(body_max_bytes: usize) -> Self {
        Self { units: Semaphore::new(LARGEST_MAX * body_max_bytes.div_ceil(UNIT_BYTES)), body_max_bytes }
    }

    /// Waits for room for a body of so many bytes at most; `None` where none is needed. One that doesn't say how long it will
    /// be takes as much as the largest.
    async fn take(&self, bytes: Option<u64>) -> Option<SemaphorePermit<'_>> {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX).min(self.body_max_bytes);
        if bytes <= SMALL_MAX_BYTES {
            return None;
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        // It fails for a semaphore that is closed, and nobody closes this one.
        self.units.acquire_many(units).await.ok()
    }
}

/// Takes in the body of a request.
pub async fn receive(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let bytes = body.size_hint().upper();
    // The extractor knows the limit and tells what passed it from what broke off.
    let mut request = Request::new(body);
    request.extensions_mut().clone_from(&head.extensions);
    let received = async {
        let room = app.bodies.take(bytes).await;
        (Bytes::from_request(request, &()).await, room)
    };
    match tokio::time::timeout(app.settings.limits.timeout, received).await {
        Err(_) => ApiError::TooSlow.into_response(),
        Ok((Err(error), _)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        Ok((Err(error), _)) => ApiError::BadRequest(error.body_text()).into_response(),
        Ok((Ok(body), _room)) => next.run(Request::from_parts(head, Body::from(body))).await,
    }
}

/// Takes in the body of a request of somebody who is not known yet: there is no room to be taken from others.
pub async fn receive_small(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(app.settings.limits.timeout, to_bytes(body, STRANGERS_MAX_BYTES)).await {
        Err(_) => ApiError::TooSlow.into_response(),
        Ok(Err(_)) => too_large(),
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
    }
}

/// The rest of it is not read.
fn too_large() -> Response {
    ApiError::BadRequest("Exceeded HTTP request body size limit".to_owned()).into_response()
}
