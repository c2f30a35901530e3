//! `gitmoor init`: puts the values of a setup.conf into a distribution.
//!
//! In a Git repository it leaves a state behind ([`gitmoor_core::init_state`]): for each file in which
//! placeholders stood the blob that holds its template, and the values. By these a later run finds the
//! places where a value stands in the files as they are then, and puts another one there; what the user
//! has edited is not touched. The state is written last: a run that was killed is completed by the next,
//! which knows the files that are done already by the templates in the last commit.
//!
//! Where there is no repository there is no state, and a value can be put in once.

mod adopt;
mod arguments;
mod commit;
pub(crate) mod conf;
mod diff;
mod files;
pub(crate) mod history;
mod protect;
mod report;
mod selection;
pub(crate) mod state_file;
pub(crate) mod templates;

use std::path::{Path, PathBuf};

use gitmoor_core::{
    init_state::{self, State},
    setup_conf::SetupConf,
    template::{Matcher, TokensError, name},
};

pub(crate) use arguments::{Arguments, pair};

use crate::{
    failure::{Exit, Failure},
    fork_folder::of_fork,
    git::Repository,
    made_up::left_as_in_example,
    reach::files_that_are_read,
    terminal::Terminal,
    work_tree::{FileError, WorkTree},
};
use arguments::Mode;
use conf::Source;
use history::{History, Scope, from_here};
use report::Report;

/// Reads setup.conf, then substitutes in every file of the tree; says what was done.
///
/// Touches nothing unless the whole of setup.conf is right; then only files that change.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let source = source(&arguments);
    let conf = source.read()?;
    source.refuse_secrets(&conf, arguments.allow_secret_values)?;
    if arguments.adopt {
        return adopt::run(&conf, &arguments, terminal);
    }
    let Opened { tree, folders, mut history } = open(&conf, &arguments)?;
    selection::refuse_dead_ends(&conf, &folders, &mut history, &arguments)?;
    let lock = if arguments.mode() == Mode::Write { Some(tree.lock().map_err(|error| failed(&error))?) } else { None };
    if let (Some(history), Mode::Write, false) = (&mut history, arguments.mode(), arguments.force) {
        protect::refuse_to_overwrite(history)?;
    }
    let mut report = files::initialise(&conf, &tree, history.as_mut(), &arguments, terminal)?;
    if report.has_left_over() {
        set_apart_what_is_off(&mut report, &conf, &folders)?;
    }
    report.take_made_up(&left_as_in_example(&conf, &arguments.setup_conf, &folders));
    let again = history.as_ref().is_some_and(|history| history.repository.top().join(init_state::PATH).exists());
    let written = match &mut history {
        Some(history) if arguments.mode() == Mode::Write && report.errors.is_empty() => {
            let mut written = record(history)?;
            if arguments.commit {
                written.extend(history.uncommitted_work());
            }
            written
        }
        _ => Vec::new(),
    };
    drop(lock);
    report.print(terminal);
    if let (true, Mode::Write, Some(root)) = (again, arguments.mode(), report.written().find(|path| is_root(path))) {
        terminal
            .message(&format!("{root} is not among what the agent follows: when it is pushed, run gitmoor bootstrap"));
    }
    if let (true, Some(history)) = (arguments.commit && report.errors.is_empty(), &history) {
        commit::commit(&history.repository, &report, written, &arguments, terminal)?;
    }
    Ok(report.exit(arguments.allow_missing))
}

/// Whether a file holds the root Application, which `gitmoor bootstrap` applies.
fn is_root(path: &str) -> bool {
    Path::new(path).file_name().is_some_and(|name| name == "platform.yaml")
}

/// A component that is off needs no values: only what the agent will read does. Where that cannot be told, everything does.
fn set_apart_what_is_off(report: &mut Report, conf: &SetupConf, folders: &[PathBuf]) -> Result<(), Failure> {
    let matcher = conf.matcher().map_err(unsearchable)?;
    for folder in folders {
        let Ok(folder) = folder.canonicalize() else { continue };
        if let Some(read) = files_that_are_read(&folder, &matcher) {
            report.set_apart(|path| {
                path.canonicalize().map_or(true, |path| !path.starts_with(&folder) || read.contains(&path))
            });
        }
    }
    Ok(())
}

fn source(arguments: &Arguments) -> Source<'_> {
    Source { path: &arguments.setup_conf, set: &arguments.set, set_file: &arguments.set_file }
}

/// Writes the state; gives the paths that belong to it.
fn record(history: &mut History) -> Result<Vec<String>, Failure> {
    let state = history.finish();
    let kept: Vec<_> = std::mem::take(&mut history.kept).into_iter().collect();
    state_file::save(&history.repository, &history.state, &state, &kept)
}

/// The files to look at.
struct Opened {
    tree: WorkTree,
    folders: Vec<PathBuf>,
    /// What is known about them where they are in a Git repository.
    history: Option<History>,
}

fn open(conf: &SetupConf, arguments: &Arguments) -> Result<Opened, Failure> {
    let named =
        if arguments.distribution.is_empty() { vec![of_fork("distribution")] } else { arguments.distribution.clone() };
    let around = Repository::around(named.first().map_or(Path::new("."), PathBuf::as_path))?;
    let Some(repository) = around else {
        let tree = open_tree(&named, &arguments.also, arguments)?;
        return Ok(Opened { tree, folders: named, history: None });
    };
    let mut state = state_file::load(&repository)?;
    let setup_conf = setup_conf_in(&repository, &arguments.setup_conf);
    succeed(&mut state, &repository, &named, &setup_conf)?;
    let known = state.initialised.iter().find(|one| one.setup_conf == setup_conf);
    let mut folders = if known.is_some() { arguments.distribution.clone() } else { named };
    let mut also = arguments.also.clone();
    if let Some(known) = known {
        let again = |paths: &[String], named: &mut Vec<PathBuf>| {
            let there = paths.iter().map(|path| from_here(&repository, path)).filter(|path| path.exists());
            named.extend(there.collect::<Vec<_>>());
        };
        again(&known.folders, &mut folders);
        again(&known.also, &mut also);
    }
    let tree = open_tree(&folders, &also, arguments)?;
    let inside =
        |paths: &[PathBuf]| -> Vec<String> { paths.iter().filter_map(|path| repository.relative(path)).collect() };
    let scope = Scope { setup_conf, folders: inside(&folders), also: inside(&also) };
    let history = History::open(repository, state, scope, conf, &arguments.was)?;
    Ok(Opened { tree, folders, history: Some(history) })
}

/// Folders that were initialised from another setup.conf: this one would not find a place in them. It is the other one's
/// successor when that is gone: then it was renamed.
///
/// # Errors
/// When the other one is still there.
fn succeed(state: &mut State, repository: &Repository, named: &[PathBuf], own: &str) -> Result<(), Failure> {
    if state.initialised.iter().any(|one| one.setup_conf == own) {
        return Ok(());
    }
    let named: Vec<String> = named.iter().filter_map(|path| repository.relative(path)).collect();
    let mut others = state.initialised.iter_mut();
    let Some(other) = others.find(|one| one.folders.iter().any(|folder| named.contains(folder))) else {
        return Ok(());
    };
    let before = &other.setup_conf;
    if repository.top().join(before).exists() {
        let failure = format!("these files were initialised from {before}, and not from {own}");
        return Err(Failure::new(Exit::Refused, failure)
            .hint(format!("put the values into {before}, and run gitmoor init {before}"))
            .hint(format!("or give {own} that name")));
    }
    own.clone_into(&mut other.setup_conf);
    Ok(())
}

/// How the state names a setup.conf: by its path in the repository, or one outside of it by its name.
pub(crate) fn setup_conf_in(repository: &Repository, path: &Path) -> String {
    let name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    repository.relative(path).unwrap_or_else(name)
}

/// setup.conf itself and the example beside it stay what they are, also when they lie in a folder that was
/// named.
fn open_tree(folders: &[PathBuf], also: &[PathBuf], arguments: &Arguments) -> Result<WorkTree, Failure> {
    let mut tree = WorkTree::open(folders, also).map_err(|error| {
        let failure = failed(&error);
        match error.source.kind() {
            std::io::ErrorKind::NotFound => {
                failure.hint("run gitmoor in your fork, or name the folder with --distribution")
            }
            _ => failure,
        }
    })?;
    tree.exclude(&arguments.setup_conf);
    for name in ["setup.conf", "setup.conf.example"] {
        tree.exclude(&arguments.setup_conf.with_file_name(name));
    }
    Ok(tree)
}

fn failed(error: &FileError) -> Failure {
    Failure::io(error.to_string(), &error.source)
}

/// For a diff: without `--show-values` it says whose value stands in a place, not which.
fn matcher_of_diff(conf: &SetupConf, arguments: &Arguments) -> Result<Matcher, TokensError> {
    if arguments.show_values {
        return conf.matcher();
    }
    let masked: Vec<(&str, String)> = conf
        .entries()
        .iter()
        .map(|entry| (entry.token.as_str(), format!("[value of {}]", name(&entry.token))))
        .collect();
    Matcher::new(masked.iter().map(|(token, value)| (*token, value.as_str())))
}

pub(crate) fn unsearchable(error: TokensError) -> Failure {
    Failure::new(Exit::Input, "cannot search for the names of setup.conf").because(&error)
}

/// How a path is shown: without the `./` of a folder that was named so.
fn display(path: &Path) -> String {
    let shown: PathBuf = path.components().collect();
    shown.strip_prefix("./").unwrap_or(&shown).display().to_string()
}
