//! The glue between the world and the log: the server's own journal on a simulated disk, its workers driven step by step,
//! and the ends and starts of a broker.

use crate::command::{Command, Consume, QueueDeclare};
use crate::decree::{UserWords, VHOSTS};
use crate::model::{
    Drained, Found, binding_words, exchange_words, permission_words, queue_words, topic_words, user_words, vhost_words,
};
use crate::random::Random;
use crate::sim_disk::{Fault, SimDisk};
use crate::wire::{Event, Reply, parse_events};
use crate::workers::Stepped;
use leveret::access::{PasswordHash, Tags};
use leveret::broker::policy::{Policy, PolicyKind};
use leveret::broker::snapshot::{Page, PageStart};
use leveret::broker::store::VhostId;
use leveret::broker::{Broker, Founding, Permissions, VhostAttributes};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::server::{DiskRoom, Failure, Hub, HubSettings, Journal, OpenedLog};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{FolderIds, LogOptions, LogStore, PagerOptions, RecoveryMode, StorageError, SyncPolicy};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

const IDS: FolderIds = FolderIds::from_chance([3; FolderIds::CHANCE_BYTES]);
/// Calls of the disk within which a fault comes, if one comes.
const FAULT_WITHIN_CALLS: usize = 250;
/// Frames up to this size are agreed on with a broker that is only looked at.
const LOOKING_FRAME_MAX: u32 = 131_072;

/// How a broker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All is written, a checkpoint, the last word.
    Stopped,
    /// The program is gone; the system lives and knows what was written.
    Killed,
    /// What was not synced may be lost.
    PowerCut,
}

impl End {
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "orderly stop",
            Self::Killed => "kill",
            Self::PowerCut => "power cut",
        }
    }
}

/// Room on the disk below which publishers are not read.
const DISK_FREE_LIMIT_BYTES: u64 = 1 << 20;

/// The log of a running broker.
pub struct Durable {
    disk: SimDisk,
    /// None behind a stop.
    journal: Option<Journal<SimDisk, Stepped>>,
}

pub fn options(random: &mut Random, loads_late: bool) -> LogOptions {
    let segment_bytes = *random.pick(&[2048, 8192, 65_536]);
    LogOptions {
        sync_policy: *random.pick(
            &[SyncPolicy::Always; 8].into_iter().chain([SyncPolicy::Interval, SyncPolicy::Os]).collect::<Vec<_>>(),
        ),
        sync_interval_ms: 200,
        segment_bytes,
        batch_max_bytes: *random.pick(&[300, 2000, 20_000]),
        checkpoint_interval_bytes: *random.pick(&[2, 4, 16]) * segment_bytes,
        free_segments_max: 2,
        zero_ahead_bytes: 1000,
        small_sync_bytes: 400,
        load_before_ready_bytes: if loads_late { *random.pick(&[u64::MAX, 0, 3000]) } else { u64::MAX },
    }
}

fn pager_options() -> PagerOptions {
    PagerOptions { file_bytes: 5000, open_files_max: 2, reserve_bytes: 0 }
}

/// Who is there in a folder that nobody used.
fn founding() -> Founding {
    let UserWords { name: user, .. } = UserWords::guest();
    let password = UserWords::guest().hash();
    Founding { vhost: VHOSTS[0].to_owned(), user, password, tags: Tags::administrator() }
}

/// Starts a broker on what a disk holds; whether the one before it stopped in order.
fn start(
    disk: &SimDisk,
    options: &LogOptions,
    settings: HubSettings,
    now_ms: u64,
) -> io::Result<(Hub<LogStore>, Durable, bool)> {
    for folder in [Folder::Root, Folder::Log, Folder::Checkpoint] {
        disk.sync_folder(folder)?;
    }
    let log = OpenedLog::read(disk.clone(), options.clone(), RecoveryMode::Strict, IDS).map_err(io::Error::other)?;
    let clean = log.recovered.clean;
    let mut hub = Hub::new(settings, log.store(), now_ms);
    let workers = Stepped::new(disk.clone());
    let journal = log.start(&mut hub, workers, pager_options(), DISK_FREE_LIMIT_BYTES, || Ok(founding()))?;
    Ok((hub, Durable { disk: disk.clone(), journal: Some(journal) }, clean))
}

impl Durable {
    /// Starts a broker.
    pub fn start(
        disk: &SimDisk,
        options: &LogOptions,
        settings: HubSettings,
        now_ms: u64,
    ) -> io::Result<(Hub<LogStore>, Self)> {
        start(disk, options, settings, now_ms).map(|(hub, durable, _)| (hub, durable))
    }

    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn journal(&mut self) -> &mut Journal<SimDisk, Stepped> {
        self.journal.as_mut().expect("a broker that stopped is asked for nothing more")
    }

    /// What the loop does in each of its turns, behind reading its clients and when everything is said.
    pub fn hand_over(&mut self, hub: &mut Hub<LogStore>, now_ms: u64) {
        self.journal().check_disk(hub, now_ms);
        self.journal().hand_over(hub, now_ms);
    }

    pub fn hand_over_pages(&mut self, hub: &mut Hub<LogStore>) {
        self.journal().hand_over_pages(hub);
    }

    /// The beginning of a turn.
    ///
    /// # Errors
    /// The program ends.
    pub fn take_reports(&mut self, hub: &mut Hub<LogStore>) -> Result<(), Failure> {
        self.journal().take_reports(hub)
    }

    /// One of the workers goes on, if any has something to do.
    pub fn step(&mut self, random: &mut Random) -> bool {
        self.journal().workers_mut().step(random)
    }

    /// Whether there is anything for the loop to wait for.
    pub fn owes_something(&mut self) -> bool {
        self.journal().workers_mut().owe_something()
    }

    /// Whether messages are on their way between memory and the disk.
    pub fn pages_are_away(&mut self) -> bool {
        self.journal().workers_mut().pages_are_away()
    }

    /// What its workers have to do, in words.
    pub fn describe(&mut self) -> String {
        self.journal().workers_mut().describe()
    }

    /// Lets the disk be as good as full, or not, and the broker look.
    pub fn set_low(&mut self, hub: &mut Hub<LogStore>, is_low: bool, now_ms: u64) {
        // What is low for publishers is enough for pages.
        self.disk.claim_free_bytes(if is_low { DISK_FREE_LIMIT_BYTES - 1 } else { u64::MAX });
        self.journal().set_disk_free_limit(DISK_FREE_LIMIT_BYTES);
        self.journal().check_disk(hub, now_ms);
    }

    pub fn disk_room(&mut self) -> DiskRoom {
        self.journal().disk_room()
    }

    /// Has the loop look at the disk as it does every second: pages for which there was no room are tried again.
    ///
    /// # Errors
    /// There is no power. A broker that writes nothing would not notice.
    pub fn look_at_disk(&mut self, hub: &mut Hub<LogStore>, now_ms: u64) -> Result<(), Failure> {
        if self.disk.has_crashed() {
            return Err(Failure::Log(StorageError::Poisoned));
        }
        self.journal().set_disk_free_limit(DISK_FREE_LIMIT_BYTES);
        self.journal().check_disk(hub, now_ms);
        Ok(())
    }

    /// An orderly end: everything, a checkpoint, and the word that there is no more.
    pub fn stop(&mut self, hub: &mut Hub<LogStore>) -> Result<(), StorageError> {
        self.journal.take().expect("it stops once").finish(hub)
    }
}

/// Has something go wrong on a disk soon, or not.
pub fn plan_fault(disk: &SimDisk, options: &LogOptions, random: &mut Random) {
    if random.percent(50) {
        let call = disk.calls() + 1 + random.below(FAULT_WITHIN_CALLS) as u64;
        let faults = [Fault::Crash, Fault::Crash, Fault::Full, Fault::Broken];
        // A relaxed log promises nothing against a power cut.
        let choices = if options.sync_policy == SyncPolicy::Always { &faults[..] } else { &faults[2..3] };
        disk.fail_at(call, *random.pick(choices));
    }
}

fn all<T>(mut page: impl FnMut(PageStart) -> Page<T>) -> Vec<T> {
    let (mut items, mut from) = (Vec::new(), Some(PageStart::default()));
    while let Some(start) = from {
        let Page { items: some, next } = page(start);
        items.extend(some);
        from = next;
    }
    items
}

pub fn entries(table: &FieldTable) -> Vec<Vec<u8>> {
    let entry = |entry: &(_, _)| {
        let mut bytes = Vec::new();
        FieldTable(vec![entry.clone()]).encode_entries(&mut bytes);
        bytes
    };
    table.0.iter().map(entry).collect()
}

/// What a start would find, at the beginning of time, when no message is over. The disk is not changed.
pub fn look(disk: &SimDisk, options: &LogOptions, settings: HubSettings) -> Result<(Found, bool), String> {
    let options = LogOptions { load_before_ready_bytes: u64::MAX, ..options.clone() };
    let (mut hub, _durable, clean) = start(&disk.after_stop(), &options, settings, 0)
        .map_err(|error| format!("the broker doesn't start: {error}"))?;
    let broker = hub.broker();
    let exchanges = all(|from| broker.snapshot_exchanges(from)).into_iter();
    let delays = exchanges.as_slice().iter().filter(|exchange| exchange.messages_delayed.is_some());
    let delays: Vec<_> = delays.map(|exchange| (exchange.vhost.to_string(), exchange.name.clone())).collect();
    let exchanges = exchanges.filter(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with(b"amq."));
    let exchanges = exchanges.map(|it| {
        exchange_words(&it.vhost, &it.name.to_string(), it.kind.name(), it.auto_delete, &entries(&it.arguments))
    });
    let queues = all(|from| broker.snapshot_queues(from));
    let bindings = all(|from| broker.snapshot_bindings(from)).into_iter().filter(|it| !it.source.is_empty());
    let bindings = bindings.map(|it| {
        let destination = format!("{} {}", it.destination_type, it.destination);
        let (source, key) = (it.source.to_string(), it.routing_key.to_string());
        binding_words(&it.vhost, &source, &destination, &key, &entries(&it.arguments))
    });
    let queue_words =
        queues.iter().map(|it| queue_words(&it.vhost, &it.name.to_string(), it.auto_delete, &entries(&it.arguments)));
    let definitions =
        exchanges.chain(queue_words).chain(bindings).chain(tenants(broker)).chain(policies(broker)).collect();
    let mut lengths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for queue in &queues {
        let of_vhost = lengths.entry(queue.vhost.to_string()).or_default();
        let gives = queue.arguments.get(b"x-single-active-consumer").is_none() || !is_quorum(&queue.arguments);
        of_vhost.push((queue.name.to_string(), queue.figures.messages_ready, gives));
    }
    let mut drained = Drained::new();
    for (vhost, lengths) in lengths {
        open_to_whoever_looks(hub.broker_mut(), &vhost);
        drain(&mut hub, &vhost, &lengths, &mut drained)?;
    }
    let delayed = delays.iter().flat_map(|(vhost, exchange)| delayed(&mut hub, vhost, exchange)).collect();
    Ok((Found { definitions, queues: drained, delayed }, clean))
}

fn is_quorum(arguments: &FieldTable) -> bool {
    matches!(arguments.get(b"x-queue-type"), Some(FieldValue::LongString(kind)) if **kind == *b"quorum")
}

/// Virtual hosts, users and permissions, as words.
fn tenants(broker: &Broker<LogStore>) -> Vec<String> {
    let vhosts = all(|from| broker.snapshot_vhosts(from)).into_iter().map(|it| vhost_words(&it.name, &it.attributes));
    let users = all(|from| broker.snapshot_users(from)).into_iter();
    let users = users.map(|it| {
        let tags: Vec<&str> = it.tags.iter().collect();
        user_words(&it.name, &it.password.to_string(), &tags.join(", "), &it.limits)
    });
    let permissions = all(|from| broker.snapshot_permissions(from)).into_iter();
    let permissions =
        permissions.map(|it| permission_words(&it.user, &it.vhost, &[&it.configure, &it.write, &it.read]));
    let topics = all(|from| broker.snapshot_topic_permissions(from)).into_iter();
    let topics = topics.map(|it| topic_words(&it.user, &it.vhost, &it.exchange.to_string(), &[&it.write, &it.read]));
    vhosts.chain(users).chain(permissions).chain(topics).collect()
}

/// Policies and operator policies, as words.
fn policies(broker: &Broker<LogStore>) -> impl Iterator<Item = String> + '_ {
    [PolicyKind::User, PolicyKind::Operator].into_iter().flat_map(move |kind| {
        all(move |from| broker.snapshot_policies(kind, from)).into_iter().map(move |it| {
            let Policy { name, pattern, priority, definition, .. } = &*it.policy;
            policy_words(kind, &name.to_string(), *priority, pattern.as_str(), &entries(definition))
        })
    })
}

pub fn policy_words(kind: PolicyKind, name: &str, priority: i64, pattern: &str, definition: &[Vec<u8>]) -> String {
    let entries = definition.iter().map(|entry| entry.escape_ascii().to_string());
    format!("{kind:?} policy {name} of {pattern}, {priority}: {}", entries.collect::<Vec<_>>().join(", "))
}

/// The user who looks what is there.
const LOOKER: &str = "whoever looks";

/// Lets that one in, whatever limits there are.
fn open_to_whoever_looks(broker: &mut Broker<LogStore>, vhost: &str) {
    broker.put_vhost(vhost, VhostAttributes::default());
    broker.put_user(LOOKER, PasswordHash::salted_sha256(LOOKER.as_bytes(), [0; 4]), Tags::default());
    let key = broker.find_user(LOOKER.as_bytes()).expect("it was made");
    let user = broker.user_of(key).expect("it was found");
    let vhost: VhostId = broker.vhost_named(vhost.as_bytes()).expect("it has queues");
    broker.set_permissions(user, vhost, Permissions::all());
}

/// Messages that wait for their time, by that: when that is, and how large they are.
fn delayed(hub: &mut Hub<LogStore>, vhost: &str, exchange: &ShortString) -> Vec<(u64, usize)> {
    open_to_whoever_looks(hub.broker_mut(), vhost);
    let broker = hub.broker();
    let user = broker.find_user(LOOKER.as_bytes()).and_then(|key| broker.user_of(key)).expect("it was made");
    let vhost = broker.vhost_named(vhost.as_bytes()).expect("it has an exchange");
    let listed = hub.directly(user, vhost, |direct| direct.broker.list_delayed(direct.caller, exchange, 0, usize::MAX));
    let messages = listed.expect("whoever looks may").messages;
    messages.into_iter().map(|message| (message.id.due_unix_ms, message.body_size)).collect()
}

/// Gets all messages out of all queues of a virtual host, over a connection: those that say how many they have, and whether
/// `basic.get` is for them.
fn drain(
    hub: &mut Hub<LogStore>,
    vhost: &str,
    lengths: &[(String, usize, bool)],
    drained: &mut Drained,
) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let connection = hub.connect(address, address);
    let mut ask = |channel: u16, commands: &[Command]| {
        let frames = commands.iter().flat_map(|command| command.frames(channel, LOOKING_FRAME_MAX as usize));
        hub.receive(connection, &frames.flatten().collect::<Vec<u8>>());
        let answer = hub.outboxes().get(connection).peek(0);
        hub.sent(connection, answer.len());
        parse_events(&answer, LOOKING_FRAME_MAX as usize)
    };
    ask(0, &[Command::ProtocolHeader])?;
    let (user, secret) = (LOOKER.to_owned(), LOOKER.to_owned());
    ask(0, &[Command::StartOk { understands_cancel: true, user, secret }])?;
    let open = Command::Open { vhost: vhost.to_owned() };
    ask(0, &[Command::TuneOk { frame_max: LOOKING_FRAME_MAX, heartbeat_s: 0 }, open])?;
    ask(1, &[Command::ChannelOpen])?;
    for (queue, length, gives) in lengths {
        let mut messages = Vec::new();
        if !gives {
            let mut heard = ask(1, &[Command::Consume(Consume::of(queue.clone(), queue.clone(), true))])?;
            // Whoever is asked how many there are gives them away first, and does nothing else.
            heard.extend(ask(1, &[Command::QueueDeclare(QueueDeclare::passive(queue.clone()))])?);
            for heard in heard {
                if let Event::Deliver { redelivered, content, .. } = heard.event {
                    messages.push((content, redelivered));
                }
            }
            if messages.len() != *length {
                return Err(format!("queue {queue} has {length} messages and gives {}", messages.len()));
            }
            drained.insert((vhost.to_owned(), queue.clone()), messages);
            continue;
        }
        for _ in 0..*length {
            let heard = ask(1, &[Command::Get { queue: queue.clone(), no_ack: true }])?;
            let [Event::Reply(Reply::GetOk { redelivered, content, .. })] =
                &heard.into_iter().map(|heard| heard.event).collect::<Vec<_>>()[..]
            else {
                return Err(format!("queue {queue} has {length} messages and does not give them"));
            };
            messages.push((content.clone(), *redelivered));
        }
        drained.insert((vhost.to_owned(), queue.clone()), messages);
    }
    Ok(())
}
