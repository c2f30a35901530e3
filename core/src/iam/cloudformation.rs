//! All of it as one CloudFormation template that deploys as it is (with `CAPABILITY_NAMED_IAM`).
//!
//! Static keys never stand in the template: CloudFormation puts them straight from IAM into Secrets Manager.
//! Properties: AWS CloudFormation template reference, `AWS::IAM::*` and `AWS::SecretsManager::Secret`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Attached, Declaration, Documents, Policy, Principal, Profile};

/// Sessions of people, in seconds: a working day.
const SESSION: u32 = 8 * 60 * 60;

/// The template.
pub fn template(documents: &Documents) -> Value {
    let mut resources = Map::new();
    for (file, (policy, attached)) in policies(documents) {
        resources.insert(id("Policy", file), managed_policy(file, policy, attached));
    }
    for attached in &documents.declared {
        add_declared(documents, attached, &mut resources);
    }
    for profile in &documents.profiles {
        add_profile(documents, profile, &mut resources);
    }
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Roles and users of the platform. Written by `gitmoor iam --output cloudformation`.",
        "Resources": resources,
    })
}

/// A policy file with the logical ids of those who have it.
#[derive(Default)]
struct Attachments {
    roles: Vec<String>,
    users: Vec<String>,
}

/// Each file once, however many roles use it. The policies name their roles: one resource says all about a file.
fn policies(documents: &Documents) -> BTreeMap<&str, (&Policy, Attachments)> {
    let mut policies: BTreeMap<&str, (&Policy, Attachments)> = BTreeMap::new();
    for Attached { declaration, policy } in &documents.declared {
        let (Some(file), Some(policy)) = (declaration.policy.as_deref(), policy) else { continue };
        let (_, attached) = policies.entry(file).or_insert_with(|| (policy, Attachments::default()));
        let whose = match &declaration.principal {
            Principal::AddedTo { declaration: other } => documents.find(other).map(|found| &found.declaration),
            _ => Some(declaration),
        };
        match whose.map(|whose| (&whose.principal, &whose.name)) {
            Some((Principal::User { .. }, name)) => attached.users.push(id("User", name)),
            Some((Principal::ServiceAccount { .. } | Principal::AssumedBy { .. }, name)) => {
                attached.roles.push(id("Role", name));
            }
            // A finding of `gitmoor iam check`.
            Some((Principal::AddedTo { .. }, _)) | None => {}
        }
    }
    for profile in &documents.profiles {
        let Some(role) = documents.profile_roles.0.get(&profile.role) else { continue };
        for file in &role.policies {
            let Some(policy) = documents.profile_policies.get(file) else { continue };
            let (_, attached) = policies.entry(file).or_insert_with(|| (policy, Attachments::default()));
            attached.roles.push(id("ProfileRole", &profile.username.to_string()));
        }
    }
    policies
}

fn managed_policy(file: &str, policy: &Policy, attached: Attachments) -> Value {
    let mut properties =
        json!({ "Description": format!("distribution/iam/{file}"), "PolicyDocument": policy.document() });
    for (field, ids) in [("Roles", attached.roles), ("Users", attached.users)] {
        if !ids.is_empty() {
            properties[field] = ids.into_iter().map(|id| json!({ "Ref": id })).collect();
        }
    }
    resource("AWS::IAM::ManagedPolicy", properties)
}

fn add_declared(documents: &Documents, attached: &Attached, resources: &mut Map<String, Value>) {
    let declaration = &attached.declaration;
    match &declaration.principal {
        Principal::ServiceAccount { role, .. } | Principal::AssumedBy { role, .. } => {
            let resolve = |other: &Declaration, _: &_| json!({ "Fn::GetAtt": [id("Role", &other.name), "Arn"] });
            let mut properties = json!({
                "RoleName": role.name,
                "Path": role.path,
                "AssumeRolePolicyDocument": documents.trust_policy(declaration, resolve),
            });
            add_managed(&mut properties, &declaration.managed_policies);
            if let Some(description) = &declaration.description {
                properties["Description"] = json!(description);
            }
            resources.insert(id("Role", &declaration.name), resource("AWS::IAM::Role", properties));
        }
        Principal::AddedTo { .. } => {}
        Principal::User { name, secret } => {
            let mut properties = json!({ "UserName": name });
            add_managed(&mut properties, &declaration.managed_policies);
            let keys = [("AWS_ACCESS_KEY_ID", "${KEY}"), ("AWS_SECRET_ACCESS_KEY", "${KEY.SecretAccessKey}")];
            let literals = [("AWS_DEFAULT_REGION", documents.account.region.clone())];
            add_user(&declaration.name, properties, resources);
            add_secret(&declaration.name, secret, &keys, &literals, resources);
        }
    }
}

fn add_profile(documents: &Documents, profile: &Profile, resources: &mut Map<String, Value>) {
    let name = profile.username.to_string();
    let Some(role) = documents.profile_roles.0.get(&profile.role) else { return };
    let role_arn = profile.role_arn(&documents.account);
    let user = json!({ "Fn::GetAtt": [id("User", &name), "Arn"] });
    let mut properties = json!({
        "RoleName": role_arn.name,
        "Path": role_arn.path,
        "MaxSessionDuration": SESSION,
        "AssumeRolePolicyDocument": documents.profile_trust_policy(profile, user),
        "Policies": [{ "PolicyName": "own-secret", "PolicyDocument": documents.own_secret_policy(profile) }],
    });
    add_managed(&mut properties, &role.managed_policies);
    resources.insert(id("ProfileRole", &name), resource("AWS::IAM::Role", properties));
    add_user(&name, json!({ "UserName": name }), resources);
    let (first, last) = profile.names();
    let literals = [
        ("username", name.clone()),
        ("email", profile.email.clone()),
        ("role", profile.role.clone()),
        ("firstName", first),
        ("lastName", last),
        ("AWS_role", role_arn.to_string()),
    ];
    let keys = [("ACCESS_KEY_ID", "${KEY}"), ("SECRET_ACCESS_KEY", "${KEY.SecretAccessKey}")];
    add_secret(&name, &name, &keys, &literals, resources);
}

/// Policies that AWS manages.
fn add_managed(properties: &mut Value, arns: &[String]) {
    if !arns.is_empty() {
        properties["ManagedPolicyArns"] = json!(arns);
    }
}

fn resource(kind: &str, properties: Value) -> Value {
    json!({ "Type": kind, "Properties": properties })
}

/// The user and its access key.
fn add_user(name: &str, properties: Value, resources: &mut Map<String, Value>) {
    let user = id("User", name);
    resources.insert(id("Key", name), resource("AWS::IAM::AccessKey", json!({ "UserName": { "Ref": user } })));
    resources.insert(user, resource("AWS::IAM::User", properties));
}

/// The secret with the access key and `literals`, as JSON that CloudFormation completes.
fn add_secret(
    name: &str,
    secret: &str,
    keys: &[(&str, &str)],
    literals: &[(&str, String)],
    resources: &mut Map<String, Value>,
) {
    let mut content = Map::new();
    for (key, reference) in keys {
        content.insert((*key).to_owned(), json!(reference.replace("KEY", &id("Key", name))));
    }
    for (key, value) in literals {
        // `${!x}` is how Fn::Sub writes `${x}`.
        content.insert((*key).to_owned(), json!(value.replace("${", "${!")));
    }
    let properties = json!({ "Name": secret, "SecretString": { "Fn::Sub": Value::Object(content).to_string() } });
    resources.insert(id("Secret", name), resource("AWS::SecretsManager::Secret", properties));
}

/// A logical id: letters and digits. Words that start with a letter stay apart by their capitals; where a name has other
/// characters, a digest keeps two of them apart.
fn id(kind: &str, name: &str) -> String {
    let name = name.strip_suffix(".json").unwrap_or(name);
    let mut text = kind.to_owned();
    let mut plain = true;
    for word in name.split(['-', '.', '/']) {
        plain &= word.starts_with(|c: char| c.is_ascii_lowercase());
        plain &= word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let mut letters = word.chars().filter(char::is_ascii_alphanumeric);
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.extend(letters);
    }
    if !plain {
        let digest = Sha256::digest(name);
        text.push_str(&digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::documents::tests::{POLICY, declaration, files, read};
    use super::*;

    fn example() -> Value {
        let reader =
            "assumedBy: web\nnamespace: other\nrole: arn:aws:iam::123456789012:role/reader\npolicy: web.json\n";
        let files = files(&[
            ("web.yaml", &declaration("web", "web", "p/web")),
            ("reader.yaml", reader),
            ("keys.yaml", "user: platform-keys\nsecret: platform/keys\npolicy: web.json\n"),
            ("more.yaml", "addedTo: keys\npolicy: more.json\n"),
            ("even-more.yaml", "addedTo: web\npolicy: more.json\n"),
            ("web.json", POLICY),
            ("more.json", POLICY),
        ]);
        let profiles = "profiles:\n- {username: ada.lovelace, email: a@example.com, role: User, firstName: Ada M.}\n";
        template(&read(&files, profiles).unwrap())
    }

    #[test]
    fn every_role_has_trust_and_policy() {
        let template = example();
        let resources = template["Resources"].as_object().unwrap();
        let names: Vec<_> = resources.keys().map(String::as_str).collect();
        let expected = [
            "KeyAdaLovelace",
            "KeyKeys",
            "PolicyMore",
            "PolicyProfilesUser",
            "PolicyWeb",
            "ProfileRoleAdaLovelace",
            "RoleReader",
            "RoleWeb",
            "SecretAdaLovelace",
            "SecretKeys",
            "UserAdaLovelace",
            "UserKeys",
        ];
        assert_eq!(names, expected);
        let role = &resources["RoleWeb"]["Properties"];
        assert_eq!((role["RoleName"].as_str(), role["Path"].as_str()), (Some("web"), Some("/p/")));
        let policy = &resources["PolicyWeb"]["Properties"];
        assert_eq!(policy["Roles"], json!([{ "Ref": "RoleReader" }, { "Ref": "RoleWeb" }]));
        assert_eq!(policy["Users"], json!([{ "Ref": "UserKeys" }]));
        let added = &resources["PolicyMore"]["Properties"];
        assert_eq!(
            (&added["Roles"], &added["Users"]),
            (&json!([{ "Ref": "RoleWeb" }]), &json!([{ "Ref": "UserKeys" }]))
        );
        let trust = &resources["RoleReader"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0];
        assert_eq!(trust["Principal"]["AWS"]["Fn::GetAtt"][0], "RoleWeb");
    }

    #[test]
    fn keys_of_users_go_straight_into_their_secret() {
        let template = example();
        let content =
            template["Resources"]["SecretAdaLovelace"]["Properties"]["SecretString"]["Fn::Sub"].as_str().unwrap();
        let content: Value = serde_json::from_str(content).unwrap();
        assert_eq!(content["ACCESS_KEY_ID"], "${KeyAdaLovelace}");
        assert_eq!(content["SECRET_ACCESS_KEY"], "${KeyAdaLovelace.SecretAccessKey}");
        assert_eq!(content["firstName"], "Ada M.");
        assert_eq!(content["AWS_role"], "arn:aws:iam::123456789012:role/mlplatform-access-ada-lovelace");
        let role = &template["Resources"]["ProfileRoleAdaLovelace"]["Properties"];
        assert_eq!(role["MaxSessionDuration"], 28_800);
        assert_eq!(role["AssumeRolePolicyDocument"]["Statement"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn ids_stay_apart() {
        let names = ["a-b", "ab", "a-1", "a1", "aB", "a_b", "a.1", "a-b.json-"];
        let ids: std::collections::BTreeSet<_> = names.iter().map(|name| id("Role", name)).collect();
        assert_eq!(ids.len(), names.len(), "{ids:?}");
        assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric())));
    }
}
