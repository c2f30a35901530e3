//! What kustomize may read of a kustomization: the file itself, and what its fields name.

use super::KUSTOMIZATION_FILES;
use super::elsewhere::User;
use super::error::{Place, Problem};
use super::members::Member;
use super::references::{self, Reference, Target};
use super::remote;
use super::resolve::End;
use super::walk::{Named, Stop, Walk};
use crate::source::KustomizeOptions;
use crate::tree::RepoPath;

impl Walk<'_> {
    /// What the options of the Application add to the kustomization.
    pub(super) fn kustomize_options(&mut self, folder: &RepoPath, options: &KustomizeOptions) -> Result<(), Stop> {
        let at = Place { file: folder.clone(), line: None };
        self.roots.push(folder.clone());
        for text in &options.components {
            let named = Named { at: at.clone(), field: "spec.source.kustomize.components" };
            if options.ignore_missing_components && !self.is_there(folder, text)? {
                continue;
            }
            if remote::is_repository(text) {
                self.remote(&User { folder, text, start: None, named: &named }, true)?;
            } else {
                self.named_resource(folder, text, &named, (None, None))?;
            }
        }
        for patch in options.patches.iter().filter(|patch| !patch.path.is_empty()) {
            let named = Named { at: at.clone(), field: "spec.source.kustomize.patches" };
            self.named_file(folder, &patch.path, &named, None)?;
        }
        self.roots.pop();
        Ok(())
    }

    fn is_there(&mut self, folder: &RepoPath, text: &str) -> Result<bool, Stop> {
        let Some(path) = folder.join(text) else { return Ok(false) };
        Ok(!matches!(self.resolve(&path)?, Some(End::Missing(_)) | None))
    }

    /// Walks a folder that kustomize would build; `false` when it has no kustomization file. With `plugins_of`, its
    /// manifests are plugin configurations of the kustomization in that folder.
    pub(super) fn kustomization(&mut self, folder: &RepoPath, plugins_of: Option<&RepoPath>) -> Result<bool, Stop> {
        if !self.walked.insert((folder.clone(), plugins_of.cloned())) {
            return Ok(true);
        }
        let Some(file) = self.kustomization_file(folder)? else { return Ok(false) };
        if self.roots.len() >= self.limits.depth {
            return self.too_large(folder, "kustomizations are nested too deeply", self.limits.depth);
        }
        let Some(documents) = self.documents(&file, true)? else { return Ok(true) };
        let Some(document) = documents.first() else { return Ok(true) };
        let Ok(found) = references::of_kustomization(document) else {
            return self.too_large(&file, "it has too many entries", 100_000);
        };
        self.roots.push(folder.clone());
        for reference in found {
            self.follow(folder, &file, reference, plugins_of)?;
        }
        self.roots.pop();
        Ok(true)
    }

    /// Looks for the kustomization file under all its names.
    fn kustomization_file(&mut self, folder: &RepoPath) -> Result<Option<RepoPath>, Stop> {
        let mut found = Vec::new();
        for name in KUSTOMIZATION_FILES {
            let Some(path) = folder.join(name) else { continue };
            match self.resolve(&path)? {
                Some(End::File(file, entry)) => {
                    self.file(file.clone(), entry)?;
                    found.push((name, path, file));
                }
                // kustomize passes over a folder of that name.
                Some(End::Folder(_)) => self.member(path, Member::Absent)?,
                Some(End::Missing(_)) | None => {}
            }
        }
        if found.len() > 1 {
            let names = found.iter().map(|(name, ..)| *name).collect();
            self.problem(Problem::Ambiguous { path: folder.clone(), names })?;
        }
        let Some((_, path, file)) = found.into_iter().next() else { return Ok(None) };
        if !is_within(&file, folder) {
            self.problem(Problem::Link {
                link: path,
                reason: "leads out of its folder, where kustomize reads no file",
            })?;
        }
        Ok(Some(file))
    }

    fn follow(
        &mut self,
        folder: &RepoPath,
        file: &RepoPath,
        reference: Reference,
        plugins_of: Option<&RepoPath>,
    ) -> Result<(), Stop> {
        let Reference { field, line, start, target } = reference;
        let named = Named { at: Place { file: file.clone(), line: Some(line) }, field };
        match target {
            Target::File(text) => self.named_file(folder, &text, &named, start),
            Target::Resource(text) => self.named_resource(folder, &text, &named, (start, plugins_of)),
            Target::PluginConfig(text) => self.named_resource(folder, &text, &named, (start, Some(folder))),
            Target::Component(text) if remote::is_repository(&text) => {
                self.remote(&User { folder, text: &text, start, named: &named }, true)
            }
            Target::Component(text) => self.named_resource(folder, &text, &named, (start, None)),
            Target::Chart(chart) => self.inflated(folder, &named, &chart),
            Target::Unsupported(what) => self.problem(Problem::Unsupported { at: named.at, what }),
        }
    }

    /// A file of whatever content; `text` may have a key in front.
    pub(super) fn named_file(
        &mut self,
        folder: &RepoPath,
        text: &str,
        named: &Named,
        start: Option<usize>,
    ) -> Result<(), Stop> {
        let path = references::without_key(text, named.field);
        if remote::is_remote_file(path) {
            return self.remote(&User { folder, text, start, named }, false);
        }
        let Some(path) = self.joined(folder, path, named)? else { return Ok(()) };
        match self.resolve(&path)? {
            Some(End::File(file, entry)) => self.file(file, entry),
            Some(End::Missing(_)) => self.missing(path, named),
            // A folder where a file has to be: kustomize says so.
            Some(End::Folder(_)) | None => Ok(()),
        }
    }

    /// A file, or else a folder to build: in this order, as kustomize tries them.
    fn named_resource(
        &mut self,
        folder: &RepoPath,
        text: &str,
        named: &Named,
        (start, plugins_of): (Option<usize>, Option<&RepoPath>),
    ) -> Result<(), Stop> {
        let user = User { folder, text, start, named };
        if remote::is_remote_file(text) {
            return self.remote(&user, true);
        }
        let Some(path) = self.joined(folder, text, named)? else { return Ok(()) };
        match self.resolve(&path)? {
            Some(End::File(file, entry)) => {
                self.file(file.clone(), entry)?;
                plugins_of.map_or(Ok(()), |user| self.plugin_configs(user, &file))
            }
            Some(_) if remote::is_repository(text) => self.remote(&user, true),
            Some(End::Folder(base)) => self.base(base, named, plugins_of),
            Some(End::Missing(_)) => self.missing(path, named),
            None => Ok(()),
        }
    }

    fn base(&mut self, base: RepoPath, named: &Named, plugins_of: Option<&RepoPath>) -> Result<(), Stop> {
        let Named { at, field } = named.clone();
        if self.roots.iter().any(|root| is_within(root, &base)) {
            return self.problem(Problem::Cycle { at, field, path: base });
        }
        if self.kustomization(&base, plugins_of)? {
            return Ok(());
        }
        self.problem(Problem::NoKustomization { at, field, path: base })
    }

    /// The files that configurations of builtin plugins name, relative to the kustomization that uses them.
    fn plugin_configs(&mut self, user: &RepoPath, file: &RepoPath) -> Result<(), Stop> {
        if !self.walked.insert((file.clone(), Some(user.clone()))) {
            return Ok(());
        }
        let Some(documents) = self.documents(file, false)? else { return Ok(()) };
        let Ok(found) = references::of_plugin_configs(&documents) else {
            return self.too_large(file, "it has too many entries", 100_000);
        };
        found.into_iter().try_for_each(|reference| self.follow(user, file, reference, None))
    }
}

/// Whether `path` is `folder` or lies below it.
fn is_within(path: &RepoPath, folder: &RepoPath) -> bool {
    let (path, folder) = (path.as_str(), folder.as_str());
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
