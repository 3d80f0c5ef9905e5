//! Who gets in with a token: over AMQP and HTTP, with keys that an issuer publishes.

use crate::server::{Server, basic};
use crate::support::client::Client;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Signs tokens, and publishes keys over HTTP.
struct Issuer {
    key: Ed25519KeyPair,
    address: SocketAddr,
    published: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
}

fn jwks(name: &str, key: &Ed25519KeyPair) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    json!({"keys": [{"kid": name, "kty": "OKP", "crv": "Ed25519", "x": x}]})
}

impl Issuer {
    fn start() -> Self {
        let key = ed25519();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let published = Arc::new(Mutex::new(jwks("first", &key)));
        let asked = Arc::new(AtomicUsize::new(0));
        let (text, count) = (Arc::clone(&published), Arc::clone(&asked));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                answer(socket, &text.lock().unwrap().to_string());
            }
        });
        Self { key, address, published, asked }
    }

    fn settings(&self) -> String {
        format!(
            "[auth]\nbackends = ['internal', 'oauth']\n[oauth]\nresource_server_id = 'rabbitmq'\n\
             jwks_uri = 'http://{}/keys'\njwks_min_interval_s = 1\n\
             scope_aliases = {{ everything = ['rabbitmq.configure:*/*', 'rabbitmq.write:*/*', 'rabbitmq.read:*/*'] }}\n",
            self.address
        )
    }

    fn token(&self, changes: Value) -> String {
        sign(&self.key, "first", changes)
    }
}

fn answer(mut socket: TcpStream, body: &str) {
    let mut request = Vec::new();
    let mut bytes = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match socket.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend(&bytes[..count]),
        }
    }
    let length = body.len();
    let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
}

/// A token of bob's for everything in every virtual host, for an hour, but for what is changed.
fn sign(key: &Ed25519KeyPair, name: &str, changes: Value) -> String {
    let mut claims = json!({"sub": "bob", "aud": "rabbitmq", "exp": now_s() + 3600, "scope": "everything"});
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA", "kid": name})), encode(&claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

fn login(token: &str) -> String {
    format!("user=whoever password={token}")
}

/// What a client hears whose password is this.
fn refusal(server: &Server, token: &str) -> String {
    let mut client = Client::socket(server.amqp);
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    assert!(next(&mut client).starts_with("connection.start("));
    client.send(&format!(
        "connection.start-ok mechanism=PLAIN response='\\0guest\\0{token}' locale=en_US \
         client_properties={{capabilities=F:{{authentication_failure_close=t:true}}}}"
    ));
    next(&mut client)
}

/// What comes next on channel 0.
fn next(client: &mut Client) -> String {
    client.arrives_within(0, Duration::from_secs(30)).expect("an answer")
}

fn ask(server: &Server, token: &str, path: &str) -> (u16, Value) {
    let answer = server.ask_with("GET", path, "", &[("authorization", &format!("Bearer {token}"))]);
    (answer.status, answer.json())
}

#[test]
fn a_token_lets_do_what_its_scopes_say_until_another_follows_it_and_no_longer_than_it_is_good() {
    let issuer = Issuer::start();
    let server = Server::start_with(&issuer.settings());
    let narrow = issuer.token(json!({"scope": "rabbitmq.configure:%2F/mine-* rabbitmq.tag:management"}));
    let mut client = Client::connect(server.amqp, &login(&narrow));
    client.send("queue.declare queue=mine-1");
    client.expects("queue.declare-ok(queue='mine-1', message_count=0, consumer_count=0)");
    let wide = issuer.token(json!({}));
    client.send_on(0, &format!("connection.update-secret new_secret={wide} reason=more"));
    client.send("queue.declare queue=other");
    client.expects_on(0, "connection.update-secret-ok");
    client.expects("queue.declare-ok(queue='other', message_count=0, consumer_count=0)");
    let alices = issuer.token(json!({"sub": "alice"}));
    client.send_on(0, &format!("connection.update-secret new_secret={alices} reason=other"));
    let refused = "connection.close 530 NOT_ALLOWED - New secret was refused by one of the backends (10,70)";
    assert_eq!(next(&mut client), refused);

    let short = issuer.token(json!({"exp": now_s() + 2}));
    let mut client = Client::connect(server.amqp, &login(&short));
    let expired = "connection.close 320 CONNECTION_FORCED - credential expired (0,0)";
    assert_eq!(next(&mut client), expired);
    assert!(refusal(&server, &short).contains("403"), "it was known, and is no more");
}

#[test]
fn a_token_that_is_not_good_is_a_wrong_password() {
    let issuer = Issuer::start();
    let server = Server::start_with(&issuer.settings());
    let good = issuer.token(json!({}));
    let expected = refusal(&server, "guess");
    assert!(expected.contains("ACCESS_REFUSED"), "{expected}");
    for (why, token) in [
        ("expired", issuer.token(json!({"exp": now_s() - 1}))),
        ("not yet valid", issuer.token(json!({"nbf": now_s() + 100}))),
        ("for somebody else", issuer.token(json!({"aud": "other"}))),
        ("signed by somebody else", sign(&ed25519(), "first", json!({}))),
        ("cut", good[..good.len() - 4].to_owned()),
        ("by a key that is not there", sign(&issuer.key, "second", json!({}))),
    ] {
        assert_eq!(refusal(&server, &token), expected, "{why}");
    }
    let known = Client::connect(server.amqp, &login(&good));
    drop(known);
    let asked = issuer.asked.load(Ordering::SeqCst);
    assert!((1..=2).contains(&asked), "keys are not fetched for every token: {asked}");
}

#[test]
fn a_bearer_gets_in_over_http_with_the_tags_and_virtual_hosts_of_its_token() {
    let issuer = Issuer::start();
    let server = Server::start_with(&issuer.settings());
    server.ask("PUT", "/api/vhosts/other", "");
    let token = issuer.token(json!({"scope": "rabbitmq.read:%2F/* rabbitmq.configure:%2F/* rabbitmq.tag:management"}));
    assert_eq!(ask(&server, &token, "/api/whoami"), (200, json!({"name": "bob", "tags": ["management"]})));
    let (status, vhosts) = ask(&server, &token, "/api/vhosts");
    let names: Vec<_> = vhosts.as_array().unwrap().iter().map(|vhost| vhost["name"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["/"]));
    assert_eq!(ask(&server, &token, "/api/queues/other").0, 401);
    assert_eq!(ask(&server, &token, "/api/users").0, 401);
    let bearer = format!("Bearer {token}");
    let put = |path| server.ask_with("PUT", path, "{}", &[("authorization", &bearer)]).status;
    assert_eq!((put("/api/queues/%2F/q"), put("/api/queues/other/q")), (201, 401));
    // As the password of anybody, as with RabbitMQ.
    let as_password = basic(&format!("whoever:{token}"));
    assert_eq!(server.ask_with("GET", "/api/whoami", "", &[("authorization", &as_password)]).status, 200);
    let administrator = issuer.token(json!({"sub": "root", "scope": "rabbitmq.tag:administrator"}));
    let (status, users) = ask(&server, &administrator, "/api/users");
    assert_eq!((status, users.as_array().unwrap().len()), (200, 1), "bearers are in no list");
    let nobody = issuer.token(json!({"scope": "rabbitmq.read:*/*"}));
    assert_eq!(ask(&server, &nobody, "/api/whoami").0, 401, "it has no tag");
    for bad in ["", "x", "eyJ.eyJ.x", &sign(&ed25519(), "first", json!({"scope": "rabbitmq.tag:administrator"}))] {
        assert_eq!(ask(&server, bad, "/api/whoami").0, 401, "{bad}");
    }
}

#[test]
fn keys_are_fetched_again_when_a_token_names_another() {
    let issuer = Issuer::start();
    let server = Server::start_with(&issuer.settings());
    Client::connect(server.amqp, &login(&issuer.token(json!({}))));
    let second = ed25519();
    *issuer.published.lock().unwrap() = jwks("second", &second);
    let token = sign(&second, "second", json!({}));
    let login = login(&token);
    // Not more often than every second, so it may take one.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while ask(&server, &sign(&second, "second", json!({"scope": "rabbitmq.tag:management"})), "/api/whoami").0 != 200 {
        assert!(std::time::Instant::now() < deadline, "the second key is never known");
    }
    Client::connect(server.amqp, &login);
    assert_eq!(ask(&server, &issuer.token(json!({"scope": "rabbitmq.tag:management"})), "/api/whoami").0, 401);
}

/// A key in a file takes another's place while the broker runs, and published ones are fetched again.
#[test]
fn keys_are_read_again_when_the_broker_is_told_so() {
    let [first, second] = [ed25519(), ed25519()];
    let folder = std::env::temp_dir().join(format!("leveret-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("key.jwk");
    let write = |key: &Ed25519KeyPair| std::fs::write(&file, jwks("file", key)["keys"][0].to_string()).unwrap();
    write(&first);
    let issuer = Issuer::start();
    let settings = issuer.settings().replace("jwks_min_interval_s = 1", "jwks_min_interval_s = 3600");
    let server = Server::start_with(&format!("{settings}signing_keys = {{ file = '{}' }}\n", file.display()));
    let whoami = |key: &Ed25519KeyPair, name| {
        ask(&server, &sign(key, name, json!({"scope": "rabbitmq.tag:management"})), "/api/whoami").0
    };
    assert_eq!([whoami(&first, "file"), whoami(&second, "file"), whoami(&issuer.key, "first")], [200, 401, 200]);
    let published = ed25519();
    *issuer.published.lock().unwrap() = jwks("next", &published);
    write(&second);
    server.reload();
    assert_eq!([whoami(&first, "file"), whoami(&second, "file")], [401, 200], "though the first was known");
    server.next_line_with("the issuer publishes");
    assert_eq!([whoami(&issuer.key, "first"), whoami(&published, "next")], [401, 200]);
    // What can't be used changes nothing.
    std::fs::write(&file, "no key").unwrap();
    server.reload();
    assert_eq!([whoami(&second, "file"), whoami(&published, "next")], [200, 200]);
    std::fs::remove_dir_all(folder).unwrap();
}
