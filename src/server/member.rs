//! The driver of a node of a cluster: it drives the [`Member`], which decides, with what peers say, what the writer says and
//! what the loop wants written. Which thread does that, the [helm](super::helm) says.
//!
//! ```text
//!   loop ──── batches ───► ┌────────┐ ──── Append, Commit ───► writer
//!        ◄─── reports ──── │ member │ ◄─── Persisted ─────────
//!        ◄─── role ─────── └────────┘ ──── messages ─────────► peers
//! ```
//! It owns the writer and the connections to peers, and waits for nothing but in the end: what takes time is done by others,
//! who say so in its inbox. The loop hears of it what it hears of a writer, and besides when it is to lead and when no more.

use super::cluster_view::{self, View};
use super::helm::{Helm, Inbox, Steered};
use super::seat::{Change, Input, Lead, Low, Seat};
use super::standing::Standing;
use crate::cluster::member::ledger::Known;
use crate::cluster::member::{Append, Lane, Member, NodeNumber, Output, Pinned, Role, Settings, Told};
use crate::cluster::membership::Configuration;
use crate::cluster::message::{Condition, Point};
use crate::cluster::snapshot::IncomingStep;
use crate::management::ClusterOrder;
use crate::peers::{Event, Outgoing, Transport};
use crate::reactor::{Clock, Waker};
use crate::storage::disk::Folder;
use crate::storage::duty::Report;
use crate::storage::log_writer::Totals;
use crate::storage::replica::{self, Install, Pin, PinId, ReplicaReport, ReplicaRequest, Sealed, Survey};
use crate::storage::sequences::Reached;
use crate::storage::spawn::ReplicaHandle;
use crate::storage::{BatchDone, FileDisk, StorageError};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// What is taken in before what came of it is carried out.
const TAKEN_AT_ONCE: usize = 256;
/// How often a full disk is asked whether there is room now, in milliseconds.
const TRY_ROOM_EACH_MS: u64 = 1_000;
/// How long a stop waits for the writer's checkpoint, in milliseconds.
const CHECKPOINT_MS: u64 = 10_000;

/// What it is started with.
pub struct Crew {
    pub member: Member,
    pub settings: Settings,
    pub writer: ReplicaHandle<FileDisk>,
    /// Before the inbox, as fields are dropped in this order: peers tell of messages under their locks, and one that finds the
    /// inbox gone would drop the message's [receipt](crate::peers::Receipt) there, which waits for the same lock for ever.
    pub transport: Transport,
    pub clock: Clock,
    pub helm: Helm<Driver>,
    pub inbox: Inbox<Driver>,
    pub changes: Sender<Change>,
    /// To whoever writes down a snapshot that arrives.
    pub steps: Sender<IncomingStep>,
    /// To whoever reads the log through.
    pub sealed: Sender<Vec<Sealed>>,
    /// Wakes the loop.
    pub waker: Waker,
    pub view: View,
}

/// Leading, as far as the loop has to do with it.
struct Leading {
    reports: Sender<Report>,
    /// Not taken yet by a loop that waits for the survey.
    seat: Option<Seat>,
}

pub struct Driver {
    crew: Crew,
    leading: Option<Leading>,
    founding: Option<Configuration>,
    /// Committed up to here, which the writer is told with whatever else it is asked for, or with the next tick: waking it for
    /// that alone costs as much as an entry.
    committed: Option<u64>,
    applied: u64,
    totals: Totals,
    elections: u64,
    /// How often the log was read through, and when that was done last.
    scrubs: u64,
    scrubbed_at_ms: Option<u64>,
    standing: Standing,
    /// What this node was last, to tell why it is no more.
    role: Role,
    /// It got the lead meanwhile, and no loop began.
    gives_away: bool,
    /// The process is to end.
    is_stopping: bool,
    view_due_ms: u64,
    /// Whether clients of this node are served by another one, as it was shown.
    showed_served: bool,
    /// There is no room for what is to be written: when that is tried again.
    tries_room_at_ms: Option<u64>,
    /// What was found of the log that is not what was written: the node gives the lead away, and ends.
    rotten: Option<StorageError>,
    /// The member has stopped in order.
    has_stopped: bool,
    /// There is no turn any more.
    is_over: bool,
}

impl Driver {
    pub fn new(crew: Crew) -> Self {
        Self {
            standing: Standing::new(crew.clock.now_ms()),
            role: Role::Forming,
            gives_away: false,
            is_stopping: false,
            crew,
            leading: None,
            founding: None,
            committed: None,
            applied: 0,
            totals: Totals::default(),
            elections: 0,
            scrubs: 0,
            scrubbed_at_ms: None,
            view_due_ms: 0,
            showed_served: false,
            tries_room_at_ms: None,
            rotten: None,
            has_stopped: false,
            is_over: false,
        }
    }
}

impl Steered for Driver {
    type Input = Input;

    fn turn(&mut self) {
        for _ in 0..TAKEN_AT_ONCE {
            let Some(input) = self.crew.inbox.take() else { break };
            self.take(input);
        }
        self.take_reports();
        let now_ms = self.crew.clock.now_ms();
        if now_ms >= self.crew.member.next_tick_ms() {
            self.tell_of_commit();
        }
        self.crew.member.tick(now_ms);
        if let Some(at_ms) = self.tries_room_at_ms.as_mut().filter(|at_ms| **at_ms <= now_ms) {
            *at_ms = now_ms + TRY_ROOM_EACH_MS;
            self.ask(ReplicaRequest::MakeRoom);
        }
        if self.gives_away {
            self.crew.member.hand_over(None);
        }
        self.carry_out();
        self.show();
    }

    fn rests_for(&self) -> Duration {
        Duration::from_millis(self.crew.member.next_tick_ms().saturating_sub(self.crew.clock.now_ms()))
    }

    fn is_at_its_end(&self) -> bool {
        self.is_over
    }

    /// The next start finds a state that is as young as can be.
    fn finish(&mut self) {
        if !self.has_stopped {
            return;
        }
        self.tell_loop(Report::Deposed);
        if let Some(error) = self.rotten.take() {
            self.change(Change::Failed(error));
            return;
        }
        self.ask(ReplicaRequest::Checkpoint);
        let by_ms = self.crew.clock.now_ms() + CHECKPOINT_MS;
        loop {
            // A disk that hangs keeps the writer, and nobody from ending.
            let left = Duration::from_millis(by_ms.saturating_sub(self.crew.clock.now_ms()));
            match self.crew.writer.wait_report_for(left) {
                Some(ReplicaReport::Checkpointed) | None => break,
                Some(ReplicaReport::Failed(error)) => {
                    tracing::error!(target: "storage", "{error}");
                    break;
                }
                Some(_) => {}
            }
        }
        self.change(Change::Stopped);
    }
}

impl Driver {
    fn number(&self, node: &str) -> NodeNumber {
        let names = &self.crew.settings.nodes;
        let place = names.iter().position(|name| name == node).expect("only nodes of the settings are let in");
        NodeNumber(u8::try_from(place).expect("settings bound nodes"))
    }

    fn name(&self, node: NodeNumber) -> &str {
        &self.crew.settings.nodes[usize::from(node.0)]
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Peer(Event::Connected { node }) => {
                tracing::info!(target: "cluster", "node {node} is there");
                self.crew.member.connected(self.number(&node));
            }
            Input::Peer(Event::Gone { node }) => {
                tracing::warn!(target: "cluster", "node {node} is gone");
                self.crew.member.disconnected(self.number(&node));
            }
            Input::Peer(Event::Message { node, bytes, receipt }) => {
                self.crew.member.received(self.number(&node), bytes);
                drop(receipt);
            }
            Input::Peer(Event::Unread { node, part, why }) => {
                self.crew.member.could_not_read(self.number(&node), &part, why);
            }
            Input::Peer(Event::Read { node, part }) => self.crew.member.could_read(self.number(&node), &part),
            Input::WriterSaid => self.take_reports(),
            Input::Propose { term, batch } => self.crew.member.propose(term, batch),
            Input::IncomingPerformed(succeeded) => self.crew.member.incoming_performed(succeeded),
            Input::MakeRoom => self.ask(ReplicaRequest::MakeRoom),
            Input::Low(Low { disk, memory }) => {
                let member = &mut self.crew.member;
                member.set_condition(Condition { is_disk_low: disk, is_memory_low: memory, ..member.condition() });
            }
            Input::Serves { term } => {
                let leads = matches!(self.role, Role::Lead { term: led, .. } if led == term);
                let serves = leads && self.leading.is_some() && !self.is_stopping;
                self.tell_whether_it_serves(serves);
                // Whoever is sent here, as others know it, is not to be sent away.
                self.view_due_ms = 0;
                self.show();
            }
            Input::WantsSealed => self.ask(ReplicaRequest::Sealed),
            Input::ReadThrough { bytes } => {
                tracing::debug!(target: "storage", "the log was read through: {bytes} bytes, all as they were written");
                self.scrubs += 1;
                self.scrubbed_at_ms = Some(self.crew.clock.now_ms());
            }
            Input::Rotten(error) => self.lost(error),
            Input::Order(order) => self.obey(order),
            Input::Stop => {
                self.is_stopping = true;
                self.tell_whether_it_serves(false);
                self.crew.member.stop();
            }
        }
    }

    /// The log lost something: another node is to lead, and this one comes back as somebody else.
    fn lost(&mut self, error: StorageError) {
        let damage = error.damage().unwrap_or_default();
        tracing::error!(target: "storage", "{damage}. This node must not go on with a log that lost something");
        self.rotten = Some(error);
        self.crew.member.stop();
    }

    fn take_reports(&mut self) {
        while let Some(report) = self.crew.writer.try_report() {
            self.take_report(report);
        }
    }

    /// Asks the writer for something that may have to do with what is committed.
    fn ask(&mut self, request: ReplicaRequest) {
        self.tell_of_commit();
        self.crew.writer.ask(request);
    }

    fn tell_of_commit(&mut self) {
        if let Some(index) = self.committed.take() {
            self.crew.writer.ask(ReplicaRequest::Commit(index));
        }
    }

    fn take_report(&mut self, report: ReplicaReport<FileDisk>) {
        match report {
            ReplicaReport::Persisted { number, places, totals } => {
                self.totals = totals;
                self.crew.member.persisted(number, &places);
            }
            ReplicaReport::Applied(index) => self.applied = index,
            ReplicaReport::Survey(survey) => self.begin_to_lead(*survey),
            ReplicaReport::Founded => {
                let configuration = self.founding.take().expect("it was asked for");
                tracing::info!(target: "cluster", "a cluster is founded");
                self.crew.member.founded(Known::at_founding(self.crew.settings.member, configuration));
            }
            ReplicaReport::FreeBytes(bytes) => self.tell_loop(Report::FreeBytes(bytes)),
            ReplicaReport::NoRoom => self.tell_loop(Report::NoRoom),
            ReplicaReport::Full => {
                tracing::error!(
                    target: "storage",
                    "the disk is full: this node writes nothing, and confirms nothing to the others, until there is room"
                );
                self.tries_room_at_ms = Some(self.crew.clock.now_ms());
                self.view_due_ms = 0;
            }
            ReplicaReport::HasRoom => {
                tracing::info!(target: "storage", "there is room on the disk again: this node goes on");
                self.tries_room_at_ms = None;
                self.view_due_ms = 0;
            }
            ReplicaReport::Sealed(sealed) => _ = self.crew.sealed.send(sealed),
            ReplicaReport::Forgotten { below } => self.crew.member.forgotten(below),
            ReplicaReport::Checkpointed => {}
            ReplicaReport::Pinned(pin) => self.pinned(pin),
            ReplicaReport::Installed(Reached { term, index, position }) => {
                self.crew.member.installed(Point { index, term }, position);
            }
            ReplicaReport::NotInstalled(error) | ReplicaReport::Failed(error) => {
                match &self.leading {
                    Some(Leading { seat: None, .. }) => self.tell_loop(Report::Failed(error)),
                    _ => self.change(Change::Failed(error)),
                }
                self.is_over = true;
            }
        }
    }

    fn pinned(&mut self, pin: Pin) {
        let Pin { id, reached: Reached { term, index, .. }, configuration, checkpoint, files } = pin;
        let configuration =
            Configuration::decode(&configuration).expect("what this node was founded with, or agreed on");
        let last = Point { index, term };
        self.crew.member.pinned(Pinned { id: id.0, last, configuration, checkpoint, files });
    }

    fn begin_to_lead(&mut self, survey: Survey<FileDisk>) {
        let Some(seat) = self.leading.as_mut().and_then(|leading| leading.seat.take()) else { return };
        let Some(consensus) = self.crew.member.consensus() else { return };
        let cluster = consensus.configuration().cluster;
        self.change(Change::Lead(Box::new(Lead { cluster, survey, seat })));
    }

    fn tell_loop(&self, report: Report) {
        if let Some(Leading { reports, .. }) = &self.leading {
            // A loop that is gone has nothing to do any more.
            let _ = reports.send(report);
            let _ = self.crew.waker.wake();
        }
    }

    fn change(&self, change: Change) {
        let _ = self.crew.changes.send(change);
        let _ = self.crew.waker.wake();
    }

    fn carry_out(&mut self) {
        // In the order in which they are made: what others write goes to them before this disk is asked to.
        let mut letters: Vec<(NodeNumber, Lane, Vec<Outgoing>)> = Vec::new();
        while let Some(output) = self.crew.member.take_output() {
            if !matches!(output, Output::Send { .. }) {
                self.send(&mut letters);
            }
            match output {
                Output::Send { to, lane, parts } => {
                    match letters.iter_mut().find(|(of, by, _)| (*of, *by) == (to, lane)) {
                        Some((.., messages)) => messages.push(Outgoing(parts)),
                        None => letters.push((to, lane, vec![Outgoing(parts)])),
                    }
                }
                Output::Append(Append { number, entries, vote }) => {
                    // A vote may be there to note what is committed.
                    if vote.is_some() {
                        self.tell_of_commit();
                    }
                    let append = replica::Append { number, entries, vote };
                    // Others wait for this one, and nobody for that.
                    self.crew.writer.ask(ReplicaRequest::Append(append));
                    self.tell_of_commit();
                }
                Output::Commit(index) => self.committed = Some(index),
                Output::Told(Told::Done(written)) => {
                    let done = BatchDone { result: Ok(written), recycled: None };
                    self.tell_loop(Report::Done(done, self.totals));
                }
                Output::Told(Told::Progress(written)) => self.tell_loop(Report::Committed(written.synced)),
                Output::Role(role) => self.play(role),
                Output::Found(configuration) => {
                    let (cluster, bytes) = (configuration.cluster, configuration.encode());
                    self.founding = Some(configuration);
                    self.ask(ReplicaRequest::Found { cluster, configuration: bytes });
                }
                Output::Pin { index } => self.ask(ReplicaRequest::Pin { index }),
                Output::Unpin(id) => self.ask(ReplicaRequest::Unpin(PinId(id))),
                Output::Incoming(step) => {
                    let _ = self.crew.steps.send(step);
                }
                Output::Install { checkpoint, files, .. } => {
                    self.ask(ReplicaRequest::Install(Install { checkpoint, files }));
                }
                Output::Forgot { said } => {
                    let reason = format!("it ends before entry {said}, which this node had, as it told who leads");
                    self.lost(StorageError::corrupt(Folder::Log.path(), 0, reason));
                }
                Output::Stopped => (self.has_stopped, self.is_over) = (true, true),
            }
        }
        self.send(&mut letters);
    }

    /// What is dropped is said again, or the peer is gone.
    fn send(&self, letters: &mut Vec<(NodeNumber, Lane, Vec<Outgoing>)>) {
        for (to, lane, messages) in letters.drain(..) {
            self.crew.transport.send(self.name(to), lane, messages);
        }
    }

    fn play(&mut self, role: Role) {
        self.view_due_ms = 0;
        self.tell_of(role);
        // A loop that stops closes its clients when there is somebody who takes them.
        if !self.is_stopping || role != (Role::Follow { leader: None }) {
            self.tell_loop(Report::Deposed);
            self.leading = None;
        }
        self.gives_away = false;
        self.tell_whether_it_serves(false);
        self.crew.view.leads.store(false, std::sync::atomic::Ordering::Release);
        self.role = role;
        match role {
            Role::Forming => {}
            Role::Follow { leader } => {
                let leader = leader.filter(|_| !self.is_drained()).map(|leader| self.name(leader).to_owned());
                self.change(Change::Follow { leader });
            }
            Role::Lead { .. } if self.is_drained() || self.is_stopping => {
                self.gives_away = true;
                self.change(Change::Follow { leader: None });
            }
            Role::Lead { term, index } => {
                self.elections += 1;
                let (reports, heard) = channel();
                let leads = Arc::clone(&self.crew.view.leads);
                let helm = self.crew.helm.clone();
                let seat = Seat::new(term, Box::new(move |input| helm.steer_with(input)), heard, leads);
                self.leading = Some(Leading { reports, seat: Some(seat) });
                self.ask(ReplicaRequest::Survey { index });
            }
        }
    }

    /// Says in the log who leads from now on, or why nobody does.
    fn tell_of(&mut self, role: Role) {
        let now_ms = self.crew.clock.now_ms();
        let term = self.crew.member.consensus().map_or(0, |consensus| consensus.term());
        let leader = match role {
            Role::Forming => return,
            Role::Follow { leader: None } => {
                let is_up = |leader: &str| self.crew.transport.is_up(leader);
                let why = match (self.role, self.standing.led_by_nobody(now_ms)) {
                    (Role::Lead { term: led, .. }, _) if led == term => {
                        "this node leads no more: it doesn't hear most of the others".to_owned()
                    }
                    (Role::Lead { term: led, .. }, _) => {
                        format!("this node led in term {led} and does no more: others are in term {term}")
                    }
                    (_, Some(led)) => {
                        let s = now_ms.saturating_sub(led.since_ms) / 1000;
                        let why = if is_up(&led.leader) { "says nothing any more, or gave it away" } else { "is gone" };
                        format!("nobody leads: node {}, which did for {s} s, {why}", led.leader)
                    }
                    (_, None) => "nobody leads, as far as this node knows".to_owned(),
                };
                tracing::warn!(target: "cluster", "{why}");
                return;
            }
            Role::Follow { leader: Some(leader) } => self.name(leader).to_owned(),
            Role::Lead { .. } => self.crew.settings.nodes[usize::from(self.crew.settings.me.0)].clone(),
        };
        let (without_ms, before) = self.standing.led_by(&leader, term, now_ms);
        if before.as_ref().is_some_and(|led| led.leader == leader && led.term == term) {
            return;
        }
        let before = before
            .map_or_else(String::new, |led| format!("; before it node {} did, since term {}", led.leader, led.term));
        tracing::info!(
            target: "cluster",
            "node {leader} leads since term {term}, after {without_ms} ms without a leader{before}"
        );
    }

    /// It serves nobody, and gives the lead away when it gets it.
    fn is_drained(&self) -> bool {
        self.crew.member.condition().is_drained
    }

    fn tell_whether_it_serves(&mut self, serves: bool) {
        let member = &mut self.crew.member;
        member.set_condition(Condition { serves, ..member.condition() });
    }

    fn drain(&mut self, is_drained: bool) {
        let member = &mut self.crew.member;
        member.set_condition(Condition { is_drained, ..member.condition() });
    }

    /// Does what an operator wants.
    fn obey(&mut self, order: ClusterOrder) {
        match order {
            ClusterOrder::HandOver { to } => {
                let whom = to.as_deref().unwrap_or("whichever node has most");
                tracing::info!(target: "cluster", "an operator wants {whom} to lead");
                let to = to.map(|node| self.number(&node));
                self.crew.member.hand_over(to);
            }
            ClusterOrder::Forget { node } => {
                tracing::warn!(target: "cluster", "an operator says that node {node} is gone for good");
                if !self.crew.member.forget(self.number(&node)) {
                    tracing::warn!(target: "cluster", "node {node} stays: it is there, or this node doesn't lead");
                }
            }
            ClusterOrder::Drain if !self.is_drained() => {
                tracing::warn!(target: "cluster", "This node is being put into maintenance (drain) mode");
                self.drain(true);
                self.play(self.crew.member.role());
            }
            ClusterOrder::Revive if self.is_drained() => {
                tracing::info!(target: "cluster", "This node is being revived from maintenance (drain) mode");
                self.drain(false);
                // What it led without a loop it gives away first.
                if !self.gives_away {
                    self.play(self.crew.member.role());
                }
            }
            ClusterOrder::Drain | ClusterOrder::Revive => {}
        }
        self.view_due_ms = 0;
    }

    /// Lets management see how the cluster is, some times in a second, and at once whether clients are served.
    fn show(&mut self) {
        let now_ms = self.crew.clock.now_ms();
        let is_served = cluster_view::is_served_elsewhere(&self.crew.member);
        if now_ms < self.view_due_ms && is_served == self.showed_served {
            return;
        }
        const SHOWN_EACH_MS: u64 = 100;
        self.showed_served = is_served;
        self.view_due_ms = now_ms + SHOWN_EACH_MS;
        let Crew { member, settings, transport, view, .. } = &self.crew;
        if let Some(consensus) = member.consensus() {
            self.standing.committed(consensus.committed(), now_ms);
        }
        let told = cluster_view::Told {
            now_ms,
            standing: &self.standing,
            applied: self.applied,
            elections: self.elections,
            scrubs: self.scrubs,
            scrubbed_at_ms: self.scrubbed_at_ms,
            disk_is_full: self.tries_room_at_ms.is_some(),
        };
        view.renew(member, settings, |node| transport.is_up(node), told);
    }
}
