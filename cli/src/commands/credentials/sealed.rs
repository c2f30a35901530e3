//! The sealed files: what is in them, and what they become.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use gitmoor_core::{
    credentials::{Credentials, Plan, SecretDeclaration, Situation, Values},
    seal::{Certificate, Keep, SealError, SealedSecret, SealingKey, Secret},
    sensitive::Sensitive,
    template::{Matcher, substitute},
    yaml::{Limits, read_documents, write_document},
};
use serde_json::{Map, Value, json};

use super::{NewFile, not_made};
use crate::{
    distribution::Distribution,
    failure::{Exit, Failure},
};

/// SealedSecrets as they are now, by the position of their declaration.
pub(super) type Old = BTreeMap<usize, SealedSecret>;

/// What is sealed already.
pub(super) fn situation(
    credentials: &Credentials,
    active: BTreeSet<usize>,
    distribution: &Distribution,
) -> Result<(Situation, Old), Failure> {
    let mut old = Old::new();
    for index in &active {
        let Some(secret) = credentials.secrets.get(*index) else { continue };
        // As it is on the disk: what init puts in would be a change.
        if let Some(text) = distribution.raw_text(&secret.file)? {
            old.insert(*index, present(secret, &text, &distribution.path_of(&secret.file))?);
        }
    }
    let sealed = old.iter().map(|(index, sealed)| (*index, sealed.names().cloned().collect())).collect();
    Ok((Situation { active, sealed }, old))
}

fn present(secret: &SecretDeclaration, text: &str, path: &Path) -> Result<SealedSecret, Failure> {
    let SecretDeclaration { namespace, name, .. } = secret;
    let wrong = |reason: String| {
        let mut failure = Failure::new(Exit::Rejected, format!("{} is wrong; nothing was written", path.display()));
        failure.causes.push(reason);
        failure
    };
    let documents = read_documents(text, &Limits::default())
        .map_err(|errors| wrong(errors.first().map(ToString::to_string).unwrap_or_default()))?;
    let [document] = <[_; 1]>::try_from(documents)
        .map_err(|_| wrong(format!("it must hold the SealedSecret {namespace}/{name} and nothing else")))?;
    let sealed = SealedSecret::read(document.value).map_err(|error| wrong(error.to_string()))?;
    if (sealed.namespace(), sealed.name()) == (namespace, name) {
        Ok(sealed)
    } else {
        Err(wrong(format!("it holds {}/{}, not {namespace}/{name}", sealed.namespace(), sealed.name())))
    }
}

/// Generates what the plan names, and seals it.
pub(super) fn files(
    credentials: &Credentials,
    plan: &Plan,
    mut old: Old,
    values: &mut Values<'_>,
    certificate: &Certificate,
    now: jiff::Timestamp,
    distribution: &Distribution,
) -> Result<Vec<NewFile>, Failure> {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut files = Vec::new();
    for (index, keys) in &plan.write {
        let Some(secret) = credentials.secrets.get(*index) else { continue };
        let mut data = BTreeMap::new();
        for (key, reference) in secret.data.iter().filter(|(key, _)| keys.contains(*key)) {
            let value = values.get(reference).map_err(not_made)?;
            refuse_placeholders(secret, key, &value)?;
            data.insert(key.as_str(), value);
        }
        let path = distribution.path_of(&secret.file);
        let sealed = seal(secret, data, old.remove(index), certificate.key(), &now).map_err(|error| {
            Failure::new(Exit::Rejected, format!("cannot seal {}; nothing was written", path.display())).because(&error)
        })?;
        files.push(NewFile { path, text: write_document(&sealed.into_value()) });
    }
    Ok(files)
}

/// A whole new SealedSecret, or the old one with some values renewed and all others as they are.
fn seal(
    secret: &SecretDeclaration,
    data: BTreeMap<&str, Sensitive<String>>,
    old: Option<SealedSecret>,
    key: &SealingKey,
    now: &str,
) -> Result<SealedSecret, SealError> {
    if let Some(mut sealed) = old {
        for (name, value) in data {
            sealed.replace(name, &Sensitive::new(value.expose().as_bytes().to_vec()), key, now, &[])?;
        }
        return Ok(sealed);
    }
    let SecretDeclaration { namespace, name, secret_type, labels, .. } = secret;
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "type": secret_type.as_deref().unwrap_or("Opaque"),
    });
    if !labels.is_empty() {
        object["metadata"]["labels"] = json!(labels);
    }
    // Wiped by `Secret::read`.
    let strings: Map<String, Value> =
        data.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.expose().as_str()))).collect();
    object["stringData"] = Value::Object(strings);
    Secret::read(object)?.seal(key, now, Keep::default())
}

/// A placeholder in a sealed value is one that nobody would ever find.
fn refuse_placeholders(secret: &SecretDeclaration, key: &str, value: &Sensitive<String>) -> Result<(), Failure> {
    let none = Matcher::new([]).map_err(|error| Failure::new(Exit::Rejected, "cannot search").because(&error))?;
    let Some(found) = substitute(value.expose().as_bytes(), &none).left_over.into_iter().next() else { return Ok(()) };
    let SecretDeclaration { namespace, name, .. } = secret;
    let message = format!("{} has no value, and would be sealed into {namespace}/{name} key {key}", found.token);
    Err(Failure::new(Exit::Rejected, message)
        .hint("run `gitmoor init setup.conf`, or name a setup.conf with --setup-conf"))
}
