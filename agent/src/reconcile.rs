//! The flow of one Application: evaluate, watch, plan, announce, apply, prune, report.

use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::application::{ApplicationSpec, SpecError};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_core::template::placeholders_in;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::acting_as;
use serde_json::Value;

use crate::argo_cd;
use crate::context::Context;
use crate::deletion;
use crate::evaluate::{Evaluated, Subject, evaluate};
use crate::hooks;
use crate::kinds;
use crate::projects::Grant;
use crate::queue::Next;
use crate::refresh;
use crate::report::{Findings, report, unreachable};
use crate::rollout::{Carried, Rollout};
use crate::state::{Evaluation, Follow, Head, Origin, Position, Snapshot};

/// How long to wait for another Application that has to be evaluated first.
const UNDECIDED: Duration = Duration::from_millis(200);

/// Brings one Application to what its commit says, as far as that is possible now.
pub(crate) async fn reconcile(context: Arc<Context>, key: ApplicationKey) -> Next {
    if !context.state.knows_all_applications() {
        return Next::OnChange;
    }
    let Some(snapshot) = context.state.snapshot(&key) else { return gone(&context, &key).await };
    if context.argo_cd.is_being_listed() {
        return Next::OnChange;
    }
    if let Some(next) = argo_cd::leave(&context, &key, &snapshot) {
        return next;
    }
    let looked = refresh::begin(&context, &key, &snapshot);
    // Boxed: the compiler loses count of futures within futures.
    let next = Box::pin(one(Arc::clone(&context), key.clone(), snapshot)).await;
    if looked && next != Next::After(UNDECIDED) {
        refresh::end(&context, &key).await;
    }
    next
}

async fn one(context: Arc<Context>, key: ApplicationKey, snapshot: Snapshot) -> Next {
    if snapshot.object["metadata"].get("deletionTimestamp").is_some() {
        return deletion::finish(&context, &key, &snapshot).await;
    }
    let spec = match snapshot.spec.as_ref() {
        Ok(spec) => spec.clone(),
        Err(error) => {
            let Condition { kind, category, message } = refused(&snapshot.object["spec"], error);
            return unknown(&context, &key, kind, category, message).await;
        }
    };
    if context.projects.are_being_listed() {
        return Next::OnChange;
    }
    let grant = match context.projects.grant(&key, &spec) {
        Ok(grant) => grant,
        Err(Condition { kind, category, message }) => {
            context.state.set_undecidable(&key);
            return unknown(&context, &key, kind, category, message).await;
        }
    };
    match positions(&context, &key, &snapshot).await {
        Ok(positions) => sync(&context, &key, &snapshot, (&spec, &grant), &positions).await,
        Err(next) => next,
    }
}

/// Why a spec cannot be worked with. In one that was never initialised the placeholders are the reason, whatever else.
fn refused(spec: &Value, error: &SpecError) -> Condition {
    let kind = ConditionKind::InvalidSpecError;
    let left = placeholders_in(spec);
    if !left.is_empty() {
        let left = left.into_iter().collect::<Vec<_>>().join(", ");
        let message =
            format!("the Application still has {left}; put the value into setup.conf, and run gitmoor init setup.conf");
        return Condition { kind, category: "UnresolvedPlaceholder", message };
    }
    let category = if matches!(error, SpecError::Unsupported(_)) { "UnsupportedField" } else { "InvalidSpec" };
    Condition { kind, category, message: error.to_string() }
}

/// The Application is gone, and what it had stays; its hooks can go whenever somebody deletes them.
async fn gone(context: &Context, key: &ApplicationKey) -> Next {
    context.remotes.forget(key);
    context.metrics.latencies.forget(key);
    match hooks::let_go(context, key, false).await {
        Ok(()) => Next::OnChange,
        Err(error) => {
            tracing::warn!(application = %key, %error, "its hooks cannot be let go");
            Next::Retry
        }
    }
}

/// Where each source stands, or what to do while that is not known.
async fn positions(context: &Context, key: &ApplicationKey, snapshot: &Snapshot) -> Result<Vec<Position>, Next> {
    let missing = snapshot.heads.iter().position(|head| *head == Head::Missing);
    if let Some((index, source)) = missing.and_then(|index| Some((index, snapshot.sources.get(index)?))) {
        let Follow { origin, revision } = &source.follow;
        let at = if snapshot.sources.len() > 1 { format!("spec.sources[{index}]") } else { "spec.source".to_owned() };
        let message = match origin {
            Origin::Git(url) => {
                format!("{url} has no branch, tag or commit `{revision}`; push it, or correct {at}.targetRevision")
            }
            Origin::Chart(address) => {
                format!("{address} has no version `{revision}`; publish it, or correct {at}.targetRevision")
            }
        };
        return Err(unknown(context, key, ConditionKind::ComparisonError, "RevisionNotFound", message).await);
    }
    let known: Option<Vec<Position>> = snapshot
        .heads
        .iter()
        .map(|head| match head {
            Head::At(position) => Some(position.clone()),
            Head::Pending | Head::Missing => None,
        })
        .collect();
    match (known, &snapshot.unreachable) {
        (Some(positions), _) if !positions.is_empty() => Ok(positions),
        (_, Some(error)) => {
            Err(unknown(context, key, ConditionKind::ComparisonError, error.category, error.message.clone()).await)
        }
        _ => Err(Next::OnChange),
    }
}

/// Nothing can be said; what runs keeps running.
async fn unknown(
    context: &Context,
    key: &ApplicationKey,
    kind: ConditionKind,
    category: &'static str,
    message: String,
) -> Next {
    context.metrics.unknown.get_or_create(&crate::metrics::Result::of(category)).inc();
    let conditions = vec![Condition { kind, category, message }];
    let told = report(context, key, Findings { conditions, ..Findings::default() }).await;
    if told { Next::OnChange } else { Next::Retry }
}

async fn sync(
    context: &Context,
    key: &ApplicationKey,
    snapshot: &Snapshot,
    (spec, grant): (&ApplicationSpec, &Grant),
    positions: &[Position],
) -> Next {
    let subject = Subject { key, snapshot, spec, positions, grant };
    // A kind that was missing may be served by now.
    let known = snapshot.evaluation.as_ref().filter(|evaluation| !snapshot.dirty && !evaluation.unknown_kinds);
    let mut evaluated = match known {
        Some(evaluation) => Evaluated::known(Arc::clone(evaluation)),
        None => evaluate(context, &subject, false).await,
    };
    if evaluated.evaluation.desired.is_none() {
        return failed(context, key, snapshot, &evaluated).await;
    }
    if let Err(next) = watch(context, key, snapshot, &evaluated.evaluation).await {
        return next;
    }
    let (mut plan, undecided) = context.state.plan(key, evaluated.evaluation.wanted());
    context.queue.extend(context.state.take_contested_news());
    if undecided {
        return Next::After(UNDECIDED);
    }
    loop {
        // What has come meanwhile is queued: a request for another revision above all is not for this evaluation.
        let Some(object) = context.state.present(key, snapshot) else { return Next::After(UNDECIDED) };
        let rollout = Rollout { context, key, snapshot, object, spec, grant, evaluation: &evaluated.evaluation };
        // What it writes besides, into Applications, it writes as itself.
        let carried = acting_as(grant.user.as_deref(), rollout.carry_out(&plan, evaluated.manifests.as_ref()));
        match carried.await {
            None => return Next::Retry,
            Some(Carried::Out(next)) => return next,
            Some(Carried::NeedsBodies) => {}
        }
        evaluated = evaluate(context, &subject, true).await;
        if evaluated.evaluation.desired.is_none() || evaluated.manifests.is_none() {
            return failed(context, key, snapshot, &evaluated).await;
        }
        (plan, _) = context.state.plan(key, evaluated.evaluation.wanted());
    }
}

async fn failed(context: &Context, key: &ApplicationKey, snapshot: &Snapshot, evaluated: &Evaluated) -> Next {
    let mut conditions = evaluated.evaluation.problems.clone();
    conditions.extend(unreachable(snapshot));
    let subject = Some(Arc::clone(&snapshot.object));
    let told = report(context, key, Findings { subject, conditions, ..Findings::default() }).await;
    if told && !evaluated.waiting_helps { Next::OnChange } else { Next::Retry }
}

/// Watches every kind that the Application wants or has had.
async fn watch(
    context: &Context,
    key: &ApplicationKey,
    snapshot: &Snapshot,
    evaluation: &Evaluation,
) -> Result<(), Next> {
    let kinds = kinds::in_use(&context.state, evaluation.wanted(), &snapshot.object);
    match context.watches.ensure(&kinds).await {
        Ok(()) => Ok(()),
        Err(error) => {
            unknown(context, key, ConditionKind::ComparisonError, "WatchFailed", error.to_string()).await;
            // The kind may be gone, or served in another version now.
            context.kinds.refresh().await;
            Err(Next::Retry)
        }
    }
}
