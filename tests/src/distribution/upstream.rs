//! Applications with charts of others, rendered as the agent renders them.
//!
//! Charts come from where their Applications say, or from what stands in for it: `GITMOOR_REPLACE_SOURCE`, as the agent
//! reads it (docs/sources.md).

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::replacement::Replacement;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::charts::{ChartAddress, Charts};
use gitmoor_engine::git::{Credentials, UrlPolicy};
use gitmoor_engine::helm::{Capabilities, Helm};
use gitmoor_engine::inputs::AnyTree;
use gitmoor_engine::kustomize::Kustomize;
use gitmoor_engine::process::Limits;
use gitmoor_engine::render::{RenderError, Renderer, render_inputs};
use gitmoor_engine::sources::{FollowedSource, Origin, followed, gather};
use gitmoor_engine::work_folder::WorkFolder;
use gitmoor_engine::{manifests, materialise};
use serde_json::Value;

use super::fork::{Fork, text_at};
use crate::harness::scratch::Scratch;
use crate::harness::tools::tool;

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
        let sources = followed(&key, &spec, &self.addresses).map_err(|error| error.to_string())?;
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
        let objects = manifests.items().iter().map(|manifest| manifest.object.clone()).collect();
        Ok(Rendered { objects, warnings })
    }

    async fn resolve(&self, address: &ChartAddress, revision: &str) -> Result<(), String> {
        let (charts, address, wanted) = (self.charts.clone(), address.clone(), revision.to_owned());
        let found = tokio::task::spawn_blocking(move || charts.resolve(&address, &wanted, &Credentials::None)).await;
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
                let version = self.charts.resolve(address, &source.follow.revision, &Credentials::None);
                Box::new(self.charts.tree(&version.unwrap().unwrap()).unwrap().unwrap())
            }
        }
    }

    /// Where short-lived files are.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }
}
