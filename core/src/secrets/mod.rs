//! External secrets: from objects of the cluster to reads of AWS, and from what was read to a Secret.
//!
//! ```text
//! ExternalSecret | its legacy form -parse-> SecretRequest -with its stores-> Reads
//!     due Reads of one session -plan-> Calls (batches) -read-> values -compose-> data -template-> Secret
//! ```
//!
//! # Sources
//! What the fields mean: `apis/externalsecrets/v1`, `providers/v1/aws` and `runtime/template/v2` of
//! `external-secrets/external-secrets`; the legacy form: `lib/` of `external-secrets/kubernetes-external-secrets`.

pub mod request;

pub mod cluster_external_secret;
pub mod external_secret;
pub mod legacy;
pub mod store;

pub mod identity;
pub mod permission;

pub mod reading;

pub mod batches;
pub mod schedule;
pub mod throttle;

pub mod compose;
pub mod convert;
pub mod property;
pub mod rewrite;

pub mod manifest;
pub mod template;

pub mod status;

mod failure;

use std::collections::BTreeMap;

pub use failure::{Category, Failure};

use crate::sensitive::Sensitive;

/// A value of a Secret.
pub type SecretValue = Sensitive<Vec<u8>>;

/// The data of a Secret, or what becomes of it.
pub type SecretData = BTreeMap<String, SecretValue>;
