//! `gitmoor plan --live`: a change against a cluster in which an agent has synced what was before.

use std::fs;

use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::{ControlPlane, Installation, program, tools};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Gi}}\n";

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: {value}, other: same}}\n")
}

fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {value}}}\n")
}

fn plan(world: &Installation, control_plane: &ControlPlane, arguments: &[&str]) -> Run {
    let kustomize = tools::tool("kustomize").display().to_string();
    let environment = [("GITMOOR_KUSTOMIZE", kustomize.as_str()), ("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent")];
    let kubeconfig = control_plane.admin().path().to_str().unwrap();
    let live = ["plan", "HEAD", "--live", "--kubeconfig", kubeconfig];
    Run::of(&program("gitmoor"), world.repository.tree(), &environment, &[&live[..], arguments].concat(), b"")
}

/// What is said of an object.
fn said<'p>(plan: &'p Value, name: &str) -> (&'p str, &'p str) {
    let applications = plan["applications"].as_array().unwrap().iter();
    let mut objects = applications.flat_map(|application| application["objects"].as_array().unwrap());
    let object = objects.find(|object| object["name"] == name).unwrap_or_else(|| panic!("no {name} in {plan:#}"));
    (object["action"].as_str().unwrap(), object["remark"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_tried_on_the_cluster_and_changes_nothing() {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("plan-live").await;
    let web = world.application("web", "web");
    let frozen = |value: &str| format!("{}immutable: true\n", map("frozen", value));
    let files = [
        ("distribution/platform.yaml", web.to_string()),
        ("web/changes.yaml", map("changes", "one")),
        ("web/contested.yaml", map("contested", "one")),
        ("web/same.yaml", map("same", "one")),
        ("web/goes.yaml", map("goes", "one")),
        ("web/frozen.yaml", frozen("one")),
        ("web/secret.yaml", secret("canary-before")),
        ("web/claim.yaml", CLAIM.to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let commit = world.repository.commit(&files, "before").await;
    world.apply(&web).await;
    let applied =
        |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit.as_str();
    world.await_status("all is applied", "web", applied).await;
    // Nobody heals what follows.
    world.agent.kill();
    let maps = gitmoor_tests::harness::installation::api(&world.client, "v1/ConfigMap", Some(&world.target));
    let edit = Patch::Merge(json!({"data": {"key": "somebody's"}}));
    maps.patch("contested", &PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() }, &edit)
        .await
        .unwrap();
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there", "namespace": world.target}, "data": {"key": "theirs"}})).await;

    let unchanged = plan(&world, control_plane, &["--all", "--exit-code"]);
    unchanged.assert(1);
    assert!(
        unchanged.stdout.contains("changed ConfigMap") && unchanged.stdout.contains("\"somebody\""),
        "{unchanged:?}"
    );
    assert_eq!(unchanged.stdout.matches("changed ConfigMap").count(), 1, "only the drift: {unchanged:?}");

    for path in ["web/goes.yaml", "web/claim.yaml"] {
        fs::remove_file(world.repository.tree().join(path)).unwrap();
    }
    for (path, text) in [
        ("web/changes.yaml", map("changes", "two")),
        ("web/created.yaml", map("created", "one")),
        ("web/there.yaml", map("there", "ours")),
        ("web/frozen.yaml", frozen("two")),
        ("web/secret.yaml", secret("canary-after")),
        ("web/thing.yaml", "apiVersion: plan.example.com/v1\nkind: Thing\nmetadata: {name: thing}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.plan.example.com}\nspec: {group: plan.example.com, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}\n".to_owned()),
        ("web/elsewhere.yaml", map("elsewhere, namespace: new-one", "one") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: new-one}\n"),
        ("web/typo.yaml", map("typo", "one") + "dta: {}\n"),
    ] {
        world.repository.write(path, text);
    }
    let run = plan(&world, control_plane, &["--output", "json"]);
    run.assert(3);
    let plan = run.json();
    assert_eq!(said(&plan, "changes"), ("changed", ""));
    assert_eq!(said(&plan, "created"), ("created", ""));
    assert_eq!(said(&plan, "s"), ("changed", ""));
    // Nothing goes while something is refused.
    assert!(said(&plan, "goes").1.contains("does not render completely"), "{plan:#}");
    assert!(
        said(&plan, "there").1.contains("adopted from kubectl") || said(&plan, "there").1.contains("adopted"),
        "{plan:#}"
    );
    assert!(said(&plan, "there").1.contains("takes fields over from others"), "{plan:#}");
    assert!(said(&plan, "contested").1.contains("conflict with \"somebody\""), "{plan:#}");
    assert!(said(&plan, "thing").1.contains("its kind comes with the same change"), "{plan:#}");
    assert!(said(&plan, "elsewhere").1.contains("its namespace comes with the same change"), "{plan:#}");
    let problems = plan["applications"][0]["problems"].to_string();
    assert!(problems.contains("frozen") && problems.contains("Force=true"), "{problems}");
    assert!(problems.contains("typo") && problems.contains(".dta: field not declared in schema"), "{problems}");
    assert!(!run.stdout.contains("canary") && !run.stdout.contains("Y2FuYXJ5"), "{}", run.stdout);
    assert!(run.stdout.contains("*** (before)") && run.stdout.contains("*** (after)"), "{}", run.stdout);

    world.repository.write(
        "web/frozen.yaml",
        frozen("two")
            .replace("{name: frozen}", "{name: frozen, annotations: {argocd.argoproj.io/sync-options: Force=true}}"),
    );
    fs::remove_file(world.repository.tree().join("web/typo.yaml")).unwrap();
    let run = self::plan(&world, control_plane, &["--output", "json"]);
    run.assert(0);
    let plan = run.json();
    assert_eq!(said(&plan, "goes").0, "pruned");
    assert!(
        said(&plan, "data").1.contains("it holds data; the agent waits for the annotation gitmoor.dev/confirm-prune=")
    );
    assert!(said(&plan, "frozen").1.contains("deleted and made anew, because data cannot be changed"), "{plan:#}");

    let value = |object: Option<Value>| object.map(|object| object["data"]["key"].clone());
    assert_eq!(value(world.target("v1/ConfigMap", "changes").await), Some(json!("one")), "nothing was changed");
    assert_eq!(world.target("v1/ConfigMap", "created").await, None);
    assert!(world.target("v1/ConfigMap", "goes").await.is_some());
}
