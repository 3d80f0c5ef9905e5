//! A publish to the same exchange as the one before, with another routing key: who addresses each message anew sends the
//! same method frame but for the key. When the content is there, too, the message goes to the broker without decoding a
//! method. Everything else goes the long way, and finds there what it would have found anyway.

use super::channel::{Channel, Incoming, LastPublish};
use super::publish::{Framed, route_and_publish, same_short, takes_whole_contents, whole_content};
use super::{Connection, Context};
use crate::broker::store::Store;
use crate::protocol::frame::{FRAME_END, FRAME_HEADER_LENGTH, FRAME_OVERHEAD};

/// Where in the frame of a `basic.publish` the exchange stands: behind the method's number and what was a ticket once.
const EXCHANGE_OFFSET: usize = FRAME_HEADER_LENGTH + 6;
/// The octet of flags and the frame end, which follow the routing key.
const AFTER_KEY: usize = 2;

/// The method frame at the start of some bytes, when it is `last` with another routing key.
#[inline(always)]
fn readdressed<'a>(input: &'a [u8], last: &[u8]) -> Option<&'a [u8]> {
    let key_offset = EXCHANGE_OFFSET + 1 + usize::from(*last.get(EXCHANGE_OFFSET)?);
    let key_length = usize::from(*input.get(key_offset)?);
    let frame = input.get(..key_offset + 1 + key_length + AFTER_KEY)?;
    let size = ((frame.len() - FRAME_OVERHEAD) as u32).to_be_bytes();
    let is_like_last = frame[..3] == last[..3]
        && frame[3..FRAME_HEADER_LENGTH] == size
        && same_short(&frame[FRAME_HEADER_LENGTH..key_offset], &last[FRAME_HEADER_LENGTH..key_offset])
        && frame.last_chunk::<AFTER_KEY>() == last.last_chunk::<AFTER_KEY>();
    is_like_last.then_some(frame)
}

impl LastPublish {
    /// The last publish was one whose [method frame](readdressed) is like this one's predecessor.
    #[inline]
    fn readdress(&mut self, frame: &[u8]) {
        self.method_frame.clear();
        self.method_frame.extend_from_slice(frame);
        self.address.clear();
        self.address.extend_from_slice(&frame[EXCHANGE_OFFSET..frame.len() - AFTER_KEY]);
        self.address.push(FRAME_END);
        self.route.forget();
    }
}

impl Connection {
    /// Publishes as long as the input goes on with the last channel's previous publish, each time with another routing key.
    /// Returns how much of it it took.
    #[inline(never)]
    pub(super) fn receive_readdressed_publishes<S: Store>(
        &mut self,
        input: &[u8],
        context: &mut Context<'_, S>,
    ) -> usize {
        let Some(channel) = self.channels.get_mut(self.last_channel) else { return 0 };
        let Channel { number, caller, state, incoming, last_publish, .. } = &mut **channel;
        if !matches!(incoming, Incoming::Method) || !takes_whole_contents(*state, last_publish, *caller, context) {
            return 0;
        }
        let mut position = 0;
        while let Some(frame) = readdressed(&input[position..], &last_publish.method_frame)
            && !same_short(frame, &last_publish.method_frame)
            && let Some(content) = whole_content(&input[position + frame.len()..], *number)
            && content.header_frame_length <= self.frame_max as usize
            && let Some(attributes) = last_publish.attributes_of(content.properties())
        {
            last_publish.readdress(frame);
            let Ok(exchange) = last_publish.resolve_exchange(*caller, context.broker) else { break };
            let (frames, header_frame_length) = (content.frames, content.header_frame_length);
            let content = Framed { frames, header_frame_length, shared_body: None, attributes, extra_keys: &[] };
            let published = route_and_publish(*caller, last_publish, exchange, content, context);
            debug_assert!(published.is_ok(), "only a transaction refuses a publish");
            position += frame.len() + frames.len();
        }
        self.published |= position > 0;
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Method;
    use crate::protocol::method::basic;

    fn frame(channel_number: u16, exchange: &[u8], routing_key: &[u8], mandatory: bool) -> Vec<u8> {
        let mut wire = Vec::new();
        let publish = basic::Publish { exchange, routing_key, mandatory, ..basic::Publish::default() };
        Method::BasicPublish(publish).encode_frame(channel_number, &mut wire);
        wire
    }

    #[test]
    fn only_the_routing_key_may_be_another_one() {
        let last = frame(1, b"x", b"key", false);
        for key in [&b""[..], b"key", b"another key", &[b'k'; 255]] {
            let next = frame(1, b"x", key, false);
            let followed = [&next[..], b"more"].concat();
            assert_eq!(readdressed(&followed, &last), Some(&next[..]));
            (0..next.len()).for_each(|end| assert_eq!(readdressed(&next[..end], &last), None, "{end} of {key:?}"));
            for changed in 0..next.len() {
                let mut other = next.clone();
                other[changed] ^= 1;
                let key_starts = EXCHANGE_OFFSET + 3;
                let in_key = (key_starts..key_starts + key.len()).contains(&changed);
                assert_eq!(readdressed(&other, &last).is_some(), in_key, "byte {changed}, {key:?}");
            }
        }
        for other in [frame(2, b"x", b"k", false), frame(1, b"y", b"k", false), frame(1, b"xx", b"k", false)] {
            assert_eq!(readdressed(&other, &last), None);
        }
        assert_eq!(readdressed(&frame(1, b"x", b"k", true), &last), None);
        assert_eq!(readdressed(&last, &[]), None);
    }

    #[test]
    fn a_readdressed_publish_is_what_decoding_it_makes_of_it() {
        let mut last = LastPublish { method_frame: frame(1, b"x", b"key", false), ..LastPublish::default() };
        let next = frame(1, b"x", b"another", false);
        last.readdress(&next);
        assert_eq!((&last.method_frame, &last.address[..]), (&next, &b"\x01x\x07another\xCE"[..]));
    }
}
