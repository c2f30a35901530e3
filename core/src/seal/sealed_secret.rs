//! A SealedSecret: made from a Secret, changed one value at a time, opened with the controller's private key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::keys::{PrivateKey, SealingKey, open_with_any};
use super::secret::{is_name, kind_of, map_in, read_metadata, text};
use super::{Fingerprint, Provenance, Scope, SealError, Secret};
use crate::names::{ANNOTATION_SEALED_AT, ANNOTATION_SEALED_WITH};
use crate::object::text_at;
use crate::sensitive::Sensitive;

const API_VERSION: &str = "bitnami.com/v1alpha1";
const KIND: &str = "SealedSecret";

/// A SealedSecret. Fields that are not known here stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedSecret {
    object: Map<String, Value>,
}

/// What was sealed before, with keys to open it: a value that has not changed keeps its ciphertext.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep<'a> {
    /// The SealedSecret as it is now.
    pub old: Option<&'a SealedSecret>,
    /// Private keys of the controller.
    pub keys: &'a [PrivateKey],
}

impl Secret {
    /// Seals every value. `now` is noted when anything is sealed anew (RFC 3339).
    pub fn seal(&self, key: &SealingKey, now: &str, keep: Keep<'_>) -> Result<SealedSecret, SealError> {
        if self.name().is_empty() {
            return Err(SealError::field("metadata.name", "is missing"));
        }
        let scope = self.scope();
        if self.namespace().is_empty() && scope != Scope::ClusterWide {
            return Err(SealError::NoNamespace(scope));
        }
        let mut sealed = self.envelope(scope);
        let mut changed = keep.old.is_none_or(|old| old.names().any(|name| !self.data.contains_key(name)));
        let mut provenance = Provenance::default();
        for (name, value) in &self.data {
            if let Some((ciphertext, fingerprint)) = sealed.unchanged(name, value.expose(), keep) {
                sealed.encrypted_data().insert(name.clone(), ciphertext);
                provenance.set(name, fingerprint);
            } else {
                sealed.seal_value(name, value, key)?;
                provenance.set(name, key.fingerprint());
                changed = true;
            }
        }
        let before = keep.old.and_then(SealedSecret::sealed_at).filter(|_| !changed).map(str::to_owned);
        sealed.stamp(&provenance, before.as_deref().unwrap_or(now));
        Ok(sealed)
    }

    /// Everything but the values, as `NewSealedSecret` builds it.
    fn envelope(&self, scope: Scope) -> SealedSecret {
        let mut metadata = Map::new();
        for field in ["name", "namespace"] {
            if let Some(value) = self.metadata.get(field) {
                metadata.insert(field.to_owned(), value.clone());
            }
        }
        scope.annotate(map_in(&mut metadata, "annotations"));
        let mut template = json!({ "metadata": self.metadata });
        if let Some(secret_type) = &self.kind_of_data {
            template["type"] = Value::from(secret_type.as_str());
        }
        if let Some(immutable) = self.immutable {
            template["immutable"] = Value::from(immutable);
        }
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), Value::from(API_VERSION));
        object.insert("kind".to_owned(), Value::from(KIND));
        object.insert("metadata".to_owned(), Value::Object(metadata));
        object.insert("spec".to_owned(), json!({ "encryptedData": {}, "template": template }));
        SealedSecret { object }
    }
}

impl SealedSecret {
    /// Whether an object says that it is one.
    pub fn is_one(object: &Value) -> bool {
        text_at(object, &["kind"]) == Some(KIND)
            && text_at(object, &["apiVersion"]).is_some_and(|version| version.starts_with("bitnami.com/"))
    }

    /// Reads one.
    pub fn read(object: Value) -> Result<Self, SealError> {
        let found = kind_of(&object);
        let Value::Object(object) = object else { return Err(SealError::Kind { expected: KIND, found }) };
        if found != format!("{API_VERSION} {KIND}") {
            return Err(SealError::Kind { expected: KIND, found });
        }
        let sealed = Self { object };
        read_metadata(sealed.object.get("metadata").cloned(), "metadata")?;
        if sealed.name().is_empty() {
            return Err(SealError::field("metadata.name", "is missing"));
        }
        let spec = sealed.object.get("spec").and_then(Value::as_object);
        if spec.is_some_and(|spec| spec.get("data").is_some_and(|data| !data.is_null())) {
            return Err(SealError::OldForm);
        }
        let values = match spec.and_then(|spec| spec.get("encryptedData")) {
            None | Some(Value::Null) => return Ok(sealed),
            Some(Value::Object(values)) => values,
            Some(_) => return Err(SealError::field("spec.encryptedData", "is not a mapping")),
        };
        for (name, value) in values {
            if value.as_str().is_none_or(|value| STANDARD.decode(value).is_err()) {
                return Err(SealError::field(format!("spec.encryptedData.{name}"), "is not base64"));
            }
        }
        Ok(sealed)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata_text("name")
    }

    /// Its namespace; empty when there is none.
    pub fn namespace(&self) -> &str {
        self.metadata_text("namespace")
    }

    /// Its scope: the annotations of the SealedSecret itself count, not those of the template.
    pub fn scope(&self) -> Scope {
        self.metadata().and_then(|metadata| metadata.get("annotations")?.as_object()).map(Scope::of).unwrap_or_default()
    }

    /// The names of its values.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.values().into_iter().flat_map(Map::keys)
    }

    /// The ciphertext of a value, in base64.
    pub fn ciphertext(&self, name: &str) -> Option<&str> {
        self.values()?.get(name)?.as_str()
    }

    /// Which key sealed which value, as far as it was noted.
    pub fn provenance(&self) -> Provenance {
        let noted =
            self.metadata().and_then(|metadata| metadata.get("annotations")?.get(ANNOTATION_SEALED_WITH)?.as_str());
        Provenance::read(noted, self.names())
    }

    /// When its last value was sealed, if that was noted (RFC 3339).
    pub fn sealed_at(&self) -> Option<&str> {
        self.metadata()?.get("annotations")?.get(ANNOTATION_SEALED_AT)?.as_str()
    }

    /// The names in `spec.template.data`: the controller makes those values from Go templates.
    pub fn templated(&self) -> impl Iterator<Item = &String> {
        let data = self.template().and_then(|template| template.get("data")?.as_object());
        data.into_iter().flat_map(Map::keys)
    }

    /// Replaces or adds one value, and leaves all others alone. Gives whether anything changed.
    pub fn replace(
        &mut self,
        name: &str,
        value: &Sensitive<Vec<u8>>,
        key: &SealingKey,
        now: &str,
        keys: &[PrivateKey],
    ) -> Result<bool, SealError> {
        if !is_name(name) {
            return Err(SealError::field(name, "may have letters, digits, `-`, `_` and `.` only, 253 at most"));
        }
        self.require_namespace()?;
        if self.unchanged(name, value.expose(), Keep { old: Some(self), keys }).is_some() {
            return Ok(false);
        }
        let mut provenance = self.provenance();
        self.seal_value(name, value, key)?;
        provenance.set(name, key.fingerprint());
        self.stamp(&provenance, now);
        Ok(true)
    }

    /// Puts the values, labels and annotations of a Secret into this one (`SealMergingInto` of kubeseal), under this
    /// one's name, namespace and scope.
    pub fn merge(
        &mut self,
        secret: &Secret,
        key: &SealingKey,
        now: &str,
        keys: &[PrivateKey],
    ) -> Result<(), SealError> {
        for (name, value) in &secret.data {
            self.replace(name, value, key, now, keys)?;
        }
        for field in ["annotations", "labels"] {
            let Some(Value::Object(entries)) = secret.metadata.get(field) else { continue };
            let template = map_in(map_in(&mut self.object, "spec"), "template");
            map_in(map_in(template, "metadata"), field).extend(entries.clone());
        }
        Ok(())
    }

    /// Takes ciphertexts that were made elsewhere, for the same values.
    pub fn take_over(&mut self, other: &Self, key: Option<&Fingerprint>, now: &str) {
        let mut provenance = Provenance::default();
        let names: Vec<String> = self.names().cloned().collect();
        for name in names {
            if let Some(ciphertext) = other.ciphertext(&name) {
                self.encrypted_data().insert(name.clone(), Value::from(ciphertext));
                if let Some(key) = key {
                    provenance.set(&name, key);
                }
            }
        }
        self.stamp(&provenance, now);
    }

    /// Opens every value.
    pub fn open(&self, keys: &[PrivateKey]) -> Result<Secret, SealError> {
        self.require_namespace()?;
        let mut metadata = read_metadata(
            self.template().and_then(|template| template.get("metadata")).cloned(),
            "spec.template.metadata",
        )?;
        for (field, value) in [("name", self.name()), ("namespace", self.namespace())] {
            metadata.remove(field);
            if !value.is_empty() {
                metadata.insert(field.to_owned(), Value::from(value));
            }
        }
        let template = self.template();
        let secret_type = template.and_then(|template| template.get("type")?.as_str()).map(str::to_owned);
        let immutable = template.and_then(|template| template.get("immutable")?.as_bool());
        let open = |name: &String| {
            let (value, _) = self.open_value(name, keys).ok_or_else(|| SealError::CannotOpen(name.clone()))?;
            Ok((name.clone(), value))
        };
        let data = self.names().map(open).collect::<Result<_, SealError>>()?;
        Ok(Secret { metadata, kind_of_data: secret_type, immutable, data })
    }

    /// As a manifest.
    pub fn into_value(self) -> Value {
        Value::Object(self.object)
    }

    /// As a manifest for the controller alone: what it makes from templates is left out.
    pub fn without_templates(&self) -> Value {
        let mut copy = self.clone();
        if let Some(Value::Object(template)) = copy.object.get_mut("spec").and_then(|spec| spec.get_mut("template")) {
            template.remove("data");
        }
        copy.into_value()
    }

    fn open_value<'k>(&self, name: &str, keys: &'k [PrivateKey]) -> Option<(Sensitive<Vec<u8>>, &'k Fingerprint)> {
        let sealed = STANDARD.decode(self.ciphertext(name)?).ok()?;
        open_with_any(keys, &self.label(), &sealed)
    }

    /// The present ciphertext and its key, when it opens under the label of `self` to just this value.
    fn unchanged<'k>(&self, name: &str, value: &[u8], keep: Keep<'k>) -> Option<(Value, &'k Fingerprint)> {
        let old = keep.old.filter(|old| old.label() == self.label())?;
        let (opened, fingerprint) = old.open_value(name, keep.keys)?;
        (opened.expose() == value).then(|| (Value::from(old.ciphertext(name).unwrap_or_default()), fingerprint))
    }

    fn seal_value(&mut self, name: &str, value: &Sensitive<Vec<u8>>, key: &SealingKey) -> Result<(), SealError> {
        let sealed = key.seal(&self.label(), value.expose())?;
        self.encrypted_data().insert(name.to_owned(), Value::from(STANDARD.encode(sealed)));
        Ok(())
    }

    fn stamp(&mut self, provenance: &Provenance, now: &str) {
        let values = self.names().count();
        let annotations = map_in(map_in(&mut self.object, "metadata"), "annotations");
        match provenance.write(values) {
            Some(keys) => annotations.insert(ANNOTATION_SEALED_WITH.to_owned(), Value::from(keys)),
            None => annotations.remove(ANNOTATION_SEALED_WITH),
        };
        annotations.insert(ANNOTATION_SEALED_AT.to_owned(), Value::from(now));
    }

    fn require_namespace(&self) -> Result<(), SealError> {
        let scope = self.scope();
        if self.namespace().is_empty() && scope != Scope::ClusterWide {
            return Err(SealError::NoNamespace(scope));
        }
        Ok(())
    }

    fn label(&self) -> String {
        self.scope().label(self.namespace(), self.name())
    }

    fn metadata(&self) -> Option<&Map<String, Value>> {
        self.object.get("metadata")?.as_object()
    }

    fn metadata_text(&self, field: &str) -> &str {
        self.metadata().map(|metadata| text(metadata, field)).unwrap_or_default()
    }

    fn template(&self) -> Option<&Map<String, Value>> {
        self.object.get("spec")?.get("template")?.as_object()
    }

    fn values(&self) -> Option<&Map<String, Value>> {
        self.object.get("spec")?.get("encryptedData")?.as_object()
    }

    fn encrypted_data(&mut self) -> &mut Map<String, Value> {
        map_in(map_in(&mut self.object, "spec"), "encryptedData")
    }
}
