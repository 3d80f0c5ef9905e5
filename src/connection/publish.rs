//! The shortest way of a publish from receive buffer to broker, and the route that it goes.
//!
//! A client that publishes sends the same method frame over and over. When the next bytes are the channel's previous
//! publish again, and its content header and only body frame are there too, the message goes to the broker without
//! decoding a method, looking up an exchange or a queue, or copying a byte. Everything else is [assembled](super::assemble) and comes back to be routed.
//!
//! What properties mean is not known here, but only whether they are those of the last message.

use super::channel::{Channel, ChannelState, Incoming, KNOWN_PROPERTIES_MAX, LastPublish};
use super::lane::{Lane, Template};
use super::{Connection, Context, Settings};
use crate::broker::exchange::ExchangeId;
use crate::broker::message::{Attributes, Content, INLINE_BODY_MAX, PROPERTIES_OFFSET, plain_attributes};
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, ChannelId, DirectLane, ExchangeToPublish, Origin, Publication, Room, Target};
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD, FrameType};
use crate::protocol::method::basic;
use crate::protocol::properties::BASIC_CLASS_ID;
use crate::protocol::{AmqpError, ShortString};
use bytes::Bytes;

/// A content header and a body frame at the start of some bytes, both complete.
pub(super) struct WholeContent<'a> {
    pub frames: &'a [u8],
    pub header_frame_length: usize,
}

impl<'a> WholeContent<'a> {
    /// Property flags and list.
    #[inline(always)]
    pub fn properties(&self) -> &'a [u8] {
        &self.frames[PROPERTIES_OFFSET..self.header_frame_length - 1]
    }
}

/// Finds content header and body frame of `channel_number` at the start of `input`. `None` when they aren't complete,
/// or are anything but a small body in at most one frame.
#[inline]
pub(super) fn whole_content(input: &[u8], channel_number: u16) -> Option<WholeContent<'_>> {
    let [c0, c1] = channel_number.to_be_bytes();
    let header = input.first_chunk::<PROPERTIES_OFFSET>()?;
    // type 2, the channel; class 60, weight 0.
    if header[..3] != [FrameType::Header as u8, c0, c1] || header[7..11] != [0, BASIC_CLASS_ID as u8, 0, 0] {
        return None;
    }
    let header_size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
    let header_frame_length = header_size + FRAME_OVERHEAD;
    if header_frame_length < PROPERTIES_OFFSET + 2 + 1 || *input.get(header_frame_length - 1)? != FRAME_END {
        return None;
    }
    let body_size = u64::from_be_bytes(*header[11..].first_chunk()?);
    if body_size == 0 {
        return Some(WholeContent { frames: &input[..header_frame_length], header_frame_length });
    }
    if body_size > INLINE_BODY_MAX as u64 {
        return None;
    }
    let body = &input[header_frame_length..];
    let [s0, s1, s2, s3] = (body_size as u32).to_be_bytes();
    if *body.first_chunk::<FRAME_HEADER_LENGTH>()? != [FrameType::Body as u8, c0, c1, s0, s1, s2, s3] {
        return None;
    }
    let body_frame_length = body_size as usize + FRAME_OVERHEAD;
    if *body.get(body_frame_length - 1)? != FRAME_END {
        return None;
    }
    Some(WholeContent { frames: &input[..header_frame_length + body_frame_length], header_frame_length })
}

/// Whether no body that [`whole_content`] finds is too large.
#[inline]
pub(super) fn allows_all_small(settings: &Settings) -> bool {
    settings.message_size_max >= INLINE_BODY_MAX
}

/// Whether bytes that are most often few are the same. A call of the system's comparison costs more than comparing them.
#[inline(always)]
pub(super) fn same_short(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        2 => a.first_chunk::<2>() == b.first_chunk::<2>(),
        16..32 => a.first_chunk::<16>() == b.first_chunk::<16>() && a.last_chunk::<16>() == b.last_chunk::<16>(),
        32..=64 => a.first_chunk::<32>() == b.first_chunk::<32>() && a.last_chunk::<32>() == b.last_chunk::<32>(),
        _ => a == b,
    }
}

impl LastPublish {
    /// The attributes of a message with these properties, when they are those of the last one.
    #[inline(always)]
    pub(super) fn known_attributes(&self, properties: &[u8]) -> Option<Attributes> {
        (self.properties_known && same_short(&self.properties, properties)).then_some(self.attributes)
    }

    /// The attributes of a message with these properties, when they [need nothing special](plain_attributes).
    #[inline(always)]
    pub(super) fn attributes_of(&mut self, properties: &[u8]) -> Option<Attributes> {
        self.known_attributes(properties).or_else(|| self.read_attributes(properties))
    }

    #[inline(never)]
    fn read_attributes(&mut self, properties: &[u8]) -> Option<Attributes> {
        let attributes = plain_attributes(properties)?;
        self.know(properties, attributes);
        Some(attributes)
    }

    /// The exchange of the last method: looked for once an epoch, as long as a client publishes to the same one.
    #[inline]
    pub(super) fn resolve_exchange<S: Store>(
        &mut self,
        caller: Caller,
        broker: &Broker<S>,
    ) -> Result<ExchangeId, AmqpError> {
        match self.exchange {
            Some((epoch, exchange)) if epoch == broker.epoch() => Ok(exchange),
            _ => self.look_for_exchange(caller, broker),
        }
    }

    /// What is published next goes to the exchange of the last method, if it is known.
    #[inline]
    fn goes_on<S: Store>(&self, caller: Caller, broker: &mut Broker<S>) {
        if let Some((epoch, exchange)) = self.exchange.or(self.restricted_exchange)
            && epoch == broker.epoch()
        {
            broker.publishes_to(caller.vhost, exchange);
        }
    }

    #[inline(never)]
    fn look_for_exchange<S: Store>(&mut self, caller: Caller, broker: &Broker<S>) -> Result<ExchangeId, AmqpError> {
        let epoch = broker.epoch();
        let content = addressed(&self.address);
        if let Some((known_in, exchange)) = self.restricted_exchange
            && known_in == epoch
        {
            broker.may_publish_with(caller, exchange, content.routing_key())?;
            return Ok(exchange);
        }
        let ExchangeToPublish { id, with_any_key } =
            broker.exchange_to_publish(caller, content.exchange(), content.routing_key())?;
        let known = Some((epoch, id));
        (self.exchange, self.restricted_exchange) = if with_any_key { (known, None) } else { (None, known) };
        Ok(id)
    }

    fn know(&mut self, properties: &[u8], attributes: Attributes) {
        self.properties_known = properties.len() <= KNOWN_PROPERTIES_MAX;
        if self.properties_known {
            self.properties.clear();
            self.properties.extend_from_slice(properties);
            self.attributes = attributes;
        }
    }
}

impl Connection {
    /// Publishes as long as the input goes on with the last channel's previous publish, or else with one to
    /// [another key](super::readdress). Returns how much of it it took.
    #[inline]
    pub(super) fn receive_repeated_publishes<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let Some(channel) = self.channels.get_mut(self.last_channel) else { return 0 };
        let Channel { number, caller, incoming, last_publish, .. } = &mut **channel;
        let id = caller.channel;
        if !last_publish.route.holds(context.broker.epoch())
            || !matches!(incoming, Incoming::Method)
            || context.alarm.is_some()
            || !allows_all_small(context.settings)
        {
            return 0;
        }
        last_publish.goes_on(*caller, context.broker);
        let frame_max = self.frame_max as usize;
        let mut position = 0;
        while let Some((content, attributes)) = next_repeated(&input[position..], *number, last_publish, frame_max) {
            if let [queue] = *last_publish.route.queues()
                && let Some(lane) = context.broker.open_lane(queue)
            {
                let taken = publish_in_lane(id, *number, lane, last_publish, &input[position..], frame_max, context);
                position += taken;
                if taken > 0 {
                    continue;
                }
            }
            let frames = content.frames;
            let publication = Publication {
                content: Content {
                    address: &last_publish.address,
                    frames,
                    header_frame_length: content.header_frame_length,
                    shared_body: None,
                },
                attributes,
                mandatory: last_publish.mandatory,
            };
            context.broker.publish(id, &publication, last_publish.route.queues(), context.outboxes);
            position += last_publish.method_frame.len() + frames.len();
        }
        if position == 0 {
            return self.receive_readdressed_publishes(input, context);
        }
        self.published = true;
        position
    }

    /// Publishes the content of a method that has just come, if all of it is there and nothing in it is special: nothing is
    /// assembled then. Returns how much of the input it took.
    #[inline]
    pub(super) fn receive_whole_content<S: Store>(&mut self, input: &[u8], context: &mut Context<'_, S>) -> usize {
        let Some(channel) = self.channels.get_mut(self.last_channel) else { return 0 };
        let Channel { number, caller, state, incoming, last_publish, .. } = &mut **channel;
        if !matches!(incoming, Incoming::Header) || !takes_whole_contents(*state, last_publish, *caller, context) {
            return 0;
        }
        let Some(content) = whole_content(input, *number) else { return 0 };
        let WholeContent { frames, header_frame_length } = content;
        if header_frame_length > self.frame_max as usize {
            return 0;
        }
        let Some(attributes) = last_publish.attributes_of(content.properties()) else { return 0 };
        let Ok(exchange) = last_publish.resolve_exchange(*caller, context.broker) else { return 0 };
        context.broker.publishes_to(caller.vhost, exchange);
        let content = Framed { frames, header_frame_length, shared_body: None, attributes, extra_keys: &[] };
        let published = route_and_publish(*caller, last_publish, exchange, content, context);
        debug_assert!(published.is_ok(), "only a transaction refuses a publish");
        *incoming = Incoming::Method;
        self.published = true;
        frames.len()
    }

    /// A `basic.publish`, whose content follows; `wire` is its whole frame.
    pub(super) fn begin_publish(&mut self, index: usize, publish: &basic::Publish<'_>, wire: &[u8]) {
        let channel = &mut self.channels[index];
        channel.incoming = Incoming::Header;
        let last = &mut channel.last_publish;
        if last.method_frame == wire {
            return;
        }
        last.method_frame.clear();
        last.method_frame.extend_from_slice(wire);
        last.route.forget();
        if (last.exchange.is_some() || last.restricted_exchange.is_some())
            && addressed(&last.address).exchange() != publish.exchange
        {
            last.exchange = None;
            last.restricted_exchange = None;
        }
        last.mandatory = publish.mandatory;
        last.immediate = publish.immediate;
        last.address.clear();
        for name in [publish.exchange, publish.routing_key] {
            last.address.push(name.len() as u8);
            last.address.extend_from_slice(name);
        }
        last.address.push(FRAME_END);
    }
}

/// Whether contents that are all there may be published without being assembled: neither the channel nor the time asks for
/// more than a look at them.
#[inline(always)]
pub(super) fn takes_whole_contents<S: Store>(
    state: ChannelState,
    last: &LastPublish,
    caller: Caller,
    context: &Context<'_, S>,
) -> bool {
    state == ChannelState::Open
        && context.alarm.is_none()
        && allows_all_small(context.settings)
        && !last.immediate
        && !context.broker.is_transactional(caller.channel)
}

/// A content without its address.
pub(super) struct Framed<'a> {
    pub frames: &'a [u8],
    pub header_frame_length: usize,
    pub shared_body: Option<&'a Bytes>,
    pub attributes: Attributes,
    /// Routing keys besides that of its address.
    pub extra_keys: &'a [ShortString],
}

/// Publishes a content to where the channel's last method says.
#[inline]
pub(super) fn route_and_publish<S: Store>(
    caller: Caller,
    last: &mut LastPublish,
    exchange: ExchangeId,
    content: Framed<'_>,
    context: &mut Context<'_, S>,
) -> Result<(), AmqpError> {
    let LastPublish { address, mandatory, route, .. } = last;
    let Framed { frames, header_frame_length, shared_body, attributes, extra_keys } = content;
    let content = Content { address, frames, header_frame_length, shared_body };
    let publication = Publication { content, attributes, mandatory: *mandatory };
    let origin = Origin::Client { target: Target { exchange, extra_keys }, route };
    context.broker.publish_from(origin, caller, &publication, context.outboxes)
}

/// The content of the next publish, when the input goes on with the channel's previous one and needs nothing special.
#[inline(always)]
fn next_repeated<'a>(
    input: &'a [u8],
    channel_number: u16,
    last_publish: &mut LastPublish,
    frame_max: usize,
) -> Option<(WholeContent<'a>, Attributes)> {
    let method_frame = &last_publish.method_frame[..];
    let (front, rest) = input.split_at_checked(method_frame.len())?;
    if !same_short(front, method_frame) {
        return None;
    }
    let content = whole_content(rest, channel_number)?;
    if content.header_frame_length > frame_max {
        return None;
    }
    let attributes = last_publish.attributes_of(content.properties())?;
    Some((content, attributes))
}

/// Hands a run of publishes to the one consumer that is ready for them. Returns how much of the input it took.
fn publish_in_lane<S: Store>(
    id: ChannelId,
    channel_number: u16,
    lane: DirectLane,
    last_publish: &mut LastPublish,
    input: &[u8],
    frame_max: usize,
    context: &mut Context<'_, S>,
) -> usize {
    let recipient = context.broker.lane_recipient(&lane);
    let template = match last_publish.template.take() {
        Some(template) if template.is_for(recipient, &last_publish.address) => template,
        _ => Template::new(recipient, &last_publish.address),
    };
    let mut outbox = Lane::new(context.outboxes, recipient.connection, &template, input.len() * 2);
    let mut delivery_tag = lane.last_delivery_tag;
    let mut position = 0;
    let mut room = Room::Left;
    while room == Room::Left
        && let Some((content, _)) = next_repeated(&input[position..], channel_number, last_publish, frame_max)
        && outbox.takes(content.frames.len(), content.header_frame_length)
    {
        delivery_tag += 1;
        room = outbox.deliver(delivery_tag, content.frames, content.header_frame_length);
        position += last_publish.method_frame.len() + content.frames.len();
    }
    context.broker.close_lane(lane, id, delivery_tag, room);
    last_publish.template = Some(template);
    position
}

/// What is known of a message by its address alone.
#[inline]
fn addressed(address: &[u8]) -> Content<'_> {
    Content { address, frames: &[], header_frame_length: 0, shared_body: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_comparisons_see_every_byte() {
        for length in 0..100 {
            let bytes: Vec<u8> = (0..length).collect();
            assert!(same_short(&bytes, &bytes.clone()));
            for changed in 0..bytes.len() {
                let mut other = bytes.clone();
                other[changed] ^= 1;
                assert!(!same_short(&bytes, &other), "byte {changed} of {length}");
            }
            assert!(!same_short(&bytes, &[&bytes[..], &[0]].concat()));
        }
    }
}
