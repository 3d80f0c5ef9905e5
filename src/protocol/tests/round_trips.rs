//! Properties of the whole codec: what is encoded decodes to the same, what is cut is refused, and nothing panics.

use super::fixture::{basic_properties, deterministic, field_table, name, short_string};
use crate::protocol::decoder::Reader;
use crate::protocol::encoder::put_table;
use crate::protocol::frame::{FrameType, begin_frame, end_frame, parse_frame};
use crate::protocol::method::{Method, basic, connection, exchange, queue};
use crate::protocol::{ContentHeader, FieldTable, PropertiesRef, TableRef};
use proptest::prelude::*;

const FRAME_MAX: u32 = 131_072;

/// One method of every shape of arguments.
fn methods<'a>(name: &'a str, key: &'a [u8], number: u64, bits: [bool; 5], table: &FieldTable) -> Vec<Method<'a>> {
    let name = name.as_bytes();
    vec![
        Method::ConnectionStartOk(connection::StartOk {
            client_properties: table.clone(),
            mechanism: key,
            response: key,
            locale: name,
        }),
        Method::ConnectionTune(connection::Tune {
            channel_max: number as u16,
            frame_max: number as u32,
            heartbeat: number as u16,
        }),
        Method::ConnectionClose(connection::Close {
            reply_code: number as u16,
            reply_text: name,
            class_id: number as u16,
            method_id: 1,
        }),
        Method::ExchangeDeclare(exchange::Declare {
            exchange: name,
            exchange_type: name,
            passive: bits[0],
            durable: bits[1],
            auto_delete: bits[2],
            internal: bits[3],
            nowait: bits[4],
            arguments: table.clone(),
        }),
        Method::QueueDeclareOk(queue::DeclareOk {
            queue: name,
            message_count: number as u32,
            consumer_count: number as u32,
        }),
        Method::QueueBind(queue::Bind {
            queue: name,
            exchange: name,
            routing_key: name,
            nowait: bits[0],
            arguments: table.clone(),
        }),
        Method::BasicConsume(basic::Consume {
            queue: name,
            consumer_tag: name,
            no_local: bits[0],
            no_ack: bits[1],
            exclusive: bits[2],
            nowait: bits[3],
            arguments: table.clone(),
        }),
        Method::BasicPublish(basic::Publish {
            exchange: key,
            routing_key: key,
            mandatory: bits[0],
            immediate: bits[1],
        }),
        Method::BasicDeliver(basic::Deliver {
            consumer_tag: name,
            delivery_tag: number,
            redelivered: bits[0],
            exchange: name,
            routing_key: key,
        }),
        Method::BasicNack(basic::Nack { delivery_tag: number, multiple: bits[0], requeue: bits[1] }),
    ]
}

proptest! {
    #![proptest_config(deterministic())]

    #[test]
    fn methods_come_back_and_every_cut_is_refused(
        name in name(),
        key in short_string(),
        number in any::<u64>(),
        bits in any::<[bool; 5]>(),
        table in field_table(),
    ) {
        for method in methods(&name, &key, number, bits, &table) {
            let mut payload = Vec::new();
            method.encode_payload(&mut payload);
            prop_assert_eq!(Method::decode(&payload), Ok(method.clone()));
            for end in 0..payload.len() {
                prop_assert!(Method::decode(&payload[..end]).is_err(), "{} cut at {}", method.name(), end);
            }
            payload.push(0);
            prop_assert!(Method::decode(&payload).is_err(), "{} with an octet more", method.name());
        }
    }

    #[test]
    fn tables_come_back_and_every_cut_is_refused(table in field_table()) {
        let mut wire = Vec::new();
        put_table(&mut wire, &table);
        prop_assert_eq!(Reader::new(&wire).table(), Ok(table));
        for end in 0..wire.len() {
            prop_assert!(Reader::new(&wire[..end]).table().is_err());
        }
    }

    #[test]
    fn a_view_agrees_with_the_owned_table(table in field_table()) {
        let mut entries = Vec::new();
        table.encode_entries(&mut entries);
        let view = TableRef::parse(&entries).unwrap();
        prop_assert_eq!(&view.to_owned(), &table);
        prop_assert_eq!(view.iter().count(), table.len());
        for (key, _) in &table.0 {
            prop_assert_eq!(view.get(key).map(|value| value.to_owned()), table.get(key).cloned());
        }
    }

    #[test]
    fn properties_come_back_and_every_cut_is_refused(properties in basic_properties(), body_size in any::<u64>()) {
        let mut list = Vec::new();
        properties.encode(&mut list);
        let header = ContentHeader { class_id: 60, weight: 0, body_size, properties: &list };
        let mut payload = Vec::new();
        header.encode_payload(&mut payload);

        let parsed = ContentHeader::parse(&payload).unwrap();
        prop_assert_eq!(parsed, header);
        prop_assert_eq!(PropertiesRef::parse(parsed.properties).unwrap().to_owned(), properties);
        for end in 0..list.len() {
            prop_assert!(PropertiesRef::parse(&list[..end]).is_err());
        }
    }

    #[test]
    fn frames_come_back_and_every_cut_is_incomplete(
        channel in any::<u16>(),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut wire = Vec::new();
        let frame = begin_frame(&mut wire, FrameType::Body, channel);
        wire.extend_from_slice(&payload);
        end_frame(&mut wire, frame);

        let parsed = parse_frame(&wire, FRAME_MAX).unwrap().unwrap();
        prop_assert_eq!((parsed.channel, parsed.payload, parsed.wire_size()), (channel, &payload[..], wire.len()));
        for end in 0..wire.len() {
            prop_assert_eq!(parse_frame(&wire[..end], FRAME_MAX), Ok(None));
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse_frame(&bytes, FRAME_MAX) {
            error.to_amqp_error().reply_text();
        }
        if let Err(error) = Method::decode(&bytes) {
            error.to_amqp_error(&bytes).reply_text();
        }
        let _ = ContentHeader::parse(&bytes);
        if let Ok(properties) = PropertiesRef::parse(&bytes) {
            properties.to_owned();
        }
        if let Ok(table) = TableRef::parse(&bytes) {
            table.to_owned();
        }
    }

    /// Random bytes seldom get past a method's ids or a table's first tag: begin with what is valid, and spoil it.
    #[test]
    fn spoiled_methods_and_properties_never_panic(
        name in name(),
        key in short_string(),
        table in field_table(),
        properties in basic_properties(),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let spoil = |mut bytes: Vec<u8>| {
            for (index, octet) in &spoils {
                let at = index.index(bytes.len());
                bytes[at] = *octet;
            }
            bytes
        };
        for method in methods(&name, &key, 1, [true; 5], &table) {
            let mut payload = Vec::new();
            method.encode_payload(&mut payload);
            let payload = spoil(payload);
            // What is still a method is one that can be written again.
            if let Ok(method) = Method::decode(&payload) {
                let mut again = Vec::new();
                method.encode_payload(&mut again);
                prop_assert!(Method::decode(&again).is_ok());
            }
        }
        let mut list = Vec::new();
        properties.encode(&mut list);
        if let Ok(properties) = PropertiesRef::parse(&spoil(list)) {
            properties.to_owned();
        }
    }
}
