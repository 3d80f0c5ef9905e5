//! Frames: where they end, whose they are, and what is left over for later.
//!
//! Bytes are parsed where they were received. Only the beginning of a frame whose end hasn't arrived is kept, and of a
//! large body frame not even that: the rest of it is received straight into the message
//! ([`Connection::stream_target`]).

use super::channel::{Channel, ChannelState, Incoming, IncomingBody};
use super::{Awaited, CloseReason, Connection, Context, Phase};
use crate::broker::memory::ClientHolding;
use crate::broker::store::Store;
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FrameHeader, FrameType, parse_frame, parse_frame_header};
use crate::protocol::{AmqpError, DecodeError, Method, MethodError, RawFrame, ReplyCode};

/// Body frames that announce at least this much are received straight into their message, in bytes.
pub const STREAM_MIN_BYTES: usize = 16 * 1024;

/// A frame that is still arriving: into the large body of a channel's incoming content, or, when nobody takes it, nowhere.
pub(super) struct Streaming {
    channel_number: u16,
    /// Payload bytes still to come; the frame end follows.
    remaining: usize,
}

impl Connection {
    /// Moves the beginning of a frame that was kept to the front of `buffer` and says how long it is. New bytes belong
    /// behind it.
    pub fn take_partial(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.partial.len();
        buffer[..length].copy_from_slice(&self.partial);
        self.partial.clear();
        length
    }

    /// Gives back what [`take_partial`](Self::take_partial) took, when nothing came to follow it.
    pub fn keep_partial(&mut self, partial: &[u8]) {
        if !partial.is_empty() {
            self.set_partial(partial.to_vec());
        }
    }

    /// Takes all that was kept, to be [received](Self::receive) again.
    pub fn take_kept(&mut self) -> Vec<u8> {
        self.partial_memory = ClientHolding::default();
        std::mem::take(&mut self.partial)
    }

    fn set_partial(&mut self, partial: Vec<u8>) {
        self.partial_memory.set(partial.capacity());
        self.partial = partial;
    }

    /// Memory of what came of it and is no message yet: the beginning of a frame, and bodies, in bytes.
    pub fn unfinished_bytes(&self) -> usize {
        let bodies = self.channels.iter().map(|channel| match &channel.incoming {
            Incoming::Body(body) => body.memory.bytes(),
            _ => 0,
        });
        self.partial_memory.bytes() + bodies.sum::<usize>()
    }

    /// Bytes of a frame's beginning that are kept.
    pub fn partial_len(&self) -> usize {
        self.partial.len()
    }

    /// The message body that the next bytes of the client belong to, and how many of them.
    pub fn stream_target(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        let (body, remaining) = self.streamed_body()?;
        let length = body.large_body.len();
        if length == body.large_body.capacity() {
            body.make_room(remaining.min(length.max(STREAM_MIN_BYTES)));
        }
        Some((&mut body.large_body, remaining))
    }

    fn streamed_body(&mut self) -> Option<(&mut IncomingBody, usize)> {
        let &Streaming { channel_number, remaining } =
            self.streaming.as_ref().filter(|streaming| streaming.remaining > 0)?;
        let channel = self.find_channel(channel_number)?;
        let Incoming::Body(body) = &mut channel.incoming else { return None };
        Some((body, remaining))
    }

    /// Whether what it [kept](Self::take_partial) begins with a command that has to wait.
    pub fn has_command_waiting(&self) -> bool {
        self.awaits.is_some()
    }

    /// Whether the command that waited can be handled now.
    pub fn resume<S: Store>(&mut self, context: &mut Context<'_, S>) -> bool {
        let comes = |awaited: &mut Awaited| match awaited {
            Awaited::HeadOf(queue) => !context.broker.head_is_away(*queue),
            Awaited::Room => !context.outboxes.answers_wait(self.id),
            Awaited::Teller(vhost, exchange) => !context.broker.is_telling((*vhost, *exchange)),
            Awaited::NextTurn => context.broker.can_settle(),
            Awaited::LeftBehind => !context.broker.has_left_behind(self.id),
            Awaited::Leavers(number) => context.broker.has_left(*number),
            Awaited::Verdict => Self::has_verdict(self.login.as_deref()),
        };
        let goes_on = self.awaits.take_if(comes).is_some();
        match &self.awaits {
            // Nobody reads what it sends meanwhile.
            Some(Awaited::Verdict) => self.note_unread(context.now_ms),
            _ => self.begin_judging(context),
        }
        goes_on
    }

    /// `count` bytes were received into [`stream_target`](Self::stream_target).
    pub fn note_streamed(&mut self, count: usize, now_ms: u64) {
        self.last_received_ms = now_ms;
        self.traffic.received_bytes += count as u64;
        self.advance_stream(count);
    }

    fn advance_stream(&mut self, count: usize) {
        let Some(streaming) = &mut self.streaming else { return };
        streaming.remaining -= count;
        let channel_number = streaming.channel_number;
        if let Some(channel) = self.find_channel(channel_number)
            && let Incoming::Body(body) = &mut channel.incoming
        {
            body.received += count as u64;
        }
    }

    /// Handles `input`, which starts where the last call left off. What is incomplete is kept.
    pub fn receive<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) {
        self.last_received_ms = context.now_ms;
        self.published = false;
        self.held_back = false;
        self.traffic.received_bytes += input.len() as u64;
        let mut position = 0;
        if self.streaming.is_some() {
            position = self.continue_stream(input, context);
        }
        while position < input.len() {
            let rest = &input[position..];
            let consumed = match self.phase {
                Phase::Running => self.receive_running(rest, context),
                Phase::AwaitingHeader => self.receive_protocol_header(rest, context),
                Phase::AwaitingLogin => 0,
                Phase::Doomed | Phase::Closed => rest.len(),
                Phase::Closing
                | Phase::AwaitingStartOk
                | Phase::AwaitingSecureOk
                | Phase::AwaitingTuneOk
                | Phase::AwaitingOpen => self.receive_outside(rest, context),
            };
            if consumed == 0 {
                break;
            }
            position += consumed;
        }
        if position < input.len() {
            self.keep(&input[position..], context);
            // It is given again, with what follows it.
            self.traffic.received_bytes -= self.partial.len() as u64;
        } else {
            if self.partial.capacity() > 0 {
                self.set_partial(Vec::new());
            }
            if self.streaming.is_none() {
                self.forget_closed_channels();
            }
        }
    }

    fn keep<S: Store>(&mut self, rest: &[u8], context: &mut Context<'_, S>) {
        if self.begin_stream(rest, context) {
            return;
        }
        self.set_partial(rest.to_vec());
    }

    /// Takes one frame, or one whole publish, off the input of an open connection. 0 when it is incomplete.
    #[inline]
    fn receive_running<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let published = self.receive_repeated_publishes(input, context);
        if published > 0 {
            return published;
        }
        let published = self.receive_whole_content(input, context);
        if published > 0 {
            return published;
        }
        match parse_frame(input, self.frame_max) {
            // A publish ended its channel, and what that held is not back. Other publishes get in nobody's way.
            Ok(Some(_)) if self.awaits.is_some() => 0,
            Ok(Some(frame)) => {
                self.frame(&frame, &input[..frame.wire_size()], context);
                // A command that has to wait is handled again, with what follows it.
                if self.awaits.is_some() { 0 } else { frame.wire_size() }
            }
            Ok(None) => 0,
            Err(error) => {
                self.raise_on_connection(&error.to_amqp_error(), (0, 0), context);
                input.len()
            }
        }
    }

    /// Frames before the connection is open, and after we closed it.
    fn receive_outside<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let frame = match parse_frame(input, self.frame_max) {
            Ok(Some(frame)) => frame,
            Ok(None) => return 0,
            Err(_) if self.phase == Phase::Closing => {
                self.end(CloseReason::Dropped("bytes that are no frame"), context);
                return input.len();
            }
            Err(_) => {
                self.doom("it sent bytes that are no frame", context);
                return input.len();
            }
        };
        let method =
            (frame.frame_type == FrameType::Method && frame.channel == 0).then(|| Method::decode(frame.payload));
        match (self.phase, method) {
            (Phase::Closing, Some(Ok(Method::ConnectionCloseOk(_)))) => {
                self.end(CloseReason::ByClient, context);
            }
            (Phase::Closing, Some(Ok(Method::ConnectionClose(_)))) => self.close_received(context),
            (Phase::Closing, _) => {}
            (_, Some(Ok(method))) => {
                self.handshake_method(method, context);
                if self.awaits.is_some() {
                    return 0;
                }
            }
            _ if frame.frame_type == FrameType::Heartbeat => {}
            _ => self.doom("it sent a frame out of turn", context),
        }
        frame.wire_size()
    }

    /// One frame of an open connection; `wire` is all of it.
    fn frame<S: Store>(&mut self, frame: &RawFrame<'_>, wire: &[u8], context: &mut Context<'_, S>) {
        if frame.channel == 0 {
            return self.frame_on_connection(frame, context);
        }
        let Some(index) = self.channel_index(frame.channel) else {
            return self.frame_on_unopened_channel(frame, context);
        };
        if self.channels[index].state != ChannelState::Open {
            return self.frame_on_closing_channel(index, frame, context);
        }
        match (frame.frame_type, &self.channels[index].incoming) {
            (FrameType::Method, Incoming::Method) => self.method_frame(index, frame, wire, context),
            (FrameType::Header, Incoming::Header) => self.content_header(index, frame, wire, context),
            (FrameType::Body, Incoming::Body(_)) => self.content_body(index, frame.payload, context),
            (_, incoming) => {
                let (error, method) = unexpected_content(incoming);
                self.raise_on_connection(&error, method, context);
            }
        }
    }

    fn method_frame<S: Store>(
        &mut self,
        index: usize,
        frame: &RawFrame<'_>,
        wire: &[u8],
        context: &mut Context<'_, S>,
    ) {
        match Method::decode(frame.payload) {
            Ok(Method::BasicPublish(publish)) => self.begin_publish(index, &publish, wire),
            Ok(method) => self.method_on_channel(index, method, context),
            Err(error) => self.malformed_method(&error, frame.payload, context),
        }
    }

    /// RabbitMQ drops clients without a word for methods and table fields that don't exist, and explains the rest.
    fn malformed_method<S: Store>(&mut self, error: &MethodError, payload: &[u8], context: &mut Context<'_, S>) {
        let dropped = match error {
            MethodError::UnknownMethod { .. } => Some("it called a method that doesn't exist"),
            MethodError::Malformed { reason: DecodeError::UnknownFieldTag(_), .. } => {
                Some("it sent a table with a type that doesn't exist")
            }
            _ => None,
        };
        match dropped {
            Some(reason) => {
                self.tell_error(&reason);
                self.release(context);
                self.end(CloseReason::Dropped(reason), context);
            }
            None => self.raise_on_connection(&error.to_amqp_error(payload), error.ids(), context),
        }
    }

    fn frame_on_connection<S: Store>(&mut self, frame: &RawFrame<'_>, context: &mut Context<'_, S>) {
        match frame.frame_type {
            FrameType::Heartbeat => {}
            FrameType::Method => match Method::decode(frame.payload) {
                Ok(method) => self.method_on_connection(method, context),
                Err(error) => self.malformed_method(&error, frame.payload, context),
            },
            FrameType::Header | FrameType::Body => {
                self.raise_on_connection(&frame.unexpected(), (0, 0), context);
            }
        }
    }

    fn frame_on_unopened_channel<S: Store>(&mut self, frame: &RawFrame<'_>, context: &mut Context<'_, S>) {
        if frame.frame_type != FrameType::Method {
            let (error, method) = unexpected_content(&Incoming::Method);
            return self.raise_on_connection(&error, method, context);
        }
        match Method::decode(frame.payload) {
            Ok(Method::ChannelOpen(_)) => self.open_channel(frame.channel, context),
            Ok(method) => {
                let error = AmqpError::connection(ReplyCode::ChannelError, "expected 'channel.open'");
                self.raise_on_connection(&error, (method.class_id(), method.method_id()), context);
            }
            Err(error) => self.malformed_method(&error, frame.payload, context),
        }
    }

    /// After our `channel.close` everything is ignored until the client says close-ok, and behind its own, too. But that one
    /// may be followed by another channel of the same number.
    fn frame_on_closing_channel<S: Store>(&mut self, index: usize, frame: &RawFrame<'_>, context: &mut Context<'_, S>) {
        if frame.frame_type != FrameType::Method {
            return;
        }
        match Method::decode(frame.payload) {
            Ok(Method::ChannelCloseOk(_)) => {
                self.channels.remove(index);
            }
            Ok(Method::ChannelClose(_)) if self.channels[index].state == ChannelState::Leaving => {
                self.channel_left(index, context);
            }
            Ok(Method::ChannelClose(_)) => self.answer_channel_close(frame.channel, context),
            Ok(Method::ChannelOpen(_)) if self.channels[index].state == ChannelState::Closed => {
                self.open_channel(frame.channel, context);
            }
            Ok(Method::ChannelOpen(_)) => {
                let error = AmqpError::connection(ReplyCode::ChannelError, "second 'channel.open' seen");
                self.raise_on_connection(&error, (20, 10), context);
            }
            _ => {}
        }
    }

    /// The place of an open channel in `channels`; remembered, as the next frame is most often for the same one.
    #[inline]
    pub(super) fn channel_index(&mut self, number: u16) -> Option<usize> {
        if let Some(channel) = self.channels.get(self.last_channel)
            && channel.number == number
        {
            return Some(self.last_channel);
        }
        let index = self.channels.binary_search_by_key(&number, |channel| channel.number).ok()?;
        self.last_channel = index;
        Some(index)
    }

    pub(super) fn find_channel(&mut self, number: u16) -> Option<&mut Channel> {
        let index = self.channel_index(number)?;
        Some(&mut self.channels[index])
    }

    /// Begins to receive a large body frame straight into its message, when that is what `rest` starts; or to ignore a
    /// large frame without keeping it.
    fn begin_stream<S: Store>(&mut self, rest: &[u8], context: &mut Context<'_, S>) -> bool {
        let Ok(Some(header)) = parse_frame_header(rest, self.frame_max) else { return false };
        let size = header.payload_size as usize;
        if size < STREAM_MIN_BYTES || rest.len() > FRAME_HEADER_LENGTH + size || !self.streams(&header) {
            return false;
        }
        let arrived = &rest[FRAME_HEADER_LENGTH..];
        self.streaming = Some(Streaming { channel_number: header.channel, remaining: size });
        self.continue_stream(arrived, context);
        true
    }

    /// Whether a frame of this kind need not be seen as a whole.
    fn streams(&mut self, header: &FrameHeader) -> bool {
        match self.phase {
            Phase::Closing => return header.channel != 0,
            Phase::Running if header.frame_type == FrameType::Body as u8 => {}
            _ => return false,
        }
        let Some(channel) = self.find_channel(header.channel) else { return false };
        if channel.state != ChannelState::Open {
            return true;
        }
        let Incoming::Body(body) = &channel.incoming else { return false };
        let fits = body.received + u64::from(header.payload_size) <= body.body_size;
        fits && body.is_large() && !body.oversized
    }

    /// Takes the bytes of the frame that is being streamed off the front of the input. Returns how many.
    fn continue_stream<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let Some(streaming) = &self.streaming else { return 0 };
        let count = streaming.remaining.min(input.len());
        if let Some((body, _)) = self.streamed_body() {
            body.make_room(count);
            body.large_body.extend_from_slice(&input[..count]);
        }
        self.advance_stream(count);
        count + self.end_stream(&input[count..], context)
    }

    /// Checks the frame end behind a streamed payload.
    fn end_stream<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let Some(Streaming { channel_number, remaining: 0 }) = self.streaming else { return 0 };
        let Some(&end) = input.first() else { return 0 };
        self.streaming = None;
        if end != FRAME_END && self.phase == Phase::Closing {
            self.end(CloseReason::Dropped("bytes that are no frame"), context);
        } else if end != FRAME_END {
            let explanation =
                format!("type {}, all octets = <<>>: {{invalid_frame_end_marker,{end}}}", FrameType::Body as u8);
            let error = AmqpError::connection(ReplyCode::FrameError, explanation).without_method();
            self.raise_on_connection(&error, (0, 0), context);
        } else if let Some(index) = self.channel_index(channel_number) {
            self.content_progressed(index, context);
        }
        1
    }
}

/// The exception for a frame that doesn't fit what a channel expects. (60,40): only a publish carries content.
fn unexpected_content(expected: &Incoming) -> (AmqpError, (u16, u16)) {
    const BASIC_PUBLISH: (u16, u16) = (60, 40);
    let unexpected = |explanation| AmqpError::connection(ReplyCode::UnexpectedFrame, explanation);
    match expected {
        Incoming::Method => {
            (unexpected("expected method frame, got non method frame instead").without_method(), (0, 0))
        }
        Incoming::Header => {
            (unexpected("expected content header for class 60, got non content header frame instead"), BASIC_PUBLISH)
        }
        Incoming::Body(_) | Incoming::Overrun => {
            (unexpected("expected content body, got non content body frame instead"), BASIC_PUBLISH)
        }
    }
}
