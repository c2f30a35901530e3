//! Logins of ECR, AWS' registry, with the agent's own role: good for twelve hours, renewed before they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::sensitive::Sensitive;
use jiff::Timestamp;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::{AwsError, own_config};
use crate::access::Credentials;

/// A login is renewed so long before it ends.
const EARLY: Duration = Duration::from_mins(30);

/// A registry of an account in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EcrRegistry {
    account: String,
    region: String,
}

impl EcrRegistry {
    /// Reads `ACCOUNT.dkr.ecr.REGION.amazonaws.com` (also `.com.cn`, `dkr.ecr-fips`, and `ACCOUNT.dkr-ecr.REGION.on.aws`),
    /// with or without a port; `None` for any other host.
    pub fn parse(host: &str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let parts: Vec<&str> = name.split('.').collect();
        let (account, region) = match parts.as_slice() {
            [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com"]
            | [account, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com", "cn"]
            | [account, "dkr-ecr" | "dkr-ecr-fips", region, "on", "aws"] => (*account, *region),
            _ => return None,
        };
        let fits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self { account: account.to_owned(), region: region.to_owned() })
    }
}

/// The logins of all registries.
#[derive(Default)]
pub struct EcrLogins {
    own: OnceCell<SdkConfig>,
    logins: Mutex<HashMap<EcrRegistry, Arc<AsyncMutex<Option<Login>>>>>,
}

#[derive(Clone)]
struct Login {
    credentials: Credentials,
    until: Timestamp,
}

impl EcrLogins {
    /// What opens a registry; from memory while that is good for a while at `now`.
    ///
    /// # Errors
    /// When AWS refuses or cannot be reached.
    pub async fn credentials(&self, registry: &EcrRegistry, now: Timestamp) -> Result<Credentials, AwsError> {
        let slot =
            Arc::clone(self.logins.lock().unwrap_or_else(PoisonError::into_inner).entry(registry.clone()).or_default());
        let mut login = slot.lock().await;
        if let Some(login) = login.as_ref().filter(|login| login.until > now + EARLY) {
            return Ok(login.credentials.clone());
        }
        let asked = self.ask(registry, now).await?;
        Ok(login.insert(asked).credentials.clone())
    }

    /// Forgets the login of a registry, such as one that was refused.
    pub fn forget(&self, registry: &EcrRegistry) {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }

    async fn ask(&self, registry: &EcrRegistry, now: Timestamp) -> Result<Login, AwsError> {
        let own = self.own.get_or_init(own_config).await;
        let config = own.to_builder().region(Region::new(registry.region.clone())).build();
        // The login is for all registries that the role may read, whatever the account.
        let answer = aws_sdk_ecr::Client::new(&config).get_authorization_token().send().await?;
        let given = answer.authorization_data().first();
        let token = given.and_then(|data| data.authorization_token()).and_then(|token| STANDARD.decode(token).ok());
        let token = token.and_then(|token| String::from_utf8(token).ok()).map(Sensitive::new);
        let (username, password) = token
            .as_ref()
            .and_then(|token| token.expose().split_once(':'))
            .ok_or_else(|| AwsError::NoCredentials("AWS gave no login for its registry".to_owned()))?;
        let until = given.and_then(|data| data.expires_at()).and_then(|at| Timestamp::from_second(at.secs()).ok());
        let credentials = Credentials::basic(username.to_owned(), password.to_owned());
        Ok(Login { credentials, until: until.unwrap_or(now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_known_by_its_host() {
        for (host, region) in [
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("123456789012.DKR.ecr.eu-central-1.amazonaws.com:443", Some("eu-central-1")),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some("eu-west-1")),
            ("public.ecr.aws", None),
            ("12345.dkr.ecr.eu-central-1.amazonaws.com", None),
            ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example", None),
            ("evil.123456789012.dkr.ecr.eu-central-1.amazonaws.com", None),
        ] {
            let registry = EcrRegistry::parse(host);
            assert_eq!(registry.as_ref().map(|one| one.region.as_str()), region, "{host}");
        }
    }
}
