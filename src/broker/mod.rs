//! What AMQP means: exchanges, queues, consumers and channels, as one state machine.
//!
//! Commands come in as calls, answers go out as results, and everything that concerns others than the caller goes out
//! through [`Effects`]. The broker knows no frame but those that a message's image is made of, no socket, no clock and no
//! randomness of the operating system: time, seeds and limits are arguments. Management changes things only through the
//! same commands as AMQP does.
//!
//! | file | owns |
//! |---|---|
//! | `caller`, `keys` | who asks, and which thing is meant |
//! | `resolve` | from the names that a caller says to things: the one place that looks for names |
//! | `users` | users: names, password hashes, tags, limits |
//! | `recheck` | consumers that another token does not allow |
//! | `bearers`, `answers` | users for whom others vouch, and what those answer about them |
//! | `access` | what users may do with which names |
//! | `vhost`, `vhost_commands` | virtual hosts: names, exchanges and limits of their own; how they come and go |
//! | `founding` | the first virtual host and the first user |
//! | [`import`] | definitions that come as a whole |
//! | [`parameters`] | what tools keep here that means nothing to the broker |
//! | `epoch` | how long what is known of a route holds |
//! | [`exchange`] | exchanges, bindings, routing |
//! | [`queue`] | one queue: shell, body, gate and behaviour |
//! | `confirms` | acks and nacks to publishers |
//! | `channel`, `consumer`, [`unacknowledged`] | what a channel and a consumer are, and what clients hold |
//! | [`message`] | a message's image, the meaning of its properties |
//! | `exchange_commands`, `queue_commands`, `binding_commands` | declare, delete, purge, bind |
//! | `leaving` | what leads to queues and exchanges that were deleted |
//! | `equivalence`, `names` | whether a second declare is the same; names that the broker makes up |
//! | `consumer_commands` | consume, cancel, get, qos |
//! | `deduplication` | messages that were there before |
//! | `recent_history` | what exchanges keep for those who are bound later |
//! | `publish` | from a publish to its queues: hand-over, enqueue, return, confirm |
//! | `flow` | the one way into a queue and out of it, and the ledger |
//! | `dispatch` | from a queue's backlog to its consumers |
//! | `stalled`, `turns` | consumers that wait for their connection's outbox, or for their channel's prefetch count |
//! | `pace`, `replenish` | when a consumer that had all it may have is given more |
//! | `single_active` | who follows the single active consumer |
//! | `settle` | acknowledge, reject, requeue, recover, transactions |
//! | `held`, `peek` | who holds which delivery of a queue; messages where they lie |
//! | `moving` | from one queue to another: back to where dead letters came from |
//! | `route_test` | where a message would go, and why |
//! | `settling` | how much of that a turn does, and what closed channels left behind |
//! | `dead_letter` | messages on their way to a dead-letter exchange |
//! | `effects` | what the broker tells the outside |
//! | `done` | what a command leads to, and when that lasts |
//! | `policy` | policies and operator policies: what applies to what |
//! | `policy_commands` | setting and deleting policies, and applying them to what is there |
//! | `delayed` | messages that wait for their time at an exchange |
//! | `definitions` | what of all this outlives a restart, and its return |
//! | `observe` | who watches what is published and delivered: the firehose |
//! | `lifecycle` | connections and channels open and close |
//! | `expiry`, `expiration` | times to live |
//! | [`memory`] | the account of what messages and clients hold |
//! | `paging`, [`page`] | which messages leave memory and come back; how they lie while they are away |
//! | `pressure` | how hard publishers press on queues, and so how they are read |
//! | [`store`] | the seam to storage |
//! | `census` | counts of everything, for tests |
//! | `metering` | how long messages wait for a consumer, for an acknowledgement, for a confirm; which exchange they came to |
//! | [`snapshot`], [`access_snapshot`] | listings for management: plain owned copies |
//! | [`sums`] | what many queues and channels come to together, for metrics |

mod access;
pub mod access_snapshot;
mod answers;
mod bearers;
mod binding_commands;
mod caller;
mod census;
mod channel;
mod confirms;
mod consumer;
mod consumer_arguments;
mod consumer_commands;
mod dead_letter;
mod deduplication;
mod definitions;
mod delayed;
mod dispatch;
mod done;
mod effects;
mod epoch;
mod equivalence;
pub mod exchange;
mod exchange_commands;
mod expiration;
mod expiry;
mod flow;
mod founding;
mod held;
pub mod import;
mod keys;
mod leaving;
mod lifecycle;
pub mod memory;
pub mod message;
mod metering;
mod moving;
mod names;
mod observe;
mod overdue;
mod pace;
pub mod page;
mod paging;
pub mod parameters;
mod peek;
pub mod policy;
mod policy_commands;
mod pressure;
mod publish;
pub mod queue;
mod queue_commands;
mod quorum;
mod recent_history;
mod recheck;
mod replenish;
mod resolve;
mod returns;
mod route_test;
mod settle;
mod settling;
mod single_active;
pub mod snapshot;
mod stalled;
pub mod store;
pub mod sums;
#[cfg(test)]
mod testing;
mod turns;
pub mod unacknowledged;
mod users;
mod vhost;
mod vhost_commands;

pub use access::{Names, Permissions, Right, TopicPermissions};
pub use answers::Judging;
pub use caller::Caller;
pub use census::Census;
pub use channel::{Channel, ChannelMode, Settlement};
pub use consumer_commands::{ConsumeRequest, GetOutcome, Got};
pub use deduplication::RememberedKey;
pub use definitions::RestoredQueue;
pub use delayed::{DelayedId, DelayedKey, DelayedMessage, DelayedPage};
pub use dispatch::DirectLane;
pub use done::Done;
pub use effects::{Effects, Recipient, Room};
pub use epoch::Epoch;
pub use exchange_commands::ExchangeRequest;
pub use flow::{DeadLetterCounters, QueueCounters};
pub use founding::Founding;
pub use held::{CopiedHead, HeldId, HeldMessage, HeldPage};
pub use keys::{ChannelId, ConnectionId, ConsumerId, ExchangeId, QueueKey, UserId, VhostId};
pub use lifecycle::ConnectionClosed;
pub use metering::{Durations, ExchangeCounters, ExchangeFigures, ExchangeKey, QueueDurations, QueueDurationsSnapshot};
pub use moving::{Move, MoveSpec, MoveTo, MoveWhat, Moved};
pub use observe::{ClientDetails, TailCounts, TailFilter, TailId, TailListener, TailOf, TailSpec, TailedMessage};
pub use overdue::Overdue;
pub use paging::{MessageMemory, UNWRITTEN_PAGES_MAX_BYTES};
pub use peek::{PeekSpec, Peeked, PeekedMessage, QueuedId};
pub use policy_commands::PutPolicy;
pub use pressure::{PressureLimits, QueuePressure, ShortQueue};
pub use publish::{KnownRoute, Origin, Publication, Target, oversized};
pub use queue::QueueKind;
pub use queue_commands::{DeclareRequest, Declared, DeletedQueue};
pub use resolve::{Ahead, ExchangeToPublish};
pub use route_test::{RouteStep, RouteTest};
pub use settling::Progress;
pub use users::{User, UserKey, UserLimits};
pub use vhost::{VhostAttributes, VhostKey, VhostLimits};

use access::Access;
use answers::Answers;
use confirms::{Confirms, Said};
use consumer::Consumer;
use dead_letter::DeadLetters;
use deduplication::Cleaning;
use delayed::Delayed;
use exchange::QueueId;
use expiry::ExpiryQueue;
use flow::{Books, Discards, Overflowing};
use hashbrown::HashMap;
use keys::{ChannelKey, ConnectionKey};
use leaving::Leaving;
use lifecycle::ConnectionState;
use metering::Metering;
use names::NameGenerator;
use observe::{Events, Tails};
use overdue::Sweep;
use paging::Paging;
use parameters::GlobalParameters;
use policy_commands::PolicyRounds;
use queue::Queue;
use recent_history::Histories;
use recheck::Rechecks;
use replenish::Replenishing;
use settling::Settling;
use slab::Slab;
use std::collections::VecDeque;
use store::{LogPosition, Store};
use users::Users;
use vhost::Vhosts;

/// Pieces of tables that are gone which are freed in one turn.
const FREED_PER_TURN: usize = 256;

/// What the node is called of a broker that is alone.
pub const NODE_NAME: &str = "leveret@localhost";

/// What a broker is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this node is called, where that is told.
    pub node_name: Box<str>,
    /// How much may be in each vhost.
    pub vhost_limits: VhostLimits,
    /// The vhost that has the exchange of events, if there is one.
    pub event_vhost: Option<Box<str>>,
    /// Of which type a queue is that doesn't say, in a vhost that doesn't say either. `None`: classic, and not said.
    pub default_queue_type: Option<QueueKind>,
    /// For names that must not be guessed.
    pub seed: [u8; 32],
    /// Milliseconds from 1970 to the zero of the caller's clock.
    pub unix_start_ms: u64,
    /// Most bytes of messages in one open transaction.
    pub transaction_max_bytes: usize,
    /// How long deliveries may be unacknowledged, in milliseconds, where neither consumer nor queue says.
    pub consumer_timeout_ms: Option<u64>,
    /// How much memory messages may take.
    pub message_memory: MessageMemory,
}

/// Everything that happened since the start, for listings and metrics.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Publishes that clients and management made, each once however many queues it went to; at the commit in a
    /// transaction.
    pub received: u64,
    /// Of these, the ones that reached no queue and were not mandatory.
    pub unroutable_dropped: u64,
    /// And those that came back to their publisher: mandatory ones that reached no queue, direct replies among them.
    pub unroutable_returned: u64,
    /// Publishes that a confirm was sent for: not those for which it still waits for the disk.
    pub confirmed: u64,
    /// Deliveries to consumers without acknowledgements, direct replies among them; redeliveries count again.
    pub delivered_auto_ack: u64,
    /// Deliveries to consumers with acknowledgements; redeliveries count again.
    pub delivered_manual_ack: u64,
    /// Messages that `basic.get` returned without acknowledgement.
    pub got_auto_ack: u64,
    /// Messages that `basic.get` returned with acknowledgement.
    pub got_manual_ack: u64,
    /// `basic.get` of queues that had nothing to give.
    pub get_empty: u64,
    /// Deliveries and gets, counted above, of messages that were given to somebody before.
    pub redelivered: u64,
    /// Deliveries and gets that `basic.ack` settled. What is rejected is counted nowhere, as in RabbitMQ.
    pub acknowledged: u64,
    /// Declarations of queues that were answered, of such as existed too, but no passive ones.
    pub queues_declared: u64,
    /// Queues that were made; recovered ones are not.
    pub queues_created: u64,
    /// Queues that went, whatever way.
    pub queues_deleted: u64,
    /// Connections of clients that came to be open, and those of them that are gone.
    pub connections_opened: u64,
    pub connections_closed: u64,
    /// Channels of clients that were opened, and those of them that are gone.
    pub channels_opened: u64,
    pub channels_closed: u64,
    /// Publishes under confirms that were nacked, and those whose channel went before anything was said of them.
    pub nacked: u64,
    pub left_unconfirmed: u64,
    /// Logins of AMQP clients that were let in, and that were not.
    pub logins_succeeded: u64,
    pub logins_failed: u64,
}

pub struct Broker<S: Store> {
    settings: Settings,
    pub(crate) store: S,
    names: NameGenerator,
    vhosts: Vhosts,
    users: Users,
    access: Access,
    answers: Answers,
    /// See [`Epoch`].
    epoch: Epoch,
    queues: Slab<Queue>,
    channels: Slab<Channel>,
    consumers: Slab<Consumer>,
    connections: Vec<Option<ConnectionState>>,
    /// Reply addresses: what follows `amq.rabbitmq.reply-to.`
    reply_channels: HashMap<Box<str>, ChannelId>,
    /// Queues that may be able to deliver.
    touched_queues: VecDeque<QueueKey>,
    /// Queues that have more than they may have.
    overflowing: Overflowing,
    /// Channels with credit for consumers that wait for their turns.
    touched_channels: VecDeque<ChannelKey>,
    /// Connections whose outbox takes deliveries again, with consumers that are still to go back to their lines.
    drained_connections: VecDeque<ConnectionKey>,
    /// Consumers that may still be moved until the next pump.
    moves_left: usize,
    /// Channels with publishes to confirm.
    touched_confirms: Vec<ChannelKey>,
    replenishing: Replenishing,
    settling: Settling,
    leaving: Leaving,
    discards: Discards,
    dead_letters: DeadLetters,
    policy_rounds: PolicyRounds,
    global_parameters: GlobalParameters,
    delayed: Delayed,
    cleaning: Cleaning,
    expiry: ExpiryQueue,
    /// The sweep over deliveries that wait for too long.
    sweep: Sweep,
    paging: Paging,
    /// The caller's clock at the start of the turn, in milliseconds.
    now_ms: u64,
    queue_serial: u64,
    /// Of channels and connections, by which one is told from another in its slot.
    serial: u64,
    /// Of the last change of what exists that the log was told of.
    last_definition: LogPosition,
    route_scratch: Vec<QueueId>,
    histories: Histories,
    rechecks: Rechecks,
    books: Books,
    metering: Metering,
    /// Some virtual host is watched.
    is_tracing: bool,
    /// Deliveries that are still heard in this turn, or a few more.
    heard_left: usize,
    events: Events,
    tails: Tails,
}

impl<S: Store> Broker<S> {
    /// A broker without anything, which is to be [founded](Self::found) or restored.
    pub fn new(settings: Settings, store: S, now_ms: u64) -> Self {
        let consumer_timeout_ms = settings.consumer_timeout_ms;
        let mut broker = Self {
            names: NameGenerator::new(settings.seed),
            vhosts: Vhosts::new(names::seed_of_routes(settings.seed)),
            users: Users::default(),
            access: Access::default(),
            answers: Answers::default(),
            epoch: Epoch::default(),
            settings,
            store,
            queues: Slab::new(),
            channels: Slab::new(),
            consumers: Slab::new(),
            connections: Vec::new(),
            reply_channels: HashMap::new(),
            touched_queues: VecDeque::new(),
            overflowing: Overflowing::default(),
            touched_channels: VecDeque::new(),
            drained_connections: VecDeque::new(),
            moves_left: dispatch::MOVES_PER_PUMP,
            touched_confirms: Vec::new(),
            replenishing: Replenishing::default(),
            settling: Settling::default(),
            leaving: Leaving::default(),
            discards: Discards::default(),
            dead_letters: DeadLetters::default(),
            policy_rounds: PolicyRounds::default(),
            global_parameters: GlobalParameters::default(),
            delayed: Delayed::default(),
            cleaning: Cleaning::default(),
            expiry: ExpiryQueue::default(),
            sweep: Sweep::default(),
            paging: Paging::default(),
            now_ms,
            queue_serial: 0,
            serial: 0,
            last_definition: LogPosition::default(),
            route_scratch: Vec::new(),
            histories: Histories::default(),
            rechecks: Rechecks::default(),
            books: Books::default(),
            metering: Metering::default(),
            is_tracing: false,
            heard_left: observe::HEARD_PER_TURN,
            events: Events::default(),
            tails: Tails::default(),
        };
        consumer_timeout_ms.into_iter().for_each(|timeout_ms| broker.note_timeout(timeout_ms));
        broker
    }

    /// Starts a turn at `now_ms` on a clock that never goes back.
    pub fn set_now(&mut self, now_ms: u64) {
        debug_assert!(now_ms >= self.now_ms);
        self.now_ms = now_ms;
        self.vhosts.set_now(now_ms);
        self.dead_letters.start_turn();
        self.expiry.start_turn();
        self.settling.start_turn();
        self.leaving.start_turn();
        self.heard_left = observe::HEARD_PER_TURN;
        self.discards.start_turn();
        self.histories.start_turn();
    }

    /// When [`come_due`](Self::come_due) has something to do next; `None` while nothing waits for its time.
    pub fn next_due_ms(&self) -> Option<u64> {
        let letters = self.dead_letters.next_due_ms();
        let due = [self.next_expiry_ms(), self.next_replenish_ms(), letters, self.next_sweep_ms()];
        let gone = (deduplication::has_gone() || !self.rechecks.is_empty()).then_some(0);
        let values = self.cleaning.next_due_ms().into_iter().chain(gone);
        due.into_iter().flatten().chain(self.delayed.next_due_ms()).chain(values).min()
    }

    /// Does what the time has come for: messages and queues expire, delayed messages are routed, consumers that waited for
    /// more credit go on.
    pub fn come_due(&mut self, effects: &mut impl Effects) {
        match self.is_tracing {
            true => self.overheard(effects, |broker, ear| broker.come_due_unheard(ear)),
            false => self.come_due_unheard(effects),
        }
    }

    fn come_due_unheard(&mut self, effects: &mut impl Effects) {
        self.expire(effects);
        self.dead_letters.come_due(self.now_ms);
        self.release_delayed(effects);
        self.replenish();
        self.sweep();
        self.clean_values();
        if !self.rechecks.is_empty() {
            self.recheck_some_consumers(effects);
        }
        if self.answers.have_lapsed(self.now_ms) {
            self.epoch.end();
        }
        deduplication::free_gone(FREED_PER_TURN);
    }

    /// What this node is called.
    pub fn node_name(&self) -> &str {
        &self.settings.node_name
    }

    /// Milliseconds from 1970 to the zero of the caller's clock.
    pub fn unix_start_ms(&self) -> u64 {
        self.settings.unix_start_ms
    }

    pub fn totals(&self) -> &Totals {
        &self.books.totals
    }

    #[inline]
    fn queue(&self, id: QueueId) -> &Queue {
        &self.queues[id.0 as usize]
    }

    #[inline]
    fn queue_mut(&mut self, id: QueueId) -> &mut Queue {
        &mut self.queues[id.0 as usize]
    }

    #[inline]
    fn channel(&self, id: ChannelId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    #[inline]
    fn channel_mut(&mut self, id: ChannelId) -> &mut Channel {
        &mut self.channels[id.0 as usize]
    }

    /// Puts a queue in the list of those that may be able to deliver.
    fn touch(&mut self, id: QueueId) {
        let queue = &mut self.queues[id.0 as usize];
        if !queue.touched {
            queue.touched = true;
            self.touched_queues.push_back(queue.key(id));
        }
    }

    /// Sends the confirms that became possible. Called once at the end of a turn, so that they come together.
    pub fn flush_confirms(&mut self, effects: &mut impl Effects) {
        let durable = self.store.durable();
        let mut still_waiting = Vec::new();
        for key in self.touched_confirms.drain(..) {
            let channel = self.channels.get_mut(key.id.0 as usize).filter(|channel| channel.serial == key.serial);
            let Some(channel) = channel else { continue };
            channel.confirms_touched = false;
            let ChannelMode::Confirm(confirms) = &mut channel.mode else { continue };
            let (connection, number) = (channel.connection, channel.number);
            confirms.tell(durable, |Said { up_to, count, refused }| {
                if refused {
                    // As RabbitMQ says it, of one as of many.
                    effects.reject(connection, number, up_to, true);
                    self.books.totals.nacked += count;
                } else {
                    effects.confirm(connection, number, up_to, count > 1);
                    self.books.totals.confirmed += count;
                }
            });
            self.books.lately.publisher = Some(key);
            if confirms.is_waiting() {
                channel.confirms_touched = true;
                still_waiting.push(key);
            }
        }
        if !still_waiting.is_empty() {
            self.touched_confirms = still_waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::store::MemoryStore;
    use super::testing::Nobody;
    use super::*;
    use crate::protocol::{AmqpError, FieldTable};

    const CLIENT: ConnectionId = ConnectionId(0);
    /// Exchanges that every vhost has.
    const PREDECLARED: usize = 7;

    fn declare(broker: &mut Broker<MemoryStore>, name: &[u8]) -> Result<Declared, AmqpError> {
        let arguments = FieldTable::default();
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(testing::caller(broker, CLIENT), request, &mut Nobody).map(|done| done.value)
    }

    #[test]
    fn each_limit_holds_for_one_more_and_for_nothing_that_is_there() {
        let vhost_limits = VhostLimits {
            queues_max: 1,
            exchanges_max: PREDECLARED + 1,
            bindings_max: 1,
            consumers_max: 1,
            ..VhostLimits::default()
        };
        let mut broker = testing::broker_with(Settings { vhost_limits, ..testing::settings() }, MemoryStore::default());
        let channel = testing::connect(&mut broker, CLIENT);
        let no_arguments = FieldTable::default;

        declare(&mut broker, b"q").unwrap();
        declare(&mut broker, b"q").unwrap();
        let refused = declare(&mut broker, b"r").unwrap_err();
        assert_eq!(refused.explanation, "cannot declare queue 'r': queue limit in vhost '/' (1) is reached");

        let mut exchange = |name: &[u8]| {
            let (durable, auto_delete, internal, arguments) = (false, false, false, no_arguments());
            let request = ExchangeRequest { name, kind: b"fanout", durable, auto_delete, internal, arguments };
            let declared = broker.declare_exchange(testing::caller(&broker, CLIENT), request);
            declared.map(|done| done.value).map_err(|error| error.explanation)
        };
        assert_eq!(exchange(b"x"), Ok(true));
        assert_eq!(exchange(b"x"), Ok(false));
        assert_eq!(
            exchange(b"y").unwrap_err(),
            "cannot declare exchange 'y': exchange limit in vhost '/' (8) is reached"
        );

        broker.bind_queue(testing::caller(&broker, CLIENT), b"q", b"x", b"", no_arguments()).unwrap();
        let refused =
            broker.bind_queue(testing::caller(&broker, CLIENT), b"q", b"x", b"k", no_arguments()).unwrap_err();
        assert_eq!(refused.explanation, "cannot bind: binding limit in vhost '/' (1) is reached");

        let mut consume = |consumer_tag: &[u8]| {
            let arguments = no_arguments();
            let request = ConsumeRequest { queue: b"q", consumer_tag, no_ack: true, exclusive: false, arguments };
            broker.consume(broker.caller(channel), request).map_err(|error| error.explanation)
        };
        consume(b"a").unwrap();
        assert_eq!(
            consume(b"b").unwrap_err(),
            "cannot consume from queue 'q': consumer limit in vhost '/' (1) is reached"
        );
    }

    #[test]
    fn channels_that_come_and_go_with_confirms_that_wait_leave_nothing_behind() {
        let mut broker = testing::broker();
        testing::connect(&mut broker, CLIENT);
        for _ in 0..5 {
            let channel = broker.open_channel(CLIENT, 1);
            broker.select_confirms(channel).unwrap();
            broker.count_many_for_confirm(channel, 1);
            let ChannelMode::Confirm(confirms) = &mut broker.channel_mut(channel).mode else { unreachable!() };
            confirms.published(LogPosition(1), LogPosition(0));
            broker.flush_confirms(&mut Nobody);
            assert_eq!(broker.touched_confirms, [broker.channel(channel).key(channel)]);
            broker.close_channel(channel);
        }
        broker.flush_confirms(&mut Nobody);
        assert_eq!(broker.touched_confirms, []);
        assert_eq!(broker.totals().confirmed, 5, "and not those that waited");
    }
}
