//! What `gitmoor explain` says of secrets that cannot be read.

use std::path::Path;

use gitmoor_tests::harness::aws_proxy::Fault;
use gitmoor_tests::harness::{GitRemote, installation};
use serde_json::json;

use super::world::{CANARY, World, datum, external_secret};
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
