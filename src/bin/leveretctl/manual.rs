//! What shells and `man` want to know of the commands.

use crate::api::Failure;
use crate::command::Arguments;
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io;

fn command(output: &Output) -> clap::Command {
    let tool = output.tool;
    Arguments::command().name(tool.name()).bin_name(tool.name()).version(tool.version())
}

/// Prints the completions of a shell.
pub fn completions(output: &Output, shell: Shell) {
    clap_complete::generate(shell, &mut command(output), output.tool.name(), &mut io::stdout());
}

/// Prints the page of the program, or of one of its commands.
pub fn page(output: &Output, of: Option<&str>) -> Result<(), Failure> {
    let mut command = command(output).disable_help_subcommand(true);
    command.build();
    let command = match of {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Failure::Usage(format!("there is no command {name}"))),
        },
    };
    clap_mangen::Man::new(command).render(&mut io::stdout()).map_err(|error| Failure::Software(error.to_string()))
}
