//! Kubeflow: notebooks, profiles, training jobs, Katib.

use serde_json::Value;

use super::Health;
use super::observed::{at, conditions, count, flag, true_condition};
use super::pod::cannot_start;
use crate::object::{annotation, text_at};

/// Annotation that the notebook controller sets on a notebook it has stopped.
const STOPPED: &str = "kubeflow-resource-stopped";

/// A Notebook is Healthy with a ready replica, Suspended when stopped, Degraded when its container cannot start.
pub(super) fn assess_notebook(object: &Value) -> Health {
    if annotation(object, STOPPED).is_some() {
        return Health::suspended("stopped");
    }
    if count(object, "readyReplicas") > 0 {
        return Health::healthy();
    }
    let Some(waiting) = at(object, &["status", "containerState", "waiting"]) else {
        return Health::progressing("waiting for its pod");
    };
    let reason = text_at(waiting, &["reason"]).unwrap_or("waiting for its pod");
    let text = match text_at(waiting, &["message"]) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    if cannot_start(reason) { Health::degraded(text) } else { Health::progressing(text) }
}

/// A Profile is Degraded when the last thing its controller appended is a failure; such entries have no status.
pub(super) fn assess_profile(object: &Value) -> Health {
    match conditions(object).last() {
        Some(last) if last.name == "Failed" && !last.is_false() => Health::degraded(last.text()),
        _ => Health::healthy(),
    }
}

/// What runs to an end: a TrainJob, the job kinds before it, a Katib Experiment or Trial. Progressing until it has
/// ended, like a Job.
pub(super) fn assess_training(object: &Value) -> Health {
    if let Some(failed) = true_condition(object, "Failed") {
        return Health::degraded(failed.text());
    }
    if ["Complete", "Succeeded"].into_iter().any(|name| true_condition(object, name).is_some()) {
        return Health::healthy();
    }
    let suspended = flag(object, &["spec", "suspend"]) || flag(object, &["spec", "runPolicy", "suspend"]);
    if suspended || true_condition(object, "Suspended").is_some() {
        return Health::suspended("suspended");
    }
    match true_condition(object, "Restarting").or_else(|| true_condition(object, "Running")) {
        Some(running) => Health::progressing(running.text()),
        None => Health::progressing("waiting to run"),
    }
}
