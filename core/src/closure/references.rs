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
    /// Where the entry begins in the text, in characters; unknown inside of other text.
    pub(super) start: Option<usize>,
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
    /// A chart.
    Chart(Inflated),
    /// Something that is not rendered.
    Unsupported(&'static str),
}

/// A chart that kustomize inflates (`types.HelmChart`, `types.HelmGlobals`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inflated {
    pub(super) name: String,
    /// Address of the repository; empty for a chart that is there.
    pub(super) repository: String,
    pub(super) version: String,
    /// The folder that charts are looked for in.
    pub(super) home: String,
    pub(super) value_files: Vec<String>,
}

/// More entries than are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

const LEGACY_HELM: &str = "helmChartInflationGenerator (use helmCharts)";

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
    let globals = node.fields("helmGlobals");
    let home = globals.iter().find_map(|globals| value(globals, "chartHome")).unwrap_or_default();
    for chart in found.items(node, "helmCharts")? {
        found.chart("helmCharts", &chart, &home)?;
    }
    if let Some(chart) = found.items(node, "helmChartInflationGenerator")?.first() {
        found.add("helmChartInflationGenerator", chart, Target::Unsupported(LEGACY_HELM))?;
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
    fn add(&mut self, field: &'static str, node: &Node, target: Target) -> Result<(), TooMany> {
        self.count(1)?;
        self.references.push(Reference { field, line: node.line, start: Some(node.start), target });
        Ok(())
    }

    fn chart(&mut self, field: &'static str, node: &Rc<Node>, home: &str) -> Result<(), TooMany> {
        let text = |name: &str| value(node, name).unwrap_or_default();
        let mut value_files = Vec::new();
        for name in ["valuesFile", "additionalValuesFiles"] {
            value_files.extend(self.items(node, name)?.iter().filter_map(|file| file.text().map(str::to_owned)));
        }
        let own_home = text("chartHome");
        let home = [own_home.as_str(), home, "charts"].into_iter().find(|home| !home.is_empty()).unwrap_or_default();
        let (name, repository, version) = (text("name"), text("repo"), text("version"));
        let chart = Inflated { name, repository, version, home: home.to_owned(), value_files };
        self.add(field, node, Target::Chart(chart))
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
                self.add(name, &item, make(text.to_owned()))?;
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
                self.add(field, &item, make(text.to_owned()))?;
            }
        }
        Ok(())
    }

    /// Entries that are patches themselves, or else paths.
    fn patches_or_paths(&mut self, node: &Node, name: &'static str) -> Result<(), TooMany> {
        for item in self.items(node, name)? {
            if let Some(text) = item.text().filter(|text| inline(text).is_none()) {
                self.add(name, &item, Target::File(text.to_owned()))?;
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
                None => self.add(KEYED, &item, Target::File(text.to_owned()))?,
                Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => {
                    self.add(KEYED, &item, Target::File(text.to_owned()))?;
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
                None => self.add(name, &item, Target::PluginConfig(text.to_owned()))?,
                Some(documents) => {
                    let before = self.references.len();
                    for document in &documents {
                        self.plugin_config(document, 0)?;
                    }
                    // Lines inside the text count from its own start: the entry's line is what helps.
                    for found in &mut self.references[before..] {
                        (found.line, found.start) = (item.line, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// A builtin generator's or transformer's configuration (`api/internal/builtins`), or a list of them.
    fn plugin_config(&mut self, node: &Rc<Node>, depth: usize) -> Result<(), TooMany> {
        let kind = node.fields("kind").first().and_then(|kind| kind.text()).unwrap_or_default();
        match kind {
            "ConfigMapGenerator" | "SecretGenerator" => self.sources(node),
            "PatchTransformer" | "PatchJson6902Transformer" => self.texts_as(node, "path", "path", Target::File),
            "PatchStrategicMergeTransformer" => self.patches_or_paths(node, "paths"),
            "ReplacementTransformer" => self.members_path(node, "replacements"),
            "ValueAddTransformer" => self.texts_as(node, "targetFilePath", "targetFilePath", Target::File),
            "HelmChartInflationGenerator" => self.chart("HelmChartInflationGenerator", node, ""),
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

/// The field whose paths may have a key in front.
const KEYED: &str = "files";

/// The path of an entry, without the key of one of `files`.
pub(super) fn without_key<'t>(text: &'t str, field: &str) -> &'t str {
    text.split_once('=').map_or(text, |(_, path)| if field == KEYED { path } else { text })
}

/// The text under a key.
fn value(node: &Node, name: &str) -> Option<String> {
    node.fields(name).iter().find_map(|found| found.text().map(str::to_owned))
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
