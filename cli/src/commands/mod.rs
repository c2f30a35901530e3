//! One file per command.

pub(crate) mod completions;
pub(crate) mod init;

use crate::{
    arguments::Command,
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Runs the command that was asked for.
pub(crate) fn run(command: Command, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Init(arguments) => init::run(arguments, terminal),
        Command::Completions(arguments) => Ok(completions::run(&arguments, terminal)),
    }
}
