//! One file per command.

pub(crate) mod completions;
pub(crate) mod credentials;
pub(crate) mod iam;
pub(crate) mod init;
pub(crate) mod seal;
pub(crate) mod upgrade;

use crate::{
    arguments::{Command, Output},
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Runs the command that was asked for.
pub(crate) fn run(command: Command, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Iam(arguments) => iam::run(*arguments, terminal),
        _ if terminal.output() == Output::Cloudformation => {
            Err(Failure::new(Exit::Usage, "only `gitmoor iam` writes CloudFormation"))
        }
        Command::Init(arguments) => init::run(arguments, terminal),
        Command::Upgrade(arguments) => upgrade::run(arguments, terminal),
        Command::Seal(arguments) => seal::run(*arguments, terminal),
        Command::Credentials(arguments) => credentials::run(*arguments, terminal),
        Command::Completions(arguments) => Ok(completions::run(&arguments, terminal)),
    }
}
