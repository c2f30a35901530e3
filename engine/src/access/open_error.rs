//! Why a server cannot be opened, before it was even asked.

/// Nothing to open a server with could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OpenError {
    /// Waiting does not help: something has to be changed.
    pub refused: bool,
    /// Why, without secrets.
    pub reason: String,
}

impl OpenError {
    /// Something has to be changed.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { refused: true, reason: reason.into() }
    }

    /// Waiting may help.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self { refused: false, reason: reason.into() }
    }
}
