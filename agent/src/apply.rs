//! Carries a plan out: wave by wave, tier by tier, everything in a tier at the same time.
//!
//! May write every object that the Application wants; deletes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_core::application::NamespaceMetadata;
use gitmoor_core::argo_cd::LEFT_TO_ARGO_CD;
use gitmoor_core::health::HealthStatus;
use gitmoor_core::hook::HookPhase;
use gitmoor_core::live::LiveObject;
use gitmoor_core::manifest::{Manifest, Manifests, Stamped};
use gitmoor_core::object::ObjectId;
use gitmoor_core::operation::Selected;
use gitmoor_core::plan::{Action, DesiredObject, Plan, Step};
use gitmoor_core::resource::Resource;
use gitmoor_core::status::{Condition, ConditionKind, OperationResult};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{ClusterError, Propagation};

use crate::context::Context;
use crate::drift::{self, Verified};
use crate::hooks::{Hooks, Progress};
use crate::metrics::Result as ResultLabel;
use crate::namespace;
use crate::write::Write;

/// Objects of one Application that are applied at the same time.
const CONCURRENT: usize = 16;
/// How long webhooks are kept back for what serves them.
const INTERCEPTION_PATIENCE: Duration = Duration::from_secs(120);
/// How often that is looked at, if nothing else happens.
const INTERCEPTION_LOOK: Duration = Duration::from_secs(10);

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
    /// All errors are such as go away by themselves.
    pub transient: bool,
    /// Where the hooks stand that run together with objects, when they keep later waves waiting.
    pub hooks: Option<Progress>,
}

/// How objects are applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode<'a> {
    /// Repair drift.
    pub heal: bool,
    /// Roll out what Git has changed.
    pub roll_out: bool,
    /// Delete what is left over.
    pub prune: bool,
    /// Do so when everything is healthy.
    pub prune_last: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// How long this sync has been under way.
    pub running_for: Duration,
    /// Only these objects.
    pub only: Option<&'a [Selected]>,
    /// Whose objects they are.
    pub application: &'a ApplicationKey,
    /// The present inputs are not rolled out yet: what others have made may still have to be taken over.
    pub adopting: bool,
    /// An object that cannot be changed is made anew.
    pub force: bool,
    /// What the user has confirmed.
    pub confirmed: Option<&'a str>,
    /// What becomes of what a pruned object owns.
    pub propagation: Propagation,
    /// An object that somebody else has stops the sync.
    pub fail_on_shared: bool,
    /// Labels and annotations of the namespace that is created.
    pub namespace_metadata: Option<&'a NamespaceMetadata>,
    /// Create this namespace when an object needs it.
    pub create_namespace: Option<&'a str>,
}

impl Mode<'_> {
    pub(crate) fn wants(self, id: &ObjectId, action: &Action) -> bool {
        if self.only.is_some_and(|only| !only.iter().any(|selected| selected.is(id))) {
            return false;
        }
        match action {
            Action::Skip | Action::AwaitDeletion | Action::Conflict(_) => false,
            Action::Create | Action::Update | Action::Adopt => self.roll_out,
            // Comparing writes nothing; what it finds is repaired only when that is wanted.
            Action::Verify => true,
        }
    }
}

/// Applies what the plan asks for, and runs the hooks that belong to its waves.
pub(crate) async fn apply(
    context: &Context,
    plan: &Plan,
    desired: &[DesiredObject],
    manifests: Option<&Manifests<Stamped>>,
    mode: Mode<'_>,
    mut hooks: Option<&mut Hooks<'_>>,
) -> Applied {
    if let Some(shared) = shared(plan, desired).filter(|_| mode.fail_on_shared) {
        return Applied { errors: vec![shared], ..Applied::default() };
    }
    let mut applied = Applied { transient: true, ..Applied::default() };
    let writes =
        |step: &Step| !matches!(step.action, Action::Verify) && mode.wants(&desired[step.desired].id, &step.action);
    if !mode.dry_run && plan.steps.iter().any(writes) {
        applied.errors.extend(namespace::label(context, mode).await);
    }
    let waves_of_hooks = hooks.as_ref().map(|hooks| hooks.waves(HookPhase::Sync)).unwrap_or_default();
    let mut waves: BTreeSet<i32> = plan.steps.iter().map(|step| desired[step.desired].order.wave).collect();
    waves.extend(&waves_of_hooks);
    for wave in waves {
        let has_hooks = waves_of_hooks.contains(&wave);
        if has_hooks || pending(plan, desired, wave, mode) {
            applied.waiting = unhealthy_before(context, desired, wave);
        }
        if applied.waiting.is_none() {
            apply_wave(context, plan, desired, manifests, (wave, mode), &mut applied).await;
        }
        if applied.waiting.is_some() {
            break;
        }
        if let Some(hooks) = hooks.as_mut().filter(|_| has_hooks && applied.errors.is_empty()) {
            let progress = hooks.run(HookPhase::Sync, wave).await;
            if progress != Progress::Done {
                applied.hooks = Some(progress);
                break;
            }
        }
    }
    applied
}

/// Why nothing at all is applied, with `FailOnSharedResource`.
fn shared(plan: &Plan, desired: &[DesiredObject]) -> Option<Condition> {
    let (id, other) = plan.steps.iter().find_map(|step| match &step.action {
        Action::Conflict(other) => Some((&desired[step.desired].id, other)),
        _ => None,
    })?;
    let message = format!("nothing is applied (FailOnSharedResource), because {id} belongs to {other}");
    Some(Condition { kind: ConditionKind::SyncError, category: "SharedResource", message })
}

/// Applies the tiers of a wave, one after the other.
async fn apply_wave(
    context: &Context,
    plan: &Plan,
    desired: &[DesiredObject],
    manifests: Option<&Manifests<Stamped>>,
    (wave, mode): (i32, Mode<'_>),
    applied: &mut Applied,
) {
    let Some(manifests) = manifests else { return };
    let of_wave = plan.steps.iter().map(|step| (&desired[step.desired], &step.action));
    let of_wave = of_wave.filter(|(object, action)| object.order.wave == wave && mode.wants(&object.id, action));
    for group in of_wave.collect::<Vec<_>>().chunk_by(|(one, _), (other, _)| one.order == other.order) {
        if let Some(why) = intercepts_too_early(context, group, desired, mode) {
            (applied.waiting, applied.wait) = (Some(why), Some(INTERCEPTION_LOOK));
            return;
        }
        apply_group(context, group, manifests, mode, applied).await;
    }
}

/// Webhooks refuse every request as long as nobody serves them: they come when the workloads of their wave run, but
/// not later than [`INTERCEPTION_PATIENCE`], should one of those wait for them in turn.
fn intercepts_too_early(
    context: &Context,
    group: &[(&DesiredObject, &Action)],
    desired: &[DesiredObject],
    mode: Mode<'_>,
) -> Option<String> {
    let (first, _) = group.iter().find(|(object, action)| {
        object.id.group_kind.group == "admissionregistration.k8s.io"
            && object.id.group_kind.kind.ends_with("WebhookConfiguration")
            && matches!(action, Action::Create)
    })?;
    if mode.running_for > INTERCEPTION_PATIENCE {
        return None;
    }
    let serves = |object: &&DesiredObject| {
        object.order.wave == first.order.wave
            && object.id.group_kind.group == "apps"
            && matches!(object.id.group_kind.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
    };
    context.state.live(|live| {
        desired.iter().filter(serves).find_map(|object| {
            let why = holds(object, live.get(&object.id))?;
            Some(format!("{} waits for {}, which is {why}", first.id, object.id))
        })
    })
}

/// Whether anything of this wave or a later one is still to be rolled out; repairs do not wait.
fn pending(plan: &Plan, desired: &[DesiredObject], wave: i32, mode: Mode<'_>) -> bool {
    mode.roll_out
        && plan.steps.iter().any(|step| {
            desired[step.desired].order.wave >= wave && !matches!(step.action, Action::Skip | Action::Verify)
        })
}

/// What an earlier wave is still waited for, in a sentence.
pub(crate) fn unhealthy_before(context: &Context, desired: &[DesiredObject], wave: i32) -> Option<String> {
    context.state.live(|live| {
        let mut earlier = desired.iter().filter(|object| object.role.is_object() && object.order.wave < wave);
        earlier.find_map(|object| {
            let why = holds(object, live.get(&object.id))?;
            let waits = if wave == i32::MAX { "what comes last".to_owned() } else { format!("wave {wave}") };
            Some(format!("{waits} waits for {}, which is {why}", object.id))
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
    let mut outcomes: Vec<_> = futures::stream::iter(work).buffer_unordered(CONCURRENT).collect().await;
    // In the order in which they ended, the same results would be another status each time.
    outcomes.sort_by(|(one, ..), (other, ..)| one.id.cmp(&other.id));
    for (object, action, outcome) in outcomes {
        let version = object.api_version.rsplit('/').next().unwrap_or_default().to_owned();
        let result = |status, message| OperationResult { id: object.id.clone(), version, status, message, hook: None };
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
                applied.transient &= error.is_transient() || error.is_missing_namespace(&object.id);
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
    let resource = resource_of(context, manifest)?;
    if *action == Action::Verify {
        match drift::verify(context, &resource, manifest, mode).await? {
            Verified::Nothing => return Ok(Outcome::Nothing),
            Verified::Contested { wait, message } => return Ok(Outcome::Contested { wait, message }),
            Verified::Apply(why) => done = why,
        }
    }
    if context.mutations.hides_digest(mode.application, &manifest.id)
        && let Some(wait) = context.repairs.ask(&manifest.id, Instant::now())
    {
        let message = format!("{}: an admission webhook takes its digest away", manifest.id);
        return Ok(Outcome::Contested { wait, message });
    }
    let write = Write { context, resource: &resource, manifest, action, mode };
    if mode.dry_run {
        let written = write.dry_run().await;
        return written.map(|()| Outcome::Done(format!("would be {done}")));
    }
    let written = match write.run().await {
        Err(error) if may_create_namespace(&error, &manifest.id, mode) => {
            namespace::create(context, mode).await?;
            write.run().await?
        }
        written => written?,
    };
    context.mutations.note(mode.application, &manifest.id, written.overwritten);
    if let Some(live) = LiveObject::reduce(&written.answer, &context.state.installation) {
        context.queue.extend(context.state.applied(live));
    }
    let done = written.how.unwrap_or(done);
    if *action == Action::Verify {
        context.metrics.drift_repairs.inc();
    }
    tracing::info!(object = %manifest.id, "{done}");
    Ok(Outcome::Done(done))
}

pub(crate) fn resource_of(context: &Context, manifest: &Manifest) -> Result<Resource, ClusterError> {
    let version = manifest.object["apiVersion"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    context.state.resources().find(&manifest.id.group_kind, version).cloned().ok_or_else(|| ClusterError::Refused {
        code: 404,
        reason: "NotFound".to_owned(),
        message: format!("the cluster does not serve {} any more", manifest.id.group_kind),
    })
}

pub(crate) fn may_create_namespace(error: &ClusterError, id: &ObjectId, mode: Mode<'_>) -> bool {
    mode.create_namespace.is_some()
        && id.namespace.as_deref() == mode.create_namespace
        && error.is_missing_namespace(id)
}

/// The category of a refusal, and whether the same request may be answered differently later.
pub(crate) fn classify(error: &ClusterError, id: &ObjectId) -> (&'static str, bool) {
    match error {
        ClusterError::Configuration(_) | ClusterError::Unreachable(_) => ("ClusterUnreachable", true),
        _ if error.reason() == LEFT_TO_ARGO_CD => (LEFT_TO_ARGO_CD, true),
        _ if error.is_webhook_failure() => ("WebhookUnavailable", true),
        ClusterError::Immutable { .. } => ("ImmutableField", false),
        _ if error.is_missing_namespace(id) => ("NamespaceNotFound", true),
        ClusterError::Refused { code: 403, message, .. } if message.contains("exceeded quota") => {
            ("QuotaExceeded", true)
        }
        ClusterError::Refused { code: 403, .. } => ("Forbidden", true),
        _ if error.is_unknown_field() => ("UnknownField", false),
        ClusterError::Refused { code: 400 | 422, .. } => ("ApplyRejected", false),
        ClusterError::Refused { code: 404, .. } => ("UnknownKind", true),
        ClusterError::Refused { code: 409, .. } => ("Conflict", true),
        ClusterError::Refused { .. } => ("ApplyFailed", true),
    }
}
