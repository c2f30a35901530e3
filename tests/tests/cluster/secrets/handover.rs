//! A Secret whose maker is replaced in Git: it is there all the time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::sealed_secrets::install_kind;
use gitmoor_tests::harness::{Aws, Installation, create_namespace, throughout};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::world::{EXTERNAL, LEGACY, control_plane, decoded, external_secret, store};

const NAMES: &[&str] = &["same", "renamed", "orphan", "stuck"];
const SEALED: &str = "bitnami.com/v1alpha1/SealedSecret";

/// An installation whose agent serves ExternalSecrets of its target namespace.
async fn start(purpose: &str) -> (Installation, Aws) {
    let control_plane = control_plane().await;
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, &format!("{purpose}-agent")).await;
    let target = create_namespace(&client, purpose).await;
    let aws = Aws::start().await;
    let world = Installation::start_in(control_plane, (&namespace, &target), |agent| {
        let agent = agent
            .arg(format!("--secrets-namespaces={target}"))
            .arg(format!("--secrets-own-role-namespaces={target}"))
            .arg("--secrets-legacy-interval=1s");
        aws.environment().into_iter().fold(agent, |agent, (name, value)| agent.env(name, value))
    });
    (world.await, aws)
}

fn legacy(name: &str, key: &str) -> Value {
    let data = json!([{"key": key, "name": "password"}]);
    json!({
        "apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret", "metadata": {"name": name},
        "spec": {"backendType": "secretsManager", "region": "eu-central-1", "data": data},
    })
}

fn external(name: &str, target: &str, store: &str, policy: &str) -> Value {
    let data = json!([{"secretKey": "password", "remoteRef": {"key": target}}]);
    let target = json!({"name": target, "creationPolicy": policy});
    external_secret(name, &json!({"secretStoreRef": {"name": store}, "target": target, "data": data}))
}

/// Commits a folder that holds exactly these objects.
async fn commit(world: &Installation, folder: &str, objects: &[Value]) -> String {
    let _ = std::fs::remove_dir_all(world.repository.tree().join(folder));
    for (number, object) in objects.iter().enumerate() {
        world.repository.write(&format!("{folder}/{number}.yaml"), serde_json::to_string_pretty(object).unwrap());
    }
    world.repository.commit_all(&format!("{folder}: {} objects", objects.len())).await
}

/// Looks at Secrets all the time, and remembers when one was not there or without its value.
struct Observer {
    stop: Arc<AtomicBool>,
    missing: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<usize>,
}

impl Observer {
    fn start(world: &Installation, names: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let missing = Arc::new(Mutex::new(Vec::new()));
        let secrets = api(&world.client, "v1/Secret", Some(&world.target));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&missing));
        let task = tokio::spawn(async move {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                for name in names {
                    looks += 1;
                    let secret: Option<DynamicObject> = secrets.get_opt(name).await.unwrap();
                    let value = secret.map(|secret| decoded(&serde_json::to_value(secret).unwrap()));
                    if value.as_ref().and_then(|data| data.get("password")).is_none_or(String::is_empty) {
                        seen.lock().unwrap().push(format!("{name}: {value:?}"));
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            looks
        });
        Self { stop, missing, task }
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.task.await.unwrap();
        let missing = self.missing.lock().unwrap();
        assert!(missing.is_empty(), "of {looks} looks: {missing:?}");
        assert!(looks > 50, "{looks} looks");
    }
}

async fn uid(world: &Installation, name: &str) -> Value {
    world.target("v1/Secret", name).await.unwrap_or_else(|| panic!("Secret {name} is gone"))["metadata"]["uid"].clone()
}

/// They stay what they are for a while, also for the garbage collector, and nobody asked for their deletion.
async fn are_the_same(world: &Installation, before: &[(&str, Value)], mark: gitmoor_tests::harness::Mark) {
    throughout("the Secrets stay", Duration::from_secs(2), async || {
        for (name, uid) in before {
            let secret = world.target("v1/Secret", name).await.ok_or_else(|| format!("{name} is gone"))?;
            if secret["metadata"]["uid"] != *uid {
                return Err(format!("{name} was made again"));
            }
        }
        Ok(())
    })
    .await;
    let audit = control_plane().await.audit().since(mark).await;
    let deleted = audit.filter(|request| request.verb.starts_with("delete") && request.namespace == world.target);
    let deleted = deleted.resource("secrets");
    assert!(deleted.is_empty(), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_replaces_the_predecessors_objects_without_a_gap() {
    let (world, aws) = start("handover").await;
    for name in NAMES {
        aws.secrets_manager("CreateSecret", &json!({"Name": name, "SecretString": format!("of {name}")})).await;
    }
    let healthy = &NAMES[..3];
    commit(&world, "web", &healthy.iter().map(|name| legacy(name, name)).collect::<Vec<_>>()).await;
    let second = commit(&world, "stuck", &[legacy("stuck", "stuck")]).await;
    world.apply(&world.application("web", "web")).await;
    world.apply(&world.application("stuck", "stuck")).await;
    world.await_synced("web", &second).await;
    world.await_synced("stuck", &second).await;
    let mut before = Vec::new();
    for name in NAMES {
        before.push((*name, uid(&world, name).await));
    }

    let mark = control_plane().await.audit().mark().await;
    let observer = Observer::start(&world, NAMES);
    let new = [
        store("store", "SecretsManager"),
        external("same", "same", "store", "Owner"),
        external("another-name", "renamed", "store", "Owner"),
        external("orphan", "orphan", "store", "Orphan"),
    ];
    commit(&world, "web", &new).await;
    // Its values cannot be read: the last good ones have to live on.
    let last = commit(&world, "stuck", &[external("stuck", "stuck", "missing", "Owner")]).await;
    world.await_target("the old one is gone", LEGACY, "stuck", |object| object.is_none()).await;
    let fits = |s: &Value| s["sync"]["revision"] == last.as_str() && s["health"]["status"] == "Degraded";
    world.await_status("is at the last commit and Degraded", "stuck", fits).await;
    for name in healthy {
        world.await_target("the old one is gone", LEGACY, name, |object| object.is_none()).await;
    }
    are_the_same(&world, &before, mark).await;
    observer.finish().await;
    for (name, maker) in [("same", "same"), ("renamed", "another-name"), ("stuck", "stuck")] {
        let owners = world.target("v1/Secret", name).await.unwrap()["metadata"]["ownerReferences"].clone();
        assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
        assert_eq!((&owners[0]["apiVersion"], &owners[0]["name"]), (&json!("external-secrets.io/v1"), &json!(maker)));
    }
    let orphan = world.target("v1/Secret", "orphan").await.unwrap();
    assert!(orphan["metadata"].get("ownerReferences").is_none(), "{orphan}");

    // Back again, and then nobody wants them any more: what no maker takes over goes with the last one.
    aws.secrets_manager("PutSecretValue", &json!({"SecretId": "same", "SecretString": "changed"})).await;
    world
        .await_target("it is fresh", "v1/Secret", "same", |s| s.is_some_and(|s| decoded(s)["password"] == "changed"))
        .await;
    commit(&world, "web", &[store("store", "SecretsManager")]).await;
    for (name, goes) in [("same", true), ("renamed", true), ("orphan", false)] {
        world.await_target("the maker is gone", EXTERNAL, name, |object| object.is_none()).await;
        if goes {
            world.await_target("it goes with its maker", "v1/Secret", name, |secret| secret.is_none()).await;
        }
    }
    assert!(world.target("v1/Secret", "orphan").await.is_some(), "an orphan stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_secret_hands_over_to_an_external_one_of_another_application() {
    let (world, aws) = start("unsealed").await;
    let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/seal/definition.yaml");
    install_kind(&world.client, &definition).await;
    aws.secrets_manager("CreateSecret", &json!({"Name": "db", "SecretString": "from AWS"})).await;
    let sealed = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "db"},
        "spec": {"encryptedData": {"password": "AgB="}},
    });
    let keep = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "keep"}});
    commit(&world, "web", &[sealed, keep.clone()]).await;
    commit(&world, "new", &[store("store", "SecretsManager")]).await;
    world.apply(&world.application("web", "web")).await;
    world.apply(&world.application("new", "new")).await;
    world.await_target("it is applied", SEALED, "db", |object| object.is_some()).await;
    // As its controller makes it.
    let owner = world.target(SEALED, "db").await.unwrap()["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "uid": owner, "controller": true});
    let metadata = json!({"name": "db", "namespace": world.target, "ownerReferences": [owner]});
    world
        .apply(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "sealed"}}),
        )
        .await;
    let before = [("db", uid(&world, "db").await)];

    let mark = control_plane().await.audit().mark().await;
    let observer = Observer::start(&world, &["db"]);
    let new = [store("store", "SecretsManager"), external("db", "db", "store", "Owner")];
    for (number, object) in new.iter().enumerate() {
        world.repository.write(&format!("new/{number}.yaml"), serde_json::to_string_pretty(object).unwrap());
    }
    commit(&world, "web", &[keep]).await;
    world.await_target("the SealedSecret is gone", SEALED, "db", |object| object.is_none()).await;
    world
        .await_target("AWS' value is there", "v1/Secret", "db", |secret| {
            secret.is_some_and(|secret| decoded(secret)["password"] == "from AWS")
        })
        .await;
    are_the_same(&world, &before, mark).await;
    observer.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_waits_for_the_secret_of_the_one_before_and_defaults_are_no_drift() {
    let control_plane = control_plane().await;
    let (world, aws) = start("secret-wave").await;
    let later = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "value"},
        "metadata": {"name": "later", "annotations": {"argocd.argoproj.io/sync-wave": "1"}},
    });
    let objects = [store("store", "SecretsManager"), external("first", "first", "store", "Owner"), later];
    let first = commit(&world, "web", &objects).await;
    world.apply(&world.application("web", "web")).await;
    world
        .await_target("the missing key is said", EXTERNAL, "first", |object| {
            object.is_some_and(|object| object["status"]["conditions"][0]["status"] == "False")
        })
        .await;
    throughout("the second wave waits", Duration::from_secs(2), async || {
        if world.target("v1/ConfigMap", "later").await.is_some() {
            return Err("it was applied".to_owned());
        }
        Ok(())
    })
    .await;
    assert_ne!(world.status("web").await["health"]["status"], "Healthy");

    aws.secrets_manager("CreateSecret", &json!({"Name": "first", "SecretString": "canary-of-the-wave"})).await;
    world.await_synced("web", &first).await;
    assert!(world.target("v1/ConfigMap", "later").await.is_some());

    // The definition fills in what Git leaves out; that is nobody's edit.
    let object = world.target(EXTERNAL, "first").await.unwrap();
    assert!(object["spec"]["refreshInterval"].is_string() && object["spec"]["target"]["deletionPolicy"].is_string());
    let mark = control_plane.audit().mark().await;
    world.repository.write("web/9.yaml", gitmoor_tests::harness::config_map("more", "key", "value"));
    let second = world.repository.commit_all("one more map").await;
    world.await_synced("web", &second).await;
    let writes = control_plane.audit().since(mark).await.of_user(&world.user).writes().namespace(&world.target);
    let of_secrets: Vec<_> = writes.0.iter().filter(|request| request.resource != "configmaps").collect();
    assert!(of_secrets.is_empty(), "{of_secrets:?}");
}
