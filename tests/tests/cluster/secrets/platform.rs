//! The ExternalSecrets of an existing platform, as they stand in its repository: 13 objects of the predecessor.

use std::collections::BTreeMap;

use gitmoor_tests::harness::throughout;
use serde_json::{Value, json};

use super::world::{LEGACY, World};

const ROLE: &str = "arn:aws:iam::123456789012:role/platform-external-secrets";
const PREFIX: &str = "ml-platform";

/// Name of the Secret, where its values are, and its keys.
const SECRETS: [(&str, &str, &[&str]); 13] = [
    ("ml-platform-airflow-https-git-secret", "airflow/git", &["username", "password"]),
    ("ml-platform-airflow-organization-git-secret", "airflow/oauth", &["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"]),
    ("ml-platform-airflow-db-auth", "airflow/db", &["postgresql-password"]),
    ("airflow-keys", "airflow/keys", &["fernet-key", "webserver-secret-key", "api-secret-key", "jwt-secret"]),
    ("airflow-aws-account-information", "airflow/account", &["AWS_REGION", "AWS_ID"]),
    ("airflow-sagemaker-access", "airflow/sagemaker", &["AWS_ROLE_NAME_SAGEMAKER"]),
    (
        "data-storage",
        "airflow/storage",
        &["AWS_BUCKET", "AWS_REGION", "AWS_ROLE_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    ),
    ("mlflow-secret", "mlflow/rds", &["RDS_USERNAME", "RDS_PASSWORD"]),
    ("jupyterhub-github", "jupyterhub/github", &["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"]),
    ("jupyterhub-tokens", "jupyterhub/tokens", &["hub.config.JupyterHub.cookie_secret", "hub.config.CryptKeeper.keys"]),
    ("grafana-admin", "monitoring/grafana", &["admin-user", "admin-password"]),
    ("oauth2-proxy", "auth/oauth2-proxy", &["client-id", "client-secret", "cookie-secret"]),
    ("sagemaker", "sagemaker", &["aws_region", "aws_access_key_id", "aws_secret_access_key", "aws_role_name"]),
];

fn value(place: &str, key: &str) -> String {
    format!("{place} {key} = & \"quoted\" $(x)")
}

/// In Secrets Manager one JSON object per place, in Parameter Store one parameter per value.
fn manifest(backend: &str, (name, place, keys): (&str, &str, &[&str])) -> Value {
    let entry = |(number, key): (usize, &&str)| match backend {
        "secretsManager" => json!({"key": format!("{PREFIX}/{place}"), "name": key, "property": format!("p{number}")}),
        _ => json!({"key": format!("/{PREFIX}/{place}/{key}"), "name": key}),
    };
    let data: Vec<Value> = keys.iter().enumerate().map(entry).collect();
    json!({
        "apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": format!("{name}-{}", backend.to_lowercase())},
        "spec": {"backendType": backend, "roleArn": ROLE, "region": "eu-central-1", "data": data},
    })
}

async fn seed(world: &World) {
    for (_, place, keys) in SECRETS {
        let members: BTreeMap<String, String> =
            keys.iter().enumerate().map(|(number, key)| (format!("p{number}"), value(place, key))).collect();
        world.create_secret(&format!("{PREFIX}/{place}"), &json!(members).to_string()).await;
        for key in keys {
            world.put_parameter(&format!("/{PREFIX}/{place}/{key}"), &value(place, key)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_objects_work_in_both_backends() {
    let world = World::start("platform").await;
    seed(&world).await;
    world.annotate_namespace(&json!({"iam.amazonaws.com/permitted": ROLE})).await;
    for backend in ["secretsManager", "systemManager"] {
        for secret in SECRETS {
            world.apply(manifest(backend, secret)).await;
        }
    }
    for backend in ["secretsManager", "systemManager"] {
        for (name, place, keys) in SECRETS {
            let expected: Vec<(&str, String)> = keys.iter().map(|key| (*key, value(place, key))).collect();
            let expected: Vec<(&str, &str)> = expected.iter().map(|(key, value)| (*key, value.as_str())).collect();
            world.await_data(&format!("{name}-{}", backend.to_lowercase()), &expected).await;
        }
    }
    world.await_rounds(2).await;
    world.proxy.take_calls();
    world.await_rounds(3).await;
    let calls = world.proxy.take_calls();
    assert!(
        calls.iter().all(|call| call.operation == "BatchGetSecretValue" || call.operation == "GetParameters"),
        "{calls:?}"
    );
    assert!(calls.iter().all(|call| call.access_key != "test"), "all is read as the role");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_reads_only_the_keys_that_it_is_permitted() {
    let world = World::start("permitted-keys").await;
    for name in ["team/a", "other/a"] {
        world.create_secret(name, r#"{"k": "v"}"#).await;
    }
    world.annotate_namespace(&json!({"externalsecrets.kubernetes-client.io/permitted-key-name": "^team/"})).await;
    let spec = |rest: Value| {
        let mut spec = json!({"backendType": "secretsManager", "region": "eu-central-1"});
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        spec
    };
    for (name, rest) in [
        ("allowed", json!({"data": [{"key": "team/a", "name": "k", "property": "k"}]})),
        ("refused", json!({"data": [{"key": "other/a", "name": "k", "property": "k"}]})),
        ("refused-whole", json!({"dataFrom": ["other/a"]})),
        ("refused-options", json!({"dataFromWithOptions": [{"key": "other/a"}]})),
    ] {
        let object = json!({
            "apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
            "spec": spec(rest),
        });
        world.apply(object).await;
    }
    world.await_data("allowed", &[("k", "v")]).await;
    for name in ["refused", "refused-whole", "refused-options"] {
        let check = async || {
            let status = world.get(LEGACY, name).await.unwrap()["status"]["status"].to_string();
            if status.contains("KeyNotPermitted") && status.contains("other/a") { Ok(()) } else { Err(status) }
        };
        let patience = gitmoor_tests::harness::installation::PATIENCE;
        world.scene().eventually(&format!("{name} is refused"), patience, check).await;
    }
    throughout("nothing is made of them", std::time::Duration::from_secs(1), async || {
        let asked = world.proxy.take_calls().iter().any(|call| call.body.to_string().contains("other/a"));
        if asked || world.data("refused").await.is_some() { Err("AWS was asked".to_owned()) } else { Ok(()) }
    })
    .await;
}
