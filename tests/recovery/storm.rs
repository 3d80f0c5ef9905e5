//! Clients that publish and consume with all their might until the broker is killed in the middle of it.

use crate::ledger::Ledger;
use crate::message::{BODY_MAX_BYTES, Message, next_delivery};
use crate::node::{Node, PATIENCE, ask};
use crate::random::Random;
use crate::support::client::{Client, Event};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const QUEUES: [&str; 4] = ["alone", "also-fanned", "fanned", "shared"];

/// Where messages are published to, and the queues that they reach.
const ROUTES: [(&str, &[&str]); 4] = [
    ("routing_key=alone", &["alone"]),
    ("routing_key=shared", &["shared"]),
    ("exchange=direct routing_key=k", &["shared", "also-fanned"]),
    ("exchange=fan", &["fanned", "also-fanned"]),
];

/// Unacknowledged messages that a consumer is given.
const PREFETCH_COUNT: usize = 20;
/// Most that a publisher sends without waiting for confirms.
const WINDOW_MAX: usize = 32;
/// In 100 messages.
const TRANSIENT_PERCENT: usize = 10;

/// Declares what [`ROUTES`] and [`QUEUES`] speak of.
pub fn declare(client: &mut Client) {
    let mut ok = |line: &str, answer| assert!(ask(client, line, answer), "the broker is gone");
    for queue in QUEUES {
        ok(&format!("queue.declare queue={queue} durable"), "queue.declare-ok");
    }
    ok("exchange.declare exchange=direct type=direct durable", "exchange.declare-ok");
    ok("exchange.declare exchange=fan type=fanout durable", "exchange.declare-ok");
    for (exchange, key, queue) in [
        ("direct", "k", "shared"),
        ("direct", "k", "also-fanned"),
        ("fan", "''", "fanned"),
        ("fan", "''", "also-fanned"),
    ] {
        ok(&format!("queue.bind queue={queue} exchange={exchange} routing_key={key}"), "queue.bind-ok");
    }
}

/// When the broker is killed.
pub struct Storm<'a> {
    pub node: &'a Node,
    pub ledger: &'a Mutex<Ledger>,
    /// Confirms that clients have read, all together.
    pub confirms: AtomicUsize,
    /// The publisher that reads this one writes some more messages and kills the broker.
    pub fatal_confirm: usize,
    pub writes_after: usize,
}

impl Storm<'_> {
    /// Publishes until the broker is gone.
    pub fn publish(&self, mut client: Client, publisher: u32, mut random: Random) {
        if !ask(&mut client, "confirm.select", "confirm.select-ok") {
            return;
        }
        let window = 1 + random.below(WINDOW_MAX);
        let mut sender = Sender { publisher, random, number: 0, unconfirmed: VecDeque::new() };
        loop {
            while sender.unconfirmed.len() < window {
                self.send(&mut client, &mut sender);
            }
            let (last, multiple) = match client.next(1, PATIENCE) {
                Event::Method(method) if method.name == "basic.ack" => {
                    (method.field("delivery_tag").parse().expect("a number"), method.field("multiple") == "true")
                }
                Event::Method(method) => panic!("{} and not a confirm", method.render()),
                Event::Closed => return,
                _ => panic!("no confirm came"),
            };
            let confirmed = sender.take_confirmed(last, multiple);
            let before = self.confirms.fetch_add(confirmed.len(), Ordering::Relaxed);
            let mut ledger = self.ledger.lock().expect("no panic while held");
            confirmed.iter().for_each(|message| ledger.confirmed(*message));
            drop(ledger);
            if (before..before + confirmed.len()).contains(&self.fatal_confirm) {
                (0..self.writes_after).for_each(|_| self.send(&mut client, &mut sender));
                self.node.kill();
            }
        }
    }

    fn send(&self, client: &mut Client, sender: &mut Sender) {
        let random = &mut sender.random;
        sender.number += 1;
        let length = random.length(BODY_MAX_BYTES);
        let message = Message { publisher: sender.publisher, number: sender.number, length };
        let (target, queues) = *random.pick(&ROUTES);
        let is_transient = random.percent(TRANSIENT_PERCENT);
        if !is_transient {
            let mut ledger = self.ledger.lock().expect("no panic while held");
            queues.iter().for_each(|queue| ledger.published(queue, message));
        }
        sender.unconfirmed.push_back((u64::from(sender.number), message));
        client.send_bytes(&message.publish(target, if is_transient { 1 } else { 2 }));
    }

    /// Consumes from a queue, and lets go of most of it one way or another, until the broker is gone.
    pub fn consume(&self, mut client: Client, queue: &str, mut random: Random) {
        if !ask(&mut client, &format!("basic.qos prefetch_count={PREFETCH_COUNT}"), "basic.qos-ok")
            || !ask(&mut client, &format!("basic.consume queue={queue}"), "basic.consume-ok")
        {
            return;
        }
        let mut held: VecDeque<(u64, Message)> = VecDeque::new();
        while let Some(delivery) = next_delivery(&mut client) {
            let tag = delivery.delivery_tag;
            let all = held.len() + 1 == PREFETCH_COUNT || random.percent(5);
            let answer = match random.below(100) {
                _ if all => format!("basic.ack delivery_tag={tag} multiple"),
                0..60 => format!("basic.ack delivery_tag={tag}"),
                60..70 => format!("basic.reject delivery_tag={tag}"),
                _ => {
                    held.push_back((tag, delivery.message));
                    continue;
                }
            };
            let mut ledger = self.ledger.lock().expect("no panic while held");
            ledger.settled(queue, delivery.message);
            held.drain(..if all { held.len() } else { 0 }).for_each(|(_, message)| ledger.settled(queue, message));
            drop(ledger);
            client.send(&answer);
        }
    }
}

/// What a publisher knows of itself.
struct Sender {
    publisher: u32,
    random: Random,
    number: u32,
    /// By delivery_tag, which counts as `number` does.
    unconfirmed: VecDeque<(u64, Message)>,
}

impl Sender {
    fn take_confirmed(&mut self, last: u64, multiple: bool) -> Vec<Message> {
        let is_confirmed = |tag: u64| tag == last || (multiple && tag < last);
        let (confirmed, waiting) =
            self.unconfirmed.drain(..).partition::<VecDeque<_>, _>(|(tag, _)| is_confirmed(*tag));
        self.unconfirmed = waiting;
        assert!(!confirmed.is_empty(), "the confirm of {last} confirms nothing");
        confirmed.into_iter().map(|(_, message)| message).collect()
    }
}
