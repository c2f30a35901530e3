//! The command line, as clap reads it. Each command's own arguments stand in its file.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        bootstrap, completions, credentials, diff, doctor, explain, history, iam, init, lock, logs, plan, prune,
        refresh, rehearse, render, seal, secrets, status, suspend, sync, upgrade,
    },
    failure::EXIT_STATUS_HELP,
};

/// Turns a fork of a distribution into your repository, and shows what a cluster makes of it.
#[derive(Debug, Parser)]
#[command(name = "gitmoor", version, about, after_help = EXIT_STATUS_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command accepts.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// What to print on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(crate) output: Output,
    /// Print no messages, only errors, and what was asked for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// A format of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document, also for an error
    Json,
    /// A CloudFormation template, from `gitmoor iam`
    Cloudformation,
    /// A comment for a pull or merge request, from `gitmoor plan`
    Markdown,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Arguments),
    Upgrade(upgrade::Arguments),
    Seal(Box<seal::Arguments>),
    Credentials(Box<credentials::Arguments>),
    Iam(Box<iam::Arguments>),
    Render(Box<render::Arguments>),
    Lock(Box<lock::Arguments>),
    Plan(Box<plan::Arguments>),
    Rehearse(Box<rehearse::Arguments>),
    Bootstrap(Box<bootstrap::Arguments>),
    Status(Box<status::Arguments>),
    Explain(Box<explain::Arguments>),
    Diff(Box<diff::Arguments>),
    Sync(Box<sync::Arguments>),
    Refresh(Box<refresh::Arguments>),
    Suspend(Box<suspend::SuspendArguments>),
    Resume(Box<suspend::ResumeArguments>),
    History(Box<history::HistoryArguments>),
    Rollback(Box<history::RollbackArguments>),
    Prune(Box<prune::Arguments>),
    Secrets(Box<secrets::Arguments>),
    Logs(Box<logs::Arguments>),
    Doctor(Box<doctor::Arguments>),
    Uninstall(Box<bootstrap::UninstallArguments>),
    Completions(completions::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
