//! What is refused of exchanges, and of bindings between them, whoever asks.

use super::*;

const DEFAULT_REFUSED: &str = "operation not permitted on the default exchange";

#[test]
fn exchanges_whose_declaration_is_refused() {
    use ReplyCode::{AccessRefused, NotFound, PreconditionFailed};
    let Bench { mut broker, caller, .. } = Bench::new();
    let declare = |broker: &mut Broker<_>, name: &str, kind: &str, durable, arguments: FieldTable| {
        let (name, kind, auto_delete, internal) = (name.as_bytes(), kind.as_bytes(), false, false);
        let request = ExchangeRequest { name, kind, durable, auto_delete, internal, arguments };
        broker.declare_exchange(caller, request).map(drop)
    };
    let mut declare = |name: &str, kind: &str, durable| declare(&mut broker, name, kind, durable, none());
    let reserved = "exchange name 'amq.foo' contains reserved prefix 'amq.*'";
    refused(declare("amq.foo", "direct", true), AccessRefused, reserved);
    let kind =
        "inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': received 'fanout' but current is 'direct'";
    refused(declare("amq.direct", "fanout", true), PreconditionFailed, kind);
    let durable =
        "inequivalent arg 'durable' for exchange 'amq.direct' in vhost '/': received 'false' but current is 'true'";
    refused(declare("amq.direct", "direct", false), PreconditionFailed, durable);
    refused(declare("", "direct", true), AccessRefused, DEFAULT_REFUSED);
    refused(declare("n", "bogus", true), PreconditionFailed, "unknown exchange type 'bogus'");
    let of_none = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
    refused(declare("n", "x-delayed-message", true), PreconditionFailed, of_none);
    refused(declare("n", "", true), PreconditionFailed, "invalid exchange type ''");
    declare("amq.direct", "direct", true).unwrap();
    declare(&"n".repeat(255), "direct", true).unwrap();

    let no_name = table("alternate-exchange", FieldValue::I32(5));
    let text = "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'n' in vhost '/'";
    refused(declare_exchange(&mut broker, caller, b"n", no_name), PreconditionFailed, text);
    assert_eq!(broker.exchange_in(VHOST, b"n"), None);

    let mut passively = |name: &[u8]| broker.declare_exchange_passively(caller, name).map(drop);
    refused(passively(b""), AccessRefused, DEFAULT_REFUSED);
    refused(passively(b"nox"), NotFound, "no exchange 'nox' in vhost '/'");
    refused(passively(b"amq.foo"), NotFound, "no exchange 'amq.foo' in vhost '/'");
    passively(b"amq.to\npic").unwrap();
}

#[test]
fn redeclares_compare_the_attributes_and_the_alternate() {
    let Bench { mut broker, caller, .. } = Bench::new();
    let mut declare = |kind: &[u8], durable, auto_delete, internal, arguments: FieldTable| {
        let request = ExchangeRequest { name: b"x1", kind, durable, auto_delete, internal, arguments };
        let declared = broker.declare_exchange(caller, request);
        declared.map(|done| done.value).map_err(|error| {
            assert_eq!(error.code, ReplyCode::PreconditionFailed);
            error.explanation
        })
    };
    assert_eq!(declare(b"direct", false, false, false, none()), Ok(true));
    let but = |arg: &str, rest: &str| Err(format!("inequivalent arg '{arg}' for exchange 'x1' in vhost '/': {rest}"));
    let true_but_false = "received 'true' but current is 'false'";
    assert_eq!(
        declare(b"fanout", false, false, false, none()),
        but("type", "received 'fanout' but current is 'direct'")
    );
    assert_eq!(declare(b"direct", true, false, false, none()), but("durable", true_but_false));
    assert_eq!(declare(b"direct", false, true, false, none()), but("auto_delete", true_but_false));
    assert_eq!(declare(b"direct", false, false, true, none()), but("internal", true_but_false));
    assert_eq!(
        declare(b"direct", false, false, false, table("alternate-exchange", long_string("ae"))),
        but("alternate-exchange", "received the value 'ae' of type 'longstr' but current is none")
    );
    assert_eq!(declare(b"direct", false, false, false, table("x-unknown", long_string("y"))), Ok(false));
}

#[test]
fn exchanges_whose_deletion_is_refused() {
    use ReplyCode::{AccessRefused, PreconditionFailed};
    let Bench { mut broker, caller, .. } = Bench::new();
    let mut delete = |name: &[u8], if_unused| broker.delete_exchange(caller, name, if_unused).map(drop);
    delete(b"missing", false).unwrap();
    refused(delete(b"", false), AccessRefused, DEFAULT_REFUSED);
    let system = "deletion of system exchange 'amq.direct' in vhost '/' not allowed";
    refused(delete(b"amq.direct", false), AccessRefused, system);
    let system = "deletion of system exchange 'amq.foo' in vhost '/' not allowed";
    refused(delete(b"amq.foo", false), AccessRefused, system);
    broker.bind_queue(caller, b"q", b"x", b"k", none()).unwrap();
    let mut delete = |name: &[u8], if_unused| broker.delete_exchange(caller, name, if_unused).map(drop);
    refused(delete(b"x", true), PreconditionFailed, "exchange 'x' in vhost '/' in use");
    delete(b"x", false).unwrap();
    assert_eq!(broker.exchange_in(VHOST, b"x"), None);
    assert_eq!(broker.snapshot_bindings_to_queue(VHOST, b"q").len(), 1, "the default exchange's");
}

#[test]
fn bindings_that_are_refused_and_those_that_are_missing() {
    use ReplyCode::{AccessRefused, NotFound};
    let Bench { mut broker, caller, .. } = Bench::new();
    let mut bind_queue = |queue: &[u8], source: &[u8]| broker.bind_queue(caller, queue, source, b"k", none()).map(drop);
    refused(bind_queue(b"q", b""), AccessRefused, DEFAULT_REFUSED);
    refused(bind_queue(b"q", b"nox"), NotFound, "no exchange 'nox' in vhost '/'");
    refused(bind_queue(b"noq", b"nox"), NotFound, "no exchange 'nox' in vhost '/'");
    refused(bind_queue(b"noq", b"x"), NotFound, "no queue 'noq' in vhost '/'");
    let mut bind = |from: &[u8], to: &[u8]| broker.bind_exchange(caller, from, to, b"k", none()).map(drop);
    refused(bind(b"", b"x"), AccessRefused, DEFAULT_REFUSED);
    refused(bind(b"x", b""), AccessRefused, DEFAULT_REFUSED);
    refused(bind(b"nox", b"x"), NotFound, "no exchange 'nox' in vhost '/'");
    refused(bind(b"x", b"nox"), NotFound, "no exchange 'nox' in vhost '/'");
    refused(bind(b"nox2", b"nox"), NotFound, "no exchange 'nox2' in vhost '/'");
    let mut unbind = |from: &[u8], to: &[u8]| broker.unbind_exchange(caller, from, to, b"k", &none()).map(drop);
    refused(unbind(b"", b"x"), AccessRefused, DEFAULT_REFUSED);
    unbind(b"x", b"amq.fanout").unwrap();
    unbind(b"nox", b"x").unwrap();
    let mut unbind_queue =
        |queue: &[u8], from: &[u8]| broker.unbind_queue(caller, queue, from, b"k", &none()).map(drop);
    refused(unbind_queue(b"q", b""), AccessRefused, DEFAULT_REFUSED);
    refused(unbind_queue(b"noq", b""), AccessRefused, DEFAULT_REFUSED);
    unbind_queue(b"q", b"x").unwrap();
    unbind_queue(b"q", b"nox").unwrap();
    unbind_queue(b"noq", b"x").unwrap();
}

#[test]
fn exchanges_that_cannot_be_published_to() {
    let Bench { mut broker, caller, .. } = Bench::new();
    let (name, kind, durable, auto_delete, internal) = (&b"inside"[..], &b"fanout"[..], true, false, true);
    let request = ExchangeRequest { name, kind, durable, auto_delete, internal, arguments: none() };
    broker.declare_exchange(caller, request).unwrap();
    let internal = "cannot publish to internal exchange 'inside' in vhost '/'";
    refused(publish(&mut broker, caller, "inside", "k"), ReplyCode::AccessRefused, internal);
    let missing = "no exchange 'nox' in vhost '/'";
    refused(publish(&mut broker, caller, "nox", "k"), ReplyCode::NotFound, missing);
    assert_eq!(broker.exchange_to_publish(caller, b"", b"k").unwrap().id, DEFAULT_EXCHANGE);
}
