//! `/api/definitions`: all that is there as one file, and what a file says made. For administrators.

use super::super::definitions::{self, Scope};
use super::super::http::{ApiError, ApiResult, empty, json_text};
use super::super::multipart;
use super::super::order::Order;
use super::super::visit::Administrator;
use super::App;
use crate::access::PasswordHash;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/definitions", get(export_all).post(import_all))
        // What they were called before.
        .route("/all-configuration", get(export_all).post(import_all))
        .route("/definitions/{vhost}", get(export_vhost).post(import_vhost))
}

type Parameters = Query<HashMap<String, String>>;

async fn export_all(visit: Administrator, Query(parameters): Parameters, headers: HeaderMap) -> ApiResult {
    export(&visit, None, &parameters, &headers).await
}

async fn export_vhost(visit: Administrator, Query(parameters): Parameters, headers: HeaderMap) -> ApiResult {
    let vhost = visit.vhost(true).map_err(|_| ApiError::BadRequest("vhost_not_found".to_owned()))?;
    export(&visit, Some(&vhost), &parameters, &headers).await
}

async fn export(
    visit: &Administrator,
    vhost: Option<&str>,
    parameters: &HashMap<String, String>,
    headers: &HeaderMap,
) -> ApiResult {
    let download = parameters.get("download").map(|name| disposition(name)).transpose()?;
    let text = definitions::export(visit, vhost).await?.to_string();
    let tag = tag(&text);
    let mut response = match headers.get(header::IF_NONE_MATCH) {
        Some(known) if names_tag(known, &tag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => json_text(StatusCode::OK, text),
    };
    response.headers_mut().insert(header::ETAG, tag);
    if let Some(download) = download {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, download);
    }
    Ok(response)
}

/// A download's name is a token (RFC 9110), so that it says nothing else.
fn disposition(name: &str) -> Result<HeaderValue, ApiError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let wrong =
        || ApiError::BadRequest("download must be a file's name of letters, digits and !#$%&'*+-.^_`|~".to_owned());
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(wrong());
    }
    HeaderValue::from_str(&format!("attachment; filename={name}")).map_err(|_| wrong())
}

/// The same for the same text, whenever it is asked for.
fn tag(text: &str) -> HeaderValue {
    let digest = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, text).hash(&mut hasher);
        hasher.finish()
    };
    let tag = format!("\"{:016x}{:016x}\"", digest(0), digest(1));
    HeaderValue::from_str(&tag).expect("digits in quotes")
}

fn names_tag(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let known = known.to_str().unwrap_or_default();
    let known = known.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    known.into_iter().any(|known| known == "*" || known.as_bytes() == tag.as_bytes())
}

/// How a file comes. Others are not taken, as with RabbitMQ.
enum Sent {
    Json,
    /// In the field `file` of a form of this content type, as a browser sends it.
    Form(String),
}

impl Sent {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case("application/json") {
            true => Ok(Self::Json),
            false if multipart::is_form(content_type) => Ok(Self::Form(content_type.to_owned())),
            false => Err(ApiError::UnsupportedType),
        }
    }

    /// The file, and where a browser goes on when it is imported.
    fn file<'a>(&self, body: &'a [u8]) -> Result<(&'a [u8], Option<HeaderValue>), ApiError> {
        let Self::Form(content_type) = self else { return Ok((body, None)) };
        let fields = multipart::fields(content_type, body);
        let fields = fields.map_err(|reason| ApiError::BadRequest(reason.to_owned()))?;
        let field = |of: &str| fields.iter().find(|(name, _)| *name == of).map(|(_, value)| *value);
        let file = field("file").ok_or_else(|| ApiError::BadRequest("failed_to_parse_json".to_owned()))?;
        Ok((file, field("redirect").map(redirect).transpose()?))
    }
}

/// A browser is sent to no other origin.
fn redirect(to: &[u8]) -> Result<HeaderValue, ApiError> {
    let is_a_path = to.starts_with(b"/") && !matches!(to.get(1), Some(b'/' | b'\\'));
    let wrong = || ApiError::BadRequest("redirect must be a path".to_owned());
    if is_a_path { HeaderValue::from_bytes(to).map_err(|_| wrong()) } else { Err(wrong()) }
}

async fn import_all(visit: Administrator, headers: HeaderMap, body: Bytes) -> ApiResult {
    import(&visit, Scope::Cluster, &headers, body).await
}

async fn import_vhost(visit: Administrator, headers: HeaderMap, body: Bytes) -> ApiResult {
    let vhost = visit.vhost(true).map_err(|_| ApiError::Missing("vhost_not_found".to_owned()))?;
    import(&visit, Scope::Vhost(super::super::http::name(&vhost)?), &headers, body).await
}

async fn import(visit: &Administrator, scope: Scope, headers: &HeaderMap, body: Bytes) -> ApiResult {
    let sent = Sent::of(headers)?;
    let app = visit.app.clone();
    // It takes as long as the file is large, and others ask for something meanwhile.
    let read = tokio::task::spawn_blocking(move || {
        let mut hash = |password: String| Ok(PasswordHash::argon2id(password.as_bytes(), app.chance()?));
        let (file, redirect) = sent.file(&body)?;
        Ok::<_, ApiError>((definitions::read(file, &scope, &mut hash)?, redirect))
    });
    let (import, redirect) = read.await.map_err(|_| ApiError::Unavailable)??;
    let imported = visit.order(|reply| Order::Import { import: Box::new(import), reply }).await?;
    imported.map_err(ApiError::BadRequest)?;
    match redirect {
        Some(to) => Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()),
        None => empty(StatusCode::NO_CONTENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_what_was_sent() {
        let (one, other) = (tag("one"), tag("other"));
        assert_ne!(one, other);
        assert_eq!(one, tag("one"));
        let names = |known: &str| names_tag(&HeaderValue::from_str(known).unwrap(), &one);
        let one = one.to_str().unwrap();
        assert!(names(one) && names("*") && names(&format!("\"x\", W/{one}")));
        assert!(!names(other.to_str().unwrap()) && !names(""));
    }

    #[test]
    fn browsers_are_sent_to_paths_alone() {
        assert_eq!(redirect(b"/#/import").unwrap(), "/#/import");
        for wrong in ["", "import", "//elsewhere", "/\\elsewhere", "http://elsewhere", "/a\r\nb: c"] {
            assert!(redirect(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn downloads_have_the_names_of_files() {
        assert_eq!(disposition("rabbit_2.json").unwrap(), "attachment; filename=rabbit_2.json");
        for wrong in ["", "a b", "a\r\nset-cookie: x", "\"a\"", "a;b", "é"] {
            assert!(disposition(wrong).is_err(), "{wrong:?}");
        }
    }
}
