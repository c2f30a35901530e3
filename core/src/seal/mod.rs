//! SealedSecrets: Secrets that may be committed, because only the sealed-secrets controller can open them.
//!
//! ```text
//! text -yaml-> Value -Secret::read-> Secret -Secret::seal(key)-> SealedSecret -> text
//! PEM -Certificate::read-> certificates -newest_valid-> SealingKey
//! ```
//!
//! Format and behaviour are those of kubeseal and the controller (`bitnami-labs/sealed-secrets`, `pkg/crypto/crypto.go`,
//! `pkg/apis/sealedsecrets/v1alpha1/sealedsecret_expansion.go`). Each value is sealed on its own, so that one can be
//! replaced without the others. Session keys and padding take their randomness from the crypto library; everything
//! else depends on the arguments alone.

mod certificate;
mod hybrid;
mod keys;
mod pem;
mod provenance;
mod scope;
mod sealed_secret;
mod secret;

pub use certificate::{Certificate, CertificateError};
pub use keys::{Fingerprint, PrivateKey, PrivateKeyError, SealingKey, private_keys};
pub use provenance::Provenance;
pub use scope::Scope;
pub use sealed_secret::{Keep, SealedSecret};
pub use secret::{Secret, scrub};

/// Why a Secret cannot be sealed, or a SealedSecret not be opened. Names keys and fields, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another kind of object, or none.
    #[error("not a {expected}: {found}")]
    Kind {
        /// What was expected.
        expected: &'static str,
        /// `apiVersion` and kind, or what else it is.
        found: String,
    },
    /// A field that is missing or of the wrong type.
    #[error("{path} {problem}")]
    Field {
        /// Path of the field, such as `data.password`.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Strict and namespace-wide values are bound to a namespace.
    #[error("metadata.namespace is missing, and the scope {0} is bound to it")]
    NoNamespace(Scope),
    /// Two namespaces.
    #[error("it is in namespace {own}, but {asked} was asked for")]
    Namespace {
        /// The object's own.
        own: String,
        /// What was asked for.
        asked: String,
    },
    /// No data at all.
    #[error("neither data nor stringData holds a value")]
    Empty,
    /// The sealed form of before per-value encryption.
    #[error("spec.data is the old form with one blob, which is not supported; seal the Secret again")]
    OldForm,
    /// None of the keys opens a value under the label of its scope.
    #[error("spec.encryptedData.{0} cannot be opened: another key, or another name, namespace or scope")]
    CannotOpen(String),
    /// The crypto library refused.
    #[error("the crypto library failed")]
    Crypto,
}

impl SealError {
    fn field(path: impl Into<String>, problem: &'static str) -> Self {
        Self::Field { path: path.into(), problem }
    }
}

#[cfg(test)]
mod tests;
