//! Values in the paths of what is selected, such as the environment: they have to lead somewhere.

use std::path::{Path, PathBuf};

use gitmoor_core::{
    closure::KUSTOMIZATION_FILES,
    selection::{DeadEnd, dead_ends},
    setup_conf::{Place, SetupConf},
    template::Matcher,
};
use gitmoor_engine::work_folder::WorkFolder;

use super::{Arguments, conf::place, history::History, unsearchable};
use crate::failure::{Exit, Failure};

/// Stops where a value names no folder or file, and others would.
pub(super) fn refuse_dead_ends(
    conf: &SetupConf,
    folders: &[PathBuf],
    history: &mut Option<History>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let matcher = conf.matcher().map_err(unsearchable)?;
    let found: Vec<DeadEnd> = folders.iter().flat_map(|folder| of_folder(folder, history, &matcher)).collect();
    if found.is_empty() {
        return Ok(());
    }
    let path = &arguments.setup_conf;
    let message = format!("{} has values that name nothing; nothing was written", path.display());
    let mut failure = Failure::new(Exit::Input, message).hint(
        "take one of these; or make what the value is to name first, such as the folder of an environment of your own",
    );
    failure.causes = found
        .iter()
        .map(|DeadEnd { token, folder, choices }| {
            let entry = conf.entries().iter().find(|entry| entry.token == *token);
            let at = place(path, entry.map_or(Place::CommandLine, |entry| entry.place));
            format!("{at}: the value of {token} names nothing in {folder}, where there are: {}", choices.join(", "))
        })
        .collect();
    Err(failure)
}

/// What cannot be read is told where it is needed.
fn of_folder(folder: &Path, history: &mut Option<History>, matcher: &Matcher) -> Vec<DeadEnd> {
    let Ok((tree, top)) = WorkFolder::around(folder) else { return Vec::new() };
    let text = KUSTOMIZATION_FILES.iter().find_map(|name| {
        let path = folder.join(name);
        let text = std::fs::read(&path).ok()?;
        let history = history.as_mut().and_then(|history| Some((history.repository.relative(&path)?, history)));
        Some(history.map_or_else(|| text.clone(), |(path, history)| history.template_of(&path, &text)))
    });
    let text = text.and_then(|text| String::from_utf8(text).ok());
    text.map(|text| dead_ends(&tree, &top, &text, matcher)).unwrap_or_default()
}
