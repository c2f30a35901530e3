//! `gitmoor refresh`: has the agent look at a repository now.

use std::{collections::BTreeSet, time::Duration};

use gitmoor_core::{
    recorded::Recorded,
    view::{ApplicationView, short_commit},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cluster::{Connection, Looked, Target, address, complete_applications, name_of},
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Has the agent look at the repository now, without waiting for its interval or a webhook
///
/// With --wait it says which commit the agent has seen: whether a push has arrived.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor refresh mlflow
  # Wait until the agent has looked
  gitmoor refresh mlflow --wait")]
pub(crate) struct Arguments {
    /// The Applications
    #[arg(value_name = "APP", required = true, add = clap_complete::ArgValueCandidates::new(complete_applications))]
    names: Vec<String>,
    /// Wait until the agent has taken it up
    #[arg(long)]
    wait: bool,
    /// How long to wait for all of them, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = super::duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

/// Writes the annotation that asks for it.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        let mut objects = Vec::new();
        for name in &arguments.names {
            objects.push(connection.application(name).await?);
        }
        for object in &objects {
            let ((namespace, own), name) = (name_of(object), address(object));
            if arguments.wait
                && let Some(why) = connection.agent_of(namespace).await.warning()
            {
                return Err(Failure::new(Exit::Io, why).hint(format!("see what keeps it: gitmoor explain {name}")));
            }
            connection.warn_without_agent(namespace, terminal).await;
            // All of them first: the agent looks at several at the same time.
            connection.ask_to_look(namespace, own).await?;
            if !arguments.wait {
                terminal.message(&format!("{name}: asked for"));
            }
        }
        if arguments.wait {
            return wait_for(&connection, &objects, arguments.timeout, terminal).await;
        }
        let asked = objects.iter().map(|object| document(object, "asked for", ""));
        terminal.json(&json!({"refreshes": asked.collect::<Vec<_>>()}));
        Ok(Exit::Done)
    })
}

/// Waits for all of them, and tells of each.
async fn wait_for(
    connection: &Connection,
    objects: &[Value],
    patience: Duration,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let started = Instant::now();
    let (mut exit, mut documents) = (Exit::Done, Vec::new());
    for object in objects {
        let name = address(object);
        match connection.is_looked_at(object, started, patience).await? {
            Looked::Well => {
                if let Some(why) = nowhere(connection, object).await? {
                    documents.push(document(object, "failed", &why));
                    terminal.error(&format!("{name}: the agent has looked, and finds nothing: {why}"));
                    exit = Exit::Findings;
                    continue;
                }
                let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
                let seen = connection.repositories_of(&view).await;
                let message = format!("the agent has looked{}", commits(&seen));
                terminal.message(&format!("{name}: {message}"));
                documents.push(document(object, "looked", &message));
                continue;
            }
            Looked::Failed(why) => {
                documents.push(document(object, "failed", &why));
                terminal.error(&format!("{name}: the agent could not look: {why}"));
                terminal.message("what its status says is from before; the agent tries again by itself");
            }
            Looked::NotInTime => {
                documents.push(document(object, "not in time", ""));
                terminal.error(&format!("{name}: no agent has looked within {} seconds", patience.as_secs()));
            }
        }
        exit = Exit::Findings;
    }
    terminal.json(&json!({"refreshes": documents}));
    Ok(exit)
}

/// That there is no such branch, tag, commit or version, as the status says it after a look.
async fn nowhere(connection: &Connection, object: &Value) -> Result<Option<String>, Failure> {
    let (namespace, name) = name_of(object);
    let now = connection.application(&format!("{namespace}/{name}")).await?;
    let view: ApplicationView = serde_json::from_value(now).unwrap_or_default();
    let condition = view.conditions().iter().find(|condition| condition.category() == "RevisionNotFound");
    Ok(condition.map(|condition| condition.message.clone()))
}

/// What it has seen, in a few words.
fn commits(seen: &[Recorded]) -> String {
    let each = |one: &Recorded| -> Vec<String> {
        let at = |(revision, commit): (&String, &String)| {
            format!("{} is at {}", short_commit(revision), short_commit(commit))
        };
        one.revisions.iter().map(at).collect()
    };
    let all: BTreeSet<String> = seen.iter().flat_map(each).collect();
    all.into_iter()
        .enumerate()
        .map(|(at, text)| if at == 0 { format!(": {text}") } else { format!(", {text}") })
        .collect()
}

/// What became of one, for programs.
fn document(object: &Value, result: &str, message: &str) -> Value {
    let (namespace, name) = name_of(object);
    json!({"namespace": namespace, "application": name, "result": result, "message": message})
}
