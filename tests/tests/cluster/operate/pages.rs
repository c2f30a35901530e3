//! The commands of pages that need a cluster: quick start and migration, as they stand there.

use std::fs;
use std::path::Path;

use gitmoor_tests::harness::installation::{Installation, api, install_kinds};
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::{ControlPlane, Identity, config_map, program, tools};
use kube::api::{Api, DynamicObject};
use serde_json::json;

/// The blocks of commands below a heading of a page, up to the next heading.
fn commands(page: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(tools::workspace().join("docs").join(page)).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{page}: no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```\n").unwrap().0.to_owned());
    let blocks: Vec<String> = blocks.collect();
    assert!(!blocks.is_empty(), "{page}: {heading} has no commands");
    blocks
}

/// Runs commands as somebody with this kubeconfig; gives all that was said.
fn follow(identity: &Identity, namespace: &str, folder: &Path, commands: &str) -> String {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let gitmoor = program("gitmoor");
    let path = format!("{}:{}:/usr/bin:/bin", text(gitmoor.parent().unwrap()), text(&tools::folder()));
    let (kubeconfig, kustomize, helm) =
        (text(identity.path()), text(&tools::tool("kustomize")), text(&tools::tool("helm")));
    let environment = [
        ("PATH", path.as_str()),
        ("HOME", "/nonexistent"),
        ("KUBECONFIG", &kubeconfig),
        ("GITMOOR_NAMESPACE", namespace),
        ("GITMOOR_KUSTOMIZE", &kustomize),
        ("GITMOOR_HELM", &helm),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.com"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.com"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
    ];
    let script = format!("set -euo pipefail\n{commands}\n");
    let run = Run::of(Path::new("/bin/bash"), folder, &environment, &["-c", &script], b"");
    run.assert(0);
    format!("{}{}", run.stdout, run.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_does_what_it_says() {
    let world = Installation::start("quick").await;
    let control_plane = ControlPlane::shared().await;
    let application = world.application("web", "web");
    world.repository.write("distribution/platform.yaml", application.to_string());
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "One").await;
    world.repository.git(&["push", "--quiet", "--set-upstream", "origin", "main"]).await;
    world.apply(&application).await;
    world.await_synced("web", &commit).await;
    let blocks = commands("quick-start.md", "A day with it");
    let [change, mistake, back] = &blocks[..] else { panic!("{blocks:?}") };
    let run = |commands: &str| follow(control_plane.admin(), &world.namespace, world.repository.tree(), commands);

    let said = run(change);
    assert!(said.contains("changed ConfigMap") && said.contains("+  key: two"), "{said}");
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "two");
    let said = run(mistake);
    assert!(said.contains("ConfigMop") && said.contains("by Ada") && said.contains("A typo"), "{said}");
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "two", "what runs keeps running");
    let said = run(back);
    assert!(said.contains("Synced") && said.contains("Healthy") && said.contains("Revert \"A typo\""), "{said}");
}

/// Nobody plays Argo CD here: its controller is there, and what it had applied, under its name, with its tracking.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_argo_cd_moves_and_goes_back() {
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    install_kinds(&client).await;
    for name in ["argocd", "gitmoor", "shop"] {
        let namespaces: Api<DynamicObject> = api(&client, "v1/Namespace", None);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        namespaces.create(&kube::api::PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    crate::argo_cd::install(&client, "argocd", "").await;
    let world = Installation::start_in(&control_plane, ("gitmoor", "shop"), |agent| agent).await;
    let git = config_map("map", "key", "one");
    world.repository.commit(&[("shop/map.yaml", &git)], "One").await;
    let maps = api(&client, "v1/ConfigMap", Some("shop"));
    let before = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map",
        "annotations": {"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:shop/map"}}, "data": {"key": "one"}});
    let by_argo = kube::api::PostParams { field_manager: Some("argocd-controller".to_owned()), ..Default::default() };
    let made = maps.create(&by_argo, &serde_json::from_value(before).unwrap()).await.unwrap();

    let folder = world.repository.tree();
    let mut application = world.application("shop", "shop");
    application["metadata"]["namespace"] = json!("argocd");
    application["metadata"]["finalizers"] = json!(["resources-finalizer.argocd.argoproj.io"]);
    world.apply(&application).await;
    application["metadata"].as_object_mut().unwrap().remove("finalizers");
    fs::write(folder.join("application.yaml"), serde_yaml::to_string(&application).unwrap()).unwrap();
    let blocks = commands("migration.md", "From Argo CD");
    let [there, back] = &blocks[..] else { panic!("{blocks:?}") };

    let said = follow(control_plane.admin(), "gitmoor", folder, there);
    assert!(said.contains("ConfigMap") && said.contains("Synced"), "{said}");
    let now = maps.get("map").await.unwrap();
    assert_eq!(now.metadata.uid, made.metadata.uid, "it is the same object");
    let annotations = now.metadata.annotations.unwrap_or_default();
    assert!(annotations.contains_key("gitmoor.dev/tracking-id"), "{annotations:?}");
    assert!(!annotations.contains_key("argocd.argoproj.io/tracking-id"), "{annotations:?}");

    follow(control_plane.admin(), "gitmoor", folder, back);
    assert!(world.get("argoproj.io/v1alpha1/Application", "gitmoor", "shop").await.is_none());
    assert!(world.get("argoproj.io/v1alpha1/Application", "argocd", "shop").await.is_some());
    let check = async || {
        let depth = world.metrics().await.sum("gitmoor_applications");
        if depth == 0.0 { Ok(()) } else { Err(format!("{depth} Applications")) }
    };
    world
        .scene()
        .eventually("the agent knows that it has gone", gitmoor_tests::harness::installation::PATIENCE, check)
        .await;
    assert_eq!(maps.get("map").await.unwrap().metadata.uid, made.metadata.uid, "nothing was deleted on either way");
}
