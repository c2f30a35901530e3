//! Carries a plan out: wave by wave, tier by tier, everything in a tier at the same time.
//!
//! May write every object that the Application wants; deletes nothing.

use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_core::health::HealthStatus;
use gitmoor_core::live::LiveObject;
use gitmoor_core::manifest::{Manifest, Manifests, Stamped};
use gitmoor_core::object::ObjectId;
use gitmoor_core::ownership::FieldPath;
use gitmoor_core::plan::{Action, DesiredObject, Order, Plan, lost_field};
use gitmoor_core::resource::Resource;
use gitmoor_core::status::{Condition, ConditionKind, OperationResult};
use gitmoor_engine::cluster::{ClusterError, Validation};
use serde_json::json;

use crate::context::Context;
use crate::metrics::Result as ResultLabel;
use crate::objects;

/// Objects of one Application that are applied at the same time.
const CONCURRENT: usize = 16;

/// What an apply did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Object by object; nothing for what was skipped.
    pub results: Vec<OperationResult>,
    /// What was refused.
    pub errors: Vec<Condition>,
    /// The wave that later ones wait for, if any: what is not healthy in it.
    pub waiting: Option<String>,
    /// The API server could not be asked, or may answer differently later.
    pub retry: bool,
    /// How long repairs wait that somebody else undoes every time.
    pub wait: Option<Duration>,
}

/// How objects are applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode<'a> {
    /// Repair drift.
    pub heal: bool,
    /// Roll out what Git has changed.
    pub roll_out: bool,
    /// Create this namespace when an object needs it.
    pub create_namespace: Option<&'a str>,
}

impl Mode<'_> {
    fn wants(self, action: &Action) -> bool {
        match action {
            Action::Skip | Action::AwaitDeletion | Action::Conflict(_) => false,
            Action::Create | Action::Update | Action::Adopt => self.roll_out,
            // Comparing writes nothing; what it finds is repaired only when that is wanted.
            Action::Verify => true,
        }
    }
}

/// Applies what the plan asks for.
pub(crate) async fn apply(
    context: &Context,
    plan: &Plan,
    desired: &[DesiredObject],
    manifests: &Manifests<Stamped>,
    mode: Mode<'_>,
) -> Applied {
    let mut applied = Applied::default();
    let mut steps = plan.steps.iter().peekable();
    let mut wave = i32::MIN;
    while let Some(first) = steps.peek() {
        let order = desired[first.desired].order;
        if order.wave > wave && pending(&steps, desired, order, mode) {
            applied.waiting = unhealthy_before(context, desired, order.wave);
            if applied.waiting.is_some() {
                break;
            }
        }
        wave = order.wave;
        let mut group = Vec::new();
        while let Some(step) = steps.next_if(|step| desired[step.desired].order == order) {
            if mode.wants(&step.action) {
                group.push((&desired[step.desired], &step.action));
            }
        }
        apply_group(context, &group, manifests, mode, &mut applied).await;
    }
    applied
}

/// Whether anything of this wave or a later one is still to be rolled out; repairs do not wait.
fn pending<'a>(
    steps: &(impl Iterator<Item = &'a gitmoor_core::plan::Step> + Clone),
    desired: &[DesiredObject],
    order: Order,
    mode: Mode<'_>,
) -> bool {
    steps.clone().any(|step| {
        desired[step.desired].order >= order && mode.roll_out && !matches!(step.action, Action::Skip | Action::Verify)
    })
}

/// What an earlier wave is still waited for, in a sentence.
fn unhealthy_before(context: &Context, desired: &[DesiredObject], wave: i32) -> Option<String> {
    context.state.live(|live| {
        let mut earlier = desired.iter().filter(|object| object.order.wave < wave);
        earlier.find_map(|object| {
            let why = holds(object, live.get(&object.id))?;
            Some(format!("wave {wave} waits for {}, which is {why}", object.id))
        })
    })
}

/// Why an object holds up later waves. A paused object is as its owner wants it, and a claim may be bound only when a
/// pod uses it, which may be in a later wave.
fn holds(desired: &DesiredObject, live: Option<&LiveObject>) -> Option<String> {
    let Some(live) = live else { return Some("missing".to_owned()) };
    let pending_claim =
        desired.id.group_kind.is("", "PersistentVolumeClaim") && live.health.status == HealthStatus::Progressing;
    if pending_claim || matches!(live.health.status, HealthStatus::Healthy | HealthStatus::Suspended) {
        return None;
    }
    let detail = live.health.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("{}{detail}", live.health.status))
}

async fn apply_group(
    context: &Context,
    group: &[(&DesiredObject, &Action)],
    manifests: &Manifests<Stamped>,
    mode: Mode<'_>,
    applied: &mut Applied,
) {
    let mut work = Vec::with_capacity(group.len());
    for &(object, action) in group {
        if let Some(manifest) = manifests.get(&object.id) {
            work.push(async move { (object, action, apply_one(context, manifest, action, mode).await) });
        }
    }
    let mut outcomes = futures::stream::iter(work).buffer_unordered(CONCURRENT);
    while let Some((object, action, outcome)) = outcomes.next().await {
        let version = object.api_version.rsplit('/').next().unwrap_or_default().to_owned();
        let result = |status, message| OperationResult { id: object.id.clone(), version, status, message };
        match outcome {
            Ok(Outcome::Nothing) => {}
            Ok(Outcome::Contested { wait, message }) => {
                applied.wait = Some(applied.wait.map_or(wait, |least| least.min(wait)));
                let (kind, category) = (ConditionKind::SyncError, "OwnershipConflict");
                applied.errors.push(Condition { kind, category, message });
            }
            Ok(Outcome::Done(done)) => {
                context.metrics.applies.get_or_create(&ResultLabel::of("success")).inc();
                applied.results.push(result("Synced", done));
            }
            Err(error) => {
                let (category, retry) = classify(&error, &object.id);
                context.metrics.applies.get_or_create(&ResultLabel::of(category)).inc();
                tracing::warn!(object = %object.id, ?action, %error, category, "apply failed");
                applied.retry |= retry;
                applied.results.push(result("SyncFailed", error.to_string()));
                let message = format!("{}: {error}", object.id);
                applied.errors.push(Condition { kind: ConditionKind::SyncError, category, message });
            }
        }
    }
}

/// What became of one object.
enum Outcome {
    /// It turned out to be as it should be.
    Nothing,
    /// Applied; how, in a few words.
    Done(String),
    /// Somebody writes back every time: not now.
    Contested { wait: Duration, message: String },
}

/// Applies one object.
async fn apply_one(
    context: &Context,
    manifest: &Manifest,
    action: &Action,
    mode: Mode<'_>,
) -> Result<Outcome, ClusterError> {
    let mut done = match action {
        Action::Create => "created".to_owned(),
        Action::Adopt => "adopted".to_owned(),
        _ => "updated".to_owned(),
    };
    if *action == Action::Verify {
        let lost = context.state.live(|live| {
            let everything = || Some(FieldPath::everything());
            let lost = live.get(&manifest.id).map_or_else(everything, |live| lost_field(live, &manifest.object));
            if lost.is_none() {
                live.accept(&manifest.id);
            }
            lost
        });
        let Some(field) = lost.filter(|_| mode.heal) else { return Ok(Outcome::Nothing) };
        if let Some(wait) = context.repairs.ask(&manifest.id, Instant::now()) {
            return Ok(Outcome::Contested { wait, message: contested(context, manifest, &field).await });
        }
        done = format!("repaired: {field} was changed by somebody else");
    }
    let resource = resource_of(context, manifest)?;
    let answer = match context.cluster.apply(&resource, manifest, Validation::Strict).await {
        Err(error) if may_create_namespace(&error, &manifest.id, mode) => {
            create_namespace(context, mode).await?;
            context.cluster.apply(&resource, manifest, Validation::Strict).await?
        }
        answer => answer?,
    };
    if let Some(live) = LiveObject::reduce(&answer, &context.state.installation) {
        context.queue.extend(context.state.applied(live));
    }
    if *action == Action::Verify {
        context.metrics.drift_repairs.inc();
    }
    tracing::info!(object = %manifest.id, "{done}");
    Ok(Outcome::Done(done))
}

/// Says who keeps writing to a field of ours.
async fn contested(context: &Context, manifest: &Manifest, field: &FieldPath) -> String {
    let id = &manifest.id;
    let live = match resource_of(context, manifest) {
        Ok(resource) => context.cluster.get(&resource, id.namespace.as_deref(), &id.name).await.ok().flatten(),
        Err(_) => None,
    };
    let managers = live.map(|live| field.managers(&live)).unwrap_or_default();
    let others = if managers.is_empty() { "another writer".to_owned() } else { managers.join(", ") };
    format!("{id}: {others} and gitmoor both keep writing {field}; take the field out of Git, or stop the other writer")
}

fn resource_of(context: &Context, manifest: &Manifest) -> Result<Resource, ClusterError> {
    let version = manifest.object["apiVersion"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    context.state.resources().find(&manifest.id.group_kind, version).cloned().ok_or_else(|| ClusterError::Refused {
        code: 404,
        reason: "NotFound".to_owned(),
        message: format!("the cluster does not serve {} any more", manifest.id.group_kind),
    })
}

fn may_create_namespace(error: &ClusterError, id: &ObjectId, mode: Mode<'_>) -> bool {
    mode.create_namespace.is_some()
        && id.namespace.as_deref() == mode.create_namespace
        && error.is_missing_namespace(id)
}

/// The namespace of `CreateNamespace=true`: created, never tracked, never pruned.
async fn create_namespace(context: &Context, mode: Mode<'_>) -> Result<(), ClusterError> {
    let Some(name) = mode.create_namespace else { return Ok(()) };
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    match context.cluster.create(&objects::namespaces(), None, &object).await {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// The category of a refusal, and whether the same request may be answered differently later.
pub(crate) fn classify(error: &ClusterError, id: &ObjectId) -> (&'static str, bool) {
    match error {
        ClusterError::Configuration(_) | ClusterError::Unreachable(_) => ("ClusterUnreachable", true),
        _ if error.is_missing_namespace(id) => ("NamespaceNotFound", true),
        ClusterError::Refused { code: 403, message, .. } if message.contains("exceeded quota") => {
            ("QuotaExceeded", true)
        }
        ClusterError::Refused { code: 403, .. } => ("Forbidden", true),
        ClusterError::Refused { code: 400 | 422, .. } => ("ApplyRejected", false),
        ClusterError::Refused { code: 404, .. } => ("UnknownKind", true),
        ClusterError::Refused { code: 409, .. } => ("Conflict", true),
        ClusterError::Refused { .. } => ("ApplyFailed", true),
    }
}
