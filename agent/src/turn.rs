//! Which sync is due: a pure decision over the Application's status and what its hooks do.

use std::time::Duration;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::hook::{Execution, Role};
use gitmoor_core::live::LiveObject;
use gitmoor_core::operation::{Attempt, Request, as_asked, begin, is_output};
use gitmoor_core::status::AttemptRecord;
use jiff::Timestamp;
use serde_json::Value;

use crate::state::Evaluation;

/// How long the status says that a request was refused before the automated sync goes on.
const REFUSAL_SHOWN: Duration = Duration::from_secs(10);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Nothing is asked for; what runs is kept as it should be. With the reason why the last sync failed, if it did.
    Rest { failed: Option<String> },
    /// A sync that needs no memory.
    Plain,
    /// A sync with hooks, or that somebody asked for.
    Attempt(Box<Turned>),
    /// A hook of another sync runs, and is not disturbed.
    Hold(String),
    /// The attempt failed; the next one begins later.
    Pause { failed: String, left: Duration },
}

/// An attempt that is to be carried on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turned {
    /// Its id.
    pub id: String,
    /// As the status has it, or is to have it.
    pub record: AttemptRecord,
    /// What somebody asked for; `None`: the agent itself.
    pub request: Option<Request>,
    /// It is not in the status yet.
    pub fresh: bool,
    /// Why it has to end now, if it has to.
    pub end: Option<String>,
}

/// What the decision is made from.
pub(crate) struct Situation<'a> {
    /// The Application.
    pub object: &'a Value,
    /// Its spec.
    pub spec: &'a ApplicationSpec,
    /// What it wants.
    pub evaluation: &'a Evaluation,
    /// Its live hooks.
    pub hooks: &'a [LiveObject],
    /// Automation is on, and these inputs have not been rolled out completely.
    pub due: bool,
    /// Now: RFC 3339.
    pub now: &'a str,
}

impl Situation<'_> {
    /// The decision.
    pub(crate) fn turn(&self) -> Turn {
        let status = &self.object["status"];
        let commit = self.evaluation.identity();
        let last = Attempt::of(status);
        let running = last.as_ref().filter(|attempt| attempt.is_running());
        let requested = self.object.get("operation").filter(|operation| operation.is_object());
        if let (Some(operation), Some(attempt)) = (requested, running)
            && attempt.finished_at.is_none()
            && as_asked(&attempt.operation) == as_asked(operation)
        {
            // Taken down in the status, and not yet taken away: it is this one.
            return Self::go_on(attempt);
        }
        if let Some(attempt) = running.filter(|attempt| attempt.phase == "Terminating") {
            let why = "it was terminated";
            return Turn::Attempt(Box::new(Turned { end: Some(why.to_owned()), ..Self::turned(attempt) }));
        }
        let under_way = running.filter(|attempt| attempt.finished_at.is_none());
        if let Some(attempt) = under_way.filter(|attempt| requested.is_some() || attempt.revision != commit)
            && let Some(hook) = self.executing(attempt)
        {
            return Turn::Hold(format!(
                "{} of the sync to {} is running; it ends first, or is deleted",
                hook.id,
                short(&attempt.revision)
            ));
        }
        if let Some(operation) = requested {
            return self.begin(Some(operation), 0);
        }
        match running {
            Some(attempt) if self.is_at(attempt, &commit) && attempt.finished_at.is_none() => Self::go_on(attempt),
            Some(attempt) if self.is_at(attempt, &commit) => self.again(attempt),
            // What somebody asked for goes on at the commit that its revision is at now.
            Some(attempt) if attempt.request().is_some() => self.begin(Some(&attempt.operation), attempt.retry_count),
            _ => self.automated(last.as_ref()),
        }
    }

    /// Without anything under way.
    fn automated(&self, last: Option<&Attempt>) -> Turn {
        let commit = self.evaluation.identity();
        let tried = is_output(&self.object["status"]["operationState"], &self.evaluation.output);
        if let Some(last) = last.filter(|last| tried && last.phase == "Failed" && self.is_at(last, &commit)) {
            if self.due && self.is_refused(last) {
                // It was not tried at all. Whoever asked may see that before the automated sync goes on.
                let left = left(last.finished_at.as_deref(), self.now, REFUSAL_SHOWN);
                if !left.is_zero() {
                    return Turn::Pause { failed: self.message(), left };
                }
            } else {
                // A sync of a part that failed says nothing about the others.
                let whole = last.request().is_none_or(|request| request.is_whole());
                if whole || !self.due {
                    return Turn::Rest { failed: Some(self.message()) };
                }
            }
        }
        match (self.due, self.has_hooks()) {
            (false, _) => Turn::Rest { failed: None },
            (true, false) => Turn::Plain,
            (true, true) => self.begin(None, 0),
        }
    }

    /// Whether somebody asked for what cannot be carried out.
    fn is_refused(&self, attempt: &Attempt) -> bool {
        attempt.request().is_some() && self.refusal(&attempt.operation).is_some()
    }

    /// Whether the attempt of the status is one for the commit, and for the sources as they are in the spec: the values of
    /// a chart at a fixed version change without another version.
    fn is_at(&self, attempt: &Attempt, commit: &str) -> bool {
        let result = &self.object["status"]["operationState"]["syncResult"];
        let recorded = |field: &str| result.get(field).filter(|recorded| !recorded.is_null());
        let (spec, asked) = (&self.object["spec"], &attempt.operation["sync"]);
        let unchanged =
            |field: &str| recorded(field).is_none_or(|recorded| [&spec[field], &asked[field]].contains(&recorded));
        attempt.revision == commit && unchanged("source") && unchanged("sources")
    }

    fn has_hooks(&self) -> bool {
        self.evaluation.wanted().iter().any(|object| matches!(object.role, Role::Hook(_)))
    }

    fn message(&self) -> String {
        self.object["status"]["operationState"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// A hook of the attempt of which something runs.
    fn executing(&self, attempt: &Attempt) -> Option<&LiveObject> {
        self.hooks.iter().find(|live| {
            live.hook
                .as_ref()
                .is_some_and(|hook| hook.run.attempt == attempt.id && matches!(hook.execution, Execution::Running(_)))
        })
    }

    fn again(&self, attempt: &Attempt) -> Turn {
        let pause = attempt
            .retry(self.spec.sync_policy.retry.as_ref())
            .pause(attempt.retry_count.saturating_sub(1))
            .unwrap_or(Duration::ZERO);
        let left = left(attempt.finished_at.as_deref(), self.now, pause);
        if !left.is_zero() {
            return Turn::Pause { failed: self.message(), left };
        }
        let operation = attempt.request().is_some().then_some(&attempt.operation);
        self.begin(operation, attempt.retry_count)
    }

    fn begin(&self, operation: Option<&Value>, retry_count: u32) -> Turn {
        let (id, recorded) = begin(operation, &self.evaluation.identity(), self.object, self.now);
        let request = operation.map(|operation| Request::read(operation).unwrap_or_default());
        let whole = request.as_ref().is_none_or(Request::is_whole);
        let end = operation.and_then(|operation| self.refusal(operation));
        let record = AttemptRecord { operation: recorded, retry_count, whole };
        Turn::Attempt(Box::new(Turned { id, record, request, fresh: true, end }))
    }

    fn go_on(attempt: &Attempt) -> Turn {
        Turn::Attempt(Box::new(Self::turned(attempt)))
    }

    fn turned(attempt: &Attempt) -> Turned {
        let request = attempt.request();
        let whole = request.as_ref().is_none_or(Request::is_whole);
        Turned {
            id: attempt.id.clone(),
            record: AttemptRecord { operation: attempt.operation.clone(), retry_count: attempt.retry_count, whole },
            request,
            fresh: false,
            end: None,
        }
    }

    /// Why a request cannot be carried out.
    fn refusal(&self, operation: &Value) -> Option<String> {
        let request = match Request::read(operation) {
            Ok(request) => request,
            Err(why) => return Some(why),
        };
        let spec = &self.object["spec"];
        if let Some(misfit) = request.misfit(spec) {
            return Some(misfit);
        }
        let (follows, revision) = (&spec["source"], request.revision.as_str());
        let same =
            revision.is_empty() || follows["targetRevision"] == revision || self.evaluation.identity() == revision;
        let at = self.evaluation.revision();
        let elsewhere = !same
            || request.source.as_ref().is_some_and(|source| source != follows)
            || !(request.revisions.is_empty() || request.revisions == at.texts())
            || !(request.sources.is_empty() || spec["sources"] == Value::from(request.sources));
        (elsewhere && self.spec.automated().is_some()).then(|| {
            "the automated sync would undo a sync to another revision; set spec.syncPolicy.automated.enabled to false first"
                .to_owned()
        })
    }
}

fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

fn left(since: Option<&str>, now: &str, pause: Duration) -> Duration {
    let parse = |text: &str| text.parse::<Timestamp>().ok();
    let passed = since.and_then(parse).zip(parse(now)).map(|(since, now)| now.duration_since(since));
    let passed = passed.and_then(|passed| Duration::try_from(passed).ok()).unwrap_or_default();
    pause.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gitmoor_core::live::LiveObject;
    use gitmoor_core::object::{GroupKind, ObjectId};
    use gitmoor_core::plan::{DesiredObject, Order, Tier};
    use gitmoor_core::tracking::Installation;
    use gitmoor_engine::git::CommitId;
    use serde_json::json;

    use super::*;
    use crate::state::EvaluatedSource;

    const NOON: &str = "2026-11-21T12:00:00Z";

    fn commit(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn evaluation(digit: char, hooked: bool) -> Evaluation {
        let role = if hooked { Role::Hook(vec![gitmoor_core::hook::HookPhase::PreSync]) } else { Role::Object };
        let id =
            ObjectId { group_kind: GroupKind::new("batch", "Job"), namespace: Some("web".into()), name: "a".into() };
        let order = Order { wave: 0, tier: Tier::Workload };
        let object =
            DesiredObject { id, api_version: "batch/v1".into(), digest: "1".into(), order, role, generated: false };
        Evaluation {
            sources: vec![EvaluatedSource { revision: commit(digit).to_string(), inputs: String::new(), kind: None }],
            several: false,
            asks_cluster: false,
            charts: std::collections::BTreeSet::new(),
            desired: Some(vec![object].into()),
            output: String::new(),
            images: Arc::new([]),
            problems: Vec::new(),
            awaited: Vec::new(),
            warnings: Vec::new(),
            unknown_kinds: false,
        }
    }

    fn automated() -> ApplicationSpec {
        ApplicationSpec::read(&json!({"spec": {"syncPolicy": {"automated": {}, "retry": {"limit": 2}}}})).unwrap()
    }

    fn turn(object: &Value, evaluation: &Evaluation, hooks: &[LiveObject], due: bool) -> Turn {
        Situation { object, spec: &automated(), evaluation, hooks, due, now: NOON }.turn()
    }

    fn attempt(turn: Turn) -> Turned {
        match turn {
            Turn::Attempt(turned) => *turned,
            other => panic!("{other:?}"),
        }
    }

    /// An Application whose status has an attempt at a commit.
    fn with(turned: &Turned, digit: char, phase: &str, finished: Option<&str>, retries: u32) -> Value {
        let mut state = json!({
            "operation": turned.record.operation, "phase": phase, "retryCount": retries, "message": "no",
            "syncResult": {"revision": commit(digit).as_str()},
        });
        if let Some(at) = finished {
            state["finishedAt"] = json!(at);
        }
        json!({"spec": {"source": {"targetRevision": "main"}}, "status": {"operationState": state}})
    }

    #[test]
    fn without_hooks_there_is_nothing_to_remember() {
        assert_eq!(turn(&json!({}), &evaluation('1', false), &[], true), Turn::Plain);
        assert_eq!(turn(&json!({}), &evaluation('1', false), &[], false), Turn::Rest { failed: None });
    }

    #[test]
    fn an_attempt_goes_on_where_it_stands_and_a_new_commit_replaces_it() {
        let first = attempt(turn(&json!({}), &evaluation('1', true), &[], true));
        assert!(first.fresh);
        let running = with(&first, '1', "Running", None, 0);
        let again = attempt(turn(&running, &evaluation('1', true), &[], true));
        assert_eq!((again.fresh, &again.id), (false, &first.id));
        let next = attempt(turn(&running, &evaluation('2', true), &[], true));
        assert!(next.fresh && next.id != first.id);
    }

    #[test]
    fn a_hook_that_runs_is_not_disturbed_and_one_that_waits_is() {
        let first = attempt(turn(&json!({}), &evaluation('1', true), &[], true));
        let running = with(&first, '1', "Running", None, 0);
        let job = |ready: u64| {
            let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {
                "name": "a", "namespace": "web", "uid": "1", "resourceVersion": "1",
                "annotations": {"gitmoor.dev/hook-run": format!("{}/PreSync", first.id)}},
                "status": {"active": 1, "ready": ready}});
            LiveObject::reduce(&object, &Installation::parse("gitmoor").unwrap()).unwrap()
        };
        assert!(
            matches!(turn(&running, &evaluation('2', true), &[job(1)], true), Turn::Hold(why) if why.contains("web/a"))
        );
        assert!(matches!(turn(&running, &evaluation('2', true), &[job(0)], true), Turn::Attempt(_)));
    }

    #[test]
    fn a_failed_attempt_is_repeated_after_its_pause_and_not_beyond_its_limit() {
        let first = attempt(turn(&json!({}), &evaluation('1', true), &[], true));
        let failed = with(&first, '1', "Running", Some("2026-11-21T11:59:58Z"), 1);
        let Turn::Pause { left, .. } = turn(&failed, &evaluation('1', true), &[], true) else { panic!() };
        assert_eq!(left, Duration::from_secs(3));
        let due = with(&first, '1', "Running", Some("2026-11-21T11:59:50Z"), 1);
        let second = attempt(turn(&due, &evaluation('1', true), &[], true));
        assert!(second.fresh && second.id != first.id && second.record.retry_count == 1);
        let ended = with(&first, '1', "Failed", Some(NOON), 2);
        assert_eq!(turn(&ended, &evaluation('1', true), &[], true), Turn::Rest { failed: Some("no".into()) });
        assert!(matches!(turn(&ended, &evaluation('2', true), &[], true), Turn::Attempt(_)), "a commit helps");
        let mut corrected = ended.clone();
        corrected["status"]["operationState"]["syncResult"]["source"] = json!({"targetRevision": "main", "helm": {}});
        let third = attempt(turn(&corrected, &evaluation('1', true), &[], true));
        assert!(third.fresh, "so do other values of the same chart");
        corrected["status"]["operationState"]["syncResult"]["source"] = corrected["spec"]["source"].clone();
        assert!(matches!(turn(&corrected, &evaluation('1', true), &[], true), Turn::Rest { failed: Some(_) }));
    }

    #[test]
    fn a_request_is_taken_up_once_and_ends_when_asked() {
        let mut object = json!({"operation": {"sync": {"prune": true}}, "spec": {}});
        let first = attempt(turn(&object, &evaluation('1', false), &[], false));
        assert!(first.fresh && first.request.as_ref().is_some_and(|request| request.prune));
        // The status was written, the request is still there: after a crash.
        object["status"] = with(&first, '1', "Running", None, 0)["status"].clone();
        assert_eq!(attempt(turn(&object, &evaluation('1', false), &[], false)).id, first.id);
        let terminating = with(&first, '1', "Terminating", None, 0);
        assert!(attempt(turn(&terminating, &evaluation('1', false), &[], false)).end.is_some());
    }

    #[test]
    fn automation_is_not_fought() {
        let object = json!({"operation": {"sync": {"revision": "v1"}}, "spec": {"source": {"targetRevision": "main"}}});
        let refused = attempt(turn(&object, &evaluation('1', false), &[], false));
        assert!(refused.end.as_ref().is_some_and(|why| why.contains("automated sync would undo")));
        // It goes on, soon after it was said.
        let ended = |at: &str| {
            let mut ended = with(&refused, '1', "Failed", Some(at), 0);
            ended["spec"] = object["spec"].clone();
            turn(&ended, &evaluation('1', false), &[], true)
        };
        assert!(matches!(ended(NOON), Turn::Pause { .. }), "{:?}", ended(NOON));
        assert_eq!(ended("2026-11-21T11:59:00Z"), Turn::Plain);
    }
}
