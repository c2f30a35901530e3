//! Faults, seeded one by one: what `gitmoor explain` says of them.

use std::path::Path;

use gitmoor_tests::harness::installation::{PATIENCE, api, apply};
use gitmoor_tests::harness::{
    ChartServer, ControlPlane, Installation, Mode, config_map, eventually, kustomization, unique_name,
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::Person;

/// Waits until the root cause of an Application is this; gives it.
pub(crate) async fn explained(person: &Person, folder: &Path, application: &str, cause: &str) -> Value {
    let check = async || {
        let run = person.run_in(folder, &["explain", application, "--output", "json"], b"");
        let first = run.json()["findings"][0].clone();
        if first["cause"] == cause { Ok(first) } else { Err(format!("{first:#}\n{}", run.stderr)) }
    };
    let first = eventually(&format!("{application}: {cause}"), PATIENCE, check).await;
    assert!(first["evidence"].as_array().is_some_and(|all| !all.is_empty()), "{first:#}");
    assert!(first["remedy"].as_array().is_some_and(|all| !all.is_empty()), "{first:#}");
    let text = person.run_in(folder, &["explain", application], b"").assert(1).stdout.clone();
    let sentence = first["sentence"].as_str().unwrap();
    assert_eq!(text.lines().nth(1).unwrap().trim(), sentence, "the sentence stands first: {text}");
    first
}

fn sentence(finding: &Value) -> &str {
    finding["sentence"].as_str().unwrap()
}

fn shows(finding: &Value, what: &str, text: &str) -> bool {
    let all = finding["evidence"].as_array().unwrap();
    all.iter().any(|one| one["what"] == what && one["text"].as_str().unwrap().contains(text))
}

/// Applications of which each has another fault; the webhook refuses ConfigMaps of a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_repositories_renders_and_applies() {
    let world = Installation::start("explain").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let group = format!("{}.example.com", unique_name("things"));
    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: typo\nspecs:\n  a: b\n";
    let broken = format!("{}---\napiVersion: v1\nkind: [\n", config_map("broken", "key", "one"));
    let patches = kustomization(&["map.yaml"]) + "patches:\n  - path: patch.yaml\n";
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: small\nspec:\n  hard:\n    services: \"0\"\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n    - port: 80\n";
    let files = [
        ("fine/map.yaml", config_map("fine", "key", "one")),
        ("broken/map.yaml", broken),
        ("field/map.yaml", typo.to_owned()),
        ("left/map.yaml", config_map("left", "host", "<<__rds.host__>>")),
        ("build/kustomization.yaml", patches),
        ("build/map.yaml", config_map("build", "key", "one")),
        ("build/patch.yaml", config_map("another", "key", "two")),
        ("kind/thing.yaml", format!("apiVersion: {group}/v1\nkind: Thing\nmetadata:\n  name: a\n")),
        ("webhook/map.yaml", config_map("webhook", "key", "one")),
        ("quota/service.yaml", service.to_owned()),
    ];
    for (path, text) in &files {
        world.repository.write(path, text);
    }
    let commit = world.repository.commit_all("a fault of every kind").await;

    let hooked = gitmoor_tests::harness::create_namespace(&world.client, "hooked").await;
    apply(&world.client, &json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": hooked},
        "webhooks": [{
            "name": "policy.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 2,
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": hooked}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        }],
    })).await;
    let mut quota: Value = serde_yaml::from_str(quota).unwrap();
    quota["metadata"]["namespace"] = json!(world.target);
    apply(&world.client, &quota).await;
    // Nobody counts here: what is used up stands in the status.
    let used = json!({"status": {"hard": {"services": "0"}, "used": {"services": "0"}}});
    let quotas = api(&world.client, "v1/ResourceQuota", Some(&world.target));
    quotas.patch_status("small", &PatchParams::default(), &Patch::Merge(&used)).await.unwrap();

    let charts = ChartServer::start().await;
    charts.publish("present", "1.0.0", &[("templates/map.yaml", &config_map("chart", "key", "one"))]);
    for name in ["fine", "broken", "field", "left", "build", "kind", "quota", "gone"] {
        world.apply(&world.application(name, name)).await;
    }
    let mut webhook = world.application("webhook", "webhook");
    webhook["spec"]["destination"]["namespace"] = json!(hooked);
    world.apply(&webhook).await;
    let mut branch = world.application("branch", "fine");
    branch["spec"]["source"]["targetRevision"] = json!("release");
    world.apply(&branch).await;
    for (name, chart, version) in [("chart", "absent", "1.0.0"), ("version", "present", "9.9.9")] {
        let mut application = world.application(name, ".");
        application["spec"]["source"] = json!({"repoURL": charts.url(), "chart": chart, "targetRevision": version});
        world.apply(&application).await;
    }
    let mut spec = world.application("spec", "fine");
    spec["spec"]["source"]["repoURL"] = json!("<<__git_repo.url__>>");
    world.apply(&spec).await;
    world.await_synced("fine", &commit).await;

    let (url, target) = (world.repository.url(), world.target.as_str());
    let here = world.repository.tree();
    let fine = person.run(&["explain", "fine"]);
    assert!(fine.assert(0).stdout.contains("there is nothing to explain"), "{fine:?}");
    let cases = [
        (
            "branch",
            "UnknownRevision",
            format!("branch follows release, and {url} has no branch, tag or commit of that name"),
        ),
        ("gone", "PathMissing", format!("the folder gone does not exist in {url} at main")),
        ("broken", "BrokenFile", "a file cannot be read: broken/map.yaml: ".to_owned()),
        (
            "field",
            "UnknownField",
            format!(
                "ConfigMap {target}/typo has a field that its kind does not have: failed to create typed patch object"
            ),
        ),
        (
            "left",
            "UnresolvedPlaceholder",
            format!("left/map.yaml, document 1: ConfigMap {target}/left still has <<__rds.host__>>"),
        ),
        ("spec", "UnresolvedPlaceholder", "the Application still has <<__git_repo.url__>>".to_owned()),
        ("chart", "ChartNotFound", format!("{} has no chart absent in version 1.0.0", charts.url())),
        ("version", "ChartNotFound", format!("{} has no chart present in version 9.9.9", charts.url())),
        ("build", "RenderFailed", "kustomize cannot build build: ".to_owned()),
        ("kind", "KindMissing", format!("kind/thing.yaml, document 1: the cluster does not serve {group}/v1 Thing")),
        (
            "webhook",
            "WebhookDown",
            format!(
                "the admission webhook policy.example.com does not answer, so ConfigMap {hooked}/webhook cannot be applied"
            ),
        ),
        (
            "quota",
            "QuotaExceeded",
            format!("Service {target}/web does not fit into the namespace's quota: services \"web\" is forbidden"),
        ),
    ];
    for (application, cause, expected) in cases {
        let finding = explained(&person, here, application, cause).await;
        assert!(sentence(&finding).starts_with(&expected), "{application}: {}", sentence(&finding));
        assert!(shows(&finding, "condition", ""), "{finding:#}");
    }
    let left = api(&world.client, "v1/ConfigMap", Some(target));
    assert!(left.get_opt("left").await.unwrap().is_none(), "what has no value yet does not reach the cluster");
    let finding = explained(&person, here, "broken", "BrokenFile").await;
    let blame = format!("broken/map.yaml was changed last in {}", &commit[..7]);
    assert!(shows(&finding, "commit", &blame), "{finding:#}");
    assert!(shows(&finding, "commit", "a fault of every kind"), "{finding:#}");

    world.remote.set_mode(Mode::RefuseCredentials);
    world.repository.commit(&[("fine/map.yaml", &config_map("fine", "key", "two"))], "nobody sees it").await;
    let finding = explained(&person, here, "fine", "RefusedCredentials").await;
    assert_eq!(sentence(&finding), format!("{url} refuses the agent's credentials"));
    assert!(!finding.to_string().contains("canary-of-the-repository"), "{finding:#}");
    let webhooks = api(&world.client, "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration", None);
    webhooks.delete(&hooked, &kube::api::DeleteParams::default()).await.unwrap();
}

fn deployment(name: &str, image: &str) -> String {
    // No scheduler takes its pods: their status is what the test says.
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": image}]},
            },
        },
    })
    .to_string()
}

/// Gives the one pod of an app the status that a kubelet would.
async fn report(world: &Installation, app: &str, status: Value) -> String {
    let pods = api(&world.client, "v1/Pod", Some(&world.target));
    let made = async || {
        let listed = pods.list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap();
        listed.items.first().and_then(|pod| pod.metadata.name.clone()).ok_or_else(|| "no pod".to_owned())
    };
    let name = world.scene().eventually(&format!("{app} has a pod"), PATIENCE, made).await;
    let patch = json!({"status": status});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_what_runs() {
    let control_plane = ControlPlane::shared_with_nodes().await;
    let world = Installation::start_on(control_plane, "unwell", |agent| agent).await;
    let person = Person::of(control_plane, &world);
    let claim = |class: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class},
        })
        .to_string()
    };
    let class = unique_name("fast");
    let crowded = gitmoor_tests::harness::create_namespace(&world.client, "crowded").await;
    let none = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": crowded}, "spec": {"hard": {"pods": "0"}},
    });
    apply(&world.client, &none).await;
    let files = [
        ("image/deployment.yaml", deployment("image", "registry.example/absent:1")),
        ("crash/deployment.yaml", deployment("crash", "app:2")),
        ("claim/claim.yaml", claim(&class)),
        ("crowd/deployment.yaml", deployment("crowd", "app:1")),
    ];
    for (path, text) in &files {
        world.repository.write(path, text);
    }
    let commit = world.repository.commit_all("workloads").await;
    for name in ["image", "crash", "claim"] {
        world.apply(&world.application(name, name)).await;
    }
    let mut crowd = world.application("crowd", "crowd");
    crowd["spec"]["destination"]["namespace"] = json!(crowded);
    world.apply(&crowd).await;

    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let container = |state: &Value| json!({"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 4, "state": state});
    let pod = report(
        &world,
        "image",
        json!({"phase": "Pending", "containerStatuses": [
        container(&waiting("ImagePullBackOff", "Back-off pulling image \"registry.example/absent:1\""))]}),
    )
    .await;
    apply(&world.client, &json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": unique_name("pull"), "namespace": world.target},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": world.target, "name": pod},
        "type": "Warning", "reason": "Failed", "message": "Failed to pull image \"registry.example/absent:1\": not found",
        "count": 7, "lastTimestamp": "2026-01-01T00:00:00Z", "source": {"component": "kubelet"},
    })).await;
    let mut crashed = container(&waiting("CrashLoopBackOff", "back-off 40s restarting failed container"));
    let words = "starting\nFATAL: password authentication failed for user \"mlflow\"\n";
    crashed["lastState"] = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": words}});
    report(&world, "crash", json!({"phase": "Running", "containerStatuses": [crashed]})).await;

    let here = world.repository.tree();
    let whose = |app: &str| format!("container main of Deployment.apps {}/{app}", world.target);
    let finding = explained(&person, here, "image", "ImageNotPulled").await;
    let expected = format!(
        "the image registry.example/absent:1 of {} cannot be pulled: Failed to pull image \"registry.example/absent:1\": not found",
        whose("image")
    );
    assert_eq!(sentence(&finding), expected);
    assert!(shows(&finding, "event", "7 times") && shows(&finding, "pod", &pod), "{finding:#}");
    let blame = format!("image/deployment.yaml was changed last in {}", &commit[..7]);
    assert!(shows(&finding, "commit", &blame), "{finding:#}");

    let finding = explained(&person, here, "crash", "ContainerCrashes").await;
    let expected = format!(
        "{} crashes with exit code 3: FATAL: password authentication failed for user \"mlflow\"",
        whose("crash")
    );
    assert_eq!(sentence(&finding), expected);
    assert!(shows(&finding, "log", "starting") && shows(&finding, "pod", "restarts: 4"), "{finding:#}");

    let finding = explained(&person, here, "claim", "ClaimPending").await;
    let expected = format!("PersistentVolumeClaim {}/data waits for a volume: ", world.target);
    assert!(sentence(&finding).starts_with(&expected), "{finding:#}");
    let check = async || {
        let finding = explained(&person, here, "claim", "ClaimPending").await;
        if sentence(&finding).contains(&class) && shows(&finding, "event", "not found") {
            Ok(())
        } else {
            Err(finding.to_string())
        }
    };
    world.scene().eventually("the controller's reason is shown", PATIENCE, check).await;

    let finding = explained(&person, here, "crowd", "QuotaExceeded").await;
    let expected = format!("the pods of Deployment.apps {crowded}/crowd do not fit into the namespace's quota: ");
    assert!(sentence(&finding).starts_with(&expected) && sentence(&finding).contains("none"), "{finding:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_is_found_below_an_app_of_apps_and_an_agent_that_is_gone_comes_first() {
    let mut world = Installation::start("below").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let child = world.application("child", "nowhere").to_string();
    world.repository.commit(&[("apps/child.yaml", &child)], "a child without a folder").await;
    let mut parent = world.application("parent", "apps");
    parent["spec"]["destination"]["namespace"] = json!(world.namespace);
    world.apply(&parent).await;
    let finding = explained(&person, Path::new("/"), "parent", "PathMissing").await;
    let expected =
        format!("in Application child: the folder nowhere does not exist in {} at main", world.repository.url());
    assert_eq!(sentence(&finding), expected);
    world.agent.terminate(PATIENCE).await;
    let run = person.run(&["explain", "child", "--output", "json"]);
    let findings = &run.assert(1).json()["findings"];
    assert_eq!((&findings[0]["cause"], &findings[1]["cause"]), (&json!("NoAgent"), &json!("PathMissing")));
}
