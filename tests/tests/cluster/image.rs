//! The container image, started as a kubelet would: by runc, with a read-only root, as the Deployment says, and with
//! exactly the rights that the distribution gives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitmoor_tests::distribution::fork::Fork;
use gitmoor_tests::harness::installation::{self, PATIENCE, api, apply};
use gitmoor_tests::harness::ports::free_port;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::supervised::{self, Supervised};
use gitmoor_tests::harness::{
    ControlPlane, GitRemote, Scene, config_map, create_namespace, http, kustomization, program, tools,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const COMPONENT: &str = "distribution/components/gitmoor";
const NAMESPACE: &str = "gitmoor";
const POD: &str = "gitmoor-agent-0";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test(flavor = "multi_thread")]
async fn the_image_syncs_with_the_rights_that_are_shipped() {
    let image = Image::build();
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    let fork = Fork::new("single-node");
    let objects = fork.build(&format!("{COMPONENT}/overlays/single-node"));
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap().clone();
    apply(&client, &of_kind("Namespace")).await;
    installation::install_kinds(&client).await;
    for object in objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
        apply(&client, object).await;
    }
    let deployment = of_kind("Deployment");
    // Nobody makes it from the template here, and nobody starts it. The namespace refuses one that asks for too much.
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": NAMESPACE}});
    pod["metadata"]["labels"] = deployment["spec"]["template"]["metadata"]["labels"].clone();
    pod["spec"] = deployment["spec"]["template"]["spec"].clone();
    apply(&client, &pod).await;

    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let web = kustomization(&["map.yaml"]);
    repository
        .commit(&[("web/kustomization.yaml", &web), ("web/map.yaml", &config_map("map", "key", "one"))], "one")
        .await;
    let target = create_namespace(&client, "image").await;
    let identity = control_plane.kubeconfig_for_service_account(NAMESPACE, "gitmoor-agent").await;
    let server = Server::of(&json_of(identity.path()));
    let mut container = Container::start(&image, &deployment, &server);
    let scene = Scene::new(client.clone()).namespace(NAMESPACE).namespace(&target);
    container.await_ready().await;
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url(), "targetRevision": "main", "path": "web"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": target},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
        },
    });
    apply(&client, &application).await;
    let maps = api(&client, "v1/ConfigMap", Some(&target));
    let value = async |wanted: &str| {
        let map = maps.get_opt("map").await.unwrap();
        let found = map.and_then(|map| map.data["data"]["key"].as_str().map(str::to_owned));
        (found.as_deref() == Some(wanted))
            .then_some(())
            .ok_or_else(|| format!("{found:?}\n{}", container.process.tail(30)))
    };
    scene.eventually("the map is applied", PATIENCE, async || value("one").await).await;
    let pods = api(&client, "v1/Pod", Some(NAMESPACE));
    let leads = async || {
        let pod = pods.get(POD).await.unwrap();
        let leads =
            pod.metadata.labels.unwrap_or_default().get("gitmoor.dev/leader").is_some_and(|leads| leads == "true");
        leads.then_some(()).ok_or_else(|| container.process.tail(30))
    };
    scene.eventually("the pod that works is labelled", PATIENCE, leads).await;
    let log = fs::read_to_string(container.process.log()).unwrap();
    for refused in ["forbidden", "Read-only file system", "Permission denied"] {
        assert!(!log.contains(refused), "{log}");
    }

    // The other profile: the API server holds each Application to what its account may do.
    let bindings = api(&client, "rbac.authorization.k8s.io/v1/ClusterRoleBinding", None);
    bindings.delete("gitmoor-agent", &DeleteParams::default()).await.unwrap();
    for object in fork.build(&format!("{COMPONENT}/rbac/impersonating")) {
        apply(&client, &object).await;
    }
    let account = |kind: &str, version: &str, rest: Value| {
        let mut object = rest;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "deployer", "namespace": target});
        object
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    apply(&client, &account("ServiceAccount", "v1", json!({}))).await;
    let verbs = ["get", "create", "patch", "delete"];
    let rules = json!({"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
    apply(&client, &account("Role", rbac, rules)).await;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": target}],
    });
    apply(&client, &account("RoleBinding", rbac, binding)).await;
    let project = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": {"name": "team", "namespace": NAMESPACE},
        "spec": {
            "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
            "destinationServiceAccounts": [{"server": "*", "namespace": target, "defaultServiceAccount": "deployer"}],
        },
    });
    apply(&client, &project).await;
    let of_team = json!({"spec": {"project": "team"}});
    let applications = api(&client, "argoproj.io/v1alpha1/Application", Some(NAMESPACE));
    applications.patch("web", &PatchParams::default(), &Patch::Merge(&of_team)).await.unwrap();
    repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "two").await;
    scene.eventually("the map is changed by the account", PATIENCE, async || value("two").await).await;
    let two = kustomization(&["map.yaml", "secret.yaml"]);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\n";
    repository.commit(&[("web/kustomization.yaml", &two), ("web/secret.yaml", secret)], "more than it may").await;
    let refused = async || {
        let application = applications.get("web").await.unwrap();
        let conditions = application.data["status"]["conditions"].to_string();
        conditions
            .contains("Forbidden")
            .then_some(())
            .ok_or_else(|| format!("{conditions}\n{}", container.process.tail(30)))
    };
    scene.eventually("what the account may not do is refused", PATIENCE, refused).await;
    supervised::assert_running(&mut container.process);
}

/// The image, unpacked.
struct Image {
    scratch: Scratch,
}

impl Image {
    /// Builds it, twice: it is to be the same.
    fn build() -> Self {
        let scratch = Scratch::new("image");
        let digests = ["one", "two"].map(|name| {
            let archive = scratch.path().join(format!("{name}.tar"));
            run(Command::new(tools::workspace().join("agent/image/build.sh"))
                .arg(program("gitmoor-agent"))
                .arg(&archive)
                .env("TMPDIR", scratch.path()));
            let unpacked = scratch.folder(name);
            run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&unpacked));
            text(&json_of(&unpacked.join("index.json")), "/manifests/0/digest")
        });
        assert_eq!(digests[0], digests[1], "the same files give the same image");
        let blobs = scratch.path().join("one/blobs");
        let manifest = json_of(&blob(&blobs, &digests[0]));
        let root = scratch.folder("root");
        for layer in manifest["layers"].as_array().unwrap() {
            run(Command::new("tar").arg("-xf").arg(blob(&blobs, &text(layer, "/digest"))).arg("-C").arg(&root));
        }
        let config = json_of(&blob(&blobs, &text(&manifest, "/config/digest")));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/gitmoor-agent"]));
        assert!(config["config"]["Labels"]["org.opencontainers.image.revision"].is_string());
        Self { scratch }
    }
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap().to_owned()
}

fn blob(blobs: &Path, digest: &str) -> PathBuf {
    blobs.join(digest.replace(':', "/"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where the API server is, and who the agent is there.
struct Server {
    port: String,
    authority: String,
    token: String,
}

impl Server {
    fn of(kubeconfig: &Value) -> Self {
        use base64::Engine as _;

        let authority = text(kubeconfig, "/clusters/0/cluster/certificate-authority-data");
        let authority = base64::engine::general_purpose::STANDARD.decode(authority).unwrap();
        let url = text(kubeconfig, "/clusters/0/cluster/server");
        Self {
            port: url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned(),
            authority: String::from_utf8(authority).unwrap(),
            token: text(kubeconfig, "/users/0/user/token"),
        }
    }
}

/// The agent in its container.
struct Container {
    process: Supervised,
    port: u16,
}

impl Container {
    fn start(image: &Image, deployment: &Value, server: &Server) -> Self {
        let scratch = &image.scratch;
        let account = scratch.folder("account");
        for (name, content) in
            [("token", server.token.as_str()), ("ca.crt", &server.authority), ("namespace", NAMESPACE)]
        {
            fs::write(account.join(name), content).unwrap();
        }
        // Made by the runtime where it can write: here, before the root is read-only.
        fs::create_dir_all(scratch.path().join("root").join(&ACCOUNT[1..])).unwrap();
        for folder in ["proc", "dev", "sys"] {
            fs::create_dir_all(scratch.path().join("root").join(folder)).unwrap();
        }
        let port = free_port();
        let bundle = scratch.folder("bundle");
        let spec = specification(deployment, server, port, &scratch.path().join("root"), &account);
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        // The container ends with its process namespace, and that with `unshare`, however it ends.
        let process = supervised::spawn(Path::new("/usr/bin/unshare"), &scratch.path().join("agent.log"), |command| {
            command
                .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
                .args(["--pid", "--fork", "--kill-child", "--mount-proc", "runc", "--root"])
                .arg(scratch.folder("state"))
                .args(["run", "--bundle"])
                .arg(&bundle)
                .arg(format!("gitmoor-{port}"));
        });
        Self { process, port }
    }

    async fn await_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        let started = std::time::Instant::now();
        while !http::get(&url).await.is_ok_and(|answer| answer.status == 200) {
            supervised::assert_running(&mut self.process);
            assert!(started.elapsed() < PATIENCE, "not ready:\n{}", self.process.tail(40));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What the Deployment says, as the runtime reads it (OCI runtime specification).
fn specification(deployment: &Value, server: &Server, port: u16, root: &Path, account: &Path) -> Value {
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    let mut environment = vec![
        "PATH=/usr/bin".to_owned(),
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".to_owned(),
        "KUBERNETES_SERVICE_HOST=127.0.0.1".to_owned(),
        format!("KUBERNETES_SERVICE_PORT={}", server.port),
        "GITMOOR_POLL_INTERVAL=0.3".to_owned(),
    ];
    for variable in container["env"].as_array().unwrap() {
        let value = match variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str) {
            Some("metadata.namespace") => NAMESPACE.to_owned(),
            Some("metadata.name") => POD.to_owned(),
            Some(other) => panic!("{other}: no value here"),
            // The network is the host's.
            None if variable["name"] == "GITMOOR_HTTP_LISTEN" => format!("127.0.0.1:{port}"),
            None => text(variable, "/value"),
        };
        environment.push(format!("{}={value}", text(variable, "/name")));
    }
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": ACCOUNT, "type": "bind", "source": account, "options": ["bind", "ro"]}),
    ];
    for mount in container["volumeMounts"].as_array().unwrap() {
        let options = ["nosuid", "nodev", "mode=2777"];
        mounts.push(json!({
            "destination": mount["mountPath"], "type": "tmpfs", "source": "tmpfs", "options": options,
        }));
    }
    let user = &pod["securityContext"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "cwd": "/", "env": environment, "args": ["/usr/bin/gitmoor-agent"],
            "user": {"uid": user["runAsUser"], "gid": user["runAsGroup"]},
            "capabilities": {},
            "noNewPrivileges": container["securityContext"]["allowPrivilegeEscalation"] == false,
        },
        "root": {"path": root, "readonly": container["securityContext"]["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/keys"], "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
