//! Users: who may log in, with what, and how much one of them may take.
//!
//! It owns their names, password hashes, tags and limits. What they may do is [`access`](super::access)'s; a password is
//! checked elsewhere. A user that is deleted has no name and no permission from that moment on, and keeps its slot until its
//! connections are closed.
//! The [bearers](super::bearers), for whom others vouch, are users who have neither.

use super::store::{Definition, Store, UserDefinition};
use super::{Broker, ConnectionId, Done, UserId};
use crate::access::{Bearer, PasswordHash, Powers, Scopes, Tags};
use crate::protocol::{AmqpError, ReplyCode, ShortString};
use hashbrown::HashMap;
use std::sync::Arc;

/// How much one user may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UserLimits {
    /// Most connections to open virtual hosts; `None` for no limit.
    pub connections_max: Option<u64>,
    /// Most open channels on all its connections together; `None` for no limit.
    pub channels_max: Option<u64>,
}

/// Somebody who may log in.
#[derive(Debug)]
pub struct User {
    pub name: Arc<str>,
    pub password: Arc<PasswordHash>,
    pub tags: Arc<Tags>,
    pub limits: UserLimits,
    serial: u64,
    /// Nobody can log in as it any more.
    deleted: bool,
    pub(super) vouched: Option<Vouched>,
    pub(super) connections: usize,
    pub(super) channels: usize,
}

/// What a user is besides, for whom others vouch.
#[derive(Debug)]
pub(super) struct Vouched {
    pub powers: Powers,
    /// It is there without connections: until it is [dismissed](Broker::dismiss).
    pub stays: bool,
}

/// Whether whoever has these can make users and virtual hosts: without a password nobody logs in to do it.
pub(super) fn can_administer(password: &PasswordHash, tags: &Tags) -> bool {
    tags.is_administrator() && *password != PasswordHash::Absent
}

impl User {
    fn may_administer(&self) -> bool {
        can_administer(&self.password, &self.tags)
    }

    /// Nobody can log in as it any more, and whoever did is to go.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Others vouch for it.
    pub(super) fn is_bearer(&self) -> bool {
        self.vouched.is_some()
    }

    /// What others say that it may, where they vouch for it.
    pub(super) fn powers(&self) -> Option<&Powers> {
        self.vouched.as_ref().map(|vouched| &vouched.powers)
    }

    /// What the token lets it do that it showed, if it showed one.
    pub(super) fn scopes(&self) -> Option<&Scopes> {
        match self.powers() {
            Some(Powers::Scopes(scopes)) => Some(scopes),
            _ => None,
        }
    }
}

/// A user that may be deleted when it is asked for again, and its slot another one's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UserKey {
    pub(super) id: UserId,
    serial: u64,
}

/// All users.
#[derive(Default)]
pub(super) struct Users {
    slots: Vec<Option<User>>,
    free: Vec<UserId>,
    by_name: HashMap<Arc<str>, UserId>,
    /// Those who [may administer](User::may_administer).
    administrators: usize,
}

impl Users {
    pub fn named(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// A user that is there, or whose connections are.
    pub fn get(&self, id: UserId) -> &User {
        self.slots[id.0 as usize].as_ref().expect("a user stays as long as its connections do")
    }

    pub fn get_mut(&mut self, id: UserId) -> &mut User {
        self.slots[id.0 as usize].as_mut().expect("a user stays as long as its connections do")
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// One past the last slot.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The user in a slot that is not deleted. Others may vouch for it.
    pub fn in_slot(&self, slot: usize) -> Option<(UserId, &User)> {
        let user = self.slots.get(slot)?.as_ref().filter(|user| !user.deleted)?;
        Some((UserId(slot as u32), user))
    }

    fn add(&mut self, serial: u64, name: &str, password: PasswordHash, tags: Tags, limits: UserLimits) -> UserId {
        let name: Arc<str> = name.into();
        self.administrators += usize::from(can_administer(&password, &tags));
        let id = self.take_slot(User {
            name: Arc::clone(&name),
            password: Arc::new(password),
            tags: Arc::new(tags),
            limits,
            serial,
            deleted: false,
            vouched: None,
            connections: 0,
            channels: 0,
        });
        let previous = self.by_name.insert(name, id);
        assert!(previous.is_none(), "there is one user of a name");
        id
    }

    pub fn add_bearer(&mut self, serial: u64, bearer: &Bearer, vouched: Vouched) -> UserId {
        self.take_slot(User {
            name: Arc::clone(&bearer.name),
            password: Arc::new(PasswordHash::Absent),
            tags: Arc::clone(&bearer.tags),
            limits: UserLimits::default(),
            serial,
            deleted: false,
            vouched: Some(vouched),
            connections: 0,
            channels: 0,
        })
    }

    fn take_slot(&mut self, user: User) -> UserId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            UserId(u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 users"))
        });
        self.slots[id.0 as usize] = Some(user);
        id
    }

    fn change(&mut self, id: UserId, change: impl FnOnce(&mut User)) {
        let user = self.get_mut(id);
        let was = user.may_administer();
        change(user);
        let is = user.may_administer();
        self.administrators = self.administrators + usize::from(is) - usize::from(was);
    }

    fn delete(&mut self, id: UserId) {
        let name = Arc::clone(&self.get(id).name);
        self.by_name.remove(&name);
        self.administrators -= usize::from(self.get(id).may_administer());
        self.get_mut(id).deleted = true;
        self.free_if_unused(id);
    }

    /// How many connections and channels are open of the user in a slot.
    pub fn counts(&self, id: UserId) -> (usize, usize) {
        self.slots[id.0 as usize].as_ref().map_or((0, 0), |user| (user.connections, user.channels))
    }

    /// Gives the slot of a deleted user back, or of a bearer that is to go, when nobody is connected as it.
    pub fn free_if_unused(&mut self, id: UserId) {
        let user = self.get(id);
        let is_to_go = user.deleted || user.vouched.as_ref().is_some_and(|vouched| !vouched.stays);
        if is_to_go && user.connections == 0 {
            self.slots[id.0 as usize] = None;
            self.free.push(id);
        }
    }
}

impl<S: Store> Broker<S> {
    /// The user of that name.
    pub fn find_user(&self, name: &[u8]) -> Option<UserKey> {
        self.users.named(name).map(|id| self.user_key(id))
    }

    /// What to keep of a user that may be deleted meanwhile.
    pub fn user_key(&self, id: UserId) -> UserKey {
        UserKey { id, serial: self.users.get(id).serial }
    }

    /// The user that a key was made for, unless it was deleted.
    pub fn user_of(&self, key: UserKey) -> Option<UserId> {
        let (id, user) = self.users.in_slot(key.id.0 as usize)?;
        (user.serial == key.serial).then_some(id)
    }

    /// The user that a key was made for, unless it was deleted.
    pub fn user(&self, key: UserKey) -> Option<&User> {
        self.user_of(key).map(|id| self.users.get(id))
    }

    /// A user that is there, or whose connections are.
    pub fn user_at(&self, id: UserId) -> &User {
        self.users.get(id)
    }

    /// The name of a user that is there, or whose connections are.
    pub fn user_name(&self, id: UserId) -> &str {
        &self.users.get(id).name
    }

    /// Whether a user may put another's name on a message.
    pub(super) fn may_impersonate(&self, id: UserId) -> bool {
        self.users.get(id).tags.is_impersonator()
    }

    /// Makes a user, or gives the one of that name another password and other tags. Says whether it is new.
    ///
    /// The name has 1 to 255 bytes.
    pub fn put_user(&mut self, name: &str, password: PasswordHash, tags: Tags) -> Done<bool> {
        let existing = self.users.named(name.as_bytes());
        let (id, has_other_password, has_other_tags) = match existing {
            Some(id) => {
                let user = self.users.get(id);
                let (has_other_password, has_other_tags) = (*user.password != password, *user.tags != tags);
                self.users.change(id, |user| (user.password, user.tags) = (Arc::new(password), Arc::new(tags)));
                (id, has_other_password, has_other_tags)
            }
            None => {
                let has_tags = tags.iter().next().is_some();
                (self.add_user(name, password, tags, UserLimits::default()), false, has_tags)
            }
        };
        self.define_user(id);
        if existing.is_none() {
            self.tell_of_user("user.created", id);
        }
        if has_other_password {
            self.tell_password_changed(id);
        }
        // Who says the same again is told to have said it.
        if has_other_tags || existing.is_some() && !has_other_password {
            self.tell_tags_set(id);
        }
        self.done(existing.is_none())
    }

    fn add_user(&mut self, name: &str, password: PasswordHash, tags: Tags, limits: UserLimits) -> UserId {
        let serial = self.next_serial();
        self.users.add(serial, name, password, tags, limits)
    }

    /// From now on nobody logs in as this user but with the new password. Who is connected stays so.
    pub fn change_password(&mut self, id: UserId, password: PasswordHash) -> Done<()> {
        self.users.change(id, |user| user.password = Arc::new(password));
        self.define_user(id);
        self.tell_password_changed(id);
        self.done(())
    }

    pub fn set_user_tags(&mut self, id: UserId, tags: Tags) -> Done<()> {
        self.users.change(id, |user| user.tags = Arc::new(tags));
        self.define_user(id);
        self.tell_tags_set(id);
        self.done(())
    }

    /// What is there already stays, however much it is.
    pub fn set_user_limits(&mut self, id: UserId, limits: UserLimits) -> Done<()> {
        let before = std::mem::replace(&mut self.users.get_mut(id).limits, limits);
        self.define_user(id);
        self.tell_user_limits(id, before);
        self.done(())
    }

    /// Deletes a user with all its permissions: from now on nothing is done as it. Its connections are for the caller to
    /// close.
    pub fn delete_user(&mut self, id: UserId) -> Done<()> {
        self.tell_of_user("user.deleted", id);
        let name = ShortString::truncated(self.user_name(id).as_bytes());
        self.access.forget_user(id);
        self.users.delete(id);
        self.epoch.end();
        self.define(&Definition::UserDeleted { name });
        self.done(())
    }

    /// Whether nobody but this user can log in and administer.
    pub fn is_last_administrator(&self, id: UserId) -> bool {
        self.users.get(id).may_administer() && self.users.administrators == 1
    }

    /// Whether anybody can log in and administer.
    pub(super) fn has_administrators(&self) -> bool {
        self.users.administrators > 0
    }

    /// How many could log in and administer, if these users could, or couldn't.
    pub(super) fn administrators_after<'a>(&self, changed: impl Iterator<Item = (&'a ShortString, bool)>) -> usize {
        changed.fold(self.users.administrators, |administrators, (name, can)| {
            let could = self.users.named(name).is_some_and(|id| self.users.get(id).may_administer());
            administrators + usize::from(can) - usize::from(could)
        })
    }

    /// Whether there would be nobody who can log in and administer, if this user had that password and those tags.
    pub fn would_be_without_administrator(&self, id: UserId, password: &PasswordHash, tags: &Tags) -> bool {
        self.is_last_administrator(id) && !can_administer(password, tags)
    }

    /// # Errors
    /// 530 when the user of an open connection has as many channels as it may have.
    pub fn assert_room_for_channel(&self, connection: ConnectionId) -> Result<(), AmqpError> {
        let Some(Some(connection)) = self.connections.get(connection.0 as usize) else { return Ok(()) };
        let user = self.users.get(connection.user);
        match user.limits.channels_max {
            Some(most) if user.channels as u64 >= most => {
                let explanation = format!(
                    "number of channels opened for user '{}' has reached the maximum allowed user limit of ({most})",
                    user.name
                );
                Err(AmqpError::connection(ReplyCode::NotAllowed, explanation).without_method())
            }
            _ => Ok(()),
        }
    }

    fn define_user(&mut self, id: UserId) {
        let User { name, password, tags, limits, .. } = self.users.get(id);
        let definition = UserDefinition {
            name: ShortString::truncated(name.as_bytes()),
            password: password.to_string().into(),
            tags: tags.iter().map(Into::into).collect(),
            max_connections: limits.connections_max,
            max_channels: limits.channels_max,
        };
        self.define(&Definition::UserDeclared(definition));
    }

    /// Puts a user back.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn restore_user(&mut self, definition: UserDefinition) -> Result<(), String> {
        let UserDefinition { name, password, tags, max_connections, max_channels } = definition;
        let text = std::str::from_utf8(&name).map_err(|_| format!("the name of user {name} is not UTF-8"))?;
        if self.users.named(&name).is_some() {
            return Err(format!("there is a second user {text}"));
        }
        let password =
            PasswordHash::parse(&password).ok_or_else(|| format!("the password hash of user {text} can't be read"))?;
        let limits = UserLimits { connections_max: max_connections, channels_max: max_channels };
        let tags = Tags::new(tags).map_err(|error| format!("the tags of user {text}: {error}"))?;
        self.add_user(text, password, tags, limits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{DeclareRequest, Permissions};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);

    fn password() -> PasswordHash {
        PasswordHash::salted_sha256(b"secret", [1; 4])
    }

    /// Makes `bob`, who may do everything.
    fn make_bob(broker: &mut Broker<MemoryStore>) -> UserKey {
        assert!(broker.put_user("bob", password(), Tags::default()).value);
        let bob = broker.find_user(b"bob").unwrap();
        broker.set_permissions(bob.id, VHOST, Permissions::all());
        bob
    }

    fn declare(broker: &mut Broker<MemoryStore>) -> Result<(), String> {
        let caller = testing::caller(broker, CLIENT);
        let (name, arguments) = (b"q".as_slice(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller, request, &mut Nobody).map(drop).map_err(|error| error.explanation)
    }

    #[test]
    fn a_deleted_user_can_do_nothing_and_its_successor_is_another_one() {
        let mut broker = testing::broker();
        let bob = make_bob(&mut broker);
        broker.open_connection(CLIENT, bob.id, VHOST);
        broker.open_channel(CLIENT, 1);
        declare(&mut broker).unwrap();
        let before = broker.epoch();
        broker.delete_user(bob.id);
        assert_ne!(broker.epoch(), before);
        let refused = "configure access to queue 'q' in vhost '/' refused for user 'bob'";
        assert_eq!(declare(&mut broker).unwrap_err(), refused);
        assert_eq!((broker.find_user(b"bob"), broker.user_of(bob)), (None, None));
        let turned_away = "access to vhost '/' refused for user 'bob'";
        assert_eq!(broker.admit(bob, "bob", b"/").unwrap_err().explanation, turned_away);
        assert_eq!(broker.why_evicted(CLIENT).as_deref(), Some("user 'bob' is deleted"));

        let second = make_bob(&mut broker);
        assert_ne!(second.id, bob.id, "the slot is taken as long as there is a connection");
        assert_eq!(declare(&mut broker).unwrap_err(), refused, "what the other one may is not for the first");
        assert!(broker.why_evicted(CLIENT).is_some());
        broker.census();
        broker.close_connection(CLIENT, &mut Nobody);

        broker.put_user("carol", password(), Tags::default());
        let carol = broker.find_user(b"carol").unwrap();
        assert_eq!(carol.id, bob.id, "and then another one's");
        assert_eq!(broker.user_of(bob), None);
        assert!(!broker.may_enter(carol.id, VHOST), "who may do nothing that the first one might");
        broker.census();
    }

    #[test]
    fn the_last_administrator_is_known() {
        let mut broker = testing::broker();
        let guest = testing::USER;
        assert!(broker.is_last_administrator(guest));
        broker.put_user("bob", password(), Tags::administrator());
        let bob = broker.find_user(b"bob").unwrap().id;
        assert!(!broker.is_last_administrator(guest) && !broker.is_last_administrator(bob));
        broker.set_user_tags(bob, Tags::new(["monitoring"]).unwrap());
        assert!(broker.is_last_administrator(guest) && !broker.is_last_administrator(bob));
        broker.put_user("bob", password(), Tags::administrator());
        broker.delete_user(guest);
        assert!(broker.is_last_administrator(bob));
    }

    #[test]
    fn an_administrator_without_a_password_is_none() {
        let mut broker = testing::broker();
        let guest = testing::USER;
        broker.put_user("bob", PasswordHash::Absent, Tags::administrator());
        let bob = broker.find_user(b"bob").unwrap().id;
        assert!(broker.is_last_administrator(guest) && !broker.is_last_administrator(bob));
        let leaves_nobody = |broker: &Broker<MemoryStore>, password: PasswordHash, tags: Tags| {
            broker.would_be_without_administrator(guest, &password, &tags)
        };
        assert!(leaves_nobody(&broker, PasswordHash::Absent, Tags::administrator()));
        assert!(leaves_nobody(&broker, password(), Tags::default()));
        assert!(!leaves_nobody(&broker, password(), Tags::administrator()));
        broker.change_password(bob, password());
        assert!(!broker.is_last_administrator(guest));
        assert!(!leaves_nobody(&broker, PasswordHash::Absent, Tags::administrator()));
        broker.change_password(guest, PasswordHash::Absent);
        assert!(broker.is_last_administrator(bob) && !broker.is_last_administrator(guest));
        broker.delete_user(guest);
        assert!(broker.is_last_administrator(bob));
    }

    #[test]
    fn limits_of_a_user_hold_for_one_more_and_for_nothing_that_is_there() {
        let mut broker = testing::broker();
        let bob = make_bob(&mut broker);
        broker.open_connection(CLIENT, bob.id, VHOST);
        broker.open_channel(CLIENT, 1);
        broker.set_user_limits(bob.id, UserLimits { connections_max: Some(1), channels_max: Some(1) });
        let refused = "connection refused for user 'bob': user connection limit (1) is reached";
        assert_eq!(broker.admit(bob, "bob", b"/").unwrap_err().explanation, refused);
        let refused = "number of channels opened for user 'bob' has reached the maximum allowed user limit of (1)";
        assert_eq!(broker.assert_room_for_channel(CLIENT).unwrap_err().explanation, refused);
        broker.set_user_limits(bob.id, UserLimits { connections_max: Some(2), channels_max: None });
        assert_eq!(broker.admit(bob, "bob", b"/"), Ok((bob.id, VHOST)));
        assert_eq!(broker.assert_room_for_channel(CLIENT), Ok(()));
        assert!(broker.user(bob).is_some_and(|user| user.limits.connections_max == Some(2)));
    }
}
