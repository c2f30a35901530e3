//! What was asked of a control plane: its audit log, read.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// kube-apiserver writes a request down just after it has answered it.
const SETTLE: Duration = Duration::from_millis(150);

/// The audit log of a control plane.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A point in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Audit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file: one JSON event a line.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Now: what was answered until here is before the mark.
    pub async fn mark(&self) -> Mark {
        tokio::time::sleep(SETTLE).await;
        Mark(std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len()))
    }

    /// Each request that was answered since, once; of the watches, those that began since.
    pub async fn since(&self, mark: Mark) -> Requests {
        tokio::time::sleep(SETTLE).await;
        let mut text = String::new();
        let mut file = File::open(&self.path).expect("the audit log can be read");
        file.seek(SeekFrom::Start(mark.0)).expect("the audit log is a plain file");
        file.read_to_string(&mut text).expect("the audit log is text");
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        Requests(complete.lines().filter_map(parse).collect())
    }
}

/// One request to kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked: a user name, for service accounts `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// As whom, when not as oneself.
    pub impersonated: Option<String>,
    /// The program that asked, in its own words.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// `configmaps`, `deployments.apps`, `applications.argoproj.io/status`; empty when no resource was asked for.
    pub resource: String,
    /// The namespace, empty when there is none.
    pub namespace: String,
    /// The object, empty when there is none.
    pub name: String,
    /// The path with its query.
    pub uri: String,
    /// The status that was answered.
    pub code: u16,
    /// What was sent; only of deletions, null for others.
    pub body: Value,
}

impl Request {
    /// Whether it could change something.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// Requests to choose from.
#[derive(Clone, Debug, Default)]
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// Those for which `wanted` holds.
    pub fn filter(mut self, wanted: impl FnMut(&Request) -> bool) -> Self {
        self.0.retain(wanted);
        self
    }

    /// Those of a user.
    pub fn of_user(self, user: &str) -> Self {
        self.filter(|request| request.user == user)
    }

    /// Those of programs whose user agent starts with `prefix`.
    pub fn of_agent(self, prefix: &str) -> Self {
        self.filter(|request| request.user_agent.starts_with(prefix))
    }

    /// Those with a verb.
    pub fn verb(self, verb: &str) -> Self {
        self.filter(|request| request.verb == verb)
    }

    /// Those for a resource, such as `deployments.apps`.
    pub fn resource(self, resource: &str) -> Self {
        self.filter(|request| request.resource == resource)
    }

    /// Those in a namespace.
    pub fn namespace(self, namespace: &str) -> Self {
        self.filter(|request| request.namespace == namespace)
    }

    /// Those that could change something.
    pub fn writes(self) -> Self {
        self.filter(Request::is_write)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How many of each user, verb and resource: what a failed assertion wants to say.
impl fmt::Display for Requests {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for request in &self.0 {
            let target = if request.resource.is_empty() { &request.uri } else { &request.resource };
            *counts.entry((&request.user, &request.verb, target, request.code)).or_default() += 1;
        }
        for ((user, verb, target, code), count) in counts {
            writeln!(formatter, "{count:6} {user} {verb} {target} -> {code}")?;
        }
        Ok(())
    }
}

/// An event of the audit log (audit.k8s.io/v1), as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectReference,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectReference {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

/// A watch is written down when it starts and again when it ends; any other
/// request, and a watch that is refused, when it is answered.
fn parse(line: &str) -> Option<Request> {
    let event: Event = serde_json::from_str(line).expect("the audit log holds events");
    let is_end_of_watch =
        event.verb == "watch" && event.stage == "ResponseComplete" && event.response_status.code < 400;
    let is_start_of_other = event.verb != "watch" && event.stage == "ResponseStarted";
    if is_end_of_watch || is_start_of_other {
        return None;
    }
    let ObjectReference { resource, subresource, namespace, name, api_group } = event.object_ref;
    let group = if api_group.is_empty() { String::new() } else { format!(".{api_group}") };
    let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    Some(Request {
        user: event.user.username,
        impersonated: event.impersonated_user.map(|user| user.username),
        user_agent: event.user_agent,
        verb: event.verb,
        resource: format!("{resource}{group}{part}"),
        namespace,
        name,
        uri: event.request_uri,
        code: event.response_status.code,
        body: event.request_object,
    })
}
