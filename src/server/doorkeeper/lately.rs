//! What was found out of a login a while ago, so that who comes again need not wait, and is the same one as before.

use crate::access::Fingerprint;
use std::collections::{HashMap, VecDeque};

/// Logins that are known at a time; those beyond replace the ones that have been for longest.
pub const KNOWN_MAX: usize = 4096;

/// What was found out, by fingerprints: it keeps no password and no token.
pub struct Lately<Found> {
    known_for_ms: u64,
    logins: HashMap<Fingerprint, (Found, u64)>,
    /// In the order in which they were noted, and until when.
    noted: VecDeque<(u64, Fingerprint)>,
}

impl<Found: Clone> Lately<Found> {
    pub fn new(known_for_ms: u64) -> Self {
        Self { known_for_ms, logins: HashMap::new(), noted: VecDeque::new() }
    }

    /// What is known of a login, and has not expired since.
    pub fn find(&mut self, fingerprint: Fingerprint, now_ms: u64) -> Option<Found> {
        while self.noted.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.forget_first();
        }
        let (found, until_ms) = self.logins.get(&fingerprint)?;
        (now_ms < *until_ms).then(|| found.clone())
    }

    /// This was found out, and expires at that time, if it does.
    pub fn note(&mut self, fingerprint: Fingerprint, found: Found, expires_ms: Option<u64>, now_ms: u64) {
        if self.noted.len() >= KNOWN_MAX {
            self.forget_first();
        }
        let known_until_ms = now_ms + self.known_for_ms;
        let until_ms = expires_ms.map_or(known_until_ms, |expires_ms| expires_ms.min(known_until_ms));
        self.logins.insert(fingerprint, (found, until_ms));
        // By when it is forgotten at the latest, so that this is in order.
        self.noted.push_back((known_until_ms, fingerprint));
    }

    /// Nothing is known any more.
    pub fn forget_all(&mut self) {
        self.logins.clear();
        self.noted.clear();
    }

    fn forget_first(&mut self) {
        let Some((known_until_ms, fingerprint)) = self.noted.pop_front() else { return };
        // It may have been noted again since.
        if self.logins.get(&fingerprint).is_some_and(|(_, until_ms)| *until_ms <= known_until_ms) {
            self.logins.remove(&fingerprint);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.logins.len()
    }
}
