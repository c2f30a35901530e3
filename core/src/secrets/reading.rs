//! What is asked of AWS, and what comes back.

use std::collections::BTreeMap;

use super::SecretValue;
use super::request::{Service, Version};
use super::{Category, Failure};
use crate::sensitive::Sensitive;

/// One thing to ask AWS for. Two equal ones of one session are asked for once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// A value.
    Value {
        /// Where it is.
        service: Service,
        /// Name or ARN.
        key: String,
        /// Which version.
        version: Version,
    },
    /// The tags of a key, as a JSON object.
    Tags {
        /// Where it is.
        service: Service,
        /// Name or ARN.
        key: String,
    },
    /// Names, and their values where those come with them.
    List(Listing),
}

/// A search that AWS does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listing {
    /// Where.
    pub service: Service,
    /// Below which path (Parameter Store), or with which prefix (Secrets Manager).
    pub path: Option<String>,
    /// Tags that all have to be there.
    pub tags: BTreeMap<String, String>,
    /// Also further down.
    pub recursive: bool,
}

impl Read {
    /// The key, for messages.
    pub fn subject(&self) -> String {
        match self {
            Self::Value { key, .. } | Self::Tags { key, .. } => key.clone(),
            Self::List(listing) => listing.path.clone().unwrap_or_else(|| "the search".to_owned()),
        }
    }

    /// The service that is asked.
    pub fn service(&self) -> Service {
        match self {
            Self::Value { service, .. } | Self::Tags { service, .. } => *service,
            Self::List(listing) => listing.service,
        }
    }
}

/// A value as AWS holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Its bytes.
    pub bytes: SecretValue,
    /// It was stored as binary.
    pub binary: bool,
}

impl Payload {
    /// A text.
    pub fn text(text: String) -> Self {
        Self { bytes: Sensitive::new(text.into_bytes()), binary: false }
    }
}

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A value, or tags.
    One(Payload),
    /// Values by name.
    Many(BTreeMap<String, Payload>),
    /// Names whose values have to be read.
    Names(Vec<String>),
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// AWS says that it does not exist: the only error that deletion may follow from.
    NotFound,
    /// AWS denies it.
    Denied(String),
    /// Too many requests.
    Throttled,
    /// No answer, or an error of AWS' own.
    Unavailable(String),
    /// AWS refuses the request.
    Refused(String),
    /// No credentials for it.
    NoCredentials(String),
}

impl ReadError {
    /// What the ExternalSecret shows.
    pub fn failure(&self, subject: &str) -> Failure {
        match self {
            Self::NotFound => Failure::new(Category::SecretNotFound, format!("{subject} does not exist")),
            Self::Denied(action) => Failure::new(Category::AccessDenied, format!("AWS denies {action} for {subject}")),
            Self::Throttled => Failure::new(Category::Throttled, format!("AWS throttles the reads of {subject}")),
            Self::Unavailable(why) => {
                Failure::new(Category::ProviderUnavailable, format!("{subject} cannot be read: {why}"))
            }
            Self::Refused(why) => Failure::new(Category::ProviderRefused, format!("{subject} cannot be read: {why}")),
            Self::NoCredentials(why) => Failure::new(Category::NoCredentials, why.clone()),
        }
    }
}
