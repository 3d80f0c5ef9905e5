//! The glue between the world and the log: the server's own journal on a simulated disk, its workers driven step by step,
//! and the ends and starts of a broker.

use crate::decree::{UserWords, VHOSTS};
use crate::random::Random;
use crate::sim_disk::{Fault, SimDisk};
use crate::workers::Stepped;
use leveret::access::Tags;
use leveret::broker::Founding;
use leveret::server::{DiskRoom, Failure, Hub, HubSettings, Journal, OpenedLog};
use leveret::storage::disk::{Disk, Folder};
use leveret::storage::{FolderIds, LogOptions, LogStore, PagerOptions, RecoveryMode, StorageError, SyncPolicy};
use std::io;

const IDS: FolderIds = FolderIds::from_chance([3; FolderIds::CHANCE_BYTES]);
/// Calls of the disk within which a fault comes, if one comes.
const FAULT_WITHIN_CALLS: usize = 250;

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
        // There is nobody to lag.
        kept_for_followers_bytes: 0,
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
pub fn start(
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
    let journal = log.start(&mut hub, workers, pager_options(), DISK_FREE_LIMIT_BYTES, || Ok(Some(founding())))?;
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
