//! How a server is reached, and what it is opened with: of repositories, charts and files alike.

mod connection;
mod credentials;
mod github_app;
pub(crate) mod handshake;
mod open_error;
pub(crate) mod tls;

pub(crate) use connection::Proxying;
pub use connection::{ClientCertificate, Connection, Proxy};
pub use credentials::Credentials;
pub use github_app::{GitHubApp, GitHubApps};
pub use open_error::OpenError;
pub use tls::holds_certificates;

/// Both together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// What the server is opened with.
    pub credentials: Credentials,
    /// How it is reached.
    pub connection: Connection,
}

impl From<Credentials> for Access {
    /// Reached as every server.
    fn from(credentials: Credentials) -> Self {
        Self { credentials, connection: Connection::default() }
    }
}
