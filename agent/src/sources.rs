//! The inputs of an Application's sources: their trees where they stand, and what is read of those.

use futures::FutureExt as _;
use gitmoor_core::closure::{ReadSet, SourceKind};
use gitmoor_core::lock::Lock;
use gitmoor_core::tree::{RepoPath, TreeError};
use gitmoor_engine::inputs::{AnyTree, lock_of};
use gitmoor_engine::render::RenderError;
use gitmoor_engine::sources::{self, Gathered};

use crate::context::Context;
use crate::evaluate::Subject;
use crate::remotes::ForApplication;
use crate::state::{EvaluatedSource, FollowedSource, Origin, Position, Reads};

/// Gathers the inputs of all sources at these positions.
pub(crate) async fn gather(context: &Context, subject: &Subject<'_>, at: &[Position]) -> Gathered {
    let sources = &subject.snapshot.sources;
    let tree = |index: usize| tree(context, &sources[index], &at[index]).boxed();
    let remotes = ForApplication::new(&context.remotes, subject.key, subject.grant);
    let gathered = sources::gather_with(sources, &context.state.capabilities(), &tree, Some(&remotes)).await;
    if std::ptr::eq(at, subject.positions) {
        remotes.that_is_all();
    }
    gathered
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

/// The source whose tree has the lock file for the Applications that this one brings: the first of Git.
pub(crate) fn home(subject: &Subject<'_>) -> Option<usize> {
    subject.snapshot.sources.iter().position(|source| matches!(source.follow.origin, Origin::Git(_)))
}

/// The lock file of that tree.
pub(crate) async fn own_lock(context: &Context, subject: &Subject<'_>, at: &[Position]) -> Result<Lock, RenderError> {
    let Some(home) = home(subject) else { return Ok(Lock::default()) };
    let tree = tree(context, &subject.snapshot.sources[home], &at[home]).await?;
    tokio::task::spawn_blocking(move || lock_of(&tree)).await?
}

/// What is known of each source; `revision` gives where it stands, and `treatment` all else that bodies depend on.
pub(crate) fn evaluated(
    gathered: &Gathered,
    treatment: &str,
    revision: impl Fn(usize) -> String,
) -> Vec<EvaluatedSource> {
    (0..gathered.inputs.len())
        .map(|index| EvaluatedSource {
            revision: revision(index),
            inputs: gathered.digest(index, treatment),
            kind: Some(gathered.inputs[index].as_ref().map_or("Directory", |inputs| kind(&inputs.read_set))),
        })
        .collect()
}

/// Every path that was looked at: a change to any of them may mend a failure.
pub(crate) fn reads(gathered: &Gathered) -> Reads {
    gathered.read_sets().map_or(Reads::Unknown, Reads::Sets)
}

fn kind(read_set: &ReadSet) -> &'static str {
    match read_set.source {
        SourceKind::Helm => "Helm",
        SourceKind::Kustomize => "Kustomize",
        SourceKind::Directory => "Directory",
    }
}
