//! A file of what is there: what RabbitMQ puts into one, and what it reads.
//!
//! What the broker makes itself is not in it, nor what goes with a connection. As every list it is no moment in time.

use super::super::json;
use super::super::line::Declined;
use super::super::question::{Held, Question, VhostQuestion};
use super::super::routes::limits::vhost_limits;
use super::super::routes::parameters::limits_parameter;
use super::super::routes::{permissions, policies, topic_permissions, users};
use super::super::visit::Visit;
use super::super::{COMPATIBLE_VERSION, shapes};
use crate::broker::VhostAttributes;
use crate::broker::access_snapshot::VhostSnapshot;
use crate::broker::policy::PolicyKind;
use crate::broker::snapshot::QueueSnapshot;
use crate::protocol::ShortString;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// What is there: everywhere, or in one virtual host, whose name is in no element then.
pub async fn export(visit: &Visit, vhost: Option<&str>) -> Result<Value, Declined> {
    let mut vhosts = match vhost {
        None => visit.ask_all(|from, reply| Question::Vhosts { from, reply }).await?,
        Some(vhost) => vec![visit.ask_in(vhost, VhostQuestion::Itself).await?],
    };
    vhosts.sort_by(|a, b| a.name.cmp(&b.name));
    let mut file = json!({
        "rabbit_version": COMPATIBLE_VERSION,
        "rabbitmq_version": COMPATIBLE_VERSION,
        "product_name": "Leveret",
        "product_version": env!("CARGO_PKG_VERSION"),
    });
    match (vhost, vhosts.first()) {
        (Some(name), Some(there)) => {
            file["rabbitmq_definition_format"] = json!("single_virtual_host");
            file["original_vhost_name"] = json!(name);
            file["explanation"] = json!(format!("Definitions of virtual host '{name}'"));
            file["metadata"] = metadata(there);
            file["description"] = json!(there.attributes.description);
            file["limits"] = vhost_limits(there);
        }
        _ => {
            let name = visit.app.cluster_name().await?;
            file["rabbitmq_definition_format"] = json!("cluster");
            file["original_cluster_name"] = json!(name);
            file["explanation"] = json!(format!("Definitions of cluster '{name}'"));
            add_what_is_of_the_cluster(visit, &vhosts, &mut file).await?;
        }
    }
    let names: HashSet<Arc<str>> = vhosts.iter().map(|vhost| Arc::clone(&vhost.name)).collect();
    let mut parameters: Vec<Value> = vhosts.iter().filter_map(limits_parameter).collect();
    let policies = visit.ask_all(|from, reply| Question::Policies { kind: PolicyKind::User, from, reply }).await?;
    let of_operators =
        visit.ask_all(|from, reply| Question::Policies { kind: PolicyKind::Operator, from, reply }).await?;
    let of_operators = of_operators.iter().filter(|policy| names.contains(&policy.vhost));
    parameters.extend(of_operators.map(|policy| policies::parameter_shape("operator_policy", policy)));
    file["parameters"] = json!(parameters);
    file["policies"] = policies.iter().filter(|policy| names.contains(&policy.vhost)).map(policies::shape).collect();
    add_things(visit, &names, &mut file).await?;
    if vhost.is_some() {
        for list in ["parameters", "policies", "exchanges", "queues", "bindings"] {
            let elements = file[list].as_array_mut().into_iter().flatten();
            elements.filter_map(Value::as_object_mut).for_each(|element| drop(element.remove("vhost")));
        }
    }
    Ok(file)
}

/// Users, virtual hosts, and what users may do in them.
async fn add_what_is_of_the_cluster(visit: &Visit, vhosts: &[VhostSnapshot], file: &mut Value) -> Result<(), Declined> {
    let mut all = visit.ask_all(|from, reply| Question::Users { from, reply }).await?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    file["users"] = all.iter().map(users::shape).collect();
    file["vhosts"] = vhosts.iter().map(vhost_shape).collect();
    let all = visit.ask_all(|from, reply| Question::Permissions { from, reply }).await?;
    file["permissions"] = all.iter().map(permissions::shape).collect();
    let all = visit.ask_all(|from, reply| Question::TopicPermissions { from, reply }).await?;
    file["topic_permissions"] = all.iter().map(topic_permissions::shape).collect();
    let all = visit.ask(Question::GlobalParameters).await?;
    let parameter =
        |(name, value): &(ShortString, Arc<str>)| json!({"name": json::text(name), "value": json::said(value)});
    file["global_parameters"] = all.iter().map(parameter).collect();
    Ok(())
}

fn metadata(vhost: &VhostSnapshot) -> Value {
    let VhostAttributes { description, tags, default_queue_type, is_protected, .. } = &vhost.attributes;
    let mut metadata =
        Map::from_iter([("description".to_owned(), json!(description)), ("tags".to_owned(), json!(tags))]);
    if let Some(name) = default_queue_type {
        metadata.insert("default_queue_type".to_owned(), json!(name));
    }
    if *is_protected {
        metadata.insert("protected_from_deletion".to_owned(), json!(true));
    }
    Value::Object(metadata)
}

fn vhost_shape(vhost: &VhostSnapshot) -> Value {
    let mut shape = metadata(vhost);
    shape["name"] = json!(&*vhost.name);
    shape["metadata"] = metadata(vhost);
    shape["limits"] = vhost_limits(vhost);
    shape
}

/// Exchanges, queues and bindings.
async fn add_things(visit: &Visit, vhosts: &HashSet<Arc<str>>, file: &mut Value) -> Result<(), Declined> {
    let exchanges = visit.ask_all(|from, reply| Question::Exchanges { from, reply }).await?;
    let is_somebodys = |name: &[u8]| !name.is_empty() && !name.starts_with(b"amq.");
    let exchanges = exchanges.iter().filter(|it| vhosts.contains(&it.vhost) && is_somebodys(&it.name));
    let keys = ["name", "vhost", "type", "durable", "auto_delete", "internal", "arguments"];
    file["exchanges"] = exchanges.map(|exchange| only(&keys, shapes::exchange(exchange))).collect();
    let queues = visit.ask_all(|from, reply| Question::Queues { from, reply }).await?;
    let is_to_last =
        |queue: &&Held<QueueSnapshot>| vhosts.contains(&queue.item.vhost) && queue.item.exclusive_owner.is_none();
    let queues: Vec<_> = queues.iter().filter(is_to_last).collect();
    file["queues"] = queues.iter().map(|queue| shapes::queue_definition(&queue.item)).collect();
    let known: HashSet<(&Arc<str>, &[u8])> = queues.iter().map(|it| (&it.item.vhost, &*it.item.name)).collect();
    let bindings = visit.ask_all(|from, reply| Question::Bindings { from, reply }).await?;
    let bindings = bindings.iter().filter(|binding| {
        let is_to_queue = binding.destination_type == "queue";
        vhosts.contains(&binding.vhost)
            && !binding.source.is_empty()
            && (!is_to_queue || known.contains(&(&binding.vhost, &*binding.destination)))
    });
    let keys = ["source", "vhost", "destination", "destination_type", "routing_key", "arguments"];
    file["bindings"] = bindings.map(|binding| only(&keys, shapes::binding(binding))).collect();
    Ok(())
}

fn only(keys: &[&str], mut shape: Value) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), shape[*key].take())).collect()
}
