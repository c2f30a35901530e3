//! Everything at once: a cluster with the Application kind, a repository, and an agent that follows it.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::agent::{Agent, Builder};
use super::await_state::{Scene, revisions};
use super::control_plane::ControlPlane;
use super::git_remote::GitRemote;
use super::http;
use super::metrics::Metrics;
use super::namespaces::{create_namespace, unique_name};
use super::repository::Repository;
use super::tools;

/// How long a state may take on a busy machine before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a whole platform may take there.
pub const PATIENCE_FOR_A_PLATFORM: Duration = Duration::from_secs(300);

/// User and password of the repository's server.
pub const CREDENTIALS: (&str, &str) = ("platform", "canary-of-the-repository");

/// A running installation with a namespace of its own for Applications and one for what they apply.
pub struct Installation {
    /// The cluster.
    pub client: kube::Client,
    /// Namespace of the agent and its Applications.
    pub namespace: String,
    /// Namespace that the Applications apply into.
    pub target: String,
    /// The server of the repository.
    pub remote: GitRemote,
    /// The repository.
    pub repository: Repository,
    /// The agent.
    pub agent: Agent,
    /// Its user at the API server: the audit log's requests are found by it.
    pub user: String,
}

impl Installation {
    /// Starts one on the shared control plane, with the agent ready.
    pub async fn start(purpose: &str) -> Self {
        Self::start_on(ControlPlane::shared().await, purpose, |agent| agent).await
    }

    /// Starts one on a control plane, with the agent configured further.
    pub async fn start_on(
        control_plane: &ControlPlane,
        purpose: &str,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let client = control_plane.client().await;
        let namespace = create_namespace(&client, &format!("{purpose}-agent")).await;
        let target = create_namespace(&client, purpose).await;
        Self::start_in(control_plane, (&namespace, &target), configure).await
    }

    /// Starts one in existing namespaces: that of the agent, and that of what is applied.
    pub async fn start_in(
        control_plane: &ControlPlane,
        (namespace, target): (&str, &str),
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let client = control_plane.client().await;
        install_kinds(&client).await;
        let (namespace, target) = (namespace.to_owned(), target.to_owned());
        let remote = GitRemote::with_credentials(CREDENTIALS.0, CREDENTIALS.1).await;
        let repository = remote.repository("platform").await;
        let user = unique_name("agent");
        let identity = control_plane.kubeconfig_for_user(&user, Some("system:masters"));
        let secret = repository_secret(&namespace, &remote.url(), CREDENTIALS);
        apply(&client, &secret).await;
        let agent = Agent::builder(&identity)
            .arg(format!("--namespace={namespace}"))
            .arg(format!("--identity={user}"))
            .env("GITMOOR_POLL_INTERVAL", "0.3")
            .env("RUST_LOG", "info,gitmoor_agent=debug,gitmoor_engine=debug");
        let mut agent = configure(agent).start();
        agent.await_ready(PATIENCE).await;
        Self { client, namespace, target, remote, repository, agent, user }
    }

    /// The agent's metrics.
    pub async fn metrics(&self) -> Metrics {
        let answer = http::get(&format!("{}/metrics", self.agent.url())).await.unwrap();
        Metrics::parse(&answer.body).unwrap_or_else(|error| panic!("{error}\n{}", answer.body))
    }

    /// What a failure shows.
    pub fn scene(&self) -> Scene {
        Scene::new(self.client.clone()).namespace(&self.namespace).namespace(&self.target).agent(&self.agent)
    }

    /// An automated Application of a folder of the repository.
    pub fn application(&self, name: &str, path: &str) -> Value {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "project": "default",
                "source": {"repoURL": self.repository.url(), "targetRevision": "main", "path": path},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.target},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
            },
        })
    }

    /// Applies an object as somebody else than the agent.
    pub async fn apply(&self, object: &Value) {
        apply(&self.client, object).await;
    }

    /// Reads an object, of a kind that may not be served yet; `kind` as `v1/ConfigMap` or `apps/v1/Deployment`.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        match api(&self.client, kind, Some(namespace)).get(name).await {
            Ok(object) => Some(serde_json::to_value(object).unwrap()),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{kind} {name} cannot be read: {error}"),
        }
    }

    /// An object of the target namespace.
    pub async fn target(&self, kind: &str, name: &str) -> Option<Value> {
        self.get(kind, &self.target, name).await
    }

    /// The status of an Application; null when there is none.
    pub async fn status(&self, name: &str) -> Value {
        let application = self.get("argoproj.io/v1alpha1/Application", &self.namespace, name).await;
        application.map_or(Value::Null, |mut object| object["status"].take())
    }

    /// Waits until an Application is Synced at a commit and Healthy; gives its status.
    pub async fn await_synced(&self, name: &str, commit: &str) -> Value {
        self.await_synced_within(PATIENCE, name, commit).await
    }

    /// As [`Self::await_synced`], of an Application with so much below it that it may take longer.
    pub async fn await_synced_within(&self, patience: Duration, name: &str, commit: &str) -> Value {
        let what = format!("Application {name} is Synced at {commit} and Healthy");
        let check = async || {
            let status = self.status(name).await;
            let seen = (
                status["sync"]["status"].as_str().unwrap_or_default(),
                revisions(&status).contains(&commit),
                status["health"]["status"].as_str().unwrap_or_default(),
            );
            if seen == ("Synced", true, "Healthy") { Ok(status) } else { Err(format!("{seen:?} {}", status["sync"])) }
        };
        self.scene().eventually(&what, patience, check).await
    }

    /// Waits until no Application waits or is worked on.
    pub async fn settled(&self) {
        let idle = async || match self.metrics().await.sum("gitmoor_queue_depth") {
            0.0 => Ok(()),
            depth => Err(format!("{depth} wait")),
        };
        self.scene().eventually("the agent has nothing to do", PATIENCE, idle).await;
    }

    /// Waits until the status of an Application fits; gives it.
    pub async fn await_status(&self, what: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let what = format!("Application {name}: {what}");
        let check = async || {
            let status = self.status(name).await;
            if fits(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        };
        self.scene().eventually(&what, PATIENCE, check).await
    }

    /// Waits until an Application says that it cannot tell, in a category; gives the message.
    pub async fn await_unknown(&self, name: &str, category: &str) -> String {
        let what = format!("is Unknown with {category}");
        let fits = |status: &Value| status["sync"]["status"] == "Unknown" && condition(status, category).is_some();
        let status = self.await_status(&what, name, fits).await;
        condition(&status, category).unwrap_or_default().to_owned()
    }

    /// Merges a patch into an Application.
    pub async fn patch_application(&self, name: &str, patch: &Value) {
        self.patch("argoproj.io/v1alpha1/Application", &self.namespace, name, patch).await;
    }

    /// Merges a patch into an object, as somebody else than the agent.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) {
        let objects = api(&self.client, kind, Some(namespace));
        objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// The uid of a ConfigMap of the target namespace, which exists.
    pub async fn uid(&self, name: &str) -> String {
        let object = self.target("v1/ConfigMap", name).await;
        let object = object.unwrap_or_else(|| panic!("ConfigMap {name} does not exist"));
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Waits until an Application has a condition of a category; gives the status.
    pub async fn await_condition(&self, name: &str, category: &str) -> Value {
        let what = format!("Application {name} has a condition {category}");
        let check = async || {
            let status = self.status(name).await;
            if condition(&status, category).is_some() { Ok(status) } else { Err(status["conditions"].to_string()) }
        };
        self.scene().eventually(&what, PATIENCE, check).await
    }

    /// The value under `key` of a ConfigMap of the target namespace, as [`config_map`] writes it.
    pub async fn key(&self, name: &str) -> Option<String> {
        self.target("v1/ConfigMap", name).await?["data"]["key"].as_str().map(str::to_owned)
    }

    /// Waits until a ConfigMap of the target namespace has a value under `key`.
    pub async fn await_key(&self, name: &str, value: &str) {
        let check = async || match self.key(name).await {
            Some(key) if key == value => Ok(()),
            other => Err(format!("{other:?}")),
        };
        self.scene().eventually(&format!("{name} is {value}"), PATIENCE, check).await;
    }

    /// Waits until an object of the target namespace fits.
    pub async fn await_target(&self, what: &str, kind: &str, name: &str, fits: impl Fn(Option<&Value>) -> bool) {
        let check = async || {
            let object = self.target(kind, name).await;
            if fits(object.as_ref()) { Ok(()) } else { Err(format!("{object:?}")) }
        };
        self.scene().eventually(what, PATIENCE, check).await;
    }
}

/// The message of a condition of a category.
pub fn condition<'a>(status: &'a Value, category: &str) -> Option<&'a str> {
    let messages = status["conditions"].as_array()?.iter().filter_map(|condition| condition["message"].as_str());
    messages.into_iter().find(|message| message.starts_with(&format!("{category}: ")))
}

/// The digest with which a condition asks for confirmation.
pub fn asked_confirmation(status: &Value) -> Option<&str> {
    let (_, digest) = condition(status, "PruneBlocked")?.split_once("gitmoor.dev/confirm-prune=")?;
    Some(digest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default())
}

/// A ConfigMap manifest without namespace.
pub fn config_map(name: &str, key: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  {key}: \"{value}\"\n")
}

/// A kustomization of resources.
pub fn kustomization(resources: &[&str]) -> String {
    let listed = resources.iter().fold(String::new(), |listed, resource| listed + "\n  - " + resource);
    let listed = if listed.is_empty() { " []".to_owned() } else { listed };
    format!("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:{listed}\n")
}

fn repository_secret(namespace: &str, url: &str, (username, password): (&str, &str)) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "repository", "namespace": namespace, "labels": {"argocd.argoproj.io/secret-type": "repo-creds"},
        },
        "stringData": {"url": url, "username": username, "password": password},
    })
}

/// The kinds that the agent follows, as the distribution ships them.
pub async fn install_kinds(client: &kube::Client) {
    for (file, kind) in [("application", "Application"), ("appproject", "AppProject")] {
        let file = tools::workspace().join(format!("distribution/components/gitmoor/crds/{file}.yaml"));
        let definition: Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        apply(client, &definition).await;
        let objects = api(client, &format!("argoproj.io/v1alpha1/{kind}"), Some("default"));
        super::await_state::eventually(&format!("the kind {kind} is served"), PATIENCE, async || {
            objects.list(&kube::api::ListParams::default()).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Server-side apply as somebody else than the agent.
pub async fn apply(client: &kube::Client, object: &Value) {
    let kind = format!("{}/{}", object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let namespace = object["metadata"]["namespace"].as_str();
    let name = object["metadata"]["name"].as_str().unwrap();
    let parameters = PatchParams::apply("test").force();
    let answer = api(client, &kind, namespace).patch(name, &parameters, &Patch::Apply(object)).await;
    answer.unwrap_or_else(|error| panic!("{kind} {name} cannot be applied: {error}"));
}

/// The objects of a kind; `kind` as `v1/ConfigMap` or `apps/v1/Deployment`.
pub fn api(client: &kube::Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}
