//! How long a client may take: to say who it is, to say anything, and to go.

use super::MayRead;
use super::tests::{ELSEWHERE, HERE, World, connection_close, conversation, persistent_message};
use crate::connection::Phase;
use crate::protocol::frame::write_heartbeat;

#[test]
fn a_client_that_says_a_byte_every_nine_seconds_runs_out_of_time() {
    const BETWEEN_BYTES_MS: u64 = 9_000;
    let mut world = World::new();
    let id = world.connect(HERE);
    for (index, byte) in conversation(b"\0guest\0guest", 0).into_iter().enumerate() {
        if world.wait_until(index as u64 * BETWEEN_BYTES_MS, id) {
            assert_eq!(index, 2, "the handshake may take ten seconds as a whole");
            return;
        }
        world.send(id, &[byte]);
    }
    panic!("it came through");
}

#[test]
fn the_handshake_has_one_deadline_wherever_it_stalls() {
    let handshake = conversation(b"\0guest\0guest", 0);
    for length in (0..handshake.len()).step_by(20) {
        let mut world = World::new();
        let id = world.connect(HERE);
        world.send(id, &handshake[..length]);
        if world.hub.connections().get(id).unwrap().phase() != Phase::Running {
            assert_eq!(world.until_over(id).1, 10_000, "after {length} bytes");
        }
    }
}

#[test]
fn guest_may_come_from_this_machine_only() {
    let refused = "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For \
                   details see the broker logfile.";
    for (from, answer) in [
        (HERE, "connection.tune"),
        ("127.0.0.2:50000", "connection.tune"),
        ("[::1]:50000", "connection.tune"),
        ("[::ffff:127.0.0.1]:50000", "connection.tune"),
        (ELSEWHERE, refused),
        ("[::ffff:192.0.2.7]:50000", refused),
        ("[2001:db8::7]:50000", refused),
    ] {
        let mut world = World::new();
        let id = world.connect(from);
        world.send(id, &conversation(b"\0guest\0guest", 0));
        assert_eq!(world.heard(id)[..2], ["connection.start", answer], "from {from}");
    }
}

#[test]
fn heartbeats_go_out_twice_an_interval_and_the_second_look_that_finds_nothing_ends_it() {
    let mut world = World::new();
    let id = world.open(2);
    let beats = [1000, 2000, 3000, 4000, 5000].map(|at_ms| (at_ms, "heartbeat".to_owned()));
    assert_eq!(world.until_over(id), (beats.to_vec(), 6000));
}

/// As measured on RabbitMQ 3.10.8 with the same interval, to the tenth of a second.
#[test]
fn a_client_that_falls_silent_is_dropped_at_the_look_that_rabbitmq_drops_it_at() {
    let mut beat = Vec::new();
    write_heartbeat(&mut beat);
    for (last_byte_ms, over_ms) in [(100, 6000), (1990, 6000), (2500, 8000), (3900, 8000), (4100, 10_000)] {
        let mut world = World::new();
        let id = world.open(2);
        for at_ms in (100..last_byte_ms).step_by(1000).chain([last_byte_ms]) {
            assert!(!world.wait_until(at_ms, id));
            world.send(id, &beat);
        }
        assert_eq!(world.until_over(id).1, over_ms, "last heard of at {last_byte_ms}");
    }
}

#[test]
fn a_client_is_watched_anew_when_it_is_read_again() {
    let mut world = World::new();
    let publisher = world.open(2);
    world.set_disk_low(true);
    world.wait_until(1000, publisher);
    world.send(publisher, &persistent_message(10));
    assert_eq!(world.hub.may_read(publisher), MayRead::NotDuringAlarm);
    for at_ms in (2000..=20_000).step_by(500) {
        assert!(!world.wait_until(at_ms, publisher), "at {at_ms}");
    }
    world.wait_until(20_500, publisher);
    assert!(world.set_disk_low(false));
    assert_eq!(world.take_unblocked(), [publisher]);
    assert_eq!(world.until_over(publisher).1, 26_500);
}

#[test]
fn a_client_that_beats_stays_and_one_without_heartbeats_may_be_silent() {
    let mut beat = Vec::new();
    write_heartbeat(&mut beat);
    let mut world = World::new();
    let (beating, silent) = (world.open(2), world.open(0));
    for second in 1..60 {
        assert!(!world.wait_until(second * 1000, beating), "after {second} s");
        assert_eq!(world.heard(beating), ["heartbeat"]);
        world.send(beating, &beat);
    }
    assert!(world.heard(silent).is_empty());
}

/// As on RabbitMQ 3.10.8.
#[test]
fn a_closed_connection_may_take_a_heartbeat_interval_to_go_and_half_a_minute_at_most() {
    for (heartbeat, over_ms) in [(0, 30_000), (2, 2000), (600, 30_000)] {
        let mut world = World::new();
        let id = world.open(heartbeat);
        world.hub.close_where(|_| true, "because");
        assert_eq!(world.heard(id), ["connection.close 320 CONNECTION_FORCED - because"]);
        assert_eq!(world.until_over(id), (vec![], over_ms), "heartbeat {heartbeat}, forced");

        let mut world = World::new();
        let id = world.open(heartbeat);
        world.send(id, &connection_close());
        assert_eq!(world.heard(id), ["connection.close-ok"]);
        world.send(id, &persistent_message(10));
        assert_eq!(world.until_over(id), (vec![], over_ms), "heartbeat {heartbeat}, by the client");
    }
}
