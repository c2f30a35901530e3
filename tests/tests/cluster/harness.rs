//! The control plane does what tests rely on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{Agent, ControlPlane, Scene, create_namespace, definitions, eventually, unique_name};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use serde_json::json;

fn config_map(name: &str, value: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.data = Some(BTreeMap::from([("key".to_owned(), value.to_owned())]));
    object
}

#[tokio::test]
async fn objects_are_made_read_changed_and_deleted() {
    let client = ControlPlane::shared().await.client().await;
    let namespace = create_namespace(&client, "crud").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    maps.create(&PostParams::default(), &config_map("a", "one")).await.unwrap();
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"other": "two"}});
    maps.patch("a", &PatchParams::apply("test"), &Patch::Apply(&applied)).await.unwrap();
    let data = maps.get("a").await.unwrap().data.unwrap();
    assert_eq!((data["key"].as_str(), data["other"].as_str()), ("one", "two"));
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn rbac_holds_for_users_and_service_accounts() {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, "rbac").await;
    let account = control_plane.kubeconfig_for_service_account(&namespace, "agent").await;
    let user = control_plane.kubeconfig_for_user(&unique_name("somebody"), None);
    let may_do_all = control_plane.kubeconfig_for_user(&unique_name("master"), Some("system:masters"));

    for identity in [&account, &user] {
        let maps: Api<ConfigMap> = Api::namespaced(identity.client().await.unwrap(), &namespace);
        let refused = maps.list(&ListParams::default()).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
        assert!(refused.to_string().contains(identity.user()), "{refused}");
    }
    let maps: Api<ConfigMap> = Api::namespaced(may_do_all.client().await.unwrap(), &namespace);
    maps.list(&ListParams::default()).await.unwrap();
    assert!(Path::new(account.path()).exists());
}

#[tokio::test]
async fn the_audit_log_counts_each_request_once() {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, "audit").await;
    let user = control_plane.kubeconfig_for_user(&unique_name("counted"), Some("system:masters"));
    let maps: Api<ConfigMap> = Api::namespaced(user.client().await.unwrap(), &namespace);
    maps.create(&PostParams::default(), &config_map("before", "one")).await.unwrap();

    let mark = control_plane.audit().mark().await;
    let watch = Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap());
    maps.create(&PostParams::default(), &config_map("a", "one")).await.unwrap();
    maps.get("a").await.unwrap();
    maps.get("a").await.unwrap();
    drop(watch);
    let requests = control_plane.audit().since(mark).await.of_user(user.user());
    let count = |verb: &str| requests.clone().verb(verb).resource("configmaps").namespace(&namespace).count();
    assert_eq!((count("create"), count("get"), count("watch")), (1, 2, 1), "\n{requests}");
    assert_eq!(requests.count(), 4, "\n{requests}");
    assert_eq!(requests.clone().writes().count(), 1, "\n{requests}");
    assert_eq!(requests.0[0].namespace, namespace);
}

#[tokio::test]
async fn a_dropped_control_plane_leaves_nothing() {
    let control_plane = ControlPlane::builder().start().await;
    let (api_server, etcd) = (control_plane.api_server_pid(), control_plane.etcd_pid());
    let folder = control_plane.folder().to_owned();
    let client = control_plane.client().await;
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
    drop(control_plane);
    for pid in [api_server, etcd] {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is there");
    }
    assert!(!folder.exists(), "{} is there", folder.display());
    assert!(client.apiserver_version().await.is_err());
}

#[tokio::test]
async fn a_deployment_becomes_available_on_fake_nodes() {
    let control_plane = ControlPlane::shared_with_nodes().await;
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, "nodes").await;
    let scene = Scene::new(client.clone()).namespace(&namespace);
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    let deployment = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "example.com/web:1" }] },
            },
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    scene
        .eventually("both pods are available", PATIENCE, async || {
            let status = deployments.get("web").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            match status.available_replicas {
                Some(2) => Ok(()),
                other => Err(format!("{other:?} are available")),
            }
        })
        .await;
    let described = scene.describe().await;
    assert!(described.contains("Pod web-") && described.contains("Running"), "{described}");
}

#[tokio::test]
#[should_panic(expected = "the reason given last")]
async fn a_state_that_does_not_come_ends_with_the_reason() {
    eventually("nothing", Duration::from_millis(200), async || Err::<(), _>("the reason given last".to_owned())).await;
}

#[tokio::test]
async fn an_agent_starts_is_killed_starts_again_and_stops() {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    let namespace = create_namespace(&client, "agent").await;
    let identity = control_plane.kubeconfig_for_user(&unique_name("agent"), Some("system:masters"));
    let mark = control_plane.audit().mark().await;
    let mut agent = Agent::builder(&identity).arg(format!("--namespace={namespace}")).start();
    agent.await_ready(PATIENCE).await;
    let requests = control_plane.audit().since(mark).await.of_user(identity.user());
    assert!(!requests.is_empty());

    let first = agent.pid();
    agent.kill();
    assert!(!agent.is_running());
    agent.restart();
    assert_ne!(agent.pid(), first);
    agent.await_ready(PATIENCE).await;
    assert!(agent.usage().private > 0);
    assert!(agent.terminate(PATIENCE).await.success(), "{}", agent.log());
}
