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
        for path in ["/api/overview", "/api/queues/%2F/q", "/api/nothing", "/"] {
            let answer = server.ask_with("GET", path, "", &[("authorization", authorization)]);
            assert_eq!((answer.status, answer.json()), (401, refused.clone()), "{authorization} {path}");
        }
    }
    let answer = server.ask_with("GET", "/api/whoami", "", &[]);
    assert_eq!(answer.header.as_deref(), Some("Basic realm=\"Leveret Management\""));
    assert_eq!(answer.status, 401);
}

#[test]
fn the_default_user_gets_in() {
    let server = Server::start();
    let answer = server.get("/api/whoami");
    assert_eq!((answer.status, answer.json()), (200, json!({"name": "guest", "tags": ["administrator"]})));
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text.starts_with("<!doctype html>"));
    assert!(!page.text.contains("innerHTML"), "names come from clients and must never be taken for HTML");
}

#[test]
fn a_taken_port_stops_the_start_with_a_reason() {
    let server = Server::start();
    let taken = server.management.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--management-listen", &taken])
        .stdin(Stdio::null())
        .output()
        .expect("the leveret program");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("can't listen for management at {taken}")), "{text}");
}
