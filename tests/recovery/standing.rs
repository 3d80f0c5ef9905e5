//! Which queues, exchanges and bindings exist, by what their clients were told.

use crate::node::{Node, PATIENCE, ask, depth, exchange_exists};
use crate::support::client::{Client, Event};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Present,
    Absent,
    /// Asked for, and the broker was killed before it answered.
    Unknown,
}

/// What is kept of something that was declared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Thing {
    Queue(String),
    Exchange(String),
    /// From the exchange to the queue of that name.
    Binding(String),
}

#[derive(Default)]
pub struct Standing {
    fates: BTreeMap<Thing, Fate>,
}

/// Declares, binds and deletes, one thing after the other, `count` times or until the broker is gone.
pub fn churn(mut client: Client, standing: &Mutex<Standing>, round: u32, count: usize) {
    let note = |things: &[Thing], fate| {
        let mut standing = standing.lock().expect("no panic while held");
        standing.fates.extend(things.iter().map(|thing| (thing.clone(), fate)));
    };
    let mut change = |things: &[Thing], fate, line: &str, answer: &str| {
        note(things, Fate::Unknown);
        let answered = ask(&mut client, line, answer);
        if answered {
            note(things, fate);
        }
        answered
    };
    for index in 0..count {
        let name = format!("d.{round}.{index}");
        let queue = Thing::Queue(name.clone());
        let exchange = Thing::Exchange(name.clone());
        let binding = Thing::Binding(name.clone());
        // Queues and exchanges that a restart ends, whatever was answered.
        let passing = ["transient", "exclusive"].map(|kind| Thing::Queue(format!("{name}.{kind}")));
        let passing_exchange = Thing::Exchange(format!("{name}.transient"));
        let unmade = match index % 4 {
            0 => Some((vec![queue.clone(), binding.clone()], format!("queue.delete queue={name}"), "queue.delete-ok")),
            1 => {
                let line = format!("exchange.delete exchange={name}");
                Some((vec![exchange.clone(), binding.clone()], line, "exchange.delete-ok"))
            }
            2 => {
                let line = format!("queue.unbind queue={name} exchange={name} routing_key=k");
                Some((vec![binding.clone()], line, "queue.unbind-ok"))
            }
            _ => None,
        };
        let declare_queue = |name: &str, how: &str| format!("queue.declare queue={name} {how}");
        let declare_exchange = |name: &str, how: &str| format!("exchange.declare exchange={name} type=topic {how}");
        let [transient, exclusive] = passing;
        let bind = format!("queue.bind queue={name} exchange={name} routing_key=k");
        let transient_name = format!("{name}.transient");
        let survived = change(&[queue], Fate::Present, &declare_queue(&name, "durable"), "queue.declare-ok")
            && change(&[exchange], Fate::Present, &declare_exchange(&name, "durable"), "exchange.declare-ok")
            && change(&[binding], Fate::Present, &bind, "queue.bind-ok")
            && change(&[transient], Fate::Absent, &declare_queue(&transient_name, ""), "queue.declare-ok")
            && change(
                &[exclusive],
                Fate::Absent,
                &declare_queue(&format!("{name}.exclusive"), "durable exclusive"),
                "queue.declare-ok",
            )
            && change(&[passing_exchange], Fate::Absent, &declare_exchange(&transient_name, ""), "exchange.declare-ok")
            && unmade.is_none_or(|(things, line, answer)| change(&things, Fate::Absent, &line, answer));
        if !survived {
            return;
        }
    }
}

impl Standing {
    /// Compares with what there is after a restart. From then on that is what must stay.
    pub fn check(&mut self, node: &Node) {
        let mut asking = node.client();
        let mut publishing = node.client();
        assert!(ask(&mut publishing, "confirm.select", "confirm.select-ok"));
        for (thing, fate) in &mut self.fates {
            let is_there = match thing {
                Thing::Queue(name) => depth(&mut asking, name).is_some(),
                Thing::Exchange(name) => exchange_exists(&mut asking, name),
                Thing::Binding(name) => exchange_exists(&mut asking, name) && reaches_a_queue(&mut publishing, name),
            };
            let found = if is_there { Fate::Present } else { Fate::Absent };
            assert!(*fate == Fate::Unknown || *fate == found, "{thing:?} should be {fate:?}, but is {found:?}");
            *fate = found;
        }
    }
}

/// Whether a message that must not be dropped gets anywhere.
pub fn reaches_a_queue(client: &mut Client, exchange: &str) -> bool {
    client.send(&format!("publish exchange={exchange} routing_key=k mandatory body='x'"));
    let mut reached = true;
    loop {
        match client.next(1, PATIENCE) {
            Event::Method(method) if method.name == "basic.return" => reached = false,
            Event::Method(method) if method.name == "basic.ack" => return reached,
            Event::Header(_) | Event::Body(_) => {}
            Event::Method(method) => panic!("{}", method.render()),
            _ => panic!("no answer about the bindings of {exchange}"),
        }
    }
}
