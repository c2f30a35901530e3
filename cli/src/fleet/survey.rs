//! The walk: from the root Application to all that it brings.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
};

use futures::FutureExt as _;
use gitmoor_core::{
    application::ApplicationSpec,
    closure::{Member, RemoteReference},
    lock::{self, Lock, Locked},
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    object::{group_of, text_at},
    tracking::ApplicationKey,
    tree::{RepoPath, Tree as _},
    yaml::{Limits, read_documents},
};
use gitmoor_engine::{
    inputs::lock_of,
    render::RenderError,
    sources::{FollowedSource, Gathered, Origin, followed, gather_with},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::{
    Content, Fleet, Ground, Known, Surveyed,
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
    /// It comes from the tree at hand, whose lock file it carries.
    from_here: bool,
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

    /// Which revisions of an Application's sources are those of the tree at hand; `revisions` has one for each source.
    pub(crate) fn read_here<'r>(&self, object: &Value, revisions: &[&'r str]) -> Vec<&'r str> {
        let followed = ApplicationSpec::read(object).ok().and_then(|spec| {
            let key = found(object.clone(), DEFAULT_NAMESPACE, None, false)?.key;
            followed(&key, &spec, &self.origins.addresses, &Lock::default()).ok()
        });
        let sources = followed.unwrap_or_default();
        let here = sources.iter().zip(revisions).filter(|(source, _)| self.origins.is_here(source));
        here.map(|(_, revision)| *revision).collect()
    }

    /// The programs for kustomizations and charts.
    pub(crate) fn programs(&self) -> (&Path, &Path) {
        (&self.renders.renderer.kustomize.program, &self.renders.renderer.helm.program)
    }

    /// Every Application from the roots on. An Application that does not render is said to, and stops no other.
    pub(crate) async fn survey(&self, ground: &Ground, roots: Vec<Value>) -> Result<Fleet, Failure> {
        let roots = roots.into_iter().filter_map(|object| found(object, DEFAULT_NAMESPACE, None, false));
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
            from_here: false,
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
                    running.spawn(async move { (next.key.clone(), Box::pin(this.one(&ground, &next)).await) });
                }
            }
            let Some(done) = running.join_next().await else { return Ok(()) };
            let (key, (surveyed, from_here)) = done.map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
            if let Ok(known) = &surveyed.outcome {
                let namespace = surveyed.destination().unwrap_or(&key.namespace);
                let children = known.content.applications.iter().cloned();
                pending.extend(children.filter_map(|object| found(object, namespace, Some(&key), from_here)));
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
        if self.renders.bodies(&known.render).is_some() {
            return Ok(known);
        }
        let job = self.job(ground, key, surveyed.object.clone(), false).await.1?;
        let rendered = self.renders.content(job, true).await?;
        Ok(Known { render: rendered.render, ..known })
    }

    /// One Application, and whether it brings others from the tree at hand.
    async fn one(&self, ground: &Ground, found: &Found) -> (Surveyed, bool) {
        let Found { key, object, parent, from_here } = found;
        let (mut seen, job) = self.job(ground, key, Arc::clone(object), *from_here).await;
        let outcome = match job {
            Ok(job) => self.renders.content(job, false).await,
            Err(reasons) => Err(reasons),
        };
        let (lock, outcome) = match self.carried(ground, &mut seen, outcome).await {
            Ok((lock, known)) => (lock, Ok(known)),
            Err(reasons) => (Lock::default(), Err(reasons)),
        };
        let Seen { spec, reads, elsewhere, home } = seen;
        let brings_here = home.is_some_and(|home| self.origins.is_here(&home));
        let (object, parent) = (Arc::clone(object), parent.clone());
        let (reads, elsewhere, lock) = (Arc::new(reads), Arc::new(elsewhere), Arc::new(lock));
        (Surveyed { object, spec, parent, reads, elsewhere, lock, outcome }, brings_here)
    }

    /// Has the Applications among the objects carry what is locked of their charts, as the agent does; gives the lock file
    /// of that.
    async fn carried(
        &self,
        ground: &Ground,
        seen: &mut Seen,
        outcome: Result<Known, Vec<String>>,
    ) -> Result<(Lock, Known), Vec<String>> {
        let known = outcome?;
        let charts: BTreeSet<RemoteReference> = known.content.applications.iter().flat_map(lock::charts_of).collect();
        let Some(home) = seen.home.clone().filter(|_| !charts.is_empty()) else {
            return Ok((Lock::default(), known));
        };
        let tree = self.origins.tree(ground, &home).await.map_err(|error| vec![words(&error)])?;
        let lock =
            tokio::task::spawn_blocking(move || lock_of(&tree)).await.map_err(|error| vec![error.to_string()])?;
        let mut lock = lock.map_err(|error| vec![words(&error)])?;
        lock.retain(|reference| !self.origins.update.covers(reference));
        if self.origins.is_here(&home) {
            seen.looked_up(&lock, &charts);
        }
        let mut content = Content::clone(&known.content);
        content.applications.iter_mut().for_each(|application| lock.pin(application));
        let digest = hex(Sha256::digest(format!("{} {}", known.digest, lock.only(&charts).write())).as_slice());
        Ok((lock, Known { digest, render: known.render, content: Arc::new(content) }))
    }

    /// What an Application reads, and what there is to render.
    async fn job(
        &self,
        ground: &Ground,
        key: &ApplicationKey,
        object: Arc<Value>,
        from_here: bool,
    ) -> (Seen, Result<Job, Vec<String>>) {
        let mut seen = Seen::default();
        let spec = match ApplicationSpec::read(&object) {
            Ok(spec) => Arc::new(spec),
            Err(error) => return (seen, Err(vec![described(&error)])),
        };
        seen.spec = Some(Arc::clone(&spec));
        let lock = match Lock::of_application(&object) {
            Ok(lock) => lock,
            Err(error) => return (seen, Err(vec![format!("the annotation gitmoor.dev/lock {error}")])),
        };
        let sources = match followed(key, &spec, &self.origins.addresses, &lock) {
            Ok(sources) => sources,
            Err(error) => return (seen, Err(vec![hinted(described(&error))])),
        };
        seen.home = sources.iter().find(|source| matches!(source.follow.origin, Origin::Git(_))).cloned();
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
        let used = self.used(&sources, &gathered);
        if !used.is_empty() {
            match self.own_lock(ground).await {
                Ok(lock) => seen.looked_up(&lock, &used.keys().cloned().collect()),
                Err(reason) => return (seen, Err(vec![reason])),
            }
        }
        seen.elsewhere.extend(used);
        if from_here {
            seen.elsewhere.extend(self.charts(&spec, &sources).await);
        }
        let digest = self.digest(ground, &spec, &sources, &|index| gathered.digest(index, ""));
        let namespace = spec.destination.namespace.clone().unwrap_or_default();
        let inputs = gathered.inputs.into_iter().flatten().collect();
        (seen, Ok(Job { digest, inputs, namespace }))
    }

    /// What sources of the tree at hand use from elsewhere, as it is.
    fn used(&self, sources: &[FollowedSource], gathered: &Gathered) -> BTreeMap<RemoteReference, Locked> {
        let here = sources.iter().zip(&gathered.inputs).filter(|(source, _)| self.origins.is_here(source));
        let found = here.filter_map(|(_, inputs)| inputs.as_ref()).flat_map(|inputs| &inputs.remotes.0);
        found.filter_map(|(reference, content)| Some((reference.clone(), Locked::of(reference, content)?))).collect()
    }

    /// The charts that an Application itself names, as they are.
    async fn charts(&self, spec: &ApplicationSpec, sources: &[FollowedSource]) -> BTreeMap<RemoteReference, Locked> {
        let mut charts = BTreeMap::new();
        for (source, followed) in spec.sources().iter().zip(sources) {
            let Some(chart) = source.chart() else { continue };
            if let Some(locked) = self.origins.locked(&followed.follow).await {
                charts.insert(lock::chart_reference(&source.repo_url, chart, source.revision()), locked);
            }
        }
        charts
    }

    /// The lock file of the tree at hand.
    async fn own_lock(&self, ground: &Ground) -> Result<Lock, String> {
        let ground = ground.clone();
        let read = tokio::task::spawn_blocking(move || lock_of(&ground.open()?)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| words(&error))
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
    elsewhere: BTreeMap<RemoteReference, Locked>,
    /// The source whose tree has the lock file for the Applications that this one brings.
    home: Option<FollowedSource>,
}

impl Seen {
    /// What the lock file says of these is read; what it says of others is not.
    fn looked_up(&mut self, lock: &Lock, references: &BTreeSet<RemoteReference>) {
        let digest = hex(Sha256::digest(lock.only(references).write()).as_slice());
        self.reads.insert(lock::path(), Member::Listing { digest });
    }
}

fn words(error: &RenderError) -> String {
    described(error)
}

/// Placeholders where a fork was not initialised are the one mistake that everybody makes once.
fn hinted(reason: String) -> String {
    if reason.contains("<<__") {
        format!("{reason}; run `gitmoor init setup.conf`, or name a setup.conf with --setup-conf")
    } else {
        reason
    }
}

fn found(object: Value, namespace: &str, parent: Option<&ApplicationKey>, from_here: bool) -> Option<Found> {
    let name = text_at(&object, &["metadata", "name"])?.to_owned();
    let own = text_at(&object, &["metadata", "namespace"]).filter(|namespace| !namespace.is_empty());
    let key = ApplicationKey { namespace: own.unwrap_or(namespace).to_owned(), name };
    Some(Found { key, object: Arc::new(object), parent: parent.cloned(), from_here })
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
