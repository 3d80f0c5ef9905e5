//! Users, virtual hosts, permissions and limits, as RabbitMQ's HTTP API has them.

use crate::server::{Server, basic};
use crate::support::client::Client;
use crate::transcript::play;
use serde_json::{Value, json};

#[test]
fn users() {
    play(include_str!("transcripts/users.txt"));
}

#[test]
fn vhosts() {
    play(include_str!("transcripts/vhosts.txt"));
}

#[test]
fn permissions() {
    play(include_str!("transcripts/permissions.txt"));
}

#[test]
fn limits() {
    play(include_str!("transcripts/limits.txt"));
}

#[test]
fn policies() {
    play(include_str!("transcripts/policies.txt"));
}

#[test]
fn what_permissions_let_one_do() {
    play(include_str!("transcripts/commands.txt"));
}

#[test]
fn the_log_says_who_changed_what_and_no_password() {
    let server = Server::start();
    for (method, path, body, said) in [
        ("PUT", "users/u", r#"{"password":"sesame","tags":"a,b"}"#, "put user 'u' with tags [a, b]"),
        ("PUT", "vhosts/v", "{}", "put virtual host 'v'"),
        (
            "PUT",
            "permissions/v/u",
            r#"{"configure":"^c","write":"","read":".*"}"#,
            "permitted user 'u' in virtual host 'v': configure '^c', write '', read '.*'",
        ),
        (
            "PUT",
            "topic-permissions/v/u",
            r#"{"exchange":"e","write":"^w","read":""}"#,
            "permitted topics of exchange 'e' to user 'u' in virtual host 'v': write '^w', read ''",
        ),
        ("PUT", "vhost-limits/v/max-queues", r#"{"value":7}"#, "changed limits of virtual host 'v': at most 7 queues"),
        ("PUT", "user-limits/u/max-channels", r#"{"value":-1}"#, ""),
        ("PUT", "user-limits/u/max-channels", r#"{"value":3}"#, "changed limits of user 'u': at most 3 channels"),
        ("DELETE", "user-limits/u/max-channels", "", "changed limits of user 'u': any number of channels"),
        ("DELETE", "topic-permissions/v/u/none", "", ""),
        (
            "DELETE",
            "topic-permissions/v/u/e",
            "",
            "cleared topic permissions for exchange 'e' of user 'u' in virtual host 'v'",
        ),
        ("DELETE", "permissions/v/u", "", "cleared permissions of user 'u' in virtual host 'v'"),
        ("DELETE", "permissions/v/u", "", ""),
        ("DELETE", "users/guest", "", ""),
        ("DELETE", "users/u", "", "deleted user 'u'"),
        ("DELETE", "vhosts/v", "", "deleted virtual host 'v'"),
    ] {
        server.ask(method, &format!("/api/{path}"), body);
        if !said.is_empty() {
            let line = server.next_info();
            let (category, told) = line.split_once("] ").expect("a category in brackets");
            assert!(["[auth", "[management"].contains(&category), "{line}");
            assert_eq!(told, format!("user 'guest' {said}"));
        }
    }
}

fn get(server: &Server, user: &str, path: &str) -> Value {
    let answer = server.ask_with("GET", path, "", &[("authorization", &basic(&format!("{user}:pw")))]);
    assert_eq!(answer.status, 200, "{user} {path}: {}", answer.text);
    answer.json()
}

/// A broker with two users who may enter `/`, and a monitor who may enter nothing.
fn neighbours() -> Server {
    let server = Server::start();
    for (user, tags) in [("ann", "management"), ("bob", "management"), ("eve", "monitoring")] {
        let body = json!({"password": "pw", "tags": tags}).to_string();
        assert_eq!(server.ask("PUT", &format!("/api/users/{user}"), &body).status, 201);
    }
    for user in ["ann", "bob"] {
        let body = r#"{"configure":".*","write":".*","read":".*"}"#;
        assert_eq!(server.ask("PUT", &format!("/api/permissions/%2F/{user}"), body).status, 201);
    }
    server
}

#[test]
fn connections_channels_and_consumers_are_their_users_and_the_monitors() {
    let server = neighbours();
    let clients = ["ann", "bob"].map(|user| {
        let mut client = Client::connect(server.amqp, &format!("user={user} password=pw"));
        client.send("queue.declare queue=q ; basic.consume queue=q");
        client.read_like(1, "queue.declare-ok → basic.consume-ok");
        client
    });
    let users = |asker: &str, path: &str, key: &[&str]| -> Vec<String> {
        let list = get(&server, asker, path);
        let user = |row: &Value| key.iter().fold(row, |value, part| &value[*part]).as_str().unwrap().to_owned();
        let mut users: Vec<String> = list.as_array().unwrap().iter().map(user).collect();
        users.sort();
        users
    };
    for (path, key) in [
        ("/api/connections", &["user"][..]),
        ("/api/vhosts/%2F/connections", &["user"]),
        ("/api/channels", &["user"]),
        ("/api/vhosts/%2F/channels", &["user"]),
        ("/api/consumers", &["channel_details", "user"]),
        ("/api/consumers/%2F", &["channel_details", "user"]),
    ] {
        assert_eq!(users("ann", path, key), ["ann"], "{path}");
        assert_eq!(users("bob", path, key), ["bob"], "{path}");
        if !path.contains("/vhosts/") {
            assert_eq!(users("eve", path, key), ["ann", "bob"], "{path}");
        }
    }
    let name =
        get(&server, "ann", "/api/connections")[0]["name"].as_str().unwrap().replace(' ', "%20").replace('>', "%3E");
    let close = |user: &str| {
        let authorization = basic(&format!("{user}:pw"));
        server.ask_with("DELETE", &format!("/api/connections/{name}"), "", &[("authorization", &authorization)]).status
    };
    assert_eq!([close("bob"), close("eve")], [401, 401], "monitors look and don't touch");
    assert_eq!(close("ann"), 204);
    drop(clients);
}

#[test]
fn an_overview_is_of_ones_share() {
    let server = neighbours();
    let body = "{}";
    server.ask("PUT", "/api/vhosts/next%20door", body);
    for path in ["/api/queues/%2F/a", "/api/queues/next%20door/b", "/api/queues/next%20door/c"] {
        assert_eq!(server.ask("PUT", path, body).status, 201);
    }
    let publish = |vhost: &str, key: &str| {
        let body = json!({"routing_key": key, "payload": "x"}).to_string();
        server.ask("POST", &format!("/api/exchanges/{vhost}/amq.default/publish"), &body);
    };
    publish("%2F", "a");
    publish("next%20door", "b");
    publish("next%20door", "c");
    let overview = |user: &str| get(&server, user, "/api/overview");
    let (all, some) = (overview("eve"), overview("ann"));
    assert_eq!((&all["object_totals"]["queues"], &all["queue_totals"]["messages"]), (&json!(3), &json!(3)));
    let share = json!({"queues": 1, "exchanges": 7, "connections": 0, "channels": 0});
    assert_eq!(some["object_totals"], share);
    assert_eq!((&some["queue_totals"]["messages"], &some["message_stats"]["publish"]), (&json!(1), &json!(1)));
    for hidden in ["node", "listeners", "contexts"] {
        assert!(all.get(hidden).is_some() && some.get(hidden).is_none(), "{hidden}");
    }
    let messages = |user: &str| {
        let vhosts = get(&server, user, "/api/vhosts?columns=name,messages");
        vhosts.as_array().unwrap().iter().map(|vhost| (vhost["name"].clone(), vhost["messages"].clone())).collect()
    };
    let counts: Vec<(Value, Value)> = messages("eve");
    assert_eq!(counts, [(json!("/"), json!(1)), (json!("next door"), json!(2))]);
    let counts: Vec<(Value, Value)> = messages("ann");
    assert_eq!(counts, [(json!("/"), json!(1))]);
}

#[test]
fn the_last_administrator_goes_only_for_who_says_so() {
    let server = Server::start();
    let refused = |answer: crate::server::Answer| {
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("last_administrator")));
    };
    refused(server.ask("DELETE", "/api/users/guest", ""));
    refused(server.ask("PUT", "/api/users/guest", r#"{"password":"guest","tags":"management"}"#));
    refused(server.ask("POST", "/api/users/bulk-delete", r#"{"users":["guest"]}"#));
    for nobody_logs_in in [r#"{"tags":"administrator"}"#, r#"{"tags":"administrator","password":""}"#] {
        refused(server.ask("PUT", "/api/users/guest", nobody_logs_in));
        assert_eq!(server.ask("PUT", "/api/users/locked-out", nobody_logs_in).status / 100, 2);
    }
    assert_eq!(server.get("/api/whoami").json()["tags"], json!(["administrator"]));
    let said = "Error:\nuser 'guest' is the only administrator; --force does it all the same\n";
    for command in [
        &["delete_user", "guest"][..],
        &["set_user_tags", "guest"],
        &["clear_password", "guest"],
        &["change_password", "guest", ""],
    ] {
        let (code, _, error) = server.ctl(command);
        assert_eq!((code, error.as_str()), (65, said), "{command:?}");
    }
    assert_eq!(server.ask("PUT", "/api/users/admin", r#"{"password":"pw","tags":"administrator"}"#).status, 201);
    assert_eq!(server.ask("DELETE", "/api/users/guest", "").status, 204, "there is another one");
    let (code, ..) = server.ctl(&["--user", "admin", "--password", "pw", "delete_user", "admin", "--force"]);
    assert_eq!(code, 0);
    for command in [["change_password", "guest", "", "--force"], ["clear_password", "guest", "--force", "-q"]] {
        let server = Server::start();
        assert_eq!(server.ctl(&command).0, 0, "{command:?}");
        assert_eq!(server.get("/api/whoami").status, 401);
    }
}
