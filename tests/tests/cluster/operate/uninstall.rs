//! What a removal leaves to others.

use gitmoor_tests::harness::definitions;
use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{ControlPlane, GitRemote, create_namespace, eventually};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::Person;
use super::bootstrap::{get, write_fork};

const DEFINITION: &str = "apiextensions.k8s.io/v1/CustomResourceDefinition";

async fn apply(client: &kube::Client, kind: &str, object: &Value) {
    let (namespace, name) = (object["metadata"]["namespace"].as_str(), object["metadata"]["name"].as_str().unwrap());
    let parameters = PatchParams::apply("somebody").force();
    let applied = api(client, kind, namespace).patch(name, &parameters, &Patch::Apply(object)).await;
    applied.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
}

/// The control plane is its own: definitions go.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_leaves_definitions_that_others_need() {
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let namespace = create_namespace(&client, "purge").await;
    let shop = create_namespace(&client, "shop").await;
    write_fork(&repository, &namespace, "web");
    let deployment = repository.tree().join("distribution/components/gitmoor/deployment.yaml");
    let text = std::fs::read_to_string(&deployment).unwrap().replace("<<__image__>>", "gitmoor:test");
    std::fs::write(deployment, text).unwrap();
    let person = Person::new(&control_plane, &namespace);
    let purge = |more: &[&str]| {
        let arguments = [&["uninstall", "--purge", "--yes", "--output", "json"], more].concat();
        let answer = person.run_in(repository.tree(), &arguments, b"").assert(0).json();
        let left = answer["left"].as_array().unwrap().clone();
        let left: Vec<(String, String)> = left
            .iter()
            .map(|one| (one["object"].as_str().unwrap().to_owned(), one["why"].as_str().unwrap().to_owned()))
            .map(|(object, why)| (object.rsplit(' ').next().unwrap().to_owned(), why))
            .collect();
        left
    };

    let external = "external-secrets.io/v1/ExternalSecret";
    let secret = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "kept", "namespace": shop},
        "spec": {"secretStoreRef": {"name": "aws"}, "data": [{"secretKey": "a", "remoteRef": {"key": "b"}}]},
    });
    apply(&client, external, &secret).await;
    let theirs = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": null}}});
    let all = api(&client, DEFINITION, None);
    let name = "externalsecrets.external-secrets.io";
    all.patch(name, &PatchParams::default(), &Patch::Merge(&theirs)).await.unwrap();
    let application = |name: &str, namespace: &str| {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"project": "default", "destination": {"namespace": namespace}},
        })
    };
    let applications = "argoproj.io/v1alpha1/Application";
    apply(&client, applications, &application("theirs", &shop)).await;
    let project = |namespace: &str| {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
            "metadata": {"name": "own", "namespace": namespace}, "spec": {},
        })
    };
    // What the namespace takes along speaks for nothing.
    apply(&client, "argoproj.io/v1alpha1/AppProject", &project(&namespace)).await;

    // Another agent is at work: it needs all of them.
    for more in [&["--dry-run"][..], &[]] {
        let left = purge(more);
        assert_eq!(left.len(), 7, "{left:#?}");
        for (definition, why) in left {
            let expected = match definition.as_str() {
                "externalsecrets.external-secrets.io" => "somebody else's".to_owned(),
                "applications.argoproj.io" => format!("Application {shop}/theirs would go with it"),
                _ => format!("the agent of Application {shop}/theirs works with it"),
            };
            assert_eq!(why, expected, "{definition}");
        }
    }
    assert_eq!(all.list_metadata(&ListParams::default()).await.unwrap().items.len(), 7);

    api(&client, applications, Some(&shop)).delete("theirs", &DeleteParams::default()).await.unwrap();
    let left = purge(&[]);
    assert_eq!(left, [(name.to_owned(), "somebody else's".to_owned())]);
    assert!(get(&client, external, Some(&shop), "kept").await.is_some(), "somebody's object was deleted");

    // The definition is ours again, and still has somebody's object.
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "gitmoor"}}});
    all.patch(name, &PatchParams::default(), &Patch::Merge(&ours)).await.unwrap();
    let left = purge(&[]);
    assert_eq!(left, [(name.to_owned(), format!("ExternalSecret {shop}/kept would go with it"))]);
    assert!(get(&client, external, Some(&shop), "kept").await.is_some(), "somebody's object was deleted");
    api(&client, external, Some(&shop)).delete("kept", &DeleteParams::default()).await.unwrap();
    assert!(purge(&[]).is_empty());
    let check = async || match get(&client, DEFINITION, None, name).await {
        None => Ok(()),
        Some(object) => Err(object["status"].to_string()),
    };
    eventually("nothing speaks for it any more", PATIENCE, check).await;
}
