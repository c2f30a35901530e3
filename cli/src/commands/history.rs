//! `gitmoor history` and `gitmoor rollback`: what was rolled out, and back to it.

use gitmoor_core::{
    status::Revision,
    view::{one_line, short_revision},
};
use serde_json::{Value, json};

use super::{
    suspend::{is_kept_by_another, switch},
    sync::{Outcome, Wait, may_go_elsewhere},
};
use crate::{
    age::age,
    cluster::{Connection, Target, address, complete_applications, name_of},
    failure::{Exit, Failure},
    fork::Fork,
    table::Table,
    terminal::{Style, Terminal},
};

/// Lists what was rolled out, the newest first
///
/// In a clone of the repository it says who changed what with each commit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor history mlflow")]
pub(crate) struct HistoryArguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Rolls out what an entry of the history says
///
/// Git keeps what it says: to go back for good, revert the commit and push. Until then automation has to be off: that of
/// the Application, and of those above it that would switch it on again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # To the entry before the last one
  gitmoor rollback mlflow --suspend --with-parents --wait
  # To one that `gitmoor history mlflow` lists
  gitmoor rollback mlflow 4")]
pub(crate) struct RollbackArguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    /// Entry of the history [default: the one before the last]
    #[arg(value_name = "ID")]
    id: Option<u64>,
    /// Switch automation off first
    #[arg(long)]
    suspend: bool,
    /// With --suspend: also that of the Applications above it, which would switch it on again
    #[arg(long, requires = "suspend")]
    with_parents: bool,
    /// Delete what that revision does not have
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
}

/// One entry.
struct Entry {
    id: u64,
    revision: String,
    deployed_at: String,
    /// One, or several.
    source: Value,
    /// What a rollback to it asks for, in the fields of Argo CD's `SyncOperation`.
    sync: Value,
}

/// Shows the entries.
pub(crate) fn history(arguments: &HistoryArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let object = connection.wait(connection.application(&arguments.name))?;
    let fork = Fork::here();
    let entries = entries(&object);
    let commit = |entry: &Entry| {
        let fork = fork.as_ref()?;
        fork.commit(&fork.newest(&entry.revision)?)
    };
    if terminal.is_json() {
        let rows: Vec<Value> = entries.iter().rev().map(|entry| {
            let commit = commit(entry);
            json!({
                "id": entry.id, "revision": entry.revision, "deployedAt": entry.deployed_at, "source": entry.source,
                "author": commit.as_ref().map(|commit| &commit.author), "subject": commit.as_ref().map(|commit| &commit.subject),
            })
        }).collect();
        terminal.json(&json!({"history": rows}));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["ID", "AGE", "REVISION", "SOURCE", "CHANGE"]);
    for entry in entries.iter().rev() {
        let change = commit(entry).map(|commit| format!("{} ({})", commit.subject, commit.author)).unwrap_or_default();
        let revision = short_revision(&entry.revision);
        let age = age(&entry.deployed_at).unwrap_or_default();
        table.row(Style::Plain, [entry.id.to_string(), age, revision, source(&entry.source), one_line(&change)]);
    }
    table.print(terminal);
    Ok(Exit::Done)
}

/// Asks for the sync of an entry.
pub(crate) fn rollback(arguments: &RollbackArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let mut object = connection.wait(connection.application(&arguments.name))?;
    let entries = entries(&object);
    let name = address(&object);
    let entry = chosen(&entries, arguments.id, &name)?;
    let kept = connection.wait(is_kept_by_another(&connection, &object))?;
    let at_once = || {
        let parents = if kept { " --with-parents" } else { "" };
        let id = arguments.id.map(|id| format!(" {id}")).unwrap_or_default();
        format!("switch automation off at the same time: gitmoor rollback {name}{id} --suspend{parents}")
    };
    // Without automation nobody undoes it.
    if arguments.suspend && !object["spec"]["syncPolicy"]["automated"].is_null() {
        let suspended = connection.wait(switch(&connection, &object, arguments.with_parents, false, terminal));
        suspended.map_err(|failure| if kept { Failure { hints: vec![at_once()], ..failure } } else { failure })?;
        object = connection.wait(connection.application(&arguments.name))?;
    }
    may_go_elsewhere(&object, Some(&entry.revision))
        .map_err(|failure| Failure { hints: vec![at_once()], ..failure })?;
    let mut sync = entry.sync.clone();
    sync["prune"] = json!(arguments.prune);
    connection.wait(async {
        connection.warn_without_agent(name_of(&object).0, terminal).await;
        let request = connection.request(&object, sync).await?;
        let revision = short_revision(&entry.revision);
        let mut outcome = Outcome::default();
        if arguments.wait.wait {
            // It differs from what Git says now, which is what was asked for.
            let ended = connection.follow(&request, false, arguments.wait.timeout, terminal).await?;
            outcome.take(&object, &ended, terminal);
        } else {
            outcome.asked(&object, &format!("a rollback to {revision} is asked for; see"), terminal);
        }
        terminal.message(&format!(
            "to go back for good: git revert what came after {revision}, push, gitmoor resume {name}{}",
            if arguments.with_parents { " --with-parents" } else { "" }
        ));
        Ok(outcome.end(terminal))
    })
}

fn chosen<'e>(entries: &'e [Entry], id: Option<u64>, name: &str) -> Result<&'e Entry, Failure> {
    let found = match id {
        Some(id) => entries.iter().find(|entry| entry.id == id),
        None => entries.iter().rev().nth(1),
    };
    let Some(entry) = found else {
        let failure = Failure::new(Exit::Usage, format!("there is no such entry in the history of {name}"));
        return Err(failure.hint(format!("see which there are: gitmoor history {name}")));
    };
    Ok(entry)
}

fn entries(object: &Value) -> Vec<Entry> {
    let history = object["status"]["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |entry: &Value| {
        let (source, revision) =
            if entry["sources"].is_array() { ("sources", "revisions") } else { ("source", "revision") };
        Some(Entry {
            id: entry["id"].as_u64()?,
            revision: Revision::read(entry).map(|revision| revision.identity()).unwrap_or_default(),
            deployed_at: entry["deployedAt"].as_str().unwrap_or_default().to_owned(),
            source: entry[source].clone(),
            sync: json!({source: entry[source], revision: entry[revision]}),
        })
    };
    history.iter().filter_map(read).collect()
}

/// Where something comes from, in a few words.
fn source(source: &Value) -> String {
    let one = |source: &Value| {
        let text = |field: &str| source[field].as_str().unwrap_or_default();
        let place = if text("chart").is_empty() { text("path") } else { text("chart") };
        format!("{}@{}", place, text("targetRevision"))
    };
    match source.as_array() {
        Some(sources) => sources.iter().map(one).collect::<Vec<_>>().join(" "),
        None => one(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_before_the_last_is_gone_back_to() {
        let object = json!({"status": {"history": [
            {"id": 3, "revision": "a", "source": {"path": "web", "targetRevision": "main"}},
            {"id": 4, "revision": "b", "source": {}},
            {"id": 5, "revisions": ["c", "1.2"], "sources": [{}]},
        ]}});
        let entries = entries(&object);
        assert_eq!(chosen(&entries, None, "web").unwrap().id, 4);
        assert_eq!(source(&chosen(&entries, Some(3), "web").unwrap().source), "web@main");
        let several = chosen(&entries, Some(5), "web").unwrap();
        assert_eq!(several.sync, json!({"sources": [{}], "revisions": ["c", "1.2"]}));
        assert_eq!(entries[0].sync["revision"], "a");
        assert!(chosen(&entries, Some(6), "web").is_err());
        assert!(chosen(&entries[..1], None, "web").is_err());
    }
}
