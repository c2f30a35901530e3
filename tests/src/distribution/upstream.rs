//! Applications with charts of others, rendered as the agent renders them.
//!
//! Charts come from where their Applications say, or from what stands in for it: `GITMOOR_REPLACE_SOURCE`, as the agent
//! reads it (docs/sources.md).

use std::collections::BTreeSet;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::lock::Lock;
use gitmoor_core::replacement::Replacement;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_core::tree::RepoPath;
use gitmoor_engine::access::Access;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::charts::{ChartAddress, Charts};
use gitmoor_engine::git::UrlPolicy;
use gitmoor_engine::helm::{Capabilities, Helm};
use gitmoor_engine::inputs::AnyTree;
use gitmoor_engine::kustomize::Kustomize;
use gitmoor_engine::process::Limits;
use gitmoor_engine::render::{RenderError, Renderer, render_inputs};
use gitmoor_engine::sources::{FollowedSource, Origin, followed, gather};
use gitmoor_engine::work_folder::WorkFolder;
use gitmoor_engine::{manifests, materialise};
use serde_json::Value;

use super::fork::{Fork, placed, sources, text_at};
use super::values::Offered;
use crate::harness::scratch::Scratch;
use crate::harness::tools::tool;

/// Longest file with default values.
const LARGEST: usize = 4 << 20;

/// Renders with charts, which it keeps.
pub struct Upstream {
    scratch: Scratch,
    charts: Charts,
    addresses: Addresses,
    renderer: Renderer,
    capabilities: Capabilities,
}

/// An Application as it would be applied.
pub struct Rendered {
    /// The objects of all sources, with their namespaces.
    pub objects: Vec<Value>,
    /// What the agent would warn of.
    pub warnings: Vec<String>,
    /// Values for charts of others that these do not have.
    pub unknown: BTreeSet<String>,
}

impl Upstream {
    /// For a cluster of this version that serves these kinds; `replacements` as in `GITMOOR_REPLACE_SOURCE`.
    pub fn new(replacements: &str, capabilities: Capabilities) -> Self {
        let scratch = Scratch::new("upstream");
        let replacements = replacements.split(',').filter(|one| !one.is_empty());
        let replacements: Vec<Replacement> = replacements.map(|one| one.parse().unwrap()).collect();
        let addresses = Addresses::new(UrlPolicy::default(), replacements);
        let kustomize = Kustomize { program: tool("kustomize"), limits: Limits::default() };
        let helm = Helm { program: tool("helm"), limits: Limits::default() };
        let folder = scratch.path().join("renders");
        std::fs::create_dir_all(&folder).unwrap();
        let renderer = Renderer { kustomize, helm, scratch: folder, limits: materialise::Limits::default() };
        let charts = Charts::new(scratch.path().to_owned()).with_addresses(addresses.clone());
        Self { scratch, charts, addresses, renderer, capabilities }
    }

    /// Renders an Application of an initialised fork.
    ///
    /// # Errors
    /// What is in the way, with the Application's name.
    pub async fn render(&self, fork: &Fork, application: &Value) -> Result<Rendered, String> {
        let name = text_at(application, "/metadata/name");
        self.try_render(fork, application).await.map_err(|error| format!("{name}: {error}"))
    }

    async fn try_render(&self, fork: &Fork, application: &Value) -> Result<Rendered, String> {
        let text = |at: &str| text_at(application, at).to_owned();
        let key = ApplicationKey { namespace: text("/metadata/namespace"), name: text("/metadata/name") };
        let spec = ApplicationSpec::read(application).map_err(|error| error.to_string())?;
        let sources = followed(&key, &spec, &self.addresses, &Lock::default()).map_err(|error| error.to_string())?;
        for source in &sources {
            if let Origin::Chart(address) = &source.follow.origin {
                self.resolve(address, &source.follow.revision).await?;
            }
        }
        let open = |at: usize| {
            let tree = self.tree(fork, &sources[at]);
            Box::pin(async { Ok::<AnyTree, RenderError>(tree) }) as _
        };
        let gathered = gather(&sources, &self.capabilities, &open).await;
        if let Some((_, error)) = gathered.failures.first() {
            return Err(error.to_string());
        }
        let mut outputs = Vec::new();
        for inputs in gathered.inputs.into_iter().flatten() {
            let output = render_inputs(&self.renderer, inputs, &self.capabilities).await;
            outputs.push(output.map_err(|error| format!("{error:?}"))?);
        }
        let mut warnings: Vec<String> = outputs.iter().flat_map(|output| output.warnings.clone()).collect();
        let namespace = spec.destination.namespace.clone().unwrap_or_default();
        let (manifests, more) = manifests::read(outputs, &namespace).map_err(|errors| errors.join("; "))?;
        warnings.extend(more);
        let unknown = self.unknown_values(fork, application, &sources);
        let objects = manifests.items().iter().map(|manifest| manifest.object.clone()).collect();
        Ok(Rendered { objects: placed(objects, &namespace), warnings, unknown })
    }

    async fn resolve(&self, address: &ChartAddress, revision: &str) -> Result<(), String> {
        let (charts, address, wanted) = (self.charts.clone(), address.clone(), revision.to_owned());
        let found = tokio::task::spawn_blocking(move || charts.resolve(&address, &wanted, &Access::default())).await;
        match found.unwrap() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("there is no version {revision} of its chart")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where a source stands: a chart that was resolved, or the fork.
    fn tree(&self, fork: &Fork, source: &FollowedSource) -> AnyTree {
        match &source.follow.origin {
            Origin::Git(_) => Box::new(WorkFolder::around(&fork.path("distribution")).unwrap().0),
            Origin::Chart(address) => {
                let version = self.charts.resolve(address, &source.follow.revision, &Access::default());
                Box::new(self.charts.tree(&version.unwrap().unwrap()).unwrap().unwrap())
            }
        }
    }

    /// Values for charts of others that these do not have.
    fn unknown_values(&self, fork: &Fork, application: &Value, followed: &[FollowedSource]) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        for (source, followed) in sources(application).into_iter().zip(followed) {
            if !matches!(followed.follow.origin, Origin::Chart(_)) {
                continue;
            }
            let offered = offered(&self.tree(fork, followed), &RepoPath::root());
            for file in fork.value_files(source) {
                let given: Value = serde_yaml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
                unknown.extend(offered.unknown(&given));
            }
        }
        unknown
    }

    /// Where short-lived files are.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }
}

/// The default values of the chart in a folder, and of those that it depends on.
fn offered(tree: &AnyTree, chart: &RepoPath) -> Offered {
    let below = |path: &RepoPath, name: &str| path.join(name).unwrap();
    let text = tree.read(&below(chart, "values.yaml"), LARGEST).unwrap_or_default();
    let folder = below(chart, "charts");
    let names = tree.list(&folder).unwrap_or_default().into_iter().map(|(name, _)| name);
    let dependencies = names.map(|name| (name.clone(), offered(tree, &below(&folder, &name)))).collect();
    let templates = texts(tree, &below(chart, "templates"));
    Offered::read(String::from_utf8_lossy(&text).into_owned(), templates, dependencies)
}

/// All files below a folder, one after the other.
fn texts(tree: &AnyTree, folder: &RepoPath) -> String {
    let entries = tree.list(folder).unwrap_or_default().into_iter();
    let each = entries.map(|(name, _)| {
        let path = folder.join(&name).unwrap();
        match tree.read(&path, LARGEST) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => texts(tree, &path),
        }
    });
    each.collect()
}
