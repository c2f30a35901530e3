//! The read-set of a chart: its whole folder, and the files with values.
//!
//! Follows Helm v3: `pkg/chart/loader/directory.go` reads every file of the folder and follows links;
//! `pkg/action/dependency.go` and `internal/resolver` for charts that a chart names by `file://`.

use std::collections::BTreeSet;

use super::document;
use super::elsewhere::User;
use super::error::{Place, Problem};
use super::members::Member;
use super::remote::RemoteReference;
use super::resolve::End;
use super::walk::{Named, Stop, Walk};
use crate::source::{Helm, ValueFile};
use crate::tree::{EntryKind, RepoPath};

/// The file that makes a folder a chart.
pub(super) const CHART_FILE: &str = "Chart.yaml";

/// The file with the versions that dependencies were resolved to.
const LOCK_FILE: &str = "Chart.lock";
const DEPENDENCIES: &str = "dependencies";

/// A chart that another one depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    line: usize,
    name: String,
    repository: String,
    version: String,
}

impl Walk<'_> {
    /// Whether a folder is a chart.
    pub(super) fn is_chart(&mut self, folder: &RepoPath) -> Result<bool, Stop> {
        let Some(path) = folder.join(CHART_FILE) else { return Ok(false) };
        Ok(matches!(self.resolve(&path)?, Some(End::File(..))))
    }

    /// A chart and the files of its own repository that are read with it.
    pub(super) fn chart(&mut self, folder: &RepoPath, helm: &Helm) -> Result<(), Stop> {
        if !self.is_chart(folder)? {
            return self.problem(Problem::NoChart { path: folder.clone() });
        }
        self.chart_folder(folder)?;
        for (field, file) in helm.files().filter(|(_, file)| file.source.is_none()) {
            self.value_file(field, file, helm.ignore_missing_value_files && field == VALUE_FILES)?;
        }
        Ok(())
    }

    /// A file with values of this tree.
    pub(super) fn value_file(&mut self, field: &'static str, file: &ValueFile, may_miss: bool) -> Result<(), Stop> {
        match self.resolve(&file.path)? {
            Some(End::File(path, entry)) => self.file(path, entry),
            Some(End::Missing(_) | End::Folder(_)) if may_miss => Ok(()),
            Some(End::Missing(_)) => {
                let (text, path) = (file.text.clone(), file.path.clone());
                self.problem(Problem::NoValueFile { field, text, path, what: "does not exist at this commit" })
            }
            Some(End::Folder(_)) => {
                let (text, path) = (file.text.clone(), file.path.clone());
                self.problem(Problem::NoValueFile { field, text, path, what: "is a folder" })
            }
            None => Ok(()),
        }
    }

    /// The folder, and the charts of the repository that it depends on. Helm reads those from the folder `charts` only:
    /// a link there leads to each, in the folder that is rendered.
    pub(super) fn chart_folder(&mut self, folder: &RepoPath) -> Result<(), Stop> {
        self.whole_folder(folder, 0)?;
        self.roots.push(folder.clone());
        for dependency in self.dependencies(folder)? {
            self.dependency(folder, dependency)?;
        }
        self.roots.pop();
        Ok(())
    }

    fn dependency(&mut self, folder: &RepoPath, dependency: Dependency) -> Result<(), Stop> {
        let Dependency { line, name, repository, version } = dependency;
        let at = Place { file: folder.join(CHART_FILE).unwrap_or_default(), line: Some(line) };
        if let Some(text) = repository.strip_prefix("file://") {
            let Some(path) = folder.join(text) else {
                return self.problem(Problem::Outside { at, field: DEPENDENCIES, text: text.to_owned() });
            };
            return match self.resolve(&path)? {
                Some(End::Folder(found)) if self.roots.contains(&found) => {
                    self.problem(Problem::Cycle { at, field: DEPENDENCIES, path: found })
                }
                Some(End::Folder(found)) => self.local_chart(folder, &found),
                Some(_) => self.problem(Problem::Missing { at, field: DEPENDENCIES, path }),
                None => Ok(()),
            };
        }
        let fetched = ["https://", "http://", "oci://"].iter().any(|scheme| repository.starts_with(scheme));
        // Whatever else there may be, helm says what is missing.
        if !fetched
            || !self.elsewhere.fetches()
            || name.is_empty()
            || name.contains('/')
            || self.is_vendored(folder, &name)
        {
            return Ok(());
        }
        let Some(charts) = folder.join("charts").and_then(|charts| charts.join(&name)) else { return Ok(()) };
        let named = Named { at, field: DEPENDENCIES };
        let user = User { folder, text: "", start: None, named: &named };
        self.remote_chart(&user, RemoteReference::Chart { repository, name, version }, charts)
    }

    fn local_chart(&mut self, folder: &RepoPath, found: &RepoPath) -> Result<(), Stop> {
        if self.roots.len() >= self.limits.depth {
            return self.too_large(folder, "charts depend on each other too deeply", self.limits.depth);
        }
        let name = found.as_str().rsplit('/').next().unwrap_or_default();
        let Some(link) = folder.join("charts").and_then(|charts| charts.join(name)) else { return Ok(()) };
        if !self.is_vendored(folder, name) {
            let target = format!("{}{found}", "../".repeat(link.parent().as_str().split('/').count()));
            self.member(link, Member::Link { id: target.clone(), target })?;
        }
        self.chart_folder(found)
    }

    /// Whether the folder `charts` holds a chart, as a folder or as an archive.
    fn is_vendored(&self, folder: &RepoPath, name: &str) -> bool {
        let Some(charts) = folder.join("charts") else { return false };
        let Some(path) = charts.join(name) else { return false };
        let archive = format!("{path}-");
        let mut members = self.set.members.keys().skip_while(|member| **member < path);
        members.any(|member| {
            *member == path || (member.as_str().starts_with(&archive) && member.as_str().ends_with(".tgz"))
        })
    }

    /// What the chart depends on; with the versions that `Chart.lock` has, where it has them.
    fn dependencies(&mut self, folder: &RepoPath) -> Result<Vec<Dependency>, Stop> {
        let mut found = self.dependencies_in(folder, CHART_FILE)?;
        let locked = self.dependencies_in(folder, LOCK_FILE)?;
        for dependency in &mut found {
            let same = |lock: &&Dependency| lock.name == dependency.name && lock.repository == dependency.repository;
            if let Some(lock) = locked.iter().find(same) {
                dependency.version.clone_from(&lock.version);
            }
        }
        Ok(found)
    }

    fn dependencies_in(&mut self, folder: &RepoPath, file: &str) -> Result<Vec<Dependency>, Stop> {
        let Some(path) = folder.join(file) else { return Ok(Vec::new()) };
        let Some(End::File(file, _)) = self.resolve(&path)? else { return Ok(Vec::new()) };
        let Some(documents) = self.documents(&file, true)? else { return Ok(Vec::new()) };
        let mut found = BTreeSet::new();
        for list in documents.iter().flat_map(|document| document.fields("dependencies")) {
            let document::Value::Sequence(items) = &list.value else { continue };
            for item in items.iter().take(1000) {
                let text = |name: &str| item.fields(name).first().and_then(|value| value.text()).unwrap_or_default();
                let repository = text("repository").to_owned();
                let line = item.fields("repository").first().map_or(item.line, |value| value.line);
                let (name, version) = (text("name").to_owned(), text("version").to_owned());
                found.insert(Dependency { line, name, repository, version });
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Everything below a folder; where links lead belongs to it.
    fn whole_folder(&mut self, folder: &RepoPath, depth: usize) -> Result<(), Stop> {
        if depth >= self.limits.depth {
            return self.too_large(folder, "folders are nested too deeply", self.limits.depth);
        }
        if self.set.members.get(folder) == Some(&Member::Folder) {
            return Ok(());
        }
        self.member(folder.clone(), Member::Folder)?;
        let entries = match self.tree.list(folder) {
            Ok(entries) => entries,
            Err(error) => return self.stop(Problem::Tree(error)),
        };
        for (name, entry) in entries {
            let Some(path) = folder.join(&name) else { continue };
            match entry.kind {
                EntryKind::Folder => self.whole_folder(&path, depth + 1)?,
                EntryKind::File | EntryKind::Executable => self.file(path, entry)?,
                EntryKind::Link | EntryKind::Submodule => match self.resolve(&path)? {
                    Some(End::File(file, entry)) => self.file(file, entry)?,
                    Some(End::Folder(found)) => self.whole_folder(&found, depth + 1)?,
                    Some(End::Missing(_)) => {
                        self.problem(Problem::Link { link: path, reason: "leads to a path that does not exist" })?;
                    }
                    None => {}
                },
            }
        }
        Ok(())
    }
}

/// The option whose files may be left out.
pub(super) const VALUE_FILES: &str = "helm.valueFiles";
