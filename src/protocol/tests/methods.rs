//! Every method's wire form, spelled by hand: decoding a fixture gives the value, encoding the value gives the fixture.

use super::fixture::octets;
use crate::protocol::method::{Method, access, basic, channel, confirm, connection, exchange, queue, tx};
use crate::protocol::{FieldTable, FieldValue};

/// `fixture` is the payload: class id, method id, arguments.
#[track_caller]
fn assert_wire(name: &str, fixture: &str, method: Method<'_>) {
    let payload = octets(fixture);
    assert_eq!(Method::decode(&payload).as_ref(), Ok(&method), "decoding {name}");
    let mut encoded = Vec::new();
    method.encode_payload(&mut encoded);
    assert_eq!(encoded, payload, "encoding {name}");
    assert_eq!(method.name(), name);
    assert_eq!(method.class_id().to_be_bytes(), payload[..2]);
    assert_eq!(method.method_id().to_be_bytes(), payload[2..4]);
}

/// `{x: true}`, on the wire: `00000004 01'x' 't' 01`.
fn table() -> FieldTable {
    FieldTable(vec![("x".into(), FieldValue::Boolean(true))])
}

#[test]
fn connection() {
    use connection::*;
    let start = Start {
        version_major: 0,
        version_minor: 9,
        server_properties: table(),
        mechanisms: b"PLAIN AMQPLAIN",
        locales: b"en_US",
    };
    assert_wire(
        "connection.start",
        "000A 000A 00 09 00000004 01'x''t'01 0000000E'PLAIN AMQPLAIN' 00000005'en_US'",
        Method::ConnectionStart(start),
    );
    let start_ok =
        StartOk { client_properties: table(), mechanism: b"PLAIN", response: b"\0guest\0guest", locale: b"en_US" };
    assert_wire(
        "connection.start-ok",
        "000A 000B 00000004 01'x''t'01 05'PLAIN' 0000000C 00'guest'00'guest' 05'en_US'",
        Method::ConnectionStartOk(start_ok),
    );
    assert_wire("connection.secure", "000A 0014 00000002'hm'", Method::ConnectionSecure(Secure { challenge: b"hm" }));
    assert_wire(
        "connection.secure-ok",
        "000A 0015 00000002'hm'",
        Method::ConnectionSecureOk(SecureOk { response: b"hm" }),
    );
    assert_wire(
        "connection.tune",
        "000A 001E 07FF 00020000 003C",
        Method::ConnectionTune(Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 }),
    );
    assert_wire(
        "connection.tune-ok",
        "000A 001F 000A 00001000 0000",
        Method::ConnectionTuneOk(TuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 }),
    );
    assert_wire("connection.open", "000A 0028 01'/' 00 00", Method::ConnectionOpen(Open { virtual_host: b"/" }));
    assert_wire("connection.open-ok", "000A 0029 00", Method::ConnectionOpenOk(OpenOk));
    assert_wire(
        "connection.close",
        "000A 0032 00C8 03'bye' 0032 000A",
        Method::ConnectionClose(Close { reply_code: 200, reply_text: b"bye", class_id: 50, method_id: 10 }),
    );
    assert_wire("connection.close-ok", "000A 0033", Method::ConnectionCloseOk(CloseOk));
    assert_wire("connection.blocked", "000A 003C 03'low'", Method::ConnectionBlocked(Blocked { reason: b"low" }));
    assert_wire("connection.unblocked", "000A 003D", Method::ConnectionUnblocked(Unblocked));
    assert_wire(
        "connection.update-secret",
        "000A 0046 00000003'new' 03'why'",
        Method::ConnectionUpdateSecret(UpdateSecret { new_secret: b"new", reason: b"why" }),
    );
    assert_wire("connection.update-secret-ok", "000A 0047", Method::ConnectionUpdateSecretOk(UpdateSecretOk));
}

#[test]
fn what_connection_open_reserves_is_not_looked_at() {
    let payload = octets("000A 0028 01'/' 04'caps' 01");
    assert_eq!(Method::decode(&payload), Ok(Method::ConnectionOpen(connection::Open { virtual_host: b"/" })));
}

#[test]
fn channel() {
    use channel::*;
    assert_wire("channel.open", "0014 000A 00", Method::ChannelOpen(Open));
    assert_wire("channel.open-ok", "0014 000B 00000000", Method::ChannelOpenOk(OpenOk));
    assert_wire("channel.flow", "0014 0014 01", Method::ChannelFlow(Flow { active: true }));
    assert_wire("channel.flow-ok", "0014 0015 00", Method::ChannelFlowOk(FlowOk { active: false }));
    assert_wire(
        "channel.close",
        "0014 0028 0194 02'no' 0032 000A",
        Method::ChannelClose(Close { reply_code: 404, reply_text: b"no", class_id: 50, method_id: 10 }),
    );
    assert_wire("channel.close-ok", "0014 0029", Method::ChannelCloseOk(CloseOk));
}

#[test]
fn access() {
    use access::*;
    let request = Request { realm: b"/data", exclusive: false, passive: true, active: false, write: true, read: true };
    assert_wire("access.request", "001E 000A 05'/data' 1A", Method::AccessRequest(request));
    assert_wire("access.request-ok", "001E 000B 0001", Method::AccessRequestOk(RequestOk { ticket: 1 }));
}

#[test]
fn exchange() {
    use exchange::*;
    let declare = Declare {
        exchange: b"logs",
        exchange_type: b"fanout",
        passive: false,
        durable: true,
        auto_delete: false,
        internal: true,
        nowait: false,
        arguments: table(),
    };
    assert_wire(
        "exchange.declare",
        "0028 000A 0000 04'logs' 06'fanout' 0A 00000004 01'x''t'01",
        Method::ExchangeDeclare(declare),
    );
    assert_wire("exchange.declare-ok", "0028 000B", Method::ExchangeDeclareOk(DeclareOk));
    assert_wire(
        "exchange.delete",
        "0028 0014 0000 04'logs' 01",
        Method::ExchangeDelete(Delete { exchange: b"logs", if_unused: true, nowait: false }),
    );
    assert_wire("exchange.delete-ok", "0028 0015", Method::ExchangeDeleteOk(DeleteOk));
    let bind = Bind {
        destination: b"to",
        source: b"from",
        routing_key: b"a.*",
        nowait: true,
        arguments: FieldTable::default(),
    };
    assert_wire("exchange.bind", "0028 001E 0000 02'to' 04'from' 03'a.*' 01 00000000", Method::ExchangeBind(bind));
    assert_wire("exchange.bind-ok", "0028 001F", Method::ExchangeBindOk(BindOk));
    let unbind = Unbind {
        destination: b"to",
        source: b"from",
        routing_key: b"",
        nowait: false,
        arguments: FieldTable::default(),
    };
    assert_wire("exchange.unbind", "0028 0028 0000 02'to' 04'from' 00 00 00000000", Method::ExchangeUnbind(unbind));
    assert_wire("exchange.unbind-ok", "0028 0033", Method::ExchangeUnbindOk(UnbindOk));
}

#[test]
fn queue() {
    use queue::*;
    let declare = Declare {
        queue: b"hello",
        passive: true,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: true,
        arguments: table(),
    };
    assert_wire("queue.declare", "0032 000A 0000 05'hello' 13 00000004 01'x''t'01", Method::QueueDeclare(declare));
    assert_wire(
        "queue.declare-ok",
        "0032 000B 05'hello' 00000003 00000001",
        Method::QueueDeclareOk(DeclareOk { queue: b"hello", message_count: 3, consumer_count: 1 }),
    );
    let bind = Bind { queue: b"q", exchange: b"x", routing_key: b"k", nowait: false, arguments: FieldTable::default() };
    assert_wire("queue.bind", "0032 0014 0000 01'q' 01'x' 01'k' 00 00000000", Method::QueueBind(bind));
    assert_wire("queue.bind-ok", "0032 0015", Method::QueueBindOk(BindOk));
    assert_wire("queue.purge", "0032 001E 0000 01'q' 01", Method::QueuePurge(Purge { queue: b"q", nowait: true }));
    assert_wire("queue.purge-ok", "0032 001F 00000007", Method::QueuePurgeOk(PurgeOk { message_count: 7 }));
    assert_wire(
        "queue.delete",
        "0032 0028 0000 01'q' 06",
        Method::QueueDelete(Delete { queue: b"q", if_unused: false, if_empty: true, nowait: true }),
    );
    assert_wire("queue.delete-ok", "0032 0029 00000007", Method::QueueDeleteOk(DeleteOk { message_count: 7 }));
    let unbind = Unbind { queue: b"q", exchange: b"x", routing_key: b"k", arguments: table() };
    assert_wire("queue.unbind", "0032 0032 0000 01'q' 01'x' 01'k' 00000004 01'x''t'01", Method::QueueUnbind(unbind));
    assert_wire("queue.unbind-ok", "0032 0033", Method::QueueUnbindOk(UnbindOk));
}

#[test]
fn basic_consuming() {
    use basic::*;
    assert_wire(
        "basic.qos",
        "003C 000A 00000000 0064 01",
        Method::BasicQos(Qos { prefetch_size: 0, prefetch_count: 100, global: true }),
    );
    assert_wire("basic.qos-ok", "003C 000B", Method::BasicQosOk(QosOk));
    let consume = Consume {
        queue: b"q",
        consumer_tag: b"me",
        no_local: false,
        no_ack: true,
        exclusive: true,
        nowait: false,
        arguments: table(),
    };
    assert_wire("basic.consume", "003C 0014 0000 01'q' 02'me' 06 00000004 01'x''t'01", Method::BasicConsume(consume));
    assert_wire("basic.consume-ok", "003C 0015 02'me'", Method::BasicConsumeOk(ConsumeOk { consumer_tag: b"me" }));
    assert_wire(
        "basic.cancel",
        "003C 001E 02'me' 01",
        Method::BasicCancel(Cancel { consumer_tag: b"me", nowait: true }),
    );
    assert_wire("basic.cancel-ok", "003C 001F 02'me'", Method::BasicCancelOk(CancelOk { consumer_tag: b"me" }));
    let deliver =
        Deliver { consumer_tag: b"me", delivery_tag: 258, redelivered: true, exchange: b"x", routing_key: b"k" };
    assert_wire("basic.deliver", "003C 003C 02'me' 0000000000000102 01 01'x' 01'k'", Method::BasicDeliver(deliver));
    assert_wire("basic.get", "003C 0046 0000 01'q' 01", Method::BasicGet(Get { queue: b"q", no_ack: true }));
    let get_ok = GetOk { delivery_tag: 1, redelivered: false, exchange: b"", routing_key: b"q", message_count: 9 };
    assert_wire("basic.get-ok", "003C 0047 0000000000000001 00 00 01'q' 00000009", Method::BasicGetOk(get_ok));
    assert_wire("basic.get-empty", "003C 0048 00", Method::BasicGetEmpty(GetEmpty));
}

#[test]
fn basic_publishing() {
    use basic::*;
    assert_wire(
        "basic.publish",
        "003C 0028 0000 00 05'hello' 01",
        Method::BasicPublish(Publish { exchange: b"", routing_key: b"hello", mandatory: true, immediate: false }),
    );
    assert_wire(
        "basic.publish",
        "003C 0028 0000 04'logs' 00 02",
        Method::BasicPublish(Publish { exchange: b"logs", routing_key: b"", mandatory: false, immediate: true }),
    );
    assert_wire(
        "basic.return",
        "003C 0032 0138 08'NO_ROUTE' 01'x' 01'k'",
        Method::BasicReturn(Return { reply_code: 312, reply_text: b"NO_ROUTE", exchange: b"x", routing_key: b"k" }),
    );
}

#[test]
fn basic_acknowledging() {
    use basic::*;
    assert_wire(
        "basic.ack",
        "003C 0050 FFFFFFFFFFFFFFFF 01",
        Method::BasicAck(Ack { delivery_tag: u64::MAX, multiple: true }),
    );
    assert_wire(
        "basic.reject",
        "003C 005A 0000000000000002 01",
        Method::BasicReject(Reject { delivery_tag: 2, requeue: true }),
    );
    assert_wire("basic.recover-async", "003C 0064 01", Method::BasicRecoverAsync(RecoverAsync { requeue: true }));
    assert_wire("basic.recover", "003C 006E 00", Method::BasicRecover(Recover { requeue: false }));
    assert_wire("basic.recover-ok", "003C 006F", Method::BasicRecoverOk(RecoverOk));
    assert_wire(
        "basic.nack",
        "003C 0078 0000000000000003 02",
        Method::BasicNack(Nack { delivery_tag: 3, multiple: false, requeue: true }),
    );
}

#[test]
fn confirm() {
    use confirm::*;
    assert_wire("confirm.select", "0055 000A 01", Method::ConfirmSelect(Select { nowait: true }));
    assert_wire("confirm.select-ok", "0055 000B", Method::ConfirmSelectOk(SelectOk));
}

#[test]
fn tx() {
    use tx::*;
    assert_wire("tx.select", "005A 000A", Method::TxSelect(Select));
    assert_wire("tx.select-ok", "005A 000B", Method::TxSelectOk(SelectOk));
    assert_wire("tx.commit", "005A 0014", Method::TxCommit(Commit));
    assert_wire("tx.commit-ok", "005A 0015", Method::TxCommitOk(CommitOk));
    assert_wire("tx.rollback", "005A 001E", Method::TxRollback(Rollback));
    assert_wire("tx.rollback-ok", "005A 001F", Method::TxRollbackOk(RollbackOk));
}

#[test]
fn bits_without_a_name_are_not_looked_at() {
    let payload = octets("0055 000A FE");
    assert_eq!(Method::decode(&payload), Ok(Method::ConfirmSelect(confirm::Select { nowait: false })));
}

#[test]
fn a_method_frame_is_header_payload_and_end() {
    let mut out = Vec::new();
    Method::QueuePurgeOk(queue::PurgeOk { message_count: 1 }).encode_frame(5, &mut out);
    assert_eq!(out, octets("01 0005 00000008 0032 001F 00000001 CE"));
}
