//! The hooks that are there: found, let go, and cleared away.

use gitmoor_core::hook::Execution;
use gitmoor_core::live::LiveObject;
use gitmoor_core::names::FINALIZER_HOOK;
use gitmoor_core::operation::Attempt;
use gitmoor_core::status::outcomes;
use gitmoor_core::tracking::{ApplicationKey, Claim};
use gitmoor_engine::cluster::{ClusterError, Propagation};
use serde_json::{Value, json};

use crate::context::Context;

/// The live hooks of an Application.
pub(crate) fn live_hooks(context: &Context, key: &ApplicationKey) -> Vec<LiveObject> {
    let label = context.state.installation.label_value(key);
    let ours = Claim::Application(key.clone());
    context.state.live(|index| {
        let hooks = index.labelled(&label).filter(|live| live.hook.is_some() && live.claim == ours);
        hooks.cloned().collect()
    })
}

/// Lets go and deletes what the status, as it is now, says has served. True when everything that had to be done was.
pub(crate) async fn settle(context: &Context, key: &ApplicationKey) -> bool {
    let hooks = live_hooks(context, key);
    if hooks.is_empty() {
        return true;
    }
    let Some(snapshot) = context.state.snapshot(key) else { return true };
    let status = &snapshot.object["status"];
    let attempt = Attempt::of(status);
    let mut all = true;
    for live in hooks {
        let Some(hook) = live.hook.as_deref() else { continue };
        let current = attempt.as_ref().filter(|attempt| attempt.id == hook.run.attempt);
        let goes_on = current.is_some_and(|attempt| attempt.is_running() && attempt.finished_at.is_none());
        let recorded = || outcomes(status).any(|outcome| outcome.id == live.id && outcome.phase == hook.run.phase);
        let outlived = hook.generated && current.is_none() && attempt.is_some();
        let policy = match hook.execution {
            _ if outlived => true,
            Execution::Succeeded => hook.delete.succeeded,
            Execution::Failed(_) => hook.delete.failed,
            // It was given up: started late, it would disturb what came after.
            Execution::Waiting(_) | Execution::Running(_) => true,
        };
        let done = match (goes_on, policy && !live.deleting) {
            (true, _) if hook.held && recorded() => release(context, &live).await,
            (false, true) => clear(context, &live).await,
            (false, false) if hook.held => release(context, &live).await,
            _ => continue,
        };
        if let Err(error) = done {
            all = all && (error.is_not_found() || error.is_conflict());
            tracing::debug!(object = %live.id, %error, "a hook cannot be cleared away now");
        }
    }
    all
}

/// Takes our finalizer off all hooks of an Application that goes; with `delete`, they go too.
pub(crate) async fn let_go(context: &Context, key: &ApplicationKey, delete: bool) -> Result<(), ClusterError> {
    for live in live_hooks(context, key) {
        if delete { clear(context, &live).await? } else { release(context, &live).await? }
    }
    Ok(())
}

/// Takes our finalizer off a hook and deletes it.
pub(crate) async fn clear(context: &Context, live: &LiveObject) -> Result<(), ClusterError> {
    release(context, live).await?;
    let Some(live) = context.state.live(|index| index.get(&live.id).cloned()).filter(|live| !live.deleting) else {
        return Ok(());
    };
    let resources = context.state.resources();
    match resources.preferred(&live.id.group_kind) {
        Some(resource) => context.cluster.delete(resource, &live, Propagation::Background).await,
        None => Ok(()),
    }
}

/// Takes our finalizer off a hook.
async fn release(context: &Context, live: &LiveObject) -> Result<(), ClusterError> {
    if !live.hook.as_ref().is_some_and(|hook| hook.held) {
        return Ok(());
    }
    let resources = context.state.resources();
    let Some(resource) = resources.preferred(&live.id.group_kind) else { return Ok(()) };
    let namespace = live.id.namespace.as_deref();
    let Some(object) = context.cluster.get(resource, namespace, &live.id.name).await? else { return Ok(()) };
    if object["metadata"]["uid"] != live.uid.as_str() {
        return Ok(());
    }
    let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let others: Vec<Value> = finalizers.into_iter().filter(|name| name != FINALIZER_HOOK).collect();
    let patch = json!({"metadata": {
        "resourceVersion": object["metadata"]["resourceVersion"], "finalizers": others,
    }});
    let deleting = object["metadata"].get("deletionTimestamp").is_some();
    let last = deleting && patch["metadata"]["finalizers"].as_array().is_some_and(Vec::is_empty);
    let answer = context.cluster.merge(resource, namespace, &live.id.name, &patch).await?;
    if last {
        // Gone with that, and the watch may have said so before.
        context.queue.extend(context.state.gone(&live.id, &live.uid));
    } else if let Some(live) = LiveObject::reduce(&answer, &context.state.installation) {
        context.queue.extend(context.state.applied(live));
    }
    Ok(())
}
