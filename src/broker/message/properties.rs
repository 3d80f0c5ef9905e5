//! What a message's properties mean to the broker: what queues must know of them, and what is special in what a publisher
//! sent: CC and BCC, a reply address, a user id, and values that several clients can't read.
//!
//! The rules are the same for everybody who publishes. Properties that need nothing special stay the bytes that they are.

use super::edit::{PROPERTIES_OFFSET, remove_header, replace_properties};
use crate::broker::equivalence::type_name;
use crate::broker::exchange::ExchangeId;
use crate::broker::publish::REPLY_TO;
use crate::broker::store::Store;
use crate::broker::{Broker, Caller, expiration};
use crate::protocol::properties::DELIVERY_MODE_PERSISTENT;
use crate::protocol::{AmqpError, FieldValueRef, PropertiesRef, ReplyCode, ShortString};

/// The header with routing keys of copies that its readers may not know of.
const BCC: &[u8] = b"BCC";

/// What the queues must know of a message's properties; the rest of them stays bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// delivery_mode 2.
    pub persistent: bool,
    /// The property `priority`, 0 when absent.
    pub priority: u8,
    /// The property `expiration`, in milliseconds.
    pub expiration_ms: Option<u64>,
}

/// What the properties say, when they need nothing but to be kept. `None` when something in them has to be looked at
/// or changed: headers with CC, BCC or a value of type `L`, a reply address, a user id, or anything malformed.
pub fn plain_attributes(properties: &[u8]) -> Option<Attributes> {
    if properties == [0, 0] {
        return Some(Attributes::default());
    }
    let properties = PropertiesRef::parse(properties).ok()?;
    let special_headers = properties.headers.is_some_and(|headers| {
        headers.get(b"CC").is_some() || headers.get(b"BCC").is_some() || headers.holds_unsigned_long()
    });
    if special_headers || properties.user_id.is_some() || properties.reply_to == Some(REPLY_TO) {
        return None;
    }
    attributes(&properties).ok()
}

fn attributes(properties: &PropertiesRef<'_>) -> Result<Attributes, AmqpError> {
    Ok(Attributes {
        persistent: properties.delivery_mode == Some(DELIVERY_MODE_PERSISTENT),
        priority: properties.priority.unwrap_or(0),
        expiration_ms: properties.expiration.map(expiration::parse).transpose()?,
    })
}

/// What a publisher's properties come to.
struct PublishedProperties {
    attributes: Attributes,
    /// Routing keys of CC and BCC.
    extra_keys: Vec<ShortString>,
    /// Flags and list to take the place of the publisher's.
    replaced: Option<Vec<u8>>,
}

/// Reads, checks and changes what needs it in a content's frames: the rules for everything that is published, by whomever.
/// Says what queues must know of it, and the routing keys of CC and BCC.
///
/// # Errors
/// 541 on the connection for properties that can't be read; 406 for a false user id, a bad expiration, a reply address
/// without reply consumer, and CC or BCC headers that are no arrays; 403 for a key of theirs that the caller may not use.
pub fn apply_rules<S: Store>(
    frames: &mut Vec<u8>,
    header_frame_length: &mut usize,
    caller: Caller,
    exchange: ExchangeId,
    broker: &Broker<S>,
) -> Result<(Attributes, Vec<ShortString>), AmqpError> {
    let properties = &frames[PROPERTIES_OFFSET..*header_frame_length - 1];
    if let Some(attributes) = plain_attributes(properties) {
        return Ok((attributes, Vec::new()));
    }
    let PublishedProperties { attributes, extra_keys, replaced } = special_properties(properties, caller, broker)?;
    extra_keys.iter().try_for_each(|key| broker.may_publish_with(caller, exchange, key))?;
    if let Some(replaced) = replaced {
        *header_frame_length = replace_properties(frames, *header_frame_length, &replaced);
    }
    Ok((attributes, extra_keys))
}

/// Whether the caller may publish with the routing keys of CC and BCC, too. What [the rules](apply_rules) refuse besides is
/// let pass: they are applied when all of the content is there.
///
/// # Errors
/// 403.
pub fn may_copy<S: Store>(
    properties: &[u8],
    caller: Caller,
    exchange: ExchangeId,
    broker: &Broker<S>,
) -> Result<(), AmqpError> {
    let Ok(parsed) = PropertiesRef::parse(properties) else { return Ok(()) };
    let mut keys = Vec::new();
    let are_read =
        extra_routing_keys(&parsed, b"CC", &mut keys).and_then(|()| extra_routing_keys(&parsed, BCC, &mut keys));
    match are_read {
        Ok(()) => keys.iter().try_for_each(|key| broker.may_publish_with(caller, exchange, key)),
        Err(_) => Ok(()),
    }
}

/// Checks and changes what needs it.
fn special_properties<S: Store>(
    properties: &[u8],
    caller: Caller,
    broker: &Broker<S>,
) -> Result<PublishedProperties, AmqpError> {
    let parsed = PropertiesRef::parse(properties).map_err(|_| PropertiesRef::malformed())?;
    let asks_for_reply = parsed.reply_to == Some(REPLY_TO);
    let reply_address = asks_for_reply.then(|| broker.reply_address(caller.channel)).transpose()?;
    if let Some(user_id) = parsed.user_id
        && user_id != broker.user_name(caller.user).as_bytes()
        && !broker.may_impersonate(caller.user)
    {
        let user = broker.user_name(caller.user);
        let user_id = String::from_utf8_lossy(user_id);
        let explanation = format!("user_id property set to '{user_id}' but authenticated user was '{user}'");
        return Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation));
    }
    let attributes = attributes(&parsed)?;
    let mut extra_keys = Vec::new();
    extra_routing_keys(&parsed, b"CC", &mut extra_keys)?;
    let copies = extra_keys.len();
    extra_routing_keys(&parsed, b"BCC", &mut extra_keys)?;
    let has_blind_copies =
        extra_keys.len() > copies || parsed.headers.is_some_and(|headers| headers.get(b"BCC").is_some());
    // Copied and written again they come out as `l`: several clients can't read `L`.
    let has_unsigned_longs = parsed.headers.is_some_and(|headers| headers.holds_unsigned_long());
    let replaced = (has_blind_copies || asks_for_reply || has_unsigned_longs).then(|| {
        let mut owned = parsed.to_owned();
        if let Some(address) = reply_address {
            owned.reply_to = Some(ShortString::truncated(address.as_bytes()));
        }
        remove_header(&mut owned, b"BCC");
        let mut encoded = Vec::new();
        owned.encode(&mut encoded);
        encoded
    });
    Ok(PublishedProperties { attributes, extra_keys, replaced })
}

/// What queues must know of a message that is published again, after the rules were applied to it before, and the routing
/// keys of its copies. Those that nobody may see are taken out of it.
pub fn read_again(frames: &mut Vec<u8>, header_frame_length: &mut usize) -> (Attributes, Vec<ShortString>) {
    let properties = &frames[PROPERTIES_OFFSET..*header_frame_length - 1];
    if let Some(attributes) = plain_attributes(properties) {
        return (attributes, Vec::new());
    }
    let parsed = PropertiesRef::parse(properties).unwrap_or_default();
    let mut keys = Vec::new();
    let copied =
        extra_routing_keys(&parsed, b"CC", &mut keys).and_then(|()| extra_routing_keys(&parsed, BCC, &mut keys));
    let attributes = attributes(&parsed);
    debug_assert!(copied.is_ok() && attributes.is_ok(), "it was refused when it was published");
    if parsed.headers.is_some_and(|headers| headers.get(BCC).is_some()) {
        let (mut owned, mut encoded) = (parsed.to_owned(), Vec::new());
        remove_header(&mut owned, BCC);
        owned.encode(&mut encoded);
        *header_frame_length = replace_properties(frames, *header_frame_length, &encoded);
    }
    (attributes.unwrap_or_default(), keys)
}

fn extra_routing_keys(
    properties: &PropertiesRef<'_>,
    header: &'static [u8],
    keys: &mut Vec<ShortString>,
) -> Result<(), AmqpError> {
    match properties.headers.and_then(|headers| headers.get(header)) {
        None => Ok(()),
        Some(FieldValueRef::Array(array)) => {
            keys.extend(array.iter().filter_map(|value| match value {
                FieldValueRef::LongString(key) => ShortString::new(key),
                _ => None,
            }));
            Ok(())
        }
        Some(other) => {
            let header = String::from_utf8_lossy(header);
            let explanation = format!(
                "invalid message: {{unacceptable_type_in_header,\"{header}\",{}}}",
                type_name(&other.to_owned())
            );
            Err(AmqpError::channel(ReplyCode::PreconditionFailed, explanation))
        }
    }
}
