//! Applications that are being deleted and do not go.

use std::path::Path;

use gitmoor_tests::harness::installation::{api, asked_confirmation};
use gitmoor_tests::harness::{ControlPlane, Installation, config_map, unique_name};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::Person;
use super::explain::explained;

/// Nothing here finishes a namespace, so that it stays as one whose controller cannot tell what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_hangs_names_what_is_left_what_holds_it_and_the_way_out() {
    let world = Installation::start("hangs").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let name = unique_name("stays");
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
    let held = config_map("held", "key", "one")
        .replace("  name: held\n", "  name: held\n  annotations:\n    argocd.argoproj.io/sync-options: Prune=true\n");
    let commit = world.repository.commit(&[("web/namespace.yaml", &namespace), ("web/map.yaml", &held)], "both").await;
    let mut web = world.application("web", "web");
    web["metadata"]["finalizers"] = json!(["resources-finalizer.argocd.argoproj.io"]);
    world.apply(&web).await;
    world.await_synced("web", &commit).await;
    let hold = json!({"metadata": {"finalizers": ["test.dev/held"]}});
    world.patch("v1/ConfigMap", &world.target, "held", &hold).await;

    let applications = api(&world.client, "argoproj.io/v1alpha1/Application", Some(&world.namespace));
    applications.delete("web", &DeleteParams::default()).await.unwrap();
    world.await_status("asks whether the namespace may go", "web", |status| asked_confirmation(status).is_some()).await;
    person.run(&["prune", "web", "--yes"]).assert(0);
    let namespaces = api(&world.client, "v1/Namespace", None);
    world
        .await_status("the namespace goes", "web", |status| {
            let left = status["resources"].as_array().unwrap();
            let going = |one: &&serde_json::Value| one["health"]["message"].to_string().contains("pending deletion");
            left.len() == 2 && left.iter().filter(going).count() == 2
        })
        .await;
    let finding = explained(&person, Path::new("/"), "web", "Leaving").await;
    assert!(finding.to_string().contains("test.dev/held") || finding.to_string().contains(&name), "{finding:#}");
    let message = "Discovery failed for some groups, 1 failing: metrics.k8s.io/v1beta1: stale GroupVersion discovery";
    let dead = json!({"status": {"conditions": [{"type": "NamespaceDeletionDiscoveryFailure", "status": "True",
        "reason": "DiscoveryFailed", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    namespaces.patch_status(&name, &PatchParams::default(), &Patch::Merge(&dead)).await.unwrap();
    world
        .await_status("the namespace says why it stays", "web", |status| {
            status["resources"].to_string().contains("stale GroupVersion discovery")
        })
        .await;

    let run = person.run(&["explain", "web"]);
    let text = &run.assert(1).stdout;
    for expected in [
        "web is on its way out, and not gone yet:".to_owned(),
        format!("Namespace {name} is being deleted, and stays: NamespaceDeletionDiscoveryFailure: {message}"),
        "kubectl delete apiservice v1beta1.metrics.k8s.io".to_owned(),
        format!("ConfigMap {}/held is being deleted, and stays until test.dev/held is taken off it", world.target),
        "web is being deleted, and of its objects these are still there: ".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(!text.contains("because"), "{text}");
    let table = person.run(&["status"]).assert(0).stdout.clone();
    let expected = format!("it is being deleted: Namespace {name} is pending deletion: DiscoveryFailed: ");
    assert!(table.contains(&expected), "{table}");

    let free = json!({"metadata": {"finalizers": null}});
    world.patch("v1/ConfigMap", &world.target, "held", &free).await;
    world.await_status("one is left", "web", |status| status["resources"].as_array().unwrap().len() == 1).await;
}
