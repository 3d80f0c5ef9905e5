//! The scenarios: each makes its own topology, runs its own threads, and returns rows.

mod backlog;
mod bare;
mod churn;
mod consumer;
mod crowd;
mod dead_letter;
mod flow;
mod fsync;
mod guessing;
mod idle;
mod latency;
mod nats;
mod preset;
mod producer;
mod rpc;
mod start;
mod topology;

use crate::client::Broker;
use crate::measure::Run;
use crate::options::{Backlog, Churn, Common, Scenario};
use crate::report::Outcome;
use churn::Subject;
use flow::Flow;
use preset::Preset;
use serde_json::{Map, Value, json};
use std::io;

/// What every scenario needs.
pub struct Context {
    pub run: Run,
    pub broker: Broker,
    pub common: Common,
}

/// One run of a scenario.
type Runner = dyn Fn(&Context) -> io::Result<Outcome>;

/// A scenario ready to run, any number of times.
pub struct Prepared {
    pub name: &'static str,
    pub parameters: Map<String, Value>,
    pub run: Box<Runner>,
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
            Scenario::Delayed(load) => Self::flow("delayed", Flow::new(load, Preset::DELAYED)?),
            Scenario::ConsistentHash(load) => Self::flow("consistent-hash", Flow::new(load, Preset::CONSISTENT_HASH)?),
            Scenario::FanIn(load) => Self::flow("fan-in", Flow::new(load, Preset::FAN_IN)?),
            Scenario::Latency(paced) => {
                let parameters =
                    json!({ "size": paced.size, "rate": paced.rate, "bare": paced.bare, "spin_us": paced.spin });
                let paced = paced.clone();
                Self::with("latency", parameters, move |context| latency::run(context, &paced))
            }
            Scenario::Rpc(rpc) => {
                let parameters = json!({ "size": rpc.size, "bare": rpc.bare });
                let rpc = rpc.clone();
                Self::with("rpc", parameters, move |context| rpc::run(context, &rpc))
            }
            Scenario::Fill(backlog) => Self::backlog("fill", backlog, false),
            Scenario::Drain(backlog) => Self::backlog("drain", backlog, true),
            Scenario::DeadLetters(letters) => {
                let Backlog { size, messages, durable, persistent, .. } = letters.backlog;
                let parameters = json!({
                    "size": size,
                    "messages": messages,
                    "durable": durable,
                    "persistent": persistent,
                    "expired": letters.expired,
                });
                let letters = letters.clone();
                Self::with("dead-letters", parameters, move |context| dead_letter::run(context, &letters))
            }
            Scenario::IdleConnections(idle) => {
                let parameters = json!({ "connections": idle.connections });
                let idle = idle.clone();
                Self::with("idle-connections", parameters, move |context| idle::connections(context, &idle))
            }
            Scenario::IdleQueues(idle) => {
                let parameters = json!({ "queues": idle.queues, "durable": idle.durable });
                let idle = idle.clone();
                Self::with("idle-queues", parameters, move |context| idle::queues(context, &idle))
            }
            Scenario::Crowd(crowd) => {
                let parameters = json!({
                    "size": crowd.size,
                    "connections": crowd.connections,
                    "rate": crowd.rate,
                    "bare": crowd.bare,
                });
                let crowd = crowd.clone();
                Self::with("crowd", parameters, move |context| crowd::run(context, &crowd))
            }
            Scenario::Guessing(guessing) => {
                let guessing = guessing.clone();
                let parameters = json!({ "clients": guessing.clients });
                Self::with("guessing", parameters, move |context| guessing::run(context, &guessing))
            }
            Scenario::Start(start) => {
                let start = start.clone();
                Self::with("start", json!({}), move |context| start::run(context, &start))
            }
            Scenario::Fsync(fsync) => {
                let fsync = fsync.clone();
                Self::with("fsync", json!({ "size": fsync.size }), move |context| fsync::run(context, &fsync))
            }
            Scenario::ConnectionChurn(churn) => Self::churn("connection-churn", churn, Subject::Connection),
            Scenario::QueueChurn(churn) => Self::churn("queue-churn", churn, Subject::Queue),
            Scenario::BindChurn(churn) => Self::churn("bind-churn", churn, Subject::Binding),
            Scenario::NatsThroughput(sized) => {
                let size = sized.size;
                Self::with("nats-throughput", json!({ "size": size }), move |context| nats::run(context, size))
            }
            Scenario::Relay(relay) => {
                let sizes = relay.size.clone();
                Self::with("relay", json!({ "sizes": sizes }), move |context| bare::relay(context, &sizes))
            }
            Scenario::GeneratorCeiling(sized) => {
                let size = sized.size;
                let run = move |context: &Context| bare::generator_ceiling(context, size);
                Self::with("generator-ceiling", json!({ "size": size }), run)
            }
        }
    }

    fn with(
        name: &'static str,
        parameters: Value,
        run: impl Fn(&Context) -> io::Result<Outcome> + 'static,
    ) -> io::Result<Self> {
        Ok(Self { name, parameters: parameters.as_object().cloned().unwrap_or_default(), run: Box::new(run) })
    }

    fn backlog(name: &'static str, backlog: &Backlog, drains: bool) -> io::Result<Self> {
        let parameters = json!({
            "size": backlog.size,
            "messages": backlog.messages,
            "durable": backlog.durable,
            "persistent": backlog.persistent,
            "prefetch": backlog.prefetch,
            "ack_every": backlog.ack_every,
            "lone_acks": backlog.lone_acks,
        });
        let backlog = backlog.clone();
        Self::with(name, parameters, move |context| backlog::run(context, &backlog, drains))
    }

    fn churn(name: &'static str, churn: &Churn, subject: Subject) -> io::Result<Self> {
        let parameters = json!({ "clients": churn.clients, "pipeline": churn.pipeline, "durable": churn.durable });
        let churn = churn.clone();
        Self::with(name, parameters, move |context| churn::run(context, &churn, subject))
    }

    fn flow(name: &'static str, flow: Flow) -> io::Result<Self> {
        Ok(Self { name, parameters: flow.parameters(), run: Box::new(move |context| flow.run(context)) })
    }
}
