//! Everything goes: each Application with what it has deployed, by the agent's own hand and rules.

use std::{collections::BTreeSet, time::Duration};

use futures::future::try_join_all;
use gitmoor_core::{
    builtin,
    names::{ANNOTATION_CONFIRM_PRUNE, APPLICATION_KIND, FINALIZER_CASCADE},
    object::{annotation, text_at},
    prune::asked,
    view::{ApplicationView, one_line},
};
use gitmoor_engine::cluster::ClusterError;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    arguments::UninstallArguments,
    install::Installer,
    material::{Material, id},
};
use crate::{
    cluster::{Agent, Connection, failed, name_of},
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

const LOOK: Duration = Duration::from_millis(500);
/// How often a deletion that came in between another write is made again.
const ATTEMPTS: usize = 10;
/// Applications that are named.
const NAMED: usize = 8;
/// Characters of what one waits for.
const LONGEST: usize = 160;

/// Deletes all Applications of the namespaces that the agent follows, with what they own; false when that was not confirmed, or not done in time.
pub(super) async fn applications(
    installer: &Installer<'_>,
    arguments: &UninstallArguments,
    material: &Material,
    followed: &BTreeSet<String>,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let connection = installer.connection;
    if !installer.serves("argoproj.io", "Application") {
        return Ok(true);
    }
    let mut all = list(connection, followed).await?;
    if all.is_empty() {
        return Ok(true);
    }
    show(&all, terminal);
    if arguments.dry_run {
        return Ok(true);
    }
    if !matches!(connection.agent(&material.namespace).await, Agent::Works { .. }) {
        return Err(Failure::new(Exit::Refused, "no agent is running, and only it can delete what Applications own")
            .hint("start it again: gitmoor bootstrap --no-wait")
            .hint("or leave what runs, and delete the Applications yourself: gitmoor uninstall"));
    }
    if !confirmed(arguments, material, terminal)? {
        terminal.message("nothing was deleted");
        return Ok(false);
    }
    // All of them first: one that the root's deletion takes along would leave what it owns.
    for object in &all {
        change(connection, object, Change::Cascade).await?;
    }
    // From the root: one that is being deleted does not bring back the others.
    let root = id(&material.root).name;
    all.sort_by_key(|object| name_of(object) != (material.namespace.as_str(), root.as_str()));
    for object in &all {
        change(connection, object, Change::Delete).await?;
    }
    gone(connection, arguments, followed, terminal).await
}

/// All that the agent works on.
async fn list(connection: &Connection, followed: &BTreeSet<String>) -> Result<Vec<Value>, Failure> {
    let kind = builtin::applications();
    let each = followed.iter().map(|namespace| connection.cluster.list(&kind, Some(namespace)));
    let listed = try_join_all(each).await.map_err(|error| failed("cannot list Applications", &error))?;
    Ok(listed.into_iter().flatten().collect())
}

fn show(all: &[Value], terminal: &mut Terminal) {
    let (mut objects, mut documents) = (0, Vec::new());
    for object in all {
        let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
        objects += view.resources().len();
        let (namespace, name) = name_of(object);
        documents.push(json!({"namespace": namespace, "application": name, "objects": view.resources().len()}));
        terminal.data(Style::Plain, &format!("Application {namespace}/{name}: {} objects", view.resources().len()));
    }
    terminal.data(Style::Bold, &format!("{} Applications and {objects} objects go, with their data", all.len()));
    terminal.json(&json!({"applications": documents}));
}

/// A purge is confirmed by the name of what goes.
fn confirmed(arguments: &UninstallArguments, material: &Material, terminal: &mut Terminal) -> Result<bool, Failure> {
    if arguments.yes {
        return Ok(true);
    }
    if !terminal.can_ask() {
        return Err(Failure::new(Exit::Refused, "nobody is there to confirm").hint("confirm with --yes"));
    }
    let answer =
        terminal.ask(&format!("type the name of the namespace, {}, to delete all of it: ", material.namespace));
    Ok(answer.is_some_and(|answer| answer.trim() == material.namespace))
}

/// What is done to an Application.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// What it owns goes before it.
    Cascade,
    /// It goes.
    Delete,
}

/// Changes an Application as it is now; one that is gone or going is left.
async fn change(connection: &Connection, object: &Value, change: Change) -> Result<(), Failure> {
    let (namespace, name) = name_of(object);
    let kind = builtin::applications();
    let cannot = |error: &ClusterError| failed(format!("cannot delete the Application {name}"), error);
    for _ in 0..ATTEMPTS {
        let live = connection.cluster.get(&kind, Some(namespace), name).await.map_err(|error| cannot(&error))?;
        let Some(live) = live.filter(|live| live["metadata"].get("deletionTimestamp").is_none()) else { return Ok(()) };
        let text = |key| text_at(&live, &["metadata", key]).unwrap_or_default();
        let done = match change {
            Change::Cascade => {
                let present = live["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                let cascades = |name: &Value| name.as_str().is_some_and(|name| name.starts_with(FINALIZER_CASCADE));
                if present.iter().any(cascades) {
                    return Ok(());
                }
                let finalizers: Vec<Value> = present.into_iter().chain([json!(FINALIZER_CASCADE)]).collect();
                let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": text("resourceVersion")}});
                connection.cluster.merge(&kind, Some(namespace), name, &patch).await.map(drop)
            }
            Change::Delete => {
                connection.cluster.delete_exactly(&kind, &id(&live), text("uid"), text("resourceVersion")).await
            }
        };
        match done {
            Err(error) if error.is_conflict() => {}
            Err(error) if !error.is_not_found() => return Err(cannot(&error)),
            _ => return Ok(()),
        }
    }
    Err(Failure::new(Exit::Io, format!("the Application {name} changes all the time; try again")))
}

/// What keeps an Application, in a line. What it asks is answered here: nobody has to read how.
fn waits_for(view: &ApplicationView) -> String {
    let Some(condition) = view.conditions().first() else { return view.reason().chars().take(LONGEST).collect() };
    match asked(&condition.message).len() {
        0 => one_line(&condition.message).chars().take(LONGEST).collect(),
        _ => "asks whether its objects may go; confirmed".to_owned(),
    }
}

/// Of the Applications that are left, one that something else than an Application holds.
fn stuck(left: &[Value]) -> String {
    let holds = |object: &&Value| {
        let view: ApplicationView = serde_json::from_value((*object).clone()).unwrap_or_default();
        let mut going = view.resources().iter().filter(|one| one.leaving().is_some());
        !view.conditions().is_empty() || going.any(|one| one.kind != APPLICATION_KIND)
    };
    let named = left.iter().find(holds).or(left.first()).map(name_of);
    named.map(|(namespace, name)| format!("{namespace}/{name}")).unwrap_or_default()
}

/// Waits until the agent has deleted everything, and answers what it asks: that was confirmed as a whole.
async fn gone(
    connection: &Connection,
    arguments: &UninstallArguments,
    followed: &BTreeSet<String>,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let started = Instant::now();
    loop {
        let left = list(connection, followed).await?;
        if left.is_empty() {
            terminal.end_live(false);
            return Ok(true);
        }
        let mut lines = vec![format!("waiting until {} Applications are gone", left.len())];
        for object in &left {
            let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
            let digests: Vec<&str> = view.conditions().iter().flat_map(|one| asked(&one.message)).collect();
            let answer = digests.join(",");
            if !answer.is_empty() && annotation(object, ANNOTATION_CONFIRM_PRUNE) != Some(&answer) {
                let patch = json!({"metadata": {"annotations": {ANNOTATION_CONFIRM_PRUNE: answer}}});
                let (namespace, name) = name_of(object);
                let written = connection.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await;
                if let Err(error) = written
                    && !error.is_not_found()
                {
                    return Err(failed(format!("cannot confirm for {name}"), &error));
                }
            }
            if lines.len() <= NAMED {
                lines.push(format!("  {}  {}", view.key().name, waits_for(&view)).trim_end().to_owned());
            }
        }
        terminal.live(&lines);
        if started.elapsed() > arguments.timeout {
            terminal.end_live(true);
            terminal.error("not everything went in time; the agent stays, and goes on");
            terminal.message(&format!(
                "see why: gitmoor explain {}; then once more: gitmoor uninstall --purge",
                stuck(&left)
            ));
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}
