//! Sources of an Application: as they are written, and as they are rendered.
//!
//! ```text
//! spec.source(s) -deserialise-> Source -recipes (names resolved, references checked)-> Recipe -closure-> read-set
//! ```
//!
//! Field names and meaning: Argo CD's `pkg/apis/application/v1alpha1/types.go`, `util/helm` and `util/kustomize`.

mod directory;
mod expand;
mod helm;
mod kustomize;
mod recipe;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub use directory::{Directory, DirectoryOptions};
pub use helm::{FileParameter, Helm, HelmOptions, Parameter, ValueFile};
pub use kustomize::{EditError, KustomizeOptions, edit};
pub use recipe::{Names, Recipe, RecipeError, recipes};

/// Fields that are not known.
pub(crate) type Rest = BTreeMap<String, Value>;

/// `spec.source`, and an item of `spec.sources`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// URL of the Git repository, the chart repository or the OCI registry.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// Branch, tag, range of tags or commit; version or range of versions of a chart. `HEAD` when missing.
    pub target_revision: Option<String>,
    /// Folder in the repository.
    pub path: Option<String>,
    /// Name of the chart in a chart repository.
    pub chart: Option<String>,
    /// Name under which other sources use files of this one: `$NAME/PATH`.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// For people only.
    pub name: Option<String>,
    /// How a chart is rendered.
    pub helm: Option<HelmOptions>,
    /// How a kustomization is rendered.
    pub kustomize: Option<KustomizeOptions>,
    /// Which files of a plain directory are manifests.
    pub directory: Option<DirectoryOptions>,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

/// The revision of a source that names none.
pub const HEAD: &str = "HEAD";

impl Source {
    /// The revision to follow.
    pub fn revision(&self) -> &str {
        self.target_revision.as_deref().filter(|revision| !revision.is_empty()).unwrap_or(HEAD)
    }

    /// The chart, when it comes from a chart repository or a registry.
    pub fn chart(&self) -> Option<&str> {
        self.chart.as_deref().filter(|chart| !chart.is_empty())
    }

    /// The name that other sources use.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref().filter(|name| !name.is_empty())
    }

    /// A source that only gives files to others: it has a name for them, and nothing to render.
    pub fn is_reference_only(&self) -> bool {
        self.reference().is_some() && self.chart().is_none() && self.path.as_deref().is_none_or(str::is_empty)
    }

    /// Paths of fields that are set and not known; `at` is the path of the source.
    pub(crate) fn unknown_fields(&self, at: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |path: String, rest: &Rest| {
            let set = rest.iter().filter(|(_, value)| is_set(value));
            found.extend(set.map(|(key, _)| format!("{path}.{key}")));
        };
        note(at.to_owned(), &self.rest);
        if let Some(helm) = &self.helm {
            note(format!("{at}.helm"), &helm.rest);
        }
        if let Some(kustomize) = &self.kustomize {
            note(format!("{at}.kustomize"), &kustomize.rest);
        }
        if let Some(directory) = &self.directory {
            note(format!("{at}.directory"), &directory.rest);
        }
        found
    }
}

/// A field that is there but says nothing does not count.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.values().any(is_set),
        Value::String(text) => !text.is_empty(),
        Value::Bool(on) => *on,
        Value::Number(_) => true,
    }
}
