//! The inputs of an Application's sources: their trees where they stand, and what is read of those.

use gitmoor_core::closure::ReadSet;
use gitmoor_core::tree::{RepoPath, TreeError};
use gitmoor_engine::inputs::{AnyTree, Inputs, inputs};
use gitmoor_engine::render::RenderError;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::evaluate::Subject;
use crate::state::{EvaluatedSource, FollowedSource, Origin, Position, Reads};

/// What the sources are rendered from, or why not: one item for each.
pub(crate) struct Gathered {
    /// `None` for sources that only give files to others, and for those that failed.
    pub inputs: Vec<Option<Inputs>>,
    /// What stands in the way.
    pub failures: Vec<(usize, RenderError)>,
}

/// Gathers the inputs of all sources at these positions.
pub(crate) async fn gather(context: &Context, subject: &Subject<'_>, at: &[Position]) -> Gathered {
    let sources = &subject.snapshot.sources;
    let mut gathered = Gathered { inputs: Vec::new(), failures: Vec::new() };
    for index in 0..sources.len() {
        match one(context, sources, at, index).await {
            Ok(inputs) => gathered.inputs.push(inputs),
            Err(error) => {
                gathered.failures.push((index, error));
                gathered.inputs.push(None);
            }
        }
    }
    gathered
}

async fn one(
    context: &Context,
    sources: &[FollowedSource],
    at: &[Position],
    index: usize,
) -> Result<Option<Inputs>, RenderError> {
    let recipe = sources[index].recipe.clone();
    if recipe.reference_only {
        return Ok(None);
    }
    let own = tree(context, &sources[index], &at[index]).await?;
    let mut others = Vec::new();
    let mut wanted: Vec<usize> = recipe.helm.files().filter_map(|(_, file)| file.source).collect();
    wanted.sort_unstable();
    wanted.dedup();
    for other in wanted {
        others.push((other, tree(context, &sources[other], &at[other]).await?));
    }
    inputs(recipe, own, others, &context.state.capabilities()).await.map(Some)
}

async fn tree(context: &Context, source: &FollowedSource, at: &Position) -> Result<AnyTree, RenderError> {
    match (&source.follow.origin, at) {
        (Origin::Git(url), Position::Commit(commit)) => {
            let (mirror, commit) = (context.repositories.mirror(url), commit.clone());
            let tree = tokio::task::spawn_blocking(move || mirror.tree(&commit)).await?;
            let unreadable = |error: gitmoor_engine::git::MirrorError| {
                RenderError::Tree(TreeError::unreadable(&RepoPath::root(), error.to_string()))
            };
            Ok(Box::new(tree.map_err(unreadable)?))
        }
        (Origin::Chart(address), Position::Chart(version)) => {
            let tree = context.repositories.charts.tree(address, version).await;
            Ok(Box::new(
                tree.map_err(|error| RenderError::Tree(TreeError::unreadable(&RepoPath::root(), error.to_string())))?,
            ))
        }
        (origin, _) => {
            let reason = format!("{origin} is no repository that can be read");
            Err(RenderError::Tree(TreeError::unreadable(&RepoPath::root(), reason)))
        }
    }
}

impl Gathered {
    /// What is known of each source; `revision` gives where it stands, and `treatment` all else that bodies depend on.
    pub(crate) fn sources(&self, treatment: &str, revision: impl Fn(usize) -> String) -> Vec<EvaluatedSource> {
        let digest = |index: usize| {
            let mut hash = Sha256::new();
            if let Some(inputs) = &self.inputs[index] {
                hash.update(inputs.own_digest());
                // What is done with what was rendered.
                hash.update(treatment);
            }
            let others = self.inputs.iter().flatten().flat_map(|inputs| &inputs.others);
            others.filter(|other| other.source == index).for_each(|other| hash.update(other.read_set.digest()));
            hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let failed = |index: usize| self.failures.iter().any(|(failed, _)| *failed == index);
        (0..self.inputs.len())
            .map(|index| EvaluatedSource {
                revision: revision(index),
                inputs: if failed(index) { String::new() } else { digest(index) },
                kind: Some(self.inputs[index].as_ref().map_or("Directory", |inputs| kind(&inputs.read_set))),
            })
            .collect()
    }

    /// Every path that was looked at: a change to any of them may mend a failure.
    pub(crate) fn reads(&self) -> Reads {
        let mut sets = Vec::new();
        for (index, inputs) in self.inputs.iter().enumerate() {
            let Some(inputs) = inputs else { continue };
            sets.push((index, inputs.read_set.clone()));
            sets.extend(inputs.others.iter().map(|other| (other.source, other.read_set.clone())));
        }
        for (index, failure) in &self.failures {
            match failure {
                RenderError::Inputs(error) => sets.push((*index, (*error.read_set).clone())),
                RenderError::OtherInputs { position, error, own } => {
                    sets.extend([(*index, (**own).clone()), (*position, (*error.read_set).clone())]);
                }
                _ => return Reads::Unknown,
            }
        }
        Reads::Sets(sets)
    }
}

fn kind(read_set: &ReadSet) -> &'static str {
    use gitmoor_core::closure::SourceKind;
    match read_set.source {
        SourceKind::Helm => "Helm",
        SourceKind::Kustomize => "Kustomize",
        SourceKind::Directory => "Directory",
    }
}
