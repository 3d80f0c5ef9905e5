//! What is wrong with an import: each thing beside those that are there, and those that come before it.

use super::{
    Imported, ImportedBinding, ImportedExchange, ImportedQueue, has_line_breaks, is_passed_over, no_vhost, said, text,
};
use crate::broker::binding_commands::assert_local;
use crate::broker::equivalence::Subject;
use crate::broker::exchange::{Destination, ExchangeKind, PREDECLARED_COUNT, alternate_exchange, predeclared};
use crate::broker::parameters::GLOBAL_PARAMETERS_MAX;
use crate::broker::policy::{PATTERNS_BYTES_MAX, POLICIES_MAX, Policies, Policy, PolicyKind, TooManyPolicies};
use crate::broker::queue::{QueueKind, arguments};
use crate::broker::store::Store;
use crate::broker::users::can_administer;
use crate::broker::{Broker, VhostId};
use crate::protocol::{FieldTable, ShortString};
use hashbrown::{HashMap, HashSet};

/// What an import brings, as far as it was looked at.
#[derive(Default)]
pub(super) struct Known {
    /// Whether each of them could administer.
    users: HashMap<ShortString, bool>,
    vhosts: HashMap<ShortString, KnownVhost>,
    new_parameters: HashSet<ShortString>,
}

/// What it brings to one virtual host.
#[derive(Default)]
struct KnownVhost {
    /// The virtual host itself, and what it says of the type of queues.
    declared: Option<Option<Box<str>>>,
    queues_max: Option<Option<u64>>,
    exchanges: HashMap<ShortString, (ExchangeKind, FieldTable)>,
    queues: HashMap<ShortString, QueueKind>,
    new_bindings: usize,
    /// What their patterns take, of users' policies and of operators'.
    policies: [HashMap<ShortString, usize>; 2],
}

impl Known {
    fn vhost(&mut self, name: &ShortString) -> &mut KnownVhost {
        self.vhosts.entry(name.clone()).or_default()
    }
}

fn of_kind(kind: PolicyKind) -> usize {
    usize::from(kind == PolicyKind::Operator)
}

impl<S: Store> Broker<S> {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check_imported(&self, thing: &Imported, known: &mut Known) -> Result<(), String> {
        match thing {
            Imported::User { name, password, tags, .. } => {
                text(name)?;
                known.users.insert(name.clone(), can_administer(password, tags));
            }
            Imported::Vhost(vhost) => {
                text(&vhost.name)?;
                known.vhost(&vhost.name).declared = Some(vhost.default_queue_type.clone());
            }
            Imported::Permissions { user, vhost, .. } | Imported::TopicPermissions { user, vhost, .. } => {
                if !known.users.contains_key(user) {
                    self.imported_user(user)?;
                }
                self.coming_vhost(vhost, known)?;
            }
            Imported::Exchange(exchange) => self.check_exchange(exchange, known)?,
            Imported::GlobalParameter { name, .. } => {
                text(name)?;
                if !self.has_global_parameter(name) {
                    known.new_parameters.insert(name.clone());
                }
            }
            Imported::Policy { vhost, kind, policy } => self.check_policy(vhost, *kind, policy, known)?,
            Imported::VhostLimits { vhost, queues_max, .. } => {
                self.coming_vhost(vhost, known)?;
                known.vhost(vhost).queues_max = Some(*queues_max);
            }
            Imported::Queue(queue) => self.check_queue(queue, known)?,
            Imported::Binding(binding) => self.check_binding(binding, known)?,
        }
        Ok(())
    }

    /// A virtual host that is there, or will be; the former with its number.
    fn coming_vhost(&self, name: &ShortString, known: &Known) -> Result<Option<VhostId>, String> {
        let there = self.vhost_named(name);
        let is_declared = || known.vhosts.get(name).is_some_and(|vhost| vhost.declared.is_some());
        if there.is_some() || is_declared() { Ok(there) } else { Err(no_vhost(name)) }
    }

    fn check_exchange(&self, exchange: &ImportedExchange, known: &mut Known) -> Result<(), String> {
        let ImportedExchange { vhost, name, kind, arguments, .. } = exchange;
        let id = self.coming_vhost(vhost, known)?;
        if name.is_empty() || is_passed_over(name) || id.is_some_and(|id| self.exchange_in(id, name).is_some()) {
            return Ok(());
        }
        if has_line_breaks(name) {
            return Err(format!("the name of exchange {name:?} has line breaks"));
        }
        let kind = ExchangeKind::declared(kind).map_err(said)?;
        let subject = Subject { kind: "exchange", name, vhost };
        alternate_exchange(arguments, subject).map_err(said)?;
        kind.check_arguments(arguments, subject).map_err(said)?;
        known.vhost(vhost).exchanges.entry(name.clone()).or_insert_with(|| (kind, arguments.clone()));
        Ok(())
    }

    fn check_policy(
        &self,
        vhost: &ShortString,
        kind: PolicyKind,
        policy: &Policy,
        known: &mut Known,
    ) -> Result<(), String> {
        self.coming_vhost(vhost, known)?;
        known.vhost(vhost).policies[of_kind(kind)].insert(policy.name.clone(), policy.pattern.compiled_bytes());
        Ok(())
    }

    fn check_queue(&self, queue: &ImportedQueue, known: &mut Known) -> Result<(), String> {
        let ImportedQueue { vhost, name, durable, auto_delete, arguments } = queue;
        let id = self.coming_vhost(vhost, known)?;
        let vhost_name = text(vhost)?;
        if is_passed_over(name) || id.is_some_and(|id| self.queue_in(id, name).is_some()) {
            return Ok(());
        }
        if name.is_empty() || has_line_breaks(name) {
            return Err(format!("the name of queue {name:?} in virtual host '{vhost}' is empty or has line breaks"));
        }
        let coming = known.vhost(vhost);
        let default = match &coming.declared {
            Some(declared) => declared.as_deref().or(self.settings.default_queue_type.map(QueueKind::name)),
            None => id.and_then(|id| self.default_queue_type(id)),
        };
        let (mut arguments, properties) = (arguments.clone(), (*durable, false, *auto_delete));
        if let Some(default) = default {
            arguments::add_default_type(&mut arguments, default, properties);
        }
        let kind = arguments::parse(&arguments, &name.to_string(), vhost_name).map_err(said)?.kind;
        arguments::assert_fits(kind, properties, &name.to_string(), vhost_name).map_err(said)?;
        coming.queues.entry(name.clone()).or_insert(kind);
        Ok(())
    }

    fn check_binding(&self, binding: &ImportedBinding, known: &mut Known) -> Result<(), String> {
        let ImportedBinding { vhost, source, destination, to_queue, routing_key, arguments } = binding;
        let id = self.coming_vhost(vhost, known)?;
        if source.is_empty() || destination.is_empty() {
            return Ok(());
        }
        let coming = known.vhost(vhost);
        let exchange = |name: &ShortString| id.and_then(|id| self.exchange_in(id, name));
        let queue = id.and_then(|id| self.queue_in(id, destination));
        let kind_there = queue.map(|queue| self.queue(queue).arguments.kind);
        let queue_kind = kind_there.or_else(|| coming.queues.get(destination).copied()).filter(|_| *to_queue);
        let is_there = match to_queue {
            true => queue_kind.is_some(),
            false => {
                let is_coming = coming.exchanges.contains_key(destination);
                let is_born = || predeclared(destination).or_else(|| self.events_kind(vhost, destination)).is_some();
                is_coming || exchange(destination).is_some() || id.is_none() && is_born()
            }
        };
        let none = FieldTable::default();
        let from = exchange(source);
        let declared = match (from, id, coming.exchanges.get(source)) {
            (Some(exchange), Some(id), _) => {
                let exchange = self.router(id).exchange(exchange);
                Some((exchange.kind, &exchange.arguments))
            }
            (.., Some((kind, arguments))) => Some((*kind, arguments)),
            // What it will be born with.
            (_, None, None) => {
                predeclared(source).or_else(|| self.events_kind(vhost, source)).map(|kind| (kind, &none))
            }
            (_, Some(_), None) => None,
        };
        let Some((kind, declared_with)) = declared.filter(|_| is_there) else {
            // It is passed over.
            return Ok(());
        };
        let subject = Subject { kind: "exchange", name: source, vhost };
        kind.check_binding(declared_with, *to_queue, routing_key, arguments, subject).map_err(said)?;
        if let (ExchangeKind::LocalRandom, Some(queue_kind)) = (kind, queue_kind) {
            assert_local(queue_kind).map_err(said)?;
        }
        let to =
            if *to_queue { queue.map(Destination::Queue) } else { exchange(destination).map(Destination::Exchange) };
        let is_bound = |((from, to), id)| self.router(id).is_bound(from, to, routing_key, arguments);
        coming.new_bindings += usize::from(!from.zip(to).zip(id).is_some_and(is_bound));
        Ok(())
    }

    /// What only all of it together can exceed.
    ///
    /// # Errors
    /// What is too much.
    pub(super) fn check_whole_import(&self, known: &Known) -> Result<(), String> {
        let administrators = self.administrators_after(known.users.iter().map(|(name, can)| (name, *can)));
        if !known.users.is_empty() && self.has_administrators() && administrators == 0 {
            return Err("nobody could log in and administer any more".to_owned());
        }
        if known.new_parameters.len() + self.global_parameter_count() > GLOBAL_PARAMETERS_MAX {
            return Err(format!("there may be at most {GLOBAL_PARAMETERS_MAX} global parameters"));
        }
        known.vhosts.iter().try_for_each(|(name, coming)| self.check_room(name, coming))
    }

    fn check_room(&self, name: &ShortString, coming: &KnownVhost) -> Result<(), String> {
        let there = self.vhost_named(name).map(|id| &self.vhosts[id]);
        let limits = there.map_or(self.settings.vhost_limits, |vhost| vhost.limits);
        let router = there.map(|vhost| vhost.router());
        let queues_there = router.map_or(0, |router| router.queue_count());
        let wanted = coming.queues_max.unwrap_or(there.and_then(|vhost| vhost.attributes.queues_max));
        let (adding, most) = (coming.queues.len(), wanted.unwrap_or(u64::MAX));
        if adding > 0 && (queues_there + adding) as u64 > most {
            return Err(format!(
                "Adding {adding} queue(s) to virtual host \"{name}\" would exceed the limit of {most} queue(s).\n\n\
                 This virtual host currently has {queues_there} queue(s) defined.\n\nImport aborted!"
            ));
        }
        let (exchanges_there, bindings_there) = match router {
            Some(router) => (router.exchange_count(), router.binding_count()),
            // What it will be born with counts as well.
            None => (PREDECLARED_COUNT + usize::from(self.is_to_have_events(name)), 0),
        };
        for (what, adding, there, most) in [
            ("queue", adding, queues_there, limits.queues_max),
            ("exchange", coming.exchanges.len(), exchanges_there, limits.exchanges_max),
            ("binding", coming.new_bindings, bindings_there, limits.bindings_max),
        ] {
            if most > 0 && adding > 0 && there + adding > most {
                return Err(format!("cannot add {adding}: {what} limit in vhost '{name}' ({most}) is reached"));
            }
        }
        self.check_room_for_policies(there.map(|vhost| &vhost.policies), coming)
    }

    fn check_room_for_policies(&self, there: Option<&Policies>, coming: &KnownVhost) -> Result<(), String> {
        let mut bytes = there.map_or(0, |policies| policies.patterns_bytes());
        for kind in [PolicyKind::User, PolicyKind::Operator] {
            let mut count = there.map_or(0, |policies| policies.of(kind).len());
            for (name, pattern_bytes) in &coming.policies[of_kind(kind)] {
                bytes += pattern_bytes;
                match there.and_then(|policies| policies.named(kind, name)) {
                    Some(replaced) => bytes -= replaced.pattern.compiled_bytes(),
                    None => count += 1,
                }
            }
            if count > POLICIES_MAX {
                return Err(TooManyPolicies::OfKind.to_string());
            }
        }
        let brings_some = coming.policies.iter().any(|of_kind| !of_kind.is_empty());
        if brings_some && bytes > PATTERNS_BYTES_MAX { Err(TooManyPolicies::Patterns.to_string()) } else { Ok(()) }
    }
}
