//! Class `confirm` (85): RabbitMQ's publisher confirms.

use super::wire::wire;

/// From now on every publish on the channel is confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Select {
    pub nowait: bool,
}

wire!(Select { bits nowait; });

/// Confirms are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SelectOk;

wire!(SelectOk {});
