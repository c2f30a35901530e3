//! The one pass over the tree.

use std::{
    fs::Metadata,
    mem,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

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
    let mut pass =
        Pass { matcher: conf.matcher().map_err(unsearchable)?, shown, history, mode, text: Vec::new(), folder: None };
    let mut report = Report::new(conf, &source(arguments).example(), arguments);
    // Some files are read while those before are written.
    let (found, finds) = mpsc::sync_channel::<Vec<Find>>(1);
    thread::scope(|scope| {
        let report = &mut report;
        scope.spawn(move || finds.into_iter().flatten().for_each(|find| find.finish(report, conf)));
        let mut batch = Vec::new();
        let mut bytes = 0;
        for step in tree.walk() {
            let find = match step {
                Step::Link => Find::Link,
                Step::Failed(error) => Find::Failed(error),
                Step::Abandoned(path) if mode == Mode::Write => Find::Abandoned(path),
                Step::Abandoned(_) => continue,
                Step::File(path) => pass.file(path, terminal),
            };
            bytes += find.bytes();
            batch.push(find);
            if batch.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
                bytes = 0;
                // The other side ends only after this one.
                let _ = found.send(mem::take(&mut batch));
            }
        }
        let _ = found.send(batch);
        drop(found);
    });
    if let Some(history) = pass.history {
        report.forgotten.clone_from(&history.forgotten);
        let gone = |path: &String| format!("{path} is gone; if it lives on elsewhere, its values are not known there");
        report.warnings.extend(history.gone.iter().map(gone));
        report.found.extend(history.section.values.keys().chain(history.section.withheld.keys()).cloned());
    }
    report.finish(conf);
    Ok(report)
}

/// Most files that are handed over at once. To wake the other side for each costs more than to write it.
const BATCH_FILES: usize = 256;
/// New content that is handed over at once, at the least.
const BATCH_BYTES: usize = 512 << 10;

/// What was found on the way, in order.
enum Find {
    Link,
    Binary,
    Failed(FileError),
    /// New content that a killed run could not put in place.
    Abandoned(PathBuf),
    File(Box<Found>),
}

struct Found {
    path: PathBuf,
    /// Its new content, and what describes the old.
    write: Option<(Metadata, Vec<u8>)>,
    report: FileReport,
}

impl Find {
    /// What it holds to be written.
    fn bytes(&self) -> usize {
        match self {
            Self::File(file) => file.write.as_ref().map_or(0, |(_, text)| text.len()),
            _ => 0,
        }
    }

    /// Writes what is to be written, and takes it up in the report.
    fn finish(self, report: &mut Report, conf: &SetupConf) {
        let done = match self {
            Self::Link => {
                report.totals.links += 1;
                Ok(())
            }
            Self::Binary => {
                report.totals.binary += 1;
                Ok(())
            }
            Self::Failed(error) => Err(error),
            Self::Abandoned(path) => work_tree::remove_abandoned(&path),
            Self::File(file) => {
                let Found { path, write, report: file } = *file;
                let write = write.map_or(Ok(()), |(metadata, text)| work_tree::replace(&path, &metadata, &text));
                write.map(|()| report.add(file, conf))
            }
        };
        report.errors.extend(done.err());
    }
}

struct Pass<'h> {
    matcher: Matcher,
    /// What a diff shows in place of values.
    shown: Option<Matcher>,
    history: Option<&'h mut History>,
    mode: Mode,
    /// The last file as it was; kept for its memory.
    text: Vec<u8>,
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
    /// Reads one file and substitutes in it.
    fn file(&mut self, path: PathBuf, terminal: &mut Terminal) -> Find {
        let metadata = match work_tree::read(&path, &mut self.text) {
            Ok(Some(metadata)) => metadata,
            Ok(None) => return Find::Binary,
            Err(error) => return Find::Failed(error),
        };
        let text = mem::take(&mut self.text);
        let outcome = self.outcome(&path, &text);
        let changed = *outcome.text != *text;
        if let Some(history) = &mut self.history {
            for replaced in &outcome.replaced {
                history.set(&replaced.token);
            }
        }
        let shown = outcome.shown.as_ref().filter(|_| changed);
        let diff = shown.and_then(|shown| diff::show(&path, &text, shown, terminal));
        let Outcome { text: new, shown: _, replaced, left_over, edited } = outcome;
        let write = (changed && self.mode == Mode::Write).then(|| (metadata, new.into_owned()));
        let report = FileReport::new(&path, changed, self.mode, replaced, left_over, edited).with_diff(diff);
        self.text = text;
        Find::File(Box::new(Found { path, write, report }))
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
