//! Applications with several sources, what Git broke, and what is not created yet.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{ControlPlane, GitRemote, Installation, config_map, eventually};
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
    let later = world.repository.commit(&[("one/map.yaml", &config_map("one", "key", "2"))], "later").await;
    let moved = |status: &serde_json::Value| {
        status["sync"]["status"] == "Synced" && status["history"][1]["revisions"] == json!([later, commit])
    };
    world.await_status("goes on", "both", moved).await;
    let refused = run(&["sync", "both", "--revision", &commit]);
    assert!(refused.assert(5).stderr.contains("gitmoor rollback both ID"), "{refused:?}");
    let refused = run(&["rollback", "both", &entry]);
    assert!(refused.assert(5).stderr.contains("--suspend"), "{refused:?}");
    run(&["rollback", "both", &entry, "--suspend", "--wait"]).assert(0);
    assert_eq!(world.target("v1/ConfigMap", "one").await.unwrap()["data"]["key"], "1");
    run(&["resume", "both"]).assert(0);
    world.await_status("follows Git again", "both", moved).await;

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
async fn of_several_sources_the_newest_commit_of_this_repository_counts() {
    let world = Installation::start("newest").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let remote = GitRemote::start().await;
    let values = remote.repository("values").await;
    let other = values.commit(&[("two/map.yaml", &config_map("other", "key", "1"))], "elsewhere").await;
    let files = [("one/map.yaml", config_map("one", "key", "1")), ("two/map.yaml", config_map("two", "key", "1"))];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let first = world.repository.commit(&files, "two folders").await;
    let mut application = world.application("all", "one");
    let source = |url: &str, path: &str| json!({"repoURL": url, "targetRevision": "main", "path": path});
    let url = world.repository.url();
    application["spec"].as_object_mut().unwrap().remove("source");
    // The folder of the other repository is here, too, and is not the one that is meant.
    application["spec"]["sources"] = json!([source(values.url(), "two"), source(url, "one"), source(url, "two")]);
    world.apply(&application).await;
    let at = |revisions: [&str; 3]| {
        let revisions = json!(revisions);
        move |status: &serde_json::Value| {
            status["sync"]["status"] == "Synced"
                && status["sync"]["revisions"] == revisions
                && status["history"]
                    .as_array()
                    .and_then(|all| all.last())
                    .is_some_and(|last| last["revisions"] == revisions)
        }
    };
    world.await_status("is synced", "all", at([&other, &first, &first])).await;
    let second = world.repository.commit(&[("two/map.yaml", &config_map("two", "key", "2"))], "one changes").await;
    world.await_status("goes on", "all", at([&other, &first, &second])).await;

    let scratch = Scratch::new("cache");
    let cache = scratch.path().to_str().unwrap();
    let clone = scratch.path().join("clone");
    let path = world.repository.path().to_str().unwrap();
    world.repository.git(&["clone", "--quiet", path, clone.to_str().unwrap()]).await;
    world.repository.git(&["-C", clone.to_str().unwrap(), "remote", "set-url", "origin", url]).await;
    let run = |arguments: &[&str]| person.run_with(&clone, &[("XDG_CACHE_HOME", cache)], arguments, b"");
    let same = run(&["diff", "all"]);
    assert_eq!(same.assert(0).stdout, "", "{same:?}");
    let differs = run(&["diff", "all", "--revision", &first]);
    let shown = &differs.assert(1).stdout;
    assert!(shown.contains("ConfigMap") && shown.contains("/two differs") && !shown.contains("/one"), "{shown}");
    let history = run(&["history", "all"]).assert(0).stdout.clone();
    assert!(history.lines().nth(1).unwrap().contains("one changes ("), "{history}");
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
