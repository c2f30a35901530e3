//! The files at one moment, rendered as the agent will.

use std::collections::BTreeSet;

use gitmoor_core::{
    object::text_at,
    provision::{Item, unprovided, unserved},
    scope::Scopes,
    tracking::ApplicationKey,
};
use serde_json::Value;

use super::{Arguments, asked::Asked, findings::Finding};
use crate::{
    failure::{Exit, Failure},
    fleet::{AllBound, Binder, Fleet, Ground, Prepared, Surveyor, idle_digester},
    git::Snapshot,
};

/// The category of what does not render.
pub(super) const NOT_RENDERED: &str = "NotRendered";

/// The files, before anything of them is rendered.
pub(super) struct Files {
    pub(super) snapshot: Snapshot,
    pub(super) ground: Ground,
    /// The root Applications.
    pub(super) roots: Vec<Value>,
}

/// What they hold.
pub(super) struct Tree {
    pub(super) fleet: Fleet,
    pub(super) bound: AllBound,
    /// What can be told from the files alone.
    pub(super) findings: BTreeSet<Finding>,
}

impl Files {
    /// Why a folder cannot be rehearsed.
    pub(super) fn without_git() -> Failure {
        Failure::new(Exit::Usage, "this folder is not under Git").hint("run `git init` in it")
    }

    /// As they are now.
    pub(super) fn now(prepared: &Prepared) -> Result<Self, Failure> {
        let (snapshot, ground) = prepared.snapshot()?.ok_or_else(Self::without_git)?;
        let roots = prepared.wanted_roots(&ground)?;
        Ok(Self { snapshot, ground, roots })
    }

    /// What differs from others of the same work tree.
    pub(super) fn changed_since(&self, before: &Self, prepared: &Prepared) -> Result<Vec<String>, Failure> {
        let (repository, _) = prepared.clone.as_ref().ok_or_else(Self::without_git)?;
        Ok(repository.changed_paths(&before.snapshot, &self.snapshot)?)
    }
}

impl Tree {
    /// Renders every Application that was not rendered before. One whose parent does not render stays as it was `before`.
    pub(super) async fn render(
        arguments: &Arguments,
        surveyor: &Surveyor,
        files: &Files,
        before: &Fleet,
    ) -> Result<Self, Failure> {
        let mut fleet = surveyor.survey(&files.ground, files.roots.clone()).await?;
        surveyor.keep_orphans(&files.ground, &mut fleet, before).await?;
        let installation = arguments.render.installation(fleet.agent_namespace().unwrap_or_default())?;
        let (scopes, digester) = (Scopes::new(fleet.scopes()), idle_digester());
        let binder = Binder { installation: &installation, digester: &digester, resources: None, scopes: &scopes };
        let (mut bound, mut findings) = (AllBound::new(), BTreeSet::new());
        for key in fleet.applications.keys() {
            match surveyor.bind(&files.ground, &fleet, key, &binder).await {
                Ok(rendered) => drop(bound.insert(key.clone(), rendered)),
                Err(problems) => {
                    findings.extend(problems.into_iter().map(|problem| Finding::new(NOT_RENDERED, key, problem)));
                }
            }
        }
        findings.extend(provisions(&bound));
        Ok(Self { fleet, bound, findings })
    }

    /// Every object in the version that it is written in.
    pub(super) fn versions(&self) -> BTreeSet<Versioned> {
        let objects = self.bound.values().flat_map(|bound| bound.manifests.items());
        let versions = objects.map(|manifest| Versioned {
            api_version: text_at(&manifest.object, &["apiVersion"]).unwrap_or_default().to_owned(),
            namespace: manifest.id.namespace.clone().unwrap_or_default(),
            name: manifest.id.name.clone(),
        });
        versions.collect()
    }

    /// What it asks of AWS.
    pub(super) fn asked(&self) -> Asked {
        Asked::of(&self.bound)
    }

    /// The Applications that render.
    pub(super) fn known(&self) -> BTreeSet<ApplicationKey> {
        self.bound.keys().cloned().collect()
    }
}

/// An object in one of the versions of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Versioned {
    pub(super) api_version: String,
    /// Empty without one.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What the objects need and nobody brings.
fn provisions(bound: &AllBound) -> Vec<Finding> {
    let names: Vec<String> = bound.keys().map(ToString::to_string).collect();
    let all = names.iter().zip(bound.values());
    let items: Vec<Item<'_>> = all
        .flat_map(|(application, bound)| {
            bound.manifests.items().iter().map(move |manifest| Item { application, object: &manifest.object })
        })
        .collect();
    let of = |category, missing: Vec<_>| missing.into_iter().map(move |missing| Finding::missing(category, missing));
    of("WebhookUnserved", unserved(&items)).chain(of("SecretMissing", unprovided(&items))).collect()
}
