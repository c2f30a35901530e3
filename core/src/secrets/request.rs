//! What an ExternalSecret asks for, whichever of its forms it is written in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Which kind of object asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `external-secrets.io` ExternalSecret.
    External,
    /// `kubernetes-client.io` ExternalSecret.
    Legacy,
}

/// The object that asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// Its kind.
    pub form: Form,
    /// Its namespace, which is that of the Secret too.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = match self.form {
            Form::External => "external-secrets.io",
            Form::Legacy => "kubernetes-client.io",
        };
        write!(f, "ExternalSecret.{group} {}/{}", self.namespace, self.name)
    }
}

/// An ExternalSecret, read.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretRequest {
    /// The object.
    pub id: RequestId,
    /// Its API version, for the owner reference.
    pub api_version: String,
    /// Its uid.
    pub uid: String,
    /// `GENERATION-HASH` of spec, labels and annotations: what `status.syncedResourceVersion` is compared with.
    pub version: String,
    /// Where values come from, in the order in which later ones win.
    pub items: Vec<Item>,
    /// What becomes of them.
    pub target: Target,
    /// How often.
    pub refresh: Refresh,
}

/// One entry of `data` or `dataFrom`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// `spec.data[0]`: where it stands in the object, for messages.
    pub place: String,
    /// The store it is read from.
    pub source: Source,
    /// What is read.
    pub wanted: Wanted,
}

/// Where an item is read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A store object.
    Store(StoreRef),
    /// AWS as the legacy form names it.
    Inline {
        /// Which service.
        service: Service,
        /// Role to assume.
        role: Option<String>,
        /// Region; the agent's own without one.
        region: Option<String>,
    },
}

/// A reference to a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreRef {
    /// True for a ClusterSecretStore.
    pub cluster: bool,
    /// Its name.
    pub name: String,
}

impl fmt::Display for StoreRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.cluster { "ClusterSecretStore" } else { "SecretStore" };
        write!(f, "{kind} {}", self.name)
    }
}

/// A service that holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// AWS Secrets Manager.
    SecretsManager,
    /// AWS Systems Manager Parameter Store.
    ParameterStore,
}

/// What an item makes of what it reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// One value under one key.
    Value {
        /// Key in the Secret.
        secret_key: String,
        /// Where it is.
        remote: RemoteRef,
    },
    /// All members of a JSON object.
    Extract {
        /// Where it is.
        remote: RemoteRef,
        /// What becomes of the keys.
        rewrite: Vec<Rewrite>,
    },
    /// All that a search finds.
    Find {
        /// The search.
        find: Find,
        /// What becomes of the keys.
        rewrite: Vec<Rewrite>,
    },
}

/// Where a value is, and how it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteRef {
    /// Name or ARN.
    pub key: String,
    /// Path inside a JSON value.
    pub property: Option<Property>,
    /// Which version.
    pub version: Version,
    /// Tags instead of the value.
    pub metadata: bool,
    /// What becomes of characters that a key of a Secret cannot have.
    pub conversion: Conversion,
    /// How the value is decoded.
    pub decoding: Decoding,
    /// Values with NUL bytes are refused.
    pub refuse_null_bytes: bool,
}

/// Path inside a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// As gjson reads it, after the whole path was tried as one key.
    Gjson(String),
    /// As lodash's `get` reads it.
    Lodash(String),
}

/// Which version of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// The present one.
    #[default]
    Current,
    /// With a staging label (Secrets Manager).
    Stage(String),
    /// With an id (Secrets Manager).
    Id(String),
    /// Number or label (Parameter Store).
    Selector(String),
}

/// How keys are made fit for a Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversion {
    /// `_` for every other character.
    #[default]
    Default,
    /// `_U002f_` for `/`.
    Unicode,
    /// As they are.
    None,
}

/// How values are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoding {
    /// As they are.
    #[default]
    None,
    /// Base64.
    Base64,
    /// Base64 with `-` and `_`.
    Base64Url,
    /// One of the above, whichever fits.
    Auto,
}

/// A search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Find {
    /// Below which path, or with which prefix.
    pub path: Option<String>,
    /// Regular expression that names match.
    pub name: Option<String>,
    /// Tags that all have to be there.
    pub tags: BTreeMap<String, String>,
    /// Also further down (Parameter Store).
    pub recursive: bool,
    /// Keys are the last part of the name, as the legacy form has it.
    pub base_names: bool,
    /// As in [`RemoteRef`].
    pub conversion: Conversion,
    /// As in [`RemoteRef`].
    pub decoding: Decoding,
    /// As in [`RemoteRef`].
    pub refuse_null_bytes: bool,
}

/// One step that changes keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Regular expression and replacement.
    Regexp {
        /// What is replaced.
        source: String,
        /// By what; `$1` and `${name}` are groups.
        target: String,
    },
    /// A template with `.value`.
    Transform(String),
    /// JSON objects become one.
    Merge(Merge),
}

/// How JSON objects become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Into which key, as JSON; `None` for one key per member.
    pub into: Option<String>,
    /// Keys that win, the last one most.
    pub priority: Vec<String>,
    /// A priority key may be missing.
    pub ignore_missing: bool,
    /// The same member twice is fine.
    pub ignore_conflicts: bool,
}

/// What becomes of the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Name of the Secret.
    pub name: String,
    /// Who makes the Secret.
    pub creation: Creation,
    /// What happens when keys do not exist in AWS.
    pub deletion: Deletion,
    /// Never changed once made.
    pub immutable: bool,
    /// Type of the Secret.
    pub secret_type: Option<String>,
    /// Template; without one the values are the data.
    pub template: Option<Template>,
    /// Labels that the Secret gets without a template: those of the object.
    pub labels: BTreeMap<String, String>,
    /// Annotations, likewise.
    pub annotations: BTreeMap<String, String>,
}

/// Who makes the Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Creation {
    /// The ExternalSecret, and it goes with it.
    #[default]
    Owner,
    /// The ExternalSecret, and it stays.
    Orphan,
    /// Somebody else; keys are added to it.
    Merge,
    /// Whoever is first; keys are added to it.
    CreateOrMerge,
    /// Nobody.
    None,
}

/// What happens when keys do not exist in AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// The Secret stays, and that is an error.
    #[default]
    Retain,
    /// The Secret goes when none of its keys exists.
    Delete,
    /// The keys go.
    Merge,
}

/// A template for the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Values are kept beside what the template makes.
    pub keep_values: bool,
    /// Templates by key.
    pub data: BTreeMap<String, String>,
    /// Templates from elsewhere.
    pub from: Vec<TemplateFrom>,
    /// Labels, themselves templates.
    pub labels: BTreeMap<String, String>,
    /// Annotations, themselves templates.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
}

/// Templates from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFrom {
    /// Where they are.
    pub origin: TemplateOrigin,
    /// Where results go.
    pub into: TemplateTarget,
    /// How results are decoded.
    pub decoding: Decoding,
}

/// Where a template is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// In the object; its result is YAML of keys and values.
    Literal(String),
    /// In an object of the same namespace.
    Object {
        /// True for a Secret, else a ConfigMap.
        secret: bool,
        /// Its name.
        name: String,
        /// Its keys.
        items: Vec<TemplateItem>,
    },
}

/// A key with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateItem {
    /// The key.
    pub key: String,
    /// The result is YAML of keys and values, not one value.
    pub keys_and_values: bool,
}

/// Where results of a template go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemplateTarget {
    /// Into the data.
    #[default]
    Data,
    /// Into the labels.
    Labels,
    /// Into the annotations.
    Annotations,
}

/// How often values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Every so often, and when the object changes.
    Every(Duration),
    /// When the object changes.
    OnChange,
    /// Until it has worked once.
    Once,
}
