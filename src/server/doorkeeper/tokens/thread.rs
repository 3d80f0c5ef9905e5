//! Who checks tokens: the thread `token-checker`, and the thread `jwks` that fetches keys for it.

use super::checking::{Checking, Now};
use super::{Outcome, Source, TokenChecker};
use crate::reactor::Clock;
use crate::reactor::process::step_back;
use crate::token::Keys;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use ureq::tls::TlsConfig;

enum Message {
    Check(u64, Box<[u8]>),
    /// Keys, or that they could not be fetched.
    Fetched(Option<Keys>),
    /// The configured keys were read again.
    Renew(Keys),
    /// Who publishes keys is known by this from now on.
    Trust(TlsConfig),
    /// Nobody asks any more.
    End,
}

/// What the thread `jwks` is asked for.
enum Errand {
    Fetch,
    Trust(TlsConfig),
}

/// The loop's end of the threads, which end when this is dropped.
pub struct TokenThread {
    messages: Sender<Message>,
    outcomes: Receiver<Outcome>,
}

impl TokenThread {
    /// Starts the threads. `wake` is called there after every outcome.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(
        checking: Checking,
        source: Option<Source>,
        clock: Clock,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (messages, inbox) = channel();
        let (outbox, outcomes) = channel();
        let errands = source.map(|source| start_fetching(source, messages.clone())).transpose()?;
        let run = move || {
            // Who logs in can wait; who has work for the loop can't.
            step_back();
            check(checking, &inbox, errands.as_ref(), clock, |outcome| {
                // The loop is gone only when the program ends.
                let _ = outbox.send(outcome);
                wake();
            });
        };
        std::thread::Builder::new().name("token-checker".into()).spawn(run)?;
        Ok(Self { messages, outcomes })
    }
}

fn start_fetching(mut source: Source, messages: Sender<Message>) -> io::Result<Sender<Errand>> {
    let (errands, inbox) = channel();
    let run = move || {
        step_back();
        for errand in inbox {
            if let Errand::Trust(trust) = errand {
                source.trust(trust);
                continue;
            }
            let keys = match source.fetch() {
                Ok(keys) => {
                    tracing::info!(target: "auth", "the issuer publishes {} keys that can be used", keys.len());
                    Some(keys)
                }
                Err(reason) => {
                    tracing::error!(target: "auth", "the issuer's keys can't be fetched: {reason}");
                    None
                }
            };
            if messages.send(Message::Fetched(keys)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("jwks".into()).spawn(run)?;
    Ok(errands)
}

fn check(
    mut checking: Checking,
    inbox: &Receiver<Message>,
    errands: Option<&Sender<Errand>>,
    clock: Clock,
    tell: impl Fn(Outcome),
) {
    let now = || Now { ms: clock.now_ms(), unix_ms: clock.unix_ms() };
    loop {
        if checking.wants_keys(now())
            && let Some(errands) = errands
        {
            let _ = errands.send(Errand::Fetch);
        }
        let message = match checking.next_fetch_ms() {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next_ms) => inbox.recv_timeout(Duration::from_millis(next_ms.saturating_sub(clock.now_ms()))),
        };
        match message {
            Ok(Message::Check(serial, token)) => checking.check(serial, token, now()).into_iter().for_each(&tell),
            Ok(Message::Renew(keys)) => checking.renew(keys),
            Ok(Message::Trust(trust)) => {
                if let Some(errands) = errands {
                    let _ = errands.send(Errand::Trust(trust));
                }
                checking.fetch_again();
            }
            Ok(Message::Fetched(keys)) => checking.take_keys(keys, now()).into_iter().for_each(&tell),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Gives the threads other keys.
pub struct KeyRenewer(Sender<Message>);

impl KeyRenewer {
    /// These are configured from now on, and those that are published are fetched again.
    pub fn renew(&self, configured: Keys) {
        // The threads are gone only when the program ends.
        let _ = self.0.send(Message::Renew(configured));
    }

    /// Whoever publishes keys is known by this from now on, and they are fetched again.
    pub fn renew_trust(&self, trust: TlsConfig) {
        let _ = self.0.send(Message::Trust(trust));
    }
}

impl TokenThread {
    pub fn renewer(&self) -> KeyRenewer {
        KeyRenewer(self.messages.clone())
    }
}

impl TokenChecker for TokenThread {
    fn begin(&mut self, serial: u64, token: Box<[u8]>) {
        self.messages.send(Message::Check(serial, token)).expect("the token checker lives as long as the loop");
    }

    fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }
}

impl Drop for TokenThread {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
    }
}
