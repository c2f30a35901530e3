//! No value of a Secret leaves the Secret: not into logs, status, events or metrics, whatever goes wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{Installation, http, kustomization};
use kube::api::{DynamicObject, ListParams};
use serde_json::json;

/// What must be found nowhere, in clear and encoded.
const CANARY: &str = "kanarienvogel-im-bergwerk";

fn secret(name: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_secrets_are_nowhere_but_in_secrets() {
    let world = Installation::start("canary").await;
    let encoded = STANDARD.encode(CANARY);
    let files = [
        // Applied, changed, made drift of, and refused when it changes although it is immutable.
        ("good/a.yaml", secret("good", &format!("stringData: {{a: {CANARY}, b: other}}\n"))),
        ("good/b.yaml", secret("fixed", &format!("immutable: true\ndata: {{a: {encoded}}}\n"))),
        // Refused by the API server: of a type that needs other keys, of a field that is no map, of bad base64.
        ("refused/a.yaml", secret("tls", &format!("type: kubernetes.io/tls\nstringData: {{key: {CANARY}}}\n"))),
        ("refused/b.yaml", secret("shape", &format!("data: {CANARY}\n"))),
        ("refused/c.yaml", secret("bad", &format!("data: {{a: \"{CANARY}!\"}}\n"))),
        ("refused/d.yaml", secret("unknown", &format!("stringdata: {{a: {CANARY}}}\n"))),
        // Refused while it is read.
        ("read/a.yaml", secret("number", &format!("stringData:\n  a: [{CANARY}]\n"))),
        ("read/b.yaml", secret("text", &format!("stringData:\n  a: {CANARY}\n a: {CANARY}\n"))),
        // Made by kustomize, and broken for it.
        ("generated/kustomization.yaml", format!("secretGenerator:\n  - name: made\n    literals: [a={CANARY}]\n")),
        (
            "broken/kustomization.yaml",
            format!("{}secretGenerator:\n  - name: made\n    literals: [{CANARY}]\n", kustomization(&[])),
        ),
        // A hook.
        (
            "hook/a.yaml",
            secret(
                "hook",
                &format!("  annotations: {{argocd.argoproj.io/hook: PreSync}}\nstringData: {{a: {CANARY}}}\n"),
            ),
        ),
        (
            "hook/b.yaml",
            secret(
                "type",
                &format!(
                    "  annotations: {{argocd.argoproj.io/hook: PostSync}}\ntype: kubernetes.io/tls\nstringData: {{a: {CANARY}}}\n"
                ),
            ),
        ),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository.commit(&files, "secrets").await;
    let names = ["good", "refused", "read", "generated", "broken", "hook"];
    for name in names {
        let mut application = world.application(name, name);
        application["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
        world.apply(&application).await;
    }
    world
        .await_target("applied", "v1/Secret", "good", |secret| {
            secret.is_some_and(|s| s["data"]["a"] == encoded.as_str())
        })
        .await;
    for name in ["refused", "read", "broken", "hook"] {
        world
            .await_status("says what is wrong", name, |s| s["conditions"].as_array().is_some_and(|all| !all.is_empty()))
            .await;
    }
    world.patch("v1/Secret", &world.target, "good", &json!({"stringData": {"a": "edited", "c": CANARY}})).await;
    world
        .await_target("repaired", "v1/Secret", "good", |secret| {
            secret.is_some_and(|s| s["data"]["a"] == encoded.as_str())
        })
        .await;
    let changed =
        secret("fixed", &format!("immutable: true\ndata: {{a: {}}}\n", STANDARD.encode(format!("{CANARY}2"))));
    world.repository.commit(&[("good/b.yaml", &changed)], "change what cannot be changed").await;
    world.await_condition("good", "ImmutableField").await;

    let mut seen = vec![("the log".to_owned(), world.agent.log())];
    let metrics = http::get(&format!("{}/metrics", world.agent.url())).await.unwrap();
    seen.push(("the metrics".to_owned(), metrics.body));
    for name in names {
        let application = world.get("argoproj.io/v1alpha1/Application", &world.namespace, name).await.unwrap();
        seen.push((format!("Application {name}"), application.to_string()));
    }
    // The last events may still be on their way.
    let events = api(&world.client, "v1/Event", Some(&world.namespace));
    let scene = world.scene();
    let listed = scene.eventually("events", PATIENCE, async || {
        let listed = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let told = listed.iter().any(|event: &DynamicObject| event.data["reason"] == "ImmutableField");
        if told { Ok(listed) } else { Err("no event of the refusal".to_owned()) }
    });
    seen.push(("the events".to_owned(), format!("{:?}", listed.await)));
    for (place, text) in seen {
        for form in [CANARY, encoded.as_str(), encoded.trim_end_matches('='), "kanarienvogel"] {
            assert!(!text.contains(form), "{place} has `{form}`:\n{text}");
        }
    }
}
