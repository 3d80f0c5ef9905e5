//! Who is let in by a token, who waits, and when keys are fetched: on a clock that the test moves.

use super::checking::{Checking, Intervals, Now, PARKED_MAX};
use super::*;
use crate::access::{Powers, Scopes, Tags};
use crate::broker::ConnectionId;
use crate::connection::{Credentials, Mechanism};
use crate::server::doorkeeper::AtOnce;
use crate::server::doorkeeper::lately::KNOWN_MAX;
use crate::token::{Keys, Rules};
use std::collections::HashMap;
use std::rc::Rc;

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "192.0.2.7";
const TOKEN: &str = "eyJ.good.x";
const KNOWN_FOR_MS: u64 = 60_000;

/// A checker that is done when the test says so: what has `good` in it is, for whom is said behind that.
#[derive(Clone, Default)]
struct Stepped(Rc<RefCell<VecDeque<(u64, String)>>>, Rc<RefCell<VecDeque<Outcome>>>);

impl TokenChecker for Stepped {
    fn begin(&mut self, serial: u64, token: Box<[u8]>) {
        self.0.borrow_mut().push_back((serial, String::from_utf8(token.into()).unwrap()));
    }

    fn next_outcome(&mut self) -> Option<Outcome> {
        self.1.borrow_mut().pop_front()
    }
}

fn bearer(name: &str, expires_unix_ms: Option<u64>) -> Arc<Bearer> {
    let powers = Powers::Scopes(Scopes::default());
    Arc::new(Bearer { name: name.into(), tags: Arc::new(Tags::default()), powers, expires_unix_ms })
}

struct Door {
    keeper: TokenDoorkeeper,
    checker: Stepped,
    asked: u64,
    now_ms: u64,
}

impl Door {
    fn new(users_log_in: bool) -> Self {
        let checker = Stepped::default();
        let passwords = PasswordDoorkeeper::new(&["guest".to_owned()], [7; 32], Box::new(AtOnce::default()));
        let keeper = TokenDoorkeeper::new(passwords, users_log_in, [8; 32], Box::new(checker.clone()), KNOWN_FOR_MS, 0);
        Self { keeper, checker, asked: 0, now_ms: 0 }
    }

    fn ask(&mut self, from: &str, password: &str) -> Option<Verdict> {
        self.asked += 1;
        let ticket = LoginTicket { connection: Some(ConnectionId(0)), serial: self.asked };
        let credentials =
            Credentials { mechanism: Mechanism::Plain, user: (*b"u").into(), password: password.as_bytes().into() };
        let hash = Some(Arc::new(PasswordHash::salted_sha256(b"eyJ.right.x", [1; 4])));
        let peer = from.parse().unwrap();
        let now_ms = self.now_ms;
        self.keeper.ask(LoginRequest { ticket, credentials, password: hash, tags: None, vhost: None, peer, now_ms })
    }

    /// All tokens are looked at. Says which those were, and who was answered then.
    fn step(&mut self) -> (Vec<String>, Vec<(u64, Option<String>)>) {
        let begun = self.checker.0.take();
        for (serial, token) in &begun {
            let name = token.strip_prefix("eyJ.good.");
            let outcome = name.map(|name| bearer(name, Some(100_000))).ok_or(BadToken::Signature);
            self.checker.1.borrow_mut().push_back((*serial, outcome));
        }
        let verdicts = std::iter::from_fn(|| self.keeper.next_verdict(self.now_ms));
        let verdicts = verdicts.map(|(ticket, verdict)| (ticket.serial, who(&verdict))).collect();
        (begun.into_iter().map(|(_, token)| token).collect(), verdicts)
    }
}

/// As whom somebody is let in.
fn who(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Allowed => Some("a user".to_owned()),
        Verdict::Bearer(bearer) => Some(bearer.name.to_string()),
        Verdict::Refused(_) | Verdict::Answered(..) => None,
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_token_is_checked_elsewhere_and_known_until_it_expires() {
    let mut door = Door::new(true);
    assert_eq!(door.ask(ELSEWHERE, TOKEN), None);
    assert_eq!(door.step(), (strings(&[TOKEN]), vec![(1, Some("x".to_owned()))]));
    let Some(Verdict::Bearer(first)) = door.ask(ELSEWHERE, TOKEN) else { panic!("it is known") };
    door.now_ms = KNOWN_FOR_MS - 1;
    let Some(Verdict::Bearer(again)) = door.ask(HERE, TOKEN) else { panic!("it is known") };
    assert!(Arc::ptr_eq(&first, &again), "it is the same one");
    door.now_ms = KNOWN_FOR_MS;
    assert_eq!(door.ask(HERE, TOKEN), None, "that was a while ago");
    door.step();
    door.now_ms = 99_999;
    assert!(door.ask(HERE, TOKEN).is_some());
    door.now_ms = 100_000;
    assert_eq!(door.ask(HERE, TOKEN), None, "it has expired");
}

#[test]
fn what_is_no_token_is_a_password_and_so_is_a_token_that_is_not_good() {
    for users_log_in in [true, false] {
        let mut door = Door::new(users_log_in);
        let user = users_log_in.then(|| "a user".to_owned());
        assert_eq!(door.ask(HERE, "guess").map(|verdict| who(&verdict)), Some(None));
        assert_eq!(door.step(), (vec![], vec![]), "nobody looks at it");
        assert_eq!(door.ask(HERE, "eyJ.right.x"), None);
        assert_eq!(door.step(), (strings(&["eyJ.right.x"]), vec![(2, user)]));
        assert_eq!(door.ask(HERE, "eyJ.bad.x"), None);
        assert_eq!(door.step(), (strings(&["eyJ.bad.x"]), vec![(3, None)]));
        assert_eq!(door.ask(HERE, "eyJ.bad.x"), None, "what is bad is not known");
    }
}

#[test]
fn a_loopback_user_comes_from_this_machine_whoever_says_so() {
    let mut door = Door::new(true);
    let token = "eyJ.good.guest";
    door.ask(ELSEWHERE, token);
    assert_eq!(door.step().1, [(1, None)]);
    door.ask(HERE, token);
    assert_eq!(door.step().1, [(2, Some("guest".to_owned()))]);
    assert_eq!(door.ask(ELSEWHERE, token), None, "though it is known");
    assert_eq!(door.step().1, [(3, None)]);
}

#[test]
fn whoever_is_gone_is_not_answered_and_too_many_are_refused_at_once() {
    let mut door = Door::new(true);
    for _ in 0..WAITING_MAX {
        assert_eq!(door.ask(HERE, TOKEN), None);
    }
    assert_eq!(door.ask(HERE, TOKEN), Some(Verdict::Refused(Refusal::InvalidCredentials)));
    door.keeper.forget(LoginTicket { connection: Some(ConnectionId(0)), serial: 1 });
    assert_eq!(door.ask(HERE, "eyJ.good.y"), None, "there is room for another");
    let answered = door.step().1;
    assert_eq!(answered.len(), WAITING_MAX);
    assert!(answered.iter().all(|(serial, _)| *serial != 1));
}

#[test]
fn no_more_tokens_are_known_than_there_is_room_for() {
    let mut known = Lately::new(KNOWN_FOR_MS);
    let key = FingerprintKey::new([7; 32]);
    let fingerprint = |number: usize| key.fingerprint(&[], &PasswordHash::Absent, number.to_string().as_bytes());
    for number in 0..KNOWN_MAX * 2 {
        known.note(fingerprint(number), bearer("x", None), None, 0);
        assert!(known.find(fingerprint(number), 0).is_some());
    }
    assert_eq!(known.len(), KNOWN_MAX);
    assert!(known.find(fingerprint(KNOWN_MAX - 1), 0).is_none() && known.find(fingerprint(KNOWN_MAX), 0).is_some());
    assert!(known.find(fingerprint(KNOWN_MAX), KNOWN_FOR_MS).is_none());
    assert_eq!(known.len(), 0);
}

/// One that knows a key by the name `configured`, and can ask for others.
fn checking() -> Checking {
    let rules = Rules {
        resource_server_id: "rabbitmq".to_owned(),
        verify_aud: false,
        require_exp: false,
        scope_prefix: String::new(),
        additional_scopes_key: String::new(),
        preferred_username_claims: Vec::new(),
        scope_aliases: HashMap::new(),
        default_key: None,
        algorithms: vec!["HS256".parse().unwrap(), "ES256".parse().unwrap()],
        issuer: None,
        leeway_s: 0,
    };
    let mut configured = Keys::default();
    configured.add("configured", r#"{"kty":"oct","k":"c2VjcmV0"}"#).unwrap();
    Checking::new(rules, configured, Some(Intervals { refresh_ms: 100_000, least_ms: 10_000 }))
}

/// Nobody signed it.
fn token(key: &str) -> Box<[u8]> {
    use base64::Engine;
    let header = format!(r#"{{"alg":"HS256","kid":"{key}"}}"#);
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
    format!("{header}.e30.AAAA").into_bytes().into()
}

fn at(ms: u64) -> Now {
    Now { ms, unix_ms: 1_700_000_000_000 + ms }
}

fn published() -> Option<Keys> {
    let jwks = r#"{"keys":[{"kid":"published","kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#;
    Keys::published(jwks.as_bytes()).ok()
}

#[test]
fn keys_are_fetched_at_first_and_from_time_to_time_and_never_twice_at_once() {
    let mut checking = checking();
    assert!(checking.wants_keys(at(0)) && !checking.wants_keys(at(0)));
    assert_eq!(checking.next_fetch_ms(), None, "not before these are here");
    assert!(!checking.wants_keys(at(1_000_000)));
    assert_eq!(checking.take_keys(published(), at(5)), []);
    assert_eq!(checking.next_fetch_ms(), Some(100_000));
    assert!(!checking.wants_keys(at(99_999)) && checking.wants_keys(at(100_000)));
}

#[test]
fn a_key_that_is_not_known_is_waited_for_and_fetched_once_in_a_while_whatever_tokens_say() {
    let mut checking = checking();
    assert!(checking.wants_keys(at(0)));
    assert_eq!(checking.check(1, token("published"), at(1)), None, "it may be among those that are on their way");
    let bad = |serial| (serial, Err(BadToken::Signature));
    assert_eq!(checking.check(2, token("configured"), at(1)), Some(bad(2)), "nobody else waits");
    assert_eq!(checking.take_keys(published(), at(2)), [bad(1)], "there is such a key now");
    let unknown = |serial| (serial, Err(BadToken::UnknownKey));
    for serial in 3..100 {
        assert_eq!(checking.check(serial, token("other"), at(9_999)), Some(unknown(serial)));
        assert!(!checking.wants_keys(at(9_999)));
    }
    assert_eq!(checking.check(100, token("other"), at(10_000)), None);
    assert!(checking.wants_keys(at(10_000)));
    for serial in 101..100 + PARKED_MAX as u64 {
        assert_eq!(checking.check(serial, token("other"), at(10_001)), None);
    }
    assert_eq!(checking.check(1000, token("other"), at(10_001)), Some(unknown(1000)), "too many wait");
    let answered = checking.take_keys(None, at(10_002));
    assert_eq!(answered.len(), PARKED_MAX, "that nothing could be fetched is an answer");
    assert!(answered.iter().all(|(_, outcome)| *outcome == Err(BadToken::UnknownKey)));
    assert_eq!(checking.check(1001, token("published"), at(10_003)), Some(bad(1001)), "those from before stay");
    // What is not published any more is no key any more; what was configured is.
    checking.wants_keys(at(200_000));
    let others = Keys::published(br#"{"keys":[{"kid":"new","kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#).ok();
    checking.take_keys(others, at(200_000));
    assert_eq!(checking.check(1002, token("published"), at(200_001)), Some(unknown(1002)));
    assert_eq!(checking.check(1003, token("configured"), at(200_001)), Some(bad(1003)));
}

#[test]
fn keys_that_are_read_again_count_at_once_and_published_ones_are_fetched_anew() {
    let mut checking = checking();
    assert!(checking.wants_keys(at(0)));
    let bad = |serial| (serial, Err(BadToken::Signature));
    // While they are on their way, too: they may be those from before.
    checking.renew(Keys::default());
    assert_eq!(checking.take_keys(published(), at(1)), []);
    assert!(checking.wants_keys(at(2)), "however short a time ago that was");
    assert_eq!(checking.check(1, token("published"), at(3)), Some(bad(1)));
    assert_eq!(checking.check(2, token("configured"), at(3)), None, "there is no such key any more");
    assert_eq!(checking.take_keys(None, at(4)), [(2, Err(BadToken::UnknownKey))]);
    assert_eq!(checking.check(3, token("published"), at(5)), Some(bad(3)), "those from before stay");
}
