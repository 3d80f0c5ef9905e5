//! Logins whose answers take their time: the same outcome as at once, and nothing for whoever is gone by then.

use super::tests::{HERE, World, conversation};
use super::{MayRead, WhoIsIt, hub_settings};
use crate::access::{PasswordHash, Tags};
use crate::broker::ConnectionId;
use crate::config::Config;
use crate::connection::{CloseReason, Doorkeeper, LoginRequest, LoginTicket, Mechanism, Phase, Refusal, Verdict};
use crate::protocol::Method;
use crate::protocol::frame::PROTOCOL_HEADER;
use crate::protocol::method::connection;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const GUEST: &[u8] = b"\0guest\0guest";
const NOBODY: &[u8] = b"\0guest\0guess";
const REFUSED: &str = "connection.close 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For \
                       details see the broker logfile.";

const UNKNOWN: Refusal = Refusal::InvalidCredentials;

type Answers = Rc<RefCell<Vec<(LoginTicket, Verdict)>>>;

#[derive(Clone, Default)]
struct Slow {
    /// Who waits for an answer, and what it will be.
    asked: Answers,
    /// Answers that nobody took yet.
    answered: Answers,
    /// Who doesn't wait any more.
    forgotten: Rc<RefCell<Vec<LoginTicket>>>,
}

impl Doorkeeper for Slow {
    fn ask(&self, LoginRequest { ticket, credentials, .. }: LoginRequest) -> Option<Verdict> {
        let is_guest = &*credentials.password == b"guest";
        self.asked
            .borrow_mut()
            .push((ticket, if is_guest { Verdict::Allowed } else { Verdict::Refused(Refusal::InvalidCredentials) }));
        None
    }

    fn forget(&self, ticket: LoginTicket) {
        self.forgotten.borrow_mut().push(ticket);
    }

    fn next_verdict(&self, _: u64) -> Option<(LoginTicket, Verdict)> {
        self.answered.borrow_mut().pop()
    }
}

impl Slow {
    fn world() -> (World, Self) {
        let slow = Self::default();
        let mut settings = hub_settings(&Config::default(), [7; 32], 0);
        settings.connection.doorkeeper = Box::new(slow.clone());
        settings.connection.mechanisms.push(Mechanism::RabbitCrDemo);
        (World::with_settings(settings), slow)
    }

    /// Whoever was asked for waits no more, and the doorkeeper knows it.
    fn assert_forgotten(&self) {
        let asked: Vec<_> = self.asked.borrow().iter().map(|(ticket, _)| *ticket).collect();
        assert_eq!(*self.forgotten.borrow(), asked);
    }

    fn answer_all(&self, world: &mut World) {
        self.asked.take().into_iter().for_each(|answer| self.answer(world, answer));
    }

    fn answer(&self, world: &mut World, answer: (LoginTicket, Verdict)) {
        self.answered.borrow_mut().push(answer);
        world.pass(0);
    }
}

fn phase(world: &World, id: ConnectionId) -> Phase {
    world.hub.connections().get(id).expect("it is connected").phase()
}

#[test]
fn wherever_what_a_client_says_is_cut_it_hears_the_same_as_if_it_were_answered_at_once() {
    for response in [GUEST, NOBODY] {
        let said = conversation(response, 0);
        let mut at_once = World::new();
        let id = at_once.connect(HERE);
        at_once.send(id, &said);
        let expected = at_once.heard(id);
        for cut in 0..=said.len() {
            let (mut world, slow) = Slow::world();
            let id = world.connect(HERE);
            world.send(id, &said[..cut]);
            slow.answer_all(&mut world);
            world.send(id, &said[cut..]);
            slow.answer_all(&mut world);
            assert_eq!(world.heard(id), expected, "cut at {cut}");
        }
    }
}

#[test]
fn nothing_more_is_read_or_handled_while_a_login_is_checked() {
    let (mut world, slow) = Slow::world();
    let id = world.connect(HERE);
    let said = conversation(GUEST, 0);
    world.send(id, &said);
    assert_eq!(world.heard(id), ["connection.start"]);
    assert_eq!(world.hub.may_read(id), MayRead::WhenLoggedIn);
    let kept = world.hub.connections().get(id).unwrap().partial_len();
    assert!((1..said.len()).contains(&kept), "what came behind is kept");
    assert_eq!(world.take_unblocked(), []);
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), ["connection.tune", "connection.open-ok", "channel.open-ok"]);
    assert_eq!(world.take_unblocked(), [id]);
    assert_eq!(world.hub.may_read(id), MayRead::Now);
}

#[test]
fn a_login_that_takes_too_long_ends_with_the_handshake_and_its_answer_is_for_nobody() {
    let (mut world, slow) = Slow::world();
    let id = world.connect(HERE);
    world.send(id, &conversation(GUEST, 0));
    world.heard(id);
    assert_eq!(world.until_over(id), (vec![], 10_000));
    assert_eq!(world.hub.connections().get(id).unwrap().close_reason(), Some(&CloseReason::HandshakeTimeout));
    slow.assert_forgotten();
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), [""; 0]);
    assert_eq!(phase(&world, id), Phase::Closed);
}

#[test]
fn an_answer_for_somebody_who_hung_up_lets_nobody_else_in() {
    let (mut world, slow) = Slow::world();
    let gone = world.connect(HERE);
    world.send(gone, &conversation(GUEST, 0));
    world.hub.disconnect(gone);
    slow.assert_forgotten();
    let late = slow.asked.take();
    late.iter().for_each(|answer| slow.answer(&mut world, answer.clone()));
    // Another has its id, waits for its own answer, and is not let in by that.
    let id = world.connect(HERE);
    assert_eq!(id, gone);
    world.send(id, &conversation(NOBODY, 0));
    late.iter().for_each(|answer| slow.answer(&mut world, answer.clone()));
    assert_eq!(world.heard(id), ["connection.start"]);
    assert_eq!(phase(&world, id), Phase::AwaitingLogin);
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), [REFUSED]);
}

#[test]
fn only_the_first_answer_counts() {
    let (mut world, slow) = Slow::world();
    let id = world.connect(HERE);
    world.send(id, &conversation(NOBODY, 0));
    let [(ticket, verdict)] = &slow.asked.take()[..] else { panic!("one question") };
    let (ticket, verdict) = (*ticket, verdict.clone());
    slow.answer(&mut world, (ticket, verdict));
    slow.answer(&mut world, (ticket, Verdict::Allowed));
    assert_eq!(world.heard(id), ["connection.start", REFUSED]);
    assert_eq!(phase(&world, id), Phase::Closing);
}

#[test]
fn a_broker_that_stops_does_not_wait_for_logins() {
    let (mut world, slow) = Slow::world();
    let id = world.connect(HERE);
    world.send(id, &conversation(GUEST, 0));
    world.heard(id);
    world.hub.close_where(|_| true, "because");
    slow.assert_forgotten();
    assert_eq!(world.take_unblocked(), [id], "its end of the stream is to be read");
    assert_eq!(world.hub.may_read(id), MayRead::Now);
    assert!(world.hub.outboxes().get(id).is_finished());
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), [""; 0]);
    assert!(world.hub.outboxes().get(id).is_finished());
}

/// Everything up to here was said, and the client waits for its answer.
fn waiting() -> (World, Slow, ConnectionId) {
    let (mut world, slow) = Slow::world();
    let id = world.connect(HERE);
    world.send(id, &conversation(GUEST, 0));
    assert_eq!(world.heard(id), ["connection.start"]);
    (world, slow, id)
}

#[test]
fn a_password_that_is_changed_while_it_is_checked_lets_nobody_in() {
    let (mut world, slow, id) = waiting();
    let guest = world.hub.broker().find_user(b"guest").expect("the first user");
    let user = world.hub.broker().user_of(guest).expect("it is there");
    world.hub.broker_mut().change_password(user, PasswordHash::salted_sha256(b"another", [1; 4]));
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), [REFUSED]);
}

#[test]
fn a_user_that_is_deleted_while_its_password_is_checked_does_not_come_in_and_neither_does_the_next_of_that_name() {
    let (mut world, slow, id) = waiting();
    let user = world.hub.broker().find_user(b"guest").and_then(|key| world.hub.broker().user_of(key));
    world.hub.delete_user(user.expect("the first user"));
    world.hub.broker_mut().put_user("guest", PasswordHash::salted_sha256(b"guest", [1; 4]), Tags::default());
    slow.answer_all(&mut world);
    assert_eq!(world.heard(id), [REFUSED]);
}

#[test]
fn a_user_that_is_deleted_after_it_logged_in_is_refused_by_its_name() {
    let mut world = World::new();
    let id = world.connect(HERE);
    let said = conversation(GUEST, 0);
    let mut open = Vec::new();
    Method::ConnectionOpen(connection::Open { virtual_host: b"/" }).encode_frame(0, &mut open);
    let at = said.windows(open.len()).position(|window| window == open).expect("it opens a virtual host");
    world.send(id, &said[..at]);
    assert_eq!(world.heard(id), ["connection.start", "connection.tune"]);
    let user = world.hub.broker().find_user(b"guest").and_then(|key| world.hub.broker().user_of(key));
    world.hub.delete_user(user.expect("the first user"));
    world.send(id, &open);
    let refused = "connection.close 530 NOT_ALLOWED - access to vhost '/' refused for user 'guest'";
    assert_eq!(world.heard(id), [refused]);
}

#[test]
fn somebody_without_a_connection_is_answered_by_number() {
    let (mut world, slow, id) = waiting();
    let here = HERE.parse::<std::net::SocketAddr>().unwrap().ip();
    let guest = world.hub.broker().find_user(b"guest");
    let numbers = [&b"guest"[..], b"wrong"].map(|password| match world.hub.ask_who(b"guest", password, None, here) {
        WhoIsIt::Later(number) => number,
        WhoIsIt::Known(_) => panic!("it takes its time"),
    });
    assert_eq!(world.hub.next_visitor(), None);
    slow.answer_all(&mut world);
    world.pass(0);
    let answers: BTreeMap<_, _> = std::iter::from_fn(|| world.hub.next_visitor()).collect();
    let expected = [(numbers[0], guest.ok_or(UNKNOWN)), (numbers[1], Err(UNKNOWN))];
    assert_eq!(answers, BTreeMap::from(expected));
    assert_eq!(world.heard(id).len(), 3, "and the client by its connection");

    let mut world = World::new();
    let guest = world.hub.broker().find_user(b"guest").ok_or(UNKNOWN);
    let elsewhere = "192.0.2.7".parse().unwrap();
    for (name, password, peer, found) in [
        ("guest", "guest", here, guest),
        ("guest", "wrong", here, Err(UNKNOWN)),
        ("nobody", "guest", here, Err(UNKNOWN)),
        ("guest", "guest", elsewhere, Err(Refusal::NotFromThere)),
        ("guest", "wrong", elsewhere, Err(UNKNOWN)),
    ] {
        let known = world.hub.ask_who(name.as_bytes(), password.as_bytes(), None, peer);
        assert_eq!(known, WhoIsIt::Known(found), "{name} {password} {peer}");
    }
}

proptest! {
    /// Nobody is let in but by the password, at most one login is checked, and whoever says something else is dropped.
    #[test]
    fn whatever_a_client_says_to_be_let_in(
        mechanism in prop::sample::select(vec!["PLAIN", "AMQPLAIN", "RABBIT-CR-DEMO", "", "plain"]),
        response in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..30),
            Just(GUEST.to_vec()),
            Just(b"guest".to_vec()),
            Just(b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest".to_vec()),
        ],
        answer in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..30),
            Just(b"My password is guest".to_vec()),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|rest| [&b"My password is "[..], &rest].concat()),
        ],
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut world, slow) = Slow::world();
        let id = world.connect(HERE);
        let mut said = PROTOCOL_HEADER.to_vec();
        let start_ok = connection::StartOk {
            mechanism: mechanism.as_bytes(),
            response: &response,
            locale: b"en_US",
            ..connection::StartOk::default()
        };
        Method::ConnectionStartOk(start_ok).encode_frame(0, &mut said);
        Method::ConnectionSecureOk(connection::SecureOk { response: &answer }).encode_frame(0, &mut said);
        let cut = cut.index(said.len());
        world.send(id, &said[..cut]);
        world.send(id, &said[cut..]);
        prop_assert!(slow.asked.borrow().len() <= 1);
        let is_password = slow.asked.borrow().iter().any(|(_, verdict)| *verdict == Verdict::Allowed);
        let is_guest = is_password && (mechanism != "RABBIT-CR-DEMO" || response == b"guest");
        slow.answer_all(&mut world);
        let heard = world.heard(id);
        prop_assert_eq!(heard.contains(&"connection.tune".to_owned()), is_guest, "{:?}", heard);
        // The answer to a challenge that was not made is out of turn.
        let ended = matches!(phase(&world, id), Phase::Doomed | Phase::Closing);
        prop_assert_eq!(ended, !(is_guest && mechanism == "RABBIT-CR-DEMO"), "{:?}", phase(&world, id));
    }
}
