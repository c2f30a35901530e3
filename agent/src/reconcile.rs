//! The flow of one Application: evaluate, watch, plan, announce, apply, prune, report.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::application::{ApplicationSpec, Automated};
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::names::{ANNOTATION_CONFIRM_PRUNE, ANNOTATION_REFRESH};
use gitmoor_core::object::{GroupKind, annotation, text_at};
use gitmoor_core::plan::{Action, DesiredObject, Plan};
use gitmoor_core::prune::{PruneContext, Verdict, judge};
use gitmoor_core::resource::Resource;
use gitmoor_core::status::{Condition, ConditionKind, Operation, Phase};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::git::CommitId;
use serde_json::{Value, json};

use crate::apply::{Applied, Mode, apply};
use crate::context::Context;
use crate::deletion;
use crate::evaluate::{Evaluated, Subject, evaluate};
use crate::objects;
use crate::prune::{Pruned, prune};
use crate::queue::Next;
use crate::report::{Findings, report, resources, sync_status};
use crate::state::{Evaluation, Head, Snapshot};

/// How long to wait for another Application that has to be evaluated first.
const UNDECIDED: Duration = Duration::from_millis(200);
/// When a refusal that waiting does not change is tried again all the same.
const REFUSED: Duration = Duration::from_secs(300);

/// Brings one Application to what its commit says, as far as that is possible now.
pub(crate) async fn reconcile(context: Arc<Context>, key: ApplicationKey) -> Next {
    let Some(snapshot) = context.state.snapshot(&key) else { return Next::OnChange };
    if annotation(&snapshot.object, ANNOTATION_REFRESH).is_some() {
        refresh(&context, &key, &snapshot).await;
    }
    if snapshot.object["metadata"].get("deletionTimestamp").is_some() {
        return deletion::finish(&context, &key, &snapshot).await;
    }
    let spec = match snapshot.spec.as_ref() {
        Ok(spec) => spec.clone(),
        Err(error) => {
            let category = match error {
                gitmoor_core::application::SpecError::Unsupported(_) => "UnsupportedField",
                _ => "InvalidSpec",
            };
            return unknown(&context, &key, ConditionKind::InvalidSpecError, category, error.to_string()).await;
        }
    };
    match at_commit(&context, &key, &snapshot).await {
        Ok(commit) => sync(&context, &key, &snapshot, &spec, &commit).await,
        Err(next) => next,
    }
}

/// The commit to compare with, or what to do without one.
async fn at_commit(context: &Context, key: &ApplicationKey, snapshot: &Snapshot) -> Result<CommitId, Next> {
    match (&snapshot.head, &snapshot.unreachable, &snapshot.follow) {
        (Head::At(commit), _, _) => Ok(commit.clone()),
        (Head::Missing, _, Some(follow)) => {
            let message = format!(
                "{} has no branch, tag or commit `{}`; push it, or correct spec.source.targetRevision",
                follow.url, follow.revision
            );
            Err(unknown(context, key, ConditionKind::ComparisonError, "RevisionNotFound", message).await)
        }
        (_, Some(error), _) => {
            let category = error.kind.as_str();
            Err(unknown(context, key, ConditionKind::ComparisonError, category, error.to_string()).await)
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
    spec: &ApplicationSpec,
    commit: &CommitId,
) -> Next {
    let Some(follow) = &snapshot.follow else { return Next::OnChange };
    let subject = Subject { key, snapshot, spec, follow, commit };
    let known = snapshot.evaluation.as_ref().filter(|_| !snapshot.dirty);
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
    let (mut plan, undecided) = plan_for(context, key, &evaluated.evaluation);
    if undecided {
        return Next::After(UNDECIDED);
    }
    if plan.needs_bodies() && evaluated.manifests.is_none() {
        evaluated = evaluate(context, &subject, true).await;
        if evaluated.evaluation.desired.is_none() {
            return failed(context, key, snapshot, &evaluated).await;
        }
        (plan, _) = plan_for(context, key, &evaluated.evaluation);
    }
    let run = Run { context, key, snapshot, spec, evaluation: &evaluated.evaluation };
    run.carry_out(&plan, evaluated.manifests.as_ref()).await.unwrap_or(Next::Retry)
}

fn plan_for(context: &Context, key: &ApplicationKey, evaluation: &Evaluation) -> (Plan, bool) {
    context.state.plan(key, evaluation.desired.as_deref().unwrap_or_default())
}

async fn failed(context: &Context, key: &ApplicationKey, snapshot: &Snapshot, evaluated: &Evaluated) -> Next {
    let mut conditions = evaluated.evaluation.problems.clone();
    conditions.extend(unreachable(snapshot));
    for problem in &evaluated.evaluation.problems {
        context.metrics.unknown.get_or_create(&crate::metrics::Result::of(problem.category)).inc();
        tracing::warn!(application = %key, category = problem.category, "{}", problem.message);
    }
    let told = report(context, key, Findings { conditions, ..Findings::default() }).await;
    if told && !evaluated.waiting_helps { Next::OnChange } else { Next::Retry }
}

fn unreachable(snapshot: &Snapshot) -> Option<Condition> {
    let error = snapshot.unreachable.as_ref()?;
    let (kind, category) = (ConditionKind::ComparisonError, error.kind.as_str());
    Some(Condition { kind, category, message: error.to_string() })
}

/// Watches every kind that the Application wants or has had.
async fn watch(
    context: &Context,
    key: &ApplicationKey,
    snapshot: &Snapshot,
    evaluation: &Evaluation,
) -> Result<(), Next> {
    let kinds = kinds(context, evaluation.desired.as_deref().unwrap_or_default(), &snapshot.object);
    match context.watches.ensure(&kinds).await {
        Ok(()) => Ok(()),
        Err(error) => {
            unknown(context, key, ConditionKind::ComparisonError, "WatchFailed", error.to_string()).await;
            Err(Next::Retry)
        }
    }
}

/// The kinds of the desired objects and those in the status, as they are served.
pub(crate) fn kinds(context: &Context, desired: &[DesiredObject], object: &Value) -> Vec<Resource> {
    let served = context.state.resources();
    let wanted = desired.iter().filter_map(|object| {
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        served.find(&object.id.group_kind, version)
    });
    let had = in_status(object).into_iter().filter_map(|kind| served.preferred(&kind).cloned()).collect::<Vec<_>>();
    let mut seen = HashSet::new();
    wanted.cloned().chain(had).filter(|resource| seen.insert(resource.group_kind.clone())).collect()
}

fn in_status(object: &Value) -> BTreeSet<GroupKind> {
    let listed = object["status"]["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    listed
        .iter()
        .filter_map(|entry| {
            Some(GroupKind::new(text_at(entry, &["group"]).unwrap_or_default(), text_at(entry, &["kind"])?))
        })
        .collect()
}

/// One run of a plan.
struct Run<'a> {
    context: &'a Context,
    key: &'a ApplicationKey,
    snapshot: &'a Snapshot,
    spec: &'a ApplicationSpec,
    evaluation: &'a Evaluation,
}

impl Run<'_> {
    /// Announce, apply, prune, report. `None`: the status could not be written.
    async fn carry_out(&self, plan: &Plan, manifests: Option<&Manifests<Stamped>>) -> Option<Next> {
        let mode = self.mode();
        let applied = match manifests.filter(|_| plan.needs_bodies()) {
            Some(manifests) => {
                self.announce(plan, mode).await?;
                apply(self.context, plan, self.desired(), manifests, mode).await
            }
            None => Applied::default(),
        };
        let (after, _) = plan_for(self.context, self.key, self.evaluation);
        let verdict = self.verdict(&after, &applied);
        let pruned = prune(self.context, &verdict).await;
        self.report(&after, &applied, &pruned).await?;
        Some(next(self.evaluation, &applied, &pruned, &after, mode))
    }

    fn desired(&self) -> &[DesiredObject] {
        self.evaluation.desired.as_deref().unwrap_or_default()
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
        let writes = |step: &gitmoor_core::plan::Step| !matches!(step.action, Action::Skip | Action::Verify);
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

    fn operation(
        &self,
        phase: Phase,
        message: String,
        results: Vec<gitmoor_core::status::OperationResult>,
    ) -> Operation {
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
    let unfinished = mode.roll_out && applied.waiting.is_none() && applied.errors.is_empty() && after.needs_bodies();
    if evaluation.unknown_kinds || applied.retry || pruned.retry || unfinished {
        return Next::Retry;
    }
    if applied.errors.is_empty() { Next::OnChange } else { Next::After(REFUSED) }
}

/// Looks at the repository now, and takes the request away.
async fn refresh(context: &Context, key: &ApplicationKey, snapshot: &Snapshot) {
    if let Some(follow) = &snapshot.follow {
        context.repositories.look(&follow.url);
    }
    let patch = json!({"metadata": {"annotations": {ANNOTATION_REFRESH: null}}});
    match context.cluster.merge(&objects::applications(), Some(&key.namespace), &key.name, &patch).await {
        Ok(object) => context.state.wrote_application(key, object),
        Err(error) => tracing::warn!(application = %key, %error, "the refresh annotation cannot be removed"),
    }
}
