//! As whom AWS is asked, and who may.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

use gitmoor_tests::harness::Fault;
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

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_assumed_one_on_top_of_the_other() {
    let world = World::start("chain").await;
    world.create_secret("a", "value").await;
    world.annotate_namespace(&json!({"iam.amazonaws.com/permitted": "arn:aws:iam::123456789012:role/.*"})).await;
    let mut chain = store("store", "SecretsManager");
    let aws = json!({
        "additionalRoles": ["arn:aws:iam::123456789012:role/hub"], "role": ROLE, "externalID": "outside",
        "sessionTags": [{"key": "team", "value": "x"}], "transitiveTagKeys": ["team"],
    });
    chain["spec"]["provider"]["aws"].as_object_mut().unwrap().extend(aws.as_object().unwrap().clone());
    world.apply(chain).await;
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    world.await_data("es", &[("k", "value")]).await;
    let calls = world.proxy.take_calls();
    let assumed: Vec<_> = calls.iter().filter(|call| call.operation == "AssumeRole").collect();
    let (first, second) = (&assumed[0], &assumed[1]);
    assert_eq!((assumed.len(), first.access_key.as_str()), (2, "test"), "{assumed:?}");
    assert_eq!(first.body["RoleArn"], "arn:aws:iam::123456789012:role/hub");
    assert!(first.body.get("ExternalId").is_none(), "it is for the last one: {first:?}");
    assert_ne!(second.access_key, "test", "assumed by the first role");
    for (key, value) in [
        ("RoleArn", ROLE),
        ("ExternalId", "outside"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "x"),
        ("TransitiveTagKeys.member.1", "team"),
    ] {
        assert_eq!(second.body[key], value, "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_renewed_before_they_end() {
    let world = World::start("renewal").await;
    world.create_secret("a", "1").await;
    world.annotate_namespace(&json!({"iam.amazonaws.com/permitted": ROLE})).await;
    let mut with_role = store("store", "SecretsManager");
    with_role["spec"]["provider"]["aws"]["role"] = ROLE.into();
    world.apply(with_role).await;
    let lasts = |seconds: u64| {
        world
            .proxy
            .fail(move |call| (call.operation == "AssumeRole").then(|| Fault::Expire(Duration::from_secs(seconds))));
    };
    let assumed = async || {
        world.proxy.take_calls();
        world.await_rounds(4).await;
        world.proxy.take_calls().iter().filter(|call| call.operation == "AssumeRole").count()
    };
    // It still lasts for some minutes, and that is when a new one is asked for.
    lasts(280);
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    world.await_data("es", &[("k", "1")]).await;
    assert!(assumed().await >= 2, "it ends soon");
    // As long as it lasts it is used, when there is no other.
    world.proxy.fail(|call| (call.operation == "AssumeRole").then(|| Fault::deny("sts:AssumeRole")));
    world.put_secret("a", "2").await;
    world.await_data("es", &[("k", "2")]).await;
    lasts(3600);
    world.await_rounds(3).await;
    assert_eq!(assumed().await, 0, "one that lasts is kept");
}
