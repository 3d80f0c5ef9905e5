//! A second, quieter world: queues with dead letters, limits, priorities, delivery limits, delayed retries, deduplication, a
//! single active consumer and policies, which come and go; exchanges that delay, remember values, keep what was last or give
//! each key its queue; a virtual host that is deleted with all of it; and one client who does one thing after the other,
//! each of which is carried out whole. So its shadow knows exactly what is due: every message with its deaths, in its
//! place, every delivery, every confirm and every refusal; and what the log was told, in which order. The disk fails and
//! the broker ends at any call, between any two steps of a dead-lettering: what a start finds is what the log had been told
//! up to some moment, and that is none before one that the client was told of.
//!
//! What it does not know: messages out of memory, which the other world has; in which order an exchange forgets the values
//! that it brought back from disk, when there is room for few; what policies say of such exchanges, of retries and of
//! alternates; and in which order several queues let go what is over or too much after a restart.
//!
//! | file | owns |
//! |---|---|
//! | `acts` | what the client does |
//! | `moving` | messages that an administrator moves |
//! | `topology` | queues and what is asked of them |
//! | `exchanges` | exchanges, and what they remember |
//! | `shadow` | what becomes of every message |
//! | `content` | messages, and what is read off them |
//! | `ends` | turns, the disk, ends and starts of brokers |

mod acts;
mod content;
mod ends;
mod exchanges;
mod moving;
mod shadow;
mod topology;

use crate::command::Command;
use crate::durable::{Durable, plan_fault};
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::transcript::Transcript;
use crate::wire::{Content, Event, Heard, parse_events};
use crate::world::Step;
use crate::world::knobs::{Knobs, settings};
use content::seen;
use ends::connect;
use exchanges::Memory;
use leveret::broker::ConnectionId;
use leveret::broker::policy::PolicyKind;
use leveret::server::Hub;
use leveret::storage::LogStore;
use shadow::{Shadow, Tick};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use topology::{Dying, NAMES, Spec};

const FRAME_MAX: u32 = 4096;
/// The policies that there may be: name and priority. The second one goes before the first.
const KINDS: [(PolicyKind, &str, i64); 3] =
    [(PolicyKind::User, "p", 0), (PolicyKind::User, "higher", 1), (PolicyKind::Operator, "o", 0)];
/// One channel publishes, with confirms; another one takes; the others may have a consumer each.
const PUBLISHES: u16 = 1;
const TAKES: u16 = 2;
const CONSUME: RangeInclusive<u16> = 3..=6;

/// A publish whose confirm is due.
struct Unconfirmed {
    accepted: bool,
    safe: Tick,
}

pub struct Story<'a> {
    hub: Hub<LogStore>,
    durable: Durable,
    knobs: Knobs,
    starts: u8,
    /// There is a virtual host with all its exchanges.
    is_founded: bool,
    connection: ConnectionId,
    shadow: Shadow,
    dying: Dying,
    specs: Vec<Spec>,
    memories: Vec<Memory>,
    /// By tag.
    unconfirmed: BTreeMap<u64, Unconfirmed>,
    last_publish: u64,
    last_id: u64,
    /// What consumers were given since the last turn: channel, tag, flag and content.
    delivered: Vec<(u16, u64, bool, Rc<Content>)>,
    random: Random,
    now_ms: u64,
    transcript: &'a mut Transcript,
    /// How often the broker ended.
    pub ends: usize,
    /// How many messages were moved.
    pub moved: usize,
}

impl<'a> Story<'a> {
    pub fn new(seed: u64, transcript: &'a mut Transcript) -> Self {
        let mut random = Random::new(seed);
        let now_ms = 1 + random.below(1_000_000) as u64;
        let knobs = Knobs::with_room(&mut random);
        let disk = SimDisk::default();
        let (mut hub, durable) = Durable::start(&disk, &knobs.log, settings(&knobs, 1), now_ms)
            .unwrap_or_else(|error| panic!("a fresh disk is refused: {error}"));
        let dying = *random.pick(&[Dying::Expires, Dying::IsTooMuch]);
        let specs: Vec<Spec> = (0..NAMES.len()).map(|index| Spec::random(index, dying, &mut random)).collect();
        let memories = Memory::random(&mut random);
        let connection = connect(&mut hub, now_ms);
        transcript.note(|| format!("{specs:#?} {memories:#?}"));
        Self {
            hub,
            durable,
            knobs,
            starts: 1,
            is_founded: true,
            connection,
            shadow: Shadow::new(specs.clone(), &memories, now_ms),
            dying,
            specs,
            memories,
            unconfirmed: BTreeMap::new(),
            last_publish: 0,
            last_id: 0,
            delivered: Vec::new(),
            random,
            now_ms,
            transcript,
            ends: 0,
            moved: 0,
        }
    }

    pub fn run(&mut self, steps: usize) -> Step {
        self.open()?;
        self.declare()?;
        self.settle_disk()?;
        plan_fault(&self.durable.disk().clone(), &self.knobs.log, &mut self.random);
        for _ in 0..steps {
            self.step()?;
            self.turn()?;
            match self.random.below(4) {
                0 => self.settle_disk()?,
                1 => {}
                _ => {
                    for _ in 0..self.random.below(4) {
                        self.drive_disk()?;
                    }
                }
            }
        }
        self.durable.disk().relent();
        self.settle_disk()?;
        self.empty()
    }

    fn step(&mut self) -> Step {
        match self.random.below(100) {
            0..39 => self.publish(),
            39..42 => self.carry(),
            42..52 => self.get(),
            52..60 => self.consume_or_cancel(),
            60..78 => self.settle_one(),
            78..81 => self.purge(),
            81..88 => {
                self.now_ms += *self.random.pick(&[1, 4, 6, 60, 60, 1000]);
                self.transcript.note(|| "time passes".to_owned());
                Ok(())
            }
            88..91 => self.rule(),
            91..93 => self.define(),
            93..95 => self.reopen(),
            95..97 => self.look_ahead(),
            97 if self.random.percent(50) => self.raze(),
            97 => self.look_ahead(),
            _ => {
                let is_killed = self.random.percent(40);
                let left = self.disk_after(&self.durable.disk().clone(), is_killed);
                self.restart(left)
            }
        }
    }

    fn say(&mut self, channel: u16, command: &Command) {
        let frames: Vec<u8> = command.frames(channel, FRAME_MAX as usize).concat();
        self.hub.receive(self.connection, &frames);
    }

    /// What the broker wrote, without confirms, which are checked here.
    fn hear(&mut self) -> Result<Vec<Event>, String> {
        let outbox = self.hub.outboxes().get(self.connection).peek(0);
        self.hub.sent(self.connection, outbox.len());
        let mut heard = Vec::new();
        for Heard { channel, event, .. } in parse_events(&outbox, FRAME_MAX as usize)? {
            match event {
                Event::Confirm { delivery_tag, multiple } => self.confirmed(delivery_tag, multiple, true)?,
                Event::Refused { delivery_tag, multiple } => self.confirmed(delivery_tag, multiple, false)?,
                Event::Deliver { delivery_tag, redelivered, content, .. } => {
                    self.transcript.note(|| format!("    {channel} ← delivery {delivery_tag}: {:?}", seen(&content)));
                    self.delivered.push((channel, delivery_tag, redelivered, content));
                }
                event => {
                    self.transcript.note(|| format!("    {channel} ← {event:?}"));
                    heard.push(event);
                }
            }
        }
        Ok(heard)
    }

    fn confirmed(&mut self, delivery_tag: u64, multiple: bool, accepted: bool) -> Step {
        self.transcript.note(|| format!("    confirm {delivery_tag} multiple={multiple} accepted={accepted}"));
        let first = if multiple { 0 } else { delivery_tag };
        let tags: Vec<u64> = self.unconfirmed.range(first..=delivery_tag).map(|(tag, _)| *tag).collect();
        if tags.last() != Some(&delivery_tag) {
            return Err(format!("{delivery_tag} is confirmed, and nothing is due for it"));
        }
        for tag in tags {
            let Unconfirmed { accepted: ought, safe } = self.unconfirmed.remove(&tag).expect("it is one of them");
            if ought != accepted {
                return Err(format!("publish {tag} is accepted={accepted}, and ought to be {ought}"));
            }
            // Who is refused is promised nothing of the queues that took it.
            if accepted {
                self.shadow.promise(safe);
            }
        }
        Ok(())
    }
}
