//! Connections, channels and consumers.

use super::super::change::Change;
use super::super::http::{ApiError, ApiResult, empty};
use super::super::listing::{ListQuery, one};
use super::super::question::{ConnectionSnapshot, Question};
use super::super::{App, shapes};
use super::check_vhost;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// What clients are told when nobody gave a reason.
const CLOSE_REASON: &str = "Closed via management plugin";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/connections", get(connections))
        .route("/connections/username/{user}", get(connections_of_user))
        .route("/connections/{name}", get(connection).delete(close))
        .route("/connections/{name}/channels", get(channels_of))
        .route("/vhosts/{vhost}/connections", get(connections_of_vhost))
        .route("/vhosts/{vhost}/channels", get(channels_of_vhost))
        .route("/channels", get(channels))
        .route("/channels/{name}", get(channel))
        .route("/consumers", get(consumers))
        .route("/consumers/{vhost}", get(consumers_of_vhost))
}

type Parameters = Query<HashMap<String, String>>;

async fn connections(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    list(&app, &parameters, |_| true).await
}

async fn list(
    app: &App,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&ConnectionSnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut connections = app.line.ask_all(|from, reply| Question::Connections { from, reply }).await?;
    connections.retain(is_wanted);
    query.answer(connections, |connection| connection.label.name(), |connection| shapes::connection(app, connection))
}

async fn connections_of_vhost(
    State(app): State<Arc<App>>,
    Path(vhost): Path<String>,
    parameters: Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    connections(State(app), parameters).await
}

/// No connections of a user that there is not, as with RabbitMQ.
async fn connections_of_user(
    State(app): State<Arc<App>>,
    Path(user): Path<String>,
    Query(parameters): Parameters,
) -> ApiResult {
    list(&app, &parameters, |connection| connection.label.user == user).await
}

async fn connection(State(app): State<Arc<App>>, Path(name): Path<String>, Query(parameters): Parameters) -> ApiResult {
    let connections = app.line.ask_all(|from, reply| Question::Connections { from, reply }).await?;
    let found = connections.iter().find(|connection| connection.label.name() == name);
    one(&parameters, shapes::connection(&app, found.ok_or(ApiError::NotFound)?))
}

async fn close(State(app): State<Arc<App>>, Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    let (peer, local) = addresses(&name).ok_or(ApiError::NotFound)?;
    let reason = headers.get("x-reason").map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| CLOSE_REASON.to_owned());
    if app.line.change(|reply| Change::CloseConnection { peer, local, reason, reply }).await? {
        empty(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

/// The two ends that a connection is named after.
fn addresses(name: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (peer, local) = name.split_once(" -> ")?;
    Some((peer.parse().ok()?, local.parse().ok()?))
}

async fn channels(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let channels = app.line.ask_all(|from, reply| Question::Channels { from, reply }).await?;
    query.answer(
        channels,
        |channel| shapes::channel_name(channel.holder.as_ref(), channel.item.number),
        |channel| shapes::channel(&app, channel),
    )
}

async fn channels_of_vhost(
    State(app): State<Arc<App>>,
    Path(vhost): Path<String>,
    parameters: Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    channels(State(app), parameters).await
}

async fn channels_of(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(parameters): Parameters,
) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let connections = app.line.ask_all(|from, reply| Question::Connections { from, reply }).await?;
    if !connections.iter().any(|connection| connection.label.name() == name) {
        return Err(ApiError::NotFound);
    }
    let mut channels = app.line.ask_all(|from, reply| Question::Channels { from, reply }).await?;
    channels.retain(|channel| channel.holder.as_ref().is_some_and(|holder| holder.name() == name));
    query.answer(channels, |channel| format!("{:05}", channel.item.number), |channel| shapes::channel(&app, channel))
}

async fn channel(State(app): State<Arc<App>>, Path(name): Path<String>, Query(parameters): Parameters) -> ApiResult {
    let channels = app.line.ask_all(|from, reply| Question::Channels { from, reply }).await?;
    let named =
        channels.iter().find(|channel| shapes::channel_name(channel.holder.as_ref(), channel.item.number) == name);
    one(&parameters, shapes::channel(&app, named.ok_or(ApiError::NotFound)?))
}

async fn consumers(State(app): State<Arc<App>>, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let consumers = app.line.ask_all(|from, reply| Question::Consumers { from, reply }).await?;
    let order = |queue: &str, tag: &str| format!("{queue}\0{tag}");
    query.answer(
        consumers,
        |consumer| order(&consumer.item.queue.to_string(), &consumer.item.consumer_tag.to_string()),
        |consumer| shapes::consumer(&app, consumer),
    )
}

async fn consumers_of_vhost(
    State(app): State<Arc<App>>,
    Path(vhost): Path<String>,
    parameters: Parameters,
) -> ApiResult {
    check_vhost(&app, &vhost)?;
    consumers(State(app), parameters).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_two_addresses() {
        let name = "127.0.0.1:50000 -> 127.0.0.1:5672";
        let (peer, local) = addresses(name).unwrap();
        assert_eq!(format!("{peer} -> {local}"), name);
        assert!(addresses("[::1]:50000 -> [::1]:5672").is_some());
        for wrong in ["", "127.0.0.1:1", "a -> b", "127.0.0.1:1 -> "] {
            assert_eq!(addresses(wrong), None, "{wrong:?}");
        }
    }
}
