//! Fields of both forms: policies, templates, searches, the predecessor's objects.

use std::time::Duration;

use gitmoor_tests::harness::throughout;
use serde_json::{Value, json};

use super::world::{LEGACY, World, datum, external_secret};

#[tokio::test(flavor = "multi_thread")]
async fn templates_make_the_secret() {
    let world = World::start("templates").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("db", r#"{"user": "me", "password": "p@ss"}"#).await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "templates"},
        "data": {"conf": "password={{ .password }}"},
    });
    world.apply(map).await;
    let template = json!({
        "type": "example.com/db",
        "metadata": {"labels": {"app": "{{ .user }}"}, "annotations": {"note": "kept"}},
        "data": {"url": "postgres://{{ .user }}:{{ .password | urlquery }}@db", "enc": "{{ .user | b64enc | quote }}"},
        "templateFrom": [{"configMap": {"name": "templates", "items": [{"key": "conf"}]}},
            {"target": "Annotations", "literal": "who: {{ .user }}"}],
    });
    let spec = json!({"target": {"template": template}, "dataFrom": [{"extract": {"key": "db"}}]});
    world.apply(external_secret("es", &spec)).await;
    let expected = [("conf", "password=p@ss"), ("enc", "\"bWU=\""), ("url", "postgres://me:p%40ss@db")];
    world.await_data("es", &expected).await;
    let secret = world.get("v1/Secret", "es").await.unwrap();
    assert_eq!((&secret["type"], &secret["metadata"]["labels"]["app"]), (&json!("example.com/db"), &json!("me")));
    assert_eq!(secret["metadata"]["annotations"]["who"], "me");

    let wrong =
        json!({"target": {"template": {"data": {"x": "{{ uuidv4 }}"}}}, "dataFrom": [{"extract": {"key": "db"}}]});
    world.apply(external_secret("wrong", &wrong)).await;
    let message = world.await_failure("wrong", "uuidv4, which is not supported").await;
    assert!(message.starts_with("Template: x: "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_policies_keep_their_promises() {
    let world = World::start("policies").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "new").await;
    let other = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "merged"}, "stringData": {"theirs": "kept", "k": "old"},
    });
    world.apply(other).await;
    let shared = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shared"}, "stringData": {"theirs": "kept"},
    });
    world.apply(shared).await;
    for (name, policy) in [
        ("merged", "Merge"),
        ("orphan", "Orphan"),
        ("nobody", "Merge"),
        ("none", "None"),
        ("made", "CreateOrMerge"),
        ("shared", "CreateOrMerge"),
        ("owned", "Owner"),
    ] {
        let spec = json!({"target": {"creationPolicy": policy}, "data": [datum("k", "a")]});
        world.apply(external_secret(name, &spec)).await;
        world.await_ready(name).await;
    }
    world.await_data("merged", &[("k", "new"), ("theirs", "kept")]).await;
    world.await_data("shared", &[("k", "new"), ("theirs", "kept")]).await;
    for (name, owned) in [("orphan", false), ("made", false), ("owned", true)] {
        world.await_data(name, &[("k", "new")]).await;
        let secret = world.get("v1/Secret", name).await.unwrap();
        assert_eq!(secret["metadata"].get("ownerReferences").is_some(), owned, "{name}");
    }
    assert!(world.data("nobody").await.is_none() && world.data("none").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_secret_stays_as_it_was_made() {
    let world = World::start("immutable").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "1").await;
    let target = json!({"immutable": true});
    world.apply(external_secret("es", &json!({"target": target, "data": [datum("k", "a")]}))).await;
    world.apply(external_secret("follows", &json!({"data": [datum("k", "a")]}))).await;
    world.await_data("es", &[("k", "1")]).await;
    world.await_data("follows", &[("k", "1")]).await;
    world.put_secret("a", "2").await;
    world.await_data("follows", &[("k", "2")]).await;
    world.await_rounds(2).await;
    world.await_ready("es").await;
    assert_eq!(world.data("es").await.unwrap()["k"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_policies_read_when_they_should() {
    let world = World::start("refresh").await;
    world.store("store", "SecretsManager").await;
    world.create_secret("a", "1").await;
    for (name, policy) in [("once", "CreatedOnce"), ("changed", "OnChange")] {
        world.apply(external_secret(name, &json!({"refreshPolicy": policy, "data": [datum("k", "a")]}))).await;
        world.await_data(name, &[("k", "1")]).await;
    }
    world.put_secret("a", "2").await;
    throughout("nothing is read", Duration::from_secs(3), async || {
        let both = (world.data("once").await, world.data("changed").await);
        if both.0 == both.1 { Ok(()) } else { Err(format!("{both:?}")) }
    })
    .await;
    let force = json!({"metadata": {"annotations": {"force-sync": "now"}}});
    world.merge(super::world::EXTERNAL, "changed", &force).await;
    world.await_data("changed", &[("k", "2")]).await;
    assert_eq!(world.data("once").await.unwrap()["k"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_find_by_name_and_tags() {
    let world = World::start("find").await;
    world.store("store", "SecretsManager").await;
    for (name, team) in [("team/a", "x"), ("team/b", "y"), ("other", "x")] {
        let tags = json!([{"Key": "team", "Value": team}]);
        let arguments = json!({"Name": name, "SecretString": format!("of {name}"), "Tags": tags});
        world.aws.secrets_manager("CreateSecret", &arguments).await;
    }
    let by_name = json!({"dataFrom": [{"find": {"name": {"regexp": "^team/"}}}]});
    world.apply(external_secret("names", &by_name)).await;
    world.await_data("names", &[("team_a", "of team/a"), ("team_b", "of team/b")]).await;
    let by_tag = json!({"dataFrom": [{"find": {"tags": {"team": "x"}}, "rewrite": [{"transform": {"template": "{{ .value | replace \"/\" \"-\" | upper }}"}}]}]});
    world.apply(external_secret("tags", &by_tag)).await;
    world.await_data("tags", &[("OTHER", "of other"), ("TEAM-A", "of team/a")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_the_predecessor_work_in_both_backends() {
    let world = World::start("legacy").await;
    world.create_secret("json", r#"{"username": "me", "password": "pw"}"#).await;
    world.put_parameter("/app/user", "me").await;
    world.put_parameter("/app/bin", "AP8=").await;
    let legacy = |name: &str, spec: Value| json!({"apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": spec});
    let entry = |name: &str| json!({"key": "json", "name": name, "property": name});
    let region = "eu-central-1";
    let spec =
        json!({"backendType": "secretsManager", "region": region, "data": [entry("username"), entry("password")]});
    world.apply(legacy("manager", spec)).await;
    world.await_data("manager", &[("password", "pw"), ("username", "me")]).await;
    let spec = json!({
        "backendType": "systemManager", "region": region,
        "data": [{"path": "/app"}, {"key": "/app/user", "name": "again"}, {"key": "/app/bin", "name": "raw", "isBinary": true}],
    });
    world.apply(legacy("system", spec)).await;
    world.await_data("system", &[("again", "me"), ("bin", "AP8="), ("raw", "\0\u{fffd}"), ("user", "me")]).await;
    let status = world.get(LEGACY, "manager").await.unwrap()["status"].clone();
    assert_eq!(status["status"], "SUCCESS");

    let before = world.get("v1/Secret", "manager").await.unwrap()["metadata"]["uid"].clone();
    world.store("store", "SecretsManager").await;
    world.apply(external_secret("manager", &json!({"dataFrom": [{"extract": {"key": "json"}}]}))).await;
    world.await_ready("manager").await;
    let secret = world.get("v1/Secret", "manager").await.unwrap();
    let owners = secret["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!((&secret["metadata"]["uid"], owners.len()), (&before, 1), "handed over, not made again");
    assert_eq!(owners[0]["apiVersion"], "external-secrets.io/v1");
    world.delete(LEGACY, "manager").await;
    world.await_rounds(2).await;
    assert_eq!(world.get("v1/Secret", "manager").await.unwrap()["metadata"]["uid"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_supported_is_said() {
    let world = World::start("unsupported").await;
    world.store("store", "SecretsManager").await;
    let generator = json!({"sourceRef": {"generatorRef": {"kind": "Password", "name": "x"}}});
    world.apply(external_secret("generator", &json!({"dataFrom": [generator]}))).await;
    world.await_failure("generator", "NotSupported: spec.dataFrom[0].sourceRef.generatorRef").await;
    let manifest =
        json!({"target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}, "data": [datum("k", "a")]});
    world.apply(external_secret("manifest", &manifest)).await;
    world.await_failure("manifest", "NotSupported: spec.target.manifest").await;
    world
        .apply(external_secret("no-store", &json!({"secretStoreRef": {"name": "x"}, "data": [datum("k", "a")]})))
        .await;
    world.await_failure("no-store", "SecretStore x does not exist").await;
}
