//! Applications from the API server's table: a few columns of each, which is all there is to say of those that are well.
//!
//! A thousand Applications are megabytes, which the API server takes longer to write than anybody to read. Its table of
//! them (`meta.k8s.io/v1` Table) has the columns of the definition alone.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::view::ApplicationView;

/// The columns that are read, as the definition in `distribution/components/gitmoor/crds/application.yaml` names them.
const COLUMNS: [&str; 16] = [
    "Name",
    "Sync Status",
    "Health Status",
    "Revision",
    "Revisions",
    "Deployed",
    "Created",
    "Condition",
    "Operation",
    "Asked",
    "Automated",
    "Deleting",
    "Source",
    "Sources",
    "Compared Source",
    "Compared Sources",
];

/// Those with what an Application is rolled out of, and what that was when it was compared.
const SOURCES: [&str; 4] = ["Source", "Sources", "Compared Source", "Compared Sources"];

/// A table as the API server answers it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Table {
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Column {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    cells: Vec<Value>,
}

/// What a table says.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Applications of which all is told: they are as they should be, and nothing happens to them.
    pub well: Vec<ApplicationView>,
    /// Names of the others.
    pub others: Vec<String>,
}

impl Table {
    /// The Applications of a namespace. `None`: the definition has not these columns; it is Argo CD's, or an older one.
    pub fn overview(&self, namespace: &str) -> Option<Overview> {
        let place = |name: &str| self.column_definitions.iter().position(|column| column.name == name);
        let places: HashMap<&str, usize> =
            COLUMNS.into_iter().map(|name| Some((name, place(name)?))).collect::<Option<_>>()?;
        let mut overview = Overview::default();
        for row in &self.rows {
            let cell = |name: &str| row.cells.get(*places.get(name)?)?.as_str().filter(|text| !text.is_empty());
            let name = cell("Name")?.to_owned();
            let parsed = |column| cell(column).and_then(|text| serde_json::from_str::<Value>(text).ok());
            let busy = matches!(cell("Operation"), Some("Running" | "Terminating"));
            let told = ["Condition", "Asked", "Deleting"].iter().any(|column| cell(column).is_some());
            let deployed = cell("Deployed").map(|time| json!({"deployedAt": time}));
            // What cannot be read says nothing, and least of all that all is well.
            let unread = SOURCES.iter().any(|column| cell(column).is_some() && parsed(column).is_none());
            let list = |column| parsed(column).unwrap_or_else(|| json!([]));
            let compared = SOURCES[2..].iter().any(|column| cell(column).is_some());
            let compared =
                compared.then(|| json!({"source": parsed("Compared Source"), "sources": list("Compared Sources")}));
            let view: ApplicationView = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": namespace, "creationTimestamp": cell("Created")},
                "spec": {
                    "syncPolicy": {"automated": parsed("Automated")},
                    "source": parsed("Source"), "sources": list("Sources"),
                },
                "status": {
                    "sync": {
                        "status": cell("Sync Status").unwrap_or_default(),
                        "revision": cell("Revision").unwrap_or_default(),
                        "revisions": list("Revisions"),
                        "comparedTo": compared,
                    },
                    "health": {"status": cell("Health Status").unwrap_or_default()},
                    "history": deployed.into_iter().collect::<Vec<_>>(),
                },
            }))
            .unwrap_or_default();
            if view.is_fine() && !busy && !told && !unread && !view.is_suspended() {
                overview.well.push(view);
            } else {
                overview.others.push(name);
            }
        }
        Some(overview)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[Value]) -> Table {
        let columns: Vec<Value> = columns.iter().map(|name| json!({"name": name, "type": "string"})).collect();
        let rows: Vec<Value> = rows.iter().map(|cells| json!({"cells": cells, "object": null})).collect();
        serde_json::from_value(json!({"kind": "Table", "columnDefinitions": columns, "rows": rows})).unwrap()
    }

    /// In the order of [`COLUMNS`].
    fn row(name: &str, changes: &[(usize, &str)]) -> Value {
        let mut cells = json!([
            name,
            "Synced",
            "Healthy",
            "abc",
            null,
            "then",
            "before",
            null,
            null,
            null,
            "{\"prune\":true}",
            null,
            "{\"path\":\"web\",\"repoURL\":\"a\"}",
            null,
            "{\"repoURL\":\"a\",\"path\":\"web\"}",
            null
        ]);
        changes.iter().for_each(|(place, text)| cells[*place] = json!(text));
        cells
    }

    #[test]
    fn what_is_well_is_told_and_the_rest_is_named() {
        let rows = [
            row("well", &[(4, "[\"abc\",\"1.2\"]"), (8, "Succeeded")]),
            row("differs", &[(1, "OutOfSync")]),
            row("ill", &[(2, "Degraded")]),
            row("warned", &[(7, "SharedResource: two")]),
            row("busy", &[(8, "Running")]),
            row("asked", &[(9, "{\"sync\":{}}")]),
            row("suspended", &[(10, "{\"enabled\":false}")]),
            row("going", &[(11, "now")]),
            row("other", &[(12, "{\"path\":\"other\"}")]),
            row("unreadable", &[(14, "map[path:web]")]),
            row("several", &[(13, "[{\"path\":\"other\"}]")]),
        ];
        let Overview { well, others } = table(&COLUMNS, &rows).overview("gitmoor").unwrap();
        assert_eq!(
            others,
            ["differs", "ill", "warned", "busy", "asked", "suspended", "going", "other", "unreadable", "several"]
        );
        let [well] = &well[..] else { panic!("{well:?}") };
        assert_eq!(well.key().to_string(), "gitmoor/well");
        assert_eq!((well.revision().as_str(), well.since(), well.is_automated()), ("abc,1.2", Some("then"), true));
        assert_eq!(well.reason(), "");
        // Argo CD's definition has other columns.
        assert!(
            table(&["Name", "Sync Status", "Health Status"], &[json!(["a", "Synced", "Healthy"])])
                .overview("x")
                .is_none()
        );
    }
}
