//! `gitmoor`: makes a fork of a distribution yours.
//!
//! Arguments and environment become settings, a command does its work and says how it ended; nothing
//! else decides the exit status.

mod arguments;
mod commands;
mod distribution;
mod download;
mod failure;
mod git;
mod settings;
mod terminal;
mod work_tree;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use settings::Settings;
use terminal::Terminal;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
