//! `/api/vhosts`: what virtual hosts there are. Everybody learns of those that they may enter, monitors of all;
//! administrators make and delete them.

use super::super::figures::QueueSums;
use super::super::http::{ApiError, ApiResult, empty, name};
use super::super::json;
use super::super::listing::{ListQuery, RowName, one};
use super::super::order::{Order, ProtectedVhost};
use super::super::question::{Question, VhostQuestion};
use super::super::visit::{Administrator, Visit};
use super::{App, object, text_field};
use crate::access::{TAG_BYTES_MAX, TAGS_MAX};
use crate::broker::VhostAttributes;
use crate::broker::access_snapshot::VhostSnapshot;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The longest description, in bytes. A virtual host has as many tags as a user may have, each as long.
const TEXT_MAX_BYTES: usize = 1024;

/// What is told of a virtual host without a look at all of its queues.
const OF_ITSELF: [&str; 8] = [
    "name",
    "description",
    "tags",
    "default_queue_type",
    "metadata",
    "protected_from_deletion",
    "tracing",
    "cluster_state",
];

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/vhosts", get(all))
        .route("/vhosts/{vhost}", get(show).put(put).delete(remove))
        .route("/vhosts/{vhost}/deletion/protection", post(protect).delete(unprotect))
        .route("/vhosts/{vhost}/start/{node}", post(start))
}

type Parameters = Query<HashMap<String, String>>;

fn shape(visit: &Visit, vhost: &VhostSnapshot, sums: Option<&QueueSums>) -> Value {
    let VhostAttributes { description, tags, default_queue_type, tracing, is_protected, .. } = &vhost.attributes;
    let default_queue_type = default_queue_type.as_deref().unwrap_or("classic");
    let mut shape = json!({
        "name": &*vhost.name,
        "description": description,
        "tags": tags,
        "default_queue_type": default_queue_type,
        "metadata": {"description": description, "tags": tags, "default_queue_type": default_queue_type},
        "protected_from_deletion": is_protected,
        "tracing": tracing,
        "cluster_state": {&visit.app.settings.node: "running"},
    });
    if *is_protected {
        shape["metadata"]["protected_from_deletion"] = json!(true);
    }
    sums.unwrap_or(&QueueSums::default()).put(&mut shape);
    shape
}

/// What is in the queues of each virtual host, by its number.
pub async fn sums(visit: &Visit) -> Result<HashMap<u32, QueueSums>, ApiError> {
    let figures = visit.ask_all(|from, reply| Question::QueueFigures { from, reply }).await?;
    let (mut sums, now_ms) = (HashMap::<u32, QueueSums>::new(), visit.app.now_ms());
    let mut rates = visit.app.rates();
    for queue in &figures {
        sums.entry(queue.vhost.0).or_default().add(queue, rates.of_queue(queue.serial, now_ms));
    }
    Ok(sums)
}

async fn all(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let visible = visit.visible().await?;
    let mut vhosts = visit.ask_all(|from, reply| Question::Vhosts { from, reply }).await?;
    vhosts.retain(|vhost| visible.holds(&vhost.name));
    let sums = if query.is_only_of(&OF_ITSELF) { HashMap::new() } else { sums(&visit).await? };
    let shape = |vhost: &VhostSnapshot| shape(&visit, vhost, sums.get(&vhost.id.0));
    query.answer(visit.take_room(), vhosts, |vhost| RowName::plain(&*vhost.name), shape).await
}

async fn show(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    let name = visit.vhost(true)?;
    let vhost = visit.ask_in(&name, VhostQuestion::Itself).await?;
    let sums = sums(&visit).await?;
    one(&parameters, shape(&visit, &vhost, sums.get(&vhost.id.0)))
}

/// What a body says of a virtual host. What it doesn't say of description, tags and type is taken back.
#[derive(PartialEq, Debug)]
pub struct VhostBody {
    pub description: Box<str>,
    pub tags: Vec<Box<str>>,
    pub default_queue_type: Option<Box<str>>,
    pub tracing: Option<bool>,
}

impl VhostBody {
    pub fn parse(body: &Value) -> Result<Self, ApiError> {
        Ok(Self {
            description: bounded(text_field(body, "description")?, "description", TEXT_MAX_BYTES)?,
            tags: tags(&body["tags"])?,
            default_queue_type: default_queue_type(body)?,
            tracing: tracing(&body["tracing"])?,
        })
    }
}

fn bounded(text: &str, what: &str, max_bytes: usize) -> Result<Box<str>, ApiError> {
    if text.len() > max_bytes {
        return Err(ApiError::BadRequest(format!("{what} is longer than {max_bytes} bytes")));
    }
    Ok(text.into())
}

/// Tags as a list, or as text with commas between them.
fn tags(value: &Value) -> Result<Vec<Box<str>>, ApiError> {
    let wrong = || ApiError::BadRequest("tags must be a string or a list of strings".to_owned());
    let names: Vec<&str> = match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.split(',').collect(),
        Value::Array(values) => values.iter().map(|tag| tag.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    let names = names.into_iter().map(str::trim).filter(|name| !name.is_empty());
    let tags: Vec<Box<str>> = names.map(|name| bounded(name, "a tag", TAG_BYTES_MAX)).collect::<Result<_, _>>()?;
    if tags.len() > TAGS_MAX {
        return Err(ApiError::BadRequest(format!("a virtual host has at most {TAGS_MAX} tags")));
    }
    Ok(tags)
}

/// By its short name, or by the name of RabbitMQ's module. `undefined` is what RabbitMQ says where nobody chose one.
fn default_queue_type(body: &Value) -> Result<Option<Box<str>>, ApiError> {
    let key = if body["default_queue_type"].is_null() { "defaultqueuetype" } else { "default_queue_type" };
    let name = match text_field(body, key)? {
        "" | "undefined" => return Ok(None),
        "classic" | "rabbit_classic_queue" => "classic",
        "quorum" | "rabbit_quorum_queue" => "quorum",
        "stream" | "rabbit_stream_queue" => "stream",
        other => return Err(ApiError::BadRequest(format!("{other} is not a valid queue type"))),
    };
    Ok(Some(name.into()))
}

fn tracing(value: &Value) -> Result<Option<bool>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(tracing) => Ok(Some(*tracing)),
        Value::String(text) if text == "true" => Ok(Some(true)),
        Value::String(text) if text == "false" => Ok(Some(false)),
        other => Err(ApiError::Term(json!(["not_boolean", other]))),
    }
}

async fn put(visit: Administrator, Path(vhost): Path<String>, body: Bytes) -> ApiResult {
    let name = json::short_string(&vhost, "the name")?;
    let VhostBody { description, tags, default_queue_type, tracing } = VhostBody::parse(&object(&body)?)?;
    let put = |reply| Order::PutVhost { name, description, tags, default_queue_type, tracing, reply };
    let new = visit.order(put).await?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn remove(visit: Administrator, Path(vhost): Path<String>) -> ApiResult {
    let name = name(&vhost)?;
    match visit.order(|reply| Order::DeleteVhost { name, reply }).await? {
        Ok(true) => empty(StatusCode::NO_CONTENT),
        Ok(false) => Err(ApiError::NotFound),
        Err(ProtectedVhost) => {
            let reason = format!("Refusing to delete virtual host '{vhost}' because it is protected from deletion");
            Err(ApiError::PreconditionFailed(reason))
        }
    }
}

async fn protect(visit: Administrator, Path(vhost): Path<String>) -> ApiResult {
    let name = name(&vhost)?;
    match visit.order(|reply| Order::ProtectVhost { name, is_protected: true, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => {
            let reason = "Cannot enable deletion protection of virtual host";
            Err(ApiError::Missing(format!("{reason} '{vhost}' because it does not exist")))
        }
    }
}

async fn unprotect(visit: Administrator, Path(vhost): Path<String>) -> ApiResult {
    let name = name(&vhost)?;
    match visit.order(|reply| Order::ProtectVhost { name, is_protected: false, reply }).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

/// None of them ever stands still.
async fn start(visit: Administrator, Path((_, node)): Path<(String, String)>) -> ApiResult {
    visit.vhost(true)?;
    if node != visit.app.settings.node {
        return Err(ApiError::BadRequest(format!("Unknown node: {node}")));
    }
    empty(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &Value) -> Result<VhostBody, ApiError> {
        VhostBody::parse(body)
    }

    #[test]
    fn what_a_body_does_not_say_is_taken_back_but_for_tracing() {
        let nothing = VhostBody { description: "".into(), tags: Vec::new(), default_queue_type: None, tracing: None };
        assert_eq!(parse(&json!({})), Ok(nothing));
        let body = json!({"description": "d", "tags": "a, b", "tracing": true, "default_queue_type": "quorum"});
        let said = VhostBody {
            description: "d".into(),
            tags: vec!["a".into(), "b".into()],
            default_queue_type: Some("quorum".into()),
            tracing: Some(true),
        };
        assert_eq!(parse(&body), Ok(said));
        let tags = parse(&json!({"tags": ["x", "y,z"]})).unwrap().tags;
        assert_eq!(tags, ["x".into(), "y,z".into()]);
        assert_eq!(parse(&json!({"defaultqueuetype": "stream"})).unwrap().default_queue_type, Some("stream".into()));
        assert_eq!(parse(&json!({"default_queue_type": "undefined"})).unwrap().default_queue_type, None);
        assert_eq!(parse(&json!({"tracing": "true"})).unwrap().tracing, Some(true));
    }

    #[test]
    fn what_a_virtual_host_says_of_itself_takes_no_look_at_its_queues() {
        let is_of_itself = |columns: &str| {
            let parameters = HashMap::from([("columns".to_owned(), columns.to_owned())]);
            ListQuery::parse(&parameters).unwrap().is_only_of(&OF_ITSELF)
        };
        assert!(is_of_itself("name,protected_from_deletion,metadata.default_queue_type,metadata.tags,cluster_state"));
        assert!(!is_of_itself("name,messages") && !is_of_itself("message_stats.publish"));
    }

    proptest! {
        #[test]
        fn whatever_a_body_says_it_is_read_or_refused(
            body in json::testing::objects_with(&["description", "tags", "tracing", "default_queue_type", "classic"])
        ) {
            if let Ok(VhostBody { description, tags, default_queue_type, .. }) = VhostBody::parse(&body) {
                prop_assert!(description.len() <= TEXT_MAX_BYTES && tags.len() <= TAGS_MAX);
                prop_assert!(default_queue_type.is_none_or(|kind| ["classic", "quorum", "stream"].contains(&&*kind)));
            }
        }
    }

    #[test]
    fn wrong_bodies_are_refused() {
        let refused = |body: Value| parse(&body).unwrap_err();
        let reason = "nonsense is not a valid queue type".to_owned();
        assert_eq!(refused(json!({"default_queue_type": "nonsense"})), ApiError::BadRequest(reason));
        assert_eq!(refused(json!({"tracing": "no"})), ApiError::Term(json!(["not_boolean", "no"])));
        for body in [json!({"tags": 5}), json!({"tags": [5]}), json!({"description": 5})] {
            refused(body);
        }
        refused(json!({"description": "x".repeat(TEXT_MAX_BYTES + 1)}));
        refused(json!({"tags": vec!["t"; TAGS_MAX + 1]}));
    }
}
