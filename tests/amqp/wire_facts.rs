//! What RabbitMQ says to some hundreds of stimuli, and so must Leveret: one file of transcripts for each part of AMQP.
//!
//! `LEVERET_TEST_URI=127.0.0.1:5673 cargo test --test amqp wire_facts` plays them against a RabbitMQ 3.10.8 there; the
//! lines marked `~` say where that one is known to differ.

use crate::support::transcript::all_hold;

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            all_hold(include_str!(concat!("transcripts/", stringify!($name), ".txt")));
        })*
    };
}

transcripts! {
    handshake
    frames
    exchanges
    queues
    consumers
    acknowledgement
    publishing
    reply_to
    queue_arguments
    queue_equivalence
}
