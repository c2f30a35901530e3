//! What of a distribution the agent will read: from the root Application through the selection to the files of every
//! Application in it. Nothing is rendered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gitmoor_core::{
    application::ApplicationSpec,
    closure::{self, Member, ReadSet, SourceKind},
    source::{Names, Recipe, Source, recipes},
    template::Matcher,
    tree::{RepoPath, Tree},
    yaml::{Limits, read_documents},
};
use gitmoor_engine::work_folder::{Substituted, WorkFolder};
use serde_json::Value;

/// Longest file that is looked at for Applications.
const LARGEST: usize = 4 << 20;
/// The root Application, which is applied by hand.
const ROOT: &str = "platform.yaml";

/// The files that are read, as absolute paths. `None` when it cannot be told: a kustomization that is not there or cannot be
/// followed, an Application that cannot be understood.
pub(crate) fn files_that_are_read(distribution: &Path, matcher: &Matcher) -> Option<BTreeSet<PathBuf>> {
    let (tree, top) = WorkFolder::around(distribution).ok()?;
    let read = paths_that_are_read(Substituted::new(tree, matcher.clone()), &top)?;
    // Both are made of the same folder, so that the paths of one are those of the other.
    let (plain, _) = WorkFolder::around(distribution).ok()?;
    Some(read.iter().map(|path| plain.path_of(path)).collect())
}

/// The texts of these files, with values in place of placeholders.
pub(crate) fn texts_that_are_read(distribution: &Path, matcher: &Matcher) -> Option<Vec<String>> {
    let open = || WorkFolder::around(distribution).ok();
    let (tree, top) = open()?;
    let read = paths_that_are_read(Substituted::new(tree, matcher.clone()), &top)?;
    let tree = Substituted::new(open()?.0, matcher.clone());
    let texts = read.iter().filter_map(|path| tree.read(path, LARGEST).ok());
    Some(texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect())
}

/// The same in any tree, of which `top` is the distribution's folder.
pub(crate) fn paths_that_are_read(tree: impl Tree, top: &RepoPath) -> Option<BTreeSet<RepoPath>> {
    let mut walk = Walk { tree, own: None, read: BTreeSet::new() };
    let root = top.join(ROOT)?;
    if let Ok(text) = walk.tree.read(&root, LARGEST) {
        let documents = applications(&String::from_utf8(text).ok()?)?;
        let source = |object: &Value| object.pointer("/spec/source/repoURL").and_then(Value::as_str).map(str::to_owned);
        walk.own = documents.iter().find_map(source);
        walk.read.insert(root);
    }
    let selection = closure::read_set(&walk.tree, top).ok().filter(|set| set.source == SourceKind::Kustomize)?;
    walk.take(&selection)?;
    Some(walk.read)
}

struct Walk<T> {
    tree: T,
    /// The address of this repository; any is, when there is no root Application to say it.
    own: Option<String>,
    read: BTreeSet<RepoPath>,
}

impl<T: Tree> Walk<T> {
    /// Takes up what a source reads, and every Application in it.
    fn take(&mut self, set: &ReadSet) -> Option<()> {
        for (path, member) in &set.members {
            if !matches!(member, Member::File { .. }) || !self.read.insert(path.clone()) {
                continue;
            }
            let text = String::from_utf8(self.tree.read(path, LARGEST).ok()?).unwrap_or_default();
            // Most files hold none, and templates of charts are no YAML.
            if text.contains("argoproj.io/") && text.contains("kind: Application") {
                for application in applications(&text)? {
                    self.application(&application)?;
                }
            }
        }
        Some(())
    }

    fn application(&mut self, object: &Value) -> Option<()> {
        let spec = ApplicationSpec::read(object).ok()?;
        let sources = spec.validate().ok()?;
        let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
        let namespace = spec.destination.namespace.as_deref().unwrap_or_default();
        let recipes = recipes(sources, &Names { name, namespace, project: &spec.project }).ok()?;
        for (source, recipe) in sources.iter().zip(&recipes) {
            if self.is_own(source) && !recipe.reference_only {
                let set = closure::read_set_of(&self.tree, recipe).ok()?;
                self.take(&set)?;
            }
            self.values(sources, recipe)?;
        }
        Some(())
    }

    /// Files with values for a chart, of this repository.
    fn values(&mut self, sources: &[Source], recipe: &Recipe) -> Option<()> {
        let own = recipe.helm.files().filter(|(_, file)| file.source.is_some_and(|at| self.is_own(&sources[at])));
        let own: Vec<_> = own.collect();
        let set = closure::read_set_of_files(&self.tree, own, recipe.helm.ignore_missing_value_files).ok()?;
        self.take(&set)
    }

    fn is_own(&self, source: &Source) -> bool {
        source.chart.is_none() && self.own.as_ref().is_none_or(|own| *own == source.repo_url)
    }
}

/// The Applications of a file; `None` when it cannot be read.
fn applications(text: &str) -> Option<Vec<Value>> {
    let documents = read_documents(text, &Limits::default()).ok()?;
    let objects = documents.into_iter().map(|document| document.value);
    Some(objects.filter(|object| object["kind"] == "Application").collect())
}
