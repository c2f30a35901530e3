//! Hooks: order, failure, retries, crashes, and what becomes of them. Jobs are ended by hand, as their controller would.

use std::collections::BTreeSet;

use gitmoor_tests::harness::installation::{api, condition};
use gitmoor_tests::harness::{ControlPlane, Installation, config_map};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// A Job that is a hook.
fn job(name: &str, annotations: &str) -> String {
    let name = if name.ends_with('-') { format!("generateName: {name}") } else { format!("name: {name}") };
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  {name}\n  annotations: {{{annotations}}}\nspec:\n  backoffLimit: 0\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - {{name: run, image: \"run:1\"}}\n"
    )
}

fn hook(phase: &str) -> String {
    format!("argocd.argoproj.io/hook: {phase}")
}

async fn jobs(world: &Installation) -> Vec<Value> {
    let listed = api(&world.client, "batch/v1/Job", Some(&world.target)).list(&ListParams::default()).await.unwrap();
    listed.into_iter().map(|job| serde_json::to_value(job).unwrap()).collect()
}

/// Waits for a Job that nobody is deleting; gives its name and uid.
async fn await_job(world: &Installation, begins: &str, not: &[String]) -> (String, String) {
    let check = async || {
        let jobs = jobs(world).await;
        let found = jobs.iter().find(|job| {
            let uid = job["metadata"]["uid"].as_str().unwrap().to_owned();
            job["metadata"]["name"].as_str().unwrap().starts_with(begins)
                && job["metadata"].get("deletionTimestamp").is_none()
                && !not.contains(&uid)
        });
        let text = |job: &Value, field: &str| job["metadata"][field].as_str().unwrap().to_owned();
        found.map(|job| (text(job, "name"), text(job, "uid"))).ok_or_else(|| format!("{jobs:?}"))
    };
    let what = format!("the Job {begins} is created");
    world.scene().eventually(&what, gitmoor_tests::harness::installation::PATIENCE, check).await
}

async fn end(world: &Installation, name: &str, well: bool) {
    let now = "2026-11-21T12:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "ended by hand", "lastTransitionTime": now, "lastProbeTime": now});
    let status = if well {
        json!({"startTime": now, "completionTime": now, "succeeded": 1, "active": 0, "ready": 0, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})
    } else {
        json!({"startTime": now, "failed": 1, "active": 0, "ready": 0, "conditions": [condition("FailureTarget"), condition("Failed")]})
    };
    let patch = Patch::Merge(json!({"status": status}));
    api(&world.client, "batch/v1/Job", Some(&world.target))
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn await_phase(world: &Installation, phase: &str) -> Value {
    world
        .await_status(&format!("the operation is {phase}"), "web", |status| {
            status["operationState"]["phase"] == phase
                && status["operationState"].get("finishedAt").is_some() == (phase != "Running")
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn phases_run_in_order_and_each_hook_once_for_a_commit() {
    let world = Installation::start("hooks").await;
    let files = [
        ("web/pre.yaml", job("pre", &hook("PreSync"))),
        ("web/a.yaml", config_map("a", "key", "one")),
        ("web/sync.yaml", job("sync", &format!("{}, argocd.argoproj.io/sync-wave: '1'", hook("Sync")))),
        (
            "web/post.yaml",
            job("post-", &format!("{}, argocd.argoproj.io/hook-delete-policy: HookSucceeded", hook("PostSync"))),
        ),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let first = world.repository.commit(&files, "hooks").await;
    world.apply(&world.application("web", "web")).await;

    let (_, pre) = await_job(&world, "pre", &[]).await;
    assert!(world.target("v1/ConfigMap", "a").await.is_none(), "nothing is applied before PreSync has ended");
    end(&world, "pre", true).await;
    let (_, sync) = await_job(&world, "sync", &[]).await;
    assert!(world.target("v1/ConfigMap", "a").await.is_some());
    assert!(jobs(&world).await.iter().all(|job| !job["metadata"]["name"].as_str().unwrap().starts_with("post")));
    end(&world, "sync", true).await;
    let (post, _) = await_job(&world, "post-", &[]).await;
    end(&world, &post, true).await;
    let status = await_phase(&world, "Succeeded").await;
    let results = status["operationState"]["syncResult"]["resources"].as_array().unwrap().clone();
    let hooks: Vec<_> =
        results.iter().filter(|r| r["hookPhase"] == "Succeeded").map(|r| r["hookType"].as_str().unwrap()).collect();
    assert_eq!(hooks.len(), 3, "{results:?}");
    assert_eq!(status["resources"].as_array().unwrap().len(), 1, "hooks are not kept objects");
    world.await_synced("web", &first).await;
    world
        .await_target("the finalizer is off", "batch/v1/Job", "pre", |job| {
            job.is_some_and(|job| {
                job["metadata"]["finalizers"]
                    .as_array()
                    .is_none_or(|names| names.iter().all(|n| n != "gitmoor.dev/hook"))
            })
        })
        .await;
    world.await_target("HookSucceeded deletes", "batch/v1/Job", &post, |job| job.is_none()).await;

    // Repairs run no hooks; the next commit runs them anew.
    world.patch("v1/ConfigMap", &world.target, "a", &json!({"data": {"key": "edited"}})).await;
    world.await_target("repaired", "v1/ConfigMap", "a", |map| map.is_some_and(|map| map["data"]["key"] == "one")).await;
    assert!(jobs(&world).await.iter().any(|job| job["metadata"]["uid"] == pre.as_str()));
    let second = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "change").await;
    await_job(&world, "pre", &[pre]).await;
    end(&world, "pre", true).await;
    await_job(&world, "sync", &[sync]).await;
    end(&world, "sync", true).await;
    let (post, _) = await_job(&world, "post-", &[]).await;
    end(&world, &post, true).await;
    world.await_synced("web", &second).await;
    await_phase(&world, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_hook_stops_the_sync_and_the_next_commit_goes_on() {
    let world = Installation::start("hook-fails").await;
    let files = [
        ("web/pre.yaml", job("pre", &hook("PreSync"))),
        ("web/fail.yaml", job("fail", &hook("SyncFail"))),
        ("web/a.yaml", config_map("a", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository.commit(&files, "hooks").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"]["retry"] = json!({"limit": 1, "backoff": {"duration": "1s"}});
    world.apply(&application).await;
    let (_, first) = await_job(&world, "pre", &[]).await;
    end(&world, "pre", false).await;
    let (_, cleaner) = await_job(&world, "fail", &[]).await;
    end(&world, "fail", true).await;
    // Once more, after a second; then no more.
    let (_, second) = await_job(&world, "pre", &[first]).await;
    end(&world, "pre", false).await;
    await_job(&world, "fail", &[cleaner]).await;
    end(&world, "fail", true).await;
    let status = await_phase(&world, "Failed").await;
    assert_eq!(status["operationState"]["retryCount"], 1);
    let told = condition(&status, "SyncFailed").unwrap();
    assert!(told.contains("PreSync hook Job.batch") && told.contains("ended by hand"), "{told}");
    assert_eq!(status["sync"]["status"], "OutOfSync");
    assert!(world.target("v1/ConfigMap", "a").await.is_none());

    let repaired = world
        .repository
        .commit(&[("web/pre.yaml", &job("pre", &format!("{}, fixed: 'yes'", hook("PreSync"))))], "fix")
        .await;
    await_job(&world, "pre", &[second]).await;
    end(&world, "pre", true).await;
    world.await_synced("web", &repaired).await;
    let status = await_phase(&world, "Succeeded").await;
    assert!(condition(&status, "SyncFailed").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_deleted_has_failed_and_one_that_never_starts_is_superseded() {
    let world = Installation::start("hook-stuck").await;
    let files = [("web/pre.yaml", job("pre", &hook("PreSync"))), ("web/a.yaml", config_map("a", "key", "one"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository.commit(&files, "a hook").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
    world.apply(&application).await;
    let (_, first) = await_job(&world, "pre", &[]).await;
    api(&world.client, "batch/v1/Job", Some(&world.target)).delete("pre", &DeleteParams::background()).await.unwrap();
    let status = await_phase(&world, "Failed").await;
    assert!(condition(&status, "SyncFailed").unwrap().contains("was deleted before it had ended"), "{status:#}");
    world.await_target("it may go", "batch/v1/Job", "pre", |job| job.is_none()).await;

    // Never started: a new commit does not wait for it. Running: it does.
    world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "again").await;
    let (_, second) = await_job(&world, "pre", &[first]).await;
    world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "three"))], "and again").await;
    let (_, third) = await_job(&world, "pre", &[second]).await;
    let jobs = api(&world.client, "batch/v1/Job", Some(&world.target));
    let running = json!({"status": {"startTime": "2026-11-21T12:00:00Z", "active": 1, "ready": 1}});
    jobs.patch_status("pre", &PatchParams::default(), &Patch::Merge(running)).await.unwrap();
    world
        .await_status("the hook runs", "web", |s| {
            s["operationState"]["message"].as_str().is_some_and(|m| m.contains("is running"))
        })
        .await;
    let last = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "four"))], "once more").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(await_job(&world, "pre", &[]).await.1, third, "what runs is not disturbed");
    end(&world, "pre", true).await;
    await_job(&world, "pre", &[third]).await;
    end(&world, "pre", true).await;
    world.await_synced("web", &last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_no_hook_runs_twice_in_an_attempt() {
    let mut world = Installation::start("hook-kills").await;
    let audit = ControlPlane::shared().await.audit();
    let mark = audit.mark().await;
    let files = [
        ("web/pre.yaml", job("pre-", &hook("PreSync"))),
        ("web/post.yaml", job("post-", &hook("PostSync"))),
        ("web/a.yaml", config_map("a", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let commit = world.repository.commit(&files, "hooks").await;
    world.apply(&world.application("web", "web")).await;
    for name in ["pre-", "post-"] {
        for pause in [0, 30, 120, 300] {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            world.agent.kill();
            world.agent.restart();
        }
        let (job, _) = await_job(&world, name, &[]).await;
        end(&world, &job, true).await;
    }
    world.await_synced("web", &commit).await;
    await_phase(&world, "Succeeded").await;
    let created =
        audit.since(mark).await.of_user(&world.user).verb("create").resource("jobs.batch").namespace(&world.target);
    // One whose sender was killed counts for nothing, or for all: its name is taken then.
    let names: BTreeSet<&str> = created.0.iter().map(|request| request.name.as_str()).collect();
    assert!(names.len() == 2 && created.clone().filter(|request| request.code == 201).count() <= 2, "{created:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_sync_does_what_it_says_and_leaves_the_request_box_empty() {
    let world = Installation::start("operation").await;
    let files = [("web/a.yaml", config_map("a", "key", "one")), ("web/b.yaml", config_map("b", "key", "one"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let first = world.repository.commit(&files, "two maps").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"] = json!({});
    world.apply(&application).await;
    world.await_status("is OutOfSync", "web", |status| status["sync"]["status"] == "OutOfSync").await;
    let ask = async |operation: Value| world.patch_application("web", &json!({"operation": operation})).await;

    ask(json!({"sync": {"dryRun": true}})).await;
    let status = await_phase(&world, "Succeeded").await;
    assert_eq!(status["operationState"]["syncResult"]["resources"].as_array().unwrap().len(), 2);
    assert!(world.target("v1/ConfigMap", "a").await.is_none() && status.get("history").is_none());

    ask(json!({"initiatedBy": {"username": "alice"}, "sync": {"resources": [{"kind": "ConfigMap", "name": "a"}]}}))
        .await;
    world.await_target("one is applied", "v1/ConfigMap", "a", |map| map.is_some()).await;
    let status = world
        .await_status("alice's", "web", |s| {
            s["operationState"]["operation"]["initiatedBy"]["username"] == "alice"
                && s["operationState"]["phase"] == "Succeeded"
        })
        .await;
    assert!(world.target("v1/ConfigMap", "b").await.is_none() && status["sync"]["status"] == "OutOfSync");

    ask(json!({"sync": {"prune": true}})).await;
    world.await_synced("web", &first).await;
    let second = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "change").await;
    world
        .await_status("sees the commit", "web", |s| {
            s["sync"]["revision"] == second.as_str() && s["sync"]["status"] == "OutOfSync"
        })
        .await;
    assert_eq!(world.target("v1/ConfigMap", "a").await.unwrap()["data"]["key"], "one", "nobody has asked");
    ask(json!({"sync": {}})).await;
    let status = world.await_synced("web", &second).await;
    assert_eq!(status["history"].as_array().unwrap().len(), 2);

    // Back to the first entry of the history, and afterwards compared with the branch again.
    ask(json!({"sync": {"revision": first}})).await;
    world
        .await_target("rolled back", "v1/ConfigMap", "a", |map| map.is_some_and(|map| map["data"]["key"] == "one"))
        .await;
    world
        .await_status("is compared with the branch", "web", |s| {
            s["sync"]["revision"] == second.as_str()
                && s["sync"]["status"] == "OutOfSync"
                && s["operationState"]["phase"] == "Succeeded"
        })
        .await;
    let application = world.get("argoproj.io/v1alpha1/Application", &world.namespace, "web").await.unwrap();
    assert!(application.get("operation").is_none());

    world.patch_application("web", &json!({"spec": {"syncPolicy": {"automated": {}}}})).await;
    world.await_synced("web", &second).await;
    ask(json!({"sync": {"revision": first}})).await;
    let status = await_phase(&world, "Failed").await;
    assert!(status["operationState"]["message"].as_str().unwrap().contains("automated sync would undo"), "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_real_job_is_known_although_a_ttl_deletes_it_at_once() {
    let world = Installation::start_on(ControlPlane::shared_with_nodes().await, "hook-ttl", |agent| agent).await;
    let files = [
        ("web/pre.yaml", job("pre", &hook("PreSync")).replacen("spec:\n", "spec:\n  ttlSecondsAfterFinished: 0\n", 1)),
        ("web/a.yaml", config_map("a", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let commit = world.repository.commit(&files, "a hook").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    let status = await_phase(&world, "Succeeded").await;
    let results = status["operationState"]["syncResult"]["resources"].as_array().unwrap();
    assert!(results.iter().any(|result| result["name"] == "pre" && result["hookPhase"] == "Succeeded"), "{results:?}");
    world.await_target("the Job is gone", "batch/v1/Job", "pre", |job| job.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_one_name_and_another_tools_remains_are_told_apart() {
    let world = Installation::start("hook-names").await;
    let account = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: pre\n  annotations: {{{}}}\n",
        hook("PreSync")
    );
    let files = [
        ("web/account.yaml", account),
        ("web/pre.yaml", job("pre", &hook("PreSync"))),
        ("web/a.yaml", config_map("a", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    // As another tool has left it: without our label, and held by somebody for a while.
    let mut remains: Value = serde_yaml::from_str(&job("pre", &hook("PreSync"))).unwrap();
    remains["metadata"]["namespace"] = json!(world.target);
    remains["metadata"]["finalizers"] = json!(["example.com/held"]);
    world.apply(&remains).await;
    let old = world.target("batch/v1/Job", "pre").await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let commit = world.repository.commit(&files, "hooks").await;
    world.apply(&world.application("web", "web")).await;
    world
        .await_target("the other tool's hook is deleted", "batch/v1/Job", "pre", |job| {
            job.is_some_and(|job| job["metadata"].get("deletionTimestamp").is_some())
        })
        .await;
    world.patch("batch/v1/Job", &world.target, "pre", &json!({"metadata": {"finalizers": null}})).await;
    let (_, new) = await_job(&world, "pre", &[old]).await;
    // The account has succeeded, which says nothing of the Job. Something that wakes the Application changes nothing.
    world
        .await_status("the account's outcome stands in the status", "web", |status| {
            let results = status["operationState"]["syncResult"]["resources"].as_array();
            results.is_some_and(|results| {
                results.iter().any(|r| r["kind"] == "ServiceAccount" && r["hookPhase"] == "Succeeded")
            })
        })
        .await;
    let refresh = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}});
    world.patch("argoproj.io/v1alpha1/Application", &world.namespace, "web", &refresh).await;
    gitmoor_tests::harness::throughout(
        "the Job is waited for",
        std::time::Duration::from_secs(2),
        async || match world.target("v1/ConfigMap", "a").await {
            None => Ok(()),
            Some(_) => Err("the map was applied beside the running hook".to_owned()),
        },
    )
    .await;
    assert_eq!(world.target("batch/v1/Job", "pre").await.unwrap()["metadata"]["uid"], new.as_str());
    end(&world, "pre", true).await;
    world.await_synced("web", &commit).await;
}
