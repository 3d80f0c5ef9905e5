//! Virtual hosts, users, and who may do what: as tables that a decree changes and every command is held against.

use super::apply::ACCESS_REFUSED;
use super::{Client, ClientId, Due, Model, QueueKey, Tick};
use crate::command::BindingName;
use crate::decree::{Decree, Keys, Names, UserWords};
use leveret::broker::{UserLimits, VhostAttributes};
use std::collections::BTreeMap;

/// A virtual host; never used again for another, also of the same name.
pub type VhostKey = usize;
/// A user; never used again for another, also of the same name.
pub type UserKey = usize;

/// What is done with a queue or an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    Configure,
    Write,
    Read,
}

/// What the default exchange goes by where permissions are given.
const DEFAULT_EXCHANGE: &str = "amq.default";
/// What queues are called that the broker names.
pub const MADE_UP_QUEUE: &str = "amq.gen-";

/// What exists here and lasts.
#[derive(Clone, PartialEq, Debug)]
pub enum Tenant {
    Vhost(VhostKey, String, VhostAttributes),
    User(UserKey, UserWords, UserLimits),
    Permissions(UserKey, VhostKey, [Names; 3]),
    Topics(UserKey, VhostKey, String, [Keys; 2]),
}

/// What somebody logs in with: a user with a password that was right, if there was one.
pub struct Login(Option<(UserKey, UserWords)>);

#[derive(Default)]
pub struct WhoMay {
    /// Something changed; whoever looks at that sets it back.
    pub changed: bool,
    vhosts: BTreeMap<VhostKey, (String, VhostAttributes)>,
    users: BTreeMap<UserKey, (UserWords, UserLimits)>,
    permissions: BTreeMap<(UserKey, VhostKey), [Names; 3]>,
    topics: BTreeMap<(UserKey, VhostKey, String), [Keys; 2]>,
    /// Of all there ever were, by key.
    vhost_names: Vec<String>,
    user_names: Vec<String>,
}

impl WhoMay {
    /// What a broker has before anybody decreed anything.
    pub fn founded() -> Self {
        let mut founded = Self::default();
        let description = "Default virtual host".into();
        founded.put_vhost("/", VhostAttributes { description, ..VhostAttributes::default() });
        founded.put_user(UserWords::guest());
        founded.permissions.insert((0, 0), [Names::All; 3]);
        founded
    }

    pub fn vhost_named(&self, name: &str) -> Option<VhostKey> {
        self.vhosts.iter().find(|(_, (named, _))| named == name).map(|(key, _)| *key)
    }

    pub fn user_named(&self, name: &str) -> Option<UserKey> {
        self.users.iter().find(|(_, (user, _))| user.name == name).map(|(key, _)| *key)
    }

    /// Also of one that is gone.
    pub fn vhost_name(&self, key: VhostKey) -> &str {
        &self.vhost_names[key]
    }

    pub fn has_vhost(&self, key: VhostKey) -> bool {
        self.vhosts.contains_key(&key)
    }

    pub fn has_user(&self, key: UserKey) -> bool {
        self.users.contains_key(&key)
    }

    pub fn queues_max(&self, vhost: VhostKey) -> Option<u64> {
        self.vhosts.get(&vhost)?.1.queues_max
    }

    pub fn connections_max(&self, vhost: VhostKey) -> Option<u64> {
        self.vhosts.get(&vhost)?.1.connections_max
    }

    pub fn limits(&self, user: UserKey) -> UserLimits {
        self.users.get(&user).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// What it is to log in with this.
    pub fn login(&self, name: &str, secret: &str) -> Login {
        let words = self.user_named(name).map(|key| (key, self.users[&key].0.clone()));
        Login(words.filter(|(_, words)| words.secret == secret))
    }

    /// Who that is, if nobody gave the user another password meanwhile.
    fn whose(&self, Login(login): Login) -> Option<UserKey> {
        let (key, words) = login?;
        self.users.get(&key).filter(|(now, _)| *now == words).map(|_| key)
    }

    pub fn may_enter(&self, user: UserKey, vhost: VhostKey) -> bool {
        self.has_user(user) && self.has_vhost(vhost) && self.permissions.contains_key(&(user, vhost))
    }

    pub fn may(&self, user: UserKey, vhost: VhostKey, right: Right, name: &str) -> bool {
        let name = if name.is_empty() { DEFAULT_EXCHANGE } else { name };
        let permissions = self.permissions.get(&(user, vhost)).filter(|_| self.may_enter(user, vhost));
        permissions.is_some_and(|permissions| permissions[right as usize].contain(name))
    }

    pub fn may_everything(&self, user: UserKey, vhost: VhostKey) -> bool {
        self.permissions.get(&(user, vhost)) == Some(&[Names::All; 3])
    }

    /// Whether a routing key may be used with an exchange of type topic.
    pub fn may_with_key(&self, user: UserKey, vhost: VhostKey, right: Right, exchange: &str, key: &str) -> bool {
        let restricted = self.topics.get(&(user, vhost, exchange.to_owned()));
        let index = usize::from(right == Right::Read);
        restricted.is_none_or(|keys| keys[index].contain(key, &self.user_names[user], &self.vhost_names[vhost]))
    }

    pub fn has_default_queue_type(&self, vhost: VhostKey) -> bool {
        self.vhosts.get(&vhost).is_some_and(|(_, attributes)| attributes.default_queue_type.is_some())
    }

    fn put_vhost(&mut self, name: &str, attributes: VhostAttributes) {
        let key = self.vhost_named(name).unwrap_or_else(|| {
            self.vhost_names.push(name.to_owned());
            self.vhost_names.len() - 1
        });
        self.vhosts.insert(key, (name.to_owned(), attributes));
    }

    fn put_user(&mut self, words: UserWords) {
        let key = self.user_named(&words.name).unwrap_or_else(|| {
            self.user_names.push(words.name.clone());
            self.user_names.len() - 1
        });
        let limits = self.limits(key);
        self.users.insert(key, (words, limits));
    }

    /// Virtual hosts and users that are named are there.
    pub fn carry_out(&mut self, decree: &Decree) {
        self.changed = true;
        let user = |name: &str| self.user_named(name).expect("whoever is named is there");
        let vhost = |name: &str| self.vhost_named(name).expect("what is named is there");
        match decree {
            Decree::PutVhost { name, attributes } => self.put_vhost(name, attributes.clone()),
            Decree::DeleteVhost { name } => {
                let gone = vhost(name);
                self.vhosts.remove(&gone);
                self.permissions.retain(|(_, vhost), _| *vhost != gone);
                self.topics.retain(|(_, vhost, _), _| *vhost != gone);
            }
            Decree::PutUser(words) => self.put_user(words.clone()),
            Decree::LimitUser { name, limits } => {
                let key = user(name);
                self.users.get_mut(&key).expect("it was found").1 = *limits;
            }
            Decree::DeleteUser { name } => {
                let gone = user(name);
                self.users.remove(&gone);
                self.permissions.retain(|(user, _), _| *user != gone);
                self.topics.retain(|(user, ..), _| *user != gone);
            }
            Decree::Permit { user: name, vhost: of, names } => {
                let key = (user(name), vhost(of));
                self.permissions.insert(key, *names);
            }
            Decree::Forbid { user: name, vhost: of } => {
                let key = (user(name), vhost(of));
                self.permissions.remove(&key);
            }
            Decree::PermitTopics { user: name, vhost: of, exchange, keys } => {
                let key = (user(name), vhost(of), exchange.clone());
                self.topics.insert(key, *keys);
            }
            Decree::ForbidTopics { user: name, vhost: of, exchange } => {
                let (user, vhost) = (user(name), vhost(of));
                self.topics.retain(|(of, at, restricted), _| {
                    (*of, *at) != (user, vhost) || exchange.is_some_and(|exchange| exchange != restricted)
                });
            }
        }
    }

    pub fn lasting(&self) -> impl Iterator<Item = Tenant> + '_ {
        let vhost = |(key, (name, attributes)): (&VhostKey, &(String, VhostAttributes))| {
            Tenant::Vhost(*key, name.clone(), attributes.clone())
        };
        let user =
            |(key, (words, limits)): (&UserKey, &(UserWords, UserLimits))| Tenant::User(*key, words.clone(), *limits);
        let permissions =
            self.permissions.iter().map(|((user, vhost), names)| Tenant::Permissions(*user, *vhost, *names));
        let topics = self.topics.iter();
        let topics = topics.map(|((user, vhost, at), keys)| Tenant::Topics(*user, *vhost, at.clone(), *keys));
        self.vhosts.iter().map(vhost).chain(self.users.iter().map(user)).chain(permissions).chain(topics)
    }

    /// In the words of what a start finds.
    pub fn words(&self, tenant: &Tenant) -> String {
        match tenant {
            Tenant::Vhost(_, name, attributes) => vhost_words(name, attributes),
            Tenant::User(_, words, limits) => user_words(&words.name, &words.hash().to_string(), words.tag, limits),
            Tenant::Permissions(user, vhost, names) => {
                permission_words(&self.user_names[*user], &self.vhost_names[*vhost], &names.map(Names::text))
            }
            Tenant::Topics(user, vhost, exchange, keys) => {
                let (user, vhost) = (&self.user_names[*user], &self.vhost_names[*vhost]);
                topic_words(user, vhost, exchange, &keys.map(Keys::text))
            }
        }
    }

    /// Nothing is there but what outlived the broker.
    pub fn restart<'a>(&mut self, tenants: impl Iterator<Item = &'a Tenant>) {
        self.vhosts.clear();
        self.users.clear();
        self.permissions.clear();
        self.topics.clear();
        for tenant in tenants.cloned() {
            match tenant {
                Tenant::Vhost(key, name, attributes) => drop(self.vhosts.insert(key, (name, attributes))),
                Tenant::User(key, words, limits) => drop(self.users.insert(key, (words, limits))),
                Tenant::Permissions(user, vhost, names) => drop(self.permissions.insert((user, vhost), names)),
                Tenant::Topics(user, vhost, exchange, keys) => drop(self.topics.insert((user, vhost, exchange), keys)),
            }
        }
    }
}

pub fn vhost_words(name: &str, attributes: &VhostAttributes) -> String {
    format!("virtual host {name} {attributes:?}")
}

/// `hash` is that of the password, as text.
pub fn user_words(name: &str, hash: &str, tags: &str, limits: &UserLimits) -> String {
    format!("user {name} with {hash}, tags '{tags}', {limits:?}")
}

pub fn permission_words(user: &str, vhost: &str, patterns: &[&str; 3]) -> String {
    format!("permissions of {user} in {vhost}: {patterns:?}")
}

pub fn topic_words(user: &str, vhost: &str, exchange: &str, patterns: &[&str; 2]) -> String {
    format!("topic permissions of {user} in {vhost} at {exchange}: {patterns:?}")
}

impl Model {
    /// Somebody who may do so changes who may what. Says the number of the act.
    pub fn decree(&mut self, decree: &Decree) -> Tick {
        self.lasting.begin_act();
        self.end_freshness();
        self.begin_doubts();
        self.who_may.carry_out(decree);
        for vhost in self.who_may.vhosts.keys() {
            self.routings.entry(*vhost).or_default();
        }
        for client in self.clients.values_mut().filter(|client| client.open) {
            let is_there = client.user.is_some_and(|user| self.who_may.has_user(user))
                && client.vhost.is_some_and(|vhost| self.who_may.has_vhost(vhost));
            client.doomed |= !is_there;
        }
        self.clear_vhosts();
        self.end_act();
        self.lasting.now()
    }

    /// Virtual hosts that are gone, and in which nobody is any more, are empty.
    pub(super) fn clear_vhosts(&mut self) {
        let gone = |key: &VhostKey| !self.who_may.has_vhost(*key);
        let is_used = |key: &VhostKey| self.clients.values().any(|client| client.open && client.vhost == Some(*key));
        let keys: Vec<VhostKey> = self.routings.keys().copied().filter(|key| gone(key) && !is_used(key)).collect();
        for vhost in keys {
            let queues = self.queues.iter().filter(|(_, queue)| queue.vhost == vhost).map(|(key, _)| *key);
            for key in queues.collect::<Vec<QueueKey>>() {
                self.delete_queue(key);
            }
            self.routings.remove(&vhost);
        }
    }

    /// Somebody whose user or virtual host is gone is still connected.
    pub fn is_anybody_doomed(&self) -> bool {
        self.clients.values().any(|client| client.open && client.doomed)
    }

    /// 403 unless the client may do this with what has that name.
    pub(super) fn assert_may(&self, client: ClientId, right: Right, name: &str) -> Result<(), u16> {
        let (user, vhost) = self.place_of(client);
        if self.who_may.may(user, vhost, right, name) { Ok(()) } else { Err(ACCESS_REFUSED) }
    }

    /// 403 unless the client may use these routing keys with an exchange, if that is one that restricts them.
    pub(super) fn assert_may_with_keys<'a>(
        &self,
        client: ClientId,
        right: Right,
        exchange: &str,
        mut keys: impl Iterator<Item = &'a str>,
    ) -> Result<(), u16> {
        let (user, vhost) = self.place_of(client);
        let is_topic = self.routings[&vhost].is_topic(exchange);
        let may = !is_topic || keys.all(|key| self.who_may.may_with_key(user, vhost, right, exchange, key));
        if may { Ok(()) } else { Err(ACCESS_REFUSED) }
    }

    /// Opens a client to a virtual host, if it may enter it and nobody has too many connections.
    pub(super) fn admit(&mut self, client: ClientId, vhost: &str) -> bool {
        let user = self.clients[&client].user.expect("whoever opens has logged in");
        let Some(vhost) = self.who_may.vhost_named(vhost) else { return false };
        let open = self.clients.values().filter(|client| client.open);
        let of_vhost = open.clone().filter(|client| client.vhost == Some(vhost)).count() as u64;
        let of_user = open.filter(|client| client.user == Some(user)).count() as u64;
        let has_room = self.who_may.connections_max(vhost).is_none_or(|most| of_vhost < most)
            && self.who_may.limits(user).connections_max.is_none_or(|most| of_user < most);
        let admitted = has_room && self.who_may.may_enter(user, vhost);
        if admitted {
            let state = self.clients.get_mut(&client).expect("it is there");
            (state.open, state.vhost) = (true, Some(vhost));
        }
        admitted
    }

    pub(super) fn has_room_for_channel(&self, client: ClientId) -> bool {
        let (user, _) = self.place_of(client);
        let of_user = self.clients.values().filter(|client| client.open && client.user == Some(user));
        let channels = of_user.flat_map(|client| client.channels.values()).filter(|channel| !channel.closing);
        self.who_may.limits(user).channels_max.is_none_or(|most| (channels.count() as u64) < most)
    }

    /// 403 unless the client may make, or take away, such a binding to what has that name.
    pub(super) fn assert_may_bind(
        &self,
        client: ClientId,
        destination: &str,
        binding: &BindingName,
    ) -> Result<(), u16> {
        self.assert_may(client, Right::Write, destination)?;
        self.assert_may(client, Right::Read, &binding.source)?;
        let key = binding.routing_key.as_str();
        self.assert_may_with_keys(client, Right::Read, &binding.source, [key].into_iter())
    }

    /// Whether a virtual host has as many queues as it may have.
    pub(super) fn is_full_of_queues(&self, vhost: VhostKey) -> bool {
        let count = self.queues.values().filter(|queue| queue.vhost == vhost).count() as u64;
        self.who_may.queues_max(vhost).is_some_and(|most| count >= most)
    }

    /// Somebody hears whether it may come in.
    pub(super) fn answer_login(&mut self, client: ClientId) {
        let state = self.clients.get_mut(&client).expect("it is there");
        let Some(login) = state.login.take() else { return };
        state.user = self.who_may.whose(login);
        let due = if state.user.is_some() { Due::Plain(10, 30) } else { Due::ConnectionClose(ACCESS_REFUSED) };
        self.due(client, 0, due);
    }

    /// What was being checked has been.
    pub(super) fn answer_logins(&mut self) {
        self.clients.keys().copied().collect::<Vec<_>>().into_iter().for_each(|client| self.answer_login(client));
    }

    /// As whom, and where, an open client acts.
    pub(super) fn place_of(&self, client: ClientId) -> (UserKey, VhostKey) {
        let client = &self.clients[&client];
        client.user.zip(client.vhost).expect("it is open")
    }

    /// The names of all virtual hosts.
    pub fn vhosts(&self) -> Vec<String> {
        self.who_may.vhosts.values().map(|(name, _)| name.clone()).collect()
    }

    /// The names of all users.
    pub fn users(&self) -> Vec<String> {
        self.who_may.users.values().map(|(user, _)| user.name.clone()).collect()
    }

    /// As whom, and where, clients are that may do something, and the exchanges that they published to last.
    pub fn places(&self) -> Vec<(String, String, String)> {
        let open = self.clients.values().filter(|client| client.open && !client.doomed);
        let named = |client: &Client| {
            let (user, vhost) = (&self.who_may.user_names[client.user?], &self.who_may.vhost_names[client.vhost?]);
            Some((user.clone(), vhost.clone(), client.last_exchange.clone()))
        };
        open.filter_map(named).collect()
    }

    /// With what a user logs in.
    pub fn secret_of(&self, name: &str) -> &'static str {
        self.who_may.user_named(name).map_or("nobody's", |key| self.who_may.users[&key].0.secret)
    }

    /// Whether a client is there that may do everything where it is; and where that is.
    pub fn reigns_in(&self, client: ClientId) -> Option<VhostKey> {
        let client = self.clients.get(&client).filter(|client| client.open)?;
        let (user, vhost) = client.user.zip(client.vhost)?;
        self.who_may.may_everything(user, vhost).then_some(vhost)
    }
}
