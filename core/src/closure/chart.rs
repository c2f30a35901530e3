//! The read-set of a chart: its whole folder, and the files with values.
//!
//! Follows Helm v3: `pkg/chart/loader/directory.go` reads every file of the folder and follows links;
//! `pkg/action/dependency.go` and `internal/resolver` for charts that a chart names by `file://`.

use std::collections::BTreeSet;

use super::document;
use super::error::{Place, Problem};
use super::members::Member;
use super::resolve::End;
use super::walk::{Stop, Walk};
use crate::source::{Helm, ValueFile};
use crate::tree::{EntryKind, RepoPath};

/// The file that makes a folder a chart.
pub(super) const CHART_FILE: &str = "Chart.yaml";

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
    fn chart_folder(&mut self, folder: &RepoPath) -> Result<(), Stop> {
        self.whole_folder(folder, 0)?;
        self.roots.push(folder.clone());
        for (line, name) in self.local_dependencies(folder)? {
            let at = Place { file: folder.join(CHART_FILE).unwrap_or_default(), line: Some(line) };
            let Some(path) = folder.join(&name) else {
                self.problem(Problem::Outside { at, field: "dependencies", text: name })?;
                continue;
            };
            match self.resolve(&path)? {
                Some(End::Folder(found)) if self.roots.contains(&found) => {
                    self.problem(Problem::Cycle { at, field: "dependencies", path: found })?;
                }
                Some(End::Folder(found)) => self.local_chart(folder, &found)?,
                Some(_) => self.problem(Problem::Missing { at, field: "dependencies", path })?,
                None => {}
            }
        }
        self.roots.pop();
        Ok(())
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

    /// Paths behind `file://` in the chart's dependencies, and their lines.
    fn local_dependencies(&mut self, folder: &RepoPath) -> Result<Vec<(usize, String)>, Stop> {
        let Some(path) = folder.join(CHART_FILE) else { return Ok(Vec::new()) };
        let Some(End::File(file, _)) = self.resolve(&path)? else { return Ok(Vec::new()) };
        let Some(documents) = self.documents(&file, true)? else { return Ok(Vec::new()) };
        let mut found = BTreeSet::new();
        for list in documents.iter().flat_map(|document| document.fields("dependencies")) {
            let document::Value::Sequence(items) = &list.value else { continue };
            for repository in items.iter().take(1000).flat_map(|item| item.fields("repository")) {
                if let Some(path) = repository.text().and_then(|text| text.strip_prefix("file://")) {
                    found.insert((repository.line, path.to_owned()));
                }
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
