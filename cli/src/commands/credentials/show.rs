//! Generated passwords, for the person who runs this: once, and nowhere else.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use gitmoor_core::sensitive::Sensitive;
use zeroize::Zeroizing;

use crate::{
    failure::{Exit, Failure},
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
    write().map_err(|error| Failure::io(format!("cannot make {}", path.display()), &error))
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
