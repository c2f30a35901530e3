//! Metrics, in Prometheus' conventions, with bounded labels.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::secrets::SecretMetrics;

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

/// The metrics of one agent.
pub(crate) struct Metrics {
    registry: Registry,
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
    /// Applications known.
    pub applications: Gauge,
    /// Live objects that carry our label.
    pub objects: Gauge,
    /// Applications that wait or are worked on.
    pub queue_depth: Gauge,
    /// Seconds from a commit being seen to its objects being applied.
    pub seen_to_applied: Histogram,
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
        let applications = register!(Gauge::default(), "applications", "Applications known");
        let objects = register!(Gauge::default(), "objects", "Live objects under management");
        let queue_depth = register!(Gauge::default(), "queue_depth", "Applications that wait or are worked on");
        let seen_to_applied =
            register!(seconds(), "seen_to_applied_seconds", "From a commit being fetched to its objects being applied");
        let secrets = SecretMetrics::register(&mut registry);
        Self {
            registry,
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
            applications,
            objects,
            queue_depth,
            seen_to_applied,
            secrets,
        }
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// When a metric cannot be written, which formatting into a string does not do.
    pub(crate) fn encode(&self) -> std::result::Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
