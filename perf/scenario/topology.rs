//! The queues, exchanges and bindings of a scenario: declared at its start, deleted at its end, also after a failure.

use crate::client::{Broker, Client};
use std::io;

#[derive(Clone, Debug)]
pub struct Queue {
    pub name: String,
    /// The key of its binding, if the topology has an exchange of its own.
    pub binding_key: String,
}

#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Name and type; `None` uses the default exchange.
    pub exchange: Option<(String, &'static str)>,
    pub queues: Vec<Queue>,
    pub durable: bool,
}

/// A name that other runs of this program on the machine do not use. Short: it travels with every message.
pub fn unique_name(suffix: &str) -> String {
    format!("perf-{:x}-{suffix}", std::process::id() & 0xFFFF)
}

impl Topology {
    /// One queue behind the default exchange.
    pub fn one_queue(durable: bool) -> Self {
        let queue = Queue { name: unique_name("0"), binding_key: String::new() };
        Self { exchange: None, queues: vec![queue], durable }
    }

    pub fn declare(self, broker: &Broker) -> io::Result<Declared> {
        let mut client = Client::connect(broker)?;
        let declared = Declared { topology: self, broker: broker.clone() };
        let topology = &declared.topology;
        if let Some((name, kind)) = &topology.exchange {
            client.declare_exchange(name, kind, topology.durable)?;
        }
        for queue in &topology.queues {
            client.declare_queue(&queue.name, topology.durable)?;
            if let Some((exchange, _)) = &topology.exchange {
                client.bind(&queue.name, exchange, &queue.binding_key)?;
            }
        }
        client.close()?;
        Ok(declared)
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

    fn delete(&self) -> io::Result<()> {
        let mut client = Client::connect(&self.broker)?;
        for queue in &self.topology.queues {
            client.delete_queue(&queue.name)?;
        }
        if let Some((exchange, _)) = &self.topology.exchange {
            client.delete_exchange(exchange)?;
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
