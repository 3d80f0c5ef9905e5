//! What replaying the log leads to: definitions, live messages by place, and the use of each segment.
//!
//! The writer keeps it up to date with every batch, recovery builds it anew, a checkpoint is its copy on disk. It holds
//! no message. Applying a record twice, or one whose effect is already there, changes nothing; records of queues that
//! are gone are ignored.

use super::live_set::{LiveSet, Run};
use super::record::{BadRecord, Enqueue, Record, put_bound, put_definition, read_record};
use super::segment::SegmentNumber;
use super::who_may::WhoMay;
use crate::broker::exchange::{ExchangeKind, canonical};
use crate::broker::store::{
    Definition, DurableBinding, DurableDestination, DurableQueueId, Returns, VhostDefinition, VhostId,
};
use crate::protocol::ShortString;
use crate::varint::Cursor;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::{BTreeMap, btree_map};

/// A durable queue, one of its levels of priority that is not the lowest, or what an exchange keeps for later.
#[derive(Clone, Debug)]
pub struct QueueState {
    /// Its [`Definition::QueueDeclared`], or what was said of an exchange: [`Definition::DelayedDeclared`],
    /// [`Definition::ValuesDeclared`]. `None` of a level, which comes and goes with its queue.
    definition: Option<Definition>,
    pub live: LiveSet,
    /// One more than the highest sequence that was logged.
    pub next_sequence: u64,
    /// How often live messages came back, by sequence; nothing of those that never did.
    pub returns: BTreeMap<u64, Returns>,
}

impl QueueState {
    fn new(definition: Option<Definition>) -> Self {
        Self { definition, live: LiveSet::default(), next_sequence: 0, returns: BTreeMap::new() }
    }

    /// What a queue is called, and its highest level; `None` of a level, and of what an exchange keeps.
    fn declared(&self) -> Option<(VhostId, &ShortString, u8)> {
        match self.definition.as_ref()? {
            Definition::QueueDeclared { vhost, name, top_level, .. } => Some((*vhost, name, *top_level)),
            Definition::DelayedDeclared { .. } | Definition::ValuesDeclared { .. } => None,
            _ => unreachable!("a queue's definition is its declaration"),
        }
    }
}

/// What a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentUse {
    pub generation: u64,
    /// Where the last batch ends.
    pub end: u64,
    /// Messages that were ever put in, and those that are alive, one for each queue.
    pub total: u64,
    pub live: u64,
}

impl SegmentUse {
    /// About how many bytes the live messages take: their share of all.
    pub fn live_bytes(&self) -> u64 {
        if self.total == 0 { 0 } else { (u128::from(self.end) * u128::from(self.live) / u128::from(self.total)) as u64 }
    }
}

/// A binding's record, with its arguments in the order of their names: bindings that differ in their arguments are
/// different ones, and who unbinds may name them in another order than who bound.
type BindingKey = Vec<u8>;

/// Exchanges that are there without having been declared, and no others, are named like this.
const PREDECLARED_PREFIX: &[u8] = b"amq.";

#[derive(Clone, Default, Debug)]
pub struct State {
    /// And those of their levels that were used.
    pub queues: HashMap<DurableQueueId, QueueState>,
    /// Queues with levels, and the highest of each.
    with_levels: BTreeMap<DurableQueueId, u8>,
    /// Their [`Definition::ExchangeDeclared`].
    pub exchanges: BTreeMap<(VhostId, ShortString), Definition>,
    /// By destination. In one flat map and as records: most queues have one binding, and a tree for each would take many
    /// times its room. The number is the place in the order of binding, where that counts, and else 0.
    bindings: BTreeMap<(VhostId, DurableDestination, BindingKey), u64>,
    /// The greatest of those numbers that was given.
    last_place: u64,
    /// How many bindings lead from an exchange to each destination.
    destinations: HashMap<(VhostId, ShortString), BTreeMap<DurableDestination, usize>>,
    /// What exchanges keep for later, and what they remember, by the numbers in `queues`.
    kept: HashMap<(VhostId, ShortString), Vec<DurableQueueId>>,
    /// The segments in use; live counts are 0 in those that wait to be freed.
    pub segments: BTreeMap<SegmentNumber, SegmentUse>,
    pub max_queue_id: u64,
    who_may: WhoMay,
    /// What lost records must have said, in sentences. Empty, unless damage was stepped over.
    inferred: Vec<String>,
}

fn binding_key(binding: &DurableBinding) -> BindingKey {
    let mut key = Vec::new();
    if binding.arguments.len() < 2 {
        put_bound(&mut key, binding);
    } else {
        put_bound(&mut key, &DurableBinding { arguments: canonical(&binding.arguments), ..binding.clone() });
    }
    key
}

/// The binding that was made into a key.
fn binding_of(key: &[u8]) -> DurableBinding {
    match read_record(&mut Cursor::new(key)) {
        Ok(Record::Definition(Definition::Bound(binding))) => binding,
        _ => unreachable!("a binding's key is its record"),
    }
}

impl State {
    /// Nothing exists, and no queue had a number above `max_queue_id`.
    pub fn new(max_queue_id: u64) -> Self {
        Self { max_queue_id, ..Self::default() }
    }

    /// Applies the records of a batch in `segment`.
    ///
    /// # Errors
    /// What is behind the last good record is none. Those before it were applied.
    pub fn apply(&mut self, records: &[u8], segment: SegmentNumber) -> Result<(), BadRecord> {
        let mut records = Cursor::new(records);
        // Looking up the segment for every message would cost as much as the rest.
        let mut placed = 0;
        while !records.is_empty() {
            match read_record(&mut records)? {
                Record::Enqueue(enqueue) => placed += self.enqueue(&enqueue, segment),
                other => {
                    self.count_placed(segment, std::mem::take(&mut placed));
                    self.apply_other(other);
                }
            }
        }
        self.count_placed(segment, placed);
        Ok(())
    }

    fn apply_other(&mut self, record: Record<'_>) {
        match record {
            Record::Removed { queue, ranges } => {
                for (first, last) in ranges {
                    self.remove_range(queue, first, last);
                }
            }
            Record::Purged { queue, up_to } => self.remove_range(queue, 0, up_to),
            Record::Returned { queue, sequence, returns } => self.returned(queue, sequence, returns),
            Record::Definition(definition) => self.define(definition),
            // Those are for the start that reads them; enqueues were applied by the caller.
            Record::Delivered { .. } | Record::Enqueue(_) => {}
        }
    }

    /// Says how many messages it put into `segment`, which are to be counted there.
    #[inline]
    fn enqueue(&mut self, enqueue: &Enqueue<'_>, segment: SegmentNumber) -> u64 {
        let mut placed = 0;
        for route in enqueue.routes {
            let Some(queue) = queue_mut(&mut self.queues, &self.with_levels, route.queue) else { continue };
            queue.next_sequence = queue.next_sequence.max(route.sequence.saturating_add(1));
            match queue.live.insert(route.sequence, segment) {
                None => placed += 1,
                Some(before) if before == segment => {}
                Some(before) => {
                    placed += 1;
                    release(&mut self.segments, before, 1);
                }
            }
        }
        placed
    }

    pub(super) fn count_placed(&mut self, segment: SegmentNumber, messages: u64) {
        if messages > 0 {
            let place = self.segments.entry(segment).or_default();
            place.total += messages;
            place.live += messages;
        }
    }

    fn remove_range(&mut self, queue: DurableQueueId, first: u64, last: u64) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.live.remove_range(first, last, |segment, count| release(&mut self.segments, segment, count));
            if !queue.returns.is_empty() {
                while let Some((&sequence, _)) = queue.returns.range(first..=last).next() {
                    queue.returns.remove(&sequence);
                }
            }
        }
    }

    /// A message that is gone has no count either, whatever the order in which the log says so.
    pub(super) fn returned(&mut self, queue: DurableQueueId, sequence: u64, returns: Returns) {
        if let Some(queue) = self.queues.get_mut(&queue)
            && queue.live.segment_of(sequence).is_some()
        {
            queue.returns.insert(sequence, returns);
        }
    }

    /// Takes out messages that are alive by the log and cannot be read.
    pub(super) fn forget(&mut self, queue: DurableQueueId, lost: Run) {
        self.remove_range(queue, lost.first, lost.first + (lost.length - 1));
    }

    /// Takes out what a log with lost records leaves behind and no broker can restore: queues whose name a younger one
    /// has, bindings of which an end is missing, permissions of nobody or for nowhere. Says in sentences what, and what
    /// else lost records made of what exists.
    pub(super) fn mend(&mut self) -> Vec<String> {
        let mut said = std::mem::take(&mut self.inferred);
        let of_queues = self.queues.values().filter_map(|queue| Some(queue.declared()?.0));
        let of_exchanges = self.exchanges.keys().map(|(vhost, _)| *vhost);
        let of_bindings = self.bindings.keys().map(|(vhost, ..)| *vhost);
        said.extend(self.who_may.mend(of_queues.chain(of_exchanges).chain(of_bindings)));
        let mut by_name = HashMap::new();
        let named = self.queues_in_order().into_iter().filter_map(|(id, queue)| Some((id, queue.declared()?)));
        let named: Vec<_> = named.map(|(id, (vhost, name, _))| (id, vhost, name.clone())).collect();
        for (id, vhost, name) in named {
            if let Some(older) = by_name.insert((vhost, name.clone()), id) {
                said.push(format!("an older queue {name} must have been deleted: it is left out with its messages"));
                self.take_queue(older);
            }
        }
        let has_exchange = |vhost: VhostId, name: &ShortString| {
            name.starts_with(PREDECLARED_PREFIX) || self.exchanges.contains_key(&(vhost, name.clone()))
        };
        let orphaned = self.kept.keys().filter(|(vhost, name)| !has_exchange(*vhost, name)).cloned();
        let orphaned: Vec<_> = orphaned.collect();
        let has_ends = |binding: &DurableBinding| {
            let vhost = binding.vhost;
            has_exchange(vhost, &binding.source)
                && match &binding.destination {
                    DurableDestination::Queue(name) => by_name.contains_key(&(vhost, name.clone())),
                    DurableDestination::Exchange(name) => has_exchange(vhost, name),
                }
        };
        let bindings = self.bindings.keys().map(|(.., key)| binding_of(key));
        let dangling: Vec<_> = bindings.filter(|binding| !has_ends(binding)).collect();
        for exchange in orphaned {
            said.push(format!("what exchange {} kept is left out: it is lost itself", exchange.1));
            self.forget_kept(&exchange);
        }
        for binding in dangling {
            let (DurableDestination::Queue(to) | DurableDestination::Exchange(to)) = &binding.destination;
            said.push(format!("a binding from exchange {} to {to} is left out: one of them is lost", binding.source));
            self.unbind(&binding);
        }
        said
    }

    pub fn define(&mut self, definition: Definition) {
        match definition {
            Definition::DelayedDeclared { id, vhost, ref exchange }
            | Definition::ValuesDeclared { id, vhost, ref exchange } => {
                self.max_queue_id = self.max_queue_id.max(id.0);
                let kept = self.kept.entry((vhost, exchange.clone())).or_default();
                if !kept.contains(&id) {
                    kept.push(id);
                }
                self.queues.entry(id).or_insert_with(|| QueueState::new(None)).definition = Some(definition);
            }
            Definition::QueueDeclared { id, top_level, .. } => {
                self.max_queue_id = self.max_queue_id.max(id.level(top_level).0);
                if top_level > 0 {
                    self.with_levels.insert(id, top_level);
                }
                self.queues.entry(id).or_insert_with(|| QueueState::new(None)).definition = Some(definition);
            }
            Definition::QueueDeleted { id } => {
                if let Some((vhost, name)) = self.take_queue(id) {
                    self.unbind_destination(vhost, &DurableDestination::Queue(name));
                }
            }
            Definition::ExchangeDeclared { vhost, ref name, .. } => {
                let exchange = (vhost, name.clone());
                if self.exchanges.get(&exchange).is_some_and(|before| *before != definition) {
                    // The end of that one is lost: what it kept is not this one's.
                    self.forget_kept(&exchange);
                }
                self.exchanges.insert(exchange, definition);
            }
            Definition::ExchangeDeleted { vhost, name } => {
                let exchange = (vhost, name);
                self.exchanges.remove(&exchange);
                self.forget_kept(&exchange);
                self.unbind_source(&exchange);
                self.unbind_destination(vhost, &DurableDestination::Exchange(exchange.1));
            }
            Definition::Bound(binding) => self.bind(binding),
            Definition::Unbound(binding) => self.unbind(&binding),
            Definition::VhostDeclared(vhost) => self.declare_vhost(vhost),
            Definition::VhostDeleted { vhost } => self.delete_vhost(vhost),
            Definition::UserDeclared(user) => self.who_may.declare_user(user),
            Definition::UserDeleted { name } => self.who_may.delete_user(&name),
            Definition::Permitted { ref user, vhost, .. } => self.who_may.permit(user.clone(), vhost, definition),
            Definition::Forbidden { user, vhost } => self.who_may.forbid(user, vhost),
            Definition::TopicPermitted { ref user, vhost, ref exchange, .. } => {
                self.who_may.permit_topics(user.clone(), vhost, exchange.clone(), definition);
            }
            Definition::TopicForbidden { user, vhost, exchange } => self.who_may.forbid_topics(user, vhost, exchange),
            Definition::PolicyPut(policy) => self.who_may.put_policy(policy),
            Definition::PolicyDeleted { vhost, kind, name } => self.who_may.delete_policy(vhost, kind, name),
            Definition::GlobalParameterPut { name, value } => self.who_may.put_parameter(name, value),
            Definition::GlobalParameterDeleted { name } => self.who_may.delete_parameter(&name),
        }
    }

    /// Takes out a queue with all its levels, and says what it was called.
    fn take_queue(&mut self, id: DurableQueueId) -> Option<(VhostId, ShortString)> {
        let gone = self.queues.get(&id)?;
        let (vhost, name, top_level) = gone.declared()?;
        let name = name.clone();
        self.with_levels.remove(&id);
        for level in 0..=top_level {
            if let Some(gone) = self.queues.remove(&id.level(level)) {
                release_all(&mut self.segments, gone);
            }
        }
        Some((vhost, name))
    }

    /// A queue, or a level of one, that there is: to note what is in it.
    pub(super) fn queue_mut(&mut self, id: DurableQueueId) -> Option<&mut QueueState> {
        queue_mut(&mut self.queues, &self.with_levels, id)
    }

    /// Nothing is in a virtual host that has not been declared: what is there already was another one's, whose deletion is
    /// lost.
    fn declare_vhost(&mut self, vhost: VhostDefinition) {
        for gone in self.who_may.supplanted_by(&vhost) {
            let name = self.who_may.vhost_name(gone).cloned().unwrap_or_default();
            self.inferred.push(format!("an older virtual host {name} must have been deleted: all in it is left out"));
            self.delete_vhost(gone);
        }
        self.who_may.declare_vhost(vhost);
    }

    /// What an exchange kept, and what it remembered, is gone.
    fn forget_kept(&mut self, exchange: &(VhostId, ShortString)) {
        for id in self.kept.remove(exchange).unwrap_or_default() {
            if let Some(queue) = self.queues.remove(&id) {
                release_all(&mut self.segments, queue);
            }
        }
    }

    /// Each thing in it is looked at once, each queue anywhere as well.
    fn delete_vhost(&mut self, vhost: VhostId) {
        let of_vhost = |queue: &QueueState| queue.declared().is_some_and(|(of, ..)| of == vhost);
        let queues: Vec<_> = self.queues.iter().filter(|(_, queue)| of_vhost(queue)).map(|(id, _)| *id).collect();
        for id in queues {
            self.take_queue(id);
        }
        let kept: Vec<_> = self.kept.keys().filter(|(of, _)| *of == vhost).cloned().collect();
        kept.iter().for_each(|exchange| self.forget_kept(exchange));
        let exchanges = self.exchanges.range((vhost, ShortString::default())..).take_while(|((of, _), _)| *of == vhost);
        for exchange in exchanges.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.exchanges.remove(&exchange);
        }
        let first = (vhost, DurableDestination::Queue(ShortString::default()), BindingKey::new());
        let bindings = self.bindings.range(first..).map(|(binding, _)| binding).take_while(|(of, ..)| *of == vhost);
        for binding in bindings.cloned().collect::<Vec<_>>() {
            self.destinations.remove(&(vhost, binding_of(&binding.2).source));
            self.bindings.remove(&binding);
        }
        self.who_may.delete_vhost(vhost);
    }

    fn bind(&mut self, binding: DurableBinding) {
        let key = binding_key(&binding);
        let DurableBinding { vhost, source, destination, .. } = binding;
        let in_order = matches!(
            self.exchanges.get(&(vhost, source.clone())),
            Some(Definition::ExchangeDeclared { kind: ExchangeKind::ConsistentHash, .. })
        );
        if let btree_map::Entry::Vacant(place) = self.bindings.entry((vhost, destination.clone(), key)) {
            self.last_place += u64::from(in_order);
            place.insert(if in_order { self.last_place } else { 0 });
            *self.destinations.entry((vhost, source)).or_default().entry(destination).or_default() += 1;
        }
    }

    fn unbind(&mut self, binding: &DurableBinding) {
        let DurableBinding { vhost, source, destination, .. } = binding;
        if self.bindings.remove(&(*vhost, destination.clone(), binding_key(binding))).is_some() {
            self.forget_destination((*vhost, source.clone()), destination);
        }
    }

    /// The bindings to a destination.
    fn bindings_to(&self, vhost: VhostId, destination: &DurableDestination) -> Vec<DurableBinding> {
        let from = (vhost, destination.clone(), BindingKey::new());
        let entries = self.bindings.range(from..).map(|(binding, _)| binding);
        let of_it = entries.take_while(|(of, to, _)| (*of, to) == (vhost, destination));
        of_it.map(|(.., key)| binding_of(key)).collect()
    }

    fn forget_destination(&mut self, source: (VhostId, ShortString), destination: &DurableDestination) {
        let Some(of_source) = self.destinations.get_mut(&source) else { return };
        if let Some(count) = of_source.get_mut(destination) {
            *count -= 1;
            if *count == 0 {
                of_source.remove(destination);
            }
        }
        if of_source.is_empty() {
            self.destinations.remove(&source);
        }
    }

    fn unbind_destination(&mut self, vhost: VhostId, destination: &DurableDestination) {
        self.bindings_to(vhost, destination).iter().for_each(|binding| self.unbind(binding));
    }

    fn unbind_source(&mut self, source: &(VhostId, ShortString)) {
        let (vhost, name) = source;
        for destination in self.destinations.get(source).cloned().unwrap_or_default().into_keys() {
            let bindings = self.bindings_to(*vhost, &destination);
            bindings.iter().filter(|binding| binding.source == *name).for_each(|binding| self.unbind(binding));
        }
    }

    /// Whether some exchange keeps messages for later, or remembers values.
    pub(super) fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether what is in there are values that an exchange remembers.
    pub(super) fn are_values(&self, id: DurableQueueId) -> bool {
        let queue = self.queues.get(&id);
        queue.is_some_and(|queue| matches!(queue.definition, Some(Definition::ValuesDeclared { .. })))
    }

    /// The segment of a live message.
    #[inline]
    pub fn segment_of(&self, queue: DurableQueueId, sequence: u64) -> Option<SegmentNumber> {
        self.queues.get(&queue)?.live.segment_of(sequence)
    }

    /// The queues by number, and their levels.
    pub fn queues_in_order(&self) -> Vec<(DurableQueueId, &QueueState)> {
        let mut queues: Vec<_> = self.queues.iter().map(|(id, queue)| (*id, queue)).collect();
        queues.sort_unstable_by_key(|(id, _)| *id);
        queues
    }

    /// The bindings, and where the order counts the older ones before the younger ones.
    fn bindings_in_order(&self) -> impl Iterator<Item = &BindingKey> {
        let mut in_order: Vec<_> = self.bindings.iter().filter(|(_, place)| **place > 0).collect();
        in_order.sort_unstable_by_key(|(_, place)| **place);
        self.bindings.iter().filter(|(_, place)| **place == 0).chain(in_order).map(|((.., key), _)| key)
    }

    /// All that exists, such that each one can be declared when those before it are: virtual hosts, users, permissions,
    /// policies, exchanges, these [queues](Self::queues_in_order), bindings.
    pub fn definitions<'a>(
        &'a self,
        queues: &'a [(DurableQueueId, &QueueState)],
    ) -> impl Iterator<Item = Definition> + 'a {
        let queues = queues.iter().filter_map(|(_, queue)| queue.definition.clone());
        let bindings = self.bindings_in_order().map(|key| Definition::Bound(binding_of(key)));
        self.who_may.definitions().chain(self.exchanges.values().cloned()).chain(queues).chain(bindings)
    }

    /// The [definitions](Self::definitions) as records, and how many they are.
    pub(super) fn put_definitions(&self, out: &mut Vec<u8>) -> u64 {
        let mut count = self.who_may.put_definitions(out);
        let queues = self.queues_in_order();
        for definition in
            self.exchanges.values().chain(queues.iter().filter_map(|(_, queue)| queue.definition.as_ref()))
        {
            put_definition(out, definition);
            count += 1;
        }
        // Their keys are their records.
        for key in self.bindings_in_order() {
            out.extend_from_slice(key);
            count += 1;
        }
        count
    }
}

/// A queue, or a level of one. A level is there from its first message on.
#[inline]
fn queue_mut<'a>(
    queues: &'a mut HashMap<DurableQueueId, QueueState>,
    with_levels: &BTreeMap<DurableQueueId, u8>,
    id: DurableQueueId,
) -> Option<&'a mut QueueState> {
    match queues.entry(id) {
        Entry::Occupied(there) => Some(there.into_mut()),
        Entry::Vacant(place) => is_level(with_levels, id).then(|| place.insert(QueueState::new(None))),
    }
}

#[cold]
fn is_level(with_levels: &BTreeMap<DurableQueueId, u8>, id: DurableQueueId) -> bool {
    with_levels.range(..=id).next_back().is_some_and(|(of, top_level)| id <= of.level(*top_level))
}

/// All messages of a queue that is gone.
fn release_all(segments: &mut BTreeMap<SegmentNumber, SegmentUse>, mut gone: QueueState) {
    gone.live.remove_range(0, u64::MAX, |segment, count| release(segments, segment, count));
}

/// Fewer messages are alive in a segment.
pub(super) fn release(segments: &mut BTreeMap<SegmentNumber, SegmentUse>, segment: SegmentNumber, count: u64) {
    if let Some(place) = segments.get_mut(&segment) {
        debug_assert!(place.live >= count);
        place.live -= count;
    }
}
