//! The paths that a kustomization or a plugin configuration names.

use std::rc::Rc;

use super::document::{self, Node, Value};
use super::remote;

/// Most entries that are looked at in one document: aliases can repeat a list any number of times.
const MOST_ENTRIES: usize = 100_000;

/// An entry that names something, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) field: &'static str,
    pub(super) line: usize,
    pub(super) target: Target,
}

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A manifest, or else a folder that is a kustomization.
    Resource(String),
    /// A folder that is a component.
    Component(String),
    /// A file, whatever is in it.
    File(String),
    /// A file or folder with configurations of generators or transformers.
    PluginConfig(String),
    /// Something that is not rendered.
    Unsupported(&'static str),
}

/// More entries than are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

const HELM: &str = "helm chart inflation by kustomize";

/// The references of a kustomization (`types.Kustomization` of kustomize v5.8.1).
pub(super) fn of_kustomization(node: &Node) -> Result<Vec<Reference>, TooMany> {
    let mut found = Collector::default();
    for (name, make) in [
        ("resources", Target::Resource as fn(String) -> Target),
        ("bases", Target::Resource),
        ("components", Target::Component),
        ("crds", Target::File),
        ("configurations", Target::File),
    ] {
        found.texts(node, name, make)?;
    }
    found.members_path(node, "openapi")?;
    for name in ["patches", "patchesJson6902", "replacements"] {
        found.members_path(node, name)?;
    }
    found.patches_or_paths(node, "patchesStrategicMerge")?;
    for name in ["configMapGenerator", "secretGenerator"] {
        for item in found.items(node, name)? {
            found.sources(&item)?;
        }
    }
    for name in ["helmCharts", "helmChartInflationGenerator"] {
        if let Some(chart) = found.items(node, name)?.first() {
            found.add(name, chart.line, Target::Unsupported(HELM))?;
        }
    }
    for name in ["generators", "transformers", "validators"] {
        found.plugin_configs(node, name)?;
    }
    Ok(found.references)
}

/// The references of a file with plugin configurations, relative to the kustomization that uses it.
pub(super) fn of_plugin_configs(documents: &[Rc<Node>]) -> Result<Vec<Reference>, TooMany> {
    let mut found = Collector::default();
    for document in documents {
        found.plugin_config(document, 0)?;
    }
    Ok(found.references)
}

#[derive(Default)]
struct Collector {
    references: Vec<Reference>,
    seen: usize,
}

impl Collector {
    fn add(&mut self, field: &'static str, line: usize, target: Target) -> Result<(), TooMany> {
        self.count(1)?;
        self.references.push(Reference { field, line, target });
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), TooMany> {
        self.seen += more;
        if self.seen > MOST_ENTRIES { Err(TooMany) } else { Ok(()) }
    }

    /// The items of a list, or the one value that stands in its place.
    fn items(&mut self, node: &Node, name: &str) -> Result<Vec<Rc<Node>>, TooMany> {
        let mut items = Vec::new();
        for field in node.fields(name) {
            match &field.value {
                Value::Sequence(list) => {
                    self.count(list.len())?;
                    items.extend(list.iter().cloned());
                }
                Value::Text(text) if matches!(text.as_str(), "" | "~" | "null") => {}
                Value::Text(_) | Value::Mapping(_) => items.push(Rc::clone(field)),
            }
        }
        Ok(items)
    }

    fn texts(&mut self, node: &Node, name: &'static str, make: fn(String) -> Target) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            if let Some(text) = item.text() {
                self.add(name, item.line, make(text.to_owned()))?;
            }
        }
        Ok(())
    }

    /// `path` of each member of a list.
    fn members_path(&mut self, node: &Node, name: &'static str) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            self.texts_as(&item, "path", name, Target::File)?;
        }
        Ok(())
    }

    fn texts_as(
        &mut self,
        node: &Node,
        name: &str,
        field: &'static str,
        make: fn(String) -> Target,
    ) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            if let Some(text) = item.text() {
                self.add(field, item.line, make(text.to_owned()))?;
            }
        }
        Ok(())
    }

    /// Entries that are patches themselves, or else paths.
    fn patches_or_paths(&mut self, node: &Node, name: &'static str) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            if let Some(text) = item.text().filter(|text| inline(text).is_none()) {
                self.add(name, item.line, Target::File(text.to_owned()))?;
            }
        }
        Ok(())
    }

    /// `files` (`[key=]path`), `envs` and `env` of a ConfigMap or Secret generator.
    fn sources(&mut self, node: &Node) -> Result<(), TooMany> {
        for item in self.items(node, "files")? {
            let Some(text) = item.text() else { continue };
            // What has no path or more than one `=`, kustomize refuses by itself.
            match text.split_once('=') {
                None => self.add("files", item.line, Target::File(text.to_owned()))?,
                Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => {
                    self.add("files", item.line, Target::File(path.to_owned()))?;
                }
                Some(_) => {}
            }
        }
        self.texts(node, "envs", Target::File)?;
        self.texts(node, "env", Target::File)
    }

    /// Entries that are configurations themselves, or else paths.
    fn plugin_configs(&mut self, node: &Node, name: &'static str) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            let Some(text) = item.text() else { continue };
            match inline(text) {
                None => self.add(name, item.line, Target::PluginConfig(text.to_owned()))?,
                Some(documents) => {
                    let before = self.references.len();
                    for document in &documents {
                        self.plugin_config(document, 0)?;
                    }
                    // Lines inside the text count from its own start: the entry's line is what helps.
                    self.references[before..].iter_mut().for_each(|found| found.line = item.line);
                }
            }
        }
        Ok(())
    }

    /// A builtin generator's or transformer's configuration (`api/internal/builtins`), or a list of them.
    fn plugin_config(&mut self, node: &Node, depth: usize) -> Result<(), TooMany> {
        let kind = node.fields("kind").first().and_then(|kind| kind.text()).unwrap_or_default();
        match kind {
            "ConfigMapGenerator" | "SecretGenerator" => self.sources(node),
            "PatchTransformer" | "PatchJson6902Transformer" => self.texts_as(node, "path", "path", Target::File),
            "PatchStrategicMergeTransformer" => self.patches_or_paths(node, "paths"),
            "ReplacementTransformer" => self.members_path(node, "replacements"),
            "ValueAddTransformer" => self.texts_as(node, "targetFilePath", "targetFilePath", Target::File),
            "HelmChartInflationGenerator" => {
                self.add("HelmChartInflationGenerator", node.line, Target::Unsupported(HELM))
            }
            list if list.ends_with("List") && depth < 4 => {
                for item in self.items(node, "items")? {
                    self.plugin_config(&item, depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The documents of an entry that is YAML itself and not a path. Text with more than one line is never a path, and a URL
/// is never YAML: kustomize falls back to fetching when a text has no `kind`.
fn inline(text: &str) -> Option<Vec<Rc<Node>>> {
    if remote::is_remote_file(text) || remote::is_repository(text) {
        return None;
    }
    let documents = document::read(text, false).unwrap_or_default();
    let holds_content = documents.iter().any(|document| !matches!(document.value, Value::Text(_)));
    (holds_content || text.trim().contains('\n')).then_some(documents)
}
