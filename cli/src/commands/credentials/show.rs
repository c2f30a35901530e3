//! Generated passwords, for the person who runs this: once, and nowhere else.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use gitmoor_core::sensitive::Sensitive;
use zeroize::Zeroizing;

use crate::{
    failure::{Exit, Failure},
    git::Repository,
    terminal::{Style, Terminal},
};

/// What goes to a pipe ends in logs.
pub(super) fn refuse_nowhere(names: &[&str], file: Option<&Path>, terminal: &Terminal) -> Result<(), Failure> {
    if names.is_empty() || file.is_some() || terminal.shows_to_people() {
        return Ok(());
    }
    let message = format!("{} would be generated, and there is no terminal to show it on", names.join(", "));
    Err(Failure::new(Exit::Usage, message).hint("--show-once-to FILE, or give the value yourself"))
}

/// A file in the repository is one `git add` away from being pushed.
pub(super) fn warn_of_repository(file: Option<&Path>, terminal: &mut Terminal) {
    let Some(path) = file else { return };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(Some(repository)) = Repository::around(folder) else { return };
    if repository.relative(path).is_some_and(|path| !repository.is_ignored(&path)) {
        terminal.warning(&format!("{} lies in the repository: take care that it is never committed", path.display()));
    }
}

/// Writes them before anything else is written: a file too many is better than a password that nobody knows.
pub(super) fn write(shown: &[(&str, &Sensitive<String>)], file: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = file.filter(|_| !shown.is_empty()) else { return Ok(()) };
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        for (name, value) in shown {
            file.write_all(line(name, value).as_bytes())?;
        }
        file.sync_all()
    };
    write().map_err(|error| {
        let failure = Failure::io(format!("cannot make {}", path.display()), &error);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return failure.hint("nothing is written over passwords that may be known nowhere else: name another file");
        }
        failure
    })
}

/// Shows them on the terminal.
pub(super) fn print(shown: &[(&str, &Sensitive<String>)], terminal: &mut Terminal) {
    if shown.is_empty() {
        return;
    }
    terminal.message("generated, and shown this once:");
    for (name, value) in shown {
        terminal.data(Style::Bold, line(name, value).trim_end());
    }
}

fn line(name: &str, value: &Sensitive<String>) -> Zeroizing<String> {
    Zeroizing::new(format!("{name}: {}\n", value.expose()))
}
