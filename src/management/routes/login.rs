//! `/api/login`: where somebody at the page logs in, for a [session](super::super::sessions), and out again.
//!
//! These are for those whom nobody knows yet: what they send is read, but no more of it than two credentials can be.

use super::super::admission::{BY_COOKIE_ALONE, Credentials, is_asked_by_the_page, let_in};
use super::super::http::{ApiError, ApiResult, empty, ok};
use super::super::sessions::Secret;
use super::super::{App, cookie};
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

const SECONDS_PER_MINUTE: u64 = 60;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/login", post(log_in).delete(log_out))
}

/// The form that RabbitMQ's page sends. RabbitMQ 3 has the password itself kept in a cookie, and RabbitMQ 4 answers with it;
/// here the cookie is worth nothing without the session.
async fn log_in(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> ApiResult {
    let (parts, body) = request.into_parts();
    let asked = Form::<HashMap<String, String>>::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let mut form = match asked {
        Ok(Form(form)) => form,
        Err(FormRejection::InvalidFormContentType(_)) => return Err(ApiError::UnsupportedType),
        Err(error) => return Err(ApiError::BadRequest(error.body_text())),
    };
    let mut field = |name| form.remove(name).unwrap_or_default().into_bytes();
    let credentials = Credentials { name: field("username"), password: field("password") };
    let visitor = let_in(&app, credentials.clone(), None, peer).await?;
    let [first, second] = [app.chance()?, app.chance()?];
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&first);
    bytes[16..].copy_from_slice(&second);
    let secret = Secret::new(bytes);
    let (former, now_ms) = (cookie::shown(&app, &parts.headers), app.now_ms());
    let lifetime = {
        let mut sessions = app.sessions();
        former.iter().for_each(|secret| sessions.close(secret));
        sessions.open(&secret, visitor.name.clone(), credentials, now_ms);
        sessions.lifetime()
    };
    let user = json!({
        "name": &*visitor.name,
        "tags": visitor.tags.iter().collect::<Vec<_>>(),
        "login_session_timeout": lifetime.as_secs() / SECONDS_PER_MINUTE,
    });
    let given = cookie::giving(&app, &parts, &secret, lifetime);
    Ok(([(header::SET_COOKIE, given)], ok(&json!({ "user": user }))?).into_response())
}

/// Whoever has no session is out already.
async fn log_out(State(app): State<Arc<App>>, request: Request) -> ApiResult {
    let (parts, _) = request.into_parts();
    if let Some(secret) = cookie::shown(&app, &parts.headers) {
        if !is_asked_by_the_page(&parts) {
            return Err(ApiError::Forbidden(BY_COOKIE_ALONE));
        }
        app.sessions().close(&secret);
    }
    let taken_back = cookie::taking_back(&app, &parts);
    Ok(([(header::SET_COOKIE, taken_back)], empty(StatusCode::NO_CONTENT)?).into_response())
}
