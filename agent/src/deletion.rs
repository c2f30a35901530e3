//! An Application that is being deleted: with the finalizer its objects go too, by the same rules as any deletion.

use gitmoor_core::names::{ANNOTATION_CONFIRM_PRUNE, FINALIZER_CASCADE, FINALIZER_CASCADE_BACKGROUND};
use gitmoor_core::object::annotation;
use gitmoor_core::prune::{PruneContext, judge};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{Propagation, acting_as};
use serde_json::json;

use crate::context::Context;
use crate::hooks;
use crate::kinds;
use crate::objects;
use crate::prune::prune;
use crate::queue::Next;
use crate::report::{Findings, remains, report};
use crate::state::Snapshot;

/// Deletes what a cascading Application owns, then lets the Application go.
pub(crate) async fn finish(context: &Context, key: &ApplicationKey, snapshot: &Snapshot) -> Next {
    let finalizers = snapshot.object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let ours = |name: &serde_json::Value| name == FINALIZER_CASCADE || name == FINALIZER_CASCADE_BACKGROUND;
    let cascades = finalizers.iter().any(ours);
    let spec = snapshot.spec.as_ref().as_ref().ok();
    // A project that is gone or refuses does not keep what its Application has made.
    let user = spec.and_then(|spec| context.projects.grant(key, spec).ok()?.user);
    if let Err(error) = acting_as(user.as_deref(), hooks::let_go(context, key, cascades)).await {
        let message = format!("its hooks cannot be let go: {error}");
        let condition = Condition { kind: ConditionKind::SyncError, category: "HooksStay", message };
        report(context, key, Findings { conditions: vec![condition], ..Findings::default() }).await;
        return Next::Retry;
    }
    if !cascades {
        return Next::OnChange;
    }
    let desired = snapshot.evaluation.as_ref().and_then(|evaluation| evaluation.desired.clone());
    let kinds = kinds::in_use(&context.state, desired.as_deref().unwrap_or_default(), &snapshot.object);
    if let Err(error) = context.watches.ensure(&kinds).await {
        let condition =
            Condition { kind: ConditionKind::SyncError, category: "WatchFailed", message: error.to_string() };
        report(context, key, Findings { conditions: vec![condition], ..Findings::default() }).await;
        return Next::Retry;
    }
    // Nothing is desired any more, so that all it owns is left over.
    let (plan, _) = context.state.plan(key, &[]);
    let elsewhere = context.state.wanted_elsewhere(&plan.left_over, key);
    let left_over: Vec<_> = plan.left_over.into_iter().filter(|id| !elsewhere.contains(id)).collect();
    let held_by = context.state.prune_held_by(key, &left_over).map(|key| key.to_string());
    let verdict = context.state.live(|live| {
        let objects: Vec<_> = left_over.iter().filter_map(|id| live.get(id)).collect();
        judge(
            &objects,
            &PruneContext {
                enabled: true,
                incomplete: None,
                held_by,
                desired: 0,
                allow_empty: true,
                cascade: true,
                confirmed: annotation(&snapshot.object, ANNOTATION_CONFIRM_PRUNE),
                agent_namespace: &context.namespace,
            },
        )
    });
    if left_over.is_empty() || kept_on_purpose(&verdict, left_over.len()) {
        let rest: Vec<_> = finalizers.into_iter().filter(|name| !ours(name)).collect();
        return release(context, key, &rest).await;
    }
    let pruned = acting_as(user.as_deref(), prune(context, &verdict, Propagation::Background)).await;
    // Once all that may go is on its way, people want to know what stays, and why.
    let resources = verdict.delete.is_empty().then(|| remains(context, &left_over));
    let findings = Findings { conditions: pruned.conditions, resources, ..Findings::default() };
    let told = report(context, key, findings).await;
    if pruned.retry || !told { Next::Retry } else { Next::OnChange }
}

/// Only objects are left that nobody's confirmation would delete.
fn kept_on_purpose(verdict: &gitmoor_core::prune::Verdict, left_over: usize) -> bool {
    verdict.delete.is_empty() && verdict.confirm.is_none() && verdict.waiting.len() == left_over
}

async fn release(context: &Context, key: &ApplicationKey, finalizers: &[serde_json::Value]) -> Next {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    match context.cluster.merge(&objects::applications(), Some(&key.namespace), &key.name, &patch).await {
        Ok(_) => {
            tracing::info!(application = %key, "deleted with all it owned");
            Next::OnChange
        }
        Err(error) if error.is_not_found() => Next::OnChange,
        Err(error) => {
            tracing::warn!(application = %key, %error, "the finalizer cannot be removed");
            Next::Retry
        }
    }
}
