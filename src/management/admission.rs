//! Who is let in, and as whom: every request says user and password, shows a token, or the cookie of a session.
//!
//! Browsers show cookies, and passwords that they remember, whoever wrote the page that asks. So a page of another origin
//! changes nothing; and by cookie it reads nothing either, and only who says [`BY_PAGE`], which browsers have no page say to
//! another origin that doesn't agree to it, changes anything.
//!
//! The loop's doorkeeper says whether it is them, as it does for AMQP. What a visitor may have is
//! [`visit`](super::visit)'s. Passwords that are set are hashed here, as the loop has no time for it.

use super::http::ApiError;
use super::line::{Asker, Declined};
use super::question::{Login, NotLetIn, Question, Visitor};
use super::{App, cookie};
use crate::access::PasswordHash;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The longest user name and the longest password that are looked at, in bytes. A password may be a token.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// What a page says that asks with a script, as those of most libraries do.
const BY_PAGE: HeaderName = HeaderName::from_static("x-requested-with");
const FOREIGN: &str = "asked for by a page of another origin";
pub const BY_COOKIE_ALONE: &str = "a cookie changes nothing without the header x-requested-with";

/// What somebody says to be let in.
#[derive(Clone)]
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

/// Answers nobody whose request may be meant otherwise than it is taken, or is another's than who sends it.
pub async fn examine(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(reason) = ambiguity(&parts) {
        let mut response = ApiError::BadRequest(reason.to_owned()).into_response();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if changes(&parts) && is_of_a_foreign_page(&parts) {
        return turned_away(&parts, ApiError::Forbidden(FOREIGN));
    }
    let by_page = is_asked_by_the_page(&parts);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if by_page {
        // The browser would ask for a password itself, and the page never hear of it.
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    response
}

/// Lets only those in who know a user's password, and may come from where they are.
pub async fn authenticate(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let (vhost, wrong_path) = match RawPathParams::from_request_parts(&mut parts, &app).await {
        Ok(params) => (params.iter().find(|(name, _)| *name == "vhost").map(|(_, vhost)| vhost.into()), None),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(error)) => (None, Some(error.body_text())),
        // A path without parameters.
        Err(_) => (None, None),
    };
    let credentials = match parts.headers.get(header::AUTHORIZATION) {
        Some(authorization) => stated(authorization.as_bytes(), peer),
        None => of_session(&app, &parts),
    };
    let let_in = match credentials {
        Ok(credentials) => let_in(&app, credentials, vhost, peer).await,
        Err(error) => Err(error),
    };
    let visitor = match let_in {
        Ok(visitor) => visitor,
        Err(error) => return turned_away(&parts, error),
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

fn changes(request: &Parts) -> bool {
    !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
}

pub fn is_asked_by_the_page(request: &Parts) -> bool {
    request.headers.contains_key(BY_PAGE)
}

/// Whether a page of somebody else's asks. Browsers say where a request comes from, and other clients don't.
fn is_of_a_foreign_page(request: &Parts) -> bool {
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

/// Lets somebody in who says this.
///
/// # Errors
/// 401, which the log tells, too.
pub async fn let_in(
    app: &App,
    credentials: Credentials,
    vhost: Option<Box<str>>,
    peer: SocketAddr,
) -> Result<Visitor, ApiError> {
    let found = app.check(credentials, peer.ip(), vhost).await?;
    app.attempts().count(found.is_ok());
    let visitor = found.map_err(|why| match why {
        NotLetIn::Unknown => refused(peer, ApiError::LoginFailed),
        NotLetIn::NotFromThere => refused(peer, not_authorised("User can only log in via localhost")),
    })?;
    if !visitor.tags.is_management_user() {
        return Err(refused(peer, not_authorised("Not management user")));
    }
    Ok(visitor)
}

fn not_authorised(reason: &str) -> ApiError {
    ApiError::NotAuthorised(reason.to_owned())
}

fn refused(peer: SocketAddr, why: ApiError) -> ApiError {
    tracing::warn!(target: "auth", peer = %peer, "HTTP login from {peer} refused");
    why
}

/// What somebody says with the request itself.
fn stated(authorization: &[u8], peer: SocketAddr) -> Result<Credentials, ApiError> {
    let credentials = basic_credentials(authorization).or_else(|| bearer_credentials(authorization));
    credentials.ok_or_else(|| refused(peer, ApiError::LoginFailed))
}

/// What somebody logged in with whose session the request is in.
fn of_session(app: &App, request: &Parts) -> Result<Credentials, ApiError> {
    let secret = cookie::shown(app, &request.headers).ok_or(ApiError::LoginFailed)?;
    if is_of_a_foreign_page(request) {
        return Err(ApiError::Forbidden(FOREIGN));
    }
    if changes(request) && !is_asked_by_the_page(request) {
        return Err(ApiError::Forbidden(BY_COOKIE_ALONE));
    }
    app.sessions().credentials(&secret, app.now_ms()).ok_or(ApiError::LoginFailed)
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
    fn a_page_of_somebody_elses_is_told_from_ones_own() {
        let is_foreign = |headers: &[(&str, &str)]| {
            let mut request = axum::http::Request::builder().header("host", "broker:15672");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_of_a_foreign_page(&request.body(()).unwrap().into_parts().0)
        };
        assert!(!is_foreign(&[]), "no browser");
        assert!(!is_foreign(&[("origin", "http://broker:15672")]));
        assert!(!is_foreign(&[("sec-fetch-site", "same-origin"), ("origin", "https://outside")]), "a proxy");
        assert!(!is_foreign(&[("sec-fetch-site", "none")]), "typed by the user");
        for origin in ["http://evil", "http://broker", "http://broker:15673", "null", ""] {
            assert!(is_foreign(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", ""] {
            assert!(is_foreign(&[("sec-fetch-site", site), ("origin", "http://broker:15672")]), "{site}");
        }
        for (method, does) in [("GET", false), ("HEAD", false), ("OPTIONS", false), ("POST", true), ("PATCH", true)] {
            let request = axum::http::Request::builder().method(method).body(()).unwrap();
            assert_eq!(changes(&request.into_parts().0), does, "{method}");
        }
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
