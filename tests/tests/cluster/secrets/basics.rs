//! From AWS to Secrets, in each form.

use std::time::Duration;

use gitmoor_tests::harness::throughout;
use serde_json::json;

use super::world::{CANARY, EXTERNAL, World, datum, external_secret, store};

#[tokio::test(flavor = "multi_thread")]
async fn values_come_from_secrets_manager_and_follow_it() {
    let world = World::start("basic").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("plain", &format!("{CANARY}-one")).await;
    world.create_secret("json", r#"{"user": "me", "port": 5432, "nested": {"a.b": "x"}}"#).await;
    let spec = json!({
        "target": {"name": "made"},
        "dataFrom": [{"extract": {"key": "json"}}],
        "data": [datum("plain", "plain"), {"secretKey": "ab", "remoteRef": {"key": "json", "property": "nested.a\\.b"}}],
    });
    world.apply(external_secret("es", &spec)).await;
    let rest = [("ab", "x"), ("nested", r#"{"a.b": "x"}"#), ("port", "5432"), ("user", "me")];
    let expected = |plain: &'static str| [&[("plain", plain)][..], &rest].concat();
    world.await_data("made", &expected("canary-3f9c-one")).await;
    world.await_ready("es").await;
    let secret = world.get("v1/Secret", "made").await.unwrap();
    assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], "es");
    let status = &world.get(EXTERNAL, "es").await.unwrap()["status"];
    assert_eq!(status["binding"]["name"], "made");
    assert!(status["refreshTime"].is_string() && status["syncedResourceVersion"].is_string());

    world.put_secret("plain", &format!("{CANARY}-two")).await;
    world.await_data("made", &expected("canary-3f9c-two")).await;
    let log = world.agent.log();
    assert!(!log.contains(CANARY), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_value_is_read_and_nothing_is_written() {
    let world = World::start("steady").await;
    world.store("store", "SecretsManager").await;
    for name in ["a", "b", "c"] {
        world.create_secret(name, name).await;
        let spec = json!({"data": [datum("k", name), datum("shared", "a")]});
        world.apply(external_secret(&format!("es-{name}"), &spec)).await;
    }
    for name in ["a", "b", "c"] {
        world.await_data(&format!("es-{name}"), &[("k", name), ("shared", "a")]).await;
        world.await_ready(&format!("es-{name}")).await;
    }
    world.await_rounds(2).await;
    let mark = world.control_plane.audit().mark().await;
    world.proxy.take_calls();
    world.await_rounds(4).await;
    let calls = world.proxy.take_calls();
    let requests = world.control_plane.audit().since(mark).await.of_user(&world.user);
    let own = |namespace: &str| namespace == world.namespace;
    let writes = requests.0.iter().filter(|r| r.is_write() && own(&r.namespace) && !r.resource.starts_with("leases"));
    let writes: Vec<_> = writes.collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert!(calls.len() >= 4 && calls.iter().all(|call| call.operation == "BatchGetSecretValue"), "{calls:?}");
    assert_eq!(calls[0].body["SecretIdList"].as_array().unwrap().len(), 3, "equal keys are read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_in_batches_with_versions_and_paths() {
    let world = World::start("parameters").await;
    world.store("store", "ParameterStore").await;
    world.put_parameter("/app/a", "one").await;
    world.put_parameter("/app/a", "two").await;
    world.put_parameter("/app/deep/b", "three").await;
    world.put_parameter("plain", r#"{"p": [1, {"q": "r"}]}"#).await;
    let spec = json!({
        "dataFrom": [{"find": {"path": "/app", "name": {"regexp": "^/app/"}},
            "rewrite": [{"regexp": {"source": "^/app/(?:deep/)?(.*)", "target": "found_$1"}}]}],
        "data": [
            datum("now", "/app/a"), {"secretKey": "then", "remoteRef": {"key": "/app/a", "version": "1"}},
            {"secretKey": "inside", "remoteRef": {"key": "plain", "property": "p.1.q"}},
        ],
    });
    world.apply(external_secret("es", &spec)).await;
    let expected = [("found_a", "two"), ("found_b", "three"), ("inside", "r"), ("now", "two"), ("then", "one")];
    world.await_data("es", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_and_both_kinds_of_store_are_served() {
    let world = World::start("versions").await;
    world.create_secret("a", "value").await;
    let cluster_store = format!("cluster-{}", world.namespace);
    let mut named = store(&cluster_store, "SecretsManager");
    named["spec"]["conditions"] = json!([{"namespaces": [world.namespace]}]);
    world.apply(named).await;
    let mut object = external_secret("es", &json!({"data": [datum("k", "a")]}));
    object["apiVersion"] = "external-secrets.io/v1beta1".into();
    object["spec"]["secretStoreRef"] = json!({"kind": "ClusterSecretStore", "name": cluster_store});
    world.apply(object).await;
    world.await_data("es", &[("k", "value")]).await;
    world.await_ready("es").await;
    assert_eq!(world.get(EXTERNAL, "es").await.unwrap()["status"]["conditions"][0]["reason"], "SecretSynced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_changed_or_deleted_is_made_again() {
    let world = World::start("drift").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "value").await;
    let spec = json!({"refreshInterval": "1h", "data": [datum("k", "a")]});
    world.apply(external_secret("es", &spec)).await;
    world.await_data("es", &[("k", "value")]).await;
    world.merge("v1/Secret", "es", &json!({"data": {"k": "eA=="}})).await;
    world.await_data("es", &[("k", "value")]).await;
    world.delete("v1/Secret", "es").await;
    world.await_data("es", &[("k", "value")]).await;
    world.proxy.take_calls();
    throughout("nothing more happens", Duration::from_secs(2), async || {
        let calls = world.proxy.take_calls();
        if calls.is_empty() { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
}
