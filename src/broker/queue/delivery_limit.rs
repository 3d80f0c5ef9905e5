//! How often a message may come back to a queue of type quorum.

use super::wishes::QueueKind;
use crate::broker::store::Returns;

/// The limit of a queue for which nobody asks for one, as in RabbitMQ from 4.0 on.
pub const DEFAULT_DELIVERY_LIMIT: u32 = 20;

/// What is counted towards it depends on who wants it. Who asks for a limit asks for what every RabbitMQ up to 4.2 did:
/// all that comes back counts. The one that nobody asked for is there against messages that make clients die, and counts
/// what 4.3 counts: messages that were refused or left behind. Who nacks to wait loses nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryLimit {
    None,
    Default,
    Asked(u32),
}

impl DeliveryLimit {
    /// What is asked for; below zero, no limit.
    pub fn of(kind: QueueKind, asked: Option<i64>) -> Self {
        match (kind, asked) {
            (QueueKind::Classic, _) => Self::None,
            (QueueKind::Quorum, None) => Self::Default,
            (QueueKind::Quorum, Some(limit)) if limit < 0 => Self::None,
            (QueueKind::Quorum, Some(limit)) => Self::Asked(u32::try_from(limit).unwrap_or(u32::MAX)),
        }
    }

    /// How often a message may come back, if there is a limit.
    pub fn most(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Default => Some(DEFAULT_DELIVERY_LIMIT),
            Self::Asked(limit) => Some(limit),
        }
    }

    /// Whether a message that came back so often may not do so again.
    pub fn is_passed(self, returns: Returns) -> bool {
        match self {
            Self::None => false,
            Self::Default => returns.failed() > DEFAULT_DELIVERY_LIMIT,
            Self::Asked(limit) => returns.times() > limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_queue_has_one_and_below_zero_is_none() {
        for (asked, expected) in [
            (None, DeliveryLimit::Default),
            (Some(-1), DeliveryLimit::None),
            (Some(0), DeliveryLimit::Asked(0)),
            (Some(3), DeliveryLimit::Asked(3)),
            (Some(i64::MAX), DeliveryLimit::Asked(u32::MAX)),
        ] {
            assert_eq!(DeliveryLimit::of(QueueKind::Quorum, asked), expected, "{asked:?}");
            assert_eq!(DeliveryLimit::of(QueueKind::Classic, asked), DeliveryLimit::None);
        }
    }

    #[test]
    fn what_was_asked_for_counts_all_and_the_default_only_what_failed() {
        let default = u64::from(DEFAULT_DELIVERY_LIMIT);
        for (limit, times, failed, passed) in [
            (DeliveryLimit::None, 1000, 200, false),
            (DeliveryLimit::Asked(2), 2, 2, false),
            (DeliveryLimit::Asked(2), 3, 0, true),
            (DeliveryLimit::Default, 1000, default, false),
            (DeliveryLimit::Default, 1000, default + 1, true),
        ] {
            assert_eq!(limit.is_passed(Returns::new(times, failed)), passed, "{limit:?} {times} {failed}");
        }
    }
}
