//! What an Argo CD that runs in the same cluster looks after: namespaces with Applications, and the objects that these
//! have made. Two that work on the same objects undo each other's work for ever.
//!
//! Sources: `manifests/base/application-controller*`, `util/security/application_namespaces.go`, `util/glob/list.go` and
//! `util/argo/resource_tracking.go` of Argo CD; argo-helm's chart `argo-cd`; argocd-operator's
//! `controllers/argocd/statefulset.go`.

mod owner;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::glob;
use crate::object::text_at;
use crate::tracking::ApplicationKey;

pub use owner::Owner;

/// Labels of the application controller, of whatever name: upstream's manifests, the chart and the operator set them.
pub const CONTROLLER_LABELS: &str =
    "app.kubernetes.io/part-of=argocd,app.kubernetes.io/component=application-controller";

/// Category of what is not done because of Argo CD.
pub const LEFT_TO_ARGO_CD: &str = "LeftToArgoCD";

const FLAG: &str = "--application-namespaces";
const VARIABLE: &str = "ARGOCD_APPLICATION_NAMESPACES";
/// Bytes that a compiled expression may take.
const LARGEST_EXPRESSION: usize = 1 << 20;

/// An application controller of Argo CD that is meant to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `StatefulSet` or `Deployment`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    patterns: Vec<Pattern>,
}

/// Namespaces, besides the controller's own, whose Applications it works on.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// `None` for a glob, and an error for an expression that cannot be read here.
    expression: Option<Result<Regex, ()>>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    fn read(text: &str) -> Self {
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let compiled = inner.map(|inner| RegexBuilder::new(inner).size_limit(LARGEST_EXPRESSION).build().map_err(drop));
        Self { text: text.to_owned(), expression: compiled }
    }

    /// An expression is looked for anywhere in the name. One that cannot be read (Argo CD's may look ahead) may mean any
    /// namespace, so that it takes in all of them: to do nothing is the safe mistake.
    fn matches(&self, namespace: &str) -> bool {
        match &self.expression {
            Some(Ok(expression)) => expression.is_match(namespace),
            Some(Err(())) => true,
            None => glob::matches(&self.text, namespace, None),
        }
    }
}

/// Whether a controller is meant to run, or still does. One that is not ready counts: while Argo CD is restarted or
/// upgraded it has none that is, and nobody may take its place for these seconds.
pub fn is_running(workload: &Value) -> bool {
    let number = |path: &str| workload.pointer(path).and_then(Value::as_i64);
    let deleted = workload["metadata"].get("deletionTimestamp").is_some();
    let wanted = if deleted { 0 } else { number("/spec/replicas").unwrap_or(1) };
    let there = ["/status/replicas", "/status/readyReplicas"].iter().any(|path| number(path).unwrap_or(0) > 0);
    wanted > 0 || there
}

/// Names of the ConfigMaps, in its own namespace, that say which Applications a controller follows.
pub fn config_maps(workload: &Value) -> BTreeSet<String> {
    containers(workload).flat_map(references).map(|reference| reference.config_map.to_owned()).collect()
}

impl Controller {
    /// Reads a StatefulSet or Deployment with [`CONTROLLER_LABELS`], and the ConfigMaps that it names, as far as they are
    /// there; `None` when it does not run.
    pub fn read(kind: &str, workload: &Value, config_maps: &BTreeMap<String, Value>) -> Option<Self> {
        if !is_running(workload) {
            return None;
        }
        let text = |path: &[&str]| text_at(workload, path).map(str::to_owned);
        let listed: BTreeSet<String> =
            containers(workload).flat_map(|container| listed(container, config_maps)).collect();
        Some(Self {
            kind: kind.to_owned(),
            namespace: text(&["metadata", "namespace"])?,
            name: text(&["metadata", "name"])?,
            patterns: listed.iter().map(|text| Pattern::read(text)).collect(),
        })
    }

    /// Whether it works on the Applications of a namespace.
    pub fn follows(&self, namespace: &str) -> bool {
        namespace == self.namespace || self.patterns.iter().any(|pattern| pattern.matches(namespace))
    }

    /// The namespaces that it follows, as it was told.
    pub fn followed(&self) -> String {
        let more = self.patterns.iter().map(|pattern| pattern.text.as_str());
        std::iter::once(self.namespace.as_str()).chain(more).collect::<Vec<_>>().join(", ")
    }

    /// What is said of the Applications of a namespace that it follows.
    pub fn sentence(&self, namespace: &str) -> String {
        format!("Argo CD works on the Applications of namespace {namespace} ({self}), and the agent leaves them alone")
    }

    /// What can be done about that.
    pub fn ways_out(&self, namespace: &str) -> Vec<String> {
        let Self { kind, namespace: own, name, .. } = self;
        let mut ways = vec![format!("stop it: kubectl scale {} {name} -n {own} --replicas 0", kind.to_lowercase())];
        if namespace != own {
            ways.push(format!("or take {namespace} out of its application.namespaces, and restart it"));
        }
        ways.push("or move the Application to a namespace that it does not follow: docs/migration.md".to_owned());
        ways
    }

    /// The Application of this controller that goes by a name in [`Owner`].
    fn application(&self, qualified: &str) -> Option<ApplicationKey> {
        let (namespace, name) = qualified.split_once('_').unwrap_or((&self.namespace, qualified));
        self.follows(namespace).then(|| ApplicationKey { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    workload.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

fn array<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A key of a ConfigMap.
struct Reference<'a> {
    config_map: &'a str,
    key: &'a str,
}

/// Where the variable comes from, the source that counts first; none when it is written there, or unset.
fn references(container: &Value) -> Vec<Reference<'_>> {
    if flags(container).is_some() {
        return Vec::new();
    }
    let own = array(container, "env").iter().rev().find(|variable| variable["name"] == VARIABLE);
    if let Some(variable) = own {
        let reference = &variable["valueFrom"]["configMapKeyRef"];
        let named = reference["name"].as_str().zip(reference["key"].as_str());
        return named.map(|(config_map, key)| Reference { config_map, key }).into_iter().collect();
    }
    let whole = array(container, "envFrom").iter().rev();
    let named = whole.filter_map(|source| {
        let key = VARIABLE.strip_prefix(source["prefix"].as_str().unwrap_or_default())?;
        Some(Reference { config_map: source["configMapRef"]["name"].as_str()?, key })
    });
    named.collect()
}

/// What the flag says, in all its occurrences; it counts more than the variable.
fn flags(container: &Value) -> Option<Vec<&str>> {
    let words: Vec<&str> =
        ["command", "args"].iter().flat_map(|field| array(container, field)).filter_map(Value::as_str).collect();
    let values: Vec<&str> = words
        .iter()
        .enumerate()
        .filter_map(|(position, word)| match word.strip_prefix(FLAG)? {
            "" => Some(words.get(position + 1).copied().unwrap_or_default()),
            rest => rest.strip_prefix('='),
        })
        .collect();
    (!values.is_empty()).then_some(values)
}

fn listed(container: &Value, config_maps: &BTreeMap<String, Value>) -> Vec<String> {
    let written = || {
        let variable = array(container, "env").iter().rev().find(|variable| variable["name"] == VARIABLE)?;
        variable["value"].as_str()
    };
    let elsewhere = || {
        let texts = references(container);
        let mut texts =
            texts.iter().map(|reference| config_maps.get(reference.config_map)?["data"][reference.key].as_str());
        texts.find_map(|text| text)
    };
    let texts = flags(container).unwrap_or_else(|| written().or_else(elsewhere).into_iter().collect());
    let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
