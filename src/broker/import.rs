//! Definitions that come as a whole: users, virtual hosts and all that is declared in them, as an administrator brings them,
//! or a file that is read before anybody is served.
//!
//! All of them are looked at before the first one is made, so that a file with a mistake changes nothing; nobody is asked for
//! permissions. What is there already stays as it is, as with RabbitMQ, but for users, virtual hosts, permissions, policies and
//! parameters, of which the file has the last word. Nothing is deleted.
//!
//! An import takes as many turns as it is long, in the parts that [`import_some`](Broker::import_some) is asked for. One that
//! fits in a single part is looked at and made within it, and is one batch of the log: a crash leaves all of it or nothing.
//! Of a longer one a crash may leave the first parts; it can be imported again.
//!
//! | file | owns |
//! |---|---|
//! | `import` | what an import is, and how it is made |
//! | `check` | what is wrong with one |

mod check;

use super::binding_commands::assert_local;
use super::exchange::{Declaration, Destination, ExchangeKind, alternate_exchange};
use super::names::without_line_breaks;
use super::policy::{Policy, PolicyKind};
use super::resolve::{RESERVED_PREFIX, meant_alternate};
use super::store::{LogPosition, Store};
use super::{
    Broker, ConnectionId, DeclareRequest, Done, Permissions, TopicPermissions, UserId, UserLimits, VhostAttributes,
    VhostId,
};
use crate::access::{PasswordHash, Pattern, Tags};
use crate::protocol::{AmqpError, FieldTable, ShortString};
use check::Known;
use std::sync::Arc;

/// One thing of an import.
pub enum Imported {
    User {
        name: ShortString,
        password: PasswordHash,
        tags: Tags,
        limits: ImportedUserLimits,
    },
    Vhost(ImportedVhost),
    Permissions {
        user: ShortString,
        vhost: ShortString,
        configure: Pattern,
        write: Pattern,
        read: Pattern,
    },
    TopicPermissions {
        user: ShortString,
        vhost: ShortString,
        exchange: ShortString,
        write: Pattern,
        read: Pattern,
    },
    Exchange(ImportedExchange),
    /// Its value is JSON.
    GlobalParameter {
        name: ShortString,
        value: Arc<str>,
    },
    Policy {
        vhost: ShortString,
        kind: PolicyKind,
        policy: Arc<Policy>,
    },
    VhostLimits {
        vhost: ShortString,
        queues_max: Option<u64>,
        connections_max: Option<u64>,
    },
    Queue(ImportedQueue),
    Binding(ImportedBinding),
}

/// Limits of a user; `None` for those of which nothing is said, `Some(None)` for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImportedUserLimits {
    pub connections_max: Option<Option<u64>>,
    pub channels_max: Option<Option<u64>>,
}

pub struct ImportedVhost {
    pub name: ShortString,
    pub description: Box<str>,
    pub tags: Vec<Box<str>>,
    pub default_queue_type: Option<Box<str>>,
    /// `None`: as it is.
    pub tracing: Option<bool>,
    pub is_protected: Option<bool>,
}

pub struct ImportedExchange {
    pub vhost: ShortString,
    pub name: ShortString,
    pub kind: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: FieldTable,
}

pub struct ImportedQueue {
    pub vhost: ShortString,
    pub name: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

pub struct ImportedBinding {
    pub vhost: ShortString,
    pub source: ShortString,
    pub destination: ShortString,
    pub to_queue: bool,
    pub routing_key: ShortString,
    pub arguments: FieldTable,
}

/// An import, and how far it has come.
pub struct Import {
    /// In the order of the variants of [`Imported`], so that each has before it what it needs.
    things: std::vec::IntoIter<Imported>,
    /// How many of them were looked at.
    checked: usize,
    known: Option<Known>,
    passed_over: usize,
    durable_at: LogPosition,
}

/// What came of an import.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImportOutcome {
    /// Bindings of which an end is neither there nor in the import: RabbitMQ's exports have those of exclusive queues, of
    /// internal exchanges, and of its plugins'.
    pub bindings_passed_over: usize,
}

impl Import {
    /// Of things in the order of the variants of [`Imported`].
    pub fn new(things: Vec<Imported>) -> Self {
        let (known, durable_at) = (Some(Known::default()), LogPosition::default());
        Self { things: things.into_iter(), checked: 0, known, passed_over: 0, durable_at }
    }

    pub fn len(&self) -> usize {
        self.things.len()
    }

    pub fn is_empty(&self) -> bool {
        self.things.len() == 0
    }
}

/// Queues and exchanges that the broker makes itself are in no import, and the default exchange is nobody's.
fn is_passed_over(name: &[u8]) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// What RabbitMQ says of a virtual host that there is not.
fn no_vhost(name: &ShortString) -> String {
    format!("Please create virtual host \"{name}\" prior to importing definitions.")
}

fn said(error: AmqpError) -> String {
    format!("{}: {}", error.code.name().to_lowercase(), error.explanation)
}

impl<S: Store> Broker<S> {
    /// Goes on with an import: looks at up to `most` things, or makes so many. `None` when there is more to do. Whoever
    /// [acts](Self::act_as) is `by`, who may do everything in the virtual hosts that it makes.
    ///
    /// # Errors
    /// What is wrong with the import. Nothing of it was made, unless it was made in parts and somebody else took away in
    /// between what it needs.
    pub fn import_some(
        &mut self,
        import: &mut Import,
        by: Option<UserId>,
        most: usize,
    ) -> Option<Result<Done<ImportOutcome>, String>> {
        if let Some(known) = &mut import.known {
            let things = import.things.as_slice();
            let end = things.len().min(import.checked.saturating_add(most));
            for thing in &things[import.checked..end] {
                if let Err(wrong) = self.check_imported(thing, known) {
                    return Some(Err(wrong));
                }
            }
            import.checked = end;
            if end < things.len() {
                return None;
            }
            if let Err(wrong) = self.check_whole_import(known) {
                return Some(Err(wrong));
            }
            import.known = None;
            // A long one goes on in the next turn: this one's share was used up with looking.
            if things.len() > most {
                return None;
            }
        }
        self.store.keep_together(true);
        let made = self.make_imported(import, by, most);
        self.store.keep_together(false);
        if let Err(wrong) = made {
            return Some(Err(wrong));
        }
        let outcome = ImportOutcome { bindings_passed_over: import.passed_over };
        (import.things.len() == 0).then_some(Ok(Done { value: outcome, durable_at: import.durable_at }))
    }

    fn make_imported(&mut self, import: &mut Import, by: Option<UserId>, most: usize) -> Result<(), String> {
        let mut with_policies: Vec<VhostId> = Vec::new();
        let mut made = Ok(());
        for thing in import.things.by_ref().take(most) {
            made = match thing {
                Imported::Policy { vhost, kind, policy } => self.import_policy(&vhost, kind, &policy).map(|vhost| {
                    if with_policies.last() != Some(&vhost) {
                        with_policies.push(vhost);
                    }
                }),
                Imported::Binding(binding) => self.import_binding(&binding).map(|bound| {
                    import.passed_over += usize::from(!bound);
                }),
                other => self.import_other(other, by),
            };
            if made.is_err() {
                break;
            }
        }
        import.durable_at = self.last_definition;
        // Once for all of a virtual host's.
        with_policies.into_iter().for_each(|vhost| self.begin_policy_round(vhost));
        made
    }

    fn import_other(&mut self, thing: Imported, by: Option<UserId>) -> Result<(), String> {
        match thing {
            Imported::User { name, password, tags, limits } => {
                self.put_user(text(&name)?, password, tags);
                let (id, _) = self.imported_user(&name)?;
                let before = self.user_at(id).limits;
                let limits = UserLimits {
                    connections_max: limits.connections_max.unwrap_or(before.connections_max),
                    channels_max: limits.channels_max.unwrap_or(before.channels_max),
                };
                if limits != before {
                    self.set_user_limits(id, limits);
                }
            }
            Imported::Vhost(vhost) => self.import_vhost(vhost, by)?,
            Imported::Permissions { user, vhost, configure, write, read } => {
                let ((user, _), vhost) = (self.imported_user(&user)?, self.imported_vhost(&vhost)?);
                let permissions = Permissions { configure: configure.into(), write: write.into(), read: read.into() };
                self.set_permissions(user, vhost, permissions);
            }
            Imported::TopicPermissions { user, vhost, exchange, write, read } => {
                let ((user, _), vhost) = (self.imported_user(&user)?, self.imported_vhost(&vhost)?);
                self.set_topic_permissions(user, vhost, exchange, TopicPermissions { write, read });
            }
            Imported::Exchange(exchange) => self.import_exchange(&exchange)?,
            Imported::GlobalParameter { name, value } => {
                self.put_global_parameter(name, value).map_err(|error| error.to_string())?;
            }
            Imported::VhostLimits { vhost, queues_max, connections_max } => {
                let vhost = self.imported_vhost(&vhost)?;
                self.set_vhost_limits(vhost, queues_max, connections_max);
            }
            Imported::Queue(queue) => self.import_queue(queue)?,
            Imported::Policy { .. } | Imported::Binding(_) => unreachable!("made by the caller"),
        }
        Ok(())
    }

    fn imported_user(&self, name: &ShortString) -> Result<(UserId, &str), String> {
        let id = self.users.named(name).ok_or_else(|| format!("{{no_such_user,<<\"{name}\">>}}"))?;
        Ok((id, self.user_name(id)))
    }

    fn imported_vhost(&self, name: &ShortString) -> Result<VhostId, String> {
        self.vhost_named(name).ok_or_else(|| no_vhost(name))
    }

    fn import_vhost(&mut self, vhost: ImportedVhost, by: Option<UserId>) -> Result<(), String> {
        let ImportedVhost { name, description, tags, default_queue_type, tracing, is_protected } = vhost;
        let before = self.vhost_named(&name).map(|id| self.vhost_attributes(id).clone()).unwrap_or_default();
        let tracing = tracing.unwrap_or(before.tracing);
        let is_protected = is_protected.unwrap_or(before.is_protected);
        let attributes = VhostAttributes { description, tags, default_queue_type, tracing, is_protected, ..before };
        let is_new = self.put_vhost(text(&name)?, attributes).value;
        if let (true, Some(by), Some(id)) = (is_new, by, self.vhost_named(&name)) {
            self.set_permissions_of_maker(by, id);
        }
        Ok(())
    }

    fn import_policy(
        &mut self,
        vhost: &ShortString,
        kind: PolicyKind,
        policy: &Arc<Policy>,
    ) -> Result<VhostId, String> {
        let vhost = self.imported_vhost(vhost)?;
        if self.take_policy(vhost, kind, policy).map_err(|error| error.to_string())?.is_some() {
            self.tell_policy_set(vhost, policy);
        }
        Ok(vhost)
    }

    fn import_exchange(&mut self, exchange: &ImportedExchange) -> Result<(), String> {
        let ImportedExchange { vhost, name, kind, durable, auto_delete, internal, arguments } = exchange;
        let id = self.imported_vhost(vhost)?;
        if name.is_empty() || is_passed_over(name) || self.exchange_in(id, name).is_some() {
            return Ok(());
        }
        let kind = ExchangeKind::declared(kind).map_err(said)?;
        let alternate = alternate_exchange(arguments, self.subject("exchange", id, name)).map_err(said)?;
        let alternate = alternate.and_then(meant_alternate);
        let (durable, auto_delete, internal) = (*durable, *auto_delete, *internal);
        let declaration = Declaration { kind, durable, auto_delete, internal, arguments };
        self.create_exchange((id, None), name.clone(), declaration, alternate).map_err(said)
    }

    fn import_queue(&mut self, queue: ImportedQueue) -> Result<(), String> {
        let ImportedQueue { vhost, name, durable, auto_delete, arguments } = queue;
        let id = self.imported_vhost(&vhost)?;
        if is_passed_over(&name) || self.queue_in(id, &name).is_some() {
            return Ok(());
        }
        let request = DeclareRequest { name: &name, durable, exclusive: false, auto_delete, arguments };
        let request = self.of_default_type(id, request);
        // It is nobody's: no connection is asked for.
        self.create_queue(id, None, ConnectionId(0), name.clone(), request).map(|_| ()).map_err(said)
    }

    /// Says whether there was something to bind.
    fn import_binding(&mut self, binding: &ImportedBinding) -> Result<bool, String> {
        let ImportedBinding { vhost, source, destination, to_queue, routing_key, arguments } = binding;
        let id = self.imported_vhost(vhost)?;
        if source.is_empty() || destination.is_empty() {
            return Ok(true);
        }
        let to = match to_queue {
            true => self.queue_in(id, destination).map(Destination::Queue),
            false => self.exchange_in(id, destination).map(Destination::Exchange),
        };
        let Some((from, to)) = self.exchange_in(id, source).zip(to) else { return Ok(false) };
        if let (Destination::Queue(queue), ExchangeKind::LocalRandom) = (to, self.router(id).exchange(from).kind) {
            assert_local(self.queue(queue).arguments.kind).map_err(said)?;
        }
        self.bind((id, None), from, to, routing_key, arguments).map_err(said)?;
        Ok(true)
    }
}

/// A name, which came out of JSON.
fn text(name: &ShortString) -> Result<&str, String> {
    match std::str::from_utf8(name) {
        Ok("") => Err("a name is empty".to_owned()),
        Ok(text) => Ok(text),
        Err(_) => Err(format!("the name {name} is not UTF-8")),
    }
}

/// The names of queues have no line breaks.
fn has_line_breaks(name: &[u8]) -> bool {
    without_line_breaks(name).len() != name.len()
}

#[cfg(test)]
mod tests;
