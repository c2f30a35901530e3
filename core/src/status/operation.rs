//! `status.operationState` and `status.history`: what was done, and what of it is kept.

use serde_json::{Map, Value, json};

use super::{Report, Revision, object_reference};
use crate::hook::{Execution, HookPhase};
use crate::names::INFO_OUTPUT;
use crate::object::{GroupKind, ObjectId, text_at};
use crate::operation::{Attempt, set_info};

/// Results that an operation lists. Those that went well are left out first.
const LISTED: usize = 1000;

/// The sync that is going on, or the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// `source` or `sources`, and what is rolled out of there.
    pub source: (&'static str, Value),
    /// Where that stands.
    pub revision: Revision,
    /// Digest of what comes out of it; empty when that is another one at each render.
    pub output: String,
    /// Where it stands.
    pub phase: Phase,
    /// In a sentence.
    pub message: String,
    /// What was done, object by object.
    pub results: Vec<OperationResult>,
    /// The attempt that it is, when it has hooks or was asked for.
    pub attempt: Option<AttemptRecord>,
}

/// What the status says of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// What was asked for, with the attempt's id.
    pub operation: Value,
    /// How many attempts failed before it.
    pub retry_count: u32,
    /// All objects are meant, and really applied.
    pub whole: bool,
}

/// Phase of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything is applied and healthy yet.
    Running,
    /// Everything is applied.
    Succeeded,
    /// This attempt failed, and there will be another one. Argo CD's word for it is `Running`, with an end.
    Retrying,
    /// Something was refused.
    Failed,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running | Self::Retrying => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// What a sync did to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationResult {
    /// Identity.
    pub id: ObjectId,
    /// Version.
    pub version: String,
    /// `Synced`, `SyncFailed`, `Pruned` or `PruneSkipped`.
    pub status: &'static str,
    /// In a few words.
    pub message: String,
    /// It ran as a hook: when, and how far it has come.
    pub hook: Option<(HookPhase, Execution)>,
}

/// How a hook of the attempt in a status has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// What it was in that run.
    pub id: ObjectId,
    /// The phase that it ran at.
    pub phase: HookPhase,
    /// Whether it ended well.
    pub succeeded: bool,
    /// In a few words.
    pub message: &'a str,
}

/// The outcomes of hooks that the status of an attempt has.
pub fn outcomes(status: &Value) -> impl Iterator<Item = Outcome<'_>> {
    let results = status["operationState"]["syncResult"]["resources"].as_array().into_iter().flatten();
    results.filter_map(|result| {
        let succeeded = match result["hookPhase"].as_str()? {
            "Succeeded" => true,
            "Failed" => false,
            _ => return None,
        };
        let phase = HookPhase::from_word(result["hookType"].as_str()?)?;
        let message = result["message"].as_str().unwrap_or_default();
        let id = ObjectId {
            group_kind: GroupKind::new(result["group"].as_str().unwrap_or_default(), result["kind"].as_str()?),
            namespace: text_at(result, &["namespace"]).filter(|text| !text.is_empty()).map(str::to_owned),
            name: result["name"].as_str()?.to_owned(),
        };
        Some(Outcome { id, phase, succeeded, message })
    })
}

/// Writes an operation into a status.
pub(super) fn write(
    status: &mut Map<String, Value>,
    before: &Value,
    report: &Report<'_>,
    operation: &Operation,
    now: &str,
) {
    let old = &before["operationState"];
    let continues = continues(before, operation);
    // A sync goes on while it runs; a finished one of the same revision is followed by another.
    let started = if continues { old["startedAt"].clone() } else { json!(now) };
    let automated = || {
        let mut asked = json!({"initiatedBy": {"automated": true}, "sync": {}});
        operation.revision.write(&mut asked["sync"]);
        asked
    };
    let mut state = json!({
        "operation": operation.attempt.as_ref().map_or_else(automated, |attempt| attempt.operation.clone()),
        "phase": operation.phase.as_str(),
        "message": operation.message,
        "startedAt": started,
        "syncResult": {
            // Argo CD's definition demands it, also where `revisions` says it.
            "revision": operation.revision.identity(),
            operation.source.0: operation.source.1,
            "resources": results(if continues { &old["syncResult"]["resources"] } else { &Value::Null }, operation),
        },
    });
    operation.revision.write(&mut state["syncResult"]);
    set_info(&mut state["operation"], INFO_OUTPUT, &operation.output);
    if let Some(attempt) = operation.attempt.as_ref().filter(|attempt| attempt.retry_count > 0) {
        state["retryCount"] = json!(attempt.retry_count);
    }
    if operation.phase != Phase::Running {
        state["finishedAt"] = json!(now);
    }
    let whole = operation.attempt.as_ref().is_none_or(|attempt| attempt.whole);
    if operation.phase == Phase::Succeeded && whole {
        append_history(status, before, report, operation, &started, now);
    }
    status.insert("operationState".to_owned(), state);
}

/// Whether the operation in the status is this one.
fn continues(before: &Value, operation: &Operation) -> bool {
    let old = &before["operationState"];
    let running = matches!(old["phase"].as_str(), Some("Running" | "Terminating"));
    let same = match &operation.attempt {
        Some(attempt) => old["operation"] == attempt.operation,
        None => Attempt::of(before).is_none(),
    };
    running && same && old["syncResult"]["revision"] == operation.revision.identity()
}

/// What was done so far and now, the newer word on an object in place of the older one.
fn results(before: &Value, operation: &Operation) -> Vec<Value> {
    let mut all: Vec<Value> = before.as_array().cloned().unwrap_or_default();
    let about = |value: &Value| {
        ["group", "kind", "namespace", "name", "hookType"]
            .map(|field| value[field].as_str().unwrap_or_default().to_owned())
    };
    let new: Vec<Value> = operation.results.iter().map(result).collect();
    if !all.is_empty() {
        let replaced: std::collections::HashSet<String> =
            new.iter().map(|value| json!(about(value)).to_string()).collect();
        all.retain(|value| !replaced.contains(&json!(about(value)).to_string()));
    }
    all.extend(new);
    let mut surplus = all.len().saturating_sub(LISTED);
    all.retain(|value| {
        let dropped = surplus > 0 && value["status"] == "Synced" && value.get("hookType").is_none();
        surplus -= usize::from(dropped);
        !dropped
    });
    all
}

fn result(result: &OperationResult) -> Value {
    let mut value = object_reference(&result.id, &result.version);
    // Argo CD's definition demands them here, also of the core group and of what is in no namespace.
    for field in ["group", "namespace"] {
        value.entry(field).or_insert_with(|| json!(""));
    }
    value.insert("status".to_owned(), json!(result.status));
    value.insert("message".to_owned(), json!(result.message));
    if let Some((phase, execution)) = &result.hook {
        value.insert("hookType".to_owned(), json!(phase.as_str()));
        value.insert("hookPhase".to_owned(), json!(execution.as_str()));
        value.insert("syncPhase".to_owned(), json!(phase.as_str()));
    }
    Value::Object(value)
}

/// One entry per revision that was rolled out, the newest last.
fn append_history(
    status: &mut Map<String, Value>,
    before: &Value,
    report: &Report<'_>,
    operation: &Operation,
    started: &Value,
    now: &str,
) {
    let mut history = before["history"].as_array().cloned().unwrap_or_default();
    let last = history.last();
    let (field, source) = &operation.source;
    let same = |last: &Value| Revision::read(last).as_ref() == Some(&operation.revision) && last[field] == *source;
    if last.is_some_and(same) {
        return;
    }
    let id = last.and_then(|last| last["id"].as_u64()).map_or(0, |id| id + 1);
    let mut entry = json!({"id": id, *field: source, "deployStartedAt": started, "deployedAt": now});
    operation.revision.write(&mut entry);
    history.push(entry);
    let surplus = history.len().saturating_sub(report.history_limit.max(1));
    history.drain(..surplus);
    status.insert("history".to_owned(), Value::Array(history));
}
