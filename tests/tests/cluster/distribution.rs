//! The distribution against API servers: every object is accepted, both environments come up, and charts of others render
//! to what the same server accepts.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_engine::helm::Capabilities;
use gitmoor_tests::distribution::components::Components;
use gitmoor_tests::distribution::dry_run::{dry_run, prepare};
use gitmoor_tests::distribution::fork::{Fork, name_of, text_at};
use gitmoor_tests::distribution::upstream::Upstream;
use gitmoor_tests::distribution::{policy, selection};
use gitmoor_tests::harness::agent::Builder;
use gitmoor_tests::harness::installation::{PATIENCE_FOR_A_PLATFORM, api, apply};
use gitmoor_tests::harness::tools::tool;
use gitmoor_tests::harness::{Aws, ControlPlane, Installation, definitions};
use serde_json::{Value, json};

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
            objects.extend(fork.render(application));
        }
        prepare(&client, &objects, &["gitmoor"]).await;
        let verdict = dry_run(&client, &objects).await;
        assert_eq!(verdict.faults, [] as [String; 0], "{environment}");
        let strange = |kind: &&String| !GROUPS_OF_OTHERS.iter().any(|group| kind.starts_with(group));
        assert_eq!(verdict.unknown.iter().filter(strange).count(), 0, "{environment}: {:?}", verdict.unknown);
        assert!(verdict.accepted > 50, "{environment}: only {} objects", verdict.accepted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_aws_comes_up_on_an_empty_control_plane() {
    comes_up("aws").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_single_node_comes_up_on_an_empty_control_plane() {
    comes_up("single-node").await;
}

/// The root Application alone is applied; nothing is done by hand after that.
async fn comes_up(environment: &str) {
    let control_plane = ControlPlane::builder().controllers(true).scheduler(true).kwok_nodes(1).start().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    let aws = Aws::start().await;
    let fork = Fork::new(environment);
    let selected = fork.selection();
    make_what_lies_outside(&client, &aws, &fork, &selected).await;
    let configure =
        |agent: Builder| aws.environment().into_iter().fold(agent, |agent, (name, value)| agent.env(name, value));
    let world = Installation::start_in(&control_plane, ("gitmoor", "default"), configure).await;
    let commit = selection::initialise(&world.repository, environment).await;
    let root = std::fs::read_to_string(world.repository.tree().join("distribution/platform.yaml")).unwrap();
    world.apply(&serde_yaml::from_str::<Value>(&root).unwrap()).await;

    let status = world.await_synced_within(PATIENCE_FOR_A_PLATFORM, "platform", &commit).await;
    let names: Vec<&str> =
        status["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for expected in ["namespaces", "mlflow", "inference"] {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert_eq!(names.contains(&"aws-credentials"), environment == "single-node", "{names:?}");
    for name in names {
        let status = world.await_synced(name, &commit).await;
        assert_eq!(status["conditions"], json!([]), "{name}");
    }
}

/// What a user has before the platform: the agent's namespace, a class of volumes, and on a single node the Secret that is
/// made by hand; and the secrets of AWS.
async fn make_what_lies_outside(client: &kube::Client, aws: &Aws, fork: &Fork, selected: &[Value]) {
    apply(client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gitmoor"}})).await;
    let keys = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws-access-keys", "namespace": "gitmoor"},
        "stringData": {"access-key-id": "id", "secret-access-key": "key"},
    });
    apply(client, &keys).await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local-path"},
        "provisioner": "kubernetes.io/no-provisioner",
    });
    apply(client, &class).await;
    for number in 0..4 {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("volume-{number}")},
            "spec": {
                "storageClassName": "local-path", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "100Gi"},
                "hostPath": {"path": "/volume"},
            },
        });
        apply(client, &volume).await;
    }
    for (name, value) in secrets_of_aws(fork, selected) {
        aws.secrets_manager("CreateSecret", &json!({"Name": name, "SecretString": value.to_string()})).await;
    }
}

/// Every secret that the selection asks for, with the properties that it asks for.
fn secrets_of_aws(fork: &Fork, selected: &[Value]) -> BTreeMap<String, Value> {
    let objects: Vec<Value> = selected.iter().flat_map(|application| fork.render(application)).collect();
    let prefix = |store: &Value| {
        let named = objects
            .iter()
            .find(|object| object["kind"] == store["kind"] && object["metadata"]["name"] == store["name"]);
        named.map(|store| text_at(store, "/spec/provider/aws/prefix")).unwrap_or_default().to_owned()
    };
    let mut secrets: BTreeMap<String, Value> = BTreeMap::new();
    for object in &objects {
        let spec = match text_at(object, "/kind") {
            "ExternalSecret" => &object["spec"],
            "ClusterExternalSecret" => &object["spec"]["externalSecretSpec"],
            _ => continue,
        };
        let prefix = prefix(&spec["secretStoreRef"]);
        for data in spec["data"].as_array().into_iter().flatten() {
            let reference = &data["remoteRef"];
            let secret = secrets.entry(format!("{prefix}{}", text_at(reference, "/key"))).or_insert_with(|| json!({}));
            secret[text_at(reference, "/property")] = json!("value");
        }
        for data in spec["dataFrom"].as_array().into_iter().flatten() {
            let key = format!("{prefix}{}", text_at(data, "/extract/key"));
            secrets.entry(key).or_insert_with(|| json!({}))["KEY"] = json!("value");
        }
    }
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn gp2_is_made_the_default_no_more_and_not_ours() {
    const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    let objects = Fork::new("aws").build("distribution/components/aws-ebs-csi-driver/base");
    for object in objects.iter().filter(|object| object["kind"] != "Job") {
        apply(&client, object).await;
    }
    let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
    let pod = &job["spec"]["template"]["spec"];
    let account = text_at(pod, "/serviceAccountName");
    let identity = control_plane.kubeconfig_for_service_account("kube-system", account).await;
    let command: Vec<&str> =
        pod["containers"][0]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let run = || {
        let mut kubectl = std::process::Command::new(tool(command[0]));
        kubectl.env_clear().env("HOME", control_plane.folder()).env("KUBECONFIG", identity.path());
        let output = kubectl.args(&command[1..]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // A cluster that has none.
    run();
    let class = |name: &str, is_default: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name, "annotations": {DEFAULT: is_default, "kept": "yes"}},
            "provisioner": "kubernetes.io/aws-ebs", "parameters": {"type": "gp2", "fsType": "ext4"},
        })
    };
    for (name, is_default) in [("gp2", "true"), ("other", "true")] {
        apply(&client, &class(name, is_default)).await;
    }
    for _ in 0..2 {
        run();
    }
    let api = api(&client, "storage.k8s.io/v1/StorageClass", None);
    for (name, is_default) in [("gp2", "false"), ("other", "true")] {
        let live = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
        let mut expected = class(name, is_default);
        assert_eq!(live["metadata"]["annotations"], expected["metadata"]["annotations"], "{name}");
        assert_eq!(live["metadata"]["labels"], Value::Null, "{name}");
        assert_eq!(live["parameters"], expected["parameters"].take(), "{name}");
    }
}

/// Every Application that takes a chart of others is rendered with the values of setup.conf.example, as the agent renders
/// it, and the API server and the policy look at all of it together, with the definitions that it brings.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a network, or GITMOOR_REPLACE_SOURCE: make verify-upstream"]
async fn verify_upstream() {
    let replacements = std::env::var("GITMOOR_REPLACE_SOURCE").unwrap_or_default();
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    definitions::install(&client).await;
    let (mut problems, mut idle) = (BTreeSet::new(), None::<BTreeSet<String>>);
    for environment in ENVIRONMENTS {
        let upstream = Upstream::new(&replacements, capabilities(&client).await);
        let found = verify(&client, &upstream, &Fork::new(environment)).await;
        for (name, objects) in found.objects {
            println!("{environment}: {name}: {objects} objects");
        }
        problems.extend(found.problems.into_iter().map(|problem| format!("{environment}: {problem}")));
        // Needed in one environment is needed.
        idle = Some(idle.map_or(found.idle.clone(), |idle| &idle & &found.idle));
    }
    problems.extend(idle.into_iter().flatten().map(|excuse| format!("{excuse} is excused, and needs no excuse")));
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// What is wrong with what an environment renders to.
#[derive(Default)]
struct Verdict {
    problems: Vec<String>,
    /// How many objects each Application has.
    objects: Vec<(String, usize)>,
    /// Excuses that nothing needed.
    idle: BTreeSet<String>,
}

async fn verify(client: &kube::Client, upstream: &Upstream, fork: &Fork) -> Verdict {
    let wanted = std::env::var("GITMOOR_VERIFY").unwrap_or_default();
    let is_wanted = |application: &&Value| {
        let name = text_at(application, "/metadata/name");
        wanted.is_empty() || wanted.split(',').any(|one| one == name)
    };
    let offered: Vec<Value> = fork.offered().into_iter().filter(|one| fork.has(one)).collect();
    let (mut rendered, mut variants, mut problems) = (BTreeMap::new(), Vec::new(), Vec::new());
    let (mut excused, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for application in offered.iter().filter(is_wanted) {
        let name = text_at(application, "/metadata/name").to_owned();
        for (at, rules) in fork.excuses(&name) {
            excused.extend(rules.keys().map(|rule| format!("{name}: {at}: {rule}")));
        }
        let objects = render(upstream, fork, application, &mut problems, &mut needed).await;
        rendered.extend(objects.map(|objects| (name, objects)));
    }
    for application in fork.variants().iter().filter(is_wanted) {
        let objects = render(upstream, fork, application, &mut problems, &mut needed).await;
        variants.extend(objects.map(|objects| (text_at(application, "/metadata/name").to_owned(), objects)));
    }
    let all: Vec<Value> =
        rendered.values().chain(variants.iter().map(|(_, objects)| objects)).flatten().cloned().collect();
    let namespaces: BTreeSet<&str> = all.iter().map(|object| text_at(object, "/metadata/namespace")).collect();
    let namespaces: Vec<&str> = namespaces.into_iter().filter(|name| !name.is_empty()).collect();
    prepare(client, &all, &namespaces).await;
    for (name, objects) in rendered.iter().chain(variants.iter().map(|(name, objects)| (name, objects))) {
        let verdict = dry_run(client, objects).await;
        let (mut faults, excuses) = policy::faults_of_others(objects, &fork.excuses(name));
        needed.extend(excuses.into_iter().map(|excuse| format!("{name}: {excuse}")));
        faults.extend(verdict.faults);
        faults.extend(verdict.unknown.iter().map(|kind| format!("nobody defines {kind}")));
        faults.extend(roles_that_differ(fork, name, objects));
        problems.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    let objects = rendered.iter().map(|(name, objects)| (name.clone(), objects.len())).collect();
    problems.extend(faults_of_selections(&Components::rendered(fork, &rendered), wanted.is_empty()));
    if wanted.is_empty() {
        for (name, objects) in variants {
            let with_variant = rendered.iter().map(|(other, own)| (other.clone(), own.clone()));
            let with_variant = with_variant.chain([(name.clone(), objects)]).collect();
            let components = Components::rendered(fork, &with_variant);
            problems.extend(components.missing(&components.names().map(str::to_owned).collect()));
        }
    }
    Verdict { problems, objects, idle: &excused - &needed }
}

/// What an Application renders to; what is wrong with that goes to the problems.
async fn render(
    upstream: &Upstream,
    fork: &Fork,
    application: &Value,
    problems: &mut Vec<String>,
    needed: &mut BTreeSet<String>,
) -> Option<Vec<Value>> {
    let name = text_at(application, "/metadata/name");
    match upstream.render(fork, application).await {
        Ok(found) => {
            let (faults, excuses) = policy::faults_of_values(&found.unknown, &fork.excuses(name));
            problems.extend(found.warnings.iter().chain(&faults).map(|warning| format!("{name}: {warning}")));
            needed.extend(excuses.into_iter().map(|excuse| format!("{name}: {excuse}")));
            Some(found.objects)
        }
        Err(error) => {
            problems.push(error);
            None
        }
    }
}

/// What components refer to and nobody brings: of each alone, and of all but one; or, where some were not rendered, nothing
/// but whether charts bring what they are said to.
fn faults_of_selections(components: &Components, complete: bool) -> BTreeSet<String> {
    let mut faults: BTreeSet<String> = components.not_brought().into_iter().collect();
    if complete {
        for name in components.names() {
            for on in [components.alone(name), components.without(name)] {
                faults.extend(components.missing(&on));
            }
        }
        faults.extend(components.idle_uses().into_iter().map(|uses| format!("{uses} is not referred to")));
    }
    faults
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
fn roles_that_differ(fork: &Fork, application: &str, objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for declared in fork.roles().iter().filter(|declared| {
        declared["application"] == application
            && declared["environment"] == fork.environment()
            && declared["serviceAccount"].is_string()
    }) {
        let account = objects.iter().find(|object| {
            object["kind"] == "ServiceAccount"
                && object["metadata"]["name"] == declared["serviceAccount"]
                && object["metadata"]["namespace"] == declared["namespace"]
        });
        let role = account.map(|account| text_at(account, "/metadata/annotations/eks.amazonaws.com~1role-arn"));
        if role != declared["role"].as_str() {
            faults.push(format!("{declared} is declared, and the ServiceAccount has {role:?}"));
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
