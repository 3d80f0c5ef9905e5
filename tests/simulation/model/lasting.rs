//! What outlives the broker: the model of its log.
//!
//! Acts are numbered in the order in which the broker carries them out, and the log keeps that order. What is found after
//! a crash must therefore be what there was after some act, with the next one perhaps in part; [`Model::survivors`] looks
//! for such an act. It must not lie before one of which a client was told that it is safe. Settled deliveries are the one
//! thing that may be forgotten: nobody is promised that an acknowledgement was heard, unless it was committed.

use super::routing::Destination;
use super::who_may::Tenant;
use super::{Entry, Mode, Model, Queue, QueueKey, Routing, VhostKey};
use crate::command::{BindingName, ExchangeDeclare, QueueDeclare};
use crate::message::{Message, describe};
use crate::wire::{Content, Table, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The number of an act.
pub type Tick = u64;
const NEVER: Tick = Tick::MAX;

/// What exists by definition and lasts.
#[derive(Clone, PartialEq, Debug)]
pub enum Thing {
    Tenant(Tenant),
    Exchange(VhostKey, ExchangeDeclare),
    Queue(QueueKey),
    Binding(VhostKey, BindingName, Destination),
}

struct Lifetime {
    thing: Thing,
    made: Tick,
    gone: Tick,
}

/// A persistent message that entered a lasting queue.
struct Told {
    message: Rc<Message>,
    expires_at_ms: Option<u64>,
    tick: Tick,
    /// Its removal was to be as safe as the act of that number.
    removed: Tick,
    /// A client was told that it is safe.
    promised: bool,
}

#[derive(Default)]
pub struct Lasting {
    now: Tick,
    lifetimes: Vec<Lifetime>,
    declares: BTreeMap<QueueKey, QueueDeclare>,
    told: BTreeMap<QueueKey, BTreeMap<u64, Told>>,
    told_at: BTreeMap<Tick, Vec<(QueueKey, u64)>>,
    /// Acts that changed more than what messages there are.
    marks: BTreeSet<Tick>,
    /// A client was told that this one is safe, and so are all before it.
    promised: Tick,
}

/// What a start finds, as words and contents.
pub struct Found {
    /// In the words of [`exchange_words`], [`queue_words`], [`binding_words`] and those of `who_may`.
    pub definitions: BTreeSet<String>,
    pub queues: Drained,
    /// Messages that wait for their time, by that: when that is, and how large they are.
    pub delayed: Vec<(u64, usize)>,
}

/// The messages of every queue in order, and whether they are flagged as delivered before; by virtual host and name.
pub type Drained = BTreeMap<(String, String), Vec<(Rc<Content>, bool)>>;

/// What there is after a restart: place and redelivered flag of every message.
pub struct Survivors {
    things: Vec<Thing>,
    queues: Vec<(QueueKey, Vec<(u64, bool)>)>,
}

pub fn exchange_words(vhost: &str, name: &str, kind: &str, auto_delete: bool, arguments: &[Vec<u8>]) -> String {
    format!("{vhost}: {kind} exchange {name} auto_delete={auto_delete} {}", arguments_words(arguments))
}

pub fn queue_words(vhost: &str, name: &str, auto_delete: bool, arguments: &[Vec<u8>]) -> String {
    format!("{vhost}: queue {name} auto_delete={auto_delete} {}", arguments_words(arguments))
}

/// `destination` begins with `queue ` or `exchange `.
pub fn binding_words(vhost: &str, source: &str, destination: &str, routing_key: &str, arguments: &[Vec<u8>]) -> String {
    format!("{vhost}: binding from {source} to {destination} with '{routing_key}' {}", arguments_words(arguments))
}

fn arguments_words(arguments: &[Vec<u8>]) -> String {
    let mut words: Vec<_> = arguments.iter().map(|entry| entry.escape_ascii().to_string()).collect();
    words.sort();
    words.join(", ")
}

/// The encoded entries of a table, each by itself.
fn entries(table: &Table) -> Vec<Vec<u8>> {
    table.iter().map(|entry| Writer::default().table(&vec![entry.clone()]).0.split_off(size_of::<u32>())).collect()
}

impl Lasting {
    /// What there is from the beginning.
    pub(super) fn of(tenants: impl Iterator<Item = Tenant>) -> Self {
        let lifetime = |tenant| Lifetime { thing: Thing::Tenant(tenant), made: 0, gone: NEVER };
        Self { lifetimes: tenants.map(lifetime).collect(), ..Self::default() }
    }

    pub fn now(&self) -> Tick {
        self.now
    }

    pub fn begin_act(&mut self) {
        self.now += 1;
    }

    pub(super) fn tell(&mut self, queue: QueueKey, place: u64, message: &Rc<Message>, expires_at_ms: Option<u64>) {
        if message.persistent && self.declares.contains_key(&queue) {
            let (message, tick) = (message.clone(), self.now);
            let told = Told { message, expires_at_ms, tick, removed: NEVER, promised: false };
            self.told.entry(queue).or_default().insert(place, told);
            self.told_at.entry(tick).or_default().push((queue, place));
        }
    }

    /// A message left in a way that is as safe as the act under way.
    pub(super) fn remove(&mut self, queue: QueueKey, place: u64) {
        if let Some(told) = self.told.get_mut(&queue).and_then(|told| told.get_mut(&place)) {
            told.removed = self.now;
            self.marks.insert(self.now);
        }
    }

    pub(super) fn declare(&mut self, queue: QueueKey, declare: &QueueDeclare) {
        if declare.is_lasting() {
            self.declares.insert(queue, declare.clone());
        }
    }

    pub(super) fn lasts(&self, queue: QueueKey) -> bool {
        self.declares.contains_key(&queue)
    }

    /// Whether an act gave the log a message to keep.
    pub(super) fn told_at(&self, tick: Tick) -> bool {
        self.told_at.contains_key(&tick)
    }

    /// A client can hear that an act is done: it must be safe.
    pub fn promise(&mut self, tick: Tick) {
        if self.marks.contains(&tick) {
            self.promised = self.promised.max(tick);
        }
        for (queue, place) in self.told_at.get(&tick).into_iter().flatten() {
            if let Some(told) = self.told.get_mut(queue).and_then(|told| told.get_mut(place)) {
                told.promised = true;
            }
        }
    }
}

impl Model {
    /// Notes what the act under way made and unmade.
    pub(super) fn end_act(&mut self) {
        let mut changed = std::mem::take(&mut self.who_may.changed);
        for routing in self.routings.values_mut() {
            changed |= std::mem::take(&mut routing.changed);
        }
        if !changed {
            return;
        }
        let lasts = |key: QueueKey| self.lasting.lasts(key) && self.who_may.has_vhost(self.all_names[key].0);
        let queues = self.queues.keys().copied().filter(|key| lasts(*key)).map(Thing::Queue);
        let routings = self.routings.iter().filter(|(vhost, _)| self.who_may.has_vhost(**vhost));
        let routed = routings.flat_map(|(vhost, routing)| routing.lasting(*vhost, |key| self.lasting.lasts(key)));
        let tenants = self.who_may.lasting().map(Thing::Tenant);
        let things: Vec<Thing> = tenants.chain(queues).chain(routed).collect();
        let Lasting { now, lifetimes, marks, .. } = &mut self.lasting;
        for lifetime in lifetimes.iter_mut().filter(|lifetime| lifetime.gone == NEVER) {
            if !things.contains(&lifetime.thing) {
                lifetime.gone = *now;
                marks.insert(*now);
            }
        }
        for thing in things {
            if !lifetimes.iter().any(|lifetime| lifetime.gone == NEVER && lifetime.thing == thing) {
                lifetimes.push(Lifetime { thing, made: *now, gone: NEVER });
                marks.insert(*now);
            }
        }
    }

    fn words(&self, thing: &Thing) -> String {
        let name = |key: QueueKey| self.all_names[key].1.as_deref().unwrap_or("(not named yet)");
        match thing {
            Thing::Tenant(tenant) => self.who_may.words(tenant),
            Thing::Exchange(vhost, declare) => {
                let ExchangeDeclare { name, kind, auto_delete, .. } = declare;
                exchange_words(
                    self.who_may.vhost_name(*vhost),
                    name,
                    kind.name(),
                    *auto_delete,
                    &entries(&declare.arguments()),
                )
            }
            Thing::Queue(key) => {
                let (declare, vhost) = (&self.lasting.declares[key], self.all_names[*key].0);
                queue_words(
                    self.who_may.vhost_name(vhost),
                    name(*key),
                    declare.auto_delete,
                    &entries(&declare.arguments()),
                )
            }
            Thing::Binding(vhost, BindingName { source, routing_key, arguments }, destination) => {
                let destination = match destination {
                    Destination::Queue(key) => format!("queue {}", name(*key)),
                    Destination::Exchange(exchange) => format!("exchange {exchange}"),
                };
                binding_words(self.who_may.vhost_name(*vhost), source, &destination, routing_key, &entries(arguments))
            }
        }
    }

    /// The messages that there are, and whether they may be gone all the same, as their time is over; each with whether
    /// it was delivered.
    fn alive(&self) -> BTreeMap<(QueueKey, u64), (bool, bool)> {
        let over = |entry: &Entry| entry.doubtful || entry.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        let ready = self.queues.iter().flat_map(|(key, queue)| {
            queue.ready.iter().map(move |(place, entry)| ((*key, *place), (over(entry), entry.delivered)))
        });
        let channels = self.clients.values().flat_map(|client| client.channels.values());
        let held = channels.flat_map(|channel| {
            let pending = match &channel.mode {
                Mode::Transaction { settlements, .. } => &settlements[..],
                _ => &[],
            };
            channel.unacked.values().chain(pending.iter().map(|pending| &pending.unacked))
        });
        ready.chain(held.map(|unacked| ((unacked.queue, unacked.sequence), (false, true)))).collect()
    }

    /// Matches what a start finds with what must and what may be there. After a clean stop that is what there was then.
    pub fn survivors(&self, found: &Found, clean: bool) -> Result<Survivors, String> {
        let alive = self.alive();
        let promised = self.lasting.told.iter().flat_map(|(key, told)| {
            let promised = told.iter().filter(|(place, told)| {
                told.promised && alive.get(&(*key, **place)).is_some_and(|(may_be_gone, _)| !may_be_gone)
            });
            promised.map(|(_, told)| told.tick)
        });
        let first = match clean {
            true => self.lasting.now,
            false => promised.chain([self.lasting.promised]).max().unwrap_or(0),
        };
        let later = self.lasting.marks.iter().chain(self.lasting.told_at.keys()).copied().filter(|tick| *tick > first);
        let acts: BTreeSet<Tick> = later.chain([first]).collect();
        let acts: Vec<Tick> = acts.into_iter().collect();
        let mut complaints = Vec::new();
        for (index, act) in acts.iter().enumerate() {
            let next = acts.get(index + 1).unwrap_or(act);
            match self.survivors_at(found, (*act, *next), clean, &alive) {
                Ok(survivors) => return Ok(survivors),
                Err(complaint) => complaints.push(complaint),
            }
        }
        let (last, all) = (complaints.pop().expect("there is always one act"), complaints.len() + 1);
        Err(format!(
            "what is found is none of {all} states; at the earliest: {}; at the latest: {last}",
            complaints.first().unwrap_or(&last)
        ))
    }

    fn survivors_at(
        &self,
        found: &Found,
        (act, next): (Tick, Tick),
        clean: bool,
        alive: &BTreeMap<(QueueKey, u64), (bool, bool)>,
    ) -> Result<Survivors, String> {
        let there = |lifetime: &&Lifetime| lifetime.made <= next && lifetime.gone > act;
        let mut things = BTreeMap::new();
        for Lifetime { thing, made, gone } in self.lasting.lifetimes.iter().filter(there) {
            let words = self.words(thing);
            if *made <= act && *gone > next && !found.definitions.contains(&words) {
                return Err(format!("{words} is lost"));
            }
            things.insert(words, thing);
        }
        if let Some(words) = found.definitions.iter().find(|words| !things.contains_key(*words)) {
            return Err(format!("{words} should not be there"));
        }
        let mut queues = Vec::new();
        for (words, thing) in &things {
            let Thing::Queue(key) = thing else { continue };
            if found.definitions.contains(words) {
                queues.push((*key, self.messages_at(found, *key, (act, next), clean, alive)?));
            }
        }
        let things = found.definitions.iter().map(|words| things[words].clone()).collect();
        Ok(Survivors { things, queues })
    }

    fn messages_at(
        &self,
        found: &Found,
        key: QueueKey,
        (act, next): (Tick, Tick),
        clean: bool,
        alive: &BTreeMap<(QueueKey, u64), (bool, bool)>,
    ) -> Result<Vec<(u64, bool)>, String> {
        let (vhost, name) = &self.all_names[key];
        let name = name.clone().unwrap_or_default();
        let found_name = (self.who_may.vhost_name(*vhost).to_owned(), name.clone());
        let nothing = BTreeMap::new();
        let mut told = self.lasting.told.get(&key).unwrap_or(&nothing).iter();
        let mut survivors = Vec::new();
        let must = |place: &u64, told: &Told| {
            told.tick <= act && alive.get(&(key, *place)).is_some_and(|(may_be_gone, _)| !may_be_gone)
        };
        let lost = |told: &Told| Err(format!("message {} of queue {name} is lost", told.message.id));
        for (content, redelivered) in found.queues.get(&found_name).into_iter().flatten() {
            let (place, told) = loop {
                let Some((place, told)) = told.next() else {
                    return Err(format!("{} should not be in queue {name}, or not there", describe(content)));
                };
                if content.is(&told.message) {
                    break (place, told);
                }
                if must(place, told) {
                    return lost(told);
                }
            };
            let id = told.message.id;
            let state = alive.get(&(key, *place));
            let is_gone = told.removed <= act || clean && state.is_none();
            if told.tick > next || is_gone {
                return Err(format!("message {id} of queue {name} should not be there"));
            }
            if !redelivered && (!clean || state.is_none_or(|(_, delivered)| *delivered)) {
                return Err(format!("message {id} of queue {name} is not flagged as redelivered"));
            }
            survivors.push((*place, *redelivered));
        }
        match told.find(|(place, told)| must(place, told)) {
            Some((_, told)) => lost(told),
            None => Ok(survivors),
        }
    }

    /// The broker is another one, with what survived and without clients.
    pub fn restart(&mut self, survivors: Survivors) {
        let Survivors { things, queues } = survivors;
        self.clients.clear();
        self.consumers.clear();
        self.committing.clear();
        self.queues.clear();
        self.names.clear();
        let tenants =
            things.iter().filter_map(|thing| if let Thing::Tenant(tenant) = thing { Some(tenant) } else { None });
        self.who_may.restart(tenants);
        let vhosts = things.iter().filter_map(|thing| match thing {
            Thing::Tenant(Tenant::Vhost(key, ..)) => Some(*key),
            _ => None,
        });
        self.routings = vhosts.map(|vhost| (vhost, Routing::of(vhost, &things))).collect();
        let Lasting { now, declares, mut told, .. } = std::mem::take(&mut self.lasting);
        let mut lasting = Lasting { now, promised: now, ..Lasting::default() };
        lasting.lifetimes = things.into_iter().map(|thing| Lifetime { thing, made: now, gone: NEVER }).collect();
        for (key, places) in queues {
            let mut told = told.remove(&key).unwrap_or_default();
            let next_sequence = told.keys().next_back().map_or(0, |last| last + 1);
            let survives = |place: &u64| places.binary_search_by_key(place, |(place, _)| *place).is_ok();
            told.retain(|place, _| survives(place));
            let ready = places.iter().map(|(place, redelivered)| {
                let Told { message, expires_at_ms, .. } = &told[place];
                let (message, expires_at_ms) = (message.clone(), *expires_at_ms);
                (*place, Entry { message, expires_at_ms, delivered: *redelivered, fresh: false, doubtful: false })
            });
            let (vhost, name) = self.all_names[key].clone();
            let queue = Queue {
                vhost,
                name,
                declare: declares[&key].clone(),
                owner: None,
                ready: ready.collect(),
                next_sequence,
                consumers: Vec::new(),
                deliveries: 0,
                last_used_ms: self.now_ms,
            };
            self.names.extend(queue.name.clone().map(|name| ((vhost, name), key)));
            self.queues.insert(key, queue);
            let recovered = |(place, told)| (place, Told { tick: now, removed: NEVER, promised: true, ..told });
            lasting.told.insert(key, told.into_iter().map(recovered).collect());
            lasting.declares.insert(key, declares[&key].clone());
        }
        self.lasting = lasting;
    }
}
