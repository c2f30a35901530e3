//! What pods say: images, crashes, nodes. One finding for a container of a workload, however many pods it has.

use std::collections::BTreeSet;

use serde_json::Value;

use super::objects::with_events;
use super::{Cause, Finding, ObjectFacts, PodFacts};
use crate::object::text_at;

/// Lines of a log that a finding shows.
const LINES: usize = 8;

/// What explains the pods of an object of an Application; of none, its name is empty.
pub(super) fn of(object: &ObjectFacts, application: &str) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for pod in &object.pods {
        for (key, mut finding) in containers(object, pod).chain(unscheduled(object, pod)) {
            if finding.cause == Cause::ContainerCrashes && !application.is_empty() {
                finding = finding.mended_by(format!(
                    "when it worked before: gitmoor history {application}, and gitmoor rollback {application}"
                ));
            }
            if seen.insert(key) {
                findings.push(with_events(finding, &pod.events));
            }
        }
    }
    findings
}

fn containers<'a>(object: &'a ObjectFacts, pod: &'a PodFacts) -> impl Iterator<Item = (String, Finding)> + 'a {
    let statuses = ["initContainerStatuses", "containerStatuses"];
    let all = statuses.into_iter().flat_map(|list| pod.pod["status"][list].as_array().into_iter().flatten());
    all.filter_map(move |status| {
        let name = text_at(status, &["name"])?;
        Some((name.to_owned(), container(object, pod, status, name)?))
    })
}

/// Whose container it is, for people.
fn owner(object: &ObjectFacts, name: &str) -> String {
    format!("container {name} of {}", object.id)
}

fn container(object: &ObjectFacts, pod: &PodFacts, status: &Value, name: &str) -> Option<Finding> {
    let waiting = &status["state"]["waiting"];
    let reason = text_at(waiting, &["reason"]).unwrap_or_default();
    let message = text_at(waiting, &["message"]).unwrap_or_default();
    let whose = owner(object, name);
    let finding = match reason {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            let image = image(&pod.pod, status, name);
            let why = pulled(pod, message);
            Finding::new(Cause::ImageNotPulled, format!("the image {image} of {whose} cannot be pulled: {why}"))
                .mended_by("is the name right, is the image there, and may the nodes pull it (imagePullSecrets, ECR)?")
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
            Finding::new(Cause::ContainerConfig, format!("{whose} cannot start: {message}"))
                .mended_by("make what it needs, or take the reference out of its pod template")
        }
        _ => return crashed(object, pod, status, name),
    };
    Some(finding.shown_by("pod", format!("{}: {reason}: {message}", pod_name(&pod.pod))))
}

/// A container that ended with an error and is not ready now.
fn crashed(object: &ObjectFacts, pod: &PodFacts, status: &Value, name: &str) -> Option<Finding> {
    if status["ready"] == true {
        return None;
    }
    let ends = [&status["lastState"]["terminated"], &status["state"]["terminated"]];
    let ended = ends.into_iter().find(|ended| ended["exitCode"].as_i64().is_some_and(|code| code != 0))?;
    let code = ended["exitCode"].as_i64().unwrap_or_default();
    let reason = text_at(ended, &["reason"]).unwrap_or("Error");
    let restarts = status["restartCount"].as_u64().unwrap_or(0);
    let log = pod
        .logs
        .get(name)
        .map(String::as_str)
        .filter(|log| !log.trim().is_empty())
        .or(text_at(ended, &["message"]))
        .unwrap_or_default();
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let whose = owner(object, name);
    let finding = if reason == "OOMKilled" {
        let limit = limit(&pod.pod, name).map_or(" there is".into(), |limit| format!(" its limit of {limit}"));
        Finding::new(Cause::ContainerCrashes, format!("{whose} is killed, because it needs more memory than{limit}"))
            .mended_by("raise resources.limits.memory, or have it need less")
    } else {
        let words = last.map(|line| format!(": {line}")).unwrap_or_default();
        Finding::new(Cause::ContainerCrashes, format!("{whose} crashes with exit code {code}{words}"))
            .mended_by("its last words say why; when it is the image or its configuration, change it in Git")
    };
    let finding =
        finding.shown_by("pod", format!("{}: {reason}, exit code {code}, restarts: {restarts}", pod_name(&pod.pod)));
    let lines: Vec<&str> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LINES)..];
    Some(tail.iter().fold(finding, |finding, line| finding.shown_by("log", *line)))
}

/// A pod that no node takes.
fn unscheduled<'a>(object: &'a ObjectFacts, pod: &'a PodFacts) -> Option<(String, Finding)> {
    let conditions = pod.pod["status"]["conditions"].as_array()?;
    let scheduled = conditions.iter().find(|condition| condition["type"] == "PodScheduled")?;
    if scheduled["status"] != "False" {
        return None;
    }
    let why = text_at(scheduled, &["message"]).unwrap_or("no reason is given");
    let finding = Finding::new(Cause::Unschedulable, format!("no node takes the pods of {}: {why}", object.id))
        .shown_by("pod", format!("{} waits for a node", pod_name(&pod.pod)))
        .mended_by("add nodes, ask for less, or correct selectors, tolerations and claims");
    Some(("(a node)".to_owned(), finding))
}

/// Why an image was not pulled: the first failure says more than the waiting for the next try.
fn pulled(pod: &PodFacts, message: &str) -> String {
    let failed = pod.events.iter().rev().find(|event| event.reason == "Failed" && event.message.contains("pull"));
    let said = failed.map_or(message, |event| event.message.as_str());
    if said.is_empty() { "the registry gives no reason".to_owned() } else { said.to_owned() }
}

fn image(pod: &Value, status: &Value, name: &str) -> String {
    let of_spec = template(pod, name).and_then(|container| text_at(container, &["image"]));
    of_spec.or(text_at(status, &["image"])).unwrap_or_default().to_owned()
}

fn limit(pod: &Value, name: &str) -> Option<String> {
    text_at(template(pod, name)?, &["resources", "limits", "memory"]).map(str::to_owned)
}

/// A container as the pod's spec has it.
fn template<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let lists = ["initContainers", "containers"];
    let mut all = lists.into_iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
    all.find(|container| container["name"] == name)
}

fn pod_name(pod: &Value) -> &str {
    text_at(pod, &["metadata", "name"]).unwrap_or_default()
}
