//! Program `leveretctl`: rabbitmqctl's commands and output, over the HTTP API. Called by a name of one of RabbitMQ's tools,
//! it answers as that one.

#![allow(clippy::disallowed_methods, reason = "a command line tool is its own process")]

mod absent;
mod access;
mod actions;
mod admin;
mod api;
mod authorities;
mod checks;
mod cluster;
mod columns;
mod command;
mod definitions;
mod delayed;
mod describe;
mod features;
mod limits;
mod listeners;
mod listings;
mod manual;
mod node;
mod output;
mod parameters;
mod password;
mod permissions;
mod plugins;
mod policies;
mod report;
mod resources;
mod startup;
mod tail;
mod tool;
mod top;
mod users;
mod vhosts;
mod whereabouts;

use api::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use command::Arguments;
use plugins::PluginArguments;
use std::process::ExitCode;
use tool::Tool;

const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let tool = Tool::called(std::env::args_os().next().as_deref());
    let outcome = match tool {
        Tool::Rabbitmqadmin => return admin::run(std::env::args_os()),
        Tool::Plugins => parse::<PluginArguments>(tool).map(|arguments| plugins::run(tool, arguments)),
        _ => parse::<Arguments>(tool).map(|arguments| command::run(tool, arguments)),
    };
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            if !matches!(failure, Failure::Silently) {
                eprintln!("{failure}");
            }
            ExitCode::from(failure.exit_code())
        }
        Err(error) => refuse(tool, &error),
    }
}

/// The command line, under the name that the program was called by.
fn parse<T: CommandFactory + FromArgMatches>(tool: Tool) -> Result<T, clap::Error> {
    let command = T::command().name(tool.name()).bin_name(tool.name()).version(tool.version());
    command.try_get_matches().and_then(|matches| T::from_arg_matches(&matches))
}

/// Says what is wrong with the command line, in rabbitmqctl's words and then in clap's. What was given is not said again: it
/// may have been a password.
fn refuse(tool: Tool, error: &clap::Error) -> ExitCode {
    let what = match error.kind() {
        ErrorKind::DisplayVersion if tool != Tool::Leveretctl => {
            println!("{}", tool.version());
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        ErrorKind::InvalidSubcommand => return refuse_command(error),
        ErrorKind::MissingRequiredArgument => "not enough arguments.",
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => "too many arguments, or unknown ones.",
        _ => "",
    };
    if !what.is_empty() {
        eprintln!("Error (argument validation): {what}");
    }
    let _ = error.print();
    ExitCode::from(USAGE)
}

/// There is no such command: never will be, or under another name.
fn refuse_command(error: &clap::Error) -> ExitCode {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => name.clone(),
        Some(ContextValue::Strings(names)) => names.last().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let (name, suggestion) = (text(ContextKind::InvalidSubcommand), text(ContextKind::SuggestedSubcommand));
    if let Some(reason) = absent::reason(&name) {
        eprintln!("Error:\n{name} is not available: {reason}");
        return ExitCode::from(UNAVAILABLE);
    }
    eprintln!("\nCommand '{name}' not found.");
    match suggestion.is_empty() {
        false => eprintln!("Did you mean '{suggestion}'?"),
        true => drop(error.print()),
    }
    ExitCode::from(USAGE)
}
