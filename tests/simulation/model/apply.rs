//! What commands change, and the answers that they call for.

use super::routing::Destination;
use super::who_may::{MADE_UP_QUEUE, Right};
use super::{Channel, ClientId, Consumer, Count, Due, Entry, Kept, Mode, Model, Queue, QueueKey, Unacked};
use crate::command::{Command, Consume, Outcome, QueueDeclare};
use crate::decree::LATE_USER;
use crate::message::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Codes of channel exceptions.
pub(super) const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
/// Codes of connection exceptions.
const CONNECTION_FORCED: u16 = 320;
const NOT_ALLOWED: u16 = 530;

impl Model {
    pub(super) fn channel(&mut self, client: ClientId, number: u16) -> &mut Channel {
        let client = self.clients.get_mut(&client).expect("commands come from clients that are there");
        client.channels.get_mut(&number).expect("commands come on channels that are open")
    }

    pub(super) fn due(&mut self, client: ClientId, channel: u16, due: Due) {
        let client = self.clients.get_mut(&client).expect("answers go to clients that are there");
        client.due.push_back((channel, due, self.lasting.now()));
    }

    /// The last byte of a command reached the broker.
    pub fn apply(&mut self, client: ClientId, number: u16, command: &Command) {
        self.lasting.begin_act();
        self.carry_out(client, number, command);
        self.end_act();
    }

    fn carry_out(&mut self, client: ClientId, number: u16, command: &Command) {
        self.end_freshness();
        self.begin_doubts();
        if self.clients[&client].open && self.clients[&client].doomed {
            // It was not closed before, and may not be heard.
            self.end_connection(client);
            return self.due(client, 0, Due::ConnectionClose(CONNECTION_FORCED));
        }
        match command {
            Command::ProtocolHeader => self.due(client, 0, Due::Plain(10, 10)),
            Command::StartOk { understands_cancel, user, secret } => {
                let login = self.who_may.login(user, secret);
                let state = self.clients.get_mut(&client).expect("it is there");
                (state.understands_cancel, state.login) = (*understands_cancel, Some(login));
                if user != LATE_USER {
                    self.answer_login(client);
                }
            }
            Command::TuneOk { .. } | Command::Heartbeat => {}
            Command::Open { vhost } => {
                let admitted = self.admit(client, vhost);
                let due = if admitted { Due::Plain(10, 41) } else { Due::ConnectionClose(NOT_ALLOWED) };
                self.due(client, 0, due);
            }
            Command::Close | Command::CloseOk => {
                self.end_connection(client);
                if matches!(command, Command::Close) {
                    self.due(client, 0, Due::Plain(10, 51));
                }
            }
            _ if !self.clients[&client].open => {}
            Command::ChannelOpen if !self.has_room_for_channel(client) => {
                self.end_connection(client);
                self.due(client, 0, Due::ConnectionClose(NOT_ALLOWED));
            }
            Command::ChannelOpen => {
                let fresh = Channel {
                    closing: false,
                    consumer_prefetch: 0,
                    channel_prefetch: 0,
                    last_queue: None,
                    mode: Mode::Plain,
                    unacked: BTreeMap::new(),
                    last_delivery_tag: 0,
                    consumers: Vec::new(),
                };
                self.clients.get_mut(&client).expect("it is there").channels.insert(number, fresh);
                self.due(client, number, Due::Plain(20, 11));
            }
            _ => self.apply_on_channel(client, number, command),
        }
    }

    fn apply_on_channel(&mut self, client: ClientId, number: u16, command: &Command) {
        if self.channel(client, number).closing {
            match command {
                Command::ChannelCloseOk => {
                    self.clients.get_mut(&client).expect("it is there").channels.remove(&number);
                }
                Command::ChannelClose => self.due(client, number, Due::Plain(20, 41)),
                _ => {}
            }
            return;
        }
        if let Command::ChannelClose = command {
            self.end_channel(client, number);
            self.clients.get_mut(&client).expect("it is there").channels.remove(&number);
            return self.due(client, number, Due::Plain(20, 41));
        }
        match self.perform(client, number, command) {
            Ok(Some(due)) => self.due(client, number, due),
            Ok(None) => {}
            Err(code) if code >= 500 => {
                self.end_connection(client);
                self.due(client, 0, Due::ConnectionClose(code));
            }
            Err(code) => {
                let (class, method) = command.ids();
                self.due(client, number, Due::ChannelClose(code, class, method));
                self.end_channel(client, number);
                self.channel(client, number).closing = true;
            }
        }
    }

    /// The answer, or the code of an exception.
    fn perform(&mut self, client: ClientId, number: u16, command: &Command) -> Result<Option<Due>, u16> {
        let due = match command {
            Command::ExchangeDeclare(declare) => {
                self.assert_may(client, Right::Configure, &declare.name)?;
                if let Some(alternate) = declare.alternate
                    && !self.routing(client).is_declared(&declare.name)
                {
                    self.assert_may(client, Right::Read, &declare.name)?;
                    self.assert_may(client, Right::Write, alternate)?;
                }
                self.routing(client).declare(declare);
                Due::Plain(40, 11)
            }
            Command::ExchangeDelete { name, if_unused } => {
                self.assert_may(client, Right::Configure, name)?;
                let routing = self.routing(client);
                if *if_unused && routing.exists(name) && routing.is_used(name) {
                    return Err(PRECONDITION_FAILED);
                }
                routing.delete(name);
                Due::Plain(40, 21)
            }
            Command::ExchangeBind { destination, binding } => {
                self.assert_may_bind(client, destination, binding)?;
                let routing = self.routing(client);
                if !routing.exists(&binding.source) || !routing.exists(destination) {
                    return Err(NOT_FOUND);
                }
                routing.bind(binding, Destination::Exchange(destination.clone()));
                Due::Plain(40, 31)
            }
            Command::ExchangeUnbind { destination, binding } => {
                self.assert_may_bind(client, destination, binding)?;
                self.routing(client).unbind(binding, Destination::Exchange(destination.clone()));
                Due::Plain(40, 51)
            }
            Command::QueueDeclare(declare) => return self.declare(client, number, declare),
            Command::QueueBind { queue, binding } => {
                // Which queue is meant is asked before whether anything exists.
                let (name, named) = self.meant(client, number, queue)?;
                self.assert_may_bind(client, &name, binding)?;
                if !self.routing(client).exists(&binding.source) {
                    return Err(NOT_FOUND);
                }
                let key = self.accessible(client, named)?;
                self.routing(client).bind(binding, Destination::Queue(key));
                Due::Plain(50, 21)
            }
            Command::QueueUnbind { queue, binding } => {
                let (name, named) = self.meant(client, number, queue)?;
                self.assert_may_bind(client, &name, binding)?;
                if let Some(key) = named {
                    // Whose queue it is matters only if there is something to take away.
                    if self.routing(client).is_bound(binding, Destination::Queue(key)) {
                        self.accessible(client, Some(key))?;
                    }
                    self.routing(client).unbind(binding, Destination::Queue(key));
                }
                Due::Plain(50, 51)
            }
            Command::QueuePurge { queue } => {
                let key = self.readable(client, number, queue)?;
                self.drop_expired(key);
                let queue = self.queues.get_mut(&key).expect("it was found");
                let count = queue.count();
                for place in std::mem::take(&mut queue.ready).into_keys() {
                    self.lasting.remove(key, place);
                }
                Due::Count(50, 31, count)
            }
            Command::QueueDelete { queue, if_unused, if_empty, nowait } => {
                let count = self.delete_if(client, number, queue, *if_unused, *if_empty)?;
                return Ok((!nowait).then_some(Due::Count(50, 41, count)));
            }
            Command::Qos { prefetch_count, global } => {
                let channel = self.channel(client, number);
                *(if *global { &mut channel.channel_prefetch } else { &mut channel.consumer_prefetch }) =
                    *prefetch_count;
                Due::Plain(60, 11)
            }
            Command::Consume(consume) => return self.consume(client, number, consume),
            Command::Cancel { consumer_tag, nowait } => {
                let consumers = self.channel(client, number).consumers.clone();
                let named = |key: &usize| self.consumers[key].tag.as_ref() == Some(consumer_tag);
                if let Some(key) = consumers.into_iter().find(named) {
                    self.remove_consumer(key);
                }
                return Ok((!nowait).then(|| Due::CancelOk(consumer_tag.clone())));
            }
            Command::Get { queue, no_ack } => self.get(client, number, queue, *no_ack)?,
            Command::Publish(message) => return self.publish(client, number, message),
            Command::Ack { delivery_tag, multiple } => {
                return self.settle(client, number, (*delivery_tag, *multiple), Outcome::Acked).map(|()| None);
            }
            Command::Nack { delivery_tag, multiple, requeue } => {
                return self.settle(client, number, (*delivery_tag, *multiple), rejected(*requeue)).map(|()| None);
            }
            Command::Reject { delivery_tag, requeue } => {
                return self.settle(client, number, (*delivery_tag, false), rejected(*requeue)).map(|()| None);
            }
            Command::Recover => {
                self.recover(client, number);
                Due::Plain(60, 111)
            }
            Command::ConfirmSelect => {
                let mode = &mut self.channel(client, number).mode;
                match mode {
                    Mode::Plain => {
                        *mode = Mode::Confirm { published: 0, confirmed: 0, unconfirmed: VecDeque::new() };
                    }
                    Mode::Confirm { .. } => {}
                    Mode::Transaction { .. } => return Err(PRECONDITION_FAILED),
                }
                Due::Plain(85, 11)
            }
            Command::TxSelect => {
                let mode = &mut self.channel(client, number).mode;
                match mode {
                    Mode::Plain => *mode = Mode::Transaction { publishes: Vec::new(), settlements: Vec::new() },
                    Mode::Transaction { .. } => {}
                    Mode::Confirm { .. } => return Err(PRECONDITION_FAILED),
                }
                Due::Plain(90, 11)
            }
            Command::TxCommit => {
                self.commit(client, number)?;
                Due::Plain(90, 21)
            }
            Command::TxRollback => {
                self.roll_back(client, number)?;
                Due::Plain(90, 31)
            }
            other => unreachable!("{other:?} is not for a channel"),
        };
        Ok(Some(due))
    }

    /// The name that is meant, and the queue of that name; with an empty name the one declared last.
    fn meant(&mut self, client: ClientId, number: u16, name: &str) -> Result<(String, Option<QueueKey>), u16> {
        let (_, vhost) = self.place_of(client);
        if !name.is_empty() {
            return Ok((name.to_owned(), self.names.get(&(vhost, name.to_owned())).copied()));
        }
        let last = self.channel(client, number).last_queue.ok_or(NOT_FOUND)?;
        let name = self.permitted_name(last);
        if self.queues.contains_key(&last) {
            return Ok((name, Some(last)));
        }
        // Gone, but perhaps declared again.
        let (_, of_last) = self.all_names[last].clone();
        Ok((name, of_last.and_then(|name| self.names.get(&(vhost, name)).copied())))
    }

    /// The queue of that name, for who wants what is in it.
    fn readable(&mut self, client: ClientId, number: u16, name: &str) -> Result<QueueKey, u16> {
        let (name, named) = self.meant(client, number, name)?;
        self.assert_may(client, Right::Read, &name)?;
        self.accessible(client, named)
    }

    fn accessible(&self, client: ClientId, key: Option<QueueKey>) -> Result<QueueKey, u16> {
        let key = key.ok_or(NOT_FOUND)?;
        match self.queues[&key].owner {
            Some(owner) if owner != client => Err(RESOURCE_LOCKED),
            _ => Ok(key),
        }
    }

    fn declare(&mut self, client: ClientId, number: u16, declare: &QueueDeclare) -> Result<Option<Due>, u16> {
        let (_, vhost) = self.place_of(client);
        let name = if declare.name.is_empty() { MADE_UP_QUEUE } else { &declare.name };
        let may = match declare.passive {
            true => [Right::Configure, Right::Write, Right::Read]
                .iter()
                .any(|right| self.assert_may(client, *right, name).is_ok()),
            false => self.assert_may(client, Right::Configure, name).is_ok(),
        };
        if !may {
            return Err(ACCESS_REFUSED);
        }
        let found = self.names.get(&(vhost, declare.name.clone())).copied();
        let key = match found {
            Some(_) => self.accessible(client, found)?,
            None if declare.passive => return Err(NOT_FOUND),
            None if self.is_full_of_queues(vhost) => return Err(PRECONDITION_FAILED),
            None => {
                let key = self.all_names.len();
                let name = (!declare.name.is_empty()).then(|| declare.name.clone());
                self.all_names.push((vhost, name.clone()));
                self.names.extend(name.clone().map(|name| ((vhost, name), key)));
                let is_given_type = self.who_may.has_default_queue_type(vhost);
                let declare = QueueDeclare { is_given_type, ..declare.clone() };
                self.lasting.declare(key, &declare);
                let queue = Queue {
                    vhost,
                    name,
                    owner: declare.exclusive.then_some(client),
                    declare,
                    ready: BTreeMap::new(),
                    next_sequence: 0,
                    consumers: Vec::new(),
                    deliveries: 0,
                    last_used_ms: self.now_ms,
                };
                self.queues.insert(key, queue);
                self.routing(client).changed = true;
                key
            }
        };
        self.drop_expired(key);
        self.channel(client, number).last_queue = Some(key);
        let queue = self.queues.get_mut(&key).expect("found or created above");
        queue.last_used_ms = self.now_ms;
        let due = Due::DeclareOk {
            queue: key,
            name: queue.name.clone(),
            messages: queue.count(),
            consumers: queue.consumers.len() as u32,
        };
        Ok((!declare.nowait).then_some(due))
    }

    fn delete_if(
        &mut self,
        client: ClientId,
        number: u16,
        name: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<Count, u16> {
        let (name, named) = self.meant(client, number, name)?;
        self.assert_may(client, Right::Configure, &name)?;
        let Some(key) = named else { return Ok(0..=0) };
        self.accessible(client, Some(key))?;
        self.drop_expired(key);
        let queue = &self.queues[&key];
        if if_unused && !queue.consumers.is_empty() || if_empty && !queue.ready.is_empty() {
            return Err(PRECONDITION_FAILED);
        }
        Ok(self.delete_queue(key))
    }

    fn consume(&mut self, client: ClientId, number: u16, consume: &Consume) -> Result<Option<Due>, u16> {
        self.meant(client, number, &consume.queue)?;
        let tag = consume.consumer_tag.clone();
        let tags = self.clients[&client].channels[&number].consumers.iter().map(|key| &self.consumers[key].tag);
        if !tag.is_empty() && tags.flatten().any(|other| *other == tag) {
            return Err(NOT_ALLOWED);
        }
        let key = self.readable(client, number, &consume.queue)?;
        let others = &self.queues[&key].consumers;
        let exclusive = others.iter().any(|other| self.consumers[other].exclusive);
        if exclusive || consume.exclusive && !others.is_empty() {
            return Err(ACCESS_REFUSED);
        }
        let unready_at = self.queues[&key].deliveries;
        let channel = self.channel(client, number);
        let consumer = Consumer {
            client,
            channel: number,
            queue: key,
            tag: (!tag.is_empty()).then(|| tag.clone()),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            priority: consume.priority.unwrap_or(0),
            prefetch_count: channel.consumer_prefetch,
            unacked: 0,
            short_since_ms: None,
            served_at: 0,
            unready_at,
        };
        let consumer_key = self.next_consumer;
        self.next_consumer += 1;
        self.channel(client, number).consumers.push(consumer_key);
        self.consumers.insert(consumer_key, consumer);
        self.queues.get_mut(&key).expect("it was found").consumers.push(consumer_key);
        Ok((!consume.nowait).then_some(Due::ConsumeOk { consumer: consumer_key, tag }))
    }

    fn get(&mut self, client: ClientId, number: u16, name: &str, no_ack: bool) -> Result<Due, u16> {
        let key = self.readable(client, number, name)?;
        self.drop_expired(key);
        let now_ms = self.now_ms;
        let queue = self.queues.get_mut(&key).expect("it was found");
        queue.last_used_ms = now_ms;
        let Some((sequence, entry)) = queue.ready.pop_first() else { return Ok(Due::Plain(60, 72)) };
        self.drop_expired(key);
        let message_count = self.queues[&key].count();
        let channel = self.channel(client, number);
        channel.last_delivery_tag += 1;
        let delivery_tag = channel.last_delivery_tag;
        let due =
            Due::GetOk { delivery_tag, redelivered: entry.delivered, message_count, message: entry.message.clone() };
        if !no_ack {
            channel.unacked.insert(delivery_tag, Unacked { queue: key, sequence, entry, consumer: None });
        }
        Ok(due)
    }

    fn publish(&mut self, client: ClientId, number: u16, message: &Rc<Message>) -> Result<Option<Due>, u16> {
        self.clients.get_mut(&client).expect("it is there").last_exchange.clone_from(&message.exchange);
        self.assert_may(client, Right::Write, &message.exchange)?;
        if !self.routing(client).exists(&message.exchange) {
            return Err(NOT_FOUND);
        }
        let keys = message.routing_keys();
        self.assert_may_with_keys(client, Right::Write, &message.exchange, keys.into_iter())?;
        let act = self.lasting.now();
        let routed = self.routing(client).route(message);
        match &mut self.channel(client, number).mode {
            Mode::Transaction { publishes, .. } => {
                publishes.push(Kept { message: message.clone(), routed });
                return Ok(None);
            }
            Mode::Confirm { published, unconfirmed, .. } => {
                *published += 1;
                unconfirmed.push_back(act);
            }
            Mode::Plain => {}
        }
        self.enqueue(client, number, message, routed);
        Ok(None)
    }

    /// Brings a message to its queues, or back to its publisher.
    pub(super) fn enqueue(&mut self, client: ClientId, number: u16, message: &Rc<Message>, routed: BTreeSet<QueueKey>) {
        let queues: BTreeSet<QueueKey> = if message.exchange.is_empty() {
            let (_, vhost) = self.place_of(client);
            let named = |key: &str| self.names.get(&(vhost, key.to_owned())).copied();
            message.routing_keys().into_iter().filter_map(named).collect()
        } else {
            routed
        };
        if queues.is_empty() && message.mandatory {
            self.due(client, number, Due::Return(message.clone()));
        }
        for key in queues {
            let queue = self.queues.get_mut(&key).expect("routes lead to queues that live");
            let times = [queue.declare.ttl_ms.map(u64::from), message.expiration_ms];
            let ttl_ms = times.into_iter().flatten().min();
            let entry = Entry {
                message: message.clone(),
                expires_at_ms: ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms),
                delivered: false,
                fresh: queue.ready.values().all(|waiting| waiting.fresh || waiting.doubtful),
                doubtful: false,
            };
            self.lasting.tell(key, queue.next_sequence, message, entry.expires_at_ms);
            queue.ready.insert(queue.next_sequence, entry);
            queue.next_sequence += 1;
        }
    }
}

fn rejected(requeue: bool) -> Outcome {
    if requeue { Outcome::Requeued } else { Outcome::Discarded }
}
