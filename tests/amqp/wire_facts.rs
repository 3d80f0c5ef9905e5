//! What RabbitMQ says to some hundreds of stimuli, and so must Leveret: one file of transcripts for each part of AMQP.
//!
//! `LEVERET_TEST_URI=127.0.0.1:5673 cargo test --test amqp wire_facts` plays them against a RabbitMQ there, 3.10 or 4.3; the
//! lines marked `~` say where it is known to differ. What is asked over HTTP needs `LEVERET_TEST_MANAGEMENT_URI`, too.

use crate::support::broker::Broker;
use crate::support::client::{FRAME_MAX, encode};
use crate::support::http::Api;
use crate::support::redeclarations;
use crate::support::transcript::{parse, play_with, side_by_side};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            all_hold(include_str!(concat!("transcripts/", stringify!($name), ".txt")));
        })*
    };
}

transcripts! {
    handshake
    access
    frames
    exchanges
    exchange_types
    queues
    consumers
    delayed
    prefetch
    acknowledgement
    publishing
    transactions
    routing
    dead_letters
    expiry
    reply_to
    queue_arguments
    quorum_arguments
    queue_equivalence
    quorum
    limits
    deduplication
    not_supported_yet
    priorities
    single_active_consumer
    policies
    firehose
    events
}

#[test]
fn redeclarations() {
    all_hold(&redeclarations::transcript());
}

/// Plays all scenarios of a file and fails with the transcripts of those that went otherwise.
fn all_hold(text: &str) {
    let scenarios = parse(text);
    let (shared, hasty) = (Broker::shared(), Broker::shared_hasty());
    let failures = side_by_side(&scenarios, |scenario| {
        let broker = if scenario.hasty { &hasty } else { &shared };
        let (speaker, api) = (broker.speaker(), broker.management.map(Api));
        let played = scenario.is_playable(speaker, api).then(|| play_with(scenario, broker.address, api, speaker))?;
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}

/// RabbitMQ hangs up at once, and some clients then report a broken connection instead of why it was closed.
#[test]
fn a_refused_login_leaves_time_for_close_ok() {
    const HASTY_DELAY: Duration = Duration::from_millis(100);
    let broker = Broker::shared_hasty();
    if broker.is_reference() {
        return;
    }
    let line = "bytes 'AMQP\\0\\0\\x09\\x01' ; connection.start-ok mechanism=PLAIN response='\\0guest\\0wrong' locale=en_US \
                client_properties={capabilities=F:{authentication_failure_close=t:true}}";
    let mut socket = TcpStream::connect(broker.address).expect("a connection");
    let started = Instant::now();
    socket.write_all(&encode(0, line, FRAME_MAX)).expect("sent");
    let mut received = Vec::new();
    socket.read_to_end(&mut received).expect("the end of the stream");
    assert!(String::from_utf8_lossy(&received).contains("ACCESS_REFUSED - Login was refused"));
    assert!(started.elapsed() >= HASTY_DELAY);
}
