//! The arguments of commands that render a tree, and what they come to.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::UNIX_EPOCH,
};

use gitmoor_core::{
    object::text_at, replacement::Replacement, template::placeholders_in, tracking::Installation, tree::RepoPath,
};
use gitmoor_engine::{
    addresses::Addresses,
    git::{FetchLimits, Fetcher, LocalClone, RepositoryUrl, UrlPolicy},
    helm::{Capabilities, Helm},
    kustomize::Kustomize,
    materialise, process,
    render::Renderer,
    work_folder::WorkFolder,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    Ground, Surveyor,
    cache::Cache,
    ground::Values,
    origins::{Origins, Update},
    renders::{Renders, hex},
    survey,
};
use crate::{
    distribution,
    failure::{Exit, Failure},
    fork_folder::of_fork,
    git::{Repository, Snapshot},
    settings,
};

/// The version of Kubernetes that charts see where there is no cluster to ask: the newest one that Gitmoor is tested
/// with. What helm says by itself depends on how it was built: v1.20 when from its source.
const KUBE_VERSION: &str = "v1.36.0";
/// Where folders for renders are made, when there is such a place: in memory.
const MEMORY: &str = "/dev/shm";

/// What every command that renders accepts.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RenderArguments {
    /// File with the root Application, from which all others are found
    #[arg(long, value_name = "FILE", default_value_os_t = of_fork("distribution/platform.yaml"))]
    pub(crate) root: PathBuf,
    /// Values for placeholders, when `gitmoor init` has not put them in [default: setup.conf, where there is one]
    #[arg(long, value_name = "FILE")]
    setup_conf: Option<PathBuf>,
    /// The kustomize program
    #[arg(long, env = "GITMOOR_KUSTOMIZE", default_value = "kustomize", value_name = "PROGRAM")]
    kustomize: PathBuf,
    /// The helm program
    #[arg(long, env = "GITMOOR_HELM", default_value = "helm", value_name = "PROGRAM")]
    helm: PathBuf,
    /// Version of Kubernetes that charts see without a cluster [default: v1.36.0]
    #[arg(long, value_name = "VERSION")]
    kube_version: Option<String>,
    /// API versions that charts see, such as monitoring.coreos.com/v1, separated by commas
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    api_versions: Vec<String>,
    /// Name of the installation [default: the namespace of the root Application]
    #[arg(long, env = "GITMOOR_INSTALLATION", value_name = "NAME")]
    installation: Option<String>,
    /// Fetch no other repositories and charts than those fetched before
    #[arg(long)]
    offline: bool,
    /// Use addresses that begin with TO in place of those that begin with FROM, as the agent's option does
    #[arg(long, env = "GITMOOR_REPLACE_SOURCE", value_name = "FROM=TO", value_delimiter = ',')]
    replace_source: Vec<Replacement>,
    /// Allow other repositories by file:// addresses
    #[arg(long, env = "GITMOOR_ALLOW_LOCAL_REPOSITORIES")]
    allow_local_repositories: bool,
    /// Keep nothing between runs of what was rendered
    #[arg(long)]
    no_cache: bool,
}

/// The tree that is worked on.
pub(crate) struct Prepared {
    /// The clone, when there is one.
    pub(crate) clone: Option<(Repository, LocalClone)>,
    root: RepoPath,
    values: Option<Arc<Values>>,
    arguments: RenderArguments,
}

impl RenderArguments {
    /// Finds the clone, or the folder, that the root file lies in.
    pub(crate) fn prepare(&self) -> Result<Prepared, Failure> {
        let folder = folder_of(&self.root);
        let repository = Repository::around(folder)?;
        let found = repository.is_some();
        let outside = || {
            let root = self.root.display();
            let what = match (found, self.root.exists()) {
                (true, true) => format!("{root} is not below the folder of the repository"),
                (true, false) => format!("there is no file {root}"),
                (false, _) => format!("there is no file {root}, and this folder is in no Git repository"),
            };
            Failure::new(Exit::Usage, what).hint("run gitmoor in your fork, or name the file with --root")
        };
        let (clone, root) = if let Some(repository) = repository {
            let root = repository.relative(&self.root).ok_or_else(outside)?;
            let clone = LocalClone::new(repository.top().to_owned());
            (Some((repository, clone)), root)
        } else {
            let inside = WorkFolder::around(folder).map_err(|_| outside())?.1;
            let name = self.root.file_name().and_then(|name| name.to_str()).ok_or_else(outside)?;
            (None, inside.join(name).ok_or_else(outside)?.to_string())
        };
        let root = RepoPath::root().join(&root).ok_or_else(outside)?;
        Ok(Prepared { clone, root, values: self.values()?, arguments: self.clone() })
    }

    fn values(&self) -> Result<Option<Arc<Values>>, Failure> {
        let text = distribution::setup_conf_text(self.setup_conf.as_deref())?;
        if text.is_empty() {
            return Ok(None);
        }
        let matcher = distribution::matcher(self.setup_conf.as_deref(), &text)?;
        Ok(Some(Arc::new(Values { matcher, digest: hex(Sha256::digest(&text).as_slice()) })))
    }

    /// The installation, whose name is written into every object.
    pub(crate) fn installation(&self, agent_namespace: &str) -> Result<Installation, Failure> {
        Installation::parse(self.installation.as_deref().unwrap_or(agent_namespace))
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))
    }
}

impl Prepared {
    /// A commit of the clone.
    pub(crate) fn commit(&self, id: String) -> Option<Ground> {
        let (_, clone) = self.clone.as_ref()?;
        Some(Ground::tree(clone, id, self.values.clone(), None))
    }

    /// The files as they lie there: what the next commit would hold.
    pub(crate) fn present(&self) -> Result<Ground, Failure> {
        let Some((repository, clone)) = &self.clone else {
            return Ok(Ground::folder(folder_of(&self.arguments.root), self.values.clone()));
        };
        Ok(self.ground_of(clone, &repository.snapshot()?))
    }

    /// The files of a clone as they are now, and a ground that reads these.
    pub(crate) fn snapshot(&self) -> Result<Option<(Snapshot, Ground)>, Failure> {
        let Some((repository, clone)) = &self.clone else { return Ok(None) };
        let snapshot = repository.snapshot()?;
        let ground = self.ground_of(clone, &snapshot);
        Ok(Some((snapshot, ground)))
    }

    fn ground_of(&self, clone: &LocalClone, snapshot: &Snapshot) -> Ground {
        Ground::tree(clone, snapshot.tree.clone(), self.values.clone(), Some(Arc::clone(&snapshot.objects)))
    }

    /// What stands in for other addresses, as the agent's option takes it.
    pub(crate) fn replacements(&self) -> Vec<String> {
        let replacements = self.arguments.replace_source.iter();
        replacements.map(|replacement| format!("{}={}", replacement.from, replacement.to)).collect()
    }

    /// The root Applications of a tree; none when the file is not there.
    pub(crate) fn roots(&self, ground: &Ground) -> Result<Option<Vec<Value>>, Failure> {
        survey::roots(ground, &self.root)
    }

    /// The same where there have to be some.
    pub(crate) fn wanted_roots(&self, ground: &Ground) -> Result<Vec<Value>, Failure> {
        match self.roots(ground)? {
            Some(roots) if !roots.is_empty() => Ok(roots),
            Some(_) => Err(Failure::new(Exit::Input, format!("{} has no Application", self.root))
                .hint("name the file with the root Application with --root")),
            None => Err(Failure::new(Exit::Input, format!("there is no file {}", self.root))
                .hint("run gitmoor in your fork, or name the root Application's file with --root")),
        }
    }

    /// Before `gitmoor init` the root Application leads nowhere, and that is all there is to say.
    pub(crate) fn refuse_uninitialised(&self, roots: &[Value]) -> Result<(), Failure> {
        let Some(left) = roots.iter().find_map(|root| placeholders_in(root).into_iter().next()) else { return Ok(()) };
        Err(Failure::new(Exit::Input, format!("the fork is not initialised: {} still has {left}", self.root)).hint(
            "fill in setup.conf, then run gitmoor init setup.conf --commit; or name the values with --setup-conf",
        ))
    }

    /// What surveys trees with these roots; `cluster` is what charts see when there is one.
    pub(crate) fn surveyor(&self, roots: &[Value], cluster: Option<Capabilities>) -> Result<Surveyor, Failure> {
        self.surveyor_updating(roots, cluster, Update::default())
    }

    /// The same, which finds some things out anew, whatever the lock file says.
    pub(crate) fn surveyor_updating(
        &self,
        roots: &[Value],
        cluster: Option<Capabilities>,
        update: Update,
    ) -> Result<Surveyor, Failure> {
        let renders = self.renders(cluster)?;
        // What may be read of this machine is decided where it is looked for.
        let policy = UrlPolicy { allow_local: true, ..UrlPolicy::default() };
        let addresses = Addresses::new(policy, self.arguments.replace_source.iter().cloned());
        let sources = roots.iter().flat_map(|root| {
            let several = root["spec"]["sources"].as_array().into_iter().flatten();
            several.chain(root["spec"].get("source")).cloned().collect::<Vec<_>>()
        });
        let repositories = sources.filter(|source| text_at(source, &["chart"]).is_none_or(str::is_empty));
        let repositories = repositories.filter_map(|source| {
            let url = addresses.repository(text_at(&source, &["repoURL"])?).ok()?;
            Some((url, text_at(&source, &["targetRevision"]).map(str::to_owned)))
        });
        let repositories: Vec<_> = repositories.collect();
        let origin = self.clone.as_ref().and_then(|(repository, _)| repository.ask(&["remote", "get-url", "origin"]));
        let origin = origin.and_then(|url| addresses.repository(&url).ok());
        // Of several repositories the one that this is a clone of; where that cannot be told, the first.
        let is_origin = |url: &RepositoryUrl| origin.as_ref().is_some_and(|origin| origin.place() == url.place());
        let here = repositories.iter().map(|(url, _)| url).find(|url| is_origin(url));
        let here = here.or_else(|| Some(&repositories.first()?.0)).map(RepositoryUrl::place);
        let (mut own, mut own_revision) = (BTreeSet::from_iter(origin.clone()), None);
        for (url, revision) in repositories.iter().filter(|(url, _)| here.as_ref() == Some(&url.place())) {
            own.insert(url.clone());
            own_revision = own_revision.or_else(|| revision.clone());
        }
        let fetcher = Fetcher::new("/proc/self/exe", settings::environment(), FetchLimits::default());
        let origins = Origins {
            own,
            addresses,
            own_revision: own_revision.filter(|revision| !revision.is_empty()).unwrap_or_else(|| "HEAD".to_owned()),
            clone: self.clone.clone(),
            data: settings::cache_folder(),
            fetcher,
            offline: self.arguments.offline,
            allow_local: self.arguments.allow_local_repositories,
            known: Mutex::new(HashMap::new()),
            remotes: Mutex::default(),
            update,
        };
        Ok(Surveyor { renders: Arc::new(renders), origins: Arc::new(origins) })
    }

    fn renders(&self, cluster: Option<Capabilities>) -> Result<Renders, Failure> {
        let RenderArguments { kustomize, helm, kube_version, api_versions, no_cache, .. } = &self.arguments;
        let failed = |error: std::io::Error| Failure::io("cannot make a folder to render in", &error);
        let memory = Path::new(MEMORY);
        let scratch =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.map_err(failed)?;
        let (kustomize, helm) = (settings::find_program(kustomize), settings::find_program(helm));
        let programs = format!("{} {}", identity(&kustomize), identity(&helm));
        let limits = process::Limits::default();
        let renderer = Renderer {
            kustomize: Kustomize { program: kustomize, limits: limits.clone() },
            helm: Helm { program: helm, limits },
            scratch: scratch.path().to_owned(),
            limits: materialise::Limits::default(),
        };
        let without = || Capabilities { kube_version: KUBE_VERSION.to_owned(), ..Capabilities::default() };
        let mut capabilities = cluster.unwrap_or_else(without);
        if let Some(version) = kube_version {
            capabilities.kube_version.clone_from(version);
        }
        capabilities.api_versions.extend(api_versions.iter().cloned());
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Renders {
            renderer,
            _scratch: scratch,
            capabilities,
            programs,
            cache: if *no_cache { None } else { Cache::open(self.cache_folder()) },
            slots: Semaphore::new(at_once),
            contents: Mutex::default(),
            bodies: Mutex::default(),
            rendered: AtomicUsize::new(0),
            kustomize_fits: OnceCell::new(),
            helm_fits: OnceCell::new(),
        })
    }

    /// With the clone, so that it goes with it; else with the user's other caches.
    fn cache_folder(&self) -> PathBuf {
        let common = |(repository, _): &(Repository, LocalClone)| repository.common_folder().ok();
        match self.clone.as_ref().and_then(common).filter(|folder| is_writable(folder)) {
            Some(folder) => folder.join("gitmoor/renders"),
            None => settings::cache_folder().join("renders"),
        }
    }
}

fn folder_of(root: &Path) -> &Path {
    root.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_writable(folder: &Path) -> bool {
    fs::create_dir_all(folder.join("gitmoor")).is_ok()
}

/// Another program, or another build of it, may render otherwise. Its version would cost starting it.
fn identity(program: &Path) -> String {
    let path = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let Ok(found) = fs::metadata(&path) else { return path.display().to_string() };
    let changed = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{} {} {}", path.display(), found.len(), changed.unwrap_or_default().as_nanos())
}
