//! Applications as rows: of a table, and of JSON.

use gitmoor_core::view::{ApplicationView, ViewedResource};
use serde::Serialize;

use crate::{age::age, table::Table, terminal::Style};

/// Characters of a reason in a table of many.
const REASON: usize = 100;

/// An Application in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    namespace: String,
    name: String,
    sync: String,
    health: String,
    revision: String,
    since: Option<String>,
    syncing: bool,
    automated: bool,
    reason: String,
    conditions: Vec<ConditionRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<ResourceRow>>,
}

#[derive(Debug, Serialize)]
struct ConditionRow {
    #[serde(rename = "type")]
    kind: String,
    category: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct ResourceRow {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
    sync: String,
    health: Option<String>,
    message: Option<String>,
}

impl Row {
    pub(super) fn of(view: &ApplicationView, resources: bool) -> Self {
        let key = view.key();
        let conditions = view.conditions().iter().map(|condition| ConditionRow {
            kind: condition.kind.clone(),
            category: condition.category().to_owned(),
            message: condition.text().to_owned(),
        });
        Self {
            namespace: key.namespace,
            name: key.name,
            sync: view.sync().to_owned(),
            health: view.health().to_owned(),
            revision: view.revision(),
            since: view.since().map(str::to_owned),
            syncing: view.is_syncing(),
            automated: view.is_automated(),
            reason: view.reason(),
            conditions: conditions.collect(),
            resources: resources.then(|| view.resources().iter().map(ResourceRow::of).collect()),
        }
    }
}

impl ResourceRow {
    fn of(resource: &ViewedResource) -> Self {
        let health = resource.health.clone();
        Self {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            sync: resource.status.clone(),
            health: health.as_ref().map(|health| health.status.clone()),
            message: health.and_then(|health| health.message),
        }
    }
}

/// The table. `whole`: reasons are not cut.
pub(super) fn lines(views: &[ApplicationView], namespaces: bool, whole: bool) -> Vec<(Style, String)> {
    let mut table = Table::new(["NAME", "SYNC", "HEALTH", "REVISION", "AGE", "REASON"]);
    for view in views {
        let key = view.key();
        let name = if namespaces { key.to_string() } else { key.name };
        let reason = if whole { view.reason() } else { cut(&view.reason(), REASON) };
        let age = view.since().and_then(age).unwrap_or_default();
        let cells = [name, view.sync().to_owned(), view.health().to_owned(), view.short_revision(), age, reason];
        table.row(style(view), cells);
    }
    table.lines()
}

/// How a state is set off.
pub(super) fn style(view: &ApplicationView) -> Style {
    match (view.sync(), view.health()) {
        ("Synced", "Healthy") => Style::Plain,
        ("Unknown", _) | (_, "Degraded") => Style::Red,
        _ => Style::Yellow,
    }
}

/// A text of at most so many characters.
fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
