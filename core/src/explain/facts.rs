//! What is known of an Application that is to be explained.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;
use crate::argo_cd::Controller;
use crate::object::{ObjectId, text_at};
use crate::view::{ApplicationView, ViewedHealth};

/// Everything that was gathered.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The Application, as the API server has it.
    pub application: Value,
    /// The same, read.
    pub view: ApplicationView,
    /// The Application in whose Git it stands.
    pub parent: Option<ApplicationView>,
    /// Whether anybody follows it.
    pub agent: AgentState,
    /// Commands find it only by `NAMESPACE/NAME`.
    pub is_elsewhere: bool,
    /// What of Argo CD works on it, so that the agent does not.
    pub argo_cd: Option<Controller>,
    /// Its objects that are not as they should be.
    pub objects: Vec<ObjectFacts>,
    /// Applications among them, by name, with what explains them.
    pub children: Vec<(String, Vec<Finding>)>,
}

/// What leases say of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AgentState {
    /// It works, or nobody may know.
    #[default]
    Works,
    /// It has been silent for so many seconds.
    Silent(i64),
    /// There never was one in any of these namespaces.
    Absent(String),
    /// The one of a namespace works, and is not told to follow the Application's.
    LeavesOut(String),
}

/// An object, and what belongs to it.
#[derive(Clone, Debug)]
pub struct ObjectFacts {
    /// Its identity.
    pub id: ObjectId,
    /// Its health in the status of the Application.
    pub health: ViewedHealth,
    /// As the API server has it; of Secrets nothing.
    pub live: Option<Value>,
    /// Events about it, the newest last.
    pub events: Vec<EventFact>,
    /// Pods that it selects and that are not ready; or itself, when it is a pod.
    pub pods: Vec<PodFacts>,
    /// What should make Secrets that these wait for.
    pub makers: Vec<ObjectFacts>,
}

/// A pod, and what belongs to it.
#[derive(Clone, Debug, Default)]
pub struct PodFacts {
    /// As the API server has it.
    pub pod: Value,
    /// Events about it, the newest last.
    pub events: Vec<EventFact>,
    /// The last lines of containers that crashed.
    pub logs: BTreeMap<String, String>,
}

impl PodFacts {
    /// Secrets that it waits for, and that are not there: for its environment, or to be mounted.
    pub fn missing_secrets(&self) -> BTreeSet<String> {
        let lists = ["initContainerStatuses", "containerStatuses"];
        let all = lists.into_iter().flat_map(|list| self.pod["status"][list].as_array().into_iter().flatten());
        let waiting = all.filter_map(|status| text_at(status, &["state", "waiting", "message"]));
        let said = waiting.chain(self.events.iter().map(|event| event.message.as_str()));
        said.filter_map(missing_secret).map(str::to_owned).collect()
    }
}

/// As a kubelet says it: `secret "NAME" not found`.
fn missing_secret(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("secret \"")?;
    let (name, rest) = rest.split_once('"')?;
    rest.starts_with(" not found").then_some(name)
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFact {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// How often.
    pub count: u64,
    /// When it was seen last: RFC 3339.
    pub last: String,
}

impl EventFact {
    /// Reads an event, of `v1` or `events.k8s.io/v1`.
    pub fn read(event: &Value) -> Self {
        let text = |path: &[&str]| text_at(event, path).unwrap_or_default().to_owned();
        let times = [&["series", "lastObservedTime"][..], &["lastTimestamp"], &["eventTime"], &["firstTimestamp"]];
        let last = times.iter().find_map(|path| text_at(event, path)).unwrap_or_default().to_owned();
        let message = if text(&["message"]).is_empty() { text(&["note"]) } else { text(&["message"]) };
        let counts = [&event["series"]["count"], &event["count"]];
        Self {
            warning: event["type"] == "Warning",
            reason: text(&["reason"]),
            message,
            count: counts.iter().find_map(|count| count.as_u64()).unwrap_or(1),
            last,
        }
    }
}

impl Facts {
    /// What the Application is called in commands that people paste.
    pub fn name(&self) -> String {
        let key = self.view.key();
        if self.is_elsewhere { key.to_string() } else { key.name }
    }

    /// A field of its source; of several sources, of the first that has it.
    pub fn source(&self, field: &str) -> &str {
        let spec = &self.application["spec"];
        let several = spec["sources"].as_array().into_iter().flatten();
        several.chain([&spec["source"]]).find_map(|source| source[field].as_str()).unwrap_or_default()
    }

    /// The source that a text is about, and where it stands in the Application: of several, the first of which the text
    /// names one of these fields; else the first.
    pub(super) fn source_named(&self, fields: &[&str], text: &str) -> Named<'_> {
        let spec = &self.application["spec"];
        let several = spec["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |index: usize| Named { at: format!("spec.sources[{index}]"), source: &several[index] };
        let names = |word: &str| is_named(word, text);
        // The most of them: sources share repositories, and revisions.
        let fits = |source: &Value| fields.iter().filter(|field| source[**field].as_str().is_some_and(names)).count();
        let best = (0..several.len()).max_by_key(|index| (fits(&several[*index]), several.len() - index));
        best.map_or_else(|| Named { at: "spec.source".to_owned(), source: &spec["source"] }, of)
    }

    /// The revision that it follows.
    pub fn follows(&self) -> &str {
        match self.source("targetRevision") {
            "" => "HEAD",
            revision => revision,
        }
    }

    /// The branch that it follows; of several sources, that of the first one in Git.
    pub fn branch(&self) -> &str {
        let spec = &self.application["spec"];
        let several = spec["sources"].as_array().into_iter().flatten();
        let mut in_git =
            several.chain([&spec["source"]]).filter(|source| source.get("chart").is_none_or(Value::is_null));
        let branch = in_git.find_map(|source| source["targetRevision"].as_str());
        branch.filter(|branch| !branch.is_empty()).unwrap_or("HEAD")
    }
}

/// Whether a text has a word as a whole.
fn is_named(word: &str, text: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '/'));
    !word.is_empty()
        && text.match_indices(word).any(|(start, _)| {
            !goes_on(text[..start].chars().next_back()) && !goes_on(text[start + word.len()..].chars().next())
        })
}

/// One source of an Application.
pub(super) struct Named<'a> {
    /// Its field: `spec.source`, or `spec.sources[1]`.
    pub(super) at: String,
    source: &'a Value,
}

impl<'a> Named<'a> {
    /// A text in it; empty when there is none.
    pub(super) fn field(&self, name: &str) -> &'a str {
        self.source[name].as_str().unwrap_or_default()
    }

    /// The revision that it follows.
    pub(super) fn follows(&self) -> &'a str {
        match self.field("targetRevision") {
            "" => "HEAD",
            revision => revision,
        }
    }
}
