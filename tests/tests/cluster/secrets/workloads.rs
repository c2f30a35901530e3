//! What follows from a changed Secret, and ExternalSecrets for many namespaces.

use gitmoor_tests::harness::installation::PATIENCE;
use serde_json::{Value, json};

use super::world::{World, datum, external_secret};

const DEPLOYMENT: &str = "apps/v1/Deployment";

fn deployment(name: &str, restart_on: &str) -> Value {
    let environment = json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "es", "key": "k"}}}]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "annotations": {"gitmoor.dev/restart-on": restart_on}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "example.com/c:1", "env": environment}]},
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_rolls_when_its_secret_changes() {
    let world = World::start("restart").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "1").await;
    world.apply(deployment("auto", "auto")).await;
    world.apply(deployment("named", "secret/es")).await;
    world.apply(deployment("other", "secret/another")).await;
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    world.await_data("es", &[("k", "1")]).await;
    let digest = async |name: &str| {
        let object = world.get(DEPLOYMENT, name).await.unwrap();
        object["spec"]["template"]["metadata"]["annotations"]["gitmoor.dev/secrets-digest"].clone()
    };
    let changed = async |name: &str, from: &Value| {
        let check = async || match digest(name).await {
            now if now.is_string() && now != *from => Ok(now),
            now => Err(now.to_string()),
        };
        world.scene().eventually(&format!("{name} rolls"), PATIENCE, check).await
    };
    let first = (changed("auto", &Value::Null).await, changed("named", &Value::Null).await);
    world.put_secret("a", "2").await;
    world.await_data("es", &[("k", "2")]).await;
    changed("auto", &first.0).await;
    let second = changed("named", &first.1).await;
    world.await_rounds(3).await;
    assert_eq!(digest("named").await, second, "it does not roll again");
    assert!(digest("other").await.is_null());
    let object = world.get(DEPLOYMENT, "named").await.unwrap();
    assert_eq!(object["metadata"]["generation"], 3, "one roll per value");
}
