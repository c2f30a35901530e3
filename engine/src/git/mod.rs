//! Git repositories: the only module that talks to git.
//!
//! In the order of the flow: a [`RepositoryUrl`] makes a [`Mirror`], which fetches with an [`Access`](crate::access::Access) in a child
//! process ([`child_main`]) into a bare repository on disk; what was fetched is read as a [`GitTree`], compared with
//! [`Mirror::changed_paths`] and described by a [`CommitInfo`]. There is never a checkout.
//!
//! All reading is blocking and belongs into `spawn_blocking`; only [`Mirror::fetch`] and [`Mirror::rebuild`] are async.

mod answer;
mod child;
mod clone;
mod commit;
mod diff;
mod error;
mod failure;
mod fetch;
mod guard;
mod job;
mod mirror;
mod on_disk;
mod pipe;
mod revisions;
mod ssh;
mod ssh_address;
mod ssh_key;
mod store;
mod tree;
mod tunnel;
mod url;
mod way;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use child::{FetchLimits, Fetcher, child_main};
pub use clone::{CloneError, LocalClone};
pub use commit::{CommitId, CommitInfo};
pub use error::{FetchError, FetchErrorKind, MirrorError};
pub use fetch::{FetchOutcome, FetchRequest, ResolvedRevision};
pub use mirror::Mirror;
pub use on_disk::MirrorsOnDisk;
pub use tree::GitTree;
pub(crate) use url::refuse_forbidden;
pub use url::{RepositoryUrl, UrlError, UrlPolicy};
