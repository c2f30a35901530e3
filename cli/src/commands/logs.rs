//! `gitmoor logs`: what the agent that works says.

use futures::StreamExt as _;
use gitmoor_engine::cluster::Logs;
use serde_json::json;

use crate::{
    cluster::{Agent, Connection, Target, failed},
    commands::explain::why_silent,
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

/// Shows the log of the agent that works: the pod that holds the lease
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor logs
  gitmoor logs --follow --tail 20
  # Why did it restart?
  gitmoor logs --previous")]
pub(crate) struct Arguments {
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES", default_value_t = 200)]
    tail: u32,
    /// Only what was written within this time, such as 10m
    #[arg(long, value_name = "TIME", value_parser = crate::commands::duration)]
    since: Option<std::time::Duration>,
    /// Of the run before the last restart
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
    #[command(flatten)]
    target: Target,
}

/// Finds the pod by the lease, and prints.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        let (namespace, pod) = leader(&connection).await?;
        let seconds = arguments.since.map(|since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX));
        let logs =
            Logs { container: None, previous: arguments.previous, tail: Some(arguments.tail), since_seconds: seconds };
        let cannot = |error: gitmoor_engine::cluster::ClusterError| {
            let failure = failed(format!("cannot read the log of pod {namespace}/{pod}"), &error);
            if error.is_not_found() {
                failure.hint("the agent that holds the lease does not run as a pod of this cluster; see its own log")
            } else {
                failure
            }
        };
        if !arguments.follow {
            let text = connection.cluster.logs(&namespace, &pod, &logs).await.map_err(cannot)?;
            if terminal.is_json() {
                let lines: Vec<&str> = text.lines().collect();
                terminal.json(&json!({"namespace": namespace, "pod": pod, "lines": lines}));
            } else {
                text.lines().for_each(|line| terminal.data(Style::Plain, line));
            }
            return Ok(Exit::Done);
        }
        terminal.stream();
        let mut lines = connection.cluster.follow_logs(&namespace, &pod, &logs).await.map_err(cannot)?;
        while let Some(line) = lines.next().await {
            let line = line.map_err(cannot)?;
            if terminal.is_json() {
                terminal.json(&json!({"line": line}));
            } else {
                terminal.data(Style::Plain, &line);
                terminal.flush();
            }
        }
        Ok(Exit::Done)
    })
}

/// Namespace and pod of the agent that works.
async fn leader(connection: &Connection) -> Result<(String, String), Failure> {
    let mut last = None;
    for namespace in connection.namespaces() {
        match connection.agent(namespace).await {
            Agent::Works { holder } => return Ok((namespace.to_owned(), holder)),
            // Its last words may be of use.
            Agent::Silent { holder, .. } if !holder.is_empty() => last = last.or(Some((namespace.to_owned(), holder))),
            _ => {}
        }
    }
    if let Some(last) = last {
        return Ok(last);
    }
    let place = connection.namespaces().join(" or ");
    let mut failure = Failure::new(Exit::Usage, format!("no agent runs in namespace {place}"));
    if let Some(why) = why_silent(connection, &connection.namespaces()).await {
        failure.causes.push(why.sentence);
        failure.hints.extend(why.remedy);
    }
    Err(failure.hint("or name its namespace with --namespace"))
}
