//! Exchanges and bindings as two lists, and routing by looking at all of them.

use super::lasting::Thing;
use super::{QueueKey, VhostKey};
use crate::command::{BindingName, ExchangeDeclare, Kind};
use crate::message::Message;
use crate::wire::{Table, Value};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Debug)]
pub enum Destination {
    Queue(QueueKey),
    Exchange(String),
}

pub struct Routing {
    /// Something was made or unmade; whoever looks at that sets it back.
    pub changed: bool,
    exchanges: BTreeMap<String, ExchangeDeclare>,
    bindings: Vec<(BindingName, Destination)>,
}

impl Default for Routing {
    fn default() -> Self {
        let predeclared = [
            ("amq.direct", Kind::Direct),
            ("amq.fanout", Kind::Fanout),
            ("amq.topic", Kind::Topic),
            ("amq.headers", Kind::Headers),
        ];
        let exchange = |(name, kind): (&str, Kind)| {
            let name = name.to_owned();
            (name.clone(), ExchangeDeclare { name, kind, durable: true, auto_delete: false, alternate: None })
        };
        let exchanges = predeclared.into_iter().map(exchange).collect();
        Self { changed: false, exchanges, bindings: Vec::new() }
    }
}

/// Bindings equal whatever the order of their arguments.
fn sorted(mut binding: BindingName) -> BindingName {
    binding.arguments.sort_by_key(|(name, _)| *name);
    binding
}

impl Routing {
    pub fn exists(&self, exchange: &str) -> bool {
        exchange.is_empty() || self.exchanges.contains_key(exchange)
    }

    pub fn declare(&mut self, declare: &ExchangeDeclare) {
        self.changed = true;
        self.exchanges.entry(declare.name.clone()).or_insert_with(|| declare.clone());
    }

    pub fn is_topic(&self, exchange: &str) -> bool {
        self.exchanges.get(exchange).is_some_and(|exchange| exchange.kind == Kind::Topic)
    }

    /// Whether it is one that was declared, or that is there by itself.
    pub fn is_declared(&self, exchange: &str) -> bool {
        self.exchanges.contains_key(exchange)
    }

    pub fn is_used(&self, exchange: &str) -> bool {
        self.bindings.iter().any(|(binding, _)| binding.source == exchange)
    }

    pub fn bind(&mut self, binding: &BindingName, destination: Destination) {
        let binding = (sorted(binding.clone()), destination);
        self.changed = true;
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
    }

    pub fn is_bound(&self, binding: &BindingName, destination: Destination) -> bool {
        self.bindings.contains(&(sorted(binding.clone()), destination))
    }

    pub fn unbind(&mut self, binding: &BindingName, destination: Destination) {
        let binding = (sorted(binding.clone()), destination);
        self.remove_where(|bound| *bound == binding);
    }

    pub fn queue_gone(&mut self, queue: QueueKey) {
        self.remove_where(|(_, destination)| *destination == Destination::Queue(queue));
    }

    pub fn delete(&mut self, exchange: &str) {
        self.changed = true;
        if self.exchanges.remove(exchange).is_some() {
            self.bindings.retain(|(binding, _)| binding.source != exchange);
            self.remove_where(|(_, destination)| *destination == Destination::Exchange(exchange.to_owned()));
        }
    }

    /// Removes bindings, and the auto-delete exchanges that lose their last one by that.
    fn remove_where(&mut self, matches: impl Fn(&(BindingName, Destination)) -> bool) {
        self.changed = true;
        let (removed, kept) = std::mem::take(&mut self.bindings).into_iter().partition(matches);
        self.bindings = kept;
        let removed: Vec<(BindingName, Destination)> = removed;
        for (BindingName { source, .. }, _) in removed {
            let auto_delete = self.exchanges.get(&source).is_some_and(|exchange| exchange.auto_delete);
            if auto_delete && !self.is_used(&source) {
                self.delete(&source);
            }
        }
    }

    pub fn queue_bindings(&self) -> impl Iterator<Item = (QueueKey, &BindingName)> {
        self.bindings.iter().filter_map(|(binding, destination)| match destination {
            Destination::Queue(queue) => Some((*queue, binding)),
            Destination::Exchange(_) => None,
        })
    }

    /// Exchanges and bindings that outlive the broker, but for the predeclared exchanges.
    pub fn lasting(&self, vhost: VhostKey, queue_lasts: impl Fn(QueueKey) -> bool) -> Vec<Thing> {
        let lasts = |exchange: &String| self.exchanges.get(exchange).is_some_and(|exchange| exchange.durable);
        let declared =
            self.exchanges.values().filter(|exchange| exchange.durable && !exchange.name.starts_with("amq."));
        let bindings = self.bindings.iter().filter(|(binding, destination)| {
            lasts(&binding.source)
                && match destination {
                    Destination::Queue(queue) => queue_lasts(*queue),
                    Destination::Exchange(exchange) => lasts(exchange),
                }
        });
        let exchanges = declared.cloned().map(|declare| Thing::Exchange(vhost, declare));
        let bindings = bindings.cloned().map(|(binding, destination)| Thing::Binding(vhost, binding, destination));
        exchanges.chain(bindings).collect()
    }

    /// That of a virtual host in which is what outlived the broker.
    pub fn of(vhost: VhostKey, things: &[Thing]) -> Self {
        let mut routing = Self::default();
        for thing in things {
            match thing {
                Thing::Exchange(of, declare) if *of == vhost => routing.declare(declare),
                Thing::Binding(of, binding, destination) if *of == vhost => {
                    routing.bind(binding, destination.clone());
                }
                _ => {}
            }
        }
        routing
    }

    /// The queues that a message comes to, but for the default exchange.
    pub fn route(&self, message: &Message) -> BTreeSet<QueueKey> {
        let mut queues = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut to_visit = vec![message.exchange.as_str()];
        while let Some(name) = to_visit.pop() {
            if !seen.insert(name) {
                continue;
            }
            let Some(exchange) = self.exchanges.get(name) else { continue };
            let mut matched = false;
            for (binding, destination) in &self.bindings {
                if binding.source == name && exchange.kind.matches(binding, message) {
                    matched = true;
                    match destination {
                        Destination::Queue(queue) => drop(queues.insert(*queue)),
                        Destination::Exchange(exchange) => to_visit.push(exchange),
                    }
                }
            }
            if !matched {
                to_visit.extend(exchange.alternate);
            }
        }
        queues
    }
}

impl Kind {
    fn matches(self, binding: &BindingName, message: &Message) -> bool {
        match self {
            Self::Fanout => true,
            Self::Direct => message.routing_keys().contains(&binding.routing_key.as_str()),
            Self::Topic => {
                let words = |key: &str| -> Vec<String> {
                    if key.is_empty() { Vec::new() } else { key.split('.').map(str::to_owned).collect() }
                };
                let pattern = words(&binding.routing_key);
                message.routing_keys().into_iter().any(|key| topic_matches(&pattern, &words(key)))
            }
            Self::Headers => headers_match(&binding.arguments, &message.headers),
        }
    }
}

fn topic_matches(pattern: &[String], key: &[String]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((word, pattern)) if word == "#" => (0..=key.len()).any(|skip| topic_matches(pattern, &key[skip..])),
        Some((word, pattern)) => match key.split_first() {
            Some((first, key)) => (word == "*" || word == first) && topic_matches(pattern, key),
            None => false,
        },
    }
}

fn headers_match(arguments: &Table, headers: &Table) -> bool {
    let any = arguments.contains(&("x-match", Value::Text("any")));
    let mut wanted = arguments.iter().filter(|(name, _)| !name.starts_with("x-"));
    if any { wanted.any(|field| headers.contains(field)) } else { wanted.all(|field| headers.contains(field)) }
}
