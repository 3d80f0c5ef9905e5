//! What policies do, as transcripts: they are set over HTTP.

use crate::support::broker::Broker;
use crate::support::http::Api;
use crate::support::transcript::{parse, play_with, side_by_side};

/// RabbitMQ plays this with `LEVERET_TEST_URI` and `LEVERET_TEST_MANAGEMENT_URI`.
#[test]
fn policies_apply_to_what_is_there_and_to_what_comes() {
    let broker = match std::env::var("LEVERET_TEST_URI") {
        Ok(uri) => Broker::running(&uri),
        Err(_) => Broker::start(""),
    };
    let Some(management) = broker.management else {
        return eprintln!("SKIP: policies are made at LEVERET_TEST_MANAGEMENT_URI");
    };
    let scenarios = parse(include_str!("transcripts/policies.txt"));
    let failures = side_by_side(&scenarios, |scenario| {
        let played = play_with(scenario, broker.address, Some(Api(management)), broker.is_reference());
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}
