//! The root Application: whether the cluster has it as the clone does.

use std::path::Path;

use gitmoor_core::{
    builtin,
    closure::without_credentials,
    object::text_at,
    root::{Difference, differences},
    template::placeholders_in,
    yaml::{Limits, read_documents},
};
use serde_json::Value;

use super::{Finding, tools::told};
use crate::cluster::{Connection, NAMESPACE};

/// Nothing where the clone has no root Application that could be applied.
pub(super) async fn check(connection: &Connection, distribution: &Path) -> Option<Finding> {
    let file = distribution.join("platform.yaml");
    let wanted = wanted(&file)?;
    let name = text_at(&wanted, &["metadata", "name"])?;
    let namespace = text_at(&wanted, &["metadata", "namespace"]).unwrap_or(NAMESPACE);
    let (root, file) = (format!("the root Application {namespace}/{name}"), file.display());
    let live = match connection.cluster.get(&builtin::applications(), Some(namespace), name).await {
        Ok(Some(live)) => live,
        Ok(None) => {
            let said = format!("{root}, which is in {file}, is not in the cluster: nothing of this fork is followed");
            return Some(Finding::doubtful("root", said, "install it: gitmoor bootstrap"));
        }
        Err(error) => {
            let fix = "ask for a Role with get of applications in that namespace";
            return Some(Finding::doubtful("root", format!("{root} cannot be read: {}", told(&error)), fix));
        }
    };
    let found: Vec<String> = differences(&wanted, &live).iter().map(sentence).collect();
    if found.is_empty() {
        return Some(Finding::fine("root", format!("{root} is as {file} says")));
    }
    let said = format!("{root} is not as {file} says: {}", found.join("; "));
    let fix =
        "git push, then gitmoor bootstrap, which applies it; or is this another cluster, or the clone of another fork?";
    Some(Finding::wrong("root", said, fix))
}

/// The one of the clone, unless it is still a template.
fn wanted(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).ok()?;
    let documents = read_documents(&text, &Limits::default()).ok()?;
    let mut values = documents.into_iter().map(|document| document.value);
    values.find(|value| value["kind"] == "Application").filter(|root| placeholders_in(root).is_empty())
}

fn sentence(Difference { field, wanted, live }: &Difference) -> String {
    let shown = |value: &Option<Value>| match value {
        None => "not there".to_owned(),
        Some(Value::String(text)) => without_credentials(text),
        Some(Value::Bool(on)) => on.to_string(),
        Some(_) => "another".to_owned(),
    };
    match (wanted, live) {
        (Some(Value::Array(_) | Value::Object(_)), Some(_)) => format!("{field} differs"),
        (None, Some(_)) => format!("{field} is only in the cluster"),
        (wanted, live) => format!("{field} is {} in the cluster, {} in the file", shown(live), shown(wanted)),
    }
}
