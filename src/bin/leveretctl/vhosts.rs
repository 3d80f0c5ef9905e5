//! Virtual hosts.

use crate::api::{Api, Failure, segment};
use crate::columns::Source::Field;
use crate::columns::{Column, cells, choose};
use crate::output::{Output, words};
use clap::Args;
use serde_json::{Value, json};

const VHOSTS: [Column; 7] = [
    ("name", Field("name")),
    ("tracing", Field("tracing")),
    ("description", Field("description")),
    ("tags", Field("tags")),
    ("default_queue_type", Field("default_queue_type")),
    ("protected_from_deletion", Field("protected_from_deletion")),
    ("cluster_state", Field("cluster_state")),
];

/// What is said of a virtual host.
#[derive(Args, Default)]
pub struct VhostOptions {
    #[arg(long)]
    description: Option<String>,
    /// With commas between them
    #[arg(long)]
    tags: Option<String>,
    /// The type of queues that say none: classic, quorum or stream
    #[arg(long = "default-queue-type")]
    default_queue_type: Option<String>,
}

impl VhostOptions {
    fn say_nothing(&self) -> bool {
        self.description.is_none() && self.tags.is_none() && self.default_queue_type.is_none()
    }

    /// A body of what is said, and of what was known for the rest.
    fn body(&self, known: &Value) -> Value {
        let or_known = |said: &Option<String>, key: &str| said.as_ref().map_or(known[key].clone(), |said| json!(said));
        json!({
            "description": or_known(&self.description, "description"),
            "tags": or_known(&self.tags, "tags"),
            "default_queue_type": or_known(&self.default_queue_type, "default_queue_type"),
        })
    }
}

fn path(vhost: &str) -> String {
    format!("vhosts/{}", segment(vhost))
}

pub fn no_vhost(vhost: &str) -> Failure {
    Failure::Plain(format!("Virtual host '{vhost}' does not exist"))
}

fn find(api: &Api, vhost: &str) -> Result<Value, Failure> {
    api.get(&path(vhost)).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))
}

/// One that is there stays as it is.
pub fn add(api: &Api, output: &Output, vhost: &str, options: &VhostOptions) -> Result<(), Failure> {
    if vhost.is_empty() {
        return Err(Failure::Empty("vhost"));
    }
    output.announce(format_args!("Adding vhost \"{vhost}\" ..."));
    match find(api, vhost) {
        Ok(_) => Ok(()),
        Err(Failure::Plain(_)) => api.put(&path(vhost), &options.body(&Value::Null)),
        Err(failure) => Err(failure),
    }
}

pub fn delete(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Deleting vhost \"{vhost}\" ..."));
    api.delete(&path(vhost), None).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))
}

pub fn protect(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    output.announce(format_args!("Protecting virtual host \"{vhost}\" from removal by updating its metadata..."));
    api.tell(&protection(vhost)).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))
}

pub fn unprotect(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    let doing = "Removing deletion protection from virtual host";
    output.announce(format_args!("{doing} \"{vhost}\" by updating its metadata..."));
    api.delete(&protection(vhost), None).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))
}

fn protection(vhost: &str) -> String {
    format!("{}/deletion/protection", path(vhost))
}

pub fn update(api: &Api, output: &Output, vhost: &str, options: &VhostOptions) -> Result<(), Failure> {
    if options.say_nothing() {
        return Err(Failure::Usage("not enough arguments.".to_owned()));
    }
    output.announce(format_args!("Updating metadata of vhost \"{vhost}\" ..."));
    let known = find(api, vhost)?;
    api.put(&path(vhost), &options.body(&known))
}

pub fn set_tags(api: &Api, output: &Output, vhost: &str, tags: &[String]) -> Result<(), Failure> {
    output.announce(format_args!("Setting tags for virtual host \"{vhost}\" to [{}] ...", tags.join(", ")));
    let known = find(api, vhost)?;
    let mut body = VhostOptions::default().body(&known);
    body["tags"] = json!(tags);
    api.put(&path(vhost), &body)
}

pub fn trace(api: &Api, output: &Output, vhost: &str, on: bool) -> Result<(), Failure> {
    let (doing, done) = if on { ("Starting", "enabled") } else { ("Stopping", "disabled") };
    output.announce(format_args!("{doing} tracing for vhost \"{vhost}\" ..."));
    let known = find(api, vhost)?;
    let mut body = VhostOptions::default().body(&known);
    body["tracing"] = json!(on);
    api.put(&path(vhost), &body)?;
    output.say(&format!("Trace {done} for vhost {vhost}"));
    Ok(())
}

pub fn list(api: &Api, output: &Output, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(&VHOSTS, &["name"], columns)?;
    output.announce(format_args!("Listing vhosts ..."));
    let mut vhosts = api.get("vhosts")?;
    for vhost in vhosts.as_array_mut().into_iter().flatten() {
        vhost["tags"] = words(output, &vhost["tags"]);
    }
    let rows: Vec<_> = vhosts.as_array().into_iter().flatten().map(|vhost| cells(&columns, vhost)).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    output.list(&names, &rows);
    Ok(())
}
