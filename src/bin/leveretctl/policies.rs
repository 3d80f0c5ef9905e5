//! Policies and operator policies.

use crate::api::{Api, Failure, segment};
use crate::output::{Format, Output};
use crate::vhosts::no_vhost;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Whose policies they are.
#[derive(Clone, Copy)]
enum Whose {
    Users,
    Operators,
}

impl Whose {
    fn path(self, vhost: &str) -> String {
        match self {
            Self::Users => format!("policies/{}", segment(vhost)),
            Self::Operators => format!("operator-policies/{}", segment(vhost)),
        }
    }
}

#[derive(Args)]
pub struct PolicyText {
    name: String,
    /// Which names it is for
    #[arg(allow_hyphen_values = true)]
    pattern: String,
    /// What it asks for, as JSON
    definition: String,
    /// Of all that fit, the one with the highest priority applies
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    priority: i64,
    /// all, queues, classic_queues, quorum_queues, streams or exchanges
    #[arg(long = "apply-to", default_value = "all")]
    apply_to: String,
}

/// The commands about policies.
#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum PolicyCommand {
    /// Set a policy, in place of the one of its name
    SetPolicy(PolicyText),
    /// Delete a policy
    ClearPolicy { name: String },
    /// List policies
    ListPolicies,
    /// Set an operator policy, in place of the one of its name
    SetOperatorPolicy(PolicyText),
    /// Delete an operator policy
    ClearOperatorPolicy { name: String },
    /// List operator policies
    ListOperatorPolicies,
}

pub fn run(api: &Api, output: &Output, vhost: &str, command: PolicyCommand) -> Result<(), Failure> {
    use PolicyCommand as Command;
    match command {
        Command::SetPolicy(policy) => set(api, output, vhost, Whose::Users, &policy),
        Command::ClearPolicy { name } => clear(api, output, vhost, Whose::Users, &name),
        Command::ListPolicies => list(api, output, vhost, Whose::Users),
        Command::SetOperatorPolicy(policy) => set(api, output, vhost, Whose::Operators, &policy),
        Command::ClearOperatorPolicy { name } => clear(api, output, vhost, Whose::Operators, &name),
        Command::ListOperatorPolicies => list(api, output, vhost, Whose::Operators),
    }
}

fn set(api: &Api, output: &Output, vhost: &str, whose: Whose, policy: &PolicyText) -> Result<(), Failure> {
    let PolicyText { name, pattern, definition, priority, apply_to } = policy;
    let what = match whose {
        Whose::Users => "policy",
        Whose::Operators => "operator policy override",
    };
    output.announce(format_args!(
        "Setting {what} \"{name}\" for pattern \"{pattern}\" to \"{definition}\" with priority \"{priority}\" for vhost \
         \"{vhost}\" ..."
    ));
    let definition: Value = serde_json::from_str(definition)
        .map_err(|_| Failure::Unreachable("JSON decoding error. Reason: badarg".to_owned()))?;
    if name.is_empty() {
        return Err(Failure::Empty("name"));
    }
    let body = json!({"pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to});
    api.put(&format!("{}/{}", whose.path(vhost), segment(name)), &body).map_err(|failure| match failure {
        Failure::NotFound(_) => no_vhost(vhost),
        Failure::Refused(reason) => Failure::Unreachable(reason),
        other => other,
    })
}

fn clear(api: &Api, output: &Output, vhost: &str, whose: Whose, name: &str) -> Result<(), Failure> {
    let what = match whose {
        Whose::Users => "policy",
        Whose::Operators => "operator policy",
    };
    output.announce(format_args!("Clearing {what} \"{name}\" on vhost \"{vhost}\" ..."));
    let missing = || Failure::Unreachable("Parameter does not exist".to_owned());
    let cleared = api.delete(&format!("{}/{}", whose.path(vhost), segment(name)), None);
    cleared.map_err(|failure| failure.or_missing(missing))
}

/// Those of users and of operators.
pub fn list_all(api: &Api, output: &Output, vhost: &str) -> Result<(), Failure> {
    list(api, output, vhost, Whose::Users)?;
    list(api, output, vhost, Whose::Operators)
}

fn list(api: &Api, output: &Output, vhost: &str, whose: Whose) -> Result<(), Failure> {
    const COLUMNS: [&str; 6] = ["vhost", "name", "pattern", "apply-to", "definition", "priority"];
    let what = match whose {
        Whose::Users => "policies",
        Whose::Operators => "operator policy overrides",
    };
    output.announce(format_args!("Listing {what} for vhost \"{vhost}\" ..."));
    let policies = api.get(&whose.path(vhost)).map_err(|failure| failure.or_missing(|| no_vhost(vhost)))?;
    let cell = |policy: &Value, column: &str| match column {
        // As text, also among JSON.
        "definition" => Value::from(policy[column].to_string()),
        _ => policy[column].clone(),
    };
    let row = |policy: &Value| COLUMNS.iter().map(|column| cell(policy, column)).collect();
    let rows: Vec<Vec<Value>> = policies.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() && output.format != Format::Json {
        // As rabbitmqctl does, here.
        output.say("");
    }
    output.list(&COLUMNS, &rows);
    Ok(())
}
