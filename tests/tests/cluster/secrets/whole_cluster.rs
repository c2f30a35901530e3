//! What is not of one namespace: definitions that come late, ClusterExternalSecrets, kinds that are not supported, and
//! another operator. On a control plane of its own, with an agent that serves all namespaces.

use std::time::Duration;

use gitmoor_tests::harness::installation::{PATIENCE, api, apply};
use gitmoor_tests::harness::{
    Agent, Aws, AwsProxy, ControlPlane, Scene, create_namespace, definitions, http, throughout,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{EXTERNAL, decoded, store};

const CLUSTER_EXTERNAL: &str = "external-secrets.io/v1/ClusterExternalSecret";
const DEPLOYMENT: &str = "apps/v1/Deployment";

struct Whole {
    client: kube::Client,
    agent: Agent,
    aws: Aws,
    proxy: AwsProxy,
    namespaces: [String; 3],
    _control_plane: ControlPlane,
}

impl Whole {
    /// With an agent that runs, and no definition of the kinds that it serves.
    async fn start() -> Self {
        let control_plane = ControlPlane::builder().controllers(true).scheduler(true).kwok_nodes(1).start().await;
        let client = control_plane.client().await;
        let home = create_namespace(&client, "agent").await;
        let aws = Aws::start().await;
        let proxy = AwsProxy::start(aws.endpoint()).await;
        definitions::install_one(&client, "application").await;
        let identity = control_plane.kubeconfig_for_user("agent", Some("system:masters"));
        let mut agent = Agent::builder(&identity).arg(format!("--namespace={home}"));
        for (name, value) in aws.environment() {
            let value = if name == "AWS_ENDPOINT_URL" { proxy.endpoint() } else { value };
            agent = agent.env(name, value);
        }
        let mut agent = agent.start();
        agent.await_ready(PATIENCE).await;
        let mut namespaces = Vec::new();
        for name in ["one", "two", "three"] {
            namespaces.push(create_namespace(&client, name).await);
        }
        let namespaces = namespaces.try_into().unwrap();
        Self { client, agent, aws, proxy, namespaces, _control_plane: control_plane }
    }

    async fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let object = api(&self.client, kind, namespace).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    async fn merge(&self, kind: &str, namespace: Option<&str>, name: &str, patch: &Value) {
        let objects = api(&self.client, kind, namespace);
        objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn await_object(
        &self,
        what: &str,
        (kind, namespace, name): (&str, Option<&str>, &str),
        fits: impl Fn(Option<&Value>) -> bool,
    ) {
        let check = async || {
            let object = self.get(kind, namespace, name).await;
            if fits(object.as_ref()) { Ok(()) } else { Err(format!("{object:?}")) }
        };
        let scene = Scene::new(self.client.clone()).agent(&self.agent);
        scene.eventually(&format!("{kind} {name}: {what}"), PATIENCE, check).await;
    }

    async fn await_value(&self, namespace: &str, value: Option<&str>) {
        self.await_object(&format!("in {namespace} {value:?}"), ("v1/Secret", Some(namespace), "shared"), |secret| {
            secret.map(|secret| decoded(secret)["k"].clone()).as_deref() == value
        })
        .await;
    }

    /// Namespaces that a ClusterExternalSecret says it serves, and those that it does not.
    async fn await_status(&self, provisioned: &[&str], failed: &[(&str, &str)]) {
        let mut sorted = provisioned.to_vec();
        sorted.sort_unstable();
        let failed: Vec<Value> = failed.iter().map(|(n, why)| json!({"namespace": n, "reason": why})).collect();
        let ready = if failed.is_empty() { "True" } else { "False" };
        self.await_object("its status", (CLUSTER_EXTERNAL, None, "everywhere"), |object| {
            let status = &object.unwrap_or(&Value::Null)["status"];
            let list = |key: &str| status[key].as_array().cloned().unwrap_or_default();
            list("provisionedNamespaces") == sorted
                && list("failedNamespaces") == failed
                && status["conditions"][0]["status"] == ready
        })
        .await;
    }
}

fn everywhere(spec: &Value) -> Value {
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "a"}}]);
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": {"name": "everywhere"},
        "spec": {
            "externalSecretName": "shared", "externalSecretMetadata": {"labels": {"from": "everywhere"}},
            "externalSecretSpec": {
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": "cluster"}, "refreshInterval": "1h", "data": data,
            },
        },
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_come_late_and_objects_for_all_of_a_cluster() {
    let whole = Whole::start().await;
    let [one, two, three] = whole.namespaces.each_ref().map(String::as_str);
    whole.aws.secrets_manager("CreateSecret", &json!({"Name": "a", "SecretString": "value"})).await;
    definitions::install(&whole.client).await;
    apply(&whole.client, &store("cluster", "SecretsManager")).await;

    // By name and by label; one that somebody else has made is left alone.
    let theirs = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "shared", "namespace": three},
        "spec": {"secretStoreRef": {"name": "x"}, "data": [{"secretKey": "k", "remoteRef": {"key": "theirs"}}]},
    });
    apply(&whole.client, &theirs).await;
    let label = |value: &str| json!({"metadata": {"labels": {"wants": value}}});
    whole.merge("v1/Namespace", None, two, &label("it")).await;
    whole.merge("v1/Namespace", None, three, &label("it")).await;
    let selectors = json!({"namespaces": [one, "not-there"], "namespaceSelectors": [{"matchLabels": {"wants": "it"}}]});
    apply(&whole.client, &everywhere(&selectors)).await;
    whole.await_value(one, Some("value")).await;
    whole.await_value(two, Some("value")).await;
    whole.await_status(&[one, two], &[(three, "external secret already exists in namespace")]).await;
    let external = |namespace| (EXTERNAL, Some(namespace), "shared");
    let left = whole.get(EXTERNAL, Some(three), "shared").await.unwrap();
    assert_eq!(left["spec"]["data"][0]["remoteRef"]["key"], "theirs");
    let made = whole.get(EXTERNAL, Some(one), "shared").await.unwrap();
    assert_eq!(made["metadata"]["labels"]["from"], "everywhere");

    // What somebody changes comes back, and so does what somebody deletes.
    whole.merge(EXTERNAL, Some(one), "shared", &json!({"spec": {"refreshInterval": "5m"}})).await;
    whole.await_object("as it was", external(one), |o| o.is_some_and(|o| o["spec"]["refreshInterval"] == "1h")).await;
    api(&whole.client, EXTERNAL, Some(two)).delete("shared", &DeleteParams::default()).await.unwrap();
    let uid = |o: Option<&Value>| o.map(|o| o["metadata"]["uid"].clone());
    let before = uid(Some(&made));
    whole.await_value(two, Some("value")).await;

    // A namespace that is not selected any more loses it, with its Secret; a new one gets it.
    whole.merge("v1/Namespace", None, two, &label("nothing")).await;
    whole.await_object("gone", external(two), |object| object.is_none()).await;
    whole.await_value(two, None).await;
    whole.merge("v1/Namespace", None, three, &label("nothing")).await;
    whole.await_status(&[one], &[]).await;
    let labels = json!({"name": "late", "labels": {"wants": "it"}});
    apply(&whole.client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": labels})).await;
    whole.await_value("late", Some("value")).await;
    whole.await_status(&[one, "late"], &[]).await;
    assert_eq!(uid(whole.get(EXTERNAL, Some(one), "shared").await.as_ref()), before, "it was never made again");

    // One whose secret is gone counts as failed, and is provisioned all the same.
    whole.aws.secrets_manager("DeleteSecret", &json!({"SecretId": "a", "ForceDeleteWithoutRecovery": true})).await;
    let again = json!({"metadata": {"annotations": {"force-sync": "again"}}});
    whole.merge(CLUSTER_EXTERNAL, None, "everywhere", &again).await;
    whole
        .await_object("says why", (CLUSTER_EXTERNAL, None, "everywhere"), |object| {
            let status = &object.unwrap_or(&Value::Null)["status"];
            let failed = status["failedNamespaces"].as_array().cloned().unwrap_or_default();
            let told =
                |failed: &Value| failed["reason"].as_str().is_some_and(|why| why.starts_with("SecretNotFound: "));
            failed.len() == 2
                && failed.iter().all(told)
                && status["provisionedNamespaces"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await;
    whole.aws.secrets_manager("CreateSecret", &json!({"Name": "a", "SecretString": "value"})).await;
    whole.await_status(&[one, "late"], &[]).await;

    // And with the ClusterExternalSecret all goes.
    api(&whole.client, CLUSTER_EXTERNAL, None).delete("everywhere", &DeleteParams::default()).await.unwrap();
    whole.await_value(one, None).await;
    whole.await_value("late", None).await;

    unsupported_kinds_say_so(&whole, one).await;
    another_operator_keeps_its_objects(&whole, one).await;
}

/// The operator's kinds without what is not served here: only their definitions, as it installs them.
async fn unsupported_kinds_say_so(whole: &Whole, namespace: &str) {
    for (kind, plural, scope) in
        [("PushSecret", "pushsecrets", "Namespaced"), ("ClusterPushSecret", "clusterpushsecrets", "Cluster")]
    {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = json!({
            "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
        });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.external-secrets.io")},
            "spec": {
                "group": "external-secrets.io", "scope": scope, "versions": [version],
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            },
        });
        apply(&whole.client, &definition).await;
        let api_kind = format!("external-secrets.io/v1alpha1/{kind}");
        let at = (scope == "Namespaced").then_some(namespace);
        let mut object = json!({"apiVersion": "external-secrets.io/v1alpha1", "kind": kind, "metadata": {"name": "p"}});
        if let Some(namespace) = at {
            object["metadata"]["namespace"] = namespace.into();
        }
        let objects = api(&whole.client, &api_kind, at);
        gitmoor_tests::harness::eventually("the kind is served", PATIENCE, async || {
            let parameters = PatchParams::apply("test").force();
            objects.patch("p", &parameters, &Patch::Apply(&object)).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        whole
            .await_object("it says that it is not supported", (&api_kind, at, "p"), |object| {
                let condition = &object.unwrap()["status"]["conditions"][0];
                condition["status"] == "False"
                    && condition["message"].as_str().is_some_and(|m| m.contains(&format!("NotSupported: {kind}")))
            })
            .await;
    }
}

async fn another_operator_keeps_its_objects(whole: &Whole, namespace: &str) {
    let container = json!({"name": "c", "image": "example.com/operator:1"});
    let labels = json!({"app.kubernetes.io/name": "external-secrets"});
    let operator = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "external-secrets", "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
        },
    });
    apply(&whole.client, &operator).await;
    let says = "another operator for ExternalSecrets runs: its objects are left alone";
    let deployments = api(&whole.client, DEPLOYMENT, Some(namespace));
    let scene = Scene::new(whole.client.clone()).agent(&whole.agent);
    let metric = async || {
        let text = http::get(&format!("{}/metrics", whole.agent.url())).await.unwrap().body;
        text.lines().any(|line| line == r#"gitmoor_secrets_left_alone{form="external-secrets.io"} 1"#)
    };
    scene
        .eventually("it says that it leaves them alone", PATIENCE, async || {
            let log = whole.agent.log();
            if log.contains(says) && log.contains(&format!("{namespace}/external-secrets")) { Ok(()) } else { Err(log) }
        })
        .await;
    whole.proxy.take_calls();
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "a"}}]);
    let store = json!({"kind": "ClusterSecretStore", "name": "cluster"});
    let theirs = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "shared", "namespace": namespace},
        "spec": {"secretStoreRef": store, "refreshInterval": "1h", "data": data},
    });
    apply(&whole.client, &theirs).await;
    throughout("nothing is done with it", Duration::from_secs(2), async || {
        let object = whole.get(EXTERNAL, Some(namespace), "shared").await.unwrap();
        let untouched = object.get("status").is_none() && whole.proxy.take_calls().is_empty();
        if untouched { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    scene.eventually("the metric", PATIENCE, async || if metric().await { Ok(()) } else { Err(String::new()) }).await;
    deployments.delete("external-secrets", &DeleteParams::default()).await.unwrap();
    whole.await_value(namespace, Some("value")).await;
}
