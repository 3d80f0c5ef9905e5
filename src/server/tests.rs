//! What a hub is told and says, on a clock that the test moves: no socket, no waiting.

use super::desk::Desk;
use super::{Hub, HubSettings, MayRead, Resources, TurnStart, hub_settings, quick_founding};
use crate::access::Pattern;
use crate::broker::snapshot::PageStart;
use crate::broker::store::{LogPosition, MemoryStore, Store};
use crate::broker::{ConnectionId, MessageMemory, Permissions, UserId, VhostId};
use crate::config::Config;
use crate::connection::Phase;
use crate::management::{Asker, BindingSpec, Change, Command, QueueAttributes, Request, VhostChange};
use crate::protocol::frame::{FRAME_END, PROTOCOL_HEADER, parse_frame};
use crate::protocol::method::{basic, channel, confirm, connection, queue};
use crate::protocol::{ContentHeader, FieldTable, FieldValue, FrameType, Method, ReplyCode};
use crate::storage::{BatchDone, LogOptions, LogStore, Written};
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use tokio::sync::oneshot;

pub(super) const HERE: &str = "127.0.0.1:50000";
pub(super) const ELSEWHERE: &str = "192.0.2.7:50000";

/// A hub and the clock that it is told.
pub(super) struct World<S: Store = MemoryStore> {
    pub hub: Hub<S>,
    pub resources: Resources,
    now_ms: u64,
    /// Those who may be read again, and were not asked for yet.
    unblocked: Vec<ConnectionId>,
}

impl World {
    pub fn new() -> Self {
        Self::with_store(MemoryStore::default())
    }

    pub fn configured(config: &Config) -> Self {
        Self::with_settings(hub_settings(config, [7; 32], 0))
    }

    pub fn with_settings(settings: HubSettings) -> Self {
        Self::with_hub(Hub::founded(settings, MemoryStore::default(), 0, quick_founding(&Config::default())))
    }
}

impl<S: Store> World<S> {
    pub fn with_store(store: S) -> Self {
        let config = Config::default();
        Self::with_hub(Hub::founded(hub_settings(&config, [7; 32], 0), store, 0, quick_founding(&config)))
    }

    fn with_hub(hub: Hub<S>) -> Self {
        Self { resources: hub.condition().resources, hub, now_ms: 0, unblocked: Vec::new() }
    }

    /// Raises or clears the alarm. True when it is over.
    pub fn update_alarm(&mut self) -> bool {
        self.hub.update_alarm(self.resources)
    }

    pub fn set_message_memory(&mut self, memory: MessageMemory) {
        self.resources.message_memory = memory;
        self.update_alarm();
    }

    pub fn set_disk_low(&mut self, is_low: bool) -> bool {
        self.resources.disk_room.is_low = is_low;
        self.update_alarm()
    }

    /// Delivers what can be delivered.
    pub fn pump(&mut self) {
        while self.hub.next_to_flush().is_some() {}
    }

    /// Starts a turn. Says whose time is up.
    fn start_turn(&mut self) -> Vec<ConnectionId> {
        let TurnStart { over, unblocked } = self.hub.start_turn(self.now_ms);
        self.unblocked.extend(unblocked);
        over
    }

    /// Those who may be read again since this was last asked.
    pub fn take_unblocked(&mut self) -> Vec<ConnectionId> {
        assert_eq!(self.start_turn(), [], "nobody's time is up");
        std::mem::take(&mut self.unblocked)
    }

    pub fn connect(&mut self, from: &str) -> ConnectionId {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        self.hub.connect(address(from), address("127.0.0.1:5672"))
    }

    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let connection = self.hub.connection_mut(id);
        let mut input = vec![0; connection.partial_len()];
        connection.take_partial(&mut input);
        input.extend_from_slice(bytes);
        self.hub.receive(id, &input);
    }

    /// The names of what was sent to the client since it was last asked, closes with their code and text.
    pub fn heard(&mut self, id: ConnectionId) -> Vec<String> {
        let bytes = self.hub.outboxes().get(id).contiguous().expect("no large bodies here").to_vec();
        self.hub.sent(id, bytes.len());
        let mut rest = &bytes[..];
        let mut heard = Vec::new();
        while let Some(frame) = parse_frame(rest, u32::MAX).unwrap() {
            heard.push(match frame.frame_type {
                FrameType::Heartbeat => "heartbeat".to_owned(),
                FrameType::Header | FrameType::Body => "content".to_owned(),
                _ => match Method::decode(frame.payload).unwrap() {
                    Method::ConnectionClose(close) => {
                        format!("connection.close {} {}", close.reply_code, String::from_utf8_lossy(close.reply_text))
                    }
                    Method::ChannelClose(close) => {
                        format!("channel.close {} {}", close.reply_code, String::from_utf8_lossy(close.reply_text))
                    }
                    method => method.name().to_owned(),
                },
            });
            rest = &rest[frame.wire_size()..];
        }
        heard
    }

    /// So much time passes.
    pub fn pass(&mut self, duration_ms: u64) {
        self.now_ms += duration_ms;
        assert_eq!(self.start_turn(), [], "nobody's time is up");
    }

    /// Moves the clock. True when the connection's time was up.
    pub fn wait_until(&mut self, now_ms: u64, id: ConnectionId) -> bool {
        self.now_ms = now_ms;
        self.start_turn().contains(&id)
    }

    /// Goes from deadline to deadline until the connection's time is up; says what it heard on the way, and when.
    pub fn until_over(&mut self, id: ConnectionId) -> (Vec<(u64, String)>, u64) {
        let mut heard = Vec::new();
        loop {
            let deadline_ms = self.hub.next_deadline_ms().expect("something to wait for");
            let over = self.wait_until(deadline_ms, id);
            heard.extend(self.heard(id).into_iter().map(|what| (deadline_ms, what)));
            if over {
                return (heard, deadline_ms);
            }
        }
    }

    /// A command of management's that the first user gives in the first virtual host.
    pub fn command_of_guest(&self, change: VhostChange) -> Command {
        let guest = self.hub.broker().find_user(b"guest").expect("the first user");
        let (refused, _) = oneshot::channel();
        let request = Request::Change(Change::InVhost { vhost: "/".into(), change });
        Command { asker: Asker::User(guest), request, refused }
    }

    /// A client of this machine that is through with the handshake.
    pub fn open(&mut self, heartbeat: u16) -> ConnectionId {
        let id = self.connect(HERE);
        self.send(id, &conversation(b"\0guest\0guest", heartbeat));
        assert_eq!(self.heard(id), ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]);
        id
    }
}

/// Everything that a client says up to its first channel.
pub(super) fn conversation(response: &[u8], heartbeat: u16) -> Vec<u8> {
    conversation_in(b"/", response, heartbeat)
}

/// Everything that a client says up to its first channel in a virtual host.
pub(super) fn conversation_in(virtual_host: &[u8], response: &[u8], heartbeat: u16) -> Vec<u8> {
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let capabilities = ["authentication_failure_close", "connection.blocked"];
    let capabilities = FieldTable(capabilities.map(|name| (name.into(), FieldValue::Boolean(true))).to_vec());
    let start_ok = connection::StartOk {
        client_properties: FieldTable(vec![("capabilities".into(), FieldValue::Table(capabilities))]),
        mechanism: b"PLAIN",
        response,
        locale: b"en_US",
    };
    Method::ConnectionStartOk(start_ok).encode_frame(0, &mut bytes);
    let tune_ok = connection::TuneOk { channel_max: 10, frame_max: 131_072, heartbeat };
    Method::ConnectionTuneOk(tune_ok).encode_frame(0, &mut bytes);
    Method::ConnectionOpen(connection::Open { virtual_host }).encode_frame(0, &mut bytes);
    Method::ChannelOpen(channel::Open).encode_frame(1, &mut bytes);
    bytes
}

pub(super) fn connection_close() -> Vec<u8> {
    let mut bytes = Vec::new();
    let close = connection::Close { reply_code: 200, reply_text: b"bye", class_id: 0, method_id: 0 };
    Method::ConnectionClose(close).encode_frame(0, &mut bytes);
    bytes
}

/// Until it hears of the close it goes on with what it is sending.
#[test]
fn a_client_that_is_closed_in_the_middle_of_a_frame_is_understood_to_its_end() {
    const BODY_BYTES: usize = 100_000;
    /// Of what is ignored, this much may be kept.
    const KEPT_MAX_BYTES: usize = 16 << 10;
    let message = message_in_frames(BODY_BYTES, BODY_BYTES);
    let body_at = message.len() - BODY_BYTES - 1;
    for closed_at in [0, 5, 20, body_at - 1, body_at, body_at + 10, body_at + 50_000, message.len() - 1] {
        let mut world = World::new();
        let id = world.open(0);
        world.send(id, &message[..closed_at]);
        world.hub.close_where(|_| true, "because");
        assert_eq!(world.heard(id), ["connection.close 320 CONNECTION_FORCED - because"]);
        for part in message[closed_at..].chunks(30_000).chain(message.chunks(30_000)) {
            world.send(id, part);
            assert!(world.hub.connections().get(id).unwrap().partial_len() <= KEPT_MAX_BYTES);
        }
        assert_eq!(world.hub.connections().get(id).unwrap().phase(), Phase::Closing, "closed at {closed_at}");
        let mut close_ok = Vec::new();
        Method::ConnectionCloseOk(connection::CloseOk).encode_frame(0, &mut close_ok);
        world.send(id, &close_ok);
        assert!(world.hub.outboxes().get(id).is_finished());
    }
}

#[test]
fn a_blocked_publisher_that_is_closed_is_read_again() {
    let mut world = World::new();
    let publisher = world.open(0);
    world.set_disk_low(true);
    world.send(publisher, &persistent_message(10));
    assert_eq!(world.hub.may_read(publisher), MayRead::NotDuringAlarm);
    world.hub.close_where(|_| true, "because");
    assert_eq!(world.take_unblocked(), [publisher]);
    assert_eq!(world.hub.may_read(publisher), MayRead::Now);
}

/// The frames of a persistent message of that size to the queue `q`.
pub(super) fn persistent_message(body_size: usize) -> Vec<u8> {
    message_in_frames(body_size, 4000)
}

/// The same, with so much of the body in each frame.
pub(super) fn message_in_frames(body_size: usize, payload_max: usize) -> Vec<u8> {
    /// Property flags of a delivery mode alone, and delivery mode 2.
    const PERSISTENT: [u8; 3] = [0x10, 0x00, 2];
    let mut bytes = Vec::new();
    let publish = basic::Publish { exchange: b"", routing_key: b"q", mandatory: false, immediate: false };
    Method::BasicPublish(publish).encode_frame(1, &mut bytes);
    let mut frame = |frame_type: FrameType, payload: &[u8]| {
        bytes.push(frame_type as u8);
        bytes.extend_from_slice(&1_u16.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes.push(FRAME_END);
    };
    let mut header = Vec::new();
    ContentHeader { class_id: 60, weight: 0, body_size: body_size as u64, properties: &PERSISTENT }
        .encode_payload(&mut header);
    frame(FrameType::Header, &header);
    vec![7; body_size].chunks(payload_max).for_each(|part| frame(FrameType::Body, part));
    bytes
}

#[test]
fn a_publisher_does_not_answer_for_a_queue_that_has_the_id_of_the_one_it_published_to() {
    let mut world = World::new();
    let [publisher, other] = [(); 2].map(|()| world.open(0));
    let declare_and_consume = {
        let mut bytes = Vec::new();
        let declare = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
        Method::QueueDeclare(declare).encode_frame(1, &mut bytes);
        Method::BasicQos(basic::Qos { prefetch_size: 0, prefetch_count: 1, global: false }).encode_frame(1, &mut bytes);
        let consume = basic::Consume { queue: b"q", nowait: true, ..basic::Consume::default() };
        Method::BasicConsume(consume).encode_frame(1, &mut bytes);
        bytes
    };
    let backlog = persistent_message(1).repeat(Config::default().limits.queue_backlog_soft_limit_messages + 2);
    world.send(other, &declare_and_consume);
    world.send(publisher, &backlog);
    assert_eq!(world.hub.may_read(publisher), MayRead::Later);
    let mut delete = Vec::new();
    let deletion = queue::Delete { queue: b"q", if_unused: false, if_empty: false, nowait: true };
    Method::QueueDelete(deletion).encode_frame(1, &mut delete);
    world.send(other, &delete);
    world.hub.disconnect(other);
    assert_eq!(world.hub.may_read(publisher), MayRead::Now);
    // A later queue takes its place, and somebody else fills it.
    let [consumer, filler] = [(); 2].map(|()| world.open(0));
    world.send(consumer, &declare_and_consume);
    world.send(filler, &backlog);
    assert_eq!(world.hub.may_read(filler), MayRead::Later);
    assert_eq!(world.hub.may_read(publisher), MayRead::Now);
    // What it publishes now does go there.
    world.send(publisher, &persistent_message(1));
    assert_eq!(world.hub.may_read(publisher), MayRead::Later);
}

#[test]
fn a_publish_counts_as_confirmed_when_the_confirm_is_sent() {
    let mut world = World::with_store(LogStore::new(LogOptions::default(), LogPosition::default()));
    let publisher = world.open(0);
    let mut bytes = Vec::new();
    let durable = queue::Declare { queue: b"q", durable: true, nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(durable).encode_frame(1, &mut bytes);
    Method::ConfirmSelect(confirm::Select { nowait: true }).encode_frame(1, &mut bytes);
    bytes.extend(persistent_message(1).repeat(3));
    world.send(publisher, &bytes);
    world.pump();
    assert_eq!(world.heard(publisher), [""; 0]);
    assert_eq!(world.hub.broker().totals().confirmed, 0);
    let store = world.hub.broker_mut().store_mut();
    let batch = store.take_batch(0).expect("the messages");
    let written = Written { written: batch.last_position(), synced: batch.last_position() };
    store.batch_done(BatchDone { result: Ok(written), recycled: None }).expect("a batch that was written");
    world.pump();
    assert_eq!(world.heard(publisher), ["basic.ack"]);
    assert_eq!(world.hub.broker().totals().confirmed, 3);
}

#[test]
fn management_neither_unbinds_what_is_exclusive_nor_asks_for_what_is_not_supported() {
    let mut world = World::new();
    let owner = world.open(0);
    let mut declare_and_bind = Vec::new();
    let exclusive = queue::Declare { queue: b"q", exclusive: true, nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(exclusive).encode_frame(1, &mut declare_and_bind);
    let bind = queue::Bind { queue: b"q", exchange: b"amq.fanout", nowait: true, ..queue::Bind::default() };
    Method::QueueBind(bind).encode_frame(1, &mut declare_and_bind);
    world.send(owner, &declare_and_bind);

    let (commands, receiver) = sync_channel(2);
    let mut desk = Desk::new(receiver);
    let (reply, mut unbound) = oneshot::channel();
    let binding = BindingSpec {
        source: "amq.fanout".into(),
        destination: "q".into(),
        to_queue: true,
        routing_key: "".into(),
        arguments: FieldTable::default(),
    };
    commands.send(world.command_of_guest(VhostChange::Unbind { binding, reply })).unwrap();
    let (reply, mut declared) = oneshot::channel();
    let stream = FieldValue::LongString((*b"stream").into());
    let arguments = FieldTable(vec![("x-queue-type".into(), stream)]);
    let attributes = QueueAttributes { durable: true, auto_delete: false, arguments };
    let declare = VhostChange::DeclareQueue { name: "r".into(), attributes, reply };
    commands.send(world.command_of_guest(declare)).unwrap();
    desk.ring();
    desk.answer(&mut world.hub);
    assert_eq!(unbound.try_recv().expect("an answer").unwrap_err().code, ReplyCode::ResourceLocked);
    assert_eq!(world.hub.broker().snapshot_bindings_to_queue(VhostId(0), b"q").len(), 2);
    let refused = declared.try_recv().expect("an answer").unwrap_err();
    assert_eq!(refused.code, ReplyCode::PreconditionFailed);
    assert_eq!(refused.explanation, "queue type 'stream' of queue 'r' in vhost '/' is not supported by this version");
}

#[test]
fn every_byte_of_a_client_is_counted_once_however_they_are_cut() {
    let message = message_in_frames(100_000, 50_000);
    for piece_bytes in [1, 7, 1000, 30_000, message.len()] {
        let mut world = World::new();
        let id = world.open(0);
        let before = world.hub.connections().get(id).unwrap().traffic();
        message.chunks(piece_bytes).for_each(|piece| world.send(id, piece));
        let after = world.hub.connections().get(id).unwrap().traffic();
        assert_eq!(after.received_bytes - before.received_bytes, message.len() as u64, "{piece_bytes} at a time");
        assert!(before.sent_bytes > 0);
    }
}

#[test]
fn a_queue_that_is_declared_again_has_figures_of_its_own() {
    let mut world = World::new();
    let client = world.open(0);
    let (mut declare, mut delete) = (Vec::new(), Vec::new());
    let declaration = queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() };
    Method::QueueDeclare(declaration).encode_frame(1, &mut declare);
    let deletion = queue::Delete { queue: b"q", if_unused: false, if_empty: false, nowait: true };
    Method::QueueDelete(deletion).encode_frame(1, &mut delete);
    let figures = |world: &World| world.hub.broker().snapshot_queue_figures(PageStart::default()).items;
    world.send(client, &declare);
    world.send(client, &persistent_message(10).repeat(3));
    let [before] = figures(&world)[..] else { panic!("one queue") };
    assert_eq!((before.messages_ready, before.messages_unacknowledged, before.counters.published), (3, 0, 3));
    world.send(client, &delete);
    assert_eq!(figures(&world), []);
    world.send(client, &declare);
    let [after] = figures(&world)[..] else { panic!("one queue") };
    assert_ne!(after.serial, before.serial);
    assert_eq!((after.messages_ready, after.counters.published), (0, 0));
}

#[test]
fn a_publisher_that_loses_its_permission_is_refused_however_often_it_has_published_the_same() {
    let mut world = World::new();
    let publisher = world.open(0);
    let mut declare = Vec::new();
    Method::QueueDeclare(queue::Declare { queue: b"q", ..queue::Declare::default() }).encode_frame(1, &mut declare);
    world.send(publisher, &declare);
    let (user, vhost) = (UserId(0), VhostId(0));
    let ready = |world: &World| world.hub.broker().snapshot_totals().messages_ready;
    let rounds = [
        // Byte by byte the same, and in pieces that have to be put together.
        (message_in_frames(10, 4000), 3),
        (message_in_frames(10_000, 4000), 1),
    ];
    for (message, repeats) in rounds {
        world.hub.broker_mut().set_permissions(user, vhost, Permissions::all());
        let before = ready(&world);
        let mut open = Vec::new();
        Method::ChannelOpen(channel::Open).encode_frame(1, &mut open);
        if before > 0 {
            world.send(publisher, &open);
        }
        world.send(publisher, &message.repeat(repeats));
        world.send(publisher, &message);
        assert_eq!(ready(&world), before + repeats + 1);
        let permissions = Permissions { write: Pattern::new("").unwrap().into(), ..Permissions::all() };
        world.hub.broker_mut().set_permissions(user, vhost, permissions);
        world.heard(publisher);
        world.send(publisher, &message);
        let refused = "write access to exchange 'amq.default' in vhost '/' refused for user 'guest'";
        assert_eq!(world.heard(publisher), [format!("channel.close 403 ACCESS_REFUSED - {refused}")]);
        assert_eq!(ready(&world), before + repeats + 1);
        let mut close_ok = Vec::new();
        Method::ChannelCloseOk(channel::CloseOk).encode_frame(1, &mut close_ok);
        world.send(publisher, &close_ok);
    }
}
