//! Who is let in, who waits for how long, and what is known: on a clock that the test moves, with a checker that it steps.

use super::known::{KNOWN_FOR_MS, KNOWN_MAX};
use super::waiting::{ASKERS_MAX, Asker, PLACES_MAX, Question, Waiting};
use super::*;
use crate::broker::ConnectionId;
use crate::connection::{Credentials, Mechanism};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "192.0.2.7";
const REFUSED: Verdict = Verdict::Refused(Refusal::InvalidCredentials);

/// A checker that is done when the test says so.
#[derive(Clone, Default)]
struct Stepped {
    begun: Rc<RefCell<Option<Box<[u8]>>>>,
    outcome: Rc<RefCell<Option<bool>>>,
}

impl Checker for Stepped {
    fn begin(&mut self, _: Arc<PasswordHash>, password: Box<[u8]>) {
        assert_eq!((self.begun.replace(Some(password)), *self.outcome.borrow()), (None, None), "one at a time");
    }

    fn outcome(&mut self) -> Option<bool> {
        self.outcome.take()
    }
}

struct Door {
    keeper: PasswordDoorkeeper,
    checker: Stepped,
    asked: u64,
    now_ms: u64,
}

/// Somebody's hash of the slow kind. The checker of these tests never looks into it.
fn slow_hash(salt: u8) -> Arc<PasswordHash> {
    let salt = char::from(b'a' + salt).to_string().repeat(20);
    let text = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    Arc::new(PasswordHash::parse(&text).expect("a hash"))
}

impl Door {
    fn new() -> Self {
        let checker = Stepped::default();
        let keeper = PasswordDoorkeeper::new(&["guest".to_owned()], [7; 32], Box::new(checker.clone()));
        Self { keeper, checker, asked: 0, now_ms: 0 }
    }

    fn ask_with(&mut self, from: &str, user: &str, password: &str, hash: Option<Arc<PasswordHash>>) -> Option<Verdict> {
        self.asked += 1;
        let ticket = LoginTicket { connection: Some(ConnectionId(0)), serial: self.asked };
        let (user, password) = (user.as_bytes().into(), password.as_bytes().into());
        let credentials = Credentials { mechanism: Mechanism::Plain, user, password };
        let peer: IpAddr = from.parse().unwrap();
        let now_ms = self.now_ms;
        self.keeper.ask(LoginRequest { ticket, credentials, password: hash, tags: None, vhost: None, peer, now_ms })
    }

    /// Asks for a user whose hash takes its time.
    fn ask(&mut self, from: &str, user: &str, password: &str) -> Option<Verdict> {
        self.ask_with(from, user, password, Some(slow_hash(0)))
    }

    /// The checker finishes what it is at: it is right if the password is `right`. Says what was checked.
    fn step(&mut self) -> Option<String> {
        let password = self.checker.begun.take()?;
        self.checker.outcome.replace(Some(&*password == b"right"));
        self.keeper.state.borrow_mut().go_on(self.now_ms);
        Some(String::from_utf8(password.into()).unwrap())
    }

    fn steps(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.step()).collect()
    }

    /// Who was answered since this was last asked.
    fn verdicts(&mut self) -> Vec<(u64, Verdict)> {
        let verdicts = std::iter::from_fn(|| self.keeper.next_verdict(self.now_ms));
        verdicts.map(|(ticket, verdict)| (ticket.serial, verdict)).collect()
    }
}

#[test]
fn a_quick_hash_lets_in_at_once_and_whoever_is_refused_waits_for_a_slow_one() {
    let mut door = Door::new();
    let hash = Arc::new(PasswordHash::salted_sha256(b"right", [1; 4]));
    assert_eq!(door.ask_with(ELSEWHERE, "u", "right", Some(hash.clone())), Some(Verdict::Allowed));
    assert_eq!(door.steps(), [""; 0]);
    for (user, password, hash) in [
        ("u", "wrong", Some(hash.clone())),
        ("u", "", Some(hash)),
        ("u", "", Some(slow_hash(0))),
        ("nobody", "right", None),
        ("none", "right", Some(Arc::new(PasswordHash::Absent))),
        ("guest", "right", Some(slow_hash(0))),
        // Known to be right, and still not at once.
        ("guest", "right", Some(slow_hash(0))),
    ] {
        assert_eq!(door.ask_with(ELSEWHERE, user, password, hash), None, "{user} {password}");
        assert_eq!(door.steps(), [password], "{user} {password}");
        let is_from_elsewhere = user == "guest" && password == "right";
        let why = if is_from_elsewhere { Refusal::NotFromThere } else { Refusal::InvalidCredentials };
        assert_eq!(door.verdicts(), [(door.asked, Verdict::Refused(why))], "{user} {password}");
        // What was wrong is not known to be right.
        assert_eq!(door.keeper.state.borrow().known.len(), usize::from(is_from_elsewhere));
    }
}

#[test]
fn a_loopback_user_comes_from_this_machine_however_its_address_is_written() {
    let mut door = Door::new();
    for (from, verdict) in [
        (HERE, Verdict::Allowed),
        ("127.9.9.9", Verdict::Allowed),
        ("::1", Verdict::Allowed),
        ("::ffff:127.0.0.1", Verdict::Allowed),
        ("::ffff:192.0.2.7", Verdict::Refused(Refusal::NotFromThere)),
        ("2001:db8::1", Verdict::Refused(Refusal::NotFromThere)),
    ] {
        let mut heard = Vec::from_iter(door.ask(from, "guest", "right").map(|verdict| (door.asked, verdict)));
        door.steps();
        heard.extend(door.verdicts());
        assert_eq!(heard, [(door.asked, verdict)], "{from}");
    }
}

#[test]
fn what_was_right_is_known_until_its_time_is_up_or_the_hash_is_another() {
    let mut door = Door::new();
    assert_eq!(door.ask(HERE, "u", "right"), None);
    door.steps();
    assert_eq!(door.verdicts(), [(1, Verdict::Allowed)]);
    door.now_ms = KNOWN_FOR_MS - 1;
    assert_eq!(door.ask(ELSEWHERE, "u", "right"), Some(Verdict::Allowed), "from wherever");
    assert_eq!(door.ask(HERE, "u", "wrong"), None);
    assert_eq!(door.ask(HERE, "somebody else", "right"), None);
    assert_eq!(door.ask_with(HERE, "u", "right", Some(slow_hash(1))), None, "the password was set anew");
    assert_eq!(door.ask_with(HERE, "u", "right", None), None, "the user was deleted");
    door.steps();
    assert_eq!(door.verdicts(), [(3, REFUSED), (4, Verdict::Allowed), (5, Verdict::Allowed), (6, REFUSED)]);
    assert_eq!(door.ask(HERE, "u", "right"), None, "of each user one password is known, the last");
    door.steps();
    door.verdicts();
    assert_eq!(door.ask(HERE, "u", "right"), Some(Verdict::Allowed));
    door.now_ms += KNOWN_FOR_MS;
    assert_eq!(door.ask(HERE, "u", "right"), None);
    assert_eq!(door.keeper.state.borrow().known.len(), 0);
}

#[test]
fn no_more_users_are_known_than_there_is_room_for() {
    let mut known = Known::default();
    let key = FingerprintKey::new([7; 32]);
    let fingerprint = key.fingerprint(b"u", &slow_hash(0), b"right");
    let other = key.fingerprint(b"u", &slow_hash(0), b"wrong");
    let user = |number: usize| number.to_string().into_bytes().into_boxed_slice();
    for number in 0..KNOWN_MAX * 2 {
        known.note(user(number), fingerprint, number as u64);
        assert!(known.holds(&user(number), fingerprint, number as u64));
        assert!(!known.holds(&user(number), other, number as u64));
    }
    assert_eq!(known.len(), KNOWN_MAX);
    assert!(!known.holds(&user(KNOWN_MAX - 1), fingerprint, 0));
    // The same user again and again takes no more room.
    for now_ms in 0..KNOWN_MAX as u64 * 2 {
        known.note(user(0), fingerprint, KNOWN_MAX as u64 * 2 + now_ms);
    }
    assert_eq!(known.len(), 1);
}

#[test]
fn the_same_question_is_asked_once_however_many_ask_it() {
    let mut door = Door::new();
    for _ in 0..64 {
        assert_eq!(door.ask(HERE, "u", "right"), None);
        assert_eq!(door.ask(ELSEWHERE, "u", "wrong"), None);
    }
    assert_eq!(door.steps(), ["right", "wrong"]);
    let verdicts = BTreeMap::from_iter(door.verdicts());
    assert_eq!(verdicts.len(), 128, "each has its answer");
    assert!(verdicts.iter().all(|(serial, verdict)| (*verdict == Verdict::Allowed) == (serial % 2 == 1)));
}

#[test]
fn how_long_a_guess_takes_does_not_tell_which_users_there_are() {
    let users = [("argon2id's", Some(slow_hash(0))), ("quick", Some(Arc::new(PasswordHash::Absent))), ("nobody", None)];
    for (user, hash) in users {
        let mut door = Door::new();
        door.ask_with(ELSEWHERE, "nobody else", "guess", None);
        door.ask_with(ELSEWHERE, user, "guess", hash.clone());
        door.ask_with(ELSEWHERE, user, "guess", hash);
        assert_eq!(door.steps(), ["guess", "guess"], "whatever {user} is, it is asked for apart, and once");
        assert_eq!(door.verdicts(), [(1, REFUSED), (2, REFUSED), (3, REFUSED)]);
    }
}

#[test]
fn a_guesser_makes_nobody_wait_but_who_is_at_the_same_place() {
    let mut door = Door::new();
    for guess in 0..100 {
        assert_eq!(door.ask(ELSEWHERE, "u", &guess.to_string()), None);
        assert_eq!(door.ask("2001:db8::77", "u", &format!("guess {guess}")), None);
    }
    assert_eq!(door.ask(HERE, "u", "right"), None);
    assert_eq!(door.ask("2001:db8::99", "u", "its neighbour"), None, "an IPv6 network is one place");
    let order = door.steps();
    let place_of = |password: &str| order.iter().position(|checked| checked == password).unwrap();
    assert!(place_of("right") <= 3, "behind one of each place: {:?}", &order[..4]);
    assert!(place_of("its neighbour") > 150);
    assert_eq!(order.len(), 202);
}

#[test]
fn when_too_many_wait_the_longest_line_gets_shorter() {
    let mut door = Door::new();
    for guess in 0..PLACES_MAX + 100 {
        let asked = door.ask(ELSEWHERE, "u", &guess.to_string());
        // One is being checked, and so many wait; the others hear at once.
        assert_eq!(asked, (guess > PLACES_MAX).then_some(REFUSED), "{guess}");
    }
    assert_eq!(door.ask(HERE, "u", "right"), None);
    assert!(door.keeper.has_verdict(), "somebody was turned away for that");
    assert_eq!(door.verdicts(), [(PLACES_MAX as u64 + 1, REFUSED)], "the guesser who came last");
    assert_eq!(door.keeper.state.borrow().waiting.sizes(), (PLACES_MAX, PLACES_MAX));
    assert_eq!(door.steps()[..3], ["0", "1", "right"]);
    assert_eq!(door.verdicts().len(), PLACES_MAX + 1);
    assert_eq!(door.keeper.state.borrow().waiting.sizes(), (0, 0));
}

#[test]
fn no_more_wait_than_there_is_room_for_though_all_ask_the_same() {
    let mut waiting = Waiting::default();
    let hash = slow_hash(0);
    let fingerprint = FingerprintKey::new([7; 32]).fingerprint(b"u", &hash, b"right");
    let ticket = |serial| LoginTicket { connection: None, serial };
    let turned_away = |waiting: &mut Waiting, serial| -> Vec<u64> {
        let (ticket, origin) = (ticket(serial), HERE.parse().unwrap());
        let (if_right, if_wrong) = (Verdict::Allowed, Refusal::InvalidCredentials);
        let question = || Question::new(Arc::clone(&hash), Box::default(), Box::default());
        let askers = waiting.add(fingerprint, Asker { ticket, origin, if_right, if_wrong }, question);
        askers.into_iter().map(|asker| asker.ticket.serial).collect()
    };
    let most = ASKERS_MAX as u64;
    assert!((0..most).all(|serial| turned_away(&mut waiting, serial).is_empty()));
    assert_eq!(turned_away(&mut waiting, most), [most], "whoever comes last");
    waiting.forget(ticket(0));
    assert_eq!(turned_away(&mut waiting, most), [0; 0], "somebody made room");
    assert_eq!(turned_away(&mut waiting, most + 1), [most + 1]);
}

#[test]
fn a_checker_that_answers_at_once_makes_nobody_wait() {
    let keeper = PasswordDoorkeeper::new(&[], [7; 32], Box::new(AtOnce::default()));
    let mut door = Door { keeper, ..Door::new() };
    let hash = Some(Arc::new(PasswordHash::argon2id(b"right", [1; 16])));
    assert_eq!(door.ask_with(HERE, "u", "right", hash.clone()), Some(Verdict::Allowed));
    assert_eq!(door.ask_with(HERE, "u", "wrong", hash), Some(REFUSED));
    assert_eq!(door.verdicts(), []);
}

#[test]
fn the_thread_checks_one_after_the_other_and_wakes_whoever_waits() {
    let (woken, wakes) = std::sync::mpsc::channel();
    let mut checker = PasswordThread::start(move || woken.send(()).unwrap()).unwrap();
    let hash = Arc::new(PasswordHash::argon2id(b"right", [1; 16]));
    for (password, is_right) in [("right", true), ("wrong", false)] {
        checker.begin(hash.clone(), password.as_bytes().into());
        wakes.recv().unwrap();
        assert_eq!(checker.outcome(), Some(is_right));
        assert_eq!(checker.outcome(), None);
    }
}

#[test]
fn nothing_is_checked_for_whoever_is_gone() {
    let mut door = Door::new();
    let forget = |door: &Door, serial| door.keeper.forget(LoginTicket { connection: Some(ConnectionId(0)), serial });
    for password in ["first", "gone", "right", "right", "last"] {
        assert_eq!(door.ask(HERE, "u", password), None);
    }
    for gone in [1, 2, 4, 2, 77] {
        forget(&door, gone);
    }
    assert_eq!(door.keeper.state.borrow().waiting.sizes(), (2, 3));
    assert_eq!(door.steps(), ["first", "right", "last"], "what was begun is finished");
    assert_eq!(door.verdicts(), [(3, Verdict::Allowed), (5, REFUSED)]);
    assert_eq!(door.keeper.state.borrow().waiting.sizes(), (0, 0));
    forget(&door, 5);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn everybody_who_stays_is_answered_once_and_rightly(
        script in prop::collection::vec((0..4_u8, 0..3_u8, 0..4_u8, any::<bool>(), any::<Option<u8>>()), 0..60),
    ) {
        let mut door = Door::new();
        let mut expected = BTreeMap::new();
        let mut heard = Vec::new();
        for (place, user, password, steps, leaves) in script {
            let password = ["right", "wrong", "", "guess"][usize::from(password)];
            // User 2 doesn't exist.
            let hash = (user < 2).then(|| slow_hash(user));
            let is_right = password == "right" && user < 2;
            let at_once = door.ask_with(&format!("192.0.2.{place}"), &user.to_string(), password, hash);
            expected.insert(door.asked, if is_right { Verdict::Allowed } else { REFUSED });
            heard.extend(at_once.map(|verdict| (door.asked, verdict)));
            if let Some(gone) = leaves.map(u64::from)
                && !heard.iter().any(|(serial, _)| *serial == gone)
                && door.keeper.state.borrow().verdicts.is_empty()
            {
                door.keeper.forget(LoginTicket { connection: Some(ConnectionId(0)), serial: gone });
                expected.remove(&gone);
            }
            if steps {
                door.step();
                heard.extend(door.verdicts());
            }
        }
        door.steps();
        heard.extend(door.verdicts());
        prop_assert_eq!(heard.len(), expected.len());
        prop_assert_eq!(BTreeMap::from_iter(heard), expected);
    }
}
