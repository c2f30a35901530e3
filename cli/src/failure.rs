//! How a command can end: one exit status per kind, and for a failure its causes and the way out.

use std::{error::Error, process::ExitCode};

/// How the program ended. The numbers are documented in `--help` and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Findings = 1,
    // The same as clap's, for what it cannot see.
    Usage = 2,
    Input = 3,
    Io = 4,
    Refused = 5,
}

/// What `--help` says about them.
pub(crate) const EXIT_STATUS_HELP: &str = "\
Exit status:
  0  done
  1  done, with findings: something is left over
  2  the command line is wrong
  3  an input file is wrong; nothing was written
  4  a file could not be read or written
  5  refused, because it could do harm; the message says how to insist";

impl Exit {
    /// The one word for it in JSON.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Findings => "findings",
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Io => "io",
            Self::Refused => "refused",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// From the outside in.
    pub(crate) causes: Vec<String>,
    /// What the user can do.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// An input or output that failed, named by what was to be done with which file.
    pub(crate) fn io(message: impl Into<String>, source: &dyn Error) -> Self {
        Self::new(Exit::Io, message).because(source)
    }

    /// Adds an error and everything behind it as causes.
    pub(crate) fn because(mut self, source: &dyn Error) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
