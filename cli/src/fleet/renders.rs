//! What Applications render to, each once: from memory, from disk, or by kustomize and helm.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use gitmoor_core::closure::SourceKind;
use gitmoor_core::{
    hook::Role,
    manifest::{Manifests, Rendered},
    names::{APPLICATION_GROUP, APPLICATION_KIND, PROJECT_KIND},
    object::GroupKind,
    scope,
};
use gitmoor_engine::{
    helm::{self, Capabilities},
    kustomize, manifests,
    render::{Inputs, RenderKey, RenderOutput, Renderer, render_inputs},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::{OnceCell, Semaphore};

use super::{Content, Definition, Fleet, Known, Written, cache::Cache};
use crate::failure::described;

/// Renders, and remembers.
pub(crate) struct Renders {
    pub(super) renderer: Renderer,
    /// Goes with this.
    pub(super) _scratch: TempDir,
    pub(super) capabilities: Capabilities,
    /// Which programs render.
    pub(super) programs: String,
    pub(super) cache: Option<Cache>,
    pub(super) slots: Semaphore,
    pub(super) contents: Mutex<HashMap<String, Arc<Content>>>,
    pub(super) bodies: Mutex<HashMap<String, Arc<Manifests<Rendered>>>>,
    pub(super) rendered: AtomicUsize,
    pub(super) kustomize_fits: OnceCell<Result<(), String>>,
    pub(super) helm_fits: OnceCell<Result<(), String>>,
}

/// What is to be rendered.
pub(super) struct Job {
    /// Digest of all that is read.
    pub(super) digest: String,
    pub(super) inputs: Vec<Inputs>,
    /// Where objects go that name no namespace.
    pub(super) namespace: String,
}

impl Renders {
    /// How often a renderer was run.
    pub(crate) fn count(&self) -> usize {
        self.rendered.load(Ordering::Relaxed)
    }

    /// Tidies what is on disk.
    pub(crate) fn tidy(&self) {
        if let Some(cache) = &self.cache {
            cache.tidy();
        }
    }

    /// Forgets all but what a fleet holds, which a process that goes on for long has to.
    pub(crate) fn keep(&self, fleet: &Fleet) {
        let known = fleet.applications.values().filter_map(|surveyed| surveyed.outcome.as_ref().ok());
        let digests: BTreeSet<&str> = known.map(|known| known.render.as_str()).collect();
        self.contents.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| digests.contains(&**digest));
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).retain(|digest, _| digests.contains(&**digest));
    }

    /// What an Application holds; with `bodies`, [`Self::bodies`] has them afterwards.
    pub(super) async fn content(&self, job: Job, bodies: bool) -> Result<Known, Vec<String>> {
        let digest = job.digest.clone();
        if !bodies || self.bodies(&digest).is_some() {
            let known = self.contents.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
            if let Some(content) = known {
                return Ok(known_as(digest, content));
            }
            if let Some(content) = self.cache.as_ref().filter(|_| !bodies).and_then(|cache| cache.get(&digest)) {
                return Ok(self.remember(digest, content));
            }
        }
        self.render(job).await
    }

    /// The objects of a render that was made by this process.
    pub(super) fn bodies(&self, digest: &str) -> Option<Arc<Manifests<Rendered>>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    async fn render(&self, job: Job) -> Result<Known, Vec<String>> {
        let Job { mut digest, inputs, namespace } = job;
        let (mut outputs, mut gap) = (Vec::new(), false);
        for inputs in inputs {
            let _slot = self.slots.acquire().await;
            self.check(inputs.read_set.source).await.map_err(|reason| vec![reason])?;
            let output = render_inputs(&self.renderer, inputs, &self.capabilities).await;
            let output = output.map_err(|error| vec![described(&error)])?;
            self.rendered.fetch_add(1, Ordering::Relaxed);
            if let RenderKey::WholeTree(id) = &output.key {
                // The read-set did not tell what is read: the whole tree does.
                digest = hex(Sha256::digest(format!("{digest}{id}")).as_slice());
                gap = true;
            }
            outputs.push(output);
        }
        let mut warnings: Vec<String> = outputs.iter().flat_map(warnings).collect();
        let read = tokio::task::spawn_blocking(move || manifests::read(outputs, &namespace)).await;
        let (manifests, repeated) = read.map_err(|error| vec![error.to_string()])??;
        warnings.extend(repeated);
        let content = content(&manifests, warnings);
        if let Some(cache) = self.cache.as_ref().filter(|_| !gap) {
            cache.put(&digest, &content);
        }
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.insert(digest.clone(), Arc::new(manifests));
        drop(bodies);
        Ok(self.remember(digest, content))
    }

    fn remember(&self, digest: String, content: Content) -> Known {
        let content = Arc::new(content);
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.insert(digest.clone(), Arc::clone(&content));
        drop(contents);
        known_as(digest, content)
    }

    /// Whether the program is there, in a version whose renders are the agent's. Asked before it is used first.
    async fn check(&self, kind: SourceKind) -> Result<(), String> {
        match kind {
            SourceKind::Directory => Ok(()),
            SourceKind::Kustomize => {
                let ask = async || match kustomize::version(&self.renderer.kustomize).await {
                    Ok(version) if version.major == 5 => Ok(()),
                    Ok(version) => Err(format!("kustomize {version} is not what the agent renders with; install v5")),
                    Err(error) => Err(format!(
                        "{}; install kustomize v5, or name it with --kustomize or GITMOOR_KUSTOMIZE",
                        described(&error)
                    )),
                };
                self.kustomize_fits.get_or_init(ask).await.clone()
            }
            SourceKind::Helm => {
                let ask = async || match helm::version(&self.renderer.helm).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        Err(format!("{}; install helm v3, or name it with --helm or GITMOOR_HELM", described(&error)))
                    }
                };
                self.helm_fits.get_or_init(ask).await.clone()
            }
        }
    }
}

fn known_as(digest: String, content: Arc<Content>) -> Known {
    Known { render: digest.clone(), digest, content }
}

fn warnings(output: &RenderOutput) -> Vec<String> {
    let said = output.warnings.iter().map(|warning| format!("{}: {warning}", output.command));
    let changing = output.read_set.source == SourceKind::Helm;
    said.map(|text| if changing { format!("{text}; it comes out differently each time") } else { text }).collect()
}

fn content(manifests: &Manifests<Rendered>, warnings: Vec<String>) -> Content {
    let mut content = Content { warnings, ..Content::default() };
    for manifest in manifests.items() {
        let id = &manifest.id;
        content.objects.push(Written {
            group: id.group_kind.group.clone(),
            kind: id.group_kind.kind.clone(),
            namespace: id.namespace.clone(),
            name: id.name.clone(),
            kept: Role::of(&manifest.object).is_object(),
        });
        if id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND) {
            content.applications.push(manifest.object.clone());
        } else if id.group_kind.is(APPLICATION_GROUP, PROJECT_KIND) {
            content.projects.push(manifest.object.clone());
        } else if let Some((GroupKind { group, kind }, namespaced)) = scope::definition(&manifest.object) {
            let versions = scope::served_versions(&manifest.object);
            content.definitions.push(Definition { group, kind, namespaced, versions });
        }
    }
    content
}

pub(super) fn hex(bytes: &[u8]) -> String {
    gitmoor_core::tracking::hex(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use gitmoor_core::tracking::ApplicationKey;
    use gitmoor_engine::{helm::Helm, kustomize::Kustomize, materialise, process};
    use serde_json::json;

    use super::*;
    use crate::fleet::{Fleet, Surveyed};

    fn renders() -> Renders {
        let limits = process::Limits::default();
        Renders {
            renderer: Renderer {
                kustomize: Kustomize { program: PathBuf::new(), limits: limits.clone() },
                helm: Helm { program: PathBuf::new(), limits },
                scratch: PathBuf::new(),
                limits: materialise::Limits::default(),
            },
            _scratch: tempfile::tempdir().unwrap(),
            capabilities: Capabilities::default(),
            programs: String::new(),
            cache: None,
            slots: Semaphore::new(1),
            contents: Mutex::default(),
            bodies: Mutex::default(),
            rendered: AtomicUsize::new(0),
            kustomize_fits: OnceCell::new(),
            helm_fits: OnceCell::new(),
        }
    }

    #[test]
    fn what_carries_locked_charts_is_kept_by_its_render() {
        let renders = renders();
        for digest in ["held", "gone"] {
            renders.remember(digest.to_owned(), Content::default());
            let (bodies, _) = Manifests::read(Vec::new());
            renders.bodies.lock().unwrap().insert(digest.to_owned(), Arc::new(bodies));
        }
        // As when the lock file is a part of what is compared.
        let known = Known { digest: "with the lock".to_owned(), ..known_as("held".to_owned(), Arc::default()) };
        let surveyed = Surveyed {
            object: Arc::new(json!({})),
            spec: None,
            parent: None,
            reads: Arc::default(),
            elsewhere: Arc::default(),
            lock: Arc::default(),
            outcome: Ok(known),
        };
        let key = ApplicationKey { namespace: "gitmoor".to_owned(), name: "root".to_owned() };
        renders.keep(&Fleet { applications: [(key, surveyed)].into() });
        assert!(renders.bodies("held").is_some() && renders.bodies("gone").is_none());
        let contents: Vec<String> = renders.contents.lock().unwrap().keys().cloned().collect();
        assert_eq!(contents, ["held"]);
    }
}
