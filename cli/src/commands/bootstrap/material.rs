//! What is installed, from the fork: the root Application, and the agent's objects in the order in which they go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gitmoor_core::{
    application::ApplicationSpec,
    names::APPLICATION_GROUP,
    object::{GroupKind, ObjectId, group_of, text_at},
    template::placeholders_in,
    yaml::{Limits, read_documents},
};
use gitmoor_engine::{
    helm::Helm,
    kustomize::{self, Kustomize},
    materialise, process,
    render::{Renderer, render},
    work_folder::WorkFolder,
};
use serde_json::{Value, json};

use super::arguments::Sources;
use crate::{
    failure::{Exit, Failure},
    settings,
};

/// What is left of a fork when everything in it has been read.
pub(super) struct Material {
    /// The agent's objects, the first one first.
    pub(super) agent: Vec<Value>,
    /// The root Application.
    pub(super) root: Value,
    /// Its repository.
    pub(super) repository: String,
    /// Where the agent goes.
    pub(super) namespace: String,
}

/// Name of the Application that keeps the agent.
const AGENT: &str = "gitmoor";
/// Where the agent's manifests are when no Application says it.
const FALLBACK: &str = "components/gitmoor/overlays/single-node";

impl Material {
    /// Reads the fork; `namespace` is where the agent is wanted.
    pub(super) fn read(sources: &Sources, namespace: Option<&str>) -> Result<Self, Failure> {
        let file = sources.root.clone().unwrap_or_else(|| sources.distribution.join("platform.yaml"));
        let root = root(&file)?;
        let spec = ApplicationSpec::read(&root).map_err(|error| {
            Failure::new(Exit::Input, format!("{} is no Application", file.display())).because(&error)
        })?;
        let repository = spec.sources().first().map(|source| source.repo_url.clone()).unwrap_or_default();
        let own = text_at(&root, &["metadata", "namespace"]).unwrap_or(crate::cluster::NAMESPACE).to_owned();
        if let Some(wanted) = namespace.filter(|wanted| *wanted != own) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is in namespace {own}, not in {wanted}", file.display()),
            )
            .hint("the namespace of the root Application in Git is that of the agent: change it there"));
        }
        let folder = folder(sources)?;
        let mut agent = build(sources, &folder)?;
        finish(&mut agent, &own);
        refuse_placeholders(&folder, agent.iter().chain([&root]))?;
        Ok(Self { agent, root, repository, namespace: own })
    }
}

/// The one Application of a file.
fn root(file: &Path) -> Result<Value, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::io(format!("cannot read {}", file.display()), error)
            .hint("run gitmoor in your fork, or name the folder with --distribution")
    };
    let text = std::fs::read_to_string(file).map_err(|error| cannot(&error))?;
    let documents = read(&text, &file.display().to_string())?;
    let found = documents.into_iter().find(|object| {
        object["kind"] == "Application"
            && text_at(object, &["apiVersion"]).is_some_and(|version| group_of(version) == APPLICATION_GROUP)
    });
    found.ok_or_else(|| Failure::new(Exit::Input, format!("{} has no Application", file.display())))
}

fn read(text: &str, name: &str) -> Result<Vec<Value>, Failure> {
    let documents = read_documents(text, &Limits::default()).map_err(|errors| {
        let mut failure = Failure::new(Exit::Input, format!("{name} cannot be read"));
        failure.causes = errors.iter().map(ToString::to_string).collect();
        failure
    })?;
    Ok(documents.into_iter().map(|document| document.value).filter(|value| !value.is_null()).collect())
}

/// The folder with the agent's manifests.
fn folder(sources: &Sources) -> Result<PathBuf, Failure> {
    if let Some(folder) = &sources.agent {
        return Ok(folder.clone());
    }
    let file = sources.distribution.join(format!("applications/{AGENT}.yaml"));
    if !file.is_file() {
        return Ok(sources.distribution.join(FALLBACK));
    }
    let application = root(&file)?;
    let path = text_at(&application, &["spec", "source", "path"]).unwrap_or_default();
    if path.contains(gitmoor_core::template::OPEN) {
        return Err(not_initialised(&file, path));
    }
    // Paths in Applications begin at the top of the repository, which is where the distribution lies.
    let top = sources.distribution.parent().filter(|top| !top.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(top.join(path))
}

fn build(sources: &Sources, folder: &Path) -> Result<Vec<Value>, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(Exit::Input, format!("cannot build {}", folder.display())).because(error)
    };
    let (tree, path) = WorkFolder::around(folder).map_err(|error| failed(&error))?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::io("cannot make a temporary folder", &error))?;
    let renderer = Arc::new(Renderer {
        kustomize: Kustomize {
            program: settings::find_program(&sources.kustomize),
            limits: process::Limits::default(),
        },
        helm: Helm { program: settings::find_program(Path::new("helm")), limits: process::Limits::default() },
        scratch: scratch.path().to_owned(),
        limits: materialise::Limits::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))?;
    let output = runtime.block_on(async {
        kustomize::version(&renderer.kustomize).await.map_err(|error| {
            Failure::io(format!("cannot run {}", sources.kustomize.display()), &error)
                .hint("install kustomize v5, or name it with --kustomize or GITMOOR_KUSTOMIZE")
        })?;
        render(&renderer, tree, &path).await.map_err(|error| failed(&error))
    });
    // Checkouts are removed in the background.
    drop(runtime);
    let mut objects = Vec::new();
    for document in output?.documents {
        objects.extend(read(&document.text, &folder.display().to_string())?);
    }
    Ok(objects)
}

/// Definitions first, then what others need, then what runs; each with the namespace that it goes to.
fn finish(objects: &mut [Value], namespace: &str) {
    for object in objects.iter_mut() {
        let cluster = matches!(
            object["kind"].as_str().unwrap_or_default(),
            "Namespace"
                | "CustomResourceDefinition"
                | "ClusterRole"
                | "ClusterRoleBinding"
                | "PriorityClass"
                | "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
        );
        if !cluster && text_at(object, &["metadata", "namespace"]).is_none() {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    objects.sort_by_key(|object| (!is_definition(object), gitmoor_core::plan::Tier::of(&id(object).group_kind)));
}

/// A CustomResourceDefinition.
pub(super) fn is_definition(object: &Value) -> bool {
    object["kind"] == "CustomResourceDefinition"
}

/// The identity of an object.
pub(super) fn id(object: &Value) -> ObjectId {
    let text = |path: &[&str]| text_at(object, path).unwrap_or_default().to_owned();
    ObjectId {
        group_kind: GroupKind::new(group_of(&text(&["apiVersion"])), text(&["kind"])),
        namespace: text_at(object, &["metadata", "namespace"]).map(str::to_owned),
        name: text(&["metadata", "name"]),
    }
}

fn refuse_placeholders<'o>(folder: &Path, objects: impl Iterator<Item = &'o Value>) -> Result<(), Failure> {
    let mut left: Vec<String> = Vec::new();
    for object in objects {
        left.extend(placeholders_in(object).into_iter().map(|token| format!("{}: {token}", id(object))));
    }
    match left.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            let failure = not_initialised(folder, first);
            Err(Failure { causes: left, ..failure })
        }
    }
}

fn not_initialised(place: &Path, what: &str) -> Failure {
    Failure::new(Exit::Input, format!("the fork is not initialised: {} still has {what}", place.display()))
        .hint("fill in setup.conf, then gitmoor init setup.conf --commit, and push")
}
