//! Metrics, in Prometheus' conventions, with bounded labels.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitmoor_core::health::HealthStatus;
use gitmoor_core::status::Revision;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::Observer;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use serde_json::Value;

use crate::latencies::Latencies;
use crate::queue::Queue;
use crate::secrets::SecretMetrics;
use crate::state::{Standing, State};

/// A commit that was made longer ago was not pushed when it was made.
const LONGEST_PUSH: Duration = Duration::from_secs(3600);

/// One label with a word of a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    /// `success`, or the category of the failure.
    pub result: String,
}

impl Result {
    /// The label.
    pub(crate) fn of(result: &str) -> Self {
        Self { result: result.to_owned() }
    }
}

/// An Application, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApplicationLabels {
    namespace: String,
    name: String,
    sync: &'static str,
    health: &'static str,
}

/// An Application, and a part of a commit's way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    namespace: String,
    name: String,
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthLabel {
    health: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: String,
}

type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// What is read from what is known at every scrape.
#[derive(Clone, Default)]
struct Present {
    applications: Gauge,
    of_applications: Family<ApplicationLabels, Gauge>,
    last: Family<StageLabels, Seconds>,
    objects: Family<HealthLabel, Gauge>,
    queue_depth: Gauge,
    queue_age: Seconds,
}

/// The metrics of one agent.
pub(crate) struct Metrics {
    registry: Registry,
    /// 1 while this agent holds the lease.
    leader: Gauge,
    /// Fetches of repositories, by result.
    pub fetches: Family<Result, Counter>,
    /// Looks at charts of repositories and registries, by result.
    pub chart_fetches: Family<Result, Counter>,
    /// Looks at what comes from elsewhere, by result.
    pub remote_fetches: Family<Result, Counter>,
    /// Mirrors removed, since nobody followed them any more.
    pub mirrors_removed: Counter,
    /// Bytes of all mirrors.
    pub mirror_bytes: Gauge,
    /// Webhooks, by result.
    pub webhooks: Family<Result, Counter>,
    /// Renders of Applications, by result.
    pub renders: Family<Result, Counter>,
    /// Renders that were on disk.
    pub renders_cached: Counter,
    /// Renders that read-sets have spared.
    pub renders_spared: Counter,
    /// Renders that needed the whole tree, because the read-set missed a path.
    pub whole_tree_renders: Counter,
    /// Objects applied, by result.
    pub applies: Family<Result, Counter>,
    /// Objects whose drift was repaired.
    pub drift_repairs: Counter,
    /// Objects deleted because they left Git.
    pub prunes: Counter,
    /// Comparisons that failed, by category.
    pub unknown: Family<Result, Counter>,
    /// Syncs that have ended, by result.
    syncs: Family<Result, Counter>,
    /// Requests to the API server.
    requests: Family<RequestLabels, Counter>,
    /// Seconds from a commit being made to it being fetched.
    push_to_seen: Histogram,
    /// How long commits take from there on.
    pub latencies: Latencies,
    /// One scrape at a time.
    present: Mutex<Present>,
    /// Those of external secrets.
    pub secrets: SecretMetrics,
}

impl Metrics {
    /// All metrics, at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("gitmoor");
        macro_rules! register {
            ($metric:expr, $name:literal, $help:literal) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let seconds = || Histogram::new(exponential_buckets(0.01, 2.0, 14));
        let leader = register!(Gauge::default(), "leader", "1 while this agent holds the lease, and works");
        let fetches = register!(Family::default(), "git_fetches", "Fetches of repositories, by result");
        let chart_fetches = register!(Family::default(), "chart_fetches", "Looks at charts, by result");
        let remote_fetches = register!(
            Family::default(),
            "remote_fetches",
            "Looks at bases, files and charts from elsewhere, by result"
        );
        let mirrors_removed = register!(
            Counter::default(),
            "git_mirrors_removed",
            "Mirrors removed, since nobody followed them any more"
        );
        let mirror_bytes =
            register!(Gauge::default(), "git_mirror_bytes", "Bytes of mirrors, when they were looked at last");
        let webhooks = register!(Family::default(), "webhooks", "Webhooks of Git servers, by result");
        let renders = register!(Family::default(), "renders", "Renders of Applications, by result");
        let renders_cached = register!(Counter::default(), "renders_cached", "Renders that were on disk");
        let renders_spared = register!(Counter::default(), "renders_spared", "Renders that an equal read-set spared");
        let whole_tree_renders =
            register!(Counter::default(), "whole_tree_renders", "Renders whose read-set missed a path");
        let applies = register!(Family::default(), "applies", "Objects applied, by result");
        let drift_repairs = register!(Counter::default(), "drift_repairs", "Objects whose drift was repaired");
        let prunes = register!(Counter::default(), "prunes", "Objects deleted because they left Git");
        let unknown = register!(Family::default(), "comparison_failures", "Comparisons that failed, by category");
        let syncs = register!(Family::default(), "syncs", "Syncs that have ended, by result");
        let requests = register!(
            Family::default(),
            "api_requests",
            "Requests to the API server, by verb and status; none where there was no answer"
        );
        let push_to_seen = register!(
            seconds(),
            "push_to_seen_seconds",
            "From a commit being made to it being fetched; commits older than an hour do not count"
        );
        let rendered = register!(
            seconds(),
            "seen_to_rendered_seconds",
            "From a commit being fetched to its manifests being known"
        );
        let applied =
            register!(seconds(), "seen_to_applied_seconds", "From a commit being fetched to its objects being applied");
        let healthy =
            register!(seconds(), "seen_to_healthy_seconds", "From a commit being fetched to its objects being healthy");
        let latencies = Latencies::new(rendered, applied, healthy);
        let present = Present {
            applications: register!(Gauge::default(), "applications", "Applications known"),
            of_applications: register!(Family::default(), "application_info", "1 for where each Application stands"),
            last: register!(
                Family::default(),
                "application_last_change_seconds",
                "How long the last commit that changed an Application took from being fetched to each stage"
            ),
            objects: register!(Family::default(), "objects", "Live objects under management, by health"),
            queue_depth: register!(Gauge::default(), "queue_depth", "Applications that wait or are worked on"),
            queue_age: register!(Seconds::default(), "queue_age_seconds", "How long the first in the queue has waited"),
        };
        let secrets = SecretMetrics::register(&mut registry);
        // A rate needs something to begin with.
        let counted: [&Family<Result, Counter>; 7] =
            [&fetches, &chart_fetches, &remote_fetches, &webhooks, &renders, &applies, &syncs];
        for counted in counted {
            counted.get_or_create(&Result::of("success")).inc_by(0);
        }
        Self {
            registry,
            leader,
            fetches,
            chart_fetches,
            remote_fetches,
            mirrors_removed,
            mirror_bytes,
            webhooks,
            renders,
            renders_cached,
            renders_spared,
            whole_tree_renders,
            applies,
            drift_repairs,
            prunes,
            unknown,
            syncs,
            requests,
            push_to_seen,
            latencies,
            present: Mutex::new(present),
            secrets,
        }
    }

    /// Counts requests to the API server.
    pub(crate) fn observer(&self) -> Observer {
        let requests = self.requests.clone();
        Arc::new(move |asked| {
            let code = asked.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            requests.get_or_create(&RequestLabels { verb: asked.verb, code }).inc();
        })
    }

    /// Whether this agent works, or waits for another one to go.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A commit is seen that was made so long ago.
    pub(crate) fn pushed(&self, ago: Duration) {
        if ago <= LONGEST_PUSH {
            self.push_to_seen.observe(ago.as_secs_f64());
        }
    }

    /// The status of an Application was written.
    pub(crate) fn reported(&self, key: &ApplicationKey, before: &Value, after: &Value) {
        let (standing, revision) = (Standing::of(after), Revision::read(&after["sync"]));
        let identity = revision.map(|revision| revision.identity()).unwrap_or_default();
        self.latencies.reported(key, &identity, standing.sync == "Synced", standing.health == "Healthy");
        if let Some(result) = ended(before, after) {
            self.syncs.get_or_create(&Result { result }).inc();
        }
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// When a metric cannot be written, which formatting into a string does not do.
    pub(crate) fn scrape(&self, state: &State, queue: &Queue) -> std::result::Result<String, fmt::Error> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.fill(state, queue, &self.latencies);
        let mut text = String::new();
        let encoded = text::encode(&mut text, &self.registry);
        // As many as there are Applications: they need no memory between scrapes.
        present.of_applications.clear();
        present.last.clear();
        encoded.map(|()| text)
    }
}

impl Present {
    fn fill(&self, state: &State, queue: &Queue, latencies: &Latencies) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let standings = state.standings();
        self.applications.set(gauge(standings.len()));
        for (ApplicationKey { namespace, name }, Standing { sync, health }) in standings {
            self.of_applications.get_or_create(&ApplicationLabels { namespace, name, sync, health }).set(1);
        }
        for (ApplicationKey { namespace, name }, stage, took) in latencies.last() {
            let labels = StageLabels { namespace, name, stage: stage.word() };
            self.last.get_or_create(&labels).set(took.as_secs_f64());
        }
        let by_health = state.count_by_health();
        for health in HealthStatus::ALL {
            let count = by_health.get(&health).copied().unwrap_or_default();
            self.objects.get_or_create(&HealthLabel { health: health.as_str() }).set(gauge(count));
        }
        self.queue_depth.set(gauge(queue.depth()));
        self.queue_age.set(queue.age().as_secs_f64());
    }
}

/// How a sync has ended, when one has between two states: `success`, or the category of what went wrong.
fn ended(before: &Value, after: &Value) -> Option<String> {
    let (old, new) = (&before["operationState"], &after["operationState"]);
    let keys = ["startedAt", "finishedAt", "phase", "message"];
    // Two syncs may begin and end within one second.
    let same = keys.iter().all(|key| old[key] == new[key])
        && Revision::read(&old["syncResult"]) == Revision::read(&new["syncResult"]);
    if same || new.get("finishedAt").is_none() {
        return None;
    }
    if new["phase"] == "Succeeded" {
        return Some("success".to_owned());
    }
    let conditions = after["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let category = |condition: &Value| {
        let (category, _) = condition["message"].as_str()?.split_once(": ")?;
        let of_error = condition["type"].as_str().is_some_and(|kind| kind.ends_with("Error"));
        // The categories are words of ours; what is anything else is no label.
        (of_error && category.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| category.to_owned())
    };
    Some(conditions.iter().find_map(category).unwrap_or_else(|| "SyncFailed".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sync_ends_once_with_a_category() {
        let state = |phase: &str, finished: Option<&str>| {
            let mut state = json!({"phase": phase, "startedAt": "a"});
            if let Some(finished) = finished {
                state["finishedAt"] = json!(finished);
            }
            json!({"operationState": state, "conditions": [{"type": "SyncError", "message": "Forbidden: no"}]})
        };
        let (running, failed) = (state("Running", None), state("Failed", Some("b")));
        assert_eq!(ended(&Value::Null, &running), None);
        assert_eq!(ended(&running, &failed).as_deref(), Some("Forbidden"));
        assert_eq!(ended(&failed, &failed), None);
        assert_eq!(ended(&failed, &state("Succeeded", Some("c"))).as_deref(), Some("success"));
        let mut hostile = state("Failed", Some("d"));
        hostile["conditions"][0]["message"] = json!("what people write\n{}: no");
        assert_eq!(ended(&running, &hostile).as_deref(), Some("SyncFailed"));
    }
}
