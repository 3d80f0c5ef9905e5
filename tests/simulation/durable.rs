//! The glue between the world and the log: a writer on a simulated disk, driven step by step, and the ends and starts of
//! a broker. Nothing else here knows the storage code.

use crate::command::Command;
use crate::model::{Found, binding_words, exchange_words, queue_words};
use crate::random::Random;
use crate::sim_disk::{Fault, SimDisk};
use crate::store::SimStore;
use crate::wire::{Content, Event, Reply, parse_events};
use leveret::broker::snapshot::{Page, PageStart};
use leveret::protocol::FieldTable;
use leveret::server::{Hub, HubSettings, Loading};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{
    BatchDone, FolderIds, LogOptions, LogWriter, Recovered, RecoveryMode, SealedBatch, StorageError, SyncPolicy,
    Written, recover,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

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

/// How far the writer is with a batch.
enum Phase {
    Idle,
    Given(SealedBatch),
    Written(Result<Written, StorageError>),
}

/// What a step led to.
#[derive(PartialEq, Eq, Debug)]
pub enum Stepped {
    /// There was nothing to do.
    Nothing,
    Something,
    /// The loop took the word that a batch is done.
    Progressed,
}

/// The log of a running broker.
pub struct Durable {
    disk: SimDisk,
    writer: LogWriter<SimDisk>,
    phase: Phase,
    recycled: Option<Vec<u8>>,
}

pub fn options(random: &mut Random) -> LogOptions {
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
    }
}

/// A broker with what a disk holds, and its log.
fn begin(disk: &SimDisk, options: &LogOptions, settings: HubSettings, now_ms: u64) -> Result<Begun, StorageError> {
    for folder in [Folder::Root, Folder::Log, Folder::Checkpoint] {
        disk.sync_folder(folder).map_err(StorageError::io("sync a folder"))?;
    }
    let recovered = recover(disk, RecoveryMode::Strict, IDS)?;
    let mut hub = Hub::new(settings, SimStore::new(recovered.store(options.clone())), now_ms);
    let Recovered { definitions, queues, max_queue_id, clean, loader, resume, .. } = recovered;
    let loading = Loading::begin(&mut hub, definitions, &queues, max_queue_id).map_err(StorageError::io("restore"))?;
    if let Some(loader) = loader {
        let mut loader = loader.on_clock(hub.broker().unix_start_ms());
        while let Some(loaded) = loader.next_page()? {
            loading.take(&mut hub, loaded);
        }
    }
    assert_eq!(loading.end(&mut hub), 0, "messages that the log promised and did not have");
    Ok(Begun { hub, resume, clean })
}

struct Begun {
    hub: Hub<SimStore>,
    resume: leveret::storage::recovery::Resume,
    clean: bool,
}

impl Durable {
    /// Starts a broker.
    pub fn start(
        disk: &SimDisk,
        options: &LogOptions,
        settings: HubSettings,
        now_ms: u64,
    ) -> Result<(Hub<SimStore>, Self), StorageError> {
        let Begun { hub, resume, .. } = begin(disk, options, settings, now_ms)?;
        let writer = LogWriter::start(disk.clone(), options.clone(), resume)?;
        Ok((hub, Self { disk: disk.clone(), writer, phase: Phase::Idle, recycled: None }))
    }

    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The next thing that the writer's thread or the loop does for the log.
    ///
    /// # Errors
    /// What the loop hears from the writer: the program ends.
    pub fn step(&mut self, hub: &mut Hub<SimStore>, now_ms: u64) -> Result<Stepped, StorageError> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {
                let Some(batch) = hub.broker_mut().store_mut().log.take_batch(now_ms) else {
                    return Ok(Stepped::Nothing);
                };
                self.phase = Phase::Given(batch);
                Ok(Stepped::Something)
            }
            Phase::Given(batch) => {
                self.recycled = self.writer.take_recycled();
                self.phase = Phase::Written(self.writer.write(batch));
                Ok(Stepped::Something)
            }
            Phase::Written(result) => {
                let done = BatchDone { result, recycled: self.recycled.take() };
                hub.broker_mut().store_mut().log.batch_done(done)?;
                hub.log_progressed();
                Ok(Stepped::Progressed)
            }
        }
    }

    /// One step of what the writer does when it has nothing to write.
    pub fn maintain(&mut self) -> Result<bool, StorageError> {
        self.writer.absorb();
        match self.writer.maintain().and_then(|more| Ok(self.do_chore()? || more)) {
            // The loop hears of that with the batch that failed.
            Err(StorageError::Poisoned) => Ok(false),
            result => result,
        }
    }

    /// What the writer leaves to another thread, one thing at a time.
    fn do_chore(&mut self) -> Result<bool, StorageError> {
        let Some(chore) = self.writer.take_chore() else { return Ok(false) };
        self.writer.chore_done(chore.run(&self.disk))?;
        Ok(true)
    }

    /// An orderly end: everything, a checkpoint, and the word that there is no more.
    pub fn stop(&mut self, hub: &mut Hub<SimStore>) -> Result<(), StorageError> {
        while self.step(hub, u64::MAX)? != Stepped::Nothing {}
        while self.do_chore()? {}
        self.writer.checkpoint()?;
        while self.do_chore()? {}
        let delivered: Vec<_> = hub.broker().delivered_marks().collect();
        self.phase = Phase::Given(hub.broker_mut().store_mut().log.take_final_batch(delivered));
        while self.step(hub, u64::MAX)? != Stepped::Nothing {}
        Ok(())
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

fn entries(table: &FieldTable) -> Vec<Vec<u8>> {
    let entry = |entry: &(_, _)| {
        let mut bytes = Vec::new();
        FieldTable(vec![entry.clone()]).encode_entries(&mut bytes);
        bytes
    };
    table.0.iter().map(entry).collect()
}

/// What a start would find, at the beginning of time, when no message is over. The disk is not changed.
pub fn look(disk: &SimDisk, options: &LogOptions, settings: HubSettings) -> Result<(Found, bool), String> {
    let disk = disk.after_stop();
    let begun = begin(&disk, options, settings, 0);
    let Begun { mut hub, clean, .. } = begun.map_err(|error| format!("the broker doesn't start: {error}"))?;
    let broker = hub.broker();
    let exchanges = all(|from| broker.snapshot_exchanges(from)).into_iter();
    let exchanges = exchanges.filter(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with(b"amq."));
    let exchanges = exchanges
        .map(|it| exchange_words(&it.name.to_string(), it.kind.name(), it.auto_delete, &entries(&it.arguments)));
    let queues = all(|from| broker.snapshot_queues(from));
    let bindings = all(|from| broker.snapshot_bindings(from)).into_iter().filter(|it| !it.source.is_empty());
    let bindings = bindings.map(|it| {
        let destination = format!("{} {}", it.destination_type, it.destination);
        binding_words(&it.source.to_string(), &destination, &it.routing_key.to_string(), &entries(&it.arguments))
    });
    let queue_words =
        queues.iter().map(|it| queue_words(&it.name.to_string(), it.auto_delete, &entries(&it.arguments)));
    let definitions = exchanges.chain(queue_words).chain(bindings).collect();
    let lengths: Vec<_> = queues.iter().map(|queue| (queue.name.to_string(), queue.figures.messages_ready)).collect();
    let queues = drain(&mut hub, &lengths)?;
    Ok((Found { definitions, queues }, clean))
}

type Drained = BTreeMap<String, Vec<(Rc<Content>, bool)>>;

/// Gets all messages out of all queues, over a connection.
fn drain(hub: &mut Hub<SimStore>, lengths: &[(String, usize)]) -> Result<Drained, String> {
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
    ask(0, &[Command::StartOk { understands_cancel: true }])?;
    ask(0, &[Command::TuneOk { frame_max: LOOKING_FRAME_MAX, heartbeat_s: 0 }, Command::Open])?;
    ask(1, &[Command::ChannelOpen])?;
    let mut drained = Drained::new();
    for (queue, length) in lengths {
        let mut messages = Vec::new();
        for _ in 0..*length {
            let heard = ask(1, &[Command::Get { queue: queue.clone(), no_ack: true }])?;
            let [Event::Reply(Reply::GetOk { redelivered, content, .. })] =
                &heard.into_iter().map(|heard| heard.event).collect::<Vec<_>>()[..]
            else {
                return Err(format!("queue {queue} has {length} messages and does not give them"));
            };
            messages.push((content.clone(), *redelivered));
        }
        drained.insert(queue.clone(), messages);
    }
    Ok(drained)
}
