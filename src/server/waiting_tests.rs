//! Clients that wait for the disk: those who publish, those whose get is on its way, and management. The disk is the test.

use super::MayRead;
use super::desk::Desk;
use super::hub::LOG_PENDING_MAX_BYTES;
use super::tests::{World, persistent_message};
use crate::broker::store::LogPosition;
use crate::broker::{ConnectionId, MessageMemory, UNWRITTEN_PAGES_MAX_BYTES};
use crate::management::{Asker, Command, Question, QueueAttributes, Request, VhostChange};
use crate::protocol::method::{basic, channel, connection, exchange, queue};
use crate::protocol::{ContentHeader, FieldTable, FieldValue, Method};
use crate::storage::page_queue::PageRequest;
use crate::storage::{BatchDone, LogOptions, LogStore, Written};
use std::sync::mpsc::sync_channel;
use tokio::sync::oneshot;

#[test]
fn publishers_wait_for_a_writer_that_is_stuck_and_nobody_else_does() {
    const BODY_BYTES: usize = 1 << 20;
    let mut world = World::with_store(LogStore::new(LogOptions::default(), LogPosition::default()));
    let [publisher, other] = [(); 2].map(|()| world.open(0));
    let mut declare = Vec::new();
    let durable = queue::Declare { queue: b"q", durable: true, nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(durable).encode_frame(1, &mut declare);
    world.send(publisher, &declare);
    let first = world.hub.broker_mut().store_mut().take_batch(0).expect("the declaration");
    // The writer has that, and is heard of no more.
    let message = persistent_message(BODY_BYTES);
    let mut sent = 0;
    while world.hub.may_read(publisher) == MayRead::Now {
        assert_eq!(world.hub.broker_mut().store_mut().take_batch(0).map(|batch| batch.records), None);
        world.send(publisher, &message);
        sent += 1;
        assert!(sent * BODY_BYTES <= LOG_PENDING_MAX_BYTES + BODY_BYTES, "{sent} messages wait to be written");
    }
    assert!(sent * BODY_BYTES > LOG_PENDING_MAX_BYTES - BODY_BYTES, "{sent} messages are no reason to wait");
    assert_eq!(world.hub.may_read(publisher), MayRead::Later);
    assert_eq!(world.hub.may_read(other), MayRead::Now);
    // It goes on: the next batch leaves, and publishers are read again.
    let store = world.hub.broker_mut().store_mut();
    let written = Written { written: first.last_position(), synced: first.last_position() };
    store.batch_done(BatchDone { result: Ok(written), recycled: None }).expect("a batch that was written");
    assert!(store.take_batch(0).is_some());
    assert_eq!(world.hub.may_read(publisher), MayRead::Now);
}

#[test]
fn management_hears_that_it_is_done_when_the_disk_has_it() {
    let mut world = World::with_store(LogStore::new(LogOptions::default(), LogPosition::default()));
    let (commands, receiver) = sync_channel(2);
    let mut desk = Desk::new(receiver);
    let (reply, mut declared) = oneshot::channel();
    let attributes = QueueAttributes { durable: true, auto_delete: false, arguments: FieldTable::default() };
    let declare = VhostChange::DeclareQueue { name: "q".into(), attributes, reply };
    commands.send(world.command_of_guest(declare)).unwrap();
    let (reply, mut overview) = oneshot::channel();
    let (refused, _) = oneshot::channel();
    let request = Request::Question(Question::Overview(reply));
    commands.send(Command { asker: Asker::Management, request, refused }).unwrap();
    desk.ring();
    desk.answer(&mut world.hub);
    assert!(overview.try_recv().is_ok(), "a question waits for nothing");
    assert!(declared.try_recv().is_err());
    let store = world.hub.broker_mut().store_mut();
    let batch = store.take_batch(0).expect("the declaration");
    assert!(batch.sync);
    let written = Written { written: batch.last_position(), synced: batch.last_position() };
    store.batch_done(BatchDone { result: Ok(written), recycled: None }).expect("a batch that was written");
    desk.answer(&mut world.hub);
    assert_eq!(declared.try_recv().expect("it is done").ok(), Some(true));
}

/// A store whose pager is the test, and a client with a queue of that name.
fn with_pages(paging_bytes: usize, heartbeat: u16) -> (World<LogStore>, ConnectionId) {
    let mut world = World::with_store(LogStore::new(LogOptions::default(), LogPosition::default()));
    world.set_message_memory(MessageMemory { paging_bytes, most_bytes: usize::MAX });
    let client = world.open(heartbeat);
    let mut declare = Vec::new();
    let transient = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(transient).encode_frame(1, &mut declare);
    world.send(client, &declare);
    (world, client)
}

#[test]
fn publishers_wait_for_a_pager_that_is_stuck_and_nobody_else_does() {
    const BODY_BYTES: usize = 1 << 20;
    let (mut world, publisher) = with_pages(BODY_BYTES, 0);
    let other = world.open(0);
    let message = persistent_message(BODY_BYTES);
    let mut sent = 0;
    while world.hub.may_read(publisher) == MayRead::Now {
        world.send(publisher, &message);
        world.pump();
        sent += 1;
        assert!(sent * BODY_BYTES <= UNWRITTEN_PAGES_MAX_BYTES + 8 * BODY_BYTES, "{sent} messages wait");
    }
    assert!(sent * BODY_BYTES > UNWRITTEN_PAGES_MAX_BYTES, "{sent} messages are no reason to wait");
    assert_eq!(world.hub.may_read(publisher), MayRead::Later);
    assert_eq!(world.hub.may_read(other), MayRead::Now);
    // It goes on: a page is written, and publishers are read again.
    let pages = world.hub.broker_mut().store_mut().pages_mut();
    let Some(PageRequest::Write { bytes, .. }) = pages.take_request() else { panic!("no page is to be written") };
    pages.written(bytes.len());
    assert_eq!(world.hub.may_read(publisher), MayRead::Now);
}

#[test]
fn a_publisher_that_waits_for_the_pager_is_told_of_an_alarm() {
    let (mut world, publisher) = with_pages(1, 0);
    let message = persistent_message(1 << 20);
    while world.hub.may_read(publisher) == MayRead::Now {
        world.send(publisher, &message);
        world.pump();
    }
    assert_eq!(world.hub.may_read(publisher), MayRead::Later);
    world.set_disk_low(true);
    assert_eq!(world.hub.may_read(publisher), MayRead::NotDuringAlarm);
    assert_eq!(world.heard(publisher), ["connection.blocked"]);
    assert!(world.set_disk_low(false));
    assert_eq!(world.take_unblocked(), [publisher]);
    assert_eq!(world.heard(publisher), ["connection.unblocked"]);
}

#[test]
fn a_publisher_that_is_not_read_is_not_taken_for_silent() {
    const BODY_BYTES: usize = 1 << 20;
    let (mut world, publisher) = with_pages(BODY_BYTES, 2);
    while world.hub.may_read(publisher) == MayRead::Now {
        world.send(publisher, &persistent_message(BODY_BYTES));
        world.pump();
    }
    for second in 1..10 {
        assert!(!world.wait_until(second * 1000, publisher), "after {second} s");
        assert_eq!(world.hub.may_read(publisher), MayRead::Later);
    }
}

#[test]
fn a_client_whose_get_waits_is_not_taken_for_silent() {
    let (mut world, client) = with_pages(1, 2);
    world.send(client, &persistent_message(3000));
    world.pump();
    let mut get = Vec::new();
    Method::BasicGet(basic::Get { queue: b"q", no_ack: true }).encode_frame(1, &mut get);
    world.send(client, &get);
    assert_eq!(world.hub.may_read(client), MayRead::WhenResumed);
    for second in 1..10 {
        assert!(!world.wait_until(second * 1000, client), "after {second} s");
    }
}

#[test]
fn a_get_waits_for_its_message_and_what_follows_waits_behind_it() {
    let (mut world, client) = with_pages(1, 0);
    world.send(client, &persistent_message(3000));
    world.pump();
    let mut commands = Vec::new();
    Method::BasicGet(basic::Get { queue: b"q", no_ack: true }).encode_frame(1, &mut commands);
    Method::BasicQos(basic::Qos { prefetch_size: 0, prefetch_count: 1, global: false }).encode_frame(1, &mut commands);
    world.send(client, &commands);
    assert_eq!(world.heard(client), [""; 0]);
    assert_eq!(world.hub.may_read(client), MayRead::WhenResumed);
    let pages = world.hub.broker_mut().store_mut().pages_mut();
    let Some(PageRequest::Write { page, bytes }) = pages.take_request() else { panic!("nothing left memory") };
    assert!(matches!(pages.take_request(), Some(PageRequest::Read(asked)) if asked == page));
    pages.arrive(page, bytes);
    world.pump();
    assert_eq!(world.hub.may_read(client), MayRead::Now);
    assert_eq!(world.heard(client), ["basic.get-ok", "content", "content", "basic.qos-ok"]);
}

#[test]
fn who_binds_to_an_exchange_waits_until_that_has_told_others_what_it_keeps() {
    const BINDINGS: usize = 1000;
    let mut world = World::new();
    let [client, other] = [(); 2].map(|()| world.open(0));
    let mut commands = Vec::new();
    let arguments = FieldTable(vec![("x-recent-history-length".into(), FieldValue::I32(100))]);
    let declare = exchange::Declare {
        exchange: b"h",
        exchange_type: b"x-recent-history",
        nowait: true,
        arguments,
        ..Default::default()
    };
    Method::ExchangeDeclare(declare).encode_frame(1, &mut commands);
    let declare = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(declare).encode_frame(1, &mut commands);
    for _ in 0..100 {
        Method::BasicPublish(basic::Publish { exchange: b"h", ..Default::default() }).encode_frame(1, &mut commands);
        ContentHeader { class_id: 60, weight: 0, body_size: 0, properties: &[0, 0] }.encode_frame(1, &mut commands);
    }
    for binding in 0..BINDINGS {
        let key = binding.to_string();
        let bind = queue::Bind {
            queue: b"q",
            exchange: b"h",
            routing_key: key.as_bytes(),
            nowait: true,
            ..Default::default()
        };
        Method::QueueBind(bind).encode_frame(1, &mut commands);
    }
    world.pass(1);
    world.send(client, &commands);
    assert_eq!(world.hub.may_read(client), MayRead::WhenResumed);
    assert_eq!(world.hub.may_read(other), MayRead::Now);
    let mut turns = 0;
    while world.hub.may_read(client) == MayRead::WhenResumed {
        let next_ms = world.hub.next_deadline_ms().expect("the loop goes on by itself");
        world.wait_until(next_ms, client);
        world.pump();
        turns += 1;
    }
    assert!(turns >= BINDINGS * 100 * 2 / 4096, "{turns} turns");
    world.pump();
    assert_eq!(world.hub.broker().census().ready, BINDINGS * 100);
    assert_eq!(world.heard(client), [""; 0]);
}

/// More deliveries than go back to their queue in two turns.
const MANY_DELIVERIES: usize = 10_000;

/// A client that holds many deliveries on its first channel, has a second one, and says something.
fn with_much_to_give_back(says: &[Method<'_>]) -> (World<crate::broker::store::MemoryStore>, ConnectionId) {
    let mut world = World::new();
    let client = world.open(0);
    let mut commands = Vec::new();
    let declare = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(declare).encode_frame(1, &mut commands);
    for _ in 0..MANY_DELIVERIES {
        Method::BasicPublish(basic::Publish { routing_key: b"q", ..Default::default() }).encode_frame(1, &mut commands);
        ContentHeader { class_id: 60, weight: 0, body_size: 0, properties: &[0, 0] }.encode_frame(1, &mut commands);
    }
    let consume = basic::Consume { queue: b"q", consumer_tag: b"t", nowait: true, ..Default::default() };
    Method::BasicConsume(consume).encode_frame(1, &mut commands);
    world.send(client, &commands);
    while world.hub.broker().census().ready > 0 {
        world.pump();
        let _ = world.heard(client);
    }
    let mut commands = Vec::new();
    Method::BasicCancel(basic::Cancel { consumer_tag: b"t", nowait: true }).encode_frame(1, &mut commands);
    Method::ChannelOpen(channel::Open).encode_frame(2, &mut commands);
    world.send(client, &commands);
    assert_eq!(world.heard(client), ["channel.open-ok"]);
    let mut commands = Vec::new();
    for (method, number) in says.iter().zip([1, 2, 2]) {
        let number = if matches!(method, Method::ConnectionClose(_)) { 0 } else { number };
        method.encode_frame(number, &mut commands);
    }
    world.pass(1);
    world.send(client, &commands);
    (world, client)
}

#[test]
fn whoever_gives_much_back_is_heard_again_when_it_is_back() {
    let get = || Method::BasicGet(basic::Get { queue: b"q", no_ack: true });
    let close = channel::Close { reply_code: 200, reply_text: b"", class_id: 0, method_id: 0 };
    let nack = |delivery_tag| basic::Nack { delivery_tag, multiple: true, requeue: true };
    let got = ["basic.get-ok", "content"];
    let mistake = "channel.close 406 PRECONDITION_FAILED - unknown delivery tag 1099511627776";
    let no_such = basic::Ack { delivery_tag: 1 << 40, multiple: false };
    for (first, answer, tells_at_once) in [
        (Method::ChannelClose(close), Some("channel.close-ok"), false),
        (Method::BasicNack(nack(0)), None, false),
        (Method::BasicRecover(basic::Recover { requeue: true }), Some("basic.recover-ok"), false),
        // A client hears of its mistake at once.
        (Method::BasicAck(no_such), Some(mistake), true),
    ] {
        let (mut world, client) = with_much_to_give_back(&[first, get()]);
        let mut heard = Vec::new();
        let mut turns = 1;
        while world.hub.may_read(client) == MayRead::WhenResumed {
            heard.extend(world.heard(client));
            assert_eq!(heard.len(), usize::from(tells_at_once), "{heard:?}");
            assert!(world.hub.broker().census().unacknowledged > 0);
            let next_ms = world.hub.next_deadline_ms().expect("the loop goes on by itself");
            world.wait_until(next_ms, client);
            world.pump();
            turns += 1;
        }
        assert_eq!(turns, 3, "{answer:?}");
        let census = world.hub.broker().census();
        assert_eq!((census.unacknowledged, census.ready), (0, MANY_DELIVERIES - 1), "{answer:?}");
        heard.extend(world.heard(client));
        let expected: Vec<&str> = answer.into_iter().chain(got).collect();
        assert_eq!(heard, expected);
    }
}

#[test]
fn a_connection_that_gives_much_back_is_answered_when_it_is_back() {
    let close = connection::Close { reply_code: 200, reply_text: b"", class_id: 0, method_id: 0 };
    let (mut world, client) = with_much_to_give_back(&[Method::ConnectionClose(close)]);
    while world.hub.may_read(client) == MayRead::WhenResumed {
        assert_eq!(world.heard(client), [""; 0]);
        let next_ms = world.hub.next_deadline_ms().expect("the loop goes on by itself");
        world.wait_until(next_ms, client);
        world.pump();
    }
    assert_eq!(world.hub.broker().census().ready, MANY_DELIVERIES);
    assert_eq!(world.heard(client), ["connection.close-ok"]);
}

#[test]
fn a_get_waits_until_a_queue_has_back_what_comes_first() {
    let (mut world, client) =
        with_much_to_give_back(&[Method::BasicRecoverAsync(basic::RecoverAsync { requeue: true })]);
    let other = world.open(0);
    let mut get = Vec::new();
    Method::BasicGet(basic::Get { queue: b"q", no_ack: true }).encode_frame(1, &mut get);
    world.send(other, &get);
    assert_eq!(world.heard(other), [""; 0]);
    assert_eq!(world.hub.may_read(other), MayRead::WhenResumed);
    while world.hub.may_read(client) == MayRead::WhenResumed {
        world.pass(1);
        world.pump();
    }
    assert_eq!(world.hub.may_read(other), MayRead::Now);
    assert_eq!(world.heard(other), ["basic.get-ok", "content"]);
}

#[test]
fn who_deletes_what_many_bindings_lead_to_is_answered_when_none_does_any_more() {
    const BINDINGS: usize = 5000;
    let delete = queue::Delete { queue: b"q", ..queue::Delete::default() };
    let delete_exchange = exchange::Delete { exchange: b"x", ..exchange::Delete::default() };
    for (delete, answer) in [
        (Method::QueueDelete(delete), "queue.delete-ok"),
        (Method::ExchangeDelete(delete_exchange), "exchange.delete-ok"),
    ] {
        let mut world = World::new();
        let client = world.open(0);
        let mut commands = Vec::new();
        let declare = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
        Method::QueueDeclare(declare).encode_frame(1, &mut commands);
        let declare =
            exchange::Declare { exchange: b"x", exchange_type: b"topic", nowait: true, ..exchange::Declare::default() };
        Method::ExchangeDeclare(declare).encode_frame(1, &mut commands);
        for binding in 0..BINDINGS {
            let routing_key = binding.to_string();
            let (queue, exchange, routing_key) = (b"q", b"x", routing_key.as_bytes());
            let bind = queue::Bind { queue, exchange, routing_key, nowait: true, ..queue::Bind::default() };
            Method::QueueBind(bind).encode_frame(1, &mut commands);
        }
        delete.encode_frame(1, &mut commands);
        Method::BasicQos(basic::Qos::default()).encode_frame(1, &mut commands);
        world.pass(1);
        world.send(client, &commands);
        let mut turns = 1;
        while world.hub.may_read(client) == MayRead::WhenResumed {
            assert_eq!(world.heard(client), [""; 0]);
            let next_ms = world.hub.next_deadline_ms().expect("the loop goes on by itself");
            world.wait_until(next_ms, client);
            world.pump();
            turns += 1;
        }
        assert_eq!(turns, 3);
        assert_eq!(world.heard(client), [answer, "basic.qos-ok"]);
    }
}
