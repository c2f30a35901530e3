//! SecretStore and ClusterSecretStore with provider `aws`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::external_secret::read_spec;
use super::identity::{AssumedRole, Base, Identity, KeyRef, SessionKey};
use super::reading::{Listing, Read};
use super::request::{RemoteRef, Service, StoreRef, Version, Wanted};
use super::{Category, Failure};
use crate::object::text_at;

/// A store, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Its kind and name.
    pub reference: StoreRef,
    /// Which controller it is for; empty for any.
    pub controller: String,
    /// Which service.
    pub service: Service,
    /// In front of every key.
    pub prefix: String,
    /// Which namespaces may use it; empty for all. Of a ClusterSecretStore only.
    pub conditions: Vec<NamespaceCondition>,
    region: String,
    auth: AuthSpec,
    roles: Vec<AssumedRole>,
}

/// Which namespaces may use a ClusterSecretStore: those that fit one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCondition {
    namespace_selector: Option<LabelSelector>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    namespace_regexes: Vec<String>,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    controller: String,
    provider: BTreeMap<String, Value>,
    #[serde(default)]
    conditions: Vec<NamespaceCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsSpec {
    service: String,
    region: String,
    role: Option<String>,
    #[serde(default, rename = "externalID")]
    external_id: Option<String>,
    #[serde(default)]
    additional_roles: Vec<String>,
    #[serde(default)]
    session_tags: Vec<Tag>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
    session_tags_policy: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    auth: AuthSpec,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthSpec {
    secret_ref: Option<KeysSpec>,
    jwt: Option<JwtSpec>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct KeysSpec {
    #[serde(rename = "accessKeyIDSecretRef")]
    access_key: Selector,
    #[serde(rename = "secretAccessKeySecretRef")]
    secret_key: Selector,
    #[serde(rename = "sessionTokenSecretRef")]
    session_token: Option<Selector>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct JwtSpec {
    #[serde(rename = "serviceAccountRef")]
    service_account: Option<Selector>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Selector {
    name: String,
    namespace: Option<String>,
    key: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
}

/// Reads a store.
///
/// # Errors
/// When it is not one of AWS, or asks for what is not supported.
pub fn parse(object: &Value) -> Result<Store, Failure> {
    let reference = StoreRef {
        cluster: text_at(object, &["kind"]) == Some("ClusterSecretStore"),
        name: text_at(object, &["metadata", "name"]).unwrap_or_default().to_owned(),
    };
    let spec: Spec = read_spec(object)?;
    let Some(aws) = spec.provider.get("aws") else {
        let named = spec.provider.keys().next().map_or("none", String::as_str);
        return Err(Failure::new(Category::NotSupported, format!("provider {named} is not supported, only aws")));
    };
    let aws: AwsSpec = serde_json::from_value(aws.clone())
        .map_err(|error| Failure::new(Category::InvalidSpec, format!("spec.provider.aws: {error}")))?;
    let service = match aws.service.as_str() {
        "SecretsManager" => Service::SecretsManager,
        "ParameterStore" => Service::ParameterStore,
        other => return Err(Failure::new(Category::NotSupported, format!("service {other} is not supported"))),
    };
    if aws.session_tags_policy.as_deref().is_some_and(|policy| policy != "None") {
        return Err(Failure::new(Category::NotSupported, "sessionTagsPolicy is not supported; use sessionTags"));
    }
    Ok(Store {
        reference,
        controller: spec.controller,
        service,
        prefix: aws.prefix.clone(),
        conditions: spec.conditions,
        region: aws.region.clone(),
        roles: roles(&aws),
        auth: aws.auth,
    })
}

/// `additionalRoles` first; external id and tags go with the last one, `role`.
fn roles(aws: &AwsSpec) -> Vec<AssumedRole> {
    let on_the_way = aws.additional_roles.iter().map(|arn| AssumedRole { arn: arn.clone(), ..AssumedRole::default() });
    let last = aws.role.iter().filter(|arn| !arn.is_empty()).map(|arn| AssumedRole {
        arn: arn.clone(),
        external_id: aws.external_id.clone().filter(|id| !id.is_empty()),
        tags: aws.session_tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        transitive_tags: aws.transitive_tag_keys.clone(),
    });
    on_the_way.chain(last).collect()
}

impl Store {
    /// The session for reads from a namespace.
    ///
    /// # Errors
    /// When credentials are named in a namespace that the store may not name.
    pub fn session(&self, namespace: &str) -> Result<SessionKey, Failure> {
        let base = match (&self.auth.jwt, &self.auth.secret_ref) {
            (Some(JwtSpec { service_account: Some(account) }), _) => Base::ServiceAccount {
                namespace: self.namespace_of(account, namespace)?,
                name: account.name.clone(),
                audiences: account.audiences.clone(),
            },
            (_, Some(keys)) => Base::Keys {
                access_key: self.key(&keys.access_key, namespace)?,
                secret_key: self.key(&keys.secret_key, namespace)?,
                session_token: keys.session_token.as_ref().map(|key| self.key(key, namespace)).transpose()?,
            },
            _ => Base::Agent,
        };
        let region = Some(self.region.clone()).filter(|region| !region.is_empty());
        Ok(SessionKey { identity: Identity { base, roles: self.roles.clone() }, region })
    }

    fn key(&self, selector: &Selector, namespace: &str) -> Result<KeyRef, Failure> {
        let namespace = self.namespace_of(selector, namespace)?;
        Ok(KeyRef { namespace, name: selector.name.clone(), key: selector.key.clone().unwrap_or_default() })
    }

    /// A ClusterSecretStore may name a namespace; a SecretStore uses its own alone.
    fn namespace_of(&self, selector: &Selector, namespace: &str) -> Result<String, Failure> {
        match &selector.namespace {
            Some(named) if self.reference.cluster || named == namespace => Ok(named.clone()),
            Some(_) => Err(Failure::new(
                Category::StoreNotReady,
                format!("{} names credentials in another namespace", self.reference),
            )),
            None => Ok(namespace.to_owned()),
        }
    }

    /// What to ask AWS for, for an item that uses this store.
    pub fn read(&self, wanted: &Wanted) -> Read {
        read(self.service, &self.prefix, wanted)
    }

    /// Whether a namespace with these labels may use the store.
    pub fn admits(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.fits(namespace, labels))
    }
}

/// What to ask a service for.
pub fn read(service: Service, prefix: &str, wanted: &Wanted) -> Read {
    let value = |remote: &RemoteRef| {
        let key = format!("{prefix}{}", remote.key);
        if remote.metadata {
            return Read::Tags { service, key };
        }
        Read::Value { service, key, version: version(service, &remote.version) }
    };
    match wanted {
        Wanted::Value { remote, .. } | Wanted::Extract { remote, .. } => value(remote),
        Wanted::Find { find, .. } => {
            Read::List(Listing { service, path: find.path.clone(), tags: find.tags.clone(), recursive: find.recursive })
        }
    }
}

/// In Secrets Manager a version is a staging label, or an id after `uuid/`.
fn version(service: Service, version: &Version) -> Version {
    match (service, version) {
        (Service::SecretsManager, Version::Selector(text)) => match text.strip_prefix("uuid/") {
            Some(id) => Version::Id(id.to_owned()),
            None if text == "AWSCURRENT" => Version::Current,
            None => Version::Stage(text.clone()),
        },
        (Service::SecretsManager, Version::Stage(text)) if text == "AWSCURRENT" => Version::Current,
        (_, other) => other.clone(),
    }
}

impl NamespaceCondition {
    fn fits(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let whole = |pattern: &String| {
            regex::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(namespace))
        };
        self.namespaces.iter().any(|name| name == namespace)
            || self.namespace_regexes.iter().any(whole)
            || self.namespace_selector.as_ref().is_some_and(|selector| selector.fits(labels))
    }
}

impl LabelSelector {
    /// Whether labels fit; an empty selector fits all.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.fits(labels))
    }
}

impl Requirement {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}
