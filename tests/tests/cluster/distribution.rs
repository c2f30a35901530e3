//! The distribution against API servers: every object is accepted, both environments come up, and charts of others render
//! to what the same server accepts.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_engine::helm::Capabilities;
use gitmoor_tests::distribution::dry_run::{dry_run, prepare};
use gitmoor_tests::distribution::fork::{Fork, name_of, text_at};
use gitmoor_tests::distribution::policy;
use gitmoor_tests::distribution::upstream::Upstream;
use gitmoor_tests::harness::ControlPlane;
use gitmoor_tests::harness::definitions;
use serde_json::Value;

const ENVIRONMENTS: [&str; 2] = ["aws", "single-node"];

/// Groups whose definitions come with charts of others: `make verify-upstream` looks at their objects.
const GROUPS_OF_OTHERS: [&str; 3] = ["cert-manager.io/", "monitoring.coreos.com/", "bitnami.com/"];

#[tokio::test(flavor = "multi_thread")]
async fn what_renders_without_a_network_is_accepted_by_the_api_server() {
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        let offered = fork.offered();
        let mut objects = offered.clone();
        for application in offered.iter().filter(|one| fork.has(one)) {
            let namespace = text_at(application, "/spec/destination/namespace");
            objects.extend(fork.render(application).into_iter().map(|object| placed(object, namespace)));
        }
        prepare(&client, &objects, &["gitmoor"]).await;
        let verdict = dry_run(&client, &objects).await;
        assert_eq!(verdict.faults, [] as [String; 0], "{environment}");
        let strange = |kind: &&String| !GROUPS_OF_OTHERS.iter().any(|group| kind.starts_with(group));
        assert_eq!(verdict.unknown.iter().filter(strange).count(), 0, "{environment}: {:?}", verdict.unknown);
        assert!(verdict.accepted > 50, "{environment}: only {} objects", verdict.accepted);
    }
}

/// An object with the namespace of its Application's destination, where it names none.
fn placed(mut object: Value, namespace: &str) -> Value {
    const CLUSTER_SCOPED: [&str; 8] = [
        "Namespace",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "StorageClass",
        "ClusterIssuer",
        "ClusterSecretStore",
        "ClusterExternalSecret",
    ];
    let named = !text_at(&object, "/metadata/namespace").is_empty();
    if !named && !namespace.is_empty() && !CLUSTER_SCOPED.contains(&text_at(&object, "/kind")) {
        object["metadata"]["namespace"] = Value::from(namespace);
    }
    object
}

/// Every Application that takes a chart of others is rendered with the values of setup.conf.example, as the agent renders
/// it, and the API server and the policy look at all of it together, with the definitions that it brings.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network, or GITMOOR_REPLACE_SOURCE: make verify-upstream"]
async fn verify_upstream() {
    let replacements = std::env::var("GITMOOR_REPLACE_SOURCE").unwrap_or_default();
    let wanted = std::env::var("GITMOOR_VERIFY").unwrap_or_default();
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    let mut problems = BTreeSet::new();
    for environment in ENVIRONMENTS {
        let capabilities = capabilities(&client).await;
        let upstream = Upstream::new(&replacements, capabilities);
        let fork = Fork::new(environment);
        let mut rendered = BTreeMap::new();
        for application in fork.offered().iter().filter(|one| fork.has(one)) {
            let name = text_at(application, "/metadata/name").to_owned();
            if !wanted.is_empty() && !wanted.split(',').any(|one| one == name) {
                continue;
            }
            match upstream.render(&fork, application).await {
                Ok(found) => {
                    println!("{environment}: {name}: {} objects", found.objects.len());
                    problems.extend(found.warnings.iter().map(|warning| format!("{environment}: {name}: {warning}")));
                    rendered.insert(name, found.objects);
                }
                Err(error) => drop(problems.insert(format!("{environment}: {error}"))),
            }
        }
        let all: Vec<Value> = rendered.values().flatten().cloned().collect();
        let namespaces: BTreeSet<&str> = all.iter().map(|object| text_at(object, "/metadata/namespace")).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().filter(|name| !name.is_empty()).collect();
        prepare(&client, &all, &namespaces).await;
        for (name, objects) in &rendered {
            let verdict = dry_run(&client, objects).await;
            problems.extend(verdict.faults.into_iter().map(|fault| format!("{environment}: {name}: {fault}")));
            problems.extend(verdict.unknown.iter().map(|kind| format!("{environment}: {name}: nobody defines {kind}")));
            let excuses = fork.excuses(name);
            let faults = policy::faults_of_others(objects, &excuses);
            problems.extend(faults.into_iter().map(|fault| format!("{environment}: {name}: {fault}")));
            problems.extend(roles_that_differ(&fork, environment, name, objects));
        }
    }
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// What the server tells charts about itself.
async fn capabilities(client: &kube::Client) -> Capabilities {
    let version = client.apiserver_version().await.unwrap().git_version;
    let discovery = kube::Discovery::new(client.clone()).run().await.unwrap();
    let mut api_versions = BTreeSet::new();
    for group in discovery.groups() {
        for version in group.versions() {
            for (resource, _) in group.versioned_resources(version) {
                api_versions.insert(resource.api_version.clone());
                api_versions.insert(format!("{}/{}", resource.api_version, resource.kind));
            }
        }
    }
    Capabilities { kube_version: version, api_versions }
}

/// ServiceAccounts whose role is not the one that `distribution/iam` declares for them, and declarations without one.
fn roles_that_differ(fork: &Fork, environment: &str, application: &str, objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for declared in fork.roles().iter().filter(|declared| {
        declared["application"] == application
            && declared["environment"] == environment
            && declared["serviceAccount"].is_string()
    }) {
        let account = objects.iter().find(|object| {
            object["kind"] == "ServiceAccount"
                && object["metadata"]["name"] == declared["serviceAccount"]
                && object["metadata"]["namespace"] == declared["namespace"]
        });
        let role = account.map(|account| text_at(account, "/metadata/annotations/eks.amazonaws.com~1role-arn"));
        if role != declared["role"].as_str() {
            faults.push(format!("{application}: {declared} is declared, and the ServiceAccount has {role:?}"));
        }
    }
    for account in objects.iter().filter(|object| object["kind"] == "ServiceAccount") {
        let role = text_at(account, "/metadata/annotations/eks.amazonaws.com~1role-arn");
        if !role.is_empty() && !fork.roles().iter().any(|declared| declared["role"] == role) {
            faults.push(format!("{}: nobody declares {role}", name_of(account)));
        }
    }
    faults
}
