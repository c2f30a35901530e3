//! Everything that a rehearsal runs on: API server, repository, stand-ins, agent. It ends with its value.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gitmoor_core::{
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    object::{GroupKind, text_at},
    resource::{Resource, Resources},
};
use gitmoor_engine::cluster::Cluster;
use gitmoor_local_cluster::{
    StartError,
    certificates::Authority,
    ports::free_port,
    server::{ApiServer, Start},
    supervised::Supervised,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Arguments, findings::Finding, repository, stand_ins};
use crate::{
    failure::{Exit, Failure},
    fleet::{AllBound, Prepared, Surveyor},
    settings,
};

/// The kinds that the agent brings, as the distribution ships them.
const DEFINITIONS: [&str; 7] = [
    include_str!("../../../../distribution/components/gitmoor/crds/application.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/appproject.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/clusterexternalsecret.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/clustersecretstore.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/externalsecret.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/kubernetes-client-externalsecret.yaml"),
    include_str!("../../../../distribution/components/gitmoor/crds/secretstore.yaml"),
];
/// What is off: nobody makes ServiceAccounts, and webhooks would refuse every request, since nobody runs.
const WITHOUT_ADMISSION: [&str; 3] = ["ServiceAccount", "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"];
/// The user agent of the agent's requests begins so.
const AGENT: &str = "gitmoor-agent";

/// A stage. Its parts end in this order.
pub(super) struct Stage {
    _agent: Supervised,
    cluster: Cluster,
    resources: Resources,
    api_server: ApiServer,
    audit_log: PathBuf,
    _folder: TempDir,
}

fn failed(error: StartError) -> Failure {
    Failure::io("the rehearsal cannot start", &error)
}

impl Stage {
    /// Starts all of it, and applies the roots.
    pub(super) async fn set(
        arguments: &Arguments,
        prepared: &Prepared,
        surveyor: &Surveyor,
        bound: &AllBound,
        namespace: &str,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| failed(StartError::io("cannot make a folder")(error)))?;
        let start = Start {
            folder: folder.path().to_owned(),
            etcd: tool(arguments, "etcd")?,
            kube_apiserver: tool(arguments, "kube-apiserver")?,
            without_admission: WITHOUT_ADMISSION.to_vec(),
        };
        let agent = agent_program(arguments)?;
        let authority = Authority::new().map_err(|error| failed(error.into()))?;
        let api_server = start.run(&authority).await.map_err(failed)?;
        let kubeconfig = api_server.admin.path().to_owned();
        let cluster = Cluster::connect_as(Some(&kubeconfig), None, "gitmoor-rehearse").await;
        let cluster = cluster.map_err(|error| Failure::io("cannot reach the local API server", &error))?;
        let repository = folder.path().join("repository.git");
        repository::make(prepared, &repository, surveyor.own_revision())?;
        let resources = prepare(&cluster, namespace).await?;
        let aws = stand_ins::serve_aws(bound).await?;
        let launch = Launch { program: agent, folder: folder.path(), kubeconfig, namespace, aws };
        let process = launch.start(prepared, surveyor, &repository).map_err(failed)?;
        let stage =
            Self { _agent: process, cluster, resources, api_server, audit_log: start.audit_log(), _folder: folder };
        let ground = prepared.present()?;
        for mut root in prepared.wanted_roots(&ground)? {
            root["metadata"]["namespace"] = json!(namespace);
            stage.apply(&root).await?;
        }
        Ok(stage)
    }

    /// Where the API server is.
    pub(super) fn url(&self) -> &str {
        &self.api_server.server.url
    }

    /// All Applications as they are now.
    pub(super) async fn applications(&self) -> Result<Vec<Value>, Failure> {
        let listed = self.cluster.list(self.kind(APPLICATION_GROUP, APPLICATION_KIND)?, None).await;
        listed.map_err(|error| Failure::io("cannot list the Applications", &error))
    }

    /// Makes ready what waits for controllers that do not run here.
    pub(super) async fn stand_in(&self, applications: &[Value]) {
        stand_ins::make_ready(&self.cluster, applications).await;
    }

    /// Objects in versions that the API server calls deprecated, as its audit log has them.
    pub(super) fn deprecated(&self) -> Vec<Finding> {
        let log = fs::read_to_string(&self.audit_log).unwrap_or_default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found: Vec<Finding> = events.filter_map(|event| deprecated(&event)).collect();
        found.sort();
        found.dedup();
        found
    }

    fn kind(&self, group: &str, kind: &str) -> Result<&Resource, Failure> {
        let kind = GroupKind::new(group, kind);
        let found = self.resources.preferred(&kind);
        found.ok_or_else(|| Failure::new(Exit::Io, format!("the local API server does not serve {kind}")))
    }

    async fn apply(&self, object: &Value) -> Result<(), Failure> {
        let namespace = text_at(object, &["metadata", "namespace"]);
        let kind = self.kind(APPLICATION_GROUP, APPLICATION_KIND)?;
        let created = self.cluster.create(kind, namespace, object).await;
        created.map(drop).map_err(|error| Failure::io("the root Application is refused", &error))
    }
}

/// The kinds of the agent, and its namespace.
async fn prepare(cluster: &Cluster, namespace: &str) -> Result<Resources, Failure> {
    let refused =
        |error: gitmoor_engine::cluster::ClusterError| Failure::io("the local cluster cannot be prepared", &error);
    let before = cluster.discover().await.map_err(refused)?;
    let missing = || Failure::new(Exit::Io, "the local API server lacks a built-in kind");
    let definitions = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
    let definitions = before.preferred(&definitions).ok_or_else(missing)?;
    for text in DEFINITIONS {
        let documents = gitmoor_core::yaml::read_documents(text, &gitmoor_core::yaml::Limits::default());
        for document in documents.unwrap_or_default() {
            cluster.create(definitions, None, &document.value).await.map_err(refused)?;
        }
    }
    let namespaces = before.preferred(&GroupKind::new("", "Namespace")).ok_or_else(missing)?;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.create(namespaces, None, &object).await.map_err(refused)?;
    let application = GroupKind::new(APPLICATION_GROUP, APPLICATION_KIND);
    for _ in 0..200 {
        let resources = cluster.discover().await.map_err(refused)?;
        if resources.preferred(&application).is_some() {
            return Ok(resources);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err(Failure::new(Exit::Io, "the local API server does not serve Applications"))
}

fn deprecated(event: &Value) -> Option<Finding> {
    let by_agent = text_at(event, &["userAgent"])?.starts_with(AGENT);
    let writes = matches!(event["verb"].as_str()?, "patch" | "create");
    let notes = &event["annotations"];
    if !by_agent || !writes || notes["k8s.io/deprecated"] != "true" {
        return None;
    }
    let of = |key: &str| text_at(event, &["objectRef", key]).unwrap_or_default();
    let version = [of("apiGroup"), of("apiVersion")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let removed = notes["k8s.io/removed-release"].as_str();
    let removed = removed.map(|release| format!(" and goes in {release}")).unwrap_or_default();
    let namespace = if of("namespace").is_empty() { String::new() } else { format!("{}/", of("namespace")) };
    let message = format!("{} {namespace}{}: {} is deprecated{removed}", of("resource"), of("name"), version.join("/"));
    Some(Finding { category: "Deprecated".to_owned(), application: String::new(), message })
}

fn tool(arguments: &Arguments, name: &str) -> Result<PathBuf, Failure> {
    let assets = settings::variable("KUBEBUILDER_ASSETS").filter(|path| !path.is_empty()).map(PathBuf::from);
    let folder = arguments.tools.clone().or(assets);
    let path = match folder {
        Some(folder) => folder.join(name),
        None => settings::find_program(Path::new(name)),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(Exit::Io, format!("there is no {}", path.display()))
        .hint("install both with setup-envtest, and set KUBEBUILDER_ASSETS to the folder, or name it with --tools"))
}

fn agent_program(arguments: &Arguments) -> Result<PathBuf, Failure> {
    if let Some(program) = &arguments.agent {
        return Ok(settings::find_program(program));
    }
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(AGENT)));
    let found = beside.filter(|path| path.is_file()).unwrap_or_else(|| settings::find_program(Path::new(AGENT)));
    if found.is_file() {
        return Ok(found);
    }
    Err(Failure::new(Exit::Io, "there is no gitmoor-agent").hint("put it beside gitmoor, or name it with --agent"))
}

/// How the agent is started.
struct Launch<'a> {
    program: PathBuf,
    folder: &'a Path,
    kubeconfig: PathBuf,
    namespace: &'a str,
    /// Where AWS is answered.
    aws: String,
}

impl Launch<'_> {
    fn start(&self, prepared: &Prepared, surveyor: &Surveyor, repository: &Path) -> Result<Supervised, StartError> {
        let port = free_port()?;
        for name in ["data", "renders"] {
            fs::create_dir_all(self.folder.join(name)).map_err(StartError::io("cannot make a folder"))?;
        }
        let (kustomize, helm) = surveyor.programs();
        let log = self.folder.join("agent.log");
        let replacements = surveyor.own_addresses().into_iter().map(|url| format!("{url}={}", repository.display()));
        let replacements: Vec<String> = replacements.chain(prepared.replacements()).collect();
        Supervised::spawn(&self.program, &log, |command| {
            command
                .envs(settings::environment().into_iter().filter(|(name, _)| is_passed_on(name)))
                .env("KUBECONFIG", &self.kubeconfig)
                .env("GITMOOR_KUSTOMIZE", kustomize)
                .env("GITMOOR_HELM", helm)
                .env("AWS_ENDPOINT_URL", &self.aws)
                .envs([("AWS_ACCESS_KEY_ID", "rehearsal"), ("AWS_SECRET_ACCESS_KEY", "rehearsal")])
                .envs([("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true"), ("RUST_LOG", "info")])
                .arg(format!("--namespace={}", self.namespace))
                .arg(format!("--data-dir={}", self.folder.join("data").display()))
                .arg(format!("--scratch-dir={}", self.folder.join("renders").display()))
                .arg(format!("--http-listen=127.0.0.1:{port}"))
                // Which namespaces may use the agent's own role is said where it is installed.
                .args(["--poll-interval=1", "--secrets-own-role-namespaces=*"]);
            for replacement in replacements {
                command.arg(format!("--replace-source={replacement}"));
            }
        })
    }
}

/// Where certificates and proxies are: charts may have to be fetched.
fn is_passed_on(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with("_proxy") || lower.starts_with("ssl_cert") || lower == "home"
}
