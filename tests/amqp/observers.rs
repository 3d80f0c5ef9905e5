//! What those are told who watch others: the firehose.

use crate::support::broker::{Broker, HASTY};
use crate::support::http::Api;
use crate::support::transcript::{parse, play_with, side_by_side};

/// RabbitMQ plays this with `LEVERET_TEST_URI` and `LEVERET_TEST_MANAGEMENT_URI`.
#[test]
fn the_firehose() {
    let broker = match std::env::var("LEVERET_TEST_URI") {
        Ok(uri) => Broker::running(&uri),
        Err(_) => Broker::start(HASTY),
    };
    let Some(management) = broker.management else {
        return eprintln!("SKIP: virtual hosts are made at LEVERET_TEST_MANAGEMENT_URI");
    };
    let scenarios = parse(include_str!("transcripts/firehose.txt"));
    let failures = side_by_side(&scenarios, |scenario| {
        let played = play_with(scenario, broker.address, Some(Api(management)), broker.is_reference());
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}
