//! Global parameters: names with values that are JSON, of no virtual host's.
//!
//! They mean nothing to the broker, but that clients are told the one that says what the cluster is called. It keeps them for tools that ask for them, and so that definitions that come from elsewhere
//! are whole when they go on.

use super::store::{Definition, Store};
use super::{Broker, Done};
use crate::protocol::ShortString;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub const GLOBAL_PARAMETERS_MAX: usize = 1_000;
/// The longest value, in bytes.
pub const GLOBAL_PARAMETER_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
pub(super) struct GlobalParameters(BTreeMap<ShortString, Arc<str>>);

/// There are as many global parameters as there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyParameters;

impl fmt::Display for TooManyParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there may be at most {GLOBAL_PARAMETERS_MAX} global parameters")
    }
}

impl<S: Store> Broker<S> {
    /// Sets a parameter. Says whether there was none of that name.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn put_global_parameter(
        &mut self,
        name: ShortString,
        value: Arc<str>,
    ) -> Result<Done<bool>, TooManyParameters> {
        let GlobalParameters(parameters) = &mut self.global_parameters;
        if !parameters.contains_key(&name) && parameters.len() >= GLOBAL_PARAMETERS_MAX {
            return Err(TooManyParameters);
        }
        let before = parameters.insert(name.clone(), Arc::clone(&value));
        if before.as_ref() != Some(&value) {
            self.define(&Definition::GlobalParameterPut { name, value });
        }
        Ok(self.done(before.is_none()))
    }

    /// Deletes a parameter. Says whether there was one of that name.
    pub fn delete_global_parameter(&mut self, name: &ShortString) -> Done<bool> {
        let existed = self.global_parameters.0.remove(name).is_some();
        if existed {
            self.define(&Definition::GlobalParameterDeleted { name: name.clone() });
        }
        self.done(existed)
    }

    /// Puts a parameter back.
    pub fn restore_global_parameter(&mut self, name: ShortString, value: Arc<str>) {
        self.global_parameters.0.insert(name, value);
    }

    /// All of them by name: they are few.
    pub fn snapshot_global_parameters(&self) -> Vec<(ShortString, Arc<str>)> {
        self.global_parameters.0.iter().map(|(name, value)| (name.clone(), Arc::clone(value))).collect()
    }

    /// The value of a parameter.
    pub fn global_parameter(&self, name: &[u8]) -> Option<&Arc<str>> {
        self.global_parameters.0.get(name)
    }

    pub(super) fn has_global_parameter(&self, name: &[u8]) -> bool {
        self.global_parameters.0.contains_key(name)
    }

    pub(super) fn global_parameter_count(&self) -> usize {
        self.global_parameters.0.len()
    }
}
