//! Answers and errors in RabbitMQ's form.

use super::line::{Declined, Refusal};
use crate::protocol::{AmqpError, ReplyCode, ShortString};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What browsers show when they ask for a password.
const CHALLENGE: &str = "Basic realm=\"Leveret Management\"";
/// What is said where permissions don't suffice and RabbitMQ doesn't say which.
const ACCESS_REFUSED: &str = "Access refused.";

/// Why a request came to nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum ApiError {
    NotFound,
    /// 404 that says what there is none of.
    Missing(String),
    BadRequest(String),
    /// 400 with an error of its own name.
    Named(&'static str, String),
    /// 400 with an Erlang term for a reason, as JSON.
    Term(Value),
    /// 412: something else has to be done first.
    PreconditionFailed(String),
    /// 401: nobody of that name and password.
    LoginFailed,
    /// 401: somebody, who may not have this.
    NotAuthorised(String),
    /// 403: a browser asks in somebody's name who may know nothing of it.
    Forbidden(&'static str),
    /// 415: the body of the request is of a type that is not taken.
    UnsupportedType,
    /// The body of the request was too long in coming.
    TooSlow,
    /// The loop is too busy or is stopping.
    Unavailable,
    /// No node of the cluster leads, or it can't be reached.
    NotLeading,
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
            ReplyCode::AccessRefused => Self::NotAuthorised(ACCESS_REFUSED.to_owned()),
            _ => Self::BadRequest(error.explanation),
        }
    }
}

impl ApiError {
    /// Why, as text.
    pub fn reason(self) -> String {
        match self {
            Self::Missing(reason)
            | Self::BadRequest(reason)
            | Self::Named(_, reason)
            | Self::PreconditionFailed(reason)
            | Self::NotAuthorised(reason) => reason,
            Self::Term(term) => term.to_string(),
            other => format!("{other:?}"),
        }
    }
}

impl From<Declined> for ApiError {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Unanswered => Self::Unavailable,
            Declined::Refused(Refusal::NoSuchUser) => Self::LoginFailed,
            Declined::Refused(Refusal::NotAdministrator) => Self::NotAuthorised("Not administrator user".to_owned()),
            Declined::Refused(Refusal::NotPolicymaker) => super::visit::not_yours(),
            Declined::Refused(Refusal::NoSuchVhost) => Self::Missing("vhost_not_found".to_owned()),
            Declined::Refused(Refusal::VhostClosed) => Self::NotAuthorised(ACCESS_REFUSED.to_owned()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let is_stranger = self == Self::LoginFailed;
        let (status, error, reason) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found", json!("Not Found")),
            Self::Missing(reason) => (StatusCode::NOT_FOUND, "not_found", json!(reason)),
            Self::BadRequest(reason) => (StatusCode::BAD_REQUEST, "bad_request", json!(reason)),
            Self::Named(error, reason) => (StatusCode::BAD_REQUEST, error, json!(reason)),
            Self::Term(reason) => (StatusCode::BAD_REQUEST, "bad_request", reason),
            Self::PreconditionFailed(reason) => (StatusCode::PRECONDITION_FAILED, "precondition_failed", json!(reason)),
            Self::LoginFailed => (StatusCode::UNAUTHORIZED, "not_authorized", json!("Login failed")),
            Self::NotAuthorised(reason) => (StatusCode::UNAUTHORIZED, "not_authorised", json!(reason)),
            Self::Forbidden(reason) => (StatusCode::FORBIDDEN, "forbidden", json!(reason)),
            Self::UnsupportedType => return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request_timeout", json!("the body did not come in time")),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", json!("the broker is busy")),
            Self::NotLeading => {
                let reason = json!("no node of the cluster leads, as far as this one knows");
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason)
            }
        };
        let mut response = json_response(status, &json!({ "error": error, "reason": reason }));
        // Another password is asked for where this one was wrong, not where it was right.
        if is_stranger {
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

/// Answers OPTIONS, which no path knows, with the methods that the path has.
pub async fn tell_methods(request: Request, next: Next) -> Response {
    let is_asked = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_asked && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        *response.status_mut() = StatusCode::OK;
        // Which they are the router adds outside of this, unless somebody said so before.
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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
