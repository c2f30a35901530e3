//! The sources of an Application: where each comes from, and what it is rendered from.
//!
//! ```text
//! Application -followed-> origin, revision, recipe -(the caller's trees)-> gather -> inputs -> render, manifests
//! ```

use std::fmt;

use futures::future::BoxFuture;
use gitmoor_core::application::{ApplicationSpec, SpecError};
use gitmoor_core::closure::ReadSet;
use gitmoor_core::lock::Lock;
use gitmoor_core::source::{Names, Recipe, Source, recipes};
use gitmoor_core::tracking::ApplicationKey;
use sha2::{Digest as _, Sha256};

use crate::addresses::Addresses;
use crate::charts::ChartAddress;
use crate::git::RepositoryUrl;
use crate::helm::Capabilities;
use crate::inputs::{AnyTree, Inputs, inputs_with, lock_reads};
use crate::remotes::FetchRemotes;
use crate::render::RenderError;

/// Where a source comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A Git repository.
    Git(RepositoryUrl),
    /// A chart of a repository or registry.
    Chart(ChartAddress),
}

impl Origin {
    /// The origin that a source names.
    ///
    /// # Errors
    /// When its address is none that may be used.
    pub fn of(source: &Source, addresses: &Addresses) -> Result<Self, SpecError> {
        let invalid = |reason: String| SpecError::Invalid { field: "spec.source.repoURL", reason };
        match source.chart() {
            Some(chart) => {
                let pass = source.helm.as_ref().is_some_and(|helm| helm.pass_credentials);
                let address = addresses.chart(&source.repo_url, chart).map_err(|e| invalid(e.to_string()))?;
                Ok(Self::Chart(address.passing_credentials(pass)))
            }
            None => addresses.repository(&source.repo_url).map(Self::Git).map_err(|e| invalid(e.to_string())),
        }
    }
}

impl Origin {
    /// Whether both are one repository, maybe by two addresses; or one chart.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Git(one), Self::Git(other)) => one == other || one.place() == other.place(),
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(url) => write!(f, "{url}"),
            Self::Chart(address) => write!(f, "{address}"),
        }
    }
}

/// A revision that some Application follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Follow {
    /// Of what.
    pub origin: Origin,
    /// Branch, tag, range of tags or commit; version or range of versions: as the Application has it, or its lock file.
    pub revision: String,
}

/// A source of an Application: what it follows, and how that is rendered.
#[derive(Clone, Debug)]
pub struct FollowedSource {
    /// What it follows.
    pub follow: Follow,
    /// How it is rendered.
    pub recipe: Recipe,
}

/// The sources of an Application, in their order. `lock`: what the Application carries of the lock file of the repository
/// that brought it.
///
/// # Errors
/// When the spec cannot be worked with as a whole.
pub fn followed(
    key: &ApplicationKey,
    spec: &ApplicationSpec,
    addresses: &Addresses,
    lock: &Lock,
) -> Result<Vec<FollowedSource>, SpecError> {
    let sources = spec.validate()?;
    let namespace = spec.destination.namespace.as_deref().unwrap_or_default();
    let names = Names { name: &key.name, namespace, project: &spec.project };
    let recipes = recipes(sources, &names)?;
    let followed = sources.iter().zip(recipes).map(|(source, recipe)| {
        let revision = source.revision();
        let locked = source.chart().and_then(|chart| lock.revision(&source.repo_url, chart, revision));
        let revision = locked.unwrap_or_else(|| revision.to_owned());
        let follow = Follow { origin: Origin::of(source, addresses)?, revision };
        Ok(FollowedSource { follow, recipe })
    });
    followed.collect()
}

/// What the sources are rendered from, or why not: one item for each.
pub struct Gathered {
    /// `None` for sources that only give files to others, and for those that failed.
    pub inputs: Vec<Option<Inputs>>,
    /// What stands in the way.
    pub failures: Vec<(usize, RenderError)>,
}

/// Opens the tree of the source at a position where it stands.
pub type OpenTree<'t> = dyn Fn(usize) -> BoxFuture<'t, Result<AnyTree, RenderError>> + Sync + 't;

/// Gathers the inputs of all sources, without anything from elsewhere.
pub async fn gather(sources: &[FollowedSource], capabilities: &Capabilities, tree: &OpenTree<'_>) -> Gathered {
    gather_with(sources, capabilities, tree, None).await
}

/// As [`gather`], with what comes from elsewhere.
pub async fn gather_with(
    sources: &[FollowedSource],
    capabilities: &Capabilities,
    tree: &OpenTree<'_>,
    fetch: Option<&dyn FetchRemotes>,
) -> Gathered {
    let mut gathered = Gathered { inputs: Vec::new(), failures: Vec::new() };
    for (index, source) in sources.iter().enumerate() {
        match one(&source.recipe, index, capabilities, tree, fetch).await {
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
    recipe: &Recipe,
    index: usize,
    capabilities: &Capabilities,
    tree: &OpenTree<'_>,
    fetch: Option<&dyn FetchRemotes>,
) -> Result<Option<Inputs>, RenderError> {
    if recipe.reference_only {
        return Ok(None);
    }
    let own = tree(index).await?;
    let mut others = Vec::new();
    let mut wanted: Vec<usize> = recipe.helm.files().filter_map(|(_, file)| file.source).collect();
    wanted.sort_unstable();
    wanted.dedup();
    for other in wanted {
        others.push((other, tree(other).await?));
    }
    Box::pin(inputs_with(recipe.clone(), own, others, capabilities, fetch)).await.map(Some)
}

impl Gathered {
    /// Digest of what is read of a source, also by others; `treatment` is all else that bodies depend on. Empty for one
    /// that failed.
    pub fn digest(&self, source: usize, treatment: &str) -> String {
        if self.failures.iter().any(|(failed, _)| *failed == source) {
            return String::new();
        }
        let mut hash = Sha256::new();
        if let Some(inputs) = &self.inputs[source] {
            hash.update(inputs.own_digest());
            // What is done with what was rendered.
            hash.update(treatment);
        }
        let others = self.inputs.iter().flatten().flat_map(|inputs| &inputs.others);
        others.filter(|other| other.source == source).for_each(|other| hash.update(other.read_set.digest()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Every path that was looked at, of which source: a change to any of them may mend a failure. `None` when one of
    /// them did not get so far.
    pub fn read_sets(&self) -> Option<Vec<(usize, ReadSet)>> {
        let mut sets = Vec::new();
        for (index, inputs) in self.inputs.iter().enumerate() {
            let Some(inputs) = inputs else { continue };
            sets.push((index, inputs.read_set.clone()));
            sets.extend(inputs.others.iter().map(|other| (other.source, other.read_set.clone())));
            if !inputs.remotes.0.is_empty() {
                sets.push((index, lock_reads()));
            }
        }
        for (index, failure) in &self.failures {
            match failure {
                RenderError::Inputs(error) => {
                    sets.extend([(*index, (*error.read_set).clone()), (*index, lock_reads())]);
                }
                RenderError::OtherInputs { position, error, own } => {
                    sets.extend([(*index, (**own).clone()), (*position, (*error.read_set).clone())]);
                }
                _ => return None,
            }
        }
        Some(sets)
    }
}
