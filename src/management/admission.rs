//! Who is let in, and as whom: every request says user and password, or shows a token.
//!
//! The loop's doorkeeper says whether it is them, as it does for AMQP. What a visitor may have is
//! [`visit`](super::visit)'s. Passwords that are set are hashed here, as the loop has no time for it.

use super::App;
use super::http::ApiError;
use super::line::{Asker, Declined};
use super::question::{Login, NotLetIn, Question, Visitor};
use crate::access::PasswordHash;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The longest user name and the longest password that are looked at, in bytes. A password may be a token.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// What somebody says to be let in.
pub struct Credentials {
    pub name: Vec<u8>,
    pub password: Vec<u8>,
}

impl App {
    /// Who it is that says this and comes from there, with what it sees of a virtual host.
    ///
    /// # Errors
    /// When the loop doesn't answer.
    pub async fn check(
        &self,
        credentials: Credentials,
        peer: IpAddr,
        vhost: Option<Box<str>>,
    ) -> Result<Result<Visitor, NotLetIn>, Declined> {
        let Credentials { name, password } = credentials;
        if name.len() > CREDENTIAL_BYTES_MAX || password.len() > CREDENTIAL_BYTES_MAX {
            return Ok(Err(NotLetIn::Unknown));
        }
        let log_in = |reply| Question::LogIn(Login { name, password, peer, vhost, reply });
        self.line.ask(Asker::Management, log_in).await
    }

    /// Hashes a password for good.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, ApiError> {
        let salt = self.chance()?;
        let hashed = tokio::task::spawn_blocking(move || PasswordHash::argon2id(password.as_bytes(), salt)).await;
        hashed.map_err(|_| ApiError::Unavailable)
    }

    /// Bytes that nobody can guess.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn chance(&self) -> Result<[u8; 16], ApiError> {
        (self.settings.chance)().map_err(|error| {
            tracing::error!(target: "management", "{error}");
            ApiError::Unavailable
        })
    }
}

/// Lets only those in who know a user's password, and may come from where they are.
pub async fn authenticate(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(reason) = ambiguity(&parts) {
        let mut response = ApiError::BadRequest(reason.to_owned()).into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if is_of_a_foreign_page(&parts) {
        return turned_away(&parts, ApiError::Foreign);
    }
    let (vhost, wrong_path) = match RawPathParams::from_request_parts(&mut parts, &app).await {
        Ok(params) => (params.iter().find(|(name, _)| *name == "vhost").map(|(_, vhost)| vhost.into()), None),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(error)) => (None, Some(error.body_text())),
        // A path without parameters.
        Err(_) => (None, None),
    };
    let Some(authorization) = parts.headers.get(header::AUTHORIZATION) else {
        return turned_away(&parts, ApiError::LoginFailed);
    };
    let visitor = match log_in(&app, authorization.as_bytes(), vhost, peer).await {
        Ok(visitor) => visitor,
        Err(error) => {
            if let ApiError::LoginFailed | ApiError::NotAuthorised(_) = error {
                tracing::warn!(target: "auth", peer = %peer, "HTTP login from {peer} refused");
            }
            return turned_away(&parts, error);
        }
    };
    if let Some(reason) = wrong_path {
        return turned_away(&parts, ApiError::BadRequest(reason));
    }
    parts.extensions.insert(visitor);
    next.run(Request::from_parts(parts, body)).await
}

/// Why a request may mean something else to a proxy in between: to whom it goes, or where it ends (RFC 9112, 3.2 and 6.1).
fn ambiguity(request: &Parts) -> Option<&'static str> {
    let count = |name| request.headers.get_all(name).iter().count();
    match (count(header::HOST), request.version) {
        (0, Version::HTTP_11) => Some("a request says to which host it goes"),
        (2.., _) => Some("a request goes to one host"),
        _ if count(header::TRANSFER_ENCODING) > 1 => Some("a body has one transfer encoding"),
        _ => None,
    }
}

/// Whether a page of somebody else's would change something: browsers send their user's password along, whoever wrote the page.
/// They say where a request comes from, and other clients don't.
fn is_of_a_foreign_page(request: &Parts) -> bool {
    if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let text = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) != text("host"),
        (None, None) => false,
    }
}

/// The answer to somebody whose body nobody reads: who sends one is told that the connection ends with it.
fn turned_away(request: &Parts, error: ApiError) -> Response {
    let mut response = error.into_response();
    let length = request.headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || request.headers.contains_key(header::TRANSFER_ENCODING) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn log_in(
    app: &App,
    authorization: &[u8],
    vhost: Option<Box<str>>,
    peer: SocketAddr,
) -> Result<Visitor, ApiError> {
    let credentials = basic_credentials(authorization).or_else(|| bearer_credentials(authorization));
    let credentials = credentials.ok_or(ApiError::LoginFailed)?;
    let visitor = app.check(credentials, peer.ip(), vhost).await?.map_err(|why| match why {
        NotLetIn::Unknown => ApiError::LoginFailed,
        NotLetIn::NotFromThere => ApiError::NotAuthorised("User can only log in via localhost".to_owned()),
    })?;
    if !visitor.tags.is_management_user() {
        return Err(ApiError::NotAuthorised("Not management user".to_owned()));
    }
    Ok(visitor)
}

/// User and password of `Basic` authorization (RFC 7617).
fn basic_credentials(authorization: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = authorization.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some(Credentials { name: decoded, password })
}

/// The token of `Bearer` authorization (RFC 6750): a password that says whose it is.
fn bearer_credentials(authorization: &[u8]) -> Option<Credentials> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    let is_one = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_one.then(|| Credentials { name: Vec::new(), password: token.trim_ascii().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_change_nothing() {
        let is_foreign = |method: &str, headers: &[(&str, &str)]| {
            let mut request = axum::http::Request::builder().method(method).header("host", "broker:15672");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_of_a_foreign_page(&request.body(()).unwrap().into_parts().0)
        };
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert!(!is_foreign(method, &[]), "no browser");
            assert!(!is_foreign(method, &[("origin", "http://broker:15672")]));
            assert!(
                !is_foreign(method, &[("sec-fetch-site", "same-origin"), ("origin", "https://outside")]),
                "a proxy"
            );
            assert!(!is_foreign(method, &[("sec-fetch-site", "none")]), "typed by the user");
            for origin in ["http://evil", "http://broker", "http://broker:15673", "null", ""] {
                assert!(is_foreign(method, &[("origin", origin)]), "{origin}");
            }
            for site in ["cross-site", "same-site", ""] {
                assert!(is_foreign(method, &[("sec-fetch-site", site), ("origin", "http://broker:15672")]), "{site}");
            }
        }
        assert!(!is_foreign("GET", &[("origin", "http://evil")]), "it is not shown what is answered");
    }

    #[test]
    fn credentials_are_split_at_the_first_colon() {
        let credentials = |authorization: &[u8]| {
            let Credentials { name, password } = basic_credentials(authorization)?;
            Some((String::from_utf8(name).unwrap(), String::from_utf8(password).unwrap()))
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(credentials(b"Basic Z3Vlc3Q6Z3Vlc3Q="), pair("guest", "guest"));
        assert_eq!(credentials(b"basic YTpiOmM="), pair("a", "b:c"));
        for wrong in [&b""[..], b"Basic", b"Basic !", b"Bearer Z3Vlc3Q6Z3Vlc3Q=", b"Basic Z3Vlc3Q="] {
            assert_eq!(credentials(wrong), None, "{wrong:?}");
        }
    }
}
