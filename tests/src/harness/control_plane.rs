//! A Kubernetes control plane: etcd and kube-apiserver, with RBAC and an audit
//! log; on request also the controllers, the scheduler and fake nodes.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gitmoor_local_cluster::server::{ApiServer, READY, Start, flag};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::OnceCell;

use super::audit::Audit;
use super::certificates::{Authority, authority};
use super::identity::Identity;
use super::nodes;
use super::scratch::Scratch;
use super::supervised::{self, Supervised};
use super::tools::tool;

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
        let authority = authority();
        let start = Start {
            folder: scratch.path().to_owned(),
            etcd: tool("etcd"),
            kube_apiserver: tool("kube-apiserver"),
            // Without controllers nobody makes the default service account that it asks for.
            without_admission: if self.controllers { Vec::new() } else { vec!["ServiceAccount"] },
        };
        let core = start.run(&authority).await.unwrap_or_else(|error| panic!("{error}"));
        let mut control_plane = ControlPlane {
            core,
            start: start.clone(),
            others: Vec::new(),
            audit: Audit::new(start.audit_log()),
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
    core: ApiServer,
    start: Start,
    audit: Audit,
    authority: Authority,
    tokens: AtomicUsize,
    // Last: goes when nothing writes to it any more.
    scratch: Scratch,
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
        self.admin().client().await.expect("a client can be made")
    }

    /// The requests that were made to it.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A user called `name`, who may do what RBAC allows to the name or the
    /// group; with the group `system:masters`, everything.
    pub fn kubeconfig_for_user(&self, name: &str, group: Option<&str>) -> Identity {
        let certified = self.authority.for_user(name, group).expect("a certificate can be made");
        Identity::with_certificate(&self.core.server, name, &certified, &self.identities())
            .expect("a kubeconfig can be written")
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
        Identity::with_token(&self.core.server, &user, &token, &self.identities()).expect("a kubeconfig can be written")
    }

    /// The process id of kube-apiserver.
    pub fn api_server_pid(&self) -> u32 {
        self.core.api_server.pid()
    }

    /// The process id of etcd.
    pub fn etcd_pid(&self) -> u32 {
        self.core.etcd.pid()
    }

    /// Copies all that etcd holds into the folder `backup` of the control plane's own folder. Both stop meanwhile.
    ///
    /// # Panics
    /// When it cannot be copied, or they do not start again.
    pub async fn back_up(&mut self, backup: &str) {
        let to = self.scratch.path().join(backup);
        self.stopped(|data| copy_folder(data, &to)).await;
    }

    /// Puts a backup in place of what etcd holds, as a restore after a disaster does.
    ///
    /// # Panics
    /// When it cannot be copied, or they do not start again.
    pub async fn restore(&mut self, backup: &str) {
        let from = self.scratch.path().join(backup);
        self.stopped(|data| {
            std::fs::remove_dir_all(data)?;
            copy_folder(&from, data)
        })
        .await;
    }

    async fn stopped(&mut self, act: impl FnOnce(&Path) -> std::io::Result<()>) {
        self.core.api_server.kill();
        self.core.etcd.kill();
        act(&self.start.data(&self.core)).expect("etcd's data can be copied");
        self.start.run_again(&mut self.core).await.unwrap_or_else(|error| panic!("{error}"));
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
        let program = supervised::spawn(&tool("kube-controller-manager"), &log, |command| {
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
        let program = supervised::spawn(&tool("kube-scheduler"), &log, |command| {
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
            self.others.iter_mut().for_each(supervised::assert_running);
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

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target).map(drop)?;
        }
    }
    Ok(())
}
