//! Random scripts: valid operations of two connections in an order that a seed decides. Each one waits for its answer,
//! so that the answers depend on the script alone.

use crate::support::client::Client;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Scripts played when no seed is given.
const SCRIPTS: u64 = 12;
const STEPS: usize = 60;
const QUEUES: u64 = 3;
const CONNECTIONS: usize = 2;

/// What one connection sends, and the shape of the answer that it waits for.
pub struct Step {
    connection: usize,
    line: String,
    shape: &'static str,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    > connection {}: {}", self.connection, self.line)
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % sides
    }
}

pub fn seeds() -> Vec<u64> {
    match std::env::var("LEVERET_SEED") {
        Ok(seed) => vec![seed.parse().expect("LEVERET_SEED is a number")],
        Err(_) => (1..=SCRIPTS).collect(),
    }
}

/// The script of a seed. Every queue is declared again before each use, so that no step closes a channel; a settle is
/// followed by a get on the same channel. (RabbitMQ's queues answer a declare before they look at a requeue that came
/// earlier, and a get in its turn.)
pub fn script(seed: u64) -> Vec<Step> {
    let mut dice = Dice(seed);
    let mut steps = Vec::new();
    for number in 0..STEPS {
        let connection = dice.below(CONNECTIONS as u64) as usize;
        let queue = format!("rnd.q{}", dice.below(QUEUES));
        let exchange = ["direct", "fanout", "topic"][dice.below(3) as usize];
        let key = ["a", "a.b", "b.#", "*.b", "#"][dice.below(5) as usize];
        let mut step = |line: String, shape| steps.push(Step { connection, line, shape });
        step(format!("queue.declare queue={queue}"), "queue.declare-ok");
        let routed = format!("exchange=rnd.{exchange} routing_key={key}");
        match dice.below(10) {
            0 => {
                step(format!("exchange.declare exchange=rnd.{exchange} type={exchange}"), "exchange.declare-ok");
                step(format!("queue.bind queue={queue} {routed}"), "queue.bind-ok");
            }
            1 => step(format!("queue.unbind queue={queue} {routed}"), "queue.unbind-ok"),
            2 => {
                step(format!("exchange.declare exchange=rnd.{exchange} type={exchange}"), "exchange.declare-ok");
                step(format!("publish {routed} body=m{number}"), "basic.ack");
            }
            3..=5 => {
                step(format!("publish routing_key={queue} body=m{number} priority={}", dice.below(5)), "basic.ack")
            }
            6 => step(format!("basic.get queue={queue} no_ack"), "get"),
            7 => {
                step(format!("basic.get queue={queue}"), "get");
                let settle = ["basic.ack", "basic.nack requeue", "basic.nack"][dice.below(3) as usize];
                step(format!("{settle} multiple ; basic.get queue={queue} no_ack"), "get");
            }
            8 => step(format!("queue.purge queue={queue}"), "queue.purge-ok"),
            _ => step(format!("queue.delete queue={queue}"), "queue.delete-ok"),
        }
    }
    for queue in 0..QUEUES {
        steps.push(Step { connection: 0, line: format!("queue.delete queue=rnd.q{queue}"), shape: "queue.delete-ok" });
    }
    for exchange in ["direct", "fanout", "topic"] {
        let line = format!("exchange.delete exchange=rnd.{exchange}");
        steps.push(Step { connection: 0, line, shape: "exchange.delete-ok" });
    }
    steps
}

/// Plays a script and returns what was answered to each step.
pub fn run(script: &[Step], address: SocketAddr) -> Vec<String> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("rnd{:x}-{}.", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(address, "")).collect();
    for client in &mut clients {
        client.send("confirm.select");
        client.expects("confirm.select-ok");
    }
    let mut answers = Vec::new();
    for step in script {
        let client = &mut clients[step.connection];
        client.send(&step.line.replace("rnd.", &prefix));
        let mut answer = client.read_like(1, step.shape);
        if answer.starts_with("basic.get-ok") {
            answer = format!("{answer} → {}", client.read_like(1, "header → body"));
        }
        answers.push(answer.replace(&prefix, "rnd."));
    }
    answers
}
