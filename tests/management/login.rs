//! Who gets in.

use crate::server::{Server, basic};
use serde_json::json;
use std::process::{Command, Stdio};

#[test]
fn nobody_gets_in_without_the_password() {
    let server = Server::start();
    let refused = json!({"error": "not_authorized", "reason": "Login failed"});
    for authorization in [
        "Basic",
        "Basic !!!",
        "Bearer guest",
        &basic("guest"),
        &basic("guest:"),
        &basic("guest:wrong"),
        &basic("nobody:guest"),
        &basic(":guest"),
    ] {
        for path in ["/api/overview", "/api/queues/%2F/q", "/api/nothing", "/nothing"] {
            let answer = server.ask_with("GET", path, "", &[("authorization", authorization)]);
            assert_eq!((answer.status, answer.json()), (401, refused.clone()), "{authorization} {path}");
        }
    }
    let answer = server.ask_with("GET", "/api/whoami", "", &[]);
    assert_eq!(answer.header.as_deref(), Some("Basic realm=\"Leveret Management\""));
    assert_eq!(answer.status, 401);
}

#[test]
fn the_version_is_told_to_everybody() {
    let server = Server::start();
    let answer = server.ask_with("GET", "/api/version", "", &[]);
    assert_eq!((answer.status, answer.json()), (200, json!("3.13.7")));
}

#[test]
fn administrators_read_what_the_broker_is_configured_with_and_no_secret() {
    let server = Server::start_with("default_pass = 'sesame'\n[limits]\nheartbeat_s = 17\n");
    let answer = server.ask_with("GET", "/api/config/effective", "", &[("authorization", &basic("guest:sesame"))]);
    assert_eq!((answer.status, answer.named("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(answer.text.contains("\nlimits.heartbeat_s = 17\n"), "{}", answer.text);
    assert!(answer.text.contains("\ndefault_pass = (secret)\n") && !answer.text.contains("sesame"));
}

#[test]
fn the_default_user_gets_in() {
    let server = Server::start();
    let answer = server.get("/api/whoami");
    assert_eq!((answer.status, answer.json()), (200, json!({"name": "guest", "tags": ["administrator"]})));
    let page = server.ask_with("GET", "/", "", &[]);
    assert_eq!(page.status, 200, "it is for everybody, and tells nothing");
    assert!(page.text.starts_with("<!doctype html>"));
    assert!(!page.text.contains("innerHTML"), "names come from clients and must never be taken for HTML");
}

#[test]
fn a_page_of_another_origin_changes_nothing_in_its_readers_name() {
    let server = Server::start();
    let authorization = basic("guest:guest");
    let ask = |method: &str, path: &str, body: &str, origin: &str| {
        let headers = [("authorization", authorization.as_str()), ("origin", origin), ("content-type", "text/plain")];
        server.ask_with(method, path, body, &headers)
    };
    let own = format!("http://{}", server.management);
    let refused = ask("POST", "/api/users/bulk-delete?force=true", r#"{"users":["guest"]}"#, "http://evil.example");
    assert_eq!((refused.status, &refused.json()["error"]), (403, &json!("forbidden")));
    assert_eq!(server.get("/api/whoami").status, 200);
    assert_eq!(ask("PUT", "/api/queues/%2F/q", "{}", &own).status, 201);
    assert_eq!(ask("GET", "/api/queues/%2F/q", "", "http://evil.example").status, 200, "its page can't read this");
}

#[test]
fn a_taken_port_stops_the_start_with_a_reason() {
    let server = Server::start();
    let taken = server.management.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--management-listen", &taken, "--prometheus-listen", "off"])
        .stdin(Stdio::null())
        .output()
        .expect("the leveret program");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("can't listen for management at {taken}")), "{text}");
}
