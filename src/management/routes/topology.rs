//! What leads where: `…/route` says where a message would go and why, `/api/topology` draws all of a virtual host.

use super::super::App;
use super::super::http::{ApiError, ApiResult, exchange_name, ok};
use super::super::listing::{Ranges, names};
use super::super::question::{Held, Question, VhostQuestion};
use super::super::visit::VhostVisit;
use super::super::{json, shapes};
use super::{object, text_field};
use crate::broker::exchange::Way;
use crate::broker::snapshot::{BindingSnapshot, ExchangeSnapshot, QueueSnapshot};
use crate::broker::{RouteStep, RouteTest};
use crate::protocol::{FieldTable, FieldValue};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Nodes of a drawing, where it is not said and at most.
const NODES: (usize, usize) = (500, 5000);
/// Edges for each node that may be there.
const EDGES_PER_NODE: usize = 4;
/// Routing keys that an edge names.
const KEYS_MAX: usize = 5;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/exchanges/{vhost}/{exchange}/route", post(test_route)).route("/topology/{vhost}", get(draw))
}

async fn test_route(visit: VhostVisit, Path((_, exchange)): Path<(String, String)>, body: Bytes) -> ApiResult {
    let exchange = exchange_name(&exchange)?;
    let body = object(&body)?;
    let routing_key = json::short_string(text_field(&body, "routing_key")?, "routing_key")?;
    let mut properties = json::to_properties(&body["properties"])?;
    if !body["headers"].is_null() {
        properties.headers = Some(json::to_table(&body["headers"], "headers")?);
    }
    let mut encoded = Vec::new();
    properties.encode(&mut encoded);
    let properties = encoded.into();
    let tested = visit.ask_here(|reply| VhostQuestion::TestRoute { exchange, routing_key, properties, reply }).await?;
    let RouteTest { queues, queue_count, steps, is_cut } = tested.ok_or(ApiError::NotFound)?;
    ok(&json!({
        "routed": queue_count > 0,
        "queues": queues.iter().map(|name| json::text(name)).collect::<Value>(),
        "queue_count": queue_count,
        "steps": steps.iter().map(step_shape).collect::<Value>(),
        "cut": is_cut || queue_count > queues.len(),
    }))
}

fn step_shape(step: &RouteStep) -> Value {
    json!({
        "exchange": json::text(&step.exchange),
        "type": step.kind,
        "by": match step.way {
            Way::Published => "publish",
            Way::Binding => "binding",
            Way::Alternate => "alternate",
        },
        "bindings": step.bindings.iter().map(shapes::binding).collect::<Value>(),
        "by_chance": step.by_chance,
        "delay_ms": step.delay_ms,
        "alternate": step.alternate.as_ref().map(|name| json::text(name)),
    })
}

/// Exchanges first, then queues, and what leads from one to the other of those that are drawn.
async fn draw(visit: VhostVisit, Query(parameters): Query<HashMap<String, String>>) -> ApiResult {
    let most = match parameters.get("limit").map(|limit| limit.parse::<usize>()) {
        None => NODES.0,
        Some(Ok(limit)) => limit.min(NODES.1),
        Some(Err(_)) => return Err(ApiError::BadRequest("limit must be a whole number".to_owned())),
    };
    let vhost = &*visit.vhost;
    let mut exchanges = visit.ask_all(|from, reply| Question::Exchanges { from, reply }).await?;
    exchanges.retain(|exchange| *exchange.vhost == *vhost);
    let mut queues = visit.ask_all(|from, reply| Question::Queues { from, reply }).await?;
    queues.retain(|queue| *queue.item.vhost == *vhost);
    if let Some(names) = names(&parameters)? {
        queues.retain(|queue| names.is_match(&String::from_utf8_lossy(&queue.item.name)));
    }
    let mut bindings = visit.ask_all(|from, reply| Question::Bindings { from, reply }).await?;
    // What the default exchange leads to everybody knows.
    bindings.retain(|binding| *binding.vhost == *vhost && !binding.source.is_empty());
    let (exchange_count, queue_count) = (exchanges.len(), queues.len());
    // Of those that nothing leads from or to there are seven that everybody has.
    let is_bound: HashSet<_> = bindings
        .iter()
        .flat_map(|binding| {
            [Some(&binding.source), (binding.destination_type == "exchange").then_some(&binding.destination)]
        })
        .flatten()
        .collect();
    exchanges.sort_by_key(|exchange| !is_bound.contains(&exchange.name));
    exchanges.truncate(most);
    queues.truncate(most - exchanges.len());
    let drawing = Drawing::of(&exchanges, &queues, &bindings, most * EDGES_PER_NODE);
    let nodes = exchanges.iter().map(|exchange| exchange_node(&visit.app, exchange));
    let nodes = nodes.chain(queues.iter().map(|queue| queue_node(&visit.app, queue)));
    ok(&json!({
        "nodes": nodes.collect::<Value>(),
        "edges": drawing.shape(),
        "exchanges": exchange_count,
        "queues": queue_count,
        "bindings": bindings.len(),
        "cut": drawing.is_cut || exchange_count + queue_count > exchanges.len() + queues.len(),
    }))
}

fn exchange_node(app: &App, exchange: &ExchangeSnapshot) -> Value {
    let mut node = shapes::exchange_with_stats(app, exchange, Ranges::default());
    node["id"] = json!(exchange_id(&exchange.name));
    node["kind"] = json!("exchange");
    node
}

fn queue_node(app: &App, queue: &Held<QueueSnapshot>) -> Value {
    let mut shape = shapes::queue(app, queue, Ranges::default());
    let names = [
        "name",
        "type",
        "durable",
        "messages",
        "messages_ready",
        "messages_unacknowledged",
        "consumers",
        "message_stats",
        "policy",
    ];
    let mut node: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), shape[*name].take())).collect();
    node.insert("id".to_owned(), json!(queue_id(&queue.item.name)));
    node.insert("kind".to_owned(), json!("queue"));
    Value::Object(node)
}

fn exchange_id(name: &[u8]) -> String {
    format!("exchange:{}", String::from_utf8_lossy(name))
}

fn queue_id(name: &[u8]) -> String {
    format!("queue:{}", String::from_utf8_lossy(name))
}

/// What leads from where to where: all bindings between two together.
struct Drawing {
    edges: BTreeMap<(String, String, &'static str), Edge>,
    nodes: HashSet<String>,
    most: usize,
    is_cut: bool,
}

#[derive(Default)]
struct Edge {
    count: usize,
    keys: Vec<Value>,
}

impl Drawing {
    fn of(
        exchanges: &[ExchangeSnapshot],
        queues: &[Held<QueueSnapshot>],
        bindings: &[BindingSnapshot],
        most: usize,
    ) -> Self {
        let nodes = exchanges.iter().map(|exchange| exchange_id(&exchange.name));
        let nodes = nodes.chain(queues.iter().map(|queue| queue_id(&queue.item.name))).collect();
        let mut this = Self { edges: BTreeMap::new(), nodes, most, is_cut: false };
        for binding in bindings {
            let to = match binding.destination_type {
                "queue" => queue_id(&binding.destination),
                _ => exchange_id(&binding.destination),
            };
            this.add(exchange_id(&binding.source), to, "binding", Some(&binding.routing_key));
        }
        for exchange in exchanges {
            let policy = exchange.policies.definition();
            if let Some(alternate) = said(&exchange.arguments, b"alternate-exchange", &policy, b"alternate-exchange") {
                this.add(exchange_id(&exchange.name), exchange_id(&alternate), "alternate", None);
            }
        }
        for QueueSnapshot { name, arguments, policies, .. } in queues.iter().map(|queue| &queue.item) {
            let policy = policies.definition();
            let said = |argument: &[u8], key: &[u8]| said(arguments, argument, &policy, key);
            let Some(exchange) = said(b"x-dead-letter-exchange", b"dead-letter-exchange") else { continue };
            let key = said(b"x-dead-letter-routing-key", b"dead-letter-routing-key");
            // By the default exchange it leads to the queue of that name.
            let to = match &key {
                Some(queue) if exchange.is_empty() => queue_id(queue),
                _ => exchange_id(&exchange),
            };
            this.add(queue_id(name), to, "dead-letter", key.as_deref());
        }
        this
    }

    fn add(&mut self, from: String, to: String, kind: &'static str, key: Option<&[u8]>) {
        if !self.nodes.contains(&from) || !self.nodes.contains(&to) {
            return;
        }
        let place = (from, to, kind);
        if self.edges.len() >= self.most && !self.edges.contains_key(&place) {
            self.is_cut = true;
            return;
        }
        let edge = self.edges.entry(place).or_default();
        edge.count += 1;
        if edge.keys.len() < KEYS_MAX {
            edge.keys.extend(key.map(json::text));
        }
    }

    fn shape(&self) -> Value {
        let shape = |((from, to, kind), edge): (&(String, String, &'static str), &Edge)| json!({ "from": from, "to": to, "kind": kind, "count": edge.count, "routing_keys": edge.keys });
        self.edges.iter().map(shape).collect()
    }
}

/// What an argument says, or else a policy.
fn said(arguments: &FieldTable, argument: &[u8], policy: &FieldTable, key: &[u8]) -> Option<Box<[u8]>> {
    match arguments.get(argument).or_else(|| policy.get(key))? {
        FieldValue::LongString(text) => Some(text.clone()),
        _ => None,
    }
}
