//! One file per command.

pub(crate) mod bootstrap;
pub(crate) mod completions;
pub(crate) mod credentials;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod iam;
pub(crate) mod init;
pub(crate) mod lock;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod refresh;
pub(crate) mod rehearse;
pub(crate) mod render;
pub(crate) mod seal;
pub(crate) mod secrets;
pub(crate) mod status;
pub(crate) mod suspend;
pub(crate) mod sync;
pub(crate) mod upgrade;

use std::time::Duration;

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
        Command::Lock(arguments) => lock::run(*arguments, terminal),
        Command::Rehearse(arguments) => rehearse::run(*arguments, terminal),
        Command::Init(arguments) => init::run(arguments, terminal),
        Command::Upgrade(arguments) => upgrade::run(arguments, terminal),
        Command::Seal(arguments) => seal::run(*arguments, terminal),
        Command::Credentials(arguments) => credentials::run(*arguments, terminal),
        Command::Bootstrap(arguments) => bootstrap::run(&arguments, terminal),
        Command::Uninstall(arguments) => bootstrap::uninstall(&arguments, terminal),
        Command::Status(arguments) => status::run(&arguments, terminal),
        Command::Sync(arguments) => sync::run(&arguments, terminal),
        Command::Refresh(arguments) => refresh::run(&arguments, terminal),
        Command::Suspend(arguments) => suspend::suspend(&arguments, terminal),
        Command::Resume(arguments) => suspend::resume(&arguments, terminal),
        Command::Diff(arguments) => diff::run(&arguments, terminal),
        Command::Doctor(arguments) => doctor::run(&arguments, terminal),
        Command::Logs(arguments) => logs::run(&arguments, terminal),
        Command::Secrets(arguments) => secrets::run(&arguments, terminal),
        Command::Explain(arguments) => explain::run(&arguments, terminal),
        Command::History(arguments) => history::history(&arguments, terminal),
        Command::Rollback(arguments) => history::rollback(&arguments, terminal),
        Command::Prune(arguments) => prune::run(&arguments, terminal),
        Command::Completions(arguments) => completions::run(&arguments, terminal),
    }
}

/// Runs what waits for other processes.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("cannot start threads", &error))
}

/// A length of time as it is given on the command line: `90s`, `10m`, `1h30m`; a number alone is of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds
        .or_else(|| gitmoor_core::duration::parse(text))
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a time such as 90s, 10m or 1h30m is expected, or a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn a_time_has_a_unit_or_is_of_seconds() {
        for (text, expected) in [
            ("30", Some(30)),
            ("30s", Some(30)),
            ("1h30m", Some(5400)),
            ("0", None),
            ("0s", None),
            ("-3", None),
            ("5 m", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(super::duration(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }
}
