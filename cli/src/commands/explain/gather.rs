//! Gathers what there is to know: the objects that are not well, their events, pods and last words.
//!
//! Only reads. What may not be read is left out: a finding with less evidence is better than none.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use gitmoor_core::{
    argo_cd::Controller,
    builtin,
    explain::{AgentState, EventFact, Facts, Finding, ObjectFacts, PodFacts, explain},
    health::{Health, assess},
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    object::{GroupKind, ObjectId, text_at},
    resource::{Resource, Resources},
    view::{ApplicationView, ViewedHealth, ViewedResource},
};
use gitmoor_engine::cluster::{Logs, Selection};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::blame;
use crate::{
    cluster::{Agent, Connection, Follower, address, name_of, owner_of},
    failure::Failure,
    fork::Fork,
};

/// Objects that are looked at: the worst of them.
const OBJECTS: usize = 20;
/// Pods of one workload.
const PODS: usize = 3;
/// Lines of a log.
const LINES: u32 = 20;
/// Applications below Applications.
const DEEPEST: usize = 4;

/// Everything about an Application and those below it, and what explains it; with a clone, who changed it.
pub(super) async fn explained(
    connection: &Connection,
    application: Value,
    fork: Option<&Fork>,
) -> Result<(Facts, Vec<Finding>), Failure> {
    let gatherer = Gatherer { fork, ..Gatherer::new(connection) };
    let parent = gatherer.parent(&application).await;
    gatherer.application(application, parent, 0).await
}

/// Everything about some objects.
pub(super) async fn objects(connection: &Connection, objects: &[ViewedResource]) -> Facts {
    let gatherer = Gatherer::new(connection);
    let objects = join_all(objects.iter().map(|one| gatherer.object(one))).await;
    // There is no Application whose state would need an explanation.
    let fine = json!({"status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}}});
    Facts { objects, view: serde_json::from_value(fine).unwrap_or_default(), ..Facts::default() }
}

struct Gatherer<'c> {
    connection: &'c Connection,
    served: OnceCell<Resources>,
    argo_cd: OnceCell<Vec<Controller>>,
    fork: Option<&'c Fork>,
}

impl<'c> Gatherer<'c> {
    fn new(connection: &'c Connection) -> Self {
        Self { connection, served: OnceCell::new(), argo_cd: OnceCell::new(), fork: None }
    }

    async fn application(
        &self,
        application: Value,
        parent: Option<ApplicationView>,
        depth: usize,
    ) -> Result<(Facts, Vec<Finding>), Failure> {
        let view: ApplicationView = serde_json::from_value(application.clone()).unwrap_or_default();
        let namespace = view.key().namespace;
        let agent = if depth == 0 { state(&self.connection.agent_of(&namespace).await) } else { AgentState::Works };
        let argo_cd = if matches!(agent, AgentState::Absent(_)) { None } else { self.argo_cd(&namespace).await };
        let mut unwell: Vec<&ViewedResource> = view.resources().iter().filter(|one| is_unwell(one)).collect();
        unwell.sort_by_key(|one| rank(one));
        let objects = join_all(unwell.iter().take(OBJECTS).map(|one| self.object(one))).await;
        let mut children = Vec::new();
        if depth < DEEPEST {
            for object in objects.iter().filter(|object| is_application(&object.id)) {
                let Some(live) = object.live.clone() else { continue };
                let (_, findings) = Box::pin(self.application(live, Some(view.clone()), depth + 1)).await?;
                children.push((object.id.name.clone(), findings));
            }
        }
        let facts = Facts {
            is_elsewhere: address(&application).contains('/'),
            application,
            view,
            parent,
            agent,
            argo_cd,
            objects,
            children,
        };
        let mut findings = explain(&facts);
        if let Some(fork) = self.fork {
            blame::add(fork, &facts, &mut findings);
        }
        Ok((facts, findings))
    }

    /// The Application in whose Git one stands.
    async fn parent(&self, application: &Value) -> Option<ApplicationView> {
        let (namespace, name) = owner_of(application).filter(|owner| *owner != name_of(application))?;
        let found = self.connection.cluster.get(&builtin::applications(), Some(namespace), name).await;
        serde_json::from_value(found.ok()??).ok()
    }

    /// The controller of Argo CD that works on the Applications of a namespace, and that their agent gives way to.
    async fn argo_cd(&self, namespace: &str) -> Option<Controller> {
        let running = self.argo_cd.get_or_init(|| self.connection.argo_cd()).await;
        let controller = running.iter().find(|controller| controller.follows(namespace))?;
        for place in &self.connection.agent_of(namespace).await.namespaces {
            if self.connection.works_beside_argo_cd(place).await {
                return None;
            }
        }
        Some(controller.clone())
    }

    async fn object(&self, viewed: &ViewedResource) -> ObjectFacts {
        let id = viewed.id();
        let live = match self.kind(&id.group_kind, &viewed.version).await {
            Some(kind) if !id.group_kind.is("", "Secret") => {
                let found = self.connection.cluster.get(&kind, id.namespace.as_deref(), &id.name).await;
                found.ok().flatten()
            }
            _ => None,
        };
        let pods = match &live {
            Some(live) => self.pods(&id, live).await,
            None => Vec::new(),
        };
        let events = self.events(&id).await;
        let missing = pods.iter().flat_map(PodFacts::missing_secrets).collect();
        let makers = self.makers(id.namespace.as_deref(), &missing).await;
        ObjectFacts { id, health: viewed.health.clone().unwrap_or_default(), live, events, pods, makers }
    }

    /// What should make these Secrets.
    async fn makers(&self, namespace: Option<&str>, secrets: &BTreeSet<String>) -> Vec<ObjectFacts> {
        if secrets.is_empty() {
            return Vec::new();
        }
        let kinds = [
            Some(builtin::external_secrets()),
            Some(builtin::legacy_external_secrets()),
            self.kind(&GroupKind::new("bitnami.com", "SealedSecret"), "v1alpha1").await,
        ];
        let mut makers = Vec::new();
        for kind in kinds.into_iter().flatten() {
            let all = self.connection.cluster.list(&kind, namespace).await.unwrap_or_default();
            for live in all.into_iter().filter(|live| secrets.contains(made_by(live))) {
                let (namespace, name) = name_of(&live);
                let (namespace, name) = (Some(namespace.to_owned()), name.to_owned());
                let id = ObjectId { group_kind: kind.group_kind.clone(), namespace, name };
                let Health { status, message } = assess(&live);
                let health = ViewedHealth { status: status.as_str().to_owned(), message };
                let events = self.events(&id).await;
                makers.push(ObjectFacts { id, health, live: Some(live), events, pods: Vec::new(), makers: Vec::new() });
            }
        }
        makers
    }

    /// How a kind is served: the usual ones are known, the others are asked for once.
    async fn kind(&self, kind: &GroupKind, version: &str) -> Option<Resource> {
        let usual = [
            builtin::applications(),
            builtin::pods(),
            builtin::deployments(),
            builtin::stateful_sets(),
            builtin::daemon_sets(),
            builtin::replica_sets(),
            builtin::claims(),
            builtin::jobs(),
            builtin::external_secrets(),
            builtin::legacy_external_secrets(),
        ];
        if let Some(usual) = usual.into_iter().find(|usual| usual.group_kind == *kind && usual.version == version) {
            return Some(usual);
        }
        let discover = || async { self.connection.cluster.discover().await.unwrap_or_default() };
        self.served.get_or_init(discover).await.find(kind, version).cloned()
    }

    async fn events(&self, id: &ObjectId) -> Vec<EventFact> {
        let kind = &id.group_kind.kind;
        let fields = Some(format!("involvedObject.name={},involvedObject.kind={kind}", id.name));
        let selection = Selection { fields, ..Selection::default() };
        // Events about what is in no namespace are in this one.
        let namespace = id.namespace.as_deref().unwrap_or("default");
        let found = self.connection.cluster.select(&builtin::events(), Some(namespace), &selection).await;
        let mut events: Vec<EventFact> = found.unwrap_or_default().iter().map(EventFact::read).collect();
        events.sort_by(|one, other| one.last.cmp(&other.last));
        events
    }

    /// The newest pods of a workload that are not ready.
    async fn pods(&self, id: &ObjectId, live: &Value) -> Vec<PodFacts> {
        let Some(namespace) = id.namespace.as_deref() else { return Vec::new() };
        if id.group_kind.is("", "PersistentVolumeClaim") {
            return self.users(namespace, &id.name, live).await;
        }
        let mut pods = if id.group_kind.is("", "Pod") {
            vec![live.clone()]
        } else {
            let Some(labels) = selector(live) else { return Vec::new() };
            let selection = Selection { labels: Some(labels), ..Selection::default() };
            self.connection.cluster.select(&builtin::pods(), Some(namespace), &selection).await.unwrap_or_default()
        };
        pods.retain(|pod| !is_ready(pod));
        pods.sort_by(|one, other| created(other).cmp(created(one)));
        pods.truncate(PODS);
        join_all(pods.into_iter().map(|pod| self.pod(namespace, pod))).await
    }

    /// The pods that use a claim, when that is what keeps it from going.
    async fn users(&self, namespace: &str, claim: &str, live: &Value) -> Vec<PodFacts> {
        if text_at(live, &["metadata", "deletionTimestamp"]).is_none() {
            return Vec::new();
        }
        let all = self.connection.cluster.list(&builtin::pods(), Some(namespace)).await.unwrap_or_default();
        let uses = |volume: &Value| text_at(volume, &["persistentVolumeClaim", "claimName"]) == Some(claim);
        let using = all.into_iter().filter(|pod| pod["spec"]["volumes"].as_array().into_iter().flatten().any(uses));
        using.map(|pod| PodFacts { pod, ..PodFacts::default() }).collect()
    }

    async fn pod(&self, namespace: &str, pod: Value) -> PodFacts {
        let name = text_at(&pod, &["metadata", "name"]).unwrap_or_default().to_owned();
        let group_kind = GroupKind::new("", "Pod");
        let id = ObjectId { group_kind, namespace: Some(namespace.to_owned()), name: name.clone() };
        let mut logs = BTreeMap::new();
        for (container, previous) in crashed(&pod) {
            let wanted = Logs { container: Some(&container), previous, tail: Some(LINES), since_seconds: None };
            if let Ok(text) = self.connection.cluster.logs(namespace, &name, &wanted).await {
                logs.insert(container, text);
            }
        }
        PodFacts { events: self.events(&id).await, pod, logs }
    }
}

fn state(follower: &Follower) -> AgentState {
    match &follower.agent {
        _ if follower.leaves_out => AgentState::LeavesOut(follower.place()),
        Agent::Works { .. } | Agent::Unknown => AgentState::Works,
        Agent::Silent { seconds, .. } => AgentState::Silent(*seconds),
        Agent::Absent => AgentState::Absent(follower.place()),
    }
}

/// The Secret that an ExternalSecret or SealedSecret makes: its own name, unless it says another.
fn made_by(live: &Value) -> &str {
    let named = [&["spec", "target", "name"][..], &["spec", "template", "metadata", "name"]];
    let named = named.iter().find_map(|path| text_at(live, path)).filter(|name| !name.is_empty());
    named.unwrap_or_else(|| name_of(live).1)
}

fn is_unwell(resource: &ViewedResource) -> bool {
    let health = resource.health.as_ref().map_or("", |health| health.status.as_str());
    !matches!(health, "" | "Healthy" | "Missing") || (is_application(&resource.id()) && !resource.is_fine())
}

/// The worst come first; what makes secrets and volumes before what needs them.
fn rank(resource: &ViewedResource) -> (u8, u8) {
    let health = resource.health.as_ref().map_or("", |health| health.status.as_str());
    let bad = match health {
        "Degraded" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    (
        u8::from(!matches!(
            resource.kind.as_str(),
            "ClusterExternalSecret" | "ExternalSecret" | "PersistentVolumeClaim"
        )),
        bad,
    )
}

fn is_application(id: &ObjectId) -> bool {
    id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND)
}

/// The label selector of a workload; `None` for what selects no pods.
fn selector(live: &Value) -> Option<String> {
    let labels = live["spec"]["selector"]["matchLabels"].as_object()?;
    let pairs = labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let selector = pairs.collect::<Vec<_>>().join(",");
    (!selector.is_empty()).then_some(selector)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready || pod["status"]["phase"] == "Succeeded" || pod["metadata"].get("deletionTimestamp").is_some()
}

fn created(pod: &Value) -> &str {
    text_at(pod, &["metadata", "creationTimestamp"]).unwrap_or_default()
}

/// Containers that ended with an error, and whether that was before the last restart.
fn crashed(pod: &Value) -> Vec<(String, bool)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let all = lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let failed = |end: &Value| end["exitCode"].as_i64().is_some_and(|code| code != 0);
    all.filter_map(|status| {
        let name = text_at(status, &["name"])?.to_owned();
        let now = failed(&status["state"]["terminated"]);
        (now || failed(&status["lastState"]["terminated"])).then_some((name, !now))
    })
    .collect()
}
