//! How long commits take on their way: to rendered, to applied, to healthy, Application by Application.
//!
//! A way begins when a commit that changes an Application's inputs is fetched, or when an Application is seen first. What
//! happens later without another commit, such as the repair of drift, is no part of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitmoor_core::tracking::ApplicationKey;
use prometheus_client::metrics::histogram::Histogram;

/// A part of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its manifests are known.
    Rendered,
    /// The cluster is as they say.
    Applied,
    /// What runs is well.
    Healthy,
}

impl Stage {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Rendered => "rendered",
            Self::Applied => "applied",
            Self::Healthy => "healthy",
        }
    }
}

/// The way of the last commit that changed an Application.
#[derive(Debug)]
struct Way {
    /// Where its sources stand.
    revision: String,
    since: Instant,
    /// Something had to be applied for it.
    touched: bool,
    took: BTreeMap<Stage, Duration>,
}

/// The ways of all Applications. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    rendered: Histogram,
    applied: Histogram,
    healthy: Histogram,
    ways: Arc<Mutex<BTreeMap<ApplicationKey, Way>>>,
}

impl Latencies {
    /// Counted in these.
    pub(crate) fn new(rendered: Histogram, applied: Histogram, healthy: Histogram) -> Self {
        Self { rendered, applied, healthy, ways: Arc::default() }
    }

    /// An Application's manifests are known at a revision, which was fetched at `fetched`.
    pub(crate) fn rendered(&self, key: &ApplicationKey, revision: String, fetched: Option<Instant>) {
        let now = Instant::now();
        let mut ways = self.lock();
        let since = match ways.get(key) {
            Some(way) if way.revision == revision => return,
            Some(_) => fetched.unwrap_or(now),
            // Whatever was there before the Application is no measure for it.
            None => now,
        };
        let took = BTreeMap::from([(Stage::Rendered, now - since)]);
        let first = ways.insert(key.clone(), Way { revision, since, touched: false, took }).is_none();
        drop(ways);
        if !first {
            self.rendered.observe((now - since).as_secs_f64());
        }
    }

    /// Something had to be applied.
    pub(crate) fn touched(&self, key: &ApplicationKey) {
        if let Some(way) = self.lock().get_mut(key) {
            way.touched = true;
        }
    }

    /// What an Application's status says now.
    pub(crate) fn reported(&self, key: &ApplicationKey, revision: &str, synced: bool, healthy: bool) {
        let mut ways = self.lock();
        let Some(way) = ways.get_mut(key).filter(|way| way.touched && way.revision == revision && synced) else {
            return;
        };
        for (stage, reached, histogram) in
            [(Stage::Applied, true, &self.applied), (Stage::Healthy, healthy, &self.healthy)]
        {
            if reached && !way.took.contains_key(&stage) {
                let took = way.since.elapsed();
                way.took.insert(stage, took);
                histogram.observe(took.as_secs_f64());
            }
        }
    }

    /// An Application is gone.
    pub(crate) fn forget(&self, key: &ApplicationKey) {
        self.lock().remove(key);
    }

    /// How long the last change of each Application took to each stage that it has reached.
    pub(crate) fn last(&self) -> Vec<(ApplicationKey, Stage, Duration)> {
        let ways = self.lock();
        let all = ways.iter().filter(|(_, way)| way.touched);
        all.flat_map(|(key, way)| way.took.iter().map(|(stage, took)| (key.clone(), *stage, *took))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ApplicationKey, Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::histogram::exponential_buckets;

    use super::*;

    #[test]
    fn a_way_is_measured_once_and_ends_healthy() {
        let histogram = || Histogram::new(exponential_buckets(0.01, 2.0, 14));
        let latencies = Latencies::new(histogram(), histogram(), histogram());
        let key = ApplicationKey { namespace: "gitmoor".into(), name: "web".into() };
        let stages = || latencies.last().into_iter().map(|(_, stage, _)| stage.word()).collect::<Vec<_>>();
        let fetched = Instant::now();
        latencies.rendered(&key, "one".into(), Some(fetched));
        assert!(stages().is_empty(), "nothing was applied for it");
        latencies.touched(&key);
        latencies.reported(&key, "one", false, true);
        latencies.reported(&key, "another", true, true);
        assert_eq!(stages(), ["rendered"]);
        latencies.reported(&key, "one", true, false);
        assert_eq!(stages(), ["rendered", "applied"]);
        latencies.reported(&key, "one", true, true);
        assert_eq!(stages(), ["rendered", "applied", "healthy"]);
        let before = latencies.last();
        // Drift that is repaired, and an interval at which it is rendered again.
        latencies.rendered(&key, "one".into(), Some(fetched));
        latencies.touched(&key);
        latencies.reported(&key, "one", true, true);
        assert_eq!(latencies.last(), before);
        latencies.rendered(&key, "two".into(), Some(fetched));
        assert!(stages().is_empty());
        latencies.forget(&key);
        assert!(latencies.last().is_empty());
    }
}
