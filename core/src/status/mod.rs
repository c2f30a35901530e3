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
mod tests {
    use super::*;
    use crate::object::GroupKind;

    const NOON: &str = "2026-11-21T12:00:00Z";
    const ONE: &str = "2026-11-21T13:00:00Z";

    fn report<'a>(source: &'a Value, destination: &'a Value) -> Report<'a> {
        Report {
            source: ("source", source),
            destination,
            revision: Some(Revision::One("abc".into())),
            sync: SyncStatus::Synced,
            resources: Some(vec![resource_status("web", HealthStatus::Healthy)]),
            health: Some(Health { status: HealthStatus::Healthy, message: None }),
            conditions: Vec::new(),
            operation: None,
            images: Some(vec!["web:1".into(), "web:1".into()]),
            source_kinds: Some(vec!["Kustomize"]),
            history_limit: 2,
        }
    }

    fn resource_status(name: &str, health: HealthStatus) -> ResourceStatus {
        ResourceStatus {
            id: ObjectId {
                group_kind: GroupKind::new("apps", "Deployment"),
                namespace: Some("web".into()),
                name: name.into(),
            },
            version: "v1".into(),
            sync: SyncStatus::Synced,
            health: Some(Health { status: health, message: Some("why".into()) }),
            requires_pruning: false,
            wave: 0,
        }
    }

    fn succeeded(revision: &str) -> Operation {
        let (message, results) = ("everything is applied".to_owned(), Vec::new());
        let revision = Revision::One(revision.to_owned());
        let source = ("source", json!({"path": "web"}));
        Operation { source, revision, output: String::new(), phase: Phase::Succeeded, message, results, attempt: None }
    }

    #[test]
    fn a_status_that_says_the_same_is_the_same() {
        let (source, destination) = (json!({"repoURL": "x"}), json!({}));
        let condition = Condition { kind: ConditionKind::SyncError, category: "ApplyRejected", message: "no".into() };
        let report = Report { conditions: vec![condition], ..report(&source, &destination) };
        let first = compose(&Value::Null, &report, NOON);
        assert_eq!(compose(&first, &report, ONE), first);
        assert_eq!(merge_patch(&first, &first), None);
        assert_eq!(first["conditions"][0]["message"], "ApplyRejected: no");
        assert_eq!(first["summary"]["images"], json!(["web:1"]));
        assert_eq!(first["resources"][0]["group"], "apps");
    }

    #[test]
    fn times_move_only_with_what_they_belong_to() {
        let (source, destination) = (json!({}), json!({}));
        let first = compose(&Value::Null, &report(&source, &destination), NOON);
        let changed = Report { revision: Some(Revision::One("def".into())), ..report(&source, &destination) };
        let second = compose(&first, &changed, ONE);
        assert_eq!(second["health"]["lastTransitionTime"], NOON);
        assert_eq!(second["reconciledAt"], ONE);
        let health = Some(Health { status: HealthStatus::Degraded, message: None });
        let third = compose(&second, &Report { health, ..changed }, ONE);
        assert_eq!(third["health"]["lastTransitionTime"], ONE);
    }

    #[test]
    fn what_is_not_known_keeps_what_was() {
        let (source, destination) = (json!({}), json!({}));
        let first = compose(&Value::Null, &report(&source, &destination), NOON);
        let blind = Report {
            sync: SyncStatus::Unknown,
            resources: None,
            health: None,
            images: None,
            ..report(&source, &destination)
        };
        let second = compose(&first, &blind, ONE);
        assert_eq!(second["sync"]["status"], "Unknown");
        assert_eq!((&second["resources"], &second["summary"]), (&first["resources"], &first["summary"]));
    }

    #[test]
    fn history_has_one_entry_per_revision_and_a_limit() {
        let (source, destination) = (json!({}), json!({}));
        let mut status = Value::Null;
        for revision in ["a", "a", "b", "c"] {
            let operation = Some(succeeded(revision));
            status = compose(&status, &Report { operation, ..report(&source, &destination) }, NOON);
        }
        let history: Vec<_> =
            status["history"].as_array().unwrap().iter().map(|entry| (&entry["id"], &entry["revision"])).collect();
        assert_eq!(history, [(&json!(1), &json!("b")), (&json!(2), &json!("c"))]);
        assert_eq!(status["operationState"]["phase"], "Succeeded");
    }

    #[test]
    fn several_sources_have_lists_of_everything() {
        let (sources, destination) = (json!([{"chart": "a"}, {"ref": "b"}]), json!({}));
        let revision = Revision::Several(vec!["1.2.3".into(), "abc".into()]);
        let operation =
            Some(Operation { source: ("sources", sources.clone()), revision: revision.clone(), ..succeeded("") });
        let report = Report {
            source: ("sources", &sources),
            revision: Some(revision.clone()),
            operation,
            source_kinds: Some(vec!["Helm", "Directory"]),
            ..report(&sources, &destination)
        };
        let status = compose(&json!({"sourceType": "Helm"}), &report, NOON);
        assert_eq!(status["sync"]["revisions"], json!(["1.2.3", "abc"]));
        assert_eq!(status["sync"]["comparedTo"]["sources"], sources);
        assert_eq!((&status["sourceTypes"], status.get("sourceType")), (&json!(["Helm", "Directory"]), None));
        assert_eq!(status["history"][0]["revisions"], json!(["1.2.3", "abc"]));
        assert_eq!(Revision::read(&status["operationState"]["syncResult"]), Some(revision));
        assert_eq!(compose(&status, &report, ONE)["history"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_running_operation_keeps_its_start() {
        let (source, destination) = (json!({}), json!({}));
        let running = Operation { phase: Phase::Running, ..succeeded("a") };
        let first = compose(&Value::Null, &Report { operation: Some(running), ..report(&source, &destination) }, NOON);
        assert_eq!(first["operationState"].get("finishedAt"), None);
        let operation = Some(succeeded("a"));
        let second = compose(&first, &Report { operation, ..report(&source, &destination) }, ONE);
        let state = &second["operationState"];
        assert_eq!((&state["startedAt"], &state["finishedAt"]), (&json!(NOON), &json!(ONE)));
    }

    #[test]
    fn the_worst_child_decides() {
        let children = [
            resource_status("a", HealthStatus::Healthy),
            resource_status("b", HealthStatus::Progressing),
            ResourceStatus { requires_pruning: true, ..resource_status("c", HealthStatus::Degraded) },
        ];
        let health = overall(&children);
        assert_eq!(health.status, HealthStatus::Progressing);
        assert_eq!(health.message.as_deref(), Some("Deployment.apps web/b: why"));
        assert_eq!(overall(&[]).status, HealthStatus::Healthy);
    }

    #[test]
    fn a_merge_patch_removes_what_is_gone() {
        let before = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]});
        let after = json!({"a": 1, "b": {"c": 2}, "e": [2], "f": null});
        assert_eq!(merge_patch(&before, &after), Some(json!({"b": {"d": null}, "e": [2], "f": null})));
    }

    #[test]
    fn an_attempt_keeps_what_it_did_until_another_one_begins() {
        use crate::hook::{Execution, HookPhase};
        let (source, destination) = (json!({}), json!({}));
        let of = |name: &str, hook| OperationResult {
            id: resource_status(name, HealthStatus::Healthy).id,
            version: "v1".into(),
            status: "Synced",
            message: "created".into(),
            hook,
        };
        let (_, operation) = crate::operation::begin(None, "abc", &Value::Null, NOON);
        let attempt = AttemptRecord { operation, retry_count: 0, whole: true };
        let at = |before: &Value, attempt: &AttemptRecord, phase, results| {
            let operation = Operation {
                phase,
                message: String::new(),
                results,
                attempt: Some(attempt.clone()),
                ..succeeded("abc")
            };
            compose(before, &Report { operation: Some(operation), ..report(&source, &destination) }, ONE)
        };
        let running = Some((HookPhase::PreSync, Execution::Running(String::new())));
        let first = at(&Value::Null, &attempt, Phase::Running, vec![of("migrate", running)]);
        assert_eq!(outcomes(&first).count(), 0);
        let ended = Some((HookPhase::PreSync, Execution::Succeeded));
        let second = at(&first, &attempt, Phase::Running, vec![of("migrate", ended), of("web", None)]);
        let id = resource_status("migrate", HealthStatus::Healthy).id;
        let outcome = Outcome { id, phase: HookPhase::PreSync, succeeded: true, message: "created" };
        assert_eq!(outcomes(&second).collect::<Vec<_>>(), [outcome]);
        let third = at(&second, &attempt, Phase::Succeeded, vec![]);
        assert_eq!(third["operationState"]["syncResult"]["resources"].as_array().unwrap().len(), 2);
        assert_eq!(third["history"].as_array().unwrap().len(), 1);
        let (_, operation) = crate::operation::begin(None, "abc", &json!({"status": third}), NOON);
        let next = AttemptRecord { operation, retry_count: 1, whole: true };
        let fourth = at(&third, &next, Phase::Running, vec![]);
        assert_eq!(fourth["operationState"]["syncResult"]["resources"], json!([]), "hooks run again");
        assert_eq!(fourth["operationState"]["retryCount"], 1);
    }

    #[test]
    fn a_large_application_lists_what_matters() {
        let (source, destination) = (json!({}), json!({}));
        let mut resources: Vec<_> =
            (0..5000).map(|n| resource_status(&format!("web-{n}"), HealthStatus::Healthy)).collect();
        resources[4999].sync = SyncStatus::OutOfSync;
        resources[4998].id.group_kind = GroupKind::new("", "ConfigMap");
        let status =
            compose(&Value::Null, &Report { resources: Some(resources), ..report(&source, &destination) }, NOON);
        let listed = status["resources"].as_array().unwrap();
        assert_eq!(listed.len(), LISTED + 2);
        assert!(listed.iter().any(|r| r["kind"] == "ConfigMap") && listed.iter().any(|r| r["name"] == "web-4999"));
    }
}
