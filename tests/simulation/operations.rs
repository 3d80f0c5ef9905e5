//! What clients do: one random command at a time, most of them sensible.

use crate::client::{Client, ClientChannel, Phase};
use crate::command::{BindingName, Command, Consume, ExchangeDeclare, Kind, QueueDeclare};
use crate::message::{BLIND_COPIES, COPIES, Draft, Message};
use crate::model::{ClientId, Model};
use crate::random::Random;
use crate::wire::{Table, Value};
use std::rc::Rc;

const CHANNELS_MAX: usize = 4;
/// A channel on which a client declares what the others will use.
pub const PREPARING_CHANNEL: u16 = 1 + CHANNELS_MAX as u16;
const QUEUES: usize = 6;
const ROUTING_KEYS: [&str; 6] = ["", "a", "a.b", "a.b.c", "b", "b.a"];
/// Routing keys of copies: some are names of queues.
const COPY_KEYS: [&str; 7] = ["", "a", "a.b", "b", "q0", "q1", "q5"];
const ALTERNATES: [&str; 6] = ["amq.fanout", "amq.topic", "x0", "x1", "x2", "x9"];
/// Messages in a row to the same place, behind the first.
const RUN_MAX: usize = 12;
const BINDING_KEYS: [&str; 9] = ["", "a", "a.b", "#", "*", "a.*", "a.#", "*.b.#", "#.a"];

/// Bodies go up to this size, in bytes; most are far smaller.
const BODY_MAX: usize = 300 * 1024;

/// What every run decides once: what the queues and exchanges of each name are, so that redeclaring them is fine.
pub struct Plan {
    queues: Vec<QueueDeclare>,
    exchanges: Vec<ExchangeDeclare>,
    next_message: u64,
    /// Messages have times to live.
    with_expiry: bool,
    next_tag: u64,
}

impl Plan {
    pub fn new(random: &mut Random, with_expiry: bool) -> Self {
        let queue = |index| QueueDeclare {
            name: format!("q{index}"),
            passive: false,
            durable: random.percent(50),
            exclusive: random.percent(8),
            auto_delete: random.percent(15),
            nowait: false,
            ttl_ms: (random.percent(25) && with_expiry).then(|| *random.pick(&[0, 50, 5_000, 60_000])),
            expires_ms: random.percent(15).then(|| *random.pick(&[1, 1_000, 30_000])),
            is_given_type: false,
        };
        let queues = (0..QUEUES).map(queue).collect();
        let kinds = [Kind::Direct, Kind::Fanout, Kind::Topic, Kind::Headers];
        let exchange = |index| ExchangeDeclare {
            name: format!("x{index}"),
            kind: *random.pick(&kinds),
            durable: random.percent(50),
            auto_delete: random.percent(40),
            alternate: random.percent(30).then(|| *random.pick(&ALTERNATES)),
        };
        let exchanges = (0..4).map(exchange).collect();
        Self { queues, exchanges, next_message: 1, next_tag: 1, with_expiry }
    }

    /// Has a client declare what the others will use.
    pub fn prepare(&self, client: &mut Client, random: &mut Random) {
        const CHANNEL: u16 = PREPARING_CHANNEL;
        client.say(CHANNEL, Command::ChannelOpen);
        client.channels.insert(CHANNEL, ClientChannel::default());
        for declare in &self.queues {
            client.say(CHANNEL, Command::QueueDeclare(declare.clone()));
        }
        for declare in self.exchanges.clone() {
            client.say(CHANNEL, Command::ExchangeDeclare(declare));
        }
        for _ in 0..6 {
            let mut binding = self.binding(random);
            binding.source = random.pick(&self.exchanges).name.clone();
            client.say(CHANNEL, Command::QueueBind { queue: random.pick(&self.queues[..3]).name.clone(), binding });
        }
    }

    /// Has a client do a few things.
    pub fn act(&mut self, client: &mut Client, model: &Model, random: &mut Random) {
        for _ in 0..1 + random.below(5) {
            self.act_once(client, model, random);
        }
    }

    fn act_once(&mut self, client: &mut Client, model: &Model, random: &mut Random) {
        if client.phase != Phase::Open {
            return;
        }
        let open: Vec<u16> =
            client.channels.iter().filter(|(_, channel)| !channel.closing).map(|(number, _)| *number).collect();
        if open.is_empty() || random.percent(3) {
            return self.open_channel(client, random);
        }
        let number = *random.pick(&open);
        let command = self.command(client, number, model, random);
        let Some(command) = command else { return };
        let channel = client.channels.get_mut(&number).expect("it was listed");
        note(channel, &command);
        match &command {
            Command::Publish(_) if open.len() > 1 && random.percent(15) => {
                client.begin_to_say(number, command, random);
            }
            Command::Close => {
                client.let_all_go();
                client.say(0, command);
                client.phase = Phase::Closing;
            }
            Command::Heartbeat => client.say(0, command),
            Command::Publish(message) if random.percent(15) => {
                let first = message.clone();
                client.say(number, command);
                for _ in 0..1 + random.below(RUN_MAX) {
                    client.say(number, Command::Publish(Rc::new(self.message_after(&first, random))));
                }
            }
            _ => client.say(number, command),
        }
    }

    fn open_channel(&mut self, client: &mut Client, random: &mut Random) {
        let number = 1 + random.below(CHANNELS_MAX) as u16;
        if client.channels.contains_key(&number) {
            return;
        }
        client.say(number, Command::ChannelOpen);
        client.channels.insert(number, ClientChannel::default());
        match random.below(10) {
            0..3 => client.say(number, Command::ConfirmSelect),
            3 => client.say(number, Command::TxSelect),
            _ => {}
        }
        if random.percent(60) {
            client.say(number, qos(random));
        }
    }

    fn command(&mut self, client: &Client, number: u16, model: &Model, random: &mut Random) -> Option<Command> {
        let (id, channel) = (client.id, &client.channels[&number]);
        Some(match random.below(100) {
            0..34 => Command::Publish(Rc::new(self.message(id, model, random))),
            34..54 => return settle(client, number, model, random),
            54..60 => self.declare(random),
            60..67 => Command::Consume(self.consume(id, channel, model, random)),
            67..71 => self.bind(id, model, random),
            71 => self.unbind(id, model, random),
            72 | 73 => self.bind_exchanges(random),
            74..80 => Command::Get { queue: self.queue(id, model, random), no_ack: random.percent(30) },
            80..83 => Command::ExchangeDeclare(random.pick(&self.exchanges).clone()),
            83 => {
                let name = random.pick(&self.exchanges).name.clone();
                Command::ExchangeDelete { name, if_unused: random.percent(50) }
            }
            84 => qos(random),
            85 | 86 if !channel.consumers.is_empty() => {
                Command::Cancel { consumer_tag: random.pick(&channel.consumers).clone(), nowait: random.percent(20) }
            }
            87 => Command::QueuePurge { queue: self.queue(id, model, random) },
            88 => Command::QueueDelete {
                queue: self.queue(id, model, random),
                if_unused: random.percent(30),
                if_empty: random.percent(30),
                nowait: random.percent(20),
            },
            89 | 90 => Command::Recover,
            91..95 => match random.below(8) {
                0 => Command::TxSelect,
                1 => Command::ConfirmSelect,
                2 | 3 => Command::TxRollback,
                _ => Command::TxCommit,
            },
            95 => Command::ChannelClose,
            96 if random.percent(30) => Command::Close,
            97 => Command::Heartbeat,
            _ => return None,
        })
    }

    fn queue(&self, client: ClientId, model: &Model, random: &mut Random) -> String {
        let existing = model.queue_names(client);
        match random.below(20) {
            0 => String::new(),
            1 => random.pick(&self.queues).name.clone(),
            _ if existing.is_empty() => String::new(),
            _ => random.pick(&existing).clone(),
        }
    }

    fn declare(&self, random: &mut Random) -> Command {
        let mut declare = random.pick(&self.queues).clone();
        match random.below(10) {
            0 => declare.name.clear(),
            1 | 2 => declare.passive = true,
            3 => declare.nowait = true,
            _ => {}
        }
        Command::QueueDeclare(declare)
    }

    fn consume(&mut self, client: ClientId, channel: &ClientChannel, model: &Model, random: &mut Random) -> Consume {
        self.next_tag += 1;
        let consumer_tag = match random.below(50) {
            0 if !channel.consumers.is_empty() => random.pick(&channel.consumers).clone(),
            0..10 => String::new(),
            _ => format!("c{}", self.next_tag),
        };
        Consume {
            queue: self.queue(client, model, random),
            no_ack: random.percent(25),
            exclusive: random.percent(8),
            nowait: !consumer_tag.is_empty() && random.percent(10),
            priority: random.percent(30).then(|| *random.pick(&[-1, 1, 10])),
            consumer_tag,
        }
    }

    fn exchange(&self, random: &mut Random) -> String {
        match random.below(10) {
            0 => "amq.direct".to_owned(),
            1 => "amq.fanout".to_owned(),
            2..5 => "amq.topic".to_owned(),
            5 => "amq.headers".to_owned(),
            _ => random.pick(&self.exchanges).name.clone(),
        }
    }

    fn binding(&self, random: &mut Random) -> BindingName {
        let mut arguments = headers(random);
        if !arguments.is_empty() && random.percent(60) {
            arguments.push(("x-match", Value::Text(if random.percent(50) { "any" } else { "all" })));
        }
        BindingName { source: self.exchange(random), routing_key: random.pick(&BINDING_KEYS).to_string(), arguments }
    }

    fn bind(&self, client: ClientId, model: &Model, random: &mut Random) -> Command {
        let mut binding = self.binding(random);
        let queue = self.queue(client, model, random);
        if queue.is_empty() && binding.routing_key.is_empty() {
            // Both empty mean the queue's name, which is not for here.
            binding.routing_key.push('a');
        }
        Command::QueueBind { queue, binding }
    }

    fn unbind(&self, client: ClientId, model: &Model, random: &mut Random) -> Command {
        let existing = model.queue_bindings(client);
        if !existing.is_empty() && random.percent(80) {
            let (queue, binding) = random.pick(&existing).clone();
            return Command::QueueUnbind { queue, binding };
        }
        let Command::QueueBind { queue, binding } = self.bind(client, model, random) else {
            unreachable!("bind binds")
        };
        Command::QueueUnbind { queue, binding }
    }

    fn bind_exchanges(&self, random: &mut Random) -> Command {
        let (destination, binding) = (self.exchange(random), self.binding(random));
        match random.percent(80) {
            true => Command::ExchangeBind { destination, binding },
            false => Command::ExchangeUnbind { destination, binding },
        }
    }

    fn message(&mut self, client: ClientId, model: &Model, random: &mut Random) -> Message {
        let (exchange, routing_key) = match random.below(10) {
            0..6 => (String::new(), self.queue(client, model, random)),
            _ => (self.exchange(random), random.pick(&ROUTING_KEYS).to_string()),
        };
        let body_size = match random.below(100) {
            0..10 => random.below(9),
            10..80 => random.length(200),
            80..90 => *random.pick(&[4080, 4087, 4088, 4089, 8192, 16_384]),
            90..98 => random.length(40_000),
            _ => random.length(BODY_MAX),
        };
        let draft = Draft {
            exchange,
            routing_key,
            mandatory: random.percent(20),
            persistent: random.percent(40),
            headers: published_headers(random),
            expiration_ms: (random.percent(8) && self.with_expiry).then(|| *random.pick(&[0, 1, 100, 20_000])),
            body_size,
        };
        self.new_message(draft)
    }

    /// Another message for the exchange that `before` was for, as publishers send them in a row: mostly with its key.
    fn message_after(&mut self, before: &Message, random: &mut Random) -> Message {
        let has_another_key = !before.exchange.is_empty() && random.percent(40);
        let routing_key = if has_another_key { *random.pick(&ROUTING_KEYS) } else { &before.routing_key };
        let draft = Draft {
            exchange: before.exchange.clone(),
            routing_key: routing_key.to_owned(),
            mandatory: before.mandatory,
            persistent: random.percent(10),
            headers: if random.percent(10) { published_headers(random) } else { Table::new() },
            expiration_ms: (random.percent(3) && self.with_expiry).then_some(0),
            body_size: random.length(200),
        };
        self.new_message(draft)
    }

    fn new_message(&mut self, draft: Draft) -> Message {
        let id = self.next_message;
        self.next_message += 1;
        Message::new(id, draft)
    }
}

fn published_headers(random: &mut Random) -> Table {
    let mut table = if random.percent(25) { headers(random) } else { Table::new() };
    for name in [COPIES, BLIND_COPIES] {
        if random.percent(7) {
            let keys = (0..random.below(4)).map(|_| *random.pick(&COPY_KEYS)).collect();
            table.insert(random.below(table.len() + 1), (name, Value::Texts(keys)));
        }
    }
    table
}

fn headers(random: &mut Random) -> Table {
    ["h1", "h2", "h3"]
        .into_iter()
        .filter_map(|name| if random.percent(40) { Some((name, Value::Number(random.below(2) as i32))) } else { None })
        .collect()
}

fn qos(random: &mut Random) -> Command {
    Command::Qos { prefetch_count: *random.pick(&[0, 1, 1, 2, 3, 10, 20]), global: random.percent(35) }
}

/// Settles something that the client has seen and not settled yet.
fn settle(client: &Client, number: u16, model: &Model, random: &mut Random) -> Option<Command> {
    let channel = &client.channels[&number];
    let mut tags = model.settleable(client.id, number, channel.seen_tag);
    tags.retain(|tag| !channel.settled.contains(tag));
    if random.percent(1) {
        // One that never was.
        tags = vec![channel.seen_tag + 1000];
    }
    if tags.is_empty() {
        return None;
    }
    let delivery_tag = *random.pick(&tags);
    let multiple = random.percent(25);
    let requeue = random.percent(60);
    Some(match random.below(10) {
        0..6 => Command::Ack { delivery_tag: if multiple && random.percent(20) { 0 } else { delivery_tag }, multiple },
        6..8 => Command::Nack { delivery_tag, multiple, requeue },
        _ => Command::Reject { delivery_tag, requeue },
    })
}

/// What the client remembers of what it says.
fn note(channel: &mut ClientChannel, command: &Command) {
    match command {
        Command::Ack { delivery_tag, multiple } | Command::Nack { delivery_tag, multiple, .. } => {
            channel.settled.insert(*delivery_tag);
            if *multiple {
                let last = if *delivery_tag == 0 { channel.seen_tag } else { *delivery_tag };
                channel.settled.extend(1..=last);
            }
        }
        Command::Reject { delivery_tag, .. } => drop(channel.settled.insert(*delivery_tag)),
        // What was settled in the transaction is back.
        Command::TxRollback => channel.settled.clear(),
        Command::ChannelClose => channel.closing = true,
        Command::Consume(consume) if consume.nowait => channel.consumers.push(consume.consumer_tag.clone()),
        Command::Cancel { consumer_tag, .. } => channel.consumers.retain(|other| other != consumer_tag),
        _ => {}
    }
}
