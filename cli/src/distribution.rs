//! The distribution as the agent would see it: files, Applications, and what they render to.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use gitmoor_core::{
    application::ApplicationSpec,
    closure::{self, Member},
    manifest::{Manifests, Origin},
    object::text_at,
    setup_conf::{Problems, SetupConf},
    template::Matcher,
    tree::{EntryKind, RepoPath, Tree, TreeError},
    yaml::{Limits, read_documents},
};
use gitmoor_engine::{
    render::{Renderer, render},
    work_folder::{Substituted, WorkFolder},
};
use serde_json::Value;

use crate::{
    failure::{Exit, Failure, described},
    fork_folder::of_fork,
};

/// Longest file that is read here.
const LARGEST: usize = 4 << 20;
/// Renders at the same time: kustomize is sequential, and most of its time is its own.
const AT_ONCE: usize = 4;

/// A distribution in a work folder.
#[derive(Clone)]
pub(crate) struct Distribution {
    folder: PathBuf,
    path: RepoPath,
    matcher: Matcher,
}

/// What can be rendered, rendered.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// Every object, with the namespace of those that name none.
    pub(crate) objects: Vec<(Value, Option<String>)>,
    /// Applications of which every object is here.
    pub(crate) complete: BTreeSet<String>,
    /// Namespaces that Applications make on their own.
    pub(crate) namespaces: BTreeSet<String>,
    /// What was not rendered, and why.
    pub(crate) skipped: Vec<(String, String)>,
}

/// The text of setup.conf, for a distribution that has not been initialised. One that is not there is no error unless it
/// was asked for, and empty.
pub(crate) fn setup_conf_text(setup_conf: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let path = setup_conf_path(setup_conf);
    match std::fs::read(&path) {
        Ok(text) => Ok(text),
        Err(error) if setup_conf.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::io(format!("cannot read {}", path.display()), &error)),
    }
}

fn setup_conf_path(named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| of_fork("setup.conf"), Path::to_owned)
}

/// What puts the values of setup.conf in place of their placeholders.
pub(crate) fn matcher(setup_conf: Option<&Path>, text: &[u8]) -> Result<Matcher, Failure> {
    let path = setup_conf_path(setup_conf);
    let conf = SetupConf::parse(text, &[]).map_err(|Problems(problems)| {
        let mut failure = Failure::new(Exit::Input, format!("{} has errors", path.display()));
        failure.causes = problems.iter().map(|found| format!("{}: {}", found.place, found.kind)).collect();
        failure
    })?;
    conf.matcher()
        .map_err(|error| Failure::new(Exit::Input, "cannot search for the names of setup.conf").because(&error))
}

impl Distribution {
    /// Opens the folder; placeholders that are left in its files get their values from setup.conf.
    pub(crate) fn open(folder: &Path, setup_conf: Option<&Path>) -> Result<Self, Failure> {
        let matcher = matcher(setup_conf, &setup_conf_text(setup_conf)?)?;
        let (_, path) = WorkFolder::around(folder).map_err(|error| {
            Failure::io(format!("cannot open {}", folder.display()), &error)
                .hint("run gitmoor in your fork, or name the folder with --distribution")
        })?;
        Ok(Self { folder: folder.to_owned(), path, matcher })
    }

    fn tree(&self) -> Result<Substituted<WorkFolder>, Failure> {
        let (tree, _) = WorkFolder::around(&self.folder)
            .map_err(|error| Failure::io(format!("cannot open {}", self.folder.display()), &error))?;
        Ok(Substituted::new(tree, self.matcher.clone()))
    }

    /// Where a path of the distribution is.
    pub(crate) fn path_of(&self, inner: &str) -> PathBuf {
        self.folder.join(inner)
    }

    /// The text of one file, when it is there.
    pub(crate) fn text(&self, inner: &str) -> Result<Option<String>, Failure> {
        let tree = self.tree()?;
        let Some(path) = self.path.join(inner) else { return Ok(None) };
        match tree.entry(&path).map_err(|error| unreadable(&error))? {
            Some(entry) if matches!(entry.kind, EntryKind::File | EntryKind::Executable) => {
                text_of(&tree, &path).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The text of one file as it stands on the disk, placeholders and all.
    pub(crate) fn raw_text(&self, inner: &str) -> Result<Option<String>, Failure> {
        Self { matcher: Matcher::new([]).unwrap_or_else(|_| self.matcher.clone()), ..self.clone() }.text(inner)
    }

    /// The files below a folder of the distribution whose names end so, by their paths in that folder.
    pub(crate) fn texts(&self, inner: &str, ends: &[&str]) -> Result<Vec<(String, String)>, Failure> {
        let tree = self.tree()?;
        let Some(top) = self.path.join(inner) else { return Ok(Vec::new()) };
        let (mut found, mut pending) = (Vec::new(), vec![(String::new(), top)]);
        while let Some((prefix, folder)) = pending.pop() {
            for (name, entry) in tree.list(&folder).map_err(|error| unreadable(&error))? {
                let Some(path) = folder.join(&name) else { continue };
                match entry.kind {
                    EntryKind::Folder => pending.push((format!("{prefix}{name}/"), path)),
                    EntryKind::File | EntryKind::Executable if ends.iter().any(|end| name.ends_with(end)) => {
                        found.push((format!("{prefix}{name}"), text_of(&tree, &path)?));
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Names of the Applications that `kustomization.yaml` selects, read without rendering anything.
    pub(crate) fn selected(&self) -> Result<BTreeSet<String>, Failure> {
        let tree = self.tree()?;
        let set = closure::read_set(&tree, &self.path).map_err(|error| {
            Failure::new(Exit::Input, format!("cannot tell what {} selects", self.folder.display())).because(&error)
        })?;
        let mut names = BTreeSet::new();
        for path in set.members.iter().filter(|(_, member)| matches!(member, Member::File { .. })).map(|(path, _)| path)
        {
            names.extend(applications_in(&text_of(&tree, path)?));
        }
        Ok(names)
    }

    /// Names of all Applications that could be selected.
    pub(crate) fn offered(&self) -> Result<BTreeSet<String>, Failure> {
        let texts = self.texts("applications", &[".yaml", ".yml"])?;
        Ok(texts.iter().flat_map(|(_, text)| applications_in(text)).collect())
    }

    /// Renders the selection, then every Application in it, as far as its sources are kustomizations of this tree.
    pub(crate) async fn render(&self, renderer: &Arc<Renderer>) -> Result<Rendered, Failure> {
        let own = self.own_repository()?;
        let mut rendered = Rendered::default();
        let mut seen = BTreeSet::new();
        let top = Job { application: "platform".to_owned(), path: self.path.clone(), destination: None };
        let mut pending = vec![top];
        while !pending.is_empty() {
            let batch: Vec<Job> = pending.drain(..pending.len().min(AT_ONCE)).collect();
            for (job, result) in self.render_batch(renderer, batch).await? {
                match result {
                    Err(reason) => rendered.skipped.push((job.application, reason)),
                    Ok(objects) => {
                        for object in &objects {
                            if is_application(object) {
                                self.next(object, own.as_deref(), &mut seen, &mut pending, &mut rendered)?;
                            }
                        }
                        rendered.objects.extend(objects.into_iter().map(|object| (object, job.destination.clone())));
                        rendered.complete.insert(job.application);
                    }
                }
            }
        }
        for (application, _) in &rendered.skipped {
            rendered.complete.remove(application);
        }
        Ok(rendered)
    }

    /// Takes up an Application that was rendered: its sources are rendered next, or named as left out.
    fn next(
        &self,
        object: &Value,
        own: Option<&str>,
        seen: &mut BTreeSet<String>,
        pending: &mut Vec<Job>,
        rendered: &mut Rendered,
    ) -> Result<(), Failure> {
        let application = text_at(object, &["metadata", "name"]).unwrap_or_default().to_owned();
        if !seen.insert(application.clone()) {
            return Ok(());
        }
        let destination = text_at(object, &["spec", "destination", "namespace"]).map(str::to_owned);
        let spec = match ApplicationSpec::read(object) {
            Ok(spec) => spec,
            Err(error) => {
                rendered.skipped.push((application, error.to_string()));
                return Ok(());
            }
        };
        if spec.sync_policy.sync_options.iter().any(|option| option == "CreateNamespace=true") {
            rendered.namespaces.extend(destination.clone());
        }
        let mut left_out = Vec::new();
        let sources = if spec.sources.is_empty() { spec.source.as_slice() } else { &spec.sources };
        for source in sources {
            let path = source.path.as_deref().and_then(|path| RepoPath::root().join(path));
            match (&source.chart, path) {
                (Some(chart), _) => left_out.push(format!("the chart {chart} is not rendered here")),
                _ if own.is_some_and(|own| own != source.repo_url) => {
                    left_out.push("its source is another repository".to_owned());
                }
                // It only lends its files to other sources.
                (None, None) if source.reference.is_some() => {}
                (None, None) => left_out.push("its source is no folder of this repository".to_owned()),
                (None, Some(path)) if self.holds_chart(&path)? => {
                    left_out.push(format!("the chart {path} is not rendered here"));
                }
                (None, Some(path)) => {
                    pending.push(Job { application: application.clone(), path, destination: destination.clone() });
                }
            }
        }
        if !left_out.is_empty() {
            rendered.skipped.push((application, left_out.join("; ")));
        }
        Ok(())
    }

    fn holds_chart(&self, folder: &RepoPath) -> Result<bool, Failure> {
        let Some(path) = folder.join("Chart.yaml") else { return Ok(false) };
        let entry = self.tree()?.entry(&path).map_err(|error| unreadable(&error))?;
        Ok(entry.is_some())
    }

    async fn render_batch(
        &self,
        renderer: &Arc<Renderer>,
        batch: Vec<Job>,
    ) -> Result<Vec<(Job, Result<Vec<Value>, String>)>, Failure> {
        let mut running = Vec::new();
        for job in batch {
            let (tree, renderer, path) = (self.tree()?, Arc::clone(renderer), job.path.clone());
            let task = tokio::spawn(async move {
                let output = render(&renderer, tree, &path).await.map_err(|error| described(&error))?;
                let documents = output.documents.iter().map(|document| document.text.as_str());
                objects(documents, &path)
            });
            running.push((job, task));
        }
        let mut results = Vec::new();
        for (job, task) in running {
            results.push((job, task.await.unwrap_or_else(|error| Err(described(&error)))));
        }
        Ok(results)
    }

    /// The repository that the root Application follows: this one.
    fn own_repository(&self) -> Result<Option<String>, Failure> {
        let text = self.text("platform.yaml")?.unwrap_or_default();
        let documents = read_documents(&text, &Limits::default()).unwrap_or_default();
        let url = |object: &Value| text_at(object, &["spec", "source", "repoURL"]).map(str::to_owned);
        Ok(documents.iter().find_map(|document| url(&document.value)))
    }
}

struct Job {
    application: String,
    path: RepoPath,
    destination: Option<String>,
}

fn objects<'t>(texts: impl Iterator<Item = &'t str>, path: &RepoPath) -> Result<Vec<Value>, String> {
    let mut documents = Vec::new();
    for text in texts {
        let read = read_documents(text, &Limits::default())
            .map_err(|errors| errors.first().map_or_else(|| "it cannot be read".to_owned(), ToString::to_string))?;
        documents.extend(
            read.into_iter()
                .map(|document| (Origin { source: path.to_string(), document: document.index }, document.value)),
        );
    }
    let (manifests, errors) = Manifests::read(documents);
    match errors.first() {
        Some(error) => Err(error.to_string()),
        None => Ok(manifests.items().iter().map(|manifest| manifest.object.clone()).collect()),
    }
}

fn applications_in(text: &str) -> Vec<String> {
    let documents = read_documents(text, &Limits::default()).unwrap_or_default();
    let named = documents.iter().filter(|document| is_application(&document.value));
    named.filter_map(|document| text_at(&document.value, &["metadata", "name"]).map(str::to_owned)).collect()
}

fn is_application(object: &Value) -> bool {
    object["kind"] == "Application"
        && text_at(object, &["apiVersion"]).is_some_and(|version| version.starts_with("argoproj.io/"))
}

fn text_of(tree: &impl Tree, path: &RepoPath) -> Result<String, Failure> {
    let bytes = tree.read(path, LARGEST).map_err(|error| unreadable(&error))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Input, format!("{path} is not UTF-8")))
}

fn unreadable(error: &TreeError) -> Failure {
    let TreeError { path, reason, kind: _ } = error;
    let mut failure = Failure::new(Exit::Io, format!("cannot read {path}"));
    failure.causes.push(reason.clone());
    failure
}
