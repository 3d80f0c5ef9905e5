//! Class `tx` (90): transactions over publishes and acknowledgements of one channel.

use super::wire::wire;

/// Makes the channel transactional.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Select;

wire!(Select {});

/// The channel is transactional.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SelectOk;

wire!(SelectOk {});

/// Carries out what was asked since the last commit or rollback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Commit;

wire!(Commit {});

/// It is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommitOk;

wire!(CommitOk {});

/// Forgets what was asked since the last commit or rollback.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rollback;

wire!(Rollback {});

/// It is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RollbackOk;

wire!(RollbackOk {});
