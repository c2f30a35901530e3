//! The walk: from the root Application to all that it brings.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
};

use futures::FutureExt as _;
use gitmoor_core::{
    application::ApplicationSpec,
    closure::Member,
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    object::{group_of, text_at},
    tracking::ApplicationKey,
    tree::{RepoPath, Tree as _},
    yaml::{Limits, read_documents},
};
use gitmoor_engine::{
    render::RenderError,
    sources::{FollowedSource, followed, gather_with},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::{
    Fleet, Ground, Known, Surveyed,
    origins::Origins,
    renders::{Job, Renders, hex},
};
use crate::failure::{Exit, Failure, described};

/// Longest file with root Applications.
const LARGEST_ROOT: usize = 1 << 20;
/// Namespace of a root Application that names none: where the distribution puts them.
const DEFAULT_NAMESPACE: &str = "gitmoor";
/// Applications looked at together; most of the time of each is another process'.
const AT_ONCE: usize = 16;

/// What a survey needs.
#[derive(Clone)]
pub(crate) struct Surveyor {
    pub(super) renders: Arc<Renders>,
    pub(super) origins: Arc<Origins>,
}

/// An Application to be looked at.
#[derive(Clone)]
struct Found {
    key: ApplicationKey,
    object: Arc<Value>,
    parent: Option<ApplicationKey>,
}

impl Surveyor {
    /// How often a renderer was run.
    pub(crate) fn renders(&self) -> &Renders {
        &self.renders
    }

    /// The revision that the root Application follows.
    pub(crate) fn own_revision(&self) -> &str {
        &self.origins.own_revision
    }

    /// Addresses of the repository at hand.
    pub(crate) fn own_addresses(&self) -> Vec<String> {
        self.origins.own.iter().map(ToString::to_string).collect()
    }

    /// The programs for kustomizations and charts.
    pub(crate) fn programs(&self) -> (&Path, &Path) {
        (&self.renders.renderer.kustomize.program, &self.renders.renderer.helm.program)
    }

    /// Every Application from the roots on. An Application that does not render is said to, and stops no other.
    pub(crate) async fn survey(&self, ground: &Ground, roots: Vec<Value>) -> Result<Fleet, Failure> {
        let roots = roots.into_iter().filter_map(|object| found(object, DEFAULT_NAMESPACE, None));
        let mut fleet = Fleet::default();
        self.walk(ground, &mut fleet, roots.collect()).await?;
        Ok(fleet)
    }

    /// Takes up the Applications of `before` whose parents do not render in this fleet: they are neither there nor gone.
    pub(crate) async fn keep_orphans(&self, ground: &Ground, fleet: &mut Fleet, before: &Fleet) -> Result<(), Failure> {
        let is_broken = |key: &ApplicationKey| fleet.applications.get(key).is_some_and(|there| there.outcome.is_err());
        let orphans = before.applications.iter().filter(|(key, surveyed)| {
            !fleet.applications.contains_key(key) && surveyed.parent.as_ref().is_some_and(is_broken)
        });
        let orphans = orphans.map(|(key, surveyed)| Found {
            key: key.clone(),
            object: Arc::clone(&surveyed.object),
            parent: surveyed.parent.clone(),
        });
        let orphans = orphans.collect();
        self.walk(ground, fleet, orphans).await
    }

    async fn walk(&self, ground: &Ground, fleet: &mut Fleet, mut pending: VecDeque<Found>) -> Result<(), Failure> {
        let mut seen: BTreeSet<ApplicationKey> = fleet.applications.keys().cloned().collect();
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(next) = pending.pop_front()
            {
                if seen.insert(next.key.clone()) {
                    let (this, ground) = (self.clone(), ground.clone());
                    running.spawn(async move { (next.key.clone(), this.one(&ground, &next).await) });
                }
            }
            let Some(done) = running.join_next().await else { return Ok(()) };
            let (key, surveyed) = done.map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
            if let Ok(known) = &surveyed.outcome {
                let namespace = surveyed.destination().unwrap_or(&key.namespace);
                let children = known.content.applications.iter().cloned();
                pending.extend(children.filter_map(|object| found(object, namespace, Some(&key))));
            }
            fleet.applications.insert(key, surveyed);
        }
    }

    /// Makes sure that the bodies of an Application are there; gives what it holds.
    pub(super) async fn with_bodies(
        &self,
        ground: &Ground,
        key: &ApplicationKey,
        surveyed: &Surveyed,
    ) -> Result<Known, Vec<String>> {
        let known = surveyed.outcome.clone()?;
        if self.renders.bodies(&known.digest).is_some() {
            return Ok(known);
        }
        let job = self.job(ground, key, surveyed.object.clone()).await.1?;
        self.renders.content(job, true).await
    }

    async fn one(&self, ground: &Ground, found: &Found) -> Surveyed {
        let Found { key, object, parent } = found;
        let (seen, job) = self.job(ground, key, Arc::clone(object)).await;
        let outcome = match job {
            Ok(job) => self.renders.content(job, false).await,
            Err(reasons) => Err(reasons),
        };
        let Seen { spec, reads } = seen;
        Surveyed { object: Arc::clone(object), spec, parent: parent.clone(), reads: Arc::new(reads), outcome }
    }

    /// What an Application reads, and what there is to render.
    async fn job(&self, ground: &Ground, key: &ApplicationKey, object: Arc<Value>) -> (Seen, Result<Job, Vec<String>>) {
        let mut seen = Seen::default();
        let spec = match ApplicationSpec::read(&object) {
            Ok(spec) => Arc::new(spec),
            Err(error) => return (seen, Err(vec![described(&error)])),
        };
        seen.spec = Some(Arc::clone(&spec));
        let sources = match followed(key, &spec, &self.origins.addresses) {
            Ok(sources) => sources,
            Err(error) => return (seen, Err(vec![hinted(described(&error))])),
        };
        let tree = |index: usize| self.origins.tree(ground, &sources[index]).boxed();
        let gathered = gather_with(&sources, &self.renders.capabilities, &tree, Some(&*self.origins)).await;
        for (source, set) in gathered.read_sets().unwrap_or_default() {
            if self.origins.is_here(&sources[source]) {
                seen.reads.extend(set.members);
            }
        }
        if !gathered.failures.is_empty() {
            let reasons = gathered.failures.iter().map(|(_, error)| hinted(words(error)));
            return (seen, Err(reasons.collect()));
        }
        let digest = self.digest(ground, &spec, &sources, &|index| gathered.digest(index, ""));
        let namespace = spec.destination.namespace.clone().unwrap_or_default();
        let inputs = gathered.inputs.into_iter().flatten().collect();
        (seen, Ok(Job { digest, inputs, namespace }))
    }

    /// Over everything that the objects depend on.
    fn digest(
        &self,
        ground: &Ground,
        spec: &ApplicationSpec,
        sources: &[FollowedSource],
        of_source: &dyn Fn(usize) -> String,
    ) -> String {
        let mut hash = Sha256::new();
        let mut feed = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        feed("gitmoor fleet 1");
        feed(&self.renders.programs);
        feed(ground.values_digest());
        feed(spec.destination.namespace.as_deref().unwrap_or_default());
        (0..sources.len()).for_each(|index| feed(&of_source(index)));
        hex(hash.finalize().as_slice())
    }
}

#[derive(Default)]
struct Seen {
    spec: Option<Arc<ApplicationSpec>>,
    reads: BTreeMap<RepoPath, Member>,
}

fn words(error: &RenderError) -> String {
    described(error)
}

/// Placeholders where a fork was not initialised are the one mistake that everybody makes once.
fn hinted(reason: String) -> String {
    if reason.contains("<<__") {
        format!("{reason}; run `gitmoor init`, or name a setup.conf with --setup-conf")
    } else {
        reason
    }
}

fn found(object: Value, namespace: &str, parent: Option<&ApplicationKey>) -> Option<Found> {
    let name = text_at(&object, &["metadata", "name"])?.to_owned();
    let own = text_at(&object, &["metadata", "namespace"]).filter(|namespace| !namespace.is_empty());
    let key = ApplicationKey { namespace: own.unwrap_or(namespace).to_owned(), name };
    Some(Found { key, object: Arc::new(object), parent: parent.cloned() })
}

/// The Applications in a root file; `None` when there is no such file.
pub(super) fn roots(ground: &Ground, path: &RepoPath) -> Result<Option<Vec<Value>>, Failure> {
    let unreadable = |reason: String| {
        let mut failure = Failure::new(Exit::Input, format!("cannot read {path}"));
        failure.causes.push(reason);
        failure
    };
    let tree = ground.open().map_err(|error| unreadable(described(&error)))?;
    if tree.entry(path).map_err(|error| unreadable(error.to_string()))?.is_none() {
        return Ok(None);
    }
    let bytes = tree.read(path, LARGEST_ROOT).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    let documents = read_documents(&text, &Limits::default()).map_err(|errors| {
        let mut failure = Failure::new(Exit::Input, format!("{path} has errors"));
        failure.causes = errors.iter().map(ToString::to_string).collect();
        failure
    })?;
    Ok(Some(documents.into_iter().map(|document| document.value).filter(is_application).collect()))
}

fn is_application(object: &Value) -> bool {
    object["kind"] == APPLICATION_KIND
        && text_at(object, &["apiVersion"]).is_some_and(|version| group_of(version) == APPLICATION_GROUP)
}
