//! Users of a control plane, each with a kubeconfig.

pub use gitmoor_local_cluster::identity::{Identity, Server};
