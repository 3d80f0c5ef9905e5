//! The line from management's thread to the loop.
//!
//! The loop answers in its own time and never waits: an answer that nobody waits for any more is dropped.

use super::Reply;
use super::change::Change;
use super::question::Question;
use crate::broker::snapshot::{Page, PageStart};
use crate::reactor::Waker;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Commands that may wait for the loop; those beyond are refused.
const WAITING_COMMANDS_MAX: usize = 1024;

/// What comes through the line.
pub enum Command {
    Question(Question),
    Change(Change),
}

/// Management's end of the line to the loop.
#[derive(Clone)]
pub struct Line {
    commands: SyncSender<Command>,
    waker: Waker,
}

/// The loop didn't answer: it has too much to do, or is stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unanswered;

/// A line, and the loop's end of it.
pub fn line(waker: Waker) -> (Line, Receiver<Command>) {
    let (commands, receiver) = sync_channel(WAITING_COMMANDS_MAX);
    (Line { commands, waker }, receiver)
}

impl Line {
    /// Asks the question that `make` makes and waits for its answer.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Question) -> Result<T, Unanswered> {
        self.send(|reply| Command::Question(make(reply))).await
    }

    /// Has the change that `make` makes carried out and waits until it lasts.
    ///
    /// # Errors
    /// When the loop doesn't answer: it may have been carried out all the same.
    pub async fn change<T>(&self, make: impl FnOnce(Reply<T>) -> Change) -> Result<T, Unanswered> {
        self.send(|reply| Command::Change(make(reply))).await
    }

    async fn send<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(make(reply)).map_err(|_| Unanswered)?;
        self.waker.wake().map_err(|_| Unanswered)?;
        answer.await.map_err(|_| Unanswered)
    }

    /// Asks for all pages of a list, one after the other.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn ask_all<T>(&self, make: impl Fn(PageStart, Reply<Page<T>>) -> Question) -> Result<Vec<T>, Unanswered> {
        let mut items = Vec::new();
        let mut from = Some(PageStart::default());
        while let Some(start) = from {
            let page = self.ask(|reply| make(start, reply)).await?;
            items.extend(page.items);
            from = page.next;
        }
        Ok(items)
    }
}
