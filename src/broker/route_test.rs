//! Where a message would go and why, in names: nothing is published.

use super::exchange::{Explained, Step, Way};
use super::snapshot::{BindingSnapshot, copy_binding};
use super::store::Store;
use super::{Broker, VhostId};
use crate::protocol::{ArrayRef, FieldValueRef, PropertiesRef, ShortString};

/// Queues that are named.
const QUEUES_MAX: usize = 1_000;

/// What would become of a message.
pub struct RouteTest {
    /// Where it would go; one of several ways where chance decides.
    pub queues: Vec<ShortString>,
    /// How many those are: no more than so many are named.
    pub queue_count: usize,
    /// What each exchange on the way does with it.
    pub steps: Vec<RouteStep>,
    /// There are more bindings than were looked at.
    pub is_cut: bool,
}

pub struct RouteStep {
    pub exchange: ShortString,
    pub kind: &'static str,
    /// How it comes there.
    pub way: Way,
    pub bindings: Vec<BindingSnapshot>,
    /// One of them is taken by chance.
    pub by_chance: bool,
    /// It is kept for so long first, in milliseconds.
    pub delay_ms: Option<u64>,
    /// Nothing matches, and this one has it.
    pub alternate: Option<ShortString>,
}

impl<S: Store> Broker<S> {
    /// What would become of a message with this key and these properties, in wire form; `None` when there is no such exchange.
    pub fn test_route(
        &self,
        vhost: VhostId,
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
    ) -> Option<RouteTest> {
        let id = self.exchange_in(vhost, exchange)?;
        let properties = PropertiesRef::parse(properties).unwrap_or_default();
        let mut keys = vec![routing_key];
        for copies in [b"CC".as_slice(), b"BCC"] {
            if let Some(FieldValueRef::Array(copies)) = properties.headers.and_then(|headers| headers.get(copies)) {
                keys.extend(texts(copies));
            }
        }
        let Explained { queues, steps, is_cut } = self.router(vhost).explain(id, &keys, &properties, self.now_ms);
        let vhost = &self.vhosts[vhost];
        let step = |Step { exchange, way, matched, by_chance, delay_ms, alternate }: Step<'_>| RouteStep {
            exchange: exchange.name.clone(),
            kind: exchange.kind.name(),
            way,
            bindings: matched.into_iter().map(|binding| copy_binding(vhost, binding)).collect(),
            by_chance,
            delay_ms,
            alternate: alternate.map(|exchange| exchange.name.clone()),
        };
        let named = queues.iter().take(QUEUES_MAX);
        Some(RouteTest {
            queues: named.map(|queue| self.queue(*queue).properties.name.clone()).collect(),
            queue_count: queues.len(),
            steps: steps.into_iter().map(step).collect(),
            is_cut,
        })
    }
}

fn texts(values: ArrayRef<'_>) -> impl Iterator<Item = &[u8]> {
    values.iter().filter_map(|value| match value {
        FieldValueRef::LongString(text) => Some(text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::ComposedMessage;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST, caller};
    use crate::broker::{ConnectionId, DeclareRequest, ExchangeRequest, GetOutcome};
    use crate::protocol::{BasicProperties, FieldTable, FieldValue};
    use std::collections::BTreeSet;

    const CLIENT: ConnectionId = ConnectionId(0);

    fn text(text: &str) -> FieldValue {
        FieldValue::LongString(text.as_bytes().into())
    }

    fn table(entries: &[(&'static str, FieldValue)]) -> FieldTable {
        FieldTable(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn exchange(broker: &mut Broker<MemoryStore>, name: &str, kind: &str, arguments: FieldTable) {
        let (name, kind) = (name.as_bytes(), kind.as_bytes());
        let request = ExchangeRequest { name, kind, durable: false, auto_delete: false, internal: false, arguments };
        broker.declare_exchange(caller(broker, CLIENT), request).unwrap();
    }

    fn bind(broker: &mut Broker<MemoryStore>, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
        let [queue, exchange, key] = [queue, exchange, key].map(str::as_bytes);
        broker.bind_queue(caller(broker, CLIENT), queue, exchange, key, arguments).unwrap();
    }

    /// Exchanges of every kind whose routes are the same each time, bound to four queues and to each other.
    fn world() -> Broker<MemoryStore> {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        for name in [b"q0", b"q1", b"q2", b"q3"] {
            let arguments = FieldTable::default();
            let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
            broker.declare_queue(caller(&broker, CLIENT), request, &mut Nobody).unwrap();
        }
        for kind in ["direct", "fanout", "topic", "headers", "x-modulus-hash", "x-recent-history"] {
            exchange(&mut broker, kind, kind, table(&[("alternate-exchange", text("last"))]));
        }
        exchange(&mut broker, "hash", "x-consistent-hash", table(&[("hash-header", text("on"))]));
        exchange(&mut broker, "later", "x-delayed-message", table(&[("x-delayed-type", text("topic"))]));
        exchange(&mut broker, "last", "fanout", FieldTable::default());
        for (number, queue) in ["q0", "q1", "q2"].into_iter().enumerate() {
            for (exchange, key) in [("direct", "a.b"), ("topic", "a.#"), ("later", "*.b"), ("x-modulus-hash", "")] {
                let key = if number == 1 { "other" } else { key };
                bind(&mut broker, queue, exchange, key, FieldTable::default());
            }
            bind(&mut broker, queue, "hash", "1", FieldTable::default());
            let asks = [("x-match", text("any")), ("n", FieldValue::I64(number as i64)), ("some", FieldValue::Void)];
            bind(&mut broker, queue, "headers", "", table(&asks));
        }
        bind(&mut broker, "q3", "last", "", FieldTable::default());
        for (source, destination, key) in
            [("fanout", "direct", ""), ("topic", "fanout", "#.b"), ("direct", "topic", "x")]
        {
            let [source, destination, key] = [source, destination, key].map(str::as_bytes);
            let caller = caller(&broker, CLIENT);
            broker.bind_exchange(caller, source, destination, key, FieldTable::default()).unwrap();
        }
        broker
    }

    #[test]
    fn what_is_said_of_a_route_is_what_becomes_of_a_publish() {
        let mut broker = world();
        let headers = [
            table(&[]),
            table(&[("n", FieldValue::I8(1))]),
            table(&[("some", text("thing")), ("on", text("x"))]),
            table(&[("CC", FieldValue::Array(vec![text("other")]))]),
        ];
        let exchanges =
            ["", "direct", "fanout", "topic", "headers", "x-modulus-hash", "x-recent-history", "hash", "later", "last"];
        for exchange in exchanges {
            for key in ["a.b", "other", "x", "q2", "none"] {
                for headers in &headers {
                    let properties = BasicProperties { headers: Some(headers.clone()), ..BasicProperties::default() };
                    let mut encoded = Vec::new();
                    properties.encode(&mut encoded);
                    let test = broker.test_route(VHOST, exchange.as_bytes(), key.as_bytes(), &encoded).unwrap();
                    let said: BTreeSet<_> = test.queues.iter().cloned().collect();
                    let named = test.steps.iter().flat_map(|step| &step.bindings);
                    let named = named.filter(|binding| binding.destination_type == "queue");
                    let named: BTreeSet<_> = named.map(|binding| binding.destination.clone()).collect();
                    assert_eq!(said, named, "{exchange} {key} {headers:?}");
                    assert_eq!(test.queue_count, said.len());

                    let message = ComposedMessage::new(&exchange.into(), &key.into(), &properties, "".into());
                    message.publish(caller(&broker, CLIENT), usize::MAX, &mut broker, &mut Nobody).unwrap();
                    let reached = [b"q0", b"q1", b"q2", b"q3"].into_iter().filter(|queue| {
                        let got = broker.get(caller(&broker, CLIENT), *queue, true, &mut Nobody).unwrap();
                        matches!(got, GetOutcome::Got(_))
                    });
                    let reached: BTreeSet<ShortString> = reached.map(|queue| ShortString::truncated(queue)).collect();
                    assert_eq!(said, reached, "{exchange} {key} {headers:?}");
                }
            }
        }
        assert!(broker.test_route(VHOST, b"missing", b"", &[0, 0]).is_none());
    }

    #[test]
    fn chance_and_delays_are_said() {
        let mut broker = world();
        exchange(&mut broker, "any", "x-random", FieldTable::default());
        bind(&mut broker, "q0", "any", "", FieldTable::default());
        bind(&mut broker, "q1", "any", "", FieldTable::default());
        let test = broker.test_route(VHOST, b"any", b"", &[0, 0]).unwrap();
        assert_eq!((test.queue_count, test.steps[0].bindings.len(), test.steps[0].by_chance), (1, 2, true));
        let properties = BasicProperties {
            headers: Some(table(&[("x-delay", FieldValue::I32(500))])),
            ..BasicProperties::default()
        };
        let mut encoded = Vec::new();
        properties.encode(&mut encoded);
        let test = broker.test_route(VHOST, b"later", b"a.b", &encoded).unwrap();
        assert_eq!((test.queue_count, test.steps[0].delay_ms), (2, Some(500)));
    }
}
