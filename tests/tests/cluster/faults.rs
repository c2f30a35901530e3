//! An API server that is away, slow, busy, forgetful, or serves only part of what it should.

use std::time::Duration;

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{ApiFault, ApiProxy, ControlPlane, Installation, condition, config_map, unique_name};
use serde_json::{Value, json};
use tokio::sync::watch;

/// An agent behind a proxy, with one Application that is Synced, and the private memory of the agent.
async fn behind_a_proxy(purpose: &str) -> (Installation, ApiProxy, u64) {
    let control_plane = ControlPlane::shared().await;
    let identity = control_plane.kubeconfig_for_user(&unique_name("proxied"), Some("system:masters"));
    let proxy = ApiProxy::start(&identity).await;
    let kubeconfig = proxy.kubeconfig().to_owned();
    let world = Installation::start_on(control_plane, purpose, move |agent| agent.env("KUBECONFIG", kubeconfig)).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    let memory = world.agent.usage().private;
    (world, proxy, memory)
}

/// Another value is pushed and arrives.
async fn works_again(world: &Installation, value: &str) {
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", value))], value).await;
    world.await_synced("web", &commit).await;
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], value);
}

fn assert_bounded(world: &Installation, before: u64) {
    let after = world.agent.usage().private;
    assert!(after < before + (64 << 20), "from {} to {} MiB", before >> 20, after >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_failing_and_conflicting_answers_are_waited_for_and_nothing_is_lost() {
    let (world, proxy, memory) = behind_a_proxy("api-busy").await;
    let uid = world.uid("map").await;
    let answers = [
        ApiFault::Refuse(429, "TooManyRequests"),
        ApiFault::Refuse(500, "InternalError"),
        ApiFault::Refuse(409, "Conflict"),
        ApiFault::Refuse(504, "Timeout"),
        ApiFault::Cut,
        ApiFault::CutAnswer,
    ];
    for (round, answer) in answers.into_iter().enumerate() {
        // All writes but those of the lease fail a few times.
        let left = std::sync::Mutex::new(4);
        let met = proxy.faults();
        proxy.fault(move |request| {
            let write = request.method != "GET" && !request.path.contains("/leases/");
            let mut left = left.lock().unwrap();
            if !write || *left == 0 {
                return None;
            }
            *left -= 1;
            Some(answer.clone())
        });
        works_again(&world, &format!("round-{round}")).await;
        // What is written although the answer is cut need not be written again.
        assert!(proxy.faults() > met, "round {round} met no fault");
    }
    proxy.heal();
    assert_eq!(world.uid("map").await, uid);
    assert_bounded(&world, memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_server_only_takes_longer() {
    let (world, proxy, memory) = behind_a_proxy("api-slow").await;
    proxy.fault(|request| (!request.watch).then_some(ApiFault::Slow(Duration::from_millis(700))));
    works_again(&world, "slow").await;
    assert_bounded(&world, memory);
}

/// As behind a webhook that does not answer: as many applies as may be under way at once are, and none ends.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_hang_do_not_cost_the_lease() {
    const AT_ONCE: usize = 32;
    let (world, proxy, _) = behind_a_proxy("api-hangs").await;
    let (gate, closed) = watch::channel(false);
    let maps = format!("/namespaces/{}/configmaps/", world.target);
    proxy.fault(move |request| {
        let applies = request.method == "PATCH" && request.path.contains(&maps);
        applies.then(|| ApiFault::Held(closed.clone()))
    });
    let names = ["one", "two", "three"];
    for (name, index) in names.iter().flat_map(|name| (0..AT_ONCE / 2).map(move |index| (name, index))) {
        let map = format!("{name}-{index}");
        world.repository.write(&format!("{name}/{map}.yaml"), config_map(&map, "key", "one"));
    }
    let commit = world.repository.commit_all("more than may be written at once").await;
    for name in names {
        world.apply(&world.application(name, name)).await;
    }
    let hang = async || match proxy.faults() {
        AT_ONCE.. => Ok(()),
        applies => Err(format!("{applies} applies")),
    };
    world.scene().eventually("all that may be written at once hangs", PATIENCE, hang).await;
    let renewal = async || {
        let lease = world.get("coordination.k8s.io/v1/Lease", &world.namespace, "gitmoor-agent").await;
        lease.unwrap()["spec"]["renewTime"].clone()
    };
    // One may have been on its way before.
    for _ in 0..2 {
        let before = renewal().await;
        let renewed = async || if renewal().await == before { Err(before.to_string()) } else { Ok(()) };
        world.scene().eventually("the lease is renewed", PATIENCE, renewed).await;
    }
    let log = world.agent.log();
    assert!(!log.contains("cannot be renewed"), "{log}");
    gate.send_replace(true);
    for name in names {
        world.await_synced(name, &commit).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_gone_is_listed_anew_and_what_happened_meanwhile_is_seen() {
    let (world, proxy, memory) = behind_a_proxy("api-gone").await;
    let left = std::sync::Mutex::new(12);
    proxy.fault(move |request| {
        let mut left = left.lock().unwrap();
        if !request.watch || *left == 0 {
            return None;
        }
        *left -= 1;
        Some(ApiFault::Refuse(410, "Expired"))
    });
    proxy.cut_all();
    // Nobody is watching now.
    world.patch("v1/ConfigMap", &world.target, "map", &json!({"data": {"key": "edited"}})).await;
    let repaired = |map: Option<&Value>| map.unwrap()["data"]["key"] == "one";
    world.await_target("the edit is undone", "v1/ConfigMap", "map", repaired).await;
    assert!(proxy.faults() >= 2);
    works_again(&world, "after").await;
    assert_bounded(&world, memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_watches_nothing_is_called_synced_and_all_comes_back_with_them() {
    let (world, proxy, memory) = behind_a_proxy("api-blind").await;
    // The kind cannot be listed nor watched; the rest works.
    proxy.fault(|request| {
        let of_kind = request.path.ends_with("/configmaps") && request.method == "GET";
        of_kind.then_some(ApiFault::Refuse(500, "InternalError"))
    });
    proxy.cut_all();
    let unknown = |status: &Value| status["sync"]["status"] == "Unknown" && condition(status, "WatchFailed").is_some();
    let check = async || {
        let status = world.status("web").await;
        if unknown(&status) { Ok(()) } else { Err(format!("{status:#}")) }
    };
    // It is believed for half a minute that a watch comes back.
    world.scene().eventually("is Unknown", 2 * PATIENCE, check).await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "unseen"))], "unseen").await;
    proxy.heal();
    let synced = |status: &Value| status["sync"]["status"] == "Synced";
    let check = async || {
        let status = world.status("web").await;
        if synced(&status) { Ok(()) } else { Err(format!("{status:#}")) }
    };
    world.scene().eventually("is Synced again", 2 * PATIENCE, check).await;
    works_again(&world, "seen").await;
    assert_bounded(&world, memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregated_api_that_is_down_concerns_only_those_who_use_it() {
    let control_plane = ControlPlane::builder().start().await;
    let world = Installation::start_on(&control_plane, "api-aggregated", |agent| agent).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    world
        .apply(&json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.down.example.com"},
            "spec": {
                "group": "down.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": world.target},
            },
        }))
        .await;
    let thing = "apiVersion: down.example.com/v1\nkind: Thing\nmetadata:\n  name: thing\n";
    world.repository.write("uses/thing.yaml", thing);
    world.repository.write("uses/map.yaml", config_map("beside", "key", "one"));
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "two").await;
    world.apply(&world.application("uses", "uses")).await;
    world.await_synced("web", &commit).await;
    let status = world.await_condition("uses", "UnknownKind").await;
    assert_ne!(status["sync"]["status"], "Synced", "{status:#}");
    world.await_target("what is served is applied", "v1/ConfigMap", "beside", |map| map.is_some()).await;

    // Nothing that left Git is deleted as long as not everything can be told.
    world.repository.remove("uses/map.yaml").await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "three"))], "three").await;
    let at_three = |map: Option<&Value>| map.unwrap()["data"]["key"] == "three";
    world.await_target("others go on", "v1/ConfigMap", "map", at_three).await;
    let looked = |status: &Value| status["sync"]["revision"].is_string() && status["sync"]["status"] != "Synced";
    world.await_status("is not Synced", "uses", looked).await;
    assert!(world.target("v1/ConfigMap", "beside").await.is_some(), "{commit}");
}
