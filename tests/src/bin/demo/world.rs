//! Everything that runs in the demo, and its acts in the order of the play.

use std::time::{Duration, Instant};

use anyhow::bail;
use gitmoor_tests::harness::await_state::revisions;
use gitmoor_tests::harness::supervised::tail;
use gitmoor_tests::harness::{Agent, Webhook, program, tools};
use serde_json::Value;

use crate::cluster::{Cluster, NAMESPACE};
use crate::fork::{self, Fork};
use crate::gitmoor;
use crate::rollout;
use crate::screen::{Screen, seconds};

/// How long the agent may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds between two looks of the agent: nobody reports the pushes that a visitor makes.
const POLL: &str = "2";
/// The object that the change reaches last.
const CHANGED: (&str, &str, &str) = ("apps/v1/Deployment", "inference", "inference-api");
/// The Application that the mistake is in.
const MISTAKEN: &str = "inference";
/// Lines of the agent's log that a failure shows.
const LOG_LINES: usize = 20;

/// Everything that runs; dropping it ends it.
pub(crate) struct World {
    agent: Option<Agent>,
    webhook: Webhook,
    fork: Fork,
    cluster: Cluster,
}

impl World {
    /// A cluster and a fork.
    pub(crate) async fn bring_up(screen: &mut Screen) -> anyhow::Result<Self> {
        let cluster = Cluster::bring_up(screen).await?;
        let fork = Fork::create(screen).await?;
        Ok(Self { agent: None, webhook: Webhook::default(), fork, cluster })
    }

    /// `gitmoor init`, and the first push.
    pub(crate) async fn initialise(&self, screen: &mut Screen) -> anyhow::Result<()> {
        self.fork.initialise(screen).await?;
        self.fork.push("My platform", screen).await;
        Ok(())
    }

    /// The kind Application, the agent, the root Application.
    pub(crate) async fn install(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        let tree = self.fork.tree();
        for arguments in [
            "apply --server-side -k distribution/components/gitmoor/crds",
            "wait --for=condition=Established crd/applications.argoproj.io",
        ] {
            self.cluster.kubectl(tree, arguments, screen).await?;
        }
        self.cluster.create_namespace().await?;
        screen.command(&format!("gitmoor-agent --namespace={NAMESPACE} --poll-interval={POLL} …"));
        let agent = self.cluster.agent().arg(format!("--poll-interval={POLL}"));
        let mut agent = self.webhook.known_to(agent).env("RUST_LOG", "info").start();
        agent.await_ready(PATIENCE).await;
        screen.step("the agent is ready");
        self.agent = Some(agent);
        self.cluster.kubectl(self.fork.tree(), "apply --server-side -f distribution/platform.yaml", screen).await
    }

    /// Shows the Applications until all are Synced and Healthy.
    pub(crate) async fn roll_out(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let begun = Instant::now();
        rollout::follow(&self.cluster.client, screen, |_| true).await.map_err(|error| self.with_log(&error))?;
        screen.step(&format!("all Synced and Healthy, {} after the root Application", seconds(begun.elapsed())));
        Ok(())
    }

    /// Pushes a change of one line and shows it arrive.
    pub(crate) async fn change(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else { bail!("no agent runs") };
        let before = self.cluster.get(CHANGED).await?;
        self.fork.change_a_line(&fork::GOOD, screen).await?;
        self.gitmoor(&["plan"], 0, screen).await?;
        let commit = self.fork.push("Serve version 2 of the model", screen).await;
        let pushed = Instant::now();
        let told = self.webhook.report(agent, self.fork.url()).await;
        let template = |object: &Value| object["spec"]["template"].clone();
        let changed = |object: &Value| template(object) != template(&before);
        let applied = rollout::await_object(&self.cluster.client, CHANGED, changed);
        let (seen, applied) = tokio::join!(seen_by(agent, &commit), applied);
        let applied = applied.map_err(|error| self.with_log(&error))?;
        let (seen, applied) = (seen.min(applied) - pushed, applied - pushed);
        screen.step(&format!("applied {} after the push", seconds(applied)));
        let how = match told {
            Ok(()) => "told by a webhook; a poll alone would have waited for up to a minute".to_owned(),
            Err(reason) => format!("most of it waiting for the poll every {POLL} s: the webhook was refused: {reason}"),
        };
        screen.output(&format!("{} until the agent had fetched the commit ({how})", seconds(seen)));
        screen.output(&format!("{} to render and apply what it changes", seconds(applied.saturating_sub(seen))));
        self.arrives(&commit, screen).await?;
        screen.step(&format!("rolled out and Healthy again, {} after the push", seconds(pushed.elapsed())));
        Ok(())
    }

    /// Pushes a mistake, has it explained, and takes it back.
    pub(crate) async fn mistake(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let Some(agent) = &self.agent else { bail!("no agent runs") };
        let report = || self.webhook.report(agent, self.fork.url());
        self.fork.change_a_line(&fork::BAD, screen).await?;
        self.fork.push("Two of them", screen).await;
        // Where the webhook is refused, the next look finds the commit.
        drop(report().await);
        let is_told = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.is_some_and(|conditions| !conditions.is_empty())
        };
        let told = rollout::await_object(&self.cluster.client, (rollout::APPLICATION, NAMESPACE, MISTAKEN), is_told);
        told.await.map_err(|error| self.with_log(&error))?;
        self.gitmoor(&["explain", MISTAKEN], 1, screen).await?;
        let commit = self.fork.revert(screen).await;
        drop(report().await);
        self.arrives(&commit, screen).await?;
        screen.step("Synced and Healthy again");
        self.gitmoor(&["status"], 0, screen).await
    }

    /// Shows the Applications until one is at a commit, and all are as they should be.
    async fn arrives(&self, commit: &str, screen: &mut Screen) -> anyhow::Result<()> {
        let arrived = |applications: &rollout::Applications| {
            applications.values().any(|object| revisions(&object["status"]).contains(&commit))
        };
        rollout::follow(&self.cluster.client, screen, arrived).await.map_err(|error| self.with_log(&error))
    }

    async fn gitmoor(&self, arguments: &[&str], expected: i32, screen: &mut Screen) -> anyhow::Result<()> {
        let kubeconfig = Some(self.cluster.kubeconfig.as_path());
        gitmoor::run(self.fork.tree(), kubeconfig, (arguments, expected), screen).await
    }

    /// How a visitor looks at all this, while it is there.
    pub(crate) fn look_around(&self, screen: &mut Screen, stays: bool) {
        let (gitmoor, kubectl) = (program("gitmoor"), tools::tool("kubectl"));
        let (gitmoor, kubectl) = (gitmoor.display(), kubectl.display());
        screen.output(&format!("cd {}   # the fork: edit, commit, git push", self.fork.tree().display()));
        screen.output(&format!("export KUBECONFIG={}", self.cluster.kubeconfig.display()));
        for arguments in ["status --watch", "status inference --tree", "history inference", "explain inference"] {
            screen.output(&format!("{gitmoor} {arguments}"));
        }
        screen.output(&format!(
            "{kubectl} scale deployment/inference-api -n inference --replicas=5   # and see it healed"
        ));
        let agent = self.agent.as_ref();
        screen.output(&format!("curl {}/metrics", agent.map(Agent::url).unwrap_or_default()));
        if !self.cluster.is_own() {
            screen.line("\nWhat the demo applied stays in the cluster of DEMO_KUBECONFIG. To remove it:");
            screen.output(&format!("{kubectl} delete namespace {NAMESPACE}"));
            screen.output(&format!("{kubectl} delete namespace --selector app.kubernetes.io/part-of=mlplatform"));
        }
        if stays {
            screen.line("\nAll of it runs until you press Ctrl-C.");
        }
    }

    /// Asks the agent to stop, so that it gives back its lease; the rest ends by being dropped.
    pub(crate) async fn end(mut self) {
        if let Some(agent) = &mut self.agent {
            agent.terminate(PATIENCE).await;
        }
    }

    fn with_log(&self, error: &anyhow::Error) -> anyhow::Error {
        let log = self.agent.as_ref().map(|agent| tail(agent.log_path(), LOG_LINES)).unwrap_or_default();
        anyhow::anyhow!("{error:#}\nthe agent's log ends with\n{log}")
    }
}

/// When the agent says that it has fetched a commit.
async fn seen_by(agent: &Agent, commit: &str) -> Instant {
    let line = format!("commit={commit}");
    while !agent.log().contains(&line) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Instant::now()
}
