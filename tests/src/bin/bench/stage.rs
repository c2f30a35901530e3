//! What a measurement runs on: a repository with the fleet's files, and an agent that is ready and follows nothing yet.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use gitmoor_tests::harness::audit::Mark;
use gitmoor_tests::harness::installation::apply;
use gitmoor_tests::harness::{Audit, ControlPlane, Installation, Requests, Usage, Webhook, create_namespace, http};
use serde_json::Value;

use crate::fleet::{self, Fleet};
use crate::observer::Observer;

/// How long anything may take before the bench gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Applications that are applied at the same time.
const CONCURRENT: usize = 32;

/// One size of fleet with its agent.
pub(crate) struct Stage {
    /// The agent and what it works on.
    pub world: Installation,
    /// Tells it of pushes.
    pub webhook: Webhook,
    /// What it is to roll out.
    pub fleet: Fleet,
    /// Namespace for the floors.
    pub floor: String,
    /// The requests that were made.
    audit: Audit,
}

/// A moment to count from.
pub(crate) struct Start {
    usage: Usage,
    mark: Mark,
}

/// What the agent has taken since.
pub(crate) struct Cost {
    /// Its own CPU time.
    pub own_cpu: Duration,
    /// That of its children.
    pub children_cpu: Duration,
    /// Resident memory at its highest, since the start of the process.
    pub peak_resident: u64,
    /// Private memory now.
    pub private: u64,
    /// Its API requests, without those for the lease.
    pub requests: Requests,
}

impl Stage {
    /// Starts one.
    pub(crate) async fn start(
        control_plane: &ControlPlane,
        fleet: Fleet,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let webhook = Webhook::default();
        let purpose = format!("bench-{}", fleet.applications);
        let world = Installation::start_on(control_plane, &purpose, |agent| {
            let agent = webhook.known_to(agent).env("GITMOOR_POLL_INTERVAL", "600").env("RUST_LOG", "info");
            environment.iter().fold(agent, |agent, (name, value)| agent.env(name, value))
        })
        .await;
        for (path, content) in fleet.files() {
            world.repository.write(&path, content);
        }
        world.repository.commit_all("the fleet").await;
        let floor = create_namespace(&world.client, &format!("{purpose}-floor")).await;
        Ok(Self { world, webhook, fleet, floor, audit: control_plane.audit().clone() })
    }

    /// Applies the Applications of the fleet.
    pub(crate) async fn apply_applications(&self) {
        let objects: Vec<Value> =
            (0..self.fleet.applications).map(|i| self.world.application(&fleet::name(i), &fleet::folder(i))).collect();
        let applies = objects.iter().map(|object| apply(&self.world.client, object));
        futures::stream::iter(applies).buffer_unordered(CONCURRENT).collect::<()>().await;
    }

    /// A watch of the Applications.
    pub(crate) async fn watch_applications(&self) -> anyhow::Result<Observer> {
        Observer::start(&self.world.client, "argoproj.io/v1alpha1/Application", &self.world.namespace).await
    }

    /// Reports a push, as a Git server does.
    pub(crate) async fn report_push(&self) -> anyhow::Result<()> {
        let reported = self.webhook.report(&self.world.agent, self.world.repository.url()).await;
        reported.map_err(|reason| anyhow::anyhow!("the agent refused the webhook: {reason}"))
    }

    /// Begins to count.
    pub(crate) async fn count(&self) -> Start {
        Start { mark: self.audit.mark().await, usage: self.world.agent.usage() }
    }

    /// What the agent has taken since.
    pub(crate) async fn cost(&self, start: &Start) -> Cost {
        let usage = self.world.agent.usage();
        let requests = self.audit.since(start.mark).await.of_user(&self.world.user);
        Cost {
            own_cpu: usage.own_cpu.saturating_sub(start.usage.own_cpu),
            children_cpu: usage.children_cpu.saturating_sub(start.usage.children_cpu),
            peak_resident: usage.peak_resident,
            private: usage.private,
            requests: requests.filter(|request| !request.resource.starts_with("leases.")),
        }
    }

    /// A number among the agent's metrics; a counter that has not counted yet is 0.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = http::get(&format!("{}/metrics", self.world.agent.url())).await.map_err(anyhow::Error::msg)?;
        ensure!(answer.status == 200, "the agent's metrics: {}", answer.body);
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map_or(Ok(0.0), str::parse)?)
    }

    /// Waits until nothing is left to do.
    pub(crate) async fn await_idle(&self) -> anyhow::Result<()> {
        for _ in 0..PATIENCE.as_millis() / 100 {
            if self.metric("gitmoor_queue_depth").await? == 0.0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the agent does not come to rest")
    }
}
