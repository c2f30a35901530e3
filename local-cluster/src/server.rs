//! etcd and kube-apiserver.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::StartError;
use crate::certificates::{Authority, service_account_keys};
use crate::identity::{Identity, Server};
use crate::ports::free_port;
use crate::supervised::Supervised;

/// How long a part may take to become ready on a busy machine.
pub const READY: Duration = Duration::from_secs(90);
/// How often it is tried with other ports when another process was faster to take one.
const ATTEMPTS: usize = 5;
/// Everything, without bodies but those of deletions and of Jobs, which hooks are; a request once, when it is answered, and a watch when it starts.
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],
"omitManagedFields":true,"rules":[{"level":"Request","verbs":["delete"]},
{"level":"Request","verbs":["create"],"resources":[{"group":"batch","resources":["jobs"]}]},{"level":"Metadata"}]}"#;

/// What is started, and where.
#[derive(Clone, Debug)]
pub struct Start {
    /// An existing folder for its data and logs; whoever made it removes it.
    pub folder: PathBuf,
    /// The etcd program.
    pub etcd: PathBuf,
    /// The kube-apiserver program.
    pub kube_apiserver: PathBuf,
    /// Admission plugins that are off.
    pub without_admission: Vec<&'static str>,
}

/// Both, running. Dropping it kills them.
#[derive(Debug)]
pub struct ApiServer {
    /// kube-apiserver.
    pub api_server: Supervised,
    /// etcd.
    pub etcd: Supervised,
    /// Its address.
    pub server: Server,
    /// A user who may do everything.
    pub admin: Identity,
    place: Place,
}

/// Which ports and data they have.
#[derive(Clone, Copy, Debug)]
struct Place {
    etcd_port: u16,
    port: u16,
    attempt: usize,
}

impl Start {
    /// Starts both, again with other ports when one was taken meanwhile, and waits until they are ready.
    ///
    /// # Errors
    /// When a part does not become ready, with what it said last.
    pub async fn run(&self, authority: &Authority) -> Result<ApiServer, StartError> {
        self.write_keys(authority)?;
        let mut reason = String::new();
        for attempt in 1..=ATTEMPTS {
            let place = Place { etcd_port: free_port()?, port: free_port()?, attempt };
            let Place { etcd_port, port, .. } = place;
            let mut etcd = self.start_etcd(etcd_port, attempt)?;
            let mut api_server = self.start_api_server(etcd_port, port, attempt)?;
            let url = format!("https://127.0.0.1:{port}");
            let server = Server { url, authority: authority.certificate().to_owned() };
            let certified = authority.for_user("admin", Some("system:masters"))?;
            let admin = Identity::with_certificate(&server, "admin", &certified, &self.folder)?;
            match await_ready(&admin, &mut [&mut etcd, &mut api_server]).await {
                Err(StartError::NotReady(why)) if why.contains("address already in use") => reason = why,
                Err(error) => return Err(error),
                Ok(()) => return Ok(ApiServer { api_server, etcd, server, admin, place }),
            }
        }
        Err(StartError::NotReady(format!("no free ports in {ATTEMPTS} attempts: {reason}")))
    }

    /// The folder with all that etcd holds, to copy and to put back while it is stopped.
    pub fn data(&self, running: &ApiServer) -> PathBuf {
        self.folder.join(format!("etcd-{}", running.place.attempt))
    }

    /// Starts both again, where they were, after they were killed.
    ///
    /// # Errors
    /// When a part does not become ready, with what it said last.
    pub async fn run_again(&self, ended: &mut ApiServer) -> Result<(), StartError> {
        let Place { etcd_port, port, attempt } = ended.place;
        ended.etcd = self.start_etcd(etcd_port, attempt)?;
        ended.api_server = self.start_api_server(etcd_port, port, attempt)?;
        await_ready(&ended.admin, &mut [&mut ended.etcd, &mut ended.api_server]).await
    }

    /// The log of all requests.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    fn write_keys(&self, authority: &Authority) -> Result<(), StartError> {
        let server = authority.for_server()?;
        let (private, public) = service_account_keys()?;
        for (name, text) in [
            ("authority.crt", authority.certificate()),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("service-account.key", &private),
            ("service-account.pub", &public),
            ("audit-policy.json", AUDIT_POLICY),
        ] {
            let path = self.folder.join(name);
            std::fs::write(&path, text).map_err(StartError::io(format!("cannot write {}", path.display())))?;
        }
        Ok(())
    }

    fn start_etcd(&self, port: u16, attempt: usize) -> Result<Supervised, StartError> {
        let log = self.folder.join(format!("etcd-{attempt}.log"));
        Supervised::spawn(&self.etcd, &log, |command| {
            command
                .arg(flag("data-dir", &self.folder.join(format!("etcd-{attempt}"))))
                .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
                .arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"))
                .arg("--listen-peer-urls=http://127.0.0.1:0")
                .args(["--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296"]);
        })
    }

    fn start_api_server(&self, etcd_port: u16, port: u16, attempt: usize) -> Result<Supervised, StartError> {
        let folder = &self.folder;
        let log = folder.join(format!("kube-apiserver-{attempt}.log"));
        Supervised::spawn(&self.kube_apiserver, &log, |command| {
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
                .args([
                    "--service-cluster-ip-range=10.96.0.0/16",
                    "--authorization-mode=RBAC",
                    "--allow-privileged=true",
                ])
                .arg(flag("audit-policy-file", &folder.join("audit-policy.json")))
                .arg(flag("audit-log-path", &self.audit_log()))
                // A file that is never rotated: requests are counted from offsets in it.
                .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"]);
            if !self.without_admission.is_empty() {
                command.arg(format!("--disable-admission-plugins={}", self.without_admission.join(",")));
            }
        })
    }
}

/// `--name=path`
pub fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

async fn await_ready(admin: &Identity, programs: &mut [&mut Supervised]) -> Result<(), StartError> {
    let client = admin.client().await?;
    let started = Instant::now();
    loop {
        for program in programs.iter_mut() {
            program.ensure_running()?;
        }
        let request = http::Request::get("/readyz").body(Vec::new());
        if let Ok(request) = request
            && client.request_text(request).await.is_ok_and(|answer| answer == "ok")
        {
            return Ok(());
        }
        if started.elapsed() > READY {
            let said = programs.last().map(|program| program.tail(30)).unwrap_or_default();
            return Err(StartError::NotReady(format!("kube-apiserver is not ready after {READY:?}:\n{said}")));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
