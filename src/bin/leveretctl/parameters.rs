//! Runtime parameters: those of virtual hosts, and global ones. What the broker has none of, it refuses.

use crate::api::{Api, Failure, segment};
use crate::output::{Format, Output};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum ParameterCommand {
    /// List runtime parameters of the virtual host
    ListParameters,
    /// Set a runtime parameter of the virtual host, where the broker has such a component
    SetParameter { component: String, name: String, value: String },
    /// Clear a runtime parameter of the virtual host
    ClearParameter { component: String, name: String },
    /// List global runtime parameters
    ListGlobalParameters,
    /// Set a global runtime parameter to a value that is JSON
    SetGlobalParameter { name: String, value: String },
    /// Clear a global runtime parameter
    ClearGlobalParameter { name: String },
    /// Say what the cluster is called
    SetClusterName { name: String },
}

pub fn run(api: &Api, output: &Output, vhost: &str, command: ParameterCommand) -> Result<(), Failure> {
    match command {
        ParameterCommand::ListParameters => {
            output.announce(format_args!("Listing runtime parameters for vhost \"{vhost}\" ..."));
            let parameters = api.get("parameters")?;
            let here = parameters.as_array().into_iter().flatten().filter(|parameter| parameter["vhost"] == vhost);
            list(output, &["component", "name", "value"], here);
            Ok(())
        }
        ParameterCommand::ListGlobalParameters => {
            output.announce(format_args!("Listing global runtime parameters ..."));
            let parameters = api.get("global-parameters")?;
            list(output, &["name", "value"], parameters.as_array().into_iter().flatten());
            Ok(())
        }
        ParameterCommand::SetParameter { component, name, value } => {
            output.announce(format_args!(
                "Setting runtime parameter \"{name}\" for component \"{component}\" to \"{value}\" in vhost \"{vhost}\" ..."
            ));
            let value = decoded(&value)?;
            let set = api.put(&path(vhost, &component, &name), &json!({ "value": value }));
            set.map_err(|failure| match failure {
                Failure::Refused(reason) => Failure::Unreachable(reason),
                other => other,
            })
        }
        ParameterCommand::ClearParameter { component, name } => {
            output.announce(format_args!(
                "Clearing runtime parameter \"{name}\" for component \"{component}\" on vhost \"{vhost}\" ..."
            ));
            api.delete(&path(vhost, &component, &name), None).map_err(missing)
        }
        ParameterCommand::SetGlobalParameter { name, value } => {
            output.announce(format_args!("Setting global runtime parameter \"{name}\" to \"{value}\" ..."));
            api.put(&global_path(&name), &json!({ "value": decoded(&value)? }))
        }
        ParameterCommand::ClearGlobalParameter { name } => {
            output.announce(format_args!("Clearing global runtime parameter \"{name}\" ..."));
            api.delete(&global_path(&name), None).map_err(missing)
        }
        ParameterCommand::SetClusterName { name } => {
            output.announce(format_args!("Setting cluster name to {name} ..."));
            api.put("cluster-name", &json!({ "name": name }))
        }
    }
}

fn decoded(value: &str) -> Result<Value, Failure> {
    serde_json::from_str(value).map_err(|_| Failure::Unreachable("JSON decoding error. Reason: badarg".to_owned()))
}

fn missing(failure: Failure) -> Failure {
    match failure {
        Failure::NotFound(_) | Failure::Refused(_) => Failure::Unreachable("Parameter does not exist".to_owned()),
        other => other,
    }
}

fn global_path(name: &str) -> String {
    format!("global-parameters/{}", segment(name))
}

fn path(vhost: &str, component: &str, name: &str) -> String {
    format!("parameters/{}/{}/{}", segment(component), segment(vhost), segment(name))
}

fn list<'a>(output: &Output, columns: &[&str], parameters: impl Iterator<Item = &'a Value>) {
    let cell = |parameter: &Value, column: &str| match column {
        // As text, also among JSON.
        "value" => Value::from(parameter[column].to_string()),
        _ => parameter[column].clone(),
    };
    let row = |parameter: &Value| columns.iter().map(|column| cell(parameter, column)).collect();
    let rows: Vec<Vec<Value>> = parameters.map(row).collect();
    if rows.is_empty() && output.format != Format::Json && columns.len() == 3 {
        // As rabbitmqctl does, of those of virtual hosts.
        output.say("");
    }
    output.list(columns, &rows);
}
