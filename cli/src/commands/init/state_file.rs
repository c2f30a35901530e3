//! The state in the user's work tree: reading it, and writing it after everything else.

use std::{fs, io, path::Path};

use gitmoor_core::init_state::{self, Initialised, State, Template};

use crate::{
    failure::{Exit, Failure},
    git::Repository,
    work_tree,
};

/// Reads the state of the repository; an empty one where there is none.
pub(crate) fn load(repository: &Repository) -> Result<State, Failure> {
    let path = repository.top().join(init_state::PATH);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(Failure::io(format!("cannot read {}", init_state::PATH), &error)),
    }
}

/// Understands the text of a state.
pub(crate) fn parse(text: &str) -> Result<State, Failure> {
    State::parse(text).map_err(|error| {
        let failure = Failure::new(Exit::Input, format!("{} is wrong; nothing was written", init_state::PATH));
        failure.because(&error).hint(
            "take the file from the last commit in which it was right, or make it anew with `gitmoor init SETUP_CONF --adopt`",
        )
    })
}

/// Writes it, where it changed, with the templates that it keeps. Gives the paths of all that is part of it.
pub(crate) fn save(
    repository: &Repository,
    old: &State,
    new: &State,
    kept: &[(String, Vec<u8>)],
) -> Result<Vec<String>, Failure> {
    let top = repository.top();
    if top.join(init_state::FOLDER).is_symlink() {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} is a symbolic link, which is not followed", init_state::FOLDER),
        ));
    }
    for (path, text) in kept {
        put(&top.join(init_state::TEMPLATES).join(path), text)?;
    }
    if old != new {
        let text = new.text().map_err(|error| Failure::new(Exit::Input, "cannot write the state").because(&error))?;
        put(&top.join(init_state::PATH), text.as_bytes())?;
    }
    for path in old.initialised.iter().flat_map(kept_paths) {
        if !new.initialised.iter().flat_map(kept_paths).any(|still| still == path) {
            remove_kept(&top.join(init_state::TEMPLATES), path);
        }
    }
    let mut paths = Vec::new();
    if top.join(init_state::PATH).exists() {
        paths.push(init_state::FOLDER.to_owned());
    }
    Ok(paths)
}

fn put(path: &Path, text: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Failure::io(format!("cannot make {}", folder.display()), &error))?;
    }
    work_tree::put(path, text).map_err(|error| Failure::io(error.to_string(), &error.source))
}

fn kept_paths(one: &Initialised) -> impl Iterator<Item = &String> {
    one.files.iter().filter(|(_, template)| **template == Template::Kept).map(|(path, _)| path)
}

/// A template that is no longer needed does no harm: that it cannot be removed is no error.
fn remove_kept(templates: &Path, path: &str) {
    let mut path = templates.join(path);
    let _ = fs::remove_file(&path);
    while path.pop() && path.starts_with(templates) && fs::remove_dir(&path).is_ok() {}
}
