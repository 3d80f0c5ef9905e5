//! Clients who log in by a token: what they may do, how a token follows another, and how it ends.

use super::tests::{HERE, World, conversation};
use super::{MayRead, WhoIsIt, hub_settings};
use crate::access::{Bearer, Powers, Scopes, Tags};
use crate::broker::{ConnectionId, TailFilter, TailListener, TailOf, TailSpec, TailedMessage, UserKey};
use crate::config::Config;
use crate::connection::{Doorkeeper, LoginRequest, LoginTicket, Refusal, Verdict};
use crate::protocol::Method;
use crate::protocol::method::{connection, queue};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const REFUSED: Verdict = Verdict::Refused(Refusal::InvalidCredentials);
const SECRET_REFUSED: &str = "connection.close 530 NOT_ALLOWED - New secret was refused by one of the backends";

/// Lets in by the next verdict that the test gives.
#[derive(Clone, Default)]
struct Issuer {
    asked: Rc<RefCell<Vec<(LoginTicket, String)>>>,
    answers: Rc<RefCell<Vec<(LoginTicket, Verdict)>>>,
    forgotten: Rc<RefCell<Vec<LoginTicket>>>,
}

impl Doorkeeper for Issuer {
    fn ask(&self, LoginRequest { ticket, credentials, .. }: LoginRequest) -> Option<Verdict> {
        self.asked.borrow_mut().push((ticket, String::from_utf8_lossy(&credentials.password).into_owned()));
        None
    }

    fn forget(&self, ticket: LoginTicket) {
        self.forgotten.borrow_mut().push(ticket);
    }

    fn next_verdict(&self, _: u64) -> Option<(LoginTicket, Verdict)> {
        self.answers.borrow_mut().pop()
    }
}

fn bearer(name: &str, scopes: &[&str], expires_unix_ms: Option<u64>) -> Verdict {
    let powers = Powers::Scopes(Scopes::read(scopes.iter().copied(), |_| None));
    Verdict::Bearer(Arc::new(Bearer { name: name.into(), tags: Arc::new(Tags::default()), powers, expires_unix_ms }))
}

struct Door {
    world: World,
    issuer: Issuer,
}

impl Door {
    fn new() -> Self {
        let issuer = Issuer::default();
        let mut settings = hub_settings(&Config::default(), [7; 32], 0);
        settings.connection.doorkeeper = Box::new(issuer.clone());
        Self { world: World::with_settings(settings), issuer }
    }

    /// Answers who was asked for last.
    fn answer(&mut self, verdict: Verdict) {
        let (ticket, _) = self.issuer.asked.borrow_mut().pop().expect("somebody is asked for");
        self.issuer.answers.borrow_mut().push((ticket, verdict));
        self.world.pass(0);
    }

    /// A client with an open channel.
    fn connect(&mut self, verdict: Verdict) -> ConnectionId {
        let id = self.world.connect(HERE);
        self.world.send(id, &conversation(b"\0guest\0token", 0));
        self.answer(verdict);
        let heard = self.world.heard(id);
        assert_eq!(heard, ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]);
        id
    }

    fn update(&mut self, id: ConnectionId, token: &[u8]) {
        let update = Method::ConnectionUpdateSecret(connection::UpdateSecret { new_secret: token, reason: b"time" });
        self.world.send(id, &frame(0, &update));
    }
}

fn frame(channel: u16, method: &Method<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    method.encode_frame(channel, &mut frame);
    frame
}

fn declare(name: &[u8]) -> Vec<u8> {
    frame(1, &Method::QueueDeclare(queue::Declare { queue: name, ..queue::Declare::default() }))
}

#[test]
fn a_client_is_who_its_token_says_and_may_what_that_says() {
    let mut door = Door::new();
    let id = door.connect(bearer("bob", &["configure:*/a"], None));
    assert_eq!(door.world.hub.connections().get(id).unwrap().user(), Some("bob"));
    door.world.send(id, &declare(b"a"));
    assert_eq!(door.world.heard(id), ["queue.declare-ok"]);
    door.world.send(id, &declare(b"b"));
    let refused =
        "channel.close 403 ACCESS_REFUSED - configure access to queue 'b' in vhost '/' refused for user 'bob'";
    assert_eq!(door.world.heard(id), [refused]);
    let id = door.world.connect(HERE);
    door.world.send(id, &conversation(b"\0guest\0guest", 0));
    door.answer(bearer("bob", &["configure:other/a"], None));
    let refused = "connection.close 530 NOT_ALLOWED - access to vhost '/' refused for user 'bob'";
    assert_eq!(door.world.heard(id), ["connection.start", "connection.tune", refused]);
    door.world.hub.broker().census();
}

#[test]
fn what_is_said_behind_another_token_is_done_with_that_one() {
    let mut door = Door::new();
    let id = door.connect(bearer("bob", &["configure:*/a"], None));
    door.update(id, b"second");
    door.world.send(id, &declare(b"b"));
    assert_eq!(door.world.heard(id), [""; 0], "it is found out");
    assert_eq!(door.world.hub.may_read(id), MayRead::WhenResumed);
    assert_eq!(door.issuer.asked.borrow().last().unwrap().1, "second");
    door.answer(bearer("bob", &["configure:*/b"], None));
    assert_eq!(door.world.heard(id), ["connection.update-secret-ok", "queue.declare-ok"]);
    assert_eq!(door.world.hub.may_read(id), MayRead::Now);
    door.update(id, b"third");
    door.answer(bearer("bob", &["configure:*/b"], None));
    assert_eq!(door.world.heard(id), ["connection.update-secret-ok"]);
    assert!(door.issuer.asked.borrow().is_empty(), "each token is asked for once");
}

#[test]
fn a_token_that_is_bad_or_anothers_ends_the_connection() {
    for verdict in [REFUSED, Verdict::Allowed, bearer("alice", &["configure:*/a"], None)] {
        let mut door = Door::new();
        let id = door.connect(bearer("bob", &["configure:*/a"], None));
        door.update(id, b"second");
        door.answer(verdict);
        assert_eq!(door.world.heard(id), [SECRET_REFUSED]);
    }
    let mut door = Door::new();
    let id = door.connect(bearer("bob", &["configure:*/a"], None));
    door.update(id, b"second");
    door.answer(bearer("bob", &["configure:other/a"], None));
    let refused = "connection.close 530 NOT_ALLOWED - access to vhost '/' refused for user 'bob'";
    assert_eq!(door.world.heard(id), [refused]);
}

#[test]
fn an_answer_for_somebody_who_hung_up_is_for_nobody() {
    let mut door = Door::new();
    let id = door.connect(bearer("bob", &["configure:*/a"], None));
    door.update(id, b"second");
    let (ticket, _) = door.issuer.asked.borrow_mut().pop().unwrap();
    door.world.hub.disconnect(id);
    assert_eq!(*door.issuer.forgotten.borrow(), [ticket]);
    door.issuer.answers.borrow_mut().push((ticket, REFUSED));
    door.world.pass(0);
    door.world.hub.broker().census();
}

#[test]
fn a_connection_ends_with_its_token_unless_another_follows() {
    let expired = "connection.close 320 CONNECTION_FORCED - credential expired";
    let mut door = Door::new();
    let id = door.connect(bearer("bob", &["configure:*/a"], Some(30_000)));
    let forever = door.connect(bearer("bob", &["configure:*/a"], None));
    door.world.pass(29_000);
    assert_eq!(door.world.heard(id), [""; 0]);
    door.update(id, b"second");
    door.answer(bearer("bob", &["configure:*/a"], Some(60_000)));
    assert_eq!(door.world.heard(id), ["connection.update-secret-ok"]);
    door.world.pass(30_900);
    assert_eq!(door.world.heard(id), [""; 0]);
    door.world.pass(200);
    assert_eq!(door.world.heard(id), [expired]);
    assert_eq!(door.world.heard(forever), [""; 0]);
    door.world.hub.broker().census();
}

fn visit(door: &mut Door, verdict: &Verdict) -> (UserKey, String) {
    let here = HERE.parse::<std::net::SocketAddr>().unwrap().ip();
    let WhoIsIt::Later(number) = door.world.hub.ask_who(b"", b"token", None, here) else { panic!("it takes its time") };
    door.answer(verdict.clone());
    let (answered, found) = door.world.hub.next_visitor().unwrap();
    assert_eq!(answered, number);
    let user = found.unwrap();
    (user, door.world.hub.broker().user(user).unwrap().name.to_string())
}

#[test]
fn a_visitor_is_one_user_as_long_as_it_shows_the_same_token() {
    let mut door = Door::new();
    let bob = bearer("bob", &["read:*/*"], None);
    let first = visit(&mut door, &bob);
    assert_eq!(first.1, "bob");
    assert_eq!(visit(&mut door, &bob), first);
    let other = visit(&mut door, &bearer("bob", &["read:*/*"], None));
    assert_ne!(other.0, first.0, "another token of the same user");
    for number in 0..1024 {
        visit(&mut door, &bearer(&number.to_string(), &[], None));
    }
    assert_eq!(door.world.hub.broker().user_of(first.0), None, "there were others since");
    assert_ne!(visit(&mut door, &bob).0, first.0);
}

struct NobodyListens;

impl TailListener for NobodyListens {
    fn tell(&mut self, _: Box<TailedMessage>) -> bool {
        false
    }

    fn is_gone(&self) -> bool {
        false
    }
}

#[test]
fn a_visitor_of_whom_something_is_under_way_stays_though_many_come() {
    let mut door = Door::new();
    let bearers = [bearer("bob", &["read:*/*"], None), bearer("ann", &["read:*/*"], None)];
    let [follower, waiting] = bearers.each_ref().map(|bearer| visit(&mut door, bearer).0);
    let hub = &mut door.world.hub;
    let (user, vhost) = (hub.broker().user_of(follower).unwrap(), hub.broker().vhost_named(b"/").unwrap());
    let of = TailOf::Exchange("amq.topic".into());
    let spec = TailSpec { of, filter: TailFilter::default(), rate: 1, body_max_bytes: 1 };
    let tail = hub.directly(user, vhost, |direct| {
        direct.broker.start_tail(direct.caller, spec, Box::new(NobodyListens)).unwrap()
    });
    hub.waits(waiting);
    hub.waits(waiting);
    hub.does_not_wait(waiting);
    let many_come = |door: &mut Door| {
        (0..1200).for_each(|number| drop(visit(door, &bearer(&number.to_string(), &[], None))));
        [follower, waiting].map(|user| door.world.hub.broker().user_of(user).is_some())
    };
    assert_eq!(many_come(&mut door), [true, true]);
    door.world.hub.does_not_wait(waiting);
    assert_eq!(many_come(&mut door), [true, false]);
    door.world.hub.directly(user, vhost, |direct| direct.broker.end_tail(direct.caller, tail));
    assert_eq!(many_come(&mut door), [false, false]);
}

#[test]
fn a_visitor_goes_when_its_token_expires_whatever_is_under_way() {
    let mut door = Door::new();
    let (waiting, _) = visit(&mut door, &bearer("bob", &["read:*/*"], Some(1000)));
    door.world.hub.waits(waiting);
    door.world.pass(2000);
    visit(&mut door, &bearer("ann", &[], None));
    assert_eq!(door.world.hub.broker().user_of(waiting), None);
}
