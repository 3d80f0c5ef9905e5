//! What the scenarios that are flows of messages differ in. Owns their defaults; the command line goes before them.

use crate::options::ExchangeType;

/// What a scenario sets where the command line does not.
#[derive(Clone, Copy)]
pub struct Preset {
    pub producers: u16,
    pub queues: u32,
    pub consumers: u16,
    pub exchange_type: ExchangeType,
    pub prefetch: u16,
    pub ack_every: u32,
    pub confirm_window: u32,
}

impl Preset {
    pub const THROUGHPUT: Self = Self {
        producers: 1,
        queues: 1,
        consumers: 1,
        exchange_type: ExchangeType::Default,
        prefetch: 0,
        ack_every: 0,
        confirm_window: 0,
    };
    pub const ACKED: Self = Self { prefetch: 1000, ack_every: 100, ..Self::THROUGHPUT };
    pub const CONFIRMED: Self = Self { confirm_window: 1000, ..Self::THROUGHPUT };
    pub const FANOUT: Self =
        Self { queues: 10, consumers: 10, exchange_type: ExchangeType::Fanout, ..Self::THROUGHPUT };
    pub const TOPIC: Self =
        Self { producers: 4, queues: 4, consumers: 4, exchange_type: ExchangeType::Topic, ..Self::THROUGHPUT };
    pub const CONSISTENT_HASH: Self = Self {
        producers: 4,
        queues: 10,
        consumers: 10,
        exchange_type: ExchangeType::ConsistentHash,
        ..Self::THROUGHPUT
    };
    pub const DELAYED: Self = Self { exchange_type: ExchangeType::Delayed, ..Self::THROUGHPUT };
    pub const FAN_IN: Self = Self { producers: 64, ..Self::THROUGHPUT };
}
