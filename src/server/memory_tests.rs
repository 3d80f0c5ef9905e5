//! What crowds of clients can make the broker hold: never more than the watermark and a little for each.
//!
//! A crowd is some hundreds here, and the watermark is small, so that without a rule the crowd would hold many times as
//! much.

use super::MayRead;
use super::tests::{World, message_in_frames};
use crate::broker::memory::held_memory_bytes;
use crate::broker::{ConnectionId, MessageMemory};
use crate::config::Config;
use crate::connection::SCARCE_HIGH_WATER_BYTES;
use crate::protocol::Method;
use crate::protocol::method::{basic, queue};

const CROWD: usize = 300;
const WATERMARK_BYTES: usize = 16 << 20;
const PAGING_BYTES: usize = 2 << 20;
const BODY_BYTES: usize = 1000;
/// A message in an outbox, or as it is sent, with all that is around its body.
const MESSAGE_MAX_BYTES: usize = BODY_BYTES + 200;
/// What somebody sends in one turn.
const TURN_BYTES: usize = 64 << 10;
/// How long that takes.
const TURN_MS: u64 = 10;
/// The same while memory is low.
const SPARING_TURN_BYTES: usize = 8 << 10;
/// What clients that read nothing may hold each: buffers grow by doubling.
const DEAF_MAX_BYTES: usize = 2 * (SCARCE_HIGH_WATER_BYTES + MESSAGE_MAX_BYTES);

fn world(paging_bytes: usize) -> World {
    let mut world = World::new();
    world.set_message_memory(MessageMemory { paging_bytes, most_bytes: WATERMARK_BYTES });
    world
}

fn methods(list: &[Method<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.iter().for_each(|method| method.encode_frame(1, &mut bytes));
    bytes
}

fn declare() -> Vec<u8> {
    methods(&[Method::QueueDeclare(queue::Declare { queue: b"q", nowait: true, ..queue::Declare::default() })])
}

/// As many messages as somebody sends in one turn.
fn burst() -> Vec<u8> {
    message_in_frames(BODY_BYTES, BODY_BYTES).repeat(TURN_BYTES / MESSAGE_MAX_BYTES)
}

/// The rest of a turn in which nobody reads what is sent.
fn end_turn(world: &mut World) {
    world.pass(TURN_MS);
    world.pump();
    world.update_alarm();
}

/// A client reads all that waits for it.
fn read_all(world: &mut World, id: ConnectionId) -> usize {
    let waiting = world.hub.outboxes().get(id).len();
    world.hub.sent(id, waiting);
    waiting
}

#[test]
fn consumers_that_read_nothing_hold_their_share_and_little_more() {
    let before = held_memory_bytes();
    let mut world = world(usize::MAX);
    let publisher = world.open(0);
    world.send(publisher, &declare());
    let consume = basic::Consume { queue: b"q", no_ack: true, nowait: true, ..basic::Consume::default() };
    let consumers = [(); CROWD].map(|()| world.open(0));
    for id in consumers {
        world.send(id, &methods(&[Method::BasicConsume(consume.clone())]));
    }
    let mut published = 0;
    while world.hub.may_read(publisher) != MayRead::NotDuringAlarm {
        world.send(publisher, &burst());
        published += TURN_BYTES / MESSAGE_MAX_BYTES;
        end_turn(&mut world);
        assert!(world.hub.outboxes().memory_bytes() <= WATERMARK_BYTES / 4 + CROWD * DEAF_MAX_BYTES);
        assert!(held_memory_bytes() - before <= WATERMARK_BYTES + TURN_BYTES + CROWD * DEAF_MAX_BYTES);
        assert!(published * BODY_BYTES < 10 * WATERMARK_BYTES, "no alarm stops it");
    }
    assert!(published * BODY_BYTES > WATERMARK_BYTES / 2, "the crowd brought the alarm about");
    // They read: all that was published comes, the alarm ends, and nothing is held for them.
    let mut heard = true;
    while std::mem::take(&mut heard) {
        end_turn(&mut world);
        for id in consumers {
            heard |= read_all(&mut world, id) > 0;
        }
    }
    world.pass(100);
    world.update_alarm();
    assert_eq!(world.hub.condition().alarm, None);
    assert_eq!(world.hub.broker().totals().delivered_auto_ack, published as u64);
    // But for buffers that wait for the next one.
    assert!(held_memory_bytes() - before <= WATERMARK_BYTES / 4);
    drop(world);
    assert_eq!(held_memory_bytes(), before);
}

#[test]
fn a_large_buffer_is_taken_where_there_is_room_for_it() {
    const LITTLE_BYTES: usize = 2 << 20;
    let mut config = Config::default();
    config.limits.outbox_high_water_bytes = 2 * LITTLE_BYTES;
    let mut world = World::configured(&config);
    world.set_message_memory(MessageMemory { paging_bytes: usize::MAX, most_bytes: LITTLE_BYTES });
    let (publisher, consumer) = (world.open(0), world.open(0));
    world.send(publisher, &declare());
    let consume = basic::Consume { queue: b"q", no_ack: true, nowait: true, ..basic::Consume::default() };
    world.send(consumer, &methods(&[Method::BasicConsume(consume)]));
    for _ in 0..16 {
        world.send(publisher, &burst());
        end_turn(&mut world);
        // A run of deliveries is as long as what was published, and the buffer doubles.
        assert!(world.hub.outboxes().memory_bytes() <= LITTLE_BYTES / 4 + DEAF_MAX_BYTES + 2 * TURN_BYTES);
    }
    assert_eq!(world.hub.condition().alarm, None);
}

#[test]
fn what_waits_for_a_client_goes_with_it() {
    /// The buffers that wait for the next outbox.
    const TWO_OF_EACH_SIZE_BYTES: usize = (2 * (4 + 320)) << 10;
    let before = held_memory_bytes();
    let mut world = world(usize::MAX);
    let (publisher, consumer) = (world.open(0), world.open(0));
    world.send(publisher, &declare());
    let consume = basic::Consume { queue: b"q", no_ack: true, nowait: true, ..basic::Consume::default() };
    world.send(consumer, &methods(&[Method::BasicConsume(consume)]));
    // Small ones are copied into its outbox, the body of a large one is not.
    world.send(publisher, &burst());
    world.send(publisher, &message_in_frames(100_000, 50_000));
    world.send(publisher, &message_in_frames(100_000, 50_000)[..60_000]);
    end_turn(&mut world);
    assert!(held_memory_bytes() - before > TURN_BYTES / 2 + 100_000 + 50_000);
    world.hub.disconnect(consumer);
    world.hub.disconnect(publisher);
    assert_eq!(held_memory_bytes() - before, world.hub.outboxes().memory_bytes());
    assert!(world.hub.outboxes().memory_bytes() <= TWO_OF_EACH_SIZE_BYTES);
}

#[test]
fn a_crowd_in_the_middle_of_its_messages_finishes_them_one_after_the_other() {
    const LARGE_BODY_BYTES: usize = 1 << 20;
    let before = held_memory_bytes();
    let mut world = world(PAGING_BYTES);
    let declaring = world.open(0);
    world.send(declaring, &declare());
    let message = message_in_frames(LARGE_BODY_BYTES, 100_000);
    let mut sending: Vec<(ConnectionId, usize)> = [(); CROWD].map(|()| (world.open(0), 0)).to_vec();
    let mut rounds = 0;
    while !sending.is_empty() {
        rounds += 1;
        assert!(rounds < 50 * CROWD, "{} of them never finish", sending.len());
        for (id, sent) in &mut sending {
            let count = match world.hub.may_read(*id) {
                MayRead::Now => TURN_BYTES,
                MayRead::Sparingly => SPARING_TURN_BYTES,
                _ => 0,
            };
            let end = message.len().min(*sent + count);
            if end > *sent {
                world.send(*id, &message[*sent..end]);
            }
            *sent = end;
            world.update_alarm();
            // Rooms of bodies double.
            let most = WATERMARK_BYTES + PAGING_BYTES + 2 * LARGE_BODY_BYTES + CROWD * 2 * SPARING_TURN_BYTES;
            assert!(held_memory_bytes() - before <= most, "{} bytes", held_memory_bytes() - before);
        }
        sending.retain(|(_, sent)| *sent < message.len());
        end_turn(&mut world);
        world.take_unblocked();
    }
    assert_eq!(world.hub.broker().totals().received, CROWD as u64);
}

#[test]
fn clients_that_ask_and_read_no_answers_are_read_no_further() {
    let before = held_memory_bytes();
    let mut world = world(usize::MAX);
    let publisher = world.open(0);
    world.send(publisher, &declare());
    while world.hub.condition().alarm.is_none() {
        world.send(publisher, &burst());
        end_turn(&mut world);
    }
    let get = basic::Get { queue: b"q", no_ack: false };
    let gets = methods(&vec![Method::BasicGet(get); 1000]);
    let getters = [(); CROWD / 10].map(|()| world.open(0));
    let held = held_memory_bytes();
    for _ in 0..10 {
        for id in getters {
            if world.hub.may_read(id) == MayRead::Sparingly {
                world.send(id, &gets);
            }
        }
        end_turn(&mut world);
    }
    /// What may wait for each of them, with what it asked for besides.
    const GETTER_MAX_BYTES: usize = 2 * (64 << 10) + (32 << 10);
    assert!(held_memory_bytes() - held <= getters.len() * GETTER_MAX_BYTES);
    // Whoever reads gets on.
    let [first, ..] = getters;
    let got = world.hub.broker().totals().got_manual_ack;
    assert_eq!(world.hub.may_read(first), MayRead::WhenResumed);
    read_all(&mut world, first);
    world.hub.may_read(first);
    assert!(world.hub.broker().totals().got_manual_ack > got);
    assert!(held_memory_bytes() > before);
}

#[test]
fn a_client_that_is_held_back_and_closed_is_read_again() {
    let mut world = world(usize::MAX);
    let (publisher, sending) = (world.open(0), world.open(0));
    world.send(publisher, &declare());
    while world.hub.condition().alarm.is_none() {
        world.send(publisher, &burst());
        end_turn(&mut world);
    }
    // The beginning of a method's frame.
    let mut beginning = vec![1, 0, 1, 0, 1, 0, 0];
    beginning.resize(20_000, 0);
    world.send(sending, &beginning);
    assert_eq!(world.hub.may_read(sending), MayRead::NotDuringAlarm);
    assert!(!world.hub.connections().get(sending).unwrap().is_blocked());
    world.take_unblocked();
    world.hub.close_where(|_| true, "because");
    assert!(world.take_unblocked().contains(&sending), "its close-ok is to be read");
    assert_eq!(world.hub.may_read(sending), MayRead::Sparingly);
}

/// Publishes until memory is low.
fn bring_alarm_about(world: &mut World) {
    let publisher = world.open(0);
    world.send(publisher, &declare());
    while world.hub.condition().alarm.is_none() {
        world.send(publisher, &burst());
        end_turn(world);
    }
}

#[test]
fn who_may_finish_and_sends_little_makes_room_for_the_next() {
    const SECOND_MS: u64 = 1_000;
    let mut world = World::new();
    world.set_message_memory(MessageMemory { paging_bytes: usize::MAX, most_bytes: 4 * WATERMARK_BYTES });
    let message = message_in_frames(8 << 20, 100_000);
    let [stuck, busy, next] = [(); 3].map(|()| world.open(0));
    for id in [stuck, busy, next] {
        world.send(id, &message[..20_000]);
    }
    bring_alarm_about(&mut world);
    for id in [stuck, busy, next] {
        assert_eq!(world.hub.may_read(id), MayRead::NotDuringAlarm);
    }
    // Who may be read, a second later.
    let next_second = |world: &mut World| {
        world.pass(SECOND_MS);
        assert!(!world.update_alarm());
        world.take_unblocked()
    };
    world.update_alarm();
    assert_eq!(world.take_unblocked(), [stuck]);
    assert_eq!(next_second(&mut world), [busy], "nothing came of the first");
    for from in [20_000, 2_000_000] {
        assert_eq!(world.hub.may_read(busy), MayRead::Now);
        world.send(busy, &message[from..from + 1_980_000]);
        assert_eq!(next_second(&mut world), [], "it gets on");
    }
    // The first sends more, and waits behind the others.
    assert_eq!(world.hub.may_read(stuck), MayRead::NotDuringAlarm);
    assert_eq!(next_second(&mut world), [next]);
    assert_eq!(next_second(&mut world), [stuck]);
    assert_eq!(world.hub.may_read(busy), MayRead::NotDuringAlarm);
}

#[test]
fn nobody_makes_room_while_those_who_did_hold_much() {
    let mut world = world(usize::MAX);
    let message = message_in_frames(8 << 20, 100_000);
    let [one, other] = [(); 2].map(|()| world.open(0));
    for id in [one, other] {
        world.send(id, &message[..WATERMARK_BYTES / 6]);
    }
    bring_alarm_about(&mut world);
    for id in [one, other] {
        assert_eq!(world.hub.may_read(id), MayRead::NotDuringAlarm);
    }
    for _ in 0..10 {
        world.update_alarm();
        world.pass(1_000);
    }
    assert_eq!(world.take_unblocked(), [one]);
    world.hub.disconnect(one);
    world.update_alarm();
    assert_eq!(world.take_unblocked(), [other], "until one of them is gone");
}

#[test]
fn an_alarm_does_not_end_as_soon_as_it_began() {
    let mut world = world(usize::MAX);
    let consumer = world.open(0);
    bring_alarm_about(&mut world);
    let consume = basic::Consume { queue: b"q", no_ack: true, nowait: true, ..basic::Consume::default() };
    world.send(consumer, &methods(&[Method::BasicConsume(consume)]));
    let began_ms = world.hub.condition().now_ms;
    let mut purge = Vec::new();
    Method::QueuePurge(queue::Purge { queue: b"q", nowait: true }).encode_frame(1, &mut purge);
    world.send(consumer, &purge);
    // What is purged is given back in slices.
    while world.hub.broker().is_settling() {
        world.pass(0);
        world.pump();
    }
    assert!(held_memory_bytes() < WATERMARK_BYTES / 2);
    assert!(!world.update_alarm());
    assert_eq!(world.hub.next_deadline_ms(), Some(began_ms + 100), "it is looked at again");
    world.pass(99);
    assert!(!world.update_alarm());
    world.pass(1);
    assert!(world.update_alarm());
    assert_eq!(world.hub.condition().alarm, None);
}
