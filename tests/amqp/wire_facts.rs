//! What RabbitMQ says to some hundreds of stimuli, and so must Leveret: one file of transcripts for each part of AMQP.
//!
//! `LEVERET_TEST_URI=127.0.0.1:5673 cargo test --test amqp wire_facts` plays them against a RabbitMQ 3.10.8 there; the
//! lines marked `~` say where that one is known to differ.

use crate::support::broker::Broker;
use crate::support::transcript::{parse, play, side_by_side};

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
    frames
    exchanges
    queues
    consumers
    acknowledgement
    publishing
    reply_to
    queue_arguments
    queue_equivalence
    not_supported_yet
}

/// Plays all scenarios of a file and fails with the transcripts of those that went otherwise.
fn all_hold(text: &str) {
    let scenarios = parse(text);
    let (shared, hasty) = (Broker::shared(), Broker::shared_hasty());
    let failures = side_by_side(&scenarios, |scenario| {
        let broker = if scenario.hasty { &hasty } else { &shared };
        let skipped = broker.is_reference() && !scenario.for_the_reference;
        let played = (!skipped).then(|| play(scenario, broker.address, broker.is_reference()))?;
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}
