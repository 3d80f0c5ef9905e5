//! Every method of the protocol as one table, from which methods are both written and rendered.
//!
//! A field is `name:kind`; the kinds are 1, 2, 4 and 8 for integers of so many bytes, `s` and `S` for short and long
//! strings, `t` for tables and `b` for bits, which share an octet with their neighbours. Fields whose name starts
//! with `_` are reserved: written as zero, not rendered.

use super::fields::{Reader, put_long_string, put_number, put_short_string, put_table};
use super::notation::{Arguments, quote};

type Method = (u16, u16, &'static str, &'static str);

const METHODS: &[Method] = &[
    (10, 10, "connection.start", "version_major:1 version_minor:1 server_properties:t mechanisms:S locales:S"),
    (10, 11, "connection.start-ok", "client_properties:t mechanism:s response:S locale:s"),
    (10, 20, "connection.secure", "challenge:S"),
    (10, 21, "connection.secure-ok", "response:S"),
    (10, 30, "connection.tune", "channel_max:2 frame_max:4 heartbeat:2"),
    (10, 31, "connection.tune-ok", "channel_max:2 frame_max:4 heartbeat:2"),
    (10, 40, "connection.open", "virtual_host:s _capabilities:s _insist:b"),
    (10, 41, "connection.open-ok", "r1:s"),
    (10, 50, "connection.close", "code:2 text:s class:2 method:2"),
    (10, 51, "connection.close-ok", ""),
    (10, 60, "connection.blocked", "reason:s"),
    (10, 61, "connection.unblocked", ""),
    (10, 70, "connection.update-secret", "new_secret:S reason:s"),
    (10, 71, "connection.update-secret-ok", ""),
    (20, 10, "channel.open", "_out_of_band:s"),
    (20, 11, "channel.open-ok", "r1:S"),
    (20, 20, "channel.flow", "active:b"),
    (20, 21, "channel.flow-ok", "active:b"),
    (20, 40, "channel.close", "code:2 text:s class:2 method:2"),
    (20, 41, "channel.close-ok", ""),
    (30, 10, "access.request", "realm:s exclusive:b passive:b active:b write:b read:b"),
    (30, 11, "access.request-ok", "ticket:2"),
    (
        40,
        10,
        "exchange.declare",
        "_ticket:2 exchange:s type:s passive:b durable:b auto_delete:b internal:b nowait:b arguments:t",
    ),
    (40, 11, "exchange.declare-ok", ""),
    (40, 20, "exchange.delete", "_ticket:2 exchange:s if_unused:b nowait:b"),
    (40, 21, "exchange.delete-ok", ""),
    (40, 30, "exchange.bind", "_ticket:2 destination:s source:s routing_key:s nowait:b arguments:t"),
    (40, 31, "exchange.bind-ok", ""),
    (40, 40, "exchange.unbind", "_ticket:2 destination:s source:s routing_key:s nowait:b arguments:t"),
    (40, 51, "exchange.unbind-ok", ""),
    (50, 10, "queue.declare", "_ticket:2 queue:s passive:b durable:b exclusive:b auto_delete:b nowait:b arguments:t"),
    (50, 11, "queue.declare-ok", "queue:s message_count:4 consumer_count:4"),
    (50, 20, "queue.bind", "_ticket:2 queue:s exchange:s routing_key:s nowait:b arguments:t"),
    (50, 21, "queue.bind-ok", ""),
    (50, 30, "queue.purge", "_ticket:2 queue:s nowait:b"),
    (50, 31, "queue.purge-ok", "message_count:4"),
    (50, 40, "queue.delete", "_ticket:2 queue:s if_unused:b if_empty:b nowait:b"),
    (50, 41, "queue.delete-ok", "message_count:4"),
    (50, 50, "queue.unbind", "_ticket:2 queue:s exchange:s routing_key:s arguments:t"),
    (50, 51, "queue.unbind-ok", ""),
    (60, 10, "basic.qos", "prefetch_size:4 prefetch_count:2 global:b"),
    (60, 11, "basic.qos-ok", ""),
    (60, 20, "basic.consume", "_ticket:2 queue:s consumer_tag:s no_local:b no_ack:b exclusive:b nowait:b arguments:t"),
    (60, 21, "basic.consume-ok", "consumer_tag:s"),
    (60, 30, "basic.cancel", "consumer_tag:s nowait:b"),
    (60, 31, "basic.cancel-ok", "consumer_tag:s"),
    (60, 40, "basic.publish", "_ticket:2 exchange:s routing_key:s mandatory:b immediate:b"),
    (60, 50, "basic.return", "code:2 text:s exchange:s routing_key:s"),
    (60, 60, "basic.deliver", "consumer_tag:s delivery_tag:8 redelivered:b exchange:s routing_key:s"),
    (60, 70, "basic.get", "_ticket:2 queue:s no_ack:b"),
    (60, 71, "basic.get-ok", "delivery_tag:8 redelivered:b exchange:s routing_key:s message_count:4"),
    (60, 72, "basic.get-empty", "cluster_id:s"),
    (60, 80, "basic.ack", "delivery_tag:8 multiple:b"),
    (60, 90, "basic.reject", "delivery_tag:8 requeue:b"),
    (60, 100, "basic.recover-async", "requeue:b"),
    (60, 110, "basic.recover", "requeue:b"),
    (60, 111, "basic.recover-ok", ""),
    (60, 120, "basic.nack", "delivery_tag:8 multiple:b requeue:b"),
    (85, 10, "confirm.select", "nowait:b"),
    (85, 11, "confirm.select-ok", ""),
    (90, 10, "tx.select", ""),
    (90, 11, "tx.select-ok", ""),
    (90, 20, "tx.commit", ""),
    (90, 21, "tx.commit-ok", ""),
    (90, 30, "tx.rollback", ""),
    (90, 31, "tx.rollback-ok", ""),
];

fn fields(method: &Method) -> impl Iterator<Item = (&'static str, &'static str)> {
    method.3.split_whitespace().map(|field| field.split_once(':').expect("name:kind"))
}

/// The payload of a method frame. Fields that `arguments` does not name are zero, empty or false.
pub fn encode(name: &str, arguments: &mut Arguments) -> Vec<u8> {
    let method = METHODS.iter().find(|method| method.2 == name).unwrap_or_else(|| panic!("no method {name}"));
    let mut payload = Vec::new();
    put_number(&mut payload, method.0.into(), 2);
    put_number(&mut payload, method.1.into(), 2);
    let mut bits = 0;
    for (field, kind) in fields(method) {
        let value = arguments.take(field);
        if kind == "b" {
            if bits == 0 {
                payload.push(0);
            }
            let set = value.is_some_and(|text| super::notation::number(&text) == 1);
            *payload.last_mut().expect("pushed above") |= u8::from(set) << bits;
            bits += 1;
            continue;
        }
        bits = 0;
        let text = value.as_deref();
        match kind {
            "s" => put_short_string(&mut payload, &super::notation::string(text.unwrap_or(""))),
            "S" => put_long_string(&mut payload, &super::notation::string(text.unwrap_or(""))),
            "t" => put_table(&mut payload, text.unwrap_or("{}")),
            width => put_number(
                &mut payload,
                text.map_or(0, super::notation::number),
                width.parse().expect("a width in bytes"),
            ),
        }
    }
    payload
}

/// A method as a broker sent it: its name and its fields, rendered.
pub struct Received {
    pub name: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Received {
    pub fn decode(payload: &[u8]) -> Self {
        let mut reader = Reader(payload);
        let (class, id) = (reader.number(2), reader.number(2));
        let method = METHODS
            .iter()
            .find(|method| (u64::from(method.0), u64::from(method.1)) == (class, id))
            .unwrap_or_else(|| panic!("the broker sent method {class}.{id}"));
        let mut decoded = Vec::new();
        let (mut octet, mut bits) = (0, 0);
        for (field, kind) in fields(method) {
            let value = if kind == "b" {
                if bits == 0 {
                    octet = reader.number(1);
                }
                bits += 1;
                (octet >> (bits - 1) & 1 == 1).to_string()
            } else {
                bits = 0;
                match kind {
                    "s" => quote(reader.short_string()),
                    "S" => quote(reader.long_string()),
                    "t" => reader.table(),
                    width => reader.number(width.parse().expect("a width in bytes")).to_string(),
                }
            };
            decoded.push((field, value));
        }
        assert!(reader.0.is_empty(), "{} bytes after {}", reader.0.len(), method.2);
        Self { name: method.2, fields: decoded }
    }

    /// A field as the notation writes it, strings without their quotes.
    pub fn field(&self, name: &str) -> &str {
        let (_, value) = self.fields.iter().find(|(field, _)| *field == name).expect("a field of this method");
        value.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(value)
    }

    pub fn render(&self) -> String {
        if self.name.ends_with(".close") {
            let [code, text, class, method] = ["code", "text", "class", "method"].map(|name| self.field(name));
            return format!("{} {code} {} ({class},{method})", self.name, text.replace("\\'", "'"));
        }
        let shown: Vec<String> = self.fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
        if shown.is_empty() { self.name.to_owned() } else { format!("{}({})", self.name, shown.join(", ")) }
    }
}
