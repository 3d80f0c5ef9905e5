//! `/api/bindings`, and the bindings of one queue or exchange.

use super::super::change::{BindingSpec, VhostChange};
use super::super::http::{ApiError, ApiResult, empty, exchange_name, name, ok};
use super::super::listing::{ListQuery, RowName};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{VhostVisit, Visit};
use super::super::{App, json, shapes};
use super::{object, text_field};
use crate::broker::snapshot::BindingSnapshot;
use crate::protocol::ShortString;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/bindings", get(list_all))
        .route("/bindings/{vhost}", get(list))
        .route("/bindings/{vhost}/e/{source}/{kind}/{destination}", get(between).post(bind))
        .route("/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}", get(show).delete(unbind))
        .route("/queues/{vhost}/{queue}/bindings", get(to_queue))
        .route("/exchanges/{vhost}/{exchange}/bindings/source", get(from_exchange))
        .route("/exchanges/{vhost}/{exchange}/bindings/destination", get(to_exchange))
}

type Parameters = Query<HashMap<String, String>>;

/// What a listing without a sort parameter is sorted by.
fn order(binding: &BindingSnapshot) -> RowName {
    let name = format!("{}\0{}\0{}", binding.source, binding.destination, binding.routing_key);
    RowName::in_vhost(&binding.vhost, name)
}

async fn answer(visit: &Visit, parameters: &HashMap<String, String>, bindings: Vec<BindingSnapshot>) -> ApiResult {
    ListQuery::parse(parameters)?.answer(visit.take_room(), bindings, order, shapes::binding).await
}

async fn list_all(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let listed = visit.listed().await?;
    let mut bindings = all(&visit).await?;
    bindings.retain(|binding| listed.holds(&binding.vhost));
    answer(&visit, &parameters, bindings).await
}

async fn all(visit: &Visit) -> Result<Vec<BindingSnapshot>, ApiError> {
    Ok(visit.ask_all(|from, reply| Question::Bindings { from, reply }).await?)
}

async fn list(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    let mut bindings = all(&visit).await?;
    bindings.retain(|binding| *binding.vhost == *visit.vhost);
    answer(&visit, &parameters, bindings).await
}

async fn to_queue(
    visit: VhostVisit,
    Path((_, queue)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let name = name(&queue)?;
    let bindings = visit.ask_here(|reply| VhostQuestion::BindingsToQueue { name, reply }).await?;
    answer(&visit, &parameters, bindings).await
}

async fn to_exchange(
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let name = exchange_name(&exchange)?;
    let bindings = visit.ask_here(|reply| VhostQuestion::BindingsToExchange { name, reply }).await?;
    answer(&visit, &parameters, bindings).await
}

async fn from_exchange(
    visit: VhostVisit,
    Path((_, exchange)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let source = exchange_name(&exchange)?;
    let mut bindings = all(&visit).await?;
    bindings.retain(|binding| *binding.vhost == *visit.vhost && binding.source == source);
    answer(&visit, &parameters, bindings).await
}

/// The two ends of a binding, as a path names them.
struct Ends {
    source: ShortString,
    destination: ShortString,
    to_queue: bool,
}

impl Ends {
    fn parse(source: &str, kind: &str, destination: &str) -> Result<Self, ApiError> {
        let to_queue = match kind {
            "q" => true,
            "e" => false,
            _ => return Err(ApiError::NotFound),
        };
        let destination = if to_queue { name(destination)? } else { exchange_name(destination)? };
        Ok(Self { source: exchange_name(source)?, destination, to_queue })
    }

    /// The bindings between these ends, of which none has to be there.
    async fn bindings(&self, visit: &VhostVisit) -> Result<Vec<BindingSnapshot>, ApiError> {
        let destination = self.destination.clone();
        let mut bindings = if self.to_queue {
            visit.ask_here(|reply| VhostQuestion::BindingsToQueue { name: destination, reply }).await?
        } else {
            visit.ask_here(|reply| VhostQuestion::BindingsToExchange { name: destination, reply }).await?
        };
        bindings.retain(|binding| binding.source == self.source);
        Ok(bindings)
    }

    async fn binding(&self, visit: &VhostVisit, properties_key: &str) -> Result<BindingSnapshot, ApiError> {
        // The path was decoded once, and the key of an odd routing key is percent-encoded itself: it may arrive as
        // it is listed, or decoded.
        let bindings = self.bindings(visit).await?;
        let routing_key_only = |binding: &BindingSnapshot| {
            binding.arguments.is_empty() && *binding.routing_key == *properties_key.as_bytes()
        };
        let exact = bindings.iter().position(|binding| binding.properties_key == properties_key);
        let index = exact.or_else(|| bindings.iter().position(routing_key_only)).ok_or(ApiError::NotFound)?;
        let binding = bindings.into_iter().nth(index).ok_or(ApiError::NotFound)?;
        if binding.source.is_empty() {
            // Listed whether or not there is such a queue.
            let name = binding.destination.clone();
            visit.ask_here(|reply| VhostQuestion::Queue { name, reply }).await?.ok_or(ApiError::NotFound)?;
        }
        Ok(binding)
    }
}

async fn between(
    visit: VhostVisit,
    Path((_, source, kind, destination)): Path<(String, String, String, String)>,
    Query(parameters): Parameters,
) -> ApiResult {
    let ends = Ends::parse(&source, &kind, &destination)?;
    let bindings = ends.bindings(&visit).await?;
    answer(&visit, &parameters, bindings).await
}

async fn bind(
    visit: VhostVisit,
    Path((_, source, kind, destination)): Path<(String, String, String, String)>,
    body: Bytes,
) -> ApiResult {
    let ends = Ends::parse(&source, &kind, &destination)?;
    let body = object(&body)?;
    let routing_key = json::short_string(text_field(&body, "routing_key")?, "routing_key")?;
    let arguments = json::to_table(&body["arguments"], "arguments")?;
    let binding = BindingSpec {
        source: ends.source.clone(),
        destination: ends.destination.clone(),
        to_queue: ends.to_queue,
        routing_key: routing_key.clone(),
        arguments,
    };
    let wanted = body.get("arguments").cloned().unwrap_or(Value::Null);
    visit.change_here(|reply| VhostChange::Bind { binding, reply }).await?.map_err(ApiError::of_definition)?;
    let made = ends.bindings(&visit).await?.into_iter().find(|binding| {
        let arguments = json::table(&binding.arguments);
        let same = arguments == wanted || binding.arguments.is_empty() && !has_entries(&wanted);
        binding.routing_key == routing_key && same
    });
    // Gone already, or its arguments read back differently: then there is no address to tell.
    let Some(made) = made else { return empty(StatusCode::CREATED) };
    // Where the binding is, seen from the path that was posted to.
    let location = format!("{}/{}", percent_encoded(&destination), percent_encoded(&made.properties_key));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

fn has_entries(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

type BindingPath = Path<(String, String, String, String, String)>;

async fn show(visit: VhostVisit, Path((_, source, kind, destination, key)): BindingPath) -> ApiResult {
    let ends = Ends::parse(&source, &kind, &destination)?;
    let binding = ends.binding(&visit, &key).await?;
    ok(&shapes::binding(&binding))
}

async fn unbind(visit: VhostVisit, Path((_, source, kind, destination, key)): BindingPath) -> ApiResult {
    let ends = Ends::parse(&source, &kind, &destination)?;
    let BindingSnapshot { routing_key, arguments, .. } = ends.binding(&visit, &key).await?;
    let Ends { source, destination, to_queue } = ends;
    let binding = BindingSpec { source, destination, to_queue, routing_key, arguments };
    visit.change_here(|reply| VhostChange::Unbind { binding, reply }).await?.map_err(ApiError::of_definition)?;
    empty(StatusCode::NO_CONTENT)
}
