//! The cookie of a session: how it is called, given, found and taken back.

use super::App;
use super::door::OverTls;
use super::sessions::Secret;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

/// Browsers send a host's cookies to all of its ports: brokers that share one tell theirs apart by the port they listen at.
fn name(app: &App) -> String {
    format!("leveret-session-{}", app.address.port())
}

/// The secret of the session that a request is in, if it says so.
pub fn shown(app: &App, headers: &HeaderMap) -> Option<Secret> {
    let name = name(app);
    let cookies = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = cookies.filter_map(|cookie| {
        let at = cookie.iter().position(|byte| *byte == b'=')?;
        (cookie[..at].trim_ascii() == name.as_bytes()).then(|| cookie[at + 1..].trim_ascii())
    });
    values.next().and_then(Secret::parse)
}

/// Has the browser show the secret with each request to this host, until the session is over: no script can read it, no page
/// of another site has it sent, and it goes over nothing that is not encrypted, if it came over what is.
pub fn giving(app: &App, request: &Parts, secret: &Secret, lifetime: Duration) -> HeaderValue {
    attributed(app, request, &secret.text(), lifetime)
}

/// Has the browser forget it.
pub fn taking_back(app: &App, request: &Parts) -> HeaderValue {
    attributed(app, request, "", Duration::ZERO)
}

fn attributed(app: &App, request: &Parts, value: &str, lifetime: Duration) -> HeaderValue {
    let secure = if is_encrypted(request) { "; Secure" } else { "" };
    let (name, seconds) = (name(app), lifetime.as_secs());
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).expect("it is made of what headers may have")
}

/// Whether the browser speaks TLS, to the broker or to a proxy that says so. Who says it of itself is a stricter browser.
fn is_encrypted(request: &Parts) -> bool {
    let told = request.headers.get("x-forwarded-proto");
    request.extensions.get::<OverTls>().is_some() || told.is_some_and(|proto| proto == "https")
}
