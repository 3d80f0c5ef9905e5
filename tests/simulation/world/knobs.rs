//! What every broker of a life is set to.

use super::FRAME_MAX;
use crate::decree::LATE_USER;
use crate::durable::options;
use crate::random::Random;
use leveret::broker::{self, MessageMemory, PressureLimits, VhostLimits};
use leveret::connection::{self, Doorkeeper, Identity, LoginRequest, LoginTicket, Mechanism, Refusal, Verdict};
use leveret::server::HubSettings;
use leveret::storage::{LogOptions, SyncPolicy};
use leveret::tls::LoginName;
use std::cell::RefCell;
use std::collections::VecDeque;

/// How long the broker waits for a handshake, in milliseconds.
pub const HANDSHAKE_MS: u64 = 10_000;

/// Asks for passwords, each of which is checked at once, or by the next turn.
#[derive(Default)]
struct Quick {
    verdicts: RefCell<VecDeque<(LoginTicket, Verdict)>>,
}

impl Doorkeeper for Quick {
    fn ask(&self, LoginRequest { ticket, credentials, password, .. }: LoginRequest) -> Option<Verdict> {
        let is_right = password.is_some_and(|password| password.is_of(&credentials.password));
        let verdict = if is_right { Verdict::Allowed } else { Verdict::Refused(Refusal::InvalidCredentials) };
        if *credentials.user != *LATE_USER.as_bytes() {
            return Some(verdict);
        }
        self.verdicts.borrow_mut().push_back((ticket, verdict));
        None
    }

    fn next_verdict(&self, _now_ms: u64) -> Option<(LoginTicket, Verdict)> {
        self.verdicts.borrow_mut().pop_front()
    }

    fn has_verdict(&self) -> bool {
        !self.verdicts.borrow().is_empty()
    }
}

/// What every broker of a life is set to.
pub struct Knobs {
    pub outbox_high_water_bytes: usize,
    pub message_memory: MessageMemory,
    pub backlog_messages: usize,
    pub log: LogOptions,
    pub pace: Pace,
    /// Messages move to disk and back, and may come from the log while the broker serves. When one is over that is not in
    /// memory, it goes when it comes back, and until then it counts; so in such lives none is ever over.
    pub pages: bool,
}

/// How the disk keeps up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Everything is safe at the end of every turn.
    AtOnce,
    /// So many steps of the disk for each of the world.
    Steps(usize),
}

impl Knobs {
    /// For a life in which all messages are in memory, there is room for all, and clients read what they are sent.
    pub fn with_room(random: &mut Random) -> Self {
        Self {
            outbox_high_water_bytes: 1 << 30,
            message_memory: MessageMemory { paging_bytes: usize::MAX, most_bytes: usize::MAX },
            backlog_messages: 1000,
            log: options(random, false),
            pace: Pace::AtOnce,
            pages: false,
        }
    }

    /// Whether what is confirmed outlives a power cut.
    pub fn always_syncs(&self) -> bool {
        self.log.sync_policy == SyncPolicy::Always
    }

    pub fn new(random: &mut Random) -> Self {
        let is_scarce = random.percent(15);
        // Who holds much would have to wait for messages until others settle theirs.
        let pages = !is_scarce && random.percent(40);
        Self {
            outbox_high_water_bytes: *random.pick(&[1, 1000, 5000, 64 * 1024, 256 * 1024]),
            message_memory: MessageMemory {
                paging_bytes: if pages && random.percent(70) { 10_000 } else { usize::MAX },
                most_bytes: if is_scarce { 20_000 } else { usize::MAX },
            },
            backlog_messages: *random.pick(&[2, 20, 1000]),
            log: options(random, pages),
            pages,
            pace: *random.pick(&[Pace::AtOnce, Pace::Steps(1), Pace::Steps(2), Pace::Steps(6)]),
        }
    }
}

/// The settings of the `start`th broker.
pub fn settings(knobs: &Knobs, start: u8) -> HubSettings {
    HubSettings {
        connection: connection::Settings {
            identity: Identity::Leveret,
            cluster_name: "simulation".to_owned(),
            mechanisms: vec![Mechanism::Plain],
            certificate_name: LoginName::DistinguishedName,
            doorkeeper: Box::new(Quick::default()),
            channel_max: 2047,
            first_frame_max: 4096,
            frame_max: FRAME_MAX,
            message_size_max: 1 << 20,
            heartbeat_s: 60,
            handshake_timeout_ms: HANDSHAKE_MS,
            authentication_failure_delay_ms: 1000,
        },
        broker: broker::Settings {
            seed: [start; 32],
            unix_start_ms: 0,
            vhost_limits: VhostLimits::default(),
            event_vhost: None,
            default_queue_type: None,
            node_name: "simulated".into(),
            transaction_max_bytes: 1 << 30,
            consumer_timeout_ms: None,
            message_memory: knobs.message_memory,
        },
        outbox_high_water_bytes: knobs.outbox_high_water_bytes,
        pressure: PressureLimits { backlog_messages: knobs.backlog_messages, floor_messages_per_s: 20 },
    }
}
