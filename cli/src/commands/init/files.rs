//! The one pass over the tree.

use std::path::{Path, PathBuf};

use gitmoor_core::{
    setup_conf::SetupConf,
    template::{Matcher, substitute},
};

use super::{
    arguments::{Arguments, Mode},
    diff,
    history::{History, Outcome},
    matcher_of_diff,
    report::{FileReport, Report},
    source, unsearchable,
};
use crate::{
    failure::Failure,
    git::Repository,
    terminal::Terminal,
    work_tree::{self, FileError, Step, WorkTree},
};

/// Substitutes in every file. What fails on one file is kept for the report; the others go on.
pub(super) fn initialise(
    conf: &SetupConf,
    tree: &WorkTree,
    history: Option<&mut History>,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Report, Failure> {
    let mode = arguments.mode();
    let shown = if mode == Mode::DryRun { Some(matcher_of_diff(conf, arguments).map_err(unsearchable)?) } else { None };
    let mut pass = Pass { matcher: conf.matcher().map_err(unsearchable)?, shown, history, mode, folder: None };
    let mut report = Report::new(conf, &source(arguments).example(), arguments);
    let mut text = Vec::new();
    for step in tree.walk() {
        match step {
            Step::Link => report.totals.links += 1,
            Step::Failed(error) => report.errors.push(error),
            Step::Abandoned(path) if mode == Mode::Write => {
                report.errors.extend(work_tree::remove_abandoned(&path).err());
            }
            Step::Abandoned(_) => {}
            Step::File(path) => match pass.file(&path, &mut text, terminal) {
                Ok(None) => report.totals.binary += 1,
                Ok(Some(file)) => report.add(file, conf),
                Err(error) => report.errors.push(error),
            },
        }
    }
    if let Some(history) = pass.history {
        report.forgotten.clone_from(&history.forgotten);
        let gone = |path: &String| format!("{path} is gone; if it lives on elsewhere, its values are not known there");
        report.warnings.extend(history.gone.iter().map(gone));
        report.found.extend(history.section.values.keys().chain(history.section.withheld.keys()).cloned());
    }
    report.finish(conf);
    Ok(report)
}

struct Pass<'h> {
    matcher: Matcher,
    /// What a diff shows in place of values.
    shown: Option<Matcher>,
    history: Option<&'h mut History>,
    mode: Mode,
    /// The folder of the last file, and how the repository calls it.
    folder: Option<(PathBuf, String)>,
}

/// A file as the repository has it. A walk goes folder by folder: each is looked up once.
fn relative(repository: &Repository, path: &Path, folder: &mut Option<(PathBuf, String)>) -> Option<String> {
    let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
    if folder.as_ref().is_none_or(|(known, _)| known != parent) {
        let real = repository.relative(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        *folder = Some((parent.to_owned(), real));
    }
    let (_, real) = folder.as_ref()?;
    Some(if real == "." { name.to_owned() } else { format!("{real}/{name}") })
}

impl Pass<'_> {
    /// Does one file. Gives `None` for a binary one; `text` holds its old content afterwards.
    fn file(
        &mut self,
        path: &Path,
        text: &mut Vec<u8>,
        terminal: &mut Terminal,
    ) -> Result<Option<FileReport>, FileError> {
        let Some(metadata) = work_tree::read(path, text)? else { return Ok(None) };
        let outcome = self.outcome(path, text);
        let changed = *outcome.text != **text;
        if changed && self.mode == Mode::Write {
            work_tree::replace(path, &metadata, &outcome.text)?;
        }
        if let Some(history) = &mut self.history {
            for replaced in &outcome.replaced {
                history.set(&replaced.token);
            }
        }
        let shown = outcome.shown.as_ref().filter(|_| changed);
        let diff = shown.and_then(|shown| diff::show(path, text, shown, terminal));
        let Outcome { text: _, shown: _, replaced, left_over, edited } = outcome;
        Ok(Some(FileReport::new(path, changed, self.mode, replaced, left_over, edited).with_diff(diff)))
    }

    fn outcome<'t>(&mut self, path: &Path, text: &'t [u8]) -> Outcome<'t> {
        if let Some(history) = &mut self.history
            && let Some(path) = relative(&history.repository, path, &mut self.folder)
        {
            return history.outcome(&path, text, self.shown.as_ref());
        }
        let mut outcome = Outcome::new(substitute(text, &self.matcher));
        outcome.shown = self.shown.as_ref().map(|shown| substitute(text, shown).text.into_owned());
        outcome
    }
}
