//! Random lives of everything that exists, apart from messages: what comes back is what there was after one of the
//! definitions that were told, and after none before the last durable one.

use crate::harness::{Log, message, small};
use crate::sim_disk::{Fault, SimDisk};
use crate::who_may as named;
use leveret::broker::store::{
    Definition, DurableDestination, DurableQueueId, Log as _, LogPosition, PolicyKind, Route, VhostId,
};
use leveret::protocol::ShortString;
use leveret::storage::RecoveryMode;
use leveret::storage::record::put_definition;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const SEEDS: u64 = 150;
const LIVES: usize = 8;
const STEPS_OF_A_LIFE: u32 = 120;

const VHOST_NAMES: [&str; 3] = ["/", "v", "w"];
const USERS: [&str; 3] = ["u", "us", "v"];
const EXCHANGES: [&str; 2] = ["x", "y"];
const QUEUES: [&str; 3] = ["q", "r", "s"];
const PATTERNS: [&str; 3] = ["", ".*", "^a"];

/// What exists, in no order: slow and obvious.
#[derive(Clone, Default, PartialEq, Debug)]
struct World(Vec<Definition>);

impl World {
    fn apply(&mut self, told: &Definition) {
        self.0.retain(|there| !goes(told, there));
        if let Definition::QueueDeleted { id } = told {
            let of = self.0.iter().find(|there| matches!(there, Definition::QueueDeclared { id: of, .. } if of == id));
            if let Some(Definition::QueueDeclared { vhost, name, .. }) = of.cloned() {
                let to = DurableDestination::Queue(name);
                self.0.retain(
                    |there| !matches!(there, Definition::Bound(of) if of.vhost == vhost && of.destination == to),
                );
                self.0.retain(|there| !matches!(there, Definition::QueueDeclared { id: of, .. } if of == id));
            }
        }
        let is_there = matches!(
            told,
            Definition::VhostDeclared(_)
                | Definition::UserDeclared(_)
                | Definition::Permitted { .. }
                | Definition::TopicPermitted { .. }
                | Definition::PolicyPut(_)
                | Definition::GlobalParameterPut { .. }
                | Definition::ExchangeDeclared { .. }
                | Definition::QueueDeclared { .. }
                | Definition::Bound(_)
        );
        self.0.extend(is_there.then(|| told.clone()));
    }

    /// As records, sorted.
    fn records(&self) -> Vec<Vec<u8>> {
        let record = |definition| {
            let mut record = Vec::new();
            put_definition(&mut record, definition);
            record
        };
        let mut records: Vec<_> = self.0.iter().map(record).collect();
        records.sort_unstable();
        records
    }

    fn vhosts(&self) -> Vec<(VhostId, ShortString)> {
        let vhosts = self.0.iter().filter_map(|there| match there {
            Definition::VhostDeclared(vhost) => Some((vhost.id, vhost.name.clone())),
            _ => None,
        });
        vhosts.collect()
    }

    fn queues(&self) -> Vec<(DurableQueueId, VhostId, ShortString)> {
        let queues = self.0.iter().filter_map(|there| match there {
            Definition::QueueDeclared { id, vhost, name, .. } => Some((*id, *vhost, name.clone())),
            _ => None,
        });
        queues.collect()
    }

    fn has_user(&self, name: &str) -> bool {
        self.0.iter().any(|there| matches!(there, Definition::UserDeclared(user) if *user.name == *name.as_bytes()))
    }
}

/// Whether what is `there` is gone, or something else, after this was told. Bindings to a queue that is deleted go with
/// its name, which this does not know.
fn goes(told: &Definition, there: &Definition) -> bool {
    use Definition::*;
    match (told, there) {
        (VhostDeclared(told), VhostDeclared(there)) => told.id == there.id,
        (VhostDeleted { vhost }, there) => there.vhost() == Some(*vhost),
        (UserDeclared(told), UserDeclared(there)) => told.name == there.name,
        (UserDeleted { name }, UserDeclared(there)) => *name == there.name,
        (UserDeleted { name }, Permitted { user, .. } | TopicPermitted { user, .. }) => name == user,
        (
            Permitted { user: told, vhost: told_of, .. } | Forbidden { user: told, vhost: told_of },
            Permitted { user, vhost, .. },
        ) => (told, told_of) == (user, vhost),
        (
            TopicPermitted { user: told, vhost: told_of, exchange: told_at, .. },
            TopicPermitted { user, vhost, exchange, .. },
        ) => (told, told_of, told_at) == (user, vhost, exchange),
        (
            TopicForbidden { user: told, vhost: told_of, exchange: told_at },
            TopicPermitted { user, vhost, exchange, .. },
        ) => (told, told_of) == (user, vhost) && told_at.as_ref().is_none_or(|told| told == exchange),
        (
            ExchangeDeclared { vhost: told_of, name: told, .. } | ExchangeDeleted { vhost: told_of, name: told },
            ExchangeDeclared { vhost, name, .. },
        ) => (told_of, told) == (vhost, name),
        (ExchangeDeleted { vhost, name }, Bound(there)) => {
            let is_destination = there.destination == DurableDestination::Exchange(name.clone());
            there.vhost == *vhost && (there.source == *name || is_destination)
        }
        (PolicyPut(told), PolicyPut(there)) => {
            (told.vhost, told.kind, &told.name) == (there.vhost, there.kind, &there.name)
        }
        (PolicyDeleted { vhost, kind, name }, PolicyPut(there)) => {
            (*vhost, *kind, name) == (there.vhost, there.kind, &there.name)
        }
        (
            GlobalParameterPut { name: told, .. } | GlobalParameterDeleted { name: told },
            GlobalParameterPut { name, .. },
        ) => told == name,
        (QueueDeclared { id: told, .. }, QueueDeclared { id, .. }) => told == id,
        (Bound(told) | Unbound(told), Bound(there)) => told == there,
        _ => false,
    }
}

/// A world, what was told since it was found, and how far each would have come.
struct Told {
    found: World,
    since: Vec<(LogPosition, Definition)>,
    now: World,
    next_queue: u64,
}

impl Told {
    fn tell(&mut self, log: &mut Log, definition: Definition) {
        let position = log.store.define(&definition);
        self.now.apply(&definition);
        self.since.push((position, definition));
    }

    /// Goes on from what was found, which must be one of the worlds there were.
    fn go_on(&mut self, found: Vec<Definition>, durable: LogPosition) {
        assert!(found.is_sorted_by_key(rank), "each can be declared when those before it are: {found:?}");
        let found = World(found);
        let records = found.records();
        let mut world = std::mem::take(&mut self.found);
        let mut is_one = self.since.first().is_none_or(|(first, _)| *first > durable) && world.records() == records;
        for (index, (_, definition)) in self.since.iter().enumerate() {
            world.apply(definition);
            let is_late_enough = self.since.get(index + 1).is_none_or(|(next, _)| *next > durable);
            is_one |= is_late_enough && world.records() == records;
        }
        assert!(is_one, "found {found:#?}\n after {:#?}\n of which is durable: {durable:?}", self.since);
        *self = Self { now: found.clone(), found, since: Vec::new(), next_queue: self.next_queue };
    }
}

fn rank(definition: &Definition) -> usize {
    match definition {
        Definition::VhostDeclared(_) => 0,
        Definition::UserDeclared(_) => 1,
        Definition::Permitted { .. } => 2,
        Definition::TopicPermitted { .. } => 3,
        Definition::PolicyPut(_) => 4,
        Definition::GlobalParameterPut { .. } => 5,
        Definition::ExchangeDeclared { .. } => 6,
        Definition::QueueDeclared { .. } => 7,
        Definition::Bound(_) => 8,
        _ => unreachable!("{definition:?} does not exist"),
    }
}

fn one_of<'a, T>(random: &mut ChaCha8Rng, those: &'a [T]) -> &'a T {
    &those[random.next_u32() as usize % those.len()]
}

fn vhost_declared(world: &World, random: &mut ChaCha8Rng) -> Option<Definition> {
    let (id, name) = (random.next_u32() % 3, *one_of(random, &VHOST_NAMES));
    let fits = |(of, named): &(VhostId, ShortString)| (of.0 == id) == (**named == *name.as_bytes());
    let mut vhost = named::vhost_of(id, name);
    vhost.max_queues = random.next_u32().is_multiple_of(2).then(|| random.next_u64());
    vhost.tracing = random.next_u32().is_multiple_of(2);
    vhost.tags = vec!["t".into(); random.next_u32() as usize % 3];
    world.vhosts().iter().all(fits).then_some(Definition::VhostDeclared(vhost))
}

/// Something that is or could be: who deletes what is not there changes nothing.
fn definition(told: &mut Told, random: &mut ChaCha8Rng) -> Option<Definition> {
    let world = &told.now;
    let chance = random.next_u32() % 100;
    if chance < 12 {
        return vhost_declared(world, random);
    }
    let (user, pattern) = (*one_of(random, &USERS), *one_of(random, &PATTERNS));
    if chance < 22 {
        let mut user = named::user_of(user);
        user.max_channels = random.next_u32().is_multiple_of(2).then_some(7);
        return Some(Definition::UserDeclared(user));
    }
    if chance < 25 {
        return Some(named::user_deleted(user));
    }
    let vhosts = world.vhosts();
    let vhost = if vhosts.is_empty() { return None } else { one_of(random, &vhosts).0 };
    let (x, y) = (*one_of(random, &EXCHANGES), *one_of(random, &EXCHANGES));
    let name = *one_of(random, &QUEUES);
    let has_queue =
        |name: &str| world.queues().iter().any(|(_, of, named)| (*of, &**named) == (vhost, name.as_bytes()));
    let has_exchange = |name: &str| {
        let is_it = |there: &Definition| {
            matches!(there, Definition::ExchangeDeclared { vhost: of, name: named, .. }
                if (*of, &**named) == (vhost, name.as_bytes()))
        };
        world.0.iter().any(is_it)
    };
    let to_exchange = || named::binding(vhost.0, x, DurableDestination::Exchange(named::short(y)));
    Some(match chance {
        25..29 => Definition::VhostDeleted { vhost },
        29..39 if world.has_user(user) => named::permitted(user, vhost.0, pattern),
        39..42 => Definition::Forbidden { user: named::short(user), vhost },
        42..49 if world.has_user(user) => named::topic_permitted(user, vhost.0, x, pattern),
        49..52 => {
            let exchange = random.next_u32().is_multiple_of(2).then(|| named::short(x));
            Definition::TopicForbidden { user: named::short(user), vhost, exchange }
        }
        52..54 => named::policy(vhost.0, *one_of(random, &[PolicyKind::User, PolicyKind::Operator]), x, pattern),
        54 => Definition::GlobalParameterPut { name: named::short(x), value: pattern.into() },
        55 => Definition::GlobalParameterDeleted { name: named::short(x) },
        56 => {
            let kind = *one_of(random, &[PolicyKind::User, PolicyKind::Operator]);
            Definition::PolicyDeleted { vhost, kind, name: named::short(x) }
        }
        57..60 => named::exchange(vhost.0, x),
        60..63 => Definition::ExchangeDeleted { vhost, name: named::short(x) },
        63..76 if !has_queue(name) => {
            told.next_queue += 1;
            named::queue(told.next_queue, vhost.0, name)
        }
        76..80 => Definition::QueueDeleted { id: DurableQueueId(random.next_u64() % (told.next_queue + 1)) },
        80..90 if has_queue(name) && has_exchange(x) => named::bound(vhost.0, x, name),
        90..93 => Definition::Unbound(named::binding(vhost.0, x, DurableDestination::Queue(named::short(name)))),
        93..98 if has_exchange(x) && has_exchange(y) => Definition::Bound(to_exchange()),
        98..100 => Definition::Unbound(to_exchange()),
        _ => return None,
    })
}

fn step(log: &mut Log, told: &mut Told, random: &mut ChaCha8Rng) {
    match random.next_u32() % 10 {
        0..6 => {
            if let Some(definition) = definition(told, random) {
                told.tell(log, definition);
            }
        }
        6..8 => {
            let queues = told.now.queues();
            if !queues.is_empty() {
                let stored = message(1, 100);
                let sequence = random.next_u64() % 1000;
                let route = Route { queue: one_of(random, &queues).0, sequence, expires_at_ms: None };
                log.store.enqueued(route, &stored.content(), 0, LogPosition(0));
            }
        }
        8 => log.maintain(5),
        _ => {
            let position = log.store.everything();
            log.store.awaited(position);
            log.flush();
        }
    }
}

fn live(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = SimDisk::default();
    let mut told = Told { found: World::default(), since: Vec::new(), now: World::default(), next_queue: 0 };
    let mut durable = LogPosition(0);
    for _ in 0..LIVES {
        if random.next_u32().is_multiple_of(3) {
            disk.fail_at(random.next_u64() % 200, Fault::Crash);
        }
        let (mut log, found) = match Log::open(&disk, small(), RecoveryMode::Strict) {
            Ok(opened) => opened,
            Err(error) => {
                assert!(error.to_string().contains("the power"), "{error}");
                disk = disk.after_crash(random.next_u64());
                Log::open(&disk, small(), RecoveryMode::Strict).unwrap()
            }
        };
        let live: u64 = log.writer.state().queues.values().map(|queue| queue.live.len()).sum();
        let in_segments: u64 = log.writer.state().segments.values().map(|segment| segment.live).sum();
        assert_eq!(live, in_segments, "what is alive is in a segment, and nothing else is");
        told.go_on(found.definitions, durable);
        for _ in 0..random.next_u32() % STEPS_OF_A_LIFE {
            if log.failed {
                break;
            }
            step(&mut log, &mut told, &mut random);
        }
        durable = log.store.durable();
        let stops = !log.failed && random.next_u32().is_multiple_of(4);
        let disk_then = log.disk.clone();
        if stops {
            disk = log.stop();
            durable = if disk_then.has_crashed() { durable } else { LogPosition(u64::MAX) };
        }
        if !stops || disk_then.has_crashed() {
            disk = disk_then.after_crash(random.next_u64());
        }
    }
}

#[test]
fn what_comes_back_is_what_there_was_at_some_time_and_nothing_durable_is_missing() {
    for seed in crate::random::seeds(SEEDS) {
        let run = std::panic::catch_unwind(|| live(seed));
        if let Err(panic) = run {
            eprintln!("replay with LEVERET_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
