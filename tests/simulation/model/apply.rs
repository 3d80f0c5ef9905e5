//! What commands change, and the answers that they call for.

use super::routing::Destination;
use super::{Channel, ClientId, Consumer, Count, Due, Entry, Kept, Mode, Model, Queue, QueueKey, Unacked};
use crate::command::{Command, Consume, Outcome, QueueDeclare};
use crate::message::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Codes of channel exceptions.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
/// Codes of connection exceptions.
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
        match command {
            Command::ProtocolHeader => self.due(client, 0, Due::Plain(10, 10)),
            Command::StartOk { understands_cancel } => {
                self.clients.get_mut(&client).expect("it is there").understands_cancel = *understands_cancel;
                self.due(client, 0, Due::Plain(10, 30));
            }
            Command::TuneOk { .. } | Command::Heartbeat => {}
            Command::Open => {
                self.clients.get_mut(&client).expect("it is there").open = true;
                self.due(client, 0, Due::Plain(10, 41));
            }
            Command::Close | Command::CloseOk => {
                self.end_connection(client);
                if matches!(command, Command::Close) {
                    self.due(client, 0, Due::Plain(10, 51));
                }
            }
            _ if !self.clients[&client].open => {}
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
                self.routing.declare(declare);
                Due::Plain(40, 11)
            }
            Command::ExchangeDelete { name, if_unused } => {
                if *if_unused && self.routing.exists(name) && self.routing.is_used(name) {
                    return Err(PRECONDITION_FAILED);
                }
                self.routing.delete(name);
                Due::Plain(40, 21)
            }
            Command::ExchangeBind { destination, binding } => {
                if !self.routing.exists(&binding.source) || !self.routing.exists(destination) {
                    return Err(NOT_FOUND);
                }
                self.routing.bind(binding, Destination::Exchange(destination.clone()));
                Due::Plain(40, 31)
            }
            Command::ExchangeUnbind { destination, binding } => {
                self.routing.unbind(binding, Destination::Exchange(destination.clone()));
                Due::Plain(40, 51)
            }
            Command::QueueDeclare(declare) => return self.declare(client, number, declare),
            Command::QueueBind { queue, binding } => {
                // Which queue is meant is asked before whether anything exists.
                let named = self.meant(client, number, queue)?;
                if !self.routing.exists(&binding.source) {
                    return Err(NOT_FOUND);
                }
                let key = self.accessible(client, named)?;
                self.routing.bind(binding, Destination::Queue(key));
                Due::Plain(50, 21)
            }
            Command::QueueUnbind { queue, binding } => {
                if let Some(key) = self.meant(client, number, queue)? {
                    // Whose queue it is matters only if there is something to take away.
                    if self.routing.is_bound(binding, Destination::Queue(key)) {
                        self.accessible(client, Some(key))?;
                    }
                    self.routing.unbind(binding, Destination::Queue(key));
                }
                Due::Plain(50, 51)
            }
            Command::QueuePurge { queue } => {
                let named = self.meant(client, number, queue)?;
                let key = self.accessible(client, named)?;
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

    /// The queue of that name; with an empty name the one declared last.
    fn meant(&mut self, client: ClientId, number: u16, name: &str) -> Result<Option<QueueKey>, u16> {
        if !name.is_empty() {
            return Ok(self.names.get(name).copied());
        }
        let last = self.channel(client, number).last_queue.ok_or(NOT_FOUND)?;
        if self.queues.contains_key(&last) {
            return Ok(Some(last));
        }
        // Gone, but perhaps declared again.
        Ok(self.all_names[last].as_ref().and_then(|name| self.names.get(name)).copied())
    }

    fn accessible(&self, client: ClientId, key: Option<QueueKey>) -> Result<QueueKey, u16> {
        let key = key.ok_or(NOT_FOUND)?;
        match self.queues[&key].owner {
            Some(owner) if owner != client => Err(RESOURCE_LOCKED),
            _ => Ok(key),
        }
    }

    fn declare(&mut self, client: ClientId, number: u16, declare: &QueueDeclare) -> Result<Option<Due>, u16> {
        let found = self.names.get(&declare.name).copied();
        let key = match found {
            Some(_) => self.accessible(client, found)?,
            None if declare.passive => return Err(NOT_FOUND),
            None => {
                let key = self.all_names.len();
                let name = (!declare.name.is_empty()).then(|| declare.name.clone());
                self.all_names.push(name.clone());
                self.names.extend(name.clone().map(|name| (name, key)));
                let queue = Queue {
                    name,
                    declare: declare.clone(),
                    owner: declare.exclusive.then_some(client),
                    ready: BTreeMap::new(),
                    next_sequence: 0,
                    consumers: Vec::new(),
                    deliveries: 0,
                    last_used_ms: self.now_ms,
                };
                self.queues.insert(key, queue);
                self.lasting.declare(key, declare);
                self.routing.changed = true;
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
        let Some(key) = self.meant(client, number, name)? else { return Ok(0..=0) };
        self.accessible(client, Some(key))?;
        self.drop_expired(key);
        let queue = &self.queues[&key];
        if if_unused && !queue.consumers.is_empty() || if_empty && !queue.ready.is_empty() {
            return Err(PRECONDITION_FAILED);
        }
        Ok(self.delete_queue(key))
    }

    fn consume(&mut self, client: ClientId, number: u16, consume: &Consume) -> Result<Option<Due>, u16> {
        let named = self.meant(client, number, &consume.queue)?;
        let tag = consume.consumer_tag.clone();
        let tags = self.clients[&client].channels[&number].consumers.iter().map(|key| &self.consumers[key].tag);
        if !tag.is_empty() && tags.flatten().any(|other| *other == tag) {
            return Err(NOT_ALLOWED);
        }
        let key = self.accessible(client, named)?;
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
        let named = self.meant(client, number, name)?;
        let key = self.accessible(client, named)?;
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
        if !self.routing.exists(&message.exchange) {
            return Err(NOT_FOUND);
        }
        let act = self.lasting.now();
        let routed = self.routing.route(message);
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
            message.routing_keys().into_iter().filter_map(|key| self.names.get(key).copied()).collect()
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
