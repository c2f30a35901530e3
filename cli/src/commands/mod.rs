//! One file per command.

pub(crate) mod completions;
pub(crate) mod credentials;
pub(crate) mod iam;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod render;
pub(crate) mod seal;
pub(crate) mod upgrade;

use crate::{
    arguments::{Command, Output},
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Runs the command that was asked for.
pub(crate) fn run(command: Command, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match (terminal.output(), &command) {
        (Output::Text | Output::Json, _)
        | (Output::Cloudformation, Command::Iam(_))
        | (Output::Markdown, Command::Plan(_)) => {}
        (Output::Cloudformation, _) => {
            return Err(Failure::new(Exit::Usage, "only `gitmoor iam` writes CloudFormation"));
        }
        (Output::Markdown, _) => return Err(Failure::new(Exit::Usage, "only `gitmoor plan` writes Markdown")),
    }
    match command {
        Command::Iam(arguments) => iam::run(*arguments, terminal),
        Command::Plan(arguments) => plan::run(*arguments, terminal),
        Command::Render(arguments) => render::run(*arguments, terminal),
        Command::Init(arguments) => init::run(arguments, terminal),
        Command::Upgrade(arguments) => upgrade::run(arguments, terminal),
        Command::Seal(arguments) => seal::run(*arguments, terminal),
        Command::Credentials(arguments) => credentials::run(*arguments, terminal),
        Command::Completions(arguments) => Ok(completions::run(&arguments, terminal)),
    }
}

/// Runs what waits for other processes.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("cannot start threads", &error))
}
