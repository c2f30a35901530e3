//! Which object belongs to which Application: label, tracking id, digest.
//!
//! A label selects, an annotation proves: only an object whose tracking id names this installation, an
//! Application whose label hash it carries, and the object itself is ours. Anything else was copied.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::names::{ANNOTATION_TRACKING_ID, LABEL_APPLICATION};
use crate::object::{ObjectId, annotation, text_at};
use crate::sensitive::Sensitive;

/// Namespace and name of an Application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationKey {
    /// Namespace of the Application object.
    pub namespace: String,
    /// Name of the Application object.
    pub name: String,
}

impl fmt::Display for ApplicationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Name of one installation of the agent; several may share a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Installation(String);

/// The installation's name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("installation name `{0}` must be 1 to 63 letters, digits, `-` or `.`")]
pub struct InvalidInstallation(String);

impl Installation {
    /// Letters, digits, `-` and `.`, so that tracking ids stay unambiguous.
    pub fn parse(name: &str) -> Result<Self, InvalidInstallation> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
            return Err(InvalidInstallation(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// Value of the label of every object of an Application: 20 hexadecimal digits.
    pub fn label_value(&self, application: &ApplicationKey) -> String {
        let digest = Sha256::digest(format!("{}:{application}", self.0));
        hex(&digest[..10])
    }

    /// The tracking id: `installation:namespace/application:group/Kind:namespace/name`.
    pub fn tracking_id(&self, application: &ApplicationKey, object: &ObjectId) -> String {
        format!(
            "{}:{application}:{}/{}:{}/{}",
            self.0,
            object.group_kind.group,
            object.group_kind.kind,
            object.namespace.as_deref().unwrap_or_default(),
            object.name
        )
    }

    /// Who claims a live object, judged by its label and annotation together.
    pub fn claim(&self, object: &Value, id: &ObjectId) -> Claim {
        let Some(tracking_id) = annotation(object, ANNOTATION_TRACKING_ID) else { return Claim::None };
        let mut parts = tracking_id.splitn(3, ':');
        let (Some(installation), Some(application), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
            return Claim::None;
        };
        let Some((namespace, name)) = application.split_once('/') else { return Claim::None };
        let application = ApplicationKey { namespace: namespace.to_owned(), name: name.to_owned() };
        let owner = Self(installation.to_owned());
        if owner.tracking_id(&application, id) != tracking_id {
            return Claim::None;
        }
        if owner != *self {
            return Claim::OtherInstallation(owner.0);
        }
        let label = text_at(object, &["metadata", "labels", LABEL_APPLICATION]);
        if label == Some(self.label_value(&application).as_str()) {
            Claim::Application(application)
        } else {
            Claim::Unlabelled(application)
        }
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who claims a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody, or a tracking id that names another object: a copy.
    None,
    /// An Application of this installation, by label and annotation.
    Application(ApplicationKey),
    /// An Application of this installation by annotation only: somebody changed the label.
    Unlabelled(ApplicationKey),
    /// Another installation.
    OtherInstallation(String),
}

/// Makes digests of objects; those of Secrets are keyed, so that nobody can test guesses against them.
#[derive(Clone, Debug)]
pub struct Digester {
    key: Sensitive<Vec<u8>>,
}

impl Digester {
    /// A digester with the installation's key (at least 16 random bytes).
    pub fn new(key: Sensitive<Vec<u8>>) -> Self {
        Self { key }
    }

    /// Digest of an object: 32 hexadecimal digits over its canonical form (keys sorted).
    pub fn digest(&self, object: &Value) -> String {
        let secret = object["kind"] == "Secret" && object["apiVersion"] == "v1";
        let mut canonical = Vec::with_capacity(512);
        write_canonical(object, &mut canonical);
        if !secret {
            return hex(&Sha256::digest(&canonical)[..16]);
        }
        hex(&self.keyed(&canonical))
    }

    /// Digest of all that an Application wants, from the digests of its objects. That of the key comes first, so that one
    /// of another key is known for it.
    pub fn output<'o>(&self, objects: impl IntoIterator<Item = (&'o ObjectId, &'o str)>) -> String {
        let mut output = Sha256::new();
        for (id, digest) in objects {
            output.update(format!("{id} {digest}\n"));
        }
        format!("{}:{}", hex(&self.keyed(b"output 1")[..4]), hex(&output.finalize()[..8]))
    }

    /// Keyed digest of bytes.
    pub fn keyed(&self, bytes: &[u8]) -> [u8; 16] {
        let mut short = [0; 16];
        // HMAC takes keys of any length, so that this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.expose()) {
            mac.update(bytes);
            short.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        }
        short
    }
}

/// JSON with sorted keys and no white space.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push(b'{');
            for (key, item) in entries {
                write_canonical(&Value::String(key.clone()), out);
                out.push(b':');
                write_canonical(item, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        // Writing into a vector does not fail.
        scalar => drop(serde_json::to_writer(out, scalar)),
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::GroupKind;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { namespace: "gitmoor".into(), name: name.into() }
    }

    fn role() -> ObjectId {
        ObjectId {
            group_kind: GroupKind::new("rbac.authorization.k8s.io", "Role"),
            namespace: Some("web".into()),
            name: "system:reader".into(),
        }
    }

    fn live(installation: &Installation, label: &str, id: &ObjectId) -> Value {
        json!({"metadata": {
            "labels": {LABEL_APPLICATION: label},
            "annotations": {ANNOTATION_TRACKING_ID: installation.tracking_id(&key("web"), id)},
        }})
    }

    #[test]
    fn a_claim_needs_label_and_annotation_that_fit_the_object() {
        let ours = Installation::parse("gitmoor").unwrap();
        let label = ours.label_value(&key("web"));
        let object = live(&ours, &label, &role());
        assert_eq!(ours.claim(&object, &role()), Claim::Application(key("web")));

        let copied = ObjectId { name: "copy".into(), ..role() };
        assert_eq!(ours.claim(&object, &copied), Claim::None);
        assert_eq!(ours.claim(&live(&ours, "other", &role()), &role()), Claim::Unlabelled(key("web")));
        let foreign = Installation::parse("staging").unwrap();
        assert_eq!(ours.claim(&live(&foreign, &label, &role()), &role()), Claim::OtherInstallation("staging".into()));
        assert_eq!(ours.claim(&json!({}), &role()), Claim::None);
    }

    #[test]
    fn digests_ignore_key_order_and_key_secrets() {
        let digester = |key: &str| Digester::new(Sensitive::new(key.as_bytes().to_vec()));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "2"}});
        let turned = json!({"data": {"b": "2", "a": "1"}, "kind": "ConfigMap", "apiVersion": "v1"});
        assert_eq!(digester("x").digest(&map), digester("y").digest(&turned));
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "MQ=="}});
        assert_ne!(digester("x").digest(&secret), digester("y").digest(&secret));
        assert_ne!(digester("x").digest(&json!(["a"])), digester("x").digest(&json!({"0": "a"})));
    }

    #[test]
    fn labels_fit_into_a_label_value() {
        let long = ApplicationKey { namespace: "n".repeat(63), name: "a".repeat(253) };
        assert_eq!(Installation::parse("gitmoor").unwrap().label_value(&long).len(), 20);
        assert!(Installation::parse("a:b").is_err());
    }
}
