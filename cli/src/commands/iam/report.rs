//! The declared roles, for people and as JSON.

use gitmoor_core::iam::{Attached, Declaration, Documents, Principal, Profile, RoleArn};
use serde_json::{Value, json};

use crate::terminal::{Style, Terminal};

/// The version of the JSON document; it grows when a reader of the old one could be misled.
const FORMAT: u32 = 1;

/// One paragraph a role: who, trust policy, permissions.
pub(super) fn print(documents: &Documents, terminal: &mut Terminal) {
    for attached in &documents.declared {
        print_declared(documents, attached, terminal);
    }
    for profile in &documents.profiles {
        let role = profile.role_arn(&documents.account);
        terminal.data(Style::Bold, &role.to_string());
        terminal.data(Style::Plain, &format!("  of {} ({}), for 8 hours at a time", profile.username, profile.role));
        let policies = documents.profile_roles.0.get(&profile.role).map(|role| role.policies.join(", "));
        terminal.data(Style::Plain, &format!("  may: {}, and read its own secret", policies.unwrap_or_default()));
        print_trust(&documents.profile_trust_policy(profile, user_arn(documents, profile)), terminal);
    }
    for left_out in &documents.inactive {
        terminal.message(&format!("left out: {} ({})", left_out.name, left_out.reason));
    }
}

fn print_declared(documents: &Documents, attached: &Attached, terminal: &mut Terminal) {
    let declaration = &attached.declaration;
    let (title, user) = match &declaration.principal {
        Principal::ServiceAccount { namespace, name, role } => {
            (role.to_string(), format!("ServiceAccount {namespace}/{name}"))
        }
        Principal::AssumedBy { declaration, namespace, role } => {
            (role.to_string(), format!("{declaration}, for the namespace {namespace}"))
        }
        Principal::User { name, secret } => (format!("user {name}"), format!("static keys in the secret {secret}")),
        Principal::AddedTo { declaration: other } => (declaration.name.clone(), format!("{other}, in addition")),
    };
    terminal.data(Style::Bold, &title);
    terminal.data(Style::Plain, &format!("  of {user}"));
    let policies = declaration.policy.iter().chain(&declaration.managed_policies);
    let policies: Vec<&str> = policies.map(String::as_str).collect();
    terminal.data(
        Style::Plain,
        &format!("  may: {}", if policies.is_empty() { "nothing".to_owned() } else { policies.join(", ") }),
    );
    print_trust(&documents.trust_policy(declaration, literal), terminal);
}

fn print_trust(trust: &Value, terminal: &mut Terminal) {
    if trust.is_null() {
        return;
    }
    let text = serde_json::to_string_pretty(trust).unwrap_or_default();
    terminal.data(Style::Plain, "  trust policy:");
    text.lines().for_each(|line| terminal.data(Style::Plain, &format!("    {line}")));
}

/// A principal in a document that stands on its own.
fn literal(_: &Declaration, role: &RoleArn) -> Value {
    Value::String(role.to_string())
}

fn user_arn(documents: &Documents, profile: &Profile) -> Value {
    let account = &documents.account;
    Value::String(format!("arn:{}:iam::{}:user/{}", account.partition, account.id, profile.username))
}

/// The one document of `--output json`.
pub(super) fn json(documents: &Documents) -> Value {
    let declared: Vec<Value> = documents.declared.iter().map(|attached| json_declared(documents, attached)).collect();
    let profiles: Vec<Value> = documents.profiles.iter().map(|profile| json_profile(documents, profile)).collect();
    let left_out: Vec<Value> = documents
        .inactive
        .iter()
        .map(|inactive| json!({ "declaration": inactive.name, "reason": inactive.reason }))
        .collect();
    json!({
        "format": FORMAT,
        "account": documents.account,
        "declared": declared,
        "profiles": profiles,
        "leftOut": left_out,
    })
}

fn json_declared(documents: &Documents, Attached { declaration, policy }: &Attached) -> Value {
    let mut entry = json!({
        "declaration": declaration.name,
        "description": declaration.description,
        "application": declaration.application,
        "managedPolicies": declaration.managed_policies,
        "policyFile": declaration.policy,
        "policy": policy.as_ref().map(gitmoor_core::iam::Policy::document),
    });
    let who = match &declaration.principal {
        Principal::ServiceAccount { namespace, name, role } => {
            json!({ "role": role.to_string(), "namespace": namespace, "serviceAccount": name })
        }
        Principal::AssumedBy { declaration, namespace, role } => {
            json!({ "role": role.to_string(), "namespace": namespace, "assumedBy": declaration })
        }
        Principal::User { name, secret } => json!({ "user": name, "secret": secret }),
        Principal::AddedTo { declaration } => json!({ "addedTo": declaration }),
    };
    if let (Some(entry), Value::Object(who)) = (entry.as_object_mut(), who) {
        entry.extend(who);
    }
    entry["trustPolicy"] = documents.trust_policy(declaration, literal);
    entry
}

fn json_profile(documents: &Documents, profile: &Profile) -> Value {
    let role = documents.profile_roles.0.get(&profile.role);
    let policies = role.map(|role| {
        let named = |file: &String| Some((file.clone(), documents.profile_policies.get(file)?.document().clone()));
        role.policies.iter().filter_map(named).collect::<serde_json::Map<_, _>>()
    });
    json!({
        "username": profile.username,
        "email": profile.email,
        "profileRole": profile.role,
        "role": profile.role_arn(&documents.account).to_string(),
        "namespace": profile.namespace(),
        "policies": policies,
        "managedPolicies": role.map(|role| &role.managed_policies),
        "ownSecretPolicy": documents.own_secret_policy(profile),
        "trustPolicy": documents.profile_trust_policy(profile, user_arn(documents, profile)),
    })
}
