//! What the broker may say: every answer as it is due, every delivery in its place.

use super::{ClientId, Consumer, ConsumerKey, Due, Mode, Model, Unacked, differs};
use crate::wire::{Content, Event, Reply};
use std::cmp::Ordering;

/// What the broker may see in a client.
#[derive(Clone, Copy)]
pub struct Outlook {
    /// Its outbox surely takes deliveries.
    pub has_room: bool,
    /// Everything that was said to it has been looked at.
    pub is_quiet: bool,
}

/// Whether an event fits.
#[derive(PartialEq, Eq, Debug)]
pub enum Fit {
    /// It happened, and the model has followed it.
    Now,
    /// It would break a rule now; something that is still to be looked at may change that.
    NotYet,
}

impl Due {
    /// Whether it says that what a command changed is safe: definitions, purges, commits.
    fn is_a_promise(&self) -> bool {
        match self {
            Self::DeclareOk { .. } | Self::Count(50, ..) => true,
            Self::Plain(class, _) => [40, 50, 90].contains(class),
            _ => false,
        }
    }
}

impl Model {
    /// Why the last event didn't fit.
    pub fn objection(&self) -> &str {
        &self.objection
    }

    fn object(&mut self, why: impl Into<String>) -> Fit {
        self.objection = why.into();
        Fit::NotYet
    }

    /// The broker wrote this to a client.
    pub fn observe(&mut self, client: ClientId, number: u16, event: &Event) -> Fit {
        self.begin_doubts();
        self.promises.clear();
        match event {
            Event::Reply(Reply::ConnectionClose(320)) if self.clients[&client].doomed && self.clients[&client].open => {
                self.observe_eviction(client)
            }
            Event::Reply(reply) => self.observe_reply(client, number, reply),
            Event::Deliver { consumer_tag, delivery_tag, redelivered, content } => {
                self.observe_delivery(client, number, consumer_tag, (*delivery_tag, *redelivered), content)
            }
            Event::Confirm { delivery_tag, multiple } => self.observe_confirm(client, number, *delivery_tag, *multiple),
            Event::Cancelled(tag) => {
                let state = self.clients.get_mut(&client).expect("events come for clients that are there");
                match state.cancellations.remove(&(number, tag.clone())) {
                    true => Fit::Now,
                    false => self.object(format!("consumer {tag} wasn't to be cancelled")),
                }
            }
            Event::Blocked | Event::Unblocked => {
                let blocked = *event == Event::Blocked;
                let state = self.clients.get_mut(&client).expect("events come for clients that are there");
                match std::mem::replace(&mut state.blocked, blocked) == blocked {
                    false => Fit::Now,
                    true => self.object("it was told so before"),
                }
            }
            Event::Refused { .. } => self.object("no queue here refuses anything"),
            Event::Heartbeat => Fit::Now,
        }
    }

    /// Whoever is doomed is closed at any time, but not before it was answered what it had asked.
    fn observe_eviction(&mut self, client: ClientId) -> Fit {
        if let Some((number, due, _)) = self.clients[&client].due.front() {
            let why = format!("due on channel {number} is {due:?}");
            return self.object(why);
        }
        self.lasting.begin_act();
        self.end_connection(client);
        self.end_act();
        Fit::Now
    }

    fn observe_reply(&mut self, client: ClientId, number: u16, reply: &Reply) -> Fit {
        let state = self.clients.get_mut(&client).expect("events come for clients that are there");
        let Some((due_number, due, _)) = state.due.front() else { return self.object("no answer is due") };
        let fits = *due_number == number
            && match (due, reply) {
                (Due::Plain(class, method), Reply::Plain(c, m)) => (class, method) == (c, m),
                (
                    Due::DeclareOk { name, messages, consumers, .. },
                    Reply::DeclareOk { name: n, messages: m, consumers: c },
                ) => {
                    let named = name.as_ref().map_or(n.starts_with("amq.gen-"), |name| name == n);
                    named && messages.contains(&(*m as usize)) && consumers == c
                }
                (Due::Count(class, method, count), Reply::Count(c, m, n)) => {
                    (class, method) == (c, m) && count.contains(&(*n as usize))
                }
                (Due::ConsumeOk { tag, .. }, Reply::ConsumeOk(t)) => {
                    tag == t || tag.is_empty() && t.starts_with("amq.ctag-")
                }
                (Due::CancelOk(tag), Reply::CancelOk(t)) => tag == t,
                (
                    Due::GetOk { delivery_tag, redelivered, message_count, message },
                    Reply::GetOk { delivery_tag: t, redelivered: r, message_count: c, content },
                ) => {
                    let counts = message_count.contains(&(*c as usize));
                    (delivery_tag, redelivered) == (t, r) && counts && content.is(message)
                }
                (Due::Return(message), Reply::Return(content)) => content.is(message),
                (Due::ChannelClose(code, class, method), Reply::ChannelClose(o, c, m)) => {
                    (code, class, method) == (o, c, m)
                }
                (Due::ConnectionClose(code), Reply::ConnectionClose(c)) => code == c,
                _ => false,
            };
        if !fits {
            let why = format!("due on channel {due_number} is {due:?}");
            return self.object(why);
        }
        let (_, due, act) = state.due.pop_front().expect("it was looked at above");
        if due.is_a_promise() {
            self.promises.push(act);
        }
        self.learn(due, reply);
        Fit::Now
    }

    /// Names that the broker made up.
    fn learn(&mut self, due: Due, reply: &Reply) {
        match (due, reply) {
            (Due::DeclareOk { queue, .. }, Reply::DeclareOk { name, .. }) => {
                self.all_names[queue].1 = Some(name.clone());
                if let Some(state) = self.queues.get_mut(&queue) {
                    state.name = Some(name.clone());
                    self.names.insert((state.vhost, name.clone()), queue);
                }
            }
            (Due::ConsumeOk { consumer, .. }, Reply::ConsumeOk(tag)) => {
                if let Some(consumer) = self.consumers.get_mut(&consumer) {
                    consumer.tag = Some(tag.clone());
                }
            }
            _ => {}
        }
    }

    fn observe_delivery(
        &mut self,
        client: ClientId,
        number: u16,
        tag: &str,
        (delivery_tag, redelivered): (u64, bool),
        content: &Content,
    ) -> Fit {
        let channel = self.clients[&client].channels.get(&number);
        let Some(channel) = channel.filter(|channel| !channel.closing) else {
            return self.object("the channel is not open");
        };
        let named = channel.consumers.iter().find(|key| self.consumers[key].tag.as_deref() == Some(tag));
        let Some(&consumer_key) = named else { return self.object("no such consumer") };
        let consumer = &self.consumers[&consumer_key];
        let (queue_key, no_ack) = (consumer.queue, consumer.no_ack);
        if !self.has_credit(consumer) {
            return self.object("its prefetch count is used up");
        }
        if delivery_tag != channel.last_delivery_tag + 1 {
            let last = channel.last_delivery_tag;
            return self.object(format!("the last delivery tag was {last}"));
        }
        let queue = &self.queues[&queue_key];
        let alive = |at_ms: Option<u64>| at_ms.is_none_or(|at_ms| at_ms > self.now_ms);
        let head = queue.ready.iter().find(|(_, entry)| entry.fresh || alive(entry.expires_at_ms));
        let Some((&sequence, head)) = head else { return self.object("its queue has no message to deliver") };
        if !content.is(&head.message) {
            return self.object(differs(content, &head.message));
        }
        if redelivered != head.delivered {
            return self.object(format!("delivered before: {}", head.delivered));
        }

        let queue = self.queues.get_mut(&queue_key).expect("it was found above");
        let behind = queue.ready.split_off(&(sequence + 1));
        let (_, entry) = queue.ready.pop_last().expect("the head was found above");
        // What is left before it had expired.
        queue.ready = behind;
        queue.deliveries += 1;
        self.consumers.get_mut(&consumer_key).expect("it was found above").served_at = queue.deliveries;
        self.channel(client, number).last_delivery_tag = delivery_tag;
        if !no_ack {
            let consumer = self.consumers.get_mut(&consumer_key).expect("it was found above");
            consumer.unacked += 1;
            consumer.short_since_ms = None;
            let unacked = Unacked { queue: queue_key, sequence, entry, consumer: Some(consumer_key) };
            self.channel(client, number).unacked.insert(delivery_tag, unacked);
        }
        Fit::Now
    }

    fn observe_confirm(&mut self, client: ClientId, number: u16, delivery_tag: u64, multiple: bool) -> Fit {
        let state = self.clients.get_mut(&client).expect("events come for clients that are there");
        let return_is_due = state.due.iter().any(|(n, due, _)| *n == number && matches!(due, Due::Return(_)));
        let Some(Mode::Confirm { published, confirmed, unconfirmed }) =
            state.channels.get_mut(&number).map(|channel| &mut channel.mode)
        else {
            return self.object("the channel is not in confirm mode");
        };
        if delivery_tag <= *confirmed || delivery_tag > *published || !multiple && delivery_tag != *confirmed + 1 {
            let why = format!("{published} were published and {confirmed} confirmed");
            return self.object(why);
        }
        if return_is_due {
            // A return comes before its confirm.
            return self.object("a return is due first");
        }
        self.promises.extend(unconfirmed.drain(..(delivery_tag - *confirmed) as usize));
        *confirmed = delivery_tag;
        Fit::Now
    }

    /// Whether another consumer should have taken a delivery: one with a higher priority that could, or an equal one
    /// that could all the time since the taker's last delivery and had none. Who waited for its channel's prefetch count has
    /// its turn behind the queues that there is something for, also when its own channel puts messages back: RabbitMQ, too,
    /// has them in the queue before the limiter hears of it. `outlook` tells of a client what the broker may see in it.
    pub fn passed_over(&self, client: ClientId, number: u16, tag: &str, outlook: impl Fn(ClientId) -> Outlook) -> bool {
        let channel = self.clients.get(&client).and_then(|client| client.channels.get(&number));
        let consumers = channel.map_or(&[][..], |channel| &channel.consumers);
        let named = consumers.iter().find(|key| self.consumers[key].tag.as_deref() == Some(tag));
        let Some(taker) = named.map(|key| &self.consumers[key]) else { return false };
        let last_turn = taker.served_at;
        self.queues[&taker.queue].consumers.iter().map(|key| &self.consumers[key]).any(|other| {
            let Outlook { has_room, is_quiet } = outlook(other.client);
            match other.priority.cmp(&taker.priority) {
                Ordering::Greater => {
                    other.client != client && has_room && is_quiet && self.is_alone(other) && self.has_credit(other)
                }
                Ordering::Equal => {
                    other.served_at.max(other.unready_at) < last_turn && self.is_surely_ready(other, has_room)
                }
                Ordering::Less => false,
            }
        })
    }

    /// Remembers which consumers may be unable to take a delivery now: they are at the back when they can.
    pub fn note_unready(&mut self, outlook: impl Fn(ClientId) -> Outlook) {
        let unready = |consumer: &Consumer| {
            let Outlook { has_room, .. } = outlook(consumer.client);
            let others = self.queues[&consumer.queue].consumers.len() > 1;
            others && !self.is_surely_ready(consumer, has_room)
        };
        let unready = self.consumers.iter().filter(|(_, consumer)| unready(consumer)).map(|(key, _)| *key);
        for key in unready.collect::<Vec<ConsumerKey>>() {
            let consumer = self.consumers.get_mut(&key).expect("it was listed");
            consumer.unready_at = self.queues[&consumer.queue].deliveries;
        }
    }

    /// Deliveries from one queue are looked at in their order, so a consumer's own prefetch count is known.
    fn is_surely_ready(&self, consumer: &Consumer, has_room: bool) -> bool {
        has_room && self.is_alone(consumer) && self.has_credit(consumer) && !self.may_wait(consumer)
    }

    /// Whether it waits for no prefetch count but its own.
    fn is_alone(&self, consumer: &Consumer) -> bool {
        self.clients[&consumer.client].channels[&consumer.channel].channel_prefetch == 0
    }
}
