//! Turns of the loop, steps of the disk, ends and starts.

use super::content::Draft;
use super::content::{Seen, seen};
use super::exchanges::{self, EXCHANGES, VALUES};
use super::shadow::remembered_at;
use super::shadow::{Contents, Given, Rules, Tick};
use super::topology::NAMES;
use super::{CONSUME, FRAME_MAX, KINDS, PUBLISHES, Story, TAKES};
use crate::command::{BindingName, Command, Consume, QueueDeclare};
use crate::decree::VHOSTS;
use crate::durable::{Durable, plan_fault};
use crate::look::{Looker, entries, look_further, policy_words};
use crate::model::{Found, binding_words};
use crate::sim_disk::SimDisk;
use crate::wire::{Event, Reply, Writer, method_frame};
use crate::world::Step;
use crate::world::knobs::settings;
use leveret::broker::snapshot::PageStart;
use leveret::broker::{ConnectionId, Permissions, VhostAttributes};
use leveret::server::{Failure, Hub};
use leveret::storage::LogStore;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

/// Steps of the disk after which a log that doesn't settle has a problem.
const DISK_STEPS_MAX: usize = 10_000;
/// Pumps in a row until nothing is left to do: far more than any life here needs.
const PUMPS_MAX: usize = 1000;
/// Starts in a row that a broken disk may spoil.
const STARTS_MAX: usize = 10;

/// A client comes in the first turn of a broker.
pub fn connect(hub: &mut Hub<LogStore>, now_ms: u64) -> ConnectionId {
    hub.start_turn(now_ms);
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    hub.connect(address(50_000), address(5672))
}

fn rule_words(rules: &Rules) -> impl Iterator<Item = String> + '_ {
    let rules = KINDS.iter().zip(rules).filter_map(|(kind, rule)| Some((*kind, rule.as_ref()?)));
    rules.map(|((kind, name, priority), rule)| {
        policy_words(kind, name, priority, &rule.pattern(), &entries(&rule.wishes.definition()))
    })
}

/// How a queue is bound to an exchange.
fn binding_of(exchange: usize, queue: usize) -> BindingName {
    let (source, routing_key) = (EXCHANGES[exchange].0.to_owned(), exchanges::binding_key(exchange, queue));
    BindingName { source, routing_key, arguments: Vec::new() }
}

/// What exists by these contents, in words.
fn definition_words(contents: &Contents) -> BTreeSet<String> {
    let bindings = contents.bindings.iter().map(|(exchange, queue)| {
        let key = exchanges::binding_key(*exchange, *queue);
        binding_words(VHOSTS[0], EXCHANGES[*exchange].0, &format!("queue {}", NAMES[*queue]), &key, &[])
    });
    bindings.chain(rule_words(&contents.rules)).collect()
}

impl Story<'_> {
    /// From the protocol header to all open channels.
    pub(super) fn open(&mut self) -> Step {
        let guest = || "guest".to_owned();
        let start = Command::StartOk { understands_cancel: true, user: guest(), secret: guest() };
        self.say(0, &Command::ProtocolHeader);
        self.say(0, &start);
        self.say(0, &Command::TuneOk { frame_max: FRAME_MAX, heartbeat_s: 0 });
        self.say(0, &Command::Open { vhost: VHOSTS[0].to_owned() });
        self.say(PUBLISHES, &Command::ChannelOpen);
        self.say(PUBLISHES, &Command::ConfirmSelect);
        let channels = std::iter::once(TAKES).chain(CONSUME);
        channels.clone().for_each(|channel| self.say(channel, &Command::ChannelOpen));
        let methods = [(10, 10), (10, 30), (10, 41), (20, 11), (85, 11)].into_iter().chain(channels.map(|_| (20, 11)));
        let ought: Vec<_> = methods.map(|(class, method)| Event::Reply(Reply::Plain(class, method))).collect();
        self.is_answered(&ought)
    }

    /// Exchanges, queues and bindings, all that there may be; or as far as it comes before the broker ends.
    pub(super) fn declare(&mut self) -> Step {
        let starts = self.starts;
        for (exchange, (name, kind, bound)) in EXCHANGES.into_iter().enumerate() {
            let declare = Writer::default().u16(0).short(name).short(kind).bits(&[false, true]);
            let declare = declare.table(&exchanges::arguments(exchange, &self.memories));
            if !bound.is_empty() {
                self.hub.receive(self.connection, &method_frame(TAKES, (40, 10), declare));
                self.settle_disk()?;
            }
            for index in bound {
                if self.starts == starts {
                    self.declare_queue(*index);
                    self.settle_disk()?;
                }
                if self.starts == starts {
                    self.bind(exchange, *index);
                    self.settle_disk()?;
                }
            }
            if self.starts != starts {
                return Ok(());
            }
        }
        for index in 0..NAMES.len() {
            self.declare_queue(index);
            self.settle_disk()?;
            if self.starts != starts {
                return Ok(());
            }
        }
        self.is_founded = true;
        self.shadow.promise(self.shadow.tick());
        self.hear().map(drop)
    }

    pub(super) fn declare_queue(&mut self, index: usize) {
        let spec = &self.specs[index];
        let flags = [false, true, false, false, false];
        let declare = Writer::default().u16(0).short(spec.name).bits(&flags).table(&spec.arguments());
        self.hub.receive(self.connection, &method_frame(TAKES, (50, 10), declare));
        self.shadow.declare(index);
    }

    /// When that is safe.
    pub(super) fn bind(&mut self, exchange: usize, index: usize) -> Tick {
        let command = Command::QueueBind { queue: NAMES[index].to_owned(), binding: binding_of(exchange, index) };
        self.say(TAKES, &command);
        self.shadow.bind(exchange, index)
    }

    pub(super) fn unbind(&mut self, exchange: usize, index: usize) {
        let command = Command::QueueUnbind { queue: NAMES[index].to_owned(), binding: binding_of(exchange, index) };
        self.say(TAKES, &command);
        self.shadow.unbind(exchange, index);
    }

    pub(super) fn is_answered(&mut self, ought: &[Event]) -> Step {
        let heard = self.settle_and_hear()?;
        if heard == ought { Ok(()) } else { Err(format!("{heard:?} where {ought:?} was due")) }
    }

    /// What the loop does after everyone was read, and what is due then.
    pub(super) fn turn(&mut self) -> Step {
        for _ in 0..PUMPS_MAX {
            self.hub.start_turn(self.now_ms);
            self.durable.hand_over(&mut self.hub, self.now_ms);
            while self.hub.next_to_flush().is_some() {}
            let is_due = self.hub.next_deadline_ms().is_some_and(|due_ms| due_ms <= self.now_ms);
            if !is_due && !self.hub.broker().has_touched() {
                break;
            }
        }
        self.durable.hand_over_pages(&mut self.hub);
        self.shadow.turn(self.now_ms);
        let heard = self.hear()?;
        if !heard.is_empty() {
            return Err(format!("{heard:?} where nothing was due"));
        }
        self.compare_deliveries()?;
        let census = self.hub.broker().census();
        let ready = (0..NAMES.len()).map(|queue| self.shadow.ready(queue)).sum();
        let (is, ought) = ((census.ready, census.unacknowledged), (ready, self.shadow.unacknowledged()));
        if is == ought {
            return Ok(());
        }
        let queues = self.hub.broker().snapshot_queues(PageStart::default()).items;
        let is: Vec<_> = queues.iter().map(|queue| (queue.name.to_string(), queue.figures.messages_ready)).collect();
        let ought: Vec<_> = (0..NAMES.len()).map(|queue| self.shadow.ready(queue)).collect();
        Err(format!("{is:?} are ready and ought to be {ought:?}"))
    }

    /// Everybody was given what was due, in this order.
    fn compare_deliveries(&mut self) -> Step {
        let mut given: BTreeMap<u16, Vec<Given>> = BTreeMap::new();
        for (channel, delivery_tag, redelivered, content) in std::mem::take(&mut self.delivered) {
            given.entry(channel).or_default().push((delivery_tag, redelivered, seen(&content)?));
        }
        let ought: BTreeMap<_, _> = self.shadow.take_given();
        if given == ought { Ok(()) } else { Err(format!("{given:?} was delivered and {ought:?} was due")) }
    }

    /// One of the log's workers goes on by a step, and the loop hears of it; or the broker ends. False when there is
    /// nothing to do.
    pub(super) fn drive_disk(&mut self) -> Result<bool, String> {
        let has_stepped = self.durable.step(&mut self.random);
        if !has_stepped && !self.durable.owes_something() {
            return Ok(false);
        }
        if let Err(failure) = self.durable.take_reports(&mut self.hub) {
            self.fail(failure)?;
        }
        Ok(true)
    }

    pub(super) fn settle_disk(&mut self) -> Step {
        for _ in 0..DISK_STEPS_MAX {
            self.durable.hand_over(&mut self.hub, self.now_ms);
            if !self.durable.owes_something() {
                while self.hub.next_to_flush().is_some() {}
                return Ok(());
            }
            self.drive_disk()?;
        }
        Err(format!("the log never settles: {}", self.durable.describe()))
    }

    /// What the broker said, once it was safe.
    pub(super) fn settle_and_hear(&mut self) -> Result<Vec<Event>, String> {
        while self.hub.next_to_flush().is_some() {}
        self.settle_disk()?;
        self.hear()
    }

    fn fail(&mut self, failure: Failure) -> Step {
        let Failure::Log(error) = failure else { return Err("a worker is gone".to_owned()) };
        self.transcript.note(|| format!("the log fails: {error}"));
        let left = self.disk_after(&self.durable.disk().clone(), false);
        self.restart(left)
    }

    /// What is left on a disk when the program is killed, or the power cut. A relaxed log promises nothing against that.
    pub(super) fn disk_after(&mut self, disk: &SimDisk, is_killed: bool) -> SimDisk {
        let seed = self.random.next();
        if is_killed || !self.knobs.always_syncs() { disk.after_stop() } else { disk.after_crash(seed) }
    }

    /// What would be there if the power were cut now? All goes on as if nobody had asked.
    pub(super) fn look_ahead(&mut self) -> Step {
        self.transcript.note(|| "what if it ended here?".to_owned());
        let left = self.disk_after(&self.durable.disk().clone(), false);
        self.find(&left).map(drop)
    }

    /// What a start finds on that disk: what the log had been told up to some moment.
    fn find(&self, disk: &SimDisk) -> Result<Contents, String> {
        let further = |hub: &mut Hub<LogStore>, found: &Found| {
            hub.start_turn(self.now_ms);
            self.remembered(hub, found)
        };
        let (found, _, remembered) = look_further(disk, &self.knobs.log, settings(&self.knobs, 0), further)?;
        let mut there = BTreeMap::new();
        for (index, name) in NAMES.into_iter().enumerate() {
            let Some(messages) = found.queues.get(&(VHOSTS[0].to_owned(), name.to_owned())) else { continue };
            let messages = messages.iter().map(|(content, redelivered)| Ok((seen(content)?, *redelivered)));
            there.insert(index, messages.collect::<Result<Vec<_>, String>>()?);
        }
        let mut complaints = Vec::new();
        let is_compared = |words: &&String| words.contains(" policy ") || words.contains(": binding ");
        let definitions: BTreeSet<&String> = found.definitions.iter().filter(is_compared).collect();
        let is_razed =
            !found.definitions.iter().any(|words| words.starts_with(&format!("virtual host {} ", VHOSTS[0])));
        let found = self.shadow.after_a_crash(|tick, contents| {
            let ought = definition_words(contents);
            let matched = match definitions.iter().copied().eq(&ought) {
                _ if is_razed != contents.is_razed => Err(format!("there is no virtual host: {is_razed}")),
                true if remembered_at(&contents.remembered, self.now_ms) != remembered => {
                    let ought = &contents.remembered;
                    Err(format!("{remembered:?} is remembered at {}, and ought to be {ought:?}", self.now_ms))
                }
                true if contents.delayed() == found.delayed => self.matched(&there, contents),
                true => Err(format!("{:?} are delayed, and ought to be {:?}", found.delayed, contents.delayed())),
                false => Err(format!("{definitions:?} is there, and ought to be {ought:?}")),
            };
            matched.map_err(|complaint| complaints.push(format!("at {tick}: {complaint}"))).ok()
        });
        found.ok_or_else(|| format!("what is found is none of {} states; {}", complaints.len(), complaints.join("; ")))
    }

    /// The values that exchanges remember: what has one goes nowhere.
    fn remembered(&self, hub: &mut Hub<LogStore>, found: &Found) -> Result<BTreeSet<(usize, u8)>, String> {
        let mut looker = Looker::enters(hub, VHOSTS[0])?;
        let mut remembered = BTreeSet::new();
        for exchange in self.memories.iter().map(|memory| memory.exchange) {
            let is_it = |words: &String| words.contains(&format!(" exchange {} auto_delete", EXCHANGES[exchange].0));
            if !found.definitions.iter().any(is_it) {
                continue;
            }
            let queue = format!("of {}", EXCHANGES[exchange].0);
            let declare = QueueDeclare { passive: false, exclusive: true, ..QueueDeclare::passive(queue.clone()) };
            let bind = Command::QueueBind { queue: queue.clone(), binding: binding_of(exchange, 0) };
            looker.ask(1, &[Command::QueueDeclare(declare), bind])?;
            for value in 0..VALUES {
                looker.say(&Draft::probe(EXCHANGES[exchange].0, value).frames(1))?;
            }
            let mut heard = looker.ask(1, &[Command::Consume(Consume::of(queue.clone(), queue.clone(), true))])?;
            // Who is asked how many there are gives them away first.
            heard.extend(looker.ask(1, &[Command::QueueDeclare(QueueDeclare::passive(queue))])?);
            remembered.extend((0..VALUES).map(|value| (exchange, value)));
            for heard in heard {
                if let Event::Deliver { content, .. } = heard.event {
                    remembered.remove(&(exchange, seen(&content)?.id as u8));
                }
            }
        }
        Ok(remembered)
    }

    /// The contents as they were found, with flags and counts of these, if they are those.
    fn matched(&self, there: &BTreeMap<usize, Vec<(Seen, bool)>>, contents: &Contents) -> Result<Contents, String> {
        let ought: BTreeSet<_> = contents.declared.iter().collect();
        if !there.keys().eq(ought.iter().copied()) {
            return Err(format!("queues {:?} are there and ought to be {ought:?}", there.keys()));
        }
        let nothing = BTreeMap::new();
        for (&index, there) in there {
            let ought = contents.queues.get(&index).unwrap_or(&nothing);
            let is = || there.iter().map(|(seen, _)| seen.id);
            if !is().eq(ought.values().map(|entry| entry.id)) {
                let (is, ought) = (is().collect::<Vec<_>>(), ought.values().map(|entry| entry.id).collect::<Vec<_>>());
                return Err(format!("{} has {is:?} and ought to have {ought:?}", NAMES[index]));
            }
        }
        let mut contents = contents.clone();
        for (&index, there) in there {
            for ((is, redelivered), entry) in there.iter().zip(contents.queues.entry(index).or_default().values_mut()) {
                entry.redelivered = *redelivered;
                let ought = entry.seen(self.shadow.counts_returns(index));
                if *is != ought {
                    return Err(format!("{} has {is:?} where {ought:?} ought to be", NAMES[index]));
                }
                if !redelivered {
                    return Err(format!("message {} of {} is not flagged as redelivered", entry.id, NAMES[index]));
                }
            }
        }
        Ok(contents)
    }

    /// The client is gone, and what it was still to hear.
    pub(super) fn leave(&mut self) {
        self.hub.disconnect(self.connection);
        self.forget_heard();
    }

    fn forget_heard(&mut self) {
        self.unconfirmed.clear();
        self.delivered.clear();
        self.last_publish = 0;
    }

    /// What was in a deleted virtual host goes, some with each turn.
    pub(super) fn clear_away(&mut self) -> Step {
        for _ in 0..PUMPS_MAX {
            self.hub.start_turn(self.now_ms);
            self.durable.hand_over(&mut self.hub, self.now_ms);
            while self.hub.next_to_flush().is_some() {}
            if self.hub.broker().snapshot_queues(PageStart::default()).items.is_empty() {
                return Ok(());
            }
        }
        Err("queues of a deleted virtual host never go".to_owned())
    }

    /// The virtual host, if there is none, and all that there may be in it; a client comes.
    pub(super) fn found(&mut self) -> Step {
        let broker = self.hub.broker_mut();
        let name = VHOSTS[0];
        if broker.vhost_named(name.as_bytes()).is_none() {
            let _ = broker.put_vhost(name, VhostAttributes::default());
            self.shadow.found();
        }
        let vhost = broker.vhost_named(name.as_bytes()).expect("it is there");
        let user = broker.find_user(b"guest").and_then(|key| broker.user_of(key)).expect("one is always there");
        let _ = broker.set_permissions(user, vhost, Permissions::all());
        self.connection = connect(&mut self.hub, self.now_ms);
        let starts = self.starts;
        let opened = self.open();
        if self.starts == starts { opened.and_then(|()| self.declare()) } else { Ok(()) }
    }

    /// The broker has ended, and another one starts on what is left.
    pub(super) fn restart(&mut self, mut disk: SimDisk) -> Step {
        self.transcript.note(|| "the broker has ended".to_owned());
        self.ends += 1;
        self.forget_heard();
        for _ in 0..STARTS_MAX {
            let found = self.find(&disk)?;
            plan_fault(&disk, &self.knobs.log, &mut self.random);
            self.starts = self.starts.wrapping_add(1);
            match Durable::start(&disk, &self.knobs.log, settings(&self.knobs, self.starts), self.now_ms) {
                Ok((hub, durable)) => {
                    (self.hub, self.durable) = (hub, durable);
                    self.is_founded &= !found.is_razed;
                    self.shadow.restart(found, self.now_ms);
                    // The log may hear of dead letters before the client does of anything.
                    self.shadow.turn(self.now_ms);
                    if !self.is_founded {
                        return self.found();
                    }
                    self.connection = connect(&mut self.hub, self.now_ms);
                    let starts = self.starts;
                    let opened = self.open();
                    return if self.starts == starts { opened.and_then(|()| self.turn()) } else { Ok(()) };
                }
                Err(_) if disk.has_failed() => disk = self.disk_after(&disk, false),
                Err(error) => return Err(format!("it doesn't start: {error}")),
            }
        }
        Err("it never starts".to_owned())
    }

    /// Everything is taken out of all queues, and dead letters again, until nothing is left but letters that nobody takes.
    pub(super) fn empty(&mut self) -> Step {
        for channel in CONSUME {
            self.close(channel)?;
        }
        for tag in self.shadow.held_tags() {
            self.shadow.acknowledge(tag);
            self.say(tag.0, &Command::Ack { delivery_tag: tag.1, multiple: false });
        }
        self.turn()?;
        let queues = (0..NAMES.len()).cycle().take(2 * NAMES.len());
        for queue in queues {
            while self.shadow.is_there(queue)
                && match self.specs[queue].gives() {
                    true => self.get_from(queue, true)?,
                    false => self.purge_queue(queue)?,
                }
            {
                self.turn()?;
            }
        }
        self.turn()
    }
}
