//! Feature flags, which are all enabled.

use crate::api::{Api, Failure, segment};
use crate::checks::node;
use crate::columns::Source::Field;
use crate::columns::{Column, cells, choose};
use crate::output::Output;

const FLAGS: [Column; 6] = [
    ("name", Field("name")),
    ("state", Field("state")),
    ("stability", Field("stability")),
    ("provided_by", Field("provided_by")),
    ("desc", Field("desc")),
    ("doc_url", Field("doc_url")),
];

pub fn list(api: &Api, output: &Output, columns: &[String]) -> Result<(), Failure> {
    let columns = choose(&FLAGS, &["name", "state"], columns)?;
    output.announce(format_args!("Listing feature flags ..."));
    let flags = api.get("feature-flags")?;
    let rows: Vec<_> = flags.as_array().into_iter().flatten().map(|flag| cells(&columns, flag)).collect();
    output.list(&columns.iter().map(|(name, _)| *name).collect::<Vec<_>>(), &rows);
    Ok(())
}

pub fn enable(api: &Api, output: &Output, flag: &str) -> Result<(), Failure> {
    if flag.is_empty() {
        return Err(Failure::Empty("feature_flag"));
    }
    if flag == "all" {
        output.announce(format_args!("Enabling all feature flags ..."));
        // All of those that there are, are.
        return api.get("feature-flags").map(drop);
    }
    output.announce(format_args!("Enabling feature flag \"{flag}\" ..."));
    let body = serde_json::json!({});
    match api.put(&format!("feature-flags/{}/enable", segment(flag)), &body) {
        Err(Failure::Refused(_)) => {
            let node = node(api)?;
            Err(Failure::Unsupported(format!("This feature flag is not supported by node {node}")))
        }
        outcome => outcome,
    }
}
