//! A second, quieter world: queues with dead letters, limits, priorities, delivery limits and policies, and one client who
//! does one thing after the other, each of which is carried out whole. So its shadow knows exactly what is due: every
//! message with its deaths, in its place, every confirm and every refusal; and what the log was told, in which order. The
//! disk fails and the broker ends at any call, between any two steps of a dead-lettering: what a start finds is what the log
//! had been told up to some moment, and that is none before one that the client was told of.
//!
//! | file | owns |
//! |---|---|
//! | `topology` | queues and what is asked of them |
//! | `shadow` | what becomes of every message |
//! | `content` | messages, and what is read off them |
//! | `ends` | turns, the disk, ends and starts of brokers |

mod content;
mod ends;
mod shadow;
mod topology;

use crate::command::Command;
use crate::durable::{Durable, plan_fault};
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::transcript::Transcript;
use crate::wire::{Event, Heard, Reply, parse_events};
use crate::world::Step;
use crate::world::knobs::{Knobs, settings};
use content::{Draft, seen};
use ends::connect;
use leveret::broker::ConnectionId;
use leveret::broker::policy::{Policy, PolicyKind, SaidPolicy};
use leveret::broker::store::VhostId;
use leveret::protocol::FieldValue;
use leveret::server::Hub;
use leveret::storage::LogStore;
use shadow::{Shadow, Tick};
use std::collections::BTreeMap;
use std::sync::Arc;
use topology::{Dying, EXCHANGES, NAMES, Rule, Spec};

const FRAME_MAX: u32 = 4096;
const VHOST: VhostId = VhostId(0);
/// The policies that there may be, by name.
const KINDS: [(PolicyKind, &str); 2] = [(PolicyKind::User, "p"), (PolicyKind::Operator, "o")];
/// One channel publishes, with confirms; the other one takes.
const PUBLISHES: u16 = 1;
const TAKES: u16 = 2;

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
    connection: ConnectionId,
    shadow: Shadow,
    dying: Dying,
    specs: Vec<Spec>,
    /// By tag.
    unconfirmed: BTreeMap<u64, Unconfirmed>,
    last_publish: u64,
    last_id: u64,
    random: Random,
    now_ms: u64,
    transcript: &'a mut Transcript,
    /// How often the broker ended.
    pub ends: usize,
}

impl<'a> Story<'a> {
    pub fn new(seed: u64, transcript: &'a mut Transcript) -> Self {
        let mut random = Random::new(seed);
        let now_ms = 1 + random.below(1_000_000) as u64;
        let knobs = Knobs::without_pages(&mut random);
        let disk = SimDisk::default();
        let (mut hub, durable) = Durable::start(&disk, &knobs.log, settings(&knobs, 1), now_ms)
            .unwrap_or_else(|error| panic!("a fresh disk is refused: {error}"));
        let dying = *random.pick(&[Dying::Expires, Dying::IsTooMuch]);
        let specs: Vec<Spec> = (0..NAMES.len()).map(|index| Spec::random(index, dying, &mut random)).collect();
        let connection = connect(&mut hub);
        transcript.note(|| format!("{specs:#?}"));
        Self {
            hub,
            durable,
            knobs,
            starts: 1,
            connection,
            shadow: Shadow::new(specs.clone(), now_ms),
            dying,
            specs,
            unconfirmed: BTreeMap::new(),
            last_publish: 0,
            last_id: 0,
            random,
            now_ms,
            transcript,
            ends: 0,
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
            0..45 => self.publish(),
            45..62 => self.get(),
            62..80 => self.settle_one(),
            80..84 => self.purge(),
            84..91 => {
                self.now_ms += *self.random.pick(&[1, 4, 6, 60]);
                self.transcript.note(|| "time passes".to_owned());
                Ok(())
            }
            91..93 => self.rule(),
            93..95 => self.reopen(),
            95..98 => self.look_ahead(),
            _ => {
                let is_killed = self.random.percent(40);
                let left = self.disk_after(&self.durable.disk().clone(), is_killed);
                self.restart(left)
            }
        }
    }

    fn publish(&mut self) -> Step {
        self.last_id += 1;
        let [default, fan, _, late] = EXCHANGES;
        let (exchange, ..) = *self.random.pick(&[default, default, default, default, fan, late]);
        let routing_key = (*self.random.pick(&NAMES)).to_owned();
        let may_expire = self.dying == Dying::Expires && exchange.is_empty() && routing_key == NAMES[1];
        let is_delayed = exchange == "late" && self.random.percent(90);
        let delay_ms = is_delayed.then(|| self.shadow.free_delay(*self.random.pick(&[0, 1, 5, 60, 200])));
        let draft = Draft {
            id: self.last_id,
            exchange,
            routing_key,
            persistent: self.random.percent(85),
            priority: self.random.below(5) as u8,
            expiration_ms: (may_expire && self.random.percent(30)).then(|| *self.random.pick(&[0, 5, 50])),
            delay_ms,
            body_bytes: *self.random.pick(&[8, 8, 20, 50, 200]),
        };
        self.transcript.note(|| format!("{draft:?}"));
        self.hub.receive(self.connection, &draft.frames(PUBLISHES));
        let (accepted, safe) = self.shadow.publish(&draft);
        self.last_publish += 1;
        self.unconfirmed.insert(self.last_publish, Unconfirmed { accepted, safe });
        Ok(())
    }

    fn get(&mut self) -> Step {
        let queue = self.random.below(NAMES.len());
        let no_ack = self.random.percent(30);
        self.get_from(queue, no_ack).map(drop)
    }

    /// Takes a message out of a queue; false when there is none.
    fn get_from(&mut self, queue: usize, no_ack: bool) -> Result<bool, String> {
        let name = NAMES[queue];
        self.transcript.note(|| format!("get from {name}, no_ack={no_ack}"));
        self.say(TAKES, &Command::Get { queue: name.to_owned(), no_ack });
        let due = self.shadow.get(queue, no_ack);
        let heard = self.hear()?;
        match (&heard[..], due) {
            ([Event::Reply(Reply::Plain(60, 72))], None) => Ok(false),
            (
                [Event::Reply(Reply::GetOk { delivery_tag, redelivered, message_count, content })],
                Some((tag, entry, left)),
            ) => {
                let is = (*delivery_tag, *redelivered, *message_count, seen(content)?);
                let counts = self.shadow.counts_returns(queue);
                let ought = (tag, entry.redelivered, left as u32, entry.seen(counts));
                if is == ought { Ok(true) } else { Err(format!("{name} gave {is:?} where {ought:?} was due")) }
            }
            (heard, due) => Err(format!("{name} gave {heard:?} where {due:?} was due")),
        }
    }

    fn settle_one(&mut self) -> Step {
        let tags = self.shadow.held_tags();
        if tags.is_empty() {
            return Ok(());
        }
        let delivery_tag = *self.random.pick(&tags);
        let command = match self.random.below(6) {
            0 | 1 => {
                self.shadow.acknowledge(delivery_tag);
                Command::Ack { delivery_tag, multiple: false }
            }
            2 | 3 => {
                self.shadow.reject(delivery_tag);
                Command::Reject { delivery_tag, requeue: false }
            }
            4 => {
                self.shadow.requeue(delivery_tag);
                Command::Nack { delivery_tag, multiple: false, requeue: true }
            }
            _ => {
                let up_to = tags.into_iter().filter(|tag| *tag <= delivery_tag);
                up_to.for_each(|tag| self.shadow.reject(tag));
                Command::Nack { delivery_tag, multiple: true, requeue: false }
            }
        };
        self.transcript.note(|| format!("{command:?}"));
        self.say(TAKES, &command);
        Ok(())
    }

    fn purge(&mut self) -> Step {
        let queue = self.random.below(NAMES.len());
        self.transcript.note(|| format!("purge {}", NAMES[queue]));
        self.settle_disk()?;
        let starts = self.starts;
        self.shadow.turn(self.now_ms);
        self.say(TAKES, &Command::QueuePurge { queue: NAMES[queue].to_owned() });
        let count = self.shadow.purge(queue) as u32;
        let safe = self.shadow.tick();
        let heard = self.settle_and_hear()?;
        if self.starts != starts {
            return Ok(());
        }
        if heard != [Event::Reply(Reply::Count(50, 31, count))] {
            return Err(format!("{heard:?} where purge-ok {count} was due"));
        }
        self.shadow.promise(safe);
        Ok(())
    }

    /// Somebody sets a policy or an operator policy, or deletes it.
    fn rule(&mut self) -> Step {
        let which = self.random.below(KINDS.len());
        let (kind, name) = KINDS[which];
        let rule = if self.random.percent(70) { Rule::random(self.dying, &self.specs, &mut self.random) } else { None };
        self.transcript.note(|| format!("{name}: {rule:?}"));
        let broker = self.hub.broker_mut();
        match &rule {
            None => _ = broker.delete_policy(VHOST, kind, &name.into()),
            Some(rule) => {
                let pattern = FieldValue::LongString(rule.pattern().into_bytes().into());
                let definition = FieldValue::Table(rule.definition());
                let said = SaidPolicy { pattern, apply_to: None, priority: None, definition };
                let policy = Policy::read(kind, name.into(), said)?;
                broker.put_policy(VHOST, kind, Arc::new(policy)).map_err(|error| error.to_string())?;
            }
        }
        self.shadow.rule(which, rule);
        Ok(())
    }

    /// The client's channel ends, and it opens another one.
    fn reopen(&mut self) -> Step {
        self.transcript.note(|| "the channel ends".to_owned());
        self.say(TAKES, &Command::ChannelClose);
        self.say(TAKES, &Command::ChannelOpen);
        self.shadow.requeue_all();
        let heard = self.hear()?;
        let ought = [Event::Reply(Reply::Plain(20, 41)), Event::Reply(Reply::Plain(20, 11))];
        if heard == ought { Ok(()) } else { Err(format!("{heard:?} where {ought:?} was due")) }
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
