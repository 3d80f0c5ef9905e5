//! Who may do what with which names.
//!
//! It owns the permissions of users: a set of three patterns for each vhost that a user may enter, and patterns of routing
//! keys for exchanges of type topic. Whoever showed a token has none, and may do what its [scopes](crate::access::Scopes)
//! say. It is asked in `resolve` alone, before a name is looked for, and knows nothing of what exists. What a pattern
//! matches is [`crate::access`]'s.
//!
//! A vhost's permissions are gone with it: each is given for one [serial](super::vhost::Vhost::serial) of a vhost, which no
//! other has.

use super::store::{Definition, Store};
use super::vhost::VhostKey;
use super::{Broker, Done, UserId, VhostId};
pub use crate::access::Right;

use crate::access::{About, Pattern, Powers, Scopes};
use crate::protocol::ShortString;
use std::collections::BTreeMap;

/// Whether a name is one of those that a test means.
#[cfg(test)]
pub(super) type Asked = Box<dyn Fn(&[u8]) -> bool>;

/// Names of queues and exchanges.
pub enum Names {
    /// Those that a pattern matches.
    Matching(Pattern),
    /// Those that a test says, which hears what is asked.
    #[cfg(test)]
    Asked(Asked),
}

impl Names {
    #[inline]
    fn contain(&self, name: &[u8]) -> bool {
        match self {
            Self::Matching(pattern) => pattern.matches(name),
            #[cfg(test)]
            Self::Asked(matches) => matches(name),
        }
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Matching(pattern) => pattern.as_str(),
            #[cfg(test)]
            Self::Asked(_) => "asked",
        }
    }
}

impl From<Pattern> for Names {
    fn from(pattern: Pattern) -> Self {
        Self::Matching(pattern)
    }
}

/// What a user may do in a vhost. The default exchange goes by the name of `amq.default` here.
pub struct Permissions {
    pub configure: Names,
    pub write: Names,
    pub read: Names,
}

impl Permissions {
    /// Everything.
    pub fn all() -> Self {
        let all = || Names::Matching(Pattern::everything());
        Self { configure: all(), write: all(), read: all() }
    }
}

/// Routing keys with which a user may publish to an exchange, and binding keys with which it may bind to it.
pub struct TopicPermissions {
    pub write: Pattern,
    pub read: Pattern,
}

impl TopicPermissions {
    /// Whether they let a key be used so. Nobody configures one.
    pub(super) fn allow(&self, right: Right, key: &[u8]) -> bool {
        match right {
            Right::Configure => false,
            Right::Write => self.write.matches(key),
            Right::Read => self.read.matches(key),
        }
    }
}

/// What restricts the routing keys that somebody may use with one exchange.
pub(super) enum KeyRules<'a> {
    Patterns(&'a TopicPermissions),
    Scopes {
        scopes: &'a Scopes,
        vhost: &'a str,
        exchange: &'a [u8],
    },
    /// Somebody else is asked for each.
    Elsewhere,
}

impl KeyRules<'_> {
    /// Whether they let a key be used so.
    pub fn allow(&self, right: Right, key: &[u8]) -> bool {
        match self {
            Self::Patterns(permissions) => permissions.allow(right, key),
            Self::Scopes { scopes, vhost, exchange } => scopes.allow_key(right, vhost, exchange, key),
            Self::Elsewhere => false,
        }
    }

    /// Whether any key may be used so.
    pub fn allow_every_key(&self, right: Right) -> bool {
        match self {
            Self::Patterns(_) | Self::Elsewhere => false,
            Self::Scopes { scopes, vhost, exchange } => scopes.allow_every_key(right, vhost, exchange),
        }
    }
}

/// What a user was given in one vhost.
struct Granted {
    vhost_serial: u64,
    permissions: Option<Permissions>,
    /// By exchange.
    topics: BTreeMap<ShortString, TopicPermissions>,
}

impl Granted {
    fn nothing(vhost_serial: u64) -> Self {
        Self { vhost_serial, permissions: None, topics: BTreeMap::new() }
    }
}

/// The permissions of all users: by user, and of each those vhosts where it was given any, in their order. Of many users
/// most have a vhost of their own, and none is to cost room in every user's table.
#[derive(Default)]
pub(super) struct Access {
    granted: Vec<Vec<(VhostId, Box<Granted>)>>,
}

impl Access {
    #[inline]
    fn granted(&self, user: UserId, vhost: VhostKey) -> Option<&Granted> {
        let of_user = self.granted.get(user.0 as usize)?;
        let position = of_user.binary_search_by_key(&vhost.id, |(id, _)| *id).ok()?;
        let granted = &*of_user[position].1;
        (granted.vhost_serial == vhost.serial).then_some(granted)
    }

    /// Where to put what is given to a user in a vhost.
    fn grant(&mut self, user: UserId, VhostKey { id, serial }: VhostKey) -> &mut Granted {
        let user = user.0 as usize;
        if self.granted.len() <= user {
            self.granted.resize_with(user + 1, Vec::new);
        }
        let of_user = &mut self.granted[user];
        let position = of_user.binary_search_by_key(&id, |(id, _)| *id).unwrap_or_else(|position| {
            of_user.insert(position, (id, Box::new(Granted::nothing(serial))));
            position
        });
        let granted = &mut of_user[position].1;
        if granted.vhost_serial != serial {
            **granted = Granted::nothing(serial);
        }
        granted
    }

    pub fn permissions(&self, user: UserId, vhost: VhostKey) -> Option<&Permissions> {
        self.granted(user, vhost)?.permissions.as_ref()
    }

    /// What restricts the keys that a user uses with an exchange, if anything does.
    pub fn topic_permissions(&self, user: UserId, vhost: VhostKey, exchange: &[u8]) -> Option<&TopicPermissions> {
        self.granted(user, vhost)?.topics.get(exchange)
    }

    /// All of a user's in a vhost, by exchange.
    pub fn all_topic_permissions(
        &self,
        user: UserId,
        vhost: VhostKey,
    ) -> impl Iterator<Item = (&ShortString, &TopicPermissions)> {
        self.granted(user, vhost).into_iter().flat_map(|granted| &granted.topics)
    }

    /// Whether a user may do this with what has this name in a vhost, or would have it.
    pub fn may(&self, user: UserId, right: Right, vhost: VhostKey, name: &[u8]) -> bool {
        let names = |permissions: &Permissions| match right {
            Right::Configure => permissions.configure.contain(name),
            Right::Write => permissions.write.contain(name),
            Right::Read => permissions.read.contain(name),
        };
        self.permissions(user, vhost).is_some_and(names)
    }

    pub fn forget_user(&mut self, user: UserId) {
        if let Some(of_user) = self.granted.get_mut(user.0 as usize) {
            *of_user = Vec::new();
        }
    }
}

impl<S: Store> Broker<S> {
    /// From now on a user may do this in a vhost, and enter it. Says whether it could not enter it before. The epoch ends,
    /// as what a publisher was allowed before it may not be any more.
    pub fn set_permissions(&mut self, user: UserId, vhost: VhostId, permissions: Permissions) -> Done<bool> {
        debug_assert!(!self.users.get(user).is_bearer(), "nothing lasts of who showed a token");
        let definition = Definition::Permitted {
            user: ShortString::truncated(self.user_name(user).as_bytes()),
            vhost,
            configure: permissions.configure.text().into(),
            write: permissions.write.text().into(),
            read: permissions.read.text().into(),
        };
        self.tell_permitted(user, vhost, &permissions);
        let previous = self.permit(user, vhost, permissions);
        self.define(&definition);
        self.done(previous.is_none())
    }

    /// Who made a vhost may do everything in it. The bearer of a token may what its scopes say, there as well: what is given
    /// lasts, and nothing of a bearer does.
    pub fn set_permissions_of_maker(&mut self, maker: UserId, vhost: VhostId) -> Done<()> {
        match self.users.get(maker).is_bearer() {
            true => self.done(()),
            false => self.set_permissions(maker, vhost, Permissions::all()).map(|_| ()),
        }
    }

    fn permit(&mut self, user: UserId, vhost: VhostId, permissions: Permissions) -> Option<Permissions> {
        let key = self.vhost_key(vhost);
        self.epoch.end();
        self.access.grant(user, key).permissions.replace(permissions)
    }

    /// From now on a user may do nothing in a vhost, not even enter it. Says whether it could do something. Who is connected
    /// stays so.
    pub fn clear_permissions(&mut self, user: UserId, vhost: VhostId) -> Done<bool> {
        if self.permissions(user, vhost).is_none() {
            return self.done(false);
        }
        let key = self.vhost_key(vhost);
        self.access.grant(user, key).permissions = None;
        self.epoch.end();
        self.tell_forbidden("permission.deleted", user, vhost);
        let user = ShortString::truncated(self.user_name(user).as_bytes());
        self.define(&Definition::Forbidden { user, vhost });
        self.done(true)
    }

    /// From now on a user uses only such routing keys with an exchange. Says whether it could use any before.
    pub fn set_topic_permissions(
        &mut self,
        user: UserId,
        vhost: VhostId,
        exchange: ShortString,
        permissions: TopicPermissions,
    ) -> Done<bool> {
        let definition = Definition::TopicPermitted {
            user: ShortString::truncated(self.user_name(user).as_bytes()),
            vhost,
            exchange: exchange.clone(),
            write: permissions.write.as_str().into(),
            read: permissions.read.as_str().into(),
        };
        self.tell_topics_permitted(user, vhost, &exchange, [permissions.write.as_str(), permissions.read.as_str()]);
        let key = self.vhost_key(vhost);
        let previous = self.access.grant(user, key).topics.insert(exchange, permissions);
        self.epoch.end();
        self.define(&definition);
        self.done(previous.is_none())
    }

    /// From now on a user may use any routing keys with an exchange; with `None`, with all exchanges. Says whether there was
    /// something that restricted it.
    pub fn clear_topic_permissions(&mut self, user: UserId, vhost: VhostId, exchange: Option<&[u8]>) -> Done<bool> {
        let key = self.vhost_key(vhost);
        let topics = &mut self.access.grant(user, key).topics;
        let existed = match exchange {
            Some(exchange) => topics.remove(exchange).is_some(),
            None => !std::mem::take(topics).is_empty(),
        };
        if existed {
            self.epoch.end();
            self.tell_forbidden("topic.permission.deleted", user, vhost);
            let user = ShortString::truncated(self.user_name(user).as_bytes());
            let exchange = exchange.map(ShortString::truncated);
            self.define(&Definition::TopicForbidden { user, vhost, exchange });
        }
        self.done(existed)
    }

    /// What a user may do in a vhost; `None` when it may not even enter it.
    pub(super) fn permissions(&self, user: UserId, vhost: VhostId) -> Option<&Permissions> {
        self.access.permissions(user, self.vhost_key(vhost))
    }

    /// What restricts the keys that a user uses with an exchange of type topic, if anything does.
    pub(super) fn key_rules<'a>(&'a self, user: UserId, vhost: VhostId, exchange: &'a [u8]) -> Option<KeyRules<'a>> {
        match self.users.get(user).powers() {
            None => self.access.topic_permissions(user, self.vhost_key(vhost), exchange).map(KeyRules::Patterns),
            Some(Powers::Scopes(scopes)) => Some(KeyRules::Scopes { scopes, vhost: self.vhost_name(vhost), exchange }),
            Some(Powers::Elsewhere { .. }) => Some(KeyRules::Elsewhere),
        }
    }

    /// Whether anything restricts a user's routing keys in a vhost.
    pub fn has_topic_permissions(&self, user: UserId, vhost: VhostId) -> bool {
        self.access.all_topic_permissions(user, self.vhost_key(vhost)).next().is_some()
    }

    /// Whether a user has any permissions in a vhost. See [`take_inquiry`](Self::take_inquiry).
    pub fn may_enter(&self, user: UserId, vhost: VhostId) -> bool {
        match self.users.get(user).powers() {
            None => self.permissions(user, vhost).is_some(),
            Some(Powers::Scopes(scopes)) => scopes.allow_to_enter(self.vhost_name(vhost)),
            Some(Powers::Elsewhere { peer }) => self.elsewhere(user, vhost, About::Vhost(*peer)).is_ok(),
        }
    }

    /// Puts permissions back.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub fn restore_permissions(
        &mut self,
        user: &[u8],
        vhost: VhostId,
        [configure, write, read]: [&str; 3],
    ) -> Result<(), String> {
        let id = self.user_to_restore(user, vhost)?;
        let names = |text: &str| Pattern::new(text).map(Names::from).map_err(|error| error.to_string());
        let permissions = Permissions { configure: names(configure)?, write: names(write)?, read: names(read)? };
        self.permit(id, vhost, permissions);
        Ok(())
    }

    /// Puts permissions for routing keys back.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub fn restore_topic_permissions(
        &mut self,
        user: &[u8],
        vhost: VhostId,
        exchange: ShortString,
        [write, read]: [&str; 2],
    ) -> Result<(), String> {
        let id = self.user_to_restore(user, vhost)?;
        let permissions = self.topic_permissions_for(id, vhost, write, read)?;
        let key = self.vhost_key(vhost);
        self.access.grant(id, key).topics.insert(exchange, permissions);
        Ok(())
    }

    /// What patterns of routing keys mean for a user in a vhost.
    ///
    /// # Errors
    /// What is wrong with a pattern, as a sentence.
    pub fn topic_permissions_for(
        &self,
        user: UserId,
        vhost: VhostId,
        write: &str,
        read: &str,
    ) -> Result<TopicPermissions, String> {
        let (user, vhost) = (self.user_name(user), self.vhost_name(vhost));
        let pattern = |text| Pattern::for_topics(text, user, vhost).map_err(|error| error.to_string());
        Ok(TopicPermissions { write: pattern(write)?, read: pattern(read)? })
    }

    fn user_to_restore(&self, user: &[u8], vhost: VhostId) -> Result<UserId, String> {
        let name = || String::from_utf8_lossy(user);
        if !self.has_vhost(vhost) {
            return Err(format!("permissions of user {} are for a virtual host that is not there", name()));
        }
        self.users.named(user).ok_or_else(|| format!("there are permissions of user {}, who is not there", name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_takes_room_where_it_is_given_and_nowhere_else() {
        const TENANTS: u32 = 100;
        let key = |number, serial| VhostKey { id: VhostId(number), serial };
        let mut access = Access::default();
        for number in 0..TENANTS {
            access.grant(UserId(number), key(number, 7)).permissions = Some(Permissions::all());
            // Somebody is in every one of them, the last one first.
            access.grant(UserId(TENANTS), key(TENANTS - 1 - number, 7)).permissions = Some(Permissions::all());
        }
        for user in 0..=TENANTS {
            for vhost in 0..TENANTS {
                let may = |serial| access.permissions(UserId(user), key(vhost, serial)).is_some();
                assert_eq!(may(7), user == vhost || user == TENANTS, "user {user} in vhost {vhost}");
                assert!(!may(8), "another vhost in the same slot");
            }
        }
        let places: usize = access.granted.iter().map(Vec::len).sum();
        assert_eq!(places, TENANTS as usize * 2);
    }
}
