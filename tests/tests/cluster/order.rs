//! Definitions, operators, webhooks and custom resources in one push come up without anybody's help.

use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::{Installation, config_map};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

/// The definition of a kind that no other test has.
fn definition(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: widgets.{group}\nspec:\n  \
         group: {group}\n  scope: Namespaced\n  names: {{kind: Widget, plural: widgets}}\n  versions:\n    - name: v1\n      \
         served: true\n      storage: true\n      schema:\n        openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
    )
}

const OPERATOR: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: operator\nspec:\n  replicas: 1\n  \
     selector: {matchLabels: {app: operator}}\n  template:\n    metadata: {labels: {app: operator}}\n    spec:\n      \
     containers:\n        - {name: operator, image: \"operator:1\"}\n";

fn webhook(name: &str, group: &str, namespace: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata:\n  name: {name}\nwebhooks:\n  \
         - name: widgets.{group}\n    admissionReviewVersions: [v1]\n    sideEffects: None\n    failurePolicy: Fail\n    \
         timeoutSeconds: 1\n    clientConfig:\n      service: {{name: operator, namespace: {namespace}}}\n    rules:\n      \
         - {{apiGroups: [{group}], apiVersions: [v1], operations: [CREATE], resources: [widgets]}}\n"
    )
}

fn widget(name: &str, group: &str) -> String {
    format!("apiVersion: {group}/v1\nkind: Widget\nmetadata:\n  name: {name}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_its_kinds_and_its_webhook_come_up_in_one_push() {
    let world = Installation::start("order").await;
    // Groups and cluster-scoped names belong to this test alone.
    let group = format!("{}.example.com", world.target);
    let name = world.target.clone();
    let files = [
        ("web/a.yaml", widget("first", &group)),
        ("web/b.yaml", webhook(&name, &group, &world.target)),
        ("web/c.yaml", OPERATOR.to_owned()),
        ("web/d.yaml", definition(&group)),
        ("other/a.yaml", config_map("other", "key", "value")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository.commit(&files, "an operator").await;
    world.apply(&world.application("web", "web")).await;
    let kind = format!("{group}/v1/Widget");
    world.await_target("the custom resource", &kind, "first", |widget| widget.is_some()).await;

    let webhooks = api(&world.client, "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration", None);
    let said = |status: &serde_json::Value| {
        let message = status["operationState"]["message"].as_str().unwrap_or_default();
        message.contains("ValidatingWebhookConfiguration") && message.contains("operator")
    };
    world.await_status("the webhook waits for the operator", "web", said).await;
    assert!(webhooks.get_opt(&name).await.unwrap().is_none());
    let ready = json!({"status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{"type": "Available", "status": "True"}],
    }});
    let deployments = api(&world.client, "apps/v1/Deployment", Some(&world.target));
    deployments.patch_status("operator", &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    let there = async || webhooks.get_opt(&name).await.unwrap().map(drop).ok_or_else(|| "no webhook".to_owned());
    world.scene().eventually("the webhook", gitmoor_tests::harness::installation::PATIENCE, there).await;

    // Nobody serves it: what it would be asked about waits, says so, and is applied as soon as that has changed.
    world.repository.commit(&[("other/b.yaml", &widget("second", &group))], "a widget").await;
    world.apply(&world.application("other", "other")).await;
    let status = world.await_condition("other", "WebhookUnavailable").await;
    assert_ne!(status["sync"]["status"], "Synced");
    assert!(world.target("v1/ConfigMap", "other").await.is_some(), "what can be applied is");
    std::fs::remove_file(world.repository.tree().join("web/b.yaml")).unwrap();
    let last = world.repository.commit_all("no webhook").await;
    world
        .await_status("the webhook went", "web", |s| {
            s["sync"]["revision"] == last.as_str() && s["sync"]["status"] == "Synced"
        })
        .await;
    world.await_target("the second", &kind, "second", |widget| widget.is_some()).await;
    let definitions = api(&world.client, "apiextensions.k8s.io/v1/CustomResourceDefinition", None);
    definitions.delete(&format!("widgets.{group}"), &DeleteParams::default()).await.unwrap();
}
