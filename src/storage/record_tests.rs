//! Records as bytes and back, and bytes that are none.

use super::*;
use crate::protocol::FieldValue;
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
            Ok(Record::Purged { .. } | Record::Delivered { .. } | Record::Definition(_)) => {}
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
        Definition::Bound(binding(DurableDestination::Queue("queue".into()))),
        Definition::Unbound(binding(DurableDestination::Exchange("exchange".into()))),
    ]
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
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, kind in 0_u8..12) {
        let length = bytes.len() as u32 + 1;
        bytes.splice(0..0, length.to_le_bytes().into_iter().chain([kind]));
        walk(&bytes);
    }

    #[test]
    fn mutated_records_are_read_or_refused(changes in prop::collection::vec((0_usize..400, any::<u8>()), 1..4)) {
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
    assert_eq!(walk(&whole), 10);
    (0..whole.len()).for_each(|length| assert!(walk(&whole[..length]) < 10));
}
