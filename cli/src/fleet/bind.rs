//! Manifests as the agent would apply them: bound to kinds, stamped, within what their project allows.

use std::{collections::BTreeMap, sync::Arc};

use gitmoor_core::{
    manifest::{Manifests, Rendered, Stamp, Stamped},
    object::text_at,
    project::{DEFAULT, Project, Refusal},
    resource::Resources,
    scope::Scopes,
    sensitive::Sensitive,
    tracking::{ApplicationKey, Digester, Installation},
};
use gitmoor_engine::manifests::settle;

use super::{Fleet, Ground, Surveyed, Surveyor};

/// The manifests of an Application.
#[derive(Debug)]
pub(crate) struct Bound {
    /// All that can be applied.
    pub(crate) manifests: Manifests<Stamped>,
    /// What cannot.
    pub(crate) problems: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// What binding needs to know.
pub(crate) struct Binder<'a> {
    pub(crate) installation: &'a Installation,
    pub(crate) digester: &'a Digester,
    /// What the cluster serves; told from the manifests themselves when there is none.
    pub(crate) resources: Option<&'a Resources>,
    pub(crate) scopes: &'a Scopes,
}

/// Digests that only serve to tell objects of this process apart.
pub(crate) fn idle_digester() -> Digester {
    Digester::new(Sensitive::new(vec![0; 16]))
}

impl Surveyor {
    /// The manifests of an Application of a fleet.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn bind(
        &self,
        ground: &Ground,
        fleet: &Fleet,
        key: &ApplicationKey,
        binder: &Binder<'_>,
    ) -> Result<Bound, Vec<String>> {
        let Some(surveyed) = fleet.applications.get(key) else { return Err(vec![format!("there is no {key}")]) };
        let known = self.with_bodies(ground, key, surveyed).await?;
        let bodies = self.renders.bodies(&known.render).ok_or_else(|| vec![format!("{key} was not rendered")])?;
        let warnings = known.content.warnings.clone();
        let project = project(fleet, key, surveyed).map_err(|refusal| vec![refusal.to_string()])?;
        let (mut manifests, mut problems) = stamp(&bodies, key, surveyed, binder);
        if let Some(project) = project {
            manifests.retain(|manifest| match project.judge_object(&manifest.id) {
                Ok(()) => true,
                Err(refusal) => {
                    problems.push(refusal.to_string());
                    false
                }
            });
        }
        if let Some(spec) = &surveyed.spec {
            let settled = settle(spec, &mut manifests, "/proc/self/exe".into()).await;
            settled.map_err(|error| vec![format!("spec.ignoreDifferences: {error}")])?;
        }
        Ok(Bound { manifests, problems, warnings })
    }
}

fn stamp(
    bodies: &Arc<Manifests<Rendered>>,
    key: &ApplicationKey,
    surveyed: &Surveyed,
    binder: &Binder<'_>,
) -> (Manifests<Stamped>, Vec<String>) {
    let told;
    let resources = if let Some(resources) = binder.resources {
        resources
    } else {
        told = binder.scopes.resources([&**bodies]);
        &told
    };
    let mut manifests = Manifests::clone(bodies);
    manifests.pin(&surveyed.lock);
    let (manifests, errors) = manifests.stamp(&Stamp {
        installation: binder.installation,
        application: key,
        namespace: surveyed.destination(),
        resources,
        digester: binder.digester,
    });
    (manifests, errors.iter().map(ToString::to_string).collect())
}

/// The project that limits an Application, as the tree has it; one that only the cluster has is not known here.
fn project(fleet: &Fleet, key: &ApplicationKey, surveyed: &Surveyed) -> Result<Option<Project>, Refusal> {
    let Some(spec) = &surveyed.spec else { return Ok(None) };
    let name = if spec.project.is_empty() { DEFAULT } else { spec.project.as_str() };
    let agent_namespace = fleet.agent_namespace().unwrap_or(&key.namespace);
    let named = fleet.projects().find(|object| {
        let namespace = text_at(object, &["metadata", "namespace"]);
        text_at(object, &["metadata", "name"]) == Some(name)
            && namespace.is_none_or(|namespace| namespace == agent_namespace)
    });
    let Some(object) = named else { return Ok(None) };
    let project = Project::read(object)?;
    project.judge(spec, &key.namespace, agent_namespace)?;
    Ok(Some(project))
}

/// The manifests of the Applications of a fleet.
pub(crate) type AllBound = BTreeMap<ApplicationKey, Bound>;
