//! What tells a cluster from all others, whatever it is called: as the global parameter `internal_cluster_id`, where tools look
//! for it with RabbitMQ. It comes from the data folder, lasts, and goes with definitions to where they are imported.

use crate::broker::Broker;
use crate::broker::store::Store;
use crate::protocol::ShortString;
use crate::storage::ClusterId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The parameter.
const NAME: &str = "internal_cluster_id";
/// What its value begins with.
const PREFIX: &str = "rabbitmq-cluster-id-";

/// Sets the parameter if there is none.
pub fn seed<S: Store>(broker: &mut Broker<S>, ClusterId(id): ClusterId) {
    if broker.global_parameter(NAME.as_bytes()).is_some() {
        return;
    }
    let value = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(id));
    match broker.put_global_parameter(ShortString::truncated(NAME.as_bytes()), format!("\"{value}\"").into()) {
        Ok(_) => tracing::info!(target: "general", "initialising internal cluster ID to '{value}'"),
        Err(error) => tracing::warn!(target: "general", "no internal cluster ID: {error}"),
    }
}
