//! Users for whom others vouch: what they are and may do is what the token says that they showed, or the server that is
//! [asked](super::answers) about them.
//!
//! Each has a slot among the users, for one connection or one visitor. Nobody finds it by its name, which may be another's,
//! too; it is in no list and no log; it has no permission, limit or password, and goes with whom it is for.

use super::lifecycle::not_admitted;
use super::store::Store;
use super::users::{UserKey, Vouched};
use super::{Broker, ConnectionId, UserId, VhostId};
use crate::access::{About, Bearer, Powers};
use crate::protocol::AmqpError;
use std::sync::Arc;

impl<S: Store> Broker<S> {
    /// Whether who showed a token may open a connection to the vhost of that name.
    ///
    /// # Errors
    /// 530: there is no such vhost, or it has as many connections as it may have, or the token opens nothing there, or has
    /// expired. See [`take_inquiry`](Self::take_inquiry).
    pub fn admit_bearer(&self, bearer: &Bearer, vhost_name: &[u8]) -> Result<VhostId, AmqpError> {
        let id = self.vhost_to_enter(vhost_name)?;
        self.assert_room_for_connection(&bearer.name, id)?;
        let now_unix_ms = self.settings.unix_start_ms + self.now_ms;
        let is_valid = bearer.expires_unix_ms.is_none_or(|expires_unix_ms| now_unix_ms < expires_unix_ms);
        let vhost_name = self.vhost_name(id);
        let is_admitted = match &bearer.powers {
            Powers::Scopes(scopes) if scopes.allow_to_enter(vhost_name) => Ok(()),
            Powers::Scopes(_) => Err(""),
            Powers::Elsewhere { peer } => {
                self.answered(&bearer.name, &bearer.tags, vhost_name, About::<&[u8]>::Vhost(*peer))
            }
        };
        match is_admitted {
            Ok(()) if is_valid => Ok(id),
            Ok(()) => Err(not_admitted(&bearer.name, vhost_name)),
            Err(told) => {
                let mut error = not_admitted(&bearer.name, vhost_name);
                error.explanation.push_str(told);
                Err(error)
            }
        }
    }

    /// A connection is about to be [opened](Self::open_connection) to a vhost by somebody for whom others vouch: a user that
    /// goes with it, and may do nothing elsewhere.
    pub fn welcome(&mut self, bearer: &Bearer, vhost: VhostId) -> UserId {
        let powers = self.powers_within(vhost, bearer);
        let serial = self.next_serial();
        self.users.add_bearer(serial, bearer, Vouched { powers, stays: false })
    }

    fn powers_within(&self, vhost: VhostId, bearer: &Bearer) -> Powers {
        match &bearer.powers {
            Powers::Scopes(scopes) => Powers::Scopes(scopes.within(self.vhost_name(vhost))),
            elsewhere => elsewhere.clone(),
        }
    }

    /// Others vouch for somebody who comes and goes without a connection: a user until it is [dismissed](Self::dismiss).
    pub fn receive_visitor(&mut self, bearer: &Bearer) -> UserKey {
        let serial = self.next_serial();
        let id = self.users.add_bearer(serial, bearer, Vouched { powers: bearer.powers.clone(), stays: true });
        self.user_key(id)
    }

    /// A visitor is not one any more.
    pub fn dismiss(&mut self, visitor: UserKey) {
        let Some(id) = self.user_of(visitor) else { return };
        if let Some(vouched) = &mut self.users.get_mut(id).vouched {
            vouched.stays = false;
            self.users.free_if_unused(id);
        }
    }

    /// Whether whoever is on an open connection showed a token.
    pub fn showed_token(&self, connection: ConnectionId) -> bool {
        let connection = self.connections.get(connection.0 as usize).and_then(Option::as_ref);
        connection.is_some_and(|connection| self.users.get(connection.user).scopes().is_some())
    }

    /// The bearer on an open connection showed another token: from now on that one says what it may. The epoch ends, as what
    /// a publisher was allowed before it may not be any more, and consumers that it may not have any more [go](super::recheck).
    ///
    /// # Errors
    /// 530 when it may not be where it is any more.
    pub fn renew(&mut self, connection: ConnectionId, bearer: &Bearer) -> Result<(), AmqpError> {
        let Some(Some(state)) = self.connections.get(connection.0 as usize) else { return Ok(()) };
        let (id, vhost) = (state.user, state.vhost);
        let powers = self.powers_within(vhost, bearer);
        let user = self.users.get_mut(id);
        debug_assert!(user.is_bearer() && user.name == bearer.name, "a token is renewed by one of the same user");
        user.tags = Arc::clone(&bearer.tags);
        user.vouched = Some(Vouched { powers, stays: false });
        self.epoch.end();
        self.recheck_consumers_of(connection);
        match self.may_enter(id, vhost) {
            true => Ok(()),
            false => Err(not_admitted(&bearer.name, self.vhost_name(vhost))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Scopes, Tags};
    use crate::broker::snapshot::PageStart;
    use crate::broker::store::MemoryStore;
    use crate::broker::testing::{self, Nobody, VHOST};
    use crate::broker::{DeclareRequest, ExchangeRequest, VhostAttributes};
    use crate::protocol::FieldTable;

    const CLIENT: ConnectionId = ConnectionId(0);

    /// Called like the broker's own user.
    fn guest(scopes: &[&str]) -> Bearer {
        Bearer {
            name: "guest".into(),
            tags: Arc::new(Tags::new(["impersonator"]).unwrap()),
            powers: Powers::Scopes(Scopes::read(scopes.iter().copied(), |_| None)),
            expires_unix_ms: None,
        }
    }

    fn connect(broker: &mut Broker<MemoryStore>, scopes: &[&str]) -> UserId {
        let bearer = guest(scopes);
        let vhost = broker.admit_bearer(&bearer, b"/").unwrap();
        let user = broker.welcome(&bearer, vhost);
        broker.open_connection(CLIENT, user, vhost);
        broker.open_channel(CLIENT, 1);
        user
    }

    fn declare(broker: &mut Broker<MemoryStore>, name: &str) -> Result<(), String> {
        let caller = testing::caller(broker, CLIENT);
        let (name, arguments) = (name.as_bytes(), FieldTable::default());
        let request = DeclareRequest { name, durable: false, exclusive: false, auto_delete: false, arguments };
        broker.declare_queue(caller, request, &mut Nobody).map(drop).map_err(|error| error.explanation)
    }

    #[test]
    fn a_bearer_may_what_its_token_says_though_another_has_its_name() {
        let mut broker = testing::broker();
        let user = connect(&mut broker, &["configure:%2F/mine-*"]);
        assert_eq!(declare(&mut broker, "mine-1"), Ok(()));
        let refused = "configure access to queue 'other' in vhost '/' refused for user 'guest'";
        assert_eq!(declare(&mut broker, "other").unwrap_err(), refused);
        assert_ne!(user, testing::USER);
        assert!(broker.may_impersonate(user) && !broker.may_impersonate(testing::USER));
        assert_eq!(broker.find_user(b"guest").map(|key| key.id), Some(testing::USER), "nobody finds it");
        let users = broker.snapshot_users(PageStart::default());
        assert_eq!(users.items.len(), 1, "it is in no list");
        broker.delete_user(testing::USER);
        assert_eq!(broker.why_evicted(CLIENT), None, "it is another user");
        assert_eq!(declare(&mut broker, "mine-2"), Ok(()));
        broker.census();
        broker.close_connection(CLIENT, &mut Nobody);
        broker.census();
        let next = connect(&mut broker, &["configure:%2F/*"]);
        assert_eq!(next, user, "its slot went with it");
    }

    #[test]
    fn a_bearer_enters_where_its_token_lets_it_do_anything_until_that_expires() {
        let mut broker = testing::broker();
        let refused = "access to vhost '/' refused for user 'guest'";
        let admitted = |broker: &Broker<MemoryStore>, bearer: &Bearer, vhost: &[u8]| {
            broker.admit_bearer(bearer, vhost).map_err(|error| error.explanation)
        };
        assert_eq!(admitted(&broker, &guest(&["read:other/*", "tag:administrator"]), b"/").unwrap_err(), refused);
        assert_eq!(admitted(&broker, &guest(&["read:*/*"]), b"none").unwrap_err(), "vhost none not found");
        let expiring = |unix_ms| Bearer { expires_unix_ms: Some(unix_ms), ..guest(&["read:*/q"]) };
        let now_unix_ms = broker.unix_start_ms() + broker.now_ms;
        assert_eq!(admitted(&broker, &expiring(now_unix_ms), b"/").unwrap_err(), refused);
        assert_eq!(admitted(&broker, &expiring(now_unix_ms + 1), b"/"), Ok(VHOST));
        broker.set_vhost_limits(VHOST, None, Some(0));
        let full = format!("{refused}: connection limit (0) is reached");
        assert_eq!(admitted(&broker, &guest(&["read:*/*"]), b"/").unwrap_err(), full);
    }

    #[test]
    fn another_token_says_what_its_bearer_may_from_then_on() {
        let mut broker = testing::broker();
        connect(&mut broker, &["configure:%2F/a"]);
        assert!(broker.showed_token(CLIENT));
        let before = broker.epoch();
        broker.renew(CLIENT, &guest(&["configure:{vhost}/b"])).unwrap();
        assert_ne!(broker.epoch(), before, "what publishers remember is no more");
        assert!(declare(&mut broker, "a").is_err());
        assert_eq!(declare(&mut broker, "b"), Ok(()));
        let refused = broker.renew(CLIENT, &guest(&["configure:other/b"])).unwrap_err();
        assert_eq!(refused.explanation, "access to vhost '/' refused for user 'guest'");
        broker.census();
    }

    #[test]
    fn a_key_takes_a_scope_with_a_key_where_the_exchange_is_of_type_topic() {
        let mut broker = testing::broker();
        connect(&mut broker, &["configure:*/*", "write:*/x", "write:*/y/a.*", "write:*/d", "write:*/z/*"]);
        let caller = testing::caller(&broker, CLIENT);
        for (name, kind) in [("x", "topic"), ("y", "topic"), ("z", "topic"), ("d", "direct")] {
            let (name, kind, arguments) = (name.as_bytes(), kind.as_bytes(), FieldTable::default());
            let request =
                ExchangeRequest { name, kind, durable: false, auto_delete: false, internal: false, arguments };
            broker.declare_exchange(caller, request).unwrap();
        }
        let publishes = |name: &str, key: &str| {
            let found = broker.exchange_to_publish(caller, name.as_bytes(), key.as_bytes());
            found.map(|exchange| exchange.with_any_key).map_err(|error| error.explanation)
        };
        let refused = |name, key| {
            Err(format!("write access to topic '{key}' in exchange '{name}' in vhost '/' refused for user 'guest'"))
        };
        assert_eq!(publishes("x", "a.b"), refused("x", "a.b"));
        assert_eq!(publishes("y", "a.b"), Ok(false), "each key is asked for");
        assert_eq!(publishes("y", "b"), refused("y", "b"));
        assert_eq!(publishes("z", "b"), Ok(true), "and none where all are meant");
        assert_eq!(publishes("d", "b"), Ok(true));
    }

    #[test]
    fn a_visitor_is_a_user_until_it_is_dismissed() {
        let mut broker = testing::broker();
        let key = broker.receive_visitor(&guest(&["read:%2F/*"]));
        let user = broker.user_of(key).unwrap();
        assert!(broker.may_enter(user, VHOST));
        broker.open_connection(CLIENT, user, VHOST);
        broker.dismiss(key);
        assert_eq!(broker.user_of(key), Some(user), "as long as something is done as it");
        broker.close_connection(CLIENT, &mut Nobody);
        assert_eq!(broker.user_of(key), None);
        broker.dismiss(key);
        let key = broker.receive_visitor(&guest(&[]));
        broker.open_connection(CLIENT, key.id, VHOST);
        broker.close_connection(CLIENT, &mut Nobody);
        assert_eq!(broker.user_of(key), Some(key.id), "it comes back");
        broker.dismiss(key);
        assert_eq!(broker.user_of(key), None);
        broker.census();
    }

    /// The vhost lasts, and a permission in it would: for another of the name, and whoever has the slot next.
    #[test]
    fn who_makes_a_vhost_with_a_token_gets_no_permission_in_it() {
        let mut broker = testing::broker();
        let visitor = broker.receive_visitor(&guest(&["read:*/q"]));
        let id = broker.user_of(visitor).unwrap();
        broker.put_vhost("made", VhostAttributes::default());
        let made = broker.vhost_named(b"made").unwrap();
        broker.set_permissions_of_maker(id, made);
        assert!(broker.permissions(id, made).is_none());
        broker.set_permissions_of_maker(testing::USER, made);
        assert!(broker.permissions(testing::USER, made).is_some());
    }
}
