//! `/api/users` and `/api/whoami`: who there is, and with what one logs in. For administrators, but for the latter.

use super::super::admission::Credentials;
use super::super::http::{ApiError, ApiResult, empty, name, ok};
use super::super::json;
use super::super::listing::{ListQuery, RowName, one};
use super::super::order::{LastAdministrator, Order, UserLimitChange};
use super::super::question::Question;
use super::super::visit::{Administrator, Visit};
use super::limits::user_limits;
use super::{object, require_keys, required_text, text_field};
use crate::access::{PasswordHash, Tags};
use crate::broker::access_snapshot::UserSnapshot;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What RabbitMQ takes a hash to be made with if nothing is said.
const DEFAULT_ALGORITHM: &str = "rabbit_password_hashing_sha256";
/// What it may be told to take it for instead.
const OTHER_ALGORITHM: &str = "rabbit_password_hashing_sha512";

pub fn routes() -> Router<Arc<super::App>> {
    Router::new()
        .route("/whoami", get(whoami))
        .route("/users", get(users))
        .route("/users/without-permissions", get(without_permissions))
        .route("/users/bulk-delete", post(bulk_delete))
        .route("/users/{user}", get(user).put(put).delete(remove))
        .route("/users/{user}/authenticate", post(authenticate))
        .route("/auth/hash_password/{password}", get(hash_password))
        .route("/auth/cache", axum::routing::delete(forget_answers))
}

type Parameters = Query<HashMap<String, String>>;

async fn whoami(visit: Visit) -> ApiResult {
    let tags: Vec<&str> = visit.visitor.tags.iter().collect();
    ok(&json!({"name": &*visit.visitor.name, "tags": tags}))
}

/// A user, as lists and definitions have it.
pub fn shape(user: &UserSnapshot) -> Value {
    let (password_hash, hashing_algorithm) = user.password.rabbitmq_form();
    json!({
        "name": &*user.name,
        "password_hash": password_hash,
        "hashing_algorithm": hashing_algorithm,
        "tags": user.tags.iter().collect::<Vec<_>>(),
        "limits": user_limits(&user.limits),
    })
}

async fn all(visit: &Visit) -> Result<Vec<UserSnapshot>, ApiError> {
    Ok(visit.ask_all(|from, reply| Question::Users { from, reply }).await?)
}

async fn list(visit: &Visit, parameters: &HashMap<String, String>, users: Vec<UserSnapshot>) -> ApiResult {
    let query = ListQuery::parse(parameters)?;
    query.answer(visit.take_room(), users, |user| RowName::plain(&*user.name), shape).await
}

async fn users(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    list(&visit, &parameters, all(&visit).await?).await
}

async fn without_permissions(visit: Administrator, Query(parameters): Parameters) -> ApiResult {
    let mut users = all(&visit).await?;
    let permissions = visit.ask_all(|from, reply| Question::Permissions { from, reply }).await?;
    let with_some: HashSet<Arc<str>> = permissions.into_iter().map(|permissions| permissions.user).collect();
    users.retain(|user| !with_some.contains(&user.name));
    list(&visit, &parameters, users).await
}

/// # Errors
/// 404 when there is no such user.
pub async fn named(visit: &Visit, user: &str) -> Result<UserSnapshot, ApiError> {
    let name = name(user)?;
    visit.ask(|reply| Question::User { name, reply }).await?.ok_or(ApiError::NotFound)
}

async fn user(visit: Administrator, Path(user): Path<String>, Query(parameters): Parameters) -> ApiResult {
    one(&parameters, shape(&named(&visit, &user).await?))
}

/// What a body says of a user.
#[derive(PartialEq, Debug)]
pub struct UserBody {
    pub password: Password,
    pub tags: Tags,
    pub limits: UserLimitChange,
}

#[derive(PartialEq, Debug)]
pub enum Password {
    Plain(String),
    Hashed(PasswordHash),
}

impl UserBody {
    pub fn parse(body: &Value) -> Result<Self, ApiError> {
        // In RabbitMQ's order.
        if body["tags"].is_null() {
            return Err(ApiError::BadRequest("tags_not_present".to_owned()));
        }
        let password = match (&body["password"], &body["password_hash"]) {
            (Value::Null, Value::Null) => Password::Hashed(PasswordHash::Absent),
            (Value::Null, _) => Password::Hashed(password_hash(body)?),
            (_, Value::Null) => Password::Plain(text_field(body, "password")?.to_owned()),
            _ => return Err(ApiError::BadRequest("both_password_and_password_hash_are_provided".to_owned())),
        };
        let limits = match &body["limits"] {
            Value::Null => UserLimitChange::default(),
            limits => super::limits::user_limit_change(limits)?,
        };
        Ok(Self { password, tags: tags(&body["tags"])?, limits })
    }
}

fn password_hash(body: &Value) -> Result<PasswordHash, ApiError> {
    let hash = text_field(body, "password_hash")?;
    // Tools send hashes of either kind of RabbitMQ's without a word, and their lengths tell them apart.
    let algorithms = match text_field(body, "hashing_algorithm")? {
        "" => &[DEFAULT_ALGORITHM, OTHER_ALGORITHM][..],
        algorithm => &[algorithm],
    };
    if !json::is_base64(hash) {
        return Err(ApiError::Term(json!(["not_base64", hash])));
    }
    // RabbitMQ keeps what nobody could ever log in with.
    let wrong = || ApiError::BadRequest(format!("password_hash is not one of hashing_algorithm '{}'", algorithms[0]));
    algorithms.iter().find_map(|algorithm| PasswordHash::of_rabbitmq(hash, algorithm)).ok_or_else(wrong)
}

/// Tags as a list, or as text with commas between them.
fn tags(value: &Value) -> Result<Tags, ApiError> {
    let names: Vec<String> = match value {
        Value::String(text) => text.split(',').map(|tag| tag.trim().to_owned()).collect(),
        Value::Array(values) => values.iter().map(tag).collect::<Result<_, _>>()?,
        _ => return Err(ApiError::BadRequest("tags must be a string or a list of strings".to_owned())),
    };
    Tags::new(&names).map_err(|error| ApiError::BadRequest(error.to_string()))
}

fn tag(value: &Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(ApiError::BadRequest("tags must be a string or a list of strings".to_owned())),
    }
}

/// Whether the last administrator may go, too: only who says so is taken to mean it.
fn force(parameters: &HashMap<String, String>) -> bool {
    parameters.get("force").is_some_and(|text| text == "true")
}

fn last_administrator(user: &str) -> ApiError {
    let reason = format!("user '{user}' is the only administrator; force=true in the query does it all the same");
    ApiError::Named("last_administrator", reason)
}

async fn put(visit: Administrator, Path(user): Path<String>, Query(parameters): Parameters, body: Bytes) -> ApiResult {
    let name = json::short_string(&user, "the name")?;
    let UserBody { password, tags, limits } = UserBody::parse(&object(&body)?)?;
    let password = match password {
        Password::Hashed(hash) => hash,
        // Nobody could log in with it.
        Password::Plain(password) if password.is_empty() => PasswordHash::Absent,
        Password::Plain(password) => visit.app.hash(password).await?,
    };
    let force = force(&parameters);
    let put = visit.order(|reply| Order::PutUser { name, password, tags, limits, force, reply }).await?;
    visit.app.sessions().forget(&user);
    let new = put.map_err(|LastAdministrator| last_administrator(&user))?;
    empty(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

async fn remove(visit: Administrator, Path(user): Path<String>, Query(parameters): Parameters) -> ApiResult {
    match delete(&visit, &user, force(&parameters)).await? {
        true => empty(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

/// Says whether there was such a user.
async fn delete(visit: &Administrator, user: &str, force: bool) -> Result<bool, ApiError> {
    let name = name(user)?;
    let deleted = visit.order(|reply| Order::DeleteUser { name, force, reply }).await?;
    visit.app.sessions().forget(user);
    deleted.map_err(|LastAdministrator| last_administrator(user))
}

/// One after the other; those that there are not are passed over.
async fn bulk_delete(visit: Administrator, Query(parameters): Parameters, body: Bytes) -> ApiResult {
    let body = object(&body)?;
    require_keys(&body, &["users"])?;
    let wrong = || ApiError::BadRequest("users must be a list of names".to_owned());
    let users = body["users"].as_array().ok_or_else(wrong)?;
    let users: Vec<&str> = users.iter().map(|user| user.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?;
    for user in users {
        match delete(&visit, user, force(&parameters)).await {
            Ok(_) | Err(ApiError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    empty(StatusCode::NO_CONTENT)
}

/// Whether a password is a user's: what `authenticate_user` asks. RabbitMQ has no such path. Whether the user may come from
/// somewhere, or do something, is another question.
async fn authenticate(visit: Administrator, Path(user): Path<String>, body: Bytes) -> ApiResult {
    let body = object(&body)?;
    let password = required_text(&body, "password")?.as_bytes().to_vec();
    let credentials = Credentials { name: user.into_bytes(), password };
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let is_theirs = visit.app.check(credentials, here, None).await?.is_ok();
    ok(&json!({ "authenticated": is_theirs }))
}

/// RabbitMQ's hash of a password, for definitions. Where paths are logged, passwords are better hashed by `leveretctl`.
async fn hash_password(visit: Administrator, Path(password): Path<String>) -> ApiResult {
    let [a, b, c, d, ..] = visit.app.chance()?;
    let (hash, _) = PasswordHash::salted_sha256(password.as_bytes(), [a, b, c, d]).rabbitmq_form();
    ok(&json!({ "ok": hash }))
}

/// What RabbitMQ's tool has nodes do one by one: whatever is known of logins and permissions is asked again.
async fn forget_answers(visit: Administrator) -> ApiResult {
    visit.order(|reply| Order::ForgetAnswers { reply }).await?;
    empty(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &Value) -> Result<UserBody, ApiError> {
        UserBody::parse(body)
    }

    fn refused(body: Value) -> Value {
        match parse(&body).unwrap_err() {
            ApiError::BadRequest(reason) => json!(reason),
            ApiError::Term(term) => term,
            other => panic!("{other:?}"),
        }
    }

    fn named(names: &[&str]) -> Tags {
        Tags::new(names).unwrap()
    }

    #[test]
    fn tags_are_a_list_or_text_with_commas() {
        let tags = |value: Value| parse(&json!({"password": "x", "tags": value})).map(|body| body.tags);
        assert_eq!(tags(json!("a, b ,,c d")), Ok(named(&["a", "b", "c d"])));
        assert_eq!(tags(json!(["a,b", " c", ""])), Ok(named(&["a,b", "c"])));
        assert_eq!(tags(json!([5])), Ok(named(&["5"])));
        assert_eq!(tags(json!("")), Ok(Tags::default()));
        for wrong in [json!(5), json!({}), json!([[]]), json!([null])] {
            assert!(tags(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(refused(json!({"password": "x"})), "tags_not_present");
        assert_eq!(refused(json!({"password": "x", "tags": null})), "tags_not_present");
    }

    #[test]
    fn a_password_is_plain_or_hashed_or_there_is_none() {
        const HASH: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
        let password = |body: Value| parse(&body).map(|body| body.password);
        assert_eq!(password(json!({"tags": "", "password": "x"})), Ok(Password::Plain("x".to_owned())));
        assert_eq!(password(json!({"tags": ""})), Ok(Password::Hashed(PasswordHash::Absent)));
        assert_eq!(password(json!({"tags": "", "password_hash": ""})), Ok(Password::Hashed(PasswordHash::Absent)));
        let hash = PasswordHash::of_rabbitmq(HASH, DEFAULT_ALGORITHM).expect("RabbitMQ's");
        for algorithm in [json!(null), json!(DEFAULT_ALGORITHM)] {
            let body = json!({"tags": "", "password_hash": HASH, "hashing_algorithm": algorithm});
            assert_eq!(password(body), Ok(Password::Hashed(hash.clone())));
        }
        let long = PasswordHash::salted_sha512(b"x", [1, 2, 3, 4]);
        let (base64, _) = long.rabbitmq_form();
        assert_eq!(password(json!({"tags": "", "password_hash": base64})), Ok(Password::Hashed(long)));
        let both = json!({"tags": "", "password": "x", "password_hash": HASH});
        assert_eq!(refused(both), "both_password_and_password_hash_are_provided");
        assert_eq!(refused(json!({"tags": "", "password_hash": "!!!"})), json!(["not_base64", "!!!"]));
        for body in [
            json!({"tags": "", "password_hash": "AAAA"}),
            json!({"tags": "", "password_hash": HASH, "hashing_algorithm": "nonsense"}),
            json!({"tags": "", "password_hash": base64, "hashing_algorithm": DEFAULT_ALGORITHM}),
            json!({"tags": "", "password_hash": 5}),
            json!({"tags": "", "password": 5}),
        ] {
            assert!(parse(&body).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_body_says_it_is_read_or_refused(
            body in json::testing::objects_with(
                &["password", "password_hash", "hashing_algorithm", "tags", "limits", "max-connections"]
            )
        ) {
            if let Ok(UserBody { tags, .. }) = UserBody::parse(&body) {
                prop_assert!(!body["tags"].is_null());
                prop_assert!(tags.iter().all(|tag| !tag.is_empty() && tag.trim() == tag));
            }
        }
    }

    #[test]
    fn limits_come_along() {
        let limits = |value: Value| parse(&json!({"tags": "", "limits": value})).map(|body| body.limits);
        let five = UserLimitChange { connections_max: Some(Some(5)), ..UserLimitChange::default() };
        assert_eq!(limits(json!({"max-connections": 5})), Ok(five));
        assert_eq!(limits(json!(null)), Ok(UserLimitChange::default()));
        assert!(limits(json!({"max-foo": 5})).is_err());
    }
}
