//! Systems Manager Parameter Store.

use std::collections::BTreeMap;

use aws_sdk_ssm::types::{Parameter, ParameterStringFilter, ResourceTypeForTagging};
use gitmoor_core::secrets::batches::Call;
use gitmoor_core::secrets::reading::{Found, Listing, Payload, ReadError};
use gitmoor_core::secrets::request::Version;

use super::{Answer, AwsError, Session};

/// AWS allows no more for `GetParametersByPath`.
const PAGE: i32 = 10;
/// And so many for `DescribeParameters`.
const DESCRIBED: i32 = 50;

impl Session {
    pub(super) async fn call_parameters(&self, call: &Call) -> Result<Answer, AwsError> {
        match call {
            Call::Batch { keys, .. } => self.parameter_batch(call, keys).await,
            Call::Single { key, version, .. } => self.parameter(call, key, version).await,
            Call::Tags { key, .. } => self.parameter_tags(call, key).await,
            Call::List { listing, page } if listing.tags.is_empty() => {
                self.below_path(call, listing, page.clone()).await
            }
            Call::List { listing, page } => self.parameter_names(call, listing, page.clone()).await,
        }
    }

    async fn parameter_batch(&self, call: &Call, keys: &[String]) -> Result<Answer, AwsError> {
        let request = self.parameters.get_parameters().set_names(Some(keys.to_vec())).with_decryption(true);
        let answer = request.send().await?;
        let mut entries: BTreeMap<String, Result<Payload, ReadError>> = BTreeMap::new();
        entries.extend(answer.invalid_parameters().iter().map(|name| (name.clone(), Err(ReadError::NotFound))));
        for parameter in answer.parameters() {
            for key in keys.iter().filter(|key| parameter.name() == Some(*key) || parameter.arn() == Some(*key)) {
                entries.insert(key.clone(), payload(parameter));
            }
        }
        Ok(Answer::batch(call, &entries))
    }

    async fn parameter(&self, call: &Call, key: &str, version: &Version) -> Result<Answer, AwsError> {
        let name = match version {
            Version::Current => key.to_owned(),
            Version::Stage(selector) | Version::Id(selector) | Version::Selector(selector) => {
                format!("{key}:{selector}")
            }
        };
        let answer = self.parameters.get_parameter().name(name).with_decryption(true).send().await?;
        let found = answer.parameter().map_or_else(|| Err(ReadError::NotFound), payload).map(Found::One);
        Ok(Answer { found: call.reads().into_iter().map(|read| (read, found.clone())).collect(), next: None })
    }

    async fn parameter_tags(&self, call: &Call, key: &str) -> Result<Answer, AwsError> {
        let request = self.parameters.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter);
        let answer = request.resource_id(key).send().await?;
        let tags: BTreeMap<&str, &str> = answer.tag_list().iter().map(|tag| (tag.key(), tag.value())).collect();
        Ok(Answer::one(call, Payload::text(serde_json::json!(tags).to_string())))
    }

    async fn below_path(&self, call: &Call, listing: &Listing, page: Option<String>) -> Result<Answer, AwsError> {
        let path = listing.path.as_deref().unwrap_or("/");
        let request = self.parameters.get_parameters_by_path().path(path).recursive(listing.recursive);
        let answer = request.with_decryption(true).max_results(PAGE).set_next_token(page).send().await?;
        let named = |parameter: &Parameter| Some((parameter.name()?.to_owned(), payload(parameter).ok()?));
        let values = answer.parameters().iter().filter_map(named).collect();
        Ok(Answer::listed(call, Found::Many(values), answer.next_token))
    }

    async fn parameter_names(&self, call: &Call, listing: &Listing, page: Option<String>) -> Result<Answer, AwsError> {
        let filter = |key: String, option: &str, value: &String| {
            ParameterStringFilter::builder().key(key).option(option).values(value).build()
        };
        let tags = listing.tags.iter().map(|(key, value)| filter(format!("tag:{key}"), "Equals", value));
        let paths = listing.path.iter().map(|path| filter("Path".to_owned(), "Recursive", path));
        let filters = tags.chain(paths).collect::<Result<Vec<_>, _>>();
        let filters = filters.map_err(|error| AwsError::of_entry("ValidationException", &error.to_string()))?;
        let request = self.parameters.describe_parameters().set_parameter_filters(Some(filters));
        let answer = request.max_results(DESCRIBED).set_next_token(page).send().await?;
        let names = answer.parameters().iter().filter_map(|parameter| parameter.name().map(str::to_owned)).collect();
        Ok(Answer::listed(call, Found::Names(names), answer.next_token))
    }
}

fn payload(parameter: &Parameter) -> Result<Payload, ReadError> {
    let value = parameter.value().ok_or_else(|| ReadError::Refused("it has no value".to_owned()))?;
    Ok(Payload::text(value.to_owned()))
}
