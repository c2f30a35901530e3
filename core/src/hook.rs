//! Hooks: objects that run at a phase of a sync instead of being kept in the cluster.
//!
//! Annotations and their meaning: Argo CD's `gitops-engine/pkg/sync/{hook,common}`; Helm's are mapped as Argo CD maps
//! them. Where an object has an annotation of Argo CD, Helm's are ignored.

use std::fmt;

use serde_json::Value;

use crate::health::{HealthStatus, assess};
use crate::names::{
    ANNOTATION_HELM_HOOK, ANNOTATION_HELM_HOOK_DELETE_POLICY, ANNOTATION_HELM_HOOK_WEIGHT, ANNOTATION_HOOK,
    ANNOTATION_HOOK_DELETE_POLICY, ANNOTATION_HOOK_RUN, ANNOTATION_SYNC_WAVE, FINALIZER_HOOK,
};
use crate::object::{annotation, text_at};

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPhase {
    /// Before anything is applied.
    PreSync,
    /// Together with the objects of its wave.
    Sync,
    /// When everything is applied and healthy.
    PostSync,
    /// When the sync has failed.
    SyncFail,
}

impl HookPhase {
    /// As it stands in annotations and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
        }
    }

    /// The phase that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::PreSync, Self::Sync, Self::PostSync, Self::SyncFail].into_iter().find(|phase| phase.as_str() == word)
    }

    fn of_helm(word: &str) -> Option<Self> {
        match word {
            "pre-install" | "pre-upgrade" => Some(Self::PreSync),
            "post-install" | "post-upgrade" => Some(Self::PostSync),
            _ => None,
        }
    }
}

impl fmt::Display for HookPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an object of the repository is to a sync.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// It is kept in the cluster.
    #[default]
    Object,
    /// It runs at these phases, and is not kept.
    Hook(Vec<HookPhase>),
    /// Neither applied nor deleted: `hook: Skip`, or a hook of a kind that never runs here.
    Skipped,
}

impl Role {
    /// The role of a manifest.
    pub fn of(object: &Value) -> Self {
        let (words, phase): (_, fn(&str) -> Option<HookPhase>) =
            match (annotation(object, ANNOTATION_HOOK), annotation(object, ANNOTATION_HELM_HOOK)) {
                (Some(words), _) => (words, HookPhase::from_word),
                // Helm 2's way to install definitions: not a hook for anybody today.
                (None, None | Some("crd-install")) => return Self::Object,
                (None, Some(words)) => (words, HookPhase::of_helm),
            };
        let mut phases: Vec<HookPhase> = words.split(',').filter_map(|word| phase(word.trim())).collect();
        phases.sort_unstable();
        phases.dedup();
        let skip = words.split(',').any(|word| word.trim() == "Skip");
        if skip || phases.is_empty() { Self::Skipped } else { Self::Hook(phases) }
    }

    /// True for what is kept in the cluster.
    pub fn is_object(&self) -> bool {
        *self == Self::Object
    }

    /// True for a hook that runs at a phase.
    pub fn runs_at(&self, phase: HookPhase) -> bool {
        matches!(self, Self::Hook(phases) if phases.contains(&phase))
    }
}

/// Hook words of an object that have no effect here, for a warning.
pub fn without_effect(object: &Value) -> Option<String> {
    let argo_cd = |word: &str| word == "Skip" || HookPhase::from_word(word).is_some();
    // Tests and rollbacks are commands of Helm; a sync is neither.
    let helm = |word: &str| {
        HookPhase::of_helm(word).is_some()
            || word.starts_with("test")
            || word.ends_with("-rollback")
            || word == "crd-install"
    };
    let (words, known): (_, &dyn Fn(&str) -> bool) = match annotation(object, ANNOTATION_HOOK) {
        Some(words) => (words, &argo_cd),
        None => (annotation(object, ANNOTATION_HELM_HOOK)?, &helm),
    };
    let unknown: Vec<&str> = words.split(',').map(str::trim).filter(|word| !known(word)).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// The wave of an object: `sync-wave`, else a Helm hook's weight, else 0.
pub fn wave_of(object: &Value) -> i32 {
    let number = |name| annotation(object, name).and_then(|text| text.trim().parse().ok());
    number(ANNOTATION_SYNC_WAVE).or_else(|| number(ANNOTATION_HELM_HOOK_WEIGHT)).unwrap_or(0)
}

/// When a hook is deleted. Whatever it says, one of an earlier attempt makes way for the next: a name can be used once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeletePolicy {
    /// Once the sync has ended and it succeeded.
    pub succeeded: bool,
    /// Once the sync has ended and it failed.
    pub failed: bool,
}

impl DeletePolicy {
    fn of(object: &Value) -> Self {
        let words = annotation(object, ANNOTATION_HOOK_DELETE_POLICY)
            .or_else(|| annotation(object, ANNOTATION_HELM_HOOK_DELETE_POLICY))
            .unwrap_or_default();
        let has = |one: &str, other: &str| words.split(',').map(str::trim).any(|word| word == one || word == other);
        Self { succeeded: has("HookSucceeded", "hook-succeeded"), failed: has("HookFailed", "hook-failed") }
    }
}

/// Which run a hook belongs to: an attempt of a sync, and a phase of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId {
    /// The attempt.
    pub attempt: String,
    /// The phase.
    pub phase: HookPhase,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.attempt, self.phase)
    }
}

impl RunId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (attempt, phase) = text.split_once('/')?;
        Some(Self { attempt: attempt.to_owned(), phase: HookPhase::from_word(phase)? })
    }
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Nothing of it runs at the moment: it waits for a node, an image, its controller.
    Waiting(String),
    /// It runs.
    Running(String),
    /// It has ended well.
    Succeeded,
    /// It has ended badly, or was deleted before its end.
    Failed(String),
}

impl Execution {
    /// Argo CD's word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting(_) | Self::Running(_) => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed(_) => "Failed",
        }
    }

    fn of(object: &Value) -> Self {
        let deleting = object["metadata"].get("deletionTimestamp").is_some();
        let health = if deleting {
            let mut alive = object.clone();
            if let Some(metadata) = alive["metadata"].as_object_mut() {
                metadata.remove("deletionTimestamp");
            }
            assess(&alive)
        } else {
            assess(object)
        };
        let message = health.message.unwrap_or_default();
        match health.status {
            HealthStatus::Healthy => Self::Succeeded,
            HealthStatus::Degraded => Self::Failed(message),
            _ if deleting => Self::Failed("it was deleted before it had ended".to_owned()),
            _ if is_active(object) => Self::Running(message),
            _ => Self::Waiting(message),
        }
    }
}

/// Whether something of a hook that has not ended runs at the moment. Of a kind that is not known: yes.
fn is_active(object: &Value) -> bool {
    let status = &object["status"];
    match text_at(object, &["kind"]).unwrap_or_default() {
        // `ready`: since Kubernetes 1.24; pods that run and have no readiness probe are ready.
        "Job" => status["ready"].as_u64().or_else(|| status["active"].as_u64()).unwrap_or(0) > 0,
        "Pod" | "Workflow" => text_at(status, &["phase"]) == Some("Running"),
        _ => true,
    }
}

/// A live object that runs, or ran, as a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveHook {
    /// Which run.
    pub run: RunId,
    /// How far it has come.
    pub execution: Execution,
    /// Our finalizer keeps it until its outcome is in the status.
    pub held: bool,
    /// When it is deleted.
    pub delete: DeletePolicy,
    /// Its name was made for this run, so that no later one makes it way.
    pub generated: bool,
}

impl LiveHook {
    /// The hook that a live object is, if the agent made it as one.
    pub fn of(object: &Value) -> Option<Self> {
        let run = RunId::parse(annotation(object, ANNOTATION_HOOK_RUN)?)?;
        let finalizers = object["metadata"]["finalizers"].as_array();
        Some(Self {
            run,
            execution: Execution::of(object),
            held: finalizers.is_some_and(|names| names.iter().any(|name| name == FINALIZER_HOOK)),
            delete: DeletePolicy::of(object),
            generated: text_at(object, &["metadata", "generateName"]).is_some(),
        })
    }
}

/// The name that a hook has in a run: its own, or its `generateName` with the attempt's id and phase.
pub fn name_in_run(name: &str, generated: bool, run: &RunId) -> String {
    if generated { format!("{name}{}-{}", run.attempt, run.phase.as_str().to_lowercase()) } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(annotations: Value) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "annotations": annotations}})
    }

    #[test]
    fn roles_follow_argo_cd_and_helm() {
        use HookPhase::{PostSync, PreSync, Sync};
        let cases = [
            (json!({}), Role::Object, None),
            (json!({"argocd.argoproj.io/hook": "PreSync"}), Role::Hook(vec![PreSync]), None),
            (json!({"argocd.argoproj.io/hook": "PostSync, Sync"}), Role::Hook(vec![Sync, PostSync]), None),
            (json!({"argocd.argoproj.io/hook": "Skip"}), Role::Skipped, None),
            (json!({"argocd.argoproj.io/hook": "PostDelete"}), Role::Skipped, Some("PostDelete")),
            (json!({"helm.sh/hook": "crd-install"}), Role::Object, None),
            (json!({"helm.sh/hook": "pre-install,pre-upgrade"}), Role::Hook(vec![PreSync]), None),
            (json!({"helm.sh/hook": "post-install,post-delete"}), Role::Hook(vec![PostSync]), Some("post-delete")),
            (json!({"helm.sh/hook": "test"}), Role::Skipped, None),
            (json!({"helm.sh/hook": "pre-install", "argocd.argoproj.io/hook": "Sync"}), Role::Hook(vec![Sync]), None),
        ];
        for (annotations, role, unknown) in cases {
            let object = with(annotations);
            assert_eq!(Role::of(&object), role, "{object}");
            assert_eq!(without_effect(&object).as_deref(), unknown, "{object}");
        }
    }

    #[test]
    fn waves_and_delete_policies_are_read_from_both() {
        assert_eq!(wave_of(&with(json!({"helm.sh/hook-weight": "-5"}))), -5);
        assert_eq!(wave_of(&with(json!({"helm.sh/hook-weight": "-5", "argocd.argoproj.io/sync-wave": "2"}))), 2);
        let policy = |annotations| DeletePolicy::of(&with(annotations));
        assert_eq!(policy(json!({})), DeletePolicy::default());
        let both = DeletePolicy { succeeded: true, failed: true };
        assert_eq!(
            policy(json!({"helm.sh/hook-delete-policy": "before-hook-creation, hook-succeeded,hook-failed"})),
            both
        );
        let succeeded = DeletePolicy { succeeded: true, failed: false };
        assert_eq!(policy(json!({"argocd.argoproj.io/hook-delete-policy": "HookSucceeded"})), succeeded);
    }

    #[test]
    fn a_run_that_is_being_deleted_is_judged_by_what_it_had_reached() {
        let job = |status: Value, deleting: bool| {
            let mut job = with(json!({"gitmoor.dev/hook-run": "0a/PreSync"}));
            job["status"] = status;
            if deleting {
                job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            LiveHook::of(&job).unwrap().execution
        };
        let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(job(complete.clone(), false), Execution::Succeeded);
        assert_eq!(job(complete, true), Execution::Succeeded, "a TTL deletes it");
        assert!(matches!(job(json!({"active": 1, "ready": 0}), false), Execution::Waiting(_)));
        assert!(matches!(job(json!({"active": 1, "ready": 1}), false), Execution::Running(_)));
        assert!(matches!(job(json!({"active": 1}), true), Execution::Failed(_)), "somebody deleted it");
        let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]});
        assert!(matches!(job(failed, false), Execution::Failed(why) if why.contains("BackoffLimitExceeded")));
    }

    #[test]
    fn a_copied_annotation_of_another_shape_is_no_run() {
        assert_eq!(LiveHook::of(&with(json!({"gitmoor.dev/hook-run": "x"}))), None);
        let run = RunId { attempt: "0a".into(), phase: HookPhase::SyncFail };
        assert_eq!(RunId::parse(&run.to_string()), Some(run.clone()));
        assert_eq!(name_in_run("migrate-", true, &run), "migrate-0a-syncfail");
        assert_eq!(name_in_run("migrate", false, &run), "migrate");
    }
}
