//! Commands of users whose permissions somebody else has, while that is asked: they are put aside, and looked at again with
//! every answer until they lack none.

use super::super::hub::Hub;
use crate::access::Inquiry;
use crate::broker::store::Store;
use crate::broker::{Ahead, Judging, MoveTo, TailOf, UserId, VhostId};
use crate::management::{Asker, BindingSpec, Change, Command, Question, Request, VhostChange};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Commands that wait, in the order in which they began to.
#[derive(Default)]
pub(super) struct Judged {
    waiting: BTreeMap<u64, Waiting>,
    /// For which command each inquiry was made.
    inquiries: HashMap<u64, u64>,
    last: u64,
}

struct Waiting {
    command: Command,
    since_ms: u64,
    /// Its inquiries that are not answered.
    open: HashSet<u64>,
}

impl Judged {
    /// The command, unless somebody has to be asked first.
    pub fn unless_it_waits<S: Store>(&mut self, command: Command, hub: &mut Hub<S>) -> Option<Command> {
        let since_ms = hub.condition().now_ms;
        self.look(command, since_ms, hub)
    }

    /// The command whose last inquiry was answered, if it is one's, and if it waits for nothing else. It is judged as it would
    /// have been at first. One whose client has gone is forgotten.
    pub fn go_on<S: Store>(&mut self, number: u64, hub: &mut Hub<S>) -> Option<Command> {
        let id = self.inquiries.remove(&number)?;
        let waiting = self.waiting.get_mut(&id)?;
        waiting.open.remove(&number);
        let is_nobodys = waiting.command.refused.is_closed();
        if !is_nobodys && !waiting.open.is_empty() {
            return None;
        }
        let Waiting { command, since_ms, open } = self.waiting.remove(&id)?;
        if let Asker::User(user) = command.asker {
            hub.does_not_wait(user);
        }
        for number in open {
            self.inquiries.remove(&number);
            hub.forget_inquiry(number);
        }
        let found = match is_nobodys {
            true => None,
            false => {
                hub.broker_mut().judge(Judging::AsOf(since_ms));
                self.look(command, since_ms, hub)
            }
        };
        self.keep_answers(hub);
        found
    }

    fn look<S: Store>(&mut self, command: Command, since_ms: u64, hub: &mut Hub<S>) -> Option<Command> {
        let lacked = lacked(&command, hub);
        if lacked.is_empty() {
            return Some(command);
        }
        if let Asker::User(user) = command.asker {
            hub.waits(user);
        }
        self.last += 1;
        let open: HashSet<u64> = lacked.into_iter().map(|inquiry| hub.inquire(inquiry)).collect();
        self.inquiries.extend(open.iter().map(|number| (*number, self.last)));
        self.waiting.insert(self.last, Waiting { command, since_ms, open });
        self.keep_answers(hub);
        None
    }

    /// What was answered for a command stays known for as long as it waits for more.
    fn keep_answers<S: Store>(&self, hub: &mut Hub<S>) {
        let oldest = self.waiting.values().map(|waiting| waiting.since_ms).min();
        hub.broker_mut().keep_answers_since(oldest);
    }
}

/// What has to be asked elsewhere before a command can be carried out, or refused.
fn lacked<S: Store>(command: &Command, hub: &mut Hub<S>) -> Vec<Inquiry> {
    hub.broker_mut().drop_inquiries();
    let Asker::User(key) = command.asker else { return Vec::new() };
    let Some(user) = hub.broker().user_of(key).filter(|user| hub.broker().is_judged_elsewhere(*user)) else {
        return Vec::new();
    };
    match &command.request {
        Request::Question(Question::OpenVhosts { from, .. }) => drop(hub.broker().vhosts_of(user, *from)),
        Request::Question(Question::InVhost { vhost, .. })
        | Request::Change(Change::InVhost { vhost, .. } | Change::Policy { vhost, .. }) => {
            let Some(id) = hub.broker().vhost_named(vhost.as_bytes()) else { return Vec::new() };
            if hub.broker().may_enter(user, id)
                && let Request::Change(Change::InVhost { change, .. }) = &command.request
            {
                look_ahead(user, id, change, hub);
            }
        }
        _ => return Vec::new(),
    }
    hub.broker_mut().take_inquiries()
}

fn look_ahead<S: Store>(user: UserId, vhost: VhostId, change: &VhostChange, hub: &mut Hub<S>) {
    let ahead = match change {
        VhostChange::DeclareQueue { name, attributes, .. } => {
            Ahead::DeclareQueue { name, arguments: &attributes.arguments }
        }
        VhostChange::DeleteQueue { name, .. } => Ahead::DeleteQueue(name),
        VhostChange::PurgeQueue { name, .. } => Ahead::ReadQueue(name),
        VhostChange::Get { get, .. } => Ahead::ReadQueue(&get.queue),
        VhostChange::Peek { queue, .. }
        | VhostChange::ListHeld { queue, .. }
        | VhostChange::SettleHeld { queue, .. } => Ahead::ReadQueue(queue),
        VhostChange::Move { spec, .. } => match spec.to {
            // Each message by itself is asked of its own exchange.
            MoveTo::ItsExchange => Ahead::ReadQueue(&spec.queue),
            MoveTo::WhereItDied | MoveTo::Queue(_) => Ahead::MoveFromQueue(&spec.queue),
        },
        VhostChange::DeclareExchange { name, attributes, .. } => {
            Ahead::DeclareExchange { name, kind: &attributes.kind, arguments: &attributes.arguments }
        }
        VhostChange::DeleteExchange { name, .. } => Ahead::DeleteExchange(name),
        VhostChange::Bind { binding, .. } | VhostChange::Unbind { binding, .. } => {
            let BindingSpec { source, destination, to_queue, routing_key, .. } = binding;
            match to_queue {
                true => Ahead::BindQueue { queue: destination, exchange: source, routing_key },
                false => Ahead::BindExchange { source, destination, routing_key },
            }
        }
        VhostChange::Publish { publish, .. } => {
            Ahead::Publish { exchange: &publish.exchange, routing_key: &publish.routing_key }
        }
        VhostChange::ListDelayed { exchange, .. } | VhostChange::CountDelayed { exchange, .. } => {
            Ahead::WatchDelayed { exchange, cancels: false }
        }
        VhostChange::CancelDelayed { exchange, .. } => Ahead::WatchDelayed { exchange, cancels: true },
        VhostChange::StartTail { tail, .. } => match &tail.of {
            TailOf::Queue(name) => Ahead::ReadQueue(name),
            TailOf::Exchange(name) => Ahead::ReadExchange(name),
        },
        VhostChange::CountTail { id, .. } => Ahead::CountTail(*id),
        VhostChange::EndTail { .. } => return,
    };
    hub.directly(user, vhost, |direct| direct.broker.look_ahead(direct.caller, &ahead));
}
