//! As whom AWS is asked, and who may.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::world::{World, datum, external_secret, store};

const ROLE: &str = "arn:aws:iam::123456789012:role/readers";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_only_where_that_is_allowed() {
    let world = World::start("roles").await;
    world.create_secret("a", "value").await;
    let mut with_role = store("store", "SecretsManager");
    with_role["spec"]["provider"]["aws"]["role"] = ROLE.into();
    with_role["spec"]["provider"]["aws"]["externalID"] = "outside".into();
    world.apply(with_role).await;
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    let message = world.await_failure("es", "RoleNotPermitted").await;
    assert!(message.contains(ROLE) && message.contains("iam.amazonaws.com/permitted"), "{message}");
    assert!(world.proxy.take_calls().is_empty(), "AWS was not asked");

    let annotations = json!({"metadata": {"name": world.namespace, "annotations": {"iam.amazonaws.com/permitted": "arn:aws:iam::123456789012:role/read.*"}}});
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace"});
    namespace["metadata"] = annotations["metadata"].clone();
    world.apply(namespace).await;
    world.await_data("es", &[("k", "value")]).await;
    world.await_rounds(4).await;
    let calls = world.proxy.take_calls();
    let assumed = calls.iter().filter(|call| call.operation == "AssumeRole").count();
    assert_eq!(assumed, 1, "the session is kept");
    let keys: Vec<&str> = calls.iter().filter(|c| c.operation != "AssumeRole").map(|c| c.access_key.as_str()).collect();
    assert!(keys.len() > 2 && keys.iter().all(|key| *key != "test"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_do_not_share_their_reads() {
    let world = World::start("identities").await;
    world.create_secret("a", "value").await;
    world.store("store", "SecretsManager").await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "reader", "annotations": {"eks.amazonaws.com/role-arn": ROLE}},
    });
    world.apply(account).await;
    let encode = |text: &str| STANDARD.encode(text);
    let keys = json!({"id": encode("AKIAOTHER"), "secret": encode("other")});
    world.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": keys})).await;
    let mut of_account = store("of-account", "SecretsManager");
    of_account["spec"]["provider"]["aws"]["auth"] = json!({"jwt": {"serviceAccountRef": {"name": "reader"}}});
    world.apply(of_account).await;
    let mut of_keys = store("of-keys", "SecretsManager");
    of_keys["spec"]["provider"]["aws"]["auth"] = json!({"secretRef": {
        "accessKeyIDSecretRef": {"name": "keys", "key": "id"}, "secretAccessKeySecretRef": {"name": "keys", "key": "secret"},
    }});
    world.apply(of_keys).await;
    for name in ["store", "of-account", "of-keys"] {
        let spec = json!({"secretStoreRef": {"name": name}, "data": [datum("k", "a")]});
        world.apply(external_secret(&format!("es-{name}"), &spec)).await;
        world.await_data(&format!("es-{name}"), &[("k", "value")]).await;
    }
    let calls = world.proxy.take_calls();
    let reads = calls.iter().filter(|call| call.operation == "GetSecretValue");
    let keys: std::collections::BTreeSet<&str> = reads.map(|call| call.access_key.as_str()).collect();
    assert!(keys.len() == 3 && keys.contains("AKIAOTHER") && keys.contains("test"), "{keys:?}");
    assert_eq!(calls.iter().filter(|call| call.operation == "AssumeRoleWithWebIdentity").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_role_is_not_for_every_namespace() {
    let world = World::start_with("own", &["--secrets-own-role-namespaces=another"]).await;
    world.create_secret("a", "value").await;
    world.store("store", "SecretsManager").await;
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    world.await_failure("es", "may not use the agent's own role").await;
    let mut elsewhere = store(&format!("cluster-{}", world.namespace), "SecretsManager");
    elsewhere["spec"]["conditions"] = json!([{"namespaces": ["elsewhere"]}]);
    let name = elsewhere["metadata"]["name"].clone();
    world.apply(elsewhere.clone()).await;
    let reference = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": name}, "data": [datum("k", "a")]});
    world.apply(external_secret("conditions", &reference)).await;
    world.await_failure("conditions", "is not for namespace").await;
    elsewhere["spec"]["conditions"] = json!([{"namespaceRegexes": ["own-.*"]}]);
    world.apply(elsewhere).await;
    world.await_data("conditions", &[("k", "value")]).await;
}
