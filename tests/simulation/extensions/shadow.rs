//! The shadow of queues that are more than plain: what becomes of each message, exactly, and in which order the log is
//! told of it.

use super::content::{Death, Draft, Seen};
use super::topology::{DECLARED, EXCHANGES, Limits, NAMES, Rule, Spec};
use std::collections::{BTreeMap, VecDeque};

/// A queue, by its place in the topology.
pub type QueueIndex = usize;

/// Where messages are that wait for their time.
const LATE: QueueIndex = NAMES.len();

/// Where a message is in a queue: those of a higher priority first, then in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    below_highest: u8,
    sequence: u64,
}

impl Place {
    /// Of a message that is where it was put.
    fn turn(self) -> Turn {
        Turn { below_highest: self.below_highest, is_in_its_place: true, number: self.sequence }
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub exchange: String,
    pub routing_key: String,
    pub deaths: Vec<Death>,
    pub persistent: bool,
    priority: u8,
    body_bytes: u64,
    has_expiration: bool,
    expiration_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    pub redelivered: bool,
    pub returns: u64,
}

impl Entry {
    /// As a client sees it when it comes out of a queue.
    pub fn seen(&self, counts: bool) -> Seen {
        Seen {
            id: self.id,
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            deaths: self.deaths.clone(),
            returns: (counts && self.returns > 0).then_some(self.returns),
            has_expiration: self.has_expiration,
        }
    }
}

/// What leaves first: of a higher priority, and of those what came back to a queue that puts that first, in the order in
/// which it did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    below_highest: u8,
    is_in_its_place: bool,
    number: u64,
}

#[derive(Default)]
struct Queue {
    /// From arguments and policy.
    limits: Limits,
    ready: BTreeMap<Turn, (Place, Entry)>,
    next_sequence: u64,
    next_return: u64,
}

/// A message that a client holds.
pub struct Held {
    queue: QueueIndex,
    place: Place,
    entry: Entry,
}

/// A message on its way to a dead-letter exchange.
struct Letter {
    queue: QueueIndex,
    /// Where it was, if the log knows it there.
    place: Option<Place>,
    entry: Entry,
    reason: &'static str,
}

/// Something that the log is told.
#[derive(Clone, Debug)]
enum Told {
    Added(QueueIndex, Place, Entry),
    Removed(QueueIndex, Place),
    /// It came back so often.
    Returned(QueueIndex, Place, u64),
    Ruled(usize, Option<Rule>),
}

/// The policy and the operator policy that there are.
pub type Rules = [Option<Rule>; 2];

/// What lasts: what is in the queues, and what is said of them.
#[derive(Clone, Default)]
pub struct Contents {
    pub queues: BTreeMap<QueueIndex, BTreeMap<Place, Entry>>,
    pub rules: Rules,
}

impl Contents {
    /// Messages that wait for their time, by that: when that is, and how large they are.
    pub fn delayed(&self) -> Vec<(u64, usize)> {
        let delayed = self.queues.get(&LATE).into_iter().flat_map(BTreeMap::values);
        let mut delayed: Vec<_> = delayed.map(|entry| (entry.expires_at_ms, entry.body_bytes as usize)).collect();
        delayed.sort_by_key(|(due_ms, _)| *due_ms);
        delayed.into_iter().map(|(due_ms, bytes)| (due_ms.expect("it waits for its time"), bytes)).collect()
    }
}

/// A number of things that the log was told.
pub type Tick = usize;

pub struct Shadow {
    now_ms: u64,
    specs: Vec<Spec>,
    queues: Vec<Queue>,
    held: BTreeMap<u64, Held>,
    last_tag: u64,
    letters: VecDeque<Letter>,
    /// Messages that wait for their time, by that.
    delayed: BTreeMap<(u64, Place), Entry>,
    next_delayed: u64,
    rules: Rules,
    /// What lasts for certain, and what the log was told since.
    base: Contents,
    base_tick: Tick,
    told: VecDeque<Told>,
}

impl Shadow {
    pub fn new(specs: Vec<Spec>, now_ms: u64) -> Self {
        let queues = specs.iter().map(|spec| Queue { limits: spec.limits.clone(), ..Queue::default() }).collect();
        Self {
            now_ms,
            specs,
            queues,
            held: BTreeMap::new(),
            last_tag: 0,
            letters: VecDeque::new(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            rules: Rules::default(),
            base: Contents::default(),
            base_tick: 0,
            told: VecDeque::new(),
        }
    }

    pub fn tick(&self) -> Tick {
        self.base_tick + self.told.len()
    }

    /// Everything up to there is safe.
    pub fn promise(&mut self, tick: Tick) {
        while self.base_tick < tick
            && let Some(told) = self.told.pop_front()
        {
            apply(&mut self.base, &told);
            self.base_tick += 1;
        }
    }

    /// False for what the log has nothing to do with.
    fn tell(&mut self, told: Told) -> bool {
        let (queue, persistent) = match &told {
            Told::Added(queue, _, entry) => (*queue, entry.persistent),
            Told::Removed(queue, _) | Told::Returned(queue, ..) => (*queue, true),
            Told::Ruled(..) => (0, true),
        };
        let is_told = persistent || self.specs.get(queue).is_some_and(|spec| spec.is_quorum);
        if is_told {
            self.told.push_back(told);
        }
        is_told
    }

    pub fn held_tags(&self) -> Vec<u64> {
        self.held.keys().copied().collect()
    }

    pub fn ready(&self, queue: QueueIndex) -> usize {
        self.queues[queue].ready.len()
    }

    pub fn unacknowledged(&self) -> usize {
        self.held.len()
    }

    /// A client publishes. False when a queue refuses it; and what has to be safe before that may be said.
    pub fn publish(&mut self, draft: &Draft) -> (bool, Tick) {
        let entry = Entry {
            id: draft.id,
            exchange: draft.exchange.to_owned(),
            routing_key: draft.routing_key.clone(),
            deaths: Vec::new(),
            persistent: draft.persistent,
            priority: draft.priority,
            body_bytes: draft.body_bytes.max(8) as u64,
            has_expiration: draft.expiration_ms.is_some(),
            expiration_ms: draft.expiration_ms,
            expires_at_ms: None,
            redelivered: false,
            returns: 0,
        };
        let mut accepted = true;
        let mut safe = 0;
        if let Some(delay_ms) = draft.delay_ms.filter(|delay_ms| *delay_ms > 0) {
            self.delay(entry, u64::from(delay_ms), &mut safe);
            return (true, safe);
        }
        for queue in self.route(draft.exchange, &draft.routing_key) {
            accepted &= self.enter(queue, entry.clone(), &mut safe);
        }
        (accepted, safe)
    }

    /// The first delay from this one on with which nothing else is due: which of two goes first is nobody's promise.
    pub fn free_delay(&self, delay_ms: u32) -> u32 {
        let is_taken =
            |delay_ms: &u32| self.delayed.keys().any(|(due_ms, _)| *due_ms == self.now_ms + u64::from(*delay_ms));
        (delay_ms..).find(|delay_ms| *delay_ms == 0 || !is_taken(delay_ms)).expect("some time is free")
    }

    fn delay(&mut self, mut entry: Entry, delay_ms: u64, safe: &mut Tick) {
        let place = Place { below_highest: 0, sequence: self.next_delayed };
        self.next_delayed += 1;
        let due_ms = self.now_ms + delay_ms;
        entry.expires_at_ms = Some(due_ms);
        self.delayed.insert((due_ms, place), entry.clone());
        if self.tell(Told::Added(LATE, place, entry)) {
            *safe = self.tick();
        }
    }

    /// Messages whose time has come go where they were published to.
    fn release(&mut self) {
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= self.now_ms
        {
            let ((_, place), entry) = first.remove_entry();
            for queue in self.route(&entry.exchange, &entry.routing_key) {
                self.enter(queue, entry.clone(), &mut 0);
            }
            if entry.persistent {
                self.tell(Told::Removed(LATE, place));
            }
        }
    }

    fn route(&self, exchange: &str, routing_key: &str) -> Vec<QueueIndex> {
        let (_, _, bound) = EXCHANGES.iter().find(|(name, ..)| *name == exchange).expect("it is one of them");
        let named = |queue: &QueueIndex| self.specs[*queue].name == routing_key;
        let all = 0..self.specs.len();
        match *bound {
            None => all.filter(named).collect(),
            Some(bound) => bound.iter().copied().filter(|queue| *queue < self.specs.len()).collect(),
        }
    }

    fn enter(&mut self, index: QueueIndex, mut entry: Entry, safe: &mut Tick) -> bool {
        let queue = &self.queues[index];
        let Limits { length, bytes, overflow, .. } = &queue.limits;
        if *overflow != "drop-head" {
            let ready_bytes: u64 = queue.ready.values().map(|(_, entry)| entry.body_bytes).sum();
            let is_full = length.is_some_and(|length| queue.ready.len() as u64 + 1 > length)
                || bytes.is_some_and(|bytes| ready_bytes + entry.body_bytes > bytes);
            if is_full {
                if *overflow == "reject-publish-dlx" {
                    self.die(index, None, entry, "maxlen");
                }
                return false;
            }
        }
        let spec = &self.specs[index];
        let times = [queue.limits.ttl_ms, entry.expiration_ms];
        entry.expires_at_ms = times.into_iter().flatten().min().map(|ttl_ms| self.now_ms + ttl_ms);
        // A quorum queue has levels without being asked.
        let top_level = spec.max_priority.or(spec.is_quorum.then_some(31));
        let priority = top_level.map_or(0, |most| entry.priority.min(most));
        let queue = &mut self.queues[index];
        let place = Place { below_highest: u8::MAX - priority, sequence: queue.next_sequence };
        queue.next_sequence += 1;
        queue.ready.insert(place.turn(), (place, entry.clone()));
        if self.tell(Told::Added(index, place, entry)) {
            *safe = self.tick();
        }
        self.drop_overflow(index);
        true
    }

    fn drop_overflow(&mut self, index: QueueIndex) {
        loop {
            let queue = &mut self.queues[index];
            let Limits { length, bytes, overflow, .. } = &queue.limits;
            if *overflow != "drop-head" {
                return;
            }
            let ready_bytes: u64 = queue.ready.values().map(|(_, entry)| entry.body_bytes).sum();
            let is_over = length.is_some_and(|length| queue.ready.len() as u64 > length)
                || bytes.is_some_and(|bytes| ready_bytes > bytes);
            if !is_over {
                return;
            }
            let Some((_, (place, entry))) = queue.ready.pop_first() else { return };
            self.die(index, Some(place), entry, "maxlen");
        }
    }

    /// A message leaves for good, as a dead letter if its queue has somewhere to send it.
    fn die(&mut self, queue: QueueIndex, place: Option<Place>, entry: Entry, reason: &'static str) {
        if self.specs[queue].dead_letters.is_some() {
            self.letters.push_back(Letter { queue, place, entry, reason });
        } else if let Some(place) = place {
            self.tell(Told::Removed(queue, place));
        }
    }

    fn publish_letters(&mut self) {
        while let Some(Letter { queue, place, mut entry, reason }) = self.letters.pop_front() {
            let spec = &self.specs[queue];
            let (exchange, key) = spec.dead_letters.expect("it has somewhere to send it");
            let known = entry.deaths.iter().position(|death| death.queue == spec.name && death.reason == reason);
            let count = known.map_or(0, |known| entry.deaths.remove(known).count);
            let death = Death { queue: spec.name.to_owned(), reason: reason.to_owned(), count: count + 1 };
            entry.deaths.insert(0, death);
            entry.exchange = exchange.to_owned();
            if let Some(key) = key {
                entry.routing_key = key.to_owned();
            }
            (entry.has_expiration, entry.expiration_ms) = (false, None);
            (entry.redelivered, entry.returns) = (false, 0);
            for target in self.route(exchange, &entry.routing_key.clone()) {
                if !is_cycle(self.specs[target].name, &entry.deaths) {
                    self.enter(target, entry.clone(), &mut 0);
                }
            }
            if let Some(place) = place {
                self.tell(Told::Removed(queue, place));
            }
        }
    }

    /// `basic.get`: its tag, what comes, and how many are left.
    pub fn get(&mut self, index: QueueIndex, no_ack: bool) -> Option<(u64, Entry, usize)> {
        self.drop_expired(index);
        let queue = &mut self.queues[index];
        let (_, (place, entry)) = queue.ready.pop_first()?;
        self.drop_expired(index);
        self.last_tag += 1;
        let seen = entry.clone();
        if no_ack {
            self.tell(Told::Removed(index, place));
        } else {
            self.held.insert(self.last_tag, Held { queue: index, place, entry });
        }
        Some((self.last_tag, seen, self.queues[index].ready.len()))
    }

    pub fn counts_returns(&self, queue: QueueIndex) -> bool {
        self.specs[queue].is_quorum
    }

    pub fn acknowledge(&mut self, tag: u64) {
        let Held { queue, place, .. } = self.held.remove(&tag).expect("it is held");
        self.tell(Told::Removed(queue, place));
    }

    pub fn reject(&mut self, tag: u64) {
        let Held { queue, place, entry } = self.held.remove(&tag).expect("it is held");
        self.die(queue, Some(place), entry, "rejected");
    }

    pub fn requeue(&mut self, tag: u64) {
        let Held { queue, place, mut entry } = self.held.remove(&tag).expect("it is held");
        entry.redelivered = true;
        entry.returns += 1;
        let spec = &self.specs[queue];
        if spec.is_quorum && spec.delivery_limit.is_some_and(|limit| entry.returns > limit) {
            return self.die(queue, Some(place), entry, "delivery_limit");
        }
        let of_queue = &mut self.queues[queue];
        let mut turn = place.turn();
        if spec.is_quorum {
            (turn.is_in_its_place, turn.number) = (false, of_queue.next_return);
            of_queue.next_return += 1;
        }
        let returns = entry.returns;
        of_queue.ready.insert(turn, (place, entry));
        if spec.is_quorum {
            self.tell(Told::Returned(queue, place, returns));
        }
        self.drop_overflow(queue);
    }

    /// The client is gone, and what it held goes back.
    pub fn requeue_all(&mut self) {
        for tag in self.held_tags() {
            self.requeue(tag);
        }
        self.last_tag = 0;
    }

    pub fn purge(&mut self, index: QueueIndex) -> usize {
        let gone = std::mem::take(&mut self.queues[index].ready);
        for (place, _) in gone.values() {
            self.tell(Told::Removed(index, *place));
        }
        gone.len()
    }

    /// A policy or an operator policy says something else from now on, or nothing.
    pub fn rule(&mut self, kind: usize, rule: Option<Rule>) {
        self.tell(Told::Ruled(kind, rule.clone()));
        self.rules[kind] = rule;
        self.apply_rules();
        (0..self.queues.len()).for_each(|index| self.drop_overflow(index));
    }

    fn apply_rules(&mut self) {
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let rules = self.rules.iter().flatten().filter(|rule| rule.queue == index);
            queue.limits = rules.fold(self.specs[index].limits.clone(), |limits, rule| limits.and(&rule.limits));
        }
    }

    /// What the broker does once it has read everyone: what is over goes, and dead letters to where they are to go.
    pub fn turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        loop {
            DECLARED.into_iter().for_each(|index| self.drop_expired(index));
            self.release();
            if self.letters.is_empty() {
                return;
            }
            self.publish_letters();
        }
    }

    /// Drops what is expired at the head: what has a lower priority waits for its turn.
    fn drop_expired(&mut self, index: QueueIndex) {
        while let Some(head) = self.queues[index].ready.first_entry()
            && head.get().1.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms)
        {
            let (place, entry) = head.remove();
            self.die(index, Some(place), entry, "expired");
        }
    }

    /// The states that a crash may lead to: what is safe for certain, and after each thing that the log was told since.
    /// Says what `take` makes of the first one that it takes.
    pub fn after_a_crash<T>(&self, mut take: impl FnMut(Tick, &Contents) -> Option<T>) -> Option<T> {
        let mut contents = self.base.clone();
        let first = take(self.base_tick, &contents);
        first.or_else(|| {
            self.told.iter().enumerate().find_map(|(index, told)| {
                apply(&mut contents, told);
                take(self.base_tick + index + 1, &contents)
            })
        })
    }

    /// Goes on from what a start found. Of each message it says how often it had come back.
    pub fn restart(&mut self, found: Contents, now_ms: u64) {
        self.now_ms = now_ms;
        self.held.clear();
        self.letters.clear();
        self.last_tag = 0;
        self.told.clear();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let there = found.queues.get(&index).into_iter().flatten();
            queue.ready = there.map(|(place, entry)| (place.turn(), (*place, entry.clone()))).collect();
        }
        let delayed = found.queues.get(&LATE).into_iter().flatten();
        let due_ms = |entry: &Entry| entry.expires_at_ms.expect("it waits for its time");
        self.delayed = delayed.map(|(place, entry)| ((due_ms(entry), *place), entry.clone())).collect();
        self.rules = found.rules.clone();
        self.base = found;
        self.apply_rules();
        // What comes out of the log is kept wherever it goes, whatever its delivery mode was.
        let ready = self.queues.iter_mut().flat_map(|queue| queue.ready.values_mut());
        ready.for_each(|(_, entry)| entry.persistent = true);
        DECLARED.into_iter().for_each(|index| self.drop_expired(index));
        // The end may have come between a message and what had to go for it.
        DECLARED.into_iter().for_each(|index| self.drop_overflow(index));
    }
}

fn apply(Contents { queues, rules }: &mut Contents, told: &Told) {
    match told {
        Told::Added(queue, place, entry) => _ = queues.entry(*queue).or_default().insert(*place, entry.clone()),
        Told::Removed(queue, place) => _ = queues.get_mut(queue).and_then(|queue| queue.remove(place)),
        Told::Returned(queue, place, returns) => {
            if let Some(entry) = queues.get_mut(queue).and_then(|queue| queue.get_mut(place)) {
                entry.returns = *returns;
            }
        }
        Told::Ruled(kind, rule) => rules[*kind].clone_from(rule),
    }
}

/// Whether a message was in a queue before and came there again without anybody having rejected it.
fn is_cycle(queue: &str, deaths: &[Death]) -> bool {
    let Some(last) = deaths.iter().position(|death| death.queue == queue) else { return false };
    deaths[..=last].iter().all(|death| death.reason != "rejected")
}
