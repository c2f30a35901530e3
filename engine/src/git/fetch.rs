//! One fetch: one connection, one listing of references, and a download only of what is new.
//!
//! Runs in the child process, under the lock of the mirror's folder.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use git2::{
    AutotagOption, Cred, CredentialType, Direction, ErrorCode, FetchOptions, Oid, ProxyOptions, RemoteCallbacks,
    RemoteConnection, RemoteHead, RemoteRedirect, Repository,
};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::revisions::{Advertised, OWN, Source};
use super::{CommitId, Credentials, FetchErrorKind};

/// What to bring up to date.
#[derive(Clone, Debug, Default)]
pub struct FetchRequest {
    /// What the repository is opened with.
    pub credentials: Credentials,
    /// Branches, tags, full names of references, full commit ids, `HEAD`: what somebody follows, as they wrote it.
    pub revisions: BTreeSet<String>,
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
    pub repository: &'a Repository,
    pub address: &'a str,
    pub credentials: &'a Credentials,
    /// Bytes that may come over the connections of this fetch.
    pub most_bytes: u64,
    received: Cell<u64>,
    refused: Cell<bool>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        address: &'a str,
        credentials: &'a Credentials,
        most_bytes: u64,
    ) -> Self {
        Self { repository, address, credentials, most_bytes, received: Cell::new(0), refused: Cell::new(false) }
    }

    /// Lists, downloads what is new, moves the mirror's references, and says where each revision stands.
    pub(super) fn run(&self, revisions: &BTreeSet<String>) -> Result<FetchOutcome, Failure> {
        let mut outcome = FetchOutcome::default();
        for (revision, source) in self.references(revisions)? {
            let found = match source {
                Source::Reference { remote, id, .. } => self.commit_of(id)?.map(|commit| (commit, Some(remote))),
                Source::Commit(id) => self.commit(id)?.map(|commit| (commit, None)),
                Source::Missing => None,
            };
            match found {
                None => outcome.missing.push(revision),
                Some((commit, reference)) => {
                    let reference = reference.filter(|_| CommitId::parse(&revision).is_none());
                    let commit = CommitId::from_oid(commit);
                    outcome.heads.insert(revision, ResolvedRevision { commit, reference });
                }
            }
        }
        outcome.received_bytes = self.received.get();
        Ok(outcome)
    }

    /// The first connection: everything that the server lists.
    fn references(&self, revisions: &BTreeSet<String>) -> Result<BTreeMap<String, Source>, Failure> {
        let mut remote = self.repository.remote_anonymous(self.address)?;
        let mut connection = self.connect(&mut remote)?;
        let advertised = listing(&connection)?;
        let sources: BTreeMap<_, _> = revisions.iter().map(|text| (text.clone(), advertised.resolve(text))).collect();
        self.forget_gone(&advertised)?;
        let moved: BTreeMap<&str, (&str, Oid)> = sources
            .values()
            .filter_map(|source| match source {
                Source::Reference { remote, local, id, .. } if !self.has(local, *id) => {
                    Some((local.as_str(), (remote.as_str(), *id)))
                }
                _ => None,
            })
            .collect();
        let refspecs: Vec<String> = moved.iter().map(|(local, (remote, _))| format!("+{remote}:{local}")).collect();
        if !refspecs.is_empty() {
            self.download(&mut connection, &refspecs)?;
        }
        for (local, (_, id)) in &moved {
            self.repository.reference(local, *id, true, "fetch")?;
        }
        Ok(sources)
    }

    /// Whether the reference stands where the server has it, with its object present.
    fn has(&self, local: &str, id: Oid) -> bool {
        self.repository.refname_to_id(local).is_ok_and(|known| known == id)
            && self.repository.find_object(id, None).is_ok()
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

    /// A commit that no reference ends in: from the mirror, else by its id, else out of all branches and tags.
    fn commit(&self, id: Oid) -> Result<Option<Oid>, Failure> {
        let attempts = [
            vec![format!("+{id}:{OWN}commits/{id}")],
            vec!["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()],
        ];
        for refspecs in &attempts {
            if self.repository.find_commit(id).is_ok() {
                break;
            }
            let mut remote = self.repository.remote_anonymous(self.address)?;
            let mut connection = self.connect(&mut remote)?;
            match self.download(&mut connection, refspecs) {
                // Many servers give out only what they list, and say so in words of their own.
                Err(failure) if refspecs.len() == 1 && failure.kind != FetchErrorKind::TooLarge => {}
                result => result?,
            }
        }
        if self.repository.find_commit(id).is_err() {
            return Ok(None);
        }
        self.repository.reference(&format!("{OWN}commits/{id}"), id, true, "fetch")?;
        self.commit_of(id)
    }

    fn connect<'c>(&'c self, remote: &'c mut git2::Remote<'a>) -> Result<RemoteConnection<'a, 'c, 'c>, Failure> {
        self.refused.set(false);
        let mut proxy = ProxyOptions::new();
        proxy.auto();
        remote.connect_auth(Direction::Fetch, Some(self.callbacks()), Some(proxy)).map_err(|error| self.explain(&error))
    }

    fn download(&self, connection: &mut RemoteConnection<'a, '_, '_>, refspecs: &[String]) -> Result<(), Failure> {
        let mut proxy = ProxyOptions::new();
        proxy.auto();
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(self.callbacks())
            .proxy_options(proxy)
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None);
        let before = self.received.get();
        let result = connection.remote().download(refspecs, Some(&mut options));
        drop(options);
        result.map_err(|error| self.explain(&error))?;
        let stats = connection.remote().stats().received_bytes() as u64;
        self.received.set(self.received.get().max(before + stats));
        Ok(())
    }

    fn callbacks(&self) -> RemoteCallbacks<'_> {
        let mut callbacks = RemoteCallbacks::new();
        let asked = Cell::new(false);
        callbacks.credentials(move |_, _, allowed| {
            // Asked a second time: the server did not take them.
            if asked.replace(true) {
                self.refused.set(true);
                return Err(auth_error("the server does not accept the credentials"));
            }
            self.credential(allowed)
        });
        let before = self.received.get();
        callbacks.transfer_progress(move |progress| {
            self.received.set(before + progress.received_bytes() as u64);
            self.received.get() <= self.most_bytes
        });
        callbacks
    }

    fn credential(&self, allowed: CredentialType) -> Result<Cred, git2::Error> {
        match self.credentials {
            Credentials::Basic { username, password } if allowed.is_user_pass_plaintext() => {
                Cred::userpass_plaintext(username, password.expose())
            }
            Credentials::Basic { .. } => Err(auth_error("the server does not take a username and password")),
            Credentials::None => Err(auth_error("the server asks for credentials and there are none")),
        }
    }

    fn explain(&self, error: &git2::Error) -> Failure {
        if self.refused.get() {
            return Failure::new(FetchErrorKind::RefusedCredentials, "the server does not accept the credentials");
        }
        if self.received.get() > self.most_bytes {
            let reason = format!("the download is larger than the limit of {} bytes", self.most_bytes);
            return Failure::new(FetchErrorKind::TooLarge, reason);
        }
        Failure::from_remote(error)
    }
}

fn auth_error(reason: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, git2::ErrorClass::Http, reason)
}

fn listing(connection: &RemoteConnection<'_, '_, '_>) -> Result<Advertised, Failure> {
    let heads = match connection.list() {
        // An empty repository: libgit2 has nothing to list before it was connected once with something.
        Err(error) if error.code() == ErrorCode::NotFound => &[],
        heads => heads?,
    };
    Ok(Advertised::new(heads.iter().filter_map(|head| {
        // git2 panics on names that are not UTF-8; nobody can ask for those.
        let names = catch_unwind(AssertUnwindSafe(|| (head.name(), RemoteHead::symref_target(head)))).ok()?;
        Some((names.0, head.oid(), names.1))
    })))
}
