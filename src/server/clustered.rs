//! A broker that is a node of a cluster: its member, and one loop after the other, as long as the process runs.
//!
//! ```text
//!   start ──► Follower ──── to lead: a hub is made of what the log holds ────► Server
//!                ▲                                                              │
//!                └───────────── deposed: clients are closed, the hub goes ──────┘
//! ```
//! Both loops have the same poll, the same doors and the same line to management, one after the other.

use super::addresses::Addresses;
use super::cluster_view::{Connecting, View};
use super::follower::{Follower, Next, Room, Surroundings};
use super::helm::{Helm, helm};
use super::house::{House, Renewal};
use super::member::{Crew, Driver};
use super::node_folder::{damage_of_log, new_member, perform_incoming, reader, recover};
use super::rejoins::Rejoins;
use super::scrub::Scrub;
use super::seat::{Change, Input, Lead, Low, Seat};
use super::turn::{Grounds, Server};
use super::vestibule::{Entrance, Vestibule};
use super::workers::Threads;
use super::{Beginning, Desk, Journal, Renewers, cluster_id, first_of_all, founding_definitions, new_hub, random};
use crate::cluster::member::ledger::Known;
use crate::cluster::member::{Member, NodeNumber, Settings};
use crate::cluster::message::Condition;
use crate::config::{Config, Limits};
use crate::management::{self, Hatch, PassedClient};
use crate::peers::{self, Caller, ClientKind, ClusterSecret, Event, Passages, Passed, Transport};
use crate::reactor::{Clock, Listener, Supervisor, Waker};
use crate::storage::replica::{ReplicaWriter, aside};
use crate::storage::spawn::spawn_replica;
use crate::storage::{ClusterId, FileDisk, LogOptions, SyncPolicy};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a process that stops waits for its member.
const STOP: Duration = Duration::from_secs(20);

/// Descriptors that clients who are passed on leave to files, to other nodes and to those who ask for management.
const DESCRIPTORS_KEPT: u64 = 512;
/// Whatever is kept, one in so many may be used for them.
const DESCRIPTORS_FOR_PASSAGES: u64 = 4;

/// How many clients are passed on at a time: each takes two descriptors.
fn passages_max(descriptors: u64, limits: &Limits) -> usize {
    // Who is passed on for management takes two as well.
    let kept = DESCRIPTORS_KEPT + 2 * limits.management_connections_max as u64;
    let for_passages = descriptors.saturating_sub(kept).max(descriptors / DESCRIPTORS_FOR_PASSAGES);
    usize::try_from(for_passages / 2).unwrap_or(usize::MAX).clamp(1, limits.connections_max)
}

/// Where clients of other nodes go: to the loop that leads, and to management.
#[derive(Clone)]
struct Reception {
    entrance: Arc<Mutex<Option<Entrance>>>,
    hatch: Hatch,
}

impl Reception {
    fn receive(&self, Passed { kind, socket }: Passed) {
        let is_http = matches!(kind, ClientKind::Http | ClientKind::HttpOverTls);
        if !is_http {
            if let Some(entrance) = &*self.entrance.lock().unwrap_or_else(PoisonError::into_inner) {
                entrance.let_in(socket, kind == ClientKind::Amqps);
            }
            return;
        }
        let peer = socket.peer_address();
        match socket.into_blocking() {
            Ok(Some(stream)) => {
                self.hatch.pass(PassedClient { stream, peer, over_tls: kind == ClientKind::HttpOverTls });
            }
            Ok(None) => {}
            Err(error) => tracing::error!(target: "management", "{peer}: {error}"),
        }
    }

    fn open(&self, entrance: Option<Entrance>) {
        *self.entrance.lock().unwrap_or_else(PoisonError::into_inner) = entrance;
    }
}

/// All that there is of this node, whoever leads.
struct Node {
    /// As it was last read again: each loop begins with what holds.
    config: RefCell<Config>,
    descriptors: u64,
    clock: Clock,
    waker: Waker,
    disk: FileDisk,
    options: LogOptions,
    caller: Caller,
    addresses: Addresses,
    view: View,
    reception: Reception,
    changes: Receiver<Change>,
    member: Helm<Driver>,
    renewal: Renewal,
}

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// As [`run`](super::run).
pub fn run(
    mut house: House,
    config: &Config,
    beginning: Beginning,
    supervisor: Option<Supervisor>,
    reload: impl Fn() -> Option<Config>,
) -> io::Result<()> {
    if beginning.salvages {
        return Err(io::Error::other(
            "--salvage is for a broker that is alone: start this node with an empty data folder, and it gets all from the others",
        ));
    }
    founding_definitions::check(config)?;
    let cluster = &config.cluster;
    let caller = Caller {
        secret: ClusterSecret::load(&cluster.secret_file)?,
        cluster: cluster.name.clone(),
        node: cluster.node.clone(),
        chance: random,
    };
    let listener = Listener::bind(cluster.listen)
        .map_err(|error| io::Error::new(error.kind(), format!("can't listen at {}: {error}", cluster.listen)))?;
    tracing::info!(target: "cluster", "listening for other nodes at {}", listener.local_address());
    let disk = FileDisk::open(&config.data_dir).map_err(io::Error::other)?;
    let (view, (hatch, passed)) = (View::new(config), management::hatch());
    let reception = Reception { entrance: Arc::default(), hatch };
    let options = LogOptions { sync_policy: SyncPolicy::Replicated, ..LogOptions::default() };
    let Beginning { is_drained, .. } = beginning;
    let crew =
        Start { config, is_drained, caller: &caller, view: &view, clock: house.clock, waker: house.waker.clone() };
    let (member, changes) = crew.start(listener, &disk, &options, reception.clone())?;
    let seen = Connecting {
        view: view.clone(),
        caller: caller.clone(),
        addresses: cluster.nodes.clone(),
        passes: cluster.pass_through,
        member: member.clone(),
    };
    let commands = house.start_management(config, Some((Arc::new(seen), passed)))?;
    let waker = house.waker.clone();
    // A loop that can't be woken still finds it in its next turn.
    let wake = move || _ = waker.wake();
    let node = Node {
        config: RefCell::new(config.clone()),
        descriptors: house.descriptors,
        clock: house.clock,
        waker: house.waker.clone(),
        disk,
        options,
        caller,
        addresses: Addresses::start(cluster.nodes.clone(), Box::new(resolve), wake)?,
        view,
        reception,
        changes,
        member,
        renewal: house.renewal(),
    };
    tracing::info!(target: "general", "Leveret {} is node {} of cluster {}", env!("CARGO_PKG_VERSION"), cluster.node, cluster.name);
    supervisor.iter().for_each(Supervisor::ready);
    let doors = house.take_doors(config);
    let (sources, _) = house.into_sources(doors, None, supervisor)?;
    let (lost, view) = (node.disk.clone(), node.view.clone());
    let error = match node.run(Grounds { sources, commands }, reload) {
        Err(error) if damage_of_log(&error).is_some() => error,
        ended => return ended,
    };
    aside::begin(&lost, new_member()?, &damage_of_log(&error).unwrap_or_default()).map_err(io::Error::other)?;
    Err(io::Error::other(Rejoins { is_drained: view.is_drained() }))
}

/// The first address that a name of the settings has.
fn resolve(name: &str) -> io::Result<SocketAddr> {
    name.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// What a member is started with.
struct Start<'a> {
    config: &'a Config,
    /// It is in maintenance from the beginning.
    is_drained: bool,
    caller: &'a Caller,
    view: &'a View,
    clock: Clock,
    waker: Waker,
}

impl Start<'_> {
    /// Reads the data folder, connects to peers, and gives the member its thread.
    fn start(
        self,
        listener: Listener,
        disk: &FileDisk,
        options: &LogOptions,
        reception: Reception,
    ) -> io::Result<(Helm<Driver>, Receiver<Change>)> {
        let Self { config, is_drained, caller, view, clock, waker } = self;
        let cluster = &config.cluster;
        let recovered = recover(disk, config)?;
        let names: Vec<String> = cluster.nodes.keys().cloned().collect();
        let me = names.iter().position(|name| *name == cluster.node).expect("settings are checked");
        let settings = Settings {
            nodes: names.clone(),
            me: NodeNumber(me as u8),
            member: recovered.ids.member,
            new_cluster: ClusterId(random()?),
            chance: u64::from_le_bytes(random()?),
            rejoins: recovered.rejoins,
        };
        let known = Known::of(&recovered).map_err(io::Error::other)?;
        let (helm, inbox) = helm();
        let of_writer = helm.clone();
        let writer = ReplicaWriter::start(disk.clone(), options.clone(), recovered.resume).map_err(io::Error::other)?;
        let writer = spawn_replica(writer, move || of_writer.steer_with(Input::WriterSaid))?;
        let (steps, incoming) = channel();
        let (performed, of_incoming) = (helm.clone(), disk.clone());
        std::thread::Builder::new()
            .name("incoming".to_owned())
            .spawn(move || perform_incoming(&of_incoming, &incoming, &performed))?;
        let (sealed, of_writer) = channel();
        let scrubs_each = config.cluster.scrub_interval_s;
        if scrubs_each > 0 {
            let interval = Duration::from_secs(scrubs_each);
            let scrub = Scrub { disk: disk.clone(), interval, member: helm.clone(), sealed: of_writer };
            std::thread::Builder::new().name("scrub".to_owned()).spawn(move || scrub.run())?;
        }
        let (of_peers, of_readers, disk) = (helm.clone(), helm.clone(), disk.clone());
        let others = cluster.nodes.iter().filter(|(name, _)| **name != cluster.node);
        let transport = peers::transport::Settings {
            caller: caller.clone(),
            others: others.map(|(name, address)| (name.clone(), address.clone())).collect(),
            leads: Arc::clone(&view.leads),
            tell: Box::new(move |event| {
                let _ = match event {
                    Event::Message { .. } => of_peers.put(Input::Peer(event)),
                    _ => of_peers.tell(Input::Peer(event)),
                };
            }),
            after_message: Box::new(move || of_readers.steer()),
            reader: Box::new(move || reader(disk.clone())),
            client: Box::new(move |passed| reception.receive(passed)),
        };
        let transport = Transport::start(listener, transport, clock)?;
        let mut member = Member::start(settings.clone(), known, clock.now_ms());
        if is_drained {
            tracing::warn!(target: "cluster", "This node stays in maintenance (drain) mode");
            member.set_condition(Condition { is_drained, ..Condition::default() });
        }
        let (changes, changed) = channel();
        let (of_loop, of_thread) = (helm.clone(), helm.clone());
        let crew = Crew {
            member,
            settings,
            writer,
            transport,
            clock,
            helm,
            inbox,
            changes,
            steps,
            sealed,
            waker,
            view: view.clone(),
        };
        std::thread::Builder::new().name("member".to_owned()).spawn(move || of_thread.keep(Driver::new(crew)))?;
        Ok((of_loop, changed))
    }
}

impl Node {
    fn run(self, mut grounds: Grounds, reload: impl Fn() -> Option<Config>) -> io::Result<()> {
        let reload = || {
            let later = reload()?;
            self.config.borrow_mut().take_over(&later);
            Some(later)
        };
        loop {
            let (passes, most, free_limit) = {
                let Config { cluster, limits, .. } = &*self.config.borrow();
                (cluster.pass_through, passages_max(self.descriptors, limits), limits.disk_free_limit_bytes)
            };
            let surroundings = Surroundings {
                passages: Passages::new(self.caller.clone(), most),
                addresses: &self.addresses,
                changes: &self.changes,
                member: &self.member,
                passes,
                room: Room::new(&self.disk, &self.caller.node, free_limit),
            };
            let follower = Follower::new(grounds, surroundings);
            let next = follower.run(|| Some(self.renewal.reloaded(&reload()?, &Renewers::default())))?;
            grounds = match next {
                Next::Stop => return Ok(()),
                Next::Lead(lead, grounds) => match self.lead(*lead, *grounds, reload) {
                    Ok(Some(grounds)) => grounds,
                    Ok(None) => return self.stop(),
                    Err(error) => {
                        if damage_of_log(&error).is_some() {
                            // Whoever leads next need not be waited for.
                            let _ = self.stop();
                        }
                        return Err(error);
                    }
                },
            };
        }
    }

    /// Serves clients until another node leads, or this one is to stop.
    fn lead(&self, lead: Lead, grounds: Grounds, reload: impl Fn() -> Option<Config>) -> io::Result<Option<Grounds>> {
        let Lead { cluster, survey, seat } = lead;
        let Grounds { mut sources, commands } = grounds;
        sources.huge_pages.restores(survey.definitions.len());
        let config = self.config.borrow().clone();
        let store = survey.store(self.options.clone());
        // Files that broke meanwhile end no node: the others would come to lead next, and find the same, as the files are theirs.
        let files = self.renewal.doorkeeper_files_again(&config);
        let (mut hub, renewers) = new_hub(&config, &files, self.clock, &self.waker, store)?;
        drop(files);
        // What the loop before it said of this node's resources is over.
        seat.run_low(Low::default());
        let workers = Threads::of_member(self.waker.clone(), seat);
        let free_limit = config.limits.disk_free_limit_bytes;
        let founds = Cell::new(false);
        let founding = || {
            founds.set(true);
            first_of_all(&config)
        };
        let journal = Journal::lead(self.disk.clone(), &self.options, survey, &mut hub, workers, free_limit, founding)?;
        founding_definitions::import(&config, &mut hub, founds.get());
        cluster_id::seed(hub.broker_mut(), cluster);
        let vestibule = Vestibule::open(Vec::new(), self.renewal.terms(&config), self.clock, self.waker.clone())?;
        self.reception.open(Some(vestibule.entrance().clone()));
        sources.vestibule = Some(vestibule);
        journal.workers().seat().into_iter().for_each(Seat::serve);
        let server = Server::new(sources, hub, journal, Desk::new(commands), &config);
        let outcome = server.run(|| Some(self.renewal.reloaded(&reload()?, &renewers)));
        self.view.leads.store(false, Ordering::Release);
        self.reception.open(None);
        outcome
    }

    /// Gives the lead away, and lets the writer finish.
    fn stop(self) -> io::Result<()> {
        let _ = self.member.tell(Input::Stop);
        loop {
            match self.changes.recv_timeout(STOP) {
                Ok(Change::Stopped) | Err(_) => return Ok(()),
                // The next start finds that, or a scrub does.
                Ok(Change::Failed(error)) if error.damage().is_some() => return Ok(()),
                Ok(Change::Failed(error)) => return Err(io::Error::other(error)),
                Ok(Change::Lead(_) | Change::Follow { .. }) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_who_are_passed_on_leave_descriptors_to_the_log() {
        let limits = Limits::default();
        assert_eq!(passages_max(65_536, &limits), (65_536 - 512 - 2048) / 2);
        assert_eq!(passages_max(1 << 30, &limits), limits.connections_max);
        for descriptors in [64, 1024, 2560, 4096] {
            assert!(2 * passages_max(descriptors, &limits) as u64 <= descriptors / 2, "{descriptors}");
        }
    }
}
