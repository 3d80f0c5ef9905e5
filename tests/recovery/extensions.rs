//! Rounds of SIGKILL on one folder whose queues are more than plain: dead letters of every kind, limits that drop and limits
//! that refuse, priorities, delivery limits, expiry and delays. Each round begins with nothing and ends with everything
//! taken out again.
//!
//! Nothing that was confirmed is lost, whichever queue it had come to, and what was refused is nowhere. The log is told of a
//! dead letter's copy before it is told that the original left, and of what a delay is over for alike; so one message, on
//! its way when the broker was killed, may be there twice: as the copy, and where it came from. Whoever is given both finds
//! one of them flagged as redelivered. That holds as long as what is found again does not go on by itself through an
//! exchange that delays it, which forgets the flag, so nothing here expires into such an exchange.

use crate::message::{Delivery, Message, next_delivery};
use crate::node::{DataFolder, Node, PATIENCE, ask, depth};
use crate::random::Random;
use crate::seed_and_rounds;
use crate::support::client::{Client, Event};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const ROUNDS: u32 = 3;
const PUBLISHERS: u32 = 2;
const BODY_MAX_BYTES: usize = 8 << 10;
const PREFETCH_COUNT: usize = 20;
const WINDOW: usize = 48;
/// The broker is killed after at least so many confirms and deliveries …
const STEPS_MIN: usize = 300;
/// … and at most so many more.
const STEPS_SPREAD: usize = 2000;
const PRIORITIES: u32 = 6;
const DELAYS_MS: [u32; 4] = [1, 10, 50, LONGEST_DELAY_MS];
const LONGEST_DELAY_MS: u32 = 150;
/// Its messages are dead after 30 ms, so that it is never taken from.
const BRIEF: &str = "brief";
/// Queues with messages, and what they are besides durable.
const QUEUES: [(&str, &str); 9] = [
    ("dead", ""),
    ("delayed", ""),
    (BRIEF, "x-message-ttl=I:30, x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:dead"),
    ("rejected", "x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:dead"),
    ("short", "x-max-length=I:20, x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:dead"),
    (
        "full",
        "x-max-length=I:2, x-overflow=S:reject-publish, x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:dead",
    ),
    ("ranks", "x-max-priority=I:5, x-dead-letter-exchange=S:later, x-dead-letter-routing-key=S:d"),
    (
        "counting",
        "x-queue-type=S:quorum, x-max-length=I:30, x-delivery-limit=I:2, x-dead-letter-exchange=S:'', \
         x-dead-letter-routing-key=S:dead",
    ),
    (
        "sure",
        "x-queue-type=S:quorum, x-dead-letter-strategy=S:at-least-once, x-overflow=S:reject-publish, \
         x-max-length-bytes=I:10000, x-delivery-limit=I:1, x-dead-letter-exchange=S:'', x-dead-letter-routing-key=S:dead",
    ),
];
const CONSUMED: [&str; 5] = ["rejected", "full", "ranks", "counting", "sure"];

/// Where messages are published to, and how many queues they reach.
const ROUTES: [(&str, usize); 9] = [
    ("routing_key=brief", 1),
    ("routing_key=rejected", 1),
    ("routing_key=short", 1),
    ("routing_key=full", 1),
    ("routing_key=ranks", 1),
    ("routing_key=counting", 1),
    ("routing_key=sure", 1),
    ("exchange=later routing_key=d", 1),
    // One of them may refuse it.
    ("exchange=both", 2),
];

fn declare(client: &mut Client) {
    let mut ok = |line: &str, answer| assert!(ask(client, line, answer), "the broker is gone");
    for (queue, arguments) in QUEUES {
        ok(&format!("queue.declare queue={queue} durable arguments={{{arguments}}}"), "queue.declare-ok");
    }
    let later = "exchange.declare exchange=later type=x-delayed-message durable arguments={x-delayed-type=S:direct}";
    ok(later, "exchange.declare-ok");
    ok("exchange.declare exchange=both type=fanout durable", "exchange.declare-ok");
    for bound in [
        "queue=delayed exchange=later routing_key=d",
        "queue=full exchange=both routing_key=''",
        "queue=rejected exchange=both routing_key=''",
    ] {
        ok(&format!("queue.bind {bound}"), "queue.bind-ok");
    }
}

/// What is known of a message.
#[derive(Default)]
struct Fate {
    /// Queues that it was published to.
    queues: usize,
    confirmed: bool,
    refused: bool,
    /// In how many of them clients acknowledged it. Nobody was promised that the broker had heard.
    acknowledged: usize,
    found: usize,
    /// Of those, how many as if they had never been delivered.
    unflagged: usize,
}

type Fates = BTreeMap<Message, Fate>;

struct Storm<'a> {
    node: &'a Node,
    fates: Mutex<Fates>,
    steps: AtomicUsize,
    fatal_step: usize,
    writes_after: usize,
}

impl Storm<'_> {
    /// So many steps were done. True for whoever is to kill the broker.
    fn is_fatal(&self, steps: usize) -> bool {
        let before = self.steps.fetch_add(steps, Ordering::Relaxed);
        (before..before + steps).contains(&self.fatal_step)
    }

    fn publish(&self, mut client: Client, publisher: u32, mut random: Random) {
        if !ask(&mut client, "confirm.select", "confirm.select-ok") {
            return;
        }
        let (mut number, mut unconfirmed) = (0, VecDeque::new());
        let mut send = |client: &mut Client, unconfirmed: &mut VecDeque<(u64, Message)>| {
            number += 1;
            let message = Message { publisher, number, length: random.length(BODY_MAX_BYTES) };
            let (target, queues) = *random.pick(&ROUTES);
            self.fates.lock().expect("no panic while held").insert(message, Fate { queues, ..Fate::default() });
            unconfirmed.push_back((u64::from(number), message));
            client.send_bytes(&publish(message, target, *random.pick(&DELAYS_MS)));
        };
        loop {
            while unconfirmed.len() < WINDOW {
                send(&mut client, &mut unconfirmed);
            }
            let method = match client.next(1, PATIENCE) {
                Event::Method(method) if ["basic.ack", "basic.nack"].contains(&method.name) => method,
                Event::Method(method) => panic!("{} and not a confirm", method.render()),
                Event::Closed => return,
                _ => panic!("no confirm came"),
            };
            let last: u64 = method.field("delivery_tag").parse().expect("a number");
            let is_told = |tag: u64| tag == last || tag < last && method.field("multiple") == "true";
            let (told, waiting) = unconfirmed.drain(..).partition::<VecDeque<_>, _>(|(tag, _)| is_told(*tag));
            unconfirmed = waiting;
            assert!(!told.is_empty(), "{} tells nothing", method.render());
            let mut fates = self.fates.lock().expect("no panic while held");
            for (_, message) in &told {
                let fate = fates.get_mut(message).expect("it was published");
                *if method.name == "basic.ack" { &mut fate.confirmed } else { &mut fate.refused } = true;
            }
            drop(fates);
            if self.is_fatal(told.len()) {
                (0..self.writes_after).for_each(|_| send(&mut client, &mut unconfirmed));
                self.node.kill();
            }
        }
    }

    /// Takes messages, and rejects most of them.
    fn consume(&self, mut client: Client, queue: &str, mut random: Random) {
        if !ask(&mut client, &format!("basic.qos prefetch_count={PREFETCH_COUNT}"), "basic.qos-ok")
            || !ask(&mut client, &format!("basic.consume queue={queue}"), "basic.consume-ok")
        {
            return;
        }
        let mut held = 0;
        while let Some(Delivery { message, delivery_tag, .. }) = next_delivery(&mut client) {
            held += 1;
            let is_last = held == PREFETCH_COUNT;
            let answer = match random.below(100) {
                _ if is_last => format!("basic.nack delivery_tag={delivery_tag} multiple"),
                0..10 => {
                    let mut fates = self.fates.lock().expect("no panic while held");
                    fates.get_mut(&message).expect("it was published").acknowledged += 1;
                    format!("basic.ack delivery_tag={delivery_tag}")
                }
                10..50 => format!("basic.reject delivery_tag={delivery_tag}"),
                50..80 => format!("basic.nack delivery_tag={delivery_tag} requeue"),
                _ => continue,
            };
            held -= if is_last { held } else { 1 };
            client.send(&answer);
            if self.is_fatal(1) {
                self.node.kill();
            }
        }
    }
}

fn publish(message: Message, target: &str, delay_ms: u32) -> Vec<u8> {
    let priority = message.number % PRIORITIES;
    message.publish_with(target, 2, &format!("priority={priority} headers={{x-delay=I:{delay_ms}}}"))
}

/// Takes out everything that is there, and what still comes. What is dead or due before the canaries are comes before them.
fn empty(node: &Node, fates: &mut Fates, round: u32) {
    let client = &mut node.client();
    assert!(ask(client, "confirm.select", "confirm.select-ok"));
    let mut canaries =
        [(0, BRIEF), (1, "delayed")].map(|(number, _)| Message { publisher: u32::MAX - round, number, length: 1 });
    client.send_bytes(&publish(canaries[0], "routing_key=brief", 0));
    client.send_bytes(&publish(canaries[1], "exchange=later routing_key=d", LONGEST_DELAY_MS));
    client.expects("acks 2");
    for canary in canaries {
        fates.insert(canary, Fate { queues: 1, confirmed: true, ..Fate::default() });
    }
    let deadline = Instant::now() + PATIENCE;
    let is_missing = |fates: &Fates, canary: &Message| fates[canary].found == 0;
    while canaries.iter_mut().any(|canary| is_missing(fates, canary)) {
        assert!(Instant::now() < deadline, "what is dead or due does not come");
        for (queue, _) in QUEUES.iter().filter(|(queue, _)| *queue != BRIEF) {
            take(client, queue, fates);
        }
    }
}

fn take(client: &mut Client, queue: &str, fates: &mut Fates) {
    let count = depth(client, queue).expect("it is durable");
    client.send(&format!("{count}x basic.get queue={queue} no_ack"));
    let mut last_of: BTreeMap<u32, Message> = BTreeMap::new();
    let mut last_priority = u32::MAX;
    for _ in 0..count {
        let Delivery { message, redelivered, .. } = next_delivery(client).expect("a running broker");
        let fate = fates.get_mut(&message).unwrap_or_else(|| panic!("{queue} holds {message:?}, which can't be there"));
        fate.found += 1;
        fate.unflagged += usize::from(!redelivered);
        if queue != "ranks" {
            continue;
        }
        let priority = message.number % PRIORITIES;
        assert!(priority <= last_priority, "{queue} holds {message:?} behind those of priority {last_priority}");
        if priority < last_priority {
            last_of.clear();
        }
        last_priority = priority;
        if let Some(before) = last_of.insert(message.publisher, message) {
            assert!(before < message, "{queue} holds {message:?} behind {before:?}");
        }
    }
}

/// Holds what was found against what was promised. Says how many messages were doubled.
fn check(fates: &Fates) -> usize {
    let mut doubled = 0;
    for (message, fate) in fates {
        let Fate { queues, confirmed, refused, acknowledged, found, unflagged } = *fate;
        let says = format!(
            "{message:?}: published to {queues}, confirmed {confirmed}, refused {refused}, acknowledged in {acknowledged}, \
             found {found} times, {unflagged} unflagged"
        );
        assert!(!confirmed || found + acknowledged >= queues, "lost: {says}");
        assert!(!refused || queues > 1 || found + acknowledged == 0, "refused and there: {says}");
        assert!(unflagged <= queues, "doubled as if it were not: {says}");
        assert!(found <= queues + 1, "more than doubled: {says}");
        doubled += usize::from(found > queues);
    }
    doubled
}

#[test]
fn dead_and_delayed_letters_survive_every_kill() {
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    let folder = DataFolder::new();
    declare(&mut folder.start().client());
    for round in 0..rounds {
        eprintln!("round {round}; again with LEVERET_SEED={seed} LEVERET_ROUNDS={rounds}");
        let mut random = Random::new(seed << 32 | u64::from(round));
        let start = || if round % 2 == 0 { folder.start() } else { folder.start_with_little_memory() };
        let node = start();
        let mut fates = rage(&node, &mut random, round);
        let confirmed = fates.values().filter(|fate| fate.confirmed).count();
        let refused = fates.values().filter(|fate| fate.refused).count();
        let node = start();
        empty(&node, &mut fates, round);
        let doubled = check(&fates);
        eprintln!("         {confirmed} were confirmed and {refused} refused, {doubled} are there twice");
        assert!(doubled <= 1, "only one can be on its way in the log");
        assert!(node.stop().success());
    }
}

/// Lets everybody loose until the broker is killed.
fn rage(node: &Node, random: &mut Random, round: u32) -> Fates {
    let storm = Storm {
        node,
        fates: Mutex::default(),
        steps: AtomicUsize::new(0),
        fatal_step: STEPS_MIN + random.below(STEPS_SPREAD),
        writes_after: random.below(WINDOW),
    };
    // Everybody is connected before anybody begins: who came late would find no broker.
    let publishing: Vec<_> = (0..PUBLISHERS).map(|index| (index, node.client())).collect();
    let consuming = CONSUMED.map(|queue| (queue, node.client()));
    std::thread::scope(|scope| {
        let storm = &storm;
        for (index, client) in publishing {
            let random = Random::new(random.next());
            scope.spawn(move || storm.publish(client, round * PUBLISHERS + index, random));
        }
        for (queue, client) in consuming {
            let random = Random::new(random.next());
            scope.spawn(move || storm.consume(client, queue, random));
        }
    });
    storm.fates.into_inner().expect("nobody panicked")
}
