//! `gitmoor suspend` and `gitmoor resume`: automation off and on.

use std::time::Duration;

use gitmoor_core::{application::ApplicationSpec, builtin};
use serde_json::{Value, json};

use crate::{
    cluster::{Connection, Looked, Target, address, complete_applications, failed, name_of, owner_of},
    failure::{Exit, Failure},
    fork::Fork,
    terminal::Terminal,
};

/// Applications above each other; more are a circle.
const DEEPEST: usize = 8;
/// How long to wait for what an Application has under way.
const PATIENCE: Duration = Duration::from_secs(40);

/// Stops an Application from syncing by itself
///
/// Nothing is applied any more until somebody asks for it; what runs keeps running. An Application that another one
/// keeps as Git has it cannot be suspended for long: the command says who would undo it, and how it is done in Git.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor suspend mlflow
  # Also those above it that would undo it
  gitmoor suspend mlflow --with-parents")]
pub(crate) struct SuspendArguments {
    #[command(flatten)]
    which: Which,
}

/// Lets an Application sync by itself again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor resume mlflow
  # Also those above it
  gitmoor resume mlflow --with-parents")]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The Application
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    name: String,
    /// Also the Applications above it that keep it as Git has it
    #[arg(long)]
    with_parents: bool,
    #[command(flatten)]
    target: Target,
}

/// Switches automation off.
pub(crate) fn suspend(arguments: &SuspendArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    run(&arguments.which, false, terminal)
}

/// Switches it on.
pub(crate) fn resume(arguments: &ResumeArguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    run(&arguments.which, true, terminal)
}

fn run(which: &Which, on: bool, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&which.target)?;
    connection.wait(async {
        let object = connection.application(&which.name).await?;
        switch(&connection, &object, which.with_parents, on, terminal).await?;
        Ok(Exit::Done)
    })
}

/// Switches the automation of an Application, and where that is wanted of those above it.
pub(crate) async fn switch(
    connection: &Connection,
    object: &Value,
    with_parents: bool,
    on: bool,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let name = &address(object);
    if object["spec"]["syncPolicy"]["automated"].is_null() {
        let failure = Failure::new(Exit::Refused, format!("{name} has no automation: it syncs only when asked"));
        return Err(failure
            .hint("give it spec.syncPolicy.automated in Git")
            .hint(format!("or ask: gitmoor sync {name}")));
    }
    let parents = parents(connection, object).await?;
    // What is as it is wanted, nobody undoes.
    let changes = is_suspended(object) == on;
    if let Some(parent) = parents.first().filter(|parent| changes && !with_parents && keeps(parent)) {
        return Err(undone(object, parent, on));
    }
    // From the top: nobody undoes what comes after. Going back, the top comes last.
    let mut chain: Vec<&Value> = if with_parents { parents.iter().collect() } else { Vec::new() };
    chain.reverse();
    chain.push(object);
    if on {
        chain.reverse();
    }
    let last = chain.len() - 1;
    let mut documents = Vec::new();
    for (position, object) in chain.into_iter().enumerate() {
        let changed = set(connection, object, on, terminal).await?;
        let (namespace, name) = name_of(object);
        documents.push(json!({"namespace": namespace, "application": name, "automated": on, "changed": changed}));
        terminal.json(&json!({"applications": documents}));
        if changed && !on && position < last {
            rests(connection, object, terminal).await?;
        }
    }
    if let Some(parent) = parents.first().filter(|parent| changes && !with_parents && is_automated(parent)) {
        let parent = address(parent);
        terminal.warning(&format!("{parent} brings back what Git says with its next sync"));
    }
    if let Some(parent) = parents.iter().find(|parent| on && !with_parents && is_suspended(parent)) {
        let parent = address(parent);
        terminal.warning(&format!("{parent}, above {name}, is still suspended: gitmoor resume {parent}"));
    }
    Ok(())
}

/// Waits until nothing is under way in an Application that was automated until now: it would undo what comes below it.
async fn rests(connection: &Connection, object: &Value, terminal: &mut Terminal) -> Result<(), Failure> {
    let ((namespace, _), name) = (name_of(object), address(object));
    // Where no agent works, nothing is under way.
    let works = connection.agent_of(namespace).await.warning().is_none();
    // Also after a look that failed nothing is under way.
    if works && connection.looked_at(object, PATIENCE).await? == Looked::NotInTime {
        terminal
            .warning(&format!("{name} is still being worked on, and may undo this once; see gitmoor status {name}"));
    }
    Ok(())
}

/// Gives whether that is another state than before.
async fn set(connection: &Connection, object: &Value, on: bool, terminal: &mut Terminal) -> Result<bool, Failure> {
    let ((namespace, own), name) = (name_of(object), address(object));
    let automated = &object["spec"]["syncPolicy"]["automated"];
    if automated.is_null() {
        return Ok(false);
    }
    let word = if on { "syncs by itself" } else { "is suspended" };
    if (automated["enabled"] != false) == on {
        let not = if on { "is not suspended: it " } else { "" };
        terminal.message(&format!("{name} {not}{word} already"));
        return Ok(false);
    }
    // Without the field it is on, as it is in Git.
    let enabled = if on { Value::Null } else { json!(false) };
    let patch = json!({"spec": {"syncPolicy": {"automated": {"enabled": enabled}}}});
    let written = connection.cluster.merge(&builtin::applications(), Some(namespace), own, &patch).await;
    written.map_err(|error| failed(format!("cannot change {name}"), &error))?;
    terminal.message(&format!("{name} {word}"));
    Ok(true)
}

/// Whether another Application would undo a suspension at once.
pub(crate) async fn is_kept_by_another(connection: &Connection, object: &Value) -> Result<bool, Failure> {
    Ok(parents(connection, object).await?.first().is_some_and(keeps))
}

/// The Applications above one: the one in whose Git it stands, and so on.
async fn parents(connection: &Connection, object: &Value) -> Result<Vec<Value>, Failure> {
    let mut parents: Vec<Value> = Vec::new();
    while parents.len() < DEEPEST {
        let Some((namespace, name)) = parent_of(parents.last().unwrap_or(object)) else { break };
        let found = connection.cluster.get(&builtin::applications(), Some(namespace), name).await;
        match found.map_err(|error| failed(format!("cannot read the Application {name}"), &error))? {
            Some(parent) => parents.push(parent),
            None => break,
        }
    }
    Ok(parents)
}

/// Namespace and name of the Application above one.
fn parent_of(object: &Value) -> Option<(&str, &str)> {
    owner_of(object).filter(|parent| *parent != name_of(object))
}

fn is_automated(object: &Value) -> bool {
    ApplicationSpec::read(object).is_ok_and(|spec| spec.automated().is_some())
}

/// Its automation is there, and switched off.
fn is_suspended(object: &Value) -> bool {
    object["spec"]["syncPolicy"]["automated"]["enabled"] == false
}

/// It repairs at once whatever somebody changes.
fn keeps(object: &Value) -> bool {
    ApplicationSpec::read(object).is_ok_and(|spec| spec.automated().is_some_and(|automated| automated.self_heal))
}

fn undone(object: &Value, parent: &Value, on: bool) -> Failure {
    let ((_, own), name, parent) = (name_of(object), address(object), address(parent));
    let failure = Failure::new(
        Exit::Refused,
        format!("Application {parent} keeps {name} as Git has it, and would undo this at once; nothing was changed"),
    );
    let file =
        Fork::here().and_then(|fork| fork.definition(own)).unwrap_or_else(|| format!("its file in {parent}'s folder"));
    let what = if on {
        "take spec.syncPolicy.automated.enabled out"
    } else {
        "set spec.syncPolicy.automated.enabled to false"
    };
    let word = if on { "resume" } else { "suspend" };
    failure
        .hint(format!("in Git: {what} in {file}, commit and push"))
        .hint(format!("or at once, and with {parent}: gitmoor {word} {name} --with-parents"))
}

#[cfg(test)]
mod tests {
    use gitmoor_core::names::ANNOTATION_TRACKING_ID;

    use super::*;

    #[test]
    fn the_tracking_id_names_the_parent() {
        let object = |id: &str| json!({"metadata": {"name": "web", "namespace": "gitmoor", "annotations": {ANNOTATION_TRACKING_ID: id}}});
        let id = "gitmoor:gitmoor/platform:argoproj.io/Application:gitmoor/web";
        assert_eq!(parent_of(&object(id)), Some(("gitmoor", "platform")));
        assert_eq!(parent_of(&object("gitmoor:gitmoor/web:argoproj.io/Application:gitmoor/web")), None, "itself");
        assert_eq!(parent_of(&json!({})), None);
    }
}
