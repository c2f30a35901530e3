//! What must never happen: a value that is lost, taken over, or shown.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{AwsCall, Fault, http};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::world::{CANARY, World, datum, external_secret, store};

/// Two ExternalSecrets, `hurt` of key `bad` and `well` of key `good`, both Ready.
async fn pair(purpose: &str, service: &str) -> World {
    let world = World::start(purpose).await;
    world.store("store", service).await;
    for (name, key) in [("hurt", "bad"), ("well", "good")] {
        match service {
            "ParameterStore" => world.put_parameter(key, CANARY).await,
            _ => world.create_secret(key, CANARY).await,
        }
        world.apply(external_secret(name, &json!({"data": [datum("k", key)]}))).await;
        world.await_data(name, &[("k", CANARY)]).await;
        world.await_ready(name).await;
    }
    world
}

fn asks_for(call: &AwsCall, key: &str) -> bool {
    call.body.to_string().contains(&format!("\"{key}\""))
}

/// The value is still there, the failure is told without the value, and all is well again afterwards; gives how often AWS
/// was asked until the failure was told.
async fn survives(world: &World, part: &str) -> usize {
    let message = world.await_failure("hurt", part).await;
    let calls = world.proxy.take_calls().len();
    assert!(!message.contains(CANARY) && !message.contains("request id"), "{message}");
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY);
    world.proxy.heal();
    world.await_ready("hurt").await;
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY);
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_aws_lose_nothing() {
    let world = pair("faults", "SecretsManager").await;
    world.proxy.take_calls();
    world.proxy.fail(|_| Some(Fault::throttle()));
    let calls = survives(&world, "Throttled: ").await;
    assert!(calls <= 20, "{calls} calls although AWS throttles");
    world.proxy.fail(|_| Some(Fault::Break));
    survives(&world, "ProviderUnavailable: ").await;
    world.proxy.fail(|_| Some(Fault::Cut));
    survives(&world, "ProviderUnavailable: ").await;
    world.proxy.fail(|_| Some(Fault::Refuse("ExpiredTokenException", "the token is expired".to_owned())));
    survives(&world, "NoCredentials: ").await;
    world.proxy.fail(|call| {
        let whole = "secretsmanager:GetSecretValue";
        (call.operation == "GetSecretValue" && asks_for(call, "bad")).then(|| Fault::deny(whole)).or_else(|| {
            let errors = json!([{"SecretId": "bad", "ErrorCode": "AccessDeniedException", "Message": "no"}]);
            let good = json!({"Name": "good", "ARN": "arn:good", "SecretString": CANARY});
            let answer = json!({"SecretValues": [good], "Errors": errors});
            (call.operation == "BatchGetSecretValue" && asks_for(call, "bad")).then_some(Fault::Answer(answer))
        })
    });
    survives(&world, "AccessDenied: ").await;
    let log = world.agent.log();
    assert!(!log.contains(CANARY), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_holds_up_nobody_else() {
    let world = pair("slow", "SecretsManager").await;
    let keys = json!({"id": STANDARD.encode("AKIAOTHER"), "secret": STANDARD.encode("other")});
    world.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": keys})).await;
    let mut of_keys = store("of-keys", "SecretsManager");
    of_keys["spec"]["provider"]["aws"]["auth"] = json!({"secretRef": {
        "accessKeyIDSecretRef": {"name": "keys", "key": "id"}, "secretAccessKeySecretRef": {"name": "keys", "key": "secret"},
    }});
    world.apply(of_keys).await;
    let quick = json!({"secretStoreRef": {"name": "of-keys"}, "data": [datum("k", "bad")]});
    world.apply(external_secret("quick", &quick)).await;
    world.await_data("quick", &[("k", CANARY)]).await;
    world.proxy.fail(|call| (call.access_key == "test").then_some(Fault::Slow(Duration::from_secs(120))));
    world.await_rounds(2).await;
    world.put_secret("bad", "new").await;
    world.await_data("quick", &[("k", "new")]).await;
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY, "it waits, and keeps what it has");
    world.proxy.heal();
    world.await_data("hurt", &[("k", "new")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_one_by_one_with_the_policy_merge() {
    let world = World::start("merge").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "1").await;
    world.create_secret("b", "2").await;
    let target = json!({"deletionPolicy": "Merge"});
    let spec = json!({"target": target, "data": [datum("a", "a"), datum("b", "b")]});
    world.apply(external_secret("es", &spec)).await;
    world.await_data("es", &[("a", "1"), ("b", "2")]).await;
    let gone = |name: &str| json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
    world.proxy.fail(|_| Some(Fault::deny("secretsmanager:GetSecretValue")));
    world.await_failure("es", "AccessDenied").await;
    world.await_data("es", &[("a", "1"), ("b", "2")]).await;
    world.proxy.heal();
    world.aws.secrets_manager("DeleteSecret", &gone("a")).await;
    world.await_data("es", &[("b", "2")]).await;
    world.aws.secrets_manager("DeleteSecret", &gone("b")).await;
    world.await_data("es", &[]).await;
    world.await_ready("es").await;
}

/// The value is in Secrets, and in nothing else that anybody can read.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_appears_in_logs_status_events_metrics_or_errors() {
    let world = World::start("canary").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("text", CANARY).await;
    world.create_secret("json", &format!(r#"{{"p": "{CANARY}", "{CANARY}": {{"x": "{CANARY}"}}}}"#)).await;
    let keyed = |key: &str, more: Value| {
        let mut remote = json!({"key": key});
        remote.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"data": [{"secretKey": "k", "remoteRef": remote}]})
    };
    let templated = |text: &str| {
        let mut spec = keyed("text", json!({}));
        spec["target"] = json!({"template": {"data": {"made": text}}});
        spec
    };
    let failing = [
        ("json-of-text", keyed("text", json!({"property": "p"}))),
        ("missing-property", keyed("json", json!({"property": "none"}))),
        ("base64-of-text", keyed("text", json!({"decodingStrategy": "Base64"}))),
        ("extract-of-text", json!({"dataFrom": [{"extract": {"key": "text"}}]})),
        ("template-fail", templated("{{ fail .k }}")),
        ("template-json", templated("{{ .k | fromJson }}")),
        ("template-yaml", templated("{{ printf \"a: [%s\" .k | fromYaml }}")),
        ("template-base64", templated("{{ .k | b64dec }}")),
        ("template-type", templated("{{ index .k .k }}")),
        ("template-function", templated("{{ template .k }}")),
        ("template-regex", templated("{{ regexFind (printf \"(%s\" .k) .k }}")),
        ("template-label", {
            let mut spec = keyed("json", json!({}));
            spec["target"] = json!({"template": {"metadata": {"labels": {"l": "{{ .k }}"}}}});
            spec
        }),
        ("rewrite", {
            let merge = json!([{"merge": {"strategy": "Extract"}}]);
            json!({"dataFrom": [{"find": {"name": {"regexp": "^text$"}}, "rewrite": merge}]})
        }),
    ];
    for (name, spec) in &failing {
        world.apply(external_secret(name, spec)).await;
    }
    world.apply(external_secret("well", &keyed("text", json!({})))).await;
    world.await_data("well", &[("k", CANARY)]).await;
    for (name, _) in &failing {
        world.await_failure(name, ": ").await;
    }
    world.proxy.fail(|call| (call.operation.ends_with("Value")).then_some(Fault::Cut));
    world.await_failure("well", "ProviderUnavailable: ").await;
    let mut shown = vec![("log", world.agent.log())];
    shown.push(("metrics", http::get(&format!("{}/metrics", world.agent.url())).await.unwrap().body));
    for kind in ["v1/Event", super::world::EXTERNAL, "external-secrets.io/v1/SecretStore"] {
        let all = api(&world.client, kind, Some(&world.namespace)).list(&ListParams::default()).await.unwrap();
        let mut text = String::new();
        for object in all.items {
            text += &serde_json::to_string(&object).unwrap();
        }
        shown.push((kind, text));
    }
    for (what, text) in shown {
        let encoded = STANDARD.encode(CANARY);
        let found = [CANARY, encoded.trim_end_matches('=')].into_iter().find(|value| text.contains(value));
        assert!(found.is_none(), "{what} shows {found:?}:\n{text}");
        assert!(what == "v1/Event" || !text.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_parameter_of_a_batch_hurts_no_other() {
    let world = pair("denied", "ParameterStore").await;
    world.proxy.fail(|call| {
        let read = call.operation.starts_with("GetParameter");
        (read && asks_for(call, "bad")).then(|| Fault::deny("ssm:GetParameters"))
    });
    world.await_failure("hurt", "AWS denies ssm:GetParameters for bad").await;
    world.put_parameter("good", "new").await;
    world.await_data("well", &[("k", "new")]).await;
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY);
    world.proxy.take_calls();
    world.await_rounds(4).await;
    let batches = world.proxy.take_calls().iter().filter(|call| call.operation == "GetParameters").count();
    assert_eq!(batches, 0, "what was denied is asked for apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_batch_reads_singly() {
    let world = World::start("singly").await;
    world.store("store", "SecretsManager").await;
    world.proxy.fail(|call| {
        (call.operation == "BatchGetSecretValue").then(|| Fault::deny("secretsmanager:BatchGetSecretValue"))
    });
    world.create_secret("a", "1").await;
    world.create_secret("b", "2").await;
    world.apply(external_secret("es", &json!({"data": [datum("a", "a"), datum("b", "b")]}))).await;
    world.await_data("es", &[("a", "1"), ("b", "2")]).await;
    world.proxy.take_calls();
    world.await_rounds(3).await;
    let calls = world.proxy.take_calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| call.operation == "GetSecretValue"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_goes_bad_leaves_the_last_good_one() {
    let world = World::start("bad").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("j", r#"{"p": "good"}"#).await;
    let property = json!([{"secretKey": "k", "remoteRef": {"key": "j", "property": "p"}}]);
    world.apply(external_secret("es", &json!({"data": property}))).await;
    world.await_data("es", &[("k", "good")]).await;
    for (value, part) in [
        (format!("not json {CANARY}"), "NotJson: spec.data[0] (j): the value of j is not JSON"),
        (format!(r#"{{"q": "{CANARY}"}}"#), "PropertyNotFound: spec.data[0] (j): property p is not in j"),
    ] {
        world.put_secret("j", &value).await;
        let message = world.await_failure("es", part).await;
        assert!(!message.contains(CANARY), "{message}");
    }
    let gone = json!({"SecretId": "j", "ForceDeleteWithoutRecovery": true});
    world.aws.secrets_manager("DeleteSecret", &gone).await;
    world.await_failure("es", "SecretNotFound: spec.data[0] (j): j does not exist").await;
    assert_eq!(world.data("es").await.unwrap()["k"], "good");
    assert!(world.metric("gitmoor_secrets_syncs_total{result=\"NotJson\"}").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_only_by_policy_and_when_all_is_definitely_gone() {
    let world = World::start("delete").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "1").await;
    let target = json!({"deletionPolicy": "Delete"});
    world.apply(external_secret("es", &json!({"target": target, "data": [datum("a", "a")]}))).await;
    world.await_data("es", &[("a", "1")]).await;
    world.proxy.fail(|_| Some(Fault::deny("secretsmanager:GetSecretValue")));
    world.await_failure("es", "AccessDenied").await;
    assert!(world.data("es").await.is_some(), "denied is not gone");
    world.proxy.heal();
    let gone = json!({"SecretId": "a", "ForceDeleteWithoutRecovery": true});
    world.aws.secrets_manager("DeleteSecret", &gone).await;
    let check = async || if world.data("es").await.is_none() { Ok(()) } else { Err("it is there".to_owned()) };
    world.scene().eventually("the Secret is gone", PATIENCE, check).await;
    world.create_secret("a", "2").await;
    world.await_data("es", &[("a", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_not_taken_over() {
    let world = World::start("owner").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "mine").await;
    world.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})).await;
    let uid = world.get("v1/ConfigMap", "x").await.unwrap()["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": uid, "controller": true});
    let theirs: Value = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "es", "ownerReferences": [owner]},
        "stringData": {"k": "theirs"},
    });
    world.apply(theirs).await;
    world.apply(external_secret("es", &json!({"data": [datum("k", "a")]}))).await;
    world.await_failure("es", "NotOwner: Secret es belongs to ConfigMap x").await;
    assert_eq!(world.data("es").await.unwrap()["k"], "theirs");
}
