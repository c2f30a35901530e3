//! The read-set of a render: exactly what kustomize may read when it builds a folder.
//!
//! ```text
//! folder -probe kustomization files-> document -references-> files, folders (each again a root), plugin configs
//!                                  \-none-> plain directory: its manifests and their listing
//!                    every path -resolve (links, step by step)-> members -digest-> cache key
//!                                                                       \-invert-> PathIndex
//! ```
//!
//! Follows kustomize v5.8.1: `api/types/kustomization.go` for the fields, `api/internal/target/kusttarget.go` for the
//! order of file and folder, `api/internal/loader/fileloader.go` for what is a path, a link, a cycle or a URL, and
//! `api/internal/plugins` for the configurations of builtin generators and transformers.
//!
//! # Guarantees
//! - A path that kustomize looks at and that is not there is a member too ([`Member::Absent`]): that it appears later
//!   changes the digest.
//! - What is certain to fail in kustomize (a path that does not exist, a cycle) is a [`Problem`] with file and line, and
//!   all of them are reported at once. Whatever else kustomize refuses, it says itself.
//! - A document that cannot be read here is a [`Problem`], although kustomize might be more lenient: it could name a URL,
//!   and kustomize would fetch it.
//!
//! # Caveats
//! Paths in plugin configurations that come into being only during the build (patched in by another kustomization) are
//! not seen. The build then fails for lack of the file, and is tried again on the whole tree.

mod chart;
mod directory;
mod document;
mod elsewhere;
mod error;
mod index;
mod kustomization;
mod members;
mod references;
mod remote;
mod resolve;
mod walk;

#[cfg(test)]
mod tests;

pub use elsewhere::Wanted;
pub use error::{Category, ClosureError, Place, Problem};
pub use index::PathIndex;
pub use members::{Member, ReadSet, RemoteUse, RemoteUsed, SourceKind};
pub use remote::{RemoteContent, RemoteReference, RemoteTree, Remotes, without_credentials};
pub use resolve::{End, LinkStep, Resolution, ResolveError, resolve};
pub use walk::{Limits, read_set, read_set_of, read_set_of_files, read_set_with, read_set_within};

/// The names under which kustomize looks for its file, in its order. It accepts exactly one of them in a folder.
pub const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
