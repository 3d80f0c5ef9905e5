//! The shadow: what an AMQP broker is, written plainly, to hold Leveret's words against.
//!
//! The model hears a client's command at the moment its last byte reached the broker, and everything that the broker
//! says at the moment it stands in an outbox. Commands determine their answers exactly; which consumer gets a message,
//! and when, the broker may choose within the rules that `observe` checks.
//!
//! | file | owns |
//! |---|---|
//! | `routing` | exchanges and bindings of one virtual host |
//! | `who_may` | virtual hosts, users, permissions |
//! | `apply` | what commands change, and the answers that they call for |
//! | `settle` | what becomes of deliveries, and of everything when channels, connections and queues go |
//! | `observe` | what the broker may say |
//! | `lasting` | what outlives the broker |
//! | `audit` | what must hold when nothing is under way |

mod apply;
mod audit;
mod lasting;
mod observe;
mod routing;
mod settle;
mod who_may;

pub use lasting::{Drained, Found, Survivors, Tick, binding_words, exchange_words, queue_words};
pub use observe::{Fit, Outlook};
pub use who_may::{VhostKey, permission_words, topic_words, user_words, vhost_words};

use crate::command::{BindingName, Outcome, QueueDeclare};
use crate::message::Message;
use crate::wire::Content;
use lasting::Lasting;
use routing::Routing;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;
use who_may::{Login, MADE_UP_QUEUE, UserKey, WhoMay};

/// A client's connection; never used again for another.
pub type ClientId = usize;
/// A queue; never used again for another, also of the same name.
pub type QueueKey = usize;
type ConsumerKey = usize;

/// A message in a queue.
struct Entry {
    message: Rc<Message>,
    expires_at_ms: Option<u64>,
    /// A consumer had it before.
    delivered: bool,
    /// It came to an empty queue just now and may be handed over however soon it expires.
    fresh: bool,
    /// It was expired and at the head once: the broker has dropped it if it looked, and it looks when it likes.
    doubtful: bool,
}

struct Queue {
    vhost: VhostKey,
    /// Unknown until the broker said how it called it.
    name: Option<String>,
    declare: QueueDeclare,
    owner: Option<ClientId>,
    /// By place.
    ready: BTreeMap<u64, Entry>,
    next_sequence: u64,
    consumers: Vec<ConsumerKey>,
    /// To consumers.
    deliveries: u64,
    last_used_ms: u64,
}

struct Consumer {
    client: ClientId,
    channel: u16,
    queue: QueueKey,
    /// Unknown until the broker said how it called it.
    tag: Option<String>,
    no_ack: bool,
    exclusive: bool,
    priority: i32,
    prefetch_count: u16,
    unacked: usize,
    /// When an acknowledgement came after its prefetch count had been used up, until the next delivery.
    short_since_ms: Option<u64>,
    /// How many deliveries its queue had made after its last one.
    served_at: u64,
    /// How many deliveries its queue had made when it could not take one last.
    unready_at: u64,
}

struct Unacked {
    queue: QueueKey,
    sequence: u64,
    entry: Entry,
    /// `None` for a get.
    consumer: Option<ConsumerKey>,
}

struct Pending {
    delivery_tag: u64,
    unacked: Unacked,
    outcome: Outcome,
}

/// A publish that waits for its commit, and where the bindings led when it came. The default exchange has none.
struct Kept {
    message: Rc<Message>,
    routed: BTreeSet<QueueKey>,
}

enum Mode {
    Plain,
    /// With the acts that published what is not confirmed yet.
    Confirm {
        published: u64,
        confirmed: u64,
        unconfirmed: VecDeque<Tick>,
    },
    Transaction {
        publishes: Vec<Kept>,
        settlements: Vec<Pending>,
    },
}

struct Channel {
    /// The broker closed it and waits for close-ok.
    closing: bool,
    consumer_prefetch: u16,
    channel_prefetch: u16,
    last_queue: Option<QueueKey>,
    mode: Mode,
    unacked: BTreeMap<u64, Unacked>,
    last_delivery_tag: u64,
    consumers: Vec<ConsumerKey>,
}

/// How many messages a queue may have: doubtful ones count or don't.
type Count = RangeInclusive<usize>;

/// An answer that is due.
#[derive(Debug)]
pub(crate) enum Due {
    Plain(u16, u16),
    DeclareOk { queue: QueueKey, name: Option<String>, messages: Count, consumers: u32 },
    Count(u16, u16, Count),
    ConsumeOk { consumer: ConsumerKey, tag: String },
    CancelOk(String),
    GetOk { delivery_tag: u64, redelivered: bool, message_count: Count, message: Rc<Message> },
    Return(Rc<Message>),
    ChannelClose(u16, u16, u16),
    ConnectionClose(u16),
}

struct Client {
    open: bool,
    /// Once it has logged in.
    user: Option<UserKey>,
    /// Who it wants to be, while that is checked.
    login: Option<Login>,
    /// Once it was open.
    vhost: Option<VhostKey>,
    /// The exchange of its last publish.
    last_exchange: String,
    /// Its user or its virtual host is gone: it is closed before anything is done of what it says.
    doomed: bool,
    understands_cancel: bool,
    blocked: bool,
    channels: BTreeMap<u16, Channel>,
    /// By channel, each with the act that it answers.
    due: VecDeque<(u16, Due, Tick)>,
    /// Consumers whose queue went: the client must be told.
    cancellations: BTreeSet<(u16, String)>,
}

pub struct Model {
    now_ms: u64,
    who_may: WhoMay,
    routings: BTreeMap<VhostKey, Routing>,
    queues: BTreeMap<QueueKey, Queue>,
    /// Names of queues that live, as far as they are known.
    names: BTreeMap<(VhostKey, String), QueueKey>,
    /// Places and names of all queues that ever were, by key.
    all_names: Vec<(VhostKey, Option<String>)>,
    clients: BTreeMap<ClientId, Client>,
    consumers: BTreeMap<ConsumerKey, Consumer>,
    next_consumer: ConsumerKey,
    lasting: Lasting,
    /// Acts that the event looked at last says are done.
    promises: Vec<Tick>,
    /// What the commit that is under way has yet to settle.
    committing: Vec<Pending>,
    /// Why the event that was looked at last doesn't fit yet.
    objection: String,
}

impl Model {
    pub fn new(now_ms: u64) -> Self {
        let who_may = WhoMay::founded();
        let lasting = Lasting::of(who_may.lasting());
        Self {
            now_ms,
            who_may,
            routings: BTreeMap::from([(0, Routing::default())]),
            queues: BTreeMap::new(),
            names: BTreeMap::new(),
            all_names: Vec::new(),
            clients: BTreeMap::new(),
            consumers: BTreeMap::new(),
            next_consumer: 0,
            lasting,
            promises: Vec::new(),
            committing: Vec::new(),
            objection: String::new(),
        }
    }

    pub fn connect(&mut self, client: ClientId) {
        let fresh = Client {
            open: false,
            user: None,
            login: None,
            last_exchange: String::new(),
            vhost: None,
            doomed: false,
            understands_cancel: false,
            blocked: false,
            channels: BTreeMap::new(),
            due: VecDeque::new(),
            cancellations: BTreeSet::new(),
        };
        self.clients.insert(client, fresh);
    }

    /// Time passed: heads whose time has come go, and so do queues that nobody used.
    pub fn advance(&mut self, now_ms: u64) {
        self.lasting.begin_act();
        self.now_ms = now_ms;
        self.answer_logins();
        let keys: Vec<QueueKey> = self.queues.keys().copied().collect();
        for key in keys {
            let queue = &self.queues[&key];
            let deadline_ms = queue.declare.expires_ms.map(|expires_ms| queue.last_used_ms + u64::from(expires_ms));
            if queue.consumers.is_empty() && deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
                self.delete_queue(key);
            } else {
                self.drop_expired(key);
            }
        }
        self.end_act();
    }

    /// Acts that the event observed last says are done: they must be safe before a client can read it.
    pub fn take_promises(&mut self) -> Vec<Tick> {
        std::mem::take(&mut self.promises)
    }

    /// A client can read that an act is done.
    pub fn promise(&mut self, act: Tick) {
        self.lasting.promise(act);
    }

    fn drop_expired(&mut self, key: QueueKey) {
        let now_ms = self.now_ms;
        let Some(queue) = self.queues.get_mut(&key) else { return };
        while let Some(head) = queue.ready.first_entry() {
            if head.get().fresh || head.get().expires_at_ms.is_none_or(|at_ms| at_ms > now_ms) {
                break;
            }
            head.remove();
        }
    }

    /// What came last may not be handed over any more as if it had never waited.
    pub fn end_freshness(&mut self) {
        for queue in self.queues.values_mut() {
            for entry in queue.ready.values_mut().rev().take_while(|entry| entry.fresh) {
                entry.fresh = false;
            }
        }
    }

    /// What is expired at the head of its queue now may go at any time from now on, whatever returns ahead of it.
    fn begin_doubts(&mut self) {
        for queue in self.queues.values_mut() {
            let expired = |entry: &Entry| !entry.fresh && entry.expires_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            for entry in queue.ready.values_mut().take_while(|entry| expired(entry)) {
                entry.doubtful = true;
            }
        }
    }

    fn has_credit(&self, consumer: &Consumer) -> bool {
        let channel = &self.clients[&consumer.client].channels[&consumer.channel];
        let unlimited = consumer.no_ack || consumer.prefetch_count == 0;
        let own = unlimited || consumer.unacked < usize::from(consumer.prefetch_count);
        own && (channel.channel_prefetch == 0 || channel.consumer_deliveries() < usize::from(channel.channel_prefetch))
    }

    /// Whether a consumer may be kept waiting for a moment although it has credit: it lacks little of its prefetch count,
    /// which it had used up, and nobody has a priority.
    fn may_wait(&self, consumer: &Consumer) -> bool {
        let count = usize::from(consumer.prefetch_count);
        let lacks = count.saturating_sub(consumer.unacked);
        let equals = self.queues[&consumer.queue].consumers.iter().all(|key| self.consumers[key].priority == 0);
        equals && consumer.short_since_ms == Some(self.now_ms) && lacks < (count / 4).min(32)
    }

    /// Tags that a client may settle, of those it has seen.
    pub fn settleable(&self, client: ClientId, channel: u16, seen: u64) -> Vec<u64> {
        let channel = self.clients.get(&client).and_then(|client| client.channels.get(&channel));
        channel.map_or_else(Vec::new, |channel| channel.unacked.range(..=seen).map(|(tag, _)| *tag).collect())
    }

    /// The bindings of queues whose names are known, in a client's virtual host.
    pub fn queue_bindings(&self, client: ClientId) -> Vec<(String, BindingName)> {
        let routing = self.clients.get(&client).and_then(|client| self.routings.get(&client.vhost?));
        let bindings = routing.into_iter().flat_map(Routing::queue_bindings);
        bindings.filter_map(|(key, binding)| Some((self.all_names[key].1.clone()?, binding.clone()))).collect()
    }

    /// The names of queues in a client's virtual host.
    pub fn queue_names(&self, client: ClientId) -> Vec<String> {
        let vhost = self.clients.get(&client).and_then(|client| client.vhost);
        self.names.keys().filter(|(of, _)| Some(*of) == vhost).map(|(_, name)| name.clone()).collect()
    }

    /// The name by which a queue is permitted: what the broker makes up is all the same.
    fn permitted_name(&self, key: QueueKey) -> String {
        self.all_names[key].1.clone().unwrap_or_else(|| MADE_UP_QUEUE.to_owned())
    }

    fn routing(&mut self, client: ClientId) -> &mut Routing {
        let (_, vhost) = self.place_of(client);
        self.routings.get_mut(&vhost).expect("a virtual host stays as long as its clients do")
    }
}

impl Queue {
    fn count(&self) -> Count {
        let doubtful = self.ready.values().filter(|entry| entry.doubtful).count();
        self.ready.len() - doubtful..=self.ready.len()
    }
}

impl Channel {
    /// Deliveries to consumers that aren't settled, for good or until a commit.
    fn consumer_deliveries(&self) -> usize {
        let unacked = self.unacked.values().filter(|unacked| unacked.consumer.is_some()).count();
        let pending = match &self.mode {
            Mode::Transaction { settlements, .. } => {
                settlements.iter().filter(|pending| pending.unacked.consumer.is_some()).count()
            }
            _ => 0,
        };
        unacked + pending
    }
}

fn differs(content: &Content, message: &Message) -> String {
    format!("{} came where message {} was due, or it was changed", crate::message::describe(content), message.id)
}
