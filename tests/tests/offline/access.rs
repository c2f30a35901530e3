//! How servers are reached: authorities of their own, certificates of ours, proxies; and what an App's key is exchanged for.

use std::sync::Arc;
use std::time::Duration;

use gitmoor_core::sensitive::Sensitive;
use gitmoor_engine::access::{Access, ClientCertificate, Connection, Credentials, GitHubApp, GitHubApps, Proxy};
use gitmoor_engine::charts::{ChartAddress, ChartError, ChartErrorKind, Charts};
use gitmoor_engine::git::{
    FetchError, FetchErrorKind, FetchLimits, FetchOutcome, FetchRequest, Fetcher, Mirror, RepositoryUrl, UrlPolicy,
};
use gitmoor_tests::harness::certificates::authority;
use gitmoor_tests::harness::forward_proxy::PASSWORD;
use gitmoor_tests::harness::github::{APP, INSTALLATION};
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{ChartServer, ForwardProxy, GitHubApi, GitRemote, program};
use jiff::{SignedDuration, Timestamp};

use crate::canary::{self, Signs};

fn mirror(scratch: &Scratch, url: &str) -> Mirror {
    let limits = FetchLimits { timeout: Duration::from_mins(1), ..FetchLimits::default() };
    let url = RepositoryUrl::parse(url, &UrlPolicy::default()).unwrap();
    Mirror::new(scratch.path(), url, Fetcher::new(program("gitmoor-agent"), [], limits))
}

async fn fetch(mirror: &Mirror, connection: &Connection) -> Result<FetchOutcome, FetchError> {
    let access = Access { credentials: Credentials::None, connection: connection.clone() };
    mirror.fetch(&FetchRequest { access, revisions: ["main".to_owned()].into(), hosts: None }).await
}

/// The version that a chart repository has, asked for anew.
async fn version(server: &ChartServer, connection: &Connection) -> Result<String, ChartError> {
    let scratch = Scratch::new("charts");
    let charts = Charts::new(scratch.path().to_owned());
    let address = ChartAddress::parse(&server.url(), "app").unwrap();
    let access = Access { credentials: Credentials::None, connection: connection.clone() };
    let found = tokio::task::spawn_blocking(move || charts.resolve(&address, "1.x", &access)).await.unwrap()?;
    Ok(found.unwrap().version)
}

fn trusting(pem: &str) -> Connection {
    Connection { authorities: Arc::new([("127.0.0.1".to_owned(), pem.to_owned())].into()), ..Connection::default() }
}

fn by(url: String, except: &str) -> Proxy {
    Proxy { url: Sensitive::new(url), except: except.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_of_a_host_alone_are_trusted_there() {
    let (own, other) = (authority(), authority());
    let remote = GitRemote::over_tls(&own, &["localhost"], None, false).await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url());
    let server = ChartServer::over_tls(&own, "localhost", false).await;
    server.publish("app", "1.0.0", &[("templates/a.yaml", "kind: ConfigMap\n")]);
    let insecure = Connection { insecure: true, ..Connection::default() };
    let both = trusting(&format!("{}{}", other.certificate(), own.certificate()));
    for (connection, trusted) in [
        (Connection::default(), false),
        (trusting(other.certificate()), false),
        (trusting(own.certificate()), true),
        (both, true),
        (insecure, true),
    ] {
        let fetched = fetch(&mirror, &connection).await;
        let kind = fetched.as_ref().err().map(|error| error.kind);
        assert_eq!(kind, (!trusted).then_some(FetchErrorKind::UntrustedCertificate), "{fetched:?}");
        let found = version(&server, &connection).await;
        let kind = found.as_ref().err().map(|error| error.kind);
        assert_eq!(kind, (!trusted).then_some(ChartErrorKind::UntrustedCertificate), "{found:?}");
    }
    let left = canary::files(scratch.path()).into_iter().filter(|file| file.ends_with("authorities.pem"));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ours_opens_repositories_of_charts_and_of_git() {
    let own = authority();
    let server = ChartServer::over_tls(&own, "localhost", true).await;
    server.publish("app", "1.0.0", &[("templates/a.yaml", "kind: ConfigMap\n")]);
    let ours = own.for_user("gitmoor", None).unwrap();
    let client = |key: &str| {
        Some(ClientCertificate { certificate: ours.certificate.clone(), key: Sensitive::new(key.to_owned()) })
    };
    let trusting = trusting(own.certificate());
    let with = Connection { client: client(&ours.key), ..trusting.clone() };
    assert_eq!(version(&server, &with).await.unwrap(), "1.0.0");
    assert!(version(&server, &trusting).await.is_err());
    let bad = Connection { client: client("hunter2"), ..trusting.clone() };
    let error = version(&server, &bad).await.unwrap_err();
    assert_eq!(error.kind, ChartErrorKind::RefusedCredentials);
    assert!(error.message.contains("tlsClientCertKey") && !error.message.contains("hunter2"), "{error}");

    let remote = GitRemote::over_tls(&own, &["localhost"], None, true).await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a.yaml", &"one\n".repeat(100_000))], "first").await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url());
    let outcome = fetch(&mirror, &with).await.unwrap();
    assert_eq!(outcome.heads["main"].commit.as_str(), first);
    assert!(fetch(&mirror, &trusting).await.is_err());
    let error = fetch(&mirror, &bad).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::RefusedCredentials);
    assert!(error.to_string().contains("tlsClientCertKey") && !error.to_string().contains("hunter2"), "{error}");
    let other = Connection { authorities: Arc::default(), ..with };
    assert_eq!(fetch(&mirror, &other).await.unwrap_err().kind, FetchErrorKind::UntrustedCertificate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_leads_to_servers_and_its_password_is_nowhere() {
    let own = authority();
    let remote = GitRemote::over_tls(&own, &["localhost"], None, false).await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    let server = ChartServer::over_tls(&own, "localhost", false).await;
    server.publish("app", "1.0.0", &[("templates/a.yaml", "kind: ConfigMap\n")]);
    let proxy = ForwardProxy::start(&[]).await;
    let scratch = Scratch::new("mirror");
    let mirror = mirror(&scratch, repository.url());
    let through = Connection { proxy: Some(by(proxy.url(), "")), ..trusting(own.certificate()) };

    let signs = Signs::new(&[PASSWORD], &[]);
    let runtime = tokio::runtime::Handle::current();
    let seen = tokio::task::block_in_place(|| {
        signs.in_processes(&["cmdline", "environ"], || drop(runtime.block_on(fetch(&mirror, &through)).unwrap()))
    });
    assert!(seen.is_empty() && signs.in_files(scratch.path()).is_empty(), "{seen:?}");
    assert!(proxy.asked().contains(&remote.authority()), "{:?}", proxy.asked());
    assert_eq!(version(&server, &through).await.unwrap(), "1.0.0");
    assert!(proxy.asked().contains(&server.authority()), "{:?}", proxy.asked());

    let untrusted = Connection { authorities: Arc::default(), ..through.clone() };
    let error = fetch(&mirror, &untrusted).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::UntrustedCertificate, "no hang: {error}");
    let asked = proxy.asked().len();
    let past = Connection { proxy: Some(by(proxy.url(), "elsewhere,127.0.0.0/8")), ..through.clone() };
    fetch(&mirror, &past).await.unwrap();
    assert_eq!(version(&server, &past).await.unwrap(), "1.0.0");
    assert_eq!(proxy.asked().len(), asked, "what is excepted goes straight");

    let refused = Connection { proxy: Some(by(proxy.url().replace(PASSWORD, "wrong-canary"), "")), ..through.clone() };
    let git = fetch(&mirror, &refused).await.unwrap_err().to_string();
    let charts = version(&server, &refused).await.unwrap_err().to_string();
    assert!(!format!("{git}{charts}").contains("wrong-canary"), "{git}\n{charts}");
    for (url, proxy) in [
        ("ssh://git@127.0.0.1/x", proxy.url()),
        ("http://127.0.0.1:1/x", proxy.url()),
        ("https://127.0.0.1:1/x", "socks5://127.0.0.1:1".to_owned()),
    ] {
        let unsupported = Connection { proxy: Some(by(proxy, "")), ..Connection::default() };
        let scratch = Scratch::new("mirror");
        let error = fetch(&self::mirror(&scratch, url), &unsupported).await.unwrap_err();
        assert_eq!(error.kind, FetchErrorKind::RefusedCredentials, "{error}");
        assert!(error.to_string().contains("not supported"), "{error}");
    }
}

fn app(api: &GitHubApi, installation: Option<String>) -> GitHubApp {
    let key = Sensitive::new(api.private_key().to_owned());
    GitHubApp { id: APP.to_owned(), installation, key, api: Some(api.url()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_app_asks_for_a_token_and_again_before_it_ends() {
    let api = GitHubApi::start().await;
    let apps = Arc::new(GitHubApps::default());
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let ask = async |app: GitHubApp, repository: &str, minutes: i64| {
        let now = start + SignedDuration::from_mins(minutes);
        api.set_now(now);
        let (apps, repository) = (Arc::clone(&apps), repository.to_owned());
        let asked = move || apps.credentials(&app, &repository, &Connection::default(), now);
        tokio::task::spawn_blocking(asked).await.unwrap()
    };
    let token = |index: usize| Credentials::basic("x-access-token".to_owned(), format!("ghs_canary{index}"));
    let known = app(&api, Some(INSTALLATION.to_string()));
    for (minutes, expected) in [(0, 0), (10, 0), (54, 0), (55, 1), (100, 1), (500, 2)] {
        let given = ask(known.clone(), "https://github.example/team/x", minutes).await.unwrap();
        assert_eq!(given, token(expected), "after {minutes} minutes");
    }
    let path = format!("201 /app/installations/{INSTALLATION}/access_tokens");
    assert_eq!(api.calls(), [path.clone(), path.clone(), path]);

    // The installation is found by the repository.
    let found = ask(app(&api, None), "https://github.example/team/x.git", 500).await.unwrap();
    assert_eq!(found, token(3));
    assert_eq!(api.calls()[3], "200 /repos/team/x/installation");
    let error = ask(app(&api, None), "https://github.example/other/x", 500).await.unwrap_err();
    assert!(error.refused && error.to_string().contains("not installed for other/x"), "{error}");

    let other = GitHubApi::start().await;
    let wrong = GitHubApp { key: Sensitive::new(other.private_key().to_owned()), ..known.clone() };
    let error = ask(wrong, "https://github.example/team/x", 500).await.unwrap_err();
    assert!(error.refused && error.to_string().contains("does not accept the key"), "{error}");
    let nowhere = GitHubApp { api: Some("http://127.0.0.1:1".to_owned()), ..known.clone() };
    let error = ask(nowhere, "https://github.example/team/x", 500).await.unwrap_err();
    assert!(!error.refused, "waiting may help: {error}");

    apps.forget(&known, "https://github.example/team/x");
    assert_eq!(ask(known, "https://github.example/team/x", 500).await.unwrap(), token(4));
}
