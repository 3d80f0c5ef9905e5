//! What somebody elsewhere answered about users whose permissions are kept there, for as long as that holds.
//!
//! Commands are resolved without waiting. What is not known is refused, and noted as an [`Inquiry`]: whoever gives the
//! command takes that, puts the command aside, has somebody asked, and gives it again. What it was allowed while it waited it
//! stays allowed, however short a time answers are known for, so that a command that asks several things comes to an end.
//!
//! Nothing of it is asked on the path of a message: a publisher's exchange is looked for once an epoch, and an epoch ends
//! when an answer that let somebody publish does.

use super::store::Store;
use super::{Broker, UserId, VhostId};
use crate::access::{About, Answer, Inquiry, Powers, Tags, inquiry_key};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Answers that are kept; those beyond replace the ones that came first.
const ANSWERS_MAX: usize = 16_384;
/// Those about one user, so that whoever uses ever new names forgets nothing but its own.
const ANSWERS_OF_USER_MAX: usize = 4096;
/// Inquiries that a list leaves at a time.
const INQUIRIES_MAX: usize = 64;
/// How long an answer that holds no more is kept, in milliseconds, for commands that wait for another one.
const KEPT_FOR_MS: u64 = 60_000;
/// What lets somebody publish holds until the next whole one of these, so that few epochs end for many answers.
const LAPSE_INTERVAL_MS: u64 = 1_000;

/// Which answers hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Judging {
    /// Those that hold now.
    #[default]
    Now,
    /// Those that held at that time, or came since: for a command that waits since then.
    AsOf(u64),
    /// It was asked for before, and allowed: for a message, when all of it is there.
    Trusting,
}

struct Known {
    answer: Answer,
    until_ms: u64,
    /// Its number among those that were noted.
    number: u64,
}

/// An answer that is known: when it came, and when it is to go.
struct Noted {
    noted_ms: u64,
    gone_ms: u64,
    user: Arc<str>,
    key: Arc<[u8]>,
}

#[derive(Default)]
pub(super) struct Answers {
    known: HashMap<Arc<[u8]>, Known>,
    /// Each that is known, in the order in which they came; and by user.
    noted: BTreeMap<u64, Noted>,
    of_users: HashMap<Arc<str>, BTreeSet<u64>>,
    last: u64,
    /// When answers end that let somebody publish, each time once.
    lapses: VecDeque<u64>,
    /// Those that came since then stay, whether they hold or not.
    kept_since_ms: Option<u64>,
    judging: Judging,
    /// Of a command one, as it is refused then; of a list several.
    unknown: RefCell<Vec<Inquiry>>,
    scratch: RefCell<Vec<u8>>,
}

impl Answers {
    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Answer> {
        let known = self.known.get(key)?;
        let holds = match self.judging {
            Judging::Now => known.until_ms >= now_ms,
            Judging::AsOf(since_ms) => known.until_ms >= since_ms,
            Judging::Trusting => false,
        };
        holds.then_some(&known.answer)
    }

    fn note(&mut self, inquiry: &Inquiry, answer: Answer, now_ms: u64) {
        let kept_since_ms = self.kept_since_ms;
        let may_go =
            |noted: &Noted| noted.gone_ms <= now_ms && kept_since_ms.is_none_or(|since_ms| noted.noted_ms < since_ms);
        while let Some((&first, noted)) = self.noted.first_key_value()
            && (self.noted.len() >= ANSWERS_MAX || may_go(noted))
        {
            self.forget(first);
        }
        let of_user = self.of_users.get(&inquiry.user).filter(|numbers| numbers.len() >= ANSWERS_OF_USER_MAX);
        if let Some(first) = of_user.and_then(BTreeSet::first).copied() {
            self.forget(first);
        }
        let mut until_ms = now_ms + answer.known_for_ms;
        if answer.is_allowed && inquiry.is_of_publish() {
            until_ms = until_ms.next_multiple_of(LAPSE_INTERVAL_MS);
            if self.lapses.back().is_none_or(|last_ms| *last_ms < until_ms) {
                self.lapses.push_back(until_ms);
            }
        }
        let key: Arc<[u8]> = inquiry.key().into();
        self.last += 1;
        let number = self.last;
        if let Some(known) = self.known.insert(Arc::clone(&key), Known { answer, until_ms, number }) {
            self.forget_number(known.number);
        }
        let user = Arc::clone(&inquiry.user);
        self.of_users.entry(Arc::clone(&user)).or_default().insert(number);
        self.noted.insert(number, Noted { noted_ms: now_ms, gone_ms: until_ms + KEPT_FOR_MS, user, key });
    }

    fn forget(&mut self, number: u64) {
        if let Some(noted) = self.forget_number(number) {
            self.known.remove(&noted.key);
        }
    }

    fn forget_number(&mut self, number: u64) -> Option<Noted> {
        let noted = self.noted.remove(&number)?;
        if let Some(numbers) = self.of_users.get_mut(&noted.user) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.of_users.remove(&noted.user);
            }
        }
        Some(noted)
    }

    /// Whether an answer has ended that let somebody publish.
    pub fn have_lapsed(&mut self, now_ms: u64) -> bool {
        let mut have_lapsed = false;
        while self.lapses.front().is_some_and(|until_ms| *until_ms < now_ms) {
            self.lapses.pop_front();
            have_lapsed = true;
        }
        have_lapsed
    }

    /// Whether something was asked that is not known.
    pub fn lack_one(&self) -> bool {
        !self.unknown.borrow().is_empty()
    }
}

impl<S: Store> Broker<S> {
    /// Whether a user may do that according to others; else what it is told besides. Of those about whom nobody else is
    /// asked the answer is no.
    pub(super) fn elsewhere(&self, user: UserId, vhost: VhostId, about: About<&[u8]>) -> Result<(), &str> {
        if !self.is_judged_elsewhere(user) {
            return Err("");
        }
        let user = self.users.get(user);
        self.answered(&user.name, &user.tags, self.vhost_name(vhost), about)
    }

    /// The same, of one who is no user yet.
    pub(super) fn answered(
        &self,
        user: &Arc<str>,
        tags: &Arc<Tags>,
        vhost: &str,
        about: About<&[u8]>,
    ) -> Result<(), &str> {
        if self.answers.judging == Judging::Trusting {
            return Ok(());
        }
        let mut key = self.answers.scratch.borrow_mut();
        inquiry_key(user, tags, vhost, &about, &mut key);
        match self.answers.find(&key, self.now_ms) {
            Some(Answer { is_allowed: true, .. }) => Ok(()),
            Some(Answer { told, .. }) => Err(told),
            None => {
                let about = match about {
                    About::Vhost(peer) => About::Vhost(peer),
                    About::Resource { kind, name, right } => About::Resource { kind, name: name.into(), right },
                    About::Key { exchange, right, key } => {
                        About::Key { exchange: exchange.into(), right, key: key.into() }
                    }
                };
                let (user, tags, vhost) = (Arc::clone(user), Arc::clone(tags), vhost.into());
                let mut unknown = self.answers.unknown.borrow_mut();
                if unknown.len() < INQUIRIES_MAX {
                    unknown.push(Inquiry { user, tags, vhost, about });
                }
                Err("")
            }
        }
    }

    /// Whether somebody else is asked what a user may.
    pub fn is_judged_elsewhere(&self, user: UserId) -> bool {
        matches!(self.users.get(user).powers(), Some(Powers::Elsewhere { .. }))
    }

    /// What has to be asked elsewhere before the command can be given that was just refused; `None` when it is refused.
    pub fn take_inquiry(&mut self) -> Option<Inquiry> {
        self.take_inquiries().pop()
    }

    /// The same of a list: so many of those that it lacks as are asked together.
    pub fn take_inquiries(&mut self) -> Vec<Inquiry> {
        std::mem::take(self.answers.unknown.get_mut())
    }

    /// What another command left, which was refused for good, is nobody's: a command begins that may lack answers of its own.
    pub fn drop_inquiries(&mut self) {
        self.answers.unknown.get_mut().clear();
    }

    /// Answers that came since then stay: a command waits since then, and may need many. `None`: no such command waits.
    pub fn keep_answers_since(&mut self, since_ms: Option<u64>) {
        self.answers.kept_since_ms = since_ms;
    }

    /// Somebody answered an inquiry.
    pub fn note_answer(&mut self, inquiry: &Inquiry, answer: Answer) {
        self.answers.note(inquiry, answer, self.now_ms);
    }

    /// Says which answers hold from now on.
    pub fn judge(&mut self, judging: Judging) {
        self.answers.judging = judging;
    }

    /// All answers are forgotten, so that everything is asked again.
    pub fn forget_answers(&mut self) {
        self.answers = Answers::default();
        self.epoch.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Right;

    fn inquiry(user: &str, number: usize) -> Inquiry {
        let about = About::Resource { kind: "queue", name: number.to_string().into_bytes().into(), right: Right::Read };
        Inquiry { user: user.into(), tags: Arc::default(), vhost: "/".into(), about }
    }

    fn assert_sizes(answers: &Answers, size: usize) {
        assert_eq!(answers.known.len(), size);
        assert_eq!(answers.noted.len(), size);
        assert_eq!(answers.of_users.values().map(BTreeSet::len).sum::<usize>(), size);
        assert!(answers.of_users.values().all(|numbers| !numbers.is_empty()));
    }

    #[test]
    fn whoever_asks_for_ever_new_things_forgets_nothing_but_its_own() {
        let mut answers = Answers::default();
        let note = |answers: &mut Answers, user: &str, number, now_ms| {
            let answer = Answer { is_allowed: true, told: Box::default(), known_for_ms: 10 };
            answers.note(&inquiry(user, number), answer, now_ms);
        };
        note(&mut answers, "alice", 0, 0);
        for number in 0..=ANSWERS_OF_USER_MAX {
            note(&mut answers, "bob", number, 0);
        }
        let knows = |answers: &Answers, user, number| answers.find(&inquiry(user, number).key(), 0).is_some();
        assert!(knows(&answers, "alice", 0));
        assert!(!knows(&answers, "bob", 0) && knows(&answers, "bob", 1));
        assert_sizes(&answers, ANSWERS_OF_USER_MAX + 1);
        note(&mut answers, "alice", 0, 5);
        assert_sizes(&answers, ANSWERS_OF_USER_MAX + 1);
        for user in 0..ANSWERS_MAX {
            note(&mut answers, &user.to_string(), 0, 5);
        }
        assert_sizes(&answers, ANSWERS_MAX);
        note(&mut answers, "last", 0, 15 + KEPT_FOR_MS);
        assert_sizes(&answers, 1);
    }
}
