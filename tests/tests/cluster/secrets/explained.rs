//! What commands say of secrets.

use std::path::Path;

use gitmoor_tests::harness::aws_proxy::Fault;
use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{GitRemote, eventually, installation};
use serde_json::json;

use super::world::{CANARY, EXTERNAL, World, datum, external_secret};
use crate::operate::{Person, explain::explained};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_or_denied_is_the_cause() {
    let world = World::start("unread").await;
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    world.store("store", "SecretsManager").await;
    let spec = json!({"data": [datum("password", "prod/mlflow")]});
    let manifest = external_secret("credentials", &spec).to_string();
    repository.commit(&[("web/secret.yaml", &manifest)], "a secret").await;
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": world.namespace},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url(), "targetRevision": "main", "path": "web"},
            "destination": {"namespace": world.namespace}, "syncPolicy": {"automated": {}},
        },
    });
    installation::apply(&world.client, &application).await;
    let person = Person::new(world.control_plane, &world.namespace);
    let id = format!("ExternalSecret.external-secrets.io {}/credentials", world.namespace);
    let finding = explained(&person, Path::new("/"), "web", "SecretMissing").await;
    let sentence = finding["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with(&format!("AWS has no secret for {id}: ")) && sentence.contains("prod/mlflow"),
        "{sentence}"
    );

    world.create_secret("prod/mlflow", CANARY).await;
    world.await_ready("credentials").await;
    world.proxy.fail(|_| Some(Fault::deny("secretsmanager:GetSecretValue")));
    let finding = explained(&person, Path::new("/"), "web", "SecretDenied").await;
    let sentence = finding["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with(&format!("AWS denies the secret of {id}: ")) && sentence.contains("prod/mlflow"),
        "{sentence}"
    );
    assert!(!finding.to_string().contains(CANARY), "{finding:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_without_values_and_read_again_when_asked() {
    let world = World::start("listed").await;
    let person = Person::new(world.control_plane, &world.namespace);
    world.create_secret("a", CANARY).await;
    world.store("store", "SecretsManager").await;
    let data = json!([datum("a", "a")]);
    world.apply(external_secret("fine", &json!({"data": data, "refreshInterval": "2h"}))).await;
    world.apply(external_secret("lost", &json!({"data": data, "secretStoreRef": {"name": "absent"}}))).await;
    world.await_ready("fine").await;
    let listed = async || {
        let listed = person.run(&["secrets", "--only", &world.namespace, "--output", "json"]);
        let rows = listed.assert(0).json()["externalSecrets"].clone();
        if rows[0]["synced"] == false { Ok(rows) } else { Err(rows.to_string()) }
    };
    let rows = eventually("the agent says that there is no store", PATIENCE, listed).await;
    assert_eq!((&rows[0]["name"], &rows[0]["store"]), (&json!("lost"), &json!("absent")));
    assert!(rows[0]["reason"].as_str().unwrap().starts_with("StoreNotReady: "), "{rows:#}");
    assert_eq!((&rows[1]["synced"], &rows[1]["readWithinSeconds"]), (&json!(true), &json!(7200)));
    let table = person.run(&["secrets", "--only", &world.namespace]).assert(0).stdout.clone();
    assert!(table.contains("within 2h") && !table.contains(CANARY), "{table}");

    world.put_secret("a", "another").await;
    person.run(&["secrets", "refresh", &format!("{}/fine", world.namespace)]).assert(0);
    world.await_data("fine", &[("a", "another")]).await;
    assert!(world.get(EXTERNAL, "fine").await.unwrap()["metadata"]["annotations"]["force-sync"].is_string());
    person.run(&["secrets", "refresh", "default/absent"]).assert(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_secrets_read_again_learns_what_comes_of_it() {
    let mut world = World::start("awaited").await;
    let person = Person::new(world.control_plane, &world.namespace);
    world.create_secret("a", CANARY).await;
    world.store("store", "SecretsManager").await;
    let data = json!([datum("a", "a")]);
    world.apply(external_secret("fine", &json!({"data": data, "refreshInterval": "2h"}))).await;
    world.apply(external_secret("lost", &json!({"data": data, "secretStoreRef": {"name": "absent"}}))).await;
    let spec = json!({"backendType": "secretsManager", "region": "eu-central-1", "data": [{"key": "a", "name": "a"}]});
    let old = json!({"apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": {"name": "old"}, "spec": spec});
    world.apply(old).await;
    world.await_ready("fine").await;
    world.await_data("old", &[("a", CANARY)]).await;
    let id = |name: &str| format!("{}/{name}", world.namespace);
    let (fine, old, lost) = (id("fine"), id("old"), id("lost"));

    world.put_secret("a", "another").await;
    person.run(&["secrets", "refresh", &fine, "--wait"]).assert(0);
    assert!(world.get("v1/Secret", "fine").await.unwrap()["data"]["a"] == "YW5vdGhlcg==", "it is there at once");
    // Also when nothing has changed.
    let both = person.run(&["secrets", "refresh", &fine, &old, "--wait"]);
    assert!(both.assert(0).stderr.contains(&format!("{old}: the agent has read it")), "{both:?}");
    let failed = person.run(&["secrets", "refresh", &lost, "--wait", "--timeout", "2s"]);
    assert!(failed.assert(1).stderr.contains("it still fails: StoreNotReady: "), "{failed:?}");
    world.proxy.fail(|_| Some(Fault::deny("secretsmanager:GetSecretValue")));
    let denied = person.run(&["secrets", "refresh", &fine, "--wait"]);
    assert!(denied.assert(1).stderr.contains(&format!("{fine}: ")), "{denied:?}");
    assert!(!denied.stderr.contains("still fails"), "{denied:?}");

    world.agent.terminate(PATIENCE).await;
    let listed = person.run(&["secrets", "--only", &world.namespace]);
    assert!(listed.assert(0).stderr.contains("no agent is running in namespace"), "{listed:?}");
    assert!(!listed.stdout.contains("within"), "{listed:?}");
    let asked = person.run(&["secrets", "refresh", &fine]);
    assert!(asked.assert(0).stderr.contains("no agent is running") && asked.stderr.contains("asked for"), "{asked:?}");
    person.run(&["secrets", "refresh", &fine, "--wait"]).assert(4);
}
