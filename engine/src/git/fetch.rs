//! One fetch: one connection, one listing of references, and a download only of what is new.
//!
//! Runs in the child process, under the lock of the mirror's folder.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use git2::{
    AutotagOption, ErrorClass, ErrorCode, FetchOptions, Oid, ProxyOptions, Remote, RemoteCallbacks, RemoteHead,
    RemoteRedirect, Repository,
};
use gitmoor_core::sensitive::Sensitive;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::guard::Guard;
use super::revisions::{self, Advertised, OWN, Target};
use super::{CommitId, Credentials, FetchErrorKind};
use crate::reach::{FORBIDDEN, Hosts};

/// What to bring up to date.
#[derive(Clone, Debug, Default)]
pub struct FetchRequest {
    /// What the repository is opened with.
    pub credentials: Credentials,
    /// Branches, tags, ranges of tags, full names of references, full commit ids, `HEAD`: what somebody follows, as they
    /// wrote it.
    pub revisions: BTreeSet<String>,
    /// Hosts that may be inside; `None` for a repository that somebody may follow, wherever it is.
    pub hosts: Option<Hosts>,
}

/// What a fetch found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOutcome {
    /// By revision as asked.
    pub heads: BTreeMap<String, ResolvedRevision>,
    /// Asked revisions that the server does not have.
    pub missing: Vec<String>,
    /// Whether any asked revision means something else than in the last fetch of this mirror.
    pub changed: bool,
    /// Bytes of packs that came over the connection; 0 when the listing said that all is known.
    pub received_bytes: u64,
    /// Whether the mirror was cloned anew.
    pub cloned: bool,
}

impl FetchOutcome {
    fn settle(&mut self, revision: &str, commit: Option<Oid>, reference: Option<String>) {
        match commit.map(CommitId::from_oid) {
            None => self.missing.push(revision.to_owned()),
            Some(commit) => {
                self.heads.insert(revision.to_owned(), ResolvedRevision { commit, reference });
            }
        }
    }
}

/// A revision and the commit that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedRevision {
    /// The commit.
    pub commit: CommitId,
    /// Full name of the reference on the server; none for a commit id.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

/// One fetch into an open mirror.
pub(super) struct Fetch<'a> {
    repository: &'a Repository,
    address: &'a str,
    credentials: &'a Credentials,
    /// Bytes that may come over the connections of this fetch.
    most_bytes: u64,
    received: Cell<u64>,
    refused: Cell<bool>,
    guard: Option<Guard>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        address: &'a str,
        credentials: &'a Credentials,
        most_bytes: u64,
    ) -> Self {
        let (received, refused) = (Cell::new(0), Cell::new(false));
        Self { repository, address, credentials, most_bytes, received, refused, guard: None }
    }

    /// Nothing inside is reached but these hosts.
    pub(super) fn guarded(self, hosts: Hosts) -> std::io::Result<Self> {
        let proxied = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        // Behind a proxy names are looked up by it, and it alone decides what can be reached.
        if self.address.starts_with("file:") || proxied.iter().any(|name| std::env::var_os(name).is_some()) {
            return Ok(self);
        }
        Ok(Self { guard: Some(Guard::start(hosts, self.address)?), ..self })
    }

    /// Lists, downloads what is new, moves the mirror's references, and says where each revision stands.
    pub(super) fn run(&self, revisions: &BTreeSet<String>) -> Result<FetchOutcome, Failure> {
        let (ids, names): (Vec<_>, Vec<_>) = revisions.iter().partition(|text| CommitId::parse(text).is_some());
        let mut outcome = FetchOutcome::default();
        for (revision, target) in self.follow(&names)? {
            let commit = target.as_ref().map(|target| self.commit_of(target.id)).transpose()?.flatten();
            outcome.settle(revision, commit, target.map(|target| target.remote));
        }
        for revision in ids {
            let id = Oid::from_str(revision)?;
            outcome.settle(revision, self.commit(id)?, None);
        }
        outcome.missing.sort_unstable();
        outcome.received_bytes = self.received.get();
        Ok(outcome)
    }

    /// One connection for everything that has a name.
    fn follow<'r>(&self, names: &[&'r String]) -> Result<Vec<(&'r String, Option<Target>)>, Failure> {
        let mut refspecs: Vec<String> = names.iter().flat_map(|name| revisions::refspecs(name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if refspecs.is_empty() {
            // Ranges alone: what they mean is known with the listing.
            refspecs.push(format!("+{OWN}none:{OWN}none"));
        }
        let mut remote = self.repository.remote_anonymous(&self.connected())?;
        self.download(&mut remote, &refspecs)?;
        let advertised = listing(&remote)?;
        self.forget_gone(&advertised)?;
        let found: Vec<_> = names.iter().map(|name| (*name, advertised.resolve(name))).collect();
        let mut news = Vec::new();
        for target in found.iter().filter_map(|(_, target)| target.as_ref()) {
            if !self.is_here(target.id)? {
                news.push(format!("+{}:{}", target.remote, target.local));
            }
        }
        if !news.is_empty() {
            self.download(&mut remote, &news)?;
        }
        for target in found.iter().filter_map(|(_, target)| target.as_ref()) {
            self.note(&target.local, target.id)?;
        }
        Ok(found)
    }

    /// A commit by its id: from the mirror without asking anybody, else by the id, else by what the server lists.
    fn commit(&self, id: Oid) -> Result<Option<Oid>, Failure> {
        if !self.present(id)? {
            let mut remote = self.repository.remote_anonymous(&self.connected())?;
            if let Err(failure) = self.download(&mut remote, &[format!("+{id}:{OWN}commits/{id}")]) {
                // Many servers give out only what they list, and say so in words of their own.
                let Ok(advertised) = listing(&remote) else { return Err(failure) };
                drop(remote);
                self.download(&mut self.repository.remote_anonymous(&self.connected())?, &advertised.refspecs_for(id))?;
            }
        }
        if !self.present(id)? {
            return Ok(None);
        }
        self.note(&format!("{OWN}commits/{id}"), id)?;
        self.commit_of(id)
    }

    fn is_here(&self, id: Oid) -> Result<bool, Failure> {
        match self.repository.find_object(id, None) {
            Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
            found => Ok(found.map(|_| true)?),
        }
    }

    fn present(&self, id: Oid) -> Result<bool, Failure> {
        match self.repository.find_commit(id) {
            Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
            found => Ok(found.map(|_| true)?),
        }
    }

    /// Moves a reference of the mirror, so that later fetches say what is here already.
    fn note(&self, name: &str, id: Oid) -> Result<(), Failure> {
        if self.repository.refname_to_id(name).ok() != Some(id) {
            self.repository.reference(name, id, true, "fetch")?;
        }
        Ok(())
    }

    /// Removes references that the server no longer has, which may also stand in the way of new ones (`a`, `a/b`).
    fn forget_gone(&self, advertised: &Advertised) -> Result<(), Failure> {
        for reference in self.repository.references()? {
            let mut reference = reference?;
            let name = reference.name().unwrap_or_default().to_owned();
            if !name.starts_with(OWN) && !advertised.has(&name) {
                reference.delete()?;
            }
        }
        Ok(())
    }

    /// The commit behind a reference's object; none when a tag names something else.
    fn commit_of(&self, id: Oid) -> Result<Option<Oid>, Failure> {
        let object = self.repository.find_object(id, None)?;
        let commit = match object.peel_to_commit() {
            Err(error) if matches!(error.code(), ErrorCode::Peel | ErrorCode::InvalidSpec) => return Ok(None),
            commit => commit?,
        };
        self.repository.find_tree(commit.tree_id())?;
        Ok(Some(commit.id()))
    }

    /// The address that is connected to.
    fn connected(&self) -> String {
        let guarded = self.guard.as_ref().and_then(|guard| guard.in_place_of(self.address));
        guarded.unwrap_or_else(|| self.address.to_owned())
    }

    /// Connects, reads the listing, and downloads what the refspecs name and the mirror does not have.
    fn download(&self, remote: &mut Remote<'_>, refspecs: &[String]) -> Result<(), Failure> {
        let mut proxy = ProxyOptions::new();
        let guard = self.guard.as_ref().map(Guard::url);
        match &guard {
            Some(guard) => proxy.url(guard),
            None => proxy.auto(),
        };
        let header = self.authorization();
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .proxy_options(proxy)
            // Within the same host they are followed nevertheless; others would take the credentials elsewhere.
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .custom_headers(&header.iter().map(|header| header.expose().as_str()).collect::<Vec<_>>());
        remote.download(refspecs, Some(&mut options)).map_err(|error| self.explain(&error))
    }

    /// Sent at once and not only when asked, which would double the requests of every poll.
    fn authorization(&self) -> Option<Sensitive<String>> {
        match self.credentials {
            Credentials::Basic { username, password } if !self.address.starts_with("file:") => {
                let pair = Sensitive::new(format!("{username}:{}", password.expose()));
                Some(Sensitive::new(format!("Authorization: Basic {}", STANDARD.encode(pair.expose()))))
            }
            Credentials::Basic { .. } | Credentials::None => None,
        }
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        // Asked although they were sent: there is nothing better to answer.
        callbacks.credentials(|_, _, _| {
            self.refused.set(true);
            Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Http, "refused"))
        });
        let before = self.received.get();
        callbacks.transfer_progress(move |progress| {
            self.received.set(before + progress.received_bytes() as u64);
            self.received.get() <= self.most_bytes
        });
        callbacks
    }

    fn explain(&self, error: &git2::Error) -> Failure {
        if self.guard.as_ref().is_some_and(Guard::has_refused) {
            return Failure::new(FetchErrorKind::ForbiddenAddress, FORBIDDEN);
        }
        if self.refused.get() {
            let reason = match self.credentials {
                Credentials::None => "the server asks for credentials and there are none",
                Credentials::Basic { .. } => "the server does not accept the credentials",
            };
            return Failure::new(FetchErrorKind::RefusedCredentials, reason);
        }
        if self.received.get() > self.most_bytes {
            let reason = format!("the download is larger than the limit of {} bytes", self.most_bytes);
            return Failure::new(FetchErrorKind::TooLarge, reason);
        }
        Failure::from_remote(error)
    }
}

fn listing(remote: &Remote<'_>) -> Result<Advertised, Failure> {
    let heads = remote.list()?;
    Ok(Advertised::new(heads.iter().filter_map(|head| {
        // git2 panics on names that are not UTF-8; nobody can ask for those.
        let names = catch_unwind(AssertUnwindSafe(|| (head.name(), RemoteHead::symref_target(head)))).ok()?;
        Some((names.0, head.oid(), names.1))
    })))
}
