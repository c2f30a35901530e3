//! The cluster that the demo runs on: a control plane of its own, or the one of `DEMO_KUBECONFIG`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::{Agent, ControlPlane, agent, tools, unique_name};
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::screen::Screen;

/// Namespace of the agent and its Applications: platform.yaml names it.
pub(crate) const NAMESPACE: &str = "gitmoor";
/// Fake nodes of the demo's own control plane.
const NODES: usize = 2;

/// A cluster and how to reach it.
pub(crate) struct Cluster {
    /// The kubeconfig file.
    pub kubeconfig: PathBuf,
    /// A client.
    pub client: kube::Client,
    /// Dropping it ends the control plane.
    own: Option<ControlPlane>,
}

impl Cluster {
    /// Starts one, or finds the given one fit for a demo.
    pub(crate) async fn bring_up(screen: &mut Screen) -> anyhow::Result<Self> {
        match std::env::var_os("DEMO_KUBECONFIG").filter(|path| !path.is_empty()) {
            Some(path) => Self::given(Path::new(&path), screen).await,
            None => Ok(Self::local(screen).await),
        }
    }

    async fn local(screen: &mut Screen) -> Self {
        screen.step(&format!("starting etcd, kube-apiserver, controllers, scheduler and {NODES} fake nodes …"));
        let own = ControlPlane::builder().controllers(true).scheduler(true).kwok_nodes(NODES).start().await;
        let client = own.client().await;
        screen.step(&format!("Kubernetes is ready at {}", own.url()));
        Self { kubeconfig: own.admin().path().to_owned(), client, own: Some(own) }
    }

    async fn given(path: &Path, screen: &mut Screen) -> anyhow::Result<Self> {
        let kubeconfig = path.canonicalize().with_context(|| format!("DEMO_KUBECONFIG={}", path.display()))?;
        let config = Kubeconfig::read_from(&kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config)?;
        let version = client.apiserver_version().await.with_context(|| format!("{url} does not answer"))?;
        screen.step(&format!("using Kubernetes {} at {url}", version.git_version));
        refuse_foreign_applications(&client).await?;
        Ok(Self { kubeconfig, client, own: None })
    }

    /// Whether the demo has started it.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// An agent for it. One that talks to a foreign cluster finds what its kubeconfig may call.
    pub(crate) fn agent(&self) -> agent::Builder {
        let agent = Agent::builder_with_kubeconfig(&self.kubeconfig)
            .arg(format!("--namespace={NAMESPACE}"))
            .arg(format!("--identity={}", unique_name("demo")));
        let inherited = ["PATH", "HOME"].into_iter().filter(|_| !self.is_own());
        inherited.fold(agent, |agent, name| agent.env(name, std::env::var_os(name).unwrap_or_default()))
    }

    /// Makes [`NAMESPACE`], unless it is there.
    pub(crate) async fn create_namespace(&self) -> anyhow::Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let namespaces = api(&self.client, "v1/Namespace", None);
        namespaces.patch(NAMESPACE, &PatchParams::apply("demo"), &Patch::Apply(&namespace)).await?;
        Ok(())
    }

    /// An object, given as kind (such as `apps/v1/Deployment`), namespace and name.
    pub(crate) async fn get(&self, (kind, namespace, name): (&str, &str, &str)) -> anyhow::Result<Value> {
        Ok(api(&self.client, kind, Some(namespace)).get(name).await?.data)
    }

    /// Runs kubectl in a folder, showing the command and what it says.
    pub(crate) async fn kubectl(&self, folder: &Path, arguments: &str, screen: &mut Screen) -> anyhow::Result<()> {
        screen.command(&format!("kubectl {arguments}"));
        let output = Command::new(tools::tool("kubectl"))
            .args(arguments.split(' '))
            .current_dir(folder)
            .env("KUBECONFIG", &self.kubeconfig)
            .kill_on_drop(true)
            .output()
            .await
            .context("kubectl does not start")?;
        screen.output(&String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            bail!("kubectl {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// A demo takes no real installation over. Those of an earlier demo point to loopback.
async fn refuse_foreign_applications(client: &kube::Client) -> anyhow::Result<()> {
    let applications = api(client, "argoproj.io/v1alpha1/Application", Some(NAMESPACE));
    // Most often there is no such kind yet.
    let Ok(list) = applications.list(&ListParams::default()).await else { return Ok(()) };
    for application in list {
        let url = application.data["spec"]["source"]["repoURL"].as_str().unwrap_or_default();
        if !url.starts_with("http://127.0.0.1:") {
            let name = application.metadata.name.unwrap_or_default();
            bail!("the cluster of DEMO_KUBECONFIG has an Application {NAMESPACE}/{name} already, which follows {url}");
        }
    }
    Ok(())
}
