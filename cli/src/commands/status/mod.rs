//! `gitmoor status`: where all Applications stand.

mod rows;
mod tree;

use std::time::Duration;

use futures::future::join;
use gitmoor_core::view::ApplicationView;
use serde_json::json;

use crate::{
    cluster::{Connection, Target, complete_applications},
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

use rows::Row;

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Shows where Applications stand: synced, healthy, and why not
///
/// One line each: whether the cluster is as the commit says (sync), whether what runs is well (health), which
/// commit changed it last, when that was rolled out, and why it is not as it should be. Those that are not come first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor status
  # One Application with all of its objects
  gitmoor status mlflow --tree
  # Everything below the root Application
  gitmoor status platform --tree
  gitmoor status --watch
  # For scripts: exit status 1 while something is not Synced and Healthy
  gitmoor status --output json --exit-code")]
pub(crate) struct Arguments {
    /// Only these Applications
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    names: Vec<String>,
    /// Show objects below their Applications, and Applications below the one that they belong to
    #[arg(long)]
    tree: bool,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Applications of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Exit status 1 when something is not Synced and Healthy
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    target: Target,
}

/// Reads all Applications in one request, and the agent's lease.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let mut shown = None;
    loop {
        let seen = connection.wait(look(&connection, arguments))?;
        let lines = if terminal.is_json() { Vec::new() } else { lines(&seen, arguments) };
        if let Some(warning) = seen.warning.as_ref().filter(|_| shown.is_none()) {
            terminal.warning(warning);
        }
        if terminal.is_json() {
            let rows: Vec<Row> = seen.chosen.iter().map(|view| Row::of(view, arguments.tree)).collect();
            let document = json!({"namespace": seen.namespace, "warning": seen.warning, "applications": rows});
            if shown.as_ref() != Some(&vec![(Style::Plain, document.to_string())]) {
                terminal.json(&document);
                shown = Some(vec![(Style::Plain, document.to_string())]);
            }
        } else if !arguments.watch {
            lines.iter().for_each(|(style, line)| terminal.data(*style, line));
        } else if shown.as_ref() != Some(&lines) {
            terminal.screen(&lines);
            shown = Some(lines);
        }
        if !arguments.watch {
            let fine = seen.chosen.iter().all(ApplicationView::is_fine);
            return Ok(if arguments.exit_code && !fine { Exit::Findings } else { Exit::Done });
        }
        terminal.flush();
        std::thread::sleep(LOOK);
    }
}

/// What was seen at a moment.
struct Seen {
    namespace: String,
    all: Vec<ApplicationView>,
    /// Those that are asked for.
    chosen: Vec<ApplicationView>,
    warning: Option<String>,
}

async fn look(connection: &Connection, arguments: &Arguments) -> Result<Seen, Failure> {
    // Objects are shown in a tree alone.
    let whole = arguments.tree;
    let likely = connection.namespaces().first().copied().unwrap_or_default().to_owned();
    let (found, agent) =
        join(connection.applications(arguments.all_namespaces, whole), connection.agent(&likely)).await;
    let (namespace, mut all) = found?;
    let agent = if namespace == likely { agent } else { connection.agent(&namespace).await };
    let warning = agent.warning(&namespace);
    all.sort_by_cached_key(|view| (view.is_fine(), view.key()));
    let mut chosen = Vec::new();
    for name in &arguments.names {
        let bare = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        let found = all.iter().filter(|view| view.key().name == bare).cloned().collect::<Vec<_>>();
        if found.is_empty() {
            // Says which names there are; or it is in another namespace.
            let object = connection.application(name).await?;
            chosen.extend(serde_json::from_value(object).ok());
        }
        chosen.extend(found);
    }
    if arguments.names.is_empty() {
        chosen.clone_from(&all);
    }
    Ok(Seen { namespace, all, chosen, warning })
}

fn lines(seen: &Seen, arguments: &Arguments) -> Vec<(Style, String)> {
    if seen.chosen.is_empty() {
        return vec![(Style::Plain, format!("no Applications in namespace {}", seen.namespace))];
    }
    if arguments.tree {
        let roots = if arguments.names.is_empty() { None } else { Some(seen.chosen.as_slice()) };
        return tree::lines(&seen.all, roots);
    }
    rows::lines(&seen.chosen, arguments.all_namespaces, arguments.names.len() == 1)
}
