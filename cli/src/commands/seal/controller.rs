//! The controller's own HTTP interface (`pkg/controller/server.go`), through the API server's service proxy.

use std::time::Duration;

use gitmoor_core::seal::SealedSecret;
use gitmoor_engine::cluster::{Cluster, ClusterError, ServiceProxy};
use serde_json::{Map, Value};
use tokio::{runtime::Runtime, time::sleep};

use super::{arguments::Controller, rejected};
use crate::failure::{Exit, Failure};

const USER_AGENT: &str = concat!("gitmoor/", env!("CARGO_PKG_VERSION"));
/// The controller takes two requests a second to verify.
const PAUSE: Duration = Duration::from_millis(600);
/// How often it is asked again when it had too much to do.
const ATTEMPTS: usize = 20;

/// A way to the controller.
pub(super) struct Connection {
    runtime: Runtime,
    cluster: Cluster,
    namespace: String,
    name: String,
}

impl Connection {
    pub(super) fn open(controller: &Controller) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("cannot start", &error))?;
        let connect = Cluster::connect_as(controller.kubeconfig.as_deref(), controller.context.as_deref(), USER_AGENT);
        let cluster = runtime.block_on(connect).map_err(|error| {
            let failure = Failure::new(Exit::Io, "cannot reach the sealed-secrets controller").because(&error);
            failure.hint("without a cluster: --cert, or a certificate pinned with --pin-cert")
        })?;
        let (namespace, name) = (controller.namespace().to_owned(), controller.name().to_owned());
        Ok(Self { runtime, cluster, namespace, name })
    }

    /// Its certificates as PEM.
    pub(super) fn certificate(&self) -> Result<String, Failure> {
        self.call(async |proxy| proxy.get("/v1/cert.pem").await)
            .map_err(|error| self.failed("fetch the certificate", &error))
    }

    /// Whether it can open a SealedSecret.
    pub(super) fn verify(&self, sealed: &Value) -> Result<bool, Failure> {
        match self.call(async |proxy| proxy.post("/v1/verify", sealed).await) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(self.failed("validate", &error)),
        }
    }

    /// Has it sealed with the newest key.
    pub(super) fn rotate(&self, sealed: &Value) -> Result<SealedSecret, Failure> {
        let answer = self.call(async |proxy| proxy.post("/v1/rotate", sealed).await);
        let answer = answer.map_err(|error| match error.code() {
            Some(500) => rejected("the controller cannot open it: another key, or another name, namespace or scope"),
            _ => self.failed("seal anew", &error),
        })?;
        let not_json = |_| rejected("the controller's answer is not JSON");
        let mut object: Map<String, Value> = serde_json::from_str(&answer).map_err(not_json)?;
        // What it answers lacks its type.
        for field in ["apiVersion", "kind"] {
            object.entry(field).or_insert_with(|| sealed[field].clone());
        }
        SealedSecret::read(Value::Object(object))
            .map_err(|error| rejected("the controller's answer is no SealedSecret").because(&error))
    }

    fn call(
        &self,
        request: impl AsyncFn(&ServiceProxy<'_>) -> Result<String, ClusterError>,
    ) -> Result<String, ClusterError> {
        self.runtime.block_on(async {
            let proxy = self.cluster.service_proxy(&self.namespace, &self.name).await?;
            let mut attempt = 1;
            loop {
                match request(&proxy).await {
                    Err(error) if error.code() == Some(429) && attempt < ATTEMPTS => sleep(PAUSE).await,
                    other => return other,
                }
                attempt += 1;
            }
        })
    }

    fn failed(&self, what: &str, error: &ClusterError) -> Failure {
        let (namespace, name) = (&self.namespace, &self.name);
        let failure = Failure::new(Exit::Io, format!("cannot {what} with the controller {namespace}/{name}"));
        let failure = failure.because(error);
        if error.is_not_found() {
            failure.hint("say where it is: --controller-name and --controller-namespace")
        } else {
            failure
        }
    }
}
