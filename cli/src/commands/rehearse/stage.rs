//! Everything that a rehearsal runs on: API server, repository, stand-ins, agent. It ends with its value.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use gitmoor_core::{
    builtin,
    names::{ANNOTATION_REFRESH, APPLICATION_GROUP, APPLICATION_KIND},
    object::{GroupKind, annotation, text_at},
    status::merge_patch,
    tracking::ApplicationKey,
};
use gitmoor_engine::cluster::{Cluster, ClusterError};
use gitmoor_local_cluster::{
    StartError,
    certificates::Authority,
    ports::free_port,
    server::{ApiServer, Start},
    supervised::Supervised,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Arguments,
    asked::Asked,
    aws::StandInAws,
    controllers,
    findings::Finding,
    repository::Published,
    tree::{Files, Versioned},
};
use crate::{
    download,
    failure::{Exit, Failure},
    fleet::{Prepared, Surveyor},
    settings,
};

/// How often the API server may be too busy to list.
const TRIES: usize = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
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
/// The category of root Applications that the API server refuses.
const REFUSED: &str = "RootRefused";
/// The user agent of the agent's requests begins so.
const AGENT: &str = "gitmoor-agent";

/// A stage. Its parts end in this order.
pub(super) struct Stage {
    agent: RunningAgent,
    cluster: Cluster,
    namespace: String,
    published: Published,
    aws: StandInAws,
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
        files: &Files,
        asked: Asked,
        namespace: &str,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| failed(StartError::io("cannot make a folder")(error)))?;
        let start = Start {
            folder: folder.path().to_owned(),
            etcd: tool(arguments, "etcd")?,
            kube_apiserver: tool(arguments, "kube-apiserver")?,
            without_admission: WITHOUT_ADMISSION.to_vec(),
        };
        let program = agent_program(arguments)?;
        let authority = Authority::new().map_err(|error| failed(error.into()))?;
        let api_server = start.run(&authority).await.map_err(failed)?;
        let kubeconfig = api_server.admin.path().to_owned();
        let cluster = Cluster::connect_as(Some(&kubeconfig), None, "gitmoor-rehearse").await;
        let cluster = cluster.map_err(|error| Failure::io("cannot reach the local API server", &error))?;
        let published = Published::create(prepared, folder.path().join("repository.git"), surveyor.own_revision())?;
        published.publish(&files.snapshot)?;
        prepare(&cluster, namespace).await?;
        let aws = StandInAws::serve(asked).await?;
        let launch = Launch { program, folder: folder.path(), kubeconfig, namespace, aws: aws.url() };
        let agent = launch.start(prepared, surveyor, published.folder()).map_err(failed)?;
        let (audit_log, namespace) = (start.audit_log(), namespace.to_owned());
        let stage = Self { agent, cluster, namespace, published, aws, api_server, audit_log, _folder: folder };
        for root in &files.roots {
            stage.apply(root).await.map_err(|error| Failure::io("the root Application is refused", &error))?;
        }
        Ok(stage)
    }

    /// Has the agent look at files that have changed. `roots` are those whose own file has. Gives those that the API server
    /// refuses, each with the reason: they stay as they were.
    pub(super) async fn update<'r>(
        &self,
        files: &Files,
        roots: &[&'r Value],
        asked: Asked,
    ) -> Result<Vec<(&'r Value, Finding)>, Failure> {
        self.aws.learn(asked);
        self.published.publish(&files.snapshot)?;
        let mut refused = Vec::new();
        for root in roots {
            let name = text_at(root, &["metadata", "name"]).unwrap_or_default();
            if let Err(error) = self.apply(root).await {
                let key = ApplicationKey { namespace: self.namespace.clone(), name: name.to_owned() };
                refused.push((*root, Finding::new(REFUSED, &key, error.to_string())));
            }
        }
        let look = json!({"metadata": {"annotations": {ANNOTATION_REFRESH: "normal"}}});
        for root in &files.roots {
            let name = text_at(root, &["metadata", "name"]).unwrap_or_default();
            match self.cluster.merge(&builtin::applications(), Some(&self.namespace), name, &look).await {
                // A new one that was refused.
                Err(error) if error.is_not_found() => {}
                asked => drop(asked.map_err(|e| Failure::io(format!("cannot ask for a look at {name}"), &e))?),
            }
        }
        Ok(refused)
    }

    /// Whether the agent has nothing to do at this moment, and how often it has rendered so far.
    pub(super) fn rests(&self) -> (bool, u64) {
        let metrics = self.agent.metrics().unwrap_or_default();
        let sum = |name: &str| -> Option<u64> {
            let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
            let mut samples = metrics.lines().filter(is_of).peekable();
            samples.peek()?;
            samples.map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
        };
        (sum("gitmoor_queue_depth") == Some(0), sum("gitmoor_renders_total").unwrap_or_default())
    }

    /// Whether there are Applications of which it has said nothing yet, such as while it fetches what they are made of.
    pub(super) fn has_yet_to_speak(&self, applications: &[Value]) -> bool {
        let is_its_own = |object: &&Value| text_at(object, &["metadata", "namespace"]) == Some(&*self.namespace);
        let silent = |object: &Value| text_at(&object["status"], &["sync", "status"]).is_none_or(str::is_empty);
        applications.iter().filter(is_its_own).any(silent)
    }

    /// Whether it has yet to take up the last request to look.
    pub(super) fn is_asked(applications: &[Value]) -> bool {
        applications.iter().any(|object| annotation(object, ANNOTATION_REFRESH).is_some())
    }

    /// Fails when a part has ended by itself, with what it said last.
    pub(super) fn ensure_running(&mut self) -> Result<(), Failure> {
        let ApiServer { api_server, etcd, .. } = &mut self.api_server;
        let parts = [etcd, api_server, &mut self.agent.process];
        parts.into_iter().try_for_each(Supervised::ensure_running).map_err(failed)
    }

    /// Where the API server is.
    pub(super) fn url(&self) -> &str {
        &self.api_server.server.url
    }

    /// All Applications as they are now.
    pub(super) async fn applications(&self) -> Result<Vec<Value>, Failure> {
        let mut tries = 0;
        loop {
            match self.cluster.list(&builtin::applications(), None).await {
                // Its storage begins anew when definitions come.
                Err(error) if error.is_transient() && tries < TRIES => tries += 1,
                listed => return listed.map_err(|error| Failure::io("cannot list the Applications", &error)),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Makes ready what waits for controllers, or for people, that are not here.
    pub(super) async fn stand_in(&self, applications: &[Value]) {
        for (secret, keys) in self.aws.by_hand() {
            let (namespace, name) = &secret;
            if controllers::make_secret(&self.cluster, namespace, name, &keys).await {
                self.aws.has(&secret);
            }
        }
        controllers::make_ready(&self.cluster, applications).await;
    }

    /// Objects in versions that the API server calls deprecated, as its audit log has them.
    pub(super) fn deprecated(&self) -> Vec<Deprecated> {
        let log = fs::read_to_string(&self.audit_log).unwrap_or_default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found: Vec<Deprecated> = events.filter_map(|event| Deprecated::of(&event)).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Makes a root Application be as its file has it.
    async fn apply(&self, root: &Value) -> Result<(), ClusterError> {
        let mut root = root.clone();
        root["metadata"]["namespace"] = json!(self.namespace);
        let (kind, namespace) = (builtin::applications(), Some(&*self.namespace));
        let name = text_at(&root, &["metadata", "name"]).unwrap_or_default();
        let Some(present) = self.cluster.get(&kind, namespace, name).await? else {
            return self.cluster.create(&kind, namespace, &root).await.map(drop);
        };
        // Of no version: the agent writes the status all the time.
        match merge_patch(&present["spec"], &root["spec"]) {
            Some(spec) => self.cluster.merge(&kind, namespace, name, &json!({"spec": spec})).await.map(drop),
            None => Ok(()),
        }
    }
}

/// The kinds of the agent, and its namespace.
async fn prepare(cluster: &Cluster, namespace: &str) -> Result<(), Failure> {
    let refused = |error: ClusterError| Failure::io("the local cluster cannot be prepared", &error);
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
    for _ in 0..600 {
        let resources = cluster.discover().await.map_err(refused)?;
        // It is told of before it is served.
        if let Some(kind) = resources.preferred(&application)
            && cluster.list(kind, Some(namespace)).await.is_ok()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::new(Exit::Io, "the local API server does not serve Applications"))
}

/// An object that was written in a deprecated version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deprecated {
    /// Which object of the tree it is.
    pub(super) version: Versioned,
    pub(super) finding: Finding,
}

impl Deprecated {
    fn of(event: &Value) -> Option<Self> {
        let by_agent = text_at(event, &["userAgent"])?.starts_with(AGENT);
        let writes = matches!(event["verb"].as_str()?, "patch" | "create");
        let notes = &event["annotations"];
        if !by_agent || !writes || notes["k8s.io/deprecated"] != "true" {
            return None;
        }
        let of = |key: &str| text_at(event, &["objectRef", key]).unwrap_or_default();
        let api_version = [of("apiGroup"), of("apiVersion")].into_iter().filter(|part| !part.is_empty());
        let api_version = api_version.collect::<Vec<_>>().join("/");
        let removed = notes["k8s.io/removed-release"].as_str();
        let removed = removed.map(|release| format!(" and goes in {release}")).unwrap_or_default();
        let namespace = if of("namespace").is_empty() { String::new() } else { format!("{}/", of("namespace")) };
        let message = format!("{} {namespace}{}: {api_version} is deprecated{removed}", of("resource"), of("name"));
        let finding = Finding { category: "Deprecated".to_owned(), application: String::new(), message };
        let version = Versioned { api_version, namespace: of("namespace").to_owned(), name: of("name").to_owned() };
        Some(Self { version, finding })
    }
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

/// The agent, and where its metrics are.
struct RunningAgent {
    process: Supervised,
    port: u16,
}

impl RunningAgent {
    /// None while it does not answer.
    fn metrics(&self) -> Option<String> {
        download::local((Ipv4Addr::LOCALHOST, self.port).into(), "/metrics").ok()
    }
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
    fn start(&self, prepared: &Prepared, surveyor: &Surveyor, repository: &Path) -> Result<RunningAgent, StartError> {
        let port = free_port()?;
        for name in ["data", "renders"] {
            fs::create_dir_all(self.folder.join(name)).map_err(StartError::io("cannot make a folder"))?;
        }
        let (kustomize, helm) = surveyor.programs();
        let log = self.folder.join("agent.log");
        let replacements = surveyor.own_addresses().into_iter().map(|url| format!("{url}={}", repository.display()));
        let replacements: Vec<String> = replacements.chain(prepared.replacements()).collect();
        let process = Supervised::spawn(&self.program, &log, |command| {
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
        })?;
        Ok(RunningAgent { process, port })
    }
}

/// Where certificates and proxies are: charts may have to be fetched.
fn is_passed_on(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with("_proxy") || lower.starts_with("ssl_cert") || lower == "home"
}
