//! Follows the Applications, live, until all of them are Synced and Healthy.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt as _, pin_mut};
use gitmoor_tests::harness::await_state::revisions;
use gitmoor_tests::harness::installation::api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

use crate::cluster::NAMESPACE;
use crate::screen::{Row, Screen};

/// The kind Application.
pub(crate) const APPLICATION: &str = "argoproj.io/v1alpha1/Application";
/// The Application that is applied by hand: platform.yaml.
const ROOT: &str = "platform";
/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is known of every Application, by name.
pub(crate) type Applications = BTreeMap<String, Value>;

/// Shows the Applications until the root, and all that it brings, are Synced and Healthy and `settled` holds.
pub(crate) async fn follow(
    client: &kube::Client,
    screen: &mut Screen,
    settled: impl Fn(&Applications) -> bool,
) -> anyhow::Result<()> {
    let events = watch(client, APPLICATION, NAMESPACE);
    pin_mut!(events);
    let mut applications = Applications::new();
    let mut listed = false;
    let started = Instant::now();
    while !(listed && complete(&applications) && settled(&applications)) {
        let left = PATIENCE.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, events.next()).await {
            // The watch takes itself up again.
            Ok(Some(Err(_))) => {}
            Ok(Some(Ok(event))) => {
                listed |= matches!(event, Event::InitDone);
                take(&mut applications, event);
            }
            Ok(None) => bail!("the watch of Applications ended"),
            Err(_) => bail!("not all is Synced and Healthy after {PATIENCE:?}\n{}", unfinished(&applications)),
        }
        if !listed {
            continue;
        }
        screen.table(&applications.iter().map(|(name, object)| (name.clone(), row(object))).collect());
    }
    Ok(())
}

/// Waits until an object of the cluster fits; gives when it was seen.
pub(crate) async fn await_object(
    client: &kube::Client,
    (kind, namespace, name): (&str, &str, &str),
    fits: impl Fn(&Value) -> bool,
) -> anyhow::Result<Instant> {
    let events = watch(client, kind, namespace);
    pin_mut!(events);
    let seen = async {
        loop {
            if let Some(Ok(Event::Apply(object) | Event::InitApply(object))) = events.next().await
                && object.metadata.name.as_deref() == Some(name)
                && fits(&object.data)
            {
                return Instant::now();
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.with_context(|| format!("{kind} {namespace}/{name} does not change"))
}

fn watch(
    client: &kube::Client,
    kind: &str,
    namespace: &str,
) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + use<> {
    watcher::watcher(api(client, kind, Some(namespace)), watcher::Config::default())
}

fn take(applications: &mut Applications, event: Event<DynamicObject>) {
    match event {
        Event::Apply(object) | Event::InitApply(object) => {
            let name = object.metadata.name.clone().unwrap_or_default();
            applications.insert(name, object.data);
        }
        Event::Delete(object) => drop(applications.remove(object.metadata.name.as_deref().unwrap_or_default())),
        Event::Init => applications.clear(),
        Event::InitDone => {}
    }
}

/// Whether the root has brought all that it wants, and all of it is as it should be.
fn complete(applications: &Applications) -> bool {
    let Some(root) = applications.get(ROOT) else { return false };
    let resources = root["status"]["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut children = resources.iter().filter(|resource| resource["kind"] == "Application");
    children.all(|child| child["name"].as_str().is_some_and(|name| applications.contains_key(name)))
        && applications.values().all(is_good)
}

fn is_good(object: &Value) -> bool {
    object["status"]["sync"]["status"] == "Synced" && object["status"]["health"]["status"] == "Healthy"
}

fn row(object: &Value) -> Row {
    let status = &object["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resources = status["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fit = |resource: &&Value| {
        resource["status"] == "Synced" && matches!(resource["health"]["status"].as_str(), None | Some("Healthy"))
    };
    let note = match status["conditions"][0]["message"].as_str() {
        Some(message) => message.to_owned(),
        None if status.is_null() => "new".to_owned(),
        None if resources.is_empty() => String::new(),
        None => format!("{}/{} objects", resources.iter().filter(fit).count(), resources.len()),
    };
    Row {
        sync: text(&status["sync"]["status"]),
        health: text(&status["health"]["status"]),
        revision: revisions(status).first().copied().unwrap_or_default().chars().take(7).collect(),
        note,
    }
}

/// What is wrong, Application by Application.
fn unfinished(applications: &Applications) -> String {
    let mut text = String::new();
    if !applications.contains_key(ROOT) {
        let _ = writeln!(text, "  {ROOT}: there is no such Application");
    }
    for (name, object) in applications.iter().filter(|(_, object)| !is_good(object)) {
        let Row { sync, health, .. } = row(object);
        let _ = writeln!(
            text,
            "  {name}: {}",
            if sync.is_empty() { "not looked at yet".into() } else { format!("{sync}, {health}") }
        );
        for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
            let _ = writeln!(text, "    {}", condition["message"].as_str().unwrap_or_default());
        }
        for resource in object["status"]["resources"].as_array().into_iter().flatten() {
            text.extend(unfinished_resource(resource));
        }
    }
    text
}

fn unfinished_resource(resource: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (sync, health) = (text(&resource["status"]), text(&resource["health"]["status"]));
    if sync == "Synced" && matches!(health.as_str(), "" | "Healthy") {
        return None;
    }
    let (kind, namespace, name) = (text(&resource["kind"]), text(&resource["namespace"]), text(&resource["name"]));
    Some(format!("    {kind} {namespace}/{name}: {sync}, {health} {}\n", text(&resource["health"]["message"])))
}
