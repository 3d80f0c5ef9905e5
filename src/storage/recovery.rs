//! From a data folder to what was durable in it, but for the messages, which the [`Loader`] brings. Only reads;
//! [`LogWriter::start`](super::LogWriter::start) is what changes the folder afterwards.
//!
//! ```text
//! 1 META            whose data, which format
//! 2 checkpoint      the newest whole one, or the one before it, or none: then the log from its first record on
//! 3 replay          batch after batch; the state afterwards says which messages are alive, and where
//! 4 look            whether every segment that holds live messages is there; salvaging, whether all of them are whole
//! ```
//! What there is where replay finds no further whole batch, `replay` says.

use super::checkpoint::{Checkpoint, Needed, Unapplied, checkpoint_number_of};
use super::disk::{Disk, DiskFile, Folder, is_unreadable, read_file};
use super::error::StorageError;
use super::loader::{Loader, Unread};
use super::log_store::LogStore;
use super::membership::Membership;
use super::meta::Meta;
use super::replay::Replay;
use super::replica::{Held, ReplicaReplay, aside, installation_is_begun};
use super::scan::read_segment_header;
use super::segment::{SegmentNumber, file_name, number_of};
use super::sequences::Sequences;
use super::state::{QueueState, State};
use super::tail::Tail;
use super::{ClusterId, FolderIds, LogOptions};
use crate::broker::store::{Definition, DurableQueueId, LogPosition, Returns};
use std::collections::BTreeMap;

/// Nobody knows which start opened the folder last: it may have delivered without a word in the log.
const OPENED_LAST_UNKNOWN: u64 = u64::MAX;

/// What to do about damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryMode {
    /// Refuse, and name it.
    Strict,
    /// Keep what is whole. Messages whose removal was lost come back.
    Salvage,
}

/// All that was durable, but for messages.
pub struct Recovered<D: Disk> {
    /// Each can be declared when those before it are: exchanges, queues, bindings.
    pub definitions: Vec<Definition>,
    /// Every durable queue, by number.
    pub queues: Vec<RecoveredQueue>,
    /// No queue ever had a higher number.
    pub max_queue_id: u64,
    /// The broker stopped in order: nothing was being delivered.
    pub clean: bool,
    /// Where the log goes on.
    pub last_position: LogPosition,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
    /// For [`LogWriter::start`](super::LogWriter::start).
    pub resume: Resume,
    /// Brings the messages; `None` when there are none. It can go on while the writer writes.
    pub loader: Option<Loader<D>>,
}

impl<D: Disk> Recovered<D> {
    /// Whose data it is.
    pub fn cluster(&self) -> ClusterId {
        self.resume.meta.ids.cluster
    }

    /// The loop's half of the log that goes on here.
    pub fn store(&self, options: LogOptions) -> LogStore {
        LogStore::new(options, self.last_position)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredQueue {
    pub id: DurableQueueId,
    /// One more than the highest sequence that was ever logged.
    pub next_sequence: u64,
    /// How many are alive.
    pub messages: u64,
    /// Messages below this sequence may have been delivered before.
    pub delivered_below: u64,
    /// How often messages came back, by sequence.
    pub returns: BTreeMap<u64, Returns>,
}

/// What the writer goes on from.
pub struct Resume {
    /// Of the generation to come.
    pub(super) meta: Meta,
    pub(super) state: State,
    /// Of what was read.
    pub(super) sequences: Sequences,
    pub(super) membership: Membership,
    /// See [`LogWriter`](super::LogWriter).
    pub(super) is_replicated: bool,
    pub(super) unapplied: Option<Unapplied>,
    pub(super) held: Held,
    pub(super) next_number: SegmentNumber,
    /// All segment files and their sizes.
    pub(super) segment_files: BTreeMap<SegmentNumber, u64>,
    pub(super) checkpoints: Vec<Needed>,
    pub(super) checkpoint_number: u64,
    /// Segments with damage, whose live messages must be moved.
    pub(super) damaged: Vec<SegmentNumber>,
    /// What must be written again before anything relies on it.
    pub(super) tail: Option<Tail>,
    /// What the loader reads while the writer writes.
    pub(super) unread: Unread,
}

/// A data folder before its log is read.
pub(super) struct Looked {
    /// Of the generation to come.
    pub meta: Meta,
    /// The generation of the broker that opened the folder last, 0 when none did.
    pub opened_last: u64,
    pub checkpoints: Checkpoints,
    segment_files: BTreeMap<SegmentNumber, u64>,
    highest_number: Option<SegmentNumber>,
    warnings: Vec<String>,
}

/// What files are called that are to come, and those that are there.
pub(super) struct Files {
    meta: Meta,
    next_number: SegmentNumber,
    segment_files: BTreeMap<SegmentNumber, u64>,
    checkpoints: Vec<Needed>,
    checkpoint_number: u64,
}

/// Looks at everything but segments' batches. `new_ids` are for an empty folder.
pub(super) fn look(disk: &impl Disk, mode: RecoveryMode, new_ids: FolderIds) -> Result<Looked, StorageError> {
    let mut warnings = Vec::new();
    let (segment_files, highest_number) = segment_files(disk, mode, &mut warnings)?;
    let (meta, opened_last) = match read_meta(disk, highest_number.is_some()) {
        Ok(Some(meta)) => (Meta { generation: meta.generation + 1, ..meta }, meta.generation),
        Ok(None) => (Meta { ids: new_ids, generation: 1 }, 0),
        Err(StorageError::Corrupt { file, reason, .. }) if mode == RecoveryMode::Salvage => {
            warnings.push(format!("{file} is damaged: {reason}"));
            let known = meta_of_segments(disk, segment_files.keys().copied(), new_ids)?;
            (known.unwrap_or(Meta { ids: new_ids, generation: 1 }), OPENED_LAST_UNKNOWN)
        }
        Err(StorageError::NotOurs { file, reason }) if mode == RecoveryMode::Salvage => {
            // Nothing, or something else, in its place is damage only where there are segments of ours.
            let Some(known) = meta_of_segments(disk, segment_files.keys().copied(), new_ids)? else {
                return Err(StorageError::NotOurs { file, reason });
            };
            warnings.push(format!("{file} is lost, and is made anew from what the log knows"));
            (known, OPENED_LAST_UNKNOWN)
        }
        Err(error) => return Err(error),
    };
    let checkpoints = read_checkpoints(disk, meta.ids.cluster, &mut warnings)?;
    Ok(Looked { meta, opened_last, checkpoints, segment_files, highest_number, warnings })
}

/// Replays the log of a folder, as one that several nodes agree on if `replica` is there.
pub(super) fn replay<D: Disk>(
    disk: &D,
    mode: RecoveryMode,
    looked: Looked,
    replica: Option<ReplicaReplay>,
) -> Result<(Files, Replay<'_, D>), StorageError> {
    let Looked { meta, opened_last, checkpoints, segment_files, highest_number, warnings } = looked;
    // A broker that wrote nothing leaves a checkpoint and no segment, and what it removed may have had higher numbers. A
    // replay from that checkpoint must come to what is written now.
    let after_checkpoint = checkpoints.newest.as_ref().map_or(1, |checkpoint| checkpoint.start.segment);
    let next_number = highest_number.map_or(1, |highest| highest + 1).max(after_checkpoint);
    let checkpoint_number = checkpoints.highest_number + 1;
    let numbers = segment_files.keys().copied().collect();
    let mut replay = Replay::new(disk, mode, numbers, opened_last, warnings);
    replay.replica = replica;
    let kept = checkpoints.newest.iter().map(Needed::of).collect();
    replay.run(checkpoints.newest, checkpoints.any_damaged)?;
    Ok((Files { meta, next_number, segment_files, checkpoints: kept, checkpoint_number }, replay))
}

/// Reads a data folder. `new_ids` are for an empty one.
///
/// # Errors
/// The disk's, another program's or another format's files, or, unless salvaging, damage.
pub fn recover<D: Disk>(disk: &D, mode: RecoveryMode, new_ids: FolderIds) -> Result<Recovered<D>, StorageError> {
    if installation_is_begun(disk)? || aside::is_begun(disk)? {
        return Err(StorageError::OfCluster);
    }
    let looked = look(disk, mode, new_ids)?;
    if !looked.meta.ids.cluster.is_any() {
        return Err(StorageError::OfCluster);
    }
    let (files, mut replay) = replay(disk, mode, looked, None)?;
    if mode == RecoveryMode::Salvage {
        let mended = replay.state.mend();
        replay.warnings.extend(mended);
        let verified = replay.loader().verify()?;
        replay.forget_lost(verified);
    }
    let loader = replay.loader();
    loader.look()?;
    let loader = loader.values_first(&replay.state);
    let clean = replay.stopped_in_order() && replay.damaged.is_empty();
    let delivered = std::mem::take(&mut replay.delivered);
    let state = &replay.state;
    let (definitions, queues) = what_there_is(state, |id, queue| match clean {
        true => delivered.get(&id).copied().unwrap_or(0),
        false => queue.next_sequence,
    });
    Ok(Recovered {
        definitions,
        queues,
        max_queue_id: state.max_queue_id,
        clean,
        last_position: LogPosition(replay.sequences.position),
        warnings: std::mem::take(&mut replay.warnings),
        resume: files.resume(replay, loader.unread()),
        loader: Some(loader).filter(|loader| !loader.is_done()),
    })
}

impl Files {
    /// What the writer goes on from.
    pub fn resume<D: Disk>(self, replay: Replay<'_, D>, unread: Unread) -> Resume {
        let Replay { state, sequences, membership, damaged, tail, .. } = replay;
        let Self { meta, next_number, segment_files, checkpoints, checkpoint_number } = self;
        Resume {
            meta,
            sequences,
            membership,
            is_replicated: false,
            unapplied: None,
            held: Held::default(),
            next_number: next_number.max(state.segments.keys().next_back().map_or(1, |highest| highest + 1)),
            state,
            segment_files,
            checkpoints,
            checkpoint_number,
            // What is whole in a damaged one is appended again elsewhere.
            tail: tail.filter(|tail| !damaged.contains(&tail.segment())),
            damaged,
            unread,
        }
    }
}

/// What there is, each in its order, and its queues by number; below which sequence messages may have been delivered is for
/// the caller to say.
pub(super) fn what_there_is(
    state: &State,
    delivered_below: impl Fn(DurableQueueId, &QueueState) -> u64,
) -> (Vec<Definition>, Vec<RecoveredQueue>) {
    let queues = state.queues_in_order();
    let recovered = |&(id, queue): &(DurableQueueId, &QueueState)| RecoveredQueue {
        id,
        next_sequence: queue.next_sequence,
        messages: queue.live.len(),
        delivered_below: delivered_below(id, queue),
        returns: queue.returns.clone(),
    };
    (state.definitions(&queues).collect(), queues.iter().map(recovered).collect())
}

/// `None` for an empty folder.
fn read_meta(disk: &impl Disk, has_log: bool) -> Result<Option<Meta>, StorageError> {
    let meta = Meta::read(disk)?;
    if meta.is_none() && has_log {
        let reason =
            "it is missing although there is a log. Restore it, or start with --salvage to go by the log alone".into();
        return Err(StorageError::NotOurs { file: "META".into(), reason });
    }
    Ok(meta)
}

/// META for the start to come, as far as the segments know it; `None` when none has a whole header. Who this member was,
/// they do not know: it is a new one.
fn meta_of_segments(
    disk: &impl Disk,
    numbers: impl Iterator<Item = SegmentNumber>,
    new_ids: FolderIds,
) -> Result<Option<Meta>, StorageError> {
    let mut newest: Option<Meta> = None;
    for number in numbers {
        if let Ok(header) = read_segment_header(disk, number)?
            && newest.is_none_or(|meta| header.generation >= meta.generation)
        {
            let ids = FolderIds { cluster: header.cluster, ..new_ids };
            newest = Some(Meta { ids, generation: header.generation + 1 });
        }
    }
    Ok(newest)
}

/// The segments with their sizes, and the highest number of a file. Salvaging, what cannot even be opened is left alone.
fn segment_files(
    disk: &impl Disk,
    mode: RecoveryMode,
    warnings: &mut Vec<String>,
) -> Result<(BTreeMap<SegmentNumber, u64>, Option<SegmentNumber>), StorageError> {
    let names = disk.list(Folder::Log).map_err(StorageError::io("list log/"))?;
    let numbers = names.iter().filter_map(|name| number_of(name));
    let mut sizes = BTreeMap::new();
    for number in numbers.clone() {
        let display = Folder::Log.display(&file_name(number));
        match disk.open(Folder::Log, &file_name(number)).and_then(|file| file.length()) {
            Err(error) if is_unreadable(&error) => {
                damage(
                    mode,
                    warnings,
                    &display,
                    0,
                    &format!("it cannot be opened ({error}), let the file system be checked"),
                )?;
            }
            size => _ = sizes.insert(number, size.map_err(StorageError::io(format!("open {display}")))?),
        }
    }
    Ok((sizes, numbers.max()))
}

pub(super) struct Checkpoints {
    pub newest: Option<Checkpoint>,
    highest_number: u64,
    any_damaged: bool,
}

fn read_checkpoints(
    disk: &impl Disk,
    cluster: ClusterId,
    warnings: &mut Vec<String>,
) -> Result<Checkpoints, StorageError> {
    let names = disk.list(Folder::Checkpoint).map_err(StorageError::io("list checkpoint/"))?;
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((checkpoint_number_of(name)?, name))).collect();
    found.sort_unstable();
    let mut checkpoints =
        Checkpoints { newest: None, highest_number: found.last().map_or(0, |(number, _)| *number), any_damaged: false };
    for (number, name) in found.into_iter().rev() {
        let display = Folder::Checkpoint.display(name);
        let damage = match read_file(disk, Folder::Checkpoint, name) {
            Err(error) if is_unreadable(&error) => format!("cannot be read ({error})"),
            read => match Checkpoint::decode(&read.map_err(StorageError::io(format!("read {display}")))?) {
                Some(checkpoint) if checkpoint.number == number && checkpoint.cluster == cluster => {
                    checkpoints.newest = Some(checkpoint);
                    break;
                }
                _ => "is damaged".into(),
            },
        };
        checkpoints.any_damaged = true;
        warnings.push(format!("{display} {damage}; the one before it is used"));
    }
    Ok(checkpoints)
}

/// Refuses, or notes the damage.
pub(super) fn damage(
    mode: RecoveryMode,
    warnings: &mut Vec<String>,
    file: &str,
    offset: u64,
    reason: &str,
) -> Result<(), StorageError> {
    match mode {
        RecoveryMode::Strict => Err(StorageError::corrupt(file, offset, reason)),
        RecoveryMode::Salvage => {
            warnings.push(format!("{file} is damaged at byte {offset}: {reason}"));
            Ok(())
        }
    }
}
