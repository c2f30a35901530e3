//! AppProjects: watched in the agent's namespace, and asked about every Application and every object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::manifest::{Manifests, Stamped};
use gitmoor_core::object::text_at;
use gitmoor_core::project::{DEFAULT, Project, Refusal};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::{Change, Cluster, Selector};
use serde_json::Value;

use crate::objects;
use crate::queue::Queue;
use crate::state::State;

/// The projects of an installation.
pub(crate) struct Projects {
    namespace: String,
    known: Mutex<Known>,
}

type ByName = BTreeMap<String, Arc<Result<Project, Refusal>>>;

#[derive(Default)]
struct Known {
    /// `None` until all have been seen once.
    projects: Option<ByName>,
    /// Why not.
    failing: Option<String>,
}

/// What a project lets an Application do; `None` stands for everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    project: Option<Arc<Result<Project, Refusal>>>,
    /// The user that its objects are written as.
    pub user: Option<String>,
}

impl Grant {
    fn project(&self) -> Option<&Project> {
        self.project.as_deref().and_then(|project| project.as_ref().ok())
    }

    /// Changes whenever the project does; empty without one.
    pub(crate) fn digest(&self) -> String {
        self.project().map_or_else(String::new, |project| format!(":{}@{}", project.name, project.version))
    }

    /// Whether something may be read from a repository.
    pub(crate) fn judge_repository(&self, address: &str) -> Result<(), Refusal> {
        self.project().map_or(Ok(()), |project| project.judge_repository(address))
    }

    /// Takes out what the project refuses, and gives the refusals.
    pub(crate) fn narrow(&self, manifests: &mut Manifests<Stamped>) -> Vec<Condition> {
        let Some(project) = self.project() else { return Vec::new() };
        let mut refused = Vec::new();
        manifests.retain(|manifest| match project.judge_object(&manifest.id) {
            Ok(()) => true,
            Err(refusal) => {
                refused.push(condition(&refusal));
                false
            }
        });
        refused
    }

    /// What of the project has no effect.
    pub(crate) fn warnings(&self) -> Vec<Condition> {
        let fields = self.project().into_iter().flat_map(Project::warnings);
        let told = fields.map(|field| Condition {
            kind: ConditionKind::UnsupportedFieldWarning,
            category: "UnsupportedField",
            message: format!("{field} is not supported and has no effect"),
        });
        told.collect()
    }
}

/// What people are told of a refusal.
pub(crate) fn condition(refusal: &Refusal) -> Condition {
    Condition { kind: ConditionKind::InvalidSpecError, category: "ProjectViolation", message: refusal.to_string() }
}

impl Projects {
    /// None seen yet.
    pub(crate) fn new(namespace: String) -> Self {
        Self { namespace, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while nothing is known and nothing has failed: there is nothing to be said yet.
    pub(crate) fn are_being_listed(&self) -> bool {
        let known = self.lock();
        known.projects.is_none() && known.failing.is_none()
    }

    /// What its project lets an Application do.
    ///
    /// # Errors
    /// When it refuses the Application itself, does not exist, or is not known yet.
    pub(crate) fn grant(&self, key: &ApplicationKey, spec: &ApplicationSpec) -> Result<Grant, Condition> {
        let name = if spec.project.is_empty() { DEFAULT } else { spec.project.as_str() };
        let known = self.lock();
        let Some(projects) = &known.projects else {
            let reason = known.failing.as_deref().unwrap_or("they are being listed");
            let message =
                format!("AppProjects are not known: {reason}; does the agent's role allow to list and watch them?");
            return Err(Condition { kind: ConditionKind::ComparisonError, category: "WatchFailed", message });
        };
        let project = match projects.get(name) {
            Some(project) => Arc::clone(project),
            None if name == DEFAULT => return Ok(Grant::default()),
            None => return Err(condition(&Refusal::Missing(name.to_owned()))),
        };
        let user = (*project).as_ref().map_err(Clone::clone).and_then(|project| {
            project.judge(spec, &key.namespace, &self.namespace)?;
            project.user(spec.destination.namespace.as_deref().unwrap_or_default())
        });
        let user = user.map_err(|refusal| condition(&refusal))?;
        Ok(Grant { project: Some(project), user })
    }

    /// Follows the projects; ends with the agent.
    pub(crate) async fn follow(self: Arc<Self>, cluster: Cluster, state: Arc<State>, queue: Queue) {
        let selector = Selector { namespace: Some(self.namespace.clone()), ..Selector::default() };
        let mut changes = cluster.watch(&objects::projects(), &selector);
        let mut listing: Option<ByName> = None;
        while let Some(change) = changes.next().await {
            let changed = match change {
                Ok(Change::Listing) => {
                    listing = Some(ByName::new());
                    continue;
                }
                Ok(Change::Listed(object)) => {
                    if let (Some(listing), Some((name, project))) = (&mut listing, read(&object)) {
                        listing.insert(name, project);
                    }
                    continue;
                }
                Ok(Change::ListingDone) => self.replace(listing.take().unwrap_or_default()),
                Ok(Change::Changed(object)) => Some(self.update(&object, true)),
                Ok(Change::Gone(object)) => Some(self.update(&object, false)),
                // Without the kind there are none.
                Err(error) if error.is_not_found() => self.replace(ByName::new()),
                Err(error) => {
                    tracing::warn!(%error, "AppProjects cannot be watched");
                    self.fail(error.to_string())
                }
            };
            if changed.as_ref().is_none_or(|changed| !changed.is_empty()) {
                queue.extend(state.project_changed(changed.as_ref()));
            }
        }
    }

    /// The watch has failed. `None`, when nothing was known before: that concerns all.
    fn fail(&self, reason: String) -> Option<BTreeSet<String>> {
        let mut known = self.lock();
        let news = known.projects.is_none() && known.failing.is_none();
        known.failing = Some(reason);
        (!news).then(BTreeSet::new)
    }

    /// Takes in a listing; gives the names of those that are not as before, `None` when it is the first one.
    fn replace(&self, projects: ByName) -> Option<BTreeSet<String>> {
        let mut known = self.lock();
        known.failing = None;
        let before = known.projects.replace(projects)?;
        let projects = known.projects.as_ref()?;
        let names: BTreeSet<&String> = before.keys().chain(projects.keys()).collect();
        Some(names.into_iter().filter(|name| before.get(*name) != projects.get(*name)).cloned().collect())
    }

    fn update(&self, object: &Value, there: bool) -> BTreeSet<String> {
        let Some((name, project)) = read(object) else { return BTreeSet::new() };
        let mut known = self.lock();
        let projects = known.projects.get_or_insert_default();
        let before = if there { projects.insert(name.clone(), Arc::clone(&project)) } else { projects.remove(&name) };
        let same = there && before.as_deref() == Some(&*project);
        if same { BTreeSet::new() } else { BTreeSet::from([name]) }
    }
}

fn read(object: &Value) -> Option<(String, Arc<Result<Project, Refusal>>)> {
    let name = text_at(object, &["metadata", "name"])?.to_owned();
    Some((name, Arc::new(Project::read(object))))
}
