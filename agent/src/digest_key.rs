//! The key of the digests of Secrets: made once per installation, kept in a Secret of the agent's namespace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::names::DIGEST_KEY_SECRET;
use gitmoor_core::object::text_at;
use gitmoor_core::sensitive::Sensitive;
use gitmoor_engine::cluster::{Cluster, ClusterError};
use serde_json::{Value, json};

use crate::objects;

const KEY: &str = "key";

/// Reads the key, or makes it. Losing it costs one more apply of every Secret.
pub(crate) async fn read_or_create(cluster: &Cluster, namespace: &str) -> Result<Sensitive<Vec<u8>>, ClusterError> {
    if let Some(secret) = cluster.get(&objects::secrets(), Some(namespace), DIGEST_KEY_SECRET).await? {
        return read(&secret);
    }
    let key = Sensitive::new(random()?);
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": DIGEST_KEY_SECRET, "namespace": namespace},
        "data": {KEY: STANDARD.encode(key.expose())},
    });
    match cluster.create(&objects::secrets(), Some(namespace), &object).await {
        Ok(_) => Ok(key),
        // Another agent was faster; its key is the one.
        Err(error) if error.is_conflict() => {
            let secret = cluster.get(&objects::secrets(), Some(namespace), DIGEST_KEY_SECRET).await?;
            read(&secret.unwrap_or(Value::Null))
        }
        Err(error) => Err(error),
    }
}

fn read(secret: &Value) -> Result<Sensitive<Vec<u8>>, ClusterError> {
    let decoded = text_at(secret, &["data", KEY]).and_then(|text| STANDARD.decode(text).ok());
    decoded.filter(|key| key.len() >= 16).map(Sensitive::new).ok_or_else(|| {
        ClusterError::Configuration(format!(
            "Secret {DIGEST_KEY_SECRET} has no usable data.{KEY}; delete it, and the agent makes another"
        ))
    })
}

fn random() -> Result<Vec<u8>, ClusterError> {
    let mut bytes = vec![0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ClusterError::Configuration(format!("no random numbers: {error}")))?;
    Ok(bytes)
}
