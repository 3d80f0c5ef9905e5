//! What AMQP means: exchanges, queues, consumers and channels, as one state machine without I/O.

pub mod equivalence;
pub mod exchange;
