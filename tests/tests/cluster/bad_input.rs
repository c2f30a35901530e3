//! Bad input gets a clear error where its author looks, stops nothing else, and nothing is lost by it.

use std::collections::BTreeMap;

use gitmoor_tests::harness::installation::{api, apply};
use gitmoor_tests::harness::{
    ControlPlane, GitRemote, Installation, Mode, condition, config_map, kustomization, unique_name,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// Every folder with a ConfigMap of its name, rolled out by an Application of its name; their uids.
async fn roll_out(world: &Installation, folders: &[&str]) -> BTreeMap<String, String> {
    for folder in folders {
        world.repository.write(&format!("{folder}/map.yaml"), config_map(folder, "key", "one"));
    }
    let commit = world.repository.commit_all("all is well").await;
    for folder in folders {
        world.apply(&world.application(folder, folder)).await;
    }
    let mut uids = BTreeMap::new();
    for folder in folders {
        world.await_synced(folder, &commit).await;
        uids.insert((*folder).to_owned(), world.uid(folder).await);
    }
    uids
}

async fn assert_all_still_there(world: &Installation, uids: &BTreeMap<String, String>) {
    for (name, uid) in uids {
        assert_eq!(&world.uid(name).await, uid, "ConfigMap {name} was recreated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_cannot_be_rendered_are_named_and_stop_nothing_else() {
    let world = Installation::start("sources").await;
    let uids = roll_out(&world, &["documents", "build", "gone", "good"]).await;

    let repository = &world.repository;
    repository.write("documents/map.yaml", format!("{}---\nkind: [ConfigMap\n", config_map("documents", "key", "two")));
    repository.write("documents/other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n");
    repository.write("build/kustomization.yaml", kustomization(&["map.yaml", "missing.yaml"]));
    repository.write("good/map.yaml", config_map("good", "key", "two"));
    let broken = repository.remove("gone").await;

    let status = world
        .await_status("both bad documents are named", "documents", |status| {
            let told = |text: &str| {
                let messages = status["conditions"].as_array().into_iter().flatten();
                messages.into_iter().any(|condition| condition["message"].as_str().unwrap_or_default().contains(text))
            };
            told("documents/map.yaml") && told("documents/other.yaml")
        })
        .await;
    assert_eq!(status["sync"]["status"], "Unknown", "{status:#}");
    let message = condition(&status, "InvalidManifest").unwrap();
    assert!(message.contains("document 2") && message.contains("line"), "{message}");
    let message = world.await_unknown("build", "InvalidSource").await;
    assert!(message.contains("missing.yaml") && message.contains("build/kustomization.yaml"), "{message}");
    let message = world.await_unknown("gone", "PathNotFound").await;
    assert!(message.contains("gone"), "{message}");

    world.await_synced("good", &broken).await;
    assert_eq!(world.target("v1/ConfigMap", "good").await.unwrap()["data"]["key"], "two");
    assert_all_still_there(&world, &uids).await;

    repository.write("documents/map.yaml", config_map("documents", "key", "three"));
    std::fs::remove_file(repository.tree().join("documents/other.yaml")).unwrap();
    repository.write("build/kustomization.yaml", kustomization(&["map.yaml"]));
    repository.write("gone/map.yaml", config_map("gone", "key", "three"));
    let fixed = repository.commit_all("fixed").await;
    for name in ["documents", "build", "gone"] {
        let status = world.await_synced(name, &fixed).await;
        assert_eq!(status["conditions"], json!([]));
    }
    world.await_synced("good", &broken).await;
    assert_all_still_there(&world, &uids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_kustomize_refuses_says_what_kustomize_said() {
    let world = Installation::start("kustomize").await;
    let uids = roll_out(&world, &["web"]).await;
    let patch = "patches:\n  - path: patch.yaml\n";
    world.repository.write("web/kustomization.yaml", kustomization(&["map.yaml"]) + patch);
    world.repository.commit(&[("web/patch.yaml", &config_map("another", "key", "two"))], "patches nothing").await;
    let message = world.await_unknown("web", "RenderFailed").await;
    assert!(message.contains("another"), "{message}");
    assert_all_still_there(&world, &uids).await;
    let fixed = world.repository.commit(&[("web/patch.yaml", &config_map("web", "key", "two"))], "fits").await;
    world.await_synced("web", &fixed).await;
    assert_all_still_there(&world, &uids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_read_is_told_apart_and_what_runs_is_kept() {
    let world = Installation::start_on(ControlPlane::shared().await, "remote", |agent| {
        agent.arg("--fetch-timeout=5").arg("--poll-interval=0.2")
    })
    .await;
    let uids = roll_out(&world, &["web"]).await;
    let elsewhere = GitRemote::start().await;
    let other = elsewhere.repository("other").await;
    let mut commit = other.commit(&[("map.yaml", &config_map("other", "key", "0"))], "a map").await;
    let mut application = world.application("other", ".");
    application["spec"]["source"]["repoURL"] = json!(other.url());
    world.apply(&application).await;
    world.await_synced("other", &commit).await;

    let cases = [
        (Mode::Fail(503), "Unreachable"),
        (Mode::Hang, "TimedOut"),
        (Mode::RefuseCredentials, "RefusedCredentials"),
        (Mode::Fail(404), "NotARepository"),
    ];
    for (round, (mode, category)) in cases.into_iter().enumerate() {
        world.remote.set_mode(mode);
        let pushed = world.repository.commit(&[("web/map.yaml", &config_map("web", "key", category))], category).await;
        let message = world.await_unknown("web", category).await;
        assert!(message.contains(world.repository.url()), "{message}");
        assert!(!message.contains("canary-of-the-repository"), "{message}");

        commit = other.commit(&[("map.yaml", &config_map("other", "key", category))], category).await;
        world.await_synced("other", &commit).await;
        world.patch("v1/ConfigMap", &world.target, "web", &json!({"data": {"key": "edited"}})).await;
        let what = "what was fetched last is still kept";
        world.await_target(what, "v1/ConfigMap", "web", |map| map.unwrap()["data"]["key"] != "edited").await;
        let status = world.status("web").await;
        assert_eq!(status["sync"]["status"], "Unknown", "round {round}: {status:#}");

        world.remote.set_mode(Mode::Ok);
        world.await_synced("web", &pushed).await;
        assert_eq!(world.target("v1/ConfigMap", "web").await.unwrap()["data"]["key"], category);
    }
    assert_all_still_there(&world, &uids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_without_its_repository_keeps_what_runs() {
    let mut world = Installation::start("start-without").await;
    let uids = roll_out(&world, &["web", "api"]).await;
    world.agent.kill();
    world.remote.set_mode(Mode::Fail(503));
    let pushed = world.repository.remove("web/map.yaml").await;
    world.agent.restart();
    for name in ["web", "api"] {
        world.await_unknown(name, "Unreachable").await;
    }
    assert_all_still_there(&world, &uids).await;

    // A folder that is gone renders nothing, so that nothing is deleted afterwards either.
    world.remote.set_mode(Mode::Ok);
    world.await_unknown("web", "PathNotFound").await;
    let status = world.await_status("is Synced", "api", |status| status["sync"]["status"] == "Synced").await;
    assert_ne!(status["sync"]["revision"], pushed.as_str(), "the commit changed nothing of it");
    assert_all_still_there(&world, &uids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_there_is_awaited_and_one_that_goes_takes_nothing_along() {
    let world = Installation::start("branch").await;
    roll_out(&world, &["good"]).await;
    world.repository.write("late/map.yaml", config_map("late", "key", "one"));
    let mut application = world.application("late", "late");
    application["spec"]["source"]["targetRevision"] = json!("release");
    world.apply(&application).await;
    let message = world.await_unknown("late", "RevisionNotFound").await;
    assert!(message.contains("`release`"), "{message}");
    assert!(world.target("v1/ConfigMap", "late").await.is_none());

    let commit = world.repository.commit_all("a map").await;
    world.repository.git(&["push", "--quiet", "origin", "HEAD:release"]).await;
    world.await_synced("late", &commit).await;
    let uid = world.uid("late").await;
    world.repository.git(&["push", "--quiet", "origin", ":release"]).await;
    world.await_unknown("late", "RevisionNotFound").await;
    assert_eq!(world.uid("late").await, uid);

    let commit = world.repository.commit(&[("late/map.yaml", &config_map("late", "key", "two"))], "change").await;
    world.repository.git(&["push", "--quiet", "origin", "HEAD:release"]).await;
    world.await_synced("late", &commit).await;
    assert_eq!(world.uid("late").await, uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_cannot_be_followed_is_refused_as_a_whole() {
    let world = Installation::start("spec").await;
    let uids = roll_out(&world, &["web", "good"]).await;
    let cases = [
        (
            json!({"source": {"plugin": {"name": "x"}}}),
            json!({"source": {"plugin": null}}),
            "UnsupportedField",
            "plugin",
        ),
        (
            json!({"destination": {"server": "https://elsewhere.example"}}),
            json!({"destination": {"server": "https://kubernetes.default.svc"}}),
            "InvalidSpec",
            "spec.destination.server",
        ),
        (json!({"source": {"path": "../web"}}), json!({"source": {"path": "web"}}), "InvalidSpec", "spec.source.path"),
        (
            json!({"source": {"repoURL": "ftp://example.com/x"}}),
            json!({"source": {"repoURL": world.repository.url()}}),
            "InvalidSpec",
            "spec.source.repoURL",
        ),
    ];
    for (bad, good, category, named) in cases {
        world.patch_application("web", &json!({"spec": bad})).await;
        let message = world.await_unknown("web", category).await;
        assert!(message.contains(named), "{message}");
        let files =
            [("good/map.yaml", config_map("good", "key", named)), ("web/map.yaml", config_map("web", "key", named))];
        let pushed = world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], named).await;
        world.await_synced("good", &pushed).await;
        assert_all_still_there(&world, &uids).await;
        world.patch_application("web", &json!({"spec": good})).await;
        world.await_synced("web", &pushed).await;
        assert_eq!(world.target("v1/ConfigMap", "web").await.unwrap()["data"]["key"], named);
    }
    let never = format!("{}---\n{}", config_map("web", "key", "value"), config_map("late", "key", "value")).replacen(
        "  name: late",
        "  name: late\n  annotations: {argocd.argoproj.io/hook: PostDelete}",
        1,
    );
    world.repository.commit(&[("web/map.yaml", &never)], "a hook that never runs").await;
    let status = world.await_condition("web", "UnsupportedHook").await;
    assert_eq!(status["sync"]["status"], "Synced", "what has no effect is told, and stops nothing: {status:#}");
    assert!(world.target("v1/ConfigMap", "late").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_api_server_rejects_does_not_stop_the_others() {
    let world = Installation::start("rejected").await;
    let uids = roll_out(&world, &["web", "good"]).await;
    let service = |port: u32| {
        format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: {port}\n")
    };
    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: typo\nspec:\n  a: b\n";
    let files = [
        ("web/service.yaml", service(700_000)),
        ("web/typo.yaml", typo.to_owned()),
        ("web/more.yaml", config_map("more", "key", "one")),
        ("good/map.yaml", config_map("good", "key", "two")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let pushed = world.repository.commit(&files, "a bad port").await;
    let both = |status: &Value| ["ApplyRejected", "UnknownField"].iter().all(|one| condition(status, one).is_some());
    let status = world.await_status("both refusals are told", "web", both).await;
    assert_eq!(status["sync"]["status"], "OutOfSync", "{status:#}");
    assert_eq!(status["operationState"]["phase"], "Failed", "{status:#}");
    let told = status["conditions"].to_string();
    assert!(told.contains(&format!("Service {}/web", world.target)) && told.contains("spec.ports[0].port"), "{told}");
    assert!(told.contains(&format!("ConfigMap {}/typo", world.target)) && told.contains("spec"), "{told}");
    assert!(world.target("v1/ConfigMap", "more").await.is_some());
    world.await_synced("good", &pushed).await;

    std::fs::remove_file(world.repository.tree().join("web/typo.yaml")).unwrap();
    let fixed = world.repository.commit(&[("web/service.yaml", &service(80))], "a good port").await;
    world.await_synced("web", &fixed).await;
    assert_all_still_there(&world, &uids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_an_unknown_kind_is_applied_once_its_definition_is_there() {
    let world = Installation::start("kind").await;
    let uids = roll_out(&world, &["web", "good"]).await;
    let group = format!("{}.example.com", unique_name("things"));
    let thing = format!("apiVersion: {group}/v1\nkind: Thing\nmetadata:\n  name: a\n");
    let files = [("web/thing.yaml", thing), ("web/more.yaml", config_map("more", "key", "one"))];
    let pushed = world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], "a thing").await;
    let status = world.await_condition("web", "UnknownKind").await;
    let message = condition(&status, "UnknownKind").unwrap();
    assert!(message.contains("web/thing.yaml") && message.contains("Thing"), "{message}");
    world.await_target("the others are applied", "v1/ConfigMap", "more", |map| map.is_some()).await;
    assert_ne!(world.status("web").await["sync"]["status"], "Synced");

    apply(&world.client, &definition(&group)).await;
    world.await_synced("web", &pushed).await;
    let things = api(&world.client, &format!("{group}/v1/Thing"), Some(&world.target));
    assert!(things.get_opt("a").await.unwrap().is_some());
    assert_all_still_there(&world, &uids).await;
    let definitions = api(&world.client, "apiextensions.k8s.io/v1/CustomResourceDefinition", None);
    definitions.delete(&format!("things.{group}"), &DeleteParams::default()).await.unwrap();
}

/// That the definition comes later than the object is a matter of order: nothing is wrong, and nothing is said to be.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_waits_for_the_definition_that_comes_with_it() {
    let world = Installation::start("kind-awaited").await;
    let group = format!("{}.example.com", unique_name("things"));
    let mut later = definition(&group);
    later["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "1"});
    let thing = format!(
        "apiVersion: {group}/v1\nkind: Thing\nmetadata:\n  name: a\n  annotations: {{argocd.argoproj.io/sync-wave: '2'}}\n"
    );
    let first =
        "apiVersion: v1\nkind: Service\nmetadata: {name: first}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n";
    let files = [("web/first.yaml", first), ("web/definition.yaml", &later.to_string()), ("web/thing.yaml", &thing)];
    let pushed = world.repository.commit(&files, "a thing and what it is").await;
    world.apply(&world.application("web", "web")).await;
    let waits = |status: &Value| {
        let message = status["operationState"]["message"].as_str().unwrap_or_default();
        status["operationState"]["phase"] == "Running" && message.contains("Service")
    };
    let status = world.await_status("waits for the first wave", "web", waits).await;
    assert_eq!(status["conditions"], json!([]), "{status:#}");
    assert_eq!(status["sync"]["status"], "OutOfSync");

    let balanced = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let services = api(&world.client, "v1/Service", Some(&world.target));
    services.patch_status("first", &PatchParams::default(), &Patch::Merge(balanced)).await.unwrap();
    let status = world.await_synced("web", &pushed).await;
    assert_eq!(status["conditions"], json!([]), "{status:#}");
    let things = api(&world.client, &format!("{group}/v1/Thing"), Some(&world.target));
    assert!(things.get_opt("a").await.unwrap().is_some());
    let definitions = api(&world.client, "apiextensions.k8s.io/v1/CustomResourceDefinition", None);
    definitions.delete(&format!("things.{group}"), &DeleteParams::default()).await.unwrap();
}

fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_missing_is_awaited_or_created_when_asked() {
    let world = Installation::start("namespace").await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: only\nstringData:\n  key: value\n";
    let commit = world.repository.commit(&[("web/secret.yaml", secret)], "a secret").await;
    let (awaited, created) = (unique_name("awaited"), unique_name("created"));
    let mut application = world.application("awaited", "web");
    application["spec"]["destination"]["namespace"] = json!(awaited);
    world.apply(&application).await;
    let mut application = world.application("created", "web");
    application["spec"]["destination"]["namespace"] = json!(created);
    application["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
    world.apply(&application).await;

    world.await_synced("created", &commit).await;
    let status = world.await_condition("awaited", "NamespaceNotFound").await;
    assert_ne!(status["sync"]["status"], "Synced");
    let message = condition(&status, "NamespaceNotFound").unwrap();
    assert!(message.contains(&awaited), "{message}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": awaited}});
    let namespace = serde_json::from_value(namespace).unwrap();
    api(&world.client, "v1/Namespace", None).create(&PostParams::default(), &namespace).await.unwrap();
    world.await_synced("awaited", &commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_two_applications_want_stays_with_the_first_until_it_lets_go() {
    let world = Installation::start("shared").await;
    let uids = roll_out(&world, &["first"]).await;
    let of_second =
        [("second/map.yaml", config_map("first", "key", "second")), ("second/own.yaml", config_map("own", "a", "b"))];
    let commit = world
        .repository
        .commit(&[(of_second[0].0, &of_second[0].1), (of_second[1].0, &of_second[1].1)], "the same")
        .await;
    world.apply(&world.application("second", "second")).await;
    let status = world.await_condition("second", "SharedResource").await;
    let message = condition(&status, "SharedResource").unwrap();
    assert!(message.contains(&format!("{}/first", world.namespace)), "{message}");
    world.await_target("its own object is applied", "v1/ConfigMap", "own", |map| map.is_some()).await;
    assert_eq!(status["sync"]["status"], "OutOfSync");
    let key = async || world.target("v1/ConfigMap", "first").await.unwrap()["data"]["key"].clone();
    assert_eq!(key().await, "one");

    // That the first one cannot tell what it wants does not mean that it wants nothing.
    world.repository.commit(&[("first/map.yaml", "kind: [\n")], "break the first").await;
    world.await_unknown("first", "InvalidManifest").await;
    world.repository.commit(&[("second/own.yaml", &config_map("own", "a", "c"))], "change the second").await;
    world.await_target("the second goes on", "v1/ConfigMap", "own", |map| map.unwrap()["data"]["a"] == "c").await;
    assert_eq!(key().await, "one");

    let last = world.repository.commit(&[("first/map.yaml", &config_map("other", "key", "one"))], "let go").await;
    world.await_synced("first", &last).await;
    world
        .await_target("the second has it", "v1/ConfigMap", "first", |map| map.unwrap()["data"]["key"] == "second")
        .await;
    let status = world.await_status("is Synced", "second", |status| status["sync"]["status"] == "Synced").await;
    assert_eq!(status["conditions"], json!([]), "{commit}");
    assert_all_still_there(&world, &uids).await;
}
