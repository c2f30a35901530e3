//! Pods.

use serde_json::Value;

use super::observed::{Condition, at, condition, flag, items, number};
use super::{Health, HealthStatus};
use crate::object::text_at;

/// Follows Argo CD: a pod that restarts for ever is Degraded as soon as one of its containers cannot start or has
/// crashed; a pod with an end (`restartPolicy` `Never` or `OnFailure`, mostly a hook) is Progressing until it has
/// ended, because a pull or a start that fails now may still succeed and run.
///
/// Differences: init containers count too; only a crash of a container that is not ready now counts; a pod without a
/// phase is Progressing as in kstatus (Argo CD: Unknown); a pod that cannot be scheduled stays Progressing with
/// the scheduler's message (kstatus: failed after 15 seconds), since a node may come.
pub(super) fn assess(object: &Value) -> Health {
    let reported = text_at(object, &["status", "message"]).or_else(|| text_at(object, &["status", "reason"]));
    match text_at(object, &["status", "phase"]) {
        Some("Succeeded") => Health::healthy(),
        Some("Failed") => Health::degraded(
            reported.map(str::to_owned).or_else(|| containers(object).find_map(failure)).unwrap_or_default(),
        ),
        Some("Pending" | "Running") => alive(object),
        Some(_) => Health::new(HealthStatus::Unknown, reported.unwrap_or("its node does not report")),
        None => Health::progressing("waiting to be scheduled"),
    }
}

fn alive(object: &Value) -> Health {
    let stuck: Vec<String> = containers(object).filter_map(stuck).collect();
    let ends = matches!(text_at(object, &["spec", "restartPolicy"]), Some("Never" | "OnFailure"));
    let ready = condition(object, "Ready");
    if !stuck.is_empty() {
        return Health::new(if ends { HealthStatus::Progressing } else { HealthStatus::Degraded }, stuck.join("; "));
    }
    if ends {
        return Health::progressing(waiting(object).unwrap_or_else(|| "running".to_owned()));
    }
    if ready.is_some_and(|ready| ready.is_true()) {
        return Health::healthy();
    }
    match containers(object).find_map(crashed) {
        Some(crashed) => Health::degraded(crashed),
        None => Health::progressing(waiting(object).unwrap_or_else(|| "waiting to be ready".to_owned())),
    }
}

/// What the pod waits for: its node, or the containers that are not ready.
fn waiting(object: &Value) -> Option<String> {
    ["PodScheduled", "Initialized", "Ready"].into_iter().find_map(|name| {
        let condition = condition(object, name).filter(Condition::is_false)?;
        Some(condition.text())
    })
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"].into_iter().flat_map(|list| items(object, &["status", list]))
}

fn name(container: &Value) -> &str {
    text_at(container, &["name"]).unwrap_or_default()
}

/// A container that waits for something that will not come by itself: an image that cannot be pulled, a configuration
/// that is not there, the next try after a crash.
fn stuck(container: &Value) -> Option<String> {
    let waiting = at(container, &["state", "waiting"])?;
    let reason = text_at(waiting, &["reason"])?;
    let detail = text_at(waiting, &["message"]).map(|message| format!(": {message}")).unwrap_or_default();
    cannot_start(reason).then(|| format!("container {}: {reason}{detail}", name(container)))
}

/// True for the reasons of a waiting container that do not go away by waiting.
pub(super) fn cannot_start(reason: &str) -> bool {
    reason.starts_with("Err")
        || ["Error", "BackOff"].iter().any(|end| reason.ends_with(end))
        || reason == "InvalidImageName"
}

/// How a container ended, if it ended badly.
fn failure(container: &Value) -> Option<String> {
    let terminated = at(container, &["state", "terminated"])?;
    ended(container, terminated)
}

/// How a container that is not ready ended before its last restart.
fn crashed(container: &Value) -> Option<String> {
    let terminated = at(container, &["lastState", "terminated"])?;
    let restarts = number(container, &["restartCount"]).unwrap_or(0);
    if flag(container, &["ready"]) {
        return None;
    }
    Some(format!("{}, restarts: {restarts}", ended(container, terminated)?))
}

fn ended(container: &Value, terminated: &Value) -> Option<String> {
    let code = number(terminated, &["exitCode"]).filter(|code| *code != 0)?;
    let reason = text_at(terminated, &["reason"]).unwrap_or("Error");
    let detail = text_at(terminated, &["message"]).map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("container {}: {reason}, exit code {code}{detail}", name(container)))
}
