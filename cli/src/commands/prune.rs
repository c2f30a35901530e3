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
    cluster::{Connection, Target, address, complete_applications, failed, name_of},
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
  # Without being asked, and until it is done
  gitmoor prune mlflow --yes --wait")]
pub(crate) struct Arguments {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    /// Confirm without being asked
    #[arg(long, short)]
    yes: bool,
    /// Wait until it is done: everything is gone, or made anew
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
    let messages: Vec<&str> = waiting.iter().map(|condition| condition.text()).collect();
    terminal.json(&json!({"leftOver": left_over, "deleting": going, "waiting": messages, "confirm": digests}));
    if !terminal.is_json() {
        show(&address(&object), (&left_over, &going), &waiting, &view, terminal);
    }
    if digests.is_empty() {
        // What is on its way was confirmed before.
        let wait = arguments.wait && (!going.is_empty() || is_deleting(&object));
        let over = async { gone(&connection, &object, &digests, arguments.timeout, terminal).await };
        return if wait { connection.wait(over) } else { Ok(Exit::Done) };
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
        terminal.json(&json!({"confirmed": true}));
        if arguments.wait {
            gone(&connection, &object, &digests, arguments.timeout, terminal).await
        } else {
            Ok(Exit::Done)
        }
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
            "the agent deletes it when its Application prunes (spec.syncPolicy.automated.prune)".to_owned()
        } else {
            format!("a sync deletes it: gitmoor sync {name} --prune")
        };
        terminal.data(Style::Plain, &format!("not in Git any more; {why}"));
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

/// Waits until all that was confirmed is done; with an Application that is being deleted, until it is gone itself.
async fn gone(
    connection: &Connection,
    object: &Value,
    confirmed: &[&str],
    timeout: Duration,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let (namespace, name) = name_of(object);
    let started = Instant::now();
    loop {
        let found = connection.cluster.get(&builtin::applications(), Some(namespace), name).await;
        let found = found.map_err(|error| failed(format!("cannot read the Application {name}"), &error))?;
        let left = match found.as_ref().map(|object| left(object, confirmed)) {
            None => {
                terminal.end_live(false);
                terminal.message(&format!("{name}: everything is gone, and so is the Application"));
                return Ok(Exit::Done);
            }
            Some(Left::Nothing) => {
                terminal.end_live(false);
                terminal.message(&format!("{name}: everything that was confirmed is done"));
                return Ok(Exit::Done);
            }
            Some(Left::People(why)) => {
                terminal.end_live(false);
                terminal.error(&format!("{name}: what was confirmed is taken up, and then: {why}"));
                return Ok(Exit::Findings);
            }
            Some(Left::Time(lines)) => lines,
        };
        terminal.live(&left);
        if started.elapsed() > timeout {
            terminal.end_live(true);
            terminal.error(&format!("{name}: not everything went in time; see gitmoor explain {}", address(object)));
            return Ok(Exit::Findings);
        }
        sleep(LOOK).await;
    }
}

/// What of a confirmation is not done yet.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// It takes time; what there is to show.
    Time(Vec<String>),
    /// It takes somebody who does something.
    People(String),
}

/// What of a confirmation is not done, by the status of its Application: a condition asks for its digest until the agent has
/// taken it up, and left-over objects are listed until they are gone. An Application that is being deleted says nothing of
/// its objects any more; it goes after them.
fn left(object: &Value, confirmed: &[&str]) -> Left {
    let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    let mut others = None;
    for condition in view.conditions() {
        let digests = asked(&condition.message);
        if digests.iter().any(|digest| confirmed.contains(digest)) {
            lines.push(format!("  waiting for the agent to take it up: {}", condition.text()));
        } else if !digests.is_empty() {
            others = Some(format!("{}; see gitmoor prune {}", condition.text(), address(object)));
        }
    }
    let takes_up = !lines.is_empty();
    let left_over = view.resources().iter().filter(|one| one.requires_pruning);
    let leaving = left_over.clone().any(|one| one.leaving().is_some());
    lines.extend(left_over.map(|one| format!("  {} is still there", one.id())));
    if is_deleting(object) {
        lines.push("  the Application is still there".to_owned());
    }
    if let Some(others) = others.filter(|_| !takes_up && !leaving) {
        return Left::People(others);
    }
    if !lines.is_empty() {
        return Left::Time(lines);
    }
    let error = view.conditions().iter().find(|condition| condition.is_error());
    error.map_or(Left::Nothing, |error| Left::People(error.message.clone()))
}

fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_is_done_when_nothing_of_it_is_left() {
        let asks = |digest: &str| {
            let question = format!("annotate the Application with {ANNOTATION_CONFIRM_PRUNE}={digest}");
            json!({"type": "PruneWarning", "message": format!("PruneBlocked: it waits; to delete it, {question}")})
        };
        let error = json!({"type": "SyncError", "message": "ApplyFailed: no"});
        let left_over = json!({"kind": "ConfigMap", "name": "a", "status": "OutOfSync", "requiresPruning": true});
        let anew = json!({"kind": "ConfigMap", "name": "b", "status": "OutOfSync"});
        let of = |conditions: Value, resources: Value, deleting: bool| {
            let deleted = if deleting { json!("then") } else { Value::Null };
            let object = json!({"metadata": {"name": "web", "deletionTimestamp": deleted},
                "status": {"conditions": conditions, "resources": resources}});
            left(&object, &["0123456789abcdef"])
        };
        let (ours, other) = (asks("0123456789abcdef"), asks("fedcba9876543210"));
        let time = |left: Left| matches!(left, Left::Time(lines) if !lines.is_empty());
        // To be made anew: no object of it is left over.
        assert!(time(of(json!([ours]), json!([anew]), false)));
        assert_eq!(of(json!([]), json!([anew]), false), Left::Nothing);
        assert!(time(of(json!([]), json!([left_over]), false)));
        // One that is being deleted does not say what of its objects is left over.
        assert!(time(of(json!([]), json!([anew]), true)));
        assert!(time(of(json!([ours, other]), json!([]), false)));
        assert!(
            matches!(of(json!([other]), json!([left_over]), false), Left::People(why) if why.contains("gitmoor prune web"))
        );
        assert_eq!(of(json!([error]), json!([]), false), Left::People("ApplyFailed: no".to_owned()));
    }
}
