//! Who gets in, and what they may, where a server says so that is asked over HTTP.

use crate::server::{Server, basic};
use crate::support::client::Client;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long something is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that says who may what, by a function of what it is asked, and tells what that was.
struct Authority {
    address: SocketAddr,
    asked: Mutex<Receiver<String>>,
}

/// What is written to a socket whose question was read.
type Answers = dyn Fn(&str, &mut TcpStream) + Send + Sync;

impl Authority {
    fn start(answers: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, asked) = channel();
        let answers: Arc<Answers> = Arc::new(answers);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (told, answers) = (told.clone(), Arc::clone(&answers));
                std::thread::spawn(move || serve(socket, &told, &*answers));
            }
        });
        Self { address, asked: Mutex::new(asked) }
    }

    /// One that says this of each question.
    fn saying(says: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Self {
        Self::start(move |question, socket| write_answer(socket, 200, says(question)))
    }

    fn settings(&self, more: &str) -> String {
        let address = self.address;
        format!(
            "[auth]\nbackends = ['internal', 'http']\n{more}\n[auth.http]\nmethod = 'post'\n\
             user_path = 'http://{address}/user'\nvhost_path = 'http://{address}/vhost'\n\
             resource_path = 'http://{address}/resource'\ntopic_path = 'http://{address}/topic'\n\
             request_timeout_ms = 2000\n"
        )
    }

    /// What was asked next.
    fn next(&self) -> String {
        self.asked.lock().unwrap().recv_timeout(PATIENCE).expect("a question")
    }

    fn nothing_more(&self) {
        let asked = self.asked.lock().unwrap().try_recv();
        assert!(asked.is_err(), "{asked:?}");
    }
}

/// `POST /user username=bob&password=pw`, of one connection after the other.
fn serve(mut socket: TcpStream, told: &Sender<String>, answers: &Answers) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let target = line.rsplit_once(' ').map_or("", |(target, _)| target).to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let question = format!("{target} {}", String::from_utf8(body).unwrap());
        let _ = told.send(question.trim_end().to_owned());
        answers(question.trim_end(), &mut socket);
    }
}

fn write_answer(socket: &mut TcpStream, status: u16, body: &str) {
    let _ = write!(socket, "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

/// bob is let in, with a tag, and may do everything but with names that begin with "no".
fn of_bob(question: &str) -> &'static str {
    match question {
        _ if question.starts_with("POST /user username=bob&password=pw") => "allow management",
        _ if question.starts_with("POST /user ") => "deny",
        _ if question.contains("=no") => "deny so it is",
        _ => "allow",
    }
}

fn login(password: &str) -> String {
    format!("user=bob password={password}")
}

/// What a client hears that logs in so.
fn refusal(server: &Server, password: &str) -> String {
    let mut client = Client::socket(server.amqp);
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    let next = |client: &mut Client| client.arrives_within(0, PATIENCE).expect("an answer");
    assert!(next(&mut client).starts_with("connection.start("));
    client.send(&format!(
        "connection.start-ok mechanism=PLAIN response='\\0bob\\0{password}' locale=en_US \
         client_properties={{capabilities=F:{{authentication_failure_close=t:true}}}}"
    ));
    next(&mut client)
}

const REFUSED: &str = "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile. (0,0)";

#[test]
fn a_server_is_asked_for_passwords_and_permissions_as_rabbitmqs_plugin_asks() {
    let authority = Authority::saying(of_bob);
    let server = Server::start_with(&authority.settings(""));
    let mut client = Client::connect(server.amqp, &login("pw"));
    let of = "username=bob&vhost=%2F";
    assert_eq!(authority.next(), "POST /user username=bob&password=pw");
    assert_eq!(authority.next(), format!("POST /vhost {of}&ip=127.0.0.1&tags=management"));
    client.send("queue.declare queue=q");
    client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    let resource = |kind: &str, name: &str, permission: &str| {
        format!("POST /resource {of}&resource={kind}&name={name}&permission={permission}&tags=management")
    };
    assert_eq!(authority.next(), resource("queue", "q", "configure"));
    client.send("confirm.select");
    client.expects("confirm.select-ok");
    for tag in 1..=3 {
        client.send("publish exchange=amq.topic routing_key=a.b body=x");
        client.expects(&format!("basic.ack(delivery_tag={tag}, multiple=false)"));
    }
    assert_eq!(authority.next(), resource("exchange", "amq.topic", "write"));
    assert_eq!(
        authority.next(),
        format!(
            "POST /topic {of}&resource=topic&name=amq.topic&permission=write&tags=management&routing_key=a.b\
             &variable_map.username=bob&variable_map.vhost=%2F"
        )
    );
    client.send("queue.declare queue=no");
    client.expects(
        "channel.close 403 ACCESS_REFUSED - configure access to queue 'no' in vhost '/' refused for user 'bob' (50,10)",
    );
    assert_eq!(authority.next(), resource("queue", "no", "configure"));
    assert_eq!(refusal(&server, "wrong"), REFUSED);
    assert_eq!(authority.next(), "POST /user username=bob&password=wrong");
    authority.nothing_more();
    // The broker's own users are asked first, and nobody else then.
    Client::connect(server.amqp, "");
    authority.nothing_more();
}

#[test]
fn a_server_is_asked_for_those_who_come_over_http_too() {
    let authority = Authority::saying(of_bob);
    let server = Server::start_with(&authority.settings(""));
    let ask = |method: &str, path: &str, body: &str, password: &str| {
        let authorization = basic(&format!("bob:{password}"));
        let answer = server.ask_with(method, path, body, &[("authorization", &authorization)]);
        (answer.status, answer.text)
    };
    assert_eq!(ask("GET", "/api/whoami", "", "pw"), (200, r#"{"name":"bob","tags":["management"]}"#.to_owned()));
    assert_eq!(authority.next(), "POST /user username=bob&password=pw");
    assert_eq!(ask("GET", "/api/whoami", "", "wrong").0, 401);
    assert_eq!(authority.next(), "POST /user username=bob&password=wrong");
    assert_eq!(ask("GET", "/api/vhosts?columns=name", "", "pw"), (200, r#"[{"name":"/"}]"#.to_owned()));
    assert_eq!(authority.next(), "POST /vhost username=bob&vhost=%2F&ip=127.0.0.1&tags=management");
    assert_eq!(ask("PUT", "/api/queues/%2F/q", "{}", "pw").0, 201);
    assert_eq!(authority.next(), "POST /user username=bob&password=pw&vhost=%2F");
    let resource = |name: &str| {
        format!("POST /resource username=bob&vhost=%2F&resource=queue&name={name}&permission=configure&tags=management")
    };
    assert_eq!(authority.next(), resource("q"));
    let refused = r#"{"error":"not_authorised","reason":"Access refused."}"#;
    assert_eq!(ask("PUT", "/api/queues/%2F/no", "{}", "pw"), (401, refused.to_owned()));
    assert_eq!(authority.next(), resource("no"));
    let publish = r#"{"properties":{},"routing_key":"q","payload":"x","payload_encoding":"string"}"#;
    assert_eq!(ask("POST", "/api/exchanges/%2F/amq.default/publish", publish, "pw").0, 200);
    assert!(authority.next().contains("name=amq.default&permission=write"));
    let get = r#"{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    assert_eq!(ask("POST", "/api/queues/%2F/q/get", get, "pw").0, 200);
    assert!(authority.next().contains("name=q&permission=read"));
    assert_eq!(ask("POST", "/api/bindings/%2F/e/amq.topic/q/q", r#"{"routing_key":"k"}"#, "pw").0, 201);
    for asked in ["name=q&permission=write", "name=amq.topic&permission=read", "&routing_key=k&"] {
        assert!(authority.next().contains(asked));
    }
    assert_eq!(ask("DELETE", "/api/queues/%2F/q", "", "pw").0, 204);
    authority.nothing_more();
}

/// Which exchanges those are shows as they are moved: what is not known is refused, and asked for.
#[test]
fn messages_are_moved_to_their_exchanges_once_it_is_known_that_they_may() {
    let authority = Authority::saying(of_bob);
    let server = Server::start_with(&authority.settings(""));
    let dead_letters = r#"{"arguments":{"x-dead-letter-exchange":"","x-dead-letter-routing-key":"dead"}}"#;
    assert_eq!(server.ask("PUT", "/api/queues/%2F/dead", "{}").status, 201);
    assert_eq!(server.ask("PUT", "/api/queues/%2F/work", dead_letters).status, 201);
    assert_eq!(server.ask("POST", "/api/bindings/%2F/e/amq.direct/q/work", r#"{"routing_key":"k"}"#).status, 201);
    let publish = r#"{"properties":{},"routing_key":"k","payload":"x","payload_encoding":"string"}"#;
    assert_eq!(server.ask("POST", "/api/exchanges/%2F/amq.direct/publish", publish).status, 200);
    let get = r#"{"count":1,"ackmode":"reject_requeue_false","encoding":"auto"}"#;
    assert_eq!(server.ask("POST", "/api/queues/%2F/work/get", get).status, 200);
    let redrive = || {
        let authorization = basic("bob:pw");
        let headers = [("authorization", &authorization[..])];
        server.ask_with("POST", "/api/queues/%2F/dead/redrive", r#"{"target":"exchange"}"#, &headers).json()
    };
    let first = redrive();
    let reason = "write access to exchange 'amq.direct' in vhost '/' refused for user 'bob'";
    assert_eq!((&first["moved"], &first["skipped"][0]["reason"]), (&0.into(), &reason.into()), "{first}");
    while !authority.next().contains("name=amq.direct&permission=write") {}
    let deadline = std::time::Instant::now() + PATIENCE;
    while redrive()["moved"] != 1 {
        assert!(std::time::Instant::now() < deadline, "it is never moved");
    }
}

#[test]
fn what_is_known_is_asked_again_when_somebody_clears_it() {
    let authority = Authority::saying(of_bob);
    let server = Server::start_with(&authority.settings("cache_refusals = true"));
    let asked = || std::iter::from_fn(|| authority.asked.lock().unwrap().try_recv().ok()).count();
    let mut client = Client::connect(server.amqp, &login("pw"));
    let mut declare = || {
        client.send("queue.declare queue=q");
        client.expects("queue.declare-ok(queue='q', message_count=0, consumer_count=0)");
    };
    declare();
    assert_eq!(refusal(&server, "wrong"), REFUSED);
    assert_eq!(asked(), 4, "the user, the virtual host, the queue, and another password");
    declare();
    assert_eq!(refusal(&server, "wrong"), REFUSED);
    Client::connect(server.amqp, &login("pw"));
    assert_eq!(asked(), 0);
    let (code, _, error) = server.ctl(&["clear_auth_backend_cache"]);
    assert_eq!((code, &error[..]), (0, ""));
    declare();
    assert_eq!(refusal(&server, "wrong"), REFUSED);
    Client::connect(server.amqp, &login("pw"));
    assert_eq!(asked(), 4);
}

/// Whatever the server does instead of answering, the login is refused, and others go on.
#[test]
fn a_server_that_answers_badly_refuses() {
    let authority = Authority::start(|question, socket| {
        let password = question.rsplit_once('=').map_or("", |(_, password)| password);
        match password {
            "status" => write_answer(socket, 500, "allow"),
            "nothing" => write_answer(socket, 204, ""),
            "redirect" => {
                let _ = write!(socket, "HTTP/1.1 302 Found\r\nlocation: /allow\r\ncontent-length: 0\r\n\r\n");
            }
            "garbage" => drop(socket.write_all(b"\x00\xff\x00 allow\r\n\r\n\r\n")),
            "huge" => {
                let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\nallow ");
                while socket.write_all(&[b' '; 65536]).is_ok() {}
            }
            "slow" => {
                // A byte now and then, and never the last one.
                let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nallow");
                while socket.write_all(b" ").is_ok() {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
            }
            "binary" => {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\xff\xfe\xfd\xfc\xfb");
            }
            "gone" => drop(socket.shutdown(std::net::Shutdown::Both)),
            _ => write_answer(socket, 200, "allow"),
        }
    });
    let server = Server::start_with(&authority.settings(""));
    for answer in ["status", "nothing", "redirect", "garbage", "huge", "slow", "binary", "gone"] {
        assert_eq!(refusal(&server, answer), REFUSED, "{answer}");
        Client::connect(server.amqp, "");
    }
    Client::connect(server.amqp, &login("pw"));
    let asked: Vec<String> = std::iter::from_fn(|| authority.asked.lock().unwrap().try_recv().ok()).collect();
    assert!(asked.iter().all(|question| !question.contains("/allow")), "nobody follows it: {asked:?}");
}

/// Nobody answers at all. Those whom the broker knows itself are let in at once, over AMQP and HTTP, whoever waits.
#[test]
fn a_server_that_hangs_holds_nobody_up_but_those_who_need_it() {
    let authority = Authority::start(|_, _| {
        loop {
            std::thread::park();
        }
    });
    let settings = authority.settings("").replace("request_timeout_ms = 2000", "request_timeout_ms = 60000");
    let server = Server::start_with(&settings);
    let hanging: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = Client::socket(server.amqp);
            client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
            client.send(&format!("connection.start-ok mechanism=PLAIN response='\\0bob\\0{number}' locale=en_US"));
            client
        })
        .collect();
    // Some are being asked for by now.
    authority.next();
    for _ in 0..3 {
        Client::connect(server.amqp, "");
        assert_eq!(server.get("/api/whoami").status, 200);
    }
    drop(hanging);
    Client::connect(server.amqp, "");
}

#[test]
fn the_log_says_why_somebody_is_refused_and_never_a_password() {
    let authority = Authority::start(|question, socket| match question.contains("denied") {
        true => write_answer(socket, 200, "deny it is late"),
        false => write_answer(socket, 503, "sorry"),
    });
    let settings = authority.settings("").replace("'post'", "'get'");
    let server = Server::start_with(&settings);
    assert_eq!(refusal(&server, "denied"), REFUSED);
    let said = server.next_line_with("HTTP authentication denied");
    assert!(said.ends_with("[auth] HTTP authentication denied for user 'bob': it is late"), "{said}");
    assert!(authority.next().starts_with("GET /user?username=bob&password=denied"));
    assert_eq!(refusal(&server, "s3cret"), REFUSED);
    let said = server.next_line_with("can't be authenticated over HTTP");
    assert!(said.ends_with("user 'bob' can't be authenticated over HTTP: it answered 503"), "{said}");
}
