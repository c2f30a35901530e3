//! Charts from a repository and from a registry, beside the real helm.

use gitmoor_core::tree::{RepoPath, Tree as _};
use gitmoor_engine::access::{Access, Credentials};
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::charts::{ChartAddress, ChartError, ChartErrorKind, ChartVersion, Charts};
use gitmoor_engine::git::UrlPolicy;
use gitmoor_tests::harness::ChartServer;
use gitmoor_tests::harness::chart_server::helm;
use gitmoor_tests::harness::scratch::Scratch;

const TEMPLATE: &[(&str, &str)] = &[("templates/map.yaml", "kind: ConfigMap\n")];

async fn resolve(
    charts: &Charts,
    (repository, chart): (&str, &str),
    revision: &str,
    credentials: &Credentials,
) -> Result<Option<ChartVersion>, ChartError> {
    let address = ChartAddress::parse(repository, chart).unwrap();
    let (charts, revision, access) = (charts.clone(), revision.to_owned(), Access::from(credentials.clone()));
    tokio::task::spawn_blocking(move || charts.resolve(&address, &revision, &access)).await.unwrap()
}

async fn version(charts: &Charts, repository: &str, revision: &str) -> Option<String> {
    resolve(charts, (repository, "app"), revision, &Credentials::None).await.unwrap().map(|found| found.version)
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_mean_what_helm_makes_of_them() {
    let server = ChartServer::start().await;
    for version in ["0.9.0", "1.0.0", "1.2.0", "1.2.3", "1.10.0", "2.0.0-rc.1", "2.0.0+build.5", "3.0.0-alpha"] {
        server.publish("app", version, TEMPLATE);
    }
    let scratch = Scratch::new("chart-ranges");
    let charts = Charts::new(scratch.path().to_owned());
    for range in [
        "1.2.3",
        "v1.2.3",
        "1.x",
        "1.2",
        "1.2.x",
        "~1.2",
        "~1.2.1",
        "^1.2",
        "^0.9",
        ">=1.2 <2",
        ">=1.2, <1.10",
        "1.0 - 1.2",
        "<1 || >2.5-0",
        "*",
        ">0.9",
        "!=2.0.0",
        ">=2.0.0-0 <2.0.0",
        "<=1.2",
        "5.x",
        "2.0.0+build.5",
        "3.0.0-alpha",
        ">=3.0.0-0",
    ] {
        let url = server.url();
        let ours = version(&charts, &url, range).await;
        let shown = std::process::Command::new(gitmoor_tests::harness::tools::tool("helm"))
            .args(["show", "chart", "app", "--repo", &url, "--version", range])
            .env_clear()
            .env("HOME", scratch.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let helms = shown.lines().find_map(|line| line.strip_prefix("version: ")).map(str::to_owned);
        assert_eq!(ours, helms, "{range}");
        if range == "1.2.3" || range == "2.0.0+build.5" || range.starts_with('~') {
            assert_eq!(version(&charts, &server.registry(), range).await, helms, "{range} in the registry");
        }
    }
    assert_eq!(version(&charts, &server.url(), "HEAD").await.as_deref(), Some("2.0.0+build.5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_once_needs_no_network() {
    let server = ChartServer::start().await;
    server.publish("app", "1.2.3", TEMPLATE);
    // The real helm reads the registry too.
    let pulled = Scratch::new("chart-pull");
    let source = format!("{}/app", server.registry());
    helm(&[
        "pull",
        &source,
        "--version",
        "1.2.3",
        "--plain-http",
        "--destination",
        &pulled.path().display().to_string(),
    ]);
    assert_eq!(std::fs::read(pulled.path().join("app-1.2.3.tgz")).unwrap(), server.content("app-1.2.3.tgz"));

    for repository in [server.url(), server.registry()] {
        let scratch = Scratch::new("chart-cache");
        let charts = Charts::new(scratch.path().to_owned());
        let first = resolve(&charts, (&repository, "app"), "1.2.3", &Credentials::None).await.unwrap().unwrap();
        let requests = server.requests().len();
        let again = Charts::new(scratch.path().to_owned());
        assert_eq!(
            resolve(&again, (&repository, "app"), "1.2.3", &Credentials::None).await.unwrap(),
            Some(first.clone())
        );
        let tree = again.tree(&first).unwrap().unwrap();
        let template = RepoPath::root().join("templates/map.yaml").unwrap();
        assert_eq!(tree.read(&template, 100).unwrap(), b"kind: ConfigMap\n");
        assert_eq!(server.requests().len(), requests, "an exact version is asked for once, also after a restart");

        // Damaged or lost, it is fetched again.
        std::fs::write(scratch.path().join("charts/archives").join(&first.digest), "damaged").unwrap();
        assert!(again.tree(&first).unwrap().is_none());
        assert_eq!(
            resolve(&again, (&repository, "app"), "1.2.3", &Credentials::None).await.unwrap(),
            Some(first.clone())
        );
        assert!(again.tree(&first).unwrap().is_some());
        assert!(server.requests().len() > requests);
    }
    let scratch = Scratch::new("chart-etag");
    let charts = Charts::new(scratch.path().to_owned());
    let before = server.count("index.yaml", 304);
    for _ in 0..3 {
        assert_eq!(version(&charts, &server.url(), "1.x").await.as_deref(), Some("1.2.3"));
    }
    assert_eq!(server.count("index.yaml", 304), before + 2, "an index that has not changed is not sent again");
    server.publish("app", "1.3.0", TEMPLATE);
    assert_eq!(version(&charts, &server.url(), "1.x").await.as_deref(), Some("1.3.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_and_never_shown() {
    let server = ChartServer::start().await;
    server.publish("app", "1.0.0", TEMPLATE);
    server.set_credentials(Some(("me", "hunter2")));
    for repository in [server.url(), server.registry()] {
        let scratch = Scratch::new("chart-credentials");
        let charts = Charts::new(scratch.path().to_owned());
        for (credentials, expected) in [
            (Credentials::None, Err(ChartErrorKind::RefusedCredentials)),
            (Credentials::basic("me".into(), "wrong-hunter".into()), Err(ChartErrorKind::RefusedCredentials)),
            (Credentials::basic("me".into(), "hunter2".into()), Ok("1.0.0")),
        ] {
            let found = resolve(&charts, (&repository, "app"), "1.0.0", &credentials).await;
            let message = found.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(!message.contains("hunter"), "{message}");
            let found = found.map(|found| found.unwrap().version);
            assert_eq!(found.as_deref().map_err(|error| error.kind), expected, "{repository}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_hostile_repositories_end_in_a_clear_error() {
    let server = ChartServer::start().await;
    let inside = ChartServer::start().await;
    server.publish("app", "1.0.0", TEMPLATE);
    let archive = server.content("app-1.0.0.tgz");
    let index = |url: &str, digest: &str| {
        format!(
            "apiVersion: v1\nentries:\n  app:\n  - version: 1.0.0\n    digest: \"{digest}\"\n    urls: [\"{url}\"]\n"
        )
    };
    server.put("garbage.tgz", b"no archive");
    server.put("bomb.tgz", &vec![0; 33 << 20]);
    server.redirect("elsewhere.tgz", &format!("{}/x.tgz", inside.url()));
    server.redirect("metadata.tgz", "http://169.254.169.254/latest/meta-data/");
    server.redirect("file.tgz", "file:///etc/passwd");
    server.redirect("loop.tgz", "loop.tgz");
    server.put("good.tgz", &archive);
    for (index, kind, words) in [
        (index("good.tgz", &"a".repeat(64)), ChartErrorKind::DigestMismatch, "has the digest"),
        (index("garbage.tgz", ""), ChartErrorKind::InvalidArchive, "no packed chart"),
        (index("bomb.tgz", ""), ChartErrorKind::TooLarge, "more than 33554432 bytes"),
        (index("gone.tgz", ""), ChartErrorKind::NotFound, "is not there"),
        (index("elsewhere.tgz", ""), ChartErrorKind::ForbiddenAddress, "leads to an address inside"),
        (index(&format!("{}/x.tgz", inside.url()), ""), ChartErrorKind::ForbiddenAddress, "leads to an address inside"),
        (index("metadata.tgz", ""), ChartErrorKind::ForbiddenAddress, "leads to an address inside"),
        (index("file.tgz", ""), ChartErrorKind::ForbiddenAddress, "no http or https"),
        (index("file:///etc/passwd", ""), ChartErrorKind::ForbiddenAddress, "no http or https"),
        (index("loop.tgz", ""), ChartErrorKind::Other, "redirects too often"),
        ("entries: [".to_owned(), ChartErrorKind::InvalidIndex, "is no index"),
        (
            "apiVersion: v1\nentries:\n  app:\n  - version: 1.0.0\n".to_owned(),
            ChartErrorKind::InvalidIndex,
            "names no archive",
        ),
    ] {
        let scratch = Scratch::new("chart-hostile");
        let charts = Charts::new(scratch.path().to_owned());
        server.put("index.yaml", index.as_bytes());
        let error = resolve(&charts, (&server.url(), "app"), "1.0.0", &Credentials::None).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(words), "{index}: {error:?}");
    }
    assert_eq!(inside.requests(), [], "nothing inside is asked");
    let scratch = Scratch::new("chart-missing");
    let charts = Charts::new(scratch.path().to_owned());
    server.put("index.yaml", index("good.tgz", "").as_bytes());
    assert_eq!(version(&charts, &server.url(), "2.x").await, None);
    assert_eq!(resolve(&charts, (&server.url(), "other"), "1.0.0", &Credentials::None).await.unwrap(), None);
    assert_eq!(version(&charts, &server.url(), "not a range").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_stands_in_for_repositories_and_registries() {
    let server = ChartServer::start().await;
    for version in ["1.0.0", "1.1.0"] {
        server.publish("app", version, TEMPLATE);
    }
    let scratch = Scratch::new("chart-local");
    let folder = |name: &str| scratch.folder(name);
    // As upstream's: the index names archives elsewhere.
    let (indexed, archives, unpacked) = (folder("indexed"), folder("archives"), folder("unpacked"));
    let index = String::from_utf8(server.content("index.yaml")).unwrap();
    let index = index.replace("app-1", "https://upstream.example/releases/app-1");
    std::fs::write(indexed.join("index.yaml"), &index).unwrap();
    for version in ["1.0.0", "1.1.0"] {
        let name = format!("app-{version}.tgz");
        std::fs::write(indexed.join(&name), server.content(&name)).unwrap();
    }
    std::fs::write(archives.join("app-1.0.0.tgz"), server.content("app-1.0.0.tgz")).unwrap();
    std::fs::create_dir_all(unpacked.join("app/templates")).unwrap();
    std::fs::write(unpacked.join("app/Chart.yaml"), "apiVersion: v2\nname: app\nversion: 1.2.3\n").unwrap();
    std::fs::write(unpacked.join("app/templates/map.yaml"), "kind: ConfigMap\n").unwrap();

    let at = |name: &str| format!("https://{name}.example/stable={}", folder(name).display());
    let mut texts = vec![at("indexed"), at("archives"), at("unpacked")];
    texts.push(format!("oci://registry.example={}", scratch.path().display()));
    texts.push(format!("https://elsewhere.example/={}", server.url().replace("/charts", "/")));
    texts.push(format!("https://upstream.example/releases={}", indexed.display()));
    let replacements = texts.iter().map(|text| text.parse().unwrap());
    let addresses = Addresses::new(UrlPolicy::default(), replacements);
    let charts = Charts::new(folder("data")).with_addresses(addresses.clone());
    let found = async |repository: &str, revision: &str| {
        let (address, charts) = (addresses.chart(repository, "app").unwrap(), charts.clone());
        let revision = revision.to_owned();
        tokio::task::spawn_blocking(move || {
            let version = charts.resolve(&address, &revision, &Access::default())?;
            let tree = version.as_ref().map(|version| charts.tree(version)).transpose()?.flatten();
            let template = RepoPath::root().join("templates/map.yaml").unwrap();
            let text = tree.map(|tree| tree.read(&template, 100).unwrap());
            Ok::<_, ChartError>(version.map(|version| version.version).zip(text))
        })
        .await
        .unwrap()
    };
    let same = |version: &str| Some((version.to_owned(), b"kind: ConfigMap\n".to_vec()));
    let before = server.requests().len();
    for (repository, revision, expected) in [
        ("https://indexed.example/stable", "1.x", same("1.1.0")),
        ("https://indexed.example/stable", "1.0.0", same("1.0.0")),
        ("https://archives.example/stable", "*", same("1.0.0")),
        ("https://archives.example/stable", "2.x", None),
        ("https://unpacked.example/stable", "HEAD", same("1.2.3")),
        ("oci://registry.example/unpacked", "1.2.3", same("1.2.3")),
        ("registry.example/archives", "1.0.0", same("1.0.0")),
    ] {
        assert_eq!(found(repository, revision).await.unwrap(), expected, "{repository} {revision}");
    }
    assert_eq!(server.requests().len(), before, "nothing is asked over the network");

    // A repository elsewhere, whose archives are local.
    server.put("index.yaml", index.as_bytes());
    assert_eq!(found("https://elsewhere.example/charts", "1.1.0").await.unwrap(), same("1.1.0"));
    assert_eq!(server.count("index.yaml", 200), 1);

    std::fs::write(indexed.join("app-1.1.0.tgz"), "damaged").unwrap();
    let error = found("https://indexed.example/stable", "1.1.0").await.unwrap_err();
    assert_eq!(error.kind, ChartErrorKind::DigestMismatch, "{error}");
    std::os::unix::fs::symlink("/etc/passwd", unpacked.join("app/link")).unwrap();
    let error = found("https://unpacked.example/stable", "1.2.3").await.unwrap_err();
    assert_eq!(error.kind, ChartErrorKind::InvalidArchive, "{error}");
    let address = addresses.chart("https://indexed.example/stable/missing", "app").unwrap();
    let missing = tokio::task::spawn_blocking(move || charts.resolve(&address, "*", &Access::default())).await.unwrap();
    assert!(missing.unwrap_err().message.contains("--replace-source"), "the way out is named");
}
