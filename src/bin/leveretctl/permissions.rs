//! Permissions and topic permissions.

use crate::api::{Api, Failure, segment};
use crate::output::Output;
use crate::users::{find, no_such_user};
use crate::vhosts::no_vhost;
use serde_json::{Value, json};

fn place(kind: &str, vhost: &str, user: &str) -> String {
    format!("{kind}/{}/{}", segment(vhost), segment(user))
}

/// What is said where the broker says that there is no such user or no such virtual host: which of the two it is.
fn nowhere(api: &Api, vhost: &str, user: &str) -> Failure {
    let no_user = || Failure::NoUser(format!("User {user} does not exist"));
    match find(api, user, no_user) {
        Err(failure) => failure,
        Ok(_) => Failure::Unreachable(format!("Virtual host {vhost} does not exist")),
    }
}

fn put(api: &Api, path: &str, body: &Value, vhost: &str, user: &str) -> Result<(), Failure> {
    api.put(path, body).map_err(|failure| match failure {
        Failure::Refused(reason) if reason == "vhost_or_user_not_found" => nowhere(api, vhost, user),
        // A pattern that can't be.
        Failure::Refused(reason) => Failure::Unreachable(reason),
        other => other,
    })
}

/// What is not there is cleared already, but for a user and a virtual host.
fn delete(api: &Api, path: &str, vhost: &str, user: &str) -> Result<(), Failure> {
    match api.delete(path, None) {
        Err(Failure::NotFound(_)) => match api.get(&format!("vhosts/{}", segment(vhost))) {
            Ok(_) => find(api, user, || Failure::NoUser(format!("User {user} does not exist"))).map(drop),
            Err(Failure::NotFound(_)) => Err(nowhere(api, vhost, user)),
            Err(failure) => Err(failure),
        },
        outcome => outcome,
    }
}

pub fn set(
    api: &Api,
    output: &Output,
    vhost: &str,
    user: &str,
    [configure, write, read]: [&str; 3],
) -> Result<(), Failure> {
    output.announce(format_args!("Setting permissions for user \"{user}\" in vhost \"{vhost}\" ..."));
    let body = json!({"configure": configure, "write": write, "read": read});
    put(api, &place("permissions", vhost, user), &body, vhost, user)
}

pub fn clear(api: &Api, output: &Output, vhost: &str, user: &str) -> Result<(), Failure> {
    output.announce(format_args!("Clearing permissions for user \"{user}\" in vhost \"{vhost}\" ..."));
    delete(api, &place("permissions", vhost, user), vhost, user)
}

pub fn set_topic(
    api: &Api,
    output: &Output,
    vhost: &str,
    user: &str,
    [exchange, write, read]: [&str; 3],
) -> Result<(), Failure> {
    let what = format!("\"{exchange}\" for user \"{user}\" in vhost \"{vhost}\"");
    output.announce(format_args!("Setting topic permissions on {what} ..."));
    let body = json!({"exchange": exchange, "write": write, "read": read});
    put(api, &place("topic-permissions", vhost, user), &body, vhost, user)
}

pub fn clear_topic(api: &Api, output: &Output, vhost: &str, user: &str, exchange: Option<&str>) -> Result<(), Failure> {
    let whose = format!("for user \"{user}\" in vhost \"{vhost}\"");
    let mut path = place("topic-permissions", vhost, user);
    match exchange {
        None => output.announce(format_args!("Clearing topic permissions {whose} ...")),
        Some(exchange) => {
            output.announce(format_args!("Clearing topic permissions on \"{exchange}\" {whose} ..."));
            let exchange = if exchange.is_empty() { "amq.default" } else { exchange };
            path = format!("{path}/{}", segment(exchange));
        }
    }
    delete(api, &path, vhost, user)
}

fn print(output: &Output, rows: &Value, columns: &[&str], headers: bool) {
    let cells = |row: &Value| columns.iter().map(|column| row[*column].clone()).collect();
    let rows: Vec<Vec<Value>> = rows.as_array().into_iter().flatten().map(cells).collect();
    match headers {
        true => output.list(columns, &rows),
        false => output.list_without_headers(columns, &rows),
    }
}

fn of_vhost(api: &Api, vhost: &str, kind: &str) -> Result<Value, Failure> {
    api.get(&format!("vhosts/{}/{kind}", segment(vhost))).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))
}

fn of_user(api: &Api, user: &str, kind: &str) -> Result<Value, Failure> {
    api.get(&format!("users/{}/{kind}", segment(user))).map_err(|failure| failure.or_missing(|| no_such_user(user)))
}

pub fn list(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing permissions for vhost \"{vhost}\" ..."));
    print(output, &of_vhost(api, vhost, "permissions")?, &["user", "configure", "write", "read"], true);
    Ok(())
}

pub fn list_of_user(api: &Api, output: &Output, user: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing permissions for user \"{user}\" ..."));
    print(output, &of_user(api, user, "permissions")?, &["vhost", "configure", "write", "read"], true);
    Ok(())
}

pub fn list_topic(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing topic permissions for vhost \"{vhost}\" ..."));
    print(output, &of_vhost(api, vhost, "topic-permissions")?, &["user", "exchange", "write", "read"], true);
    Ok(())
}

/// Without headers, as rabbitmqctl prints this one.
pub fn list_topic_of_user(api: &Api, output: &Output, user: &str) -> Result<(), Failure> {
    output.announce(format_args!("Listing topic permissions for user \"{user}\" ..."));
    print(output, &of_user(api, user, "topic-permissions")?, &["vhost", "exchange", "write", "read"], false);
    Ok(())
}
