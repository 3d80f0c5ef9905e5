//! Connections, channels and consumers. Whoever is no monitor sees its own.

use super::super::change::Change;
use super::super::http::{ApiError, ApiResult, empty};
use super::super::listing::{ListQuery, Ranges, RowName, one};
use super::super::question::{ConnectionLabel, ConnectionSnapshot, Held, Question};
use super::super::visit::{VhostVisit, Visit, not_yours};
use super::super::{App, shapes};
use crate::broker::snapshot::{ChannelSnapshot, ConsumerSnapshot};
use axum::Router;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use std::collections::HashMap;
use std::sync::Arc;

/// What clients are told when nobody gave a reason.
const CLOSE_REASON: &str = "Closed via management plugin";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/connections", get(connections))
        .route("/connections/username/{user}", get(connections_of_user).delete(close_all_of_user))
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

async fn connections(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    list(&visit, &parameters, |_| true).await
}

async fn all_connections(visit: &Visit) -> Result<Vec<ConnectionSnapshot>, ApiError> {
    Ok(visit.ask_all(|from, reply| Question::Connections { from, reply }).await?)
}

async fn list(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&ConnectionSnapshot) -> bool,
) -> ApiResult {
    let (query, ranges) = (ListQuery::parse(parameters)?, Ranges::parse(parameters));
    let mut connections = all_connections(visit).await?;
    connections.retain(|connection| visit.sees_user(&connection.label.user) && is_wanted(connection));
    query
        .answer(
            visit.take_room(),
            connections,
            |connection| RowName::plain(connection.label.name()),
            |connection| shapes::connection(&visit.app, connection, ranges),
        )
        .await
}

async fn connections_of_vhost(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    let is_here = |connection: &ConnectionSnapshot| connection.vhost.as_deref() == Some(&*visit.vhost);
    list(&visit, &parameters, is_here).await
}

/// No connections of a user that there is not, as with RabbitMQ.
async fn connections_of_user(visit: Visit, Path(user): Path<String>, Query(parameters): Parameters) -> ApiResult {
    visit.check_user(&user)?;
    list(&visit, &parameters, |connection| connection.label.user == user).await
}

async fn connection(visit: Visit, Path(name): Path<String>, Query(parameters): Parameters) -> ApiResult {
    let connection = named_connection(&visit, &name).await?;
    visit.check_user(&connection.label.user)?;
    one(&parameters, shapes::connection(&visit.app, &connection, Ranges::parse(&parameters)))
}

async fn named_connection(visit: &Visit, name: &str) -> Result<ConnectionSnapshot, ApiError> {
    let connections = all_connections(visit).await?;
    connections.into_iter().find(|connection| connection.label.name() == name).ok_or(ApiError::NotFound)
}

/// Administrators close everybody's connections, others their own.
fn check_closing(visit: &Visit, user: &str) -> Result<(), ApiError> {
    let may = visit.visitor.tags.is_administrator() || *visit.visitor.name == *user;
    if may { Ok(()) } else { Err(not_yours()) }
}

async fn close(visit: Visit, Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    let connection = named_connection(&visit, &name).await?;
    check_closing(&visit, &connection.label.user)?;
    if close_one(&visit, &connection.label, &headers).await? {
        empty(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound)
    }
}

async fn close_all_of_user(visit: Visit, Path(user): Path<String>, headers: HeaderMap) -> ApiResult {
    check_closing(&visit, &user)?;
    let connections = all_connections(&visit).await?;
    for connection in connections.iter().filter(|connection| connection.label.user == user) {
        close_one(&visit, &connection.label, &headers).await?;
    }
    empty(StatusCode::NO_CONTENT)
}

/// Says whether it was still there.
async fn close_one(visit: &Visit, label: &ConnectionLabel, headers: &HeaderMap) -> Result<bool, ApiError> {
    let reason = headers.get("x-reason").map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| CLOSE_REASON.to_owned());
    let (peer, local) = (label.peer, label.local);
    Ok(visit.change(|reply| Change::CloseConnection { peer, local, reason, reply }).await?)
}

/// The user of something that a connection holds, which has none when it is closing.
fn holder_of<T>(held: &Held<T>) -> &str {
    held.holder.as_ref().map_or("", |holder| &holder.user)
}

/// All channels that are for the visitor to see.
async fn all_channels(visit: &Visit) -> Result<Vec<Held<ChannelSnapshot>>, ApiError> {
    let mut channels = visit.ask_all(|from, reply| Question::Channels { from, reply }).await?;
    channels.retain(|channel| visit.sees_user(holder_of(channel)));
    Ok(channels)
}

async fn answer_channels(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    channels: Vec<Held<ChannelSnapshot>>,
) -> ApiResult {
    ListQuery::parse(parameters)?
        .answer(
            visit.take_room(),
            channels,
            |channel| RowName::plain(shapes::channel_name(channel.holder.as_ref(), channel.item.number)),
            |channel| shapes::channel(&visit.app, channel),
        )
        .await
}

async fn channels(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let channels = all_channels(&visit).await?;
    answer_channels(&visit, &parameters, channels).await
}

async fn channels_of_vhost(visit: VhostVisit, Query(parameters): Parameters) -> ApiResult {
    let mut channels = all_channels(&visit).await?;
    channels.retain(|channel| *channel.item.vhost == *visit.vhost);
    answer_channels(&visit, &parameters, channels).await
}

async fn channels_of(visit: Visit, Path(name): Path<String>, Query(parameters): Parameters) -> ApiResult {
    let query = ListQuery::parse(&parameters)?;
    let connection = named_connection(&visit, &name).await?;
    visit.check_user(&connection.label.user)?;
    let mut channels = all_channels(&visit).await?;
    channels.retain(|channel| channel.holder.as_ref().is_some_and(|holder| holder.name() == name));
    query
        .answer(
            visit.take_room(),
            channels,
            |channel| RowName::plain(format!("{:05}", channel.item.number)),
            |channel| shapes::channel(&visit.app, channel),
        )
        .await
}

async fn channel(visit: Visit, Path(name): Path<String>, Query(parameters): Parameters) -> ApiResult {
    let channels = visit.ask_all(|from, reply| Question::Channels { from, reply }).await?;
    let is_meant =
        |channel: &&Held<ChannelSnapshot>| shapes::channel_name(channel.holder.as_ref(), channel.item.number) == name;
    let channel = channels.iter().find(is_meant).ok_or(ApiError::NotFound)?;
    visit.check_user(holder_of(channel))?;
    one(&parameters, shapes::channel(&visit.app, channel))
}

async fn consumers(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    list_consumers(&visit, &parameters, |_| true).await
}

async fn list_consumers(
    visit: &Visit,
    parameters: &HashMap<String, String>,
    is_wanted: impl Fn(&ConsumerSnapshot) -> bool,
) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    let mut consumers = visit.ask_all(|from, reply| Question::Consumers { from, reply }).await?;
    consumers.retain(|consumer| visit.sees_user(holder_of(consumer)) && is_wanted(&consumer.item));
    query
        .answer(
            visit.take_room(),
            consumers,
            |consumer| {
                let ConsumerSnapshot { vhost, queue, consumer_tag, .. } = &consumer.item;
                RowName::in_vhost(vhost, format!("{queue}\0{consumer_tag}"))
            },
            |consumer| shapes::consumer(&visit.app, consumer),
        )
        .await
}

async fn consumers_of_vhost(visit: Visit, Query(parameters): Parameters) -> ApiResult {
    let vhost = visit.vhost(true)?;
    list_consumers(&visit, &parameters, |consumer| *consumer.vhost == *vhost).await
}
