//! What a start would find on a disk: definitions in words, and all messages, as a client gets them.

use crate::command::{Command, Consume, QueueDeclare};
use crate::durable::start;
use crate::model::{
    Drained, Found, binding_words, exchange_words, permission_words, queue_words, topic_words, user_words, vhost_words,
};
use crate::sim_disk::SimDisk;
use crate::wire::{Event, Heard, Reply, parse_events};
use leveret::access::{PasswordHash, Tags};
use leveret::broker::policy::{Policy, PolicyKind};
use leveret::broker::snapshot::{Page, PageStart};
use leveret::broker::store::VhostId;
use leveret::broker::{Broker, ConnectionId, Permissions, VhostAttributes};
use leveret::protocol::{FieldTable, FieldValue, ShortString};
use leveret::server::{Hub, HubSettings};
use leveret::storage::{LogOptions, LogStore};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Frames up to this size are agreed on with a broker that is only looked at.
const LOOKING_FRAME_MAX: u32 = 131_072;

fn all<T>(mut page: impl FnMut(PageStart) -> Page<T>) -> Vec<T> {
    let (mut items, mut from) = (Vec::new(), Some(PageStart::default()));
    while let Some(start) = from {
        let Page { items: some, next } = page(start);
        items.extend(some);
        from = next;
    }
    items
}

pub fn entries(table: &FieldTable) -> Vec<Vec<u8>> {
    let entry = |entry: &(_, _)| {
        let mut bytes = Vec::new();
        FieldTable(vec![entry.clone()]).encode_entries(&mut bytes);
        bytes
    };
    table.0.iter().map(entry).collect()
}

/// What a start would find, at the beginning of time, when no message is over. The disk is not changed.
pub fn look(disk: &SimDisk, options: &LogOptions, settings: HubSettings) -> Result<(Found, bool), String> {
    look_further(disk, options, settings, |_, _| Ok(())).map(|(found, clean, ())| (found, clean))
}

/// As [`look`], and does something with that broker once it is empty. Says what that came to.
pub fn look_further<T>(
    disk: &SimDisk,
    options: &LogOptions,
    settings: HubSettings,
    further: impl FnOnce(&mut Hub<LogStore>, &Found) -> Result<T, String>,
) -> Result<(Found, bool, T), String> {
    let options = LogOptions { load_before_ready_bytes: u64::MAX, ..options.clone() };
    let (mut hub, _durable, clean) = start(&disk.after_stop(), &options, settings, 0)
        .map_err(|error| format!("the broker doesn't start: {error}"))?;
    let broker = hub.broker();
    let exchanges = all(|from| broker.snapshot_exchanges(from)).into_iter();
    let delays = exchanges.as_slice().iter().filter(|exchange| exchange.messages_delayed.is_some());
    let delays: Vec<_> = delays.map(|exchange| (exchange.vhost.to_string(), exchange.name.clone())).collect();
    let exchanges = exchanges.filter(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with(b"amq."));
    let exchanges = exchanges.map(|it| {
        exchange_words(&it.vhost, &it.name.to_string(), it.kind.name(), it.auto_delete, &entries(&it.arguments))
    });
    let queues = all(|from| broker.snapshot_queues(from));
    let bindings = all(|from| broker.snapshot_bindings(from)).into_iter().filter(|it| !it.source.is_empty());
    let bindings = bindings.map(|it| {
        let destination = format!("{} {}", it.destination_type, it.destination);
        let (source, key) = (it.source.to_string(), it.routing_key.to_string());
        binding_words(&it.vhost, &source, &destination, &key, &entries(&it.arguments))
    });
    let queue_words =
        queues.iter().map(|it| queue_words(&it.vhost, &it.name.to_string(), it.auto_delete, &entries(&it.arguments)));
    let definitions =
        exchanges.chain(queue_words).chain(bindings).chain(tenants(broker)).chain(policies(broker)).collect();
    let mut lengths: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for queue in &queues {
        let of_vhost = lengths.entry(queue.vhost.to_string()).or_default();
        let gives = queue.arguments.get(b"x-single-active-consumer").is_none() || !is_quorum(&queue.arguments);
        of_vhost.push((queue.name.to_string(), queue.figures.messages_ready, gives));
    }
    let mut drained = Drained::new();
    for (vhost, lengths) in lengths {
        drain(&mut hub, &vhost, &lengths, &mut drained)?;
    }
    let delayed = delays.iter().flat_map(|(vhost, exchange)| delayed(&mut hub, vhost, exchange)).collect();
    let found = Found { definitions, queues: drained, delayed };
    let more = further(&mut hub, &found)?;
    Ok((found, clean, more))
}

fn is_quorum(arguments: &FieldTable) -> bool {
    matches!(arguments.get(b"x-queue-type"), Some(FieldValue::LongString(kind)) if **kind == *b"quorum")
}

/// Virtual hosts, users and permissions, as words.
fn tenants(broker: &Broker<LogStore>) -> Vec<String> {
    let vhosts = all(|from| broker.snapshot_vhosts(from)).into_iter().map(|it| vhost_words(&it.name, &it.attributes));
    let users = all(|from| broker.snapshot_users(from)).into_iter();
    let users = users.map(|it| {
        let tags: Vec<&str> = it.tags.iter().collect();
        user_words(&it.name, &it.password.to_string(), &tags.join(", "), &it.limits)
    });
    let permissions = all(|from| broker.snapshot_permissions(from)).into_iter();
    let permissions =
        permissions.map(|it| permission_words(&it.user, &it.vhost, &[&it.configure, &it.write, &it.read]));
    let topics = all(|from| broker.snapshot_topic_permissions(from)).into_iter();
    let topics = topics.map(|it| topic_words(&it.user, &it.vhost, &it.exchange.to_string(), &[&it.write, &it.read]));
    vhosts.chain(users).chain(permissions).chain(topics).collect()
}

/// Policies and operator policies, as words.
fn policies(broker: &Broker<LogStore>) -> impl Iterator<Item = String> + '_ {
    [PolicyKind::User, PolicyKind::Operator].into_iter().flat_map(move |kind| {
        all(move |from| broker.snapshot_policies(kind, from)).into_iter().map(move |it| {
            let Policy { name, pattern, priority, definition, .. } = &*it.policy;
            policy_words(kind, &name.to_string(), *priority, pattern.as_str(), &entries(definition))
        })
    })
}

pub fn policy_words(kind: PolicyKind, name: &str, priority: i64, pattern: &str, definition: &[Vec<u8>]) -> String {
    let entries = definition.iter().map(|entry| entry.escape_ascii().to_string());
    format!("{kind:?} policy {name} of {pattern}, {priority}: {}", entries.collect::<Vec<_>>().join(", "))
}

/// The user who looks what is there.
const LOOKER: &str = "whoever looks";

/// Lets that one in, whatever limits there are.
fn open_to_whoever_looks(broker: &mut Broker<LogStore>, vhost: &str) {
    broker.put_vhost(vhost, VhostAttributes::default());
    broker.put_user(LOOKER, PasswordHash::salted_sha256(LOOKER.as_bytes(), [0; 4]), Tags::default());
    let key = broker.find_user(LOOKER.as_bytes()).expect("it was made");
    let user = broker.user_of(key).expect("it was found");
    let vhost: VhostId = broker.vhost_named(vhost.as_bytes()).expect("it has queues");
    broker.set_permissions(user, vhost, Permissions::all());
}

/// Messages that wait for their time, by that: when that is, and how large they are.
fn delayed(hub: &mut Hub<LogStore>, vhost: &str, exchange: &ShortString) -> Vec<(u64, usize)> {
    open_to_whoever_looks(hub.broker_mut(), vhost);
    let broker = hub.broker();
    let user = broker.find_user(LOOKER.as_bytes()).and_then(|key| broker.user_of(key)).expect("it was made");
    let vhost = broker.vhost_named(vhost.as_bytes()).expect("it has an exchange");
    let listed = hub.directly(user, vhost, |direct| direct.broker.list_delayed(direct.caller, exchange, 0, usize::MAX));
    let messages = listed.expect("whoever looks may").messages;
    messages.into_iter().map(|message| (message.id.due_unix_ms, message.body_size)).collect()
}

/// A connection of whoever looks.
pub struct Looker<'a> {
    hub: &'a mut Hub<LogStore>,
    connection: ConnectionId,
}

impl<'a> Looker<'a> {
    /// With one channel open, who may do everything in that virtual host.
    pub fn enters(hub: &'a mut Hub<LogStore>, vhost: &str) -> Result<Self, String> {
        open_to_whoever_looks(hub.broker_mut(), vhost);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = hub.connect(address, address);
        let mut looker = Self { hub, connection };
        looker.ask(0, &[Command::ProtocolHeader])?;
        let (user, secret) = (LOOKER.to_owned(), LOOKER.to_owned());
        looker.ask(0, &[Command::StartOk { understands_cancel: true, user, secret }])?;
        let open = Command::Open { vhost: vhost.to_owned() };
        looker.ask(0, &[Command::TuneOk { frame_max: LOOKING_FRAME_MAX, heartbeat_s: 0 }, open])?;
        looker.ask(1, &[Command::ChannelOpen])?;
        Ok(looker)
    }

    pub fn ask(&mut self, channel: u16, commands: &[Command]) -> Result<Vec<Heard>, String> {
        let frames = commands.iter().flat_map(|command| command.frames(channel, LOOKING_FRAME_MAX as usize));
        self.say(&frames.flatten().collect::<Vec<u8>>())
    }

    pub fn say(&mut self, frames: &[u8]) -> Result<Vec<Heard>, String> {
        let Self { hub, connection } = self;
        hub.receive(*connection, frames);
        let answer = hub.outboxes().get(*connection).peek(0);
        hub.sent(*connection, answer.len());
        parse_events(&answer, LOOKING_FRAME_MAX as usize)
    }
}

/// Gets all messages out of all queues of a virtual host, over a connection: those that say how many they have, and whether
/// `basic.get` is for them.
fn drain(
    hub: &mut Hub<LogStore>,
    vhost: &str,
    lengths: &[(String, usize, bool)],
    drained: &mut Drained,
) -> Result<(), String> {
    let mut looker = Looker::enters(hub, vhost)?;
    for (queue, length, gives) in lengths {
        let mut messages = Vec::new();
        if !gives {
            let mut heard = looker.ask(1, &[Command::Consume(Consume::of(queue.clone(), queue.clone(), true))])?;
            // Whoever is asked how many there are gives them away first, and does nothing else.
            heard.extend(looker.ask(1, &[Command::QueueDeclare(QueueDeclare::passive(queue.clone()))])?);
            for heard in heard {
                if let Event::Deliver { redelivered, content, .. } = heard.event {
                    messages.push((content, redelivered));
                }
            }
            if messages.len() != *length {
                return Err(format!("queue {queue} has {length} messages and gives {}", messages.len()));
            }
            drained.insert((vhost.to_owned(), queue.clone()), messages);
            continue;
        }
        for _ in 0..*length {
            let heard = looker.ask(1, &[Command::Get { queue: queue.clone(), no_ack: true }])?;
            let [Event::Reply(Reply::GetOk { redelivered, content, .. })] =
                &heard.into_iter().map(|heard| heard.event).collect::<Vec<_>>()[..]
            else {
                return Err(format!("queue {queue} has {length} messages and does not give them"));
            };
            messages.push((content.clone(), *redelivered));
        }
        drained.insert((vhost.to_owned(), queue.clone()), messages);
    }
    Ok(())
}
