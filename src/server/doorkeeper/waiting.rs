//! Those whose passwords are still to be checked: a line for each place that they come from.
//!
//! The lines take turns, so that whoever guesses, from one place, makes only that place wait. Who asks the same as another
//! is answered with it. When there are too many questions, the longest line gets shorter.

use crate::access::{Fingerprint, PasswordHash};
use crate::connection::{LoginTicket, Refusal, Verdict};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Places in all lines: as many as are checked before those who wait run out of time for their handshakes.
pub const PLACES_MAX: usize = 512;
/// Those who wait, all together. Of clients there are no more than connections, and each is taken out when it goes.
pub const ASKERS_MAX: usize = 1 << 17;

/// Who wants to know.
pub struct Asker {
    pub ticket: LoginTicket,
    pub origin: IpAddr,
    /// What it is told when the password is right.
    pub if_right: Verdict,
    pub if_wrong: Refusal,
}

/// Whether a hash is of a password, and who wants to know.
pub struct Question {
    pub hash: Arc<PasswordHash>,
    pub user: Box<[u8]>,
    pub password: Box<[u8]>,
    /// By their tickets' serials.
    pub askers: BTreeMap<u64, Asker>,
    /// In whose lines it is.
    origins: HashSet<IpAddr>,
}

impl Question {
    pub fn new(hash: Arc<PasswordHash>, user: Box<[u8]>, password: Box<[u8]>) -> Self {
        Self { hash, user, password, askers: BTreeMap::new(), origins: HashSet::new() }
    }
}

#[derive(Default)]
pub struct Waiting {
    questions: HashMap<Fingerprint, Question>,
    /// What each asks, by its ticket's serial.
    asked: HashMap<u64, Fingerprint>,
    /// None is empty. A question that was answered for another origin, or that nobody asks any more, is still in line.
    lines: HashMap<IpAddr, VecDeque<Fingerprint>>,
    /// Every line once: the first is next.
    turns: VecDeque<IpAddr>,
    /// In all lines together.
    places: usize,
}

impl Waiting {
    /// Somebody asks a question. Says who has to be turned away for that, themselves perhaps.
    pub fn add(&mut self, fingerprint: Fingerprint, asker: Asker, new: impl FnOnce() -> Question) -> Vec<Asker> {
        let origin = asker.origin;
        if self.asked.len() >= ASKERS_MAX {
            return vec![asker];
        }
        let is_in_line = self.questions.get(&fingerprint).is_some_and(|question| question.origins.contains(&origin));
        let mut turned_away = Vec::new();
        if !is_in_line {
            if self.places >= PLACES_MAX {
                let own = self.lines.get(&origin).map_or(0, VecDeque::len);
                match self.longest_line().filter(|(_, longest)| *longest > own + 1) {
                    Some((longest, _)) => turned_away = self.shorten(longest),
                    None => return vec![asker],
                }
            }
            self.stand_in_line(origin, fingerprint);
        }
        let question = self.questions.entry(fingerprint).or_insert_with(new);
        question.origins.insert(origin);
        self.asked.insert(asker.ticket.serial, fingerprint);
        question.askers.insert(asker.ticket.serial, asker);
        turned_away
    }

    /// Somebody doesn't wait any more.
    pub fn forget(&mut self, ticket: LoginTicket) {
        let Some(fingerprint) = self.asked.remove(&ticket.serial) else { return };
        let question = self.questions.get_mut(&fingerprint).expect("somebody asks it");
        question.askers.remove(&ticket.serial);
        if question.askers.is_empty() {
            self.questions.remove(&fingerprint);
        }
    }

    /// The question whose turn it is.
    pub fn next(&mut self) -> Option<(Fingerprint, Question)> {
        while let Some(origin) = self.turns.pop_front() {
            let line = self.lines.get_mut(&origin).expect("a line has its turn");
            let fingerprint = line.pop_front().expect("no line is empty");
            self.places -= 1;
            match line.is_empty() {
                true => drop(self.lines.remove(&origin)),
                false => self.turns.push_back(origin),
            }
            if let Some(question) = self.questions.remove(&fingerprint) {
                for serial in question.askers.keys() {
                    self.asked.remove(serial);
                }
                return Some((fingerprint, question));
            }
        }
        None
    }

    fn stand_in_line(&mut self, origin: IpAddr, fingerprint: Fingerprint) {
        let line = self.lines.entry(origin).or_default();
        if line.is_empty() {
            self.turns.push_back(origin);
        }
        line.push_back(fingerprint);
        self.places += 1;
    }

    fn longest_line(&self) -> Option<(IpAddr, usize)> {
        self.lines.iter().map(|(origin, line)| (*origin, line.len())).max_by_key(|(origin, length)| (*length, *origin))
    }

    /// Takes the last out of a line of two at least. Says who asked there.
    fn shorten(&mut self, origin: IpAddr) -> Vec<Asker> {
        let line = self.lines.get_mut(&origin).expect("a line that was found");
        let fingerprint = line.pop_back().expect("no line is empty");
        debug_assert!(!line.is_empty(), "a line that has its turn");
        self.places -= 1;
        let Some(question) = self.questions.get_mut(&fingerprint) else { return Vec::new() };
        question.origins.remove(&origin);
        let (turned_away, askers) =
            std::mem::take(&mut question.askers).into_values().partition::<Vec<_>, _>(|asker| asker.origin == origin);
        question.askers = askers.into_iter().map(|asker| (asker.ticket.serial, asker)).collect();
        for asker in &turned_away {
            self.asked.remove(&asker.ticket.serial);
        }
        if question.askers.is_empty() {
            self.questions.remove(&fingerprint);
        }
        turned_away
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        assert_eq!(self.places, self.lines.values().map(VecDeque::len).sum::<usize>());
        assert_eq!(self.turns.len(), self.lines.len());
        assert_eq!(self.asked.len(), self.questions.values().map(|question| question.askers.len()).sum::<usize>());
        (self.questions.len(), self.places)
    }
}
