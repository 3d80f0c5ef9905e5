//! What somebody follows, as server-sent events: messages as they come, once a second how many there were, and an end.
//!
//! The loop gives copies away and never waits: what finds the [room](LISTENING_MAX) full is dropped there, and counted. What a
//! client does not take holds up nobody but its own events.

use super::change::VhostChange;
use super::json;
use super::visit::VhostVisit;
use crate::broker::{TailCounts, TailId, TailListener, TailedMessage};
use axum::body::{Body, HttpBody};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout_at};

/// Messages that wait to be made events of.
const LISTENING_MAX: usize = 128;
/// Events that wait for the client to take them.
const EVENTS_MAX: usize = 4;
/// How often it is said how many messages there were.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// The loop's end.
pub struct Listener(Sender<Box<TailedMessage>>);

impl TailListener for Listener {
    fn tell(&mut self, message: Box<TailedMessage>) -> bool {
        self.0.try_send(message).is_ok()
    }

    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

/// What a tail tells, and to whom it does.
pub fn listen() -> (Listener, Receiver<Box<TailedMessage>>) {
    let (sender, receiver) = channel(LISTENING_MAX);
    (Listener(sender), receiver)
}

/// Answers with the events of a tail, for so long.
pub fn events(visit: VhostVisit, id: TailId, messages: Receiver<Box<TailedMessage>>, lasts: Duration) -> Response {
    let (events, body) = channel(EVENTS_MAX);
    tokio::spawn(Tail { visit, id, messages, events }.run(Instant::now() + lasts));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy between that collects what it passes on would keep it all back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::new(Events(body))).into_response()
}

struct Tail {
    visit: VhostVisit,
    id: TailId,
    messages: Receiver<Box<TailedMessage>>,
    events: Sender<Bytes>,
}

/// Nobody takes any more events.
struct Gone;

impl Tail {
    /// Until it is over, or the client has gone: the loop is told of that at the latest when it says how many there were.
    async fn run(mut self, ends: Instant) {
        let told = self.tell(ends).await;
        let (id, reason) = (self.id, told.unwrap_or("client"));
        let _ = self.visit.change_here(|reply| VhostChange::EndTail { id, reply }).await;
        let _ = self.say("end", &json!({ "reason": reason })).await;
    }

    /// Says why it is over.
    async fn tell(&mut self, ends: Instant) -> Result<&'static str, Gone> {
        let mut status_at = Instant::now() + STATUS_EVERY;
        loop {
            match timeout_at(status_at.min(ends), self.messages.recv()).await {
                Ok(Some(message)) => self.say("message", &shape(&message)).await?,
                // The broker has ended it.
                Ok(None) => return Ok("gone"),
                Err(_) => {}
            }
            let now = Instant::now();
            if now < status_at && now < ends {
                continue;
            }
            let Some(counts) = self.counts().await else { return Ok("gone") };
            self.say("status", &counts_shape(&counts)).await?;
            if now >= ends {
                return Ok("duration");
            }
            status_at = now + STATUS_EVERY;
        }
    }

    async fn counts(&self) -> Option<TailCounts> {
        let id = self.id;
        self.visit.change_here(|reply| VhostChange::CountTail { id, reply }).await.ok()?.ok()?
    }

    async fn say(&self, event: &str, data: &Value) -> Result<(), Gone> {
        // JSON has no line breaks, which would end the data.
        let event = format!("event: {event}\ndata: {data}\n\n");
        self.events.send(event.into()).await.map_err(|_| Gone)
    }
}

fn shape(message: &TailedMessage) -> Value {
    let TailedMessage { unix_ms, exchange, routing_key, properties, body, body_size, queues } = message;
    let properties = properties.as_deref().map(json::wire_properties);
    let (payload, encoding) = json::payload(body, false);
    json!({
        "time": unix_ms,
        "exchange": json::text(exchange),
        "routing_key": json::text(routing_key),
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": body_size,
        "truncated": body.len() < *body_size,
        "queues": queues.iter().map(|queue| json::text(queue)).collect::<Value>(),
    })
}

fn counts_shape(counts: &TailCounts) -> Value {
    let TailCounts { seen, matched, told, passed_over, dropped, unread } = counts;
    json!({
        "seen": seen,
        "matched": matched,
        "told": told,
        "passed_over": passed_over,
        "dropped": dropped,
        "unread": unread,
    })
}

/// Events as they come, as the body of an answer.
struct Events(Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
