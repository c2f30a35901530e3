//! `gitmoor prune`: what waits to be deleted, and the confirmation.

use std::time::Duration;

use gitmoor_core::{
    builtin,
    names::ANNOTATION_CONFIRM_PRUNE,
    prune::asked,
    view::{ApplicationView, ViewedCondition},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{Connection, Target, complete_applications, failed, name_of},
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

const LOOK: Duration = Duration::from_millis(250);

/// Shows what waits to be deleted, and lets it go when you confirm
///
/// Namespaces, definitions, volumes, AWS resources, and many objects at once are never deleted without somebody's word.
/// A confirmation names exactly the objects that are shown: what comes to wait later waits for another one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Shows what is blocked, and asks
  gitmoor prune mlflow
  # Without being asked, and until it is gone
  gitmoor prune mlflow --yes --wait")]
pub(crate) struct Arguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    /// Confirm without being asked
    #[arg(long, short)]
    yes: bool,
    /// Wait until it is gone
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::commands::duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

/// Shows, asks, and annotates the Application.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let object = connection.wait(connection.application(&arguments.name))?;
    let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
    let (namespace, name) = name_of(&object);
    let (going, left_over): (Vec<_>, Vec<_>) =
        view.resources().iter().filter(|one| one.requires_pruning).partition(|one| one.leaving().is_some());
    let going: Vec<String> =
        going.iter().map(|one| format!("{}: {}", one.id(), one.leaving().unwrap_or_default())).collect();
    let left_over: Vec<String> = left_over.iter().map(|one| one.id().to_string()).collect();
    let waiting: Vec<&ViewedCondition> = view.conditions().iter().filter(|one| waits(one)).collect();
    let digests: Vec<&str> = waiting.iter().flat_map(|condition| asked(&condition.message)).collect();
    if terminal.is_json() {
        let messages: Vec<&str> = waiting.iter().map(|condition| condition.text()).collect();
        terminal.json(&json!({"leftOver": left_over, "deleting": going, "waiting": messages, "confirm": digests}));
    } else {
        show(name, (&left_over, &going), &waiting, &view, terminal);
    }
    if digests.is_empty() {
        return Ok(Exit::Done);
    }
    if !arguments.yes && !confirmed(terminal)? {
        terminal.message("nothing was confirmed");
        return Ok(Exit::Findings);
    }
    let patch = json!({"metadata": {"annotations": {ANNOTATION_CONFIRM_PRUNE: digests.join(",")}}});
    connection.wait(async {
        connection.warn_without_agent(namespace, terminal).await;
        let written = connection.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await;
        written.map_err(|error| failed(format!("cannot confirm for {name}"), &error))?;
        terminal.message(&format!("{name}: confirmed; the agent deletes it"));
        if arguments.wait { gone(&connection, &object, arguments.timeout, terminal).await } else { Ok(Exit::Done) }
    })
}

/// Deletions that wait, or an object that waits to be made anew.
fn waits(condition: &ViewedCondition) -> bool {
    matches!(condition.category(), "PruneBlocked" | "PruneHeld") || !asked(&condition.message).is_empty()
}

fn show(
    name: &str,
    (left_over, going): (&[String], &[String]),
    waiting: &[&ViewedCondition],
    view: &ApplicationView,
    terminal: &mut Terminal,
) {
    for object in going {
        terminal.data(Style::Plain, object);
    }
    if !going.is_empty() {
        let way =
            format!("their deletion has begun, and nothing takes it back; what holds them: gitmoor explain {name}");
        terminal.data(Style::Plain, &way);
    }
    if left_over.is_empty() && waiting.is_empty() {
        if !going.is_empty() {
            return;
        }
        terminal.data(Style::Plain, &format!("nothing of {name} waits to be deleted"));
        return;
    }
    for object in left_over {
        terminal.data(Style::Bold, object);
    }
    for condition in waiting {
        terminal.data(Style::Plain, condition.text());
    }
    if waiting.is_empty() {
        let why = if view.is_automated() {
            "not in Git any more; the agent deletes it when its Application prunes (spec.syncPolicy.automated.prune)"
        } else {
            "not in Git any more; a sync deletes it: gitmoor sync --prune"
        };
        terminal.data(Style::Plain, why);
    }
}

fn confirmed(terminal: &mut Terminal) -> Result<bool, Failure> {
    if !terminal.can_ask() {
        let failure = Failure::new(Exit::Refused, "nobody is there to confirm");
        return Err(failure.hint("confirm what is listed with --yes"));
    }
    let answer = terminal.ask("delete it? (yes/no) ");
    Ok(answer.is_some_and(|answer| matches!(answer.trim(), "y" | "yes")))
}

async fn gone(
    connection: &Connection,
    object: &Value,
    timeout: Duration,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let (namespace, name) = name_of(object);
    let started = Instant::now();
    loop {
        let object = connection.application(&format!("{namespace}/{name}")).await?;
        let view: ApplicationView = serde_json::from_value(object).unwrap_or_default();
        let left: Vec<String> = view
            .resources()
            .iter()
            .filter(|one| one.requires_pruning)
            .map(|one| format!("  {} is still there", one.id()))
            .collect();
        if left.is_empty() {
            terminal.end_live(false);
            terminal.message(&format!("{name}: everything is gone"));
            return Ok(Exit::Done);
        }
        terminal.live(&left);
        if started.elapsed() > timeout {
            terminal.end_live(true);
            terminal.error(&format!("{name}: not everything went in time; see gitmoor explain {name}"));
            return Ok(Exit::Findings);
        }
        sleep(LOOK).await;
    }
}
