//! From an Application to the objects that it wants: inputs, render, manifests, stamp.
//!
//! May read mirrors and charts and run renderers, and discovers kinds anew when one is unknown.

mod manifests;

use std::collections::BTreeSet;
use std::sync::Arc;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::closure::{RemoteReference, SourceKind};
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::status::{Condition, ConditionKind, Revision};
use gitmoor_core::tracking::{ApplicationKey, hex};
use gitmoor_engine::git::CommitId;
use gitmoor_engine::render::{Inputs, RenderError, RenderOutput};
use gitmoor_engine::render_cache::render_cached;
use gitmoor_engine::sources::Gathered;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::handling;
use crate::metrics::Result as ResultLabel;
use crate::projects::Grant;
use crate::sources::{evaluated, gather, home, own_lock, reads};
use crate::state::{EvaluatedSource, Evaluation, Position, Reads, Snapshot};
use manifests::{Unbound, images, read, stamp, useless_hooks};

/// Of charts whose output is another one at each render.
const CHANGING: &str = "ChangingOutput";

/// What an evaluation gives.
pub(crate) struct Evaluated {
    /// The part that is kept.
    pub evaluation: Arc<Evaluation>,
    /// The objects with their bodies; `None` when nothing had to be rendered, or nothing could be.
    pub manifests: Option<Manifests<Stamped>>,
    /// The same inputs may give another result later.
    pub waiting_helps: bool,
    /// All of it was on disk.
    pub from_cache: bool,
}

impl Evaluated {
    /// What was known before.
    pub(crate) fn known(evaluation: Arc<Evaluation>) -> Self {
        Self { evaluation, manifests: None, waiting_helps: false, from_cache: false }
    }
}

/// What there is to evaluate.
pub(crate) struct Subject<'a> {
    /// The Application.
    pub key: &'a ApplicationKey,
    /// Its state.
    pub snapshot: &'a Snapshot,
    /// Its spec.
    pub spec: &'a ApplicationSpec,
    /// Where its sources stand.
    pub positions: &'a [Position],
    /// What its project lets it do.
    pub grant: &'a Grant,
}

impl Subject<'_> {
    fn namespace(&self) -> &str {
        self.spec.destination.namespace.as_deref().unwrap_or_default()
    }

    /// Everything besides the inputs that an object's body depends on.
    fn treatment(&self) -> String {
        format!("{}{}{}", self.namespace(), handling::digest(self.spec), self.grant.digest())
    }

    fn before(&self) -> Option<&Arc<Evaluation>> {
        self.snapshot.evaluation.as_ref()
    }
}

/// Evaluates an Application where its sources stand. With equal inputs there is no render, unless the bodies are needed.
pub(crate) async fn evaluate(context: &Context, subject: &Subject<'_>, bodies: bool) -> Evaluated {
    let gathered = gather(context, subject, subject.positions).await;
    let present = evaluated(&gathered, &subject.treatment(), |index| subject.positions[index].to_string());
    let charts = subject.before().map(|before| before.charts.clone()).unwrap_or_default();
    let sources = with_revisions(context, subject, present.clone(), &charts).await;
    let result = if gathered.failures.is_empty() {
        if let Some(known) = unchanged(subject, &sources).filter(|_| !bodies) {
            context.metrics.renders_spared.inc();
            remember(
                context,
                subject,
                &known,
                reads(&gathered).with_lock(home(subject).filter(|_| !charts.is_empty())),
            );
            return Evaluated { evaluation: known, manifests: None, waiting_helps: false, from_cache: false };
        }
        rendered(context, subject, gathered, (present, sources)).await
    } else {
        let waiting_helps = gathered.failures.iter().any(|(_, error)| error.waiting_helps());
        let problems =
            gathered.failures.iter().map(|(_, error)| problem(error.category(), error.to_string())).collect();
        refused(context, subject, problems, reads(&gathered), sources, waiting_helps)
    };
    if result.from_cache {
        context.metrics.renders_cached.inc();
        return result;
    }
    let label = result.evaluation.problems.first().map_or("success", |problem| problem.category);
    context.metrics.renders.get_or_create(&ResultLabel::of(label)).inc();
    result
}

/// The evaluation of before, when it still holds.
fn unchanged(subject: &Subject<'_>, sources: &[EvaluatedSource]) -> Option<Arc<Evaluation>> {
    let before = subject.before()?;
    let same = |(old, new): (&EvaluatedSource, &EvaluatedSource)| old.inputs == new.inputs;
    let all = before.sources.len() == sources.len() && before.sources.iter().zip(sources).all(same);
    (all && before.is_complete()).then(|| Arc::clone(before))
}

/// Each source with the last commit (or version) that changed its inputs: the present one, unless they are what they were.
/// After a start, what they were is what they are at the revisions in the status. `charts`: what its objects carry of the
/// lock file.
async fn with_revisions(
    context: &Context,
    subject: &Subject<'_>,
    mut sources: Vec<EvaluatedSource>,
    charts: &BTreeSet<RemoteReference>,
) -> Vec<EvaluatedSource> {
    add_locked(context, subject, subject.positions, charts, &mut sources).await;
    let complete = sources.iter().all(|source| !source.inputs.is_empty());
    let before = match subject.before() {
        Some(before) => before.sources.clone(),
        None if complete => in_status(context, subject, charts).await,
        None => Vec::new(),
    };
    if before.len() == sources.len() {
        for (source, before) in sources.iter_mut().zip(before) {
            if source.inputs == before.inputs && !source.inputs.is_empty() {
                source.revision = before.revision;
            }
        }
    }
    sources
}

/// The sources at the revisions in the status; none when nothing has moved since, or when they cannot be told.
async fn in_status(
    context: &Context,
    subject: &Subject<'_>,
    charts: &BTreeSet<RemoteReference>,
) -> Vec<EvaluatedSource> {
    let Some(revision) = Revision::read(&subject.snapshot.object["status"]["sync"]) else { return Vec::new() };
    let at = |(text, present): (&String, &Position)| match present {
        Position::Commit(_) => CommitId::parse(text).map(Position::Commit),
        Position::Chart(chart) => (chart.version == *text).then(|| present.clone()),
    };
    let texts = revision.texts();
    let positions: Option<Vec<Position>> = texts.iter().zip(subject.positions).map(at).collect();
    let Some(positions) = positions.filter(|at| at.len() == subject.positions.len()) else { return Vec::new() };
    if positions == subject.positions {
        return Vec::new();
    }
    let gathered = gather(context, subject, &positions).await;
    let mut sources = evaluated(&gathered, &subject.treatment(), |index| positions[index].to_string());
    add_locked(context, subject, &positions, charts, &mut sources).await;
    sources
}

/// Adds what the lock file says of these charts to the inputs.
async fn add_locked(
    context: &Context,
    subject: &Subject<'_>,
    at: &[Position],
    charts: &BTreeSet<RemoteReference>,
    sources: &mut [EvaluatedSource],
) {
    if charts.is_empty() {
        return;
    }
    let locked = match own_lock(context, subject, at).await {
        Ok(lock) => lock.only(charts).write(),
        // Said where it is used; another commit may mend it.
        Err(error) => format!("{error} {at:?}"),
    };
    for source in sources.iter_mut().filter(|source| !source.inputs.is_empty()) {
        source.inputs = hex(Sha256::digest(format!("{}{locked}", source.inputs)).as_slice());
    }
}

async fn rendered(
    context: &Context,
    subject: &Subject<'_>,
    gathered: Gathered,
    (present, mut sources): (Vec<EvaluatedSource>, Vec<EvaluatedSource>),
) -> Evaluated {
    let mut reads = reads(&gathered);
    let inputs: Vec<_> = gathered.inputs.into_iter().flatten().collect();
    let asks_cluster = inputs.iter().any(|inputs| inputs.traits.asks_cluster);
    let (outputs, from_cache) = match render_all(context, inputs).await {
        Ok(outputs) => outputs,
        Err(error) => {
            let problems = vec![problem(error.category(), error.to_string())];
            return refused(context, subject, problems, reads, sources, error.waiting_helps());
        }
    };
    for _ in outputs.iter().filter(|output| output.retried_on_whole_tree) {
        reads = Reads::Everything;
        context.metrics.whole_tree_renders.inc();
    }
    let mut warnings = of_renderers(&outputs);
    let charts;
    let (manifests, problems, awaited) = match read(subject, outputs, &mut warnings).await {
        Ok(mut manifests) => {
            charts = manifests.charts();
            if !charts.is_empty() {
                reads = reads.with_lock(home(subject));
                match own_lock(context, subject, subject.positions).await {
                    Ok(lock) => manifests.pin(&lock),
                    Err(error) => {
                        let problems = vec![problem(error.category(), error.to_string())];
                        return refused(context, subject, problems, reads, sources, error.waiting_helps());
                    }
                }
            }
            if subject.before().map_or(&BTreeSet::new(), |before| &before.charts) != &charts {
                sources = with_revisions(context, subject, present, &charts).await;
            }
            let (mut manifests, Unbound { mut problems, awaited }) = stamp(context, subject, manifests).await;
            problems.extend(subject.grant.narrow(&mut manifests));
            if let Err(error) =
                gitmoor_engine::manifests::settle(subject.spec, &mut manifests, "/proc/self/exe".into()).await
            {
                let problem = problem("IgnoreDifferences", format!("spec.ignoreDifferences: {error}"));
                return refused(context, subject, vec![problem], reads, sources, false);
            }
            (manifests, problems, awaited)
        }
        Err(problems) => return refused(context, subject, problems, reads, sources, false),
    };
    warnings.extend(useless_hooks(&manifests));
    let desired = DesiredObject::all(&manifests);
    let changing = warnings.iter().any(|warning| warning.category == CHANGING);
    let digests = desired.iter().map(|object| (&object.id, object.digest.as_str()));
    let evaluation = Arc::new(Evaluation {
        sources,
        several: !subject.spec.sources.is_empty(),
        output: if changing { String::new() } else { context.digester.output(digests) },
        desired: Some(desired.into()),
        images: images(&manifests).into_iter().collect(),
        unknown_kinds: !awaited.is_empty() || problems.iter().any(|problem| problem.category == "UnknownKind"),
        problems,
        awaited,
        warnings,
        asks_cluster,
        charts,
    });
    remember(context, subject, &evaluation, reads);
    let waiting_helps = evaluation.unknown_kinds;
    Evaluated { evaluation, manifests: Some(manifests), waiting_helps, from_cache }
}

/// Renders everything; gives also whether all of it was on disk.
async fn render_all(context: &Context, inputs: Vec<Inputs>) -> Result<(Vec<RenderOutput>, bool), RenderError> {
    let capabilities = context.state.capabilities();
    let (mut outputs, mut from_cache) = (Vec::new(), !inputs.is_empty());
    for inputs in inputs {
        let _slot = context.render_slots.acquire().await;
        let rendered = render_cached(&context.renderer, context.render_cache.as_ref(), inputs, &capabilities).await;
        let (output, cached) = rendered?;
        from_cache &= cached;
        outputs.push(output);
    }
    Ok((outputs, from_cache))
}

/// What the renderers warned of.
fn of_renderers(outputs: &[RenderOutput]) -> Vec<Condition> {
    let changing = outputs.iter().filter(|output| output.read_set.source == SourceKind::Helm);
    changing
        .flat_map(|output| {
            output.warnings.iter().map(|warning| Condition {
                kind: ConditionKind::RenderWarning,
                category: CHANGING,
                message: format!(
                    "{}: {warning}; it is applied anew with each render: set the value, or keep it in a Secret of your own",
                    output.command
                ),
            })
        })
        .collect()
}

/// Nothing can be said of what the Application wants; the problems say why.
fn refused(
    context: &Context,
    subject: &Subject<'_>,
    problems: Vec<Condition>,
    reads: Reads,
    sources: Vec<EvaluatedSource>,
    waiting_helps: bool,
) -> Evaluated {
    let evaluation = Arc::new(Evaluation {
        sources,
        several: !subject.spec.sources.is_empty(),
        desired: None,
        output: String::new(),
        images: Arc::new([]),
        problems,
        warnings: Vec::new(),
        awaited: Vec::new(),
        unknown_kinds: false,
        asks_cluster: false,
        // They are found out again.
        charts: BTreeSet::new(),
    });
    remember(context, subject, &evaluation, reads);
    Evaluated { evaluation, manifests: None, waiting_helps, from_cache: false }
}

fn remember(context: &Context, subject: &Subject<'_>, evaluation: &Arc<Evaluation>, reads: Reads) {
    for problem in &evaluation.problems {
        context.metrics.unknown.get_or_create(&ResultLabel::of(problem.category)).inc();
        tracing::warn!(application = %subject.key, category = problem.category, "{}", problem.message);
    }
    if evaluation.is_complete() {
        context.metrics.latencies.rendered(subject.key, evaluation.identity(), subject.snapshot.since);
    }
    let evaluation = Arc::clone(evaluation);
    context.queue.extend(context.state.evaluated(subject.key, subject.snapshot, subject.positions, evaluation, reads));
}

fn problem(category: &'static str, message: String) -> Condition {
    Condition { kind: ConditionKind::ComparisonError, category, message }
}
