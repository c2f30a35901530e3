//! ExternalSecrets as rows: of a table, and of JSON.

use std::time::Duration;

use futures::future::join3;
use gitmoor_core::{
    builtin, duration,
    health::{HealthStatus, assess},
    object::text_at,
    resource::Resource,
    secrets::status::ready_condition,
    view::one_line,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Arguments;
use crate::{
    age::{age, span},
    cluster::{Connection, failed, name_of},
    failure::{Exit, Failure},
    table::Table,
    terminal::{Style, Terminal},
};

/// One ExternalSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: &'static str,
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

/// Reads all of them in a request for each kind, and the agent's lease.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    let only = arguments.only.as_deref();
    let (mut rows, warning) = connection.wait(async {
        let kinds =
            [builtin::external_secrets(), builtin::legacy_external_secrets(), builtin::cluster_external_secrets()];
        let [external, legacy, cluster] = &kinds;
        let (external, legacy, cluster) = join3(
            all(&connection, external, only),
            all(&connection, legacy, only),
            connection.cluster.list(cluster, None),
        )
        .await;
        // Whoever may read a namespace alone gets what is in it.
        let (external, legacy, cluster) = (external?, legacy?, cluster.unwrap_or_default());
        let rows = external.iter().map(self::external).chain(legacy.iter().map(self::legacy));
        let rows: Vec<Row> = rows.chain(cluster.iter().filter_map(|object| fan_out(object, only))).collect();
        Ok::<_, Failure>((rows, connection.agent_here().await.warning()))
    })?;
    if let Some(warning) = &warning {
        terminal.warning(warning);
        // Nobody reads anything.
        rows.iter_mut().for_each(|row| row.read_within_seconds = None);
    }
    rows.sort_by_cached_key(|row| (row.synced == Some(true), row.namespace.clone(), row.name.clone()));
    if terminal.is_json() {
        terminal.json(&json!({"warning": warning, "externalSecrets": rows}));
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
            if row.namespace.is_empty() {
                format!("{} {}", row.kind, row.name)
            } else {
                format!("{}/{}", row.namespace, row.name)
            },
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

/// A ClusterExternalSecret that fails somewhere: those of its ExternalSecrets that are there stand for themselves.
fn fan_out(object: &Value, only: Option<&str>) -> Option<Row> {
    let failed = object.pointer("/status/failedNamespaces").and_then(Value::as_array);
    let concerns = |only: &str| failed.into_iter().flatten().any(|one| one["namespace"] == only);
    let health = assess(object);
    if health.status == HealthStatus::Healthy || only.is_some_and(|only| !concerns(only)) {
        return None;
    }
    let store = text_at(object, &["spec", "externalSecretSpec", "secretStoreRef", "name"]).unwrap_or_default();
    let synced = ready_condition(object).is_some().then_some(false);
    let reason = health.message.unwrap_or_default();
    let row = row(("", name_of(object).1), store, synced, None, None, &reason);
    Some(Row { kind: "ClusterExternalSecret", ..row })
}

fn legacy(object: &Value) -> Row {
    let said = text_at(object, &["status", "status"]);
    let synced = said.map(|said| said == "SUCCESS");
    let reason = said.filter(|_| synced == Some(false)).map(|said| said.trim_start_matches("ERROR, "));
    let store = text_at(object, &["spec", "backendType"]).unwrap_or_default();
    let changed = text_at(object, &["status", "lastSync"]);
    // How often the agent reads these is a setting of its own, which may not be known here.
    row(name_of(object), store, synced, changed, None, reason.unwrap_or_default())
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
        kind: "ExternalSecret",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_namespaces_is_told_where_it_fails() {
        let failed = json!([{"namespace": "a", "reason": "it has one already"}]);
        let ready = json!([{"type": "Ready", "status": "False", "message": "1 namespace failed"}]);
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": {"name": "all"},
            "spec": {"externalSecretSpec": {"secretStoreRef": {"name": "store"}}},
            "status": {"failedNamespaces": failed, "conditions": ready},
        });
        let row = fan_out(&object, None).unwrap();
        assert_eq!((row.kind, row.store.as_str(), row.synced), ("ClusterExternalSecret", "store", Some(false)));
        assert_eq!(row.reason, "no Secret in a: it has one already");
        assert!(fan_out(&object, Some("a")).is_some() && fan_out(&object, Some("b")).is_none());
        let mut well = object;
        well["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert!(fan_out(&well, None).is_none());
    }
}
