//! How a broker ends, what is on the disk then, and the start of the next one.

use super::compare::Act;
use super::knobs::settings;
use super::{Step, World};
use crate::durable::{Durable, End, plan_fault};
use crate::look::look;
use crate::model::Survivors;
use crate::sim_disk::SimDisk;
use leveret::broker::MessageMemory;
use leveret::server::Failure;
use leveret::storage::{StorageError, SyncPolicy};
use std::collections::VecDeque;

/// Starts that may fail one after the other.
const STARTS_MAX: usize = 100;

/// Whether the log says that the broker before stopped in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleanness {
    Certain,
    /// It did, and a start that failed has written since; or it was about to.
    Possible,
    None,
}

impl World<'_> {
    pub(super) fn fail(&mut self, failure: Failure) -> Step {
        match failure {
            Failure::Log(error) => self.failed(error, Cleanness::None),
            Failure::Pages(error) | Failure::Loading(error) => Err(format!("messages are lost: {error}")),
            Failure::Deposed => Err("a broker that is alone is deposed by nobody".to_owned()),
        }
    }

    /// The log failed, and the program with it.
    fn failed(&mut self, error: StorageError, cleanness: Cleanness) -> Step {
        self.transcript.note(|| format!("the log fails: {error}"));
        *self.life.heard.entry("failed disk").or_default() += 1;
        self.restart(
            if self.knobs.log.sync_policy == SyncPolicy::Always { End::PowerCut } else { End::Killed },
            cleanness,
        )
    }

    pub(super) fn end_suddenly(&mut self) -> Step {
        let is_relaxed = self.knobs.log.sync_policy != SyncPolicy::Always;
        let is_killed = is_relaxed || self.random.percent(40);
        self.restart(if is_killed { End::Killed } else { End::PowerCut }, Cleanness::None)
    }

    pub(super) fn stop_and_start(&mut self) -> Step {
        self.transcript.note(|| "the broker stops".to_owned());
        self.hub.close_where(|_| true, "broker forced connection closure with reason 'shutdown'");
        self.compare(VecDeque::from([Act::Stop]))?;
        while !self.clients.is_empty() {
            self.drop_someone()?;
        }
        match self.durable.stop(&mut self.hub) {
            Ok(()) => self.restart(End::Stopped, Cleanness::Certain),
            Err(error) => self.failed(error, Cleanness::Possible),
        }
    }

    /// What would be there if the power were cut now, or the program killed? All goes on as if nobody had asked.
    pub(super) fn look_ahead(&mut self) -> Step {
        let is_killed = self.random.percent(30);
        let end = if is_killed { End::Killed } else { End::PowerCut };
        let disk = self.disk_after(&self.durable.disk().clone(), end);
        self.transcript.note(|| "what if it ended here?".to_owned());
        *self.life.heard.entry("look ahead").or_default() += 1;
        self.find(&disk, Cleanness::None).map(drop)
    }

    fn disk_after(&mut self, disk: &SimDisk, end: End) -> SimDisk {
        let seed = self.random.next();
        let loses = end == End::PowerCut && self.knobs.log.sync_policy == SyncPolicy::Always;
        if loses { disk.after_crash(seed) } else { disk.after_stop() }
    }

    /// Compares what a start on that disk finds with what the model says.
    fn find(&mut self, disk: &SimDisk, cleanness: Cleanness) -> Result<Survivors, String> {
        let mut settings = settings(&self.knobs, 0);
        settings.broker.message_memory = MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX };
        let (found, clean) = look(disk, &self.knobs.log, settings)?;
        match cleanness {
            Cleanness::Certain if !clean => Err("an orderly stop is not known as one".to_owned()),
            Cleanness::None if clean => Err("what was no orderly stop is taken for one".to_owned()),
            _ => self.model.survivors(&found, clean),
        }
    }

    /// The broker has ended, and another one starts on what is on the disk.
    fn restart(&mut self, end: End, mut cleanness: Cleanness) -> Step {
        self.transcript.note(|| format!("the broker has ended: {end:?}"));
        *self.life.heard.entry(end.name()).or_default() += 1;
        self.clients.clear();
        let mut disk = self.disk_after(&self.durable.disk().clone(), end);
        for _ in 0..STARTS_MAX {
            let survivors = self.find(&disk, cleanness)?;
            plan_fault(&disk, &self.knobs.log, &mut self.random);
            self.starts = self.starts.wrapping_add(1);
            match Durable::start(&disk, &self.knobs.log, settings(&self.knobs, self.starts), self.now_ms) {
                Ok((hub, durable)) => {
                    (self.hub, self.durable) = (hub, durable);
                    self.touched.clear();
                    self.answers.clear();
                    self.deletions = 0;
                    self.model.restart(survivors);
                    self.prepared.clear();
                    self.advance(0)?;
                    self.connect_as_guest();
                    self.connect_some();
                    return Ok(());
                }
                Err(error) if disk.has_failed() => {
                    self.transcript.note(|| format!("it doesn't start: {error}"));
                    disk = self.disk_after(&disk, End::PowerCut);
                    if cleanness == Cleanness::Certain {
                        cleanness = Cleanness::Possible;
                    }
                }
                Err(error) => return Err(format!("it doesn't start: {error}")),
            }
        }
        Err("it never starts".to_owned())
    }
}
