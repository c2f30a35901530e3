//! What commits cost: as many renders as there are Applications that read something of them. `make bench` measures the
//! same on a large repository.

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::ports::free_port;
use gitmoor_tests::harness::{ControlPlane, GitRemote, Installation, Webhook, config_map, http, kustomization};
use kube::api::DeleteParams;
use serde_json::json;

const APPLICATIONS: usize = 12;
const SHARING: usize = 5;

async fn renders(world: &Installation) -> f64 {
    world.metrics().await.sum("gitmoor_renders_total")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_costs_one_render_for_each_application_that_reads_it() {
    let world = Installation::start("commits").await;
    let mut files = vec![
        ("base/kustomization.yaml".to_owned(), kustomization(&["map.yaml"])),
        ("base/map.yaml".to_owned(), config_map("shared", "key", "one")),
    ];
    for n in 0..APPLICATIONS {
        let listed: &[&str] = if n < SHARING { &["map.yaml", "../base"] } else { &["map.yaml"] };
        files.push((format!("a{n}/kustomization.yaml"), format!("{}namePrefix: a{n}-\n", kustomization(listed))));
        files.push((format!("a{n}/map.yaml"), config_map("own", "key", "one")));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let first = world.repository.commit(&files, "applications").await;
    for n in 0..APPLICATIONS {
        world.apply(&world.application(&format!("a{n}"), &format!("a{n}"))).await;
    }
    for n in 0..APPLICATIONS {
        world.await_synced(&format!("a{n}"), &first).await;
    }
    let mut before = renders(&world).await;
    let mut many: Vec<(String, String)> = (0..2000).map(|n| (format!("data/{}/{n}", n % 20), n.to_string())).collect();
    many.push((format!("a{}/map.yaml", APPLICATIONS - 1), config_map("own", "key", "many")));
    let shared: Vec<usize> = (0..SHARING).collect();
    for (what, files, readers) in [
        ("one application", vec![("a7/map.yaml".to_owned(), config_map("own", "key", "two"))], vec![7]),
        ("README only", vec![("README.md".to_owned(), "nobody reads this".to_owned())], vec![]),
        ("a shared base", vec![("base/map.yaml".to_owned(), config_map("shared", "key", "two"))], shared),
        ("very many files", many, vec![APPLICATIONS - 1]),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let commit = world.repository.commit(&files, what).await;
        for reader in &readers {
            world.await_synced(&format!("a{reader}"), &commit).await;
        }
        // A commit that somebody reads comes after one that nobody does: what the latter cost is told by then.
        if !readers.is_empty() {
            let now = renders(&world).await;
            assert!((now - before - readers.len() as f64).abs() < f64::EPSILON, "{what}: {} renders", now - before);
            before = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_the_repository_of_a_base_is_looked_into_at_once() {
    let (elsewhere, webhook) = (GitRemote::start().await, Webhook::default());
    let bases = elsewhere.repository("bases").await;
    let commit = async |value: &str| {
        let files =
            [("x/kustomization.yaml", kustomization(&["map.yaml"])), ("x/map.yaml", config_map("base", "key", value))];
        bases.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], value).await
    };
    commit("one").await;
    bases.git(&["tag", "v1"]).await;
    bases.git(&["push", "--quiet", "origin", "v1"]).await;
    let world = Installation::start_on(ControlPlane::shared().await, "webhook-base", |agent| {
        let agent = agent.env("GITMOOR_CHART_INTERVAL", "3600").arg(format!("--allow-host={}", elsewhere.authority()));
        webhook.known_to(agent)
    })
    .await;
    let entry = |revision: &str| kustomization(&[&format!("{}//x?ref={revision}", bases.url())]);
    let fixed = entry("v1") + "nameSuffix: -fixed\n";
    let files = [("moving/kustomization.yaml", entry("main")), ("fixed/kustomization.yaml", fixed)];
    world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], "bases").await;
    for name in ["moving", "fixed"] {
        world.apply(&world.application(name, name)).await;
    }
    world.await_key("base", "one").await;
    world.await_key("base-fixed", "one").await;
    let renders_before = renders(&world).await;
    commit("two").await;
    webhook.report(&world.agent, bases.url()).await.unwrap();
    world.await_key("base", "two").await;
    assert_eq!(world.target("v1/ConfigMap", "base-fixed").await.unwrap()["data"]["key"], "one");
    assert!(
        (renders(&world).await - renders_before - 1.0).abs() < f64::EPSILON,
        "one Application follows what was pushed"
    );
    let metrics = world.metrics().await;
    assert!((metrics.sum("gitmoor_webhooks_total") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_in_apart_from_metrics_and_with_a_rotated_secret() {
    let (mut webhook, port) = (Webhook::default(), free_port());
    let apart = format!("http://127.0.0.1:{port}");
    let world = Installation::start_on(ControlPlane::shared().await, "webhook-apart", |agent| {
        let agent =
            agent.env("GITMOOR_POLL_INTERVAL", "3600").env("GITMOOR_WEBHOOK_LISTEN", format!("127.0.0.1:{port}"));
        webhook.known_to(agent)
    })
    .await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_key("map", "one").await;
    for (url, path, status) in [
        (&apart, "metrics", 404),
        (&apart, "healthz", 200),
        (&apart, "readyz", 200),
        (&world.agent.url(), "metrics", 200),
        (&world.agent.url(), "webhook", 404),
    ] {
        assert_eq!(http::get(&format!("{url}/{path}")).await.unwrap().status, status, "{url}/{path}");
    }
    let push = async |value: &str| {
        world.repository.commit(&[("web/map.yaml", &config_map("map", "key", value))], value).await;
    };
    push("two").await;
    webhook.report_at(&apart, world.repository.url()).await.unwrap();
    world.await_key("map", "two").await;

    let old = Webhook::default();
    webhook.rotate("another-canary-of-the-webhook");
    assert!(old.report_at(&apart, world.repository.url()).await.unwrap_err().starts_with("401"));
    push("three").await;
    webhook.report_at(&apart, world.repository.url()).await.unwrap();
    world.await_key("map", "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_that_nobody_follows_are_removed_from_disk() {
    let elsewhere = GitRemote::start().await;
    let bases = elsewhere.repository("bases").await;
    let base =
        [("x/kustomization.yaml", kustomization(&["map.yaml"])), ("x/map.yaml", config_map("base", "key", "one"))];
    bases.commit(&[(base[0].0, &base[0].1), (base[1].0, &base[1].1)], "a base").await;
    let world = Installation::start_on(ControlPlane::shared().await, "mirrors", |agent| {
        agent.env("GITMOOR_TIDY_INTERVAL", "0.3").arg(format!("--allow-host={}", elsewhere.authority()))
    })
    .await;
    let other = world.remote.repository("other").await;
    other.commit(&[("app/map.yaml", &config_map("other", "key", "one"))], "other").await;
    let files = [
        ("own/map.yaml", config_map("own", "key", "one")),
        ("based/kustomization.yaml", kustomization(&[&format!("{}//x?ref=main", bases.url())])),
    ];
    world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], "own").await;
    world.apply(&world.application("own", "own")).await;
    world.apply(&world.application("based", "based")).await;
    let mut application = world.application("other", "app");
    application["spec"]["source"]["repoURL"] = json!(other.url());
    world.apply(&application).await;
    for name in ["own", "base", "other"] {
        world.await_key(name, "one").await;
    }
    let folder = world.agent.data().join("repositories");
    let mirrors = || {
        let entries = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir() && path.extension().is_none()).count()
    };
    assert_eq!(mirrors(), 3);
    let await_mirrors = async |count: usize| {
        let check = async || {
            let metrics = world.metrics().await;
            let told =
                (mirrors(), metrics.sum("gitmoor_git_mirrors_removed_total"), metrics.sum("gitmoor_git_mirror_bytes"));
            let fits = told.0 == count && (told.1 - (3 - count) as f64).abs() < f64::EPSILON && told.2 > 0.0;
            if fits { Ok(()) } else { Err(format!("{told:?}")) }
        };
        world.scene().eventually(&format!("there are {count} mirrors"), PATIENCE, check).await;
    };
    await_mirrors(3).await;
    let applications = api(&world.client, "argoproj.io/v1alpha1/Application", Some(&world.namespace));
    applications.delete("other", &DeleteParams::default()).await.unwrap();
    await_mirrors(2).await;
    // That a base is not used any more counts too; what is still followed goes on.
    let plain = kustomization(&["map.yaml"]);
    let own = config_map("base", "key", "two");
    world.repository.commit(&[("based/kustomization.yaml", &plain), ("based/map.yaml", &own)], "no base").await;
    world.await_key("base", "two").await;
    await_mirrors(1).await;
    let last = world.repository.commit(&[("own/map.yaml", &config_map("own", "key", "three"))], "own").await;
    world.await_synced("own", &last).await;
    assert_eq!(world.target("v1/ConfigMap", "other").await.unwrap()["data"]["key"], "one", "no cascade was asked for");
}
