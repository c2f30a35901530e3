//! Applications with several sources, what Git broke, and what is not created yet.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{ControlPlane, Installation, config_map, eventually};
use serde_json::json;

use super::Person;
use super::explain::explained;

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_of_one_commit_are_one_commit() {
    let world = Installation::start("several").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let files = [("one/map.yaml", config_map("one", "key", "1")), ("two/map.yaml", config_map("two", "key", "1"))];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let commit = world.repository.commit(&files, "two folders").await;
    let mut application = world.application("both", "one");
    let source = |path: &str| {
        let mut source = application["spec"]["source"].clone();
        source["path"] = json!(path);
        source
    };
    let sources = json!([source("one"), source("two")]);
    application["spec"].as_object_mut().unwrap().remove("source");
    application["spec"]["sources"] = sources;
    world.apply(&application).await;
    let synced = |status: &serde_json::Value| {
        status["sync"]["status"] == "Synced" && status["sync"]["revisions"] == json!([commit, commit])
    };
    world.await_status("is synced", "both", synced).await;

    let here = world.repository.tree();
    let run = |arguments: &[&str]| person.run_in(here, arguments, b"");
    let status = run(&["status", "both"]).assert(0).stdout.clone();
    assert!(status.contains(&format!(" {} ", &commit[..7])) && !status.contains(','), "{status}");
    let history = run(&["history", "both"]).assert(0).stdout.clone();
    assert!(history.contains("two folders ("), "{history}");
    let same = run(&["diff", "both"]);
    assert!(same.assert(0).stderr.contains(&format!("both is as {} has it", &commit[..7])), "{same:?}");
    let entry = run(&["history", "both", "--output", "json"]).json()["history"][0]["id"].to_string();
    let refused = run(&["rollback", "both", &entry]);
    assert!(refused.assert(5).stderr.contains("git revert what came after"), "{refused:?}");

    let broken = [("two/map.yaml", "a: [\n")];
    let broken = world.repository.commit(&broken, "broken").await;
    world.await_unknown("both", "InvalidManifest").await;
    let diff = run(&["diff", "both"]);
    assert!(diff.assert(1).stderr.contains("what Git has now cannot be compared"), "{diff:?}");
    let found = explained(&person, here, "both", "BrokenFile").await;
    let evidence = found["evidence"].to_string();
    let who = format!("two/map.yaml was changed last in {}", &broken[..7]);
    assert!(evidence.contains(&who) && evidence.contains("last compared with"), "{evidence}");

    world.repository.remove("two/map.yaml").await;
    world.await_unknown("both", "PathNotFound").await;
    let found = explained(&person, here, "both", "PathMissing").await;
    assert!(found["remedy"][0].as_str().unwrap().contains("spec.sources[1].path"), "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parent_has_not_created_yet_is_told_from_what_nobody_knows() {
    let world = Installation::start("waves").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    // Nobody makes it available.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "first"},
        "spec": {
            "selector": {"matchLabels": {"app": "first"}},
            "template": {"metadata": {"labels": {"app": "first"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
        },
    });
    let mut child = world.application("later", "later");
    child["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "1"});
    let files = [("apps/first.yaml", deployment.to_string()), ("apps/later.yaml", child.to_string())];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    world.repository.commit(&files, "a child that waits").await;
    let mut parent = world.application("platform", "apps");
    parent["spec"]["destination"]["namespace"] = json!(world.namespace);
    world.apply(&parent).await;
    let check = async || {
        let run = person.run(&["explain", "later"]);
        let told = run.status == Some(2) && run.stderr.contains("later is not created yet; platform has it in Git: ");
        if told { Ok(()) } else { Err(format!("{run:?}")) }
    };
    eventually("the parent is named", PATIENCE, check).await;
}
