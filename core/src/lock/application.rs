//! What is locked of the charts that Applications name, which they carry in an annotation.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::file::WrittenChart;
use super::{Lock, LockError, chart_reference};
use crate::closure::RemoteReference;
use crate::names::{ANNOTATION_LOCK, APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::{annotation, group_of, text_at};

impl Lock {
    /// Writes into an Application what is locked of its charts, in place of what may stand there.
    pub fn pin(&self, application: &mut Value) {
        let pinned = self.only(&charts_of(application));
        let charts: Vec<WrittenChart> =
            pinned.iter().filter_map(|(reference, locked)| WrittenChart::of(reference, locked)).collect();
        if charts.is_empty() {
            if let Some(annotations) = application.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
                annotations.remove(ANNOTATION_LOCK);
            }
            return;
        }
        let text = json!(charts).to_string();
        let Some(metadata) = application.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(ANNOTATION_LOCK.to_owned(), Value::String(text));
        }
    }

    /// What [`Self::pin`] has written into an Application.
    ///
    /// # Errors
    /// When somebody else has.
    pub fn of_application(application: &Value) -> Result<Self, LockError> {
        let Some(text) = annotation(application, ANNOTATION_LOCK) else { return Ok(Self::default()) };
        let charts: Vec<WrittenChart> = serde_json::from_str(text)
            .map_err(|error| LockError::new(format!("cannot be read: {error}; remove it")))?;
        let mut lock = Self::default();
        for chart in charts {
            let (reference, locked) = chart.read();
            lock.add(reference, locked)?;
        }
        Ok(lock)
    }
}

/// The charts that an object names as sources; none unless it is an Application.
pub fn charts_of(object: &Value) -> BTreeSet<RemoteReference> {
    let is_application = object["kind"] == APPLICATION_KIND
        && text_at(object, &["apiVersion"]).is_some_and(|version| group_of(version) == APPLICATION_GROUP);
    if !is_application {
        return BTreeSet::new();
    }
    let spec = &object["spec"];
    let sources = spec["sources"].as_array().into_iter().flatten().chain(spec.get("source"));
    let charts = sources.filter_map(|source| {
        let chart = text_at(source, &["chart"]).filter(|chart| !chart.is_empty())?;
        let revision = text_at(source, &["targetRevision"]).unwrap_or_default();
        Some(chart_reference(text_at(source, &["repoURL"])?, chart, revision))
    });
    charts.collect()
}
