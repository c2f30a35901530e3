//! `gitmoor explain`: why an Application is not as it should be.

mod agent;
mod gather;

use gitmoor_core::explain::{Cause, Finding, explain};
use gitmoor_core::view::{ViewedResource, short_revision};
use serde_json::{Value, json};

pub(crate) use agent::why_silent;

use crate::{
    age::age,
    cluster::{Connection, Target, complete_applications},
    failure::{Exit, Failure},
    fork::{Commit, Fork},
    terminal::{Style, Terminal},
};

/// Says why an Application is not as it should be, and what to do
///
/// The root cause in one sentence; then what shows it: conditions, objects, events, the last words of containers, and
/// in a clone of the repository the commit and its author; then what to do. Exit status 1 when there is something to say.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor explain mlflow
  # The Applications below it are looked at too
  gitmoor explain platform")]
pub(crate) struct Arguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Gathers, explains, prints.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let facts = connection.wait(async {
        let object = connection.application(&arguments.name).await?;
        gather::facts(&connection, object).await
    })?;
    let mut findings = explain(&facts);
    if let Some(first) = findings.iter_mut().find(|finding| finding.cause == Cause::NoAgent) {
        let why = connection.wait(why_silent(&connection, &facts.view.key().namespace));
        why.into_iter().for_each(|why| agent::told(first, why));
    }
    let revision = facts.view.revision();
    let path = facts.source("path").to_owned();
    // What came after the commit of the status is what cannot be compared.
    let newer = (facts.view.sync() == "Unknown").then(|| facts.follows());
    blame(&mut findings, &revision, newer, &path);
    let (name, view) = (facts.name(), &facts.view);
    let state = format!("{name} is {} and {}", view.sync(), view.health());
    if terminal.is_json() {
        terminal.json(&json!({
            "application": name, "sync": view.sync(), "health": view.health(), "revision": revision, "findings": findings,
        }));
    } else {
        print(&state, &short_revision(&revision), &findings, terminal);
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Findings })
}

/// What explains an Application.
pub(crate) async fn of_application(connection: &Connection, object: Value) -> Result<Vec<Finding>, Failure> {
    Ok(explain(&gather::facts(connection, object).await?))
}

/// What explains some objects that belong to no Application yet.
pub(crate) async fn of_objects(connection: &Connection, objects: &[ViewedResource]) -> Vec<Finding> {
    explain(&gather::objects(connection, objects).await)
}

/// Adds who changed last what the findings are about, where this is a clone of the repository. Everything else of an
/// Application stands in its folder. `newer`: the branch that it follows, where that is what the findings are about.
fn blame(findings: &mut [Finding], revision: &str, newer: Option<&str>, path: &str) {
    let Some(fork) = Fork::here() else { return };
    // A clone of another repository does not have it. Without a revision, what is here is as good as anything.
    let known = fork.newest(revision);
    let at = match (known, newer) {
        (None, _) if !revision.is_empty() => return,
        (known, Some(branch)) => fork.head_of(branch, known.as_deref()),
        (known, None) => known.unwrap_or_else(|| "HEAD".to_owned()),
    };
    let at = at.as_str();
    for (position, finding) in findings.iter_mut().enumerate() {
        let files = std::mem::take(&mut finding.files);
        let whole =
            if files.is_empty() && position == 0 && !path.is_empty() { vec![path.to_owned()] } else { Vec::new() };
        for file in files.iter().chain(&whole) {
            if let Some(commit) = fork.last_change(at, file) {
                *finding = finding.clone().shown_by("commit", told(&commit, file));
            }
        }
        finding.files = files;
    }
}

fn told(commit: &Commit, file: &str) -> String {
    let Commit { id, author, date, subject } = commit;
    let ago = age(date).map(|age| format!(", {age} ago")).unwrap_or_default();
    format!("{file} was changed last in {id} by {author}{ago}: {subject}")
}

fn print(state: &str, revision: &str, findings: &[Finding], terminal: &mut Terminal) {
    let at = if revision.is_empty() { String::new() } else { format!(" at {revision}") };
    let Some((first, others)) = findings.split_first() else {
        terminal.data(Style::Green, &format!("{state}{at}; there is nothing to explain"));
        return;
    };
    terminal.data(Style::Plain, &format!("{state}{at}, because"));
    terminal.data(Style::Bold, &format!("  {}", first.sentence));
    section("evidence", first.evidence.iter().map(|one| format!("{:<10} {}", one.what, one.text)), terminal);
    section("what to do", first.remedy.iter().cloned(), terminal);
    section("also", others.iter().map(|finding| finding.sentence.clone()), terminal);
}

fn section(name: &str, lines: impl Iterator<Item = String>, terminal: &mut Terminal) {
    for (position, line) in lines.enumerate() {
        if position == 0 {
            terminal.data(Style::Plain, "");
            terminal.data(Style::Cyan, name);
        }
        terminal.data(Style::Plain, &format!("  {line}"));
    }
}
