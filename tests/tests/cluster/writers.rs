//! Others who write to the same objects: what is repaired, what is left alone, and what is said of it.

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::tools::tool;
use gitmoor_tests::harness::{AdmissionWebhook, ControlPlane, Installation, condition, config_map};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {team: a}
spec:
  REPLICAS
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: web:1
          resources: {requests: {cpu: 1000m, memory: 1024Mi}}
";

fn deployment(replicas: &str) -> String {
    DEPLOYMENT.replace("  REPLICAS\n", &if replicas.is_empty() { String::new() } else { format!("  {replicas}\n") })
}

fn kubectl(arguments: &[&str]) {
    let control_plane = futures::executor::block_on(ControlPlane::shared());
    let mut command = std::process::Command::new(tool("kubectl"));
    command.env_clear().env("HOME", "/nonexistent").arg("--kubeconfig").arg(control_plane.admin().path());
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn roll_out(purpose: &str, manifest: &str) -> Installation {
    let world = Installation::start(purpose).await;
    world.repository.write("web/marker.yaml", config_map("marker", "key", "git"));
    let commit = world.repository.commit(&[("web/web.yaml", manifest)], "a workload").await;
    world.apply(&world.application("web", "web")).await;
    await_synced_at(&world, &commit).await;
    world
}

async fn await_synced_at(world: &Installation, commit: &str) {
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit;
    world.await_status("is Synced", "web", synced).await;
}

/// Whatever came before has been looked at when this is repaired.
async fn settle(world: &Installation) {
    world.patch("v1/ConfigMap", &world.target, "marker", &json!({"data": {"key": "edited"}})).await;
    let repaired = |map: Option<&Value>| map.unwrap()["data"]["key"] == "git";
    world.await_target("the marker is repaired", "v1/ConfigMap", "marker", repaired).await;
}

fn as_git_has_it(live: &Value) -> bool {
    live["spec"]["replicas"] == 2
        && live["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
        && live["metadata"]["labels"]["team"] == "a"
        && live["metadata"]["labels"]["gitmoor.dev/application"].is_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_edit_to_an_owned_field_is_undone() {
    let world = roll_out("drift-matrix", &deployment("replicas: 2")).await;
    let namespace = format!("--namespace={}", world.target);
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    let as_somebody = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    for edit in ["scale", "image", "label", "edit", "replace", "apply", "delete", "recreate"] {
        match edit {
            "scale" => kubectl(&["scale", &namespace, "deployment/web", "--replicas=5"]),
            "image" => kubectl(&["set", "image", &namespace, "deployment/web", "web=web:9"]),
            "label" => kubectl(&["label", &namespace, "deployment/web", "team-", "gitmoor.dev/application-"]),
            "edit" => {
                let patch = json!({"metadata": {"labels": {"team": "b"}}, "spec": {"replicas": 7}});
                deployments.patch("web", &as_somebody, &Patch::Merge(&patch)).await.unwrap();
            }
            "replace" => {
                let mut object = deployments.get("web").await.unwrap();
                object.data["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:8");
                object.metadata.managed_fields = None;
                deployments.replace("web", &PostParams::default(), &object).await.unwrap();
            }
            "apply" => {
                let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 9}});
                deployments.patch("web", &PatchParams::apply("other").force(), &Patch::Apply(&object)).await.unwrap();
            }
            "delete" => drop(deployments.delete("web", &DeleteParams::default()).await.unwrap()),
            _ => {
                let mut object: Value = serde_yaml::from_str(&deployment("replicas: 3")).unwrap();
                object["metadata"]["labels"]["team"] = json!("c");
                deployments.delete("web", &DeleteParams::default()).await.unwrap();
                // Either may be faster to make it again.
                drop(deployments.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await);
            }
        }
        let back = |live: Option<&Value>| live.is_some_and(as_git_has_it);
        world.await_target(&format!("{edit} is undone"), "apps/v1/Deployment", "web", back).await;
        // More than a few in a row are taken for a fight, and slowed down.
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_statuses_autoscalers_and_foreign_fields_cause_no_write() {
    let control_plane = ControlPlane::shared().await;
    let world = roll_out("no-writes", &deployment("")).await;
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    let by = |manager: &str| PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    settle(&world).await;
    let mark = control_plane.audit().mark().await;
    let scale = json!({"spec": {"replicas": 6}});
    deployments.patch_subresource("scale", "web", &by("kube-controller-manager"), &Patch::Merge(&scale)).await.unwrap();
    let status = json!({"status": {"observedGeneration": 2, "replicas": 6, "readyReplicas": 6, "availableReplicas": 6, "updatedReplicas": 6}});
    deployments
        .patch_subresource("status", "web", &by("kube-controller-manager"), &Patch::Merge(&status))
        .await
        .unwrap();
    let foreign = json!({"metadata": {"annotations": {"foreign": "yes"}}, "spec": {"minReadySeconds": 3}});
    deployments.patch("web", &by("some-operator"), &Patch::Merge(&foreign)).await.unwrap();
    let side = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1"}]}}}});
    deployments.patch("web", &by("injector"), &Patch::Strategic(&side)).await.unwrap();
    settle(&world).await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user);
    let written =
        requests.writes().filter(|request| request.name == "web" && request.resource.starts_with("deployments"));
    assert!(written.is_empty(), "{written}");
    let live = world.target("apps/v1/Deployment", "web").await.unwrap();
    assert_eq!((&live["spec"]["replicas"], &live["spec"]["minReadySeconds"]), (&json!(6), &json!(3)));
    assert_eq!(world.status("web").await["sync"]["status"], "Synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_leave_git_stay_as_they_are() {
    let world = roll_out("handover", &deployment("replicas: 4")).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": world.target},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 4, "maxReplicas": 9},
    });
    world.apply(&autoscaler).await;
    let commit = world.repository.commit(&[("web/web.yaml", &deployment(""))], "an autoscaler has it now").await;
    await_synced_at(&world, &commit).await;
    settle(&world).await;
    assert_eq!(world.target("apps/v1/Deployment", "web").await.unwrap()["spec"]["replicas"], 4);
    // The autoscaler scales without meeting anybody.
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    let scaled = json!({"spec": {"replicas": 8}});
    let parameters =
        PatchParams { field_manager: Some("kube-controller-manager".to_owned()), ..PatchParams::default() };
    deployments.patch_subresource("scale", "web", &parameters, &Patch::Merge(&scaled)).await.unwrap();
    let commit =
        world.repository.commit(&[("web/web.yaml", &deployment("").replace("web:1", "web:2"))], "an image").await;
    await_synced_at(&world, &commit).await;
    assert_eq!(world.target("apps/v1/Deployment", "web").await.unwrap()["spec"]["replicas"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_overwrites_a_value_is_one_condition_and_no_loop() {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("mutated").await;
    let webhook = AdmissionWebhook::start(|object| {
        let image = "/spec/template/spec/containers/0/image";
        let at = object.pointer(image).and_then(Value::as_str).unwrap_or_default();
        if at.starts_with("mirror/") {
            return Vec::new();
        }
        vec![json!({"op": "replace", "path": image, "value": format!("mirror/{at}")})]
    })
    .await;
    let name = format!("mutated-{}", world.target);
    world.apply(&webhook.configuration(&name, &world.target, ("apps", "v1", "deployments"))).await;
    // The API server takes a moment to ask it.
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    world
        .scene()
        .eventually("the webhook is asked", PATIENCE, async || {
            let object: Value = serde_yaml::from_str(&deployment("").replace("name: web\n", "name: probe\n")).unwrap();
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            let made = deployments.create(&dry, &serde_json::from_value(object).unwrap()).await.unwrap();
            let image = made.data["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            if image == "mirror/web:1" { Ok(()) } else { Err(image.to_string()) }
        })
        .await;
    world.repository.write("web/marker.yaml", config_map("marker", "key", "git"));
    let commit = world.repository.commit(&[("web/web.yaml", &deployment("replicas: 2"))], "a workload").await;
    world.apply(&world.application("web", "web")).await;
    await_synced_at(&world, &commit).await;
    let status = world.await_condition("web", "MutatedByAdmission").await;
    let told = condition(&status, "MutatedByAdmission").unwrap();
    assert!(told.contains("spec.template.spec.containers[0].image is overwritten"), "{told}");
    let of_webhook = |status: &Value| {
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["message"].as_str().unwrap().starts_with("Mutated"))
            .count()
    };
    assert_eq!(of_webhook(&status), 1, "{status:#}");

    let mark = control_plane.audit().mark().await;
    settle(&world).await;
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    settle(&world).await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let written = requests.filter(|request| request.name == "web" && request.resource.starts_with("deployments"));
    assert!(written.is_empty(), "{written}");
    assert_eq!(of_webhook(&world.status("web").await), 1, "it is still said after a restart");

    // Git takes the value of the webhook, and it is over.
    let manifest = deployment("replicas: 2").replace("web:1", "mirror/web:1");
    let commit = world.repository.commit(&[("web/web.yaml", &manifest)], "as the webhook wants it").await;
    await_synced_at(&world, &commit).await;
    world
        .await_status("nothing is said any more", "web", |status| condition(status, "MutatedByAdmission").is_none())
        .await;
    let configurations = api(&world.client, "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration", None);
    configurations.delete(&name, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_fights_back_is_named_beside_us_and_slows_us_down() {
    let control_plane = ControlPlane::shared().await;
    let world = roll_out("fight", &config_map("contested", "key", "git")).await;
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    let (fighting, stop) = (maps.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let fighter = tokio::spawn(async move {
        let parameters = PatchParams { field_manager: Some("the-other".to_owned()), ..PatchParams::default() };
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            if fighting.get("contested").await.is_ok_and(|map| map.data["data"]["key"] == "git") {
                let patch = json!({"data": {"key": "theirs"}});
                drop(fighting.patch("contested", &parameters, &Patch::Merge(&patch)).await);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let status = world.await_condition("web", "OwnershipConflict").await;
    let told = condition(&status, "OwnershipConflict").unwrap();
    assert!(told.contains("the-other") && told.contains("gitmoor") && told.contains("data"), "{told}");
    let mark = control_plane.audit().mark().await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let written = requests.filter(|request| request.name == "contested");
    assert!(written.count() <= 4, "it does not slow down:\n{written}");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    fighter.await.unwrap();
    let ours = |map: Option<&Value>| map.unwrap()["data"]["key"] == "git";
    world.await_target("the last word is Git's", "v1/ConfigMap", "contested", ours).await;
}
