//! What a token says of its bearer, wherever it says it.

use super::*;
use crate::access::{Powers, Right, SCOPES_MAX};

/// What somebody is found to be who shows these claims.
fn found(rules: &Rules, claims: &Value) -> Result<Bearer, BadToken> {
    let signers = Signers::new();
    rules.check(signers.token("EdDSA", "ed25519", claims).as_bytes(), &signers.keys(), NOW_MS)
}

#[test]
fn the_name_is_the_first_that_is_found() {
    let name = |preferred: &[&str], claims: Value| {
        let preferred_username_claims = preferred.iter().map(|name| (*name).to_owned()).collect();
        let rules = Rules { preferred_username_claims, verify_aud: false, require_exp: false, ..rules() };
        found(&rules, &claims).map(|bearer| bearer.name.to_string())
    };
    let named = |name: &str| Ok(name.to_owned());
    assert_eq!(name(&[], json!({"sub": "a", "client_id": "b", "user_name": "c"})), named("a"));
    assert_eq!(name(&[], json!({"client_id": "b"})), named("b"));
    assert_eq!(name(&[], json!({"sub": 7})), named("unknown"));
    assert_eq!(name(&["user_name", "email"], json!({"sub": "a", "email": "b"})), named("b"));
    assert_eq!(name(&["user_name"], json!({"sub": "a"})), named("a"));
    assert_eq!(name(&[], json!({"sub": ""})), Err(BadToken::Name));
    assert_eq!(name(&[], json!({"sub": "x".repeat(255)})), named(&"x".repeat(255)));
    assert_eq!(name(&[], json!({"sub": "x".repeat(256)})), Err(BadToken::Name));
}

/// The virtual hosts, of `a` to `f`, that claims let read, and the tags that they give.
fn powers(rules: &Rules, changes: Value) -> (String, String) {
    let bearer = found(rules, &with(changes)).unwrap();
    let Powers::Scopes(scopes) = &bearer.powers else { panic!("a token has scopes") };
    let may_read = |vhost: &char| scopes.allow(Right::Read, &vhost.to_string(), b"q");
    (('a'..='f').filter(may_read).collect(), bearer.tags.iter().collect::<Vec<_>>().join(" "))
}

#[test]
fn scopes_are_ours_by_what_they_begin_with() {
    let of = |rules: &Rules, scope: Value| powers(rules, json!({"scope": scope})).0;
    assert_eq!(of(&rules(), json!("rabbitmq.read:a/* other.read:b/*  rabbitmq.read:c/* read:d/*")), "ac");
    assert_eq!(of(&rules(), json!(["rabbitmq.read:a/*", "read:b/*", 7, "rabbitmq.write:c/*"])), "a");
    assert_eq!(of(&rules(), json!([])), "");
    assert_eq!(of(&rules(), json!(7)), "");
    let prefixed = Rules { scope_prefix: "mq:".to_owned(), ..rules() };
    assert_eq!(of(&prefixed, json!("mq:read:a/* rabbitmq.read:b/*")), "a");
    let bare = Rules { scope_prefix: String::new(), ..rules() };
    assert_eq!(of(&bare, json!("read:a/* rabbitmq.read:b/*")), "a");
    assert_eq!(of(&bare, json!("read:{sub}/*")), "");
    assert_eq!(powers(&bare, json!({"sub": "b", "scope": "read:{sub}/*"})).0, "b");
}

#[test]
fn tags_are_scopes_as_well() {
    let (_, tags) =
        powers(&rules(), json!({"scope": "rabbitmq.tag:monitoring tag:management rabbitmq.tag:administrator"}));
    assert_eq!(tags, "administrator monitoring");
    let too_many: Vec<_> = (0..33).map(|number| format!("rabbitmq.tag:{number}")).collect();
    assert_eq!(found(&rules(), &with(json!({"scope": too_many}))), Err(BadToken::TooManyScopes));
}

#[test]
fn scopes_are_found_where_issuers_put_them() {
    let with_key = |key: &str| Rules { additional_scopes_key: key.to_owned(), ..rules() };
    let of = |rules: &Rules, changes: Value| powers(rules, changes).0;
    let nested =
        json!({"scope": "", "realm": {"roles": ["rabbitmq.read:a/*"], "more": [{"roles": "rabbitmq.read:b/*"}, 7]}});
    assert_eq!(of(&with_key("realm.roles"), nested.clone()), "a");
    assert_eq!(of(&with_key("realm.roles realm.more.roles"), nested.clone()), "ab");
    assert_eq!(of(&with_key("realm"), nested.clone()), "");
    assert_eq!(of(&rules(), nested), "");
    // By our name they have no prefix.
    let by_server = json!({"access": {"rabbitmq": ["read:a/*"], "other": ["read:b/*"]}});
    assert_eq!(of(&with_key("access"), with(by_server)), "abcdef");
    let by_server = json!({"scope": "", "access": {"rabbitmq": "read:a/* read:c/*", "other": ["read:b/*"]}});
    assert_eq!(of(&with_key("access"), by_server), "ac");
    let party = json!({"scope": "", "authorization": {"permissions": [
        {"scopes": ["rabbitmq.read:a/*"]}, {"rsid": "x"}, {"scopes": ["rabbitmq.read:b/*"]},
    ]}});
    assert_eq!(of(&rules(), party), "ab");
    let scope_aliases = HashMap::from([("reader".to_owned(), vec!["rabbitmq.read:a/*".to_owned()])]);
    let aliased = Rules { scope_aliases, ..with_key("roles") };
    assert_eq!(of(&aliased, json!({"scope": "reader rabbitmq.read:b/*"})), "ab");
    assert_eq!(of(&aliased, json!({"scope": "", "roles": ["reader"]})), "a");
}

#[test]
fn there_is_an_end_to_scopes() {
    let rules = Rules {
        scope_aliases: HashMap::from([("all".to_owned(), (0..=SCOPES_MAX).map(|number| number.to_string()).collect())]),
        ..rules()
    };
    assert_eq!(found(&rules, &with(json!({"scope": "all"}))), Err(BadToken::TooManyScopes));
}
