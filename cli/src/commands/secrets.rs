//! `gitmoor secrets`: what ExternalSecrets have read and when, and reading them at once.

use std::time::Duration;

use gitmoor_core::{
    builtin, duration, names::ANNOTATION_FORCE_SYNC, object::text_at, resource::Resource,
    secrets::status::ready_condition, view::one_line,
};
use gitmoor_engine::cluster::ClusterError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    age::{age, now, span},
    cluster::{Connection, Target, complete_secrets, failed, name_of},
    failure::{Exit, Failure},
    table::Table,
    terminal::{Style, Terminal},
};

/// How often kubernetes-external-secrets' objects are read when the agent is told nothing else.
const LEGACY_INTERVAL: Duration = Duration::from_secs(60);

/// Lists ExternalSecrets: their store, how old their values are, when they are read next, and why they are not
///
/// Of all namespaces, unless one is named; those that are not synced come first. Values are never read or shown.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  gitmoor secrets
  gitmoor secrets --only mlflow
  # Read it again now
  gitmoor secrets refresh mlflow/database"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only those of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    only: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Has the agent read ExternalSecrets again now
    Refresh(Refresh),
}

#[derive(Debug, clap::Args)]
struct Refresh {
    /// NAMESPACE/NAME
    #[arg(value_name = "NAMESPACE/NAME", required = true, add = clap_complete::ArgValueCandidates::new(complete_secrets))]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// One ExternalSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    store: String,
    synced: Option<bool>,
    /// When the Secret was written last.
    changed: Option<String>,
    /// It is read again within this time.
    read_within_seconds: Option<u64>,
    reason: String,
}

/// Lists, or refreshes.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match &arguments.action {
        Some(Action::Refresh(refresh)) => self::refresh(refresh, terminal),
        None => list(arguments, terminal),
    }
}

fn list(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let mut rows = connection.wait(async {
        let mut rows: Vec<Row> = Vec::new();
        for object in all(&connection, &builtin::external_secrets(), arguments.only.as_deref()).await? {
            rows.push(external(&object));
        }
        for object in all(&connection, &builtin::legacy_external_secrets(), arguments.only.as_deref()).await? {
            rows.push(legacy(&object));
        }
        Ok::<_, Failure>(rows)
    })?;
    rows.sort_by_cached_key(|row| (row.synced == Some(true), row.namespace.clone(), row.name.clone()));
    if terminal.is_json() {
        terminal.json(&json!({"externalSecrets": rows}));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["NAME", "STORE", "SYNCED", "CHANGED", "NEXT READ", "REASON"]);
    for row in &rows {
        let (word, style) = match row.synced {
            Some(true) => ("yes", Style::Plain),
            Some(false) => ("no", Style::Red),
            None => ("", Style::Yellow),
        };
        let changed = row.changed.as_deref().and_then(age).map(|age| format!("{age} ago")).unwrap_or_default();
        let next = row
            .read_within_seconds
            .map(|seconds| format!("within {}", span(i64::try_from(seconds).unwrap_or(i64::MAX))));
        let cells = [
            format!("{}/{}", row.namespace, row.name),
            row.store.clone(),
            word.to_owned(),
            changed,
            next.unwrap_or_default(),
            row.reason.clone(),
        ];
        table.row(style, cells);
    }
    table.print(terminal);
    Ok(Exit::Done)
}

/// All of a kind; none where the cluster does not know it.
async fn all(connection: &Connection, kind: &Resource, namespace: Option<&str>) -> Result<Vec<Value>, Failure> {
    match connection.cluster.list(kind, namespace).await {
        Ok(all) => Ok(all),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(failed(format!("cannot list {}", kind.group_kind), &error)),
    }
}

fn external(object: &Value) -> Row {
    let (namespace, name) = name_of(object);
    let ready = ready_condition(object);
    let synced = ready.map(|ready| ready["status"] == "True");
    let reason =
        ready.filter(|_| synced == Some(false)).and_then(|ready| ready["message"].as_str()).unwrap_or_default();
    let store = text_at(object, &["spec", "secretStoreRef", "name"]).unwrap_or_default();
    let periodic = matches!(text_at(object, &["spec", "refreshPolicy"]), None | Some("Periodic"));
    let written = text_at(object, &["spec", "refreshInterval"]).unwrap_or("1h");
    let interval = duration::parse(written).filter(|interval| periodic && !interval.is_zero());
    row((namespace, name), store, synced, text_at(object, &["status", "refreshTime"]), interval, reason)
}

fn legacy(object: &Value) -> Row {
    let said = text_at(object, &["status", "status"]);
    let synced = said.map(|said| said == "SUCCESS");
    let reason = said.filter(|_| synced == Some(false)).map(|said| said.trim_start_matches("ERROR, "));
    let store = text_at(object, &["spec", "backendType"]).unwrap_or_default();
    let changed = text_at(object, &["status", "lastSync"]);
    row(name_of(object), store, synced, changed, Some(LEGACY_INTERVAL), reason.unwrap_or_default())
}

fn row(
    (namespace, name): (&str, &str),
    store: &str,
    synced: Option<bool>,
    changed: Option<&str>,
    interval: Option<Duration>,
    reason: &str,
) -> Row {
    let seconds = interval.map(|interval| interval.as_secs().max(1));
    Row {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        store: store.to_owned(),
        synced,
        changed: changed.map(str::to_owned),
        // Everything of an interval is read at the same moments, whatever was last changed when.
        read_within_seconds: seconds,
        reason: if synced.is_none() { "no agent has read it yet".to_owned() } else { one_line(reason) },
    }
}

fn refresh(arguments: &Refresh, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    connection.wait(async {
        for name in &arguments.names {
            let Some((namespace, bare)) = name.split_once('/') else {
                return Err(Failure::new(Exit::Usage, format!("{name}: NAMESPACE/NAME is expected")));
            };
            let patch = json!({"metadata": {"annotations": {ANNOTATION_FORCE_SYNC: now().to_string()}}});
            let mut done = false;
            for kind in [builtin::external_secrets(), builtin::legacy_external_secrets()] {
                match connection.cluster.merge(&kind, Some(namespace), bare, &patch).await {
                    Ok(_) => done = true,
                    Err(ClusterError::Refused { code: 404, .. }) => {}
                    Err(error) => return Err(failed(format!("cannot annotate {name}"), &error)),
                }
            }
            if !done {
                return Err(Failure::new(Exit::Usage, format!("there is no ExternalSecret {name}"))
                    .hint("gitmoor secrets lists them"));
            }
            terminal.message(&format!("{name} is read again"));
        }
        Ok(Exit::Done)
    })
}
