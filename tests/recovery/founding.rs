//! The first virtual host and the first user: made once, of what the configuration says then, and never changed by it.

use crate::definitions::define;
use crate::node::{DataFolder, Node, PATIENCE, ask};
use crate::support::client::{Client, Event};
use leveret::broker::store::{Definition, DurableQueueId, VhostId};
use leveret::protocol::FieldTable;

const APP: [(&str, &str); 3] =
    [("RABBITMQ_DEFAULT_USER", "app"), ("RABBITMQ_DEFAULT_PASS", "sesame"), ("RABBITMQ_DEFAULT_VHOST", "prod")];
const REFUSED: &str = "403 ACCESS_REFUSED";

/// What the broker says last to whoever says this: the open channel, or the code of its close.
fn log_in(node: &Node, user: &str, password: &str, vhost: &str) -> String {
    let mut client = Client::socket(node.address);
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    client.send(&format!(
        "connection.start-ok mechanism=PLAIN response='\\0{user}\\0{password}' locale=en_US \
         client_properties={{capabilities=F:{{authentication_failure_close=t:true}}}}"
    ));
    client.send("connection.tune-ok channel_max=2047 frame_max=131072 heartbeat=0");
    client.send(&format!("connection.open virtual_host={vhost}"));
    loop {
        match client.next(0, PATIENCE) {
            Event::Method(method) if method.name == "connection.close" => {
                let text = method.render();
                let code = text.trim_start_matches("connection.close ");
                return code.split(" - ").next().unwrap_or(code).to_owned();
            }
            Event::Method(method) if method.name == "connection.open-ok" => return method.name.to_owned(),
            Event::Method(_) => {}
            _ => panic!("no answer to the handshake of {user}"),
        }
    }
}

#[test]
fn a_fresh_folder_has_guest_and_later_defaults_change_nothing() {
    let folder = DataFolder::new();
    let node = folder.start();
    assert!(node.said.contains("creating virtual host '/'\n"), "{}", node.said);
    let created = "creating user 'guest' with tags [administrator], who may do everything there\n";
    assert!(node.said.contains(created), "{}", node.said);
    assert!(node.said.contains("initialising internal cluster ID to 'rabbitmq-cluster-id-"), "{}", node.said);
    assert!(ask(&mut node.client(), "queue.declare queue=q durable", "queue.declare-ok"));
    assert!(node.stop().success());
    for environment in [&APP[..], &[("RABBITMQ_DEFAULT_PASS", "sesame")]] {
        let node = folder.start_in(environment, &[]);
        assert!(!node.said.contains("creating") && !node.said.contains("cluster ID"), "{}", node.said);
        // Whoever chose other names is told why nobody of that name gets in.
        let is_chosen = environment.len() > 1;
        for unused in ["there is no user 'app': ", "there is no virtual host 'prod': "] {
            assert_eq!(node.said.contains(unused), is_chosen, "{}", node.said);
        }
        assert_eq!(log_in(&node, "guest", "guest", "/"), "connection.open-ok");
        assert_eq!(log_in(&node, "guest", "sesame", "/"), REFUSED);
        assert_eq!(log_in(&node, "app", "sesame", "/"), REFUSED);
        assert_eq!(log_in(&node, "guest", "guest", "prod"), "530 NOT_ALLOWED");
        node.kill();
    }
}

#[test]
fn a_fresh_folder_has_the_user_and_the_virtual_host_of_the_environment_and_no_others() {
    let folder = DataFolder::new();
    for starts in 0..2 {
        let node = if starts == 0 { folder.start_in(&APP, &[]) } else { folder.start() };
        assert_eq!(node.said.contains("creating user 'app'"), starts == 0, "{}", node.said);
        assert!(!node.said.contains("sesame") && !node.said.contains("argon2"), "{}", node.said);
        assert!(!node.said.contains("there is no "), "{}", node.said);
        assert_eq!(log_in(&node, "app", "sesame", "prod"), "connection.open-ok");
        assert_eq!(log_in(&node, "app", "sesame", "/"), "530 NOT_ALLOWED");
        assert_eq!(log_in(&node, "app", "Sesame", "prod"), REFUSED);
        assert_eq!(log_in(&node, "guest", "guest", "prod"), REFUSED);
        assert!(node.stop().success());
    }
}

#[test]
fn a_folder_without_users_gets_the_first_and_keeps_its_queues() {
    let folder = DataFolder::new();
    let (id, vhost, arguments) = (DurableQueueId(1), VhostId(0), FieldTable::default());
    define(
        folder.path(),
        &[Definition::QueueDeclared { id, vhost, name: "q".into(), auto_delete: false, arguments, top_level: 0 }],
    );
    let node = folder.start_in(&[("RABBITMQ_DEFAULT_PASS", "sesame")], &[]);
    assert!(node.said.contains("creating user 'guest'"), "{}", node.said);
    assert_eq!(log_in(&node, "guest", "sesame", "/"), "connection.open-ok");
    assert!(node.stop().success());
    let node = folder.start();
    assert!(!node.said.contains("creating"), "{}", node.said);
    assert_eq!(log_in(&node, "guest", "guest", "/"), REFUSED, "it has its password by now");
    assert_eq!(log_in(&node, "guest", "sesame", "/"), "connection.open-ok");
}

#[test]
fn a_log_that_lost_its_users_gets_the_first_ones_when_it_is_salvaged() {
    let folder = DataFolder::new();
    let node = folder.start_in(&APP, &[]);
    assert_eq!(log_in(&node, "app", "sesame", "prod"), "connection.open-ok");
    node.kill();
    let segment = folder.newest_segment();
    std::fs::write(&segment, b"nothing of a log").expect("a segment");
    let node = folder.start_with(&["--salvage"]);
    assert!(node.said.contains("creating user 'guest'"), "{}", node.said);
    assert_eq!(log_in(&node, "app", "sesame", "prod"), REFUSED);
    assert_eq!(log_in(&node, "guest", "guest", "/"), "connection.open-ok");
}
