//! Syncs as people and the agent ask for them: requests, attempts, and which of them is next.
//!
//! A sync that runs hooks, or that somebody has asked for, is an *attempt*: it is written into the status with an id of
//! its own before anything is done, so that after a crash the same attempt goes on and no hook runs twice in it.
//! A sync without either needs no memory: to apply what is applied changes nothing.
//!
//! Field names: Argo CD's `Operation`, `SyncOperation` and `OperationState`.

mod retry;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::names::{INFO_ATTEMPT, INFO_OUTPUT};
use crate::object::{ObjectId, text_at};
use crate::tracking::hex;

pub use retry::{Backoff, Retry};

/// `operation.sync` of an Application: what somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// Branch, tag or commit instead of the one that the Application follows.
    pub revision: String,
    /// Source instead of that of the Application: a rollback.
    pub source: Option<Value>,
    /// As `revision`, for each of several sources.
    pub revisions: Vec<String>,
    /// As `source`, several of them.
    pub sources: Vec<Value>,
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
        if sync["manifests"].as_array().is_some_and(|items| !items.is_empty()) {
            return Err("operation.sync.manifests is not supported".to_owned());
        }
        serde_json::from_value(sync.clone()).map_err(|error| format!("operation.sync cannot be read: {error}"))
    }

    /// Why it does not fit an Application with this spec, if it does not.
    pub fn misfit(&self, spec: &Value) -> Option<String> {
        let (field, source) = if self.sources.is_empty() { named_source(spec) } else { ("sources", &Value::Null) };
        let asked = if self.sources.is_empty() { source.as_array().map_or(0, Vec::len) } else { self.sources.len() };
        let several = field == "sources" && self.source.is_none();
        if several && !self.revision.is_empty() {
            return Some(format!("there are {asked} sources: operation.sync.revisions has to name a revision of each"));
        }
        let wanted = if several { asked } else { 0 };
        (!self.revisions.is_empty() && self.revisions.len() != wanted)
            .then(|| format!("operation.sync.revisions names {} revisions for {wanted} sources", self.revisions.len()))
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
    info(operation, INFO_ATTEMPT)
}

fn info<'o>(operation: &'o Value, name: &str) -> Option<&'o str> {
    let info = operation["info"].as_array()?;
    info.iter().find(|item| item["name"] == name).and_then(|item| item["value"].as_str())
}

/// Sets one of the `info` of an operation; an empty value takes it out.
pub fn set_info(operation: &mut Value, name: &str, value: &str) {
    let others = operation["info"].as_array().into_iter().flatten().filter(|item| item["name"] != name);
    let own = (!value.is_empty()).then(|| json!({"name": name, "value": value}));
    let all: Vec<Value> = others.cloned().chain(own).collect();
    match operation.as_object_mut() {
        Some(operation) if all.is_empty() => drop(operation.remove("info")),
        Some(operation) => drop(operation.insert("info".to_owned(), Value::Array(all))),
        None => {}
    }
}

/// An operation as somebody has asked for it: without what is noted in it when it begins.
pub fn as_asked(operation: &Value) -> Value {
    let mut operation = operation.clone();
    set_info(&mut operation, INFO_ATTEMPT, "");
    set_info(&mut operation, INFO_OUTPUT, "");
    operation
}

/// Whether the sync that a status tells of (`status.operationState`) rolled out this output. One that is not recorded,
/// that is another at each render, or that another key has made says nothing else.
pub fn is_output(state: &Value, output: &str) -> bool {
    let key = |output: &str| output.split_once(':').map(|(key, _)| key.to_owned());
    match info(&state["operation"], INFO_OUTPUT) {
        Some(recorded) if !output.is_empty() => recorded == output || key(recorded) != key(output),
        _ => true,
    }
}

/// `sources` of a spec when there are any, else `source`; and what it holds.
pub fn named_source(spec: &Value) -> (&'static str, &Value) {
    let several = spec["sources"].as_array().is_some_and(|sources| !sources.is_empty());
    let field = if several { "sources" } else { "source" };
    (field, &spec[field])
}

/// What an Application is rolled out of: the source of its spec, or the one that a rollback asks for. The revision stays
/// that of the source.
pub fn rolled_out(object: &Value) -> (&'static str, Value) {
    let asked = active(object).and_then(|operation| Request::read(operation).ok()).filter(|_| !is_automated(object));
    match asked {
        Some(Request { sources, .. }) if !sources.is_empty() => ("sources", Value::Array(sources)),
        Some(Request { source: Some(source), .. }) => ("source", source),
        _ => {
            let (field, source) = named_source(&object["spec"]);
            (field, source.clone())
        }
    }
}

fn is_automated(object: &Value) -> bool {
    let automated = &object["spec"]["syncPolicy"]["automated"];
    automated.is_object() && automated["enabled"] != false
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
    set_info(&mut operation, INFO_ATTEMPT, &id);
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
    let as_it_is = request.revision.is_empty()
        && request.source.is_none()
        && request.revisions.is_empty()
        && request.sources.is_empty();
    // Automation would undo it: such a request is refused, as is one that does not fit.
    if as_it_is || is_automated(object) || request.misfit(&object["spec"]).is_some() {
        return Cow::Borrowed(object);
    }
    let (field, mut source) = rolled_out(object);
    let revisions = if field == "sources" { request.revisions } else { vec![request.revision] };
    let sources = match &mut source {
        Value::Array(sources) => sources.iter_mut().collect(),
        source => vec![source],
    };
    for (source, revision) in sources.into_iter().zip(revisions) {
        if source.is_object() && !revision.is_empty() {
            source["targetRevision"] = json!(revision);
        }
    }
    let mut asked = object.clone();
    if let Some(spec) = asked["spec"].as_object_mut() {
        spec.remove("source");
        spec.remove("sources");
        spec.insert(field.to_owned(), source);
    }
    Cow::Owned(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_rollback_is_evaluated_at_what_it_asks_for() {
        let one = |path: &str, revision: &str| json!({"repoURL": "r", "path": path, "targetRevision": revision});
        let with = |spec: Value, sync: Value| json!({"spec": spec, "operation": {"sync": sync}});
        let asked = |object: &Value| {
            let object = effective(object);
            let (field, source) = named_source(&object["spec"]);
            (field, source.clone())
        };
        let single = json!({"source": one("new", "main")});
        let revision = with(single.clone(), json!({"revision": "abc"}));
        assert_eq!(asked(&revision), ("source", one("new", "abc")));
        assert_eq!(rolled_out(&revision), ("source", one("new", "main")), "history has the source as it was asked for");
        let source = with(single.clone(), json!({"revision": "abc", "source": one("old", "main")}));
        assert_eq!(asked(&source), ("source", one("old", "abc")));
        assert_eq!(rolled_out(&source), ("source", one("old", "main")));

        let several = json!({"sources": [one("a", "main"), one("b", "main")]});
        let both = json!([one("a", "1"), one("b", "2")]);
        let revisions = with(several.clone(), json!({"revisions": ["1", "2"]}));
        assert_eq!(asked(&revisions), ("sources", both.clone()));
        let before = with(single.clone(), json!({"revisions": ["1", "2"], "sources": several["sources"]}));
        assert_eq!(asked(&before), ("sources", both), "back to several");
        let back = with(several.clone(), json!({"revision": "abc", "source": one("old", "main")}));
        assert_eq!(asked(&back), ("source", one("old", "abc")), "back to one");
        for (spec, sync, why) in [
            (&several, json!({"revision": "abc"}), "there are 2 sources"),
            (&several, json!({"revisions": ["1"]}), "names 1 revisions for 2 sources"),
            (&single, json!({"revisions": ["1"]}), "names 1 revisions for 0 sources"),
        ] {
            let object = with(spec.clone(), sync);
            let misfit = Request::read(&object["operation"]).unwrap().misfit(spec).unwrap();
            assert!(misfit.contains(why), "{misfit}");
            assert_eq!(effective(&object)["spec"], *spec, "nothing else is evaluated");
        }
        let mut automated = revision;
        automated["spec"]["syncPolicy"] = json!({"automated": {}});
        assert_eq!(asked(&automated), ("source", one("new", "main")), "which is refused");
    }

    #[test]
    fn an_output_is_another_one_only_when_that_is_certain() {
        let state = |output: &str| {
            let mut operation = json!({"sync": {}, "info": [{"name": "why", "value": "because"}]});
            set_info(&mut operation, INFO_OUTPUT, output);
            assert_eq!(as_asked(&operation), json!({"sync": {}, "info": [{"name": "why", "value": "because"}]}));
            json!({"operation": operation})
        };
        for (recorded, now, same) in
            [("k:1", "k:1", true), ("k:1", "k:2", false), ("j:1", "k:2", true), ("", "k:2", true), ("k:1", "", true)]
        {
            assert_eq!(is_output(&state(recorded), now), same, "{recorded} {now}");
        }
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
