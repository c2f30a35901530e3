//! How an attempt that failed is repeated.

use std::time::Duration;

use serde::Deserialize;

use crate::duration;

/// `retry` of a sync policy or an operation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How many times an attempt that failed is repeated; negative: without end.
    pub limit: i64,
    /// How long to wait in between.
    pub backoff: Backoff,
}

/// `retry.backoff`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first pause: `5s`, `1m30s`, or a number of seconds.
    pub duration: String,
    /// What each further pause is multiplied by.
    pub factor: Option<i64>,
    /// The longest pause.
    pub max_duration: String,
}

impl Default for Retry {
    /// What Argo CD does for automated syncs that say nothing: five more, after 5, 10, 20, … seconds.
    fn default() -> Self {
        Self { limit: 5, backoff: Backoff::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { duration: "5s".to_owned(), factor: Some(2), max_duration: "3m".to_owned() }
    }
}

impl Retry {
    /// Never again.
    pub fn never() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// How long after attempt number `count` (from 0) has failed the next one begins; `None` when there is none.
    pub fn pause(&self, count: u32) -> Option<Duration> {
        if self.limit >= 0 && i64::from(count) >= self.limit {
            return None;
        }
        let standard = Backoff::default();
        let first = seconds(&self.backoff.duration).or_else(|| seconds(&standard.duration))?;
        let longest = seconds(&self.backoff.max_duration).or_else(|| seconds(&standard.max_duration))?;
        let factor = self.backoff.factor.filter(|factor| *factor > 0).unwrap_or(2) as f64;
        let pause = (first * factor.powi(i32::try_from(count.min(64)).unwrap_or(64))).min(longest);
        Some(Duration::from_secs_f64(pause.max(0.1)))
    }
}

/// A duration of Go, or a bare number of seconds, which Argo CD takes too.
fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) => (number.is_finite() && number >= 0.0).then_some(number),
        Err(_) => duration::parse(text).map(|duration| duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_end_with_the_limit() {
        let seconds = |retry: &Retry| (0..8).map(|n| retry.pause(n).map(|p| p.as_secs())).collect::<Vec<_>>();
        let some = |numbers: &[u64]| numbers.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(seconds(&Retry::default()), [some(&[5, 10, 20, 40, 80]), vec![None; 3]].concat());
        let retry: Retry = serde_json::from_value(
            json!({"limit": -1, "backoff": {"duration": "1m30s", "factor": 3, "maxDuration": "10m"}}),
        )
        .unwrap();
        assert_eq!(seconds(&retry), some(&[90, 270, 600, 600, 600, 600, 600, 600]));
        assert_eq!(Retry::never().pause(0), None);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [("5s", Some(5.0)), ("500ms", Some(0.5)), ("1h2m", Some(3720.0)), ("7", Some(7.0))] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for text in ["", "s", "5 parsecs", "-1", "5x"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
