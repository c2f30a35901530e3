//! One call, and its answer in the words of the reads that it is for.

use std::collections::BTreeMap;

use gitmoor_core::secrets::batches::Call;
use gitmoor_core::secrets::reading::{Found, Payload, Read, ReadError};
use gitmoor_core::secrets::request::Service;

use super::{AwsError, Session};

/// What a call gave.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What there is of each read.
    pub found: Vec<(Read, Result<Found, ReadError>)>,
    /// The next page of a search.
    pub next: Option<String>,
}

impl Answer {
    pub(super) fn one(call: &Call, payload: Payload) -> Self {
        Self {
            found: call.reads().into_iter().map(|read| (read, Ok(Found::One(payload.clone())))).collect(),
            next: None,
        }
    }

    pub(super) fn listed(call: &Call, found: Found, next: Option<String>) -> Self {
        Self { found: call.reads().into_iter().map(|read| (read, Ok(found.clone()))).collect(), next }
    }

    /// The answer to a batch: each key's entry, by its name or ARN.
    pub(super) fn batch(call: &Call, entries: &BTreeMap<String, Result<Payload, ReadError>>) -> Self {
        let found = call.reads().into_iter().map(|read| {
            let entry = entries.get(&read.subject()).cloned();
            let entry =
                entry.unwrap_or_else(|| Err(ReadError::Unavailable("AWS left it out of its answer".to_owned())));
            (read, entry.map(Found::One))
        });
        Self { found: found.collect(), next: None }
    }
}

impl Session {
    /// Makes a call.
    ///
    /// # Errors
    /// When the call as a whole fails. What fails of single keys is in the answer.
    pub async fn call(&self, call: &Call) -> Result<Answer, AwsError> {
        match call.service() {
            Service::SecretsManager => self.call_secrets(call).await,
            Service::ParameterStore => self.call_parameters(call).await,
        }
    }
}
