//! What exists comes back as it was, from the log and from a checkpoint.

use crate::harness::{Log, declared, small};
use crate::sim_disk::SimDisk;
use leveret::broker::exchange::ExchangeKind;
use leveret::broker::store::{Definition, DurableBinding, DurableDestination, Store};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::storage::RecoveryMode;

fn exchange(name: &'static str) -> Definition {
    Definition::ExchangeDeclared {
        name: name.into(),
        kind: ExchangeKind::Topic,
        auto_delete: true,
        internal: false,
        arguments: FieldTable(vec![("alternate-exchange".into(), FieldValue::LongString((*b"other").into()))]),
    }
}

fn binding(source: &'static str, destination: DurableDestination, weight: i32) -> DurableBinding {
    let arguments = FieldTable(vec![("weight".into(), FieldValue::I32(weight))]);
    DurableBinding { source: source.into(), destination, routing_key: "a.*".into(), arguments }
}

fn to_queue(number: u64) -> DurableDestination {
    DurableDestination::Queue(ShortString::truncated(format!("queue-{number}").as_bytes()))
}

fn to_exchange(name: &'static str) -> DurableDestination {
    DurableDestination::Exchange(name.into())
}

/// Tells a log all of it and returns what a start finds, after a crash and after a stop with a checkpoint.
fn found_after(told: &[Definition]) -> [Vec<Definition>; 2] {
    [false, true].map(|stop| {
        let disk = SimDisk::default();
        let (mut log, _) = Log::open(&disk, small(), RecoveryMode::Strict).unwrap();
        for definition in told {
            let position = log.store.define(definition);
            log.store.awaited(position);
            log.flush();
            assert!(log.store.durable() >= position);
        }
        let disk = if stop { log.stop() } else { disk.after_crash(0) };
        Log::open(&disk, small(), RecoveryMode::Strict).unwrap().1.definitions
    })
}

#[test]
fn each_can_be_declared_when_those_before_it_are() {
    use Definition::Bound;
    let to_source = Bound(binding("source", to_queue(1), 1));
    let told = [exchange("source"), declared(1), to_source.clone(), exchange("other"), declared(2)];
    let expected = [exchange("other"), exchange("source"), declared(1), declared(2), to_source];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

#[test]
fn bindings_differ_in_their_arguments() {
    let [one, two] = [1, 2].map(|weight| binding("source", to_queue(1), weight));
    let told = [
        exchange("source"),
        declared(1),
        Definition::Bound(one.clone()),
        Definition::Bound(one.clone()),
        Definition::Bound(two.clone()),
        Definition::Unbound(one),
    ];
    let expected = [exchange("source"), declared(1), Definition::Bound(two)];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

/// The router takes them for the same, and so must the log: what was unbound would come back.
#[test]
fn a_binding_is_unbound_whatever_the_order_of_its_arguments() {
    let [one, two] = [("x-match", FieldValue::LongString((*b"any").into())), ("kind", FieldValue::I32(1))];
    let table = |entries: [&(&'static str, FieldValue); 2]| {
        FieldTable(entries.map(|(name, value)| ((*name).into(), value.clone())).into())
    };
    let bound = DurableBinding { arguments: table([&one, &two]), ..binding("source", to_queue(1), 1) };
    let other_order = DurableBinding { arguments: table([&two, &one]), ..bound.clone() };
    let told = [
        exchange("source"),
        declared(1),
        Definition::Bound(bound.clone()),
        Definition::Bound(other_order.clone()),
        Definition::Unbound(other_order),
    ];
    let expected = [exchange("source"), declared(1)];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
}

#[test]
fn what_is_deleted_takes_its_bindings_along() {
    let told = [
        exchange("a"),
        exchange("b"),
        declared(1),
        declared(2),
        Definition::Bound(binding("a", to_queue(1), 1)),
        Definition::Bound(binding("a", to_exchange("b"), 1)),
        Definition::Bound(binding("b", to_queue(1), 1)),
        Definition::Bound(binding("b", to_queue(2), 1)),
        Definition::QueueDeleted { id: crate::harness::queue(1) },
        Definition::ExchangeDeleted { name: "a".into() },
    ];
    let expected = [exchange("b"), declared(2), Definition::Bound(binding("b", to_queue(2), 1))];
    assert_eq!(found_after(&told), [expected.to_vec(), expected.to_vec()]);
    // Of the same name, and without what belonged to the one before.
    let again = [&told[..], &[exchange("a"), declared(3)]].concat();
    let expected =
        [exchange("a"), exchange("b"), declared(2), declared(3), Definition::Bound(binding("b", to_queue(2), 1))];
    assert_eq!(found_after(&again), [expected.to_vec(), expected.to_vec()]);
}
