//! Records as bytes and back, and bytes that are none.

use super::*;
use crate::broker::exchange::ExchangeKind;
use crate::broker::store::{
    ApplyTo, DurableBinding, DurableDestination, PolicyDefinition, PolicyKind, UserDefinition, VhostDefinition, VhostId,
};
use crate::protocol::{FieldTable, FieldValue};
use bytes::Bytes;
use proptest::prelude::*;

const ADDRESS: &[u8] = b"\x01x\x03key\xCE";
const FRAMES: &[u8] = b"\x02\x00\x00\x00\x00\x00\x0E\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\xCE\
                        \x03\x00\x00\x00\x00\x00\x05hello\xCE";

fn content(body: Option<&Bytes>) -> Content<'_> {
    let frames = if body.is_some() { &FRAMES[..22] } else { FRAMES };
    Content { address: ADDRESS, frames, header_frame_length: 22, shared_body: body }
}

fn route(queue: u64, sequence: u64, expires_at_ms: Option<u64>) -> Route {
    Route { queue: DurableQueueId(queue), sequence, expires_at_ms }
}

/// Reads all records and walks through what they hold.
fn walk(bytes: &[u8]) -> usize {
    let mut cursor = Cursor::new(bytes);
    let mut records = 0;
    while !cursor.is_empty() {
        match read_record(&mut cursor) {
            Ok(Record::Enqueue(enqueue)) => {
                let Enqueue { address, frames, header_frame_length, .. } = enqueue;
                let content = Content { address, frames, header_frame_length, shared_body: None };
                let _ = (content.exchange(), content.routing_key(), content.properties(), content.body());
                enqueue.routes.for_each(drop);
            }
            Ok(Record::Removed { ranges, .. }) => ranges.for_each(|(first, last)| assert!(first <= last)),
            Ok(Record::Purged { .. } | Record::Delivered { .. } | Record::Returned { .. } | Record::Definition(_)) => {}
            Err(BadRecord) => break,
        }
        records += 1;
    }
    records
}

#[test]
fn a_message_is_written_once_for_all_its_queues() {
    for body in [None, Some(Bytes::from(vec![7; 5000]))] {
        let routes = [route(1, 0, None), route(300, u64::MAX, Some(0)), route(2, 9, Some(1_800_000_000_000))];
        let mut out = Vec::new();
        let start = put_enqueue(&mut out, &content(body.as_ref()), 4, routes[0]);
        routes[1..].iter().for_each(|route| put_route(&mut out, start, *route));
        let mut cursor = Cursor::new(&out);
        let Ok(Record::Enqueue(read)) = read_record(&mut cursor) else { panic!("an enqueue") };
        assert!(cursor.is_empty());
        assert_eq!((read.address, read.header_frame_length, read.priority), (ADDRESS, 22, 4));
        assert_eq!(read.body, body.as_deref());
        assert_eq!(read.routes.collect::<Vec<_>>(), routes);

        let mut moved = Vec::new();
        put_moved(&mut moved, &read, routes.into_iter());
        assert_eq!(moved, out, "a moved record is the same record");
    }
}

#[test]
fn ranges_come_back() {
    let ranges = [(0, 0), (2, 9), (1000, u64::MAX)];
    let mut out = Vec::new();
    put_removed(&mut out, DurableQueueId(5), ranges.into_iter());
    let Ok(Record::Removed { queue, ranges: read }) = read_record(&mut Cursor::new(&out)) else { panic!("removed") };
    assert_eq!((queue, read.collect::<Vec<_>>()), (DurableQueueId(5), ranges.to_vec()));
}

#[test]
fn a_mark_of_what_was_delivered_comes_back() {
    let mut out = Vec::new();
    put_delivered(&mut out, DurableQueueId(300), u64::MAX);
    let read = read_record(&mut Cursor::new(&out));
    assert!(matches!(read, Ok(Record::Delivered { queue: DurableQueueId(300), below: u64::MAX })), "{read:?}");
}

#[test]
fn how_often_a_message_came_back_comes_back() {
    let told = Returns::new(300, 7);
    let mut out = Vec::new();
    put_returned(&mut out, DurableQueueId(300), u64::MAX, told);
    let mut bytes = Cursor::new(&out);
    let read = read_record(&mut bytes);
    let Ok(Record::Returned { queue: DurableQueueId(300), sequence: u64::MAX, returns }) = read else {
        panic!("{read:?}")
    };
    assert_eq!((returns, bytes.is_empty()), (told, true));
}

fn definitions() -> Vec<Definition> {
    let arguments = FieldTable(vec![("x-max-length".into(), FieldValue::I32(9))]);
    let vhost = VhostId(3);
    let binding = |destination| DurableBinding {
        vhost,
        source: "source".into(),
        destination,
        routing_key: "key.#".into(),
        arguments: arguments.clone(),
    };
    vec![
        Definition::QueueDeclared {
            id: DurableQueueId(7),
            vhost: VhostId(u32::MAX),
            name: "queue".into(),
            auto_delete: true,
            arguments: arguments.clone(),
            top_level: 0,
        },
        Definition::QueueDeclared {
            id: DurableQueueId(8),
            vhost,
            name: "".into(),
            auto_delete: false,
            arguments: arguments.clone(),
            top_level: u8::MAX,
        },
        Definition::QueueDeleted { id: DurableQueueId(u64::MAX) },
        Definition::ExchangeDeclared {
            vhost,
            name: "exchange".into(),
            kind: ExchangeKind::Headers,
            auto_delete: false,
            internal: true,
            arguments: arguments.clone(),
        },
        Definition::ExchangeDeleted { vhost, name: "".into() },
        Definition::DelayedDeclared { id: DurableQueueId(300), vhost, exchange: "later".into() },
        Definition::ValuesDeclared { id: DurableQueueId(301), vhost, exchange: "once".into() },
        Definition::Bound(binding(DurableDestination::Queue("queue".into()))),
        Definition::Unbound(binding(DurableDestination::Exchange("exchange".into()))),
        Definition::VhostDeclared(VhostDefinition {
            id: vhost,
            name: "a vhost".into(),
            description: "für alle".into(),
            tags: vec!["production".into(), "".into()],
            default_queue_type: Some("".into()),
            tracing: true,
            max_queues: Some(0),
            max_connections: Some(u64::MAX),
            is_protected: true,
        }),
        Definition::VhostDeclared(plain_vhost()),
        Definition::VhostDeleted { vhost },
        Definition::UserDeclared(UserDefinition {
            name: "somebody".into(),
            password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
            tags: vec!["administrator".into(), "of the house".into()],
            max_connections: Some(300),
            max_channels: Some(0),
        }),
        Definition::UserDeclared(plain_user()),
        Definition::UserDeleted { name: "somebody".into() },
        Definition::Permitted {
            user: "somebody".into(),
            vhost,
            configure: "".into(),
            write: "^ä{1,3}$".into(),
            read: ".*".into(),
        },
        Definition::Forbidden { user: "somebody".into(), vhost: VhostId(0) },
        Definition::TopicPermitted {
            user: "somebody".into(),
            vhost,
            exchange: "amq.topic".into(),
            write: "^{username}".into(),
            read: "".into(),
        },
        Definition::TopicForbidden { user: "somebody".into(), vhost, exchange: Some("".into()) },
        Definition::TopicForbidden { user: "somebody".into(), vhost, exchange: None },
        Definition::PolicyPut(PolicyDefinition {
            vhost,
            kind: PolicyKind::Operator,
            name: "policy".into(),
            pattern: "^a".into(),
            apply_to: ApplyTo::QuorumQueues,
            priority: i64::MIN,
            settings: arguments.clone(),
        }),
        Definition::PolicyDeleted { vhost, kind: PolicyKind::User, name: "policy".into() },
        Definition::GlobalParameterPut { name: "parameter".into(), value: r#"{"a":[1,null]}"#.into() },
        Definition::GlobalParameterDeleted { name: "parameter".into() },
    ]
}

/// One of which nothing is said.
fn plain_vhost() -> VhostDefinition {
    VhostDefinition {
        id: VhostId(0),
        name: "/".into(),
        description: "".into(),
        tags: Vec::new(),
        default_queue_type: None,
        tracing: false,
        max_queues: None,
        max_connections: None,
        is_protected: false,
    }
}

fn plain_user() -> UserDefinition {
    UserDefinition {
        name: "u".into(),
        password: "".into(),
        tags: Vec::new(),
        max_connections: None,
        max_channels: None,
    }
}

fn refused(kind: u8, payload: &[u8]) -> bool {
    let mut record = (payload.len() as u32 + 1).to_le_bytes().to_vec();
    record.push(kind);
    record.extend_from_slice(payload);
    read_record(&mut Cursor::new(&record)).is_err()
}

#[test]
fn attributes_are_known_and_in_order_or_there_is_no_record() {
    let of_user = |attributes: &[u8]| refused(kind::USER_DECLARED, &[b"\x01u\0", attributes].concat());
    assert!(!of_user(b"\x00"));
    assert!(!of_user(b"\x02\x0Fmax-connections\x01\x07\x04tags\x03\x02ab"));
    for (why, attributes) in [
        ("fewer than announced", &b"\x01"[..]),
        ("more than announced", b"\x00\x04tags\x00"),
        ("more than can be", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x04tags\x00"),
        ("unknown", b"\x01\x03age\x01\x07"),
        ("a vhost's", b"\x01\x07tracing\x00"),
        ("twice", b"\x02\x04tags\x00\x04tags\x00"),
        ("out of order", b"\x02\x04tags\x00\x0Fmax-connections\x01\x07"),
        ("a number and more", b"\x01\x0Fmax-connections\x02\x07\x07"),
        ("no number", b"\x01\x0Fmax-connections\x00"),
        ("half a tag", b"\x01\x04tags\x02\x02a"),
        ("no text", b"\x01\x04tags\x02\x01\xFF"),
    ] {
        assert!(of_user(attributes), "{why}");
    }
    let of_vhost = |attributes: &[u8]| refused(kind::VHOST_DECLARED, &[b"\x00\x01/", attributes].concat());
    assert!(!of_vhost(b"\x01\x07tracing\x00"));
    assert!(of_vhost(b"\x01\x07tracing\x01\x01"), "it says no more than that it is there");
    assert!(of_vhost(b"\x01\x0Cmax-channels\x01\x07"), "a user's");
    assert!(of_vhost(b"\x01\x0Bdescription\x01\xFF"), "no text");
}

#[test]
fn what_nothing_is_said_of_takes_no_room() {
    let mut out = Vec::new();
    put_definition(&mut out, &Definition::VhostDeclared(plain_vhost()));
    put_definition(&mut out, &Definition::UserDeclared(plain_user()));
    assert_eq!(out, b"\x05\0\0\0\x0C\0\x01/\0\x05\0\0\0\x10\x01u\0\0");
}

#[test]
fn nobody_reads_a_hash_along() {
    let user = UserDefinition { password: "secret".into(), ..plain_user() };
    assert!(!format!("{:?}", Definition::UserDeclared(user)).contains("secret"));
}

#[test]
fn definitions_come_back() {
    for definition in definitions() {
        let mut out = Vec::new();
        put_definition(&mut out, &definition);
        let Ok(Record::Definition(read)) = read_record(&mut Cursor::new(&out)) else { panic!("{definition:?}") };
        assert_eq!(read, definition);
    }
}

fn one_of_each() -> Vec<u8> {
    let mut out = Vec::new();
    put_enqueue(&mut out, &content(None), 4, route(1, 2, Some(3)));
    put_enqueue(&mut out, &content(Some(&Bytes::from_static(b"large"))), 4, route(1, 3, None));
    put_removed(&mut out, DurableQueueId(1), [(1, 1), (5, 9)].into_iter());
    put_purged(&mut out, DurableQueueId(1), 8);
    definitions().iter().for_each(|definition| put_definition(&mut out, definition));
    out
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, kind in 0_u8..23) {
        let length = bytes.len() as u32 + 1;
        bytes.splice(0..0, length.to_le_bytes().into_iter().chain([kind]));
        walk(&bytes);
    }

    #[test]
    fn mutated_records_are_read_or_refused(changes in prop::collection::vec((0_usize..1000, any::<u8>()), 1..4)) {
        let mut bytes = one_of_each();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        walk(&bytes);
    }
}

#[test]
fn every_cut_is_noticed() {
    let whole = one_of_each();
    let records = 4 + definitions().len();
    assert_eq!(walk(&whole), records);
    (0..whole.len()).for_each(|length| assert!(walk(&whole[..length]) < records));
}
