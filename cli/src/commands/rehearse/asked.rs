//! What a tree asks of AWS, and what it logs in there with.
//!
//! Read as the agent reads it, so that prefixes of stores, properties and encodings are the agent's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use gitmoor_core::{
    object::{group_of, text_at},
    provision::{self, Item, Wanted as OfPods, wants},
    secrets::{
        cluster_external_secret, external_secret,
        identity::Base,
        legacy,
        reading::Read,
        request::{Decoding, Property, RemoteRef, SecretRequest, Source, StoreRef, TemplateOrigin, Wanted},
        store::{self, Store},
    },
};
use serde_json::{Map, Value};

use crate::fleet::AllBound;

/// What every value is that has to be there.
pub(super) const VALUE: &str = "stand-in";

/// Keys of a Secret, by its namespace and name.
pub(super) type Keys = BTreeMap<(String, String), BTreeSet<String>>;

/// What a tree asks of AWS.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    /// What is asked of each key.
    values: BTreeMap<String, Shape>,
    /// Secrets with access keys that stores log in with, and that nothing in the tree makes.
    pub(super) by_hand: Keys,
}

/// How a value has to look.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    /// The members of a JSON object, each with whether it is Base64; without any it is a plain text.
    members: BTreeMap<String, bool>,
    /// A plain text is Base64.
    encoded: bool,
}

impl Asked {
    /// What the ExternalSecrets ask for. One that takes a key as a whole gets the keys that its template names, and those
    /// that pods ask of the Secret.
    pub(super) fn of(bound: &AllBound) -> Self {
        let objects = bound.values().flat_map(|bound| bound.manifests.items()).map(|item| &item.object);
        Self::of_objects(&objects.collect::<Vec<_>>())
    }

    fn of_objects(objects: &[&Value]) -> Self {
        let mut of_pods = OfPods::new();
        objects.iter().for_each(|object| wants(object, &mut of_pods));
        let stores = Stores::of(objects);
        let (mut asked, mut logins) = (Self::default(), Keys::new());
        for request in objects.iter().filter_map(|object| request(object)) {
            let id = &request.id;
            let wanted_by_pods = of_pods.iter().filter(|((namespace, name), _)| {
                *name == request.target.name && (id.namespace.is_empty() || *namespace == id.namespace)
            });
            let mut members: BTreeSet<String> =
                wanted_by_pods.flat_map(|(_, keys)| keys).map(|key| (*key).to_owned()).collect();
            members.extend(named_in_templates(&request));
            for item in &request.items {
                match &item.source {
                    Source::Inline { service, .. } => {
                        asked.learn(&store::read(*service, "", &item.wanted), &item.wanted, &members);
                    }
                    Source::Store(reference) => {
                        for (namespace, store) in stores.named(reference, &id.namespace) {
                            asked.learn(&store.read(&item.wanted), &item.wanted, &members);
                            log_in(store, namespace, &mut logins);
                        }
                    }
                }
            }
        }
        let items: Vec<Item<'_>> = objects.iter().map(|object| Item { application: "", object }).collect();
        let provided = provision::Provided::by(&items);
        logins.retain(|(namespace, name), _| !namespace.is_empty() && !provided.has(namespace, name));
        asked.by_hand = logins;
        asked
    }

    fn learn(&mut self, read: &Read, wanted: &Wanted, whole: &BTreeSet<String>) {
        let (Read::Value { key, .. } | Read::Tags { key, .. }) = read else { return };
        let shape = self.values.entry(key.clone()).or_default();
        match wanted {
            Wanted::Value { remote, .. } => match member(remote) {
                Some(name) => drop(shape.members.insert(name, is_encoded(remote))),
                None => shape.encoded |= is_encoded(remote),
            },
            Wanted::Extract { remote, .. } => {
                // It has to be a map, whatever is in it.
                let names = whole.iter().map(String::as_str).chain([VALUE]);
                shape.members.extend(names.map(|name| (name.to_owned(), is_encoded(remote))));
            }
            Wanted::Find { .. } => {}
        }
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> String {
        match self.values.get(key) {
            Some(shape) if !shape.members.is_empty() => Value::Object(self.members(key)).to_string(),
            shape => text(shape.is_some_and(|shape| shape.encoded)),
        }
    }

    /// The members of the value of a key; none of a plain text.
    pub(super) fn members(&self, key: &str) -> Map<String, Value> {
        let members = self.values.get(key).into_iter().flat_map(|shape| &shape.members);
        members.map(|(name, encoded)| (name.clone(), text(*encoded).into())).collect()
    }

    /// All keys that are asked for by name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The request that an object is, or that it hands to many namespaces: that one is in none.
fn request(object: &Value) -> Option<SecretRequest> {
    let group = group_of(text_at(object, &["apiVersion"])?);
    match (group, text_at(object, &["kind"])?) {
        (external_secret::GROUP, "ExternalSecret") => external_secret::parse(object).ok(),
        (external_secret::GROUP, cluster_external_secret::KIND) => {
            let fanout = cluster_external_secret::parse(object).ok()?;
            external_secret::parse(&fanout.external_secret("")).ok()
        }
        (legacy::GROUP, "ExternalSecret") => legacy::parse(object, Duration::ZERO).ok(),
        _ => None,
    }
}

/// The stores of a tree.
struct Stores(Vec<(String, Store)>);

impl Stores {
    fn of(objects: &[&Value]) -> Self {
        let stores = objects.iter().filter(|object| {
            let group = group_of(text_at(object, &["apiVersion"]).unwrap_or_default());
            let kind = text_at(object, &["kind"]).unwrap_or_default();
            group == external_secret::GROUP && ["SecretStore", "ClusterSecretStore"].contains(&kind)
        });
        let namespace = |object: &Value| text_at(object, &["metadata", "namespace"]).unwrap_or_default().to_owned();
        Self(stores.filter_map(|object| Some((namespace(object), store::parse(object).ok()?))).collect())
    }

    /// Those that a request of a namespace means, each with the namespace that it is used in. A request of no namespace may
    /// become one of any.
    fn named<'a>(&'a self, reference: &'a StoreRef, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a Store)> {
        let named = self.0.iter().filter(move |(_, store)| store.reference == *reference);
        named.filter_map(move |(own, store)| {
            if reference.cluster {
                return Some((namespace, store));
            }
            (namespace.is_empty() || own == namespace).then_some((own.as_str(), store))
        })
    }
}

/// Notes the access keys that a store logs in with.
fn log_in(store: &Store, namespace: &str, logins: &mut Keys) {
    let Ok(session) = store.session(namespace) else { return };
    if let Base::Keys { access_key, secret_key, session_token } = session.identity.base {
        for key in [access_key, secret_key].into_iter().chain(session_token) {
            logins.entry((key.namespace, key.name)).or_default().insert(key.key);
        }
    }
}

/// Every name that stands behind a dot in the templates of a request: more than there are values does no harm.
fn named_in_templates(request: &SecretRequest) -> impl Iterator<Item = String> {
    let templates = request.target.template.iter();
    let texts = templates.flat_map(|template| {
        let literals = template.from.iter().filter_map(|from| match &from.origin {
            TemplateOrigin::Literal(text) => Some(text),
            TemplateOrigin::Object { .. } => None,
        });
        template.data.values().chain(literals)
    });
    let named = texts.flat_map(|text| text.split('.').skip(1)).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    named.filter(|name| !name.is_empty())
}

/// The member of a JSON object that a property is looked for in first.
fn member(remote: &RemoteRef) -> Option<String> {
    match remote.property.as_ref()? {
        // The whole path is tried as one key, but for one with escapes.
        Property::Gjson(path) => Some(path.replace('\\', "")),
        Property::Lodash(path) => Some(path.clone()),
    }
}

fn is_encoded(remote: &RemoteRef) -> bool {
    matches!(remote.decoding, Decoding::Base64 | Decoding::Base64Url)
}

fn text(encoded: bool) -> String {
    if encoded { STANDARD.encode(VALUE) } else { VALUE.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(kind: &str, namespace: Option<&str>, prefix: &str) -> Value {
        let selector =
            |key: &str| json!({"name": "keys", "namespace": namespace.map_or("gitmoor", |own| own), "key": key});
        let auth =
            json!({"secretRef": {"accessKeyIDSecretRef": selector("id"), "secretAccessKeySecretRef": selector("key")}});
        json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": "aws", "namespace": namespace},
            "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "r", "prefix": prefix, "auth": auth}}}})
    }

    fn external_secret(kind: &str, spec: &Value) -> Value {
        json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "own", "namespace": "team"},
            "spec": {"secretStoreRef": {"kind": kind, "name": "aws"}, "dataFrom": spec["dataFrom"], "data": spec["data"],
                "target": spec["target"]}})
    }

    fn asked(objects: &[Value]) -> Asked {
        Asked::of_objects(&objects.iter().collect::<Vec<_>>())
    }

    #[test]
    fn values_have_the_prefix_of_their_store_and_the_members_that_are_asked_for() {
        let entry =
            |key: &str, property: &str| json!({"secretKey": "k", "remoteRef": {"key": key, "property": property}});
        let mut encoded = entry("db", "cert");
        encoded["remoteRef"]["decodingStrategy"] = json!("Base64");
        let spec = json!({"target": {}, "dataFrom": [],
            "data": [entry("db", "user"), entry("db", "tls.crt"), encoded, {"secretKey": "k", "remoteRef": {"key": "plain"}}]});
        let objects = [store("ClusterSecretStore", None, "here/"), external_secret("ClusterSecretStore", &spec)];
        let asked = asked(&objects);
        assert_eq!(asked.keys().collect::<Vec<_>>(), ["here/db", "here/plain"]);
        let value: Value = serde_json::from_str(&asked.value("here/db")).unwrap();
        assert_eq!(value, json!({"user": VALUE, "tls.crt": VALUE, "cert": "c3RhbmQtaW4="}));
        assert_eq!((asked.value("here/plain"), asked.value("unknown")), (VALUE.to_owned(), VALUE.to_owned()));
    }

    #[test]
    fn a_key_taken_as_a_whole_has_what_templates_and_pods_name() {
        let target = json!({"name": "made", "template": {"data": {"url": "x://{{ .user }}:{{ .pass_word }}"}}});
        let spec = json!({"target": target, "data": [], "dataFrom": [{"extract": {"key": "login"}}]});
        let variable = json!({"name": "v", "valueFrom": {"secretKeyRef": {"name": "made", "key": "port"}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "team"},
            "spec": {"containers": [{"env": [variable]}]}});
        let asked = asked(&[store("SecretStore", Some("team"), ""), external_secret("SecretStore", &spec), pod]);
        let members = asked.members("login");
        assert_eq!(members.keys().collect::<Vec<_>>(), ["pass_word", "port", VALUE, "user"]);
    }

    #[test]
    fn what_is_made_for_many_namespaces_is_asked_for_too() {
        let spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"}, "dataFrom": [{"extract": {"key": "k"}}]});
        let many = json!({"apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
            "metadata": {"name": "many"}, "spec": {"namespaces": ["a"], "externalSecretSpec": spec}});
        let asked = asked(&[store("ClusterSecretStore", None, "p/"), many]);
        assert_eq!(asked.value("p/k"), json!({VALUE: VALUE}).to_string());
    }

    #[test]
    fn access_keys_that_nothing_makes_are_made_by_hand() {
        let spec = json!({"target": {}, "dataFrom": [], "data": []});
        let data = json!({"target": {}, "dataFrom": [{"extract": {"key": "k"}}], "data": []});
        let used = |spec: &Value| vec![store("SecretStore", Some("team"), ""), external_secret("SecretStore", spec)];
        assert_eq!(asked(&used(&spec)).by_hand, Keys::new(), "nobody logs in");
        let keys = BTreeSet::from(["id".to_owned(), "key".to_owned()]);
        let named = ("team".to_owned(), "keys".to_owned());
        assert_eq!(asked(&used(&data)).by_hand, Keys::from([(named, keys)]));
        let mut with = used(&data);
        with.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "team"}}));
        assert_eq!(asked(&with).by_hand, Keys::new());
    }

    #[test]
    fn the_form_of_old_asks_by_itself() {
        let old = json!({"apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "old", "namespace": "team"},
            "spec": {"backendType": "secretsManager", "data": [{"key": "db", "name": "k", "property": "user"}]}});
        assert_eq!(asked(&[old]).value("db"), json!({"user": VALUE}).to_string());
    }
}
