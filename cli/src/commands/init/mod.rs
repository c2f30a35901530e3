//! `gitmoor init`: puts the values of a setup.conf into a distribution.

mod arguments;
mod diff;
mod report;

use std::path::{Path, PathBuf};

use gitmoor_core::{
    setup_conf::{Override, Place, Problems, SetupConf},
    template::{Matcher, TokensError, name, substitute},
};

pub(crate) use arguments::Arguments;

use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
    work_tree::{self, FileError, Step, WorkTree},
};
use arguments::Mode;
use report::{FileReport, Report};

/// Reads setup.conf, then substitutes in every file of the tree; says what was done.
///
/// Touches nothing unless the whole of setup.conf is right; then only files that change.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let conf = read_setup_conf(&arguments)?;
    refuse_secrets(&conf, &arguments)?;
    let tree = open_tree(&arguments)?;
    let report = initialise(&conf, &tree, &arguments, terminal)?;
    report.print(terminal);
    Ok(report.exit(arguments.allow_missing))
}

fn read_setup_conf(arguments: &Arguments) -> Result<SetupConf, Failure> {
    let path = &arguments.setup_conf;
    let text = std::fs::read(path).map_err(|error| {
        let failure = Failure::io(format!("cannot read {}", path.display()), &error);
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint("copy setup.conf.example and put your values in"),
            _ => failure,
        }
    })?;
    let overrides = overrides(arguments)?;
    SetupConf::parse(&text, &overrides).map_err(|problems| wrong(path, &problems))
}

fn wrong(path: &Path, Problems(problems): &Problems) -> Failure {
    let errors = if problems.len() == 1 { "an error".to_owned() } else { format!("{} errors", problems.len()) };
    let mut failure = if problems.iter().all(|problem| problem.place == Place::CommandLine) {
        Failure::new(Exit::Usage, format!("--set and --set-file have {errors}; nothing was written"))
    } else {
        Failure::new(Exit::Input, format!("{} has {errors}; nothing was written", path.display()))
    };
    failure.causes = problems.iter().map(|found| format!("{}: {}", place(path, found.place), found.kind)).collect();
    failure
}

fn overrides(arguments: &Arguments) -> Result<Vec<Override>, Failure> {
    let given = arguments.set.iter().map(|(name, value)| Ok(Override { name: name.clone(), value: value.clone() }));
    let from_files = arguments.set_file.iter().map(|(name, path)| {
        let mut value = std::fs::read_to_string(path)
            .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
        let line = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
        value.truncate(line.unwrap_or(value.len()));
        Ok(Override { name: name.clone(), value })
    });
    given.chain(from_files).collect()
}

/// The text with the comments that say what values should be: the example beside setup.conf, or where there
/// is none, setup.conf itself.
fn example(arguments: &Arguments) -> String {
    let beside = arguments.setup_conf.with_file_name("setup.conf.example");
    let text = std::fs::read_to_string(beside).or_else(|_| std::fs::read_to_string(&arguments.setup_conf));
    // Without it fewer values are checked; nothing else depends on it.
    text.unwrap_or_default()
}

/// `setup.conf:3:1`, or where else a value came from.
fn place(setup_conf: &Path, place: Place) -> String {
    match place {
        Place::File(position) => format!("{}:{position}", setup_conf.display()),
        Place::CommandLine => place.to_string(),
    }
}

fn refuse_secrets(conf: &SetupConf, arguments: &Arguments) -> Result<(), Failure> {
    let secrets = conf.secret_values();
    if arguments.allow_secret_values || secrets.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Exit::Refused,
        "values that look like secrets would be committed with the files they are put into; nothing was written",
    )
    .hint("keep secrets in AWS Secrets Manager or Parameter Store, and only their names here")
    .hint("--allow-secret-values if it is none");
    failure.causes = secrets
        .iter()
        .map(|(entry, kind)| {
            format!("{}: the value of {} looks like {kind}", place(&arguments.setup_conf, entry.place), entry.token)
        })
        .collect();
    Err(failure)
}

/// The files to look at. setup.conf itself and the example beside it stay what they are, also when they
/// lie in a folder that was named.
fn open_tree(arguments: &Arguments) -> Result<WorkTree, Failure> {
    let mut tree = WorkTree::open(&arguments.distribution, &arguments.also).map_err(|error| {
        let failure = failed(&error);
        match error.source.kind() {
            std::io::ErrorKind::NotFound => {
                failure.hint("run gitmoor in the top folder of your fork, or name the folder with --distribution")
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

/// The one pass over the tree. What fails on one file is kept for the report; the others go on.
fn initialise(
    conf: &SetupConf,
    tree: &WorkTree,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Report, Failure> {
    let mode = arguments.mode();
    let matcher = conf.matcher().map_err(unsearchable)?;
    let shown = matcher_of_diff(conf, arguments).map_err(unsearchable)?;
    let lock = if mode == Mode::Write { Some(tree.lock().map_err(|error| failed(&error))?) } else { None };
    let mut report = Report::new(conf, &example(arguments), arguments);
    let mut text = Vec::new();
    for step in tree.walk() {
        match step {
            Step::Link => report.totals.links += 1,
            Step::Failed(error) => report.errors.push(error),
            Step::Abandoned(path) if mode == Mode::Write => {
                report.errors.extend(work_tree::remove_abandoned(&path).err());
            }
            Step::Abandoned(_) => {}
            Step::File(path) => match initialise_file(&path, &mut text, &matcher, mode) {
                Ok(None) => report.totals.binary += 1,
                Ok(Some(mut file)) => {
                    if mode == Mode::DryRun && file.changed {
                        file.diff = diff::show(&path, &text, &substitute(&text, &shown).text, terminal);
                    }
                    report.add(file, conf);
                }
                Err(error) => report.errors.push(error),
            },
        }
    }
    drop(lock);
    report.finish(conf);
    Ok(report)
}

/// Substitutes in one file. Gives `None` for a binary one; `text` holds its old content afterwards.
fn initialise_file(
    path: &Path,
    text: &mut Vec<u8>,
    matcher: &Matcher,
    mode: Mode,
) -> Result<Option<FileReport>, FileError> {
    let Some(metadata) = work_tree::read(path, text)? else { return Ok(None) };
    let result = substitute(text, matcher);
    let changed = *result.text != **text;
    if changed && mode == Mode::Write {
        work_tree::replace(path, &metadata, &result.text)?;
    }
    Ok(Some(FileReport::new(path, changed, mode, result.replaced, result.left_over)))
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

fn unsearchable(error: TokensError) -> Failure {
    Failure::new(Exit::Input, "cannot search for the names of setup.conf").because(&error)
}

/// How a path is shown: without the `./` of a folder that was named so.
fn display(path: &Path) -> String {
    let shown: PathBuf = path.components().collect();
    shown.strip_prefix("./").unwrap_or(&shown).display().to_string()
}
