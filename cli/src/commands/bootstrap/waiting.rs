//! Waiting with a live view: for definitions, for the agent, for the platform.

use std::time::Duration;

use gitmoor_core::{
    builtin,
    explain::Finding,
    health::{HealthStatus, assess},
    view::{ApplicationView, ViewedCondition, ViewedHealth, ViewedResource},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::install::Installer;
use super::material::{Material, id};
use crate::{
    cluster::{Agent, Connection},
    commands::explain,
    failure::{Exit, Failure},
    terminal::Terminal,
};

const LOOK: Duration = Duration::from_millis(500);
/// How long a definition takes at most.
const DEFINITION: Duration = Duration::from_secs(60);
/// How often it is asked why something does not get on.
const EXPLAIN: Duration = Duration::from_secs(10);
/// Applications that are named.
const NAMED: usize = 8;

/// Waits until all definitions are served.
pub(super) async fn definitions(
    installer: &Installer<'_>,
    definitions: &[&Value],
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let mut lines = Vec::new();
        for definition in definitions {
            let health = installer.live(definition).await?.map(|live| assess(&live)).unwrap_or_default();
            if health.status != HealthStatus::Healthy {
                let why = health.message.unwrap_or_default();
                lines.push(format!("  {} is not served yet: {why}", id(definition)));
            }
        }
        if lines.is_empty() {
            terminal.end_live(false);
            return Ok(());
        }
        terminal.live(&lines);
        if started.elapsed() > DEFINITION {
            terminal.end_live(true);
            return Err(Failure::new(Exit::Io, "a definition is not served").hint("kubectl describe crd says why"));
        }
        sleep(LOOK).await;
    }
}

/// Waits until the agent's workloads are healthy and one of its pods works. False: not in time.
pub(super) async fn agent(
    installer: &Installer<'_>,
    material: &Material,
    timeout: Duration,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let workloads: Vec<&Value> = material.agent.iter().filter(|object| id(object).group_kind.group == "apps").collect();
    let (started, mut asked, mut why) = (Instant::now(), Instant::now(), Vec::new());
    loop {
        let mut lines = Vec::new();
        let mut unwell = Vec::new();
        for workload in &workloads {
            let health = installer.live(workload).await?.map(|live| assess(&live)).unwrap_or_default();
            if health.status != HealthStatus::Healthy {
                lines.push(format!(
                    "  {} is {}: {}",
                    id(workload),
                    health.status,
                    health.message.clone().unwrap_or_default()
                ));
                unwell.push(viewed(workload, health.status.as_str(), health.message));
            }
        }
        let agent = installer.connection.agent(&material.namespace).await;
        if !matches!(agent, Agent::Works { .. } | Agent::Unknown) {
            lines.push("  no agent holds the lease yet".to_owned());
        }
        if lines.is_empty() {
            terminal.end_live(false);
            return Ok(true);
        }
        if asked.elapsed() > EXPLAIN && !unwell.is_empty() {
            why = told("", &explain::of_objects(installer.connection, &unwell).await);
            asked = Instant::now();
        }
        lines.insert(0, "waiting for the agent".to_owned());
        lines.extend(why.iter().cloned());
        terminal.live(&lines);
        if started.elapsed() > timeout {
            terminal.end_live(true);
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

fn viewed(object: &Value, status: &str, message: Option<String>) -> ViewedResource {
    let id = id(object);
    let version = object["apiVersion"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    ViewedResource {
        group: id.group_kind.group,
        version,
        kind: id.group_kind.kind,
        namespace: id.namespace,
        name: id.name,
        health: Some(ViewedHealth { status: status.to_owned(), message }),
        ..ViewedResource::default()
    }
}

/// Waits until every Application is Synced and Healthy. False: not in time.
pub(super) async fn platform(
    connection: &Connection,
    material: &Material,
    timeout: Duration,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let root = id(&material.root).name;
    let (started, mut asked, mut why) = (Instant::now(), Instant::now(), Vec::new());
    loop {
        let listed = connection.cluster.list_as(&builtin::applications(), Some(&material.namespace)).await;
        let all: Vec<ApplicationView> =
            listed.map_err(|error| crate::cluster::failed("cannot list Applications", &error))?;
        let unfinished: Vec<&ApplicationView> = all.iter().filter(|view| !view.is_fine()).collect();
        if unfinished.is_empty() && all.iter().any(|view| view.key().name == root) {
            terminal.end_live(false);
            return Ok(true);
        }
        if asked.elapsed() > EXPLAIN || started.elapsed() > timeout {
            why = stuck(connection, &unfinished).await;
            asked = Instant::now();
        }
        let mut lines = vec![format!(
            "waiting for the platform: {} of {} Applications are Synced and Healthy",
            all.len() - unfinished.len(),
            all.len()
        )];
        lines.extend(unfinished.iter().take(NAMED).map(|view| {
            format!("  {}  {}  {}  {}", view.key().name, view.sync(), view.health(), view.reason())
                .trim_end()
                .to_owned()
        }));
        lines.extend(why.iter().cloned());
        terminal.live(&lines);
        if started.elapsed() > timeout {
            terminal.end_live(true);
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

/// What the first Application that does not get on needs. One that others belong to waits for those.
async fn stuck(connection: &Connection, unfinished: &[&ApplicationView]) -> Vec<String> {
    let Some(view) = first_stuck(unfinished) else { return Vec::new() };
    let key = view.key();
    let Ok(object) = connection.application(&key.to_string()).await else { return Vec::new() };
    let findings = explain::of_application(connection, object).await.unwrap_or_default();
    told(&format!("{} is ", key.name), &findings)
}

fn first_stuck<'v>(unfinished: &[&'v ApplicationView]) -> Option<&'v ApplicationView> {
    let is_bad = |view: &ApplicationView| {
        view.health() == "Degraded"
            || view.sync() == "Unknown"
            || view.conditions().iter().any(ViewedCondition::is_error)
    };
    let bad: Vec<&ApplicationView> = unfinished.iter().copied().filter(|view| is_bad(view)).collect();
    let waits = |view: &ApplicationView| bad.iter().any(|other| has(view, other));
    bad.iter().find(|view| !waits(view)).or(bad.first()).copied()
}

/// Whether an Application is among the objects of another one.
fn has(parent: &ApplicationView, other: &ApplicationView) -> bool {
    let (own, key) = (parent.key(), other.key());
    own != key
        && parent.resources().iter().any(|one| {
            let is_here = one.namespace.as_deref().is_none_or(|namespace| namespace == key.namespace);
            is_here && one.name == key.name && one.id().group_kind == builtin::applications().group_kind
        })
}

/// What is the matter, and what can be done; `who` says with what.
fn told(who: &str, findings: &[Finding]) -> Vec<String> {
    let Some(first) = findings.first() else { return Vec::new() };
    let mut lines = vec![format!("{who}stuck: {}", first.sentence)];
    lines.extend(first.remedy.iter().map(|remedy| format!("  {remedy}")));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stuck_is_who_waits_for_no_other_whatever_the_names_are() {
        let view = |name: &str, health: &str, children: &[&str]| -> ApplicationView {
            let child = |name: &&str| json!({"group": "argoproj.io", "version": "v1alpha1", "kind": "Application", "namespace": "gitmoor", "name": name});
            let resources: Vec<Value> = children.iter().map(child).collect();
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "gitmoor"},
                "status": {"sync": {"status": "Synced"}, "health": {"status": health}, "resources": resources},
            }))
            .unwrap()
        };
        for root in ["aaa", "zeta"] {
            let parent = view(root, "Degraded", &[root, "fine", "lost", "slow"]);
            let (lost, slow) = (view("lost", "Degraded", &[]), view("slow", "Progressing", &[]));
            let stuck = first_stuck(&[&lost, &slow, &parent]).map(ApplicationView::key);
            assert_eq!(stuck.unwrap().name, "lost");
            assert_eq!(first_stuck(&[&parent, &slow]).map(ApplicationView::key).unwrap().name, root, "it alone is bad");
            assert!(first_stuck(&[&slow]).is_none());
        }
    }
}
