//! Credentials of identities: roles assumed one after the other, on top of what they start from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use aws_sdk_sts::types::Tag;
use futures::future::BoxFuture;
use gitmoor_core::secrets::identity::{AssumedRole, Base, Identity};
use gitmoor_core::sensitive::Sensitive;
use tokio::sync::Mutex;

use super::AwsError;
use super::error::NotAssumed;

/// Credentials are renewed so long before they end.
const EARLY: Duration = Duration::from_secs(300);
/// Access keys from Secrets are looked up again so often.
const KEYS_LIVE: Duration = Duration::from_secs(300);
const SESSION_NAME: &str = "gitmoor-agent";

/// A token of a ServiceAccount, and the role that it is for.
#[derive(Clone, Debug)]
pub struct IdentityToken {
    /// The token.
    pub token: Sensitive<String>,
    /// ARN of the role.
    pub role: String,
}

/// Access keys.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    /// Access key id.
    pub access_key: Sensitive<String>,
    /// Secret access key.
    pub secret_key: Sensitive<String>,
    /// Session token.
    pub session_token: Option<Sensitive<String>>,
}

/// What identities start from and only the cluster knows.
pub trait CredentialSource: Send + Sync + 'static {
    /// A token for a ServiceAccount, made for AWS. The error says what is missing.
    fn identity_token(&self, base: Base) -> BoxFuture<'static, std::result::Result<IdentityToken, String>>;
    /// Access keys that stand in Secrets. The error says what is missing.
    fn access_keys(&self, base: Base) -> BoxFuture<'static, std::result::Result<AccessKeys, String>>;
}

/// The credentials of an identity; `None` for the agent's own.
pub(super) fn provider(
    own: &SdkConfig,
    identity: &Identity,
    region: Option<&String>,
    source: &Arc<dyn CredentialSource>,
) -> Option<SharedCredentialsProvider> {
    let config = |provider: Option<SharedCredentialsProvider>| {
        let mut config = own.to_builder();
        if let Some(region) = region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(provider) = provider {
            // It keeps them itself; the SDK's cache would hold on to them until seconds before they end.
            config = config.credentials_provider(provider).identity_cache(IdentityCache::no_cache());
        }
        config.build()
    };
    let base = match &identity.base {
        Base::Agent => None,
        base @ Base::ServiceAccount { .. } => Some(Origin::ServiceAccount(base.clone())),
        base @ Base::Keys { .. } => Some(Origin::Keys(base.clone())),
    };
    let mut provider = base.map(|origin| Kept::shared(origin, &config(None), Arc::clone(source)));
    for role in &identity.roles {
        let next = Kept::shared(Origin::Role(role.clone()), &config(provider.take()), Arc::clone(source));
        provider = Some(next);
    }
    provider
}

#[derive(Debug)]
enum Origin {
    Role(AssumedRole),
    ServiceAccount(Base),
    Keys(Base),
}

/// Credentials that are kept until shortly before they end, for all clients of an identity together.
struct Kept {
    origin: Origin,
    sts: aws_sdk_sts::Client,
    source: Arc<dyn CredentialSource>,
    last: Mutex<Option<Credentials>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl ProvideCredentials for Kept {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

impl Kept {
    fn shared(origin: Origin, config: &SdkConfig, source: Arc<dyn CredentialSource>) -> SharedCredentialsProvider {
        let sts = aws_sdk_sts::Client::new(config);
        SharedCredentialsProvider::new(Self { origin, sts, source, last: Mutex::default() })
    }

    async fn get(&self) -> Result {
        let mut last = self.last.lock().await;
        let now = SystemTime::now();
        let good = |credentials: &Credentials| credentials.expiry().is_some_and(|end| end > now + EARLY);
        if let Some(credentials) = last.as_ref().filter(|credentials| good(credentials)) {
            return Ok(credentials.clone());
        }
        let fresh = match &self.origin {
            Origin::Role(role) => self.assume(role).await,
            Origin::ServiceAccount(base) => self.web_identity(base).await,
            Origin::Keys(base) => self.access_keys(base).await,
        };
        match (fresh, last.as_ref()) {
            (Ok(fresh), _) => {
                *last = Some(fresh.clone());
                Ok(fresh)
            }
            // They are renewed early, so what there is may do for the moment.
            (Err(_), Some(old)) if old.expiry().is_some_and(|end| end > now) => Ok(old.clone()),
            (Err(error), _) => Err(error),
        }
    }

    async fn assume(&self, role: &AssumedRole) -> Result {
        let mut request = self
            .sts
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(SESSION_NAME)
            .set_external_id(role.external_id.clone());
        for (key, value) in &role.tags {
            request = request.tags(Tag::builder().key(key).value(value).build().map_err(CredentialsError::unhandled)?);
        }
        if !role.transitive_tags.is_empty() {
            request = request.set_transitive_tag_keys(Some(role.transitive_tags.clone()));
        }
        let answer = request.send().await.map_err(|error| refused(&role.arn, AwsError::from(error)))?;
        session(&role.arn, answer.credentials)
    }

    async fn web_identity(&self, base: &Base) -> Result {
        let token = self.source.identity_token(base.clone()).await.map_err(CredentialsError::provider_error)?;
        let request = self.sts.assume_role_with_web_identity().role_arn(&token.role).role_session_name(SESSION_NAME);
        let answer = request.web_identity_token(token.token.expose()).send().await;
        session(&token.role, answer.map_err(|error| refused(&token.role, AwsError::from(error)))?.credentials)
    }

    async fn access_keys(&self, base: &Base) -> Result {
        let keys = self.source.access_keys(base.clone()).await.map_err(CredentialsError::provider_error)?;
        let session_token = keys.session_token.map(|token| token.expose().clone());
        let until = SystemTime::now() + KEYS_LIVE + EARLY;
        let (access_key, secret_key) = (keys.access_key.expose(), keys.secret_key.expose());
        Ok(Credentials::new(access_key, secret_key, session_token, Some(until), "gitmoor"))
    }
}

fn refused(role: &str, error: AwsError) -> CredentialsError {
    CredentialsError::provider_error(NotAssumed { role: role.to_owned(), error })
}

fn session(role: &str, credentials: Option<aws_sdk_sts::types::Credentials>) -> Result {
    let given =
        credentials.ok_or_else(|| CredentialsError::provider_error(format!("AWS gave no credentials for {role}")))?;
    let until = SystemTime::try_from(given.expiration).ok();
    let token = Some(given.session_token);
    Ok(Credentials::new(given.access_key_id, given.secret_access_key, token, until, "gitmoor"))
}
