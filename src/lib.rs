//! Leveret, a RabbitMQ-compatible AMQP 0-9-1 broker: the map of the house.
//!
//! | room | owns | never does |
//! |---|---|---|
//! | [`protocol`] | AMQP on the wire: bytes in, values out | knows no queue, socket or clock |
//! | [`broker`] | what AMQP means: exchanges, queues, consumers, channels, as one state machine | sees no frame but those that a message is kept as, no socket, clock or OS randomness |
//! | [`access`] | what permissions are made of: hashes of passwords, patterns of names, tags | knows no user, vhost or queue |
//! | [`connection`] | one client without I/O: bytes to commands, effects to bytes | does no system call |
//! | [`token`] | signed tokens: whether to believe one, and what it says | fetches no key, and knows no user, vhost or queue |
//! | [`storage`] | the log: what is durable, and its recovery; pages: scratch files for queues longer than memory | knows no socket, no routing and, but for one file, no clock and no I/O |
//! | [`cluster`] | brokers that keep one log: who leads, what is committed, what they say to each other | knows no AMQP, and in its state machines no socket, thread or clock |
//! | [`management`] | RabbitMQ's HTTP API, on a thread of its own | holds no broker state: it asks the loop |
//! | [`peers`] | what nodes of a cluster say to each other: proofs, connections, clients that are passed on | knows not what it means, and who leads only by being told |
//! | [`tls`] | certificates, and the records of one encrypted connection | knows no socket, file or clock |
//! | [`reactor`] | mio: poll, listeners, sockets, timers, wake-ups | knows no AMQP |
//! | [`server`] | the composition root: the turn of the loop | holds no AMQP rule |
//! | [`logging`] | log lines: how they look, how many, who writes them | knows nothing of what they say |
//! | [`allocator`] | mimalloc, for the programs | counts nothing |
//! | [`varint`] | numbers of seven bits a byte, for pages and records | knows nothing of what they count |
//! | [`meter`] | how long things take: histograms and samples | asks no clock, and knows nothing of what it measures |
//! | [`config`] | settings, their defaults and limits | reads nothing but the file it is given |

pub mod access;
pub mod allocator;
pub mod broker;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod logging;
pub mod management;
pub mod meter;
pub mod peers;
pub mod protocol;
pub mod reactor;
pub mod server;
pub mod storage;
pub mod tls;
pub mod token;
pub mod varint;
