//! What the thread `token-checker` does, without the thread: which tokens are good, and when keys are fetched.
//!
//! A token that names a key that is not known waits while keys are fetched, which they are not more often than every so
//! often, whatever tokens say. All others go on meanwhile.

use super::Outcome;
use crate::token::{BadToken, Keys, Rules};
use std::collections::VecDeque;
use std::sync::Arc;

/// Tokens that wait for keys; those beyond are refused.
pub const PARKED_MAX: usize = 256;

/// How often keys are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// For their own sake.
    pub refresh_ms: u64,
    /// Never sooner than that after the last time.
    pub least_ms: u64,
}

/// What time it is: on a clock that never goes back, and by the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub ms: u64,
    pub unix_ms: u64,
}

pub struct Checking {
    rules: Rules,
    configured: Keys,
    /// What was published when it was last fetched.
    published: Keys,
    /// Both.
    keys: Keys,
    /// `None` when there is nowhere to fetch them.
    intervals: Option<Intervals>,
    /// They are being fetched now.
    is_fetching: bool,
    /// When they began to be.
    fetched_ms: Option<u64>,
    parked: VecDeque<(u64, Box<[u8]>)>,
}

impl Checking {
    pub fn new(rules: Rules, configured: Keys, intervals: Option<Intervals>) -> Self {
        let (keys, published) = (configured.clone(), Keys::default());
        Self {
            rules,
            configured,
            published,
            keys,
            intervals,
            is_fetching: false,
            fetched_ms: None,
            parked: VecDeque::new(),
        }
    }

    /// Checks a token. `None` when it has to wait for keys: see [`wants_keys`](Self::wants_keys).
    pub fn check(&mut self, serial: u64, token: Box<[u8]>, now: Now) -> Option<Outcome> {
        match self.rules.check(&token, &self.keys, now.unix_ms) {
            Err(BadToken::UnknownKey) if self.may_wait(now) => {
                self.parked.push_back((serial, token));
                None
            }
            outcome => Some((serial, outcome.map(Arc::new))),
        }
    }

    fn may_wait(&self, now: Now) -> bool {
        (self.is_fetching || self.may_fetch(now)) && self.parked.len() < PARKED_MAX
    }

    fn may_fetch(&self, now: Now) -> bool {
        let Some(Intervals { least_ms, .. }) = self.intervals else { return false };
        !self.is_fetching && self.fetched_ms.is_none_or(|fetched_ms| now.ms >= fetched_ms + least_ms)
    }

    /// Whether keys are to be fetched: then the caller does, and [says](Self::take_keys) what came of it.
    pub fn wants_keys(&mut self, now: Now) -> bool {
        let is_time = self.next_fetch_ms().is_some_and(|next_ms| next_ms <= now.ms) || !self.parked.is_empty();
        let begins = is_time && self.may_fetch(now);
        if begins {
            (self.is_fetching, self.fetched_ms) = (true, Some(now.ms));
        }
        begins
    }

    /// When keys are fetched again though nobody asks for one.
    pub fn next_fetch_ms(&self) -> Option<u64> {
        let Intervals { refresh_ms, .. } = self.intervals.filter(|_| !self.is_fetching)?;
        Some(self.fetched_ms.map_or(0, |fetched_ms| fetched_ms + refresh_ms))
    }

    /// Other keys are configured from now on, and those that are published are to be [fetched again](Self::fetch_again).
    pub fn renew(&mut self, configured: Keys) {
        self.keys = configured.and(&self.published);
        self.configured = configured;
        self.fetch_again();
    }

    /// Keys that are published are to be fetched, however short a time ago they were: somebody wants that.
    pub fn fetch_again(&mut self) {
        self.fetched_ms = None;
    }

    /// Keys were fetched, or could not be: then those that there were stay. Whoever waited is answered.
    pub fn take_keys(&mut self, published: Option<Keys>, now: Now) -> Vec<Outcome> {
        self.is_fetching = false;
        if let Some(published) = published {
            self.published = published;
            self.keys = self.configured.and(&self.published);
        }
        let check = |(serial, token): (u64, Box<[u8]>)| {
            (serial, self.rules.check(&token, &self.keys, now.unix_ms).map(Arc::new))
        };
        std::mem::take(&mut self.parked).into_iter().map(check).collect()
    }
}
