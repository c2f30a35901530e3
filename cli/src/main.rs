//! `gitmoor`: makes a fork of a distribution yours.
//!
//! Arguments and environment become settings, a command does its work and says how it ended; nothing
//! else decides the exit status.

mod age;
mod arguments;
mod cluster;
mod commands;
mod distribution;
mod download;
mod failure;
mod fleet;
mod fork;
mod fork_folder;
mod git;
mod made_up;
mod reach;
mod settings;
mod table;
mod terminal;
mod trial;
mod work_tree;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use gitmoor_engine::{
    git::{Fetcher, child_main as fetch},
    jq,
};

use arguments::{Arguments, Global, Output};
use failure::{Exit, Failure};
use settings::Settings;
use terminal::Terminal;

fn main() -> ExitCode {
    // What repositories and Applications bring along is worked on in children with limits: this program again.
    match std::env::args_os().nth(1) {
        Some(name) if name == Fetcher::SUBCOMMAND => return fetch(),
        Some(name) if name == jq::SUBCOMMAND => return jq::child_main(),
        _ => {}
    }
    // The shell asks for completions: answers, and ends here.
    clap_complete::CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = Arguments::try_parse().unwrap_or_else(|error| refused(&error));
    let settings = Settings::new(&arguments.global);
    let mut terminal = Terminal::new(settings);
    let exit = match commands::run(arguments.command, &mut terminal) {
        Ok(exit) => exit,
        Err(failure) => {
            terminal.failure(&failure);
            failure.exit
        }
    };
    exit.into()
}

/// The command line is wrong, or help was asked for: clap says so, for programs too.
fn refused(error: &clap::Error) -> ! {
    let words: Vec<_> = std::env::args_os().collect();
    let wants_json = words.windows(2).any(|two| two[0] == "--output" && two[1] == "json");
    if error.use_stderr() && (wants_json || words.iter().any(|word| word == "--output=json")) {
        let settings = Settings::new(&Global { output: Output::Json, quiet: false });
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Terminal::new(settings).failure_for_programs(&Failure::new(Exit::Usage, message));
    }
    error.exit()
}
