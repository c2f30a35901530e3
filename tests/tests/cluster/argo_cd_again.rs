//! Argo CD again: what it gets back, and what it takes from the agent by itself.

use gitmoor_tests::harness::installation::{api, apply};
use gitmoor_tests::harness::{ControlPlane, Installation, condition, config_map, create_namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::argo_cd::install;

const APPLICATION: &str = "argoproj.io/v1alpha1/Application";
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// Argo CD applies a ConfigMap of the target namespace, as its controller 3.5 does: with a merge patch.
async fn argo_cd_applies(world: &Installation, application: &str, name: &str, data: &Value) {
    let tracking = format!("{application}:/ConfigMap:{}/{name}", world.target);
    let patch = json!({"data": data, "metadata": {"annotations": {TRACKING_ID: tracking}}});
    let parameters = PatchParams { field_manager: Some("argocd-controller".to_owned()), ..PatchParams::default() };
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    maps.patch(name, &parameters, &Patch::Merge(patch)).await.unwrap();
}

fn managers(map: &Value) -> Vec<&str> {
    map["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_argo_cd_has_had_again_is_taken_over_again() {
    let world = Installation::start("again").await;
    let first = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let applications = api(&world.client, APPLICATION, Some(&world.namespace));
    applications.delete("web", &DeleteParams::default()).await.unwrap();
    world.await_target("stays", "v1/ConfigMap", "map", |map| map.is_some()).await;
    // It had it for a while, and rolled a commit out.
    argo_cd_applies(&world, "web", "map", &json!({"more": "than before"})).await;
    let with_more = format!("{}  more: \"than before\"\n", config_map("map", "key", "one"));
    let second = world.repository.commit(&[("web/map.yaml", &with_more)], "more").await;

    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &second).await;
    let map = world.target("v1/ConfigMap", "map").await.unwrap();
    assert_eq!((managers(&map), map["metadata"]["annotations"].get(TRACKING_ID)), (vec!["gitmoor"], None), "{map:#}");
    let third = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "less").await;
    world.await_synced("web", &third).await;
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"], json!({"key": "one"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_argo_cd_takes_is_left_to_it_without_a_fight() {
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    let argo_cd = create_namespace(&client, "takes-argocd").await;
    let world = Installation::start_on(&control_plane, "takes", |agent| agent).await;
    install(&client, &argo_cd, "").await;
    let mut files = vec![("web/own.yaml".to_owned(), config_map("own", "key", "ours"))];
    for name in ["same", "other"] {
        files.push((format!("web/{name}.yaml"), config_map(name, "key", "ours")));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let commit = world.repository.commit(&files, "ours").await;
    // As `kubectl apply` makes it.
    let mut application = world.application("web", "web");
    application["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}\n"});
    world.apply(&application).await;
    world.await_synced("web", &commit).await;

    let mut theirs = world.application("shop", "shop");
    theirs["metadata"]["namespace"] = json!(argo_cd);
    apply(&client, &theirs).await;
    argo_cd_applies(&world, "shop", "same", &json!({"key": "ours"})).await;
    argo_cd_applies(&world, "shop", "other", &json!({"key": "argo"})).await;
    let told = |status: &Value| {
        let told = |name: &str| {
            let start =
                format!("LeftToArgoCD: ConfigMap {}/{name}: Argo CD's Application {argo_cd}/shop", world.target);
            let mut messages = status["conditions"].as_array().into_iter().flatten().map(|one| &one["message"]);
            messages.any(|message| message.as_str().unwrap().starts_with(&start))
        };
        told("same") && told("other") && !told("own") && status["sync"]["status"] == "OutOfSync"
    };
    world.await_status("says what is Argo CD's", "web", told).await;
    // Neither the objects nor the status are written again and again: it is tried after 1, 2, 4, … seconds.
    let mark = control_plane.audit().mark().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user);
    let maps = requests.clone().resource("configmaps").writes();
    assert!(maps.filter(|request| request.namespace == world.target).is_empty(), "{requests}");
    let written = requests.clone().resource("applications.argoproj.io").writes().count();
    assert!(written <= 4, "{written}:\n{requests}");
    assert_eq!(world.target("v1/ConfigMap", "other").await.unwrap()["data"]["key"], "argo");

    let applications = api(&client, APPLICATION, Some(&argo_cd));
    applications.delete("shop", &DeleteParams::default()).await.unwrap();
    for name in ["same", "other"] {
        let ours = |map: Option<&Value>| {
            map.is_some_and(|map| {
                map["data"]["key"] == "ours" && map["metadata"]["annotations"].get(TRACKING_ID).is_none()
            })
        };
        world.await_target("is ours again", "v1/ConfigMap", name, ours).await;
        assert_eq!(managers(&world.target("v1/ConfigMap", name).await.unwrap()), ["gitmoor"]);
    }
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && condition(status, "LeftToArgoCD").is_none();
    world.await_status("is Synced", "web", synced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_in_place_is_taken_over_although_argo_cd_has_synced_this_very_commit() {
    let world = Installation::start("in-place").await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"key": "one"}});
    let by_argo = PostParams { field_manager: Some("argocd-controller".to_owned()), ..PostParams::default() };
    maps.create(&by_argo, &serde_json::from_value(made).unwrap()).await.unwrap();
    argo_cd_applies(&world, "web", "map", &json!({"key": "one"})).await;
    // What Argo CD 3.5 leaves: it was there first, and nothing asks for another sync.
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"] = json!({});
    world.apply(&application).await;
    world.await_status("is looked at", "web", |status| status["sync"]["status"] == "OutOfSync").await;
    let source = &application["spec"]["source"];
    let (automated, time) = (json!({"automated": true}), "2026-01-01T00:00:00Z");
    let theirs = json!({
        "controllerNamespace": "argocd", "resourceHealthSource": "appTree", "sourceHydrator": {},
        "health": {"status": "Healthy"}, "sourceType": "Directory", "reconciledAt": time,
        "operationState": {
            "phase": "Succeeded", "message": "successfully synced (all tasks run)", "startedAt": time, "finishedAt": time,
            "operation": {"initiatedBy": automated, "retry": {"limit": 5}, "sync": {"revision": commit}},
            "syncResult": {"revision": commit, "source": source},
        },
        "resources": [{"version": "v1", "kind": "ConfigMap", "namespace": world.target, "name": "map", "status": "Synced"}],
        "sync": {"status": "Synced", "revision": commit,
            "comparedTo": {"source": source, "destination": application["spec"]["destination"]}},
    });
    let applications = api(&world.client, APPLICATION, Some(&world.namespace));
    applications.patch_status("web", &PatchParams::default(), &Patch::Merge(json!({"status": theirs}))).await.unwrap();
    world.patch_application("web", &json!({"spec": {"syncPolicy": {"automated": {"prune": true}}}})).await;
    let ours = |status: &Value| {
        let theirs = ["controllerNamespace", "resourceHealthSource", "sourceHydrator"];
        status["sync"]["status"] == "Synced" && theirs.iter().all(|field| status[field].is_null())
    };
    world.await_status("is Synced, as the agent says it", "web", ours).await;
    let map = world.target("v1/ConfigMap", "map").await.unwrap();
    assert_eq!((managers(&map), map["metadata"]["annotations"].get(TRACKING_ID)), (vec!["gitmoor"], None), "{map:#}");
}
