//! Who names which role in the rendered tree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::object::{annotation, group_of, text_at};

/// The annotation by which EKS gives pods a role.
const ANNOTATION_ROLE: &str = "eks.amazonaws.com/role-arn";
/// Namespaces that every cluster has.
const BUILT_IN: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What names a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// A ServiceAccount, by its annotation.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An ExternalSecret, or a store of them; the agent assumes the role.
    Secrets {
        /// Kind of the object.
        kind: String,
        /// Its namespace; none for a ClusterSecretStore.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServiceAccount { namespace, name } => write!(f, "ServiceAccount {namespace}/{name}"),
            Self::Secrets { kind, namespace: Some(namespace), name } => write!(f, "{kind} {namespace}/{name}"),
            Self::Secrets { kind, namespace: None, name } => write!(f, "{kind} {name}"),
        }
    }
}

/// A role that is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleUse {
    /// By what.
    pub user: User,
    /// The ARN, as it stands there.
    pub role: String,
}

/// What a tree says about roles.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// Roles that are named.
    pub roles: BTreeSet<RoleUse>,
    /// ServiceAccounts by namespace and name, with the role that each is annotated with.
    pub service_accounts: BTreeMap<(String, String), Option<String>>,
    /// Namespaces that the tree makes, or that are there anyway.
    pub namespaces: BTreeSet<String>,
}

impl Uses {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { namespaces: BUILT_IN.map(str::to_owned).into(), ..Self::default() }
    }

    /// Takes up one object of an Application whose objects go to `destination` when they name no namespace.
    pub fn add(&mut self, object: &Value, destination: Option<&str>) {
        let namespace = text_at(object, &["metadata", "namespace"]).or(destination).unwrap_or("default").to_owned();
        let name = text_at(object, &["metadata", "name"]).unwrap_or_default().to_owned();
        let kind = text_at(object, &["kind"]).unwrap_or_default();
        let group = group_of(text_at(object, &["apiVersion"]).unwrap_or_default());
        match (group, kind) {
            ("", "Namespace") => {
                self.namespaces.insert(name);
            }
            ("", "ServiceAccount") => {
                let role = annotation(object, ANNOTATION_ROLE).map(str::to_owned);
                let user = User::ServiceAccount { namespace: namespace.clone(), name: name.clone() };
                self.roles.extend(role.clone().map(|role| RoleUse { user, role }));
                self.service_accounts.insert((namespace, name), role);
            }
            // Without it, there would be no Application to begin with.
            ("argoproj.io", "Application") => {
                self.namespaces.insert(namespace);
            }
            ("kubernetes-client.io", "ExternalSecret") => {
                let role = text_at(object, &["spec", "roleArn"]);
                self.secrets(kind, Some(namespace), &name, role);
            }
            ("external-secrets.io", "SecretStore" | "ClusterSecretStore") => {
                let namespace = Some(namespace).filter(|_| kind == "SecretStore");
                let aws = &object["spec"]["provider"]["aws"];
                let more = aws["additionalRoles"].as_array().into_iter().flatten().filter_map(Value::as_str);
                self.secrets(kind, namespace, &name, text_at(aws, &["role"]).into_iter().chain(more));
            }
            _ => {}
        }
    }

    fn secrets<'r>(
        &mut self,
        kind: &str,
        namespace: Option<String>,
        name: &str,
        roles: impl IntoIterator<Item = &'r str>,
    ) {
        let user = User::Secrets { kind: kind.to_owned(), namespace, name: name.to_owned() };
        self.roles.extend(roles.into_iter().map(|role| RoleUse { user: user.clone(), role: role.to_owned() }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_name_a_role_is_seen() {
        let mut uses = Uses::new();
        let named = |name: &str| json!({"name": name, "namespace": "web"});
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "plain"}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "web", "namespace": "web", "annotations": {ANNOTATION_ROLE: "one"}}}),
            json!({"apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": named("old"),
                "spec": {"roleArn": "two"}}),
            json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": named("store"),
                "spec": {"provider": {"aws": {"role": "three", "additionalRoles": ["four"]}}}}),
            json!({"apiVersion": "external-secrets.io/v1beta1", "kind": "ClusterSecretStore", "metadata": {"name": "all"},
                "spec": {"provider": {"aws": {"role": "five"}}}}),
            json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": named("new")}),
        ] {
            uses.add(&object, Some("destination"));
        }
        let found: Vec<_> = uses.roles.iter().map(|found| format!("{} {}", found.user, found.role)).collect();
        let expected = [
            "ServiceAccount web/web one",
            "ClusterSecretStore all five",
            "ExternalSecret web/old two",
            "SecretStore web/store four",
            "SecretStore web/store three",
        ];
        assert_eq!(found, expected);
        assert_eq!(uses.service_accounts[&("destination".to_owned(), "plain".to_owned())], None);
        assert!(uses.namespaces.contains("web") && uses.namespaces.contains("kube-system"));
    }
}
