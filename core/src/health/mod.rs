//! Health of live objects: a pure function of the object, one file per kind or family.
//!
//! ```text
//! object -ignored?-> -being deleted?-> -generation observed?-> -rule of its kind | conditions-> Health
//! ```
//!
//! The words, their order and the rules of built-in kinds follow Argo CD (`gitops-engine/pkg/health` and
//! `resource_customizations`), so that existing tools and habits keep working; the convention for all other kinds
//! follows `kstatus` (`cli-utils/pkg/kstatus`). Where the two differ, or where neither tells a user the truth, the
//! file of the kind says what is done here and why. Nothing here knows the time, so nothing turns bad by waiting
//! unless the object itself says so.
//!
//! A new rule is a file here, a line in `rules.rs`, and a folder of fixtures, one file per state.

mod observed;
mod rules;
mod watch;

mod cron_job;
mod daemon_set;
mod deployment;
mod job;
mod pod;
mod replica_set;
mod stateful_set;

mod api_service;
mod custom_resource_definition;
mod horizontal_pod_autoscaler;
mod ingress;
mod namespace;
mod persistent_volume;
mod persistent_volume_claim;
mod pod_disruption_budget;
mod service;

mod ack;
mod application;
mod argo_workflow;
mod cert_manager;
mod gateway_api;
mod knative;
mod kserve;
mod kubeflow;
mod prometheus_operator;
mod secrets;

mod conditions;
mod deletion;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::{GroupKind, annotation, group_of, text_at};

pub use deletion::PENDING_DELETION;
pub use watch::{Watch, watch_of};

/// Annotation on an object whose health does not count, when its value is `true`. Load-bearing.
pub const ANNOTATION_IGNORE_HEALTHCHECK: &str = "argocd.argoproj.io/ignore-healthcheck";

/// Longest message, in characters. Controllers quote whole API answers; 5,000 of them must fit into a status.
const MESSAGE_LIMIT: usize = 400;

/// How an object fares, from best to worst, in Argo CD's order (`healthOrder` in its `pkg/health/health.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Does what it should, or is of a kind that cannot fail.
    #[default]
    Healthy,
    /// Somebody has paused it.
    Suspended,
    /// Not there yet, and may get there by itself.
    Progressing,
    /// Not in the cluster.
    Missing,
    /// Failed, or did not get there within its own deadline.
    Degraded,
    /// Cannot be told.
    Unknown,
}

impl HealthStatus {
    /// All of them, from best to worst.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Suspended, Self::Progressing, Self::Missing, Self::Degraded, Self::Unknown];

    /// The word that stands for it in the status of an Application.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }

    /// The status that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The health of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health {
    /// The status.
    pub status: HealthStatus,
    /// What it waits for or why it failed, one line; `None` when there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Health {
    /// A status with a message, which becomes one line of at most 400 characters.
    pub fn new(status: HealthStatus, message: impl AsRef<str>) -> Self {
        let mut message = message.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
            message.truncate(end);
            message.push('…');
        }
        Self { status, message: (!message.is_empty()).then_some(message) }
    }

    /// Healthy, with nothing to say.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Not in the cluster.
    pub fn missing() -> Self {
        Self { status: HealthStatus::Missing, message: None }
    }

    /// The worse of two; the first of two equal ones.
    fn or_worse(self, other: Self) -> Self {
        if other.status > self.status { other } else { self }
    }

    fn healthy_because(message: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Healthy, message)
    }

    fn suspended(message: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Suspended, message)
    }

    fn progressing(message: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Progressing, message)
    }

    fn degraded(message: impl AsRef<str>) -> Self {
        Self::new(HealthStatus::Degraded, message)
    }
}

/// The worst of several statuses; `Healthy` when there are none.
pub fn worst(statuses: impl IntoIterator<Item = HealthStatus>) -> HealthStatus {
    statuses.into_iter().max().unwrap_or_default()
}

/// Assesses a live object: as the API server returned it, or its metadata alone where [`watch_of`] says so.
///
/// - An object annotated `argocd.argoproj.io/ignore-healthcheck: "true"` is `Healthy` whatever its state, also while
///   it is being deleted. `Healthy` is the neutral element of [`worst`], so it never changes an aggregate.
/// - An object that is being deleted is `Progressing`.
/// - A kind whose health needs no body ([`Watch::Metadata`]) is `Healthy` when it exists. Its body is never looked
///   at, so that a Secret's data cannot reach a message.
/// - An object whose controller has not yet seen its present generation is `Progressing`: whatever else its status
///   says is about an older spec. As in `kstatus`, only where both numbers are there. Unlike there, an observed
///   generation that is ahead (an object restored from a backup) counts as observed.
/// - Then the rule of the kind decides, and for a kind without one its conditions. Without either, to exist is to be
///   `Healthy`.
pub fn assess(object: &Value) -> Health {
    if annotation(object, ANNOTATION_IGNORE_HEALTHCHECK) == Some("true") {
        return Health::healthy_because(format!("not assessed: annotation {ANNOTATION_IGNORE_HEALTHCHECK}"));
    }
    if let Some(pending) = deletion::pending(object) {
        return pending;
    }
    let group_kind = group_kind_of(object);
    if watch_of(&group_kind) == Watch::Metadata {
        return Health::healthy();
    }
    if let Some(waiting) = observed::behind(object) {
        return waiting;
    }
    rules::rule_of(&group_kind).map_or(conditions::assess as rules::Assess, |rule| rule.assess)(object)
}

fn group_kind_of(object: &Value) -> GroupKind {
    let api_version = text_at(object, &["apiVersion"]).unwrap_or_default();
    GroupKind::new(group_of(api_version), text_at(object, &["kind"]).unwrap_or_default())
}
