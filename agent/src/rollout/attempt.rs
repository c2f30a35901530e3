//! Carries an attempt of a sync out: hooks before, objects with hooks, hooks after, hooks of a failure.

use gitmoor_core::hook::HookPhase;
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::object::ObjectId;
use gitmoor_core::operation::{Attempt, Request, as_asked};
use gitmoor_core::plan::Plan;
use gitmoor_core::status::{Operation, OperationResult, Phase};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{ClusterError, acting_as};
use serde_json::{Value, json};

use super::{Done, Rollout};
use crate::apply::{Applied, Mode, apply, unhealthy_before};
use crate::context::Context;
use crate::hooks::{Hooks, Progress};
use crate::objects;
use crate::prune::prune;
use crate::turn::Turned;

impl Rollout<'_> {
    /// Writes an attempt into the status before anything is done, and takes the request for it away.
    pub(super) async fn begin(&self, plan: &Plan, turned: &Turned) -> Option<()> {
        if turned.fresh {
            let operation = self.attempt_operation(turned, Phase::Running, "syncing".to_owned(), Vec::new());
            self.tell(plan, operation).await?;
        }
        let requested = &self.object["operation"];
        // Another one stays, and has its turn when this attempt has ended.
        if requested.is_object()
            && as_asked(requested) == as_asked(&turned.record.operation)
            && let Err(error) = accept(self.context, self.key, requested).await
        {
            tracing::warn!(application = %self.key, %error, "the request for a sync cannot be taken away");
            return None;
        }
        Some(())
    }

    /// Carries an attempt on. `None`: the bodies of the manifests are needed.
    pub(super) async fn attempt(
        &self,
        plan: &Plan,
        manifests: Option<&Manifests<Stamped>>,
        mode: Mode<'_>,
        turned: &Turned,
    ) -> Option<(Done, Plan)> {
        let status = self.context.state.snapshot(self.key).map(|snapshot| snapshot.object["status"].clone());
        let status = status.unwrap_or_default();
        let runs_hooks = turned.request.as_ref().is_none_or(Request::runs_hooks);
        let desired = if runs_hooks { self.desired() } else { &[] };
        let names = (self.context, self.key);
        let mut hooks = Hooks::new(names, (&turned.id, &status), desired, manifests, mode);
        let failing = hooks.is_failing().then(|| status["operationState"]["message"].as_str().unwrap_or_default());
        let mut done = Done::default();
        let mut progress = match (&turned.end, failing) {
            (Some(why), _) => Progress::Failed(why.clone()),
            (None, Some(why)) => Progress::Failed(why.to_owned()),
            (None, None) => hooks.run_phase(HookPhase::PreSync).await,
        };
        if progress == Progress::Done {
            done.applied = apply(self.context, plan, self.desired(), manifests, mode, Some(&mut hooks)).await;
            progress = done.applied.hooks.take().unwrap_or(progress);
        }
        let (after, _) = self.context.state.plan(self.key, self.evaluation.wanted());
        if progress == Progress::Done {
            progress = self.applied(&done.applied);
        }
        if progress == Progress::Done {
            done.pruned = prune(self.context, &self.verdict(&after, &done.applied, mode, None), mode.propagation).await;
            if hooks.has(HookPhase::PostSync) {
                progress = match unhealthy_before(self.context, self.desired(), i32::MAX) {
                    Some(why) => Progress::Waiting(why),
                    None => hooks.run_phase(HookPhase::PostSync).await,
                };
            }
        }
        if let Progress::Failed(why) = &progress
            && turned.end.is_none()
        {
            match hooks.run_phase(HookPhase::SyncFail).await {
                Progress::Waiting(_) => progress = Progress::Waiting(why.clone()),
                Progress::NeedsBodies => progress = Progress::NeedsBodies,
                Progress::Done | Progress::Failed(_) => {}
            }
        }
        if progress == Progress::NeedsBodies {
            return None;
        }
        done.applied.retry |= hooks.retry;
        let results = [&done.applied.results[..], &done.pruned.results, &hooks.results].concat();
        self.conclude(&mut done, turned, progress, results);
        Some((done, after))
    }

    /// Whether what was applied lets an attempt go on.
    fn applied(&self, applied: &Applied) -> Progress {
        if let Some(waiting) = &applied.waiting {
            return Progress::Waiting(waiting.clone());
        }
        let problem = self.evaluation.incomplete().map(str::to_owned);
        match applied.errors.first() {
            Some(error) if applied.transient => Progress::Waiting(error.message.clone()),
            Some(error) => Progress::Failed(error.message.clone()),
            // A kind that is missing may come; what else is wrong with the render needs a commit.
            None if self.evaluation.unknown_kinds => Progress::Waiting(problem.unwrap_or_default()),
            None => problem.map_or(Progress::Done, Progress::Failed),
        }
    }

    /// What the status is to say of an attempt.
    fn conclude(&self, done: &mut Done, turned: &Turned, progress: Progress, results: Vec<OperationResult>) {
        let operation = |phase, message| self.attempt_operation(turned, phase, message, results);
        done.operation = Some(match progress {
            Progress::Done => {
                let dry = turned.request.as_ref().is_some_and(|request| request.dry_run);
                let message = if dry { "nothing was changed: a dry run" } else { "everything is applied" };
                operation(Phase::Succeeded, message.to_owned())
            }
            Progress::Waiting(why) => operation(Phase::Running, why),
            Progress::NeedsBodies => return,
            Progress::Failed(why) => {
                done.failed = Some(why.clone());
                let recorded = Attempt {
                    id: turned.id.clone(),
                    revision: String::new(),
                    phase: String::new(),
                    retry_count: turned.record.retry_count,
                    finished_at: None,
                    operation: turned.record.operation.clone(),
                };
                let retry = recorded.retry(self.spec.sync_policy.retry.as_ref());
                done.pause = retry.pause(turned.record.retry_count).filter(|_| turned.end.is_none());
                let mut operation = operation(Phase::Failed, why);
                if let (Some(_), Some(attempt)) = (done.pause, &mut operation.attempt) {
                    operation.phase = Phase::Retrying;
                    attempt.retry_count += 1;
                }
                operation
            }
        });
    }

    fn attempt_operation(
        &self,
        turned: &Turned,
        phase: Phase,
        message: String,
        results: Vec<OperationResult>,
    ) -> Operation {
        Operation { attempt: Some(turned.record.clone()), ..self.operation(phase, message, results) }
    }
}

/// Takes the request for a sync away, once it stands in the status.
///
/// # Errors
/// Also when there is another one by now.
async fn accept(context: &Context, key: &ApplicationKey, request: &Value) -> Result<(), ClusterError> {
    let patch = json!([
        {"op": "test", "path": "/operation", "value": request},
        {"op": "remove", "path": "/operation"},
    ]);
    let applications = objects::applications();
    let id = ObjectId {
        group_kind: applications.group_kind.clone(),
        namespace: Some(key.namespace.clone()),
        name: key.name.clone(),
    };
    let answer = acting_as(None, context.cluster.patch(&applications, &id, &patch)).await?;
    context.wrote_application(key, answer);
    Ok(())
}
