//! Logins by certificate.

use crate::certificates::Certificate;
use crate::node::{BOTH, Node};
use crate::support::client::Client;
use crate::support::http::Api;
use rcgen::SanType;
use serde_json::json;

const VERIFYING: &str = "cacertfile = 'ca.pem'\nverify = 'verify_peer'";
const OFFERING: &str = "auth_mechanisms = ['PLAIN', 'EXTERNAL']\n";

fn node(settings: &str) -> Node {
    Node::start(&format!("{OFFERING}{settings}"), VERIFYING)
}

fn add_user(node: &Node, name: &str) {
    let api = Api(node.management);
    let path = name.replace('=', "%3D").replace(',', "%2C").replace(' ', "%20").replace('\\', "%5C");
    api.change("PUT", &format!("/users/{path}"), &json!({"password_hash": "", "tags": ""}));
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    api.change("PUT", &format!("/permissions/%2F/{path}"), &all);
}

/// A client that has said that its certificate says who it is.
fn login(node: &Node, certificate: Option<&Certificate>) -> Client {
    let mut client = node.client(&node.authority.client_config(&BOTH, certificate));
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    client.expects_on(0, "connection.start(…mechanisms='PLAIN EXTERNAL'…");
    client.send(
        "connection.start-ok mechanism=EXTERNAL response='anything' locale=en_US \
         client_properties={capabilities=F:{authentication_failure_close=t:true}}",
    );
    client
}

#[track_caller]
fn assert_is(node: &Node, certificate: &Certificate, user: &str) {
    let mut client = login(node, Some(certificate));
    client.expects_on(0, "connection.tune…");
    client
        .send_on(0, "connection.tune-ok channel_max=10 frame_max=131072 heartbeat=0 ; connection.open virtual_host=/");
    client.expects_on(0, "connection.open-ok…");
    let connections = Api(node.management).get("/connections");
    assert_eq!(connections[0]["user"], user);
    assert_eq!(connections[0]["auth_mechanism"], "EXTERNAL");
}

#[track_caller]
fn assert_refused(node: &Node, certificate: Option<&Certificate>, why: &str) {
    let mut client = login(node, certificate);
    client.expects_on(
        0,
        "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. For details see \
         the broker logfile. (0,0)",
    );
    node.wait_for_line(&format!("EXTERNAL login refused: {why}"));
}

#[test]
fn a_certificate_names_its_user_by_its_whole_subject() {
    let node = node("");
    add_user(&node, "CN=ann,O=Example\\, Inc.");
    assert_is(&node, &node.authority.client("ann", Vec::new()), "CN=ann,O=Example\\, Inc.");
    assert_refused(
        &node,
        Some(&node.authority.client("bob", Vec::new())),
        "user 'CN=bob,O=Example\\, Inc.' - invalid credentials",
    );
    assert_refused(&node, None, "connection peer presented no TLS (x.509) certificate");
}

#[test]
fn or_by_its_common_name() {
    let node = node("ssl_cert_login_from = 'common_name'");
    add_user(&node, "ann");
    assert_is(&node, &node.authority.client("ann", Vec::new()), "ann");
    assert_refused(&node, Some(&node.authority.host(&["localhost"])), "no name found");
}

#[test]
fn or_by_one_of_its_alternative_names() {
    let node = node(
        "ssl_cert_login_from = 'subject_alternative_name'\nssl_cert_login_san_type = 'email'\nssl_cert_login_san_index = 1",
    );
    add_user(&node, "second@example.org");
    let email = |text: &str| SanType::Rfc822Name(text.try_into().expect("ASCII"));
    let dns = SanType::DnsName("ann.example.org".try_into().expect("ASCII"));
    let names = vec![email("first@example.org"), dns.clone(), email("second@example.org")];
    assert_is(&node, &node.authority.client("ann", names), "second@example.org");
    let too_few = vec![email("second@example.org"), dns];
    assert_refused(&node, Some(&node.authority.client("ann", too_few)), "no name found");
}

/// Where RabbitMQ takes the four bytes of the address for the name.
#[test]
fn or_by_an_address_as_people_write_it() {
    let node = node("ssl_cert_login_from = 'subject_alternative_name'\nssl_cert_login_san_type = 'ip'");
    add_user(&node, "10.0.0.1");
    let address = SanType::IpAddress("10.0.0.1".parse().expect("an address"));
    assert_is(&node, &node.authority.client("ann", vec![address]), "10.0.0.1");
    let elsewhere = SanType::IpAddress("2001:db8::7".parse().expect("an address"));
    let stranger = node.authority.client("ann", vec![elsewhere]);
    assert_refused(&node, Some(&stranger), "user '2001:db8::7' - invalid credentials");
}

#[test]
fn it_is_offered_over_tls_alone_and_where_it_is_configured() {
    let node = node("");
    let mut plain = Client::socket(node.plain);
    plain.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    plain.expects_on(0, "connection.start(…mechanisms='PLAIN'…");
    plain.send("connection.start-ok mechanism=EXTERNAL response='' locale=en_US client_properties={}");
    plain.expects_on(0, "<eventually closed>");
    let unconfigured = Node::start("", VERIFYING);
    let mut client = unconfigured.any_client();
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    client.expects_on(0, "connection.start(…mechanisms='PLAIN AMQPLAIN'…");
}
