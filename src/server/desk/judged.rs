//! Commands of users whose permissions somebody else has, while that is asked: they are put aside, and looked at again with
//! every answer until they lack none.

use super::super::hub::Hub;
use crate::access::Inquiry;
use crate::broker::store::Store;
use crate::broker::{Ahead, Judging, MoveTo, TailOf, UserId, VhostId};
use crate::management::{Asker, BindingSpec, Change, Command, Question, Request, VhostChange};
use std::collections::HashMap;

/// Commands that wait, by the numbers of their inquiries, and since when. Of each who asks over HTTP there is one at most.
#[derive(Default)]
pub(super) struct Judged(HashMap<u64, (Command, u64)>);

impl Judged {
    /// The command, unless somebody has to be asked first.
    pub fn unless_it_waits<S: Store>(&mut self, command: Command, hub: &mut Hub<S>) -> Option<Command> {
        let since_ms = hub.condition().now_ms;
        self.look(command, since_ms, hub)
    }

    /// The command whose inquiry was answered, if it is one's, and if it waits for nothing else. It is judged as it would have
    /// been at first.
    pub fn go_on<S: Store>(&mut self, number: u64, hub: &mut Hub<S>) -> Option<Command> {
        let (command, since_ms) = self.0.remove(&number)?;
        if let Asker::User(user) = command.asker {
            hub.does_not_wait(user);
        }
        hub.broker_mut().judge(Judging::AsOf(since_ms));
        self.look(command, since_ms, hub)
    }

    fn look<S: Store>(&mut self, command: Command, since_ms: u64, hub: &mut Hub<S>) -> Option<Command> {
        match lacked(&command, hub) {
            None => Some(command),
            Some(inquiry) => {
                if let Asker::User(user) = command.asker {
                    hub.waits(user);
                }
                self.0.insert(hub.inquire(inquiry), (command, since_ms));
                None
            }
        }
    }
}

/// What has to be asked elsewhere before a command can be carried out, or refused.
fn lacked<S: Store>(command: &Command, hub: &mut Hub<S>) -> Option<Inquiry> {
    let Asker::User(key) = command.asker else { return None };
    let user = hub.broker().user_of(key)?;
    if !hub.broker().is_judged_elsewhere(user) {
        return None;
    }
    match &command.request {
        Request::Question(Question::OpenVhosts { from, .. }) => drop(hub.broker().vhosts_of(user, *from)),
        Request::Question(Question::InVhost { vhost, .. })
        | Request::Change(Change::InVhost { vhost, .. } | Change::Policy { vhost, .. }) => {
            let id = hub.broker().vhost_named(vhost.as_bytes())?;
            if hub.broker().may_enter(user, id)
                && let Request::Change(Change::InVhost { change, .. }) = &command.request
            {
                look_ahead(user, id, change, hub);
            }
        }
        _ => return None,
    }
    hub.broker_mut().take_inquiry()
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
        // Of what somebody was let follow.
        VhostChange::CountTail { .. } | VhostChange::EndTail { .. } => return,
    };
    hub.directly(user, vhost, |direct| direct.broker.look_ahead(direct.caller, &ahead));
}
