//! What would keep a role from being assumed, or let the wrong one assume it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Attached, Documents, Principal, RoleArn, RoleUse, User, Uses};

/// What is known of the tree.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// What the rendered objects say.
    pub uses: Uses,
    /// Applications of which every object was rendered.
    pub rendered: BTreeSet<String>,
    /// Every Application there is, selected or not; empty when it is not known.
    pub known: BTreeSet<String>,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A role that two ServiceAccounts, or a ServiceAccount and the agent, use.
    SharedRole,
    /// An ARN in another account or partition, or none at all.
    WrongArn,
    /// A declaration without a policy file, or with one that is not there.
    MissingPolicy,
    /// A policy file that no declaration names.
    UnusedPolicy,
    /// A namespace that the tree does not make.
    UnknownNamespace,
    /// A role in the tree that nobody declared.
    UndeclaredRole,
    /// A ServiceAccount whose annotation is another role than the declared one.
    RoleDiffers,
    /// A declared ServiceAccount that its Application does not have.
    MissingServiceAccount,
    /// A role that is to be assumed by another one, whose policy does not let it.
    MayNotAssume,
    /// A declaration that names another one, or an Application, that is not there.
    UnknownName,
    /// A person's file that is not what `profiles.yaml` says.
    StaleProfile,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedRole => "shared role",
            Self::WrongArn => "wrong ARN",
            Self::MissingPolicy => "missing policy",
            Self::UnusedPolicy => "unused policy",
            Self::UnknownNamespace => "unknown namespace",
            Self::UndeclaredRole => "undeclared role",
            Self::RoleDiffers => "role differs",
            Self::MissingServiceAccount => "missing ServiceAccount",
            Self::MayNotAssume => "may not assume",
            Self::UnknownName => "unknown name",
            Self::StaleProfile => "stale profile",
        })
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it is about.
    pub check: Kind,
    /// The file below `distribution/iam/`, or the object of the rendered tree.
    pub subject: String,
    /// What is wrong, and the way out.
    pub message: String,
}

fn finding(check: Kind, subject: impl ToString, message: impl Into<String>) -> Finding {
    Finding { check, subject: subject.to_string(), message: message.into() }
}

/// All findings, sorted.
pub fn check(documents: &Documents, scene: &Scene) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        documents.declared.iter().flat_map(|attached| of_declaration(documents, attached, scene)).collect();
    findings.extend(shared_roles(documents, scene));
    findings.extend(scene.uses.roles.iter().filter_map(|found| of_use(documents, found)));
    findings.extend(foreign_resources(documents));
    let unused =
        |file: &String| finding(Kind::UnusedPolicy, file, "no declaration names it; delete it or declare its role");
    findings.extend(documents.unused_policies.iter().map(unused));
    findings.sort();
    findings
}

fn of_declaration(documents: &Documents, attached: &Attached, scene: &Scene) -> Vec<Finding> {
    let Attached { declaration, policy } = attached;
    let mut findings = Vec::new();
    let mut add = |check, message: String| findings.push(finding(check, format!("{}.yaml", declaration.name), message));
    match (&declaration.policy, policy) {
        (Some(file), None) => add(Kind::MissingPolicy, format!("its policy {file} is not there")),
        (None, _) if declaration.managed_policies.is_empty() => {
            add(Kind::MissingPolicy, "it names no policy: the role may do nothing".to_owned());
        }
        _ => {}
    }
    if let Some(role) = declaration.principal.role().filter(|role| is_foreign(role, documents)) {
        let own = &documents.account;
        add(Kind::WrongArn, format!("{role} is not in the account {} of the partition {}", own.id, own.partition));
    }
    let namespace = declaration.principal.namespace().filter(|name| !scene.uses.namespaces.contains(*name));
    if let Some(application) = declaration.application.as_ref().filter(|name| is_unknown(name, scene)) {
        // Its namespace would come with it.
        add(Kind::UnknownName, format!("no Application is called {application}"));
    } else if let Some(namespace) = namespace {
        add(Kind::UnknownNamespace, format!("nothing in the tree makes the namespace {namespace}"));
    }
    match &declaration.principal {
        Principal::AssumedBy { declaration: other, role, .. } => {
            let assuming = documents.find(other).filter(|found| found.declaration.principal.role().is_some());
            let policy = assuming.map(|found| found.policy.as_ref());
            match policy {
                None => add(Kind::UnknownName, format!("it is assumed by {other}, and {other}.yaml declares no role")),
                Some(Some(policy)) if !policy.may_allow("sts:AssumeRole", &role.to_string()) => {
                    let text =
                        format!("it is assumed by {other}, whose policy does not allow sts:AssumeRole on {role}");
                    add(Kind::MayNotAssume, text);
                }
                // Without a policy file, that is the finding.
                Some(_) => {}
            }
        }
        Principal::ServiceAccount { namespace, name, role } => {
            let key = (namespace.clone(), name.clone());
            let complete = declaration.application.as_ref().is_some_and(|name| scene.rendered.contains(name));
            match scene.uses.service_accounts.get(&key) {
                None if complete => {
                    add(Kind::MissingServiceAccount, format!("the tree has no ServiceAccount {namespace}/{name}"));
                }
                Some(None) => {
                    let text =
                        format!("ServiceAccount {namespace}/{name} has no annotation eks.amazonaws.com/role-arn");
                    add(Kind::RoleDiffers, text);
                }
                Some(Some(other)) if *other != role.to_string() => {
                    add(
                        Kind::RoleDiffers,
                        format!("ServiceAccount {namespace}/{name} is annotated with {other}, not {role}"),
                    );
                }
                _ => {}
            }
        }
        Principal::AddedTo { declaration: other } => {
            let target = documents.find(other).map(|found| &found.declaration.principal);
            if target.is_none_or(|target| matches!(target, Principal::AddedTo { .. })) {
                add(
                    Kind::UnknownName,
                    format!("it is added to {other}, and {other}.yaml declares no role and no user"),
                );
            }
        }
        Principal::User { .. } => {}
    }
    findings
}

fn is_unknown(application: &str, scene: &Scene) -> bool {
    !scene.known.is_empty() && !scene.known.contains(application)
}

fn is_foreign(role: &RoleArn, documents: &Documents) -> bool {
    role.account != documents.account.id || role.partition != documents.account.partition
}

/// Two users of one role, declared or rendered. Objects through which the agent assumes a role may share it.
fn shared_roles(documents: &Documents, scene: &Scene) -> Vec<Finding> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Attached { declaration, .. } in &documents.declared {
        if let (Some(role), Some(user)) = (declaration.principal.role(), described(&declaration.principal)) {
            users.entry(role.to_string()).or_default().insert(user);
        }
    }
    for RoleUse { user, role } in &scene.uses.roles {
        if let User::ServiceAccount { .. } = user {
            users.entry(role.clone()).or_default().insert(user.to_string());
        }
    }
    let shared = users.into_iter().filter(|(_, users)| users.len() > 1);
    shared
        .map(|(role, users)| {
            let users: Vec<String> = users.into_iter().collect();
            finding(Kind::SharedRole, role, format!("{} use it: give each a role of its own", users.join(" and ")))
        })
        .collect()
}

fn described(principal: &Principal) -> Option<String> {
    match principal {
        Principal::ServiceAccount { namespace, name, .. } => Some(format!("ServiceAccount {namespace}/{name}")),
        Principal::AssumedBy { declaration, namespace, .. } => Some(format!("{declaration} for {namespace}")),
        Principal::User { .. } | Principal::AddedTo { .. } => None,
    }
}

/// A role that the tree names and nobody declared, or declared for somebody else.
fn of_use(documents: &Documents, found: &RoleUse) -> Option<Finding> {
    let role = match RoleArn::parse(&found.role) {
        Ok(role) => role,
        Err(error) => return Some(finding(Kind::WrongArn, &found.user, error.to_string())),
    };
    if is_declared(documents, found, &role) {
        return None;
    }
    if is_foreign(&role, documents) {
        let own = &documents.account;
        let message = format!("{role} is not in the account {} of the partition {}", own.id, own.partition);
        return Some(finding(Kind::WrongArn, &found.user, message));
    }
    let message = format!("{role} is not declared for it in distribution/iam");
    Some(finding(Kind::UndeclaredRole, &found.user, message))
}

fn is_declared(documents: &Documents, found: &RoleUse, role: &RoleArn) -> bool {
    let declared = documents.declared.iter().any(|Attached { declaration, .. }| {
        declaration.principal.role() == Some(role)
            && match (&declaration.principal, &found.user) {
                (
                    Principal::ServiceAccount { namespace, name, .. },
                    User::ServiceAccount { namespace: at, name: user },
                ) => (namespace, name) == (at, user),
                (Principal::AssumedBy { namespace, .. }, User::Secrets { namespace: at, .. }) => {
                    at.as_ref().is_none_or(|at| at == namespace)
                }
                _ => false,
            }
    });
    let of_profile = |namespace: &String| {
        let mut profiles = documents.profiles.iter();
        profiles.any(|profile| profile.namespace() == *namespace && profile.role_arn(&documents.account) == *role)
    };
    declared || matches!(&found.user, User::ServiceAccount { namespace, .. } if of_profile(namespace))
}

fn foreign_resources(documents: &Documents) -> Vec<Finding> {
    let declared = documents
        .declared
        .iter()
        .filter_map(|Attached { declaration, policy }| Some((declaration.policy.clone()?, policy.as_ref()?)));
    let all: BTreeMap<_, _> =
        declared.chain(documents.profile_policies.iter().map(|(file, policy)| (file.clone(), policy))).collect();
    let foreign = all.into_iter().flat_map(|(file, policy)| {
        let resources = policy.foreign_resources(&documents.account);
        resources.into_iter().map(move |resource| (file.clone(), resource))
    });
    foreign
        .map(|(file, arn)| finding(Kind::WrongArn, file, format!("{arn} is in another account or partition")))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::documents::tests::{POLICY, declaration, files, read};
    use super::*;

    fn scene(objects: &[Value]) -> Scene {
        let mut uses = Uses::new();
        uses.add(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}), None);
        objects.iter().for_each(|object| uses.add(object, Some("web")));
        let web: BTreeSet<String> = ["web".to_owned()].into();
        Scene { uses, rendered: web.clone(), known: web }
    }

    fn account(name: &str, role: Option<&str>) -> Value {
        let annotations = role.map(|role| json!({"eks.amazonaws.com/role-arn": format!("arn:aws:iam::{role}")}));
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "annotations": annotations}})
    }

    const ASSUMES: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",
        "Resource":"arn:aws:iam::123456789012:role/read*"}]}"#;
    const OWN: &str = "123456789012:role/web";

    fn found(more: &[(&str, &str)], objects: &[Value]) -> Vec<(Kind, String)> {
        let documents = read(&files(more), "").unwrap();
        let findings = check(&documents, &scene(objects));
        let used = |finding: &Finding| finding.subject != "profiles/user.json";
        findings.into_iter().filter(used).map(|finding| (finding.check, finding.subject)).collect()
    }

    #[test]
    fn a_tree_that_is_right_has_no_findings() {
        let web = declaration("web", "web", "web");
        let store = json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "s"},
            "spec": {"provider": {"aws": {"role": "arn:aws:iam::123456789012:role/reader"}}}});
        let reader = "assumedBy: web\nnamespace: web\nrole: arn:aws:iam::123456789012:role/reader\npolicy: web.json\n";
        let more = "addedTo: web\npolicy: web.json\n";
        let files = [("web.yaml", web.as_str()), ("web.json", ASSUMES), ("reader.yaml", reader), ("more.yaml", more)];
        assert_eq!(found(&files, &[account("web", Some(OWN)), store]), []);
    }

    #[test]
    fn each_fault_is_found() {
        let web = declaration("web", "web", "web");
        let base = [("web.yaml", web.as_str()), ("web.json", POLICY)];
        let own = account("web", Some(OWN));
        let case = |more: &[(&str, &str)], objects: &[Value]| found(&[&base, more].concat(), objects);
        let twin = declaration("web", "twin", "web");
        let foreign = twin.replace("123456789012:role/web", "999999999999:role/twin");
        let nowhere = declaration("web", "web", "other").replace("namespace: web", "namespace: nowhere");
        let rebound = [(
            "web.json",
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a","Resource":"arn:aws-cn:s3:::b"}]}"#,
        )];
        let astray = "assumedBy: nobody\nnamespace: web\nrole: arn:aws:iam::123456789012:role/r\npolicy: web.json\n";
        let other = astray.replace("nobody", "web");
        for (expected, more, objects) in [
            (Kind::MayNotAssume, vec![("r.yaml", other.as_str()), ("web.json", ASSUMES)], vec![own.clone()]),
            (Kind::SharedRole, vec![("twin.yaml", twin.as_str())], vec![own.clone(), account("twin", Some(OWN))]),
            (
                Kind::WrongArn,
                vec![("twin.yaml", foreign.as_str())],
                vec![own.clone(), account("twin", Some("999999999999:role/twin"))],
            ),
            (Kind::WrongArn, rebound.to_vec(), vec![own.clone()]),
            (Kind::WrongArn, vec![], vec![own.clone(), account("twin", Some("nonsense"))]),
            (Kind::MissingPolicy, vec![("k.yaml", "user: u\nsecret: s\n")], vec![own.clone()]),
            (Kind::MissingPolicy, vec![("k.yaml", "user: u\nsecret: s\npolicy: none.json\n")], vec![own.clone()]),
            (Kind::UnusedPolicy, vec![("lost.json", POLICY)], vec![own.clone()]),
            (Kind::UnknownNamespace, vec![("n.yaml", nowhere.as_str())], vec![own.clone()]),
            (Kind::UndeclaredRole, vec![], vec![own.clone(), account("twin", Some("123456789012:role/twin"))]),
            (Kind::RoleDiffers, vec![], vec![account("web", None)]),
            (Kind::MissingServiceAccount, vec![], vec![]),
            (Kind::UnknownName, vec![("a.yaml", astray)], vec![own.clone()]),
            (Kind::UnknownName, vec![("m.yaml", "addedTo: nobody\npolicy: web.json\n")], vec![own.clone()]),
        ] {
            let kinds: Vec<Kind> = case(&more, &objects).into_iter().map(|(kind, _)| kind).collect();
            assert!(kinds.contains(&expected), "{expected:?} not in {kinds:?}");
        }
    }
}
