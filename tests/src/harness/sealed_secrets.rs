//! The real sealed-secrets controller, and the pair of keys that it and its tools work with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde_json::{Value, json};

use super::await_state::eventually;
use super::control_plane::ControlPlane;
use super::http;
use super::identity::Identity;
use super::installation::{api, apply};
use super::ports::free_port;
use super::scratch::Scratch;
use super::supervised::{self, Supervised};
use super::tools::tool;

/// How long the controller may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a pod finds its ServiceAccount, and this controller is a pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A sealing certificate and its private key, both as PEM.
#[derive(Clone, Debug)]
pub struct SealingPair {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: String,
}

impl SealingPair {
    /// One with 2048 bits that is valid in these years: fast to make.
    pub fn new(years: (i32, i32)) -> Self {
        Self::of_size(RsaKeySize::_2048, years)
    }

    /// One as the controller makes it.
    pub fn as_in_production() -> Self {
        Self::of_size(RsaKeySize::_4096, (2020, 2050))
    }

    fn of_size(size: RsaKeySize, years: (i32, i32)) -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).expect("a key can be made");
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "sealing");
        (parameters.not_before, parameters.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let certificate = parameters.self_signed(&key).expect("a certificate can be made").pem();
        Self { certificate, key: key.serialize_pem() }
    }

    /// The Secret in which the controller keeps a pair.
    pub fn secret(&self, namespace: &str, name: &str) -> Value {
        let data = json!({ "tls.crt": STANDARD.encode(&self.certificate), "tls.key": STANDARD.encode(&self.key) });
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
            "metadata": {
                "name": name, "namespace": namespace,
                "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": "active" },
            },
        })
    }
}

/// A running controller with its Service. Dropping it stops it.
pub struct Controller {
    process: Supervised,
    /// Its namespace.
    pub namespace: String,
    scratch: Scratch,
    identity: Identity,
    address: SocketAddr,
    client: kube::Client,
}

/// The name of its Service: the usual one.
pub const SERVICE: &str = "sealed-secrets-controller";

/// Label of what a controller opens; its value is the controller's namespace.
const LABEL: &str = "sealed-secrets-controller";

/// Becomes the controller, in a mount namespace of its own in which it finds a ServiceAccount where a pod has it.
const AS_A_POD: &str =
    r#"mount -t tmpfs tmpfs /var/run && mkdir -p "$1" && cp "$2/token" "$2/ca.crt" "$1" && shift 2 && exec "$@""#;

impl Controller {
    /// Starts one in a namespace, with the pairs that lie in it, and waits until it serves. It opens what carries
    /// its label, so that several can run side by side.
    ///
    /// # Panics
    /// When it does not start: it needs `unshare` and unprivileged user namespaces, or root.
    pub async fn start(control_plane: &ControlPlane, namespace: &str) -> Self {
        let client = control_plane.client().await;
        let scratch = Scratch::new("sealed-secrets");
        let identity = control_plane.kubeconfig_for_service_account(namespace, SERVICE).await;
        apply(&client, &administrator(namespace)).await;
        write_account(&scratch, &identity);
        let address = SocketAddr::new(proxied_address(), free_port());
        let process = spawn(&scratch, namespace, control_plane.url(), address);
        claim_pod(&client, namespace, address).await;
        for object in service(namespace, address) {
            apply(&client, &object).await;
        }
        let namespace = namespace.to_owned();
        let mut controller = Self { process, namespace, scratch, identity, address, client };
        controller.await_ready().await;
        controller
    }

    /// Stops it and starts it again, with the pairs that lie in its namespace now.
    pub async fn restart(&mut self, control_plane: &ControlPlane) {
        self.process.kill();
        self.process = spawn(&self.scratch, &self.namespace, control_plane.url(), self.address);
        self.await_ready().await;
    }

    /// Applies a SealedSecret for it to open.
    pub async fn give(&self, sealed: &Value) {
        let mut sealed = sealed.clone();
        sealed["metadata"]["labels"][LABEL] = Value::from(self.namespace.as_str());
        apply(&self.client, &sealed).await;
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.tail(1000)
    }

    /// Waits until a Secret of these values is there.
    pub async fn await_unsealed(&self, namespace: &str, name: &str, data: &Value) {
        let secrets: Api<DynamicObject> = api(&self.client, "v1/Secret", Some(namespace));
        let what = format!("Secret {namespace}/{name} is unsealed");
        eventually(&what, PATIENCE, async || match secrets.get_opt(name).await {
            Ok(Some(secret)) if secret.data["data"] == *data => Ok(()),
            Ok(Some(_)) => Err("it holds something else".to_owned()),
            Ok(None) => Err(format!("there is none; the controller: {}", self.process.tail(5))),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    /// Waits until it says that it cannot open a SealedSecret, and checks that there is no Secret.
    pub async fn await_refused(&self, namespace: &str, name: &str) {
        let sealed: Api<DynamicObject> = api(&self.client, "bitnami.com/v1alpha1/SealedSecret", Some(namespace));
        let what = format!("SealedSecret {namespace}/{name} is refused");
        eventually(&what, PATIENCE, async || {
            let object = sealed.get(name).await.map_err(|error| error.to_string())?;
            let status = &object.data["status"]["conditions"][0]["status"];
            if status == "False" { Ok(()) } else { Err(object.data["status"].to_string()) }
        })
        .await;
        let secrets: Api<DynamicObject> = api(&self.client, "v1/Secret", Some(namespace));
        assert!(secrets.get_opt(name).await.expect("Secrets can be read").is_none(), "{namespace}/{name} was unsealed");
    }

    async fn await_ready(&mut self) {
        let url = format!("http://{}/v1/cert.pem", self.address);
        eventually("the sealed-secrets controller serves", PATIENCE, async || {
            if self.process.exited().is_some() {
                return Err(format!("it has ended: {}", self.process.tail(20)));
            }
            match http::get(&url).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}: {}", self.process.tail(5))),
            }
        })
        .await;
        // The API server learns of Services and endpoints by and by.
        let path = format!("/api/v1/namespaces/{}/services/http:{SERVICE}:http/proxy/healthz", self.namespace);
        eventually("the controller is reached through the API server", PATIENCE, async || {
            let request = Request::get(&path).body(Vec::new()).expect("a request can be made");
            // The client tries again by itself, and ever more slowly.
            let answer = tokio::time::timeout(Duration::from_secs(1), self.client.request_text(request)).await;
            answer.map_err(|_| "no answer".to_owned())?.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The user that it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

fn spawn(scratch: &Scratch, namespace: &str, server: &str, address: SocketAddr) -> Supervised {
    let log = scratch.path().join("controller.log");
    let (host, port) = server.trim_start_matches("https://").rsplit_once(':').expect("a URL with a port");
    supervised::spawn(Path::new("/usr/bin/env"), &log, |command| {
        command
            .args(["unshare", "--mount", "--map-root-user", "sh", "-c", AS_A_POD, "sh", ACCOUNT])
            .arg(scratch.path())
            .arg(tool("sealed-secrets-controller"))
            .arg("--key-renew-period=0")
            .arg(format!("--label-selector={LABEL}={namespace}"))
            .arg(format!("--listen-addr={address}"))
            .arg(format!("--listen-metrics-addr=127.0.0.1:{}", free_port()))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("POD_NAMESPACE", namespace)
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port);
    })
}

fn write_account(scratch: &Scratch, identity: &Identity) {
    let text = std::fs::read_to_string(identity.path()).expect("a kubeconfig can be read");
    let kubeconfig: Value = serde_json::from_str(&text).expect("a kubeconfig of the harness is JSON");
    let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("an authority");
    scratch.write("ca.crt", STANDARD.decode(authority).expect("base64"));
    scratch.write("token", kubeconfig["users"][0]["user"]["token"].as_str().expect("a token"));
}

fn administrator(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("{SERVICE}-{namespace}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": SERVICE, "namespace": namespace }],
    })
}

/// The pod that the controller is said to be: the API server's proxy goes to addresses of pods only.
async fn claim_pod(client: &kube::Client, namespace: &str, address: SocketAddr) {
    let container = json!({ "name": "controller", "image": "example.com/sealed-secrets-controller" });
    let spec =
        json!({ "serviceAccountName": SERVICE, "automountServiceAccountToken": false, "containers": [container] });
    let metadata = json!({ "name": SERVICE, "namespace": namespace });
    apply(client, &json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })).await;
    let ip = address.ip().to_string();
    let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] } });
    let pods: Api<DynamicObject> = api(client, "v1/Pod", Some(namespace));
    pods.patch_status(SERVICE, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status can be set");
}

/// The Service and its one endpoint, in both forms in which a control plane with controllers has it.
fn service(namespace: &str, address: SocketAddr) -> [Value; 3] {
    let metadata = json!({ "name": SERVICE, "namespace": namespace });
    let pod = json!({ "kind": "Pod", "name": SERVICE, "namespace": namespace });
    let labelled =
        json!({ "name": SERVICE, "namespace": namespace, "labels": { "kubernetes.io/service-name": SERVICE } });
    let port = json!({ "name": "http", "port": 8080, "protocol": "TCP" });
    [
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "ports": [port] } }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": labelled, "addressType": "IPv4",
            "endpoints": [{
                "addresses": [address.ip().to_string()], "conditions": { "ready": true }, "targetRef": pod,
            }],
            "ports": [{ "name": "http", "port": address.port(), "protocol": "TCP" }],
        }),
        json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": metadata,
            "subsets": [{
                "addresses": [{ "ip": address.ip().to_string(), "targetRef": pod }],
                "ports": [{ "name": "http", "port": address.port(), "protocol": "TCP" }],
            }],
        }),
    ]
}

/// The API server passes nothing on to loopback, so this is the machine's own address. Asking for the way to a
/// documentation address (RFC 5737) sends nothing.
fn proxied_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket can be made");
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).expect("the machine has a network");
    socket.local_addr().expect("a connected socket has an address").ip()
}

/// The kind SealedSecret, from a file.
pub async fn install_kind(client: &kube::Client, definition: &Path) {
    let text = std::fs::read_to_string(definition).expect("a file can be read");
    let definition: Value = serde_yaml::from_str(&text).expect("the definition is YAML");
    apply(client, &definition).await;
    let sealed: Api<DynamicObject> = api(client, "bitnami.com/v1alpha1/SealedSecret", Some("default"));
    eventually("the kind SealedSecret is served", PATIENCE, async || {
        sealed.list(&kube::api::ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// The real kubeseal.
pub fn kubeseal() -> PathBuf {
    tool("kubeseal")
}
