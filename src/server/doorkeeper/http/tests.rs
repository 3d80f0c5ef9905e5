//! Who is let in according to a server, who is asked in which order, and what is asked: on a clock that the test moves, with a
//! server that it answers for.

use super::asking::{APPLICANTS_PER_ORIGIN_MAX, LOGINS_MAX, LOGINS_PER_ORIGIN_MAX, PERMISSIONS_PER_USER_MAX};
use super::*;
use crate::access::{About, Right};
use crate::broker::ConnectionId;
use crate::connection::Credentials;
use crate::server::doorkeeper::{AtOnce, PasswordDoorkeeper};
use std::rc::Rc;

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "192.0.2.7";
const KNOWN_FOR_MS: u64 = 15_000;
const REFUSED: Verdict = Verdict::Refused(Refusal::InvalidCredentials);

/// Questions that are open, as the test sees them, and answers that it gave.
#[derive(Clone, Default)]
struct Stepped(Rc<RefCell<VecDeque<(u64, Form, bool)>>>, Rc<RefCell<VecDeque<Outcome>>>);

impl HttpServer for Stepped {
    fn begin(&mut self, number: u64, form: Form, urgent: bool) {
        self.0.borrow_mut().push_back((number, form, urgent));
    }

    fn cancel(&mut self, number: u64) {
        self.0.borrow_mut().retain(|(begun, ..)| *begun != number);
    }

    fn next_outcome(&mut self) -> Option<Outcome> {
        self.1.borrow_mut().pop_front()
    }
}

struct Door {
    keeper: HttpDoorkeeper,
    server: Stepped,
    asked: u64,
    now_ms: u64,
    /// The tags that `u` has here.
    own_tag: &'static str,
}

const AFTER: KnowsUsers = KnowsUsers { before_passwords: false, before_tokens: false, judges: true };
const BEFORE: KnowsUsers = KnowsUsers { before_passwords: true, before_tokens: true, judges: true };

fn terms(knows_users: Option<KnowsUsers>) -> Terms {
    let judges_own = knows_users.is_none();
    Terms { knows_users, judges_own, known_for_ms: KNOWN_FOR_MS, refusals_are_known: false, discloses: false }
}

impl Door {
    /// The broker's own users are asked, too. There the password of `u` is `right`.
    fn new(terms: Terms) -> Self {
        let own = PasswordDoorkeeper::new(&["guest".to_owned()], [7; 32], Box::new(AtOnce::default()));
        Self::with(terms, Some(Box::new(own)))
    }

    fn with(terms: Terms, own: Option<Box<dyn Doorkeeper>>) -> Self {
        let server = Stepped::default();
        let loopback_users = ["guest".to_owned()];
        let keeper = HttpDoorkeeper::new(own, &loopback_users, terms, [8; 32], Box::new(server.clone()));
        Self { keeper, server, asked: 0, now_ms: 0, own_tag: "own" }
    }

    fn ask_as(&mut self, from: &str, mechanism: Mechanism, user: &str, password: &str) -> Option<Verdict> {
        self.asked += 1;
        let ticket = ticket(self.asked);
        let credentials = Credentials { mechanism, user: user.as_bytes().into(), password: password.as_bytes().into() };
        let is_known = user == "u" || user == "guest";
        let hash = is_known.then(|| Arc::new(PasswordHash::salted_sha256(b"right", [1; 4])));
        let tags = is_known.then(|| Arc::new(Tags::new([self.own_tag]).unwrap()));
        let (peer, now_ms) = (from.parse().unwrap(), self.now_ms);
        self.keeper.ask(LoginRequest { ticket, credentials, password: hash, tags, vhost: None, peer, now_ms })
    }

    fn ask(&mut self, user: &str, password: &str) -> Option<Verdict> {
        self.ask_as(HERE, Mechanism::Plain, user, password)
    }

    /// The server answers all questions. Says which those were, and who heard what then.
    fn step(&mut self, answer: &str) -> (Vec<String>, Vec<(u64, String)>) {
        let asked = self.server.0.take();
        for (number, ..) in &asked {
            let answer = match answer.strip_prefix("fails: ") {
                Some(reason) => Err(reason.to_owned()),
                None => Ok(answer.to_owned()),
            };
            self.server.1.borrow_mut().push_back((*number, answer));
        }
        let verdicts = std::iter::from_fn(|| self.keeper.next_verdict(self.now_ms));
        let verdicts = verdicts.map(|(ticket, verdict)| (ticket.serial, said(&verdict))).collect();
        (asked.into_iter().map(|(_, form, _)| form.parameters).collect(), verdicts)
    }

    fn heard(&mut self, answer: &str) -> String {
        let (_, mut verdicts) = self.step(answer);
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        verdicts.remove(0).1
    }
}

fn ticket(serial: u64) -> LoginTicket {
    LoginTicket { connection: Some(ConnectionId(0)), serial }
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed => "allowed".to_owned(),
        Verdict::Bearer(bearer) => {
            assert!(matches!(bearer.powers, Powers::Elsewhere { .. }));
            format!("{} [{}]", bearer.name, bearer.tags.iter().collect::<Vec<_>>().join(" "))
        }
        Verdict::Refused(refusal) => refusal.to_string(),
        Verdict::Answered(_, Answer { is_allowed, told, known_for_ms }) => {
            format!("{is_allowed}{told} for {known_for_ms}")
        }
    }
}

#[test]
fn a_server_says_who_somebody_is_and_that_is_known_for_a_while() {
    let mut door = Door::with(terms(Some(BEFORE)), None);
    assert_eq!(door.ask("bob b", "p&w=%\u{e9}"), None);
    let asked = "username=bob+b&password=p%26w%3D%25%C3%A9".to_owned();
    assert_eq!(door.step("ALLOW Management x\n"), (vec![asked], vec![(1, "bob b [management x]".to_owned())]));
    let known = door.ask("bob b", "p&w=%\u{e9}").expect("it is known");
    assert_eq!(said(&known), "bob b [management x]");
    assert_eq!(door.ask("bob b", "other"), None);
    assert_eq!(door.ask_as(ELSEWHERE, Mechanism::Plain, "bob b", "p&w=%\u{e9}"), None, "it may depend on the place");
    door.now_ms = KNOWN_FOR_MS;
    assert_eq!(door.ask("bob b", "p&w=%\u{e9}"), None);
}

#[test]
fn whatever_is_not_allowed_is_refused_and_asked_again() {
    let answers = ["deny", "DENY", "deny because", "", "denyallow", "yes", "fails: it answered 500"];
    for (answer, refusals_are_known) in answers.into_iter().flat_map(|answer| [(answer, false), (answer, true)]) {
        let mut door = Door::with(Terms { refusals_are_known, ..terms(Some(BEFORE)) }, None);
        assert_eq!(door.ask("bob", "pw"), None);
        assert_eq!(door.heard(answer), "invalid credentials", "{answer}");
        let is_known = refusals_are_known && answer.to_lowercase().starts_with("deny") && answer != "denyallow";
        assert_eq!(door.ask("bob", "pw"), is_known.then_some(REFUSED), "{answer}");
    }
}

#[test]
fn others_are_asked_before_or_after_it_as_the_settings_say() {
    let mut door = Door::new(terms(Some(BEFORE)));
    for (user, password, answer, heard) in [
        ("u", "right", "allow", "u []"),
        ("u", "wrong", "deny", "invalid credentials"),
        ("u", "right", "fails: no", "u []"),
        ("guest", "right", "deny", "allowed"),
        ("guest", "right", "fails: no", "allowed"),
        ("nobody", "right", "deny", "invalid credentials"),
    ] {
        let known = door.ask(user, password);
        let found = known.as_ref().map_or_else(|| door.heard(answer), said);
        assert_eq!(found, heard, "{user} {password} {answer}");
    }
    let mut door = Door::new(terms(Some(AFTER)));
    assert_eq!(door.ask("u", "right"), Some(Verdict::Allowed), "at once, whatever the server does");
    assert_eq!(door.server.0.borrow().len(), 0);
    for (user, password, answer, heard) in [
        ("u", "other", "allow a", "u [a]"),
        ("bob", "pw", "allow", "bob []"),
        ("bob", "wrong", "deny", "invalid credentials"),
        ("u", "wrong", "fails: no", "invalid credentials"),
    ] {
        assert_eq!(door.ask(user, password), None);
        assert_eq!(door.heard(answer), heard, "{user} {password} {answer}");
    }
}

#[test]
fn who_is_known_there_may_what_its_namesake_may_here() {
    let knows = KnowsUsers { judges: false, ..BEFORE };
    for (user, heard) in [("u", "allowed"), ("bob", "invalid credentials")] {
        let mut door = Door::new(terms(Some(knows)));
        assert_eq!(door.ask(user, "theirs"), None);
        assert_eq!(door.heard("allow administrator"), heard);
    }
}

#[test]
fn who_is_known_here_may_what_the_server_says() {
    let mut door = Door::new(terms(None));
    assert_eq!(door.ask("u", "wrong"), Some(REFUSED));
    assert_eq!(door.ask("bob", "right"), Some(REFUSED));
    assert_eq!(door.ask("u", "right"), None);
    assert_eq!(door.step("allow theirs"), (vec!["username=u&password=right".into()], vec![(3, "u [own]".into())]));
    assert_eq!(door.ask("u", "right").as_ref().map(said).as_deref(), Some("u [own]"));
    door.own_tag = "other";
    assert_eq!(door.ask("u", "right"), None, "with other tags it is somebody else");
    assert_eq!(door.heard("allow"), "u [other]");
    door.now_ms = KNOWN_FOR_MS;
    assert_eq!(door.ask("u", "right"), None);
    assert_eq!(door.heard("deny"), "invalid credentials");
}

#[test]
fn a_loopback_user_comes_from_this_machine_and_a_certificate_has_no_password() {
    let mut door = Door::with(terms(Some(BEFORE)), None);
    assert_eq!(door.ask_as(ELSEWHERE, Mechanism::Plain, "guest", "pw"), None);
    assert_eq!(door.heard("allow"), "can only connect via localhost");
    assert_eq!(door.ask_as(HERE, Mechanism::Plain, "guest", "pw"), None);
    assert_eq!(door.heard("allow"), "guest []");
    assert_eq!(door.ask_as(HERE, Mechanism::External, "bob", ""), None);
    assert_eq!(door.step("allow").0, ["username=bob"]);
    assert_eq!(door.ask_as(HERE, Mechanism::Plain, "bob", ""), None, "that was the certificate's");
    assert_eq!(door.step("allow").0, ["username=bob&password="]);
}

#[test]
fn who_asks_the_same_is_answered_with_it_and_whoever_is_gone_is_not() {
    let mut door = Door::with(terms(Some(BEFORE)), None);
    for _ in 0..3 {
        assert_eq!(door.ask("bob", "pw"), None);
    }
    assert_eq!(door.ask("alice", "pw"), None);
    for serial in [2, 4] {
        door.keeper.forget(ticket(serial));
    }
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (1, 2));
    let (asked, heard) = door.step("allow");
    assert_eq!(asked, ["username=bob&password=pw"], "nobody waits for the other");
    assert_eq!(heard, [(1, "bob []".to_owned()), (3, "bob []".to_owned())]);
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (0, 0));
}

/// The broker's own users, of whom each has the password `right`: it takes no time.
struct Quick;

impl Doorkeeper for Quick {
    fn ask(&self, LoginRequest { credentials, .. }: LoginRequest) -> Option<Verdict> {
        Some(if &*credentials.password == b"right" { Verdict::Allowed } else { REFUSED })
    }
}

#[test]
fn a_server_that_hangs_holds_up_no_more_than_there_is_room_for() {
    let mut door = Door::with(terms(Some(AFTER)), Some(Box::new(Quick)));
    for guess in 0..LOGINS_PER_ORIGIN_MAX + 10 {
        let refused = door.ask_as(ELSEWHERE, Mechanism::Plain, "bob", &guess.to_string());
        assert_eq!(refused, (guess >= LOGINS_PER_ORIGIN_MAX).then_some(REFUSED), "{guess}");
    }
    assert_eq!(door.ask_as(HERE, Mechanism::Plain, "bob", "pw"), None, "others are not held up by that");
    for number in LOGINS_PER_ORIGIN_MAX + 1..LOGINS_MAX {
        assert_eq!(
            door.ask_as(&format!("192.0.3.{}", number % 100), Mechanism::Plain, "bob", &number.to_string()),
            None
        );
    }
    assert_eq!(door.ask_as("192.0.4.1", Mechanism::Plain, "bob", "one more"), Some(REFUSED));
    assert_eq!(door.ask("u", "right"), Some(Verdict::Allowed), "nor are users of the broker's own");
    door.keeper.inquire(ticket(0), inquiry(About::Vhost([127, 0, 0, 1].into())));
    assert!(door.server.0.borrow().back().is_some_and(|(.., urgent)| *urgent), "nor those who are in already");
    assert_eq!(door.step("deny").1.len(), LOGINS_MAX + 1);
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (0, 0));
}

fn inquiry(about: About<Box<[u8]>>) -> Inquiry {
    Inquiry { user: "bob".into(), tags: Arc::new(Tags::new(["a", "b"]).unwrap()), vhost: "/".into(), about }
}

#[test]
fn permissions_are_asked_for_with_rabbitmqs_parameters() {
    let name = |text: &str| Box::from(text.as_bytes());
    for (about, page, parameters) in [
        (About::Vhost([127, 0, 0, 1].into()), Page::Vhost, "username=bob&vhost=%2F&ip=127.0.0.1&tags=a+b"),
        (
            About::Resource { kind: "queue", name: name("q 1"), right: Right::Configure },
            Page::Resource,
            "username=bob&vhost=%2F&resource=queue&name=q+1&permission=configure&tags=a+b",
        ),
        (
            About::Key { exchange: name("x"), right: Right::Write, key: name("a.b\u{ff}") },
            Page::Topic,
            "username=bob&vhost=%2F&resource=topic&name=x&permission=write&tags=a+b&routing_key=a.b%C3%BF\
             &variable_map.username=bob&variable_map.vhost=%2F",
        ),
    ] {
        assert_eq!(Form::of_inquiry(&inquiry(about)), Form { page, parameters: parameters.to_owned() });
    }
}

#[test]
fn a_permission_is_answered_for_all_who_wait_for_it() {
    let failed = "false, backend rabbit_auth_backend_http returned an error";
    for (answer, refusals_are_known, discloses, heard) in [
        ("allow", false, false, "true for 15000"),
        ("Allow\n", false, false, "true for 15000"),
        ("deny", false, false, "false for 0"),
        ("deny", true, true, "false for 15000"),
        ("deny it is late", false, false, "false for 0"),
        ("deny it is late", false, true, "false by backend rabbit_auth_backend_http: it is late for 0"),
        ("allow me", true, true, &format!("{failed}: its answer is neither allow nor deny: \"allow me\" for 0")),
        ("fails: it answered 500", true, true, &format!("{failed}: it answered 500 for 0")),
    ] {
        let mut door = Door::new(Terms { refusals_are_known, discloses, ..terms(Some(BEFORE)) });
        for serial in 1..=2 {
            door.keeper.inquire(ticket(serial), inquiry(About::Vhost([127, 0, 0, 1].into())));
        }
        let (asked, verdicts) = door.step(answer);
        assert_eq!(asked.len(), 1, "{answer}");
        assert_eq!(verdicts, [(1, heard.to_owned()), (2, heard.to_owned())], "{answer}");
    }
}

#[test]
fn those_who_join_a_question_are_counted_too() {
    let mut door = Door::with(terms(Some(BEFORE)), None);
    for _ in 0..APPLICANTS_PER_ORIGIN_MAX {
        assert_eq!(door.ask_as(ELSEWHERE, Mechanism::Plain, "bob", "pw"), None);
    }
    assert_eq!(door.ask_as(ELSEWHERE, Mechanism::Plain, "bob", "pw"), Some(REFUSED));
    assert_eq!(door.ask("bob", "pw"), None, "others are not held up by that");
    door.keeper.forget(ticket(1));
    assert_eq!(door.ask_as(ELSEWHERE, Mechanism::Plain, "bob", "pw"), None, "one has gone");
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (2, APPLICANTS_PER_ORIGIN_MAX + 1));
    assert_eq!(door.step("deny").1.len(), APPLICANTS_PER_ORIGIN_MAX + 1);
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (0, 0));
}

#[test]
fn one_user_has_no_more_asked_than_its_share() {
    let mut door = Door::with(terms(Some(BEFORE)), None);
    let name = |number: usize| About::Key {
        exchange: Box::default(),
        right: Right::Write,
        key: number.to_string().into_bytes().into(),
    };
    for number in 0..=PERMISSIONS_PER_USER_MAX {
        door.keeper.inquire(ticket(number as u64), inquiry(name(number)));
    }
    assert_eq!(door.keeper.state.borrow().asking.sizes().0, PERMISSIONS_PER_USER_MAX);
    let (refused, verdict) = door.keeper.next_verdict(0).unwrap();
    assert_eq!(refused.serial, PERMISSIONS_PER_USER_MAX as u64);
    assert!(said(&verdict).ends_with("too many wait for 0"), "{}", said(&verdict));
    let another = ticket(PERMISSIONS_PER_USER_MAX as u64 + 1);
    door.keeper.inquire(another, Inquiry { user: "alice".into(), ..inquiry(name(0)) });
    assert_eq!(door.keeper.state.borrow().asking.sizes().0, PERMISSIONS_PER_USER_MAX + 1);
    assert_eq!(door.step("allow").1.len(), PERMISSIONS_PER_USER_MAX + 1);
    assert_eq!(door.keeper.state.borrow().asking.sizes(), (0, 0));
}
