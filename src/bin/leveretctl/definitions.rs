//! Definitions as a file: all that is there, and what a file says made.

use crate::api::{Api, Failure};
use crate::output::Output;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub enum DefinitionsCommand {
    /// Write all definitions to a file, or to standard output with `-`
    ExportDefinitions {
        file: String,
        /// JSON is the one there is
        #[arg(long, default_value = "json")]
        format: String,
    },
    /// Make what a file of definitions says, or standard input: all of it or nothing
    ImportDefinitions {
        file: Option<String>,
        /// JSON is the one there is
        #[arg(long, default_value = "json")]
        format: String,
        /// Means nothing: what is there already stays
        #[arg(long)]
        skip_if_unchanged: bool,
    },
}

pub fn run(api: &Api, output: &Output, command: DefinitionsCommand) -> Result<(), Failure> {
    match command {
        DefinitionsCommand::ExportDefinitions { file, format } => export(api, output, &file, &format),
        DefinitionsCommand::ImportDefinitions { file, format, .. } => import(api, output, file.as_deref(), &format),
    }
}

fn check_format(format: &str) -> Result<(), Failure> {
    match format.to_lowercase().as_str() {
        "json" => Ok(()),
        "erlang" => Err(Failure::BadArgument("Erlang's format is not supported: say --format json".to_owned())),
        _ => Err(Failure::BadArgument("Format should be either json or erlang".to_owned())),
    }
}

fn export(api: &Api, output: &Output, file: &str, format: &str) -> Result<(), Failure> {
    check_format(format)?;
    if file == "-" {
        output.print(&api.get_text("definitions")?);
        return Ok(());
    }
    let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    if !folder.exists() {
        return Err(Failure::BadArgument(format!("Directory {} does not exist", folder.display())));
    }
    output.announce(format_args!("Exporting definitions in JSON to a file at \"{file}\" ..."));
    let text = api.get_text("definitions")?;
    write_for_the_owner(file, &text).map_err(|error| {
        Failure::Refused(match error.kind() {
            ErrorKind::IsADirectory => format!("Path {file} is a directory"),
            ErrorKind::NotADirectory => format!("Parent directory of file {file} is not a directory"),
            ErrorKind::PermissionDenied => format!("No permissions to write to file {file} or its parent directory"),
            ErrorKind::StorageFull => format!("No space left on device hosting {file}"),
            _ => format!("Could not write to file {file}: {error}"),
        })
    })
}

/// There are hashes of passwords in it: a file that is made now is for who made it alone.
fn write_for_the_owner(file: &str, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?.write_all(text.as_bytes())
}

fn import(api: &Api, output: &Output, file: Option<&str>, format: &str) -> Result<(), Failure> {
    check_format(format)?;
    let text = match file {
        None | Some("-") => {
            if file.is_none() {
                output.announce(format_args!("Importing definitions in JSON from standard input ..."));
            }
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::Refused(format!("Could not read from standard input: {error}")))?;
            text
        }
        Some(file) => {
            if !Path::new(file).exists() {
                return Err(Failure::BadArgument(format!("File {file} does not exist")));
            }
            output.announce(format_args!("Importing definitions in JSON from a file at \"{file}\" ..."));
            read(file)?
        }
    };
    if let Err(error) = serde_json::from_str::<Value>(&text) {
        return Err(Failure::Refused(format!("Failed to deserialise input (format: JSON) (error: {error})")));
    }
    // What a node refuses is no mistake of the file's to rabbitmqctl.
    api.upload("definitions", text).map_err(|failure| match failure {
        Failure::Refused(reason) => Failure::Unreachable(reason),
        other => other,
    })?;
    if output.announces {
        // In rabbitmqctl's words. Here it is done by then.
        let done = "Successfully started definition import. This process is asynchronous and can take some time. Watch \
                    target node logs for completion.";
        output.conclude(done, || json!({"result": "ok"}));
    }
    Ok(())
}

fn read(file: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::Refused(match error.kind() {
            ErrorKind::IsADirectory => format!("Path {file} is a directory"),
            ErrorKind::PermissionDenied => format!("No permissions to read from file {file} or its parent directory"),
            _ => format!("Could not read from file {file}: {error}"),
        })
    })?;
    if text.is_empty() { Err(Failure::Refused(format!("File {file} is zero-sized"))) } else { Ok(text) }
}
