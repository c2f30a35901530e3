//! What identities start from and the cluster holds: tokens of ServiceAccounts, access keys in Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use gitmoor_core::object::{annotation, text_at};
use gitmoor_core::secrets::identity::{Base, KeyRef};
use gitmoor_core::sensitive::Sensitive;
use gitmoor_engine::aws::{AccessKeys, CredentialSource, IdentityToken};
use gitmoor_engine::cluster::Cluster;

use crate::objects;

/// Annotations of ServiceAccounts, as AWS' pod identity webhook reads them.
const ANNOTATION_ROLE: &str = "eks.amazonaws.com/role-arn";
const ANNOTATION_AUDIENCE: &str = "eks.amazonaws.com/audience";
const AUDIENCE: &str = "sts.amazonaws.com";

/// Reads them from the cluster.
pub(super) struct FromCluster {
    cluster: Cluster,
}

impl FromCluster {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}

impl CredentialSource for FromCluster {
    fn identity_token(&self, base: Base) -> BoxFuture<'static, Result<IdentityToken, String>> {
        let cluster = self.cluster.clone();
        async move {
            match base {
                Base::ServiceAccount { namespace, name, audiences } => {
                    identity_token(&cluster, &namespace, &name, audiences).await
                }
                Base::Agent | Base::Keys { .. } => Err("no ServiceAccount".to_owned()),
            }
        }
        .boxed()
    }

    fn access_keys(&self, base: Base) -> BoxFuture<'static, Result<AccessKeys, String>> {
        let cluster = self.cluster.clone();
        async move {
            match base {
                Base::Keys { access_key, secret_key, session_token } => Ok(AccessKeys {
                    access_key: read(&cluster, &access_key).await?,
                    secret_key: read(&cluster, &secret_key).await?,
                    session_token: match &session_token {
                        Some(key) => Some(read(&cluster, key).await?),
                        None => None,
                    },
                }),
                Base::Agent | Base::ServiceAccount { .. } => Err("no access keys".to_owned()),
            }
        }
        .boxed()
    }
}

async fn identity_token(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    audiences: Vec<String>,
) -> Result<IdentityToken, String> {
    let what = format!("ServiceAccount {namespace}/{name}");
    let account = cluster.get_metadata(&objects::service_accounts(), Some(namespace), name).await;
    let account = account.map_err(|error| format!("{what} cannot be read: {error}"))?;
    let account = account.ok_or_else(|| format!("{what} does not exist"))?;
    let role =
        annotation(&account, ANNOTATION_ROLE).ok_or_else(|| format!("{what} has no annotation {ANNOTATION_ROLE}"))?;
    let mut all = vec![annotation(&account, ANNOTATION_AUDIENCE).unwrap_or(AUDIENCE).to_owned()];
    all.extend(audiences);
    let token = cluster.service_account_token(namespace, name, &all).await;
    let token = token.map_err(|error| format!("no token for {what}: {error}"))?;
    Ok(IdentityToken { token, role: role.to_owned() })
}

async fn read(cluster: &Cluster, key: &KeyRef) -> Result<Sensitive<String>, String> {
    let what = format!("Secret {}/{}", key.namespace, key.name);
    let secret = cluster.get(&objects::secrets(), Some(&key.namespace), &key.name).await;
    let secret = secret.map_err(|error| format!("{what} cannot be read: {}", error.reason()))?;
    let secret = secret.ok_or_else(|| format!("{what} does not exist"))?;
    let text = text_at(&secret, &["data", &key.key]).and_then(|text| STANDARD.decode(text).ok());
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty()).map(Sensitive::new).ok_or_else(|| format!("{what} has no key {}", key.key))
}
