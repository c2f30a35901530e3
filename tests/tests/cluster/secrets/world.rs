//! A control plane of its own, because ExternalSecrets are served in all of a cluster, and AWS.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::installation::{PATIENCE, api, apply};
use gitmoor_tests::harness::{
    Agent, Aws, AwsProxy, ControlPlane, Scene, create_namespace, definitions, eventually, unique_name,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Values that must appear nowhere.
pub(super) const CANARY: &str = "canary-3f9c";

pub(super) const EXTERNAL: &str = "external-secrets.io/v1/ExternalSecret";
pub(super) const LEGACY: &str = "kubernetes-client.io/v1/ExternalSecret";

/// A namespace, an agent that serves it alone, and AWS.
pub(super) struct World {
    pub(super) control_plane: &'static ControlPlane,
    pub(super) client: kube::Client,
    pub(super) namespace: String,
    pub(super) agent: Agent,
    pub(super) user: String,
    pub(super) aws: Aws,
    pub(super) proxy: AwsProxy,
}

impl World {
    pub(super) async fn start(purpose: &str) -> Self {
        Self::start_with(purpose, &[]).await
    }

    /// With more arguments for the agent.
    pub(super) async fn start_with(purpose: &str, arguments: &[&str]) -> Self {
        let control_plane = control_plane().await;
        let client = control_plane.client().await;
        let namespace = create_namespace(&client, purpose).await;
        let aws = Aws::start().await;
        let proxy = AwsProxy::start(aws.endpoint()).await;
        let user = unique_name("agent");
        let identity = control_plane.kubeconfig_for_user(&user, Some("system:masters"));
        let mut agent = Agent::builder(&identity)
            .arg(format!("--namespace={namespace}"))
            .arg(format!("--identity={user}"))
            .arg(format!("--secrets-namespaces={namespace}"))
            .arg("--secrets-legacy-interval=1s")
            .args(arguments.iter().copied())
            .env("RUST_LOG", "info,gitmoor_agent=debug,gitmoor_engine=debug");
        if !arguments.iter().any(|argument| argument.starts_with("--secrets-own-role-namespaces")) {
            agent = agent.arg(format!("--secrets-own-role-namespaces={namespace}"));
        }
        for (name, value) in aws.environment() {
            let value = if name == "AWS_ENDPOINT_URL" { proxy.endpoint() } else { value };
            agent = agent.env(name, value);
        }
        let mut agent = agent.start();
        agent.await_ready(PATIENCE).await;
        Self { control_plane, client, namespace, agent, user, aws, proxy }
    }

    pub(super) fn scene(&self) -> Scene {
        Scene::new(self.client.clone()).namespace(&self.namespace).agent(&self.agent)
    }

    /// Applies an object; its namespace is this one unless it is cluster-scoped.
    pub(super) async fn apply(&self, mut object: Value) {
        if !object["kind"].as_str().unwrap().starts_with("Cluster") && object["kind"] != "Namespace" {
            object["metadata"]["namespace"] = self.namespace.as_str().into();
        }
        apply(&self.client, &object).await;
    }

    /// Annotates the namespace.
    pub(super) async fn annotate_namespace(&self, annotations: &Value) {
        let patch = json!({"metadata": {"annotations": annotations}});
        let namespaces = api(&self.client, "v1/Namespace", None);
        namespaces.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// A store of the agent's own role.
    pub(super) async fn store(&self, name: &str, service: &str) {
        self.apply(store(name, service)).await;
    }

    pub(super) async fn create_secret(&self, name: &str, value: &str) {
        self.aws.secrets_manager("CreateSecret", &json!({"Name": name, "SecretString": value})).await;
    }

    pub(super) async fn put_secret(&self, name: &str, value: &str) {
        self.aws.secrets_manager("PutSecretValue", &json!({"SecretId": name, "SecretString": value})).await;
    }

    pub(super) async fn put_parameter(&self, name: &str, value: &str) {
        let arguments = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        self.aws.ssm("PutParameter", &arguments).await;
    }

    pub(super) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let object = api(&self.client, kind, Some(&self.namespace)).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    pub(super) async fn merge(&self, kind: &str, name: &str, patch: &Value) {
        let objects = api(&self.client, kind, Some(&self.namespace));
        objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(super) async fn delete(&self, kind: &str, name: &str) {
        api(&self.client, kind, Some(&self.namespace)).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// The data of a Secret, decoded.
    pub(super) async fn data(&self, name: &str) -> Option<BTreeMap<String, String>> {
        Some(decoded(&self.get("v1/Secret", name).await?))
    }

    /// Waits until a Secret has exactly this data.
    pub(super) async fn await_data(&self, name: &str, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let check = async || match self.data(name).await {
            Some(data) if data == expected => Ok(()),
            other => Err(format!("{other:?}; {:?}", self.ready(EXTERNAL, name).await)),
        };
        self.scene().eventually(&format!("Secret {name} has {expected:?}"), PATIENCE, check).await;
    }

    /// Status, reason and message of the Ready condition.
    pub(super) async fn ready(&self, kind: &str, name: &str) -> Option<(String, String, String)> {
        let object = self.get(kind, name).await?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready")?;
        let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Waits until an ExternalSecret is not Ready with a message that has this in it; gives the message.
    pub(super) async fn await_failure(&self, name: &str, part: &str) -> String {
        let check = async || match self.ready(EXTERNAL, name).await {
            Some((status, _, message)) if status == "False" && message.contains(part) => Ok(message),
            other => Err(format!("{other:?}")),
        };
        self.scene().eventually(&format!("{name} fails with {part}"), PATIENCE, check).await
    }

    pub(super) async fn await_ready(&self, name: &str) {
        let check = async || match self.ready(EXTERNAL, name).await {
            Some((status, ..)) if status == "True" => Ok(()),
            other => Err(format!("{other:?}")),
        };
        self.scene().eventually(&format!("{name} is Ready"), PATIENCE, check).await;
    }

    /// Waits until so many rounds of reads were made since.
    pub(super) async fn await_rounds(&self, rounds: u64) {
        let start = self.metric("gitmoor_secrets_cycles_total").await;
        let check = async || {
            let now = self.metric("gitmoor_secrets_cycles_total").await;
            if now >= start + rounds { Ok(()) } else { Err(format!("{now}")) }
        };
        eventually("more rounds", PATIENCE, check).await;
        // What the last round does after its reads.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    pub(super) async fn metric(&self, name: &str) -> u64 {
        let text = gitmoor_tests::harness::http::get(&format!("{}/metrics", self.agent.url())).await.unwrap().body;
        let lines =
            text.lines().filter_map(|line| line.strip_prefix(name)?.split_whitespace().last()?.parse::<u64>().ok());
        lines.sum()
    }
}

pub(super) fn decoded(secret: &Value) -> BTreeMap<String, String> {
    let data = secret["data"].as_object().cloned().unwrap_or_default();
    let text = |value: &Value| String::from_utf8_lossy(&STANDARD.decode(value.as_str().unwrap()).unwrap()).into_owned();
    data.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// A SecretStore, or with a name that starts with `cluster` a ClusterSecretStore.
pub(super) fn store(name: &str, service: &str) -> Value {
    let kind = if name.starts_with("cluster") { "ClusterSecretStore" } else { "SecretStore" };
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"provider": {"aws": {"service": service, "region": "eu-central-1"}}},
    })
}

/// An ExternalSecret of store `store` that is read every second.
pub(super) fn external_secret(name: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
        "spec": {"secretStoreRef": {"name": "store"}, "refreshInterval": "1s"},
    });
    let spec = spec.as_object().unwrap().clone();
    object["spec"].as_object_mut().unwrap().extend(spec);
    object
}

/// One entry of `data`.
pub(super) fn datum(secret_key: &str, key: &str) -> Value {
    json!({"secretKey": secret_key, "remoteRef": {"key": key}})
}

pub(super) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            // With the garbage collector, which deletes what nobody owns any more.
            let control_plane = ControlPlane::builder().controllers(true).start().await;
            definitions::install(&control_plane.client().await).await;
            control_plane
        })
        .await
}
