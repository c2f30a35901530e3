//! AWS: the only module that calls it.
//!
//! The agent's own credentials and region come from the environment, as for any program that uses AWS' SDK (IRSA, Pod
//! Identity, instance profile, variables). Sessions are kept per identity and renewed before they end. The SDK's own
//! retries are off: who calls knows more about what else is to be asked.

mod call;
mod caller;
mod credentials;
mod ecr;
mod error;
mod parameter_store;
mod secrets_manager;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use gitmoor_core::secrets::identity::{Identity, SessionKey};
use tokio::sync::OnceCell;

pub use call::Answer;
pub use caller::{Caller, caller};
pub use credentials::{AccessKeys, CredentialSource, IdentityToken};
pub use ecr::{EcrLogins, EcrRegistry};
pub use error::AwsError;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// AWS, as reached from here.
pub struct Aws {
    own: OnceCell<SdkConfig>,
    source: Arc<dyn CredentialSource>,
    providers: Mutex<HashMap<Identity, SharedCredentialsProvider>>,
    sessions: Mutex<HashMap<SessionKey, Arc<Session>>>,
}

/// One identity in one region.
pub struct Session {
    secrets: aws_sdk_secretsmanager::Client,
    parameters: aws_sdk_ssm::Client,
}

impl Aws {
    /// Nothing is asked yet. `source` gives what identities start from and only the cluster knows.
    pub fn new(source: Arc<dyn CredentialSource>) -> Self {
        Self { own: OnceCell::new(), source, providers: Mutex::default(), sessions: Mutex::default() }
    }

    /// The session of an identity, made when it is first asked for.
    pub async fn session(&self, key: &SessionKey) -> Arc<Session> {
        if let Some(session) = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Arc::clone(session);
        }
        let own = self.own().await;
        let mut config = own.to_builder();
        if let Some(region) = &key.region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(provider) = self.provider(own, &key.identity, key.region.as_ref()) {
            config = config.credentials_provider(provider).identity_cache(IdentityCache::no_cache());
        }
        let config = config.build();
        let session = Arc::new(Session {
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            parameters: aws_sdk_ssm::Client::new(&config),
        });
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sessions.entry(key.clone()).or_insert(session))
    }

    /// Forgets the session of an identity whose credentials were refused, so that they are looked up anew.
    pub fn forget(&self, key: &SessionKey) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).retain(|other, _| other.identity != key.identity);
        self.providers.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.identity);
    }

    async fn own(&self) -> &SdkConfig {
        self.own.get_or_init(own_config).await
    }

    /// Credentials of an identity; `None` for the agent's own.
    fn provider(
        &self,
        own: &SdkConfig,
        identity: &Identity,
        region: Option<&String>,
    ) -> Option<SharedCredentialsProvider> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = providers.get(identity) {
            return Some(provider.clone());
        }
        let provider = credentials::provider(own, identity, region, &self.source)?;
        providers.insert(identity.clone(), provider.clone());
        Some(provider)
    }
}

/// The agent's own identity and region.
async fn own_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(TIMEOUT).build();
    let config = aws_config::defaults(BehaviorVersion::latest());
    config.retry_config(RetryConfig::disabled()).timeout_config(timeouts).load().await
}
