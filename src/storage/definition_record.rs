//! Records of what exists, apart from messages.
//!
//! ```text
//! queue declared    │ queue │ vhost │ name │ auto-delete │ arguments
//! … with levels     │ highest level │ as queue declared
//! queue deleted     │ queue
//! exchange declared │ vhost │ name │ type │ auto-delete │ internal │ arguments
//! delayed declared  │ queue │ vhost │ exchange
//! values declared   │ queue │ vhost │ exchange
//! exchange deleted  │ vhost │ name
//! bound, unbound    │ vhost │ source │ to an exchange │ destination │ routing key │ arguments
//! vhost declared    │ vhost │ name │ attributes
//! vhost deleted     │ vhost
//! user declared     │ name │ password's hash │ attributes
//! user deleted      │ name
//! permitted         │ user │ vhost │ configure │ write │ read
//! forbidden         │ user │ vhost
//! topic permitted   │ user │ vhost │ exchange │ write │ read
//! topic forbidden   │ user │ vhost │ of one exchange │ [exchange]
//! policy put        │ vhost │ operator's │ name │ pattern │ apply-to │ priority, 8 bytes │ settings
//! policy deleted    │ vhost │ operator's │ name
//! parameter put     │ name │ value
//! parameter deleted │ name
//! attributes        │ how many │ (key │ value) …        by ascending key; those that say nothing are left out
//! ```
//! Queues and vhosts are varints, what is yes or no is a byte, all others are counted: strings, tables with their entries
//! as on the wire, and values of attributes. Such a value is a text, a varint, counted texts up to its end, or nothing if
//! the key says it all. A key that is not known makes the record none: whoever adds one makes a new format.

use super::record::{begin, end, kind};
use crate::broker::exchange::ExchangeKind;
use crate::broker::store::{
    ApplyTo, Definition, DurableBinding, DurableDestination, DurableQueueId, PolicyDefinition, PolicyKind,
    UserDefinition, VhostDefinition, VhostId,
};
use crate::protocol::{FieldTable, ShortString};
use crate::varint::{Cursor, put_counted_bytes, put_varint};

mod key {
    pub const DEFAULT_QUEUE_TYPE: &[u8] = b"default-queue-type";
    pub const DESCRIPTION: &[u8] = b"description";
    pub const MAX_CHANNELS: &[u8] = b"max-channels";
    pub const MAX_CONNECTIONS: &[u8] = b"max-connections";
    pub const MAX_QUEUES: &[u8] = b"max-queues";
    pub const PROTECTED_FROM_DELETION: &[u8] = b"protected-from-deletion";
    pub const TAGS: &[u8] = b"tags";
    pub const TRACING: &[u8] = b"tracing";
}

pub fn put_definition(out: &mut Vec<u8>, definition: &Definition) {
    let start = out.len();
    match definition {
        Definition::QueueDeclared { id, vhost, name, auto_delete, arguments, top_level } => {
            if *top_level == 0 {
                begin(out, kind::QUEUE_DECLARED);
            } else {
                begin(out, kind::QUEUE_DECLARED_WITH_LEVELS);
                out.push(*top_level);
            }
            put_varint(out, id.0);
            put_vhost(out, *vhost);
            put_counted_bytes(out, name);
            out.push(u8::from(*auto_delete));
            put_arguments(out, arguments);
        }
        Definition::QueueDeleted { id } => {
            begin(out, kind::QUEUE_DELETED);
            put_varint(out, id.0);
        }
        Definition::ExchangeDeclared { vhost, name, kind: exchange_kind, auto_delete, internal, arguments } => {
            begin(out, kind::EXCHANGE_DECLARED);
            put_vhost(out, *vhost);
            put_counted_bytes(out, name);
            put_counted_bytes(out, exchange_kind.name().as_bytes());
            out.extend_from_slice(&[u8::from(*auto_delete), u8::from(*internal)]);
            put_arguments(out, arguments);
        }
        Definition::DelayedDeclared { id, vhost, exchange } | Definition::ValuesDeclared { id, vhost, exchange } => {
            let is_delayed = matches!(definition, Definition::DelayedDeclared { .. });
            begin(out, if is_delayed { kind::DELAYED_DECLARED } else { kind::VALUES_DECLARED });
            put_varint(out, id.0);
            put_vhost(out, *vhost);
            put_counted_bytes(out, exchange);
        }
        Definition::ExchangeDeleted { vhost, name } => {
            begin(out, kind::EXCHANGE_DELETED);
            put_vhost(out, *vhost);
            put_counted_bytes(out, name);
        }
        Definition::Bound(binding) => return put_bound(out, binding),
        Definition::Unbound(binding) => {
            begin(out, kind::UNBOUND);
            put_binding(out, binding);
        }
        Definition::VhostDeclared(vhost) => {
            begin(out, kind::VHOST_DECLARED);
            put_vhost_definition(out, vhost);
        }
        Definition::VhostDeleted { vhost } => {
            begin(out, kind::VHOST_DELETED);
            put_vhost(out, *vhost);
        }
        Definition::UserDeclared(user) => {
            begin(out, kind::USER_DECLARED);
            put_user_definition(out, user);
        }
        Definition::UserDeleted { name } => {
            begin(out, kind::USER_DELETED);
            put_counted_bytes(out, name);
        }
        Definition::Permitted { user, vhost, configure, write, read } => {
            begin(out, kind::PERMITTED);
            put_counted_bytes(out, user);
            put_vhost(out, *vhost);
            [configure, write, read].into_iter().for_each(|pattern| put_counted_bytes(out, pattern.as_bytes()));
        }
        Definition::Forbidden { user, vhost } => {
            begin(out, kind::FORBIDDEN);
            put_counted_bytes(out, user);
            put_vhost(out, *vhost);
        }
        Definition::TopicPermitted { user, vhost, exchange, write, read } => {
            begin(out, kind::TOPIC_PERMITTED);
            put_counted_bytes(out, user);
            put_vhost(out, *vhost);
            put_counted_bytes(out, exchange);
            [write, read].into_iter().for_each(|pattern| put_counted_bytes(out, pattern.as_bytes()));
        }
        Definition::TopicForbidden { user, vhost, exchange } => {
            begin(out, kind::TOPIC_FORBIDDEN);
            put_counted_bytes(out, user);
            put_vhost(out, *vhost);
            out.push(u8::from(exchange.is_some()));
            exchange.iter().for_each(|exchange| put_counted_bytes(out, exchange));
        }
        Definition::PolicyPut(policy) => {
            let PolicyDefinition { vhost, kind: of, name, pattern, apply_to, priority, settings } = policy;
            begin(out, kind::POLICY_PUT);
            put_policy_name(out, *vhost, *of, name);
            put_counted_bytes(out, pattern.as_bytes());
            put_counted_bytes(out, apply_to.name().as_bytes());
            out.extend_from_slice(&priority.to_le_bytes());
            put_arguments(out, settings);
        }
        Definition::PolicyDeleted { vhost, kind: of, name } => {
            begin(out, kind::POLICY_DELETED);
            put_policy_name(out, *vhost, *of, name);
        }
        Definition::GlobalParameterPut { name, value } => {
            begin(out, kind::GLOBAL_PARAMETER_PUT);
            put_counted_bytes(out, name);
            put_counted_bytes(out, value.as_bytes());
        }
        Definition::GlobalParameterDeleted { name } => {
            begin(out, kind::GLOBAL_PARAMETER_DELETED);
            put_counted_bytes(out, name);
        }
    }
    end(out, start);
}

/// Writes the definition of a binding.
pub fn put_bound(out: &mut Vec<u8>, binding: &DurableBinding) {
    let start = begin(out, kind::BOUND);
    put_binding(out, binding);
    end(out, start);
}

fn put_binding(out: &mut Vec<u8>, binding: &DurableBinding) {
    put_vhost(out, binding.vhost);
    put_counted_bytes(out, &binding.source);
    let (is_exchange, destination) = match &binding.destination {
        DurableDestination::Queue(name) => (0, name),
        DurableDestination::Exchange(name) => (1, name),
    };
    out.push(is_exchange);
    put_counted_bytes(out, destination);
    put_counted_bytes(out, &binding.routing_key);
    put_arguments(out, &binding.arguments);
}

fn put_vhost(out: &mut Vec<u8>, vhost: VhostId) {
    put_varint(out, u64::from(vhost.0));
}

fn put_policy_name(out: &mut Vec<u8>, vhost: VhostId, kind: PolicyKind, name: &ShortString) {
    put_vhost(out, vhost);
    out.push(u8::from(kind == PolicyKind::Operator));
    put_counted_bytes(out, name);
}

fn put_arguments(out: &mut Vec<u8>, arguments: &FieldTable) {
    let mut entries = Vec::new();
    arguments.encode_entries(&mut entries);
    put_counted_bytes(out, &entries);
}

fn put_vhost_definition(out: &mut Vec<u8>, vhost: &VhostDefinition) {
    let VhostDefinition {
        id,
        name,
        description,
        tags,
        default_queue_type,
        tracing,
        max_queues,
        max_connections,
        is_protected,
    } = vhost;
    put_vhost(out, *id);
    put_counted_bytes(out, name);
    put_attributes(
        out,
        &[
            (key::DEFAULT_QUEUE_TYPE, default_queue_type.as_ref().map(|name| name.as_bytes().to_vec())),
            (key::DESCRIPTION, (!description.is_empty()).then(|| description.as_bytes().to_vec())),
            (key::MAX_CONNECTIONS, max_connections.map(number_value)),
            (key::MAX_QUEUES, max_queues.map(number_value)),
            (key::PROTECTED_FROM_DELETION, is_protected.then(Vec::new)),
            (key::TAGS, texts_value(tags)),
            (key::TRACING, tracing.then(Vec::new)),
        ],
    );
}

fn put_user_definition(out: &mut Vec<u8>, user: &UserDefinition) {
    let UserDefinition { name, password, tags, max_connections, max_channels } = user;
    put_counted_bytes(out, name);
    put_counted_bytes(out, password.as_bytes());
    put_attributes(
        out,
        &[
            (key::MAX_CHANNELS, max_channels.map(number_value)),
            (key::MAX_CONNECTIONS, max_connections.map(number_value)),
            (key::TAGS, texts_value(tags)),
        ],
    );
}

/// Writes those that have a value; they are sorted by key.
fn put_attributes(out: &mut Vec<u8>, attributes: &[(&[u8], Option<Vec<u8>>)]) {
    debug_assert!(attributes.is_sorted_by(|(a, _), (b, _)| a < b));
    let said = || attributes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    put_varint(out, said().count() as u64);
    for (key, value) in said() {
        put_counted_bytes(out, key);
        put_counted_bytes(out, value);
    }
}

fn number_value(number: u64) -> Vec<u8> {
    let mut value = Vec::new();
    put_varint(&mut value, number);
    value
}

fn texts_value(texts: &[Box<str>]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    texts.iter().for_each(|text| put_counted_bytes(&mut value, text.as_bytes()));
    (!texts.is_empty()).then_some(value)
}

/// The definition of a kind, from what is behind the kind. What is left over is for the caller to look at.
pub(super) fn decode_definition(kind: u8, cursor: &mut Cursor<'_>) -> Option<Definition> {
    Some(match kind {
        kind::QUEUE_DECLARED => queue_declared(cursor, 0)?,
        kind::QUEUE_DECLARED_WITH_LEVELS => {
            let top_level = cursor.u8().filter(|top_level| *top_level > 0)?;
            queue_declared(cursor, top_level)?
        }
        kind::QUEUE_DELETED => Definition::QueueDeleted { id: DurableQueueId(cursor.varint()?) },
        kind::EXCHANGE_DECLARED => Definition::ExchangeDeclared {
            vhost: vhost(cursor)?,
            name: short_string(cursor)?,
            kind: ExchangeKind::from_name(cursor.counted_bytes()?)?,
            auto_delete: boolean(cursor)?,
            internal: boolean(cursor)?,
            arguments: arguments(cursor)?,
        },
        kind::DELAYED_DECLARED => Definition::DelayedDeclared {
            id: DurableQueueId(cursor.varint()?),
            vhost: vhost(cursor)?,
            exchange: short_string(cursor)?,
        },
        kind::VALUES_DECLARED => Definition::ValuesDeclared {
            id: DurableQueueId(cursor.varint()?),
            vhost: vhost(cursor)?,
            exchange: short_string(cursor)?,
        },
        kind::EXCHANGE_DELETED => Definition::ExchangeDeleted { vhost: vhost(cursor)?, name: short_string(cursor)? },
        kind::BOUND => Definition::Bound(binding(cursor)?),
        kind::UNBOUND => Definition::Unbound(binding(cursor)?),
        kind::VHOST_DECLARED => Definition::VhostDeclared(vhost_definition(cursor)?),
        kind::VHOST_DELETED => Definition::VhostDeleted { vhost: vhost(cursor)? },
        kind::USER_DECLARED => Definition::UserDeclared(user_definition(cursor)?),
        kind::USER_DELETED => Definition::UserDeleted { name: short_string(cursor)? },
        kind::PERMITTED => Definition::Permitted {
            user: short_string(cursor)?,
            vhost: vhost(cursor)?,
            configure: counted_text(cursor)?,
            write: counted_text(cursor)?,
            read: counted_text(cursor)?,
        },
        kind::FORBIDDEN => Definition::Forbidden { user: short_string(cursor)?, vhost: vhost(cursor)? },
        kind::TOPIC_PERMITTED => Definition::TopicPermitted {
            user: short_string(cursor)?,
            vhost: vhost(cursor)?,
            exchange: short_string(cursor)?,
            write: counted_text(cursor)?,
            read: counted_text(cursor)?,
        },
        kind::TOPIC_FORBIDDEN => Definition::TopicForbidden {
            user: short_string(cursor)?,
            vhost: vhost(cursor)?,
            exchange: if boolean(cursor)? { Some(short_string(cursor)?) } else { None },
        },
        kind::POLICY_PUT => Definition::PolicyPut(PolicyDefinition {
            vhost: vhost(cursor)?,
            kind: policy_kind(cursor)?,
            name: short_string(cursor)?,
            pattern: counted_text(cursor)?,
            apply_to: ApplyTo::from_name(cursor.counted_bytes()?)?,
            priority: i64::from_le_bytes(cursor.bytes(size_of::<i64>())?.try_into().ok()?),
            settings: arguments(cursor)?,
        }),
        kind::POLICY_DELETED => {
            Definition::PolicyDeleted { vhost: vhost(cursor)?, kind: policy_kind(cursor)?, name: short_string(cursor)? }
        }
        kind::GLOBAL_PARAMETER_PUT => {
            Definition::GlobalParameterPut { name: short_string(cursor)?, value: counted_text(cursor)?.into() }
        }
        kind::GLOBAL_PARAMETER_DELETED => Definition::GlobalParameterDeleted { name: short_string(cursor)? },
        _ => return None,
    })
}

fn queue_declared(cursor: &mut Cursor<'_>, top_level: u8) -> Option<Definition> {
    let id = DurableQueueId(cursor.varint()?);
    id.0.checked_add(u64::from(top_level))?;
    Some(Definition::QueueDeclared {
        id,
        vhost: vhost(cursor)?,
        name: short_string(cursor)?,
        auto_delete: boolean(cursor)?,
        arguments: arguments(cursor)?,
        top_level,
    })
}

fn binding(cursor: &mut Cursor<'_>) -> Option<DurableBinding> {
    let (vhost, source) = (vhost(cursor)?, short_string(cursor)?);
    let is_exchange = boolean(cursor)?;
    let destination = short_string(cursor)?;
    let destination =
        if is_exchange { DurableDestination::Exchange(destination) } else { DurableDestination::Queue(destination) };
    Some(DurableBinding {
        vhost,
        source,
        destination,
        routing_key: short_string(cursor)?,
        arguments: arguments(cursor)?,
    })
}

fn vhost(cursor: &mut Cursor<'_>) -> Option<VhostId> {
    u32::try_from(cursor.varint()?).ok().map(VhostId)
}

fn short_string(cursor: &mut Cursor<'_>) -> Option<ShortString> {
    ShortString::new(cursor.counted_bytes()?)
}

fn boolean(cursor: &mut Cursor<'_>) -> Option<bool> {
    match cursor.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn policy_kind(cursor: &mut Cursor<'_>) -> Option<PolicyKind> {
    Some(if boolean(cursor)? { PolicyKind::Operator } else { PolicyKind::User })
}

fn arguments(cursor: &mut Cursor<'_>) -> Option<FieldTable> {
    FieldTable::decode_entries(cursor.counted_bytes()?).ok()
}

fn vhost_definition(cursor: &mut Cursor<'_>) -> Option<VhostDefinition> {
    let mut definition = VhostDefinition {
        id: vhost(cursor)?,
        name: short_string(cursor)?,
        description: Box::default(),
        tags: Vec::new(),
        default_queue_type: None,
        tracing: false,
        max_queues: None,
        max_connections: None,
        is_protected: false,
    };
    each_attribute(cursor, |key, value| {
        match key {
            key::DEFAULT_QUEUE_TYPE => definition.default_queue_type = Some(text(value)?),
            key::DESCRIPTION => definition.description = text(value)?,
            key::MAX_CONNECTIONS => definition.max_connections = Some(value.varint()?),
            key::MAX_QUEUES => definition.max_queues = Some(value.varint()?),
            key::PROTECTED_FROM_DELETION => definition.is_protected = true,
            key::TAGS => definition.tags = counted_texts(value)?,
            key::TRACING => definition.tracing = true,
            _ => return None,
        }
        Some(())
    })?;
    Some(definition)
}

fn user_definition(cursor: &mut Cursor<'_>) -> Option<UserDefinition> {
    let mut definition = UserDefinition {
        name: short_string(cursor)?,
        password: counted_text(cursor)?,
        tags: Vec::new(),
        max_connections: None,
        max_channels: None,
    };
    each_attribute(cursor, |key, value| {
        match key {
            key::MAX_CHANNELS => definition.max_channels = Some(value.varint()?),
            key::MAX_CONNECTIONS => definition.max_connections = Some(value.varint()?),
            key::TAGS => definition.tags = counted_texts(value)?,
            _ => return None,
        }
        Some(())
    })?;
    Some(definition)
}

/// Gives each attribute to `take`, which refuses keys that it does not know and must read values to their end.
fn each_attribute<'a>(
    cursor: &mut Cursor<'a>,
    mut take: impl FnMut(&[u8], &mut Cursor<'a>) -> Option<()>,
) -> Option<()> {
    let mut before: &[u8] = b"";
    for _ in 0..cursor.varint()? {
        let key = cursor.counted_bytes()?;
        let mut value = Cursor::new(cursor.counted_bytes()?);
        take(key, &mut value)?;
        if key <= before || !value.is_empty() {
            return None;
        }
        before = key;
    }
    Some(())
}

/// A text up to the end of a value.
fn text(value: &mut Cursor<'_>) -> Option<Box<str>> {
    str::from_utf8(value.bytes(value.rest().len())?).ok().map(Box::from)
}

fn counted_text(cursor: &mut Cursor<'_>) -> Option<Box<str>> {
    text(&mut Cursor::new(cursor.counted_bytes()?))
}

fn counted_texts(value: &mut Cursor<'_>) -> Option<Vec<Box<str>>> {
    let mut texts = Vec::new();
    while !value.is_empty() {
        texts.push(counted_text(value)?);
    }
    Some(texts)
}
