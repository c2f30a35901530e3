//! From desired and live objects to a plan: what to apply, in which order, and what is left over.

use std::collections::HashSet;

use serde_json::Value;

use crate::live::{LiveIndex, LiveObject};
use crate::manifest::{Manifest, Manifests, Stamped};
use crate::names::{ANNOTATION_SYNC_WAVE, APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::{GroupKind, ObjectId, annotation};
use crate::tracking::{ApplicationKey, Claim};

/// An object that an Application wants, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredObject {
    /// Identity.
    pub id: ObjectId,
    /// `group/version` that it is written in.
    pub api_version: String,
    /// Digest of its body.
    pub digest: String,
    /// Position in the order of the sync.
    pub order: Order,
}

/// Sync wave first, then the tier of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// `argocd.argoproj.io/sync-wave`, lower ones first.
    pub wave: i32,
    /// Tier of the kind within the wave.
    pub tier: Tier,
}

/// What has to be there before what, within a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Namespaces, definitions and classes, which others need to exist.
    Foundation,
    /// What others refer to: accounts, roles, configuration, storage claims.
    Configuration,
    /// Everything else.
    Workload,
    /// What intercepts requests, after what serves it; Applications.
    Interception,
}

impl Tier {
    /// The tier of a kind.
    pub fn of(group_kind: &GroupKind) -> Self {
        match (group_kind.group.as_str(), group_kind.kind.as_str()) {
            ("", "Namespace")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
            | ("scheduling.k8s.io", "PriorityClass")
            | ("storage.k8s.io", _)
            | ("node.k8s.io", "RuntimeClass") => Self::Foundation,
            (
                "",
                "ServiceAccount" | "ConfigMap" | "Secret" | "ResourceQuota" | "LimitRange" | "PersistentVolume"
                | "PersistentVolumeClaim",
            )
            | ("rbac.authorization.k8s.io", _)
            | ("networking.k8s.io", "NetworkPolicy" | "IngressClass") => Self::Configuration,
            ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => Self::Interception,
            (APPLICATION_GROUP, APPLICATION_KIND) => Self::Interception,
            _ => Self::Workload,
        }
    }
}

impl DesiredObject {
    /// Reduces a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let wave = annotation(&manifest.object, ANNOTATION_SYNC_WAVE).and_then(|wave| wave.trim().parse().ok());
        Self {
            id: manifest.id.clone(),
            api_version: manifest.object["apiVersion"].as_str().unwrap_or_default().to_owned(),
            digest: manifest.digest().to_owned(),
            order: Order { wave: wave.unwrap_or(0), tier: Tier::of(&manifest.id.group_kind) },
        }
    }

    /// All manifests of an Application, reduced, in the order of the sync.
    pub fn all(manifests: &Manifests<Stamped>) -> Vec<Self> {
        let mut desired: Vec<Self> = manifests.items().iter().map(Self::of).collect();
        desired.sort_by(|a, b| a.order.cmp(&b.order).then_with(|| a.id.cmp(&b.id)));
        desired
    }
}

/// What an object needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is as it should be.
    Skip,
    /// It is not there.
    Create,
    /// Git has changed it.
    Update,
    /// It is there without our tracking, or with that of an Application that no longer wants it.
    Adopt,
    /// Its digest is right, but its owned fields are not known to be: compare, and apply when some are lost.
    Verify,
    /// It is being deleted: nothing to do before it is gone.
    AwaitDeletion,
    /// Another Application that wants it too, or another installation, has it.
    Conflict(String),
}

/// One desired object and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index into the desired objects.
    pub desired: usize,
    /// What it needs.
    pub action: Action,
}

/// What brings the cluster to what is desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// One step per desired object, in the order of the sync.
    pub steps: Vec<Step>,
    /// Objects that carry our tracking id and are not desired.
    pub left_over: Vec<ObjectId>,
}

impl Plan {
    /// True when the bodies of the manifests are needed to carry the plan out.
    pub fn needs_bodies(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.action, Action::Skip | Action::AwaitDeletion | Action::Conflict(_)))
    }
}

/// Plans an Application.
///
/// `wanted_by` tells which other Application wants an object, judged by its latest complete render.
pub fn plan(
    application: &ApplicationKey,
    label: &str,
    desired: &[DesiredObject],
    live: &LiveIndex,
    wanted_by: &dyn Fn(&ObjectId, &ApplicationKey) -> bool,
) -> Plan {
    let steps = desired.iter().enumerate().map(|(index, object)| Step {
        desired: index,
        action: live.get(&object.id).map_or(Action::Create, |live| decide(application, object, live, wanted_by)),
    });
    let wanted: HashSet<&ObjectId> = desired.iter().map(|object| &object.id).collect();
    let ours = Claim::Application(application.clone());
    let left_over = live.labelled(label).filter(|live| live.claim == ours && !wanted.contains(&live.id));
    Plan { steps: steps.collect(), left_over: left_over.map(|live| live.id.clone()).collect() }
}

fn decide(
    application: &ApplicationKey,
    desired: &DesiredObject,
    live: &LiveObject,
    wanted_by: &dyn Fn(&ObjectId, &ApplicationKey) -> bool,
) -> Action {
    match &live.claim {
        Claim::OtherInstallation(name) => return Action::Conflict(format!("installation {name}")),
        Claim::Application(other) | Claim::Unlabelled(other)
            if other != application && wanted_by(&desired.id, other) =>
        {
            return Action::Conflict(format!("Application {other}"));
        }
        _ if live.deleting => return Action::AwaitDeletion,
        Claim::Application(owner) if owner == application => {}
        _ => return Action::Adopt,
    }
    if live.digest.as_deref() != Some(&desired.digest) {
        return Action::Update;
    }
    let hash = live.ownership.hash();
    if hash.is_some() && hash == live.baseline { Action::Skip } else { Action::Verify }
}

/// What a `Verify` finds: the first desired field that we no longer own, `None` when all are ours.
pub fn lost_field(live: &LiveObject, desired: &Value) -> Option<String> {
    match &live.ownership {
        crate::live::Ownership::Whole(entry) => entry.first_missing(desired),
        crate::live::Ownership::Known(_) => None,
        crate::live::Ownership::None => Some("all".to_owned()),
    }
}
