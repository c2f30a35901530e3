//! Arguments and environment, resolved once. The only module that reads the environment.

use std::{
    env,
    io::{IsTerminal, stderr, stdin, stdout},
    path::{Path, PathBuf},
};

use crate::arguments::{Global, Output};

/// How the program talks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) output: Output,
    pub(crate) quiet: bool,
    pub(crate) stdout: Channel,
    pub(crate) stderr: Channel,
    /// Whether somebody is there to answer.
    pub(crate) can_ask: bool,
}

/// What is known about one of the two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) is_terminal: bool,
    pub(crate) colour: bool,
}

impl Settings {
    pub(crate) fn new(global: &Global) -> Self {
        let Global { output, quiet } = *global;
        // https://no-color.org: any value but an empty one.
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|value| value == "dumb");
        let channel = |is_terminal: bool| Channel { is_terminal, colour: is_terminal && !no_colour && !dumb };
        Self {
            output,
            quiet,
            stdout: channel(stdout().is_terminal()),
            stderr: channel(stderr().is_terminal()),
            can_ask: stdin().is_terminal() && stderr().is_terminal(),
        }
    }
}

/// The program as a path: subprocesses run without `PATH`, so it is looked for once, here.
pub(crate) fn find_program(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| program.to_owned())
}

/// A variable that a file of the repository names.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// All variables that are text.
pub(crate) fn environment() -> Vec<(String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The user's folder for what can be had again (XDG Base Directory Specification).
pub(crate) fn cache_folder() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.unwrap_or_else(env::temp_dir).join("gitmoor")
}
