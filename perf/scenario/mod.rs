//! The scenarios: each makes its own topology, runs its own threads, and returns rows.

mod consumer;
mod flow;
mod producer;
mod topology;

use crate::client::Broker;
use crate::measure::Run;
use crate::options::{Common, Scenario};
use crate::report::Outcome;
use flow::{Flow, Preset};
use serde_json::{Map, Value};
use std::io;

/// What every scenario needs.
pub struct Context {
    pub run: Run,
    pub broker: Broker,
    pub common: Common,
}

/// A scenario ready to run, any number of times.
pub struct Prepared {
    pub name: &'static str,
    pub parameters: Map<String, Value>,
    pub run: Box<dyn Fn(&Context) -> io::Result<Outcome>>,
}

impl Prepared {
    /// Fills in defaults; fails on options that contradict each other.
    pub fn new(scenario: &Scenario) -> io::Result<Self> {
        match scenario {
            Scenario::Throughput(load) => Self::flow("throughput", Flow::new(load, Preset::THROUGHPUT)?),
            Scenario::Acked(load) => Self::flow("acked", Flow::new(load, Preset::ACKED)?),
            Scenario::Confirmed(load) => Self::flow("confirmed", Flow::new(load, Preset::CONFIRMED)?),
            Scenario::Fanout(load) => Self::flow("fanout", Flow::new(load, Preset::FANOUT)?),
            Scenario::Topic(load) => Self::flow("topic", Flow::new(load, Preset::TOPIC)?),
            Scenario::FanIn(load) => Self::flow("fan-in", Flow::new(load, Preset::FAN_IN)?),
            _ => Err(io::Error::other("this scenario is still to come")),
        }
    }

    fn flow(name: &'static str, flow: Flow) -> io::Result<Self> {
        Ok(Self { name, parameters: flow.parameters(), run: Box::new(move |context| flow.run(context)) })
    }
}
