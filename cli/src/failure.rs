//! How a command can end: one exit status per kind, and for a failure its causes and the way out.

use std::{error::Error, process::ExitCode};

/// How the program ended. The numbers are documented in `--help` and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Findings,
    /// A Secret, a certificate or a credentials file is wrong. The status is that of the scripts' former tools.
    Rejected,
    // The same as clap's, for what it cannot see.
    Usage,
    Input,
    Io,
    Refused,
}

/// What `--help` says about them.
pub(crate) const EXIT_STATUS_HELP: &str = "\
Exit status:
  0  done
  1  done, with findings: something is left over; or, from seal and credentials, a
     Secret, certificate or credentials file is wrong and nothing was written
  2  the command line is wrong
  3  an input file is wrong; nothing was written
  4  a file, Git, another program, the cluster or AWS did not do what was asked
  5  refused, because it could do harm; the message says how to insist";

impl Exit {
    /// The one word for it in JSON.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Findings => "findings",
            Self::Rejected => "rejected",
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Io => "io",
            Self::Refused => "refused",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Findings | Exit::Rejected => 1,
            Exit::Usage => 2,
            Exit::Input => 3,
            Exit::Io => 4,
            Exit::Refused => 5,
        })
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

/// An error with its causes on one line.
pub(crate) fn described(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
