//! What a token says of its bearer: who it is, and what it may do. Where that is written differs from issuer to issuer, and
//! is looked for where RabbitMQ looks.

use super::{BadToken, Rules};
use crate::access::{SCOPES_MAX, Scopes, Tags};
use serde_json::{Map, Value};

/// Claims of a token.
pub(super) type Claims = Map<String, Value>;

/// Where a token of user-managed access has its scopes.
const REQUESTING_PARTY: &str = "authorization.permissions.scopes";
/// Whose names are looked for, after those that are configured.
const USERNAME_CLAIMS: [&str; 2] = ["sub", "client_id"];
/// Who has no name.
const NAMELESS: &str = "unknown";
/// The longest name, in bytes: messages carry it as a short string.
const NAME_BYTES_MAX: usize = 255;

/// The name of the bearer.
pub(super) fn name(claims: &Claims, rules: &Rules) -> Result<String, BadToken> {
    let preferred = rules.preferred_username_claims.iter().map(String::as_str).chain(USERNAME_CLAIMS);
    let name = preferred.filter_map(|claim| claims.get(claim)?.as_str()).next().unwrap_or(NAMELESS);
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(BadToken::Name),
    }
}

/// Whether the token is for us: `aud` is a text of names with spaces between them, or a list.
pub(super) fn is_for(claims: &Claims, resource_server_id: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(names)) => words(names).any(|name| name == resource_server_id),
        Some(Value::Array(names)) => names.iter().any(|name| name.as_str() == Some(resource_server_id)),
        _ => false,
    }
}

/// Scopes and tags.
pub(super) fn powers(claims: &Claims, rules: &Rules) -> Result<(Scopes, Tags), BadToken> {
    let mut texts = Vec::new();
    if let Some(scope) = claims.get("scope") {
        collect(scope, &rules.resource_server_id, &mut texts);
    }
    for path in words(&rules.additional_scopes_key).chain([REQUESTING_PARTY]) {
        let path: Vec<&str> = path.split('.').filter(|step| !step.is_empty()).collect();
        let found = claims_at(claims, &path);
        found.into_iter().for_each(|value| collect(value, &rules.resource_server_id, &mut texts));
    }
    let aliased: Vec<String> =
        texts.iter().filter_map(|text| rules.scope_aliases.get(text)).flatten().cloned().collect();
    texts.extend(aliased);
    texts.sort_unstable();
    texts.dedup();
    if texts.len() > SCOPES_MAX {
        return Err(BadToken::TooManyScopes);
    }
    let ours = || texts.iter().filter_map(|text| text.strip_prefix(&*rules.scope_prefix));
    let tags = Tags::new(ours().filter_map(|text| text.strip_prefix("tag:"))).map_err(|_| BadToken::TooManyScopes)?;
    Ok((Scopes::read(ours(), |claim| claims.get(claim)?.as_str()), tags))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// What is at the end of a path of names. A list on the way stands for all that is in it.
fn claims_at<'a>(claims: &'a Claims, path: &[&str]) -> Vec<&'a Value> {
    let Some((last, before)) = path.split_last() else { return Vec::new() };
    let mut places = vec![claims];
    for step in before {
        let behind = places.iter().filter_map(|place| place.get(*step)).flat_map(|value| match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        });
        places = behind.filter_map(Value::as_object).collect();
    }
    places.iter().filter_map(|place| place.get(*last)).collect()
}

/// Scopes in a value: a text of them, a list, or an object that has those for us by our name, without a prefix.
fn collect(value: &Value, resource_server_id: &str, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.extend(words(text).map(str::to_owned)),
        Value::Array(values) => texts.extend(values.iter().filter_map(Value::as_str).map(str::to_owned)),
        Value::Object(by_server) => {
            let mut ours = Vec::new();
            if let Some(value @ (Value::String(_) | Value::Array(_))) = by_server.get(resource_server_id) {
                collect(value, resource_server_id, &mut ours);
            }
            texts.extend(ours.into_iter().map(|text| format!("{resource_server_id}.{text}")));
        }
        _ => {}
    }
}
