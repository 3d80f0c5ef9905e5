//! Limits of virtual hosts and of users.

use crate::api::{Api, Failure, segment};
use crate::output::Output;
use crate::users::no_such_user;
use crate::vhosts::no_vhost;
use serde_json::{Map, Value, json};

const OF_VHOSTS: [&str; 2] = ["max-connections", "max-queues"];
const OF_USERS: [&str; 2] = ["max-channels", "max-connections"];

fn of_vhost(vhost: &str) -> String {
    format!("vhost-limits/{}", segment(vhost))
}

fn of_user(user: &str) -> String {
    format!("user-limits/{}", segment(user))
}

fn parse(definition: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(definition).map_err(|_| Failure::Unreachable("JSON decoding error. Reason: badarg".to_owned()))
}

/// Sets one limit after the other. What will be refused goes first: nothing has changed then.
fn put(
    api: &Api,
    path: &str,
    limits: &Map<String, Value>,
    known: [&str; 2],
    missing: impl Fn() -> Failure,
) -> Result<(), Failure> {
    let is_limit =
        |(name, value): &(&String, &Value)| known.contains(&name.as_str()) && (value.is_u64() || value.is_i64());
    let (good, bad): (Vec<_>, Vec<_>) = limits.iter().partition(is_limit);
    for (name, value) in bad.into_iter().chain(good) {
        api.put(&format!("{path}/{}", segment(name)), &json!({ "value": value })).map_err(|failure| match failure {
            Failure::NotFound(_) => missing(),
            Failure::Refused(reason) => Failure::Unreachable(reason),
            other => other,
        })?;
    }
    Ok(())
}

/// Those that are not said are none.
pub fn set_of_vhost(api: &Api, output: &Output, vhost: &str, definition: &str) -> Result<(), Failure> {
    output.announce(format_args!("Setting vhost limits to \"{definition}\" for vhost \"{vhost}\" ..."));
    let limits = parse(definition)?;
    let missing = || no_vhost(vhost);
    put(api, &of_vhost(vhost), &limits, OF_VHOSTS, missing)?;
    for name in OF_VHOSTS.into_iter().filter(|name| !limits.contains_key(*name)) {
        delete(api, &of_vhost(vhost), name, missing)?;
    }
    Ok(())
}

fn delete(api: &Api, path: &str, name: &str, missing: impl Fn() -> Failure) -> Result<(), Failure> {
    api.delete(&format!("{path}/{}", segment(name)), None).map_err(|failure| failure.or_missing(missing))
}

pub fn clear_of_vhost(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Clearing vhost \"{vhost}\" limits ..."));
    let missing = || Failure::Unreachable("Parameter does not exist".to_owned());
    OF_VHOSTS.into_iter().try_for_each(|name| delete(api, &of_vhost(vhost), name, missing))
}

pub fn set_of_user(api: &Api, output: &Output, user: &str, definition: &str) -> Result<(), Failure> {
    output.announce(format_args!("Setting user limits to \"{definition}\" for user \"{user}\" ..."));
    put(api, &of_user(user), &parse(definition)?, OF_USERS, || no_such_user(user))
}

pub fn clear_of_user(api: &Api, output: &Output, user: &str, limit: &str) -> Result<(), Failure> {
    let names = match limit {
        "all" => {
            output.announce(format_args!("Clearing all limits for user \"{user}\" ..."));
            &OF_USERS[..]
        }
        limit => {
            output.announce(format_args!("Clearing \"{limit}\" limit for user \"{user}\" ..."));
            &[limit]
        }
    };
    names.iter().try_for_each(|name| delete(api, &of_user(user), name, || no_such_user(user)))
}

pub fn list_of_vhost(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing limits for vhost \"{vhost}\" ..."));
    let limits = api.get(&of_vhost(vhost)).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))?;
    // Nothing at all where there are none.
    output.say(&limits.get(0).map(|of| of["value"].to_string()).unwrap_or_default());
    Ok(())
}

pub fn list_of_user(api: &Api, output: &Output, user: Option<&str>) -> Result<(), Failure> {
    let user = user.unwrap_or(api.user());
    output.announce(format_args!("Listing limits for user \"{user}\" ..."));
    let limits = api.get(&of_user(user)).map_err(|failure| failure.or_missing(|| no_such_user(user)))?;
    output.say(&limits.get(0).map_or_else(|| "{}".to_owned(), |of| of["value"].to_string()));
    Ok(())
}

pub fn list_of_vhosts(api: &Api, output: &Output) -> Result<(), Failure> {
    output.announce(format_args!("Listing limits for all vhosts ..."));
    list_all(output, &api.get("vhost-limits")?, "vhost");
    Ok(())
}

pub fn list_of_users(api: &Api, output: &Output) -> Result<(), Failure> {
    output.announce(format_args!("Listing limits for all users ..."));
    list_all(output, &api.get("user-limits")?, "user");
    Ok(())
}

fn list_all(output: &Output, limits: &Value, whose: &str) {
    let row = |of: &Value| vec![of[whose].clone(), Value::from(of["value"].to_string())];
    let rows: Vec<Vec<Value>> = limits.as_array().into_iter().flatten().map(row).collect();
    output.list(&[whose, "limits"], &rows);
}
