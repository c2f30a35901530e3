//! `gitmoor credentials`: from `credentials.yaml` to sealed files.
//!
//! ```text
//! read -> plan -> certificate -> generate and seal (in memory) -> plain values (in memory) -> write -> report
//! ```
//!
//! Everything is complete before the first file is written.

mod arguments;
mod given;
mod plain;
mod report;
mod sealed;
mod show;

use std::collections::BTreeSet;
use std::path::PathBuf;

use gitmoor_core::{
    credentials::{
        Credentials, GenerateError, Plan, PlanError, Problem, Request, SecretDeclaration, Situation, SystemRandom,
        Values, plan,
    },
    seal::Certificate,
};

pub(crate) use arguments::Arguments;

use crate::{
    commands::seal::find_certificate,
    distribution::Distribution,
    failure::{Exit, Failure},
    terminal::Terminal,
    work_tree::{self, WorkTree},
};
use report::Report;

/// The declarations, below the distribution.
const FILE: &str = "credentials.yaml";

/// A file that is complete and not written yet.
struct NewFile {
    path: PathBuf,
    text: String,
}

/// Generates, seals and writes what is missing or to be renewed.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let distribution = Distribution::open(&arguments.distribution, arguments.setup_conf.as_deref())?;
    let credentials = read(&arguments, &distribution)?;
    let given = given::read(&arguments, &credentials, terminal)?;
    let (situation, old) = sealed::situation(&credentials, active(&credentials, &distribution)?, &distribution)?;
    let request = arguments.request();
    let plan = plan(&credentials, &situation, &given, &request).map_err(|errors| no_plan(&errors))?;
    if let (Request::Rotate(names), true) = (&request, plan.write.is_empty()) {
        terminal.warning(&format!("nothing is renewed: no Secret that is selected holds {}", names.join(", ")));
    }
    if arguments.check {
        let report = Report::new(&credentials, &situation, &plan, &distribution, Vec::new(), &request);
        report.print(true, terminal);
        return Ok(if plan.write.is_empty() { Exit::Done } else { Exit::Findings });
    }
    let now = jiff::Timestamp::now();
    let certificate = certificate(&arguments, &plan, terminal)?;
    let shown = credentials.shown(&plan.renewed);
    show::refuse_nowhere(&shown, arguments.show_once_to.as_deref(), terminal)?;
    let lock = lock(&arguments)?;

    let mut random = SystemRandom;
    let mut values = Values::new(&credentials, &given, &mut random, now.as_second());
    let mut files = match &certificate {
        Some(key) => sealed::files(&credentials, &plan, old, &mut values, key, now, &distribution)?,
        None => Vec::new(),
    };
    let plain = plain::files(&credentials, &given, &mut values, &distribution)?;
    let plain_paths = plain.iter().map(|file| file.path.clone()).collect();
    files.extend(plain);

    let shown = values.shown();
    show::write(&shown, arguments.show_once_to.as_deref())?;
    if !shown.is_empty() {
        show::warn_of_repository(arguments.show_once_to.as_deref(), terminal);
    }
    write(&files)?;
    drop(lock);
    Report::new(&credentials, &situation, &plan, &distribution, plain_paths, &request).print(false, terminal);
    if arguments.show_once_to.is_none() {
        show::print(&values.shown(), terminal);
    }
    Ok(Exit::Done)
}

fn write(files: &[NewFile]) -> Result<(), Failure> {
    for NewFile { path, text } in files {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::io(format!("cannot make {}", folder.display()), &error))?;
        }
        work_tree::put(path, text.as_bytes()).map_err(|error| Failure::io(error.to_string(), &error.source))?;
    }
    Ok(())
}

fn read(arguments: &Arguments, distribution: &Distribution) -> Result<Credentials, Failure> {
    let path = arguments.distribution.join(FILE);
    let text = distribution.text(FILE)?.ok_or_else(|| {
        Failure::new(Exit::Rejected, format!("{} is not there", path.display()))
            .hint("run gitmoor in your fork, or name the folder with --distribution")
    })?;
    let beside = |file: &str| match distribution.text(file) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("{file} is not there")),
        Err(failure) => Err(failure.message),
    };
    Credentials::read(&text, &beside).map_err(|problems| {
        let mut failure = Failure::new(Exit::Rejected, format!("{} is wrong; nothing was written", path.display()));
        failure.causes = problems.iter().map(|problem| described(&path.display().to_string(), problem)).collect();
        failure
    })
}

fn described(file: &str, Problem { path, reason }: &Problem) -> String {
    if path.is_empty() { format!("{file}: {reason}") } else { format!("{file}: {path}: {reason}") }
}

/// The Secrets of what is deployed.
fn active(credentials: &Credentials, distribution: &Distribution) -> Result<BTreeSet<usize>, Failure> {
    let selected = distribution.selected()?;
    let indices = credentials.secrets.iter().enumerate().filter(|(_, secret)| {
        let SecretDeclaration { applications, environment, .. } = secret;
        let is_here = match (environment, &credentials.environment) {
            (Some(wanted), Some(here)) => wanted == here,
            _ => true,
        };
        is_here && (applications.is_empty() || applications.iter().any(|name| selected.contains(name)))
    });
    Ok(indices.map(|(index, _)| index).collect())
}

fn no_plan(errors: &[PlanError]) -> Failure {
    let first = errors.first();
    let mut failure = match first {
        Some(PlanError::Shared { .. }) => {
            Failure::new(Exit::Refused, "a value that is needed is sealed already; nothing was written")
                .hint("renew it everywhere with --rotate NAME, or give it again")
        }
        Some(PlanError::NotGiven { .. }) => {
            Failure::new(Exit::Rejected, "values that only you know are not given; nothing was written")
        }
        _ => Failure::new(Exit::Usage, "there is nothing of that name to renew"),
    };
    failure.causes = errors.iter().map(ToString::to_string).collect();
    failure
}

/// What to seal with; not looked for when there is nothing to seal.
fn certificate(arguments: &Arguments, plan: &Plan, terminal: &mut Terminal) -> Result<Option<Certificate>, Failure> {
    if plan.write.is_empty() {
        return Ok(None);
    }
    find_certificate(&arguments.certificate, terminal).map(Some).map_err(|failure| Failure {
        exit: Exit::Rejected,
        ..failure.hint("nothing was generated; pin the controller's certificate with `gitmoor seal --pin-cert`")
    })
}

fn not_made((name, error): (String, GenerateError)) -> Failure {
    Failure::new(Exit::Rejected, format!("cannot make the value {name}; nothing was written")).because(&error)
}

fn lock(arguments: &Arguments) -> Result<work_tree::Lock, Failure> {
    let failed = |error: work_tree::FileError| Failure::io(error.to_string(), &error.source);
    WorkTree::open(std::slice::from_ref(&arguments.distribution), &[]).and_then(|tree| tree.lock()).map_err(failed)
}

/// Whether what is there has to change at all.
fn is_renewal(request: &Request, plan: &Plan, situation: &Situation) -> bool {
    *request != Request::Missing && plan.write.keys().any(|secret| situation.sealed.contains_key(secret))
}
