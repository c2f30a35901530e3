//! To what a sealed value is bound.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

/// Annotation of the controller for [`Scope::NamespaceWide`].
const NAMESPACE_WIDE: &str = "sealedsecrets.bitnami.com/namespace-wide";
/// Annotation of the controller for [`Scope::ClusterWide`].
const CLUSTER_WIDE: &str = "sealedsecrets.bitnami.com/cluster-wide";

/// To what a sealed value is bound: elsewhere the controller cannot open it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To namespace and name.
    #[default]
    Strict,
    /// To the namespace.
    NamespaceWide,
    /// To nothing.
    ClusterWide,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strict, Self::NamespaceWide, Self::ClusterWide];

    /// As flags and kubeseal name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }

    /// The scope that annotations ask for; the wider one where both are there.
    pub fn of(annotations: &Map<String, Value>) -> Self {
        let is_set = |name| annotations.get(name).and_then(Value::as_str) == Some("true");
        match (is_set(CLUSTER_WIDE), is_set(NAMESPACE_WIDE)) {
            (true, _) => Self::ClusterWide,
            (false, true) => Self::NamespaceWide,
            (false, false) => Self::Strict,
        }
    }

    /// Makes annotations ask for this scope and no other.
    pub fn annotate(self, annotations: &mut Map<String, Value>) {
        annotations.remove(NAMESPACE_WIDE);
        annotations.remove(CLUSTER_WIDE);
        let name = match self {
            Self::Strict => return,
            Self::NamespaceWide => NAMESPACE_WIDE,
            Self::ClusterWide => CLUSTER_WIDE,
        };
        annotations.insert(name.to_owned(), Value::from("true"));
    }

    /// The RSA-OAEP label: the same is needed to open a value.
    pub fn label(self, namespace: &str, name: &str) -> String {
        match self {
            Self::Strict => format!("{namespace}/{name}"),
            Self::NamespaceWide => namespace.to_owned(),
            Self::ClusterWide => String::new(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or_else(|| "one of strict, namespace-wide, cluster-wide is expected".to_owned())
    }
}
