//! A Kubernetes API server on this machine: etcd and kube-apiserver, on loopback only, on free ports.
//!
//! # Guarantees
//! Whatever is started ends with the process that started it, also when that panics or is killed.

pub mod certificates;
pub mod identity;
pub mod ports;
pub mod server;
pub mod supervised;

/// Why something does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or process could not be made.
    #[error("{what}")]
    Io {
        /// What was to be done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// A client could not be made.
    #[error("the kubeconfig of the local cluster cannot be used: {0}")]
    Client(String),
    /// A program ended, or was not ready in time; with what it said last.
    #[error("the local cluster does not start: {0}")]
    NotReady(String),
}

impl StartError {
    /// Names what was to be done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
