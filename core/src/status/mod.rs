//! The status of an Application, in Argo CD's shape.
//!
//! Field names: Argo CD's `ApplicationStatus`. Times are given by the caller and carried over where nothing changed,
//! so that a status that says the same is byte for byte the same and is not written again.

mod events;
mod operation;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::health::{Health, HealthStatus};
use crate::object::ObjectId;

pub use events::{Event, events};
pub use operation::{AttemptRecord, Operation, OperationResult, Outcome, Phase, outcomes};

/// Result of comparing an Application with its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    /// Every object is as the commit has it.
    Synced,
    /// Some object differs, is missing, or is left over.
    OutOfSync,
    /// The comparison did not succeed.
    Unknown,
}

impl SyncStatus {
    /// As it stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        }
    }
}

/// One object of the Application.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceStatus {
    /// Identity.
    pub id: ObjectId,
    /// Version that it is applied in.
    pub version: String,
    /// Whether it is as the commit has it.
    pub sync: SyncStatus,
    /// Its health; `None` when it has none of its own.
    pub health: Option<Health>,
    /// It left Git and is still there.
    pub requires_pruning: bool,
    /// Its sync wave.
    pub wave: i32,
}

/// Something that people have to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Argo CD's type: ends in `Error` or `Warning`.
    pub kind: ConditionKind,
    /// One-word category: also the reason of events and the label of metrics.
    pub category: &'static str,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Whether what a category of conditions tells of may be over without anybody doing anything. All else waits for a push,
/// or for somebody who mends the Application, its repository or its credentials.
pub fn passes_by_itself(category: &str) -> bool {
    matches!(
        category,
        "Corrupt"
            | "Interrupted"
            | "Other"
            | "RemoteUnreachable"
            | "RendererUnavailable"
            | "RenderTimedOut"
            | "RepositoryUnreadable"
            | "ScratchFailed"
            | "TimedOut"
            | "Unreachable"
            | "WatchFailed"
    )
}

/// Types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// The spec cannot be worked with.
    InvalidSpecError,
    /// The comparison failed.
    ComparisonError,
    /// Something could not be applied or deleted.
    SyncError,
    /// An object is wanted by two.
    SharedResourceWarning,
    /// An admission webhook changes what is applied.
    AdmissionWarning,
    /// Something waits for people.
    PruneWarning,
    /// A field that is not supported is ignored.
    UnsupportedFieldWarning,
    /// An object stands in several sources.
    RepeatedResourceWarning,
    /// Something about a render that people should mend.
    RenderWarning,
}

impl ConditionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpecError => "InvalidSpecError",
            Self::ComparisonError => "ComparisonError",
            Self::SyncError => "SyncError",
            Self::SharedResourceWarning => "SharedResourceWarning",
            Self::AdmissionWarning => "AdmissionWarning",
            Self::PruneWarning => "PruneWarning",
            Self::UnsupportedFieldWarning => "UnsupportedFieldWarning",
            Self::RepeatedResourceWarning => "RepeatedResourceWarning",
            Self::RenderWarning => "RenderWarning",
        }
    }
}

/// Where the sources of an Application stand: one revision for `spec.source`, a list for `spec.sources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// Of the one source.
    One(String),
    /// Of each source, in their order.
    Several(Vec<String>),
}

impl Revision {
    /// The revision that a status (or another part with the same fields) holds.
    pub fn read(value: &Value) -> Option<Self> {
        let texts = value["revisions"].as_array().filter(|list| !list.is_empty());
        match texts {
            Some(texts) => {
                Some(Self::Several(texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()))
            }
            None => value["revision"].as_str().filter(|text| !text.is_empty()).map(|text| Self::One(text.to_owned())),
        }
    }

    /// One per source.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }

    /// One text that stands for all of it.
    pub fn identity(&self) -> String {
        self.texts().join(",")
    }

    fn write(&self, value: &mut Value) {
        match self {
            Self::One(text) => value["revision"] = json!(text),
            Self::Several(texts) => value["revisions"] = json!(texts),
        }
    }
}

/// Fields of a status that Argo CD alone writes: which controller it was, and that the health of objects is not in their list.
const ARGO_CDS: [&str; 3] = ["controllerNamespace", "resourceHealthSource", "sourceHydrator"];

/// True for a status that Argo CD has written last: what it says of a sync is not what we have rolled out.
pub fn is_argo_cds(status: &Value) -> bool {
    ["controllerNamespace", "resourceHealthSource"].iter().any(|field| status[field].is_string())
}

/// Everything that a status says.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// `spec.source` or `spec.sources`, as compared: name of the field, and what it holds.
    pub source: (&'static str, &'a Value),
    /// `spec.destination`, as compared.
    pub destination: &'a Value,
    /// Last commits (or versions) that changed the Application's inputs, when known.
    pub revision: Option<Revision>,
    /// Result of the comparison.
    pub sync: SyncStatus,
    /// `None` keeps those of the status before: nothing new is known.
    pub resources: Option<Vec<ResourceStatus>>,
    /// Overall health; `None` keeps the one before.
    pub health: Option<Health>,
    /// All conditions.
    pub conditions: Vec<Condition>,
    /// `None` keeps the operation before.
    pub operation: Option<Operation>,
    /// Images in the manifests; `None` keeps those before.
    pub images: Option<Vec<String>>,
    /// `Helm`, `Kustomize` or `Directory`, for each source; `None` keeps those before.
    pub source_kinds: Option<Vec<&'static str>>,
    /// How many entries the history keeps.
    pub history_limit: usize,
}

/// The new status, from the one before and a report. `now`: RFC 3339, UTC, seconds.
pub fn compose(before: &Value, report: &Report<'_>, now: &str) -> Value {
    let mut status = before.as_object().cloned().unwrap_or_default();
    if is_argo_cds(before) {
        status.remove("operationState");
    }
    for field in ARGO_CDS {
        status.remove(field);
    }
    let (field, source) = report.source;
    let mut sync = json!({
        "status": report.sync.as_str(),
        "comparedTo": {field: source, "destination": report.destination},
    });
    report.revision.as_ref().unwrap_or(&Revision::One(String::new())).write(&mut sync);
    status.insert("sync".to_owned(), sync);
    if let Some(resources) = &report.resources {
        status.insert("resources".to_owned(), listed(resources).map(resource).collect());
    }
    if let Some(health) = &report.health {
        status.insert("health".to_owned(), timed(&before["health"], health_value(health), now));
    }
    if let Some(images) = &report.images {
        let mut images = images.clone();
        images.sort_unstable();
        images.dedup();
        status.insert("summary".to_owned(), if images.is_empty() { json!({}) } else { json!({"images": images}) });
    }
    status.insert("conditions".to_owned(), conditions(&before["conditions"], &report.conditions, now));
    if let Some(operation) = &report.operation {
        operation::write(&mut status, before, report, operation, now);
    }
    if let Some(kinds) = &report.source_kinds {
        // As Argo CD: one for `source`, a list for `sources`.
        let (own, other) = match field {
            "sources" => (("sourceTypes", json!(kinds)), "sourceType"),
            _ => (("sourceType", json!(kinds.first())), "sourceTypes"),
        };
        status.insert(own.0.to_owned(), own.1);
        status.remove(other);
    }
    let mut status = Value::Object(status);
    if status != *before {
        status["reconciledAt"] = json!(now);
    }
    status
}

/// Whether two statuses say the same of everything that people go by. Fields that a definition does not know are cut off
/// by the API server, and make no difference.
pub fn says_the_same(one: &Value, other: &Value) -> bool {
    let parts = ["/sync/status", "/sync/revision", "/health/status", "/operationState/phase", "/conditions"];
    parts.iter().all(|part| one.pointer(part) == other.pointer(part))
}

/// Objects that a status lists whatever their state. An object may hold 1.5 MB, and is written whole.
const LISTED: usize = 2000;

/// The objects that a status lists: all of them, or those that are not as they should be, one of every kind (what is
/// left over is looked for by the kinds in the status), and as many of the others as there is room for.
fn listed(resources: &[ResourceStatus]) -> impl Iterator<Item = &ResourceStatus> {
    let mut kinds = HashSet::new();
    let mut room = LISTED;
    resources.iter().filter(move |resource| {
        let fine = resource.sync == SyncStatus::Synced
            && resource.health.as_ref().is_none_or(|health| health.status == HealthStatus::Healthy);
        let first = kinds.insert(&resource.id.group_kind);
        let listed = first || !fine || room > 0;
        room -= usize::from(listed && room > 0);
        listed
    })
}

fn resource(resource: &ResourceStatus) -> Value {
    let mut value = object_reference(&resource.id, &resource.version);
    value.insert("status".to_owned(), json!(resource.sync.as_str()));
    if let Some(health) = &resource.health {
        value.insert("health".to_owned(), health_value(health));
    }
    if resource.requires_pruning {
        value.insert("requiresPruning".to_owned(), json!(true));
    }
    if resource.wave != 0 {
        value.insert("syncWave".to_owned(), json!(resource.wave));
    }
    Value::Object(value)
}

fn object_reference(id: &ObjectId, version: &str) -> Map<String, Value> {
    let mut value = Map::new();
    let fields = [("group", Some(id.group_kind.group.as_str())), ("namespace", id.namespace.as_deref())];
    for (key, text) in fields {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            value.insert(key.to_owned(), json!(text));
        }
    }
    value.insert("version".to_owned(), json!(version));
    value.insert("kind".to_owned(), json!(id.group_kind.kind));
    value.insert("name".to_owned(), json!(id.name));
    value
}

fn health_value(health: &Health) -> Value {
    match &health.message {
        Some(message) => json!({"status": health.status.to_string(), "message": message}),
        None => json!({"status": health.status.to_string()}),
    }
}

/// A value with its `lastTransitionTime`, which moves only with the status.
fn timed(before: &Value, mut value: Value, now: &str) -> Value {
    let kept = before.get("lastTransitionTime").filter(|_| before["status"] == value["status"]);
    value["lastTransitionTime"] = kept.cloned().unwrap_or_else(|| json!(now));
    value
}

fn conditions(before: &Value, conditions: &[Condition], now: &str) -> Value {
    let mut conditions = conditions.to_vec();
    conditions.sort();
    conditions.dedup();
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    conditions
        .iter()
        .map(|condition| {
            let message = format!("{}: {}", condition.category, condition.message);
            let same = before.iter().find(|old| old["type"] == condition.kind.as_str() && old["message"] == message);
            let since = same.and_then(|old| old.get("lastTransitionTime")).cloned().unwrap_or_else(|| json!(now));
            json!({"type": condition.kind.as_str(), "message": message, "lastTransitionTime": since})
        })
        .collect()
}

/// Overall health of an Application: its worst child decides.
pub fn overall<'a>(resources: impl IntoIterator<Item = &'a ResourceStatus>) -> Health {
    let of_children = resources.into_iter().filter(|resource| !resource.requires_pruning);
    let worst = of_children.filter_map(|resource| resource.health.as_ref().map(|health| (resource, health))).max_by(
        |(one, one_health), (other, other_health)| {
            // Of equals the first one is shown.
            one_health.status.cmp(&other_health.status).then_with(|| other.id.cmp(&one.id))
        },
    );
    match worst {
        Some((resource, health)) if health.status != HealthStatus::Healthy => {
            let detail = health.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            Health { status: health.status, message: Some(format!("{}{detail}", resource.id)) }
        }
        _ => Health { status: HealthStatus::Healthy, message: None },
    }
}

/// The JSON merge patch (RFC 7386) that turns `before` into `after`; `None` when they are equal.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return Some(after.clone()) };
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = old.get(key).map_or_else(|| Some(value.clone()), |old| merge_patch(old, value))?;
        Some((key.clone(), patch))
    });
    Some(Value::Object(removed.chain(changed).collect()))
}

#[cfg(test)]
mod tests;
