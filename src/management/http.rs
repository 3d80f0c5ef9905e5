//! Who may ask, and answers and errors in RabbitMQ's form.

use super::App;
use super::line::Unanswered;
use crate::protocol::{AmqpError, ReplyCode, ShortString};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What browsers show when they ask for a password.
const CHALLENGE: &str = "Basic realm=\"Leveret Management\"";

/// Why a request came to nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum ApiError {
    NotFound,
    /// 404 that says what there is none of.
    Missing(String),
    BadRequest(String),
    /// 400 with an error of its own name.
    Named(&'static str, String),
    NotAuthorised(String),
    /// The body of the request was too long in coming.
    TooSlow,
    /// The loop is too busy or is stopping.
    Unavailable,
}

impl ApiError {
    /// An exception of a command that RabbitMQ carries out on a channel: the reason names its code.
    pub fn of_channel(error: AmqpError) -> Self {
        match error.code {
            ReplyCode::NotFound => Self::Missing(error.reply_text()),
            ReplyCode::AccessRefused => Self::NotAuthorised(error.reply_text()),
            code => Self::BadRequest(format!("{} {}", code.number(), error.reply_text())),
        }
    }

    /// An exception of a publish, which RabbitMQ hears of from the end of the channel.
    pub fn of_publish(error: AmqpError) -> Self {
        match error.code {
            ReplyCode::NotFound => Self::Missing(error.reply_text()),
            code => Self::BadRequest(format!("{} {}", code.number(), error.reply_text())),
        }
    }

    /// An exception of a command that RabbitMQ carries out without a channel: the reason is the explanation.
    pub fn of_definition(error: AmqpError) -> Self {
        match error.code {
            ReplyCode::NotFound => Self::Missing(error.explanation),
            ReplyCode::AccessRefused => Self::NotAuthorised("Access refused.".to_owned()),
            _ => Self::BadRequest(error.explanation),
        }
    }
}

impl From<Unanswered> for ApiError {
    fn from(_: Unanswered) -> Self {
        Self::Unavailable
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error, reason) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found", "Not Found".to_owned()),
            Self::Missing(reason) => (StatusCode::NOT_FOUND, "not_found", reason),
            Self::BadRequest(reason) => (StatusCode::BAD_REQUEST, "bad_request", reason),
            Self::Named(error, reason) => (StatusCode::BAD_REQUEST, error, reason),
            Self::NotAuthorised(reason) => (StatusCode::UNAUTHORIZED, "not_authorised", reason),
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come in time".to_owned())
            }
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the broker is busy".to_owned()),
        };
        let mut response = json_response(status, &json!({ "error": error, "reason": reason }));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        response
    }
}

pub type ApiResult = Result<Response, ApiError>;

/// 200 with JSON.
pub fn ok(value: &Value) -> ApiResult {
    Ok(json_response(StatusCode::OK, value))
}

/// A status without a body.
pub fn empty(status: StatusCode) -> ApiResult {
    Ok(status.into_response())
}

pub fn json_response(status: StatusCode, value: &Value) -> Response {
    json_text(status, value.to_string())
}

pub fn json_text(status: StatusCode, text: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, text).into_response()
}

/// A name out of a path. What is too long to be a name is not found.
pub fn name(text: &str) -> Result<ShortString, ApiError> {
    ShortString::new(text.as_bytes()).ok_or(ApiError::NotFound)
}

/// An exchange's name out of a path, where the default exchange is called `amq.default`.
pub fn exchange_name(text: &str) -> Result<ShortString, ApiError> {
    name(if text == "amq.default" { "" } else { text })
}

/// Lets only those in who know the user's password, and may come from where they are.
pub async fn authenticate(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    if authorization.is_some_and(|value| is_allowed(&app, value.as_bytes(), peer.ip())) {
        return next.run(request).await;
    }
    if authorization.is_some() {
        log::warn!("management: {peer}: login refused");
    }
    ApiError::NotAuthorised("Login failed".to_owned()).into_response()
}

/// Takes in the body of a request, whose size and time have limits, before anything is done about it.
pub async fn receive_body(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    // The extractor knows the limit and tells what passed it from what broke off.
    let mut request = Request::new(body);
    request.extensions_mut().clone_from(&head.extensions);
    match tokio::time::timeout(app.settings.limits.timeout, Bytes::from_request(request, &())).await {
        Err(_) => ApiError::TooSlow.into_response(),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::BadRequest("Exceeded HTTP request body size limit".to_owned()).into_response()
        }
        Ok(Err(error)) => ApiError::BadRequest(error.body_text()).into_response(),
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
    }
}

fn is_allowed(app: &App, authorization: &[u8], peer: IpAddr) -> bool {
    let Some((user, password)) = basic_credentials(authorization) else { return false };
    (app.settings.allows)(&user, &password, peer)
}

/// User and password of `Basic` authorization (RFC 7617).
fn basic_credentials(authorization: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = authorization.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((decoded, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_split_at_the_first_colon() {
        let pair = |user: &str, password: &str| Some((user.as_bytes().to_vec(), password.as_bytes().to_vec()));
        assert_eq!(basic_credentials(b"Basic Z3Vlc3Q6Z3Vlc3Q="), pair("guest", "guest"));
        assert_eq!(basic_credentials(b"basic YTpiOmM="), pair("a", "b:c"));
        for wrong in [&b""[..], b"Basic", b"Basic !", b"Bearer Z3Vlc3Q6Z3Vlc3Q=", b"Basic Z3Vlc3Q="] {
            assert_eq!(basic_credentials(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn exceptions_keep_their_code_only_where_rabbitmq_does() {
        let error = AmqpError::channel(ReplyCode::PreconditionFailed, "why");
        assert_eq!(
            ApiError::of_channel(error.clone()),
            ApiError::BadRequest("406 PRECONDITION_FAILED - why".to_owned())
        );
        assert_eq!(ApiError::of_definition(error), ApiError::BadRequest("why".to_owned()));
        let error = AmqpError::channel(ReplyCode::NotFound, "none");
        assert_eq!(ApiError::of_channel(error.clone()), ApiError::Missing("NOT_FOUND - none".to_owned()));
        assert_eq!(ApiError::of_definition(error), ApiError::Missing("none".to_owned()));
    }
}
