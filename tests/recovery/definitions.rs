//! Durable definitions of every kind come back as they were; what is not durable, or belongs to a connection, does not.

use crate::node::{DataFolder, ask, depth, exchange_exists};
use crate::stops::publish_confirmed;
use crate::support::client::Client;
use leveret::broker::store::{Definition, DurableQueueId, Log as _, VhostId};
use leveret::protocol::{FieldTable, FieldValue};
use leveret::storage::{BatchDone, FileDisk, FolderIds, LogOptions, LogWriter, RecoveryMode, recover};
use std::path::Path;

/// What is declared, and the passive or repeated declaration that only the very same survives.
const DURABLE: [(&str, &str); 13] = [
    ("exchange.declare exchange=x.direct type=direct durable", "exchange.declare-ok"),
    ("exchange.declare exchange=x.fanout type=fanout durable internal", "exchange.declare-ok"),
    ("exchange.declare exchange=x.topic type=topic durable", "exchange.declare-ok"),
    ("exchange.declare exchange=x.headers type=headers durable", "exchange.declare-ok"),
    (
        "exchange.declare exchange=x.more type=topic durable auto_delete arguments={alternate-exchange=S:'x.fanout'}",
        "exchange.declare-ok",
    ),
    ("exchange.declare exchange=x.modulus type=x-modulus-hash durable", "exchange.declare-ok"),
    ("exchange.declare exchange=x.random type=x-random durable", "exchange.declare-ok"),
    ("exchange.declare exchange=x.local type=x-local-random durable", "exchange.declare-ok"),
    (
        "exchange.declare exchange=x.history type=x-recent-history durable arguments={x-recent-history-length=I:3}",
        "exchange.declare-ok",
    ),
    ("queue.declare queue=q.plain durable", "queue.declare-ok"),
    ("queue.declare queue=q.auto durable auto_delete", "queue.declare-ok"),
    ("queue.declare queue=q.ttl durable arguments={x-message-ttl=I:60000, x-expires=I:3600000}", "queue.declare-ok"),
    ("queue.declare queue='q. naïve \\'name\\'' durable", "queue.declare-ok"),
];

const BINDINGS: [(&str, &str); 4] = [
    ("queue.bind queue=q.plain exchange=x.direct routing_key=k", "queue.bind-ok"),
    ("queue.bind queue=q.plain exchange=x.headers arguments={x-match=S:'any', a=I:1, b=S:'two'}", "queue.bind-ok"),
    ("exchange.bind destination=x.direct source=x.topic routing_key='#'", "exchange.bind-ok"),
    ("exchange.bind destination=x.fanout source=x.more routing_key=more", "exchange.bind-ok"),
];

const PASSING: [(&str, &str); 4] = [
    ("queue.declare queue=p.transient", "queue.declare-ok"),
    ("queue.declare queue=p.exclusive durable exclusive", "queue.declare-ok"),
    ("exchange.declare exchange=p.transient type=fanout", "exchange.declare-ok"),
    ("queue.bind queue=q.plain exchange=p.transient", "queue.bind-ok"),
];

#[test]
fn durable_definitions_survive_kills_and_stops() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    for (line, answer) in DURABLE.into_iter().chain(BINDINGS).chain(PASSING) {
        assert!(ask(&mut client, line, answer), "{line}");
    }
    node.kill();
    for is_last in [false, true] {
        let node = folder.start();
        let mut client = node.client();
        // The same again is the same; whatever came back otherwise would be a 406.
        for (line, answer) in DURABLE {
            assert!(ask(&mut client, line, answer), "{line}");
        }
        assert_eq!([depth(&mut client, "p.transient"), depth(&mut client, "p.exclusive")], [None, None]);
        assert!(!exchange_exists(&mut client, "p.transient"));
        // The bindings, by what travels over them: one from exchange to exchange, one with arguments.
        client.send("confirm.select");
        client.expects("confirm.select-ok");
        client.send("publish exchange=x.topic routing_key=k mandatory body='by-key'");
        client.send("publish exchange=x.headers mandatory headers={b=S:'two'} body='by-header'");
        client.expects("acks 2");
        client.send("basic.get queue=q.plain no_ack ; basic.get queue=q.plain no_ack");
        client.expects("deliveries get#1=by-key get#2=by-header");
        client.send("publish exchange=x.headers mandatory headers={b=S:'three'} body='no such header'");
        client.expects("basic.return(code=312, text='NO_ROUTE', exchange='x.headers', routing_key='')");
        if !is_last {
            assert_eq!(node.stop().code(), Some(0));
        }
    }
}

/// Whatever the names of queues are: what counts is who was bound first.
#[test]
fn a_consistent_hash_sends_a_key_where_it_went_before_the_restart() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    assert!(ask(&mut client, "exchange.declare exchange=x type=x-consistent-hash durable", "exchange.declare-ok"));
    for (queue, weight) in [("q.c", 1), ("q.a", 3), ("q.d", 2), ("q.b", 2)] {
        assert!(ask(&mut client, &format!("queue.declare queue={queue} durable"), "queue.declare-ok"));
        let line = format!("queue.bind queue={queue} exchange=x routing_key={weight}");
        assert!(ask(&mut client, &line, "queue.bind-ok"));
    }
    assert!(ask(&mut client, "queue.unbind queue=q.a exchange=x routing_key=3", "queue.unbind-ok"));
    assert!(ask(&mut client, "queue.bind queue=q.a exchange=x routing_key=1", "queue.bind-ok"));
    let routed = |client: &mut Client| -> Vec<Option<usize>> {
        let counts = |client: &mut Client| ["q.a", "q.b", "q.c", "q.d"].map(|queue| depth(client, queue).unwrap());
        let keys = (0..20).map(|key| {
            let before = counts(client);
            client.send(&format!("publish exchange=x routing_key=key-{key} body=x"));
            let after = counts(client);
            before.iter().zip(&after).position(|(before, after)| before != after)
        });
        keys.collect()
    };
    let before = routed(&mut client);
    node.kill();
    let node = folder.start();
    assert_eq!(routed(&mut node.client()), before, "from the log");
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(routed(&mut folder.start().client()), before, "from a checkpoint");
}

#[test]
fn unanswered_declarations_are_all_there_once_a_later_one_is_answered() {
    let folder = DataFolder::new();
    let node = folder.start();
    let mut client = node.client();
    client.send("200x queue.declare queue=q% durable nowait");
    assert!(ask(&mut client, "queue.declare queue=last durable", "queue.declare-ok"));
    node.kill();
    let node = folder.start();
    let mut client = node.client();
    assert!((0..200).all(|number| depth(&mut client, &format!("q{number}")) == Some(0)));
}

/// Leaves definitions in a folder as another version does that knows other arguments.
pub fn define(folder: &Path, definitions: &[Definition]) {
    let disk = FileDisk::open(folder).expect("a folder for the test");
    let ids = FolderIds::from_chance([1; FolderIds::CHANCE_BYTES]);
    let recovered = recover(&disk, RecoveryMode::Strict, ids).expect("an empty folder");
    let mut store = recovered.store(LogOptions::default());
    let mut writer = LogWriter::start(disk, LogOptions::default(), recovered.resume).expect("a fresh log");
    definitions.iter().for_each(|definition| _ = store.define(definition));
    let batch = store.take_batch(0).expect("definitions");
    store.batch_done(BatchDone { result: writer.write(batch), recycled: None }).expect("the disk works");
}

#[test]
fn a_queue_with_arguments_that_this_version_refuses_is_there_with_its_messages() {
    let folder = DataFolder::new();
    let arguments = [("x-max-age", FieldValue::LongString((*b"1D").into())), ("x-expires", FieldValue::I32(3_600_000))];
    let arguments = FieldTable(arguments.map(|(name, value)| (name.into(), value)).into());
    let (id, vhost) = (DurableQueueId(1), VhostId(0));
    define(
        folder.path(),
        &[Definition::QueueDeclared { id, vhost, name: "q".into(), auto_delete: false, arguments, top_level: 0 }],
    );
    let node = folder.start();
    let said =
        "a queue of the log is there all the same: 406 PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q'";
    assert!(node.said.contains(said), "{}", node.said);
    publish_confirmed(&node, 1, "q", 2, 3);
    node.kill();
    let node = folder.start();
    assert!(node.said.contains(said), "{}", node.said);
    let mut client = node.client();
    assert_eq!(depth(&mut client, "q"), Some(3));
    // It still has its arguments, and those that are understood hold.
    client.send("queue.declare queue=q durable");
    let refusal = "channel.close 406 PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/': …";
    assert_eq!(client.read_like(1, refusal), refusal);
}

#[test]
fn definitions_of_a_virtual_host_that_cannot_be_are_refused() {
    let folder = DataFolder::new();
    let (id, vhost, arguments) = (DurableQueueId(1), VhostId(3), FieldTable::default());
    define(
        folder.path(),
        &[Definition::QueueDeclared { id, vhost, name: "q".into(), auto_delete: false, arguments, top_level: 0 }],
    );
    let refusal = folder.refusal();
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.text.contains("there is no virtual host 3"), "{}", refusal.text);
}
