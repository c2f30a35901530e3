//! Waiting for a state, and saying what there was instead.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::Agent;
use super::cluster_dump::dump;
use super::supervised::tail;

/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How much of an agent's log a failure shows.
const LOG_LINES: usize = 80;

/// Looks until `check` gives a value, and gives that.
///
/// # Panics
/// After `timeout`, with the reason that `check` gave last.
pub async fn eventually<T>(what: &str, timeout: Duration, check: impl AsyncFnMut() -> Result<T, String>) -> T {
    match poll(timeout, check).await {
        Ok(value) => value,
        Err(reason) => panic!("{what}: not within {timeout:?}: {reason}"),
    }
}

/// Looks for all of `duration` and insists that `check` holds each time: for
/// what must not happen.
///
/// # Panics
/// As soon as it does not hold, with the reason.
pub async fn throughout(what: &str, duration: Duration, mut check: impl AsyncFnMut() -> Result<(), String>) {
    let started = Instant::now();
    while started.elapsed() < duration {
        if let Err(reason) = check().await {
            panic!("{what}: no longer after {:?}: {reason}", started.elapsed());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The commits that an Application's status tells of: the last that changed each of its sources.
pub fn revisions(status: &Value) -> Vec<&str> {
    let sync = &status["sync"];
    match sync["revisions"].as_array() {
        Some(of_sources) => of_sources.iter().filter_map(Value::as_str).collect(),
        None => sync["revision"].as_str().into_iter().collect(),
    }
}

/// What a failure shows of the world: the namespaces that a test uses and the
/// agent that works on them.
#[derive(Clone)]
pub struct Scene {
    client: kube::Client,
    namespaces: Vec<String>,
    logs: Vec<PathBuf>,
}

impl Scene {
    /// A cluster of which nothing is shown yet.
    pub fn new(client: kube::Client) -> Self {
        Self { client, namespaces: Vec::new(), logs: Vec::new() }
    }

    /// Shows the Applications, pods and events of a namespace.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespaces.push(name.into());
        self
    }

    /// Shows the end of an agent's log.
    pub fn agent(mut self, agent: &Agent) -> Self {
        self.logs.push(agent.log_path().to_owned());
        self
    }

    /// The client of [`Self::new`].
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// As [`eventually`](fn@eventually), and a failure shows the scene.
    pub async fn eventually<T>(
        &self,
        what: &str,
        timeout: Duration,
        check: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        match poll(timeout, check).await {
            Ok(value) => value,
            Err(reason) => panic!("{what}: not within {timeout:?}: {reason}\n{}", self.describe().await),
        }
    }

    /// What a failure shows.
    pub async fn describe(&self) -> String {
        let mut text = dump(&self.client, &self.namespaces).await;
        for log in &self.logs {
            text.push_str("--- log of the agent\n");
            text.push_str(&tail(log, LOG_LINES));
            text.push('\n');
        }
        text
    }
}

async fn poll<T>(timeout: Duration, mut check: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let started = Instant::now();
    let mut last = "it was never looked at".to_owned();
    while started.elapsed() < timeout {
        // A look that hangs must not outlast the timeout.
        match tokio::time::timeout(timeout.saturating_sub(started.elapsed()), check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason,
            Err(_) => return Err(format!("a look takes too long; before that: {last}")),
        }
        tokio::time::sleep(POLL).await;
    }
    Err(last)
}
