//! A third party's view of AMQP 0-9-1, shared by the black-box suites.
//!
//! Owns a small client that knows frames, methods and field tables from its own tables, a notation in which both
//! what is sent and what comes back can be written on one line, and the player of transcripts written in it.
//! Never uses Leveret's codec: a mistake there must not be able to hide behind the same mistake here.

pub mod broker;
pub mod client;
pub mod fields;
pub mod http;
pub mod methods;
pub mod notation;
pub mod ports;
pub mod properties;
pub mod redeclarations;
pub mod transcript;
