//! `gitmoor refresh`: has the agent look at a repository now.

use std::time::Duration;

use gitmoor_core::{builtin, names::ANNOTATION_REFRESH, object::annotation};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    cluster::{Connection, Target, complete_applications, failed, name_of},
    commands::sync::warn_without_agent,
    failure::{Exit, Failure},
    terminal::Terminal,
};

const LOOK: Duration = Duration::from_millis(200);
/// How long the agent may take to take a request up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the agent look at the repository now, without waiting for its interval or a webhook
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
    #[command(flatten)]
    target: Target,
}

/// Writes the annotation that asks for it.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        for name in &arguments.names {
            let object = connection.application(name).await?;
            warn_without_agent(&connection, &object, terminal).await;
            let (namespace, name) = name_of(&object);
            let patch = json!({"metadata": {"annotations": {ANNOTATION_REFRESH: "normal"}}});
            let written = connection.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await;
            written.map_err(|error| failed(format!("cannot ask for a refresh of {name}"), &error))?;
            if !arguments.wait {
                terminal.message(&format!("{name}: asked for"));
                continue;
            }
            let started = Instant::now();
            while annotation(&connection.application(&format!("{namespace}/{name}")).await?, ANNOTATION_REFRESH)
                .is_some()
            {
                if started.elapsed() > PATIENCE {
                    terminal.error(&format!("{name}: no agent took it up within {} seconds", PATIENCE.as_secs()));
                    return Ok(Exit::Findings);
                }
                sleep(LOOK).await;
            }
            terminal.message(&format!("{name}: the agent is looking"));
        }
        Ok(Exit::Done)
    })
}
