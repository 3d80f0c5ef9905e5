//! What may happen in a run.

/// A fault of the kind that loses messages, built in on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    None,
    /// The loop confirms what is on the leader's disk.
    ConfirmWritten,
    /// A writer does not cut off what a later term writes over.
    KeepTail,
    /// A crash loses the vote that was said to be on the disk.
    ForgetVote,
    /// A writer says that it is on the disk when it is not.
    SayBeforeSync,
    /// A node that lost its folder comes back as who it was.
    ReuseId,
    /// The disk of a node that gets a snapshot does not sync what arrives.
    SkipSnapshotSync,
    /// A node whose log lost something goes on with what is left, as who it was.
    AcceptRot,
    /// A checkpoint takes in what is written, committed or not.
    CheckpointUncommitted,
    /// A start takes the last entry, if it is not committed, for one of the term that the node voted in last.
    RecoverOtherTerm,
    /// A snapshot is the log now, but for its last segment.
    LoseSegmentOfSnapshot,
    /// What is committed is noted with the next entries alone.
    NoteNoCommit,
}

/// What may happen to a leader, or beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfLeader {
    /// It goes, and does not come back.
    IsLost,
    /// Its disk answers nothing for a while.
    DiskHangs,
    /// It is told to stop, and starts again.
    Stops,
    /// Another node goes for good, and the leader is told to forget it.
    ForgetsAnother,
    /// Another node is cut off for longer than an election takes, comes back, hears nothing of the others while they hear it,
    /// and comes back, over and over.
    LosesAnotherAgainAndAgain,
    /// Another node loses its folder, and gets everything anew.
    CopiesAllToAnother,
    /// Another node loses its folder, and once it votes anew [`IsLostWithAllPower`](Self::IsLostWithAllPower) is in store.
    IsLostOnceAnotherVotes,
    /// It goes and does not come back, and the power of all fails.
    IsLostWithAllPower,
}

#[derive(Clone, Debug)]
pub struct Fate {
    pub mutation: Mutation,
    /// With the writer that ships, and not with its model.
    pub is_real: bool,
    /// How long the run takes, the calm at its end included.
    pub run_ms: u64,
    /// Before the end nothing is published for so long, so that everybody comes to the same.
    pub silence_ms: u64,
    /// Nothing goes wrong any more.
    pub calm_from_ms: u64,
    pub crashes: bool,
    pub partitions: bool,
    pub pauses: bool,
    pub slow_disks: bool,
    /// Logs are cut off behind checkpoints, so that who was away gets a snapshot.
    pub checkpoints: bool,
    /// A node loses its folder, and comes back with an empty one; not another one before it votes again.
    pub wipes: bool,
    /// A node's disk gives back something else than was written, or nothing; not another one's before it votes again.
    pub rots: bool,
    /// A disk has no room for a while.
    pub full_disks: bool,
    /// Leaders are told to give the lead away.
    pub hand_overs: bool,
    /// What happens to the leader, and when.
    pub of_leader: Option<(u64, OfLeader)>,
    /// Nodes' clocks are up to so many percent wrong.
    pub clocks_differ_percent: u64,
}

impl Fate {
    /// Everything.
    pub fn hard(mutation: Mutation) -> Self {
        Self {
            mutation,
            is_real: false,
            run_ms: 20_000,
            silence_ms: 2_000,
            calm_from_ms: 13_000,
            crashes: true,
            partitions: true,
            pauses: true,
            slow_disks: true,
            checkpoints: true,
            wipes: true,
            // Where a fault is looked for, no more befalls nodes than it needs: seeds that show it are rare enough.
            rots: matches!(mutation, Mutation::None | Mutation::AcceptRot),
            full_disks: mutation == Mutation::None,
            hand_overs: true,
            of_leader: None,
            clocks_differ_percent: 15,
        }
    }

    /// One thing happens to a leader, and otherwise all is well.
    pub fn of_leader(what: OfLeader) -> Self {
        Self {
            run_ms: 10_000,
            calm_from_ms: 0,
            crashes: false,
            partitions: false,
            pauses: false,
            slow_disks: false,
            checkpoints: false,
            wipes: false,
            rots: false,
            full_disks: false,
            hand_overs: false,
            of_leader: Some((4_000, what)),
            ..Self::hard(Mutation::None)
        }
    }
}
