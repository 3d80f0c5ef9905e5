//! The queues, exchanges and bindings of a scenario: declared at its start, deleted at its end, also after a failure.

use crate::client::{Broker, Client};
use crate::extensions::Arguments;
use crate::options::ExchangeType;
use std::io;

#[derive(Clone, Debug)]
pub struct Queue {
    pub name: String,
    /// The key of its binding, if the topology has an exchange of its own.
    pub binding_key: String,
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub name: String,
    pub exchange_type: ExchangeType,
    pub arguments: Arguments,
}

#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// `None` uses the default exchange.
    pub exchange: Option<Exchange>,
    pub queues: Vec<Queue>,
    /// Further bindings of the first queue to the exchange, by keys that no message of a scenario has.
    pub further_bindings: u32,
    pub durable: bool,
    /// Of its queues.
    pub arguments: Arguments,
}

/// A name that other runs of this program on the machine do not use. Short: it travels with every message.
pub fn unique_name(suffix: &str) -> String {
    format!("perf-{:x}-{suffix}", std::process::id() & 0xFFFF)
}

impl Topology {
    /// One queue behind the default exchange.
    pub fn one_queue(durable: bool) -> Self {
        let queue = Queue { name: unique_name("0"), binding_key: String::new() };
        Self { queues: vec![queue], durable, ..Self::default() }
    }

    pub fn declare(self, broker: &Broker) -> io::Result<Declared> {
        let mut client = Client::connect(broker)?;
        let declared = Declared { topology: self, broker: broker.clone() };
        let topology = &declared.topology;
        if let Some(exchange) = &topology.exchange {
            let exchange_type = exchange.exchange_type.name();
            client.declare_exchange(&exchange.name, exchange_type, topology.durable, &exchange.arguments)?;
        }
        let names: Vec<&str> = topology.queues.iter().map(|queue| &*queue.name).collect();
        client.declare_queues_with(&names, topology.durable, &topology.arguments)?;
        if let Some(Exchange { name: exchange, .. }) = &topology.exchange {
            let keys: Vec<(&str, &str)> =
                topology.queues.iter().map(|queue| (&*queue.name, &*queue.binding_key)).collect();
            client.bind_all(exchange, &keys)?;
            let further: Vec<String> = (0..topology.further_bindings).map(further_key).collect();
            let further: Vec<(&str, &str)> = further.iter().map(|key| (names[0], &**key)).collect();
            client.bind_all(exchange, &further)?;
        }
        client.close()?;
        Ok(declared)
    }
}

/// The key of a binding that is only there: of three words, every fourth with a wildcard.
fn further_key(number: u32) -> String {
    match number % 8 {
        3 => format!("other-{}.*.thing-{number}", number % 32),
        7 => format!("other-{}.place-{number}.#", number % 32),
        _ => format!("other-{}.place-{number}.thing-{number}", number % 32),
    }
}

/// A topology that exists until this is dropped.
pub struct Declared {
    topology: Topology,
    broker: Broker,
}

impl Declared {
    pub fn queue(&self, index: usize) -> &str {
        &self.topology.queues[index].name
    }

    /// Leaves it to the broker.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    fn delete(&self) -> io::Result<()> {
        let mut client = Client::connect(&self.broker)?;
        let names: Vec<&str> = self.topology.queues.iter().map(|queue| &*queue.name).collect();
        client.delete_queues(&names)?;
        if let Some(exchange) = &self.topology.exchange {
            client.delete_exchange(&exchange.name)?;
        }
        client.close()
    }
}

impl Drop for Declared {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("leveret-perf: could not clean up: {error}");
        }
    }
}
