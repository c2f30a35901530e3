//! The lock file: written by the command, kept to by the agent, whatever becomes of what is elsewhere.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::repository::Repository;
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{
    ChartServer, ControlPlane, GitRemote, Installation, config_map, kustomization, program, tools,
};
use serde_json::{Value, json};

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-{{ .Chart.Name }}\"}\ndata: {key: \"{{ .Values.key }}\"}\n";

/// Upstreams at addresses of their own, which stand for servers of the harness.
struct Upstreams {
    _git: GitRemote,
    bases: Repository,
    charts: ChartServer,
    /// The options for that, of the agent and of the command.
    replacements: Vec<String>,
    home: Scratch,
}

impl Upstreams {
    async fn start() -> Self {
        let (git, charts) = (GitRemote::start().await, ChartServer::start().await);
        let bases = git.repository("bases").await;
        let replacements = [
            ("https://git.example/", format!("{}/", git.url())),
            ("https://charts.example", charts.url()),
            ("oci://registry.example/org", charts.registry()),
            ("https://files.example/", format!("{}/", charts.url())),
        ];
        let replacements = replacements.iter().map(|(from, to)| format!("--replace-source={from}={to}")).collect();
        Self { _git: git, bases, charts, replacements, home: Scratch::new("lock-home") }
    }

    /// A new state of all of it, under the names that it had.
    async fn publish(&self, value: &str, versions: &[&str]) {
        let map = config_map("base", "key", value);
        let files = [("x/kustomization.yaml", kustomization(&["map.yaml"])), ("x/map.yaml", map)];
        self.bases.commit(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)], value).await;
        self.bases.git(&["tag", "--force", "v1"]).await;
        self.bases.git(&["push", "--quiet", "--force", "origin", "v1"]).await;
        self.charts.put("file.yaml", config_map("file", "key", value).as_bytes());
        for version in versions {
            let values = format!("key: {value} {version}\n");
            self.charts.publish("web", version, &[("templates/map.yaml", TEMPLATE), ("values.yaml", &values)]);
        }
    }

    fn lock(&self, world: &Installation, arguments: &[&str]) -> Run {
        let (kustomize, helm) = (tools::tool("kustomize"), tools::tool("helm"));
        let environment = [
            ("GITMOOR_KUSTOMIZE", kustomize.to_str().unwrap()),
            ("GITMOOR_HELM", helm.to_str().unwrap()),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", self.home.path().to_str().unwrap()),
        ];
        let replacements: Vec<&str> = self.replacements.iter().map(String::as_str).collect();
        let arguments = [&["lock", "--root", "platform.yaml"], replacements.as_slice(), arguments].concat();
        Run::of(&program("gitmoor"), world.repository.tree(), &environment, &arguments, b"")
    }
}

/// A root with an Application of each kind, all of which use something from elsewhere but the last.
async fn commit_tree(world: &Installation) {
    let application = |name: &str, source: Value| {
        let mut application = world.application(name, name);
        if !source.is_null() {
            application["spec"]["source"] = source;
        }
        (format!("applications/{name}.yaml"), application.to_string())
    };
    let mut root = world.application("root", "applications");
    root["spec"]["destination"]["namespace"] = json!(world.namespace);
    let helm =
        |repository: &str, revision: &str| json!({"repoURL": repository, "chart": "web", "targetRevision": revision});
    let app = kustomization(&["https://git.example/bases.git//x?ref=v1", "https://files.example/file.yaml"])
        + "helmCharts:\n- {name: web, repo: 'https://charts.example', version: 1.0.0, releaseName: inflated}\n";
    let own = "apiVersion: v2\nname: own\nversion: 0.1.0\ndependencies:\n- {name: web, version: ~1.0, repository: 'oci://registry.example/org'}\n";
    let files = [
        ("platform.yaml".to_owned(), root.to_string()),
        application("app", json!(null)),
        application("own", json!(null)),
        application("plain", json!(null)),
        application("http", helm("https://charts.example", "1.x")),
        application("oci", helm("registry.example/org", "~1.0")),
        ("app/kustomization.yaml".to_owned(), app),
        ("own/Chart.yaml".to_owned(), own.to_owned()),
        ("plain/map.yaml".to_owned(), config_map("plain", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repository.commit(&files, "a tree").await;
}

/// Waits until the ConfigMaps have these values.
async fn await_keys(world: &Installation, what: &str, expected: &[(&str, &str)]) {
    let check = async || {
        for (name, value) in expected {
            let found = world.key(name).await;
            if found.as_deref() != Some(*value) {
                return Err(format!("{name} is {found:?}, and not {value:?}"));
            }
        }
        Ok(())
    };
    world.scene().eventually(what, PATIENCE, check).await;
}

const FIRST: [(&str, &str); 6] = [
    ("base", "one"),
    ("file", "one"),
    ("inflated-web", "one 1.0.0"),
    ("own-web", "one 1.0.0"),
    ("http-web", "one 1.0.0"),
    ("oci-web", "one 1.0.0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_stays_until_the_lock_file_says_otherwise() {
    let upstreams = Upstreams::start().await;
    upstreams.publish("one", &["1.0.0"]).await;
    let mut world = Installation::start_on(ControlPlane::shared().await, "lock", |agent| {
        agent.env("GITMOOR_CHART_INTERVAL", "0.3").args(upstreams.replacements.clone())
    })
    .await;
    commit_tree(&world).await;
    let missing = upstreams.lock(&world, &["--check"]).assert(1).stdout.clone();
    assert_eq!(missing.lines().filter(|line| line.starts_with("missing ")).count(), 6, "{missing}");
    assert!(!world.repository.tree().join("gitmoor.lock").exists(), "--check writes nothing");
    upstreams.lock(&world, &[]).assert(0);
    upstreams.lock(&world, &["--check"]).assert(0);
    let commit = world.repository.commit_all("a lock file").await;
    world
        .apply(&serde_json::from_slice(&std::fs::read(world.repository.tree().join("platform.yaml")).unwrap()).unwrap())
        .await;
    for name in ["root", "app", "own", "plain"] {
        world.await_synced(name, &commit).await;
    }
    await_keys(&world, "everything is as it is locked", &FIRST).await;

    // Tags move, files change, versions appear: nothing of that comes here, also when an Application is rendered anew.
    upstreams.publish("two", &["1.0.1", "1.1.0"]).await;
    upstreams.lock(&world, &["--check"]).assert(0);
    for name in ["app", "own", "http", "oci"] {
        let refresh = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}});
        world.patch_application(name, &refresh).await;
    }
    for name in ["app", "own", "http", "oci"] {
        let asked = async || {
            let application = world.get("argoproj.io/v1alpha1/Application", &world.namespace, name).await.unwrap();
            let asked = &application["metadata"]["annotations"]["argocd.argoproj.io/refresh"];
            if asked.is_null() { Ok(()) } else { Err(asked.to_string()) }
        };
        world.scene().eventually(&format!("{name} is looked at"), PATIENCE, asked).await;
    }
    let suffix = std::fs::read_to_string(world.repository.tree().join("app/kustomization.yaml")).unwrap();
    let files = [("app/kustomization.yaml", format!("{suffix}nameSuffix: -x\n"))];
    let commit = world.repository.commit(&[(files[0].0, &files[0].1)], "a suffix").await;
    world.await_synced("app", &commit).await;
    await_keys(&world, "the suffix is there", &[("base-x", "one"), ("file-x", "one"), ("inflated-web-x", "one 1.0.0")])
        .await;
    await_keys(&world, "others are as they were", &FIRST[3..]).await;

    // One entry: one render.
    world.settled().await;
    let renders = world.metrics().await.sum("gitmoor_renders_total");
    let said = upstreams.lock(&world, &["--update", "bases"]).assert(0).stdout.clone();
    assert!(said.contains("updated  https://git.example/bases.git at v1"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let commit = world.repository.commit_all("newer bases").await;
    world.await_synced("app", &commit).await;
    await_keys(&world, "the base is new", &[("base-x", "two"), ("file-x", "one"), ("own-web", "one 1.0.0")]).await;
    world.settled().await;
    let more = world.metrics().await.sum("gitmoor_renders_total") - renders;
    assert!((more - 1.0).abs() < f64::EPSILON, "{more} renders for one entry of one Application");

    // Everything: ranges move too, and a chart at an exact version does not.
    upstreams.lock(&world, &["--update"]).assert(0);
    let commit = world.repository.commit_all("newer everything").await;
    for name in ["root", "app", "own"] {
        world.await_synced(name, &commit).await;
    }
    let second = [
        ("file-x", "two"),
        ("inflated-web-x", "one 1.0.0"),
        ("own-web", "two 1.0.1"),
        ("http-web", "two 1.1.0"),
        ("oci-web", "two 1.0.1"),
    ];
    await_keys(&world, "everything is new", &second).await;
    let newer = |status: &Value| status["sync"]["revision"] == "1.1.0";
    world.await_status("is at the newer version", "http", newer).await;

    // An agent that has nothing on disk finds what was published again under the same names, and takes none of it.
    upstreams.publish("three", &["1.0.1", "1.1.0"]).await;
    let data = world.agent.data();
    world.agent.kill();
    for folder in ["charts", "remotes", "renders"] {
        let _ = std::fs::remove_dir_all(data.join(folder));
    }
    world.agent.restart();
    world.agent.await_ready(PATIENCE).await;
    for name in ["app", "own", "http", "oci"] {
        let message = world.await_unknown(name, "LockMismatch").await;
        assert!(message.contains("gitmoor lock --update"), "{name}: {message}");
    }
    assert!(world.await_unknown("app", "LockMismatch").await.contains("https://files.example/file.yaml"));
    assert!(world.await_unknown("http", "LockMismatch").await.contains("web 1.1.0 has the digest sha256:"));
    let files = [("plain/map.yaml", config_map("plain", "key", "three"))];
    let commit = world.repository.commit(&[(files[0].0, &files[0].1)], "somebody else's").await;
    world.await_synced("plain", &commit).await;
    await_keys(&world, "what runs keeps running", &second).await;
    let before = upstreams.lock(&world, &["--check"]);
    assert!(matches!(before.status, Some(0)), "what this machine has fetched before is as it is locked: {before:?}");
    upstreams.lock(&world, &["--update"]).assert(0);
    let commit = world.repository.commit_all("what was published again").await;
    for name in ["root", "app", "own"] {
        world.await_synced(name, &commit).await;
    }
    await_keys(&world, "it goes on", &[("file-x", "three"), ("http-web", "three 1.1.0"), ("own-web", "three 1.0.1")])
        .await;
}
