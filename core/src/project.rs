//! AppProjects: what the Applications of a project may read and write.
//!
//! Fields and matching are Argo CD's (`pkg/apis/application/v1alpha1/{types,app_project_types}.go`). What is refused
//! is refused with the project and its rule.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::application::{ApplicationSpec, IN_CLUSTER_URL};
use crate::glob;
use crate::object::ObjectId;

/// Name of the project of Applications that name none.
pub const DEFAULT: &str = "default";

/// `spec` of an AppProject.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectSpec {
    /// For people.
    pub description: String,
    /// Globs of repositories; `!` refuses.
    pub source_repos: Vec<String>,
    /// Where Applications may go.
    pub destinations: Vec<Destination>,
    /// Cluster-scoped kinds that are allowed; none when empty.
    pub cluster_resource_whitelist: Vec<KindPattern>,
    /// Cluster-scoped kinds that are not.
    pub cluster_resource_blacklist: Vec<KindPattern>,
    /// Namespaced kinds that are allowed; all when missing.
    pub namespace_resource_whitelist: Option<Vec<KindPattern>>,
    /// Namespaced kinds that are not.
    pub namespace_resource_blacklist: Vec<KindPattern>,
    /// Namespaces, besides the agent's own, whose Applications may be of the project.
    pub source_namespaces: Vec<String>,
    /// As whom objects are applied.
    pub destination_service_accounts: Vec<ServiceAccount>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// One of `spec.destinations`; globs, where `!` refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Destination {
    /// Of the API server's URL.
    pub server: String,
    /// Of the cluster's name.
    pub name: String,
    /// Of the namespace.
    pub namespace: String,
}

/// Globs of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KindPattern {
    /// Of the API group.
    pub group: String,
    /// Of the kind.
    pub kind: String,
    /// Of the name, for cluster-scoped objects; any when empty.
    pub name: String,
}

/// One of `spec.destinationServiceAccounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccount {
    /// Glob of the API server's URL.
    pub server: String,
    /// Glob of the namespace.
    pub namespace: String,
    /// `NAME`, in the namespace of the destination, or `NAMESPACE:NAME`.
    pub default_service_account: String,
}

/// A project.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Version of the object, which tells whether it has changed.
    pub version: String,
    /// What it says.
    pub spec: ProjectSpec,
}

/// Something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such project.
    #[error("AppProject {0} does not exist; create it in the agent's namespace, or correct spec.project")]
    Missing(String),
    /// It cannot be read, or says something that would not be kept.
    #[error("AppProject {project}: {reason}")]
    Unusable {
        /// The project.
        project: String,
        /// Why.
        reason: String,
    },
    /// A rule of the project refuses it.
    #[error("AppProject {project} does not allow {what}; see its spec.{rule}")]
    Refused {
        /// The project.
        project: String,
        /// What is refused.
        what: String,
        /// The field of its spec.
        rule: &'static str,
    },
}

/// Fields that only concern Argo CD's own users, or what is not judged here.
const HARMLESS: [&str; 4] = ["roles", "orphanedResources", "permitOnlyProjectScopedClusters", "syncWindows"];

impl Project {
    /// Reads an AppProject.
    pub fn read(object: &Value) -> Result<Self, Refusal> {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("resourceVersion"));
        let spec = object.get("spec").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let unusable = |reason: String| Refusal::Unusable { project: text("name"), reason };
        let spec: ProjectSpec = serde_json::from_value(spec).map_err(|error| unusable(error.to_string()))?;
        // What would narrow the project down is never passed over.
        let unknown = spec.unsupported().find(|field| !HARMLESS.contains(field)).map(str::to_owned);
        if let Some(field) = unknown {
            return Err(unusable(format!("spec.{field} is not supported; remove it, or wait for a version that does")));
        }
        Ok(Self { name, version, spec })
    }

    /// Fields that are set and have no effect.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.spec.unsupported().map(|field| format!("spec.{field} of AppProject {}", self.name))
    }

    fn refuse(&self, what: String, rule: &'static str) -> Refusal {
        Refusal::Refused { project: self.name.clone(), what, rule }
    }

    /// Whether an Application may be of this project, and reads and goes where it may. `agent_namespace` may always.
    pub fn judge(&self, spec: &ApplicationSpec, namespace: &str, agent_namespace: &str) -> Result<(), Refusal> {
        let here = namespace == agent_namespace;
        if !here && !self.spec.source_namespaces.iter().any(|pattern| glob::matches(pattern, namespace, None)) {
            return Err(self.refuse(format!("Applications in namespace {namespace}"), "sourceNamespaces"));
        }
        let refused = spec.sources().iter().find(|source| !self.allows_source(&source.repo_url));
        if let Some(source) = refused {
            let what = format!("the repository {}", without_credentials(&source.repo_url));
            return Err(self.refuse(what, "sourceRepos"));
        }
        let target = spec.destination.namespace.as_deref().unwrap_or_default();
        if !self.allows_namespace(target) {
            return Err(self.refuse(format!("the destination {IN_CLUSTER_URL}, namespace `{target}`"), "destinations"));
        }
        Ok(())
    }

    /// Whether something may be read from a repository.
    pub fn judge_repository(&self, address: &str) -> Result<(), Refusal> {
        if self.allows_source(address) {
            return Ok(());
        }
        Err(self.refuse(format!("the repository {}", without_credentials(address)), "sourceRepos"))
    }

    /// Whether an object may be applied.
    pub fn judge_object(&self, id: &ObjectId) -> Result<(), Refusal> {
        let spec = &self.spec;
        let listed = |list: &[KindPattern]| list.iter().any(|pattern| pattern.fits(id));
        let Some(namespace) = &id.namespace else {
            if !listed(&spec.cluster_resource_whitelist) {
                return Err(self.refuse(id.to_string(), "clusterResourceWhitelist"));
            }
            if listed(&spec.cluster_resource_blacklist) {
                return Err(self.refuse(id.to_string(), "clusterResourceBlacklist"));
            }
            return Ok(());
        };
        if spec.namespace_resource_whitelist.as_ref().is_some_and(|list| !listed(list)) {
            return Err(self.refuse(id.to_string(), "namespaceResourceWhitelist"));
        }
        if listed(&spec.namespace_resource_blacklist) {
            return Err(self.refuse(id.to_string(), "namespaceResourceBlacklist"));
        }
        if !self.allows_namespace(namespace) {
            return Err(self.refuse(id.to_string(), "destinations"));
        }
        Ok(())
    }

    /// The user that objects are applied as; `None`: the agent itself.
    pub fn user(&self, namespace: &str) -> Result<Option<String>, Refusal> {
        let accounts = &self.spec.destination_service_accounts;
        if accounts.is_empty() {
            return Ok(None);
        }
        let fits = |account: &&ServiceAccount| {
            globs(&account.server, IN_CLUSTER_URL, None) && globs(&account.namespace, namespace, None)
        };
        let rule = "destinationServiceAccounts";
        let account = accounts.iter().find(fits).map(|account| account.default_service_account.as_str());
        let Some(account) = account else {
            return Err(self.refuse(format!("namespace `{namespace}`, for which it names no ServiceAccount"), rule));
        };
        let (namespace, name) = account.split_once(':').unwrap_or((namespace, account));
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        };
        if !is_name(namespace) || !is_name(name) {
            return Err(self.refuse(format!("the ServiceAccount `{account}`, which is no name"), rule));
        }
        Ok(Some(format!("system:serviceaccount:{namespace}:{name}")))
    }

    fn allows_source(&self, url: &str) -> bool {
        let url = normal_url(url);
        let mut allowed = false;
        for pattern in &self.spec.source_repos {
            match pattern.strip_prefix('!') {
                Some(refused) if glob::matches(&normal_url(refused), &url, Some('/')) => return false,
                Some(_) => allowed = true,
                None => allowed |= globs(&normal_url(pattern), &url, Some('/')),
            }
        }
        allowed
    }

    fn allows_namespace(&self, namespace: &str) -> bool {
        let fits = |pattern: &str, text: &str| match pattern.strip_prefix('!') {
            Some(refused) => !glob::matches(refused, text, None),
            None => globs(pattern, text, None),
        };
        let mut allowed = false;
        for item in &self.spec.destinations {
            let cluster = (!item.server.is_empty() && fits(item.server.trim_end_matches('/'), IN_CLUSTER_URL))
                || (!item.name.is_empty() && fits(&item.name, "in-cluster"));
            let fitting = fits(&item.namespace, namespace);
            if cluster && fitting {
                allowed = true;
            } else if (cluster && item.namespace.starts_with('!'))
                || (fitting && (item.server.starts_with('!') || item.name.starts_with('!')))
            {
                return false;
            }
        }
        allowed
    }
}

impl ProjectSpec {
    fn unsupported(&self) -> impl Iterator<Item = &str> {
        let said =
            |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && *value != serde_json::json!([]);
        self.rest.iter().filter(move |(_, value)| said(value)).map(|(field, _)| field.as_str())
    }
}

impl KindPattern {
    fn fits(&self, id: &ObjectId) -> bool {
        globs(&self.group, &id.group_kind.group, None)
            && globs(&self.kind, &id.group_kind.kind, None)
            && (self.name.is_empty() || globs(&self.name, &id.name, None))
    }
}

/// A lone `*` reaches across separators.
fn globs(pattern: &str, text: &str, separator: Option<char>) -> bool {
    pattern == "*" || glob::matches(pattern, text, separator)
}

/// Addresses that name the same repository are equal: case of the host, user, and `.git` aside.
fn normal_url(url: &str) -> String {
    let url = without_credentials(url.trim());
    let url = url.strip_suffix('/').unwrap_or(&url);
    url.strip_suffix(".git").unwrap_or(url).to_lowercase()
}

/// An address may carry a password.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.find('/').unwrap_or(rest.len());
    let from = rest[..host].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[from..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::GroupKind;

    fn project(spec: Value) -> Project {
        Project::read(&json!({"metadata": {"name": "team"}, "spec": spec})).unwrap()
    }

    fn id(group: &str, kind: &str, namespace: Option<&str>) -> ObjectId {
        ObjectId { group_kind: GroupKind::new(group, kind), namespace: namespace.map(str::to_owned), name: "a".into() }
    }

    #[test]
    fn sources_are_allowed_and_refused() {
        for (patterns, url, allowed) in [
            (json!([]), "https://git/a", false),
            (json!(["*"]), "https://git/a/b", true),
            (json!(["https://git/team/*"]), "https://git/team/one.git", true),
            (json!(["https://git/team/*"]), "https://git/team/one/two", false),
            (json!(["https://git/team/**"]), "https://git/team/one/two", true),
            (json!(["https://GIT/one.git"]), "https://user:secret@git/one", true),
            (json!(["*", "!https://git/other/*"]), "https://git/other/a", false),
            (json!(["!https://git/other/*"]), "https://git/mine/a", true),
            (json!(["https://git/one"]), "https://evil@git.evil/one", false),
        ] {
            assert_eq!(project(json!({"sourceRepos": patterns})).allows_source(url), allowed, "{patterns} {url}");
        }
    }

    #[test]
    fn destinations_are_allowed_and_refused() {
        let server = "https://kubernetes.default.svc";
        for (items, namespace, allowed) in [
            (json!([]), "a", false),
            (json!([{"server": "*", "namespace": "*"}]), "a", true),
            (json!([{"server": server, "namespace": "team-*"}]), "team-a", true),
            (json!([{"server": server, "namespace": "team-*"}]), "kube-system", false),
            (json!([{"name": "in-cluster", "namespace": "a"}]), "a", true),
            (json!([{"server": "https://elsewhere", "namespace": "*"}]), "a", false),
            (
                json!([{"server": "*", "namespace": "*"}, {"server": server, "namespace": "!kube-*"}]),
                "kube-system",
                false,
            ),
            (json!([{"server": server, "namespace": "!kube-system"}]), "a", true),
            (
                json!([{"server": format!("!{server}"), "namespace": "a"}, {"server": "*", "namespace": "*"}]),
                "a",
                false,
            ),
        ] {
            assert_eq!(
                project(json!({"destinations": items})).allows_namespace(namespace),
                allowed,
                "{items} {namespace}"
            );
        }
    }

    #[test]
    fn kinds_are_allowed_by_scope() {
        let everywhere = json!([{"server": "*", "namespace": "*"}]);
        let of = |mut spec: Value| {
            spec["destinations"] = everywhere.clone();
            project(spec)
        };
        let (map, role) = (id("", "ConfigMap", Some("a")), id("rbac.authorization.k8s.io", "ClusterRole", None));
        assert_eq!(of(json!({})).judge_object(&map), Ok(()));
        let error = of(json!({})).judge_object(&role).unwrap_err();
        assert_eq!(
            error.to_string(),
            "AppProject team does not allow ClusterRole.rbac.authorization.k8s.io a; see its spec.clusterResourceWhitelist"
        );
        let all = json!([{"group": "*", "kind": "*"}]);
        assert_eq!(of(json!({"clusterResourceWhitelist": all})).judge_object(&role), Ok(()));
        let both = json!({"clusterResourceWhitelist": all, "clusterResourceBlacklist": [{"group": "rbac*", "kind": "Cluster*"}]});
        assert!(of(both).judge_object(&role).is_err());
        assert!(
            of(json!({"namespaceResourceWhitelist": [{"group": "apps", "kind": "*"}]})).judge_object(&map).is_err()
        );
        assert!(
            of(json!({"namespaceResourceBlacklist": [{"group": "", "kind": "ConfigMap"}]})).judge_object(&map).is_err()
        );
        assert!(project(json!({"destinations": [{"server": "*", "namespace": "b"}]})).judge_object(&map).is_err());
    }

    #[test]
    fn objects_are_applied_as_the_first_service_account_that_fits() {
        let accounts = json!([
            {"server": "https://kubernetes.default.svc", "namespace": "team-*", "defaultServiceAccount": "deployer"},
            {"server": "*", "namespace": "shared", "defaultServiceAccount": "platform:shared"},
        ]);
        let project = project(json!({"destinationServiceAccounts": accounts}));
        assert_eq!(project.user("team-a").unwrap().unwrap(), "system:serviceaccount:team-a:deployer");
        assert_eq!(project.user("shared").unwrap().unwrap(), "system:serviceaccount:platform:shared");
        assert!(project.user("kube-system").is_err(), "nobody is named, so that nobody may");
        assert_eq!(self::project(json!({})).user("a"), Ok(None));
        let hostile = json!([{"server": "*", "namespace": "*", "defaultServiceAccount": "a:b:c"}]);
        assert!(self::project(json!({"destinationServiceAccounts": hostile})).user("a").is_err());
    }

    #[test]
    fn what_would_narrow_a_project_down_is_never_passed_over() {
        let with = |spec: Value| Project::read(&json!({"metadata": {"name": "team"}, "spec": spec}));
        assert!(with(json!({"signatureKeys": [{"keyID": "4AEE18F83AFDEB23"}]})).is_err());
        assert!(with(json!({"sourceRepos": "x"})).is_err());
        let project = with(json!({"roles": [{"name": "x"}], "orphanedResources": {"warn": true}})).unwrap();
        let warnings: Vec<_> = project.warnings().collect();
        assert_eq!(warnings, ["spec.orphanedResources of AppProject team", "spec.roles of AppProject team"]);
    }

    #[test]
    fn applications_of_other_namespaces_are_named() {
        let spec = json!({"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}], "sourceNamespaces": ["team-*"]});
        let project = project(spec);
        let spec = ApplicationSpec::read(&json!({"spec": {"source": {"repoURL": "https://git/a"}}})).unwrap();
        assert_eq!(project.judge(&spec, "team-a", "gitmoor"), Ok(()));
        assert_eq!(project.judge(&spec, "gitmoor", "gitmoor"), Ok(()));
        assert!(project.judge(&spec, "other", "gitmoor").unwrap_err().to_string().contains("sourceNamespaces"));
    }
}
