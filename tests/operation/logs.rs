//! What is logged, and what never is.

use crate::process::{Folder, Running};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What nobody may find in a log, however it is written there.
const SECRETS: [&str; 6] = ["first-S3cret", "wrong-S3cret", "plain-S3cret", "http-S3cret", "bad-S3cret", "new-S3cret"];

/// A start with a connection of everyone's that goes well and badly, over AMQP and HTTP.
fn a_day(running: &Running) {
    let api = running.api();
    let admin = format!("root:{}", SECRETS[0]);
    for (method, path, body) in [
        ("PUT", "/users/ann", json!({"password": SECRETS[2], "tags": "management"})),
        ("PUT", "/permissions/%2F/ann", json!({"configure": ".*", "write": ".*", "read": ".*"})),
    ] {
        let (status, text) = api.ask_as(&admin, method, path, &body);
        assert!((200..300).contains(&status), "{status} {text}");
    }
    assert_eq!(api.ask_as(&format!("root:{}", SECRETS[4]), "GET", "/overview", &Value::Null).0, 401);
    assert_eq!(api.ask_as(&format!("ann:{}", SECRETS[2]), "GET", "/whoami", &Value::Null).0, 200);
    let body = json!({"password": SECRETS[3]});
    api.ask_as(&admin, "POST", "/users/ann/authenticate", &body);

    let mut client = running.client(&format!("user=ann password={}", SECRETS[2]));
    client.send("queue.declare queue=orders");
    client.expects("queue.declare-ok(queue='orders', message_count=0, consumer_count=0)");
    client.send_on(0, &format!("connection.update-secret new_secret={} reason=renewed", SECRETS[5]));
    client.expects_on(0, "connection.update-secret-ok");
    client.send("queue.declare queue=missing passive");
    client.expects("channel.close 404 NOT_FOUND - no queue 'missing' in vhost '/' (50,10)");
    client.send("channel.close-ok");
    client.send_on(0, "connection.close");
    client.expects_on(0, "connection.close-ok");
    drop(client);

    for response in [format!(r"'\0ann\0{}'", SECRETS[1]), "'no SASL at all'".to_owned()] {
        let mut refused = crate::support::client::Client::socket(running.amqp);
        refused.send(r"bytes 'AMQP\0\0\x09\x01'");
        refused.read_like(0, "connection.start…");
        refused.send(&format!("connection.start-ok mechanism=PLAIN response={response} locale=en_US"));
        refused.expects_on(0, "<eventually closed>");
    }
}

fn settings(more: &str) -> String {
    format!(
        "default_user = 'root'\ndefault_pass = '{}'\nlimits.authentication_failure_delay_ms = 50\n{more}\n",
        SECRETS[0]
    )
}

#[test]
fn connections_and_refused_logins_are_logged_and_secrets_never_are() {
    let folder = Folder::new();
    let running = Running::start(&folder, &settings("log.level = 'trace'"));
    a_day(&running);
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "accepting AMQP connection 127.0.0.1:",
        ": user 'ann' authenticated and granted access to vhost '/'",
        ": user 'ann' updated secret, reason: renewed",
        ", vhost: '/', user: 'ann', duration: '",
        "(vhost: '/', user: 'ann'), channel 1: 404 NOT_FOUND - no queue 'missing'",
        "(state: starting): PLAIN login refused: user 'ann' - invalid credentials",
        "user 'ann' declared queue 'orders' in vhost '/'",
        "WARN  [auth] HTTP login from 127.0.0.1:",
    ] {
        assert!(said.contains(part), "{part:?} is missing:\n{said}");
    }
    for secret in SECRETS {
        for hidden in [secret.to_owned(), STANDARD.encode(secret), STANDARD.encode(format!("ann:{secret}"))] {
            assert!(!said.contains(&hidden), "{hidden} is in the log:\n{said}");
        }
    }
}

/// Not even the fastest machine hands a million messages to queues within a tick of the clock that turns are timed by.
#[test]
fn a_turn_that_took_long_is_told_with_what_it_did() {
    const QUEUES: usize = 1000;
    let folder = Folder::new();
    let running = Running::start(&folder, &settings("log.slow_turn_ms = 1"));
    let mut client = running.client(&format!("user=root password={}", SECRETS[0]));
    for number in 0..QUEUES {
        let queue = format!("q{number}");
        client
            .send(&format!("queue.declare queue={queue} nowait ; queue.bind queue={queue} exchange=amq.fanout nowait"));
    }
    client.send("1000x publish exchange=amq.fanout body=x");
    client.expects("(nothing)");
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    let slow: Vec<&str> =
        said.lines().filter(|line| line.contains("WARN  [general] a turn of the loop took ")).collect();
    let of_publishes = slow.iter().find(|line| line.contains("receiving") && !line.contains("; 0 messages published"));
    let told = of_publishes.unwrap_or_else(|| panic!("no slow turn:\n{said}"));
    for part in [" ms: ", " %)", " messages published, ", " bytes read in ", ", the largest of ", " from 127.0.0.1:"] {
        assert!(told.contains(part), "{part:?} is missing: {told}");
    }
}

#[test]
fn programs_read_fields() {
    let folder = Folder::new();
    // Where it listens is said as text on the standard error in the other tests.
    let settings = settings("log.format = 'json'\nlog.output = 'log/leveret.json'\nlog.levels.queue = 'debug'");
    std::fs::create_dir(folder.path().join("log")).expect("a folder");
    let config = folder.write("leveret.toml", &settings);
    let [amqp, management] = crate::support::ports::free_addresses();
    let mut command = crate::process::leveret(&folder);
    command.arg("--config").arg(config).args(["--listen", &amqp.to_string()]);
    command.args(["--management-listen", &management.to_string(), "--prometheus-listen", "off"]);
    let running = Running::at(command, amqp, management);
    a_day(&running);
    let (code, said) = running.stop();
    assert_eq!((code, said.as_str()), (Some(0), ""), "all is in the file");
    let text = folder.read("log/leveret.json");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let find = |category: &str, part: &str| {
        let is_it = |line: &&Value| {
            line["category"] == category && line["msg"].as_str().is_some_and(|text| text.contains(part))
        };
        lines.iter().find(is_it).unwrap_or_else(|| panic!("no {part:?} of {category}:\n{text}"))
    };
    let opened = find("connection", "granted access");
    for (field, value) in [("level", "info"), ("user", "ann"), ("vhost", "/"), ("protocol", "AMQP 0-9-1")] {
        assert_eq!(opened[field], value, "{opened}");
    }
    assert!(opened["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{opened}");
    let closed = find("connection", "closing AMQP connection");
    assert!(closed["duration_ms"].is_u64(), "{closed}");
    assert_eq!(closed["user"], "ann");
    let refused = find("auth", "login refused");
    assert_eq!(
        (&refused["level"], &refused["user"], &refused["mechanism"]),
        (&json!("warning"), &json!("ann"), &json!("PLAIN"))
    );
    assert_eq!(find("queue", "declared queue")["queue"], "orders");
    assert!(!text.contains("S3cret"), "{text}");
}

#[test]
fn a_file_that_was_moved_away_is_opened_again_and_levels_change() {
    let folder = Folder::new();
    let config = |level: &str| settings(&format!("log.output = 'leveret.log'\nlog.level = '{level}'"));
    let file = folder.write("leveret.toml", &config("info"));
    let [amqp, management] = crate::support::ports::free_addresses();
    let mut command = crate::process::leveret(&folder);
    command.arg("--config").arg(file).args(["--listen", &amqp.to_string()]);
    command.args(["--management-listen", &management.to_string(), "--prometheus-listen", "off"]);
    let running = Running::at(command, amqp, management);
    std::fs::rename(folder.path().join("leveret.log"), folder.path().join("leveret.log.1")).expect("moved");
    folder.write("leveret.toml", &config("debug"));
    running.signal(libc::SIGHUP);
    let is_there = || folder.path().join("leveret.log").exists();
    crate::process::wait_until("the file is opened again", is_there);
    a_day(&running);
    assert_eq!(running.stop().0, Some(0));
    assert!(folder.read("leveret.log").contains("declared queue 'orders'"), "debug holds");
    assert!(folder.read("leveret.log.1").contains("is ready"));
}

#[test]
fn a_file_that_cant_be_made_is_named() {
    let folder = Folder::new();
    let config = folder.write("leveret.toml", "log.output = 'nowhere/leveret.log'");
    let mut command = crate::process::leveret(&folder);
    let output = command.arg("--config").arg(config).output().expect("the leveret program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("leveret: can't log into nowhere/leveret.log: "), "{said}");
}

#[test]
fn nobody_waits_for_who_does_not_read_the_log() {
    let folder = Folder::new();
    let running = Running::start_unread(&folder, &settings("log.level = 'trace'\nlog.lines_per_s_max = 0"));
    // More than a pipe holds, and than may wait: each is some 120 bytes.
    const QUEUES: usize = 25_000;
    let mut client = running.client(&format!("user=root password={}", SECRETS[0]));
    for number in 0..QUEUES {
        client.send(&format!("queue.declare queue=q{number} exclusive nowait"));
    }
    client.send("queue.declare queue=last exclusive");
    client.expects("queue.declare-ok(queue='last', message_count=0, consumer_count=0)");
    let (code, said) = running.stop();
    assert_eq!(code, Some(0));
    assert!(said.contains(" log lines are lost: they came faster than they could be written"), "{}", said.len());
}
