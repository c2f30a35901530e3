//! The controller's private keys, from backups.

use std::path::PathBuf;

use gitmoor_core::seal::{PrivateKey, Secret, private_keys};
use serde_json::Value;

use super::{
    input::{self, Object, Text},
    rejected,
};
use crate::{failure::Failure, terminal::Terminal};

/// Where the controller keeps the key in its Secrets.
const FIELD: &str = "tls.key";

/// Reads PEM files, and Secrets of the controller as `kubectl get secret -o yaml` prints them, also as a List.
pub(super) fn read(files: &[PathBuf], terminal: &mut Terminal) -> Result<Vec<PrivateKey>, Failure> {
    let mut keys = Vec::new();
    for file in files {
        let text = input::text(Some(file), "a private key", terminal)?;
        keys.extend(read_text(&text)?);
    }
    Ok(keys)
}

fn read_text(text: &Text) -> Result<Vec<PrivateKey>, Failure> {
    let Text { name, text: content } = text;
    if is_pem(content.expose()) {
        return private_keys(content.expose()).map_err(|error| unusable(name).because(&error));
    }
    let objects = input::objects(text).map_err(|failure| {
        failure.hint("a PEM file or Secrets of the controller are expected for --recovery-private-key")
    })?;
    let (secrets, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_secret);
    input::forget(others);
    let mut keys = Vec::new();
    for (place, secret) in input::each(secrets, name, "private key", Secret::read)? {
        let value = secret.value(FIELD).ok_or_else(|| unusable(&place).hint(format!("its data has no {FIELD}")))?;
        let pem = std::str::from_utf8(value).map_err(|_| unusable(&place))?;
        keys.extend(private_keys(pem).map_err(|error| unusable(&place).because(&error))?);
    }
    Ok(keys)
}

/// In a manifest the key is base64, or indented.
fn is_pem(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("-----BEGIN "))
}

fn is_secret(object: &Object) -> bool {
    object.value.get("kind").and_then(Value::as_str) == Some("Secret")
}

fn unusable(place: &str) -> Failure {
    rejected(format!("{place} holds no usable private key"))
}
