//! The Kubernetes API: the only module that calls it.

mod apply;
mod delete;
mod discovery;
mod error;
mod impersonation;
mod inspect;
mod objects;
mod observe;
mod secrets;
mod service_proxy;
mod watch;

use std::path::Path;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use apply::Validation;
pub use delete::Propagation;
pub use discovery::ServerVersion;
pub use error::ClusterError;
pub use impersonation::acting_as;
pub use inspect::{Access, Logs, Selection};
pub use observe::{Asked, Observer};
pub use service_proxy::ServiceProxy;
pub use watch::{Change, Selector};

/// Writes that may be under way at once.
const CONCURRENT_WRITES: usize = 32;

/// A connection to the API server, cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    address: Arc<str>,
    writes: Arc<Semaphore>,
}

impl Cluster {
    /// Connects with the kubeconfig of the environment, or the ServiceAccount of the pod.
    ///
    /// # Errors
    /// When neither can be read.
    pub async fn connect(user_agent: &str) -> Result<Self, ClusterError> {
        Self::connect_observed(user_agent, Arc::new(|_| ())).await
    }

    /// The same; `observer` is told of every request.
    ///
    /// # Errors
    /// When neither can be read.
    pub async fn connect_observed(user_agent: &str, observer: Observer) -> Result<Self, ClusterError> {
        let config = Config::infer().await.map_err(|error| ClusterError::Configuration(error.to_string()))?;
        Self::with(config, user_agent, observer)
    }

    /// Connects as a user of kubectl does: with a kubeconfig file and a context of their choice, where they have one.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read, or has no such context.
    pub async fn connect_as(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        user_agent: &str,
    ) -> Result<Self, ClusterError> {
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            }
            .map_err(|error| error.to_string()),
            None if context.is_none() => Config::infer().await.map_err(|error| error.to_string()),
            None => Config::from_kubeconfig(&options).await.map_err(|error| error.to_string()),
        };
        let mut config = config.map_err(ClusterError::Configuration)?;
        // A person waits for the answer, also for a bad one.
        config.default_retry = false;
        Self::with(config, user_agent, Arc::new(|_| ()))
    }

    fn with(mut config: Config, user_agent: &str, observer: Observer) -> Result<Self, ClusterError> {
        if let Ok(value) = HeaderValue::from_str(user_agent) {
            config.headers.push((USER_AGENT, value));
        }
        let address = config.cluster_url.to_string().into();
        let builder = ClientBuilder::try_from(config);
        let builder = builder.map_err(|error| ClusterError::Configuration(error.to_string()))?;
        let client = builder.with_layer(&observe::Layer(observer)).build();
        Ok(Self { client, address, writes: Arc::new(Semaphore::new(CONCURRENT_WRITES)) })
    }

    /// The same connection for what has to be written in time, however many other writes wait for their answers.
    #[must_use]
    pub fn past_other_writes(&self) -> Self {
        Self { writes: Arc::new(Semaphore::new(CONCURRENT_WRITES)), ..self.clone() }
    }

    /// The contexts that a kubeconfig has; none when it cannot be read.
    pub fn contexts(kubeconfig: Option<&Path>) -> Vec<String> {
        let read = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        read.map(|read| read.contexts.into_iter().map(|context| context.name).collect()).unwrap_or_default()
    }

    /// Address of the API server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Namespace of the kubeconfig's context or of the pod.
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    async fn read<T: DeserializeOwned>(&self, mut request: Request<Vec<u8>>) -> Result<T, ClusterError> {
        impersonation::identify(&mut request);
        self.client.request(request).await.map_err(ClusterError::from)
    }

    async fn write<T: DeserializeOwned>(&self, mut request: Request<Vec<u8>>) -> Result<T, ClusterError> {
        impersonation::identify(&mut request);
        // The semaphore is never closed.
        let _permit = self.writes.acquire().await;
        self.client.request(request).await.map_err(ClusterError::from)
    }
}
