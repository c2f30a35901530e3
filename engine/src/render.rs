//! From a folder of a repository to manifests.
//!
//! ```text
//! folder -inputs-> read-set -(digest: the caller's cache key)-> materialise -> kustomize build -> documents
//!                                                \-plain directory: files straight from the tree-> documents
//! ```
//!
//! When kustomize misses a file in a folder that holds the read-set alone, the walker has overlooked a path: the build is
//! tried once more on the whole tree, and keyed on it. It is tried only when kustomize speaks of a file that is not
//! there; any other failure would be the same, and writing a whole repository is expensive.

use std::path::PathBuf;

use gitmoor_core::closure::{self, ClosureError, Member, ReadSet, SourceKind};
use gitmoor_core::tree::{RepoPath, Tree, TreeError};

use crate::kustomize::{self, Built, Kustomize, KustomizeError};
use crate::materialise::{self, Checkout, MaterialiseError};
use crate::process::ProcessError;

/// What renders are made with.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The program.
    pub kustomize: Kustomize,
    /// An existing folder for short-lived files, in memory where possible.
    pub scratch: PathBuf,
    /// Bounds of what is written there for one render.
    pub limits: materialise::Limits,
}

/// A text with YAML documents, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDocument {
    /// The file it comes from; `None` when kustomize made it.
    pub file: Option<RepoPath>,
    /// Any number of YAML documents.
    pub text: String,
}

/// What a render depends on, apart from options and the renderer's version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RenderKey {
    /// The digest of the read-set.
    ReadSet(String),
    /// The object id of the commit's whole tree, for a build that needed more than its read-set.
    WholeTree(String),
}

/// A complete render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOutput {
    /// The manifests, in order.
    pub documents: Vec<SourceDocument>,
    /// What was read.
    pub read_set: ReadSet,
    /// What it may be cached under.
    pub key: RenderKey,
    /// Whether the read-set was not enough. To be counted: it is a gap in the walker, and costs a whole checkout.
    pub retried_on_whole_tree: bool,
    /// What kustomize warned of.
    pub warnings: Vec<String>,
}

/// Why there is no render.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The inputs cannot be told; its read-set says what to watch for.
    #[error(transparent)]
    Inputs(#[from] ClosureError),
    /// The inputs cannot be written.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// kustomize failed.
    #[error(transparent)]
    Kustomize(#[from] KustomizeError),
    /// A manifest cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A manifest is no text.
    #[error("{file} is not UTF-8; save it as UTF-8")]
    NotText {
        /// The manifest.
        file: RepoPath,
    },
    /// The runtime is shutting down, or a thread of ours panicked.
    #[error("the render was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl RenderError {
    /// One word for the condition, the event and the metric.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Inputs(error) => error.category().as_str(),
            Self::Materialise(MaterialiseError::TooLarge { .. })
            | Self::Kustomize(KustomizeError::Process(ProcessError::TooMuchOutput { .. })) => "SourceTooLarge",
            Self::Materialise(MaterialiseError::Name { .. }) | Self::NotText { .. } => "InvalidSource",
            Self::Materialise(MaterialiseError::Io { .. }) => "ScratchFailed",
            Self::Materialise(MaterialiseError::Tree(_)) | Self::Tree(_) => "RepositoryUnreadable",
            Self::Kustomize(KustomizeError::Process(ProcessError::TimedOut { .. })) => "RenderTimedOut",
            Self::Kustomize(KustomizeError::Process(ProcessError::NotFound { .. } | ProcessError::Io { .. })) => {
                "RendererUnavailable"
            }
            Self::Kustomize(_) => "RenderFailed",
            Self::Interrupted(_) => "Interrupted",
        }
    }

    /// Whether the same commit may render later: all else waits for a push.
    pub fn waiting_helps(&self) -> bool {
        matches!(
            self.category(),
            "ScratchFailed" | "RepositoryUnreadable" | "RenderTimedOut" | "RendererUnavailable" | "Interrupted"
        )
    }
}

/// Renders a folder: its inputs, then [`render_read_set`].
pub async fn render<T>(renderer: &Renderer, tree: T, path: &RepoPath) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    let (tree, read_set) = inputs(tree, path.clone()).await?;
    render_read_set(renderer, tree, read_set).await
}

/// The read-set of a folder. The tree comes back for the render; on a cache hit there is none.
pub async fn inputs<T>(tree: T, path: RepoPath) -> Result<(T, ReadSet), RenderError>
where
    T: Tree + Send + 'static,
{
    blocking(move || Ok((closure::read_set(&tree, &path)?, tree))).await.map(|(read_set, tree)| (tree, read_set))
}

/// Renders what [`inputs`] found, from the same tree.
pub async fn render_read_set<T>(renderer: &Renderer, tree: T, read_set: ReadSet) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    match read_set.source {
        SourceKind::Directory => directory(tree, read_set, renderer.limits.clone()).await,
        SourceKind::Kustomize => kustomization(renderer, tree, read_set).await,
    }
}

/// The files as they are.
async fn directory<T>(tree: T, read_set: ReadSet, limits: materialise::Limits) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    blocking(move || {
        let mut documents = Vec::new();
        let mut total = 0;
        for (path, member) in &read_set.members {
            let Member::File { .. } = member else { continue };
            let bytes = tree.read(path, limits.file)?;
            total += bytes.len();
            if total > limits.total {
                let what = "the files have too many bytes together";
                return Err(MaterialiseError::TooLarge { path: path.clone(), what, limit: limits.total }.into());
            }
            let text = String::from_utf8(bytes).map_err(|_| RenderError::NotText { file: path.clone() })?;
            documents.push(SourceDocument { file: Some(path.clone()), text });
        }
        let key = RenderKey::ReadSet(read_set.digest());
        Ok(RenderOutput { documents, read_set, key, retried_on_whole_tree: false, warnings: Vec::new() })
    })
    .await
}

async fn kustomization<T>(renderer: &Renderer, tree: T, read_set: ReadSet) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    let Renderer { kustomize, scratch, limits } = renderer.clone();
    let (tree, read_set, checkout) = blocking(move || {
        let checkout = materialise::read_set(&tree, &read_set, &scratch, &limits)?;
        Ok((tree, read_set, checkout))
    })
    .await?;
    let built = build(&kustomize, checkout, &read_set.path).await;
    if let Err(KustomizeError::Failed { missing_file: true, .. }) = &built {
        return again_on_whole_tree(renderer, tree, read_set).await;
    }
    let key = RenderKey::ReadSet(read_set.digest());
    Ok(output(built?, read_set, key, false))
}

async fn again_on_whole_tree<T>(renderer: &Renderer, tree: T, read_set: ReadSet) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    tracing::warn!(path = %read_set.path, "kustomize reads more than the read-set: building on the whole tree");
    let Renderer { kustomize, scratch, limits } = renderer.clone();
    let (id, checkout) = blocking(move || {
        let root = RepoPath::root();
        let entry = tree.entry(&root)?;
        let unknown = || TreeError { path: root.clone(), reason: "its root has no object id".into() };
        let id = entry.ok_or_else(unknown)?.id;
        Ok((id, materialise::whole_tree(&tree, &scratch, &limits)?))
    })
    .await?;
    let built = build(&kustomize, checkout, &read_set.path).await?;
    Ok(output(built, read_set, RenderKey::WholeTree(id), true))
}

/// Builds and removes the checkout, the latter away from the threads that serve everything else.
async fn build(kustomize: &Kustomize, checkout: Checkout, path: &RepoPath) -> Result<Built, KustomizeError> {
    let built = kustomize::build(kustomize, checkout.root(), &checkout.path_of(path)).await;
    drop(tokio::task::spawn_blocking(move || drop(checkout)));
    built
}

fn output(built: Built, read_set: ReadSet, key: RenderKey, retried_on_whole_tree: bool) -> RenderOutput {
    let Built { manifests, warnings } = built;
    let documents = vec![SourceDocument { file: None, text: manifests }];
    RenderOutput { documents, read_set, key, retried_on_whole_tree, warnings }
}

async fn blocking<V: Send + 'static>(
    work: impl FnOnce() -> Result<V, RenderError> + Send + 'static,
) -> Result<V, RenderError> {
    tokio::task::spawn_blocking(work).await?
}
