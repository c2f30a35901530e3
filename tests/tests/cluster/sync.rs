//! From a push to applied, pruned, healed and reported objects.

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{ControlPlane, Installation, argo_cd_definition, config_map, kustomization};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::operate::Person;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_applied_changed_and_pruned() {
    let world = Installation::start("push").await;
    let first = world
        .repository
        .commit(
            &[
                ("web/kustomization.yaml", &kustomization(&["a.yaml", "b.yaml"])),
                ("web/a.yaml", &config_map("a", "key", "one")),
                ("web/b.yaml", &config_map("b", "key", "one")),
            ],
            "two maps",
        )
        .await;
    world.apply(&world.application("web", "web")).await;
    let status = world.await_synced("web", &first).await;
    assert_eq!(status["resources"].as_array().unwrap().len(), 2);
    assert_eq!(status["operationState"]["phase"], "Succeeded");
    assert_eq!(status["history"][0]["revision"], first.as_str());
    let events = api(&world.client, "v1/Event", Some(&world.namespace));
    let told = async || {
        let listed = events.list(&ListParams::default().fields("involvedObject.name=web")).await.unwrap();
        let completed = listed.into_iter().find(|event| event.data["reason"] == "OperationCompleted");
        completed
            .map(|event| event.data["message"].as_str().unwrap_or_default().to_owned())
            .ok_or_else(|| "no event".to_owned())
    };
    let told = world.scene().eventually("an event tells of the sync", PATIENCE, told).await;
    assert!(told.contains("2 applied, 0 deleted"), "{told}");

    let second = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "change a").await;
    world.await_synced("web", &second).await;
    assert_eq!(world.target("v1/ConfigMap", "a").await.unwrap()["data"]["key"], "two");

    let files = [("web/kustomization.yaml", kustomization(&["a.yaml"]))];
    let third = world.repository.commit(&[(files[0].0, &files[0].1)], "drop b").await;
    let status = world.await_synced("web", &third).await;
    assert_eq!(status["resources"].as_array().unwrap().len(), 1);
    assert!(world.target("v1/ConfigMap", "b").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_and_foreign_fields_are_left_alone() {
    let world = Installation::start("drift").await;
    let commit = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "git"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;

    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    let edit = json!({"data": {"key": "edited", "foreign": "kept"}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    world
        .await_target("the edit is undone", "v1/ConfigMap", "a", |map| {
            map.is_some_and(|map| map["data"]["key"] == "git" && map["data"]["foreign"] == "kept")
        })
        .await;

    maps.delete("a", &DeleteParams::default()).await.unwrap();
    world
        .await_target("the deleted map is back", "v1/ConfigMap", "a", |map| {
            map.is_some_and(|map| map["data"] == json!({"key": "git"}))
        })
        .await;

    let unlabel = json!({"metadata": {"labels": {"gitmoor.dev/application": null}}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&unlabel)).await.unwrap();
    world
        .await_target("the label is back", "v1/ConfigMap", "a", |map| {
            map.is_some_and(|map| map["metadata"]["labels"]["gitmoor.dev/application"].is_string())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cds_own_definition_will_do() {
    // On a control plane of its own, because the definition is the cluster's.
    let control_plane = ControlPlane::builder().start().await;
    let world = Installation::start_on(&control_plane, "plain-status", |agent| agent).await;
    argo_cd_definition::install(&world.client).await;
    let first = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let second = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "change").await;
    let status = world.await_synced("web", &second).await;
    assert_eq!(status["history"].as_array().unwrap().len(), 2);
    // Argo CD's definition demands group and namespace of each result.
    let results = &status["operationState"]["syncResult"]["resources"];
    assert_eq!((&results[0]["group"], &results[0]["name"]), (&json!(""), &json!("a")), "{status:#}");
    // Own writes of the status are no changes of the Application.
    let mark = control_plane.audit().mark().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let writes =
        control_plane.audit().since(mark).await.of_user(&world.user).resource("applications.argoproj.io").writes();
    assert!(writes.is_empty(), "{writes}");

    // What is refused is told, of the core group and of what is in no namespace too; hooks of that group end.
    let annotated = "\n  annotations:\n    argocd.argoproj.io/hook: PreSync\ndata:";
    let hook = config_map("before", "key", "one").replace("\ndata:", annotated);
    let cluster_wide = "apiVersion: v1\nkind: PersistentVolume\nmetadata:\n  name: nothing-in-it\nspec: {}\n";
    let files = [
        ("refused/volume.yaml", cluster_wide),
        ("hooked/hook.yaml", &hook),
        ("hooked/a.yaml", &config_map("b", "key", "one")),
    ];
    let third = world.repository.commit(&files, "refused and hooked").await;
    for name in ["refused", "hooked"] {
        world.apply(&world.application(name, name)).await;
    }
    let status = world.await_condition("refused", "ApplyRejected").await;
    let result = &status["operationState"]["syncResult"]["resources"][0];
    assert_eq!((&result["status"], &result["namespace"]), (&json!("SyncFailed"), &json!("")), "{status:#}");
    let status = world.await_synced("hooked", &third).await;
    assert_eq!(status["operationState"]["phase"], "Succeeded", "{status:#}");
    world
        .await_target("the hook is let go", "v1/ConfigMap", "before", |map| {
            map.is_some_and(|map| map["metadata"].get("finalizers").is_none())
        })
        .await;
    let person = Person::of(&control_plane, &world);
    let rows = person.run(&["status", "--output", "json"]).json();
    let rows = rows["applications"].as_array().unwrap();
    let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["hooked", "refused", "web"]);
}
