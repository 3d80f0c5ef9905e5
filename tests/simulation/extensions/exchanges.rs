//! Exchanges, the queues that may be bound to them, and what they remember.

use super::topology::NAMES;
use crate::random::Random;
use crate::wire::{Table, Value};

/// Names and types of exchanges, and the queues that may be bound to them; the default one leads by name.
pub const EXCHANGES: [(&str, &str, &[usize]); 8] = [
    ("", "direct", &[]),
    ("fan", "fanout", &[0, 1, 3]),
    ("dead", "fanout", &[2, 4]),
    ("late", "x-delayed-message", &[0, 2]),
    ("once", "x-message-deduplication", &[1, 3]),
    ("lately", "x-message-deduplication", &[0, 4]),
    ("ring", "x-consistent-hash", &[4, 1, 2]),
    ("recent", "x-recent-history", &[2, 3]),
];

/// Those that remember values: the first one on disk, if chance will have it, and the second one in memory.
const ONCE: usize = 4;
const LATELY: usize = 5;

/// Keeps what it was published last for queues that are bound later.
pub const RECENT: usize = 7;
/// So many messages of it.
pub const HISTORY: usize = 2;

/// Gives every message to one queue, by its routing key.
pub const RING: usize = 6;
/// Buckets of the queues that are bound to it, as their binding keys say.
const WEIGHTS: [usize; NAMES.len()] = [0, 2, 1, 0, 3];
/// Which of one to six buckets the name of each queue is in as a routing key, by RabbitMQ's arithmetic: a jump by the chance
/// `exs1024s`, seeded with `erlang:phash2` of the key, three times.
const BUCKETS: [[usize; 6]; NAMES.len()] =
    [[0, 0, 2, 2, 2, 2], [0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 1, 1, 3, 3, 3], [0; 6]];

/// With which key a queue is bound.
pub fn binding_key(exchange: usize, queue: usize) -> String {
    if exchange == RING { WEIGHTS[queue].to_string() } else { String::new() }
}

/// Which of the queues that are bound, in this order, gets a message.
pub fn in_ring(bound: &[usize], routing_key: &str) -> Option<usize> {
    let key = NAMES.iter().position(|name| *name == routing_key)?;
    let mut buckets = bound.iter().flat_map(|queue| std::iter::repeat_n(*queue, WEIGHTS[*queue]));
    let count = buckets.clone().count();
    if count == 0 { None } else { buckets.nth(BUCKETS[key][count - 1]) }
}

/// So many values there are at most for exchanges that remember them.
pub const VALUES: u8 = 12;
/// Room for all of them, or for so few that some are forgotten early.
const ROOM: usize = 2 * VALUES as usize;
const LITTLE_ROOM: usize = 2;

/// The place of an exchange in the topology.
pub fn place_of(exchange: &str) -> usize {
    EXCHANGES.iter().position(|(name, ..)| *name == exchange).expect("it is one of them")
}

/// What an exchange remembers.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub exchange: usize,
    /// Otherwise it is gone with the broker.
    pub is_on_disk: bool,
    pub size: usize,
    pub ttl_ms: Option<u64>,
}

impl Memory {
    /// Of all exchanges that remember something.
    pub fn random(random: &mut Random) -> Vec<Self> {
        [ONCE, LATELY].map(|exchange| Self::random_of(exchange, random)).to_vec()
    }

    fn random_of(exchange: usize, random: &mut Random) -> Self {
        // Which of them goes first once the log has brought them back is nobody's promise.
        let is_scarce = exchange == LATELY && random.percent(50);
        Self {
            exchange,
            is_on_disk: exchange == ONCE && random.percent(80),
            size: if is_scarce { LITTLE_ROOM } else { ROOM },
            ttl_ms: (!is_scarce && random.percent(70)).then(|| *random.pick(&[5, 60, 1000, 20_000])),
        }
    }

    /// The oldest value may have to go before its time.
    pub fn is_scarce(&self) -> bool {
        self.size == LITTLE_ROOM
    }

    fn arguments(&self) -> Table {
        let number = |name, value: u64| (name, Value::Number(value as i32));
        let ttl = self.ttl_ms.map(|ttl_ms| number("x-cache-ttl", ttl_ms));
        let on_disk = self.is_on_disk.then_some(("x-cache-persistence", Value::Text("disk")));
        [Some(number("x-cache-size", self.size as u64)), ttl, on_disk].into_iter().flatten().collect()
    }
}

/// What an exchange is declared with.
pub fn arguments(exchange: usize, memories: &[Memory]) -> Table {
    match EXCHANGES[exchange].1 {
        "x-recent-history" => vec![("x-recent-history-length", Value::Number(HISTORY as i32))],
        "x-delayed-message" => vec![("x-delayed-type", Value::Text("fanout"))],
        _ => memories.iter().find(|memory| memory.exchange == exchange).map(Memory::arguments).unwrap_or_default(),
    }
}
