//! What keeps an ExternalSecret from being synced.

use std::fmt;

/// Why; a word of a fixed list that conditions, events and metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// The object cannot be read as what it says it is.
    InvalidSpec,
    /// It uses a field or kind that is not supported.
    NotSupported,
    /// Its store does not exist, or is not usable from its namespace.
    StoreNotReady,
    /// The namespace may not use the role.
    RoleNotPermitted,
    /// The namespace may not read the key.
    KeyNotPermitted,
    /// No credentials for AWS.
    NoCredentials,
    /// AWS denies the read.
    AccessDenied,
    /// The key does not exist in AWS.
    SecretNotFound,
    /// AWS says that there are too many requests.
    Throttled,
    /// AWS does not answer, or answers with an error of its own.
    ProviderUnavailable,
    /// AWS refuses the request as it is.
    ProviderRefused,
    /// The value is not JSON, although a property of it or all of it is asked for.
    NotJson,
    /// The property is not in the value.
    PropertyNotFound,
    /// The value or a key cannot be decoded or converted.
    Conversion,
    /// The template cannot be parsed or run.
    Template,
    /// The Secret belongs to somebody else.
    NotOwner,
    /// The API server refuses the Secret.
    ClusterRefused,
}

impl Category {
    /// The word itself.
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidSpec => "InvalidSpec",
            Self::NotSupported => "NotSupported",
            Self::StoreNotReady => "StoreNotReady",
            Self::RoleNotPermitted => "RoleNotPermitted",
            Self::KeyNotPermitted => "KeyNotPermitted",
            Self::NoCredentials => "NoCredentials",
            Self::AccessDenied => "AccessDenied",
            Self::SecretNotFound => "SecretNotFound",
            Self::Throttled => "Throttled",
            Self::ProviderUnavailable => "ProviderUnavailable",
            Self::ProviderRefused => "ProviderRefused",
            Self::NotJson => "NotJson",
            Self::PropertyNotFound => "PropertyNotFound",
            Self::Conversion => "Conversion",
            Self::Template => "Template",
            Self::NotOwner => "NotOwner",
            Self::ClusterRefused => "ClusterRefused",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why an ExternalSecret is not synced. The message names keys, never values, and is the same each time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{category}: {message}")]
pub struct Failure {
    /// The kind of failure.
    pub category: Category,
    /// Which key or field, and the way out.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(category: Category, message: impl Into<String>) -> Self {
        Self { category, message: message.into() }
    }

    /// The same failure, of a part of the object.
    pub fn at(self, place: &str) -> Self {
        Self { category: self.category, message: format!("{place}: {}", self.message) }
    }
}
