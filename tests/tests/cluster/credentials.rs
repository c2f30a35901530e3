//! Credentials of repositories from Secrets in Argo CD's form, as they come, change and go.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::certificates::authority;
use gitmoor_tests::harness::forward_proxy::PASSWORD;
use gitmoor_tests::harness::github::{APP, OWNER};
use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::ssh_server::Key;
use gitmoor_tests::harness::{
    Aws, AwsProxy, ChartServer, ControlPlane, Fault, ForwardProxy, GitHubApi, GitRemote, Installation, SshServer,
    Webhook, config_map,
};
use serde_json::{Value, json};

fn secret(world: &Installation, name: &str, kind: &str, fields: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name, "namespace": world.namespace, "labels": {"argocd.argoproj.io/secret-type": kind},
        },
        "stringData": fields,
    })
}

fn with_source(world: &Installation, name: &str, url: &str) -> Value {
    let mut application = world.application(name, ".");
    application["spec"]["source"]["repoURL"] = json!(url);
    application
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_by_ssh_follows_its_secret_and_its_host_key() {
    let webhook = Webhook::default();
    let world = Installation::start_on(ControlPlane::shared().await, "ssh", |agent| {
        webhook.known_to(agent).env("GITMOOR_POLL_INTERVAL", "300")
    })
    .await;
    let server = SshServer::start(&["ed25519", "rsa"]).await;
    let repository = server.repository("platform").await;
    let first = repository.commit(&[("map.yaml", &config_map("web", "key", "one"))], "first").await;
    let (old, new) = (Key::new("ed25519", &[]), Key::new("ecdsa", &[]));
    server.authorize(&[&old]);
    let fields = |key: &Key| json!({"type": "git", "url": repository.url(), "sshPrivateKey": key.private});
    world.apply(&secret(&world, "ssh", "repository", &fields(&old))).await;
    world.apply(&with_source(&world, "web", repository.url())).await;
    let message = world.await_unknown("web", "UntrustedHostKey").await;
    assert!(message.contains(&server.authority()) && message.contains("SHA256:"), "{message}");

    let known_hosts = |lines: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "argocd-ssh-known-hosts-cm", "namespace": world.namespace},
            "data": {"ssh_known_hosts": format!("# by hand\n{lines}")},
        })
    };
    world.apply(&known_hosts(&server.known_by(&server.host_keys()[1]))).await;
    world.await_synced("web", &first).await;

    // A server tells of its repository by https, and nobody waits for the next poll.
    let (_, path) = repository.url().split_once("127.0.0.1:").unwrap().1.split_once('/').unwrap();
    let second = repository.commit(&[("map.yaml", &config_map("web", "key", "two"))], "second").await;
    webhook.report(&world.agent, &format!("https://127.0.0.1/{path}")).await.unwrap();
    world.await_synced("web", &second).await;

    // The key is replaced, first on the server and then in the Secret.
    server.authorize(&[&new]);
    let third = repository.commit(&[("map.yaml", &config_map("web", "key", "three"))], "third").await;
    webhook.report(&world.agent, repository.url()).await.unwrap();
    world.await_unknown("web", "RefusedCredentials").await;
    world.apply(&secret(&world, "ssh", "repository", &fields(&new))).await;
    world.await_synced("web", &third).await;

    world.apply(&known_hosts("")).await;
    webhook.report(&world.agent, repository.url()).await.unwrap();
    world.await_unknown("web", "UntrustedHostKey").await;
    let told = world.agent.log();
    for key in [&old, &new] {
        let line = key.private.lines().nth(2).unwrap();
        assert!(!told.contains(line), "{told}");
    }
}

fn certificates(world: &Installation, host: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "argocd-tls-certs-cm", "namespace": world.namespace},
        "data": {host: pem},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_proxy_is_known_by_its_own_authority() {
    let world = Installation::start("authority").await;
    let (own, other) = (authority(), authority());
    let remote = GitRemote::over_tls(&own, &["localhost"], Some(("me", "canary-of-the-server")), false).await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("map.yaml", &config_map("web", "key", "one"))], "first").await;
    let proxy = ForwardProxy::start(&[]).await;
    let template = |proxy: &str| {
        json!({
            "url": remote.url(), "username": "me", "password": "canary-of-the-server", "proxy": proxy,
            "noProxy": "elsewhere.example",
        })
    };
    world.apply(&secret(&world, "tls", "repo-creds", &template(""))).await;
    // One of the repository's own says nothing that opens it, and something that has no effect.
    let own_secret = json!({"url": repository.url(), "name": "platform", "enableLfs": "true"});
    world.apply(&secret(&world, "platform", "repository", &own_secret)).await;
    world.apply(&with_source(&world, "web", repository.url())).await;
    let message = world.await_unknown("web", "UntrustedCertificate").await;
    assert!(message.contains("argocd-tls-certs-cm"), "{message}");
    world.apply(&certificates(&world, "127.0.0.1", own.certificate())).await;
    world.await_synced("web", &first).await;
    world.apply(&secret(&world, "tls", "repo-creds", &template(&proxy.url()))).await;
    let second = repository.commit(&[("map.yaml", &config_map("web", "key", "two"))], "second").await;
    world.await_synced("web", &second).await;
    // The commit may be here before the agent has seen the Secret change.
    let asked = async || match proxy.asked() {
        asked if asked.contains(&remote.authority()) => Ok(()),
        asked => Err(format!("{asked:?}")),
    };
    world.scene().eventually("the proxy is asked", PATIENCE, asked).await;
    world.apply(&secret(&world, "tls", "repo-creds", &template(""))).await;
    world.apply(&certificates(&world, "127.0.0.1", other.certificate())).await;
    world.await_unknown("web", "UntrustedCertificate").await;
    let log = world.agent.log();
    assert_eq!(log.matches("enableLfs").count(), 1, "told once");
    assert!(!log.contains(PASSWORD) && !log.contains("canary-of-the-server"), "rule 4");

    // What is not supported is said where people look.
    let fields = json!({"url": repository.url(), "gcpServiceAccountKey": "canary-of-the-cloud"});
    world.apply(&secret(&world, "platform", "repository", &fields)).await;
    let message = world.await_unknown("web", "RefusedCredentials").await;
    assert!(message.contains("gcpServiceAccountKey, which is not supported"), "{message}");
    assert!(!world.agent.log().contains("canary-of-the-cloud"), "rule 4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_app_opens_its_repositories_with_one_token() {
    let world = Installation::start("app").await;
    let api = GitHubApi::start().await;
    let remote = GitRemote::with_credentials("x-access-token", "ghs_canary0").await;
    let repository = remote.repository(&format!("{OWNER}/platform")).await;
    let first = repository.commit(&[("map.yaml", &config_map("web", "key", "one"))], "first").await;
    let fields = |id: &str| {
        json!({
            "type": "git", "url": format!("{}/{OWNER}", remote.url()), "githubAppID": id,
            "githubAppPrivateKey": api.private_key(), "githubAppEnterpriseBaseUrl": api.url(),
        })
    };
    world.apply(&secret(&world, "app", "repo-creds", &fields("1"))).await;
    world.apply(&with_source(&world, "web", repository.url())).await;
    let message = world.await_unknown("web", "RefusedCredentials").await;
    assert!(message.contains("Secret app: ") && message.contains("does not accept the key"), "{message}");
    world.apply(&secret(&world, "app", "repo-creds", &fields(APP))).await;
    world.await_synced("web", &first).await;

    // Polls need no other token; one that is revoked is replaced by itself.
    let polled = remote.requests().len();
    world
        .scene()
        .eventually("the repository is polled", PATIENCE, async || {
            let requests = remote.requests().len();
            if requests >= polled + 3 { Ok(()) } else { Err(format!("{requests} requests")) }
        })
        .await;
    assert_eq!(api.tokens(), ["ghs_canary0"]);
    remote.set_credentials(Some(("x-access-token", "ghs_canary1")));
    let second = repository.commit(&[("map.yaml", &config_map("web", "key", "two"))], "second").await;
    world.await_synced("web", &second).await;
    assert_eq!(api.tokens().len(), 2, "{:?}", api.calls());
    let log = world.agent.log();
    let line = api.private_key().lines().nth(2).unwrap();
    assert!(!log.contains("ghs_canary") && !log.contains(line), "rule 4");
}

const REGISTRY: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_aws_is_opened_with_the_agents_role() {
    let aws = Aws::start().await;
    let calls = AwsProxy::start(aws.endpoint()).await;
    let endpoint = calls.endpoint();
    let world = Installation::start_on(ControlPlane::shared().await, "ecr", |agent| {
        let environment = aws.environment().into_iter().map(|(name, value)| {
            let value = if name == "AWS_ENDPOINT_URL" { endpoint.clone() } else { value };
            (name, value)
        });
        environment.fold(agent.env("GITMOOR_CHART_INTERVAL", "0.3"), |agent, (name, value)| agent.env(name, value))
    })
    .await;
    let own = authority();
    let server = ChartServer::over_tls(&own, REGISTRY, false).await;
    // What the emulator gives out, for a login that has ended already.
    server.set_credentials(Some(("AWS", "123456789012-auth-token")));
    let publish = |version: &str| {
        server.publish("app", version, &[("templates/map.yaml", &config_map("web", "version", version))]);
    };
    publish("1.0.0");
    // The name leads to the test's server by way of a proxy alone.
    let proxy = ForwardProxy::start(&[(&format!("{REGISTRY}:443"), &server.authority())]).await;
    let reached = json!({"url": REGISTRY, "type": "helm", "enableOCI": "true", "proxy": proxy.url()});
    world.apply(&secret(&world, "ecr", "repo-creds", &reached)).await;
    world.apply(&certificates(&world, REGISTRY, own.certificate())).await;
    let mut application = world.application("web", "");
    application["spec"]["source"] =
        json!({"repoURL": format!("{REGISTRY}/org"), "chart": "app", "targetRevision": "1.x"});
    world.apply(&application).await;
    world.await_synced("web", "1.0.0").await;
    let signed = calls.take_calls();
    assert!(!signed.is_empty() && signed.iter().all(|call| call.operation == "GetAuthorizationToken"), "{signed:?}");

    // A login that lasts is asked for once, and renewed when the registry refuses it.
    let until = jiff::Timestamp::now().as_second() + 12 * 3600;
    for (version, password) in [("1.1.0", "canary-one"), ("1.2.0", "canary-two")] {
        let token = STANDARD.encode(format!("AWS:{password}"));
        calls.fail(move |_| {
            Some(Fault::Answer(json!({"authorizationData": [{"authorizationToken": token, "expiresAt": until}]})))
        });
        server.set_credentials(Some(("AWS", password)));
        publish(version);
        world.await_synced("web", version).await;
        calls.take_calls();
        let listed = server.count("tags/list", 200);
        world
            .scene()
            .eventually("the registry is asked again", PATIENCE, async || {
                let now = server.count("tags/list", 200);
                if now >= listed + 3 { Ok(()) } else { Err(format!("{now}, not {listed} and 3")) }
            })
            .await;
        assert_eq!(calls.take_calls(), [], "with the login that there is");
    }
    let log = world.agent.log();
    assert!(!log.contains("canary-") && !log.contains("auth-token"), "rule 4");
}
