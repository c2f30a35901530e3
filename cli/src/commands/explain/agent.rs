//! Why no agent works: what keeps its pods from running.

use gitmoor_core::{
    builtin,
    explain::{Cause, Finding, explain},
    health::{Health, HealthStatus, assess},
    object::text_at,
    view::{ViewedHealth, ViewedResource},
};
use serde_json::Value;

use super::gather;
use crate::cluster::{Connection, name_of};

/// Name of the agent's Deployment, and its value of the label that says what something is.
const AGENT: &str = "gitmoor-agent";
const LABEL_NAME: &str = "app.kubernetes.io/name";

/// What keeps the agent from working that is in one of some namespaces; none when there is nothing to be seen.
pub(crate) async fn why_silent(connection: &Connection, namespaces: &[impl AsRef<str>]) -> Option<Finding> {
    let mut read = Vec::new();
    for namespace in namespaces.iter().map(AsRef::as_ref) {
        let Ok(all) = connection.cluster.list(&builtin::deployments(), Some(namespace)).await else { continue };
        if let Some(live) = all.iter().find(|live| is_agent(live)) {
            return of_deployment(connection, namespace, live).await;
        }
        read.push(namespace);
    }
    if read.is_empty() {
        return None;
    }
    let sentence = format!("there is no Deployment of the agent in namespace {}", read.join(" or "));
    Some(Finding::new(Cause::NoAgent, sentence).mended_by("install it: gitmoor bootstrap"))
}

async fn of_deployment(connection: &Connection, namespace: &str, live: &Value) -> Option<Finding> {
    if live["spec"]["replicas"] == 0 {
        let sentence = format!("the Deployment {namespace}/{} is scaled to 0", name_of(live).1);
        let remedy = format!("kubectl scale deployment {} -n {namespace} --replicas 2", name_of(live).1);
        return Some(Finding::new(Cause::NoAgent, sentence).mended_by(remedy));
    }
    let health = assess(live);
    if health.status == HealthStatus::Healthy {
        let place = format!("kubectl logs -n {namespace} deployment/{}", name_of(live).1);
        let sentence = "its pods run, and none of them holds the lease";
        return Some(Finding::new(Cause::NoAgent, sentence).mended_by(format!("see why: {place}")));
    }
    let found = explain(&gather::objects(connection, &[viewed(live, health)]).await);
    found.into_iter().next()
}

/// Adds that to the finding that there is no agent: what to do about it takes the place of where to look.
pub(super) fn told(no_agent: &mut Finding, why: Finding) {
    no_agent.sentence = format!("{}. It does not work because {}", no_agent.sentence, why.sentence);
    no_agent.evidence.extend(why.evidence);
    if !why.remedy.is_empty() {
        no_agent.remedy = why.remedy;
    }
}

fn is_agent(live: &Value) -> bool {
    text_at(live, &["metadata", "labels", LABEL_NAME]) == Some(AGENT) || name_of(live).1 == AGENT
}

fn viewed(live: &Value, health: Health) -> ViewedResource {
    let (namespace, name) = name_of(live);
    ViewedResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
        health: Some(ViewedHealth { status: health.status.as_str().to_owned(), message: health.message }),
        ..ViewedResource::default()
    }
}
