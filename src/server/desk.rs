//! Where the loop answers management: one command at a time, a few in a turn.
//!
//! What was changed is answered as clients are: when the disk has it.

use super::direct::Direct;
use super::hub::{Condition, Hub, Resources};
use crate::broker::message::ComposedMessage;
use crate::broker::snapshot::{PAGE_SLOTS, Page, PageStart};
use crate::broker::store::{LogPosition, Store};
use crate::broker::{
    ConnectionId, DeclareRequest, Done, ExchangeRequest, GetOutcome, Got, Settlement, UserId, VhostId,
};
use crate::connection::{Connection, Phase, Traffic};
use crate::management::{
    BindingSpec, Change, Command, ConnectionFigures, ConnectionLabel, ConnectionSnapshot, ConnectionState,
    ExchangeAttributes, GetMode, GetSpec, GotMessage, Held, Overview, PublishSpec, Question, QueueAttributes, Reply,
};
use crate::protocol::properties::DELIVERY_MODE_PERSISTENT;
use crate::protocol::{AmqpError, PropertiesRef, ShortString};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

/// Commands answered in one turn, so that clients get theirs.
const COMMANDS_PER_TURN: usize = 4;
/// Messages that one command may look at.
const GET_MESSAGES_MAX: usize = 1_000;
/// Bytes of bodies that one command may copy; the message that passes it is the last.
const GET_BYTES_MAX: usize = 16 << 20;

/// Whose commands they are, and where, until the line says so.
const USER: UserId = UserId(0);
const VHOST: VhostId = VhostId(0);

/// The loop's end of the line to management.
pub struct Desk {
    commands: Receiver<Command>,
    /// The last turn's share was used up: more may wait.
    more: bool,
    /// It asks for messages that are on their way back to memory.
    waiting: Option<Command>,
    /// Answers that wait for the log to be durable up to there.
    held: VecDeque<(LogPosition, Answer)>,
}

/// Answers whoever asked.
type Answer = Box<dyn FnOnce()>;

impl Desk {
    pub fn new(commands: Receiver<Command>) -> Self {
        Self { commands, more: false, waiting: None, held: VecDeque::new() }
    }

    /// Notes that a command came.
    pub fn ring(&mut self) {
        self.more = true;
    }

    /// Whether [`answer`](Self::answer) may have something to do.
    pub fn has_work(&self) -> bool {
        self.more
    }

    /// Answers a turn's share of what waits.
    pub fn answer<S: Store>(&mut self, hub: &mut Hub<S>) {
        let durable = hub.broker().durable();
        let due = self.held.iter().take_while(|(position, _)| *position <= durable).count();
        self.held.drain(..due).for_each(|(_, answer)| answer());
        if !self.more {
            return;
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.waiting.take().or_else(|| self.commands.try_recv().ok()) else {
                self.more = false;
                return;
            };
            if let Command::Change(Change::Get { get, .. }) = &command
                && let broker = hub.broker_mut()
                && let Some(id) = broker.queue_in(VHOST, &get.queue)
                && broker.head_is_away(broker.queue_key(id))
            {
                self.waiting = Some(command);
                return;
            }
            if let Some(held) = answer(command, hub) {
                self.held.push_back(held);
            }
        }
    }
}

/// Answers; whoever asked may have gone meanwhile, and then the answer is nobody's.
fn send<T>(reply: Reply<T>, answer: T) {
    drop(reply.send(answer));
}

/// Answers, or says what the answer has to wait for.
fn answer<S: Store>(command: Command, hub: &mut Hub<S>) -> Option<(LogPosition, Answer)> {
    match command {
        Command::Question(question) => {
            tell(question, hub);
            None
        }
        Command::Change(change) => {
            let Done { value: answer, durable_at } = carry_out(change, hub);
            match hub.broker_mut().await_durable(durable_at) {
                Some(position) => Some((position, answer)),
                None => {
                    answer();
                    None
                }
            }
        }
    }
}

/// Answers a question.
fn tell<S: Store>(question: Question, hub: &Hub<S>) {
    let vhost = VHOST;
    match question {
        Question::Overview(reply) => send(reply, overview(hub)),
        Question::Queues { from, reply } => {
            let page = hub.broker().snapshot_queues(from);
            send(
                reply,
                page.map(|queue| Held { holder: queue.exclusive_owner.and_then(|id| label(hub, id)), item: queue }),
            );
        }
        Question::QueueFigures { from, reply } => send(reply, hub.broker().snapshot_queue_figures(from)),
        Question::Queue { name, reply } => {
            let queue = hub.broker().snapshot_queue(vhost, &name);
            send(
                reply,
                queue.map(|queue| Held { holder: queue.exclusive_owner.and_then(|id| label(hub, id)), item: queue }),
            );
        }
        Question::Exchanges { from, reply } => send(reply, hub.broker().snapshot_exchanges(from)),
        Question::Exchange { name, reply } => send(reply, hub.broker().snapshot_exchange(vhost, &name)),
        Question::Bindings { from, reply } => send(reply, hub.broker().snapshot_bindings(from)),
        Question::BindingsToQueue { name, reply } => send(reply, hub.broker().snapshot_bindings_to_queue(vhost, &name)),
        Question::BindingsToExchange { name, reply } => {
            send(reply, hub.broker().snapshot_bindings_to_exchange(vhost, &name))
        }
        Question::Connections { from, reply } => send(reply, connections(hub, from)),
        Question::ConnectionFigures { from, reply } => send(reply, connection_figures(hub, from)),
        Question::Channels { from, reply } => {
            let page = hub.broker().snapshot_channels(from);
            send(reply, page.map(|channel| Held { holder: label(hub, channel.connection), item: channel }));
        }
        Question::Consumers { from, reply } => {
            let page = hub.broker().snapshot_consumers(from);
            send(reply, page.map(|consumer| Held { holder: label(hub, consumer.connection), item: consumer }));
        }
        Question::ConsumersOfQueue { queue, from, reply } => {
            let page = hub.broker().snapshot_consumers_of(vhost, &queue, from);
            send(reply, page.map(|consumer| Held { holder: label(hub, consumer.connection), item: consumer }));
        }
    }
}

/// The answer to give when what was done is durable; at once when it was refused, as that changed nothing.
fn later<T: 'static>(reply: Reply<Result<T, AmqpError>>, outcome: Result<Done<T>, AmqpError>) -> Done<Answer> {
    let durable_at = outcome.as_ref().map_or(LogPosition::default(), |done| done.durable_at);
    let answer = outcome.map(|done| done.value);
    Done { value: Box::new(|| send(reply, answer)), durable_at }
}

/// Changes what is to be changed, as a channel of no client's would.
fn carry_out<S: Store>(change: Change, hub: &mut Hub<S>) -> Done<Answer> {
    match change {
        Change::DeclareQueue { name, attributes, reply } => {
            later(reply, hub.directly(USER, VHOST, |direct| declare_queue(direct, &name, attributes)))
        }
        Change::DeleteQueue { name, if_unused, if_empty, reply } => {
            later(reply, hub.directly(USER, VHOST, |direct| delete_queue(direct, &name, if_unused, if_empty)))
        }
        Change::PurgeQueue { name, reply } => later(
            reply,
            hub.directly(USER, VHOST, |direct| {
                let purged = direct.broker.purge_queue(direct.caller, &name, &mut direct.effects)?;
                Ok(purged.map(|_| ()))
            }),
        ),
        Change::DeclareExchange { name, attributes, reply } => {
            let ExchangeAttributes { kind, durable, auto_delete, internal, arguments } = attributes;
            let declared = hub.directly(USER, VHOST, |direct| {
                let request = ExchangeRequest { name: &name, kind: &kind, durable, auto_delete, internal, arguments };
                direct.broker.declare_exchange(direct.caller, request)
            });
            later(reply, declared)
        }
        Change::DeleteExchange { name, if_unused, reply } => later(
            reply,
            hub.directly(USER, VHOST, |direct| direct.broker.delete_exchange(direct.caller, &name, if_unused)),
        ),
        Change::Bind { binding, reply } => later(reply, hub.directly(USER, VHOST, |direct| bind(direct, binding))),
        Change::Unbind { binding, reply } => later(reply, hub.directly(USER, VHOST, |direct| unbind(direct, &binding))),
        Change::Publish { publish, reply } => {
            later(reply, hub.directly(USER, VHOST, |direct| self::publish(direct, publish)))
        }
        Change::Get { get, reply } => later(reply, hub.directly(USER, VHOST, |direct| self::get(direct, &get))),
        Change::CloseConnection { peer, local, reason, reply } => {
            let is_meant = |connection: &Connection| connection.peer() == peer && connection.local() == local;
            let closed = hub.close_where(is_meant, &reason) > 0;
            Done::at_once(Box::new(move || send(reply, closed)))
        }
    }
}

fn overview<S: Store>(hub: &Hub<S>) -> Overview {
    let Condition { alarm, resources: Resources { message_memory, disk_room }, now_ms } = hub.condition();
    Overview {
        totals: hub.broker().snapshot_totals(),
        connections: hub.connections().count(),
        alarm,
        disk_free_bytes: disk_room.free_bytes,
        disk_free_limit_bytes: disk_room.limit_bytes,
        memory_watermark_bytes: message_memory.most_bytes,
        uptime_ms: now_ms,
    }
}

fn label<S: Store>(hub: &Hub<S>, id: ConnectionId) -> Option<ConnectionLabel> {
    hub.connections().get(id).map(label_of)
}

fn label_of(connection: &Connection) -> ConnectionLabel {
    let user = connection.user().unwrap_or_default().to_owned();
    ConnectionLabel { peer: connection.peer(), local: connection.local(), user }
}

/// Connections that came as far as an open virtual host.
fn connections<S: Store>(hub: &Hub<S>, from: PageStart) -> Page<ConnectionSnapshot> {
    let (connections, next) = hub.connections().page(from.slot(), PAGE_SLOTS);
    let items = connections.filter_map(|connection| {
        let state = match connection.phase() {
            Phase::Running if connection.is_blocked() => ConnectionState::Blocked,
            Phase::Running => ConnectionState::Running,
            Phase::Closing => ConnectionState::Closing,
            _ => return None,
        };
        let (channel_max, frame_max, heartbeat_s) = connection.tuning();
        Some(ConnectionSnapshot {
            label: label_of(connection),
            state,
            channels: connection.channel_count(),
            channel_max,
            frame_max,
            heartbeat_s,
            client_properties: connection.client_properties(),
            auth_mechanism: connection.auth_mechanism(),
            figures: figures_of(connection),
            send_pending: hub.outboxes().get(connection.id()).len(),
        })
    });
    Page { items: items.collect(), next: next.map(PageStart::at_slot) }
}

fn connection_figures<S: Store>(hub: &Hub<S>, from: PageStart) -> Page<ConnectionFigures> {
    let (connections, next) = hub.connections().page(from.slot(), PAGE_SLOTS);
    Page { items: connections.map(figures_of).collect(), next: next.map(PageStart::at_slot) }
}

fn figures_of(connection: &Connection) -> ConnectionFigures {
    let Traffic { connected_at_ms, received_bytes, sent_bytes } = connection.traffic();
    let (peer, local) = (connection.peer(), connection.local());
    ConnectionFigures { peer, local, connected_at_ms, received_bytes, sent_bytes }
}

fn declare_queue<S: Store>(
    direct: &mut Direct<'_, S>,
    name: &[u8],
    attributes: QueueAttributes,
) -> Result<Done<bool>, AmqpError> {
    let QueueAttributes { durable, auto_delete, arguments } = attributes;
    let created_before = direct.broker.totals().queues_created;
    let request = DeclareRequest { name, durable, exclusive: false, auto_delete, arguments };
    let done = direct.broker.declare_queue(direct.caller, request, &mut direct.effects)?;
    Ok(done.map(|_| direct.broker.totals().queues_created > created_before))
}

fn delete_queue<S: Store>(
    direct: &mut Direct<'_, S>,
    name: &[u8],
    if_unused: bool,
    if_empty: bool,
) -> Result<Done<()>, AmqpError> {
    let deleted = direct.broker.delete_queue(direct.caller, name, if_unused, if_empty, &mut direct.effects)?;
    direct.broker.notify_cancelled(&deleted.value, &mut direct.effects);
    Ok(deleted.map(|_| ()))
}

fn bind<S: Store>(direct: &mut Direct<'_, S>, binding: BindingSpec) -> Result<Done<()>, AmqpError> {
    let BindingSpec { source, destination, to_queue, routing_key, arguments } = binding;
    if to_queue {
        direct
            .broker
            .bind_queue(direct.caller, &destination, &source, &routing_key, arguments)
            .map(|done| done.map(|_| ()))
    } else {
        direct
            .broker
            .bind_exchange(direct.caller, &source, &destination, &routing_key, arguments)
            .map(|done| done.map(|_| ()))
    }
}

fn unbind<S: Store>(direct: &mut Direct<'_, S>, binding: &BindingSpec) -> Result<Done<()>, AmqpError> {
    let BindingSpec { source, destination, to_queue, routing_key, arguments } = binding;
    if *to_queue {
        direct.broker.unbind_queue(direct.caller, destination, source, routing_key, arguments)
    } else {
        direct.broker.unbind_exchange(direct.caller, source, destination, routing_key, arguments)
    }
}

/// Publishes as a client would, mandatory, and says whether it came to a queue.
fn publish<S: Store>(direct: &mut Direct<'_, S>, publish: Box<PublishSpec>) -> Result<Done<bool>, AmqpError> {
    let PublishSpec { exchange, routing_key, properties, body } = *publish;
    let persistent = properties.delivery_mode == Some(DELIVERY_MODE_PERSISTENT);
    let message = ComposedMessage::new(&exchange, &routing_key, &properties, body);
    let Direct { broker, caller, effects, message_size_max } = direct;
    message.publish(*caller, *message_size_max, broker, effects)?;
    let durable_at = if persistent { broker.store_mut().everything() } else { LogPosition::default() };
    Ok(Done { value: !effects.returned(), durable_at })
}

fn get<S: Store>(direct: &mut Direct<'_, S>, get: &GetSpec) -> Result<Done<Vec<GotMessage>>, AmqpError> {
    let Direct { broker, caller, effects, .. } = direct;
    let mut messages = Vec::new();
    let mut bytes = 0;
    while messages.len() < get.count.min(GET_MESSAGES_MAX) && bytes < GET_BYTES_MAX {
        // Messages that are away now are there when they are asked for again.
        let outcome = broker.get(*caller, &get.queue, get.mode == GetMode::Take, effects)?;
        let GetOutcome::Got(got) = outcome else { break };
        let message = copy_message(&got, get.truncate);
        bytes += message.body.len();
        messages.push(message);
    }
    let outcome = match get.mode {
        GetMode::Take => return Ok(Done::at_once(messages)),
        GetMode::Requeue => Settlement::Requeued,
        GetMode::Reject => Settlement::Discarded,
    };
    // Tag 0: all there are.
    broker.settle(caller.channel, 0, true, outcome)?;
    // What was got is gone, or back, whether or not the log has written that: as for a client.
    Ok(Done::at_once(messages))
}

fn copy_message(got: &Got, truncate: usize) -> GotMessage {
    let content = got.message.content();
    let body = content.body();
    GotMessage {
        exchange: ShortString::truncated(content.exchange()),
        routing_key: ShortString::truncated(content.routing_key()),
        redelivered: got.redelivered,
        message_count: got.message_count,
        properties: PropertiesRef::parse(content.properties())
            .map(|properties| properties.to_owned())
            .unwrap_or_default(),
        body_size: body.len(),
        body: body[..body.len().min(truncate)].to_vec(),
    }
}
