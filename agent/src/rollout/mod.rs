//! Carries the plan of an Application out: announce, run hooks, apply, prune, report.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::application::{ApplicationSpec, Automated};
use gitmoor_core::handling::option;
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::names::ANNOTATION_CONFIRM_PRUNE;
use gitmoor_core::object::annotation;
use gitmoor_core::operation::{Attempt, is_output, named_source, rolled_out};
use gitmoor_core::plan::{Action, DesiredObject, Plan, Step};
use gitmoor_core::prune::{PruneContext, Verdict, judge};
use gitmoor_core::status::{Condition, ConditionKind, Operation, OperationResult, Phase, Revision, is_argo_cds};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::Propagation;
use serde_json::Value;

use crate::apply::{Applied, Mode, apply, unhealthy_before};
use crate::clock;
use crate::context::Context;
use crate::hooks::{live_hooks, settle};
use crate::kinds::in_status;
use crate::projects::Grant;
use crate::prune::{Pruned, prune};
use crate::queue::Next;
use crate::report::{Findings, report, resources, sync_status, unreachable};
use crate::state::{Evaluation, Snapshot};
use crate::turn::{Situation, Turn};

/// When a refusal that waiting does not change is tried again all the same.
const REFUSED: Duration = Duration::from_secs(300);
/// When a definition that was applied is looked for again, should nobody tell that it is served.
const AWAITED: Duration = Duration::from_secs(2);

/// What was done, and what there is to say of it.
#[derive(Debug, Default)]
struct Done {
    applied: Applied,
    pruned: Pruned,
    /// For the status; `None`: as before.
    operation: Option<Operation>,
    /// Why the sync has failed.
    failed: Option<String>,
    /// How long to wait for the next attempt.
    pause: Option<Duration>,
}

/// One run of a plan.
pub(crate) struct Rollout<'a> {
    pub context: &'a Context,
    pub key: &'a ApplicationKey,
    /// What was evaluated.
    pub snapshot: &'a Snapshot,
    /// The Application as it is now, with the same spec: a status that this reconcile wrote counts.
    pub object: Arc<Value>,
    pub spec: &'a ApplicationSpec,
    pub grant: &'a Grant,
    pub evaluation: &'a Evaluation,
}

/// What a rollout needs to go on, or when it is looked at again.
pub(crate) enum Carried {
    /// Done as far as that is possible now.
    Out(Next),
    /// The bodies of the manifests are needed.
    NeedsBodies,
}

impl Rollout<'_> {
    /// Announce, run hooks, apply, prune, report. `None`: the status could not be written.
    pub(crate) async fn carry_out(&self, plan: &Plan, manifests: Option<&Manifests<Stamped>>) -> Option<Carried> {
        self.context.mutations.recall(self.key, &self.object["status"]);
        let turn = self.turn();
        let mode = self.mode(&turn);
        let wanted = |step: &Step| mode.wants(&self.desired()[step.desired].id, &step.action);
        if manifests.is_none() && plan.steps.iter().any(wanted) {
            return Some(Carried::NeedsBodies);
        }
        let (done, after) = match &turn {
            Turn::Attempt(turned) => {
                self.begin(plan, turned).await?;
                match self.attempt(plan, manifests, mode, turned).await {
                    Some(carried) => carried,
                    None => return Some(Carried::NeedsBodies),
                }
            }
            _ => self.plain(plan, manifests, mode, &turn).await?,
        };
        if !done.applied.results.is_empty() {
            self.context.metrics.latencies.touched(self.key);
        }
        self.report(&after, &done).await?;
        let settled = settle(self.context, self.key).await;
        let next = next(self.evaluation, &done, &after, mode);
        Some(Carried::Out(if settled { next } else { Next::Retry }))
    }

    fn turn(&self) -> Turn {
        let due = self.automated().is_some() && !self.settled();
        let hooks = live_hooks(self.context, self.key);
        let (object, now) = (&self.object, clock::now());
        Situation { object, spec: self.spec, evaluation: self.evaluation, hooks: &hooks, due, now: &now }.turn()
    }

    fn desired(&self) -> &[DesiredObject] {
        self.evaluation.wanted()
    }

    fn automated(&self) -> Option<&Automated> {
        self.spec.automated()
    }

    fn mode<'m>(&'m self, turn: &'m Turn) -> Mode<'m> {
        let request = match turn {
            Turn::Attempt(turned) => turned.request.as_ref(),
            _ => None,
        };
        let options = request.and_then(|request| request.sync_options.as_ref());
        let options = options.unwrap_or(&self.spec.sync_policy.sync_options);
        let has = |wanted: &str| options.iter().any(|option| option == wanted);
        let heal = request.is_some() || self.automated().is_some_and(|automated| automated.self_heal);
        let roll_out = match turn {
            Turn::Rest { failed: Some(_) } | Turn::Hold(_) | Turn::Pause { .. } => false,
            Turn::Rest { failed: None } | Turn::Plain => self.automated().is_some() && (heal || !self.settled()),
            Turn::Attempt(_) => true,
        };
        let prune = request.map_or_else(|| self.automated().is_some_and(|automated| automated.prune), |r| r.prune);
        Mode {
            heal,
            roll_out,
            prune,
            prune_last: has("PruneLast=true"),
            running_for: self.running_for(),
            dry_run: request.is_some_and(|request| request.dry_run),
            only: request.map(|request| request.resources.as_slice()).filter(|only| !only.is_empty()),
            application: self.key,
            adopting: !self.settled(),
            force: request.is_some_and(|request| request.sync_strategy.force()),
            confirmed: annotation(&self.object, ANNOTATION_CONFIRM_PRUNE),
            propagation: propagation(options),
            fail_on_shared: has("FailOnSharedResource=true"),
            namespace_metadata: Some(&self.spec.sync_policy.managed_namespace_metadata),
            create_namespace: self.spec.destination.namespace.as_deref().filter(|_| has("CreateNamespace=true")),
        }
    }

    /// How long the sync to these inputs has been under way.
    fn running_for(&self) -> Duration {
        let state = &self.object["status"]["operationState"];
        let current = state["phase"] == "Running" && state["syncResult"]["revision"] == self.evaluation.identity();
        state["startedAt"].as_str().filter(|_| current).map(clock::since).unwrap_or_default()
    }

    /// The present inputs have been rolled out completely: what differs since was changed in the cluster.
    fn settled(&self) -> bool {
        let (object, status) = (&self.object, &self.object["status"]);
        let (compared, state) = (&status["sync"]["comparedTo"], &status["operationState"]);
        let revision = self.evaluation.revision();
        let (field, source) = named_source(&object["spec"]);
        let of_source = |entry: &Value| entry.get(field).is_none_or(|recorded| recorded == source);
        let partial = Attempt::of(status).and_then(|attempt| attempt.request()).is_some_and(|r| !r.is_whole());
        let rolled_out = if partial {
            let last = status["history"].as_array().and_then(|history| history.last());
            last.is_some_and(|last| Revision::read(last).as_ref() == Some(&revision) && of_source(last))
        } else {
            state["phase"] == "Succeeded"
                && state["syncResult"]["revision"] == revision.identity()
                && of_source(&state["syncResult"])
                && is_output(state, &self.evaluation.output)
        };
        rolled_out
            && !is_argo_cds(status)
            && compared.get(field) == Some(source)
            && compared["destination"] == object["spec"]["destination"]
    }

    /// A sync that needs no memory, or repairs between two syncs.
    async fn plain(
        &self,
        plan: &Plan,
        manifests: Option<&Manifests<Stamped>>,
        mode: Mode<'_>,
        turn: &Turn,
    ) -> Option<(Done, Plan)> {
        self.announce(plan, mode).await?;
        let applied = apply(self.context, plan, self.desired(), manifests, mode, None).await;
        let (after, _) = self.context.state.plan(self.key, self.evaluation.wanted());
        let held = match turn {
            Turn::Hold(why) | Turn::Rest { failed: Some(why) } | Turn::Pause { failed: why, .. } => Some(why.clone()),
            _ => None,
        };
        let pruned =
            prune(self.context, &self.verdict(&after, &applied, mode, held.as_deref()), mode.propagation).await;
        let mut done = Done { operation: None, applied, pruned, failed: None, pause: None };
        match turn {
            Turn::Hold(_) => {}
            Turn::Rest { failed: Some(why) } => done.failed = Some(why.clone()),
            Turn::Pause { failed, left } => {
                done.failed = Some(failed.clone());
                done.pause = Some(*left);
            }
            _ => done.operation = self.outcome(&done.applied, &done.pruned),
        }
        Some((done, after))
    }

    /// Writes the kinds into the status before the first object of a kind is applied: left-over objects of a kind that
    /// leaves Git while no agent runs are found by it.
    async fn announce(&self, plan: &Plan, mode: Mode<'_>) -> Option<()> {
        let known = in_status(&self.object);
        let desired = self.desired();
        let writes = |step: &Step| !matches!(step.action, Action::Skip | Action::Verify);
        let news = plan.steps.iter().any(|step| writes(step) && !known.contains(&desired[step.desired].id.group_kind));
        if !(news && mode.roll_out) {
            return Some(());
        }
        let operation = self.operation(Phase::Running, "applying".to_owned(), Vec::new());
        self.tell(plan, operation).await
    }

    /// Writes into the status that a sync runs, and what of.
    async fn tell(&self, plan: &Plan, operation: Operation) -> Option<()> {
        let resources = resources(self.context, self.desired(), plan);
        let findings = Findings {
            subject: Some(Arc::clone(&self.object)),
            revision: Some(self.evaluation.revision()),
            source_kinds: self.evaluation.source_kinds(),
            sync: Some(sync_status(&resources, false)),
            resources: Some(resources),
            conditions: self.evaluation.problems.clone(),
            operation: Some(operation),
            images: Some(Arc::clone(&self.evaluation.images)),
            history_limit: self.spec.revision_history_limit,
        };
        report(self.context, self.key, findings).await.then_some(())
    }

    fn operation(&self, phase: Phase, message: String, results: Vec<OperationResult>) -> Operation {
        let (revision, output) = (self.evaluation.revision(), self.evaluation.output.clone());
        Operation { source: rolled_out(&self.object), revision, output, phase, message, results, attempt: None }
    }

    fn verdict(&self, plan: &Plan, applied: &Applied, mode: Mode<'_>, held: Option<&str>) -> Verdict {
        if plan.left_over.is_empty() || mode.dry_run || mode.only.is_some() {
            return Verdict::default();
        }
        let elsewhere = self.context.state.wanted_elsewhere(&plan.left_over, self.key);
        let left_over: Vec<_> = plan.left_over.iter().filter(|id| !elsewhere.contains(*id)).cloned().collect();
        let held_by = self.context.state.prune_held_by(self.key, &left_over).map(|key| key.to_string());
        let incomplete = self.evaluation.incomplete().map(str::to_owned);
        // What is applied later must not find its predecessor gone.
        let unfinished = applied.waiting.clone().or_else(|| applied.errors.first().map(|error| error.message.clone()));
        let last = || unhealthy_before(self.context, self.desired(), i32::MAX).filter(|_| mode.prune_last);
        let unfinished = held.map(str::to_owned).or(unfinished).or_else(last);
        let context = PruneContext {
            enabled: mode.prune,
            incomplete: incomplete.or(unfinished),
            held_by,
            desired: self.desired().iter().filter(|object| object.role.is_object()).count(),
            allow_empty: self.automated().is_some_and(|automated| automated.allow_empty),
            cascade: false,
            confirmed: annotation(&self.object, ANNOTATION_CONFIRM_PRUNE),
            agent_namespace: &self.context.namespace,
        };
        self.context.state.live(|live| {
            let left_over: Vec<_> = left_over.iter().filter_map(|id| live.get(id)).collect();
            judge(&left_over, &context)
        })
    }

    async fn report(&self, plan: &Plan, done: &Done) -> Option<()> {
        let mut conditions = self.evaluation.problems.clone();
        conditions.extend(done.applied.errors.iter().chain(&done.pruned.conditions).cloned());
        conditions.extend(self.evaluation.warnings.iter().cloned());
        conditions.extend(done.failed.clone().map(|message| Condition {
            kind: ConditionKind::SyncError,
            category: "SyncFailed",
            message,
        }));
        conditions.extend(conflicts(plan, self.desired()));
        conditions.extend(self.contested());
        conditions.extend(self.grant.warnings());
        let wanted = self.desired().iter().map(|desired| &desired.id);
        conditions.extend(self.context.mutations.conditions(self.key, wanted));
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
                subject: Some(Arc::clone(&self.object)),
                revision: Some(self.evaluation.revision()),
                source_kinds: self.evaluation.source_kinds(),
                sync,
                resources: Some(resources),
                conditions,
                operation: done.operation.clone(),
                images: Some(Arc::clone(&self.evaluation.images)),
                history_limit: self.spec.revision_history_limit,
            },
        );
        told.await.then_some(())
    }

    /// Objects that somebody else wants too.
    fn contested(&self) -> impl Iterator<Item = Condition> {
        let contested = self.context.state.contested(self.key, self.desired());
        contested.into_iter().map(|(id, rival)| Condition {
            kind: ConditionKind::SharedResourceWarning,
            category: "SharedResource",
            message: format!("{id} is wanted by Application {rival} too; take it out of one of them"),
        })
    }

    /// What the status says of this run as an operation; `None` when there was nothing to do.
    fn outcome(&self, applied: &Applied, pruned: &Pruned) -> Option<Operation> {
        let did = !(applied.results.is_empty() && pruned.results.is_empty());
        let due = self.automated().is_some() && !self.settled();
        if !did && !due {
            return None;
        }
        let waiting = applied.waiting.as_ref().or(self.evaluation.awaited.first());
        let (phase, message) = match (waiting, applied.errors.len() + self.evaluation.problems.len()) {
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

fn propagation(options: &[String]) -> Propagation {
    match option(options.iter().map(String::as_str), "PrunePropagationPolicy") {
        Some("foreground") => Propagation::Foreground,
        Some("orphan") => Propagation::Orphan,
        _ => Propagation::Background,
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

fn next(evaluation: &Evaluation, done: &Done, after: &Plan, mode: Mode<'_>) -> Next {
    let (applied, pruned) = (&done.applied, &done.pruned);
    let attempted = done.operation.as_ref().is_some_and(|operation| operation.attempt.is_some());
    let unfinished = applied.wait.is_none()
        && mode.roll_out
        && !attempted
        && applied.waiting.is_none()
        && applied.errors.is_empty()
        && after.needs_bodies();
    if let Some(pause) = done.pause {
        return Next::After(pause);
    }
    let failed = done.failed.is_some();
    if !evaluation.awaited.is_empty() {
        // No failure: each definition that comes wakes it, and would lengthen the wait for its own.
        return Next::After(AWAITED);
    }
    if evaluation.unknown_kinds || (applied.retry && !failed) || pruned.retry || unfinished {
        return Next::Retry;
    }
    match applied.wait {
        Some(wait) => Next::After(wait),
        None if applied.errors.is_empty() || failed => Next::OnChange,
        None => Next::After(REFUSED),
    }
}
