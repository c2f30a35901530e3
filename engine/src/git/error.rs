//! What can go wrong with a repository, said so that somebody can act on it.

use std::fmt;

use gitmoor_core::status::passes_by_itself;
use serde::{Deserialize, Serialize};

use super::RepositoryUrl;
use crate::access::OpenError;

/// The category of a failed fetch: condition reason, event reason and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FetchErrorKind {
    /// No connection, or the server answered with a failure of its own.
    Unreachable,
    /// The server's certificate is not trusted.
    UntrustedCertificate,
    /// The server's host key, by ssh, is not the one that it is known by.
    UntrustedHostKey,
    /// Credentials are missing, wrong or not sufficient.
    RefusedCredentials,
    /// The fetch took longer than it may.
    TimedOut,
    /// There is no repository at that address.
    NotARepository,
    /// More data or memory than a fetch may use.
    TooLarge,
    /// What came from the server, or what is on disk, is damaged.
    Corrupt,
    /// An address that leads inside, from where it must not.
    ForbiddenAddress,
    /// Everything else, such as a full disk.
    Other,
}

impl FetchErrorKind {
    /// One word in PascalCase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::UntrustedCertificate => "UntrustedCertificate",
            Self::UntrustedHostKey => "UntrustedHostKey",
            Self::RefusedCredentials => "RefusedCredentials",
            Self::TimedOut => "TimedOut",
            Self::NotARepository => "NotARepository",
            Self::TooLarge => "TooLarge",
            Self::Corrupt => "Corrupt",
            Self::ForbiddenAddress => "ForbiddenAddress",
            Self::Other => "Other",
        }
    }

    /// Whether the same fetch may succeed later without anybody doing anything.
    pub fn waiting_helps(self) -> bool {
        passes_by_itself(self.as_str())
    }

    /// What somebody can do about it.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::Unreachable => "check the address, the network policy and the proxy; the agent keeps trying",
            Self::UntrustedCertificate => {
                "put the server's CA under its host's name into the ConfigMap argocd-tls-certs-cm in the agent's namespace"
            }
            Self::UntrustedHostKey => {
                "compare it with what the server's owner publishes; if it is right, put it into ssh_known_hosts of the \
                 ConfigMap argocd-ssh-known-hosts-cm in the agent's namespace"
            }
            Self::RefusedCredentials => {
                "check the repository's Secret: a name with a password or token, or an ssh key, that may read it"
            }
            Self::TimedOut => "the agent tries again; raise the fetch timeout if the repository is large",
            Self::NotARepository => "check the address, and that the credentials may see the repository",
            Self::TooLarge => "raise the fetch limits of memory or size, or make the repository smaller",
            Self::Corrupt => "the agent clones anew; if it stays, run git fsck on the server's repository",
            Self::ForbiddenAddress => "name the host with --allow-host if it may be reached",
            Self::Other => "the agent tries again; see the message",
        }
    }
}

impl fmt::Display for FetchErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fetch failed; what was fetched before is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot fetch {url}: {reason} ({})", .kind.way_out())]
pub struct FetchError {
    /// The repository.
    pub url: RepositoryUrl,
    /// The category.
    pub kind: FetchErrorKind,
    /// What git or the system said, without credentials.
    pub reason: String,
}

impl FetchError {
    /// Of a repository that could not even be asked, for want of what opens it.
    pub fn before(url: &RepositoryUrl, error: OpenError) -> Self {
        let kind = if error.refused { FetchErrorKind::RefusedCredentials } else { FetchErrorKind::Unreachable };
        Self { url: url.clone(), kind, reason: error.reason }
    }

    /// Whether the same fetch may succeed later without anybody doing anything.
    pub fn waiting_helps(&self) -> bool {
        self.kind.waiting_helps()
    }
}

/// The mirror on disk could not be read; [`Mirror::rebuild`](super::Mirror::rebuild) makes it anew.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Nothing was fetched yet.
    #[error("{url} was not fetched yet")]
    NotFetched {
        /// The repository.
        url: RepositoryUrl,
    },
    /// The commit is not in the mirror.
    #[error("commit {commit} of {url} is not in the mirror: fetch it first")]
    NoSuchCommit {
        /// The repository.
        url: RepositoryUrl,
        /// The commit that was asked for.
        commit: String,
    },
    /// The mirror is damaged.
    #[error("cannot read the mirror of {url}")]
    Unreadable {
        /// The repository.
        url: RepositoryUrl,
        /// What git said.
        #[source]
        source: git2::Error,
    },
}
