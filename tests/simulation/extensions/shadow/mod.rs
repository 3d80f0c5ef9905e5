//! The shadow of queues that are more than plain: what becomes of each message, exactly, and in which order the log is
//! told of it.
//!
//! | file | owns |
//! |---|---|
//! | `mod` | messages on their way into queues; limits, times, policies; what is due in a turn |
//! | `consumers` | who is given what, and what becomes of it |
//! | `letters` | dead letters |
//! | `moving` | messages that are moved, and letters that go back |
//! | `topology` | queues and bindings, which come and go |
//! | `ends` | ends of a broker, and of its virtual host |
//! | `memories` | what exchanges remember |
//! | `lasting` | what the log was told |

mod consumers;
mod ends;
mod lasting;
mod letters;
mod memories;
mod moving;
mod topology;

pub use consumers::{Given, HeldTag};
pub use lasting::{Contents, Rules, Tick};
pub use memories::remembered_at;
pub use moving::Way;

use super::content::{Death, Draft, Seen};
use super::exchanges::{self, EXCHANGES, HISTORY, Memory, RECENT, RING, place_of};
use super::topology::{Behaviour, Rule, Spec, Wishes};
use consumers::{Consumer, Held};
use lasting::{Lasting, Told};
use letters::Letters;
use memories::Remembered;
use std::collections::{BTreeMap, VecDeque};

/// A queue, by its place in the topology.
pub type QueueIndex = usize;

/// Where messages are that wait for their time.
const LATE: QueueIndex = super::topology::NAMES.len();

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
    exchange: String,
    routing_key: String,
    deaths: Vec<Death>,
    /// Reason, queue and exchange of the first and the last one.
    ends: [Option<[String; 3]>; 2],
    persistent: bool,
    priority: u8,
    body_bytes: u64,
    has_expiration: bool,
    expiration_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    /// By which duplicates are told.
    value: Option<u8>,
    /// How long exchanges are to remember that.
    remembered_ms: Option<u32>,
    pub redelivered: bool,
    returns: u64,
}

impl Entry {
    fn of(draft: &Draft) -> Self {
        Self {
            id: draft.id,
            exchange: draft.exchange.to_owned(),
            routing_key: draft.routing_key.clone(),
            deaths: Vec::new(),
            ends: [None, None],
            persistent: draft.persistent,
            priority: draft.priority,
            body_bytes: draft.body_bytes.max(8) as u64,
            has_expiration: draft.expiration_ms.is_some(),
            expiration_ms: draft.expiration_ms,
            expires_at_ms: None,
            value: draft.value,
            remembered_ms: draft.remembered_ms,
            redelivered: false,
            returns: 0,
        }
    }

    /// As a client sees it when it comes out of a queue.
    pub fn seen(&self, counts: bool) -> Seen {
        Seen {
            id: self.id,
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            deaths: self.deaths.clone(),
            ends: self.ends.clone(),
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

struct Queue {
    /// 0 when there is none.
    serial: usize,
    behaviour: Behaviour,
    ready: BTreeMap<Turn, (Place, Entry)>,
    next_return: u64,
    /// What came back and waits, by when it is ready again, and in the order in which it came.
    retries: BTreeMap<(u64, u64), (Place, Entry)>,
    /// Its dead letters that are on their way.
    letters: usize,
    /// Their channels, in the order in which they came.
    consumers: Vec<u16>,
    /// Which message has a value, and when that stops counting.
    values: BTreeMap<u8, (Place, u64)>,
    last_used_ms: u64,
}

impl Queue {
    fn new(serial: usize, spec: &Spec, now_ms: u64) -> Self {
        Self {
            serial,
            last_used_ms: now_ms,
            behaviour: Behaviour::of(spec, &Wishes::default(), &Wishes::default()),
            ready: BTreeMap::new(),
            next_return: 0,
            retries: BTreeMap::new(),
            letters: 0,
            consumers: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    fn ready_bytes(&self) -> u64 {
        self.ready.values().map(|(_, entry)| entry.body_bytes).sum()
    }

    /// There would be too much with that one, and it is refused.
    fn is_too_full_for(&self, entry: &Entry) -> bool {
        let Behaviour { length, bytes, overflow, is_sure, .. } = self.behaviour;
        // Letters that it can't be sure of are still its own.
        let count = self.ready.len() + if is_sure { self.letters } else { 0 };
        overflow != "drop-head"
            && (length.is_some_and(|length| count as u64 >= length)
                || bytes.is_some_and(|bytes| self.ready_bytes() + entry.body_bytes > bytes))
    }

    /// There is too much, and some of it is dropped.
    fn overflows(&self) -> bool {
        let Behaviour { length, bytes, overflow, .. } = self.behaviour;
        overflow == "drop-head"
            && (length.is_some_and(|length| self.ready.len() as u64 > length)
                || bytes.is_some_and(|bytes| self.ready_bytes() > bytes))
    }
}

pub struct Shadow {
    now_ms: u64,
    specs: Vec<Spec>,
    queues: Vec<Queue>,
    last_serial: usize,
    /// Queues in the order in which they were declared, in which they are looked at.
    declared: Vec<QueueIndex>,
    /// Of each exchange, in the order in which they get messages.
    bindings: [Vec<QueueIndex>; EXCHANGES.len()],
    held: BTreeMap<HeldTag, Held>,
    last_tags: BTreeMap<u16, u64>,
    /// By their channels.
    consumers: BTreeMap<u16, Consumer>,
    last_consumer: usize,
    given: BTreeMap<u16, Vec<Given>>,
    letters: Letters,
    /// Messages that wait for their time, by that.
    delayed: BTreeMap<(u64, Place), Entry>,
    /// Of places, wherever they are.
    next_sequence: u64,
    rules: Rules,
    memories: Vec<Remembered>,
    /// What one exchange was published last.
    history: VecDeque<Entry>,
    lasting: Lasting,
}

impl Shadow {
    pub fn new(specs: Vec<Spec>, memories: &[Memory], now_ms: u64) -> Self {
        Self {
            now_ms,
            queues: specs.iter().map(|spec| Queue::new(0, spec, now_ms)).collect(),
            last_serial: 0,
            declared: Vec::new(),
            bindings: EXCHANGES.map(|_| Vec::new()),
            specs,
            held: BTreeMap::new(),
            last_tags: BTreeMap::new(),
            consumers: BTreeMap::new(),
            last_consumer: 0,
            given: BTreeMap::new(),
            letters: Letters::default(),
            delayed: BTreeMap::new(),
            next_sequence: 0,
            rules: Rules::default(),
            memories: memories.iter().map(|memory| Remembered::nothing(*memory)).collect(),
            history: VecDeque::new(),
            lasting: Lasting::default(),
        }
    }

    pub fn tick(&self) -> Tick {
        self.lasting.tick()
    }

    pub fn promise(&mut self, tick: Tick) {
        self.lasting.promise(tick);
    }

    pub fn after_a_crash<T>(&self, take: impl FnMut(Tick, &Contents) -> Option<T>) -> Option<T> {
        self.lasting.after_a_crash(take)
    }

    /// False for what the log has nothing to do with.
    fn tell(&mut self, told: Told) -> bool {
        let is_told = match &told {
            Told::Added(queue, _, entry) => {
                entry.persistent || self.specs.get(*queue).is_some_and(|spec| spec.is_quorum)
            }
            _ => true,
        };
        if is_told {
            self.lasting.tell(told);
        }
        is_told
    }

    pub fn ready(&self, queue: QueueIndex) -> usize {
        self.queues[queue].ready.len()
    }

    pub fn counts_returns(&self, queue: QueueIndex) -> bool {
        self.specs[queue].is_quorum
    }

    /// A client publishes. False when a queue refuses it; and what has to be safe before that may be said.
    pub fn publish(&mut self, draft: &Draft) -> (bool, Tick) {
        let entry = Entry::of(draft);
        let exchange = place_of(draft.exchange);
        let mut accepted = true;
        let mut safe = 0;
        if self.has_come(exchange, draft.value) {
            return (true, safe);
        }
        if let Some(delay_ms) = draft.delay_ms.filter(|delay_ms| *delay_ms > 0) {
            self.delay(entry, u64::from(delay_ms), &mut safe);
            return (true, safe);
        }
        if exchange == RECENT {
            self.history.push_back(entry.clone());
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        for queue in self.route(draft.exchange, &draft.routing_key) {
            accepted &= self.enter(queue, entry.clone(), &mut safe);
        }
        // Who is refused comes again, and that one is none of its kind.
        if accepted {
            self.remember(exchange, draft.value, draft.remembered_ms, &mut safe);
        }
        (accepted, safe)
    }

    /// Whether no queue that a message goes to would refuse it.
    pub fn is_taken_by_all(&self, draft: &Draft) -> bool {
        let entry = Entry::of(draft);
        self.route(draft.exchange, &draft.routing_key).into_iter().all(|index| !self.refuses(index, &entry))
    }

    /// Whether there is too much, or one of its kind, for a queue to take a message.
    fn refuses(&self, index: QueueIndex, entry: &Entry) -> bool {
        self.queues[index].is_too_full_for(entry) || self.is_duplicate(index, entry)
    }

    fn is_duplicate(&self, index: QueueIndex, entry: &Entry) -> bool {
        let value = entry.value.filter(|_| self.specs[index].deduplicates);
        let known = value.and_then(|value| self.queues[index].values.get(&value));
        known.is_some_and(|(_, until_ms)| *until_ms > self.now_ms)
    }

    /// The first delay from this one on with which nothing else is due: which of two goes first is nobody's promise.
    pub fn free_delay(&self, delay_ms: u32) -> u32 {
        let is_taken =
            |delay_ms: &u32| self.delayed.keys().any(|(due_ms, _)| *due_ms == self.now_ms + u64::from(*delay_ms));
        (delay_ms..).find(|delay_ms| *delay_ms == 0 || !is_taken(delay_ms)).expect("some time is free")
    }

    fn next_place(&mut self, priority: u8) -> Place {
        self.next_sequence += 1;
        Place { below_highest: u8::MAX - priority, sequence: self.next_sequence }
    }

    fn delay(&mut self, mut entry: Entry, delay_ms: u64, safe: &mut Tick) {
        let place = self.next_place(0);
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
        let place = place_of(exchange);
        let named = |queue: &QueueIndex| self.specs[*queue].name == routing_key && self.is_there(*queue);
        match place {
            RING => exchanges::in_ring(&self.bindings[place], routing_key).into_iter().collect(),
            0 => (0..self.specs.len()).filter(named).collect(),
            _ => self.bindings[place].clone(),
        }
    }

    /// False when the queue refuses it.
    fn enter(&mut self, index: QueueIndex, mut entry: Entry, safe: &mut Tick) -> bool {
        let queue = &self.queues[index];
        if queue.is_too_full_for(&entry) {
            if queue.behaviour.overflow == "reject-publish-dlx" {
                self.die(index, None, entry, "maxlen");
            }
            return false;
        }
        if self.is_duplicate(index, &entry) {
            self.die(index, None, entry, "maxlen");
            return false;
        }
        let (spec, queue) = (&self.specs[index], &self.queues[index]);
        let value = entry.value.filter(|_| spec.deduplicates);
        let times = [queue.behaviour.ttl_ms, entry.expiration_ms];
        entry.expires_at_ms = times.into_iter().flatten().min().map(|ttl_ms| self.now_ms + ttl_ms);
        // A quorum queue has levels without being asked.
        let top_level = spec.max_priority.or(spec.is_quorum.then_some(31));
        let priority = top_level.map_or(0, |most| entry.priority.min(most));
        let is_empty = queue.ready.is_empty();
        let place = self.next_place(priority);
        let consumer = self.ready_consumer(index).filter(|_| is_empty);
        if let Some(channel) = consumer.filter(|channel| self.takes_for_good(*channel)) {
            self.give(channel, index, None, entry);
            return true;
        }
        if let Some(value) = value {
            self.queues[index].values.insert(value, (place, entry.expires_at_ms.unwrap_or(u64::MAX)));
        }
        if self.tell(Told::Added(index, place, entry.clone())) {
            *safe = self.tick();
        }
        if let Some(channel) = consumer {
            self.give(channel, index, Some(place), entry);
        } else {
            self.queues[index].ready.insert(place.turn(), (place, entry));
            self.drop_overflow(index);
        }
        true
    }

    fn drop_overflow(&mut self, index: QueueIndex) {
        while self.queues[index].overflows()
            && let Some((_, (place, entry))) = self.queues[index].ready.pop_first()
        {
            self.die(index, Some(place), entry, "maxlen");
        }
    }

    /// A message was given away, or is acknowledged.
    fn removed(&mut self, queue: QueueIndex, place: Place, entry: &Entry) {
        self.forget_value(queue, place, entry);
        self.tell(Told::Removed(queue, place));
    }

    fn forget_value(&mut self, queue: QueueIndex, place: Place, entry: &Entry) {
        let values = &mut self.queues[queue].values;
        if let Some(value) = entry.value
            && values.get(&value).is_some_and(|(of, _)| *of == place)
        {
            values.remove(&value);
        }
    }

    pub fn purge(&mut self, index: QueueIndex) -> usize {
        let queue = &mut self.queues[index];
        // Those of messages that clients hold as well.
        queue.values.clear();
        let gone = std::mem::take(&mut queue.ready);
        let waiting = std::mem::take(&mut queue.retries);
        for (place, _) in gone.values().chain(waiting.values()) {
            self.tell(Told::Removed(index, *place));
        }
        gone.len() + waiting.len()
    }

    /// A policy or an operator policy says something else from now on, or nothing.
    pub fn rule(&mut self, kind: usize, rule: Option<Rule>) {
        self.tell(Told::Ruled(kind, rule.clone()));
        self.rules[kind] = rule;
        self.apply_rules();
        (0..self.queues.len()).for_each(|index| self.drop_overflow(index));
    }

    fn apply_rules(&mut self) {
        let nothing = Wishes::default();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let [policy, higher, operator] = self
                .rules
                .each_ref()
                .map(|rule| rule.as_ref().filter(|rule| rule.queue == index).map(|rule| &rule.wishes));
            let policy = higher.or(policy).unwrap_or(&nothing);
            queue.behaviour = Behaviour::of(&self.specs[index], policy, operator.unwrap_or(&nothing));
        }
    }

    /// What the broker does once it has read everyone: what is over goes, dead letters to where they are to go, and
    /// messages to those who wait for them.
    pub fn turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        loop {
            let declared = self.declared.clone();
            self.delete_unused();
            declared.iter().for_each(|index| self.retry(*index));
            declared.iter().for_each(|index| self.drop_expired(*index));
            self.letters.come_due(now_ms);
            self.release();
            self.publish_letters();
            declared.iter().for_each(|index| self.deliver(*index));
            if self.letters.is_empty() && !declared.iter().any(|index| self.has_expired_head(*index)) {
                return;
            }
        }
    }

    fn has_expired_head(&self, index: QueueIndex) -> bool {
        let head = self.queues[index].ready.first_key_value();
        head.is_some_and(|(_, (_, entry))| entry.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms))
    }

    /// Drops what is expired at the head: what has a lower priority waits for its turn.
    fn drop_expired(&mut self, index: QueueIndex) {
        while self.has_expired_head(index)
            && let Some((_, (place, entry))) = self.queues[index].ready.pop_first()
        {
            self.die(index, Some(place), entry, "expired");
        }
    }
}
