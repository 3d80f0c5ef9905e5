//! Rounds of SIGKILL on one folder: what was promised is there after each, once and in order, and nothing else is.

use crate::ledger::Ledger;
use crate::message::take_all;
use crate::node::{DataFolder, Node};
use crate::random::Random;
use crate::seed_and_rounds;
use crate::standing::{Standing, churn};
use crate::storm::{self, QUEUES, Storm};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const ROUNDS: u32 = 3;
const PUBLISHERS: u32 = 3;
/// The queues whose messages are also consumed while they come in.
const CONSUMED: [&str; 2] = ["shared", "also-fanned"];
/// The broker is killed after at least so many confirms …
const CONFIRMS_MIN: usize = 20;
/// … and at most so many more.
const CONFIRMS_SPREAD: usize = 400;
const WRITES_AFTER_MAX: usize = 24;
const DECLARATIONS_MAX: usize = 13;

#[test]
fn what_was_confirmed_survives_every_kill() {
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    let folder = DataFolder::new();
    let (ledger, standing) = (Mutex::default(), Mutex::default());
    storm::declare(&mut folder.start().client());
    for round in 0..rounds {
        eprintln!("round {round}; again with LEVERET_SEED={seed} LEVERET_ROUNDS={rounds}");
        let mut random = Random::new(seed << 32 | u64::from(round));
        // Half of the brokers keep most of what they are given on disk.
        let node = if random.percent(50) { folder.start_with_little_memory() } else { folder.start() };
        let found = check(&node, &ledger, &standing, &mut random);
        let confirms = rage(&node, &ledger, &standing, &mut random, round);
        eprintln!("         {found} messages recovered, then {confirms} confirmed");
    }
    check(&folder.start(), &ledger, &standing, &mut Random::new(seed));
}

/// Looks at everything that was recovered, and settles some of it. Returns how many messages there were.
fn check(node: &Node, ledger: &Mutex<Ledger>, standing: &Mutex<Standing>, random: &mut Random) -> usize {
    let mut ledger = ledger.lock().expect("no panic while held");
    let mut recovered = 0;
    for queue in QUEUES {
        let mut client = node.client();
        let found = take_all(&mut client, queue);
        ledger.check(queue, &found);
        recovered += found.len();
        let settled = if random.percent(50) { found.len() } else { random.below(found.len() + 1) };
        if let Some(last) = found[..settled].last() {
            found[..settled].iter().for_each(|delivery| ledger.settled(queue, delivery.message));
            client.send(&format!("basic.ack delivery_tag={} multiple", last.delivery_tag));
        }
    }
    standing.lock().expect("no panic while held").check(node);
    recovered
}

/// Lets everybody loose until the broker is killed. Returns how many messages were confirmed.
fn rage(node: &Node, ledger: &Mutex<Ledger>, standing: &Mutex<Standing>, random: &mut Random, round: u32) -> usize {
    let storm = Storm {
        node,
        ledger,
        confirms: AtomicUsize::new(0),
        fatal_confirm: CONFIRMS_MIN + random.below(CONFIRMS_SPREAD),
        writes_after: random.below(WRITES_AFTER_MAX),
    };
    // Everybody is connected before anybody begins: who came late would find no broker.
    let publishing: Vec<_> = (0..PUBLISHERS).map(|index| (index, node.client())).collect();
    let consuming = CONSUMED.map(|queue| (queue, node.client()));
    let declaring = node.client();
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
        scope.spawn(move || churn(declaring, standing, round, DECLARATIONS_MAX));
    });
    storm.confirms.load(Ordering::Relaxed)
}
