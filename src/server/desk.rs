//! Where the loop answers management: one command at a time, a few in a turn.
//!
//! What was changed is answered as clients are: when the disk has it. Each command says who gives it and, if it is about one,
//! in which virtual host; whether that somebody may is asked here, when it is carried out.
//!
//! | file | owns |
//! |---|---|
//! | `desk` | whose turn it is, who may, and when an answer is given |
//! | `questions` | what there is |
//! | `logins` | who somebody is that wants to be let in |
//! | `changes` | what AMQP has, too |
//! | `orders` | what administrators alone may have |
//! | `imports` | what they bring as a whole |
//! | `judged` | commands that wait until somebody elsewhere says whether they may be given |
//! | `moves` | messages that go from one queue elsewhere |

mod changes;
mod imports;
mod judged;
mod logins;
mod moves;
mod orders;
mod questions;

use super::hub::Hub;
use crate::broker::policy::PolicyKind;
use crate::broker::store::{LogPosition, Store};
use crate::broker::{Done, Judging, UserId, VhostId};
use crate::management::{Asker, Change, Command, GetSpec, Order, Question, Refusal, Reply, Request, VhostChange};
use crate::protocol::AmqpError;
use imports::Imports;
pub use imports::import_at_once;
use judged::Judged;
use logins::Logins;
use moves::Moves;
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

/// Commands answered in one turn, so that clients get theirs.
const COMMANDS_PER_TURN: usize = 4;

/// The loop's end of the line to management.
pub struct Desk {
    commands: Receiver<Command>,
    /// The last turn's share was used up: more may wait.
    more: bool,
    /// This turn's share, and what was left of the last one: the first may ask for messages that are on their way back to
    /// memory, and waits for them.
    share: VecDeque<Command>,
    /// So many answers of somebody elsewhere were taken in the last turn that there may be more of them.
    judged_may_wait: bool,
    /// Answers that wait for the log to be durable up to there.
    held: VecDeque<(LogPosition, Answer)>,
    logins: Logins,
    imports: Imports,
    judged: Judged,
    moves: Moves,
}

/// Answers whoever asked.
type Answer = Box<dyn FnOnce()>;

impl Desk {
    pub fn new(commands: Receiver<Command>) -> Self {
        Self {
            commands,
            more: false,
            share: VecDeque::new(),
            judged_may_wait: false,
            held: VecDeque::new(),
            logins: Logins::default(),
            imports: Imports::default(),
            judged: Judged::default(),
            moves: Moves::default(),
        }
    }

    /// The line to management, for who answers after this desk. Nobody is answered whom this one has not answered.
    pub fn into_commands(self) -> Receiver<Command> {
        self.commands
    }

    /// Notes that a command came.
    pub fn ring(&mut self) {
        self.more = true;
    }

    /// Whether [`answer`](Self::answer) may have something to do.
    pub fn has_work(&self) -> bool {
        self.more
    }

    /// Answers a turn's share of what waits. Whoever is answered and asks again is answered in the next turn: by then
    /// everything that the first command led to has been pumped, such as the dead letters that it made.
    pub fn answer<S: Store>(&mut self, hub: &mut Hub<S>) {
        let durable = hub.broker().durable();
        let due = self.held.iter().take_while(|(position, _)| *position <= durable).count();
        self.held.drain(..due).for_each(|(_, answer)| answer());
        self.logins.answer(hub);
        self.go_on_judging(hub);
        if !self.more {
            return;
        }
        let imported = self.imports.go_on(hub);
        self.held.extend(imported);
        let moved = self.moves.go_on(hub);
        self.held.extend(moved);
        ask_for_what_lacked(hub);
        // Commands that were judged came besides.
        let missing = COMMANDS_PER_TURN.saturating_sub(self.share.len());
        self.share.extend(self.commands.try_iter().take(missing));
        self.more = self.share.len() >= COMMANDS_PER_TURN
            || self.judged_may_wait
            || self.imports.are_waiting()
            || self.moves.are_waiting();
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.share.pop_front() else { return };
            if let Request::Question(Question::LogIn(login)) = command.request {
                self.logins.ask(login, hub);
                continue;
            }
            if let Request::Order(Order::Import { import, reply }) = command.request {
                match administrator(command.asker, hub) {
                    Ok(user) => self.imports.add(hub.broker().user_key(user), import, reply),
                    Err(refusal) => send(command.refused, refusal),
                }
                self.more = true;
                continue;
            }
            let Some(command) = self.judged.unless_it_waits(command, hub) else { continue };
            if !self.carry_on(command, hub) {
                return;
            }
        }
    }
}

impl Desk {
    /// Carries out a command that has to ask nobody, or begins with one that takes several turns. False when it waits for
    /// messages that are on their way back to memory.
    fn carry_on<S: Store>(&mut self, command: Command, hub: &mut Hub<S>) -> bool {
        if let Request::Change(Change::InVhost { vhost, change: VhostChange::Move { spec, reply } }) = command.request {
            match caller(command.asker, &vhost, hub) {
                Ok(by) => self.moves.add(by, *spec, reply, hub),
                Err(refusal) => send(command.refused, refusal),
            }
            self.more = true;
            return true;
        }
        if waits_for_messages(&command, hub) {
            self.share.push_front(command);
            self.more = true;
            return false;
        }
        self.held.extend(answer(command, hub));
        true
    }

    /// Goes on with commands and logins for which somebody elsewhere was asked.
    fn go_on_judging<S: Store>(&mut self, hub: &mut Hub<S>) {
        self.judged_may_wait = true;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(number) = hub.next_judged() else {
                self.judged_may_wait = false;
                return;
            };
            if let Some(command) = self.judged.go_on(number, hub) {
                // It waits for nothing else: what is away is asked for, and looked at again with the next command.
                self.carry_on(command, hub);
            }
            self.logins.go_on(number, hub);
            hub.broker_mut().judge(Judging::Now);
        }
        self.more = true;
    }
}

/// What was found to be unknown in the middle of a command, which was refused it, is asked for: it is known when the command is
/// given again. A message that is moved to its own exchange is such a command.
fn ask_for_what_lacked<S: Store>(hub: &mut Hub<S>) {
    for inquiry in hub.broker_mut().take_inquiries() {
        hub.inquire(inquiry);
    }
}

/// Answers; whoever asked may have gone meanwhile, and then the answer is nobody's.
fn send<T>(reply: Reply<T>, answer: T) {
    drop(reply.send(answer));
}

/// Whether it asks for messages that are on their way back to memory. If they are not, they are asked for.
fn waits_for_messages<S: Store>(command: &Command, hub: &mut Hub<S>) -> bool {
    let Request::Change(Change::InVhost { vhost, change }) = &command.request else { return false };
    if !matches!(
        change,
        VhostChange::Get { .. }
            | VhostChange::Peek { .. }
            | VhostChange::ListDelayed { .. }
            | VhostChange::CancelDelayed { .. }
    ) {
        return false;
    }
    // Nobody has messages fetched that are not for them.
    let Ok((_, vhost)) = caller(command.asker, vhost, hub) else { return false };
    let broker = hub.broker_mut();
    match change {
        VhostChange::Get { get: GetSpec { queue, .. }, .. } | VhostChange::Peek { queue, .. } => {
            let queue = broker.queue_in(vhost, queue);
            queue.is_some_and(|id| broker.head_is_away(broker.queue_key(id)))
        }
        VhostChange::ListDelayed { exchange, skipped, most, .. } => {
            !broker.brings_delayed(vhost, exchange, *skipped, *most)
        }
        VhostChange::CancelDelayed { exchange, id, .. } => !broker.brings_delayed_message(vhost, exchange, *id),
        _ => false,
    }
}

/// Answers, or says what the answer has to wait for.
fn answer<S: Store>(command: Command, hub: &mut Hub<S>) -> Option<(LogPosition, Answer)> {
    let Command { asker, request, refused } = command;
    let outcome = match request {
        Request::Question(question) => tell(asker, question, hub).map(|()| None),
        Request::Change(change) => carry_out(asker, change, hub).map(Some),
        Request::Order(order) => administrator(asker, hub).map(|user| Some(orders::carry_out(user, order, hub))),
    };
    match outcome {
        Err(refusal) => {
            send(refused, refusal);
            None
        }
        Ok(None) => None,
        Ok(Some(Done { value: answer, durable_at })) => match hub.broker_mut().await_durable(durable_at) {
            Some(position) => Some((position, answer)),
            None => {
                answer();
                None
            }
        },
    }
}

fn tell<S: Store>(asker: Asker, question: Question, hub: &Hub<S>) -> Result<(), Refusal> {
    match question {
        Question::InVhost { vhost, question } => {
            let vhost = hub.broker().vhost_named(vhost.as_bytes()).ok_or(Refusal::NoSuchVhost)?;
            if let Some(user) = user(asker, hub)? {
                let tags = &hub.broker().user_at(user).tags;
                if !tags.is_monitor() && !hub.broker().may_enter(user, vhost) {
                    return Err(Refusal::VhostClosed);
                }
            }
            questions::tell_in(vhost, question, hub);
        }
        question => questions::tell(user(asker, hub)?, question, hub),
    }
    Ok(())
}

fn carry_out<S: Store>(asker: Asker, change: Change, hub: &mut Hub<S>) -> Result<Done<Answer>, Refusal> {
    match change {
        Change::InVhost { vhost, change } => {
            let (user, vhost) = caller(asker, &vhost, hub)?;
            Ok(changes::carry_out(user, vhost, change, hub))
        }
        Change::Policy { vhost, kind, change } => {
            let (user, vhost) = policymaker(asker, &vhost, kind, hub)?;
            Ok(changes::change_policy(user, vhost, kind, change, hub))
        }
        Change::CloseConnection { peer, local, reason, reply } => {
            user(asker, hub)?;
            Ok(changes::close_connection((peer, local), &reason, reply, hub))
        }
    }
}

/// Whoever asks, unless it is management itself.
fn user<S: Store>(asker: Asker, hub: &Hub<S>) -> Result<Option<UserId>, Refusal> {
    match asker {
        Asker::Management => Ok(None),
        Asker::User(key) => hub.broker().user_of(key).map(Some).ok_or(Refusal::NoSuchUser),
    }
}

fn administrator<S: Store>(asker: Asker, hub: &Hub<S>) -> Result<UserId, Refusal> {
    let user = user(asker, hub)?.ok_or(Refusal::NoSuchUser)?;
    let is_one = hub.broker().user_at(user).tags.is_administrator();
    if is_one { Ok(user) } else { Err(Refusal::NotAdministrator) }
}

/// Who makes policies in a virtual host: of operators administrators alone.
fn policymaker<S: Store>(
    asker: Asker,
    vhost: &str,
    kind: PolicyKind,
    hub: &Hub<S>,
) -> Result<(UserId, VhostId), Refusal> {
    let broker = hub.broker();
    let user = user(asker, hub)?.ok_or(Refusal::NoSuchUser)?;
    let vhost = broker.vhost_named(vhost.as_bytes()).ok_or(Refusal::NoSuchVhost)?;
    let tags = &broker.user_at(user).tags;
    match kind {
        _ if tags.is_administrator() => Ok((user, vhost)),
        PolicyKind::User if tags.is_policymaker() && broker.may_enter(user, vhost) => Ok((user, vhost)),
        PolicyKind::User => Err(Refusal::NotPolicymaker),
        PolicyKind::Operator => Err(Refusal::NotAdministrator),
    }
}

/// Who does something in a virtual host, with the permissions it has there.
fn caller<S: Store>(asker: Asker, vhost: &str, hub: &Hub<S>) -> Result<(UserId, VhostId), Refusal> {
    let user = user(asker, hub)?.ok_or(Refusal::NoSuchUser)?;
    let vhost = hub.broker().vhost_named(vhost.as_bytes()).ok_or(Refusal::NoSuchVhost)?;
    if hub.broker().may_enter(user, vhost) { Ok((user, vhost)) } else { Err(Refusal::VhostClosed) }
}

/// The answer to give when what was done is durable; at once when it was refused, as that changed nothing.
fn later<T: 'static>(reply: Reply<Result<T, AmqpError>>, outcome: Result<Done<T>, AmqpError>) -> Done<Answer> {
    let durable_at = outcome.as_ref().map_or(LogPosition::default(), |done| done.durable_at);
    let answer = outcome.map(|done| done.value);
    Done { value: Box::new(|| send(reply, answer)), durable_at }
}

#[cfg(test)]
mod tests;
