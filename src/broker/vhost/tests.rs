//! What is named in one vhost has nothing to do with the same name in another.

use super::*;
use crate::broker::exchange::ExchangeKind;
use crate::broker::message::ComposedMessage;
use crate::broker::publish::REPLY_TO;
use crate::broker::queue::QueueKind;
use crate::broker::snapshot::PageStart;
use crate::broker::store::{DurableBinding, DurableDestination, DurableQueueId, MemoryStore};
use crate::broker::testing::{self, Nobody, VHOST};
use crate::broker::{
    Caller, ConnectionId, ConsumeRequest, DeclareRequest, ExchangeRequest, GetOutcome, Permissions, RestoredQueue,
};
use crate::protocol::{BasicProperties, FieldTable, FieldValue, ShortString};
use bytes::Bytes;

/// A broker with two vhosts and a client in each.
fn neighbours(limits: VhostLimits) -> (Broker<MemoryStore>, [Caller; 2]) {
    let mut broker = testing::broker();
    broker.put_vhost("next door", VhostAttributes::default());
    let next_door = broker.vhost_named(b"next door").unwrap();
    broker.vhosts[next_door].limits = limits;
    broker.set_permissions(testing::USER, next_door, Permissions::all());
    assert_eq!((broker.vhost_named(b"next door"), broker.vhost_named(b"/")), (Some(next_door), Some(VHOST)));
    assert_eq!((broker.vhost_name(next_door), broker.vhost_named(b"nowhere")), ("next door", None));
    let callers = [(VHOST, ConnectionId(0)), (next_door, ConnectionId(1))].map(|(vhost, connection)| {
        let channel = testing::connect_to(&mut broker, vhost, connection);
        broker.caller(channel)
    });
    (broker, callers)
}

fn declare(broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8]) -> Result<(), String> {
    let arguments = FieldTable::default();
    let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
    broker.declare_queue(caller, request, &mut Nobody).map(drop).map_err(|error| error.explanation)
}

fn declare_exchange(broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8]) -> Result<(), String> {
    let (durable, auto_delete, internal, arguments) = (false, false, false, FieldTable::default());
    let request = ExchangeRequest { name, kind: b"topic", durable, auto_delete, internal, arguments };
    broker.declare_exchange(caller, request).map(drop).map_err(|error| error.explanation)
}

fn publish(broker: &mut Broker<MemoryStore>, caller: Caller, exchange: &str, key: &str) -> Result<(), String> {
    let exchange = ShortString::truncated(exchange.as_bytes());
    let key = ShortString::truncated(key.as_bytes());
    let message = ComposedMessage::new(&exchange, &key, &BasicProperties::default(), Bytes::new());
    message.publish(caller, usize::MAX, broker, &mut Nobody).map(drop).map_err(|error| error.explanation)
}

fn ready(broker: &Broker<MemoryStore>, caller: Caller, name: &[u8]) -> Option<usize> {
    broker.snapshot_queue(caller.vhost, name).map(|queue| queue.figures.messages_ready)
}

#[test]
fn a_queue_of_the_same_name_is_another_one_next_door() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    declare(&mut broker, here, b"q").unwrap();
    assert!(matches!(broker.get(there, b"q", true, &mut Nobody), Err(error)
        if error.explanation == "no queue 'q' in vhost 'next door'"));
    declare(&mut broker, there, b"q").unwrap();
    publish(&mut broker, here, "", "q").unwrap();
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(1), Some(0)));
    publish(&mut broker, there, "", "q").unwrap();
    assert!(matches!(broker.get(there, b"q", true, &mut Nobody), Ok(GetOutcome::Got(_))));
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(1), Some(0)));
    broker.delete_queue(there, b"q", false, false, &mut Nobody).unwrap();
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(1), None));
    broker.census();
}

#[test]
fn exchanges_and_bindings_lead_to_nothing_next_door() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    declare_exchange(&mut broker, here, b"x").unwrap();
    assert_eq!(publish(&mut broker, there, "x", "k").unwrap_err(), "no exchange 'x' in vhost 'next door'");
    declare_exchange(&mut broker, there, b"x").unwrap();
    for caller in [here, there] {
        declare(&mut broker, caller, b"q").unwrap();
    }
    broker.bind_queue(here, b"q", b"x", b"#", FieldTable::default()).unwrap();
    // Again and again, so that remembered routes are asked for too.
    for _ in 0..4 {
        publish(&mut broker, here, "x", "k").unwrap();
        publish(&mut broker, there, "x", "k").unwrap();
    }
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(4), Some(0)));
    broker.bind_queue(there, b"q", b"amq.fanout", b"", FieldTable::default()).unwrap();
    publish(&mut broker, here, "amq.fanout", "").unwrap();
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(4), Some(0)));
    publish(&mut broker, there, "amq.fanout", "").unwrap();
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (Some(4), Some(1)));
}

#[test]
fn a_reply_address_is_known_where_it_was_given_only() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: REPLY_TO, consumer_tag: b"", no_ack: true, exclusive: false, arguments };
    broker.consume(here, request).unwrap();
    let address = broker.reply_address(here.channel).unwrap();
    let declared = |broker: &mut Broker<MemoryStore>, caller| {
        broker.declare_queue_passively(caller, address.as_bytes(), &mut Nobody).is_ok()
    };
    assert!(declared(&mut broker, here));
    assert!(!declared(&mut broker, there));
    publish(&mut broker, there, "", &address).unwrap();
    assert_eq!(broker.totals().delivered_auto_ack, 0);
    publish(&mut broker, here, "", &address).unwrap();
    assert_eq!(broker.totals().delivered_auto_ack, 1);
}

#[test]
fn a_vhost_that_is_full_leaves_room_next_door() {
    /// Exchanges that every vhost has.
    const PREDECLARED: usize = 7;
    let limits = VhostLimits {
        queues_max: 1,
        exchanges_max: PREDECLARED,
        bindings_max: 1,
        consumers_max: 1,
        ..VhostLimits::default()
    };
    let (mut broker, [here, there]) = neighbours(limits);
    let fill = |broker: &mut Broker<MemoryStore>, caller: Caller, name: &[u8]| {
        let mut refused = Vec::new();
        refused.extend(declare(broker, caller, name).err());
        refused.extend(declare_exchange(broker, caller, name).err());
        for key in [b"1", b"2"] {
            let bound = broker.bind_queue(caller, b"q", b"amq.direct", key, FieldTable::default());
            refused.extend(bound.err().map(|error| error.explanation));
            let (consumer_tag, arguments) = ([name, key].concat(), FieldTable::default());
            let consumer_tag = consumer_tag.as_slice();
            let request = ConsumeRequest { queue: b"q", consumer_tag, no_ack: true, exclusive: false, arguments };
            refused.extend(broker.consume(caller, request).err().map(|error| error.explanation));
        }
        refused
    };
    for name in [b"q", b"r"] {
        assert_eq!(fill(&mut broker, here, name), [""; 0], "no limits here");
    }
    let exchange_refused = "cannot declare exchange 'q': exchange limit in vhost 'next door' (7) is reached";
    let binding_refused = "cannot bind: binding limit in vhost 'next door' (1) is reached";
    let consumer_refused = "cannot consume from queue 'q': consumer limit in vhost 'next door' (1) is reached";
    assert_eq!(fill(&mut broker, there, b"q"), [exchange_refused, binding_refused, consumer_refused]);
    let queue_refused = "cannot declare queue 'r': queue limit in vhost 'next door' (1) is reached";
    assert_eq!(declare(&mut broker, there, b"r").unwrap_err(), queue_refused);
    // What goes makes room, whatever way it goes.
    broker.delete_queue(there, b"q", false, false, &mut Nobody).unwrap();
    let again = fill(&mut broker, there, b"q");
    assert_eq!(again, [exchange_refused, binding_refused, consumer_refused], "as much as before");
    broker.cancel(there, b"q1");
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: b"q", consumer_tag: b"", no_ack: true, exclusive: false, arguments };
    broker.consume(there, request).unwrap();
    broker.census();
}

#[test]
fn a_queue_that_lives_on_in_unacknowledged_messages_takes_its_vhosts_room() {
    let (mut broker, [_, there]) = neighbours(VhostLimits { queues_max: 1, ..VhostLimits::default() });
    declare(&mut broker, there, b"q").unwrap();
    publish(&mut broker, there, "", "q").unwrap();
    broker.get(there, b"q", false, &mut Nobody).unwrap();
    broker.delete_queue(there, b"q", false, false, &mut Nobody).unwrap();
    assert!(declare(&mut broker, there, b"r").is_err());
    broker.close_channel(there.channel);
    let caller = Caller { channel: broker.open_channel(there.connection, 1), ..there };
    declare(&mut broker, caller, b"r").unwrap();
}

#[test]
fn listings_say_where_each_thing_is() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    declare(&mut broker, here, b"mine").unwrap();
    declare(&mut broker, there, b"theirs").unwrap();
    let arguments = FieldTable::default();
    let request = ConsumeRequest { queue: b"theirs", consumer_tag: b"", no_ack: true, exclusive: false, arguments };
    broker.consume(there, request).unwrap();

    let queues = broker.snapshot_queues(PageStart::default()).items;
    let queues: Vec<_> = queues.iter().map(|queue| (&*queue.vhost, &*queue.name)).collect();
    assert_eq!(queues, [("/", &b"mine"[..]), ("next door", b"theirs")]);
    let consumers = broker.snapshot_consumers(PageStart::default()).items;
    assert_eq!(consumers.iter().map(|consumer| &*consumer.vhost).collect::<Vec<_>>(), ["next door"]);
    let channels = broker.snapshot_channels(PageStart::default()).items;
    assert_eq!(channels.iter().map(|channel| &*channel.vhost).collect::<Vec<_>>(), ["/", "next door"]);

    let (mut exchanges, mut bindings, mut from) = (Vec::new(), Vec::new(), Some(PageStart::default()));
    while let Some(start) = from {
        let page = broker.snapshot_exchanges(start);
        exchanges.extend(page.items.into_iter().map(|exchange| (exchange.vhost, exchange.name)));
        bindings.extend(broker.snapshot_bindings(start).items);
        from = page.next;
    }
    let bindings: Vec<_> = bindings.iter().map(|binding| (&*binding.vhost, &*binding.destination)).collect();
    assert_eq!(bindings, [("/", &b"mine"[..]), ("next door", b"theirs")]);
    assert_eq!(exchanges.len(), 2 * 7);
    assert_eq!(exchanges.iter().filter(|(vhost, _)| &**vhost == "next door").count(), 7);
    let totals = broker.snapshot_totals();
    assert_eq!((totals.queues, totals.exchanges), (2, 14));

    assert!(broker.snapshot_queue(here.vhost, b"theirs").is_none());
    assert_eq!(broker.snapshot_consumers_of(here.vhost, b"theirs", PageStart::default()).items, []);
    assert_eq!(broker.snapshot_consumers_of(there.vhost, b"theirs", PageStart::default()).items.len(), 1);
    let bound = broker.snapshot_bindings_to_queue(there.vhost, b"theirs");
    assert_eq!(bound.iter().map(|binding| &*binding.vhost).collect::<Vec<_>>(), ["next door"]);
}

#[test]
fn definitions_come_back_where_they_were() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    let none = FieldTable::default();
    broker.restore_exchange(there.vhost, &"x".into(), ExchangeKind::Direct, false, false, &none).unwrap();
    let (id, name, auto_delete) = (DurableQueueId(1), ShortString::from("q"), false);
    let arguments = none.clone();
    let queue = RestoredQueue { vhost: there.vhost, id, name, auto_delete, arguments, top_level: 0 };
    assert!(broker.restore_queue(queue).1.is_none(), "its arguments are understood");
    let destination = DurableDestination::Queue("q".into());
    let (source, routing_key, vhost) = (ShortString::from("x"), ShortString::from("k"), there.vhost);
    let binding = DurableBinding { vhost, source, destination, routing_key, arguments: none };
    broker.restore_binding(&binding).unwrap();
    let binding = DurableBinding { vhost: here.vhost, ..binding };
    assert!(broker.restore_binding(&binding).is_err(), "neither end is here");
    publish(&mut broker, there, "x", "k").unwrap();
    assert_eq!((ready(&broker, here, b"q"), ready(&broker, there, b"q")), (None, Some(1)));
    assert!(broker.snapshot_exchange(here.vhost, b"x").is_none());
}

#[test]
fn the_epoch_ends_with_every_change_of_routes_anywhere_and_only_then() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    let mut last = broker.epoch();
    let mut ended = |broker: &Broker<MemoryStore>| std::mem::replace(&mut last, broker.epoch()) != broker.epoch();
    declare(&mut broker, there, b"q").unwrap();
    assert!(ended(&broker));
    declare(&mut broker, there, b"q").unwrap();
    assert!(!ended(&broker), "it was there");
    declare_exchange(&mut broker, here, b"x").unwrap();
    assert!(ended(&broker));
    broker.bind_queue(there, b"q", b"amq.direct", b"k", FieldTable::default()).unwrap();
    assert!(ended(&broker));
    broker.unbind_queue(there, b"q", b"amq.direct", b"another", &FieldTable::default()).unwrap();
    publish(&mut broker, there, "amq.direct", "k").unwrap();
    assert!(!ended(&broker), "nothing was unbound, and a publish changes nothing");
    broker.delete_queue(there, b"q", false, false, &mut Nobody).unwrap();
    assert!(ended(&broker));
}

/// What a user may do in a vhost, by name.
fn permit(broker: &mut Broker<MemoryStore>, vhost: &str) -> VhostId {
    let id = broker.vhost_named(vhost.as_bytes()).unwrap();
    broker.set_permissions(testing::USER, id, Permissions::all());
    id
}

/// Clears a deleted vhost; says in how many slices.
fn clear(broker: &mut Broker<MemoryStore>, key: VhostKey) -> usize {
    let slices = (1..1000).find(|_| broker.clear_vhost(key, &mut Nobody));
    slices.expect("it ends")
}

#[test]
fn a_deleted_vhost_is_nobodys_at_once_and_goes_slice_by_slice() {
    const QUEUES: usize = 300;
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    declare_exchange(&mut broker, there, b"x").unwrap();
    let consume = |queue, no_ack| {
        let arguments = FieldTable::default();
        ConsumeRequest { queue, consumer_tag: b"", no_ack, exclusive: false, arguments }
    };
    for number in 0..QUEUES {
        let name = format!("q{number}");
        declare(&mut broker, there, name.as_bytes()).unwrap();
        broker.bind_queue(there, name.as_bytes(), b"x", b"#", FieldTable::default()).unwrap();
    }
    publish(&mut broker, there, "x", "k").unwrap();
    broker.get(there, b"q0", false, &mut Nobody).unwrap();
    broker.consume(there, consume(b"q1", false)).unwrap();
    declare(&mut broker, here, b"mine").unwrap();

    let before = broker.epoch();
    let deleted = broker.delete_vhost(there.vhost).value;
    assert_ne!(broker.epoch(), before);
    assert_eq!(broker.vhost_named(b"next door"), None);
    let refused = |answer: Result<(), String>| answer.is_err_and(|text| text.contains("refused for user 'guest'"));
    assert!(refused(declare(&mut broker, there, b"new")));
    assert!(refused(declare_exchange(&mut broker, there, b"new")));
    assert!(refused(publish(&mut broker, there, "x", "k")));
    assert!(refused(publish(&mut broker, there, "", "q0")));
    assert!(broker.get(there, b"q0", true, &mut Nobody).is_err());
    let pages = std::iter::successors(Some(broker.snapshot_queues(PageStart::default())), |page| {
        page.next.map(|next| broker.snapshot_queues(next))
    });
    assert_eq!(pages.map(|page| page.items.len()).sum::<usize>(), 1, "and not those that are on their way out");

    assert!(!broker.clear_vhost(deleted, &mut Nobody), "not while somebody is connected");
    assert_eq!(broker.census().queues, 1 + QUEUES);
    broker.close_connection(there.connection, &mut Nobody);
    assert!(clear(&mut broker, deleted) > QUEUES / 100);
    let census = broker.census();
    assert_eq!((census.queues, census.ready, census.unacknowledged, census.consumers), (1, 0, 0, 0));
    declare(&mut broker, here, b"mine").unwrap();
}

#[test]
fn no_slice_grows_with_the_bindings_of_one_queue_or_exchange() {
    const BINDINGS: usize = 10_000;
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    declare(&mut broker, there, b"q").unwrap();
    declare_exchange(&mut broker, there, b"x").unwrap();
    for number in 0..BINDINGS {
        let key = number.to_string();
        broker.bind_queue(there, b"q", b"x", key.as_bytes(), FieldTable::default()).unwrap();
        broker.bind_exchange(there, b"amq.topic", b"x", key.as_bytes(), FieldTable::default()).unwrap();
    }
    declare(&mut broker, here, b"q").unwrap();
    broker.bind_queue(here, b"q", b"amq.topic", b"k", FieldTable::default()).unwrap();
    let deleted = broker.delete_vhost(there.vhost).value;
    broker.close_connection(there.connection, &mut Nobody);
    let mut before = broker.router(there.vhost).binding_count();
    while !broker.clear_vhost(deleted, &mut Nobody) {
        let left = broker.router(there.vhost).binding_count();
        assert!(before - left <= BINDINGS / 5, "{before} to {left} in one slice");
        before = left;
    }
    assert_eq!(broker.census().queues, 1);
    publish(&mut broker, here, "amq.topic", "k").unwrap();
    assert_eq!(ready(&broker, here, b"q"), Some(1));
}

#[test]
fn a_vhost_that_is_made_again_has_nothing_of_the_one_before() {
    let (mut broker, [_, there]) = neighbours(VhostLimits::default());
    declare(&mut broker, there, b"q").unwrap();
    broker.bind_queue(there, b"q", b"amq.topic", b"k", FieldTable::default()).unwrap();
    for _ in 0..4 {
        publish(&mut broker, there, "amq.topic", "k").unwrap();
    }
    let deleted = broker.delete_vhost(there.vhost).value;
    // At once, while the other one is still going.
    assert!(broker.put_vhost("next door", VhostAttributes::default()).value);
    let second = broker.vhost_named(b"next door").unwrap();
    assert_ne!(second, there.vhost);
    assert!(!broker.may_enter(testing::USER, second), "permissions are gone with what they were for");
    broker.close_connection(there.connection, &mut Nobody);
    clear(&mut broker, deleted);

    // And in the slot of the one that is gone.
    broker.put_vhost("third", VhostAttributes::default());
    let third = permit(&mut broker, "third");
    assert_eq!(third, there.vhost);
    let channel = testing::connect_to(&mut broker, third, there.connection);
    let caller = broker.caller(channel);
    assert_eq!(broker.snapshot_queue(third, b"q").map(|queue| queue.name), None);
    publish(&mut broker, caller, "amq.topic", "k").unwrap();
    assert_eq!(broker.totals().unroutable_returned, 1, "no remembered route leads anywhere");
    assert!(broker.clear_vhost(deleted, &mut Nobody), "a key of the one before means nothing");
    assert_eq!(broker.vhost_name(third), "third");
    broker.census();
}

#[test]
fn limits_of_a_vhost_hold_for_one_more_and_for_nothing_that_is_there() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    let limit = |broker: &mut Broker<MemoryStore>, queues_max, connections_max| {
        broker.put_vhost("next door", VhostAttributes { queues_max, connections_max, ..VhostAttributes::default() })
    };
    let user = broker.user_key(testing::USER);
    declare(&mut broker, there, b"q").unwrap();
    assert!(!limit(&mut broker, Some(1), Some(1)).value, "it is not new");
    declare(&mut broker, there, b"q").unwrap();
    let refused = "cannot declare queue 'r': queue limit in vhost 'next door' (1) is reached";
    assert_eq!(declare(&mut broker, there, b"r").unwrap_err(), refused);
    declare(&mut broker, here, b"r").unwrap();
    let refused = "access to vhost 'next door' refused for user 'guest': connection limit (1) is reached";
    assert_eq!(broker.admit(user, "guest", b"next door").unwrap_err().explanation, refused);
    assert_eq!(broker.admit(user, "guest", b"/"), Ok((testing::USER, VHOST)));
    limit(&mut broker, Some(0), Some(0));
    assert!(declare(&mut broker, there, b"r").is_err());
    broker.delete_queue(there, b"q", false, false, &mut Nobody).unwrap();
    assert!(declare(&mut broker, there, b"r").is_err(), "none at all");
    limit(&mut broker, None, Some(2));
    declare(&mut broker, there, b"r").unwrap();
    assert!(broker.admit(user, "guest", b"next door").is_ok());
}

#[test]
fn a_queue_that_says_no_type_is_of_the_default_one() {
    let (mut broker, [here, there]) = neighbours(VhostLimits::default());
    let default_type = |broker: &mut Broker<MemoryStore>, name: Option<&str>| {
        let attributes = VhostAttributes { default_queue_type: name.map(Box::from), ..VhostAttributes::default() };
        broker.put_vhost("next door", attributes);
    };
    let declare =
        |broker: &mut Broker<MemoryStore>, caller, name: &'static [u8], durable, auto_delete, kind: Option<&str>| {
            let value = |kind: &str| FieldValue::LongString(kind.as_bytes().into());
            let arguments = FieldTable(kind.map(|kind| ("x-queue-type".into(), value(kind))).into_iter().collect());
            let request = DeclareRequest { name, durable, exclusive: false, auto_delete, arguments };
            broker.declare_queue(caller, request, &mut Nobody).map(drop).map_err(|error| error.explanation)
        };
    let kind = |broker: &Broker<MemoryStore>, caller: Caller, name: &[u8]| {
        broker.queue(broker.queue_in(caller.vhost, name).unwrap()).arguments.kind
    };
    declare(&mut broker, there, b"before", true, false, None).unwrap();
    default_type(&mut broker, Some("quorum"));
    declare(&mut broker, here, b"a", true, false, None).unwrap();
    assert_eq!(kind(&broker, here, b"a"), QueueKind::Classic);
    declare(&mut broker, there, b"a", true, false, None).unwrap();
    assert_eq!(kind(&broker, there, b"a"), QueueKind::Quorum);
    assert_eq!(declare(&mut broker, there, b"a", true, false, None), Ok(()));
    assert_eq!(declare(&mut broker, there, b"a", true, false, Some("quorum")), Ok(()));
    let refused = "inequivalent arg 'x-queue-type' for queue 'a' in vhost 'next door': received 'classic' but current is \
                   'quorum'";
    assert_eq!(declare(&mut broker, there, b"a", true, false, Some("classic")), Err(refused.to_owned()));
    // What is there is what it was, and it is said that it differs.
    let refused = "inequivalent arg 'x-queue-type' for queue 'before' in vhost 'next door': received the value 'quorum' of \
                   type 'longstr' but current is none";
    assert_eq!(declare(&mut broker, there, b"before", true, false, None), Err(refused.to_owned()));
    assert_eq!(declare(&mut broker, there, b"before", true, false, Some("classic")), Ok(()));
    // These can't be anything else.
    for (name, durable, auto_delete) in [(b"b", false, false), (b"c", true, true)] {
        assert_eq!(declare(&mut broker, there, name, durable, auto_delete, None), Ok(()));
        assert_eq!(kind(&broker, there, name), QueueKind::Classic);
    }
    // What is said of the vhost comes before what is said of all.
    broker.settings.default_queue_type = Some(QueueKind::Quorum);
    default_type(&mut broker, Some("classic"));
    declare(&mut broker, there, b"e", true, false, None).unwrap();
    declare(&mut broker, here, b"e", true, false, None).unwrap();
    assert_eq!([here, there].map(|caller| kind(&broker, caller, b"e")), [QueueKind::Quorum, QueueKind::Classic]);
    let shown = |caller: Caller| broker.snapshot_vhost(caller.vhost).attributes.default_queue_type;
    assert_eq!([here, there].map(shown), [Some("quorum".into()), Some("classic".into())]);
    broker.settings.default_queue_type = None;
    default_type(&mut broker, None);
    let refused = "inequivalent arg 'x-queue-type' for queue 'a' in vhost 'next door': received none but current is the \
                   value 'quorum' of type 'longstr'";
    assert_eq!(declare(&mut broker, there, b"a", true, false, None), Err(refused.to_owned()));
    default_type(&mut broker, Some("stream"));
    let refused = "queue type 'stream' of queue 'd' in vhost 'next door' is not supported by this version";
    assert_eq!(declare(&mut broker, there, b"d", true, false, None), Err(refused.to_owned()));
    assert_eq!(declare(&mut broker, there, b"d", false, false, None), Ok(()));
}
