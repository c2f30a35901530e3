//! What opens a server, from what is known of its address: as it stands in a Secret, or exchanged for it elsewhere.

use std::sync::Arc;

use gitmoor_engine::access::{Access, Connection, Credentials, GitHubApps, OpenError};
use gitmoor_engine::aws::EcrLogins;

use super::secret::Way;
use crate::clock;

/// What is known of an address.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The address.
    pub(super) address: String,
    pub(super) connection: Connection,
    pub(super) way: Way,
    /// Name of the Secret that says so.
    pub(super) secret: String,
}

impl Found {
    /// Whether there is anything that opens it.
    pub(crate) fn opens(&self) -> bool {
        self.way != Way::Nothing || self.connection.client.is_some()
    }
}

/// Exchanges, and keeps what came of it.
#[derive(Default)]
pub(super) struct Opening {
    apps: Arc<GitHubApps>,
    registries: EcrLogins,
}

impl Opening {
    /// What to connect with.
    pub(super) async fn open(&self, found: Found) -> Result<Access, OpenError> {
        let Found { address, connection, way, secret } = found;
        let of_secret = |error: OpenError| OpenError { reason: format!("Secret {secret}: {}", error.reason), ..error };
        let credentials = match way {
            Way::Nothing => Credentials::None,
            Way::Given(credentials) => credentials,
            Way::Unsupported(field) => {
                return Err(OpenError::refused(format!("Secret {secret} has {field}, which is not supported")));
            }
            Way::GitHubApp(app) => {
                let (apps, connection) = (Arc::clone(&self.apps), connection.clone());
                let asked = move || apps.credentials(&app, &address, &connection, clock::timestamp());
                let asked = tokio::task::spawn_blocking(asked).await;
                asked.unwrap_or_else(|_| Err(OpenError::unreachable("the agent is stopping"))).map_err(of_secret)?
            }
            Way::Ecr(registry) => {
                let asked = self.registries.credentials(&registry, clock::timestamp()).await;
                asked.map_err(|error| OpenError::unreachable(format!("a login of {address}: {error}")))?
            }
        };
        Ok(Access { credentials, connection })
    }

    /// What an exchange gave was refused: the next time it is asked for anew.
    pub(super) fn refused(&self, found: &Found) {
        match &found.way {
            Way::GitHubApp(app) => self.apps.forget(app, &found.address),
            Way::Ecr(registry) => self.registries.forget(registry),
            Way::Nothing | Way::Given(_) | Way::Unsupported(_) => {}
        }
    }
}
