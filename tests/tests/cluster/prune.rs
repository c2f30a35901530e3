//! Nothing is deleted that should live: rule 1 of ARCHITECTURE.md.

use std::time::Duration;

use gitmoor_tests::harness::installation::{PATIENCE, api, asked_confirmation};
use gitmoor_tests::harness::{
    ControlPlane, Installation, condition, config_map, kustomization, throughout, unique_name,
};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

const APPLICATION: &str = "argoproj.io/v1alpha1/Application";
const FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
/// How long a test looks whether something happens that must not.
const A_WHILE: Duration = Duration::from_millis(700);

/// Commits one ConfigMap per name in the folder `web`, and nothing else there; gives the commit.
async fn maps(world: &Installation, names: &[&str]) -> String {
    folder(world, "web", names).await
}

async fn folder(world: &Installation, folder: &str, names: &[&str]) -> String {
    write_folder(world, folder, names);
    world.repository.commit_all(&format!("{folder}: {names:?}")).await
}

fn write_folder(world: &Installation, folder: &str, names: &[&str]) {
    let _ = std::fs::remove_dir_all(world.repository.tree().join(folder));
    world.repository.write(&format!("{folder}/README.md"), "Keeps the folder.\n");
    for name in names {
        world.repository.write(&format!("{folder}/{name}.yaml"), config_map(name, "key", "value"));
    }
}

async fn confirm(world: &Installation, application: &str, digest: &str) {
    let annotation = json!({"metadata": {"annotations": {"gitmoor.dev/confirm-prune": digest}}});
    world.patch_application(application, &annotation).await;
}

async fn gone(world: &Installation, name: &str) {
    world.await_target(&format!("ConfigMap {name} is gone"), "v1/ConfigMap", name, |map| map.is_none()).await;
}

/// Nothing of these is deleted for a while.
async fn all_stay(world: &Installation, names: &[&str]) {
    throughout("all stay", A_WHILE, async || {
        for name in names {
            let map = world.target("v1/ConfigMap", name).await;
            let alive = map.is_some_and(|map| map["metadata"].get("deletionTimestamp").is_none());
            if !alive {
                return Err(format!("ConfigMap {name} was deleted"));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_marks_prove_nothing_and_a_deletion_names_the_very_object() {
    let world = Installation::start("copied").await;
    let first = maps(&world, &["a", "b"]).await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let original = world.target("v1/ConfigMap", "b").await.unwrap();
    let maps_of = |namespace: &str| api(&world.client, "v1/ConfigMap", Some(namespace));
    let label_only = json!({"labels": original["metadata"]["labels"]});
    let both = json!({"labels": original["metadata"]["labels"], "annotations": original["metadata"]["annotations"]});
    let copies = [
        (world.target.as_str(), "copied-label", label_only),
        (world.target.as_str(), "copied-all", both.clone()),
        // Same name, other namespace: as `kubectl get -o yaml | kubectl apply -n` makes it.
        (world.namespace.as_str(), "b", both),
    ];
    let mut uids = Vec::new();
    for (namespace, name, mut metadata) in copies {
        metadata["name"] = json!(name);
        let copy = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        let made = maps_of(namespace).create(&PostParams::default(), &serde_json::from_value(copy).unwrap()).await;
        uids.push((namespace.to_owned(), name, made.unwrap().metadata.uid));
    }

    let mark = ControlPlane::shared().await.audit().mark().await;
    let second = maps(&world, &["a"]).await;
    world.await_synced("web", &second).await;
    gone(&world, "b").await;
    let deletions = ControlPlane::shared().await.audit().since(mark).await.of_user(&world.user).verb("delete");
    assert_eq!(deletions.count(), 1, "{deletions}");
    let preconditions = &deletions.0[0].body["preconditions"];
    assert_eq!(preconditions["uid"], original["metadata"]["uid"], "{:#}", deletions.0[0].body);
    assert_eq!(preconditions["resourceVersion"], original["metadata"]["resourceVersion"]);

    world.patch_application("web", &json!({"metadata": {"finalizers": [FINALIZER]}})).await;
    api(&world.client, APPLICATION, Some(&world.namespace)).delete("web", &DeleteParams::default()).await.unwrap();
    gone(&world, "a").await;
    for (namespace, name, uid) in uids {
        let copy = maps_of(&namespace).get_opt(name).await.unwrap();
        assert_eq!(copy.and_then(|copy| copy.metadata.uid), uid, "{namespace}/{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_render_deletes_nothing_unless_that_is_allowed() {
    let world = Installation::start("empty").await;
    let first = maps(&world, &["a"]).await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    world.repository.commit(&[("web/a.yaml", "# Nothing left.\n")], "empty").await;
    let status = world.await_condition("web", "PruneBlocked").await;
    assert!(condition(&status, "PruneBlocked").unwrap().contains("allowEmpty"), "{status:#}");
    assert_ne!(status["sync"]["status"], "Synced");
    all_stay(&world, &["a"]).await;
    let allow = json!({"spec": {"syncPolicy": {"automated": {"allowEmpty": true}}}});
    world.patch_application("web", &allow).await;
    gone(&world, "a").await;
    world.await_status("is Synced", "web", |status| status["sync"]["status"] == "Synced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_data_waits_for_the_digest_of_what_goes() {
    let world = Installation::start("protected").await;
    let (namespace, group) = (unique_name("data"), format!("{}.example.com", unique_name("kinds")));
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\nspec:\n  accessModes: [ReadWriteOnce]\n  \
                 resources:\n    requests:\n      storage: 1Gi\n";
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things.{group}\nspec:\n  \
         group: {group}\n  scope: Namespaced\n  names: {{plural: things, singular: thing, kind: Thing}}\n  versions:\n    \
         - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}\n"
    );
    world
        .repository
        .write("web/namespace.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n"));
    world.repository.write("web/claim.yaml", claim);
    world.repository.write("web/definition.yaml", definition);
    world.repository.write("web/free.yaml", config_map("free", "key", "value"));
    world.repository.write("web/stays.yaml", config_map("stays", "key", "value"));
    let keep = "  annotations:\n    argocd.argoproj.io/sync-options: Prune=false\n";
    world
        .repository
        .write("web/kept.yaml", format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kept\n{keep}"));
    world.repository.commit_all("what holds data").await;
    world.apply(&world.application("web", "web")).await;
    // The claim stays pending, as nothing binds it here.
    world.await_status("is Synced", "web", |status| status["sync"]["status"] == "Synced").await;

    maps(&world, &["stays"]).await;
    gone(&world, "free").await;
    let status =
        world.await_status("asks for confirmation", "web", |status| asked_confirmation(status).is_some()).await;
    let message = condition(&status, "PruneBlocked").unwrap();
    let waiting = [
        format!("Namespace {namespace}"),
        format!("things.{group}"),
        format!("{}/data", world.target),
        "kept".to_owned(),
    ];
    for named in waiting {
        assert!(message.contains(&named), "{named} is not in: {message}");
    }
    let definitions = api(&world.client, "apiextensions.k8s.io/v1/CustomResourceDefinition", None);
    let namespaces = api(&world.client, "v1/Namespace", None);
    let name = format!("things.{group}");
    let alive = async || {
        let objects = [
            definitions.get_opt(&name).await.unwrap(),
            namespaces.get_opt(&namespace).await.unwrap(),
            api(&world.client, "v1/PersistentVolumeClaim", Some(&world.target)).get_opt("data").await.unwrap(),
        ];
        objects.iter().flatten().filter(|object| object.metadata.deletion_timestamp.is_none()).count()
    };
    let digest = asked_confirmation(&status).unwrap().to_owned();
    let wrong: String = digest.chars().rev().collect();
    confirm(&world, "web", &wrong).await;
    throughout("a wrong digest confirms nothing", A_WHILE, async || match alive().await {
        3 => Ok(()),
        left => Err(format!("{left} of 3 are left")),
    })
    .await;
    confirm(&world, "web", &digest).await;
    world
        .scene()
        .eventually("the right digest lets them go", PATIENCE, async || match alive().await {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        })
        .await;
    all_stay(&world, &["stays", "kept"]).await;
    let kept =
        |status: &Value| condition(status, "PruneBlocked").is_some_and(|message| message.contains("Prune=false"));
    world.await_status("names what stays by its option", "web", kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_half_and_more_than_ten_wait() {
    let world = Installation::start("many").await;
    let names: Vec<String> = (0..30).map(|index| format!("map-{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = maps(&world, &names).await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;

    // 8 of 30 go at once, 12 of 22 do not.
    let second = maps(&world, &names[..22]).await;
    world.await_synced("web", &second).await;
    for name in &names[22..] {
        gone(&world, name).await;
    }
    let third = maps(&world, &names[..10]).await;
    let status =
        world.await_status("asks for confirmation", "web", |status| asked_confirmation(status).is_some()).await;
    all_stay(&world, &names[..22]).await;
    confirm(&world, "web", asked_confirmation(&status).unwrap()).await;
    world.await_synced("web", &third).await;
    for name in &names[10..22] {
        gone(&world, name).await;
    }
    all_stay(&world, &names[..10]).await;
}

/// Each folder with its ConfigMaps in one commit, rolled out by an Application of its name.
async fn two_applications(world: &Installation) -> String {
    write_folder(world, "one", &["own-one", "moves"]);
    write_folder(world, "two", &["own-two"]);
    let commit = world.repository.commit_all("before the move").await;
    for name in ["one", "two"] {
        world.apply(&world.application(name, name)).await;
        world.await_synced(name, &commit).await;
    }
    world.uid("moves").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_moves_between_applications_is_adopted() {
    let world = Installation::start("moves").await;
    let uid = two_applications(&world).await;
    for (from, to) in [("one", "two"), ("two", "one"), ("one", "two")] {
        write_folder(&world, from, &[&format!("own-{from}")]);
        write_folder(&world, to, &[&format!("own-{to}"), "moves"]);
        let commit = world.repository.commit_all(&format!("from {from} to {to}")).await;
        world.await_synced(from, &commit).await;
        world.await_synced(to, &commit).await;
        assert_eq!(world.uid("moves").await, uid);
    }

    // One that cannot be planned may want it: nobody deletes it before that is known.
    let unsupported = json!({"spec": {"source": {"plugin": {"name": "x"}}}});
    world.patch_application("one", &unsupported).await;
    world.await_unknown("one", "UnsupportedField").await;
    write_folder(&world, "two", &["own-two"]);
    write_folder(&world, "one", &["own-one", "moves"]);
    let last = world.repository.commit_all("to one that cannot be planned").await;
    let status = world.await_condition("two", "PruneHeld").await;
    assert!(condition(&status, "PruneHeld").unwrap().contains("/one"), "{status:#}");
    all_stay(&world, &["moves"]).await;
    world.patch_application("one", &json!({"spec": {"source": {"plugin": null}}})).await;
    world.await_synced("one", &last).await;
    world.await_synced("two", &last).await;
    assert_eq!(world.uid("moves").await, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_moves_while_no_agent_runs_is_adopted() {
    let mut world = Installation::start("moves-unseen").await;
    let uid = two_applications(&world).await;
    world.agent.kill();
    write_folder(&world, "one", &["own-one"]);
    write_folder(&world, "two", &["own-two", "moves"]);
    let commit = world.repository.commit_all("moved").await;
    // Its old owner even goes with all that it owns.
    world.patch_application("one", &json!({"metadata": {"finalizers": [FINALIZER]}})).await;
    api(&world.client, APPLICATION, Some(&world.namespace)).delete("one", &DeleteParams::default()).await.unwrap();
    world.agent.restart();
    world.await_synced("two", &commit).await;
    gone(&world, "own-one").await;
    assert_eq!(world.uid("moves").await, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_moves_into_a_new_application_of_the_same_commit_is_adopted() {
    let world = Installation::start("moves-new").await;
    let application = |name: &str| serde_json::to_string(&world.application(name, name)).unwrap();
    world.repository.write("root/kustomization.yaml", kustomization(&["old.yaml"]));
    world.repository.write("root/old.yaml", application("old"));
    write_folder(&world, "old", &["stays", "moves"]);
    let first = world.repository.commit_all("one child").await;
    world.apply(&world.application("root", "root")).await;
    world.await_synced("old", &first).await;
    world.await_synced("root", &first).await;
    let uid = world.uid("moves").await;

    world.repository.write("root/kustomization.yaml", kustomization(&["old.yaml", "new.yaml"]));
    world.repository.write("root/new.yaml", application("new"));
    write_folder(&world, "old", &["stays"]);
    write_folder(&world, "new", &["moves"]);
    let second = world.repository.commit_all("another child takes it over").await;
    for name in ["old", "new", "root"] {
        world.await_synced(name, &second).await;
    }
    assert_eq!(world.uid("moves").await, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_left_git_while_no_agent_ran_is_pruned_afterwards() {
    let mut world = Installation::start("unseen").await;
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata:\n  name: range\nspec:\n  limits:\n    - type: Container\n      default: {cpu: 1}\n";
    world.repository.write("web/range.yaml", range);
    world.repository.write("web/a.yaml", config_map("a", "key", "value"));
    let first = world.repository.commit_all("two kinds").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    world.agent.kill();
    let second = world.repository.remove("web/range.yaml").await;
    world.agent.restart();
    world.await_synced("web", &second).await;
    world.await_target("the LimitRange is gone", "v1/LimitRange", "range", |range| range.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_takes_its_objects_along_only_when_it_says_so_and_not_many_unasked() {
    let world = Installation::start("cascade").await;
    let many: Vec<String> = (0..12).map(|index| format!("many-{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    write_folder(&world, "leaves", &["left"]);
    write_folder(&world, "takes", &["taken"]);
    let commit = folder(&world, "many", &many).await;
    for name in ["leaves", "takes", "many"] {
        let mut application = world.application(name, name);
        if name != "leaves" {
            application["metadata"]["finalizers"] = json!([FINALIZER]);
        }
        world.apply(&application).await;
    }
    let applications = api(&world.client, APPLICATION, Some(&world.namespace));
    for name in ["leaves", "takes", "many"] {
        world.await_synced(name, &commit).await;
        applications.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let left = async |name: &str| applications.get_opt(name).await.unwrap().is_some();
    gone(&world, "taken").await;
    let status =
        world.await_status("asks for confirmation", "many", |status| asked_confirmation(status).is_some()).await;
    world
        .scene()
        .eventually("the Application goes after its objects", PATIENCE, async || {
            if left("takes").await { Err("it is there".to_owned()) } else { Ok(()) }
        })
        .await;
    all_stay(&world, &many).await;
    all_stay(&world, &["left"]).await;
    assert!(!left("leaves").await && left("many").await);
    confirm(&world, "many", asked_confirmation(&status).unwrap()).await;
    for name in &many {
        gone(&world, name).await;
    }
    world
        .scene()
        .eventually("the Application goes once confirmed", PATIENCE, async || {
            if left("many").await { Err("it is there".to_owned()) } else { Ok(()) }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_cannot_be_rolled_out_can_be_turned_off() {
    let world = Installation::start("turned-off").await;
    let mut chart = world.application("chart", "chart");
    chart["spec"]["source"] = json!({"repoURL": "http://127.0.0.1:1", "chart": "absent", "targetRevision": "1.0.0"});
    let children = [
        ("broken", world.application("broken", "broken")),
        ("chart", chart),
        ("fine", world.application("fine", "fine")),
        ("unknown", world.application("unknown", "unknown")),
    ];
    for (name, child) in &children {
        world.repository.write(&format!("root/{name}.yaml"), serde_json::to_string(child).unwrap());
    }
    world.repository.write("broken/map.yaml", "a: [\n");
    world.repository.write("unknown/thing.yaml", "apiVersion: example.com/v1\nkind: Nobody\nmetadata: {name: a}\n");
    let first = folder(&world, "fine", &["of-fine"]).await;
    world.apply(&world.application("root", "root")).await;
    world.await_synced("fine", &first).await;
    for name in ["broken", "chart", "unknown"] {
        let has_condition = |status: &Value| status["conditions"].as_array().is_some_and(|all| !all.is_empty());
        world.await_status("says why not", name, has_condition).await;
        std::fs::remove_file(world.repository.tree().join(format!("root/{name}.yaml"))).unwrap();
    }
    let second = world.repository.commit_all("without those that do not work").await;
    world.await_synced("root", &second).await;
    for name in ["broken", "chart", "unknown"] {
        assert!(world.get(APPLICATION, &world.namespace, name).await.is_none(), "{name}");
    }
    all_stay(&world, &["of-fine"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_would_take_its_objects_along_leaves_git_only_when_confirmed() {
    let world = Installation::start("child").await;
    let child = |name: &str, finalizers: Value| {
        let mut application = world.application(name, name);
        application["metadata"]["finalizers"] = finalizers;
        serde_json::to_string(&application).unwrap()
    };
    world.repository.write("root/plain.yaml", child("plain", json!([])));
    world.repository.write("root/cascading.yaml", child("cascading", json!([FINALIZER])));
    world.repository.write("root/map.yaml", config_map("of-root", "key", "value"));
    write_folder(&world, "plain", &["of-plain"]);
    let first = folder(&world, "cascading", &["of-cascading"]).await;
    world.apply(&world.application("root", "root")).await;
    for name in ["plain", "cascading", "root"] {
        world.await_synced(name, &first).await;
    }
    std::fs::remove_file(world.repository.tree().join("root/plain.yaml")).unwrap();
    let second = world.repository.remove("root/cascading.yaml").await;
    let status =
        world.await_status("asks for confirmation", "root", |status| asked_confirmation(status).is_some()).await;
    world
        .scene()
        .eventually("the plain child goes", PATIENCE, async || {
            let plain = world.get(APPLICATION, &world.namespace, "plain").await;
            if plain.is_some() { Err("it is there".to_owned()) } else { Ok(()) }
        })
        .await;
    all_stay(&world, &["of-plain", "of-cascading", "of-root"]).await;
    confirm(&world, "root", asked_confirmation(&status).unwrap()).await;
    gone(&world, "of-cascading").await;
    world.await_synced("root", &second).await;
    all_stay(&world, &["of-plain", "of-root"]).await;
}
