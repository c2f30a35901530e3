//! One fetch: one connection, one listing of references, and a download only of what is new.
//!
//! Runs in the child process, under the lock of the mirror's folder.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use git2::{
    AutotagOption, CertificateCheckStatus, ErrorClass, ErrorCode, FetchOptions, Oid, Remote, RemoteCallbacks,
    RemoteHead, RemoteRedirect, Repository,
};
use gitmoor_core::sensitive::Sensitive;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::revisions::{self, Advertised, OWN, Target};
use super::way::Way;
use super::{CommitId, FetchErrorKind};
use crate::access::{Access, Credentials};
use crate::reach::Hosts;

/// What to bring up to date.
#[derive(Clone, Debug, Default)]
pub struct FetchRequest {
    /// How the repository is reached, and what it is opened with.
    pub access: Access,
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
    access: &'a Access,
    way: Way,
    /// Bytes that may come over the connections of this fetch.
    most_bytes: u64,
    received: Cell<u64>,
    refused: Cell<bool>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        (address, way): (&'a str, Way),
        access: &'a Access,
        most_bytes: u64,
    ) -> Self {
        let (received, refused) = (Cell::new(0), Cell::new(false));
        Self { repository, address, access, way, most_bytes, received, refused }
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
        self.way.connected(self.address)
    }

    /// Connects, reads the listing, and downloads what the refspecs name and the mirror does not have.
    fn download(&self, remote: &mut Remote<'_>, refspecs: &[String]) -> Result<(), Failure> {
        match self.try_download(remote, refspecs) {
            // Which key the server shows instead is worth another connection.
            Err(error) if self.shares_no_kind_of_key(&error) => {
                self.try_download(remote, refspecs).map_err(|error| self.explain(&error))
            }
            answer => answer.map_err(|error| self.explain(&error)),
        }
    }

    fn try_download(&self, remote: &mut Remote<'_>, refspecs: &[String]) -> Result<(), git2::Error> {
        let header = self.authorization();
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            // Within the same host they are followed nevertheless; others would take the credentials elsewhere.
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .custom_headers(&header.iter().map(|header| header.expose().as_str()).collect::<Vec<_>>());
        remote.download(refspecs, Some(&mut options))
    }

    /// The server has no key of the kinds that it is known by.
    fn shares_no_kind_of_key(&self, error: &git2::Error) -> bool {
        matches!(&self.way, Way::Ssh(ssh) if error.message().contains("exchange encryption keys") && ssh.prefer_nothing().is_ok())
    }

    /// Sent at once and not only when asked, which would double the requests of every poll.
    fn authorization(&self) -> Option<Sensitive<String>> {
        if self.address.starts_with("file:") || matches!(self.way, Way::Ssh(_)) {
            return None;
        }
        let value = self.access.credentials.authorization()?;
        Some(Sensitive::new(format!("Authorization: {}", value.expose())))
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|_, _, allowed| match &self.way {
            Way::Ssh(ssh) => ssh.credential(allowed),
            // Asked although they were sent: there is nothing better to answer.
            Way::Direct | Way::Guarded(_) => {
                self.refused.set(true);
                Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Http, "refused"))
            }
        });
        callbacks.certificate_check(|shown, _| match &self.way {
            Way::Ssh(ssh) => ssh.check(shown),
            Way::Direct | Way::Guarded(_) if self.access.connection.insecure => {
                Ok(CertificateCheckStatus::CertificateOk)
            }
            Way::Direct | Way::Guarded(_) => Ok(CertificateCheckStatus::CertificatePassthrough),
        });
        let before = self.received.get();
        callbacks.transfer_progress(move |progress| {
            self.received.set(before + progress.received_bytes() as u64);
            self.received.get() <= self.most_bytes
        });
        callbacks
    }

    fn explain(&self, error: &git2::Error) -> Failure {
        if let Some(trouble) = self.way.trouble() {
            return trouble;
        }
        if self.refused.get() {
            let reason = match self.access.credentials {
                Credentials::None => "the server asks for credentials and there are none",
                Credentials::SshKey(_) => {
                    "the server asks for a name and a password or token, and its Secret has an ssh key"
                }
                Credentials::Basic { .. } | Credentials::Bearer(_) => "the server does not accept the credentials",
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
