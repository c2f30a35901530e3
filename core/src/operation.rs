//! Syncs as people and the agent ask for them: requests, attempts, and which of them is next.
//!
//! A sync that runs hooks, or that somebody has asked for, is an *attempt*: it is written into the status with an id of
//! its own before anything is done, so that after a crash the same attempt goes on and no hook runs twice in it.
//! A sync without either needs no memory: to apply what is applied changes nothing.
//!
//! Field names: Argo CD's `Operation`, `SyncOperation` and `OperationState`.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::duration;
use crate::names::INFO_ATTEMPT;
use crate::object::{ObjectId, text_at};
use crate::tracking::hex;

/// `operation.sync` of an Application: what somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// Branch, tag or commit instead of the one that the Application follows.
    pub revision: String,
    /// Source instead of that of the Application: a rollback.
    pub source: Option<Value>,
    /// Delete what is left over.
    pub prune: bool,
    /// Ask the API server what it would say; change nothing.
    pub dry_run: bool,
    /// Only these objects, without hooks.
    pub resources: Vec<Selected>,
    /// Options instead of those of the Application.
    pub sync_options: Option<Vec<String>>,
    /// `apply`: without hooks.
    pub sync_strategy: Strategy,
}

/// `operation.sync.syncStrategy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Strategy {
    /// Apply only.
    pub apply: Option<Force>,
    /// Apply and run hooks, which is the default.
    pub hook: Option<Force>,
}

impl Strategy {
    /// Whether either way asks for force.
    pub fn force(&self) -> bool {
        self.apply.or(self.hook).is_some_and(|way| way.force)
    }
}

/// Whether an object that cannot be changed is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Force {
    /// Make it anew.
    pub force: bool,
}

/// One of `operation.sync.resources`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Selected {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; any when empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Selected {
    /// True for the object that is meant.
    pub fn is(&self, id: &ObjectId) -> bool {
        id.group_kind.is(&self.group, &self.kind)
            && id.name == self.name
            && (self.namespace.is_empty() || id.namespace.as_deref() == Some(self.namespace.as_str()))
    }
}

impl Request {
    /// Reads an `operation`.
    ///
    /// # Errors
    /// Why it cannot be carried out.
    pub fn read(operation: &Value) -> Result<Self, String> {
        let sync = operation.get("sync").ok_or("operation.sync is missing; nothing else can be asked for")?;
        for field in ["manifests", "sources", "revisions"] {
            if sync[field].as_array().is_some_and(|items| !items.is_empty()) {
                return Err(format!("operation.sync.{field} is not supported"));
            }
        }
        serde_json::from_value(sync.clone()).map_err(|error| format!("operation.sync cannot be read: {error}"))
    }

    /// Whether hooks run.
    pub fn runs_hooks(&self) -> bool {
        self.resources.is_empty() && !self.dry_run && self.sync_strategy.apply.is_none()
    }

    /// Whether all objects of the Application are meant, and really applied.
    pub fn is_whole(&self) -> bool {
        self.resources.is_empty() && !self.dry_run
    }

    /// Whether objects that cannot be changed are made anew.
    pub fn forces(&self) -> bool {
        let strategy = &self.sync_strategy;
        [strategy.apply, strategy.hook].into_iter().flatten().any(|of| of.force)
    }
}

/// `retry` of a sync policy or an operation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How many times an attempt that failed is repeated; negative: without end.
    pub limit: i64,
    /// How long to wait in between.
    pub backoff: Backoff,
}

/// `retry.backoff`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first pause: `5s`, `1m30s`, or a number of seconds.
    pub duration: String,
    /// What each further pause is multiplied by.
    pub factor: Option<i64>,
    /// The longest pause.
    pub max_duration: String,
}

impl Default for Retry {
    /// What Argo CD does for automated syncs that say nothing: five more, after 5, 10, 20, … seconds.
    fn default() -> Self {
        Self { limit: 5, backoff: Backoff::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { duration: "5s".to_owned(), factor: Some(2), max_duration: "3m".to_owned() }
    }
}

impl Retry {
    /// Never again.
    pub fn never() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// How long after attempt number `count` (from 0) has failed the next one begins; `None` when there is none.
    pub fn pause(&self, count: u32) -> Option<Duration> {
        if self.limit >= 0 && i64::from(count) >= self.limit {
            return None;
        }
        let standard = Backoff::default();
        let first = seconds(&self.backoff.duration).or_else(|| seconds(&standard.duration))?;
        let longest = seconds(&self.backoff.max_duration).or_else(|| seconds(&standard.max_duration))?;
        let factor = self.backoff.factor.filter(|factor| *factor > 0).unwrap_or(2) as f64;
        let pause = (first * factor.powi(i32::try_from(count.min(64)).unwrap_or(64))).min(longest);
        Some(Duration::from_secs_f64(pause.max(0.1)))
    }
}

/// A duration of Go, or a bare number of seconds, which Argo CD takes too.
fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) => (number.is_finite() && number >= 0.0).then_some(number),
        Err(_) => duration::parse(text).map(|duration| duration.as_secs_f64()),
    }
}

/// The attempt that a status tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Its id: unlike that of any other attempt of the Application.
    pub id: String,
    /// The commit that it rolls out.
    pub revision: String,
    /// `Running`, `Terminating`, `Succeeded`, `Failed`.
    pub phase: String,
    /// How many attempts failed before it.
    pub retry_count: u32,
    /// When it ended: RFC 3339.
    pub finished_at: Option<String>,
    /// What was asked for; of an automated sync, what the agent asked itself.
    pub operation: Value,
}

impl Attempt {
    /// The attempt in the status of an Application, if its last sync was one.
    pub fn of(status: &Value) -> Option<Self> {
        let state = status.get("operationState")?;
        let id = attempt_of(&state["operation"])?;
        Some(Self {
            id: id.to_owned(),
            revision: text_at(state, &["syncResult", "revision"]).unwrap_or_default().to_owned(),
            phase: text_at(state, &["phase"]).unwrap_or_default().to_owned(),
            retry_count: state["retryCount"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            finished_at: text_at(state, &["finishedAt"]).map(str::to_owned),
            operation: state["operation"].clone(),
        })
    }

    /// It has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.phase.as_str(), "Running" | "Terminating")
    }

    /// Somebody asked for it.
    pub fn request(&self) -> Option<Request> {
        let automated = self.operation["initiatedBy"]["automated"] == true;
        Request::read(&self.operation).ok().filter(|_| !automated)
    }

    /// How it is repeated when it fails.
    pub fn retry(&self, of_policy: Option<&Retry>) -> Retry {
        if self.operation["initiatedBy"]["automated"] == true {
            return of_policy.cloned().unwrap_or_default();
        }
        serde_json::from_value(self.operation["retry"].clone()).unwrap_or_else(|_| Retry::never())
    }
}

/// The id among the `info` of an operation.
fn attempt_of(operation: &Value) -> Option<&str> {
    let info = operation["info"].as_array()?;
    info.iter().find(|item| item["name"] == INFO_ATTEMPT).and_then(|item| item["value"].as_str())
}

/// An operation as it is written into the status of a new attempt: what was asked for (`None`: the agent itself), and
/// an id that depends on the Application and on its attempt before, so that no two are alike.
pub fn begin(requested: Option<&Value>, revision: &str, object: &Value, now: &str) -> (String, Value) {
    let mut operation = match requested {
        Some(operation) => operation.clone(),
        None => json!({"initiatedBy": {"automated": true}, "sync": {"revision": revision}}),
    };
    let before = attempt_of(&object["status"]["operationState"]["operation"]).unwrap_or_default().to_owned();
    let uid = text_at(object, &["metadata", "uid"]).unwrap_or_default();
    let digest = Sha256::digest(format!("{uid}\n{before}\n{revision}\n{now}\n{operation}"));
    let id = hex(&digest[..5]);
    let info = json!({"name": INFO_ATTEMPT, "value": id});
    let others = operation["info"].as_array().into_iter().flatten().filter(|item| item["name"] != INFO_ATTEMPT);
    let all: Vec<Value> = others.cloned().chain([info]).collect();
    operation["info"] = Value::Array(all);
    (id, operation)
}

/// The operation that an Application is to be evaluated for: the one that is asked for, or that is under way.
pub fn active(object: &Value) -> Option<&Value> {
    if object["operation"].is_object() {
        return Some(&object["operation"]);
    }
    let state = &object["status"]["operationState"];
    let running = matches!(text_at(state, &["phase"]), Some("Running" | "Terminating"));
    let automated = state["operation"]["initiatedBy"]["automated"] == true;
    (running && !automated).then_some(&state["operation"]).filter(|operation| operation.is_object())
}

/// The Application as it is to be evaluated: with the revision and the source of an operation, if that names any.
pub fn effective(object: &Value) -> Cow<'_, Value> {
    let Some(request) = active(object).and_then(|operation| Request::read(operation).ok()) else {
        return Cow::Borrowed(object);
    };
    let automated = &object["spec"]["syncPolicy"]["automated"];
    // Which would undo it: such a request is refused.
    let automated = automated.is_object() && automated["enabled"] != false;
    if automated || (request.revision.is_empty() && request.source.is_none()) {
        return Cow::Borrowed(object);
    }
    let mut asked = object.clone();
    if let Some(source) = request.source {
        asked["spec"]["source"] = source;
    }
    if !request.revision.is_empty() && asked["spec"]["source"].is_object() {
        asked["spec"]["source"]["targetRevision"] = json!(request.revision);
    }
    Cow::Owned(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_end_with_the_limit() {
        let seconds = |retry: &Retry| (0..8).map(|n| retry.pause(n).map(|p| p.as_secs())).collect::<Vec<_>>();
        let some = |numbers: &[u64]| numbers.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(seconds(&Retry::default()), [some(&[5, 10, 20, 40, 80]), vec![None; 3]].concat());
        let retry: Retry = serde_json::from_value(
            json!({"limit": -1, "backoff": {"duration": "1m30s", "factor": 3, "maxDuration": "10m"}}),
        )
        .unwrap();
        assert_eq!(seconds(&retry), some(&[90, 270, 600, 600, 600, 600, 600, 600]));
        assert_eq!(Retry::never().pause(0), None);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [("5s", Some(5.0)), ("500ms", Some(0.5)), ("1h2m", Some(3720.0)), ("7", Some(7.0))] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for text in ["", "s", "5 parsecs", "-1", "5x"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn requests_say_what_they_cannot_do() {
        let request =
            Request::read(&json!({"sync": {"resources": [{"kind": "ConfigMap", "name": "a"}], "prune": true}}));
        let request = request.unwrap();
        assert!(request.prune && !request.runs_hooks() && !request.is_whole());
        assert!(Request::read(&json!({})).is_err());
        assert!(Request::read(&json!({"sync": {"manifests": ["x"]}})).unwrap_err().contains("manifests"));
        let apply = Request::read(&json!({"sync": {"syncStrategy": {"apply": {"force": true}}}})).unwrap();
        assert!(apply.forces() && !apply.runs_hooks() && apply.is_whole());
    }

    #[test]
    fn every_attempt_has_an_id_of_its_own_and_is_found_again() {
        let now = "2026-01-01T00:00:00Z";
        let (first, operation) = begin(None, "c1", &json!({"metadata": {"uid": "1"}}), now);
        assert_ne!(first, begin(None, "c1", &json!({"metadata": {"uid": "2"}}), now).0, "another Application");
        let status = json!({"operationState": {"operation": operation, "phase": "Running", "retryCount": 2, "syncResult": {"revision": "c1"}}});
        let attempt = Attempt::of(&status).unwrap();
        assert_eq!((attempt.id.as_str(), attempt.retry_count), (first.as_str(), 2));
        assert!(attempt.is_running() && attempt.request().is_none());
        let object = json!({"metadata": {"uid": "1"}, "status": status});
        let (second, _) = begin(None, "c1", &object, now);
        assert_ne!(first, second, "same commit, same second");
        let asked = json!({"sync": {"revision": "v1"}, "info": [{"name": "reason", "value": "x"}]});
        let (_, operation) = begin(Some(&asked), "c1", &object, now);
        assert_eq!(operation["info"].as_array().unwrap().len(), 2);
        let again = json!({"status": {"operationState": {"operation": operation, "phase": "Running"}}});
        assert_eq!(active(&again), Some(&again["status"]["operationState"]["operation"]));
        assert_eq!(active(&json!({"status": status})), None, "the agent's own");
    }
}
