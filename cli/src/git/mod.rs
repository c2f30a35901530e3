//! The user's own clone, through the `git` program: the only module of the command line that runs it.
//!
//! The program and not a library, because here the user's configuration counts: credentials, SSH agent,
//! hooks, signing, partial clones. (The agent's mirrors are another thing; they are the engine's.)

mod objects;
mod snapshot;
mod trees;

use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

pub(crate) use objects::Objects;
pub(crate) use snapshot::Snapshot;
pub(crate) use trees::{Change, Entry, TreeFiles};

use crate::failure::{Exit, Failure};

/// A work tree under Git.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    top: PathBuf,
}

/// How `git` ended when it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git does not start")]
    Start(#[source] io::Error),
    #[error("git {command} failed")]
    Failed { command: String, said: String },
    #[error("git {command} said something unexpected")]
    Unexpected { command: &'static str },
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let mut failure = Self::new(Exit::Io, error.to_string());
        match error {
            GitError::Start(source) => failure = failure.because(&source).hint("install git"),
            GitError::Failed { said, .. } => failure.causes.extend(said.lines().map(str::to_owned)),
            GitError::Unexpected { .. } => {}
        }
        failure
    }
}

impl Repository {
    /// The repository in whose work tree the folder lies, if it lies in one.
    pub(crate) fn around(folder: &Path) -> Result<Option<Self>, GitError> {
        // One that is not there is in the repository of the nearest one above it that is.
        let real = std::path::absolute(folder)
            .ok()
            .and_then(|folder| folder.ancestors().find_map(|above| above.canonicalize().ok()));
        let real = real.unwrap_or_else(|| folder.to_owned());
        // What Git would look for; it spares a process where there is nothing.
        let is_top = |folder: &Path| folder.join(".git").is_file() || folder.join(".git/HEAD").exists();
        if !real.ancestors().any(is_top) {
            return Ok(None);
        }
        let text = Self { top: real }.text(&["rev-parse", "--show-toplevel"])?;
        Ok(Some(Self { top: PathBuf::from(text) }))
    }

    /// The top folder of the work tree.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    /// A path as the repository has it: from its top, with slashes. `None` for one outside of it, and for
    /// one that is not UTF-8.
    pub(crate) fn relative(&self, path: &Path) -> Option<String> {
        let real = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !path.is_dir() => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                parent.canonicalize().ok()?.join(name)
            }
            _ => path.canonicalize().ok()?,
        };
        let relative = real.strip_prefix(&self.top).ok()?.to_str()?;
        Some(if relative.is_empty() { ".".to_owned() } else { relative.to_owned() })
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("git");
        command.arg("--literal-pathspecs").arg("-C").arg(&self.top).args(arguments);
        // Messages are matched and shown, and looking must not write.
        command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null());
        command
    }

    /// Runs `git` and gives what it printed.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, GitError> {
        check(arguments, self.command(arguments).output().map_err(GitError::Start)?)
    }

    /// The same, with something on standard input.
    pub(crate) fn run_with(&self, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Result<Vec<u8>, GitError> {
        feed(self.command(arguments), arguments, input)
    }

    /// Runs `git` with an index of its own.
    pub(crate) fn run_on(&self, index: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let mut command = self.command(arguments);
        command.env("GIT_INDEX_FILE", index);
        feed(command, arguments, input)
    }

    /// What `git` printed, as one line of text.
    pub(crate) fn text(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String, GitError> {
        let output = self.run(arguments)?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// The same, where failing is an answer too: a setting that is not there, a name that means nothing.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Option<String> {
        self.text(arguments).ok()
    }

    /// Whether a file that is there would stay out of the next commit: ignored, and not tracked. (`check-ignore` does not
    /// take paths literally.)
    pub(crate) fn is_ignored(&self, path: &str) -> bool {
        let listed = self.ask(&["ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", path]);
        listed.is_some_and(|listed| !listed.is_empty())
    }

    /// Files that stay out of every commit, from the top of the work tree; a folder of which everything does as one path.
    pub(crate) fn ignored(&self) -> Result<Vec<String>, GitError> {
        let listed = self.run(&["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"])?;
        let paths = listed.split(|byte| *byte == 0).filter_map(|path| std::str::from_utf8(path).ok());
        Ok(paths.map(|path| path.trim_end_matches('/').to_owned()).filter(|path| !path.is_empty()).collect())
    }

    /// What `git` printed, where status 1 is an answer too.
    pub(crate) fn run_or_one(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let output = self.command(arguments).output().map_err(GitError::Start)?;
        if output.status.code() == Some(1) { Ok(output.stdout) } else { check(arguments, output) }
    }

    /// Runs `git` such that the user sees what it says, and can answer it: for what takes long, asks for a
    /// password, or runs hooks.
    pub(crate) fn run_visibly(&self, arguments: &[&str]) -> Result<(), GitError> {
        let mut command = self.command(arguments);
        command.env_remove("GIT_OPTIONAL_LOCKS").stdin(Stdio::inherit()).stderr(Stdio::inherit());
        let status = command.stdout(Stdio::null()).status().map_err(GitError::Start)?;
        if status.success() { Ok(()) } else { Err(failed(arguments, String::new())) }
    }

    /// The commit that a name means.
    pub(crate) fn commit(&self, name: &str) -> Option<String> {
        self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
    }

    /// Whether the clone has only the end of the history.
    pub(crate) fn is_shallow(&self) -> bool {
        self.ask(&["rev-parse", "--is-shallow-repository"]).is_some_and(|answer| answer == "true")
    }
}

fn feed(mut command: Command, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Result<Vec<u8>, GitError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(GitError::Start)?;
    let mut pipe = child.stdin.take();
    std::thread::scope(|scope| {
        // A git that ends early says why; that its pipe broke adds nothing.
        scope.spawn(move || pipe.as_mut().map(|pipe| pipe.write_all(input)));
        check(arguments, child.wait_with_output().map_err(GitError::Start)?)
    })
}

fn check(arguments: &[impl AsRef<OsStr>], output: Output) -> Result<Vec<u8>, GitError> {
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(arguments, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn failed(arguments: &[impl AsRef<OsStr>], said: String) -> GitError {
    let words = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned());
    let is_command =
        |word: &String| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-');
    let command = words.into_iter().find(is_command).unwrap_or_default();
    GitError::Failed { command, said }
}
