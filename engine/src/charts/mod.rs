//! Charts from chart repositories and registries.

mod address;

pub use address::{ChartAddress, ChartAddressError, Transport};

/// A version of a chart, and the digest of its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartVersion {
    /// The version.
    pub version: String,
    /// SHA-256 of the archive, in hexadecimal.
    pub digest: String,
}
