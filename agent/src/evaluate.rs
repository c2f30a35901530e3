//! From an Application to the objects that it wants: inputs, render, manifests, stamp.
//!
//! May read the repository's mirror and run kustomize, and discovers kinds anew when one is unknown.

use std::collections::BTreeSet;
use std::sync::Arc;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::closure::ReadSet;
use gitmoor_core::hook;
use gitmoor_core::manifest::{ManifestError, Manifests, Origin, Rendered, Stamp, Stamped};
use gitmoor_core::object::text_at;
use gitmoor_core::plan::DesiredObject;
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_core::tree::RepoPath;
use gitmoor_core::yaml;
use gitmoor_engine::git::{CommitId, GitTree};
use gitmoor_engine::render::{self, RenderError, RenderOutput, SourceDocument};
use serde_json::Value;

use crate::context::Context;
use crate::handling;
use crate::metrics::Result as ResultLabel;
use crate::state::{Evaluation, Follow, Reads, Snapshot};

/// What an evaluation gives.
pub(crate) struct Evaluated {
    /// The part that is kept.
    pub evaluation: Arc<Evaluation>,
    /// The objects with their bodies; `None` when nothing had to be rendered, or nothing could be.
    pub manifests: Option<Manifests<Stamped>>,
    /// The same inputs may give another result later.
    pub waiting_helps: bool,
}

impl Evaluated {
    /// What was known before.
    pub(crate) fn known(evaluation: Arc<Evaluation>) -> Self {
        Self { evaluation, manifests: None, waiting_helps: false }
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
    /// What it follows.
    pub follow: &'a Follow,
    /// Where that stands.
    pub commit: &'a CommitId,
}

/// Evaluates an Application at its commit. With equal inputs there is no render, unless the bodies are needed.
pub(crate) async fn evaluate(context: &Context, subject: &Subject<'_>, bodies: bool) -> Evaluated {
    let result = match inputs(context, subject, subject.commit).await {
        Ok((tree, read_set)) => {
            let digest = inputs_digest(subject, &read_set);
            if let Some(known) = unchanged(subject, &digest).filter(|_| !bodies) {
                context.metrics.renders_spared.inc();
                remember(context, subject, &known, Reads::Set(&read_set));
                return Evaluated { evaluation: known, manifests: None, waiting_helps: false };
            }
            rendered(context, subject, tree, read_set, digest).await
        }
        Err(error) => failed(context, subject, &error),
    };
    let label = result.evaluation.problems.first().map_or("success", |problem| problem.category);
    context.metrics.renders.get_or_create(&ResultLabel::of(label)).inc();
    result
}

async fn inputs(context: &Context, subject: &Subject<'_>, at: &CommitId) -> Result<(GitTree, ReadSet), RenderError> {
    let mirror = context.repositories.mirror(&subject.follow.url);
    let commit = at.clone();
    let path = path_of(subject);
    let tree = tokio::task::spawn_blocking(move || mirror.tree(&commit)).await?;
    let unreadable = |error: gitmoor_engine::git::MirrorError| {
        RenderError::Tree(gitmoor_core::tree::TreeError { path: RepoPath::root(), reason: error.to_string() })
    };
    render::inputs(tree.map_err(unreadable)?, path).await
}

/// The folder; that it stays inside the repository was checked with the spec.
fn path_of(subject: &Subject<'_>) -> RepoPath {
    let text = subject.spec.source.as_ref().and_then(|source| source.path.as_deref()).unwrap_or_default();
    RepoPath::root().join(text).unwrap_or_default()
}

/// Everything besides the read-set that an object's body depends on.
fn inputs_digest(subject: &Subject<'_>, read_set: &ReadSet) -> String {
    let namespace = subject.spec.destination.namespace.as_deref().unwrap_or_default();
    let handling = handling::digest(subject.spec);
    format!("{}:{}:{namespace}{handling}", read_set.digest(), read_set.path)
}

/// The evaluation of before, when it still holds.
fn unchanged(subject: &Subject<'_>, digest: &str) -> Option<Arc<Evaluation>> {
    let before = subject.snapshot.evaluation.as_ref()?;
    (before.inputs == digest && before.is_complete()).then(|| Arc::clone(before))
}

async fn rendered(
    context: &Context,
    subject: &Subject<'_>,
    tree: GitTree,
    read_set: ReadSet,
    digest: String,
) -> Evaluated {
    let permit = context.render_slots.acquire().await;
    let reads = read_set.clone();
    let output = match render::render_read_set(&context.renderer, tree, read_set).await {
        Ok(output) => output,
        Err(error) => return failed_reading(context, subject, &error, Reads::Set(&reads), digest),
    };
    drop(permit);
    let reads = if output.retried_on_whole_tree { Reads::Everything } else { Reads::Set(&reads) };
    if output.retried_on_whole_tree {
        context.metrics.whole_tree_renders.inc();
    }
    let (manifests, problems) = match read(subject, output).await {
        Ok(manifests) => {
            let (mut manifests, problems) = stamp(context, subject, manifests).await;
            if let Err(problem) = handling::settle(subject.spec, &mut manifests).await {
                return refused(context, subject, vec![problem], reads, digest);
            }
            (manifests, problems)
        }
        Err(problems) => return refused(context, subject, problems, reads, digest),
    };
    let evaluation = Arc::new(Evaluation {
        commit: rolled_out(context, subject, &digest).await.unwrap_or_else(|| commit_of(subject, &digest)),
        inputs: digest,
        desired: Some(DesiredObject::all(&manifests).into()),
        images: images(&manifests).into_iter().collect(),
        warnings: warnings(&manifests),
        unknown_kinds: problems.iter().any(|problem| problem.category == "UnknownKind"),
        problems,
    });
    remember(context, subject, &evaluation, reads);
    let waiting_helps = evaluation.unknown_kinds;
    Evaluated { evaluation, manifests: Some(manifests), waiting_helps }
}

/// The last commit that changed the inputs: the present one, unless they are what they were.
fn commit_of(subject: &Subject<'_>, digest: &str) -> CommitId {
    let before = subject.snapshot.evaluation.as_ref().filter(|before| before.inputs == digest);
    before.map_or_else(|| subject.commit.clone(), |before| before.commit.clone())
}

/// After a start: the commit in the status, when the inputs are still what they were there.
async fn rolled_out(context: &Context, subject: &Subject<'_>, digest: &str) -> Option<CommitId> {
    if subject.snapshot.evaluation.is_some() {
        return None;
    }
    let commit = CommitId::parse(text_at(&subject.snapshot.object, &["status", "sync", "revision"])?)?;
    if commit == *subject.commit {
        return None;
    }
    let (_, read_set) = inputs(context, subject, &commit).await.ok()?;
    (inputs_digest(subject, &read_set) == digest).then_some(commit)
}

fn failed(context: &Context, subject: &Subject<'_>, error: &RenderError) -> Evaluated {
    match error {
        // What was found so far tells which paths to wait for.
        RenderError::Inputs(inputs) => {
            let reads = Reads::Set(&inputs.read_set);
            failed_reading(context, subject, error, reads, inputs_digest(subject, &inputs.read_set))
        }
        _ => failed_reading(context, subject, error, Reads::Unknown, String::new()),
    }
}

fn failed_reading(
    context: &Context,
    subject: &Subject<'_>,
    error: &RenderError,
    reads: Reads<'_>,
    digest: String,
) -> Evaluated {
    let problem = problem(error.category(), error.to_string());
    let mut result = refused(context, subject, vec![problem], reads, digest);
    result.waiting_helps = error.waiting_helps();
    result
}

/// Nothing can be said of what the Application wants; the problems say why.
fn refused(
    context: &Context,
    subject: &Subject<'_>,
    problems: Vec<Condition>,
    reads: Reads<'_>,
    digest: String,
) -> Evaluated {
    let evaluation = Arc::new(Evaluation {
        commit: commit_of(subject, &digest),
        inputs: digest,
        desired: None,
        images: Arc::new([]),
        problems,
        warnings: Vec::new(),
        unknown_kinds: false,
    });
    remember(context, subject, &evaluation, reads);
    Evaluated { evaluation, manifests: None, waiting_helps: false }
}

fn remember(context: &Context, subject: &Subject<'_>, evaluation: &Arc<Evaluation>, reads: Reads<'_>) {
    for problem in &evaluation.problems {
        context.metrics.unknown.get_or_create(&ResultLabel::of(problem.category)).inc();
        tracing::warn!(application = %subject.key, category = problem.category, "{}", problem.message);
    }
    let evaluation = Arc::clone(evaluation);
    context.queue.extend(context.state.evaluated(subject.key, subject.snapshot, subject.commit, evaluation, reads));
}

fn problem(category: &'static str, message: String) -> Condition {
    Condition { kind: ConditionKind::ComparisonError, category, message }
}

/// Reads the rendered documents. All that cannot be read are reported together.
async fn read(subject: &Subject<'_>, output: RenderOutput) -> Result<Manifests<Rendered>, Vec<Condition>> {
    let built = format!("kustomize build {}", output.read_set.path);
    let read = tokio::task::spawn_blocking(move || {
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for document in output.documents {
            match read_document(document, &built) {
                Ok(read) => values.extend(read),
                Err(errors) => problems.extend(errors.into_iter().map(|e| problem("InvalidManifest", e))),
            }
        }
        let (manifests, errors) = Manifests::read(values);
        problems.extend(errors.into_iter().map(|error| problem("InvalidManifest", error.to_string())));
        if problems.is_empty() { Ok(manifests) } else { Err(problems) }
    });
    read.await.unwrap_or_else(|_| Err(vec![problem("Interrupted", format!("reading {} was interrupted", subject.key))]))
}

fn read_document(document: SourceDocument, built: &str) -> Result<Vec<(Origin, Value)>, Vec<String>> {
    let source = document.file.map_or_else(|| built.to_owned(), |file| file.to_string());
    match yaml::read_documents(&document.text, &yaml::Limits::default()) {
        Ok(read) => Ok(read
            .into_iter()
            .map(|document| (Origin { source: source.clone(), document: document.index }, document.value))
            .collect()),
        Err(errors) => Err(errors.into_iter().map(|error| format!("{source}: {error}")).collect()),
    }
}

/// Binds the manifests to what the cluster serves; asks it again when it seems not to serve something.
async fn stamp(
    context: &Context,
    subject: &Subject<'_>,
    manifests: Manifests<Rendered>,
) -> (Manifests<Stamped>, Vec<Condition>) {
    let bind = |manifests: Manifests<Rendered>| {
        manifests.stamp(&Stamp {
            installation: &context.state.installation,
            application: subject.key,
            namespace: subject.spec.destination.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
            resources: &context.state.resources(),
            digester: &context.digester,
        })
    };
    let (stamped, errors) = bind(manifests.clone());
    let unknown = errors.iter().any(|error| matches!(error, ManifestError::UnknownKind { .. }));
    let (stamped, errors) = if unknown && context.kinds.refresh().await { bind(manifests) } else { (stamped, errors) };
    (stamped, errors.into_iter().map(|error| problem(category(&error), error.to_string())).collect())
}

fn category(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::UnknownKind { .. } => "UnknownKind",
        ManifestError::GeneratedName { .. }
        | ManifestError::NoNamespace { .. }
        | ManifestError::Duplicate { .. }
        | ManifestError::NotAnObject { .. } => "InvalidManifest",
    }
}

/// Hooks that never run here.
fn warnings(manifests: &Manifests<Stamped>) -> Vec<Condition> {
    let found = manifests.items().iter().filter_map(|manifest| {
        let words = hook::without_effect(&manifest.object)?;
        let message = format!("{}: {} is a hook for {words}, which never comes here", manifest.origin, manifest.id);
        Some(Condition { kind: ConditionKind::UnsupportedFieldWarning, category: "UnsupportedHook", message })
    });
    found.collect()
}

/// Every image of every pod template.
fn images(manifests: &Manifests<Stamped>) -> BTreeSet<String> {
    fn collect(value: &Value, images: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    match item {
                        Value::Array(containers) if key == "containers" || key == "initContainers" => {
                            let found = containers.iter().filter_map(|container| container["image"].as_str());
                            images.extend(found.map(str::to_owned));
                        }
                        _ => collect(item, images),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, images)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    manifests
        .items()
        .iter()
        .filter_map(|manifest| manifest.object.get("spec"))
        .for_each(|spec| collect(spec, &mut found));
    found
}
