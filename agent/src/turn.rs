//! Which sync is due: a pure decision over the Application's status and what its hooks do.

use std::time::Duration;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::hook::{Execution, Role};
use gitmoor_core::live::LiveObject;
use gitmoor_core::names::INFO_ATTEMPT;
use gitmoor_core::operation::{Attempt, Request, begin};
use gitmoor_core::status::AttemptRecord;
use jiff::Timestamp;
use serde_json::Value;

use crate::state::Evaluation;

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
        let commit = self.evaluation.commit.as_str();
        let last = Attempt::of(status);
        let running = last.as_ref().filter(|attempt| attempt.is_running());
        let requested = self.object.get("operation").filter(|operation| operation.is_object());
        if let (Some(operation), Some(attempt)) = (requested, running)
            && attempt.finished_at.is_none()
            && without_id(&attempt.operation) == without_id(operation)
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
            Some(attempt) if attempt.finished_at.is_none() && attempt.revision == commit => Self::go_on(attempt),
            Some(attempt) if attempt.finished_at.is_some() && attempt.revision == commit => self.again(attempt),
            // What somebody asked for goes on at the commit that its revision is at now.
            Some(attempt) if attempt.request().is_some() => self.begin(Some(&attempt.operation), attempt.retry_count),
            _ => self.automated(last.as_ref()),
        }
    }

    /// Without anything under way.
    fn automated(&self, last: Option<&Attempt>) -> Turn {
        let commit = self.evaluation.commit.as_str();
        if let Some(last) = last.filter(|last| last.phase == "Failed" && last.revision == commit) {
            // A sync of a part that failed says nothing about the others.
            let whole = last.request().is_none_or(|request| request.is_whole());
            if whole || !self.due {
                return Turn::Rest { failed: Some(self.message()) };
            }
        }
        match (self.due, self.has_hooks()) {
            (false, _) => Turn::Rest { failed: None },
            (true, false) => Turn::Plain,
            (true, true) => self.begin(None, 0),
        }
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
        let (id, recorded) = begin(operation, self.evaluation.commit.as_str(), self.object, self.now);
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
        let follows = &self.object["spec"]["source"];
        let revision = request.revision.as_str();
        let same =
            revision.is_empty() || follows["targetRevision"] == revision || self.evaluation.commit.as_str() == revision;
        let elsewhere = !same || request.source.as_ref().is_some_and(|source| source != follows);
        (elsewhere && self.spec.automated().is_some()).then(|| {
            "the automated sync would undo a sync to another revision; set spec.syncPolicy.automated.enabled to false first"
                .to_owned()
        })
    }
}

fn without_id(operation: &Value) -> Value {
    let mut operation = operation.clone();
    if let Some(info) = operation["info"].as_array_mut() {
        info.retain(|item| item["name"] != INFO_ATTEMPT);
        if info.is_empty()
            && let Some(map) = operation.as_object_mut()
        {
            map.remove("info");
        }
    }
    if let Some(map) = operation.as_object_mut().filter(|map| map.get("info").is_some_and(Value::is_null)) {
        map.remove("info");
    }
    operation
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
