//! `gitmoor iam profiles`: one file for each person, in distribution/profiles.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf};

use gitmoor_core::iam::{Documents, HEADER, file_name, manifests};

use super::arguments::{Inputs, Profiles};
use crate::{
    distribution::Distribution,
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
    work_tree,
};

/// What has to change for the folder to hold the people of profiles.yaml.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Files to write, with their text.
    pub(super) write: BTreeMap<PathBuf, String>,
    /// Files of people who left.
    pub(super) remove: Vec<PathBuf>,
    /// Files that somebody else wrote under such a name.
    pub(super) foreign: Vec<PathBuf>,
}

/// Writes and removes only the files that have to change.
pub(super) fn run(arguments: &Profiles, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Inputs { distribution, setup_conf, profiles, .. } = &arguments.inputs;
    let distribution = Distribution::open(distribution, setup_conf.as_deref())?;
    let documents = super::read(&arguments.inputs, &distribution)?;
    let change = change(&documents, &distribution)?;
    if !profiles.exists() && !change.remove.is_empty() {
        // No file is not the same as a file without people: all of theirs would go.
        return Err(Failure::new(Exit::Io, format!("there is no {}; nothing was removed", profiles.display()))
            .hint("run it where the file is, or name it with --profiles; a file without people is `profiles: []`"));
    }
    refuse_foreign(&change)?;
    if !arguments.check {
        apply(&change, &distribution)?;
    }
    print(&change, arguments.check, terminal);
    let stale = !(change.write.is_empty() && change.remove.is_empty());
    Ok(if arguments.check && stale { Exit::Findings } else { Exit::Done })
}

/// Compares the folder with what it should hold.
pub(super) fn change(documents: &Documents, distribution: &Distribution) -> Result<Change, Failure> {
    let folder = distribution.path_of("profiles");
    let mut change = Change::default();
    let mut wanted = BTreeMap::new();
    for profile in &documents.profiles {
        let Some(role) = documents.profile_roles.0.get(&profile.role) else { continue };
        wanted.insert(folder.join(file_name(profile)), manifests(profile, role, &documents.account));
    }
    for path in present(&folder)? {
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
        match (wanted.remove(&path), text.starts_with(HEADER)) {
            (Some(new), true) if new != text => drop(change.write.insert(path, new)),
            (None, true) => change.remove.push(path),
            (Some(_), false) => change.foreign.push(path),
            _ => {}
        }
    }
    change.write.extend(wanted);
    Ok(change)
}

fn present(folder: &PathBuf) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::io(format!("cannot read {}", folder.display()), &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_file = entry.file_type().map_err(failed)?.is_file();
        if is_file && entry.path().extension().is_some_and(|extension| extension == "yaml") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn refuse_foreign(change: &Change) -> Result<(), Failure> {
    if change.foreign.is_empty() {
        return Ok(());
    }
    let mut failure =
        Failure::new(Exit::Refused, "files of profiles were written by somebody else; nothing was written")
            .hint("move them to another name, or remove them");
    failure.causes = change.foreign.iter().map(|path| path.display().to_string()).collect();
    Err(failure)
}

fn apply(change: &Change, distribution: &Distribution) -> Result<(), Failure> {
    let folder = distribution.path_of("profiles");
    if !change.write.is_empty() {
        fs::create_dir_all(&folder)
            .map_err(|error| Failure::io(format!("cannot make {}", folder.display()), &error))?;
    }
    for (path, text) in &change.write {
        work_tree::put(path, text.as_bytes()).map_err(|error| Failure::io(error.to_string(), &error.source))?;
    }
    for path in &change.remove {
        fs::remove_file(path).map_err(|error| Failure::io(format!("cannot remove {}", path.display()), &error))?;
    }
    Ok(())
}

fn print(change: &Change, check: bool, terminal: &mut Terminal) {
    if terminal.is_json() {
        let names = |paths: Vec<&PathBuf>| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        terminal.json(&serde_json::json!({
            "format": 1,
            "check": check,
            "written": names(change.write.keys().collect()),
            "removed": names(change.remove.iter().collect()),
        }));
        return;
    }
    let (written, removed) = if check { ("would write", "would remove") } else { ("wrote", "removed") };
    for path in change.write.keys() {
        terminal.data(Style::Plain, &format!("{written} {}", path.display()));
    }
    for path in &change.remove {
        terminal.data(Style::Plain, &format!("{removed} {}", path.display()));
    }
    if change.write.is_empty() && change.remove.is_empty() {
        terminal.message("every file is as it should be");
    }
}
