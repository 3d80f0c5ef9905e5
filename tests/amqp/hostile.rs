//! Hostile and malformed input: the right answer comes, and a second connection noticed nothing.
//!
//! What a few frames can say is in `transcripts/hostile.txt`. Here is what takes many of something, scaled down by the
//! constants to what runs in under a second on the same path.

use crate::support::broker::Broker;
use crate::support::client::{Client, FRAME_MAX, encode, put_frame};
use crate::support::transcript::{parse, play, side_by_side};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const HALF_OPEN_CONNECTIONS: usize = 200;
/// Enough for one of them to hit the moment.
const HASTY_DEPARTURES: usize = 20;
/// How long the broker may take to notice.
const PATIENCE: Duration = Duration::from_secs(8);
const CHANNEL_CYCLES: usize = 2_000;
const STALLED_BODIES: usize = 50;
const BODY_FRAMES: usize = 20_000;
const NESTED_ARRAYS: usize = 26_000;
const NESTED_TABLES: usize = 9_000;
const HEADERS: usize = 8_000;
const UNACKED: usize = 20_000;
const QUEUES: usize = 500;
const REQUEUES: usize = 500;
const TRANSACTION: usize = 20_000;
/// A megabyte each: more than any socket buffer on the way takes.
const UNREAD_MESSAGES: usize = 60;
const TOPIC_PUBLISHES: usize = 200;
/// Nearly all the memory that the broker of that test may use; and more than is left of it then.
const ALARMING_BYTES: usize = 90_000;
const TOO_MANY_BYTES: usize = 20_000;

/// Somebody who only wants to publish and consume.
struct Bystander {
    client: Client,
    trips: usize,
}

impl Bystander {
    fn beside(broker: &Broker) -> Self {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; basic.consume consumer_tag=by no_ack");
        client.expects("queue.declare-ok(queue='amq.gen-<22ch>', message_count=0, consumer_count=0)");
        client.expects("basic.consume-ok(consumer_tag='by')");
        let mut bystander = Self { client, trips: 0 };
        bystander.round_trip();
        bystander
    }

    /// A publish comes back, and nothing else did.
    fn round_trip(&mut self) {
        self.trips += 1;
        let queue = self.client.generated_name.clone().expect("declared above");
        self.client.send(&format!("publish routing_key={queue} body=trip-{}", self.trips));
        self.client.expects(&format!("deliveries by#{0}=trip-{0}", self.trips));
    }
}

fn beside_a_bystander(hostility: impl FnOnce(&Broker)) {
    let broker: Arc<Broker> = Broker::shared();
    let mut bystander = Bystander::beside(&broker);
    hostility(&broker);
    bystander.round_trip();
}

/// The poll tells of the last bytes and of the end behind them with one edge.
#[test]
fn a_client_that_leaves_with_its_last_words_is_missed() {
    let mut words = b"AMQP\x00\x00\x09\x01".to_vec();
    words.extend(encode(
        0,
        "connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US client_properties={} ; \
         connection.tune-ok channel_max=2047 frame_max=131072 heartbeat=0 ; connection.open virtual_host=/",
        FRAME_MAX,
    ));
    beside_a_bystander(|broker| {
        for _ in 0..HASTY_DEPARTURES {
            let mut socket = TcpStream::connect(broker.address).expect("the broker listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
            socket.write_all(&words).expect("room for a few frames");
            socket.shutdown(Shutdown::Write).expect("a TCP socket");
            let mut answers = Vec::new();
            socket.read_to_end(&mut answers).expect("the broker hangs up, too");
        }
    });
}

#[test]
fn a_few_frames() {
    let scenarios = parse(include_str!("transcripts/hostile.txt"));
    let (shared, hasty) = (Broker::shared(), Broker::shared_hasty());
    let failures = side_by_side(&scenarios, |scenario| {
        let broker = if scenario.hasty { &hasty } else { &shared };
        if !scenario.is_playable(broker.speaker(), None) {
            return None;
        }
        let mut bystander = Bystander::beside(broker);
        let played = play(scenario, broker.address, broker.speaker());
        bystander.round_trip();
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}

#[test]
fn item_6_many_half_open_connections() {
    beside_a_bystander(|broker| {
        let mut half_open: Vec<Client> = (0..HALF_OPEN_CONNECTIONS).map(|_| Client::socket(broker.address)).collect();
        for (index, client) in half_open.iter_mut().enumerate().filter(|(index, _)| index % 2 == 0) {
            client.send_bytes(&b"AMQP\0\0\x09\x01"[..1 + index % 7]);
        }
        Bystander::beside(broker);
    });
}

#[test]
fn item_10_a_sasl_response_of_a_mebibyte() {
    beside_a_bystander(|broker| {
        let mut client = Client::socket(broker.address);
        client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
        client.expects_on(0, "connection.start…");
        client.send("connection.start-ok mechanism=PLAIN response='x'*1048576 locale=en_US");
        client.expects_on(0, "<eventually closed>");
    });
}

/// What a well-behaved client sends up to its first publish.
fn conversation() -> Vec<u8> {
    let line = "bytes 'AMQP\\0\\0\\x09\\x01' ; connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US ; \
                connection.tune-ok channel_max=10 frame_max=4096 heartbeat=0 ; connection.open virtual_host=/ ; \
                channel.open ; basic.publish routing_key=nowhere mandatory ; header size=3 priority=1 ; body abc";
    encode(1, line, FRAME_MAX)
}

#[test]
fn item_18_a_conversation_cut_off_at_every_byte() {
    beside_a_bystander(|broker| {
        let bytes = conversation();
        for length in 0..bytes.len() {
            Client::socket(broker.address).send_bytes(&bytes[..length]);
        }
    });
}

#[test]
fn item_24_a_conversation_split_at_every_byte() {
    beside_a_bystander(|broker| {
        let mut client = Client::socket(broker.address);
        for byte in conversation() {
            client.send_bytes(&[byte]);
        }
        client.expects_on(0, "connection.start… → connection.tune… → connection.open-ok(r1='')");
        client.expects(
            "channel.open-ok(r1='') → basic.return(code=312, text='NO_ROUTE', exchange='', routing_key='nowhere') → \
             header(size=3, priority=1) → body('abc')",
        );
    });
}

#[test]
fn item_29_a_channel_opened_and_closed_again_and_again() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        for _ in 0..CHANNEL_CYCLES {
            client.send_on(2, "channel.open");
            client.expects_on(2, "channel.open-ok(r1='')");
            client.send_on(2, "channel.close code=200 text=bye");
            client.expects_on(2, "channel.close-ok");
        }
    });
}

#[test]
fn item_35_bodies_declared_large_that_never_come() {
    beside_a_bystander(|broker| {
        let stalled = || {
            let mut client = Client::connect(broker.address, "");
            client.send("basic.publish routing_key=nowhere ; header size=16777216 ; body x");
            client
        };
        let stalled: Vec<Client> = (0..STALLED_BODIES).map(|_| stalled()).collect();
        Bystander::beside(broker);
        drop(stalled);
    });
}

#[test]
fn item_36_a_body_in_frames_of_one_byte() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive");
        client.expects("queue.declare-ok…");
        let queue = client.generated_name.clone().expect("declared above");
        client.send(&format!("basic.publish routing_key={queue} ; header size={BODY_FRAMES} ; {BODY_FRAMES}x body y"));
        client.send("basic.get no_ack");
        client.expects(&format!("basic.get-ok… → header(size={BODY_FRAMES}) → body({BODY_FRAMES} bytes)"));
    });
}

#[test]
fn item_37_empty_body_frames_without_end() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send(&format!("basic.publish routing_key=nowhere mandatory ; header size=1 ; {BODY_FRAMES}x body ''"));
        client.send("body z");
        client.expects("basic.return… → header(size=1) → body('z')");
    });
}

#[test]
fn item_41_a_disconnect_in_the_middle_of_a_body() {
    beside_a_bystander(|broker| {
        let mut watcher = Client::connect(broker.address, "");
        watcher.send("queue.declare queue='' exclusive");
        watcher.expects("queue.declare-ok…");
        let queue = watcher.generated_name.clone().expect("declared above");
        let mut client = Client::connect(broker.address, "");
        client.send(&format!("basic.publish routing_key={queue} ; header size=10 ; body half"));
        drop(client);
        watcher.send("basic.get");
        watcher.expects("basic.get-empty(cluster_id='')");
    });
}

/// queue.declare with this table as its arguments, length included.
fn declare_with(table: &[u8]) -> Vec<u8> {
    let mut payload = b"\0\x32\0\x0a\0\0\x01q\x08".to_vec();
    payload.extend((table.len() as u32).to_be_bytes());
    payload.extend(table);
    let mut frame = Vec::new();
    put_frame(&mut frame, 1, 1, &payload);
    frame
}

/// `levels` containers of type `tag`, each in the one before; `name` is what stands before a value in one.
fn nested(tag: u8, name: &[u8], levels: usize) -> Vec<u8> {
    let level = name.len() + 5;
    let mut table = b"\x01a".to_vec();
    for index in (0..levels).rev() {
        table.push(tag);
        table.extend(((index * level) as u32).to_be_bytes());
        table.extend(if index == 0 { &[] } else { name });
    }
    table
}

#[test]
fn items_42_and_43_tables_and_arrays_nested_beyond_reason() {
    beside_a_bystander(|broker| {
        if broker.is_reference() {
            return;
        }
        for bytes in [nested(b'A', b"", NESTED_ARRAYS), nested(b'F', b"\x01a", NESTED_TABLES)] {
            let mut client = Client::connect(broker.address, "");
            client.send_bytes(&declare_with(&bytes));
            client.expects("<eventually closed>");
        }
    });
}

#[test]
fn item_50_thousands_of_headers_into_a_headers_exchange() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; queue.bind exchange=amq.headers arguments={x-match=S:'all', k7=I:7, last=I:1}");
        client.expects("queue.declare-ok… → queue.bind-ok");
        let headers: Vec<String> = (0..HEADERS).map(|number| format!("k{number}=I:{number}")).collect();
        client.send(&format!(
            "publish exchange=amq.headers body=x headers={{{}, last=I:1}} ; basic.get no_ack",
            headers.join(", ")
        ));
        client.expects("deliveries get#1=x");
    });
}

#[test]
fn item_53_one_ack_for_very_many() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; basic.consume consumer_tag=t");
        client.expects("queue.declare-ok… → basic.consume-ok(consumer_tag='t')");
        let queue = client.generated_name.clone().expect("declared above");
        client.send(&format!("{UNACKED}x publish routing_key={queue} body=m"));
        for tag in 1..=UNACKED {
            client.expects(&format!("deliveries t#{tag}=m"));
        }
        client.send(&format!("basic.ack delivery_tag={UNACKED} multiple ; queue.delete if_empty"));
        client.expects("queue.delete-ok(message_count=0)");
        client.expects("basic.cancel(consumer_tag='t', nowait=true)");
    });
}

#[test]
fn item_56_very_many_queues_bindings_and_consumers() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        for number in 0..QUEUES {
            client.send(&format!(
                "queue.declare queue='' exclusive ; queue.bind exchange=amq.topic routing_key=item-56.{number}.# ; \
                 basic.consume consumer_tag=t{number} no_ack"
            ));
            client.expects(&format!("queue.declare-ok… → queue.bind-ok → basic.consume-ok(consumer_tag='t{number}')"));
        }
        client.send(&format!("publish exchange=amq.topic routing_key=item-56.{}.x body=m", QUEUES - 1));
        client.expects(&format!("deliveries t{}#1=m", QUEUES - 1));
    });
}

#[test]
fn item_57_patterns_of_sixty_hashes_match_in_linear_time() {
    beside_a_bystander(|broker| {
        if broker.is_reference() {
            return;
        }
        let mut client = Client::connect(broker.address, "");
        let pattern = "#.".repeat(60) + "end";
        let key = "a.".repeat(120) + "b";
        client.send(&format!(
            "exchange.declare exchange=item-57 type=topic auto_delete ; queue.declare queue='' exclusive ; \
             queue.bind exchange=item-57 routing_key={pattern} ; confirm.select"
        ));
        client.expects("exchange.declare-ok → queue.declare-ok… → queue.bind-ok → confirm.select-ok");
        client.send(&format!("{TOPIC_PUBLISHES}x publish exchange=item-57 routing_key={key} body=x"));
        client.expects(&format!("acks {TOPIC_PUBLISHES}"));
        client.send("publish exchange=item-57 routing_key=a.b.end body=x");
        client.expects(&format!("basic.ack(delivery_tag={}, multiple=false)", TOPIC_PUBLISHES + 1));
        client.send("basic.get no_ack");
        client.expects("deliveries get#1=x");
    });
}

#[test]
fn items_68_and_69_consumers_that_never_read_and_never_ack() {
    beside_a_bystander(|broker| {
        let mut deaf = Client::connect(broker.address, "");
        deaf.send("queue.declare queue='' exclusive ; basic.consume consumer_tag=deaf");
        deaf.expects("queue.declare-ok… → basic.consume-ok(consumer_tag='deaf')");
        let queue = deaf.generated_name.clone().expect("declared above");
        let mut publisher = Client::connect(broker.address, "");
        publisher.send("confirm.select");
        publisher.expects("confirm.select-ok");
        publisher.send(&format!("{UNREAD_MESSAGES}x publish routing_key={queue} body='x'*1000000"));
        publisher.expects(&format!("acks {UNREAD_MESSAGES}"));
        Bystander::beside(broker);
    });
}

/// A client may ask for more than it reads: returned messages pass the mark at which deliveries stop.
#[test]
fn item_68_a_client_that_never_reads_is_given_up_at_its_limit() {
    let limits = "outbox_high_water_bytes = 65536\nmessage_size_max_bytes = 1000000\noutbox_max_bytes = 2000000";
    let broker = Broker::start(&format!("[limits]\n{limits}\n"));
    let mut bystander = Bystander::beside(&broker);
    let mut deaf = Client::connect(broker.address, "");
    // Until the sockets between them hold no more, and the outbox neither.
    deaf.send(&format!("{UNREAD_MESSAGES}x publish routing_key=nowhere mandatory body='x'*900000"));
    deaf.expects_on(0, "<eventually closed>");
    bystander.round_trip();
}

/// A limit below what is published as it lies in the receive buffer, like the message before or not.
#[test]
fn a_small_message_is_held_to_a_smaller_limit() {
    let broker = Broker::start("[limits]\nmessage_size_max_bytes = 100\n");
    let refused =
        "channel.close 406 PRECONDITION_FAILED - message size 101 is larger than configured max size 100 (60,40)";
    for before in ["", "2x publish routing_key=nowhere body='x'*100 ; "] {
        let mut client = Client::connect(broker.address, "");
        client.send(&format!("{before}publish routing_key=nowhere body='x'*101"));
        client.expects(refused);
    }
}

#[test]
fn item_70_a_storm_of_requeues() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; basic.qos prefetch_count=1 ; basic.consume consumer_tag=t");
        client.expects("queue.declare-ok… → basic.qos-ok → basic.consume-ok(consumer_tag='t')");
        let queue = client.generated_name.clone().expect("declared above");
        client.send(&format!("publish routing_key={queue} body=m"));
        client.expects("deliveries t#1=m");
        for tag in 1..=REQUEUES {
            client.send(&format!("basic.nack delivery_tag={tag} requeue"));
            client.expects(&format!("deliveries t#{}R=m", tag + 1));
        }
    });
}

#[test]
fn item_71_a_transaction_of_very_many_publishes() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; tx.select");
        client.expects("queue.declare-ok… → tx.select-ok");
        let queue = client.generated_name.clone().expect("declared above");
        client.send(&format!("{TRANSACTION}x publish routing_key={queue} body=m"));
        client.send("tx.commit");
        client.expects("tx.commit-ok");
        client.send("queue.purge");
        client.expects(&format!("queue.purge-ok(message_count={TRANSACTION})"));
    });
}

/// A broker whose memory alarm ends when a message of [`ALARMING_BYTES`] is taken, with a consumer who may do so and the
/// publisher who sent it. Another one raised the alarm, and is gone.
fn alarmed() -> (Broker, Client, Client) {
    let broker = Broker::start("[limits]\nmemory_watermark = 100000\n");
    let (mut consumer, mut publisher) = (Client::connect(broker.address, ""), Client::connect(broker.address, ""));
    consumer.send("queue.declare queue=item-74");
    consumer.expects("queue.declare-ok…");
    publisher.send(&format!("publish routing_key=item-74 body='x'*{ALARMING_BYTES}"));
    publisher.expects("(nothing)");
    let mut last_straw = Client::connect(broker.address, "");
    last_straw.send(&format!("confirm.select ; publish routing_key=item-74 body='x'*{TOO_MANY_BYTES}"));
    last_straw.expects("confirm.select-ok → basic.ack…");
    (broker, consumer, publisher)
}

fn end_alarm(consumer: &mut Client) {
    consumer.send("basic.get queue=item-74 no_ack");
    consumer.expects(&format!("basic.get-ok… → header(size={ALARMING_BYTES}) → body…"));
}

#[test]
fn item_74_publishers_are_not_read_during_an_alarm_and_everybody_else_is() {
    let (broker, mut consumer, mut publisher) = alarmed();
    publisher.send("publish routing_key=item-74 body=second");
    publisher.expects_on(0, "connection.blocked(reason='low on memory')");
    publisher.send("basic.qos");
    publisher.expects("(silence)");
    Client::connect(broker.address, "").expects("(nothing)");
    end_alarm(&mut consumer);
    publisher.expects_on(0, "connection.unblocked");
    publisher.expects("basic.qos-ok");
}

#[test]
fn item_74_a_publisher_that_waits_hears_of_the_end_of_the_alarm() {
    let (broker, mut consumer, mut publisher) = alarmed();
    let mut uninformed = Client::connect(broker.address, "without=connection.blocked");
    for client in [&mut publisher, &mut uninformed] {
        client.send("publish routing_key=item-74 body=second");
    }
    publisher.expects_on(0, "connection.blocked(reason='low on memory')");
    end_alarm(&mut consumer);
    publisher.expects_on(0, "connection.unblocked");
    uninformed.expects_on(0, "(silence)");
}

/// The smallest budget there is, of which a sparing read takes a part, and bodies that go straight into their messages.
#[test]
fn large_bodies_come_whole_from_a_publisher_that_is_read_little_at_a_time() {
    const PAIRS: usize = 10;
    let limits = "[limits]\nread_budget_bytes = 4096\nqueue_backlog_soft_limit_messages = 1\n";
    let broker = Broker::start(limits);
    let (mut consumer, mut publisher) = (Client::connect(broker.address, ""), Client::connect(broker.address, ""));
    consumer.send("queue.declare queue=long ; basic.qos prefetch_count=1 ; basic.consume queue=long consumer_tag=t");
    consumer.expects("queue.declare-ok… → basic.qos-ok → basic.consume-ok(consumer_tag='t')");
    // A small one first: who has just published is held back while the rest of the large one comes in.
    for number in 1..=PAIRS {
        publisher.send("publish routing_key=long body=small ; publish routing_key=long body='x'*100000");
        publisher.send("queue.declare queue=long passive");
        let count = 2 * number - 1;
        publisher.expects(&format!("queue.declare-ok(queue='long', message_count={count}, consumer_count=1)"));
    }
}

#[test]
fn item_75_a_queue_deleted_in_the_middle_of_its_deliveries() {
    beside_a_bystander(|broker| {
        let mut client = Client::connect(broker.address, "");
        client.send("queue.declare queue='' exclusive ; basic.qos prefetch_count=10 ; basic.consume consumer_tag=t");
        client.expects("queue.declare-ok… → basic.qos-ok → basic.consume-ok(consumer_tag='t')");
        let queue = client.generated_name.clone().expect("declared above");
        client.send(&format!("20x publish routing_key={queue} body=m"));
        client.expects("deliveries t#1=m t#2=m t#3=m t#4=m t#5=m t#6=m t#7=m t#8=m t#9=m t#10=m");
        client.send("queue.delete");
        client.expects("queue.delete-ok(message_count=10)");
        client.expects("basic.cancel(consumer_tag='t', nowait=true)");
        client.send("basic.ack delivery_tag=10 multiple");
        client.expects("(nothing)");
    });
}
