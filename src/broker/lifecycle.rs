//! Connections and channels open and close; what they held goes back.

use super::done::count;
use super::effects::Effects;
use super::exchange::QueueId;
use super::keys::ChannelKey;
use super::queue::Line;
use super::store::Store;
use super::users::{User, UserKey};
use super::{Broker, Caller, Channel, ChannelId, ChannelMode, ConnectionId, UserId, VhostId};
use crate::protocol::{AmqpError, ReplyCode};
use std::sync::Arc;

/// What the broker knows of a connection.
pub(super) struct ConnectionState {
    /// Tells it from others that have its number before or after it.
    pub serial: u64,
    /// Whose it is, and where it is at home.
    pub user: UserId,
    pub vhost: VhostId,
    /// What observers are told that it is called.
    pub name: Box<str>,
    /// Queues that die with it.
    pub exclusive_queues: Vec<QueueId>,
    /// Its outbox takes no deliveries for now.
    pub outbox_full: bool,
    /// Consumers that left their lines because of that, in that order, whatever their priorities.
    pub stalled: Line,
    /// In the list of those whose outbox takes some again while consumers are still stalled.
    pub rejoins: bool,
    /// Channels whose consumers' turns come when it takes some again.
    pub stalled_channels: Vec<ChannelKey>,
    /// So many of its closed channels [left deliveries behind](super::settling) that are not back yet.
    pub left_behind: u32,
    /// In the order in which they were opened.
    pub channels: Vec<ChannelId>,
}

impl ConnectionState {
    fn new(serial: u64, user: UserId, vhost: VhostId) -> Self {
        Self {
            serial,
            user,
            vhost,
            name: Box::default(),
            exclusive_queues: Vec::new(),
            outbox_full: false,
            stalled: Line::default(),
            rejoins: false,
            stalled_channels: Vec::new(),
            left_behind: 0,
            channels: Vec::new(),
        }
    }

    /// Not one of the broker's own interfaces, which lasts as long as a command.
    fn is_a_clients(&self) -> bool {
        !self.name.is_empty()
    }
}

/// What a closing connection took along.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionClosed {
    /// How many of its channels were open.
    pub channels: u32,
    /// How many queues went with it.
    pub exclusive_queues: u32,
}

fn not_allowed(explanation: String) -> AmqpError {
    AmqpError::connection(ReplyCode::NotAllowed, explanation)
}

/// What somebody is told who may not be in a vhost.
pub(super) fn not_admitted(user_name: &str, vhost_name: &str) -> AmqpError {
    not_allowed(format!("access to vhost '{vhost_name}' refused for user '{user_name}'"))
}

impl<S: Store> Broker<S> {
    /// Whether a user may open a connection to the vhost of that name. Whoever has one more keeps it, when limits shrink.
    /// The user's name is needed when the user is gone.
    ///
    /// # Errors
    /// 530: there is no such vhost, or it has as many connections as it may have, or the user has, or the user has no
    /// permissions there.
    pub fn admit(&self, user: UserKey, user_name: &str, vhost_name: &[u8]) -> Result<(UserId, VhostId), AmqpError> {
        let id = self.vhost_to_enter(vhost_name)?;
        // It may have been deleted since it logged in.
        let user = self.user_of(user).ok_or_else(|| not_admitted(user_name, self.vhost_name(id)))?;
        self.assert_room_for_connection(user_name, id)?;
        let User { limits, connections, .. } = self.users.get(user);
        match limits.connections_max {
            Some(most) if *connections as u64 >= most => Err(not_allowed(format!(
                "connection refused for user '{user_name}': user connection limit ({most}) is reached"
            ))),
            _ if !self.may_enter(user, id) => Err(not_admitted(user_name, self.vhost_name(id))),
            _ => Ok((user, id)),
        }
    }

    /// A client's credentials were right, or wrong.
    pub fn count_login(&mut self, is_right: bool) {
        let totals = &mut self.books.totals;
        *(if is_right { &mut totals.logins_succeeded } else { &mut totals.logins_failed }) += 1;
    }

    /// # Errors
    /// 530 when there is none of that name.
    pub(super) fn vhost_to_enter(&self, name: &[u8]) -> Result<VhostId, AmqpError> {
        let not_found = || not_allowed(format!("vhost {} not found", String::from_utf8_lossy(name)));
        self.vhost_named(name).ok_or_else(not_found)
    }

    /// # Errors
    /// 530 when a vhost has as many connections as it may have.
    pub(super) fn assert_room_for_connection(&self, user_name: &str, id: VhostId) -> Result<(), AmqpError> {
        let vhost = &self.vhosts[id];
        match vhost.attributes.connections_max {
            Some(most) if vhost.connections as u64 >= most => {
                let refused = not_admitted(user_name, &vhost.name).explanation;
                Err(not_allowed(format!("{refused}: connection limit ({most}) is reached")))
            }
            _ => Ok(()),
        }
    }

    /// A client finished its handshake, or one of the broker's own interfaces has something to ask for. The id must not
    /// be in use.
    pub fn open_connection(&mut self, id: ConnectionId, user: UserId, vhost: VhostId) {
        let index = id.0 as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        let state = ConnectionState::new(self.next_serial(), user, vhost);
        self.users.get_mut(user).connections += 1;
        self.vhosts[vhost].connections += 1;
        let previous = self.connections[index].replace(state);
        assert!(previous.is_none(), "connection {index} is open already");
    }

    /// What an open connection is called: only those of clients have a name, and are counted.
    pub fn name_connection(&mut self, id: ConnectionId, name: &str) {
        if let Some(Some(state)) = self.connections.get_mut(id.0 as usize) {
            state.name = name.into();
            self.books.totals.connections_opened += 1;
        }
    }

    pub fn open_channel(&mut self, connection: ConnectionId, number: u16) -> ChannelId {
        let channel = Channel::new(self.next_serial(), connection, number);
        let id = ChannelId(u32::try_from(self.channels.insert(channel)).expect("fewer than 2^32 channels"));
        if let Some(Some(connection)) = self.connections.get_mut(connection.0 as usize) {
            connection.channels.push(id);
            self.users.get_mut(connection.user).channels += 1;
            self.books.totals.channels_opened += u64::from(connection.is_a_clients());
        }
        self.tell_channel_created(id);
        id
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Who asks, on an open channel of an open connection.
    pub fn caller(&self, channel: ChannelId) -> Caller {
        let connection = self.channel(channel).connection;
        let state = self.connections[connection.0 as usize].as_ref().expect("a channel's connection is open");
        Caller { connection, channel, user: state.user, vhost: state.vhost }
    }

    /// What an open connection is to be told when nobody may be on it any more: its user or its vhost was deleted.
    pub fn why_evicted(&self, id: ConnectionId) -> Option<String> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        let (user, vhost) = (self.users.get(connection.user), &self.vhosts[connection.vhost]);
        if user.is_deleted() {
            Some(format!("user '{}' is deleted", user.name))
        } else {
            (!vhost.is_there()).then(|| format!("vhost '{}' is deleted", vhost.name))
        }
    }

    /// The name of the vhost that a connection is open to, if it is open.
    pub fn vhost_of(&self, id: ConnectionId) -> Option<Arc<str>> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        Some(Arc::clone(&self.vhosts[connection.vhost].name))
    }

    /// Whether anything consumes on this connection.
    pub fn has_consumers(&self, id: ConnectionId) -> bool {
        let Some(Some(connection)) = self.connections.get(id.0 as usize) else { return false };
        connection.channels.iter().any(|channel| !self.channel(*channel).consumers.is_empty())
    }

    /// Ends a channel: its consumers go, its unacknowledged messages return to their places, in the next turns when they are
    /// [many](Self::has_left_behind).
    pub fn close_channel(&mut self, id: ChannelId) {
        let connection = self.channel(id).connection;
        if let Some(Some(connection)) = self.connections.get_mut(connection.0 as usize) {
            connection.channels.retain(|open| *open != id);
            self.users.get_mut(connection.user).channels -= 1;
            self.books.totals.channels_closed += u64::from(connection.is_a_clients());
        }
        self.end_channel(id);
    }

    fn end_channel(&mut self, id: ChannelId) {
        self.forget_reply_consumer(id);
        let channel = self.channel_mut(id);
        for (_, consumer) in std::mem::take(&mut channel.consumers) {
            self.tell_consumer_deleted(consumer, None);
            self.remove_consumer(consumer);
        }
        self.tell_channel_closed(id);
        let channel = self.channels.remove(id.0 as usize);
        if let ChannelMode::Confirm(confirms) = &channel.mode {
            self.books.totals.left_unconfirmed += confirms.unconfirmed();
        }
        self.leave_behind(channel);
    }

    /// Ends all channels of a connection, as [`close_channel`](Self::close_channel) does.
    pub fn close_channels(&mut self, id: ConnectionId) {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else { return };
        let channels = std::mem::take(&mut connection.channels);
        self.users.get_mut(connection.user).channels -= channels.len();
        if connection.is_a_clients() {
            self.books.totals.channels_closed += channels.len() as u64;
        }
        channels.into_iter().for_each(|channel| self.end_channel(channel));
    }

    /// Ends a connection, whatever way it went: its channels close, its exclusive queues are deleted.
    pub fn close_connection(&mut self, id: ConnectionId, effects: &mut impl Effects) -> ConnectionClosed {
        let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) else {
            return ConnectionClosed::default();
        };
        let closed_channels = count(connection.channels.len());
        // None of them is looked for in the list, which may be long, when it goes with its last consumer.
        let mut exclusive_queues = std::mem::take(&mut connection.exclusive_queues);
        let (user, vhost) = (connection.user, connection.vhost);
        self.books.totals.connections_closed += u64::from(connection.is_a_clients());
        self.close_channels(id);
        self.connections[id.0 as usize] = None;
        exclusive_queues.retain(|queue| self.queues.get(queue.0 as usize).is_some_and(|queue| !queue.deleted));
        for &queue in &exclusive_queues {
            // Only this connection could consume from them, so nobody is left to be told.
            let deleted = self.delete_queue_now(queue, None);
            self.notify_cancelled(&deleted, effects);
        }
        self.users.get_mut(user).connections -= 1;
        self.users.free_if_unused(user);
        self.vhosts[vhost].connections -= 1;
        ConnectionClosed { channels: closed_channels, exclusive_queues: count(exclusive_queues.len()) }
    }
}
