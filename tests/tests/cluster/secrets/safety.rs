//! What must never happen: a value that is lost, taken over, or shown.

use std::time::Duration;

use gitmoor_tests::harness::{AwsCall, Fault};
use serde_json::{Value, json};

use super::world::{CANARY, World, datum, external_secret};

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

/// The value is still there, the failure is told without the value, and all is well again afterwards.
async fn survives(world: &World, part: &str) {
    let message = world.await_failure("hurt", part).await;
    assert!(!message.contains(CANARY) && !message.contains("request id"), "{message}");
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY);
    world.proxy.heal();
    world.await_ready("hurt").await;
    assert_eq!(world.data("hurt").await.unwrap()["k"], CANARY);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_aws_lose_nothing() {
    let world = pair("faults", "SecretsManager").await;
    world.proxy.fail(|_| Some(Fault::throttle()));
    survives(&world, "Throttled: ").await;
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
    world.scene().eventually("the Secret is gone", Duration::from_secs(60), check).await;
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
