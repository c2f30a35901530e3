//! `ignoreDifferences`: what belongs to others is no drift, and is left to them where that is asked for.

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{ControlPlane, Installation, condition, config_map};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const TWO_KEYS: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shared\ndata:\n  theirs: git\n  ours: git\n";

/// An Application of two ConfigMaps with rules about the one called `shared`.
async fn shared_map(purpose: &str, rules: Value, options: &[&str]) -> Installation {
    let world = Installation::start(purpose).await;
    world.repository.write("web/shared.yaml", TWO_KEYS);
    let commit = world.repository.commit(&[("web/marker.yaml", &config_map("marker", "key", "git"))], "maps").await;
    let mut application = world.application("web", "web");
    application["spec"]["ignoreDifferences"] = rules;
    application["spec"]["syncPolicy"]["syncOptions"] = json!(options);
    world.apply(&application).await;
    world.await_synced("web", &commit).await;
    world
}

async fn edit(world: &Installation, name: &str, data: Value, manager: &str) {
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let patch = json!({"data": data});
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    maps.patch(name, &parameters, &Patch::Merge(&patch)).await.unwrap();
}

/// Edits the marker and waits until that is undone: whatever came before has been looked at.
async fn settle(world: &Installation) {
    edit(world, "marker", json!({"key": "edited"}), "somebody").await;
    world
        .await_target("the marker is repaired", "v1/ConfigMap", "marker", |map| map.unwrap()["data"]["key"] == "git")
        .await;
}

async fn data(world: &Installation, name: &str) -> Value {
    world.target("v1/ConfigMap", name).await.unwrap()["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_field_is_no_drift_by_pointer_by_jq_and_by_manager() {
    let rules = [
        ("pointer", json!([{"group": "", "kind": "Config*", "name": "shared", "jsonPointers": ["/data/theirs"]}])),
        (
            "jq",
            json!([{"group": "*", "kind": "*", "jqPathExpressions": [".data | select(has(\"theirs\")) | .theirs"]}]),
        ),
        ("manager", json!([{"group": "", "kind": "ConfigMap", "managedFieldsManagers": ["the-other"]}])),
    ];
    for (purpose, rules) in rules {
        let world = shared_map(purpose, rules, &[]).await;
        let mark = ControlPlane::shared().await.audit().mark().await;
        edit(&world, "shared", json!({"theirs": "edited"}), "the-other").await;
        settle(&world).await;
        assert_eq!(data(&world, "shared").await, json!({"theirs": "edited", "ours": "git"}), "{purpose}");
        let requests = ControlPlane::shared().await.audit().since(mark).await.of_user(&world.user).writes();
        let written = requests.filter(|request| request.name == "shared");
        assert!(written.is_empty(), "{purpose}:\n{written}");
        let status = world.status("web").await;
        assert_eq!(status["sync"]["status"], "Synced", "{purpose}: {status:#}");

        // What is not ignored is repaired.
        edit(&world, "shared", json!({"ours": "edited"}), "somebody").await;
        world
            .await_target("the other key is repaired", "v1/ConfigMap", "shared", |map| {
                map.unwrap()["data"]["ours"] == "git"
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_respected_survives_repairs_and_commits() {
    let rules = json!([{"group": "", "kind": "ConfigMap", "name": "shared", "jsonPointers": ["/data/theirs"]}]);
    let mut world = shared_map("respect", rules, &["RespectIgnoreDifferences=true"]).await;
    assert_eq!(data(&world, "shared").await["theirs"], "git", "an object that is new has all of Git");

    // Nobody else has it yet: the value stays, although Git has another one now.
    let files = [("web/shared.yaml", TWO_KEYS.replace("theirs: git", "theirs: later").replace("ours: git", "ours: b"))];
    let commit = world.repository.commit(&[(files[0].0, &files[0].1)], "both keys").await;
    world.await_synced("web", &commit).await;
    assert_eq!(data(&world, "shared").await, json!({"theirs": "git", "ours": "b"}));

    edit(&world, "shared", json!({"theirs": "edited"}), "the-other").await;
    edit(&world, "shared", json!({"ours": "edited"}), "somebody").await;
    world
        .await_target("the other key is repaired", "v1/ConfigMap", "shared", |map| {
            map.unwrap()["data"] == json!({"theirs": "edited", "ours": "b"})
        })
        .await;
    let commit = world.repository.commit(&[("web/shared.yaml", TWO_KEYS)], "back").await;
    world.await_synced("web", &commit).await;
    assert_eq!(data(&world, "shared").await, json!({"theirs": "edited", "ours": "git"}));

    // Also a new agent sees that it is as it should be.
    let mark = ControlPlane::shared().await.audit().mark().await;
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    settle(&world).await;
    let requests = ControlPlane::shared().await.audit().since(mark).await.of_user(&world.user).writes();
    let written = requests.filter(|request| request.name == "shared");
    assert!(written.is_empty(), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_or_wrong_expression_is_said_and_holds_nobody_else_up() {
    let world = Installation::start("hostile-jq").await;
    let expressions = [
        "def f: f; f",
        ".a[",
        "select(def f: 1 + f; f)",
        "select([range(1e12)] | length > 0)",
        "select(last(range(1e15)) > 0)",
    ];
    for (index, expression) in expressions.iter().enumerate() {
        let name = format!("bad-{index}");
        world.repository.write(&format!("{name}/map.yaml"), config_map(&name, "key", "git"));
        let mut application = world.application(&name, &name);
        application["spec"]["ignoreDifferences"] =
            json!([{"group": "", "kind": "ConfigMap", "jqPathExpressions": [expression]}]);
        world.apply(&application).await;
    }
    let commit = world.repository.commit(&[("good/map.yaml", &config_map("good", "key", "git"))], "maps").await;
    world.apply(&world.application("good", "good")).await;
    world.await_synced("good", &commit).await;
    for (index, expression) in expressions.iter().enumerate() {
        let name = format!("bad-{index}");
        let message = world.await_unknown(&name, "IgnoreDifferences").await;
        assert!(message.contains("jq"), "{message}");
        assert!(
            world.target("v1/ConfigMap", &name).await.is_none(),
            "{expression}: nothing is applied without its rules"
        );
    }
    let status = world.status("bad-1").await;
    assert!(condition(&status, "IgnoreDifferences").unwrap().contains("`.a[`"), "{status:#}");
    settled_memory(&world);
}

/// The agent itself has not grown with them.
fn settled_memory(world: &Installation) {
    let private = world.agent.usage().private;
    assert!(private < 200 << 20, "{} MiB", private >> 20);
}
