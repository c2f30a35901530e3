//! Writes the status of an Application, once per change.

use std::sync::Arc;

use gitmoor_core::health::{Health, HealthStatus};
use gitmoor_core::object::ObjectId;
use gitmoor_core::operation::named_source;
use gitmoor_core::plan::{Action, DesiredObject, Plan};
use gitmoor_core::resource::Resources;
use gitmoor_core::status::{self, Condition, ConditionKind, Operation, Report, ResourceStatus, Revision, SyncStatus};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::acting_as;
use serde_json::{Value, json};

use crate::clock;
use crate::context::Context;
use crate::objects;
use crate::state::Snapshot;

/// What there is to say.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The Application that was looked at; `None`: as it is now.
    pub subject: Option<Arc<Value>>,
    /// Last commits or versions that changed the inputs.
    pub revision: Option<Revision>,
    /// `Helm`, `Kustomize` or `Directory`, for each source.
    pub source_kinds: Option<Vec<&'static str>>,
    /// Result of the comparison; `None` when it did not succeed.
    pub sync: Option<SyncStatus>,
    /// All objects, when the comparison succeeded.
    pub resources: Option<Vec<ResourceStatus>>,
    /// Everything that people have to know.
    pub conditions: Vec<Condition>,
    /// What was done.
    pub operation: Option<Operation>,
    /// Images in the manifests.
    pub images: Option<Arc<[String]>>,
    /// How many history entries are kept.
    pub history_limit: Option<usize>,
}

/// Writes the findings into the status, when they say something new. False when that failed.
pub(crate) async fn report(context: &Context, key: &ApplicationKey, findings: Findings) -> bool {
    // As it is now: an earlier write of this reconcile counts.
    let Some(snapshot) = context.state.snapshot(key) else { return true };
    // Its spec may be another one by now, which nobody has looked at yet.
    let object = findings.subject.as_ref().unwrap_or(&snapshot.object);
    let spec = &object["spec"];
    let destination = spec.get("destination").cloned().unwrap_or_else(|| json!({}));
    let before = snapshot.object.get("status").cloned().unwrap_or_else(|| json!({}));
    let health = match &findings.resources {
        Some(resources) => Some(status::overall(resources)),
        None if before.get("health").is_none() => Some(Health { status: HealthStatus::Unknown, message: None }),
        None => None,
    };
    let report = Report {
        source: named_source(spec),
        destination: &destination,
        revision: findings.revision.or_else(|| Revision::read(&before["sync"])),
        source_kinds: findings.source_kinds,
        sync: findings.sync.unwrap_or(SyncStatus::Unknown),
        resources: findings.resources,
        health,
        conditions: findings.conditions,
        operation: findings.operation,
        images: findings.images.map(|images| images.to_vec()),
        history_limit: findings.history_limit.unwrap_or(10),
    };
    let after = status::compose(&before, &report, &clock::now());
    write(context, key, &before, &after).await
}

/// Writes what differs. Twice, when the answer shows that something else stood there than was known: a status that was
/// written, and whose answer was lost.
async fn write(context: &Context, key: &ApplicationKey, before: &Value, after: &Value) -> bool {
    match write_once(context, key, before, after).await {
        Written::Done => true,
        Written::Failed => false,
        Written::OnAnother(stands) => !matches!(write_once(context, key, &stands, after).await, Written::Failed),
    }
}

enum Written {
    Done,
    Failed,
    /// The status that stands there now.
    OnAnother(Value),
}

async fn write_once(context: &Context, key: &ApplicationKey, before: &Value, after: &Value) -> Written {
    let Some(patch) = status::merge_patch(before, after) else { return Written::Done };
    let patch = json!({"status": patch});
    let applications = objects::applications();
    let written = context.cluster.merge_status(&applications, Some(&key.namespace), &key.name, &patch);
    match acting_as(None, written).await {
        Ok(answer) => {
            let stands = &answer["status"];
            // Somebody has asked for the end of the sync: that is news, which comes as such.
            let news = stands["operationState"]["phase"] == "Terminating";
            let other = (!news && !status::says_the_same(stands, after)).then(|| stands.clone());
            tracing::info!(
                application = %key,
                sync = after["sync"]["status"].as_str(),
                health = after["health"]["status"].as_str(),
                revision = after["sync"]["revision"].as_str(),
                "status"
            );
            context.metrics.reported(key, before, after);
            context.events.tell(&answer, status::events(before, after));
            context.wrote_application(key, answer);
            other.map_or(Written::Done, Written::OnAnother)
        }
        // Deleted meanwhile: there is nobody to tell.
        Err(error) if error.is_not_found() => Written::Done,
        Err(error) => {
            tracing::warn!(application = %key, %error, "status cannot be written");
            Written::Failed
        }
    }
}

/// What a plan says of every object.
pub(crate) fn resources(context: &Context, desired: &[DesiredObject], plan: &Plan) -> Vec<ResourceStatus> {
    // Taken before the lock of the live objects, which is the same one.
    let served = context.state.resources();
    context.state.live(|live| {
        let of_steps = plan.steps.iter().map(|step| {
            let object = &desired[step.desired];
            let version = object.api_version.rsplit('/').next().unwrap_or_default().to_owned();
            let sync = if step.action == Action::Skip { SyncStatus::Synced } else { SyncStatus::OutOfSync };
            let missing = || Health { status: HealthStatus::Missing, message: None };
            let health = Some(live.get(&object.id).map_or_else(missing, |live| live.health.clone()));
            ResourceStatus {
                id: object.id.clone(),
                version,
                sync,
                health,
                requires_pruning: false,
                wave: object.order.wave,
            }
        });
        let left_over = plan.left_over.iter().map(|id| ResourceStatus {
            requires_pruning: true,
            ..left(id, &served, live.get(id).map(|live| live.health.clone()))
        });
        of_steps.chain(left_over).collect()
    })
}

/// What is still there of an Application that is being deleted, and what holds each.
pub(crate) fn remains(context: &Context, left_over: &[ObjectId]) -> Vec<ResourceStatus> {
    let served = context.state.resources();
    context.state.live(|live| {
        left_over.iter().map(|id| left(id, &served, live.get(id).map(|live| live.health.clone()))).collect()
    })
}

/// An object that nobody wants any more.
fn left(id: &ObjectId, served: &Resources, health: Option<Health>) -> ResourceStatus {
    let version = served.preferred(&id.group_kind).map(|served| served.version.clone()).unwrap_or_default();
    ResourceStatus { id: id.clone(), version, sync: SyncStatus::OutOfSync, health, requires_pruning: false, wave: 0 }
}

/// The comparison as a whole.
pub(crate) fn sync_status(resources: &[ResourceStatus], complete: bool) -> SyncStatus {
    let synced = complete && resources.iter().all(|resource| resource.sync == SyncStatus::Synced);
    if synced { SyncStatus::Synced } else { SyncStatus::OutOfSync }
}

/// The condition of a repository that has not been reached for long.
pub(crate) fn unreachable(snapshot: &Snapshot) -> Option<Condition> {
    let error = snapshot.unreachable.as_ref()?;
    let (kind, category) = (ConditionKind::ComparisonError, error.category);
    Some(Condition { kind, category, message: error.message.clone() })
}
