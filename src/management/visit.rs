//! What a visitor may have: each path asks for one of these, and gets the loop's answers through it alone.
//!
//! | path asks for | who gets in | otherwise |
//! |---|---|---|
//! | [`Visit`] | everybody with a tag of management | |
//! | [`VhostVisit`] | administrators, and whoever may enter the path's virtual host | 401 `User not authorised to access virtual host` |
//! | [`Policymaker`] | administrators, and tag policymaker where it may enter the path's virtual host | 401 `User not authorised to access object` |
//! | [`Monitor`] | tags monitoring and administrator | 401 `Not monitor user` |
//! | [`Administrator`] | tag administrator | 401 `Not administrator user` |
//!
//! The loop asks again for what changes something: a user may be deleted between the login and the command.

use super::change::{Change, VhostChange};
use super::http::ApiError;
use super::line::{Asker, Declined};
use super::long_list::{LONG_ROWS, Permit};
use super::order::Order;
use super::question::{Question, Sight, VhostQuestion, Visitor};
use super::{App, Reply};
use crate::broker::snapshot::{Page, PageStart};
use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

/// Somebody with a tag of management.
pub struct Visit {
    pub app: Arc<App>,
    pub visitor: Visitor,
    /// What a long list has that the visitor is told.
    room: Mutex<Option<Permit>>,
}

/// Somebody who may see what is in the virtual host that the path names.
pub struct VhostVisit {
    visit: Visit,
    pub vhost: Box<str>,
}

/// Somebody who makes policies in the virtual host that the path names.
pub struct Policymaker(Visit);

/// Somebody with the tag `monitoring` or `administrator`.
pub struct Monitor(Visit);

/// Somebody with the tag `administrator`.
pub struct Administrator(Visit);

impl Deref for VhostVisit {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.visit
    }
}

impl Deref for Policymaker {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.0
    }
}

impl Deref for Monitor {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.0
    }
}

impl Deref for Administrator {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.0
    }
}

/// The virtual hosts whose things are listed for a visitor.
pub enum Listed {
    All,
    Some(HashSet<Arc<str>>),
}

impl Listed {
    pub fn holds(&self, vhost: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(vhosts) => vhosts.contains(vhost),
        }
    }
}

impl Visit {
    fn asker(&self) -> Asker {
        Asker::User(self.visitor.user)
    }

    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Question) -> Result<T, Declined> {
        self.app.line.ask(self.asker(), make).await
    }

    /// Asks for all pages of a list. One that becomes long waits for room.
    pub async fn ask_all<T>(&self, make: impl Fn(PageStart, Reply<Page<T>>) -> Question) -> Result<Vec<T>, Declined> {
        let mut items = Vec::new();
        let mut from = Some(PageStart::default());
        while let Some(start) = from {
            let page = self.ask(|reply| make(start, reply)).await?;
            items.extend(page.items);
            from = page.next;
            if items.len() > LONG_ROWS && self.room().is_none() {
                let permit = self.app.long_lists.take().await?;
                *self.room() = Some(permit);
            }
        }
        Ok(items)
    }

    fn room(&self) -> MutexGuard<'_, Option<Permit>> {
        self.room.lock().expect("nobody panics with it")
    }

    /// The room that a long list has, for its answer to keep.
    pub fn take_room(&self) -> Option<Permit> {
        self.room().take()
    }

    pub async fn ask_in<T>(&self, vhost: &str, make: impl FnOnce(Reply<T>) -> VhostQuestion) -> Result<T, Declined> {
        self.app.line.ask_in(self.asker(), vhost, make).await
    }

    pub async fn change<T>(&self, make: impl FnOnce(Reply<T>) -> Change) -> Result<T, Declined> {
        self.app.line.change(self.asker(), make).await
    }

    /// Whether the tags let it see everybody's connections, and all virtual hosts.
    pub fn is_monitor(&self) -> bool {
        self.visitor.tags.is_monitor()
    }

    /// Whether something of this user's is for the visitor to see.
    pub fn sees_user(&self, user: &str) -> bool {
        self.is_monitor() || *self.visitor.name == *user
    }

    /// # Errors
    /// 401: it is another's, and not for the visitor to see.
    pub fn check_user(&self, user: &str) -> Result<(), ApiError> {
        if self.sees_user(user) { Ok(()) } else { Err(not_yours()) }
    }

    /// The virtual hosts whose queues, exchanges and bindings a list is to have: an administrator's all, and those that
    /// anybody else may enter.
    pub async fn listed(&self) -> Result<Listed, Declined> {
        if self.visitor.tags.is_administrator() {
            return Ok(Listed::All);
        }
        self.open_vhosts().await
    }

    /// The virtual hosts that the visitor learns of: a monitor of all.
    pub async fn visible(&self) -> Result<Listed, Declined> {
        if self.is_monitor() { Ok(Listed::All) } else { self.open_vhosts().await }
    }

    async fn open_vhosts(&self) -> Result<Listed, Declined> {
        let names = self.ask_all(|from, reply| Question::OpenVhosts { from, reply }).await?;
        Ok(Listed::Some(names.into_iter().collect()))
    }

    /// The virtual host of the path, if the visitor may see it there: what is in it, or for a monitor that it is there.
    ///
    /// # Errors
    /// 404 when there is none, 401 when it is not for the visitor.
    pub fn vhost(&self, for_monitors: bool) -> Result<Box<str>, ApiError> {
        let Some((vhost, sight)) = &self.visitor.vhost else { return Err(ApiError::NotFound) };
        let tags = &self.visitor.tags;
        match sight {
            Sight::Missing => Err(ApiError::NotFound),
            Sight::Closed if !(tags.is_administrator() || for_monitors && tags.is_monitor()) => {
                Err(ApiError::NotAuthorised("User not authorised to access virtual host".to_owned()))
            }
            Sight::Closed | Sight::Open => Ok(vhost.clone()),
        }
    }
}

/// What is said of a connection, a channel or limits of somebody else's.
pub fn not_yours() -> ApiError {
    ApiError::NotAuthorised("User not authorised to access object".to_owned())
}

impl VhostVisit {
    /// Asks about what is in the virtual host.
    pub async fn ask_here<T>(&self, make: impl FnOnce(Reply<T>) -> VhostQuestion) -> Result<T, Declined> {
        self.ask_in(&self.vhost, make).await
    }

    /// Asks for all pages of a list of what is in the virtual host.
    pub async fn ask_all_here<T>(
        &self,
        make: impl Fn(PageStart, Reply<Page<T>>) -> VhostQuestion,
    ) -> Result<Vec<T>, Declined> {
        let vhost = &self.vhost;
        self.ask_all(|from, reply| Question::InVhost { vhost: vhost.clone(), question: make(from, reply) }).await
    }

    /// Has something changed that is in the virtual host.
    pub async fn change_here<T>(&self, make: impl FnOnce(Reply<T>) -> VhostChange) -> Result<T, Declined> {
        self.app.line.change_in(self.asker(), &self.vhost, make).await
    }
}

impl Policymaker {
    /// The virtual host of the path.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn vhost(&self) -> Result<Box<str>, ApiError> {
        self.0.vhost(false)
    }
}

impl Administrator {
    pub async fn order<T>(&self, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Declined> {
        self.app.line.order(self.asker(), make).await
    }
}

impl FromRequestParts<Arc<App>> for Visit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let visitor = parts.extensions.get::<Visitor>().cloned().ok_or(ApiError::LoginFailed)?;
        Ok(Self { app: app.clone(), visitor, room: Mutex::default() })
    }
}

impl FromRequestParts<Arc<App>> for VhostVisit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let visit = Visit::from_request_parts(parts, app).await?;
        match visit.vhost(false) {
            Ok(vhost) => Ok(Self { visit, vhost }),
            // What would put something there says what is missing.
            Err(ApiError::NotFound) if parts.method == Method::PUT || parts.method == Method::POST => {
                Err(ApiError::Missing("vhost_not_found".to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

impl FromRequestParts<Arc<App>> for Policymaker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let visit = Visit::from_request_parts(parts, app).await?;
        let tags = &visit.visitor.tags;
        let may_enter = matches!(visit.visitor.vhost, Some((_, Sight::Open)));
        match tags.is_administrator() || tags.is_policymaker() && may_enter {
            true => Ok(Self(visit)),
            false => Err(not_yours()),
        }
    }
}

impl FromRequestParts<Arc<App>> for Monitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let visit = Visit::from_request_parts(parts, app).await?;
        match visit.is_monitor() {
            true => Ok(Self(visit)),
            false => Err(ApiError::NotAuthorised("Not monitor user".to_owned())),
        }
    }
}

impl FromRequestParts<Arc<App>> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let visit = Visit::from_request_parts(parts, app).await?;
        match visit.visitor.tags.is_administrator() {
            true => Ok(Self(visit)),
            false => Err(ApiError::NotAuthorised("Not administrator user".to_owned())),
        }
    }
}
