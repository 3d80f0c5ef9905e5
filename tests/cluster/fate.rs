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
}

#[derive(Clone, Debug)]
pub struct Fate {
    pub mutation: Mutation,
    /// How long the run takes, the calm at its end included.
    pub run_ms: u64,
    /// Nothing goes wrong any more.
    pub calm_from_ms: u64,
    pub crashes: bool,
    pub partitions: bool,
    pub pauses: bool,
    pub slow_disks: bool,
    /// The leader goes at this time and does not come back.
    pub leader_is_lost_at_ms: Option<u64>,
    /// Nodes' clocks are up to so many percent wrong.
    pub clocks_differ_percent: u64,
}

impl Fate {
    /// Everything.
    pub fn hard(mutation: Mutation) -> Self {
        Self {
            mutation,
            run_ms: 20_000,
            calm_from_ms: 13_000,
            crashes: true,
            partitions: true,
            pauses: true,
            slow_disks: true,
            leader_is_lost_at_ms: None,
            clocks_differ_percent: 15,
        }
    }

    /// A leader is lost for ever, and otherwise all is well.
    pub fn leader_is_lost() -> Self {
        Self {
            run_ms: 10_000,
            calm_from_ms: 0,
            crashes: false,
            partitions: false,
            pauses: false,
            slow_disks: false,
            leader_is_lost_at_ms: Some(4_000),
            ..Self::hard(Mutation::None)
        }
    }
}
