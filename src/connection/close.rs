//! How channels and connections end: exceptions of ours, closes of theirs.

use super::channel::{Channel, ChannelState};
use super::{Awaited, Connection, Context, Phase};
use crate::broker::memory::ClientHolding;
use crate::broker::store::Store;
use crate::protocol::method::{channel, connection};
use crate::protocol::{AmqpError, ErrorScope, Method, ReplyCode};
use std::fmt;

/// How long a client may take to answer `connection.close`, or to hang up after its own was answered, at most, in
/// seconds. RabbitMQ waits for a heartbeat interval, if that is less.
const CLOSING_TIMEOUT_S: u16 = 30;
/// How long a client may take to end its side after anything else, in milliseconds.
const LINGER_MS: u64 = 1_000;

/// Why a connection ended, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The client said `connection.close`.
    ByClient,
    /// We did, because of this.
    Exception(AmqpError),
    /// It never came to an open virtual host.
    Handshake(&'static str),
    HandshakeTimeout,
    MissedHeartbeats,
    /// The client sent something that RabbitMQ answers by dropping it.
    Dropped(&'static str),
    /// The broker was told to stop.
    Shutdown,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByClient => f.write_str("closed by the client"),
            Self::Exception(error) => write!(f, "{error}"),
            Self::Handshake(reason) => write!(f, "refused: {reason}"),
            Self::HandshakeTimeout => f.write_str("the handshake took too long"),
            Self::MissedHeartbeats => f.write_str("the client missed its heartbeats"),
            Self::Dropped(reason) => write!(f, "dropped: {reason}"),
            Self::Shutdown => f.write_str("the broker is stopping"),
        }
    }
}

impl Connection {
    /// An exception of a method on a channel.
    pub(super) fn raise<S: Store>(
        &mut self,
        channel_number: u16,
        error: &AmqpError,
        method: (u16, u16),
        context: &mut Context<'_, S>,
    ) {
        match error.scope {
            ErrorScope::Channel => self.raise_on_channel(channel_number, error, method, context),
            ErrorScope::Connection => self.raise_on_connection(error, method, context),
        }
    }

    fn raise_on_channel<S: Store>(
        &mut self,
        channel_number: u16,
        error: &AmqpError,
        (class_id, method_id): (u16, u16),
        context: &mut Context<'_, S>,
    ) {
        self.tell_channel_error(channel_number, error);
        let reply_text = error.reply_text();
        let close = Method::ChannelClose(channel::Close {
            reply_code: error.code.number(),
            reply_text: reply_text.as_bytes(),
            class_id,
            method_id,
        });
        // What was delivered or confirmed before must go out before the close does.
        context.broker.flush_confirms(context.outboxes);
        context.outboxes.method(self.id, channel_number, &close);
        let Some(channel) = self.find_channel(channel_number) else { return };
        channel.ignore_from_now(ChannelState::Closing);
        context.broker.close_channel(channel.caller.channel);
        self.await_what_is_left_behind(context);
    }

    /// Nothing more is handled before queues have back what closed channels had of them. A command that closed one is
    /// handled again then, and ignored like all that comes for that channel.
    fn await_what_is_left_behind<S: Store>(&mut self, context: &Context<'_, S>) {
        if context.broker.has_left_behind(self.id) {
            self.awaits = Some(Awaited::LeftBehind);
        }
    }

    /// A delivery on one of its channels waited too long for its acknowledgement.
    pub fn delivery_timed_out<S: Store>(&mut self, channel_number: u16, timeout_ms: u64, context: &mut Context<'_, S>) {
        let is_open = |channel: &mut Channel| channel.state == ChannelState::Open;
        if !self.find_channel(channel_number).is_some_and(is_open) {
            return;
        }
        let explanation = format!(
            "delivery acknowledgement on channel {channel_number} timed out. Timeout value used: {timeout_ms} ms. This \
             timeout value can be configured, see consumers doc guide to learn more"
        );
        let error = AmqpError::channel(ReplyCode::PreconditionFailed, explanation);
        self.raise_on_channel(channel_number, &error, (0, 0), context);
    }

    /// The client said `channel.close`. It may have sent more on the channel before it can hear the answer, and that is
    /// ignored: see [`forget_closed_channels`](Self::forget_closed_channels).
    pub(super) fn channel_close_received<S: Store>(&mut self, index: usize, context: &mut Context<'_, S>) {
        context.broker.flush_confirms(context.outboxes);
        let channel = &mut self.channels[index];
        channel.ignore_from_now(ChannelState::Leaving);
        context.broker.close_channel(channel.caller.channel);
        self.await_what_is_left_behind(context);
        if self.awaits.is_none() {
            self.channel_left(index, context);
        }
    }

    /// What a channel held that the client closed is back.
    pub(super) fn channel_left<S: Store>(&mut self, index: usize, context: &mut Context<'_, S>) {
        let channel = &mut self.channels[index];
        channel.state = ChannelState::Closed;
        let number = channel.number;
        self.has_closed_channels = true;
        self.answer_channel_close(number, context);
    }

    /// From now on a channel that the client closed was never opened. As with RabbitMQ, what comes in one piece with the
    /// close is ignored, and what comes later is an error.
    pub(super) fn forget_closed_channels(&mut self) {
        if std::mem::take(&mut self.has_closed_channels) {
            self.channels.retain(|channel| channel.state != ChannelState::Closed);
        }
    }

    /// An exception that ends the connection: sends `connection.close` and ignores what still comes but its answer.
    pub(super) fn raise_on_connection<S: Store>(
        &mut self,
        error: &AmqpError,
        method: (u16, u16),
        context: &mut Context<'_, S>,
    ) {
        self.tell_error(error);
        // Nothing may follow the close, so confirms go first.
        context.broker.flush_confirms(context.outboxes);
        self.send_close(error, method, context);
        self.release(context);
        self.phase = Phase::Closing;
        self.deadline_ms = Some(context.now_ms + self.closing_timeout_ms());
        self.close_reason = Some(CloseReason::Exception(error.clone()));
    }

    fn closing_timeout_ms(&self) -> u64 {
        let seconds = if self.heartbeat_s == 0 { CLOSING_TIMEOUT_S } else { self.heartbeat_s.min(CLOSING_TIMEOUT_S) };
        u64::from(seconds) * 1000
    }

    pub(super) fn send_close<S: Store>(&mut self, error: &AmqpError, method: (u16, u16), context: &mut Context<'_, S>) {
        let (class_id, method_id) = if error.names_method { method } else { (0, 0) };
        let reply_text = error.reply_text();
        let close = Method::ConnectionClose(connection::Close {
            reply_code: error.code.number(),
            reply_text: reply_text.as_bytes(),
            class_id,
            method_id,
        });
        context.outboxes.method(self.id, 0, &close);
    }

    /// The client said `connection.close`, and is answered when what it held is back. What it sent before it heard the answer is still to come, and is ignored until it
    /// hangs up: to close the socket under it would break its writes, and could take the answer with it.
    pub(super) fn close_received<S: Store>(&mut self, context: &mut Context<'_, S>) {
        if self.phase == Phase::Running {
            context.broker.flush_confirms(context.outboxes);
            self.channels = Vec::new();
            context.broker.close_channels(self.id);
            self.await_what_is_left_behind(context);
            if self.awaits.is_some() {
                return;
            }
        }
        self.release(context);
        context.outboxes.method(self.id, 0, &Method::ConnectionCloseOk(connection::CloseOk));
        self.end(CloseReason::ByClient, context);
        self.deadline_ms = Some(context.now_ms + self.closing_timeout_ms());
    }

    /// Closes because the operator, or the end of the broker, wants it.
    pub fn force_close<S: Store>(&mut self, explanation: &str, context: &mut Context<'_, S>) {
        match self.phase {
            Phase::Running => {
                let error = AmqpError::connection(ReplyCode::ConnectionForced, explanation).without_method();
                self.raise_on_connection(&error, (0, 0), context);
            }
            Phase::Closing | Phase::Closed => {}
            _ => self.end(CloseReason::Shutdown, context),
        }
    }

    /// All was said. Our side of the socket ends when the outbox is sent; what still comes is ignored until the client ends
    /// its own, or for a while.
    pub(super) fn end<S: Store>(&mut self, reason: CloseReason, context: &mut Context<'_, S>) {
        self.phase = Phase::Closed;
        self.withdraw_login(context);
        self.partial = Vec::new();
        self.partial_memory = ClientHolding::default();
        self.streaming = None;
        self.deadline_ms = Some(context.now_ms + LINGER_MS);
        context.outboxes.get_mut(self.id).is_last = true;
        self.close_reason.get_or_insert(reason);
    }

    /// Drops the connection without a word after the delay that makes guessing slow.
    pub(super) fn doom<S: Store>(&mut self, reason: &'static str, context: &mut Context<'_, S>) {
        self.tell_error(&reason);
        self.doom_silently(reason, context);
    }

    /// The same, where the log has said why.
    pub(super) fn doom_silently<S: Store>(&mut self, reason: &'static str, context: &mut Context<'_, S>) {
        self.phase = Phase::Doomed;
        self.deadline_ms = Some(context.now_ms + context.settings.authentication_failure_delay_ms);
        self.close_reason = Some(CloseReason::Handshake(reason));
    }

    /// Gives back what the broker keeps for this connection. Safe to call twice. What still comes may begin in the middle of
    /// a frame.
    pub fn release<S: Store>(&mut self, context: &mut Context<'_, S>) {
        self.withdraw_login(context);
        self.channels = Vec::new();
        self.has_closed_channels = false;
        // Nothing that it did is a reason not to read what it says last.
        self.blocked = false;
        self.published = false;
        self.held_back = false;
        self.awaits = None;
        if self.phase == Phase::Running {
            context.broker.flush_confirms(context.outboxes);
            context.broker.close_connection(self.id, context.outboxes);
            self.phase = Phase::Closed;
            self.tell_closed(context);
        }
    }

    /// Its socket is gone, or is to go: [releases](Self::release) it, which may never have come to an open virtual host.
    pub fn bury<S: Store>(&mut self, context: &mut Context<'_, S>) {
        self.release(context);
        self.tell_closed(context);
    }

    fn tell_closed<S: Store>(&mut self, context: &mut Context<'_, S>) {
        if !self.told_closed && context.broker.hears_events() {
            context.broker.tell_connection_closed(&self.details());
        }
        self.told_closed = true;
    }
}
