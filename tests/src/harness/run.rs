//! A program that is run to its end, with an empty environment.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

/// How it ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status; none after a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Runs `program` in `folder`.
    ///
    /// # Panics
    /// When it does not start, or writes what is not UTF-8.
    pub fn of(program: &Path, folder: &Path, environment: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(environment.iter().copied()).current_dir(folder).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut pipe = child.stdin.take().expect("standard input is piped");
        let output = thread::scope(|scope| {
            // One that fails early does not read.
            scope.spawn(move || pipe.write_all(stdin));
            child.wait_with_output().expect("a child can be waited for")
        });
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Checks the exit status.
    ///
    /// # Panics
    /// When it is another one, with what the program said.
    #[track_caller]
    pub fn assert(&self, status: i32) -> &Self {
        let shown: String = self.stdout.chars().take(2000).collect();
        assert_eq!(self.status, Some(status), "{}\n{shown}", self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not one document of JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
