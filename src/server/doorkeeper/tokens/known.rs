//! Tokens that were found good a while ago, so that who comes again need not wait, and is the same one as before.

use crate::access::{Bearer, Fingerprint};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Tokens that are known at a time; those beyond replace the ones that have been for longest.
pub const KNOWN_MAX: usize = 4096;

/// What was found good, and of whom. It keeps fingerprints, and no token.
pub struct KnownTokens {
    known_for_ms: u64,
    unix_start_ms: u64,
    tokens: HashMap<Fingerprint, (Arc<Bearer>, u64)>,
    /// In the order in which they were noted, and until when.
    noted: VecDeque<(u64, Fingerprint)>,
}

impl KnownTokens {
    pub fn new(known_for_ms: u64, unix_start_ms: u64) -> Self {
        Self { known_for_ms, unix_start_ms, tokens: HashMap::new(), noted: VecDeque::new() }
    }

    /// The bearer of a token that is known, and has not expired since.
    pub fn find(&mut self, fingerprint: Fingerprint, now_ms: u64) -> Option<Arc<Bearer>> {
        while self.noted.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.forget_first();
        }
        let (bearer, until_ms) = self.tokens.get(&fingerprint)?;
        (now_ms < *until_ms).then(|| Arc::clone(bearer))
    }

    /// This is good.
    pub fn note(&mut self, fingerprint: Fingerprint, bearer: Arc<Bearer>, now_ms: u64) {
        if self.noted.len() >= KNOWN_MAX {
            self.forget_first();
        }
        let known_until_ms = now_ms + self.known_for_ms;
        let expires_ms = bearer.expires_unix_ms.map(|unix_ms| unix_ms.saturating_sub(self.unix_start_ms));
        let until_ms = expires_ms.map_or(known_until_ms, |expires_ms| expires_ms.min(known_until_ms));
        self.tokens.insert(fingerprint, (bearer, until_ms));
        // By when it is forgotten at the latest, so that this is in order.
        self.noted.push_back((known_until_ms, fingerprint));
    }

    fn forget_first(&mut self) {
        let Some((known_until_ms, fingerprint)) = self.noted.pop_front() else { return };
        // It may have been noted again since.
        if self.tokens.get(&fingerprint).is_some_and(|(_, until_ms)| *until_ms <= known_until_ms) {
            self.tokens.remove(&fingerprint);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
}
