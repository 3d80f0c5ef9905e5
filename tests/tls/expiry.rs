//! The health check that warns of certificates before they expire.

use crate::certificates::Authority;
use crate::node::{Folder, Node};
use crate::support::http::Api;
use crate::support::ports::free_addresses;
use serde_json::{Value, json};
use std::process::Command;

/// What the check says to so many of a unit.
#[track_caller]
fn check(node: &Node, within: &str) -> (u16, Value) {
    let path = format!("/health/checks/certificate-expiration/{within}");
    let (status, text) = Api(node.management).ask_as("guest:guest", "GET", &path, &Value::Null);
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn certificates_that_expire_within_the_time_are_told_as_rabbitmq_does() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("server", &authority.host_between(2020, 2200));
    folder.write_certificate("api", &authority.host_between(2020, 2300));
    let [https] = free_addresses();
    let node = Node::start_in(
        folder,
        authority,
        &format!("management_tls_listen = '{https}'"),
        "verify = 'verify_peer'\ncacertfile = 'ca.pem'\n[management_tls]\ncertfile = 'api.pem'\nkeyfile = 'api.key'",
    );
    let ok = (200, json!({"status": "ok"}));
    let failed =
        |expired: &[&Value]| (503, json!({"status": "failed", "reason": "Certificates expiring", "expired": expired}));
    let amqps = json!({
        "node": "leveret@localhost", "protocol": "amqp/ssl", "interface": "127.0.0.1", "port": node.tls.port(),
        "certfile": "server.pem", "certfile_expires_on": ["2200-01-01 0:00:00"],
        "cacertfile": "ca.pem", "cacertfile_expires_on": [],
    });
    let management = json!({
        "node": "leveret@localhost", "protocol": "https", "interface": "127.0.0.1", "port": https.port(),
        "certfile": "api.pem", "certfile_expires_on": ["2300-01-01 0:00:00"],
        "cacertfile": "", "cacertfile_expires_on": [],
    });
    for soon in ["4/weeks", "12/months", "10/YEARS", "-1/days"] {
        assert_eq!(check(&node, soon), ok, "{soon}");
    }
    let by_the_first = ["80000/days", "11000/weeks", "2600/months", "220/years"];
    for within in by_the_first {
        assert_eq!(check(&node, within), failed(&[&amqps]), "{within}");
    }
    assert_eq!(check(&node, "400/years"), failed(&[&amqps, &management]));
    let mut with_authority = amqps.clone();
    with_authority["cacertfile_expires_on"] = json!(["4096-01-01 0:00:00"]);
    assert_eq!(check(&node, &format!("{}/years", i64::MAX)), failed(&[&with_authority, &management]));

    // As soon as others are shown, others are told of.
    node.folder.write_certificate("server", &node.authority.host_between(2020, 3000));
    node.folder.write_certificate("api", &node.authority.host_between(2020, 3000));
    let sent = Command::new("kill").args(["-HUP", &node.pid().to_string()]).status();
    assert!(sent.expect("kill").success());
    node.wait_for_line("configuration read again");
    assert_eq!(check(&node, "400/years"), ok);
}
