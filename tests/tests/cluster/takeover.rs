//! Objects that another tool has made become ours: what leaves Git leaves the cluster.

use gitmoor_tests::harness::installation::{CREDENTIALS, api};
use gitmoor_tests::harness::tools::tool;
use gitmoor_tests::harness::{ControlPlane, Identity, Installation, condition};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    stays: \"yes\"
    leaves-later: \"yes\"
spec:
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: web:1
";

/// What the former tool had, and Git has not.
fn formerly() -> String {
    DEPLOYMENT.replace("    stays:", "    left-before: \"yes\"\n    stays:")
}

fn later() -> String {
    DEPLOYMENT.replace("    leaves-later: \"yes\"\n", "")
}

fn kubectl(identity: &Identity, arguments: &[&str]) {
    let mut command = std::process::Command::new(tool("kubectl"));
    command.env_clear().env("HOME", "/nonexistent").arg("--kubeconfig").arg(identity.path()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn annotations(world: &Installation) -> Value {
    world.target("apps/v1/Deployment", "web").await.unwrap()["metadata"]["annotations"].clone()
}

fn managers(object: &Value) -> Vec<&str> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().filter_map(|entry| entry["manager"].as_str()).collect()
}

/// Rolls the Deployment out over what is there, and sees what left Git before and leaves it later go.
async fn adopt_and_change(world: &Installation, replicas: u64) {
    let uid = world.target("apps/v1/Deployment", "web").await.unwrap()["metadata"]["uid"].clone();
    let commit = world.repository.commit(&[("web/web.yaml", DEPLOYMENT)], "as it is").await;
    world.apply(&world.application("web", "web")).await;
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit.as_str();
    world.await_status("is Synced", "web", synced).await;
    let found = annotations(world).await;
    assert_eq!(
        (&found["stays"], &found["leaves-later"], &found["left-before"]),
        (&json!("yes"), &json!("yes"), &Value::Null)
    );
    assert_eq!(found["kubectl.kubernetes.io/last-applied-configuration"], Value::Null);
    assert_eq!(found["argocd.argoproj.io/tracking-id"], Value::Null);

    let commit = world.repository.commit(&[("web/web.yaml", &later())], "one annotation less").await;
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit.as_str();
    world.await_status("is Synced", "web", synced).await;
    let found = annotations(world).await;
    assert_eq!((&found["stays"], &found["leaves-later"]), (&json!("yes"), &Value::Null));
    let live = world.target("apps/v1/Deployment", "web").await.unwrap();
    assert_eq!(live["metadata"]["uid"], uid, "it is the same object");
    assert_eq!(live["spec"]["replicas"], replicas, "nobody has scaled it: {live:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_made_is_taken_over() {
    let control_plane = ControlPlane::shared().await;
    for way in ["apply", "server-side", "create", "replace"] {
        let world = Installation::start(&format!("kubectl-{way}")).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("before.yaml");
        std::fs::write(&file, formerly()).unwrap();
        let file = file.to_str().unwrap();
        let namespace = format!("--namespace={}", world.target);
        match way {
            "apply" => kubectl(control_plane.admin(), &["apply", &namespace, "-f", file]),
            "server-side" => kubectl(control_plane.admin(), &["apply", "--server-side", &namespace, "-f", file]),
            "create" => kubectl(control_plane.admin(), &["create", &namespace, "-f", file]),
            _ => {
                kubectl(control_plane.admin(), &["create", &namespace, "-f", file]);
                kubectl(control_plane.admin(), &["replace", &namespace, "-f", file]);
            }
        }
        // An autoscaler, or a person, has scaled it since; the number is not in Git.
        kubectl(control_plane.admin(), &["scale", &namespace, "deployment/web", "--replicas=4"]);
        let mark = control_plane.audit().mark().await;
        adopt_and_change(&world, 4).await;
        let requests = control_plane.audit().since(mark).await.of_user(&world.user).resource("deployments.apps");
        // The apply that finds it, the take-over, the apply that drops what is not in Git; and the second commit.
        assert_eq!(requests.clone().writes().count(), 4, "{way}:\n{requests}");
        assert_eq!(requests.verb("get").count(), 0, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_argo_cd_and_helm_made_is_taken_over() {
    let tracked = |manifest: &str| -> Value {
        let mut object: Value = serde_yaml::from_str(manifest).unwrap();
        object["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!("shop:apps/Deployment:web/web");
        object["metadata"]["labels"]["app.kubernetes.io/instance"] = json!("shop");
        object
    };
    let of_release = |manifest: &str| -> Value {
        let mut object: Value = serde_yaml::from_str(manifest).unwrap();
        object["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!("shop");
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
        object
    };
    for (purpose, manager, server_side, object) in [
        ("argo-client-side", "argocd-controller", false, tracked(&formerly())),
        ("argo-server-side", "argocd-controller", true, tracked(&formerly())),
        ("helm", "helm", false, of_release(&formerly())),
    ] {
        let world = Installation::start(purpose).await;
        let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
        if server_side {
            let parameters = PatchParams::apply(manager).force();
            deployments.patch("web", &parameters, &Patch::Apply(&object)).await.unwrap();
        } else {
            let parameters = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
            deployments.create(&parameters, &serde_json::from_value(object).unwrap()).await.unwrap();
        }
        let secrets = api(&world.client, "v1/Secret", Some(&world.target));
        let release = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {"name": "sh.helm.release.v1.shop.v1", "labels": {"owner": "helm", "name": "shop"}}});
        let parameters = PostParams { field_manager: Some("helm".to_owned()), ..PostParams::default() };
        let made = secrets.create(&parameters, &serde_json::from_value(release).unwrap()).await.unwrap();
        adopt_and_change(&world, 1).await;
        let live = world.target("apps/v1/Deployment", "web").await.unwrap();
        let label = &live["metadata"]["labels"];
        assert_eq!(label["app.kubernetes.io/instance"], Value::Null, "{label}");
        assert_eq!(label["app.kubernetes.io/managed-by"], Value::Null, "{label}");
        let log = world.agent.log();
        assert!(log.contains("adopted from") && log.contains("shop"), "{log}");
        let kept = secrets.get("sh.helm.release.v1.shop.v1").await.unwrap();
        assert_eq!(kept.metadata.resource_version, made.metadata.resource_version, "Helm's own record is left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_keep_their_fields_and_a_later_edit_is_not_taken_over() {
    let world = Installation::start("not-taken").await;
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    let object: Value = serde_yaml::from_str(&formerly()).unwrap();
    let parameters = PostParams { field_manager: Some("some-operator".to_owned()), ..PostParams::default() };
    deployments.create(&parameters, &serde_json::from_value(object).unwrap()).await.unwrap();
    let commit = world.repository.commit(&[("web/web.yaml", DEPLOYMENT)], "as it is").await;
    world.apply(&world.application("web", "web")).await;
    let synced = |status: &Value| status["sync"]["revision"] == commit.as_str() && status["sync"]["status"] == "Synced";
    world.await_status("is Synced", "web", synced).await;
    assert_eq!(annotations(&world).await["left-before"], "yes", "an operator's fields are its own");

    let parameters = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edit = json!({"metadata": {"annotations": {"added": "by hand"}}});
    deployments.patch("web", &parameters, &Patch::Merge(&edit)).await.unwrap();
    let commit = world.repository.commit(&[("web/web.yaml", &later())], "one annotation less").await;
    let synced = |status: &Value| status["sync"]["revision"] == commit.as_str() && status["sync"]["status"] == "Synced";
    world.await_status("is Synced", "web", synced).await;
    assert_eq!(annotations(&world).await["added"], "by hand");
    let live = world.target("apps/v1/Deployment", "web").await.unwrap();
    assert!(managers(&live).contains(&"kubectl-edit") && managers(&live).contains(&"some-operator"), "{live:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_migration_switched_off_everybody_keeps_what_they_own() {
    let world = Installation::start("no-migration").await;
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    let object: Value = serde_yaml::from_str(&formerly()).unwrap();
    let parameters = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
    deployments.create(&parameters, &serde_json::from_value(object).unwrap()).await.unwrap();
    let commit = world.repository.commit(&[("web/web.yaml", DEPLOYMENT)], "as it is").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"]["syncOptions"] = json!(["ClientSideApplyMigration=false"]);
    world.apply(&application).await;
    let synced = |status: &Value| status["sync"]["revision"] == commit.as_str() && status["sync"]["status"] == "Synced";
    world.await_status("is Synced", "web", synced).await;
    assert_eq!(annotations(&world).await["left-before"], "yes");
    assert!(!world.agent.log().contains(CREDENTIALS.1));
    assert_eq!(condition(&world.status("web").await, "UnsupportedField"), None);
}
