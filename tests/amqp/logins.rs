//! Ways to log in that are offered only where they are asked for.

use crate::support::broker::Broker;
use crate::support::client::Client;
use crate::support::transcript::{parse, play, side_by_side};

/// All scenarios log in at a time, and one password is looked at after the other: on a busy machine that takes more than the
/// second that a hasty broker gives to a handshake.
const WITH_CHALLENGES: &str =
    "auth_mechanisms = ['PLAIN', 'AMQPLAIN', 'RABBIT-CR-DEMO']\n[limits]\nauthentication_failure_delay_ms = 100\n";

/// RabbitMQ plays this when it is configured to offer the mechanism, too.
#[test]
fn a_client_that_wants_to_be_challenged() {
    let broker = match std::env::var("LEVERET_TEST_URI") {
        Ok(uri) => Broker::running(&uri),
        Err(_) => Broker::start(WITH_CHALLENGES),
    };
    let mut client = Client::socket(broker.address);
    client.send(r"bytes 'AMQP\0\0\x09\x01'");
    let offer = client.read_like(0, "connection.start…mechanisms='PLAIN AMQPLAIN RABBIT-CR-DEMO', locales='en_US')");
    if broker.is_reference() && !offer.contains("RABBIT-CR-DEMO") {
        return eprintln!("SKIP: the reference does not offer RABBIT-CR-DEMO");
    }
    let scenarios = parse(include_str!("transcripts/challenge.txt"));
    let failures = side_by_side(&scenarios, |scenario| {
        let played = play(scenario, broker.address, broker.speaker());
        (!played.passed()).then_some(played.log)
    });
    assert!(failures.is_empty(), "{} of {} scenarios:\n{}", failures.len(), scenarios.len(), failures.join("\n"));
}
