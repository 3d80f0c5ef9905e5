//! Passwords that were found right a while ago, so that who comes again need not wait.
//!
//! It keeps fingerprints of hash and password and no password. Who has another hash by now has another fingerprint, and is
//! not known: nothing here outlives a change of the password, or the user.

use crate::access::Fingerprint;
use std::collections::{HashMap, VecDeque};

/// How long, in milliseconds.
pub const KNOWN_FOR_MS: u64 = 5 * 60 * 1000;
/// Users that are known at a time; those beyond replace the ones who have been for longest.
pub const KNOWN_MAX: usize = 4096;

/// What was found right of each user: one fingerprint, the last.
#[derive(Default)]
pub struct Known {
    users: HashMap<Box<[u8]>, Entry>,
    /// Who was noted, in that order, and until when. Some were noted again, or forgotten, since.
    noted: VecDeque<(u64, Box<[u8]>)>,
}

struct Entry {
    fingerprint: Fingerprint,
    until_ms: u64,
}

impl Known {
    /// Whether this was found right of the user.
    pub fn holds(&mut self, user: &[u8], fingerprint: Fingerprint, now_ms: u64) -> bool {
        while self.noted.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.forget_first();
        }
        self.users.get(user).is_some_and(|entry| entry.fingerprint == fingerprint)
    }

    /// This is right.
    pub fn note(&mut self, user: Box<[u8]>, fingerprint: Fingerprint, now_ms: u64) {
        if self.noted.len() >= KNOWN_MAX {
            self.forget_first();
        }
        let until_ms = now_ms + KNOWN_FOR_MS;
        self.users.insert(user.clone(), Entry { fingerprint, until_ms });
        self.noted.push_back((until_ms, user));
    }

    fn forget_first(&mut self) {
        let Some((until_ms, user)) = self.noted.pop_front() else { return };
        if self.users.get(&user).is_some_and(|entry| entry.until_ms == until_ms) {
            self.users.remove(&user);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.users.len()
    }
}
