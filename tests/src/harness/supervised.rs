//! A program that runs as long as its owner, and never longer.

use std::path::Path;
use std::process::Command;

pub use gitmoor_local_cluster::supervised::{Supervised, tail};

/// Starts a program, whose output goes to the file `log`.
pub fn spawn(program: &Path, log: &Path, configure: impl FnOnce(&mut Command)) -> Supervised {
    Supervised::spawn(program, log, configure).unwrap_or_else(|error| panic!("{error:?}"))
}

/// Panics when the program has ended, with what it said last.
pub fn assert_running(program: &mut Supervised) {
    program.ensure_running().unwrap_or_else(|error| panic!("{error}"));
}
