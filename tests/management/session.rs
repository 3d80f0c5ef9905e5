//! Who logs in at the page, and what the cookie is worth that it gets.

use crate::server::{Answer, Server, basic};
use crate::transcript::play;
use serde_json::json;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const BY_PAGE: (&str, &str) = ("x-requested-with", "XMLHttpRequest");

#[test]
fn login() {
    play(include_str!("transcripts/login.txt"));
}

fn log_in(server: &Server, user: &str, password: &str) -> Answer {
    let body = format!("username={user}&password={password}");
    server.ask_with("POST", "/api/login", &body, &[FORM])
}

/// The cookie as a browser shows it.
fn cookie(answer: &Answer) -> String {
    let given = answer.named("set-cookie").expect("a cookie");
    given.split(';').next().expect("a value").to_owned()
}

fn session(server: &Server) -> String {
    let answer = log_in(server, "guest", "guest");
    assert_eq!(answer.status, 200, "{}", answer.text);
    cookie(&answer)
}

#[test]
fn a_cookie_lets_in_until_its_user_logs_out() {
    let server = Server::start();
    let answer = log_in(&server, "guest", "guest");
    let user = json!({"name": "guest", "tags": ["administrator"], "login_session_timeout": 480});
    assert_eq!((answer.status, answer.json()), (200, json!({ "user": user })));
    let given = answer.named("set-cookie").expect("a cookie");
    let (name, rest) = given.split_once('=').expect("a name");
    assert_eq!(name, format!("leveret-session-{}", server.management.port()));
    let (secret, attributes) = rest.split_once(';').expect("attributes");
    assert_eq!(secret.len(), 43, "256 bits");
    assert_eq!(attributes, " Path=/; Max-Age=28800; HttpOnly; SameSite=Strict");
    assert!(!answer.text.contains("Z3Vlc3Q6Z3Vlc3Q"), "no password is told");
    let cookie = format!("other=1; {name}={secret};last=2");
    let ask = |method: &str, path: &str, body: &str, headers: &[(&str, &str)]| {
        let cookie = [("cookie", cookie.as_str())];
        server.ask_with(method, path, body, &[&cookie[..], headers].concat())
    };
    let whoami = ask("GET", "/api/whoami", "", &[]);
    assert_eq!((whoami.status, whoami.json()), (200, json!({"name": "guest", "tags": ["administrator"]})));
    assert_eq!(ask("PUT", "/api/queues/%2F/q", "{}", &[BY_PAGE]).status, 201);
    assert_eq!(ask("GET", "/api/queues/%2F/q", "", &[]).status, 200);
    assert_eq!(ask("GET", "/metrics", "", &[]).status, 200);
    assert_eq!(ask("DELETE", "/api/login", "", &[]).status, 403);
    let out = ask("DELETE", "/api/login", "", &[BY_PAGE]);
    let taken_back = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    assert_eq!((out.status, out.named("set-cookie")), (204, Some(&*taken_back)));
    assert_eq!(ask("GET", "/api/whoami", "", &[]).status, 401);
    assert_eq!(ask("DELETE", "/api/login", "", &[BY_PAGE]).status, 204, "it is out already");
}

#[test]
fn a_cookie_alone_changes_nothing() {
    let server = Server::start();
    let cookie = session(&server);
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let cookie = [("cookie", cookie.as_str())];
        server.ask_with(method, path, "{}", &[&cookie[..], headers].concat())
    };
    let own = format!("http://{}", server.management);
    for (method, path) in [("PUT", "/api/queues/%2F/q"), ("POST", "/api/definitions"), ("DELETE", "/api/users/guest")] {
        for headers in [
            &[][..],
            &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            &[BY_PAGE, ("origin", "http://evil.example")],
            &[BY_PAGE, ("sec-fetch-site", "same-site")],
            &[BY_PAGE, ("sec-fetch-site", "cross-site"), ("origin", own.as_str())],
        ] {
            let answer = ask(method, path, headers);
            assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("forbidden")), "{method} {headers:?}");
        }
    }
    assert_eq!(server.get("/api/queues").json(), json!([]));
    // What others' pages can't read they are not even answered.
    assert_eq!(ask("GET", "/api/whoami", &[("sec-fetch-site", "same-site")]).status, 403);
    assert_eq!(ask("GET", "/api/whoami", &[("sec-fetch-site", "none")]).status, 200, "typed by the user");
    assert_eq!(ask("PUT", "/api/queues/%2F/q", &[BY_PAGE, ("sec-fetch-site", "same-origin")]).status, 201);
    // Nor does anybody log somebody in.
    let body = "username=guest&password=guest";
    let foreign = server.ask_with("POST", "/api/login", body, &[FORM, ("origin", "http://evil.example")]);
    assert_eq!((foreign.status, foreign.named("set-cookie")), (403, None));
}

#[test]
fn the_page_is_not_answered_with_a_dialog_of_the_browsers() {
    let server = Server::start();
    let challenge = "Basic realm=\"Leveret Management\"";
    let wrong = basic("guest:wrong");
    for headers in [&[][..], &[("authorization", wrong.as_str())], &[("cookie", "leveret-session-1=x")]] {
        let answer = server.ask_with("GET", "/api/whoami", "", headers);
        assert_eq!((answer.status, answer.header.as_deref()), (401, Some(challenge)));
        let answer = server.ask_with("GET", "/api/whoami", "", &[headers, &[BY_PAGE]].concat());
        assert_eq!((answer.status, answer.header), (401, None));
    }
    let answer = server.ask_with("POST", "/api/login", "username=guest&password=wrong", &[FORM, BY_PAGE]);
    assert_eq!((answer.status, answer.header.as_deref(), answer.named("set-cookie")), (401, None, None));
}

#[test]
fn a_session_ends_when_its_user_is_another_one() {
    let server = Server::start();
    let make = |password: &str, tags: &str| {
        let body = json!({"password": password, "tags": tags}).to_string();
        assert!(server.ask("PUT", "/api/users/ann", &body).status < 300);
    };
    let status = |cookie: &str| server.ask_with("GET", "/api/whoami", "", &[("cookie", cookie)]).status;
    let guests = session(&server);
    let enter = |password: &str| {
        let answer = log_in(&server, "ann", password);
        assert_eq!(answer.status, 200);
        let cookie = cookie(&answer);
        assert_eq!(status(&cookie), 200);
        cookie
    };
    make("pw", "management");
    let cookie = enter("pw");
    make("other", "management");
    assert_eq!(status(&cookie), 401, "another password");
    make("pw", "management");
    assert_eq!(status(&cookie), 401, "the session is gone, not shut out");
    let cookie = enter("pw");
    make("pw", "");
    assert_eq!(status(&cookie), 401, "no management user any more");
    make("pw", "management");
    let cookie = enter("pw");
    assert_eq!(server.ask("DELETE", "/api/users/ann", "").status, 204);
    make("pw", "management");
    assert_eq!(status(&cookie), 401, "another user of the same name and password");
    let cookie = enter("pw");
    let definitions = json!({"users": [{"name": "ann", "password": "new", "tags": "management"}]}).to_string();
    let headers = [("authorization", &*basic("guest:guest")), ("content-type", "application/json")];
    assert_eq!(server.ask_with("POST", "/api/definitions", &definitions, &headers).status, 204);
    assert_eq!(status(&cookie), 401, "another password out of a file");
    assert_eq!(status(&guests), 200, "nobody else's ends");
}

#[test]
fn a_session_is_over_in_time_and_a_login_replaces_its_predecessor() {
    let server = Server::start_with("[limits]\nmanagement_session_s = 1\n");
    let answer = log_in(&server, "guest", "guest");
    assert!(answer.named("set-cookie").expect("a cookie").contains("Max-Age=1;"));
    let first = cookie(&answer);
    let form = "username=guest&password=guest";
    let second = cookie(&server.ask_with("POST", "/api/login", form, &[FORM, ("cookie", &first)]));
    let status = |cookie: &str| server.ask_with("GET", "/api/whoami", "", &[("cookie", cookie)]).status;
    assert_eq!(status(&first), 401);
    while status(&second) == 200 {
        std::thread::yield_now();
    }
    assert_eq!(status(&second), 401);
}

#[test]
fn a_cookie_given_over_tls_stays_there() {
    let server = Server::start();
    let headers = [FORM, ("x-forwarded-proto", "https")];
    let answer = server.ask_with("POST", "/api/login", "username=guest&password=guest", &headers);
    assert!(answer.named("set-cookie").expect("a cookie").ends_with("; HttpOnly; SameSite=Strict; Secure"));
}

#[test]
fn a_stranger_sends_no_more_than_credentials() {
    let server = Server::start();
    let long = format!("username=guest&password={}", "x".repeat(50_000));
    let answer = server.ask_with("POST", "/api/login", &long, &[FORM]);
    assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("bad_request")));
    assert_eq!(server.get("/api/whoami").status, 200);
}
