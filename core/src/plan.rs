//! From desired and live objects to a plan: what to apply, in which order, and what is left over.

use std::collections::HashSet;

use serde_json::Value;

use crate::hook::{Role, wave_of};
use crate::live::{LiveIndex, LiveObject, Ownership};
use crate::manifest::{Manifest, Manifests, Stamped};
use crate::names::{APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::{GroupKind, ObjectId};
use crate::ownership::FieldPath;
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
    /// Whether it is kept, or runs as a hook.
    pub role: Role,
    /// Its name is only the beginning of one: that of a hook, which gets another in each run.
    pub generated: bool,
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
                "ServiceAccount"
                | "ConfigMap"
                | "Secret"
                | "ResourceQuota"
                | "LimitRange"
                | "PersistentVolume"
                | "PersistentVolumeClaim",
            )
            | ("rbac.authorization.k8s.io", _)
            | ("networking.k8s.io", "NetworkPolicy" | "IngressClass") => Self::Configuration,
            ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) | (APPLICATION_GROUP, APPLICATION_KIND) => {
                Self::Interception
            }
            _ => Self::Workload,
        }
    }
}

impl DesiredObject {
    /// Reduces a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            api_version: manifest.object["apiVersion"].as_str().unwrap_or_default().to_owned(),
            digest: manifest.digest().to_owned(),
            order: Order { wave: wave_of(&manifest.object), tier: Tier::of(&manifest.id.group_kind) },
            role: Role::of(&manifest.object),
            generated: manifest.object["metadata"].get("name").is_none(),
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
    /// Its digest is right, but its owned fields are not known to be, or Argo CD has written to it: compare, and apply when
    /// some are lost.
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
    /// One step per desired object that is kept, in the order of the sync.
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
    let kept = desired.iter().enumerate().filter(|(_, object)| object.role.is_object());
    let steps = kept.map(|(index, object)| Step {
        desired: index,
        action: live.get(&object.id).map_or(Action::Create, |live| decide(application, object, live, wanted_by)),
    });
    let wanted: HashSet<&ObjectId> = desired.iter().map(|object| &object.id).collect();
    let ours = Claim::Application(application.clone());
    // Hooks have their own rules for when they go.
    let left_over =
        live.labelled(label).filter(|live| live.claim == ours && live.hook.is_none() && !wanted.contains(&live.id));
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
    let known = hash.is_some() && hash == live.baseline && !live.care.taken_back;
    if known { Action::Skip } else { Action::Verify }
}

/// What a `Verify` finds: the first desired field that we no longer own, `None` when all are ours.
pub fn lost_field(live: &LiveObject, desired: &Value) -> Option<FieldPath> {
    match &live.ownership {
        Ownership::Whole(_, entry) => entry.open().first_missing(desired),
        Ownership::Known(_) => None,
        Ownership::None => Some(FieldPath::everything()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::{ANNOTATION_DIGEST, ANNOTATION_TRACKING_ID, FIELD_MANAGER, LABEL_APPLICATION};
    use crate::ownership::Entry;
    use crate::packed::Packed;
    use crate::tracking::Installation;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { namespace: "gitmoor".into(), name: name.into() }
    }

    fn installation() -> Installation {
        Installation::parse("gitmoor").unwrap()
    }

    fn map(name: &str) -> ObjectId {
        ObjectId { group_kind: GroupKind::new("", "ConfigMap"), namespace: Some("web".into()), name: name.into() }
    }

    fn desired(name: &str, digest: &str) -> DesiredObject {
        let id = map(name);
        let order = Order { wave: 0, tier: Tier::of(&id.group_kind) };
        DesiredObject {
            id,
            api_version: "v1".into(),
            digest: digest.into(),
            order,
            role: Role::Object,
            generated: false,
        }
    }

    fn live(name: &str, owner: &str, digest: &str, revision: u32) -> LiveObject {
        let installation = installation();
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": name, "namespace": "web", "uid": format!("uid-{name}"), "resourceVersion": revision.to_string(),
            "labels": {LABEL_APPLICATION: installation.label_value(&key(owner))},
            "annotations": {ANNOTATION_TRACKING_ID: installation.tracking_id(&key(owner), &map(name)), ANNOTATION_DIGEST: digest},
            "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:a": {}}}}],
        }});
        LiveObject::reduce(&object, &installation).unwrap()
    }

    fn actions(wanted: &[DesiredObject], index: &LiveIndex) -> Vec<Action> {
        let label = installation().label_value(&key("web"));
        let plan = plan(&key("web"), &label, wanted, index, &|id, _| id.name == "wanted-by-both");
        plan.steps.into_iter().map(|step| step.action).collect()
    }

    #[test]
    fn each_state_has_its_action() {
        let mut index = LiveIndex::default();
        index.applied(live("equal", "web", "1", 1));
        index.applied(live("changed", "web", "1", 1));
        index.observe(live("unknown", "web", "1", 1));
        let mut taken_back = live("taken-back", "web", "1", 1);
        taken_back.care.taken_back = true;
        index.applied(taken_back);
        index.observe(live("moved", "old", "1", 1));
        index.observe(live("wanted-by-both", "old", "1", 1));
        index.observe(LiveObject { deleting: true, ..live("going", "web", "1", 1) });
        index.observe(LiveObject { claim: Claim::None, ..live("copied", "web", "1", 1) });
        index.observe(LiveObject { claim: Claim::OtherInstallation("b".into()), ..live("foreign", "web", "1", 1) });
        let wanted = [
            desired("equal", "1"),
            desired("changed", "2"),
            desired("unknown", "1"),
            desired("taken-back", "1"),
            desired("moved", "1"),
            desired("wanted-by-both", "1"),
            desired("going", "1"),
            desired("copied", "1"),
            desired("foreign", "1"),
            desired("absent", "1"),
        ];
        let expected = [
            Action::Skip,
            Action::Update,
            Action::Verify,
            Action::Verify,
            Action::Adopt,
            Action::Conflict("Application gitmoor/old".into()),
            Action::AwaitDeletion,
            Action::Adopt,
            Action::Conflict("installation b".into()),
            Action::Create,
        ];
        assert_eq!(actions(&wanted, &index), expected);
    }

    #[test]
    fn a_foreign_write_to_an_owned_field_is_verified_and_an_accepted_entry_is_not() {
        let mut index = LiveIndex::default();
        index.applied(live("a", "web", "1", 1));
        let mut edited = live("a", "web", "1", 2);
        let entry = Entry { api_version: "v1".into(), fields: json!({"f:data": {".": {}}}) };
        edited.ownership = Ownership::Whole(entry.hash(), Packed::of(&entry));
        assert_eq!(index.observe(edited).len(), 1, "the owner is told");
        assert_eq!(actions(&[desired("a", "1")], &index), [Action::Verify]);
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}});
        assert_eq!(lost_field(index.get(&map("a")).unwrap(), &body).unwrap().to_string(), "data.a");
        index.accept(&map("a"));
        assert_eq!(actions(&[desired("a", "1")], &index), [Action::Skip]);
    }

    #[test]
    fn who_had_an_object_before_is_told_of_its_adoption() {
        let mut index = LiveIndex::default();
        assert_eq!(index.applied(live("a", "old", "1", 1)), None);
        assert_eq!(index.applied(live("a", "web", "1", 2)), Some(installation().label_value(&key("old"))));
        assert_eq!(index.applied(live("a", "web", "1", 3)), None);
    }

    #[test]
    fn a_foreign_write_to_other_fields_tells_nobody() {
        let mut index = LiveIndex::default();
        index.applied(live("a", "web", "1", 1));
        assert!(index.observe(live("a", "web", "1", 7)).is_empty());
        assert_eq!(index.get(&map("a")).unwrap().resource_version, "7", "deletes need the present version");
    }

    #[test]
    fn an_older_event_does_not_undo_an_answer() {
        let mut index = LiveIndex::default();
        index.applied(live("a", "web", "2", 9));
        assert!(index.observe(live("a", "web", "1", 5)).is_empty());
        assert_eq!(actions(&[desired("a", "2")], &index), [Action::Skip]);
    }

    #[test]
    fn only_objects_that_we_provably_own_are_left_over() {
        let mut index = LiveIndex::default();
        index.applied(live("gone-from-git", "web", "1", 1));
        index.observe(LiveObject { claim: Claim::None, ..live("copied", "web", "1", 1) });
        let other = LiveObject { claim: Claim::Application(key("old")), ..live("others", "web", "1", 1) };
        index.observe(other);
        let label = installation().label_value(&key("web"));
        let plan = plan(&key("web"), &label, &[], &index, &|_, _| false);
        assert_eq!(plan.left_over, [map("gone-from-git")]);
    }
}
