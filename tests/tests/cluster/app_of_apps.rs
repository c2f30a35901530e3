//! The real distribution, rolled out by its root Application on a cluster that runs pods.

use gitmoor_tests::distribution::selection;
use gitmoor_tests::harness::installation::{PATIENCE_FOR_A_PLATFORM, api, apply};
use gitmoor_tests::harness::{ControlPlane, Installation, Request};
use kube::api::ListParams;
use serde_json::{Value, json};

const CHILDREN: [&str; 5] = ["gitmoor", "namespaces", "credentials", "mlflow", "inference"];

#[tokio::test(flavor = "multi_thread")]
async fn the_distribution_becomes_synced_and_healthy_wave_by_wave() {
    let control_plane = ControlPlane::shared_with_nodes().await;
    let client = control_plane.client().await;
    apply(&client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gitmoor"}})).await;
    let world = Installation::start_in(control_plane, ("gitmoor", "default"), |agent| agent).await;
    let mark = control_plane.audit().mark().await;
    let commit = selection::initialise(&world.repository, "aws").await;
    let root = std::fs::read_to_string(world.repository.tree().join("distribution/platform.yaml")).unwrap();
    world.apply(&serde_yaml::from_str::<Value>(&root).unwrap()).await;

    let status = world.await_synced_within(PATIENCE_FOR_A_PLATFORM, "platform", &commit).await;
    let of_root: Vec<&str> =
        status["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(of_root, CHILDREN, "in the order of their waves");
    for child in CHILDREN {
        world.await_synced(child, &commit).await;
    }
    for (namespace, name) in [("mlflow", "mlflow-server"), ("inference", "inference-api")] {
        let deployments =
            api(&client, "apps/v1/Deployment", Some(namespace)).list(&ListParams::default()).await.unwrap();
        let ready = deployments.items.iter().any(|d| d.data["status"]["availableReplicas"].as_u64() >= Some(1));
        assert!(ready, "{namespace} ({name}) has no available Deployment");
    }

    let requests = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let position = |what: &str, wanted: &dyn Fn(&Request) -> bool| {
        let found = requests.0.iter().position(|request| request.code == 201 && wanted(request));
        found.unwrap_or_else(|| panic!("{what} was not created:\n{requests}"))
    };
    let application = |name: &'static str| {
        position(name, &move |request| request.resource == "applications.argoproj.io" && request.name == name)
    };
    let deployment = |namespace: &'static str| {
        position(namespace, &move |request| request.resource == "deployments.apps" && request.namespace == namespace)
    };
    let namespace = |name: &'static str| position(name, &move |r| r.resource == "namespaces" && r.name == name);
    let waves = [
        application("namespaces"),
        namespace("mlflow").min(namespace("inference")),
        namespace("mlflow").max(namespace("inference")),
        application("mlflow"),
        deployment("mlflow"),
        application("inference"),
        deployment("inference"),
    ];
    assert!(waves.is_sorted(), "{waves:?}\n{requests}");
    // What is written about Applications, and not for them, is tried again on a busy machine.
    let about =
        |resource: &str| ["events", "leases.coordination.k8s.io"].contains(&resource) || resource.ends_with("/status");
    let failed = requests.clone().filter(|request| request.code >= 400 && !about(&request.resource));
    assert!(failed.is_empty(), "what comes in its wave is not refused:\n{failed}");

    assert_shown(&world, &commit).await;
}

/// What `kubectl get applications -o wide` and Argo CD's own tools read.
async fn assert_shown(world: &Installation, commit: &str) {
    let uri = "/apis/argoproj.io/v1alpha1/namespaces/gitmoor/applications";
    let request = http::Request::get(uri).header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table: Value = world.client.request(request.body(Vec::new()).unwrap()).await.unwrap();
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    // What follows is for `gitmoor status`.
    let own = ["Name", "Sync Status", "Health Status", "Revision", "Project"];
    assert_eq!(columns[..own.len()], own);
    let cells = |row: &Value| Value::from(row["cells"].as_array().unwrap()[..own.len()].to_vec());
    let mut rows: Vec<Value> = table["rows"].as_array().unwrap().iter().map(cells).collect();
    rows.sort_by_key(|row| row[0].to_string());
    let expected = ["credentials", "gitmoor", "inference", "mlflow", "namespaces", "platform"];
    // Of several sources, there is not one revision.
    let revision = |name: &str| if ["inference", "mlflow"].contains(&name) { Value::Null } else { json!(commit) };
    assert_eq!(rows, expected.map(|name| json!([name, "Synced", "Healthy", revision(name), "default"])));

    let status = world.status("mlflow").await;
    let fields = [
        ("/sync/comparedTo/sources/0/path", json!("distribution/charts/mlflow")),
        ("/sync/comparedTo/sources/1/path", json!("distribution/components/mlflow/overlays/aws")),
        ("/sync/revisions", json!([commit, commit])),
        ("/operationState/phase", json!("Succeeded")),
        ("/operationState/syncResult/revisions", json!([commit, commit])),
        ("/operationState/operation/sync/revisions", json!([commit, commit])),
        ("/history/0/revisions", json!([commit, commit])),
        ("/history/0/sources/0/repoURL", json!(world.repository.url())),
        ("/sourceTypes", json!(["Helm", "Kustomize"])),
        ("/conditions", json!([])),
    ];
    for (path, expected) in fields {
        assert_eq!(status.pointer(path), Some(&expected), "{path} in {status:#}");
    }
    let deployment = status["resources"].as_array().unwrap().iter().find(|resource| resource["kind"] == "Deployment");
    let deployment = deployment.unwrap();
    assert_eq!(
        (&deployment["group"], &deployment["version"], &deployment["status"]),
        (&json!("apps"), &json!("v1"), &json!("Synced"))
    );
    assert_eq!(deployment["health"]["status"], "Healthy");
    assert!(status["summary"]["images"][0].as_str().unwrap().contains("mlflow"), "{status:#}");
    for time in ["/reconciledAt", "/operationState/startedAt", "/operationState/finishedAt", "/history/0/deployedAt"] {
        assert!(
            status.pointer(time).and_then(Value::as_str).is_some_and(|time| time.ends_with('Z')),
            "{time} in {status:#}"
        );
    }
}
