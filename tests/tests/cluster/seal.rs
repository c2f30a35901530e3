//! `gitmoor seal` and the real sealed-secrets controller.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_tests::harness::installation::{api, apply};
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::sealed_secrets::{Controller, SealingPair, install_kind, kubeseal};
use gitmoor_tests::harness::{ControlPlane, Identity, create_namespace, program, unique_name};
use kube::api::{Api, DynamicObject};
use serde_json::{Map, Value, json};

/// A controller of its own, a namespace for Secrets, and a folder that is a repository.
struct World {
    controller: Controller,
    client: kube::Client,
    target: String,
    other: String,
    user: Identity,
    scratch: Scratch,
}

impl World {
    async fn start() -> Self {
        let control_plane = ControlPlane::shared().await;
        let client = control_plane.client().await;
        let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/seal/definition.yaml");
        install_kind(&client, &definition).await;
        let namespace = create_namespace(&client, "sealing").await;
        apply(&client, &SealingPair::as_in_production().secret(&namespace, "first")).await;
        let target = create_namespace(&client, "sealed").await;
        let other = create_namespace(&client, "elsewhere").await;
        let controller = Controller::start(control_plane, &namespace).await;
        let scratch = Scratch::new("seal");
        scratch.folder(".git");
        let user = control_plane.kubeconfig_for_user(&unique_name("developer"), Some("system:masters"));
        Self { controller, client, target, other, user, scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn run(&self, program: &Path, arguments: &[&str], stdin: &[u8]) -> Run {
        let kubeconfig = self.user.path().to_str().unwrap();
        Run::of(program, self.scratch.path(), &[("KUBECONFIG", kubeconfig)], arguments, stdin)
    }

    /// `gitmoor seal` with the controller of this test.
    fn seal(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        let to = format!("--controller-namespace={}", self.controller.namespace);
        self.run(&program("gitmoor"), &[&["seal", &to], arguments].concat(), stdin)
    }

    /// Seals from the pinned certificate, without a cluster.
    fn seal_offline(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        Run::of(&program("gitmoor"), self.scratch.path(), &[], &[&["seal"], arguments].concat(), stdin)
    }

    fn secret(&self, name: &str, data: &Value) -> Value {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": self.target }, "data": data })
    }

    async fn live(&self, kind: &str, name: &str) -> Value {
        let objects: Api<DynamicObject> = api(&self.client, kind, Some(&self.target));
        serde_json::to_value(objects.get(name).await.unwrap()).unwrap()
    }
}

/// Bytes of which none is like its neighbours, also such that are no text.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn documents(objects: &[Value]) -> Vec<u8> {
    objects.iter().map(|object| format!("---\n{object}\n")).collect::<String>().into_bytes()
}

fn sealed_objects(run: &Run) -> Vec<Value> {
    serde_json::Deserializer::from_str(&run.stdout).into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_opens_what_gitmoor_seals() {
    let world = World::start().await;
    world.seal(&["--pin-cert"], b"").assert(0);
    let small = json!({ "binary": STANDARD.encode(bytes(256)), "empty": "", "text": STANDARD.encode("hunter2\n") });
    let large = json!({ "large": STANDARD.encode(bytes(700 << 10)) });
    let many: Map<String, Value> =
        (0..1000).map(|at| (format!("key-{at}"), Value::from(STANDARD.encode(format!("value {at}"))))).collect();
    let many = Value::Object(many);
    let mut secrets = vec![world.secret("large", &large), world.secret("many", &many)];
    let scopes = [("strict", None), ("namespaced", Some("namespace-wide")), ("global", Some("cluster-wide"))];
    for (name, scope) in scopes {
        let mut secret = world.secret(name, &small);
        secret["type"] = json!("example.com/kind");
        secret["immutable"] = json!(true);
        secret["metadata"]["labels"] = json!({ "app": "web" });
        if let Some(scope) = scope {
            let annotation = format!("sealedsecrets.bitnami.com/{scope}");
            secret["metadata"]["annotations"] = json!({ annotation: "true" });
        }
        secrets.push(secret);
    }
    let run = world.seal_offline(&[], &documents(&secrets));
    let sealed = sealed_objects(run.assert(0));
    assert_eq!(sealed.len(), secrets.len());
    for object in &sealed {
        world.controller.give(object).await;
    }
    for secret in &secrets {
        let name = secret["metadata"]["name"].as_str().unwrap();
        world.controller.await_unsealed(&world.target, name, &secret["data"]).await;
        let live = world.live("v1/Secret", name).await;
        assert_eq!(live["metadata"]["labels"], secret["metadata"]["labels"]);
        assert_eq!(
            (&live["immutable"], live["metadata"]["annotations"].get("gitmoor.dev/sealed-with")),
            (&secret["immutable"], None)
        );
        if !secret["type"].is_null() {
            assert_eq!(live["type"], secret["type"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_opens_nothing_under_another_name_or_namespace() {
    let world = World::start().await;
    let data = json!({ "a": STANDARD.encode("value") });
    for (scope, renamed, moved) in
        [("strict", false, false), ("namespace-wide", true, false), ("cluster-wide", true, true)]
    {
        let run = world.seal(&["--scope", scope], &documents(&[world.secret(scope, &data)]));
        let sealed = run.assert(0).json();
        for (what, opens) in [("name", renamed), ("namespace", moved)] {
            let mut object = sealed.clone();
            let (namespace, name) = match what {
                "name" => (world.target.clone(), format!("{scope}-renamed")),
                _ => (world.other.clone(), scope.to_owned()),
            };
            object["metadata"]["name"] = json!(name);
            object["metadata"]["namespace"] = json!(namespace);
            let validated = world.seal(&["--validate"], object.to_string().as_bytes());
            validated.assert(i32::from(!opens));
            world.controller.give(&object).await;
            if opens {
                world.controller.await_unsealed(&namespace, &name, &data).await;
            } else {
                assert!(validated.stderr.contains("the controller cannot open it"), "{}", validated.stderr);
                world.controller.await_refused(&namespace, &name).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_comes_as_kubeseal_gets_it() {
    let world = World::start().await;
    let to = format!("--controller-namespace={}", world.controller.namespace);
    let theirs = world.run(&kubeseal(), &["--fetch-cert", &to], b"");
    let ours = world.seal(&["--fetch-cert"], b"");
    assert_eq!(ours.assert(0).stdout, theirs.assert(0).stdout);

    let missing = world.seal(&["--fetch-cert", "--controller-name=nobody"], b"");
    assert!(missing.assert(4).stderr.contains("--controller-name"), "{}", missing.stderr);
    let kubeconfig = world.user.path().to_str().unwrap();
    let flags = ["seal", "--kubeconfig", kubeconfig, "--context", "test", &to, "--fetch-cert"];
    let run = Run::of(&program("gitmoor"), world.scratch.path(), &[], &flags, b"");
    assert_eq!(run.assert(0).stdout, theirs.stdout);

    let secret = documents(&[world.secret("raw", &json!({ "a": "YQ==" }))]);
    let mut sealed = world.seal(&[], &secret).assert(0).json();
    let flags = ["--raw", "--name=raw", "--namespace", &world.target];
    sealed["spec"]["encryptedData"]["a"] = json!(world.seal(&flags, b"raw value").assert(0).stdout);
    world.controller.give(&sealed).await;
    let expected = json!({ "a": STANDARD.encode("raw value") });
    world.controller.await_unsealed(&world.target, "raw", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_live_on_when_the_controller_has_a_new_key() {
    let mut world = World::start().await;
    let control_plane = ControlPlane::shared().await;
    world.seal(&["--pin-cert"], b"").assert(0);
    let data = json!({ "password": STANDARD.encode("old"), "user": STANDARD.encode("admin") });
    let written = world.scratch.write("secret.yaml", documents(&[world.secret("app", &data)]));
    world.seal_offline(&["-f", written.to_str().unwrap(), "-w", "sealed.yaml"], b"").assert(0);
    let sealed = fs::read_to_string(world.path("sealed.yaml")).unwrap();
    fs::remove_file(written).unwrap();
    fs::write(world.path("sealed.yaml"), sealed.replacen("---\n", "# keep me\n---\n", 1)).unwrap();
    world.seal_offline(&["status"], b"").assert(0);

    apply(&world.client, &SealingPair::new((2024, 2051)).secret(&world.controller.namespace, "second")).await;
    world.controller.restart(control_plane).await;
    let to = format!("--controller-namespace={}", world.controller.namespace);
    let status = world.run(&program("gitmoor"), &["seal", "status", "--check-controller", &to], b"");
    assert!(status.assert(1).stderr.contains("the controller has a newer key"), "{}", status.stderr);

    world.seal(&["--pin-cert"], b"").assert(0);
    let status = world.seal_offline(&["status"], b"");
    assert!(status.assert(1).stdout.contains("other key"), "{}", status.stdout);
    world.seal_offline(&["edit", "sealed.yaml", "password"], b"new").assert(0);
    let edited = fs::read_to_string(world.path("sealed.yaml")).unwrap();
    assert!(edited.contains("# keep me"));
    let user = |text: &str| text.lines().find(|line| line.trim().starts_with("user: ")).map(str::to_owned).unwrap();
    assert_eq!(user(&edited), user(&sealed));
    world.seal_offline(&["status"], b"").assert(1);

    world.seal(&["--re-encrypt", "-f", "sealed.yaml"], b"").assert(0);
    let renewed = fs::read_to_string(world.path("sealed.yaml")).unwrap();
    assert_ne!(user(&renewed), user(&sealed));
    let status = world.seal_offline(&["status", "--output=json"], b"");
    let row = &status.assert(0).json()["sealedSecrets"][0];
    assert_eq!((&row["state"], row["keys"].as_array().unwrap().len()), (&json!("current"), 1));
    world.controller.give(&serde_yaml::from_str(&renewed).unwrap()).await;
    let expected = json!({ "password": STANDARD.encode("new"), "user": STANDARD.encode("admin") });
    world.controller.await_unsealed(&world.target, "app", &expected).await;
    assert!(!world.controller.log().contains("hunter2"));
}
