//! What the child that fetches is told, and what it does about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::child::FetchLimits;
use super::failure::Failure;
use super::fetch::Fetch;
use super::way::Way;
use super::{FetchErrorKind, FetchOutcome, FetchRequest, RepositoryUrl, pipe, store};
use crate::access::Access;
use crate::reach::Hosts;

/// One fetch.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    address: String,
    directory: PathBuf,
    #[serde(with = "pipe")]
    access: Access,
    revisions: BTreeSet<String>,
    hosts: Option<Hosts>,
    anew: bool,
    limits: FetchLimits,
}

pub(super) type Answer = Result<FetchOutcome, Failure>;

impl Job {
    pub(super) fn new(
        url: &RepositoryUrl,
        directory: &Path,
        request: &FetchRequest,
        anew: bool,
        limits: FetchLimits,
    ) -> Self {
        let FetchRequest { mut access, revisions, hosts } = request.clone();
        access.connection = access.connection.for_host(url.host().unwrap_or_default());
        let directory = directory.to_owned();
        Self { address: url.as_str().to_owned(), directory, access, revisions, hosts, anew, limits }
    }

    /// The mirror's folder.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The certificates that alone are trusted, if there are any.
    pub(super) fn authorities(&self) -> Option<&str> {
        self.access.connection.authorities.values().next().map(String::as_str)
    }

    /// How much it may use.
    pub(super) fn limits(&self) -> FetchLimits {
        self.limits
    }

    /// In the mirror that is there, or else, and when that one is damaged, in a new clone that takes its place.
    pub(super) fn run(&self) -> Answer {
        let _lock = store::lock(&self.directory)?;
        store::sweep(&self.directory)?;
        if let Some(certificates) = self.authorities() {
            store::put_authorities(&self.directory, certificates)?;
        }
        let answer = self.fetch();
        store::remove_home(&self.directory)?;
        answer
    }

    fn fetch(&self) -> Answer {
        if !self.anew && self.directory.exists() {
            match self.fetch_in(&self.directory) {
                Err(failure) if failure.kind == FetchErrorKind::Corrupt => {}
                answer => return answer,
            }
        }
        let fresh = store::new_directory(&self.directory);
        let answer = self.fetch_in(&fresh);
        if answer.is_ok() {
            store::swap_in(&self.directory)?;
        } else {
            store::sweep(&self.directory)?;
        }
        answer.map(|outcome| FetchOutcome { cloned: true, ..outcome })
    }

    fn fetch_in(&self, directory: &Path) -> Answer {
        let repository = store::open_or_create(directory)?;
        let way = Way::to(&self.address, &self.access, self.hosts.as_ref(), &store::home(&self.directory))?;
        let fetch = Fetch::new(&repository, (&self.address, way), &self.access, self.limits.size_bytes);
        let mut outcome = fetch.run(&self.revisions)?;
        outcome.changed = store::note(directory, &outcome)?;
        Ok(outcome)
    }
}
