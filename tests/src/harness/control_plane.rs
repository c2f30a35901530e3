//! A Kubernetes control plane: etcd and kube-apiserver, with RBAC and an audit
//! log; on request also the controllers, the scheduler and fake nodes.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::OnceCell;

use super::audit::Audit;
use super::certificates::{Authority, service_account_keys};
use super::identity::{Identity, Server};
use super::nodes;
use super::ports::free_port;
use super::scratch::Scratch;
use super::supervised::Supervised;
use super::tools::tool;

/// How long a part may take to become ready on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// How often it is tried with other ports when another process was faster to take one.
const ATTEMPTS: usize = 5;
/// Everything, without bodies but those of deletions and of Jobs, which hooks are; a request once, when it is answered, and a watch when it starts.
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],
"omitManagedFields":true,"rules":[{"level":"Request","verbs":["delete"]},
{"level":"Request","verbs":["create"],"resources":[{"group":"batch","resources":["jobs"]}]},{"level":"Metadata"}]}"#;

/// What a control plane has besides etcd and kube-apiserver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builder {
    controllers: bool,
    scheduler: bool,
    kwok_nodes: usize,
}

impl Builder {
    /// With kube-controller-manager: Deployments make pods, namespaces are
    /// really deleted, garbage is collected.
    pub fn controllers(mut self, wanted: bool) -> Self {
        self.controllers = wanted;
        self
    }

    /// With kube-scheduler.
    pub fn scheduler(mut self, wanted: bool) -> Self {
        self.scheduler = wanted;
        self
    }

    /// With kwok and so many nodes, on which every pod is ready at once.
    pub fn kwok_nodes(mut self, count: usize) -> Self {
        self.kwok_nodes = count;
        self
    }

    /// Starts it and waits until all of it is ready.
    ///
    /// # Panics
    /// When a part does not become ready, with what it said last.
    pub async fn start(self) -> ControlPlane {
        let scratch = Scratch::new("control-plane");
        let authority = Authority::new();
        write_keys(&scratch, &authority);

        let core = start_core(&scratch, &authority, self.controllers).await;
        let mut control_plane = ControlPlane {
            core,
            others: Vec::new(),
            audit: Audit::new(audit_log(&scratch)),
            authority,
            scratch,
            tokens: AtomicUsize::new(0),
        };
        if self.controllers {
            control_plane.start_controllers();
        }
        if self.scheduler {
            control_plane.start_scheduler();
        }
        if self.kwok_nodes > 0 {
            let kwok = control_plane.component("kwok");
            control_plane.others.push(nodes::start_kwok(&control_plane.scratch, &kwok));
            nodes::create(&control_plane.client().await, self.kwok_nodes).await;
        }
        control_plane.await_others(self).await;
        control_plane
    }
}

/// A running control plane. Dropping it kills and removes all of it.
pub struct ControlPlane {
    others: Vec<Supervised>,
    core: Core,
    audit: Audit,
    authority: Authority,
    tokens: AtomicUsize,
    // Last: goes when nothing writes to it any more.
    scratch: Scratch,
}

/// What every control plane has.
struct Core {
    api_server: Supervised,
    etcd: Supervised,
    server: Server,
    admin: Identity,
}

impl ControlPlane {
    /// The parts to choose from.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One without controllers for all tests of this process: objects are
    /// stored and served, and nothing happens to them. Namespaces never end.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::builder().start()).await
    }

    /// One with controllers, scheduler and two nodes for all tests of this process.
    pub async fn shared_with_nodes() -> &'static Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::builder().controllers(true).scheduler(true).kwok_nodes(2).start()).await
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.core.server.url
    }

    /// The folder that holds its data and logs.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// A user who may do everything.
    pub fn admin(&self) -> &Identity {
        &self.core.admin
    }

    /// A new client of [`Self::admin`], for the running tokio runtime.
    pub async fn client(&self) -> kube::Client {
        self.admin().client().await
    }

    /// The requests that were made to it.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A user called `name`, who may do what RBAC allows to the name or the
    /// group; with the group `system:masters`, everything.
    pub fn kubeconfig_for_user(&self, name: &str, group: Option<&str>) -> Identity {
        let certified = self.authority.for_user(name, group);
        Identity::with_certificate(&self.core.server, name, &certified, &self.identities())
    }

    /// The service account `name`, which is made when it is not there; its token is good for a day.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Identity {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(name.to_owned());
        match accounts.create(&PostParams::default(), &account).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("service account {namespace}/{name}: {error}"),
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap_or_else(|error| panic!("token for service account {namespace}/{name}: {error}"));
        let token = answer.status.and_then(|status| status.token).expect("an answered token request has a token");
        let user = format!("system:serviceaccount:{namespace}:{name}");
        Identity::with_token(&self.core.server, &user, &token, &self.identities())
    }

    /// The process id of kube-apiserver.
    pub fn api_server_pid(&self) -> u32 {
        self.core.api_server.pid()
    }

    /// The process id of etcd.
    pub fn etcd_pid(&self) -> u32 {
        self.core.etcd.pid()
    }

    /// A folder of its own for each, so that two of the same name do not overwrite each other.
    fn identities(&self) -> std::path::PathBuf {
        self.scratch.folder(&format!("users/{}", self.tokens.fetch_add(1, Ordering::Relaxed)))
    }

    /// The identity of a part of the control plane.
    fn component(&self, name: &str) -> Identity {
        self.kubeconfig_for_user(&format!("system:{name}"), Some("system:masters"))
    }

    fn start_controllers(&mut self) {
        let identity = self.component("kube-controller-manager");
        let folder = self.scratch.path();
        let log = folder.join("kube-controller-manager.log");
        let program = Supervised::spawn(&tool("kube-controller-manager"), &log, |command| {
            command
                .arg(flag("kubeconfig", identity.path()))
                .arg(flag("service-account-private-key-file", &folder.join("service-account.key")))
                .arg(flag("root-ca-file", &folder.join("authority.crt")))
                .args(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=300", "--kube-api-burst=600"]);
        });
        self.others.push(program);
    }

    fn start_scheduler(&mut self) {
        let identity = self.component("kube-scheduler");
        let log = self.scratch.path().join("kube-scheduler.log");
        let program = Supervised::spawn(&tool("kube-scheduler"), &log, |command| {
            command.arg(flag("kubeconfig", identity.path())).args([
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=300",
                "--kube-api-burst=600",
            ]);
        });
        self.others.push(program);
    }

    async fn await_others(&mut self, wanted: Builder) {
        let client = self.client().await;
        let started = Instant::now();
        loop {
            self.others.iter_mut().for_each(Supervised::assert_running);
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
            let controllers = !wanted.controllers || matches!(accounts.get_opt("default").await, Ok(Some(_)));
            if controllers && nodes::ready(&client).await >= wanted.kwok_nodes {
                return;
            }
            assert!(started.elapsed() < READY, "controllers or nodes are not ready after {READY:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `--name=path`
pub(super) fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn audit_log(scratch: &Scratch) -> std::path::PathBuf {
    scratch.path().join("audit.log")
}

fn write_keys(scratch: &Scratch, authority: &Authority) {
    let server = authority.for_server();
    scratch.write("authority.crt", authority.certificate());
    scratch.write("server.crt", server.certificate);
    scratch.write("server.key", server.key);
    let (private, public) = service_account_keys();
    scratch.write("service-account.key", private);
    scratch.write("service-account.pub", public);
    scratch.write("audit-policy.json", AUDIT_POLICY);
}

/// Starts etcd and kube-apiserver, again with other ports when one was taken meanwhile.
async fn start_core(scratch: &Scratch, authority: &Authority, controllers: bool) -> Core {
    for attempt in 1..=ATTEMPTS {
        let (etcd_port, port) = (free_port(), free_port());
        let mut etcd = start_etcd(scratch, etcd_port, attempt);
        let mut api_server = start_api_server(scratch, etcd_port, port, attempt, controllers);
        let server = Server { url: format!("https://127.0.0.1:{port}"), authority: authority.certificate().to_owned() };
        let certified = authority.for_user("admin", Some("system:masters"));
        let admin = Identity::with_certificate(&server, "admin", &certified, scratch.path());
        match await_ready(&admin, &mut [&mut etcd, &mut api_server]).await {
            Ok(()) => return Core { api_server, etcd, server, admin },
            Err(reason) if reason.contains("address already in use") => {}
            Err(reason) => panic!("the control plane does not start: {reason}"),
        }
    }
    panic!("the control plane found no free ports in {ATTEMPTS} attempts")
}

fn start_etcd(scratch: &Scratch, port: u16, attempt: usize) -> Supervised {
    let log = scratch.path().join(format!("etcd-{attempt}.log"));
    Supervised::spawn(&tool("etcd"), &log, |command| {
        command
            .arg(flag("data-dir", &scratch.path().join(format!("etcd-{attempt}"))))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"))
            .arg("--listen-peer-urls=http://127.0.0.1:0")
            .args(["--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296"]);
    })
}

fn start_api_server(scratch: &Scratch, etcd_port: u16, port: u16, attempt: usize, controllers: bool) -> Supervised {
    let folder = scratch.path();
    let log = folder.join(format!("kube-apiserver-{attempt}.log"));
    Supervised::spawn(&tool("kube-apiserver"), &log, |command| {
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .arg(format!("--secure-port={port}"))
            .arg(flag("tls-cert-file", &folder.join("server.crt")))
            .arg(flag("tls-private-key-file", &folder.join("server.key")))
            .arg(flag("client-ca-file", &folder.join("authority.crt")))
            .arg(flag("service-account-key-file", &folder.join("service-account.pub")))
            .arg(flag("service-account-signing-key-file", &folder.join("service-account.key")))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--allow-privileged=true"])
            .arg(flag("audit-policy-file", &folder.join("audit-policy.json")))
            .arg(flag("audit-log-path", &audit_log(scratch)))
            // A file that is never rotated: requests are counted from offsets in it.
            .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"]);
        if !controllers {
            // Nobody makes the default service account that it asks for.
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
    })
}

async fn await_ready(admin: &Identity, programs: &mut [&mut Supervised]) -> Result<(), String> {
    let client = admin.client().await;
    let started = Instant::now();
    loop {
        for program in programs.iter_mut() {
            if let Some(status) = program.exited() {
                return Err(format!("{} ended with {status}:\n{}", program.name(), program.tail(30)));
            }
        }
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a valid request");
        if client.request_text(request).await.is_ok_and(|answer| answer == "ok") {
            return Ok(());
        }
        if started.elapsed() > READY {
            return Err(format!("kube-apiserver is not ready after {READY:?}:\n{}", programs[1].tail(30)));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
