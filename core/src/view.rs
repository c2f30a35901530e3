//! An Application as people look at it: what of spec and status a table, a tree and a wait need, and no more.
//!
//! Thousands are read at a time, so everything else is passed over while reading.

use serde::Deserialize;

use crate::health::PENDING_DELETION;
use crate::source::HEAD;
use crate::tracking::ApplicationKey;

/// An Application, in parts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ApplicationView {
    metadata: Metadata,
    spec: Spec,
    status: Status,
    operation: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    sync_policy: SyncPolicy,
    #[serde(flatten)]
    sources: Sources,
}

/// What an Application is rolled out of, as `spec` and `status.sync.comparedTo` say it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Sources {
    source: Option<serde_json::Value>,
    sources: Vec<serde_json::Value>,
}

impl Sources {
    /// Of both fields, `sources` counts when there are any.
    fn is(&self, other: &Self) -> bool {
        self.sources == other.sources && (!self.sources.is_empty() || self.source == other.source)
    }

    fn each(&self) -> impl Iterator<Item = &serde_json::Value> {
        let only = self.source.as_ref().filter(|_| self.sources.is_empty());
        self.sources.iter().chain(only)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SyncPolicy {
    automated: Option<Automated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Automated {
    enabled: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    sync: Sync,
    health: ViewedHealth,
    conditions: Vec<ViewedCondition>,
    resources: Vec<ViewedResource>,
    operation_state: OperationState,
    history: Vec<Deployed>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Sync {
    status: String,
    revision: String,
    revisions: Vec<String>,
    #[serde(rename = "comparedTo")]
    compared_to: Option<Sources>,
}

/// A health, as a status has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ViewedHealth {
    /// The word.
    pub status: String,
    /// What it waits for, or why it failed.
    pub message: Option<String>,
}

/// A condition, as a status has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ViewedCondition {
    /// Ends in `Error` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Category: text`.
    pub message: String,
    /// Since when.
    pub last_transition_time: Option<String>,
}

impl ViewedCondition {
    /// The one-word category; empty for conditions that somebody else wrote.
    pub fn category(&self) -> &str {
        self.parts().0
    }

    /// What is wrong, and the way out.
    pub fn text(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        match self.message.split_once(": ") {
            Some((category, text)) if word(category) => (category, text),
            _ => ("", &self.message),
        }
    }

    /// Something cannot be done, as opposed to something that people should know.
    pub fn is_error(&self) -> bool {
        self.kind.ends_with("Error")
    }
}

/// An object in the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ViewedResource {
    /// API group.
    pub group: String,
    /// API version without the group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, if it has one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// `Synced` or `OutOfSync`.
    pub status: String,
    /// Its health, if it has one of its own.
    pub health: Option<ViewedHealth>,
    /// It left Git and is still there.
    pub requires_pruning: bool,
}

impl ViewedResource {
    /// Its identity.
    pub fn id(&self) -> crate::object::ObjectId {
        crate::object::ObjectId {
            group_kind: crate::object::GroupKind::new(self.group.as_str(), self.kind.as_str()),
            namespace: self.namespace.clone().filter(|namespace| !namespace.is_empty()),
            name: self.name.clone(),
        }
    }

    /// What holds it, once its deletion has begun.
    pub fn leaving(&self) -> Option<&str> {
        let message = self.health.as_ref()?.message.as_deref()?;
        message.starts_with(PENDING_DELETION).then_some(message)
    }

    /// It is as it should be.
    pub fn is_fine(&self) -> bool {
        let healthy = self.health.as_ref().is_none_or(|health| matches!(health.status.as_str(), "Healthy" | ""));
        self.status == "Synced" && healthy && !self.requires_pruning
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OperationState {
    phase: String,
    message: String,
    finished_at: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Deployed {
    deployed_at: Option<String>,
}

impl ApplicationView {
    /// Namespace and name.
    pub fn key(&self) -> ApplicationKey {
        ApplicationKey { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }

    /// `Synced`, `OutOfSync` or `Unknown`; the last also of one that the agent has not looked at yet, or not since it has
    /// other sources.
    pub fn sync(&self) -> &str {
        if self.is_compared() { or_unknown(&self.status.sync.status) } else { "Unknown" }
    }

    /// What its status says was found for the sources that it has now.
    fn is_compared(&self) -> bool {
        self.status.sync.compared_to.as_ref().is_none_or(|compared| compared.is(&self.spec.sources))
    }

    /// Word of its health.
    pub fn health(&self) -> &str {
        or_unknown(&self.status.health.status)
    }

    /// What it is compared with; several sources with commas in between.
    pub fn revision(&self) -> String {
        let Sync { revision, revisions, .. } = &self.status.sync;
        if revisions.is_empty() { revision.clone() } else { revisions.join(",") }
    }

    /// The same, of commits only the first characters, and once where several sources share it.
    pub fn short_revision(&self) -> String {
        short_revision(&self.revision())
    }

    /// The repositories that it follows, each with the revision: of its sources in Git, as they write them.
    pub fn follows(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |source: &serde_json::Value, field: &str| !source[field].as_str().unwrap_or_default().is_empty();
        self.spec.sources.each().filter(move |source| text(source, "repoURL") && !text(source, "chart")).map(|source| {
            let revision = source["targetRevision"].as_str().filter(|revision| !revision.is_empty());
            (source["repoURL"].as_str().unwrap_or_default(), revision.unwrap_or(HEAD))
        })
    }

    /// When it was rolled out last; before the first time, when it was made.
    pub fn since(&self) -> Option<&str> {
        let deployed = self.status.history.last().and_then(|last| last.deployed_at.as_deref());
        deployed.or(self.metadata.creation_timestamp.as_deref())
    }

    /// Its conditions.
    pub fn conditions(&self) -> &[ViewedCondition] {
        &self.status.conditions
    }

    /// Its objects, as far as the status lists them.
    pub fn resources(&self) -> &[ViewedResource] {
        &self.status.resources
    }

    /// Everything is as the commit has it, and healthy; and that was found for the sources that it has now.
    pub fn is_fine(&self) -> bool {
        self.sync() == "Synced" && self.health() == "Healthy" && self.metadata.deletion_timestamp.is_none()
    }

    /// A sync runs, or is asked for.
    pub fn is_syncing(&self) -> bool {
        self.operation.is_some() || self.is_running()
    }

    /// A sync runs.
    pub fn is_running(&self) -> bool {
        let state = &self.status.operation_state;
        matches!(state.phase.as_str(), "Running" | "Terminating") && state.finished_at.is_none()
    }

    /// It syncs without being asked.
    pub fn is_automated(&self) -> bool {
        self.spec.sync_policy.automated.as_ref().is_some_and(|automated| automated.enabled != Some(false))
    }

    /// Its automation is there and switched off.
    pub fn is_suspended(&self) -> bool {
        self.spec.sync_policy.automated.as_ref().is_some_and(|automated| automated.enabled == Some(false))
    }

    /// Why it is not as it should be, or what happens to it, in one line; empty when there is nothing to say.
    pub fn reason(&self) -> String {
        one_line(&self.reason_text())
    }

    /// An agent has looked at it, at least once.
    pub fn is_seen(&self) -> bool {
        !self.status.sync.status.is_empty()
    }

    /// Its deletion has begun.
    pub fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// What the sync that runs waits for, in the agent's words.
    pub fn waits_for(&self) -> Option<&str> {
        Some(self.status.operation_state.message.as_str()).filter(|message| self.is_syncing() && !message.is_empty())
    }

    /// What keeps one that is being deleted: a condition, or of its objects the one that says most.
    fn leaving_text(&self) -> String {
        let going = "it is being deleted";
        if let Some(condition) = self.status.conditions.first() {
            return format!("{going}: {}", condition.message);
        }
        let held = self.status.resources.iter().filter_map(|one| Some((one, one.leaving()?)));
        let Some((first, why)) = held.clone().max_by_key(|(_, why)| tells(why)) else {
            return going.to_owned();
        };
        let more = match held.count() {
            1 => String::new(),
            2 => "; and 1 more goes".to_owned(),
            all => format!("; and {} more go", all - 1),
        };
        format!("{going}: {} is {why}{more}", first.id())
    }

    fn reason_text(&self) -> String {
        let Status { conditions, health, operation_state: state, resources, .. } = &self.status;
        if self.is_leaving() {
            return self.leaving_text();
        }
        let error = conditions.iter().find(|condition| condition.is_error());
        if let Some(condition) = error {
            return condition.message.clone();
        }
        if self.is_syncing() {
            return if state.message.is_empty() { "syncing".to_owned() } else { format!("syncing: {}", state.message) };
        }
        if !self.is_compared() {
            return "its sources have changed, and the agent has not looked at them yet".to_owned();
        }
        let blocked = conditions.iter().find(|condition| condition.category() == "PruneBlocked");
        if let Some(condition) = blocked {
            return condition.message.clone();
        }
        if let Some(message) = health.message.as_ref().filter(|_| health.status != "Healthy") {
            return message.clone();
        }
        let differ = resources.iter().filter(|resource| resource.status != "Synced").collect::<Vec<_>>();
        if let Some(first) = differ.first().filter(|_| self.sync() == "OutOfSync") {
            if let ([only], Some(leaving)) = (differ.as_slice(), first.leaving()) {
                return format!("{}: {leaving}", only.id());
            }
            let more =
                if differ.len() > 1 { format!(" and {} more differ", differ.len() - 1) } else { " differs".to_owned() };
            let way = if self.is_automated() { "" } else { "; automation is off" };
            return format!("{}{more}{way}", first.id());
        }
        match conditions.first() {
            Some(condition) => condition.message.clone(),
            None if self.is_suspended() => "suspended: it syncs only when asked".to_owned(),
            None if self.status.sync.status.is_empty() => "no agent has looked at it yet".to_owned(),
            None => String::new(),
        }
    }
}

/// How much a Namespace's conditions, an object's finalizers and nothing at all say of what holds it.
fn tells(leaving: &str) -> u8 {
    match leaving.strip_prefix(PENDING_DELETION) {
        Some(why) if why.starts_with(':') => 2,
        Some(why) => u8::from(!why.is_empty()),
        None => 0,
    }
}

fn or_unknown(word: &str) -> &str {
    if word.is_empty() { "Unknown" } else { word }
}

/// The first characters of a commit; a version stays whole.
pub fn short_commit(revision: &str) -> &str {
    let is_commit = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit { &revision[..7] } else { revision }
}

/// The revisions of several sources with commas in between, each one once.
pub fn distinct_revisions(revision: &str) -> Vec<&str> {
    let mut distinct = Vec::new();
    for one in revision.split(',').filter(|one| !one.is_empty()) {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// The same for people: short, and once where all of them are equal.
pub fn short_revision(revision: &str) -> String {
    match distinct_revisions(revision).as_slice() {
        [one] => short_commit(one).to_owned(),
        _ => revision.split(',').map(short_commit).collect::<Vec<_>>().join(","),
    }
}

/// A text on one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(object: Value) -> ApplicationView {
        serde_json::from_value(object).unwrap()
    }

    fn reason(status: Value) -> String {
        view(json!({"metadata": {"name": "web", "namespace": "gitmoor"}, "status": status})).reason()
    }

    #[test]
    fn what_is_gravest_is_the_reason() {
        let error = json!({"type": "SyncError", "message": "ApplyRejected: no\nsuch field"});
        let blocked = json!({"type": "PruneWarning", "message": "PruneBlocked: waits"});
        let running = json!({"phase": "Running", "message": "wave 1 waits"});
        let degraded = json!({"status": "Degraded", "message": "no image"});
        let other = json!([{"kind": "ConfigMap", "name": "a", "status": "OutOfSync"}, {"kind": "ConfigMap", "name": "b", "status": "OutOfSync"}]);
        for (status, expected) in [
            (json!({"conditions": [blocked, error], "operationState": running}), "ApplyRejected: no such field"),
            (json!({"conditions": [blocked], "operationState": running}), "syncing: wave 1 waits"),
            (json!({"conditions": [blocked], "health": degraded}), "PruneBlocked: waits"),
            (json!({"health": degraded, "resources": other}), "no image"),
            (
                json!({"sync": {"status": "OutOfSync"}, "resources": other}),
                "ConfigMap a and 1 more differ; automation is off",
            ),
            (
                json!({"sync": {"status": "OutOfSync"}, "resources": [{"kind": "ConfigMap", "name": "a", "status": "OutOfSync",
                    "requiresPruning": true, "health": {"status": "Progressing", "message": "pending deletion, held by x"}}]}),
                "ConfigMap a: pending deletion, held by x",
            ),
            (json!({"sync": {"status": "Synced"}, "health": {"status": "Healthy", "message": "x"}}), ""),
            (json!({}), "no agent has looked at it yet"),
        ] {
            assert_eq!(reason(status), expected);
        }
    }

    #[test]
    fn one_that_is_being_deleted_says_what_is_still_there() {
        let reason = |status: Value| {
            let metadata = json!({"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"});
            serde_json::from_value::<ApplicationView>(json!({"metadata": metadata, "status": status})).unwrap().reason()
        };
        let object = |kind: &str, message: &str| json!({"kind": kind, "name": "a", "status": "OutOfSync", "health": {"status": "Progressing", "message": message}});
        let going = object("ConfigMap", "pending deletion, held by x");
        let held = object("Namespace", "pending deletion: DiscoveryFailed: metrics.k8s.io/v1beta1");
        assert_eq!(
            reason(json!({"resources": [held, going, object("Secret", "x")]})),
            "it is being deleted: Namespace a is pending deletion: DiscoveryFailed: metrics.k8s.io/v1beta1; and 1 more goes"
        );
        let waits = json!({"type": "PruneWarning", "message": "PruneBlocked: it waits"});
        assert_eq!(
            reason(json!({"conditions": [waits], "resources": [held]})),
            "it is being deleted: PruneBlocked: it waits"
        );
        assert_eq!(reason(json!({})), "it is being deleted");
    }

    #[test]
    fn words_are_told_from_what_others_write() {
        for (message, category, text) in [
            ("PathNotFound: the path", "PathNotFound", "the path"),
            ("rpc error: code = 5", "", "rpc error: code = 5"),
            ("no colon", "", "no colon"),
        ] {
            let condition = ViewedCondition { message: message.into(), ..ViewedCondition::default() };
            assert_eq!((condition.category(), condition.text()), (category, text));
        }
    }

    #[test]
    fn revisions_are_short_where_they_are_commits() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let several = view(json!({"status": {"sync": {"revisions": [commit, "1.2.3"]}}}));
        assert_eq!(several.short_revision(), "0123456,1.2.3");
        let same = view(json!({"status": {"sync": {"revisions": [commit, commit]}}}));
        assert_eq!(same.short_revision(), "0123456", "said once");
        assert_eq!(distinct_revisions(&format!("{commit},1.2.3,{commit}")), [commit, "1.2.3"]);
        assert_eq!(view(json!({"status": {"sync": {"revision": commit}}})).short_revision(), "0123456");
    }

    #[test]
    fn what_was_compared_with_other_sources_is_not_fine_yet() {
        let with = |spec: Value, compared: Value| {
            let sync = json!({"status": "Synced", "comparedTo": compared});
            let view = view(json!({"spec": spec, "status": {"sync": sync, "health": {"status": "Healthy"}}}));
            let told = if view.is_fine() { ("Synced", false) } else { ("Unknown", true) };
            assert_eq!((view.sync(), view.reason().starts_with("its sources have changed")), told);
            view.is_fine()
        };
        let (one, other) = (json!({"path": "one"}), json!({"path": "other"}));
        assert!(with(json!({"source": one}), json!({"source": one, "destination": {}})));
        assert!(!with(json!({"source": other}), json!({"source": one})));
        assert!(with(json!({"sources": [one, other]}), json!({"sources": [one, other]})));
        assert!(with(json!({"source": one, "sources": [other]}), json!({"sources": [other]})), "sources count");
        assert!(!with(json!({"sources": [one]}), json!({"source": one})));
    }

    #[test]
    fn what_is_followed_are_repositories_and_no_charts() {
        let one = view(json!({"spec": {"source": {"repoURL": "https://git/x"}}}));
        assert_eq!(one.follows().collect::<Vec<_>>(), [("https://git/x", "HEAD")]);
        let several =
            json!([{"repoURL": "a", "targetRevision": "main"}, {"repoURL": "b", "chart": "c", "targetRevision": "1"}]);
        let several = view(json!({"spec": {"source": {"repoURL": "https://git/x"}, "sources": several}}));
        assert_eq!(several.follows().collect::<Vec<_>>(), [("a", "main")], "sources count");
    }

    #[test]
    fn automation_is_on_off_or_not_there() {
        for (automated, expected) in
            [(json!({}), (true, false)), (json!({"enabled": false}), (false, true)), (Value::Null, (false, false))]
        {
            let view = view(json!({"spec": {"syncPolicy": {"automated": automated}}}));
            assert_eq!((view.is_automated(), view.is_suspended()), expected);
        }
    }
}
