//! Deletes what is left over, as far as the rules let it go.

use gitmoor_core::live::LiveObject;
use gitmoor_core::object::ObjectId;
use gitmoor_core::prune::{Held, Verdict, describe};
use gitmoor_core::status::{Condition, ConditionKind, OperationResult};
use gitmoor_core::tracking::Claim;
use gitmoor_engine::cluster::{ClusterError, Propagation};

use crate::apply::classify;
use crate::argo_cd;
use crate::context::Context;
use crate::handover::{Handover, NotYet};

/// What pruning did, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// Object by object.
    pub results: Vec<OperationResult>,
    /// What waits, and what was refused.
    pub conditions: Vec<Condition>,
    /// Something may be answered differently later.
    pub retry: bool,
}

/// Deletes what the verdict lets go.
pub(crate) async fn prune(context: &Context, verdict: &Verdict, propagation: Propagation) -> Pruned {
    let mut pruned = Pruned { conditions: waiting(verdict), ..Pruned::default() };
    let mut handover = Handover::new(context, &verdict.delete);
    for id in &verdict.delete {
        // As it is now: whoever changed it meanwhile changed the precondition.
        let Some(live) = context.state.live(|index| index.get(id).cloned()) else { continue };
        let version = version_of(context, id);
        if let Err(error) = leave_to_argo_cd(context, &live).await {
            pruned.refused(id, &error);
            continue;
        }
        let released = match handover.release(&live).await {
            Ok(()) => delete(context, &live, propagation).await,
            Err(NotYet::Refused(error)) => Err(error),
            Err(NotYet::Awaited(awaited)) => {
                let message = format!("{id} stays until {awaited}, which takes its Secret over, is applied");
                pruned.conditions.push(Condition { kind: ConditionKind::PruneWarning, category: "PruneHeld", message });
                pruned.retry = true;
                continue;
            }
        };
        match released {
            Ok(()) => {
                context.metrics.prunes.inc();
                tracing::info!(object = %id, "deleted");
                let message = "deleted".to_owned();
                pruned.results.push(OperationResult { id: id.clone(), version, status: "Pruned", message, hook: None });
            }
            Err(error) => pruned.refused(id, &error),
        }
    }
    pruned
}

impl Pruned {
    fn refused(&mut self, id: &ObjectId, error: &ClusterError) {
        let (category, _) = classify(error, id);
        self.retry = true;
        if !error.is_conflict() {
            tracing::warn!(object = %id, %error, "deletion failed");
            let message = format!("{id} cannot be deleted: {error}");
            self.conditions.push(Condition { kind: ConditionKind::SyncError, category, message });
        }
    }
}

/// What went over to an Application of Argo CD stays.
async fn leave_to_argo_cd(context: &Context, live: &LiveObject) -> Result<(), ClusterError> {
    let resources = context.state.resources();
    match (&live.claim, resources.preferred(&live.id.group_kind)) {
        (Claim::Application(key), Some(resource)) => argo_cd::allow(context, key, resource, &live.id).await,
        _ => Ok(()),
    }
}

async fn delete(context: &Context, live: &LiveObject, propagation: Propagation) -> Result<(), ClusterError> {
    let resources = context.state.resources();
    match resources.preferred(&live.id.group_kind) {
        Some(resource) => context.cluster.delete(resource, live, propagation).await,
        None => Ok(()),
    }
}

fn version_of(context: &Context, id: &ObjectId) -> String {
    context.state.resources().preferred(&id.group_kind).map(|resource| resource.version.clone()).unwrap_or_default()
}

/// What people have to know of objects that stay.
fn waiting(verdict: &Verdict) -> Vec<Condition> {
    let warning = |category, message| Condition { kind: ConditionKind::PruneWarning, category, message };
    match &verdict.held {
        Some(Held::By(name)) => return vec![warning("PruneHeld", format!("{name} is not planned at this commit yet"))],
        Some(Held::Empty) => {
            let message =
                "the render is empty, so nothing is deleted; set syncPolicy.automated.allowEmpty if that is meant";
            return vec![warning("PruneBlocked", message.to_owned())];
        }
        // The errors of the render say it already; not pruning is what the user asked for.
        Some(Held::Incomplete(_) | Held::Disabled) => return Vec::new(),
        None => {}
    }
    describe(verdict).map(|message| warning("PruneBlocked", message)).into_iter().collect()
}
