//! The agent as a process: it stops, takes over, answers, and keeps secrets to itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::installation::{CREDENTIALS, PATIENCE, api};
use gitmoor_tests::harness::{
    Agent, ControlPlane, Installation, Mode, condition, config_map, http, kustomization, unique_name,
};
use kube::api::ListParams;
use serde_json::{Value, json};

const LEASE: &str = "coordination.k8s.io/v1/Lease";

async fn holder(world: &Installation) -> String {
    let lease = world.get(LEASE, &world.namespace, "gitmoor-agent").await.unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_and_gives_the_lease_back() {
    let mut world = Installation::start("stops").await;
    let commit = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    assert_eq!(holder(&world).await, world.user);
    let status = world.agent.terminate(PATIENCE).await;
    assert!(status.success(), "{status}\n{}", world.agent.log());
    assert!(!world.agent.log().contains("work is left unfinished"), "{}", world.agent.log());
    assert_eq!(holder(&world).await, "");
    assert!(!world.agent.log().contains("ERROR"), "{}", world.agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_waits_and_takes_over() {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("second").await;
    world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    let user = unique_name("second");
    let identity = control_plane.kubeconfig_for_user(&user, Some("system:masters"));
    let mut second = Agent::builder(&identity)
        .arg(format!("--namespace={}", world.namespace))
        .arg(format!("--identity={user}"))
        .env("GITMOOR_POLL_INTERVAL", "0.3")
        .start();
    let waits = async |agent: &Agent| {
        world
            .scene()
            .agent(agent)
            .eventually("the other one waits", PATIENCE, async || {
                let log = agent.log();
                if log.contains("another agent works") { Ok(()) } else { Err(log) }
            })
            .await;
    };
    waits(&second).await;
    world.agent.kill();
    takes_over(&world, &second, &user).await;
    let commit = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "two"))], "change").await;
    world.await_synced("web", &commit).await;

    // The first one comes back, and it is the second that leaves, this time in good order.
    world.agent.restart();
    let again = format!("another agent works; waiting for its lease holder=\"{user}\"");
    world
        .scene()
        .eventually("the first one waits", PATIENCE, async || {
            if world.agent.log().contains(&again) { Ok(()) } else { Err(again.clone()) }
        })
        .await;
    assert!(second.terminate(PATIENCE).await.success(), "{}", second.log());
    assert_ne!(holder(&world).await, user, "it is given back, not run out");
    takes_over(&world, &second, &world.user).await;
    let commit = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "three"))], "change").await;
    world.await_synced("web", &commit).await;
}

/// When a lease that was not given back is taken: `leader.rs`.
async fn takes_over(world: &Installation, second: &Agent, user: &str) {
    let what = format!("{user} holds the lease");
    let check = async || match holder(world).await {
        holder if holder == user => Ok(()),
        holder => Err(format!("{holder:?} does")),
    };
    world.scene().agent(second).eventually(&what, PATIENCE, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer() {
    let world = Installation::start("answers").await;
    world.repository.commit(&[("bad/a.yaml", "kind: [\n")], "a bad one").await;
    let good = world.repository.commit(&[("web/a.yaml", &config_map("a", "key", "one"))], "a good one").await;
    world.apply(&world.application("web", "web")).await;
    world.apply(&world.application("bad", "bad")).await;
    world.await_synced("web", &good).await;
    world.await_unknown("bad", "InvalidManifest").await;
    for path in ["healthz", "readyz"] {
        let answer = http::get(&format!("{}/{path}", world.agent.url())).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
    }
    let metrics = world.metrics().await;
    let expected = [
        ("gitmoor_applications", 2.0),
        ("gitmoor_objects", 1.0),
        ("gitmoor_applies_total", 1.0),
        ("gitmoor_renders_total", 2.0),
        ("gitmoor_comparison_failures_total", 1.0),
        ("gitmoor_prunes_total", 0.0),
        ("gitmoor_seen_to_applied_seconds_count", 1.0),
    ];
    for (name, value) in expected {
        assert!((metrics.sum(name) - value).abs() < f64::EPSILON, "{name} is {}, not {value}", metrics.sum(name));
    }
    assert!(metrics.sum("gitmoor_git_fetches_total") >= 1.0);
    assert_eq!(http::get(&format!("{}/elsewhere", world.agent.url())).await.unwrap().status, 404);
}

/// What nobody may find anywhere but in Secrets, each also in base64.
const CANARIES: [&str; 6] =
    ["canary-applied", "canary-rejected", "canary-mistyped", "canary-broken", "4711471147", "canary-generated"];

#[tokio::test(flavor = "multi_thread")]
async fn secret_values_are_told_to_nobody() {
    let world = Installation::start("canary").await;
    let secret = |name: &str, rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n{rest}");
    let folders = [
        ("applied", secret("applied", "stringData:\n  key: canary-applied\n")),
        // Refused by validation, by the schema, by the decoder, and by the agent itself.
        ("rejected", secret("rejected", "type: kubernetes.io/tls\nstringData:\n  tls.crt: canary-rejected\n")),
        ("mistyped", secret("mistyped", "data:\n  key:\n    inner: canary-mistyped\n")),
        ("undecodable", secret("undecodable", "data:\n  key: canary-rejected, not base64\n")),
        ("number", secret("number", "stringData:\n  pin: 4711471147\n")),
        ("broken", secret("broken", "stringData:\n  key: canary-broken\n key: canary-broken\n")),
    ];
    for (folder, text) in &folders {
        world.repository.write(&format!("{folder}/secret.yaml"), text);
    }
    // kustomize says more than it should, when it is let.
    world.repository.write("generated/a.yaml", secret("generated", "stringData:\n  key: canary-generated\n"));
    let patch = "patches:\n  - target: {kind: Secret}\n    patch: |-\n      - op: test\n        path: /stringData/key\n        value: canary-generated-otherwise\n";
    world.repository.write("generated/kustomization.yaml", kustomization(&["a.yaml"]) + patch);
    let commit = world.repository.commit_all("secrets").await;
    let names: Vec<&str> = folders.iter().map(|(folder, _)| *folder).chain(["generated"]).collect();
    for name in &names {
        world.apply(&world.application(name, name)).await;
    }
    world.await_synced("applied", &commit).await;
    for (name, category) in
        [("rejected", "ApplyRejected"), ("mistyped", "ApplyRejected"), ("undecodable", "ApplyRejected")]
    {
        let status = world.await_condition(name, category).await;
        assert!(condition(&status, category).unwrap().contains(name), "{status:#}");
    }
    let message = world.await_unknown("broken", "InvalidManifest").await;
    assert!(message.contains("broken/secret.yaml"), "{message}");
    let message = world.await_unknown("generated", "RenderFailed").await;
    assert!(message.contains("/stringData/key"), "{message}");
    let status = world.await_condition("number", "InvalidManifest").await;
    assert!(condition(&status, "InvalidManifest").unwrap().contains("pin"), "{status:#}");

    // Drift is repaired, and the password of the repository is refused.
    let drifted = json!({"data": {"key": STANDARD.encode("canary-rejected")}});
    world.patch("v1/Secret", &world.target, "applied", &drifted).await;
    world
        .await_target("the Secret is repaired", "v1/Secret", "applied", |secret| {
            secret.unwrap()["data"]["key"] == STANDARD.encode("canary-applied")
        })
        .await;
    world.remote.set_mode(Mode::RefuseCredentials);
    world.await_unknown("applied", "RefusedCredentials").await;
    let with_password = world.repository.url().replace("http://", "http://somebody:canary-in-the-address@");
    world.patch_application("number", &json!({"spec": {"source": {"repoURL": with_password}}})).await;
    let compared = |status: &Value| status["sync"]["comparedTo"]["source"]["repoURL"] == with_password.as_str();
    let status = world.await_status("is compared with its new address", "number", compared).await;
    // The status repeats the source as people wrote it, for whoever may read that anyway; nothing else does.
    let told = world.agent.log() + &status["conditions"].to_string();
    assert!(!told.contains("canary-in-the-address"), "{told}");

    let told = everything_told(&world).await;
    assert!(told.len() > 5000 && told.contains("ApplyRejected"), "{told}");
    for canary in CANARIES.into_iter().chain([CREDENTIALS.1]) {
        for form in [canary.to_owned(), STANDARD.encode(canary)] {
            let form = form.trim_end_matches('=');
            // Base64 of a longer text begins alike, but for its last digits.
            let form = if form == canary { form } else { &form[..form.len() - 2] };
            let at = told.find(form);
            assert!(at.is_none(), "{canary} is told: {}", at.map_or("", |at| &told[at.saturating_sub(300)..at + 100]));
        }
    }
}

/// Log, metrics, statuses, events, and what else the agent has written into its namespace.
async fn everything_told(world: &Installation) -> String {
    let mut told = world.agent.log();
    told += &http::get(&format!("{}/metrics", world.agent.url())).await.unwrap().body;
    let applications = api(&world.client, "argoproj.io/v1alpha1/Application", Some(&world.namespace));
    for application in applications.list(&ListParams::default()).await.unwrap() {
        told += &application.data["status"].to_string();
    }
    for namespace in [&world.namespace, &world.target] {
        for kind in ["v1/Event", "v1/ConfigMap", LEASE] {
            for object in api(&world.client, kind, Some(namespace)).list(&ListParams::default()).await.unwrap() {
                told += &serde_json::to_value(object).unwrap_or(Value::Null).to_string();
            }
        }
    }
    told
}
