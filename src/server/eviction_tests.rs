//! Users and virtual hosts that are deleted while somebody is there.

use super::tests::{HERE, World, conversation_in};
use super::{Hub, hub_settings};
use crate::access::{PasswordHash, Tags};
use crate::broker::store::MemoryStore;
use crate::broker::{ConnectionId, Permissions, VhostAttributes};
use crate::config::Config;
use crate::connection::{Doorkeeper, LoginRequest, Verdict};
use crate::protocol::Method;
use crate::protocol::method::{basic, queue};

const OPENED: [&str; 4] = ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"];

/// Lets everybody in.
struct Anyone;

impl Doorkeeper for Anyone {
    fn ask(&self, _: LoginRequest) -> Option<Verdict> {
        Some(Verdict::Allowed)
    }
}

/// With a second user, bob, and a second vhost, den, where both may do everything.
fn world() -> World {
    let mut settings = hub_settings(&Config::default(), [7; 32], 0);
    settings.connection.doorkeeper = Box::new(Anyone);
    let mut world = World::with_settings(settings);
    make_bob(&mut world.hub);
    make_den(&mut world.hub);
    world
}

fn make_bob(hub: &mut Hub<MemoryStore>) {
    let broker = hub.broker_mut();
    broker.put_user("bob", PasswordHash::salted_sha256(b"secret", [1; 4]), Tags::default());
    permit(hub, "/");
}

fn make_den(hub: &mut Hub<MemoryStore>) {
    hub.broker_mut().put_vhost("den", VhostAttributes::default());
    permit(hub, "den");
}

/// Both may do everything in a vhost.
fn permit(hub: &mut Hub<MemoryStore>, vhost: &str) {
    let broker = hub.broker_mut();
    let vhost = broker.vhost_named(vhost.as_bytes()).unwrap();
    for name in ["guest", "bob"] {
        if let Some(user) = broker.find_user(name.as_bytes()).and_then(|key| broker.user_of(key)) {
            broker.set_permissions(user, vhost, Permissions::all());
        }
    }
}

fn enter(world: &mut World, user: &str, vhost: &str) -> ConnectionId {
    let id = world.connect(HERE);
    world.send(id, &conversation_in(vhost.as_bytes(), format!("\0{user}\0secret").as_bytes(), 0));
    assert_eq!(world.heard(id), OPENED);
    id
}

fn frames(methods: &[Method<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    methods.iter().for_each(|method| method.encode_frame(1, &mut bytes));
    bytes
}

fn declare(name: &[u8]) -> Vec<u8> {
    frames(&[Method::QueueDeclare(queue::Declare { queue: name, ..queue::Declare::default() })])
}

/// Turns until there is nothing left to do at once.
fn settle(world: &mut World) -> usize {
    let turns = (0..1000).find(|_| {
        let has_more = world.hub.next_deadline_ms() == Some(world.hub.condition().now_ms);
        if has_more {
            world.pass(0);
            world.pump();
        }
        !has_more
    });
    turns.expect("it ends")
}

#[test]
fn everybody_in_a_deleted_vhost_is_told_so_and_nobody_elsewhere() {
    let mut world = world();
    let (here, there) = (enter(&mut world, "guest", "/"), enter(&mut world, "guest", "den"));
    let bob = enter(&mut world, "bob", "den");
    for client in [here, there] {
        world.send(client, &declare(b"q"));
        assert_eq!(world.heard(client), ["queue.declare-ok"]);
    }
    let den = world.hub.broker().vhost_named(b"den").unwrap();
    world.hub.delete_vhost(den);
    // It was said before its turn came.
    world.send(there, &declare(b"r"));
    assert!(world.hub.broker().snapshot_queue(den, b"r").is_none());
    settle(&mut world);
    for client in [there, bob] {
        assert_eq!(world.heard(client), ["connection.close 320 CONNECTION_FORCED - vhost 'den' is deleted"]);
    }
    assert_eq!(world.heard(here), [""; 0]);
    let census = world.hub.broker().census();
    assert_eq!((census.connections, census.queues), (1, 1));
    let late = world.connect(HERE);
    world.send(late, &conversation_in(b"den", b"\0guest\0guest", 0));
    let refused = "connection.close 530 NOT_ALLOWED - vhost den not found";
    assert_eq!(world.heard(late), ["connection.start", "connection.tune", refused]);
}

#[test]
fn a_deleted_users_connections_are_closed_and_those_of_its_successor_are_not() {
    let mut world = world();
    let (guest, bob) = (enter(&mut world, "guest", "/"), enter(&mut world, "bob", "/"));
    world.send(bob, &declare(b"q"));
    assert_eq!(world.heard(bob), ["queue.declare-ok"]);
    let key = world.hub.broker().find_user(b"bob").unwrap();
    let id = world.hub.broker().user_of(key).unwrap();
    world.hub.delete_user(id);
    make_bob(&mut world.hub);
    let second = enter(&mut world, "bob", "/");
    let purge = frames(&[Method::QueuePurge(queue::Purge { queue: b"q", ..queue::Purge::default() })]);
    world.send(second, &purge);
    assert_eq!(world.heard(second), ["queue.purge-ok"], "it may");
    settle(&mut world);
    assert_eq!(world.heard(bob), ["connection.close 320 CONNECTION_FORCED - user 'bob' is deleted"]);
    assert_eq!((world.heard(guest), world.heard(second)), (vec![], vec![]));
    world.hub.broker().census();
}

/// Slots are looked at in turns, from where the last deletion ended, and there are more of them than there were.
#[test]
fn whoever_connects_meanwhile_hides_nobody_whose_user_is_deleted() {
    for before in 1..40 {
        let mut world = world();
        let bobs: Vec<_> = (0..before).map(|_| enter(&mut world, "bob", "/")).collect();
        let den = world.hub.broker().vhost_named(b"den").unwrap();
        world.hub.delete_vhost(den);
        settle(&mut world);
        let bob = world.hub.broker().find_user(b"bob").and_then(|key| world.hub.broker().user_of(key)).unwrap();
        world.hub.delete_user(bob);
        let guests: Vec<_> = (0..before).map(|_| enter(&mut world, "guest", "/")).collect();
        settle(&mut world);
        for bob in bobs {
            let said = "connection.close 320 CONNECTION_FORCED - user 'bob' is deleted";
            assert_eq!(world.heard(bob), [said], "{before} connections");
        }
        assert!(guests.into_iter().all(|guest| world.heard(guest).is_empty()));
    }
}

#[test]
fn a_vhost_with_more_than_a_turn_can_do_goes_in_many() {
    let mut world = world();
    let client = enter(&mut world, "guest", "den");
    for number in 0..1000 {
        world.send(client, &declare(format!("q{number}").as_bytes()));
    }
    let publish = basic::Publish { routing_key: b"q1", ..basic::Publish::default() };
    world.send(client, &frames(&[Method::BasicPublish(publish)]));
    let others: Vec<_> = (0..600).map(|_| enter(&mut world, "bob", "den")).collect();
    let kept = enter(&mut world, "bob", "/");
    let den = world.hub.broker().vhost_named(b"den").unwrap();
    world.hub.delete_vhost(den);
    make_den(&mut world.hub);
    let next = enter(&mut world, "bob", "den");
    assert!(settle(&mut world) > 10);
    assert!(others.into_iter().all(|id| world.heard(id).len() == 1));
    world.send(next, &declare(b"q1"));
    assert_eq!(world.heard(next), ["queue.declare-ok"]);
    assert_eq!(world.heard(kept), [""; 0]);
    assert_eq!(world.hub.broker().census().queues, 1);
}
