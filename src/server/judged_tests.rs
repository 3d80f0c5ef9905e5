//! Clients whose permissions somebody else has: what is asked, what waits for it, and for how long an answer holds.

use super::tests::{HERE, World, conversation, message_in_frames};
use super::{Desk, MayRead, WhoIsIt, hub_settings};
use crate::access::{About, Answer, Bearer, Inquiry, Powers, Tags};
use crate::broker::snapshot::{Page, PageStart};
use crate::broker::{
    ConnectionId, TailCounts, TailFilter, TailListener, TailOf, TailSpec, TailedMessage, UserKey, VhostAttributes,
};
use crate::config::Config;
use crate::connection::{Doorkeeper, LoginRequest, LoginTicket, Verdict};
use crate::management::{
    Asker, Change, Command, Login, NotLetIn, Question, Refusal, Reply, Request, VhostChange, Visitor,
};
use crate::protocol::method::{basic, exchange, queue};
use crate::protocol::{BasicProperties, ContentHeader, FieldTable, FieldValue, Method, ReplyCode};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::oneshot;

/// A user of whom it is not known at once who it is.
const LATER: &[u8] = b"later";
const KNOWN_FOR_MS: u64 = 10_000;

/// Lets everybody in, the broker's own users as those, and says what they may when the test does.
#[derive(Clone, Default)]
struct Elsewhere {
    asked: Rc<RefCell<VecDeque<(LoginTicket, Inquiry)>>>,
    answers: Rc<RefCell<VecDeque<(LoginTicket, Verdict)>>>,
    forgotten: Rc<RefCell<Vec<LoginTicket>>>,
}

impl Doorkeeper for Elsewhere {
    fn ask(&self, LoginRequest { peer, password, credentials, .. }: LoginRequest) -> Option<Verdict> {
        if *credentials.user == *LATER {
            return None;
        }
        if password.is_some() {
            return Some(Verdict::Allowed);
        }
        let (tags, powers) = (Arc::new(Tags::default()), Powers::Elsewhere { peer });
        Some(Verdict::Bearer(Arc::new(Bearer { name: "bob".into(), tags, powers, expires_unix_ms: None })))
    }

    fn inquire(&self, ticket: LoginTicket, inquiry: Inquiry) {
        self.asked.borrow_mut().push_back((ticket, inquiry));
    }

    fn forget(&self, ticket: LoginTicket) {
        self.forgotten.borrow_mut().push(ticket);
    }

    fn next_verdict(&self, _: u64) -> Option<(LoginTicket, Verdict)> {
        self.answers.borrow_mut().pop_front()
    }
}

struct Door {
    world: World,
    elsewhere: Elsewhere,
    known_for_ms: u64,
}

fn described(inquiry: &Inquiry) -> String {
    let text = String::from_utf8_lossy;
    match &inquiry.about {
        About::Vhost(peer) => format!("enter {} from {peer}", inquiry.vhost),
        About::Resource { kind, name, right } => format!("{right} {kind} {}", text(name)),
        About::Key { exchange, right, key } => format!("{right} {} at {}", text(key), text(exchange)),
    }
}

impl Door {
    fn new() -> Self {
        let elsewhere = Elsewhere::default();
        let mut settings = hub_settings(&Config::default(), [7; 32], 0);
        settings.connection.doorkeeper = Box::new(elsewhere.clone());
        Self { world: World::with_settings(settings), elsewhere, known_for_ms: KNOWN_FOR_MS }
    }

    /// Answers what is asked first, and says what that was.
    fn answer(&mut self, is_allowed: bool) -> String {
        let (ticket, inquiry) = self.elsewhere.asked.borrow_mut().pop_front().expect("something is asked");
        let what = described(&inquiry);
        let known_for_ms = if is_allowed { self.known_for_ms } else { 0 };
        let told = if is_allowed { Box::default() } else { " by somebody".into() };
        let answer = Answer { is_allowed, told, known_for_ms };
        self.elsewhere.answers.borrow_mut().push_back((ticket, Verdict::Answered(Arc::new(inquiry), answer)));
        self.world.pass(0);
        what
    }

    /// Allows all that is asked, and says what that was.
    fn allow(&mut self) -> Vec<String> {
        let mut asked = Vec::new();
        while !self.elsewhere.asked.borrow().is_empty() {
            asked.push(self.answer(true));
        }
        asked
    }

    /// A client with an open channel.
    fn connect(&mut self) -> ConnectionId {
        let id = self.world.connect(HERE);
        self.world.send(id, &conversation(b"\0bob\0pw", 0));
        self.allow();
        let heard = self.world.heard(id);
        assert_eq!(heard, ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]);
        id
    }

    fn send(&mut self, id: ConnectionId, method: &Method<'_>) {
        self.world.send(id, &frame(method));
    }

    fn messages_in(&self, queue: &[u8]) -> usize {
        let broker = self.world.hub.broker();
        let vhost = broker.vhost_named(b"/").unwrap();
        broker.snapshot_queue(vhost, queue).map_or(0, |queue| queue.figures.messages_ready)
    }
}

fn frame(method: &Method<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    method.encode_frame(1, &mut frame);
    frame
}

fn declare(name: &[u8]) -> Method<'_> {
    Method::QueueDeclare(queue::Declare { queue: name, ..queue::Declare::default() })
}

#[test]
fn a_virtual_host_is_entered_when_somebody_allows_it() {
    let mut door = Door::new();
    let id = door.world.connect(HERE);
    door.world.send(id, &conversation(b"\0bob\0pw", 0));
    assert_eq!(door.world.heard(id), ["connection.start", "connection.tune"]);
    assert_eq!(door.world.hub.may_read(id), MayRead::WhenResumed);
    assert_eq!(door.answer(true), "enter / from 127.0.0.1");
    assert_eq!(door.world.heard(id), ["connection.open-ok", "channel.open-ok"], "and what came behind it is done");
    assert_eq!(door.world.hub.may_read(id), MayRead::Now);
    let other = door.world.connect(HERE);
    door.world.send(other, &conversation(b"\0bob\0pw", 0));
    assert_eq!(door.world.heard(other).len(), 4, "that is known");
    door.world.pass(KNOWN_FOR_MS + 1);
    let other = door.world.connect(HERE);
    door.world.send(other, &conversation(b"\0bob\0pw", 0));
    door.answer(false);
    let refused = "connection.close 530 NOT_ALLOWED - access to vhost '/' refused for user 'bob' by somebody";
    assert_eq!(door.world.heard(other), ["connection.start", "connection.tune", refused]);
    door.world.hub.broker().census();
}

#[test]
fn a_command_waits_until_all_that_it_needs_is_answered_in_rabbitmqs_order() {
    let mut door = Door::new();
    let id = door.connect();
    let arguments = FieldTable(vec![("x-dead-letter-exchange".into(), FieldValue::LongString((*b"dx").into()))]);
    door.send(id, &Method::QueueDeclare(queue::Declare { queue: b"q", arguments, ..queue::Declare::default() }));
    door.send(id, &declare(b"p"));
    assert_eq!(door.world.heard(id), [""; 0]);
    assert_eq!(door.allow(), ["configure queue q", "read queue q", "write exchange dx", "configure queue p"]);
    assert_eq!(door.world.heard(id), ["queue.declare-ok", "queue.declare-ok"]);
    let exchange = |name, exchange_type| {
        Method::ExchangeDeclare(exchange::Declare { exchange: name, exchange_type, ..Default::default() })
    };
    door.send(id, &exchange(b"t", b"topic"));
    let bind = queue::Bind { queue: b"q", exchange: b"t", routing_key: b"k", ..queue::Bind::default() };
    door.send(id, &Method::QueueBind(bind));
    assert_eq!(door.allow(), ["configure exchange t", "write queue q", "read exchange t", "read k at t"]);
    assert_eq!(door.world.heard(id), ["exchange.declare-ok", "queue.bind-ok"]);
    door.send(id, &declare(b"r"));
    door.answer(false);
    let refused = "channel.close 403 ACCESS_REFUSED - configure access to queue 'r' in vhost '/' refused for user 'bob' by somebody";
    assert_eq!(door.world.heard(id), [refused]);
    door.world.hub.broker().census();
}

/// However short a time an answer is known for, a command that needs several comes to its end.
#[test]
fn what_was_allowed_while_a_command_waits_stays_allowed_for_it() {
    let mut door = Door::new();
    door.known_for_ms = 0;
    let id = door.connect();
    let arguments = FieldTable(vec![("x-dead-letter-exchange".into(), FieldValue::LongString((*b"dx").into()))]);
    door.send(id, &Method::QueueDeclare(queue::Declare { queue: b"q", arguments, ..queue::Declare::default() }));
    for what in ["configure queue q", "read queue q", "write exchange dx"] {
        door.world.pass(5_000);
        assert_eq!(door.answer(true), what);
    }
    assert_eq!(door.world.heard(id), ["queue.declare-ok"]);
    door.world.pass(1);
    door.send(id, &declare(b"q"));
    assert_eq!(door.allow(), ["configure queue q"], "for another it is not");
}

#[test]
fn a_queue_without_a_name_gets_the_one_that_was_asked_about() {
    let mut door = Door::new();
    let id = door.connect();
    door.send(id, &declare(b""));
    let asked = door.allow();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    let name = asked.strip_prefix("configure queue ").unwrap();
    assert!(name.starts_with("amq.gen-"));
    assert_eq!(door.world.heard(id), ["queue.declare-ok"]);
    let broker = door.world.hub.broker();
    assert!(broker.queue_in(broker.vhost_named(b"/").unwrap(), name.as_bytes()).is_some());
    door.send(id, &declare(b""));
    let again = door.allow();
    assert!(again.len() == 1 && again[0] != *asked, "the next one is another: {again:?}");
}

#[test]
fn a_publisher_is_asked_for_once_and_again_when_the_answer_is_old() {
    for body_size in [0, 10, 100_000] {
        let mut door = Door::new();
        let id = door.connect();
        door.send(id, &declare(b"q"));
        door.allow();
        let message = message_in_frames(body_size, 4000);
        door.world.send(id, &message.repeat(3));
        assert_eq!(door.messages_in(b"q"), 0, "{body_size}");
        assert_eq!(door.allow(), ["write exchange amq.default"]);
        assert_eq!(door.messages_in(b"q"), 3, "{body_size}");
        door.world.send(id, &message);
        assert_eq!(door.messages_in(b"q"), 4);
        // It holds to the end of a second.
        door.world.pass(KNOWN_FOR_MS + 1_001);
        for part in message.chunks(1000) {
            door.world.send(id, part);
        }
        assert_eq!(door.messages_in(b"q"), 4);
        assert_eq!(door.allow(), ["write exchange amq.default"]);
        assert_eq!(door.messages_in(b"q"), 5, "{body_size}");
        door.world.pass(KNOWN_FOR_MS + 1_001);
        door.world.send(id, &message);
        door.answer(false);
        door.world.pump();
        let heard = door.world.heard(id);
        let refused = "channel.close 403 ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'bob' by somebody";
        assert_eq!(heard.last().map(String::as_str), Some(refused), "{body_size}");
        assert_eq!(door.messages_in(b"q"), 5);
        door.world.hub.broker().census();
    }
}

/// What was found out at its beginning counts, however long the rest takes.
#[test]
fn a_message_that_comes_slowly_is_judged_at_its_beginning() {
    for is_allowed in [true, false] {
        let mut door = Door::new();
        let id = door.connect();
        door.send(id, &declare(b"q"));
        door.allow();
        let message = message_in_frames(100_000, 4000);
        let (beginning, rest) = message.split_at(message.len() - 10_000);
        door.world.send(id, beginning);
        door.answer(is_allowed);
        door.world.pass(10 * 60_000);
        door.world.send(id, rest);
        assert_eq!(door.allow(), [""; 0]);
        assert_eq!(door.messages_in(b"q"), usize::from(is_allowed));
        assert_eq!(door.world.heard(id).len(), usize::from(!is_allowed) + 1, "declared, and closed perhaps");
    }
}

#[test]
fn keys_are_asked_for_one_by_one_where_the_exchange_is_of_type_topic() {
    let mut door = Door::new();
    let id = door.connect();
    let publish = |exchange, routing_key| {
        let mut bytes =
            frame(&Method::BasicPublish(basic::Publish { exchange, routing_key, ..basic::Publish::default() }));
        let whole = message_in_frames(3, 4000);
        let method = frame(&Method::BasicPublish(basic::Publish { routing_key: b"q", ..basic::Publish::default() }));
        bytes.extend_from_slice(&whole[method.len()..]);
        bytes
    };
    for key in [&b"a"[..], b"b", b"a"] {
        door.world.send(id, &publish(&b"amq.topic"[..], key));
    }
    assert_eq!(door.allow(), ["write exchange amq.topic", "write a at amq.topic", "write b at amq.topic"]);
    door.world.send(id, &publish(b"amq.direct", b"a"));
    assert_eq!(door.allow(), ["write exchange amq.direct"]);
    door.world.send(id, &publish(b"amq.topic", b"c"));
    door.answer(false);
    let refused = "channel.close 403 ACCESS_REFUSED - write access to topic 'c' in exchange 'amq.topic' in vhost '/' refused for user 'bob' by somebody";
    assert_eq!(door.world.heard(id), [refused]);
}

#[test]
fn an_answer_for_somebody_who_hung_up_is_known_and_for_nobody() {
    let mut door = Door::new();
    let id = door.connect();
    door.send(id, &declare(b"q"));
    let (ticket, _) = door.elsewhere.asked.borrow()[0];
    door.world.hub.disconnect(id);
    assert_eq!(*door.elsewhere.forgotten.borrow(), [ticket]);
    door.answer(true);
    let id = door.connect();
    door.send(id, &declare(b"q"));
    assert_eq!(door.world.heard(id), ["queue.declare-ok"]);
    door.world.hub.broker_mut().forget_answers();
    door.send(id, &declare(b"q"));
    assert_eq!(door.allow(), ["configure queue q"], "unless all is forgotten");
    door.world.hub.broker().census();
}

#[test]
fn who_waits_for_an_answer_is_not_taken_for_silent() {
    let mut door = Door::new();
    let id = door.world.connect(HERE);
    door.world.send(id, &conversation(b"\0bob\0pw", 5));
    door.allow();
    door.send(id, &declare(b"q"));
    for _ in 0..20 {
        door.world.pass(2_000);
        door.world.hub.may_read(id);
    }
    door.allow();
    assert_eq!(door.world.heard(id).last().map(String::as_str), Some("queue.declare-ok"));
}

/// As with RabbitMQ.
#[test]
fn a_passive_declaration_asks_nobody() {
    let mut door = Door::new();
    let id = door.connect();
    door.send(id, &Method::QueueDeclare(queue::Declare { queue: b"q", passive: true, ..queue::Declare::default() }));
    assert_eq!(door.allow(), [""; 0]);
    assert_eq!(door.world.heard(id), ["channel.close 404 NOT_FOUND - no queue 'q' in vhost '/'"]);
}

#[test]
fn a_command_that_waits_is_not_nobodys_though_many_come_meanwhile() {
    let mut door = Door::new();
    let here = HERE.parse::<std::net::SocketAddr>().unwrap().ip();
    let come = |door: &mut Door| match door.world.hub.ask_who(b"bob", b"pw", None, here) {
        WhoIsIt::Known(Ok(user)) => user,
        _ => panic!("everybody is let in"),
    };
    let asker = Asker::User(come(&mut door));
    let ((commands, receiver), (reply, mut answer)) = (std::sync::mpsc::sync_channel(1), oneshot::channel());
    let mut desk = Desk::new(receiver);
    let change = Change::InVhost { vhost: "/".into(), change: VhostChange::PurgeQueue { name: "none".into(), reply } };
    let request = Request::Change(change);
    let (refused, _refusal) = oneshot::channel();
    commands.send(Command { asker, request, refused }).unwrap();
    desk.ring();
    desk.answer(&mut door.world.hub);
    for what in [&format!("enter / from {here}"), "read queue none"] {
        for _ in 0..1200 {
            come(&mut door);
        }
        assert_eq!(door.answer(true), what);
        desk.answer(&mut door.world.hub);
    }
    assert_eq!(answer.try_recv().unwrap().unwrap_err().code, ReplyCode::NotFound);
}

/// A message in frames, of three bytes, with these routing keys besides.
fn publish_copies(exchange: &[u8], routing_key: &[u8], cc: &[&[u8]], bcc: &[&[u8]]) -> Vec<u8> {
    let keys =
        |keys: &[&[u8]]| FieldValue::Array(keys.iter().map(|key| FieldValue::LongString((*key).into())).collect());
    let headers = FieldTable(vec![("CC".into(), keys(cc)), ("BCC".into(), keys(bcc))]);
    let mut properties = Vec::new();
    BasicProperties { headers: Some(headers), ..BasicProperties::default() }.encode(&mut properties);
    let mut bytes = frame(&Method::BasicPublish(basic::Publish { exchange, routing_key, ..basic::Publish::default() }));
    ContentHeader { class_id: 60, weight: 0, body_size: 3, properties: &properties }.encode_frame(1, &mut bytes);
    bytes.extend_from_slice(&[3, 0, 1, 0, 0, 0, 3, 7, 7, 7, 0xce]);
    bytes
}

#[test]
fn keys_of_copies_are_asked_for_before_a_message_is_taken() {
    let mut door = Door::new();
    let id = door.connect();
    door.send(id, &declare(b"q"));
    let bind = queue::Bind { queue: b"q", exchange: b"amq.topic", routing_key: b"#", ..queue::Bind::default() };
    door.send(id, &Method::QueueBind(bind));
    door.allow();
    door.world.heard(id);
    door.world.send(id, &publish_copies(b"amq.topic", b"a", &[b"c"], &[b"b"]));
    assert_eq!(door.messages_in(b"q"), 0);
    let asked = ["write exchange amq.topic", "write a at amq.topic", "write c at amq.topic", "write b at amq.topic"];
    assert_eq!(door.allow(), asked);
    assert_eq!(door.messages_in(b"q"), 1);
    door.world.send(id, &publish_copies(b"amq.topic", b"a", &[b"c"], &[b"b"]));
    assert_eq!((door.allow(), door.messages_in(b"q")), (Vec::new(), 2), "that is known");
    door.world.send(id, &publish_copies(b"amq.topic", b"a", &[b"c"], &[b"no"]));
    door.answer(false);
    let refused = "channel.close 403 ACCESS_REFUSED - write access to topic 'no' in exchange 'amq.topic' in vhost '/' refused for user 'bob' by somebody";
    assert_eq!(door.world.heard(id), [refused]);
    assert_eq!(door.messages_in(b"q"), 2);
    door.world.hub.broker().census();
}

#[test]
fn what_one_command_left_unasked_is_not_asked_for_another() {
    let mut door = Door::new();
    let (bob, guest) = (door.connect(), door.world.open(0));
    let user = door.visitor();
    for id in [guest, bob] {
        let broker = door.world.hub.broker_mut();
        broker.forget_answers();
        let vhost = broker.vhost_named(b"/").unwrap();
        assert!(!broker.may_enter(broker.user_of(user).unwrap(), vhost));
        let missing = queue::Declare { queue: b"none", passive: true, ..queue::Declare::default() };
        door.send(id, &Method::QueueDeclare(missing));
        assert_eq!(door.world.heard(id), ["channel.close 404 NOT_FOUND - no queue 'none' in vhost '/'"]);
    }
    assert_eq!(door.allow(), [""; 0]);
}

/// Where bob's commands are given that is no AMQP client.
struct Counter {
    desk: Desk,
    commands: SyncSender<Command>,
    bob: UserKey,
}

impl Door {
    fn visitor(&mut self) -> UserKey {
        match self.world.hub.ask_who(b"bob", b"pw", None, [127, 0, 0, 1].into()) {
            WhoIsIt::Known(Ok(user)) => user,
            other => panic!("{other:?}"),
        }
    }

    fn counter(&mut self) -> Counter {
        let (commands, receiver) = sync_channel(1);
        Counter { desk: Desk::new(receiver), commands, bob: self.visitor() }
    }
}

/// What is given at a counter, and where it is told of it: if it is refused, too.
type Given<T> = (oneshot::Receiver<T>, oneshot::Receiver<Refusal>);

impl Counter {
    fn give<T>(&mut self, door: &mut Door, request: impl FnOnce(Reply<T>) -> Request) -> Given<T> {
        let ((reply, answer), (refused, refusal)) = (oneshot::channel(), oneshot::channel());
        self.commands.send(Command { asker: Asker::User(self.bob), request: request(reply), refused }).unwrap();
        self.desk.ring();
        self.desk.answer(&mut door.world.hub);
        (answer, refusal)
    }

    /// As many turns as it has something to do in.
    fn go_on(&mut self, door: &mut Door) {
        self.desk.answer(&mut door.world.hub);
        while self.desk.has_work() {
            self.desk.answer(&mut door.world.hub);
        }
    }

    /// The answer to something in the first virtual host, with all allowed that is asked for, and what that was.
    fn ask<T>(&mut self, door: &mut Door, change: impl FnOnce(Reply<T>) -> VhostChange) -> (T, Vec<String>) {
        let (mut answer, _refusal) =
            self.give(door, |reply| Request::Change(Change::InVhost { vhost: "/".into(), change: change(reply) }));
        let mut asked = Vec::new();
        while !door.elsewhere.asked.borrow().is_empty() {
            asked.push(door.answer(true));
            self.go_on(door);
        }
        (answer.try_recv().expect("it is answered"), asked)
    }
}

/// More virtual hosts than are asked for together.
const VHOSTS: usize = 101;

fn many_vhosts() -> (Door, Counter) {
    let mut door = Door::new();
    for number in 1..VHOSTS {
        door.world.hub.broker_mut().put_vhost(&format!("v{number}"), VhostAttributes::default());
    }
    let counter = door.counter();
    (door, counter)
}

fn list(reply: Reply<Page<Arc<str>>>) -> Request {
    Request::Question(Question::OpenVhosts { from: PageStart::default(), reply })
}

/// And it comes to its end, however long that takes.
#[test]
fn virtual_hosts_are_asked_for_together_when_they_are_listed() {
    let (mut door, mut counter) = many_vhosts();
    let (mut answer, _refusal) = counter.give(&mut door, list);
    let mut together = Vec::new();
    while !door.elsewhere.asked.borrow().is_empty() {
        let count = door.elsewhere.asked.borrow().len();
        together.push(count);
        for number in 0..count {
            door.world.pass(2_000);
            door.answer(number % 2 == 0);
        }
        counter.go_on(&mut door);
    }
    assert_eq!(together, [64, VHOSTS - 64]);
    assert_eq!(answer.try_recv().map(|page| page.items.len()), Ok(51));
}

#[test]
fn nobody_is_asked_for_a_client_that_has_gone() {
    let (mut door, mut counter) = many_vhosts();
    drop(counter.give(&mut door, list));
    door.answer(true);
    counter.go_on(&mut door);
    assert_eq!(door.elsewhere.forgotten.borrow().len(), 63);
    door.allow();
    counter.go_on(&mut door);
    assert_eq!(door.allow(), [""; 0]);
}

fn log_in_later(reply: Reply<Result<Visitor, NotLetIn>>) -> Request {
    let (name, password) = (LATER.to_vec(), b"pw".to_vec());
    Request::Question(Question::LogIn(Login { name, password, peer: [127, 0, 0, 1].into(), vhost: None, reply }))
}

#[test]
fn a_visitor_who_has_gone_does_not_wait_to_be_let_in() {
    let mut door = Door::new();
    let mut counter = door.counter();
    let mut stay = counter.give(&mut door, log_in_later);
    drop(counter.give(&mut door, log_in_later));
    for _ in 0..3 {
        drop(counter.give(&mut door, log_in_later));
    }
    assert_eq!(door.elsewhere.forgotten.borrow().len(), 3, "all but the last");
    assert!(matches!(stay.0.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "who is there waits");
}

struct Listener;

impl TailListener for Listener {
    fn tell(&mut self, _: Box<TailedMessage>) -> bool {
        true
    }

    fn is_gone(&self) -> bool {
        false
    }
}

#[test]
fn a_tail_goes_on_when_what_let_it_begin_is_asked_again() {
    let mut door = Door::new();
    let client = door.connect();
    door.send(client, &declare(b"q"));
    door.allow();
    let mut counter = door.counter();
    let tail = |of| {
        move |reply| {
            let tail = Box::new(TailSpec { of, filter: TailFilter::default(), rate: 1, body_max_bytes: 1 });
            VhostChange::StartTail { tail, listener: Box::new(Listener), reply }
        }
    };
    for (of, asked) in [
        (TailOf::Queue("q".into()), "read queue q"),
        (TailOf::Exchange("amq.direct".into()), "read exchange amq.direct"),
    ] {
        let (id, needed) = counter.ask(&mut door, tail(of));
        assert_eq!(needed.last().map(String::as_str), Some(asked));
        let id = id.unwrap();
        door.world.pass(KNOWN_FOR_MS + 1);
        let (counts, needed) = counter.ask(&mut door, |reply| VhostChange::CountTail { id, reply });
        assert_eq!(counts, Ok(Some(TailCounts::default())));
        assert_eq!(needed, ["enter / from 127.0.0.1", asked]);
    }
    for (exchange, said) in [("amq.topic", "exchange 'amq.topic' in vhost '/'"), ("", "exchange '' in vhost '/'")] {
        let (refused, _) = counter.ask(&mut door, tail(TailOf::Exchange(exchange.into())));
        let refused = refused.unwrap_err().explanation;
        assert_eq!(refused, format!("{said} can't be tailed: others would have to be asked about every routing key"));
    }
}
