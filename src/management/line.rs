//! The line from management's thread to the loop.
//!
//! Each command says who gives it. The loop answers in its own time and never waits: an answer that nobody waits for any
//! more is dropped.

use super::Reply;
use super::change::{Change, VhostChange};
use super::order::Order;
use super::question::{Question, VhostQuestion};
use crate::broker::UserKey;
use crate::broker::snapshot::{Page, PageStart};
use crate::reactor::Waker;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Commands that may wait for the loop; those beyond are refused.
const WAITING_COMMANDS_MAX: usize = 1024;

/// What comes through the line.
pub struct Command {
    pub asker: Asker,
    pub request: Request,
    /// Where it is said that the asker may not have this; then there is no other answer.
    pub refused: Reply<Refusal>,
}

pub enum Request {
    Question(Question),
    Change(Change),
    Order(Order),
}

/// Who gives a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// Management itself, which only looks.
    Management,
    /// Somebody who logged in, and may have been deleted since.
    User(UserKey),
}

/// Why somebody may not have what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The user was deleted meanwhile.
    NoSuchUser,
    NotAdministrator,
    /// It makes no policies there.
    NotPolicymaker,
    NoSuchVhost,
    /// The user may not enter the virtual host.
    VhostClosed,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declined {
    /// The loop has too much to do, or is stopping.
    Unanswered,
    Refused(Refusal),
}

/// Management's end of the line to the loop.
#[derive(Clone)]
pub struct Line {
    commands: SyncSender<Command>,
    waker: Waker,
}

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
    pub async fn ask<T>(&self, asker: Asker, make: impl FnOnce(Reply<T>) -> Question) -> Result<T, Declined> {
        self.send(asker, |reply| Request::Question(make(reply))).await
    }

    /// Asks about what is in a virtual host.
    ///
    /// # Errors
    /// When the loop doesn't answer, or there is no such virtual host, or it is not for the asker to see.
    pub async fn ask_in<T>(
        &self,
        asker: Asker,
        vhost: &str,
        make: impl FnOnce(Reply<T>) -> VhostQuestion,
    ) -> Result<T, Declined> {
        self.ask(asker, |reply| Question::InVhost { vhost: vhost.into(), question: make(reply) }).await
    }

    /// Has the change that `make` makes carried out and waits until it lasts.
    ///
    /// # Errors
    /// When the loop doesn't answer: it may have been carried out all the same. When it refuses, nothing has changed.
    pub async fn change<T>(&self, asker: Asker, make: impl FnOnce(Reply<T>) -> Change) -> Result<T, Declined> {
        self.send(asker, |reply| Request::Change(make(reply))).await
    }

    /// Has something changed that is in a virtual host.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn change_in<T>(
        &self,
        asker: Asker,
        vhost: &str,
        make: impl FnOnce(Reply<T>) -> VhostChange,
    ) -> Result<T, Declined> {
        self.change(asker, |reply| Change::InVhost { vhost: vhost.into(), change: make(reply) }).await
    }

    /// Has the order that `make` makes carried out and waits until it lasts.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn order<T>(&self, asker: Asker, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Declined> {
        self.send(asker, |reply| Request::Order(make(reply))).await
    }

    async fn send<T>(&self, asker: Asker, make: impl FnOnce(Reply<T>) -> Request) -> Result<T, Declined> {
        let (reply, answer) = oneshot::channel();
        let (refused, refusal) = oneshot::channel();
        let command = Command { asker, request: make(reply), refused };
        self.commands.try_send(command).map_err(|_| Declined::Unanswered)?;
        self.waker.wake().map_err(|_| Declined::Unanswered)?;
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(refusal.await.map_or(Declined::Unanswered, Declined::Refused)),
        }
    }

    /// Asks for all pages of a list, one after the other.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn ask_all<T>(
        &self,
        asker: Asker,
        make: impl Fn(PageStart, Reply<Page<T>>) -> Question,
    ) -> Result<Vec<T>, Declined> {
        let mut items = Vec::new();
        let mut from = Some(PageStart::default());
        while let Some(start) = from {
            let page = self.ask(asker, |reply| make(start, reply)).await?;
            items.extend(page.items);
            from = page.next;
        }
        Ok(items)
    }
}
