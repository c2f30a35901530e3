//! The least that a job can take: the same programs and requests, without an agent around them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gitmoor_tests::harness::installation::{CREDENTIALS, api};
use gitmoor_tests::harness::repository::git_command;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools;
use kube::api::{Patch, PatchParams};
use serde_json::Value;
use tokio::process::Command;

use crate::fleet;
use crate::stage::Stage;

/// Objects that are applied at the same time.
const CONCURRENT: usize = 32;

/// Server-side apply of all objects of a fleet, many at once.
pub(crate) async fn apply_all(stage: &Stage) -> anyhow::Result<Duration> {
    let objects = stage.fleet.objects_in(&stage.floor);
    let started = Instant::now();
    let applies = objects.iter().map(|object| apply(&stage.world.client, object));
    stream::iter(applies).buffer_unordered(CONCURRENT).try_collect::<()>().await?;
    Ok(started.elapsed())
}

/// `kustomize build` of every Application of a fleet, as many at once as there are cores.
pub(crate) async fn build_all(stage: &Stage) -> anyhow::Result<Duration> {
    build_these(stage, &(0..stage.fleet.applications).collect::<Vec<_>>()).await
}

/// `kustomize build` of these Applications, as many at once as there are cores.
pub(crate) async fn build_these(stage: &Stage, applications: &[usize]) -> anyhow::Result<Duration> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let tree = stage.world.repository.tree();
    let started = Instant::now();
    let builds = applications.iter().map(|application| build(tree, *application));
    stream::iter(builds).buffer_unordered(cores).try_collect::<()>().await?;
    Ok(started.elapsed())
}

/// A Git client that follows the repository.
pub(crate) struct Follower {
    mirror: Scratch,
    url: String,
}

impl Follower {
    /// Clones it.
    pub(crate) async fn clone(stage: &Stage) -> anyhow::Result<Self> {
        let (user, password) = CREDENTIALS;
        let url = stage.world.repository.url().replacen("http://", &format!("http://{user}:{password}@"), 1);
        let follower = Self { mirror: Scratch::new("floor"), url };
        follower.git(&["init", "--quiet", "--bare", "."]).await?;
        follower.fetch().await?;
        Ok(follower)
    }

    /// Fetches, builds and applies what a push has changed in one Application.
    pub(crate) async fn take_push(
        &self,
        stage: &Stage,
        application: usize,
        generation: usize,
    ) -> anyhow::Result<Duration> {
        let object = fleet::in_namespace(fleet::object(application, 0, generation), &stage.floor);
        let started = Instant::now();
        self.fetch().await?;
        build(stage.world.repository.tree(), application).await?;
        apply(&stage.world.client, &object).await?;
        Ok(started.elapsed())
    }

    async fn fetch(&self) -> anyhow::Result<()> {
        self.git(&["fetch", "--quiet", &self.url, "+refs/heads/main:refs/heads/main"]).await
    }

    async fn git(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run(git_command(self.mirror.path()).args(arguments)).await
    }
}

async fn build(tree: &Path, application: usize) -> anyhow::Result<()> {
    run(Command::new(tools::tool("kustomize")).arg("build").arg(tree.join(fleet::folder(application)))).await
}

/// Runs a program whose output is read to its end, as somebody does who wants it.
async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("a program does not start")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn apply(client: &kube::Client, object: &Value) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = format!("{}/{}", text(&object["apiVersion"]), text(&object["kind"]));
    let objects = api(client, &kind, object["metadata"]["namespace"].as_str());
    let name = text(&object["metadata"]["name"]);
    objects.patch(&name, &PatchParams::apply("floor").force(), &Patch::Apply(object)).await?;
    Ok(())
}
