//! Bases, files and charts from elsewhere.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{ChartServer, ControlPlane, GitRemote, Installation, Mode, config_map, kustomization};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn bases_from_elsewhere_are_fetched_once_pinned_and_followed_where_they_move() {
    let (elsewhere, server) = (GitRemote::start().await, ChartServer::start().await);
    let bases = elsewhere.repository("bases").await;
    let base = |value: &str| {
        [
            ("fixed/kustomization.yaml", kustomization(&["map.yaml"])),
            ("fixed/map.yaml", config_map("fixed", "key", value)),
            ("moving/kustomization.yaml", kustomization(&["../moved"])),
            ("moved/kustomization.yaml", kustomization(&["map.yaml"])),
            ("moved/map.yaml", config_map("moving", "key", value)),
            ("README.md", value.to_owned()),
        ]
    };
    let commit = async |value: &str| {
        let files = base(value);
        bases.commit(&files.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>(), value).await
    };
    commit("one").await;
    bases.git(&["tag", "v1"]).await;
    bases.git(&["push", "--quiet", "origin", "v1"]).await;
    server.put("extra.yaml", config_map("extra", "key", "one").as_bytes());
    let hosts = format!("{},{}", elsewhere.authority(), server.authority());
    let mut world = Installation::start_on(ControlPlane::shared().await, "remotes", |agent| {
        agent.env("GITMOOR_CHART_INTERVAL", "0.3").arg(format!("--allow-host={hosts}"))
    })
    .await;
    let (url, file) = (bases.url().to_owned(), format!("{}/extra.yaml", server.url()));
    let fixed = format!("{url}//fixed?ref=v1");
    let own = [("app/kustomization.yaml", kustomization(&[&fixed, &format!("{url}//moving?ref=main"), &file]))];
    world.repository.commit(&[(own[0].0, &own[0].1)], "bases from elsewhere").await;
    world.repository.commit(&[("fixed/kustomization.yaml", &kustomization(&[&fixed]))], "a tag alone").await;
    let moving = kustomization(&[&format!("{url}//moving?ref=main")]) + "nameSuffix: -by-itself\n";
    world.repository.commit(&[("moving/kustomization.yaml", &moving)], "a branch alone").await;
    let mut by_itself = world.application("by-itself", "moving");
    by_itself["spec"]["syncPolicy"]["automated"]["selfHeal"] = json!(false);
    world.apply(&by_itself).await;
    world.await_key("moving-by-itself", "one").await;
    world.apply(&world.application("web", "app")).await;
    world.await_status("is Synced", "web", |status| status["sync"]["status"] == "Synced").await;
    for name in ["fixed", "moving", "extra"] {
        assert_eq!(world.key(name).await.as_deref(), Some("one"), "{name}");
    }

    // What moves is followed without a commit here; what does not, does not move.
    let renders = async |world: &Installation| world.metrics().await.sum("gitmoor_renders_total");
    commit("two").await;
    world.await_key("moving", "two").await;
    // Not a repair: it is rolled out although the Application's own revision is what it was.
    world.await_key("moving-by-itself", "two").await;
    server.put("extra.yaml", config_map("extra", "key", "three").as_bytes());
    world.await_key("extra", "three").await;
    assert_eq!(world.key("fixed").await.as_deref(), Some("one"));
    world.settled().await;
    let before = renders(&world).await;
    bases.commit(&[("README.md", "nobody reads this")], "readme").await;
    let looks = world.metrics().await.sum("gitmoor_remote_fetches_total");
    world
        .scene()
        .eventually("it is looked at", PATIENCE, async || {
            let now = world.metrics().await.sum("gitmoor_remote_fetches_total");
            if now > looks + 6.0 { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
    world.settled().await;
    let more = renders(&world).await - before;
    assert!(more.abs() < f64::EPSILON, "{more} renders of what is not read");

    // Nothing of it answers any more, and the agent starts anew: what is pinned needs nobody.
    elsewhere.set_mode(Mode::Fail(503));
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    elsewhere.forget_requests();
    let later = world.application("later", "fixed");
    let mut later = later.clone();
    later["spec"]["source"]["kustomize"] = json!({"nameSuffix": "-later"});
    world.apply(&later).await;
    world.await_key("fixed-later", "one").await;
    let change = kustomization(&[&fixed, &format!("{url}//moving?ref=main"), &file]) + "nameSuffix: -x\n";
    let pushed = world.repository.commit(&[("app/kustomization.yaml", &change)], "a suffix").await;
    world.await_status("goes on", "web", |status| status["sync"]["revision"] == pushed.as_str()).await;
    world.await_key("moving-x", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_bases_lead_nowhere_inside_and_others_keep_syncing() {
    let world = Installation::start("remotes-inside").await;
    let inside = GitRemote::start().await;
    let secret = inside.repository("secret").await;
    secret.commit(&[("kustomization.yaml", &kustomization(&[]))], "secret").await;
    let port = inside.authority().split(':').nth(1).unwrap().to_owned();
    let entries = [
        (format!("{}//.?ref=main", secret.url()), "RemoteRefused", "leads to an address inside"),
        (format!("http://localhost:{port}/secret.git"), "RemoteRefused", "leads to an address inside"),
        (format!("{}/x.yaml", inside.url()), "RemoteRefused", "leads to an address inside"),
        ("http://169.254.169.254/latest/meta-data/x.yaml".to_owned(), "RemoteRefused", "leads to an address inside"),
        ("http://169.254.169.254/latest/repo.git".to_owned(), "RemoteRefused", "leads to an address inside"),
        ("file:///etc//x".to_owned(), "RemoteRefused", "local repositories are off"),
        (format!("ssh://git@localhost:{port}/secret.git"), "RemoteRefused", "leads to an address inside"),
        ("git@169.254.169.254:org/repo".to_owned(), "RemoteRefused", "leads to an address inside"),
        ("git@git.example:org/repo".to_owned(), "RemoteUnreachable", "git.example:22"),
        (format!("{}//gone?ref=main", world.repository.url()), "PathNotFound", "the path gone does not exist"),
        (
            format!("{}//good?ref=nowhere", world.repository.url()),
            "RemoteRefused",
            "no branch, tag or commit `nowhere`",
        ),
    ];
    world.repository.commit(&[("good/map.yaml", &config_map("good", "key", "start"))], "good").await;
    world.apply(&world.application("good", "good")).await;
    world.apply(&world.application("web", "web")).await;
    for (round, (entry, category, words)) in entries.iter().enumerate() {
        let good = config_map("good", "key", &round.to_string());
        let files = [("good/map.yaml", good), ("web/kustomization.yaml", kustomization(&[entry]))];
        let pushed = world.repository.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], entry).await;
        let fits = |status: &Value| {
            let told = status["conditions"].to_string();
            status["sync"]["status"] == "Unknown" && told.contains(category) && told.contains(words)
        };
        world.await_status(&format!("{entry}: {category}, {words}"), "web", fits).await;
        world.await_synced("good", &pushed).await;
    }
    assert_eq!(inside.requests(), [], "nothing inside is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_kustomizations_and_dependencies_come_from_allowed_repositories() {
    let server = ChartServer::start().await;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-{{ .Chart.Name }}\"}\ndata: {key: \"{{ .Values.key }}\"}\n";
    for version in ["1.0.0", "1.1.0"] {
        server.publish(
            "web",
            version,
            &[("templates/map.yaml", template), ("values.yaml", &format!("key: {version}\n"))],
        );
    }
    let world = Installation::start_on(ControlPlane::shared().await, "inflate", |agent| {
        agent.env("GITMOOR_CHART_INTERVAL", "0.3").arg(format!("--allow-host={}", server.authority()))
    })
    .await;
    let chart = |version: &str| {
        format!("helmCharts:\n- {{name: web, repo: '{}', version: {version}, releaseName: one}}\n", server.url())
    };
    let dependent = format!(
        "apiVersion: v2\nname: own\nversion: 0.1.0\ndependencies:\n- {{name: web, version: ~1.0, repository: '{}'}}\n",
        server.registry()
    );
    let first = world
        .repository
        .commit(&[("app/kustomization.yaml", &chart("1.0.0")), ("own/Chart.yaml", &dependent)], "charts")
        .await;
    world.apply(&world.application("app", "app")).await;
    world.apply(&world.application("own", "own")).await;
    world.await_synced("app", &first).await;
    world.await_synced("own", &first).await;
    assert_eq!(world.key("one-web").await.as_deref(), Some("1.0.0"));
    assert_eq!(world.key("own-web").await.as_deref(), Some("1.0.0"));
    let pushed = world.repository.commit(&[("app/kustomization.yaml", &chart("1.1.0"))], "newer").await;
    world.await_synced("app", &pushed).await;
    assert_eq!(world.key("one-web").await.as_deref(), Some("1.1.0"));
    let elsewhere = ChartServer::start().await;
    elsewhere.publish("web", "1.0.0", &[("templates/map.yaml", template)]);
    let refused = chart("1.0.0").replace(&server.url(), &elsewhere.url());
    world.repository.commit(&[("app/kustomization.yaml", &refused)], "of another host").await;
    let message = world.await_unknown("app", "RemoteRefused").await;
    assert!(message.contains("leads to an address inside"), "{message}");
    assert_eq!(elsewhere.requests(), []);
    assert_eq!(world.key("one-web").await.as_deref(), Some("1.1.0"), "what runs keeps running");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_anew_renders_nothing_of_what_is_in_sync() {
    const APPLICATIONS: usize = 8;
    let mut world = Installation::start("render-cache").await;
    let files: Vec<(String, String)> = (0..APPLICATIONS)
        .flat_map(|n| {
            let secret =
                format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s{n}}}\nstringData: {{a: canary-on-disk}}\n");
            [
                (format!("a{n}/kustomization.yaml"), kustomization(&["map.yaml", "secret.yaml"])),
                (format!("a{n}/map.yaml"), config_map(&format!("m{n}"), "key", "one")),
                (format!("a{n}/secret.yaml"), secret),
            ]
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let commit = world.repository.commit(&files, "applications").await;
    for n in 0..APPLICATIONS {
        world.apply(&world.application(&format!("a{n}"), &format!("a{n}"))).await;
    }
    for n in 0..APPLICATIONS {
        world.await_synced(&format!("a{n}"), &commit).await;
    }
    let renders = world.agent.data().join("renders");
    let kept = || std::fs::read_dir(&renders).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(kept().len(), APPLICATIONS);
    for path in kept() {
        let sealed = std::fs::read(&path).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"canary"), "rule 4: {path:?} is in clear");
    }
    let told = async |world: &Installation, cached: usize, rendered: usize| {
        let what = format!("{cached} renders are read and {rendered} made");
        let check = async || {
            let metrics = world.metrics().await;
            let seen = (metrics.sum("gitmoor_renders_cached_total"), metrics.sum("gitmoor_renders_total"));
            if seen == (cached as f64, rendered as f64) { Ok(()) } else { Err(format!("{seen:?}")) }
        };
        world.scene().eventually(&what, PATIENCE, check).await;
    };
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    told(&world, APPLICATIONS, 0).await;

    // Damaged, lost, or of another installation: rendered anew, and nothing else happens.
    std::fs::write(&kept()[0], "damaged").unwrap();
    let (one, other) = (kept()[1].clone(), kept()[2].clone());
    std::fs::copy(&one, &other).unwrap();
    std::fs::remove_file(&kept()[3]).unwrap();
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    told(&world, APPLICATIONS - 3, 3).await;
    std::fs::remove_dir_all(&renders).unwrap();
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    told(&world, 0, APPLICATIONS).await;
    world.settled().await;
    assert_eq!(kept().len(), APPLICATIONS);
    let applied = world.metrics().await.sum("gitmoor_applies_total");
    assert!(applied.abs() < f64::EPSILON, "{applied} objects were applied without need");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_repositories_cost_one_request_each_per_poll() {
    const REPOSITORIES: usize = 50;
    let world =
        Installation::start_on(ControlPlane::shared().await, "polls", |agent| agent.env("GITMOOR_POLL_INTERVAL", "2"))
            .await;
    let mut names = Vec::new();
    for n in 0..REPOSITORIES {
        let repository = world.remote.repository(&format!("r{n}")).await;
        repository.commit(&[("app/map.yaml", &config_map(&format!("r{n}"), "key", "one"))], "a map").await;
        // Two Applications share the first one.
        for copy in 0..=usize::from(n == 0) {
            let mut application = world.application(&format!("r{n}-{copy}"), "app");
            application["spec"]["source"]["repoURL"] = json!(repository.url());
            application["spec"]["source"]["targetRevision"] = json!(["main", "HEAD"][copy]);
            application["spec"]["syncPolicy"] = json!({});
            world.apply(&application).await;
        }
        names.push(format!("/r{n}.git/info/refs"));
    }
    let fetches = async || world.metrics().await.sum("gitmoor_git_fetches_total");
    let await_fetches = async |least: f64| {
        let check = async || {
            let now = fetches().await;
            if now >= least { Ok(()) } else { Err(format!("{now} of {least}")) }
        };
        world.scene().eventually("repositories are polled", PATIENCE, check).await;
    };
    // The first ones bring everything: a third one of each begins when that is done.
    let check = async || {
        let late: Vec<_> = names.iter().filter(|path| world.remote.count(path) < 3).collect();
        if late.is_empty() { Ok(()) } else { Err(format!("{late:?}")) }
    };
    world.scene().eventually("everything is fetched", PATIENCE, check).await;
    world.remote.forget_requests();
    let before = fetches().await;
    await_fetches(before + 3.0 * REPOSITORIES as f64).await;
    let requests = world.remote.requests();
    let polls = fetches().await - before;
    assert!(requests.iter().all(|request| request.path.ends_with("/info/refs")), "{requests:?}");
    // Those under way at either end.
    let difference = (requests.len() as f64 - polls).abs();
    assert!(difference <= REPOSITORIES as f64, "{} requests for {polls} polls", requests.len());
    let counts: Vec<usize> = names.iter().map(|path| requests.iter().filter(|one| one.path == *path).count()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least >= 1 && most - least <= 3, "each repository is polled as often as the others: {counts:?}");
    println!("{} requests for {polls} polls of {REPOSITORIES} repositories", requests.len());
}
