//! Carries the plan of an Application out: announce, apply, prune, report.

use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::application::{ApplicationSpec, Automated};
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::names::ANNOTATION_CONFIRM_PRUNE;
use gitmoor_core::object::annotation;
use gitmoor_core::plan::{Action, DesiredObject, Plan, Step};
use gitmoor_core::prune::{PruneContext, Verdict, judge};
use gitmoor_core::status::{Condition, ConditionKind, Operation, OperationResult, Phase};
use gitmoor_core::tracking::ApplicationKey;

use crate::apply::{Applied, Mode, apply};
use crate::context::Context;
use crate::kinds::in_status;
use crate::prune::{Pruned, prune};
use crate::queue::Next;
use crate::report::{Findings, report, resources, sync_status, unreachable};
use crate::state::{Evaluation, Snapshot};

/// When a refusal that waiting does not change is tried again all the same.
const REFUSED: Duration = Duration::from_secs(300);

/// One run of a plan.
pub(crate) struct Rollout<'a> {
    pub context: &'a Context,
    pub key: &'a ApplicationKey,
    pub snapshot: &'a Snapshot,
    pub spec: &'a ApplicationSpec,
    pub evaluation: &'a Evaluation,
}

impl Rollout<'_> {
    /// Announce, apply, prune, report. `None`: the status could not be written.
    pub(crate) async fn carry_out(&self, plan: &Plan, manifests: Option<&Manifests<Stamped>>) -> Option<Next> {
        let mode = self.mode();
        let applied = match manifests.filter(|_| plan.needs_bodies()) {
            Some(manifests) => {
                self.announce(plan, mode).await?;
                apply(self.context, plan, self.desired(), manifests, mode).await
            }
            None => Applied::default(),
        };
        let (after, _) = self.context.state.plan(self.key, self.evaluation.wanted());
        let verdict = self.verdict(&after, &applied);
        let pruned = prune(self.context, &verdict).await;
        self.report(&after, &applied, &pruned).await?;
        Some(next(self.evaluation, &applied, &pruned, &after, mode))
    }

    fn desired(&self) -> &[DesiredObject] {
        self.evaluation.wanted()
    }

    fn automated(&self) -> Option<&Automated> {
        self.spec.automated()
    }

    fn mode(&self) -> Mode<'_> {
        let heal = self.automated().is_some_and(|automated| automated.self_heal);
        let create = self.spec.sync_policy.sync_options.iter().any(|option| option == "CreateNamespace=true");
        Mode {
            heal,
            roll_out: self.automated().is_some() && (heal || !self.settled()),
            create_namespace: self.spec.destination.namespace.as_deref().filter(|_| create),
        }
    }

    /// The present inputs have been rolled out completely: what differs since was changed in the cluster.
    fn settled(&self) -> bool {
        let (object, status) = (&self.snapshot.object, &self.snapshot.object["status"]);
        let compared = &status["sync"]["comparedTo"];
        status["operationState"]["phase"] == "Succeeded"
            && status["operationState"]["syncResult"]["revision"] == self.evaluation.commit.as_str()
            && compared["source"] == object["spec"]["source"]
            && compared["destination"] == object["spec"]["destination"]
    }

    /// Writes the kinds into the status before the first object of a kind is applied: left-over objects of a kind that
    /// leaves Git while no agent runs are found by it.
    async fn announce(&self, plan: &Plan, mode: Mode<'_>) -> Option<()> {
        let known = in_status(&self.snapshot.object);
        let desired = self.desired();
        let writes = |step: &Step| !matches!(step.action, Action::Skip | Action::Verify);
        let news = plan.steps.iter().any(|step| writes(step) && !known.contains(&desired[step.desired].id.group_kind));
        if !(news && mode.roll_out) {
            return Some(());
        }
        let resources = resources(self.context, desired, plan);
        let operation = self.operation(Phase::Running, "applying".to_owned(), Vec::new());
        let told = report(
            self.context,
            self.key,
            Findings {
                revision: Some(self.evaluation.commit.to_string()),
                sync: Some(sync_status(&resources, false)),
                resources: Some(resources),
                conditions: self.evaluation.problems.clone(),
                operation: Some(operation),
                images: Some(Arc::clone(&self.evaluation.images)),
                history_limit: self.spec.revision_history_limit,
            },
        );
        told.await.then_some(())
    }

    fn operation(&self, phase: Phase, message: String, results: Vec<OperationResult>) -> Operation {
        Operation { revision: self.evaluation.commit.to_string(), phase, message, results }
    }

    fn verdict(&self, plan: &Plan, applied: &Applied) -> Verdict {
        if plan.left_over.is_empty() {
            return Verdict::default();
        }
        let elsewhere = self.context.state.wanted_elsewhere(&plan.left_over, self.key);
        let held_by = self.context.state.prune_held_by(self.key).map(|key| key.to_string());
        let problems = self.evaluation.problems.first().map(|problem| problem.message.clone());
        // What is applied later must not find its predecessor gone.
        let unfinished = applied.waiting.clone().or_else(|| applied.errors.first().map(|error| error.message.clone()));
        let context = PruneContext {
            enabled: self.automated().is_some_and(|automated| automated.prune),
            incomplete: problems.or(unfinished),
            held_by,
            desired: self.desired().len(),
            allow_empty: self.automated().is_some_and(|automated| automated.allow_empty),
            cascade: false,
            confirmed: annotation(&self.snapshot.object, ANNOTATION_CONFIRM_PRUNE),
            agent_namespace: &self.context.namespace,
        };
        self.context.state.live(|live| {
            let left_over = plan.left_over.iter().filter(|id| !elsewhere.contains(*id));
            let left_over: Vec<_> = left_over.filter_map(|id| live.get(id)).collect();
            judge(&left_over, &context)
        })
    }

    async fn report(&self, plan: &Plan, applied: &Applied, pruned: &Pruned) -> Option<()> {
        let mut conditions = self.evaluation.problems.clone();
        conditions.extend(applied.errors.iter().chain(&pruned.conditions).cloned());
        conditions.extend(conflicts(plan, self.desired()));
        conditions.extend(self.spec.warnings().map(|field| Condition {
            kind: ConditionKind::UnsupportedFieldWarning,
            category: "UnsupportedField",
            message: format!("{field} is not supported and has no effect"),
        }));
        let unreachable = unreachable(self.snapshot);
        let complete = self.evaluation.is_complete();
        let resources = resources(self.context, self.desired(), plan);
        let sync = sync_status(&resources, complete);
        let sync = Some(sync).filter(|_| unreachable.is_none());
        conditions.extend(unreachable);
        let told = report(
            self.context,
            self.key,
            Findings {
                revision: Some(self.evaluation.commit.to_string()),
                sync,
                resources: Some(resources),
                conditions,
                operation: self.outcome(applied, pruned),
                images: Some(Arc::clone(&self.evaluation.images)),
                history_limit: self.spec.revision_history_limit,
            },
        );
        if let Some(since) = self.snapshot.since.filter(|_| !applied.results.is_empty()) {
            self.context.metrics.seen_to_applied.observe(since.elapsed().as_secs_f64());
        }
        told.await.then_some(())
    }

    /// What the status says of this run as an operation; `None` when there was nothing to do.
    fn outcome(&self, applied: &Applied, pruned: &Pruned) -> Option<Operation> {
        let did = !(applied.results.is_empty() && pruned.results.is_empty());
        let due = self.automated().is_some() && !self.settled();
        if !did && !due {
            return None;
        }
        let (phase, message) = match (&applied.waiting, applied.errors.len() + self.evaluation.problems.len()) {
            (_, 1..) => {
                (Phase::Failed, format!("{} objects failed", applied.errors.len() + self.evaluation.problems.len()))
            }
            (Some(waiting), 0) => (Phase::Running, waiting.clone()),
            (None, 0) => (Phase::Succeeded, "everything is applied".to_owned()),
        };
        let results = applied.results.iter().chain(&pruned.results).cloned().collect();
        Some(self.operation(phase, message, results))
    }
}

/// Objects that somebody else has and wants too.
fn conflicts<'a>(plan: &'a Plan, desired: &'a [DesiredObject]) -> impl Iterator<Item = Condition> + 'a {
    plan.steps.iter().filter_map(|step| match &step.action {
        Action::Conflict(other) => Some(Condition {
            kind: ConditionKind::SharedResourceWarning,
            category: "SharedResource",
            message: format!("{} belongs to {other}; take it out of one of them", desired[step.desired].id),
        }),
        _ => None,
    })
}

fn next(evaluation: &Evaluation, applied: &Applied, pruned: &Pruned, after: &Plan, mode: Mode<'_>) -> Next {
    let unfinished = applied.wait.is_none()
        && mode.roll_out
        && applied.waiting.is_none()
        && applied.errors.is_empty()
        && after.needs_bodies();
    if evaluation.unknown_kinds || applied.retry || pruned.retry || unfinished {
        return Next::Retry;
    }
    match applied.wait {
        Some(wait) => Next::After(wait),
        None if applied.errors.is_empty() => Next::OnChange,
        None => Next::After(REFUSED),
    }
}
