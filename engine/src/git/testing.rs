//! Repositories for this module's tests, made without a work tree and without the machine's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time};
use tempfile::TempDir;

use super::job::{Answer, Job};
use super::{CommitId, FetchLimits, FetchRequest, Fetcher, Mirror, RepositoryUrl, UrlPolicy};

/// A repository to fetch from, and a folder for its mirror.
pub(super) struct Upstream {
    pub repository: Repository,
    pub url: RepositoryUrl,
    pub folder: TempDir,
}

impl Upstream {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path().join("upstream.git")).unwrap();
        repository.set_head("refs/heads/main").unwrap();
        let address = format!("file://{}", folder.path().join("upstream.git").display());
        let policy = UrlPolicy { allow_local: true, ..UrlPolicy::default() };
        Self { repository, url: RepositoryUrl::parse(&address, &policy).unwrap(), folder }
    }

    /// Adds a commit to a branch; a file without content is removed.
    pub(super) fn commit(&self, branch: &str, files: &[(&str, Option<&str>)]) -> CommitId {
        let blob = |text: &str| self.repository.blob(text.as_bytes()).unwrap();
        let mut update = TreeUpdateBuilder::new();
        for (path, content) in files {
            match content {
                Some(text) => update.upsert(*path, blob(text), FileMode::Blob),
                None => update.remove(*path),
            };
        }
        self.commit_update(branch, update)
    }

    pub(super) fn commit_update(&self, branch: &str, mut update: TreeUpdateBuilder) -> CommitId {
        let name = format!("refs/heads/{branch}");
        let parent = self.repository.find_reference(&name).ok().map(|head| head.peel_to_commit().unwrap());
        let base = parent.as_ref().map_or_else(
            || self.repository.find_tree(self.repository.treebuilder(None).unwrap().write().unwrap()).unwrap(),
            |parent| parent.tree().unwrap(),
        );
        let tree = update.create_updated(&self.repository, &base).unwrap();
        self.commit_tree(&name, tree, parent.map(|parent| parent.id()))
    }

    /// Sets a reference to a new commit of this tree.
    pub(super) fn commit_tree(&self, name: &str, tree: Oid, parent: Option<Oid>) -> CommitId {
        let tree = self.repository.find_tree(tree).unwrap();
        let parent = parent.map(|id| self.repository.find_commit(id).unwrap());
        let author = Signature::new("Test", "test@example.com", &Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        let id = self.repository.commit(None, &author, &author, "a change\n\nits reason", &tree, &parents).unwrap();
        self.repository.reference(name, id, true, "test").unwrap();
        CommitId::from_oid(id)
    }

    pub(super) fn delete(&self, name: &str) {
        self.repository.find_reference(name).unwrap().delete().unwrap();
    }

    pub(super) fn mirror(&self) -> Mirror {
        let fetcher = Fetcher::new("/nonexistent", [], FetchLimits::default());
        Mirror::new(self.folder.path(), self.url.clone(), fetcher)
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.mirror().directory().to_owned()
    }

    /// What the child does, in this process.
    pub(super) fn fetch(&self, revisions: &[&str]) -> Answer {
        self.fetch_within(revisions, FetchLimits::default())
    }

    pub(super) fn fetch_within(&self, revisions: &[&str], limits: FetchLimits) -> Answer {
        let revisions: BTreeSet<String> = revisions.iter().map(|&text| text.to_owned()).collect();
        let request = FetchRequest { revisions, ..FetchRequest::default() };
        Job::new(&self.url, &self.directory(), &request, false, limits).run()
    }
}

/// Overwrites every pack and loose object with junk.
pub(super) fn damage(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "junk").unwrap();
        }
    }
}
