//! What a person has in the cluster: one file of manifests each, so that a line of `profiles.yaml` is a file.

use std::fmt::Write as _;

use super::{Account, Profile, ProfileRole};

/// The first line of a file that was written here; any other file is somebody's own.
pub const HEADER: &str = "# Written by `gitmoor iam profiles` from profiles.yaml. Change that and run it again.\n";

/// The ServiceAccount in which notebooks and jobs of the person run. Kubeflow gives it this name too.
pub(super) const SERVICE_ACCOUNT: &str = "default-editor";

/// Name of the person's file.
pub fn file_name(profile: &Profile) -> String {
    format!("{}.yaml", profile.username.slug())
}

/// The person's namespace with all that is in it.
pub fn manifests(profile: &Profile, role: &ProfileRole, account: &Account) -> String {
    let parts = [
        namespace(profile),
        service_account(profile, account),
        role_binding(profile, role),
        quota(profile, role),
        LIMITS.replace("NAMESPACE", &profile.namespace()),
        NETWORK.replace("NAMESPACE", &profile.namespace()),
        SECRET
            .replace("NAMESPACE", &profile.namespace())
            .replace("REGION", &quoted(&account.region))
            .replace("USERNAME", &quoted(&profile.username.to_string())),
    ];
    format!("{HEADER}{}", parts.join("---\n"))
}

/// Text as YAML, whatever is in it: JSON's form of a text is one of YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn metadata(name: &str, profile: &Profile) -> String {
    format!("metadata:\n  name: {name}\n  namespace: {}\n", profile.namespace())
}

fn namespace(profile: &Profile) -> String {
    let (name, email) = (profile.namespace(), quoted(&profile.email));
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         app.kubernetes.io/part-of: mlplatform\n    pod-security.kubernetes.io/enforce: baseline\n    \
         pod-security.kubernetes.io/warn: restricted\n  annotations:\n    gitmoor.dev/owner: {email}\n"
    )
}

fn service_account(profile: &Profile, account: &Account) -> String {
    let metadata = metadata(SERVICE_ACCOUNT, profile);
    let role = profile.role_arn(account);
    format!(
        "apiVersion: v1\nkind: ServiceAccount\n{metadata}  annotations:\n    eks.amazonaws.com/role-arn: {role}\n\
         # A token for AWS is mounted by EKS itself.\nautomountServiceAccountToken: false\n"
    )
}

fn role_binding(profile: &Profile, role: &ProfileRole) -> String {
    let (metadata, email) = (metadata("owner", profile), quoted(&profile.email));
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{metadata}roleRef:\n  \
         apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: {}\nsubjects:\n  \
         - apiGroup: rbac.authorization.k8s.io\n    kind: User\n    name: {email}\n",
        role.cluster_role
    )
}

fn quota(profile: &Profile, role: &ProfileRole) -> String {
    let mut text = format!("apiVersion: v1\nkind: ResourceQuota\n{}spec:\n  hard:\n", metadata("quota", profile));
    for (resource, amount) in &role.quota {
        let _ = writeln!(text, "    {resource}: {}", quoted(amount));
    }
    text
}

const LIMITS: &str = "\
# The quota refuses a container without requests; these keep a forgotten one from failing.
apiVersion: v1
kind: LimitRange
metadata:
  name: defaults
  namespace: NAMESPACE
spec:
  limits:
    - type: Container
      defaultRequest:
        cpu: 100m
        memory: 256Mi
      default:
        memory: 1Gi
";

const NETWORK: &str = "\
# Pods reach out, and only pods of the same namespace reach in.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: own-namespace
  namespace: NAMESPACE
spec:
  podSelector: {}
  policyTypes:
    - Ingress
  ingress:
    - from:
        - podSelector: {}
";

const SECRET: &str = "\
# Read with the person's own role, which may read this one secret.
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata:
  name: own-secret
  namespace: NAMESPACE
spec:
  provider:
    aws:
      service: SecretsManager
      region: REGION
      auth:
        jwt:
          serviceAccountRef:
            name: default-editor
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: profile
  namespace: NAMESPACE
spec:
  refreshInterval: 1h
  secretStoreRef:
    kind: SecretStore
    name: own-secret
  target:
    name: profile
  dataFrom:
    - extract:
        key: USERNAME
";

#[cfg(test)]
mod tests {
    use super::super::account::tests::account;
    use super::super::profile::tests::{profiles, roles};
    use super::*;
    use crate::yaml::{Limits, read_documents};

    #[test]
    fn a_person_has_a_namespace_with_everything_in_it() {
        let people = profiles("profiles:\n- {username: ada.lovelace, email: ada+1@example.com, role: User}\n").unwrap();
        let text = manifests(&people[0], &roles().0["User"], &account());
        assert!(text.starts_with(HEADER));
        let objects: Vec<_> = read_documents(&text, &Limits::default()).unwrap().into_iter().map(|d| d.value).collect();
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        let expected = [
            "Namespace",
            "ServiceAccount",
            "RoleBinding",
            "ResourceQuota",
            "LimitRange",
            "NetworkPolicy",
            "SecretStore",
            "ExternalSecret",
        ];
        assert_eq!(kinds, expected);
        for object in &objects[1..] {
            assert_eq!(object["metadata"]["namespace"], "user-ada-lovelace");
        }
        let role = &objects[1]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
        assert_eq!(role, "arn:aws:iam::123456789012:role/mlplatform-access-ada-lovelace");
        assert_eq!(objects[2]["subjects"][0]["name"], "ada+1@example.com");
        assert_eq!(objects[3]["spec"]["hard"]["pods"], "5");
        assert_eq!(objects[7]["spec"]["dataFrom"][0]["extract"]["key"], "ada.lovelace");
        assert_eq!(file_name(&people[0]), "ada-lovelace.yaml");
    }
}
