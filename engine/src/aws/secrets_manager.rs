//! Secrets Manager.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretValueEntry};
use gitmoor_core::secrets::batches::Call;
use gitmoor_core::secrets::reading::{Found, Listing, Payload, ReadError};
use gitmoor_core::secrets::request::Version;
use gitmoor_core::sensitive::Sensitive;

use super::{Answer, AwsError, Session};

const PAGE: i32 = 100;

impl Session {
    pub(super) async fn call_secrets(&self, call: &Call) -> Result<Answer, AwsError> {
        match call {
            Call::Batch { keys, .. } => self.secret_batch(call, keys).await,
            Call::Single { key, version, .. } => self.secret(call, key, version).await,
            Call::Tags { key, .. } => self.secret_tags(call, key).await,
            Call::List { listing, page } => self.secret_names(call, listing, page.clone()).await,
        }
    }

    async fn secret_batch(&self, call: &Call, keys: &[String]) -> Result<Answer, AwsError> {
        let answer = self.secrets.batch_get_secret_value().set_secret_id_list(Some(keys.to_vec())).send().await?;
        let mut entries: BTreeMap<String, Result<Payload, ReadError>> = BTreeMap::new();
        for error in answer.errors() {
            let failed =
                AwsError::of_entry(error.error_code().unwrap_or_default(), error.message().unwrap_or_default());
            entries.insert(error.secret_id().unwrap_or_default().to_owned(), Err(failed.read_error()));
        }
        for entry in answer.secret_values() {
            let payload = payload_of(entry);
            for key in keys.iter().filter(|key| names(entry, key)) {
                entries.insert(key.clone(), payload.clone());
            }
        }
        Ok(Answer::batch(call, &entries))
    }

    async fn secret(&self, call: &Call, key: &str, version: &Version) -> Result<Answer, AwsError> {
        let request = self.secrets.get_secret_value().secret_id(key);
        let request = match version {
            Version::Current => request,
            Version::Id(id) => request.version_id(id),
            Version::Stage(stage) | Version::Selector(stage) => request.version_stage(stage),
        };
        let answer = request.send().await?;
        match payload(answer.secret_string, answer.secret_binary) {
            Ok(payload) => Ok(Answer::one(call, payload)),
            Err(error) => Ok(Answer {
                found: call.reads().into_iter().map(|read| (read, Err(error.clone()))).collect(),
                next: None,
            }),
        }
    }

    async fn secret_tags(&self, call: &Call, key: &str) -> Result<Answer, AwsError> {
        let answer = self.secrets.describe_secret().secret_id(key).send().await?;
        let tags = answer.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        let tags: BTreeMap<String, String> = tags.collect();
        Ok(Answer::one(call, Payload::text(serde_json::json!(tags).to_string())))
    }

    async fn secret_names(&self, call: &Call, listing: &Listing, page: Option<String>) -> Result<Answer, AwsError> {
        let filter = |key: FilterNameStringType, value: &String| Filter::builder().key(key).values(value).build();
        let mut filters = Vec::new();
        filters.extend(listing.path.iter().map(|path| filter(FilterNameStringType::Name, path)));
        for (key, value) in &listing.tags {
            filters.push(filter(FilterNameStringType::TagKey, key));
            filters.push(filter(FilterNameStringType::TagValue, value));
        }
        let filters = Some(filters).filter(|filters| !filters.is_empty());
        let request = self.secrets.list_secrets().max_results(PAGE).set_filters(filters).set_next_token(page);
        let answer = request.send().await?;
        let names = answer.secret_list().iter().filter_map(|entry| entry.name().map(str::to_owned)).collect();
        Ok(Answer::listed(call, Found::Names(names), answer.next_token))
    }
}

/// A key is a name, an ARN, or an ARN without the six characters that AWS appends.
fn names(entry: &SecretValueEntry, key: &str) -> bool {
    entry.name() == Some(key)
        || entry.arn().is_some_and(|arn| {
            arn == key || arn.strip_prefix(key).is_some_and(|rest| rest.len() == 7 && rest.starts_with('-'))
        })
}

fn payload_of(entry: &SecretValueEntry) -> Result<Payload, ReadError> {
    payload(entry.secret_string.clone(), entry.secret_binary.clone())
}

fn payload(text: Option<String>, binary: Option<Blob>) -> Result<Payload, ReadError> {
    match (text, binary) {
        (Some(text), _) => Ok(Payload::text(text)),
        (None, Some(blob)) => Ok(Payload { bytes: Sensitive::new(blob.into_inner()), binary: true }),
        (None, None) => Err(ReadError::Refused("it has no value".to_owned())),
    }
}
