//! Who checks a password against a hash that takes its time: a thread of its own.

use crate::access::PasswordHash;
use crate::allocator;
use crate::reactor::process::step_back;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Checks one password at a time.
pub trait Checker {
    /// Begins to find out whether it is the hash of this password. What was begun before has come to an
    /// [outcome](Self::outcome).
    fn begin(&mut self, hash: Arc<PasswordHash>, password: Box<[u8]>);

    /// What came of it, once.
    fn outcome(&mut self) -> Option<bool>;
}

/// Checks where it is asked: for brokers that nobody attacks and whose hashes are quick.
#[derive(Default)]
pub struct AtOnce {
    outcome: Option<bool>,
}

impl Checker for AtOnce {
    fn begin(&mut self, hash: Arc<PasswordHash>, password: Box<[u8]>) {
        self.outcome = Some(hash.is_of(&password));
    }

    fn outcome(&mut self) -> Option<bool> {
        self.outcome.take()
    }
}

type Question = (Arc<PasswordHash>, Box<[u8]>);

/// How long the memory of a check, 19 MiB of our own hashes, is kept for the next one.
const KEPT_FOR: Duration = Duration::from_millis(100);

/// The loop's end of the thread `password-checker`, which ends when this is dropped.
pub struct PasswordThread {
    questions: Sender<Question>,
    outcomes: Receiver<bool>,
}

impl PasswordThread {
    /// Starts the thread. `wake` is called there after every outcome.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (questions, inbox) = channel();
        let (outbox, outcomes) = channel();
        let check = move || {
            // Who logs in can wait; who has work for the loop can't.
            step_back();
            while let Some((hash, password)) = next_question(&inbox) {
                // The loop is gone only when the program ends.
                let _ = outbox.send(hash.is_of(&password));
                wake();
            }
        };
        std::thread::Builder::new().name("password-checker".into()).spawn(check)?;
        Ok(Self { questions, outcomes })
    }
}

/// Waits for a question; `None` when no more will come.
fn next_question(inbox: &Receiver<Question>) -> Option<Question> {
    match inbox.recv_timeout(KEPT_FOR) {
        Err(RecvTimeoutError::Timeout) => {
            allocator::give_back();
            inbox.recv().ok()
        }
        question => question.ok(),
    }
}

impl Checker for PasswordThread {
    fn begin(&mut self, hash: Arc<PasswordHash>, password: Box<[u8]>) {
        self.questions.send((hash, password)).expect("the password checker lives as long as the loop");
    }

    fn outcome(&mut self) -> Option<bool> {
        self.outcomes.try_recv().ok()
    }
}
