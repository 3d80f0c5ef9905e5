//! What clients are greeted with: made once, and again when the cluster is called otherwise.

use crate::broker::Broker;
use crate::broker::store::Store;
use crate::connection::{Greeting, Settings};
use crate::management::{CLUSTER_NAME, cluster_name_of};
use std::sync::Arc;

pub(super) struct Greeter {
    pub greeting: Greeting,
    /// The global parameter that says what the cluster is called, as it was then.
    parameter: Option<Arc<str>>,
}

impl Greeter {
    pub fn new(settings: &Settings) -> Self {
        Self { greeting: Greeting::new(settings, &settings.cluster_name), parameter: None }
    }

    /// Greets with what the cluster is called by now.
    pub fn renew<S: Store>(&mut self, settings: &Settings, broker: &Broker<S>) {
        let parameter = broker.global_parameter(CLUSTER_NAME.as_bytes());
        if parameter == self.parameter.as_ref() {
            return;
        }
        let name = parameter.and_then(|value| cluster_name_of(value));
        self.greeting = Greeting::new(settings, name.as_deref().unwrap_or(&settings.cluster_name));
        self.parameter = parameter.cloned();
    }
}
