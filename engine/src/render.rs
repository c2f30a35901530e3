//! From a folder of a repository to manifests.
//!
//! ```text
//! recipe, trees -inputs-> read-sets -(digest: the caller's cache key)-> materialise -> kustomize build -> documents
//!                                                                          |-> helm template -> documents
//!                                                     \-plain directory: files straight from the tree-> documents
//! ```
//!
//! When kustomize misses a file in a folder that holds the read-set alone, the walker has overlooked a path: the build is
//! tried once more on the whole tree, and keyed on it. It is tried only when kustomize speaks of a file that is not
//! there; any other failure would be the same, and writing a whole repository is expensive.

use std::path::PathBuf;

use gitmoor_core::closure::{self, ClosureError, Member, ReadSet, SourceKind};
use gitmoor_core::source::{EditError, Recipe};
use gitmoor_core::status::passes_by_itself;
use gitmoor_core::tree::{RepoPath, Tree, TreeError, TreeErrorKind};

use crate::helm::{self, Capabilities, Helm, HelmError};
use crate::kustomize::{self, Built, Kustomize, KustomizeError};
use crate::materialise::{self, Checkout, MaterialiseError};
use crate::process::ProcessError;

pub use crate::inputs::{Inputs, inputs, inputs_with};

/// What renders are made with.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The program.
    pub kustomize: Kustomize,
    /// The program for charts.
    pub helm: Helm,
    /// An existing folder for short-lived files, in memory where possible.
    pub scratch: PathBuf,
    /// Bounds of what is written there for one render.
    pub limits: materialise::Limits,
}

/// A text with YAML documents, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDocument {
    /// The file it comes from; `None` when a renderer made it.
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
    /// What the renderer warned of.
    pub warnings: Vec<String>,
    /// The command that made the manifests, for messages.
    pub command: String,
}

/// Why there is no render.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The inputs cannot be told; its read-set says what to watch for.
    #[error(transparent)]
    Inputs(#[from] ClosureError),
    /// The files of another source cannot be told.
    #[error("{error}")]
    OtherInputs {
        /// Position of the other source.
        position: usize,
        /// What is wrong with them; its read-set is of the other source.
        error: ClosureError,
        /// What is read of the source itself.
        own: Box<ReadSet>,
    },
    /// The inputs cannot be written.
    #[error(transparent)]
    Materialise(#[from] MaterialiseError),
    /// kustomize failed.
    #[error(transparent)]
    Kustomize(#[from] KustomizeError),
    /// helm failed.
    #[error(transparent)]
    Helm(#[from] HelmError),
    /// The options of the Application do not fit the kustomization.
    #[error("{file}: {error}")]
    Edit {
        /// The kustomization.
        file: RepoPath,
        /// What is wrong.
        error: EditError,
    },
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
            Self::Inputs(error) | Self::OtherInputs { error, .. } => error.category().as_str(),
            Self::Materialise(MaterialiseError::TooLarge { .. }) => "SourceTooLarge",
            Self::Materialise(MaterialiseError::Name { .. }) | Self::NotText { .. } | Self::Edit { .. } => {
                "InvalidSource"
            }
            Self::Materialise(MaterialiseError::Io { .. }) => "ScratchFailed",
            Self::Materialise(MaterialiseError::Tree(error)) | Self::Tree(error) => match error.kind {
                TreeErrorKind::Unreadable => "RepositoryUnreadable",
                TreeErrorKind::TooLarge => "SourceTooLarge",
                TreeErrorKind::Invalid => "InvalidSource",
            },
            Self::Kustomize(KustomizeError::Process(error)) | Self::Helm(HelmError::Process(error)) => match error {
                ProcessError::TooMuchOutput { .. } => "SourceTooLarge",
                ProcessError::TimedOut { .. } => "RenderTimedOut",
                ProcessError::NotFound { .. } | ProcessError::Io { .. } => "RendererUnavailable",
                ProcessError::Failed { .. } => "RenderFailed",
            },
            Self::Kustomize(_) | Self::Helm(_) => "RenderFailed",
            Self::Interrupted(_) => "Interrupted",
        }
    }

    /// Whether the same commit may render later: all else waits for a push.
    pub fn waiting_helps(&self) -> bool {
        passes_by_itself(self.category())
    }
}

/// Renders a folder without options: its inputs, then [`render_inputs`].
pub async fn render<T>(renderer: &Renderer, tree: T, path: &RepoPath) -> Result<RenderOutput, RenderError>
where
    T: Tree + Send + 'static,
{
    let recipe = Recipe::of_folder(path.clone());
    let inputs = inputs(recipe, Box::new(tree), Vec::new(), &Capabilities::default()).await?;
    render_inputs(renderer, inputs, &Capabilities::default()).await
}

/// Renders what [`inputs`] found, from the same trees.
pub async fn render_inputs(
    renderer: &Renderer,
    inputs: Inputs,
    capabilities: &Capabilities,
) -> Result<RenderOutput, RenderError> {
    match inputs.read_set.source {
        SourceKind::Directory => directory(inputs, renderer.limits.clone()).await,
        SourceKind::Kustomize => Box::pin(kustomization(renderer, inputs, capabilities)).await,
        SourceKind::Helm => Box::pin(chart(renderer, inputs, capabilities)).await,
    }
}

/// The command that makes the manifests, for messages.
pub(crate) fn command(read_set: &ReadSet) -> String {
    let what = match read_set.source {
        SourceKind::Directory => "the files in",
        SourceKind::Kustomize => "kustomize build",
        SourceKind::Helm => "helm template",
    };
    format!("{what} {}", read_set.path)
}

/// The files as they are.
async fn directory(inputs: Inputs, limits: materialise::Limits) -> Result<RenderOutput, RenderError> {
    blocking(move || {
        let Inputs { tree, read_set, .. } = inputs;
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
        let command = command(&read_set);
        Ok(RenderOutput { documents, read_set, key, retried_on_whole_tree: false, warnings: Vec::new(), command })
    })
    .await
}

/// `helm template` of the chart's folder, with files of other sources beside it.
async fn chart(renderer: &Renderer, inputs: Inputs, capabilities: &Capabilities) -> Result<RenderOutput, RenderError> {
    let Renderer { helm, scratch, limits, .. } = renderer.clone();
    let Inputs { recipe, tree, others, read_set, remotes, traits, .. } = inputs;
    let (checkout, other_checkouts, read_set) = blocking(move || {
        let checkout = materialise::with_remotes((&tree, false), (&read_set, &remotes), &scratch, &limits)?;
        let others: Result<Vec<_>, RenderError> = others
            .into_iter()
            .map(|other| Ok((other.source, materialise::read_set(&other.tree, &other.read_set, &scratch, &limits)?)))
            .collect();
        Ok((checkout, others?, read_set))
    })
    .await?;
    let place = |file: &gitmoor_core::source::ValueFile| match file.source {
        None => Some(checkout.path_of(&file.path)),
        Some(source) => {
            let found = other_checkouts.iter().find(|(position, _)| *position == source);
            found.map(|(_, checkout)| checkout.path_of(&file.path))
        }
    };
    let files = recipe.helm.value_files.iter().filter_map(place);
    let template = helm::Template {
        root: checkout.root(),
        other_roots: other_checkouts.iter().map(|(_, checkout)| checkout.root().to_owned()).collect(),
        chart: checkout.path_of(&read_set.path),
        options: &recipe.helm,
        // What may be missing and is, was left out by whoever wrote the folder.
        value_files: files.filter(|file| !recipe.helm.ignore_missing_value_files || file.is_file()).collect(),
        set_files: recipe.helm.set_file.iter().filter_map(|(name, file)| Some((name.clone(), place(file)?))).collect(),
        capabilities,
    };
    let rendered = helm::template(&helm, &template).await;
    let warnings = match &rendered {
        Ok(manifests) if traits.may_change => changes(&helm, &template, manifests).await,
        _ => Vec::new(),
    };
    drop(tokio::task::spawn_blocking(move || drop((checkout, other_checkouts))));
    let documents = vec![SourceDocument { file: None, text: rendered? }];
    let key = RenderKey::ReadSet(read_set.digest());
    let command = command(&read_set);
    Ok(RenderOutput { documents, read_set, key, retried_on_whole_tree: false, warnings, command })
}

/// Renders once more and says what came out differently: such a chart would never be at rest.
async fn changes(helm: &Helm, template: &helm::Template<'_>, first: &str) -> Vec<String> {
    match helm::template(helm, template).await {
        Ok(second) => crate::changing::differences(first, &second),
        Err(_) => Vec::new(),
    }
}

async fn kustomization(
    renderer: &Renderer,
    inputs: Inputs,
    capabilities: &Capabilities,
) -> Result<RenderOutput, RenderError> {
    let Renderer { scratch, limits, .. } = renderer.clone();
    let (inputs, checkout) = blocking(move || {
        let Inputs { tree, read_set, remotes, .. } = &inputs;
        let checkout = materialise::with_remotes((tree, false), (read_set, remotes), &scratch, &limits)?;
        edit(&checkout, &inputs.recipe, &read_set.path)?;
        Ok((inputs, checkout))
    })
    .await?;
    let (path, charts) = (inputs.read_set.path.clone(), charts(renderer, &inputs, capabilities));
    let built = build(&renderer.kustomize, checkout, &path, charts).await;
    if let Err(KustomizeError::Failed { missing_file: true, .. }) = &built {
        return again_on_whole_tree(renderer, inputs, capabilities).await;
    }
    let read_set = inputs.read_set;
    let key = RenderKey::ReadSet(read_set.digest());
    Ok(output(built?, read_set, key, false))
}

/// Writes the options of the Application into the kustomization of a checkout.
fn edit(checkout: &Checkout, recipe: &Recipe, folder: &RepoPath) -> Result<(), RenderError> {
    let options = &recipe.kustomize;
    if options.is_empty() {
        return Ok(());
    }
    let here = checkout.path_of(folder);
    let name = closure::KUSTOMIZATION_FILES.into_iter().find(|name| here.join(name).is_file());
    let Some(name) = name else { return Ok(()) };
    let file = folder.join(name).unwrap_or_default();
    let mut options = options.clone();
    options.components.iter_mut().for_each(|text| *text = checkout.instead(text));
    options.patches.iter_mut().for_each(|patch| patch.path = checkout.instead(&patch.path));
    let options = &options;
    let there = |text: &&String| folder.join(text).is_some_and(|path| checkout.path_of(&path).exists());
    let components: Vec<String> =
        options.components.iter().filter(|text| !options.ignore_missing_components || there(text)).cloned().collect();
    let io = |source| MaterialiseError::Io { path: file.clone(), source };
    let at = here.join(name);
    let text = std::fs::read(&at).map_err(io)?;
    let text = String::from_utf8(text).map_err(|_| RenderError::NotText { file: file.clone() })?;
    let edited = gitmoor_core::source::edit(&text, options, &components);
    let edited = edited.map_err(|error| RenderError::Edit { file: file.clone(), error })?;
    // A link's target may be a file of other kustomizations too.
    std::fs::remove_file(&at).and_then(|()| std::fs::write(&at, edited)).map_err(io)?;
    Ok(())
}

async fn again_on_whole_tree(
    renderer: &Renderer,
    inputs: Inputs,
    capabilities: &Capabilities,
) -> Result<RenderOutput, RenderError> {
    tracing::warn!(path = %inputs.read_set.path, "kustomize reads more than the read-set: building on the whole tree");
    let Renderer { scratch, limits, .. } = renderer.clone();
    let (id, inputs, checkout) = blocking(move || {
        let root = RepoPath::root();
        let Inputs { tree, read_set, remotes, .. } = &inputs;
        let entry = tree.entry(&root)?;
        let id = entry.ok_or_else(|| TreeError::unreadable(&root, "its root has no object id"))?.id;
        let checkout = materialise::with_remotes((tree, true), (read_set, remotes), &scratch, &limits)?;
        edit(&checkout, &inputs.recipe, &read_set.path)?;
        Ok((id, inputs, checkout))
    })
    .await?;
    let (path, charts) = (inputs.read_set.path.clone(), charts(renderer, &inputs, capabilities));
    let built = build(&renderer.kustomize, checkout, &path, charts).await?;
    Ok(output(built, inputs.read_set, RenderKey::WholeTree(id), true))
}

/// How the charts of a kustomization are inflated, when it has some.
fn charts(renderer: &Renderer, inputs: &Inputs, capabilities: &Capabilities) -> Option<kustomize::Charts> {
    let options = &inputs.recipe.kustomize;
    inputs.read_set.inflates().then(|| kustomize::Charts {
        helm: renderer.helm.program.clone(),
        kube_version: [&options.kube_version, &capabilities.kube_version]
            .into_iter()
            .find(|version| !version.is_empty())
            .cloned()
            .unwrap_or_default(),
        api_versions: match options.api_versions.as_slice() {
            [] => capabilities.api_versions.iter().cloned().collect(),
            own => own.to_vec(),
        },
    })
}

/// Builds and removes the checkout, the latter away from the threads that serve everything else.
async fn build(
    kustomize: &Kustomize,
    checkout: Checkout,
    path: &RepoPath,
    charts: Option<kustomize::Charts>,
) -> Result<Built, KustomizeError> {
    let folder = checkout.path_of(path);
    let built = kustomize::build_with(kustomize, checkout.root(), &folder, charts.as_ref()).await;
    drop(tokio::task::spawn_blocking(move || drop(checkout)));
    built
}

fn output(built: Built, read_set: ReadSet, key: RenderKey, retried_on_whole_tree: bool) -> RenderOutput {
    let Built { manifests, warnings } = built;
    let documents = vec![SourceDocument { file: None, text: manifests }];
    let command = command(&read_set);
    RenderOutput { documents, read_set, key, retried_on_whole_tree, warnings, command }
}

pub(crate) async fn blocking<V: Send + 'static>(
    work: impl FnOnce() -> Result<V, RenderError> + Send + 'static,
) -> Result<V, RenderError> {
    tokio::task::spawn_blocking(work).await?
}
