//! The certificates of a control plane, made anew for each.

pub use gitmoor_local_cluster::certificates::{Authority, Certified};

/// A new authority.
pub fn authority() -> Authority {
    Authority::new().expect("a certificate can be made")
}
