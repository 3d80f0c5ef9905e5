//! What a node asks of its writer in a simulation, and what it hears: of the [model](super::model) and of the
//! [real one](super::real) alike.

use super::chance::Chance;
use super::fate::Mutation;
use super::model;
use super::real;
use super::truth::Applied;
use leveret::cluster::member::ledger::Known;
use leveret::cluster::member::{Append, Pinned};
use leveret::cluster::membership::Configuration;
use leveret::cluster::message::Point;
use leveret::cluster::snapshot::IncomingStep;
use leveret::storage::MemberId;
use leveret::storage::entry::Place;

/// What a writer says.
pub enum Said {
    Persisted(u64, Vec<(u64, Place)>),
    /// A step of a snapshot that arrives, or it could not be.
    Performed(bool),
    Installed(Point, u64),
    Pinned(Pinned),
    Forgotten(u64),
    Founded(Known),
}

/// Files of a snapshot: the checkpoint's name, and the others with their lengths.
pub struct Files {
    pub checkpoint: String,
    pub others: Vec<(String, u64)>,
}

pub trait Writer {
    /// The next thing that it says by now; what the state takes in goes to `applies`.
    fn say(&mut self, now_ms: u64, applies: &mut dyn FnMut(Applied)) -> Option<Said>;

    fn append(&mut self, append: Append, now_ms: u64, chance: &mut Chance);
    fn commit(&mut self, index: u64, now_ms: u64, applies: &mut dyn FnMut(Applied));
    fn found(&mut self, configuration: Configuration, now_ms: u64);
    fn checkpoint(&mut self, now_ms: u64);
    fn pin(&mut self, index: u64, now_ms: u64);
    fn unpin(&mut self, id: u64, now_ms: u64);
    fn incoming(&mut self, step: IncomingStep, now_ms: u64, chance: &mut Chance);
    fn install(&mut self, last: Point, files: Files, now_ms: u64, chance: &mut Chance);

    /// How far the state is, and the position that it ends at.
    fn applied(&self) -> (u64, u64);
    /// What a start would find, if the power failed now and took all with it that was not synced.
    fn would_know(&self) -> Option<Known>;
    /// How many snapshots it keeps.
    fn pins(&self) -> usize;
    /// What the state is, in words; none of a model that has none.
    fn state(&mut self) -> Option<String>;

    fn read(&mut self, place: Place) -> Option<Vec<u8>>;
    fn read_file(&mut self, name: &str, offset: u64, length: u32) -> Option<Vec<u8>>;

    fn slow_down(&mut self, slow_ms: u64);
    fn hang(&mut self, hangs: bool);
    /// There is no room on the disk, or there is again.
    fn fill(&mut self, full: bool);

    /// The power fails. What the state takes in before may be on the disk, and goes to `applies` as ever.
    fn crash(self: Box<Self>, chance: &mut Chance, applies: &mut dyn FnMut(Applied)) -> Folder;
    /// The process ends, and what it wrote is with the system.
    fn kill(self: Box<Self>) -> Folder;
}

/// A data folder.
pub enum Folder {
    Model(model::Disk),
    Real(real::Disk),
}

impl Folder {
    pub fn new(is_real: bool, member: MemberId) -> Self {
        if is_real { Self::Real(real::Disk::new(member)) } else { Self::Model(model::Disk::new(member)) }
    }

    /// Whose it is.
    pub fn member(&self) -> MemberId {
        match self {
            Self::Model(disk) => disk.member,
            Self::Real(disk) => disk.member,
        }
    }

    /// What was written is not there any more, or something else is. Whoever finds that is `new_member` from then on.
    pub fn rot(&mut self, new_member: MemberId, mutation: Mutation, chance: &mut Chance) {
        match self {
            Self::Model(disk) => disk.rot(new_member, mutation, chance),
            Self::Real(disk) => disk.rot(new_member, chance),
        }
    }

    /// What a start finds, and its writer; and whether its log was lost.
    pub fn start(self, mutation: Mutation) -> Started {
        match self {
            Self::Model(disk) => {
                let (member, known, rejoins) = (disk.member, disk.recover(mutation), disk.rejoins);
                (member, known, Box::new(model::ModelWriter::start(disk, mutation)), rejoins)
            }
            Self::Real(disk) => disk.start(mutation),
        }
    }
}

pub type Started = (MemberId, Option<Known>, Box<dyn Writer>, bool);
