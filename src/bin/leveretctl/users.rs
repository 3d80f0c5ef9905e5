//! Users: who there is, with which password and tags.

use crate::api::{Api, Failure, NO_PASSWORD, segment};
use crate::output::{Output, words};
use crate::password::given_or_read;
use serde_json::{Value, json};

pub struct NewUser<'a> {
    pub user: &'a str,
    pub password: Option<String>,
    /// It is a hash.
    pub is_hashed: bool,
}

fn path(user: &str) -> String {
    format!("users/{}", segment(user))
}

/// The user, with what kind of failure there is when there is none.
pub fn find(api: &Api, user: &str, missing: impl FnOnce() -> Failure) -> Result<Value, Failure> {
    api.get(&path(user)).map_err(|failure| failure.or_missing(missing))
}

pub fn no_user(user: &str) -> Failure {
    Failure::NoUser(format!("User \"{user}\" does not exist"))
}

/// As some of rabbitmqctl's commands say it.
pub fn no_such_user(user: &str) -> Failure {
    Failure::Unreachable(format!("{{:no_such_user, \"{user}\"}}"))
}

pub fn add_user(api: &Api, output: &Output, new: NewUser<'_>) -> Result<(), Failure> {
    let NewUser { user, password, is_hashed } = new;
    if user.is_empty() {
        return Err(Failure::Empty("user"));
    }
    output.announce(format_args!("Adding user \"{user}\" ..."));
    let password = given_or_read(password, output).map_err(|failure| match failure {
        // This command alone exits otherwise than the others where there is none.
        Failure::NoPassword => Failure::Refused(NO_PASSWORD.to_owned()),
        other => other,
    })?;
    match api.get(&path(user)) {
        Ok(_) => return Err(Failure::Exists(format!("User \"{user}\" already exists"))),
        Err(Failure::NotFound(_)) => {}
        Err(failure) => return Err(failure),
    }
    let body = match is_hashed {
        true => json!({"password_hash": password, "tags": []}),
        false => json!({"password": password, "tags": []}),
    };
    api.put(&path(user), &body)?;
    let tool = output.tool.name();
    let done = format!(
        "Done. Don't forget to grant the user permissions to some virtual hosts! \
         See '{tool} help set_permissions' to learn more."
    );
    if output.announces {
        output.say(&done);
    }
    Ok(())
}

/// A user's path, and whether the last administrator may go, too.
fn path_by(user: &str, force: bool) -> String {
    format!("{}{}", path(user), if force { "?force=true" } else { "" })
}

/// Changes a user. Where the broker asks for force, it is said how to do that here.
fn put(api: &Api, user: &str, force: bool, body: &Value) -> Result<(), Failure> {
    api.put(&path_by(user, force), body).map_err(asked_here)
}

fn asked_here(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(reason) => Failure::Refused(reason.replace("force=true in the query", "--force")),
        other => other,
    }
}

pub fn delete_user(api: &Api, output: &Output, user: &str, force: bool) -> Result<(), Failure> {
    output.announce(format_args!("Deleting user \"{user}\" ..."));
    api.delete(&path_by(user, force), None).map_err(|failure| asked_here(failure).or_missing(|| no_user(user)))
}

pub fn change_password(
    api: &Api,
    output: &Output,
    user: &str,
    password: Option<String>,
    force: bool,
) -> Result<(), Failure> {
    output.announce(format_args!("Changing password for user \"{user}\" ..."));
    let password = given_or_read(password, output)?;
    let known = find(api, user, || no_user(user))?;
    put(api, user, force, &json!({"password": password, "tags": known["tags"]}))
}

pub fn clear_password(api: &Api, output: &Output, user: &str, force: bool) -> Result<(), Failure> {
    output.announce(format_args!("Clearing password for user \"{user}\" ..."));
    let known = find(api, user, || no_such_user(user))?;
    put(api, user, force, &json!({"password_hash": "", "tags": known["tags"]}))
}

pub fn clear_auth_backend_cache(api: &Api, output: &Output) -> Result<(), Failure> {
    output.announce(format_args!("Will clear rabbitmq_auth_backend_cache plugin's cache on the target node..."));
    api.delete("auth/cache", None)
}

/// Says `Success` however quiet it is to be.
pub fn authenticate_user(api: &Api, output: &Output, user: &str, password: Option<String>) -> Result<(), Failure> {
    output.announce(format_args!("Authenticating user \"{user}\" ..."));
    let password = given_or_read(password, output)?;
    let answer = api.post(&format!("{}/authenticate", path(user)), &json!({ "password": password }))?;
    if answer["authenticated"] != true {
        let reason = format!("Error: failed to authenticate user \"{user}\"\nuser '{user}' - invalid credentials");
        return Err(Failure::Refused(reason));
    }
    output.say("Success");
    Ok(())
}

pub fn set_user_tags(api: &Api, output: &Output, user: &str, tags: &[String], force: bool) -> Result<(), Failure> {
    output.announce(format_args!("Setting tags for user \"{user}\" to [{}] ...", tags.join(", ")));
    let known = find(api, user, || no_user(user))?;
    let (password_hash, hashing_algorithm) = (&known["password_hash"], &known["hashing_algorithm"]);
    let body = json!({"password_hash": password_hash, "hashing_algorithm": hashing_algorithm, "tags": tags});
    put(api, user, force, &body)
}

pub fn list_users(api: &Api, output: &Output) -> Result<(), Failure> {
    output.announce(format_args!("Listing users ..."));
    let users = api.get("users")?;
    let users = users.as_array().into_iter().flatten();
    let rows: Vec<_> = users.map(|user| vec![user["name"].clone(), words(output, &user["tags"])]).collect();
    output.list(&["user", "tags"], &rows);
    Ok(())
}
