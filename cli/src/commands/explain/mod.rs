//! `gitmoor explain`: why an Application is not as it should be.

mod agent;
mod blame;
mod gather;
mod reads;

use futures::future::join;
use gitmoor_core::explain::{Cause, Facts, Finding, explain};
use gitmoor_core::recorded::Recorded;
use gitmoor_core::view::{ApplicationView, ViewedResource, short_commit, short_revision};
use serde_json::{Value, json};

pub(crate) use agent::why_silent;

use crate::{
    age::age,
    cluster::{Connection, Target, complete_applications},
    failure::{Exit, Failure},
    fork::Fork,
    terminal::{Style, Terminal},
};

/// Says why an Application is not as it should be, and what to do
///
/// The root cause in one sentence; then what shows it: conditions, objects, events, the last words of containers, and
/// in a clone of the repository the commit and its author; then what to do. Exit status 1 when something is not as it should be:
/// to be suspended, and otherwise well, is not.
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
    let fork = Fork::here();
    let (facts, mut findings, repositories) = connection.wait(async {
        let object = connection.application(&arguments.name).await?;
        let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
        let gathered = gather::explained(&connection, object, fork.as_ref());
        let (gathered, repositories) = join(gathered, connection.repositories_of(&view)).await;
        gathered.map(|(facts, findings)| (facts, findings, repositories))
    })?;
    if let Some(first) = findings.iter_mut().find(|finding| finding.cause == Cause::NoAgent) {
        let why = connection.wait(async {
            let follower = connection.agent_of(&facts.view.key().namespace).await;
            // One that works is no riddle.
            if follower.leaves_out { None } else { why_silent(&connection, &follower.namespaces).await }
        });
        why.into_iter().for_each(|why| agent::told(first, why));
    }
    let revision = facts.view.revision();
    let view = &facts.view;
    if terminal.is_json() {
        terminal.json(&json!({
            "application": view.key().name, "sync": view.sync(), "health": view.health(), "revision": revision,
            "repositories": repositories, "findings": findings,
        }));
    } else {
        print(&state(&facts, &findings), &findings, terminal);
        section("seen by the agent", repositories.iter().flat_map(seen), terminal);
    }
    Ok(if findings.iter().all(|finding| finding.cause.is_wanted()) { Exit::Done } else { Exit::Findings })
}

/// What explains an Application.
pub(crate) async fn of_application(connection: &Connection, object: Value) -> Result<Vec<Finding>, Failure> {
    Ok(gather::explained(connection, object, None).await?.1)
}

/// What explains some objects that belong to no Application yet.
pub(crate) async fn of_objects(connection: &Connection, objects: &[ViewedResource]) -> Vec<Finding> {
    explain(&gather::objects(connection, objects).await)
}

/// The state, in a line that the first finding goes on.
fn state(facts: &Facts, findings: &[Finding]) -> String {
    let (name, view) = (facts.name(), &facts.view);
    let revision = short_revision(&view.revision());
    let at = if revision.is_empty() { String::new() } else { format!(" at {revision}") };
    let words = format!("{} and {}{at}", view.sync(), view.health());
    match findings.first().map(|first| first.cause) {
        None => format!("{name} is {words}; there is nothing to explain"),
        Some(Cause::NoAgent) if view.is_seen() => format!("{name} was {words} when an agent looked last, but"),
        Some(Cause::NoAgent) => format!("nobody has looked at {name} yet:"),
        Some(_) if view.is_leaving() => format!("{name} is on its way out, and not gone yet:"),
        Some(cause) if cause.is_wanted() => format!("{name} is {words};"),
        Some(_) if view.is_fine() => format!("{name} is {words}, but"),
        Some(_) => format!("{name} is {words}, because"),
    }
}

fn print(state: &str, findings: &[Finding], terminal: &mut Terminal) {
    let Some((first, others)) = findings.split_first() else {
        terminal.data(Style::Green, state);
        return;
    };
    terminal.data(Style::Plain, state);
    terminal.data(Style::Bold, &format!("  {}", first.sentence));
    section("evidence", first.evidence.iter().map(|one| format!("{:<10} {}", one.what, one.text)), terminal);
    section("what to do", first.remedy.iter().cloned(), terminal);
    section("also", others.iter().map(|finding| finding.sentence.clone()), terminal);
}

/// Which commits of a repository the agent knows. One that changes nothing of an Application is not its revision.
fn seen(recorded: &Recorded) -> impl Iterator<Item = String> {
    let since = age(&recorded.since).map(|age| format!(", since {age} ago")).unwrap_or_default();
    recorded.revisions.iter().map(move |(revision, commit)| {
        format!("{} of {} at {}{since}", short_commit(revision), recorded.repo_url, short_commit(commit))
    })
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
